/* SPDX-License-Identifier: GPL-2.0-or-later
 * Bounded caches of L2 tables and refcount blocks, in slices, and the one place where metadata
 * reaches the file.
 *
 * The order of a flush (docs/qcow2.md has the argument):
 *
 *     1. changed refcount blocks      2. sync      (new blocks: these two first, then the refcount
 *                                                   table's entries, and 2 again)
 *     3. changed L2 slices and L1 entries          4. sync
 *     5. clusters that lost their last reference in what 3 wrote become free
 *
 * Guest data is written before the entry that refers to it is changed in the cache, so that 2 makes
 * it stable, too. Everything is copied first and written without the lock. Refcount slices may go
 * to the file at any time: no count in the cache is lower than what the file's tables refer to.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

enum { SECTOR = 512 };

/* ---- slices ---- */

bool qcow2_cache_init(Qcow2Cache *c, const char *what, uint64_t bytes, size_t slice_size)
{
    uint64_t max = bytes / slice_size;
    *c = (Qcow2Cache){ .what = what, .slice_size = slice_size };
    c->max = (unsigned)MIN(MAX(max, 8u), 1u << 20);
    c->hash_mask = 63;
    while (c->hash_mask < c->max) {
        c->hash_mask = c->hash_mask * 2 + 1;
    }
    c->hash = calloc(c->hash_mask + 1, sizeof(*c->hash));
    return c->hash != NULL;
}

void qcow2_cache_fini(Qcow2Cache *c)
{
    for (unsigned i = 0; i < c->nr; i++) {
        free(c->slices[i]->data);
        free(c->slices[i]);
    }
    free(c->slices);
    free(c->hash);
    *c = (Qcow2Cache){ .what = c->what };
}

static Qcow2Slice **bucket(Qcow2Cache *c, uint64_t offset)
{
    uint64_t h = offset / c->slice_size * 0x9e3779b97f4a7c15ull;
    return &c->hash[h >> 32 & c->hash_mask];
}

static Qcow2Slice *find(Qcow2Cache *c, uint64_t offset)
{
    Qcow2Slice *e = *bucket(c, offset);
    while (e && e->offset != offset) {
        e = e->next;
    }
    return e;
}

static void unhash(Qcow2Cache *c, Qcow2Slice *e)
{
    Qcow2Slice **at = bucket(c, e->offset);
    while (*at && *at != e) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = e->next;
    }
    e->offset = 0;
    e->next = NULL;
}

static void set_clean(Qcow2Cache *c, Qcow2Slice *e)
{
    if (e->dirty_lo != e->dirty_hi) {
        c->nr_dirty--;
    }
    e->dirty_lo = e->dirty_hi = 0;
}

static void set_dirty(Qcow2Cache *c, Qcow2Slice *e, unsigned lo, unsigned hi)
{
    if (e->dirty_lo == e->dirty_hi) {
        c->nr_dirty++;
        e->dirty_lo = lo;
        e->dirty_hi = hi;
        return;
    }
    e->dirty_lo = MIN(e->dirty_lo, lo);
    e->dirty_hi = MAX(e->dirty_hi, hi);
}

static int write_slice(Qcow2 *s, Qcow2Cache *c, Qcow2Slice *e)
{
    unsigned lo = ROUND_DOWN(e->dirty_lo, SECTOR), hi = ROUND_UP(e->dirty_hi, SECTOR);
    int error = block_pwrite(s->node.file, e->offset + lo, e->data + lo, hi - lo);
    if (!error) {
        set_clean(c, e);
    }
    return error;
}

static Qcow2Slice *add_slice(Qcow2Cache *c)
{
    Qcow2Slice *e = calloc(1, sizeof(*e));
    uint8_t *data = aligned_alloc(SECTOR, c->slice_size);
    if (c->nr == c->room) {
        unsigned room = c->room ? c->room * 2 : 64;
        Qcow2Slice **more = realloc(c->slices, room * sizeof(*more));
        if (more) {
            c->slices = more;
            c->room = room;
        }
    }
    if (!e || !data || c->nr == c->room) {
        free(e);
        free(data);
        return NULL;
    }
    e->data = data;
    c->slices[c->nr++] = e;
    return e;
}

static void remove_slice(Qcow2Cache *c, unsigned index)
{
    Qcow2Slice *e = c->slices[index];
    c->slices[index] = c->slices[--c->nr];
    free(e->data);
    free(e);
}

