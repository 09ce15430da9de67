/* SPDX-License-Identifier: GPL-2.0-or-later
 * Refcounts of host clusters (QCOW2: Host cluster management): counts of every width, finding free
 * clusters, refcount blocks and a refcount table that grow with the file, and the list of clusters
 * that become free once nothing on disk refers to them.
 *
 * A new refcount block lies in the range it describes, so that allocating one needs no other
 * cluster. Counts go up at once and down only after a flush (qcow2_free_later).
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

/* ---- entries ---- */

uint64_t qcow2_refcount_get_entry(const uint8_t *block, uint64_t index, unsigned bits)
{
    switch (bits) {
    case 1: return block[index / 8] >> (index % 8) & 1;
    case 2: return block[index / 4] >> (index % 4 * 2) & 3;
    case 4: return block[index / 2] >> (index % 2 * 4) & 15;
    case 8: return block[index];
    case 16: return get16(block + index * 2);
    case 32: return get32(block + index * 4);
    default: return get64(block + index * 8);
    }
}

void qcow2_refcount_set_entry(uint8_t *block, uint64_t index, unsigned bits, uint64_t value)
{
    if (bits < 8) {
        unsigned shift = (unsigned)(index % (8 / bits) * bits);
        uint8_t *at = block + index * bits / 8;
        *at = (uint8_t)((*at & ~(((1u << bits) - 1) << shift)) | value << shift);
        return;
    }
    switch (bits) {
    case 8: block[index] = (uint8_t)value; break;
    case 16: put16(block + index * 2, (uint16_t)value); break;
    case 32: put32(block + index * 4, (uint32_t)value); break;
    default: put64(block + index * 8, value); break;
    }
}

bool qcow2_refcount_open(Qcow2 *s, Error **errp)
{
    uint64_t nr = (uint64_t)s->h.reftable_clusters << (s->cluster_bits - 3);
    uint64_t bytes = nr * 8;
    if (!qcow2_table_alloc(&s->reftable, (uint32_t)nr)) {
        return error_set(errp, "image '%s': no memory for its refcount table", s->node.filename);
    }
    s->reftable.offset = s->h.reftable_offset;
    if (s->h.reftable_offset + bytes > ROUND_UP(s->file_end, s->cluster_size)) {
        return s->node.flags.for_check ||
               error_set(errp,
                         "image '%s' is damaged: its refcount table is past the end of the file",
                         s->node.filename);
    }
    block_event(s->node.file, "reftable_load");
    int error = qcow2_table_read(s, &s->reftable);
    return !error || error_set_errno(errp, error, "the refcount table of '%s'", s->node.filename);
}

/* Where the block is that counts this cluster; 0: there is none. */
static int block_of(Qcow2 *s, uint64_t cluster, uint64_t *offset)
{
    uint64_t index = cluster >> s->refblock_bits;
    uint64_t e = index < s->reftable.nr ? s->reftable.entry[index] : 0;
    *offset = e & REFTABLE_OFFSET;
    if (e && (in_cluster(s, e) || *offset >> 56 || *offset >= s->file_end)) {
        return qcow2_corrupt(s, "entry %" PRIu64 " of the refcount table is 0x%" PRIx64, index, e);
    }
    return 0;
}

/* The slice that counts the cluster: its bytes, the cluster's index there, and how many the slice
 * has; *slice NULL: no block. */
static int slice_of(Qcow2 *s, uint64_t cluster, uint8_t **slice, uint64_t *slice_offset,
                    uint64_t *index, uint64_t *nr)
{
    uint64_t block;
    int error = block_of(s, cluster, &block);
    *slice = NULL;
    if (error || !block) {
        return error;
    }
    Qcow2Cache *c = &s->refcount_cache;
    uint64_t in_block = cluster & ((1ull << s->refblock_bits) - 1);
    *nr = c->slice_size * 8 / s->refcount_bits;
    *index = in_block % *nr;
    *slice_offset = block + in_block / *nr * c->slice_size;
    return qcow2_cache_get(s, c, *slice_offset, false, slice);
}

static void mark_counts(Qcow2 *s, uint64_t slice_offset, uint8_t *slice, uint64_t first,
                        uint64_t nr)
{
    uint64_t lo = first * s->refcount_bits / 8;
    uint64_t hi = ((first + nr) * s->refcount_bits + 7) / 8;
    qcow2_cache_dirty(&s->refcount_cache, slice_offset, slice + lo, hi - lo);
}

