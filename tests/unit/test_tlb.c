/* SPDX-License-Identifier: GPL-2.0-or-later
 * The translation caches' bookkeeping: what a flush leaves, whose write permissions are taken
 * away, and which INVLPGs make remembered code addresses invalid.
 */
#include "cpu/mem.h"
#include "tests/unit/cpu_box.h"

enum { PML4 = 0x100000, PDPT = 0x101000, PD = 0x102000, PT = 0x110000, NR_PTS = 8 };
enum { PAGES = NR_PTS * 512, FRAMES = 16, FRAME0 = 0x1e0000 };
#define UPPER 0xffffff8000000000ull /* maps the same as 0 does */
#define SMALL (2ull << 20)          /* here pages of 4 KiB start */

/* 2 MiB as one page, then PAGES small ones in turn on FRAMES frames; in both halves. */
static CpuState *map_pages(Box *b)
{
    box_long(b);
    box_put(b, PML4 + 511 * 8, PDPT | 7, 8);
    for (unsigned i = 0; i < NR_PTS; i++) {
        box_put(b, PD + (i + 1) * 8, (PT + i * 4096) | 7, 8);
    }
    for (unsigned i = 0; i < PAGES; i++) {
        box_put(b, PT + i * 8, (FRAME0 + i % FRAMES * 4096) | 7, 8);
    }
    tlb_flush(b->cpu);
    return b->cpu;
}

static uint64_t small(unsigned i)
{
    return SMALL + i * (uint64_t)PAGE_SIZE;
}

static bool may_write_fast(CpuState *cpu, uint64_t lin)
{
    return tlb_entry(cpu->tlb, lin)->wtag == TLB_PAGE(lin);
}

static unsigned count_used(const Tlb *t)
{
    unsigned n = 0;
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        n += t->entry[i].rtag != TLB_NONE || t->entry[i].wtag != TLB_NONE;
    }
    return n;
}

/* With few pages by the log of what was filled, with many without. */
static void test_flush(void **state)
{
    CpuState *cpu = map_pages(*state);
    for (unsigned nr = 1; nr <= 3000; nr = nr * 3 + 1) {
        for (unsigned i = 0; i < nr; i++) {
            lin_store(cpu, small(i), i, 8, MEM_CPL);
        }
        assert_int_equal(count_used(cpu->tlb), nr);
        tlb_flush_local(cpu);
        assert_int_equal(count_used(cpu->tlb), 0);
    }
}

static void test_revoke(void **state)
{
    Box *b = *state;
    CpuState *cpu = map_pages(b);
    const uint8_t *page = b->ram->host + FRAME0 + 5 * PAGE_SIZE;
    static const unsigned counts[] = { 16, 1000, 3000 };
    for (unsigned n = 0; n < 2 * ARRAY_SIZE(counts); n++) {
        unsigned nr = counts[n / 2];
        bool own = n % 2;
        for (unsigned i = 0; i < nr; i++) {
            lin_store(cpu, small(i), i, 8, MEM_CPL);
            assert_true(may_write_fast(cpu, small(i)));
        }
        assert_true(tlb_revoke_write(cpu, page, 0xffff, own));
        for (unsigned i = 0; i < nr; i++) {
            assert_int_equal(may_write_fast(cpu, small(i)), i % FRAMES != 5);
        }
        assert_false(tlb_revoke_write(cpu, page, 0xffff, own));
        assert_true(tlb_revoke_write(cpu, NULL, 0xffff, own));
        assert_false(tlb_revoke_write(cpu, NULL, 0xffff, own));
        tlb_flush(cpu);
    }
}

static void fetch_small_upper(CpuState *cpu)
{
    for (unsigned i = 0; i < 300; i++) {
        mmu_fetch_page(cpu, UPPER + small(i));
    }
}

/* The other half of the address space, and what lies beside all code, never matters. */
static void test_code_generation(void **state)
{
    CpuState *cpu = map_pages(*state);
    fetch_small_upper(cpu);
    uint64_t before = cpu->mmu->generation;
    for (unsigned i = 0; i < 20000; i++) {
        tlb_flush_page(cpu, small(0) + i * 0x3000ull);
        tlb_flush_page(cpu, UPPER + small(300) + i * 0x1000ull);
    }
    assert_true(cpu->mmu->generation == before);
    for (unsigned i = 0; i < 300; i++) {
        fetch_small_upper(cpu);
        before = cpu->mmu->generation;
        tlb_flush_page(cpu, UPPER + small(i));
        assert_true(cpu->mmu->generation != before);
    }
}

/* INVLPG of any address in a large page drops all of it. */
static void test_large_code(void **state)
{
    CpuState *cpu = map_pages(*state);
    mmu_fetch_page(cpu, UPPER + 0x5000);
    uint64_t before = cpu->mmu->generation;
    tlb_flush_page(cpu, 0x5000);
    assert_true(cpu->mmu->generation == before);
    tlb_flush_page(cpu, UPPER + 0x1ff000);
    assert_true(cpu->mmu->generation != before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flush, box_setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_revoke, box_setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_code_generation, box_setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_large_code, box_setup, box_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
