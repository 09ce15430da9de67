/* SPDX-License-Identifier: GPL-2.0-or-later
 * From guest offsets to places in the file: L1 and L2 tables (QCOW2: Cluster mapping, Extended L2
 * Entries). With standard entries a cluster is treated as one subcluster.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

/* ---- reading tables ---- */

int qcow2_l2_find(Qcow2 *s, uint64_t guest, bool may_drop, uint8_t **at, uint64_t *left,
                  uint64_t *slice_offset)
{
    uint64_t l1_index = guest >> (s->cluster_bits + s->l2_bits);
    uint64_t index = cluster_of(s, guest) & ((1ull << s->l2_bits) - 1);
    uint64_t table = l1_index < s->l1.nr ? s->l1.entry[l1_index] & ENTRY_OFFSET : 0;
    *at = NULL;
    *left = (1ull << s->l2_bits) - index;
    if (!table) {
        return 0;
    }
    if (in_cluster(s, table) || table >= s->file_end) {
        return qcow2_corrupt(s, "L1 entry %" PRIu64 " is 0x%" PRIx64, l1_index,
                             s->l1.entry[l1_index]);
    }
    uint64_t nr = s->l2_cache.slice_size / s->entry_size;
    *slice_offset = table + index / nr * s->l2_cache.slice_size;
    int error = qcow2_cache_get(s, &s->l2_cache, *slice_offset, may_drop, at);
    if (!error) {
        *at += index % nr * s->entry_size;
        *left = nr - index % nr;
    }
    return error;
}

Qcow2Entry qcow2_entry_read(const Qcow2 *s, const uint8_t *at)
{
    return (Qcow2Entry){ get64(at), s->extl2 ? get64(at + 8) : 0 };
}

void qcow2_entry_write(Qcow2 *s, uint64_t slice_offset, uint8_t *at, Qcow2Entry e)
{
    put64(at, e.e);
    if (s->extl2) {
        put64(at + 8, e.bitmap);
    }
    qcow2_cache_dirty(&s->l2_cache, slice_offset, at, s->entry_size);
}

bool qcow2_nothing_behind(const Qcow2 *s, uint64_t guest)
{
    return s->data_raw || !s->node.backing || guest >= s->node.backing->size;
}

static int check_entry(Qcow2 *s, uint64_t guest, const Qcow2Entry *e)
{
    const char *bad = NULL;
    if (e->e & ENTRY_COMPRESSED) {
        bad = s->data_external ? "compressed in an external data file" : NULL;
    } else if (in_cluster(s, e->e & ENTRY_OFFSET)) {
        bad = "not at a cluster's begin";
    } else if (s->extl2 && (e->bitmap >> 32 & e->bitmap & UINT32_MAX)) {
        bad = "a subcluster with data and zeroes";
    } else if (s->extl2 && (e->bitmap & UINT32_MAX) && !(e->e & ENTRY_OFFSET) &&
               !(s->data_external && (e->e & ENTRY_COPIED))) {
        bad = "subclusters with data and no place for it";
    } else if (!s->extl2 && (e->e & ENTRY_ZERO) && s->h.version == 2) {
        bad = "a zero flag in version 2";
    } else if (s->data_external && (e->e & ENTRY_OFFSET) &&
               (e->e & ENTRY_OFFSET) != guest - in_cluster(s, guest)) {
        bad = "another place than the guest's in an external data file";
    }
    return bad ? qcow2_corrupt(s, "L2 entry 0x%" PRIx64 " of guest offset 0x%" PRIx64 ": %s", e->e,
                               guest, bad)
               : 0;
}

/* The kind of one subcluster. */
static Qcow2Run classify(const Qcow2 *s, const Qcow2Entry *e, unsigned sub)
{
    Qcow2Run r = { .kind = KIND_UNALLOCATED };
    if (e->e & ENTRY_COMPRESSED) {
        r.kind = KIND_COMPRESSED;
        r.entry = e->e;
        return r;
    }
    bool copied = e->e & ENTRY_COPIED;
    r.host = e->e & ENTRY_OFFSET;
    r.has_host = r.host || (s->data_external && copied); /* offset 0 is a place there */
    if (s->extl2) {
        r.kind = e->bitmap >> sub & 1          ? KIND_DATA
                 : e->bitmap >> (32 + sub) & 1 ? KIND_ZERO
                                               : KIND_UNALLOCATED;
    } else {
        r.kind = e->e & ENTRY_ZERO ? KIND_ZERO : r.has_host ? KIND_DATA : KIND_UNALLOCATED;
    }
    r.in_place = r.has_host && (copied || s->data_external);
    return r;
}

