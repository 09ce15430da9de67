/* SPDX-License-Identifier: GPL-2.0-or-later
 * ich9-ahci: the SATA function of the ICH9 in its AHCI mode (Intel ICH9 datasheet 15, 16; AHCI
 * 1.3.1): generic host control, interrupts by pin or MSI. Left out: port multipliers, command
 * completion coalescing, enclosure management, link power management, the index-data pair, the
 * IDE modes.
 */
#include "hw/ide/ahci.h"

enum { ABAR_SIZE = 0x1000, PORT_BASE = 0x100, PORT_SIZE = 0x80 };
enum { HBA_CAP = 0x00, HBA_GHC = 0x04, HBA_IS = 0x08, HBA_PI = 0x0c, HBA_VS = 0x10 };
enum { GHC_HR = 1u << 0, GHC_IE = 1u << 1 };
static const uint32_t ghc_ae = 1u << 31;
enum { AHCI_1_3_1 = 0x00010301, CFG_MAP = 0x90, MAP_AHCI = 0x40 };

/* S64A, SNCQ, SCLO, 3 Gbit/s, SAM (AHCI only), PMD-capable PIO, 32 slots, 6 ports; SSS. */
static uint32_t capabilities(const Ahci *s)
{
    return 1u << 31 | 1u << 30 | 1u << 24 | 2u << 20 | 1u << 18 | 1u << 15 | (AHCI_SLOTS - 1) << 8 |
           (AHCI_PORTS - 1) | (s->staggered ? 1u << 27 : 0);
}

/* A port's bit of IS is set by its interrupt and cleared by software; MSI goes out for each bit
 * that comes (10.6). */
void ahci_update_irq(Ahci *s)
{
    uint32_t was = s->is;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        AhciPort *p = &s->port[i];
        s->is |= ahci_port_pending(p) & p->ie ? 1u << i : 0;
    }
    bool enabled = s->ghc & GHC_IE;
    if (enabled && (s->is & ~was)) {
        pci_msi_notify(&s->pci, 0);
    }
    pci_set_intx(&s->pci, enabled && s->is && !pci_msi_enabled(&s->pci));
}

static void reset_hba(Ahci *s)
{
    s->ghc = ghc_ae;
    s->is = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        ahci_port_reset(&s->port[i]);
    }
    ahci_update_irq(s);
}

static void write_ghc(Ahci *s, uint32_t val)
{
    bool was = s->ghc & GHC_IE;
    if (val & GHC_HR) { /* done before it can be read */
        reset_hba(s);
        return;
    }
    s->ghc = ghc_ae | (val & GHC_IE);
    if (!was && (s->ghc & GHC_IE) && s->is) {
        pci_msi_notify(&s->pci, 0);
    }
    ahci_update_irq(s);
}

static uint64_t ahci_read(void *opaque, uint64_t offset, unsigned size)
{
    Ahci *s = opaque;
    (void)size;
    if (offset >= PORT_BASE) {
        unsigned n = (unsigned)(offset - PORT_BASE) / PORT_SIZE;
        return n < AHCI_PORTS ? ahci_port_read(&s->port[n], offset % PORT_SIZE) : 0;
    }
    switch (offset) {
    case HBA_CAP: return capabilities(s);
    case HBA_GHC: return s->ghc;
    case HBA_IS: return s->is;
    case HBA_PI: return (1u << AHCI_PORTS) - 1;
    case HBA_VS: return AHCI_1_3_1;
    default: return 0;
    }
}

static void ahci_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Ahci *s = opaque;
    (void)size;
    if (offset >= PORT_BASE) {
        unsigned n = (unsigned)(offset - PORT_BASE) / PORT_SIZE;
        if (n < AHCI_PORTS) {
            ahci_port_write(&s->port[n], offset % PORT_SIZE, (uint32_t)val);
        }
        return;
    }
    switch (offset) {
    case HBA_GHC: write_ghc(s, (uint32_t)val); break;
    case HBA_IS:
        s->is &= ~(uint32_t)val;
        ahci_update_irq(s);
        break;
    default: break;
    }
}

static const RegionOps ahci_ops = { ahci_read, ahci_write, .sizes = 4 };

/* ---- function ---- */

static bool ahci_realize(Device *dev, Error **errp)
{
    Ahci *s = container_of(dev, Ahci, pci.dev);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        ahci_port_init(&s->port[i], s, i);
    }
    region_init_io(&s->regs, dev, &ahci_ops, s, ABAR_SIZE);
    pci_register_bar(&s->pci, 5, 0, &s->regs);
    s->pci.config[CFG_MAP] = MAP_AHCI;
    return pci_msi_init(&s->pci, 1, false) ||
           error_set(errp, "ich9-ahci: no room for the MSI capability");
}

static void ahci_unrealize(Device *dev)
{
    Ahci *s = container_of(dev, Ahci, pci.dev);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        ncq_forget_failed(&s->port[i]);
    }
}

/* Its disks were reset before or will be after; refresh brings the links up. */
static void ahci_reset(Device *dev)
{
    Ahci *s = container_of(dev, Ahci, pci.dev);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        ncq_forget_failed(&s->port[i]);
    }
}

static void ahci_refresh(Device *dev)
{
    Ahci *s = container_of(dev, Ahci, pci.dev);
    if (!s->ghc) { /* power-up: AE is never clear */
        reset_hba(s);
        return;
    }
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        ahci_port_check(&s->port[i]);
    }
    ahci_update_irq(s);
}

static const PciInfo ahci_info = {
    .vendor = 0x8086,
    .device = 0x2922,
    .revision = 2,
    .class_code = 0x010601,
    .intx_pin = 1,
};

static const Property ahci_props[] = {
    PROP_BOOL("staggered-spinup", Ahci, staggered,
              .help = "ports stay down until the guest asks for spin-up (CAP.SSS)"),
    PROP_END,
};

static const StateField ahci_state[] = {
    STATE_U32(Ahci, ghc),
    STATE_U32(Ahci, is),
    STATE_STRUCT(Ahci, port, AhciPort, ahci_port_state),
    STATE_END,
};

static const char *const ahci_aliases[] = { "ahci", NULL };

DEVICE_TYPE(ich9_ahci) = {
    PCI_DEVICE_INFO("ich9-ahci", Ahci, "ICH9 SATA controller (AHCI)", &ahci_info),
    .props = ahci_props,
    .state = ahci_state,
    .state_version = 1,
    .realize = ahci_realize,
    .unrealize = ahci_unrealize,
    .reset = ahci_reset,
    .refresh = ahci_refresh,
    .aliases = ahci_aliases,
};
