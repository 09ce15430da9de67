/* SPDX-License-Identifier: GPL-2.0-or-later
 * The DSDT of a pc: what an operating system cannot find out by asking the hardware. The PCI
 * root with its windows and interrupt routing, the ISA devices behind the PIIX3, processors, and
 * soft-off (the only sleep state there is).
 */
#include "hw/pc/acpi_dsdt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/acpi/piix4_pm.h"
#include "hw/block/fdc.h"
#include "hw/isa/piix3.h"
#include "hw/pc/acpi_tables.h"
#include "hw/pc/pc.h"

enum { LINK_PRESENT_DISABLED = 0x09, LINK_ACTIVE = 0x0b, PIRQ_OFF = 0x80 };
enum { PCI_WINDOW_END = 0xfebfffff }; /* the I/O APIC follows */

static const char *const link_name[PIIX3_NR_PIRQ] = { "LNKA", "LNKB", "LNKC", "LNKD" };
static const char *const field_name[PIIX3_NR_PIRQ] = { "PRQA", "PRQB", "PRQC", "PRQD" };
static const char *const link_reg[PIIX3_NR_PIRQ] = {
    "\\_SB.PCI0.ISA.PRQA", "\\_SB.PCI0.ISA.PRQB", "\\_SB.PCI0.ISA.PRQC",
    "\\_SB.PCI0.ISA.PRQD"
};

/* ---- PCI root ---- */

static void add_windows(Aml *a, const PcMachine *pc)
{
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_res_bus(a, 0, 0xff);
    aml_res_io(a, 0xcf8, 8);
    aml_res_io_window(a, 0x0000, 0x0cf7);
    aml_res_io_window(a, 0x0d00, 0xffff);
    aml_res_memory_window(a, false, 0xa0000, 0xbffff);
    aml_res_memory_window(a, false, ROUND_UP(pc->ram_below_4g, MiB), PCI_WINDOW_END);
    aml_resources_close(a);
}

/* Pin p of slot s is on PIRQ (s + p - 1) mod 4, as hw/isa/piix3.c has it. */
static void add_routing(Aml *a)
{
    aml_name(a, "_PRT");
    aml_package(a, 32 * 4);
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            aml_package(a, 4);
            aml_int(a, slot << 16 | 0xffff);
            aml_int(a, pin);
            aml_path(a, link_name[(slot + pin + 3) & 3]);
            aml_int(a, 0);
            aml_close(a);
        }
    }
    aml_close(a);
}

/* ---- interrupt link devices (ACPI 6.2.13) over the PIRQRC registers ---- */

static void add_link_status(Aml *a, unsigned n)
{
    aml_method(a, "_STA", 0, false);
    aml_if(a);
    aml_u8(a, AML_AND);
    aml_path(a, link_reg[n]);
    aml_int(a, PIRQ_OFF);
    aml_u8(a, 0); /* no target */
    aml_u8(a, AML_RETURN);
    aml_int(a, LINK_PRESENT_DISABLED);
    aml_close(a);
    aml_u8(a, AML_RETURN);
    aml_int(a, LINK_ACTIVE);
    aml_close(a);
}

/* Offset of the interrupt number in a buffer that starts with an extended interrupt descriptor. */
enum { IRQ_IN_DESCRIPTOR = 5 };

static void add_link_settings(Aml *a, unsigned n)
{
    static const uint32_t none = 0;
    aml_method(a, "_CRS", 0, true);
    aml_name(a, "BUF0");
    aml_resources(a);
    aml_res_interrupts(a, &none, 1);
    aml_resources_close(a);
    aml_u8(a, AML_CREATE_DWORD_FIELD);
    aml_path(a, "BUF0");
    aml_int(a, IRQ_IN_DESCRIPTOR);
    aml_path(a, "IRQN");
    aml_if(a);
    aml_u8(a, AML_LLESS);
    aml_path(a, link_reg[n]);
    aml_int(a, PIRQ_OFF);
    aml_u8(a, AML_STORE);
    aml_path(a, link_reg[n]);
    aml_path(a, "IRQN");
    aml_close(a);
    aml_u8(a, AML_RETURN);
    aml_path(a, "BUF0");
    aml_close(a);

    aml_method(a, "_SRS", 1, false);
    aml_u8(a, AML_CREATE_DWORD_FIELD);
    aml_u8(a, AML_ARG0);
    aml_int(a, IRQ_IN_DESCRIPTOR);
    aml_path(a, "IRQN");
    aml_u8(a, AML_STORE);
    aml_path(a, "IRQN");
    aml_path(a, link_reg[n]);
    aml_close(a);

    aml_method(a, "_DIS", 0, false);
    aml_u8(a, AML_OR);
    aml_path(a, link_reg[n]);
    aml_int(a, PIRQ_OFF);
    aml_path(a, link_reg[n]);
    aml_close(a);
}

