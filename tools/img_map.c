/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img map: which image of a chain holds which part of the disk, and where.
 */
#include <inttypes.h>
#include <json-c/json.h>

#include "block/chain.h"
#include "tools/img.h"

static const ImgOption options[] = {
    { 'f', "format", "FMT", "the image's format [what its first bytes look like]" },
    { OPT_OUTPUT, "output", "human|json", "for whom" },
    { 's', "start-offset", "OFFSET", "begin there" },
    { 'l', "max-length", "LENGTH", "and look at so much" },
    { 'U', "force-share", NULL, "although another program may be writing to it" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

/* One line of the map. */
typedef struct Entry {
    uint64_t start;
    BlockExtent e;
    unsigned depth;
    const BlockNode *owner;
} Entry;

static bool joins(const Entry *a, const Entry *b)
{
    return a->e.len && a->depth == b->depth && a->owner == b->owner && a->e.zero == b->e.zero &&
           a->e.data == b->e.data && a->e.compressed == b->e.compressed &&
           a->e.allocated == b->e.allocated && a->e.has_offset == b->e.has_offset &&
           (!a->e.has_offset || a->e.offset + a->e.len == b->e.offset);
}

static const char *word(bool b)
{
    return b ? "true" : "false";
}

static bool print(const Entry *x, bool json, bool last, Error **errp)
{
    const BlockExtent *e = &x->e;
    if (!e->len) {
        return true;
    }
    if (json) {
        printf("{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": %s, "
               "\"zero\": %s, \"data\": %s, \"compressed\": %s",
               x->start, e->len, x->depth, word(e->allocated), word(e->zero), word(e->data),
               word(e->compressed));
        if (e->has_offset) {
            printf(", \"offset\": %" PRIu64, e->offset);
        }
        printf("}%s", last ? "" : ",\n");
        return true;
    }
    if (!e->data || e->zero) {
        return true;
    }
    if (!e->has_offset || !x->owner) {
        return error_set(errp,
                         "the image has compressed parts, or such that lie in another file: take "
                         "--output=json");
    }
    char start[32], length[32], offset[32];
    snprintf(start, sizeof(start), x->start ? "0x%" PRIx64 : "0", x->start);
    snprintf(length, sizeof(length), "0x%" PRIx64, e->len);
    snprintf(offset, sizeof(offset), e->offset ? "0x%" PRIx64 : "0", e->offset);
    printf("%-15s %-15s %-15s %s\n", start, length, offset, x->owner->filename);
    return true;
}

static bool map(BlockNode *n, uint64_t at, uint64_t end, bool json, Error **errp)
{
    Entry last = { .e.len = 0 };
    while (at < end && !img_interrupted()) {
        Entry x = { .start = at };
        BlockNode *owner;
        int error = block_chain_status(n, NULL, at, end - at, &x.e, &owner, &x.depth);
        if (error) {
            return error_set_errno(errp, error, "the map of '%s' at offset %" PRIu64, n->filename,
                                   at);
        }
        x.owner = owner;
        at += x.e.len;
        if (joins(&last, &x)) {
            last.e.len += x.e.len;
            continue;
        }
        if (!print(&last, json, false, errp)) {
            return false;
        }
        last = x;
    }
    return print(&last, json, true, errp);
}

static int run(ImgArgs *a)
{
    const char *format = NULL;
    bool json = false;
    uint64_t start = 0, max = UINT64_MAX;
    BlockFlags flags = { .readonly = true };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        bool ok = true;
        switch (c) {
        case 'f': format = a->value; break;
        case 'U': flags.no_lock = true; break;
        case 's': ok = img_parse_size("the start", a->value, &start, &err); break;
        case 'l': ok = img_parse_size("the length", a->value, &max, &err); break;
        case OPT_OUTPUT: ok = img_parse_output(a->value, &json, &err); break;
        }
        if (!ok) {
            return img_fail(err);
        }
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return 1;
    }
    BlockNode *n = img_open(a->argv[0], format, a->image_opts, &flags, &err);
    if (!n) {
        return img_fail(err);
    }
    start = MIN(start, n->size);
    if (json) {
        printf("[");
    } else {
        printf("%-15s %-15s %-15s %s\n", "Offset", "Length", "Mapped to", "File");
    }
    img_catch_interrupts();
    bool ok = map(n, start, start + MIN(max, n->size - start), json, &err);
    if (json) {
        printf("]\n");
    }
    block_unref(n);
    return ok ? img_interrupted() : img_fail(err);
}

const ImgCommand img_map = {
    "map",
    "[-f FMT] [--output=human|json] [-s OFFSET] [-l LENGTH] [-U] FILE",
    "Shows which image of the chain holds which part of the disk, and where in the file.",
    options,
    run,
};
