/* SPDX-License-Identifier: GPL-2.0-or-later
 * -netdev user: a network of the guest's own behind this process's sockets, by libslirp: DHCP,
 * DNS, TFTP and NAT for TCP, UDP and ping, with nothing to set up on the host. This file reads the
 * options, which are QEMU's; descriptors are in user_poll.c, packets to the guest in user_merge.c,
 * ports in user_fwd.c. SMB is left out.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/hub.h"
#include "net/user_internal.h"
#include "util/alloc.h"

static List networks = LIST_INIT(networks);

/* ---- packets of the guest ---- */

static bool user_can_receive(NetClient *nc)
{
    return !container_of(nc, UserNet, nc)->in_slirp;
}

/* libslirp looks at no destination, takes what two others on a hub say to each other for its own,
 * and resets their connections. The addresses that it has itself begin with 52:55 (IPv4: the other
 * four bytes are the IP address) and 52:56 (IPv6). */
static bool is_for_others(const UserNet *u, size_t len)
{
    const uint8_t *dest = u->frame;
    return len >= ETH_ALEN && u->nc.peer && net_is_hub_port(u->nc.peer) && !(dest[0] & 1) &&
           !(dest[0] == 0x52 && (dest[1] == 0x55 || dest[1] == 0x56));
}

static bool user_receive(NetClient *nc, const NetPacket *p)
{
    UserNet *u = container_of(nc, UserNet, nc);
    size_t len = net_iov_copy(u->frame, sizeof(u->frame), p->iov, p->nr_iov, 0);
    if (!is_for_others(u, len)) {
        user_enter(u);
        slirp_input(u->slirp, u->frame, (int)len);
        user_leave(u);
        user_poll_sent(u);
    }
    return true;
}

static void user_close(NetClient *nc)
{
    UserNet *u = container_of(nc, UserNet, nc);
    if (u->slirp) {
        slirp_cleanup(u->slirp);
    }
    user_host_sockets_close(u);
    user_guestfwds_close(u);
    user_poll_fini(u);
    list_remove(&u->node);
}

static const NetClientInfo user_info = {
    .type = "user",
    .size = sizeof(UserNet),
    .can_receive = user_can_receive,
    .receive = user_receive,
    .close = user_close,
};

/* ---- options: addresses ---- */

static bool get_ipv4(const Dict *opts, const char *key, struct in_addr *out, Error **errp)
{
    const char *text = dict_get(opts, key);
    return !text || inet_pton(AF_INET, text, out) == 1 ||
           error_set(errp, "%s=%s: not an IPv4 address such as 10.0.2.2", key, text);
}

static bool get_ipv6(const Dict *opts, const char *key, struct in6_addr *out, Error **errp)
{
    const char *text = dict_get(opts, key);
    return !text || inet_pton(AF_INET6, text, out) == 1 ||
           error_set(errp, "%s=%s: not an IPv6 address such as fec0::2", key, text);
}

/* net=10.0.2.0/24, net=10.0.2.0/255.255.255.0, or an address whose class says the mask. */
static bool get_net(UserNet *u, const Dict *opts, Error **errp)
{
    const char *text = dict_get(opts, "net");
    u->net.s_addr = htonl(0x0a000200);
    u->mask.s_addr = htonl(0xffffff00);
    if (!text) {
        return true;
    }
    size_t len = strcspn(text, "/");
    char *addr = xstrndup(text, len);
    bool ok = inet_pton(AF_INET, addr, &u->net) == 1;
    free(addr);
    uint32_t a = ntohl(u->net.s_addr), mask = a >> 31 == 0   ? 0xff000000
                                              : a >> 30 == 2 ? 0xffff0000
                                                             : 0xffffff00;
    if (ok && text[len]) {
        uint64_t bits;
        struct in_addr dotted;
        const char *m = text + len + 1;
        if (parse_u64(m, &bits) && bits >= 1 && bits <= 30) {
            mask = ~(uint32_t)0 << (32 - bits);
        } else if (strchr(m, '.') && inet_pton(AF_INET, m, &dotted) == 1) {
            mask = ntohl(dotted.s_addr);
            ok = mask && !(~mask & (~mask + 1)) && ~mask >= 3;
        } else {
            ok = false;
        }
    }
    u->mask.s_addr = htonl(mask);
    u->net.s_addr &= u->mask.s_addr;
    return ok || error_set(errp, "net=%s: not a network such as 10.0.2.0/24", text);
}

