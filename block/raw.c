/* SPDX-License-Identifier: GPL-2.0-or-later
 * The raw format: the guest's bytes are the file's. offset= and size= show a part of the file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "block/node.h"

typedef struct RawNode {
    BlockNode node;
    uint64_t offset;
    bool is_part; /* size= or offset= was given */
    bool limited; /* size= was given: a format above may want to reach further */
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
    return true;
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

static int raw_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                      uint64_t len)
{
    if (inside(n, offset, len) < len) {
        return ENOSPC;
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
