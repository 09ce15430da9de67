/* SPDX-License-Identifier: GPL-2.0-or-later
 * Split virtqueues of our own (VIRTIO 2.7, from the driver's side) that stand between the guest's
 * and vhost. Elements are popped from the guest's queue as for any device of ours, checked as ever,
 * and offered to the kernel as chains of host addresses; what comes back is pushed. So this works
 * for packed rings and for buffers outside main RAM, too.
 *
 * The kernel is told nothing of the guest's memory: a table of one entry makes "guest physical" our
 * own addresses. It is trusted with the used ring as it is with system calls; numbers that make no
 * sense are ignored all the same.
 */
#include <stdlib.h>
#include <string.h>

#include "hw/virtio/vhost.h"
#include "hw/virtio/virtq_impl.h"
#include "util/alloc.h"

enum { SIZE = VHOST_SHADOW_SIZE };

VhostShadow *vhost_shadow_new(void)
{
    VhostShadow *s = xcalloc(1, sizeof(*s));
    size_t desc = SIZE * sizeof(*s->desc), avail = ROUND_UP(sizeof(*s->avail) + 2 * SIZE + 2, 64);
    size_t used = sizeof(*s->used) + SIZE * sizeof(struct vring_used_elem) + 2;
    s->memory = xcalloc(1, desc + avail + used + PAGE_SIZE);
    uint8_t *at = (uint8_t *)ROUND_UP((uintptr_t)s->memory, PAGE_SIZE);
    s->desc = (struct vring_desc *)at;
    s->avail = (struct vring_avail *)(at + desc);
    s->used = (struct vring_used *)(at + desc + avail);
    s->element = xcalloc(SIZE, sizeof(VirtqElement *));
    for (unsigned i = 0; i < SIZE; i++) {
        s->desc[i].next = (uint16_t)(i + 1);
    }
    s->nr_free = SIZE;
    list_init(&s->in_flight);
    return s;
}

/* ---- to the kernel ---- */

static void add_piece(VhostShadow *s, uint16_t *tail, const struct iovec *iov, uint16_t flags)
{
    uint16_t n = s->free;
    s->free = s->desc[n].next;
    s->nr_free--;
    s->desc[n].addr = (uintptr_t)iov->iov_base;
    s->desc[n].len = (uint32_t)iov->iov_len;
    s->desc[n].flags = flags;
    if (*tail != SIZE) {
        s->desc[*tail].flags |= VRING_DESC_F_NEXT;
        s->desc[*tail].next = n;
    }
    *tail = n;
}

static void offer(VhostShadow *s, VirtqElement *e)
{
    uint16_t head = s->free, tail = SIZE, idx = s->avail->idx;
    for (int i = 0; i < e->nr_out; i++) {
        add_piece(s, &tail, &e->out[i], 0);
    }
    for (int i = 0; i < e->nr_in; i++) {
        add_piece(s, &tail, &e->in[i], VRING_DESC_F_WRITE);
    }
    s->element[head] = e;
    list_insert(&s->in_flight, &e->node);
    /* A frame that fails half-way leaves bytes in buffers that are then used for another. */
    if (e->nr_in) {
        virtq_touched(e);
    }
    s->avail->ring[idx % SIZE] = head;
    ring_store(&s->avail->idx, (uint16_t)(idx + 1));
}

bool vhost_shadow_offer(VhostShadow *s, VirtQueue *vq)
{
    uint16_t before = s->avail->idx;
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        unsigned nr = (unsigned)(e->nr_out + e->nr_in);
        if (nr > s->nr_free) {
            virtq_unpop(e); /* until some are used */
            break;
        }
        if (nr) {
            offer(s, e);
        } else {
            virtq_push(e, 0); /* of descriptors without bytes */
        }
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the kernel looks at idx after it asks */
    return s->avail->idx != before && !(ring_load(&s->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* ---- and back ---- */

static void free_chain(VhostShadow *s, uint16_t head)
{
    uint16_t n = head;
    for (s->nr_free++; s->desc[n].flags & VRING_DESC_F_NEXT; s->nr_free++) {
        n = s->desc[n].next;
    }
    s->desc[n].next = s->free;
    s->free = head;
}

void vhost_shadow_collect(VhostShadow *s, VirtQueue *vq)
{
    uint16_t idx = ring_load(&s->used->idx);
    for (; s->used_idx != idx; s->used_idx++) {
        const struct vring_used_elem *u = &s->used->ring[s->used_idx % SIZE];
        VirtqElement *e = u->id < SIZE ? s->element[u->id] : NULL;
        if (e) {
            s->element[u->id] = NULL;
            free_chain(s, (uint16_t)u->id);
            virtq_fill(e, u->len);
        }
    }
    /* All at once: a frame in several buffers must not be seen in part. */
    virtq_flush(vq);
    virtq_notify(vq);
}

void vhost_shadow_free(VhostShadow *s)
{
    while (!list_empty(&s->in_flight)) { /* the last first; vhost-net uses them in order */
        virtq_unpop(container_of(s->in_flight.prev, VirtqElement, node));
    }
    free(s->element);
    free(s->memory);
    free(s);
}
