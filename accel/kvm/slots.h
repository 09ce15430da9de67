/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between slots.c, dirty.c and guard.c: slots, and the kernel's own mapping of RAM blocks.
 */
#ifndef ACCEL_KVM_SLOTS_H
#define ACCEL_KVM_SLOTS_H

#include "accel/kvm/kvm.h"

/* A block's second mapping. The lists of them change with vm_lock and kvm_guard_lock held. */
typedef struct KvmAlias {
    RamBlock *ram;
    uint8_t *host;
    void *area; /* what was mapped, alignment included */
    size_t area_size;
    bool used;
    /* guard.c, under kvm_guard_lock */
    uint8_t *guarded; /* one byte a page: 1: write-protected */
    bool all_guarded; /* too many to protect one by one */
    List node;
} KvmAlias;

typedef struct KvmSlot {
    uint64_t gpa, size;
    RamBlock *ram; /* NULL: free */
    uint64_t ram_offset;
    uint32_t flags; /* KVM_MEM_ */
} KvmSlot;

typedef struct KvmSlots {
    MemoryListener listener;
    KvmVm *vm;
    KvmSlot *slot;
    unsigned nr;   /* length of slot */
    unsigned most; /* the kernel's limit */
    List aliases;
    bool readonly;       /* the kernel has KVM_MEM_READONLY */
    bool manual_protect; /* and KVM_CLEAR_DIRTY_LOG */
    List node;           /* of all, under kvm_guard_lock for changes */
} KvmSlots;

extern pthread_mutex_t kvm_guard_lock;
extern List kvm_all_slots;

/* dirty.c; vm_lock held. Collects the kernel's log of one slot into its block's dirty bytes. */
void kvm_dirty_collect(KvmSlots *s, unsigned id);
void kvm_dirty_start(KvmSlots *s); /* a VM has come */
void kvm_dirty_init(void);           /* the hooks */
void kvm_slots_retrack(KvmSlots *s); /* slots.c: some block's tracked has changed */

/* guard.c */
void kvm_guard_init(void);
void kvm_guard_new_alias(KvmSlots *s, KvmAlias *a); /* is in the list; kvm_guard_lock held */

#endif
