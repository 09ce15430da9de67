/* SPDX-License-Identifier: GPL-2.0-or-later
 * The objects of -object, by id.
 */
#include "util/user_object.h"

#include <string.h>

#include "util/alloc.h"

typedef struct UserObject {
    char *id;
    const UserObjectType *type;
    void *object;
    List node;
} UserObject;

static List types = LIST_INIT(types), objects = LIST_INIT(objects);

/* Known elsewhere; here they answer that they are not built. */
static const char *const unbuilt_types[] = {
    "memory-backend-ram", "memory-backend-file", "memory-backend-memfd", "iothread", "secret",
    "throttle-group", "rng-random", "rng-builtin", "rng-egd", "tls-creds-x509", "tls-creds-anon",
    "authz-simple", "can-bus", "cryptodev-backend", "filter-buffer", "filter-mirror",
    "filter-redirector", "filter-rewriter", "filter-replay", "colo-compare", "input-linux",
    "main-loop", "thread-context", NULL,
};

void user_object_register(UserObjectType *t)
{
    list_insert(&types, &t->node);
}

void user_object_types_each(void (*fn)(const UserObjectType *t, void *opaque), void *opaque)
{
    list_for_each(pos, &types) {
        fn(container_of(pos, UserObjectType, node), opaque);
    }
}

const UserObjectType *user_object_type(const char *name, Error **errp)
{
    const char *names[33];
    size_t nr = 0;
    list_for_each(pos, &types) {
        const UserObjectType *t = container_of(pos, UserObjectType, node);
        if (!strcmp(t->name, name)) {
            return t;
        }
        if (nr + 1 < ARRAY_SIZE(names)) {
            names[nr++] = t->name;
        }
    }
    names[nr] = NULL;
    for (const char *const *u = unbuilt_types; *u; u++) {
        if (!strcmp(*u, name)) {
            error_set(errp, "objects of type '%s' are not built yet ('help' lists those that are)", name);
            return NULL;
        }
    }
    const char *near = suggest(name, names);
    error_set(errp, "there is no object type '%s'%s%s%s", name, near ? "; did you mean '" : "",
              near ? near : " ('help' lists them)", near ? "'?" : "");
    return NULL;
}

static UserObject *find(const char *id)
{
    list_for_each(pos, &objects) {
        UserObject *o = container_of(pos, UserObject, node);
        if (!strcmp(o->id, id)) {
            return o;
        }
    }
    return NULL;
}

static void free_object(UserObject *o)
{
    list_remove(&o->node);
    o->type->destroy(o->object);
    free(o->id);
    free(o);
}

bool user_object_create(const Dict *opts, Error **errp)
{
    const char *name = dict_get(opts, "qom-type"), *id = dict_get(opts, "id");
    const UserObjectType *t = name ? user_object_type(name, errp) : NULL;
    if (!t) {
        return !name ? error_set(errp, "an object needs its type: TYPE,id=ID,...") : false;
    }
    if (!id || !*id) {
        return error_set(errp, "an object needs an id, for example id=obj0");
    }
    if (find(id)) {
        return error_set(errp, "there is an object '%s' already", id);
    }
    void *object = t->create(id, opts, errp);
    if (!object) {
        return error_prefix(errp, "object '%s': ", id);
    }
    UserObject *o = xcalloc(1, sizeof(*o));
    *o = (UserObject){ .id = xstrdup(id), .type = t, .object = object };
    list_insert(&objects, &o->node);
    const char *unused = dict_unused(opts);
    if (unused) {
        error_set(errp, "%s has no option '%s' (-object %s,help lists them)", t->name, unused, t->name);
        free_object(o);
        return false;
    }
    return true;
}

bool user_object_delete(const char *id, Error **errp)
{
    UserObject *o = find(id);
    if (!o) {
        return error_set(errp, "there is no object '%s' of -object or object_add", id);
    }
    free_object(o);
    return true;
}

void user_objects_delete_all(void)
{
    while (!list_empty(&objects)) {
        free_object(container_of(objects.prev, UserObject, node));
    }
}

void user_objects_each(void (*fn)(const char *id, const UserObjectType *t, void *opaque),
                       void *opaque)
{
    list_for_each(pos, &objects) {
        const UserObject *o = container_of(pos, UserObject, node);
        fn(o->id, o->type, opaque);
    }
}
