/* SPDX-License-Identifier: GPL-2.0-or-later
 * A drive as block/drive.c (registry, options, media) and block/request.c (requests) see it.
 */
#ifndef BLOCK_DRIVE_IMPL_H
#define BLOCK_DRIVE_IMPL_H

#include "block/block.h"
#include "block/node.h"
#include "block/throttle.h"

typedef enum OnError { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_STOP, ON_ERROR_ENOSPC } OnError;

struct Drive {
    char *id, *serial;
    BlockNode *node; /* NULL: no medium */
    struct {
        int fd; /* the bytes lie in this file as they are, for io_uring; -1: they do not */
        uint64_t offset;
        unsigned align; /* direct I/O */
        bool guessed;   /* writes to its first BLOCK_HEAD bytes are looked at: not for the ring */
    } fast;
    Dict *node_opts; /* what was said of its nodes */
    BlockFlags flags; /* of new media, but for readonly */
    bool cdrom, readonly, snapshot;
    bool floppy;     /* media change and may be missing, as a CD's, but are written to */
    bool copy_on_read;
    bool boot;       /* boot=on */
    bool writeback;  /* else each write is flushed */
    bool deleted;    /* drive_del; goes when its device lets go of it */
    bool of_node;    /* on a node of -blockdev, for a device that named it */
    OnError on_write_error, on_read_error;
    const DriveUser *user;
    void *user_opaque;
    char *user_path;
    unsigned in_flight; /* without those in held */
    unsigned quiet;     /* blk_quiesce: new requests wait in held */
    List held;          /* Job.queue */
    ThrottleGroup *throttle; /* NULL: no limits */
    List kept; /* failed requests that wait for drives_retry */
    struct {
        uint64_t bytes, requests, failed;
        uint64_t time_ns; /* from the device's request to its answer, all added up */
    } stats[BLK_WRITE_ZEROES + 1];
    uint64_t last_access_ns; /* host clock; 0: never */
    List node_list;
};

/* drive_options.c: fills d as -drive's options say, but for the medium. */
bool drive_configure(Drive *d, const Dict *opts, Error **errp) MUST_USE;

/* request.c: what waits for blk_resume begins now, and fails where there is no medium. */
void drive_begin_held(Drive *d);

extern List block_drives; /* all of them, in order of creation; vm_lock */

#endif
