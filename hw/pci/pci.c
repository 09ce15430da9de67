/* SPDX-License-Identifier: GPL-2.0-or-later
 * The core of PCI Local Bus 3.0 (PCI): configuration space of type 0 headers, base address
 * registers, expansion ROMs, capabilities, shared INTx lines. MSI is in msi.c, MSI-X in
 * msix.c, `info pci` in pci_info.c. Bridges to further buses and power management are not there
 * yet.
 */
#include "hw/pci/pci.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/core/firmware.h"
#include "hw/core/machine.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_internal.h"

enum { ROM_BAR = 6, NR_BARS = 7, PCI_CAP_FIRST = 0x40 };

#define UNMAPPED UINT64_MAX

const PciInfo *pci_info(const PciDevice *pci)
{
    for (const DeviceType *t = pci->dev.type; t; t = t->parent) {
        if (t->bus_info) {
            return t->bus_info;
        }
    }
    return NULL;
}

PciBus *pci_bus(const PciDevice *pci)
{
    return container_of(pci->dev.bus, PciBus, bus);
}

PciBus *pci_root_bus(struct Machine *m)
{
    list_for_each(node, &m->buses) {
        Bus *bus = container_of(node, Bus, node);
        if (bus->kind == BUS_PCI) {
            return container_of(bus, PciBus, bus);
        }
    }
    return NULL;
}

char *pci_place(const PciDevice *pci, char buf[16])
{
    snprintf(buf, 16, "%02x:%02x.%x", pci_bus(pci)->number, (pci->devfn >> 3) & 0x1f,
             pci->devfn & 7u);
    return buf;
}

/* ---- slots ---- */

/* Only function 0 says whether the others exist, so both must agree (PCI 6.2.1). */
static bool check_functions(PciBus *bus, PciDevice *pci, Error **errp)
{
    unsigned slot = pci->devfn >> 3, fn = pci->devfn & 7;
    const PciDevice *fn0 = bus->slot[slot << 3];
    if (fn != 0) {
        if (fn0 && !(fn0->config[PCI_HEADER_TYPE] & PCI_HEADER_MULTI)) {
            return error_set(errp,
                             "PCI slot %02x holds the single-function device '%s': function %u "
                             "needs multifunction=on there",
                             slot, fn0->dev.type->name, fn);
        }
        return true;
    }
    if (pci->multifunction) {
        return true;
    }
    for (unsigned i = 1; i < 8; i++) {
        if (bus->slot[slot << 3 | i]) {
            return error_set(errp,
                             "PCI slot %02x has a device at function %u: '%s' at function 0 "
                             "needs multifunction=on",
                             slot, i, pci->dev.type->name);
        }
    }
    return true;
}

/* A slot with no function taken, as devfn; -1 if there is none. */
static int first_free_slot(const PciBus *bus)
{
    for (int devfn = 0; devfn < 256; devfn += 8) {
        int fn = 0;
        while (fn < 8 && !bus->slot[devfn + fn]) {
            fn++;
        }
        if (fn == 8) {
            return devfn;
        }
    }
    return -1;
}

static bool pci_plug(Bus *b, Device *dev, Error **errp)
{
    PciBus *bus = container_of(b, PciBus, bus);
    PciDevice *pci = container_of(dev, PciDevice, dev);
    if (pci_info(pci)->multifunction) {
        pci->multifunction = true;
    }
    if (pci->devfn < 0) {
        pci->devfn = first_free_slot(bus);
        if (pci->devfn < 0) {
            return error_set(errp, "PCI bus '%s' has no free slot for '%s'", b->obj.name,
                             dev->type->name);
        }
    }
    if (pci->devfn > 255) {
        return error_set(errp, "PCI address %x is out of range", pci->devfn);
    }
    if (bus->slot[pci->devfn]) {
        return error_set(errp, "PCI address %02x.%x is taken by '%s'", pci->devfn >> 3,
                         pci->devfn & 7, bus->slot[pci->devfn]->dev.type->name);
    }
    if (!check_functions(bus, pci, errp)) {
        return false;
    }
    bus->slot[pci->devfn] = pci;
    return true;
}

