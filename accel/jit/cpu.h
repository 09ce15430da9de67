/* SPDX-License-Identifier: GPL-2.0-or-later
 * One vCPU's side of the translator: what generated code and its helpers in C share.
 */
#ifndef ACCEL_JIT_CPU_H
#define ACCEL_JIT_CPU_H

#include <stddef.h>

#include "accel/jit/tb.h"
#include "cpu/exec.h"
#include "cpu/window_checked.h"

enum { MAX_SHARES = 8 }; /* shared checks in force at once */

/* Indexes into CpuState.jit_word. */
enum {
    JW_SELF,    /* the CpuState's address */
    JW_PAGE,    /* RIP of the byte at offset 0 of the page that the code in hand lies in */
    JW_JUMPS,   /* JitCpu.jump's address */
    JW_LINK,    /* the TbExit that generated code was left by; 0: none */
    JW_INTERP,  /* 1: left for one block by the interpreter */
    JW_STALE,   /* 1: left at the entry of a dropped block */
    JW_VECTORS, /* 1: YMM registers are the host's now; 0: they are in CpuState */
    JW_FPU,     /* 1: x87 registers are the host's now: accel/jit/fpu.h, as the next three */
    JW_FPU_RIP, JW_FPU_CODE, JW_FPU_DATA,
    JW_TMP,     /* of one instruction */
    JW_LIN,     /* the slow stub's */
    JW_ENTRY, JW_DESC, /* not 0: of a store under way to a page with code, without C so far */
    JW_BESIDE,  /* how many of those were through without C */
    JW_SEG,     /* argument of the segment stub */
    JW_SAMPLE,  /* how many slots are filled until one is looked at: roam.c */
    JW_SPAN,    /* how many misses of spans until one is looked at: span.c */
    JW_WINDOW,  /* how many uses of pages that the checked window lacks until one is looked at: window.c */
    JW_TRIAL,   /* executions and misses of the operand on trial, against each other */
    /* Of shared checks whose operands roam: the addend. */
    JW_SHARE, JW_SHARE_END = JW_SHARE + MAX_SHARES,
    /* Outside 64-bit mode: the last offset that a segment lets be read or written without a
     * closer look, -1: none. */
    JW_READ_LIMIT = JW_SHARE_END, JW_WRITE_LIMIT = JW_READ_LIMIT + NR_SEGS,
    /* There, too: the last instruction pointer that generated code may go to by itself. */
    JW_CODE_LIMIT = JW_WRITE_LIMIT + NR_SEGS,
    JW_END,
};
_Static_assert((int)JW_END <= (int)JIT_NR_WORDS, "");

/* A field from the gs base: WINDOW_ABOVE behind the CpuState. */
#define OFF(field) ((int32_t)offsetof(CpuState, field) - (int32_t)WINDOW_ABOVE)
#define OFF_WORD(w) (OFF(jit_word) + 8 * (int32_t)(w))
#define OFF_GPR(n) (OFF(gpr) + 8 * (int32_t)(n))

/* A memory operand as generated code describes it to C, in 32 bits. */
enum {
    MEM_OFF_SHIFT = 0,   /* 12 bits: where in its page the instruction is */
    MEM_SLOT_SHIFT = 12, /* 6: index into the slots */
    MEM_SIZE_SHIFT = 18, /* 5: size - 1 */
    MEM_WRITE = 1 << 23, MEM_READ = 1 << 24, MEM_LOCK = 1 << 25,
    MEM_FLAGS = 1 << 26,  /* host EFLAGS are the guest's after the instruction */
    MEM_STAY = 1 << 27,   /* must not leave behind this instruction */
    MEM_STACK = 1 << 30,  /* #SS rather than #GP */
    MEM_ALIGNED = 1u << 31, /* #GP if not a multiple of size */
};

enum { JUMP_BITS = 14, NR_JUMPS = 1 << JUMP_BITS, JUMP2_BITS = 12, NR_JUMPS2 = 1 << JUMP2_BITS };
typedef struct JumpEntry {
    uint64_t lin, tag;
    void *host;
    uint64_t page; /* what JW_PAGE is to be, in 64-bit mode and flat segments */
} JumpEntry;

/* An instruction that runs as a function. */
typedef struct JitExec {
    ExecFn *fn;
    uint16_t off; /* in its page */
    Insn insn;
} JitExec;

/* XSAVE's standard form (SDM 1 13.4); only the x87 part is in use. */
typedef struct FpuImage {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16]; /* in stack order */
    uint8_t rest[352];
    uint64_t xstate_bv, header[7];
} __attribute__((aligned(64))) FpuImage;

/* How often an operand's slot was found to hold another page; roam.c. */
typedef struct RoamCount {
    const void *pc;
    uint32_t n;
} RoamCount;

