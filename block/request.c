/* SPDX-License-Identifier: GPL-2.0-or-later
 * Requests on their way from devices to worker threads and back, and what happens when the host
 * fails one.
 *
 * A worker leaves what it finished in a queue and posts a note to the main loop, which empties
 * the queue. Whoever waits in blk_drain empties it as well, so that a wait needs only workers:
 * it may happen in a vCPU thread, and while the main loop itself waits for that vCPU.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "block/drive_impl.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

/* A request in the hands of a worker; the device's BlkRequest may be cancelled meanwhile, so the
 * data it points to must outlive that: devices keep buffers until done or blk_drain. */
typedef struct Job {
    Drive *drive;
    BlkRequest *req; /* NULL once cancelled */
    BlkOp op;
    uint64_t offset, len;
    struct iovec *iov;
    int niov;
    bool fua;
    int error;
    uint64_t begin_ns; /* host clock */
    List all;      /* on jobs; vm_lock */
    List finished; /* on finished; mutex */
} Job;

static List jobs = LIST_INIT(jobs);
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more_finished = PTHREAD_COND_INITIALIZER;
static List finished = LIST_INIT(finished); /* mutex */
static uint64_t nr_finished;                /* mutex: jobs that ever came to the queue */
void (*drives_stop_hook)(Drive *d, BlkOp op, int error);

static bool is_write(BlkOp op)
{
    return op != BLK_READ;
}

/* ---- worker side: no vm_lock ---- */

static int run(const Job *j)
{
    BlockNode *n = j->drive->node;
    switch (j->op) {
    case BLK_READ: return block_readv(n, j->offset, j->iov, j->niov, j->len);
    case BLK_WRITE: return block_writev(n, j->offset, j->iov, j->niov, j->len);
    case BLK_FLUSH: return block_flush(n);
    case BLK_DISCARD: return block_discard(n, j->offset, j->len);
    default: return block_write_zeroes(n, j->offset, j->len, true);
    }
}

static void job_finished(Job *j)
{
    pthread_mutex_lock(&mutex);
    list_insert(&finished, &j->finished);
    nr_finished++;
    pthread_cond_broadcast(&more_finished);
    pthread_mutex_unlock(&mutex);
}

static void job_work(void *opaque)
{
    Job *j = opaque;
    j->error = run(j);
    bool through = j->fua || !j->drive->writeback;
    if (!j->error && through && (j->op == BLK_WRITE || j->op == BLK_WRITE_ZEROES)) {
        j->error = block_flush(j->drive->node);
    }
    job_finished(j);
}

/* ---- device side: vm_lock held ---- */

/* Is it something the user can put right, so that the guest need not know? */
static bool is_no_room(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static bool must_stop(const Drive *d, BlkOp op, int error)
{
    OnError policy = is_write(op) ? d->on_write_error : d->on_read_error;
    return drives_stop_hook && error != ENOMEDIUM && error != EROFS &&
           (policy == ON_ERROR_STOP || (policy == ON_ERROR_ENOSPC && is_no_room(error)));
}

static bool ignored(const Drive *d, BlkOp op)
{
    return (is_write(op) ? d->on_write_error : d->on_read_error) == ON_ERROR_IGNORE;
}

static void job_done(Job *j)
{
    Drive *d = j->drive;
    BlkRequest *req = j->req;
    list_remove(&j->all);
    d->in_flight--;
    d->last_access_ns = host_clock_ns();
    d->stats[j->op].time_ns += d->last_access_ns - j->begin_ns;
    d->stats[j->op].bytes += j->error ? 0 : j->len;
    d->stats[j->op].requests++;
    d->stats[j->op].failed += j->error != 0;
    if (req && j->error && must_stop(d, j->op, j->error)) {
        list_insert(&d->kept, &req->node);
        drives_stop_hook(d, j->op, j->error);
    } else if (req) {
        req->error = j->error && ignored(d, j->op) ? 0 : j->error;
        req->done(req);
    }
    free(j);
}

static void reap(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&mutex);
        Job *j = list_empty(&finished) ? NULL : container_of(finished.next, Job, finished);
        if (j) {
            list_remove(&j->finished);
        }
        pthread_mutex_unlock(&mutex);
        if (!j) {
            return;
        }
        job_done(j);
    }
}

static int check(const Drive *d, const Job *j)
{
    uint64_t size = drive_size(d);
    if (!d->node) {
        return ENOMEDIUM;
    }
    if (j->op == BLK_FLUSH) {
        return 0;
    }
    if (j->len > size || j->offset > size - j->len || (j->offset | j->len) % BLOCK_SECTOR) {
        return EIO;
    }
    return is_write(j->op) && d->readonly ? EROFS : 0;
}

void blk_submit(BlkRequest *req)
{
    Drive *d = req->drive;
    Job *j = xcalloc(1, sizeof(*j));
    uint64_t len = req->op == BLK_FLUSH ? 0
                   : req->op == BLK_READ || req->op == BLK_WRITE
                       ? iov_total(req->iov, req->niov)
                       : req->len;
    *j = (Job){ .drive = d, .req = req, .op = req->op, .offset = req->offset, .len = len,
                .iov = req->iov, .niov = req->niov, .fua = req->fua,
                .begin_ns = host_clock_ns() };
    req->cancelled = false;
    list_init(&req->node);
    list_insert(&jobs, &j->all);
    d->in_flight++;
    j->error = check(d, j);
    if (j->error) { /* never from inside blk_submit */
        job_finished(j);
        main_loop_post(reap, NULL);
    } else {
        worker_submit(job_work, reap, j);
    }
}

void blk_cancel(BlkRequest *req)
{
    req->cancelled = true;
    list_for_each_safe(pos, &jobs) {
        Job *j = container_of(pos, Job, all);
        if (j->req == req) {
            j->req = NULL;
        }
    }
    if (req->node.next) {
        list_remove(&req->node); /* kept for a retry */
    }
}

static bool is_busy(const Drive *d)
{
    list_for_each(pos, &block_drives) {
        const Drive *each = container_of(pos, Drive, node_list);
        if ((!d || each == d) && each->in_flight) {
            return true;
        }
    }
    return false;
}

void blk_drain(Drive *d)
{
    for (;;) {
        pthread_mutex_lock(&mutex);
        uint64_t seen = nr_finished;
        pthread_mutex_unlock(&mutex);
        reap(NULL);
        if (!is_busy(d)) {
            return;
        }
        vm_unlock();
        pthread_mutex_lock(&mutex);
        while (nr_finished == seen) {
            pthread_cond_wait(&more_finished, &mutex);
        }
        pthread_mutex_unlock(&mutex);
        vm_lock();
    }
}

void drives_retry(void)
{
    list_for_each(pos, &block_drives) {
        Drive *d = container_of(pos, Drive, node_list);
        List again = LIST_INIT(again);
        while (!list_empty(&d->kept)) {
            List *node = d->kept.next;
            list_remove(node);
            list_insert(&again, node);
        }
        while (!list_empty(&again)) {
            List *node = again.next;
            list_remove(node);
            blk_submit(container_of(node, BlkRequest, node));
        }
    }
}
