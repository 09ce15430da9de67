/* SPDX-License-Identifier: GPL-2.0-or-later
 * Windows: that each rule of cpu/window.h and cpu/window_checked.h (W1 to W7) is kept.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cpu/mem.h"
#include "tests/unit/cpu_box.h"

/* ---- what the host lets a window's addresses be used for ---- */

static int device(const char *path, int flags)
{
    int fd = open(path, flags);
    assert_true(fd >= 0);
    return fd;
}

static bool readable(const uint8_t *p)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    bool ok = write(fds[1], p, 1) == 1;
    close(fds[0]);
    close(fds[1]);
    return ok;
}

/* Sets it to 0 if it is. */
static bool writable(uint8_t *p)
{
    int fd = device("/dev/zero", O_RDONLY);
    bool ok = read(fd, p, 1) == 1;
    close(fd);
    return ok;
}

/* ---- without paging ---- */

enum { ROM_AT = 0x300000, ROM_SIZE = 0x2000, CODE = 0x9000 };

static int setup(void **state)
{
    assert_int_equal(box_setup(state), 0);
    Box *b = *state;
    box_protect(b);
    b->cpu->window = window_new(b->cpu, NULL);
    b->cpu->checked_window = checked_window_new(b->cpu, NULL);
    assert_non_null(b->cpu->window);
    assert_non_null(b->cpu->checked_window);
    b->cpu->jit = (struct JitCpu *)b; /* there is a translator */
    tlb_select(b->cpu);
    window_refresh(b->cpu);
    return 0;
}

static int teardown(void **state)
{
    Box *b = *state;
    window_free(b->cpu->window);
    checked_window_free(b->cpu->checked_window);
    b->cpu->window = NULL;
    b->cpu->checked_window = NULL;
    b->cpu->jit = NULL;
    return box_teardown(state);
}

static uint8_t *bare(const Box *b, uint64_t lin)
{
    return window_base(b->cpu->window) + lin;
}

static void test_bare_is_memory(void **state)
{
    Box *b = *state;
    box_put(b, 0x5000, 0x12, 1);
    assert_int_equal(*bare(b, 0x5000), 0x12);
    *bare(b, BOX_RAM - 1) = 0x34;
    assert_int_equal(box_get(b, BOX_RAM - 1, 1), 0x34);
    assert_false(readable(bare(b, BOX_RAM)));
    assert_false(readable(bare(b, WINDOW_SIZE - 1)));
    assert_false(readable(bare(b, WINDOW_SIZE)));
    assert_int_equal(window_mapped(b->cpu->window), BOX_RAM);
    /* CpuState lies in front of it, in both windows. */
    b->cpu->gpr[REG_RBX] = 0x5678;
    const CpuState *same = (const CpuState *)(bare(b, 0) - WINDOW_ABOVE);
    assert_int_equal(same->gpr[REG_RBX], 0x5678);
    same = (const CpuState *)(checked_window_base(b->cpu->checked_window) - WINDOW_ABOVE);
    assert_int_equal(same->gpr[REG_RBX], 0x5678);
    uint64_t lin;
    assert_true(window_find(bare(b, 0), bare(b, 0x7000), &lin) && lin == 0x7000);
    assert_true(window_find(bare(b, 0), bare(b, WINDOW_SIZE + 3), &lin));
    assert_false(window_find(bare(b, 0), bare(b, 0) - 1, &lin));
}

/* The map is taken over when the view is refreshed, ROM read-only; what stays is not mapped anew. */
static void test_bare_follows_map(void **state)
{
    Box *b = *state;
    Region rom, device_region;
    static const RegionOps ops;
    RamBlock *block = ram_block_new("rom", ROM_SIZE, NULL);
    block->host[0] = 0x77;
    vm_lock();
    region_init_ram(&rom, "rom", block, 0, ROM_SIZE);
    region_set_readonly(&rom, true);
    region_add(&b->m.memory_root, ROM_AT, &rom, 0);
    region_init_io(&device_region, NULL, &ops, NULL, PAGE_SIZE);
    region_add(&b->m.memory_root, 0x8000, &device_region, 1);
    vm_unlock();
    window_refresh(b->cpu);
    assert_false(readable(bare(b, ROM_AT)));
    mmu_refresh_view(b->cpu);
    window_refresh(b->cpu);
    assert_int_equal(*bare(b, ROM_AT), 0x77);
    assert_false(writable(bare(b, ROM_AT)));
    assert_false(window_heal(b->cpu->window, ROM_AT));
    assert_true(writable(bare(b, 0x7fff)));
    assert_false(readable(bare(b, 0x8000)));
    assert_true(writable(bare(b, 0x9000)));
    vm_lock();
    region_del(&rom);
    region_del(&device_region);
    vm_unlock();
    mmu_refresh_view(b->cpu);
    window_refresh(b->cpu);
    assert_false(readable(bare(b, ROM_AT)));
    assert_true(writable(bare(b, 0x8000)));
    ram_block_free(block);
}

