/* SPDX-License-Identifier: GPL-2.0-or-later
 * Linux kernels by the x86 boot protocol 2.00 and later (Linux, Documentation/arch/x86/boot.rst):
 * zImage and bzImage, entered in real mode by firmware/linuxboot.S.
 *
 *            bzImage                                 zImage
 *   0x10000  boot sector and setup code              protected-mode part
 *   0x20000  command line                            0x90000  boot sector and setup code
 *   1 MiB    protected-mode part                     0x9a000  command line ends
 *   top      initrd, below what firmware takes at the end of memory
 */
#include <stdlib.h>
#include <string.h>

#include "hw/pc/kernel_plan.h"

/* The setup header. */
enum {
    HDR_SETUP_SECTS = 0x1f1, HDR_SYSSIZE = 0x1f4, HDR_VID_MODE = 0x1fa, HDR_BOOT_FLAG = 0x1fe,
    HDR_MAGIC = 0x202, HDR_VERSION = 0x206, HDR_TYPE_OF_LOADER = 0x210, HDR_LOADFLAGS = 0x211,
    HDR_RAMDISK_IMAGE = 0x218, HDR_RAMDISK_SIZE = 0x21c, HDR_HEAP_END_PTR = 0x224,
    HDR_CMD_LINE_PTR = 0x228, HDR_INITRD_ADDR_MAX = 0x22c, HDR_CMDLINE_SIZE = 0x238,
    HDR_PREF_ADDRESS = 0x258, HDR_INIT_SIZE = 0x260, HDR_END = 0x264,
    OLD_CL_MAGIC = 0x20, OLD_CL_OFFSET = 0x22, OLD_CL_MAGIC_VALUE = 0xa33f,
};
enum { LOADED_HIGH = 0x01, CAN_USE_HEAP = 0x80, LOADER_UNREGISTERED = 0xff };
enum { SECTOR = 512, MIN_IMAGE = 0x400, OLD_INITRD_MAX = 0x37ffffff, OLD_CMDLINE_MAX = 255 };

typedef struct LinuxImage {
    unsigned version;
    bool high;
    uint32_t setup_len, kernel_len;
    uint32_t real_addr, cmdline_addr, kernel_addr;
} LinuxImage;

static bool parse(const KernelRequest *req, LinuxImage *linux_image, Error **errp)
{
    const uint8_t *h = req->image;
    LinuxImage *l = linux_image;
    l->version = get_le16(h + HDR_VERSION);
    if (l->version < 0x200) {
        return error_set(errp, "kernel '%s' has boot protocol %u.%02u: 2.00 is the oldest that "
                               "can be started",
                         req->name, l->version >> 8, l->version & 0xff);
    }
    unsigned sects = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : 4;
    l->setup_len = (sects + 1) * SECTOR;
    if (l->setup_len >= req->len) {
        return error_set(errp, "kernel '%s' is cut off: %zu bytes, its setup code alone has %u",
                         req->name, req->len, l->setup_len);
    }
    uint64_t rest = req->len - l->setup_len;
    uint64_t sys = (uint64_t)get_le32(h + HDR_SYSSIZE) * 16;
    /* Before 2.04 the upper half of syssize was something else. Rounding leaves 15 bytes. */
    if (l->version >= 0x204 && sys > rest + 15) {
        return error_set(errp, "kernel '%s' is cut off: it says %llu bytes follow its setup "
                               "code, %llu do",
                         req->name, (unsigned long long)sys, (unsigned long long)rest);
    }
    l->high = h[HDR_LOADFLAGS] & LOADED_HIGH;
    uint64_t limit = l->high ? MIN(req->ram_top, 1ull << 31) : 0x90000;
    l->kernel_addr = l->high ? 0x100000 : 0x10000;
    if (l->kernel_addr + rest > limit) {
        return error_set(errp, "kernel '%s' does not fit into memory: %llu bytes (-m gives the "
                               "guest more)",
                         req->name, (unsigned long long)rest);
    }
    l->kernel_len = rest;
    l->real_addr = l->high ? 0x10000 : 0x90000;
    return true;
}

static bool place_cmdline(const KernelRequest *req, LinuxImage *l, Error **errp)
{
    size_t len = strlen(req->cmdline), max = OLD_CMDLINE_MAX;
    if (l->version >= 0x206 && l->setup_len >= HDR_END) {
        max = get_le32(req->image + HDR_CMDLINE_SIZE);
    }
    max = MIN(max, l->high ? 0xfff0u : 0xc00u);
    if (len > max) {
        return error_set(errp, "-append: %zu characters, kernel '%s' takes at most %zu", len,
                         req->name, max);
    }
    l->cmdline_addr = l->high ? 0x20000 : 0x9a000 - ROUND_UP((uint32_t)len + 1, 16);
    return l->real_addr + l->setup_len <= l->cmdline_addr ||
           error_set(errp, "kernel '%s' has too much setup code: %u bytes", req->name,
                     l->setup_len);
}

