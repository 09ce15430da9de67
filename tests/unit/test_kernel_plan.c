/* SPDX-License-Identifier: GPL-2.0-or-later
 * What becomes of -kernel images: good ones of each kind, and damaged or hostile ones, which must
 * give one line of error and never read or write out of bounds (run it under ASan).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hw/pc/kernel_plan.h"

enum { RAM_TOP = 64 << 20 };

static KernelRequest request(const uint8_t *image, size_t len)
{
    return (KernelRequest) { .name = "vmlinuz", .image = image, .len = len, .cmdline = "quiet",
                             .ram_top = RAM_TOP };
}

/* In a buffer of exactly its size, so that ASan sees every byte read past it. */
static bool plan_of(const KernelRequest *req, KernelPlan *plan, char **why)
{
    uint8_t *exact = malloc(req->len ? req->len : 1);
    memcpy(exact, req->image, req->len);
    KernelRequest copy = *req;
    copy.image = exact;
    Error *err = NULL;
    bool ok = kernel_plan(&copy, plan, &err);
    free(exact);
    *why = NULL;
    if (!ok) {
        assert_non_null(err);
        *why = strdup(error_text(err));
        assert_null(strchr(*why, '\n'));
        error_free(err);
    } else {
        assert_null(err);
    }
    return ok;
}

static void expect_error(const KernelRequest *req, const char *part)
{
    KernelPlan plan;
    char *why;
    if (plan_of(req, &plan, &why)) {
        kernel_plan_free(&plan);
        fail_msg("want an error with '%s', got a plan", part);
    }
    if (!strstr(why, part)) {
        fail_msg("want an error with '%s', got '%s'", part, why);
    }
    free(why);
}

static KernelPlan expect_plan(const KernelRequest *req)
{
    KernelPlan plan;
    char *why;
    if (!plan_of(req, &plan, &why)) {
        fail_msg("want a plan, got '%s'", why);
    }
    return plan;
}

/* ---- bzImage ---- */

enum { SETUP_SECTS = 3, SETUP_LEN = (SETUP_SECTS + 1) * 512, CODE_LEN = 4096 };

static size_t bzimage(uint8_t *p)
{
    memset(p, 0, SETUP_LEN);
    memset(p + SETUP_LEN, 0x90, CODE_LEN);
    p[0x1f1] = SETUP_SECTS;
    put_le32(p + 0x1f4, CODE_LEN / 16);
    put_le16(p + 0x1fe, 0xaa55);
    memcpy(p + 0x202, "HdrS", 4);
    put_le16(p + 0x206, 0x20f);
    p[0x211] = 1;
    put_le32(p + 0x22c, 0x7fffffff);
    put_le32(p + 0x238, 2047);
    put_le64(p + 0x258, 0x1000000);
    put_le32(p + 0x260, 0x100000);
    return SETUP_LEN + CODE_LEN;
}

static void test_linux(void **state)
{
    (void)state;
    uint8_t image[SETUP_LEN + CODE_LEN], initrd[5000] = { 1 };
    KernelRequest req = request(image, bzimage(image));
    BootModule module = { initrd, sizeof(initrd), "initrd" };
    req.module = &module;
    req.nr_modules = 1;
    req.cmdline = "a vga=0x317 b";
    KernelPlan plan = expect_plan(&req);
    assert_int_equal(plan.rom, KERNEL_ROM_LINUX);
    assert_int_equal(plan.kernel.addr, 0x100000);
    assert_int_equal(plan.kernel.len, CODE_LEN);
    assert_int_equal(plan.setup.addr, 0x10000);
    assert_int_equal(plan.setup.len, SETUP_LEN);
    assert_string_equal((char *)plan.cmdline.data, req.cmdline);
    assert_int_equal(get_le32(plan.setup.data + 0x228), plan.cmdline.addr);
    assert_int_equal(get_le32(plan.setup.data + 0x218), plan.initrd.addr);
    assert_int_equal(get_le32(plan.setup.data + 0x21c), sizeof(initrd));
    assert_int_equal(plan.initrd.addr % 4096, 0);
    assert_true(plan.initrd.addr + plan.initrd.len <= RAM_TOP);
    assert_int_equal(get_le16(plan.setup.data + 0x1fa), 0x317);
    assert_true(plan.setup.data[0x210] != 0);
    assert_true(plan.setup.data[0x211] & 0x80);
    kernel_plan_free(&plan);
}

static void test_linux_limits(void **state)
{
    (void)state;
    uint8_t image[SETUP_LEN + CODE_LEN];
    size_t len = bzimage(image);
    KernelRequest req = request(image, len);
    char *words = malloc(3000);
    memset(words, 'x', 2999);
    words[2999] = '\0';
    req.cmdline = words;
    expect_error(&req, "at most 2047");
    req.cmdline = "";
    free(words);

    BootModule module = { image, len, "initrd" };
    req.module = &module;
    req.nr_modules = 1;
    req.ram_top = 0x1000000; /* all of it is the kernel's to unpack in */
    put_le32(image + 0x260, 0x800000);
    put_le64(image + 0x258, 0x800000);
    expect_error(&req, "does not fit");
    req.ram_top = 0x100000;
    expect_error(&req, "does not fit");
    req.ram_top = 0;
    expect_error(&req, "does not fit");
}

