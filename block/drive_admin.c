/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the monitor does to drives that are in use: another size, committing, taking them away.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/chain.h"
#include "block/drive_impl.h"
#include "util/alloc.h"

bool drive_resize(Drive *d, uint64_t size, Error **errp)
{
    if (!d->node) {
        return error_set(errp, "drive '%s' has no medium", d->id);
    }
    if (d->cdrom || d->readonly) {
        return error_set(errp, "drive '%s' is read-only", d->id);
    }
    if (!size || size % BLOCK_SECTOR) {
        return error_set(errp, "a disk's size is a multiple of 512 bytes, %" PRIu64 " is not",
                         size);
    }
    if (size < d->node->size) {
        return error_set(errp,
                         "drive '%s' has %" PRIu64 " bytes; a smaller disk would lose what lies behind "
                         "%" PRIu64 ": stop Vireo, then vireo-img resize --shrink does it",
                         d->id, d->node->size, size);
    }
    blk_quiesce(d);
    bool ok = block_resize(d->node, size, NULL, errp) || error_prefix(errp, "drive '%s': ", d->id);
    if (ok && d->user && d->user->resized) {
        d->user->resized(d->user_opaque);
    }
    blk_resume(d);
    return ok;
}

bool drive_commit(Drive *d, Error **errp)
{
    BlockNode *top = d->node;
    if (!d->node || !block_commit_base(&top)) {
        return error_set(errp, "drive '%s' has %s", d->id,
                         d->node ? "no backing file and no snapshot=on to commit" : "no medium");
    }
    blk_quiesce(d);
    bool ok = block_commit_in_place(d->node, errp) || error_prefix(errp, "drive '%s': ", d->id);
    blk_resume(d);
    return ok;
}

bool drive_throttle(Drive *d, const Dict *limits, Error **errp)
{
    ThrottleConfig c;
    bool any;
    if (!throttle_parse(&c, limits, &any, errp)) {
        return error_prefix(errp, "drive '%s': ", d->id);
    }
    if (!d->throttle) {
        d->throttle = throttle_join(d->id);
    }
    throttle_set(d->throttle, &c);
    return true;
}

typedef struct CommitAll {
    bool ok;
    Error **errp;
} CommitAll;

static void commit_one(Drive *d, void *opaque)
{
    CommitAll *c = opaque;
    BlockNode *top = d->node;
    if (c->ok && d->node && block_commit_base(&top) && !d->readonly) {
        c->ok = drive_commit(d, c->errp);
    }
}

bool drives_commit(Error **errp)
{
    CommitAll c = { true, errp };
    drives_each(commit_one, &c);
    return c.ok;
}
