/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img rebase: another backing file for an overlay. What both backing files do not have in
 * common is copied into the overlay first, so that it reads as before; -u only writes down a name.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "block/chain.h"
#include "tools/copy.h"
#include "util/alloc.h"

enum { CHUNK = 1 << 20 };

static const ImgOption options[] = {
    { 'b', NULL, "FILE", "the new backing file; empty: none" },
    { 'F', NULL, "FMT", "its format" },
    { 'f', NULL, "FMT", "the overlay's format [what its first bytes look like]" },
    { 'u', NULL, NULL, "only write down the name, for backing files that were moved or renamed" },
    { 't', NULL, "CACHE", "how the overlay is written [writeback]" },
    { 'T', NULL, "CACHE", "how the backing files are read [writeback]" },
    { 'p', NULL, NULL, "show progress" },
    { 'U', "force-share", NULL, NULL },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

typedef struct Rebase {
    BlockNode *top, *old, *fresh; /* old, fresh: NULL for none */
    const BlockNode *common;      /* the image of old's chain that fresh is; NULL: none is */
    ImgProgress progress;
    uint8_t *buf[2];
} Rebase;

/* An image behind the overlay that ended, or is not there, reads as zeroes. */
static int look(BlockNode *n, const BlockNode *base, uint64_t at, uint64_t *len, bool *zero,
                bool *same)
{
    *zero = true;
    if (!n || at >= n->size) {
        return 0;
    }
    BlockExtent e;
    BlockNode *owner;
    int error = block_chain_status(n, base, at, MIN(*len, n->size - at), &e, &owner, NULL);
    if (!error) {
        *zero = e.zero;
        *same = base && !owner && !e.zero;
        *len = e.len;
    }
    return error;
}

static int read_image(BlockNode *n, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t inside = n && at < n->size ? MIN(len, n->size - at) : 0;
    memset(buf + inside, 0, len - inside);
    return inside ? block_pread(n, at, buf, inside) : 0;
}

/* Only the clusters that differ. */
static int copy_differences(Rebase *r, uint64_t at, uint64_t len)
{
    uint64_t step = r->top->cluster_size ? r->top->cluster_size : 64 * KiB;
    int error = read_image(r->old, at, r->buf[0], len);
    error = error ? error : read_image(r->fresh, at, r->buf[1], len);
    for (uint64_t done = 0; done < len && !error;) {
        uint64_t part = MIN(step - (at + done) % step, len - done);
        const uint8_t *old = r->buf[0] + done;
        if (!memcmp(old, r->buf[1] + done, part)) {
            error = 0;
        } else if (copy_is_zero(old, part)) {
            error = block_write_zeroes(r->top, at + done, part, true);
        } else {
            error = block_pwrite(r->top, at + done, old, part);
        }
        done += part;
    }
    return error;
}

static int rebase_step(Rebase *r, uint64_t *at)
{
    uint64_t len = r->top->size - *at;
    BlockExtent e;
    int error = block_status(r->top, *at, len, &e);
    if (error || e.allocated) {
        *at += error ? 0 : e.len;
        return error;
    }
    bool old_zero, fresh_zero, same = false, unused = false;
    len = e.len;
    if (r->old && *at < r->old->size && len > r->old->size - *at) {
        len = r->old->size - *at;
    }
    if (r->fresh && *at < r->fresh->size && len > r->fresh->size - *at) {
        len = r->fresh->size - *at;
    }
    error = look(r->old, r->common, *at, &len, &old_zero, &same);
    error = error || same ? error : look(r->fresh, NULL, *at, &len, &fresh_zero, &unused);
    if (!error && !same && !(old_zero && fresh_zero)) {
        len = MIN(len, (uint64_t)CHUNK);
        error = copy_differences(r, *at, len);
    }
    *at += error ? 0 : len;
    return error;
}

static bool copy_all(Rebase *r, Error **errp)
{
    r->progress.total = r->top->size;
    for (uint64_t at = 0; at < r->top->size;) {
        if (img_interrupted()) {
            return error_set(errp, "interrupted; '%s' keeps its old backing file",
                             r->top->filename);
        }
        img_progress(&r->progress, at);
        int error = rebase_step(r, &at);
        if (error) {
            return error_set_errno(errp, error,
                                   "rebasing '%s' failed at byte %" PRIu64
                                   ", it keeps its old backing file",
                                   r->top->filename, at);
        }
    }
    img_progress(&r->progress, r->top->size);
    img_progress_end(&r->progress);
    int error = block_flush(r->top);
    return !error || error_set_errno(errp, error, "'%s' cannot be flushed", r->top->filename);
}

/* Is the new backing file one that lies behind the overlay already? */
static const BlockNode *find_common(const BlockNode *old, const BlockNode *fresh)
{
    struct stat a, b;
    const char *want = fresh ? img_protocol_file(fresh) : NULL;
    if (!want || stat(want, &a)) {
        return NULL;
    }
    for (; old; old = old->backing) {
        const char *file = img_protocol_file(old);
        if (file && stat(file, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino &&
            old->driver == fresh->driver) {
            return old;
        }
    }
    return NULL;
}

static bool rebase_safe(Rebase *r, const char *backing, const char *format, const BlockFlags *flags,
                        Error **errp)
{
    r->old = r->top->backing;
    if (*backing) {
        char *path = block_backing_path(r->top->file->filename, backing);
        if (img_uses_file(r->top, path) && !img_uses_file(r->old, path)) {
            error_set(errp, "'%s' would be its own backing file", r->top->filename);
        } else {
            r->fresh = block_open_image(path, format, flags, errp);
        }
        free(path);
        if (!r->fresh) {
            return error_prefix(errp, "the new backing file: ");
        }
    }
    r->common = find_common(r->old, r->fresh);
    if (r->common == r->old && r->old) {
        return true; /* the same image, by another name perhaps */
    }
    void *buf[2] = { NULL, NULL };
    bool ok = !posix_memalign(&buf[0], 4096, CHUNK) && !posix_memalign(&buf[1], 4096, CHUNK);
    r->buf[0] = buf[0];
    r->buf[1] = buf[1];
    return ok ? copy_all(r, errp) : error_set(errp, "no memory");
}

static bool rebase(Rebase *r, const char *backing, const char *format, bool unsafe,
                   const BlockFlags *flags, Error **errp)
{
    if (!r->top->driver->set_backing) {
        return error_set(errp, "images of the format '%s' have no backing files",
                         r->top->driver->name);
    }
    if (*backing && !format) {
        return error_set(errp, "the backing file '%s' needs its format: give -F FMT", backing);
    }
    if (format && !img_find_format(format, errp)) {
        return false;
    }
    if (!unsafe && !rebase_safe(r, backing, format, flags, errp)) {
        return false;
    }
    if (!r->top->driver->set_backing(r->top, *backing ? backing : NULL, *backing ? format : NULL,
                                     errp)) {
        return false;
    }
    int error = block_flush(r->top);
    return !error || error_set_errno(errp, error, "'%s' cannot be flushed", r->top->filename);
}

static int run(ImgArgs *a)
{
    const char *format = NULL, *backing = NULL, *backing_format = NULL;
    bool unsafe = false, through;
    Rebase r = { .top = NULL };
    BlockFlags flags = { .discard = true }, backing_flags = { .readonly = true };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        bool ok = true;
        switch (c) {
        case 'f': format = a->value; break;
        case 'b': backing = a->value; break;
        case 'F': backing_format = a->value; break;
        case 'u': unsafe = true; break;
        case 'p': r.progress.on = true; break;
        case 'U':
            return img_usage_error(a, "-U: an image that changes its backing file is not shared");
        case 't': ok = img_parse_cache(a->value, &flags, &through, &err); break;
        case 'T': ok = img_parse_cache(a->value, &backing_flags, &through, &err); break;
        }
        if (!ok) {
            return img_fail(err);
        }
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return 1;
    }
    if (!backing) {
        return img_usage_error(a, "-b FILE names the new backing file (-b '': none)");
    }
    r.progress.on &= !a->quiet;
    img_catch_interrupts();
    flags.no_backing = unsafe;
    r.top = img_open(a->argv[0], format, a->image_opts, &flags, &err);
    bool ok = r.top && rebase(&r, backing, backing_format, unsafe, &backing_flags, &err);
    block_unref(r.fresh);
    block_unref(r.top);
    free(r.buf[0]);
    free(r.buf[1]);
    return ok ? 0 : img_fail(err);
}

const ImgCommand img_rebase = {
    "rebase",
    "-b FILE -F FMT [-f FMT] [-u] [-p] FILE",
    "Gives an overlay another backing file; it reads as before, unless -u only writes the name.",
    options,
    run,
};
