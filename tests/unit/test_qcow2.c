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
    box_ok(n->driver->check(n, 0, &r, &err), &err);
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

/* ---- snapshots ---- */

static void make_snapshot(BlockNode *n, const char *name)
{
    Error *err = NULL;
    BlockSnapshot sn = { .name = (char *)name, .date_s = 1700000000, .vm_clock_ns = 5 };
    box_ok(n->driver->snapshot_create(n, &sn, &err), &err);
}

static void model_copy(Model *to, const Model *from)
{
    free(to->data);
    model_init(to, from->size);
    memcpy(to->data, from->data, from->size);
}

static void snapshot_round(const char *options, bool compress)
{
    Error *err = NULL;
    Model now = { 0 }, a = { 0 }, b = { 0 };
    model_init(&now, 3 * MiB);
    char *all = xasprintf("size=3M,%s", options);
    box_create("s.qcow2", all);
    free(all);
    BlockNode *n = box_open("s.qcow2");
    work(n, &now, 60, compress);
    make_snapshot(n, "a");
    model_copy(&a, &now);
    work(n, &now, 60, compress);
    check_clean(n, "after one snapshot");
    make_snapshot(n, "b");
    model_copy(&b, &now);
    work(n, &now, 60, compress);
    compare(n, &now, "with two snapshots");
    block_unref(n);
    qemu_check("s.qcow2");
    qemu_compare("s.qcow2", &now);
    if (box_has_qemu()) {
        assert_int_equal(box_run("qemu-img convert -l a -f qcow2 -O qcow2 s.qcow2 sa.qcow2"), 0);
        qemu_compare("sa.qcow2", &a);
    }
    n = box_open("s.qcow2");
    box_ok(n->driver->snapshot_apply(n, "a", &err), &err);
    compare(n, &a, "back at the first");
    check_clean(n, "applied");
    work(n, &a, 30, compress);
    box_ok(n->driver->snapshot_apply(n, "2", &err), &err); /* by id */
    compare(n, &b, "at the second");
    box_ok(n->driver->snapshot_delete(n, "a", &err), &err);
    work(n, &b, 30, compress);
    check_clean(n, "one deleted");
    block_unref(n);
    qemu_check("s.qcow2");
    n = box_open("s.qcow2");
    box_ok(n->driver->snapshot_delete(n, "b", &err), &err);
    compare(n, &b, "both deleted");
    check_clean(n, "both deleted");
    assert_false(n->driver->snapshot_apply(n, "b", &err));
    assert_non_null(strstr(error_text(err), "has no snapshot 'b'"));
    error_free(err);
    block_unref(n);
    qemu_check("s.qcow2");
    qemu_compare("s.qcow2", &b);
    free(now.data);
    free(a.data);
    free(b.data);
}

static void test_snapshots(void **state)
{
    (void)state;
    snapshot_round("cluster_size=64k", true);
    snapshot_round("cluster_size=4k,refcount_bits=4", false);
    snapshot_round("cluster_size=512,compat=0.10", true);
    snapshot_round("cluster_size=16k,extended_l2=on,lazy_refcounts=on", true);
}

/* The machine's state goes with a snapshot; a snapshot has the size its disk had. */
static void test_vm_state(void **state)
{
    (void)state;
    Error *err = NULL;
    enum { STATE = 300000 };
    uint8_t *buf = xmalloc(STATE), *back = xmalloc(STATE);
    memset(buf, 0x77, STATE);
    box_create("v.qcow2", "size=1M,cluster_size=4k");
    BlockNode *n = box_open("v.qcow2");
    assert_int_equal(n->driver->vmstate_pwrite(n, 0, buf, 1000), 0);
    assert_int_equal(n->driver->vmstate_pwrite(n, 1000, buf + 1000, STATE - 1000), 0);
    BlockSnapshot sn = { .name = (char *)"vm", .vm_state_size = STATE };
    box_ok(n->driver->snapshot_create(n, &sn, &err), &err);
    assert_int_equal(block_pwrite(n, 4096, buf, 4096), 0);
    box_ok(block_resize(n, 2 * MiB, "off", &err), &err);
    assert_int_equal(block_pread(n, 1 * MiB, back, STATE), 0);
    for (size_t i = 0; i < STATE; i++) {
        assert_int_equal(back[i], 0); /* no state shows in the grown disk */
    }
    check_clean(n, "grown behind a state");
    block_unref(n);
    qemu_check("v.qcow2");
    n = box_open("v.qcow2");
    BlockSnapshot *list;
    assert_int_equal(n->driver->snapshots(n, &list), 1);
    assert_int_equal(list[0].vm_state_size, STATE);
    assert_int_equal(list[0].disk_size, 1 * MiB);
    assert_string_equal(list[0].id, "1");
    block_snapshots_free(list, 1);
    box_ok(n->driver->snapshot_apply(n, "vm", &err), &err);
    assert_int_equal(n->size, 1 * MiB);
    assert_int_equal(n->driver->vmstate_pread(n, 0, back, STATE), 0);
    assert_memory_equal(buf, back, STATE);
    assert_int_equal(block_pread(n, 4096, back, 4096), 0);
    assert_int_equal(back[0], 0);
    block_unref(n);
    qemu_check("v.qcow2");
    free(buf);
    free(back);
}