static void add_links(Aml *a)
{
    static const uint32_t possible[] = { 5, 10, 11 };
    for (unsigned n = 0; n < PIIX3_NR_PIRQ; n++) {
        aml_device(a, link_name[n]);
        aml_name_eisa_id(a, "_HID", "PNP0C0F");
        aml_name_int(a, "_UID", n + 1);
        aml_name(a, "_PRS");
        aml_resources(a);
        aml_res_interrupts(a, possible, ARRAY_SIZE(possible));
        aml_resources_close(a);
        add_link_status(a, n);
        add_link_settings(a, n);
        aml_close(a);
    }
}

/* ---- ISA devices ---- */

typedef struct IsaDevice {
    const char *name, *id;
    struct {
        uint16_t base;
        uint8_t len;
    } io[4];
    int irq, dma; /* -1: none */
} IsaDevice;

static const IsaDevice motherboard[] = {
    { "RTC", "PNP0B00", { { 0x70, 2 } }, 8, -1 },
    { "TMR", "PNP0100", { { 0x40, 4 } }, 0, -1 },
    { "PIC", "PNP0000", { { 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 } }, 2, -1 },
    { "DMAC", "PNP0200", { { 0x00, 16 }, { 0x81, 15 }, { 0xc0, 32 } }, -1, 4 },
    { "SPKR", "PNP0800", { { 0x61, 1 } }, -1, -1 },
    { "FPU", "PNP0C04", { { 0xf0, 16 } }, 13, -1 },
};
static const IsaDevice keyboard = { "KBD", "PNP0303", { { 0x60, 1 }, { 0x64, 1 } }, 1, -1 };
static const IsaDevice mouse = { "MOU", "PNP0F13", { { 0 } }, 12, -1 };

static void add_isa(Aml *a, const IsaDevice *d)
{
    aml_device(a, d->name);
    aml_name_eisa_id(a, "_HID", d->id);
    aml_name(a, "_CRS");
    aml_resources(a);
    for (size_t i = 0; i < ARRAY_SIZE(d->io) && d->io[i].len; i++) {
        aml_res_io(a, d->io[i].base, d->io[i].len);
    }
    if (d->irq >= 0) {
        aml_res_irq(a, d->irq);
    }
    if (d->dma >= 0) {
        aml_res_dma(a, d->dma);
    }
    aml_resources_close(a);
    aml_close(a);
}

static unsigned long number_property(Device *dev, const char *name)
{
    const Property *p = property_find(dev, name);
    char *text = p ? property_get(dev, p) : NULL;
    unsigned long val = text ? strtoul(text, NULL, 0) : 0;
    free(text);
    return val;
}

/* Serial and parallel ports, however the user made them. */
static void add_ports(Aml *a, const Machine *m)
{
    unsigned nr_com = 0, nr_lpt = 0;
    list_for_each(node, &m->devices) {
        Device *dev = container_of(node, Device, machine_node);
        bool com = strcmp(dev->type->name, "isa-serial") == 0;
        if ((!com && strcmp(dev->type->name, "isa-parallel") != 0) ||
            (com ? nr_com : nr_lpt) == 9) {
            continue;
        }
        char name[16];
        unsigned uid = com ? ++nr_com : ++nr_lpt;
        snprintf(name, sizeof(name), "%s%u", com ? "COM" : "LPT", uid);
        aml_device(a, name);
        aml_name_eisa_id(a, "_HID", com ? "PNP0501" : "PNP0400");
        aml_name_int(a, "_UID", uid);
        aml_name(a, "_CRS");
        aml_resources(a);
        aml_res_io(a, number_property(dev, "iobase"), 8);
        aml_res_irq(a, number_property(dev, "irq"));
        aml_resources_close(a);
        aml_close(a);
    }
}

static Device *first_device(const Machine *m, const char *type)
{
    list_for_each(node, &m->devices) {
        Device *dev = container_of(node, Device, machine_node);
        if (strcmp(dev->type->name, type) == 0) {
            return dev;
        }
    }
    return NULL;
}

