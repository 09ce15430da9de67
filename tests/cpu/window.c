/* SPDX-License-Identifier: GPL-2.0-or-later
 * What may go wrong where an engine maps the guest's memory at the guest's addresses (cpu/window.h): the
 * same instruction accesses RAM, and then what is none, what crosses into that, what may not be written,
 * and memory that the chipset or a page table replaces.
 * smp: 1 2
 * bits: 32
 */
#include "guest.h"

enum { HOT = 200, PAM = 0xe0000 };
static uint32_t *area; /* three pages */

/* Instructions of their own, hot in RAM before they meet something else. */
#define SITES(n)                                                                             \
    static __attribute__((noinline)) uint32_t load_##n(Word at)                              \
    {                                                                                        \
        uint32_t v;                                                                          \
        __asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(at) : "memory");                    \
        return v;                                                                            \
    }                                                                                        \
    static __attribute__((noinline)) void store_##n(Word at, uint32_t v)                     \
    {                                                                                        \
        __asm__ volatile("movl %1, (%0)" ::"r"(at), "r"(v) : "memory");                      \
    }                                                                                        \
    static void warm_##n(void)                                                               \
    {                                                                                        \
        for (uint32_t i = 0; i < HOT; i++) {                                                 \
            store_##n((Word)&area[i], i * 3);                                                \
            nr_bad += load_##n((Word)&area[i]) != i * 3;                                     \
        }                                                                                    \
    }
SITES(hole)
SITES(rom)
SITES(device)
SITES(crossing)
SITES(chipset)
SITES(code)
SITES(table)
SITES(shared)

static uint32_t nothing; /* what a hole reads as: all zeroes or all ones */

static void holes(void)
{
    const Word hole = RAM_BYTES + 0x1000;
    warm_hole();
    nothing = *(volatile uint32_t *)hole;
    check("hole: is read", load_hole(hole), nothing);
    store_hole(hole, ~nothing);
    check("hole: is not written", load_hole(hole), nothing);
    warm_hole();

    const Word top = 0xfffff000;
    warm_rom();
    uint32_t was = *(volatile uint32_t *)top;
    check("ROM: is read", load_rom(top), was);
    store_rom(top, ~was);
    check("ROM: is not written", load_rom(top), was);
    warm_rom();

    warm_device();
    uint32_t version = load_device(LAPIC + 0x30);
    check("registers: are read", version & 0xf0, 0x10);
    store_device(LAPIC + 0x80, 0x20); /* TPR */
    check("registers: are written", load_device(LAPIC + 0x80), 0x20);
    store_device(LAPIC + 0x80, 0);
    warm_device();
}

static void crossings(void)
{
    const Word end = RAM_BYTES;
    warm_crossing();
    store_crossing(end - 4, 0x44332211);
    check("RAM's last bytes", load_crossing(end - 4), 0x44332211);
    for (unsigned n = 1; n < 4; n++) {
        uint32_t behind = nothing << (32 - 8 * n);
        check("out of RAM: read", load_crossing(end - 4 + n), 0x44332211u >> 8 * n | behind);
    }
    store_crossing(end - 2, 0x88776655);
    check("out of RAM: written as far as there is some", load_crossing(end - 4), 0x66552211);
    Word page = (Word)area + PAGE;
    store_crossing(page - 1, 0xddccbbaa);
    check("between pages of RAM", load_crossing(page - 1), 0xddccbbaa);
    warm_crossing();
}

/* The 440FX: PAM5 says what is at E0000h. */
static void set_pam(unsigned how)
{
    pci_config_write(0, 0x5c, how << 16);
}

static void chipset(void)
{
    warm_chipset();
    set_pam(3);
    store_chipset(PAM, 0x11111111);
    check("shadow RAM: written", load_chipset(PAM), 0x11111111);
    set_pam(1);
    store_chipset(PAM, 0x22222222);
    check("shadow RAM: read only", load_chipset(PAM), 0x11111111);
    set_pam(2);
    store_chipset(PAM, 0x33333333);
    check("shadow RAM: written only", load_chipset(PAM), 0xffffffff);
    set_pam(0);
    store_chipset(PAM, 0x44444444);
    check("shadow RAM: off", load_chipset(PAM), 0xffffffff);
    set_pam(3);
    check("shadow RAM: on again", load_chipset(PAM), 0x33333333);
    for (uint32_t i = 0; i < HOT; i++) {
        store_chipset(PAM + 4 * i, i);
        nr_bad += load_chipset(PAM + 4 * i) != i;
    }
    set_pam(0);
    warm_chipset();
}

