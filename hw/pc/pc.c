/* SPDX-License-Identifier: GPL-2.0-or-later
 * Machine type `pc`: 82441FX and PIIX3 with PIIX4 power management, the PC that SeaBIOS and every
 * x86 system since Windows 95 know.
 *
 *   CPUs - LAPICs - IOAPIC        00:00.0 440FX   00:01.0 PIIX3 (ISA)   00:01.1 IDE
 *            \ 8259s                00:01.3 power management   00:02.0 VGA
 *   ISA: 8254, RTC, 8237s, 8042, port 92, speaker, floppy, serial and parallel ports, fw_cfg
 */
#include "hw/pc/pc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "cpu/state.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/block/fdc.h"
#include "hw/intc/apic.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/piix3.h"
#include "hw/misc/pcspk.h"
#include "hw/pci/i440fx.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"

enum { SCI_GSI = 9, RTC_GSI = 8, PIT_GSI = 0 };
enum { DEVFN_PIIX3 = 1 << 3, DEVFN_IDE = 1 << 3 | 1, DEVFN_PM = 1 << 3 | 3, DEVFN_VGA = 2 << 3 };

DECLARE_DEVICE_TYPE(pc_a20);

/* A device of the board. */
static bool make(PcMachine *pc, const char *type, Bus *bus, const char *name, Device **out,
                 Error **errp)
{
    const DeviceType *t = device_type_find(type);
    assert(t); /* every build has them all */
    *out = device_new(pc->machine, t);
    return device_realize(*out, bus, NULL, name, errp) || error_prefix(errp, "%s: ", type);
}

static bool make_pci(PcMachine *pc, const char *type, int devfn, const char *name, Device **out,
                     Error **errp)
{
    const DeviceType *t = device_type_find(type);
    assert(t);
    *out = device_new(pc->machine, t);
    device_setf(*out, "addr", "%x.%x", devfn >> 3, devfn & 7);
    return device_realize(*out, &pc->pci->bus, NULL, name, errp) ||
           error_prefix(errp, "%s: ", type);
}

static bool option(PcMachine *pc, const char *name, bool def, bool *val, Error **errp)
{
    *val = def;
    const Dict *opts = pc->machine->config.machine_opts;
    return !opts || dict_get_bool(opts, name, val, errp);
}

/* ---- memory ---- */

/* RAM that no page table entry can name is a guest that dies early. */
static bool check_reach(const Machine *m, uint64_t end, Error **errp)
{
    unsigned bits = m->nr_cpus ? m->cpu[0]->phys_bits : 64;
    return bits >= 64 || end <= 1ull << bits ||
           error_set(errp,
                     "-m: %llu GiB end past what %u bits of a physical address reach, %llu GiB; ask for "
                     "less, or for a CPU with more: -cpu MODEL,phys-bits=N",
                     (unsigned long long)(m->config.ram_size / GiB), bits,
                     (unsigned long long)((1ull << bits) / GiB));
}

static bool init_ram(PcMachine *pc, Error **errp)
{
    Machine *m = pc->machine;
    uint64_t size = m->config.ram_size;
    if (size < MiB) {
        return error_set(errp, "a pc needs at least 1 MiB of memory (-m 1M)");
    }
    pc->ram_below_4g = MIN(size, (uint64_t)I440FX_RAM_HOLE_START);
    pc->ram_above_4g = size - pc->ram_below_4g;
    if (pc->ram_above_4g && !check_reach(m, 4 * GiB + pc->ram_above_4g, errp)) {
        return false;
    }
    if (!m->ram && !(m->ram = ram_block_new("pc.ram", size, errp))) {
        return false;
    }
    region_init_ram(&pc->ram_low, "ram-below-4g", m->ram, 0, pc->ram_below_4g);
    region_add(&m->memory_root, 0, &pc->ram_low, 0);
    if (pc->ram_above_4g) {
        region_init_ram(&pc->ram_high, "ram-above-4g", m->ram, pc->ram_below_4g,
                        pc->ram_above_4g);
        region_add(&m->memory_root, 4 * GiB, &pc->ram_high, 0);
    }
    return true;
}

/* ---- interrupts ---- */

static void deliver_msi(void *opaque, uint64_t addr, uint32_t data)
{
    apic_msi(opaque, addr, data);
}

static void deliver_nmi(Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (m->cpu[i]->apic) {
            irq_line_set(apic_lint(m->cpu[i], 1), true);
            irq_line_set(apic_lint(m->cpu[i], 1), false);
        } else {
            cpu_request(m->cpu[i], CPU_REQ_NMI);
        }
    }
}

