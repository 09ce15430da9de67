/* SPDX-License-Identifier: GPL-2.0-or-later
 * Virtqueues that the host's kernel serves (linux/vhost.h): a receive and a transmit queue of a
 * device on one descriptor of vhost-net. Which of two ways is the caller's choice:
 *
 *   direct   the kernel works on the guest's own rings and RAM; doorbells and interrupts are
 *            eventfds between the vCPUs and the kernel. Nobody hears of what it writes, so only
 *            where ram_may_write_unheard().
 *   shadow   the kernel works on rings of ours (vhost_shadow.c), whose descriptors point into the
 *            guest's buffers. What it used is put into the guest's ring by virtq_push(), which says
 *            which RAM was written before the guest can see it.
 *
 * vm_lock held throughout.
 */
#ifndef HW_VIRTIO_VHOST_H
#define HW_VIRTIO_VHOST_H

#include "hw/core/machine.h"
#include "hw/virtio/virtio.h"
#include "net/vhost.h"

enum { VHOST_RINGS = 2 };

/* Rings of ours. */
typedef struct VhostShadow {
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    VirtqElement **element; /* by its first descriptor */
    List in_flight;         /* of VirtqElement, in the order they were popped */
    uint16_t free, nr_free; /* descriptors, linked by next */
    uint16_t used_idx;      /* of those given back to the guest */
    void *memory;
} VhostShadow;

typedef struct VhostRing {
    struct VhostDev *dev;
    VirtQueue *vq;
    unsigned index;      /* in the kernel's words */
    int kick, call, err; /* eventfds; -1: none */
    FdWatch *call_watch, *err_watch;
    bool started;
    VhostShadow *shadow; /* NULL: direct */
} VhostRing;

typedef struct VhostDev {
    const NetVhost *host; /* NULL: does not run */
    bool direct;
    bool paused; /* the kernel leaves the rings alone until vhost_stop */
    struct vhost_memory *table;
    VhostRing ring[VHOST_RINGS];
    void (*failed)(void *opaque); /* the kernel cannot do what the driver wants: stop it, later */
    void *opaque;
} VhostDev;

/* Feature bits that the kernel has a say in. */
uint64_t vhost_features(void);

/* d->failed and opaque are set, it does not run. Queues first and first + 1, both enabled, with
 * nothing popped. */
bool vhost_start(VhostDev *d, const NetVhost *host, VirtQueue *first, bool direct,
                 Error **errp) MUST_USE;
/* All that the driver offered and that is not used is in the queues again. No-op if it does not run. */
void vhost_stop(VhostDev *d);
/* The kernel stops at once, nothing else changes: for where vhost_stop() cannot be. */
void vhost_pause(VhostDev *d);
/* Is the table the kernel has still right? */
bool vhost_memory_is_current(const VhostDev *d, const Machine *m);
/* The driver rang. */
void vhost_kick(VhostDev *d, const VirtQueue *vq);

/* ---- vhost_shadow.c ---- */

VhostShadow *vhost_shadow_new(void);
void vhost_shadow_free(VhostShadow *s); /* what is in flight goes back to the queue */
enum { VHOST_SHADOW_SIZE = 2048 };      /* more than an element can have pieces */
/* From the guest's ring to ours: true: the kernel wants to be told. */
bool vhost_shadow_offer(VhostShadow *s, VirtQueue *vq);
/* And back. */
void vhost_shadow_collect(VhostShadow *s, VirtQueue *vq);

/* The table for direct use: main RAM as the flat view shows it. NULL: too many pieces. */
struct vhost_memory *vhost_memory_new(const FlatView *view, const RamBlock *ram);

#endif
