/* SPDX-License-Identifier: GPL-2.0-or-later
 * Intel 82441FX PCI and memory controller, PMC (82441FX datasheet, order number 290549).
 *
 * Configuration mechanism #1 with the reset control register in its gap, the programmable
 * attribute map (PAM) over 0xc0000-0xfffff, and the compatible SMRAM segment. DRAM timing and
 * row registers keep what is written. Missing: SMRAM as SMM alone sees it (the CPU has no SMM).
 */
#include "hw/pci/i440fx.h"

#include <string.h>

#include "hw/core/machine.h"
#include "util/vm_lock.h"

enum { PORT_CONFIG_ADDRESS = 0xcf8, OFFSET_ADDRESS = 0, OFFSET_RCR = 1, OFFSET_DATA = 4 };
enum { CONFIG_ENABLE = 1u << 31, CONFIG_ADDRESS_MASK = 0x80fffffcu };
enum { RCR_SYSTEM_RESET = 1 << 1, RCR_RESET_CPU = 1 << 2 };

enum { REG_PAM0 = 0x59, REG_PAM6 = 0x5f, REG_SMRAM = 0x72 };
enum { PAM_READ = 1, PAM_WRITE = 2 };
enum { SMRAM_C_BASE = 0x02, SMRAM_ENABLE = 1 << 3, SMRAM_LOCK = 1 << 4, SMRAM_CLOSE = 1 << 5,
       SMRAM_OPEN = 1 << 6 };
enum { VGA_BASE = 0xa0000, VGA_SIZE = 0x20000, PAM_BASE = 0xc0000, PAM_END = 0x100000 };
/* Segment 0 is the 64 KiB BIOS area, 1-12 are 16 KiB each from 0xc0000 up. */
enum { NR_PAM = 13, PAM_SEGMENT = 0x4000, PAM_BIOS = 0xf0000 };

typedef struct I440fxHost {
    Device dev;
    uint32_t config_address; /* state */
    uint8_t rcr;
    Region io; /* wiring */
    Region pci_memory;
    PciBus bus;
} I440fxHost;

typedef struct PamSegment {
    struct I440fx *chip;
    uint32_t base, size;
    Region ram;        /* alias of RAM: reads enabled, writes perhaps */
    Region write_only; /* reads go to PCI, writes to RAM */
} PamSegment;

typedef struct I440fx {
    PciDevice pci; /* all state is in configuration space */
    PamSegment pam[NR_PAM];
    /* 0xa0000-0xbffff belongs to PCI unless SMRAM is open, 0xc0000-0xfffff unless a PAM segment
     * says otherwise. Where no PCI device answers, the void hides the RAM behind. */
    Region vga_to_pci, vga_void, bios_to_pci, bios_void;
    /* The PCI memory space by itself, for reads of write-only segments. */
    AddressSpace pci_space;
    Region pci_space_root, pci_space_alias, pci_space_void;
} I440fx;

/* ---- configuration mechanism #1 (PCI 3.2.2.3.2) ---- */

static uint32_t config_target(const I440fxHost *s, uint64_t offset)
{
    return (s->config_address & 0xfffffc) | (offset & 3);
}

static uint64_t host_read(void *opaque, uint64_t offset, unsigned size)
{
    I440fxHost *s = opaque;
    if (offset >= OFFSET_DATA) {
        if (s->config_address & CONFIG_ENABLE) {
            return pci_config_load(&s->bus, config_target(s, offset), size);
        }
        return UINT32_MAX >> (32 - 8 * size);
    }
    if (offset == OFFSET_ADDRESS && size == 4) {
        return s->config_address;
    }
    if (offset == OFFSET_RCR && size == 1) {
        return s->rcr;
    }
    return region_bad_read(&s->io, offset, size);
}

/* 82371SB 2.5.4: a rising RCPU bit resets; SRST chooses a hard reset, which is the only kind
 * made here: a soft one differs in what the CPU's caches and FPU keep. */
static void rcr_write(I440fxHost *s, uint8_t val)
{
    s->rcr = val & RCR_SYSTEM_RESET;
    if (val & RCR_RESET_CPU) {
        machine_request_reset(s->dev.machine, RESET_GUEST);
    }
}

static void host_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    I440fxHost *s = opaque;
    if (offset >= OFFSET_DATA) {
        if (s->config_address & CONFIG_ENABLE) {
            pci_config_store(&s->bus, config_target(s, offset), val, size);
        }
    } else if (offset == OFFSET_ADDRESS && size == 4) {
        s->config_address = val & CONFIG_ADDRESS_MASK;
    } else if (offset == OFFSET_RCR && size == 1) {
        rcr_write(s, val);
    } else {
        region_bad_write(&s->io, offset, val, size);
    }
}

