/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img measure: how large a new image would be as a file.
 */
#include <inttypes.h>
#include <json-c/json.h>

#include "block/chain.h"
#include "tools/img.h"

static const ImgOption options[] = {
    { 'O', NULL, "FMT", "the new image's format [raw]" },
    { 'o', NULL, "OPTIONS", "its options: key=value,..." },
    { OPT_SIZE, "size", "SIZE", "of an empty image; or FILE is what would be converted" },
    { 'f', "format", "FMT", "FILE's format" },
    { OPT_OUTPUT, "output", "human|json", "for whom" },
    { 'U', "force-share", NULL, "although another program may be writing to it" },
    { 'l', "snapshot", "NAME", "FILE as it was at that snapshot inside it" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

/* Bytes of the clusters that n uses at all. */
static bool count_data(BlockNode *n, uint64_t cluster, uint64_t *bytes, Error **errp)
{
    uint64_t used_to = 0; /* the end of the last cluster counted */
    *bytes = 0;
    for (uint64_t at = 0; at < n->size;) {
        BlockExtent e;
        int error = block_chain_status(n, NULL, at, n->size - at, &e, NULL, NULL);
        if (error) {
            return error_set_errno(errp, error, "the map of '%s' at offset %" PRIu64, n->filename,
                                   at);
        }
        if (e.data && !e.zero) {
            uint64_t from = MAX(ROUND_DOWN(at, cluster), used_to);
            uint64_t to = ROUND_UP(at + e.len, cluster);
            *bytes += to > from ? to - from : 0;
            used_to = MAX(to, used_to);
        }
        at += e.len;
    }
    return true;
}

static bool measure(const BlockDriver *d, Dict *opts, BlockNode *source, uint64_t *required,
                    uint64_t *full, Error **errp)
{
    uint64_t cluster = 64 * KiB, data = 0;
    if (!d->measure) {
        return error_set(errp, "the format '%s' cannot be measured", d->name);
    }
    if (!img_check_create_options(d, opts, errp) ||
        !dict_get_size(opts, "cluster_size", 1, &cluster, errp)) {
        return false;
    }
    if (source) {
        dict_setf(opts, "size", "%" PRIu64, source->size);
        if (!count_data(source, cluster ? cluster : 64 * KiB, &data, errp)) {
            return false;
        }
    }
    return d->measure(opts, data, required, full, errp);
}

static void print(uint64_t required, uint64_t full, bool json)
{
    if (!json) {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, full);
        return;
    }
    json_object *o = json_object_new_object();
    json_object_object_add(o, "required", json_object_new_int64((int64_t)required));
    json_object_object_add(o, "fully-allocated", json_object_new_int64((int64_t)full));
    printf("%s\n",
           json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
    json_object_put(o);
}

static int run_with(ImgArgs *a, Dict **opts)
{
    const char *format = NULL, *out_format = "raw", *snapshot = NULL;
    bool json = false, have_size = false;
    uint64_t size = 0, required = 0, full = 0;
    BlockFlags flags = { .readonly = true };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        bool ok = true;
        switch (c) {
        case 'f': format = a->value; break;
        case 'O': out_format = a->value; break;
        case 'U': flags.no_lock = true; break;
        case 'o': ok = img_add_options(opts, a->value, &err); break;
        case 'l': snapshot = a->value; break;
        case OPT_SIZE:
            ok = img_parse_size("--size", a->value, &size, &err);
            have_size = true;
            break;
        case OPT_OUTPUT: ok = img_parse_output(a->value, &json, &err); break;
        }
        if (!ok) {
            return img_fail(err);
        }
    }
    const BlockDriver *d = a->failed ? NULL : img_find_format(out_format, &err);
    if (d && img_options_help(*opts)) {
        img_print_create_options(d);
        return 0;
    }
    if (!d ||
        !img_operands(a, have_size ? 0 : 1, have_size ? 0 : 1, "one image or --size, not both")) {
        return err ? img_fail(err) : 1;
    }
    BlockNode *source = NULL;
    if (have_size) {
        dict_setf(*opts, "size", "%" PRIu64, size);
    } else {
        source = snapshot
                     ? img_open_snapshot(a->argv[0], format, a->image_opts, snapshot, &flags, &err)
                     : img_open(a->argv[0], format, a->image_opts, &flags, &err);
        if (!source) {
            return img_fail(err);
        }
    }
    bool ok = measure(d, *opts, source, &required, &full, &err);
    if (ok) {
        print(required, full, json);
    }
    block_unref(source);
    return ok ? 0 : img_fail(err);
}

static int run(ImgArgs *a)
{
    Dict *opts = dict_new();
    int status = run_with(a, &opts);
    dict_free(opts);
    return status;
}

const ImgCommand img_measure = {
    "measure",
    "[-O FMT] [-o OPTIONS] [--output=human|json] (--size SIZE | [-f FMT] FILE)",
    "Says how large a new image would be as a file: with the data it has, and when it is full.",
    options,
    run,
};
