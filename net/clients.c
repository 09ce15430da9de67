/* SPDX-License-Identifier: GPL-2.0-or-later
 * The list of clients: names, peers, links, MAC addresses.
 */
#include "net/internal.h"
#include "util/alloc.h"

static List clients = LIST_INIT(clients);

/* ---- the list ---- */

static NetClient *client_of(List *pos)
{
    return container_of(pos, NetClient, node);
}

static void client_init(NetClient *nc, const NetClientInfo *info, const char *id, unsigned queue)
{
    nc->info = info;
    nc->id = xstrdup(id);
    nc->queue = queue;
    list_init(&nc->filters);
    net_queue_init(nc);
    list_insert(&clients, &nc->node);
}

static void client_fini(NetClient *nc)
{
    net_disconnect(nc);
    list_for_each_safe(pos, &nc->filters) {
        net_filter_del(container_of(pos, NetFilter, node));
    }
    net_queue_fini(nc);
    list_remove(&nc->node);
    free(nc->id);
    free(nc->model);
    free(nc->text);
    nc->id = nc->model = nc->text = NULL;
    nc->info = NULL;
}

NetClient *net_client_new(const NetClientInfo *info, const char *id, unsigned queue)
{
    assert(info->size >= sizeof(NetClient));
    NetClient *nc = xcalloc(1, info->size);
    client_init(nc, info, id, queue);
    return nc;
}

void net_client_delete(NetClient *nc)
{
    assert(!nc->in_receive);
    net_disconnect(nc);
    if (nc->info->close) {
        nc->info->close(nc);
    }
    client_fini(nc);
    free(nc);
}

/* A netdev and a NIC may share an id: QEMU's users do so. */
static NetClient *find(const char *id, unsigned queue, bool nic)
{
    list_for_each(pos, &clients) {
        NetClient *nc = client_of(pos);
        if (nc->queue == queue && nc->info->is_nic == nic && !strcmp(nc->id, id)) {
            return nc;
        }
    }
    return NULL;
}

NetClient *net_client_find(const char *id, unsigned queue)
{
    return find(id, queue, false);
}

NetClient *net_nic_find(const char *id, unsigned queue)
{
    return find(id, queue, true);
}

unsigned net_client_nr_queues(const char *id)
{
    unsigned nr = 0;
    while (find(id, nr, false)) {
        nr++;
    }
    return nr;
}

void net_clients_each(void (*fn)(NetClient *nc, void *opaque), void *opaque)
{
    list_for_each_safe(pos, &clients) {
        fn(client_of(pos), opaque);
    }
}

const char *net_suggest(const char *id)
{
    const char *names[64];
    size_t nr = 0;
    list_for_each(pos, &clients) {
        if (!client_of(pos)->info->is_nic && nr < ARRAY_SIZE(names) - 1) {
            names[nr++] = client_of(pos)->id;
        }
    }
    names[nr] = NULL;
    return suggest(id, names);
}

void net_client_describe(NetClient *nc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    free(nc->text);
    nc->text = xvasprintf(fmt, ap);
    va_end(ap);
}

/* ---- peers ---- */

static void peer_changed(NetClient *nc)
{
    if (nc->info->peer_changed) {
        nc->info->peer_changed(nc);
    }
}

void net_connect(NetClient *a, NetClient *b)
{
    assert(!a->peer && !b->peer && a != b);
    a->peer = b;
    b->peer = a;
    peer_changed(a);
    peer_changed(b);
}

void net_disconnect(NetClient *nc)
{
    NetClient *other = nc->peer;
    if (other) {
        /* Who was refused by the other may go on, too: what it sends vanishes now. */
        nc->stopped |= other->refused;
        other->stopped |= nc->refused;
        nc->refused = other->refused = false;
        nc->peer = other->peer = NULL;
        peer_changed(nc);
        peer_changed(other);
        net_resume(nc);
        net_resume(other);
    }
}

/* ---- links ---- */

static void set_link(NetClient *nc, bool down)
{
    if (nc->link_down != down) {
        nc->link_down = down;
        if (down) {
            net_purge(nc);
        }
        if (nc->info->link_changed) {
            nc->info->link_changed(nc);
        }
    }
}

bool net_set_link(const char *id, bool up, Error **errp)
{
    bool found = false;
    list_for_each(pos, &clients) {
        NetClient *nc = client_of(pos);
        if (strcmp(nc->id, id)) {
            continue;
        }
        found = true;
        set_link(nc, !up);
        /* A guest sees only its NIC: pulling the cable at the other end is the same. */
        if (nc->peer && nc->peer->info->is_nic && !nc->info->is_nic) {
            set_link(nc->peer, !up);
        }
    }
    if (found) {
        return true;
    }
    const char *near = net_suggest(id);
    return near ? error_set(errp, "there is no network device '%s', did you mean '%s'?", id, near)
                : error_set(errp, "there is no network device '%s'; info network lists them", id);
}

