/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest data of a qcow2 image: reading, writing in place, writing to new clusters with
 * copy-on-write, zeroes and discards.
 *
 * A write to clusters that are not ours alone claims them, gets room, reads what of the clusters it
 * does not write itself, writes all of it in one go without the lock, and only then changes the
 * entries in the cache. Two writes to one such cluster come one after the other; others run side by
 * side.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

enum { FEW_IOVECS = 32, MANY_FREED = 8192 };

/* ---- reading ---- */

/* A part of the caller's buffers; small ones need no memory. */
typedef struct Part {
    struct iovec few[FEW_IOVECS], *iov;
    int niov;
} Part;

static int part_init(Part *p, const struct iovec *iov, int niov, uint64_t skip, uint64_t len,
                     int extra)
{
    p->iov = niov + extra <= FEW_IOVECS ? p->few : malloc(sizeof(*iov) * (size_t)(niov + extra));
    if (!p->iov) {
        return ENOMEM;
    }
    p->niov = iov_slice(p->iov + (extra > 0), iov, niov, skip, len);
    return 0;
}

static void part_fini(Part *p)
{
    if (p->iov != p->few) {
        free(p->iov);
    }
}

static int read_from(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                     uint64_t skip, uint64_t len)
{
    Part p;
    int error = part_init(&p, iov, niov, skip, len, 0);
    if (!error) {
        error = block_readv(n, offset, p.iov, p.niov, len);
        part_fini(&p);
    }
    return error;
}

static int read_behind(Qcow2 *s, uint64_t offset, const struct iovec *iov, int niov, uint64_t skip,
                       uint64_t len)
{
    BlockNode *b = s->node.backing;
    uint64_t there = qcow2_nothing_behind(s, offset) ? 0 : MIN(len, b->size - offset);
    int error = 0;
    if (there) {
        block_event(s->node.file, "read_backing_aio");
        error = read_from(b, offset, iov, niov, skip, there);
    }
    if (!error && there < len) {
        iov_zero(iov, niov, skip + there, len - there);
    }
    return error;
}

static int read_run(Qcow2 *s, const Qcow2Run *r, uint64_t offset, const struct iovec *iov, int niov,
                    uint64_t skip)
{
    switch (r->kind) {
    case KIND_ZERO: iov_zero(iov, niov, skip, r->len); return 0;
    case KIND_UNALLOCATED: return read_behind(s, offset, iov, niov, skip, r->len);
    case KIND_COMPRESSED:
        block_event(s->node.file, "read_compressed");
        return qcow2_read_compressed(s, r->entry, in_cluster(s, offset), iov, niov, skip, r->len);
    default: break;
    }
    block_event(s->node.file, "read_aio");
    return read_from(s->data, r->host, iov, niov, skip, r->len);
}

/* With the lock. */
static bool is_past_end(const Qcow2 *s, const Qcow2Run *r)
{
    uint64_t offset, len;
    if (r->kind != KIND_COMPRESSED) {
        return false; /* data there is read as zeroes */
    }
    compressed_span(s, r->entry, &offset, &len);
    return offset >= s->file_end;
}

int qcow2_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    Qcow2 *s = qcow2_of(n);
    for (uint64_t done = 0; done < len;) {
        Qcow2Run run;
        pthread_mutex_lock(&s->lock);
        int error = qcow2_lookup(s, offset + done, len - done, &run);
        error = error || !is_past_end(s, &run) ? error : EIO;
        unsigned generation = error ? 0 : qcow2_io_begin(s);
        pthread_mutex_unlock(&s->lock);
        if (error == EAGAIN) {
            continue;
        }
        if (error) {
            return error;
        }
        if (run.len == len && run.kind == KIND_DATA) {
            block_event(n->file, "read_aio");
            error = block_readv(s->data, run.host, iov, niov, len);
        } else {
            error = read_run(s, &run, offset + done, iov, niov, done);
        }
        qcow2_io_end(s, generation);
        if (error) {
            return error;
        }
        done += run.len;
    }
    return 0;
}

