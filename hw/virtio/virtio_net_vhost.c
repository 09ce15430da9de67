/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-net: when the host's kernel serves its queues (vhost.h), and when we do. The kernel does so
 * for all pairs in use or for none, while all of this holds:
 *
 *   the netdev has vhost, its link and ours are up, and no filter wants to see the frames
 *   the driver has set DRIVER_OK and enabled the queues; bus mastering is on; nothing is broken
 *   the machine runs
 *   the kernel has not said that it cannot do what the driver wants (until the next reset)
 *
 * Whenever something of that changes, virtio_net_vhost_update() looks. The filters of the control
 * queue are not applied meanwhile: VIRTIO 5.1.6.5.1 has them as best effort. The control queue itself
 * is always ours.
 */
#include "hw/core/machine.h"
#include "hw/virtio/virtio_net.h"

static bool has_filter(const NetClient *nc)
{
    return !list_empty(&nc->filters);
}

static bool pair_is_ready(const VirtioNet *s, unsigned i)
{
    const NetClient *nc = &s->nc[i], *peer = nc->peer;
    return peer->vhost && !nc->link_down && !peer->link_down && !has_filter(nc) &&
           !has_filter(peer) && s->vdev.queue[2 * i].enabled && s->vdev.queue[2 * i + 1].enabled;
}

/* How many pairs the kernel should serve. */
static unsigned wanted(const VirtioNet *s)
{
    const VirtioDevice *v = &s->vdev;
    unsigned n = 0;
    if (s->vhost.failed || !virtio_is_live(v) || !(v->status & VIRTIO_CONFIG_S_DRIVER_OK) ||
        !virtio_may_run()) {
        return 0;
    }
    for (; n < s->pairs && n < s->nr_pairs && s->nc[n].peer; n++) {
        if (!pair_is_ready(s, n)) {
            return 0;
        }
    }
    return n;
}

static VhostUse use_of(const VirtioNet *s, unsigned i)
{
    VhostUse u = { .on = s->vhost.pairs > 0, .attached = true, .mode = "off" };
    if (u.on) {
        u.attached = i < s->vhost.pairs;
        u.mode = !u.attached ? "unused" : s->vhost.direct ? "direct" : "shadow";
        u.header = virtio_net_header_len(s);
        u.accepts = s->nc[i].accepts;
    } else {
        u.header = sizeof(struct virtio_net_hdr);
        u.accepts = s->vhost.client[i]->accepts;
    }
    return u;
}

static void tell_netdev(VirtioNet *s)
{
    for (unsigned i = 0; i < s->vhost.nr_clients; i++) {
        VhostUse u = use_of(s, i);
        s->vhost.client[i]->vhost->use(s->vhost.client[i], &u);
    }
}

void virtio_net_vhost_accepts(VirtioNet *s)
{
    if (s->vhost.pairs) {
        tell_netdev(s);
    }
}

/* ---- start and stop ---- */

static void stop(VirtioNet *s)
{
    unsigned pairs = s->vhost.pairs;
    if (!pairs) {
        return;
    }
    for (unsigned i = 0; i < pairs; i++) {
        vhost_stop(&s->vhost.dev[i]);
    }
    s->vhost.pairs = 0;
    tell_netdev(s);
    s->vhost.nr_clients = 0;
    for (unsigned i = 0; i < 2 * pairs; i++) {
        virtio_kick(&s->vdev, i); /* what the kernel has not taken is ours */
    }
}

static void give_up(VirtioNet *s, Error *err)
{
    s->vhost.failed = true;
    stop(s);
    if (!s->vhost.warned && !s->vdev.broken) {
        warn_report("%s: %s; packets go through user space", s->nc[0].id, error_text(err));
        s->vhost.warned = true;
    }
    error_free(err);
}

