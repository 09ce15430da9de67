/* SPDX-License-Identifier: GPL-2.0-or-later
 * Elements of virtqueues, whatever the ring: descriptors to iovecs and back (VIRTIO 2.6).
 *
 * Everything a driver says is looked at here or in split.c and packed.c, and nowhere else: lengths,
 * loops, order, addresses. Main RAM stays where it is as long as the machine lives, so iovecs point
 * into it. Other memory (video RAM, ROM) comes and goes with its device: such parts are copied.
 */
#include <string.h>

#include "hw/core/machine.h"
#include "hw/virtio/virtq_impl.h"
#include "util/alloc.h"

enum {
    SPARE_PIECES = 16,   /* parts that lie in several ranges of memory */
    MAX_BOUNCE = 4 << 20 /* bytes of one element outside main RAM */
};

static const VirtqRing *ring_of(const VirtQueue *vq)
{
    return virtio_has(vq->vdev, VIRTIO_F_RING_PACKED) ? &virtq_packed : &virtq_split;
}

static Machine *machine(const VirtQueue *vq)
{
    return vq->vdev->dev->machine;
}

/* ---- the rings' own memory ---- */

/* Where [gpa, gpa+len) lies, if that is one piece of one writable block of RAM. */
static bool map_area(const FlatView *view, uint64_t gpa, uint64_t len, VirtqArea *a)
{
    uint64_t done = 0;
    while (done < len) {
        const FlatRange *fr = flat_view_find(view, gpa + done);
        if (!fr || !fr->host || fr->readonly) {
            return false;
        }
        uint64_t into = gpa + done - fr->start;
        if (done == 0) {
            *a = (VirtqArea){ fr->host + into, fr->ram, fr->ram_offset + into };
        } else if (fr->host + into != a->host + done || fr->ram != a->ram) {
            return false;
        }
        done += fr->size - into;
    }
    return gpa + len > gpa;
}

static bool map_queue(VirtQueue *vq)
{
    VirtioDevice *v = vq->vdev;
    const FlatView *view = machine(vq)->memory.view;
    uint64_t desc, driver, device;
    ring_of(vq)->sizes(vq, &desc, &driver, &device);
    vq->map_generation = v->map_generation;
    vq->mapped = vq->desc % 16 == 0 && vq->driver % 2 == 0 && vq->device % 4 == 0 &&
                 map_area(view, vq->desc, desc, &vq->desc_area) &&
                 map_area(view, vq->driver, driver, &vq->driver_area) &&
                 map_area(view, vq->device, device, &vq->device_area);
    if (!vq->mapped) {
        virtio_error(v, "queue %u at 0x%llx, 0x%llx, 0x%llx is not in RAM", vq->index,
                     (unsigned long long)vq->desc, (unsigned long long)vq->driver,
                     (unsigned long long)vq->device);
    }
    return vq->mapped;
}

/* May the ring be looked at? */
static bool is_ready(VirtQueue *vq)
{
    VirtioDevice *v = vq->vdev;
    if (!vq->enabled || !virtio_is_live(v)) {
        return false;
    }
    return vq->map_generation == v->map_generation ? vq->mapped : map_queue(vq);
}

bool virtq_map(VirtQueue *vq)
{
    return is_ready(vq);
}

void virtq_area_written(const VirtqArea *a, const void *p, size_t len)
{
    ram_written(a->ram, a->ram_offset + (size_t)((const uint8_t *)p - a->host), len);
}

bool virtq_read_table(VirtQueue *vq, uint64_t table, unsigned n, void *desc)
{
    if (table + 16ull * n >= table && dma_read(&machine(vq)->memory, table + 16ull * n, desc, 16)) {
        return true;
    }
    virtio_error(vq->vdev, "indirect table at 0x%llx is not in RAM", (unsigned long long)table);
    return false;
}

