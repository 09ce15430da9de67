/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the files of the PCI core share; devices do not include this.
 */
#ifndef HW_PCI_PCI_INTERNAL_H
#define HW_PCI_PCI_INTERNAL_H

#include "hw/pci/pci.h"

enum { PCI_MSI_MAX_LEN = 24 };

const PciInfo *pci_info(const PciDevice *pci);
/* The guest wrote a register of the MSI capability: what was pending and is unmasked goes out. */
void pci_msi_written(PciDevice *pci);
/* The same for the control word of MSI-X. */
void pci_msix_written(struct PciMsix *msix);
/* A message on its way: to the APICs, or to RAM if that is where it goes. */
void pci_msi_send(PciDevice *pci, uint64_t addr, uint32_t data);

#endif
