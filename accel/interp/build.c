/* SPDX-License-Identifier: GPL-2.0-or-later
 * From guest bytes to ops: decodes a block and picks a handler for each instruction. A block lies
 * in one page (but for a single instruction that crosses into the next), ends at a control
 * transfer or at what may change mode or paging, and goes on behind a JCC that is not taken.
 */
#include <assert.h>
#include <string.h>

#include "accel/interp/block.h"
#include "cpu/simd_host.h"
#include "cpu/x87.h"
#include "util/log.h"

enum { MAX_BLOCK_INSNS = 64, MAX_BLOCK_OPS = 2 * MAX_BLOCK_INSNS + 4 };

typedef struct Builder {
    CpuState *cpu;
    Interp *it;
    uint64_t key;
    bool cs64, flat, single;
    Insn in;
    unsigned nr_ops;
    unsigned off;    /* of the instruction in hand */
    unsigned page_at; /* of the block's first byte in its page */
    bool done;       /* the block ends here */
    bool falls;      /* execution may go on behind it */
    int dead_op;     /* an op whose flags nobody has read yet; -1 */
    OpFn *dead_fn;   /* its form without flags */
    uint8_t keeps;
    uint32_t seen2;  /* the stamp of the second page, before its bytes were read */
    Op ops[MAX_BLOCK_OPS]; /* not cleared: most blocks are short */
} Builder;

static unsigned log2_size(unsigned size)
{
    return size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
}

static uint8_t reg_offset(const Operand *o)
{
    return o->kind == OPD_GPR8H ? o->reg * 8 + 1 : o->reg * 8;
}

static bool is_reg(const Operand *o)
{
    return o->kind == OPD_GPR || o->kind == OPD_GPR8H;
}

static Op *emit(Builder *b, OpFn *fn)
{
    Op *op = &b->ops[b->nr_ops++];
    assert(b->nr_ops <= MAX_BLOCK_OPS);
    *op = (Op){ .fn = fn, .off = (uint16_t)b->off, .len = b->in.len };
    return op;
}

/* ---- memory operands ---- */

enum { OFF_ZERO = offsetof(CpuState, zero), OFF_EA = offsetof(CpuState, ea),
       OFF_RIP = offsetof(CpuState, rip) };
_Static_assert(OFF_RIP < 256, "Op.base is a byte");

/* Base, index, scale and displacement of the instruction as they are; false if the displacement
 * from the block's start does not fit. */
static bool set_address(const Builder *b, Op *op)
{
    const Insn *in = &b->in;
    int64_t disp = in->disp;
    op->base = in->base == INSN_REG_NONE ? OFF_ZERO : in->base * 8;
    if (in->base == INSN_REG_RIP) {
        op->base = OFF_RIP;
        disp += b->off + in->len;
    }
    op->index = in->index == INSN_REG_NONE ? OFF_ZERO : in->index * 8;
    op->scale = in->scale;
    op->disp = (int32_t)disp;
    return op->disp == disp;
}

static const Insn *keep_insn(Builder *b)
{
    Insn *copy = block_alloc(b->it, sizeof(Insn));
    *copy = b->in;
    return copy;
}

static const ExecOp *keep_exec(Builder *b, ExecFn *fn)
{
    ExecOp *x = block_alloc(b->it, sizeof(ExecOp));
    x->fn = fn;
    x->insn = b->in;
    return x;
}

/* Emits the op for a memory operand of the given size, after one that computes its address if the
 * simple form does not do. */
