/* SPDX-License-Identifier: GPL-2.0-or-later
 * Code that one CPU changes and another one runs, where the two may be on different engines: each
 * change is announced, and the next call must see it. Both CPUs do both.
 *
 * smp: 2
 * bits: 64
 * modes: on off kvm,vcpus=0+interp,vcpus=1 kvm,vcpus=1+interp,vcpus=0 kvm,vcpus=0+jit,vcpus=1
 */
#include "guest.h"

enum { ROUNDS = 100 };

static volatile uint32_t turn, wrong[2];
static uint8_t *code; /* mov $n, %eax; ret, and data in the same page */

static void write_code(uint32_t n)
{
    *(volatile uint32_t *)(code + 1) = n;
    ((volatile uint32_t *)code)[512] += 1; /* data beside it */
}

static void run(uint32_t index)
{
    uint32_t (*fn)(void) = (uint32_t(*)(void))(Word)code;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (i % 2 == index) {
            write_code(i);
            wrong[index] += fn() != i;
            __atomic_store_n(&turn, i + 1, __ATOMIC_SEQ_CST);
            continue;
        }
        while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != i + 1) {
            cpu_pause();
        }
        uint32_t r[4];
        cpuid(0, 0, r); /* serializes */
        wrong[index] += fn() != i;
    }
}

void guest_main(void)
{
    use_space(new_space());
    /* Some hosts show in CPUID what they were told to hide, and what the others lack. */
    write_cr4(read_cr4() & ~(Word)(1u << 18));
    code = alloc(PAGE);
    code[0] = 0xb8;
    code[5] = 0xc3;
    start_cpus();
    on_all(run);
    check("CPU 0 saw each change", wrong[0], 0);
    check("CPU 1 saw each change", wrong[1], 0);
    check("data beside the code", ((volatile uint32_t *)code)[512], ROUNDS);
}
