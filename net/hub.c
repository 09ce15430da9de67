/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hubs: a packet that comes in at one port goes out at all others. Each port is a client of its
 * own, joined to a NIC or a back end. It does not learn addresses, as the boxes of old did not.
 */
#include "net/hub.h"

#include "util/alloc.h"

typedef struct Hub {
    unsigned number, next_port;
    List ports; /* of HubPort */
    List node;
} Hub;

typedef struct HubPort {
    NetClient nc;
    Hub *hub;
    List node;
} HubPort;

static List hubs = LIST_INIT(hubs); /* sorted by number */

static HubPort *port_of(List *pos)
{
    return container_of(pos, HubPort, node);
}

/* One that would take it is enough: the others queue it, or lose it when they never read. */
static bool hub_can_receive(NetClient *nc)
{
    HubPort *from = container_of(nc, HubPort, nc);
    bool others = false;
    list_for_each(pos, &from->hub->ports) {
        HubPort *port = port_of(pos);
        if (port != from && net_can_send(&port->nc)) {
            return true;
        }
        others |= port != from;
    }
    return !others;
}

static bool hub_receive(NetClient *nc, const NetPacket *p)
{
    HubPort *from = container_of(nc, HubPort, nc);
    list_for_each_safe(pos, &from->hub->ports) {
        if (port_of(pos) != from) {
            net_send(&port_of(pos)->nc, p);
        }
    }
    return true;
}

/* Who was slow goes on: so may those who send to it. */
static void hub_resume(NetClient *nc)
{
    HubPort *slow = container_of(nc, HubPort, nc);
    list_for_each_safe(pos, &slow->hub->ports) {
        if (port_of(pos) != slow) {
            net_flush(&port_of(pos)->nc);
        }
    }
}

static void hub_close(NetClient *nc)
{
    HubPort *port = container_of(nc, HubPort, nc);
    Hub *hub = port->hub;
    list_remove(&port->node);
    if (list_empty(&hub->ports)) {
        list_remove(&hub->node);
        free(hub);
    }
}

static const NetClientInfo hub_info = {
    .type = "hubport",
    .size = sizeof(HubPort),
    .can_receive = hub_can_receive,
    .receive = hub_receive,
    .resume = hub_resume,
    .close = hub_close,
};

bool net_is_hub_port(const NetClient *nc)
{
    return nc->info == &hub_info;
}

static Hub *hub_get(unsigned number)
{
    List *pos = hubs.next;
    while (pos != &hubs && container_of(pos, Hub, node)->number < number) {
        pos = pos->next;
    }
    if (pos != &hubs && container_of(pos, Hub, node)->number == number) {
        return container_of(pos, Hub, node);
    }
    Hub *hub = xcalloc(1, sizeof(*hub));
    hub->number = number;
    list_init(&hub->ports);
    list_insert(pos, &hub->node);
    return hub;
}

NetClient *net_hub_port_new(unsigned number, const char *id)
{
    Hub *hub = hub_get(number);
    char *name = id ? xstrdup(id) : xasprintf("hub%uport%u", number, hub->next_port);
    NetClient *nc = net_client_new(&hub_info, name, 0);
    HubPort *port = container_of(nc, HubPort, nc);
    hub->next_port++;
    port->hub = hub;
    list_insert(&hub->ports, &port->node);
    nc->accepts = NET_ACCEPT_ALL;
    net_client_describe(nc, "hubid=%u", number);
    free(name);
    return nc;
}

/* ---- -netdev hubport,id=ID,hubid=N[,netdev=OTHER] ---- */

static bool hubport_create(const char *id, const Dict *opts, Error **errp)
{
    uint64_t number = UINT64_MAX;
    const char *netdev = dict_get(opts, "netdev");
    NetClient *other = netdev ? net_client_find(netdev, 0) : NULL;
    if (!dict_get_u64(opts, "hubid", &number, errp)) {
        return false;
    }
    if (number > INT32_MAX) {
        return error_set(errp, "hubport needs the number of its hub: hubid=0");
    }
    if (netdev && !other) {
        return error_set(errp, "there is no netdev '%s'; give its -netdev first", netdev);
    }
    if (other && other->peer) {
        return error_set(errp, "netdev '%s' is taken by '%s'", netdev, other->peer->id);
    }
    NetClient *nc = net_hub_port_new((unsigned)number, id);
    if (other) {
        net_connect(nc, other);
    }
    return true;
}

static const char *const hubport_keys[] = { "hubid", "netdev", NULL };
static const char *const hubport_help[] = {
    "  hubid=N                the hub; all ports of one number see each other",
    "  netdev=ID              a netdev to put there; without, a NIC says netdev=", NULL
};

NET_BACKEND(hubport) = {
    .name = "hubport",
    .desc = "a port of a hub that joins several networks and NICs",
    .keys = hubport_keys,
    .help = hubport_help,
    .create = hubport_create,
};

/* ---- info network ---- */

void net_hubs_print(void (*print)(void *opaque, const char *line), void *opaque)
{
    list_for_each(h, &hubs) {
        Hub *hub = container_of(h, Hub, node);
        char *line = xasprintf("hub %u", hub->number);
        print(opaque, line);
        free(line);
        list_for_each(pos, &hub->ports) {
            NetClient *nc = &port_of(pos)->nc;
            const NetClient *peer = nc->peer;
            line = !peer ? xasprintf(" \\ %s", nc->id)
                         : xasprintf(" \\ %s: %s: index=%u,type=%s,%s%s", nc->id, peer->id,
                                     peer->queue, peer->info->type, peer->text ? peer->text : "",
                                     peer->link_down ? ",link=down" : "");
            print(opaque, line);
            free(line);
        }
    }
}

void net_hubs_check(void)
{
    list_for_each(h, &hubs) {
        Hub *hub = container_of(h, Hub, node);
        unsigned nics = 0, others = 0;
        list_for_each(pos, &hub->ports) {
            const NetClient *peer = port_of(pos)->nc.peer;
            nics += peer && peer->info->is_nic;
            others += peer && !peer->info->is_nic;
        }
        if (nics == 1 && !others) {
            warn_report("hub %u has a NIC but no network; add -net user,vlan=%u", hub->number,
                        hub->number);
        } else if (!nics && others == 1) {
            warn_report("hub %u has no NIC; add -net nic,vlan=%u", hub->number, hub->number);
        }
    }
}
