/* SPDX-License-Identifier: GPL-2.0-or-later
 * Handlers of integer arithmetic and logic: one a form and operand size, made by macros.
 */
#include "accel/interp/host_x86_64.h"
#include "accel/interp/op.h"

#define SIZES(X, ...) X(8, __VA_ARGS__) X(16, __VA_ARGS__) X(32, __VA_ARGS__) X(64, __VA_ARGS__)
#define BY_SIZE(stem) { stem##8, stem##16, stem##32, stem##64 }

/* ---- two operands ---- */

/* WB: the destination is written. */
#define ALU_REG(N, name, insn, HOST, WB)                                                           \
    static const Op *name##_rr##N(CpuState *cpu, const Op *op)                                     \
    {                                                                                              \
        t##N d = REG(t##N, op->dst), s = REG(t##N, op->src);                                       \
        unsigned cc = cpu->cc;                                                                     \
        HOST(insn, d, s, cc);                                                                      \
        if (WB) {                                                                                  \
            put##N(cpu, op->dst, d);                                                               \
        }                                                                                          \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *name##_ri##N(CpuState *cpu, const Op *op)                                     \
    {                                                                                              \
        t##N d = REG(t##N, op->dst), s = (t##N)op->imm;                                            \
        unsigned cc = cpu->cc;                                                                     \
        HOST(insn, d, s, cc);                                                                      \
        if (WB) {                                                                                  \
            put##N(cpu, op->dst, d);                                                               \
        }                                                                                          \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *name##_rm##N(CpuState *cpu, const Op *op)                                     \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_READ(t##N, p, lin);                                                                    \
        t##N d = REG(t##N, op->dst), s = *p;                                                       \
        unsigned cc = cpu->cc;                                                                     \
        HOST(insn, d, s, cc);                                                                      \
        if (WB) {                                                                                  \
            put##N(cpu, op->dst, d);                                                               \
        }                                                                                          \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }

#define ALU_READ_MEM(N, name, insn, HOST, form, source)                                            \
    static const Op *name##_##form##N(CpuState *cpu, const Op *op)                                 \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_READ(t##N, p, lin);                                                                    \
        t##N d = *p, s = (t##N)(source);                                                           \
        unsigned cc = cpu->cc;                                                                     \
        HOST(insn, d, s, cc);                                                                      \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }

#define ALU_RMW_MEM(N, name, insn, HOST, form, source)                                             \
    static const Op *name##_##form##N(CpuState *cpu, const Op *op)                                 \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_RMW);                                                         \
        t##N d = *p;                                                                               \
        t##N s = (t##N)(source);                                                                   \
        unsigned cc = cpu->cc;                                                                     \
        HOST(insn, d, s, cc);                                                                      \
        *p = d;                                                                                    \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }

#define ALU_LOCK_MEM(N, name, insn, LOCKED, form, source)                                          \
    static const Op *name##_##form##N(CpuState *cpu, const Op *op)                                 \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_RMW | SLOW_LOCK);                                             \
        t##N s = (t##N)(source);                                                                   \
        unsigned cc = cpu->cc;                                                                     \
        LOCKED(insn, p, s, cc);                                                                    \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }

