/* SPDX-License-Identifier: GPL-2.0-or-later
 * Checking an image: every reference is counted again and compared with the refcounts and COPIED
 * flags, and put right if that was asked for. Where the refcounts' own tables are damaged, they are
 * written anew at the end of the file.
 *
 * What has a count above its references is a leak; a COPIED flag that is missing costs a copy and
 * counts as a leak, too; everything else is a corruption.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

enum { CHUNK_BITS = 10, CHUNK = 1 << CHUNK_BITS, BITMAP_ENTRY = 24 };

/* Of one L2 table: how many snapshots' L1 tables name it, and the last L1 table that did. */
typedef struct Use {
    uint32_t nr, last;
} Use;

typedef struct Check {
    Qcow2 *s;
    BlockCheck *r;
    unsigned fix;
    uint32_t **chunk; /* counts of clusters; NULL: all 0 */
    uint64_t nr_chunks;
    uint64_t end;     /* clusters of the file, and one more */
    uint64_t highest; /* cluster that something refers to */
    uint64_t next_contiguous;
    bool rebuild;   /* the refcounts' tables cannot be used */
    bool active;    /* walking the active tables */
    uint8_t *table; /* an L2 table */
    Use **use;      /* of clusters, in chunks; NULL: none */
    uint64_t nr_use;
    uint32_t nr_l1;  /* L1 tables so far: their numbers in Use */
    uint32_t weight; /* references that what is counted now stands for */
    int error;
} Check;

/* ---- counting ---- */

static bool init(Check *c, Qcow2 *s, BlockCheck *r, unsigned fix)
{
    *c = (Check){ .s = s, .r = r, .fix = fix };
    c->end = clusters_for(s, s->file_end) + 1;
    c->nr_chunks = (c->end >> CHUNK_BITS) + 2;
    c->chunk = calloc(c->nr_chunks, sizeof(*c->chunk));
    c->table = malloc(s->cluster_size);
    c->nr_use = (c->end >> CHUNK_BITS) + 1;
    c->use = calloc(c->nr_use, sizeof(*c->use));
    c->weight = 1;
    return c->chunk && c->table && c->use;
}

static void fini(Check *c)
{
    for (uint64_t i = 0; c->chunk && i < c->nr_chunks; i++) {
        free(c->chunk[i]);
    }
    for (uint64_t i = 0; c->use && i < c->nr_use; i++) {
        free(c->use[i]);
    }
    free(c->use);
    free(c->chunk);
    free(c->table);
}

/* Of a cluster of the file; NULL: no memory. */
static Use *use_of(Check *c, uint64_t cluster)
{
    Use **chunk = &c->use[cluster >> CHUNK_BITS];
    if (!*chunk) {
        *chunk = calloc(CHUNK, sizeof(**chunk));
        c->error = *chunk ? c->error : ENOMEM;
    }
    return *chunk ? &(*chunk)[cluster & (CHUNK - 1)] : NULL;
}

static uint32_t counted(const Check *c, uint64_t cluster)
{
    uint64_t i = cluster >> CHUNK_BITS;
    return i < c->nr_chunks && c->chunk[i] ? c->chunk[i][cluster & (CHUNK - 1)] : 0;
}

static void set_count(Check *c, uint64_t cluster, uint32_t count)
{
    uint64_t i = cluster >> CHUNK_BITS;
    if (i >= c->nr_chunks) {
        uint64_t nr = i + i / 4 + 1;
        uint32_t **more = realloc(c->chunk, nr * sizeof(*more));
        if (!more) {
            c->error = ENOMEM;
            return;
        }
        memset(more + c->nr_chunks, 0, (nr - c->nr_chunks) * sizeof(*more));
        c->chunk = more;
        c->nr_chunks = nr;
    }
    if (!c->chunk[i]) {
        c->chunk[i] = calloc(CHUNK, sizeof(**c->chunk));
        if (!c->chunk[i]) {
            c->error = ENOMEM;
            return;
        }
    }
    c->chunk[i][cluster & (CHUNK - 1)] = count;
    c->highest = MAX(c->highest, cluster);
}