static const RegionOps host_ops = { host_read, host_write, .sizes = 1 | 2 | 4 };

static bool host_realize(Device *dev, Error **errp)
{
    (void)errp;
    I440fxHost *s = container_of(dev, I440fxHost, dev);
    struct Machine *m = dev->machine;
    region_init_container(&s->pci_memory, "pci", UINT64_MAX);
    /* RAM hides PCI; PCI shows wherever RAM is not. */
    region_add(&m->memory_root, 0, &s->pci_memory, -1);
    pci_bus_init(&s->bus, "pci.0", dev, m, &s->pci_memory, &m->io_root);
    region_init_io(&s->io, dev, &host_ops, s, 8);
    region_add(&m->io_root, PORT_CONFIG_ADDRESS, &s->io, 0);
    return true;
}

static const StateField host_state[] = {
    STATE_U32(I440fxHost, config_address, .mask = CONFIG_ADDRESS_MASK),
    STATE_U8(I440fxHost, rcr, .mask = RCR_SYSTEM_RESET),
    STATE_END,
};

DEVICE_TYPE(i440fx_host) = {
    DEVICE_INFO("i440FX-pcihost", BUS_NONE, I440fxHost, "440FX configuration ports and PCI bus"),
    .internal = true,
    .state = host_state,
    .state_version = 1,
    .realize = host_realize,
};

PciBus *i440fx_pci_bus(Device *host)
{
    return &container_of(host, I440fxHost, dev)->bus;
}

Region *i440fx_pci_memory(Device *host)
{
    return &container_of(host, I440fxHost, dev)->pci_memory;
}

/* ---- PAM and SMRAM ---- */

static uint64_t write_only_read(void *opaque, uint64_t offset, unsigned size)
{
    PamSegment *seg = opaque;
    return address_space_load(&seg->chip->pci_space, seg->base + offset, size);
}

static void write_only_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    PamSegment *seg = opaque;
    RamBlock *ram = seg->chip->pci.dev.machine->ram;
    uint64_t at = seg->base + offset;
    if (at + size <= ram->size) {
        memcpy(ram->host + at, &val, size);
        ram_written(ram, at, size);
    }
}

static const RegionOps write_only_ops = { write_only_read, write_only_write,
                                          .sizes = 1 | 2 | 4 | 8 };

/* PAM0's low half is reserved, its high half is segment 0; then two segments a register, the
 * lower address in the low half. */
static unsigned pam_bits(const I440fx *s, unsigned n)
{
    unsigned half = n + 1;
    return s->pci.config[REG_PAM0 + half / 2] >> (half & 1 ? 4 : 0) & (PAM_READ | PAM_WRITE);
}

static void update_map(I440fx *s)
{
    memory_begin();
    for (unsigned n = 0; n < NR_PAM; n++) {
        unsigned bits = pam_bits(s, n);
        region_set_readonly(&s->pam[n].ram, !(bits & PAM_WRITE));
        region_set_enabled(&s->pam[n].ram, bits & PAM_READ);
        region_set_enabled(&s->pam[n].write_only, bits == PAM_WRITE);
    }
    uint8_t smram = s->pci.config[REG_SMRAM];
    bool open = (smram & SMRAM_ENABLE) && (smram & SMRAM_OPEN);
    region_set_enabled(&s->vga_to_pci, !open);
    region_set_enabled(&s->vga_void, !open);
    memory_commit();
}

/* 82441FX 3.2.20: once locked, the register is read-only but for D_CLS, and D_OPEN is clear. */
static void smram_write(I440fx *s, uint8_t old)
{
    uint8_t *reg = &s->pci.config[REG_SMRAM];
    if (old & SMRAM_LOCK) {
        *reg = (old & ~SMRAM_CLOSE) | (*reg & SMRAM_CLOSE);
    }
    if (*reg & SMRAM_LOCK) {
        *reg &= ~SMRAM_OPEN;
    }
}

static void i440fx_config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size)
{
    I440fx *s = container_of(pci, I440fx, pci);
    uint8_t old_smram = pci->config[REG_SMRAM];
    pci_default_config_write(pci, reg, val, size);
    if (reg <= REG_SMRAM && REG_SMRAM < reg + size) {
        smram_write(s, old_smram);
    }
    if (reg <= REG_SMRAM && reg + size > REG_PAM0) {
        update_map(s);
    }
}

