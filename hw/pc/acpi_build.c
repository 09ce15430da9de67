/* SPDX-License-Identifier: GPL-2.0-or-later
 * ACPI tables of a pc (ACPI 6.4): RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, HPET, WAET. They are
 * one file; a list of commands tells firmware where to put it, which words in it are pointers,
 * and which bytes are checksums.
 */
#include "hw/pc/acpi_build.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/state.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/pc/acpi_dsdt.h"
#include "hw/pc/acpi_tables.h"
#include "hw/pc/aml.h"
#include "hw/pc/fw_cfg.h"
#include "hw/pc/kernel_plan.h"
#include "hw/pc/pc.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE "etc/acpi/rsdp"

enum { HEADER_LEN = 36, OFFSET_LENGTH = 4, OFFSET_CHECKSUM = 9, RSDP_LEN = 36, RSDP_V1_LEN = 20,
       FACS_LEN = 64, FADT_LEN = 244 };

/* ---- the table loader's commands: 128 bytes each ---- */

enum { CMD_ALLOCATE = 1, CMD_ADD_POINTER = 2, CMD_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2, COMMAND_LEN = 128, FILE_NAME_LEN = 56 };

typedef struct Loader {
    Aml tables, commands; /* as plain byte buffers */
    uint8_t rsdp[RSDP_LEN];
    uint32_t root[16]; /* offsets of the tables the RSDT lists */
    unsigned nr_root;
} Loader;

static uint8_t *new_command(Loader *l, uint32_t cmd)
{
    aml_zeroes(&l->commands, COMMAND_LEN);
    uint8_t *c = l->commands.data + l->commands.len - COMMAND_LEN;
    put_le32(c, cmd);
    return c;
}

static void cmd_allocate(Loader *l, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t *c = new_command(l, CMD_ALLOCATE);
    strcpy((char *)c + 4, file);
    put_le32(c + 60, align);
    c[64] = zone;
}

/* The pointer at offset in file holds an offset in the tables file: make it an address. */
static void cmd_pointer(Loader *l, const char *file, uint32_t offset, uint8_t size)
{
    uint8_t *c = new_command(l, CMD_ADD_POINTER);
    strcpy((char *)c + 4, file);
    strcpy((char *)c + 4 + FILE_NAME_LEN, TABLES_FILE);
    put_le32(c + 116, offset);
    c[120] = size;
}

static void cmd_checksum(Loader *l, const char *file, uint32_t at, uint32_t start, uint32_t len)
{
    uint8_t *c = new_command(l, CMD_ADD_CHECKSUM);
    strcpy((char *)c + 4, file);
    put_le32(c + 60, at);
    put_le32(c + 64, start);
    put_le32(c + 68, len);
}

/* ---- tables ---- */

static uint32_t begin_table(Loader *l, const char *signature, uint8_t revision)
{
    Aml *t = &l->tables;
    uint32_t start = t->len;
    aml_bytes(t, signature, 4);
    aml_u32(t, 0); /* length, at the end */
    aml_u8(t, revision);
    aml_u8(t, 0); /* checksum: firmware's */
    aml_bytes(t, "VIREO ", 6);
    aml_bytes(t, "VIREOPC ", 8);
    aml_u32(t, 1);
    aml_bytes(t, "VIRE", 4);
    aml_u32(t, 1);
    return start;
}

static void end_table(Loader *l, uint32_t start)
{
    put_le32(l->tables.data + start + OFFSET_LENGTH, l->tables.len - start);
    cmd_checksum(l, TABLES_FILE, start + OFFSET_CHECKSUM, start, l->tables.len - start);
}

static void list_table(Loader *l, uint32_t start)
{
    l->root[l->nr_root++] = start;
}

/* Must be 64-byte aligned, so it comes first. */
static uint32_t add_facs(Loader *l)
{
    uint32_t start = l->tables.len;
    aml_bytes(&l->tables, "FACS", 4);
    aml_u32(&l->tables, FACS_LEN);
    aml_zeroes(&l->tables, FACS_LEN - 8);
    return start;
}

static uint32_t add_dsdt(Loader *l, const PcMachine *pc)
{
    /* Revision 1: integers are 32 bits, which every system can do. */
    uint32_t start = begin_table(l, "DSDT", 1);
    acpi_dsdt(&l->tables, pc);
    end_table(l, start);
    return start;
}

/* Generic address structure in I/O space (ACPI 5.2.3.2). */
static void put_io_address(uint8_t *p, uint8_t bits, uint16_t port)
{
    static const uint8_t access[] = { [1] = 1, [2] = 2, [4] = 3 };
    p[0] = 1;
    p[1] = bits;
    p[3] = bits <= 32 ? access[bits / 8] : 0;
    put_le64(p + 4, port);
}