/* Something refers to these bytes of the file. False: they are not there. */
static bool count_range(Check *c, uint64_t offset, uint64_t len)
{
    const Qcow2 *s = c->s;
    if (!len) {
        return true;
    }
    if (offset >> 60 || len >> 60 || offset + len > s->file_end + s->cluster_size) {
        c->r->corruptions += c->weight;
        return false;
    }
    for (uint64_t i = cluster_of(s, offset); i <= cluster_of(s, offset + len - 1) && !c->error;
         i++) {
        uint32_t old = counted(c, i);
        set_count(c, i, old > UINT32_MAX - c->weight ? UINT32_MAX : old + c->weight);
    }
    return true;
}

static void count_fragments(Check *c, uint64_t entry)
{
    uint64_t offset = entry & ENTRY_OFFSET;
    if (!c->active) {
        return;
    }
    c->r->allocated_clusters++;
    if (entry & ENTRY_COMPRESSED) { /* in pieces by nature */
        c->r->compressed_clusters++;
        c->r->fragmented_clusters++;
        return;
    }
    c->r->fragmented_clusters += c->next_contiguous && offset != c->next_contiguous;
    c->next_contiguous = offset + c->s->cluster_size;
}

static void count_entry(Check *c, uint64_t entry)
{
    const Qcow2 *s = c->s;
    if (entry & ENTRY_COMPRESSED) {
        uint64_t offset, len;
        compressed_span(s, entry, &offset, &len);
        bool bad = (entry & ENTRY_COPIED) || s->data_external;
        c->r->corruptions += bad ? c->weight : 0;
        if (count_range(c, offset, len)) {
            count_fragments(c, entry);
        }
        return;
    }
    uint64_t offset = entry & ENTRY_OFFSET;
    if (!offset && !(s->data_external && (entry & ENTRY_COPIED))) {
        return;
    }
    if (in_cluster(s, offset)) {
        c->r->corruptions += c->weight;
    } else if (s->data_external || count_range(c, offset, s->cluster_size)) {
        count_fragments(c, entry);
    }
}

/* What an L2 table refers to, for so many L1 tables. */
static void count_table(Check *c, uint64_t offset, uint32_t weight)
{
    const Qcow2 *s = c->s;
    int error = block_pread(s->node.file, offset, c->table, s->cluster_size);
    c->error = c->error ? c->error : error;
    c->r->errors += error != 0;
    c->weight = weight;
    for (uint64_t at = 0; at < s->cluster_size && !c->error; at += s->entry_size) {
        uint64_t e = get64(c->table + at);
        if (e) {
            count_entry(c, e);
        }
    }
    c->weight = 1;
}

/* The snapshots' L2 tables are only noted: many snapshots share them, and a small file may hold
 * more snapshots than anyone wants to walk tables for. */
static void count_l1(Check *c, const Qcow2Table *l1, uint64_t offset, uint32_t nr)
{
    Qcow2 *s = c->s;
    if (nr && (in_cluster(s, offset) || !count_range(c, offset, (uint64_t)nr * 8))) {
        c->r->corruptions += in_cluster(s, offset) != 0;
        return;
    }
    uint32_t number = ++c->nr_l1;
    for (uint32_t i = 0; i < nr && !c->error; i++) {
        uint64_t table = l1->entry[i] & ENTRY_OFFSET;
        if (!table) {
            continue;
        }
        if (in_cluster(s, table) || !count_range(c, table, s->cluster_size)) {
            c->r->corruptions += in_cluster(s, table) != 0;
            continue;
        }
        Use *u = use_of(c, cluster_of(s, table));
        if (!u || u->last == number) { /* no L1 table refers to an L2 table twice */
            c->r->corruptions += u != NULL;
            continue;
        }
        u->last = number;
        if (c->active) {
            count_table(c, table, 1);
        } else {
            u->nr++;
        }
    }
}

