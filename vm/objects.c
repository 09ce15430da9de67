/* SPDX-License-Identifier: GPL-2.0-or-later
 * -object: the user's objects, made in the order their kind asks for.
 */
#include "vm/objects.h"

#include <stdio.h>
#include <string.h>

#include "util/alloc.h"
#include "util/user_object.h"

bool objects_open(const Options *o, bool late, Error **errp)
{
    for (size_t i = 0; i < o->object.nr; i++) {
        Dict *d = dict_parse(o->object.str[i], "qom-type", errp);
        const char *name = d ? dict_get(d, "qom-type") : NULL;
        const UserObjectType *t = name ? user_object_type(name, errp) : NULL;
        bool ok = d && !*errp && ((t && t->late != late) || user_object_create(d, errp));
        dict_free(d);
        if (!ok) {
            return error_prefix(errp, "-object %s: ", o->object.str[i]);
        }
    }
    return true;
}

static void print_type(const UserObjectType *t, void *opaque)
{
    (void)opaque;
    printf("%-14s %s\n", t->name, t->desc);
}

static bool is_help(const char *text)
{
    return !strcmp(text, "help") || !strcmp(text, "?");
}

bool objects_help(const Options *o, Error **errp)
{
    for (size_t i = 0; i < o->object.nr; i++) {
        const char *text = o->object.str[i];
        size_t len = strcspn(text, ",");
        if (is_help(text)) {
            user_object_types_each(print_type, NULL);
            return true;
        }
        if (text[len] && is_help(text + len + 1)) {
            char *name = xstrndup(text, len);
            const UserObjectType *t = user_object_type(name, errp);
            if (t) {
                printf("-object %s,id=ID[,...]: %s\n", t->name, t->desc);
            }
            for (const char *const *h = t ? t->help : NULL; h && *h; h++) {
                printf("%s\n", *h);
            }
            free(name);
            return true;
        }
    }
    return false;
}
