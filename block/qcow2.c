/* SPDX-License-Identifier: GPL-2.0-or-later
 * The qcow2 image format, versions 2 and 3 (QCOW2): opening and closing, and the driver's table.
 * docs/qcow2.md says how an image is kept consistent; qcow2.h who does what.
 *
 * Left out: encryption (refused), keeping bitmaps up (they are void once the image is written).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

enum { SLICE = 16 * 1024, MANY_TABLES = 1 << 20 };
#define MAX_L2_CACHE (32 * MiB)
#define REFCOUNT_CACHE (1 * MiB)

/* ---- opening ---- */

static void set_geometry(Qcow2 *s)
{
    unsigned bits = s->h.cluster_bits;
    s->cluster_bits = bits;
    s->cluster_size = 1ull << bits;
    s->extl2 = s->h.incompatible & INCOMPAT_EXTL2;
    s->entry_size = s->extl2 ? 16 : 8;
    s->l2_bits = bits - (s->extl2 ? 4 : 3);
    s->nr_sub = s->extl2 ? 32 : 1;
    s->sub_size = s->cluster_size / s->nr_sub;
    s->refcount_bits = 1u << s->h.refcount_order;
    s->refblock_bits = bits + 3 - s->h.refcount_order;
    s->refcount_max = s->refcount_bits == 64 ? UINT64_MAX : (1ull << s->refcount_bits) - 1;
    s->data_external = s->h.incompatible & INCOMPAT_DATA_FILE;
    s->data_raw = s->data_external && (s->h.autoclear & AUTOCLEAR_DATA_FILE_RAW);
}

static bool open_data_file(Qcow2 *s, const Dict *opts, Error **errp)
{
    BlockNode *n = &s->node;
    BlockNode *child = NULL;
    if (!block_open_child(n, opts, "data-file", &n->flags, true, &child, errp)) {
        return error_prefix(errp, "the data file of '%s': ", n->filename);
    }
    if (!s->data_external) {
        block_unref(child);
        s->data = block_ref(n->file);
        return !child || error_set(errp, "data-file=: '%s' keeps its data itself", n->filename);
    }
    if (!child && !s->data_file_name) {
        return error_set(errp,
                         "image '%s' keeps its data in another file and does not name it; give "
                         "data-file=",
                         n->filename);
    }
    if (!child) {
        char *path = block_backing_path(n->filename, s->data_file_name);
        child = block_open_image(path, "file", &n->flags, errp);
        free(path);
    }
    s->data = child;
    return child || error_prefix(errp, "the data file of '%s': ", n->filename);
}

static bool get_cache_sizes(Qcow2 *s, const Dict *opts, uint64_t *l2, uint64_t *refcount,
                            uint64_t *slice, Error **errp)
{
    uint64_t all = 0;
    uint64_t covers = (clusters_for(s, s->h.size) + 1) * s->entry_size;
    *l2 = MIN(MAX_L2_CACHE, MAX(covers, 1 * MiB));
    *refcount = REFCOUNT_CACHE;
    *slice = MIN(s->cluster_size, (uint64_t)SLICE);
    if (!dict_get_size(opts, "cache-size", 1, &all, errp)) {
        return false;
    }
    if (all) {
        *refcount = MIN(all / 4, REFCOUNT_CACHE);
        *l2 = all - *refcount;
    }
    if (!dict_get_size(opts, "l2-cache-size", 1, l2, errp) ||
        !dict_get_size(opts, "refcount-cache-size", 1, refcount, errp) ||
        !dict_get_size(opts, "l2-cache-entry-size", 1, slice, errp)) {
        return false;
    }
    if (all && *l2 + *refcount > all) {
        return error_set(errp,
                         "cache-size=%" PRIu64 " is less than l2-cache-size and "
                         "refcount-cache-size together",
                         all);
    }
    if (*l2 > 16 * GiB || *refcount > 16 * GiB) {
        return error_set(errp, "a cache of more than 16 GiB serves nobody");
    }
    return (*slice >= 512 && *slice <= s->cluster_size && !(*slice & (*slice - 1))) ||
           error_set(errp,
                     "l2-cache-entry-size=%" PRIu64 ": a power of 2 from 512 to the cluster size, "
                     "%" PRIu64,
                     *slice, s->cluster_size);
}