int qcow2_get_refcount(Qcow2 *s, uint64_t cluster, uint64_t *count)
{
    uint8_t *slice;
    uint64_t slice_offset, index, nr;
    int error = slice_of(s, cluster, &slice, &slice_offset, &index, &nr);
    *count = error || !slice ? 0 : qcow2_refcount_get_entry(slice, index, s->refcount_bits);
    return error;
}

/* ---- metadata and where it is ---- */

static uint64_t filter_bit(const Qcow2 *s, uint64_t cluster)
{
    return cluster * 0x9e3779b97f4a7c15ull >> 20 & s->meta_filter_mask;
}

void qcow2_meta_add(Qcow2 *s, uint64_t offset)
{
    uint64_t bit = filter_bit(s, cluster_of(s, offset));
    s->meta_filter[bit / 8] |= (uint8_t)(1 << bit % 8);
}

/* False: more than the file has room for. */
static bool add_range(Qcow2 *s, uint64_t offset, uint64_t bytes, uint64_t *room)
{
    uint64_t nr = clusters_for(s, bytes);
    if (nr > *room) {
        return false;
    }
    *room -= nr;
    for (uint64_t i = 0; i < nr; i++) {
        qcow2_meta_add(s, offset + (i << s->cluster_bits));
    }
    return true;
}

/* Tables of many clusters. An image may say anything of its snapshots' sizes: what overlaps or is
 * not in the file is not walked cluster by cluster. */
static bool add_tables(Qcow2 *s)
{
    uint64_t room = clusters_for(s, s->file_end) + 16; /* a short last cluster or two is no harm */
    bool ok = add_range(s, s->h.l1_offset, (uint64_t)s->h.l1_size * 8, &room) &&
              add_range(s, s->h.reftable_offset, (uint64_t)s->reftable.nr * 8, &room) &&
              add_range(s, s->h.snapshots_offset, s->snapshots_size, &room);
    for (size_t i = 0; i < s->nr_snapshots && ok; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        ok = add_range(s, sn->l1_offset, (uint64_t)sn->l1_size * 8, &room);
    }
    return ok;
}

bool qcow2_meta_rebuild(Qcow2 *s)
{
    uint64_t items = s->l1.nr + s->reftable.nr + 64 * (s->nr_snapshots + 1), bits = 1 << 16;
    while (bits < items * 16 && bits < 8 * MiB) {
        bits *= 2;
    }
    uint8_t *filter = calloc(1, bits / 8);
    if (!filter) {
        return false;
    }
    free(s->meta_filter);
    s->meta_filter = filter;
    s->meta_filter_mask = bits - 1;
    qcow2_meta_add(s, 0);
    if (!add_tables(s)) {
        memset(filter, 0xff, bits / 8); /* damaged: each cluster is looked up one by one */
    }
    for (uint32_t i = 0; i < s->l1.nr; i++) {
        if (s->l1.entry[i] & ENTRY_OFFSET) {
            qcow2_meta_add(s, s->l1.entry[i] & ENTRY_OFFSET);
        }
    }
    for (uint32_t i = 0; i < s->reftable.nr; i++) {
        if (s->reftable.entry[i]) {
            qcow2_meta_add(s, s->reftable.entry[i]);
        }
    }
    return true;
}

static bool hits(const Qcow2 *s, uint64_t cluster, uint64_t offset, uint64_t bytes)
{
    uint64_t first = cluster_of(s, offset);
    return bytes && cluster >= first && cluster < first + clusters_for(s, bytes);
}