static void test_too_many_references(void **state)
{
    (void)state;
    Error *err = NULL;
    box_create("one.qcow2", "size=1M,refcount_bits=1");
    BlockNode *n = box_open("one.qcow2");
    assert_int_equal(block_pwrite(n, 0, "x", 1), 0);
    BlockSnapshot sn = { .name = (char *)"no" };
    assert_false(n->driver->snapshot_create(n, &sn, &err));
    assert_non_null(strstr(error_text(err), "references in 1 bits"));
    error_free(err);
    assert_int_equal(block_pwrite(n, 70000, "x", 1), 0);
    check_clean(n, "a snapshot that cannot be");
    block_unref(n);
    qemu_check("one.qcow2");
}

/* ---- backing files ---- */

static void test_backing(void **state)
{
    (void)state;
    Error *err = NULL;
    Model m;
    model_init(&m, 2 * MiB);
    box_create("base.qcow2", "size=1234432,cluster_size=4k");
    BlockNode *n = box_open("base.qcow2");
    m.size = n->size;
    work(n, &m, 60, true);
    block_unref(n);
    m.size = 2 * MiB;
    box_create("top.qcow2", "size=2M,backing_file=base.qcow2,backing_fmt=qcow2");
    n = box_open("top.qcow2");
    compare(n, &m, "nothing written");
    for (int i = 0; i < 80; i++) {
        if (below(4)) {
            write_random(n, &m, 100000);
        } else {
            zero_random(n, &m, 100000);
        }
    }
    compare(n, &m, "written over");
    check_clean(n, "over a backing file");
    block_unref(n);
    qemu_check("top.qcow2");
    qemu_compare("top.qcow2", &m);
    n = box_open("top.qcow2");
    box_ok(n->driver->set_backing(n, NULL, NULL, &err), &err);
    block_unref(n);
    n = box_open("top.qcow2");
    assert_null(n->backing);
    assert_null(n->backing_file);
    box_ok(n->driver->set_backing(n, "base.qcow2", "qcow2", &err), &err);
    block_unref(n);
    n = box_open("top.qcow2");
    compare(n, &m, "the backing file is back");
    assert_int_equal(n->driver->make_empty(n), 0);
    BlockExtent e;
    assert_int_equal(block_status(n, 0, n->size, &e), 0);
    assert_false(e.allocated);
    assert_int_equal(e.len, n->size);
    check_clean(n, "emptied");
    block_unref(n);
    qemu_check("top.qcow2");
    free(m.data);
}

