/* SPDX-License-Identifier: GPL-2.0-or-later
 * Power cuts. A random workload on an image in memory leaves a log of writes and flushes. For each
 * flush of the log the disk may hold, besides all that came before the previous one, any part of
 * what was written since, sector by sector. Each such image must open, have leaks at most, and hold
 * every byte the guest had flushed; what it wrote later is there or not.
 */
#include "tests/unit/qcow2_box.h"

enum { SECTOR = 512, MAX_SECTORS = 8192, MAX_CHOICES = 6 };

/* What the guest did, in order. */
typedef enum Act { ACT_WRITE, ACT_ZERO, ACT_DISCARD, ACT_FLUSH, ACT_APPLY, ACT_RESIZE } Act;
typedef struct Step {
    Act act;
    uint64_t sector, nr; /* RESIZE: nr: sectors of the disk now */
    uint32_t id;         /* APPLY: of the saved contents */
    size_t log_start, log_end;
} Step;

typedef struct Guest {
    Step *steps;
    size_t nr, room;
    uint32_t next_id;
    uint64_t sectors;
    uint32_t now[MAX_SECTORS];
    uint32_t *saved[64]; /* contents of snapshots */
    uint64_t saved_sectors[64];
    char *saved_name[64];
    unsigned nr_saved;
} Guest;

static uint32_t backing_id(uint64_t sector, bool has_backing)
{
    return has_backing && sector < 1500 ? 0x10000000u + (uint32_t)sector : 0;
}

static Step *step(Guest *g, MemDisk *d, Act act, uint64_t sector, uint64_t nr, uint32_t id)
{
    if (g->nr == g->room) {
        g->room = g->room ? g->room * 2 : 1024;
        g->steps = xrealloc(g->steps, g->room * sizeof(*g->steps));
    }
    g->steps[g->nr] = (Step){ act, sector, nr, id, d->nr_log, 0 };
    return &g->steps[g->nr++];
}

static void set_now(Guest *g, uint64_t sector, uint64_t nr, uint32_t id)
{
    for (uint64_t i = 0; i < nr; i++) {
        g->now[sector + i] = id;
    }
}

static void ok(int error)
{
    assert_int_equal(error, 0);
}

/* ---- the workload ---- */

static void do_write(Guest *g, MemDisk *d, BlockNode *n, bool compressed)
{
    uint64_t per_cluster = n->cluster_size / SECTOR;
    uint64_t nr = 1 + below(MIN(3 * per_cluster + 8, g->sectors)), at = below(g->sectors - nr + 1);
    if (compressed) {
        at = below(g->sectors / per_cluster) * per_cluster;
        nr = per_cluster;
    }
    uint8_t *buf = xmalloc(nr * SECTOR);
    uint32_t id = ++g->next_id;
    fill_sectors(buf, nr, id);
    Step *s = step(g, d, ACT_WRITE, at, nr, id);
    ok(compressed ? n->driver->write_compressed(n, at * SECTOR, buf, nr * SECTOR)
                  : block_pwrite(n, at * SECTOR, buf, nr * SECTOR));
    s->log_end = d->nr_log;
    set_now(g, at, nr, id);
    free(buf);
}

static void do_zero(Guest *g, MemDisk *d, BlockNode *n, bool discard)
{
    uint64_t per_cluster = n->cluster_size / SECTOR;
    uint64_t nr = 1 + below(MIN(6 * per_cluster + 8, g->sectors)), at = below(g->sectors - nr + 1);
    Step *s = step(g, d, discard ? ACT_DISCARD : ACT_ZERO, at, nr, 0);
    ok(discard ? block_discard(n, at * SECTOR, nr * SECTOR)
               : block_write_zeroes(n, at * SECTOR, nr * SECTOR, below(2)));
    s->log_end = d->nr_log;
    if (!discard) {
        set_now(g, at, nr, 0);
        return;
    }
    uint8_t *buf = xmalloc(nr * SECTOR);
    ok(block_pread(n, at * SECTOR, buf, nr * SECTOR));
    for (uint64_t i = 0; i < nr; i++) { /* parts of clusters stay */
        uint32_t id;
        memcpy(&id, buf + i * SECTOR, 4);
        assert_true(id == 0 || id == g->now[at + i]);
        g->now[at + i] = id;
    }
    free(buf);
}

