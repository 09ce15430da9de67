/* SPDX-License-Identifier: GPL-2.0-or-later
 * Worker threads for what may block. Results go back through main_loop_post.
 */
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/thread_pool.h"

enum { MAX_WORKERS = 16 };

typedef struct Work {
    MainLoopFn *work, *done;
    void *opaque;
    List queue;
} Work;

static void carry_out(List *item);
static ThreadPool pool = THREAD_POOL(pool, "worker", carry_out, MAX_WORKERS);
static unsigned unreported; /* atomic: submitted, done() not yet run */

static void report(void *opaque)
{
    Work *w = opaque;
    if (w->done) {
        w->done(w->opaque);
    }
    free(w);
    __atomic_fetch_sub(&unreported, 1, __ATOMIC_SEQ_CST);
}

static void carry_out(List *item)
{
    Work *w = container_of(item, Work, queue);
    w->work(w->opaque);
    main_loop_post(report, w);
}

void worker_submit(MainLoopFn *work, MainLoopFn *done, void *opaque)
{
    Work *w = xmalloc(sizeof(*w));
    *w = (Work){ .work = work, .done = done, .opaque = opaque };
    __atomic_fetch_add(&unreported, 1, __ATOMIC_SEQ_CST);
    thread_pool_submit(&pool, &w->queue);
}

void worker_drain(void)
{
    while (__atomic_load_n(&unreported, __ATOMIC_SEQ_CST)) {
        main_loop_step(UINT64_MAX);
    }
}