static void test_bare_code_is_not_written(void **state)
{
    Box *b = *state;
    ram_track_code(b->ram, CODE + 0x10, 4);
    tlb_revoke_write(b->cpu, b->ram->host + CODE, 0xffff, false);
    assert_true(readable(bare(b, CODE)));
    assert_false(writable(bare(b, CODE)));
    assert_false(writable(bare(b, CODE + PAGE_SIZE - 1)));
    assert_true(writable(bare(b, CODE - 1)));
    assert_true(writable(bare(b, CODE + PAGE_SIZE)));
    assert_false(window_heal(b->cpu->window, CODE));
    assert_false(writable(bare(b, CODE)));
    /* Nor after the map has changed. */
    mmu_refresh_view(b->cpu);
    window_refresh(b->cpu);
    assert_false(writable(bare(b, CODE)));
    ram_written(b->ram, CODE + 0x10, 4); /* it is no code any more */
    assert_true(window_heal(b->cpu->window, CODE + 5));
    assert_true(writable(bare(b, CODE)));
    assert_false(window_heal(b->cpu->window, CODE + 5));
}

static void test_bare_new_window_knows_code(void **state)
{
    Box *b = *state;
    ram_track_code(b->ram, CODE, 1);
    window_free(b->cpu->window);
    b->cpu->window = window_new(b->cpu, NULL);
    window_refresh(b->cpu);
    assert_false(writable(bare(b, CODE)));
    assert_true(writable(bare(b, CODE + PAGE_SIZE)));
}

static void test_bare_watched_is_not_written(void **state)
{
    Box *b = *state;
    ram_track(b->ram, DIRTY_DISPLAY, true);
    assert_true(writable(bare(b, 0x5000))); /* all of it counts as written */
    ram_collect_dirty(b->ram, 0, BOX_RAM, DIRTY_DISPLAY, NULL);
    tlb_revoke_write(b->cpu, NULL, 0xffff, false);
    assert_true(readable(bare(b, 0x5000)));
    assert_false(writable(bare(b, 0x5000)));
    assert_false(writable(bare(b, BOX_RAM - 1)));
    assert_false(window_heal(b->cpu->window, 0x5000));
    ram_track(b->ram, DIRTY_DISPLAY, false);
    mmu_refresh_view(b->cpu);
    window_refresh(b->cpu);
    assert_true(writable(bare(b, 0x5000)));
}

static void test_bare_dropped(void **state)
{
    Box *b = *state;
    window_drop(b->cpu->window);
    assert_false(readable(bare(b, 0x5000)));
    assert_int_equal(window_mapped(b->cpu->window), 0);
    ram_track_code(b->ram, CODE, 1);
    tlb_revoke_write(b->cpu, b->ram->host + CODE, 0xffff, false);
    window_refresh(b->cpu);
    assert_true(writable(bare(b, 0x5000)));
    assert_false(writable(bare(b, CODE)));
}

static unsigned count_mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned n = 0;
    assert_non_null(f);
    for (int c = getc(f); c != EOF; c = getc(f)) {
        n += c == '\n';
    }
    fclose(f);
    return n;
}

/* Code in every other page of a large RAM: the window gives up before the host does. */
static void test_bare_many_code_pages(void **state)
{
    Box *b = *state;
    enum { PAGES = 24 << 10, AT = 0x10000000 };
    Region region;
    RamBlock *block = ram_block_new("large", PAGES * (uint64_t)PAGE_SIZE, NULL);
    for (unsigned i = 0; i < PAGES; i += 2) {
        ram_track_code(block, i * (uint64_t)PAGE_SIZE, 1);
    }
    vm_lock();
    region_init_ram(&region, "large", block, 0, block->size);
    region_add(&b->m.memory_root, AT, &region, 0);
    vm_unlock();
    mmu_refresh_view(b->cpu);
    window_refresh(b->cpu);
    assert_in_range(count_mappings(), 1, 20000);
    assert_false(writable(bare(b, AT)));
    assert_false(writable(bare(b, AT + (PAGES - 2) * (uint64_t)PAGE_SIZE)));
    vm_lock();
    region_del(&region);
    vm_unlock();
    mmu_refresh_view(b->cpu);
    window_refresh(b->cpu);
    assert_true(writable(bare(b, 0x5000)));
    ram_block_free(block);
}