/* Where nothing is given: host .2, DNS .3, DHCP from .15 on, as far as the mask has room. */
static void default_address(const UserNet *u, struct in_addr *out, uint32_t last)
{
    out->s_addr = u->net.s_addr | (htonl(last) & ~u->mask.s_addr);
}

static bool check_inside(const UserNet *u, const char *key, struct in_addr a, Error **errp)
{
    return (a.s_addr & u->mask.s_addr) == u->net.s_addr ||
           error_set(errp, "%s=%s is not in the network of net=", key, inet_ntoa(a));
}

static bool get_ipv4_options(UserNet *u, const Dict *opts, Error **errp)
{
    if (!get_net(u, opts, errp)) {
        return false;
    }
    default_address(u, &u->host, 2);
    default_address(u, &u->dns, 3);
    default_address(u, &u->dhcp, 15);
    if (!get_ipv4(opts, "host", &u->host, errp) || !get_ipv4(opts, "dns", &u->dns, errp) ||
        !get_ipv4(opts, "dhcpstart", &u->dhcp, errp) || !check_inside(u, "host", u->host, errp) ||
        !check_inside(u, "dns", u->dns, errp) || !check_inside(u, "dhcpstart", u->dhcp, errp)) {
        return false;
    }
    if (u->host.s_addr == u->dns.s_addr) {
        return error_set(errp, "host= and dns= are the same address; give each one of its own");
    }
    if (u->dhcp.s_addr == u->host.s_addr || u->dhcp.s_addr == u->dns.s_addr) {
        return error_set(errp, "dhcpstart=%s is the address of host= or dns=", inet_ntoa(u->dhcp));
    }
    return true;
}

static bool get_ipv6_options(SlirpConfig *c, const Dict *opts, Error **errp)
{
    const char *net = dict_get(opts, "ipv6-net");
    uint64_t bits = 64;
    inet_pton(AF_INET6, "fec0::", &c->vprefix_addr6);
    if (net && (dict_has(opts, "ipv6-prefix") || dict_has(opts, "ipv6-prefixlen"))) {
        return error_set(errp, "ipv6-net= says prefix and length; leave ipv6-prefix= and "
                               "ipv6-prefixlen= away");
    }
    if (net) {
        size_t len = strcspn(net, "/");
        char *addr = xstrndup(net, len);
        bool ok = inet_pton(AF_INET6, addr, &c->vprefix_addr6) == 1 &&
                  (!net[len] || parse_u64(net + len + 1, &bits));
        free(addr);
        if (!ok) {
            return error_set(errp, "ipv6-net=%s: not a network such as fec0::/64", net);
        }
    }
    if (!get_ipv6(opts, "ipv6-prefix", &c->vprefix_addr6, errp) ||
        !dict_get_u64(opts, "ipv6-prefixlen", &bits, errp)) {
        return false;
    }
    if (bits > 126) {
        return error_set(errp, "an IPv6 prefix of %llu bits leaves no addresses; use 64",
                         (unsigned long long)bits);
    }
    c->vprefix_len = (uint8_t)bits;
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    return get_ipv6(opts, "ipv6-host", &c->vhost6, errp) &&
           get_ipv6(opts, "ipv6-dns", &c->vnameserver6, errp);
}

/* ---- options: names ---- */

static bool get_name(const Dict *opts, const char *key, size_t max, const char **out, Error **errp)
{
    *out = dict_get(opts, key);
    return !*out || strlen(*out) <= max ||
           error_set(errp, "%s= is longer than the %zu characters DHCP has room for", key, max);
}

static bool get_tftp(const Dict *opts, const char **out, Error **errp)
{
    struct stat st;
    *out = dict_get(opts, "tftp");
    if (!*out || !**out) {
        return true;
    }
    if (stat(*out, &st)) {
        return error_set(errp, "tftp=%s: %s; name a directory whose files the guest may read", *out,
                         strerror(errno));
    }
    return S_ISDIR(st.st_mode) ||
           error_set(errp, "tftp=%s is no directory; name the one whose files the guest may read",
                     *out);
}

/* i-th "key.N" or "key.N.str" (JSON); NULL past the end. */
static const char *list_item(const Dict *opts, const char *key, unsigned i)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.%u.str", key, i);
    const char *text = dict_get(opts, name);
    snprintf(name, sizeof(name), "%s.%u", key, i);
    text = text ? text : dict_get(opts, name);
    return text || i ? text : dict_get(opts, key);
}

enum { MAX_DOMAINS = 32 };

