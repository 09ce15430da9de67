/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img convert: images of one format, or several put one behind the other, become an image
 * of another.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "tools/copy.h"
#include "util/alloc.h"

static const ImgOption options[] = {
    { 'f', NULL, "FMT", "the sources' format [what their first bytes look like]" },
    { 'O', NULL, "FMT", "the target's format [raw]" },
    { 'o', NULL, "OPTIONS", "the target's own: key=value,...; -o help lists them" },
    { 'B', NULL, "FILE", "the target's backing file: only what differs is written" },
    { 'F', NULL, "FMT", "its format" },
    { 'c', NULL, NULL, "compress" },
    { 'S', NULL, "SIZE", "so many zeroes in a row become a hole [4k]; 0: write everything" },
    { 'm', NULL, "N", "parts worked on at the same time, 1 to 16 [8]" },
    { 'W', NULL, NULL, "write them in any order" },
    { 'n', NULL, NULL, "the target is there already" },
    { OPT_TARGET_IS_ZERO, "target-is-zero", NULL, "and reads as zeroes (with -n)" },
    { OPT_SALVAGE, "salvage", NULL, "what cannot be read becomes zeroes" },
    { 't', NULL, "CACHE", "how the target is written [unsafe]" },
    { 'T', NULL, "CACHE", "how the sources are read [writeback]" },
    { 'l', NULL, "SNAPSHOT", "read that snapshot inside the source" },
    { 'p', NULL, NULL, "show progress" },
    { 'U', "force-share", NULL, "although another program may be writing to a source" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "sources are driver=...,file.filename=..." },
    { OPT_TARGET_IMAGE_OPTS, "target-image-opts", NULL, "so is the target (with -n)" },
    { 'C', NULL, NULL, "let the host's file system copy between raw files" },
    { 'r', NULL, "RATE", "at most so many bytes of data a second" },
    { OPT_UNBUILT, "bitmaps", NULL, NULL },
    { OPT_UNBUILT, "skip-broken-bitmaps", NULL, NULL },
    IMG_OPTIONS_END,
};

typedef struct Convert {
    const char *format, *out_format, *backing, *backing_format, *snapshot, *filename;
    bool no_create, out_of_order, target_opts, sparse_given;
    BlockFlags source_flags, target_flags;
    Dict *opts;
    Copy copy;
    ImgProgress progress;
} Convert;

static bool set_option(Convert *v, int c, const char *value, Error **errp)
{
    uint64_t number;
    bool through;
    switch (c) {
    case 'f': v->format = value; break;
    case 'O': v->out_format = value; break;
    case 'B': v->backing = value; break;
    case 'F': v->backing_format = value; break;
    case 'l': v->snapshot = value; break;
    case 'c': v->copy.compress = true; break;
    case 'W': v->out_of_order = true; break;
    case 'n': v->no_create = true; break;
    case 'p': v->progress.on = true; break;
    case 'U': v->source_flags.no_lock = true; break;
    case OPT_SALVAGE: v->copy.salvage = true; break;
    case OPT_TARGET_IS_ZERO: v->copy.target_is_zero = true; break;
    case OPT_TARGET_IMAGE_OPTS: v->target_opts = true; break;
    case 'o': return img_add_options(&v->opts, value, errp);
    case 't': return img_parse_cache(value, &v->target_flags, &through, errp);
    case 'T': return img_parse_cache(value, &v->source_flags, &through, errp);
    case 'C': v->copy.offload = true; break;
    case 'r':
        if (!img_parse_size("-r", value, &v->copy.rate, errp)) {
            return false;
        }
        return v->copy.rate || error_set(errp, "-r 0: a rate is at least one byte a second");
    case 'S':
        v->sparse_given = true;
        if (!img_parse_size("-S", value, &v->copy.sparse, errp)) {
            return false;
        }
        if (v->copy.sparse % 512 || v->copy.sparse > MiB) {
            return error_set(errp, "-S %s: a multiple of 512 up to 1M, or 0", value);
        }
        if (v->copy.sparse & (v->copy.sparse - 1)) {
            return error_set(errp, "-S %s: only powers of two are built", value);
        }
        break;
    case 'm':
        if (!img_parse_count("-m", value, 1, 16, &number, errp)) {
            return false;
        }
        v->copy.workers = (unsigned)number;
        break;
    }
    return true;
}

