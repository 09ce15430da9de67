/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives: the registry behind -drive, requests on their way to worker threads and back, media
 * changes, and what happens when the host fails a request.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/node.h"
#include "util/alloc.h"
#include "util/main_loop.h"

typedef enum OnError { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_STOP, ON_ERROR_ENOSPC } OnError;
static const char *const on_error_names[] = { "report", "ignore", "stop", "enospc", NULL };

struct Drive {
    char *id, *serial, *cache;
    BlockNode *node; /* NULL: no medium */
    bool cdrom, readonly, snapshot, writeback;
    bool discard;
    OnError on_write_error, on_read_error;
    const DriveUser *user;
    void *user_opaque;
    char *user_path;
    unsigned in_flight;
    List kept;  /* failed requests that wait for drives_retry */
    List node_list;
};

/* A request in the hands of a worker; the device's BlkRequest may be cancelled meanwhile, so the
 * data it points to must outlive that: devices keep buffers until done or blk_drain. */
typedef struct Job {
    Drive *drive;
    BlkRequest *req; /* NULL once cancelled */
    BlkOp op;
    uint64_t offset, len;
    struct iovec *iov;
    int niov;
    bool fua;
    int error;
    List all;
} Job;

static List drives = LIST_INIT(drives);
static List jobs = LIST_INIT(jobs);
void (*drives_stop_hook)(Drive *d, BlkOp op, int error);

/* ---- requests ---- */

static bool is_write(BlkOp op)
{
    return op != BLK_READ;
}

static void job_work(void *opaque)
{
    Job *j = opaque;
    BlockNode *n = j->drive->node;
    switch (j->op) {
    case BLK_READ: j->error = n->driver->readv(n, j->offset, j->iov, j->niov, j->len); break;
    case BLK_WRITE: j->error = n->driver->writev(n, j->offset, j->iov, j->niov, j->len); break;
    case BLK_FLUSH: j->error = n->driver->flush(n); break;
    case BLK_DISCARD:
        j->error = j->drive->discard ? n->driver->discard(n, j->offset, j->len) : 0;
        break;
    case BLK_WRITE_ZEROES: j->error = n->driver->write_zeroes(n, j->offset, j->len); break;
    }
    bool through = j->fua || !j->drive->writeback;
    if (!j->error && through && (j->op == BLK_WRITE || j->op == BLK_WRITE_ZEROES)) {
        j->error = n->driver->flush(n);
    }
}

static bool must_stop(const Drive *d, BlkOp op, int error)
{
    OnError policy = is_write(op) ? d->on_write_error : d->on_read_error;
    return drives_stop_hook && (policy == ON_ERROR_STOP ||
                                (policy == ON_ERROR_ENOSPC && (error == ENOSPC || error == EDQUOT)));
}

static bool ignored(const Drive *d, BlkOp op)
{
    return (is_write(op) ? d->on_write_error : d->on_read_error) == ON_ERROR_IGNORE;
}

static void job_done(void *opaque)
{
    Job *j = opaque;
    Drive *d = j->drive;
    BlkRequest *req = j->req;
    list_remove(&j->all);
    d->in_flight--;
    if (req && j->error && must_stop(d, j->op, j->error)) {
        list_insert(&d->kept, &req->node);
        drives_stop_hook(d, j->op, j->error);
    } else if (req) {
        req->error = j->error && ignored(d, j->op) ? 0 : j->error;
        req->done(req);
    }
    free(j);
}

static void job_start(Job *j)
{
    list_insert(&jobs, &j->all);
    j->drive->in_flight++;
    worker_submit(job_work, job_done, j);
}

/* What never reaches a worker still completes in the main loop. */
static void fail_later(void *opaque)
{
    Job *j = opaque;
    job_done(j);
}