/* ACPI 6.4 9.8: _FDE says which drives there are (and that no tape is), _FDI what they are. */
static void add_floppies(Aml *a, Device *fdc)
{
    unsigned long base = number_property(fdc, "iobase");
    uint16_t info[16];
    aml_device(a, "FDC0");
    aml_name_eisa_id(a, "_HID", "PNP0700");
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_res_io(a, base + 2, 4);
    aml_res_io(a, base + 7, 1);
    aml_res_irq(a, number_property(fdc, "irq"));
    aml_res_dma(a, number_property(fdc, "dma"));
    aml_resources_close(a);
    aml_name(a, "_FDE");
    aml_buffer(a);
    for (unsigned n = 0; n < 4; n++) {
        aml_u32(a, floppy_acpi_info(fdc, n, info));
    }
    aml_u32(a, 2); /* tape: never there */
    aml_buffer_close(a);
    for (unsigned n = 0; n < FDC_MAX_DRIVES; n++) {
        if (!floppy_acpi_info(fdc, n, info)) {
            continue;
        }
        aml_device(a, n ? "FLPB" : "FLPA");
        aml_name_int(a, "_ADR", n);
        aml_name(a, "_FDI");
        aml_package(a, 16);
        for (unsigned i = 0; i < 16; i++) {
            aml_int(a, info[i]);
        }
        aml_close(a);
        aml_close(a);
    }
    aml_close(a);
}

static void add_fw_cfg(Aml *a)
{
    aml_device(a, "FWCF");
    aml_name(a, "_HID");
    aml_string(a, "QEMU0002"); /* the id its drivers look for */
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_res_io(a, 0x510, 12);
    aml_resources_close(a);
    aml_close(a);
}

/* Ports that belong to no one else and must stay free. */
static void add_reserved(Aml *a)
{
    static const struct {
        uint16_t base;
        uint8_t len;
    } ports[] = {
        { 0x92, 1 },   { 0xb2, 2 },        { ACPI_PM_BASE, ACPI_PM_LEN },
        { 0x700, 16 }, { PIIX4_GPE_BASE, 4 },
    };
    aml_device(a, "MBRD");
    aml_name_eisa_id(a, "_HID", "PNP0C02");
    aml_name(a, "_CRS");
    aml_resources(a);
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
        aml_res_io(a, ports[i].base, ports[i].len);
    }
    aml_resources_close(a);
    aml_close(a);
}

static void add_isa_bridge(Aml *a, const PcMachine *pc)
{
    const Machine *m = pc->machine;
    aml_device(a, "ISA");
    aml_name_int(a, "_ADR", 0x00010000);
    for (size_t i = 0; i < ARRAY_SIZE(motherboard); i++) {
        add_isa(a, &motherboard[i]);
    }
    if (first_device(m, "i8042")) {
        add_isa(a, &keyboard);
        add_isa(a, &mouse);
    }
    Device *fdc = first_device(m, "isa-fdc");
    if (fdc) {
        add_floppies(a, fdc);
    }
    add_ports(a, m);
    add_fw_cfg(a);
    add_reserved(a);
    aml_close(a);
}

/* ---- the rest ---- */

static void add_hpet(Aml *a)
{
    aml_device(a, "HPET");
    aml_name_eisa_id(a, "_HID", "PNP0103");
    aml_name_int(a, "_UID", 0);
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_res_memory32(a, false, HPET_BASE, 0x400);
    aml_resources_close(a);
    aml_close(a);
}

static void add_processors(Aml *a, const Machine *m)
{
    aml_scope(a, "\\_PR");
    for (unsigned i = 0; i < MIN(m->nr_cpus, 255u); i++) {
        char name[8];
        snprintf(name, sizeof(name), "C%03X", i);
        aml_processor(a, name, i);
        aml_close(a);
    }
    aml_close(a);
}

void acpi_dsdt(Aml *a, const struct PcMachine *pc)
{
    aml_scope(a, "\\_SB");
    aml_device(a, "PCI0");
    aml_name_eisa_id(a, "_HID", "PNP0A03");
    aml_name_int(a, "_UID", 0);
    add_windows(a, pc);
    add_routing(a);
    add_isa_bridge(a, pc);
    aml_close(a);

    /* The routers are in the bridge's configuration space, the links beside the root, where
     * _PRT finds them. */
    aml_scope(a, "PCI0.ISA");
    aml_region(a, "PIRQ", AML_SPACE_PCI_CONFIG, PIIX3_REG_PIRQRC, PIIX3_NR_PIRQ);
    aml_field(a, "PIRQ", AML_FIELD_BYTE);
    for (unsigned n = 0; n < PIIX3_NR_PIRQ; n++) {
        aml_field_unit(a, field_name[n], 8);
    }
    aml_close(a);
    aml_close(a);
    add_links(a);
    if (pc->hpet) {
        add_hpet(a);
    }
    aml_close(a);

    add_processors(a, pc->machine);
    /* SLP_TYP 0 is soft-off on the PIIX4 (82371AB 7.1.6); no other state is offered. */
    aml_name(a, "\\_S5");
    aml_package(a, 4);
    for (unsigned i = 0; i < 4; i++) {
        aml_int(a, 0);
    }
    aml_close(a);
}
