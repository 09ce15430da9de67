/* SPDX-License-Identifier: GPL-2.0-or-later
 * Handlers that move data: MOV and its kin, LEA, XCHG, CMOV, the 64-bit stack, and the address
 * computations that run as an op of their own before the one that uses CpuState.ea.
 */
#include "accel/interp/host_x86_64.h"
#include "accel/interp/op.h"

#define SIZES(X, ...) X(8, __VA_ARGS__) X(16, __VA_ARGS__) X(32, __VA_ARGS__) X(64, __VA_ARGS__)
#define BY_SIZE(stem) { stem##8, stem##16, stem##32, stem##64 }

/* ---- MOV ---- */

#define MOV(N, ...)                                                                                \
    static const Op *mov_rr##N(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        put##N(cpu, op->dst, REG(t##N, op->src));                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *mov_ri##N(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        put##N(cpu, op->dst, (t##N)op->imm);                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *mov_rm##N(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_READ(t##N, p, lin);                                                                    \
        put##N(cpu, op->dst, *p);                                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *mov_mr##N(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_WRITE);                                                       \
        *p = REG(t##N, op->src);                                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *mov_mi##N(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_WRITE);                                                       \
        *p = (t##N)op->imm;                                                                        \
        NEXT;                                                                                      \
    }
SIZES(MOV)
OpFn *const mov_ops[NR_FORMS][4] = {
    BY_SIZE(mov_rr), BY_SIZE(mov_ri), BY_SIZE(mov_rm), BY_SIZE(mov_mr), BY_SIZE(mov_mi),
};

/* F: from, N: to. */
#define MOVX(name, F, N, from_t)                                                                   \
    static const Op *name##_r##F##_##N(CpuState *cpu, const Op *op)                                \
    {                                                                                              \
        put##N(cpu, op->dst, (t##N)(s##N)(from_t)REG(t##F, op->src));                              \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *name##_m##F##_##N(CpuState *cpu, const Op *op)                                \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_READ(t##F, p, lin);                                                                    \
        put##N(cpu, op->dst, (t##N)(s##N)(from_t)*p);                                              \
        NEXT;                                                                                      \
    }
MOVX(movzx, 8, 16, t8) MOVX(movzx, 8, 32, t8) MOVX(movzx, 8, 64, t8)
MOVX(movzx, 16, 16, t16) MOVX(movzx, 16, 32, t16) MOVX(movzx, 16, 64, t16)
MOVX(movsx, 8, 16, s8) MOVX(movsx, 8, 32, s8) MOVX(movsx, 8, 64, s8)
MOVX(movsx, 16, 16, s16) MOVX(movsx, 16, 32, s16) MOVX(movsx, 16, 64, s16)
MOVX(movsx, 32, 16, s32) MOVX(movsx, 32, 32, s32) MOVX(movsx, 32, 64, s32)
#define MOVX_FROM(name, form, F)                                                                   \
    { NULL, name##_##form##F##_16, name##_##form##F##_32, name##_##form##F##_64 }
OpFn *const movx_ops[2][2][4][4] = {
    { { MOVX_FROM(movzx, r, 8), MOVX_FROM(movzx, r, 16) },
      { MOVX_FROM(movzx, m, 8), MOVX_FROM(movzx, m, 16) } },
    { { MOVX_FROM(movsx, r, 8), MOVX_FROM(movsx, r, 16), MOVX_FROM(movsx, r, 32) },
      { MOVX_FROM(movsx, m, 8), MOVX_FROM(movsx, m, 16), MOVX_FROM(movsx, m, 32) } },
};

/* ---- addresses ---- */

#define LEA(N, ...)                                                                                \
    static const Op *lea##N(CpuState *cpu, const Op *op)                                           \
    {                                                                                              \
        put##N(cpu, op->dst, (t##N)op_lin(cpu, op));                                               \
        NEXT;                                                                                      \
    }
LEA(16) LEA(32) LEA(64)
OpFn *const lea_ops[4] = { NULL, lea16, lea32, lea64 };

/* LEA with an address size other than 64. */
const Op *op_lea_checked(CpuState *cpu, const Op *op)
{
    const Insn *in = op->insn;
    cpu_set_reg(cpu, in->opd[0].reg, in->opsize, exec_ea(cpu, in));
    NEXT;
}

/* FS: and GS: in 64-bit mode; src is the offset of Segment.base. */
const Op *op_ea64_seg(CpuState *cpu, const Op *op)
{
    cpu->ea = op_lin(cpu, op) + cpu->seg[op->src].base;
    NEXT;
}

/* 67h in 64-bit mode; src: segment, its base 0 unless FS or GS. */
const Op *op_ea32_in64(CpuState *cpu, const Op *op)
{
    uint64_t base = op->src >= SEG_FS ? cpu->seg[op->src].base : 0;
    cpu->ea = (uint32_t)op_lin(cpu, op) + base;
    NEXT;
}

/* 32-bit addresses in flat segments. */
const Op *op_ea32_flat(CpuState *cpu, const Op *op)
{
    cpu->ea = (uint32_t)op_lin(cpu, op);
    NEXT;
}

/* Everything else outside 64-bit mode: size, write (flags bit 1) for the segment's checks. */
const Op *op_ea_checked(CpuState *cpu, const Op *op)
{
    const Insn *in = op->insn;
    interp_sync(cpu, op);
    cpu->ea = seg_lin(cpu, in->seg, exec_ea(cpu, in), op->size, op->flags & 2);
    NEXT;
}

/* ---- XCHG, CMOVcc, SETcc ---- */

#define XCHG(N, ...)                                                                               \
    static const Op *xchg_rr##N(CpuState *cpu, const Op *op)                                       \
    {                                                                                              \
        t##N a = REG(t##N, op->dst), b = REG(t##N, op->src);                                       \
        put##N(cpu, op->dst, b);                                                                   \
        put##N(cpu, op->src, a);                                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *xchg_mr##N(CpuState *cpu, const Op *op)                                       \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, SLOW_RMW | SLOW_LOCK);                                             \
        t##N v = REG(t##N, op->src);                                                               \
        __asm__ volatile("xchg %1, %0" : "+m"(*p), "+r"(v) : : "memory");                          \
        put##N(cpu, op->src, v);                                                                   \
        NEXT;                                                                                      \
    }
SIZES(XCHG)
OpFn *const xchg_ops[2][4] = { BY_SIZE(xchg_rr), BY_SIZE(xchg_mr) };

#define CMOV(N, ...)                                                                               \
    static const Op *cmov_r##N(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        t##N v = cc_test(op->cond, cpu->cc) ? REG(t##N, op->src) : REG(t##N, op->dst);             \
        put##N(cpu, op->dst, v);                                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *cmov_m##N(CpuState *cpu, const Op *op)                                        \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_READ(t##N, p, lin);                                                                    \
        t##N v = cc_test(op->cond, cpu->cc) ? *p : REG(t##N, op->dst);                             \
        put##N(cpu, op->dst, v);                                                                   \
        NEXT;                                                                                      \
    }
CMOV(16) CMOV(32) CMOV(64)
OpFn *const cmov_ops[2][4] = { { NULL, cmov_r16, cmov_r32, cmov_r64 },
                               { NULL, cmov_m16, cmov_m32, cmov_m64 } };

const Op *op_setcc_r(CpuState *cpu, const Op *op)
{
    REG(t8, op->dst) = cc_test(op->cond, cpu->cc);
    NEXT;
}

/* ---- read-modify-write with results in registers, plain and LOCKed ---- */

#define XADD(N, form, lock, how)                                                                   \
    static const Op *xadd_##form##N(CpuState *cpu, const Op *op)                                       \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, how);                                                              \
        t##N v = REG(t##N, op->src);                                                               \
        unsigned cc;                                                                               \
        __asm__ volatile(lock "xadd %1, %0" SAVE_FLAGS                                             \
                         : "+m"(*p), "+r"(v), "=&a"(cc) : : "cc", "memory");                       \
        put##N(cpu, op->src, v);                                                                   \
        cpu->cc = (uint16_t)cc;                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static const Op *cmpxchg_##form##N(CpuState *cpu, const Op *op)                                    \
    {                                                                                              \
        uint64_t lin = op_lin(cpu, op);                                                            \
        MEM_WRITE(t##N, p, lin, how);                                                              \
        t##N v = REG(t##N, op->src);                                                               \
        uint64_t acc = cpu->gpr[REG_RAX], flags;                                                   \
        __asm__ volatile(lock "cmpxchg %3, %0\n\tmov %%rax, %2\n\tlahf\n\tseto %%al\n\t"           \
                         "movzwl %%ax, %%eax\n\txchg %%rax, %2"                                    \
                         : "+m"(*p), "+a"(acc), "=&r"(flags) : "r"(v) : "cc", "memory");           \
        if (!(flags & CC_ZF)) { /* equal: the accumulator keeps its upper half */                  \
            put##N(cpu, 0, (t##N)acc);                                                             \
        }                                                                                          \
        cpu->cc = (uint16_t)flags;                                                                 \
        NEXT;                                                                                      \
    }
SIZES(XADD, mr, "", SLOW_RMW)
SIZES(XADD, lock, "lock ", SLOW_RMW | SLOW_LOCK)
OpFn *const xadd_ops[2][4] = { BY_SIZE(xadd_mr), BY_SIZE(xadd_lock) };
OpFn *const cmpxchg_ops[2][4] = { BY_SIZE(cmpxchg_mr), BY_SIZE(cmpxchg_lock) };

/* ---- the 64-bit stack ---- */

static inline uint64_t *rsp(CpuState *cpu)
{
    return &cpu->gpr[REG_RSP];
}

const Op *op_push64_r(CpuState *cpu, const Op *op)
{
    uint64_t lin = *rsp(cpu) - 8;
    MEM_WRITE(t64, p, lin, SLOW_WRITE);
    *p = REG(t64, op->src);
    *rsp(cpu) = lin;
    NEXT;
}

const Op *op_push64_i(CpuState *cpu, const Op *op)
{
    uint64_t lin = *rsp(cpu) - 8;
    MEM_WRITE(t64, p, lin, SLOW_WRITE);
    *p = op->imm;
    *rsp(cpu) = lin;
    NEXT;
}

const Op *op_pop64_r(CpuState *cpu, const Op *op)
{
    uint64_t lin = *rsp(cpu);
    MEM_READ(t64, p, lin);
    uint64_t v = *p;
    *rsp(cpu) = lin + 8;
    REG(t64, op->dst) = v; /* after RSP: POP RSP takes the value */
    NEXT;
}

const Op *op_leave64(CpuState *cpu, const Op *op)
{
    uint64_t lin = cpu->gpr[REG_RBP];
    MEM_READ(t64, p, lin);
    cpu->gpr[REG_RBP] = *p;
    *rsp(cpu) = lin + 8;
    NEXT;
}

/* ---- the stack of flat 32-bit code ---- */

const Op *op_push32_r(CpuState *cpu, const Op *op)
{
    uint64_t lin = (uint32_t)(*rsp(cpu) - 4);
    MEM_WRITE(t32, p, lin, SLOW_WRITE);
    *p = REG(t32, op->src);
    *rsp(cpu) = lin;
    NEXT;
}

const Op *op_push32_i(CpuState *cpu, const Op *op)
{
    uint64_t lin = (uint32_t)(*rsp(cpu) - 4);
    MEM_WRITE(t32, p, lin, SLOW_WRITE);
    *p = (t32)op->imm;
    *rsp(cpu) = lin;
    NEXT;
}

const Op *op_pop32_r(CpuState *cpu, const Op *op)
{
    uint64_t lin = (uint32_t)*rsp(cpu);
    MEM_READ(t32, p, lin);
    uint32_t v = *p;
    *rsp(cpu) = (uint32_t)(lin + 4);
    put32(cpu, op->dst, v);
    NEXT;
}

const Op *op_leave32(CpuState *cpu, const Op *op)
{
    uint64_t lin = (uint32_t)cpu->gpr[REG_RBP];
    MEM_READ(t32, p, lin);
    cpu->gpr[REG_RBP] = *p;
    *rsp(cpu) = (uint32_t)(lin + 4);
    NEXT;
}

const Op *op_nop(CpuState *cpu, const Op *op)
{
    (void)cpu;
    NEXT;
}
