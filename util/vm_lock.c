/* SPDX-License-Identifier: GPL-2.0-or-later
 * The one lock: first come, first served.
 *
 * Two layers. The turn is a queue lock: unlocking hands it straight to the thread that has waited
 * longest, so a vCPU that locks and unlocks in a loop cannot overtake the main loop. Inside it
 * lies an ordinary mutex, for pthread_cond_wait: whoever signals holds the mutex, so no wake-up
 * is lost.
 */
#include "util/vm_lock.h"

#include <assert.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct Waiter {
    uint32_t granted; /* atomic, futex */
    struct Waiter *next;
} Waiter;

/* QUEUED is entered and left under queue_mutex only; FREE <-> HELD is the fast path. */
enum { FREE, HELD, QUEUED };
static uint32_t turn; /* atomic */
static pthread_mutex_t queue_mutex = PTHREAD_MUTEX_INITIALIZER;
static Waiter *first, *last; /* queue_mutex */
static pthread_mutex_t inner = PTHREAD_MUTEX_INITIALIZER;
static __thread bool held_here;

static bool turn_cas(uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&turn, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static void wait_granted(Waiter *w)
{
    for (int spins = 0; spins < 200; spins++) {
        if (__atomic_load_n(&w->granted, __ATOMIC_ACQUIRE)) {
            return;
        }
        __builtin_ia32_pause();
    }
    while (!__atomic_load_n(&w->granted, __ATOMIC_ACQUIRE)) {
        syscall(SYS_futex, &w->granted, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    }
}

static void no_hook(bool waiting)
{
    (void)waiting;
}

void (*vm_lock_wait_hook)(bool waiting) = no_hook;

static void take_turn(void)
{
    if (turn_cas(FREE, HELD)) {
        return;
    }
    Waiter me = { 0 };
    pthread_mutex_lock(&queue_mutex);
    for (;;) {
        if (turn_cas(FREE, HELD)) {
            pthread_mutex_unlock(&queue_mutex);
            return;
        }
        if (turn_cas(HELD, QUEUED) || __atomic_load_n(&turn, __ATOMIC_RELAXED) == QUEUED) {
            break;
        }
    }
    if (first) {
        last->next = &me;
    } else {
        first = &me;
    }
    last = &me;
    pthread_mutex_unlock(&queue_mutex);
    vm_lock_wait_hook(true);
    wait_granted(&me);
    vm_lock_wait_hook(false);
}

static void pass_turn(void)
{
    if (turn_cas(HELD, FREE)) {
        return;
    }
    pthread_mutex_lock(&queue_mutex);
    Waiter *w = first;
    first = w->next;
    if (!first) {
        __atomic_store_n(&turn, HELD, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&queue_mutex);
    /* w may be gone the moment it sees granted; a stray wake of its address is harmless. */
    __atomic_store_n(&w->granted, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &w->granted, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void vm_lock(void)
{
    assert(!held_here);
    take_turn();
    pthread_mutex_lock(&inner);
    held_here = true;
}

void vm_unlock(void)
{
    assert(held_here);
    held_here = false;
    pthread_mutex_unlock(&inner);
    pass_turn();
}

bool vm_locked(void)
{
    return held_here;
}

bool vm_lock_enter(void)
{
    if (held_here) {
        return false;
    }
    vm_lock();
    return true;
}

void vm_lock_leave(bool taken)
{
    if (taken) {
        vm_unlock();
    }
}

void vm_cond_wait(pthread_cond_t *cond)
{
    assert(held_here);
    held_here = false;
    pass_turn();
    pthread_cond_wait(cond, &inner); /* lets the next in turn go on */
    pthread_mutex_unlock(&inner);    /* turn first, mutex second, always */
    vm_lock();
}
