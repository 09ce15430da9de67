/* SPDX-License-Identifier: GPL-2.0-or-later
 * Threads made on demand. Declared in util/thread_pool.h.
 */
#include "util/thread_pool.h"

#include <signal.h>
#include <time.h>

enum { IDLE_SECONDS = 10 };

/* mutex held. */
static void get_ready(ThreadPool *p)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->more, &attr);
    pthread_condattr_destroy(&attr);
    p->ready = true;
}

/* The next item, or NULL after a long idle time. mutex held. */
static List *next_item(ThreadPool *p)
{
    struct timespec until;
    int err = 0;
    if (list_empty(&p->queue)) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_SECONDS;
        p->nr_idle++;
        while (list_empty(&p->queue) && !err) {
            err = pthread_cond_timedwait(&p->more, &p->mutex, &until);
        }
        p->nr_idle--;
    }
    if (list_empty(&p->queue)) {
        return NULL;
    }
    List *item = p->queue.next;
    list_remove(item);
    p->nr_queued--;
    return item;
}

static void *thread(void *opaque)
{
    ThreadPool *p = opaque;
    pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->mutex);
    for (List *item; (item = next_item(p));) {
        pthread_mutex_unlock(&p->mutex);
        p->work(item);
        pthread_mutex_lock(&p->mutex);
    }
    p->nr_threads--;
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* Signals belong to the main thread. mutex held. */
static void start_thread(ThreadPool *p)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t t;
    if (!pthread_create(&t, NULL, thread, p)) {
        pthread_detach(t);
        p->nr_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void thread_pool_submit(ThreadPool *p, List *item)
{
    pthread_mutex_lock(&p->mutex);
    if (!p->ready) {
        get_ready(p);
    }
    list_insert(&p->queue, item);
    p->nr_queued++;
    if (p->nr_queued > p->nr_idle && p->nr_threads < p->max) {
        start_thread(p);
    }
    bool stuck = !p->nr_threads; /* do it here rather than never */
    if (stuck) {
        list_remove(item);
        p->nr_queued--;
    }
    bool wake = p->nr_idle;
    pthread_mutex_unlock(&p->mutex);
    if (stuck) {
        p->work(item);
    } else if (wake) {
        pthread_cond_signal(&p->more);
    }
}
