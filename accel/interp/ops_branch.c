/* SPDX-License-Identifier: GPL-2.0-or-later
 * Handlers of near branches. Direct ones inside a page go from block to block through a Link;
 * all others through the jump cache, and what that does not know through the engine's loop.
 */
#include "accel/interp/block.h"
#include "accel/interp/host_x86_64.h"
#include "cpu/exception.h"

static inline bool block_enterable(const CpuState *cpu, const Block *b)
{
    return likely(b && !block_is_stale(b) && !cpu_requests(cpu));
}

/* cpu->rip is the target: looks for its block, and remembers it in the link if it may. */
static const Op *follow(CpuState *cpu, Link *link)
{
    uint64_t lin = cpu_code_lin(cpu);
    const Op *first = jump_cache_find(cpu, lin);
    if (first && link) {
        link->to = container_of(first, Block, ops);
    }
    return first;
}

const Op *branch_follow(CpuState *cpu, const Op *op)
{
    return follow(cpu, op->link);
}

#define TAKE(op_)                                                                                  \
    do {                                                                                           \
        Link *link_ = (op_)->link;                                                                 \
        Block *b_ = link_ ? link_->to : NULL;                                                      \
        if (block_enterable(cpu, b_)) {                                                            \
            GO(b_->ops);                                                                           \
        }                                                                                          \
        return branch_follow(cpu, (op_));                                                          \
    } while (0)

/* Outside 64-bit mode; flags bit 0: 16-bit operand size. */
static inline uint64_t cut_ip(const Op *op, uint64_t ip)
{
    return op->flags & 1 ? (uint16_t)ip : (uint32_t)ip;
}

const Op *op_jmp(CpuState *cpu, const Op *op)
{
    cpu->rip += (uint64_t)(int64_t)op->disp;
    TAKE(op);
}

const Op *op_jmp32(CpuState *cpu, const Op *op)
{
    cpu->rip = cut_ip(op, cpu->rip + (uint64_t)(int64_t)op->disp);
    TAKE(op);
}

#define CONDS(X)                                                                                   \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define JCC(c)                                                                                     \
    static const Op *jcc_##c(CpuState *cpu, const Op *op)                                          \
    {                                                                                              \
        if (!cc_test(c, cpu->cc)) {                                                                \
            NEXT;                                                                                  \
        }                                                                                          \
        cpu->rip += (uint64_t)(int64_t)op->disp;                                                   \
        TAKE(op);                                                                                  \
    }                                                                                              \
    static const Op *jcc32_##c(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        if (!cc_test(c, cpu->cc)) {                                                                \
            NEXT;                                                                                  \
        }                                                                                          \
        cpu->rip = cut_ip(op, cpu->rip + (uint64_t)(int64_t)op->disp);                             \
        TAKE(op);                                                                                  \
    }
CONDS(JCC)
#define JCC_ROW(c) jcc_##c,
#define JCC32_ROW(c) jcc32_##c,
OpFn *const jcc_ops[16] = { CONDS(JCC_ROW) };
OpFn *const jcc32_ops[16] = { CONDS(JCC32_ROW) };

/* ---- CMP or TEST and the JCC behind it as one; op[1] is the ordinary JCC ---- */

#define FUSE(N, c, name, insn, form, source)                                                       \
    static const Op *name##_##form##N##_##c(CpuState *cpu, const Op *op)                           \
    {                                                                                              \
        t##N d = REG(t##N, op->dst), s = (t##N)(source);                                           \
        unsigned cc;                                                                               \
        HOST_ALU(insn, d, s, cc);                                                                  \
        cpu->cc = (uint16_t)cc;                                                                    \
        op++;                                                                                      \
        if (!cc_test(c, cc)) {                                                                     \
            NEXT;                                                                                  \
        }                                                                                          \
        cpu->rip += (uint64_t)(int64_t)op->disp;                                                   \
        TAKE(op);                                                                                  \
    }
