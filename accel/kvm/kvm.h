/* SPDX-License-Identifier: GPL-2.0-or-later
 * The KVM engine (Linux Documentation/virt/kvm/api.rst): what its files share.
 *
 *   host.c    is there a /dev/kvm that helps, and if not, why        ioctl.c  calls, logged by -d kvm
 *   engine.c  the Engine, options, the VM's life                     slots.c  flat view -> memory slots
 *   run.c     KVM_RUN, exits, kicks, interrupts of our own irqchips  exits.c  info exits
 *   state.c, msr.c, xsave.c   CpuState <-> kernel                    cpuid.c  the model, filtered
 *   irqchip.c, routes.c       the kernel's PIC, IOAPIC, LAPIC, PIT   clock.c  stop and cont
 *
 * A KvmVm can be thrown away and made anew while every vCPU is parked: all state lives in CpuState
 * and the devices between store_state and load_state. That is how the irqchip mode follows the
 * engines: vCPUs on other engines cannot reach a kernel LAPIC, so a mixed machine has none.
 */
#ifndef ACCEL_KVM_KVM_H
#define ACCEL_KVM_KVM_H

#include <linux/kvm.h>

#include "accel/accel.h"

/* What the kernel has of the interrupt controllers: nothing; local APICs; those, IOAPIC, PICs and
 * the PIT (-M kernel-irqchip=off|split|on). */
typedef enum KvmIrqchip { KVM_IRQCHIP_OFF, KVM_IRQCHIP_SPLIT, KVM_IRQCHIP_ON } KvmIrqchip;

typedef struct KvmVm {
    Machine *machine;
    int kvm_fd;              /* /dev/kvm */
    int fd;                  /* KVM_CREATE_VM; -1: none now */
    KvmIrqchip irqchip;      /* of the VM that is there */
    KvmIrqchip wanted;       /* by the user; where a mixed machine does not forbid it */
    struct KvmSlots *slots;  /* slots.c */
    struct KvmRoutes *routes; /* irqchip.c, routes.c; NULL: all in user space */
    size_t run_size;         /* of struct kvm_run's mapping */
} KvmVm;

/* CpuState.engine_data while KVM runs the vCPU. */
typedef struct KvmVcpu {
    Vcpu *v;
    KvmVm *vm;
    int fd; /* KVM_CREATE_VCPU */
    struct kvm_run *run;
    struct KvmState *state; /* state.c: MSR list, xsave buffer */
    struct KvmExits *exits; /* exits.c: counters */
} KvmVcpu;

/* ioctl() that repeats after EINTR (but for KVM_RUN), logs with -d kvm, and returns the result or
 * -errno. Any thread. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
/* KVM_CHECK_EXTENSION on the VM; 0: not there. */
int kvm_cap(const KvmVm *vm, int cap);

/* state.c, in the vCPU's thread. Everything a snapshot holds, both ways. load applies guest time to
 * the TSC; store leaves activity, request bits and pending events as the interpreter wants them. */
bool kvm_state_init(KvmVcpu *k, Error **errp) MUST_USE;
void kvm_state_fini(KvmVcpu *k);
void kvm_load_state(KvmVcpu *k);
void kvm_store_state(KvmVcpu *k);

/* cpuid.c: KVM_SET_CPUID2 from the CPU's model and features. */
bool kvm_set_cpuid(KvmVcpu *k, Error **errp) MUST_USE;

#endif
