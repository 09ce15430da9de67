/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives: the registry behind -drive, its options, media and their changes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/uring.h"
#include "util/alloc.h"

List block_drives = LIST_INIT(block_drives);

/* ---- opening ---- */

/* A raw image may end inside a sector (a boot loader being written, say): the rest of the sector
 * reads as zeroes, and a write to it makes the file longer. */
static void round_size(const Drive *d, BlockNode *n)
{
    if (n->size % BLOCK_SECTOR && !d->cdrom) {
        warn_report("drive '%s': image '%s' has %" PRIu64 " bytes, not a multiple of 512: it is cut "
                    "short, or its last sector is filled up with zeroes",
                    d->id, n->filename, n->size);
        n->size = ROUND_UP(n->size, (uint64_t)BLOCK_SECTOR);
    }
}

static uint32_t get_le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Half a download boots, and fails later in odd ways: the volume descriptor knows its size
 * (ISO 9660 8.4.8). */
static void check_iso_complete(const Drive *d, BlockNode *n)
{
    uint8_t volume[CD_SECTOR] = { 0 };
    if (!d->cdrom || n->size < 17 * CD_SECTOR ||
        block_pread(n, 16 * CD_SECTOR, volume, sizeof(volume)) || memcmp(volume, "\1CD001", 6)) {
        return;
    }
    uint64_t want = (uint64_t)get_le32(volume + 80) * CD_SECTOR;
    if (n->size < want) {
        warn_report("drive '%s': '%s' is cut short: it has %" PRIu64 " of the %" PRIu64 " bytes that "
                    "its own header names; was it downloaded to the end?",
                    d->id, n->filename, n->size, want);
    }
}

/* The user says raw, and means it, or forgot that the image is of another format. */
static void warn_of_foreign(const Drive *d, BlockNode *n)
{
    uint8_t head[512] = { 0 };
    size_t len = MIN(sizeof(head), n->size);
    const char *foreign = block_pread(n, 0, head, len) ? NULL : block_foreign_format(head, len);
    if (foreign && !d->cdrom && !strcmp(n->driver->name, "raw")) {
        warn_report("drive '%s': '%s' looks like %s, but is used as raw as you say", d->id,
                    n->filename, foreign);
    }
}

/* Nobody said raw, and the guest can write what the next start would look at. */
static void warn_of_guess(const Drive *d, const BlockNode *n)
{
    if (n->size && block_is_guessed_raw(n) && !n->readonly) {
        warn_report("drive '%s': nobody said the format of '%s', it is taken for raw, and the guest "
                    "cannot write the header of another format into it; -drive file=%s,format=raw "
                    "says that it may",
                    d->id, n->filename, n->filename);
    }
}

/* A filter of that name on base, which is taken. */
static BlockNode *put_above(BlockNode *base, const char *filter, Error **errp)
{
    Dict *opts = dict_new();
    dict_set(opts, "driver", filter);
    dict_set(opts, "file", base->name);
    BlockNode *n = block_open(opts, &base->flags, errp);
    if (n) {
        n->detect_zeroes = base->detect_zeroes;
    }
    dict_free(opts);
    block_unref(base);
    return n;
}

/* Everything that opens an image for the drive; opts: of its nodes. */
static bool open_medium(Drive *d, const char *filename, const Dict *opts, Error **errp)
{
    BlockFlags flags = d->flags;
    flags.readonly = d->readonly || d->snapshot;
    flags.auto_readonly &= !d->snapshot;
    BlockNode *n = block_open_words(filename, opts, &flags, errp);
    if (!n) {
        return false;
    }
    if (flags.direct && !n->flags.direct && n->file) {
        warn_report("drive '%s': '%s' lies where there is no direct I/O, the host's page cache is "
                    "used",
                    d->id, n->filename);
    }
    d->readonly = d->readonly || (n->readonly && !d->snapshot);
    round_size(d, n);
    warn_of_foreign(d, n);
    warn_of_guess(d, n);
    check_iso_complete(d, n);
    if (d->snapshot && !d->readonly) {
        DetectZeroes detect = n->detect_zeroes;
        n = block_overlay_open(n, errp);
        if (n) {
            n->detect_zeroes = detect;
        }
    }
    if (n && d->copy_on_read && n->readonly) {
        warn_report("drive '%s': copy-on-read=on does nothing, '%s' is read-only", d->id,
                    n->filename);
    } else if (n && d->copy_on_read) {
        n = put_above(n, "copy-on-read", errp);
    }
    d->node = n;
    return n != NULL;
}

/* Can requests take the ring? */
static void find_fast_way(Drive *d)
{
    const char *why = NULL;
    BlockNode *n = d->node;
    d->fast.offset = 0;
    d->fast.align = 0;
    d->fast.guessed = block_is_guessed_raw(n);
    d->fast.fd = n && n->driver->ring_fd
                     ? n->driver->ring_fd(n, &d->fast.offset, &d->fast.align)
                     : -1;
    if (d->fast.fd < 0 || uring_works(&why)) {
        return;
    }
    d->fast.fd = -1;
    if (n->flags.aio == AIO_URING) {
        warn_report("drive '%s': no io_uring (%s): worker threads do the same", d->id, why);
    }
}

