/* SPDX-License-Identifier: GPL-2.0-or-later
 * snapshot=on: a filter that keeps what the guest writes in an unnamed temporary file and leaves
 * the image as it was. A bitmap in memory says which 64 KiB clusters the temporary file holds; a
 * cluster is copied up before its first partial write.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/node.h"
#include "util/alloc.h"

enum { CLUSTER = 64 * 1024 };

typedef struct Overlay {
    BlockNode node; /* file: the image */
    int fd;
    pthread_rwlock_t lock; /* writers: what changes the bitmap; readers: everything else */
    uint8_t *present;      /* one bit a cluster */
} Overlay;

static bool is_present(const Overlay *o, uint64_t cluster)
{
    return o->present[cluster / 8] >> (cluster % 8) & 1;
}

static int own_transfer(const Overlay *o, uint64_t offset, void *buf, size_t len, bool write)
{
    for (size_t done = 0; done < len;) {
        ssize_t r = write ? pwrite(o->fd, (char *)buf + done, len - done, (off_t)(offset + done))
                          : pread(o->fd, (char *)buf + done, len - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return errno;
        }
        if (r == 0) {
            if (write) {
                return ENOSPC;
            }
            memset((char *)buf + done, 0, len - done);
            return 0;
        }
        done += (size_t)r;
    }
    return 0;
}

/* The lock is held for writing. */
static int copy_up(Overlay *o, uint64_t cluster)
{
    if (is_present(o, cluster)) {
        return 0;
    }
    uint64_t at = cluster * CLUSTER;
    uint64_t len = MIN((uint64_t)CLUSTER, o->node.size - at);
    char *buf = xmalloc(CLUSTER);
    struct iovec v = { buf, len };
    int r = block_readv(o->node.file, at, &v, 1, len);
    if (!r) {
        r = own_transfer(o, at, buf, len, true);
    }
    if (!r) {
        o->present[cluster / 8] |= (uint8_t)(1 << cluster % 8);
    }
    free(buf);
    return r;
}

static int overlay_io(Overlay *o, uint64_t offset, const struct iovec *iov, int niov, bool write)
{
    int r = 0;
    for (int i = 0; i < niov && !r; i++) {
        char *buf = iov[i].iov_base;
        for (uint64_t left = iov[i].iov_len; left && !r;) {
            uint64_t cluster = offset / CLUSTER;
            uint64_t n = MIN(left, CLUSTER - offset % CLUSTER);
            if (write || is_present(o, cluster)) {
                r = own_transfer(o, offset, buf, n, write);
            } else {
                struct iovec v = { buf, n };
                r = block_readv(o->node.file, offset, &v, 1, n);
            }
            buf += n;
            offset += n;
            left -= n;
        }
    }
    return r;
}

static int overlay_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                         uint64_t len)
{
    (void)len;
    Overlay *o = container_of(n, Overlay, node);
    pthread_rwlock_rdlock(&o->lock);
    int r = overlay_io(o, offset, iov, niov, false);
    pthread_rwlock_unlock(&o->lock);
    return r;
}

static bool all_present(const Overlay *o, uint64_t first, uint64_t last)
{
    while (first <= last && is_present(o, first)) {
        first++;
    }
    return first > last;
}

/* The lock is held for writing. */
static int write_new(Overlay *o, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    uint64_t first = offset / CLUSTER, last = (offset + len - 1) / CLUSTER;
    int r = 0;
    for (uint64_t c = first; c <= last && !r; c++) {
        uint64_t at = c * CLUSTER;
        bool whole = at >= offset && at + CLUSTER <= offset + len;
        r = whole ? 0 : copy_up(o, c);
    }
    r = r ? r : overlay_io(o, offset, iov, niov, true);
    for (uint64_t c = first; c <= last && !r; c++) {
        o->present[c / 8] |= (uint8_t)(1 << c % 8);
    }
    return r;
}

