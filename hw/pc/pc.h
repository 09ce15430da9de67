/* SPDX-License-Identifier: GPL-2.0-or-later
 * The board of the `pc` machine: its parts and how they are wired (pc.c), and the steps of its
 * construction that have files of their own.
 */
#ifndef HW_PC_PC_H
#define HW_PC_PC_H

#include "hw/core/machine.h"
#include "hw/isa/isa.h"
#include "hw/pc/gsi.h"
#include "hw/pci/pci.h"

typedef struct PcMachine {
    Machine *machine;
    Gsi gsi;
    PciBus *pci;
    IsaBus *isa;
    Region *pci_memory;
    Device *host, *a20, *pic, *ioapic, *pit, *rtc, *hpet, *vga, *ide, *fdc, *pm;
    uint64_t ram_below_4g, ram_above_4g;
    Region ram_low, ram_high, bios, bios_isa;
    RamBlock *bios_ram;
    ResetHook reset_hook;
    unsigned resets;         /* boot_once holds until the second */
    char boot_rom[48];       /* genroms/NAME that boots before all else; "" for none */
} PcMachine;

static inline PcMachine *pc_machine(Machine *m)
{
    return m->board;
}

/* pc_rom.c: the BIOS image below 4 GiB and below 1 MiB. */
bool pc_load_bios(PcMachine *pc, Error **errp) MUST_USE;

/* pc_fw_cfg.c */
bool pc_init_fw_cfg(PcMachine *pc, Error **errp) MUST_USE;
void pc_add_boot_rom(PcMachine *pc, const char *name); /* genroms/NAME boots first */
/* At power-up, when all devices are there: boot order, SMBIOS, ACPI. */
void pc_build_tables(PcMachine *pc);
/* Highest APIC id, and one. */
unsigned pc_apic_id_limit(const PcMachine *pc);

/* linux_boot.c: -kernel, -initrd, -append through an option ROM. */
bool pc_load_kernel(PcMachine *pc, Error **errp) MUST_USE;

/* pc_cmos.c: what the setup program would have stored. */
void pc_init_cmos(PcMachine *pc);
void pc_init_cmos_floppies(PcMachine *pc);
/* "cad" and the like into the boot sequence registers; false for an unknown letter. */
bool pc_set_boot_order(PcMachine *pc, const char *order, Error **errp) MUST_USE;

#endif
