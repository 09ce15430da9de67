/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the tests of qcow2 share: images in a directory of their own, disks in memory that keep a
 * log of what was written and flushed, and the outside judge, qemu-img, where it is installed.
 */
#ifndef TESTS_UNIT_QCOW2_BOX_H
#define TESTS_UNIT_QCOW2_BOX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/node.h"
#include "util/alloc.h"

/* ---- random numbers that are the same each time ---- */

static uint64_t box_seed = 1;

static inline uint64_t rnd(void)
{
    box_seed ^= box_seed << 13;
    box_seed ^= box_seed >> 7;
    box_seed ^= box_seed << 17;
    return box_seed;
}

static inline uint64_t below(uint64_t n)
{
    return rnd() % n;
}

/* ---- files ---- */

static char box_dir[64];

static inline int box_setup(void **state)
{
    (void)state;
    /* Nothing here need survive the host; images in memory are synced at once. */
    const char *dir =
        access("/dev/shm", W_OK) ? "/tmp/vireo-qcow2-XXXXXX" : "/dev/shm/vireo-qcow2-XXXXXX";
    strcpy(box_dir, dir);
    return mkdtemp(box_dir) ? 0 : -1;
}

static inline int box_run(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *cmd = xvasprintf(fmt, ap);
    va_end(ap);
    char *all = xasprintf("cd %s && { %s; } >out 2>&1 </dev/null", box_dir, cmd);
    int status = system(all);
    if (status) {
        print_message("# %s: status %d\n", cmd, WEXITSTATUS(status));
    }
    free(all);
    free(cmd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void box_show_output(void)
{
    char line[512];
    char *path = xasprintf("%s/out", box_dir);
    FILE *f = fopen(path, "r");
    for (int i = 0; f && i < 12 && fgets(line, sizeof(line), f); i++) {
        print_message("#   %s", line);
    }
    if (f) {
        fclose(f);
    }
    free(path);
}

static inline int box_teardown(void **state)
{
    (void)state;
    char *cmd = xasprintf("rm -rf %s", box_dir);
    int status = system(cmd);
    free(cmd);
    return status;
}

static inline bool box_has_qemu(void)
{
    return access("/usr/bin/qemu-img", X_OK) == 0 && access("/usr/bin/qemu-io", X_OK) == 0;
}

#define NEEDS_QEMU()                                                                               \
    if (!box_has_qemu()) {                                                                         \
        print_message("# skipped: no qemu-img and qemu-io (install qemu-utils)\n");                \
        skip();                                                                                    \
    }

static inline char *box_path(const char *name)
{
    return xasprintf("%s/%s", box_dir, name);
}

/* err: its address, since what sets it stands in front of it. */
static inline void box_ok(bool ok, Error **err)
{
    if (!ok) {
        fail_msg("%s", error_text(*err));
    }
}

static inline void box_create(const char *name, const char *options)
{
    Error *err = NULL;
    Dict *d = dict_parse(options, NULL, &err);
    char *path = box_path(name);
    box_ok(d != NULL, &err);
    box_ok(block_create(block_driver_find("qcow2"), path, d, &err), &err);
    dict_free(d);
    free(path);
}

static inline BlockNode *box_open_flags(const char *name, const char *format, BlockFlags flags)
{
    Error *err = NULL;
    char *path = box_path(name);
    BlockNode *n = block_open_image(path, format, &flags, &err);
    box_ok(n != NULL, &err);
    free(path);
    return n;
}

static inline BlockNode *box_open(const char *name)
{
    return box_open_flags(name, "qcow2", (BlockFlags){ .discard = true });
}

/* ---- disks in memory ---- */

typedef enum LogKind { LOG_WRITE, LOG_FLUSH } LogKind;
typedef struct LogEntry {
    LogKind kind;
    uint64_t offset, len;
    uint8_t *data; /* NULL: zeroes */
} LogEntry;

typedef struct MemDisk {
    char name[32];
    uint8_t *data;
    uint64_t size, room;
    bool logging;
    LogEntry *log;
    size_t nr_log, log_room;
    long fail_after; /* writes until ENOSPC; 0: never */
    long fail_once;  /* writes and flushes until one EIO; 0: never */
} MemDisk;

static void (*mem_event_hook)(const char *event); /* what passes a disk; NULL: nobody looks */

enum { NR_MEM_DISKS = 4 };
static MemDisk mem_disks[NR_MEM_DISKS];

typedef struct MemNode {
    BlockNode node;
    MemDisk *disk;
} MemNode;

static inline MemDisk *mem_of(BlockNode *n)
{
    return ((MemNode *)n)->disk;
}

static inline void mem_reserve(MemDisk *d, uint64_t size)
{
    if (size > d->room) {
        uint64_t room = MAX(size + size / 2, 64 * KiB);
        d->data = xrealloc(d->data, room);
        memset(d->data + d->room, 0, room - d->room);
        d->room = room;
    }
    d->size = MAX(d->size, size);
}

static inline void mem_log(MemDisk *d, LogKind kind, uint64_t offset, uint64_t len, bool zero)
{
    if (!d->logging) {
        return;
    }
    if (d->nr_log == d->log_room) {
        d->log_room = d->log_room ? d->log_room * 2 : 1024;
        d->log = xrealloc(d->log, d->log_room * sizeof(*d->log));
    }
    LogEntry *e = &d->log[d->nr_log++];
    *e = (LogEntry){ kind, offset, len, zero || !len ? NULL : xmalloc(len) };
    if (e->data) {
        memcpy(e->data, d->data + offset, len);
    }
}

static inline void mem_clear(MemDisk *d)
{
    for (size_t i = 0; i < d->nr_log; i++) {
        free(d->log[i].data);
    }
    free(d->log);
    free(d->data);
    char name[32];
    memcpy(name, d->name, sizeof(name));
    *d = (MemDisk){ .size = 0 };
    memcpy(d->name, name, sizeof(name));
}

static inline MemDisk *mem_disk(int i)
{
    snprintf(mem_disks[i].name, sizeof(mem_disks[i].name), "mem%d", i);
    return &mem_disks[i];
}

static void mem_event(BlockNode *n, const char *event)
{
    (void)n;
    if (mem_event_hook) {
        mem_event_hook(event);
    }
}

static bool mem_open(BlockNode *n, const Dict *opts, Error **errp)
{
    const char *name = dict_get(opts, "filename");
    for (int i = 0; name && i < NR_MEM_DISKS; i++) {
        if (!strcmp(mem_disks[i].name, name)) {
            ((MemNode *)n)->disk = &mem_disks[i];
            n->size = mem_disks[i].size;
            n->filename = xstrdup(name);
            return true;
        }
    }
    return error_set(errp, "no such disk in memory");
}

static int mem_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    MemDisk *d = mem_of(n);
    uint64_t there = offset < d->size ? MIN(len, d->size - offset) : 0;
    iov_from_buf(iov, niov, 0, d->data + offset, there);
    iov_zero(iov, niov, there, len - there);
    return 0;
}

static bool mem_fails_now(MemDisk *d)
{
    return d->fail_once && --d->fail_once == 0;
}

static int mem_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                      uint64_t len)
{
    MemDisk *d = mem_of(n);
    if (d->fail_after && --d->fail_after == 0) {
        d->fail_after = 1;
        return ENOSPC;
    }
    if (mem_fails_now(d)) {
        return EIO;
    }
    if (offset + len > 256 * MiB) {
        return EFBIG;
    }
    mem_reserve(d, offset + len);
    iov_to_buf(iov, niov, 0, d->data + offset, len);
    mem_log(d, LOG_WRITE, offset, len, false);
    return 0;
}

