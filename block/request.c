/* SPDX-License-Identifier: GPL-2.0-or-later
 * Requests on their way from devices to worker threads and back, and what happens when the host
 * fails one.
 *
 * A worker leaves what it finished in a queue and signals an eventfd if that was empty; the kernel
 * signals it, too, for what came through the ring. Whoever sees that, the main loop or somebody who
 * waits in blk_drain, tells the devices of all there is. So a wait needs no main loop: it may
 * happen in a vCPU thread, and while the main loop itself waits for that vCPU.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/job.h"
#include "block/uring.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

typedef struct Waiter {
    int fd; /* an eventfd: somebody has reaped */
    List node;
} Waiter;

static List jobs = LIST_INIT(jobs);             /* vm_lock */
static List spare = LIST_INIT(spare);           /* vm_lock: Jobs for the next requests */
static List waiters = LIST_INIT(waiters);       /* vm_lock */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static List finished = LIST_INIT(finished); /* mutex */
static List reaping = LIST_INIT(reaping);   /* vm_lock: taken from finished, not yet told */
static int completion_fd = -1;
/* What finished while it was submitted need not wait for the fd's turn. */
static BottomHalf reap_bh;
static pthread_t opener;   /* the main loop's thread; for others its wake-up is the fd */
static unsigned plugged, draining; /* vm_lock; draining: nobody waits for a limit */
void (*drives_stop_hook)(Drive *d, BlkOp op, int error);

static bool is_write(BlkOp op)
{
    return op != BLK_READ;
}

static void reap(void);

/* ---- completions ---- */

static void signal_fd(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

/* One signal for all that finish until somebody looks. */
void job_finished(Job *j)
{
    pthread_mutex_lock(&mutex);
    bool first = list_empty(&finished);
    list_insert(&finished, &j->queue);
    pthread_mutex_unlock(&mutex);
    if (first) {
        signal_fd(completion_fd);
    }
}

static void on_completions(void *opaque, unsigned events)
{
    (void)opaque, (void)events;
    reap();
}

static void reap_half(void *unused)
{
    (void)unused;
    reap();
}

int job_completion_fd(void)
{
    static FdWatch *watch;
    if (!watch) {
        completion_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert(completion_fd >= 0);
        watch = fd_watch_new(completion_fd, FD_READ, on_completions, NULL, "block completions");
        bh_init(&reap_bh, reap_half, NULL);
        opener = pthread_self();
    }
    return completion_fd;
}

void job_reap_soon(void)
{
    if (pthread_equal(pthread_self(), opener)) {
        bh_schedule(&reap_bh);
    }
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

void job_done(Job *j)
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
    int error = j->error;
    BlkOp op = j->op;
    list_insert(&spare, &j->all);
    if (req && error && must_stop(d, op, error)) {
        list_insert(&d->kept, &req->node);
        drives_stop_hook(d, op, error);
    } else if (req) {
        req->error = error && ignored(d, op) ? 0 : error;
        req->done(req);
    }
}

/* What is left of a batch when done drains is told in there. */
static void reap(void)
{
    uint64_t count;
    while (completion_fd >= 0 && read(completion_fd, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&mutex);
    while (!list_empty(&finished)) {
        List *pos = finished.next;
        list_remove(pos);
        list_insert(&reaping, pos);
    }
    pthread_mutex_unlock(&mutex);
    bool any = false;
    blk_plug(); /* devices go on with the next requests: together */
    while (!list_empty(&reaping)) {
        Job *j = container_of(reaping.next, Job, queue);
        list_remove(&j->queue);
        job_done(j);
        any = true;
    }
    any |= uring_reap() != 0;
    blk_unplug();
    if (any) {
        list_for_each(pos, &waiters) {
            signal_fd(container_of(pos, Waiter, node)->fd);
        }
    }
}

/* ---- the way in ---- */

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

static Job *job_new(void)
{
    if (list_empty(&spare)) {
        return xmalloc(sizeof(Job));
    }
    Job *j = container_of(spare.next, Job, all);
    list_remove(&j->all);
    return j;
}

void job_dispatch(Job *j)
{
    if (!j->req) { /* cancelled while it waited its turn */
        job_finished(j);
    } else if (!uring_submit(j)) {
        pool_submit(j);
    } else if (!plugged) {
        (void)uring_kick();
    }
}

/* Checked when it goes its way: until then there may be another medium. */
static void begin_job(Job *j)
{
    Drive *d = j->drive;
    d->in_flight++;
    j->error = check(d, j);
    if (j->error) { /* never from inside blk_submit */
        job_finished(j);
    } else if (!d->throttle || draining || !throttle_hold(d->throttle, j)) {
        job_dispatch(j);
    }
}

void blk_submit(BlkRequest *req)
{
    Drive *d = req->drive;
    Job *j = job_new();
    uint64_t len = req->op == BLK_FLUSH ? 0
                   : req->op == BLK_READ || req->op == BLK_WRITE
                       ? iov_total(req->iov, req->niov)
                       : req->len;
    *j = (Job){ .drive = d, .req = req, .op = req->op, .offset = req->offset, .len = len,
                .iov = req->iov, .niov = req->niov, .fua = req->fua,
                .begin_ns = host_clock_ns() };
    job_completion_fd();
    req->cancelled = false;
    list_init(&req->node);
    list_init(&j->queue);
    list_insert(&jobs, &j->all);
    if (d->quiet) {
        list_insert(&d->held, &j->queue);
    } else {
        begin_job(j);
    }
}

void blk_plug(void)
{
    plugged++;
}

void blk_unplug(void)
{
    if (!--plugged) {
        (void)uring_kick();
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

/* Until something is finished that nobody has told yet, or somebody has told something; if brief,
 * not for long. */
static void wait_completion(bool brief)
{
    Waiter w = { .fd = eventfd(0, EFD_CLOEXEC) };
    struct pollfd fds[2] = { { .fd = completion_fd, .events = POLLIN },
                             { .fd = w.fd, .events = POLLIN } };
    list_insert(&waiters, &w.node);
    vm_unlock();
    poll(fds, 2, brief || w.fd < 0 ? 10 : -1); /* without a free descriptor now and then */
    vm_lock();
    list_remove(&w.node);
    if (w.fd >= 0) {
        close(w.fd);
    }
}

static void release_throttled(const Drive *d)
{
    list_for_each(pos, &block_drives) {
        const Drive *each = container_of(pos, Drive, node_list);
        if (each->throttle && (!d || each == d)) {
            throttle_release(each->throttle, d);
        }
    }
}

void blk_drain(Drive *d)
{
    draining++;
    release_throttled(d);
    for (;;) {
        bool all_out = uring_kick(); /* the main loop may be who waits here */
        reap();
        if (!is_busy(d)) {
            break;
        }
        wait_completion(!all_out);
    }
    draining--;
}

static void quiesce_one(Drive *d, void *opaque)
{
    if (!opaque || opaque == d) {
        d->quiet++;
    }
}

void drive_begin_held(Drive *d)
{
    while (!list_empty(&d->held)) {
        Job *j = container_of(d->held.next, Job, queue);
        list_remove(&j->queue);
        begin_job(j);
    }
}

static void resume_one(Drive *d, void *opaque)
{
    if ((!opaque || opaque == d) && !--d->quiet) {
        drive_begin_held(d);
    }
}

void blk_quiesce(Drive *d)
{
    drives_each(quiesce_one, d);
    blk_drain(d);
}

void blk_resume(Drive *d)
{
    blk_plug();
    drives_each(resume_one, d);
    blk_unplug();
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