/* ---- with paging ---- */

enum { PD = 0x100000, PT = 0x101000, LIN = 4 << 20, FRAME = 0x110000 };
enum { P = 1, W = 2, U = 4 };

static void pte(Box *b, unsigned page, uint32_t frame, unsigned bits)
{
    box_put(b, PT + page * 4, frame | bits, 4);
}

static uint64_t page_at(unsigned page)
{
    return LIN + page * (uint64_t)PAGE_SIZE;
}

/* Two levels: the first 4 MiB one to one, then 1024 pages in turn on 64 frames. */
static CpuState *paged(Box *b)
{
    CpuState *cpu = b->cpu;
    box_put(b, PD, 0x87, 4);
    box_put(b, PD + 4, PT | 7, 4);
    for (unsigned i = 0; i < 1024; i++) {
        pte(b, i, FRAME + i % 64 * PAGE_SIZE, P | W | U);
    }
    cpu->cr3 = PD;
    cpu->cr4 = CR4_PSE;
    cpu->cr0 |= CR0_PG | CR0_WP;
    cpu_update_mode(cpu);
    tlb_flush(cpu);
    return cpu;
}

static uint8_t *checked(const Box *b, unsigned page)
{
    return checked_window_base(b->cpu->checked_window) + page_at(page);
}

/* What may begin in the page. */
static unsigned begins(const Box *b, unsigned page)
{
    return checked_window_bits(b->cpu->checked_window, page_at(page)) &
           ((1u << WINDOW_ALLOWED) - 1);
}

static void use(Box *b, unsigned page)
{
    checked_window_use(b->cpu, page_at(page), true);
}

static void load(Box *b, unsigned page)
{
    lin_load(b->cpu, page_at(page), 4, MEM_CPL);
    use(b, page);
}

static void store(Box *b, unsigned page)
{
    lin_store(b->cpu, page_at(page), 0, 4, MEM_CPL);
    use(b, page);
}

enum { RD = WINDOW_READ, RW = WINDOW_READ | WINDOW_WRITE };
enum { USER_RD = RD << WINDOW_USER_SHIFT, USER_RW = RW << WINDOW_USER_SHIFT };

static void test_w1_as_the_cache_says(void **state)
{
    Box *b = *state;
    CpuState *cpu = paged(b);
    use(b, 3);
    assert_int_equal(begins(b, 3), 0); /* not in the cache */
    assert_false(readable(checked(b, 3)));
    load(b, 3);
    assert_int_equal(begins(b, 3), RD); /* D is not set yet */
    box_put(b, FRAME + 3 * PAGE_SIZE, 0x42, 1);
    assert_int_equal(*checked(b, 3), 0x42);
    store(b, 3);
    assert_int_equal(begins(b, 3), RW);
    pte(b, 5, FRAME, P | U);
    load(b, 5);
    assert_int_equal(begins(b, 5), RD);
    /* code, and what is no memory */
    ram_track_code(b->ram, FRAME + 7 * PAGE_SIZE + 0x800, 1);
    store(b, 7);
    assert_int_equal(begins(b, 7), RD);
    pte(b, 9, 0x40000000, P | W | U);
    load(b, 9);
    assert_int_equal(begins(b, 9), 0);
    checked_window_use(cpu, 1ull << 32 | page_at(3), true);
    assert_int_equal(begins(b, 3), RW);
}

/* Pages that do not lie in order are mapped one by one. */
static void scatter(Box *b)
{
    for (unsigned i = 0; i < 64; i++) {
        pte(b, i, FRAME + i * 5 % 64 * PAGE_SIZE, P | W | U);
    }
    tlb_flush(b->cpu);
}

