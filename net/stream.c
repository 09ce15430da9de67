/* SPDX-License-Identifier: GPL-2.0-or-later
 * -netdev stream: frames over a TCP or unix stream socket to another program (QEMU, passt, another
 * Vireo), each behind its length as 4 bytes, most significant first. One connection at a time.
 *
 *   listening --accept--> connected --peer leaves--> listening           (server=on)
 *   connecting --> connected --peer leaves--> waiting --> connecting     (reconnect-ms=)
 *
 * Without a connection frames are dropped, as on a cable that ends nowhere.
 */
#include "net/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "net/net.h"
#include "util/alloc.h"
#include "util/timer.h"

enum { CONNECT_SECONDS = 5, FULL_QUEUE_MS = 10 };
enum { LENGTH_BYTES = 4, READ_SIZE = 256 << 10, MAX_BEHIND = LENGTH_BYTES + NET_MAX_PACKET };

typedef struct StreamNet {
    NetClient nc;
    NetStreamConfig config;
    int fd, listen_fd; /* -1: none */
    bool connected;
    bool reading, writing;
    FdWatch *watch, *listen_watch;
    Timer reconnect;
    uint8_t *in;  /* READ_SIZE + MAX_BEHIND bytes: what came, from in_at to in_end */
    size_t in_at, in_end;
    uint8_t *out; /* the rest of a frame the socket took in part */
    size_t out_at, out_end;
    SocketFile file; /* a unix socket of ours */
} StreamNet;

static StreamNet *stream_of(NetClient *nc)
{
    return container_of(nc, StreamNet, nc);
}

static void describe(StreamNet *s)
{
    net_client_describe(&s->nc, "%s%s%s", s->config.address.text,
                        s->config.server ? ",server=on" : "", s->connected ? "" : ",disconnected");
}

static void update_watch(StreamNet *s)
{
    fd_watch_set(s->watch, (s->reading ? FD_READ : 0) | (s->writing ? FD_WRITE : 0));
}

static void try_connect(void *opaque);

static void disconnect(StreamNet *s)
{
    fd_watch_free(s->watch);
    s->watch = NULL;
    if (s->fd >= 0) {
        close(s->fd);
    }
    s->fd = -1;
    s->connected = s->reading = s->writing = false;
    s->in_at = s->in_end = s->out_at = s->out_end = 0;
    if (s->listen_watch) {
        fd_watch_set(s->listen_watch, FD_READ);
    } else if (s->config.reconnect_ms) {
        timer_arm(&s->reconnect, host_clock_ns() + s->config.reconnect_ms * 1000000);
    }
    describe(s);
    net_flush(&s->nc); /* what waits is lost with the connection */
}

/* ---- to the guest ---- */

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Hands over whole frames. False: the peer's stream makes no sense. */
static bool pass_on(StreamNet *s)
{
    while (s->reading && s->in_end - s->in_at >= LENGTH_BYTES) {
        uint32_t len = get_be32(s->in + s->in_at);
        if (!len || len > NET_MAX_PACKET) {
            warn_report("netdev '%s': '%s' sent a frame of %u bytes; the connection is closed",
                        s->nc.id, s->config.address.text, len);
            return false;
        }
        if (s->in_end - s->in_at < LENGTH_BYTES + (size_t)len) {
            break;
        }
        const uint8_t *frame = s->in + s->in_at + LENGTH_BYTES;
        s->in_at += LENGTH_BYTES + len;
        if (!net_send_buf(&s->nc, frame, len)) {
            s->reading = false;
        }
    }
    return true;
}

static bool read_more(StreamNet *s)
{
    memmove(s->in, s->in + s->in_at, s->in_end - s->in_at);
    s->in_end -= s->in_at;
    s->in_at = 0;
    ssize_t n = read(s->fd, s->in + s->in_end, READ_SIZE + MAX_BEHIND - s->in_end);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        return false;
    }
    s->in_end += (size_t)n;
    return pass_on(s);
}

static void stream_resume(NetClient *nc)
{
    StreamNet *s = stream_of(nc);
    if (!s->connected) {
        return;
    }
    s->reading = true;
    if (pass_on(s)) {
        update_watch(s);
    } else {
        disconnect(s);
    }
}

/* ---- from the guest ---- */

static bool write_rest(StreamNet *s)
{
    while (s->out_at < s->out_end) {
        ssize_t n = send(s->fd, s->out + s->out_at, s->out_end - s->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN;
        }
        s->out_at += (size_t)n;
    }
    s->writing = false;
    return true;
}

