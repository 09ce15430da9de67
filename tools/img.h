/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img: what its subcommands share. A subcommand is a row of a table (tools/img.c) whose
 * options are a table as well, from which both parsing and --help come. Each runs in the main
 * thread; only tools/copy.c and tools/img_bench.c start others.
 */
#ifndef TOOLS_IMG_H
#define TOOLS_IMG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/node.h"

/* Long options without a letter. */
enum {
    OPT_OUTPUT = 256,
    OPT_BACKING_CHAIN,
    OPT_IMAGE_OPTS,
    OPT_TARGET_IMAGE_OPTS,
    OPT_OBJECT,
    OPT_SHRINK,
    OPT_PREALLOCATION,
    OPT_SALVAGE,
    OPT_TARGET_IS_ZERO,
    OPT_SIZE,
    OPT_START_OFFSET,
    OPT_MAX_LENGTH,
    OPT_FLUSH_INTERVAL,
    OPT_NO_DRAIN,
    OPT_PATTERN,
    OPT_FORCE,
    OPT_UNBUILT, /* known from other programs, refused with a clear word */
};

typedef struct ImgOption {
    int code;         /* a letter, or OPT_X */
    const char *name; /* "force-share"; NULL: the letter only */
    const char *arg;  /* "FMT"; NULL: none */
    const char *help; /* NULL: not listed */
} ImgOption;
#define IMG_OPTIONS_END                                                                            \
    {                                                                                              \
        .code = 0                                                                                  \
    }

typedef struct ImgArgs ImgArgs;

typedef struct ImgCommand {
    const char *name, *usage, *help;
    const ImgOption *options; /* beside --help, --object and -q, which all have */
    int (*run)(ImgArgs *a);   /* the exit status */
} ImgCommand;

struct ImgArgs {
    const ImgCommand *cmd;
    int argc; /* left: after the options, the operands */
    char **argv;
    const char *value; /* of the option just returned */
    bool quiet;        /* -q */
    bool image_opts;   /* --image-opts */
    bool failed;       /* a wrong option: said already */
};

extern const ImgCommand img_amend, img_bench, img_check, img_commit, img_compare, img_convert,
    img_create, img_dd, img_info, img_map, img_measure, img_rebase, img_resize, img_snapshot;

/* The next option's code with a->value, 0 after the last. A wrong one sets a->failed and ends. */
int img_next_option(ImgArgs *a);
/* After the options: are there min to max operands? Says if not. */
bool img_operands(ImgArgs *a, int min, int max, const char *what) MUST_USE;

int img_fail(Error *err); /* reports (takes err); returns 1 */
int img_usage_error(const ImgArgs *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
void img_say(const ImgArgs *a, const char *fmt, ...) PRINTF_LIKE(2, 3); /* unless -q; stdout */

/* ---- arguments ---- */

bool img_parse_size(const char *what, const char *text, uint64_t *out, Error **errp) MUST_USE;
bool img_parse_count(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                     Error **errp) MUST_USE;
/* cache=: writeback, writethrough, none, directsync, unsafe. *through: flush after each write. */
bool img_parse_cache(const char *mode, BlockFlags *flags, bool *through, Error **errp) MUST_USE;
/* --output=human|json */
bool img_parse_output(const char *text, bool *json, Error **errp) MUST_USE;
/* -o: adds to *opts (made when needed). */
bool img_add_options(Dict **opts, const char *text, Error **errp) MUST_USE;
/* Was it -o help? */
bool img_options_help(const Dict *opts);
void img_print_create_options(const BlockDriver *d);
/* Are all keys of opts among the driver's create_options? */
bool img_check_create_options(const BlockDriver *d, const Dict *opts, Error **errp) MUST_USE;
bool img_has_create_option(const BlockDriver *d, const char *name);
/* A driver of images by name; NULL with *errp. */
const BlockDriver *img_find_format(const char *name, Error **errp);

/* ---- images ---- */

/* A file name, or with --image-opts a dictionary. */
BlockNode *img_open(const char *name, const char *format, bool image_opts, const BlockFlags *flags,
                    Error **errp);
/* The same, as it was at a snapshot inside it (an ID or a name); read-only. */
BlockNode *img_open_snapshot(const char *name, const char *format, bool image_opts,
                             const char *snapshot, const BlockFlags *flags, Error **errp);
/* An image over this node (borrowed; NULL: none) as its backing file, whatever the image says. */
BlockNode *img_open_over(const char *filename, const char *format, BlockNode *backing,
                         const BlockFlags *flags, Error **errp);
/* Is a file of that name part of n's chain? */
bool img_uses_file(const BlockNode *n, const char *filename);
const char *img_protocol_file(const BlockNode *n); /* the path below; NULL if there is none */
bool img_is_device(const char *filename);
/* "1.5 GiB"; into buf, which is returned. */
typedef struct SizeText {
    char text[32];
} SizeText;
SizeText img_size_text(uint64_t bytes);

/* The table of snapshots, as info and snapshot -l show it. */
void img_print_snapshots(const BlockSnapshot *list, size_t nr);

/* ---- long work ---- */

/* Ctrl-C was pressed: stop at the next good place. */
bool img_interrupted(void);
void img_catch_interrupts(void);

/* -p: "    (12.34/100%)". Any thread; prints when it changed. */
typedef struct ImgProgress {
    bool on;
    uint64_t total, done;
    unsigned shown; /* hundredths of a percent */
} ImgProgress;
void img_progress(ImgProgress *p, uint64_t done);
void img_progress_end(ImgProgress *p);

#endif