static void pci_unplug(Bus *b, Device *dev)
{
    PciBus *bus = container_of(b, PciBus, bus);
    PciDevice *pci = container_of(dev, PciDevice, dev);
    if (pci->devfn >= 0 && pci->devfn < 256 && bus->slot[pci->devfn] == pci) {
        bus->slot[pci->devfn] = NULL;
    }
}

static bool pci_has_room(Bus *b, const Device *dev)
{
    (void)dev;
    return first_free_slot(container_of(b, PciBus, bus)) >= 0;
}

void pci_bus_init(PciBus *bus, const char *name, Device *parent, struct Machine *m,
                  Region *memory_root, Region *io_root)
{
    bus_init(&bus->bus, BUS_PCI, name, parent, m);
    bus->bus.plug = pci_plug;
    bus->bus.unplug = pci_unplug;
    bus->bus.has_room = pci_has_room;
    bus->memory = &m->memory;
    bus->io = &m->io;
    bus->memory_root = memory_root;
    bus->io_root = io_root;
}

/* ---- base address registers ---- */

static unsigned bar_reg(unsigned n)
{
    return n == ROM_BAR ? PCI_ROM_BAR : PCI_BAR0 + 4 * n;
}

void pci_register_bar(PciDevice *pci, unsigned n, uint8_t flags, Region *region)
{
    uint64_t size = region->size;
    assert(n < NR_BARS && !pci->bar[n].region);
    assert((size & (size - 1)) == 0 && size >= (flags & PCI_BAR_IO ? 4 : 16));
    assert(!(flags & PCI_BAR_MEM64) || n < 5);
    pci->bar[n] = (PciBar) { region, flags, size, UNMAPPED };
    unsigned reg = bar_reg(n);
    if (n == ROM_BAR) {
        pci_put32(pci->wmask + reg, (uint32_t)~(size - 1) | PCI_ROM_ENABLE);
        return;
    }
    pci_put32(pci->config + reg, flags);
    pci_put32(pci->wmask + reg, (uint32_t)~(size - 1));
    if (flags & PCI_BAR_MEM64) {
        pci_put32(pci->wmask + reg + 4, ~(size - 1) >> 32);
    }
}

/* Where the registers put BAR n now; UNMAPPED while its decoder is off, while the address is
 * what sizing leaves behind, and at 0, where firmware has not yet been. */
static uint64_t bar_address(const PciDevice *pci, unsigned n)
{
    const PciBar *bar = &pci->bar[n];
    uint16_t cmd = pci_get16(pci->config + PCI_COMMAND);
    uint32_t low = pci_get32(pci->config + bar_reg(n));
    if (!(cmd & (bar->flags & PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)) ||
        (n == ROM_BAR && !(low & PCI_ROM_ENABLE))) {
        return UNMAPPED;
    }
    uint64_t addr = low & ~(bar->size - 1);
    uint64_t top = bar->flags & PCI_BAR_IO ? 0xffff : UINT32_MAX - 1ull;
    if (bar->flags & PCI_BAR_MEM64) {
        addr |= (uint64_t)pci_get32(pci->config + bar_reg(n) + 4) << 32;
        addr &= ~(bar->size - 1);
        /* All ones in the high half is sizing; no PC decodes the very top. */
        if (addr >> 52) {
            return UNMAPPED;
        }
        top = addr >> 32 ? UINT64_MAX : top;
    }
    uint64_t last = addr + bar->size - 1;
    return addr == 0 || last < addr || last > top ? UNMAPPED : addr;
}

static void update_bars(PciDevice *pci)
{
    PciBus *bus = pci_bus(pci);
    const PciInfo *info = pci_info(pci);
    memory_begin();
    for (unsigned n = 0; n < NR_BARS; n++) {
        PciBar *bar = &pci->bar[n];
        if (!bar->region) {
            continue;
        }
        uint64_t addr = bar_address(pci, n);
        if (addr == bar->mapped) {
            continue;
        }
        region_del(bar->region);
        bar->mapped = addr;
        if (addr != UNMAPPED) {
            region_add(bar->flags & PCI_BAR_IO ? bus->io_root : bus->memory_root, addr,
                       bar->region, 1);
        }
        if (info->bar_changed) {
            info->bar_changed(pci, n, addr);
        }
    }
    memory_commit();
}

