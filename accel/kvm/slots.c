/* SPDX-License-Identifier: GPL-2.0-or-later
 * Memory slots: what of the flat view the kernel may touch by itself (api.rst 4.35). A range of RAM
 * is a slot, ROM a read-only one; what is not page-aligned, and all registers, leave KVM_RUN as
 * MMIO.
 *
 * When the view changes, only slots that differ are touched. A slot that goes, or changes, may be
 * what a running vCPU executes from: the gate (run.c) holds all vCPUs out of KVM_RUN from the first
 * removal to the last addition, so that none sees the hole in between. Additions alone need no gate:
 * before them the range was registers to everyone.
 *
 * The kernel gets a mapping of its own of each RAM block's memfd. So a page can be write-protected
 * for KVM's vCPUs alone: guard.c. What they write is logged where somebody tracks it: dirty.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "accel/kvm/slots.h"
#include "util/alloc.h"
#include "util/log.h"

/* ---- the second mapping ---- */

enum { HUGE_PAGE = 2 << 20 };

static KvmAlias *alias_find(KvmSlots *s, const RamBlock *b)
{
    list_for_each(pos, &s->aliases) {
        KvmAlias *a = container_of(pos, KvmAlias, node);
        if (a->ram == b) {
            return a;
        }
    }
    return NULL;
}

/* Where block and mapping are aligned alike, the kernel can use large pages. */
static KvmAlias *alias_of(KvmSlots *s, RamBlock *b)
{
    KvmAlias *a = alias_find(s, b);
    if (a) {
        return a;
    }
    size_t area_size = b->size + HUGE_PAGE;
    void *area =
        mmap(NULL, area_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return NULL;
    }
    uint8_t *host = (uint8_t *)ROUND_UP((uintptr_t)area, (uintptr_t)HUGE_PAGE);
    if (mmap(host, b->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, b->fd,
             0) == MAP_FAILED) {
        munmap(area, area_size);
        return NULL;
    }
    madvise(host, b->size, MADV_DONTDUMP);
    a = xcalloc(1, sizeof(*a));
    *a = (KvmAlias){ .ram = b,
                     .host = host,
                     .area = area,
                     .area_size = area_size,
                     .guarded = xcalloc(b->size >> PAGE_BITS, 1) };
    pthread_mutex_lock(&kvm_guard_lock);
    list_insert(&s->aliases, &a->node);
    kvm_guard_new_alias(s, a);
    pthread_mutex_unlock(&kvm_guard_lock);
    return a;
}

static void alias_free(KvmAlias *a)
{
    pthread_mutex_lock(&kvm_guard_lock);
    list_remove(&a->node);
    pthread_mutex_unlock(&kvm_guard_lock);
    munmap(a->area, a->area_size);
    free(a->guarded);
    free(a);
}

/* Those of blocks that no slot shows any more: the blocks may be about to go. */
static void aliases_sweep(KvmSlots *s)
{
    list_for_each(pos, &s->aliases) {
        container_of(pos, KvmAlias, node)->used = false;
    }
    for (unsigned i = 0; i < s->nr; i++) {
        if (s->slot[i].ram) {
            alias_find(s, s->slot[i].ram)->used = true;
        }
    }
    list_for_each_safe(pos, &s->aliases) {
        KvmAlias *a = container_of(pos, KvmAlias, node);
        if (!a->used) {
            alias_free(a);
        }
    }
}

/* ---- slots ---- */

/* The pages of a range that a slot can show; size 0: none. */
static KvmSlot slot_of(const KvmSlots *s, const FlatRange *fr)
{
    KvmSlot slot = { 0 };
    uint64_t first = ROUND_UP(fr->start, (uint64_t)PAGE_SIZE);
    uint64_t end = ROUND_DOWN(fr->start + fr->size, (uint64_t)PAGE_SIZE);
    uint64_t at = fr->ram_offset + (first - fr->start);
    if (!fr->host || first >= end || at % PAGE_SIZE || (fr->readonly && !s->readonly)) {
        return slot;
    }
    slot = (KvmSlot){ .gpa = first, .size = end - first, .ram = fr->ram, .ram_offset = at };
    if (fr->readonly) {
        slot.flags |= KVM_MEM_READONLY;
    } else if (__atomic_load_n(&fr->ram->tracked, __ATOMIC_SEQ_CST)) {
        slot.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    }
    return slot;
}

static bool same_place(const KvmSlot *a, const KvmSlot *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->ram == b->ram &&
           a->ram_offset == b->ram_offset && !((a->flags ^ b->flags) & KVM_MEM_READONLY);
}

static bool set_region(const KvmSlots *s, unsigned id, const KvmSlot *slot, const uint8_t *host,
                       Error **errp)
{
    struct kvm_userspace_memory_region r = { .slot = id,
                                             .flags = slot->flags,
                                             .guest_phys_addr = slot->gpa,
                                             .memory_size = slot->size,
                                             .userspace_addr = (uintptr_t)host };
    int err = kvm_ioctl(s->vm->fd, KVM_SET_USER_MEMORY_REGION, &r);
    return err == 0 ||
           error_set_errno(errp, -err,
                           "the kernel did not take %llu KiB of memory at "
                           "0x%llx",
                           (unsigned long long)(slot->size >> 10), (unsigned long long)slot->gpa);
}

static bool slot_set(KvmSlots *s, unsigned id, const KvmSlot *slot, Error **errp)
{
    const KvmAlias *a = alias_of(s, slot->ram);
    if (!a) {
        return error_set_errno(errp, errno, "cannot map '%s' for KVM", slot->ram->name);
    }
    if (!set_region(s, id, slot, a->host + slot->ram_offset, errp)) {
        return false;
    }
    s->slot[id] = *slot;
    return true;
}

