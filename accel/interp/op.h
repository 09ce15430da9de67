/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interpreter's own instruction form. A guest basic block becomes an array of Ops, each with
 * the address of its handler; a handler does its work and jumps to the next one (a tail call where
 * the compiler makes them, else it returns the next op to a loop). docs/interpreter.md has the
 * picture.
 *
 * A handler returns the op to go on with, or NULL to leave to the engine's loop with cpu->rip
 * exact. While a block runs, cpu->rip is the block's first instruction and op->off the distance
 * from there; interp_sync() makes insn_rip exact before anything that may fault.
 */
#ifndef ACCEL_INTERP_OP_H
#define ACCEL_INTERP_OP_H

#include "cpu/exec.h"
#include "cpu/tlb.h"

typedef struct Op Op;
typedef const Op *OpFn(CpuState *cpu, const Op *op);

/* Op.flags. OP_STACK_SEG: the address goes through SS: #SS instead of #GP. OP_LAST: the block's
 * last instruction, for op_exec_step. */
enum { OP_STACK_SEG = 1, OP_LAST = 2 };

struct Op {
    OpFn *fn;
    uint8_t dst, src;    /* byte offsets into CpuState: registers of that operand size */
    uint8_t base, index; /* byte offsets into CpuState of 64-bit address parts */
    uint8_t scale;
    uint8_t flags;
    uint8_t len;  /* of the guest instruction */
    uint8_t size; /* of the memory operand */
    int32_t disp; /* of the address; branches: from the block's start to the target */
    uint16_t off; /* of the instruction in its block */
    uint16_t cond;
    union {
        uint64_t imm;
        const Insn *insn;
        struct Link *link;
        struct Block *block; /* op_check_page2: its own */
        const struct ExecOp *exec;
        const struct SimdThunk *thunk;
    };
};
enum { OP_SIZE = sizeof(Op) };

/* Where a direct branch leads, filled when it is first taken. Only for targets in the same linear
 * page (op->link is NULL otherwise): their physical page is then the block's own by definition. */
typedef struct Link {
    struct Block *to;
} Link;

enum { KEEPS_SHADOW = 1 /* STI, MOV SS */, KEEPS_RF = 2 /* IRET, task switches */ };

typedef struct Block {
    struct Block *hash_next;
    uint64_t gpa;
    uint64_t key;            /* mode bits, single-step */
    const uint32_t *stamp;   /* of the first page */
    uint32_t stamp_seen;
    uint16_t bytes, nr_insns;
    uint32_t heat;           /* runs left until the translator is to have it; see op_heat */
    uint8_t keeps;           /* KEEPS_: what a single instruction leaves as it set it */
    /* A last instruction that reaches into the next page: */
    const uint32_t *stamp2;
    uint32_t stamp2_seen;
    uint64_t gpa2, lin2, generation2;
    Op ops[];
} Block;

enum { JUMP_CACHE_BITS = 12, JUMP_CACHE_SIZE = 1 << JUMP_CACHE_BITS, HASH_SIZE = 1 << 16 };
typedef struct JumpEntry {
    uint64_t lin, key;
    uint64_t generation;
    Block *block;
} JumpEntry;

/* One vCPU's interpreter; cpu->engine_data. */
typedef struct Interp {
    JumpEntry jump[JUMP_CACHE_SIZE];
    Block *hash[HASH_SIZE];
    uint8_t *arena;
    size_t arena_used, arena_size;
    bool has_bus_lock;
    uint8_t *bounce; /* 64 aligned bytes, for slow_op: operands have at most 32 */
    Block **index;   /* all blocks in order of address, for block_of */
    size_t nr_blocks, max_blocks;
    uint32_t (*heat)(CpuState *cpu, const uint32_t *stamp); /* interp_set_heat */
    bool hot;           /* op_heat left because of that */
    uint64_t blocks_made, insns_made, flushes, lookups;
} Interp;

static inline Interp *interp_of(const CpuState *cpu)
{
    return cpu->engine_data;
}

