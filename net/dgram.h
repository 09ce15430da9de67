/* SPDX-License-Identifier: GPL-2.0-or-later
 * Frames in datagrams, as -netdev dgram and -netdev socket make them.
 */
#ifndef NET_DGRAM_H
#define NET_DGRAM_H

#include "net/address.h"

typedef struct NetDgramConfig {
    bool legacy;              /* -netdev socket: its name in info network */
    NetAddress local, remote; /* remote may be a multicast group: then local is the interface */
} NetDgramConfig;

bool net_dgram_create(const char *id, const NetDgramConfig *c, Error **errp) MUST_USE;

#endif
