/* SPDX-License-Identifier: GPL-2.0-or-later
 * Internal snapshots (QCOW2: Snapshots): the table of them, making, applying and deleting one, and
 * the machine's state, which lies behind the disk's last L1 entry.
 *
 * A snapshot is an L1 table of its own; what two tables refer to has a refcount of 2, and its
 * entries in the active tables lose their COPIED flag. Flags and counts lie in different clusters:
 * while they change, the image is marked dirty (version 3), and they change in such an order that a
 * COPIED flag never stands at a count above 1.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

enum { ENTRY_FIXED = 40, EXTRA_V2 = 16, EXTRA_ICOUNT = 24 };

/* ---- the table ---- */

static void free_snapshot(Qcow2Snapshot *sn)
{
    free(sn->id);
    free(sn->name);
    free(sn->extra);
}

void qcow2_free_snapshots(Qcow2 *s)
{
    for (size_t i = 0; i < s->nr_snapshots; i++) {
        free_snapshot(&s->snapshots[i]);
    }
    free(s->snapshots);
    s->snapshots = NULL;
    s->nr_snapshots = 0;
}

/* One entry of the table at *at; false if it is not all there. */
static bool parse_entry(const Qcow2 *s, const uint8_t *buf, uint64_t len, uint64_t *at,
                        Qcow2Snapshot *sn)
{
    if (len - *at < ENTRY_FIXED) {
        return false;
    }
    const uint8_t *p = buf + *at;
    uint32_t id_len = get16(p + 12), name_len = get16(p + 14), extra = get32(p + 36);
    uint64_t total = (uint64_t)ENTRY_FIXED + extra + id_len + name_len;
    if (extra > MAX_SNAPSHOT_EXTRA || total > len - *at) {
        return false;
    }
    *sn = (Qcow2Snapshot){ .l1_offset = get64(p),
                           .l1_size = get32(p + 8),
                           .date_s = get32(p + 16),
                           .date_ns = get32(p + 20),
                           .vm_clock_ns = get64(p + 24),
                           .vm_state_size = get32(p + 32),
                           .disk_size = s->h.size };
    const uint8_t *x = p + ENTRY_FIXED;
    if (extra >= 8) {
        sn->vm_state_size = get64(x);
    }
    if (extra >= 16) {
        sn->disk_size = get64(x + 8);
    }
    sn->has_icount = extra >= EXTRA_ICOUNT;
    sn->icount = sn->has_icount ? get64(x + 16) : 0;
    if (extra > EXTRA_ICOUNT) {
        sn->extra_len = extra - EXTRA_ICOUNT;
        sn->extra = xmalloc(sn->extra_len);
        memcpy(sn->extra, x + EXTRA_ICOUNT, sn->extra_len);
    }
    sn->id = xstrndup((const char *)x + extra, id_len);
    sn->name = xstrndup((const char *)x + extra + id_len, name_len);
    *at += MIN(ROUND_UP(total, 8), len - *at);
    return true;
}

bool qcow2_read_snapshots(Qcow2 *s, Error **errp)
{
    const char *name = s->node.filename;
    if (!s->h.nr_snapshots) {
        return true;
    }
    uint64_t offset = s->h.snapshots_offset;
    uint64_t len = offset < s->file_end ? MIN(s->file_end - offset, MAX_SNAPSHOT_BYTES) : 0;
    if (len < (uint64_t)s->h.nr_snapshots * ENTRY_FIXED) {
        return error_set(
            errp, "image '%s' is damaged: its snapshot table is past the end of the file", name);
    }
    /* How long it is shows only as it is read. */
    uint64_t have = MIN(len, 64 * KiB), at = 0;
    uint8_t *buf = malloc(have);
    int error = buf ? block_pread(s->node.file, offset, buf, have) : ENOMEM;
    bool ok = true;
    s->snapshots = calloc(s->h.nr_snapshots, sizeof(*s->snapshots));
    error = s->snapshots ? error : ENOMEM;
    for (uint32_t i = 0; i < s->h.nr_snapshots && !error && ok; i++) {
        ok = parse_entry(s, buf, have, &at, &s->snapshots[i]);
        if (!ok && have < len) {
            uint64_t more = MIN(len, have * 4);
            uint8_t *grown = realloc(buf, more);
            buf = grown ? grown : buf;
            error =
                grown ? block_pread(s->node.file, offset + have, buf + have, more - have) : ENOMEM;
            have = more;
            ok = true;
            i--;
            continue;
        }
        s->nr_snapshots += ok;
    }
    free(buf);
    s->snapshots_size = at;
    if (error) {
        return error_set_errno(errp, error, "the snapshot table of '%s'", name);
    }
    return ok || error_set(errp, "image '%s' is damaged: entry %zu of its snapshot table", name,
                           s->nr_snapshots);
}