/* An overlay larger than what is behind it; growing one over a backing file shows zeroes. */
static void test_resize(void **state)
{
    (void)state;
    Error *err = NULL;
    static const char *const kinds[] = { "cluster_size=4k", "cluster_size=64k,compat=0.10",
                                         "cluster_size=512", "cluster_size=16k,extended_l2=on",
                                         "data_file=rs.raw" };
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        Model m;
        model_init(&m, 16 * MiB);
        char *all = xasprintf("size=1M,%s", kinds[k]);
        box_create("r.qcow2", all);
        free(all);
        BlockNode *n = box_open("r.qcow2");
        m.size = n->size;
        for (int i = 0; i < 8; i++) {
            work(n, &m, 15, k != 4);
            uint64_t size = 512 * (1 + below(20000));
            box_ok(block_resize(n, size, "off", &err), &err);
            if (size < m.size) {
                memset(m.data + size, 0, m.size - size);
            }
            m.size = size;
            compare(n, &m, kinds[k]);
            check_clean(n, kinds[k]);
        }
        box_ok(block_resize(n, 12 * MiB, "full", &err), &err);
        m.size = 12 * MiB;
        compare(n, &m, "preallocated");
        block_unref(n);
        qemu_check("r.qcow2");
        qemu_compare("r.qcow2", &m);
        free(m.data);
    }
    box_create("rb.qcow2", "size=1M");
    BlockNode *n = box_open("rb.qcow2");
    uint8_t *buf = xmalloc(MiB);
    memset(buf, 9, MiB);
    assert_int_equal(block_pwrite(n, 0, buf, MiB), 0);
    block_unref(n);
    box_create("rt.qcow2", "size=256k,backing_file=rb.qcow2,backing_fmt=qcow2");
    n = box_open("rt.qcow2");
    box_ok(block_resize(n, 2 * MiB, "off", &err), &err);
    assert_int_equal(block_pread(n, 256 * KiB, buf, 768 * KiB), 0);
    for (size_t i = 0; i < 768 * KiB; i++) {
        assert_int_equal(buf[i], 0);
    }
    block_unref(n);
    free(buf);
}

/* ---- images that another program made ---- */

static void test_made_by_qemu(void **state)
{
    (void)state;
    NEEDS_QEMU();
    static const char *const kinds[] = {
        "cluster_size=512",
        "cluster_size=1k",
        "cluster_size=2k",
        "cluster_size=4k",
        "cluster_size=8k",
        "cluster_size=16k",
        "cluster_size=32k",
        "cluster_size=64k",
        "cluster_size=128k",
        "cluster_size=256k",
        "cluster_size=512k",
        "cluster_size=1M",
        "cluster_size=2M",
        "refcount_bits=1",
        "refcount_bits=2",
        "refcount_bits=4",
        "refcount_bits=8",
        "refcount_bits=32",
        "refcount_bits=64",
        "compat=0.10",
        "lazy_refcounts=on",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k",
        "preallocation=metadata",
        "preallocation=full",
        "data_file=qd.raw",
        "data_file=qd.raw,data_file_raw=on",
        "compression_type=zstd",
    };
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        bool zstd = strstr(kinds[k], "zstd") != NULL;
        bool data_file = strstr(kinds[k], "data_file") != NULL;
#ifndef HAVE_ZSTD
        if (zstd) {
            continue;
        }
#endif
        Model m;
        model_init(&m, 6 * MiB);
        memset(m.data + 100000, 0x11, 50000);
        memset(m.data + 3 * MiB, 0x22, 300000);
        bool plain = data_file || strstr(kinds[k], "preallocation"); /* nothing compressed */
        if (!plain) {
            memset(m.data + 4 * MiB, 0x33, 2 * MiB);
        }
        const char *rest = plain ? "" : "-c 'write -c -P 0x33 4M 2M'";
        if (box_run(
                "qemu-img create -q -f qcow2 -o %s q.qcow2 6M && qemu-io -c 'write -q -P 0x11 "
                "100000 50000' -c 'write -q -P 0x44 3M 1M' -c 'write -q -z 3M 1M' -c 'write -q -P "
                "0x22 3M 300000' %s q.qcow2",
                kinds[k], rest)) {
            box_show_output();
            fail_msg("qemu-io on %s", kinds[k]);
        }
        BlockNode *n = box_open("q.qcow2");
        compare(n, &m, kinds[k]);
        check_clean(n, kinds[k]);
        work(n, &m, 30, !data_file);
        block_unref(n);
        qemu_check("q.qcow2");
        qemu_compare("q.qcow2", &m);
        (void)zstd;
        free(m.data);
    }
}

