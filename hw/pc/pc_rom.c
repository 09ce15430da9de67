/* SPDX-License-Identifier: GPL-2.0-or-later
 * The BIOS image of a PC: all of it right below 4 GiB, where the reset vector is, and its last
 * 128 KiB right below 1 MiB, where the PAM registers can put RAM over it.
 */
#include <stdlib.h>
#include <string.h>

#include "hw/core/firmware.h"
#include "hw/pc/pc.h"

enum { BIOS_MULTIPLE = 0x10000, BIOS_MAX = 0x1000000, BIOS_ISA_MAX = 0x20000 };

bool pc_load_bios(PcMachine *pc, Error **errp)
{
    Machine *m = pc->machine;
    const char *name = m->config.bios ? m->config.bios : "bios-256k.bin";
    size_t size;
    uint8_t *image = firmware_load(m, name, BIOS_MAX, &size, errp);
    if (!image) {
        return error_prefix(errp, "BIOS: ");
    }
    if (size % BIOS_MULTIPLE) {
        free(image);
        return error_set(errp, "BIOS '%s' has %zu bytes: not a multiple of 64 KiB, so not a BIOS",
                         name, size);
    }
    pc->bios_ram = ram_block_new("pc.bios", size, errp);
    if (!pc->bios_ram) {
        free(image);
        return false;
    }
    memcpy(pc->bios_ram->host, image, size);
    free(image);
    region_init_rom(&pc->bios, "pc.bios", pc->bios_ram, 0, size);
    /* Above BARs that a guest moves here by mistake. */
    region_add(pc->pci_memory, 4 * GiB - size, &pc->bios, 2);
    size_t isa_size = MIN(size, (size_t)BIOS_ISA_MAX);
    region_init_rom(&pc->bios_isa, "isa-bios", pc->bios_ram, size - isa_size, isa_size);
    region_add(pc->pci_memory, MiB - isa_size, &pc->bios_isa, 2);
    return true;
}
