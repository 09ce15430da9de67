/* SPDX-License-Identifier: GPL-2.0-or-later
 * Chains of images, an overlay over its backing files, seen as one: which image answers for an
 * offset, and copying what an overlay holds down into the image behind it. Blocking; any thread,
 * as for every node's I/O, while the graph stays as it is.
 */
#ifndef BLOCK_CHAIN_H
#define BLOCK_CHAIN_H

#include "block/node.h"

/* What lies at offset of the chain that begins with n and ends before base (NULL: of all of it).
 * *owner is the image that answers, NULL if none does (then base would, or out->zero is set),
 * *depth the number of images above it, or above the last one asked. Either may be NULL. */
int block_chain_status(BlockNode *n, const BlockNode *base, uint64_t offset, uint64_t len,
                       BlockExtent *out, BlockNode **owner, unsigned *depth);
/* Is base behind n? */
bool block_chain_has(const BlockNode *n, const BlockNode *base);

/* What a commit tells: done of total bytes looked at. false: stop here (the commit fails; what was
 * copied does no harm, top still holds all of it). */
typedef bool BlockProgressFn(void *opaque, uint64_t done, uint64_t total);

/* Copies what the images from top to above base hold into base, which must be writable and becomes
 * as large as top if it is smaller, and flushes it: base then reads as top does. top itself is not
 * changed (see driver->make_empty). progress may be NULL. */
bool block_commit(BlockNode *top, BlockNode *base, BlockProgressFn *progress, void *opaque,
                  Error **errp) MUST_USE;

/* Lets n be written, or no more; n->file with it. Nothing is in flight. */
bool block_reopen(BlockNode *n, bool readonly, Error **errp) MUST_USE;
/* Where what top holds would go, NULL: nowhere; for snapshot=on the image. *top: without filters
 * above it. */
BlockNode *block_commit_base(BlockNode **top);
/* Commits top there, which is written to for that time, and empties it. Blocks until it is done. */
bool block_commit_in_place(BlockNode *top, Error **errp) MUST_USE;

#endif