static void do_flush(Guest *g, MemDisk *d, BlockNode *n)
{
    Step *s = step(g, d, ACT_FLUSH, 0, 0, 0);
    ok(block_flush(n));
    s->log_end = d->nr_log;
}

static void do_snapshot(Guest *g, MemDisk *d, BlockNode *n)
{
    Error *err = NULL;
    unsigned what = (unsigned)below(3), alive = 0, pick = 0;
    for (unsigned i = 0; i < g->nr_saved; i++) {
        if (g->saved_name[i] && below(++alive) == 0) {
            pick = i;
        }
    }
    if ((what == 0 || !alive) && g->nr_saved < 60) {
        unsigned i = g->nr_saved++;
        g->saved_name[i] = xasprintf("s%u", i);
        g->saved[i] = xmalloc(sizeof(g->now));
        g->saved_sectors[i] = g->sectors;
        memcpy(g->saved[i], g->now, sizeof(g->now));
        BlockSnapshot sn = { .name = g->saved_name[i], .date_s = 1 };
        do_flush(g, d, n);
        box_ok(n->driver->snapshot_create(n, &sn, &err), &err);
        do_flush(g, d, n);
    } else if (what == 1 && alive) {
        Step *s = step(g, d, ACT_APPLY, 0, g->saved_sectors[pick], pick);
        box_ok(n->driver->snapshot_apply(n, g->saved_name[pick], &err), &err);
        s->log_end = d->nr_log;
        memcpy(g->now, g->saved[pick], sizeof(g->now));
        g->sectors = g->saved_sectors[pick];
        do_flush(g, d, n);
    } else if (alive) {
        box_ok(n->driver->snapshot_delete(n, g->saved_name[pick], &err), &err);
        free(g->saved_name[pick]);
        g->saved_name[pick] = NULL;
        do_flush(g, d, n);
    }
}

static void do_resize(Guest *g, MemDisk *d, BlockNode *n)
{
    Error *err = NULL;
    uint64_t sectors = MAX_SECTORS / 4 + below(MAX_SECTORS * 3 / 4);
    Step *s = step(g, d, ACT_RESIZE, 0, sectors, 0);
    box_ok(block_resize(n, sectors * SECTOR, "off", &err), &err);
    s->log_end = d->nr_log;
    for (uint64_t i = MIN(sectors, g->sectors); i < MAX_SECTORS; i++) {
        g->now[i] = 0;
    }
    g->sectors = sectors;
    do_flush(g, d, n);
}

static void run_steps(Guest *g, MemDisk *d, BlockNode *n, unsigned nr, bool whole_images)
{
    for (unsigned i = 0; i < nr; i++) {
        switch (below(24)) {
        case 0:
        case 1:
        case 2: do_flush(g, d, n); break;
        case 3:
        case 4: do_zero(g, d, n, false); break;
        case 5:
        case 6: do_zero(g, d, n, true); break;
        case 7:
        case 8: do_write(g, d, n, true); break;
        case 9:
            if (whole_images && !below(2)) {
                do_snapshot(g, d, n);
            }
            break;
        case 10:
            if (whole_images && !below(4)) {
                do_resize(g, d, n);
            }
            break;
        default: do_write(g, d, n, false); break;
        }
    }
}

/* ---- what may be there after a cut ---- */

typedef struct Allowed {
    uint32_t id[MAX_SECTORS][MAX_CHOICES];
    uint8_t nr[MAX_SECTORS]; /* MAX_CHOICES: more than fit, anything goes */
    uint64_t sizes[8];
    unsigned nr_sizes;
} Allowed;

