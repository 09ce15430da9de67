/* SPDX-License-Identifier: GPL-2.0-or-later
 * Registers in the log.
 */
#ifndef CPU_LOG_H
#define CPU_LOG_H

#include "cpu/state.h"

/* One message: "cpu N WHEN: rip ...". The caller has looked at log_on(). Own thread, or parked. */
void cpu_log_registers(const CpuState *cpu, const char *when);

#endif