/* mov eax, n; ret */
static void put_code(Word at, uint32_t n)
{
    store_code(at, 0xb8 | n << 8);
    store_code(at + 4, n >> 24 | 0xc300);
}

static uint32_t call(Word at)
{
    uint32_t v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory");
    return v;
}

static void code(void)
{
    Word at = (Word)alloc(PAGE);
    warm_code();
    uint32_t bad = 0;
    for (uint32_t i = 0; i < HOT; i++) {
        put_code(at, i);
        bad += call(at) != i;
        store_code(at + 0x800, i); /* data beside it */
        bad += load_code(at + 0x800) != i || call(at) != i;
    }
    check("code is written by what wrote data", bad, 0);
    for (uint32_t i = 0; i < PAGE / 4; i++) {
        store_code(at + 4 * i, i);
    }
    for (uint32_t i = 0; i < HOT * 10; i++) {
        store_code(at, i);
        bad += load_code(at) != i;
    }
    check("the page is data again", bad, 0);
    put_code(at, 77);
    check("and code again", call(at), 77);
}

/* Paging on, with the area's pages in another order, and off again. */
static void tables(void)
{
    uint32_t *directory = alloc(PAGE), *table = alloc(PAGE);
    Word first = (Word)area;
    warm_table();
    for (uint32_t i = 0; i < 1024; i++) {
        directory[i] = i << 22 | PTE_PS | PTE_W | PTE_P;
        table[i] = (first & ~0x3fffffu) + i * PAGE + (PTE_W | PTE_P);
    }
    directory[first >> 22] = (Word)table | PTE_W | PTE_P;
    uint32_t *entry = &table[first >> 12 & 1023], bad = 0;
    Word cr4 = read_cr4();
    write_cr4(cr4 | 0x10); /* PSE */
    write_cr3((Word)directory);
    for (uint32_t round = 0; round < 20; round++) {
        uint32_t was = entry[0];
        for (unsigned i = 0; i < 3; i++) {
            store_table(first + i * PAGE, 100 * round + i);
        }
        entry[0] = entry[2];
        entry[2] = was;
        write_cr0(read_cr0() | 1u << 31);
        bad += load_table(first) != 100 * round + 2 || load_table(first + 2 * PAGE) != 100 * round;
        store_table(first + PAGE, 7);
        entry[1] ^= PTE_P;
        invlpg(first + PAGE);
        entry[1] ^= PTE_P;
        bad += load_table(first + PAGE) != 7;
        for (uint32_t i = 0; i < HOT; i++) {
            store_table(first + PAGE - 2, i * 0x10001); /* across the page's end */
            bad += load_table(first + PAGE - 2) != i * 0x10001;
        }
        write_cr0(read_cr0() & ~(1u << 31));
        bad += load_table(first + PAGE) != HOT - 1;
        entry[2] = entry[0];
        entry[0] = was;
    }
    write_cr4(cr4);
    check("paging on and off", bad, 0);
}

/* One CPU runs what another one writes, by an instruction that wrote it before it was code. */
static volatile uint32_t turn, seen_bad;
static Word shared;

static void take_turns(uint32_t index)
{
    for (uint32_t i = 1; i <= HOT; i++) {
        if (!index) {
            store_shared(shared, 0xb8 | i << 8);
            store_shared(shared + 4, 0xc300);
            turn = 2 * i;
            while (turn == 2 * i && nr_cpus > 1) {
                cpu_pause();
            }
        } else {
            while (turn != 2 * i) {
                cpu_pause();
            }
            cpuid(0, 0, (uint32_t[4]) { 0 }); /* as the SDM wants it before code that another CPU wrote */
            seen_bad += call(shared) != i;
            turn = 2 * i + 1;
        }
        if (!index) {
            seen_bad += call(shared) != i;
        }
    }
}

void guest_main(void)
{
    area = alloc(3 * PAGE);
    holes();
    crossings();
    chipset();
    code();
    tables();
    shared = (Word)alloc(PAGE);
    warm_shared();
    for (uint32_t i = 0; i < HOT; i++) {
        store_shared(shared + 4 * i, i);
    }
    start_cpus();
    on_all(take_turns);
    check("code that another CPU writes", seen_bad, 0);
    guest_finish();
}
