/* SPDX-License-Identifier: GPL-2.0-or-later
 * null-co and null-aio: disks of nothing. Writes vanish, reads leave the buffer alone or, with
 * read-zeroes=on, clear it. For measuring what a request costs without a file.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "block/node.h"

typedef struct NullNode {
    BlockNode node;
    bool read_zeroes;
    uint64_t latency_ns; /* of every read, write and flush */
} NullNode;

static bool null_open(BlockNode *n, const Dict *opts, Error **errp)
{
    NullNode *s = container_of(n, NullNode, node);
    n->size = 1 * GiB;
    return dict_get_size(opts, "size", 1, &n->size, errp) &&
           dict_get_bool(opts, "read-zeroes", &s->read_zeroes, errp) &&
           dict_get_u64(opts, "latency-ns", &s->latency_ns, errp);
}

static int wait_latency(const NullNode *s)
{
    struct timespec ts = { s->latency_ns / 1000000000, s->latency_ns % 1000000000 };
    while (s->latency_ns && nanosleep(&ts, &ts) && errno == EINTR) {
    }
    return 0;
}

static int null_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                      uint64_t len)
{
    const NullNode *s = container_of(n, NullNode, node);
    (void)offset;
    if (s->read_zeroes) {
        iov_zero(iov, niov, 0, len);
    }
    return wait_latency(s);
}

static int null_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                       uint64_t len)
{
    (void)offset, (void)iov, (void)niov, (void)len;
    return wait_latency(container_of(n, NullNode, node));
}

static int null_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    (void)offset, (void)len, (void)may_unmap;
    return wait_latency(container_of(n, NullNode, node));
}

static int null_flush(BlockNode *n)
{
    return wait_latency(container_of(n, NullNode, node));
}

static int null_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    const NullNode *s = container_of(n, NullNode, node);
    (void)offset;
    *out = (BlockExtent){
        .len = len, .allocated = true, .data = !s->read_zeroes, .zero = s->read_zeroes
    };
    return 0;
}

static bool null_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    (void)prealloc, (void)errp;
    n->size = size;
    return true;
}

static bool null_parse_filename(const char *rest, Dict *opts, Error **errp)
{
    (void)opts;
    return !strcmp(rest, "//") || !*rest ||
           error_set(errp, "a null disk has no name: say null-co:// and size= beside it");
}

static const BlockOption null_options[] = {
    { "size", BLOCK_OPT_SIZE, "of the disk [1G]" },
    { "read-zeroes", BLOCK_OPT_BOOL, "reads give zeroes, not what the buffer had" },
    { "latency-ns", BLOCK_OPT_NUMBER, "how long each request takes" },
    BLOCK_OPTION_END,
};

static const char *const null_aliases[] = { "null-aio", NULL };

BLOCK_DRIVER(null) = {
    .name = "null-co",
    .desc = "a disk of nothing, to measure with",
    .kind = BLOCK_PROTOCOL,
    .size = sizeof(NullNode),
    .options = null_options,
    .aliases = null_aliases,
    .parse_filename = null_parse_filename,
    .open = null_open,
    .readv = null_readv,
    .writev = null_writev,
    .flush = null_flush,
    .write_zeroes = null_write_zeroes,
    .status = null_status,
    .resize = null_resize,
};
