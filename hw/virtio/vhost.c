/* SPDX-License-Identifier: GPL-2.0-or-later
 * vhost-net's side of a pair of queues (linux/vhost.h): memory table, rings, eventfds, and the
 * rings' state back into the device. vhost.h tells the two ways it is used.
 *
 *   start: features, memory table; a ring: number, base, addresses, kick, call, err; back end
 *   stop:  a ring: no back end (the kernel's thread is through with it then), base
 *
 * Left out: the log of written pages (VHOST_F_LOG_ALL), for whoever would read it gets shadow rings,
 * which tell of writes in time; IOMMU messages; rings of the other byte order.
 */
#include "hw/virtio/vhost.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/core/machine.h"
#include "hw/virtio/virtq_impl.h"
#include "util/alloc.h"

enum { MAX_PIECES = 64 }; /* the kernel's usual limit, max_mem_regions */

uint64_t vhost_features(void)
{
    return 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX |
           1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_F_RING_RESET |
           1ull << VIRTIO_NET_F_MRG_RXBUF;
}

/* ---- the memory table ---- */

static void add_piece(struct vhost_memory *t, const FlatRange *fr)
{
    struct vhost_memory_region *last = t->nregions ? &t->regions[t->nregions - 1] : NULL;
    uint64_t host = (uintptr_t)fr->host;
    if (last && last->guest_phys_addr + last->memory_size == fr->start &&
        last->userspace_addr + last->memory_size == host) {
        last->memory_size += fr->size;
    } else if (t->nregions <= MAX_PIECES) {
        t->regions[t->nregions++] = (struct vhost_memory_region){ .guest_phys_addr = fr->start,
                                                                  .memory_size = fr->size,
                                                                  .userspace_addr = host };
    }
}

struct vhost_memory *vhost_memory_new(const FlatView *view, const RamBlock *ram)
{
    struct vhost_memory *t =
        xcalloc(1, sizeof(*t) + (MAX_PIECES + 1) * sizeof(struct vhost_memory_region));
    for (size_t i = 0; i < view->nr; i++) {
        const FlatRange *fr = &view->range[i];
        if (fr->ram == ram && !fr->readonly) { /* video RAM's readers would not hear of writes */
            add_piece(t, fr);
        }
    }
    if (t->nregions > MAX_PIECES) {
        free(t);
        return NULL;
    }
    return t;
}

/* Shadow rings have our own addresses in them: all there can be. */
static struct vhost_memory *own_memory(void)
{
    struct vhost_memory *t = xcalloc(1, sizeof(*t) + sizeof(t->regions[0]));
    t->nregions = 1;
    t->regions[0].memory_size = (1ull << 47) - PAGE_SIZE;
    return t;
}

/* ---- calls ---- */

static bool call(const VhostDev *d, unsigned long request, void *arg, const char *what,
                 Error **errp)
{
    return d->host->ioctl(d->host->fd, request, arg) == 0 ||
           error_set_errno(errp, errno, "vhost-net: %s", what);
}

static bool set_fd(const VhostRing *r, unsigned long request, int fd, const char *what,
                   Error **errp)
{
    struct vhost_vring_file f = { .index = r->index, .fd = fd };
    return call(r->dev, request, &f, what, errp);
}

static bool set_memory(VhostDev *d, const Machine *m, Error **errp)
{
    d->table = d->direct ? vhost_memory_new(m->memory.view, m->ram) : own_memory();
    return d->table ? call(d, VHOST_SET_MEM_TABLE, d->table, "memory table", errp)
                    : error_set(errp, "vhost-net: RAM lies in more than %d pieces", MAX_PIECES);
}

bool vhost_memory_is_current(const VhostDev *d, const Machine *m)
{
    if (!d->host || !d->direct) {
        return true;
    }
    struct vhost_memory *t = vhost_memory_new(m->memory.view, m->ram);
    bool same = t && d->table && t->nregions == d->table->nregions &&
                !memcmp(t->regions, d->table->regions, t->nregions * sizeof(t->regions[0]));
    free(t);
    return same;
}

/* What the kernel does about rings; the interface does the rest of what was agreed on. A shadow ring
 * is a plain one. */
static bool set_features(const VhostDev *d, uint64_t agreed, Error **errp)
{
    uint64_t mask = vhost_features();
    if (!d->direct) {
        mask = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_NET_F_MRG_RXBUF;
    }
    uint64_t features = agreed & mask;
    return call(d, VHOST_SET_FEATURES, &features, "features", errp);
}

/* ---- rings ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static bool drain(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof(count)) == sizeof(count);
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    ssize_t ignored = write(fd, &one, sizeof(one)); /* full: it is signalled */
    (void)ignored;
}

/* Shadow: the kernel has used some. There may be room for more now. */
static void ring_called(void *opaque, unsigned events)
{
    VhostRing *r = opaque;
    (void)events;
    drain(r->call);
    vhost_shadow_collect(r->shadow, r->vq);
    vhost_kick(r->dev, r->vq);
}

static void ring_failed(void *opaque, unsigned events)
{
    VhostRing *r = opaque;
    (void)events;
    if (drain(r->err)) {
        r->dev->failed(r->dev->opaque);
    }
}

static void init_ring(VhostDev *d, VirtQueue *vq, unsigned index)
{
    VhostRing *r = &d->ring[index];
    *r = (VhostRing){ .dev = d, .vq = vq, .index = index };
    r->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->shadow = d->direct ? NULL : vhost_shadow_new();
}

