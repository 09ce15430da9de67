/* SPDX-License-Identifier: GPL-2.0-or-later
 * The dirty log (api.rst 4.8, 4.116, 7.19): the kernel notes which pages its vCPUs wrote, for blocks
 * somebody tracks. It is brought into the blocks' dirty bytes whenever they are read, so that the
 * readers need not know of it. With -accel kvm,dirty-ring-size=N each vCPU has a ring of such notes
 * instead (8.29): who reads pays for what was written, not for the size of memory.
 *
 *   kernel: entry DIRTY --> we: mark its page, entry RESET --> KVM_RESET_DIRTY_RINGS: entry free, the
 *                                                              next write to the page shows again
 *
 * What a processor still keeps to itself of a running vCPU (Intel's page-modification log) comes with
 * its next exit.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/kvm/host.h"
#include "accel/kvm/slots.h"
#include "util/alloc.h"

enum { WORD_BITS = 64 };

/* Takes back what was reported, so that the next write shows again. */
static void clear_log(const KvmSlots *s, unsigned id, const uint64_t *bitmap, uint64_t words)
{
    uint64_t first = 0, last = words;
    while (first < words && !bitmap[first]) {
        first++;
    }
    while (last > first && !bitmap[last - 1]) {
        last--;
    }
    if (!s->manual_protect || first == last) {
        return;
    }
    uint64_t pages = s->slot[id].size >> PAGE_BITS;
    uint64_t end = MIN(last * WORD_BITS, pages);
    struct kvm_clear_dirty_log c = { .slot = id,
                                     .first_page = first * WORD_BITS,
                                     .num_pages = (uint32_t)(end - first * WORD_BITS),
                                     .dirty_bitmap = (void *)(bitmap + first) };
    kvm_ioctl(s->vm->fd, KVM_CLEAR_DIRTY_LOG, &c);
}

static void mark(RamBlock *b, uint64_t page)
{
    if (__atomic_load_n(&b->dirty[page], __ATOMIC_RELAXED) != DIRTY_ALL) {
        __atomic_fetch_or(&b->dirty[page], DIRTY_ALL, __ATOMIC_SEQ_CST);
    }
}

/* ---- rings ---- */

static size_t ring_bytes(const KvmVm *vm)
{
    return (size_t)vm->options.dirty_ring * sizeof(struct kvm_dirty_gfn);
}

bool kvm_ring_open(KvmVcpu *k, Error **errp)
{
    if (!k->vm->options.dirty_ring) {
        return true;
    }
    void *ring = mmap(NULL, ring_bytes(k->vm), PROT_READ | PROT_WRITE, MAP_SHARED, k->fd,
                      (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
    if (ring == MAP_FAILED) {
        return error_set_errno(errp, errno, "cannot map the dirty ring of vCPU %u",
                               k->v->cpu.index);
    }
    k->ring = ring;
    k->ring_next = 0;
    return true;
}

void kvm_ring_close(KvmVcpu *k)
{
    if (k->ring) {
        kvm_rings_empty(k->vm);
        munmap(k->ring, ring_bytes(k->vm));
        k->ring = NULL;
    }
}

/* The slot's number has the address space above it; we have but one. */
static void mark_entry(const KvmSlots *s, const struct kvm_dirty_gfn *e)
{
    unsigned id = e->slot;
    const KvmSlot *slot = id < s->nr ? &s->slot[id] : NULL;
    if (slot && slot->ram && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) &&
        e->offset < slot->size >> PAGE_BITS) {
        mark(slot->ram, (slot->ram_offset >> PAGE_BITS) + e->offset);
    }
}

/* At most a ring full: the vCPU may be writing on. */
static unsigned take_entries(KvmVcpu *k)
{
    uint32_t nr = k->vm->options.dirty_ring, taken = 0;
    while (taken < nr) {
        struct kvm_dirty_gfn *e = &k->ring[k->ring_next % nr];
        if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) {
            break;
        }
        mark_entry(k->vm->slots, e);
        __atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        k->ring_next++;
        taken++;
    }
    return taken;
}

/* The pages are marked before they are protected again, and both before anybody looks at them: no
 * write falls between. */
void kvm_rings_empty(KvmVm *vm)
{
    Machine *m = vm->machine;
    unsigned taken = 0;
    for (unsigned i = 0; m->vcpu && i < m->nr_cpus; i++) {
        KvmVcpu *k = m->vcpu[i] ? kvm_vcpu(m->vcpu[i]) : NULL;
        taken += k && k->ring ? take_entries(k) : 0;
    }
    if (taken) {
        kvm_ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, NULL);
    }
}