static void test_w2_crossing(void **state)
{
    Box *b = *state;
    paged(b);
    scatter(b);
    store(b, 10);
    assert_int_equal(begins(b, 10), RW);
    assert_false(readable(checked(b, 11))); /* what crosses faults */
    load(b, 11);
    assert_int_equal(begins(b, 11), RD);
    assert_int_equal(begins(b, 10), RD); /* no store may cross into it */
    store(b, 11);
    assert_int_equal(begins(b, 10), RW);
    /* Mapped, but nothing known of it any more: unmapped. */
    tlb_flush(b->cpu);
    assert_int_equal(begins(b, 10), 0);
    assert_true(readable(checked(b, 11)));
    store(b, 10);
    assert_int_equal(begins(b, 10), RW);
    assert_false(readable(checked(b, 11)));
    /* Not at once, unless it is so often. */
    store(b, 11);
    tlb_flush(b->cpu);
    lin_store(b->cpu, page_at(10), 0, 4, MEM_CPL);
    checked_window_use(b->cpu, page_at(10), false);
    assert_int_equal(begins(b, 10), 0);
    for (unsigned i = 0; i < 100; i++) {
        checked_window_use(b->cpu, page_at(10), false);
    }
    assert_int_equal(begins(b, 10), RW);
    assert_false(readable(checked(b, 11)));
    /* The last page: nothing is ever mapped behind it. */
    assert_false(readable(checked_window_base(b->cpu->checked_window) + WINDOW_SIZE));
}

static void test_w3_flushes(void **state)
{
    Box *b = *state;
    CpuState *cpu = paged(b);
    uint64_t mapped, maps, again;
    store(b, 20);
    store(b, 40);
    checked_window_count(cpu->checked_window, &mapped, &maps);
    tlb_flush_page(cpu, page_at(20));
    assert_int_equal(begins(b, 20), 0);
    store(b, 20);
    assert_int_equal(begins(b, 20), RW);
    tlb_switch(cpu, false); /* CR3 */
    assert_int_equal(begins(b, 20) | begins(b, 40), 0);
    store(b, 20);
    tlb_flush(cpu);
    assert_int_equal(begins(b, 20), 0);
    store(b, 20);
    store(b, 40);
    assert_int_equal(begins(b, 20) & begins(b, 40), RW);
    checked_window_count(cpu->checked_window, &mapped, &again);
    assert_int_equal(maps, again); /* the mappings stayed */
    /* A data breakpoint: each access is looked at. */
    cpu->mode |= MODE_DR;
    tlb_select(cpu);
    assert_int_equal(begins(b, 20), 0);
    lin_load(cpu, page_at(20), 4, MEM_CPL);
    use(b, 20);
    assert_int_equal(begins(b, 20), 0);
    cpu->mode &= ~(uint32_t)MODE_DR;
    tlb_select(cpu);
    store(b, 20);
    assert_int_equal(begins(b, 20), RW);
    mmu_refresh_view(cpu);
    assert_int_equal(begins(b, 20), 0);
    store(b, 40);
    assert_false(readable(checked(b, 20))); /* the map may have put something else there */
    assert_int_equal(begins(b, 40), RW);
    assert_true(readable(checked(b, 40)));
}

static void test_w4_writes_are_heard_of(void **state)
{
    Box *b = *state;
    CpuState *cpu = paged(b);
    scatter(b);
    for (unsigned i = 0; i < 4; i++) {
        store(b, 50 + i);
    }
    for (unsigned i = 0; i < 4; i++) {
        use(b, 50 + i);
        assert_int_equal(begins(b, 50 + i), RW);
    }
    const uint8_t *page = b->ram->host + FRAME + 52 * 5 % 64 * PAGE_SIZE;
    ram_track_code(b->ram, (uint64_t)(page - b->ram->host) + 0x800, 1);
    assert_true(checked_window_revoke_write(cpu->checked_window, page));
    assert_false(checked_window_revoke_write(cpu->checked_window, page));
    tlb_revoke_write(cpu, page, 0xffff, false);
    assert_int_equal(begins(b, 52), RD);
    assert_int_equal(begins(b, 51), RD); /* a store there may reach into it */
    assert_int_equal(begins(b, 50), RW);
    assert_int_equal(begins(b, 53), RW);
    store(b, 51);
    store(b, 52);
    assert_int_equal(begins(b, 51) | begins(b, 52), RD);
    tlb_slots_clear_writes(cpu); /* at a CPU_REQ_RECHECK */
    assert_int_equal(begins(b, 50) | begins(b, 53), RD);
    store(b, 53);
    assert_true(tlb_revoke_write(cpu, NULL, 0xffff, true));
    assert_int_equal(begins(b, 53), RD);
}

