/* SPDX-License-Identifier: GPL-2.0-or-later
 * Faults of the host at every kind of block request: what the device is told, what is in the file,
 * what waits for cont. blkdebug lets them fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

enum { SIZE = 1 << 20 };
static char path[] = "/tmp/vireo-faults-XXXXXX";
static unsigned nr_done, nr_stops;
static BlkOp stop_op;
static int stop_error;

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
    assert_true(main_loop_init(&err));
    vm_lock();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vm_unlock();
    return unlink(path);
}

static int close_all(void **state)
{
    (void)state;
    drives_stop_hook = NULL;
    drives_close();
    return 0;
}

/* A raw image on blkdebug with these rules. */
static Drive *open_drive(const char *options, const char *rules)
{
    char *text = xasprintf("id=a,file=blkdebug::%s,format=raw,%s%s%s", path, options,
                           *rules ? ",file." : "", rules);
    Error *err = NULL;
    Dict *d = dict_parse(text, NULL, &err);
    Drive *drive = d ? drive_create(d, &err) : NULL;
    if (!drive) {
        fail_msg("%s: %s", text, error_text(err));
    }
    dict_free(d);
    free(text);
    return drive;
}

static void on_done(BlkRequest *req)
{
    (void)req;
    nr_done++;
}

static void on_stop(Drive *d, BlkOp op, int error)
{
    (void)d;
    stop_op = op;
    stop_error = error;
    nr_stops++;
}

static uint8_t buf[8192];
static struct iovec iov = { buf, sizeof(buf) };

static void submit(BlkRequest *req, Drive *d, BlkOp op, bool fua)
{
    bool data = op == BLK_READ || op == BLK_WRITE;
    *req = (BlkRequest){ .drive = d,
                         .op = op,
                         .offset = 4096,
                         .len = sizeof(buf),
                         .fua = fua,
                         .iov = data ? &iov : NULL,
                         .niov = data,
                         .done = on_done,
                         .error = -1 };
    blk_submit(req);
    blk_drain(d);
}

static int request(Drive *d, BlkOp op)
{
    BlkRequest req;
    submit(&req, d, op, false);
    return req.error;
}

static uint8_t file_byte(off_t at)
{
    uint8_t c = 0;
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &c, 1, at), 1);
    close(fd);
    return c;
}

static const struct {
    BlkOp op;
    const char *event;
} ops[] = {
    { BLK_READ, "read_aio" },
    { BLK_WRITE, "write_aio" },
    { BLK_FLUSH, "flush_to_disk" },
    { BLK_DISCARD, "discard" },
    { BLK_WRITE_ZEROES, "pwritev_zero" },
};
static const int errors[] = { EIO, ENOSPC };

/* Opening reads, too, but not there: the sector of all requests. */
static char *once_rule(unsigned n, const char *event, int error)
{
    const char *sector = strcmp(event, "flush_to_disk") ? "8" : "-1";
    return xasprintf("inject-error.%u.event=%s,file.inject-error.%u.errno=%d,"
                     "file.inject-error.%u.once=on,file.inject-error.%u.sector=%s",
                     n, event, n, error, n, n, sector);
}

/* The device is told, once; the next request goes through. */
static void test_reported(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
            char *rule = once_rule(0, ops[i].event, errors[e]);
            Drive *d = open_drive("werror=report", rule);
            drives_stop_hook = on_stop;
            nr_stops = 0;
            assert_int_equal(request(d, ops[i].op), errors[e]);
            assert_int_equal(request(d, ops[i].op), 0);
            assert_int_equal(nr_stops, 0);
            free(rule);
            close_all(NULL);
        }
    }
}

/* The machine stops, the request is kept and made again as often as it takes. */
static void test_stopped(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
            char *rules[2] = { once_rule(0, ops[i].event, errors[e]),
                               once_rule(1, ops[i].event, errors[e]) };
            char *rule = xasprintf("%s,file.%s", rules[0], rules[1]);
            free(rules[0]);
            free(rules[1]);
            bool room = ops[i].op != BLK_READ && errors[e] == ENOSPC;
            Drive *d = open_drive(room ? "werror=enospc" : "werror=stop,rerror=stop", rule);
            drives_stop_hook = on_stop;
            nr_stops = 0;
            unsigned before = nr_done;
            BlkRequest req;
            memset(buf, 0x40 + (int)i, sizeof(buf));
            submit(&req, d, ops[i].op, false);
            assert_int_equal(nr_stops, 1);
            assert_int_equal(stop_op, ops[i].op);
            assert_int_equal(stop_error, errors[e]);
            drives_retry();
            blk_drain(d);
            assert_int_equal(nr_stops, 2);
            assert_int_equal(nr_done, before);
            drives_retry();
            blk_drain(d);
            assert_int_equal(nr_done, before + 1);
            assert_int_equal(req.error, 0);
            if (ops[i].op == BLK_WRITE) {
                assert_int_equal(file_byte(4096 + 8191), 0x41);
            }
            free(rule);
            close_all(NULL);
        }
    }
}