static void allow(Allowed *a, uint64_t sector, uint32_t id)
{
    for (unsigned i = 0; i < a->nr[sector]; i++) {
        if (a->id[sector][i] == id) {
            return;
        }
    }
    if (a->nr[sector] < MAX_CHOICES) {
        a->id[sector][a->nr[sector]++] = id;
    }
}

static void only(Allowed *a, uint64_t sector, uint32_t id)
{
    a->id[sector][0] = id;
    a->nr[sector] = 1;
}

static void allow_step(Allowed *a, const Guest *g, const Step *s)
{
    switch (s->act) {
    case ACT_WRITE:
    case ACT_ZERO:
    case ACT_DISCARD:
        for (uint64_t i = 0; i < s->nr; i++) {
            allow(a, s->sector + i, s->id);
        }
        break;
    case ACT_APPLY:
        for (uint64_t i = 0; i < MAX_SECTORS; i++) {
            allow(a, i, i < s->nr ? g->saved[s->id][i] : 0);
        }
        a->sizes[a->nr_sizes++ % 8] = s->nr;
        break;
    case ACT_RESIZE:
        for (uint64_t i = 0; i < MAX_SECTORS; i++) {
            allow(a, i, 0);
        }
        a->sizes[a->nr_sizes++ % 8] = s->nr;
        break;
    default: break;
    }
}

/* ---- the cuts ---- */

typedef struct Tally {
    unsigned cuts, leaky;
} Tally;

static void check_cut(MemDisk *cut, const Allowed *a, const char *backing, const char *what)
{
    Error *err = NULL;
    BlockNode *n = mem_image(cut, backing, (BlockFlags){ .discard = true }, &err);
    if (!n) {
        mem_save(cut, "bad.qcow2");
        fail_msg("%s: %s", what, error_text(err));
    }
    BlockCheck r;
    box_ok(n->driver->check(n, 0, &r, &err), &err);
    if (r.corruptions || r.errors) {
        char *keep = xasprintf("/tmp/vireo-cut-%d.qcow2", getpid());
        FILE *f = fopen(keep, "w");
        if (f) {
            fwrite(cut->data, 1, cut->size, f);
            fclose(f);
        }
        fail_msg("%s: %llu corruptions, see %s", what, (unsigned long long)r.corruptions, keep);
    }
    bool size_ok = false;
    for (unsigned i = 0; i < MIN(a->nr_sizes, 8u); i++) {
        size_ok |= n->size == a->sizes[i] * SECTOR;
    }
    assert_true(size_ok);
    uint8_t *buf = xmalloc(n->size);
    ok(block_pread(n, 0, buf, n->size));
    for (uint64_t s = 0; s < n->size / SECTOR; s++) {
        uint32_t id;
        memcpy(&id, buf + s * SECTOR, 4);
        bool found = a->nr[s] == MAX_CHOICES;
        for (unsigned i = 0; i < a->nr[s]; i++) {
            found |= a->id[s][i] == id;
        }
        if (!found) {
            fail_msg("%s: sector %llu: want %x (or one of %u), got %x", what, (unsigned long long)s,
                     a->id[s][0], a->nr[s], id);
        }
    }
    free(buf);
    block_unref(n);
}

static void apply_entry(MemDisk *d, const LogEntry *e)
{
    if (e->kind == LOG_WRITE) {
        mem_reserve(d, e->offset + e->len);
        if (e->data) {
            memcpy(d->data + e->offset, e->data, e->len);
        } else {
            memset(d->data + e->offset, 0, e->len);
        }
    }
}