/* What the socket did not take of a frame it has begun. */
static void keep_rest(StreamNet *s, const struct iovec *iov, int nr, size_t done)
{
    s->out_at = s->out_end = 0;
    for (int i = 0; i < nr; i++) {
        size_t skip = MIN(done, iov[i].iov_len);
        done -= skip;
        memcpy(s->out + s->out_end, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        s->out_end += iov[i].iov_len - skip;
    }
    s->writing = true;
    update_watch(s);
}

static bool stream_receive(NetClient *nc, const NetPacket *p)
{
    StreamNet *s = stream_of(nc);
    if (!s->connected) {
        return true;
    }
    uint8_t head[LENGTH_BYTES] = { (uint8_t)(p->len >> 24), (uint8_t)(p->len >> 16),
                                   (uint8_t)(p->len >> 8), (uint8_t)p->len };
    struct iovec iov[NET_MAX_IOV + 1] = { { head, sizeof(head) } };
    memcpy(iov + 1, p->iov, (size_t)p->nr_iov * sizeof(*iov));
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)p->nr_iov + 1 };
    ssize_t n;
    do {
        n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        s->writing = true;
        update_watch(s);
        return false;
    }
    if (n >= 0 && (size_t)n < sizeof(head) + p->len) {
        keep_rest(s, iov, p->nr_iov + 1, (size_t)n);
    }
    return true; /* a broken connection shows when it is read */
}

static bool stream_can_receive(NetClient *nc)
{
    return !stream_of(nc)->writing;
}

/* ---- connections ---- */

static void stream_ready(void *opaque, unsigned events)
{
    StreamNet *s = opaque;
    bool ok = true;
    if (events & FD_WRITE) {
        ok = write_rest(s);
        if (ok && !s->writing) {
            update_watch(s);
            net_flush(&s->nc);
        }
    }
    if (ok && s->connected && (events & (FD_READ | FD_HANGUP))) {
        ok = s->reading && read_more(s); /* a hangup while the guest is slow: it has ended */
    }
    if (!ok) {
        disconnect(s);
    } else if (s->connected) {
        update_watch(s);
    }
}

static void connected(StreamNet *s, int fd)
{
    int on = 1;
    s->fd = fd;
    s->connected = s->reading = true;
    s->writing = false;
    if (s->config.address.family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    fd_watch_free(s->watch);
    s->watch = fd_watch_new(fd, FD_READ, stream_ready, s, "net stream");
    describe(s);
}

static void try_again(StreamNet *s)
{
    close(s->fd);
    s->fd = -1;
    if (s->config.reconnect_ms) {
        timer_arm(&s->reconnect, host_clock_ns() + s->config.reconnect_ms * 1000000);
    } else {
        warn_report("netdev '%s': nobody listens at '%s'; reconnect-ms=1000 tries again", s->nc.id,
                    s->config.address.text);
    }
}

static void connect_done(void *opaque, unsigned events)
{
    StreamNet *s = opaque;
    int error = 0;
    socklen_t len = sizeof(error);
    (void)events;
    fd_watch_free(s->watch);
    s->watch = NULL;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        try_again(s);
    } else {
        connected(s, s->fd);
    }
}

static void try_connect(void *opaque)
{
    StreamNet *s = opaque;
    const NetAddress *a = &s->config.address;
    s->fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd >= 0 && connect(s->fd, (const struct sockaddr *)&a->ss, a->len) == 0) {
        connected(s, s->fd);
    } else if (s->fd >= 0 && errno == EINPROGRESS) {
        s->watch = fd_watch_new(s->fd, FD_WRITE, connect_done, s, "net stream");
    } else {
        try_again(s);
    }
}

static void stream_accept(void *opaque, unsigned events)
{
    StreamNet *s = opaque;
    (void)events;
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        fd_watch_set(s->listen_watch, 0); /* the next one waits */
        connected(s, fd);
    }
}

static void stream_close(NetClient *nc)
{
    StreamNet *s = stream_of(nc);
    timer_cancel(&s->reconnect);
    fd_watch_free(s->watch);
    fd_watch_free(s->listen_watch);
    if (s->fd >= 0) {
        close(s->fd);
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
    }
    socket_file_remove(&s->file);
    free(s->in);
    free(s->out);
}

#define STREAM_INFO(name)                                                                          \
    {                                                                                              \
        .type = (name), .size = sizeof(StreamNet), .can_receive = stream_can_receive,              \
        .receive = stream_receive, .resume = stream_resume, .close = stream_close,                 \
    }
static const NetClientInfo stream_info = STREAM_INFO("stream");
static const NetClientInfo socket_info = STREAM_INFO("socket"); /* its older name */

/* ---- making one ---- */

static bool listen_at(StreamNet *s, Error **errp)
{
    const NetAddress *a = &s->config.address;
    int on = 1;
    s->listen_fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0) {
        return error_set_errno(errp, errno, "'%s'", a->text);
    }
    if (a->family != AF_UNIX) {
        setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    }
    if (!net_address_bind(s->listen_fd, a, false, &s->file, errp)) {
        return false;
    }
    if (listen(s->listen_fd, 1)) {
        return error_set_errno(errp, errno, "'%s'", a->text);
    }
    s->listen_watch = fd_watch_new(s->listen_fd, FD_READ, stream_accept, s, "net stream");
    return true;
}

