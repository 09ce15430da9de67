/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img compare: do two images show a guest the same bytes?
 *
 * Exit status: 0 yes, 1 no, 2 one could not be opened, 3 its map and 4 its data not be read.
 */
#include <errno.h>
#include <inttypes.h>

#include "block/chain.h"
#include "tools/copy.h"

enum { STATUS_DIFFER = 1, STATUS_NOT_OPENED = 2, STATUS_NO_MAP = 3, STATUS_NOT_READ = 4 };
enum { CHUNK = 1 << 20 };

static const ImgOption options[] = {
    { 'f', NULL, "FMT", "the first image's format [what its first bytes look like]" },
    { 'F', NULL, "FMT", "the second's" },
    { 's', NULL, NULL, "strict: sizes and holes must be the same, too" },
    { 'T', NULL, "CACHE", "how both are read [writeback]" },
    { 'p', NULL, NULL, "show progress" },
    { 'U', "force-share", NULL, "although another program may be writing to them" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "both are driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

typedef struct Compare {
    const ImgArgs *a;
    BlockNode *n[2];
    bool strict;
    ImgProgress progress;
    uint8_t *buf[2];
} Compare;

static uint64_t first_difference(const uint8_t *x, const uint8_t *y, uint64_t len)
{
    uint64_t i = 0;
    while (i < len && x[i] == y[i]) {
        i++;
    }
    return i;
}

/* The part [at, at+len), which is data in images that are not zero. */
static int compare_data(Compare *c, const BlockExtent e[2], uint64_t at, uint64_t len)
{
    for (int i = 0; i < 2; i++) {
        if (e[i].zero) {
            memset(c->buf[i], 0, len);
            continue;
        }
        int error = block_pread(c->n[i], at, c->buf[i], len);
        if (error) {
            info_report("'%s' at byte %" PRIu64 ": %s", c->n[i]->filename, at, strerror(error));
            return STATUS_NOT_READ;
        }
    }
    if (!memcmp(c->buf[0], c->buf[1], len)) {
        return 0;
    }
    img_say(c->a, "Content mismatch at offset %" PRIu64 "!\n",
            at + first_difference(c->buf[0], c->buf[1], len));
    return STATUS_DIFFER;
}

/* One step from *at; an image that ended reads as zeroes. */
static int compare_step(Compare *c, uint64_t *at, uint64_t end)
{
    BlockExtent e[2];
    uint64_t len = end - *at;
    for (int i = 0; i < 2; i++) {
        BlockNode *n = c->n[i];
        if (*at >= n->size) {
            e[i] = (BlockExtent){ .len = len, .zero = true };
            continue;
        }
        int error = block_chain_status(n, NULL, *at, MIN(len, n->size - *at), &e[i], NULL, NULL);
        if (error) {
            info_report("the map of '%s' at byte %" PRIu64 ": %s", n->filename, *at,
                        strerror(error));
            return STATUS_NO_MAP;
        }
        len = e[i].len;
    }
    if (c->strict &&
        (e[0].zero != e[1].zero || e[0].data != e[1].data || e[0].allocated != e[1].allocated)) {
        img_say(c->a, "Strict mode: Offset %" PRIu64 " block status mismatch!\n", *at);
        return STATUS_DIFFER;
    }
    int status = 0;
    if (!e[0].zero || !e[1].zero) {
        len = MIN(len, (uint64_t)CHUNK);
        status = compare_data(c, e, *at, len);
    }
    *at += len;
    return status;
}

static int compare(Compare *c)
{
    uint64_t end = MAX(c->n[0]->size, c->n[1]->size);
    if (c->n[0]->size != c->n[1]->size) {
        img_say(c->a, c->strict ? "Strict mode: Image size mismatch!\n"
                                : "Warning: Image size mismatch!\n");
        if (c->strict) {
            return STATUS_DIFFER;
        }
    }
    c->progress.total = end;
    for (uint64_t at = 0; at < end;) {
        int status = compare_step(c, &at, end);
        if (img_interrupted()) {
            info_report("interrupted at byte %" PRIu64 ", no difference up to there", at);
            return STATUS_NOT_READ;
        }
        if (status) {
            return status;
        }
        img_progress(&c->progress, at);
    }
    img_progress_end(&c->progress);
    img_say(c->a, "Images are identical.\n");
    return 0;
}

static int run(ImgArgs *a)
{
    const char *format[2] = { NULL, NULL };
    Compare c = { .a = a };
    bool through;
    BlockFlags flags = { .readonly = true };
    Error *err = NULL;
    for (int o; (o = img_next_option(a)) != 0;) {
        switch (o) {
        case 'f': format[0] = a->value; break;
        case 'F': format[1] = a->value; break;
        case 's': c.strict = true; break;
        case 'p': c.progress.on = true; break;
        case 'U': flags.no_lock = true; break;
        case 'T':
            if (!img_parse_cache(a->value, &flags, &through, &err)) {
                img_fail(err);
                return STATUS_NOT_OPENED;
            }
            flags.readonly = true;
            break;
        }
    }
    if (!img_operands(a, 2, 2, "two images")) {
        return STATUS_NOT_OPENED;
    }
    c.progress.on &= !a->quiet;
    img_catch_interrupts();
    int status = STATUS_NOT_OPENED;
    for (int i = 0; i < 2 && !err; i++) {
        c.n[i] = img_open(a->argv[i], format[i], a->image_opts, &flags, &err);
        void *buf = NULL;
        if (!err && posix_memalign(&buf, 4096, CHUNK)) {
            error_set(&err, "no memory");
        }
        c.buf[i] = buf;
    }
    if (err) {
        img_fail(err);
    } else {
        status = compare(&c);
    }
    for (int i = 0; i < 2; i++) {
        block_unref(c.n[i]);
        free(c.buf[i]);
    }
    return status;
}

const ImgCommand img_compare = {
    "compare",
    "[-f FMT] [-F FMT] [-s] [-p] [-U] FILE1 FILE2",
    "Says whether two images show a guest the same bytes. Exit status: 0 yes, 1 no, 2 and more "
    "could "
    "not say.",
    options,
    run,
};
