/* SPDX-License-Identifier: GPL-2.0-or-later
 * The page walk: every combination of rights against the SDM's rules written out again,
 * then by example what tests/cpu cannot see: probes, PSE-36, physical address widths,
 * tables in ROM.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cpu/mem.h"
#include "cpu/paging.h"
#include "cpu/tlb.h"
#include "tests/unit/cpu_bench.h"

enum { TOP = 0x10000, PDPT = 0x11000, PD = 0x12000, PT = 0x13000, FRAME = 0x20000 };
enum { E_P = 1, E_W = 2, E_U = 4, E_A = 0x20, E_D = 0x40, E_PS = 0x80, E_G = 0x100 };
#define E_NX (1ull << 63)
#define LIN 0x40201234ull /* PML4 0, PDPT 1, PD 1, PT 1 */

enum { READ, WRITE, FETCH };

static Bench *bench;
static CpuState *cpu;

static int set_up(void **state)
{
    (void)state;
    if (!bench) {
        bench = bench_new();
        cpu = bench->cpu;
    }
    cpu->phys_bits = 40;
    return 0;
}

static void put(uint64_t gpa, uint64_t val, unsigned size)
{
    phys_store(cpu, gpa, val, size);
}

static uint64_t get(uint64_t gpa, unsigned size)
{
    return phys_load(cpu, gpa, size);
}

/* 4-level tables for LIN with these low bits in the PDE and the PTE. */
static void four_level(uint64_t pde, uint64_t pte)
{
    cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
    cpu->cr4 = CR4_PAE | CR4_PGE;
    cpu->efer = EFER_LME | EFER_LMA | EFER_NXE;
    cpu->cr3 = TOP;
    put(TOP, PDPT | E_P | E_W | E_U, 8);
    put(PDPT + 8, PD | E_P | E_W | E_U, 8);
    put(PD + 8, PT | pde, 8);
    put(PT + 8, FRAME | pte, 8);
}

static void two_level(uint32_t pde)
{
    cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
    cpu->cr4 = CR4_PSE;
    cpu->efer = 0;
    cpu->cr3 = TOP;
    put(TOP + (LIN >> 22) * 4, pde, 4);
}

static bool walk(int access, bool user, PageWalk *out)
{
    return paging_walk(cpu, LIN, access, user, false, false, out);
}

static void expect_error(int access, bool user, uint32_t error)
{
    PageWalk w;
    if (walk(access, user, &w)) {
        fail_msg("access %d user %d: want error %x, got success", access, user, error);
    }
    if (w.error != error) {
        fail_msg("access %d user %d: want error %x, got %x", access, user, error, w.error);
    }
}

static uint64_t expect_gpa(int access, uint64_t gpa)
{
    PageWalk w;
    if (!walk(access, false, &w)) {
        fail_msg("access %d: want gpa %llx, got error %x", access, (unsigned long long)gpa,
                 w.error);
    }
    if (w.gpa != gpa) {
        fail_msg("access %d: want gpa %llx, got %llx", access, (unsigned long long)gpa,
                 (unsigned long long)w.gpa);
    }
    return w.page_size;
}

/* SDM 3A 4.6.1, a line a rule. */
static bool allowed(uint64_t pde, uint64_t pte, int access, bool user, bool smap_ok)
{
    bool user_page = (pde & pte & E_U) != 0, writable = (pde & pte & E_W) != 0;
    bool nx = ((pde | pte) & E_NX) && (cpu->efer & EFER_NXE);
    if (user && !user_page) {
        return false;
    }
    if (access == FETCH) {
        return !nx && (user || !user_page || !(cpu->cr4 & CR4_SMEP));
    }
    if (!user && user_page && (cpu->cr4 & CR4_SMAP) && !smap_ok) {
        return false;
    }
    return access == READ || writable || (!user && !(cpu->cr0 & CR0_WP));
}

static void one_combination(uint64_t pde, uint64_t pte, unsigned how)
{
    int access = how % 3;
    bool user = how / 3 & 1, smap_ok = how / 6 & 1, wp = how / 12 & 1, smep = how / 24 & 1,
         smap = how / 48 & 1;
    four_level(pde, pte);
    cpu->cr0 = (cpu->cr0 & ~(uint64_t)CR0_WP) | (wp ? CR0_WP : 0);
    cpu->cr4 |= (smep ? CR4_SMEP : 0) | (smap ? CR4_SMAP : 0);
    PageWalk w;
    bool want = allowed(pde, pte, access, user, smap_ok);
    bool got = paging_walk(cpu, LIN, access, user, smap_ok, false, &w);
    if (got != want) {
        fail_msg("pde %llx pte %llx case %u: want %d, got %d", (unsigned long long)pde,
                 (unsigned long long)pte, how, want, got);
    }
    if (!got) {
        uint32_t error = PF_PRESENT | (access == WRITE ? PF_WRITE : 0) |
                         (user ? PF_USER : 0) | (access == FETCH ? PF_FETCH : 0);
        assert_int_equal(w.error, error);
        assert_int_equal(get(PT + 8, 8) & (E_A | E_D), 0);
        return;
    }
    assert_int_equal(get(PT + 8, 8) & (E_A | E_D), access == WRITE ? E_A | E_D : E_A);
    assert_int_equal(w.can_read, allowed(pde, pte, READ, user, smap_ok));
    assert_int_equal(w.can_exec, allowed(pde, pte, FETCH, user, smap_ok));
    /* not before D is set */
    assert_int_equal(w.can_write, access == WRITE);
}