static Op *emit_mem(Builder *b, OpFn *fn, unsigned size, bool write)
{
    const Insn *in = &b->in;
    bool stack = in->seg == SEG_SS;
    Op probe;
    bool fits = set_address(b, &probe);
    if (b->cs64 && in->adsize == 8 && in->seg < SEG_FS && fits) {
        Op *op = emit(b, fn);
        set_address(b, op);
        op->flags = stack ? OP_STACK_SEG : 0;
        op->size = (uint8_t)size;
        return op;
    }
    Op *ea;
    if (b->cs64 && fits) {
        ea = emit(b, in->adsize == 8 ? op_ea64_seg : op_ea32_in64);
        set_address(b, ea);
        ea->src = in->seg;
    } else if (!b->cs64 && b->flat && in->adsize == 4 && in->seg < SEG_FS && fits &&
               !(write && in->seg == SEG_CS)) { /* code is never written through CS */
        ea = emit(b, op_ea32_flat);
        set_address(b, ea);
    } else {
        ea = emit(b, op_ea_checked);
        ea->size = (uint8_t)size;
        ea->flags = write ? 2 : 0;
        ea->insn = keep_insn(b);
    }
    Op *op = emit(b, fn);
    op->base = OFF_EA;
    op->index = OFF_ZERO;
    op->size = (uint8_t)size;
    op->flags = stack ? OP_STACK_SEG : 0;
    return op;
}

/* ---- families ---- */

/* The old flags are not needed any more: the op that made them may skip that. */
static void flags_overwritten(Builder *b)
{
    if (b->dead_op >= 0) {
        b->ops[b->dead_op].fn = b->dead_fn;
    }
    b->dead_op = -1;
}

static void flags_needed(Builder *b)
{
    b->dead_op = -1;
}

static int alu_index(unsigned op)
{
    switch (op) {
    case OP_ADD: return ALU_ADD;
    case OP_OR: return ALU_OR;
    case OP_ADC: return ALU_ADC;
    case OP_SBB: return ALU_SBB;
    case OP_AND: return ALU_AND;
    case OP_SUB: return ALU_SUB;
    case OP_XOR: return ALU_XOR;
    case OP_CMP: return ALU_CMP;
    case OP_TEST: return ALU_TEST;
    default: return -1;
    }
}

/* A two-operand form's first and second operands by kind; -1 if it is none of them. */
static int form_of(const Insn *in)
{
    const Operand *d = &in->opd[0], *s = &in->opd[1];
    if (is_reg(d)) {
        return is_reg(s) ? FORM_RR : s->kind == OPD_IMM ? FORM_RI : s->kind == OPD_MEM ? FORM_RM : -1;
    }
    if (d->kind == OPD_MEM) {
        return is_reg(s) ? FORM_MR : s->kind == OPD_IMM ? FORM_MI : -1;
    }
    return -1;
}

/* Fills the operands of a two-operand form behind fn. */
static Op *emit_form(Builder *b, OpFn *fn, int form, bool write)
{
    const Operand *d = &b->in.opd[0], *s = &b->in.opd[1];
    const Operand *mem = form == FORM_RM ? s : d;
    Op *op = form >= FORM_RM ? emit_mem(b, fn, mem->size, write) : emit(b, fn);
    if (is_reg(d)) {
        op->dst = reg_offset(d);
    }
    if (is_reg(s)) {
        op->src = reg_offset(s);
    } else if (s->kind == OPD_IMM) {
        op->imm = (uint64_t)b->in.imm;
    }
    return op;
}

static bool build_alu(Builder *b, int alu)
{
    const Insn *in = &b->in;
    int form = form_of(in);
    unsigned sz = log2_size(in->opd[0].size);
    if (form < 0 || in->nr_opd != 2) {
        return false;
    }
    bool reads = alu == ALU_ADC || alu == ALU_SBB, writes = alu != ALU_CMP && alu != ALU_TEST;
    OpFn *fn = alu_ops[alu][form][sz];
    if ((in->prefixes & PFX_LOCK) && writes) {
        fn = alu_lock_ops[alu][form == FORM_MI][sz];
    }
    if (form >= FORM_RM || reads) {
        flags_needed(b);
    } else {
        flags_overwritten(b);
    }
    emit_form(b, fn, form, writes && form >= FORM_MR);
    if (form <= FORM_RI && writes && alu_noflags_ops[alu][form][sz]) {
        b->dead_op = (int)b->nr_ops - 1;
        b->dead_fn = alu_noflags_ops[alu][form][sz];
    }
    return true;
}

