/* SPDX-License-Identifier: GPL-2.0-or-later
 * Images that are raw by a guess: no write makes them look like another format, however it comes.
 */
#include "tests/unit/block_box.h"

static const char qcow2[] = "QFI\xfb\0\0\0\3";

/* ---- helpers ---- */

/* What the next start would take the file for; NULL: raw. */
static const char *looks_like(const char *path)
{
    uint8_t head[BLOCK_HEAD] = { 0 };
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(head, 1, sizeof(head), f);
    fclose(f);
    return block_guess(head, n);
}

static int write_at(Drive *d, uint64_t offset, void *buf, size_t len)
{
    return request(d, BLK_WRITE, offset, buf, len);
}

/* ---- tests ---- */

/* Every way that requests go, a sector alone and in the midst of much. */
static void test_ways(void **state)
{
    (void)state;
    static const char *const ways[] = { "id=a",
                                        "id=a,aio=threads",
                                        "id=a,aio=io_uring",
                                        "id=a,cache=none",
                                        "id=a,cache=writethrough",
                                        "id=a,copy-on-read=on",
                                        "id=a,detect-zeroes=on" };
    uint8_t *buf = aligned_alloc(4096, 256 * 1024);
    for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
        char *path = make_image("disk.img", 1 << 20);
        Drive *d = open_ok(ways[w], path);
        for (size_t len = 512; len <= 256 * 1024; len *= 2) {
            memset(buf, (int)w + 1, len);
            assert_int_equal(write_at(d, 0, buf, len), 0);
            memcpy(buf, qcow2, 8);
            assert_int_equal(write_at(d, 0, buf, len), EPERM);
            assert_int_equal(write_at(d, 4096, buf, len), 0);
            assert_null(looks_like(path));
        }
        drives_close();
        int fd = open(path, O_RDONLY);
        assert_int_equal(pread(fd, buf, 512, 0), 512); /* none of a refused write is there */
        close(fd);
        assert_true(buf[0] == w + 1 && buf[511] == w + 1);
        free(path);
    }
    free(buf);
}

static void test_formats(void **state)
{
    (void)state;
    static const struct {
        const char *magic;
        size_t len;
    } heads[] = {
        { "QFI\xfb\0\0\0\1", 8 },
        { "QFI\xfb\0\0\0\2", 8 },
        { "QFI\xfb\0\0\0\3", 8 },
        { "KDMV", 4 },
        { "# Disk DescriptorF", 18 },
        { "conectix", 8 },
        { "vhdxfile", 8 },
        { "QED\0", 4 },
        { "<<< Oracle VM VirtualBox", 24 },
        { "WithoutFreeSpace", 16 },
    };
    char *path = make_image("disk.img", 1 << 20);
    Drive *d = open_ok("id=a", path);
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        uint8_t sector[512] = { 0 };
        memcpy(sector, heads[i].magic, heads[i].len);
        assert_int_equal(write_at(d, 0, sector, 512), EPERM);
        assert_int_equal(write_at(d, 512, sector, 512), 0); /* only the beginning tells */
        assert_null(looks_like(path));
    }
    free(path);
}

static void test_pieces(void **state)
{
    (void)state;
    enum { PIECES = 1024 };
    uint8_t buf[PIECES * 4] = { 0 };
    struct iovec iov[PIECES];
    memcpy(buf, qcow2, 8);
    for (unsigned i = 0; i < PIECES; i++) { /* 1, 7, 1, 7, ... */
        iov[i] = (struct iovec){ buf + i / 2 * 8 + i % 2, i % 2 ? 7 : 1 };
    }
    char *path = make_image("disk.img", 1 << 20);
    Drive *d = open_ok("id=a", path);
    BlkRequest req = { .drive = d, .op = BLK_WRITE, .iov = iov, .niov = PIECES, .done = on_done };
    blk_submit(&req);
    blk_drain(d);
    assert_int_equal(req.error, EPERM);
    assert_null(looks_like(path));
    buf[3] = 0;
    blk_submit(&req);
    blk_drain(d);
    assert_int_equal(req.error, 0);
    free(path);
}

/* What the tools can do: byte by byte. */
static void test_bytes(void **state)
{
    (void)state;
    Error *err = NULL;
    char *path = make_image("disk.img", 1 << 20);
    BlockNode *n = block_open_image(path, NULL, &(BlockFlags){ 0 }, &err);
    assert_non_null(n);
    assert_true(block_is_guessed_raw(n));
    for (unsigned i = 8; i-- > 1;) {
        assert_int_equal(block_pwrite(n, i, qcow2 + i, 1), 0);
    }
    assert_int_equal(block_pwrite(n, 0, qcow2, 1), EPERM);
    assert_int_equal(block_pwrite(n, 0, "q", 1), 0);
    assert_null(looks_like(path));
    block_unref(n);
    free(path);
}

/* Who says raw means it; offset= shows what is not the file's beginning. */
static void test_said(void **state)
{
    (void)state;
    uint8_t sector[512] = { 0 };
    memcpy(sector, qcow2, 8);
    char *path = make_image("disk.img", 1 << 20);
    Drive *d = open_ok("id=a,offset=512", path);
    assert_int_equal(write_at(d, 0, sector, 512), 0);
    assert_null(looks_like(path));
    drives_close();
    d = open_ok("id=a,format=raw", path);
    assert_int_equal(write_at(d, 0, sector, 512), 0);
    assert_string_equal(looks_like(path), "qcow2");
    free(path);
}

/* The snapshot may look like anything; the image not, after it. */
static void test_commit(void **state)
{
    (void)state;
    uint8_t sector[512] = { 0 };
    Error *err = NULL;
    memcpy(sector, qcow2, 8);
    setenv("TMPDIR", dir, 1);
    char *path = make_image("disk.img", 1 << 20);
    Drive *d = open_ok("id=a,snapshot=on", path);
    assert_int_equal(write_at(d, 0, sector, 512), 0);
    assert_false(drive_commit(d, &err));
    assert_non_null(strstr(error_text(err), "the overlay still holds everything"));
    error_free(err);
    drives_close();
    assert_null(looks_like(path));
    unsetenv("TMPDIR");
    free(path);
}

static void *flip(void *opaque)
{
    uint8_t *buf = opaque;
    for (unsigned i = 0; __atomic_load_n(&buf[511], __ATOMIC_RELAXED) == 0; i++) {
        __atomic_store_n(&buf[3], i & 1 ? 0xfb : 0, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* A guest's other CPU changes the data while they are looked at. */
static void test_race(void **state)
{
    (void)state;
    uint8_t sector[512] = { 0 };
    memcpy(sector, qcow2, 8);
    char *path = make_image("disk.img", 1 << 20);
    Drive *d = open_ok("id=a,aio=threads", path);
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, flip, sector), 0);
    for (unsigned i = 0; i < 500; i++) {
        int error = write_at(d, 0, sector, 512);
        assert_true(error == 0 || error == EPERM);
        assert_null(looks_like(path));
    }
    __atomic_store_n(&sector[511], 1, __ATOMIC_RELAXED);
    pthread_join(other, NULL);
    free(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_ways), TEST(test_formats), TEST(test_pieces), TEST(test_bytes),
        TEST(test_said), TEST(test_commit),  TEST(test_race),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
