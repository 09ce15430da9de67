/* SPDX-License-Identifier: GPL-2.0-or-later
 * The registry of engines.
 */
#include "accel/accel.h"

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
