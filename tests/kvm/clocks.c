/* SPDX-License-Identifier: GPL-2.0-or-later
 * Two clocks, over and over: the HPET, a device of Vireo's that goes by guest time, and kvmclock,
 * which the kernel keeps. Prints "T <hpet> <kvmclock>" in ns, hexadecimal.
 *
 * for: test_run.py
 */
#include "guest.h"

#define HPET 0xfed00000ull
enum { MSR_SYSTEM_TIME = 0x4b564d01, MS = 1000000 };

typedef struct PvClock { /* Linux Documentation/virt/kvm/x86/msr.rst */
    uint32_t version, pad;
    uint64_t tsc, ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pads[2];
} PvClock;

static volatile PvClock *pv;
static uint64_t period_fs;

static uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
}

static uint64_t hpet_ns(void)
{
    uint32_t n = *(volatile uint32_t *)(HPET + 0xf0);
    static uint32_t last;
    static uint64_t high;
    high += n < last ? 1ull << 32 : 0;
    last = n;
    return (high | n) * period_fs / 1000000;
}

static uint64_t kvmclock_ns(void)
{
    uint64_t ns;
    uint32_t version;
    do {
        version = pv->version;
        uint64_t ticks = rdtsc() - pv->tsc;
        ticks = pv->shift < 0 ? ticks >> -pv->shift : ticks << pv->shift;
        ns = pv->ns + (uint64_t)((unsigned __int128)ticks * pv->mul >> 32);
    } while (version & 1 || version != pv->version);
    return ns;
}

void guest_main(void)
{
    Word root = new_space();
    uint32_t leaf[4];
    pte_put(root, HPET, HPET | PTE_P | PTE_W | PTE_PCD);
    use_space(root);
    cpuid(0x40000001, 0, leaf);
    if (!(leaf[0] >> 3 & 1)) {
        skip_all("no kvmclock");
    }
    pv = alloc(PAGE);
    wrmsr(MSR_SYSTEM_TIME, (Word)pv | 1);
    period_fs = *(volatile uint32_t *)(HPET + 4);
    *(volatile uint32_t *)(HPET + 0x10) |= 1;
    for (;;) {
        /* Nobody may have come in between: the nearest of some pairs. */
        uint64_t best = UINT64_MAX, h = 0, k = 0;
        for (int i = 0; i < 20 && best > MS; i++) {
            uint64_t before = hpet_ns(), now = kvmclock_ns(), apart = hpet_ns() - before;
            if (apart < best) {
                best = apart, h = before, k = now;
            }
        }
        put_text("T ");
        put_hex(h);
        put_text(" ");
        put_hex(k);
        put_text("\n");
        for (volatile int i = 0; i < 3000; i++) {
        }
    }
}
