/* SPDX-License-Identifier: GPL-2.0-or-later
 * Frames over a stream socket, as -netdev stream and -netdev socket make them.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "net/address.h"

typedef struct NetStreamConfig {
    bool legacy;        /* -netdev socket: its name in info network */
    NetAddress address;
    bool server;
    uint64_t reconnect_ms; /* of a client; 0: a lost connection stays lost */
    bool must_connect;  /* a client that cannot connect now fails to start */
} NetStreamConfig;

bool net_stream_create(const char *id, const NetStreamConfig *c, Error **errp) MUST_USE;

#endif
