/* SPDX-License-Identifier: GPL-2.0-or-later
 * Ports of user networks: hostfwd (a port of the host leads to the guest) and guestfwd (a port of
 * the guest's network leads to a character device or a command of the host). The words are those
 * of QEMU's -netdev user.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/user_internal.h"
#include "util/alloc.h"
#include "util/socket_holder.h"

static const char hostfwd_form[] =
    "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, for example "
    "tcp::2222-:22";

typedef struct Endpoint {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;
} Endpoint;

/* ---- addresses ---- */

/* "ADDR:PORT" or "[V6ADDR]:PORT"; without an address INADDR_ANY. */
static bool parse_endpoint(const char *text, Endpoint *e, bool allow_0, Error **errp)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    memset(e, 0, sizeof(*e));
    if (!colon || !parse_u64(colon + 1, &port) || port > 65535 || (!port && !allow_0)) {
        return error_set(errp, "'%s' does not end in a port from %d to 65535", text, !allow_0);
    }
    bool v6 = text[0] == '[' && colon > text && colon[-1] == ']';
    char *addr = v6 ? xstrndup(text + 1, (size_t)(colon - text) - 2)
                    : xstrndup(text, (size_t)(colon - text));
    bool ok = true;
    if (v6) {
        e->in6.sin6_family = AF_INET6;
        e->in6.sin6_port = htons((uint16_t)port);
        e->len = sizeof(e->in6);
        ok = !*addr || inet_pton(AF_INET6, addr, &e->in6.sin6_addr) == 1;
    } else {
        e->in.sin_family = AF_INET;
        e->in.sin_port = htons((uint16_t)port);
        e->len = sizeof(e->in);
        ok = !*addr || inet_pton(AF_INET, addr, &e->in.sin_addr) == 1;
    }
    if (!ok) {
        error_set(errp, "'%s' is not an IP address (IPv6 stands in brackets)", addr);
    }
    free(addr);
    return ok;
}

static unsigned endpoint_port(const Endpoint *e)
{
    return ntohs(e->sa.sa_family == AF_INET6 ? e->in6.sin6_port : e->in.sin_port);
}

/* ---- hostfwd ---- */

/* What libslirp does with IPv6 when the guest's address is missing is up to it: :: is none. */
static bool parse_guest(const char *text, const Endpoint *host, Endpoint *guest, Error **errp)
{
    if (!parse_endpoint(text, guest, false, errp)) {
        return false;
    }
    if (host->sa.sa_family == AF_INET6 && guest->sa.sa_family == AF_INET && text[0] == ':') {
        return error_set(errp, "an IPv6 port of the host needs the guest's IPv6 address, for "
                               "example [fec0::5054:ff:fe12:3456]:22");
    }
    return true;
}

static bool failed_bind(const char *spec, const Endpoint *host, bool udp, int err, Error **errp)
{
    if (host->sa.sa_family == AF_UNIX) {
        socket_file_failed(host->un.sun_path, err, errp);
        return error_prefix(errp, "hostfwd '%s': ", spec);
    }
    unsigned port = endpoint_port(host);
    if (err == EADDRINUSE) {
        char *who = socket_port_holder(udp, port);
        error_set(errp,
                  "hostfwd '%s': %s port %u of this host is in use, %s; choose another port "
                  "or end that process",
                  spec, udp ? "UDP" : "TCP", port, who);
        free(who);
        return false;
    }
    if (err == EACCES) {
        return error_set(errp,
                         "hostfwd '%s': port %u is for root; choose one from 1024 on, or set "
                         "the sysctl net.ipv4.ip_unprivileged_port_start",
                         spec, port);
    }
    if (err == EADDRNOTAVAIL) {
        return error_set(errp,
                         "hostfwd '%s': this host does not have that address; leave it out "
                         "for all addresses",
                         spec);
    }
    return error_set_errno(errp, err, "hostfwd '%s'", spec);
}

static void set_unix(Endpoint *e, const char *path, size_t len)
{
    memset(e, 0, sizeof(*e));
    e->un.sun_family = AF_UNIX;
    memcpy(e->un.sun_path, path, len);
    e->len = sizeof(e->un);
}