/* A slice to put something else into. *error EAGAIN: the lock was dropped to flush. */
static Qcow2Slice *victim(Qcow2 *s, Qcow2Cache *c, bool may_drop, int *error)
{
    *error = 0;
    while (c->nr > c->max + 8) { /* it had to grow; shrink again */
        unsigned i = c->nr - 1;
        Qcow2Slice *e = c->slices[i];
        if (e->loading || e->writing || e->dirty_lo != e->dirty_hi) {
            break;
        }
        if (e->offset) {
            unhash(c, e);
        }
        remove_slice(c, i);
    }
    for (unsigned tries = 0; c->nr >= c->max && tries < 2 * c->nr; tries++) {
        c->hand = (c->hand + 1) % c->nr;
        Qcow2Slice *e = c->slices[c->hand];
        bool dirty = e->dirty_lo != e->dirty_hi;
        if (e->loading || e->writing || (dirty && c == &s->l2_cache)) {
            continue;
        }
        if (e->used && e->offset) {
            e->used = false;
            continue;
        }
        *error = dirty ? write_slice(s, c, e) : 0;
        if (*error) {
            return NULL;
        }
        if (e->offset) {
            unhash(c, e);
        }
        return e;
    }
    if (c->nr >= c->max && may_drop && c->nr_dirty > c->max / 2) {
        pthread_mutex_unlock(&s->lock);
        *error = qcow2_flush_all(s);
        pthread_mutex_lock(&s->lock);
        *error = *error ? *error : EAGAIN;
        return NULL;
    }
    Qcow2Slice *e = add_slice(c);
    *error = e ? 0 : ENOMEM;
    return e;
}

bool qcow2_cache_has(Qcow2Cache *c, uint64_t offset)
{
    const Qcow2Slice *e = find(c, offset);
    return e && !e->loading;
}

int qcow2_cache_get(Qcow2 *s, Qcow2Cache *c, uint64_t offset, bool may_drop, uint8_t **data)
{
    assert(offset && offset % c->slice_size == 0);
    Qcow2Slice *e = find(c, offset);
    while (e && e->loading) {
        pthread_cond_wait(&s->changed, &s->lock);
        if (may_drop) {
            return EAGAIN;
        }
        e = find(c, offset);
    }
    if (likely(e)) {
        e->used = true;
        c->hits++;
        *data = e->data;
        return 0;
    }
    int error = 0;
    e = victim(s, c, may_drop, &error);
    if (!e) {
        return error;
    }
    c->misses++;
    e->offset = offset;
    e->used = true;
    e->dirty_lo = e->dirty_hi = 0;
    Qcow2Slice **at = bucket(c, offset);
    e->next = *at;
    *at = e;
    e->loading = true;
    block_event(s->node.file, c == &s->l2_cache ? "l2_load" : "refblock_load");
    if (may_drop) {
        pthread_mutex_unlock(&s->lock);
    }
    error = block_pread(s->node.file, offset, e->data, c->slice_size);
    if (may_drop) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_broadcast(&s->changed);
    }
    e->loading = false;
    if (error) {
        unhash(c, e);
    }
    *data = e->data;
    return error ? error : may_drop ? EAGAIN : 0;
}

void qcow2_cache_dirty(Qcow2Cache *c, uint64_t offset, const uint8_t *at, size_t len)
{
    Qcow2Slice *e = find(c, offset);
    assert(e && at >= e->data && at + len <= e->data + c->slice_size);
    unsigned lo = (unsigned)(at - e->data);
    set_dirty(c, e, lo, lo + (unsigned)len);
}

void qcow2_cache_forget(Qcow2Cache *c, uint64_t offset, uint64_t len)
{
    for (uint64_t at = offset; at < offset + len; at += c->slice_size) {
        Qcow2Slice *e = find(c, at);
        if (e) {
            set_clean(c, e);
            unhash(c, e);
        }
    }
}

/* ---- tables in memory ---- */

static uint32_t sectors_of(uint32_t nr)
{
    return (uint32_t)(((uint64_t)nr * 8 + SECTOR - 1) / SECTOR);
}

bool qcow2_table_alloc(Qcow2Table *t, uint32_t nr)
{
    uint32_t sectors = MAX(sectors_of(nr), 1u);
    *t = (Qcow2Table){ .nr = nr };
    t->entry = calloc(sectors, SECTOR);
    t->dirty = calloc(sectors, 1);
    if (t->entry && t->dirty) {
        return true;
    }
    qcow2_table_free(t);
    return false;
}