/* What was noted, each table once. */
static void count_noted(Check *c)
{
    for (uint64_t i = 0; i < c->nr_use; i++) {
        for (unsigned k = 0; k < CHUNK && c->use[i] && !c->error; k++) {
            uint64_t cluster = (i << CHUNK_BITS) + k;
            if (c->use[i][k].nr) {
                count_table(c, cluster << c->s->cluster_bits, c->use[i][k].nr);
            }
        }
    }
}

/* Does a snapshot's L1 table lie in the file? */
static bool has_l1(const Qcow2 *s, const Qcow2Snapshot *sn)
{
    return !in_cluster(s, sn->l1_offset) && sn->l1_size <= MAX_L1_BYTES / 8 &&
           sn->l1_offset <= s->file_end &&
           (uint64_t)sn->l1_size * 8 <= s->file_end + s->cluster_size - sn->l1_offset;
}

/* False: the snapshots' L1 tables are more than there is room for, so they overlap: a small file
 * could have ever so many to walk. */
static bool tables_fit(const Qcow2 *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->nr_snapshots; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        sum += has_l1(s, sn) ? clusters_for(s, (uint64_t)sn->l1_size * 8) : 0;
    }
    return sum <= clusters_for(s, s->file_end) + 16; /* the file's last cluster may be short */
}

static void count_snapshots(Check *c)
{
    Qcow2 *s = c->s;
    if (s->nr_snapshots) {
        (void)count_range(c, s->h.snapshots_offset, s->snapshots_size);
    }
    for (size_t i = 0; i < s->nr_snapshots && !c->error; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        Qcow2Table l1;
        if (!has_l1(s, sn)) {
            c->r->corruptions++;
            continue;
        }
        if (!qcow2_table_alloc(&l1, sn->l1_size)) {
            c->error = ENOMEM;
            return;
        }
        l1.offset = sn->l1_offset;
        c->error = qcow2_table_read(s, &l1);
        count_l1(c, &l1, sn->l1_offset, sn->l1_size);
        qcow2_table_free(&l1);
    }
}

/* room: clusters of the file that no bitmap's table has had: a few that overlap would take ever so
 * long. */
static void count_bitmap(Check *c, uint64_t offset, uint32_t nr, uint64_t *room)
{
    Qcow2 *s = c->s;
    uint64_t bytes = (uint64_t)nr * 8, clusters = clusters_for(s, bytes);
    bool bad = bytes > 8 * MiB || in_cluster(s, offset) || clusters > *room;
    if (bad || !count_range(c, offset, bytes)) {
        c->r->corruptions += bad;
        return;
    }
    *room -= clusters;
    Qcow2Table t;
    if (!qcow2_table_alloc(&t, nr)) {
        c->error = ENOMEM;
        return;
    }
    t.offset = offset;
    c->error = qcow2_table_read(s, &t);
    for (uint32_t i = 0; i < nr && !c->error; i++) {
        if (t.entry[i] & ENTRY_OFFSET) {
            (void)count_range(c, t.entry[i] & ENTRY_OFFSET, s->cluster_size);
        }
    }
    qcow2_table_free(&t);
}

static void count_bitmaps(Check *c)
{
    Qcow2 *s = c->s;
    if (!s->bitmaps.nr || !count_range(c, s->bitmaps.offset, s->bitmaps.size)) {
        return;
    }
    uint8_t *dir = malloc(s->bitmaps.size);
    int error = dir ? block_pread(s->node.file, s->bitmaps.offset, dir, s->bitmaps.size) : ENOMEM;
    uint64_t at = 0, room = c->end + 16; /* a short last cluster or two is no harm */
    for (uint32_t i = 0; i < s->bitmaps.nr && !error; i++) {
        if (s->bitmaps.size - at < BITMAP_ENTRY) {
            c->r->corruptions++;
            break;
        }
        const uint8_t *p = dir + at;
        uint64_t len = ROUND_UP(BITMAP_ENTRY + (uint64_t)get16(p + 18) + get32(p + 20), 8);
        count_bitmap(c, get64(p), get32(p + 8), &room);
        if (len > s->bitmaps.size - at) {
            c->r->corruptions += i + 1 < s->bitmaps.nr;
            break;
        }
        at += len;
    }
    c->error = c->error ? c->error : error;
    free(dir);
}

