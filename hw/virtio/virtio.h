/* SPDX-License-Identifier: GPL-2.0-or-later
 * Virtio devices (VIRTIO 1.2): what every kind has, whichever way it is plugged in. docs/virtio.md
 * tells how one is written; in short:
 *
 *     typedef struct Echo { VirtioDevice vdev; VirtQueue *rx; ... } Echo;      a kind
 *     typedef struct EchoPci { VirtioPci proxy; Echo echo; } EchoPci;         as a PCI device
 *
 *     static void echo_kick(VirtioDevice *v, VirtQueue *vq)
 *     {
 *         for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
 *             ... virtq_read(e, 0, &header, sizeof(header)) ... virtq_write(e, 0, data, len) ...
 *             virtq_push(e, len);
 *         }
 *         virtq_notify(vq);
 *     }
 *     realize: virtio_init(&s->echo.vdev, dev, &echo_ops);
 *              s->echo.rx = virtio_add_queue(&s->echo.vdev, 256, echo_kick);
 *              s->echo.vdev.host_features |= 1ull << ECHO_F_LOUD;
 *              return virtio_pci_realize(&s->proxy, &s->echo.vdev, errp);   (virtio_pci.h)
 *     state:   STATE_STRUCT(EchoPci, echo.vdev, VirtioDevice, virtio_state), and its own fields
 *
 * An element is a buffer of the driver's: bytes to read (out) and bytes to write (in), already
 * checked. The iovecs point into guest RAM, so what the device looks at may change under it: copy
 * a header once (virtq_read), then use the copy. What lies in memory that may go away (video RAM)
 * is copied out first and back at the push. Everything here needs vm_lock; workers may use the
 * iovecs without it until the element is pushed.
 *
 * A driver that breaks the rules of the ring makes the device need a reset: it pops nothing more,
 * pushes vanish, the driver gets a configuration interrupt. Nothing else happens to the VM. Only a
 * push, virtq_drop or virtq_unpop ends an element.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "hw/core/device.h"
#include "util/main_loop.h"

typedef struct VirtioDevice VirtioDevice;
typedef struct VirtQueue VirtQueue;

enum {
    VIRTIO_MAX_QUEUES = 64,
    VIRTQ_MAX_SIZE = 1024, /* of a queue, and descriptors of one element */
    VIRTIO_NO_VECTOR = 0xffff,
};

/* ---- elements ---- */

typedef struct VirtqSegment {
    uint8_t *host; /* where the device writes */
    uint64_t gpa;
    size_t len;
    bool bounced; /* host is a copy */
} VirtqSegment;

typedef struct VirtqElement {
    VirtQueue *vq;
    struct iovec *out, *in; /* the device may change both arrays (virtq_drop_front, _back) */
    int nr_out, nr_in;
    size_t out_len, in_len; /* all bytes, as popped */
    List node;              /* the device's own */
    /* for virtio only */
    uint16_t id, nr_descs;
    unsigned nr_segments;
    VirtqSegment *segment; /* the in part, as popped */
    bool touched;
    void *bounce;
    struct vring_packed_desc *ring; /* packed: its nr_descs descriptors; NULL: split */
} VirtqElement;

/* What was popped and is not pushed, as a state table keeps it: of an element in a split ring its
 * first descriptor's number; in a packed ring, where its place may be written over meanwhile, a row
 * a descriptor. */
typedef struct VirtqHeld {
    uint64_t addr; /* this and the next: packed */
    uint32_t len;
    uint16_t flags, queue, id;
} VirtqHeld;

/* The next element, at the start of a struct of size bytes that is otherwise zero; NULL: there is
 * none, and the driver will ring when there is. (Or there have been many in a row: then the queue's
 * kick function is called once others had their turn.) */
void *virtq_pop(VirtQueue *vq, size_t size);
/* Gives it back, with the first len bytes of its in part written, and frees it. The driver hears of
 * it with virtq_notify. If more than len was touched, call virtq_touched() before. */
void virtq_push(VirtqElement *e, size_t len);
/* Several that shall appear at once: fill each, then flush. Frees e. */
void virtq_fill(VirtqElement *e, size_t len);
void virtq_flush(VirtQueue *vq);
/* Interrupts if the driver wants to know of what was pushed. */
void virtq_notify(VirtQueue *vq);
/* Frees it and tells nobody: for reset. */
void virtq_drop(VirtqElement *e);
/* Undoes the last pop that is not undone: several in reverse order. Frees e. */
void virtq_unpop(VirtqElement *e);
/* The whole in part may have changed, however long the push says. */
void virtq_touched(VirtqElement *e);

