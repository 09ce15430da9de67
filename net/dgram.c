/* SPDX-License-Identifier: GPL-2.0-or-later
 * -netdev dgram: a frame a datagram, over UDP, a multicast group or unix sockets. What is lost on
 * the way is lost, as on a wire.
 */
#include "net/dgram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "net/net.h"
#include "util/alloc.h"

enum { PACKETS_A_TURN = 64 };

typedef struct DgramNet {
    NetClient nc;
    NetAddress remote; /* family AF_UNSPEC: the socket is connected */
    int fd;
    bool reading, writing;
    FdWatch *watch;
    int room_fd; /* -1, or tells when the remote has room; wait_for_room() */
    FdWatch *room_watch;
    uint8_t *buf;
    SocketFile file; /* a unix socket of ours */
} DgramNet;

static DgramNet *dgram_of(NetClient *nc)
{
    return container_of(nc, DgramNet, nc);
}

static void update_watch(DgramNet *s)
{
    bool writing = s->writing && s->room_fd < 0;
    fd_watch_set(s->watch, (s->reading ? FD_READ : 0) | (writing ? FD_WRITE : 0));
}

static void close_room(DgramNet *s)
{
    fd_watch_free(s->room_watch);
    s->room_watch = NULL;
    if (s->room_fd >= 0) {
        close(s->room_fd);
    }
    s->room_fd = -1;
}

static void writable(DgramNet *s)
{
    close_room(s);
    s->writing = false;
    update_watch(s);
    net_flush(&s->nc);
}

static void room_ready(void *opaque, unsigned events)
{
    (void)events;
    writable(opaque);
}

/* A unix socket without a peer of its own counts as writable however full the remote's queue is, and
 * watching it would keep the main loop busy. One that is connected there is not, and ours must not
 * be: it would hear nobody else, such as the remote after its restart. False: the frame is lost. */
static bool wait_for_room(DgramNet *s)
{
    struct pollfd own = { .fd = s->fd, .events = POLLOUT };
    if (s->remote.family == AF_UNIX && poll(&own, 1, 0) > 0) {
        s->room_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (s->room_fd < 0 ||
            connect(s->room_fd, (const struct sockaddr *)&s->remote.ss, s->remote.len) < 0) {
            close_room(s);
            return false;
        }
        s->room_watch = fd_watch_new(s->room_fd, FD_WRITE, room_ready, s, "net dgram room");
    }
    s->writing = true;
    update_watch(s);
    return true;
}

static void read_frames(DgramNet *s)
{
    for (int i = 0; i < PACKETS_A_TURN && s->reading; i++) {
        ssize_t n = recv(s->fd, s->buf, NET_MAX_PACKET, MSG_TRUNC);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        /* Errors are of frames sent before (ECONNREFUSED); a longer datagram is no frame. */
        if (n > 0 && n <= NET_MAX_PACKET && !net_send_buf(&s->nc, s->buf, (size_t)n)) {
            s->reading = false;
            update_watch(s);
        }
    }
}

static void dgram_ready(void *opaque, unsigned events)
{
    DgramNet *s = opaque;
    if (events & FD_WRITE && s->writing && s->room_fd < 0) {
        writable(s);
    }
    if (events & (FD_READ | FD_HANGUP)) {
        read_frames(s);
    }
}

static void dgram_resume(NetClient *nc)
{
    DgramNet *s = dgram_of(nc);
    s->reading = true;
    update_watch(s);
}

