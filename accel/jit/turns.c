/* SPDX-License-Identifier: GPL-2.0-or-later
 * Whose turn it is to run guest code; the header says why nothing waits in a circle.
 */
#include "accel/jit/turns.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "util/alloc.h"

struct Turns {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    CpuState *now;         /* NULL: nobody's */
    uint64_t next, served; /* tickets: given out, and the one that comes next */
    bool wanted;           /* atomic: somebody has waited long enough */
};

Turns *turns_new(void)
{
    Turns *t = xcalloc(1, sizeof(*t));
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    return t;
}

void turns_free(Turns *t)
{
    if (t) {
        pthread_cond_destroy(&t->changed);
        pthread_mutex_destroy(&t->lock);
        free(t);
    }
}

/* True: there was a change; false: none for TURN_NS. */
static bool wait_for_change(Turns *t)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TURN_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT;
}

void turns_take(Turns *t, CpuState *cpu)
{
    pthread_mutex_lock(&t->lock);
    uint64_t ticket = t->next++;
    while (t->now || t->served != ticket) {
        if (!wait_for_change(t) && t->now) {
            __atomic_store_n(&t->wanted, true, __ATOMIC_RELEASE);
            cpu_request(t->now, CPU_REQ_RECHECK);
        }
    }
    t->served++;
    t->now = cpu;
    __atomic_store_n(&t->wanted, false, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&t->lock);
}

void turns_give(Turns *t)
{
    pthread_mutex_lock(&t->lock);
    t->now = NULL;
    if (t->next != t->served) {
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
}

void turns_pass(Turns *t, CpuState *cpu)
{
    if (likely(!__atomic_load_n(&t->wanted, __ATOMIC_ACQUIRE))) {
        return;
    }
    uint32_t was = __atomic_exchange_n(&cpu->guest_code, 0, __ATOMIC_SEQ_CST);
    turns_give(t);
    turns_take(t, cpu);
    __atomic_store_n(&cpu->guest_code, was, __ATOMIC_SEQ_CST);
}

void turns_spin(Turns *t, CpuState *cpu)
{
    pthread_mutex_lock(&t->lock);
    bool others = t->next != t->served;
    __atomic_store_n(&t->wanted, others, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&t->lock);
    if (others) {
        cpu_request(cpu, CPU_REQ_RECHECK);
    }
}
