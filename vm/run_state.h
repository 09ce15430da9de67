/* SPDX-License-Identifier: GPL-2.0-or-later
 * The machine's run state: running, paused, and the requests to reset or end it. vm_lock held,
 * main loop unless said otherwise. One machine a process.
 */
#ifndef VM_RUN_STATE_H
#define VM_RUN_STATE_H

#include "hw/core/machine.h"

typedef enum RunState {
    RUN_PRELAUNCH, /* -S: not started yet */
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_SHUTDOWN,  /* the guest powered off under -no-shutdown */
    RUN_IO_ERROR,  /* a drive failed and its werror= or rerror= says stop */
    RUN_INTERNAL_ERROR, /* an engine cannot go on with a vCPU */
} RunState;

/* Before the machine is built. */
void run_state_init(Machine *m);
/* The machine is built, vCPUs exist and are parked: power-on reset. */
void run_state_power_on(void);
RunState run_state(void);
void vm_start(void);
void vm_stop(RunState why);

#endif
