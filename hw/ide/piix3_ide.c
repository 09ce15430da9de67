/* SPDX-License-Identifier: GPL-2.0-or-later
 * The IDE function of the 82371SB (PIIX3 data sheet 2.3, 2.7): two channels at the compatible
 * addresses with interrupts 14 and 15, bus-master registers in BAR 4. Drive timings are stored and
 * have no effect.
 */
#include "hw/core/machine.h"
#include "hw/ide/ide.h"
#include "hw/isa/isa.h"

enum { CFG_IDETIM = 0x40, CFG_SIDETIM = 0x44, IDETIM_ENABLE = 0x80 };
enum { BM_SIZE = 16 };

typedef struct Piix3Ide {
    PciDevice pci;
    IdeBus bus[2];
    struct Channel {
        struct Piix3Ide *ide;
        IdeBus *bus;
        Region command, control;
    } channel[2];
    Region bm;
} Piix3Ide;

static const uint16_t command_port[2] = { 0x1f0, 0x170 }, control_port[2] = { 0x3f6, 0x376 };

static uint64_t command_read(void *opaque, uint64_t offset, unsigned size)
{
    struct Channel *c = opaque;
    uint64_t val = 0;
    if (offset == 0) {
        return ide_read(c->bus, 0, size);
    }
    for (unsigned i = 0; i < size; i++) { /* only the data register is wider than a byte */
        val |= ide_read(c->bus, offset + i, 1) << i * 8;
    }
    return val;
}

static void command_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    struct Channel *c = opaque;
    if (offset == 0) {
        ide_write(c->bus, 0, val, size);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        ide_write(c->bus, offset + i, val >> i * 8 & 0xff, 1);
    }
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    struct Channel *c = opaque;
    (void)offset, (void)size;
    return ide_read_alt_status(c->bus);
}

static void control_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    struct Channel *c = opaque;
    (void)offset, (void)size;
    ide_write_control(c->bus, (uint8_t)val);
}

static unsigned command_read_string(void *opaque, uint64_t offset, void *buf, unsigned size,
                                    unsigned n)
{
    struct Channel *c = opaque;
    return offset == 0 && size > 1 ? ide_read_string(c->bus, buf, size, n) : 0;
}

static unsigned command_write_string(void *opaque, uint64_t offset, const void *buf, unsigned size,
                                     unsigned n)
{
    struct Channel *c = opaque;
    return offset == 0 && size > 1 ? ide_write_string(c->bus, buf, size, n) : 0;
}

static const RegionOps command_ops = { command_read, command_write, .sizes = 1 | 2 | 4,
                                       .read_string = command_read_string,
                                       .write_string = command_write_string };
static const RegionOps control_ops = { control_read, control_write, .sizes = 1 };

/* ---- bus master (BMIDE 2) ---- */

static uint64_t bm_read(void *opaque, uint64_t offset, unsigned size)
{
    Piix3Ide *s = opaque;
    IdeBus *b = &s->bus[offset >> 3];
    (void)size;
    switch (offset & 7) {
    case 0: return b->bm_command;
    case 2: return b->bm_status;
    case 4: case 5: case 6: case 7: return b->bm_prd >> (offset & 3) * 8 & 0xff;
    default: return 0xff;
    }
}

static void bm_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Piix3Ide *s = opaque;
    IdeBus *b = &s->bus[offset >> 3];
    unsigned shift = (offset & 3) * 8;
    (void)size;
    switch (offset & 7) {
    case 0: {
        bool was = b->bm_command & BM_START;
        b->bm_command = val & (BM_START | BM_TO_MEMORY);
        if (!was && (val & BM_START)) {
            ide_bm_start(b);
        } else if (was && !(val & BM_START)) {
            b->bm_status &= (uint8_t)~BMS_ACTIVE;
        }
        break;
    }
    case 2: /* 6:5 are the driver's, error and interrupt are cleared by writing 1 */
        b->bm_status = (uint8_t)((val & 0x60) | (b->bm_status & BMS_ACTIVE) |
                                 (b->bm_status & ~val & (BMS_ERROR | BMS_INTR)));
        break;
    case 4: case 5: case 6: case 7:
        b->bm_prd = ((b->bm_prd & ~(0xffu << shift)) | (uint32_t)(val & 0xff) << shift) & ~3u;
        break;
    default: break;
    }
}