unsigned pc_apic_id_limit(const PcMachine *pc)
{
    unsigned limit = 1;
    for (unsigned i = 0; i < pc->machine->nr_cpus; i++) {
        limit = MAX(limit, pc->machine->cpu[i]->apic_id + 1);
    }
    return limit;
}

static bool init_apics(PcMachine *pc, bool *has_apic, Error **errp)
{
    Machine *m = pc->machine;
    *has_apic = m->nr_cpus && feature_has(&m->cpu[0]->features, FEATURE_APIC);
    if (!*has_apic && m->nr_cpus > 1) {
        return error_set(errp, "several CPUs need a local APIC: the CPU model has none (-smp 1, or "
                               "-cpu with +apic)");
    }
    m->nmi = deliver_nmi;
    return !*has_apic ||
           (apic_create_all(m, errp) && make(pc, "ioapic", NULL, "ioapic", &pc->ioapic, errp));
}

static bool init_pic(PcMachine *pc, bool has_apic, Error **errp)
{
    Machine *m = pc->machine;
    if (!make(pc, "isa-i8259", &pc->isa->bus, "i8259", &pc->pic, errp)) {
        return false;
    }
    pc->gsi.pic = pc->pic;
    pc->gsi.ioapic = pc->ioapic;
    if (!m->nr_cpus) {
        return true;
    }
    if (!has_apic) {
        i8259_connect_cpu(pc->pic, m->cpu[0]);
        return true;
    }
    /* Virtual wire mode: only the boot processor has the 8259s on LINT0. */
    m->cpu[0]->pic_ack = i8259_ack;
    m->cpu[0]->pic_opaque = pc->pic;
    irq_connect(&pc->pic->irq_out[0], apic_lint(m->cpu[0], 0));
    return true;
}

/* PIT and RTC reach GSI 0 and 8 through the HPET, which can take their place. */
static bool init_timers(PcMachine *pc, Error **errp)
{
    Bus *isa = &pc->isa->bus;
    bool want_hpet;
    if (!option(pc, "hpet", true, &want_hpet, errp) ||
        !make(pc, "isa-pit", isa, "pit", &pc->pit, errp) ||
        !make(pc, "mc146818rtc", isa, "rtc", &pc->rtc, errp) ||
        (want_hpet && !make(pc, "hpet", NULL, "hpet", &pc->hpet, errp))) {
        return false;
    }
    Device *hpet = pc->hpet;
    if (hpet) {
        for (unsigned n = 0; n < NR_GSI; n++) {
            irq_connect(&hpet->irq_out[n], gsi_input(&pc->gsi, GSI_HPET, n));
        }
        irq_connect(&hpet->irq_out[HPET_OUT_LEGACY], &pc->pit->irq_in[0]);
    }
    irq_connect(&pc->pit->irq_out[0], hpet ? &hpet->irq_in[HPET_IN_PIT]
                                           : gsi_input(&pc->gsi, GSI_ISA, PIT_GSI));
    irq_connect(&pc->rtc->irq_out[0], hpet ? &hpet->irq_in[HPET_IN_RTC]
                                           : gsi_input(&pc->gsi, GSI_ISA, RTC_GSI));
    return true;
}

/* ---- buses ---- */

static bool init_bridges(PcMachine *pc, Error **errp)
{
    Machine *m = pc->machine;
    pc->host = device_new(m, &type_i440fx_host);
    if (!device_realize(pc->host, NULL, NULL, "i440fx", errp)) {
        return false;
    }
    pc->pci = i440fx_pci_bus(pc->host);
    pc->pci_memory = i440fx_pci_memory(pc->host);
    pc->pci->msi = deliver_msi;
    pc->pci->msi_opaque = m;
    Device *pmc, *piix3;
    if (!make_pci(pc, "i440FX", 0, "pmc", &pmc, errp) ||
        !make_pci(pc, "PIIX3", DEVFN_PIIX3, "piix3", &piix3, errp) ||
        !make(pc, "pc-a20", NULL, "a20", &pc->a20, errp)) {
        return false;
    }
    pc->isa = piix3_isa_bus(piix3);
    for (unsigned n = 0; n < NR_ISA_GSI; n++) {
        pc->isa->irq[n] = gsi_input(&pc->gsi, GSI_ISA, n);
        irq_connect(&piix3->irq_out[n], gsi_input(&pc->gsi, GSI_PIRQ, n));
    }
    return true;
}

static bool init_pcspk(PcMachine *pc, Error **errp)
{
    const DeviceType *t = device_type_find("isa-pcspk");
    if (!t || !pc->pit) {
        return true;
    }
    Device *spk = device_new(pc->machine, t);
    pcspk_set_pit(spk, pc->pit);
    return device_realize(spk, &pc->isa->bus, NULL, "pcspk", errp);
}

