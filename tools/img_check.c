/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img check: looks for errors in an image's own tables, and repairs them.
 *
 * Exit status: 0 good (or now good), 1 the check could not be done, 2 corrupt, 3 space is lost
 * but all data are good, 63 the format has nothing to check.
 */
#include <inttypes.h>
#include <json-c/json.h>

#include "tools/img.h"

enum { STATUS_FAILED = 1, STATUS_CORRUPT = 2, STATUS_LEAKS = 3, STATUS_NO_CHECK = 63 };

static const ImgOption options[] = {
    { 'f', "format", "FMT", "the image's format [what its first bytes look like]" },
    { 'r', "repair", "leaks|all", "repair lost space only, or everything" },
    { OPT_OUTPUT, "output", "human|json", "for whom" },
    { 'T', NULL, "CACHE", "how it is read [writeback]" },
    { 'U', "force-share", NULL, "although another program may be writing to it" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

static void add(json_object *o, const char *key, uint64_t value, bool always)
{
    if (value || always) {
        json_object_object_add(o, key, json_object_new_int64((int64_t)value));
    }
}

static void print_json(const BlockNode *n, const char *name, const BlockCheck *r)
{
    json_object *o = json_object_new_object();
    add(o, "image-end-offset", r->image_end_offset, false);
    add(o, "total-clusters", r->total_clusters, false);
    add(o, "check-errors", r->errors, true);
    add(o, "corruptions", r->corruptions, false);
    add(o, "leaks", r->leaks, false);
    add(o, "corruptions-fixed", r->corruptions_fixed, false);
    add(o, "leaks-fixed", r->leaks_fixed, false);
    add(o, "allocated-clusters", r->allocated_clusters, false);
    add(o, "fragmented-clusters", r->fragmented_clusters, false);
    add(o, "compressed-clusters", r->compressed_clusters, false);
    json_object_object_add(o, "filename", json_object_new_string(name));
    json_object_object_add(o, "format", json_object_new_string(n->driver->name));
    printf("%s\n",
           json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                 JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}

static void print_human(const BlockCheck *r)
{
    if (!r->errors && !r->corruptions && !r->leaks) {
        printf("No errors were found on the image.\n");
    }
    if (r->corruptions) {
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Do not write to it before it is repaired (check -r all); data may be lost.\n",
               r->corruptions);
    }
    if (r->leaks) {
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "They cost space on the disk, no data (check -r leaks frees them).\n",
               r->leaks);
    }
    if (r->errors) {
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", r->errors);
    }
    if (r->total_clusters && r->allocated_clusters) {
        double all = (double)r->allocated_clusters;
        printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed "
               "clusters\n",
               r->allocated_clusters, r->total_clusters, all * 100 / (double)r->total_clusters,
               (double)r->fragmented_clusters * 100 / all,
               (double)r->compressed_clusters * 100 / all);
    }
    if (r->image_end_offset) {
        printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
    }
}

static int status_of(const BlockCheck *r)
{
    return r->errors        ? STATUS_FAILED
           : r->corruptions ? STATUS_CORRUPT
           : r->leaks       ? STATUS_LEAKS
                            : 0;
}

/* After a repair the image is looked at once more, with what was repaired in the report. */
static bool check(const ImgArgs *a, BlockNode *n, unsigned fix, bool json, BlockCheck *r,
                  Error **errp)
{
    if (!n->driver->check(n, fix, r, errp)) {
        return false;
    }
    uint64_t fixed = r->corruptions_fixed, freed = r->leaks_fixed;
    if (!fixed && !freed) {
        return true;
    }
    if (!json) {
        img_say(a,
                "The following inconsistencies were found and repaired:\n\n"
                "    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n\n"
                "Double checking the fixed image now...\n",
                freed, fixed);
    }
    *r = (BlockCheck){ .errors = 0 };
    bool ok = n->driver->check(n, 0, r, errp);
    r->corruptions_fixed = fixed;
    r->leaks_fixed = freed;
    return ok;
}

static int run(ImgArgs *a)
{
    const char *format = NULL;
    bool json = false, through = false;
    unsigned fix = 0;
    BlockFlags flags = { .for_check = true, .no_backing = true, .discard = true };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        switch (c) {
        case 'f': format = a->value; break;
        case 'U': flags.no_lock = true; break;
        case 'r':
            fix = !strcmp(a->value, "leaks") ? BLOCK_FIX_LEAKS : BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS;
            if (strcmp(a->value, "leaks") && strcmp(a->value, "all")) {
                return img_usage_error(a, "-r %s: it is leaks or all", a->value);
            }
            break;
        case 'T':
            if (!img_parse_cache(a->value, &flags, &through, &err)) {
                return img_fail(err);
            }
            break;
        case OPT_OUTPUT:
            if (!img_parse_output(a->value, &json, &err)) {
                return img_fail(err);
            }
            break;
        }
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return STATUS_FAILED;
    }
    if (fix && flags.no_lock) {
        return img_usage_error(a,
                               "-r and -U exclude each other: nobody else may use an image that is "
                               "repaired");
    }
    flags.readonly = !fix;
    BlockNode *n = img_open(a->argv[0], format, a->image_opts, &flags, &err);
    if (!n) {
        return img_fail(err);
    }
    if (!n->driver->check) {
        info_report("images of the format '%s' have nothing that could be checked",
                    n->driver->name);
        block_unref(n);
        return STATUS_NO_CHECK;
    }
    BlockCheck r = { .errors = 0 };
    int status = STATUS_FAILED;
    if (!check(a, n, fix, json, &r, &err)) {
        img_fail(err);
    } else {
        status = status_of(&r);
        if (json) {
            print_json(n, a->argv[0], &r);
        } else if (!a->quiet || status) {
            print_human(&r);
        }
    }
    block_unref(n);
    return status;
}

const ImgCommand img_check = {
    "check",
    "[-f FMT] [-r leaks|all] [--output=human|json] [-T CACHE] [-U] FILE",
    "Looks for errors in an image's tables and repairs them. Exit status: 0 good, 1 not checked, "
    "2 corrupt,\n3 only space is lost, 63 the format has nothing to check.",
    options,
    run,
};