static uint64_t entry_len(const Qcow2Snapshot *sn)
{
    uint64_t extra = sn->has_icount || sn->extra_len ? EXTRA_ICOUNT + sn->extra_len : EXTRA_V2;
    return ROUND_UP(ENTRY_FIXED + extra + strlen(sn->id) + strlen(sn->name), 8);
}

static void put_entry(uint8_t *p, const Qcow2Snapshot *sn)
{
    uint32_t extra = sn->has_icount || sn->extra_len ? EXTRA_ICOUNT + sn->extra_len : EXTRA_V2;
    put64(p, sn->l1_offset);
    put32(p + 8, sn->l1_size);
    put16(p + 12, (uint16_t)strlen(sn->id));
    put16(p + 14, (uint16_t)strlen(sn->name));
    put32(p + 16, sn->date_s);
    put32(p + 20, sn->date_ns);
    put64(p + 24, sn->vm_clock_ns);
    put32(p + 32, sn->vm_state_size > UINT32_MAX ? 0 : (uint32_t)sn->vm_state_size);
    put32(p + 36, extra);
    uint8_t *x = p + ENTRY_FIXED;
    put64(x, sn->vm_state_size);
    put64(x + 8, sn->disk_size);
    if (extra > EXTRA_V2) {
        put64(x + 16, sn->icount);
        memcpy(x + EXTRA_ICOUNT, sn->extra ? sn->extra : x, sn->extra_len);
    }
    memcpy(x + extra, sn->id, strlen(sn->id));
    memcpy(x + extra + strlen(sn->id), sn->name, strlen(sn->name));
}

/* With the lock, quiescent: writes the list as a new table, then the header names it. What it
 * refers to must be written before; it becomes stable with the table. */
static int write_snapshots(Qcow2 *s, const Qcow2Snapshot *list, size_t nr)
{
    uint64_t bytes = 0, cluster = 0, at = 0;
    for (size_t i = 0; i < nr; i++) {
        bytes += entry_len(&list[i]);
    }
    if (bytes > MAX_SNAPSHOT_BYTES || nr > MAX_SNAPSHOTS) {
        return EFBIG;
    }
    int error = 0;
    if (bytes) {
        uint64_t room = ROUND_UP(bytes, s->cluster_size);
        uint8_t *buf = calloc(1, room);
        error = buf ? 0 : ENOMEM;
        while (!error &&
               (error = qcow2_alloc_exactly(s, clusters_for(s, bytes), &cluster)) == EAGAIN) {
            error = 0;
        }
        for (size_t i = 0; i < nr && !error; i++) {
            put_entry(buf + at, &list[i]);
            at += entry_len(&list[i]);
        }
        error = error ? error : block_pwrite(s->node.file, cluster << s->cluster_bits, buf, room);
        free(buf);
    }
    error = error ? error : qcow2_flush_locked(s);
    if (error) {
        if (cluster) {
            (void)qcow2_add_refs(s, cluster, clusters_for(s, bytes), -1);
        }
        return error;
    }
    Qcow2Header old = s->h;
    uint64_t old_bytes = s->snapshots_size;
    s->h.nr_snapshots = (uint32_t)nr;
    s->h.snapshots_offset = cluster << s->cluster_bits;
    error = qcow2_change_fields(s, &old);
    if (error) {
        return error;
    }
    s->snapshots_size = bytes;
    return old.nr_snapshots ? qcow2_add_refs(s, cluster_of(s, old.snapshots_offset),
                                             clusters_for(s, old_bytes), -1)
                            : 0;
}

