/* SPDX-License-Identifier: GPL-2.0-or-later
 * Far transfers of control (SDM 3A 5.8, 2A CALL, JMP, INT n, IRET, RET), in every mode.
 */
#ifndef CPU_FAR_H
#define CPU_FAR_H

#include "cpu/exception.h"
#include "cpu/segment.h"

void far_jump(CpuState *cpu, uint16_t sel, uint64_t offset, unsigned opsize);
void far_call(CpuState *cpu, uint16_t sel, uint64_t offset, unsigned opsize);
void far_return(CpuState *cpu, unsigned opsize, unsigned pop_bytes);
void far_iret(CpuState *cpu, unsigned opsize);

/* rip is where cs may execute, else #GP(ext). */
void far_check_rip(CpuState *cpu, const Segment *cs, uint64_t rip, unsigned ext);
/* A code segment descriptor whose L and D bits contradict each other under long mode. */
bool far_bad_long_code(const CpuState *cpu, const Descriptor *d);

/* One event through the IDT or IVT: cpu_deliver without the care for nested faults. */
typedef struct Event {
    EventKind kind;
    int vector;
    bool has_error;
    uint32_t error;
    uint64_t ret_rip; /* what is pushed; cpu->rip is where a fault in delivery points */
} Event;
void interrupt_enter(CpuState *cpu, const Event *ev);
/* EFLAGS as ev pushes them. Faults set RF so that the restarted instruction does not hit its
 * breakpoint again; an instruction breakpoint itself does not (SDM 3B 17.3.1.1). */
static inline uint64_t event_flags_image(const CpuState *cpu, const Event *ev)
{
    uint64_t flags = cpu_rflags(cpu);
    if (ev->kind == EVENT_FAULT && ev->vector != EXC_DB) {
        flags |= FLAG_RF;
    } else if (ev->kind != EVENT_EXTERNAL && ev->kind != EVENT_FAULT) {
        flags &= ~(uint64_t)FLAG_RF;
    }
    return flags;
}

#endif