/* ---- NICs ---- */

/* model.N with the first N that is free. */
static char *nic_name(const char *model)
{
    for (unsigned n = 0;; n++) {
        char *name = xasprintf("%s.%u", model, n);
        if (!net_nic_find(name, 0)) {
            return name;
        }
        free(name);
    }
}

static bool find_netdev(const char *netdev, Error **errp)
{
    NetClient *nc = net_client_find(netdev, 0);
    if (!nc) {
        const char *near = net_suggest(netdev);
        return near ? error_set(errp, "there is no netdev '%s', did you mean '%s'?", netdev, near)
                    : error_set(errp, "there is no netdev '%s'; create it with -netdev TYPE,id=%s",
                                netdev, netdev);
    }
    if (nc->peer) {
        return error_set(errp, "netdev '%s' is taken by '%s'; each NIC needs a netdev of its own",
                         netdev, nc->peer->id);
    }
    return true;
}

bool net_nic_init(NetClient *q, unsigned nr, const NetClientInfo *info, const NetNicConfig *c,
                  Error **errp)
{
    bool connected = c->netdev && *c->netdev;
    if (connected && !find_netdev(c->netdev, errp)) {
        return false;
    }
    if (c->id && net_nic_find(c->id, 0)) {
        return error_set(errp, "there is a NIC '%s' already; choose another id", c->id);
    }
    char *name = c->id ? xstrdup(c->id) : nic_name(c->model);
    for (unsigned i = 0; i < nr; i++) {
        memset(&q[i], 0, sizeof(q[i]));
        client_init(&q[i], info, name, i);
        q[i].model = xstrdup(c->model);
        q[i].opaque = c->opaque;
        q[i].accepts = c->accepts;
    }
    free(name);
    for (unsigned i = 0; connected && i < nr; i++) {
        NetClient *other = net_client_find(c->netdev, i);
        if (other) {
            q[i].link_down = other->link_down;
            net_connect(&q[i], other);
        }
    }
    return true;
}

void net_nic_fini(NetClient *q, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        if (q[i].info) {
            client_fini(&q[i]);
        }
    }
}

void net_nic_describe(NetClient *nc, const uint8_t mac[ETH_ALEN])
{
    memcpy(nc->mac, mac, ETH_ALEN);
    net_client_describe(nc, "model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", nc->model, mac[0],
                        mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void check_unused(NetClient *nc, void *opaque)
{
    (void)opaque;
    if (nc->vhost && nc->peer && !nc->queue && !nc->peer->info->path_changed) {
        warn_report("netdev '%s': vhost=on does nothing for '%s': only virtio-net cards can use it",
                    nc->id, nc->peer->id);
    }
    if (nc->peer || nc->queue) {
        return;
    }
    if (nc->info->is_nic) {
        warn_report("NIC '%s' has no network; give it one with netdev=ID", nc->id);
    } else {
        warn_report("netdev '%s' has no NIC; add one with -device e1000,netdev=%s", nc->id, nc->id);
    }
}

void net_check_unused(void)
{
    net_clients_each(check_unused, NULL);
}

/* ---- MAC addresses ---- */

/* 52:54:00:12:34:56 and those behind it in the last byte; how many have each. */
static const uint8_t mac_first[ETH_ALEN] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
static uint8_t mac_users[256];

static uint8_t *mac_entry(const uint8_t mac[ETH_ALEN])
{
    return memcmp(mac, mac_first, ETH_ALEN - 1) ? NULL : &mac_users[mac[ETH_ALEN - 1]];
}

bool net_mac_assign(uint8_t mac[ETH_ALEN], Error **errp)
{
    static const uint8_t none[ETH_ALEN];
    if (mac[0] & 1) {
        return error_set(errp,
                         "mac=%02x:...: a multicast address; the first number of a card's "
                         "is even, as in 52:54:00:12:34:56",
                         mac[0]);
    }
    if (!memcmp(mac, none, ETH_ALEN)) {
        unsigned last = mac_first[ETH_ALEN - 1];
        while (last < 255 && mac_users[last]) {
            last++;
        }
        memcpy(mac, mac_first, ETH_ALEN);
        mac[ETH_ALEN - 1] = (uint8_t)last;
    }
    uint8_t *users = mac_entry(mac);
    if (users && *users < 255) {
        ++*users;
    }
    return true;
}

void net_mac_release(const uint8_t mac[ETH_ALEN])
{
    uint8_t *users = mac_entry(mac);
    if (users && *users) {
        --*users;
    }
}