bool qcow2_map_read(BlockNode *n, uint64_t *offset, uint64_t len, unsigned *cookie)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Run run;
    if (pthread_mutex_trylock(&s->lock)) {
        return false;
    }
    bool ok = qcow2_lookup_cached(s, *offset, len, &run) && run.kind == KIND_DATA && run.len == len;
    /* Below may be only a part of a file, which readv does not leave. */
    ok = ok && (s->data->driver->kind == BLOCK_PROTOCOL ||
                (run.host <= s->data->size && len <= s->data->size - run.host));
    if (ok) {
        *cookie = qcow2_io_begin(s);
        *offset = run.host;
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

void qcow2_map_end(BlockNode *n, unsigned cookie)
{
    qcow2_io_end(qcow2_of(n), cookie);
}

/* ---- writing to clusters that are not ours alone ---- */

/* One such write: guest [offset, offset+len), with bytes from lo to hi around it, in clusters
 * [first, first+nr). */
typedef struct Alloc {
    Qcow2Claim claim;
    uint64_t offset, len;
    uint64_t lo, hi; /* what is written: the caller's bytes and what is copied */
    uint64_t first, nr;
    uint64_t host; /* of the first cluster */
    bool fresh;    /* the file has never had bytes there: it reads as zeroes */
    bool in_place; /* the cluster is ours, subclusters or a zero flag are to change */
    bool zero_head, zero_tail;
} Alloc;

static Qcow2Kind kind_at(const Qcow2 *s, const Qcow2Entry *e, uint64_t guest)
{
    if (e->e & ENTRY_COMPRESSED) {
        return KIND_COMPRESSED;
    }
    unsigned sub = (unsigned)(in_cluster(s, guest) / s->sub_size);
    if (s->extl2) {
        return e->bitmap >> sub & 1          ? KIND_DATA
               : e->bitmap >> (32 + sub) & 1 ? KIND_ZERO
                                             : KIND_UNALLOCATED;
    }
    bool has_host = (e->e & ENTRY_OFFSET) || (s->data_external && (e->e & ENTRY_COPIED));
    return e->e & ENTRY_ZERO ? KIND_ZERO : has_host ? KIND_DATA : KIND_UNALLOCATED;
}

static bool has_own_place(const Qcow2 *s, const Qcow2Entry *e)
{
    return !(e->e & ENTRY_COMPRESSED) && (e->e & ENTRY_COPIED) &&
           ((e->e & ENTRY_OFFSET) || s->data_external);
}

static bool is_empty(const Qcow2 *s, const Qcow2Entry *e)
{
    return !(e->e & ENTRY_COMPRESSED) && !(e->e & ENTRY_OFFSET) &&
           !(s->data_external && (e->e & ENTRY_COPIED));
}

/* Does what has to be copied of the subcluster at guest, from `from` on, read as zeroes? */
static bool copies_zeroes(const Qcow2 *s, const Qcow2Entry *e, uint64_t guest, uint64_t from)
{
    Qcow2Kind kind = kind_at(s, e, guest);
    if (s->extl2 && !is_empty(s, e) && !has_own_place(s, e)) {
        return false; /* all subclusters are copied, each may be something else */
    }
    return kind == KIND_ZERO || (kind == KIND_UNALLOCATED && qcow2_nothing_behind(s, from));
}

/* How far the copied bytes reach down from at, and up from there. */
static uint64_t copy_down(const Qcow2 *s, const Qcow2Entry *e, uint64_t at)
{
    if (has_own_place(s, e) && kind_at(s, e, at) == KIND_DATA) {
        return at;
    }
    bool part = s->extl2 && (is_empty(s, e) || has_own_place(s, e));
    return at - (part ? at % s->sub_size : in_cluster(s, at));
}

static uint64_t copy_up(const Qcow2 *s, const Qcow2Entry *e, uint64_t at)
{
    if (has_own_place(s, e) && kind_at(s, e, at - 1) == KIND_DATA) {
        return at;
    }
    bool part = s->extl2 && (is_empty(s, e) || has_own_place(s, e));
    return ROUND_UP(at, part ? s->sub_size : s->cluster_size);
}

/* With the lock. */
static int check_place(Qcow2 *s, const Qcow2Run *r)
{
    if (s->data_external) {
        return 0;
    }
    if (r->host + r->len > ROUND_UP(s->file_end, s->cluster_size)) {
        return qcow2_corrupt(
            s, "guest data at offset 0x%" PRIx64 " would be past the end of the file", r->host);
    }
    return qcow2_check_overlap(s, r->host, r->len, "guest data");
}

/* With the lock: what shall be written where. */
static int plan(Qcow2 *s, Alloc *a, uint64_t offset, uint64_t len)
{
    uint8_t *at;
    uint64_t left, slice_offset;
    int error = qcow2_l2_find_writable(s, offset, true, &at, &left, &slice_offset);
    if (error) {
        return error;
    }
    len = MIN(len, (left << s->cluster_bits) - in_cluster(s, offset));
    uint64_t first = cluster_of(s, offset), end = cluster_of(s, offset + len - 1) + 1;
    error = qcow2_claim(s, &a->claim, first, end - 1);
    if (error) {
        return error;
    }
    Qcow2Entry e = qcow2_entry_read(s, at), last = e;
    uint64_t nr = 1;
    a->in_place = has_own_place(s, &e);
    while (!a->in_place && first + nr < end) {
        Qcow2Entry next = qcow2_entry_read(s, at + nr * s->entry_size);
        if (has_own_place(s, &next)) {
            break;
        }
        last = next;
        nr++;
    }
    a->first = first;
    a->host = e.e & ENTRY_OFFSET;
    if (s->data_external) {
        a->host = first << s->cluster_bits;
    } else if (a->in_place) {
        error = check_place(s, &(Qcow2Run){ .host = a->host, .len = s->cluster_size });
        if (error) {
            qcow2_unclaim(s, &a->claim);
            return error;
        }
    } else {
        uint64_t host, got;
        error = qcow2_alloc(s, nr, &host, &got);
        if (error) {
            qcow2_unclaim(s, &a->claim);
            return error;
        }
        a->host = host << s->cluster_bits;
        a->fresh = a->host >= s->zero_from;
        s->zero_from = MAX(s->zero_from, a->host + (got << s->cluster_bits));
        if (got < nr) { /* the slice may be gone: its last entry is not at hand any more */
            nr = got;
            error = qcow2_l2_find(s, offset, false, &at, &left, &slice_offset);
            if (error) {
                (void)qcow2_add_refs(s, host, got, -1);
                qcow2_unclaim(s, &a->claim);
                return error;
            }
            last = qcow2_entry_read(s, at + (nr - 1) * s->entry_size);
        }
    }
    a->nr = nr;
    a->offset = offset;
    a->len = MIN(len, ((first + nr) << s->cluster_bits) - offset);
    a->lo = copy_down(s, &e, offset);
    a->hi = copy_up(s, &last, offset + a->len);
    a->zero_head = copies_zeroes(s, &e, offset, a->lo);
    a->zero_tail = copies_zeroes(s, &last, offset + a->len - 1, offset + a->len);
    if (a->fresh && a->zero_head) {
        a->lo = offset;
    }
    if (a->fresh && a->zero_tail) {
        a->hi = offset + a->len;
    }
    return 0;
}

static int read_for_copy(Qcow2 *s, uint64_t offset, uint8_t *buf, uint64_t len)
{
    uint64_t size = s->node.size;
    uint64_t there = MIN(len, size > offset ? size - offset : 0);
    if (offset >= ROUND_UP(size, s->cluster_size)) { /* machine state, beyond the disk */
        there = len;
    }
    memset(buf + there, 0, len - there);
    block_event(s->node.file, "cow_read");
    struct iovec v = { buf, there };
    return there ? qcow2_readv(&s->node, offset, &v, 1, there) : 0;
}

/* Without the lock: copies and writes. */
static int transfer(Qcow2 *s, const Alloc *a, const struct iovec *iov, int niov, uint64_t skip)
{
    uint64_t head = a->offset - a->lo, tail = a->hi - (a->offset + a->len);
    uint64_t host = a->host + (a->lo - (a->first << s->cluster_bits));
    Part p;
    int error = part_init(&p, iov, niov, skip, a->len, 2);
    if (error) {
        return error;
    }
    uint8_t *buf = head + tail
                       ? aligned_alloc(4096, ROUND_UP(head, 4096) + ROUND_UP(tail, 4096) + 4096)
                       : NULL;
    uint8_t *tail_buf = buf ? buf + ROUND_UP(head, 4096) : NULL;
    error = head + tail && !buf ? ENOMEM : 0;
    if (buf && head) {
        memset(buf, 0, a->zero_head ? head : 0);
        error = a->zero_head ? 0 : read_for_copy(s, a->lo, buf, head);
    }
    if (!error && tail_buf && tail) {
        memset(tail_buf, 0, a->zero_tail ? tail : 0);
        error = a->zero_tail ? 0 : read_for_copy(s, a->offset + a->len, tail_buf, tail);
    }
    if (!error) {
        p.iov[0] = (struct iovec){ buf, head };
        p.iov[p.niov + 1] = (struct iovec){ tail_buf, tail };
        block_event(s->node.file, head + tail ? "cow_write" : "write_aio");
        error = block_writev(s->data, host, p.iov + !head, p.niov + (head > 0) + (tail > 0),
                             head + a->len + tail);
    }
    free(buf);
    part_fini(&p);
    return error;
}

static Qcow2Entry new_entry(const Qcow2 *s, const Alloc *a, const Qcow2Entry *old, uint64_t i)
{
    uint64_t start = (a->first + i) << s->cluster_bits;
    Qcow2Entry e = { (a->host + (i << s->cluster_bits)) | ENTRY_COPIED, 0 };
    if (!s->extl2) {
        return e;
    }
    uint64_t lo = MAX(a->lo, start) - start, hi = MIN(a->hi, start + s->cluster_size) - start;
    if (a->fresh) { /* copied zeroes were not written; the subclusters have them all the same */
        lo = ROUND_DOWN(lo, s->sub_size);
        hi = ROUND_UP(hi, s->sub_size);
    }
    uint64_t first = lo / s->sub_size, end = (hi + s->sub_size - 1) / s->sub_size;
    uint64_t touched = ((1ull << end) - 1) & ~((1ull << first) - 1);
    bool all = !is_empty(s, old) && !a->in_place;
    uint64_t zero = all ? 0 : old->bitmap >> 32 & ~touched;
    uint64_t data = all ? UINT32_MAX : (a->in_place ? old->bitmap & UINT32_MAX : 0) | touched;
    e.bitmap = zero << 32 | data;
    return e;
}

/* With the lock: the entries refer to what was written. */
static int link_clusters(Qcow2 *s, const Alloc *a)
{
    uint8_t *at;
    uint64_t left, slice_offset;
    int error;
    do {
        error =
            qcow2_l2_find_writable(s, a->first << s->cluster_bits, true, &at, &left, &slice_offset);
    } while (error == EAGAIN);
    for (uint64_t i = 0; i < a->nr && !error; i++, at += s->entry_size) {
        Qcow2Entry old = qcow2_entry_read(s, at), e = new_entry(s, a, &old, i);
        if (old.e == e.e && old.bitmap == e.bitmap) {
            continue;
        }
        qcow2_entry_write(s, slice_offset, at, e);
        if (!a->in_place) {
            qcow2_free_entry_later(s, old.e);
        }
    }
    return error;
}

static int write_alloc(Qcow2 *s, Alloc *a, const struct iovec *iov, int niov, uint64_t skip)
{
    int error = transfer(s, a, iov, niov, skip);
    pthread_mutex_lock(&s->lock);
    error = error ? error : link_clusters(s, a);
    if (error && !a->in_place && !s->data_external) {
        (void)qcow2_add_refs(s, cluster_of(s, a->host), a->nr, -1); /* nobody knew them */
    }
    qcow2_unclaim(s, &a->claim);
    pthread_mutex_unlock(&s->lock);
    return error;
}

static int write_run(Qcow2 *s, const Qcow2Run *r, const struct iovec *iov, int niov, uint64_t skip,
                     uint64_t len)
{
    block_event(s->node.file, "write_aio");
    if (r->len == len && !skip) {
        return block_writev(s->data, r->host, iov, niov, len);
    }
    Part p;
    int error = part_init(&p, iov, niov, skip, r->len, 0);
    if (!error) {
        error = block_writev(s->data, r->host, p.iov, p.niov, r->len);
        part_fini(&p);
    }
    return error;
}

int qcow2_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    Qcow2 *s = qcow2_of(n);
    for (uint64_t done = 0; done < len;) {
        Qcow2Run run;
        Alloc a = { .nr = 0 };
        unsigned generation = 0;
        pthread_mutex_lock(&s->lock);
        int error = qcow2_begin_write(s);
        error = error ? error : qcow2_lookup(s, offset + done, len - done, &run);
        bool in_place = !error && run.kind == KIND_DATA && run.in_place;
        if (!error && in_place) {
            error = check_place(s, &run);
            generation = error ? 0 : qcow2_io_begin(s);
        } else if (!error) {
            error = plan(s, &a, offset + done, MIN(run.len, len - done));
        }
        pthread_mutex_unlock(&s->lock);
        if (error == EAGAIN) {
            continue;
        }
        if (error) {
            return error;
        }
        if (in_place) {
            error = write_run(s, &run, iov, niov, done, len);
            qcow2_io_end(s, generation);
            done += run.len;
        } else {
            error = write_alloc(s, &a, iov, niov, done);
            done += a.len;
        }
        if (error) {
            return error;
        }
    }
    return 0;
}