void blk_submit(BlkRequest *req)
{
    Drive *d = req->drive;
    Job *j = xcalloc(1, sizeof(*j));
    uint64_t len = req->op == BLK_READ || req->op == BLK_WRITE ? iov_total(req->iov, req->niov)
                                                                : req->len;
    *j = (Job){ .drive = d, .req = req, .op = req->op, .offset = req->offset, .len = len,
                .iov = req->iov, .niov = req->niov, .fua = req->fua };
    req->cancelled = false;
    list_init(&req->node);
    uint64_t size = drive_size(d);
    if (!d->node) {
        j->error = ENOMEDIUM;
    } else if (req->op == BLK_FLUSH) {
        j->len = 0;
    } else if (len > size || req->offset > size - len ||
               (req->offset | len) % BLOCK_SECTOR) {
        j->error = EIO;
    } else if (is_write(req->op) && d->readonly) {
        j->error = EROFS;
    }
    if (j->error) {
        list_insert(&jobs, &j->all);
        d->in_flight++;
        main_loop_post(fail_later, j);
        return;
    }
    job_start(j);
}

void blk_cancel(BlkRequest *req)
{
    req->cancelled = true;
    list_for_each_safe(pos, &jobs) {
        Job *j = container_of(pos, Job, all);
        if (j->req == req) {
            j->req = NULL;
        }
    }
    if (req->node.next) {
        list_remove(&req->node); /* kept for a retry */
    }
}

void blk_drain(Drive *d)
{
    for (;;) {
        bool busy = false;
        list_for_each(pos, &drives) {
            Drive *each = container_of(pos, Drive, node_list);
            busy |= (!d || each == d) && each->in_flight;
        }
        if (!busy) {
            return;
        }
        worker_drain();
        main_loop_step(0);
    }
}

void drives_retry(void)
{
    list_for_each(pos, &drives) {
        Drive *d = container_of(pos, Drive, node_list);
        List again = LIST_INIT(again);
        while (!list_empty(&d->kept)) {
            List *node = d->kept.next;
            list_remove(node);
            list_insert(&again, node);
        }
        while (!list_empty(&again)) {
            List *node = again.next;
            list_remove(node);
            blk_submit(container_of(node, BlkRequest, node));
        }
    }
}

/* ---- opening ---- */

static bool is_size_ok(Drive *d, const BlockNode *n, Error **errp)
{
    if (n->size % BLOCK_SECTOR && !d->cdrom) {
        return error_set(errp,
                         "image '%s' has %" PRIu64 " bytes, which is not a multiple of 512: it is "
                         "cut short, or not a raw disk image",
                         n->filename, n->size);
    }
    return true;
}

/* Other formats' first bytes, for a clear word instead of an unbootable disk. */
static const char *foreign_format(BlockNode *n)
{
    static const struct {
        const char *magic, *name;
        size_t len;
    } formats[] = {
        { "QFI\xfb", "qcow2", 4 },       { "KDMV", "vmdk", 4 },
        { "# Disk Desc", "vmdk", 11 },   { "conectix", "vpc", 8 },
        { "vhdxfile", "vhdx", 8 },       { "QED\0", "qed", 4 },
        { "<<< Oracle VM V", "vdi", 15 }, { "WithoutFreeSpace", "parallels", 16 },
    };
    char head[512] = { 0 };
    struct iovec v = { head, MIN(sizeof(head), n->size) };
    if (n->driver->readv(n, 0, &v, 1, v.iov_len)) {
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (!memcmp(head, formats[i].magic, formats[i].len)) {
            return formats[i].name;
        }
    }
    return NULL;
}