enum { /* FADT fields (ACPI 5.2.9) */
       FADT_FACS = 36, FADT_DSDT = 40, FADT_SCI = 46, FADT_SMI_CMD = 48, FADT_ENABLE = 52,
       FADT_DISABLE = 53, FADT_PM1A_EVT = 56, FADT_PM1A_CNT = 64, FADT_PM_TMR = 76,
       FADT_GPE0 = 80, FADT_PM1_EVT_LEN = 88, FADT_PM1_CNT_LEN = 89, FADT_PM_TMR_LEN = 91,
       FADT_GPE0_LEN = 92, FADT_P_LVL2_LAT = 96, FADT_P_LVL3_LAT = 98, FADT_CENTURY = 108,
       FADT_BOOT_ARCH = 109, FADT_FLAGS = 112, FADT_RESET_REG = 116, FADT_RESET_VALUE = 128,
       FADT_X_DSDT = 140, FADT_X_PM1A_EVT = 148, FADT_X_PM1A_CNT = 172, FADT_X_PM_TMR = 208,
       FADT_X_GPE0 = 220 };
enum { FADT_WBINVD = 1 << 0, FADT_PROC_C1 = 1 << 2, FADT_NO_SLEEP_BUTTON = 1 << 5,
       FADT_RTC_NO_WAKE = 1 << 6, FADT_RESET_SUPPORTED = 1 << 10 };
enum { BOOT_LEGACY_DEVICES = 1 << 0, BOOT_8042 = 1 << 1 };

static void add_fadt(Loader *l, uint32_t facs, uint32_t dsdt)
{
    uint32_t start = begin_table(l, "FACP", 3);
    aml_zeroes(&l->tables, FADT_LEN - HEADER_LEN);
    uint8_t *f = l->tables.data + start;
    put_le32(f + FADT_FACS, facs);
    put_le32(f + FADT_DSDT, dsdt);
    put_le64(f + FADT_X_DSDT, dsdt);
    put_le16(f + FADT_SCI, SCI_IRQ);
    put_le32(f + FADT_SMI_CMD, SMI_COMMAND_PORT);
    f[FADT_ENABLE] = PIIX4_ACPI_ENABLE;
    f[FADT_DISABLE] = PIIX4_ACPI_DISABLE;
    put_le32(f + FADT_PM1A_EVT, ACPI_PM1_EVENT);
    put_le32(f + FADT_PM1A_CNT, ACPI_PM1_CONTROL);
    put_le32(f + FADT_PM_TMR, ACPI_PM_TIMER);
    put_le32(f + FADT_GPE0, PIIX4_GPE_BASE);
    f[FADT_PM1_EVT_LEN] = 4;
    f[FADT_PM1_CNT_LEN] = 2;
    f[FADT_PM_TMR_LEN] = 4;
    f[FADT_GPE0_LEN] = 4;
    put_le16(f + FADT_P_LVL2_LAT, 0xfff); /* no C2, no C3 */
    put_le16(f + FADT_P_LVL3_LAT, 0xfff);
    f[FADT_CENTURY] = 0x32;
    put_le16(f + FADT_BOOT_ARCH, BOOT_LEGACY_DEVICES | BOOT_8042);
    /* The power button is the fixed one: its flag stays clear. */
    put_le32(f + FADT_FLAGS, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON |
                                 FADT_RTC_NO_WAKE | FADT_RESET_SUPPORTED);
    put_io_address(f + FADT_RESET_REG, 8, RESET_PORT);
    f[FADT_RESET_VALUE] = 0x0f;
    put_io_address(f + FADT_X_PM1A_EVT, 32, ACPI_PM1_EVENT);
    put_io_address(f + FADT_X_PM1A_CNT, 16, ACPI_PM1_CONTROL);
    put_io_address(f + FADT_X_PM_TMR, 32, ACPI_PM_TIMER);
    put_io_address(f + FADT_X_GPE0, 32, PIIX4_GPE_BASE);
    cmd_pointer(l, TABLES_FILE, start + FADT_FACS, 4);
    cmd_pointer(l, TABLES_FILE, start + FADT_DSDT, 4);
    cmd_pointer(l, TABLES_FILE, start + FADT_X_DSDT, 8);
    end_table(l, start);
    list_table(l, start);
}

/* ---- MADT (ACPI 5.2.12) ---- */

enum { MADT_PCAT_COMPAT = 1, MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2,
       MADT_LAPIC_NMI = 4, MADT_X2APIC = 9, MADT_X2APIC_NMI = 10 };
enum { MPS_BUS_DEFAULT = 0, MPS_ACTIVE_HIGH_LEVEL = 0x0d };

static bool add_cpus(Aml *t, const Machine *m)
{
    bool wide = false;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        uint32_t id = m->cpu[i]->apic_id;
        if (id < 255) {
            aml_u8(t, MADT_LAPIC);
            aml_u8(t, 8);
            aml_u8(t, i);
            aml_u8(t, id);
            aml_u32(t, 1);
        } else {
            wide = true;
            aml_u8(t, MADT_X2APIC);
            aml_u8(t, 16);
            aml_u16(t, 0);
            aml_u32(t, id);
            aml_u32(t, 1);
            aml_u32(t, i);
        }
    }
    return wide;
}