static bool check_options(const Convert *v, Error **errp)
{
    if (v->no_create && (dict_count(v->opts) || v->backing)) {
        return error_set(errp, "-n and %s exclude each other: the target is what it is",
                         v->backing ? "-B" : "-o");
    }
    if (v->copy.target_is_zero && !v->no_create) {
        return error_set(errp, "--target-is-zero goes with -n only; a new image reads as zeroes");
    }
    if (v->target_opts && !v->no_create) {
        return error_set(errp, "--target-image-opts goes with -n only");
    }
    if (v->copy.offload && (v->copy.compress || v->sparse_given)) {
        return error_set(errp, "-C and %s exclude each other: the host copies bytes as they are",
                         v->copy.compress ? "-c" : "-S");
    }
    if (v->backing && !v->backing_format) {
        return error_set(errp, "the backing file '%s' needs its format: give -F FMT", v->backing);
    }
    return true;
}

static bool open_sources(Convert *v, const ImgArgs *a, Error **errp)
{
    size_t nr = (size_t)a->argc - 1;
    v->copy.sources = xcalloc(nr, sizeof(BlockNode *));
    v->source_flags.readonly = true;
    for (size_t i = 0; i < nr; i++) {
        BlockNode *n = v->snapshot
                           ? img_open_snapshot(a->argv[i], v->format, a->image_opts, v->snapshot,
                                               &v->source_flags, errp)
                           : img_open(a->argv[i], v->format, a->image_opts, &v->source_flags, errp);
        if (!n) {
            return false;
        }
        v->copy.sources[v->copy.nr_sources++] = n;
        v->copy.size += n->size;
        if (!v->target_opts && img_uses_file(n, v->filename)) {
            return error_set(errp, "'%s' is what is to be converted; give the target another name",
                             v->filename);
        }
    }
    return true;
}

/* The image of the source's chain that is the target's backing file: then all behind it is the same
 * for both, and only what lies before it is read. */
static BlockNode *same_backing(const Convert *v, const char *path)
{
    if (v->copy.nr_sources != 1) {
        return NULL;
    }
    struct stat want, st;
    if (stat(path, &want)) {
        return NULL;
    }
    for (BlockNode *n = v->copy.sources[0]->backing; n; n = n->backing) {
        const char *file = img_protocol_file(n);
        if (file && stat(file, &st) == 0 && st.st_ino == want.st_ino && st.st_dev == want.st_dev &&
            !strcmp(n->driver->name, v->backing_format)) {
            return n;
        }
    }
    return NULL;
}

/* What the new target will read as where nothing is written. */
static bool open_behind(Convert *v, Error **errp)
{
    if (!v->backing) {
        return true;
    }
    char *path = block_backing_path(v->filename, v->backing);
    BlockFlags flags = v->source_flags;
    v->copy.above = same_backing(v, path);
    if (!v->copy.above) {
        v->copy.behind = block_open_image(path, v->backing_format, &flags, errp);
    }
    free(path);
    return v->copy.above || v->copy.behind;
}

static bool make_target(Convert *v, const BlockDriver *d, Error **errp)
{
    if (v->backing) {
        dict_set(v->opts, "backing_file", v->backing);
        dict_set(v->opts, "backing_fmt", v->backing_format);
    }
    if (!dict_has(v->opts, "size")) {
        dict_setf(v->opts, "size", "%" PRIu64, v->copy.size);
    }
    if (dict_has(v->opts, "backing_file") && !img_has_create_option(d, "backing_file")) {
        return error_set(errp, "the format '%s' has no backing files; qcow2 has (-O qcow2)",
                         d->name);
    }
    if (!img_check_create_options(d, v->opts, errp) ||
        !block_create(d, v->filename, v->opts, errp)) {
        return false;
    }
    v->copy.target_is_zero = !v->backing && !img_is_device(v->filename);
    return true;
}

