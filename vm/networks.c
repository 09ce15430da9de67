/* SPDX-License-Identifier: GPL-2.0-or-later
 * Networks of the command line: -netdev, -nic, the old -net with its hubs (vlan=N), and the card
 * that a machine has when nothing is said. Back ends are made before the machine, NICs after it.
 */
#include "hw/core/unbuilt.h"
#include "net/hub.h"
#include "net/net.h"
#include "util/alloc.h"
#include "vm/host_devices.h"

static const char default_model[] = "e1000";

/* NICs to make once there is a machine: dictionaries for device_create. */
static struct {
    Dict **opts;
    char **spelt; /* the option each came from, for errors */
    size_t nr;
} nics;

static void want_nic(Dict *opts, char *spelt)
{
    nics.opts = xrealloc(nics.opts, (nics.nr + 1) * sizeof(*nics.opts));
    nics.spelt = xrealloc(nics.spelt, (nics.nr + 1) * sizeof(*nics.spelt));
    nics.opts[nics.nr] = opts;
    nics.spelt[nics.nr++] = spelt;
}

/* ---- models ---- */

static bool is_nic(const DeviceType *t)
{
    for (const Property *p = t->props; p && p->name; p++) {
        if (!strcmp(p->name, "netdev")) {
            return !t->abstract && !t->internal;
        }
    }
    return false;
}

static void print_model(const DeviceType *t, void *opaque)
{
    (void)opaque;
    if (is_nic(t)) {
        printf("%-16s %s\n", t->name, t->desc);
    }
}

typedef struct Names {
    const char *name[64];
    size_t nr;
} Names;

static void collect_model(const DeviceType *t, void *opaque)
{
    Names *n = opaque;
    if (is_nic(t) && n->nr < ARRAY_SIZE(n->name) - 1) {
        n->name[n->nr++] = t->name;
    }
}

/* QEMU's short names. */
static const char *model_type(const char *model)
{
    return !strcmp(model, "virtio") ? "virtio-net-pci" : model;
}

static bool check_model(const char *model, Error **errp)
{
    const DeviceType *t = device_type_find(model_type(model));
    if (t && is_nic(t)) {
        return true;
    }
    const char *unbuilt = t ? NULL : unbuilt_device(model);
    if (unbuilt) {
        return error_set(errp, "the NIC '%s' is %s", model, unbuilt);
    }
    Names n = { 0 };
    device_types_each(collect_model, &n);
    const char *near = suggest(model, n.name);
    return near ? error_set(errp, "there is no NIC '%s', did you mean '%s'?", model, near)
                : error_set(errp, "there is no NIC '%s' (-nic model=help lists them)", model);
}

static void print_line(void *opaque, const char *line)
{
    (void)opaque;
    puts(line);
}

static bool is_help(const char *text)
{
    return !strcmp(text, "help") || !strcmp(text, "?");
}

/* One option's argument; true if it asked for a list. */
static bool print_help(const char *text, Error **errp)
{
    const char *comma = strchr(text, ',');
    if (strstr(text, "model=help") || strstr(text, "model=?") || !strcmp(text, "nic,help")) {
        device_types_each(print_model, NULL);
        return true;
    }
    if (is_help(text)) {
        net_backends_list(print_line, NULL);
        return true;
    }
    if (!comma || !is_help(comma + 1)) {
        return false;
    }
    char *type = xstrndup(text, (size_t)(comma - text));
    bool ok = net_backend_help(type, print_line, NULL, errp);
    free(type);
    return ok || *errp;
}

bool networks_help(const Options *o, Error **errp)
{
    const StrList *lists[] = { &o->netdev, &o->nic, &o->net };
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (size_t k = 0; k < lists[i]->nr; k++) {
            if (print_help(lists[i]->str[k], errp)) {
                return true;
            }
        }
    }
    return false;
}

/* ---- -netdev ---- */

static bool open_netdev(const char *text, Error **errp)
{
    Dict *d = net_backend_parse(text, errp);
    bool ok = d && net_backend_create(d, errp);
    dict_free(d);
    return ok || error_prefix(errp, "-netdev %s: ", text);
}

/* ---- -nic and -net nic ---- */

/* Moves key, or its other spelling, from one dictionary to another. */
static void move_key(Dict *from, const char *key, Dict *to, const char *new_key)
{
    const char *value = dict_get(from, key);
    if (value) {
        dict_set(to, new_key, value);
        dict_remove(from, key);
    }
}

/* What of d belongs to the card. NULL with *errp. */
static Dict *take_nic_options(Dict *d, Error **errp)
{
    Dict *nic = dict_new();
    const char *model = dict_has(d, "model") ? dict_get(d, "model") : default_model;
    if (!check_model(model, errp)) {
        dict_free(nic);
        return NULL;
    }
    dict_set(nic, "driver", model_type(model));
    dict_remove(d, "model");
    move_key(d, "mac", nic, "mac");
    move_key(d, "macaddr", nic, "mac");
    move_key(d, "addr", nic, "addr");
    move_key(d, "vectors", nic, "vectors");
    return nic;
}

/* "#net0" with the first number that is free: an id nobody types by chance. */
static void set_free_id(Dict *d)
{
    char name[32];
    for (unsigned n = 0;; n++) {
        snprintf(name, sizeof(name), "#net%u", n);
        if (!net_client_find(name, 0)) {
            dict_set(d, "id", name);
            return;
        }
    }
}