static bool get_config(UserNet *u, const Dict *opts, SlirpConfig *c, const char **domains,
                       Error **errp)
{
    bool restricted = false, v4 = true, v6 = true;
    bool has_v4 = dict_has(opts, "ipv4"), has_v6 = dict_has(opts, "ipv6");
    if (!dict_get_bool(opts, "restrict", &restricted, errp) ||
        !dict_get_bool(opts, "ipv4", &v4, errp) || !dict_get_bool(opts, "ipv6", &v6, errp)) {
        return false;
    }
    /* Who asks for one of the two wants it alone. */
    v6 &= has_v6 || !has_v4 || !v4;
    v4 &= has_v4 || !has_v6 || !v6;
    if (!v4 && !v6) {
        return error_set(errp, "with ipv4=off and ipv6=off there is no network; switch one on");
    }
    if (dict_has(opts, "smb") || dict_has(opts, "smbserver")) {
        return error_set(errp, "smb= is not built; tftp= shares files for reading, and the guest "
                               "reaches servers on this host at its gateway's address");
    }
    if (!get_ipv4_options(u, opts, errp) || !get_ipv6_options(c, opts, errp) ||
        !get_name(opts, "hostname", 33, &c->vhostname, errp) ||
        !get_name(opts, "domainname", 255, &c->vdomainname, errp) ||
        !get_name(opts, "bootfile", 127, &c->bootfile, errp) ||
        !get_name(opts, "tftp-server-name", 255, &c->tftp_server_name, errp) ||
        !get_tftp(opts, &c->tftp_path, errp)) {
        return false;
    }
    for (unsigned i = 0; list_item(opts, "dnssearch", i); i++) {
        if (i == MAX_DOMAINS) {
            return error_set(errp, "more than %d dnssearch= domains", MAX_DOMAINS);
        }
        domains[i] = list_item(opts, "dnssearch", i);
    }
    c->version = 1;
    c->restricted = restricted;
    c->in_enabled = v4;
    c->in6_enabled = v6;
    c->vnetwork = u->net;
    c->vnetmask = u->mask;
    c->vhost = u->host;
    c->vdhcp_start = u->dhcp;
    c->vnameserver = u->dns;
    c->vdnssearch = domains[0] ? domains : NULL;
    return true;
}

/* ---- creation ---- */

static bool add_forwards(UserNet *u, const Dict *opts, Error **errp)
{
    const char *spec;
    for (unsigned i = 0; (spec = list_item(opts, "hostfwd", i)); i++) {
        if (!user_hostfwd(u, spec, true, errp)) {
            return false;
        }
    }
    for (unsigned i = 0; (spec = list_item(opts, "guestfwd", i)); i++) {
        if (!user_guestfwd_add(u, spec, i, errp)) {
            return false;
        }
    }
    return true;
}

static bool user_create(const char *id, const Dict *opts, Error **errp)
{
    SlirpConfig c = { 0 };
    const char *domains[MAX_DOMAINS + 1] = { NULL };
    NetClient *nc = net_client_new(&user_info, id, 0);
    UserNet *u = container_of(nc, UserNet, nc);
    list_init(&u->guestfwds);
    list_init(&u->host_sockets);
    list_insert(&networks, &u->node);
    user_poll_init(u);
    /* It takes segments of any length, so that nobody has to cut them. */
    nc->accepts = NET_TSO4 | NET_TSO6 | NET_ECN;
    bool ok = get_config(u, opts, &c, domains, errp);
    if (ok) {
        u->slirp = slirp_new(&c, &user_slirp_callbacks, u);
        ok = u->slirp || error_set(errp, "libslirp refuses these options");
    }
    if (!ok || !add_forwards(u, opts, errp)) {
        net_client_delete(nc);
        return false;
    }
    net_client_describe(nc, "net=%s,restrict=%s", inet_ntoa(u->net), c.restricted ? "on" : "off");
    user_poll_kick(u);
    return true;
}

static const char *const user_keys[] = {
    "net",      "host",        "dhcpstart",        "dns",        "dnssearch[]", "domainname",
    "hostname", "tftp",        "tftp-server-name", "bootfile",   "ipv4",        "ipv6",
    "ipv6-net", "ipv6-prefix", "ipv6-prefixlen",   "ipv6-host",  "ipv6-dns",    "restrict",
    "smb",      "smbserver",   "hostfwd[]",        "guestfwd[]", NULL
};

