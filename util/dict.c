/* SPDX-License-Identifier: GPL-2.0-or-later
 * Option dictionaries: storage, typed getters, the key=value and JSON syntaxes.
 */
#include "util/dict.h"

#include <json-c/json.h>

#include "util/alloc.h"

typedef struct Entry {
    char *key, *value;
    bool used;
} Entry;

struct Dict {
    Entry **entry; /* in order of insertion */
    size_t nr, room;
};

/* ---- storage ---- */

Dict *dict_new(void)
{
    return xcalloc(1, sizeof(Dict));
}

static void free_entry(Entry *e)
{
    free(e->key);
    free(e->value);
    free(e);
}

void dict_free(Dict *d)
{
    if (d) {
        for (size_t i = 0; i < d->nr; i++) {
            free_entry(d->entry[i]);
        }
        free(d->entry);
        free(d);
    }
}

static Entry *find_entry(const Dict *d, const char *key)
{
    for (size_t i = 0; i < d->nr; i++) {
        if (!strcmp(d->entry[i]->key, key)) {
            return d->entry[i];
        }
    }
    return NULL;
}

static Entry *set_entry(Dict *d, const char *key, const char *value)
{
    Entry *e = find_entry(d, key);
    char *copy = xstrdup(value);
    if (e) {
        free(e->value);
        e->value = copy;
        return e;
    }
    if (d->nr == d->room) {
        d->room = d->room ? 2 * d->room : 8;
        d->entry = xrealloc(d->entry, d->room * sizeof(Entry *));
    }
    e = xcalloc(1, sizeof(*e));
    *e = (Entry){ xstrdup(key), copy, false };
    d->entry[d->nr++] = e;
    return e;
}

void dict_set(Dict *d, const char *key, const char *value)
{
    set_entry(d, key, value);
}

void dict_setf(Dict *d, const char *key, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *value = xvasprintf(fmt, ap);
    va_end(ap);
    dict_set(d, key, value);
    free(value);
}

void dict_remove(Dict *d, const char *key)
{
    for (size_t i = 0; i < d->nr; i++) {
        if (!strcmp(d->entry[i]->key, key)) {
            free_entry(d->entry[i]);
            memmove(&d->entry[i], &d->entry[i + 1], (d->nr - i - 1) * sizeof(Entry *));
            d->nr--;
            return;
        }
    }
}

Dict *dict_copy(const Dict *d)
{
    Dict *copy = dict_new();
    for (size_t i = 0; i < d->nr; i++) {
        const Entry *e = d->entry[i];
        set_entry(copy, e->key, e->value)->used = e->used;
    }
    return copy;
}

Dict *dict_sub(const Dict *d, const char *prefix)
{
    Dict *sub = dict_new();
    size_t len = strlen(prefix);
    for (size_t i = 0; i < d->nr; i++) {
        Entry *e = d->entry[i];
        if (!strncmp(e->key, prefix, len) && e->key[len] == '.' && e->key[len + 1]) {
            e->used = true;
            dict_set(sub, e->key + len + 1, e->value);
        }
    }
    return sub;
}

bool dict_has(const Dict *d, const char *key)
{
    return find_entry(d, key) != NULL;
}

const char *dict_get(const Dict *d, const char *key)
{
    Entry *e = find_entry(d, key);
    if (!e) {
        return NULL;
    }
    e->used = true;
    return e->value;
}

size_t dict_count(const Dict *d)
{
    return d->nr;
}

const char *dict_key(const Dict *d, size_t i)
{
    return d->entry[i]->key;
}

const char *dict_value(const Dict *d, size_t i)
{
    return d->entry[i]->value;
}

const char *dict_unused(const Dict *d)
{
    for (size_t i = 0; i < d->nr; i++) {
        if (!d->entry[i]->used) {
            return d->entry[i]->key;
        }
    }
    return NULL;
}

/* ---- typed getters ---- */

bool dict_get_bool(const Dict *d, const char *key, bool *out, Error **errp)
{
    const char *text = dict_get(d, key);
    if (text && !parse_bool(text, out)) {
        return error_set(errp, "'%s=%s': expected on or off", key, text);
    }
    return true;
}

bool dict_get_u64(const Dict *d, const char *key, uint64_t *out, Error **errp)
{
    const char *text = dict_get(d, key);
    if (text && !parse_u64(text, out)) {
        return error_set(errp, "'%s=%s': expected a number", key, text);
    }
    return true;
}

