/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hardware task switches and what else lies in the TSS: inner stacks, the I/O permission
 * bitmap, the interrupt redirection bitmap (SDM 3A chapter 8, volume 1 chapter 19).
 */
#ifndef CPU_TASK_H
#define CPU_TASK_H

#include "cpu/segment.h"

typedef enum TaskCause {
    TASK_JMP,
    TASK_CALL /* and interrupts: nests */,
    TASK_IRET
} TaskCause;

/* Switches to the TSS sel, whose descriptor d the caller has found available (busy for
 * IRET) and present. ret_rip is saved as the old task's EIP. Faults before the switch are
 * the old task's; later ones, raised with rip (and insn_rip) already the new task's, are
 * the new one's. */
void task_switch(CpuState *cpu, uint16_t sel, Descriptor d, TaskCause cause,
                 uint64_t ret_rip, unsigned ext);
/* Through a task gate (raw: its 8 bytes), after the checks on the gate itself. */
void task_gate(CpuState *cpu, uint64_t gate_raw, TaskCause cause, uint64_t ret_rip,
               unsigned ext);
/* IRET with NT set in legacy mode. */
void task_return(CpuState *cpu);

/* SS and (E)SP of level cpl from the current TSS; #TS(TR) if they lie outside. */
void task_inner_stack(CpuState *cpu, unsigned cpl, unsigned ext, uint16_t *ss,
                      uint32_t *esp);
/* 64-bit TSS: RSP0-2 (n 0-2) or IST1-7 (n 4-10), 8 bytes each from offset 4. */
uint64_t task_rsp(CpuState *cpu, unsigned n, unsigned ext);

/* May the current task touch ports [port, port+size)? Raises #GP(0) if not. */
void task_check_io(CpuState *cpu, uint16_t port, unsigned size);
/* V86 with VME: does INT vector go to the 8086 program's own handler? */
bool task_redirects(CpuState *cpu, unsigned vector);

#endif
