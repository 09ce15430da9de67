/* SPDX-License-Identifier: GPL-2.0-or-later
 * thread=single: vCPUs keep their threads, but only one at a time runs guest code. Turns go around
 * in the order of asking. One ends when the vCPU halts or is stopped, when it executes PAUSE, or at
 * its next safepoint once somebody has waited TURN_NS for it.
 *
 * No deadlock: who waits for a turn holds no lock and counts as outside guest code (guest_code is
 * 0, it holds no host address), so that nobody waits for its safepoint. Who has the turn may wait for
 * vm_lock, whose holder never waits for a turn; and every request that ends jit_run ends the turn.
 */
#ifndef ACCEL_JIT_TURNS_H
#define ACCEL_JIT_TURNS_H

#include "cpu/state.h"

typedef struct Turns Turns;

enum { TURN_NS = 1000000 };

Turns *turns_new(void);
void turns_free(Turns *t); /* NULL is allowed */
/* The vCPU's thread, outside guest code: waits for its turn; ends it. */
void turns_take(Turns *t, CpuState *cpu);
void turns_give(Turns *t);
/* At a safepoint, before requests are looked at: others first, if they have waited long enough. */
void turns_pass(Turns *t, CpuState *cpu);
/* The vCPU waits for another one to do something: its next safepoint comes at once. */
void turns_spin(Turns *t, CpuState *cpu);

#endif