bool virtq_chain_add(VirtQueue *vq, VirtqChain *c, uint64_t addr, uint32_t len, bool write)
{
    if (c->nr == VIRTQ_MAX_SIZE) {
        virtio_error(vq->vdev, "an element of more than %u descriptors", VIRTQ_MAX_SIZE);
        return false;
    }
    if (!write && c->nr && c->part[c->nr - 1].write) {
        virtio_error(vq->vdev, "a descriptor to read after one to write"); /* VIRTIO 2.7.4.2 */
        return false;
    }
    if (addr + len < addr) {
        virtio_error(vq->vdev, "a descriptor wraps around the end of memory");
        return false;
    }
    c->part[c->nr].addr = addr;
    c->part[c->nr].len = len;
    c->part[c->nr++].write = write;
    return true;
}

/* ---- elements ---- */

/* Where the element is built: pieces that lie in one range each. */
typedef struct Builder {
    VirtqSegment *piece;
    unsigned nr, max, nr_out;
    size_t bounce;
} Builder;

/* Splits a part at the borders of memory ranges. */
static bool add_part(VirtQueue *vq, Builder *b, uint64_t gpa, uint64_t len, bool write)
{
    const Machine *m = machine(vq);
    while (len) {
        const FlatRange *fr = flat_view_find(m->memory.view, gpa);
        if (!fr || !fr->host || (write && fr->readonly)) {
            virtio_error(vq->vdev, "a buffer at 0x%llx is not in RAM", (unsigned long long)gpa);
            return false;
        }
        uint64_t into = gpa - fr->start, n = MIN(len, fr->size - into);
        VirtqSegment *last = b->nr > (write ? b->nr_out : 0) ? &b->piece[b->nr - 1] : NULL;
        uint8_t *host = fr->host + into;
        bool direct = fr->ram == m->ram;
        if (last && direct && !last->bounced && last->host + last->len == host) {
            last->len += n;
        } else if (b->nr == b->max) {
            virtio_error(vq->vdev, "an element in more than %u pieces", b->max);
            return false;
        } else {
            b->piece[b->nr++] = (VirtqSegment){ host, gpa, n, !direct };
        }
        b->bounce += direct ? 0 : n;
        if (b->bounce > MAX_BOUNCE) {
            virtio_error(vq->vdev, "too large a buffer outside main memory");
            return false;
        }
        gpa += n;
        len -= n;
        b->nr_out = write ? b->nr_out : b->nr;
    }
    return true;
}

/* Copies of what may not be pointed into. */
static bool make_bounce(VirtqElement *e, Builder *b)
{
    uint8_t *at = e->bounce = malloc(b->bounce);
    if (!at) {
        virtio_error(e->vq->vdev, "no memory for a copy of %zu bytes", b->bounce);
        return false;
    }
    for (unsigned i = 0; i < b->nr; i++) {
        VirtqSegment *s = &b->piece[i];
        if (s->bounced) {
            memcpy(at, s->host, s->len);
            s->host = at;
            at += s->len;
        }
    }
    return true;
}

static void set_iovecs(VirtqElement *e, const Builder *b, struct iovec *iov)
{
    for (unsigned i = 0; i < b->nr; i++) {
        iov[i] = (struct iovec){ b->piece[i].host, b->piece[i].len };
        *(i < b->nr_out ? &e->out_len : &e->in_len) += b->piece[i].len;
    }
    e->out = iov;
    e->in = iov + b->nr_out;
    e->nr_out = (int)b->nr_out;
    e->nr_in = (int)(b->nr - b->nr_out);
    e->segment = b->piece + b->nr_out;
    e->nr_segments = b->nr - b->nr_out;
}