static void test_w5_other_page(void **state)
{
    Box *b = *state;
    CpuState *cpu = paged(b);
    uint64_t mapped, maps, again;
    box_put(b, FRAME + 30 * PAGE_SIZE, 1, 1);
    box_put(b, FRAME + 31 * PAGE_SIZE, 2, 1);
    load(b, 30);
    assert_int_equal(*checked(b, 30), 1);
    pte(b, 30, FRAME + 31 * PAGE_SIZE, P | W | U);
    tlb_flush_page(cpu, page_at(30));
    assert_int_equal(begins(b, 30), 0);
    load(b, 30);
    assert_int_equal(begins(b, 30), RD);
    assert_int_equal(*checked(b, 30), 2);
    /* Where address spaces come and go, not at once. */
    checked_window_count(cpu->checked_window, &mapped, &maps);
    pte(b, 30, FRAME + 30 * PAGE_SIZE, P | W | U);
    tlb_flush_page(cpu, page_at(30));
    lin_load(cpu, page_at(30), 4, MEM_CPL);
    checked_window_use(cpu, page_at(30), false);
    assert_int_equal(begins(b, 30), 0);
    checked_window_count(cpu->checked_window, &mapped, &again);
    assert_int_equal(maps, again);
    for (unsigned i = 0; i < 8; i++) {
        checked_window_use(cpu, page_at(30), false);
    }
    assert_int_equal(begins(b, 30), RD);
    assert_int_equal(*checked(b, 30), 1);
    /* A guest that does not flush, and whose entry was pushed out of the cache. */
    load(b, 29);
    pte(b, 30, FRAME + 31 * PAGE_SIZE, P | W | U);
    tlb_entry(cpu->tlb, page_at(30))->rtag = TLB_NONE;
    load(b, 30);
    assert_int_equal(*checked(b, 30), 2);
    assert_int_equal(begins(b, 29) & begins(b, 30), RD);
}

static void test_w6_privilege(void **state)
{
    Box *b = *state;
    CpuState *cpu = paged(b);
    box_ring(b, 3); /* the first time at a privilege, nothing is allowed */
    box_ring(b, 0);
    scatter(b);
    pte(b, 12, FRAME + 60 * PAGE_SIZE, P | W);
    store(b, 11);
    store(b, 12);
    use(b, 11);
    assert_int_equal(begins(b, 11) & begins(b, 12), RW);
    box_ring(b, 3);
    assert_int_equal(cpu->tlb->kind, TLB_USER);
    store(b, 11);
    assert_int_equal(begins(b, 12), RW);
    /* A user's access must not cross into the supervisor's page. */
    assert_int_equal(begins(b, 11), RW);
    tlb_flush(cpu);
    store(b, 11);
    assert_int_equal(begins(b, 11), USER_RW);
    assert_false(readable(checked(b, 12)));
    load(b, 10);
    assert_int_equal(begins(b, 10), USER_RD);
    /* What is allowed with EFLAGS.AC only is not noted. */
    box_ring(b, 0);
    cpu->cr4 |= CR4_SMAP;
    cpu->eflags |= FLAG_AC;
    cpu_update_mode(cpu);
    tlb_flush(cpu);
    assert_int_equal(cpu->tlb->kind, TLB_KERNEL_AC);
    load(b, 11);
    assert_int_equal(begins(b, 11), 0);
}

/* More pages than the log has room for, and as many as there are. */
static void test_w7_many(void **state)
{
    Box *b = *state;
    CpuState *cpu = b->cpu;
    enum { TABLES = 15 };
    paged(b);
    for (unsigned t = 0; t < TABLES; t++) {
        box_put(b, PD + 4 * (t + 1), (PT + t * PAGE_SIZE) | 7, 4);
        for (unsigned i = 0; i < 1024; i++) {
            box_put(b, PT + t * PAGE_SIZE + i * 4, (FRAME + i * 7 % 64 * PAGE_SIZE) | 7, 4);
        }
    }
    tlb_flush(cpu);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < TABLES * 1024; i++) {
            load(b, i);
            assert_int_equal(begins(b, i), RD);
            assert_ptr_equal(readable(checked(b, i)) ? b : NULL, b);
        }
    }
    assert_in_range(count_mappings(), 1, 20000);
    tlb_flush(cpu);
    for (unsigned i = 0; i < TABLES * 1024; i++) {
        assert_int_equal(begins(b, i), 0);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_bare_is_memory),
        TEST(test_bare_follows_map),
        TEST(test_bare_code_is_not_written),
        TEST(test_bare_new_window_knows_code),
        TEST(test_bare_watched_is_not_written),
        TEST(test_bare_dropped),
        TEST(test_bare_many_code_pages),
        TEST(test_w1_as_the_cache_says),
        TEST(test_w2_crossing),
        TEST(test_w3_flushes),
        TEST(test_w4_writes_are_heard_of),
        TEST(test_w5_other_page),
        TEST(test_w6_privilege),
        TEST(test_w7_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
