/* SPDX-License-Identifier: GPL-2.0-or-later
 * Multiboot 1 kernels (Multiboot Specification 0.6.96): 32-bit ELF files, or any file whose
 * header carries load addresses (the "a.out kludge"). Modules come from -initrd. Not there:
 * video modes (the kernel finds text mode), drives, APM and VBE tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/pc/kernel_plan.h"

enum { HEADER_MAGIC = 0x1badb002, BOOT_MAGIC = 0x2badb002, SEARCH = 8192, HEADER_LEN = 12,
       HEADER_ADDR_LEN = 32 };
enum { WANT_PAGE_ALIGN = 1 << 0, WANT_MEMORY = 1 << 1, WANT_VIDEO = 1 << 2,
       HAS_ADDRESSES = 1 << 16, KNOWN_REQUIREMENTS = 7 };
/* Boot information: flags and offsets (3.3). */
enum { MBI_MEM = 1 << 0, MBI_CMDLINE = 1 << 2, MBI_MODS = 1 << 3, MBI_MMAP = 1 << 6,
       MBI_LOADER = 1 << 9 };
enum { MBI_FLAGS = 0, MBI_MEM_LOWER = 4, MBI_MEM_UPPER = 8, MBI_CMDLINE_PTR = 16,
       MBI_MODS_COUNT = 20, MBI_MODS_ADDR = 24, MBI_MMAP_LENGTH = 44, MBI_MMAP_ADDR = 48,
       MBI_LOADER_NAME = 64, MBI_LEN = 116 };
enum { MODULE_LEN = 16, LOWER_KB = 639 };