static bool set_ring(const VhostRing *r, Error **errp)
{
    const VirtQueue *vq = r->vq;
    const VhostShadow *s = r->shadow;
    struct vhost_vring_state num = { r->index, s ? VHOST_SHADOW_SIZE : vq->num };
    struct vhost_vring_state base = { r->index, s ? 0 : vq->next };
    struct vhost_vring_addr addr = { .index = r->index };
    addr.desc_user_addr = (uintptr_t)(s ? (void *)s->desc : vq->desc_area.host);
    addr.avail_user_addr = (uintptr_t)(s ? (void *)s->avail : vq->driver_area.host);
    addr.used_user_addr = (uintptr_t)(s ? (void *)s->used : vq->device_area.host);
    return call(r->dev, VHOST_SET_VRING_NUM, &num, "size of a ring", errp) &&
           call(r->dev, VHOST_SET_VRING_BASE, &base, "place in a ring", errp) &&
           call(r->dev, VHOST_SET_VRING_ADDR, &addr, "addresses of a ring", errp);
}

/* Where it stays for as long as the machine is there. */
static bool is_in_main_ram(VirtQueue *vq)
{
    const RamBlock *ram = vq->vdev->dev->machine->ram;
    return virtq_map(vq) && vq->desc_area.ram == ram && vq->driver_area.ram == ram &&
           vq->device_area.ram == ram;
}

static bool start_ring(VhostRing *r, Error **errp)
{
    if (r->kick < 0 || r->call < 0 || r->err < 0) {
        return error_set_errno(errp, EMFILE, "no eventfds for vhost-net");
    }
    if (!r->shadow && !is_in_main_ram(r->vq)) {
        return error_set(errp, "a ring is not in main memory");
    }
    if (!set_ring(r, errp) || !set_fd(r, VHOST_SET_VRING_KICK, r->kick, "kick", errp) ||
        !set_fd(r, VHOST_SET_VRING_CALL, r->call, "call", errp) ||
        !set_fd(r, VHOST_SET_VRING_ERR, r->err, "err", errp) ||
        !set_fd(r, VHOST_NET_SET_BACKEND, r->dev->host->backend, "the interface", errp)) {
        return false;
    }
    r->started = true;
    r->err_watch = fd_watch_new(r->err, FD_READ, ring_failed, r, "vhost");
    if (r->shadow) {
        r->call_watch = fd_watch_new(r->call, FD_READ, ring_called, r, "vhost");
    }
    return true;
}

/* The guest's ring as the kernel leaves it: what it used is in the ring, what it took in the base. */
static void load_state(VhostRing *r)
{
    struct vhost_vring_state base = { r->index, r->vq->next };
    r->dev->host->ioctl(r->dev->host->fd, VHOST_GET_VRING_BASE, &base);
    virtq_split_back(r->vq, (uint16_t)base.num);
}

static void close_ring(VhostRing *r)
{
    fd_watch_free(r->call_watch);
    fd_watch_free(r->err_watch);
    r->call_watch = r->err_watch = NULL;
    close_fd(&r->kick);
    close_fd(&r->call);
    close_fd(&r->err);
}

static void stop_ring(VhostRing *r)
{
    VirtioDevice *v = r->vq->vdev;
    if (r->shadow) {
        vhost_shadow_collect(r->shadow, r->vq);
        vhost_shadow_free(r->shadow);
        r->shadow = NULL;
    } else if (r->started && r->vq->enabled) {
        load_state(r);
        if (drain(r->call) && virtio_is_live(v)) { /* its interrupt was still to come */
            v->transport->interrupt(v->transport_opaque, r->vq->vector);
        }
    }
    close_ring(r);
}

/* ---- the pair ---- */

static void wire(const VhostDev *d, bool on)
{
    for (unsigned i = 0; i < VHOST_RINGS && d->direct; i++) {
        const VhostRing *r = &d->ring[i];
        const VirtioDevice *v = r->vq->vdev;
        v->transport->set_eventfds(v->transport_opaque, r->vq->index, on ? r->kick : -1,
                                   on ? r->call : -1);
    }
}

bool vhost_start(VhostDev *d, const NetVhost *host, VirtQueue *first, bool direct, Error **errp)
{
    VirtioDevice *v = first->vdev;
    d->host = host;
    d->direct = direct;
    d->paused = false;
    for (unsigned i = 0; i < VHOST_RINGS; i++) {
        init_ring(d, first + i, i);
    }
    bool ok = set_features(d, v->features, errp) && set_memory(d, v->dev->machine, errp);
    for (unsigned i = 0; i < VHOST_RINGS && ok; i++) {
        ok = start_ring(&d->ring[i], errp);
    }
    if (!ok) {
        vhost_stop(d);
        return false;
    }
    wire(d, true);
    for (unsigned i = 0; i < VHOST_RINGS; i++) { /* there may be something already */
        if (direct) {
            signal_fd(d->ring[i].kick);
        } else {
            virtq_set_kicks(d->ring[i].vq, true);
            vhost_kick(d, d->ring[i].vq);
        }
    }
    return true;
}

void vhost_pause(VhostDev *d)
{
    for (unsigned i = 0; d->host && !d->paused && i < VHOST_RINGS; i++) {
        struct vhost_vring_file f = { .index = i, .fd = -1 };
        d->host->ioctl(d->host->fd, VHOST_NET_SET_BACKEND, &f);
    }
    d->paused = true;
}

void vhost_stop(VhostDev *d)
{
    if (!d->host) {
        return;
    }
    vhost_pause(d);
    wire(d, false);
    for (unsigned i = 0; i < VHOST_RINGS; i++) {
        stop_ring(&d->ring[i]);
    }
    free(d->table);
    d->table = NULL;
    d->host = NULL;
}

void vhost_kick(VhostDev *d, const VirtQueue *vq)
{
    VhostRing *r = &d->ring[vq->index & 1];
    if (d->host && (!r->shadow || vhost_shadow_offer(r->shadow, r->vq))) {
        signal_fd(r->kick);
    }
}