/* Some of the write's sectors. */
static void apply_torn(MemDisk *d, const LogEntry *e, unsigned how)
{
    if (e->kind != LOG_WRITE || how == 0) {
        return;
    }
    if (how == 1) {
        apply_entry(d, e);
        return;
    }
    for (uint64_t at = e->offset; at < e->offset + e->len;) {
        uint64_t len = MIN(SECTOR - at % SECTOR, e->offset + e->len - at);
        LogEntry part = { LOG_WRITE, at, len, e->data ? e->data + (at - e->offset) : NULL };
        if (below(2)) {
            apply_entry(d, &part);
        }
        at += len;
    }
}

/* what: of the writes since the last flush: 0 none, 1 all, else each one or not. */
static void cut_between(MemDisk *base, const MemDisk *log, size_t from, size_t to, unsigned what,
                        const Allowed *a, const char *backing, Tally *t)
{
    MemDisk *cut = mem_disk(1);
    mem_clear(cut);
    mem_reserve(cut, base->size);
    memcpy(cut->data, base->data, base->size);
    for (size_t i = from; i < to; i++) {
        apply_torn(cut, &log->log[i], what < 2 ? what : (unsigned)below(3));
    }
    char text[80];
    snprintf(text, sizeof(text), "cut in log entries %zu to %zu (%u)", from, to, what);
    check_cut(cut, a, backing, text);
    t->cuts++;
}

static void cut_everywhere(MemDisk *start, const MemDisk *log, Guest *g, const Allowed *first,
                           const char *backing, unsigned stride, Tally *t)
{
    Allowed *sure = xmalloc(sizeof(*sure)), *all = xmalloc(sizeof(*all));
    *sure = *first;
    size_t done = 0; /* steps that are surely there */
    size_t from = 0;
    unsigned nr = 0;
    while (from < log->nr_log) {
        size_t to = from;
        while (to < log->nr_log && log->log[to].kind != LOG_FLUSH) {
            to++;
        }
        /* The last guest flush that ended before these writes began. */
        size_t flushed = done;
        for (size_t i = done; i < g->nr && g->steps[i].log_end <= from; i++) {
            if (g->steps[i].act == ACT_FLUSH) {
                flushed = i + 1;
            }
        }
        for (; done < flushed; done++) {
            const Step *s = &g->steps[done];
            for (uint64_t i = 0; s->act <= ACT_DISCARD && i < s->nr; i++) {
                if (s->act == ACT_DISCARD) { /* whole clusters only */
                    allow(sure, s->sector + i, 0);
                } else {
                    only(sure, s->sector + i, s->id);
                }
            }
            if (s->act == ACT_APPLY || s->act == ACT_RESIZE) {
                for (uint64_t i = 0; i < MAX_SECTORS; i++) {
                    if (s->act == ACT_APPLY) {
                        only(sure, i, i < s->nr ? g->saved[s->id][i] : 0);
                    } else if (i >= MIN(s->nr, sure->sizes[0])) {
                        only(sure, i, 0);
                    }
                }
                sure->sizes[0] = s->nr;
                sure->nr_sizes = 1;
            }
        }
        *all = *sure;
        for (size_t i = done; i < g->nr && g->steps[i].log_start <= to; i++) {
            allow_step(all, g, &g->steps[i]);
        }
        if (to > from && nr++ % stride == 0) {
            cut_between(start, log, from, to, 0, all, backing, t);
            cut_between(start, log, from, to, 1, all, backing, t);
            cut_between(start, log, from, to, 2, all, backing, t);
            cut_between(start, log, from, to, 3, all, backing, t);
        }
        for (; from < to; from++) {
            apply_entry(start, &log->log[from]);
        }
        from++;
    }
    free(sure);
    free(all);
}