static bool build_unary(Builder *b, int un)
{
    const Operand *d = &b->in.opd[0];
    unsigned sz = log2_size(d->size);
    if (un != UN_NOT || !is_reg(d)) {
        flags_needed(b);
    }
    if (is_reg(d)) {
        emit(b, unary_ops[un][0][sz])->dst = reg_offset(d);
        return true;
    }
    bool lock = b->in.prefixes & PFX_LOCK;
    emit_mem(b, lock ? unary_lock_ops[un][sz] : unary_ops[un][1][sz], d->size, true);
    return true;
}

static bool build_shift(Builder *b, int sh)
{
    const Operand *d = &b->in.opd[0], *n = &b->in.opd[1];
    unsigned sz = log2_size(d->size);
    bool cl = is_reg(n);
    unsigned count = (unsigned)b->in.imm & (d->size == 8 ? 63 : 31);
    flags_needed(b); /* a count of 0 keeps them; rotates keep most */
    Op *op = is_reg(d) ? emit(b, shift_ops[sh][0][cl][sz])
                       : emit_mem(b, shift_ops[sh][1][cl][sz], d->size, true);
    op->dst = is_reg(d) ? reg_offset(d) : 0;
    op->imm = count;
    OpFn *nf = shift_noflags_ops[sh][sz];
    if (is_reg(d) && !cl && nf && count && count < d->size * 8u && sh >= SH_SHL) {
        b->dead_op = (int)b->nr_ops - 1;
        b->dead_fn = nf;
    }
    return true;
}

static bool build_mov(Builder *b)
{
    const Insn *in = &b->in;
    int form = form_of(in);
    if (form < 0) {
        return false; /* segment registers */
    }
    if (form >= FORM_RM) {
        flags_needed(b);
    }
    emit_form(b, mov_ops[form][log2_size(in->opd[0].size)], form, form >= FORM_MR);
    return true;
}

static bool build_movx(Builder *b, bool sign)
{
    const Operand *d = &b->in.opd[0], *s = &b->in.opd[1];
    OpFn *fn = movx_ops[sign][!is_reg(s)][log2_size(s->size)][log2_size(d->size)];
    if (!fn) {
        return false;
    }
    Op *op;
    if (is_reg(s)) {
        op = emit(b, fn);
        op->src = reg_offset(s);
    } else {
        flags_needed(b);
        op = emit_mem(b, fn, s->size, false);
    }
    op->dst = reg_offset(d);
    return true;
}

static bool build_lea(Builder *b)
{
    const Insn *in = &b->in;
    Op *op = emit(b, lea_ops[log2_size(in->opd[0].size)]);
    op->dst = reg_offset(&in->opd[0]);
    bool simple = set_address(b, op) && in->adsize >= 4;
    if (!simple || (in->adsize == 4 && in->opd[0].size == 8)) {
        op->fn = op_lea_checked;
        op->insn = keep_insn(b);
    }
    if (in->base == INSN_REG_RIP && op->fn == op_lea_checked) {
        return false; /* exec_ea wants the next rip: let a function do it */
    }
    return true;
}

static bool build_xchg(Builder *b)
{
    const Operand *d = &b->in.opd[0], *s = &b->in.opd[1];
    if (is_reg(d) && is_reg(s)) {
        Op *op = emit(b, xchg_ops[0][log2_size(d->size)]);
        op->dst = reg_offset(d);
        op->src = reg_offset(s);
        return true;
    }
    const Operand *reg = is_reg(d) ? d : s;
    flags_needed(b);
    emit_mem(b, xchg_ops[1][log2_size(reg->size)], reg->size, true)->src = reg_offset(reg);
    return true;
}

static bool build_cmov(Builder *b)
{
    const Operand *d = &b->in.opd[0], *s = &b->in.opd[1];
    unsigned sz = log2_size(d->size);
    flags_needed(b);
    Op *op = is_reg(s) ? emit(b, cmov_ops[0][sz]) : emit_mem(b, cmov_ops[1][sz], s->size, false);
    op->dst = reg_offset(d);
    op->src = is_reg(s) ? reg_offset(s) : 0;
    op->cond = b->in.cond;
    return true;
}

