/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=udp: every write is a datagram to host:port; what arrives at localaddr:localport is
 * input. What the network has no room for is lost, as datagrams are.
 */
#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chardev/backend.h"

typedef struct UdpChardev {
    Chardev chr;
    int fd;
    FdWatch *watch;
    ByteQueue input; /* one datagram, until the front end has taken all of it */
} UdpChardev;

static void update_watch(UdpChardev *s)
{
    fd_watch_set(s->watch, !s->input.len && chr_can_receive(&s->chr) ? FD_READ : 0);
}

static void deliver(UdpChardev *s)
{
    size_t room;
    while (s->input.len && (room = chr_can_receive(&s->chr)) > 0) {
        uint8_t buf[512];
        size_t n = MIN(MIN(room, s->input.len), sizeof(buf));
        memcpy(buf, byte_queue_peek(&s->input), n); /* receive() may lead back here */
        byte_queue_drop(&s->input, n);
        chr_receive(&s->chr, buf, n);
    }
    update_watch(s);
}

static void udp_ready(void *opaque, unsigned events)
{
    UdpChardev *s = opaque;
    uint8_t buf[4096];
    (void)events;
    ssize_t n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n > 0) { /* ECONNREFUSED: nobody there yet */
        byte_queue_push(&s->input, buf, n);
    }
    deliver(s);
}

static bool resolve(const char *host, const char *port, bool passive, int family,
                    struct addrinfo **out, Error **errp)
{
    struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_family = family,
                              .ai_flags = passive ? AI_PASSIVE : 0 };
    int rc = getaddrinfo(host && *host ? host : NULL, port, &hints, out);
    return !rc || error_set(errp, "address '%s:%s' is not known: %s", host ? host : "", port,
                            gai_strerror(rc));
}

static bool udp_open(Chardev *chr, const Dict *opts, Error **errp)
{
    UdpChardev *s = container_of(chr, UdpChardev, chr);
    const char *host = dict_get(opts, "host"), *port = dict_get(opts, "port");
    const char *localaddr = dict_get(opts, "localaddr"), *localport = dict_get(opts, "localport");
    bool ipv4 = false, ipv6 = false, ok = false;
    struct addrinfo *peer = NULL, *local = NULL;

    s->fd = -1;
    if (!dict_get_bool(opts, "ipv4", &ipv4, errp) || !dict_get_bool(opts, "ipv6", &ipv6, errp)) {
        return false;
    }
    if (!port || !*port) {
        return error_set(errp, "port= is missing");
    }
    int family = ipv4 == ipv6 ? AF_UNSPEC : ipv4 ? AF_INET : AF_INET6;
    if (!resolve(host && *host ? host : "localhost", port, false, family, &peer, errp) ||
        !resolve(localaddr, localport && *localport ? localport : "0", true, peer->ai_family,
                 &local, errp)) {
        goto out;
    }
    s->fd = socket(peer->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, local->ai_addr, local->ai_addrlen) < 0 ||
        connect(s->fd, peer->ai_addr, peer->ai_addrlen) < 0) {
        error_set_errno(errp, errno, "cannot use udp port '%s'", port);
        goto out;
    }
    s->watch = fd_watch_new(s->fd, 0, udp_ready, s, "udp");
    chr_set_filename(chr, "udp:%s:%s", host ? host : "localhost", port);
    ok = true;
out:
    if (peer) {
        freeaddrinfo(peer);
    }
    if (local) {
        freeaddrinfo(local);
    }
    return ok;
}

static void udp_close(Chardev *chr)
{
    UdpChardev *s = container_of(chr, UdpChardev, chr);
    fd_watch_free(s->watch);
    if (s->fd >= 0) {
        close(s->fd);
    }
    byte_queue_clear(&s->input);
}

static size_t udp_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    UdpChardev *s = container_of(chr, UdpChardev, chr);
    for (size_t done = 0; done < len;) {
        size_t n = MIN(len - done, 1400u);
        if (send(s->fd, buf + done, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            break;
        }
        done += n;
    }
    return len;
}

static void udp_accept_input(Chardev *chr)
{
    deliver(container_of(chr, UdpChardev, chr));
}

static const char *const udp_options[] = { "host", "port", "localaddr", "localport", "ipv4",
                                           "ipv6", NULL };

CHAR_BACKEND(udp) = {
    .name = "udp",
    .desc = "datagrams to host:port, from localaddr:localport",
    .options = udp_options,
    .size = sizeof(UdpChardev),
    .open = udp_open,
    .close = udp_close,
    .write = udp_write,
    .accept_input = udp_accept_input,
};