bool dict_get_size(const Dict *d, const char *key, uint64_t default_unit, uint64_t *out,
                   Error **errp)
{
    const char *text = dict_get(d, key);
    if (text && !parse_size(text, default_unit, out)) {
        return error_set(errp, "'%s=%s': expected a size such as 512M or 2G", key, text);
    }
    return true;
}

/* ---- key=value ---- */

/* The value up to a single comma, ",," turned into ","; *pos moves to that comma or the end. */
static char *take_value(const char **pos)
{
    char *value = xmalloc(strlen(*pos) + 1), *to = value;
    const char *p = *pos;
    for (; *p; p++) {
        if (*p == ',') {
            if (p[1] != ',') {
                break;
            }
            p++;
        }
        *to++ = *p;
    }
    *to = 0;
    *pos = p;
    return value;
}

static void set_flag(Dict *d, const char *word)
{
    if (!strncmp(word, "no", 2) && strlen(word) > 2) {
        dict_set(d, word + 2, "off");
    } else {
        dict_set(d, word, "on");
    }
}

/* "key.N" for the next N if key is one of lists. */
static void set_or_add(Dict *d, const char *key, const char *value, const char *const *lists)
{
    for (; lists && *lists; lists++) {
        if (!strcmp(*lists, key)) {
            char *name = NULL;
            unsigned n = 0;
            do {
                free(name);
                name = xasprintf("%s.%u", key, n++);
            } while (dict_has(d, name));
            dict_set(d, name, value);
            free(name);
            return;
        }
    }
    dict_set(d, key, value);
}

Dict *dict_parse(const char *text, const char *implied_key, Error **errp)
{
    return dict_parse_lists(text, implied_key, NULL, errp);
}

Dict *dict_parse_lists(const char *text, const char *implied_key, const char *const *lists,
                       Error **errp)
{
    if (text[0] == '{') {
        return dict_parse_json(text, errp);
    }
    Dict *d = dict_new();
    const char *p = text;
    for (bool first = true; *p; first = false) {
        size_t len = strcspn(p, "=,");
        bool has_value = p[len] == '=';
        if (has_value && !len) {
            error_set(errp, "'%s': a name is missing in front of '='", text);
            dict_free(d);
            return NULL;
        }
        if (has_value) {
            char *key = xstrndup(p, len);
            p += len + 1;
            char *value = take_value(&p);
            set_or_add(d, key, value, lists);
            free(key);
            free(value);
        } else {
            char *word = take_value(&p);
            if (first && implied_key) {
                dict_set(d, implied_key, word);
            } else if (word[0]) {
                set_flag(d, word);
            }
            free(word);
        }
        p += *p == ',';
    }
    return d;
}

/* ---- JSON ---- */

enum { JSON_MAX_DEPTH = 32 }; /* the parser refuses deeper text */

static void flatten(Dict *d, const char *key, json_object *v)
{
    switch (json_object_get_type(v)) {
    case json_type_object: {
        json_object_object_foreach(v, name, member)
        {
            char *sub = key ? xasprintf("%s.%s", key, name) : xstrdup(name);
            flatten(d, sub, member);
            free(sub);
        }
        break;
    }
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(v); i++) {
            char *sub = xasprintf("%s.%zu", key, i);
            flatten(d, sub, json_object_array_get_idx(v, i));
            free(sub);
        }
        break;
    case json_type_null: break;
    case json_type_boolean: dict_set(d, key, json_object_get_boolean(v) ? "on" : "off"); break;
    default: dict_set(d, key, json_object_get_string(v)); break;
    }
}

Dict *dict_parse_json(const char *text, Error **errp)
{
    json_tokener *tok = json_tokener_new_ex(JSON_MAX_DEPTH);
    assert(tok);
    json_object *v = json_tokener_parse_ex(tok, text, (int)strlen(text) + 1);
    enum json_tokener_error err = json_tokener_get_error(tok);
    size_t end = json_tokener_get_parse_end(tok);
    json_tokener_free(tok);
    Dict *d = NULL;
    if (err != json_tokener_success) {
        error_set(errp, "bad JSON at character %zu: %s", end + 1, json_tokener_error_desc(err));
    } else if (!json_object_is_type(v, json_type_object)) {
        error_set(errp, "bad JSON: expected an object, '{ ... }'");
    } else if (text[end] && text[end + strspn(text + end, " \t\r\n")]) {
        error_set(errp, "bad JSON: text after the closing '}'");
    } else {
        d = dict_new();
        flatten(d, NULL, v);
    }
    json_object_put(v);
    return d;
}
