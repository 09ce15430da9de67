/* SPDX-License-Identifier: GPL-2.0-or-later
 * What state.c, msr.c, xsave.c and tsc.c share: the parts of a vCPU's state that only the kernel
 * knows, kept here so that they survive a store, a load and a new VM.
 */
#ifndef ACCEL_KVM_STATE_H
#define ACCEL_KVM_STATE_H

#include "accel/kvm/kvm.h"

/* An MSR of the kernel's that CpuState has no field for. */
typedef struct KvmMsrKept {
    uint32_t msr;
    bool valid;         /* could be read */
    uint64_t val, init; /* now; as the kernel makes it */
} KvmMsrKept;

typedef struct KvmState {
    uint8_t *xsave; /* KVM_GET_XSAVE2's area; what CpuState lacks lives on in it */
    size_t xsave_size;
    bool has_xsave, has_xsave2, has_xcrs, has_sregs2, has_mp_state, has_debugregs;
    bool has_triple_fault, has_smm, has_tsc_offset;
    bool tsc_moves; /* the kernel takes offsets and changes them */
    uint64_t xfeatures; /* what KVM_SET_XSAVE takes */
    size_t ymm_offset;
    bool fresh;         /* not loaded yet into this VM's vCPU */
    uint32_t resets;    /* CpuState.resets when kept state was last made initial */

    KvmMsrKept *kept;
    size_t nr_kept;
    uint32_t *list; /* KVM_GET_MSR_INDEX_LIST */
    size_t nr_list;
    bool has_mtrr, has_mce;
    struct kvm_msrs *buffer; /* room for all */

    uint64_t tsc_loaded; /* the TSC offset load gave to the kernel */
    uint64_t adjust_loaded; /* and IA32_TSC_ADJUST */
    struct kvm_nested_state *nested;
    size_t nested_size; /* 0: the kernel has none */
} KvmState;

/* Names a call that failed, with the vCPU. A host's or our own mistake: the guest is not to blame. */
void kvm_state_warn(const KvmVcpu *k, const char *what, int r);

/* xsave.c */
bool kvm_xsave_init(KvmVcpu *k, Error **errp) MUST_USE;
void kvm_xsave_fini(KvmVcpu *k);
void kvm_xsave_reset(KvmVcpu *k); /* the components CpuState lacks, as after power-up */
void kvm_xsave_load(KvmVcpu *k);
void kvm_xsave_store(KvmVcpu *k);

/* msr.c */
bool kvm_msrs_init(KvmVcpu *k, Error **errp) MUST_USE;
void kvm_msrs_fini(KvmVcpu *k);
void kvm_msrs_reset(KvmVcpu *k);
void kvm_msrs_load(KvmVcpu *k);
void kvm_msrs_store(KvmVcpu *k);

/* tsc.c */
bool kvm_tsc_init(KvmVcpu *k, Error **errp) MUST_USE;
void kvm_tsc_load(KvmVcpu *k);
void kvm_tsc_store(KvmVcpu *k);

#endif