/* The first half is written, then there is no room: after cont all of it is there. */
static void test_torn_write(void **state)
{
    (void)state;
    Drive *d =
        open_drive("werror=enospc", "inject-error.0.event=write_aio,file.inject-error.0.errno=28,"
                                    "file.inject-error.0.once=on,"
                                    "file.inject-error.0.partial=on");
    drives_stop_hook = on_stop;
    nr_stops = 0;
    BlkRequest req;
    int fd = open(path, O_WRONLY);
    memset(buf, 0, sizeof(buf));
    assert_int_equal(pwrite(fd, buf, sizeof(buf), 4096), sizeof(buf));
    close(fd);
    memset(buf, 0x77, sizeof(buf));
    submit(&req, d, BLK_WRITE, false);
    assert_int_equal(nr_stops, 1);
    assert_int_equal(file_byte(4096), 0x77);
    assert_int_equal(file_byte(4096 + 4096), 0);
    drives_retry();
    blk_drain(d);
    assert_int_equal(req.error, 0);
    assert_int_equal(file_byte(4096 + 8191), 0x77);
}

/* A write that is to be stable is not done if its flush failed. */
static void test_fua(void **state)
{
    (void)state;
    static const char *const options[] = { "werror=report", "werror=report,cache=writethrough" };
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        for (unsigned zeroes = 0; zeroes < 2; zeroes++) {
            Drive *d = open_drive(options[i],
                                  "inject-error.0.event=flush_to_disk,file.inject-error.0.once=on");
            BlkRequest req;
            submit(&req, d, zeroes ? BLK_WRITE_ZEROES : BLK_WRITE, i == 0);
            assert_int_equal(req.error, EIO);
            submit(&req, d, zeroes ? BLK_WRITE_ZEROES : BLK_WRITE, i == 0);
            assert_int_equal(req.error, 0);
            close_all(NULL);
        }
    }
}

static void test_sector_and_state(void **state)
{
    (void)state;
    Drive *d =
        open_drive("werror=report", "inject-error.0.event=none,file.inject-error.0.sector=23,"
                                    "file.inject-error.0.iotype=write,file.inject-error.0.errno=5");
    assert_int_equal(request(d, BLK_READ), 0);
    assert_int_equal(request(d, BLK_WRITE), EIO); /* sectors 8 to 23 */
    iov.iov_len = 512;
    assert_int_equal(request(d, BLK_WRITE), 0);
    iov.iov_len = sizeof(buf);
    close_all(NULL);
    /* the second write fails */
    d = open_drive("werror=report", "set-state.0.event=write_aio,file.set-state.0.state=1,"
                                    "file.set-state.0.new_state=2,file.inject-error.0.event=write_aio,"
                                    "file.inject-error.0.state=2,file.inject-error.0.once=on");
    assert_int_equal(request(d, BLK_WRITE), 0);
    assert_int_equal(request(d, BLK_WRITE), EIO);
    assert_int_equal(request(d, BLK_WRITE), 0);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *options, *want;
    } cases[] = {
        { "file=blkdebug:/nonexistent/x.conf:IMG", "the rules in '/nonexistent/x.conf'" },
        { "file=blkdebug:IMG", "blkdebug:CONFIG:IMAGE" },
        { "file=blkdebug::IMG,file.inject-error.0.errno=5", "inject-error.0: event= is missing" },
        { "file=blkdebug::IMG,file.inject-error.0.event=wirte_aio", "did you mean 'write_aio'?" },
        { "file=blkdebug::IMG,file.set-state.0.event=xyzzyxyzzy", "docs/drives.md lists" },
        { "file=blkdebug::IMG,file.inject-error.0.event=none,file.inject-error.0.iotype=y",
          "iotype=y" },
        { "file=blkdebug::IMG,file.inject-error.0.event=none,file.inject-error.0.one=on", "'one'" },
        { "driver=blkdebug,id=a", "needs image=" },
        { "file=null-co://x", "null-co://" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *text = xstrdup(cases[i].options), *img = strstr(text, "IMG");
        if (img) {
            char *full = xasprintf("%.*s%s%s", (int)(img - text), text, path, img + 3);
            free(text);
            text = full;
        }
        Error *err = NULL;
        Dict *d = dict_parse(text, NULL, &err);
        assert_null(drive_create(d, &err));
        if (!strstr(error_text(err), cases[i].want)) {
            fail_msg("%s: want '%s', got '%s'", text, cases[i].want, error_text(err));
        }
        error_free(err);
        dict_free(d);
        free(text);
    }
}

static void test_null(void **state)
{
    (void)state;
    Error *err = NULL;
    Dict *d = dict_parse("id=n,file.driver=null-co,file.size=64M,file.read-zeroes=on,format=raw",
                         NULL, &err);
    Drive *drive = drive_create(d, &err);
    assert_non_null(drive);
    dict_free(d);
    assert_int_equal(drive_size(drive), 64 << 20);
    memset(buf, 1, sizeof(buf));
    assert_int_equal(request(drive, BLK_WRITE), 0);
    assert_int_equal(request(drive, BLK_READ), 0);
    assert_int_equal(buf[8191], 0);
    assert_int_equal(request(drive, BLK_FLUSH), 0);
}

#define TEST(f) cmocka_unit_test_teardown(f, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reported), TEST(test_stopped),          TEST(test_torn_write), TEST(test_fua),
        TEST(test_null),     TEST(test_sector_and_state), TEST(test_mistakes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
