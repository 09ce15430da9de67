/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-io: what its files share. One image is open at a time; commands are rows of a table.
 */
#ifndef TOOLS_IO_H
#define TOOLS_IO_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/node.h"

/* How the image was opened, for reopen. */
typedef struct IoOpen {
    char *file, *format;
    bool image_opts, snapshot, copy_on_read;
    BlockFlags flags;
    bool through; /* a flush after each write */
} IoOpen;

typedef struct Io {
    BlockNode *n;     /* NULL: nothing is open */
    BlockNode *image; /* n, or below its copy-on-read: knows of formats */
    IoOpen how;
    bool misalign; /* -m: buffers at odd addresses */
    bool quit;
    pthread_mutex_t mutex; /* in_flight, and whole results on stdout */
    pthread_cond_t idle;
    unsigned in_flight; /* of aio_read, aio_write */
} Io;

typedef struct IoCommand {
    const char *name, *alias;
    int min, max; /* arguments; max -1: any number */
    bool needs_image;
    const char *args, *help;
    bool (*run)(Io *io, const struct IoCommand *c, int argc, char **argv); /* false: it failed */
} IoCommand;

extern const IoCommand io_commands[]; /* tools/io_cmds.c; ends with a NULL name */
const IoCommand *io_find(const char *name);
bool io_usage(const IoCommand *c); /* prints how it is used; false */

/* tools/io.c */
bool io_open(Io *io, const IoOpen *how, Error **errp) MUST_USE;
void io_close(Io *io);
void io_forget(IoOpen *how);
bool io_parse_size(const char *text, uint64_t *out) MUST_USE; /* says if it is none */
bool io_parse_cache(const char *mode, IoOpen *how) MUST_USE;  /* says */
bool io_fail(Error *err);                                     /* reports (takes err); false */

/* tools/io_rw.c */
bool io_read(Io *io, const IoCommand *c, int argc, char **argv);
bool io_write(Io *io, const IoCommand *c, int argc, char **argv);
bool io_discard(Io *io, const IoCommand *c, int argc, char **argv);
void io_wait(Io *io); /* for all started requests */
/* "1.500 KiB", "512 bytes" */
typedef struct IoSize {
    char text[32];
} IoSize;
IoSize io_size(double bytes);

#endif
