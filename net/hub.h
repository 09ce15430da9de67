/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hubs: many clients on one network. What -net and vlan=N make. Main loop, vm_lock held.
 */
#ifndef NET_HUB_H
#define NET_HUB_H

#include "net/net.h"

/* A new port of hub number (made when first named) with the id "hub0port0", or id if not NULL. */
NetClient *net_hub_port_new(unsigned number, const char *id);
/* info network: the hubs and who is on them. */
void net_hubs_print(void (*print)(void *opaque, const char *line), void *opaque);
bool net_is_hub_port(const NetClient *nc);
/* Warns of hubs without a NIC or without a network. */
void net_hubs_check(void);

#endif