static void slot_remove(KvmSlots *s, unsigned id)
{
    KvmSlot none = { .gpa = s->slot[id].gpa };
    Error *err = NULL;
    if (s->slot[id].flags & KVM_MEM_LOG_DIRTY_PAGES) {
        kvm_dirty_collect(s, id);
    }
    if (!set_region(s, id, &none, NULL, &err)) {
        error_report(err);
    }
    s->slot[id].ram = NULL;
}

static int free_slot(KvmSlots *s)
{
    for (unsigned i = 0; i < s->nr; i++) {
        if (!s->slot[i].ram) {
            return (int)i;
        }
    }
    if (s->nr == s->most) {
        return -1;
    }
    unsigned nr = MIN(s->nr ? 2 * s->nr : 32, s->most);
    s->slot = xrealloc(s->slot, nr * sizeof(KvmSlot));
    memset(s->slot + s->nr, 0, (nr - s->nr) * sizeof(KvmSlot));
    unsigned id = s->nr;
    s->nr = nr;
    return (int)id;
}

static bool slot_add(KvmSlots *s, const KvmSlot *slot, Error **errp)
{
    int id = free_slot(s);
    if (id < 0) {
        return error_set(errp, "the kernel takes no more than %u ranges of memory", s->most);
    }
    return slot_set(s, (unsigned)id, slot, errp);
}

/* ---- the view ---- */

typedef struct Wanted {
    KvmSlot *slot;
    bool *have;
    size_t nr;
} Wanted;

static Wanted wanted_by(const KvmSlots *s, const FlatView *v)
{
    Wanted w = { xcalloc(v->nr + 1, sizeof(KvmSlot)), xcalloc(v->nr + 1, sizeof(bool)), 0 };
    for (size_t i = 0; i < v->nr; i++) {
        KvmSlot slot = slot_of(s, &v->range[i]);
        if (slot.size) {
            w.slot[w.nr++] = slot;
        }
    }
    return w;
}

/* Only whether writes are logged: no vCPU need stop for it. */
static void change_flags(KvmSlots *s, unsigned id, const KvmSlot *slot)
{
    Error *err = NULL;
    if (s->slot[id].flags & KVM_MEM_LOG_DIRTY_PAGES) {
        kvm_dirty_collect(s, id);
    }
    if (!slot_set(s, id, slot, &err)) {
        error_report(err);
    }
}

/* True: slot id stays, at most with other flags. */
static bool keep_slot(KvmSlots *s, unsigned id, Wanted *w)
{
    for (size_t i = 0; i < w->nr; i++) {
        if (w->have[i] || !same_place(&w->slot[i], &s->slot[id])) {
            continue;
        }
        w->have[i] = true;
        if (w->slot[i].flags != s->slot[id].flags) {
            change_flags(s, id, &w->slot[i]);
        }
        return true;
    }
    return false;
}

static bool update(KvmSlots *s, Error **errp)
{
    Wanted w = wanted_by(s, s->vm->machine->memory.view);
    bool closed = false, ok = true;
    for (unsigned i = 0; i < s->nr; i++) {
        if (s->slot[i].ram && !keep_slot(s, i, &w)) {
            if (!closed) {
                kvm_gate_close(s->vm);
                closed = true;
            }
            slot_remove(s, i);
        }
    }
    for (size_t i = 0; i < w.nr && ok; i++) {
        ok = w.have[i] || slot_add(s, &w.slot[i], errp);
    }
    if (closed) {
        kvm_gate_open(s->vm);
    }
    aliases_sweep(s);
    free(w.slot);
    free(w.have);
    return ok;
}

void kvm_slots_retrack(KvmSlots *s)
{
    Error *err = NULL;
    if (s->vm->ready && !update(s, &err)) {
        error_report(err);
    }
}

static void view_changed(MemoryListener *l, AddressSpace *as)
{
    (void)as;
    kvm_slots_retrack(container_of(l, KvmSlots, listener));
}

bool kvm_slots_fill(KvmVm *vm, Error **errp)
{
    KvmSlots *s = vm->slots;
    int most = kvm_cap(vm, KVM_CAP_NR_MEMSLOTS);
    s->most = most > 0 ? (unsigned)most : 32;
    s->readonly = kvm_cap(vm, KVM_CAP_READONLY_MEM);
    kvm_dirty_start(s);
    return update(s, errp);
}

void kvm_slots_clear(KvmVm *vm)
{
    KvmSlots *s = vm->slots;
    if (s->nr) { /* another switch may come before any slot was made */
        memset(s->slot, 0, s->nr * sizeof(KvmSlot));
    }
    aliases_sweep(s);
}

void kvm_slots_free(KvmVm *vm)
{
    KvmSlots *s = vm->slots;
    if (!s) {
        return;
    }
    kvm_slots_clear(vm);
    memory_listener_del(&s->listener);
    pthread_mutex_lock(&kvm_guard_lock);
    list_remove(&s->node);
    pthread_mutex_unlock(&kvm_guard_lock);
    free(s->slot);
    free(s);
    vm->slots = NULL;
}

bool kvm_slots_new(KvmVm *vm, Error **errp)
{
    (void)errp;
    KvmSlots *s = xcalloc(1, sizeof(*s));
    s->vm = vm;
    s->listener.changed = view_changed;
    list_init(&s->aliases);
    vm->slots = s;
    kvm_dirty_init();
    kvm_guard_init();
    pthread_mutex_lock(&kvm_guard_lock);
    list_insert(&kvm_all_slots, &s->node);
    pthread_mutex_unlock(&kvm_guard_lock);
    memory_listener_add(&vm->machine->memory, &s->listener);
    return true;
}