/* -nic TYPE,model=M,mac=A,...: a back end and its card in one. */
static bool parse_nic(Dict *d, const char *spelt, Error **errp)
{
    uint64_t hub = UINT64_MAX;
    if (!dict_has(d, "type")) {
        dict_set(d, "type", "user");
    }
    Dict *nic = take_nic_options(d, errp);
    if (!nic) {
        return false;
    }
    if (dict_has(d, "vlan")) {
        if (!dict_get_u64(d, "vlan", &hub, errp) || hub > INT32_MAX) {
            dict_free(nic);
            return *errp ? false : error_set(errp, "vlan= is the number of a hub");
        }
        dict_remove(d, "vlan");
        dict_set(nic, "netdev", net_hub_port_new((unsigned)hub, NULL)->id);
    }
    if (!dict_has(d, "id")) {
        set_free_id(d);
    }
    if (!net_backend_create(d, errp)) {
        dict_free(nic);
        return false;
    }
    if (dict_has(nic, "netdev")) {
        net_connect(net_hub_port_new((unsigned)hub, NULL), net_client_find(dict_get(d, "id"), 0));
    } else {
        dict_set(nic, "netdev", dict_get(d, "id"));
    }
    want_nic(nic, xasprintf("-nic %s", spelt));
    return true;
}

static bool open_nic(const char *text, Error **errp)
{
    if (!strcmp(text, "none")) {
        return true;
    }
    Dict *d = net_backend_parse(text, errp);
    bool ok = d && parse_nic(d, text, errp);
    dict_free(d);
    return ok || error_prefix(errp, "-nic %s: ", text);
}

/* ---- -net ---- */

/* -net nic[,model=M][,macaddr=A][,name=ID][,netdev=ID] */
static bool parse_net_nic(Dict *d, unsigned hub, const char *spelt, Error **errp)
{
    dict_remove(d, "type");
    move_key(d, "name", d, "id");
    Dict *nic = take_nic_options(d, errp);
    if (!nic) {
        return false;
    }
    move_key(d, "id", nic, "id");
    move_key(d, "netdev", nic, "netdev");
    if (dict_count(d)) {
        dict_free(nic);
        return error_set(errp, "a card has no option '%s' here; use -device", dict_key(d, 0));
    }
    if (!dict_has(nic, "netdev")) {
        dict_set(nic, "netdev", net_hub_port_new(hub, NULL)->id);
    }
    want_nic(nic, xasprintf("-net %s", spelt));
    return true;
}

static bool parse_net(Dict *d, const char *spelt, Error **errp)
{
    uint64_t hub = 0;
    const char *type = dict_get(d, "type");
    if (!dict_get_u64(d, "vlan", &hub, errp)) {
        return false;
    }
    if (hub > INT32_MAX) {
        return error_set(errp, "vlan= is the number of a hub");
    }
    dict_remove(d, "vlan");
    if (type && !strcmp(type, "nic")) {
        return parse_net_nic(d, (unsigned)hub, spelt, errp);
    }
    move_key(d, "name", d, "id");
    if (!dict_has(d, "id")) {
        set_free_id(d);
    }
    if (!net_backend_create(d, errp)) {
        return false;
    }
    if (!type || strcmp(type, "hubport")) {
        net_connect(net_hub_port_new((unsigned)hub, NULL), net_client_find(dict_get(d, "id"), 0));
    }
    return true;
}

static bool open_net(const char *text, Error **errp)
{
    if (!strcmp(text, "none")) {
        return true;
    }
    Dict *d = net_backend_parse(text, errp);
    bool ok = d && parse_net(d, text, errp);
    dict_free(d);
    return ok || error_prefix(errp, "-net %s: ", text);
}

/* ---- all of them ---- */

static bool open_list(const StrList *l, bool (*open_one)(const char *text, Error **errp),
                      Error **errp)
{
    for (size_t i = 0; i < l->nr; i++) {
        if (!open_one(l->str[i], errp)) {
            return false;
        }
    }
    return true;
}

/* A card on a user network, as every PC of QEMU's has. */
static bool open_default(Error **errp)
{
#ifdef HAVE_SLIRP
    return open_nic("user", errp);
#else
    Dict *nic = dict_new();
    (void)errp;
    dict_set(nic, "driver", default_model);
    want_nic(nic, xstrdup("the default NIC"));
    return true;
#endif
}

bool networks_open(const Options *o, bool has_default, Error **errp)
{
    bool given = o->netdev.nr || o->nic.nr || o->net.nr;
    return open_list(&o->netdev, open_netdev, errp) && open_list(&o->nic, open_nic, errp) &&
           open_list(&o->net, open_net, errp) &&
           (given || o->nodefaults || !has_default || !device_type_find(default_model) ||
            open_default(errp));
}

bool networks_attach(Machine *m, Error **errp)
{
    bool ok = true;
    for (size_t i = 0; i < nics.nr; i++) {
        ok = ok &&
             (device_create(m, nics.opts[i], errp) || error_prefix(errp, "%s: ", nics.spelt[i]));
        dict_free(nics.opts[i]);
        free(nics.spelt[i]);
    }
    free(nics.opts);
    free(nics.spelt);
    nics.nr = 0;
    nics.opts = NULL;
    nics.spelt = NULL;
    return ok;
}

bool network_device_vlan(Dict *d, Error **errp)
{
    uint64_t hub = UINT64_MAX;
    const DeviceType *t = dict_has(d, "driver") ? device_type_find(dict_get(d, "driver")) : NULL;
    if (!dict_has(d, "vlan") || !t || !is_nic(t)) {
        return true;
    }
    if (!dict_get_u64(d, "vlan", &hub, errp) || hub > INT32_MAX || dict_has(d, "netdev")) {
        return *errp ? false
                     : error_set(errp, "vlan= is the number of a hub, and takes the place of "
                                       "netdev=");
    }
    dict_remove(d, "vlan");
    dict_set(d, "netdev", net_hub_port_new((unsigned)hub, NULL)->id);
    return true;
}

void networks_check(void)
{
    net_check_unused();
    net_hubs_check();
}
