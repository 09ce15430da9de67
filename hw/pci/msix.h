/* SPDX-License-Identifier: GPL-2.0-or-later
 * MSI-X (PCI 6.8.2) for devices that embed a PciMsix. Call everything with vm_lock held.
 *
 *     typedef struct Card { PciDevice pci; PciMsix msix; Region bar1; ... } Card;
 *     realize:    region_init_container(&s->bar1, "card-msix", 4096);
 *                 pci_register_bar(&s->pci, 1, 0, &s->bar1);
 *                 if (!pci_msix_init(&s->pci, &s->msix, 5, &s->bar1, 1, 0, 2048)) ...
 *     state:      STATE_STRUCT(Card, msix, PciMsix, pci_msix_state),
 *     refresh:    pci_msix_refresh(&s->msix);
 *     unrealize:  pci_msix_fini(&s->msix);
 *     an event:   pci_msix_notify(&s->msix, vector);
 */
#ifndef HW_PCI_MSIX_H
#define HW_PCI_MSIX_H

#include "hw/pci/pci.h"

struct IrqFd;

enum { PCI_MSIX_MAX = 128 }; /* vectors a device of ours may have */

typedef struct PciMsixEntry {
    uint64_t addr;
    uint32_t data;
    uint32_t control; /* bit 0: masked */
} PciMsixEntry;

typedef struct PciMsix {
    PciMsixEntry entry[PCI_MSIX_MAX];    /* state */
    uint64_t pending[PCI_MSIX_MAX / 64]; /* state: a bit a vector */
    PciDevice *pci;                      /* wiring: NULL before pci_msix_init */
    unsigned nr;
    uint8_t cap; /* where the capability is */
    Region table, pba;
    struct IrqFd *irqfd[PCI_MSIX_MAX]; /* whose events are that vector; NULL: nobody's */
} PciMsix;

extern const StateField pci_msix_state[];

/* Gives pci the capability with nr vectors, and puts table and pending bits into bar, the container
 * that is BAR number bar_nr, at these offsets (multiples of 8). In realize; false if configuration
 * space has no room. */
bool pci_msix_init(PciDevice *pci, PciMsix *msix, unsigned nr, Region *bar, unsigned bar_nr,
                   uint32_t table_offset, uint32_t pba_offset) MUST_USE;
void pci_msix_fini(PciMsix *msix);
void pci_msix_refresh(PciMsix *msix); /* from the device's refresh */
bool pci_msix_enabled(const PciMsix *msix);
/* Sends vector n, or marks it pending while it is masked. Nothing while MSI-X is disabled or if
 * there is no such vector. */
void pci_msix_notify(PciMsix *msix, unsigned n);

/* For back ends in other threads or processes: events of fd are vector n. f is the caller's and
 * follows what the guest writes into the table until it is taken away. While the vector is masked
 * its events wait in fd; the pending bit does not show them. One a vector. */
void pci_msix_add_irqfd(PciMsix *msix, unsigned n, struct IrqFd *f, int fd);
void pci_msix_del_irqfd(PciMsix *msix, unsigned n);

#endif
