/* SPDX-License-Identifier: GPL-2.0-or-later
 * Option dictionaries: what the user asked for, whether it came as key=value text, as JSON, from
 * the monitor or from the board's own code. Flat and ordered: nested JSON objects become dotted
 * keys ("file.driver"), array members are numbered ("hosts.0"), scalars are kept as text.
 */
#ifndef UTIL_DICT_H
#define UTIL_DICT_H

#include "util/error.h"

typedef struct Dict Dict;

Dict *dict_new(void);
void dict_free(Dict *d); /* NULL is allowed */
Dict *dict_copy(const Dict *d);

/* "a=1,b=x,,y,flag": ",," is a comma in a value; a bare word is implied_key's value if it comes
 * first and implied_key is not NULL, else a boolean ("flag" = on, "noflag" = off). Text that
 * starts with '{' is JSON. A later key replaces an earlier one. NULL with *errp on failure. */
Dict *dict_parse(const char *text, const char *implied_key, Error **errp);
/* The same, but these keys may be given several times: they become "key.0", "key.1" and so on, as
 * an array of JSON's does. lists: NULL-terminated. */
Dict *dict_parse_lists(const char *text, const char *implied_key, const char *const *lists,
                       Error **errp);
Dict *dict_parse_json(const char *text, Error **errp);

void dict_set(Dict *d, const char *key, const char *value); /* copies both */
void dict_setf(Dict *d, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
void dict_remove(Dict *d, const char *key);
bool dict_has(const Dict *d, const char *key);
/* The text, borrowed until the key changes; NULL if absent. Getters mark the key as used. */
const char *dict_get(const Dict *d, const char *key);
/* Typed getters: true and *out untouched if the key is absent; false and *errp if it does not
 * parse. Sizes take k M G T suffixes (1024-based) with default_unit for a plain number. */
bool dict_get_bool(const Dict *d, const char *key, bool *out, Error **errp) MUST_USE;
bool dict_get_u64(const Dict *d, const char *key, uint64_t *out, Error **errp) MUST_USE;
bool dict_get_size(const Dict *d, const char *key, uint64_t default_unit, uint64_t *out,
                   Error **errp) MUST_USE;
/* The sub-dictionary of all keys "prefix.X" as "X"; a new one. Marks them as used. */
Dict *dict_sub(const Dict *d, const char *prefix);
size_t dict_count(const Dict *d);
/* i-th key and value in order of insertion; does not mark as used. */
const char *dict_key(const Dict *d, size_t i);
const char *dict_value(const Dict *d, size_t i);
/* The first key no getter asked for, or NULL: how unknown options are found. */
const char *dict_unused(const Dict *d);

/* Text to values, for all who parse options: whole text must match. */
bool parse_bool(const char *text, bool *out);         /* on/off yes/no true/false 1/0 */
bool parse_u64(const char *text, uint64_t *out);      /* C syntax: 10, 0x10, 010 */
bool parse_size(const char *text, uint64_t unit, uint64_t *out);

/* The nearest of NULL-terminated words to a misspelt one, or NULL if none is near. */
const char *suggest(const char *word, const char *const *words);

#endif
