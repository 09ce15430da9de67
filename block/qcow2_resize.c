/* SPDX-License-Identifier: GPL-2.0-or-later
 * Changing an image as a whole: another size, preallocation, another backing file, nothing in it
 * any more, other options. Called with nothing else in flight.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

/* ---- size ---- */

static bool fail(BlockNode *n, int error, const char *what, Error **errp)
{
    return !error || error_set_errno(errp, error, "'%s' cannot be %s", n->filename, what);
}

static int set_size(Qcow2 *s, uint64_t size)
{
    pthread_mutex_lock(&s->lock);
    int error = qcow2_flush_locked(s);
    if (!error) {
        Qcow2Header old = s->h;
        s->h.size = size;
        error = qcow2_change_fields(s, &old);
    }
    s->node.size = s->h.size;
    pthread_mutex_unlock(&s->lock);
    return error;
}

/* What lies behind the disk's end, a machine's state or the rest of a larger disk, goes. */
static int drop_behind(Qcow2 *s, uint64_t from)
{
    uint64_t first = clusters_for(s, from);
    uint64_t end = (uint64_t)s->l1.nr << s->l2_bits;
    int error = first < end ? qcow2_drop(s, first, end - first) : 0;
    uint64_t keep = l1_entries(s, from);
    pthread_mutex_lock(&s->lock);
    for (uint64_t i = keep; i < s->l1.nr && !error; i++) {
        uint64_t e = s->l1.entry[i] & ENTRY_OFFSET;
        if (e) { /* an empty L2 table */
            block_event(s->node.file, "l1_shrink_free_l2_clusters");
            s->l1.entry[i] = 0;
            qcow2_table_dirty(&s->l1, (uint32_t)i);
            qcow2_free_later(s, cluster_of(s, e), 1, false);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return error;
}

/* Gives the end of the file back if nothing is there. */
static int cut_file(Qcow2 *s)
{
    int error = qcow2_flush_all(s);
    error = error ? error : qcow2_flush_all(s);
    if (error || s->node.file->driver->resize == NULL) {
        return error;
    }
    pthread_mutex_lock(&s->lock);
    uint64_t end = clusters_for(s, s->file_end), count = 0;
    while (end > 1 && !error && !count) {
        error = qcow2_get_refcount(s, end - 1, &count);
        end -= !count;
    }
    uint64_t bytes = end << s->cluster_bits;
    BlockNode *file = s->node.file;
    if (!error && bytes < s->file_end) {
        Error *err = NULL;
        file->size = MAX(file->size, s->file_end);
        if (block_resize(file, bytes, "off", &err)) {
            s->file_end = bytes;
            s->zero_from = bytes;
        } else {
            error_free(err); /* a block device, or the like: it stays as large */
        }
    }
    pthread_mutex_unlock(&s->lock);
    return error;
}

static int shrink(Qcow2 *s, uint64_t size)
{
    BlockNode *n = &s->node;
    uint64_t old = n->size, edge = MIN(ROUND_UP(size, s->cluster_size), old);
    /* Growing again later must show zeroes, not what was here. */
    int error = edge > size ? block_write_zeroes(n, size, edge - size, true) : 0;
    error = error ? error : set_size(s, size);
    error = error ? error : drop_behind(s, size);
    return error ? error : cut_file(s);
}

static int fill_with_zeroes(Qcow2 *s, uint64_t from, uint64_t to)
{
    enum { PART = 1 << 20 };
    uint8_t *zeroes = calloc(1, PART);
    int error = zeroes ? 0 : ENOMEM;
    while (from < to && !error) {
        Qcow2Run run;
        pthread_mutex_lock(&s->lock);
        error = qcow2_lookup(s, from, MIN(to - from, (uint64_t)PART), &run);
        pthread_mutex_unlock(&s->lock);
        if (error == EAGAIN) {
            error = 0;
            continue;
        }
        if (!error && run.kind == KIND_DATA && run.in_place) {
            error = block_pwrite(s->data, run.host, zeroes, run.len);
        }
        from += error ? 0 : run.len;
    }
    free(zeroes);
    return error;
}

static bool preallocate(Qcow2 *s, uint64_t from, uint64_t to, const char *how, Error **errp)
{
    pthread_mutex_lock(&s->lock);
    from = ROUND_UP(from, s->cluster_size);
    int error = from < to ? qcow2_preallocate_range(s, from, to - from, how, errp) : 0;
    pthread_mutex_unlock(&s->lock);
    if (error < 0) {
        return false;
    }
    if (!error && !strcmp(how, "full")) {
        error = fill_with_zeroes(s, from, to);
    } else if (!error && s->data_external) {
        uint64_t end = MAX(to, s->data->size);
        return block_resize(s->data, end, strcmp(how, "metadata") ? how : "off", errp);
    }
    return fail(&s->node, error, "preallocated", errp);
}

static bool grow(Qcow2 *s, uint64_t size, const char *how, Error **errp)
{
    BlockNode *n = &s->node;
    uint64_t old = n->size;
    uint64_t nr = l1_entries(s, size);
    if (nr > MAX_L1_BYTES / 8) {
        return error_set(errp,
                         "'%s' has clusters of %" PRIu64 " bytes, too small for a disk of %" PRIu64
                         " bytes (cluster_size=)",
                         n->filename, s->cluster_size, size);
    }
    int error = drop_behind(s, old);
    if (!error) {
        pthread_mutex_lock(&s->lock);
        error = qcow2_grow_l1(s, nr);
        pthread_mutex_unlock(&s->lock);
    }
    if (!fail(n, error, "resized", errp) ||
        (s->data_external && s->data->size < size && s->data->driver->resize &&
         !block_resize(s->data, size, "off", errp))) {
        return false;
    }
    n->size = size; /* for what is written there before the header says so */
    if (!error && !qcow2_nothing_behind(s, old)) {
        error = block_write_zeroes(n, old, MIN(size, n->backing->size) - old, true);
    }
    if (!error && strcmp(how, "off") && !preallocate(s, old, size, how, errp)) {
        n->size = old;
        return false;
    }
    error = error ? error : set_size(s, size);
    if (error) {
        n->size = old;
    }
    return fail(n, error, "resized", errp);
}

bool qcow2_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    static const char *const known[] = { "off", "metadata", "falloc", "full" };
    bool ok = false;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        ok |= !strcmp(prealloc, known[i]);
    }
    if (!ok) {
        return error_set(errp, "preallocation=%s: off, metadata, falloc or full", prealloc);
    }
    if (size % 512) {
        return error_set(errp, "'%s': the size must be a multiple of 512 bytes", n->filename);
    }
    if (strcmp(prealloc, "off") && n->backing) {
        return error_set(errp, "'%s' has a backing file: no preallocation", n->filename);
    }
    pthread_mutex_lock(&s->lock);
    int error = qcow2_begin_write(s);
    pthread_mutex_unlock(&s->lock);
    if (!fail(n, error, "resized", errp)) {
        return false;
    }
    if (size >= n->size) {
        return grow(s, size, prealloc, errp);
    }
    return fail(n, shrink(s, size), "resized", errp);
}

