/* SPDX-License-Identifier: GPL-2.0-or-later
 * The monitor's commands for networks.
 */
#include "monitor/internal.h"
#include "net/hub.h"
#include "net/net.h"
#include "net/user.h"
#include "util/alloc.h"

static void report(Monitor *mon, bool ok, Error **err)
{
    if (!ok) {
        monitor_error(mon, *err);
    }
}

/* ---- info network ---- */

static void print_client(Monitor *mon, const char *lead, const NetClient *nc)
{
    monitor_printf(mon, "%s%s: index=%u,type=%s%s%s%s\n", lead, nc->id, nc->queue, nc->info->type,
                   nc->text ? "," : "", nc->text ? nc->text : "",
                   nc->link_down ? ",link=down" : "");
}

/* A NIC with its peer below, and a back end nobody uses. What hubs join has been shown. */
static void print_pair(NetClient *nc, void *opaque)
{
    if (net_is_hub_port(nc) || (nc->peer && net_is_hub_port(nc->peer))) {
        return;
    }
    if (nc->info->is_nic || !nc->peer) {
        print_client(opaque, "", nc);
        if (nc->peer) {
            print_client(opaque, " \\ ", nc->peer);
        }
    }
}

static void info_network(Monitor *mon, const Dict *args)
{
    (void)args;
    net_hubs_print(monitor_print_line, mon);
    net_clients_each(print_pair, mon);
}

static void info_usernet(Monitor *mon, const Dict *args)
{
    (void)args;
    if (!net_user_info(monitor_print_line, mon)) {
        monitor_printf(mon, "there is no user network\n");
    }
}

/* ---- changes ---- */

static void run_set_link(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    report(mon, net_set_link(dict_get(args, "name"), arg_bool(args, "up"), &err), &err);
}

static void run_announce_self(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    report(mon, net_announce(dict_get(args, "interfaces"), dict_get(args, "id"), &err), &err);
}

static void run_netdev_add(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    const char *text = dict_get(args, "netdev");
    if (!strcmp(text, "help")) {
        net_backends_list(monitor_print_line, mon);
        return;
    }
    Dict *opts = net_backend_parse(text, &err);
    bool ok = opts && net_backend_create(opts, &err);
    dict_free(opts);
    report(mon, ok, &err);
}

static void run_netdev_del(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    report(mon, net_backend_delete(dict_get(args, "id"), &err), &err);
}

/* "[netdev] spec", as QEMU has it: with one word it is the spec. */
static void forward(Monitor *mon, const Dict *args,
                    bool (*change)(const char *netdev, const char *spec, Error **errp))
{
    Error *err = NULL;
    const char *first = dict_get(args, "first"), *second = dict_get(args, "second");
    bool ok = first ? change(second ? first : NULL, second ? second : first, &err)
                    : error_set(&err, "which port? [netdev] [tcp|udp]:[hostaddr]:hostport is meant, for "
                                      "hostfwd_add with -[guestaddr]:guestport behind it, for example "
                                      "tcp::2222-:22");
    report(mon, ok, &err);
}

static void run_hostfwd_add(Monitor *mon, const Dict *args)
{
    forward(mon, args, net_user_hostfwd_add);
}

static void run_hostfwd_remove(Monitor *mon, const Dict *args)
{
    forward(mon, args, net_user_hostfwd_remove);
}

/* ---- completion ---- */

typedef struct Word {
    Monitor *mon;
    const char *prefix;
    bool nics, backends;
} Word;

static void offer(NetClient *nc, void *opaque)
{
    Word *w = opaque;
    if (!nc->queue && (nc->info->is_nic ? w->nics : w->backends) &&
        !strncmp(nc->id, w->prefix, strlen(w->prefix))) {
        monitor_completion(w->mon, nc->id);
    }
}

static void complete_set_link(Monitor *mon, unsigned arg, const char *prefix)
{
    Word w = { mon, prefix, true, true };
    if (!arg) {
        net_clients_each(offer, &w);
        return;
    }
    for (const char *const *p = (const char *const[]){ "on", "off", NULL }; *p; p++) {
        if (!strncmp(*p, prefix, strlen(prefix))) {
            monitor_completion(mon, *p);
        }
    }
}

static void complete_nics(Monitor *mon, unsigned arg, const char *prefix)
{
    Word w = { mon, prefix, true, false };
    if (!arg) {
        net_clients_each(offer, &w);
    }
}

static void complete_netdev(Monitor *mon, unsigned arg, const char *prefix)
{
    Word w = { mon, prefix, false, true };
    if (!arg) {
        net_clients_each(offer, &w);
    }
}

MONITOR_COMMANDS(net_commands) = {
    { .name = "network",
      .help = "show the network cards and what they are connected to",
      .run = info_network,
      .info = true },
    { .name = "usernet",
      .help = "show connections and forwarded ports of user networks",
      .run = info_usernet,
      .info = true },
    { .name = "set_link",
      .args = "name:s,up:b",
      .params = "name on|off",
      .help = "plug or pull the cable of a network card or netdev",
      .run = run_set_link,
      .complete = complete_set_link },
    { .name = "announce_self",
      .args = "interfaces:s?,id:s?",
      .params = "[interfaces] [id]",
      .help = "tell the network where the cards are: all, or those listed",
      .run = run_announce_self,
      .complete = complete_nics },
    { .name = "netdev_add",
      .args = "netdev:S",
      .params = "user|hubport|...,id=id[,prop=value][,...]",
      .help = "make a network back end, as -netdev does",
      .run = run_netdev_add },
    { .name = "netdev_del",
      .args = "id:s",
      .params = "id",
      .help = "remove a network back end; its card keeps running without",
      .run = run_netdev_del,
      .complete = complete_netdev },
    { .name = "hostfwd_add",
      .args = "first:s?,second:s?",
      .params = "[netdev] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
      .help = "lead a port of the host to the guest (user networks)",
      .run = run_hostfwd_add,
      .complete = complete_netdev },
    { .name = "hostfwd_remove",
      .args = "first:s?,second:s?",
      .params = "[netdev] [tcp|udp]:[hostaddr]:hostport",
      .help = "close a port that hostfwd_add or hostfwd= opened",
      .run = run_hostfwd_remove,
      .complete = complete_netdev },
    { .name = NULL },
};
