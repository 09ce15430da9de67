/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-rng (VIRTIO 5.4): fills the driver's buffers with what the host's getrandom() gives, at
 * most max-bytes every period milliseconds.
 */
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "hw/virtio/virtio_pci.h"

enum { QUEUE_SIZE = 8, CHUNK = 256, MAX_ANSWER = 64 << 10 };

typedef struct VirtioRng {
    VirtioDevice vdev;
    uint64_t max_bytes; /* properties */
    uint32_t period_ms;
    uint64_t quota; /* state: bytes left in this period */
    Timer next_period;
} VirtioRng;

typedef struct VirtioRngPci {
    VirtioPci proxy;
    VirtioRng rng;
} VirtioRngPci;

static size_t answer(VirtqElement *e, size_t len)
{
    size_t done = 0;
    while (done < len) {
        uint8_t buf[CHUNK];
        ssize_t n = getrandom(buf, MIN(sizeof(buf), len - done), 0);
        if (n <= 0) {
            break;
        }
        done += virtq_write(e, done, buf, (size_t)n);
    }
    return done;
}

static bool is_limited(const VirtioRng *s)
{
    return s->max_bytes != UINT64_MAX;
}

/* A buffer need not be filled; one byte is the least (VIRTIO 5.4.6.2). What the quota does not
 * allow stays in the ring. */
static void rng_kick(VirtioDevice *v, VirtQueue *vq)
{
    VirtioRng *s = container_of(v, VirtioRng, vdev);
    while (s->quota) {
        VirtqElement *e = virtq_pop(vq, sizeof(*e));
        if (!e) {
            break;
        }
        size_t len = answer(e, MIN(MIN(e->in_len, (size_t)MAX_ANSWER), s->quota));
        s->quota -= is_limited(s) ? len : 0;
        virtq_push(e, len);
    }
    virtq_notify(vq);
    if (!s->quota && !timer_armed(&s->next_period)) {
        timer_arm(&s->next_period, guest_clock_ns() + s->period_ms * 1000000ull);
    }
}

static void period_over(void *opaque)
{
    VirtioRng *s = opaque;
    s->quota = s->max_bytes;
    virtio_kick_all(&s->vdev);
}

static const VirtioOps rng_ops = { .id = VIRTIO_ID_RNG };

static bool rng_realize(Device *dev, Error **errp)
{
    VirtioRngPci *p = container_of(dev, VirtioRngPci, proxy.pci.dev);
    VirtioRng *s = &p->rng;
    virtio_init(&s->vdev, dev, &rng_ops);
    timer_init(&s->next_period, period_over, s);
    virtio_add_queue(&s->vdev, QUEUE_SIZE, rng_kick);
    return virtio_pci_realize(&p->proxy, &s->vdev, errp);
}

static void rng_reset(Device *dev)
{
    VirtioRngPci *p = container_of(dev, VirtioRngPci, proxy.pci.dev);
    p->rng.quota = p->rng.max_bytes;
}

static const Property rng_props[] = {
    PROP_U64("max-bytes", VirtioRngPci, rng.max_bytes, .def = UINT64_MAX, .min = 1,
             .help = "bytes a period; no limit if not given"),
    PROP_U32("period", VirtioRngPci, rng.period_ms, .def = 65536, .min = 1,
             .help = "milliseconds that max-bytes is for"),
    PROP_END,
};

static const StateField rng_state[] = {
    STATE_STRUCT(VirtioRngPci, rng.vdev, VirtioDevice, virtio_state),
    STATE_U64(VirtioRngPci, rng.quota),
    STATE_TIMER(VirtioRngPci, rng.next_period),
    STATE_END,
};

static const char *const rng_aliases[] = { "virtio-rng", NULL };

VIRTIO_PCI_TYPES(virtio_rng, "virtio-rng-pci", VirtioRngPci, "Virtio random numbers", 0x1005,
                 0x00ff00, NULL, rng_aliases, .props = rng_props, .state = rng_state,
                 .state_version = 1, .realize = rng_realize, .reset = rng_reset);
