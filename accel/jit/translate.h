/* SPDX-License-Identifier: GPL-2.0-or-later
 * One block being translated: what the parts of the translator share. Pass one decodes and finds
 * out where flags are needed; pass two emits code for one instruction after the other; rarely used
 * paths are noted and emitted behind the block.
 */
#ifndef ACCEL_JIT_TRANSLATE_H
#define ACCEL_JIT_TRANSLATE_H

#include "accel/jit/cpu.h"

/* Host registers with a fixed role; see stubs.c. */
enum { H_RSP = R9, S0 = R10, S1 = R11 };
enum { TB_MAX_INSNS = 64, TB_MAX_COLD = 256, TB_MAX_EXITS = TB_MAX_INSNS + 2 };

/* Where the guest's arithmetic flags are. */
typedef enum FlagsPlace { FLAGS_MEMORY, FLAGS_HOST, FLAGS_BOTH } FlagsPlace;

typedef struct Translator Translator;
/* Emits an instruction whose memory operand is at mem (NULL: it has none). Called twice: for the
 * usual path, and for the one on a buffer. May use S1, and S0 where mem does not. */
typedef void BodyFn(Translator *t, const Rm *mem);

typedef enum ColdKind { COLD_MEM, COLD_MEM_OPEN, COLD_SHARE, COLD_SPAN, COLD_WINDOW, COLD_SEGMENT,
                        COLD_EXEC,
                        COLD_EXEC_END, COLD_LEAVE_INTERP,
                        COLD_VECTORS, COLD_FPU,
                        COLD_TAKEN,
                        COLD_EXIT, COLD_SAVE_EXIT, COLD_FAR, COLD_RUN, COLD_LEAVE, COLD_MISS, COLD_GP,
                        COLD_CANONICAL } ColdKind;

/* What -d op tells of an instruction beyond its cold paths. */
enum { WAY_FUNCTION = 1 << 0, WAY_JUMP_CACHE = 1 << 1, WAY_SHARED = 1 << 2,
       WAY_ROAMS = 1 << 3, WAY_WINDOW = 1 << 4 };

/* A rarely used path. */
typedef struct Cold {
    ColdKind kind;
    uint8_t *from;        /* rel32 of the jump here */
    uint8_t *again, *after; /* where it goes on */
    uint8_t *from2;       /* COLD_FAR: another jump here */
    unsigned insn;        /* index */
    uint32_t desc;        /* MEM_ bits */
    Rm address;           /* COLD_MEM: to be computed into S0, unless again expects it there */
    bool has_address;
    uint32_t restore;     /* flags that the body wants in EFLAGS */
    BodyFn *body;
    unsigned seg, count;
    int32_t lo, hi;       /* COLD_SHARE: the range from the base */
    bool reload;          /* COLD_MISS: the address is in the entry only */
    ColdKind next;        /* COLD_SPAN: what it is when the Tlb has not got it either */
    uint8_t *join;        /* COLD_SPAN: where it goes on with the addend in S0, or host address */
    int span;             /* COLD_SPAN */
    bool open;            /* another check is in force */
    bool trial;           /* its misses are counted: roam_on_trial */
    bool roams;           /* the address is to be computed into S0 anew: roam_address */
    TbExit *exit;
    int32_t delta;
    bool poll;
    FlagsPlace flags;
    JitExec *exec;
    bool fpu;             /* COLD_EXEC: x87 registers are expected live behind it */
} Cold;

/* An instruction's memory operand, if it can share its check: see share.c. */
typedef struct Access {
    uint16_t id;   /* the base register, and how often it was written before; 0: cannot */
    bool write;
    int64_t lo, hi; /* first byte and one behind the last, from the base */
} Access;

/* A check that holds for several operands, in force up to instruction `last`. */
typedef struct Share {
    uint16_t id;
    bool write, roams;    /* roams: the addend is in JW_SHARE + its index */
    int span;             /* of one that roams; -1: none */
    unsigned slot, last;
    int64_t lo, hi;
} Share;

