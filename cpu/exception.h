/* SPDX-License-Identifier: GPL-2.0-or-later
 * Faults, interrupts, and how a CPU takes them (SDM 3A chapter 6).
 */
#ifndef CPU_EXCEPTION_H
#define CPU_EXCEPTION_H

#include "cpu/state.h"

/* The one door for faults: does not return, unwinds to the engine's loop, which calls
 * cpu_deliver. The instruction has committed nothing that a restart would not repeat. */
void cpu_raise(CpuState *cpu, int vector, uint32_t error) __attribute__((noreturn));
/* For vectors without an error code (#UD, #NM, #DE, #DB, #BR, #MF, #XM). */
void cpu_raise_plain(CpuState *cpu, int vector) __attribute__((noreturn));
/* #PF: sets CR2 too. */
void cpu_raise_pf(CpuState *cpu, uint64_t lin, uint32_t error) __attribute__((noreturn));
/* Unwinds without a fault: the instruction will be executed again, as if it had not started. For
 * one that waits for an interrupt (x87 with CR0.NE = 0). */
void cpu_restart(CpuState *cpu) __attribute__((noreturn));

typedef enum EventKind { EVENT_FAULT, EVENT_EXTERNAL, EVENT_SOFT_INT, EVENT_SOFT_EXC, EVENT_ICEBP } EventKind;
/* Takes one event through the IDT/IVT in every mode: pushes the frame, task gates, stack
 * switches, IST, VME redirection. cpu->rip is the address to return to (the faulting instruction,
 * or the next one for EVENT_SOFT_*, external and traps). A further fault inside becomes a contributory fault, #DF, or
 * shutdown (triple fault): then activity is CPU_SHUTDOWN on return (and CPU_REQ_RECHECK is set).
 * Sets its own unwind buffer and puts the caller's back, so that both the engine's loop and
 * exec_INT may call it. For EVENT_SOFT_* and EVENT_ICEBP insn_rip must be the instruction's.
 *
 * What the engine does around one instruction: if TF is set it puts DR6.BS into pending_db before
 * it runs the instruction (delivery of anything drops it again: an INT n or a fault is not
 * stepped); it clears RF before, so that IRET can set it; afterwards it clears an interrupt
 * shadow that was already there before. */
void cpu_deliver(CpuState *cpu, EventKind kind, int vector, bool has_error, uint32_t error);
/* Delivers what cpu_raise left in exc_*. */
void cpu_deliver_raised(CpuState *cpu);
/* Between two instructions, with request bits or pending_db set: takes the one event of highest
 * priority that is deliverable (SDM 3A table 6-2: #DB trap, NMI, SMI, INIT, INTR) and returns
 * true if the state changed. */
bool cpu_take_events(CpuState *cpu);
/* Is there an event that ends HLT / would be taken now? Lock-free. */
bool cpu_has_work(const CpuState *cpu);

#endif