/* vga=MODE is the boot loader's to act on. */
static void set_video_mode(const char *cmdline, uint8_t *setup)
{
    static const struct {
        const char *name;
        uint16_t mode;
    } named[] = { { "normal", 0xffff }, { "ext", 0xfffe }, { "ask", 0xfffd } };
    const char *arg = cmdline;
    while ((arg = strstr(arg, "vga=")) && arg != cmdline && arg[-1] != ' ') {
        arg += 4;
    }
    if (!arg) {
        return;
    }
    arg += 4;
    for (size_t i = 0; i < ARRAY_SIZE(named); i++) {
        size_t len = strlen(named[i].name);
        if (strncmp(arg, named[i].name, len) == 0 && (arg[len] == ' ' || !arg[len])) {
            put_le16(setup + HDR_VID_MODE, named[i].mode);
            return;
        }
    }
    char *end;
    unsigned long mode = strtoul(arg, &end, 0);
    if (end != arg && (*end == ' ' || !*end)) {
        put_le16(setup + HDR_VID_MODE, mode);
    }
}

static bool place_initrd(const KernelRequest *req, const LinuxImage *l, uint32_t *addr,
                         Error **errp)
{
    if (req->nr_modules == 0) {
        return true;
    }
    if (req->nr_modules > 1) {
        return error_set(errp, "-initrd: Linux takes one file");
    }
    size_t len = req->module[0].len;
    uint64_t top = OLD_INITRD_MAX + 1ull;
    if (l->version >= 0x203 && l->setup_len >= HDR_END) {
        top = get_le32(req->image + HDR_INITRD_ADDR_MAX) + 1ull;
    }
    top = ROUND_DOWN(MIN(top, req->ram_top), 4096);
    /* Room that the kernel needs to unpack itself, where it says so (2.10). */
    uint64_t bottom = l->high ? l->kernel_addr + (uint64_t)l->kernel_len : 0x100000;
    if (l->version >= 0x20a && l->setup_len >= HDR_END) {
        uint64_t pref = get_le64(req->image + HDR_PREF_ADDRESS);
        uint64_t init = get_le32(req->image + HDR_INIT_SIZE);
        if (pref < top && pref + init > bottom) {
            bottom = pref + init;
        }
    }
    if (top < len || ROUND_DOWN(top - len, 4096) < bottom) {
        return error_set(errp, "initrd '%s' does not fit into memory beside the kernel: %zu "
                               "bytes (-m gives the guest more)",
                         req->module[0].name, len);
    }
    *addr = ROUND_DOWN(top - len, 4096);
    return true;
}

static uint8_t *copy(const void *from, size_t len)
{
    uint8_t *to = malloc(len ? len : 1);
    if (!to) {
        abort();
    }
    memcpy(to, from, len);
    return to;
}

bool linux_plan(const KernelRequest *req, KernelPlan *plan, Error **errp)
{
    LinuxImage l = { 0 };
    uint32_t initrd_addr = 0;
    if (req->len < MIN_IMAGE || get_le32(req->image + HDR_MAGIC) != 0x53726448) {
        return error_set(errp, "'%s' is not a Linux kernel (bzImage)", req->name);
    }
    if (!parse(req, &l, errp) || !place_cmdline(req, &l, errp) ||
        !place_initrd(req, &l, &initrd_addr, errp)) {
        return false;
    }
    *plan = (KernelPlan) { .rom = KERNEL_ROM_LINUX };
    plan->setup = (BootBlob) { l.real_addr, copy(req->image, l.setup_len), l.setup_len };
    plan->kernel = (BootBlob) { l.kernel_addr, copy(req->image + l.setup_len, l.kernel_len),
                                l.kernel_len };
    size_t cmdline_len = strlen(req->cmdline) + 1;
    plan->cmdline = (BootBlob) { l.cmdline_addr, copy(req->cmdline, cmdline_len), cmdline_len };

    uint8_t *h = plan->setup.data;
    h[HDR_TYPE_OF_LOADER] = LOADER_UNREGISTERED;
    if (l.version >= 0x201) {
        /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): parse() saw that all is there */
        h[HDR_LOADFLAGS] |= CAN_USE_HEAP;
        put_le16(h + HDR_HEAP_END_PTR, l.cmdline_addr - l.real_addr - 0x200);
    }
    if (l.version >= 0x202) {
        put_le32(h + HDR_CMD_LINE_PTR, l.cmdline_addr);
    } else {
        put_le16(h + OLD_CL_MAGIC, OLD_CL_MAGIC_VALUE);
        put_le16(h + OLD_CL_OFFSET, l.cmdline_addr - l.real_addr);
    }
    set_video_mode(req->cmdline, h);
    if (req->nr_modules) {
        size_t len = req->module[0].len;
        plan->initrd = (BootBlob) { initrd_addr, copy(req->module[0].data, len), len };
        put_le32(h + HDR_RAMDISK_IMAGE, initrd_addr);
        put_le32(h + HDR_RAMDISK_SIZE, len);
    }
    return true;
}
