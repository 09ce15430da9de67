/* SPDX-License-Identifier: GPL-2.0-or-later
 * Translated blocks and where they are kept: one code cache for all vCPUs, blocks found by guest
 * physical address and mode, chained by patched jumps, dropped when their page's code changes.
 *
 * Threads. `lock` guards every structure here and all writing of code; nobody waits for another
 * vCPU while holding it. Lookups in the hash are lock-free: a block is never freed but by
 * jit_flush, which first sees every vCPU out of generated code (jit_enter_code, jit_leave_code).
 * Code that other vCPUs may be executing is changed by aligned stores of at most 8 bytes, each of
 * which replaces whole instructions:
 * - a block's entry is an 8-byte NOP, or in a dropped block a jump to the stub that leaves;
 * - a chained jump's displacement is aligned to 4;
 * - an exit's gate is a 5-byte NOP or jump inside 8 aligned bytes;
 * - what an exit to another page compares with is an immediate in 8 aligned bytes. Only one vCPU
 *   writes and reads those: with several, such exits do not exist, since the same number is
 *   another address space to each. Whoever drops the target meanwhile finds it guarded by the
 *   jump, as with other exits.
 */
#ifndef ACCEL_JIT_TB_H
#define ACCEL_JIT_TB_H

#include <pthread.h>
#include <time.h>

#include "accel/jit/emit.h"
#include "accel/jit/jit.h"
#include "cpu/tlb.h"
#include "hw/core/machine.h"

typedef struct Tb Tb;
typedef struct PerfMap PerfMap;

/* A direct branch to the block's own page. Two ways out: with the flags dropped, if the target
 * does not want them, or after they were saved. One that polls has the gate in front. */
typedef struct TbExit {
    Tb *from, *to;
    struct TbExit *next_in;   /* of to->in */
    uint8_t *direct;          /* rel32 of the jump that saves no flags */
    uint8_t *gate;            /* shut: to saved_code; NULL: direct itself goes there */
    uint8_t *saved_code;      /* saves the flags; NULL: they are in memory in any case */
    uint8_t *saved;           /* with saved_code: rel32 of the jump behind the saving */
    uint8_t *unlinked;        /* where direct or saved lead while to is NULL */
    uint16_t at;              /* the target's offset in its page */
    bool by_cache;            /* unlinked for good: the stub looks into the jump cache */
    /* To another page: direct is taken while the vCPU's jump_tag and JW_PAGE are those that the
     * code compares with, as they were when it was linked. NULL: to the block's own page. */
    uint64_t *tag, *page;
    int32_t far;              /* the target, from JW_PAGE */
    int32_t tries;            /* so often the jump cache is asked before C links it anew */
} TbExit;

struct Tb {
    Tb *hash_next;
    uint64_t gpa;
    uint32_t mode;
    const uint32_t *stamp;    /* of its page: identifies the page */
    const uint32_t *stamp2;   /* of the page its one instruction reaches into; NULL: it does not.
                                 Entered by the jump cache only, which knows both mappings. */
    uint8_t *entry;           /* executable address */
    uint8_t *stale_code;      /* what the entry leads to once it is dropped */
    uint32_t code_len;
    uint16_t bytes, nr_insns;
    uint16_t span;            /* how many bytes were looked at: bytes, and what follows */
    uint64_t serial;          /* grows from block to block */
    struct TbCheck *check;    /* NULL: blocks are not compared */
    bool wants_flags;         /* reads arithmetic flags that it has not set */
    bool stale;
    TbExit *in;
    struct TbInsn {
        uint32_t host;        /* where its code starts, from entry */
        uint32_t desc;        /* for stubs.raise_gp */
    } *insns;                 /* nr_insns of them, and behind them up to nr_places those of runs
                                 in their rarely used form, gen_cold_run */
    uint16_t nr_places;
    unsigned nr_exits;
    TbExit exits[];
};

enum { ROAM_BITS = 1 << 16, WINDOW_BITS = 1 << 16, TB_HASH = 1 << 15, PAGE_HASH = 1 << 13,
       CODE_MARGIN = 96 << 10,
       TB_ENTRY = 8, /* bytes of NOP that a block begins with: tb_drop puts a jump there */
       TB_LEAST = 32, /* bytes of code of the smallest block */
       MAX_PRESSURE = 7 };

