/* SPDX-License-Identifier: GPL-2.0-or-later
 * What net.c, clients.c and backend.c share.
 */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "net/net.h"

/* net.c */
void net_queue_init(NetClient *nc);
void net_queue_fini(NetClient *nc);
void net_resume(NetClient *nc); /* if it was told to stop: it may send again */

/* clients.c: the nearest name of a netdev, NULL if none is near */
const char *net_suggest(const char *id);

#endif