static bool build_imul(Builder *b)
{
    const Insn *in = &b->in;
    const Operand *d = &in->opd[0], *s = &in->opd[1];
    if (in->nr_opd < 2 || !is_reg(s) || d->size < 4) {
        return false;
    }
    flags_overwritten(b);
    bool three = in->nr_opd == 3;
    Op *op = emit(b, d->size == 8 ? three ? op_imul_ri64 : op_imul_rr64
                                  : three ? op_imul_ri32 : op_imul_rr32);
    op->dst = reg_offset(d);
    op->src = reg_offset(s);
    op->imm = (uint64_t)in->imm;
    return true;
}

/* Stack operands of the mode's own size: 8 bytes in 64-bit code, 4 in flat 32-bit code; 0: neither. */
static unsigned simple_stack(const Builder *b)
{
    if (b->cs64) {
        return b->in.opsize == 8 ? 8 : 0;
    }
    return b->flat && (b->cpu->mode & MODE_SS32) && b->in.opsize == 4 ? 4 : 0;
}

/* PUSH and POP of registers and immediates. */
static bool build_stack(Builder *b)
{
    const Insn *in = &b->in;
    const Operand *o = &in->opd[0];
    unsigned size = simple_stack(b);
    if (!size) {
        return false;
    }
    if (in->op == OP_PUSH && o->kind == OPD_GPR) {
        emit(b, size == 8 ? op_push64_r : op_push32_r)->src = reg_offset(o);
    } else if (in->op == OP_PUSH && o->kind == OPD_IMM) {
        emit(b, size == 8 ? op_push64_i : op_push32_i)->imm = (uint64_t)in->imm;
    } else if (in->op == OP_POP && o->kind == OPD_GPR) {
        emit(b, size == 8 ? op_pop64_r : op_pop32_r)->dst = reg_offset(o);
    } else if (in->op == OP_LEAVE) {
        emit(b, size == 8 ? op_leave64 : op_leave32);
    } else {
        return false;
    }
    b->ops[b->nr_ops - 1].flags = OP_STACK_SEG;
    flags_needed(b);
    return true;
}

static void set_target(Builder *b, Op *op)
{
    const Insn *in = &b->in;
    int64_t delta = (int64_t)b->off + in->len + in->imm;
    op->disp = (int32_t)delta; /* rel32 from inside a page: always fits but for the last bytes */
    int64_t at = (int64_t)b->page_at + delta;
    op->link = NULL;
    op->flags = in->opsize == 2;
    if (at >= 0 && at < PAGE_SIZE) {
        op->link = block_alloc(b->it, sizeof(Link));
        op->link->to = NULL;
    }
}