bool kvm_rings_start(const KvmVm *vm, Error **errp)
{
    int most = MAX(kvm_cap(vm, KVM_CAP_DIRTY_LOG_RING), kvm_cap(vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL));
    bool ordered = kvm_cap(vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL) > 0;
    struct kvm_enable_cap cap = { .cap = ordered ? KVM_CAP_DIRTY_LOG_RING_ACQ_REL
                                                 : KVM_CAP_DIRTY_LOG_RING,
                                  .args = { ring_bytes(vm) } };
    unsigned entries = (unsigned)MAX(most, 0) / sizeof(struct kvm_dirty_gfn);
    if (!entries) {
        return error_set(errp, "dirty-ring-size=%u: this host's KVM has no dirty ring (Linux 5.11 and "
                               "later have); leave it away, and the dirty log is used",
                         vm->options.dirty_ring);
    }
    /* Such a kernel looks at its rings too seldom, and writes over entries we have not seen. */
    Error *err = NULL;
    if (!kvm_host_suits(&err)) {
        error_set(errp, "dirty-ring-size=%u: %s, and writes over its rings; leave it away, and the dirty "
                        "log is used", vm->options.dirty_ring, error_text(err));
        error_free(err);
        return false;
    }
    int error = vm->options.dirty_ring > entries ? -E2BIG : kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
    return error >= 0 || error_set_errno(errp, -error,
                                         "dirty-ring-size=%u: the kernel takes powers of two from some "
                                         "hundred to %u",
                                         vm->options.dirty_ring, entries);
}

/* ---- both ---- */

void kvm_dirty_collect(KvmSlots *s, unsigned id)
{
    if (s->vm->options.dirty_ring) {
        kvm_rings_empty(s->vm);
        return;
    }
    const KvmSlot *slot = &s->slot[id];
    uint64_t words = ROUND_UP(slot->size >> PAGE_BITS, (uint64_t)WORD_BITS) / WORD_BITS;
    uint64_t *bitmap = xcalloc(words, sizeof(*bitmap));
    struct kvm_dirty_log log = { .slot = id, .dirty_bitmap = bitmap };
    if (kvm_ioctl(s->vm->fd, KVM_GET_DIRTY_LOG, &log) < 0) {
        memset(bitmap, 0xff, words * sizeof(*bitmap)); /* who does not know says all */
    }
    /* Before the caller reads the pages, and before they are marked: a write in between is logged
     * again. */
    clear_log(s, id, bitmap, words);
    uint64_t first = slot->ram_offset >> PAGE_BITS, pages = slot->size >> PAGE_BITS;
    for (uint64_t w = 0; w < words; w++) {
        for (uint64_t bits = bitmap[w]; bits; bits &= bits - 1) {
            uint64_t page = w * WORD_BITS + (unsigned)__builtin_ctzll(bits);
            if (page < pages) {
                mark(slot->ram, first + page);
            }
        }
    }
    free(bitmap);
}

static void sync_range(RamBlock *b, uint64_t offset, uint64_t len)
{
    list_for_each(pos, &kvm_all_slots) {
        KvmSlots *s = container_of(pos, KvmSlots, node);
        if (s->vm->ready && s->vm->options.dirty_ring) {
            kvm_rings_empty(s->vm);
            continue;
        }
        for (unsigned i = 0; s->vm->ready && i < s->nr; i++) {
            const KvmSlot *slot = &s->slot[i];
            if (slot->ram == b && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) &&
                slot->ram_offset < offset + len && offset < slot->ram_offset + slot->size) {
                kvm_dirty_collect(s, i);
            }
        }
    }
}

static void tracked_changed(RamBlock *b)
{
    (void)b;
    list_for_each(pos, &kvm_all_slots) {
        kvm_slots_retrack(container_of(pos, KvmSlots, node));
    }
}

void kvm_dirty_start(KvmSlots *s)
{
    struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                                  .args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE } };
    s->manual_protect = !s->vm->options.dirty_ring &&
                        (kvm_cap(s->vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & 1) &&
                        kvm_ioctl(s->vm->fd, KVM_ENABLE_CAP, &cap) == 0;
}

void kvm_dirty_init(void)
{
    ram_dirty_sync_hook = sync_range;
    ram_tracked_hook = tracked_changed;
}
