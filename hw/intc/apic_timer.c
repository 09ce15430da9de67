/* SPDX-License-Identifier: GPL-2.0-or-later
 * The local APIC's timer (SDM 3A 11.5.4): one-shot, periodic, TSC deadline. The counter is
 * computed from guest time when somebody looks; a host timer runs only while an expiry would
 * interrupt, that is, while the LVT entry is not masked.
 */
#include "hw/intc/apic_internal.h"

/* The bus clock is 1 GHz: one tick before division is one nanosecond. CPUID leaf 15h, where
 * offered, says the same. */
enum { MIN_PERIOD_NS = 10000 }; /* keeps a guest from drowning the host in timer events */

static unsigned divide_shift(const Apic *a)
{
    unsigned d = (a->divide & 3) | (a->divide >> 1 & 4);
    return (d + 1) & 7; /* 111: by 1 */
}

static bool is_periodic(const Apic *a)
{
    return (a->lvt[LVT_TIMER] & LVT_TIMER_MODE) == LVT_PERIODIC;
}

static bool is_deadline(const Apic *a)
{
    return a->lvt[LVT_TIMER] & LVT_DEADLINE;
}

static uint32_t count_at(const Apic *a, uint64_t now)
{
    if (is_deadline(a) || !a->count) {
        return 0;
    }
    uint64_t ticks = (now - a->count_ns) >> divide_shift(a);
    if (ticks < a->count) {
        return a->count - ticks;
    }
    if (!is_periodic(a) || !a->initial) {
        return 0;
    }
    return a->initial - (ticks - a->count) % a->initial;
}

uint32_t apic_timer_current(const Apic *a)
{
    return count_at(a, guest_clock_ns());
}

/* The first expiry after guest time t; UINT64_MAX if there is none. */
static uint64_t next_expiry(const Apic *a, uint64_t t)
{
    if (!a->count) {
        return UINT64_MAX;
    }
    unsigned shift = divide_shift(a);
    uint64_t first = a->count_ns + ((uint64_t)a->count << shift);
    if (first > t) {
        return first;
    }
    if (!is_periodic(a) || !a->initial) {
        return UINT64_MAX;
    }
    uint64_t period = (uint64_t)a->initial << shift;
    uint64_t next = first + ((t - first) / period + 1) * period;
    return period < MIN_PERIOD_NS ? MAX(next, t + MIN_PERIOD_NS) : next;
}

/* Guest time now is the caller's: an expiry between two looks at the clock would be in neither. */
static void rearm_after(Apic *a, uint64_t now)
{
    timer_cancel(&a->timer);
    if (!apic_on(a) || apic_is_silent(a) || (a->lvt[LVT_TIMER] & LVT_MASKED)) {
        return;
    }
    uint64_t at;
    if (is_deadline(a)) {
        at = a->deadline ? cpu_tsc_to_guest_ns(a->cpu, a->deadline) : UINT64_MAX;
    } else {
        at = next_expiry(a, now);
    }
    if (at != UINT64_MAX) {
        timer_arm(&a->timer, at);
    }
}

void apic_timer_rearm(Apic *a)
{
    rearm_after(a, guest_clock_ns());
}

static void timer_expired(void *opaque)
{
    Apic *a = opaque;
    if (is_deadline(a)) {
        a->deadline = 0;
    } else {
        apic_timer_rearm(a);
    }
    apic_fire_lvt(a, LVT_TIMER);
    apic_update(a);
}

/* What the main loop has not come to yet is not forgotten when the timer is programmed anew. */
static void fire_due(Apic *a, uint64_t now)
{
    if (timer_armed(&a->timer) && a->timer.deadline <= now) {
        timer_cancel(&a->timer);
        timer_expired(a);
    }
}

uint32_t apic_timer_hand_over(Apic *a)
{
    uint64_t now = guest_clock_ns();
    fire_due(a, now);
    timer_cancel(&a->timer);
    return count_at(a, now);
}

void apic_timer_resume(Apic *a)
{
    uint64_t first = a->count_ns + ((uint64_t)a->count << divide_shift(a));
    uint64_t now = guest_clock_ns();
    bool due = !is_deadline(a) && a->count && first <= now;
    if (due && !is_periodic(a)) {
        a->count = 0;
    }
    rearm_after(a, now);
    if (due) {
        apic_fire_lvt(a, LVT_TIMER);
    }
}

/* The counter goes on from its present value, under a new divisor or mode. */
static void rebase(Apic *a, uint64_t now)
{
    a->count = count_at(a, now);
    a->count_ns = now;
}

void apic_timer_set_initial(Apic *a, uint32_t val)
{
    if (is_deadline(a)) {
        return; /* SDM 3A 11.5.4.1: ignored */
    }
    uint64_t now = guest_clock_ns();
    fire_due(a, now);
    a->initial = a->count = val;
    a->count_ns = now;
    rearm_after(a, now);
}

void apic_timer_set_divide(Apic *a, uint32_t val)
{
    uint64_t now = guest_clock_ns();
    fire_due(a, now);
    rebase(a, now);
    a->divide = val & 0xb;
    rearm_after(a, now);
}

void apic_timer_set_lvt(Apic *a, uint32_t val)
{
    uint64_t now = guest_clock_ns();
    fire_due(a, now);
    uint32_t changed = a->lvt[LVT_TIMER] ^ val;
    if (changed & LVT_DEADLINE) {
        a->initial = a->count = 0; /* a change to or from deadline mode disarms */
        a->deadline = 0;
    } else if (changed & LVT_PERIODIC) {
        rebase(a, now);
    } else if (changed & LVT_MASKED) {
        apic_timer_deadline(a); /* one that passed while masked is gone */
    }
    a->lvt[LVT_TIMER] = val;
    rearm_after(a, now);
}

uint64_t apic_timer_deadline(Apic *a)
{
    bool masked = a->lvt[LVT_TIMER] & LVT_MASKED;
    if (a->deadline && masked && cpu_tsc(a->cpu) >= a->deadline) {
        a->deadline = 0;
    }
    return a->deadline;
}

void apic_timer_set_deadline(Apic *a, uint64_t tsc)
{
    if (!is_deadline(a)) {
        return; /* ignored in the other modes */
    }
    fire_due(a, guest_clock_ns());
    a->deadline = tsc;
    if (tsc && tsc <= cpu_tsc(a->cpu)) {
        timer_cancel(&a->timer);
        a->deadline = 0;
        apic_fire_lvt(a, LVT_TIMER);
        apic_update(a);
        return;
    }
    apic_timer_rearm(a);
}

void apic_timer_init(Apic *a)
{
    timer_init(&a->timer, timer_expired, a);
}