/* What of the metadata is in this cluster; NULL: nothing. */
static const char *find_metadata(const Qcow2 *s, uint64_t cluster)
{
    if (cluster == 0) {
        return "the header";
    }
    if (hits(s, cluster, s->h.l1_offset, (uint64_t)s->h.l1_size * 8)) {
        return "the L1 table";
    }
    if (hits(s, cluster, s->h.reftable_offset, (uint64_t)s->reftable.nr * 8)) {
        return "the refcount table";
    }
    if (hits(s, cluster, s->h.snapshots_offset, s->snapshots_size)) {
        return "the snapshot table";
    }
    for (size_t i = 0; i < s->nr_snapshots; i++) {
        if (hits(s, cluster, s->snapshots[i].l1_offset, (uint64_t)s->snapshots[i].l1_size * 8)) {
            return "the L1 table of a snapshot";
        }
    }
    uint64_t offset = cluster << s->cluster_bits;
    for (uint32_t i = 0; i < s->l1.nr; i++) {
        if ((s->l1.entry[i] & ENTRY_OFFSET) == offset) {
            return "an L2 table";
        }
    }
    for (uint32_t i = 0; i < s->reftable.nr; i++) {
        if ((s->reftable.entry[i] & REFTABLE_OFFSET) == offset) {
            return "a refcount block";
        }
    }
    return NULL;
}

int qcow2_check_overlap(Qcow2 *s, uint64_t offset, uint64_t len, const char *what)
{
    uint64_t last = cluster_of(s, offset + len - 1);
    for (uint64_t c = cluster_of(s, offset); c <= last; c++) {
        uint64_t bit = filter_bit(s, c);
        const char *meta = s->meta_filter[bit / 8] >> (bit % 8) & 1 ? find_metadata(s, c) : NULL;
        if (meta) {
            return qcow2_corrupt(s, "%s at offset 0x%" PRIx64 " would overwrite %s", what,
                                 c << s->cluster_bits, meta);
        }
    }
    return 0;
}

/* ---- growing ---- */

static int write_refblocks(Qcow2 *s, uint64_t first_block, uint64_t nr_blocks, uint64_t blocks_at,
                           uint64_t used_end)
{
    uint8_t *buf = malloc(s->cluster_size);
    int error = buf ? 0 : ENOMEM;
    for (uint64_t b = 0; b < nr_blocks && !error; b++) {
        uint64_t first = (first_block + b) << s->refblock_bits;
        uint64_t nr = used_end > first ? MIN(used_end - first, 1ull << s->refblock_bits) : 0;
        memset(buf, 0, s->cluster_size);
        for (uint64_t i = 0; i < nr; i++) {
            qcow2_refcount_set_entry(buf, i, s->refcount_bits, 1);
        }
        uint64_t at = (blocks_at + b) << s->cluster_bits;
        qcow2_cache_forget(&s->refcount_cache, at, s->cluster_size);
        qcow2_cache_forget(&s->l2_cache, at, s->cluster_size);
        block_event(s->node.file, "refblock_alloc_write_blocks");
        error = block_pwrite(s->node.file, at, buf, s->cluster_size);
    }
    free(buf);
    return error;
}

/* A larger refcount table (taken): written whole, then the header names it. */
static int move_reftable(Qcow2 *s, Qcow2Table *fresh, uint64_t nr_clusters)
{
    /* What the table refers to must be on disk before it. */
    Qcow2Cache *c = &s->refcount_cache;
    int error = 0;
    for (unsigned i = 0; i < c->nr && !error; i++) {
        Qcow2Slice *e = c->slices[i];
        if (e->dirty_lo != e->dirty_hi) {
            error = block_pwrite(s->node.file, e->offset, e->data, c->slice_size);
        }
    }
    block_event(s->node.file, "refblock_alloc_write_table");
    error = error ? error : qcow2_table_write(s, fresh);
    error = error ? error : block_flush(s->node.file);
    Qcow2Header old = s->h;
    if (!error) {
        s->h.reftable_offset = fresh->offset;
        s->h.reftable_clusters = (uint32_t)nr_clusters;
        block_event(s->node.file, "refblock_alloc_switch_table");
        error = qcow2_change_fields(s, &old);
    }
    if (error) {
        qcow2_table_free(fresh);
        return error;
    }
    qcow2_table_free(&s->reftable);
    s->reftable = *fresh;
    for (uint64_t i = 0; i < nr_clusters; i++) {
        qcow2_meta_add(s, fresh->offset + (i << s->cluster_bits));
    }
    return qcow2_add_refs(s, cluster_of(s, old.reftable_offset), old.reftable_clusters, -1);
}