/* One port of -serial or -parallel. */
static bool init_port(PcMachine *pc, const char *type, unsigned index, const char *chardev,
                      Error **errp)
{
    const DeviceType *t = device_type_find(type);
    if (!t) {
        return error_set(errp, "this build has no %s", type);
    }
    Device *dev = device_new(pc->machine, t);
    device_setf(dev, "index", "%u", index);
    device_set(dev, "chardev", chardev);
    char name[32];
    snprintf(name, sizeof(name), "%s%u", type + strlen("isa-"), index);
    return device_realize(dev, &pc->isa->bus, NULL, name, errp);
}

static bool init_ports(PcMachine *pc, Error **errp)
{
    const MachineConfig *config = &pc->machine->config;
    for (unsigned i = 0; i < ARRAY_SIZE(config->serial); i++) {
        if (config->serial[i] && !init_port(pc, "isa-serial", i, config->serial[i], errp)) {
            return false;
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(config->parallel); i++) {
        if (config->parallel[i] &&
            !init_port(pc, "isa-parallel", i, config->parallel[i], errp)) {
            return false;
        }
    }
    return true;
}

static bool init_debugcon(PcMachine *pc, Error **errp)
{
    const char *chardev = pc->machine->config.debugcon;
    if (!chardev) {
        return true;
    }
    const DeviceType *t = device_type_find("isa-debugcon");
    if (!t) {
        return error_set(errp, "-debugcon: this build has no isa-debugcon");
    }
    Device *dev = device_new(pc->machine, t);
    device_set(dev, "chardev", chardev);
    return device_realize(dev, &pc->isa->bus, NULL, "debugcon", errp);
}

/* Drives of -fda and -fdb; those of -device floppy come later. */
static bool init_floppy(PcMachine *pc, Error **errp)
{
    const MachineConfig *config = &pc->machine->config;
    if (config->no_fdc) {
        return (!config->floppy_drive[0] && !config->floppy_drive[1]) ||
               error_set(errp, "-device isa-fdc replaces the board's floppy controller; plug the "
                               "drive into it with if=none,id=ID and -device floppy,drive=ID");
    }
    if (!make(pc, "isa-fdc", &pc->isa->bus, "fdc", &pc->fdc, errp)) {
        return false;
    }
    for (unsigned n = 0; n < ARRAY_SIZE(config->floppy_drive); n++) {
        const char *id = config->floppy_drive[n];
        if (!id && !(n == 0 && config->default_floppy)) {
            continue;
        }
        if (!pc->fdc) {
            return !id || error_set(errp, "drive '%s': this build has no isa-fdc", id);
        }
        if (!floppy_create(container_of(pc->fdc, Fdc, dev), n, id, errp)) {
            return false;
        }
    }
    return true;
}

static bool init_isa(PcMachine *pc, Error **errp)
{
    Bus *isa = &pc->isa->bus;
    Device *ignored;
    return make(pc, "i8237", isa, "dma", &ignored, errp) && init_pcspk(pc, errp) &&
           make(pc, "port92", isa, "port92", &ignored, errp) &&
           make(pc, "fpu-error", isa, "fpu-error", &ignored, errp) &&
           make(pc, "i8042", isa, "i8042", &ignored, errp) && init_ports(pc, errp) &&
           init_debugcon(pc, errp) && init_floppy(pc, errp);
}

/* ---- VGA, disks, power ---- */

static bool init_vga(PcMachine *pc, Error **errp)
{
    const char *want = pc->machine->config.vga;
    if (want ? strcmp(want, "none") == 0 : pc->machine->config.nodefaults) {
        return true;
    }
    if (!want || strcmp(want, "std") == 0) {
        if (want && !device_type_find("VGA")) {
            return error_set(errp, "-vga std: this build has no VGA");
        }
        return make_pci(pc, "VGA", DEVFN_VGA, "vga", &pc->vga, errp);
    }
    return error_set(errp, "-vga %s: unknown or not in this build (std, none)", want);
}

static bool init_disk(PcMachine *pc, unsigned n, Error **errp)
{
    const MachineConfig *config = &pc->machine->config;
    const char *id = config->ide_drive[n];
    bool empty_cd = !id && n == 2 && config->default_cdrom;
    if (!id && !empty_cd) {
        return true;
    }
    const Drive *drive = id ? drive_by_id(id) : NULL;
    const char *type = empty_cd || (drive && drive_is_cdrom(drive)) ? "ide-cd" : "ide-hd";
    const DeviceType *t = device_type_find(type);
    if (!t || !pc->ide) {
        return empty_cd || error_set(errp, "drive '%s': this build has no %s", id, type);
    }
    char bus_name[8];
    snprintf(bus_name, sizeof(bus_name), "ide.%u", n / 2);
    Device *dev = device_new(pc->machine, t);
    Bus *bus = bus_find(pc->machine, BUS_IDE, bus_name, dev, errp);
    if (!bus) {
        return false;
    }
    device_setf(dev, "unit", "%u", n % 2);
    if (id) {
        device_set(dev, "drive", id);
    }
    char name[16];
    snprintf(name, sizeof(name), "ide%u-%u", n / 2, n % 2);
    return device_realize(dev, bus, NULL, name, errp);
}

static bool init_ide(PcMachine *pc, Error **errp)
{
    if (!make_pci(pc, "piix3-ide", DEVFN_IDE, "ide", &pc->ide, errp)) {
        return false;
    }
    for (unsigned n = 0; n < ARRAY_SIZE(pc->machine->config.ide_drive); n++) {
        if (!init_disk(pc, n, errp)) {
            return false;
        }
    }
    return true;
}

static bool init_pm(PcMachine *pc, Error **errp)
{
    bool acpi;
    if (!option(pc, "acpi", true, &acpi, errp)) {
        return false;
    }
    if (!acpi) {
        return true;
    }
    if (!make_pci(pc, "PIIX4_PM", DEVFN_PM, "pm", &pc->pm, errp)) {
        return false;
    }
    if (pc->pm) {
        irq_connect(&pc->pm->irq_out[0], gsi_input(&pc->gsi, GSI_SCI, SCI_GSI));
    }
    return true;
}

/* ---- boot order ---- */

static const char *usual_order(const PcMachine *pc)
{
    return pc->machine->config.boot_order ? pc->machine->config.boot_order : "cad";
}

/* -boot once= holds for the first start alone: the first reset is the power-up. */
static void after_reset(void *opaque)
{
    PcMachine *pc = opaque;
    Error *err = NULL;
    if (++pc->resets == 2 && pc->machine->config.boot_once &&
        !pc_set_boot_order(pc, usual_order(pc), &err)) {
        error_report(err);
    }
}

static bool set_boot_order(Machine *m, const char *order, Error **errp)
{
    return pc_set_boot_order(pc_machine(m), order, errp);
}

static bool init_boot(PcMachine *pc, Error **errp)
{
    const MachineConfig *config = &pc->machine->config;
    pc_init_cmos(pc);
    /* Both are checked now, though only one is used. */
    if (!pc_set_boot_order(pc, usual_order(pc), errp) ||
        (config->boot_once && !pc_set_boot_order(pc, config->boot_once, errp))) {
        return false;
    }
    pc->reset_hook = (ResetHook) { .fn = after_reset, .opaque = pc };
    machine_add_reset_hook(&pc->reset_hook);
    pc->machine->set_boot_order = set_boot_order;
    return true;
}

static bool pc_init(Machine *m, Error **errp)
{
    PcMachine *pc = calloc(1, sizeof(*pc));
    if (!pc) {
        return error_set(errp, "no memory for the machine");
    }
    pc->machine = m;
    m->board = pc;
    gsi_init(&pc->gsi);
    bool has_apic;
    return init_ram(pc, errp) && init_apics(pc, &has_apic, errp) && init_bridges(pc, errp) &&
           init_pic(pc, has_apic, errp) && init_timers(pc, errp) && pc_load_bios(pc, errp) &&
           pc_init_fw_cfg(pc, errp) && pc_load_kernel(pc, errp) && init_isa(pc, errp) &&
           init_vga(pc, errp) && init_ide(pc, errp) && init_pm(pc, errp) && init_boot(pc, errp);
}

static void pc_reset(Machine *m)
{
    pc_build_tables(pc_machine(m));
}

static const char *const pc_versioned[] = { "pc-i440fx-", "pc-", NULL };

static const char *const pc_options[] = {
    "acpi=<bool>          - ACPI tables for the guest (default: on)",
    "hpet=<bool>          - a high precision event timer (default: on)", NULL
};

MACHINE_TYPE(pc) = {
    .name = "pc",
    .desc = "Standard PC (i440FX + PIIX3, 1996)",
    .alias = "pc-i440fx",
    .versioned = pc_versioned,
    .options = pc_options,
    .is_default = true,
    .max_cpus = MAX_CPUS,
    .default_ram = 128 * MiB,
    .init = pc_init,
    .reset = pc_reset,
};
