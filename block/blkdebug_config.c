/* SPDX-License-Identifier: GPL-2.0-or-later
 * Rules of blkdebug in a file, as QEMU reads them:
 *
 *     [inject-error]
 *     event = "l2_update"      # what blkdebug's options call inject-error.N.event
 *     errno = "28"
 *
 *     [set-state]
 *     event = "write_aio"
 *     state = "1"
 *     new_state = "2"
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/blkdebug.h"
#include "util/alloc.h"

/* Without blanks around it; in place. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) {
        *--end = '\0';
    }
    return text;
}

/* A value may stand in quotes, behind which only a comment may follow; false: it is neither. */
static bool unquote(char **value)
{
    char *text = *value, *hash;
    if (*text != '"') {
        hash = strchr(text, '#');
        if (hash) {
            *hash = '\0';
        }
        *value = trim(text);
        return **value != '\0';
    }
    char *end = strchr(text + 1, '"');
    if (!end) {
        return false;
    }
    *end = '\0';
    *value = text + 1;
    end = trim(end + 1);
    return !*end || *end == '#';
}

typedef struct Reader {
    Dict *out;
    unsigned nr[2];  /* sections so far */
    char prefix[40]; /* of the section's keys; empty: none yet */
} Reader;

static bool read_section(Reader *r, const char *name, Error **errp)
{
    static const char *const kinds[] = { "inject-error", "set-state" };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!strcmp(name, kinds[i])) {
            snprintf(r->prefix, sizeof(r->prefix), "%s.%u.", kinds[i], r->nr[i]++);
            return true;
        }
    }
    return error_set(errp, "[%s]: a section is [inject-error] or [set-state]", name);
}

static bool read_line(Reader *r, char *line, Error **errp)
{
    line = trim(line);
    if (!*line || *line == '#') {
        return true;
    }
    if (*line == '[') {
        char *end = strchr(line, ']');
        if (!end || (*trim(end + 1) && *trim(end + 1) != '#')) {
            return error_set(errp, "'%s' is no section", line);
        }
        *end = '\0';
        return read_section(r, trim(line + 1), errp);
    }
    char *equals = strchr(line, '=');
    if (!equals) {
        return error_set(errp, "'%s': it is KEY = \"VALUE\"", line);
    }
    *equals = '\0';
    char *key = trim(line), *value = trim(equals + 1);
    if (!unquote(&value)) {
        return error_set(errp, "the value of '%s': it is KEY = \"VALUE\"", key);
    }
    if (!*r->prefix) {
        return error_set(errp, "'%s' stands before the first section", key);
    }
    char *full = xasprintf("%s%s", r->prefix, key);
    bool twice = dict_has(r->out, full);
    dict_set(r->out, full, value);
    free(full);
    return !twice || error_set(errp, "'%s' is given twice", key);
}

Dict *blkdebug_read_config(const char *file, Error **errp)
{
    FILE *f = fopen(file, "re");
    Reader r = { .out = dict_new() };
    bool ok = f || error_set_errno(errp, errno, "the rules in '%s'", file);
    char *line = NULL;
    size_t room = 0;
    for (unsigned nr = 1; ok && getline(&line, &room, f) > 0; nr++) {
        ok = read_line(&r, line, errp) || error_prefix(errp, "%s, line %u: ", file, nr);
    }
    if (ok && ferror(f)) {
        ok = error_set(errp, "'%s' cannot be read", file);
    }
    free(line);
    if (f) {
        fclose(f);
    }
    if (ok) {
        return r.out;
    }
    dict_free(r.out);
    return NULL;
}
