/* SPDX-License-Identifier: GPL-2.0-or-later
 * Reads and writes by way of one io_uring(7) for all drives. The kernel tells of completions by
 * the eventfd that worker threads use as well, so whoever waits (the main loop, blk_drain) waits
 * for both. Flushes, discards, zeroes and writes that are to be flushed stay with the threads,
 * and so does what came back short or not at all: they do it anew from its beginning.
 */
#include "block/uring.h"

#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "util/main_loop.h"

enum {
    ENTRIES = 256,
    MAX_IN_RING = ENTRIES,   /* fits twice into the completion queue: it never overflows */
    MAX_CACHED = 128 * 1024, /* what the page cache has is copied in the submitting call */
};

static struct io_uring ring;
static enum { UNTRIED, WORKS, FAILS } ring_state;
static char why_not[128];
static unsigned in_ring, unsubmitted;
static bool retry_posted;

bool uring_works(const char **why)
{
    if (ring_state == UNTRIED) {
        int fd = job_completion_fd();
        int error = fd < 0 ? -EMFILE : io_uring_queue_init(ENTRIES, &ring, 0);
        if (!error && (error = io_uring_register_eventfd(&ring, fd)) != 0) {
            io_uring_queue_exit(&ring);
        }
        ring_state = error ? FAILS : WORKS;
        snprintf(why_not, sizeof(why_not), "the kernel refuses it: %s", strerror(-error));
    }
    if (why) {
        *why = why_not;
    }
    return ring_state == WORKS;
}

static void retry(void *unused)
{
    (void)unused;
    retry_posted = false;
    (void)uring_kick();
}

bool uring_kick(void)
{
    while (unsubmitted) {
        int n = io_uring_submit(&ring);
        if (n == -EINTR) {
            continue;
        }
        if (n <= 0) { /* no memory, or completions come first: again in a moment */
            if (!retry_posted) {
                retry_posted = true;
                main_loop_post(retry, NULL);
            }
            return false;
        }
        unsubmitted -= MIN((unsigned)n, unsubmitted);
    }
    if (in_ring && io_uring_cq_ready(&ring)) { /* from the page cache: done in the call */
        job_reap_soon();
    }
    return true;
}

/* Direct I/O wants all of it aligned; a block that is written in part is read first, by threads. */
static bool fits_alignment(const Drive *d, const Job *j, uint64_t at)
{
    unsigned align = d->fast.align;
    if (!align) {
        return j->len <= MAX_CACHED;
    }
    bool ok = !(at % align) && !(j->len % align) &&
              (j->op == BLK_READ || align == BLOCK_SECTOR);
    for (int i = 0; i < j->niov && ok; i++) {
        ok = !((uintptr_t)j->iov[i].iov_base % align) && !(j->iov[i].iov_len % align);
    }
    return ok;
}

/* A format may have them elsewhere, or not as they are. */
static bool find_bytes(Job *j, uint64_t *at)
{
    BlockNode *n = j->drive->node;
    if (!n->driver->map_read) {
        return true;
    }
    j->mapped = j->op == BLK_READ && n->driver->map_read(n, at, j->len, &j->map_cookie);
    return j->mapped;
}

static void end_map(Job *j)
{
    BlockNode *n = j->drive->node;
    if (j->mapped) {
        j->mapped = false;
        n->driver->map_end(n, j->map_cookie);
    }
}

bool uring_submit(Job *j)
{
    const Drive *d = j->drive;
    bool write = j->op == BLK_WRITE;
    if (d->fast.fd < 0 || (j->op != BLK_READ && !write) || !j->len || j->niov > IOV_MAX ||
        (write && (j->fua || !d->writeback || d->node->detect_zeroes != ZEROES_OFF)) ||
        in_ring >= MAX_IN_RING) {
        return false;
    }
    uint64_t at = j->offset;
    if (!find_bytes(j, &at)) {
        return false;
    }
    at += d->fast.offset;
    bool looked_at = write && d->fast.guessed && at < BLOCK_HEAD;
    bool fits = !looked_at && fits_alignment(d, j, at);
    struct io_uring_sqe *sqe = fits ? io_uring_get_sqe(&ring) : NULL;
    if (!sqe) {
        end_map(j);
        return false;
    }
    if (j->niov == 1 && write) {
        io_uring_prep_write(sqe, d->fast.fd, j->iov->iov_base, (unsigned)j->len, at);
    } else if (j->niov == 1) {
        io_uring_prep_read(sqe, d->fast.fd, j->iov->iov_base, (unsigned)j->len, at);
    } else if (write) {
        io_uring_prep_writev(sqe, d->fast.fd, j->iov, (unsigned)j->niov, at);
    } else {
        io_uring_prep_readv(sqe, d->fast.fd, j->iov, (unsigned)j->niov, at);
    }
    io_uring_sqe_set_data(sqe, j);
    in_ring++;
    unsubmitted++;
    return true;
}

static bool for_threads(int error)
{
    return error == EAGAIN || error == EINTR || error == EINVAL || error == EOPNOTSUPP;
}

static void complete(Job *j, int result)
{
    end_map(j);
    if (result >= 0 && (uint64_t)result == j->len) {
        j->error = 0;
        job_done(j);
    } else if (result >= 0 || for_threads(-result)) {
        pool_submit(j);
    } else {
        j->error = -result;
        job_done(j);
    }
}

unsigned uring_reap(void)
{
    /* Not those of requests that done makes in here: there might be no end of them. */
    unsigned ready = in_ring ? io_uring_cq_ready(&ring) : 0, nr = 0;
    struct io_uring_cqe *cqe;
    while (nr < ready && in_ring && io_uring_peek_cqe(&ring, &cqe) == 0) {
        Job *j = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&ring, cqe); /* done may reap, too */
        in_ring--;
        nr++;
        complete(j, result);
    }
    return nr;
}