/* ---- all that a table refers to ---- */

typedef int EntryFn(Qcow2 *s, Qcow2Entry *e, bool *changed, int arg);

/* fn for each L2 entry below an L1 table. */
static int each_entry(Qcow2 *s, const Qcow2Table *l1, EntryFn *fn, int arg)
{
    uint64_t per_slice = s->l2_cache.slice_size / s->entry_size;
    for (uint32_t i = 0; i < l1->nr; i++) {
        uint64_t table = l1->entry[i] & ENTRY_OFFSET;
        if (table && (in_cluster(s, table) || table >= s->file_end)) {
            return qcow2_corrupt(s, "L1 entry %u is 0x%" PRIx64, i, l1->entry[i]);
        }
        for (uint64_t at = 0; table && at < s->cluster_size; at += s->l2_cache.slice_size) {
            uint8_t *p;
            int error = qcow2_cache_get(s, &s->l2_cache, table + at, false, &p);
            for (uint64_t k = 0; k < per_slice && !error; k++, p += s->entry_size) {
                Qcow2Entry e = qcow2_entry_read(s, p);
                bool changed = false;
                if (e.e || e.bitmap) {
                    error = fn(s, &e, &changed, arg);
                }
                if (changed) {
                    qcow2_entry_write(s, table + at, p, e);
                }
            }
            if (error) {
                return error;
            }
        }
    }
    return 0;
}

static int add_refs_fn(Qcow2 *s, Qcow2Entry *e, bool *changed, int delta)
{
    (void)changed;
    return qcow2_add_entry_refs(s, e->e, delta);
}

/* Entries first, then the tables themselves: a table whose count becomes 0 is forgotten. */
static int add_all_refs(Qcow2 *s, const Qcow2Table *l1, int delta)
{
    int error = each_entry(s, l1, add_refs_fn, delta);
    for (uint32_t i = 0; i < l1->nr && !error; i++) {
        if (l1->entry[i] & ENTRY_OFFSET) {
            error = qcow2_add_refs(s, cluster_of(s, l1->entry[i] & ENTRY_OFFSET), 1, delta);
        }
    }
    return error;
}

static int clear_copied_fn(Qcow2 *s, Qcow2Entry *e, bool *changed, int unused)
{
    (void)s, (void)unused;
    *changed = e->e & ENTRY_COPIED;
    e->e &= ~ENTRY_COPIED;
    return 0;
}

static int room_fn(Qcow2 *s, Qcow2Entry *e, bool *changed, int unused)
{
    uint64_t count = 0, offset = e->e & ENTRY_OFFSET, len = 1;
    (void)changed, (void)unused;
    if (e->e & ENTRY_COMPRESSED) {
        compressed_span(s, e->e, &offset, &len);
    }
    int error = 0;
    for (uint64_t c = cluster_of(s, offset);
         offset && !error && c <= cluster_of(s, offset + len - 1); c++) {
        error = qcow2_get_refcount(s, c, &count);
        /* several compressed clusters may share this one */
        uint64_t more = e->e & ENTRY_COMPRESSED ? count : 1;
        error = error || count + more <= s->refcount_max ? error : EOVERFLOW;
    }
    return error;
}

/* Is there room in all counts for one more reference? */
static int check_room(Qcow2 *s, const Qcow2Table *l1)
{
    if (s->refcount_bits > 8) {
        return 0;
    }
    int error = each_entry(s, l1, room_fn, 0);
    for (uint32_t i = 0; i < l1->nr && !error; i++) {
        uint64_t count = 0;
        if (l1->entry[i] & ENTRY_OFFSET) {
            error = qcow2_get_refcount(s, cluster_of(s, l1->entry[i] & ENTRY_OFFSET), &count);
            error = error || count < s->refcount_max ? error : EOVERFLOW;
        }
    }
    return error;
}

