/* SPDX-License-Identifier: GPL-2.0-or-later
 * The raw format: the guest's bytes are the file's. offset= and size= show a part of the file.
 *
 * Where raw is only what the first bytes looked like, they must not come to look otherwise: a guest
 * that wrote the header of another format, naming a file of the host as its backing file, could
 * read that file after the next start. Such a write is refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "block/node.h"

typedef struct RawNode {
    BlockNode node;
    uint64_t offset;
    bool is_part; /* size= or offset= was given */
    bool limited; /* size= was given: a format above may want to reach further */
    pthread_mutex_t head_lock; /* from the look at the file's first bytes to their write */
    bool told;                 /* that one was refused; head_lock */
} RawNode;

static uint64_t raw_offset(const BlockNode *n)
{
    return container_of(n, RawNode, node)->offset;
}

static bool raw_open(BlockNode *n, const Dict *opts, Error **errp)
{
    RawNode *r = container_of(n, RawNode, node);
    uint64_t size = 0;
    if (!dict_get_size(opts, "offset", 1, &r->offset, errp) ||
        !dict_get_size(opts, "size", 1, &size, errp) ||
        !block_open_child(n, opts, "file", &n->flags, false, &n->file, errp)) {
        return false;
    }
    uint64_t whole = n->file->size;
    if (r->offset > whole || size > whole - r->offset) {
        return error_set(errp,
                         "offset=%" PRIu64 " and size=%" PRIu64 " reach past the end of '%s', which has %" PRIu64
                         " bytes",
                         r->offset, size, n->file->filename, whole);
    }
    r->is_part = size || r->offset;
    r->limited = size;
    n->size = size ? size : whole - r->offset;
    n->flags = n->file->flags;
    n->readonly |= n->file->readonly;
    n->request_align = n->file->request_align;
    pthread_mutex_init(&r->head_lock, NULL);
    return true;
}

static void raw_close(BlockNode *n)
{
    pthread_mutex_destroy(&container_of(n, RawNode, node)->head_lock);
}

/* How many of len bytes at offset are in the part. */
static uint64_t inside(const BlockNode *n, uint64_t offset, uint64_t len)
{
    if (!container_of(n, RawNode, node)->limited) {
        return len;
    }
    return offset < n->size ? MIN(len, n->size - offset) : 0;
}

static int raw_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    uint64_t there = inside(n, offset, len);
    if (there == len) {
        return block_readv(n->file, offset + raw_offset(n), iov, niov, len);
    }
    struct iovec *part = malloc(sizeof(*part) * (size_t)niov);
    if (!part) {
        return ENOMEM;
    }
    int nr = iov_slice(part, iov, niov, 0, there);
    int error = block_readv(n->file, offset + raw_offset(n), part, nr, there);
    free(part);
    iov_zero(iov, niov, there, len - there);
    return error;
}

/* Once a node: a guest may try as often as it likes. */
static int refuse_head(RawNode *r, const char *format)
{
    if (!r->told) {
        warn_report("image '%s': a write that would have made it look like %s was refused, because "
                    "only its first bytes say that it is raw; open it with format=raw (vireo-io: -f "
                    "raw) if these bytes are the guest's own business",
                    r->node.filename, format);
    }
    r->told = true;
    return EPERM;
}

/* To the file's bytes from at on, at < BLOCK_HEAD. What is looked at is a copy, and that is written:
 * the data may be guest memory, which changes meanwhile. */
