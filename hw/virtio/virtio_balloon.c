/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-balloon (VIRTIO 5.5): memory that the guest gives back. Pages that the driver puts into
 * the balloon, and free ones that it reports, go back to the host; touched again they are zero.
 *
 * Queues: 0 inflate, 1 deflate, 2 statistics, 3 free page reports. A buffer of statistics stays in
 * the ring until the next ones are wanted. Left out: free page hints, page poisoning.
 */
#include "hw/virtio/balloon.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/core/machine.h"
#include "hw/virtio/virtio_pci.h"

enum {
    QUEUE_SIZE = 128,
    CONFIG_LEN = 8,
    MAX_PAGES = 64 << 10,
    CHUNK = 256,
    NR_STATS = VIRTIO_BALLOON_S_NR,
    STATS_QUEUE = 2
};

static const char *const stat_names[NR_STATS] = {
    "mem_swapped_in", "mem_swapped_out", "major_page_faults", "minor_page_faults", "free_mem",
    "total_mem",      "available_mem",   "disk_caches",       "htlb_pgalloc",      "htlb_pgfail",
};

typedef struct VirtioBalloon {
    VirtioDevice vdev;
    bool deflate_on_oom, reporting; /* properties */
    uint32_t polling_s;
    uint32_t wanted; /* state: pages the balloon should have */
    uint32_t actual; /* and what the driver says it has */
    uint64_t stat[NR_STATS];
    uint32_t known; /* which of those, a bit each */
    Timer poll;
} VirtioBalloon;

typedef struct VirtioBalloonPci {
    VirtioPci proxy;
    VirtioBalloon balloon;
} VirtioBalloonPci;

/* ---- pages ---- */

/* Gives nr pages from pfn on back to the host, as far as they are main memory. */
static void discard(Machine *m, uint64_t pfn, uint64_t nr)
{
    uint64_t gpa = pfn << VIRTIO_BALLOON_PFN_SHIFT, end = gpa + nr * PAGE_SIZE;
    while (gpa < end) {
        const FlatRange *fr = flat_view_find(m->memory.view, gpa);
        if (!fr || fr->ram != m->ram || fr->readonly) {
            gpa += PAGE_SIZE;
            continue;
        }
        uint64_t into = gpa - fr->start, len = MIN(end - gpa, fr->size - into);
        ram_discard(fr->ram, fr->ram_offset + into, len);
        gpa += ROUND_UP(len, PAGE_SIZE);
    }
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Neighbours go together: one call of the kernel for many pages. */
static void discard_listed(Machine *m, uint32_t *pfn, size_t nr)
{
    qsort(pfn, nr, sizeof(*pfn), by_number);
    for (size_t i = 0, n; i < nr; i += n) {
        for (n = 1; i + n < nr && pfn[i + n] == pfn[i] + n; n++) {
        }
        discard(m, pfn[i], n);
    }
}

static void inflate_kick(VirtioDevice *v, VirtQueue *vq)
{
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        uint32_t pfn[CHUNK];
        size_t at = 0, len;
        while (at < MAX_PAGES * sizeof(*pfn) && (len = virtq_read(e, at, pfn, sizeof(pfn)))) {
            discard_listed(v->dev->machine, pfn, len / sizeof(*pfn));
            at += len;
        }
        virtq_push(e, 0);
    }
    virtq_notify(vq);
}

/* Nothing to do: a page comes back when it is touched. */
static void deflate_kick(VirtioDevice *v, VirtQueue *vq)
{
    (void)v;
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        virtq_push(e, 0);
    }
    virtq_notify(vq);
}