static bool open_caches(Qcow2 *s, const Dict *opts, Error **errp)
{
    uint64_t l2, refcount, slice;
    if (!get_cache_sizes(s, opts, &l2, &refcount, &slice, errp)) {
        return false;
    }
    return (qcow2_cache_init(&s->l2_cache, "L2", l2, slice) &&
            qcow2_cache_init(&s->refcount_cache, "refcount", refcount,
                             MIN(s->cluster_size, (uint64_t)SLICE))) ||
           error_set(errp, "no memory for the caches of '%s'", s->node.filename);
}

static bool open_l1(Qcow2 *s, Error **errp)
{
    const char *name = s->node.filename;
    uint64_t bytes = (uint64_t)s->h.l1_size * 8;
    if (s->h.l1_offset + bytes > ROUND_UP(s->file_end, s->cluster_size) && bytes) {
        return error_set(errp, "image '%s' is damaged: its L1 table is past the end of the file",
                         name);
    }
    if (!qcow2_table_alloc(&s->l1, s->h.l1_size)) {
        return error_set(errp, "image '%s': no memory for its L1 table", name);
    }
    s->l1.offset = s->h.l1_offset;
    int error = qcow2_table_read(s, &s->l1);
    return !error || error_set_errno(errp, error, "the L1 table of '%s'", name);
}

static bool check_state(Qcow2 *s, Error **errp)
{
    BlockNode *n = &s->node;
    if ((s->h.incompatible & INCOMPAT_CORRUPT) && !n->readonly && !n->flags.for_check) {
        return error_set(
            errp,
            "image '%s' is marked corrupt; repair it with: vireo-img check -r all '%s' "
            "(or read what can be read with read-only=on)",
            n->filename, n->filename);
    }
    if (s->h.compression == COMPRESSION_ZSTD && !qcow2_can_zstd()) {
        return error_set(errp,
                         "image '%s' has clusters compressed with zstd, which was left out of "
                         "this build; install libzstd-dev and configure again",
                         n->filename);
    }
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Tables that lie on top of each other would soon ruin each other. */
static bool check_double_tables(Qcow2 *s, Error **errp)
{
    uint64_t l1_clusters = clusters_for(s, (uint64_t)s->h.l1_size * 8);
    uint64_t room = 1ull + s->l1.nr + s->reftable.nr + l1_clusters + s->h.reftable_clusters, nr = 0;
    if (s->node.readonly || s->node.flags.for_check || room > MANY_TABLES) {
        return true;
    }
    uint64_t *at = xmalloc(room * sizeof(*at));
    at[nr++] = 0;
    for (uint64_t i = 0; i < l1_clusters; i++) {
        at[nr++] = s->h.l1_offset + (i << s->cluster_bits);
    }
    for (uint64_t i = 0; i < s->h.reftable_clusters; i++) {
        at[nr++] = s->h.reftable_offset + (i << s->cluster_bits);
    }
    for (uint32_t i = 0; i < s->l1.nr; i++) {
        if (s->l1.entry[i] & ENTRY_OFFSET) {
            at[nr++] = s->l1.entry[i] & ENTRY_OFFSET;
        }
    }
    for (uint32_t i = 0; i < s->reftable.nr; i++) {
        if (s->reftable.entry[i] & REFTABLE_OFFSET) {
            at[nr++] = s->reftable.entry[i] & REFTABLE_OFFSET;
        }
    }
    qsort(at, nr, sizeof(*at), compare_u64);
    bool ok = true;
    for (uint64_t i = 1; i < nr && ok; i++) {
        ok = at[i] != at[i - 1] ||
             error_set(errp,
                       "image '%s' is damaged: two of its tables are at offset 0x%" PRIx64
                       "; repair it with: vireo-img check -r all, or open it read-only",
                       s->node.filename, at[i]);
    }
    free(at);
    return ok;
}

/* What a program that ended in the middle left behind, with lazy refcounts or in a snapshot. */
static bool repair_dirty(Qcow2 *s, Error **errp)
{
    BlockNode *n = &s->node;
    BlockCheck result = { 0 };
    if (!(s->h.incompatible & INCOMPAT_DIRTY) || n->readonly || n->flags.for_check) {
        return true;
    }
    if (!qcow2_check(n, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &result, errp)) {
        return false;
    }
    return !result.corruptions ||
           error_set(errp, "image '%s' was not closed and cannot be repaired (%" PRIu64 " errors)",
                     n->filename, result.corruptions);
}

static void free_all(Qcow2 *s)
{
    qcow2_cache_fini(&s->l2_cache);
    qcow2_cache_fini(&s->refcount_cache);
    qcow2_table_free(&s->l1);
    qcow2_table_free(&s->reftable);
    qcow2_free_snapshots(s);
    qcow2_forget_unzipped(s);
    qcow2_free_header(s);
    free(s->pending.list);
    free(s->meta_filter);
    block_unref(s->data);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->unzip_lock);
    pthread_cond_destroy(&s->changed);
}