static bool can_compress(const Convert *v, const BlockDriver *d, Error **errp)
{
    return !v->copy.compress || d->write_compressed ||
           error_set(errp, "the format '%s' does not compress; qcow2 does (-O qcow2)", d->name);
}

static bool open_target(Convert *v, const BlockDriver *d, Error **errp)
{
    v->target_flags.discard = true;
    if (!v->no_create && !make_target(v, d, errp)) {
        return false;
    }
    v->copy.target = img_open(v->filename, v->target_opts ? NULL : d->name, v->target_opts,
                              &v->target_flags, errp);
    if (!v->copy.target) {
        return false;
    }
    if (v->copy.target->size < v->copy.size) {
        return error_set(errp, "the target '%s' has %" PRIu64 " bytes, %" PRIu64 " are needed",
                         v->filename, v->copy.target->size, v->copy.size);
    }
    return can_compress(v, v->copy.target->driver, errp); /* -n: it has its own format */
}

static bool convert(Convert *v, const BlockDriver *d, Error **errp)
{
    if (!can_compress(v, d, errp) || !open_behind(v, errp) || !open_target(v, d, errp)) {
        return false;
    }
    /* Formats lay out their file as they go, and the page cache takes one writer at a time;
     * compressed clusters are packed wherever they come. */
    const BlockNode *t = v->copy.target;
    v->copy.ordered =
        (t->cluster_size || !t->flags.direct) && !v->out_of_order && !v->copy.compress;
    v->copy.progress = &v->progress;
    bool ok = copy_run(&v->copy, errp);
    img_progress_end(&v->progress);
    int error = ok ? block_flush(v->copy.target) : 0;
    if (error) {
        return error_set_errno(errp, error, "'%s' cannot be flushed", v->filename);
    }
    if (ok && v->copy.unreadable) {
        warn_report("%" PRIu64 " bytes could not be read and are zeroes now", v->copy.unreadable);
    }
    return ok;
}

static void close_all(Convert *v)
{
    block_unref(v->copy.target);
    block_unref(v->copy.behind);
    for (size_t i = 0; i < v->copy.nr_sources; i++) {
        block_unref(v->copy.sources[i]);
    }
    free(v->copy.sources);
    dict_free(v->opts);
}

static int run(ImgArgs *a)
{
    Convert v = { .out_format = "raw",
                  .opts = dict_new(),
                  .target_flags = { .no_flush = true },
                  .copy = { .sparse = 4096, .workers = 8 } };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        if (!set_option(&v, c, a->value, &err)) {
            break;
        }
    }
    const BlockDriver *d = a->failed || err ? NULL : img_find_format(v.out_format, &err);
    bool help = d && img_options_help(v.opts);
    if (help) {
        img_print_create_options(d);
    }
    if (!d || help || !img_operands(a, 2, -1, "one or more images and a target")) {
        close_all(&v);
        return err ? img_fail(err) : !help;
    }
    v.filename = a->argv[a->argc - 1];
    v.progress.on &= !a->quiet;
    img_catch_interrupts();
    bool ok = check_options(&v, &err) && open_sources(&v, a, &err) && convert(&v, d, &err);
    close_all(&v);
    return ok ? 0 : img_fail(err);
}

const ImgCommand img_convert = {
    "convert",
    "[-f FMT] [-O FMT] [-o OPTIONS] [-B FILE -F FMT] [-c] [-p] [-n] [OPTION...] FILE... TARGET",
    "Copies an image into one of another format. Several are put one behind the other.",
    options,
    run,
};
