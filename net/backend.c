/* SPDX-License-Identifier: GPL-2.0-or-later
 * Kinds of back ends: the table, creation from options, help.
 */
#include "net/internal.h"
#include "util/alloc.h"

static List types = LIST_INIT(types);

/* Sorted by name. Runs before main(). */
void net_backend_register(NetBackendType *t)
{
    List *pos = types.next;
    while (pos != &types && strcmp(container_of(pos, NetBackendType, node)->name, t->name) < 0) {
        pos = pos->next;
    }
    list_insert(pos, &t->node);
}

static const NetBackendType *type_find(const char *name)
{
    list_for_each(pos, &types) {
        const NetBackendType *t = container_of(pos, NetBackendType, node);
        if (!strcmp(t->name, name)) {
            return t;
        }
    }
    return NULL;
}

static const char *const unbuilt[] = { "tap",        "bridge",     "socket", "stream", "dgram",
                                       "hubport",    "l2tpv3",     "vde",    "netmap", "af-xdp",
                                       "vhost-user", "vhost-vdpa", "passt",  NULL };

static bool unknown_type(const char *name, Error **errp)
{
    const char *names[64];
    size_t nr = 0;
#ifndef HAVE_SLIRP
    if (!strcmp(name, "user")) {
        return error_set(errp, "network back end 'user' is not in this build; install libslirp-dev "
                               "and configure without --disable-slirp");
    }
#endif
    for (size_t i = 0; unbuilt[i]; i++) {
        if (!strcmp(unbuilt[i], name)) {
            return error_set(errp,
                             "network back end '%s' is not built yet (-netdev help lists "
                             "those that are)",
                             name);
        }
    }
    list_for_each(pos, &types) {
        if (nr < ARRAY_SIZE(names) - 1) {
            names[nr++] = container_of(pos, NetBackendType, node)->name;
        }
    }
    names[nr] = NULL;
    const char *near = suggest(name, names);
    return near ? error_set(errp, "unknown network back end '%s', did you mean '%s'?", name, near)
                : error_set(errp, "unknown network back end '%s' (-netdev help lists them)", name);
}

/* ---- keys ---- */

static bool is_list_key(const char *key, size_t *len)
{
    *len = strlen(key);
    if (*len > 2 && !strcmp(key + *len - 2, "[]")) {
        *len -= 2;
        return true;
    }
    return false;
}

/* "hostfwd[]" allows hostfwd.0, hostfwd.0.str and so on. */
static bool key_allowed(const NetBackendType *t, const char *key)
{
    if (!strcmp(key, "type") || !strcmp(key, "id")) {
        return true;
    }
    for (const char *const *k = t->keys; k && *k; k++) {
        size_t len;
        bool list = is_list_key(*k, &len);
        if (!strncmp(*k, key, len) && (!key[len] || (list && key[len] == '.'))) {
            return true;
        }
    }
    return false;
}

static bool unknown_key(const NetBackendType *t, const char *key, Error **errp)
{
    char *names[66] = { NULL };
    size_t nr = 0;
    for (const char *const *k = t->keys; k && *k && nr < ARRAY_SIZE(names) - 2; k++) {
        size_t len;
        is_list_key(*k, &len);
        names[nr++] = xstrndup(*k, len);
    }
    names[nr++] = xstrdup("id");
    const char *near = suggest(key, (const char *const *)names);
    if (near) {
        error_set(errp, "%s has no option '%s', did you mean '%s'?", t->name, key, near);
    } else {
        error_set(errp, "%s has no option '%s' (-netdev %s,help lists them)", t->name, key,
                  t->name);
    }
    for (size_t i = 0; i < nr; i++) {
        free(names[i]);
    }
    return false;
}