static void rights(void **state)
{
    (void)state;
    static const uint64_t bits[] = { 0,    E_W,        E_U,        E_W | E_U,
                                     E_NX, E_NX | E_W, E_NX | E_U, E_NX | E_W | E_U };
    for (size_t i = 0; i < 64; i++) {
        for (unsigned how = 0; how < 96; how++) {
            one_combination(E_P | bits[i / 8], E_P | bits[i % 8], how);
        }
    }
}

static void not_present(void **state)
{
    (void)state;
    four_level(E_W | E_U, E_P);
    expect_error(READ, false, 0);
    expect_error(WRITE, true, PF_WRITE | PF_USER);
    expect_error(FETCH, true, PF_USER | PF_FETCH);
    four_level(E_P | E_W | E_U, E_W);
    expect_error(FETCH, false, PF_FETCH);
    cpu->efer &= ~(uint64_t)EFER_NXE;
    expect_error(FETCH, false, 0);
    cpu->cr4 |= CR4_SMEP;
    expect_error(FETCH, false, PF_FETCH);
}

static void reserved_bits(void **state)
{
    (void)state;
    for (unsigned bits = 36; bits <= 52; bits++) {
        cpu->phys_bits = bits;
        for (unsigned bit = 12; bit < 52; bit++) {
            four_level(E_P, E_P | 1ull << bit);
            PageWalk w;
            bool ok = walk(READ, false, &w);
            if (ok != (bit < bits)) {
                fail_msg("%u address bits, bit %u of a PTE: want %d, got %d", bits, bit,
                         bit < bits, ok);
            }
        }
    }
    cpu->phys_bits = 40;
    four_level(E_P, E_P | 0x7ffull << 52); /* for the system's use */
    expect_gpa(READ, FRAME | 0x234);
    four_level(E_P, E_P | E_NX);
    cpu->efer &= ~(uint64_t)EFER_NXE;
    expect_error(READ, false, PF_PRESENT | PF_RSVD);
    for (unsigned bit = 13; bit <= 20; bit++) {
        four_level(0, 0);
        put(PD + 8, E_P | E_PS | 1ull << bit, 8);
        expect_error(WRITE, false, PF_PRESENT | PF_RSVD | PF_WRITE);
    }
    four_level(E_P, E_P);
    put(TOP, PDPT | E_P | E_PS, 8);
    expect_error(READ, false, PF_PRESENT | PF_RSVD);
    feature_set(&cpu->features, FEATURE_PDPE1GB, false);
    four_level(E_P, E_P);
    put(PDPT + 8, E_P | E_PS, 8);
    expect_error(READ, false, PF_PRESENT | PF_RSVD);
    feature_set(&cpu->features, FEATURE_PDPE1GB, true);
    assert_int_equal(expect_gpa(READ, LIN & (GiB - 1)), GiB);
}

static void page_sizes(void **state)
{
    (void)state;
    four_level(0, 0);
    put(PD + 8, 0x2345600000 | E_P | E_PS, 8);
    assert_int_equal(expect_gpa(READ, 0x2345600000 | (LIN & (2 * MiB - 1))), 2 * MiB);

    two_level(0x80000000 | E_P | E_PS);
    assert_int_equal(expect_gpa(READ, 0x80000000 | (LIN & (4 * MiB - 1))), 4 * MiB);
    /* PSE-36: bits 20:13 are 39:32 */
    two_level(0x80000000 | 0xab << 13 | E_P | E_PS);
    expect_gpa(READ, 0xab80000000 | (LIN & (4 * MiB - 1)));
    two_level(0x80000000 | 1 << 21 | E_P | E_PS);
    expect_error(READ, false, PF_PRESENT | PF_RSVD);
    cpu->phys_bits = 36;
    two_level(0x80000000 | 0x0f << 13 | E_P | E_PS);
    expect_gpa(READ, 0xf80000000 | (LIN & (4 * MiB - 1)));
    two_level(0x80000000 | 0x10 << 13 | E_P | E_PS);
    expect_error(READ, false, PF_PRESENT | PF_RSVD);
    cpu->phys_bits = 40;
    two_level(PT | E_P | E_PS);
    cpu->cr4 = 0; /* PS means nothing now */
    put(PT + (LIN >> 12 & 0x3ff) * 4, FRAME | E_P, 4);
    assert_int_equal(expect_gpa(READ, FRAME | 0x234), 4096);
}