int qcow2_flush(BlockNode *n)
{
    return qcow2_flush_all(qcow2_of(n));
}

/* ---- zeroes and discards ---- */

/* Whole clusters that are claimed meanwhile: zero, or what is behind. */
static int clear_claimed(Qcow2 *s, uint64_t first, uint64_t nr, bool unmap, bool fall_through)
{
    Qcow2Claim claim;
    pthread_mutex_lock(&s->lock);
    int error = qcow2_begin_write(s);
    while (!error && (error = qcow2_claim(s, &claim, first, first + nr - 1)) == EAGAIN) {
        error = 0;
    }
    if (!error) {
        error = qcow2_clear_clusters(s, first, nr, unmap, fall_through);
        qcow2_unclaim(s, &claim);
    }
    bool many = s->pending.nr > MANY_FREED;
    pthread_mutex_unlock(&s->lock);
    return error || !many ? error : qcow2_flush_all(s);
}

int qcow2_drop(Qcow2 *s, uint64_t first, uint64_t nr)
{
    return clear_claimed(s, first, nr, true, true);
}

/* Does a part of a cluster read as zeroes already? */
static int is_zero_already(Qcow2 *s, uint64_t offset, uint64_t len, bool *zero)
{
    *zero = true;
    while (len && *zero) {
        Qcow2Run run;
        pthread_mutex_lock(&s->lock);
        int error = qcow2_lookup(s, offset, len, &run);
        pthread_mutex_unlock(&s->lock);
        if (error == EAGAIN) {
            continue;
        }
        if (error) {
            return error;
        }
        *zero = run.kind == KIND_ZERO ||
                (run.kind == KIND_UNALLOCATED && qcow2_nothing_behind(s, offset));
        offset += run.len;
        len -= run.len;
    }
    return 0;
}

