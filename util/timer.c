/* SPDX-License-Identifier: GPL-2.0-or-later
 * Clocks and timers: a binary heap a clock, by deadline.
 *
 * The guest clock is read without a lock: guest_offset_seq is odd while it is being changed, and
 * a reader that saw a change tries again. It is changed with vm_lock held only.
 */
#include "util/timer.h"

#include <time.h>

#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

typedef struct Heap {
    Timer **timer;
    size_t nr, room;
} Heap;

static Heap heaps[NR_TIMER_CLOCKS]; /* vm_lock */

/* Guest time: guest_base while stopped, guest_base + host time while running. */
static uint32_t guest_seq;     /* atomic */
static uint64_t guest_base;    /* atomic */
static bool guest_running;     /* atomic */
static bool guest_manual;      /* vm_lock */

/* ---- clocks ---- */

static uint64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t host_clock_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t wall_clock_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t guest_clock_ns(void)
{
    for (;;) {
        uint32_t seq = __atomic_load_n(&guest_seq, __ATOMIC_ACQUIRE);
        uint64_t now = __atomic_load_n(&guest_base, __ATOMIC_RELAXED);
        if (__atomic_load_n(&guest_running, __ATOMIC_RELAXED)) {
            now += host_clock_ns();
        }
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(seq & 1) && seq == __atomic_load_n(&guest_seq, __ATOMIC_RELAXED)) {
            return now;
        }
    }
}

bool guest_clock_running(void)
{
    return __atomic_load_n(&guest_running, __ATOMIC_RELAXED);
}

uint64_t clock_ns(TimerClock clock)
{
    switch (clock) {
    case TIMER_GUEST: return guest_clock_ns();
    case TIMER_WALL: return wall_clock_ns();
    default: return host_clock_ns();
    }
}

static void guest_clock_change(uint64_t base, bool running)
{
    __atomic_fetch_add(&guest_seq, 1, __ATOMIC_ACQ_REL);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&guest_base, base, __ATOMIC_RELAXED);
    __atomic_store_n(&guest_running, running, __ATOMIC_RELAXED);
    __atomic_fetch_add(&guest_seq, 1, __ATOMIC_RELEASE);
}

void guest_clock_start(void)
{
    if (!guest_running && !guest_manual) {
        guest_clock_change(guest_base - host_clock_ns(), true);
        main_loop_wake(0); /* its sleep did not count on guest timers */
    }
}

void guest_clock_stop(void)
{
    if (guest_running) {
        guest_clock_change(guest_clock_ns(), false);
    }
}

void guest_clock_set_manual(void)
{
    guest_clock_stop();
    guest_manual = true;
}

bool guest_clock_is_manual(void)
{
    return guest_manual;
}

/* ---- heaps ---- */

static void put_at(Heap *h, size_t i, Timer *t)
{
    h->timer[i] = t;
    t->slot = i + 1;
}

