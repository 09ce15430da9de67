/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commit: what overlays hold goes down into the image behind them. Declared in block/chain.h.
 *
 * The image below is complete only at the end, but nothing above it is touched meanwhile: cut off
 * at any point, the overlays still answer for all that was copied.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "block/chain.h"

enum { COPY_BYTES = 1 << 20 };

/* One extent of top's chain; *len comes back as what was done of it. */
static int copy_extent(BlockNode *top, BlockNode *base, uint64_t offset, uint64_t *len, void *buf)
{
    BlockExtent e;
    BlockNode *owner;
    int error = block_chain_status(top, base, offset, *len, &e, &owner, NULL);
    if (error) {
        return error;
    }
    *len = e.len;
    if (!owner && !e.zero) {
        return 0; /* base answers already */
    }
    if (e.zero) {
        return block_write_zeroes(base, offset, e.len, true);
    }
    *len = MIN(e.len, (uint64_t)COPY_BYTES);
    error = block_pread(top, offset, buf, *len);
    return error ? error : block_pwrite(base, offset, buf, *len);
}

static bool copy_all(BlockNode *top, BlockNode *base, void *buf, BlockProgressFn *progress,
                     void *opaque, Error **errp)
{
    for (uint64_t at = 0; at < top->size;) {
        if (progress && !progress(opaque, at, top->size)) {
            return error_set(errp, "stopped; '%s' still holds everything", top->filename);
        }
        uint64_t len = MIN(top->size - at, 64 * MiB);
        int error = copy_extent(top, base, at, &len, buf);
        if (error) {
            return error_set_errno(errp, error,
                                   "committing '%s' to '%s' failed at offset %" PRIu64
                                   " (the overlay still holds everything)",
                                   top->filename, base->filename, at);
        }
        at += len;
    }
    int error = block_flush(base);
    if (error) {
        return error_set_errno(errp, error, "'%s' cannot be flushed", base->filename);
    }
    if (progress) {
        progress(opaque, top->size, top->size);
    }
    return true;
}

bool block_commit(BlockNode *top, BlockNode *base, BlockProgressFn *progress, void *opaque,
                  Error **errp)
{
    if (top == base || !block_chain_has(top, base)) {
        return error_set(errp, "'%s' is not behind '%s'", base->filename, top->filename);
    }
    if (base->readonly) {
        return error_set(errp, "'%s' is open read-only", base->filename);
    }
    if (top->size > base->size && !block_resize(base, top->size, "off", errp)) {
        return error_prefix(errp, "the backing file must become as large as '%s': ", top->filename);
    }
    void *buf = NULL;
    if (posix_memalign(&buf, 4096, COPY_BYTES)) {
        return error_set(errp, "no memory");
    }
    bool ok = copy_all(top, base, buf, progress, opaque, errp);
    free(buf);
    return ok;
}