static bool open_image(Qcow2 *s, const Dict *opts, Error **errp)
{
    BlockNode *n = &s->node;
    const char *snapshot = dict_get(opts, "snapshot");
    if (!qcow2_read_header(s, errp)) {
        return false;
    }
    set_geometry(s);
    s->zero_from = ROUND_UP(n->file->size, s->cluster_size);
    s->lazy = s->h.compatible & COMPAT_LAZY_REFCOUNTS;
    if (!dict_get_bool(opts, "lazy-refcounts", &s->lazy, errp)) {
        return false;
    }
    if (s->lazy && s->h.version == 2) {
        return error_set(errp, "lazy-refcounts=on: '%s' is of version 2, which has no such thing",
                         n->filename);
    }
    n->size = s->h.size;
    n->cluster_size = (unsigned)s->cluster_size;
    s->nr_unzipped = (unsigned)MAX(MIN(MiB / s->cluster_size, (uint64_t)UNZIPPED_CLUSTERS), 1u);
    return check_state(s, errp) && open_data_file(s, opts, errp) && open_caches(s, opts, errp) &&
           open_l1(s, errp) && qcow2_refcount_open(s, errp) && qcow2_read_snapshots(s, errp) &&
           (qcow2_meta_rebuild(s) || error_set(errp, "no memory for '%s'", n->filename)) &&
           check_double_tables(s, errp) && repair_dirty(s, errp) &&
           (!snapshot || qcow2_snapshot_view(n, snapshot, errp)) &&
           block_open_backing(n, opts, errp);
}

static bool qcow2_open(BlockNode *n, const Dict *opts, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    if (!block_open_child(n, opts, "file", &n->flags, false, &n->file, errp)) {
        return false;
    }
    n->filename = xstrdup(n->file->filename);
    n->readonly |= n->file->readonly;
    n->flags.direct = n->file->flags.direct;
    s->file_end = n->file->size;
    list_init(&s->claims);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->unzip_lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (!open_image(s, opts, errp)) {
        free_all(s);
        return false;
    }
    return true;
}

static int end_writing(Qcow2 *s)
{
    if (s->node.readonly || s->failed || !s->write_begun) {
        return 0;
    }
    int error = qcow2_flush_all(s); /* frees clusters, which changes refcounts */
    bool was_dirty = s->dirty_marked;
    s->dirty_marked = false;
    error = error ? error : qcow2_flush_all(s);
    return error || !was_dirty || s->unfinished ? error : qcow2_set_dirty(s, false);
}

static void qcow2_close(BlockNode *n)
{
    Qcow2 *s = qcow2_of(n);
    int error = end_writing(s);
    if (error) {
        warn_report("image '%s' could not be closed properly: %s", n->filename, strerror(error));
    }
    free_all(s);
}

/* A backing file that something is committed to: what an open for writing and a close check
 * and do. */
static bool qcow2_reopen(BlockNode *n, bool readonly, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    if (s->data != n->file) {
        return error_set(errp,
                         "'%s' has an external data file; commit with vireo-img while no "
                         "guest has the image",
                         n->filename);
    }
    if (readonly) {
        int error = end_writing(s);
        s->write_begun = s->write_begun && error;
        return !error || error_set_errno(errp, error, "'%s'", n->filename);
    }
    n->readonly = false; /* for these */
    bool ok = check_state(s, errp) && check_double_tables(s, errp) && repair_dirty(s, errp);
    n->readonly = true;
    return ok;
}