static VirtqElement *make_element(VirtQueue *vq, const VirtqChain *c, size_t size)
{
    size_t head = ROUND_UP(size, 16), max = c->nr + SPARE_PIECES;
    size_t nr_ring = ring_of(vq)->copy ? c->nr_descs : 0;
    uint8_t *block = xmalloc(head + max * (sizeof(struct iovec) + sizeof(VirtqSegment)) +
                             nr_ring * sizeof(struct vring_packed_desc));
    memset(block, 0, size);
    VirtqElement *e = (VirtqElement *)block;
    struct iovec *iov = (struct iovec *)(block + head);
    Builder b = { .piece = (VirtqSegment *)(iov + max), .max = max };
    e->vq = vq;
    e->id = c->id;
    e->ring = nr_ring ? (struct vring_packed_desc *)(b.piece + max) : NULL;
    e->nr_descs = c->nr_descs;
    list_init(&e->node);
    bool ok = true;
    for (unsigned i = 0; i < c->nr && ok; i++) {
        ok = add_part(vq, &b, c->part[i].addr, c->part[i].len, c->part[i].write);
    }
    if (!ok || (b.bounce && !make_bounce(e, &b))) {
        free(block);
        return NULL;
    }
    set_iovecs(e, &b, iov);
    return e;
}

static void free_element(VirtqElement *e)
{
    VirtQueue *vq = e->vq;
    vq->in_use -= MIN(vq->in_use, e->nr_descs);
    list_remove(&e->node);
    free(e->bounce);
    free(e);
}