static void take_node(Drive *d)
{
    find_fast_way(d);
    if (d->node && !d->node->taken_by) {
        d->node->taken_by = xasprintf("drive '%s'", d->id);
    }
}

static void drop_node(Drive *d)
{
    if (d->node) {
        free(d->node->taken_by);
        d->node->taken_by = NULL;
        block_unref(d->node);
    }
    d->node = NULL;
    d->fast.fd = -1;
}

/* An empty drive has no word about an image. */
static bool names_image(const Drive *d, const char *file)
{
    const char *driver = dict_get(d->node_opts, "driver");
    const BlockDriver *b = driver ? block_driver_find(driver) : NULL;
    Dict *sub = dict_sub(d->node_opts, "file");
    bool any = (file && *file) || dict_count(sub) || dict_has(d->node_opts, "filename") ||
               (b && b->kind != BLOCK_FORMAT);
    dict_free(sub);
    return any;
}

static void drive_free(Drive *d)
{
    drop_node(d);
    throttle_leave(d->throttle);
    dict_free(d->node_opts);
    free(d->id);
    free(d->serial);
    free(d->user_path);
    free(d);
}

static Drive *drive_new(const char *id)
{
    Drive *d = xcalloc(1, sizeof(*d));
    d->id = xstrdup(id);
    d->fast.fd = -1;
    list_init(&d->kept);
    list_init(&d->held);
    list_init(&d->node_list);
    return d;
}

Drive *drive_create(const Dict *opts, Error **errp)
{
    static unsigned next;
    const char *id = dict_get(opts, "id"), *file = dict_get(opts, "file");
    const char *kind = dict_get(opts, "if");
    bool may_be_empty = kind && !strcmp(kind, "none"); /* what its device says to that counts */
    char generated[32];
    if (!id) {
        snprintf(generated, sizeof(generated), "drive%u", next++);
        id = generated;
    }
    if (drive_by_id(id) || block_find(id)) {
        error_set(errp, "there is a drive or node '%s' already", id);
        return NULL;
    }
    Drive *d = drive_new(id);
    bool ok = drive_configure(d, opts, errp);
    if (ok && names_image(d, file)) {
        ok = open_medium(d, file && *file ? file : NULL, d->node_opts, errp);
        take_node(d);
    } else if (ok && !d->cdrom && !d->floppy && !may_be_empty) {
        ok = error_set(errp, "a disk needs file=IMAGE; a CD drive (media=cdrom) may be empty");
    }
    if (!ok) {
        error_prefix(errp, "drive '%s': ", id);
        drive_free(d);
        return NULL;
    }
    list_insert(&block_drives, &d->node_list);
    return d;
}

/* Flushes and forgets it; nothing is in flight. */
static void drive_close(Drive *d)
{
    int error = d->node ? block_flush(d->node) : 0;
    if (error) {
        warn_report("drive '%s': the last flush of '%s' failed: %s", d->id, d->node->filename,
                    strerror(error));
    }
    if (!list_empty(&d->kept)) {
        warn_report("drive '%s': the request that had failed is given up; the guest was never "
                    "told that it was done",
                    d->id);
    }
    list_remove(&d->node_list);
    drive_free(d);
}

/* ---- what devices and the monitor ask ---- */

Drive *drive_by_id(const char *id)
{
    list_for_each(pos, &block_drives) {
        Drive *d = container_of(pos, Drive, node_list);
        if (!strcmp(d->id, id)) {
            return d;
        }
    }
    return NULL;
}

/* A drive that lives as long as a device uses it, on a node of -blockdev. */
static Drive *drive_on_node(BlockNode *n)
{
    Drive *d = drive_new(n->name);
    d->of_node = true;
    d->node_opts = dict_new();
    d->node = block_ref(n);
    d->readonly = n->readonly;
    d->flags = n->flags;
    d->writeback = true;
    d->on_write_error = ON_ERROR_ENOSPC;
    take_node(d);
    list_insert(&block_drives, &d->node_list);
    return d;
}

Drive *drive_find(const char *id)
{
    Drive *d = drive_by_id(id);
    BlockNode *n = d ? NULL : block_find(id);
    return n && !block_user(n) ? drive_on_node(n) : d;
}

Drive *drive_need(const char *id, Error **errp)
{
    Drive *d = drive_find(id);
    BlockNode *n = d ? NULL : block_find(id);
    if (n) {
        error_set(errp, "node '%s' is in use by %s already; a disk needs one of its own", id,
                  block_user(n));
    } else if (!d) {
        error_set(errp, "there is no drive '%s' (-drive id=) and no node of that name (-blockdev "
                        "node-name=)", id);
    }
    return d;
}

const char *drive_id(const Drive *d)
{
    return d->id;
}