static void unmap_bars(PciDevice *pci)
{
    for (unsigned n = 0; n < NR_BARS; n++) {
        if (pci->bar[n].region) {
            region_del(pci->bar[n].region);
            pci->bar[n].mapped = UNMAPPED;
        }
    }
}

/* ---- expansion ROM ---- */

/* PCI Firmware 3.0, 5.1: firmware runs an image only on the device it names. One image serves several
 * (transitional and modern virtio), so the board's own choice is given the device's name; byte 6, behind
 * the jump of the entry point, makes up for it in the checksum. */
static void name_rom(const PciDevice *pci, uint8_t *image, size_t len)
{
    enum { ROM_BLOCKS = 2, ROM_SPARE = 6, ROM_PCIR = 0x18, PCIR_VENDOR = 4, PCIR_LEN = 0x18 };
    size_t at = len > ROM_PCIR + 2 ? pci_get16(image + ROM_PCIR) : len;
    if (at + PCIR_LEN > len || memcmp(image + at, "PCIR", 4) || at <= ROM_SPARE) {
        return;
    }
    memcpy(image + at + PCIR_VENDOR, pci->config + PCI_VENDOR_ID, 4); /* and the device's */
    uint8_t sum = 0;
    size_t checked = MIN(len, image[ROM_BLOCKS] * (size_t)512);
    for (size_t i = 0; i < checked; i++) {
        sum += image[i];
    }
    image[ROM_SPARE] -= sum;
}

static bool load_rom(PciDevice *pci, Error **errp)
{
    const PciInfo *info = pci_info(pci);
    bool asked = pci->romfile != NULL;
    const char *name = asked ? pci->romfile : info->romfile;
    if (!name || !*name || !pci->rombar) {
        return true;
    }
    size_t len;
    Error *err = NULL;
    uint8_t *image = firmware_load(pci->dev.machine, name, 16 * MiB, &len, &err);
    if (!image) {
        if (asked) {
            *errp = err;
            return error_prefix(errp, "%s: romfile: ", pci->dev.type->name);
        }
        /* A board without its ROM still runs; the user just has no VGA BIOS or network boot. */
        if (!info->rom_optional) {
            warn_report("%s: %s", pci->dev.type->name, error_text(err));
        }
        error_free(err);
        return true;
    }
    if (!asked) {
        name_rom(pci, image, len);
    }
    uint64_t size = PAGE_SIZE;
    while (size < len) {
        size *= 2;
    }
    pci->rom_ram = ram_block_new("pci.rom", size, errp);
    if (pci->rom_ram) {
        memset(pci->rom_ram->host, 0xff, size);
        memcpy(pci->rom_ram->host, image, len);
        region_init_rom(&pci->rom, "pci.rom", pci->rom_ram, 0, size);
        pci_register_bar(pci, ROM_BAR, 0, &pci->rom);
    }
    free(image);
    return pci->rom_ram != NULL;
}

/* ---- capabilities ---- */

uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t len)
{
    bool used[PCI_CONFIG_SIZE] = { false };
    for (uint8_t at = pci->config[PCI_CAP_PTR]; at; at = pci->config[at + 1]) {
        unsigned cap_len = pci->cap_len[at / 4] ? pci->cap_len[at / 4] : 4;
        memset(used + at, true, MIN(cap_len, (unsigned)PCI_CONFIG_SIZE - at));
    }
    for (unsigned at = PCI_CAP_FIRST; at + len <= PCI_CONFIG_SIZE; at += 4) {
        unsigned n = 0;
        while (n < len && !used[at + n] && !pci->config[at + n] && !pci->wmask[at + n]) {
            n++;
        }
        if (n == len) {
            pci->config[at] = id;
            pci->config[at + 1] = pci->config[PCI_CAP_PTR];
            pci->config[PCI_CAP_PTR] = at;
            pci->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
            pci->cap_len[at / 4] = len;
            return at;
        }
    }
    return 0;
}

/* ---- INTx ---- */

/* Lines are shared: the chipset sees a line go up with the first device on it and down with the
 * last (PCI 2.2.6). */
