/* SPDX-License-Identifier: GPL-2.0-or-later
 * LOCKed read-modify-writes (SDM 3A 8.1.2) by all CPUs on the same words lose nothing, of
 * every size, aligned, and across a page.
 *
 * smp: 1 2 4
 * bits: 64 32
 * lockstep: no (a quarter of a minute)
 */
#include "guest.h"

/* Not across cache lines inside a page: engines do that with a split lock of the host's,
 * which hosts that guard against them hold up for seconds. */
enum { ROUNDS = 20000, PAGE_ROUNDS = 1000 };

static uint8_t *page; /* two of them */

/* bits, suffix, constraint of registers, type */
#define EACH_SIZE(X) \
    X(8, "b", "q", uint8_t) X(16, "w", "r", uint16_t) X(32, "l", "r", uint32_t)

#define DEFINE(bits, suffix, reg, T)                                                       \
    static void count##bits(volatile T *p, uint32_t index, uint32_t rounds)                \
    {                                                                                      \
        for (uint32_t i = 0; i < rounds; i++) {                                            \
            switch ((i + index) & 7) {                                                     \
            case 0: __asm__ volatile("lock inc" suffix " %0" : "+m"(*p)); break;           \
            case 1: __asm__ volatile("lock add" suffix " $1, %0" : "+m"(*p)); break;       \
            case 2: __asm__ volatile("lock sub" suffix " $-1, %0" : "+m"(*p)); break;      \
            case 3: {                                                                      \
                T one = 1;                                                                 \
                __asm__ volatile("lock xadd" suffix " %1, %0" : "+m"(*p), "+" reg(one));   \
                break;                                                                     \
            }                                                                              \
            case 4: __asm__ volatile("stc; lock adc" suffix " $0, %0" : "+m"(*p)); break;  \
            case 5: __asm__ volatile("stc; lock sbb" suffix " $-2, %0" : "+m"(*p)); break; \
            case 6: {                                                                      \
                bool done;                                                                 \
                do {                                                                       \
                    T old = *p, next = (T)(old + 1);                                       \
                    __asm__ volatile("lock cmpxchg" suffix " %3, %0; sete %1"              \
                                     : "+m"(*p), "=q"(done), "+a"(old)                     \
                                     : reg(next));                                         \
                } while (!done);                                                           \
                break;                                                                     \
            }                                                                              \
            default:                                                                       \
                __asm__ volatile("lock dec" suffix " %0" : "+m"(*p));                      \
                __asm__ volatile("lock add" suffix " $2, %0" : "+m"(*p));                  \
            }                                                                              \
        }                                                                                  \
    }
EACH_SIZE(DEFINE)

static void count64(volatile uint64_t *p)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        bool done;
        do {
            uint64_t old = *p, next = old + 1;
#ifdef __x86_64__
            __asm__ volatile("lock cmpxchgq %3, %0; sete %1"
                             : "+m"(*p), "=q"(done), "+a"(old)
                             : "r"(next));
#else
            uint32_t lo = (uint32_t)old, hi = (uint32_t)(old >> 32);
            __asm__ volatile("lock cmpxchg8b %0; sete %1"
                             : "+m"(*p), "=m"(done), "+a"(lo), "+d"(hi)
                             : "b"((uint32_t)next), "c"((uint32_t)(next >> 32)));
#endif
        } while (!done);
    }
}

#ifdef __x86_64__
static void count128(volatile uint64_t *p)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        bool done;
        do {
            uint64_t lo = p[0], hi = p[1], next_lo = lo + 0x8000000000000001ull;
            uint64_t next_hi = hi + (next_lo < lo);
            __asm__ volatile("lock cmpxchg16b %0; sete %1"
                             : "+m"(*(volatile __int128 *)p), "=q"(done), "+a"(lo), "+d"(hi)
                             : "b"(next_lo), "c"(next_hi));
        } while (!done);
    }
}
#endif

static void bits(volatile uint32_t *p, uint32_t index)
{
    /* Each CPU turns bits of its own on and off in the same word. */
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t bit = index + 8 * (i & 3);
        uint8_t was;
        __asm__ volatile("lock btsl %2, %0; setc %1" : "+m"(*p), "=q"(was) : "r"(bit));
        if (was) {
            NOTE("bit was set", { "cpu", index }, { "bit", bit });
        }
        __asm__ volatile("lock btcl %2, %0; setc %1" : "+m"(*p), "=q"(was) : "r"(bit));
        if (!was) {
            NOTE("bit was clear", { "cpu", index }, { "bit", bit });
        }
        __asm__ volatile("lock btsl %1, %0" : "+m"(*p) : "r"(bit));
        __asm__ volatile("lock btrl %1, %0" : "+m"(*p) : "r"(bit));
    }
}

/* A lock of XCHG guards a plain counter. */
static void xchg_lock(volatile uint32_t *lock, volatile uint32_t *count)
{
    for (uint32_t i = 0; i < ROUNDS / 4; i++) {
        uint32_t taken = 1;
        for (;;) {
            __asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(*lock)::"memory");
            if (!taken) {
                break;
            }
            cpu_pause();
        }
        ++*count;
        *lock = 0;
    }
}

static void aligned(uint32_t i)
{
    count8((volatile uint8_t *)(page + 0x10), i, ROUNDS);
    count16((volatile uint16_t *)(page + 0x20), i, ROUNDS);
    count32((volatile uint32_t *)(page + 0x30), i, ROUNDS);
    count64((volatile uint64_t *)(page + 0x40));
#ifdef __x86_64__
    count128((volatile uint64_t *)(page + 0x50));
#endif
    bits((volatile uint32_t *)(page + 0x60), i);
    xchg_lock((volatile uint32_t *)(page + 0x70), (volatile uint32_t *)(page + 0x74));
}

static void across_page(uint32_t i)
{
    count32((volatile uint32_t *)(page + PAGE - 3), i, PAGE_ROUNDS);
}

void guest_main(void)
{
    use_space(new_space());
    page = alloc(2 * PAGE);
    start_cpus();
    on_all(aligned);
    check("bytes", *(uint8_t *)(page + 0x10), (uint8_t)(nr_cpus * ROUNDS));
    check("words", *(uint16_t *)(page + 0x20), (uint16_t)(nr_cpus * ROUNDS));
    check("doublewords", *(uint32_t *)(page + 0x30), nr_cpus * ROUNDS);
    check("CMPXCHG8B or quadwords", *(uint64_t *)(page + 0x40), nr_cpus * ROUNDS);
#ifdef __x86_64__
    check("CMPXCHG16B, low", *(uint64_t *)(page + 0x50), nr_cpus * ROUNDS);
    check("CMPXCHG16B, high", *(uint64_t *)(page + 0x58), nr_cpus * ROUNDS / 2);
#endif
    check("BTS, BTC and BTR", *(uint32_t *)(page + 0x60), 0);
    check("complaints", shown_lines, 0);
    check("counted under a lock of XCHG", *(uint32_t *)(page + 0x74),
          nr_cpus * (ROUNDS / 4));
    on_all(across_page);
    check("doublewords across pages", *(uint32_t *)(page + PAGE - 3),
          nr_cpus * PAGE_ROUNDS);
}