/* The buffers themselves are the free memory (VIRTIO 5.5.6.7). */
static void report_kick(VirtioDevice *v, VirtQueue *vq)
{
    const RamBlock *ram = v->dev->machine->ram;
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        for (int i = 0; i < e->nr_in; i++) {
            uint64_t at = (uint64_t)((uint8_t *)e->in[i].iov_base - ram->host);
            uint64_t first = ROUND_UP(at, PAGE_SIZE), end = at + e->in[i].iov_len;
            if (at < ram->size && first + PAGE_SIZE <= end) { /* else it is a copy */
                ram_discard(v->dev->machine->ram, first, ROUND_DOWN(end, PAGE_SIZE) - first);
            }
        }
        virtq_push(e, 0);
    }
    virtq_notify(vq);
}

/* ---- statistics ---- */

static void read_stats(VirtioBalloon *s, const VirtqElement *e)
{
    struct virtio_balloon_stat row;
    for (size_t at = 0;
         at < 64 * sizeof(row) && virtq_read(e, at, &row, sizeof(row)) == sizeof(row);
         at += sizeof(row)) {
        if (row.tag < NR_STATS) {
            s->stat[row.tag] = row.val;
            s->known |= 1u << row.tag;
        }
    }
}

static void stats_kick(VirtioDevice *v, VirtQueue *vq)
{
    VirtqElement *e = virtq_pop(vq, sizeof(*e));
    if (e) {
        read_stats(container_of(v, VirtioBalloon, vdev), e);
        virtq_unpop(e);
    }
}

static void arm_poll(VirtioBalloon *s)
{
    if (s->polling_s) {
        timer_arm(&s->poll, guest_clock_ns() + s->polling_s * 1000000000ull);
    }
}

/* The buffer's return asks for new ones. */
static void poll_stats(void *opaque)
{
    VirtioBalloon *s = opaque;
    VirtQueue *vq = &s->vdev.queue[STATS_QUEUE];
    VirtqElement *e = virtq_pop(vq, sizeof(*e));
    if (e) {
        read_stats(s, e);
        virtq_push(e, 0);
        virtq_notify(vq);
    }
    arm_poll(s);
}

/* ---- the monitor's side ---- */

static bool balloon_realize(Device *dev, Error **errp);

static VirtioBalloon *find(Machine *m, Error **errp)
{
    list_for_each(pos, &m->devices) {
        Device *dev = container_of(pos, Device, machine_node);
        if (dev->type->realize == balloon_realize) {
            return &container_of(dev, VirtioBalloonPci, proxy.pci.dev)->balloon;
        }
    }
    error_set(errp, "this machine has no balloon (-device virtio-balloon-pci)");
    return NULL;
}

bool balloon_set(struct Machine *m, uint64_t bytes, Error **errp)
{
    VirtioBalloon *s = find(m, errp);
    if (!s) {
        return false;
    }
    if (!bytes) {
        return error_set(errp, "a guest needs some memory; give its size in MiB");
    }
    s->wanted = (m->ram->size - MIN(bytes, m->ram->size)) / PAGE_SIZE;
    virtio_config_changed(&s->vdev);
    return true;
}

bool balloon_info(struct Machine *m, void (*print)(void *opaque, const char *line), void *opaque,
                  Error **errp)
{
    const VirtioBalloon *s = find(m, errp);
    if (!s) {
        return false;
    }
    char line[512];
    uint64_t given = MIN((uint64_t)s->actual * PAGE_SIZE, m->ram->size);
    int n = snprintf(line, sizeof(line), "balloon: actual=%llu",
                     (unsigned long long)((m->ram->size - given) / MiB));
    for (unsigned i = 0; i < NR_STATS; i++) {
        if (s->known >> i & 1) {
            n += snprintf(line + n, sizeof(line) - (size_t)n, " %s=%llu", stat_names[i],
                          (unsigned long long)s->stat[i]);
        }
    }
    print(opaque, line);
    return true;
}

/* ---- life ---- */

static void balloon_get_config(VirtioDevice *v, uint8_t *config)
{
    const VirtioBalloon *s = container_of(v, VirtioBalloon, vdev);
    pci_put32(config, s->wanted);
    pci_put32(config + 4, s->actual);
}