/* The refcounts' own tables. */
static void count_refblocks(Check *c)
{
    Qcow2 *s = c->s;
    (void)count_range(c, s->h.reftable_offset, (uint64_t)s->h.reftable_clusters << s->cluster_bits);
    for (uint32_t i = 0; i < s->reftable.nr && !c->error; i++) {
        uint64_t e = s->reftable.entry[i];
        if (!e) {
            continue;
        }
        if (in_cluster(s, e)) {
            c->r->corruptions++;
            c->rebuild = true;
        } else if (!count_range(c, e, s->cluster_size)) {
            c->rebuild = true;
        }
    }
    for (uint32_t i = 0; i < s->reftable.nr && !c->error; i++) {
        uint64_t e = s->reftable.entry[i];
        if (e && !in_cluster(s, e) && counted(c, cluster_of(s, e)) > 1) {
            c->r->corruptions++;
            c->rebuild = true;
        }
    }
    for (uint32_t i = 0; i < s->h.reftable_clusters; i++) {
        c->rebuild |= counted(c, cluster_of(s, s->h.reftable_offset) + i) > 1;
    }
}

static void count_all(Check *c)
{
    Qcow2 *s = c->s;
    (void)count_range(c, 0, s->cluster_size);
    c->active = true;
    count_l1(c, &s->l1, s->h.l1_offset, s->h.l1_size);
    c->active = false;
    count_snapshots(c);
    count_noted(c);
    count_bitmaps(c);
}

/* ---- comparing ---- */

/* One cluster's count; it is put right in the slice if it may be. */
static bool compare_one(Check *c, uint64_t is, uint64_t want)
{
    if (is == want) {
        return false;
    }
    bool leak = is > want;
    if (c->fix & (leak ? BLOCK_FIX_LEAKS : BLOCK_FIX_ERRORS)) {
        c->r->leaks_fixed += leak;
        c->r->corruptions_fixed += !leak;
        return true;
    }
    c->r->leaks += leak;
    c->r->corruptions += !leak;
    return false;
}

/* Neither counted nor referred to: 64 clusters. */
static bool nothing_there(const Check *c, uint64_t first, const uint8_t *counts)
{
    size_t len = 8 * c->s->refcount_bits;
    uint64_t chunk = first >> CHUNK_BITS;
    return (chunk >= c->nr_chunks || !c->chunk[chunk]) && !counts[0] &&
           !memcmp(counts, counts + 1, len - 1);
}

static bool compare_block(Check *c, uint64_t block, uint64_t offset)
{
    Qcow2 *s = c->s;
    uint64_t per_block = 1ull << s->refblock_bits, first = block << s->refblock_bits;
    int error = block_pread(s->node.file, offset, c->table, s->cluster_size);
    bool changed = false;
    c->error = c->error ? c->error : error;
    for (uint64_t i = 0; i < per_block && !error && !c->error; i++) {
        if (i % 64 == 0 && nothing_there(c, first + i, c->table + i * s->refcount_bits / 8)) {
            i += 63;
            continue;
        }
        uint64_t is = qcow2_refcount_get_entry(c->table, i, s->refcount_bits);
        uint64_t want = counted(c, first + i);
        if (is && first + i > c->highest) {
            c->highest = first + i;
        }
        if (want <= s->refcount_max && compare_one(c, is, want)) {
            qcow2_refcount_set_entry(c->table, i, s->refcount_bits, want);
            changed = true;
        }
    }
    if (changed && !c->error) {
        qcow2_cache_forget(&s->refcount_cache, offset, s->cluster_size);
        c->error = block_pwrite(s->node.file, offset, c->table, s->cluster_size);
    }
    return changed;
}