#define FUSE_SIZES(c)                                                                              \
    FUSE(8, c, cmp, "cmp", rr, REG(t8, op->src)) FUSE(8, c, cmp, "cmp", ri, op->imm)               \
    FUSE(16, c, cmp, "cmp", rr, REG(t16, op->src)) FUSE(16, c, cmp, "cmp", ri, op->imm)            \
    FUSE(32, c, cmp, "cmp", rr, REG(t32, op->src)) FUSE(32, c, cmp, "cmp", ri, op->imm)            \
    FUSE(64, c, cmp, "cmp", rr, REG(t64, op->src)) FUSE(64, c, cmp, "cmp", ri, op->imm)            \
    FUSE(8, c, test, "test", rr, REG(t8, op->src)) FUSE(8, c, test, "test", ri, op->imm)           \
    FUSE(16, c, test, "test", rr, REG(t16, op->src)) FUSE(16, c, test, "test", ri, op->imm)        \
    FUSE(32, c, test, "test", rr, REG(t32, op->src)) FUSE(32, c, test, "test", ri, op->imm)        \
    FUSE(64, c, test, "test", rr, REG(t64, op->src)) FUSE(64, c, test, "test", ri, op->imm)
CONDS(FUSE_SIZES)
#define FUSE_ROW(c, name, form)                                                                    \
    { name##_##form##8_##c, name##_##form##16_##c, name##_##form##32_##c, name##_##form##64_##c },
#define CMP_RR(c) FUSE_ROW(c, cmp, rr)
#define CMP_RI(c) FUSE_ROW(c, cmp, ri)
#define TEST_RR(c) FUSE_ROW(c, test, rr)
#define TEST_RI(c) FUSE_ROW(c, test, ri)
OpFn *const fuse_ops[NR_FUSE][2][16][4] = {
    { { CONDS(CMP_RR) }, { CONDS(CMP_RI) } },
    { { CONDS(TEST_RR) }, { CONDS(TEST_RI) } },
};

/* ---- CALL, RET and indirect jumps in 64-bit mode ---- */

static inline uint64_t next_rip(const CpuState *cpu, const Op *op)
{
    return cpu->rip + op->off + op->len;
}

/* The branch itself faults on a non-canonical target (SDM 1 3.3.7.1). */
static inline bool canonical(uint64_t rip)
{
    return (uint64_t)((int64_t)(rip << 16) >> 16) == rip;
}

static __attribute__((noinline)) const Op *bad_target(CpuState *cpu, const Op *op)
{
    interp_sync(cpu, op);
    cpu_raise(cpu, EXC_GP, 0);
}

#define ENTER_AT(target_)                                                                          \
    do {                                                                                           \
        cpu->rip = (target_);                                                                      \
        const Op *first_ = jump_cache_find(cpu, cpu->rip);                                         \
        if (likely(first_ != NULL)) {                                                              \
            GO(first_);                                                                            \
        }                                                                                          \
        return NULL;                                                                               \
    } while (0)

/* The return address goes where the cache does not: registers, crossings, first touch. */
static __attribute__((noinline)) const Op *call_slow(CpuState *cpu, const Op *op, uint64_t target)
{
    uint64_t sp = cpu->gpr[REG_RSP] - 8;
    slow_store(cpu, op, sp, next_rip(cpu, op), 8);
    cpu->gpr[REG_RSP] = sp;
    cpu->rip = target;
    return NULL;
}

#define PUSH_RETURN(target_)                                                                       \
    do {                                                                                           \
        uint64_t sp_ = cpu->gpr[REG_RSP] - 8;                                                      \
        TlbEntry *e_ = tlb_entry(cpu->tlb, sp_);                                                   \
        if (unlikely(e_->wtag != TLB_PAGE(sp_ + 7))) {                                             \
            return call_slow(cpu, op, (target_));                                                  \
        }                                                                                          \
        *(t64 *)(e_->addend + sp_) = next_rip(cpu, op);                                            \
        cpu->gpr[REG_RSP] = sp_;                                                                   \
    } while (0)

const Op *op_call64(CpuState *cpu, const Op *op)
{
    PUSH_RETURN(cpu->rip + (uint64_t)(int64_t)op->disp);
    cpu->rip += (uint64_t)(int64_t)op->disp;
    TAKE(op);
}

const Op *op_call_r64(CpuState *cpu, const Op *op)
{
    uint64_t target = REG(t64, op->src);
    if (unlikely(!canonical(target))) {
        return bad_target(cpu, op);
    }
    PUSH_RETURN(target);
    ENTER_AT(target);
}

const Op *op_jmp_r64(CpuState *cpu, const Op *op)
{
    uint64_t target = REG(t64, op->src);
    if (unlikely(!canonical(target))) {
        return bad_target(cpu, op);
    }
    ENTER_AT(target);
}

static __attribute__((noinline)) const Op *branch_mem_slow(CpuState *cpu, const Op *op, bool call)
{
    uint64_t target = slow_load(cpu, op, op_lin(cpu, op), 8);
    if (!canonical(target)) {
        return bad_target(cpu, op);
    }
    if (call) {
        return call_slow(cpu, op, target);
    }
    cpu->rip = target;
    return NULL;
}

const Op *op_call_m64(CpuState *cpu, const Op *op)
{
    uint64_t lin = op_lin(cpu, op);
    const TlbEntry *e = tlb_entry(cpu->tlb, lin);
    if (unlikely(e->rtag != TLB_PAGE(lin + 7))) {
        return branch_mem_slow(cpu, op, true);
    }
    uint64_t target = *(t64 *)(e->addend + lin);
    if (unlikely(!canonical(target))) {
        return bad_target(cpu, op);
    }
    PUSH_RETURN(target);
    ENTER_AT(target);
}

const Op *op_jmp_m64(CpuState *cpu, const Op *op)
{
    uint64_t lin = op_lin(cpu, op);
    const TlbEntry *e = tlb_entry(cpu->tlb, lin);
    if (unlikely(e->rtag != TLB_PAGE(lin + 7))) {
        return branch_mem_slow(cpu, op, false);
    }
    uint64_t target = *(t64 *)(e->addend + lin);
    if (unlikely(!canonical(target))) {
        return bad_target(cpu, op);
    }
    ENTER_AT(target);
}

static __attribute__((noinline)) const Op *ret_slow(CpuState *cpu, const Op *op)
{
    uint64_t sp = cpu->gpr[REG_RSP];
    uint64_t target = slow_load(cpu, op, sp, 8);
    if (!canonical(target)) {
        return bad_target(cpu, op);
    }
    cpu->gpr[REG_RSP] = sp + 8 + op->imm;
    cpu->rip = target;
    return NULL;
}

/* imm: bytes to drop besides the return address. */
const Op *op_ret64(CpuState *cpu, const Op *op)
{
    uint64_t sp = cpu->gpr[REG_RSP];
    const TlbEntry *e = tlb_entry(cpu->tlb, sp);
    if (unlikely(e->rtag != TLB_PAGE(sp + 7))) {
        return ret_slow(cpu, op);
    }
    uint64_t target = *(t64 *)(e->addend + sp);
    if (unlikely(!canonical(target))) {
        return bad_target(cpu, op);
    }
    cpu->gpr[REG_RSP] = sp + 8 + op->imm;
    ENTER_AT(target);
}

/* ---- the same in flat 32-bit code, where no limit needs checking ---- */

static inline uint32_t next_eip(const CpuState *cpu, const Op *op)
{
    return (uint32_t)(cpu->rip + op->off + op->len);
}

static __attribute__((noinline)) const Op *call32_slow(CpuState *cpu, const Op *op, uint32_t target)
{
    uint32_t sp = (uint32_t)cpu->gpr[REG_RSP] - 4;
    slow_store(cpu, op, sp, next_eip(cpu, op), 4);
    cpu->gpr[REG_RSP] = sp;
    cpu->rip = target;
    return NULL;
}

#define PUSH_RETURN32(target_)                                                                     \
    do {                                                                                           \
        uint32_t sp_ = (uint32_t)cpu->gpr[REG_RSP] - 4;                                            \
        TlbEntry *e_ = tlb_entry(cpu->tlb, sp_);                                                   \
        if (unlikely(e_->wtag != TLB_PAGE((uint64_t)sp_ + 3))) {                                   \
            return call32_slow(cpu, op, (target_));                                                \
        }                                                                                          \
        *(t32 *)(e_->addend + sp_) = next_eip(cpu, op);                                            \
        cpu->gpr[REG_RSP] = sp_;                                                                   \
    } while (0)

const Op *op_call32(CpuState *cpu, const Op *op)
{
    uint32_t target = (uint32_t)(cpu->rip + (uint64_t)(int64_t)op->disp);
    PUSH_RETURN32(target);
    cpu->rip = target;
    TAKE(op);
}

const Op *op_call_r32(CpuState *cpu, const Op *op)
{
    uint32_t target = REG(t32, op->src);
    PUSH_RETURN32(target);
    ENTER_AT(target);
}

const Op *op_jmp_r32(CpuState *cpu, const Op *op)
{
    ENTER_AT(REG(t32, op->src));
}

static __attribute__((noinline)) const Op *branch_mem32_slow(CpuState *cpu, const Op *op, bool call)
{
    uint32_t target = (uint32_t)slow_load(cpu, op, op_lin(cpu, op), 4);
    if (call) {
        return call32_slow(cpu, op, target);
    }
    cpu->rip = target;
    return NULL;
}

const Op *op_call_m32(CpuState *cpu, const Op *op)
{
    uint64_t lin = op_lin(cpu, op);
    const TlbEntry *e = tlb_entry(cpu->tlb, lin);
    if (unlikely(e->rtag != TLB_PAGE(lin + 3))) {
        return branch_mem32_slow(cpu, op, true);
    }
    uint32_t target = *(t32 *)(e->addend + lin);
    PUSH_RETURN32(target);
    ENTER_AT(target);
}

const Op *op_jmp_m32(CpuState *cpu, const Op *op)
{
    uint64_t lin = op_lin(cpu, op);
    const TlbEntry *e = tlb_entry(cpu->tlb, lin);
    if (unlikely(e->rtag != TLB_PAGE(lin + 3))) {
        return branch_mem32_slow(cpu, op, false);
    }
    ENTER_AT(*(t32 *)(e->addend + lin));
}

static __attribute__((noinline)) const Op *ret32_slow(CpuState *cpu, const Op *op)
{
    uint32_t sp = (uint32_t)cpu->gpr[REG_RSP];
    cpu->rip = (uint32_t)slow_load(cpu, op, sp, 4);
    cpu->gpr[REG_RSP] = (uint32_t)(sp + 4 + op->imm);
    return NULL;
}

const Op *op_ret32(CpuState *cpu, const Op *op)
{
    uint32_t sp = (uint32_t)cpu->gpr[REG_RSP];
    const TlbEntry *e = tlb_entry(cpu->tlb, sp);
    if (unlikely(e->rtag != TLB_PAGE((uint64_t)sp + 3))) {
        return ret32_slow(cpu, op);
    }
    cpu->gpr[REG_RSP] = (uint32_t)(sp + 4 + op->imm);
    ENTER_AT(*(t32 *)(e->addend + sp));
}

/* ---- everything outside 64-bit mode ---- */

/* JMP, JCC, CALL, RET near with all checks: target within CS's limit before anything changes. */
const Op *op_branch_generic(CpuState *cpu, const Op *op)
{
    const Insn *in = op->insn;
    if (in->op == OP_JCC && !cc_test(in->cond, cpu->cc)) {
        NEXT;
    }
    interp_sync(cpu, op);
    uint64_t next = (cpu->insn_rip + in->len) & interp_rip_mask(cpu);
    uint64_t mask = in->opsize == 2 ? 0xffff : in->opsize == 4 ? 0xffffffff : ~0ull;
    uint64_t sp = cpu->gpr[REG_RSP], target;
    bool is64 = cpu->mode & MODE_CS64;
    if (in->op == OP_RET) {
        target = cpu_pop(cpu, in->opsize) & mask;
    } else if (in->nr_opd && in->opd[0].kind == OPD_REL) {
        target = (next + (uint64_t)in->imm) & mask;
    } else {
        target = exec_get(cpu, in, 0) & mask;
    }
    if (is64 ? !canonical(target) : target > cpu->seg[SEG_CS].limit) {
        cpu->gpr[REG_RSP] = sp;
        cpu_raise(cpu, EXC_GP, 0);
    }
    if (in->op == OP_CALL) {
        cpu_push(cpu, next, in->opsize);
    } else if (in->op == OP_RET && in->nr_opd) {
        uint64_t sp_mask = cpu_stack_mask(cpu), now = cpu->gpr[REG_RSP];
        now = (now & ~sp_mask) | ((now + (uint64_t)(uint16_t)in->imm) & sp_mask);
        cpu->gpr[REG_RSP] = sp_mask == 0xffffffff ? (uint32_t)now : now;
    }
    cpu->rip = target;
    return follow(cpu, NULL);
}
