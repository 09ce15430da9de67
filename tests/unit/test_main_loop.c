/* SPDX-License-Identifier: GPL-2.0-or-later
 * The main loop: descriptors, posts, bottom halves, workers, sleep and the fairness of vm_lock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

static int pipe_fds[2];
static FdWatch *watch;
static unsigned reads, calls;

static void on_read(void *opaque, unsigned events)
{
    (void)opaque;
    char c;
    assert_true(events & FD_READ);
    if (read(pipe_fds[0], &c, 1) == 1) {
        reads++;
    }
    if (c == 'q') {
        fd_watch_free(watch);
        watch = NULL;
    }
}

static void test_fd(void **state)
{
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    watch = fd_watch_new(pipe_fds[0], FD_READ, on_read, NULL, "test pipe");
    main_loop_step(0);
    assert_int_equal(reads, 0);
    assert_int_equal(write(pipe_fds[1], "a", 1), 1);
    main_loop_step(0);
    assert_int_equal(reads, 1);
    fd_watch_set(watch, 0);
    assert_int_equal(write(pipe_fds[1], "q", 1), 1);
    main_loop_step(0);
    assert_int_equal(reads, 1);
    fd_watch_set(watch, FD_READ);
    main_loop_step(0);
    assert_int_equal(reads, 2);
    assert_null(watch);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void on_file(void *opaque, unsigned events)
{
    (void)events;
    ++*(unsigned *)opaque;
}

static void test_regular_file(void **state)
{
    (void)state;
    char name[] = "/tmp/vireo-test-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    unsigned n = 0;
    FdWatch *a = fd_watch_new(fd, FD_READ, on_file, &n, "file");
    main_loop_step(UINT64_MAX);
    assert_int_equal(n, 1);
    fd_watch_set(a, 0);
    main_loop_step(1000000);
    assert_int_equal(n, 1);
    fd_watch_free(a);
    close(fd);
}

static void count_call(void *opaque)
{
    (void)opaque;
    calls++;
}

static BottomHalf again;
static void schedule_again(void *opaque)
{
    (void)opaque;
    calls++;
    bh_schedule(&again);
}

static void test_posts_and_halves(void **state)
{
    (void)state;
    calls = 0;
    main_loop_post(count_call, NULL);
    main_loop_post(count_call, NULL);
    main_loop_step(UINT64_MAX);
    assert_int_equal(calls, 2);
    bh_init(&again, schedule_again, NULL);
    bh_schedule(&again);
    bh_schedule(&again);
    main_loop_step(UINT64_MAX);
    assert_int_equal(calls, 3); /* once a round */
    main_loop_step(UINT64_MAX);
    assert_int_equal(calls, 4);
    bh_cancel(&again);
    main_loop_step(0);
    assert_int_equal(calls, 4);
}

static void test_timer_sleep(void **state)
{
    (void)state;
    Timer t;
    calls = 0;
    timer_init_on(&t, TIMER_HOST, count_call, NULL);
    uint64_t begin = host_clock_ns();
    timer_arm(&t, begin + 20000000);
    while (!calls) {
        main_loop_step(UINT64_MAX);
    }
    uint64_t took = host_clock_ns() - begin;
    assert_true(took >= 20000000 && took < 500000000);
}

/* Another thread arms an earlier timer while the loop sleeps. */
static Timer early;
static void *arm_early(void *unused)
{
    (void)unused;
    usleep(20000);
    vm_lock();
    timer_arm(&early, host_clock_ns() + 20000000);
    vm_unlock();
    return NULL;
}

static void test_timer_from_thread(void **state)
{
    (void)state;
    Timer late;
    pthread_t thread;
    calls = 0;
    timer_init_on(&early, TIMER_HOST, count_call, NULL);
    timer_init_on(&late, TIMER_HOST, count_call, NULL);
    uint64_t begin = host_clock_ns();
    timer_arm(&late, begin + 5000000000);
    pthread_create(&thread, NULL, arm_early, NULL);
    while (!calls) {
        main_loop_step(UINT64_MAX);
    }
    uint64_t took = host_clock_ns() - begin;
    pthread_join(thread, NULL);
    timer_cancel(&late);
    assert_in_range(took, 40000000, 1000000000);
}

static void work(void *opaque)
{
    assert_false(vm_locked());
    usleep(1000);
    __atomic_fetch_add((unsigned *)opaque, 1, __ATOMIC_SEQ_CST);
}

static void done(void *opaque)
{
    (void)opaque;
    assert_true(vm_locked());
    calls++;
}

static void test_workers(void **state)
{
    (void)state;
    unsigned worked = 0;
    calls = 0;
    for (int i = 0; i < 100; i++) {
        worker_submit(work, done, &worked);
    }
    worker_drain();
    assert_int_equal(worked, 100);
    assert_int_equal(calls, 100);
}

static bool stop_spinning;
static uint64_t spins;
static void *spin(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop_spinning, __ATOMIC_RELAXED)) {
        vm_lock();
        spins++;
        vm_unlock();
    }
    return NULL;
}

/* Three threads that do nothing but take the lock: this one gets it each time after about three
 * others (more only if it is preempted before it queues). */
static void test_fairness(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, spin, NULL);
    }
    while (spins < 1000) {
        vm_unlock();
        usleep(100);
        vm_lock();
    }
    enum { ROUNDS = 1000 };
    unsigned late = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t before = spins;
        vm_unlock();
        vm_lock();
        late += spins - before > 10;
    }
    __atomic_store_n(&stop_spinning, true, __ATOMIC_RELAXED);
    vm_unlock();
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    vm_lock();
    assert_in_range(late, 0, ROUNDS / 10);
}

static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int ping;
static void *ponger(void *unused)
{
    (void)unused;
    vm_lock();
    for (int i = 0; i < 1000; i++) {
        while (ping % 2 == 0) {
            vm_cond_wait(&cond);
        }
        ping++;
        pthread_cond_broadcast(&cond);
    }
    vm_unlock();
    return NULL;
}

static void test_cond(void **state)
{
    (void)state;
    pthread_t t;
    pthread_create(&t, NULL, ponger, NULL);
    for (int i = 0; i < 1000; i++) {
        while (ping % 2 == 1) {
            vm_cond_wait(&cond);
        }
        ping++;
        pthread_cond_broadcast(&cond);
    }
    vm_unlock();
    pthread_join(t, NULL);
    vm_lock();
    assert_int_equal(ping, 2000);
}

static void test_idle_sleeps(void **state)
{
    (void)state;
    struct rusage a, b;
    getrusage(RUSAGE_THREAD, &a);
    main_loop_step(200000000);
    getrusage(RUSAGE_THREAD, &b);
    assert_true(b.ru_nvcsw - a.ru_nvcsw <= 3);
}

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_true(main_loop_init(&err));
    vm_lock();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fd),
        cmocka_unit_test(test_regular_file),
        cmocka_unit_test(test_posts_and_halves),
        cmocka_unit_test(test_timer_sleep),
        cmocka_unit_test(test_timer_from_thread),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_fairness),
        cmocka_unit_test(test_cond),
        cmocka_unit_test(test_idle_sleeps),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("main_loop", tests, setup, NULL);
}
