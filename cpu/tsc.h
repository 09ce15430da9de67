/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a machine's time stamp counters count. Guest time at tsc_khz; or, where an engine lets
 * guests read the host's own TSC, that one: then all vCPUs on all engines agree to the tick. Either
 * stands still while guest time does, and CpuState.tsc_offset is what a CPU adds.
 */
#ifndef CPU_TSC_H
#define CPU_TSC_H

#include <stdint.h>

struct CpuState;
struct Machine;

/* From now on they go by the host's TSC, whose rate tsc_khz is. They do not jump. vm_lock held. */
void cpu_tsc_follow_host(struct Machine *m);
/* They are the host's TSC as it is, whatever a guest writes to them: an engine cannot shift them. */
void cpu_tsc_be_host(struct Machine *m);
/* The run state: guest time has been started, has been stopped. vCPUs are parked; vm_lock held. */
void cpu_tsc_start(struct Machine *m);
void cpu_tsc_stop(struct Machine *m);
/* What this CPU counts but for its own offset (the same on all CPUs of a machine); that offset. */
uint64_t cpu_tsc_ticks(const struct CpuState *cpu);
uint64_t cpu_tsc_own_offset(const struct CpuState *cpu);
/* What to add to the host's TSC to get this CPU's while guest time runs. */
uint64_t cpu_tsc_host_offset(const struct CpuState *cpu);

#endif
