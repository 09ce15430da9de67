/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest debug (api.rst 4.87): a debugger's breakpoints and single steps on a vCPU that KVM runs. They
 * are not the guest's: its own debug registers and #DB go on working beside them, but that hardware
 * breakpoints of the debugger's take the guest's place while there are any.
 */
#ifndef ACCEL_KVM_DEBUG_H
#define ACCEL_KVM_DEBUG_H

#include "accel/accel.h"

typedef enum KvmBreakKind {
    KVM_BREAK_EXEC = 0,
    KVM_BREAK_WRITE = 1,
    KVM_BREAK_ACCESS = 3
} KvmBreakKind;

typedef struct KvmBreak {
    uint64_t lin;
    KvmBreakKind kind;
    unsigned len; /* 1, 2, 4 or 8; KVM_BREAK_EXEC: 1 */
} KvmBreak;

typedef struct KvmDebugHit {
    enum { KVM_HIT_STEP, KVM_HIT_BREAK, KVM_HIT_INT3 } what;
    unsigned which; /* KVM_HIT_BREAK: index in hw */
    uint64_t lin;   /* of the instruction: the one that is next; INT3's own */
} KvmDebugHit;

typedef struct KvmDebug {
    bool step; /* stop after each instruction, interrupts held back */
    bool int3; /* INT3 is asked for first */
    KvmBreak hw[4];
    unsigned nr_hw;
    /* The vCPU's thread, vm_lock held; registers are not in CpuState yet. True: it is the debugger's,
     * who asks for a stop if he wants one. False: the guest gets its exception. */
    bool (*hit)(Vcpu *v, const KvmDebugHit *hit, void *opaque);
    void *opaque;
} KvmDebug;

/* The vCPU is parked and on KVM. NULL: no more. */
void kvm_debug_set(Vcpu *v, const KvmDebug *d);

#endif
