/* SPDX-License-Identifier: GPL-2.0-or-later
 * Making qcow2 images, and saying beforehand how large one gets. A new image is a header, a
 * refcount table and one block for an empty disk; the rest is what resizing does.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

enum { DEFAULT_CLUSTER = 64 * 1024 };

const BlockOption qcow2_create_options[] = {
    { "size", BLOCK_OPT_SIZE, "virtual disk size" },
    { "compat", BLOCK_OPT_TEXT, "0.10 (v2) or 1.1 (v3) [1.1]" },
    { "backing_file", BLOCK_OPT_TEXT, "what reads show where nothing was written" },
    { "backing_fmt", BLOCK_OPT_TEXT, "its format" },
    { "cluster_size", BLOCK_OPT_SIZE, "512 to 2M [64K]" },
    { "preallocation", BLOCK_OPT_TEXT, "off, metadata, falloc, full [off]" },
    { "lazy_refcounts", BLOCK_OPT_BOOL, "refcounts are written when the image is closed [off]" },
    { "refcount_bits", BLOCK_OPT_NUMBER, "width of a reference count: 1 to 64 [16]" },
    { "data_file", BLOCK_OPT_TEXT, "another file for the guest's data" },
    { "data_file_raw", BLOCK_OPT_BOOL, "which is a raw image all the time [off]" },
    { "extended_l2", BLOCK_OPT_BOOL, "clusters are allocated in 32 parts [off]" },
    { "compression_type", BLOCK_OPT_TEXT, "zlib or zstd [zlib]" },
    BLOCK_OPTION_END,
};

typedef struct Wish {
    uint64_t size, cluster_size, refcount_bits;
    const char *compat, *backing_file, *backing_fmt, *preallocation, *data_file, *compression;
    bool lazy, data_file_raw, extl2;
} Wish;

static unsigned log2_of(uint64_t v)
{
    return 63 - (unsigned)__builtin_clzll(v);
}

static bool is_power(uint64_t v)
{
    return v && !(v & (v - 1));
}

static bool check_v3(const Wish *w, Error **errp)
{
    const char *what = w->lazy                  ? "lazy_refcounts"
                       : w->refcount_bits != 16 ? "refcount_bits other than 16"
                       : w->data_file           ? "data_file"
                       : w->extl2               ? "extended_l2"
                       : w->compression && strcmp(w->compression, "zlib") ? "compression_type"
                                                                          : NULL;
    return !what || error_set(errp, "%s needs compat=1.1 (version 3)", what);
}

static bool check_wish(const Wish *w, Error **errp)
{
    if (!is_power(w->cluster_size) || w->cluster_size < 512 || w->cluster_size > 2 * MiB) {
        return error_set(errp, "cluster_size=%" PRIu64 ": a power of 2 from 512 to 2M",
                         w->cluster_size);
    }
    if (!is_power(w->refcount_bits) || w->refcount_bits > 64) {
        return error_set(errp, "refcount_bits=%" PRIu64 ": 1, 2, 4, 8, 16, 32 or 64",
                         w->refcount_bits);
    }
    if (w->extl2 && w->cluster_size < 16 * KiB) {
        return error_set(errp, "extended_l2=on needs cluster_size=16K at least");
    }
    if (w->compression && strcmp(w->compression, "zlib") && strcmp(w->compression, "zstd")) {
        return error_set(errp, "compression_type=%s: zlib or zstd", w->compression);
    }
    if (w->compression && !strcmp(w->compression, "zstd") && !qcow2_can_zstd()) {
        return error_set(errp,
                         "compression_type=zstd was left out of this build; install libzstd-dev "
                         "and configure again");
    }
    if (w->backing_file && strlen(w->backing_file) > 1023) {
        return error_set(errp, "backing_file: a name has up to 1023 bytes");
    }
    if (w->backing_fmt && !w->backing_file) {
        return error_set(errp, "backing_fmt=%s without backing_file=", w->backing_fmt);
    }
    if (w->backing_file && !w->backing_fmt) {
        return error_set(errp,
                         "backing_file=%s: give its format, too (backing_fmt=raw, qcow2, ...)",
                         w->backing_file);
    }
    if (w->data_file_raw && (!w->data_file || w->backing_file)) {
        return error_set(errp, "data_file_raw=on needs data_file= and no backing file");
    }
    if (w->data_file && w->backing_file && w->preallocation && strcmp(w->preallocation, "off")) {
        return error_set(errp, "preallocation and backing_file exclude each other");
    }
    const char *p = w->preallocation;
    if (p && strcmp(p, "off") && strcmp(p, "metadata") && strcmp(p, "falloc") &&
        strcmp(p, "full")) {
        return error_set(errp, "preallocation=%s: off, metadata, falloc or full", p);
    }
    if (p && strcmp(p, "off") && w->backing_file) {
        return error_set(errp, "preallocation=%s and backing_file exclude each other", p);
    }
    return true;
}

static bool parse_compat(const char *text, bool *v2, Error **errp)
{
    *v2 = !strcmp(text, "0.10") || !strcmp(text, "v2");
    return *v2 || !strcmp(text, "1.1") || !strcmp(text, "v3") ||
           error_set(errp, "compat=%s: 0.10 (v2) or 1.1 (v3)", text);
}

static bool get_wish(Wish *w, const Dict *opts, bool *v2, Error **errp)
{
    *w = (Wish){ .cluster_size = DEFAULT_CLUSTER, .refcount_bits = 16 };
    w->compat = dict_get(opts, "compat");
    w->backing_file = dict_get(opts, "backing_file");
    w->backing_fmt = dict_get(opts, "backing_fmt");
    w->preallocation = dict_get(opts, "preallocation");
    w->data_file = dict_get(opts, "data_file");
    w->compression = dict_get(opts, "compression_type");
    if (w->backing_file && !*w->backing_file) {
        w->backing_file = NULL;
    }
    if (!dict_get_size(opts, "size", 1, &w->size, errp) ||
        !dict_get_size(opts, "cluster_size", 1, &w->cluster_size, errp) ||
        !dict_get_u64(opts, "refcount_bits", &w->refcount_bits, errp) ||
        !dict_get_bool(opts, "lazy_refcounts", &w->lazy, errp) ||
        !dict_get_bool(opts, "data_file_raw", &w->data_file_raw, errp) ||
        !dict_get_bool(opts, "extended_l2", &w->extl2, errp)) {
        return false;
    }
    w->size = ROUND_UP(w->size, 512);
    return parse_compat(w->compat ? w->compat : "1.1", v2, errp) && check_wish(w, errp) &&
           (!*v2 || check_v3(w, errp));
}

/* The size of the backing file, for an image that is told none. */
static bool size_from_backing(const char *filename, Wish *w, Error **errp)
{
    BlockFlags flags = { .readonly = true, .no_lock = true };
    char *path = block_backing_path(filename, w->backing_file);
    BlockNode *b = block_open_image(path, w->backing_fmt, &flags, errp);
    free(path);
    if (!b) {
        return error_prefix(errp, "the backing file: ");
    }
    w->size = ROUND_UP(b->size, 512);
    block_unref(b);
    return true;
}