static void cut_test(const char *options, bool has_backing, unsigned steps, unsigned stride,
                     bool whole_images)
{
    MemDisk *d = mem_disk(0), *base = mem_disk(2), *behind = mem_disk(3);
    const char *backing = has_backing ? "backing.driver=raw,backing.file.driver=testmem,"
                                        "backing.file.filename=mem3"
                                      : "";
    Guest *g = xcalloc(1, sizeof(*g));
    g->sectors = 3000;
    char *all = xasprintf("size=%u,%s", 3000 * SECTOR, options);
    box_create("cut.qcow2", all);
    free(all);
    mem_load(d, "cut.qcow2");
    mem_clear(behind);
    mem_reserve(behind, 1500 * SECTOR);
    Allowed *first = xcalloc(1, sizeof(*first));
    first->sizes[0] = g->sectors;
    first->nr_sizes = 1;
    for (uint64_t i = 0; i < MAX_SECTORS; i++) {
        uint32_t id = backing_id(i, has_backing);
        g->now[i] = id;
        only(first, i, id);
        if (i < 1500) {
            fill_sectors(behind->data + i * SECTOR, 1, id);
        }
    }
    mem_load(base, "cut.qcow2");
    Error *err = NULL;
    d->logging = true;
    for (int round = 0; round < 2; round++) {
        BlockNode *n = mem_image(d, backing, (BlockFlags){ .discard = true }, &err);
        box_ok(n != NULL, &err);
        run_steps(g, d, n, steps / 2, whole_images);
        do_flush(g, d, n);
        uint8_t *buf = xmalloc(n->size);
        ok(block_pread(n, 0, buf, n->size));
        for (uint64_t s = 0; s < g->sectors; s++) {
            uint32_t id;
            memcpy(&id, buf + s * SECTOR, 4);
            assert_int_equal(id, g->now[s]);
        }
        free(buf);
        block_unref(n);
    }
    d->logging = false;
    Tally t = { 0 };
    cut_everywhere(base, d, g, first, backing, stride, &t);
    print_message("# %s%s: %u cuts\n", options, has_backing ? ", backing file" : "", t.cuts);
    for (unsigned i = 0; i < g->nr_saved; i++) {
        free(g->saved[i]);
        free(g->saved_name[i]);
    }
    free(g->steps);
    free(g);
    free(first);
}

static unsigned scale(void)
{
    const char *text = getenv("QCOW2_CUTS");
    return text ? (unsigned)atoi(text) : 1;
}

static void test_small_clusters(void **state)
{
    (void)state;
    for (unsigned i = 0; i < scale(); i++) {
        cut_test("cluster_size=512,refcount_bits=64", false, 150, 2, false);
        cut_test("cluster_size=4k", true, 200, 1, false);
    }
}

static void test_large_clusters(void **state)
{
    (void)state;
    for (unsigned i = 0; i < scale(); i++) {
        cut_test("cluster_size=64k", true, 200, 1, false);
        cut_test("cluster_size=16k,extended_l2=on", true, 200, 1, false);
        cut_test("cluster_size=32k,extended_l2=on", false, 200, 1, false);
    }
}

static void test_old_and_lazy(void **state)
{
    (void)state;
    for (unsigned i = 0; i < scale(); i++) {
        cut_test("cluster_size=4k,compat=0.10", false, 200, 1, false);
        cut_test("cluster_size=4k,lazy_refcounts=on", true, 200, 1, false);
    }
}

static void test_snapshots(void **state)
{
    (void)state;
    for (unsigned i = 0; i < scale(); i++) {
        cut_test("cluster_size=4k", false, 200, 2, true);
        cut_test("cluster_size=16k,extended_l2=on", false, 200, 2, true);
        cut_test("cluster_size=4k,refcount_bits=8", false, 200, 2, true);
        cut_test("cluster_size=64k,compat=0.10", false, 200, 2, true);
    }
}

static int setup(void **state)
{
    const char *seed = getenv("QCOW2_SEED");
    box_seed = seed ? strtoull(seed, NULL, 0) | 1 : 20240601;
    return box_setup(state);
}

#define TEST(fn)                                                                                   \
    {                                                                                              \
#fn, fn, NULL, NULL, NULL                                                                  \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_clusters),
        TEST(test_large_clusters),
        TEST(test_old_and_lazy),
        TEST(test_snapshots),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, box_teardown);
}