static bool build_branch(Builder *b)
{
    const Insn *in = &b->in;
    const Operand *o = &in->opd[0];
    bool rel = in->nr_opd && o->kind == OPD_REL;
    bool ok64 = b->cs64 && in->opsize == 8;
    bool ok32 = !b->cs64 && b->flat;
    unsigned stack = simple_stack(b);
    int64_t delta = in->imm + (int64_t)b->off + in->len;
    if (rel && (int32_t)delta != delta) {
        ok64 = ok32 = false;
    }
    if (in->op == OP_JCC) {
        if (!ok64 && !ok32) {
            flags_needed(b);
            emit(b, op_branch_generic)->insn = keep_insn(b);
            return true;
        }
        Op *prev = b->nr_ops ? &b->ops[b->nr_ops - 1] : NULL;
        OpFn *fused = NULL;
        if (ok64 && prev && !b->single) {
            for (unsigned f = 0; f < NR_FUSE; f++) {
                for (unsigned i = 0; i < 8; i++) {
                    int alu = f == FUSE_CMP ? ALU_CMP : ALU_TEST;
                    if (prev->fn == alu_ops[alu][i / 4][i % 4]) {
                        fused = fuse_ops[f][i / 4][in->cond][i % 4];
                    }
                }
            }
        }
        if (fused) {
            prev->fn = fused;
        }
        flags_needed(b);
        set_target(b, emit(b, ok64 ? jcc_ops[in->cond] : jcc32_ops[in->cond]));
        b->ops[b->nr_ops - 1].cond = in->cond;
        return true; /* goes on in this block when not taken */
    }
    b->done = true;
    b->falls = false;
    flags_needed(b);
    if (in->op == OP_JMP && rel && (ok64 || ok32)) {
        set_target(b, emit(b, ok64 ? op_jmp : op_jmp32));
    } else if (in->op == OP_CALL && rel && stack && (ok64 || ok32)) {
        set_target(b, emit(b, stack == 8 ? op_call64 : op_call32));
        b->ops[b->nr_ops - 1].flags = OP_STACK_SEG;
    } else if (in->op == OP_RET && stack) {
        Op *op = emit(b, stack == 8 ? op_ret64 : op_ret32);
        op->imm = in->nr_opd ? (uint16_t)in->imm : 0;
        op->flags = OP_STACK_SEG;
    } else if (stack && !rel && o->kind == OPD_GPR) {
        OpFn *jmp = stack == 8 ? op_jmp_r64 : op_jmp_r32;
        OpFn *call = stack == 8 ? op_call_r64 : op_call_r32;
        emit(b, in->op == OP_JMP ? jmp : call)->src = reg_offset(o);
    } else if (stack && !rel && o->kind == OPD_MEM) {
        OpFn *jmp = stack == 8 ? op_jmp_m64 : op_jmp_m32;
        OpFn *call = stack == 8 ? op_call_m64 : op_call_m32;
        emit_mem(b, in->op == OP_JMP ? jmp : call, stack, false);
    } else {
        emit(b, op_branch_generic)->insn = keep_insn(b);
    }
    return true;
}

/* ---- everything else: a function ---- */

bool insn_may_end_block(const Insn *in)
{
    switch (in->op) {
    case OP_STI: case OP_CLI: case OP_POPF: case OP_CLAC: case OP_STAC: case OP_SWAPGS:
    case OP_WRFSBASE: case OP_WRGSBASE: case OP_RDMSR: case OP_WRMSR: case OP_MOVCR: case OP_CLTS:
    case OP_INVLPG: case OP_INVPCID:
        return true;
    default: return false;
    }
}

bool insn_ends_block(const Insn *in)
{
    switch (in->op) {
    case OP_MOV: return in->opd[0].kind == OPD_SEG;
    case OP_POP: return in->opd[0].kind == OPD_SEG;
    case OP_IN: case OP_OUT: case OP_INS: case OP_OUTS:
    case OP_XRSTOR: case OP_XRSTORS: case OP_FXRSTOR: case OP_LDMXCSR: case OP_VLDMXCSR:
    case OP_LDS: case OP_LES: case OP_LFS: case OP_LGS: case OP_LSS: case OP_PAUSE:
        return true;
    default:
        return (insn_rows[in->row].flags & (INSN_ENDS | INSN_PRIV)) && !insn_may_end_block(in);
    }
}

static uint8_t insn_keeps(const Insn *in)
{
    switch (in->op) {
    case OP_STI: return KEEPS_SHADOW;
    case OP_MOV: case OP_POP:
        return in->opd[0].kind == OPD_SEG && in->opd[0].reg == SEG_SS ? KEEPS_SHADOW : 0;
    case OP_IRET: case OP_JMPF: case OP_CALLF: case OP_INT: case OP_INT1: case OP_INT3:
    case OP_INTO:
        return KEEPS_RF;
    default: return 0;
    }
}

