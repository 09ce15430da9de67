/* SPDX-License-Identifier: GPL-2.0-or-later
 * Objects: what has a name in the tree (/machine/..., /objects/..., /chardevs/...). Devices,
 * buses, machines and user-created objects embed one. vm_lock guards the tree.
 */
#ifndef HW_CORE_OBJECT_H
#define HW_CORE_OBJECT_H

#include "util/error.h"

typedef struct Object {
    char *name;
    const char *type;
    struct Object *parent;
    List children, sibling;
    struct Device *dev; /* the Device this is, or NULL (container, bus) */
} Object;

/* The tree's root, "/"; holds "/machine" (with "peripheral", "peripheral-anon", "unattached")
 * and "/objects". */
Object *object_root(void);
void object_init(Object *o, const char *type);
/* name is copied. A name that ends in "[*]" takes the first free number. */
void object_add(Object *parent, const char *name, Object *child);
void object_remove(Object *child);
/* A plain container child, made if absent. */
Object *object_container(Object *parent, const char *name);
/* Those below parent that object_container made, with all of theirs. Nobody else's object is left in them. */
void object_free_containers(Object *parent);
/* A full path, or the last components of one if exactly one object fits. NULL if none, or if
 * several fit (*ambiguous set when not NULL). */
Object *object_resolve(const char *path, bool *ambiguous);
/* Its full path; a new string. */
char *object_path(const Object *o);

#endif