struct Translator {
    CpuState *cpu;
    Jit *j;
    Emit *e;
    Tb *tb;
    uint32_t mode;
    bool cs64, user, up;
    bool flat;               /* flat segments and 32- or 64-bit code */
    uint64_t gpa, lin;       /* of the first instruction */
    const uint32_t *stamp2;  /* of the second page, if the first instruction reaches into it */
    uint32_t seen2;
    uint32_t undef;          /* lockstep: flags undefined behind the instructions so far */
    unsigned page_at;        /* offset of the block in its page */
    unsigned nr_insns;
    Insn insn[TB_MAX_INSNS];
    uint16_t off[TB_MAX_INSNS + 1];
    uint32_t live[TB_MAX_INSNS + 1]; /* arithmetic flags read later than instruction i, unset between */
    unsigned i;              /* the instruction in hand */
    const Insn *in;
    FlagsPlace flags;
    bool vectors, fpu;       /* known to be live */
    bool fpu_rip;            /* JW_FPU_RIP is the block's since then */
    uint8_t fpu_seg;         /* the segment that JW_FPU_DATA has; NR_SEGS: unknown */
    uint64_t fpu_notes_rip, fpu_notes_seg; /* bit i: instruction i writes them */
    bool may_share;
    Access access[TB_MAX_INSNS];
    Share share[MAX_SHARES];
    unsigned nr_shares;
    const Share *in_s0;      /* whose addend S0 holds here; NULL: nobody's */
    bool failed;             /* out of some table: give up */
    bool done;
    Cold cold[TB_MAX_COLD];
    unsigned nr_cold;
    TbExit exits[TB_MAX_EXITS];
    unsigned nr_exits, max_exits;
    /* For -d op: */
    uint8_t way[TB_MAX_INSNS + 1];      /* WAY_ */
    uint8_t flags_at[TB_MAX_INSNS + 1]; /* FlagsPlace before instruction i */
    uint32_t cold_at;                   /* where the rarely used paths start, from the entry */
};

/* ---- insns.c: what the table says of instructions ---- */

typedef enum Role { ROLE_NONE, ROLE_REG, ROLE_RM, ROLE_VVVV, ROLE_OPCODE, ROLE_OFFSET } Role;
/* Where operand n is encoded. */
Role insn_role(const Insn *in, unsigned n);
/* Bytes of immediate at its end. */
unsigned insn_imm_size(const Insn *in);
/* Is VEX.W the size of a general operand, without meaning outside 64-bit mode? */
bool insn_w_is_size(const Insn *in);
/* Is a vector register in bits 7:4 of its immediate (bit 7: only in 64-bit mode)? */
bool insn_has_is4(const Insn *in);
/* Arithmetic flags that it reads, and those that it sets whatever its operands are. */
uint32_t insn_flags_read(const Insn *in);
uint32_t insn_flags_killed(const Insn *in);

/* General registers that it may write: bit n is register n. */
uint32_t insn_gpr_writes(const Insn *in);

/* Offset in the page of what is delta behind the block's start. */
static inline int32_t page_off(const Translator *t, int64_t delta)
{
    return (int32_t)((int64_t)t->page_at + delta);
}
/* Guest RIP of what is there: to reg, a scratch register. Leaves flags alone. */
static inline void emit_rip(Translator *t, unsigned reg, int64_t delta)
{
    emit_load(t->e, reg, rm_gs(OFF_WORD(JW_PAGE)));
    if (t->cs64) {
        emit_lea(t->e, reg, rm_mem(reg, page_off(t, delta)));
    } else {
        emit_lea32(t->e, reg, rm_mem(reg, page_off(t, delta)));
    }
}

/* ---- share.c: operands with one check for several ---- */

/* Pass one: which operands have the same base. */
void share_scan(Translator *t);
/* C is called, or may be: no check holds behind it. */
void share_end(Translator *t);
/* Does a check, other than this one (NULL: any), hold that later instructions count on? C must not
 * be called then. */