/* An image of no bytes: header, refcount table, one block. */
static bool write_empty(BlockNode *file, const Wish *w, bool v2, Error **errp)
{
    unsigned order = log2_of(w->refcount_bits);
    Qcow2 s = { .cluster_size = w->cluster_size, .cluster_bits = log2_of(w->cluster_size) };
    s.node.file = file;
    s.node.filename = file->filename;
    s.node.backing_file = (char *)w->backing_file;
    s.node.backing_format = (char *)w->backing_fmt;
    s.data_file_name = (char *)w->data_file;
    bool zstd = w->compression && !strcmp(w->compression, "zstd");
    s.h = (Qcow2Header){
        .version = v2 ? 2 : 3,
        .cluster_bits = s.cluster_bits,
        .reftable_offset = w->cluster_size,
        .reftable_clusters = 1,
        .refcount_order = order,
        .incompatible = (w->data_file ? (uint64_t)INCOMPAT_DATA_FILE : 0) |
                        (zstd ? INCOMPAT_COMPRESSION : 0) | (w->extl2 ? INCOMPAT_EXTL2 : 0),
        .compatible = w->lazy ? COMPAT_LAZY_REFCOUNTS : 0,
        .autoclear = w->data_file_raw ? AUTOCLEAR_DATA_FILE_RAW : 0,
        .compression = zstd ? COMPRESSION_ZSTD : COMPRESSION_ZLIB,
    };
    uint8_t *buf = xcalloc(2, w->cluster_size);
    put64(buf, 2 * w->cluster_size);
    for (unsigned i = 0; i < 3; i++) {
        qcow2_refcount_set_entry(buf + w->cluster_size, i, (unsigned)w->refcount_bits, 1);
    }
    int error = block_pwrite(file, w->cluster_size, buf, 2 * w->cluster_size);
    free(buf);
    return error ? error_set_errno(errp, error, "'%s' cannot be written", file->filename)
                 : qcow2_write_header(&s, errp);
}