/* Whether fd is connected before its time is over; else errno says why not. A unix socket whose queue
 * of connections is full says so instead of waiting. */
static bool connect_in_time(int fd, const NetAddress *a)
{
    uint64_t end = host_clock_ns() + CONNECT_SECONDS * 1000000000ull;
    for (;;) {
        if (connect(fd, (const struct sockaddr *)&a->ss, a->len) == 0 || errno == EISCONN) {
            return true;
        }
        uint64_t now = host_clock_ns();
        int left_ms = now < end ? (int)((end - now + 999999) / 1000000) : 0;
        if (!left_ms && (errno == EAGAIN || errno == EALREADY || errno == EINPROGRESS)) {
            errno = ETIMEDOUT;
            return false;
        }
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        if (errno == EAGAIN) {
            (void)poll(NULL, 0, MIN(left_ms, (int)FULL_QUEUE_MS));
        } else if (errno == EINPROGRESS || errno == EALREADY) {
            (void)poll(&p, 1, left_ms); /* the next connect() tells what came of it */
        } else if (errno != EINTR) {
            return false;
        }
    }
}

/* Who was told to connect should hear soon that nobody is there. */
static bool connect_now(StreamNet *s, Error **errp)
{
    const NetAddress *a = &s->config.address;
    int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect_in_time(fd, a)) {
        connected(s, fd);
        return true;
    }
    if (errno == ETIMEDOUT) {
        error_set(errp, "'%s' has not answered for %d s; check the address and the firewalls on the "
                        "way, or give reconnect-ms=1000", a->text, CONNECT_SECONDS);
    } else {
        error_set(errp, "nobody listens at '%s' (%s); start that side first, or give "
                        "reconnect-ms=1000", a->text, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return false;
}

bool net_stream_create(const char *id, const NetStreamConfig *c, Error **errp)
{
    NetClient *nc = net_client_new(c->legacy ? &socket_info : &stream_info, id, 0);
    StreamNet *s = stream_of(nc);
    s->config = *c;
    s->fd = s->listen_fd = -1;
    s->in = xmalloc(READ_SIZE + MAX_BEHIND);
    s->out = xmalloc(MAX_BEHIND);
    timer_init_on(&s->reconnect, TIMER_HOST, try_connect, s);
    bool ok = true;
    if (c->address.fd >= 0) {
        ok = net_address_adopt(c->address.fd, SOCK_STREAM, errp);
        if (ok) {
            connected(s, c->address.fd);
        }
    } else if (c->server) {
        ok = listen_at(s, errp);
    } else if (c->must_connect && !c->reconnect_ms) {
        ok = connect_now(s, errp);
    } else {
        try_connect(s);
    }
    if (!ok) {
        net_client_delete(nc);
        return false;
    }
    describe(s);
    return true;
}

static bool stream_create(const char *id, const Dict *opts, Error **errp)
{
    NetStreamConfig c = { .must_connect = true };
    uint64_t seconds = 0;
    if (!net_address_get(opts, "addr", &c.address, errp) ||
        !dict_get_bool(opts, "server", &c.server, errp) ||
        !dict_get_u64(opts, "reconnect", &seconds, errp)) {
        return false;
    }
    c.reconnect_ms = seconds * 1000;
    if (!dict_get_u64(opts, "reconnect-ms", &c.reconnect_ms, errp)) {
        return false;
    }
    if (c.address.family == AF_UNSPEC && c.address.fd < 0) {
        return error_set(errp, "a stream needs addr.type=inet, unix or fd and the rest of its address");
    }
    if (c.reconnect_ms && (c.server || c.address.fd >= 0)) {
        return error_set(errp, "reconnect is for who connects: not with server=on or a descriptor");
    }
    return net_stream_create(id, &c, errp);
}

static const char *const stream_keys[] = {
    "addr.type", "addr.host", "addr.port", "addr.path", "addr.abstract", "addr.str", "server",
    "reconnect", "reconnect-ms", NULL,
};
static const char *const stream_help[] = {
    "  addr.type=inet,addr.host=H,addr.port=N   TCP",
    "  addr.type=unix,addr.path=P               a unix socket",
    "  addr.type=fd,addr.str=N                  a socket that is open",
    "  server=on|off          listens instead of connecting [off]",
    "  reconnect-ms=N         tries again after a lost connection [0: never]",
    NULL,
};

NET_BACKEND(stream) = {
    .name = "stream",
    .desc = "frames over a TCP or unix stream to another program",
    .keys = stream_keys,
    .help = stream_help,
    .create = stream_create,
};