/* The table with entries for new blocks, in new clusters behind them. */
static int grow_reftable(Qcow2 *s, uint64_t block, uint64_t blocks, uint64_t blocks_at,
                         uint64_t nr_clusters)
{
    Qcow2Table fresh;
    if (!qcow2_table_alloc(&fresh, (uint32_t)(nr_clusters << (s->cluster_bits - 3)))) {
        return ENOMEM;
    }
    memcpy(fresh.entry, s->reftable.entry, (size_t)s->reftable.nr * 8);
    for (uint64_t b = 0; b < blocks; b++) {
        fresh.entry[block + b] = (blocks_at + b) << s->cluster_bits;
    }
    fresh.offset = (blocks_at + blocks) << s->cluster_bits;
    return move_reftable(s, &fresh, nr_clusters);
}

/* Counts for clusters that no block describes yet, from the first of block `block` on: nr clusters
 * there (*first) get refcount 1, behind them come the new blocks and, if it has to grow, the new
 * refcount table. Unless nr is 0 no block from `block` on may exist. */
static int cover(Qcow2 *s, uint64_t block, uint64_t nr, uint64_t *first)
{
    uint64_t start = block << s->refblock_bits, per_block = 1ull << s->refblock_bits;
    uint64_t blocks = 1, table = 0, total;
    for (;;) {
        total = nr + blocks + table;
        uint64_t want_blocks = (total + per_block - 1) / per_block;
        uint64_t want_entries = block + want_blocks, want_table = 0;
        if (want_entries > s->reftable.nr) {
            want_table = clusters_for(s, (want_entries + want_entries / 2) * 8);
        }
        if (want_blocks <= blocks && want_table <= table) {
            break;
        }
        blocks = MAX(blocks, want_blocks);
        table = MAX(table, want_table);
    }
    if (table << s->cluster_bits > MAX_REFTABLE_BYTES ||
        start + total >= 1ull << (56 - s->cluster_bits)) {
        return EFBIG;
    }
    if (table && s->flushing) { /* it may be writing entries of the old table */
        pthread_cond_wait(&s->changed, &s->lock);
        return EAGAIN;
    }
    uint64_t blocks_at = start + nr;
    int error = qcow2_check_overlap(s, start << s->cluster_bits, total << s->cluster_bits,
                                    "a new refcount block");
    block_event(s->node.file, "refblock_alloc");
    error = error ? error : write_refblocks(s, block, blocks, blocks_at, start + total);
    if (error) {
        return error;
    }
    s->file_end = MAX(s->file_end, (start + total) << s->cluster_bits);
    s->zero_from = MAX(s->zero_from, (start + total) << s->cluster_bits);
    if (table) {
        block_event(s->node.file, "reftable_grow");
        error = grow_reftable(s, block, blocks, blocks_at, table);
        if (error) {
            return error;
        }
    } else {
        for (uint64_t b = 0; b < blocks; b++) {
            s->reftable.entry[block + b] = (blocks_at + b) << s->cluster_bits;
            qcow2_table_dirty(&s->reftable, (uint32_t)(block + b));
        }
    }
    for (uint64_t b = 0; b < blocks; b++) {
        qcow2_meta_add(s, (blocks_at + b) << s->cluster_bits);
    }
    if (first) {
        *first = start;
    }
    return error;
}

/* ---- allocating ---- */

static int take(Qcow2 *s, uint64_t first, uint64_t nr, uint64_t slice_offset, uint8_t *slice,
                uint64_t index)
{
    int error =
        qcow2_check_overlap(s, first << s->cluster_bits, nr << s->cluster_bits, "a new cluster");
    if (error) {
        return error;
    }
    for (uint64_t i = 0; i < nr; i++) {
        qcow2_refcount_set_entry(slice, index + i, s->refcount_bits, 1);
    }
    mark_counts(s, slice_offset, slice, index, nr);
    s->file_end = MAX(s->file_end, (first + nr) << s->cluster_bits);
    return 0;
}