/* The driver is to ring for the next one; true: it is there already. */
static bool ask_for_kick(VirtQueue *vq)
{
    if (vq->quiet || !virtio_has(vq->vdev, VIRTIO_RING_F_EVENT_IDX)) {
        return false;
    }
    ring_of(vq)->set_kicks(vq, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the driver looks at it after it offers */
    return ring_of(vq)->has_next(vq);
}

void *virtq_pop(VirtQueue *vq, size_t size)
{
    VirtqChain c;
    if (!is_ready(vq) || (!ring_of(vq)->has_next(vq) && !ask_for_kick(vq))) {
        return NULL;
    }
    if (!vq->budget) {
        virtio_kick_again(vq);
        return NULL;
    }
    vq->budget--;
    if (!ring_of(vq)->next(vq, &c)) {
        return NULL;
    }
    VirtqElement *e = make_element(vq, &c, size);
    if (e && e->ring) {
        ring_of(vq)->copy(vq, e->ring, e->nr_descs);
    }
    if (e) {
        ring_of(vq)->advance(vq, &c);
    }
    return e;
}

/* ---- in the state table ---- */

unsigned virtq_hold(const VirtqElement *e, VirtqHeld *rows)
{
    unsigned nr = e->ring ? e->nr_descs : 1;
    for (unsigned i = 0; i < nr && rows; i++) {
        rows[i] = (VirtqHeld){ .queue = e->vq->index, .id = e->id };
        if (e->ring) {
            rows[i].addr = e->ring[i].addr;
            rows[i].len = e->ring[i].len;
            rows[i].flags = e->ring[i].flags;
        }
    }
    return nr;
}

/* Checked like what a driver says: a stream may say anything, too. in_use counts it already. */
void *virtq_restore(VirtioDevice *v, const VirtqHeld *rows, unsigned nr, unsigned *used,
                    size_t size)
{
    VirtqChain c;
    VirtQueue *vq = &v->queue[MIN(rows->queue, (uint16_t)(VIRTIO_MAX_QUEUES - 1))];
    for (*used = 1; *used < nr && (rows[*used - 1].flags & VRING_DESC_F_NEXT);) {
        ++*used;
    }
    if (!is_ready(vq) || !ring_of(vq)->again(vq, rows, nr, &c)) {
        return NULL;
    }
    *used = c.nr_descs;
    VirtqElement *e = make_element(vq, &c, size);
    for (unsigned i = 0; e && e->ring && i < e->nr_descs; i++) {
        e->ring[i] =
            (struct vring_packed_desc){ rows[i].addr, rows[i].len, rows[i].id, rows[i].flags };
    }
    return e;
}

bool virtq_has_next(VirtQueue *vq)
{
    return is_ready(vq) && ring_of(vq)->has_next(vq);
}

bool virtq_set_kicks(VirtQueue *vq, bool on)
{
    if (!is_ready(vq)) {
        return false;
    }
    vq->quiet = !on;
    ring_of(vq)->set_kicks(vq, on);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return on && ring_of(vq)->has_next(vq);
}

/* Whoever watches memory hears of it; copies go back. */
static void report_written(const VirtqElement *e, size_t len)
{
    Machine *m = machine(e->vq);
    len = e->touched ? e->in_len : len;
    for (unsigned i = 0; i < e->nr_segments && len; i++) {
        const VirtqSegment *s = &e->segment[i];
        size_t n = MIN(len, s->len);
        if (s->bounced) {
            dma_write(&m->memory, s->gpa, s->host, n);
        } else {
            ram_written(m->ram, (uint64_t)(s->host - m->ram->host), n);
        }
        len -= n;
    }
}

void virtq_fill(VirtqElement *e, size_t len)
{
    VirtQueue *vq = e->vq;
    if (len || e->touched) {
        report_written(e, len);
    }
    if (is_ready(vq)) {
        ring_of(vq)->fill(vq, e, (uint32_t)MIN(len, (size_t)UINT32_MAX));
    }
    free_element(e);
}

void virtq_flush(VirtQueue *vq)
{
    if (vq->filled && is_ready(vq)) {
        ring_of(vq)->flush(vq);
        vq->unsignalled += vq->filled;
    }
    vq->filled = 0;
}

void virtq_push(VirtqElement *e, size_t len)
{
    VirtQueue *vq = e->vq;
    virtq_fill(e, len);
    virtq_flush(vq);
}

void virtq_notify(VirtQueue *vq)
{
    VirtioDevice *v = vq->vdev;
    if (!vq->unsignalled || !is_ready(vq)) {
        return;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the driver looks at the ring after it asks */
    bool wanted = ring_of(vq)->wants_interrupt(vq);
    vq->unsignalled = 0; /* who asks later looks at the ring first */
    if (wanted) {
        v->transport->interrupt(v->transport_opaque, vq->vector);
    }
}

void virtq_drop(VirtqElement *e)
{
    free_element(e);
}

void virtq_unpop(VirtqElement *e)
{
    if (e->touched) {
        report_written(e, e->in_len);
    }
    if (e->vq->enabled) {
        ring_of(e->vq)->unpop(e->vq, e);
        e->vq->budget++;
    }
    free_element(e);
}

void virtq_touched(VirtqElement *e)
{
    e->touched = true;
}

/* ---- bytes ---- */

static size_t copy(const struct iovec *iov, int n, size_t offset, void *buf, size_t len,
                   bool to_iov)
{
    size_t done = 0;
    for (int i = 0; i < n && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t part = MIN(len - done, iov[i].iov_len - offset);
        uint8_t *p = (uint8_t *)iov[i].iov_base + offset, *q = (uint8_t *)buf + done;
        memcpy(to_iov ? p : q, to_iov ? q : p, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t virtq_read(const VirtqElement *e, size_t offset, void *buf, size_t len)
{
    return copy(e->out, e->nr_out, offset, buf, len, false);
}

size_t virtq_write(const VirtqElement *e, size_t offset, const void *buf, size_t len)
{
    return copy(e->in, e->nr_in, offset, (void *)buf, len, true);
}

static size_t total(const struct iovec *iov, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

bool virtq_drop_front(struct iovec **iov, int *n, size_t len)
{
    if (total(*iov, *n) < len) {
        return false;
    }
    while (*n && len >= (*iov)->iov_len) {
        len -= (*iov)->iov_len;
        ++*iov;
        --*n;
    }
    if (*n) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
        (*iov)->iov_len -= len;
    }
    return true;
}

bool virtq_drop_back(struct iovec *iov, int *n, size_t len)
{
    if (total(iov, *n) < len) {
        return false;
    }
    while (*n && len >= iov[*n - 1].iov_len) {
        len -= iov[--*n].iov_len;
    }
    if (*n) {
        iov[*n - 1].iov_len -= len;
    }
    return true;
}
