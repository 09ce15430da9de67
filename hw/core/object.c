/* SPDX-License-Identifier: GPL-2.0-or-later
 * The object tree: names, paths and looking them up.
 */
#include "hw/core/object.h"

#include "util/alloc.h"

/* Containers of nobody's: made by object_container. */
typedef struct Container {
    Object obj;
} Container;

static const char container[] = "container";

Object *object_root(void)
{
    static Object root; /* the one name space of the process, not a machine's state */
    if (!root.name) {
        object_init(&root, container);
        root.name = xstrdup("");
    }
    return &root;
}

void object_init(Object *o, const char *type)
{
    *o = (Object){ .type = type };
    list_init(&o->children);
    list_init(&o->sibling);
}

static Object *find_child(const Object *parent, const char *name, size_t len)
{
    list_for_each(pos, &parent->children) {
        Object *o = container_of(pos, Object, sibling);
        if (!strncmp(o->name, name, len) && !o->name[len]) {
            return o;
        }
    }
    return NULL;
}

/* "device[*]" -> "device[3]" */
static char *free_name(const Object *parent, const char *pattern)
{
    int stem = (int)strlen(pattern) - 3;
    for (unsigned n = 0;; n++) {
        char *name = xasprintf("%.*s[%u]", stem, pattern, n);
        if (!find_child(parent, name, strlen(name))) {
            return name;
        }
        free(name);
    }
}

void object_add(Object *parent, const char *name, Object *child)
{
    assert(!child->parent);
    size_t len = strlen(name);
    bool numbered = len > 3 && !strcmp(name + len - 3, "[*]");
    child->name = numbered ? free_name(parent, name) : xstrdup(name);
    assert(!find_child(parent, child->name, strlen(child->name)));
    child->parent = parent;
    list_insert(&parent->children, &child->sibling);
}

void object_remove(Object *child)
{
    if (child->parent) {
        list_remove(&child->sibling);
        child->parent = NULL;
        free(child->name);
        child->name = NULL;
    }
}

Object *object_container(Object *parent, const char *name)
{
    Object *o = find_child(parent, name, strlen(name));
    if (!o) {
        Container *c = xcalloc(1, sizeof(*c));
        o = &c->obj;
        object_init(o, container);
        object_add(parent, name, o);
    }
    return o;
}

void object_free_containers(Object *parent)
{
    list_for_each_safe(pos, &parent->children) {
        Object *o = container_of(pos, Object, sibling);
        if (o->type == container) {
            object_free_containers(o);
            object_remove(o);
            free(container_of(o, Container, obj));
        }
    }
}

/* ---- paths ---- */

/* Down from o along "a/b/c"; NULL if a component is missing. */
static Object *walk(Object *o, const char *path)
{
    while (o && *path) {
        size_t len = strcspn(path, "/");
        o = len ? find_child(o, path, len) : o;
        path += len + (path[len] == '/');
    }
    return o;
}

/* Every place in the tree below o from which path leads somewhere. */
static void find_partial(Object *o, const char *path, Object **hit, bool *ambiguous)
{
    Object *found = walk(o, path);
    if (found && found != *hit) {
        *ambiguous |= *hit != NULL;
        *hit = found;
    }
    list_for_each(pos, &o->children) {
        find_partial(container_of(pos, Object, sibling), path, hit, ambiguous);
    }
}

Object *object_resolve(const char *path, bool *ambiguous)
{
    bool several = false;
    Object *hit = NULL;
    if (path[0] == '/') {
        hit = walk(object_root(), path);
    } else if (path[0]) {
        find_partial(object_root(), path, &hit, &several);
    }
    if (ambiguous) {
        *ambiguous = several;
    }
    return several ? NULL : hit;
}

char *object_path(const Object *o)
{
    if (!o->parent) {
        return xstrdup(o == object_root() ? "/" : "(not in the tree)");
    }
    char *path = xstrdup("");
    for (; o->parent; o = o->parent) {
        char *longer = xasprintf("/%s%s", o->name, path);
        free(path);
        path = longer;
    }
    return path;
}
