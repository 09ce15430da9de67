/* SPDX-License-Identifier: GPL-2.0-or-later
 * Addresses of sockets, from options (QEMU's SocketAddress words) and from "host:port".
 */
#include "net/address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/socket_holder.h"

static bool resolve(const char *host, const char *port, NetAddress *a, Error **errp)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
    uint64_t number;
    if (!parse_u64(port, &number) || number > 65535) {
        return error_set(errp, "'%s' is not a port number", port);
    }
    if (!*host) {
        hints.ai_family = AF_INET;
    }
    int error = getaddrinfo(*host ? host : NULL, port, &hints, &found);
    if (error) {
        return error_set(errp, "host '%s': %s", host, gai_strerror(error));
    }
    a->family = found->ai_family;
    a->len = found->ai_addrlen;
    memcpy(&a->ss, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    snprintf(a->text, sizeof(a->text), strchr(host, ':') ? "[%.100s]:%s" : "%.100s:%s", host, port);
    return true;
}

bool net_address_parse(const char *text, NetAddress *a, Error **errp)
{
    *a = (NetAddress){ .fd = -1 };
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1]) {
        return error_set(errp, "'%s': host:port is meant, for instance 127.0.0.1:1234", text);
    }
    bool brackets = *text == '[' && colon > text + 1 && colon[-1] == ']';
    char *host = brackets ? xstrndup(text + 1, (size_t)(colon - text) - 2)
                          : xstrndup(text, (size_t)(colon - text));
    bool ok = resolve(host, colon + 1, a, errp);
    free(host);
    return ok;
}

static bool get_unix(const char *path, bool abstract, NetAddress *a, Error **errp)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    if (!path || !*path) {
        return error_set(errp, "a unix socket needs its path");
    }
    size_t len = strlen(path);
    if (len + 1 > sizeof(un.sun_path)) {
        return error_set(errp, "'%s': the path of a unix socket has up to %zu characters", path,
                         sizeof(un.sun_path) - 1);
    }
    memcpy(un.sun_path + abstract, path, len);
    a->family = AF_UNIX;
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    memcpy(&a->ss, &un, sizeof(un));
    snprintf(a->text, sizeof(a->text), "unix:%s", path);
    return true;
}

bool net_address_get(const Dict *opts, const char *prefix, NetAddress *a, Error **errp)
{
    *a = (NetAddress){ .fd = -1 };
    Dict *d = dict_sub(opts, prefix);
    const char *type = dict_get(d, "type"), *port = dict_get(d, "port");
    const char *host = dict_get(d, "host"), *path = dict_get(d, "path"), *fd = dict_get(d, "str");
    bool abstract = false, ok = dict_get_bool(d, "abstract", &abstract, errp);
    uint64_t number;
    if (!ok || (!type && !dict_count(d))) {
    } else if (!type) {
        ok = error_set(errp, "%s.type= is missing: inet, unix or fd", prefix);
    } else if (!strcmp(type, "inet")) {
        ok = (host && port) || error_set(errp, "%s needs host= and port=", prefix);
        ok = ok && resolve(host, port, a, errp);
    } else if (!strcmp(type, "unix")) {
        ok = get_unix(path, abstract, a, errp);
    } else if (!strcmp(type, "fd")) {
        ok = (fd && parse_u64(fd, &number) && number <= INT32_MAX) ||
             error_set(errp, "%s.str= is the number of an open socket", prefix);
        a->fd = ok ? (int)number : -1;
        snprintf(a->text, sizeof(a->text), "fd:%d", a->fd);
    } else {
        ok = error_set(errp, "%s.type=%s: it is inet, unix or fd", prefix, type);
    }
    const char *unused = ok ? dict_unused(d) : NULL;
    if (unused) {
        ok = error_set(errp, "there is no option '%s.%s'", prefix, unused);
    }
    dict_free(d);
    return ok;
}

bool net_address_is_multicast(const NetAddress *a)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&a->ss;
    return a->family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

bool net_address_bind(int fd, const NetAddress *a, bool udp, SocketFile *f, Error **errp)
{
    if (a->family == AF_UNIX) {
        return socket_file_bind(f, fd, (const struct sockaddr_un *)&a->ss, a->len, errp);
    }
    if (bind(fd, (const struct sockaddr *)&a->ss, a->len) == 0) {
        return true;
    }
    int err = errno;
    unsigned port = ntohs(a->family == AF_INET6 ? ((const struct sockaddr_in6 *)&a->ss)->sin6_port
                                                : ((const struct sockaddr_in *)&a->ss)->sin_port);
    if (err == EADDRNOTAVAIL) {
        return error_set(errp, "'%s': this host does not have that address; leave it out for all",
                         a->text);
    }
    if (err == EACCES) {
        return error_set(errp, "'%s': port %u is for root; choose one from 1024 on", a->text, port);
    }
    if (err != EADDRINUSE) {
        return error_set_errno(errp, err, "'%s'", a->text);
    }
    char *holder = socket_port_holder(udp, port);
    error_set(errp, "%s port %u of this host is in use, %s; choose another port or end that process",
              udp ? "UDP" : "TCP", port, holder);
    free(holder);
    return false;
}

bool net_address_adopt(int fd, int type, Error **errp)
{
    int is = 0;
    socklen_t len = sizeof(is);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &is, &len) < 0 || is != type) {
        return error_set(errp,
                         "descriptor %d is not a %s socket; the program that starts Vireo leaves it "
                         "one, or an address is given instead of a descriptor",
                         fd, type == SOCK_STREAM ? "stream" : "datagram");
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}
