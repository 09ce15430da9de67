/* SPDX-License-Identifier: GPL-2.0-or-later
 * The KVM engine (Linux Documentation/virt/kvm/api.rst): what its files share.
 *
 *   host.c    is there a /dev/kvm that helps, and if not, why        ioctl.c  calls, logged by -d kvm
 *   engine.c  the Engine, options, the VM's life                     slots.c  flat view -> memory slots
 *   guard.c   code pages beside software engines                     dirty.c  the dirty log
 *   run.c     KVM_RUN, kicks, interrupts of our own irqchips         handle.c what it comes back for
 *   exits.c   info exits, info kvm                                   debug.c  guest debug
 *   state.c, msr.c, xsave.c   CpuState <-> kernel                    cpuid.c  the model, filtered
 *   irqchip.c, irqchip_state.c, routes.c  the kernel's PIC, IOAPIC, LAPIC, PIT
 *   doorbell.c ioeventfds, coalesced writes                          clock.c  stop and cont
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

/* -accel kvm,NAME=VALUE and what else the command line says of it. */
typedef struct KvmOptions {
    uint64_t shadow_mem; /* bytes for shadow page tables; 0: the kernel chooses */
    bool notify;         /* a guest that lets no event in for so many ticks exits */
    uint32_t notify_window;
    bool notify_is_error;
    bool discard_ticks;  /* of its 8254 that the guest was too late for; else they come afterwards */
    uint32_t dirty_ring; /* entries of each vCPU's dirty ring; 0: the dirty log */
} KvmOptions;

typedef struct KvmVm {
    Machine *machine;
    int kvm_fd;              /* /dev/kvm */
    int fd;                  /* KVM_CREATE_VM; -1: none now */
    bool ready;              /* and it has its slots and irqchip */
    KvmIrqchip irqchip;      /* of the VM that is there */
    KvmIrqchip wanted;       /* by the user; where a mixed machine does not forbid it */
    KvmOptions options;
    struct KvmSlots *slots;  /* slots.c */
    struct KvmDoorbells *doorbells; /* doorbell.c */
    struct KvmRoutes *routes; /* irqchip.c, routes.c; NULL: all in user space */
    size_t run_size;         /* of struct kvm_run's mapping */
    bool mixed;              /* some vCPU runs on a software engine: guard.c, under its lock */
    /* The gate before KVM_RUN, closed while slots change (run.c). */
    bool gate_closed;        /* atomic */
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_cond;
    bool handed_over;        /* the kernel's controllers work; written with vm_lock */
    /* clock.c */
    bool clock_runs;         /* the kernel's kvmclock is the guest's */
    uint64_t stopped_host_ns, stopped_guest_ns; /* when it stopped */
    unsigned pauses;         /* atomic: of guest time, so long that a guest may find its CPUs stuck */
    bool alone;              /* KVM has vCPUs and no software engine has: nothing is guarded */
    bool stale;              /* the VM has a vCPU that is on another engine now */
    struct KvmExits *exits[MAX_CPUS]; /* exits.c, of each vCPU that was ever here */
} KvmVm;

/* Vcpu.kvm, while KVM runs it. CpuState.engine_data is the interpreter's, which executes what KVM
 * leaves. */
typedef struct KvmVcpu {
    Vcpu *v;
    KvmVm *vm;
    int fd; /* KVM_CREATE_VCPU; -1: none now */
    struct kvm_run *run;
    struct kvm_dirty_gfn *ring; /* dirty.c; NULL: the dirty log is used */
    uint32_t ring_next;         /* entries ever taken from it; vm_lock */
    struct KvmState *state; /* state.c: MSR list, xsave buffer */
    struct KvmExits *exits; /* exits.c: counters, the VM's */
    struct KvmDebug *debug; /* debug.c; NULL: nobody debugs */
    bool debug_on;          /* the kernel knows of it */
    uint32_t settled_count; /* irqchip.c: of the LAPIC timer, when the vCPU came out */
    bool entered;           /* irqchip.c: may be in the guest; vm_lock */
    unsigned pauses_seen;   /* that its guest was told of */
    bool loaded;            /* between load_state and store_state; vm_lock */
    bool in_kernel;         /* the kernel has the registers, CpuState does not */
    bool unfinished;        /* the last exit's instruction ends at the next KVM_RUN */
    bool inside;            /* atomic: about to enter KVM_RUN or in it */
    bool ready_for_interrupt; /* of the last exit; false after a load */
    uint64_t cr8, apic_base; /* our LAPIC's, as the kernel had them last */
} KvmVcpu;

/* Does the kernel wait for what ends HLT and for SIPIs? */
static inline bool kvm_halts_in_kernel(const KvmVcpu *k)
{
    return k->vm->irqchip != KVM_IRQCHIP_OFF;
}

static inline KvmVcpu *kvm_vcpu(const Vcpu *v)
{
    return v->kvm;
}

/* ioctl() that repeats after EINTR (but for KVM_RUN), logs with -d kvm, and returns the result or
 * -errno. Any thread. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
/* KVM_CHECK_EXTENSION on the VM; 0: not there. */
int kvm_cap(const KvmVm *vm, int cap);

