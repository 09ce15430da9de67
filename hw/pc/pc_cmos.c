/* SPDX-License-Identifier: GPL-2.0-or-later
 * The CMOS RAM of a PC as its setup program leaves it: memory sizes, drives, boot order. The
 * layout is the AT's (registers 0x10-0x18, 0x30, 0x31) and, above, the one SeaBIOS reads
 * (SeaBIOS, src/hw/rtc.h).
 */
#include <ctype.h>

#include "block/block.h"
#include "hw/block/fdc.h"
#include "hw/pc/pc.h"
#include "hw/timer/mc146818.h"

enum {
    CMOS_FLOPPY_TYPES = 0x10, CMOS_DISK_TYPES = 0x12, CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_MEM = 0x15, CMOS_EXT_MEM = 0x17, CMOS_DISK0_TYPE = 0x19, CMOS_DISK1_TYPE = 0x1a,
    CMOS_DISK0_DATA = 0x1b, CMOS_DISK1_DATA = 0x24, CMOS_EXT_MEM2 = 0x30,
    CMOS_EXT_MEM_64K = 0x34, CMOS_BOOT_FLAG1 = 0x38, CMOS_DISK_TRANSLATION = 0x39,
    CMOS_BOOT_FLAG2 = 0x3d, CMOS_HIGH_MEM_64K = 0x5b, CMOS_CPUS = 0x5f,
};
enum { EQUIP_FLOPPY = 0x01, EQUIP_FPU = 0x02, EQUIP_PS2_MOUSE = 0x04, EQUIP_2_FLOPPIES = 0x40 };
enum { BASE_MEM_KB = 640 };

static void set16(PcMachine *pc, unsigned index, unsigned val)
{
    rtc_set_cmos(pc->rtc, index, val);
    rtc_set_cmos(pc->rtc, index + 1, val >> 8);
}

static void init_memory(PcMachine *pc)
{
    uint64_t low = pc->ram_below_4g, high = pc->ram_above_4g;
    set16(pc, CMOS_BASE_MEM, MIN((uint64_t)BASE_MEM_KB, low / KiB));
    uint64_t ext_kb = low > MiB ? (low - MiB) / KiB : 0;
    set16(pc, CMOS_EXT_MEM, MIN(ext_kb, 65535u));
    set16(pc, CMOS_EXT_MEM2, MIN(ext_kb, 65535u));
    uint64_t above_16m = low > 16 * MiB ? (low - 16 * MiB) / (64 * KiB) : 0;
    set16(pc, CMOS_EXT_MEM_64K, MIN(above_16m, 65535u));
    uint64_t units = high / (64 * KiB);
    for (unsigned i = 0; i < 3; i++) {
        rtc_set_cmos(pc->rtc, CMOS_HIGH_MEM_64K + i, units >> (8 * i));
    }
}

/* Type 47 in the BIOS's table of drives: the geometry is in the nine bytes that follow. */
static void init_disk(PcMachine *pc, unsigned n, uint64_t cylinders)
{
    unsigned data = n == 0 ? CMOS_DISK0_DATA : CMOS_DISK1_DATA;
    unsigned cyl = MIN(cylinders, 16383u);
    rtc_set_cmos(pc->rtc, n == 0 ? CMOS_DISK0_TYPE : CMOS_DISK1_TYPE, 47);
    set16(pc, data, cyl);
    rtc_set_cmos(pc->rtc, data + 2, 16);
    set16(pc, data + 3, 0xffff); /* no write precompensation */
    rtc_set_cmos(pc->rtc, data + 5, 0xc8); /* more than 8 heads */
    set16(pc, data + 6, cyl);
    rtc_set_cmos(pc->rtc, data + 8, 63);
}

static void init_disks(PcMachine *pc)
{
    const MachineConfig *config = &pc->machine->config;
    unsigned types = 0, translation = 0;
    for (unsigned n = 0; n < ARRAY_SIZE(config->ide_drive); n++) {
        const Drive *d = config->ide_drive[n] ? drive_by_id(config->ide_drive[n]) : NULL;
        if (!d || drive_is_cdrom(d)) {
            continue;
        }
        uint64_t cylinders = drive_size(d) / (16 * 63 * BLOCK_SECTOR);
        /* 0 none, 1 LBA: BIOS geometry stops at 1024 cylinders. */
        translation |= (cylinders > 1024 ? 1u : 0u) << (2 * n);
        if (n < 2) {
            types |= 0xf0u >> (4 * n);
            init_disk(pc, n, cylinders);
        }
    }
    rtc_set_cmos(pc->rtc, CMOS_DISK_TYPES, types);
    rtc_set_cmos(pc->rtc, CMOS_DISK_TRANSLATION, translation);
}

bool pc_set_boot_order(PcMachine *pc, const char *order, Error **errp)
{
    unsigned seq[3] = { 0 }, nr = 0;
    for (const char *p = order; *p; p++) {
        unsigned device;
        switch (tolower((unsigned char)*p)) {
        case 'a': case 'b': device = 1; break; /* floppy */
        case 'c': device = 2; break;           /* hard disk */
        case 'd': device = 3; break;           /* CD-ROM */
        case 'n': case 'o': case 'p': device = 4; break;
        default:
            return error_set(errp,
                             "boot order '%s': '%c' is no boot device (a floppy, c hard disk, d "
                             "CD-ROM, n network)",
                             order, *p);
        }
        if (nr == ARRAY_SIZE(seq)) {
            return error_set(errp, "boot order '%s': at most three devices", order);
        }
        seq[nr++] = device;
    }
    rtc_set_cmos(pc->rtc, CMOS_BOOT_FLAG2, seq[1] << 4 | seq[0]);
    rtc_set_cmos(pc->rtc, CMOS_BOOT_FLAG1, seq[2] << 4);
    return true;
}

/* At power-up, for -device floppy comes after the board. */
void pc_init_cmos_floppies(PcMachine *pc)
{
    const Device *fdc = pc->fdc;
    list_for_each(node, &pc->machine->devices) {
        const Device *dev = container_of(node, Device, machine_node);
        fdc = !fdc && dev->type == &type_isa_fdc ? dev : fdc;
    }
    unsigned a = floppy_cmos_type(fdc, 0), b = floppy_cmos_type(fdc, 1);
    unsigned nr = (a != 0) + (b != 0);
    rtc_set_cmos(pc->rtc, CMOS_FLOPPY_TYPES, a << 4 | b);
    rtc_set_cmos(pc->rtc, CMOS_EQUIPMENT,
                 EQUIP_FPU | EQUIP_PS2_MOUSE | (nr ? EQUIP_FLOPPY : 0) |
                     (nr == 2 ? EQUIP_2_FLOPPIES : 0));
}

void pc_init_cmos(PcMachine *pc)
{
    init_memory(pc);
    init_disks(pc);
    rtc_set_cmos(pc->rtc, CMOS_CPUS, pc->machine->nr_cpus - 1);
}
