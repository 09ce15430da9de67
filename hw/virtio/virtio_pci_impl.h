/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between virtio_pci.c and the two register interfaces.
 */
#ifndef HW_VIRTIO_VIRTIO_PCI_IMPL_H
#define HW_VIRTIO_VIRTIO_PCI_IMPL_H

#include "hw/virtio/virtio_pci.h"

enum { VIRTIO_PCI_MSIX_BAR = 1, VIRTIO_PCI_LEGACY_BAR = 0, VIRTIO_PCI_MODERN_BAR = 4 };
enum { VIRTIO_PCI_NOTIFY_STEP = 4, VIRTIO_PCI_LEGACY_NOTIFY = 16 };

/* Their BARs; virtio_pci_modern_init also adds capabilities: false if there is no room. */
void virtio_pci_legacy_init(VirtioPci *p);
bool virtio_pci_modern_init(VirtioPci *p) MUST_USE;
/* An access to the window capability's data. */
uint32_t virtio_pci_window_read(VirtioPci *p, unsigned offset, unsigned size);
void virtio_pci_window_write(VirtioPci *p, unsigned offset, uint32_t val, unsigned size);

/* The interrupt status register, which reading clears. */
uint8_t virtio_pci_read_isr(VirtioPci *p);
/* virtio_pci_outside.c: queues that others serve. Their interrupts as the vectors are now. */
void virtio_pci_update_calls(VirtioPci *p);
void virtio_pci_set_call(VirtioDoorbell *d, int call);

/* A vector the driver chose, or VIRTIO_NO_VECTOR if the device has no such one. */
uint16_t virtio_pci_vector(const VirtioPci *p, uint16_t want);

#endif