/* Clusters that are there already are written like they are read: several requests at a time. */
static int overlay_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                          uint64_t len)
{
    Overlay *o = container_of(n, Overlay, node);
    if (!len) {
        return 0;
    }
    pthread_rwlock_rdlock(&o->lock);
    bool there = all_present(o, offset / CLUSTER, (offset + len - 1) / CLUSTER);
    int r = there ? overlay_io(o, offset, iov, niov, true) : 0;
    pthread_rwlock_unlock(&o->lock);
    if (!there) {
        pthread_rwlock_wrlock(&o->lock);
        r = write_new(o, offset, iov, niov, len);
        pthread_rwlock_unlock(&o->lock);
    }
    return r;
}

static int overlay_flush(BlockNode *n)
{
    (void)n; /* what is thrown away at the end needs no stable storage */
    return 0;
}

static int overlay_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    (void)n, (void)offset, (void)len;
    return 0;
}

static int overlay_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    Overlay *o = container_of(n, Overlay, node);
    uint64_t part = CLUSTER - offset % CLUSTER;
    pthread_rwlock_rdlock(&o->lock);
    bool present = is_present(o, offset / CLUSTER);
    pthread_rwlock_unlock(&o->lock);
    *out = (BlockExtent){ .len = MIN(len, part), .allocated = present, .data = true };
    int error = present ? 0 : block_status(n->file, offset, out->len, out);
    out->allocated = present; /* else the image answers */
    out->has_offset = false;
    return error;
}

static void overlay_close(BlockNode *n)
{
    Overlay *o = container_of(n, Overlay, node);
    close(o->fd);
    pthread_rwlock_destroy(&o->lock);
    free(o->present);
}

static int overlay_make_empty(BlockNode *n)
{
    Overlay *o = container_of(n, Overlay, node);
    pthread_rwlock_wrlock(&o->lock);
    memset(o->present, 0, n->size / CLUSTER / 8 + 1);
    int error = ftruncate(o->fd, 0) ? errno : 0; /* the room comes back */
    pthread_rwlock_unlock(&o->lock);
    return error;
}

static int open_temporary(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/vireo-XXXXXX", dir);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
        }
    }
    return fd;
}

static bool overlay_open(BlockNode *n, const Dict *opts, Error **errp)
{
    Overlay *o = container_of(n, Overlay, node);
    const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
    if (!block_open_child(n, opts, "file", &n->flags, false, &n->file, errp)) {
        return false;
    }
    o->present = calloc(1, n->file->size / CLUSTER / 8 + 1);
    if (!o->present) {
        return error_set(errp, "snapshot=on: '%s' is too large: no memory for a map of it",
                         n->file->filename);
    }
    o->fd = open_temporary(dir);
    if (o->fd < 0) {
        free(o->present);
        return error_set_errno(errp, errno, "snapshot=on: no temporary file in '%s' (set TMPDIR)",
                               dir);
    }
    n->size = n->file->size;
    n->readonly = n->flags.readonly = false;
    n->store = xasprintf("the snapshot's file in %s", dir);
    pthread_rwlock_init(&o->lock, NULL);
    return true;
}

static const BlockOption overlay_options[] = {
    { "file", BLOCK_OPT_NODE, "the image" },
    BLOCK_OPTION_END,
};

BLOCK_DRIVER(overlay) = {
    .name = "overlay",
    .desc = "keeps what is written in a temporary file",
    .kind = BLOCK_FILTER,
    .size = sizeof(Overlay),
    .options = overlay_options,
    .open = overlay_open,
    .close = overlay_close,
    .readv = overlay_readv,
    .writev = overlay_writev,
    .flush = overlay_flush,
    .discard = overlay_discard,
    .status = overlay_status,
    .make_empty = overlay_make_empty,
};

BlockNode *block_overlay_open(BlockNode *base, Error **errp)
{
    Dict *opts = dict_new();
    dict_set(opts, "driver", "overlay");
    dict_set(opts, "file", base->name);
    BlockNode *n = block_open(opts, &base->flags, errp);
    dict_free(opts);
    block_unref(base);
    return n;
}