/* ---- backing file, emptying ---- */

bool qcow2_set_backing(BlockNode *n, const char *file, const char *format, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    if (file && strlen(file) > 1023) {
        return error_set(errp, "the name of a backing file has up to 1023 bytes");
    }
    if (file && s->data_raw) {
        return error_set(errp, "'%s' has a raw external data file, which shows no backing file",
                         n->filename);
    }
    char *old_file = n->backing_file, *old_format = n->backing_format;
    n->backing_file = file ? xstrdup(file) : NULL;
    n->backing_format = file ? xstrdup(format) : NULL;
    pthread_mutex_lock(&s->lock);
    int error = qcow2_begin_write(s);
    bool ok = fail(n, error, "changed", errp) && qcow2_write_header(s, errp);
    pthread_mutex_unlock(&s->lock);
    free(ok ? old_file : n->backing_file);
    free(ok ? old_format : n->backing_format);
    if (!ok) {
        n->backing_file = old_file;
        n->backing_format = old_format;
    }
    return ok;
}

int qcow2_make_empty(BlockNode *n)
{
    Qcow2 *s = qcow2_of(n);
    block_event(n->file, "empty_image_prepare");
    pthread_mutex_lock(&s->lock);
    int error = qcow2_begin_write(s);
    pthread_mutex_unlock(&s->lock);
    error = error ? error : drop_behind(s, 0);
    if (!error && s->data_raw) {
        error = block_write_zeroes(s->data, 0, n->size, true);
    }
    error = error ? error : cut_file(s);
    qcow2_forget_unzipped(s);
    return error;
}

