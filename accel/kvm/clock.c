/* SPDX-License-Identifier: GPL-2.0-or-later
 * kvmclock, the VM's clock that guests read by way of the TSC (api.rst 4.29, 4.30 KVM_GET_CLOCK,
 * KVM_SET_CLOCK). It goes by the host's TSC, guest time by CLOCK_MONOTONIC; the two drift apart by
 * parts in a million, so the clock is never set to guest time, which might take it back. While no
 * vCPU is in the kernel it is Machine.kvmclock (cpu/kvm_pv.h), from which the software engines serve
 * it, too: it stands while the VM is stopped, and a VM that is made anew goes on with it.
 *
 * A host that stands still (SIGSTOP, a long stall) is no stop: all clocks of the guest go on with the
 * host's, and agree afterwards.
 */
#include "accel/kvm/kvm.h"
#include "cpu/kvm_pv.h"
#include "cpu/model.h"
#include "util/timer.h"

enum { LONG_NS = 500000000 };

/* A guest that has stood still should not take its CPUs for stuck (api.rst 4.70). One without
 * kvmclock cannot be told. */
void kvm_clock_tell_guest(KvmVcpu *k)
{
    unsigned pauses = __atomic_load_n(&k->vm->pauses, __ATOMIC_RELAXED);
    if (k->pauses_seen != pauses) {
        k->pauses_seen = pauses;
        kvm_ioctl(k->fd, KVM_KVMCLOCK_CTRL, NULL);
    }
}

void kvm_clock_stop(KvmVm *vm)
{
    struct kvm_clock_data c = { 0 };
    if (!vm->ready || !vm->clock_runs) {
        return;
    }
    vm->clock_runs = false;
    vm->stopped_host_ns = host_clock_ns();
    vm->stopped_guest_ns = guest_clock_ns();
    if (kvm_ioctl(vm->fd, KVM_GET_CLOCK, &c) == 0) {
        bool knows_when = c.flags & KVM_CLOCK_HOST_TSC;
        kvm_pv_clock_set(vm->machine, c.clock, knows_when ? c.host_tsc : host_tsc());
    }
}

void kvm_clock_start(KvmVm *vm)
{
    if (!vm->ready || vm->clock_runs) {
        return;
    }
    struct kvm_clock_data c = { .clock = kvm_pv_clock_ns(vm->machine) };
    kvm_ioctl(vm->fd, KVM_SET_CLOCK, &c);
    uint64_t host = host_clock_ns() - vm->stopped_host_ns;
    uint64_t guest = guest_clock_ns() - vm->stopped_guest_ns;
    if (vm->stopped_host_ns && host > guest + LONG_NS) {
        __atomic_fetch_add(&vm->pauses, 1, __ATOMIC_RELAXED);
    }
    vm->clock_runs = true;
}