static void test_qemu_snapshots(void **state)
{
    (void)state;
    NEEDS_QEMU();
    Error *err = NULL;
    Model m, old;
    model_init(&m, 4 * MiB);
    model_init(&old, 4 * MiB);
    memset(old.data, 0x11, 100000);
    memcpy(m.data, old.data, m.size);
    memset(m.data + 50000, 0x22, 100000);
    assert_int_equal(
        box_run("qemu-img create -q -f qcow2 qs.qcow2 4M && qemu-io -c 'write -q -P 0x11 0 "
                "100000' qs.qcow2 && qemu-img snapshot -c first qs.qcow2 && qemu-io -c "
                "'write -q -P 0x22 50000 100000' qs.qcow2"),
        0);
    BlockNode *n = box_open("qs.qcow2");
    compare(n, &m, "with QEMU's snapshot");
    check_clean(n, "with QEMU's snapshot");
    work(n, &m, 40, true);
    make_snapshot(n, "second");
    box_ok(n->driver->snapshot_apply(n, "first", &err), &err);
    compare(n, &old, "QEMU's snapshot applied");
    block_unref(n);
    qemu_check("qs.qcow2");
    assert_int_equal(box_run("qemu-img snapshot -a second qs.qcow2 && qemu-img snapshot -d first "
                             "qs.qcow2"),
                     0);
    qemu_check("qs.qcow2");
    n = box_open("qs.qcow2");
    compare(n, &m, "ours applied by QEMU");
    block_unref(n);
    free(m.data);
    free(old.data);
}

/* Bitmaps are passed over, and void once the image is written. */
static void test_bitmaps(void **state)
{
    (void)state;
    NEEDS_QEMU();
    assert_int_equal(
        box_run("qemu-img create -q -f qcow2 b.qcow2 4M && qemu-img bitmap --add b.qcow2 "
                "dirty0 && qemu-io -c 'write -q -P 1 0 1M' b.qcow2"),
        0);
    BlockNode *n = box_open("b.qcow2");
    check_clean(n, "with a bitmap");
    block_unref(n);
    assert_int_equal(box_run("qemu-img info b.qcow2 | grep -q dirty0"), 0);
    n = box_open("b.qcow2");
    assert_int_equal(block_pwrite(n, 2 * MiB, "x", 1), 0);
    block_unref(n);
    assert_int_not_equal(box_run("qemu-img info b.qcow2 | grep -q dirty0"), 0);
    n = box_open("b.qcow2");
    BlockCheck r;
    Error *err = NULL;
    box_ok(n->driver->check(n, BLOCK_FIX_LEAKS, &r, &err), &err);
    assert_true(r.leaks_fixed > 0);
    check_clean(n, "what the bitmap took");
    block_unref(n);
    qemu_check("b.qcow2");
}

/* ---- options of an image ---- */

static void amend(const char *name, const char *options, const char *want)
{
    Error *err = NULL;
    BlockNode *n = box_open(name);
    Dict *d = dict_parse(options, NULL, &err);
    bool ok = n->driver->amend(n, d, &err);
    if (!want) {
        box_ok(ok, &err);
    } else if (ok || !strstr(error_text(err), want)) {
        fail_msg("amend %s: want '%s', got '%s'", options, want, ok ? "success" : error_text(err));
    }
    dict_free(d);
    block_unref(n);
    if (want) {
        error_free(err);
    }
}

static void test_amend(void **state)
{
    (void)state;
    Model m;
    model_init(&m, 2 * MiB);
    box_create("m.qcow2", "size=2M,cluster_size=4k,compat=0.10");
    BlockNode *n = box_open("m.qcow2");
    work(n, &m, 60, true);
    block_unref(n);
    static const char *const steps[] = {
        "compat=1.1",         "lazy_refcounts=on",
        "lazy_refcounts=off", "refcount_bits=64",
        "refcount_bits=1",    "refcount_bits=16",
        "compat=0.10",        "compat=1.1,refcount_bits=8,lazy_refcounts=on",
    };
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        /* bytes shared by compressed clusters are counted more than once */
        amend("m.qcow2", steps[i],
              strstr(steps[i], "=1") && !strstr(steps[i], "=16") && !strstr(steps[i], "=1.1")
                  ? "more references"
                  : NULL);
        n = box_open("m.qcow2");
        compare(n, &m, steps[i]);
        work(n, &m, 20, true);
        check_clean(n, steps[i]);
        block_unref(n);
        qemu_check("m.qcow2");
        qemu_compare("m.qcow2", &m);
    }
    amend("m.qcow2", "cluster_size=64k", "cannot be changed");
    amend("m.qcow2", "refcount_bits=5", "1, 2, 4, 8");
    amend("m.qcow2", "compat=0.10", "refcounts other than of 16 bits");
    amend("m.qcow2", "size=3M", NULL);
    n = box_open("m.qcow2");
    assert_int_equal(n->size, 3 * MiB);
    block_unref(n);
    free(m.data);
}

