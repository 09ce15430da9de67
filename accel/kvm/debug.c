/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest debug: KVM_SET_GUEST_DEBUG and KVM_EXIT_DEBUG.
 */
#include "accel/kvm/debug.h"

#include <stdlib.h>

#include "accel/kvm/kvm.h"
#include "util/alloc.h"
#include "util/vm_lock.h"

/* DR7 for the debugger's breakpoints (SDM 3B 17.2.4): G bits, R/W and LEN fields. */
static uint64_t dr7_of(const KvmDebug *d)
{
    enum { GE = 1 << 9, BIT10 = 1 << 10 };
    static const uint8_t len_bits[9] = { [1] = 0, [2] = 1, [4] = 3, [8] = 2 };
    uint64_t dr7 = d->nr_hw ? GE | BIT10 : BIT10;
    for (unsigned i = 0; i < d->nr_hw; i++) {
        dr7 |= 2ull << 2 * i;
        dr7 |= (uint64_t)d->hw[i].kind << (16 + 4 * i);
        dr7 |= (uint64_t)len_bits[MIN(d->hw[i].len, 8u)] << (18 + 4 * i);
    }
    return dr7;
}

static void set(KvmVcpu *k, uint32_t more)
{
    const KvmDebug *d = k->debug;
    struct kvm_guest_debug g = { .control = more };
    if (d) {
        g.control |= KVM_GUESTDBG_ENABLE | (d->int3 ? KVM_GUESTDBG_USE_SW_BP : 0) |
                     (d->nr_hw ? KVM_GUESTDBG_USE_HW_BP : 0);
        if (d->step) {
            g.control |= KVM_GUESTDBG_SINGLESTEP;
            if (kvm_cap(k->vm, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ) {
                g.control |= KVM_GUESTDBG_BLOCKIRQ;
            }
        }
        for (unsigned i = 0; i < d->nr_hw; i++) {
            g.arch.debugreg[i] = d->hw[i].lin;
        }
        g.arch.debugreg[7] = dr7_of(d);
    }
    kvm_ioctl(k->fd, KVM_SET_GUEST_DEBUG, &g);
}

void kvm_debug_load(KvmVcpu *k)
{
    if (k->debug || k->debug_on) {
        set(k, 0);
        k->debug_on = k->debug;
    }
}

void kvm_debug_set(Vcpu *v, const KvmDebug *d)
{
    KvmVcpu *k = kvm_vcpu(v);
    free(k->debug);
    k->debug = NULL;
    if (d) {
        k->debug = xmalloc(sizeof(*d));
        *k->debug = *d;
    }
}

static KvmDebugHit hit_of(const KvmVcpu *k)
{
    const struct kvm_debug_exit_arch *a = &k->run->debug.arch;
    KvmDebugHit h = { .what = KVM_HIT_STEP, .lin = a->pc };
    if (a->exception == EXC_BP) {
        h.what = KVM_HIT_INT3;
    } else if (a->dr6 & 0xf) {
        h.what = KVM_HIT_BREAK;
        h.which = (unsigned)__builtin_ctzll(a->dr6 & 0xf);
    }
    return h;
}

bool kvm_debug_exit(KvmVcpu *k)
{
    KvmDebugHit h = hit_of(k);
    vm_lock();
    bool taken = k->debug && k->debug->hit && k->debug->hit(k->v, &h, k->debug->opaque);
    vm_unlock();
    if (!taken) {
        set(k, h.what == KVM_HIT_INT3 ? KVM_GUESTDBG_INJECT_BP : KVM_GUESTDBG_INJECT_DB);
    }
    return true;
}
