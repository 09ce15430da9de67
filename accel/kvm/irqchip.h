/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kernel's interrupt controllers: what irqchip.c, irqchip_state.c and routes.c share.
 */
#ifndef ACCEL_KVM_IRQCHIP_H
#define ACCEL_KVM_IRQCHIP_H

#include "accel/kvm/kvm.h"
#include "hw/core/irqchip.h"
#include "util/timer.h"

enum { KVM_NR_PINS = 24, KVM_NR_ROUTES = 256 };

/* A message of an I/O APIC pin of ours (split) or of an irqfd. */
typedef struct KvmMsiRoute {
    bool used;
    uint64_t addr;
    uint32_t data;
} KvmMsiRoute;

struct KvmRoutes {
    KvmVm *vm;
    uint32_t lines;           /* GSI levels as the kernel knows them */
    KvmMsiRoute msi[KVM_NR_ROUTES]; /* by GSI: pins of ours below KVM_NR_PINS, irqfds above */
    bool changed;             /* the kernel's table is an older one */
    struct kvm_pit_state2 pit; /* as it was right after it was handed over */
    Timer pit_phase;          /* counter 0's first tick after that */
};

/* ---- irqchip_state.c: conversions, exact both ways but for what the comments there say ---- */

void kvm_lapic_from_state(const LapicState *st, struct kvm_lapic_state *k);
/* st: as our device remembers it, for what the kernel was not told. */
void kvm_lapic_to_state(const struct kvm_lapic_state *k, LapicState *st);
/* The count of a timer that interrupts, one-shot or periodic; else KVM_LAPIC_NO_COUNT. */
#define KVM_LAPIC_NO_COUNT UINT32_MAX
uint32_t kvm_lapic_count(const struct kvm_lapic_state *k);
bool kvm_lapic_is_periodic(const struct kvm_lapic_state *k);
/* If the timer has expired since it counted that, it has interrupted. */
void kvm_lapic_expired(LapicState *st, uint32_t before);
void kvm_ioapic_from_state(const IoapicState *st, struct kvm_ioapic_state *k);
void kvm_ioapic_to_state(const struct kvm_ioapic_state *k, IoapicState *st);
void kvm_pic_from_state(const PicChipState *st, bool slave, struct kvm_pic_state *k);
void kvm_pic_to_state(const struct kvm_pic_state *k, PicChipState *st);
void kvm_pit_from_state(const PitState *st, struct kvm_pit_state2 *k);
/* was: right after the last kvm_pit_from_state went in. now_ns: CLOCK_MONOTONIC. */
void kvm_pit_to_state(const struct kvm_pit_state2 *k, const struct kvm_pit_state2 *was,
                      uint64_t now_ns, PitState *st);

/* ---- irqchip.c ---- */

/* The mode of the next VM: what the user wants where all vCPUs have local APICs and run on KVM. */
KvmIrqchip kvm_irqchip_mode(const KvmVm *vm);
/* Sets vm->irqchip to it, for the VM that is to come: another vCPU may look there without a lock, so
 * it is not written over with the same. */
void kvm_irqchip_choose(KvmVm *vm);
/* In a new VM, before its vCPUs. vm_lock held. */
bool kvm_irqchip_create(KvmVm *vm, Error **errp) MUST_USE;
void kvm_irqchip_forget(KvmVm *vm); /* the VM goes; every vCPU has left */
/* Own thread, state loaded, without vm_lock: may it go into the guest? The controllers are handed
 * over as soon as all vCPUs have come so far; until then, false: look again. */
bool kvm_irqchip_enter(KvmVcpu *k);
/* Own thread, on the way out, outside KVM_RUN: is its timer one whose expiry may wait in the kernel,
 * unseen, until the next KVM_RUN? Then one that does nothing else is due. */
bool kvm_irqchip_must_settle(KvmVcpu *k);
/* Own thread, parking, vm_lock held (dropped to wait): the controllers are taken back when no vCPU
 * is in the guest any more. Returns then. */
void kvm_irqchip_leave(KvmVcpu *k);

/* ---- routes.c: vm_lock held ---- */

void kvm_routes_send(KvmVm *vm); /* to the kernel, if they have changed */
void kvm_routes_pin(struct Machine *m, unsigned pin, uint64_t addr, uint32_t data);
void kvm_routes_msi(struct Machine *m, uint64_t addr, uint32_t data);
bool kvm_irqfd_add(struct Machine *m, IrqFd *f);
void kvm_irqfd_del(struct Machine *m, IrqFd *f);

#endif