static void build_function(Builder *b, ExecFn *fn)
{
    bool ends = insn_ends_block(&b->in);
    flags_needed(b);
    b->keeps |= insn_keeps(&b->in);
    bool may_end = insn_may_end_block(&b->in);
    emit(b, ends ? op_exec_end : may_end ? op_exec_step : op_exec)->exec = keep_exec(b, fn);
    if (ends) {
        b->done = true;
        b->falls = false;
    }
}

/* A vector instruction between registers runs as host code that ends like a handler; one with a
 * memory operand has its thunk called. */
static bool build_simd(Builder *b)
{
    bool vector = insn_rows[b->in.row].flags & (INSN_SSE | INSN_AVX);
    const SimdThunk *t = vector ? simd_thunk(&b->in) : NULL;
    if (!t || (t->checks & SIMD_MMX)) {
        return false;
    }
    uint32_t bad = 0;
    bad |= t->checks & SIMD_SSE ? MODE_SSE_UD | MODE_SSE_NM : 0;
    bad |= t->checks & SIMD_AVX ? MODE_AVX_UD | MODE_SSE_NM : 0;
    bad |= t->checks & SIMD_FP ? MODE_MX_UNMASKED : 0;
    if (b->cpu->mode & bad) {
        return false;
    }
    if (t->mem_size) {
        flags_needed(b);
        emit_mem(b, simd_mem_op(t), t->mem_size, t->mem_access == OPD_W)->thunk = t;
        return true;
    }
    void *fn = INTERP_TAIL_CALLS ? simd_reg_handler(&b->in, OP_SIZE) : NULL;
    if (!fn) {
        return false;
    }
    flags_needed(b);
    emit(b, (OpFn *)(uintptr_t)fn);
    return true;
}

static bool build_fast(Builder *b)
{
    const Insn *in = &b->in;
    int alu = alu_index(in->op);
    if (alu >= 0) {
        return build_alu(b, alu);
    }
    switch (in->op) {
    case OP_INC: return build_unary(b, UN_INC);
    case OP_DEC: return build_unary(b, UN_DEC);
    case OP_NEG: return build_unary(b, UN_NEG);
    case OP_NOT: return build_unary(b, UN_NOT);
    case OP_ROL: return build_shift(b, SH_ROL);
    case OP_ROR: return build_shift(b, SH_ROR);
    case OP_RCL: return build_shift(b, SH_RCL);
    case OP_RCR: return build_shift(b, SH_RCR);
    case OP_SHL: return build_shift(b, SH_SHL);
    case OP_SHR: return build_shift(b, SH_SHR);
    case OP_SAR: return build_shift(b, SH_SAR);
    case OP_MOV: return build_mov(b);
    case OP_MOVZX: return build_movx(b, false);
    case OP_MOVSX: case OP_MOVSXD: return build_movx(b, true);
    case OP_LEA: return build_lea(b);
    case OP_XCHG: return build_xchg(b);
    case OP_CMOVCC: return build_cmov(b);
    case OP_IMUL: return build_imul(b);
    case OP_PUSH: case OP_POP: case OP_LEAVE: return build_stack(b);
    case OP_JCC: case OP_JMP: case OP_CALL: case OP_RET: return build_branch(b);
    case OP_SETCC:
        if (!is_reg(&in->opd[0])) {
            return false;
        }
        flags_needed(b);
        emit(b, op_setcc_r)->dst = reg_offset(&in->opd[0]);
        b->ops[b->nr_ops - 1].cond = in->cond;
        return true;
    case OP_XADD: case OP_CMPXCHG: {
        if (in->opd[0].kind != OPD_MEM) {
            return false;
        }
        flags_needed(b);
        bool lock = in->prefixes & PFX_LOCK;
        unsigned sz = log2_size(in->opd[0].size);
        OpFn *fn = in->op == OP_XADD ? xadd_ops[lock][sz] : cmpxchg_ops[lock][sz];
        emit_mem(b, fn, in->opd[0].size, true)->src = reg_offset(&in->opd[1]);
        return true;
    }
    case OP_CBW:
        if (in->opsize != 8) {
            return false;
        }
        emit(b, op_cdqe);
        return true;
    case OP_CWD:
        if (in->opsize == 2) {
            return false;
        }
        emit(b, in->opsize == 8 ? op_cqo : op_cdq);
        return true;
    case OP_NOP: case OP_ENDBR32: case OP_ENDBR64:
        if (in->nr_opd && in->opd[0].kind == OPD_MEM) {
            emit(b, op_nop);
            return true; /* hint NOPs do not access memory */
        }
        emit(b, op_nop);
        return true;
    default: return build_simd(b);
    }
}