/* unix:PATH-[GUESTADDR]:GUESTPORT, or the words without a protocol's name. *rest: the guest's. */
static bool parse_host(const char *spec, Endpoint *host, bool *udp, const char **rest, Error **errp)
{
    const char *p = spec;
    *udp = !strncmp(p, "udp:", 4);
    if (!strncmp(p, "unix:", 5)) {
        const char *dash = strrchr(p, '-');
        size_t len = dash ? (size_t)(dash - p) - 5 : 0;
        if (!len) {
            return error_set(errp, "hostfwd '%s': want unix:PATH-[GUESTADDR]:GUESTPORT", spec);
        }
        if (len >= sizeof(host->un.sun_path)) {
            return error_set(errp, "hostfwd '%s': the path of a unix socket has up to %zu characters",
                             spec, sizeof(host->un.sun_path) - 1);
        }
        set_unix(host, p + 5, len);
        *rest = dash + 1;
        return true;
    }
    p += !strncmp(p, "tcp:", 4) || *udp ? 4 : *p == ':' ? 1 : 0;
    const char *dash = strchr(p, '-');
    if (p == spec || !dash) {
        return error_set(errp, "hostfwd '%s': want %s", spec, hostfwd_form);
    }
    char *text = xstrndup(p, (size_t)(dash - p));
    bool ok = parse_endpoint(text, host, true, errp) || error_prefix(errp, "hostfwd '%s': ", spec);
    free(text);
    *rest = dash + 1;
    return ok;
}

static HostSocket *find_host_socket(UserNet *u, const char *path, size_t len)
{
    list_for_each(pos, &u->host_sockets) {
        HostSocket *h = container_of(pos, HostSocket, node);
        if (strlen(h->file.path) == len && !strncmp(h->file.path, path, len)) {
            return h;
        }
    }
    return NULL;
}

static void host_socket_free(HostSocket *h)
{
    socket_file_remove(&h->file);
    list_remove(&h->node);
    free(h);
}

void user_host_sockets_close(UserNet *u)
{
    list_for_each_safe(pos, &u->host_sockets) {
        host_socket_free(container_of(pos, HostSocket, node));
    }
}

static bool no_hostfwd(const char *spec, Error **errp)
{
    return error_set(errp, "there is no hostfwd '%s' (info usernet lists them)", spec);
}

/* unix:PATH, where the path may have a '-', or all of what hostfwd_add was told. */
static bool remove_unix(UserNet *u, const char *spec, Error **errp)
{
    const char *path = spec + strlen("unix:"), *dash = strrchr(path, '-');
    HostSocket *h = find_host_socket(u, path, strlen(path));
    h = h || !dash ? h : find_host_socket(u, path, (size_t)(dash - path));
    if (!h) {
        return no_hostfwd(spec, errp);
    }
    Endpoint host;
    set_unix(&host, h->file.path, strlen(h->file.path));
    int failed = slirp_remove_hostxfwd(u->slirp, &host.sa, host.len, 0);
    host_socket_free(h);
    return !failed || no_hostfwd(spec, errp);
}

/* hostfwd_remove's spec needs no guest. */
static bool remove_hostfwd(UserNet *u, const char *spec, Error **errp)
{
    Endpoint host;
    bool udp;
    const char *rest;
    if (!strncmp(spec, "unix:", 5)) {
        return remove_unix(u, spec, errp);
    }
    char *whole = strchr(spec, '-') ? xstrdup(spec) : xasprintf("%s-", spec);
    bool ok = parse_host(whole, &host, &udp, &rest, errp);
    free(whole);
    return ok && (!slirp_remove_hostxfwd(u->slirp, &host.sa, host.len,
                                         udp ? SLIRP_HOSTFWD_UDP : 0) ||
                  no_hostfwd(spec, errp));
}

bool user_hostfwd(UserNet *u, const char *spec, bool add, Error **errp)
{
    Endpoint host, guest;
    bool udp;
    const char *rest;
    if (!add) {
        bool removed = remove_hostfwd(u, spec, errp);
        user_poll_kick(u);
        return removed;
    }
    if (!parse_host(spec, &host, &udp, &rest, errp)) {
        return false;
    }
    if (!parse_guest(rest, &host, &guest, errp)) {
        return error_prefix(errp, "hostfwd '%s': ", spec);
    }
    bool is_unix = host.sa.sa_family == AF_UNIX;
    if (is_unix && !socket_file_clear(host.un.sun_path, errp)) {
        return error_prefix(errp, "hostfwd '%s': ", spec);
    }
    int flags =
        (udp ? SLIRP_HOSTFWD_UDP : 0) | (host.sa.sa_family == AF_INET6 ? SLIRP_HOSTFWD_V6ONLY : 0);
    if (guest.sa.sa_family == AF_INET && !guest.in.sin_addr.s_addr) {
        guest.in.sin_addr = u->dhcp; /* where DHCP puts the first guest */
    }
    errno = 0;
    if (slirp_add_hostxfwd(u->slirp, &host.sa, host.len, &guest.sa, guest.len, flags)) {
        return failed_bind(spec, &host, udp, errno, errp);
    }
    if (is_unix) {
        HostSocket *h = xcalloc(1, sizeof(*h));
        socket_file_made(&h->file, host.un.sun_path);
        h->file.path = h->file.path ? h->file.path : xstrdup(host.un.sun_path);
        list_insert(&u->host_sockets, &h->node);
    }
    user_poll_kick(u);
    return true;
}

