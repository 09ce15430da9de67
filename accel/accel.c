/* SPDX-License-Identifier: GPL-2.0-or-later
 * The registry of engines.
 */
#include "accel/accel.h"

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

void engines_each(void (*fn)(const Engine *e, void *opaque), void *opaque)
{
    list_for_each(pos, &engines) {
        fn(container_of(pos, Engine, node), opaque);
    }
}
