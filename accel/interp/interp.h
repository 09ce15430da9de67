/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interpreter, for those outside accel/interp: other engines that hand it an instruction,
 * and tests.
 */
#ifndef ACCEL_INTERP_INTERP_H
#define ACCEL_INTERP_INTERP_H

#include "cpu/exec.h"

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
/* ---- for the translator, on the vCPU's thread, inside a frame whose unwind buffer is set ---- */

/* -d exec, cpu: what is run next, and who runs it. */
void interp_log_entry(CpuState *cpu, const char *who);
/* An engine's loop: runs until a safepoint says to leave, delivers what is raised in between. */
typedef struct RunLoop {
    void (*once)(CpuState *cpu);      /* some guest code; may unwind */
    bool (*safepoint)(CpuState *cpu); /* something is requested; false: leave. interp_safepoint */
    void (*unwound)(CpuState *cpu);   /* before a fault is delivered; NULL: nothing */
} RunLoop;
void interp_loop(CpuState *cpu, const RunLoop *l);
/* Events, requests and what single step, breakpoints and shadows want are the caller's business. */
void interp_run_block(CpuState *cpu);  /* one block, or more where they lead to each other */
void interp_run_single(CpuState *cpu); /* one instruction, with all that is due around it */
/* One instruction, without single step and breakpoints; no request may be pending. */
void interp_run_bare(CpuState *cpu);
bool interp_wants_single(const CpuState *cpu);
/* Between blocks: what others asked for. False: leave the engine. */
bool interp_safepoint(CpuState *cpu);
/* After cpu_raise unwound: delivers. */
void interp_deliver(CpuState *cpu);
/* A block was left because it is hot: cleared by the question. interp_cooler: ask
 * again for the block at rip only after so many more runs. */
bool interp_was_hot(CpuState *cpu);
void interp_cooler(CpuState *cpu, uint32_t runs);
/* Translations are gone: blocks that were hot must run so often again. */
void interp_reheat(CpuState *cpu, uint32_t runs);
/* Asked for each new block: how often it runs before it counts as hot. stamp: its page's. */
void interp_set_heat(CpuState *cpu, uint32_t (*heat)(CpuState *cpu, const uint32_t *stamp));
/* The lock behind LOCKed accesses outside one RAM page; dropped by interp_deliver too. */
void interp_bus_lock(CpuState *cpu);
void interp_bus_unlock(CpuState *cpu);
/* What runs an instruction when no engine has a faster way; NULL: not built. */
ExecFn *insn_function(const Insn *in);
/* Does a block end behind it, since control flow, mode, paging or interrupt state change? */
bool insn_ends_block(const Insn *in);
/* It does not, but may change these now and then: to be run by exec_step (cpu/exec_step.h). */
bool insn_may_end_block(const Insn *in);

/* Drops every decoded block of this CPU. Own thread. */
void interp_flush(CpuState *cpu);

#endif
