/* SPDX-License-Identifier: GPL-2.0-or-later
 * Worker threads for what may block: made on demand, they end after some idle seconds. Results
 * go back through main_loop_post.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

enum { MAX_WORKERS = 16, IDLE_SECONDS = 10 };

typedef struct Work {
    MainLoopFn *work, *done;
    void *opaque;
    struct Work *next;
} Work;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static Work *queue, **queue_end = &queue; /* mutex */
static unsigned nr_workers, nr_idle;      /* mutex */
static unsigned unreported;               /* atomic: submitted, done() not yet run */

static void init_cond(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&more, &attr);
    pthread_condattr_destroy(&attr);
}

static void report(void *opaque)
{
    Work *w = opaque;
    if (w->done) {
        w->done(w->opaque);
    }
    free(w);
    __atomic_fetch_sub(&unreported, 1, __ATOMIC_SEQ_CST);
}

/* The next piece of work, or NULL after a long idle time. mutex held. */
static Work *next_work(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    nr_idle++;
    int err = 0;
    while (!queue && !err) {
        err = pthread_cond_timedwait(&more, &mutex, &until);
    }
    nr_idle--;
    Work *w = queue;
    if (w) {
        queue = w->next;
        queue_end = queue ? queue_end : &queue;
    }
    return w;
}

static void *worker(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "worker");
    pthread_mutex_lock(&mutex);
    for (Work *w; (w = next_work());) {
        pthread_mutex_unlock(&mutex);
        w->work(w->opaque);
        main_loop_post(report, w);
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

void worker_submit(MainLoopFn *work, MainLoopFn *done, void *opaque)
{
    pthread_once(&once, init_cond);
    Work *w = xmalloc(sizeof(*w));
    *w = (Work){ work, done, opaque, NULL };
    __atomic_fetch_add(&unreported, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&mutex);
    *queue_end = w;
    queue_end = &w->next;
    if (nr_idle) {
        pthread_cond_signal(&more);
    }
    size_t queued = 0;
    for (Work *q = queue; q && queued <= nr_idle; q = q->next) {
        queued++;
    }
    if (queued > nr_idle && nr_workers < MAX_WORKERS) {
        start_worker();
    }
    bool stuck = !nr_workers;
    if (stuck) { /* the host gives us no thread: do it here rather than never */
        queue = NULL;
        queue_end = &queue;
    }
    pthread_mutex_unlock(&mutex);
    if (stuck) {
        work(opaque);
        main_loop_post(report, w);
    }
}

void worker_drain(void)
{
    while (__atomic_load_n(&unreported, __ATOMIC_SEQ_CST)) {
        main_loop_step(UINT64_MAX);
    }
}
