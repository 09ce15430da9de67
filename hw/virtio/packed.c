/* SPDX-License-Identifier: GPL-2.0-or-later
 * Packed virtqueues (VIRTIO 2.8): one ring of descriptors, which driver and device both write.
 *
 *   descriptor  address 8, length 4, id 2, flags 2; flags 7 (AVAIL) and 15 (USED) say whose it is:
 *               AVAIL equal to the driver's wrap counter and USED not: offered; both equal: used
 *   event suppression, one each of driver and device: offset 15 bits and wrap counter, flags 2
 */
#include <string.h>

#include "hw/virtio/virtq_impl.h"

enum { DESC_ADDR = 0, DESC_LEN = 8, DESC_ID = 12, DESC_FLAGS = 14, DESC_SIZE = 16 };
enum { FLAG_AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL, FLAG_USED = 1 << VRING_PACKED_DESC_F_USED };
enum { EVENT_OFFSET = 0, EVENT_FLAGS = 2, EVENT_SIZE = 4, EVENT_WRAP = 1 << 15 };

static uint8_t *desc_at(const VirtQueue *vq, unsigned n)
{
    return vq->desc_area.host + DESC_SIZE * n;
}

static void packed_sizes(const VirtQueue *vq, uint64_t *desc, uint64_t *driver, uint64_t *device)
{
    *desc = (uint64_t)DESC_SIZE * vq->num;
    *driver = *device = EVENT_SIZE;
}

static bool is_offered(uint16_t flags, bool wrap)
{
    return !!(flags & FLAG_AVAIL) == wrap && !!(flags & FLAG_USED) != wrap;
}

static bool packed_has_next(const VirtQueue *vq)
{
    return is_offered(ring_load(desc_at(vq, vq->next) + DESC_FLAGS), vq->next_wrap);
}

/* All of the table counts; it has no links and no ids (VIRTIO 2.8.7). */
static bool add_indirect(VirtQueue *vq, VirtqChain *c, const struct vring_packed_desc *d)
{
    if (!virtio_has(vq->vdev, VIRTIO_RING_F_INDIRECT_DESC) || d->len == 0 || d->len % DESC_SIZE ||
        (d->flags & VRING_DESC_F_NEXT) || c->nr_descs != 1) {
        virtio_error(vq->vdev, "indirect table of %u bytes, flags 0x%x", d->len, d->flags);
        return false;
    }
    for (unsigned n = 0; n < d->len / DESC_SIZE; n++) {
        struct vring_packed_desc in;
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
    }
    return true;
}

/* A chain lies in consecutive places and its last descriptor has the id. The driver writes the
 * first one's flags last, so the others need no check of whose they are. */
