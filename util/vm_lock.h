/* SPDX-License-Identifier: GPL-2.0-or-later
 * The one lock that guards device and machine state. The main loop holds it while it runs
 * callbacks; a vCPU thread runs guest code without it and the region dispatcher takes it around
 * each device access. Not recursive; fair enough that a spinning vCPU cannot starve the main loop.
 */
#ifndef UTIL_VM_LOCK_H
#define UTIL_VM_LOCK_H

#include <pthread.h>
#include <stdbool.h>

void vm_lock(void);
void vm_unlock(void);
/* Does the calling thread hold it? */
bool vm_locked(void);
/* Takes it unless this thread holds it; vm_lock_leave(what vm_lock_enter said) ends that. */
bool vm_lock_enter(void) __attribute__((warn_unused_result));
void vm_lock_leave(bool taken);
/* Called in a thread that has to wait for the lock, before (true) and after (false) the wait; set
 * by the accelerator layer: whoever holds the lock must not wait for such a thread in turn. */
extern void (*vm_lock_wait_hook)(bool waiting);
/* pthread_cond_wait with the lock as its mutex. */
void vm_cond_wait(pthread_cond_t *cond);

#endif