static void fails(const char *options, const char *want)
{
    Error *err = NULL;
    Dict *d = dict_parse(options, NULL, &err);
    char *path = box_path("no.qcow2");
    bool ok = block_create(block_driver_find("qcow2"), path, d, &err);
    if (ok || !strstr(error_text(err), want)) {
        fail_msg("create %s: want '%s', got '%s'", options, want, ok ? "success" : error_text(err));
    }
    error_free(err);
    dict_free(d);
    free(path);
}

static void test_wrong_options(void **state)
{
    (void)state;
    fails("size=1M,cluster_size=1000", "a power of 2 from 512 to 2M");
    fails("size=1M,cluster_size=4M", "a power of 2 from 512 to 2M");
    fails("size=1M,refcount_bits=3", "1, 2, 4, 8");
    fails("size=1M,compat=2.0", "0.10 (v2) or 1.1 (v3)");
    fails("size=1M,compat=0.10,lazy_refcounts=on", "lazy_refcounts needs compat=1.1");
    fails("size=1M,compat=0.10,refcount_bits=8", "needs compat=1.1");
    fails("size=1M,extended_l2=on,cluster_size=4k", "cluster_size=16K");
    fails("size=1M,compression_type=lzma", "zlib or zstd");
    fails("size=1M,preallocation=some", "off, metadata, falloc or full");
    fails("size=1M,backing_file=x", "give its format");
    fails("size=1M,backing_fmt=raw", "without backing_file");
    fails("size=1M,data_file_raw=on", "needs data_file=");
    fails("backing_file=absent,backing_fmt=raw", "does not exist");
    fails("size=1P,cluster_size=512", "too small for a disk");
    fails("size=1M,nonsense=1", "nonsense");
}

static void test_measure(void **state)
{
    (void)state;
    NEEDS_QEMU();
    static const char *const kinds[] = { "", "cluster_size=512", "cluster_size=2M",
                                         "refcount_bits=64", "extended_l2=on" };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        Error *err = NULL;
        uint64_t required, full;
        char *all = xasprintf("size=10G%s%s", *kinds[i] ? "," : "", kinds[i]);
        Dict *d = dict_parse(all, NULL, &err);
        box_ok(block_driver_find("qcow2")->measure(d, 0, &required, &full, &err), &err);
        dict_free(d);
        free(all);
        if (box_run(
                "qemu-img measure --size 10G -O qcow2 %s %s | tr '\\n' ' ' | grep 'required size: "
                "%llu fully allocated size: %llu'",
                *kinds[i] ? "-o" : "", kinds[i], (unsigned long long)required,
                (unsigned long long)full)) {
            (void)box_run("qemu-img measure --size 10G -O qcow2 %s %s", *kinds[i] ? "-o" : "",
                          kinds[i]);
            box_show_output();
            fail_msg("%s: measured %llu and %llu", kinds[i], (unsigned long long)required,
                     (unsigned long long)full);
        }
    }
}

/* ---- repairing ---- */

static void break_image(const char *name, long offset, uint64_t value, unsigned size)
{
    char *path = box_path(name);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, offset, SEEK_SET);
    value = __builtin_bswap64(value << (64 - 8 * size));
    assert_int_equal(fwrite(&value, 1, size, f), size);
    fclose(f);
    free(path);
}

/* The numbers that qemu-img prints, before and after. */
static void check_as_qemu(const char *name, const char *what)
{
    BlockCheck r;
    Error *err = NULL;
    BlockNode *n =
        box_open_flags(name, "qcow2", (BlockFlags){ .for_check = true, .readonly = true });
    box_ok(n->driver->check(n, 0, &r, &err), &err);
    block_unref(n);
    if (box_has_qemu()) {
        (void)box_run("qemu-img check --output=json %s >got; true", name);
        int differs =
            box_run("number() { grep -o \"\\\"$1\\\": [0-9]*\" got | grep -o '[0-9]*$' || "
                    "echo 0; }; test \"$(number corruptions) $(number leaks)\" = '%llu %llu'",
                    (unsigned long long)r.corruptions, (unsigned long long)r.leaks);
        if (differs) {
            (void)box_run("cat got");
            box_show_output();
            fail_msg("%s: %llu corruptions and %llu leaks, qemu-img says otherwise", what,
                     (unsigned long long)r.corruptions, (unsigned long long)r.leaks);
        }
    }
    assert_true(r.corruptions || r.leaks);
    n = box_open_flags(name, "qcow2", (BlockFlags){ .for_check = true });
    box_ok(n->driver->check(n, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &r, &err), &err);
    check_clean(n, what);
    block_unref(n);
    qemu_check(name);
}