/* An element's rows, to rows unless NULL; returns how many. */
unsigned virtq_hold(const VirtqElement *e, VirtqHeld *rows);
/* The element that the first of nr rows describe, as virtq_pop once made it; *used: how many those
 * are. NULL: they make none, or its queue is not in use. */
void *virtq_restore(VirtioDevice *v, const VirtqHeld *rows, unsigned nr, unsigned *used,
                    size_t size);

/* Is there anything to pop? Does not ask the driver to ring. */
bool virtq_has_next(VirtQueue *vq);
/* Asks the driver not to ring (a hint), or to ring again; true: something can be popped already. Not
 * after virtq_unpop(): the driver has passed the place that this names, and would not ring. */
bool virtq_set_kicks(VirtQueue *vq, bool on);

/* Copies from the out part / to the in part at an offset; returns how much there was. */
size_t virtq_read(const VirtqElement *e, size_t offset, void *buf, size_t len);
size_t virtq_write(const VirtqElement *e, size_t offset, const void *buf, size_t len);
/* Takes len bytes off an array's front or back; false, and nothing is changed, if it is shorter. */
bool virtq_drop_front(struct iovec **iov, int *n, size_t len);
bool virtq_drop_back(struct iovec *iov, int *n, size_t len);

/* ---- queues ---- */

typedef void VirtqFn(VirtioDevice *v, VirtQueue *vq);

typedef struct VirtqArea {
    uint8_t *host;
    RamBlock *ram;
    uint64_t ram_offset;
} VirtqArea;

struct VirtQueue {
    /* state, in the words of VIRTIO 4.1.4.3 */
    uint64_t desc, driver, device; /* guest physical */
    uint16_t num;                  /* entries now */
    uint16_t vector;
    bool enabled;
    bool quiet;                /* the device asked for no kicks */
    uint16_t next;             /* split: free running; packed: where the next one starts */
    uint16_t used;             /* likewise for what is pushed */
    bool next_wrap, used_wrap; /* packed: wrap counters */
    uint32_t unsignalled;      /* pushed since the last virtq_notify (packed: descriptors) */
    uint16_t in_use;           /* popped and not pushed (packed: descriptors) */
    /* wiring */
    VirtioDevice *vdev;
    uint16_t index, max_num;
    VirtqFn *kick;
    bool resetting; /* its elements are just ended: it cannot be enabled */
    VirtqArea desc_area, driver_area, device_area;
    uint64_t map_generation; /* of the areas; 0: never */
    bool mapped;
    uint16_t filled;       /* filled, not yet flushed (packed: descriptors) */
    uint16_t filled_flags; /* packed: of the first of those */
    uint32_t budget;       /* pops until the main loop gets its turn */
};

/* ---- a kind of device ---- */

typedef struct VirtioOps {
    uint16_t id;         /* VIRTIO 5 */
    uint16_t config_len; /* of its configuration space, at most VIRTIO_MAX_CONFIG */
    /* All of it as it is now, little-endian. */
    void (*get_config)(VirtioDevice *v, uint8_t *config);
    /* The driver wrote a byte, word or dword inside it. NULL: it is read-only. */
    void (*set_config)(VirtioDevice *v, unsigned offset, uint32_t val, unsigned size);
    /* v->features is settled. May be NULL. */
    void (*negotiated)(VirtioDevice *v);
    /* DRIVER_OK came: buffers may be used from now on. May be NULL. */
    void (*started)(VirtioDevice *v);
    /* Back to as it was at power-up, by the driver or with the machine: ends all elements. What is
     * under way in workers is waited for or cancelled (vm_lock may be dropped meanwhile: queues are
     * disabled already). Runs before the state table sets its values. May be NULL. */
    void (*reset)(VirtioDevice *v);
    /* The driver resets one queue: ends its elements, as above. May be NULL. */
    void (*queue_reset)(VirtioDevice *v, VirtQueue *vq);
    /* For devices whose queues others use (vhost), may be NULL: buffers may be used, or may not any
     * longer (virtio_is_live); and memory lies elsewhere: in the midst of a change of regions. */
    void (*live_changed)(VirtioDevice *v);
    void (*memory_changed)(VirtioDevice *v);
} VirtioOps;