bool share_is_open(const Translator *t, const Share *other_than);
/* Before the instruction in hand: is S0 as it was when its operand is reached, or behind it? */
void share_keep_s0(Translator *t);
/* The check that covers the operand in hand; NULL: it needs its own. */
const Share *share_covers(const Translator *t, bool write);
/* A check for the operand in hand and later ones; NULL: there are none. */
const Share *share_begin(Translator *t, unsigned slot, bool write);
/* Would filling this slot break a check in force? */
bool share_slot_taken(const Translator *t, unsigned slot, bool write);

/* ---- roam.c: operands without a slot ---- */

/* Does the memory operand in hand look into the Tlb itself? */
bool roams(const Translator *t, bool write);
/* Was it found to, by misses? */
bool roam_was_seen(const Translator *t, bool write);
/* Is it on trial: to be counted by roam_count, ROAM_HIT for an execution, ROAM_MISS more for a miss? */
bool roam_on_trial(const Translator *t, bool write);
enum { ROAM_HIT = -1, ROAM_MISS = 7 };
void roam_count(Translator *t, int32_t n);
/* Its linear address, plus so much, into S0; S1 is kept. */
void roam_address(Translator *t, int32_t plus);
/* The address of lin's entry in the Tlb, as tlb_entry(), to `to`. scratch may be lin. */
void emit_tlb_index(Emit *e, unsigned to, unsigned lin, unsigned scratch);
/* S0: an address; the place of its page in the Tlb to S1. S0 is lost. */
void roam_index(Translator *t);
/* Is S0, without the bits that mask lacks, the page that S1 points to? Returns the jump for no. */
uint8_t *roam_compare(Translator *t, bool write, int32_t mask);

/* ---- span.c: several pages with one check ---- */

/* The span that the roaming operand in hand looks into; -1: none. */
int span_of(const Translator *t, bool write);
/* Are so many bytes (SHARE_MAX_SPAN at most) from the address in S1 within it? Returns the jump for
 * no. S1 is lost. */
uint8_t *span_compare(Translator *t, bool write, int n, unsigned bytes);
Rm span_addend(bool write, int n);

/* ---- window.c ---- */

typedef enum WindowUse { WINDOW_NOT, WINDOW_BARE, WINDOW_CHECKED } WindowUse;
/* Through which window does the memory operand in hand go? access: its MEM_ bits. */
WindowUse window_serves(const Translator *t, uint32_t access);
/* The linear address there. */
Rm window_operand(Rm ea);
/* May what lies at the linear address in S1 be accessed in the checked window? Returns the jump for
 * no. S1 is lost. */
uint8_t *window_check(Translator *t, bool write);

/* ---- translate.c ---- */

Cold *new_cold(Translator *t, ColdKind kind, uint8_t *from);
/* Entry n of Tb.insns: the code of the instruction in hand starts here. */
void note_place(Translator *t, unsigned n);
/* The block may be left here; live: the flags wanted then. They are in EFLAGS still. */
void flags_save(Translator *t, uint32_t live);
/* A sequence of the engine's that destroys EFLAGS follows; live: those still wanted. */
void flags_clobber(Translator *t, uint32_t live);
/* Makes the flags in need valid in EFLAGS (S1 is lost). */
void flags_restore(Translator *t, uint32_t need);
/* flags_restore without bookkeeping, for a path beside the usual one. */
void emit_flags_restore(Translator *t, uint32_t need);
/* Flags that must be in EFLAGS when the instruction in hand executes. */
uint32_t flags_needed(const Translator *t);
/* A description of the instruction in hand as a function; NULL: it has none, or out of memory. */
JitExec *new_exec(Translator *t);
/* Calls the C function of the instruction in hand. */
bool gen_exec(Translator *t);

/* ---- gen_mem.c ---- */

/* The effective address as a host operand; spilled registers come into S0 and S1. False: it has
 * no such form. */
bool guest_address(Translator *t, Rm *out);
/* The instruction's memory operand: address, check, then body. access: MEM_READ, MEM_WRITE,
 * MEM_ALIGNED and others. need: flags that body wants in EFLAGS. Flags that live on are in memory
 * afterwards, or still in EFLAGS where no check was necessary. */
