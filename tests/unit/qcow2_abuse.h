/* SPDX-License-Identifier: GPL-2.0-or-later
 * Doing everything to an image that may be damaged anywhere: for the test with malformed images and
 * for the fuzzer. Nothing here cares for results; crashing, hanging or using much memory is wrong.
 */
#ifndef TESTS_UNIT_QCOW2_ABUSE_H
#define TESTS_UNIT_QCOW2_ABUSE_H

#include "tests/unit/qcow2_box.h"

enum { NR_VICTIMS = 6 };
static const char *const victim_options[NR_VICTIMS] = {
    "cluster_size=512",
    "cluster_size=4k,compat=0.10",
    "cluster_size=16k,extended_l2=on",
    "cluster_size=512,refcount_bits=1",
    "cluster_size=512,refcount_bits=64,lazy_refcounts=on",
    "cluster_size=8k",
};

/* An image with data, zeroes, compressed clusters and snapshots, in memory disk 0. */
static void make_victim(unsigned kind)
{
    Error *err = NULL;
    char *options = xasprintf("size=100k,%s", victim_options[kind]);
    box_create("victim.qcow2", options);
    free(options);
    MemDisk *d = mem_disk(0);
    mem_load(d, "victim.qcow2");
    BlockNode *n = mem_image(d, "", (BlockFlags){ .discard = true }, &err);
    box_ok(n != NULL, &err);
    uint8_t *buf = xmalloc(64 * KiB);
    memset(buf, 0x5a, 64 * KiB);
    (void)block_pwrite(n, 1000, buf, 9000);
    (void)n->driver->write_compressed(n, 64 * KiB, buf, n->cluster_size);
    (void)n->driver->write_compressed(n, 32 * KiB, buf, MIN(n->cluster_size, 32 * KiB));
    (void)block_write_zeroes(n, 16 * KiB, 8 * KiB, true);
    if (kind != 3) { /* 1 bit counts no second reference */
        BlockSnapshot sn = { .name = (char *)"first", .vm_state_size = 3000 };
        (void)n->driver->vmstate_pwrite(n, 0, buf, 3000);
        box_ok(n->driver->snapshot_create(n, &sn, &err), &err);
        (void)block_pwrite(n, 0, buf, 7000);
    }
    free(buf);
    block_unref(n);
}

/* What fails says why, in one line. */
static void ignore(bool ok, Error **err)
{
    if (!ok) {
        const char *text = error_text(*err);
        assert_true(*text && !strchr(text, '\n'));
        error_free(*err);
        *err = NULL;
    }
}

static void read_around(BlockNode *n)
{
    uint8_t *buf = xmalloc(64 * KiB);
    uint64_t end = MIN(n->size, 128 * KiB);
    for (uint64_t at = 0; at < end; at += 64 * KiB) {
        (void)block_pread(n, at, buf, MIN(end - at, 64 * KiB));
    }
    for (int i = 0; i < 4 && n->size > 512; i++) {
        uint64_t at = below(n->size - 511);
        BlockExtent e;
        (void)block_pread(n, at, buf, 512);
        (void)block_status(n, at, MIN(n->size - at, 1 * MiB), &e);
    }
    free(buf);
}

static void write_around(BlockNode *n, unsigned how)
{
    uint8_t *buf = xcalloc(1, 64 * KiB);
    Error *err = NULL;
    memset(buf, 0xa5, 64 * KiB);
    if (n->size >= 80 * KiB) {
        (void)block_pwrite(n, 100, buf, 8000);
        (void)block_pwrite(n, below(n->size - 511), buf, 512);
        (void)block_write_zeroes(n, 9000, 20000, how & 1);
        (void)block_discard(n, 0, 16 * KiB);
        if (n->size >= 128 * KiB || n->cluster_size < 64 * KiB) {
            (void)n->driver->write_compressed(n, 64 * KiB, buf, n->cluster_size);
        }
    }
    (void)block_flush(n);
    if (how & 2) {
        BlockSnapshot sn = { .name = (char *)"again" };
        ignore(n->driver->snapshot_create(n, &sn, &err), &err);
        ignore(n->driver->snapshot_apply(n, "first", &err), &err);
        ignore(n->driver->snapshot_delete(n, "first", &err), &err);
    }
    if (how & 4) {
        (void)n->driver->vmstate_pwrite(n, 5000, buf, 3000);
        (void)n->driver->vmstate_pread(n, 0, buf, 3000);
        ignore(block_resize(n, 200 * KiB, "off", &err), &err);
        ignore(block_resize(n, 50 * KiB, "off", &err), &err);
    }
    if (how & 8) {
        (void)n->driver->make_empty(n);
    }
    free(buf);
}

/* All of it on memory disk i. True if it opened for writing. */
static bool abuse(int i, unsigned how)
{
    Error *err = NULL;
    BlockCheck r;
    BlockNode *n =
        mem_image(mem_disk(i), "", (BlockFlags){ .readonly = true, .no_backing = true }, &err);
    if (n) {
        BlockSnapshot *list;
        Dict *info = dict_new();
        n->driver->info(n, info);
        dict_free(info);
        size_t nr = n->driver->snapshots(n, &list);
        block_snapshots_free(list, nr);
        read_around(n);
        ignore(n->driver->check(n, 0, &r, &err), &err);
        block_unref(n);
    } else {
        ignore(false, &err);
    }
    n = mem_image(mem_disk(i), "", (BlockFlags){ .no_backing = true, .discard = true }, &err);
    bool opened = n != NULL;
    if (n) {
        write_around(n, how);
        block_unref(n);
    } else {
        ignore(false, &err);
    }
    n = mem_image(mem_disk(i), "", (BlockFlags){ .no_backing = true, .for_check = true }, &err);
    if (n) {
        unsigned fix = how & 16 ? BLOCK_FIX_LEAKS : BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS;
        ignore(n->driver->check(n, fix, &r, &err), &err);
        ignore(n->driver->check(n, 0, &r, &err), &err);
        block_unref(n);
    } else {
        ignore(false, &err);
    }
    return opened;
}

#endif