size_t multiboot_find_header(const uint8_t *image, size_t len)
{
    size_t end = MIN(len, (size_t)SEARCH);
    for (size_t at = 0; at + HEADER_LEN <= end; at += 4) {
        if (get_le32(image + at) == HEADER_MAGIC &&
            get_le32(image + at) + get_le32(image + at + 4) + get_le32(image + at + 8) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

/* Load addresses from the header itself (3.1.3). */
static bool layout_by_header(const KernelRequest *req, size_t at, ElfImage *out, Error **errp)
{
    if (at + HEADER_ADDR_LEN > req->len) {
        return error_set(errp, "kernel '%s' is cut off in its Multiboot header", req->name);
    }
    const uint8_t *h = req->image + at;
    uint32_t header = get_le32(h + 12), load = get_le32(h + 16), load_end = get_le32(h + 20);
    uint32_t bss_end = get_le32(h + 24), entry = get_le32(h + 28);
    if (load > header || header - load > at) {
        return error_set(errp, "kernel '%s' has a damaged Multiboot header: load address 0x%x, "
                               "header address 0x%x",
                         req->name, load, header);
    }
    uint64_t offset = at - (header - load);
    uint64_t file_size = req->len - offset;
    if (load_end) {
        if (load_end < load || load_end - load > file_size) {
            return error_set(errp, "kernel '%s' is cut off: its Multiboot header says it ends "
                                   "at 0x%x",
                             req->name, load_end);
        }
        file_size = load_end - load;
    }
    uint64_t mem_size = file_size;
    if (bss_end) {
        if (bss_end < load || bss_end - load < file_size) {
            return error_set(errp, "kernel '%s' has a damaged Multiboot header: bss_end_addr "
                                   "0x%x",
                             req->name, bss_end);
        }
        mem_size = bss_end - load;
    }
    if (load < KERNEL_LOW_LIMIT) {
        return error_set(errp, "kernel '%s' wants to be loaded at 0x%x: below 1 MiB is the "
                               "firmware's",
                         req->name, load);
    }
    if (load + mem_size > req->ram_top) {
        return error_set(errp, "kernel '%s' does not fit into memory (-m gives the guest more)",
                         req->name);
    }
    uint8_t *data = calloc(1, mem_size ? mem_size : 1);
    if (!data) {
        return error_set(errp, "no memory to load kernel '%s'", req->name);
    }
    memcpy(data, req->image + offset, file_size);
    *out = (ElfImage) { .blob = { load, data, mem_size }, .entry = entry, .entry_phys = entry };
    /* cppcheck-suppress memleak; it is out's */
    return true;
}

static bool layout(const KernelRequest *req, size_t at, ElfImage *out, Error **errp)
{
    uint32_t flags = get_le32(req->image + at + 4);
    if (flags & 0xffff & ~KNOWN_REQUIREMENTS) {
        return error_set(errp, "kernel '%s' requires Multiboot features 0x%x that are not there",
                         req->name, flags & 0xffff & ~KNOWN_REQUIREMENTS);
    }
    if (flags & WANT_VIDEO) {
        warn_report("kernel '%s' asks for a video mode: it gets text mode", req->name);
    }
    if (flags & HAS_ADDRESSES) {
        return layout_by_header(req, at, out, errp);
    }
    if (!elf_is(req->image, req->len)) {
        return error_set(errp, "kernel '%s' has a Multiboot header without load addresses, but "
                               "is no ELF file",
                         req->name);
    }
    if (!elf_layout(req, out, errp)) {
        return false;
    }
    if (out->is_64) {
        free(out->blob.data);
        return error_set(errp, "kernel '%s' is a 64-bit ELF file: Multiboot 1 starts 32-bit code "
                               "(objcopy -O elf32-i386 makes one)",
                         req->name);
    }
    return true;
}

static size_t add_modules(const KernelRequest *req, InfoBlock *info, const uint32_t *addr)
{
    size_t list = info_room(info, MODULE_LEN * req->nr_modules);
    for (size_t i = 0; list && i < req->nr_modules; i++) {
        size_t entry = list + i * MODULE_LEN, name = info_string(info, req->module[i].name);
        if (!name) {
            return 0;
        }
        info_put32(info, entry, addr[i]);
        info_put32(info, entry + 4, addr[i] + req->module[i].len);
        info_put32(info, entry + 8, INFO_BASE + name);
    }
    return list;
}

/* The block is small, so a long command line or list of modules may not fit. */
static bool build_info(const KernelRequest *req, const ElfImage *elf, const uint32_t *module,
                       InfoBlock *info)
{
    info_init(info);
    size_t map = info_room(info, INFO_MAP_ENTRIES * INFO_MAP_STRIDE);
    size_t mbi = info_room(info, MBI_LEN);
    char *cmdline;
    if (asprintf(&cmdline, "%s%s%s", req->name, *req->cmdline ? " " : "", req->cmdline) < 0) {
        abort();
    }
    size_t text = info_string(info, cmdline), loader = info_string(info, "Vireo");
    free(cmdline);
    uint32_t flags = MBI_MEM | MBI_CMDLINE | MBI_MMAP | MBI_LOADER;
    if (!map || !mbi || !text || !loader) {
        return false;
    }
    if (req->nr_modules) {
        size_t list = add_modules(req, info, module);
        if (!list) {
            return false;
        }
        flags |= MBI_MODS;
        info_put32(info, mbi + MBI_MODS_COUNT, req->nr_modules);
        info_put32(info, mbi + MBI_MODS_ADDR, INFO_BASE + list);
    }
    info_put32(info, mbi + MBI_FLAGS, flags);
    info_put32(info, mbi + MBI_MEM_LOWER, LOWER_KB);
    info_put32(info, mbi + MBI_CMDLINE_PTR, INFO_BASE + text);
    info_put32(info, mbi + MBI_LOADER_NAME, INFO_BASE + loader);
    info_put32(info, mbi + MBI_MMAP_ADDR, INFO_BASE + map);

    info_put32(info, INFO_EAX, BOOT_MAGIC);
    info_put32(info, INFO_EBX, INFO_BASE + mbi);
    info_put32(info, INFO_ENTRY, elf->entry_phys);
    info_put32(info, INFO_MAP, map);
    info_put32(info, INFO_MAP_MAX, INFO_MAP_ENTRIES);
    info_put32(info, INFO_MAP_SIZE, mbi + MBI_MMAP_LENGTH);
    info_put32(info, INFO_UPPER, mbi + MBI_MEM_UPPER);
    info_put32(info, INFO_FORMAT, INFO_FORMAT_MULTIBOOT);
    return true;
}

bool multiboot_plan(const KernelRequest *req, KernelPlan *plan, Error **errp)
{
    size_t at = multiboot_find_header(req->image, req->len);
    if (at == SIZE_MAX) {
        return error_set(errp, "kernel '%s' has no Multiboot header", req->name);
    }
    ElfImage elf;
    if (!layout(req, at, &elf, errp)) {
        return false;
    }
    *plan = (KernelPlan) { .rom = KERNEL_ROM_ELF, .kernel = elf.blob };
    uint32_t *module = calloc(req->nr_modules + 1, sizeof(*module));
    InfoBlock *info = malloc(sizeof(*info));
    bool ok = module && info;
    if (!ok) {
        error_set(errp, "no memory to load kernel '%s'", req->name);
    } else if (!modules_to_blob(req, &plan->kernel, &plan->initrd, module, errp)) {
        ok = false;
    } else if (!build_info(req, &elf, module, info) || !info_to_blob(info, &plan->setup)) {
        ok = error_set(errp, "kernel '%s': command line and module names are too long",
                       req->name);
    }
    free(module);
    free(info);
    if (!ok) {
        kernel_plan_free(plan);
    }
    return ok;
}