/* What span.c knows of one vCPU's spans. */
typedef struct JitSpans {
    uint64_t home[NR_SPANS]; /* a page of the region that it is for; 0: none so far */
    unsigned next;
    RoamCount count[64];
    uint64_t since; /* host TSC */
} JitSpans;

struct JitCheck;

typedef struct JitCpu {
    JumpEntry jump[NR_JUMPS]; /* accel/jit/jumps.h; generated code looks here */
    JumpEntry jump2[NR_JUMPS2];
    FpuImage fpu; /* found by JW_JUMPS, too */
    Jit *jit;
    uint32_t epoch;    /* of what jump and the link hold */
    uint32_t in_code;  /* atomic: between jit_enter_code and jit_leave_code */
    struct JitCheck *check; /* NULL: blocks are not compared */
    bool refused;      /* code was not entered for a request, which may still be there */
    /* The store under way on slow's buffer. */
    uint64_t lin, ram_offset;
    RamBlock *ram;     /* NULL: the bounce buffer holds it */
    uint32_t desc;
    uint8_t bounce[64] __attribute__((aligned(64))); /* as guest operands may be */
    RoamCount roam_count[64];
    uint64_t roam_since; /* host TSC */
    JitSpans spans[2]; /* for reads, for writes */
    /* For info jit, as all below. What generated code counts down, JW_SAMPLE and JW_SPAN, from what it
     * began, and what was counted before. */
    uint64_t sample_from, tlb_hits, span_from, span_misses;
    uint64_t entries, execs, interp_blocks;
    uint64_t cache_misses, link_misses; /* a block was not in the jump cache; an exit led nowhere yet */
    uint64_t code_stores, code_dropped; /* stores of this vCPU that dropped blocks, and how many */
    uint64_t slow_fills, slow_tracked, slow_io, share_lost;
    uint64_t window_faults, window_healed, window_from, window_misses;
    const uint8_t *gs; /* as it is now */
    unsigned unpaged_left; /* entries of code with paging on until the bare window is dropped; 0: it is */
    uint32_t exec_of[NR_OPS];
} JitCpu;

/* The stubs' other ends: the vCPU's registers are in CpuState, but for rip. next: offset in the page
 * of the instruction behind. */
uint8_t *jit_mem_slow(CpuState *cpu, uint64_t lin, uint32_t desc); /* NULL: the slot is filled */
uint64_t jit_mem_commit(CpuState *cpu, uint64_t rflags, uint32_t next); /* 1: leave */
uint64_t jit_segment(CpuState *cpu, uint64_t offset, uint32_t desc);
uint64_t jit_share_slow(CpuState *cpu, uint64_t lin, uint32_t desc); /* 1: try again; 0: leave */
/* pc: in the block's code, executable. roam.c */
void jit_sample(CpuState *cpu, uint64_t lin, uint32_t desc, const void *pc);
/* An operand was not in its span. desc: its span for a slot. span.c */
void jit_span(CpuState *cpu, uint64_t lin, uint32_t desc, const void *pc);
void jit_share_lost(CpuState *cpu, uint32_t desc, Tb *tb);
/* An access through the window faulted, at JW_LIN; off: of the instruction. window.c */
void jit_window_lost(CpuState *cpu, uint32_t off, Tb *tb);
/* What lies at lin could not be accessed in the checked window. window.c */
void jit_window_use(CpuState *cpu, uint64_t lin);
void jit_raise_gp(CpuState *cpu, uint32_t desc) __attribute__((noreturn));
uint64_t jit_exec(CpuState *cpu, const JitExec *x); /* 1: leave */
/* Returns the code to go on at, or NULL: leave. */
void *jit_exec_end(CpuState *cpu, const JitExec *x);

/* What an entry of the jump cache must bear now: mode, and address space by its generation. */
static inline uint64_t jit_current_tag(const CpuState *cpu)
{
    return cpu->mmu->generation << 20 | 1u << 19 | cpu->mode;
}
/* Before code is entered: sets what it looks at. False: something was asked for. engine.c */
bool jit_ready(CpuState *cpu);

/* Translates the block at lin; page: where it comes from. NULL: it cannot be, or not now. */
Tb *jit_translate(CpuState *cpu, uint64_t lin, const ItlbEntry *page);

/* ---- engine.c ---- */

/* A shared check of the block did not hold: if it often does not, the block is dropped, and
 * share_pays false from then on. */
void jit_unshare(CpuState *cpu, Tb *tb);
/* From enter to leave blocks stay where they are. While a flush is on, it waits. */
void jit_enter_code(CpuState *cpu);
void jit_leave_code(CpuState *cpu);
/* The block at rip, translated if need be; NULL: it cannot be. Raises what the fetch raises. */
Tb *jit_block_now(CpuState *cpu);
/* Runs the block, and those that it leads to. False: not entered, something else comes first. */
bool jit_run_block(CpuState *cpu, const Tb *tb);

#endif
