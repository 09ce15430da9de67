/* SPDX-License-Identifier: GPL-2.0-or-later
 * What instructions do, for every software engine: one function an InsnOp, in the files of its
 * family (exec_*.c). An engine may have a faster way of its own for the common ones.
 *
 * On entry cpu->insn_rip is the instruction's address and cpu->rip the next one's (cut to IP size);
 * control transfers write cpu->rip. A fault unwinds by cpu_raise; the engine restores rip from
 * insn_rip first. Nothing may be committed before the last possible fault.
 */
#ifndef CPU_EXEC_H
#define CPU_EXEC_H

#include "cpu/insn.h"
#include "cpu/mem.h"

typedef void ExecFn(CpuState *cpu, const Insn *in);

/* By InsnOp; NULL where only the engine itself implements the instruction. */
extern ExecFn *const exec_table[];

/* Effective address of in's memory operand: offset cut to address size, without segment base. */
uint64_t exec_ea(const CpuState *cpu, const Insn *in);
/* Operand n as a value of its size (registers, memory, immediates), and back. 32-bit register
 * writes zero-extend. */
uint64_t exec_get(CpuState *cpu, const Insn *in, unsigned n);
void exec_put(CpuState *cpu, const Insn *in, unsigned n, uint64_t val);

/* The low size bytes. */
static inline uint64_t exec_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << size * 8) - 1;
}

/* Every instruction's function; which of them exist, exec_table says. */
#define OP(name, family) ExecFn exec_##name;
#include "cpu/ops.inc"
#undef OP

static inline uint64_t cpu_reg(const CpuState *cpu, unsigned reg, unsigned size)
{
    uint64_t v = cpu->gpr[reg];
    return size == 8 ? v : v & ((1ull << size * 8) - 1);
}
static inline void cpu_set_reg(CpuState *cpu, unsigned reg, unsigned size, uint64_t val)
{
    uint64_t *r = &cpu->gpr[reg];
    switch (size) {
    case 1: *r = (*r & ~0xffull) | (val & 0xff); break;
    case 2: *r = (*r & ~0xffffull) | (val & 0xffff); break;
    case 4: *r = (uint32_t)val; break;
    default: *r = val;
    }
}

/* Stack of the current mode (SS:SP, ESP or RSP), operand size 2, 4 or 8. Pop reads and moves the
 * pointer only if nothing faults. */
void cpu_push(CpuState *cpu, uint64_t val, unsigned size);
uint64_t cpu_pop(CpuState *cpu, unsigned size);
uint64_t cpu_stack_mask(const CpuState *cpu); /* 0xffff, 0xffffffff or all ones */

#endif
