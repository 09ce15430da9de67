/* SPDX-License-Identifier: GPL-2.0-or-later
 * The dirty log (api.rst 4.8, 4.116, 7.19): the kernel notes which pages its vCPUs wrote, for blocks
 * somebody tracks. It is brought into the blocks' dirty bytes whenever they are read, so that the
 * readers need not know of it. Left out: the dirty ring.
 */

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

void kvm_dirty_collect(KvmSlots *s, unsigned id)
{
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
    s->manual_protect = (kvm_cap(s->vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & 1) &&
                        kvm_ioctl(s->vm->fd, KVM_ENABLE_CAP, &cap) == 0;
}

void kvm_dirty_init(void)
{
    ram_dirty_sync_hook = sync_range;
    ram_tracked_hook = tracked_changed;
}