/* ---- guestfwd ---- */

static size_t fwd_can_receive(void *opaque)
{
    GuestFwd *g = opaque;
    return g->u->in_slirp ? 0 : slirp_socket_can_recv(g->u->slirp, g->addr, g->port);
}

static void fwd_receive(void *opaque, const uint8_t *buf, size_t len)
{
    GuestFwd *g = opaque;
    g->u->in_slirp = true;
    user_enter(g->u);
    slirp_socket_recv(g->u->slirp, g->addr, g->port, buf, (int)len);
    user_leave(g->u);
    g->u->in_slirp = false;
    user_poll_kick(g->u);
}

static ssize_t fwd_write(const void *buf, size_t len, void *opaque)
{
    GuestFwd *g = opaque;
    char_write_all(&g->fe, buf, len);
    return (ssize_t)len;
}

void user_guestfwds_notify(UserNet *u)
{
    list_for_each(pos, &u->guestfwds) {
        char_accept_input(&container_of(pos, GuestFwd, node)->fe);
    }
}

static void guestfwd_free(GuestFwd *g)
{
    char_detach(&g->fe);
    if (g->own) {
        chardev_delete(g->own);
    }
    list_remove(&g->node);
    free(g);
}

void user_guestfwds_close(UserNet *u)
{
    list_for_each_safe(pos, &u->guestfwds) {
        guestfwd_free(container_of(pos, GuestFwd, node));
    }
}

static bool open_stream(GuestFwd *g, const char *spec, unsigned index, Error **errp)
{
    char *id = xasprintf("guestfwd.%s.%u", g->u->nc.id, index);
    Chardev *chr = chardev_create_legacy(id, spec, errp);
    free(id);
    if (!chr) {
        return false;
    }
    g->own = strncmp(spec, "chardev:", 8) ? chr : NULL;
    g->fe = (CharFrontend){ .can_receive = fwd_can_receive, .receive = fwd_receive, .opaque = g };
    return char_attach(&g->fe, chr, errp);
}

/* [tcp]:SERVER:PORT-DEV or -cmd:COMMAND */
bool user_guestfwd_add(UserNet *u, const char *spec, unsigned index, Error **errp)
{
    const char *p = spec + (!strncmp(spec, "tcp:", 4) ? 4 : *spec == ':' ? 1 : 0);
    const char *dash = strchr(p, '-');
    Endpoint at;
    if (p == spec || !dash || !dash[1]) {
        return error_set(errp,
                         "guestfwd '%s': want tcp:SERVER:PORT-CHARDEV or "
                         "tcp:SERVER:PORT-cmd:COMMAND",
                         spec);
    }
    char *text = xstrndup(p, (size_t)(dash - p));
    bool ok = parse_endpoint(text, &at, false, errp);
    free(text);
    if (!ok) {
        return error_prefix(errp, "guestfwd '%s': ", spec);
    }
    if (at.sa.sa_family != AF_INET) {
        return error_set(errp, "guestfwd '%s': only IPv4 addresses can be forwarded", spec);
    }
    struct in_addr addr = at.in.sin_addr;
    int port = ntohs(at.in.sin_port);
    if (!strncmp(dash + 1, "cmd:", 4)) {
        return !slirp_add_exec(u->slirp, dash + 5, &addr, port) ||
               error_set(errp,
                         "guestfwd '%s': that address is not free in the network, or not in "
                         "it",
                         spec);
    }
    GuestFwd *g = xcalloc(1, sizeof(*g));
    g->u = u;
    g->addr = addr;
    g->port = (uint16_t)port;
    list_insert(&u->guestfwds, &g->node);
    if (!open_stream(g, dash + 1, index, errp)) {
        return error_prefix(errp, "guestfwd '%s': ", spec);
    }
    if (slirp_add_guestfwd(u->slirp, fwd_write, g, &g->addr, port)) {
        return error_set(errp,
                         "guestfwd '%s': that address is not free in the network, or not in "
                         "it",
                         spec);
    }
    return true;
}