static bool check_format(const char *format, Error **errp)
{
    static const char *const later[] = { "qcow2", "qcow", "vmdk", "vdi", "vpc", "vhdx", "qed",
                                         "parallels", "luks", "dmg", "cloop", "bochs", NULL };
    if (!format || !strcmp(format, "raw") || !strcmp(format, "host_device") ||
        !strcmp(format, "host_cdrom")) {
        return true;
    }
    for (const char *const *f = later; *f; f++) {
        if (!strcmp(format, *f)) {
            return error_set(errp,
                             "format '%s' is not built yet, only raw is; convert the image with: "
                             "qemu-img convert -O raw IMAGE IMAGE.raw",
                             format);
        }
    }
    static const char *const names[] = { "raw", "qcow2", "vmdk", "vdi", NULL };
    const char *near = suggest(format, names);
    return error_set(errp, "there is no image format '%s'%s%s%s", format,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool open_medium(Drive *d, const char *filename, const char *format, Error **errp)
{
    if (!check_format(format, errp)) {
        return false;
    }
    BlockNode *n = block_file_open(filename, d->readonly || d->snapshot, errp);
    if (!n) {
        return false;
    }
    const char *foreign = foreign_format(n);
    if (foreign && !format) {
        error_set(errp,
                  "image '%s' looks like %s, which is not built yet; convert it with qemu-img "
                  "convert -O raw, or give format=raw if the guest shall see these very bytes",
                  filename, foreign);
    } else if (foreign && d->cdrom == false) {
        warn_report("drive '%s': '%s' looks like %s, but is used as raw as you say", d->id,
                    filename, foreign);
    }
    if (*errp || !is_size_ok(d, n, errp)) {
        block_close(n);
        return false;
    }
    if (d->snapshot && !d->readonly) {
        n = block_overlay_open(n, errp);
    }
    d->node = n;
    return n != NULL;
}

static bool get_on_error(const Dict *opts, const char *key, OnError def, OnError *out,
                         Error **errp)
{
    const char *text = dict_get(opts, key);
    *out = def;
    if (!text) {
        return true;
    }
    for (unsigned i = 0; on_error_names[i]; i++) {
        if (!strcmp(text, on_error_names[i])) {
            *out = (OnError)i;
            return true;
        }
    }
    return error_set(errp, "%s=%s: it is one of report, ignore, stop, enospc", key, text);
}

static bool get_choice(const Dict *opts, const char *key, const char *const *choices,
                       const char **out, Error **errp)
{
    const char *text = dict_get(opts, key);
    if (!text) {
        return true;
    }
    for (const char *const *c = choices; *c; c++) {
        if (!strcmp(text, *c)) {
            *out = text;
            return true;
        }
    }
    const char *near = suggest(text, choices);
    return error_set(errp, "there is no %s=%s%s%s%s", key, text, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

static const char *const drive_keys[] = {
    "file", "if", "id", "index", "bus", "unit", "media", "format", "readonly", "snapshot",
    "cache", "aio", "discard", "detect-zeroes", "werror", "rerror", "serial", "driver",
    "file.driver", "file.filename", "boot", NULL,
};

static bool check_keys(const Dict *opts, Error **errp)
{
    for (size_t i = 0; i < dict_count(opts); i++) {
        const char *const *k = drive_keys;
        while (*k && strcmp(*k, dict_key(opts, i))) {
            k++;
        }
        if (!*k) {
            const char *near = suggest(dict_key(opts, i), drive_keys);
            return error_set(errp, "a drive has no option '%s'%s%s%s", dict_key(opts, i),
                             near ? "; did you mean '" : "", near ? near : "",
                             near ? "'?" : "");
        }
    }
    return true;
}

static bool drive_configure(Drive *d, const Dict *opts, Error **errp)
{
    static const char *const medias[] = { "disk", "cdrom", NULL };
    static const char *const caches[] = { "none", "writeback", "unsafe", "directsync",
                                          "writethrough", NULL };
    static const char *const aios[] = { "threads", "native", "io_uring", NULL };
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    const char *media = "disk", *cache = "writeback", *aio = "threads", *discard = "unmap";
    if (!check_keys(opts, errp) || !get_choice(opts, "media", medias, &media, errp) ||
        !get_choice(opts, "cache", caches, &cache, errp) ||
        !get_choice(opts, "aio", aios, &aio, errp) ||
        !get_choice(opts, "discard", discards, &discard, errp) ||
        !dict_get_bool(opts, "snapshot", &d->snapshot, errp)) {
        return false;
    }
    d->cdrom = !strcmp(media, "cdrom");
    d->readonly = d->cdrom;
    if (!dict_get_bool(opts, "readonly", &d->readonly, errp) ||
        !get_on_error(opts, "werror", ON_ERROR_ENOSPC, &d->on_write_error, errp) ||
        !get_on_error(opts, "rerror", ON_ERROR_REPORT, &d->on_read_error, errp)) {
        return false;
    }
    if (d->cdrom && !d->readonly) {
        return error_set(errp, "a CD-ROM can only be readonly=on");
    }
    if (!strcmp(cache, "none") || !strcmp(cache, "directsync")) {
        warn_report("drive '%s': cache=%s: direct I/O is not built yet, the host's page cache is "
                    "used",
                    d->id, cache);
    }
    d->writeback = strcmp(cache, "writethrough") && strcmp(cache, "directsync");
    d->cache = xstrdup(cache);
    d->discard = !strcmp(discard, "unmap") || !strcmp(discard, "on");
    d->serial = xstrdup(dict_get(opts, "serial"));
    return true;
}

static void drive_free(Drive *d)
{
    block_close(d->node);
    free(d->id);
    free(d->serial);
    free(d->cache);
    free(d->user_path);
    free(d);
}

Drive *drive_create(const Dict *opts, Error **errp)
{
    static unsigned next;
    const char *id = dict_get(opts, "id"), *file = dict_get(opts, "file");
    const char *format = dict_get(opts, "format");
    char generated[32];
    if (!id) {
        snprintf(generated, sizeof(generated), "drive%u", next++);
        id = generated;
    }
    if (!file) {
        file = dict_get(opts, "file.filename");
    }
    if (!format) {
        format = dict_get(opts, "driver");
    }
    if (drive_find(id)) {
        error_set(errp, "there is a drive '%s' already", id);
        return NULL;
    }
    Drive *d = xcalloc(1, sizeof(*d));
    d->id = xstrdup(id);
    list_init(&d->kept);
    bool ok = drive_configure(d, opts, errp);
    if (ok && file && *file) {
        ok = open_medium(d, file, format, errp);
    } else if (ok && !d->cdrom) {
        ok = error_set(errp, "a disk needs file=IMAGE");
    }
    if (!ok) {
        error_prefix(errp, "drive '%s': ", id);
        drive_free(d);
        return NULL;
    }
    list_insert(&drives, &d->node_list);
    return d;
}

/* ---- what devices and the monitor ask ---- */

Drive *drive_find(const char *id)
{
    list_for_each(pos, &drives) {
        Drive *d = container_of(pos, Drive, node_list);
        if (!strcmp(d->id, id)) {
            return d;
        }
    }
    return NULL;
}

const char *drive_id(const Drive *d)
{
    return d->id;
}

void drives_each(void (*fn)(Drive *d, void *opaque), void *opaque)
{
    list_for_each(pos, &drives) {
        fn(container_of(pos, Drive, node_list), opaque);
    }
}

bool drive_attach(Drive *d, const DriveUser *user, void *opaque, const char *owner_path,
                  Error **errp)
{
    if (d->user) {
        return error_set(errp, "drive '%s' belongs to %s already", d->id, d->user_path);
    }
    d->user = user;
    d->user_opaque = opaque;
    free(d->user_path);
    d->user_path = xstrdup(owner_path);
    return true;
}

void drive_detach(Drive *d)
{
    blk_drain(d);
    d->user = NULL;
    d->user_opaque = NULL;
}

bool drive_is_cdrom(const Drive *d)
{
    return d->cdrom;
}

bool drive_has_media(const Drive *d)
{
    return d->node != NULL;
}

bool drive_is_readonly(const Drive *d)
{
    return d->readonly;
}

uint64_t drive_size(const Drive *d)
{
    return d->node ? ROUND_DOWN(d->node->size, (uint64_t)BLOCK_SECTOR) : 0;
}

const char *drive_serial(const Drive *d)
{
    return d->serial;
}

static void remove_medium(Drive *d)
{
    blk_drain(d);
    block_close(d->node);
    d->node = NULL;
    if (d->user && d->user->media_changed) {
        d->user->media_changed(d->user_opaque, false);
    }
}

bool drive_eject(Drive *d, bool force, Error **errp)
{
    if (!d->cdrom) {
        return error_set(errp, "drive '%s' is a disk; only a CD can be ejected", d->id);
    }
    bool locked = d->user && d->user->is_locked && d->user->is_locked(d->user_opaque);
    if (locked && !force) {
        if (d->user->eject_requested) {
            d->user->eject_requested(d->user_opaque, false);
        }
        return error_set(errp,
                         "drive '%s' is locked by the guest, which was asked to let it go; use "
                         "eject -f to take it away",
                         d->id);
    }
    if (d->node) {
        remove_medium(d);
    }
    return true;
}

bool drive_change(Drive *d, const char *filename, const char *format, bool readonly, Error **errp)
{
    if (!d->cdrom) {
        return error_set(errp, "drive '%s' is a disk; only a CD can be changed", d->id);
    }
    if (!readonly) {
        return error_set(errp, "a CD-ROM can only be read-only");
    }
    BlockNode *old = d->node;
    d->node = NULL;
    if (!open_medium(d, filename, format, errp)) { /* the old one stays in on failure */
        d->node = old;
        return error_prefix(errp, "drive '%s': ", d->id);
    }
    BlockNode *fresh = d->node;
    d->node = old;
    if (old && !drive_eject(d, false, errp)) {
        block_close(fresh);
        return false;
    }
    d->node = fresh;
    if (d->user && d->user->media_changed) {
        d->user->media_changed(d->user_opaque, true);
    }
    return true;
}

void drives_info(bool verbose, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[5000];
    list_for_each(pos, &drives) {
        Drive *d = container_of(pos, Drive, node_list);
        if (!d->node) {
            snprintf(line, sizeof(line), "%s: [not inserted]", d->id);
        } else {
            snprintf(line, sizeof(line), "%s: %s (raw%s%s)", d->id, d->node->filename,
                     d->readonly ? ", read-only" : "", d->snapshot ? ", snapshot" : "");
        }
        print(opaque, line);
        if (d->user) {
            snprintf(line, sizeof(line), "    Attached to:      %s", d->user_path);
            print(opaque, line);
        }
        if (d->cdrom) {
            bool locked = d->user && d->user->is_locked && d->user->is_locked(d->user_opaque);
            bool open = d->user && d->user->is_tray_open && d->user->is_tray_open(d->user_opaque);
            snprintf(line, sizeof(line), "    Removable device: %s, tray %s",
                     locked ? "locked" : "not locked", open ? "open" : "closed");
            print(opaque, line);
        }
        snprintf(line, sizeof(line), "    Cache mode:       %s", d->cache);
        print(opaque, line);
        if (verbose && d->node) {
            snprintf(line, sizeof(line), "    virtual size: %" PRIu64 " bytes, in flight: %u",
                     d->node->size, d->in_flight);
            print(opaque, line);
        }
    }
}

void drives_close(void)
{
    blk_drain(NULL);
    list_for_each_safe(pos, &drives) {
        Drive *d = container_of(pos, Drive, node_list);
        if (d->node && !d->readonly && d->node->driver->flush(d->node)) {
            warn_report("drive '%s': the last flush failed: %s", d->id, strerror(errno));
        }
        list_remove(pos);
        drive_free(d);
    }
}
