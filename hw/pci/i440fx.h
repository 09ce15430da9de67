/* SPDX-License-Identifier: GPL-2.0-or-later
 * Intel 82441FX (440FX): the bridge between CPU, memory and PCI.
 *
 * Two devices make it up, as software sees it: "i440FX-pcihost" owns the configuration ports
 * 0xcf8-0xcff and provides bus "pci.0"; "i440FX" at 00:00.0 has the registers that decide what
 * the CPU sees between 640 KiB and 1 MiB.
 */
#ifndef HW_PCI_I440FX_H
#define HW_PCI_I440FX_H

#include "hw/pci/pci.h"

DECLARE_DEVICE_TYPE(i440fx_host);
DECLARE_DEVICE_TYPE(i440fx);

/* Where RAM stops below 4 GiB; what does not fit starts at 4 GiB. */
enum { I440FX_RAM_HOLE_START = 0xc0000000u };

/* Valid after realize of the host device. */
PciBus *i440fx_pci_bus(Device *host);
/* The PCI memory space: what shows through wherever there is no RAM. ROMs go here. */
Region *i440fx_pci_memory(Device *host);

#endif
