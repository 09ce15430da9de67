/* SPDX-License-Identifier: GPL-2.0-or-later
 * PVH kernels: ELF files whose Xen note PHYS32_ENTRY names a 32-bit entry point (Xen,
 * docs/misc/pvh.pandoc; layout of the start info: public/arch-x86/hvm/start_info.h). Linux's
 * vmlinux is one if CONFIG_PVH is set.
 */
#include <stdlib.h>
#include <string.h>

#include "hw/pc/kernel_plan.h"

enum { NOTE_PHYS32_ENTRY = 18, START_MAGIC = 0x336ec578 };
enum { START_VERSION = 4, START_NR_MODULES = 12, START_MODLIST = 16, START_CMDLINE = 24,
       START_MEMMAP = 40, START_MEMMAP_ENTRIES = 48, START_LEN = 56 };
enum { MODULE_ADDR = 0, MODULE_SIZE = 8, MODULE_LEN = 32 };

static bool take_entry(const char *name, uint32_t type, const uint8_t *desc, uint32_t desc_len,
                       void *opaque)
{
    if (type != NOTE_PHYS32_ENTRY || strcmp(name, "Xen") != 0 || desc_len < 4) {
        return false;
    }
    *(uint32_t *)opaque = get_le32(desc);
    return true;
}

static bool build_info(const KernelRequest *req, uint32_t entry, uint32_t module,
                       InfoBlock *info)
{
    info_init(info);
    size_t map = info_room(info, INFO_MAP_ENTRIES * INFO_MAP_STRIDE);
    size_t start = info_room(info, START_LEN), list = info_room(info, MODULE_LEN);
    size_t text = info_string(info, req->cmdline);
    if (!map || !start || !list || !text) {
        return false;
    }
    info_put32(info, start, START_MAGIC);
    info_put32(info, start + START_VERSION, 1);
    info_put64(info, start + START_CMDLINE, INFO_BASE + text);
    info_put64(info, start + START_MEMMAP, INFO_BASE + map);
    if (req->nr_modules) {
        info_put32(info, start + START_NR_MODULES, 1);
        info_put64(info, start + START_MODLIST, INFO_BASE + list);
        info_put64(info, list + MODULE_ADDR, module);
        info_put64(info, list + MODULE_SIZE, req->module[0].len);
    }
    info_put32(info, INFO_EBX, INFO_BASE + start);
    info_put32(info, INFO_ENTRY, entry);
    info_put32(info, INFO_MAP, map);
    info_put32(info, INFO_MAP_MAX, INFO_MAP_ENTRIES);
    info_put32(info, INFO_MAP_SIZE, start + START_MEMMAP_ENTRIES);
    info_put32(info, INFO_FORMAT, INFO_FORMAT_PVH);
    return true;
}

bool pvh_plan(const KernelRequest *req, KernelPlan *plan, Error **errp)
{
    uint32_t entry, module = 0;
    if (!elf_each_note(req->image, req->len, take_entry, &entry)) {
        return error_set(errp, "kernel '%s' is an ELF file with neither a Multiboot header nor a "
                               "PVH entry point: use the bzImage (vmlinuz), or build it with "
                               "CONFIG_PVH",
                         req->name);
    }
    if (req->nr_modules > 1) {
        return error_set(errp, "-initrd: Linux takes one file");
    }
    ElfImage elf;
    if (!elf_layout(req, &elf, errp)) {
        return false;
    }
    *plan = (KernelPlan) { .rom = KERNEL_ROM_ELF, .kernel = elf.blob };
    InfoBlock *info = malloc(sizeof(*info));
    bool ok = info && modules_to_blob(req, &plan->kernel, &plan->initrd, &module, errp);
    if (ok && (!build_info(req, entry, module, info) || !info_to_blob(info, &plan->setup))) {
        ok = error_set(errp, "kernel '%s': the command line is too long", req->name);
    } else if (!info) {
        error_set(errp, "no memory to load kernel '%s'", req->name);
    }
    free(info);
    if (!ok) {
        kernel_plan_free(plan);
    }
    return ok;
}