/* ---- other options ---- */

/* Version 2 has no zero flag: such clusters become empty, or get their zeroes if something would
 * show through. */
static bool expand_zeroes(Qcow2 *s, Error **errp)
{
    BlockNode *n = &s->node;
    uint8_t *zeroes = calloc(1, s->cluster_size);
    int error = zeroes ? 0 : ENOMEM;
    for (uint64_t at = 0; at < n->size && !error;) {
        Qcow2Run run;
        pthread_mutex_lock(&s->lock);
        error = qcow2_lookup(s, at, n->size - at, &run);
        pthread_mutex_unlock(&s->lock);
        if (error == EAGAIN) {
            error = 0;
            continue;
        }
        if (!error && run.kind == KIND_ZERO && qcow2_nothing_behind(s, at)) {
            error = qcow2_drop(s, cluster_of(s, at), clusters_for(s, run.len));
        }
        uint64_t end = at + run.len;
        for (uint64_t p = at;
             !error && run.kind == KIND_ZERO && !qcow2_nothing_behind(s, p) && p < end;
             p += s->cluster_size) {
            struct iovec v = { zeroes, MIN(s->cluster_size, end - p) };
            error = qcow2_writev(n, p, &v, 1, v.iov_len);
        }
        at = end;
    }
    free(zeroes);
    return fail(n, error ? error : qcow2_flush_all(s), "made version 2", errp);
}