/* Tail calls need optimization, and no sanitizer's redzones on the way out. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(VIREO_NO_TAIL_CALLS)
#define INTERP_TAIL_CALLS 1
#else
#define INTERP_TAIL_CALLS 0
#endif
#if defined(__clang__) && INTERP_TAIL_CALLS
#define MUST_TAIL __attribute__((musttail))
#else
#define MUST_TAIL
#endif
#if INTERP_TAIL_CALLS
#define GO(op_)                                                                                    \
    do {                                                                                           \
        const Op *go_ = (op_);                                                                     \
        MUST_TAIL return go_->fn(cpu, go_);                                                        \
    } while (0)
#else
#define GO(op_) return (op_)
#endif
#define NEXT GO(op + 1)

/* ---- the engine, for handlers ---- */

/* op is a direct branch that is taken, cpu->rip its target: the block there if it is at hand. */
const Op *branch_follow(CpuState *cpu, const Op *op);

static inline uint64_t interp_rip_mask(const CpuState *cpu)
{
    return cpu->mode & MODE_CS64 ? ~0ull : 0xffffffffu;
}

static inline void interp_sync(CpuState *cpu, const Op *op)
{
    cpu->insn_rip = (cpu->rip + op->off) & interp_rip_mask(cpu);
}

/* ---- operands ---- */

typedef uint8_t t8;
typedef uint16_t __attribute__((may_alias, aligned(1))) t16;
typedef uint32_t __attribute__((may_alias, aligned(1))) t32;
typedef uint64_t __attribute__((may_alias, aligned(1))) t64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define REG(T, off_) (*(T *)((uint8_t *)cpu + (off_)))
/* 32-bit results clear the upper half of the register. */
static inline void put8(CpuState *cpu, unsigned off, uint8_t v)
{
    REG(t8, off) = v;
}
static inline void put16(CpuState *cpu, unsigned off, uint16_t v)
{
    REG(t16, off) = v;
}
static inline void put32(CpuState *cpu, unsigned off, uint32_t v)
{
    REG(t64, off) = v;
}
static inline void put64(CpuState *cpu, unsigned off, uint64_t v)
{
    REG(t64, off) = v;
}

static inline uint64_t op_lin(const CpuState *cpu, const Op *op)
{
    return REG(t64, op->base) + (REG(t64, op->index) << op->scale) + (uint64_t)(int64_t)op->disp;
}

/* Does the memory operand the hard way: faults, registers, crossings, code and watched pages. The
 * handler is run again once its address is in the cache, or on a bounce buffer. how: the operand's
 * size, or-ed with SLOW_READ, SLOW_WRITE (no old value needed) or SLOW_RMW, and SLOW_LOCK. */
enum { SLOW_READ = 0x100, SLOW_WRITE = 0x200, SLOW_RMW = 0x300, SLOW_LOCK = 0x400 };
const Op *slow_op(CpuState *cpu, const Op *op, uint64_t lin, unsigned how);
/* For handlers that slow_op must not run again (branches): plain access with all of its duties. */
uint64_t slow_load(CpuState *cpu, const Op *op, uint64_t lin, unsigned size);
void slow_store(CpuState *cpu, const Op *op, uint64_t lin, uint64_t val, unsigned size);
/* A store may have changed the code of the block being executed: leave it after this op. */
void interp_after_store(CpuState *cpu, const Op *op);

