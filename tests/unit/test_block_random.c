/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random requests, many under way at once, against a copy in memory: raw, qcow2 and overlays, by
 * io_uring and by worker threads. Requests under way at once touch different blocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "block/block.h"
#include "block/node.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

enum { SLOTS = 24, AREA = 64 * 1024, SIZE = SLOTS * AREA * 4, ROUNDS = 6000 };

typedef struct Slot {
    BlkRequest req;
    struct iovec iov[3];
    uint8_t *buf;
    bool busy;
} Slot;

static char path[] = "/tmp/vireo-random-XXXXXX";
static Slot slot[SLOTS];
static uint8_t *shadow; /* what the guest has written; the disk has that wherever no request is */
static unsigned busy;
static uint32_t seed = 1;

static uint32_t next_random(uint32_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % bound;
}

static void on_done(BlkRequest *req)
{
    Slot *s = container_of(req, Slot, req);
    assert_int_equal(req->error, 0);
    if (req->op == BLK_READ) {
        uint64_t at = req->offset;
        for (int i = 0; i < req->niov; i++) {
            assert_memory_equal(s->iov[i].iov_base, shadow + at, s->iov[i].iov_len);
            at += s->iov[i].iov_len;
        }
    }
    s->busy = false;
    busy--;
}

/* A request in a place that is this slot's alone: every SLOTS-th area. */
static void submit(Drive *d, unsigned n)
{
    Slot *s = &slot[n];
    uint64_t area = (uint64_t)next_random(4) * SLOTS + n;
    uint32_t first = next_random(AREA / 512), left = AREA / 512 - first;
    uint32_t len = (1 + next_random(next_random(2) ? left : MIN(left, 8u))) * 512;
    uint32_t what = next_random(20), parts = len >= 1536 ? 1 + next_random(3) : 1;
    static const BlkOp rare[] = { BLK_FLUSH, BLK_WRITE_ZEROES, BLK_WRITE_ZEROES };
    BlkOp op = what < 10 ? BLK_READ : what < 17 ? BLK_WRITE : rare[what - 17];
    len = MIN(len, left * 512);
    uint64_t at = area * AREA + first * 512ull;
    uint8_t *buf = s->buf;
    if (op == BLK_WRITE) {
        memset(buf, (int)next_random(256), len);
        memcpy(shadow + at, buf, len);
    } else if (op == BLK_WRITE_ZEROES) {
        memset(shadow + at, 0, len);
    } else {
        memset(buf, 0xdd, len);
    }
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t part =
            i + 1 < parts ? len / parts / 512 * 512 : len - i * (len / parts / 512 * 512);
        s->iov[i] = (struct iovec){ buf + i * (len / parts / 512 * 512), part };
    }
    bool data = op == BLK_READ || op == BLK_WRITE;
    s->req = (BlkRequest){ .drive = d,
                           .op = op,
                           .offset = at,
                           .len = len,
                           .done = on_done,
                           .iov = data ? s->iov : NULL,
                           .niov = data ? (int)parts : 0,
                           .fua = op == BLK_WRITE && !next_random(50) };
    s->busy = true;
    busy++;
    blk_submit(&s->req);
}

static void run(const char *format, const char *options)
{
    Error *err = NULL;
    Dict *opts = dict_new();
    dict_setf(opts, "size", "%u", SIZE);
    if (!block_create(block_driver_find(format), path, opts, &err)) {
        fail_msg("%s", error_text(err));
    }
    dict_free(opts);
    char *text = xasprintf("id=a,file=%s,%s", path, options);
    opts = dict_parse(text, NULL, &err);
    Drive *d = drive_create(opts, &err);
    if (!d) {
        fail_msg("%s: %s", text, error_text(err));
    }
    dict_free(opts);
    free(text);
    memset(shadow, 0, SIZE);
    for (unsigned round = 0; round < ROUNDS;) {
        blk_plug();
        for (unsigned n = 0; n < SLOTS; n++) {
            if (!slot[n].busy && next_random(4)) {
                submit(d, n);
                round++;
            }
        }
        blk_unplug();
        if (!next_random(200)) {
            blk_drain(d);
            assert_int_equal(busy, 0);
        } else {
            main_loop_step(100 * 1000 * 1000);
        }
    }
    blk_drain(d);
    assert_int_equal(busy, 0);
    drives_close();
}

static void test_raw(void **state)
{
    (void)state;
    run("raw", "format=raw");
    run("raw", "format=raw,aio=threads");
    run("raw", "format=raw,cache=none,detect-zeroes=unmap");
    run("raw", "format=raw,snapshot=on");
}

static void test_qcow2(void **state)
{
    (void)state;
    if (block_driver_find("qcow2")) {
        run("qcow2", "format=qcow2");
        run("qcow2", "format=qcow2,aio=threads,detect-zeroes=on");
        run("qcow2", "format=qcow2,cache=none,l2-cache-size=64k");
        run("qcow2", "format=qcow2,snapshot=on");
        run("qcow2", "format=qcow2,snapshot=on,copy-on-read=on");
    }
}

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    int fd = mkstemp(path);
    shadow = malloc(SIZE);
    for (unsigned n = 0; n < SLOTS; n++) {
        slot[n].buf = aligned_alloc(4096, AREA);
    }
    vm_lock();
    return fd < 0 || close(fd) || !main_loop_init(&err);
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned n = 0; n < SLOTS; n++) {
        free(slot[n].buf);
    }
    free(shadow);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_raw), cmocka_unit_test(test_qcow2) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