static bool create_file(const char *filename, uint64_t size, Error **errp)
{
    Dict *d = dict_new();
    dict_setf(d, "size", "%" PRIu64, size);
    bool ok = block_driver_find("file")->create(filename, d, errp);
    dict_free(d);
    return ok;
}

static bool flush_file(const char *filename, Error **errp)
{
    BlockNode *file = block_open_image(filename, "file", &(BlockFlags){ 0 }, errp);
    int error = file ? block_flush(file) : 0;
    block_unref(file);
    return file && (!error || error_set_errno(errp, error, "'%s' cannot be flushed", filename));
}

bool qcow2_create(const char *filename, const Dict *opts, Error **errp)
{
    Wish w;
    bool v2;
    if (!get_wish(&w, opts, &v2, errp) ||
        (!dict_has(opts, "size") && w.backing_file && !size_from_backing(filename, &w, errp)) ||
        !create_file(filename, 0, errp)) {
        return false;
    }
    char *data = w.data_file ? block_backing_path(filename, w.data_file) : NULL;
    bool ok = !data || create_file(data, w.data_file_raw ? w.size : 0, errp);
    free(data);
    /* Nobody relies on an image that is being made: it need not be stable at each step, only in the
     * end. */
    BlockFlags flags = { .no_flush = true, .no_backing = true };
    BlockNode *file = ok ? block_open_image(filename, "file", &flags, errp) : NULL;
    ok = file && write_empty(file, &w, v2, errp);
    block_unref(file);
    BlockNode *n = ok ? block_open_image(filename, "qcow2", &flags, errp) : NULL;
    ok = n && (!w.size || qcow2_resize(n, w.size, w.preallocation ? w.preallocation : "off", errp));
    block_unref(n);
    return ok && flush_file(filename, errp);
}

/* ---- how large ---- */

static uint64_t refcount_bytes(const Wish *w, uint64_t clusters)
{
    uint64_t per_block = w->cluster_size * 8 / w->refcount_bits, per_table = w->cluster_size / 8;
    uint64_t blocks = 0, table = 0, last, n = 0;
    do {
        last = n;
        blocks = (clusters + table + blocks + per_block - 1) / per_block;
        table = (blocks + per_table - 1) / per_table;
        n = clusters + blocks + table;
    } while (n != last);
    return (blocks + table) * w->cluster_size;
}

bool qcow2_measure(const Dict *opts, uint64_t data_bytes, uint64_t *required, uint64_t *full,
                   Error **errp)
{
    Wish w;
    bool v2;
    if (!get_wish(&w, opts, &v2, errp)) {
        return false;
    }
    uint64_t entry = w.extl2 ? 16 : 8, size = ROUND_UP(w.size, w.cluster_size);
    uint64_t l2 = ROUND_UP(size / w.cluster_size, w.cluster_size / entry) * entry;
    uint64_t l1 = ROUND_UP(l2 / w.cluster_size, w.cluster_size / 8) * 8;
    if (l1 > MAX_L1_BYTES) {
        return error_set(errp, "a disk of %" PRIu64 " bytes needs larger clusters (cluster_size=)",
                         w.size);
    }
    uint64_t meta = w.cluster_size + l2 + l1;
    meta += refcount_bytes(&w, (meta + size) / w.cluster_size);
    *full = meta + (w.data_file ? 0 : size);
    *required = meta + (w.data_file ? 0 : MIN(ROUND_UP(data_bytes, w.cluster_size), size));
    return true;
}
