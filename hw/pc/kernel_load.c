/* SPDX-License-Identifier: GPL-2.0-or-later
 * -kernel, -initrd and -append: reads the files, finds out what they are, and hands the plan to
 * the guest through fw_cfg and one of our option ROMs (firmware/).
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hw/core/firmware.h"
#include "hw/pc/fw_cfg.h"
#include "hw/pc/kernel_plan.h"
#include "hw/pc/pc.h"

extern const uint8_t option_rom_linuxboot[], option_rom_linuxboot_end[];
extern const uint8_t option_rom_elfboot[], option_rom_elfboot_end[];

enum { ROM_SIZE_BYTE = 2, ROM_CHECKSUM = 7, ROM_UNIT = 512 };
/* SeaBIOS keeps ACPI tables and its own memory right below the end of low RAM. */
enum { FIRMWARE_RESERVE = 0x100000 };
enum { MAX_MODULES = 64 };

void kernel_plan_free(KernelPlan *plan)
{
    free(plan->kernel.data);
    free(plan->initrd.data);
    free(plan->cmdline.data);
    free(plan->setup.data);
    *plan = (KernelPlan) { 0 };
}

KernelKind kernel_kind(const uint8_t *image, size_t len)
{
    if (len >= 0x400 && memcmp(image + 0x202, "HdrS", 4) == 0) {
        return KERNEL_LINUX;
    }
    if (multiboot_find_header(image, len) != SIZE_MAX) {
        return KERNEL_MULTIBOOT;
    }
    return elf_is(image, len) ? KERNEL_ELF : KERNEL_UNKNOWN;
}

bool kernel_plan(const KernelRequest *req, KernelPlan *plan, Error **errp)
{
    switch (kernel_kind(req->image, req->len)) {
    case KERNEL_LINUX: return linux_plan(req, plan, errp);
    case KERNEL_MULTIBOOT: return multiboot_plan(req, plan, errp);
    case KERNEL_ELF: return pvh_plan(req, plan, errp);
    case KERNEL_UNKNOWN: break;
    }
    if (req->len >= 0x200 && get_le16(req->image + 0x1fe) == 0xaa55) {
        return error_set(errp, "'%s' is a boot sector or disk image, not a kernel: try it as a "
                               "disk (-hda, -cdrom)",
                         req->name);
    }
    return error_set(errp, "'%s' is no kernel that can be started (bzImage, Multiboot, ELF with "
                           "PVH entry)",
                     req->name);
}

/* ---- files ---- */

typedef struct Files {
    uint8_t *kernel;
    BootModule module[MAX_MODULES];
    size_t nr;
} Files;

static void free_files(Files *f)
{
    free(f->kernel);
    for (size_t i = 0; i < f->nr; i++) {
        free((void *)f->module[i].data);
        free((void *)f->module[i].name);
    }
}

/* The next word of a list "a b,c,,d": up to a comma, two of them being one. A new string. */
static char *next_item(const char **list)
{
    char *item = malloc(strlen(*list) + 1), *to = item;
    assert(item);
    const char *p = *list;
    while (*p && (*p != ',' || p[1] == ',')) {
        p += *p == ',';
        *to++ = *p++;
    }
    *to = '\0';
    *list = *p ? p + 1 : NULL;
    return item;
}

/* Multiboot modules are a list of "FILE arguments"; Linux has one file, whose name may well hold
 * commas and blanks. */
static bool read_modules(Files *f, const char *initrd, bool is_list, Error **errp)
{
    const char *rest = initrd;
    while (rest && *rest) {
        char *item = is_list ? next_item(&rest) : strdup(rest);
        rest = is_list ? rest : NULL;
        if (f->nr == MAX_MODULES) {
            free(item);
            return error_set(errp, "-initrd: more than %d modules", MAX_MODULES);
        }
        char *path = strdup(item);
        assert(path);
        if (is_list) {
            path[strcspn(path, " ")] = '\0';
        }
        size_t len = 0;
        uint8_t *data = file_load(path, UINT32_MAX, &len, errp);
        free(path);
        if (!data) {
            free(item);
            return error_prefix(errp, "-initrd: ");
        }
        f->module[f->nr++] = (BootModule) { data, len, item };
    }
    return true;
}

/* ---- handing over ---- */

static void give_blob(Device *fw, BootBlob *blob, unsigned addr_key, unsigned size_key,
                      unsigned data_key)
{
    fw_cfg_add_u32(fw, addr_key, blob->addr);
    fw_cfg_add_u32(fw, size_key, blob->len);
    if (blob->data) {
        fw_cfg_add_bytes(fw, data_key, blob->data, blob->len);
        blob->data = NULL; /* fw_cfg has it now */
    }
}

static void add_rom(PcMachine *pc, const char *name, const uint8_t *start, const uint8_t *end)
{
    size_t len = ROUND_UP((size_t)(end - start) + 1, (size_t)ROM_UNIT);
    uint8_t *rom = calloc(1, len), sum = 0;
    assert(rom);
    memcpy(rom, start, end - start);
    rom[ROM_SIZE_BYTE] = len / ROM_UNIT;
    for (size_t i = 0; i < len; i++) {
        sum += rom[i];
    }
    rom[ROM_CHECKSUM] -= sum;
    char path[FW_CFG_NAME_MAX] = "genroms/";
    strcat(path, name);
    fw_cfg_add_file(pc->machine->fw_cfg, path, rom, len);
    pc_add_boot_rom(pc, name);
}

static void give_plan(PcMachine *pc, KernelPlan *plan)
{
    Device *fw = pc->machine->fw_cfg;
    give_blob(fw, &plan->kernel, FW_CFG_KERNEL_ADDR, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA);
    give_blob(fw, &plan->initrd, FW_CFG_INITRD_ADDR, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA);
    give_blob(fw, &plan->cmdline, FW_CFG_CMDLINE_ADDR, FW_CFG_CMDLINE_SIZE,
              FW_CFG_CMDLINE_DATA);
    give_blob(fw, &plan->setup, FW_CFG_SETUP_ADDR, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA);
    if (plan->rom == KERNEL_ROM_LINUX) {
        add_rom(pc, "linuxboot.bin", option_rom_linuxboot, option_rom_linuxboot_end);
    } else {
        add_rom(pc, "elfboot.bin", option_rom_elfboot, option_rom_elfboot_end);
    }
}

bool pc_load_kernel(PcMachine *pc, Error **errp)
{
    const MachineConfig *config = &pc->machine->config;
    if (!config->kernel) {
        if (config->initrd || (config->append && *config->append)) {
            return error_set(errp, "%s needs -kernel", config->initrd ? "-initrd" : "-append");
        }
        return true;
    }
    Files f = { 0 };
    KernelRequest req = {
        .name = config->kernel,
        .cmdline = config->append ? config->append : "",
        .module = f.module,
        .ram_top = pc->ram_below_4g > 2 * FIRMWARE_RESERVE ? pc->ram_below_4g - FIRMWARE_RESERVE
                                                           : 0,
    };
    req.image = f.kernel = file_load(config->kernel, UINT32_MAX, &req.len, errp);
    if (!f.kernel) {
        return error_prefix(errp, "-kernel: ");
    }
    bool is_list = kernel_kind(req.image, req.len) == KERNEL_MULTIBOOT;
    KernelPlan plan;
    bool ok = read_modules(&f, config->initrd, is_list, errp);
    req.nr_modules = f.nr;
    ok = ok && kernel_plan(&req, &plan, errp);
    if (ok) {
        give_plan(pc, &plan);
    }
    free_files(&f);
    return ok;
}