static bool goes_on(const Qcow2Run *a, const Qcow2Run *b, uint64_t distance)
{
    return a->kind == b->kind && a->kind != KIND_COMPRESSED && a->has_host == b->has_host &&
           a->in_place == b->in_place && (!a->has_host || a->host + distance == b->host);
}

int qcow2_lookup(Qcow2 *s, uint64_t offset, uint64_t len, Qcow2Run *run)
{
    uint8_t *at;
    uint64_t left, slice_offset;
    int error = qcow2_l2_find(s, offset, true, &at, &left, &slice_offset);
    if (error) {
        return error;
    }
    len = MIN(len, (left << s->cluster_bits) - in_cluster(s, offset));
    if (!at) {
        *run = (Qcow2Run){ .kind = KIND_UNALLOCATED, .len = len };
        return 0;
    }
    Qcow2Entry e = qcow2_entry_read(s, at);
    error = check_entry(s, offset, &e);
    if (error) {
        return error;
    }
    unsigned sub = (unsigned)(in_cluster(s, offset) / s->sub_size);
    *run = classify(s, &e, sub);
    uint64_t done = s->sub_size - offset % s->sub_size; /* bytes from offset on that are alike */
    uint64_t cluster_start = offset - in_cluster(s, offset);
    while (done < len) {
        if (++sub == s->nr_sub) {
            sub = 0;
            at += s->entry_size;
            cluster_start += s->cluster_size;
            e = qcow2_entry_read(s, at);
            if (check_entry(s, cluster_start, &e)) {
                break; /* told when its turn comes, as an error then */
            }
        }
        Qcow2Run next = classify(s, &e, sub);
        uint64_t distance = cluster_start - (offset - in_cluster(s, offset));
        bool same =
            run->kind == KIND_COMPRESSED ? cluster_start <= offset : goes_on(run, &next, distance);
        if (!same) {
            break;
        }
        done += s->sub_size;
    }
    run->host += run->has_host ? in_cluster(s, offset) : 0;
    run->len = MIN(done, len);
    return 0;
}

bool qcow2_lookup_cached(Qcow2 *s, uint64_t offset, uint64_t len, Qcow2Run *run)
{
    uint64_t cluster = cluster_of(s, offset), l1_index = cluster >> s->l2_bits;
    uint64_t index = cluster & ((1ull << s->l2_bits) - 1);
    uint64_t table = l1_index < s->l1.nr ? s->l1.entry[l1_index] & ENTRY_OFFSET : 0;
    uint64_t nr = s->l2_cache.slice_size / s->entry_size;
    return table && !in_cluster(s, table) &&
           qcow2_cache_has(&s->l2_cache, table + index / nr * s->l2_cache.slice_size) &&
           !qcow2_lookup(s, offset, len, run);
}

/* ---- changing tables ---- */

/* A table of its own for an L1 entry that has none, or one shared with a snapshot. */
static int make_l2_table(Qcow2 *s, uint64_t l1_index)
{
    uint64_t old = s->l1.entry[l1_index] & ENTRY_OFFSET, cluster;
    uint8_t *buf = calloc(1, s->cluster_size);
    int error = buf ? 0 : ENOMEM;
    if (!error && old) {
        block_event(s->node.file, "l2_alloc_cow_read");
        error = block_pread(s->node.file, old, buf, s->cluster_size);
    }
    error = error ? error : qcow2_alloc_exactly(s, 1, &cluster);
    if (error) {
        free(buf);
        return error;
    }
    uint64_t offset = cluster << s->cluster_bits;
    qcow2_cache_forget(&s->l2_cache, offset, s->cluster_size);
    block_event(s->node.file, "l2_alloc_write");
    error = block_pwrite(s->node.file, offset, buf, s->cluster_size);
    free(buf);
    if (error) {
        (void)qcow2_add_refs(s, cluster, 1, -1);
        return error;
    }
    s->l1.entry[l1_index] = offset | ENTRY_COPIED;
    qcow2_table_dirty(&s->l1, (uint32_t)l1_index);
    qcow2_meta_add(s, offset);
    if (old) {
        qcow2_free_later(s, cluster_of(s, old), 1, false);
    }
    return 0;
}

