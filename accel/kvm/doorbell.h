/* SPDX-License-Identifier: GPL-2.0-or-later
 * Writes that need no exit: the kernel signals eventfds (ioeventfd) and keeps coalesced writes in a
 * ring. Both follow the flat views.
 */
#ifndef ACCEL_KVM_DOORBELL_H
#define ACCEL_KVM_DOORBELL_H

#include "accel/kvm/kvm.h"

/* vm_lock held for all but the first line of kvm_coalesced_drain. */
void kvm_doorbells_new(KvmVm *vm);
void kvm_doorbells_fill(KvmVm *vm);  /* a VM has come */
void kvm_doorbells_clear(KvmVm *vm); /* and goes */
void kvm_doorbells_free(KvmVm *vm);
/* After each KVM_RUN, before its exit is handled: what was written before it. Any thread. */
void kvm_coalesced_drain(const KvmVcpu *k);

#endif
