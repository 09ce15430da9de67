/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img commit: what an overlay holds goes down into an image behind it (block/commit.c).
 */
#include <assert.h>

#include "block/chain.h"
#include "tools/img.h"
#include "util/alloc.h"

enum { MAX_CHAIN = 200 };

static const ImgOption options[] = {
    { 'f', NULL, "FMT", "the overlay's format [what its first bytes look like]" },
    { 'b', NULL, "FILE", "the image to commit to [the one right behind]; the overlay is kept" },
    { 'd', NULL, NULL, "keep the overlay as it is, do not empty it" },
    { 't', NULL, "CACHE", "how both are written [writeback]" },
    { 'p', NULL, NULL, "show progress" },
    { 'r', NULL, "RATE", NULL },
    IMG_OPTIONS_END,
};

/* The images from the overlay down to the one committed to, by name. */
typedef struct Names {
    char *file[MAX_CHAIN], *format[MAX_CHAIN];
    unsigned nr;
} Names;

static bool read_names(Names *names, const char *filename, const char *format, const char *base,
                       Error **errp)
{
    BlockFlags flags = { .readonly = true, .no_backing = true };
    char *at = xstrdup(filename), *fmt = xstrdup(format);
    bool ok = true, found = false;
    while (at && !found && ok) {
        BlockNode *n = img_open(at, fmt, false, &flags, errp);
        ok = n && (names->nr < MAX_CHAIN || error_set(errp, "the chain is too long"));
        if (ok) {
            names->file[names->nr] = at;
            names->format[names->nr++] = xstrdup(n->driver->name);
            found = base ? names->nr > 1 && img_uses_file(n, base) : names->nr == 2;
            at = n->backing_file ? block_backing_path(n->file->filename, n->backing_file) : NULL;
            free(fmt);
            fmt = xstrdup(n->backing_format);
        }
        block_unref(n);
    }
    free(at);
    free(fmt);
    if (ok && !found) {
        return error_set(errp,
                         base ? "'%s' has no backing file '%s' (vireo-img info --backing-chain)"
                              : "'%s' has no backing file to commit to",
                         filename, base);
    }
    return ok;
}

/* From the bottom up: only the top and the image committed to are writable. */
static bool open_chain(const Names *names, const BlockFlags *flags, BlockNode **top,
                       BlockNode **base, Error **errp)
{
    BlockNode *n = NULL;
    for (unsigned i = names->nr; i-- > 0;) {
        BlockFlags f = *flags;
        f.readonly = i && i + 1 < names->nr;
        BlockNode *over = i + 1 == names->nr
                              ? img_open(names->file[i], names->format[i], false, &f, errp)
                              : img_open_over(names->file[i], names->format[i], n, &f, errp);
        block_unref(i + 2 < names->nr ? n : NULL); /* the node above has its own reference */
        if (!over) {
            return false;
        }
        n = over;
        *base = i + 1 == names->nr ? n : *base;
    }
    assert(n);
    *top = n;
    return true;
}

static bool show_progress(void *opaque, uint64_t done, uint64_t total)
{
    ImgProgress *p = opaque;
    p->total = total;
    img_progress(p, done);
    return !img_interrupted();
}

static bool commit(BlockNode *top, BlockNode *base, bool empty, ImgProgress *progress, Error **errp)
{
    if (!block_commit(top, base, show_progress, progress, errp)) {
        return false;
    }
    img_progress_end(progress);
    if (!empty || !top->driver->make_empty) {
        return true;
    }
    int error = top->driver->make_empty(top);
    error = error ? error : block_flush(top);
    return !error ||
           error_set_errno(errp, error, "'%s' is committed, but cannot be emptied", top->filename);
}

static int run(ImgArgs *a)
{
    const char *format = NULL, *base_name = NULL;
    bool keep = false, through;
    BlockFlags flags = { .discard = true };
    ImgProgress progress = { .on = false };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        switch (c) {
        case 'f': format = a->value; break;
        case 'b': base_name = a->value; break;
        case 'd': keep = true; break;
        case 'p': progress.on = true; break;
        case 'r': return img_usage_error(a, "-r (a limit of the rate) is not built yet");
        case 't':
            if (!img_parse_cache(a->value, &flags, &through, &err)) {
                return img_fail(err);
            }
            break;
        }
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return 1;
    }
    progress.on &= !a->quiet;
    img_catch_interrupts();
    Names names = { .nr = 0 };
    BlockNode *top = NULL, *base = NULL;
    bool ok = read_names(&names, a->argv[0], format, base_name, &err) &&
              open_chain(&names, &flags, &top, &base, &err) &&
              commit(top, base, !keep && !base_name, &progress, &err);
    block_unref(top);
    block_unref(base);
    for (unsigned i = 0; i < names.nr; i++) {
        free(names.file[i]);
        free(names.format[i]);
    }
    if (!ok) {
        return img_fail(err);
    }
    img_say(a, "Image committed.\n");
    return 0;
}

const ImgCommand img_commit = {
    "commit",
    "[-f FMT] [-b FILE] [-d] [-p] [-t CACHE] FILE",
    "Writes what an overlay holds into the image behind it, and empties the overlay.",
    options,
    run,
};