/* Declares T *p for the memory operand at lin, or leaves the handler by slow_op. */
#define MEM_READ(T, p, lin)                                                                        \
    const TlbEntry *p##_entry = tlb_entry(cpu->tlb, lin);                                          \
    if (unlikely(p##_entry->rtag != TLB_PAGE((lin) + sizeof(T) - 1))) {                            \
        return slow_op(cpu, op, lin, SLOW_READ | sizeof(T));                                       \
    }                                                                                              \
    const T *p = (const T *)(p##_entry->addend + (lin))
#define MEM_WRITE(T, p, lin, how)                                                                  \
    const TlbEntry *p##_entry = tlb_entry(cpu->tlb, lin);                                          \
    if (unlikely(p##_entry->wtag != TLB_PAGE((lin) + sizeof(T) - 1) ||                             \
                 (((how) & SLOW_LOCK) && lin_splits_line(p##_entry->addend + (lin), sizeof(T))))) { \
        return slow_op(cpu, op, lin, (how) | sizeof(T));                                           \
    }                                                                                              \
    T *p = (T *)(p##_entry->addend + (lin))

/* ---- conditions (Insn.cond) on flags in CpuState.cc form ---- */

static inline __attribute__((always_inline)) bool cc_test(unsigned cond, unsigned cc)
{
    bool r;
    switch (cond >> 1) {
    case 0: r = cc & CC_OF; break;
    case 1: r = cc & CC_CF; break;
    case 2: r = cc & CC_ZF; break;
    case 3: r = cc & (CC_CF | CC_ZF); break;
    case 4: r = cc & CC_SF; break;
    case 5: r = cc & CC_PF; break;
    case 6: r = ((cc >> 15) ^ cc) & 1; break;
    default: r = (cc & CC_ZF) || (((cc >> 15) ^ cc) & 1); break;
    }
    return r ^ (cond & 1);
}

/* ---- handlers by instruction, for build.c. Last index: log2 of the operand size ---- */

enum { FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI, NR_FORMS };
enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST, NR_ALU };
enum { UN_INC, UN_DEC, UN_NEG, UN_NOT, NR_UNARY };
enum { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAR, NR_SHIFT };
enum { FUSE_CMP, FUSE_TEST, NR_FUSE };

extern OpFn *const alu_ops[NR_ALU][NR_FORMS][4];
extern OpFn *const alu_noflags_ops[NR_ALU][2][4];   /* RR, RI whose flags nobody reads */
extern OpFn *const alu_lock_ops[NR_ALU][2][4];      /* MR, MI */
extern OpFn *const fuse_ops[NR_FUSE][2][16][4];     /* RR, RI + JCC as one op */
extern OpFn *const unary_ops[NR_UNARY][2][4];       /* R, M */
extern OpFn *const unary_lock_ops[NR_UNARY][4];
extern OpFn *const shift_ops[NR_SHIFT][2][2][4];    /* R, M; imm, CL */
extern OpFn *const shift_noflags_ops[NR_SHIFT][4];  /* R, imm */
extern OpFn *const mov_ops[NR_FORMS][4];
extern OpFn *const movx_ops[2][2][4][4];            /* ZX, SX; R, M; from; to */
extern OpFn *const lea_ops[4];
extern OpFn *const xchg_ops[2][4];                  /* RR, MR (atomic) */
extern OpFn *const cmov_ops[2][4];                  /* R, M */
extern OpFn *const xadd_ops[2][4], *const cmpxchg_ops[2][4]; /* M; plain, LOCKed */
extern OpFn *const jcc_ops[16], *const jcc32_ops[16]; /* 64-bit mode; the others, if flat */

/* For instructions that are not worth a handler a form: fn works on exec_get/exec_put. */
ExecFn *misc_function(const Insn *in);

OpFn op_ea64_seg, op_ea32_in64, op_ea32_flat, op_ea_checked;
OpFn op_lea_checked;
OpFn op_setcc_r, op_imul_rr32, op_imul_rr64, op_imul_ri32, op_imul_ri64, op_cdqe, op_cqo, op_cdq;
OpFn op_jmp, op_jmp32, op_jmp_r64, op_jmp_m64, op_call64, op_call_r64, op_call_m64, op_ret64;
OpFn op_branch_generic;
OpFn op_push64_r, op_push64_i, op_pop64_r, op_leave64;
OpFn op_call32, op_call_r32, op_call_m32, op_jmp_r32, op_jmp_m32, op_ret32; /* flat, SS32 */
OpFn op_push32_r, op_push32_i, op_pop32_r, op_leave32;
OpFn op_nop, op_exec, op_exec_step, op_exec_end, op_raise_ud, op_raise_gp, op_end, op_stale;
OpFn op_check_limit, op_check_page2, op_heat;

/* By the memory operand's size, direction and alignment; op->thunk is to be set. */
OpFn *simd_mem_op(const struct SimdThunk *t);

/* The insn of an op_exec, and what to call. */
typedef struct ExecOp {
    ExecFn *fn;
    Insn insn;
} ExecOp;

#endif