static void balloon_set_config(VirtioDevice *v, unsigned offset, uint32_t val, unsigned size)
{
    VirtioBalloon *s = container_of(v, VirtioBalloon, vdev);
    if (offset >= 4) {
        unsigned shift = 8 * (offset - 4);
        uint32_t mask = (size == 4 ? UINT32_MAX : (1u << 8 * size) - 1) << shift;
        s->actual = (s->actual & ~mask) | (val << shift & mask);
    }
}

static void balloon_started(VirtioDevice *v)
{
    arm_poll(container_of(v, VirtioBalloon, vdev));
}

static void balloon_reset(VirtioDevice *v)
{
    VirtioBalloon *s = container_of(v, VirtioBalloon, vdev);
    timer_cancel(&s->poll);
    s->known = 0;
    s->actual = 0;
}

static const VirtioOps balloon_ops = {
    .id = VIRTIO_ID_BALLOON,
    .config_len = CONFIG_LEN,
    .get_config = balloon_get_config,
    .set_config = balloon_set_config,
    .started = balloon_started,
    .reset = balloon_reset,
};

static bool balloon_realize(Device *dev, Error **errp)
{
    VirtioBalloonPci *p = container_of(dev, VirtioBalloonPci, proxy.pci.dev);
    VirtioBalloon *s = &p->balloon;
    Error *ignored = NULL;
    if (find(dev->machine, &ignored)) {
        return error_set(errp, "this machine has a balloon already");
    }
    error_free(ignored);
    virtio_init(&s->vdev, dev, &balloon_ops);
    timer_init(&s->poll, poll_stats, s);
    virtio_add_queue(&s->vdev, QUEUE_SIZE, inflate_kick);
    virtio_add_queue(&s->vdev, QUEUE_SIZE, deflate_kick);
    virtio_add_queue(&s->vdev, QUEUE_SIZE, stats_kick);
    if (s->reporting) {
        virtio_add_queue(&s->vdev, QUEUE_SIZE, report_kick);
    }
    s->vdev.host_features |= 1ull << VIRTIO_BALLOON_F_STATS_VQ |
                             (uint64_t)s->deflate_on_oom << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
                             (uint64_t)s->reporting << VIRTIO_BALLOON_F_REPORTING;
    return virtio_pci_realize(&p->proxy, &s->vdev, errp);
}

static const Property balloon_props[] = {
    PROP_BOOL("deflate-on-oom", VirtioBalloonPci, balloon.deflate_on_oom,
              .help = "the guest may take pages back rather than kill programs"),
    PROP_BOOL("free-page-reporting", VirtioBalloonPci, balloon.reporting,
              .help = "the guest's free memory goes back to the host"),
    PROP_U32("guest-stats-polling-interval", VirtioBalloonPci, balloon.polling_s, .max = 1 << 20,
             .help = "seconds between statistics; 0: only those at the start"),
    PROP_END,
};

static const StateField balloon_state[] = {
    STATE_STRUCT(VirtioBalloonPci, balloon.vdev, VirtioDevice, virtio_state),
    STATE_U32(VirtioBalloonPci, balloon.wanted,
              .keep = true), /* the host's wish outlives a reset */
    STATE_U32(VirtioBalloonPci, balloon.actual),
    STATE_U64S(VirtioBalloonPci, balloon.stat),
    STATE_U32(VirtioBalloonPci, balloon.known, .mask = (1u << NR_STATS) - 1),
    STATE_TIMER(VirtioBalloonPci, balloon.poll),
    STATE_END,
};

static const char *const balloon_aliases[] = { "virtio-balloon", NULL };

VIRTIO_PCI_TYPES(virtio_balloon, "virtio-balloon-pci", VirtioBalloonPci, "Virtio memory balloon",
                 0x1002, 0x00ff00, NULL, balloon_aliases, .props = balloon_props,
                 .state = balloon_state, .state_version = 1, .realize = balloon_realize);