static bool dgram_receive(NetClient *nc, const NetPacket *p)
{
    DgramNet *s = dgram_of(nc);
    bool to = s->remote.family != AF_UNSPEC;
    struct msghdr msg = { .msg_name = to ? &s->remote.ss : NULL,
                          .msg_namelen = to ? s->remote.len : 0,
                          .msg_iov = (struct iovec *)p->iov,
                          .msg_iovlen = (size_t)p->nr_iov };
    ssize_t n;
    do {
        n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return !(n < 0 && errno == EAGAIN && wait_for_room(s));
}

static bool dgram_can_receive(NetClient *nc)
{
    return !dgram_of(nc)->writing;
}

static void dgram_close(NetClient *nc)
{
    DgramNet *s = dgram_of(nc);
    fd_watch_free(s->watch);
    close_room(s);
    if (s->fd >= 0) {
        close(s->fd);
    }
    socket_file_remove(&s->file);
    free(s->buf);
}

#define DGRAM_INFO(name)                                                                           \
    {                                                                                              \
        .type = (name), .size = sizeof(DgramNet), .can_receive = dgram_can_receive,                \
        .receive = dgram_receive, .resume = dgram_resume, .close = dgram_close,                    \
    }
static const NetClientInfo dgram_info = DGRAM_INFO("dgram");
static const NetClientInfo socket_info = DGRAM_INFO("socket"); /* its older name */

/* ---- making one ---- */

/* All members of the group bind its port; each hears its own frames come back, as the NIC's filter
 * knows. */
static bool join_group(DgramNet *s, const NetDgramConfig *c, Error **errp)
{
    const struct sockaddr_in *group = (const struct sockaddr_in *)&c->remote.ss;
    const struct sockaddr_in *local = (const struct sockaddr_in *)&c->local.ss;
    struct ip_mreq m = { .imr_multiaddr = group->sin_addr };
    int on = 1;
    unsigned char loop = 1;
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (c->local.family == AF_INET) {
        m.imr_interface = local->sin_addr;
        setsockopt(s->fd, IPPROTO_IP, IP_MULTICAST_IF, &local->sin_addr, sizeof(struct in_addr));
    }
    setsockopt(s->fd, IPPROTO_IP, IP_MULTICAST_LOOP, &loop, sizeof(loop));
    if (!net_address_bind(s->fd, &c->remote, true, &s->file, errp)) {
        return false;
    }
    if (setsockopt(s->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) < 0) {
        return error_set_errno(errp, errno,
                               "the multicast group of '%s' cannot be joined (has the host a route to "
                               "it? localaddr= names the interface)",
                               c->remote.text);
    }
    return true;
}

static bool open_socket(DgramNet *s, const NetDgramConfig *c, Error **errp)
{
    if (c->local.fd >= 0) {
        s->fd = c->local.fd;
        if (!net_address_adopt(s->fd, SOCK_DGRAM, errp)) {
            s->fd = -1;
            return false;
        }
        return true;
    }
    int family = c->remote.family != AF_UNSPEC ? c->remote.family : c->local.family;
    s->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0) {
        return error_set_errno(errp, errno, "a datagram socket");
    }
    if (net_address_is_multicast(&c->remote)) {
        return join_group(s, c, errp);
    }
    if (c->local.family != family) {
        return error_set(errp, "local '%s' and remote '%s' are of different kinds", c->local.text,
                         c->remote.text);
    }
    return net_address_bind(s->fd, &c->local, true, &s->file, errp);
}

bool net_dgram_create(const char *id, const NetDgramConfig *c, Error **errp)
{
    NetClient *nc = net_client_new(c->legacy ? &socket_info : &dgram_info, id, 0);
    DgramNet *s = dgram_of(nc);
    s->fd = s->room_fd = -1;
    s->remote = c->remote;
    if (!open_socket(s, c, errp)) {
        net_client_delete(nc);
        return false;
    }
    s->buf = xmalloc(NET_MAX_PACKET);
    s->reading = true;
    s->watch = fd_watch_new(s->fd, FD_READ, dgram_ready, s, "net dgram");
    net_client_describe(nc, "%s%s%s%s", c->local.text, *c->local.text ? "," : "",
                        c->remote.family != AF_UNSPEC ? "remote=" : "", c->remote.text);
    return true;
}

static bool dgram_create(const char *id, const Dict *opts, Error **errp)
{
    NetDgramConfig c = { .legacy = false };
    if (!net_address_get(opts, "local", &c.local, errp) ||
        !net_address_get(opts, "remote", &c.remote, errp)) {
        return false;
    }
    bool multicast = net_address_is_multicast(&c.remote);
    if (c.local.fd < 0 && c.local.family == AF_UNSPEC && !multicast) {
        return error_set(errp, "dgram needs local.type= and its address, unless the remote is a "
                               "multicast group");
    }
    if (c.local.fd < 0 && c.remote.family == AF_UNSPEC) {
        return error_set(errp, "dgram needs remote.type= and its address");
    }
    if (c.remote.fd >= 0) {
        return error_set(errp, "a descriptor is local.type=fd");
    }
    return net_dgram_create(id, &c, errp);
}

static const char *const dgram_keys[] = {
    "local.type", "local.host", "local.port", "local.path", "local.str", "local.abstract",
    "remote.type", "remote.host", "remote.port", "remote.path", "remote.str", "remote.abstract", NULL,
};
static const char *const dgram_help[] = {
    "  local.type=inet,local.host=H,local.port=N    where frames come to",
    "  local.type=unix,local.path=P                 the same for a unix socket",
    "  local.type=fd,local.str=N                    a socket that is open and connected",
    "  remote.type=inet|unix,...                    where they go; a multicast group joins it",
    NULL,
};

NET_BACKEND(dgram) = {
    .name = "dgram",
    .desc = "a frame a datagram: UDP, multicast or unix sockets",
    .keys = dgram_keys,
    .help = dgram_help,
    .create = dgram_create,
};