static int write_head(BlockNode *n, uint64_t at, const struct iovec *iov, int niov, uint64_t len)
{
    RawNode *r = container_of(n, RawNode, node);
    uint8_t head[BLOCK_HEAD] = { 0 };
    uint64_t part = MIN(len, BLOCK_HEAD - at);
    struct iovec *all = malloc(sizeof(*all) * ((size_t)niov + 1));
    if (!all) {
        return ENOMEM;
    }
    pthread_mutex_lock(&r->head_lock);
    int error = block_pread(n->file, 0, head, MIN(sizeof(head), n->file->size));
    iov_to_buf(iov, niov, 0, head + at, part);
    const char *format = error ? NULL : block_guess(head, sizeof(head));
    if (format) {
        error = refuse_head(r, format);
    } else if (!error) {
        all[0] = (struct iovec){ head + at, part };
        int rest = iov_slice(all + 1, iov, niov, part, len - part);
        error = block_writev(n->file, at, all, rest + 1, len);
    }
    pthread_mutex_unlock(&r->head_lock);
    free(all);
    return error;
}

static int raw_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                      uint64_t len)
{
    if (inside(n, offset, len) < len) {
        return ENOSPC;
    }
    if (n->probed && offset + raw_offset(n) < BLOCK_HEAD) {
        return write_head(n, offset + raw_offset(n), iov, niov, len);
    }
    return block_writev(n->file, offset + raw_offset(n), iov, niov, len);
}

static int raw_flush(BlockNode *n)
{
    return block_flush(n->file);
}

static int raw_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    return block_discard(n->file, offset + raw_offset(n), inside(n, offset, len));
}

static int raw_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    if (inside(n, offset, len) < len) {
        return ENOSPC;
    }
    return block_write_zeroes(n->file, offset + raw_offset(n), len, may_unmap);
}

static int raw_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    int error = block_status(n->file, offset + raw_offset(n), len, out);
    out->allocated = true;
    out->has_offset = true;
    out->offset = offset + raw_offset(n);
    return error;
}

static int raw_ring_fd(BlockNode *n, uint64_t *offset, unsigned *align)
{
    *offset += raw_offset(n);
    return n->file->driver->ring_fd ? n->file->driver->ring_fd(n->file, offset, align) : -1;
}

static void raw_event(BlockNode *n, const char *event)
{
    block_event(n->file, event);
}

static bool raw_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    if (container_of(n, RawNode, node)->is_part) {
        return error_set(errp, "'%s' is shown in part (offset=, size=), it cannot be resized",
                         n->filename);
    }
    if (!block_resize(n->file, size, prealloc, errp)) {
        return false;
    }
    n->size = n->file->size;
    return true;
}

static bool raw_create(const char *filename, const Dict *opts, Error **errp)
{
    return block_driver_find("file")->create(filename, opts, errp);
}

static bool raw_measure(const Dict *opts, uint64_t data_bytes, uint64_t *required, uint64_t *full,
                        Error **errp)
{
    (void)data_bytes;
    uint64_t size = 0;
    bool ok = dict_get_size(opts, "size", 1, &size, errp);
    *required = *full = size;
    return ok;
}

static const BlockOption raw_options[] = {
    { "file", BLOCK_OPT_NODE, "the protocol below" },
    { "offset", BLOCK_OPT_SIZE, "where in the file the guest's bytes begin" },
    { "size", BLOCK_OPT_SIZE, "how many of them there are" },
    BLOCK_OPTION_END,
};

static const BlockOption raw_create_options[] = {
    { "size", BLOCK_OPT_SIZE, "virtual disk size" },
    { "preallocation", BLOCK_OPT_TEXT, "off, falloc, full" },
    BLOCK_OPTION_END,
};

BLOCK_DRIVER(raw) = {
    .name = "raw",
    .desc = "the bytes as they are",
    .kind = BLOCK_FORMAT,
    .size = sizeof(RawNode),
    .options = raw_options,
    .create_options = raw_create_options,
    .open = raw_open,
    .close = raw_close,
    .readv = raw_readv,
    .writev = raw_writev,
    .flush = raw_flush,
    .discard = raw_discard,
    .write_zeroes = raw_write_zeroes,
    .status = raw_status,
    .event = raw_event,
    .ring_fd = raw_ring_fd,
    .resize = raw_resize,
    .create = raw_create,
    .measure = raw_measure,
};