static void count_line(PciBus *bus, unsigned line, bool up)
{
    int before = bus->irq_count[line];
    bus->irq_count[line] += up ? 1 : -1;
    assert(bus->irq_count[line] >= 0);
    if (bus->set_irq && (before == 0 || bus->irq_count[line] == 0)) {
        bus->set_irq(bus->irq_opaque, line, up);
    }
}

static void update_intx(PciDevice *pci)
{
    PciBus *bus = pci_bus(pci);
    uint8_t pin = pci->config[PCI_INT_PIN];
    uint16_t cmd = pci_get16(pci->config + PCI_COMMAND);
    if (pci->intx_level) {
        pci->config[PCI_STATUS] |= PCI_STATUS_INTX;
    } else {
        pci->config[PCI_STATUS] &= ~PCI_STATUS_INTX;
    }
    bool drive = pci->intx_level && !(cmd & PCI_COMMAND_INTX_OFF) && pin >= 1 && pin <= 4;
    if (drive == pci->intx_driven) {
        return;
    }
    pci->intx_driven = drive;
    if (drive) {
        pci->intx_line = bus->map_irq ? bus->map_irq(pci, pin - 1) : pin - 1u;
        assert(pci->intx_line < ARRAY_SIZE(bus->irq_count));
    }
    count_line(bus, pci->intx_line, drive);
}

void pci_set_intx(PciDevice *pci, bool level)
{
    if (level != pci->intx_level) {
        pci->intx_level = level;
        update_intx(pci);
    }
}

/* ---- configuration space ---- */

uint32_t pci_default_config_read(PciDevice *pci, unsigned reg, unsigned size)
{
    uint32_t val = 0;
    for (unsigned i = 0; i < size && reg + i < PCI_CONFIG_SIZE; i++) {
        val |= (uint32_t)pci->config[reg + i] << (8 * i);
    }
    return val;
}

static bool overlaps(unsigned reg, unsigned size, unsigned first, unsigned len)
{
    return reg < first + len && first < reg + size;
}

void pci_default_config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size)
{
    for (unsigned i = 0; i < size && reg + i < PCI_CONFIG_SIZE; i++) {
        uint8_t byte = val >> (8 * i), *at = &pci->config[reg + i];
        uint8_t w = pci->wmask[reg + i];
        *at = (*at & ~w) | (byte & w);
        *at &= ~(byte & pci->w1cmask[reg + i]);
    }
    if (overlaps(reg, size, PCI_COMMAND, 2)) {
        update_intx(pci);
    }
    if (overlaps(reg, size, PCI_COMMAND, 2) || overlaps(reg, size, PCI_BAR0, 24) ||
        overlaps(reg, size, PCI_ROM_BAR, 4)) {
        update_bars(pci);
    }
    if (pci->msi_cap && overlaps(reg, size, pci->msi_cap, PCI_MSI_MAX_LEN)) {
        pci_msi_written(pci);
    }
    if (pci->msix && overlaps(reg, size, pci->msix->cap, 4)) {
        pci_msix_written(pci->msix);
    }
}

static PciDevice *config_target(PciBus *root, uint32_t addr)
{
    /* No bridges yet: every other bus number is a master abort. */
    return (addr >> 16 & 0xff) == root->number ? root->slot[addr >> 8 & 0xff] : NULL;
}

uint32_t pci_config_load(PciBus *root, uint32_t addr, unsigned size)
{
    PciDevice *pci = config_target(root, addr);
    if (!pci || !pci->dev.realized) {
        return size == 4 ? UINT32_MAX : (1u << 8 * size) - 1;
    }
    const PciInfo *info = pci_info(pci);
    unsigned reg = addr & 0xff;
    return info->config_read ? info->config_read(pci, reg, size)
                             : pci_default_config_read(pci, reg, size);
}

void pci_config_store(PciBus *root, uint32_t addr, uint32_t val, unsigned size)
{
    PciDevice *pci = config_target(root, addr);
    if (!pci || !pci->dev.realized) {
        return;
    }
    const PciInfo *info = pci_info(pci);
    unsigned reg = addr & 0xff;
    if (info->config_write) {
        info->config_write(pci, reg, val, size);
    } else {
        pci_default_config_write(pci, reg, val, size);
    }
}