ExecFn *insn_function(const Insn *in)
{
    ExecFn *fn = misc_function(in);
    if (!fn && (insn_rows[in->row].flags & INSN_X87)) {
        fn = x87_function(in);
    }
    return fn ? fn : exec_table[in->op];
}

static void build_insn(Builder *b)
{
    const Insn *in = &b->in;
    if ((insn_rows[in->row].flags & INSN_PRIV) && (b->cpu->mode & MODE_CPL)) {
        emit(b, op_raise_gp);
        b->done = true;
        b->falls = false;
        return;
    }
    unsigned mark = b->nr_ops;
    if (build_fast(b)) {
        return;
    }
    b->nr_ops = mark;
    ExecFn *fn = insn_function(in);
    if (fn) {
        build_function(b, fn);
        return;
    }
    log_unimp("instruction %s", insn_op_name(in->op));
    emit(b, op_raise_ud);
    b->done = true;
    b->falls = false;
}

/* ---- blocks ---- */

/* Bytes at lin, for code outside RAM or across pages; returns how many were got without a fault
 * of the second page, whose entry comes back in *page2. */
static unsigned fetch_bytes(Builder *b, uint64_t lin, const ItlbEntry *page, uint8_t *buf,
                            unsigned want, const ItlbEntry **page2)
{
    CpuState *cpu = b->cpu;
    ItlbEntry first = *page;
    for (unsigned i = 0; i < want; i++) {
        uint64_t at = cpu->mode & MODE_LMA ? lin + i : (uint32_t)(lin + i);
        if (!*page2 && TLB_PAGE(at) != TLB_PAGE(lin)) {
            *page2 = mmu_fetch_page(cpu, TLB_PAGE(at));
            if ((*page2)->ram) {
                b->seen2 = ram_track_code((*page2)->ram, (*page2)->ram_offset, 16);
            }
        }
        const ItlbEntry *e = *page2 && TLB_PAGE(at) != TLB_PAGE(lin) ? *page2 : &first;
        uint64_t in_page = at & (PAGE_SIZE - 1);
        buf[i] = e->ram ? e->ram->host[e->ram_offset + in_page]
                        : (uint8_t)phys_load(cpu, e->gpa | in_page, 1);
    }
    return want;
}

/* The first instruction reaches into the next page, or the code is not in RAM. */
static DecodeResult decode_careful(Builder *b, uint64_t lin, const ItlbEntry *page,
                                   const ItlbEntry **page2)
{
    uint8_t buf[16];
    unsigned in_page = PAGE_SIZE - (unsigned)(lin & (PAGE_SIZE - 1));
    unsigned have = fetch_bytes(b, lin, page, buf, MIN(in_page, 15u), page2);
    DecodeResult r = insn_decode(buf, have, b->cpu->mode, &b->cpu->features, &b->in);
    if (r == DECODE_SHORT) {
        fetch_bytes(b, lin, page, buf, 15, page2);
        r = insn_decode(buf, 15, b->cpu->mode, &b->cpu->features, &b->in);
    }
    return r;
}

static void build_decoded(Builder *b, DecodeResult r)
{
    if (r == DECODE_OK) {
        build_insn(b);
        return;
    }
    b->in.len = 0;
    emit(b, r == DECODE_TOO_LONG ? op_raise_gp : op_raise_ud);
    b->done = true;
    b->falls = false;
}

