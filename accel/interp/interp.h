/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interpreter, for those outside accel/interp: other engines that hand it an instruction,
 * and tests.
 */
#ifndef ACCEL_INTERP_INTERP_H
#define ACCEL_INTERP_INTERP_H

#include "cpu/state.h"

/* Allocates and frees what the interpreter keeps for one CPU (translation caches, blocks). Any
 * thread, while the CPU does not run. */
void interp_cpu_init(CpuState *cpu);
void interp_cpu_fini(CpuState *cpu);
/* Runs until a CPU_REQ_STOP, or until the CPU is not active. The vCPU's thread, vm_lock not held. */
void interp_run(CpuState *cpu);
/* Executes n instructions (or fewer if the CPU stops being active), taking faults and interrupts
 * through the guest's IDT as interp_run does. */
void interp_step(CpuState *cpu, unsigned n);
/* Executes exactly one instruction without looking at requests. Returns -1, or the vector it
 * raised (exc_error and cr2 are set, rip is the instruction's) without delivering it. */
int interp_step_raw(CpuState *cpu);
/* Drops every decoded block of this CPU. Own thread. */
void interp_flush(CpuState *cpu);

#endif
