/* SPDX-License-Identifier: GPL-2.0-or-later
 * Timers against a sorted list, and the guest clock run by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { NR = 200 };
static Timer timers[NR];
static uint64_t last_seen;
static unsigned runs;

static void on_timer(void *opaque)
{
    Timer *t = opaque;
    assert_int_equal(guest_clock_ns(), t->deadline);
    assert_true(t->deadline >= last_seen);
    assert_false(timer_armed(t));
    last_seen = t->deadline;
    runs++;
}

static void test_order(void **state)
{
    (void)state;
    for (int i = 0; i < NR; i++) {
        timer_init(&timers[i], on_timer, &timers[i]);
    }
    srand(1);
    uint64_t base = guest_clock_ns() + 1;
    for (int n = 0; n < 5000; n++) {
        Timer *t = &timers[rand() % NR];
        if (rand() % 3) {
            timer_arm(t, base + rand() % 10000);
        } else {
            timer_cancel(t);
        }
        uint64_t next = UINT64_MAX;
        for (int i = 0; i < NR; i++) {
            if (timer_armed(&timers[i])) {
                next = MIN(next, timers[i].deadline);
            }
        }
        assert_int_equal(timer_next_deadline(TIMER_GUEST), next);
    }
    unsigned armed = 0;
    for (int i = 0; i < NR; i++) {
        armed += timer_armed(&timers[i]);
    }
    assert_int_equal(guest_clock_advance_to(base + 20000), base + 20000);
    assert_int_equal(runs, armed);
    assert_int_equal(guest_clock_advance_to(5), base + 20000); /* never back */
}

typedef struct Periodic {
    Timer t;
    unsigned n;
} Periodic;

static void on_period(void *opaque)
{
    Periodic *p = opaque;
    p->n++;
    timer_arm(&p->t, guest_clock_ns() + 1000);
}

static void test_periodic(void **state)
{
    (void)state;
    Periodic p = { .n = 0 };
    uint64_t now = guest_clock_ns();
    timer_init(&p.t, on_period, &p);
    timer_arm(&p.t, now + 1000);
    guest_clock_advance_to(now + 10500);
    assert_int_equal(p.n, 10);
    timer_cancel(&p.t);
    timer_arm(&p.t, 0); /* long past: runs at once, time stands */
    guest_clock_advance_to(now + 10500);
    assert_int_equal(p.n, 11);
    assert_int_equal(guest_clock_ns(), now + 10500);
    timer_cancel(&p.t);
}

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_true(main_loop_init(&err));
    guest_clock_set_manual();
    vm_lock();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_periodic),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("timer", tests, setup, NULL);
}