int qcow2_l2_find_writable(Qcow2 *s, uint64_t guest, bool may_drop, uint8_t **at, uint64_t *left,
                           uint64_t *slice_offset)
{
    uint64_t l1_index = guest >> (s->cluster_bits + s->l2_bits);
    assert(l1_index < s->l1.nr);
    uint64_t e = s->l1.entry[l1_index];
    if (!(e & ENTRY_OFFSET) || !(e & ENTRY_COPIED)) {
        if ((e & ENTRY_OFFSET) &&
            (in_cluster(s, e & ENTRY_OFFSET) || (e & ENTRY_OFFSET) >= s->file_end)) {
            qcow2_corrupt(s, "L1 entry %" PRIu64 " is 0x%" PRIx64, l1_index, e);
            return EIO;
        }
        int error = make_l2_table(s, l1_index);
        if (error) {
            return error;
        }
    }
    int error = qcow2_l2_find(s, guest, may_drop, at, left, slice_offset);
    assert(error || *at);
    return error;
}

int qcow2_claim(Qcow2 *s, Qcow2Claim *c, uint64_t first, uint64_t last)
{
    list_for_each(pos, &s->claims) {
        Qcow2Claim *other = container_of(pos, Qcow2Claim, list);
        if (first <= other->last && other->first <= last) {
            pthread_cond_wait(&s->changed, &s->lock);
            return EAGAIN;
        }
    }
    c->first = first;
    c->last = last;
    list_insert(&s->claims, &c->list);
    return 0;
}

void qcow2_unclaim(Qcow2 *s, Qcow2Claim *c)
{
    list_remove(&c->list);
    pthread_cond_broadcast(&s->changed);
}

static void clear_entry(Qcow2 *s, uint64_t guest, uint64_t slice_offset, uint8_t *at, bool unmap,
                        bool fall_through)
{
    Qcow2Entry old = qcow2_entry_read(s, at), e = { 0, 0 };
    bool compressed = old.e & ENTRY_COMPRESSED;
    bool empty =
        !compressed && !(old.e & ~ENTRY_COPIED) && !old.bitmap && !(s->data_external && old.e);
    bool keep =
        !fall_through && !compressed && (old.e & ENTRY_COPIED) && (!unmap || s->data_external);
    if (empty && (fall_through || qcow2_nothing_behind(s, guest))) {
        return;
    }
    if (keep) {
        e.e = old.e & (ENTRY_OFFSET | ENTRY_COPIED);
    }
    if (!fall_through && s->h.version == 3) {
        e.bitmap = s->extl2 ? (uint64_t)UINT32_MAX << 32 : 0;
        e.e |= s->extl2 ? 0 : ENTRY_ZERO;
    } else {
        e.e = 0;
        keep = false;
    }
    if (old.e == e.e && old.bitmap == e.bitmap) {
        return;
    }
    qcow2_entry_write(s, slice_offset, at, e);
    if (!keep) {
        qcow2_free_entry_later(s, old.e);
    }
}

int qcow2_clear_clusters(Qcow2 *s, uint64_t first, uint64_t nr, bool unmap, bool fall_through)
{
    for (uint64_t c = first; c < first + nr;) {
        uint64_t guest = c << s->cluster_bits, left, slice_offset;
        uint64_t l1_index = guest >> (s->cluster_bits + s->l2_bits);
        bool none = l1_index >= s->l1.nr || !(s->l1.entry[l1_index] & ENTRY_OFFSET);
        if (none && (fall_through || qcow2_nothing_behind(s, guest))) {
            c = (c >> s->l2_bits << s->l2_bits) + (1ull << s->l2_bits);
            continue;
        }
        uint8_t *at;
        int error = qcow2_l2_find_writable(s, guest, true, &at, &left, &slice_offset);
        if (error == EAGAIN) {
            continue;
        }
        if (error) {
            return error;
        }
        for (; left && c < first + nr; left--, c++, at += s->entry_size) {
            Qcow2Entry e = qcow2_entry_read(s, at);
            error = check_entry(s, c << s->cluster_bits, &e);
            if (error) {
                return error;
            }
            clear_entry(s, c << s->cluster_bits, slice_offset, at, unmap, fall_through);
        }
    }
    return 0;
}

/* ---- the L1 table as a whole ---- */

int qcow2_place_l1(Qcow2 *s, Qcow2Table *fresh)
{
    uint64_t cluster;
    int error;
    uint64_t nr = MAX(clusters_for(s, (uint64_t)fresh->nr * 8), 1u);
    do {
        error = qcow2_alloc_exactly(s, nr, &cluster);
    } while (error == EAGAIN);
    if (error) {
        return error;
    }
    fresh->offset = cluster << s->cluster_bits;
    do {
        error = qcow2_flush_locked(s);
    } while (!error && (s->l1.nr_dirty || s->l2_cache.nr_dirty));
    if (error) {
        (void)qcow2_add_refs(s, cluster, nr, -1);
    }
    return error;
}