int qcow2_alloc(Qcow2 *s, uint64_t nr, uint64_t *first, uint64_t *got)
{
    block_event(s->node.file, "cluster_alloc");
    for (uint64_t cluster = s->free_hint;;) {
        uint8_t *slice;
        uint64_t slice_offset, index, per_slice;
        if (cluster >= 1ull << (56 - s->cluster_bits)) {
            return EFBIG;
        }
        int error = slice_of(s, cluster, &slice, &slice_offset, &index, &per_slice);
        if (!error && !slice) {
            error = cover(s, cluster >> s->refblock_bits, 0, NULL);
            if (!error) {
                continue;
            }
        }
        if (error) {
            return error;
        }
        uint64_t i = index;
        while (i < per_slice && qcow2_refcount_get_entry(slice, i, s->refcount_bits)) {
            i++;
        }
        cluster += i - index;
        s->free_hint = cluster;
        if (i == per_slice) {
            continue;
        }
        uint64_t run = 1;
        while (run < nr && i + run < per_slice &&
               !qcow2_refcount_get_entry(slice, i + run, s->refcount_bits)) {
            run++;
        }
        *first = cluster;
        *got = run;
        s->free_hint = cluster + run;
        return take(s, cluster, run, slice_offset, slice, i);
    }
}

static int give_count_one(Qcow2 *s, uint64_t first, uint64_t nr)
{
    for (uint64_t c = first; c < first + nr;) {
        uint8_t *slice;
        uint64_t slice_offset, index, per_slice;
        int error = slice_of(s, c, &slice, &slice_offset, &index, &per_slice);
        if (error) {
            return error;
        }
        assert(slice);
        uint64_t run = MIN(first + nr - c, per_slice - index);
        error = take(s, c, run, slice_offset, slice, index);
        if (error) {
            return error;
        }
        c += run;
    }
    return 0;
}

int qcow2_alloc_exactly(Qcow2 *s, uint64_t nr, uint64_t *first)
{
    uint64_t run = 0, cluster = s->free_hint;
    while (run < nr) {
        uint64_t block, count;
        int error = block_of(s, cluster, &block);
        if (error) {
            return error;
        }
        if (!block) { /* past the last block room can be had of any length */
            uint64_t b = cluster >> s->refblock_bits, next = b;
            while (next < s->reftable.nr && !s->reftable.entry[next]) {
                next++;
            }
            if (next >= s->reftable.nr) {
                return cover(s, b, nr, first);
            }
            run = 0;
            cluster = next << s->refblock_bits;
            continue;
        }
        error = qcow2_get_refcount(s, cluster, &count);
        if (error) {
            return error;
        }
        cluster++;
        run = count ? 0 : run + 1;
    }
    *first = cluster - nr;
    s->zero_from = MAX(s->zero_from, cluster << s->cluster_bits);
    int error = give_count_one(s, *first, nr);
    if (!error && *first == s->free_hint) {
        s->free_hint += nr;
    }
    return error;
}

int qcow2_alloc_bytes(Qcow2 *s, uint64_t len, uint64_t *offset)
{
    uint64_t next = s->compressed_next, old = cluster_of(s, next), count = 0;
    int error = next ? qcow2_get_refcount(s, old, &count) : 0;
    if (error) {
        return error;
    }
    bool usable = next && count && count < s->refcount_max;
    uint64_t left = s->cluster_size - in_cluster(s, next);
    block_event(s->node.file, "cluster_alloc_bytes");
    if (usable && left >= len) {
        *offset = next;
        error = qcow2_add_refs(s, old, 1, 1);
    } else {
        uint64_t fresh, got;
        error = qcow2_alloc(s, 1, &fresh, &got);
        if (error) {
            return error;
        }
        *offset = fresh << s->cluster_bits;
        if (usable && fresh == old + 1) { /* it may reach into the next cluster */
            *offset = next;
            error = qcow2_add_refs(s, old, 1, 1);
        }
    }
    uint64_t x = 62 - (s->cluster_bits - 8);
    if (!error && (*offset + len) >> x) {
        error = EFBIG;
    }
    s->compressed_next = error || !in_cluster(s, *offset + len) ? 0 : *offset + len;
    s->zero_from = MAX(s->zero_from, ROUND_UP(*offset + len, s->cluster_size));
    return error;
}

/* ---- changing ---- */

static void became_free(Qcow2 *s, uint64_t cluster)
{
    uint64_t offset = cluster << s->cluster_bits;
    s->free_hint = MIN(s->free_hint, cluster);
    qcow2_cache_forget(&s->l2_cache, offset, s->cluster_size);
    if (s->compressed_next && cluster_of(s, s->compressed_next) == cluster) {
        s->compressed_next = 0;
    }
}

