/* SPDX-License-Identifier: GPL-2.0-or-later
 * Firmware configuration device: numbered items and named files that firmware and option ROMs
 * read. Items are added while the machine is built or reset, vm_lock held; a guest only reads.
 */
#ifndef HW_PC_FW_CFG_H
#define HW_PC_FW_CFG_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(fw_cfg);

/* Items with fixed numbers. */
enum {
    FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_UUID = 0x02, FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04, FW_CFG_NB_CPUS = 0x05, FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07, FW_CFG_KERNEL_SIZE = 0x08, FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b, FW_CFG_BOOT_DEVICE = 0x0c, FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e, FW_CFG_MAX_CPUS = 0x0f, FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11, FW_CFG_INITRD_DATA = 0x12, FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14, FW_CFG_CMDLINE_DATA = 0x15, FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17, FW_CFG_SETUP_DATA = 0x18, FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ARCH_LOCAL = 0x8000, FW_CFG_IRQ0_OVERRIDE = 0x8002,
};
enum { FW_CFG_NAME_MAX = 56 };

/* data: malloc'ed; taken. An item of the same key is replaced. */
void fw_cfg_add_bytes(Device *fw_cfg, unsigned key, void *data, size_t len);
void fw_cfg_add_u16(Device *fw_cfg, unsigned key, uint16_t val);
void fw_cfg_add_u32(Device *fw_cfg, unsigned key, uint32_t val);
void fw_cfg_add_u64(Device *fw_cfg, unsigned key, uint64_t val);
/* data: malloc'ed; taken. A file of the same name is replaced. Names are at most 55 bytes. */
void fw_cfg_add_file(Device *fw_cfg, const char *name, void *data, size_t len);
/* Copies instead of taking. */
void fw_cfg_add_file_copy(Device *fw_cfg, const char *name, const void *data, size_t len);
/* A file's content, NULL if there is none of that name. */
const uint8_t *fw_cfg_file(Device *fw_cfg, const char *name, size_t *len);

#endif
