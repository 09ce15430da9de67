/* SPDX-License-Identifier: GPL-2.0-or-later
 * Where the guest's x87 state is while translated code runs.
 *
 * JW_FPU set: registers, tags, control and status word are the host's own, by which x87
 * instructions execute natively (gen_x87.c). FIP, FOP and the selectors are noted by generated
 * code, FDP is in CpuState already:
 *
 *     JW_FPU_RIP    JW_PAGE of the last non-control instruction
 *     JW_FPU_CODE   FPU_NOTED | FOP << 16 | its offset in the page; 0: none since the load
 *     JW_FPU_DATA   segment of the last memory operand + 1; 0: none since the load
 *
 * The load is a stub (stubs.c), called by the first x87 instruction of a block. The way back is
 * jit_fpu_store, before C looks at the state or changes a selector: a function is called for an
 * instruction, generated code is left, a fault unwinds. C that is called for a memory operand may
 * find the state live and must leave it so: nothing in this program but cpu/x87*.c touches x87
 * or MMX registers, nor the control word; what is beyond this program (devices call libraries) is
 * kept from it by jit_fpu_park.
 */
#ifndef ACCEL_JIT_FPU_H
#define ACCEL_JIT_FPU_H

#include "accel/jit/cpu.h"

enum { FPU_NOTED = 1u << 31, FPU_FOP_SHIFT = 16, FPU_OFF_MASK = 0xffff };

/* Live in the host's registers: to CpuState, and the host's x87 as its ABI asks. */
void jit_fpu_store_live(CpuState *cpu);

static inline void jit_fpu_store(CpuState *cpu)
{
    if (unlikely(cpu->jit_word[JW_FPU])) {
        jit_fpu_store_live(cpu);
    }
}

/* Bracket what may use the x87 and does not look at the guest's. Between them a fault may unwind. */
bool jit_fpu_park(CpuState *cpu); /* true: unpark it */
void jit_fpu_unpark(CpuState *cpu);

#endif
