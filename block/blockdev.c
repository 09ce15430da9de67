/* SPDX-License-Identifier: GPL-2.0-or-later
 * -blockdev: nodes that the user makes and names, and that stay until he takes them away.
 */
#include <string.h>

#include "block/drive_impl.h"

bool blockdev_add(const Dict *opts, Error **errp)
{
    const char *name = dict_get(opts, "node-name");
    if (!name) {
        return error_set(errp,
                         "a block node needs node-name=, by which a -device or another node finds "
                         "it");
    }
    if (drive_by_id(name)) {
        return error_set(errp, "there is a drive '%s' already", name);
    }
    BlockNode *n = block_open(opts, &(BlockFlags){ 0 }, errp);
    return n && block_own(n, true, errp);
}

/* A device that named the node and then could not be made leaves its drive behind. */
static void drop_unused_drives(void)
{
    list_for_each_safe(pos, &block_drives) {
        Drive *d = container_of(pos, Drive, node_list);
        if (d->of_node && !d->user) {
            drive_delete(d);
        }
    }
}

bool blockdev_del(const char *node_name, Error **errp)
{
    BlockNode *n = block_find(node_name);
    if (!n) {
        return error_set(errp, "there is no node '%s'; info block -n lists them", node_name);
    }
    blk_quiesce(NULL);
    drop_unused_drives();
    bool ok = block_user(n) ? error_set(errp, "node '%s' is in use by %s", node_name, block_user(n))
                            : block_own(n, false, errp);
    blk_resume(NULL);
    return ok;
}
