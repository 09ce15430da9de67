/* SPDX-License-Identifier: GPL-2.0-or-later
 * The main loop: waits for file descriptors, runs expired timers, runs bottom halves; nothing
 * else happens in it and nothing in it blocks. All callbacks run with vm_lock held.
 */
#ifndef UTIL_MAIN_LOOP_H
#define UTIL_MAIN_LOOP_H

#include "util/error.h"

enum { FD_READ = 1, FD_WRITE = 2, FD_HANGUP = 4 };

typedef struct FdWatch FdWatch;
typedef void FdFn(void *opaque, unsigned events);
typedef void MainLoopFn(void *opaque);

bool main_loop_init(Error **errp) MUST_USE;
/* Runs until main_loop_quit; returns its status. Takes vm_lock itself. */
int main_loop_run(void);
void main_loop_quit(int status); /* from any thread */
/* Runs one round, waiting at most timeout_ns (UINT64_MAX: no limit). vm_lock must be held; it is
 * dropped to sleep. For tests and for waits with a bound. */
void main_loop_step(uint64_t timeout_ns);

/* fd must be non-blocking if fn reads it more than once an event. name is for info mainloop. */
FdWatch *fd_watch_new(int fd, unsigned events, FdFn *fn, void *opaque, const char *name);
void fd_watch_set(FdWatch *w, unsigned events); /* 0 pauses */
void fd_watch_free(FdWatch *w);                 /* NULL allowed; also from its own callback */

/* Runs fn once in the main loop, soon. From any thread, with or without vm_lock. */
void main_loop_post(MainLoopFn *fn, void *opaque);

/* A bottom half: at most once a round however often scheduled; embedded in its owner. */
typedef struct BottomHalf {
    MainLoopFn *fn;
    void *opaque;
    bool scheduled;
    List node;
} BottomHalf;
void bh_init(BottomHalf *bh, MainLoopFn *fn, void *opaque);
void bh_schedule(BottomHalf *bh); /* vm_lock held */
void bh_cancel(BottomHalf *bh);   /* vm_lock held */
/* Cancels every bottom half whose struct lies in [lo, hi): before that memory is freed. */
void bhs_cancel_within(const void *lo, const void *hi);

/* Runs work(opaque) on a worker thread, without vm_lock, then done(opaque) in the main loop. */
void worker_submit(MainLoopFn *work, MainLoopFn *done, void *opaque);
/* Waits until no work is queued, running or unreported. vm_lock held (dropped to wait). */
void worker_drain(void);

/* Ends the loop's sleep at that time of the host clock if it would last longer (0: at once, from
 * any thread; else vm_lock held). */
void main_loop_wake(uint64_t host_deadline_ns);
/* Runs fn(opaque) and counts it under name, or under fn's address if name is NULL. */
void main_loop_call(MainLoopFn *fn, void *opaque, const char *name);

/* Counts for info mainloop: rounds, callbacks by name, the longest callback. */
void main_loop_stats(void (*print)(void *opaque, const char *line), void *opaque);

#endif
