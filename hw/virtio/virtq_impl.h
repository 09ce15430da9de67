/* SPDX-License-Identifier: GPL-2.0-or-later
 * What virtq.c (elements) asks of split.c and packed.c (the two kinds of rings).
 */
#ifndef HW_VIRTIO_VIRTQ_IMPL_H
#define HW_VIRTIO_VIRTQ_IMPL_H

#include "hw/virtio/virtio.h"

/* One element's descriptors, each copied from guest memory once. */
typedef struct VirtqChain {
    uint16_t id, nr_descs; /* of the ring: those in an indirect table do not count */
    unsigned nr;
    struct {
        uint64_t addr;
        uint32_t len;
        bool write;
    } part[VIRTQ_MAX_SIZE];
} VirtqChain;

/* The ring's areas are mapped and the queue is live in all of these. */
typedef struct VirtqRing {
    /* Bytes of the three areas. */
    void (*sizes)(const VirtQueue *vq, uint64_t *desc, uint64_t *driver, uint64_t *device);
    bool (*has_next)(const VirtQueue *vq);
    /* Reads the next element without advancing; false: it is malformed, virtio_error was called. */
    bool (*next)(VirtQueue *vq, VirtqChain *c);
    void (*advance)(VirtQueue *vq, const VirtqChain *c);
    /* The same of an element that was popped before, from its rows. */
    bool (*again)(VirtQueue *vq, const VirtqHeld *rows, unsigned nr, VirtqChain *c);
    /* Packed: the next n descriptors as they are in the ring. NULL: split. */
    void (*copy)(const VirtQueue *vq, struct vring_packed_desc *to, unsigned n);
    void (*unpop)(VirtQueue *vq, const VirtqElement *e);
    void (*fill)(VirtQueue *vq, const VirtqElement *e, uint32_t len);
    void (*flush)(VirtQueue *vq);
    bool (*wants_interrupt)(const VirtQueue *vq);
    /* Tells the driver whether to ring. */
    void (*set_kicks)(VirtQueue *vq, bool on);
} VirtqRing;

extern const VirtqRing virtq_split, virtq_packed;

/* Where the rings lie now is in vq's areas; false with virtio_error if that is not RAM, or if the
 * queue is not to be used. */
bool virtq_map(VirtQueue *vq);
/* A split ring that was mapped comes back from somebody else, who took elements up to next and used
 * them all. The driver is to ring from now on. */
void virtq_split_back(VirtQueue *vq, uint16_t next);
/* Adds a part; false with virtio_error if the chain gets too long or its order is wrong. */
bool virtq_chain_add(VirtQueue *vq, VirtqChain *c, uint64_t addr, uint32_t len, bool write);
/* Descriptor n of an indirect table, 16 bytes. False with virtio_error if it is not in RAM. */
bool virtq_read_table(VirtQueue *vq, uint64_t table, unsigned n, void *desc);
/* The queue is kicked once more by the main loop. */
void virtio_kick_again(VirtQueue *vq);
/* len bytes at p in the area have been written. */
void virtq_area_written(const VirtqArea *a, const void *p, size_t len);

/* Words of a ring: aligned, for map_queue() has checked that. */
static inline uint16_t ring_load(const void *p)
{
    return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}
static inline void ring_store(void *p, uint16_t val)
{
    __atomic_store_n((uint16_t *)p, val, __ATOMIC_RELEASE);
}

/* Did the other side's event index lie among the last n of what ends at now? (VIRTIO 2.7.10) */
static inline bool ring_passed(uint16_t event, uint16_t now, uint32_t n)
{
    return (uint16_t)(now - event - 1) < n;
}

#endif
