/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the workloads share: vbench.c has main(), cpu.c and sys.c the table of workloads.
 */
#ifndef VBENCH_H
#define VBENCH_H

#include <stddef.h>
#include <stdint.h>

#define NOINLINE __attribute__((noinline))

struct bench {
    const char *name;
    uint64_t (*run)(void); /* returns a checksum that must not depend on the machine */
};

extern const struct bench cpu_benches[], sys_benches[];

/* n repetitions at scale 1, times VB_SCALE, at least one. */
unsigned long reps(double n);
uint32_t rnd(uint32_t *state);
void *map(size_t size, int prot);
void die(const char *what);

#endif
