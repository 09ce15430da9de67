/* SPDX-License-Identifier: GPL-2.0-or-later
 * -netdev socket: the older words for stream and dgram, listen=, connect=, mcast=, udp= and fd=.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/dgram.h"
#include "net/net.h"
#include "net/stream.h"

static bool create_fd(const char *id, const char *text, Error **errp)
{
    uint64_t fd;
    int type = 0;
    socklen_t len = sizeof(type);
    if (!parse_u64(text, &fd) || fd > INT32_MAX ||
        getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
        return error_set(errp,
                         "fd=%s is no open socket; the program that starts Vireo leaves it one, "
                         "listen= and connect= open one",
                         text);
    }
    NetAddress a = { .fd = (int)fd };
    snprintf(a.text, sizeof(a.text), "fd:%s", text);
    if (type == SOCK_STREAM) {
        return net_stream_create(id, &(NetStreamConfig){ .legacy = true, .address = a }, errp);
    }
    return net_dgram_create(id, &(NetDgramConfig){ .legacy = true, .local = a,
                                                   .remote = { .fd = -1 } }, errp);
}

static bool create_stream(const char *id, const char *text, bool server, Error **errp)
{
    NetStreamConfig c = { .legacy = true, .server = server, .must_connect = true };
    return net_address_parse(text, &c.address, errp) && net_stream_create(id, &c, errp);
}

static bool create_dgram(const char *id, const char *mcast, const char *udp, const char *local,
                         Error **errp)
{
    NetDgramConfig c = { .legacy = true, .local = { .fd = -1 } };
    if (!net_address_parse(mcast ? mcast : udp, &c.remote, errp)) {
        return false;
    }
    if (mcast && !net_address_is_multicast(&c.remote)) {
        return error_set(errp, "mcast=%s: a multicast group is 224.0.0.0 to 239.255.255.255", mcast);
    }
    if (udp && !local) {
        return error_set(errp, "udp=%s: localaddr=host:port says where frames come to", udp);
    }
    /* The interface of a group is named by its address alone. */
    char buf[128];
    if (local && mcast) {
        snprintf(buf, sizeof(buf), "%s:0", local);
        local = buf;
    }
    return (!local || net_address_parse(local, &c.local, errp)) && net_dgram_create(id, &c, errp);
}

static bool socket_create(const char *id, const Dict *opts, Error **errp)
{
    static const char *const ways[] = { "fd", "listen", "connect", "mcast", "udp" };
    const char *given = NULL, *text = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        if (dict_has(opts, ways[i]) && given) {
            return error_set(errp, "%s= and %s= are two ways; give one", given, ways[i]);
        }
        given = dict_has(opts, ways[i]) ? ways[i] : given;
    }
    if (!given) {
        return error_set(errp, "socket needs one of listen=, connect=, mcast=, udp= and fd=");
    }
    text = dict_get(opts, given);
    const char *local = dict_get(opts, "localaddr");
    if (local && strcmp(given, "mcast") && strcmp(given, "udp")) {
        return error_set(errp, "localaddr= goes with mcast= and udp=");
    }
    if (!strcmp(given, "fd")) {
        return create_fd(id, text, errp);
    }
    if (!strcmp(given, "listen") || !strcmp(given, "connect")) {
        return create_stream(id, text, *given == 'l', errp);
    }
    bool mcast = *given == 'm';
    return create_dgram(id, mcast ? text : NULL, mcast ? NULL : text, local, errp);
}

static const char *const socket_keys[] = { "fd", "listen", "connect", "mcast", "udp", "localaddr",
                                           NULL };
static const char *const socket_help[] = {
    "  listen=[HOST]:PORT     waits for a connection",
    "  connect=HOST:PORT      to one that listens",
    "  mcast=GROUP:PORT[,localaddr=ADDRESS]     a multicast group joins many guests",
    "  udp=HOST:PORT,localaddr=HOST:PORT        a frame a datagram",
    "  fd=N                   a socket that is open",
    NULL,
};

NET_BACKEND(socket) = {
    .name = "socket",
    .desc = "the older words for stream and dgram",
    .keys = socket_keys,
    .help = socket_help,
    .create = socket_create,
};
