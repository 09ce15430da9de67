/* SPDX-License-Identifier: GPL-2.0-or-later
 * Message signalled interrupts (PCI 6.8.1): the capability with 64-bit addresses, up to 32
 * vectors, with or without masking of single vectors.
 *
 *   +0 id, next   +2 control: 0 enable, 3:1 vectors the device has, 6:4 vectors it may use,
 *                             7 64-bit, 8 per-vector masking (both counts as powers of two)
 *   +4 address    +8 address high   +c data   +10 mask   +14 pending
 */
#include "hw/pci/pci_internal.h"

#include <assert.h>

enum { MSI_CONTROL = 2, MSI_ADDRESS = 4, MSI_ADDRESS_HIGH = 8, MSI_DATA = 12, MSI_MASK = 16,
       MSI_PENDING = 20 };
enum { CONTROL_ENABLE = 1, CONTROL_64BIT = 0x80, CONTROL_MASKING = 0x100 };

bool pci_msi_init(PciDevice *pci, unsigned nr, bool per_vector_mask)
{
    assert(nr >= 1 && nr <= 32 && (nr & (nr - 1)) == 0);
    unsigned log2_nr = __builtin_ctz(nr);
    uint8_t cap = pci_add_capability(pci, PCI_CAP_MSI, per_vector_mask ? PCI_MSI_MAX_LEN : 14);
    if (!cap) {
        return false;
    }
    pci_put16(pci->config + cap + MSI_CONTROL,
              CONTROL_64BIT | (per_vector_mask ? CONTROL_MASKING : 0) | log2_nr << 1);
    pci_put16(pci->wmask + cap + MSI_CONTROL, CONTROL_ENABLE | 7 << 4);
    pci_put32(pci->wmask + cap + MSI_ADDRESS, 0xfffffffc);
    pci_put32(pci->wmask + cap + MSI_ADDRESS_HIGH, 0xffffffff);
    pci_put16(pci->wmask + cap + MSI_DATA, 0xffff);
    if (per_vector_mask) {
        pci_put32(pci->wmask + cap + MSI_MASK, nr == 32 ? UINT32_MAX : (1u << nr) - 1);
    }
    pci->msi_cap = cap;
    return true;
}

static uint16_t msi_control(const PciDevice *pci)
{
    return pci_get16(pci->config + pci->msi_cap + MSI_CONTROL);
}

bool pci_msi_enabled(const PciDevice *pci)
{
    return pci->msi_cap && (msi_control(pci) & CONTROL_ENABLE);
}

/* An upper bound on what software granted: more than the device has means all it has. */
static unsigned vectors_granted(const PciDevice *pci)
{
    unsigned has = msi_control(pci) >> 1 & 7, granted = msi_control(pci) >> 4 & 7;
    return 1u << MIN(has, granted);
}

void pci_msi_send(PciDevice *pci, uint64_t addr, uint32_t data)
{
    PciBus *bus = pci_bus(pci);
    if (addr >> 20 == 0xfee && bus->msi) {
        bus->msi(bus->msi_opaque, addr, data);
        return;
    }
    uint8_t bytes[4];
    pci_put32(bytes, data);
    pci_dma_write(pci, addr, bytes, sizeof(bytes));
}

static void send(PciDevice *pci, unsigned n)
{
    const uint8_t *cap = pci->config + pci->msi_cap;
    uint64_t addr =
        pci_get32(cap + MSI_ADDRESS) | (uint64_t)pci_get32(cap + MSI_ADDRESS_HIGH) << 32;
    /* The device changes only the low bits that the number of vectors gives it. */
    unsigned nr = vectors_granted(pci);
    uint32_t data = (pci_get16(cap + MSI_DATA) & ~(nr - 1)) | (n & (nr - 1));
    pci_msi_send(pci, addr, data);
}

void pci_msi_notify(PciDevice *pci, unsigned n)
{
    if (!pci_msi_enabled(pci)) {
        return;
    }
    uint8_t *cap = pci->config + pci->msi_cap;
    n &= vectors_granted(pci) - 1;
    if ((msi_control(pci) & CONTROL_MASKING) && (pci_get32(cap + MSI_MASK) >> n & 1)) {
        pci_put32(cap + MSI_PENDING, pci_get32(cap + MSI_PENDING) | 1u << n);
        return;
    }
    send(pci, n);
}

void pci_msi_written(PciDevice *pci)
{
    uint8_t *cap = pci->config + pci->msi_cap;
    if (!pci_msi_enabled(pci) || !(msi_control(pci) & CONTROL_MASKING)) {
        return;
    }
    uint32_t due = pci_get32(cap + MSI_PENDING) & ~pci_get32(cap + MSI_MASK);
    pci_put32(cap + MSI_PENDING, pci_get32(cap + MSI_PENDING) & ~due);
    for (unsigned n = 0; n < 32; n++) {
        if (due >> n & 1) {
            send(pci, n);
        }
    }
}
