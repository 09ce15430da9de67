/* SPDX-License-Identifier: GPL-2.0-or-later
 * Clocks and timers. Deadlines and times are nanoseconds. Timers are one-shot, sit in one heap a
 * clock, run in the main loop with vm_lock held, and are armed and cancelled with vm_lock held
 * (from any thread: an earlier deadline wakes the main loop).
 */
#ifndef UTIL_TIMER_H
#define UTIL_TIMER_H

#include "util/container.h"

typedef enum TimerClock {
    TIMER_GUEST, /* guest time: starts at 0, stops with the VM; manual under accel test */
    TIMER_HOST,  /* the host's CLOCK_MONOTONIC */
    TIMER_WALL,  /* the host's CLOCK_REALTIME */
    NR_TIMER_CLOCKS
} TimerClock;

typedef void TimerFn(void *opaque);

typedef struct Timer {
    TimerFn *fn;
    void *opaque;
    TimerClock clock;
    uint64_t deadline; /* valid while armed */
    size_t slot;       /* index in the clock's heap + 1; 0: not armed */
} Timer;

void timer_init(Timer *t, TimerFn *fn, void *opaque); /* on TIMER_GUEST */
void timer_init_on(Timer *t, TimerClock clock, TimerFn *fn, void *opaque);
void timer_arm(Timer *t, uint64_t deadline_ns); /* replaces an earlier deadline */
void timer_cancel(Timer *t);                    /* no-op when not armed */
/* Cancels every timer whose struct lies in [lo, hi): before that memory is freed. */
void timers_cancel_within(const void *lo, const void *hi);
static inline bool timer_armed(const Timer *t)
{
    return t->slot != 0;
}

uint64_t clock_ns(TimerClock clock);
uint64_t guest_clock_ns(void); /* lock-free, from any thread */
bool guest_clock_running(void);
uint64_t host_clock_ns(void);
uint64_t wall_clock_ns(void);

/* Run state: guest time runs only between start and stop. */
void guest_clock_start(void);
void guest_clock_stop(void);
/* accel test: guest time stands still but for these. Every timer that is due on the way runs at
 * its own deadline. Both return the time reached. */
void guest_clock_set_manual(void);
bool guest_clock_is_manual(void);
uint64_t guest_clock_advance_to(uint64_t ns);
/* The next deadline of a clock, UINT64_MAX if no timer is armed. */
uint64_t timer_next_deadline(TimerClock clock);
/* For the main loop only: runs what is due on all clocks; when it has to wake up next, on the
 * host clock (UINT64_MAX: no timer will run as things stand). */
void timers_run(void);
uint64_t timers_host_deadline(void);

#endif