static void probes_change_nothing(void **state)
{
    (void)state;
    PageWalk w;
    four_level(E_P | E_W, E_P | E_W);
    assert_true(paging_walk(cpu, LIN, WRITE, false, false, true, &w));
    assert_int_equal(get(PT + 8, 8), FRAME | E_P | E_W);
    assert_int_equal(get(PD + 8, 8), PT | E_P | E_W);
    assert_int_equal(paging_translate(cpu, LIN), FRAME | 0x234);
    assert_int_equal(paging_translate(cpu, LIN + 4096), UINT64_MAX);
    assert_int_equal(paging_translate(cpu, 1ull << 47), UINT64_MAX);
    assert_int_equal(get(PT + 8, 8), FRAME | E_P | E_W);
    /* A in the levels above, even where the last one is missing */
    four_level(E_P | E_W, 0);
    expect_error(READ, false, 0);
    assert_int_equal(get(PD + 8, 8), PT | E_P | E_W | E_A);
}

static void attributes(void **state)
{
    (void)state;
    PageWalk w;
    four_level(E_P, E_P | E_G | 0x98);
    assert_true(walk(READ, false, &w));
    assert_true(w.global);
    assert_int_equal(w.pat_index, 7);
    cpu->cr4 &= ~(uint64_t)CR4_PGE;
    assert_true(walk(READ, false, &w));
    assert_false(w.global);
    put(PD + 8, E_P | E_PS | 1 << 12 | 0x10, 8);
    assert_true(walk(READ, false, &w));
    assert_int_equal(w.pat_index, 6);
}

static void pdptes(void **state)
{
    (void)state;
    cpu->efer = 0;
    cpu->cr4 = CR4_PAE;
    cpu->cr0 = CR0_PE | CR0_PG;
    for (unsigned i = 0; i < 4; i++) {
        put(TOP + 0x20 + 8 * i, 0, 8);
    }
    put(TOP + 0x28, PD | E_P | 0xe18, 8); /* PWT, PCD and 11:9 are free */
    assert_true(paging_load_pdptes(cpu, TOP + 0x20));
    put(PD + 8, PT | E_P | E_W, 8);
    put(PT + 8, FRAME | E_P | E_W, 8);
    expect_gpa(READ, FRAME | 0x234);
    put(TOP + 0x28, 0, 8); /* read already */
    expect_gpa(READ, FRAME | 0x234);
    static const uint64_t bad[] = { E_W, E_U, 1 << 5, 1 << 8, 1ull << 40, 1ull << 63 };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        put(TOP + 0x38, E_P | bad[i], 8);
        assert_false(paging_load_pdptes(cpu, TOP + 0x20));
    }
    put(TOP + 0x38, E_W, 8); /* not present: anything goes */
    assert_true(paging_load_pdptes(cpu, TOP + 0x20));
    expect_error(READ, false, 0);
}

/* Tables that cannot be written: the walk must end. */
static void tables_in_rom(void **state)
{
    (void)state;
    Region rom;
    four_level(E_P | E_W, E_P | E_W);
    vm_lock();
    region_init_rom(&rom, "rom", bench->machine.ram, TOP, 0x4000);
    region_add(&bench->machine.memory_root, TOP, &rom, 1);
    vm_unlock();
    mmu_refresh_view(cpu);
    PageWalk w;
    assert_true(walk(WRITE, false, &w));
    assert_true(w.can_write);
    assert_int_equal(w.gpa, FRAME | 0x234);
    assert_int_equal(get(PT + 8, 8), FRAME | E_P | E_W);
    vm_lock();
    region_del(&rom);
    vm_unlock();
    mmu_refresh_view(cpu);
}

static void paging_off(void **state)
{
    (void)state;
    cpu->cr0 = CR0_PE;
    PageWalk w;
    assert_true(paging_walk(cpu, 0x123456789, WRITE, true, false, false, &w));
    assert_int_equal(w.gpa, 0x23456789);
    assert_true(w.can_read && w.can_write && w.can_exec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rights, set_up),
        cmocka_unit_test_setup(not_present, set_up),
        cmocka_unit_test_setup(reserved_bits, set_up),
        cmocka_unit_test_setup(page_sizes, set_up),
        cmocka_unit_test_setup(probes_change_nothing, set_up),
        cmocka_unit_test_setup(attributes, set_up),
        cmocka_unit_test_setup(pdptes, set_up),
        cmocka_unit_test_setup(tables_in_rom, set_up),
        cmocka_unit_test_setup(paging_off, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
