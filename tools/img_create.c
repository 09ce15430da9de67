/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img create: a new image, empty or over a backing file.
 */
#include <inttypes.h>

#include "tools/img.h"
#include "util/alloc.h"

static const ImgOption options[] = {
    { 'f', NULL, "FMT", "the image's format [raw]" },
    { 'b', NULL, "FILE", "the backing file: what the new image does not hold is read there" },
    { 'F', NULL, "FMT", "its format" },
    { 'o', NULL, "OPTIONS", "the format's own: key=value,...; -o help lists them" },
    { 'u', NULL, NULL, "do not look at the backing file; SIZE is needed then" },
    IMG_OPTIONS_END,
};

/* The new image is as large as what lies behind it, unless told. */
static bool look_at_backing(const char *filename, const char *backing, const char *format,
                            Dict *opts, Error **errp)
{
    char *path = block_backing_path(filename, backing);
    BlockFlags flags = { .readonly = true, .no_lock = true };
    BlockNode *n = NULL;
    if (!format) {
        flags.no_backing = true;
        n = block_open_image(path, NULL, &flags, errp);
        if (n) {
            error_set(errp,
                      "the backing file '%s' needs its format: give -F %s if that is what it is",
                      backing, n->driver->name);
        }
    } else if (img_uses_file((n = block_open_image(path, format, &flags, errp)), filename)) {
        error_set(errp, "'%s' would be its own backing file", filename);
    } else if (n && !dict_has(opts, "size")) {
        dict_setf(opts, "size", "%" PRIu64, n->size);
    }
    block_unref(n);
    free(path);
    return !*errp || error_prefix(errp, "'%s': ", filename);
}

/* The line that names what was made, with all that was asked for. */
static void say_formatting(const ImgArgs *a, const BlockDriver *d, const char *filename,
                           const Dict *opts)
{
    img_say(a, "Formatting '%s', fmt=%s", filename, d->name);
    for (const BlockOption *o = d->create_options; o && o->name; o++) {
        const char *value = dict_has(opts, o->name) ? dict_get(opts, o->name) : NULL;
        if (value && strcmp(o->name, "size")) {
            img_say(a, " %s=%s", o->name, value);
        }
    }
    img_say(a, " size=%s\n", dict_get(opts, "size"));
    fflush(stdout);
}

static bool fill_in(const char *filename, const char *size, const char *backing,
                    const char *backing_format, bool unsafe, const BlockDriver *d, Dict *opts,
                    Error **errp)
{
    uint64_t bytes = 0;
    if (backing) {
        dict_set(opts, "backing_file", backing);
    }
    if (backing_format) {
        dict_set(opts, "backing_fmt", backing_format);
    }
    if (dict_has(opts, "backing_file") && !img_has_create_option(d, "backing_file")) {
        return error_set(errp, "the format '%s' has no backing files; qcow2 has (-f qcow2)",
                         d->name);
    }
    if (size) {
        if (!img_parse_size("the size", size, &bytes, errp)) {
            return false;
        }
        dict_setf(opts, "size", "%" PRIu64, bytes);
    } else if (dict_has(opts, "size")) {
        if (!img_parse_size("the size", dict_get(opts, "size"), &bytes, errp)) {
            return false;
        }
        dict_setf(opts, "size", "%" PRIu64, bytes);
    }
    if (!img_check_create_options(d, opts, errp)) {
        return false;
    }
    backing = dict_has(opts, "backing_file") ? dict_get(opts, "backing_file") : NULL;
    backing_format = dict_has(opts, "backing_fmt") ? dict_get(opts, "backing_fmt") : NULL;
    if (backing_format && !img_find_format(backing_format, errp)) {
        return false;
    }
    if (backing_format && !backing) {
        return error_set(errp, "-F names the format of a backing file, but there is none (-b)");
    }
    if (backing && unsafe && !backing_format) {
        return error_set(errp, "the backing file '%s' needs its format: give -F FMT", backing);
    }
    if (backing && !unsafe && !look_at_backing(filename, backing, backing_format, opts, errp)) {
        return false;
    }
    return dict_has(opts, "size") ||
           error_set(errp, "'%s': how large? Give a size, for instance 20G", filename);
}

static int create(ImgArgs *a, Dict **opts)
{
    const char *format = "raw", *backing = NULL, *backing_format = NULL;
    bool unsafe = false;
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        switch (c) {
        case 'f': format = a->value; break;
        case 'b': backing = a->value; break;
        case 'F': backing_format = a->value; break;
        case 'u': unsafe = true; break;
        case 'o':
            if (!img_add_options(opts, a->value, &err)) {
                return img_fail(err);
            }
            break;
        }
    }
    if (a->failed) {
        return 1;
    }
    const BlockDriver *d = img_find_format(format, &err);
    if (d && img_options_help(*opts)) {
        img_print_create_options(d);
        return 0;
    }
    if (!d || !img_operands(a, 1, 2, "a file name and a size")) {
        return err ? img_fail(err) : 1;
    }
    const char *filename = a->argv[0];
    if (!fill_in(filename, a->argc > 1 ? a->argv[1] : NULL, backing, backing_format, unsafe, d,
                 *opts, &err)) {
        return img_fail(err);
    }
    say_formatting(a, d, filename, *opts);
    if (!block_create(d, filename, *opts, &err)) {
        return img_fail(err);
    }
    return 0;
}

static int run(ImgArgs *a)
{
    Dict *opts = dict_new();
    int status = create(a, &opts);
    dict_free(opts);
    return status;
}

const ImgCommand img_create = {
    "create",
    "[-f FMT] [-b FILE -F FMT] [-u] [-o OPTIONS] FILE [SIZE]",
    "Makes an empty image. Without SIZE it is as large as its backing file.",
    options,
    run,
};