static void test_linux_damaged(void **state)
{
    (void)state;
    uint8_t image[SETUP_LEN + CODE_LEN];
    size_t len = bzimage(image);
    KernelRequest req = request(image, len);
    for (req.len = 0; req.len < len; req.len += req.len < 0x700 ? 1 : 97) {
        expect_error(&req, "");
    }
    req.len = len - 16;
    expect_error(&req, "cut off");
    req.len = len;
    put_le16(image + 0x206, 0x1ff);
    expect_error(&req, "boot protocol 1.255");
    bzimage(image);
    image[0x1f1] = 255;
    expect_error(&req, "cut off");
    bzimage(image);
    put_le32(image + 0x1f4, 0xffffffff);
    expect_error(&req, "cut off");
    /* Fields that may say anything must not break anything. */
    for (unsigned at = 0x1f1; at < 0x264; at++) {
        for (unsigned v = 0; v < 2; v++) {
            bzimage(image);
            memset(image + at, v ? 0xff : 0x80, MIN(8u, 0x264 - at));
            BootModule module = { image, 100, "initrd" };
            req.module = &module;
            req.nr_modules = 1;
            KernelPlan plan;
            char *why;
            if (plan_of(&req, &plan, &why)) {
                kernel_plan_free(&plan);
            }
            free(why);
        }
    }
}

static void test_unknown(void **state)
{
    (void)state;
    uint8_t sector[512] = { 0 };
    KernelRequest req = request(sector, sizeof(sector));
    expect_error(&req, "is no kernel");
    put_le16(sector + 0x1fe, 0xaa55);
    expect_error(&req, "boot sector");
}

/* ---- ELF ---- */

enum { ELF_CODE = 0x400, ELF_LEN = 0x1000 };

/* One segment of 0xc00 bytes in the file and 0x2000 in memory at 1 MiB. */
static size_t elf32(uint8_t *p)
{
    memset(p, 0, ELF_LEN);
    memcpy(p, "\177ELF\1\1\1", 7);
    put_le16(p + 16, 2);
    put_le16(p + 18, 3);
    put_le32(p + 20, 1);
    put_le32(p + 24, 0xc0100010); /* entry, virtual */
    put_le32(p + 28, 52);
    put_le16(p + 40, 52);
    put_le16(p + 42, 32);
    put_le16(p + 44, 2);
    uint8_t *ph = p + 52;
    put_le32(ph, 1);
    put_le32(ph + 4, ELF_CODE);
    put_le32(ph + 8, 0xc0100000);
    put_le32(ph + 12, 0x100000);
    put_le32(ph + 16, ELF_LEN - ELF_CODE);
    put_le32(ph + 20, 0x2000);
    uint8_t *note = ph + 32;
    put_le32(note, 4);
    put_le32(note + 4, 0x200);
    put_le32(note + 16, 20);
    return ELF_LEN;
}

static void add_multiboot(uint8_t *p, uint32_t flags)
{
    put_le32(p + 0x300, 0x1badb002);
    put_le32(p + 0x304, flags);
    put_le32(p + 0x308, -(0x1badb002 + flags));
}

static void add_pvh_note(uint8_t *p)
{
    put_le32(p + 0x200, 4);
    put_le32(p + 0x204, 4);
    put_le32(p + 0x208, 18);
    memcpy(p + 0x20c, "Xen", 4);
    put_le32(p + 0x210, 0x100020);
}

static void test_multiboot(void **state)
{
    (void)state;
    uint8_t image[ELF_LEN], data[3] = { 7, 8, 9 };
    KernelRequest req = request(image, elf32(image));
    add_multiboot(image, 3);
    BootModule modules[2] = { { data, 3, "one arg" }, { data, 2, "two" } };
    req.module = modules;
    req.nr_modules = 2;
    KernelPlan plan = expect_plan(&req);
    assert_int_equal(plan.rom, KERNEL_ROM_ELF);
    assert_int_equal(plan.kernel.addr, 0x100000);
    assert_int_equal(plan.kernel.len, 0x2000);
    assert_int_equal(plan.initrd.addr, 0x102000);
    assert_int_equal(plan.initrd.len, 0x1002);
    const uint8_t *info = plan.setup.data;
    assert_int_equal(get_le32(info + INFO_EAX), 0x2badb002);
    assert_int_equal(get_le32(info + INFO_ENTRY), 0x100010); /* made physical */
    const uint8_t *mbi = info + (get_le32(info + INFO_EBX) - INFO_BASE);
    assert_int_equal(get_le32(mbi), 0x24d);
    assert_int_equal(get_le32(mbi + 20), 2);
    const uint8_t *mods = info + (get_le32(mbi + 24) - INFO_BASE);
    assert_int_equal(get_le32(mods), 0x102000);
    assert_int_equal(get_le32(mods + 4), 0x102003);
    assert_string_equal((const char *)info + (get_le32(mods + 8) - INFO_BASE), "one arg");
    assert_int_equal(get_le32(mods + 16), 0x103000);
    assert_string_equal((const char *)info + (get_le32(mbi + 16) - INFO_BASE), "vmlinuz quiet");
    kernel_plan_free(&plan);
}