static int set_copied_fn(Qcow2 *s, Qcow2Entry *e, bool *changed, int unused)
{
    uint64_t count = 0;
    (void)unused;
    if ((e->e & ENTRY_COMPRESSED) || !(e->e & ENTRY_OFFSET)) {
        return 0;
    }
    int error = qcow2_get_refcount(s, cluster_of(s, e->e & ENTRY_OFFSET), &count);
    uint64_t want = (e->e & ~ENTRY_COPIED) | (count == 1 ? ENTRY_COPIED : 0);
    *changed = want != e->e;
    e->e = want;
    return error;
}

/* COPIED flags of the active tables as the counts say. */
static int set_flags(Qcow2 *s)
{
    int error = each_entry(s, &s->l1, set_copied_fn, 0);
    for (uint32_t i = 0; i < s->l1.nr && !error; i++) {
        uint64_t e = s->l1.entry[i], count = 0;
        if (!(e & ENTRY_OFFSET)) {
            continue;
        }
        error = qcow2_get_refcount(s, cluster_of(s, e & ENTRY_OFFSET), &count);
        uint64_t want = (e & ENTRY_OFFSET) | (count == 1 ? ENTRY_COPIED : 0);
        if (want != e) {
            s->l1.entry[i] = want;
            qcow2_table_dirty(&s->l1, i);
        }
    }
    return error;
}

static int clear_flags(Qcow2 *s)
{
    int error = each_entry(s, &s->l1, clear_copied_fn, 0);
    for (uint32_t i = 0; i < s->l1.nr; i++) {
        if (s->l1.entry[i] & ENTRY_COPIED) {
            s->l1.entry[i] &= ~ENTRY_COPIED;
            qcow2_table_dirty(&s->l1, i);
        }
    }
    return error ? error : qcow2_flush_locked(s);
}

/* ---- making one ---- */

static Qcow2Snapshot *find(Qcow2 *s, const char *id_or_name)
{
    for (int by_name = 0; by_name < 2; by_name++) {
        for (size_t i = 0; i < s->nr_snapshots; i++) {
            if (!strcmp(by_name ? s->snapshots[i].name : s->snapshots[i].id, id_or_name)) {
                return &s->snapshots[i];
            }
        }
    }
    return NULL;
}

static bool report(Qcow2 *s, int error, const char *what, const char *name, Error **errp)
{
    if (error == EOVERFLOW) {
        return error_set(
            errp,
            "'%s' counts references in %u bits, too few for snapshot '%s'; widen them with "
            "refcount_bits=16",
            s->node.filename, s->refcount_bits, name);
    }
    return !error || error_set_errno(errp, error, "snapshot '%s' of '%s' cannot be %s", name,
                                     s->node.filename, what);
}

static char *new_id(const Qcow2 *s)
{
    unsigned long max = 0;
    for (size_t i = 0; i < s->nr_snapshots; i++) {
        unsigned long id = strtoul(s->snapshots[i].id, NULL, 10);
        max = MAX(max, id);
    }
    return xasprintf("%lu", max + 1);
}

static bool may_change(BlockNode *n, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    if (n->readonly) {
        return error_set(errp, "'%s' is open read-only", n->filename);
    }
    return !s->data_external ||
           error_set(errp, "'%s' has an external data file, which has no internal snapshots",
                     n->filename);
}

/* With the lock; dirty is what INCOMPAT_DIRTY shall be in the end. */
static int begin_change(Qcow2 *s)
{
    int error = qcow2_begin_write(s);
    error = error ? error : qcow2_flush_locked(s);
    error = error ? error : qcow2_set_dirty(s, true);
    s->unfinished += !error;
    return error;
}

