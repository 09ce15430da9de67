/* SPDX-License-Identifier: GPL-2.0-or-later
 * Limits of bytes and requests a second: the buckets by the numbers, drives and groups on null
 * disks. A slow host makes requests wait longer, never shorter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block/block.h"
#include "block/throttle.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { MANY = 64 };
static BlkRequest req[MANY];
static uint8_t buf[65536];
static struct iovec iov = { buf, 4096 };
static unsigned nr_done;

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_true(main_loop_init(&err));
    vm_lock();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    iov.iov_len = 4096;
    drives_close();
    return 0;
}

static Drive *open_drive(const char *options, Error **errp)
{
    char *text = xasprintf("if=none,file.driver=null-co,format=raw,%s", options);
    Error *err = NULL;
    Dict *d = dict_parse(text, NULL, &err);
    assert_non_null(d);
    Drive *drive = drive_create(d, errp);
    dict_free(d);
    free(text);
    return drive;
}

static Drive *open_ok(const char *options)
{
    Error *err = NULL;
    Drive *d = open_drive(options, &err);
    if (!d) {
        fail_msg("%s: %s", options, error_text(err));
    }
    return d;
}

static void on_done(BlkRequest *r)
{
    assert_int_equal(r->error, 0);
    nr_done++;
}

static void submit(Drive *d, BlkOp op, unsigned first, unsigned nr)
{
    for (unsigned i = first; i < first + nr; i++) {
        bool data = op == BLK_READ || op == BLK_WRITE;
        req[i] = (BlkRequest){
            .drive = d, .op = op, .iov = data ? &iov : NULL, .niov = data, .done = on_done
        };
        blk_submit(&req[i]);
    }
}

/* Seconds until nr are done. */
static double run_until(unsigned nr)
{
    uint64_t begin = host_clock_ns();
    while (nr_done < nr) {
        main_loop_step(UINT64_MAX);
    }
    return (double)(host_clock_ns() - begin) / 1e9;
}

static void test_buckets(void **state)
{
    (void)state;
    ThrottleLimit plain = { .rate = 1000 };
    ThrottleBucket b = { 0 };
    assert_int_equal(throttle_wait(&b, &plain), 0);
    b.level = 100;
    assert_int_equal(throttle_wait(&b, &plain), 0);
    b.level = 600;
    assert_int_equal(throttle_wait(&b, &plain), 500000000);
    throttle_leak(&b, &plain, 300000000);
    assert_int_equal(throttle_wait(&b, &plain), 200000000);
    throttle_leak(&b, &plain, 10000000000);
    assert_int_equal(throttle_wait(&b, &plain), 0);
    assert_true(b.level == 0);
    /* five seconds at 4000, then 1000 */
    ThrottleLimit burst = { .rate = 1000, .max = 4000, .length = 5 };
    b = (ThrottleBucket){ .level = 20000, .burst = 400 };
    assert_int_equal(throttle_wait(&b, &burst), 0);
    b = (ThrottleBucket){ .level = 20000, .burst = 800 };
    assert_int_equal(throttle_wait(&b, &burst), 100000000);
    b = (ThrottleBucket){ .level = 21000, .burst = 0 };
    assert_int_equal(throttle_wait(&b, &burst), 1000000000);
    /* a write of zeroes to a whole large disk */
    ThrottleLimit slow = { .rate = 1 };
    b = (ThrottleBucket){ .level = 0x1p60 };
    assert_true(throttle_wait(&b, &slow) == 1000000000000000000);
    ThrottleLimit none = { 0 };
    b.level = 1e9;
    assert_int_equal(throttle_wait(&b, &none), 0);
}

static void test_iops(void **state)
{
    (void)state;
    Drive *d = open_ok("id=a,throttling.iops-total=50");
    nr_done = 0;
    submit(d, BLK_READ, 0, 10);
    submit(d, BLK_WRITE, 10, 6);
    assert_true(run_until(16) >=
                0.15);          /* 16 - 6 at 50 a second, but for the one that opens the drive */
    submit(d, BLK_FLUSH, 0, 1); /* no limit is for flushes */
    run_until(17);
}

static void test_bps_old_spelling(void **state)
{
    (void)state;
    Drive *d = open_ok("id=a,bps_wr=1M");
    iov.iov_len = 65536;
    nr_done = 0;
    submit(d, BLK_READ, 0, 32);
    run_until(32);
    nr_done = 0;
    submit(d, BLK_WRITE, 0, 6);
    assert_true(run_until(6) >= 0.15); /* 320 KiB wait, less 100 KiB at once */
}

/* Who drains does not wait for limits. */
static void test_drain(void **state)
{
    (void)state;
    Drive *d = open_ok("id=a,iops=1,throttling.group=g"), *e = open_ok("id=b,group=g");
    nr_done = 0;
    submit(d, BLK_READ, 0, 10);
    submit(e, BLK_WRITE, 10, 10);
    main_loop_step(1000000);
    assert_in_range(nr_done, 0, 4);
    blk_drain(d);
    assert_in_range(nr_done, 10, 14);
    blk_drain(NULL);
    assert_int_equal(nr_done, 20);
}

/* One that waits can be called off, and is not carried out. */
static void test_cancel(void **state)
{
    (void)state;
    Drive *d = open_ok("id=a,iops=1");
    nr_done = 0;
    submit(d, BLK_WRITE, 0, 10);
    for (unsigned i = 0; i < 10; i++) {
        blk_cancel(&req[i]);
    }
    blk_drain(d);
    assert_int_equal(nr_done, 0);
}

/* The monitor takes a limit away: what waits goes. */
static void test_change(void **state)
{
    (void)state;
    Drive *d = open_ok("id=a,iops=1");
    Error *err = NULL;
    Dict *limits = dict_new();
    nr_done = 0;
    submit(d, BLK_WRITE, 0, 30);
    dict_set(limits, "iops", "0");
    assert_true(drive_throttle(d, limits, &err));
    run_until(30);
    dict_set(limits, "iops_rd", "5");
    dict_set(limits, "iops", "5");
    assert_false(drive_throttle(d, limits, &err));
    error_free(err);
    dict_free(limits);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "bps=1M,bps_rd=1M", "not both" },
        { "throttling.bps-total=1M,bps=1M", "say the same" },
        { "throttling.iops-total-max=5", "plain limit" },
        { "iops=50,iops_max=5", "at least the plain limit" },
        { "iops=50,iops_max_length=5", "needs its max" },
        { "throttling.iops-size=4096", "needs a limit of iops" },
        { "throttling.iops-totl=4096", "throttling.iops-totl" },
        { "iops=x", "iops=x" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Error *err = NULL;
        assert_null(open_drive(cases[i][0], &err));
        if (!strstr(error_text(err), cases[i][1])) {
            fail_msg("%s: want '%s', got '%s'", cases[i][0], cases[i][1], error_text(err));
        }
        error_free(err);
    }
}

#define TEST(f) cmocka_unit_test_teardown(f, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_buckets), TEST(test_iops),   TEST(test_bps_old_spelling), TEST(test_drain),
        TEST(test_cancel),  TEST(test_change), TEST(test_mistakes),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
