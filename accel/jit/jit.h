/* SPDX-License-Identifier: GPL-2.0-or-later
 * The translator, for those outside accel/jit.
 */
#ifndef ACCEL_JIT_JIT_H
#define ACCEL_JIT_JIT_H

#include "cpu/state.h"
#include "util/error.h"

typedef struct Jit Jit;

/* Which memory operands look into the Tlb rather than into their slot: roam.c. */
typedef enum JitRoam { ROAM_OFF, ROAM_AUTO, ROAM_ALL } JitRoam;

#define MAX_THRESHOLD (1u << 20)

/* Whether 32- and 16-bit code accesses memory through windows: window.c. */
typedef enum JitWindow {
    WINDOW_OFF,
    WINDOW_ON,
    WINDOW_ALL, /* with paging, each page at its first use, not only those that are used most */
} JitWindow;

typedef struct JitConfig {
    size_t code_size;   /* bytes of code cache */
    unsigned nr_cpus;   /* that run at once; 1: LOCK prefixes are left out, nobody else writes */
    bool single;        /* thread=single: the vCPUs take turns */
    unsigned threshold; /* runs in the interpreter before a block is translated */
    unsigned max_insns; /* of a block: 1 to 64 */
    bool table;         /* look memory up in the translation caches; false: ask C each time */
    bool share;         /* one check for several memory operands */
    JitRoam roam;
    bool span;          /* those look into spans of several pages before */
    JitWindow window;
    bool chain;         /* blocks jump to each other */
    bool check;         /* each block runs in the interpreter first and must do the same */
    unsigned check_every; /* the same block only so often, once it has been right many times */
    bool perfmap;       /* name the code in /tmp/perf-PID.map */
} JitConfig;

#define JIT_CONFIG_DEFAULT                                                                         \
    {                                                                                              \
        .code_size = 64u << 20, .nr_cpus = 1, .threshold = 16, .max_insns = 64, .table = true,     \
        .share = true, .roam = ROAM_AUTO, .span = true, .window = WINDOW_ON, .chain = true         \
    }

/* One for all vCPUs of a machine. NULL with *errp: the host gives no executable memory. */
Jit *jit_create(const JitConfig *c, Error **errp);
void jit_destroy(Jit *j); /* after its vCPUs */
/* Allocates and frees what one CPU needs, the interpreter's part included. False with *errp: the host
 * has no room for its window, which only a CpuState from window_pages_new can have. */
bool jit_cpu_init(CpuState *cpu, Jit *j, Error **errp);
void jit_cpu_fini(CpuState *cpu);
/* Runs until a CPU_REQ_STOP, or until the CPU is not active. The vCPU's thread, vm_lock not held. */
void jit_run(CpuState *cpu);
/* Translates the block at rip at once and runs it (with chain off: it alone), without looking at
 * requests; an instruction that is never translated runs in the interpreter. Returns -1, or the
 * vector it raised, not delivered, rip at the faulting instruction. */
int jit_step_block(CpuState *cpu);

#endif
