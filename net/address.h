/* SPDX-License-Identifier: GPL-2.0-or-later
 * Addresses of sockets, for the back ends that carry frames between programs.
 */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <sys/socket.h>

#include "util/dict.h"
#include "util/error.h"
#include "util/socket_file.h"

typedef struct NetAddress {
    int family; /* AF_UNSPEC: none; AF_INET, AF_INET6, AF_UNIX */
    struct sockaddr_storage ss;
    socklen_t len;
    int fd;     /* type=fd: an open socket; -1 else */
    char text[128]; /* for messages: "127.0.0.1:1234", "unix:/tmp/s" */
} NetAddress;

/* prefix.type=inet|unix|fd with prefix.host, .port, .path, .str. Without prefix.type there is none:
 * true, and family AF_UNSPEC. */
bool net_address_get(const Dict *opts, const char *prefix, NetAddress *a, Error **errp) MUST_USE;
/* "host:port", "[::1]:port", ":port" (every address). */
bool net_address_parse(const char *text, NetAddress *a, Error **errp) MUST_USE;
bool net_address_is_multicast(const NetAddress *a);
/* Binds fd; a port or a unix socket in use names its holder. f: that of a unix socket. */
bool net_address_bind(int fd, const NetAddress *a, bool udp, SocketFile *f, Error **errp) MUST_USE;
/* A socket somebody opened, of that type (SOCK_STREAM), made non-blocking. */
bool net_address_adopt(int fd, int type, Error **errp) MUST_USE;

#endif
