/* SPDX-License-Identifier: GPL-2.0-or-later
 * ELF kernels (System V ABI, chapter 5): segments laid out at their physical addresses, notes;
 * and the info block and module area that both ELF boot protocols use.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "hw/pc/kernel_plan.h"

/* One program header, 32 or 64 bits wide in the file. */
typedef struct ProgramHeader {
    uint32_t type;
    uint64_t offset, vaddr, paddr, file_size, mem_size;
} ProgramHeader;

typedef struct ElfTable {
    uint64_t entry, ph_offset;
    unsigned ph_count, ph_size;
    bool is_64;
} ElfTable;

bool elf_is(const uint8_t *image, size_t len)
{
    return len >= sizeof(Elf32_Ehdr) && memcmp(image, ELFMAG, SELFMAG) == 0;
}

/* The header's table of program headers, if all of it lies in the file. */
static bool read_table(const uint8_t *image, size_t len, ElfTable *t)
{
    if (!elf_is(image, len)) {
        return false;
    }
    t->is_64 = image[EI_CLASS] == ELFCLASS64;
    if (t->is_64) {
        Elf64_Ehdr h;
        if (len < sizeof(h)) {
            return false;
        }
        memcpy(&h, image, sizeof(h));
        *t = (ElfTable) { h.e_entry, h.e_phoff, h.e_phnum, h.e_phentsize, true };
    } else {
        Elf32_Ehdr h;
        memcpy(&h, image, sizeof(h));
        *t = (ElfTable) { h.e_entry, h.e_phoff, h.e_phnum, h.e_phentsize, false };
    }
    size_t least = t->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    return t->ph_size >= least && t->ph_offset <= len &&
           (uint64_t)t->ph_count * t->ph_size <= len - t->ph_offset;
}

static ProgramHeader program_header(const uint8_t *image, const ElfTable *t, unsigned n)
{
    const uint8_t *at = image + t->ph_offset + (uint64_t)n * t->ph_size;
    if (t->is_64) {
        Elf64_Phdr p;
        memcpy(&p, at, sizeof(p));
        return (ProgramHeader) { p.p_type,  p.p_offset, p.p_vaddr,
                                 p.p_paddr, p.p_filesz, p.p_memsz };
    }
    Elf32_Phdr p;
    memcpy(&p, at, sizeof(p));
    return (ProgramHeader) { p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz };
}

static bool check_machine(const KernelRequest *req, Error **errp)
{
    unsigned machine = get_le16(req->image + offsetof(Elf32_Ehdr, e_machine));
    if (req->image[EI_DATA] != ELFDATA2LSB || (machine != EM_386 && machine != EM_X86_64)) {
        return error_set(errp, "kernel '%s' is an ELF file for another kind of processor",
                         req->name);
    }
    return true;
}

static bool check_segment(const KernelRequest *req, const ProgramHeader *p, Error **errp)
{
    if (p->offset > req->len || p->file_size > req->len - p->offset) {
        return error_set(errp, "kernel '%s' is cut off: a segment ends past the file", req->name);
    }
    if (p->file_size > p->mem_size) {
        return error_set(errp, "kernel '%s' is damaged: a segment is larger in the file than in "
                               "memory",
                         req->name);
    }
    if (p->paddr < KERNEL_LOW_LIMIT) {
        return error_set(errp, "kernel '%s' wants to be loaded at 0x%llx: below 1 MiB is the "
                               "firmware's",
                         req->name, (unsigned long long)p->paddr);
    }
    if (p->paddr >= req->ram_top || p->mem_size > req->ram_top - p->paddr) {
        return error_set(errp, "kernel '%s' does not fit into memory: it needs 0x%llx bytes at "
                               "0x%llx (-m gives the guest more)",
                         req->name, (unsigned long long)p->mem_size,
                         (unsigned long long)p->paddr);
    }
    return true;
}