void gen_access(Translator *t, unsigned size, uint32_t access, uint32_t need, BodyFn *body);
/* The same at [base + disp] through SS, base a host register. */
void gen_access_stack(Translator *t, unsigned base, int32_t disp, unsigned size, uint32_t access,
                      BodyFn *body);
void gen_cold_access(Translator *t, Cold *c);
void gen_cold_open(Translator *t, Cold *c);
void gen_cold_share(Translator *t, Cold *c);
void gen_cold_span(Translator *t, Cold *c);
void gen_cold_window(Translator *t, Cold *c);
/* The check that [r9 + disp, + size) is in the stack's slot; afterwards S0 is what to add to r9.
 * Returns the jump for "it is not". */
uint8_t *gen_stack_check(Translator *t, int32_t disp, unsigned size, bool write);

/* ---- gen_stack.c ---- */

static inline unsigned size_prefix(unsigned size)
{
    return size == 2 ? EM_66 : size == 8 ? EM_W : 0;
}

/* PUSH, POP and LEAVE; false: not translated. */
bool gen_stack(Translator *t);
/* Several pushes or pops (and a return) behind each other with one check: how many instructions
 * were done, t->i still being the first; 0: there is no such run. */
unsigned gen_stack_run(Translator *t);
void gen_cold_run(Translator *t, Cold *c);
/* Bytes that PUSH, CALL and the like move here; 0: not translated. */
unsigned stack_operand(const Translator *t);
/* The stack pointer becomes base + by, as far as it is used in this mode. Leaves flags alone. */
void move_stack(Translator *t, unsigned base, int32_t by);

/* ---- gen_int.c, gen_branch.c, gen_vector.c, gen_x87.c; see recode.h, too ---- */

static inline bool is_spilled(unsigned guest_reg)
{
    return guest_reg >= REG_R9 && guest_reg <= REG_R11;
}
/* Of a register that is not spilled. */
static inline unsigned host_reg(unsigned guest_reg)
{
    return guest_reg == REG_RSP ? H_RSP : guest_reg;
}
/* Any instruction that is the host's own with other registers. */
bool gen_plain(Translator *t);
/* Does the interpreter do it without its function? (Atomically, faults before anything else.) */
bool has_own_handler(const Insn *in);
/* The special ones; false: not translated. */
bool gen_special(Translator *t);
/* Those of them that would end a block, but for being done inline. */
bool is_inline_system(const Translator *t, const Insn *in);
bool gen_branch(Translator *t);
bool branch_is_direct(const Insn *in);
/* Is instruction i, a direct branch, short enough to be checked at the block's entry? */
bool branch_in_reach(const Translator *t, unsigned i);
enum { BRANCH_REACH = 1 << 30 };
/* A return whose target was loaded into S0 and whose stack pointer was moved by drop. */
void gen_return_to_s0(Translator *t, int32_t drop);
void body_load_s0(Translator *t, const Rm *mem);
bool gen_vector(Translator *t);
/* x87 and MMX registers into the host's, unless they are known to be there. */
void want_fpu(Translator *t);
bool gen_x87(Translator *t);
bool gen_emms(Translator *t);
bool gen_fwait(const Translator *t); /* true: it does nothing */
/* The block goes on at delta from its start, by a direct branch or falling through. */
void gen_exit(Translator *t, int64_t delta, bool poll);
/* Back to the loop with RIP at delta; flags are in memory. */
void gen_to_loop(Translator *t, int64_t delta);
/* The stub of that name. */
uint8_t *make_by_cache(Emit *e, const uint8_t *by_cache2);
uint8_t *make_by_cache2(Emit *e, const uint8_t *leave_rip);
void gen_cold_miss(Translator *t, Cold *c);
void gen_cold_exit(Translator *t, Cold *c);
void gen_cold_far(Translator *t, Cold *c);
void gen_cold_canonical(Translator *t, Cold *c);

#endif