typedef struct TbNode {
    struct TbNode *next;
    Tb *tb;
} TbNode;

typedef struct CodePageTbs {
    struct CodePageTbs *next;
    const uint32_t *stamp;
    TbNode *first;
    uint32_t drops; /* how often its blocks were dropped: such pages are translated later */
} CodePageTbs;

/* Why a block is dropped. */
typedef enum DropCause {
    DROP_STORE,  /* a vCPU stored to its bytes */
    DROP_DEVICE, /* a device or the host did */
    /* To be made anew in another way: share.c, roam.c, span.c, window.c. */
    DROP_SHARE, DROP_ROAM, DROP_SPAN, DROP_WINDOW,
    NR_DROPS,
} DropCause;

typedef struct JitStats {
    uint64_t blocks, guest_insns, guest_bytes, host_bytes, translate_ns;
    uint64_t links, dropped_pages, kept_blocks, flushes, full, given_up, roaming;
    uint64_t dropped[NR_DROPS];
} JitStats;

/* roam.c: an operand whose misses are counted. */
typedef struct RoamTrial {
    uint64_t site;         /* 0: none */
    const CpuState *cpu;   /* that counts */
    uint64_t since;        /* host TSC */
    uint64_t gpa;          /* of its block */
    uint32_t mode;
    const uint32_t *stamp;
} RoamTrial;

/* What leads from generated code to C. All are addresses in the writable mapping. */
typedef struct JitStubs {
    void (*enter)(void *host_code); /* executable; the vCPU's thread, gs set */
    uint8_t *leave_rip;    /* r10: rip of the next instruction */
    uint8_t *leave_at;     /* r11d: its offset in the page */
    uint8_t *by_cache;     /* r10: goes on there, or leaves; 64-bit mode and flat segments */
    uint8_t *by_cache2;    /* the same, when the first look found nothing */
    uint8_t *leave_link;   /* r11: TbExit: leaves, or by_cache */
    uint8_t *far;          /* r10: goes on there, r11: TbExit to another page: leaves, or by_cache */
    uint8_t *leave_stale;  /* as leave_at: the block was dropped */
    uint8_t *leave_interp; /* as leave_at: the interpreter is to run the next block */
    uint8_t *slow;         /* memory operand not at hand: r10 linear address, r11d MEM_ bits */
    uint8_t *look;         /* the same in the Tlb only: ZF = 0: it is not there */
    uint8_t *share;        /* the same, and asks C then */
    uint8_t *span;         /* as slow, with a span for the slot: C looks at it; comes back */
    uint8_t *share_lost;   /* r10: Tb, r11d: MEM_ bits; leaves for the interpreter to execute it */
    uint8_t *window_lost;  /* the same; JW_LIN: the address that faulted */
    uint8_t *window_use;   /* r10: linear address not in the checked window: C looks at it; comes back */
    uint8_t *commit;       /* after a store on slow's buffer; r11d: offset of the next instruction */
    uint8_t *segment;      /* r10 offset, r11d MEM_ bits, JW_SEG: checks, r10 linear */
    uint8_t *raise_gp;     /* r11d: MEM_ bits; #GP(0), with MEM_STACK #SS(0) */
    uint8_t *exec;         /* r11: JitExec; comes back */
    uint8_t *exec_end;     /* r11: JitExec; leaves */
    uint8_t *save_vectors, *load_vectors;
    uint8_t *load_fpu;
} JitStubs;

