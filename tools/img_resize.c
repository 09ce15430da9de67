/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img resize: another virtual size for an image.
 */
#include <assert.h>
#include <inttypes.h>

#include "tools/img.h"

static const ImgOption options[] = {
    { 'f', "format", "FMT", "the image's format [what its first bytes look like]" },
    { OPT_SHRINK, "shrink", NULL, "it may become smaller; what lies past the new end is lost" },
    { OPT_PREALLOCATION, "preallocation", "MODE",
      "off, metadata, falloc or full, for what is added" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

static bool new_size(const char *text, uint64_t old, uint64_t *size, Error **errp)
{
    char sign = text[0] == '+' || text[0] == '-' ? text[0] : 0;
    uint64_t value;
    if (!img_parse_size("the size", sign ? text + 1 : text, &value, errp)) {
        return false;
    }
    if (sign == '-' && value > old) {
        return error_set(errp, "the image has %" PRIu64 " bytes, there is no taking away %" PRIu64,
                         old, value);
    }
    *size = sign == '+' ? old + value : sign == '-' ? old - value : value;
    return *size <= INT64_MAX || error_set(errp, "the size %s is too large", text);
}

static bool resize(const ImgArgs *a, BlockNode *n, const char *text, bool shrink,
                   const char *prealloc, Error **errp)
{
    uint64_t size = 0;
    if (!new_size(text, n->size, &size, errp)) {
        return false;
    }
    if (size < n->size && !shrink) {
        return error_set(
            errp, "'%s' would lose what lies past %s; if nothing there is needed, give --shrink",
            n->filename, img_size_text(size).text);
    }
    if (size <= n->size && strcmp(prealloc, "off")) {
        return error_set(errp, "--preallocation is for images that grow");
    }
    if (size == n->size) {
        img_say(a, "Image resized.\n");
        return true;
    }
    if (!block_resize(n, size, prealloc, errp)) {
        return false;
    }
    int error = block_flush(n);
    if (error) {
        return error_set_errno(errp, error, "'%s' cannot be flushed", n->filename);
    }
    img_say(a, "Image resized.\n");
    return true;
}

static int run(ImgArgs *a)
{
    static const char *const modes[] = { "off", "metadata", "falloc", "full", NULL };
    const char *format = NULL, *prealloc = "off", *text = NULL;
    bool shrink = false;
    Error *err = NULL;
    if (a->argc > 1 && a->argv[a->argc - 1][0] != '-') {
        text = a->argv[--a->argc];
    } else if (a->argc > 2 && a->argv[a->argc - 1][1] >= '0' && a->argv[a->argc - 1][1] <= '9') {
        text = a->argv[--a->argc]; /* "-1G" is no option */
    }
    for (int c; (c = img_next_option(a)) != 0;) {
        switch (c) {
        case 'f': format = a->value; break;
        case OPT_SHRINK: shrink = true; break;
        case OPT_PREALLOCATION: prealloc = a->value; break;
        }
    }
    if (!img_operands(a, text ? 1 : 2, 1, "one image and a size, or +SIZE or -SIZE")) {
        return 1;
    }
    assert(text); /* else there was one operand too few */
    const char *const *m = modes;
    while (*m && strcmp(*m, prealloc)) {
        m++;
    }
    if (!*m) {
        return img_usage_error(a, "--preallocation=%s: it is off, metadata, falloc or full",
                               prealloc);
    }
    BlockFlags flags = { .discard = true };
    BlockNode *n = img_open(a->argv[0], format, a->image_opts, &flags, &err);
    if (!n) {
        return img_fail(err);
    }
    if (n->probed && !strcmp(n->driver->name, "raw")) {
        warn_report(
            "'%s' is taken for a raw image because it looks like nothing else; -f raw says so",
            a->argv[0]);
    }
    bool ok = resize(a, n, text, shrink, prealloc, &err);
    block_unref(n);
    return ok ? 0 : img_fail(err);
}

const ImgCommand img_resize = {
    "resize",
    "[-f FMT] [--shrink] [--preallocation=MODE] FILE [+|-]SIZE",
    "Gives an image another virtual size. Partitions and file systems inside stay as they are.",
    options,
    run,
};