static int end_change(Qcow2 *s)
{
    int error = qcow2_flush_locked(s); /* frees what nobody uses */
    error = error ? error : qcow2_flush_locked(s);
    s->unfinished -= !error;
    error = error || s->dirty_marked || s->unfinished ? error : qcow2_set_dirty(s, false);
    return error || qcow2_meta_rebuild(s) ? error : ENOMEM;
}

/* The disk as it is now as the last snapshot of the list, which has room for it. */
static int create_locked(Qcow2 *s, Qcow2Snapshot *sn)
{
    int error = begin_change(s);
    error = error ? error : check_room(s, &s->l1);
    Qcow2Table copy = { .nr = 0 };
    if (!error && !qcow2_table_alloc(&copy, s->l1.nr)) {
        error = ENOMEM;
    }
    error = error ? error : clear_flags(s);
    error = error ? error : qcow2_place_l1(s, &copy);
    if (!error) {
        memcpy(copy.entry, s->l1.entry, (size_t)s->l1.nr * 8);
        error = add_all_refs(s, &s->l1, 1);
        error = error ? error : qcow2_table_write(s, &copy);
        sn->l1_offset = copy.offset;
        sn->l1_size = copy.nr;
        error = error ? error : write_snapshots(s, s->snapshots, s->nr_snapshots + 1);
    }
    qcow2_table_free(&copy);
    if (!error) {
        s->nr_snapshots++;
        error = end_change(s);
    } else if (error == EOVERFLOW) {
        (void)set_flags(s);
        (void)end_change(s);
    }
    return error;
}

static uint64_t vm_state_start(const Qcow2 *s)
{
    return l1_entries(s, s->h.size) << (s->cluster_bits + s->l2_bits);
}

bool qcow2_snapshot_create(BlockNode *n, const BlockSnapshot *from, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    if (!may_change(n, errp)) {
        return false;
    }
    const char *name = from->name ? from->name : "";
    if (strlen(name) > 1023 || (from->id && strlen(from->id) > 127)) {
        return error_set(errp, "the name of a snapshot has up to 1023 bytes, its id up to 127");
    }
    if (from->id && find(s, from->id)) {
        return error_set(errp, "'%s' has a snapshot '%s' already", n->filename, from->id);
    }
    pthread_mutex_lock(&s->lock);
    s->snapshots = xrealloc(s->snapshots, (s->nr_snapshots + 1) * sizeof(*s->snapshots));
    Qcow2Snapshot *sn = &s->snapshots[s->nr_snapshots];
    *sn = (Qcow2Snapshot){ .id = from->id ? xstrdup(from->id) : new_id(s),
                           .name = xstrdup(name),
                           .date_s = (uint32_t)from->date_s,
                           .date_ns = from->date_ns,
                           .vm_clock_ns = from->vm_clock_ns,
                           .vm_state_size = from->vm_state_size,
                           .disk_size = s->h.size,
                           .icount = from->icount,
                           .has_icount = from->icount != 0 };
    size_t before = s->nr_snapshots;
    int error = create_locked(s, sn);
    if (s->nr_snapshots == before) {
        free_snapshot(&s->snapshots[before]);
    }
    pthread_mutex_unlock(&s->lock);
    uint64_t start = vm_state_start(s), end = (uint64_t)s->l1.nr << (s->cluster_bits + s->l2_bits);
    if (!error && end > start) { /* the machine's state is the snapshot's now */
        error = qcow2_drop(s, cluster_of(s, start), cluster_of(s, end - start));
        error = error ? error : qcow2_flush_all(s);
    }
    return report(s, error, "made", name, errp);
}

/* ---- applying and deleting one ---- */

