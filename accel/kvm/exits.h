/* SPDX-License-Identifier: GPL-2.0-or-later
 * Counting exits: `info exits`. A vCPU's counters are written by its thread; others read them while
 * it is parked.
 */
#ifndef ACCEL_KVM_EXITS_H
#define ACCEL_KVM_EXITS_H

#include "accel/kvm/kvm.h"

/* Reasons of our own, behind the kernel's. */
enum { EXIT_REASONS = 64, EXIT_EFAULT = EXIT_REASONS - 2, EXIT_ERROR = EXIT_REASONS - 1 };

typedef enum ExitRescue { RESCUE_EMULATION, RESCUE_GUARD, NR_RESCUES } ExitRescue;

/* A vCPU comes: its counters go on where it has been here before. They go with the machine. */
void kvm_exits_attach(KvmVcpu *k);
void kvm_exits_free(KvmVm *vm);
/* The vCPU in the kernel is about to go, and the kernel's count with it. */
void kvm_exits_keep(KvmVcpu *k);
/* One KVM_RUN, by the host clock: entered, back, handled. */
void kvm_exits_count(KvmVcpu *k, unsigned reason, uint64_t entered, uint64_t back, uint64_t done);
/* Whom a port or register access met; of count accesses. */
void kvm_exits_access(KvmVcpu *k, bool port, uint64_t addr, bool write, uint64_t count);
void kvm_exits_rescued(KvmVcpu *k, ExitRescue why);
const char *kvm_exit_name(unsigned reason);

/* Engine.exits, Engine.info */
void kvm_exits_print(Machine *m, void (*print)(void *opaque, const char *line), void *opaque);
void kvm_info_print(Machine *m, void (*print)(void *opaque, const char *line), void *opaque);

#endif
