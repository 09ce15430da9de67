/* SPDX-License-Identifier: GPL-2.0-or-later
 * -accel jit,check=interp: every block runs in the interpreter first, on trial, and then
 * translated; the first difference ends the run. docs/translator.md says how it is used.
 */
#ifndef ACCEL_JIT_CHECK_H
#define ACCEL_JIT_CHECK_H

#include "accel/jit/cpu.h"
#include "cpu/journal.h"

enum { CHECK_MAX_INSNS = 64, CHECK_MAX_STORES = 1 << 13, CHECK_ALWAYS = 64 /* first runs */ };
#define NO_RIP (0xdeadull << 48) /* not canonical */

/* What the comparison must know of a block. Index i: before its instruction i. */
typedef struct TbCheck {
    unsigned nr_insns, runs;
    uint16_t *off;
    uint32_t *live;  /* arithmetic flags that the block keeps */
    uint32_t *undef; /* those that the instructions before i leave undefined */
    bool *simple;    /* instruction i changes general registers and flags only */
    uint8_t *bytes;  /* the code itself */
} TbCheck;

typedef enum CheckEnd { CHECK_RAN, CHECK_RAISED, CHECK_ESCAPED } CheckEnd;

typedef struct JitCheck {
    Journal journal;
    /* The interpreter's run: state[i] is after i instructions, when so many stores were made. */
    CpuState state[CHECK_MAX_INSNS + 1]; /* not all of it: the rest is in state[rest[i]] */
    unsigned rest[CHECK_MAX_INSNS + 1];
    size_t stores[CHECK_MAX_INSNS + 1];
    CpuState want;   /* one of those, put together */
    CpuState last;   /* where it stopped; after a fault in the middle of an instruction */
    unsigned nr;     /* instructions executed, without one that raised */
    CheckEnd end;    /* how it ended */
    int vector;      /* CHECK_RAISED: what */
    uint32_t error;
    uint32_t requests; /* CPU_REQ_ held back meanwhile */
    bool disturbed;  /* one came in the middle, where it may have cut a string instruction short */
    const Tb *tb;    /* the block in hand */
    unsigned alone;  /* so many instructions more are the interpreter's only */
    uint64_t alone_rip; /* and this one as long as it stays there (REP); NO_RIP: none */
    bool failed;     /* there was a difference */
    uint64_t blocks, insns, left_out;
} JitCheck;

JitCheck *check_new(void); /* NULL: no memory */
void check_free(JitCheck *c, const CpuState *cpu); /* says how much was compared */
/* One round of the engine's loop: a block in both engines, or what only the interpreter may run.
 * May unwind. */
void check_round(CpuState *cpu);

/* May it be executed twice? */
bool check_may_try(const Insn *in);
/* undef: flags that are undefined before it; returns those after it. */
uint32_t check_undefined(const Insn *in, uint32_t undef);
/* NULL: no room; the block is then not compared. Jit.lock held. */
TbCheck *check_describe(Jit *j, const Insn *in, const uint16_t *off, const uint32_t *live,
                        unsigned n);

/* ---- check_state.c ---- */

/* Copies what belongs to the guest: general registers and the like, and all others. */
void check_copy_core(CpuState *to, const CpuState *from);
void check_copy_rest(CpuState *to, const CpuState *from);
static inline void check_copy_state(CpuState *to, const CpuState *from)
{
    check_copy_core(to, from);
    check_copy_rest(to, from);
}
/* flags: the arithmetic flags that count. */
bool check_same_state(const CpuState *a, const CpuState *b, uint32_t flags);
/* Says all there is to say of a difference. interp: the interpreter's state, to be the same. */
void check_report(const CpuState *cpu, const JitCheck *c, const CpuState *interp, uint32_t flags,
                  const char *what);

#endif