Dict *net_backend_parse(const char *text, Error **errp)
{
    char *lists[65] = { NULL };
    size_t nr = 0;
    list_for_each(pos, &types) {
        const NetBackendType *t = container_of(pos, NetBackendType, node);
        for (const char *const *k = t->keys; k && *k; k++) {
            size_t len;
            if (is_list_key(*k, &len) && nr < ARRAY_SIZE(lists) - 1) {
                lists[nr++] = xstrndup(*k, len);
            }
        }
    }
    Dict *d = dict_parse_lists(text, "type", (const char *const *)lists, errp);
    for (size_t i = 0; i < nr; i++) {
        free(lists[i]);
    }
    return d;
}

/* ---- creation ---- */

static bool check_id(const char *id, Error **errp)
{
    if (!id || !*id) {
        return error_set(errp, "a netdev needs an id, for example id=net0");
    }
    for (const char *p = id; *p; p++) {
        if (!strchr("-._", *p) && !(*p >= '0' && *p <= '9') && !(*p >= 'a' && *p <= 'z') &&
            !(*p >= 'A' && *p <= 'Z') && *p != '#') {
            return error_set(errp, "'%s' is no id; use letters, digits, '-', '.' and '_'", id);
        }
    }
    if (net_client_find(id, 0)) {
        return error_set(errp, "there is a netdev '%s' already; choose another id", id);
    }
    return true;
}

bool net_backend_create(const Dict *opts, Error **errp)
{
    const char *name = dict_get(opts, "type"), *id = dict_get(opts, "id");
    if (!name || !*name) {
        return error_set(errp, "a network back end has a type: user,id=net0 (-netdev help lists "
                               "them)");
    }
    const NetBackendType *t = type_find(name);
    if (!t) {
        return unknown_type(name, errp);
    }
    if (!check_id(id, errp)) {
        return false;
    }
    for (size_t i = 0; i < dict_count(opts); i++) {
        if (!key_allowed(t, dict_key(opts, i))) {
            return unknown_key(t, dict_key(opts, i), errp);
        }
    }
    return t->create(id, opts, errp) || error_prefix(errp, "netdev '%s': ", id);
}

bool net_backend_delete(const char *id, Error **errp)
{
    NetClient *nc = net_client_find(id, 0);
    if (!nc) {
        return error_set(errp, "there is no netdev '%s'; info network lists them", id);
    }
    for (unsigned i = net_client_nr_queues(id); i-- > 0;) {
        NetClient *q = net_client_find(id, i);
        if (q) {
            net_client_delete(q);
        }
    }
    return true;
}

static void close_one(NetClient *nc, void *opaque)
{
    if (!nc->info->is_nic && !*(NetClient **)opaque) {
        *(NetClient **)opaque = nc;
    }
}

void net_close(void)
{
    net_announce_stop();
    for (;;) {
        NetClient *nc = NULL; /* anew each time: closing one may take others along */
        net_clients_each(close_one, &nc);
        if (!nc) {
            return;
        }
        net_client_delete(nc);
    }
}

/* ---- help ---- */

void net_backends_list(void (*print)(void *opaque, const char *line), void *opaque)
{
    list_for_each(pos, &types) {
        const NetBackendType *t = container_of(pos, NetBackendType, node);
        char *line = xasprintf("%-10s %s", t->name, t->desc);
        print(opaque, line);
        free(line);
    }
}

bool net_backend_help(const char *name, void (*print)(void *opaque, const char *line), void *opaque,
                      Error **errp)
{
    const NetBackendType *t = type_find(name);
    if (!t) {
        return unknown_type(name, errp);
    }
    char *head = xasprintf("-netdev %s,id=ID[,...]: %s", t->name, t->desc);
    print(opaque, head);
    free(head);
    for (const char *const *h = t->help; h && *h; h++) {
        print(opaque, *h);
    }
    for (const char *const *k = t->help ? NULL : t->keys; k && *k; k++) {
        char *line = xasprintf("  %s", *k);
        print(opaque, line);
        free(line);
    }
    return true;
}