/* One machine's translator. */
struct Jit {
    pthread_mutex_t lock;
    uint8_t *rw, *rx;
    size_t size;
    Emit e;                /* where the next block goes */
    uint8_t *after_stubs;
    JitStubs stubs;
    Tb *hash[TB_HASH];
    CodePageTbs *pages[PAGE_HASH];
    uint8_t *meta;         /* blocks' descriptions, JitExecs */
    size_t meta_used, meta_size;
    Tb **by_host;          /* all blocks, dropped ones too, by where their code lies */
    size_t nr_by_host;
    uint64_t last_serial;
    uint32_t epoch;        /* grows with every flush */
    bool stopping;         /* atomic: a flush waits for all vCPUs to leave generated code */
    unsigned nr_cpus;
    unsigned threshold, max_insns;
    unsigned pressure;     /* atomic: threshold is so many times doubled, MAX_PRESSURE at most */
    uint64_t full_at, full_translate_ns; /* processor time of all, and of it translating, then */
    bool use_table, share, chain, check;
    JitRoam roaming;
    uint8_t share_lost[4096]; /* share.c; atomic */
    uint64_t roam[ROAM_BITS / 64], roam_not[ROAM_BITS / 64]; /* roam.c; atomic */
    RoamTrial trial;
    bool spans;
    uint8_t span_site[1 << 14]; /* span.c; atomic */
    JitWindow window;
    uint64_t window_not[WINDOW_BITS / 64]; /* window.c; atomic */
    uint8_t window_faults[4096]; /* the same, with paging; with the lock */
    unsigned check_every;
    JitStats stats;
    PerfMap *perfmap;      /* NULL: nobody asked for it */
    struct Turns *turns;   /* NULL: vCPUs run in parallel */
};

/* Processor time of this thread or process. */
static inline uint64_t cpu_time_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* NULL with *errp: no executable memory. */
Jit *jit_new(const JitConfig *c, Error **errp);
void jit_free(Jit *j);
void jit_make_stubs(Jit *j); /* stubs.c */

/* The block for the code at gpa, whose page has that stamp (stamp2: of the page its instruction
 * reaches into, NULL if it does not; TB_ANY: whichever); NULL if there is none. Lock-free. */
Tb *tb_find(const Jit *j, uint64_t gpa, uint32_t mode, const uint32_t *stamp,
            const uint32_t *stamp2);
/* "kernel64", "user32", "real": what the block's code is, for people. */
const char *tb_mode_name(uint32_t mode);
#define TB_ANY ((const uint32_t *)1)
/* From here on: lock held. */
void *jit_alloc(Jit *j, size_t bytes); /* NULL: full */
bool jit_is_full(const Jit *j);
void tb_insert(Jit *j, Tb *tb);
void tb_link(Jit *j, TbExit *x, Tb *to);
/* The same for an exit to another page: while JW_PAGE and jump_tag are these. */
void tb_link_far(Jit *j, TbExit *x, Tb *to, uint64_t page, uint64_t tag);
void tb_drop(Jit *j, Tb *tb, DropCause cause); /* not a stale one */
/* A vCPU goes: the next one counts its address spaces from the start again. */
void jit_forget_spaces(Jit *j);
/* memory/ram.h, ram_code_keep_hook and ram_code_hook. Take the lock. The latter returns how many blocks
 * it dropped; cause: DROP_STORE or DROP_DEVICE. */
uint64_t jit_page_keep(Jit *j, const uint32_t *stamp, uint64_t written, uint64_t *ticket);
unsigned jit_page_written(Jit *j, const uint32_t *stamp, uint64_t written, uint64_t ticket,
                          DropCause cause);
uint32_t jit_page_drops(const Jit *j, const uint32_t *stamp);
/* A SIGSEGV whose cause was at pc in generated code: its block, and the instruction's TbInsn.desc; NULL:
 * it was not there. Takes the lock. */
Tb *jit_fault_at(Jit *j, const void *pc, uint32_t *desc);
/* share.c. Does the block at gpa share checks? False once share_note_lost was true for it: so often
 * was the range not in one page of RAM. Any thread. */
bool share_pays(Jit *j, uint64_t gpa, uint32_t mode);
bool share_note_lost(Jit *j, uint64_t gpa, uint32_t mode);
/* For Engine.info; info.c. */
void jit_info(Machine *m, void (*print)(void *opaque, const char *line), void *opaque);
/* Empties the cache. No vCPU is in generated code. */
void jit_empty(Jit *j);
/* The block whose code holds that executable address, or NULL; dropped ones, too. */
Tb *tb_of_host(const Jit *j, const void *host);

#endif