int qcow2_switch_l1(Qcow2 *s, Qcow2Table *fresh, uint64_t size)
{
    Qcow2Header old = s->h;
    block_event(s->node.file, "l1_grow_write_table");
    int error = qcow2_table_write(s, fresh);
    error = error ? error : block_flush(s->node.file);
    if (error) {
        (void)qcow2_add_refs(s, cluster_of(s, fresh->offset),
                             MAX(clusters_for(s, (uint64_t)fresh->nr * 8), 1u), -1);
    } else {
        s->h.l1_offset = fresh->offset;
        s->h.l1_size = fresh->nr;
        s->h.size = size;
        block_event(s->node.file, "l1_grow_activate_table");
        error = qcow2_change_fields(s, &old);
    }
    if (error) {
        qcow2_table_free(fresh);
        return error;
    }
    qcow2_table_free(&s->l1);
    s->l1 = *fresh;
    if (!qcow2_meta_rebuild(s)) {
        return ENOMEM;
    }
    uint64_t nr = clusters_for(s, (uint64_t)old.l1_size * 8);
    return old.l1_offset ? qcow2_add_refs(s, cluster_of(s, old.l1_offset), nr, -1) : 0;
}

int qcow2_grow_l1(Qcow2 *s, uint64_t nr)
{
    if (nr <= s->l1.nr) {
        return 0;
    }
    if (nr * 8 > MAX_L1_BYTES) {
        return EFBIG;
    }
    Qcow2Table fresh;
    if (!qcow2_table_alloc(&fresh, (uint32_t)nr)) {
        return ENOMEM;
    }
    block_event(s->node.file, "l1_grow_alloc_table");
    int error = qcow2_place_l1(s, &fresh);
    if (error) {
        qcow2_table_free(&fresh);
        return error;
    }
    memcpy(fresh.entry, s->l1.entry, (size_t)s->l1.nr * 8);
    return qcow2_switch_l1(s, &fresh, s->h.size);
}

/* ---- preallocation ---- */

/* The file has room for all clusters that are in use before an entry names one: an entry that
 * points behind its end is an error, and this may stop halfway. */
static bool extend_file(Qcow2 *s, const char *how, Error **errp)
{
    BlockNode *f = s->node.file;
    return f->size >= s->file_end ||
           block_resize(f, s->file_end, strcmp(how, "falloc") ? "off" : how, errp);
}

int qcow2_preallocate_range(Qcow2 *s, uint64_t offset, uint64_t len, const char *how, Error **errp)
{
    for (uint64_t c = cluster_of(s, offset),
                  end = cluster_of(s, offset) + clusters_for(s, in_cluster(s, offset) + len);
         c < end;) {
        uint8_t *at;
        uint64_t left, slice_offset, first, got, guest = c << s->cluster_bits;
        int error = qcow2_l2_find_writable(s, guest, true, &at, &left, &slice_offset);
        if (error == EAGAIN) {
            continue;
        }
        if (error) {
            return error;
        }
        uint64_t want = 0;
        for (; want < MIN(left, end - c); want++) {
            Qcow2Entry e = qcow2_entry_read(s, at + want * s->entry_size);
            if (e.e || e.bitmap) {
                break;
            }
        }
        if (!want) { /* it has something already */
            c++;
            continue;
        }
        if (s->data_external) {
            first = c;
            got = want;
        } else {
            error = qcow2_alloc(s, want, &first, &got);
        }
        /* New blocks may have used the cache's room; the slice is found again. */
        if (!error) {
            do {
                error = qcow2_l2_find_writable(s, guest, true, &at, &left, &slice_offset);
            } while (error == EAGAIN);
        }
        if (error == EAGAIN) {
            continue;
        }
        uint64_t host = first << s->cluster_bits, bytes = got << s->cluster_bits;
        if (!error && !s->data_external && host < s->zero_from) {
            error = block_write_zeroes(s->data, host, bytes, false);
        }
        if (error) {
            return error;
        }
        s->zero_from = s->data_external ? s->zero_from : MAX(s->zero_from, host + bytes);
        if (!s->data_external && !extend_file(s, how, errp)) {
            (void)qcow2_add_refs(s, first, got, -1);
            return -1;
        }
        for (uint64_t i = 0; i < got; i++, at += s->entry_size) {
            Qcow2Entry e = { (host + (i << s->cluster_bits)) | ENTRY_COPIED,
                             s->extl2 ? UINT32_MAX : 0 };
            qcow2_entry_write(s, slice_offset, at, e);
        }
        c += got;
    }
    return 0;
}