/* Clusters in use that no block counts. */
static void compare_uncovered(Check *c)
{
    const Qcow2 *s = c->s;
    for (uint64_t i = 0; i < c->nr_chunks; i++) {
        for (unsigned k = 0; k < CHUNK && c->chunk[i]; k++) {
            uint64_t cluster = (i << CHUNK_BITS) + k, block = cluster >> s->refblock_bits;
            bool covered = block < s->reftable.nr && s->reftable.entry[block] &&
                           !in_cluster(s, s->reftable.entry[block]);
            if (c->chunk[i][k] && !covered) {
                c->r->corruptions++;
                c->rebuild = true;
            }
        }
    }
}

static void compare_all(Check *c)
{
    Qcow2 *s = c->s;
    for (uint32_t i = 0; i < s->reftable.nr && !c->error; i++) {
        uint64_t e = s->reftable.entry[i];
        if (e && !in_cluster(s, e) && e < s->file_end) {
            (void)compare_block(c, i, e);
        }
    }
    s->free_hint = 0;
}

/* ---- COPIED flags ---- */

static bool flag_differs(Check *c, uint64_t entry, bool *missing)
{
    uint64_t count = 0; /* as the image says, by now */
    int error = qcow2_get_refcount(c->s, cluster_of(c->s, entry & ENTRY_OFFSET), &count);
    bool has = entry & ENTRY_COPIED;
    c->error = c->error ? c->error : error == EIO ? 0 : error;
    *missing = !has;
    return has != (count == 1);
}

/* Counts a wrong flag; true if it is to be put right. */
static bool fix_flag(Check *c, bool missing)
{
    if (c->fix & (missing ? BLOCK_FIX_LEAKS : BLOCK_FIX_ERRORS)) {
        c->r->leaks_fixed += missing;
        c->r->corruptions_fixed += !missing;
        return true;
    }
    c->r->leaks += missing;
    c->r->corruptions += !missing;
    return false;
}

static void check_table_flags(Check *c, uint64_t offset)
{
    Qcow2 *s = c->s;
    bool changed = false, missing;
    int error = block_pread(s->node.file, offset, c->table, s->cluster_size);
    c->error = c->error ? c->error : error;
    for (uint64_t at = 0; at < s->cluster_size && !c->error; at += s->entry_size) {
        uint64_t e = get64(c->table + at);
        if ((e & ENTRY_COMPRESSED) ? !(e & ENTRY_COPIED)
                                   : !(e & ENTRY_OFFSET) || in_cluster(s, e & ENTRY_OFFSET)) {
            continue;
        }
        bool differs = e & ENTRY_COMPRESSED ? true : flag_differs(c, e, &missing);
        if (e & ENTRY_COMPRESSED) { /* counted already */
            changed |= (c->fix & BLOCK_FIX_ERRORS) != 0;
            c->r->corruptions -= (c->fix & BLOCK_FIX_ERRORS) != 0;
            c->r->corruptions_fixed += (c->fix & BLOCK_FIX_ERRORS) != 0;
            put64(c->table + at, c->fix & BLOCK_FIX_ERRORS ? e & ~ENTRY_COPIED : e);
        } else if (differs && fix_flag(c, missing)) {
            put64(c->table + at, e ^ ENTRY_COPIED);
            changed = true;
        }
    }
    if (changed && !c->error) {
        qcow2_cache_forget(&s->l2_cache, offset, s->cluster_size);
        c->error = block_pwrite(s->node.file, offset, c->table, s->cluster_size);
    }
}

static void check_flags(Check *c)
{
    Qcow2 *s = c->s;
    uint32_t number = ++c->nr_l1;
    for (uint32_t i = 0; i < s->l1.nr && !c->error; i++) {
        uint64_t e = s->l1.entry[i], offset = e & ENTRY_OFFSET;
        bool missing;
        if (!offset || in_cluster(s, offset) || offset >= s->file_end) {
            continue;
        }
        if (flag_differs(c, e, &missing) && fix_flag(c, missing)) {
            s->l1.entry[i] ^= ENTRY_COPIED;
            qcow2_table_dirty(&s->l1, i);
        }
        uint64_t cluster = cluster_of(s, offset);
        Use *u = cluster < c->end ? use_of(c, cluster) : NULL;
        if (!s->data_external && u && u->last != number) {
            u->last = number;
            check_table_flags(c, offset);
        }
    }
}

