/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2 images of every kind: what is written comes back, other programs agree (qemu-img, qemu-io),
 * snapshots, resizing, options, errors.
 */
#include "tests/unit/qcow2_box.h"

/* ---- what an image should hold ---- */

typedef struct Model {
    uint8_t *data;
    uint64_t size;
} Model;

static void model_init(Model *m, uint64_t size)
{
    m->data = xcalloc(1, size);
    m->size = size;
}

static void compare(BlockNode *n, const Model *m, const char *when)
{
    enum { PART = 1 << 20 };
    uint8_t *buf = xmalloc(PART);
    assert_int_equal(n->size, m->size);
    for (uint64_t at = 0; at < m->size; at += PART) {
        size_t len = MIN(m->size - at, (uint64_t)PART);
        assert_int_equal(block_pread(n, at, buf, len), 0);
        if (memcmp(buf, m->data + at, len)) {
            for (size_t i = 0; i < len; i++) {
                if (buf[i] != m->data[at + i]) {
                    fail_msg("%s: byte 0x%llx: want %02x, got %02x", when,
                             (unsigned long long)(at + i), m->data[at + i], buf[i]);
                }
            }
        }
    }
    free(buf);
}

static void write_random(BlockNode *n, Model *m, uint64_t max)
{
    uint64_t at = below(m->size), len = 1 + below(MIN(max, m->size - at));
    if (below(2)) {
        at = ROUND_DOWN(at, 512);
        len = MIN(ROUND_UP(len, 512), m->size - at);
    }
    memset(m->data + at, (int)(1 + below(255)), len);
    /* in two buffers */
    uint64_t cut = below(len + 1);
    struct iovec iov[2] = { { m->data + at, cut }, { m->data + at + cut, len - cut } };
    assert_int_equal(block_writev(n, at, iov, 2, len), 0);
}

static void zero_random(BlockNode *n, Model *m, uint64_t max)
{
    uint64_t at = below(m->size), len = 1 + below(MIN(max, m->size - at));
    memset(m->data + at, 0, len);
    assert_int_equal(block_write_zeroes(n, at, len, below(2)), 0);
}

/* What is discarded reads as zeroes, in whole clusters. */
static void discard_random(BlockNode *n, Model *m, uint64_t max)
{
    uint64_t at = below(m->size), len = 1 + below(MIN(max, m->size - at));
    assert_int_equal(block_discard(n, at, len), 0);
    assert_int_equal(block_pread(n, at, m->data + at, len), 0);
}

static void compress_random(BlockNode *n, Model *m)
{
    uint64_t at = ROUND_DOWN(below(m->size), n->cluster_size);
    uint64_t len = MIN(n->cluster_size, m->size - at);
    for (uint64_t i = 0; i < len; i++) {
        m->data[at + i] = (uint8_t)(i / 64 + at / n->cluster_size);
    }
    assert_int_equal(n->driver->write_compressed(n, at, m->data + at, len), 0);
}

static void work(BlockNode *n, Model *m, int ops, bool compress)
{
    uint64_t max = MIN(MAX(4 * (uint64_t)n->cluster_size, 8192u), m->size);
    for (int i = 0; i < ops; i++) {
        switch (below(8)) {
        case 0: zero_random(n, m, max); break;
        case 1: discard_random(n, m, max); break;
        case 2:
            if (compress) {
                compress_random(n, m);
            }
            break;
        case 3: assert_int_equal(block_flush(n), 0); break;
        default: write_random(n, m, max); break;
        }
    }
}

static void check_clean(BlockNode *n, const char *what)
{
    BlockCheck r;
    Error *err = NULL;
    box_ok(n->driver->check(n, 0, &r, &err), err);
    if (r.corruptions || r.leaks || r.errors) {
        fail_msg("%s: %llu corruptions, %llu leaks", what, (unsigned long long)r.corruptions,
                 (unsigned long long)r.leaks);
    }
}

static void qemu_check(const char *name)
{
    if (box_has_qemu() && box_run("qemu-img check %s", name)) {
        box_show_output();
        fail_msg("qemu-img check finds something");
    }
}

/* qemu-img must read these very bytes. */
static void qemu_compare(const char *name, const Model *m)
{
    if (!box_has_qemu()) {
        return;
    }
    char *path = box_path("want.raw");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(m->data, 1, m->size, f), m->size);
    fclose(f);
    free(path);
    if (box_run("qemu-img compare -f raw -F qcow2 want.raw %s", name)) {
        box_show_output();
        fail_msg("qemu-img reads something else");
    }
}

static void round_trip(const char *options, uint64_t size, int ops, bool compress)
{
    Model m;
    char *all = xasprintf("size=%llu%s%s", (unsigned long long)size, *options ? "," : "", options);
    model_init(&m, size);
    box_create("a.qcow2", all);
    BlockNode *n = box_open("a.qcow2");
    work(n, &m, ops, compress);
    compare(n, &m, options);
    block_unref(n);
    n = box_open("a.qcow2");
    check_clean(n, options);
    compare(n, &m, options);
    work(n, &m, ops / 2, compress);
    block_unref(n);
    qemu_check("a.qcow2");
    qemu_compare("a.qcow2", &m);
    free(m.data);
    free(all);
}

/* ---- tests ---- */

static void test_cluster_sizes(void **state)
{
    (void)state;
    for (uint64_t c = 512; c <= 2 * MiB; c *= 2) {
        char *options = xasprintf("cluster_size=%llu", (unsigned long long)c);
        round_trip(options, MIN(MAX(256 * c, 1 * MiB), 16 * MiB) + 512 * below(5), 120, true);
        free(options);
    }
}

static void test_refcount_widths(void **state)
{
    (void)state;
    for (unsigned bits = 1; bits <= 64; bits *= 2) {
        char *options =
            xasprintf("refcount_bits=%u,cluster_size=%u", bits, bits & 0x15 ? 4096 : 512);
        round_trip(options, 2 * MiB, 120, true);
        free(options);
    }
}

static void test_kinds(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "compat=0.10",
        "compat=0.10,cluster_size=4k",
        "lazy_refcounts=on,cluster_size=4k",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k",
        "compression_type=zlib",
        "preallocation=metadata",
        "preallocation=falloc,cluster_size=4k",
        "preallocation=full",
        "extended_l2=on,preallocation=metadata",
        "compat=0.10,preallocation=metadata",
    };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        round_trip(kinds[i], 4 * MiB + 512, 150, true);
    }
#ifdef HAVE_ZSTD
    round_trip("compression_type=zstd", 4 * MiB, 150, true);
    round_trip("compression_type=zstd,extended_l2=on,refcount_bits=64", 4 * MiB, 150, true);
#endif
}

static void test_data_file(void **state)
{
    (void)state;
    round_trip("data_file=data.raw", 4 * MiB, 150, false);
    round_trip("data_file=data.raw,data_file_raw=on", 4 * MiB, 150, false);
    round_trip("data_file=data.raw,extended_l2=on", 4 * MiB, 150, false);
    round_trip("data_file=data.raw,data_file_raw=on,preallocation=metadata", 4 * MiB, 150, false);
}

#define TEST(fn)                                                                                   \
    {                                                                                              \
#fn, fn, NULL, NULL, NULL                                                                  \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster_sizes),
        TEST(test_refcount_widths),
        TEST(test_kinds),
        TEST(test_data_file),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}
