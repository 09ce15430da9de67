/* SPDX-License-Identifier: GPL-2.0-or-later
 * io_uring for requests whose bytes lie in a file as they are: no thread is woken, no blocking call
 * made. vm_lock held for everything here. Without the library nothing is submitted.
 */
#ifndef BLOCK_URING_H
#define BLOCK_URING_H

#include "block/job.h"

#ifdef HAVE_LIBURING
/* Can this host? *why: why not, borrowed; NULL allowed. */
bool uring_works(const char **why);
/* False: it is not for the ring, or the ring is full. */
bool uring_submit(Job *j);
/* Hands out what was kept back by blk_plug. False: not all, the main loop tries again. */
bool uring_kick(void);
/* Calls job_done for all that is finished; how many. */
unsigned uring_reap(void);
#else
static inline bool uring_works(const char **why)
{
    if (why) {
        *why = "not in this build; install liburing-dev and configure without --disable-liburing";
    }
    return false;
}

static inline bool uring_submit(Job *j)
{
    (void)j;
    return false;
}

static inline bool uring_kick(void)
{
    return true;
}

static inline unsigned uring_reap(void)
{
    return 0;
}
#endif

#endif
