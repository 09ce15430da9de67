/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=socket: a unix or TCP socket, listening (server=on) or connecting. One peer at a time:
 * the next one waits in the kernel's queue until the first has left. Without a peer, output is
 * dropped. TLS and websockets are not built.
 *
 *   listening --accept--> connected --peer leaves--> listening            (server=on)
 *   connecting --> connected --peer leaves--> closed, or connecting again (reconnect-ms=)
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chardev/fd_stream.h"
#include "chardev/telnet.h"
#include "util/socket_file.h"
#include "util/socket_holder.h"
#include "util/timer.h"

enum { CONNECT_TIMEOUT_MS = 30 * 1000, PENDING_MAX = 4096 };

typedef struct SocketChardev {
    Chardev chr;
    FdStream stream;
    int listen_fd, fd; /* -1: none */
    FdWatch *listen_watch, *connect_watch;
    struct addrinfo *addrs; /* TCP: where to connect or listen */
    struct sockaddr_un un;
    socklen_t un_len;
    char *name; /* "unix:/tmp/s", "tcp:127.0.0.1:4444" */
    SocketFile file; /* of a unix socket that listens */
    bool server, telnet, nodelay;
    uint64_t reconnect_ms; /* 0: never */
    Timer reconnect;
    TelnetState telnet_state;
    ByteQueue pending; /* telnet: escaped, taken, not sent yet */
} SocketChardev;

static void update_filename(SocketChardev *s)
{
    chr_set_filename(&s->chr, "%s%s%s", s->chr.open ? "" : "disconnected:", s->name,
                     s->server ? ",server=on" : "");
}

/* ---- connected ---- */

static void socket_retry(SocketChardev *s);

static void socket_gone(Chardev *chr)
{
    SocketChardev *s = container_of(chr, SocketChardev, chr);
    fd_stream_stop(&s->stream);
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    byte_queue_clear(&s->pending);
    if (chr->open) {
        chr->open = false;
        update_filename(s);
        chr_event(chr, CHAR_CLOSED);
    }
    if (s->listen_watch) {
        fd_watch_set(s->listen_watch, FD_READ);
    }
    socket_retry(s);
}

static size_t socket_filter(Chardev *chr, uint8_t *buf, size_t len)
{
    SocketChardev *s = container_of(chr, SocketChardev, chr);
    unsigned breaks = 0;
    size_t n = telnet_filter(&s->telnet_state, buf, len, &breaks);
    while (breaks--) {
        chr_event(chr, CHAR_BREAK);
    }
    return n;
}

/* Sends what is pending; true if nothing is left. */
static bool send_pending(SocketChardev *s)
{
    if (s->pending.len) {
        byte_queue_drop(&s->pending, fd_stream_write(&s->stream, byte_queue_peek(&s->pending),
                                                     s->pending.len));
    }
    return !s->pending.len;
}

static bool socket_flush(Chardev *chr)
{
    return send_pending(container_of(chr, SocketChardev, chr));
}

static void socket_connected(SocketChardev *s, int fd)
{
    int on = 1;
    s->fd = fd;
    fd_set_nonblock(fd);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (s->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (s->listen_watch) {
        fd_watch_set(s->listen_watch, 0);
    }
    s->telnet_state = (TelnetState){ 0 };
    s->stream.filter = s->telnet ? socket_filter : NULL;
    s->stream.flush = s->telnet ? socket_flush : NULL;
    fd_stream_start(&s->stream, &s->chr, fd, fd, socket_gone);
    s->chr.open = true;
    update_filename(s);
    if (s->telnet) {
        fd_stream_write(&s->stream, telnet_greeting, sizeof(telnet_greeting));
    }
    chr_event(&s->chr, CHAR_OPENED);
    fd_stream_accept_input(&s->stream);
}

static size_t telnet_write(SocketChardev *s, const uint8_t *buf, size_t len)
{
    size_t done = 0;
    while (done < len && send_pending(s)) {
        size_t end = MIN(len, done + PENDING_MAX);
        while (done < end) {
            byte_queue_push(&s->pending, &buf[done], 1);
            if (buf[done] == 255) {
                byte_queue_push(&s->pending, &buf[done], 1);
            }
            done++;
        }
    }
    send_pending(s);
    return done;
}

static size_t socket_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    SocketChardev *s = container_of(chr, SocketChardev, chr);
    if (s->fd < 0 || !chr->open) {
        return len;
    }
    return s->telnet ? telnet_write(s, buf, len) : fd_stream_write(&s->stream, buf, len);
}

static void socket_accept_input(Chardev *chr)
{
    fd_stream_accept_input(&container_of(chr, SocketChardev, chr)->stream);
}

/* ---- server ---- */