bool elf_layout(const KernelRequest *req, ElfImage *elf, Error **errp)
{
    ElfTable t;
    if (!check_machine(req, errp)) {
        return false;
    }
    if (!read_table(req->image, req->len, &t)) {
        return error_set(errp, "kernel '%s' is cut off or damaged: its program headers are not "
                               "in the file",
                         req->name);
    }
    uint64_t first = UINT64_MAX, end = 0;
    for (unsigned n = 0; n < t.ph_count; n++) {
        ProgramHeader p = program_header(req->image, &t, n);
        if (p.type != PT_LOAD || p.mem_size == 0) {
            continue;
        }
        if (!check_segment(req, &p, errp)) {
            return false;
        }
        first = MIN(first, p.paddr);
        end = MAX(end, p.paddr + p.mem_size);
    }
    if (end == 0) {
        return error_set(errp, "kernel '%s' has nothing to load", req->name);
    }
    uint8_t *data = calloc(1, end - first);
    if (!data) {
        return error_set(errp, "no memory to load kernel '%s'", req->name);
    }
    *elf = (ElfImage) { .blob = { first, data, end - first }, .entry = t.entry, .is_64 = t.is_64,
                        .entry_phys = t.entry };
    for (unsigned n = 0; n < t.ph_count; n++) {
        ProgramHeader p = program_header(req->image, &t, n);
        if (p.type != PT_LOAD || p.mem_size == 0) {
            continue;
        }
        memcpy(data + (p.paddr - first), req->image + p.offset, p.file_size);
        if (t.entry >= p.vaddr && t.entry - p.vaddr < p.mem_size) {
            elf->entry_phys = t.entry - p.vaddr + p.paddr;
        }
    }
    return true;
}

bool elf_each_note(const uint8_t *image, size_t len,
                   bool (*fn)(const char *name, uint32_t type, const uint8_t *desc,
                              uint32_t desc_len, void *opaque),
                   void *opaque)
{
    ElfTable t;
    if (!read_table(image, len, &t)) {
        return false;
    }
    for (unsigned n = 0; n < t.ph_count; n++) {
        ProgramHeader p = program_header(image, &t, n);
        if (p.type != PT_NOTE || p.offset > len || p.file_size > len - p.offset) {
            continue;
        }
        const uint8_t *at = image + p.offset;
        uint64_t left = p.file_size;
        while (left >= 12) {
            uint32_t name_len = get_le32(at), desc_len = get_le32(at + 4);
            uint64_t name_room = ROUND_UP((uint64_t)name_len, 4);
            uint64_t desc_room = ROUND_UP((uint64_t)desc_len, 4);
            if (name_room > left - 12 || desc_room > left - 12 - name_room) {
                break;
            }
            char name[16] = "";
            memcpy(name, at + 12, MIN(name_len, (uint32_t)sizeof(name) - 1));
            if (fn(name, get_le32(at + 8), at + 12 + name_room, desc_len, opaque)) {
                return true;
            }
            at += 12 + name_room + desc_room;
            left -= 12 + name_room + desc_room;
        }
    }
    return false;
}

/* ---- the info block ---- */

void info_init(InfoBlock *info)
{
    memset(info, 0, sizeof(*info));
    info->used = INFO_HEAD;
}

size_t info_room(InfoBlock *info, size_t len)
{
    size_t at = ROUND_UP(info->used, 8);
    if (len > sizeof(info->bytes) - at) {
        return 0;
    }
    info->used = at + len;
    return at;
}

size_t info_string(InfoBlock *info, const char *text)
{
    size_t len = strlen(text) + 1, at = info_room(info, len);
    if (at) {
        memcpy(info->bytes + at, text, len);
    }
    return at;
}

void info_put32(InfoBlock *info, size_t at, uint32_t val)
{
    put_le32(info->bytes + at, val);
}

void info_put64(InfoBlock *info, size_t at, uint64_t val)
{
    put_le64(info->bytes + at, val);
}

bool info_to_blob(const InfoBlock *info, BootBlob *out)
{
    uint8_t *data = malloc(info->used);
    if (!data) {
        return false;
    }
    memcpy(data, info->bytes, info->used);
    *out = (BootBlob) { INFO_BASE, data, info->used };
    /* cppcheck-suppress memleak; it is out's */
    return true;
}

bool modules_to_blob(const KernelRequest *req, const BootBlob *kernel, BootBlob *out,
                     uint32_t *addr, Error **errp)
{
    uint64_t base = ROUND_UP(kernel->addr + (uint64_t)kernel->len, 4096), end = base;
    for (size_t i = 0; i < req->nr_modules; i++) {
        end = ROUND_UP(end, 4096);
        addr[i] = end;
        end += req->module[i].len;
        if (end > req->ram_top) {
            return error_set(errp, "module '%s' does not fit into memory behind the kernel (-m "
                                   "gives the guest more)",
                             req->module[i].name);
        }
    }
    *out = (BootBlob) { 0 };
    if (end == base) {
        return true;
    }
    uint8_t *data = calloc(1, end - base);
    if (!data) {
        return error_set(errp, "no memory to load the modules");
    }
    for (size_t i = 0; i < req->nr_modules; i++) {
        memcpy(data + (addr[i] - base), req->module[i].data, req->module[i].len);
    }
    *out = (BootBlob) { base, data, end - base };
    return true;
}