static const RegionOps bm_ops = { bm_read, bm_write, .sizes = 1 };

/* ---- function ---- */

/* Each channel answers while its decode enable and I/O space enable are set. */
static void update_decode(Piix3Ide *s)
{
    bool io = pci_get16(s->pci.config + PCI_COMMAND) & PCI_COMMAND_IO;
    for (unsigned i = 0; i < 2; i++) {
        bool on = io && (s->pci.config[CFG_IDETIM + i * 2 + 1] & IDETIM_ENABLE);
        region_set_enabled(&s->channel[i].command, on);
        region_set_enabled(&s->channel[i].control, on);
    }
}

static void config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size)
{
    pci_default_config_write(pci, reg, val, size);
    update_decode(container_of(pci, Piix3Ide, pci));
}

/* Firmware that leaves the timings alone still finds its disks. */
static void piix3_ide_reset(Device *dev)
{
    Piix3Ide *s = container_of(dev, Piix3Ide, pci.dev);
    pci_put16(s->pci.config + CFG_IDETIM, IDETIM_ENABLE << 8);
    pci_put16(s->pci.config + CFG_IDETIM + 2, IDETIM_ENABLE << 8);
}

static void piix3_ide_refresh(Device *dev)
{
    Piix3Ide *s = container_of(dev, Piix3Ide, pci.dev);
    update_decode(s);
    for (unsigned i = 0; i < 2; i++) {
        ide_bus_refresh(&s->bus[i]);
    }
}

static bool piix3_ide_realize(Device *dev, Error **errp)
{
    Piix3Ide *s = container_of(dev, Piix3Ide, pci.dev);
    static const char *const names[2] = { "ide.0", "ide.1" };
    (void)errp;
    for (unsigned i = 0; i < 2; i++) {
        struct Channel *c = &s->channel[i];
        *c = (struct Channel){ .ide = s, .bus = &s->bus[i] };
        ide_bus_init(&s->bus[i], names[i], &s->pci);
        region_init_io(&c->command, dev, &command_ops, c, 8);
        region_init_io(&c->control, dev, &control_ops, c, 1);
        PciBus *bus = pci_bus(&s->pci);
        region_add(bus->io_root, command_port[i], &c->command, 1);
        region_add(bus->io_root, control_port[i], &c->control, 1);
        Bus *isa = bus_find(dev->machine, BUS_ISA, NULL, NULL, errp);
        if (!isa) {
            return false;
        }
        irq_connect(&s->bus[i].irq, container_of(isa, IsaBus, bus)->irq[14 + i]);
    }
    region_init_io(&s->bm, dev, &bm_ops, s, BM_SIZE);
    pci_register_bar(&s->pci, 4, PCI_BAR_IO, &s->bm);
    for (unsigned i = 0; i < 2; i++) {
        pci_put16(s->pci.wmask + CFG_IDETIM + i * 2, 0xffff);
    }
    s->pci.wmask[CFG_SIDETIM] = 0xff;
    return true;
}

static const PciInfo piix3_ide_info = {
    .vendor = 0x8086, .device = 0x7010, .class_code = 0x010180, .config_write = config_write,
};

static const StateField piix3_ide_state[] = {
    STATE_STRUCT(Piix3Ide, bus, IdeBus, ide_bus_state),
    STATE_END,
};

DEVICE_TYPE(piix3_ide) = {
    PCI_DEVICE_INFO("piix3-ide", Piix3Ide, "PIIX3 IDE controller", &piix3_ide_info),
    .state = piix3_ide_state,
    .state_version = 1,
    .realize = piix3_ide_realize,
    .reset = piix3_ide_reset,
    .refresh = piix3_ide_refresh,
};
