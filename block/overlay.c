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
    BlockNode node;
    BlockNode *base;
    int fd;
    pthread_rwlock_t lock; /* writers: the bitmap and copying up; readers: everything else */
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
    int r = o->base->driver->readv(o->base, at, &v, 1, len);
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
                r = o->base->driver->readv(o->base, offset, &v, 1, n);
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

static int overlay_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                          uint64_t len)
{
    Overlay *o = container_of(n, Overlay, node);
    int r = 0;
    if (!len) {
        return 0;
    }
    pthread_rwlock_wrlock(&o->lock);
    for (uint64_t c = offset / CLUSTER; c <= (offset + len - 1) / CLUSTER && !r; c++) {
        uint64_t at = c * CLUSTER;
        bool whole = at >= offset && at + CLUSTER <= offset + len;
        r = whole ? 0 : copy_up(o, c);
    }
    if (!r) {
        r = overlay_io(o, offset, iov, niov, true);
    }
    for (uint64_t c = offset / CLUSTER; c <= (offset + len - 1) / CLUSTER && !r; c++) {
        o->present[c / 8] |= (uint8_t)(1 << c % 8);
    }
    pthread_rwlock_unlock(&o->lock);
    return r;
}

static int overlay_flush(BlockNode *n)
{
    (void)n; /* what is thrown away at the end needs no stable storage */
    return 0;
}

static int overlay_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len)
{
    char *zeroes = xcalloc(1, CLUSTER);
    int r = 0;
    while (len && !r) {
        struct iovec v = { zeroes, MIN(len, (uint64_t)CLUSTER) };
        r = overlay_writev(n, offset, &v, 1, v.iov_len);
        offset += v.iov_len;
        len -= v.iov_len;
    }
    free(zeroes);
    return r;
}

static int overlay_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    (void)n, (void)offset, (void)len;
    return 0;
}

static void overlay_close(BlockNode *n)
{
    Overlay *o = container_of(n, Overlay, node);
    close(o->fd);
    block_close(o->base);
    pthread_rwlock_destroy(&o->lock);
    free(o->present);
    free(n->filename);
    free(n->store);
    free(o);
}

static const BlockDriver overlay_driver = {
    "overlay",       overlay_readv,        overlay_writev, overlay_flush,
    overlay_discard, overlay_write_zeroes, overlay_close,
};

BlockNode *block_overlay_open(BlockNode *base, Error **errp)
{
    const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/vireo-XXXXXX", dir);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
        }
    }
    if (fd < 0) {
        error_set_errno(errp, errno, "snapshot=on: no temporary file in '%s' (set TMPDIR)", dir);
        block_close(base);
        return NULL;
    }
    uint8_t *present = calloc(1, base->size / CLUSTER / 8 + 1);
    if (!present) {
        error_set(errp, "snapshot=on: '%s' is too large: no memory for a map of it",
                  base->filename);
        close(fd);
        block_close(base);
        return NULL;
    }
    Overlay *o = xcalloc(1, sizeof(*o));
    o->node = (BlockNode){ .driver = &overlay_driver, .size = base->size,
                           .filename = xstrdup(base->filename),
                           .store = xasprintf("the snapshot's file in %s", dir) };
    o->base = base;
    o->fd = fd;
    o->present = present;
    pthread_rwlock_init(&o->lock, NULL);
    return &o->node;
}