static void socket_accept(void *opaque, unsigned events)
{
    SocketChardev *s = opaque;
    (void)events;
    if (s->fd >= 0) {
        return;
    }
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        socket_connected(s, fd);
    }
}

static bool listen_unix(SocketChardev *s, Error **errp)
{
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0) {
        return error_set_errno(errp, errno, "cannot listen on '%s'", s->name);
    }
    return socket_file_bind(&s->file, s->listen_fd, &s->un, s->un_len, errp) &&
           (listen(s->listen_fd, 8) == 0 ||
            error_set_errno(errp, errno, "cannot listen on '%s'", s->name));
}

static bool try_listen_tcp(SocketChardev *s, const struct addrinfo *a, unsigned port)
{
    struct sockaddr_storage ss = { 0 };
    int on = 1, off = 0;
    memcpy(&ss, a->ai_addr, a->ai_addrlen);
    if (a->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)&ss)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)&ss)->sin_port = htons(port);
    }
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, (struct sockaddr *)&ss, a->ai_addrlen) < 0 || listen(fd, 8) < 0) {
        int err = errno;
        close(fd);
        errno = err;
        return false;
    }
    s->listen_fd = fd;
    return true;
}

static bool listen_tcp(SocketChardev *s, const char *host, unsigned port, unsigned to, Error **errp)
{
    errno = EADDRNOTAVAIL;
    for (unsigned p = port; p <= MAX(port, to) && s->listen_fd < 0; p++) {
        for (struct addrinfo *a = s->addrs; a && s->listen_fd < 0; a = a->ai_next) {
            try_listen_tcp(s, a, p);
        }
    }
    if (s->listen_fd < 0) {
        if (errno == EADDRINUSE) {
            char *holder = socket_port_holder(false, port);
            error_set(errp,
                      "cannot listen on '%s': that port is in use, %s; choose another port or end that "
                      "process",
                      s->name, holder);
            free(holder);
            return false;
        }
        return error_set_errno(errp, errno, "cannot listen on '%s'", s->name);
    }
    /* Port 0 or a range: say which one it is. */
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof(ss);
    if (getsockname(s->listen_fd, (struct sockaddr *)&ss, &len) == 0) {
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): getsockname() wrote it */
        unsigned got = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                                      : ((struct sockaddr_in *)&ss)->sin_port);
        free(s->name);
        s->name = xasprintf("%s:%s:%u", s->telnet ? "telnet" : "tcp", host, got);
    }
    return true;
}

/* wait=on: the machine is not built before somebody listens. Start-up only. The signals that end
 * Vireo may be blocked, to be read by the main loop, which does not run yet. */
static bool wait_for_client(SocketChardev *s, Error **errp)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    int sig_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    struct pollfd p[] = { { .fd = s->listen_fd, .events = POLLIN },
                          { .fd = sig_fd, .events = POLLIN } };
    bool ok = true;

    info_report("chardev '%s': waiting for a connection on %s (wait=off starts without)",
                s->chr.id ? s->chr.id : "", s->name);
    while (ok && s->fd < 0) {
        if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR) {
            ok = error_set_errno(errp, errno, "waiting on '%s' failed", s->name);
        } else if (p[1].revents) {
            ok = error_set(errp, "interrupted while waiting for a connection on '%s'", s->name);
        } else {
            socket_accept(s, FD_READ);
        }
    }
    close(sig_fd);
    return ok;
}

/* ---- client ---- */

