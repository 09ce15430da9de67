/* SPDX-License-Identifier: GPL-2.0-or-later
 * Requests between a device's blk_submit and its done: request.c keeps account of them, pool.c and
 * uring.c carry them out.
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "block/drive_impl.h"

/* The device's BlkRequest may be cancelled meanwhile, so the data it points to must outlive that:
 * devices keep buffers until done or blk_drain. */
typedef struct Job {
    Drive *drive;
    BlkRequest *req; /* NULL once cancelled */
    BlkOp op;
    uint64_t offset, len;
    struct iovec *iov;
    int niov;
    bool fua;
    bool mapped; /* for the ring by the format: map_end is due */
    unsigned map_cookie;
    int error;
    uint64_t begin_ns; /* host clock */
    List all;          /* on request.c's list of all; vm_lock */
    List queue;        /* of the one who has it now: throttle, pool, finished */
} Job;

/* Any thread: j->error is its result, done will run in the main loop or in a blk_drain. */
void job_finished(Job *j);
/* vm_lock held: the same at once, in a reap. */
void job_done(Job *j);
/* An eventfd that becomes readable when something has finished; -1: none could be had. */
int job_completion_fd(void);

/* vm_lock held: something has finished already; the fd says so, too. */
void job_reap_soon(void);
/* vm_lock held: carries it out, past all limits. */
void job_dispatch(Job *j);

/* Worker threads: any request, by the driver's blocking functions. Any thread. */
void pool_submit(Job *j);

#endif
