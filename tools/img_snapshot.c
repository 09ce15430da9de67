/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img snapshot: the snapshots inside an image. Those made here have no machine state.
 */
#include <time.h>

#include "tools/img.h"
#include "util/alloc.h"

static const ImgOption options[] = {
    { 'l', NULL, NULL, "list them (default)" },
    { 'c', NULL, "NAME", "make one" },
    { 'a', NULL, "NAME", "go back to one: what was written since is lost" },
    { 'd', NULL, "NAME", "delete one" },
    { 'f', "format", "FMT", "the image's format [what its first bytes look like]" },
    { 'U', "force-share", NULL, "although another program may be writing to it (-l)" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

static bool list_all(BlockNode *n)
{
    BlockSnapshot *list = NULL;
    size_t nr = n->driver->snapshots(n, &list);
    if (nr) {
        img_print_snapshots(list, nr);
    }
    block_snapshots_free(list, nr);
    return true;
}

static bool create(BlockNode *n, const char *name, Error **errp)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    BlockSnapshot s = { .name = xstrdup(name),
                        .date_s = (uint64_t)now.tv_sec,
                        .date_ns = (uint32_t)now.tv_nsec,
                        .disk_size = n->size };
    bool ok = n->driver->snapshot_create(n, &s, errp);
    free(s.name);
    return ok;
}

static bool act(BlockNode *n, int action, const char *name, Error **errp)
{
    const BlockDriver *d = n->driver;
    if (!d->snapshots || (action == 'c' && !d->snapshot_create) ||
        (action == 'a' && !d->snapshot_apply) || (action == 'd' && !d->snapshot_delete)) {
        return action == 'l' ||
               error_set(errp,
                         "images of the format '%s' have no snapshots; qcow2 images "
                         "have, or make an overlay (create -b)",
                         d->name);
    }
    bool ok = action == 'l'   ? list_all(n)
              : action == 'c' ? create(n, name, errp)
              : action == 'a' ? d->snapshot_apply(n, name, errp)
                              : d->snapshot_delete(n, name, errp);
    int error = ok && action != 'l' ? block_flush(n) : 0;
    return error ? error_set_errno(errp, error, "'%s' cannot be flushed", n->filename) : ok;
}

static int run(ImgArgs *a)
{
    const char *format = NULL, *name = NULL;
    int action = 0;
    BlockFlags flags = { .discard = true, .no_backing = true };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        if (c == 'f') {
            format = a->value;
        } else if (c == 'U') {
            flags.no_lock = true;
        } else if (action) {
            return img_usage_error(a, "one of -l, -c, -a and -d at a time");
        } else {
            action = c;
            name = a->value;
        }
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return 1;
    }
    action = action ? action : 'l';
    if (name && !*name) {
        return img_usage_error(a, "a snapshot needs a name");
    }
    if (flags.no_lock && action != 'l') {
        return img_usage_error(a, "-U goes with -l only");
    }
    flags.readonly = action == 'l';
    flags.no_backing = flags.readonly || action == 'd';
    BlockNode *n = img_open(a->argv[0], format, a->image_opts, &flags, &err);
    if (!n) {
        return img_fail(err);
    }
    bool ok = act(n, action, name, &err);
    block_unref(n);
    return ok ? 0 : img_fail(err);
}

const ImgCommand img_snapshot = {
    "snapshot",
    "[-l | -c NAME | -a NAME | -d NAME] [-f FMT] FILE",
    "Lists, makes, applies and deletes the snapshots inside an image.",
    options,
    run,
};
