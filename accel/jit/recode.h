/* SPDX-License-Identifier: GPL-2.0-or-later
 * A decoded instruction encoded again, as the host's own with other registers: guest registers in
 * the host's that stand for them, spilled ones in scratch registers or in their place in CpuState,
 * the memory operand wherever the caller has it.
 */
#ifndef ACCEL_JIT_RECODE_H
#define ACCEL_JIT_RECODE_H

#include "accel/jit/translate.h"

typedef struct Form {
    unsigned reg, vvvv;
    Rm rm;
} Form;

/* Registers of a decoded form. S1 stands in for a spilled register in ModRM.reg or vvvv; S0 for
 * one in ModRM.rm, which may be used only if there is no memory operand. */
typedef struct Spill {
    uint8_t scratch, guest;
    bool load, store;
} Spill;

typedef struct Plan {
    Form f;
    Spill spill[3];
    unsigned nr_spills;
} Plan;

/* mem: where the memory operand is; NULL while only asking whether there is a form. */
bool recode_plan(const Insn *in, const Rm *mem, Plan *p);
void recode_emit(Translator *t, const Insn *in, const Plan *p);
/* The instruction in hand, which has a form. */
void recode_body(Translator *t, const Rm *mem);

const Operand *insn_mem(const Insn *in); /* NULL: it has none */
bool insn_has_high_byte(const Insn *in);  /* AH to BH */

#endif
