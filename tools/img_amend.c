/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img amend: other options for an image that exists.
 */
#include "tools/img.h"

static const ImgOption options[] = {
    { 'o', NULL, "OPTIONS", "the new values: key=value,...; -o help lists the format's options" },
    { 'f', NULL, "FMT", "the image's format [what its first bytes look like]" },
    { 't', NULL, "CACHE", "how it is written [writeback]" },
    { 'p', NULL, NULL, "show progress" },
    { OPT_FORCE, "force", NULL, NULL },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

static bool amend(BlockNode *n, const Dict *opts, Error **errp)
{
    if (!n->driver->amend) {
        return error_set(errp, "images of the format '%s' have no options that could be changed",
                         n->driver->name);
    }
    if (!img_check_create_options(n->driver, opts, errp) || !n->driver->amend(n, opts, errp)) {
        return false;
    }
    int error = block_flush(n);
    return !error || error_set_errno(errp, error, "'%s' cannot be flushed", n->filename);
}

static int run_with(ImgArgs *a, Dict **opts)
{
    const char *format = NULL;
    bool through;
    BlockFlags flags = { .discard = true, .no_backing = true };
    ImgProgress progress = { .total = 1 };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        bool ok = true;
        switch (c) {
        case 'f': format = a->value; break;
        case 'o': ok = img_add_options(opts, a->value, &err); break;
        case 'p': progress.on = true; break;
        case 't': ok = img_parse_cache(a->value, &flags, &through, &err); break;
        case OPT_FORCE:
            return img_usage_error(a, "--force is for encrypted images, which are not built");
        }
        if (!ok) {
            return img_fail(err);
        }
    }
    if (a->failed) {
        return 1;
    }
    if (img_options_help(*opts) && format) {
        const BlockDriver *d = img_find_format(format, &err);
        if (!d) {
            return img_fail(err);
        }
        img_print_create_options(d);
        return 0;
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return 1;
    }
    if (!*opts) {
        return img_usage_error(a, "-o key=value says what is to change");
    }
    progress.on &= !a->quiet;
    BlockNode *n = img_open(a->argv[0], format, a->image_opts, &flags, &err);
    bool ok = n != NULL;
    if (ok && img_options_help(*opts)) {
        img_print_create_options(n->driver);
    } else if (ok) {
        img_progress(&progress, 0);
        ok = amend(n, *opts, &err);
        if (ok) {
            img_progress(&progress, 1);
            img_progress_end(&progress);
        }
    }
    block_unref(n);
    return ok ? 0 : img_fail(err);
}

static int run(ImgArgs *a)
{
    Dict *opts = NULL;
    int status = run_with(a, &opts);
    dict_free(opts);
    return status;
}

const ImgCommand img_amend = {
    "amend",
    "-o OPTIONS [-f FMT] [-t CACHE] [-p] FILE",
    "Changes options of an image that exists, for instance compat=0.10.",
    options,
    run,
};