static void test_repair(void **state)
{
    (void)state;
    Model m;
    model_init(&m, 2 * MiB);
    memset(m.data, 0x3c, 200000);
    static const struct {
        const char *what;
        long offset; /* clusters of 64 KiB: header, refcount table, block, L1, L2, data */
        uint64_t value;
        unsigned size;
    } damage[] = {
        { "a leak", 0x20000 + 2 * 10, 1, 2 },
        { "a count that is too low", 0x20000 + 2 * 5, 0, 2 },
        { "a count that is too high", 0x20000 + 2 * 6, 7, 2 },
        { "a COPIED flag", 0x30000, 0x8000000000040000 & ~(1ull << 63), 8 },
        { "no refcount block", 0x10000, 0, 8 },
        { "a refcount block nowhere", 0x10000, 0x7000000000, 8 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(damage); i++) {
        box_create("d.qcow2", "size=2M");
        BlockNode *n = box_open("d.qcow2");
        assert_int_equal(block_pwrite(n, 0, m.data, 200000), 0);
        block_unref(n);
        assert_int_equal(box_run("truncate -s 1M d.qcow2"), 0);
        break_image("d.qcow2", damage[i].offset, damage[i].value, damage[i].size);
        if (i == 3 || i >= 4) { /* counted in other ways there */
            n = box_open_flags("d.qcow2", "qcow2", (BlockFlags){ .for_check = true });
            BlockCheck r;
            Error *err = NULL;
            box_ok(n->driver->check(n, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &r, &err), &err);
            assert_true(r.leaks_fixed + r.corruptions_fixed > 0);
            check_clean(n, damage[i].what);
            block_unref(n);
            qemu_check("d.qcow2");
        } else {
            check_as_qemu("d.qcow2", damage[i].what);
        }
        n = box_open("d.qcow2");
        compare(n, &m, damage[i].what);
        block_unref(n);
    }
    free(m.data);
}

/* Writing where a table is: said once, marked, refused from then on, and repaired. */
static void test_corrupt(void **state)
{
    (void)state;
    box_create("c.qcow2", "size=2M");
    BlockNode *n = box_open("c.qcow2");
    assert_int_equal(block_pwrite(n, 0, "abc", 3), 0);
    block_unref(n);
    break_image("c.qcow2", 0x40000, 0x8000000000020000, 8); /* guest data in the refcount block */
    n = box_open("c.qcow2");
    assert_int_equal(block_pwrite(n, 0, "def", 3), EIO);
    assert_int_equal(block_pwrite(n, 1 * MiB, "def", 3), EIO);
    assert_int_equal(block_flush(n), EIO);
    block_unref(n);
    Error *err = NULL;
    BlockFlags flags = { .readonly = false };
    char *path = box_path("c.qcow2");
    n = block_open_image(path, "qcow2", &flags, &err);
    assert_null(n);
    assert_non_null(strstr(error_text(err), "marked corrupt; repair it with"));
    error_free(err);
    err = NULL;
    flags.readonly = true;
    n = block_open_image(path, "qcow2", &flags, &err);
    box_ok(n != NULL, &err);
    block_unref(n);
    n = box_open_flags("c.qcow2", "qcow2", (BlockFlags){ .for_check = true });
    BlockCheck r;
    box_ok(n->driver->check(n, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &r, &err), &err);
    block_unref(n);
    n = box_open("c.qcow2");
    check_clean(n, "repaired");
    block_unref(n);
    free(path);
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
        TEST(test_snapshots),
        TEST(test_vm_state),
        TEST(test_too_many_references),
        TEST(test_backing),
        TEST(test_resize),
        TEST(test_made_by_qemu),
        TEST(test_qemu_snapshots),
        TEST(test_bitmaps),
        TEST(test_amend),
        TEST(test_wrong_options),
        TEST(test_measure),
        TEST(test_repair),
        TEST(test_corrupt),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}
