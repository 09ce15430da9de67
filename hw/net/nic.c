/* SPDX-License-Identifier: GPL-2.0-or-later
 * Network cards on PCI: address, peers, boot ROM.
 */
#include "hw/net/nic.h"

#include <string.h>

#include "hw/core/machine.h"

/* Only who wants to boot from the network misses the ROM. */
static void check_rom(const PciDevice *pci, int32_t bootindex)
{
    const MachineConfig *c = &pci->dev.machine->config;
    bool wanted = bootindex >= 0 || (c->boot_order && strchr(c->boot_order, 'n')) ||
                  (c->boot_once && strchr(c->boot_once, 'n'));
    if (wanted && !pci->rom_ram && !pci->romfile && pci->rombar) {
        warn_report("%s: no boot ROM, so it cannot boot from the network; install ipxe-qemu, or "
                    "name one with romfile=",
                    pci->dev.type->name);
    }
}

bool nic_realize(NetClient *q, unsigned nr, const NetClientInfo *info, PciDevice *pci,
                 const char *netdev, uint8_t mac[ETH_ALEN], int32_t bootindex, Error **errp)
{
    NetNicConfig c = { .model = pci->dev.type->name, .id = pci->dev.id, .netdev = netdev };
    if (!net_mac_assign(mac, errp)) {
        return false;
    }
    if (!net_nic_init(q, nr, info, &c, errp)) {
        net_mac_release(mac);
        return false;
    }
    for (unsigned i = 0; i < nr; i++) {
        net_nic_describe(&q[i], mac);
    }
    check_rom(pci, bootindex);
    return true;
}

void nic_unrealize(NetClient *q, unsigned nr, const uint8_t mac[ETH_ALEN])
{
    net_nic_fini(q, nr);
    net_mac_release(mac);
}
