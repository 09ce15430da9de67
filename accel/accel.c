/* SPDX-License-Identifier: GPL-2.0-or-later
 * The registry of engines.
 */
#include "accel/accel.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static List engines;

void engine_register(Engine *e)
{
    if (!engines.next) {
        list_init(&engines);
    }
    list_insert(&engines, &e->node);
}

const Engine *engine_find(const char *name)
{
    list_for_each(pos, &engines) {
        const Engine *e = container_of(pos, Engine, node);
        if (strcmp(e->name, name) == 0) {
            return e;
        }
        for (const char *const *a = e->aliases; a && *a; a++) {
            if (strcmp(*a, name) == 0) {
                return e;
            }
        }
    }
    return NULL;
}

const char *engine_nearest(const char *name)
{
    char small[16];
    const char *words[24];
    size_t nr = 0, len = 0;
    for (; name[len] && len + 1 < sizeof(small); len++) {
        small[len] = (char)tolower((unsigned char)name[len]);
    }
    small[len] = '\0';
    list_for_each(pos, &engines) {
        const Engine *e = container_of(pos, Engine, node);
        for (size_t i = 0; nr + 1 < ARRAY_SIZE(words); i++) {
            const char *word = i == 0 ? e->name : e->aliases ? e->aliases[i - 1] : NULL;
            if (!word) {
                break;
            }
            words[nr++] = word;
        }
    }
    words[nr] = NULL;
    return name[len] ? NULL : suggest(small, words);
}

bool engine_knows_option(const Engine *e, const char *key)
{
    size_t len = strlen(key);
    for (const char *const *o = e->options; o && *o; o++) {
        if (strncmp(*o, key, len) == 0 && (*o)[len] == '=') {
            return true;
        }
    }
    return false;
}

void engine_print_options(const Engine *e)
{
    printf("%s options:\n  vcpus=<set> - the vCPUs that run on it, such as 0-1:3\n", e->name);
    for (const char *const *o = e->options; o && *o; o++) {
        printf("  %s\n", *o);
    }
}

void engines_each(void (*fn)(const Engine *e, void *opaque), void *opaque)
{
    list_for_each(pos, &engines) {
        fn(container_of(pos, Engine, node), opaque);
    }
}