static void sift_up(Heap *h, size_t i, Timer *t)
{
    while (i > 0 && h->timer[(i - 1) / 2]->deadline > t->deadline) {
        put_at(h, i, h->timer[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put_at(h, i, t);
}

static void sift_down(Heap *h, size_t i, Timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->nr) {
            break;
        }
        if (child + 1 < h->nr && h->timer[child + 1]->deadline < h->timer[child]->deadline) {
            child++;
        }
        if (h->timer[child]->deadline >= t->deadline) {
            break;
        }
        put_at(h, i, h->timer[child]);
        i = child;
    }
    put_at(h, i, t);
}

/* The moved timer may belong above or below the hole. */
static void settle(Heap *h, size_t i, Timer *t)
{
    if (i > 0 && h->timer[(i - 1) / 2]->deadline > t->deadline) {
        sift_up(h, i, t);
    } else {
        sift_down(h, i, t);
    }
}

/* ---- timers ---- */

void timer_init_on(Timer *t, TimerClock clock, TimerFn *fn, void *opaque)
{
    *t = (Timer){ .fn = fn, .opaque = opaque, .clock = clock };
}

void timer_init(Timer *t, TimerFn *fn, void *opaque)
{
    timer_init_on(t, TIMER_GUEST, fn, opaque);
}

/* When on the host's clock a deadline falls, as things stand; UINT64_MAX: not foreseeable. */
static uint64_t host_deadline(TimerClock clock, uint64_t deadline)
{
    uint64_t now;
    switch (clock) {
    case TIMER_GUEST:
        if (!guest_running) {
            return UINT64_MAX;
        }
        now = guest_clock_ns();
        break;
    case TIMER_WALL: now = wall_clock_ns(); break;
    default: return deadline;
    }
    if (deadline <= now) {
        return 0;
    }
    uint64_t host = host_clock_ns();
    return deadline - now > UINT64_MAX - host ? UINT64_MAX : host + (deadline - now);
}

void timer_arm(Timer *t, uint64_t deadline_ns)
{
    assert(vm_locked());
    Heap *h = &heaps[t->clock];
    t->deadline = deadline_ns;
    if (t->slot) {
        settle(h, t->slot - 1, t);
    } else {
        if (h->nr == h->room) {
            h->room = h->room ? 2 * h->room : 64;
            h->timer = xrealloc(h->timer, h->room * sizeof(Timer *));
        }
        sift_up(h, h->nr++, t);
    }
    if (t->slot == 1) {
        main_loop_wake(host_deadline(t->clock, deadline_ns));
    }
}

void timer_cancel(Timer *t)
{
    if (!t->slot) {
        return;
    }
    assert(vm_locked());
    Heap *h = &heaps[t->clock];
    size_t i = t->slot - 1;
    Timer *moved = h->timer[--h->nr];
    t->slot = 0;
    if (moved != t) {
        settle(h, i, moved);
    }
}

void timers_cancel_within(const void *lo, const void *hi)
{
    for (TimerClock c = 0; c < NR_TIMER_CLOCKS; c++) {
        for (size_t i = 0; i < heaps[c].nr;) {
            Timer *t = heaps[c].timer[i];
            if ((const void *)t >= lo && (const void *)t < hi) {
                timer_cancel(t);
                i = 0; /* the heap was rearranged */
            } else {
                i++;
            }
        }
    }
}

uint64_t timer_next_deadline(TimerClock clock)
{
    return heaps[clock].nr ? heaps[clock].timer[0]->deadline : UINT64_MAX;
}

uint64_t timers_host_deadline(void)
{
    uint64_t next = UINT64_MAX;
    for (TimerClock c = 0; c < NR_TIMER_CLOCKS; c++) {
        if (heaps[c].nr) {
            uint64_t at = host_deadline(c, heaps[c].timer[0]->deadline);
            next = MIN(next, at);
        }
    }
    return next;
}

/* The bound: a timer that always re-arms itself in the past cannot hold the loop. */
static void run_due(TimerClock clock, uint64_t now)
{
    Heap *h = &heaps[clock];
    for (unsigned left = 1000; left && h->nr && h->timer[0]->deadline <= now; left--) {
        Timer *t = h->timer[0];
        timer_cancel(t);
        main_loop_call(t->fn, t->opaque, NULL);
    }
}

void timers_run(void)
{
    for (TimerClock c = 0; c < NR_TIMER_CLOCKS; c++) {
        if (c == TIMER_GUEST && (guest_manual || !guest_running)) {
            continue;
        }
        if (heaps[c].nr) {
            run_due(c, clock_ns(c));
        }
    }
}

uint64_t guest_clock_advance_to(uint64_t ns)
{
    assert(guest_manual && vm_locked());
    unsigned stuck = 0;
    while (timer_next_deadline(TIMER_GUEST) <= ns && stuck < 1000000) {
        Timer *t = heaps[TIMER_GUEST].timer[0];
        /* A deadline in the past runs now: time never goes back. */
        stuck = t->deadline > guest_base ? 0 : stuck + 1;
        guest_clock_change(MAX(t->deadline, guest_base), false);
        timer_cancel(t);
        main_loop_call(t->fn, t->opaque, NULL);
    }
    if (ns > guest_base) {
        guest_clock_change(ns, false);
    }
    return guest_base;
}