Block *block_build(CpuState *cpu, uint64_t lin, const ItlbEntry *page_now, uint64_t key)
{
    ItlbEntry page = *page_now;
    const ItlbEntry *page2 = NULL;
    Builder b;
    memset(&b, 0, offsetof(Builder, ops));
    b.cpu = cpu;
    b.it = interp_of(cpu);
    b.key = key;
    b.cs64 = cpu->mode & MODE_CS64;
    b.flat = cpu->mode & MODE_FLAT;
    b.single = key & KEY_SINGLE;
    b.page_at = (unsigned)(lin & (PAGE_SIZE - 1));
    b.falls = true;
    b.dead_op = -1;
    unsigned nr_insns = 0, tracked = 0, max = b.single ? 1 : MAX_BLOCK_INSNS;
    Op *heat = b.it->heat && page.ram && !b.single ? emit(&b, op_heat) : NULL;
    Op *limit = b.cs64 || b.flat ? NULL : emit(&b, op_check_limit);
    Op *cross = NULL;
    uint32_t seen = 0;
    if (page.ram) {
        seen = ram_track_code(page.ram, page.ram_offset + b.page_at, 1);
        tracked = b.page_at & ~63u;
        tracked += 64;
    }
    while (!b.done && nr_insns < max && b.nr_ops + 6 < MAX_BLOCK_OPS) {
        unsigned at = b.page_at + b.off;
        if (at >= PAGE_SIZE) {
            break;
        }
        DecodeResult r = DECODE_SHORT;
        if (page.ram) {
            unsigned have = MIN(PAGE_SIZE - at, 15u);
            if (at + have > tracked) {
                ram_track_code(page.ram, page.ram_offset + tracked, 1);
                tracked += 64;
            }
            r = insn_decode(page.ram->host + page.ram_offset + at, have, cpu->mode,
                            &cpu->features, &b.in);
        }
        if (r == DECODE_SHORT) {
            if (nr_insns) {
                break; /* its own block */
            }
            if (page.ram) {
                cross = emit(&b, op_check_page2);
            }
            r = decode_careful(&b, lin, &page, &page2);
            b.done = true;
        }
        bool last = b.done;
        build_decoded(&b, r);
        b.done |= last;
        b.off += b.in.len;
        nr_insns++;
    }
    if (b.nr_ops && b.ops[b.nr_ops - 1].fn == op_exec_step) {
        b.ops[b.nr_ops - 1].flags |= OP_LAST;
    }
    b.in.len = 0;
    emit(&b, b.single || !page.ram ? op_stale : op_end);

    Block *blk = block_alloc(b.it, sizeof(Block) + b.nr_ops * sizeof(Op));
    *blk = (Block){ .gpa = page.gpa | b.page_at, .key = key, .bytes = (uint16_t)b.off,
                    .nr_insns = (uint16_t)nr_insns, .keeps = b.keeps };
    if (page.ram) {
        blk->stamp = ram_code_stamp(page.ram, page.ram_offset);
        blk->stamp_seen = seen;
    }
    if (heat) {
        heat->block = blk;
        blk->heat = b.it->heat(cpu, blk->stamp);
    }
    if (limit) {
        limit->imm = b.off ? b.off - 1 : 0;
        limit->cond = nr_insns == 1;
    }
    if (cross) {
        cross->block = blk;
        static const uint32_t outside = 0;
        blk->stamp2 = page2 && page2->ram ? ram_code_stamp(page2->ram, page2->ram_offset) : &outside;
        blk->stamp2_seen = b.seen2;
        blk->gpa2 = page2 ? page2->gpa : 0;
        blk->lin2 = page2 ? page2->tag : 0;
        blk->generation2 = cpu->mmu->generation;
        if (!page2) {
            *cross = (Op){ .fn = op_nop };
        }
    }
    memcpy(blk->ops, b.ops, b.nr_ops * sizeof(Op));
    b.it->blocks_made++;
    b.it->insns_made += nr_insns;
    if (log_on(LOG_IN_ASM) && log_filter_has(lin)) {
        block_log(cpu, blk, lin);
    }
    return blk;
}