static int mem_flush(BlockNode *n)
{
    if (mem_fails_now(mem_of(n))) {
        return EIO;
    }
    mem_log(mem_of(n), LOG_FLUSH, 0, 0, false);
    return 0;
}

static int mem_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    MemDisk *d = mem_of(n);
    (void)may_unmap;
    mem_event(n, "pwritev_zero"); /* blkdebug's names */
    if (offset + len > 256 * MiB) {
        return EFBIG;
    }
    mem_reserve(d, offset + len);
    memset(d->data + offset, 0, len);
    mem_log(d, LOG_WRITE, offset, len, true);
    return 0;
}

/* What a host does with discarded bytes is its own affair. */
static int mem_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    MemDisk *d = mem_of(n);
    len = offset < d->size ? MIN(len, d->size - offset) : 0;
    mem_event(n, "discard");
    if (len) {
        memset(d->data + offset, 0xdd, len);
        mem_log(d, LOG_WRITE, offset, len, false);
    }
    return 0;
}

/* A log has no entry for a shorter file: such a disk stays as large, as a block device does. */
static bool mem_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    MemDisk *d = mem_of(n);
    (void)prealloc;
    if (size > 256 * MiB || (size < d->size && d->logging)) {
        return error_set(errp, "a disk in memory is no larger or smaller");
    }
    if (size < d->size) {
        memset(d->data + size, 0, d->size - size);
        d->size = size;
    }
    mem_reserve(d, size);
    n->size = size;
    return true;
}

BLOCK_DRIVER(testmem) = {
    .name = "testmem",
    .desc = "a disk in memory, for tests",
    .kind = BLOCK_PROTOCOL,
    .size = sizeof(MemNode),
    .open = mem_open,
    .readv = mem_readv,
    .writev = mem_writev,
    .flush = mem_flush,
    .discard = mem_discard,
    .write_zeroes = mem_zeroes,
    .event = mem_event,
    .resize = mem_resize,
};

/* A file's bytes as a disk. */
static inline void mem_load(MemDisk *d, const char *name)
{
    char *path = box_path(name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    mem_clear(d);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    mem_reserve(d, (uint64_t)size);
    assert_int_equal(fread(d->data, 1, (size_t)size, f), size);
    fclose(f);
    free(path);
}

static inline void mem_save(const MemDisk *d, const char *name)
{
    char *path = box_path(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(d->data, 1, d->size, f), d->size);
    fclose(f);
    free(path);
}

/* Options beside driver and file, key=value. */
static inline BlockNode *mem_image(MemDisk *d, const char *more, BlockFlags flags, Error **errp)
{
    char *text = xasprintf("driver=qcow2,file.driver=testmem,file.filename=%s%s%s", d->name,
                           *more ? "," : "", more);
    Dict *opts = dict_parse(text, NULL, errp);
    BlockNode *n = opts ? block_open(opts, &flags, errp) : NULL;
    dict_free(opts);
    free(text);
    return n;
}

/* ---- contents ---- */

/* A sector's bytes say which it is: number 0 is zeroes. */
static inline void fill_sectors(uint8_t *buf, uint64_t nr, uint32_t id)
{
    for (uint64_t i = 0; i < nr * 128; i++) {
        memcpy(buf + i * 4, &id, 4);
    }
}

#endif
