/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a pc tells its firmware through fw_cfg: sizes, identity, memory map, boot menu and order,
 * ACPI and SMBIOS tables.
 */
#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/block/fdc.h"
#include "hw/ide/ide.h"
#include "hw/pc/acpi_build.h"
#include "hw/pc/fw_cfg.h"
#include "hw/pc/pc.h"
#include "hw/pc/smbios.h"

enum { E820_RAM = 1 };

typedef struct E820Entry {
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed)) E820Entry;

static void add_e820(PcMachine *pc)
{
    E820Entry map[] = {
        { 0, htole64(pc->ram_below_4g), htole32(E820_RAM) },
        { htole64(4 * GiB), htole64(pc->ram_above_4g), htole32(E820_RAM) },
    };
    fw_cfg_add_file_copy(pc->machine->fw_cfg, "etc/e820", map,
                         pc->ram_above_4g ? sizeof(map) : sizeof(map[0]));
}

bool pc_init_fw_cfg(PcMachine *pc, Error **errp)
{
    Machine *m = pc->machine;
    const MachineConfig *config = &m->config;
    Device *fw = device_new(m, &type_fw_cfg);
    if (!device_realize(fw, NULL, NULL, "fw_cfg", errp)) {
        return false;
    }
    m->fw_cfg = fw;
    uint8_t *uuid = malloc(sizeof(config->uuid));
    assert(uuid);
    memcpy(uuid, config->uuid, sizeof(config->uuid));
    fw_cfg_add_bytes(fw, FW_CFG_UUID, uuid, sizeof(config->uuid));
    fw_cfg_add_u64(fw, FW_CFG_RAM_SIZE, config->ram_size);
    fw_cfg_add_u16(fw, FW_CFG_NOGRAPHIC, config->nographic);
    fw_cfg_add_u16(fw, FW_CFG_NB_CPUS, m->nr_cpus);
    fw_cfg_add_u16(fw, FW_CFG_MAX_CPUS, pc_apic_id_limit(pc));
    fw_cfg_add_u16(fw, FW_CFG_BOOT_MENU, config->boot_menu);
    fw_cfg_add_u32(fw, FW_CFG_IRQ0_OVERRIDE, 1); /* GSI 0 is at pin 2 of the I/O APIC */
    add_e820(pc);
    /* Which sleep states there are: bit 7 of byte n says Sn, the rest its SLP_TYP. */
    static const uint8_t states[6] = { 0x80, 0, 0, 1, 2, 0x80 };
    fw_cfg_add_file_copy(fw, "etc/system-states", states, sizeof(states));
    if (config->boot_splash_ms) {
        uint16_t wait = htole16(MIN(config->boot_splash_ms, 65535u));
        fw_cfg_add_file_copy(fw, "etc/boot-menu-wait", &wait, sizeof(wait));
    }
    return true;
}

/* ---- boot order ---- */

typedef struct BootEntry {
    int32_t index;
    char path[128];
} BootEntry;

typedef struct BootList {
    BootEntry *entry;
    size_t nr;
} BootList;

void pc_add_boot_rom(PcMachine *pc, const char *name)
{
    snprintf(pc->boot_rom, sizeof(pc->boot_rom), "%s", name);
}

/* As firmware names devices (IEEE 1275): what SeaBIOS compares with its own idea of a place. */
static bool boot_path(Device *dev, char *buf, size_t size)
{
    if (dev->bus && dev->bus->kind == BUS_IDE && dev->bus->parent &&
        dev->bus->parent->bus && dev->bus->parent->bus->kind == BUS_PCI) {
        const PciDevice *pci = container_of(dev->bus->parent, PciDevice, dev);
        const char *dot = strrchr(dev->bus->obj.name, '.');
        if (container_of(dev->bus, IdeBus, bus)->host) {
            int n = snprintf(buf, size, "/pci@i0cf8/sata@%x", pci->devfn >> 3);
            if (pci->devfn & 7) {
                n += snprintf(buf + n, size - n, ",%x", pci->devfn & 7);
            }
            snprintf(buf + n, size - n, "/drive@%x/disk@0", dot ? (unsigned)atoi(dot + 1) : 0);
            return true;
        }
        const Property *unit_prop = property_find(dev, "unit");
        char *unit = unit_prop ? property_get(dev, unit_prop) : NULL;
        snprintf(buf, size, "/pci@i0cf8/ide@%x,%x/drive@%x/disk@%x", pci->devfn >> 3,
                 pci->devfn & 7, dot ? (unsigned)atoi(dot + 1) & 1 : 0,
                 unit ? (unsigned)atoi(unit) & 1 : 0);
        free(unit);
        return true;
    }
    if (dev->bus && dev->bus->kind == BUS_FLOPPY) {
        const Fdc *fdc = container_of(dev->bus->parent, Fdc, dev);
        snprintf(buf, size, "/pci@i0cf8/isa@1/fdc@%04x/floppy@%x", fdc->iobase,
                 container_of(dev, FloppyDrive, dev)->unit);
        return true;
    }
    if (dev->bus && dev->bus->kind == BUS_PCI) {
        const PciDevice *pci = container_of(dev, PciDevice, dev);
        unsigned class = pci->config[PCI_CLASS_BASE];
        const char *name = class == 1 ? "scsi" : class == 2 ? "ethernet" : "pci";
        int n = snprintf(buf, size, "/pci@i0cf8/%s@%x", name, pci->devfn >> 3);
        if (pci->devfn & 7) {
            snprintf(buf + n, size - n, ",%x", pci->devfn & 7);
        }
        return true;
    }
    return false;
}

static int by_index(const void *a, const void *b)
{
    const BootEntry *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* "bootorder": one path a line; without any -device bootindex= SeaBIOS follows CMOS. */
static void add_boot_order(PcMachine *pc)
{
    BootList list = { 0 };
    Machine *m = pc->machine;
    list_for_each(node, &m->devices) {
        Device *dev = container_of(node, Device, machine_node);
        const Property *p = property_find(dev, "bootindex");
        int32_t index = p && p->kind == PROP_KIND_I32 ? *(int32_t *)((char *)dev + p->offset)
                                                      : -1;
        char path[128];
        if (index >= 0 && boot_path(dev, path, sizeof(path))) {
            list.entry = realloc(list.entry, (list.nr + 1) * sizeof(*list.entry));
            assert(list.entry);
            list.entry[list.nr].index = index;
            memcpy(list.entry[list.nr++].path, path, sizeof(path));
        }
    }
    if (list.nr) {
        qsort(list.entry, list.nr, sizeof(*list.entry), by_index);
    }
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    assert(f);
    if (pc->boot_rom[0]) {
        fprintf(f, "/rom@genroms/%s\n", pc->boot_rom);
    }
    for (size_t i = 0; i < list.nr; i++) {
        fprintf(f, "%s\n", list.entry[i].path);
    }
    if (m->config.boot_strict) {
        fprintf(f, "HALT\n");
    }
    fclose(f);
    free(list.entry);
    if (len == 0) {
        free(text);
        return;
    }
    text[len - 1] = '\0'; /* the last line ends the list */
    fw_cfg_add_file(m->fw_cfg, "bootorder", text, len);
}

/* Devices of -device come after the board, so what depends on them is made at power-up. */
void pc_build_tables(PcMachine *pc)
{
    add_boot_order(pc);
    pc_init_cmos_floppies(pc);
    smbios_build(pc);
    if (pc->pm) {
        acpi_build(pc);
    }
}
