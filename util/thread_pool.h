/* SPDX-License-Identifier: GPL-2.0-or-later
 * Threads for what may block: made on demand, they end after some idle seconds. An item is a List
 * node in whatever its owner has; how results are told is the owner's matter.
 */
#ifndef UTIL_THREAD_POOL_H
#define UTIL_THREAD_POOL_H

#include <pthread.h>

#include "util/container.h"

typedef struct ThreadPool {
    const char *name;         /* of its threads, up to 15 characters */
    void (*work)(List *item); /* in one of them; the item may be freed or submitted again there */
    unsigned max;             /* threads */
    pthread_mutex_t mutex;    /* guards all below */
    pthread_cond_t more;
    bool ready;
    List queue;
    unsigned nr_threads, nr_idle, nr_queued;
} ThreadPool;

/* A static one; it stays as long as the program. */
#define THREAD_POOL(pool, thread_name, fn, most)                                                   \
    {                                                                                              \
        .name = thread_name, .work = fn, .max = most, .mutex = PTHREAD_MUTEX_INITIALIZER,          \
        .queue = LIST_INIT((pool).queue)                                                           \
    }

/* Any thread. If the host gives us no thread at all, the work is done in here. */
void thread_pool_submit(ThreadPool *p, List *item);

#endif