static int write_zero_bytes(Qcow2 *s, uint64_t offset, uint64_t len)
{
    bool zero;
    int error = len ? is_zero_already(s, offset, len, &zero) : 0;
    if (error || !len || zero) {
        return error;
    }
    void *buf = calloc(1, len);
    struct iovec v = { buf, len };
    error = buf ? qcow2_writev(&s->node, offset, &v, 1, len) : ENOMEM;
    free(buf);
    return error;
}

int qcow2_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    Qcow2 *s = qcow2_of(n);
    uint64_t end = offset + len;
    uint64_t lo = ROUND_UP(offset, s->cluster_size);
    uint64_t hi =
        end == n->size ? ROUND_UP(end, s->cluster_size) : ROUND_DOWN(end, s->cluster_size);
    if (s->h.version == 2 && (n->backing || !may_unmap)) {
        return ENOTSUP; /* no flag says zero, and falling through would not be */
    }
    if (lo >= hi) {
        return write_zero_bytes(s, offset, len);
    }
    int error = write_zero_bytes(s, offset, lo - offset);
    error = error || hi >= end ? error : write_zero_bytes(s, hi, end - hi);
    if (!error && s->data_raw) { /* the data file alone must read so */
        error = block_write_zeroes(s->data, lo, MIN(hi, n->size) - lo, may_unmap);
    }
    return error ? error
                 : clear_claimed(s, cluster_of(s, lo), (hi - lo) >> s->cluster_bits, may_unmap,
                                 false);
}

