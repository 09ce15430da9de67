/* SPDX-License-Identifier: GPL-2.0-or-later
 * Worker threads for block requests: made on demand, they end after some idle seconds. Apart from
 * util/worker.c's because a request has room for its own place in the queue and its completion is
 * told together with others'.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "block/job.h"

enum { MAX_WORKERS = 16, IDLE_SECONDS = 10 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static List queue = LIST_INIT(queue);           /* mutex */
static unsigned nr_workers, nr_idle, nr_queued; /* mutex */

static void init_cond(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&more, &attr);
    pthread_condattr_destroy(&attr);
}

/* ---- the work ---- */

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

static void work(Job *j)
{
    j->error = run(j);
    bool through = j->fua || !j->drive->writeback;
    if (!j->error && through && (j->op == BLK_WRITE || j->op == BLK_WRITE_ZEROES)) {
        j->error = block_flush(j->drive->node);
    }
    job_finished(j);
}

/* ---- threads ---- */

/* The next job, or NULL after a long idle time. mutex held. */
static Job *next_job(void)
{
    struct timespec until;
    int err = 0;
    if (list_empty(&queue)) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_SECONDS;
        nr_idle++;
        while (list_empty(&queue) && !err) {
            err = pthread_cond_timedwait(&more, &mutex, &until);
        }
        nr_idle--;
    }
    if (list_empty(&queue)) {
        return NULL;
    }
    Job *j = container_of(queue.next, Job, queue);
    list_remove(&j->queue);
    nr_queued--;
    return j;
}

static void *worker(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "block worker");
    pthread_mutex_lock(&mutex);
    for (Job *j; (j = next_job());) {
        pthread_mutex_unlock(&mutex);
        work(j);
        pthread_mutex_lock(&mutex);
    }
    nr_workers--;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

/* Signals belong to the main thread. mutex held. */
static void start_worker(void)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t thread;
    if (!pthread_create(&thread, NULL, worker, NULL)) {
        pthread_detach(thread);
        nr_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void pool_submit(Job *j)
{
    pthread_once(&once, init_cond);
    pthread_mutex_lock(&mutex);
    list_insert(&queue, &j->queue);
    nr_queued++;
    if (nr_queued > nr_idle && nr_workers < MAX_WORKERS) {
        start_worker();
    }
    bool stuck = !nr_workers;
    if (stuck) { /* the host gives us no thread: do it here rather than never */
        list_remove(&j->queue);
        nr_queued--;
    }
    bool wake = nr_idle;
    pthread_mutex_unlock(&mutex);
    if (stuck) {
        work(j);
    } else if (wake) {
        pthread_cond_signal(&more);
    }
}