static void test_multiboot_addresses(void **state)
{
    (void)state;
    uint8_t image[ELF_LEN] = { 0 };
    KernelRequest req = request(image, sizeof(image));
    uint8_t *h = image + 0x300;
    add_multiboot(image, 0x10000);
    put_le32(h + 12, 0x100300); /* header, load, load end, bss end, entry */
    put_le32(h + 16, 0x100000);
    put_le32(h + 24, 0x105000);
    put_le32(h + 28, 0x100330);
    KernelPlan plan = expect_plan(&req);
    assert_int_equal(plan.kernel.addr, 0x100000);
    assert_int_equal(plan.kernel.len, 0x5000);
    assert_int_equal(get_le32(plan.setup.data + INFO_ENTRY), 0x100330);
    kernel_plan_free(&plan);

    static const struct {
        unsigned at;
        uint32_t val;
        const char *part;
    } bad[] = {
        { 12, 0, "damaged" },           { 12, 0x100400, "damaged" },
        { 16, 0x200000, "damaged" },    { 20, 0x102000, "cut off" },
        { 20, 0xffff, "cut off" },      { 24, 0x100001, "damaged" },
        { 24, 0xffffffff, "does not fit" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint32_t old = get_le32(h + bad[i].at);
        put_le32(h + bad[i].at, bad[i].val);
        expect_error(&req, bad[i].part);
        put_le32(h + bad[i].at, old);
    }
    put_le32(h + 12, 0x300);
    put_le32(h + 16, 0);
    expect_error(&req, "below 1 MiB");
    add_multiboot(image, 0x10008);
    expect_error(&req, "requires Multiboot features 0x8");
    add_multiboot(image, 0x10000);
    for (req.len = 0x30c; req.len < 0x320; req.len++) {
        expect_error(&req, "cut off");
    }
    add_multiboot(image, 0);
    expect_error(&req, "no ELF file");
}

static void test_pvh(void **state)
{
    (void)state;
    uint8_t image[ELF_LEN];
    KernelRequest req = request(image, elf32(image));
    expect_error(&req, "neither a Multiboot header nor a PVH entry");
    add_pvh_note(image);
    KernelPlan plan = expect_plan(&req);
    const uint8_t *info = plan.setup.data;
    assert_int_equal(get_le32(info + INFO_ENTRY), 0x100020);
    assert_int_equal(get_le32(info + INFO_FORMAT), INFO_FORMAT_PVH);
    const uint8_t *start = info + (get_le32(info + INFO_EBX) - INFO_BASE);
    assert_int_equal(get_le32(start), 0x336ec578);
    assert_string_equal((const char *)info + (get_le64(start + 24) - INFO_BASE), "quiet");
    kernel_plan_free(&plan);
}

static void test_elf_hostile(void **state)
{
    (void)state;
    uint8_t image[ELF_LEN];
    static const struct {
        unsigned at, width;
        uint64_t val;
        const char *part;
    } bad[] = {
        { 28, 4, 0xffffffff, "" },          /* program headers outside */
        { 44, 2, 0xffff, "" },              /* too many */
        { 42, 2, 1, "" },                   /* too small */
        { 18, 2, 40, "another kind" },      /* ARM */
        { 52 + 4, 4, 0xfffff000, "cut off" },
        { 52 + 16, 4, 0xffffffff, "cut off" },
        { 52 + 20, 4, 0x10, "damaged" },    /* memory smaller than file */
        { 52 + 20, 4, 0xffffffff, "does not fit" },
        { 52 + 12, 4, 0xfffff000, "does not fit" },
        { 52 + 12, 4, 0x7c00, "below 1 MiB" },
        { 52 + 0, 4, 0, "nothing to load" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        KernelRequest req = request(image, elf32(image));
        add_pvh_note(image);
        add_multiboot(image, 0);
        memcpy(image + bad[i].at, &bad[i].val, bad[i].width);
        expect_error(&req, bad[i].part);
        put_le32(image + 0x300, 0); /* the same by way of PVH */
        expect_error(&req, "");
    }
    /* Notes that claim more than there is. */
    for (unsigned at = 0x200; at < 0x20c; at++) {
        KernelRequest req = request(image, elf32(image));
        add_pvh_note(image);
        memset(image + at, 0xff, 0x20c - at);
        expect_error(&req, "PVH entry");
    }
    KernelRequest req = request(image, elf32(image));
    add_pvh_note(image);
    for (req.len = 4; req.len < ELF_LEN; req.len += 13) {
        expect_error(&req, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linux),
        cmocka_unit_test(test_linux_limits),
        cmocka_unit_test(test_linux_damaged),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_multiboot),
        cmocka_unit_test(test_multiboot_addresses),
        cmocka_unit_test(test_pvh),
        cmocka_unit_test(test_elf_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
