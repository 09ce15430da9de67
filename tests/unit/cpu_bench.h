/* SPDX-License-Identifier: GPL-2.0-or-later
 * A CPU on a bench: no board, 4 MiB of RAM, 64-bit flat mode with paging off (which no real CPU
 * has), one memory operand at an address that is the same in the test's own memory. For tests that
 * run one instruction function and look at the state. Include it once.
 */
#ifndef TESTS_UNIT_CPU_BENCH_H
#define TESTS_UNIT_CPU_BENCH_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "accel/interp/interp.h"
#include "cpu/exception.h"
#include "cpu/exec.h"
#include "hw/core/machine.h"
#include "util/vm_lock.h"

enum { BENCH_CODE = 0x1000, BENCH_ADDR = 0x200fc0 /* a page ends 64 bytes on */, BENCH_PAGE = 0x200000, BENCH_RAM = 0x400000 };

typedef struct Bench {
    CpuState *cpu;
    Machine machine;
    Region ram;
    uint64_t addr; /* of the memory operand */
    uint8_t *mem;  /* the same address here; bench_load and bench_store copy it from and to RAM */
} Bench;

static inline void *bench_guest(Bench *b)
{
    return b->machine.ram->host + b->addr;
}

static inline Bench *bench_new(void)
{
    Bench *b = calloc(1, sizeof *b);
    b->cpu = aligned_alloc(64, ROUND_UP(sizeof(CpuState), 64));
    vm_lock();
    region_init_container(&b->machine.memory_root, "memory", UINT64_MAX);
    region_init_container(&b->machine.io_root, "io", 65536);
    address_space_init(&b->machine.memory, "memory", &b->machine.memory_root);
    address_space_init(&b->machine.io, "io", &b->machine.io_root);
    b->machine.ram = ram_block_new("bench", BENCH_RAM, NULL);
    region_init_ram(&b->ram, "bench", b->machine.ram, 0, BENCH_RAM);
    region_add(&b->machine.memory_root, 0, &b->ram, 0);
    vm_unlock();

    CpuState *cpu = b->cpu;
    cpu_init(cpu, &b->machine, 0);
    cpu_reset(cpu, false);
    interp_cpu_init(cpu);
    memset(&cpu->features, 0xff, sizeof cpu->features);
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->efer = EFER_LME | EFER_LMA;
    cpu->xcr0 = 7;
    for (int i = 0; i < NR_SEGS; i++) {
        uint32_t attr = i == SEG_CS ? 0xa09b : 0xc093;
        cpu->seg[i] = (Segment){ .sel = 8 * (i + 1), .attr = attr, .limit = 0xffffffff };
    }
    cpu_update_mode(cpu);

    b->addr = BENCH_ADDR;
    /* 2 pages; MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED_NOREPLACE */
    uint8_t *page = mmap((void *)BENCH_PAGE, 8192, PROT_READ | PROT_WRITE, 0x100022, -1, 0);
    if (page != (uint8_t *)BENCH_PAGE) {
        abort();
    }
    b->mem = page + (BENCH_ADDR - BENCH_PAGE);
    return b;
}

/* Runs fn; the vector it raised, or -1. 256 bytes at addr are copied from mem before, and back. */
static inline int bench_run(Bench *b, ExecFn *fn, const Insn *in)
{
    jmp_buf unwind;
    volatile int vector = -1;
    memcpy(bench_guest(b), b->mem, 256);
    b->cpu->unwind = &unwind;
    if (setjmp(unwind) == 0) {
        fn(b->cpu, in);
    } else {
        vector = b->cpu->exc_vector;
    }
    b->cpu->unwind = NULL;
    memcpy(b->mem, bench_guest(b), 256);
    return vector;
}

/* The same, but the interpreter decodes and runs in's bytes. */
static inline int bench_step(Bench *b, const Insn *in)
{
    memcpy(bench_guest(b), b->mem, 256);
    memcpy(b->machine.ram->host + BENCH_CODE, in->bytes, in->len);
    ram_written(b->machine.ram, BENCH_CODE, 16);
    b->cpu->rip = BENCH_CODE;
    int vector = interp_step_raw(b->cpu);
    memcpy(b->mem, bench_guest(b), 256);
    if (vector < 0 && b->cpu->rip != (uint64_t)BENCH_CODE + in->len) {
        return -2;
    }
    return vector;
}

#endif
