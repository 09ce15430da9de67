/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x87 FPU (SDM 1 chapter 8). Arithmetic is done by the host's own x87 on 80-bit values, so
 * results, flags and C1 are the processor's; see x87.c.
 *
 * The host's x87 stack is empty and its control word 037F between instructions, as its ABI asks.
 */
#ifndef CPU_X87_H
#define CPU_X87_H

#include "cpu/exec.h"

enum {
    FSW_IE = 1 << 0, FSW_DE = 1 << 1, FSW_ZE = 1 << 2, FSW_OE = 1 << 3, FSW_UE = 1 << 4,
    FSW_PE = 1 << 5, FSW_SF = 1 << 6, FSW_ES = 1 << 7, FSW_C0 = 1 << 8, FSW_C1 = 1 << 9,
    FSW_C2 = 1 << 10, FSW_TOP = 7 << 11, FSW_C3 = 1 << 14, FSW_B = 1 << 15,
    FSW_FLAGS = 0x3f, FSW_CC = FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3,
    FCW_MASKS = 0x3f, FCW_DEFAULT = 0x037f,
};

/* Any x87 instruction, FWAIT included. An ExecFn. */
void exec_x87(CpuState *cpu, const Insn *in);
/* The function of this very instruction: what exec_x87 would call, without its lookup. */
ExecFn *x87_function(const Insn *in);

static inline bool x87_is_unmasked(const FpuState *f)
{
    return (f->fcw & FCW_MASKS) != FCW_MASKS;
}
/* MODE_FPU_UNMASKED as fcw has it. Whoever writes fcw by other ways than these calls it. */
static inline void x87_update_mode(CpuState *cpu)
{
    cpu->mode = (cpu->mode & ~(uint32_t)MODE_FPU_UNMASKED) |
                (x87_is_unmasked(&cpu->fpu) ? MODE_FPU_UNMASKED : 0);
}

void x87_init(FpuState *f); /* what FNINIT leaves */
void x87_reset(CpuState *cpu); /* FNINIT: the same, with all that follows */
/* Writes the control or status word, and ES, B and FERR# as follow from both. */
void x87_set_cw(CpuState *cpu, uint16_t fcw);
void x87_set_sw(CpuState *cpu, uint16_t fsw);

/* #MF if an unmasked exception is pending; with CR0.NE = 0 waits for FERR#'s interrupt instead.
 * Before every waiting x87 or MMX instruction. */
void x87_raise_pending(CpuState *cpu);
static inline void x87_check_pending(CpuState *cpu)
{
    if (unlikely(cpu->fpu.fsw & FSW_ES)) {
        x87_raise_pending(cpu);
    }
}

/* The tag word of FNSTENV and FNSAVE (SDM 1 8.1.7): two bits a register, from the abridged tags
 * and the contents. */
uint16_t x87_full_tag(const FpuState *f);

/* x87_env.c: FNSTENV, FLDENV, FNSAVE, FRSTOR in the formats of SDM 1 8.1.10. */
void x87_fnstenv(CpuState *cpu, const Insn *in);
void x87_fldenv(CpuState *cpu, const Insn *in);
void x87_fnsave(CpuState *cpu, const Insn *in);
void x87_frstor(CpuState *cpu, const Insn *in);

#endif
