/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives: the registry behind -drive, its options, media and their changes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/drive_impl.h"
#include "util/alloc.h"

static const char *const on_error_names[] = { "report", "ignore", "stop", "enospc", NULL };
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

static bool open_medium(Drive *d, const char *filename, const char *format, Error **errp)
{
    BlockFlags flags = { .readonly = d->readonly || d->snapshot, .direct = d->direct,
                         .auto_readonly = d->auto_readonly && !d->snapshot,
                         .no_flush = d->no_flush, .discard = d->discard, .no_lock = d->no_lock };
    BlockNode *n = block_open_image(filename, format, &flags, errp);
    if (!n) {
        return false;
    }
    if (d->direct && !n->flags.direct) {
        warn_report("drive '%s': '%s' lies where there is no direct I/O, the host's page cache is "
                    "used",
                    d->id, filename);
        d->direct = false;
    }
    d->readonly = d->readonly || (n->readonly && !d->snapshot);
    round_size(d, n);
    warn_of_foreign(d, n);
    check_iso_complete(d, n);
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
    "file", "if", "id", "index", "bus", "unit", "media", "format", "readonly", "read-only",
    "auto-read-only", "snapshot", "cache", "cache.direct", "cache.no-flush", "cache.writeback",
    "aio", "discard", "detect-zeroes", "werror", "rerror", "serial", "driver", "file.driver",
    "file.filename", "file.locking", "boot", NULL,
};

/* Others that users of this kind of program know; a key "throttling.X" is found by its begin. */
static const char *const unbuilt_keys[] = {
    "throttling", "bps", "iops", "group", "copy-on-read", "backing", "node-name", "share-rw",
    "l2-cache-size", "encrypt", "addr", "force-share", NULL,
};

static bool is_unbuilt(const char *key)
{
    for (const char *const *k = unbuilt_keys; *k; k++) {
        size_t len = strlen(*k);
        if (!strncmp(*k, key, len) && (!key[len] || strchr("._", key[len]))) {
            return true;
        }
    }
    return false;
}

