/* SPDX-License-Identifier: GPL-2.0-or-later
 * Fast ways between 64-bit code of CPL 0 and 3; see long_mode.c.
 */
#ifndef CPU_LONG_MODE_H
#define CPU_LONG_MODE_H

#include "cpu/far.h"

/* interrupt_enter and a 64-bit IRET; false: not this simple, nothing has changed. */
bool long_enter(CpuState *cpu, const Event *ev);
bool long_iret(CpuState *cpu);
/* cpu_update_mode after CS and SS became those of 64-bit code of this level (and EFLAGS.TF or AC
 * changed, maybe), with the CPU in long mode already. */
void long_update_mode(CpuState *cpu, unsigned cpl);

#endif
