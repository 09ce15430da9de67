/* SPDX-License-Identifier: GPL-2.0-or-later
 * copy-on-read: a filter above an image with a backing file. What is read from behind is written
 * into the image, whole clusters of it, so that next time the (slow, remote) file behind is not
 * needed.
 *
 * Copying excludes writes, which would else be undone by older bytes; reads of what is there
 * already and writes go side by side. Where the image cannot take the copy (no room), the read is
 * done nevertheless.
 */
#include <stdlib.h>

#include "block/node.h"

enum { MIN_CLUSTER = 64 * 1024, CHUNK = 1 << 20 };

typedef struct CopyOnRead {
    BlockNode node;        /* file: the image */
    pthread_rwlock_t lock; /* copying: for writing; everything else: for reading */
} CopyOnRead;

static bool cor_open(BlockNode *n, const Dict *opts, Error **errp)
{
    CopyOnRead *s = container_of(n, CopyOnRead, node);
    if (!block_open_child(n, opts, "file", &n->flags, false, &n->file, errp)) {
        return false;
    }
    n->size = n->file->size;
    n->flags = n->file->flags;
    n->readonly |= n->file->readonly;
    n->request_align = n->file->request_align;
    pthread_rwlock_init(&s->lock, NULL);
    return true;
}

static void cor_close(BlockNode *n)
{
    pthread_rwlock_destroy(&container_of(n, CopyOnRead, node)->lock);
}

/* The first bytes of [offset, offset+len) that are not the image's own; *len 0: all are. */
static int find_missing(BlockNode *n, uint64_t *offset, uint64_t *len)
{
    while (*len) {
        BlockExtent e;
        int error = block_status(n, *offset, *len, &e);
        if (error || !e.allocated) {
            *len = error ? *len : e.len;
            return error;
        }
        *offset += e.len;
        *len -= e.len;
    }
    return 0;
}

static int copy_part(BlockNode *n, uint64_t offset, uint64_t len, void *buf)
{
    struct iovec v = { buf, len };
    int error = block_pread(n, offset, buf, len);
    if (!error && iov_is_zero(&v, 1)) {
        return block_write_zeroes(n, offset, len, true);
    }
    block_event(n, "cor_write");
    return error ? error : block_pwrite(n, offset, buf, len);
}

/* With the lock for writing. */
static int copy_up(BlockNode *n, uint64_t offset, uint64_t len)
{
    uint64_t cluster = MAX(n->cluster_size, (uint64_t)MIN_CLUSTER);
    uint64_t end = MIN(ROUND_UP(offset + len, cluster), n->size);
    offset = ROUND_DOWN(offset, cluster);
    void *buf = NULL;
    int error = posix_memalign(&buf, 4096, CHUNK);
    while (!error && offset < end) {
        uint64_t part = end - offset;
        error = find_missing(n, &offset, &part);
        if (error || !part) {
            break;
        }
        part = MIN(part, (uint64_t)CHUNK);
        error = copy_part(n, offset, part, buf);
        offset += part;
    }
    free(buf);
    return error;
}

static int cor_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    CopyOnRead *s = container_of(n, CopyOnRead, node);
    uint64_t at = offset, missing = len;
    pthread_rwlock_rdlock(&s->lock);
    int error = n->file->readonly ? 0 : find_missing(n->file, &at, &missing);
    if (error || n->file->readonly || !missing) {
        error = block_readv(n->file, offset, iov, niov, len);
        pthread_rwlock_unlock(&s->lock);
        return error;
    }
    pthread_rwlock_unlock(&s->lock);
    pthread_rwlock_wrlock(&s->lock);
    (void)copy_up(n->file, at, offset + len - at);
    error = block_readv(n->file, offset, iov, niov, len);
    pthread_rwlock_unlock(&s->lock);
    return error;
}

static int cor_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                      uint64_t len)
{
    CopyOnRead *s = container_of(n, CopyOnRead, node);
    pthread_rwlock_rdlock(&s->lock);
    int error = block_writev(n->file, offset, iov, niov, len);
    pthread_rwlock_unlock(&s->lock);
    return error;
}

static int cor_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    CopyOnRead *s = container_of(n, CopyOnRead, node);
    pthread_rwlock_rdlock(&s->lock);
    int error = block_write_zeroes(n->file, offset, len, may_unmap);
    pthread_rwlock_unlock(&s->lock);
    return error;
}

static int cor_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    CopyOnRead *s = container_of(n, CopyOnRead, node);
    pthread_rwlock_rdlock(&s->lock);
    int error = block_discard(n->file, offset, len);
    pthread_rwlock_unlock(&s->lock);
    return error;
}

static int cor_flush(BlockNode *n)
{
    return block_flush(n->file);
}

static int cor_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    return block_status(n->file, offset, len, out);
}

static bool cor_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    bool ok = block_resize(n->file, size, prealloc, errp);
    n->size = n->file->size;
    return ok;
}

static const BlockOption cor_options[] = {
    { "file", BLOCK_OPT_NODE, "the image" },
    BLOCK_OPTION_END,
};

BLOCK_DRIVER(copy_on_read) = {
    .name = "copy-on-read",
    .desc = "writes into the image what it had to read from behind it",
    .kind = BLOCK_FILTER,
    .size = sizeof(CopyOnRead),
    .options = cor_options,
    .open = cor_open,
    .close = cor_close,
    .readv = cor_readv,
    .writev = cor_writev,
    .flush = cor_flush,
    .discard = cor_discard,
    .write_zeroes = cor_write_zeroes,
    .status = cor_status,
    .resize = cor_resize,
};