static void add_override(Aml *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    aml_u8(t, MADT_OVERRIDE);
    aml_u8(t, 10);
    aml_u8(t, 0); /* ISA */
    aml_u8(t, irq);
    aml_u32(t, gsi);
    aml_u16(t, flags);
}

static void add_madt(Loader *l, const Machine *m)
{
    uint32_t start = begin_table(l, "APIC", 3);
    Aml *t = &l->tables;
    aml_u32(t, LAPIC_BASE);
    aml_u32(t, MADT_PCAT_COMPAT);
    bool wide = add_cpus(t, m);
    aml_u8(t, MADT_IOAPIC);
    aml_u8(t, 12);
    aml_u8(t, 0); /* its id out of reset */
    aml_u8(t, 0);
    aml_u32(t, IOAPIC_BASE);
    aml_u32(t, 0);
    add_override(t, 0, 2, MPS_BUS_DEFAULT);
    /* Where PCI interrupts and SCI arrive: level triggered. */
    static const uint8_t level[] = { 5, SCI_IRQ, 10, 11 };
    for (size_t i = 0; i < ARRAY_SIZE(level); i++) {
        add_override(t, level[i], level[i], MPS_ACTIVE_HIGH_LEVEL);
    }
    aml_u8(t, MADT_LAPIC_NMI);
    aml_u8(t, 6);
    aml_u8(t, 0xff); /* all processors */
    aml_u16(t, 0);
    aml_u8(t, 1);
    if (wide) {
        aml_u8(t, MADT_X2APIC_NMI);
        aml_u8(t, 12);
        aml_u16(t, 0);
        aml_u32(t, 0xffffffff);
        aml_u8(t, 1);
        aml_zeroes(t, 3);
    }
    end_table(l, start);
    list_table(l, start);
}

static void add_hpet(Loader *l)
{
    uint32_t start = begin_table(l, "HPET", 1);
    Aml *t = &l->tables;
    aml_u32(t, 0x8086a201); /* as the capability register has it: Intel, 3 timers, 64 bits */
    aml_u8(t, 0);           /* memory space */
    aml_u8(t, 0);
    aml_u8(t, 0);
    aml_u8(t, 0);
    aml_u64(t, HPET_BASE);
    aml_u8(t, 0);
    aml_u16(t, 0);
    aml_u8(t, 0);
    end_table(l, start);
    list_table(l, start);
}

/* Windows: one read of the PM timer is enough. */
static void add_waet(Loader *l)
{
    uint32_t start = begin_table(l, "WAET", 1);
    aml_u32(&l->tables, 1 << 1);
    end_table(l, start);
    list_table(l, start);
}

static uint32_t add_root(Loader *l, const char *signature, unsigned pointer_len)
{
    uint32_t start = begin_table(l, signature, 1);
    for (unsigned i = 0; i < l->nr_root; i++) {
        uint32_t at = l->tables.len;
        if (pointer_len == 8) {
            aml_u64(&l->tables, l->root[i]);
        } else {
            aml_u32(&l->tables, l->root[i]);
        }
        cmd_pointer(l, TABLES_FILE, at, pointer_len);
    }
    end_table(l, start);
    return start;
}

static void build_rsdp(Loader *l, uint32_t rsdt, uint32_t xsdt)
{
    uint8_t *r = l->rsdp;
    memcpy(r, "RSD PTR ", 8);
    memcpy(r + 9, "VIREO ", 6);
    r[15] = 2;
    put_le32(r + 16, rsdt);
    put_le32(r + 20, RSDP_LEN);
    put_le64(r + 24, xsdt);
    cmd_pointer(l, RSDP_FILE, 16, 4);
    cmd_pointer(l, RSDP_FILE, 24, 8);
    cmd_checksum(l, RSDP_FILE, 8, 0, RSDP_V1_LEN);
    cmd_checksum(l, RSDP_FILE, 32, 0, RSDP_LEN);
}

void acpi_build(struct PcMachine *pc)
{
    Device *fw = pc->machine->fw_cfg;
    Loader *l = calloc(1, sizeof(*l));
    if (!l) {
        return;
    }
    cmd_allocate(l, RSDP_FILE, 16, ZONE_FSEG);
    cmd_allocate(l, TABLES_FILE, 64, ZONE_HIGH);
    uint32_t facs = add_facs(l);
    uint32_t dsdt = add_dsdt(l, pc);
    add_fadt(l, facs, dsdt);
    if (pc->ioapic) {
        add_madt(l, pc->machine);
    }
    if (pc->hpet) {
        add_hpet(l);
    }
    add_waet(l);
    uint32_t rsdt = add_root(l, "RSDT", 4);
    build_rsdp(l, rsdt, add_root(l, "XSDT", 8));
    fw_cfg_add_file_copy(fw, RSDP_FILE, l->rsdp, sizeof(l->rsdp));
    /* The buffers' memory becomes fw_cfg's. */
    fw_cfg_add_file(fw, TABLES_FILE, l->tables.data, l->tables.len);
    fw_cfg_add_file(fw, "etc/table-loader", l->commands.data, l->commands.len);
    free(l);
}
