/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img dd: a part of an image becomes a new image, in the words of dd.
 */
#include <inttypes.h>

#include "tools/copy.h"
#include "util/alloc.h"

static const ImgOption options[] = {
    { 'f', NULL, "FMT", "the source's format [what its first bytes look like]" },
    { 'O', NULL, "FMT", "the new image's format [raw]" },
    { 'U', "force-share", NULL, "although another program may be writing to the source" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "if= is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

typedef struct Dd {
    const char *in, *out;
    uint64_t bs, count, skip, osize;
    bool has_count, has_osize;
} Dd;

static bool parse_word(Dd *d, const char *word, Error **errp)
{
    static const char *const keys[] = { "if", "of", "bs", "count", "skip", "osize", NULL };
    const char *value = strchr(word, '=');
    if (!value) {
        return error_set(errp, "'%s' is not of the form key=value, for instance if=disk.img", word);
    }
    char *key = xstrndup(word, (size_t)(value++ - word));
    bool ok = true;
    if (!strcmp(key, "if")) {
        d->in = value;
    } else if (!strcmp(key, "of")) {
        d->out = value;
    } else if (!strcmp(key, "bs")) {
        ok = img_parse_size("bs", value, &d->bs, errp) &&
             (d->bs || error_set(errp, "bs=0: a block has at least one byte"));
    } else if (!strcmp(key, "count")) {
        d->has_count = true;
        ok = img_parse_size("count", value, &d->count, errp);
    } else if (!strcmp(key, "skip")) {
        ok = img_parse_size("skip", value, &d->skip, errp);
    } else if (!strcmp(key, "osize")) {
        d->has_osize = true;
        ok = img_parse_size("osize", value, &d->osize, errp);
    } else {
        const char *near = suggest(key, keys);
        ok = error_set(errp, "dd has no '%s='%s%s%s", key, near ? "; did you mean '" : "",
                       near ? near : "", near ? "='?" : "");
    }
    free(key);
    return ok;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static bool copy(const Dd *d, BlockNode *source, const BlockDriver *driver, Error **errp)
{
    uint64_t skip = MIN(times(d->skip, d->bs), source->size), size = source->size - skip;
    if (d->has_count) {
        size = MIN(size, times(d->count, d->bs));
    }
    Dict *opts = dict_new();
    dict_setf(opts, "size", "%" PRIu64, d->has_osize ? d->osize : size);
    bool ok = block_create(driver, d->out, opts, errp);
    dict_free(opts);
    BlockFlags flags = { .no_flush = true, .discard = true };
    BlockNode *target = ok ? block_open_image(d->out, driver->name, &flags, errp) : NULL;
    if (!target) {
        return false;
    }
    ImgProgress progress = { .on = false };
    Copy c = { .sources = &source,
               .nr_sources = 1,
               .skip = skip,
               .size = MIN(size, target->size),
               .target = target,
               .target_is_zero = !img_is_device(d->out),
               .ordered = true,
               .sparse = 4096,
               .workers = 2,
               .progress = &progress };
    ok = copy_run(&c, errp);
    block_unref(target);
    return ok;
}

static int run(ImgArgs *a)
{
    const char *format = NULL, *out_format = "raw";
    Dd d = { .bs = 512 };
    BlockFlags flags = { .readonly = true };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        switch (c) {
        case 'f': format = a->value; break;
        case 'O': out_format = a->value; break;
        case 'U': flags.no_lock = true; break;
        }
    }
    if (!img_operands(a, 2, -1, "if=FILE and of=FILE")) {
        return 1;
    }
    for (int i = 0; i < a->argc; i++) {
        if (!parse_word(&d, a->argv[i], &err)) {
            return img_fail(err);
        }
    }
    const BlockDriver *driver = img_find_format(out_format, &err);
    if (!driver || !d.in || !d.out) {
        return driver ? img_usage_error(a, "expected: if=FILE and of=FILE") : img_fail(err);
    }
    BlockNode *source = img_open(d.in, format, a->image_opts, &flags, &err);
    if (!source) {
        return img_fail(err);
    }
    img_catch_interrupts();
    bool ok;
    if (img_uses_file(source, d.out)) {
        ok = error_set(&err, "'%s' is what is to be read; give the new image another name", d.out);
    } else {
        ok = copy(&d, source, driver, &err);
    }
    block_unref(source);
    return ok ? 0 : img_fail(err);
}

const ImgCommand img_dd = {
    "dd",
    "[-f FMT] [-O FMT] [-U] if=FILE of=FILE [bs=SIZE] [count=N] [skip=N] [osize=SIZE]",
    "Copies count blocks of bs bytes, after skip blocks, into a new image of osize bytes.",
    options,
    run,
};
