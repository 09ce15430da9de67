/* SPDX-License-Identifier: GPL-2.0-or-later
 * The signal that makes KVM_RUN come back (api.rst 5, immediate_exit).
 */
#ifndef ACCEL_KVM_KICK_H
#define ACCEL_KVM_KICK_H

#include <pthread.h>
#include <stdint.h>

#include "util/error.h"

bool kick_init(Error **errp) MUST_USE; /* once a process; again does no harm */
/* The byte the handler sets when it runs in this thread: kvm_run.immediate_exit; NULL: none. */
void kick_set_target(uint8_t *immediate_exit);
void kick_thread(pthread_t thread);
/* KVM_RUN of the calling thread's vCPU with a signal waiting: the kernel does what is due and comes
 * back before any guest code. 0 or -errno. */
int kick_run_nothing(int vcpu_fd);

#endif