enum { VIRTIO_MAX_CONFIG = 256 };

/* What a device is plugged in with: PCI. */
typedef struct VirtioTransport {
    void (*interrupt)(void *opaque, uint16_t vector); /* of a queue */
    void (*config_interrupt)(void *opaque);
    /* The status has changed, or the queues have: doorbells come and go. May be NULL. */
    void (*status_changed)(void *opaque);
    /* Until both are -1, the queue's doorbell signals kick and events of call are its interrupts. They
     * stay the caller's. A ring of before and after may still come to the queue's kick function. */
    void (*set_eventfds)(void *opaque, unsigned queue, int kick, int call);
} VirtioTransport;

struct VirtioDevice {
    /* state */
    uint64_t driver_features; /* as the driver wrote them */
    uint64_t features;        /* what was agreed on: all of it was offered */
    uint8_t status;           /* VIRTIO 2.1 */
    uint8_t generation;       /* of configuration space */
    bool broken;              /* needs a reset */
    bool legacy;              /* the driver uses the interface of before 1.0 */
    VirtQueue queue[VIRTIO_MAX_QUEUES];
    /* wiring */
    uint64_t host_features; /* offered; device bits by the device, the others by the transport */
    Device *dev;
    const VirtioOps *ops;
    const VirtioTransport *transport;
    void *transport_opaque;
    unsigned nr_queues;
    bool no_dma; /* the transport may not reach memory */
    bool resetting;
    uint64_t waiting; /* to be kicked when the machine runs or by the main loop, a bit a queue */
    Timer resume;
    BottomHalf again, changed;
    uint64_t map_generation;
    MemoryListener listener;
};

extern const StateField virtio_state[], virtq_held_state[];

void virtio_init(VirtioDevice *v, Device *dev, const VirtioOps *ops);
void virtio_fini(VirtioDevice *v); /* the transport's unrealize calls it */
/* At most num entries; in realize. Queues are numbered in this order. */
VirtQueue *virtio_add_queue(VirtioDevice *v, uint16_t num, VirtqFn *kick);

static inline bool virtio_has(const VirtioDevice *v, unsigned feature)
{
    return v->features >> feature & 1;
}
/* May buffers be used? (Drivers of before 1.0 use them without DRIVER_OK.) */
static inline bool virtio_is_live(const VirtioDevice *v)
{
    return !v->broken && !v->resetting && !v->no_dma &&
           ((v->status & VIRTIO_CONFIG_S_DRIVER_OK) || v->legacy);
}
/* Does guest time run? While it does not, nothing is popped or pushed but by completions. A device
 * that hears from the host meanwhile waits until .started or its queue's kick. */
bool virtio_may_run(void);
/* Calls every live queue's kick function when the machine runs, at once if it does. */
void virtio_kick_all(VirtioDevice *v);
/* Configuration space has changed by itself. */
void virtio_config_changed(VirtioDevice *v);
/* The driver broke the rules: the device needs a reset. */
void virtio_error(VirtioDevice *v, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- for transports ---- */

void virtio_attach(VirtioDevice *v, const VirtioTransport *t, void *opaque);
/* 0 resets. Without FEATURES_OK, v->driver_features have not been agreed on. */
void virtio_set_status(VirtioDevice *v, uint8_t status);
/* The interface of before 1.0, which has no FEATURES_OK: they are agreed on at once. */
void virtio_set_legacy_features(VirtioDevice *v, uint32_t features);
uint32_t virtio_config_read(VirtioDevice *v, unsigned offset, unsigned size);
void virtio_config_write(VirtioDevice *v, unsigned offset, uint32_t val, unsigned size);
void virtio_kick(VirtioDevice *v, unsigned queue);
void virtio_enable_queue(VirtioDevice *v, unsigned queue);
void virtio_reset_queue(VirtioDevice *v, unsigned queue);
void virtio_set_dma(VirtioDevice *v, bool allowed);
/* From the transport's reset and refresh functions. */
void virtio_machine_reset(VirtioDevice *v);
void virtio_refresh(VirtioDevice *v);

#endif
