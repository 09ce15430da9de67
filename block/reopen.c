/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commit in place, while the images are open for reading only below: reopened for writing, filled
 * (commit.c), flushed; then the upper image is emptied. Whatever happens before that reads the same
 * from above. And reopening itself.
 */
#include <errno.h>

#include "block/chain.h"

bool block_reopen(BlockNode *n, bool readonly, Error **errp)
{
    if (n->readonly == readonly) {
        return true;
    }
    if (!n->file && !n->driver->reopen) {
        return error_set(errp, "a %s node cannot change between reading and writing",
                         n->driver->name);
    }
    if (!readonly && n->file && !block_reopen(n->file, false, errp)) {
        return false;
    }
    bool ok = !n->driver->reopen || n->driver->reopen(n, readonly, errp);
    n->readonly = n->flags.readonly = ok ? readonly : !readonly;
    Error *err = NULL;
    if (n->file && n->readonly && !block_reopen(n->file, true, &err)) {
        error_report(err);
    }
    return ok;
}

BlockNode *block_commit_base(BlockNode **top)
{
    BlockNode *n = *top;
    while (n && n->driver->kind == BLOCK_FILTER && !n->driver->make_empty) {
        n = n->file;
    }
    *top = n;
    return !n ? NULL : n->driver->kind == BLOCK_FILTER ? n->file : n->backing;
}

static bool empty(BlockNode *top, const BlockNode *base, Error **errp)
{
    int error = top->driver->make_empty ? top->driver->make_empty(top) : 0;
    if (!error) {
        error = block_flush(top);
    }
    return !error || error_set_errno(errp, error, "all is in '%s', but '%s' cannot be emptied",
                                     base->filename, top->filename);
}

bool block_commit_in_place(BlockNode *top, Error **errp)
{
    BlockNode *base = block_commit_base(&top);
    if (!base) {
        return error_set(errp, "'%s' has no backing file to commit to", top ? top->filename : "");
    }
    if (top->readonly) {
        return error_set(errp, "'%s' is open read-only", top->filename);
    }
    if (base->refs - base->owned > 1) {
        return error_set(errp, "'%s' is used by others, too, who would see it change",
                         base->filename);
    }
    bool was_readonly = base->readonly;
    if (!block_reopen(base, false, errp)) {
        return error_prefix(errp, "the backing file cannot be written: ");
    }
    bool ok = block_commit(top, base, NULL, NULL, errp) && empty(top, base, errp);
    Error *err = NULL;
    if (was_readonly && !block_reopen(base, true, &err)) {
        error_report(err);
    }
    return ok;
}