void drives_each(void (*fn)(Drive *d, void *opaque), void *opaque)
{
    list_for_each(pos, &block_drives) {
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
    while (!list_empty(&d->kept)) { /* they were the device's own */
        list_remove(d->kept.next);
    }
    d->user = NULL;
    d->user_opaque = NULL;
    if (d->of_node || d->deleted) {
        drive_close(d);
    }
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

void drive_make_cdrom(Drive *d)
{
    d->cdrom = d->readonly = true;
}

void drive_make_floppy(Drive *d)
{
    d->floppy = true;
}

bool drive_wants_boot(const Drive *d)
{
    return d->boot;
}

const char *drive_store(const Drive *d)
{
    return !d->node ? "" : d->node->store ? d->node->store : d->node->filename;
}

uint64_t drive_size(const Drive *d)
{
    return d->node ? ROUND_DOWN(d->node->size, (uint64_t)BLOCK_SECTOR) : 0;
}

const char *drive_serial(const Drive *d)
{
    return d->serial;
}

/* What waits for cont or for its turn was for the medium that is gone, not for the next one. */
static void fail_waiting(Drive *d)
{
    drive_begin_held(d);
    while (!list_empty(&d->kept)) {
        BlkRequest *req = container_of(d->kept.next, BlkRequest, node);
        list_remove(&req->node);
        req->error = ENOMEDIUM;
        req->done(req);
    }
}

static void remove_medium(Drive *d)
{
    blk_quiesce(d);
    drop_node(d);
    fail_waiting(d);
    if (d->user && d->user->media_changed) {
        d->user->media_changed(d->user_opaque, false);
    }
    blk_resume(d);
}

void drive_delete(Drive *d)
{
    if (!d->user) { /* nobody asks it anything new */
        blk_drain(d);
        drive_close(d);
        return;
    }
    blk_quiesce(d);
    int error = d->node ? block_flush(d->node) : 0;
    if (error) {
        warn_report("drive '%s': the last flush of '%s' failed: %s", d->id, d->node->filename,
                    strerror(error));
    }
    remove_medium(d);
    d->deleted = true;
    d->id[0] = 0; /* the id is free again */
    blk_resume(d);
}

bool drive_eject(Drive *d, bool force, Error **errp)
{
    if (!d->cdrom && !d->floppy) {
        return error_set(errp, "drive '%s' is a disk; only a CD or a floppy can be ejected", d->id);
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
    remove_medium(d); /* an empty tray opens, too */
    return true;
}

/* What was said of the drive's nodes but for what names one image. */
static Dict *change_options(const Drive *d, const char *format)
{
    static const char *const names[] = { "driver", "node-name", "filename", NULL };
    Dict *opts = dict_new();
    for (size_t i = 0; i < dict_count(d->node_opts); i++) {
        const char *key = dict_key(d->node_opts, i);
        bool keep = !strcmp(key, "file.locking") || !strcmp(key, "detect-zeroes") ||
                    !strcmp(key, "force-share");
        for (const char *const *n = names; *n; n++) {
            keep = keep && strcmp(*n, key);
        }
        if (keep) {
            dict_set(opts, key, dict_value(d->node_opts, i));
        }
    }
    if (format) {
        dict_set(opts, "driver", format);
    }
    return opts;
}

/* Nothing is in flight: workers look at d->node. */
static bool change_medium(Drive *d, const char *filename, const char *format, bool readonly,
                          Error **errp)
{
    if (d->node && !strcmp(d->node->filename, filename) && !drive_eject(d, false, errp)) {
        return false; /* the same file again: it has to be let go of first */
    }
    BlockNode *old = d->node;
    bool was_readonly = d->readonly;
    d->node = NULL;
    d->readonly = readonly;
    Dict *opts = change_options(d, format);
    bool ok = open_medium(d, filename, opts, errp);
    dict_free(opts);
    BlockNode *fresh = d->node;
    d->node = old;
    if (!ok) { /* the old one stays in on failure */
        d->readonly = was_readonly;
        return error_prefix(errp, "drive '%s': ", d->id);
    }
    if (old && !drive_eject(d, false, errp)) {
        d->readonly = was_readonly;
        block_unref(fresh);
        return false;
    }
    d->node = fresh;
    take_node(d);
    if (d->user && d->user->media_changed) {
        d->user->media_changed(d->user_opaque, true);
    }
    return true;
}

bool drive_change(Drive *d, const char *filename, const char *format, bool readonly, Error **errp)
{
    if (!d->cdrom && !d->floppy) {
        return error_set(errp, "drive '%s' is a disk; only a CD or a floppy can be changed", d->id);
    }
    if (d->cdrom && !readonly) {
        return error_set(errp, "a CD-ROM can only be read-only");
    }
    blk_quiesce(d);
    bool ok = change_medium(d, filename, format, readonly, errp);
    blk_resume(d);
    return ok;
}

/* ---- the end ---- */

void drives_close(void)
{
    blk_drain(NULL);
    list_for_each_safe(pos, &block_drives) {
        drive_close(container_of(pos, Drive, node_list));
    }
    block_nodes_close();
}
