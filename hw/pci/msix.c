/* SPDX-License-Identifier: GPL-2.0-or-later
 * MSI-X (PCI 6.8.2): vectors with an address, data and mask each, in a table that lies in a BAR.
 *
 *   capability  +0 id, next   +2 control: 10:0 vectors - 1, 14 function mask, 15 enable
 *               +4 table offset | BAR number   +8 the same of the pending bit array
 *   table, 16 bytes a vector  +0 address   +8 data   +12 control: 0 masked
 *
 * A vector that is masked (by its own bit or for the whole function) becomes pending instead, and
 * goes out once when both masks are gone.
 */
#include "hw/pci/msix.h"

#include <assert.h>

#include "hw/core/irqchip.h"
#include "hw/pci/pci_internal.h"

enum { MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_PBA = 8, MSIX_LEN = 12 };
enum { CONTROL_MASK_ALL = 1 << 14, CONTROL_ENABLE = 1 << 15 };
enum {
    ENTRY_SIZE = 16,
    ENTRY_ADDR = 0,
    ENTRY_ADDR_HIGH = 4,
    ENTRY_DATA = 8,
    ENTRY_CONTROL = 12,
    ENTRY_MASKED = 1
};

static uint16_t control(const PciMsix *msix)
{
    return pci_get16(msix->pci->config + msix->cap + MSIX_CONTROL);
}

bool pci_msix_enabled(const PciMsix *msix)
{
    return msix->pci && (control(msix) & CONTROL_ENABLE);
}

static bool is_masked(const PciMsix *msix, unsigned n)
{
    return (control(msix) & CONTROL_MASK_ALL) || (msix->entry[n].control & ENTRY_MASKED);
}

static void send(PciMsix *msix, unsigned n)
{
    pci_msi_send(msix->pci, msix->entry[n].addr, msix->entry[n].data);
}

void pci_msix_notify(PciMsix *msix, unsigned n)
{
    if (!pci_msix_enabled(msix) || n >= msix->nr) {
        return;
    }
    if (is_masked(msix, n)) {
        msix->pending[n / 64] |= 1ull << n % 64;
    } else {
        send(msix, n);
    }
}

/* ---- eventfds ---- */

static void update_irqfd(PciMsix *msix, unsigned n)
{
    IrqFd *f = msix->irqfd[n];
    if (!f) {
        return;
    }
    bool listens = pci_msix_enabled(msix) && !is_masked(msix, n);
    uint64_t addr = listens ? msix->entry[n].addr : 0; /* 0: its events wait */
    if (f->addr != addr || f->data != msix->entry[n].data) {
        irqfd_set_message(f, addr, msix->entry[n].data);
    }
}

void pci_msix_add_irqfd(PciMsix *msix, unsigned n, struct IrqFd *f, int fd)
{
    assert(n < msix->nr && !msix->irqfd[n]);
    irqfd_init_msi(f, msix->pci->dev.machine, fd, 0, 0);
    msix->irqfd[n] = f;
    update_irqfd(msix, n);
}

void pci_msix_del_irqfd(PciMsix *msix, unsigned n)
{
    if (n < msix->nr && msix->irqfd[n]) {
        irqfd_fini(msix->irqfd[n]);
        msix->irqfd[n] = NULL;
    }
}

/* ---- registers ---- */

/* A mask may have gone. */
static void update_vector(PciMsix *msix, unsigned n)
{
    uint64_t bit = 1ull << n % 64;
    if ((msix->pending[n / 64] & bit) && pci_msix_enabled(msix) && !is_masked(msix, n)) {
        msix->pending[n / 64] &= ~bit;
        send(msix, n);
    }
    update_irqfd(msix, n);
}

void pci_msix_written(PciMsix *msix)
{
    for (unsigned n = 0; n < msix->nr; n++) {
        update_vector(msix, n);
    }
}

void pci_msix_refresh(PciMsix *msix)
{
    for (unsigned n = 0; n < msix->nr; n++) {
        update_irqfd(msix, n);
    }
}