/* ---- refcounts written anew ---- */

static int write_new_blocks(Check *c, Qcow2Table *fresh, unsigned bits, uint64_t first_block)
{
    Qcow2 *s = c->s;
    uint64_t per_block = s->cluster_size * 8 / bits, at = first_block;
    uint64_t max = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
    int error = 0;
    for (uint64_t b = 0; b <= c->highest / per_block && !error; b++) {
        bool any = false;
        memset(c->table, 0, s->cluster_size);
        for (uint64_t i = 0; i < per_block && b * per_block + i <= c->highest; i++) {
            uint32_t count = counted(c, b * per_block + i);
            any |= count != 0;
            if (count > max) {
                return EOVERFLOW;
            }
            qcow2_refcount_set_entry(c->table, i, bits, count);
        }
        if (any) {
            fresh->entry[b] = at++ << s->cluster_bits;
            error = block_pwrite(s->node.file, fresh->entry[b], c->table, s->cluster_size);
        }
    }
    return error;
}

/* All counts but those of the refcounts' own tables are known. */
static int rebuild(Check *c, unsigned order)
{
    Qcow2 *s = c->s;
    unsigned bits = 1u << order;
    uint64_t per_block = s->cluster_size * 8 / bits;
    uint64_t start = MAX(c->highest + 1, clusters_for(s, s->file_end)), blocks = 1, table = 1;
    for (;;) {
        uint64_t end = start + blocks + table;
        uint64_t want_blocks = (end + per_block - 1) / per_block;
        uint64_t want_table = clusters_for(s, want_blocks * 8);
        if (want_blocks <= blocks && want_table <= table) {
            break;
        }
        blocks = MAX(blocks, want_blocks);
        table = MAX(table, want_table);
    }
    Qcow2Table fresh;
    if (table << s->cluster_bits > MAX_REFTABLE_BYTES) {
        return EFBIG;
    }
    if (!qcow2_table_alloc(&fresh, (uint32_t)(table << (s->cluster_bits - 3)))) {
        return ENOMEM;
    }
    /* As many blocks as turn out to be needed: ranges in which nothing is used have none. */
    for (uint64_t i = 0; i < blocks + table; i++) {
        set_count(c, start + i, 1);
    }
    fresh.offset = (start + blocks) << s->cluster_bits;
    int error = c->error ? c->error : write_new_blocks(c, &fresh, bits, start);
    error = error ? error : qcow2_table_write(s, &fresh);
    error = error ? error : block_flush(s->node.file);
    if (!error) {
        Qcow2Header old = s->h;
        s->h.reftable_offset = fresh.offset;
        s->h.reftable_clusters = (uint32_t)table;
        s->h.refcount_order = order;
        error = qcow2_change_fields(s, &old);
    }
    if (error) {
        qcow2_table_free(&fresh);
        return error;
    }
    Qcow2Cache cache;
    if (qcow2_cache_init(&cache, "refcount",
                         (uint64_t)s->refcount_cache.max * s->refcount_cache.slice_size,
                         s->refcount_cache.slice_size)) {
        qcow2_cache_fini(&s->refcount_cache);
        s->refcount_cache = cache;
    }
    qcow2_table_free(&s->reftable);
    s->reftable = fresh;
    s->refcount_bits = bits;
    s->refblock_bits = s->cluster_bits + 3 - order;
    s->refcount_max = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
    s->file_end = MAX(s->file_end, (start + blocks + table) << s->cluster_bits);
    s->zero_from = MAX(s->zero_from, s->file_end);
    s->free_hint = s->compressed_next = 0;
    return 0;
}