void qcow2_table_free(Qcow2Table *t)
{
    free(t->entry);
    free(t->dirty);
    *t = (Qcow2Table){ .nr = 0 };
}

void qcow2_table_dirty(Qcow2Table *t, uint32_t index)
{
    uint32_t sector = index / (SECTOR / 8);
    t->nr_dirty += !t->dirty[sector];
    t->dirty[sector] = 1;
}

static void swap_entries(uint64_t *entry, uint64_t nr)
{
    for (uint64_t i = 0; i < nr; i++) {
        entry[i] = __builtin_bswap64(entry[i]);
    }
}

int qcow2_table_read(Qcow2 *s, Qcow2Table *t)
{
    int error = t->nr ? block_pread(s->node.file, t->offset, t->entry, (size_t)t->nr * 8) : 0;
    swap_entries(t->entry, t->nr);
    return error;
}

/* To the end of its last cluster. */
int qcow2_table_write(Qcow2 *s, Qcow2Table *t)
{
    enum { PART = 64 * 1024 };
    uint64_t bytes = ROUND_UP((uint64_t)t->nr * 8, s->cluster_size);
    uint64_t *buf = malloc(PART);
    int error = buf ? 0 : ENOMEM;
    for (uint64_t at = 0; at < bytes && !error;) {
        uint64_t len = MIN(bytes - at, (uint64_t)PART);
        for (uint64_t i = 0; i < len / 8; i++) {
            uint64_t index = at / 8 + i;
            buf[i] = index < t->nr ? __builtin_bswap64(t->entry[index]) : 0;
        }
        error = block_pwrite(s->node.file, t->offset + at, buf, len);
        at += len;
    }
    free(buf);
    if (!error && t->nr_dirty) {
        memset(t->dirty, 0, sectors_of(t->nr));
        t->nr_dirty = 0;
    }
    return error;
}

/* ---- flushing ---- */

/* Bytes on their way to the file, a copy. */
typedef struct Write {
    uint64_t offset;
    uint8_t *buf;
    unsigned len;
    Qcow2Slice *slice; /* or the table's */
    unsigned lo;
    uint32_t sector;
} Write;

typedef struct Batch {
    Write *list;
    size_t nr;
} Batch;

static bool add_write(Batch *b, Write w, const void *from)
{
    if (b->nr % 64 == 0) {
        Write *more = realloc(b->list, (b->nr + 64) * sizeof(*more));
        if (!more) {
            return false;
        }
        b->list = more;
    }
    w.buf = aligned_alloc(SECTOR, w.len);
    if (!w.buf) {
        return false;
    }
    memcpy(w.buf, from, w.len);
    b->list[b->nr++] = w;
    return true;
}

static bool gather_slices(Qcow2Cache *c, Batch *b)
{
    for (unsigned i = 0; i < c->nr && c->nr_dirty; i++) {
        Qcow2Slice *e = c->slices[i];
        if (e->dirty_lo == e->dirty_hi) {
            continue;
        }
        unsigned lo = ROUND_DOWN(e->dirty_lo, SECTOR), hi = ROUND_UP(e->dirty_hi, SECTOR);
        Write w = { .offset = e->offset + lo, .len = hi - lo, .slice = e, .lo = lo };
        if (!add_write(b, w, e->data + lo)) {
            return false;
        }
        e->writing = true;
        set_clean(c, e);
    }
    return true;
}

static bool gather_table(Qcow2Table *t, Batch *b)
{
    uint32_t sectors = sectors_of(t->nr);
    for (uint32_t i = 0; i < sectors && t->nr_dirty; i++) {
        if (!t->dirty[i]) {
            continue;
        }
        Write w = { .offset = t->offset + (uint64_t)i * SECTOR, .len = SECTOR, .sector = i };
        if (!add_write(b, w, (uint8_t *)t->entry + (size_t)i * SECTOR)) {
            return false;
        }
        swap_entries((uint64_t *)b->list[b->nr - 1].buf, SECTOR / 8);
        t->dirty[i] = 0;
        t->nr_dirty--;
    }
    return true;
}

/* With the lock: what was not written is dirty again. */
static void end_batch(Batch *b, Qcow2Cache *c, Qcow2Table *t, bool written)
{
    for (size_t i = 0; i < b->nr; i++) {
        Write *w = &b->list[i];
        if (w->slice) {
            w->slice->writing = false;
        }
        if (!written && w->slice && w->slice->offset) {
            set_dirty(c, w->slice, w->lo, w->lo + w->len);
        } else if (!written && !w->slice) {
            qcow2_table_dirty(t, w->sector * (SECTOR / 8));
        }
        free(w->buf);
    }
    free(b->list);
}