static const char *const user_help[] = {
    "  hostfwd=tcp::HOSTPORT-:GUESTPORT  a port of this host leads to the guest; several",
    "          also udp:..., tcp:HOSTADDR:PORT-GUESTADDR:PORT, unix:PATH-:PORT",
    "  guestfwd=tcp:SERVER:PORT-CHARDEV  an address the guest sees leads to a stream; several",
    "          or -cmd:COMMAND, one process a connection",
    "  net=10.0.2.0/24        the guest's network",
    "  host=10.0.2.2          this host in it; dns=10.0.2.3, dhcpstart=10.0.2.15",
    "  ipv4=on|off            on unless only ipv6=on is given",
    "  ipv6=on|off            on unless only ipv4=on is given",
    "  ipv6-net=fec0::/64     or ipv6-prefix=, ipv6-prefixlen=; ipv6-host=, ipv6-dns=",
    "  restrict=on            the guest reaches nothing but forwarded ports",
    "  hostname=NAME          what DHCP calls the guest; domainname=, dnssearch= (several)",
    "  tftp=DIR               files the guest may read; bootfile=FILE, tftp-server-name=NAME",
    NULL
};

NET_BACKEND(user) = {
    .name = "user",
    .desc = "a network of its own behind this host's sockets; nothing to set up",
    .keys = user_keys,
    .help = user_help,
    .create = user_create,
};

/* ---- the monitor's side ---- */

static UserNet *find_network(const char *netdev, Error **errp)
{
    if (list_empty(&networks)) {
        error_set(errp, "there is no user network");
        return NULL;
    }
    UserNet *only = container_of(networks.next, UserNet, node);
    if (!netdev && only->node.next != &networks) {
        error_set(errp, "there are several user networks; name one (info network lists them)");
        return NULL;
    }
    if (!netdev) {
        return only;
    }
    list_for_each(pos, &networks) {
        if (!strcmp(container_of(pos, UserNet, node)->nc.id, netdev)) {
            return container_of(pos, UserNet, node);
        }
    }
    error_set(errp, "there is no user network '%s' (info network lists them)", netdev);
    return NULL;
}

bool net_user_hostfwd_add(const char *netdev, const char *spec, Error **errp)
{
    UserNet *u = find_network(netdev, errp);
    return u && user_hostfwd(u, spec, true, errp);
}

bool net_user_hostfwd_remove(const char *netdev, const char *spec, Error **errp)
{
    UserNet *u = find_network(netdev, errp);
    return u && user_hostfwd(u, spec, false, errp);
}

/* libslirp prints the source of each connection as an IP address, also a unix socket's path: that
 * row anew, or NULL. It begins with "  TCP[STATE]  FD ADDRESS PORT". */
static char *unix_row(const char *line)
{
    struct sockaddr_un un = { 0 };
    socklen_t len = sizeof(un);
    int fd, fd_end = 0, rest = 0;
    if (sscanf(line, " TCP[%*[^]]] %d%n %*s %*s%n", &fd, &fd_end, &rest) != 1 || !rest ||
        getsockname(fd, (struct sockaddr *)&un, &len) < 0 || un.sun_family != AF_UNIX) {
        return NULL;
    }
    return xasprintf("%.*s %21.*s%s", fd_end, line, (int)sizeof(un.sun_path), un.sun_path, line + rest);
}

/* One line a print. */
static void print_text(char *text, void (*print)(void *opaque, const char *line), void *opaque)
{
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *row = unix_row(line);
        print(opaque, row ? row : line);
        free(row);
    }
}

/* Whether echo requests of the guest get out (icmp(7)). */
static void print_ping(const char *what, int family, int protocol,
                       void (*print)(void *opaque, const char *line), void *opaque)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, protocol);
    char *line;
    if (fd >= 0) {
        close(fd);
        line = xasprintf("  %s: works", what);
    } else if (errno == EACCES || errno == EPERM) {
        line =
            xasprintf("  %s: not allowed by this host, except to the gateway; to allow it: sysctl "
                      "-w net.ipv4.ping_group_range='0 2147483647'",
                      what);
    } else {
        line = xasprintf("  %s: not possible on this host, except to the gateway: %s", what,
                         strerror(errno));
    }
    print(opaque, line);
    free(line);
}

bool net_user_info(void (*print)(void *opaque, const char *line), void *opaque)
{
    list_for_each(pos, &networks) {
        UserNet *u = container_of(pos, UserNet, node);
        char *head = xasprintf("Hub -1 (%s):", u->nc.id);
        char *text = slirp_connection_info(u->slirp);
        print(opaque, head);
        print_text(text, print, opaque);
        free(text);
        free(head);
    }
    if (!list_empty(&networks)) {
        print_ping("ping (IPv4)", AF_INET, IPPROTO_ICMP, print, opaque);
        print_ping("ping (IPv6)", AF_INET6, IPPROTO_ICMPV6, print, opaque);
    }
    return !list_empty(&networks);
}