static bool check_keys(const Dict *opts, Error **errp)
{
    for (size_t i = 0; i < dict_count(opts); i++) {
        const char *const *k = drive_keys;
        while (*k && strcmp(*k, dict_key(opts, i))) {
            k++;
        }
        if (!*k && is_unbuilt(dict_key(opts, i))) {
            return error_set(errp, "the option '%s' is not built yet", dict_key(opts, i));
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

/* file.locking=off is for who knows better; "auto" is what happens anyway. */
static bool get_locking(const Dict *opts, Drive *d, Error **errp)
{
    static const char *const choices[] = { "auto", "on", "off", NULL };
    const char *text = "auto";
    bool ok = get_choice(opts, "file.locking", choices, &text, errp);
    d->no_lock = !strcmp(text, "off");
    return ok;
}

static bool check_protocol(const Dict *opts, Error **errp)
{
    const char *name = dict_get(opts, "file.driver");
    if (!name || !strcmp(name, "file") || !strcmp(name, "host_device") ||
        !strcmp(name, "host_cdrom")) {
        return true;
    }
    return error_set(errp, "file.driver=%s is not built yet; only files and block devices are", name);
}

/* cache.direct and the others override what cache= stands for. */
static bool get_cache(const Dict *opts, Drive *d, const char *cache, Error **errp)
{
    d->direct = !strcmp(cache, "none") || !strcmp(cache, "directsync");
    d->no_flush = !strcmp(cache, "unsafe");
    d->writeback = strcmp(cache, "writethrough") && strcmp(cache, "directsync");
    return dict_get_bool(opts, "cache.direct", &d->direct, errp) &&
           dict_get_bool(opts, "cache.no-flush", &d->no_flush, errp) &&
           dict_get_bool(opts, "cache.writeback", &d->writeback, errp);
}

static bool drive_configure(Drive *d, const Dict *opts, Error **errp)
{
    static const char *const medias[] = { "disk", "cdrom", NULL };
    static const char *const caches[] = { "none", "writeback", "unsafe", "directsync",
                                          "writethrough", NULL };
    static const char *const aios[] = { "threads", "native", "io_uring", NULL };
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    static const char *const zeroes[] = { "off", "on", "unmap", NULL };
    const char *media = "disk", *cache = "writeback", *aio = "threads", *discard = "unmap";
    const char *detect = "off";
    if (!check_keys(opts, errp) || !get_choice(opts, "media", medias, &media, errp) ||
        !get_choice(opts, "cache", caches, &cache, errp) ||
        !get_choice(opts, "aio", aios, &aio, errp) ||
        !get_choice(opts, "discard", discards, &discard, errp) ||
        !get_choice(opts, "detect-zeroes", zeroes, &detect, errp) ||
        !dict_get_bool(opts, "snapshot", &d->snapshot, errp) ||
        !get_cache(opts, d, cache, errp)) {
        return false;
    }
    d->cdrom = !strcmp(media, "cdrom");
    d->readonly = d->cdrom;
    d->floppy = dict_get(opts, "if") && !strcmp(dict_get(opts, "if"), "floppy");
    if (!dict_get_bool(opts, "readonly", &d->readonly, errp) ||
        !dict_get_bool(opts, "read-only", &d->readonly, errp) ||
        !dict_get_bool(opts, "auto-read-only", &d->auto_readonly, errp) ||
        !dict_get_bool(opts, "boot", &d->boot, errp) ||
        !get_locking(opts, d, errp) || !check_protocol(opts, errp) ||
        !get_on_error(opts, "werror", ON_ERROR_ENOSPC, &d->on_write_error, errp) ||
        !get_on_error(opts, "rerror", ON_ERROR_REPORT, &d->on_read_error, errp)) {
        return false;
    }
    if (d->cdrom && !d->readonly) {
        return error_set(errp, "a CD-ROM can only be readonly=on");
    }
    if (strcmp(aio, "threads")) {
        warn_report("drive '%s': aio=%s is not built yet, worker threads do the same", d->id, aio);
    }
    d->detect_zeroes = !strcmp(detect, "off") ? ZEROES_OFF
                       : !strcmp(detect, "on") ? ZEROES_ON
                                               : ZEROES_UNMAP;
    d->discard = !strcmp(discard, "unmap") || !strcmp(discard, "on");
    d->serial = xstrdup(dict_get(opts, "serial"));
    return true;
}

static void drive_free(Drive *d)
{
    block_unref(d->node);
    free(d->id);
    free(d->serial);
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
    list_init(&d->node_list);
    bool ok = drive_configure(d, opts, errp);
    if (ok && file && *file) {
        ok = open_medium(d, file, format, errp);
    } else if (ok && !d->cdrom && !d->floppy) {
        ok = error_set(errp, "a disk needs file=IMAGE");
    }
    if (!ok) {
        error_prefix(errp, "drive '%s': ", id);
        drive_free(d);
        return NULL;
    }
    list_insert(&block_drives, &d->node_list);
    return d;
}

/* ---- what devices and the monitor ask ---- */

Drive *drive_find(const char *id)
{
    list_for_each(pos, &block_drives) {
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

static void remove_medium(Drive *d)
{
    blk_drain(d);
    block_unref(d->node);
    d->node = NULL;
    if (d->user && d->user->media_changed) {
        d->user->media_changed(d->user_opaque, false);
    }
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

bool drive_change(Drive *d, const char *filename, const char *format, bool readonly, Error **errp)
{
    if (!d->cdrom && !d->floppy) {
        return error_set(errp, "drive '%s' is a disk; only a CD or a floppy can be changed", d->id);
    }
    if (d->cdrom && !readonly) {
        return error_set(errp, "a CD-ROM can only be read-only");
    }
    BlockNode *old = d->node;
    bool was_readonly = d->readonly;
    d->node = NULL;
    d->readonly = readonly;
    if (!open_medium(d, filename, format, errp)) { /* the old one stays in on failure */
        d->node = old;
        d->readonly = was_readonly;
        return error_prefix(errp, "drive '%s': ", d->id);
    }
    BlockNode *fresh = d->node;
    d->node = old;
    if (old && !drive_eject(d, false, errp)) {
        d->readonly = was_readonly;
        block_unref(fresh);
        return false;
    }
    d->node = fresh;
    if (d->user && d->user->media_changed) {
        d->user->media_changed(d->user_opaque, true);
    }
    return true;
}

static void info_line(void (*print)(void *opaque, const char *line), void *opaque,
                      const char *fmt, ...) PRINTF_LIKE(3, 4);
static void info_line(void (*print)(void *opaque, const char *line), void *opaque,
                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *line = xvasprintf(fmt, ap);
    va_end(ap);
    print(opaque, line);
    free(line);
}

static const char *drive_format(const Drive *d)
{
    const BlockNode *n = d->node;
    while (n->driver->kind == BLOCK_FILTER && n->file) {
        n = n->file;
    }
    return n->driver->name;
}

static void drive_info(const Drive *d, bool verbose,
                       void (*print)(void *opaque, const char *line), void *opaque)
{
    if (!d->node) {
        info_line(print, opaque, "%s: [not inserted]", d->id);
    } else {
        info_line(print, opaque, "%s: %s (%s%s%s)", d->id, d->node->filename,
                  drive_format(d),
                  d->readonly ? ", read-only" : "",
                  d->snapshot && !d->readonly ? ", snapshot" : "");
    }
    if (d->user) {
        info_line(print, opaque, "    Attached to:      %s", d->user_path);
    }
    if (d->floppy) {
        info_line(print, opaque, "    Removable device: floppy disk");
    }
    if (d->cdrom) {
        bool locked = d->user && d->user->is_locked && d->user->is_locked(d->user_opaque);
        bool open = d->user && d->user->is_tray_open && d->user->is_tray_open(d->user_opaque);
        info_line(print, opaque, "    Removable device: %slocked, tray %s", locked ? "" : "not ",
                  open ? "open" : "closed");
    }
    if (!d->node) {
        return;
    }
    info_line(print, opaque, "    Cache mode:       %s%s%s", d->writeback ? "writeback" : "writethrough",
              d->direct ? ", direct" : "", d->no_flush ? ", ignore flushes" : "");
    if (d->detect_zeroes != ZEROES_OFF) {
        info_line(print, opaque, "    Detect zeroes:    %s",
                  d->detect_zeroes == ZEROES_ON ? "on" : "unmap");
    }
    if (!list_empty(&d->kept)) {
        info_line(print, opaque, "    I/O status:       failed, waits for cont");
    }
    if (verbose) {
        info_line(print, opaque, "    Image size:       %" PRIu64 " bytes", d->node->size);
        info_line(print, opaque, "    In flight:        %u", d->in_flight);
    }
}

void drives_info(bool verbose, void (*print)(void *opaque, const char *line), void *opaque)
{
    list_for_each(pos, &block_drives) {
        if (pos != block_drives.next) {
            print(opaque, "");
        }
        drive_info(container_of(pos, Drive, node_list), verbose, print, opaque);
    }
}

void drives_stats(void (*print)(void *opaque, const char *line), void *opaque)
{
    list_for_each(pos, &block_drives) {
        const Drive *d = container_of(pos, Drive, node_list);
        info_line(print, opaque,
                  "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
                  " wr_operations=%" PRIu64 " flush_operations=%" PRIu64 " unmap_bytes=%" PRIu64
                  " unmap_operations=%" PRIu64 " failed_rd_operations=%" PRIu64
                  " failed_wr_operations=%" PRIu64 " failed_flush_operations=%" PRIu64,
                  d->id, d->stats[BLK_READ].bytes, d->stats[BLK_WRITE].bytes,
                  d->stats[BLK_READ].requests, d->stats[BLK_WRITE].requests,
                  d->stats[BLK_FLUSH].requests, d->stats[BLK_DISCARD].bytes,
                  d->stats[BLK_DISCARD].requests, d->stats[BLK_READ].failed,
                  d->stats[BLK_WRITE].failed, d->stats[BLK_FLUSH].failed);
    }
}

void drives_close(void)
{
    blk_drain(NULL);
    list_for_each_safe(pos, &block_drives) {
        Drive *d = container_of(pos, Drive, node_list);
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
        list_remove(pos);
        drive_free(d);
    }
}
