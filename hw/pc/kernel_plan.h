/* SPDX-License-Identifier: GPL-2.0-or-later
 * How a -kernel image is to be started: which option ROM, and what it copies where. Made by
 * pure functions from the files' bytes, which come from anywhere and are checked here.
 */
#ifndef HW_PC_KERNEL_PLAN_H
#define HW_PC_KERNEL_PLAN_H

#include "util/error.h"

/* Bytes and the guest physical address they go to. data is malloc'ed, NULL if len is 0. */
typedef struct BootBlob {
    uint32_t addr;
    uint8_t *data;
    size_t len;
} BootBlob;

typedef struct KernelPlan {
    enum { KERNEL_ROM_LINUX, KERNEL_ROM_ELF } rom;
    BootBlob kernel, initrd, cmdline, setup;
} KernelPlan;
void kernel_plan_free(KernelPlan *plan);

/* A file of -initrd: one for Linux and PVH, any number for Multiboot. */
typedef struct BootModule {
    const uint8_t *data;
    size_t len;
    const char *name; /* as given: "file arguments", Multiboot's module string */
} BootModule;

/* What was asked for. */
typedef struct KernelRequest {
    const char *name; /* for messages */
    const uint8_t *image;
    size_t len;
    const char *cmdline; /* never NULL */
    const BootModule *module;
    size_t nr_modules;
    uint64_t ram_top; /* end of RAM below 4 GiB that firmware leaves alone */
} KernelRequest;

typedef enum KernelKind { KERNEL_UNKNOWN, KERNEL_LINUX, KERNEL_MULTIBOOT, KERNEL_ELF } KernelKind;
KernelKind kernel_kind(const uint8_t *image, size_t len);
/* Any of the three below, by what the image is. */
bool kernel_plan(const KernelRequest *req, KernelPlan *plan, Error **errp) MUST_USE;

bool linux_plan(const KernelRequest *req, KernelPlan *plan, Error **errp) MUST_USE;
bool multiboot_plan(const KernelRequest *req, KernelPlan *plan, Error **errp) MUST_USE;
bool pvh_plan(const KernelRequest *req, KernelPlan *plan, Error **errp) MUST_USE;
size_t multiboot_find_header(const uint8_t *image, size_t len); /* offset, SIZE_MAX if none */

/* ---- for Multiboot and PVH (elf_image.c) ---- */

enum { KERNEL_LOW_LIMIT = 0x100000 }; /* nothing is loaded below: firmware lives there */

/* An ELF file's segments laid out as one blob at their physical addresses. */
typedef struct ElfImage {
    BootBlob blob;
    uint64_t entry; /* as the header has it: virtual if the kernel is linked high */
    uint32_t entry_phys;
    bool is_64;
} ElfImage;
bool elf_is(const uint8_t *image, size_t len);
bool elf_layout(const KernelRequest *req, ElfImage *elf, Error **errp) MUST_USE;
/* Calls fn for each note of PT_NOTE segments until it returns true; returns whether one did. */
bool elf_each_note(const uint8_t *image, size_t len,
                   bool (*fn)(const char *name, uint32_t type, const uint8_t *desc,
                              uint32_t desc_len, void *opaque),
                   void *opaque);

/* The info block of firmware/elfboot.S: a head that its ROM reads, then whatever the kernel is
 * to find, built by appending. Addresses are those at run time. */
typedef struct InfoBlock {
    uint8_t bytes[0x10000];
    size_t used;
} InfoBlock;
enum { INFO_BASE = 0x20000, INFO_MAP_ENTRIES = 128, INFO_MAP_STRIDE = 24 };
enum { INFO_EAX = 0, INFO_EBX = 4, INFO_ENTRY = 8, INFO_MAP = 12, INFO_MAP_MAX = 16,
       INFO_MAP_SIZE = 20, INFO_UPPER = 24, INFO_FORMAT = 28, INFO_HEAD = 32 };
enum { INFO_FORMAT_MULTIBOOT = 0, INFO_FORMAT_PVH = 1 };
void info_init(InfoBlock *info);
/* Zeroed room; its offset, 0 if the block is full. */
size_t info_room(InfoBlock *info, size_t len);
size_t info_string(InfoBlock *info, const char *text);
void info_put32(InfoBlock *info, size_t at, uint32_t val);
void info_put64(InfoBlock *info, size_t at, uint64_t val);
bool info_to_blob(const InfoBlock *info, BootBlob *out);
/* Puts all modules page-aligned behind the kernel, as one blob; addr[i] says where each went. */
bool modules_to_blob(const KernelRequest *req, const BootBlob *kernel, BootBlob *out,
                     uint32_t *addr, Error **errp) MUST_USE;

static inline uint16_t get_le16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}
static inline uint32_t get_le32(const uint8_t *p)
{
    return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}
static inline uint64_t get_le64(const uint8_t *p)
{
    return get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}
static inline void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = v;
    p[1] = v >> 8;
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
    put_le16(p, v);
    put_le16(p + 2, v >> 16);
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    put_le32(p, v);
    put_le32(p + 4, v >> 32);
}

#endif
