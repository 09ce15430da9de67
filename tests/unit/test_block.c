/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives: data through requests, nodes, snapshots, error policies, threads.
 */
#include "tests/unit/block_box.h"

/* ---- data ---- */

static void check_read_write(const char *options)
{
    char *path = make_image("rw.img", 1 << 20);
    Drive *d = open_ok(options, path);
    assert_int_equal(drive_size(d), 1 << 20);
    uint8_t buf[4096 + 1], *odd = buf + 1; /* not aligned in memory */
    assert_int_equal(request(d, BLK_READ, 512 * 3, odd, 4096), 0);
    for (unsigned i = 0; i < 4096; i++) {
        assert_int_equal(odd[i], (uint8_t)(3 + i / 512 + i));
    }
    memset(odd, 0xa5, 4096);
    assert_int_equal(request(d, BLK_WRITE, 512 * 5, odd, 1536), 0);
    assert_int_equal(request(d, BLK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(file_byte(path, 512 * 5), 0xa5);
    assert_int_equal(file_byte(path, 512 * 8 - 1), 0xa5);
    assert_int_equal(file_byte(path, 512 * 5 - 1), (uint8_t)(4 + 511));
    assert_int_equal(file_byte(path, 512 * 8), 8);
    assert_int_equal(request(d, BLK_WRITE_ZEROES, 512 * 6, NULL, 512), 0);
    assert_int_equal(read_byte(d, 512 * 6 + 1), 0);
    assert_int_equal(read_byte(d, 512 * 7), 0xa5);
    assert_int_equal(request(d, BLK_DISCARD, 512 * 7, NULL, 512), 0);
    free(path);
}

static void test_read_write(void **state)
{
    (void)state;
    check_read_write("id=a");
}

static void test_writethrough(void **state)
{
    (void)state;
    check_read_write("id=a,cache=writethrough");
}

static void test_aio(void **state)
{
    (void)state;
    static const char *const options[] = { "id=a,aio=threads", "id=a,aio=io_uring",
                                           "id=a,aio=threads,cache=none",
                                           "id=a,aio=io_uring,cache=none" };
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        check_read_write(options[i]);
        drives_close();
    }
}

/* More requests at once than a ring has room for, sent together. */
static void test_many_requests(void **state)
{
    (void)state;
    enum { NR = 1500 };
    static BlkRequest req[NR];
    static struct iovec iov[NR];
    char *path = make_image("many.img", NR * 512);
    uint8_t *buf = xcalloc(NR, 512);
    for (unsigned round = 0; round < 2; round++) {
        Drive *d = open_ok(round ? "id=a,aio=threads" : "id=a", path);
        unsigned before = nr_done;
        memset(buf, 0xee, NR * 512);
        blk_plug();
        for (unsigned i = 0; i < NR; i++) {
            iov[i] = (struct iovec){ buf + i * 512, 512 };
            req[i] = (BlkRequest){ .drive = d, .op = BLK_READ, .offset = i * 512, .iov = &iov[i],
                                   .niov = 1, .done = on_done };
            blk_submit(&req[i]);
        }
        blk_unplug();
        assert_int_equal(nr_done, before);
        blk_drain(d);
        assert_int_equal(nr_done, before + NR);
        for (unsigned i = 0; i < NR; i++) {
            assert_int_equal(req[i].error, 0);
            assert_int_equal(buf[i * 512 + 5], (uint8_t)(i + 5));
        }
        drives_close();
    }
    free(buf);
    free(path);
}

static void test_direct(void **state)
{
    (void)state;
    check_read_write("id=a,cache=none");
}

/* A scattered request of more pieces than one system call takes here. */
static void test_many_pieces(void **state)
{
    (void)state;
    enum { PIECES = 200, PIECE = 512 };
    for (unsigned round = 0; round < 2; round++) {
        char *path = make_image("pieces.img", 1 << 20);
        Drive *d = open_ok(round ? "id=a,cache=none" : "id=a", path);
        uint8_t *buf = xcalloc(PIECES, PIECE);
        struct iovec iov[PIECES];
        for (unsigned i = 0; i < PIECES; i++) { /* backwards in memory */
            iov[i] = (struct iovec){ buf + (PIECES - 1 - i) * PIECE, PIECE };
        }
        BlkRequest req = { .drive = d, .op = BLK_READ, .iov = iov, .niov = PIECES,
                           .done = on_done };
        blk_submit(&req);
        blk_drain(d);
        assert_int_equal(req.error, 0);
        for (unsigned i = 0; i < PIECES; i++) {
            assert_int_equal(buf[(PIECES - 1 - i) * PIECE + 7], (uint8_t)(i + 7));
        }
        free(buf);
        free(path);
        drives_close();
    }
}

/* Whole blocks at whole addresses go past the page cache as they are, up to the end of a file that
 * somebody cut. */
static void test_direct_pieces(void **state)
{
    (void)state;
    enum { PIECES = 100, PIECE = 4096 };
    char *path = make_image("direct.img", 1 << 20);
    Drive *d = open_ok("id=a,cache=none,aio=threads", path);
    uint8_t *buf = aligned_alloc(4096, PIECES * PIECE);
    struct iovec iov[PIECES];
    for (unsigned i = 0; i < PIECES; i++) { /* backwards in memory */
        iov[i] = (struct iovec){ buf + (PIECES - 1 - i) * PIECE, PIECE };
        memset(iov[i].iov_base, (int)i + 1, PIECE);
    }
    BlkRequest req = { .drive = d, .op = BLK_WRITE, .iov = iov, .niov = PIECES, .done = on_done,
                       .offset = 8192 };
    blk_submit(&req);
    blk_drain(d);
    assert_int_equal(req.error, 0);
    assert_int_equal(read_byte(d, 8192), 1);
    assert_int_equal(read_byte(d, 8192 + 99 * PIECE + 17), 100);
    assert_int_equal(truncate(path, 8192 + 70 * PIECE + 100), 0);
    memset(buf, 0xff, PIECES * PIECE);
    req.op = BLK_READ;
    blk_submit(&req);
    blk_drain(d);
    assert_int_equal(req.error, 0);
    for (unsigned i = 0; i < PIECES; i++) {
        const uint8_t *piece = iov[i].iov_base;
        assert_int_equal(piece[99], i <= 70 ? i + 1 : 0);
        assert_int_equal(piece[100], i < 70 ? i + 1 : 0);
    }
    free(buf);
    free(path);
}

static void test_bounds(void **state)
{
    (void)state;
    char *path = make_image("small.img", 4096);
    Drive *d = open_ok("id=a", path);
    uint8_t buf[1024];
    assert_int_equal(request(d, BLK_READ, 4096 - 512, buf, 1024), EIO);
    assert_int_equal(request(d, BLK_READ, 4096, buf, 512), EIO);
    assert_int_equal(request(d, BLK_READ, UINT64_MAX - 511, buf, 1024), EIO);
    assert_int_equal(request(d, BLK_READ, 100, buf, 512), EIO);
    assert_int_equal(request(d, BLK_WRITE, 4096 - 512, buf, 1024), EIO);
    assert_int_equal(request(d, BLK_READ, 4096 - 512, buf, 512), 0);
    /* the file is cut while it is open: what is gone reads as zeroes */
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(read_byte(d, 2048), 0);
    free(path);
}

static void test_readonly(void **state)
{
    (void)state;
    char *path = make_image("ro.img", 4096);
    Drive *d = open_ok("id=a,readonly=on", path);
    uint8_t buf[512] = { 0 };
    assert_true(drive_is_readonly(d));
    assert_int_equal(request(d, BLK_WRITE, 0, buf, 512), EROFS);
    assert_int_equal(request(d, BLK_FLUSH, 0, NULL, 0), 0);
    free(path);
}

static void test_odd_size(void **state)
{
    (void)state;
    char *path = make_image("odd.img", 700);
    Drive *d = open_ok("id=a,format=raw", path);
    assert_int_equal(drive_size(d), 1024);
    assert_int_equal(read_byte(d, 699), (uint8_t)(1 + 699));
    assert_int_equal(read_byte(d, 700), 0);
    uint8_t buf[512];
    memset(buf, 0x77, sizeof(buf));
    assert_int_equal(request(d, BLK_WRITE, 512, buf, 512), 0);
    assert_int_equal(file_byte(path, 1023), 0x77);
    free(path);
}

static void test_detect_zeroes(void **state)
{
    (void)state;
    char *path = make_image("zeroes.img", 1 << 20);
    Drive *d = open_ok("id=a,detect-zeroes=unmap", path);
    struct stat before, after;
    uint8_t *buf = xcalloc(1, 512 * 1024);
    assert_int_equal(request(d, BLK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(request(d, BLK_WRITE, 0, buf, 512 * 1024), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(read_byte(d, 4097), 0);
    assert_int_equal(after.st_size, 1 << 20);
    if (before.st_blocks > 1024) {
        assert_true(after.st_blocks < before.st_blocks);
    }
    free(buf);
    free(path);
}

/* Zeroes give no space back where discards are to be ignored. */
static void test_zeroes_keep_space(void **state)
{
    (void)state;
    char *path = make_image("kept.img", 1 << 20);
    Drive *d = open_ok("id=a,discard=ignore", path);
    struct stat before, after;
    assert_int_equal(request(d, BLK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(stat(path, &before), 0);
    BlkRequest req = { .drive = d, .op = BLK_WRITE_ZEROES, .len = 512 * 1024, .done = on_done };
    blk_submit(&req);
    blk_drain(d);
    assert_int_equal(req.error, 0);
    assert_int_equal(request(d, BLK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(read_byte(d, 4097), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_true(after.st_blocks >= before.st_blocks / 4 * 3);
    free(path);
}

/* ---- nodes ---- */

static void node_add(const char *options)
{
    Error *err = NULL;
    Dict *d = dict_parse(options, "driver", &err);
    if (!d || !blockdev_add(d, &err)) {
        fail_msg("%s: %s", options, error_text(err));
    }
    dict_free(d);
}

/* An image that lies inside a larger file: its bytes are found there, and it stays in its part. */
static void test_image_in_file(void **state)
{
    (void)state;
    enum { AT = 1 << 20, PART = 512 * 1024, CLUSTER = 65536 };
    char *path = make_image("outer.img", 4 << 20), *inner = xasprintf("%s.qcow2", path);
    Error *err = NULL;
    Dict *opts = dict_parse("size=8M", NULL, &err);
    assert_true(block_create(block_driver_find("qcow2"), inner, opts, &err));
    dict_free(opts);
    BlockNode *n = block_open_image(inner, "qcow2", &(BlockFlags){ 0 }, &err);
    assert_non_null(n);
    uint8_t *buf = malloc(PART);
    memset(buf, 0x77, PART);
    assert_int_equal(block_pwrite(n, 3 * CLUSTER, buf, CLUSTER), 0);
    block_unref(n);
    int from = open(inner, O_RDONLY), to = open(path, O_RDWR);
    memset(buf, 0, PART);
    assert_true(read(from, buf, PART) > 0);
    assert_int_equal(pwrite(to, buf, PART, AT), PART);
    close(from);
    close(to);
    char *file = xasprintf("file,node-name=f,filename=%s", path);
    uint8_t behind = file_byte(path, AT + PART);
    node_add(file);
    node_add("raw,node-name=r,file=f,offset=1M,size=512k");
    node_add("qcow2,node-name=q,file=r");
    Drive *d = drive_find("q");
    assert_non_null(d);
    for (int i = 0; i < 2; i++) { /* the second time the tables are in memory */
        assert_int_equal(request(d, BLK_READ, 3 * CLUSTER, buf, CLUSTER), 0);
        assert_int_equal(buf[0], 0x77);
        assert_int_equal(buf[CLUSTER - 1], 0x77);
    }
    int error = 0;
    for (unsigned i = 4; i < 12 && !error; i++) {
        error = request(d, BLK_WRITE, (uint64_t)i * CLUSTER, buf, CLUSTER);
    }
    assert_int_equal(error, ENOSPC);
    assert_int_equal(request(d, BLK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(file_byte(path, AT + PART), behind);
    assert_int_equal(file_byte(path, AT + PART + 4096), (uint8_t)((AT + PART + 4096) / 512));
    drive_detach(d);
    assert_true(blockdev_del("q", &err) && blockdev_del("r", &err) && blockdev_del("f", &err));
    unlink(inner);
    free(buf);
    free(file);
    free(inner);
    free(path);
}

static void test_nodes(void **state)
{
    (void)state;
    char *path = make_image("node.img", 1 << 20);
    char *file = xasprintf("file,node-name=f,filename=%s", path);
    Error *err = NULL;
    node_add(file);
    node_add("raw,node-name=r,file=f,offset=4096,size=8192,detect-zeroes=unmap");
    assert_false(blockdev_del("f", &err));
    assert_non_null(strstr(error_text(err), "in use by r"));
    error_free(err);
    err = NULL;
    assert_null(drive_by_id("r"));
    Drive *d = drive_find("r");
    assert_non_null(d);
    assert_int_equal(drive_size(d), 8192);
    assert_int_equal(read_byte(d, 513), (uint8_t)(4096 / 512 + 1 + 513));
    uint8_t buf[512];
    memset(buf, 0xa5, sizeof(buf));
    assert_int_equal(request(d, BLK_WRITE, 0, buf, 512), 0);
    assert_int_equal(file_byte(path, 4096), 0xa5);
    memset(buf, 0, sizeof(buf));
    assert_int_equal(request(d, BLK_WRITE, 0, buf, 512), 0);
    assert_int_equal(file_byte(path, 4096), 0);
    static const DriveUser user = { 0 };
    assert_true(drive_attach(d, &user, NULL, "/machine/x", &err));
    assert_false(blockdev_del("r", &err));
    assert_non_null(strstr(error_text(err), "drive 'r'"));
    error_free(err);
    err = NULL;
    drive_detach(d);
    assert_null(drive_by_id("r"));
    assert_true(blockdev_del("r", &err));
    assert_true(blockdev_del("f", &err));
    free(file);
    free(path);
}

/* ---- snapshot ---- */

static void test_snapshot(void **state)
{
    (void)state;
    setenv("TMPDIR", dir, 1);
    char *path = make_image("base.img", 3 * 65536 + 1024);
    Drive *d = open_ok("id=a,snapshot=on", path);
    uint8_t buf[512], *big = xmalloc(2 * 65536);
    memset(buf, 0x5a, sizeof(buf));
    memset(big, 0xc3, 2 * 65536);
    assert_int_equal(request(d, BLK_WRITE, 65536 - 512, buf, 512), 0);
    assert_int_equal(read_byte(d, 65536 - 512), 0x5a);
    assert_int_equal(read_byte(d, 65536 - 513), (uint8_t)(126 + 65536 - 513));
    assert_int_equal(read_byte(d, 65536), 128);
    assert_int_equal(request(d, BLK_WRITE, 65536 - 1024, big, 2 * 65536), 0); /* three clusters */
    assert_int_equal(read_byte(d, 65536 - 1024), 0xc3);
    assert_int_equal(read_byte(d, 3 * 65536 - 1025), 0xc3);
    assert_int_equal(read_byte(d, 3 * 65536 - 1024), (uint8_t)(3 * 128 - 2));
    assert_int_equal(request(d, BLK_WRITE, 3 * 65536 + 512, buf, 512), 0); /* the short last one */
    assert_int_equal(read_byte(d, 3 * 65536 + 512), 0x5a);
    assert_int_equal(read_byte(d, 3 * 65536 + 511), (uint8_t)(3 * 128 + 511));
    assert_int_equal(request(d, BLK_WRITE_ZEROES, 0, NULL, 65536 + 512), 0);
    assert_int_equal(read_byte(d, 65536), 0);
    assert_int_equal(read_byte(d, 65536 + 512), 0xc3);
    drives_close();
    for (unsigned i = 0; i < 3 * 65536 + 1024; i += 511) {
        assert_int_equal(file_byte(path, i), (uint8_t)(i / 512 + i));
    }
    /* an image that may only be read takes a snapshot */
    chmod(path, 0400);
    d = open_ok("id=a,snapshot=on", path);
    assert_int_equal(request(d, BLK_WRITE, 0, buf, 512), 0);
    free(big);
    free(path);
    unsetenv("TMPDIR");
}

/* ---- a guest that is never idle ---- */

enum { BUSY_REQUESTS = 4, BUSY_ENOUGH = 3000 };
static unsigned nr_busy;

/* As a guest with several requests under way: each answer brings the next one. */
static void on_busy(BlkRequest *req)
{
    assert_int_equal(req->error, 0);
    if (++nr_busy < BUSY_ENOUGH) {
        blk_submit(req);
    }
}

static void start_busy(Drive *d, BlkRequest *req, struct iovec *iov)
{
    nr_busy = 0;
    for (unsigned i = 0; i < BUSY_REQUESTS; i++) {
        req[i] = (BlkRequest){ .drive = d, .op = BLK_READ, .offset = i * 512, .iov = &iov[i],
                               .niov = 1, .done = on_busy };
        blk_submit(&req[i]);
    }
}

/* What the monitor does to the drive waits for what is under way, and not for the guest to rest. */
static void test_busy(void **state)
{
    (void)state;
    static const char *const options[] = { "id=a,aio=threads", "id=a", "id=a,bps=100000000" };
    static uint8_t buf[BUSY_REQUESTS][512];
    char *path = make_image("busy.img", 1 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        Drive *d = open_ok(options[i], path);
        BlkRequest req[BUSY_REQUESTS];
        struct iovec iov[BUSY_REQUESTS];
        Error *err = NULL;
        for (unsigned k = 0; k < BUSY_REQUESTS; k++) {
            iov[k] = (struct iovec){ buf[k], 512 };
        }
        start_busy(d, req, iov);
        assert_true(drive_resize(d, (i + 2) << 20, &err));
        assert_in_range(nr_busy, 1, 2 * BUSY_REQUESTS);
        blk_cancel(&req[0]); /* while it waits its turn, or after */
        blk_drain(d);        /* the others go on to the end */
        assert_int_equal(nr_busy, BUSY_ENOUGH + BUSY_REQUESTS - 2);
        assert_false(drive_resize(d, 1 << 20, &err));
        assert_non_null(strstr(error_text(err), "--shrink"));
        error_free(err);
        drive_delete(d);
    }
    free(path);
}

/* ---- errors of the host ---- */

static Drive *stopped_drive;
static BlkOp stopped_op;
static int stopped_error;
static unsigned nr_stops;

static void on_stop(Drive *d, BlkOp op, int error)
{
    stopped_drive = d;
    stopped_op = op;
    stopped_error = error;
    nr_stops++;
}

static void limit_files(rlim_t size)
{
    struct rlimit r;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* No room (here: for a file that large) stops the machine and is tried again. */
static void test_no_room(void **state)
{
    (void)state;
    char *path = path_of("sparse.img");
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(truncate(path, 1 << 20), 0);
    Drive *d = open_ok("id=a", path);
    drives_stop_hook = on_stop;
    nr_stops = 0;
    uint8_t buf[512];
    memset(buf, 0x11, sizeof(buf));
    struct iovec iov = { buf, 512 };
    BlkRequest req = { .drive = d, .op = BLK_WRITE, .offset = 4096, .iov = &iov, .niov = 1,
                       .done = on_done };
    unsigned before = nr_done;
    limit_files(1024);
    blk_submit(&req);
    blk_drain(d);
    assert_int_equal(nr_stops, 1);
    assert_ptr_equal(stopped_drive, d);
    assert_int_equal(stopped_op, BLK_WRITE);
    assert_int_equal(stopped_error, EFBIG);
    assert_int_equal(nr_done, before); /* the device does not know */
    drives_retry(); /* still no room */
    blk_drain(d);
    assert_int_equal(nr_stops, 2);
    limit_files(RLIM_INFINITY);
    drives_retry();
    blk_drain(d);
    assert_int_equal(nr_stops, 2);
    assert_int_equal(nr_done, before + 1);
    assert_int_equal(req.error, 0);
    assert_int_equal(file_byte(path, 4096), 0x11);
    free(path);
}

/* The host takes the first part of a write only: nothing is done before all of it is. */
static void test_short_write(void **state)
{
    (void)state;
    static const char *const options[] = { "id=a,aio=threads", "id=a", "id=a,cache=none" };
    static uint8_t buf[8192] __attribute__((aligned(4096)));
    char *path = path_of("short.img");
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        assert_int_equal(close(open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600)), 0);
        assert_int_equal(truncate(path, 1 << 20), 0);
        Drive *d = open_ok(options[i], path);
        drives_stop_hook = on_stop;
        nr_stops = 0;
        memset(buf, 0x31, sizeof(buf));
        struct iovec iov = { buf, sizeof(buf) };
        BlkRequest req = { .drive = d, .op = BLK_WRITE, .offset = 4096, .iov = &iov, .niov = 1,
                           .done = on_done, .error = -1 };
        limit_files(8192);
        blk_submit(&req);
        blk_drain(d);
        assert_int_equal(nr_stops, 1);
        assert_int_equal(req.error, -1);
        limit_files(RLIM_INFINITY);
        drives_retry();
        blk_drain(d);
        assert_int_equal(req.error, 0);
        assert_int_equal(file_byte(path, 4096), 0x31);
        assert_int_equal(file_byte(path, 4096 + 8191), 0x31);
        drives_close();
    }
    free(path);
}

static void test_policies(void **state)
{
    (void)state;
    char *path = path_of("policy.img");
    uint8_t buf[512] = { 1 };
    static const struct {
        const char *options;
        int want;
    } cases[] = { { "id=a,werror=report", EFBIG }, { "id=a,werror=ignore", 0 } };
    drives_stop_hook = on_stop;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
        assert_int_equal(truncate(path, 1 << 20), 0);
        nr_stops = 0;
        Drive *d = open_ok(cases[i].options, path);
        limit_files(1024);
        int error = request(d, BLK_WRITE, 4096, buf, 512);
        limit_files(RLIM_INFINITY);
        assert_int_equal(error, cases[i].want);
        assert_int_equal(nr_stops, 0);
        drives_close();
    }
    free(path);
}

/* A request that waits for drives_retry can be called off. */
static void test_cancel_kept(void **state)
{
    (void)state;
    char *path = path_of("cancel.img");
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(truncate(path, 1 << 20), 0);
    Drive *d = open_ok("id=a,werror=stop", path);
    drives_stop_hook = on_stop;
    uint8_t buf[512] = { 1 };
    struct iovec iov = { buf, 512 };
    BlkRequest req = { .drive = d, .op = BLK_WRITE, .offset = 4096, .iov = &iov, .niov = 1,
                       .done = on_done };
    unsigned before = nr_done;
    limit_files(1024);
    blk_submit(&req);
    blk_drain(d);
    limit_files(RLIM_INFINITY);
    blk_cancel(&req);
    drives_retry();
    blk_drain(d);
    assert_int_equal(nr_done, before);
    assert_int_equal(file_byte(path, 4096), 0);
    free(path);
}

static void test_cancel_in_flight(void **state)
{
    (void)state;
    char *path = make_image("flight.img", 4096);
    Drive *d = open_ok("id=a", path);
    uint8_t buf[512];
    struct iovec iov = { buf, 512 };
    unsigned before = nr_done;
    for (unsigned i = 0; i < 100; i++) {
        BlkRequest req = { .drive = d, .op = BLK_READ, .iov = &iov, .niov = 1, .done = on_done };
        blk_submit(&req);
        blk_cancel(&req);
    }
    blk_drain(d);
    assert_int_equal(nr_done, before);
    free(path);
}

/* ---- threads ---- */

/* As a vCPU would: the main loop does not run meanwhile. */
static void *drain_elsewhere(void *opaque)
{
    for (unsigned i = 0; i < 200; i++) {
        vm_lock();
        uint8_t sector[512];
        assert_int_equal(request(opaque, BLK_FLUSH, 0, NULL, 0), 0);
        assert_int_equal(request(opaque, BLK_READ, 512, sector, 512), 0);
        vm_unlock();
    }
    return NULL;
}

static void test_drain_from_thread(void **state)
{
    (void)state;
    char *path = make_image("thread.img", 4096);
    Drive *d = open_ok("id=a,cache=unsafe", path);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain_elsewhere, d), 0);
    vm_unlock();
    pthread_join(thread, NULL);
    vm_lock();
    free(path);
}

/* Completions come through the main loop as well. */
static void test_main_loop_completes(void **state)
{
    (void)state;
    char *path = make_image("loop.img", 4096);
    Drive *d = open_ok("id=a", path);
    uint8_t buf[512];
    struct iovec iov = { buf, 512 };
    BlkRequest req = { .drive = d, .op = BLK_READ, .iov = &iov, .niov = 1, .done = on_done };
    unsigned before = nr_done;
    blk_submit(&req);
    for (unsigned i = 0; i < 100 && nr_done == before; i++) {
        main_loop_step(100 * 1000 * 1000);
    }
    assert_int_equal(nr_done, before + 1);
    assert_int_equal(buf[3], 3);
    free(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_read_write), TEST(test_writethrough), TEST(test_direct), TEST(test_many_pieces),
        TEST(test_direct_pieces), TEST(test_bounds), TEST(test_aio), TEST(test_many_requests),
        TEST(test_readonly), TEST(test_odd_size), TEST(test_detect_zeroes),
        TEST(test_zeroes_keep_space), TEST(test_image_in_file), TEST(test_nodes),
        TEST(test_snapshot), TEST(test_no_room), TEST(test_short_write), TEST(test_policies),
        TEST(test_cancel_kept), TEST(test_cancel_in_flight), TEST(test_drain_from_thread),
        TEST(test_busy), TEST(test_main_loop_completes),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