static int qcow2_probe(const uint8_t *head, size_t len)
{
    return len >= 8 && get32(head) == QCOW2_MAGIC && get32(head + 4) >= 2 ? 100 : 0;
}

static int qcow2_ring_fd(BlockNode *n, uint64_t *offset, unsigned *align)
{
    BlockNode *data = qcow2_of(n)->data;
    return data->driver->ring_fd ? data->driver->ring_fd(data, offset, align) : -1;
}

static void qcow2_event(BlockNode *n, const char *event)
{
    block_event(n->file, event);
}

static void qcow2_info(BlockNode *n, Dict *out)
{
    const Qcow2 *s = qcow2_of(n);
    dict_set(out, "compat", s->h.version == 2 ? "0.10" : "1.1");
    dict_set(out, "compression-type", s->h.compression == COMPRESSION_ZSTD ? "zstd" : "zlib");
    if (s->h.version == 3) {
        bool lazy = s->h.compatible & COMPAT_LAZY_REFCOUNTS;
        dict_set(out, "lazy-refcounts", lazy ? "true" : "false");
    }
    dict_setf(out, "refcount-bits", "%u", s->refcount_bits);
    if (s->h.version == 3) {
        dict_set(out, "corrupt", s->h.incompatible & INCOMPAT_CORRUPT ? "true" : "false");
        dict_set(out, "extended-l2", s->extl2 ? "true" : "false");
    }
    if (s->data_external) {
        dict_set(out, "data-file", s->data_file_name ? s->data_file_name : s->data->filename);
        dict_set(out, "data-file-raw", s->data_raw ? "true" : "false");
    }
}

static const BlockOption qcow2_options[] = {
    { "file", BLOCK_OPT_NODE, "the protocol below" },
    { "backing", BLOCK_OPT_NODE, "the backing file; empty: none" },
    { "data-file", BLOCK_OPT_NODE, "where an image with external data keeps them" },
    { "lazy-refcounts", BLOCK_OPT_BOOL, "refcounts are written when the image is closed" },
    { "snapshot", BLOCK_OPT_TEXT, "show the image as it was at that snapshot, read-only" },
    { "cache-size", BLOCK_OPT_SIZE, "of both caches together" },
    { "l2-cache-size", BLOCK_OPT_SIZE, "what of the L2 tables is kept in memory" },
    { "l2-cache-entry-size", BLOCK_OPT_SIZE, "in pieces of this size" },
    { "refcount-cache-size", BLOCK_OPT_SIZE, "what of the refcounts is kept in memory" },
    BLOCK_OPTION_END,
};

BLOCK_DRIVER(qcow2) = {
    .name = "qcow2",
    .desc = "grows with its data; backing files, snapshots, compression",
    .kind = BLOCK_FORMAT,
    .size = sizeof(Qcow2),
    .options = qcow2_options,
    .create_options = qcow2_create_options,
    .open = qcow2_open,
    .close = qcow2_close,
    .reopen = qcow2_reopen,
    .ring_fd = qcow2_ring_fd,
    .map_read = qcow2_map_read,
    .map_end = qcow2_map_end,
    .readv = qcow2_readv,
    .writev = qcow2_writev,
    .flush = qcow2_flush,
    .discard = qcow2_discard,
    .write_zeroes = qcow2_write_zeroes,
    .status = qcow2_status,
    .write_compressed = qcow2_write_compressed,
    .event = qcow2_event,
    .probe = qcow2_probe,
    .create = qcow2_create,
    .resize = qcow2_resize,
    .check = qcow2_check,
    .info = qcow2_info,
    .set_backing = qcow2_set_backing,
    .make_empty = qcow2_make_empty,
    .amend = qcow2_amend,
    .measure = qcow2_measure,
    .snapshots = qcow2_snapshots,
    .snapshot_create = qcow2_snapshot_create,
    .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete,
    .vmstate_pread = qcow2_vmstate_pread,
    .vmstate_pwrite = qcow2_vmstate_pwrite,
};