/* state.c, in the vCPU's thread. Everything a snapshot holds, both ways. load applies guest time to
 * the TSC; store leaves activity, request bits and pending events as the interpreter wants them. */
bool kvm_state_init(KvmVcpu *k, Error **errp) MUST_USE; /* after kvm_set_cpuid; again with a new fd:
                                         what only the kernel knew is kept from the old one */
void kvm_state_fini(KvmVcpu *k);
/* A kernel LAPIC's registers: loaded after this (IA32_APIC_BASE decides their form), stored after it;
 * IA32_TSC_DEADLINE comes last of all. vm_lock held. */
void kvm_load_state(KvmVcpu *k);
void kvm_store_state(KvmVcpu *k);
/* Machine init, vm->fd open: the rate of its TSCs unless -cpu chooses one. */
void kvm_tsc_setup(const KvmVm *vm);
/* The rate its TSC would have to have here, in kHz; 0: its own will do. */
uint32_t kvm_tsc_misfit(const KvmVm *vm, const CpuState *cpu);
bool kvm_tsc_fits(const KvmVm *vm, const CpuState *cpu, Error **errp) MUST_USE;
/* As of the last store: a guest of the guest runs, which no other engine can go on with. */
bool kvm_state_in_nested_guest(const KvmVcpu *k);
/* msr.c. A VM without a kernel LAPIC: registers of ours come out as KVM_EXIT_X86_RDMSR and WRMSR. */
void kvm_msr_exits(const KvmVm *vm);
/* One register, outside load and store; false: the kernel has no such, or not that value. */
bool kvm_get_msr(const KvmVcpu *k, uint32_t msr, uint64_t *val);
bool kvm_set_msr(const KvmVcpu *k, uint32_t msr, uint64_t val);

/* engine.c. The VM with its slots and irqchip, and the vCPU in it: made before the guest first runs
 * and when a vCPU comes. vm_lock held. */
bool kvm_vm_up(KvmVm *vm, Error **errp) MUST_USE;
bool kvm_vcpu_up(KvmVcpu *k, Error **errp) MUST_USE;

/* run.c */
void kvm_vcpu_run(Vcpu *v);
void kvm_vcpu_kick(Vcpu *v);
/* Registers to CpuState, an instruction half done by user space ended first; and it is CpuState that
 * counts until the next run. The vCPU's thread. */
void kvm_sync_state(KvmVcpu *k);
/* No vCPU is in KVM_RUN between these two. vm_lock held. */
void kvm_gate_close(KvmVm *vm);
void kvm_gate_open(KvmVm *vm);

/* The engine cannot go on with this vCPU: the machine stops ("internal-error"). Own thread. */
void kvm_internal_error(KvmVcpu *k);

/* handle.c: what KVM_RUN came back with, result r. False: leave the engine. Own thread. */
bool kvm_handle_exit(KvmVcpu *k, int r);

/* slots.c; vm_lock held. */
bool kvm_slots_new(KvmVm *vm, Error **errp) MUST_USE;
void kvm_slots_free(KvmVm *vm);
bool kvm_slots_fill(KvmVm *vm, Error **errp) MUST_USE; /* a VM has come */
void kvm_slots_clear(KvmVm *vm);                       /* and goes */

/* dirty.c; vm_lock held. The vCPU's dirty ring, where the VM has them: mapped, and emptied before it
 * goes. */
bool kvm_ring_open(KvmVcpu *k, Error **errp) MUST_USE;
void kvm_ring_close(KvmVcpu *k);
bool kvm_rings_start(const KvmVm *vm, Error **errp) MUST_USE; /* a VM has come, without vCPUs yet */
void kvm_rings_empty(KvmVm *vm); /* KVM_EXIT_DIRTY_RING_FULL, too */

/* debug.c, own thread: after the registers have gone to the kernel; and KVM_EXIT_DEBUG. */
void kvm_debug_load(KvmVcpu *k);
bool kvm_debug_exit(KvmVcpu *k);

/* clock.c; vm_lock held. Once all vCPUs have stored, and before the first runs. */
void kvm_clock_stop(KvmVm *vm);
void kvm_clock_start(KvmVm *vm);
void kvm_clock_tell_guest(KvmVcpu *k); /* own thread, state loaded */

/* guard.c. mixed: some vCPU runs on a software engine; all vCPUs are parked. */
void kvm_guard_set(KvmVm *vm, bool mixed);
/* KVM ran unguarded until now: what was decoded before is worth nothing. All vCPUs are parked. */
void kvm_guard_forget(KvmVm *vm);
/* A store has failed: lets go of pages that need no guard any more; true if there were some, so that
 * it is worth another try. Any thread. */
bool kvm_guard_release(KvmVm *vm);

/* cpuid.c: what CPUs can show here (the caller frees it); whether all that one shows is there. */
CpuFeatureSource *kvm_features_new(const KvmVm *vm, bool mixed);
bool kvm_can_show(const KvmVm *vm, const CpuState *cpu, Error **errp) MUST_USE;
/* KVM_SET_CPUID2 from the CPU's model and features. */
bool kvm_set_cpuid(KvmVcpu *k, Error **errp) MUST_USE;

#endif