static bool read_l1(Qcow2 *s, const Qcow2Snapshot *sn, uint32_t nr, Qcow2Table *out, Error **errp)
{
    const char *name = s->node.filename;
    if (in_cluster(s, sn->l1_offset) || sn->l1_size > MAX_L1_BYTES / 8 ||
        (sn->l1_size && !sn->l1_offset) || sn->l1_offset > s->file_end ||
        (uint64_t)sn->l1_size * 8 > ROUND_UP(s->file_end, s->cluster_size) - sn->l1_offset) {
        return error_set(errp, "image '%s' is damaged: the L1 table of snapshot '%s'", name,
                         sn->name);
    }
    if (!qcow2_table_alloc(out, MAX(nr, sn->l1_size))) {
        return error_set(errp, "no memory for the tables of snapshot '%s'", sn->name);
    }
    uint32_t all = out->nr;
    out->offset = sn->l1_offset;
    out->nr = sn->l1_size;
    int error = qcow2_table_read(s, out);
    out->nr = all;
    if (error) {
        qcow2_table_free(out);
        return error_set_errno(errp, error, "the L1 table of snapshot '%s'", sn->name);
    }
    return true;
}

/* fresh (taken): the snapshot's table. */
static int apply_locked(Qcow2 *s, Qcow2Table *fresh, uint64_t size)
{
    Qcow2Table old = { .nr = 0 };
    int error = begin_change(s);
    error = error ? error : check_room(s, fresh);
    error = error || qcow2_table_alloc(&old, s->l1.nr) ? error : ENOMEM;
    if (!error) {
        memcpy(old.entry, s->l1.entry, (size_t)s->l1.nr * 8);
        error = add_all_refs(s, fresh, 1);
    }
    error = error ? error : each_entry(s, fresh, clear_copied_fn, 0);
    for (uint32_t i = 0; i < fresh->nr; i++) {
        fresh->entry[i] &= ENTRY_OFFSET;
    }
    error = error ? error : qcow2_place_l1(s, fresh);
    if (error) {
        qcow2_table_free(fresh);
    } else {
        error = qcow2_switch_l1(s, fresh, size);
    }
    error = error ? error : add_all_refs(s, &old, -1);
    error = error ? error : set_flags(s);
    error = error ? error : end_change(s);
    qcow2_table_free(&old);
    return error;
}

bool qcow2_snapshot_apply(BlockNode *n, const char *id_or_name, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Snapshot *sn = find(s, id_or_name);
    if (!may_change(n, errp)) {
        return false;
    }
    if (!sn) {
        return error_set(errp, "'%s' has no snapshot '%s'", n->filename, id_or_name);
    }
    uint64_t needed = l1_entries(s, sn->disk_size);
    if (needed > MAX_L1_BYTES / 8) {
        return error_set(errp, "image '%s' is damaged: the size of snapshot '%s'", n->filename,
                         sn->name);
    }
    Qcow2Table fresh;
    if (!read_l1(s, sn, (uint32_t)needed, &fresh, errp)) {
        return false;
    }
    pthread_mutex_lock(&s->lock);
    int error = apply_locked(s, &fresh, sn->disk_size);
    n->size = s->h.size;
    pthread_mutex_unlock(&s->lock);
    qcow2_forget_unzipped(s);
    return report(s, error, "applied", id_or_name, errp);
}

bool qcow2_snapshot_view(BlockNode *n, const char *id_or_name, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Snapshot *sn = find(s, id_or_name);
    if (!n->readonly) {
        return error_set(errp, "snapshot=%s: a snapshot can only be read (read-only=on)", id_or_name);
    }
    if (!sn) {
        return error_set(errp, "'%s' has no snapshot '%s'", n->filename, id_or_name);
    }
    uint64_t needed = l1_entries(s, sn->disk_size);
    Qcow2Table fresh;
    if (needed > MAX_L1_BYTES / 8) {
        return error_set(errp, "image '%s' is damaged: the size of snapshot '%s'", n->filename,
                         sn->name);
    }
    if (!read_l1(s, sn, (uint32_t)needed, &fresh, errp)) {
        return false;
    }
    qcow2_table_free(&s->l1);
    s->l1 = fresh;
    s->h.size = n->size = sn->disk_size;
    return true;
}