static int compare_writes(const void *a, const void *b)
{
    const Write *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int write_batch(Qcow2 *s, Batch *b, const char *event)
{
    int error = 0;
    if (b->nr) {
        qsort(b->list, b->nr, sizeof(*b->list), compare_writes);
    }
    for (size_t i = 0; i < b->nr && !error;) {
        struct iovec iov[64];
        int nr = 0;
        uint64_t len = 0;
        for (; i + (size_t)nr < b->nr && nr < (int)ARRAY_SIZE(iov);
             nr++) { /* side by side: one write */
            Write *w = &b->list[i + (size_t)nr];
            if (w->offset != b->list[i].offset + len) {
                break;
            }
            iov[nr] = (struct iovec){ w->buf, w->len };
            len += w->len;
        }
        block_event(s->node.file, event);
        error = block_writev(s->node.file, b->list[i].offset, iov, nr, len);
        i += (size_t)nr;
    }
    return error;
}

static int sync_files(Qcow2 *s)
{
    int error = s->data != s->node.file ? block_flush(s->data) : 0;
    return error ? error : block_flush(s->node.file);
}

/* Waits until data I/O that may still use clusters of before this moment has ended. */
static void wait_for_io(Qcow2 *s)
{
    unsigned old = s->io_generation++ & 1;
    while (__atomic_load_n(&s->io_active[old], __ATOMIC_SEQ_CST)) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
}

unsigned qcow2_io_begin(Qcow2 *s)
{
    unsigned generation = s->io_generation & 1;
    __atomic_fetch_add(&s->io_active[generation], 1, __ATOMIC_ACQUIRE);
    return generation;
}

void qcow2_io_end(Qcow2 *s, unsigned generation)
{
    if (__atomic_sub_fetch(&s->io_active[generation], 1, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&s->flushing, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
}

/* With the lock. */
static int flush_in_order(Qcow2 *s)
{
    Batch refs = { 0 }, table = { 0 }, l2 = { 0 }, l1 = { 0 };
    bool keep_refs = s->dirty_marked; /* lazy refcounts: they are made anew after a cut */
    bool ok = gather_slices(&s->l2_cache, &l2) && gather_table(&s->l1, &l1);
    ok = ok && (keep_refs ||
                (gather_slices(&s->refcount_cache, &refs) && gather_table(&s->reftable, &table)));
    Qcow2Ranges freed = s->pending;
    s->pending = (Qcow2Ranges){ 0 };
    pthread_mutex_unlock(&s->lock);

    int error = ok ? 0 : ENOMEM;
    if (!error && refs.nr) {
        error = write_batch(s, &refs, "refblock_update");
    }
    if (!error && table.nr) {
        error = sync_files(s);
        error = error ? error : write_batch(s, &table, "reftable_update");
    }
    if (!error && (l2.nr || l1.nr)) {
        block_event(s->node.file, "flush_to_disk");
        error = sync_files(s);
        error = error ? error : write_batch(s, &l2, "l2_update");
        error = error ? error : write_batch(s, &l1, "l1_update");
    }
    error = error ? error : sync_files(s);

    pthread_mutex_lock(&s->lock);
    end_batch(&refs, &s->refcount_cache, &s->reftable, !error);
    end_batch(&table, &s->refcount_cache, &s->reftable, !error);
    end_batch(&l2, &s->l2_cache, &s->l1, !error);
    end_batch(&l1, &s->l2_cache, &s->l1, !error);
    if (error) { /* nothing is free yet */
        for (size_t i = 0; i < freed.nr; i++) {
            qcow2_ranges_add(&s->pending, freed.list[i].first, freed.list[i].nr,
                             freed.list[i].data);
        }
    } else if (freed.nr) {
        wait_for_io(s);
        qcow2_release(s, &freed);
    }
    free(freed.list);
    return error;
}

int qcow2_flush_locked(Qcow2 *s)
{
    while (s->flushing) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    __atomic_store_n(&s->flushing, true, __ATOMIC_SEQ_CST);
    int error = s->failed ? s->failed : flush_in_order(s);
    __atomic_store_n(&s->flushing, false, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&s->changed);
    return error;
}

int qcow2_flush_all(Qcow2 *s)
{
    pthread_mutex_lock(&s->lock);
    int error = qcow2_flush_locked(s);
    pthread_mutex_unlock(&s->lock);
    return error;
}
