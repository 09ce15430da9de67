/* SPDX-License-Identifier: GPL-2.0-or-later
 * Which image of a chain answers for an offset. Declared in block/chain.h.
 */
#include "block/chain.h"

/* A filter has its image below, a format its backing file. */
static BlockNode *next_of(const BlockNode *n)
{
    return n->driver->kind == BLOCK_FILTER && !n->backing ? n->file : n->backing;
}

int block_chain_status(BlockNode *n, const BlockNode *base, uint64_t offset, uint64_t len,
                       BlockExtent *out, BlockNode **owner, unsigned *depth)
{
    unsigned level = 0;
    BlockNode *found = NULL;
    for (;; level++) {
        if (offset >= n->size) { /* a backing file that is shorter reads as zeroes from there on */
            *out = (BlockExtent){ .len = len, .zero = true };
            break;
        }
        uint64_t part = MIN(len, n->size - offset);
        int error = block_status(n, offset, part, out);
        if (error) {
            return error;
        }
        len = out->len;
        BlockNode *next = next_of(n);
        if (out->allocated) {
            found = n;
            break;
        }
        if (!next || next == base) {
            out->zero = !next;
            out->data = out->has_offset = out->compressed = false;
            break;
        }
        n = next;
    }
    if (owner) {
        *owner = found;
    }
    if (depth) {
        *depth = level;
    }
    return 0;
}

bool block_chain_has(const BlockNode *n, const BlockNode *base)
{
    while (n && n != base) {
        n = next_of(n);
    }
    return n != NULL;
}