int qcow2_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    Qcow2 *s = qcow2_of(n);
    uint64_t end = offset + len;
    uint64_t lo = ROUND_UP(offset, s->cluster_size);
    uint64_t hi =
        end == n->size ? ROUND_UP(end, s->cluster_size) : ROUND_DOWN(end, s->cluster_size);
    if (lo >= hi || (s->h.version == 2 && n->backing)) {
        return 0; /* only a hint */
    }
    if (s->data_raw) {
        return block_write_zeroes(s->data, lo, MIN(hi, n->size) - lo, true);
    }
    int error = clear_claimed(s, cluster_of(s, lo), (hi - lo) >> s->cluster_bits, true, false);
    return error || !s->data_external ? error : block_discard(s->data, lo, MIN(hi, n->size) - lo);
}

/* ---- what is where ---- */

int qcow2_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Run run;
    int error;
    pthread_mutex_lock(&s->lock);
    do {
        error = qcow2_lookup(s, offset, len, &run);
    } while (error == EAGAIN);
    while (!error && run.len < len) { /* the same goes on in the next slice or table */
        Qcow2Run next;
        int later = qcow2_lookup(s, offset + run.len, len - run.len, &next);
        if (later == EAGAIN) {
            continue;
        }
        bool place = !run.has_host || run.kind != KIND_DATA || run.host + run.len == next.host;
        if (later || next.kind != run.kind || run.has_host != next.has_host || !place ||
            run.kind == KIND_COMPRESSED) {
            break;
        }
        run.len += next.len;
    }
    pthread_mutex_unlock(&s->lock);
    if (error) {
        return error;
    }
    *out = (BlockExtent){ .len = run.len, .allocated = run.kind != KIND_UNALLOCATED };
    out->zero =
        run.kind == KIND_ZERO || (run.kind == KIND_UNALLOCATED && qcow2_nothing_behind(s, offset));
    out->data = run.kind == KIND_DATA || run.kind == KIND_COMPRESSED;
    out->compressed = run.kind == KIND_COMPRESSED;
    out->has_offset = run.kind == KIND_DATA && !s->data_external;
    out->offset = run.host;
    return 0;
}