static void start(VirtioNet *s, unsigned pairs, bool direct)
{
    Error *err = NULL;
    s->vhost.pairs = pairs;
    s->vhost.direct = direct;
    s->vhost.nr_clients = 0;
    for (unsigned i = 0; i < s->nr_pairs && s->nc[i].peer && s->nc[i].peer->vhost; i++) {
        s->vhost.client[s->vhost.nr_clients++] = s->nc[i].peer;
    }
    tell_netdev(s);
    for (unsigned i = 0; i < pairs; i++) {
        if (!vhost_start(&s->vhost.dev[i], s->nc[i].peer->vhost, &s->vdev.queue[2 * i], direct,
                         &err)) {
            give_up(s, err);
            return;
        }
    }
}

static bool is_right(const VirtioNet *s, unsigned pairs, bool direct)
{
    for (unsigned i = 0; i < s->vhost.pairs; i++) {
        if (s->vhost.dev[i].paused || s->vhost.client[i] != s->nc[i].peer) {
            return false;
        }
    }
    return pairs == s->vhost.pairs && (!pairs || direct == s->vhost.direct);
}

void virtio_net_vhost_update(VirtioNet *s)
{
    unsigned pairs = wanted(s);
    bool direct = ram_may_write_unheard(s->vdev.dev->machine->ram);
    if (s->vhost.changing || is_right(s, pairs, direct)) {
        return;
    }
    s->vhost.changing = true; /* what it does may ask to be looked at again */
    stop(s);
    if (pairs) {
        start(s, pairs, direct);
    }
    s->vhost.changing = false;
}

void virtio_net_vhost_stop(VirtioNet *s)
{
    s->vhost.changing = true;
    stop(s);
    s->vhost.changing = s->vhost.failed = false;
}

bool virtio_net_vhost_kick(VirtioNet *s, const VirtQueue *vq)
{
    if (vq->index / 2u >= s->vhost.pairs) {
        return false;
    }
    vhost_kick(&s->vhost.dev[vq->index / 2], vq);
    return true;
}

/* ---- events ---- */

static void look_again(void *opaque)
{
    virtio_net_vhost_update(opaque);
}

/* The kernel could not read a ring or a buffer: we see what is wrong with it, or do it ourselves. */
static void kernel_failed(void *opaque)
{
    VirtioNet *s = opaque;
    log_guest("%s: vhost-net cannot go on with its rings", s->nc[0].id);
    s->vhost.failed = true;
    bh_schedule(&s->vhost.again);
}

static void writer_changed(RamWriter *w)
{
    virtio_net_vhost_update(container_of(w, VirtioNet, vhost.writer));
}

/* Doorbells cannot be moved in the midst of a change of memory, but the kernel must not go on there. */
void virtio_net_vhost_memory_changed(VirtioNet *s)
{
    const Machine *m = s->vdev.dev->machine;
    if (s->vhost.pairs && !vhost_memory_is_current(&s->vhost.dev[0], m)) {
        for (unsigned i = 0; i < s->vhost.pairs; i++) {
            vhost_pause(&s->vhost.dev[i]);
        }
        bh_schedule(&s->vhost.again);
    }
}

/* ---- life ---- */

uint64_t virtio_net_vhost_lacks(const VirtioNet *s)
{
    uint64_t lacks = 0;
    for (unsigned i = 0; i < s->nr_pairs; i++) {
        const NetClient *peer = s->nc[i].peer;
        lacks |= peer && peer->vhost ? vhost_features() & ~peer->vhost->features : 0;
    }
    return lacks;
}

void virtio_net_vhost_init(VirtioNet *s)
{
    for (unsigned i = 0; i < NET_MAX_PAIRS; i++) {
        s->vhost.dev[i] = (VhostDev){ .failed = kernel_failed, .opaque = s };
    }
    bh_init(&s->vhost.again, look_again, s);
    s->vhost.writer.changed = writer_changed;
    ram_writer_add(&s->vhost.writer);
}

void virtio_net_vhost_fini(VirtioNet *s)
{
    bh_cancel(&s->vhost.again);
    ram_writer_del(&s->vhost.writer);
}
