/* SPDX-License-Identifier: GPL-2.0-or-later
 * For tests of drives: images with a pattern, drives from options, requests, a directory of the
 * test's own.
 */
#ifndef TESTS_UNIT_BLOCK_BOX_H
#define TESTS_UNIT_BLOCK_BOX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "block/node.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

static char dir[] = "/tmp/vireo-block-XXXXXX";
static unsigned nr_done;

/* ---- helpers ---- */

static inline char *path_of(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

/* A file of size bytes, byte n of sector s being s + n. */
static inline char *make_image(const char *name, size_t size)
{
    char *path = path_of(name);
    uint8_t *data = xmalloc(size);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i / 512 + i);
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    free(data);
    return path;
}

static inline uint8_t file_byte(const char *path, long at)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fclose(f);
    assert_int_not_equal(c, EOF);
    return (uint8_t)c;
}

static inline Drive *open_drive(const char *options, Error **errp)
{
    Error *err = NULL;
    Dict *d = dict_parse(options, "file", &err);
    assert_non_null(d);
    Drive *drive = drive_create(d, errp);
    dict_free(d);
    return drive;
}

static inline Drive *open_ok(const char *fmt, const char *path)
{
    char *options = NULL;
    assert_true(asprintf(&options, "file=%s,%s", path, fmt) > 0);
    Error *err = NULL;
    Drive *d = open_drive(options, &err);
    if (!d) {
        fail_msg("%s: %s", options, error_text(err));
    }
    free(options);
    return d;
}

/* The options must fail with a text that holds want. */
static inline void open_fails(const char *options, const char *want)
{
    Error *err = NULL;
    Drive *d = open_drive(options, &err);
    assert_null(d);
    if (!strstr(error_text(err), want)) {
        fail_msg("%s: want '%s', got '%s'", options, want, error_text(err));
    }
    assert_null(strchr(error_text(err), '\n'));
    error_free(err);
}

static inline void on_done(BlkRequest *req)
{
    assert_true(vm_locked());
    nr_done++;
    (void)req;
}

static inline int request(Drive *d, BlkOp op, uint64_t offset, void *buf, uint64_t len)
{
    struct iovec iov = { buf, len };
    BlkRequest req = { .drive = d, .op = op, .offset = offset, .len = len, .iov = &iov,
                       .niov = buf ? 1 : 0, .done = on_done, .error = -1 };
    unsigned before = nr_done;
    blk_submit(&req);
    assert_int_equal(nr_done, before); /* never from inside blk_submit */
    blk_drain(d);
    assert_int_equal(nr_done, before + 1);
    return req.error;
}

static inline uint8_t read_byte(Drive *d, uint64_t at)
{
    uint8_t sector[512];
    assert_int_equal(request(d, BLK_READ, at / 512 * 512, sector, 512), 0);
    return sector[at % 512];
}

static inline int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_non_null(mkdtemp(dir));
    signal(SIGXFSZ, SIG_IGN);
    assert_true(main_loop_init(&err));
    vm_lock();
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    char *cmd = xasprintf("rm -rf %s", dir);
    vm_unlock();
    int r = system(cmd);
    free(cmd);
    return r;
}

static inline int close_all(void **state)
{
    (void)state;
    drives_stop_hook = NULL;
    drives_close();
    return 0;
}

#define TEST(fn) cmocka_unit_test_teardown(fn, close_all)

#endif
