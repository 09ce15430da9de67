/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-blk (VIRTIO 5.2): a disk. Requests of all queues are under way at once; completions come
 * in any order, and one interrupt tells of all that came in one round of the main loop.
 *
 * An element is a header (type, sector) to read, data, and a status byte to write, in whatever
 * pieces the driver likes. Left out: SCSI commands (gone since 1.0), secure erase, zones, lifetime.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "block/block.h"
#include "hw/core/machine.h"
#include "hw/virtio/virtio_pci.h"
#include "util/alloc.h"

enum {
    CONFIG_LEN = 60, /* up to what WRITE_ZEROES needs */
    MAX_RANGES = 64, /* of one discard or write-zeroes */
    MAX_RANGE_SECTORS = 1 << 22,
    ID_LEN = VIRTIO_BLK_ID_BYTES,
    AUTO_QUEUES = 0,
};

typedef struct VirtioBlk {
    VirtioDevice vdev;
    /* properties */
    char *drive_id, *serial, *werror, *rerror;
    int32_t bootindex;
    uint32_t nr_queues, queue_size, logical_size, physical_size, min_io_size, opt_io_size;
    bool config_wce, discard, write_zeroes;
    /* state */
    bool writeback; /* what the driver chose: no flush of each write */
    VirtqHeld *held; /* requests that failed and wait for 'cont', or were under way */
    uint32_t nr_held;
    /* wiring */
    bool held_is_copy; /* made for a save: the requests themselves are here */
    Drive *drive;
    List requests;     /* under way: BlkElement.elem.node */
    uint64_t answered; /* queues with something the driver has not been told of, a bit each */
    BottomHalf tell;
} VirtioBlk;

typedef struct VirtioBlkPci {
    VirtioPci proxy;
    VirtioBlk blk;
} VirtioBlkPci;

typedef struct BlkElement {
    VirtqElement elem; /* first */
    BlkRequest req;
    VirtioBlk *blk;
    uint8_t *status; /* where the driver wants it */
    struct virtio_blk_discard_write_zeroes *range;
    unsigned nr_ranges, next_range;
} BlkElement;

/* ---- answers ---- */

static void tell(void *opaque)
{
    VirtioBlk *s = opaque;
    uint64_t queues = s->answered;
    s->answered = 0;
    for (unsigned n = 0; queues; n++, queues >>= 1) {
        if (queues & 1) {
            virtq_notify(&s->vdev.queue[n]);
        }
    }
}

static void answer(BlkElement *e, uint8_t status)
{
    VirtioBlk *s = e->blk;
    const VirtQueue *vq = e->elem.vq;
    *e->status = status;
    free(e->range);
    s->answered |= 1ull << vq->index;
    bh_schedule(&s->tell);
    virtq_push(&e->elem, e->elem.in_len); /* the status byte is the last */
}

static void submit(BlkElement *e);

