/* SPDX-License-Identifier: GPL-2.0-or-later
 * Split virtqueues (VIRTIO 2.7): a table of descriptors, a ring of those the driver offers and a
 * ring of those the device has used.
 *
 *   descriptors  16 bytes each: address 8, length 4, flags 2, next 2
 *   available    flags 2, index 2, ring of 2 each, used_event 2
 *   used         flags 2, index 2, ring of 8 each (id 4, length 4), avail_event 2
 */
#include <string.h>

#include "hw/virtio/virtq_impl.h"

enum { RING_FLAGS = 0, RING_INDEX = 2, RING_ENTRIES = 4 };

static uint8_t *avail(const VirtQueue *vq, unsigned offset)
{
    return vq->driver_area.host + offset;
}

static uint8_t *used(const VirtQueue *vq, unsigned offset)
{
    return vq->device_area.host + offset;
}

static bool has_event(const VirtQueue *vq)
{
    return virtio_has(vq->vdev, VIRTIO_RING_F_EVENT_IDX);
}

static void split_sizes(const VirtQueue *vq, uint64_t *desc, uint64_t *driver, uint64_t *device)
{
    unsigned event = has_event(vq) ? 2 : 0;
    *desc = 16ull * vq->num;
    *driver = RING_ENTRIES + 2ull * vq->num + event;
    *device = RING_ENTRIES + 8ull * vq->num + event;
}

static bool split_has_next(const VirtQueue *vq)
{
    return ring_load(avail(vq, RING_INDEX)) != vq->next;
}

/* The table may have as many as an element may have; its own "next" fields say where it goes on. */
static bool add_indirect(VirtQueue *vq, VirtqChain *c, const struct vring_desc *d)
{
    if (!virtio_has(vq->vdev, VIRTIO_RING_F_INDIRECT_DESC) || d->len == 0 || d->len % 16 ||
        (d->flags & VRING_DESC_F_NEXT)) {
        virtio_error(vq->vdev, "indirect table of %u bytes, flags 0x%x", d->len, d->flags);
        return false;
    }
    unsigned n = 0, nr = d->len / 16;
    for (unsigned steps = 0;; steps++) {
        struct vring_desc in;
        if (steps == VIRTQ_MAX_SIZE) {
            virtio_error(vq->vdev, "an indirect table does not end");
            return false;
        }
        if (!virtq_read_table(vq, d->addr, n, &in)) {
            return false;
        }
        if (in.flags & VRING_DESC_F_INDIRECT) {
            virtio_error(vq->vdev, "an indirect table in an indirect table");
            return false;
        }
        if (!virtq_chain_add(vq, c, in.addr, in.len, in.flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(in.flags & VRING_DESC_F_NEXT)) {
            return true;
        }
        n = in.next;
        if (n >= nr) {
            virtio_error(vq->vdev, "next %u in an indirect table of %u", n, nr);
            return false;
        }
    }
}

/* The chain from descriptor n on. */
static bool walk(VirtQueue *vq, VirtqChain *c, unsigned n)
{
    c->id = n;
    c->nr_descs = 1;
    c->nr = 0;
    for (unsigned steps = 0;; steps++) {
        struct vring_desc d;
        if (n >= vq->num || steps >= vq->num) {
            virtio_error(vq->vdev, "descriptor %u, step %u in a queue of %u", n, steps, vq->num);
            return false;
        }
        memcpy(&d, vq->desc_area.host + 16 * n, sizeof(d));
        if (d.flags & VRING_DESC_F_INDIRECT) {
            return add_indirect(vq, c, &d);
        }
        if (!virtq_chain_add(vq, c, d.addr, d.len, d.flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(d.flags & VRING_DESC_F_NEXT)) {
            return true;
        }
        n = d.next;
    }
}

static bool split_next(VirtQueue *vq, VirtqChain *c)
{
    uint16_t offered = ring_load(avail(vq, RING_INDEX)) - vq->next;
    unsigned n = ring_load(avail(vq, RING_ENTRIES + 2 * (vq->next % vq->num)));
    if (offered > vq->num || vq->in_use >= vq->num) {
        virtio_error(vq->vdev, "%u elements offered in a queue of %u", offered, vq->num);
        return false;
    }
    return walk(vq, c, n);
}

static bool split_again(VirtQueue *vq, const VirtqHeld *rows, unsigned nr, VirtqChain *c)
{
    (void)nr;
    return walk(vq, c, rows->id);
}

static void split_advance(VirtQueue *vq, const VirtqChain *c)
{
    (void)c;
    vq->next++;
    vq->in_use++;
}

static void split_unpop(VirtQueue *vq, const VirtqElement *e)
{
    (void)e;
    vq->next--;
}

static void split_fill(VirtQueue *vq, const VirtqElement *e, uint32_t len)
{
    struct vring_used_elem entry = { .id = e->id, .len = len };
    uint8_t *at =
        used(vq, RING_ENTRIES + sizeof(entry) * ((uint16_t)(vq->used + vq->filled) % vq->num));
    memcpy(at, &entry, sizeof(entry));
    virtq_area_written(&vq->device_area, at, sizeof(entry));
    vq->filled++;
}

static void split_flush(VirtQueue *vq)
{
    vq->used += vq->filled;
    ring_store(used(vq, RING_INDEX), vq->used);
    virtq_area_written(&vq->device_area, used(vq, RING_INDEX), 2);
}

static bool split_wants_interrupt(const VirtQueue *vq)
{
    if (!has_event(vq)) {
        return !(ring_load(avail(vq, RING_FLAGS)) & VRING_AVAIL_F_NO_INTERRUPT);
    }
    uint16_t event = ring_load(avail(vq, RING_ENTRIES + 2 * vq->num));
    return ring_passed(event, vq->used, vq->unsignalled);
}

static void split_set_kicks(VirtQueue *vq, bool on)
{
    uint8_t *at;
    if (has_event(vq)) {
        if (!on) {
            return; /* an index that the driver has passed already says it */
        }
        at = used(vq, RING_ENTRIES + 8 * vq->num);
        ring_store(at, vq->next);
    } else {
        at = used(vq, RING_FLAGS);
        uint16_t flags = on ? 0 : VRING_USED_F_NO_NOTIFY;
        if (ring_load(at) == flags) {
            return;
        }
        ring_store(at, flags);
    }
    virtq_area_written(&vq->device_area, at, 2);
}

void virtq_split_back(VirtQueue *vq, uint16_t next)
{
    vq->next = next;
    vq->used = ring_load(used(vq, RING_INDEX));
    vq->in_use = 0;
    vq->unsignalled = 0;
    vq->quiet = false;
    split_set_kicks(vq, true);
}

const VirtqRing virtq_split = {
    .sizes = split_sizes,
    .has_next = split_has_next,
    .next = split_next,
    .advance = split_advance,
    .again = split_again,
    .unpop = split_unpop,
    .fill = split_fill,
    .flush = split_flush,
    .wants_interrupt = split_wants_interrupt,
    .set_kicks = split_set_kicks,
};