static bool to_version_2(Qcow2 *s, Error **errp)
{
    const char *what = s->refcount_bits != 16 ? "refcounts other than of 16 bits"
                       : s->data_external     ? "an external data file"
                       : s->extl2             ? "extended L2 entries"
                       : s->h.compression     ? "zstd compression"
                       : s->nr_snapshots      ? "snapshots, which may have zero clusters"
                                              : NULL;
    if (what) {
        return error_set(errp, "'%s' has %s: version 2 has no such thing", s->node.filename, what);
    }
    if (!expand_zeroes(s, errp)) {
        return false;
    }
    pthread_mutex_lock(&s->lock);
    bool was = s->dirty_marked;
    s->dirty_marked = s->lazy = false;
    int error = qcow2_flush_locked(s);
    error = error ? error : qcow2_flush_locked(s);
    error = error || !was ? error : qcow2_set_dirty(s, false);
    Qcow2Header old = s->h;
    if (!error) {
        s->h.version = 2;
        s->h.compatible = s->h.autoclear = 0;
        s->h.length = HEADER_V2_LENGTH;
        s->bitmaps.nr = 0;
    }
    bool ok = fail(&s->node, error, "made version 2", errp) && qcow2_write_header(s, errp);
    s->h = ok ? s->h : old;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static bool set_version(Qcow2 *s, const char *compat, Error **errp)
{
    bool v2 = !strcmp(compat, "0.10") || !strcmp(compat, "v2");
    if (!v2 && strcmp(compat, "1.1") && strcmp(compat, "v3")) {
        return error_set(errp, "compat=%s: 0.10 (v2) or 1.1 (v3)", compat);
    }
    if (v2 == (s->h.version == 2)) {
        return true;
    }
    if (v2) {
        return to_version_2(s, errp);
    }
    pthread_mutex_lock(&s->lock);
    s->h.version = 3;
    bool ok = qcow2_write_header(s, errp);
    s->h.version = ok ? 3 : 2;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static bool set_lazy(Qcow2 *s, bool lazy, Error **errp)
{
    if (s->h.version == 2) {
        return !lazy || error_set(errp, "lazy_refcounts=on needs compat=1.1");
    }
    pthread_mutex_lock(&s->lock);
    int error = 0;
    if (!lazy && s->dirty_marked) {
        s->dirty_marked = false;
        error = qcow2_flush_locked(s);
        error = error ? error : qcow2_set_dirty(s, false);
    } else if (lazy && s->write_begun && !s->dirty_marked) {
        s->write_begun = false; /* the next write marks it */
    }
    s->lazy = lazy;
    s->h.compatible = lazy ? s->h.compatible | COMPAT_LAZY_REFCOUNTS
                           : s->h.compatible & ~(uint64_t)COMPAT_LAZY_REFCOUNTS;
    error = error ? error : qcow2_write_fields(s);
    error = error ? error : block_flush(s->node.file);
    pthread_mutex_unlock(&s->lock);
    return fail(&s->node, error, "changed", errp);
}

static bool set_refcount_bits(Qcow2 *s, uint64_t bits, Error **errp)
{
    if (!bits || bits > 64 || (bits & (bits - 1))) {
        return error_set(errp, "refcount_bits=%" PRIu64 ": 1, 2, 4, 8, 16, 32 or 64", bits);
    }
    if (bits == s->refcount_bits) {
        return true;
    }
    if (s->h.version == 2) {
        return error_set(errp, "refcount_bits=%" PRIu64 " needs compat=1.1", bits);
    }
    pthread_mutex_lock(&s->lock);
    int error = qcow2_flush_locked(s);
    unsigned order = 63 - (unsigned)__builtin_clzll(bits);
    bool ok = fail(&s->node, error, "changed", errp) && qcow2_rebuild_refcounts(s, order, errp);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static bool is_other(const char *given, const char *has)
{
    return given && strcmp(given, has);
}

/* What would need every cluster written anew. */
static bool check_fixed(Qcow2 *s, const Dict *opts, Error **errp)
{
    uint64_t cluster = s->cluster_size;
    bool extl2 = s->extl2, raw = s->data_raw;
    const char *zip = s->h.compression ? "zstd" : "zlib", *what = NULL;
    if (!dict_get_size(opts, "cluster_size", 1, &cluster, errp) ||
        !dict_get_bool(opts, "extended_l2", &extl2, errp) ||
        !dict_get_bool(opts, "data_file_raw", &raw, errp)) {
        return false;
    }
    if (cluster != s->cluster_size) {
        what = "cluster_size";
    } else if (extl2 != s->extl2) {
        what = "extended_l2";
    } else if (raw != s->data_raw) {
        what = "data_file_raw";
    } else if (is_other(dict_get(opts, "compression_type"), zip)) {
        what = "compression_type";
    } else if (is_other(dict_get(opts, "preallocation"), "off")) {
        what = "preallocation";
    }
    return !what ||
           error_set(errp, "%s cannot be changed in an image; convert it to a new one", what);
}

bool qcow2_amend(BlockNode *n, const Dict *opts, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    uint64_t size = n->size, bits = s->refcount_bits;
    bool lazy = s->h.compatible & COMPAT_LAZY_REFCOUNTS;
    const char *compat = dict_get(opts, "compat"), *file = dict_get(opts, "backing_file"),
               *format = dict_get(opts, "backing_fmt"), *data = dict_get(opts, "data_file");
    if (n->readonly) {
        return error_set(errp, "'%s' is open read-only", n->filename);
    }
    if (!dict_get_size(opts, "size", 1, &size, errp) ||
        !dict_get_u64(opts, "refcount_bits", &bits, errp) ||
        !dict_get_bool(opts, "lazy_refcounts", &lazy, errp) || !check_fixed(s, opts, errp)) {
        return false;
    }
    pthread_mutex_lock(&s->lock);
    int error = qcow2_begin_write(s);
    pthread_mutex_unlock(&s->lock);
    bool to_v3 = compat && s->h.version == 2;
    if (!fail(n, error, "changed", errp) || (to_v3 && !set_version(s, compat, errp)) ||
        !set_lazy(s, lazy, errp) || !set_refcount_bits(s, bits, errp) ||
        (compat && !to_v3 && !set_version(s, compat, errp))) {
        return false;
    }
    if (data) {
        if (!s->data_external || !*data) {
            return error_set(errp, "data_file: '%s' cannot be split or joined; convert it",
                             n->filename);
        }
        free(s->data_file_name);
        s->data_file_name = xstrdup(data);
        if (!qcow2_write_header(s, errp)) {
            return false;
        }
    }
    if ((file || format) && !qcow2_set_backing(n, file ? (*file ? file : NULL) : n->backing_file,
                                               format ? format : n->backing_format, errp)) {
        return false;
    }
    return size == n->size || qcow2_resize(n, size, "off", errp);
}