static int delete_locked(Qcow2 *s, size_t index, const Qcow2Table *l1)
{
    int error = begin_change(s);
    if (error) {
        return error;
    }
    Qcow2Snapshot gone = s->snapshots[index];
    size_t after = s->nr_snapshots - index - 1;
    memmove(&s->snapshots[index], &s->snapshots[index + 1], after * sizeof(gone));
    error = write_snapshots(s, s->snapshots, s->nr_snapshots - 1);
    if (error) {
        memmove(&s->snapshots[index + 1], &s->snapshots[index], after * sizeof(gone));
        s->snapshots[index] = gone;
        return error;
    }
    s->nr_snapshots--;
    error = add_all_refs(s, l1, -1);
    error =
        error ? error
              : qcow2_add_refs(
                    s, cluster_of(s, gone.l1_offset),
                    gone.l1_offset ? MAX(clusters_for(s, (uint64_t)gone.l1_size * 8), 1u) : 0, -1);
    free_snapshot(&gone);
    /* Counts before flags: a flag must not stand at a count above 1. */
    error = error ? error : qcow2_flush_locked(s);
    error = error ? error : set_flags(s);
    return error ? error : end_change(s);
}

bool qcow2_snapshot_delete(BlockNode *n, const char *id_or_name, Error **errp)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Snapshot *sn = find(s, id_or_name);
    Qcow2Table l1;
    if (!may_change(n, errp)) {
        return false;
    }
    if (!sn) {
        return error_set(errp, "'%s' has no snapshot '%s'", n->filename, id_or_name);
    }
    if (!read_l1(s, sn, 0, &l1, errp)) {
        return false;
    }
    pthread_mutex_lock(&s->lock);
    int error = delete_locked(s, (size_t)(sn - s->snapshots), &l1);
    pthread_mutex_unlock(&s->lock);
    qcow2_table_free(&l1);
    qcow2_forget_unzipped(s);
    return report(s, error, "deleted", id_or_name, errp);
}

size_t qcow2_snapshots(BlockNode *n, BlockSnapshot **list)
{
    Qcow2 *s = qcow2_of(n);
    *list = xcalloc(s->nr_snapshots, sizeof(**list));
    for (size_t i = 0; i < s->nr_snapshots; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        (*list)[i] = (BlockSnapshot){
            .id = xstrdup(sn->id),
            .name = xstrdup(sn->name),
            .date_s = sn->date_s,
            .date_ns = sn->date_ns,
            .vm_clock_ns = sn->vm_clock_ns,
            .icount = sn->has_icount ? sn->icount : UINT64_MAX,
            .vm_state_size = sn->vm_state_size,
            .disk_size = sn->disk_size,
        };
    }
    return s->nr_snapshots;
}

/* ---- the machine's state ---- */

int qcow2_vmstate_pread(BlockNode *n, uint64_t offset, void *buf, size_t len)
{
    Qcow2 *s = qcow2_of(n);
    struct iovec v = { buf, len };
    uint64_t start = vm_state_start(s), end = (uint64_t)s->l1.nr << (s->cluster_bits + s->l2_bits);
    if (end < start || offset > end - start || len > end - start - offset) {
        return EINVAL;
    }
    block_event(n->file, "vmstate_load");
    return len ? qcow2_readv(n, start + offset, &v, 1, len) : 0;
}

int qcow2_vmstate_pwrite(BlockNode *n, uint64_t offset, const void *buf, size_t len)
{
    Qcow2 *s = qcow2_of(n);
    struct iovec v = { (void *)buf, len };
    uint64_t start = vm_state_start(s);
    if (n->readonly || s->data_external) {
        return n->readonly ? EROFS : ENOTSUP;
    }
    if (offset > MAX_L1_BYTES / 8 << (s->cluster_bits + s->l2_bits) || !len) {
        return len ? EFBIG : 0;
    }
    pthread_mutex_lock(&s->lock);
    uint64_t want = l1_entries(s, start + offset + len);
    int error = qcow2_begin_write(s);
    error = error ? error : qcow2_grow_l1(s, want > s->l1.nr ? want + want / 8 : want);
    pthread_mutex_unlock(&s->lock);
    block_event(n->file, "vmstate_save");
    return error ? error : qcow2_writev(n, start + offset, &v, 1, len);
}
