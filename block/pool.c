/* SPDX-License-Identifier: GPL-2.0-or-later
 * Worker threads for block requests. Not util/worker.c's, since a request has room for its own
 * place in the queue and its completion is told together with others'.
 */
#include "block/job.h"
#include "util/thread_pool.h"

enum { MAX_WORKERS = 16 };

static int run(const Job *j)
{
    BlockNode *n = j->drive->node;
    switch (j->op) {
    case BLK_READ: return block_readv(n, j->offset, j->iov, j->niov, j->len);
    case BLK_WRITE: return block_writev(n, j->offset, j->iov, j->niov, j->len);
    case BLK_FLUSH: return block_flush(n);
    case BLK_DISCARD: return block_discard(n, j->offset, j->len);
    default: return block_write_zeroes(n, j->offset, j->len, n->flags.discard);
    }
}

static void work(List *item)
{
    Job *j = container_of(item, Job, queue);
    j->error = run(j);
    bool through = j->fua || !j->drive->writeback;
    if (!j->error && through && (j->op == BLK_WRITE || j->op == BLK_WRITE_ZEROES)) {
        j->error = block_flush(j->drive->node);
    }
    job_finished(j);
}

static ThreadPool pool = THREAD_POOL(pool, "block worker", work, MAX_WORKERS);

void pool_submit(Job *j)
{
    thread_pool_submit(&pool, &j->queue);
}