static bool packed_next(VirtQueue *vq, VirtqChain *c)
{
    c->nr_descs = 0;
    c->nr = 0;
    for (unsigned n = vq->next;; n = n + 1 == vq->num ? 0 : n + 1) {
        struct vring_packed_desc d;
        if (c->nr_descs + vq->in_use >= vq->num) {
            virtio_error(vq->vdev, "a chain longer than the queue's %u", vq->num);
            return false;
        }
        memcpy(&d, desc_at(vq, n), sizeof(d));
        c->nr_descs++;
        c->id = d.id;
        if (d.flags & VRING_DESC_F_INDIRECT) {
            return add_indirect(vq, c, &d);
        }
        if (!virtq_chain_add(vq, c, d.addr, d.len, d.flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(d.flags & VRING_DESC_F_NEXT)) {
            return true;
        }
    }
}

/* position + n places along the ring, and how often that wraps. */
static void step(const VirtQueue *vq, uint16_t *position, bool *wrap, unsigned n)
{
    unsigned to = *position + n;
    if (to >= vq->num) {
        to -= vq->num;
        *wrap = !*wrap;
    }
    *position = to;
}

/* The rows are as the ring was when they were popped. */
static bool packed_again(VirtQueue *vq, const VirtqHeld *rows, unsigned nr, VirtqChain *c)
{
    c->nr_descs = 0;
    c->nr = 0;
    c->id = rows->id;
    for (unsigned i = 0; i < nr && rows[i].queue == rows->queue && rows[i].id == c->id; i++) {
        struct vring_packed_desc d = { rows[i].addr, rows[i].len, c->id, rows[i].flags };
        c->nr_descs++;
        if (d.flags & VRING_DESC_F_INDIRECT) {
            return add_indirect(vq, c, &d);
        }
        if (!virtq_chain_add(vq, c, d.addr, d.len, d.flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(d.flags & VRING_DESC_F_NEXT)) {
            return true;
        }
    }
    virtio_error(vq->vdev, "a saved element without an end");
    return false;
}

static void packed_copy(const VirtQueue *vq, struct vring_packed_desc *to, unsigned n)
{
    unsigned first = MIN(n, (unsigned)vq->num - vq->next);
    memcpy(to, desc_at(vq, vq->next), first * sizeof(*to));
    memcpy(to + first, desc_at(vq, 0), (n - first) * sizeof(*to));
}

static void packed_advance(VirtQueue *vq, const VirtqChain *c)
{
    step(vq, &vq->next, &vq->next_wrap, c->nr_descs);
    vq->in_use += c->nr_descs;
}

static void packed_unpop(VirtQueue *vq, const VirtqElement *e)
{
    if (e->nr_descs > vq->next) {
        vq->next_wrap = !vq->next_wrap;
        vq->next += vq->num;
    }
    vq->next -= e->nr_descs;
}

/* The first one's flags are what the driver looks at, so they wait for the flush. */
static void packed_fill(VirtQueue *vq, const VirtqElement *e, uint32_t len)
{
    uint16_t at = vq->used;
    bool wrap = vq->used_wrap;
    step(vq, &at, &wrap, vq->filled);
    uint8_t *d = desc_at(vq, at);
    uint16_t flags = (wrap ? FLAG_AVAIL | FLAG_USED : 0) | (len ? VRING_DESC_F_WRITE : 0);
    memcpy(d + DESC_LEN, &len, sizeof(len));
    memcpy(d + DESC_ID, &e->id, sizeof(e->id));
    if (vq->filled) {
        ring_store(d + DESC_FLAGS, flags);
    } else {
        vq->filled_flags = flags;
    }
    virtq_area_written(&vq->desc_area, d + DESC_LEN, 8);
    vq->filled += e->nr_descs;
}

static void packed_flush(VirtQueue *vq)
{
    uint8_t *flags = desc_at(vq, vq->used) + DESC_FLAGS;
    ring_store(flags, vq->filled_flags);
    virtq_area_written(&vq->desc_area, flags, 2);
    step(vq, &vq->used, &vq->used_wrap, vq->filled);
}

static bool packed_wants_interrupt(const VirtQueue *vq)
{
    const uint8_t *event = vq->driver_area.host;
    uint16_t flags = ring_load(event + EVENT_FLAGS) & 3;
    if (flags != VRING_PACKED_EVENT_FLAG_DESC || !virtio_has(vq->vdev, VIRTIO_RING_F_EVENT_IDX)) {
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    }
    uint16_t offset = ring_load(event + EVENT_OFFSET);
    bool wrap = offset & EVENT_WRAP;
    int at = offset & ~EVENT_WRAP;
    if (wrap != vq->used_wrap) {
        at -= vq->num; /* of the round before */
    }
    return ring_passed(at, vq->used, vq->unsignalled);
}

static void packed_set_kicks(VirtQueue *vq, bool on)
{
    uint8_t *event = vq->device_area.host;
    uint16_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;
    if (on && virtio_has(vq->vdev, VIRTIO_RING_F_EVENT_IDX)) {
        flags = VRING_PACKED_EVENT_FLAG_DESC;
        ring_store(event + EVENT_OFFSET, vq->next | (vq->next_wrap ? EVENT_WRAP : 0));
    } else if (on) {
        flags = VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    ring_store(event + EVENT_FLAGS, flags);
    virtq_area_written(&vq->device_area, event, EVENT_SIZE);
}

const VirtqRing virtq_packed = {
    .sizes = packed_sizes,
    .has_next = packed_has_next,
    .next = packed_next,
    .advance = packed_advance,
    .again = packed_again,
    .copy = packed_copy,
    .unpop = packed_unpop,
    .fill = packed_fill,
    .flush = packed_flush,
    .wants_interrupt = packed_wants_interrupt,
    .set_kicks = packed_set_kicks,
};