static int new_client_socket(SocketChardev *s, const struct addrinfo *a)
{
    int fd = socket(a ? a->ai_family : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    const struct sockaddr *sa = a ? a->ai_addr : (struct sockaddr *)&s->un;
    int rc = connect(fd, sa, a ? a->ai_addrlen : s->un_len);
    if (rc < 0 && errno != EINPROGRESS) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

static int connect_result(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
    return err;
}

/* At start, before the guest runs: an address that does not answer is an error at once. */
static bool connect_now(SocketChardev *s, Error **errp)
{
    int err = ENOENT;
    for (struct addrinfo *a = s->addrs; a || !s->addrs; a = a->ai_next) {
        int fd = new_client_socket(s, a);
        err = errno;
        if (fd >= 0) {
            struct pollfd p = { .fd = fd, .events = POLLOUT };
            int rc;
            do {
                rc = poll(&p, 1, CONNECT_TIMEOUT_MS);
            } while (rc < 0 && errno == EINTR);
            err = rc == 0 ? ETIMEDOUT : connect_result(fd);
            if (!err) {
                socket_connected(s, fd);
                return true;
            }
            close(fd);
        }
        if (!a) {
            break;
        }
    }
    if (err == ENOENT || err == ECONNREFUSED) {
        return error_set(errp, "cannot connect to '%s': nobody listens there; start that side first, or "
                               "let this one listen: server=on,wait=off",
                         s->name);
    }
    return error_set_errno(errp, err, "cannot connect to '%s'", s->name);
}

static void connect_done(void *opaque, unsigned events)
{
    SocketChardev *s = opaque;
    int fd = s->fd;
    (void)events;
    fd_watch_free(s->connect_watch);
    s->connect_watch = NULL;
    if (connect_result(fd) == 0) {
        socket_connected(s, fd);
        return;
    }
    close(fd);
    s->fd = -1;
    socket_retry(s);
}

static void connect_again(void *opaque)
{
    SocketChardev *s = opaque;
    s->fd = new_client_socket(s, s->addrs);
    if (s->fd < 0) {
        socket_retry(s);
    } else {
        s->connect_watch = fd_watch_new(s->fd, FD_WRITE | FD_HANGUP, connect_done, s, "socket");
    }
}

static void socket_retry(SocketChardev *s)
{
    if (!s->server && s->reconnect_ms) {
        timer_arm(&s->reconnect, host_clock_ns() + s->reconnect_ms * 1000 * 1000);
    }
}

/* ---- options ---- */

typedef struct SocketOpts {
    const char *path, *host, *port, *fd;
    bool wait, has_wait, abstract, tight, ipv4, ipv6;
    uint64_t to;
} SocketOpts;

static bool refuse_unbuilt(const Dict *opts, Error **errp)
{
    bool websocket = false, tn3270 = false;
    if (!dict_get_bool(opts, "websocket", &websocket, errp) ||
        !dict_get_bool(opts, "tn3270", &tn3270, errp)) {
        return false;
    }
    if (websocket || tn3270) {
        return error_set(errp, "%s is not built into Vireo yet",
                         websocket ? "websocket=on" : "tn3270=on");
    }
    if (dict_get(opts, "tls-creds")) {
        return error_set(errp, "tls-creds= is not built into Vireo yet");
    }
    return true;
}

static bool parse_socket_opts(SocketChardev *s, const Dict *opts, SocketOpts *o, Error **errp)
{
    uint64_t reconnect_s = 0;
    bool delay = true;
    *o = (SocketOpts){ .path = dict_get(opts, "path"), .host = dict_get(opts, "host"),
                       .port = dict_get(opts, "port"), .fd = dict_get(opts, "fd"), .tight = true };
    if (!dict_get_bool(opts, "server", &s->server, errp)) {
        return false;
    }
    o->wait = s->server;
    o->has_wait = dict_has(opts, "wait");
    if (!dict_get_bool(opts, "wait", &o->wait, errp) ||
        !dict_get_bool(opts, "telnet", &s->telnet, errp) ||
        !dict_get_bool(opts, "nodelay", &s->nodelay, errp) ||
        !dict_get_bool(opts, "delay", &delay, errp) ||
        !dict_get_bool(opts, "abstract", &o->abstract, errp) ||
        !dict_get_bool(opts, "tight", &o->tight, errp) ||
        !dict_get_bool(opts, "ipv4", &o->ipv4, errp) ||
        !dict_get_bool(opts, "ipv6", &o->ipv6, errp) || !dict_get_u64(opts, "to", &o->to, errp) ||
        !dict_get_u64(opts, "reconnect", &reconnect_s, errp) ||
        !dict_get_u64(opts, "reconnect-ms", &s->reconnect_ms, errp) ||
        !refuse_unbuilt(opts, errp)) {
        return false;
    }
    s->nodelay = s->nodelay || !delay; /* the short form "nodelay" reads as delay=off */
    if (reconnect_s) {
        s->reconnect_ms = MIN(reconnect_s, 86400u) * 1000;
    }
    if (s->server && s->reconnect_ms) {
        return error_set(errp, "reconnect is for clients; it does not go with server=on");
    }
    if (!s->server && o->has_wait && o->wait) {
        return error_set(errp, "wait=on needs server=on");
    }
    if (!o->path && !o->host && !o->port && !o->fd) {
        return error_set(errp, "a socket needs path=FILE, or host= and port=, or fd=N");
    }
    if (o->path && (o->host || o->port)) {
        return error_set(errp, "path= (unix) and host=, port= (TCP) exclude each other");
    }
    return true;
}

static bool set_unix_address(SocketChardev *s, const SocketOpts *o, Error **errp)
{
    size_t len = strlen(o->path), max = sizeof(s->un.sun_path) - 1;
    if (!len || len > max) {
        return error_set(errp, "the socket path '%s' has %zu bytes; 1 to %zu are possible", o->path,
                         len, max);
    }
    s->un.sun_family = AF_UNIX;
    memcpy(s->un.sun_path + o->abstract, o->path, len);
    s->un_len = !o->abstract || o->tight ? offsetof(struct sockaddr_un, sun_path) + len + 1
                                         : sizeof(s->un);
    if (o->abstract && o->tight) {
        s->un_len = offsetof(struct sockaddr_un, sun_path) + 1 + len;
    }
    s->name = xasprintf("unix:%s%s", o->abstract ? "@" : "", o->path);
    return true;
}

static bool set_tcp_address(SocketChardev *s, const SocketOpts *o, unsigned *port, Error **errp)
{
    uint64_t n = 0;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = s->server ? AI_PASSIVE : 0 };
    const char *host = o->host && *o->host ? o->host : NULL;
    if (!o->port) {
        return error_set(errp, "port= is missing");
    }
    if (!parse_u64(o->port, &n) || n > 65535 || (!n && !s->server)) {
        return error_set(errp, "port '%s' is not a number from 1 to 65535", o->port);
    }
    if (o->to > 65535) {
        return error_set(errp, "to=%llu is not a port", (unsigned long long)o->to);
    }
    *port = n;
    hints.ai_family = o->ipv4 == o->ipv6 ? AF_UNSPEC : o->ipv4 ? AF_INET : AF_INET6;
    int rc = getaddrinfo(host, o->port, &hints, &s->addrs);
    if (rc) {
        return error_set(errp, "host '%s' is not known: %s", host ? host : "", gai_strerror(rc));
    }
    s->name = xasprintf("%s:%s:%s", s->telnet ? "telnet" : "tcp", host ? host : "", o->port);
    return true;
}

/* fd=N: a socket somebody opened for us, listening with server=on, else connected. */
static bool adopt_fd(SocketChardev *s, const SocketOpts *o, Error **errp)
{
    uint64_t fd;
    int type;
    socklen_t len = sizeof(type);
    if (!parse_u64(o->fd, &fd) || fd > 0x7fffffff ||
        getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
        return error_set(errp, "fd=%s is not an open socket", o->fd);
    }
    s->name = xasprintf("fd:%s", o->fd);
    if (s->server) {
        s->listen_fd = (int)fd;
        fd_set_nonblock(s->listen_fd);
        fcntl(s->listen_fd, F_SETFD, FD_CLOEXEC);
    } else {
        socket_connected(s, (int)fd);
    }
    return true;
}

static bool start_server(SocketChardev *s, const SocketOpts *o, unsigned port, Error **errp)
{
    if (s->listen_fd < 0 &&
        !(o->path ? listen_unix(s, errp)
                  : listen_tcp(s, o->host ? o->host : "", port, o->to, errp))) {
        return false;
    }
    s->listen_watch = fd_watch_new(s->listen_fd, FD_READ, socket_accept, s, "socket");
    update_filename(s);
    return !o->wait || wait_for_client(s, errp);
}

static bool socket_open(Chardev *chr, const Dict *opts, Error **errp)
{
    SocketChardev *s = container_of(chr, SocketChardev, chr);
    SocketOpts o;
    unsigned port = 0;

    s->listen_fd = s->fd = -1;
    timer_init_on(&s->reconnect, TIMER_HOST, connect_again, s);
    if (!parse_socket_opts(s, opts, &o, errp) ||
        !(o.fd     ? adopt_fd(s, &o, errp)
          : o.path ? set_unix_address(s, &o, errp)
                   : set_tcp_address(s, &o, &port, errp))) {
        return false;
    }
    if (s->server) {
        return start_server(s, &o, port, errp);
    }
    update_filename(s);
    if (o.fd) {
        return true;
    }
    if (s->reconnect_ms) {
        connect_again(s);
        return true;
    }
    return connect_now(s, errp);
}

static void socket_close(Chardev *chr)
{
    SocketChardev *s = container_of(chr, SocketChardev, chr);
    fd_stream_stop(&s->stream);
    timer_cancel(&s->reconnect);
    fd_watch_free(s->connect_watch);
    fd_watch_free(s->listen_watch);
    if (s->fd >= 0) {
        close(s->fd);
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
    }
    socket_file_remove(&s->file);
    if (s->addrs) {
        freeaddrinfo(s->addrs);
    }
    byte_queue_clear(&s->pending);
    free(s->name);
}

static const char *const socket_options[] = {
    "path", "host",    "port",     "to",        "ipv4",         "ipv6",      "fd",
    "server", "wait",  "telnet",   "tn3270",    "websocket",    "nodelay",   "delay",
    "abstract", "tight", "reconnect", "reconnect-ms", "tls-creds", NULL,
};

CHAR_BACKEND(socket) = {
    .name = "socket",
    .desc = "a unix or TCP socket, server=on or client",
    .options = socket_options,
    .size = sizeof(SocketChardev),
    .open = socket_open,
    .close = socket_close,
    .write = socket_write,
    .accept_input = socket_accept_input,
    .starts_closed = true,
};
