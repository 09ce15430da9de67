/* SPDX-License-Identifier: GPL-2.0-or-later
 * Firmware files: BIOS images and option ROMs, by name or path.
 */
#ifndef HW_CORE_FIRMWARE_H
#define HW_CORE_FIRMWARE_H

#include "util/error.h"

struct Machine;

/* Where name is: as it stands if it has a slash or exists, else in the machine's firmware
 * directories (-L first), else in the places distributions use. A new string, NULL if nowhere. */
char *firmware_find(const struct Machine *m, const char *name);
/* Reads a whole file of 1..max bytes; a new buffer, NULL with *errp. */
uint8_t *file_load(const char *path, size_t max, size_t *size, Error **errp);
/* Both: a missing file's error names the Debian package that brings it, if it is known. */
uint8_t *firmware_load(const struct Machine *m, const char *name, size_t max, size_t *size,
                       Error **errp);
/* "seabios" for bios-256k.bin and vgabios-*.bin, and so on; NULL if unknown. */
const char *firmware_package(const char *name);

#endif