/* ---- bus mastering ---- */

static bool may_master(const PciDevice *pci)
{
    return pci_get16(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

bool pci_dma_read(PciDevice *pci, uint64_t addr, void *buf, size_t len)
{
    if (!may_master(pci)) {
        memset(buf, 0, len);
        return false;
    }
    return dma_read(pci_bus(pci)->memory, addr, buf, len);
}

bool pci_dma_write(PciDevice *pci, uint64_t addr, const void *buf, size_t len)
{
    return may_master(pci) && dma_write(pci_bus(pci)->memory, addr, buf, len);
}

/* ---- the abstract parent of PCI devices ---- */

static void init_header(PciDevice *pci, const PciInfo *info)
{
    uint8_t *c = pci->config, *w = pci->wmask;
    pci_put16(c + PCI_VENDOR_ID, info->vendor);
    pci_put16(c + PCI_DEVICE_ID, info->device);
    c[PCI_REVISION] = info->revision;
    c[PCI_CLASS_PROG] = info->class_code;
    c[PCI_CLASS_SUB] = info->class_code >> 8;
    c[PCI_CLASS_BASE] = info->class_code >> 16;
    c[PCI_HEADER_TYPE] = info->header_type | (pci->multifunction ? PCI_HEADER_MULTI : 0);
    if (info->header_type == 0) {
        pci_put16(c + PCI_SUBVENDOR_ID, info->subvendor ? info->subvendor : 0x1af4);
        pci_put16(c + PCI_SUBSYSTEM_ID, info->subvendor ? info->subdevice : 0x1100);
    }
    c[PCI_INT_PIN] = info->intx_pin;
    pci_put16(w + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                                   PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
                                   PCI_COMMAND_INTX_OFF);
    w[PCI_CACHE_LINE] = 0xff;
    w[PCI_INT_LINE] = 0xff;
    /* Parity, aborts, system error (PCI 6.2.3) */
    pci_put16(pci->w1cmask + PCI_STATUS, 0xf900);
}

static bool pci_device_realize(Device *dev, Error **errp)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    for (unsigned n = 0; n < NR_BARS; n++) {
        pci->bar[n].mapped = UNMAPPED;
    }
    init_header(pci, pci_info(pci));
    return load_rom(pci, errp);
}

static void pci_device_unrealize(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    pci->intx_level = false;
    if (pci->intx_driven) {
        update_intx(pci);
    }
    unmap_bars(pci);
    if (pci->rom_ram) {
        ram_block_free(pci->rom_ram);
        pci->rom_ram = NULL;
    }
}

/* The first reset finds configuration space as the device's realize left it; every later one
 * brings that back. */
static void pci_device_reset(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    if (!pci->has_reset_config) {
        memcpy(pci->reset_config, pci->config, PCI_CONFIG_SIZE);
        pci->has_reset_config = true;
    }
    memcpy(pci->config, pci->reset_config, PCI_CONFIG_SIZE);
}

static void pci_device_refresh(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    update_bars(pci);
    update_intx(pci);
}

static const Property pci_props[] = {
    PROP_PCI_ADDR("addr", PciDevice, devfn, .def = (uint64_t)-1,
                  .help = "slot or slot.function; the first free slot if not given"),
    PROP_BOOL("multifunction", PciDevice, multifunction),
    PROP_STR("romfile", PciDevice, romfile, .help = "option ROM file; empty for none"),
    PROP_U32("rombar", PciDevice, rombar, .def = 1, .help = "0 hides the option ROM"),
    PROP_END,
};

static const StateField pci_state[] = {
    STATE_U8S(PciDevice, config, .keep = true), /* reset brings back reset_config */
    STATE_BOOL(PciDevice, intx_level),
    STATE_END,
};

DEVICE_TYPE(pci_device) = {
    DEVICE_INFO("pci-device", BUS_PCI, PciDevice, "What all PCI devices have"),
    .abstract = true,
    .props = pci_props,
    .state = pci_state,
    .state_version = 1,
    .realize = pci_device_realize,
    .unrealize = pci_device_unrealize,
    .reset = pci_device_reset,
    .refresh = pci_device_refresh,
};
