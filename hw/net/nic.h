/* SPDX-License-Identifier: GPL-2.0-or-later
 * What all network cards on PCI do when they are made and unmade.
 */
#ifndef HW_NET_NIC_H
#define HW_NET_NIC_H

#include "hw/pci/pci.h"
#include "net/net.h"

/* Gives the card its address, connects its queues with the netdev, and warns if it shall boot but
 * has no ROM to do so. */
bool nic_realize(NetClient *q, unsigned nr, const NetClientInfo *info, PciDevice *pci,
                 const char *netdev, uint8_t mac[ETH_ALEN], int32_t bootindex, Error **errp)
    MUST_USE;
void nic_unrealize(NetClient *q, unsigned nr, const uint8_t mac[ETH_ALEN]);

#endif
