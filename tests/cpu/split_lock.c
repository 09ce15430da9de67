/* SPDX-License-Identifier: GPL-2.0-or-later
 * LOCKed instructions on operands across two cache lines, and on misaligned ones within a line. A
 * host that detects split locks must not notice: see lin_splits_line() in cpu/mem.h.
 * smp: 1 2
 * bits: 64 32
 * lockstep: no (up to ten seconds)
 */
#include "guest.h"

static uint8_t area[256] __attribute__((aligned(64)));
enum { ROUNDS = 500 };

static volatile uint32_t *at(unsigned offset)
{
    return (volatile uint32_t *)(area + offset);
}

/* Each CPU counts in the same places, as often. */
static void count(uint32_t index)
{
    (void)index;
    for (int i = 0; i < ROUNDS; i++) {
        __asm__ volatile("lock addl $1, %0" : "+m"(*at(61))::"memory");
        __asm__ volatile("lock incl %0" : "+m"(*at(70))::"memory");
        atomic_add(at(126), 1);
    }
}

void guest_main(void)
{
    use_space(new_space());
    start_cpus();
    on_all(count);
    check("add across a line", *at(61), ROUNDS * nr_cpus);
    check("inc misaligned", *at(70), ROUNDS * nr_cpus);
    check("xadd across a line", *at(126), ROUNDS * nr_cpus);

    uint32_t val = 0x12345678;
    *at(61) = 0x9abcdef0;
    for (int i = 0; i < 101; i++) { /* hot */
        __asm__ volatile("xchgl %0, %1" : "+r"(val), "+m"(*at(61))::"memory");
    }
    check("xchg across a line: register", val, 0x9abcdef0);
    check("xchg across a line: memory", *at(61), 0x12345678);

    uint32_t old = 0x12345678, equal = 0;
    for (int i = 0; i < 101; i++) {
        uint32_t to = old + 1;
        __asm__ volatile("lock cmpxchgl %2, %1" : "+a"(old), "+m"(*at(61)) : "r"(to) : "memory");
        equal += *at(61) == to;
        old = to;
    }
    check("cmpxchg across a line", equal, 101);

    bool carry;
    __asm__ volatile("lock btsl $30, %0" : "+m"(*at(61)), "=@ccc"(carry)::"memory");
    check("bts across a line: bit was clear", carry, 0);
    __asm__ volatile("lock btrl %2, %0" : "+m"(*at(61)), "=@ccc"(carry) : "r"(30) : "memory");
    check("btr across a line: bit was set", carry, 1);

    *at(61) = 1;
    *at(65) = 2;
    bool same;
    uint32_t low = 1, high = 2;
    __asm__ volatile("lock cmpxchg8b %1"
                     : "=@ccz"(same), "+m"(*(volatile uint64_t *)at(61)), "+a"(low), "+d"(high)
                     : "b"(3), "c"(4)
                     : "memory");
    check("cmpxchg8b across a line: equal", same, 1);
    check("cmpxchg8b across a line: low", *at(61), 3);
    check("cmpxchg8b across a line: high", *at(65), 4);
}