static void request_done(BlkRequest *req)
{
    BlkElement *e = container_of(req, BlkElement, req);
    if (!req->error && e->next_range < e->nr_ranges && e->elem.vq->enabled) {
        submit(e);
        return;
    }
    answer(e, req->error ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* ---- requests ---- */

static bool is_inside(const VirtioBlk *s, uint64_t sector, uint64_t nr)
{
    uint64_t all = drive_size(s->drive) / BLOCK_SECTOR, unit = s->logical_size / BLOCK_SECTOR;
    return nr <= all && sector <= all - nr && (sector | nr) % unit == 0;
}

static void submit(BlkElement *e)
{
    if (e->range) {
        e->req.offset = e->range[e->next_range].sector * BLOCK_SECTOR;
        e->req.len = (uint64_t)e->range[e->next_range++].num_sectors * BLOCK_SECTOR;
    }
    blk_submit(&e->req);
}

static void start(BlkElement *e, BlkOp op)
{
    VirtioBlk *s = e->blk;
    e->req.drive = s->drive;
    e->req.op = op;
    e->req.fua = !s->writeback || !virtio_has(&s->vdev, VIRTIO_BLK_F_FLUSH);
    e->req.done = request_done;
    list_insert(&s->requests, &e->elem.node);
    submit(e);
}

static void transfer(BlkElement *e, uint64_t sector, struct iovec *iov, int niov, size_t len,
                     BlkOp op)
{
    const VirtioBlk *s = e->blk;
    if (len % BLOCK_SECTOR || !is_inside(s, sector, len / BLOCK_SECTOR) ||
        (op == BLK_WRITE && drive_is_readonly(s->drive))) {
        answer(e, VIRTIO_BLK_S_IOERR);
        return;
    }
    if (!len) {
        answer(e, VIRTIO_BLK_S_OK);
        return;
    }
    e->req.offset = sector * BLOCK_SECTOR;
    e->req.iov = iov;
    e->req.niov = niov;
    start(e, op);
}

/* Ranges are checked before the first is carried out (VIRTIO 5.2.6.2). */
static uint8_t check_ranges(const VirtioBlk *s, const BlkElement *e, bool zeroes)
{
    for (unsigned i = 0; i < e->nr_ranges; i++) {
        uint32_t flags = e->range[i].flags;
        if (flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (!zeroes && flags)) {
            return VIRTIO_BLK_S_UNSUPP;
        }
        if (!e->range[i].num_sectors || e->range[i].num_sectors > MAX_RANGE_SECTORS ||
            !is_inside(s, e->range[i].sector, e->range[i].num_sectors)) {
            return VIRTIO_BLK_S_IOERR;
        }
    }
    return drive_is_readonly(s->drive) ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

static void ranges(BlkElement *e, size_t len, bool zeroes)
{
    const VirtioBlk *s = e->blk;
    size_t nr = len / sizeof(*e->range);
    if (!(zeroes ? s->write_zeroes : s->discard)) {
        answer(e, VIRTIO_BLK_S_UNSUPP);
        return;
    }
    if (len % sizeof(*e->range) || nr < 1 || nr > MAX_RANGES) {
        answer(e, VIRTIO_BLK_S_IOERR);
        return;
    }
    e->range = xmalloc(len);
    e->nr_ranges = nr;
    virtq_read(&e->elem, 0, e->range, len);
    uint8_t status = check_ranges(s, e, zeroes);
    if (status != VIRTIO_BLK_S_OK) {
        answer(e, status);
        return;
    }
    start(e, zeroes ? BLK_WRITE_ZEROES : BLK_DISCARD);
}

static void get_id(BlkElement *e)
{
    const char *serial = e->blk->serial ? e->blk->serial : "";
    char id[ID_LEN] = { 0 };
    memcpy(id, serial, MIN(strlen(serial), (size_t)ID_LEN));
    virtq_write(&e->elem, 0, id, sizeof(id));
    answer(e, VIRTIO_BLK_S_OK);
}

static bool take_header(BlkElement *e, struct virtio_blk_outhdr *header)
{
    VirtqElement *el = &e->elem;
    if (virtq_read(el, 0, header, sizeof(*header)) != sizeof(*header) || !el->in_len) {
        return false;
    }
    const struct iovec *last = &el->in[el->nr_in - 1];
    e->status = (uint8_t *)last->iov_base + last->iov_len - 1;
    return virtq_drop_front(&el->out, &el->nr_out, sizeof(*header)) &&
           virtq_drop_back(el->in, &el->nr_in, 1);
}

static void handle(VirtioBlk *s, BlkElement *e)
{
    struct virtio_blk_outhdr header;
    VirtqElement *el = &e->elem;
    e->blk = s;
    if (!take_header(e, &header)) {
        virtio_error(&s->vdev, "a request without header or status");
        virtq_drop(el);
        return;
    }
    size_t out_len = el->out_len - sizeof(header), in_len = el->in_len - 1;
    switch (header.type) {
    case VIRTIO_BLK_T_IN: transfer(e, header.sector, el->in, el->nr_in, in_len, BLK_READ); break;
    case VIRTIO_BLK_T_OUT:
        transfer(e, header.sector, el->out, el->nr_out, out_len, BLK_WRITE);
        break;
    case VIRTIO_BLK_T_FLUSH: start(e, BLK_FLUSH); break;
    case VIRTIO_BLK_T_GET_ID: get_id(e); break;
    case VIRTIO_BLK_T_DISCARD: ranges(e, out_len, false); break;
    case VIRTIO_BLK_T_WRITE_ZEROES: ranges(e, out_len, true); break;
    default: answer(e, VIRTIO_BLK_S_UNSUPP); break;
    }
}

/* Makes requests of a loaded state once more: to do twice what was done does no harm. */
static void resume_held(VirtioBlk *s)
{
    if (!s->nr_held || s->held_is_copy) {
        return;
    }
    VirtqHeld *rows = s->held;
    unsigned nr = s->nr_held, n;
    s->held = NULL;
    s->nr_held = 0;
    for (unsigned at = 0; at < nr; at += n) {
        BlkElement *e = virtq_restore(&s->vdev, rows + at, nr - at, &n, sizeof(*e));
        if (e) {
            handle(s, e);
        }
    }
    free(rows);
}

static void blk_kick(VirtioDevice *v, VirtQueue *vq)
{
    VirtioBlk *s = container_of(v, VirtioBlk, vdev);
    blk_plug();
    resume_held(s);
    for (BlkElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        handle(s, e);
    }
    blk_unplug();
}

/* ---- state ---- */

static void forget_held(VirtioBlk *s)
{
    free(s->held);
    s->held = NULL;
    s->nr_held = 0;
}

static void blk_before_save(Device *dev)
{
    VirtioBlk *s = &container_of(dev, VirtioBlkPci, proxy.pci.dev)->blk;
    if (s->nr_held && !s->held_is_copy) {
        return; /* loaded, and the machine has not run since */
    }
    forget_held(s);
    s->held_is_copy = true;
    uint32_t nr = 0;
    list_for_each(pos, &s->requests) {
        nr += virtq_hold(container_of(pos, VirtqElement, node), NULL);
    }
    s->held = nr ? xmalloc(nr * sizeof(*s->held)) : NULL;
    list_for_each(pos, &s->requests) {
        s->nr_held += virtq_hold(container_of(pos, VirtqElement, node), s->held + s->nr_held);
    }
}

static void blk_refresh(Device *dev)
{
    VirtioBlk *s = &container_of(dev, VirtioBlkPci, proxy.pci.dev)->blk;
    s->held_is_copy = false;
    for (unsigned n = 0; n < s->vdev.nr_queues; n++) {
        if (s->vdev.queue[n].unsignalled) { /* the save came before the interrupt */
            s->answered |= 1ull << n;
            bh_schedule(&s->tell);
        }
    }
}

/* ---- resets ---- */

/* What a worker has is waited for; what failed and waits for 'cont' is forgotten. */
static void end_requests(VirtioBlk *s, const VirtQueue *vq)
{
    if (!list_empty(&s->requests)) {
        blk_drain(s->drive);
    }
    list_for_each_safe(pos, &s->requests) {
        BlkElement *e = container_of(pos, BlkElement, elem.node);
        if (!vq || e->elem.vq == vq) {
            blk_cancel(&e->req);
            free(e->range);
            virtq_drop(&e->elem);
        }
    }
}

static void blk_reset(VirtioDevice *v)
{
    VirtioBlk *s = container_of(v, VirtioBlk, vdev);
    end_requests(s, NULL);
    forget_held(s);
    bh_cancel(&s->tell);
    s->answered = 0;
    s->writeback = true;
}

static void blk_queue_reset(VirtioDevice *v, VirtQueue *vq)
{
    VirtioBlk *s = container_of(v, VirtioBlk, vdev);
    end_requests(s, vq);
    uint32_t nr = 0;
    for (uint32_t i = 0; i < s->nr_held; i++) {
        if (s->held[i].queue != vq->index) {
            s->held[nr++] = s->held[i];
        }
    }
    s->nr_held = nr;
}

/* ---- configuration space ---- */

static unsigned log2_of(uint32_t n)
{
    return 31 - __builtin_clz(n);
}

static void blk_get_config(VirtioDevice *v, uint8_t *config)
{
    const VirtioBlk *s = container_of(v, VirtioBlk, vdev);
    uint64_t nr_sectors = drive_size(s->drive) / BLOCK_SECTOR,
             unit = s->logical_size / BLOCK_SECTOR;
    struct virtio_blk_config c = {
        .capacity = nr_sectors,
        .seg_max = s->queue_size - 2, /* header and status are in descriptors, too */
        .geometry = { .cylinders = MIN(nr_sectors / (16 * 63), 65535), .heads = 16, .sectors = 63 },
        .blk_size = s->logical_size,
        .physical_block_exp = log2_of(s->physical_size / s->logical_size),
        .min_io_size = s->min_io_size / s->logical_size,
        .opt_io_size = s->opt_io_size / s->logical_size,
        .wce = s->writeback,
        .num_queues = s->nr_queues,
        .max_discard_sectors = MAX_RANGE_SECTORS,
        .max_discard_seg = MAX_RANGES,
        .discard_sector_alignment = unit,
        .max_write_zeroes_sectors = MAX_RANGE_SECTORS,
        .max_write_zeroes_seg = MAX_RANGES,
        .write_zeroes_may_unmap = 1,
    };
    memcpy(config, &c, CONFIG_LEN);
}

static void blk_set_config(VirtioDevice *v, unsigned offset, uint32_t val, unsigned size)
{
    VirtioBlk *s = container_of(v, VirtioBlk, vdev);
    if (offset == offsetof(struct virtio_blk_config, wce) && size == 1 &&
        virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE)) {
        s->writeback = val & 1;
    }
}

static void resized(void *opaque)
{
    VirtioBlk *s = opaque;
    virtio_config_changed(&s->vdev);
}

/* ---- life ---- */

static const VirtioOps blk_ops = {
    .id = VIRTIO_ID_BLOCK,
    .config_len = CONFIG_LEN,
    .get_config = blk_get_config,
    .set_config = blk_set_config,
    .reset = blk_reset,
    .queue_reset = blk_queue_reset,
};

static bool is_block_size(uint32_t size)
{
    return size >= BLOCK_SECTOR && size <= 2 << 20 && (size & (size - 1)) == 0;
}

static bool check_properties(VirtioBlk *s, Error **errp)
{
    s->physical_size = s->physical_size ? s->physical_size : s->logical_size;
    if (!is_block_size(s->logical_size) || !is_block_size(s->physical_size)) {
        return error_set(errp, "a block size is a power of two from 512 to 2097152 bytes");
    }
    if (s->physical_size < s->logical_size) {
        return error_set(errp, "physical_block_size is smaller than logical_block_size");
    }
    if (s->min_io_size % s->logical_size || s->opt_io_size % s->logical_size) {
        return error_set(errp, "min_io_size and opt_io_size are multiples of logical_block_size");
    }
    if (s->queue_size < 4 || s->queue_size > VIRTQ_MAX_SIZE ||
        (s->queue_size & (s->queue_size - 1))) {
        return error_set(errp, "queue-size=%u: want a power of two from 4 to %u", s->queue_size,
                         VIRTQ_MAX_SIZE);
    }
    if (s->nr_queues == AUTO_QUEUES) {
        s->nr_queues = MIN(MAX(s->vdev.dev->machine->nr_cpus, 1u), VIRTIO_MAX_QUEUES);
    }
    if (s->nr_queues > VIRTIO_MAX_QUEUES) {
        return error_set(errp, "num-queues=%u: at most %u", s->nr_queues, VIRTIO_MAX_QUEUES);
    }
    return true;
}

static bool find_drive(VirtioBlk *s, Error **errp)
{
    const Device *dev = s->vdev.dev;
    if (!s->drive_id) {
        return error_set(errp, "%s needs drive=ID of a -drive if=none,id=ID", dev->type->name);
    }
    s->drive = drive_need(s->drive_id, errp);
    if (!s->drive) {
        return false;
    }
    if (!drive_has_media(s->drive)) {
        return error_set(errp, "drive '%s' has no image; a disk needs one: -drive if=none,id=%s,file=IMAGE",
                         s->drive_id, s->drive_id);
    }
    if (!s->serial) {
        s->serial = xstrdup(drive_serial(s->drive));
    }
    if (s->serial && strlen(s->serial) > ID_LEN) {
        return error_set(errp, "serial=%s: at most %d characters fit", s->serial, ID_LEN);
    }
    return true;
}

static bool attach_drive(VirtioBlk *s, Error **errp)
{
    static const DriveUser user = { .resized = resized };
    char *path = object_path(&s->vdev.dev->obj);
    bool ok = drive_set_policies(s->drive, s->werror, s->rerror, errp) &&
              drive_attach(s->drive, &user, s, path, errp);
    free(path);
    if (ok && drive_wants_boot(s->drive) && s->bootindex < 0) {
        s->bootindex = 0;
    }
    return ok;
}

static void offer(VirtioBlk *s)
{
    const struct {
        bool on;
        unsigned bit;
    } row[] = {
        { true, VIRTIO_BLK_F_SEG_MAX },
        { true, VIRTIO_BLK_F_GEOMETRY },
        { true, VIRTIO_BLK_F_BLK_SIZE },
        { true, VIRTIO_BLK_F_TOPOLOGY },
        { true, VIRTIO_BLK_F_FLUSH },
        { s->config_wce, VIRTIO_BLK_F_CONFIG_WCE },
        { s->nr_queues > 1, VIRTIO_BLK_F_MQ },
        { s->discard, VIRTIO_BLK_F_DISCARD },
        { s->write_zeroes, VIRTIO_BLK_F_WRITE_ZEROES },
        { drive_is_readonly(s->drive), VIRTIO_BLK_F_RO },
    };
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        s->vdev.host_features |= (uint64_t)row[i].on << row[i].bit;
    }
}

static bool blk_realize(Device *dev, Error **errp)
{
    VirtioBlkPci *p = container_of(dev, VirtioBlkPci, proxy.pci.dev);
    VirtioBlk *s = &p->blk;
    virtio_init(&s->vdev, dev, &blk_ops);
    list_init(&s->requests);
    bh_init(&s->tell, tell, s);
    if (!find_drive(s, errp) || !check_properties(s, errp) || !attach_drive(s, errp)) {
        return false;
    }
    for (unsigned n = 0; n < s->nr_queues; n++) {
        virtio_add_queue(&s->vdev, s->queue_size, blk_kick);
    }
    offer(s);
    if (!virtio_pci_realize(&p->proxy, &s->vdev, errp)) {
        drive_detach(s->drive);
        return false;
    }
    return true;
}

static void blk_unrealize(Device *dev)
{
    VirtioBlk *s = &container_of(dev, VirtioBlkPci, proxy.pci.dev)->blk;
    virtio_fini(&s->vdev);
    drive_detach(s->drive);
}

static const Property blk_props[] = {
    PROP_DRIVE("drive", VirtioBlkPci, blk.drive_id, .help = "the drive's id"),
    PROP_I32("bootindex", VirtioBlkPci, blk.bootindex, .def = (uint64_t)-1, .help = "boot order"),
    PROP_STR("werror", VirtioBlkPci, blk.werror, .help = "as -drive's"),
    PROP_STR("rerror", VirtioBlkPci, blk.rerror, .help = "as -drive's"),
    PROP_STR("serial", VirtioBlkPci, blk.serial, .help = "serial number, up to 20 characters"),
    PROP_U32("num-queues", VirtioBlkPci, blk.nr_queues, .def = AUTO_QUEUES, .help = "0: one a CPU"),
    PROP_U32("queue-size", VirtioBlkPci, blk.queue_size, .def = 256,
             .help = "descriptors in each, a power of two"),
    PROP_U32("logical_block_size", VirtioBlkPci, blk.logical_size, .def = BLOCK_SECTOR),
    PROP_U32("physical_block_size", VirtioBlkPci, blk.physical_size, .help = "0: as the logical"),
    PROP_U32("min_io_size", VirtioBlkPci, blk.min_io_size, .max = 65535,
             .help = "a hint, in bytes"),
    PROP_U32("opt_io_size", VirtioBlkPci, blk.opt_io_size, .help = "a hint, in bytes"),
    PROP_BOOL("config-wce", VirtioBlkPci, blk.config_wce, .def = true,
              .help = "the guest may choose to have each write flushed"),
    PROP_BOOL("discard", VirtioBlkPci, blk.discard, .def = true, .help = "the guest can discard"),
    PROP_BOOL("write-zeroes", VirtioBlkPci, blk.write_zeroes, .def = true,
              .help = "the guest can write zeroes without sending them"),
    PROP_END,
};

static const StateField blk_state[] = {
    STATE_STRUCT(VirtioBlkPci, blk.vdev, VirtioDevice, virtio_state),
    STATE_BOOL(VirtioBlkPci, blk.writeback, .reset = true),
    STATE_LIST(VirtioBlkPci, blk.held, blk.nr_held, VirtqHeld, virtq_held_state,
               .max = VIRTIO_MAX_QUEUES * VIRTQ_MAX_SIZE),
    STATE_END,
};

static const char *const blk_aliases[] = { "virtio-blk", NULL };

VIRTIO_PCI_TYPES(virtio_blk, "virtio-blk-pci", VirtioBlkPci, "Virtio disk", 0x1001, 0x010000, NULL,
                 blk_aliases, .props = blk_props, .state = blk_state, .state_version = 1,
                 .realize = blk_realize, .unrealize = blk_unrealize, .refresh = blk_refresh,
                 .before_save = blk_before_save);
