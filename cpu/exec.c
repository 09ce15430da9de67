/* SPDX-License-Identifier: GPL-2.0-or-later
 * The table of instructions' functions, and what they share: operands and the stack.
 */
#include "cpu/exec.h"

#include <assert.h>

#include "cpu/paging.h"
#include "cpu/segment.h"
#include "cpu/simd_host.h"
#include "cpu/x87.h"

/* By family: most instructions have a function of their own, vector and x87 instructions share
 * one. Weak: what only the engines implement links as NULL. */
#define OWN(name) exec_##name
#define FN_ALU(name) OWN(name)
#define FN_BRANCH(name) OWN(name)
#define FN_STACK(name) OWN(name)
#define FN_STRING(name) OWN(name)
#define FN_IO(name) OWN(name)
#define FN_SEGMENT(name) OWN(name)
#define FN_SYS(name) OWN(name)
#define FN_X87(name) exec_x87
#define FN_MMX(name) exec_simd
#define FN_SSE(name) exec_simd
#define FN_AVX(name) exec_simd
#define FN_FMA(name) exec_simd

#define OP(name, family) ExecFn exec_##name __attribute__((weak));
#include "cpu/ops.inc"
#undef OP

ExecFn *const exec_table[] = {
    [OP_INVALID] = NULL,
#define OP(name, family) [OP_##name] = FN_##family(name),
#include "cpu/ops.inc"
#undef OP
};

uint64_t exec_ea(const CpuState *cpu, const Insn *in)
{
    uint64_t ea = (uint64_t)in->disp;
    if (in->base == INSN_REG_RIP) {
        ea += cpu->rip;
    } else if (in->base != INSN_REG_NONE) {
        ea += cpu->gpr[in->base];
    }
    if (in->index != INSN_REG_NONE) {
        ea += cpu->gpr[in->index] << in->scale;
    }
    return ea & exec_mask(in->adsize);
}

uint64_t exec_get(CpuState *cpu, const Insn *in, unsigned n)
{
    const Operand *o = &in->opd[n];
    switch (o->kind) {
    case OPD_GPR: return cpu_reg(cpu, o->reg, o->size);
    case OPD_GPR8H: return cpu->gpr[o->reg] >> 8 & 0xff;
    case OPD_SEG: return cpu->seg[o->reg].sel;
    case OPD_MEM: return seg_load(cpu, in->seg, exec_ea(cpu, in), o->size);
    case OPD_IMM:
    case OPD_REL:
    case OPD_FAR: return (uint64_t)in->imm & exec_mask(o->size);
    case OPD_IMM2: return (uint64_t)in->imm2 & exec_mask(o->size);
    default: assert(!"operand kind without a plain value"); return 0;
    }
}

void exec_put(CpuState *cpu, const Insn *in, unsigned n, uint64_t val)
{
    const Operand *o = &in->opd[n];
    switch (o->kind) {
    case OPD_GPR: cpu_set_reg(cpu, o->reg, o->size, val); break;
    case OPD_GPR8H:
        cpu->gpr[o->reg] = (cpu->gpr[o->reg] & ~0xff00ull) | (val & 0xff) << 8;
        break;
    case OPD_MEM: seg_store(cpu, in->seg, exec_ea(cpu, in), val, o->size); break;
    default: assert(!"operand kind that cannot be written");
    }
}

uint64_t cpu_stack_mask(const CpuState *cpu)
{
    if (cpu->mode & MODE_CS64) {
        return UINT64_MAX;
    }
    return cpu->mode & MODE_SS32 ? 0xffffffffu : 0xffffu;
}

/* [RSP, RSP + size) of 64-bit code: no segment, but #SS for an address that is not canonical. */
static bool stack_is_plain(const CpuState *cpu, uint64_t sp, unsigned size)
{
    return (cpu->mode & MODE_CS64) && lin_is_canonical(cpu, sp) &&
           lin_is_canonical(cpu, sp + size - 1);
}

void cpu_push(CpuState *cpu, uint64_t val, unsigned size)
{
    uint64_t sp = cpu->gpr[REG_RSP] - size;
    if (likely(stack_is_plain(cpu, sp, size))) {
        lin_store(cpu, sp, val, size, MEM_CPL);
        cpu->gpr[REG_RSP] = sp;
        return;
    }
    Stack st = stack_current(cpu);
    stack_push(&st, val, size);
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
}

uint64_t cpu_pop(CpuState *cpu, unsigned size)
{
    uint64_t sp = cpu->gpr[REG_RSP];
    if (likely(stack_is_plain(cpu, sp, size))) {
        uint64_t plain = lin_load(cpu, sp, size, MEM_CPL);
        cpu->gpr[REG_RSP] = sp + size;
        return plain;
    }
    Stack st = stack_current(cpu);
    uint64_t val = stack_pop(&st, size);
    cpu->gpr[REG_RSP] = stack_merge(&st, cpu->gpr[REG_RSP]);
    return val;
}