bool qcow2_rebuild_refcounts(Qcow2 *s, unsigned refcount_order, Error **errp)
{
    Check c;
    BlockCheck r = { 0 };
    bool ok = init(&c, s, &r, 0);
    c.error = ok ? qcow2_flush_locked(s) : ENOMEM;
    if (!c.error) {
        count_all(&c);
        c.error = r.corruptions ? EINVAL : c.error;
    }
    c.error = c.error ? c.error : rebuild(&c, refcount_order);
    fini(&c);
    if (!c.error && !qcow2_meta_rebuild(s)) {
        c.error = ENOMEM;
    }
    if (c.error == EOVERFLOW) {
        return error_set(errp, "refcount_bits=%u: '%s' has clusters with more references",
                         1u << refcount_order, s->node.filename);
    }
    return !c.error || error_set_errno(errp, c.error,
                                       "the refcounts of '%s' cannot be written anew "
                                       "(does vireo-img check find errors?)",
                                       s->node.filename);
}

/* ---- all of it ---- */

/* The counts without the refcounts' own tables, and new ones. */
static void repair_by_rebuilding(Check *c)
{
    Qcow2 *s = c->s;
    Check again;
    BlockCheck ignored = { 0 };
    if (!init(&again, s, &ignored, 0)) {
        c->error = ENOMEM;
        return;
    }
    count_all(&again);
    c->error = again.error ? again.error : rebuild(&again, s->h.refcount_order);
    fini(&again);
}

static void run(Check *c)
{
    Qcow2 *s = c->s;
    count_all(c);
    uint64_t bad_elsewhere = c->r->corruptions;
    count_refblocks(c);
    compare_uncovered(c);
    bool fix_errors = c->fix & BLOCK_FIX_ERRORS;
    if (c->rebuild && fix_errors && !c->error) {
        c->r->corruptions_fixed += c->r->corruptions - bad_elsewhere;
        c->r->corruptions = bad_elsewhere;
        repair_by_rebuilding(c);
        /* From here on against the new tables. */
        BlockCheck *r = c->r;
        unsigned fix = c->fix;
        int error = c->error;
        BlockCheck scratch = *r;
        fini(c);
        if (!init(c, s, &scratch, fix)) {
            c->error = ENOMEM;
            c->r = r;
            return;
        }
        count_all(c);
        count_refblocks(c);
        c->r = r;
        c->error = error ? error : c->error;
        c->rebuild = false;
    }
    if (!c->error) {
        compare_all(c);
        check_flags(c);
    }
}

bool qcow2_check(BlockNode *n, unsigned fix, BlockCheck *result, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    Check c;
    *result = (BlockCheck){ .total_clusters = clusters_for(s, n->size) };
    if (fix && n->readonly) {
        return error_set(errp, "'%s' is open read-only", n->filename);
    }
    if (!tables_fit(s)) {
        return error_set(errp,
                         "'%s' cannot be checked: its snapshots overlap; delete them one by one "
                         "(vireo-img snapshot -d), or convert the image",
                         n->filename);
    }
    pthread_mutex_lock(&s->lock);
    bool ok = init(&c, s, result, fix);
    c.error = ok ? 0 : ENOMEM;
    if (!c.error && !n->readonly && s->write_begun) {
        bool lazy = s->dirty_marked;
        s->dirty_marked = false; /* the counts, too */
        c.error = qcow2_flush_locked(s);
        c.error = c.error ? c.error : qcow2_flush_locked(s);
        s->dirty_marked = lazy;
    }
    if (!c.error) {
        run(&c);
    }
    result->image_end_offset = (c.highest + 1) << s->cluster_bits;
    int error = c.error;
    bool wrote = result->corruptions_fixed || result->leaks_fixed;
    fini(&c);
    uint64_t marks = s->h.incompatible & (INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
    if (!error && fix && (wrote || marks)) {
        error = qcow2_flush_locked(s);
        error = error || qcow2_meta_rebuild(s) ? error : ENOMEM;
        if (!error && marks && !result->corruptions) {
            s->h.incompatible &= ~(uint64_t)(INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
            error = qcow2_write_fields(s);
            error = error ? error : block_flush(n->file);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return !error || error_set_errno(errp, error, "'%s' cannot be checked", n->filename);
}