int qcow2_add_refs(Qcow2 *s, uint64_t first, uint64_t nr, int delta)
{
    for (uint64_t c = first; c < first + nr;) {
        uint8_t *slice;
        uint64_t slice_offset, index, per_slice;
        int error = slice_of(s, c, &slice, &slice_offset, &index, &per_slice);
        if (error) {
            return error;
        }
        if (!slice) {
            return qcow2_corrupt(s, "cluster %" PRIu64 " is in use and has no refcount", c);
        }
        uint64_t run = MIN(first + nr - c, per_slice - index);
        for (uint64_t i = 0; i < run; i++, c++) {
            uint64_t count = qcow2_refcount_get_entry(slice, index + i, s->refcount_bits);
            if (delta < 0 && !count) {
                return qcow2_corrupt(s, "cluster %" PRIu64 " is in use and its refcount is 0", c);
            }
            if (delta > 0 && count == s->refcount_max) {
                return EOVERFLOW;
            }
            count += (uint64_t)(int64_t)delta;
            qcow2_refcount_set_entry(slice, index + i, s->refcount_bits, count);
            mark_counts(s, slice_offset, slice, index + i, 1);
            if (!count) {
                became_free(s, c);
            }
        }
    }
    return 0;
}

int qcow2_add_entry_refs(Qcow2 *s, uint64_t entry, int delta)
{
    if (entry & ENTRY_COMPRESSED) {
        uint64_t offset, len;
        compressed_span(s, entry, &offset, &len);
        uint64_t first = cluster_of(s, offset);
        return qcow2_add_refs(s, first, cluster_of(s, offset + len - 1) - first + 1, delta);
    }
    uint64_t offset = entry & ENTRY_OFFSET;
    return offset && !s->data_external ? qcow2_add_refs(s, cluster_of(s, offset), 1, delta) : 0;
}

/* ---- freeing ---- */

void qcow2_ranges_add(Qcow2Ranges *r, uint64_t first, uint64_t nr, bool data)
{
    if (r->nr) {
        Qcow2Range *last = &r->list[r->nr - 1];
        if (last->first + last->nr == first && last->data == data) {
            last->nr += nr;
            return;
        }
    }
    if (r->nr == r->room) {
        r->room = r->room ? r->room * 2 : 64;
        r->list = xrealloc(r->list, r->room * sizeof(*r->list));
    }
    r->list[r->nr++] = (Qcow2Range){ first, nr, data };
}

void qcow2_free_later(Qcow2 *s, uint64_t first, uint64_t nr, bool data)
{
    block_event(s->node.file, "cluster_free");
    qcow2_ranges_add(&s->pending, first, nr, data);
}

void qcow2_free_entry_later(Qcow2 *s, uint64_t entry)
{
    if (entry & ENTRY_COMPRESSED) {
        uint64_t offset, len;
        compressed_span(s, entry, &offset, &len);
        uint64_t first = cluster_of(s, offset);
        qcow2_free_later(s, first, cluster_of(s, offset + len - 1) - first + 1, false);
    } else if ((entry & ENTRY_OFFSET) && !s->data_external) {
        qcow2_free_later(s, cluster_of(s, entry & ENTRY_OFFSET), 1, true);
    }
}

/* Gives the host its space back before somebody else may have the cluster. */
static void pass_discard(Qcow2 *s, const Qcow2Range *r)
{
    if (!r->data || !s->node.file->flags.discard) {
        return;
    }
    for (uint64_t c = r->first; c < r->first + r->nr;) {
        uint64_t run = 0, count = 0;
        while (c + run < r->first + r->nr && !qcow2_get_refcount(s, c + run, &count) &&
               count == 1) {
            run++;
        }
        if (run) {
            pthread_mutex_unlock(&s->lock);
            (void)block_discard(s->node.file, c << s->cluster_bits, run << s->cluster_bits);
            pthread_mutex_lock(&s->lock);
        }
        c += MAX(run, 1u);
    }
}

void qcow2_release(Qcow2 *s, Qcow2Ranges *r)
{
    for (size_t i = 0; i < r->nr; i++) {
        pass_discard(s, &r->list[i]);
        /* Errors have been told (qcow2_corrupt), or leave a leak. */
        (void)qcow2_add_refs(s, r->list[i].first, r->list[i].nr, -1);
    }
}
