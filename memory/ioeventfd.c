/* SPDX-License-Identifier: GPL-2.0-or-later
 * Writes that nobody waits for: doorbells (eventfds) and coalesced registers. They are properties of
 * a region: engines that cannot do better have the dispatcher honour them; others follow them with
 * the flat view (MemoryListener.properties).
 */
#include "memory/ioeventfd.h"

#include <unistd.h>

#include "memory/flat_view.h"
#include "util/alloc.h"

void (*memory_coalesced_hook)(void);

static bool is_same(const IoEventFd *a, const IoEventFd *b)
{
    return a->offset == b->offset && a->size == b->size && a->match == b->match &&
           (!a->match || a->value == b->value) && a->fd == b->fd;
}

void region_add_ioeventfd(Region *r, uint64_t offset, unsigned size, bool match, uint64_t value,
                          int fd)
{
    assert(r->kind == REGION_IO && offset + size <= r->size && (size || !match));
    IoEventFd *e = xcalloc(1, sizeof(*e));
    *e = (IoEventFd){ .offset = offset, .size = size, .match = match, .value = value, .fd = fd };
    list_insert(&r->ioeventfds, &e->node);
    region_properties_changed();
}

void region_del_ioeventfd(Region *r, uint64_t offset, unsigned size, bool match, uint64_t value,
                          int fd)
{
    IoEventFd like = { .offset = offset, .size = size, .match = match, .value = value, .fd = fd };
    list_for_each_safe(pos, &r->ioeventfds) {
        IoEventFd *e = container_of(pos, IoEventFd, node);
        if (is_same(e, &like)) {
            list_remove(&e->node);
            region_properties_changed(); /* nobody refers to it after this */
            free(e);
            return;
        }
    }
}

bool ioeventfd_signal(const Region *r, uint64_t offset, uint64_t val, unsigned len)
{
    uint64_t mask = len >= 8 ? UINT64_MAX : (1ull << 8 * len) - 1;
    list_for_each(pos, &r->ioeventfds) {
        const IoEventFd *e = container_of(pos, IoEventFd, node);
        if (e->offset == offset && (!e->size || e->size == len) &&
            (!e->match || (e->value & mask) == (val & mask))) {
            uint64_t one = 1;
            ssize_t ignored = write(e->fd, &one, sizeof(one)); /* full: it is signalled */
            (void)ignored;
            return true;
        }
    }
    return false;
}

void address_space_each_ioeventfd(AddressSpace *as,
                                  void (*fn)(void *opaque, uint64_t addr, const IoEventFd *e),
                                  void *opaque)
{
    for (size_t i = 0; i < as->view->nr; i++) {
        const FlatRange *fr = &as->view->range[i];
        if (fr->host || fr->readonly) {
            continue;
        }
        list_for_each(pos, &fr->region->ioeventfds) {
            const IoEventFd *e = container_of(pos, IoEventFd, node);
            if (e->offset >= fr->offset && e->offset - fr->offset < fr->size &&
                fr->size - (e->offset - fr->offset) >= e->size) {
                fn(opaque, fr->start + (e->offset - fr->offset), e);
            }
        }
    }
}

void region_set_coalesced(Region *r, bool coalesced)
{
    if (r->coalesced != coalesced) {
        r->coalesced = coalesced;
        region_properties_changed();
    }
}

void memory_sync_coalesced(void)
{
    if (memory_coalesced_hook) {
        memory_coalesced_hook();
    }
}
