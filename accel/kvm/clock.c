/* SPDX-License-Identifier: GPL-2.0-or-later
 * kvmclock, the VM's clock that guests read by way of the TSC (api.rst 4.29, 4.30 KVM_GET_CLOCK,
 * KVM_SET_CLOCK). It goes by the host's TSC, guest time by CLOCK_MONOTONIC; the two drift apart by
 * parts in a million, so the clock is never set to guest time, which might take it back, but goes
 * on from where it was by as much guest time as has passed. So it stands while the VM is stopped,
 * and a VM that is made anew goes on with it.
 *
 * A host that stands still (SIGSTOP, a long stall) is no stop: all clocks of the guest go on with the
 * host's, and agree afterwards.
 */
#include "accel/kvm/kvm.h"
#include "util/timer.h"

void kvm_clock_stop(KvmVm *vm)
{
    struct kvm_clock_data c = { 0 };
    if (!vm->ready || !vm->clock_runs) {
        return;
    }
    vm->clock_runs = false;
    if (kvm_ioctl(vm->fd, KVM_GET_CLOCK, &c) == 0) {
        vm->clock_ns = c.clock;
        vm->clock_guest_ns = guest_clock_ns();
        vm->clock_known = true;
    }
}

void kvm_clock_start(KvmVm *vm)
{
    if (!vm->ready || vm->clock_runs) {
        return;
    }
    uint64_t now = guest_clock_ns();
    struct kvm_clock_data c = { .clock = now };
    if (vm->clock_known) {
        c.clock = vm->clock_ns + (now - vm->clock_guest_ns);
    }
    kvm_ioctl(vm->fd, KVM_SET_CLOCK, &c);
    vm->clock_runs = true;
}