static uint64_t table_read(void *opaque, uint64_t offset, unsigned size)
{
    const PciMsix *msix = opaque;
    const PciMsixEntry *e = &msix->entry[offset / ENTRY_SIZE];
    (void)size;
    switch (offset % ENTRY_SIZE) {
    case ENTRY_ADDR: return (uint32_t)e->addr;
    case ENTRY_ADDR_HIGH: return e->addr >> 32;
    case ENTRY_DATA: return e->data;
    default: return e->control;
    }
}

static void table_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    PciMsix *msix = opaque;
    PciMsixEntry *e = &msix->entry[offset / ENTRY_SIZE];
    (void)size;
    switch (offset % ENTRY_SIZE) {
    case ENTRY_ADDR: e->addr = (e->addr & ~(uint64_t)UINT32_MAX) | (val & ~3ull); break;
    case ENTRY_ADDR_HIGH: e->addr = (uint32_t)e->addr | val << 32; break;
    case ENTRY_DATA: e->data = val; break;
    default: e->control = val & ENTRY_MASKED; break;
    }
    update_vector(msix, offset / ENTRY_SIZE);
}

static uint64_t pba_read(void *opaque, uint64_t offset, unsigned size)
{
    const PciMsix *msix = opaque;
    (void)size;
    return msix->pending[offset / 8] >> 8 * (offset % 8);
}

static void pba_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)val;
    (void)size; /* read-only (PCI 6.8.2.9) */
}

/* Software may write a table entry in two halves (PCI 6.8.2); the dispatcher makes them of eight
 * bytes. */
static const RegionOps table_ops = { table_read, table_write, .sizes = 4 };
static const RegionOps pba_ops = { pba_read, pba_write, .sizes = 4 | 8 };

/* ---- life ---- */

bool pci_msix_init(PciDevice *pci, PciMsix *msix, unsigned nr, Region *bar, unsigned bar_nr,
                   uint32_t table_offset, uint32_t pba_offset)
{
    assert(nr >= 1 && nr <= PCI_MSIX_MAX && table_offset % 8 == 0 && pba_offset % 8 == 0);
    uint8_t cap = pci_add_capability(pci, PCI_CAP_MSIX, MSIX_LEN);
    if (!cap) {
        return false;
    }
    pci_put16(pci->config + cap + MSIX_CONTROL, nr - 1);
    pci_put16(pci->wmask + cap + MSIX_CONTROL, CONTROL_MASK_ALL | CONTROL_ENABLE);
    pci_put32(pci->config + cap + MSIX_TABLE, table_offset | bar_nr);
    pci_put32(pci->config + cap + MSIX_PBA, pba_offset | bar_nr);
    msix->pci = pci;
    msix->nr = nr;
    msix->cap = cap;
    pci->msix = msix;
    region_init_io(&msix->table, &pci->dev, &table_ops, msix, nr * ENTRY_SIZE);
    msix->table.name = "msix-table";
    region_init_io(&msix->pba, &pci->dev, &pba_ops, msix, ROUND_UP(nr, 64) / 8);
    msix->pba.name = "msix-pba";
    region_add(bar, table_offset, &msix->table, 0);
    region_add(bar, pba_offset, &msix->pba, 0);
    return true;
}

void pci_msix_fini(PciMsix *msix)
{
    for (unsigned n = 0; n < msix->nr; n++) {
        pci_msix_del_irqfd(msix, n);
    }
    if (msix->pci) {
        region_del(&msix->table);
        region_del(&msix->pba);
    }
}

static const StateField entry_state[] = {
    STATE_U64(PciMsixEntry, addr),
    STATE_U32(PciMsixEntry, data),
    STATE_U32(PciMsixEntry, control, .reset = ENTRY_MASKED, .mask = ENTRY_MASKED),
    STATE_END,
};

const StateField pci_msix_state[] = {
    STATE_STRUCT(PciMsix, entry, PciMsixEntry, entry_state),
    STATE_U64S(PciMsix, pending),
    STATE_END,
};