#define ALU_WRITES(N, name, insn, HOST, LOCKED)                                                    \
    ALU_REG(N, name, insn, HOST, 1)                                                                \
    ALU_RMW_MEM(N, name, insn, HOST, mr, REG(t##N, op->src))                                       \
    ALU_RMW_MEM(N, name, insn, HOST, mi, op->imm)                                                  \
    ALU_LOCK_MEM(N, name, insn, LOCKED, lock_mr, REG(t##N, op->src))                         \
    ALU_LOCK_MEM(N, name, insn, LOCKED, lock_mi, op->imm)
#define ALU_READS(N, name, insn, HOST)                                                             \
    ALU_REG(N, name, insn, HOST, 0)                                                                \
    ALU_READ_MEM(N, name, insn, HOST, mr, REG(t##N, op->src))                                      \
    ALU_READ_MEM(N, name, insn, HOST, mi, op->imm)

SIZES(ALU_WRITES, add, "add", HOST_ALU, HOST_LOCK_ALU)
SIZES(ALU_WRITES, or, "or", HOST_ALU, HOST_LOCK_ALU)
SIZES(ALU_WRITES, adc, "adc", HOST_ALU_CC, HOST_LOCK_ALU_CC)
SIZES(ALU_WRITES, sbb, "sbb", HOST_ALU_CC, HOST_LOCK_ALU_CC)
SIZES(ALU_WRITES, and, "and", HOST_ALU, HOST_LOCK_ALU)
SIZES(ALU_WRITES, sub, "sub", HOST_ALU, HOST_LOCK_ALU)
SIZES(ALU_WRITES, xor, "xor", HOST_ALU, HOST_LOCK_ALU)
SIZES(ALU_READS, cmp, "cmp", HOST_ALU)
SIZES(ALU_READS, test, "test", HOST_ALU)

#define ALL_FORMS(name)                                                                            \
    { BY_SIZE(name##_rr), BY_SIZE(name##_ri), BY_SIZE(name##_rm), BY_SIZE(name##_mr),              \
      BY_SIZE(name##_mi) }
OpFn *const alu_ops[NR_ALU][NR_FORMS][4] = {
    ALL_FORMS(add), ALL_FORMS(or), ALL_FORMS(adc), ALL_FORMS(sbb), ALL_FORMS(and),
    ALL_FORMS(sub), ALL_FORMS(xor), ALL_FORMS(cmp), ALL_FORMS(test),
};

#define LOCK_FORMS(name) { BY_SIZE(name##_lock_mr), BY_SIZE(name##_lock_mi) }
OpFn *const alu_lock_ops[NR_ALU][2][4] = {
    LOCK_FORMS(add), LOCK_FORMS(or), LOCK_FORMS(adc), LOCK_FORMS(sbb),
    LOCK_FORMS(and), LOCK_FORMS(sub), LOCK_FORMS(xor),
};

/* ---- the same when nobody reads the flags ---- */

#define ALU_NOFLAGS(N, name, oper)                                                                 \
    static const Op *name##_nf_rr##N(CpuState *cpu, const Op *op)                                  \
    {                                                                                              \
        put##N(cpu, op->dst, (t##N)(REG(t##N, op->dst) oper REG(t##N, op->src)));                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *name##_nf_ri##N(CpuState *cpu, const Op *op)                                  \
    {                                                                                              \
        put##N(cpu, op->dst, (t##N)(REG(t##N, op->dst) oper (t##N)op->imm));                       \
        NEXT;                                                                                      \
    }
SIZES(ALU_NOFLAGS, add, +)
SIZES(ALU_NOFLAGS, or, |)
SIZES(ALU_NOFLAGS, and, &)
SIZES(ALU_NOFLAGS, sub, -)
SIZES(ALU_NOFLAGS, xor, ^)
#define NF_FORMS(name) { BY_SIZE(name##_nf_rr), BY_SIZE(name##_nf_ri) }
OpFn *const alu_noflags_ops[NR_ALU][2][4] = {
    [ALU_ADD] = NF_FORMS(add), [ALU_OR] = NF_FORMS(or), [ALU_AND] = NF_FORMS(and),
    [ALU_SUB] = NF_FORMS(sub), [ALU_XOR] = NF_FORMS(xor),
};

/* ---- one operand ---- */

#define UNARY(N, name, insn, HOST, LOCKED)                                                         \
    static const Op *name##_r##N(CpuState *cpu, const Op *op)                                      \
    {                                                                                              \
        t##N d = REG(t##N, op->dst);                                                               \
        unsigned cc = cpu->cc;                                                                     \
        HOST(insn, d, cc);                                                                         \
        put##N(cpu, op->dst, d);                                                                   \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *name##_m##N(CpuState *cpu, const Op *op)                                      \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_RMW);                                                         \
        t##N d = *p;                                                                               \
        unsigned cc = cpu->cc;                                                                     \
        HOST(insn, d, cc);                                                                         \
        *p = d;                                                                                    \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *name##_lock_m##N(CpuState *cpu, const Op *op)                                 \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_RMW | SLOW_LOCK);                                             \
        unsigned cc = cpu->cc;                                                                     \
        LOCKED(N, insn, p, cc);                                                                    \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }

#define SUFFIX_8 "b"
#define SUFFIX_16 "w"
#define SUFFIX_32 "l"
#define SUFFIX_64 "q"
#define LOCKED_UNARY(N, insn, p, cc) HOST_LOCK_UNARY_CC(insn, SUFFIX_##N, p, cc)
#define HOST_NOT(insn, d, cc) ((d) = (__typeof__(d)) ~(d))
#define LOCKED_NOT(N, insn, p, cc)                                                                 \
    __asm__ volatile("lock not" SUFFIX_##N " %0" : "+m"(*(p)) : : "memory")
SIZES(UNARY, inc, "inc", HOST_UNARY_CC, LOCKED_UNARY)
SIZES(UNARY, dec, "dec", HOST_UNARY_CC, LOCKED_UNARY)
SIZES(UNARY, neg, "neg", HOST_UNARY, LOCKED_UNARY)
SIZES(UNARY, not, "not", HOST_NOT, LOCKED_NOT)

OpFn *const unary_ops[NR_UNARY][2][4] = {
    { BY_SIZE(inc_r), BY_SIZE(inc_m) },
    { BY_SIZE(dec_r), BY_SIZE(dec_m) },
    { BY_SIZE(neg_r), BY_SIZE(neg_m) },
    { BY_SIZE(not_r), BY_SIZE(not_m) },
};
OpFn *const unary_lock_ops[NR_UNARY][4] = {
    BY_SIZE(inc_lock_m), BY_SIZE(dec_lock_m), BY_SIZE(neg_lock_m), BY_SIZE(not_lock_m),
};

/* ---- shifts and rotates ---- */

#define SHIFT_FORM(N, name, insn, what, count)                                                     \
    static const Op *name##_r_##what##N(CpuState *cpu, const Op *op)                               \
    {                                                                                              \
        t##N d = REG(t##N, op->dst);                                                               \
        unsigned cc = cpu->cc;                                                                     \
        uint8_t n = (uint8_t)(count);                                                              \
        HOST_SHIFT_CC(insn, d, n, cc);                                                             \
        put##N(cpu, op->dst, d);                                                                   \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *name##_m_##what##N(CpuState *cpu, const Op *op)                               \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_RMW);                                                         \
        t##N d = *p;                                                                               \
        unsigned cc = cpu->cc;                                                                     \
        uint8_t n = (uint8_t)(count);                                                              \
        HOST_SHIFT_CC(insn, d, n, cc);                                                             \
        *p = d;                                                                                    \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }
#define SHIFT(N, name, insn)                                                                       \
    SHIFT_FORM(N, name, insn, i, op->imm)                                                          \
    SHIFT_FORM(N, name, insn, cl, cpu->gpr[REG_RCX])
SIZES(SHIFT, rol, "rol")
SIZES(SHIFT, ror, "ror")
SIZES(SHIFT, rcl, "rcl")
SIZES(SHIFT, rcr, "rcr")
SIZES(SHIFT, shl, "shl")
SIZES(SHIFT, shr, "shr")
SIZES(SHIFT, sar, "sar")
#define SHIFT_FORMS(name)                                                                          \
    { { BY_SIZE(name##_r_i), BY_SIZE(name##_r_cl) }, { BY_SIZE(name##_m_i), BY_SIZE(name##_m_cl) } }
OpFn *const shift_ops[NR_SHIFT][2][2][4] = {
    SHIFT_FORMS(rol), SHIFT_FORMS(ror), SHIFT_FORMS(rcl), SHIFT_FORMS(rcr),
    SHIFT_FORMS(shl), SHIFT_FORMS(shr), SHIFT_FORMS(sar),
};

/* Immediate counts, masked and less than the size by build.c, flags dead. */
#define SHIFT_NF(N, name, expr)                                                                    \
    static const Op *name##_nf##N(CpuState *cpu, const Op *op)                                     \
    {                                                                                              \
        t##N d = REG(t##N, op->dst);                                                               \
        unsigned n = (unsigned)op->imm;                                                            \
        put##N(cpu, op->dst, (t##N)(expr));                                                        \
        NEXT;                                                                                      \
    }
SIZES(SHIFT_NF, shl, d << n)
SIZES(SHIFT_NF, shr, d >> n)
#define SAR_NF(N, name)                                                                            \
    SHIFT_NF(N, name, (t##N)((s##N)d >> n))                                                        \
    SHIFT_NF(N, ror, (t##N)(d >> n | d << (-n & (N - 1))))                                         \
    SHIFT_NF(N, rol, (t##N)(d << n | d >> (-n & (N - 1))))
SIZES(SAR_NF, sar)
OpFn *const shift_noflags_ops[NR_SHIFT][4] = {
    [SH_ROL] = BY_SIZE(rol_nf), [SH_ROR] = BY_SIZE(ror_nf), [SH_SHL] = BY_SIZE(shl_nf),
    [SH_SHR] = BY_SIZE(shr_nf), [SH_SAR] = BY_SIZE(sar_nf),
};

/* ---- multiplication, sign extension ---- */

#define IMUL(N)                                                                                    \
    const Op *op_imul_rr##N(CpuState *cpu, const Op *op)                                           \
    {                                                                                              \
        t##N d = REG(t##N, op->dst);                                                               \
        unsigned cc;                                                                               \
        HOST_ALU("imul", d, REG(t##N, op->src), cc);                                               \
        put##N(cpu, op->dst, d);                                                                   \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    const Op *op_imul_ri##N(CpuState *cpu, const Op *op)                                           \
    {                                                                                              \
        t##N d = (t##N)op->imm;                                                                    \
        unsigned cc;                                                                               \
        HOST_ALU("imul", d, REG(t##N, op->src), cc);                                               \
        put##N(cpu, op->dst, d);                                                                   \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }
IMUL(32)
IMUL(64)

const Op *op_cdqe(CpuState *cpu, const Op *op)
{
    cpu->gpr[REG_RAX] = (uint64_t)(int32_t)cpu->gpr[REG_RAX];
    NEXT;
}

const Op *op_cdq(CpuState *cpu, const Op *op)
{
    cpu->gpr[REG_RDX] = (uint32_t)((int32_t)cpu->gpr[REG_RAX] >> 31);
    NEXT;
}

const Op *op_cqo(CpuState *cpu, const Op *op)
{
    cpu->gpr[REG_RDX] = (uint64_t)((int64_t)cpu->gpr[REG_RAX] >> 63);
    NEXT;
}