static void i440fx_refresh(Device *dev)
{
    update_map(container_of(dev, I440fx, pci.dev));
}

static void init_segment(I440fx *s, unsigned n)
{
    struct Machine *m = s->pci.dev.machine;
    PamSegment *seg = &s->pam[n];
    seg->chip = s;
    seg->base = n == 0 ? PAM_BIOS : PAM_BASE + (n - 1) * PAM_SEGMENT;
    seg->size = n == 0 ? PAM_END - PAM_BIOS : PAM_SEGMENT;
    /* A 1 MiB PC is the least that has RAM under all segments. */
    if (seg->base + seg->size <= m->ram->size) {
        region_init_ram(&seg->ram, "pam-ram", m->ram, seg->base, seg->size);
        region_add(&m->memory_root, seg->base, &seg->ram, 3);
    }
    region_init_io(&seg->write_only, &s->pci.dev, &write_only_ops, seg, seg->size);
    seg->write_only.name = "pam-write-only";
    region_add(&m->memory_root, seg->base, &seg->write_only, 3);
    region_set_enabled(&seg->write_only, false);
}

static uint64_t void_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    return UINT64_MAX >> (64 - 8 * size);
}

static void void_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)val;
    (void)size;
}

static const RegionOps void_ops = { void_read, void_write, .sizes = 1 | 2 | 4 | 8 };

static void show_pci(I440fx *s, Region *alias, Region *nothing, const char *name, uint64_t base,
                     uint64_t size)
{
    struct Machine *m = s->pci.dev.machine;
    region_init_io(nothing, &s->pci.dev, &void_ops, s, size);
    nothing->name = "unclaimed";
    region_add(&m->memory_root, base, nothing, 1);
    region_init_alias(alias, name, pci_bus(&s->pci)->memory_root, base, size);
    region_add(&m->memory_root, base, alias, 2);
}

static bool i440fx_realize(Device *dev, Error **errp)
{
    (void)errp;
    I440fx *s = container_of(dev, I440fx, pci.dev);
    Region *pci_memory = pci_bus(&s->pci)->memory_root;
    uint8_t *w = s->pci.wmask, *c = s->pci.config;
    /* DRAM timing, row boundaries and the like: storage only. */
    memset(w + 0x50, 0xff, REG_PAM0 - 0x50);
    memset(w + 0x60, 0xff, 0x69 - 0x60);
    w[REG_PAM0] = 0x30;
    memset(w + REG_PAM0 + 1, 0x33, REG_PAM6 - REG_PAM0);
    w[REG_SMRAM] = 0x78;
    c[REG_SMRAM] = SMRAM_C_BASE;
    /* The bridge always decodes memory and masters the bus (82441FX 3.2.3). */
    pci_put16(c + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_put16(w + PCI_COMMAND, PCI_COMMAND_PARITY | PCI_COMMAND_SERR);

    show_pci(s, &s->vga_to_pci, &s->vga_void, "vga-to-pci", VGA_BASE, VGA_SIZE);
    show_pci(s, &s->bios_to_pci, &s->bios_void, "bios-to-pci", PAM_BASE, PAM_END - PAM_BASE);
    for (unsigned n = 0; n < NR_PAM; n++) {
        init_segment(s, n);
    }
    region_init_container(&s->pci_space_root, "pci-alone", UINT64_MAX);
    region_init_alias(&s->pci_space_alias, "pci-alone", pci_memory, 0, UINT64_MAX);
    region_add(&s->pci_space_root, 0, &s->pci_space_alias, 0);
    region_init_io(&s->pci_space_void, dev, &void_ops, s, PAM_END);
    region_add(&s->pci_space_root, 0, &s->pci_space_void, -1);
    address_space_init(&s->pci_space, "pci", &s->pci_space_root);
    update_map(s);
    return true;
}

static void i440fx_unrealize(Device *dev)
{
    I440fx *s = container_of(dev, I440fx, pci.dev);
    address_space_fini(&s->pci_space);
}

static const PciInfo i440fx_info = {
    .vendor = 0x8086, .device = 0x1237, .revision = 2, .class_code = 0x060000,
    .config_write = i440fx_config_write,
};

static const StateField i440fx_state[] = { STATE_END };

DEVICE_TYPE(i440fx) = {
    PCI_DEVICE_INFO("i440FX", I440fx, "440FX host bridge", &i440fx_info),
    .internal = true,
    .state = i440fx_state,
    .state_version = 1,
    .realize = i440fx_realize,
    .unrealize = i440fx_unrealize,
    .refresh = i440fx_refresh,
};
