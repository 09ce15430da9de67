/* SPDX-License-Identifier: GPL-2.0-or-later
 * Faults at every event of qcow2: the first, a later and a much later time that an event passes,
 * the next I/O fails with EIO or ENOSPC, some after half of it was done. The operation must say so.
 * The bytes in the file at that moment (the process dies), after a close (the machine stops there)
 * and after the operation was made again and more followed must be an image without errors but for
 * leaks, which holds every sector that was flushed before.
 *
 * A run without a fault counts how often each event passes; one that none of the images ever
 * passes fails the test. QCOW2_FAULTS=1: all of it, and qemu-img looks at every image.
 */
#include "tests/unit/qcow2_box.h"

enum { SECTOR = 512, MAX_SECTORS = 8192, MAX_IDS = 10, BEHIND = 1500 };

/* Those that qcow2 passes, and those of the node blkdebug itself. cor_write has a test of its own:
 * a copy that fails is no error. */
static const struct {
    const char *name, *io; /* the I/O that follows and is to fail */
} events[] = {
    { "l1_update", "write" },
    { "l1_grow_alloc_table", "write" },
    { "l1_grow_write_table", "write" },
    { "l1_grow_activate_table", "write" },
    { "l1_shrink_free_l2_clusters", "write" },
    { "l2_load", "read" },
    { "l2_update", "write" },
    { "l2_alloc_cow_read", "read" },
    { "l2_alloc_write", "write" },
    { "read_aio", "read" },
    { "read_backing_aio", "read" },
    { "read_compressed", "read" },
    { "write_aio", "write" },
    { "write_compressed", "write" },
    { "vmstate_load", "read" },
    { "vmstate_save", "write" },
    { "cow_read", "read" },
    { "cow_write", "write" },
    { "reftable_load", "read" },
    { "reftable_grow", "write" },
    { "reftable_update", "write" },
    { "refblock_load", "read" },
    { "refblock_update", "write" },
    { "refblock_alloc", "write" },
    { "refblock_alloc_write_blocks", "write" },
    { "refblock_alloc_write_table", "write" },
    { "refblock_alloc_switch_table", "write" },
    { "cluster_alloc", "write" },
    { "cluster_alloc_bytes", "write" },
    { "cluster_free", "write" },
    { "flush_to_disk", "flush" },
    { "pwritev_zero", "write-zeroes" },
    { "discard", "discard" },
    { "empty_image_prepare", "write" },
};
enum { NR_EVENTS = ARRAY_SIZE(events) };

/* ---- images ---- */

typedef struct Config {
    const char *options, *open;
    unsigned sectors;
    bool has_backing;
} Config;

#define SMALL "l2-cache-size=4k,l2-cache-entry-size=512,refcount-cache-size=4k"
static const Config configs[] = {
    { "cluster_size=512,refcount_bits=64", SMALL, 5000, true },
    { "cluster_size=4k,refcount_bits=64", SMALL, 6000, false },
    { "cluster_size=16k,extended_l2=on", SMALL, 3000, true },
    { "cluster_size=4k,lazy_refcounts=on", SMALL, 3000, true },
    { "cluster_size=64k,compat=0.10", "", 3000, false },
};

/* ---- what the guest knows ---- */

typedef struct Guest {
    const Config *config;
    BlockNode *n;
    uint64_t sectors;
    uint32_t next_id, now[MAX_SECTORS], saved[MAX_SECTORS];
    /* what a sector may show after a cut: what was flushed, and all since then */
    uint32_t may[MAX_SECTORS][MAX_IDS];
    uint8_t nr_may[MAX_SECTORS];
    bool told; /* an operation failed */
    unsigned serial;
} Guest;

static uint32_t behind_id(const Config *c, uint64_t sector)
{
    return c->has_backing && sector < BEHIND ? 0x10000000u + (uint32_t)sector : 0;
}

static bool may_be(const Guest *g, uint64_t sector, uint32_t id)
{
    for (unsigned i = 0; i < g->nr_may[sector]; i++) {
        if (g->may[sector][i] == id) {
            return true;
        }
    }
    return false;
}

static void allow(Guest *g, uint64_t sector, uint32_t id)
{
    if (!may_be(g, sector, id)) {
        assert_true(g->nr_may[sector] < MAX_IDS);
        g->may[sector][g->nr_may[sector]++] = id;
    }
}

static void flushed(Guest *g)
{
    for (uint64_t i = 0; i < MAX_SECTORS; i++) {
        g->may[i][0] = g->now[i];
        g->nr_may[i] = 1;
    }
}

/* ---- operations: 0 or an errno ---- */

typedef enum Op {
    OP_READ,
    OP_WRITE,
    OP_COMPRESSED,
    OP_ZERO,
    OP_DISCARD,
    OP_FLUSH,
    OP_SAVE,
    OP_APPLY,
    OP_DELETE,
    OP_VM_SAVE,
    OP_VM_LOAD,
    OP_GROW,
    OP_SHRINK,
    OP_EMPTY
} Op;

typedef struct Step {
    Op op;
    unsigned sector, nr; /* GROW and SHRINK: nr is what is added or taken */
} Step;

/* With 512-byte clusters an L2 table covers 32 KiB, a refcount block, too. */
static const Step steps[] = {
    { OP_READ, 0, 2900 },       { OP_WRITE, 3, 2 },      { OP_WRITE, 700, 300 },
    { OP_COMPRESSED, 128, 1 },  { OP_FLUSH, 0, 0 },      { OP_WRITE, 64, 1 },
    { OP_WRITE, 2600, 9 },      { OP_ZERO, 100, 700 },   { OP_DISCARD, 512, 512 },
    { OP_READ, 100, 900 },      { OP_FLUSH, 0, 0 },      { OP_WRITE, 0, 2900 },
    { OP_FLUSH, 0, 0 },         { OP_SAVE, 0, 0 },       { OP_WRITE, 1, 1 },
    { OP_WRITE, 515, 40 },      { OP_FLUSH, 0, 0 },      { OP_COMPRESSED, 1024, 1 },
    { OP_COMPRESSED, 1152, 1 }, { OP_READ, 1000, 400 },  { OP_VM_SAVE, 0, 100 },
    { OP_VM_LOAD, 0, 100 },     { OP_FLUSH, 0, 0 },      { OP_GROW, 0, 1500 },
    { OP_WRITE, 2990, 1200 },   { OP_FLUSH, 0, 0 },      { OP_SHRINK, 0, 1400 },
    { OP_APPLY, 0, 0 },         { OP_WRITE, 1300, 3 },   { OP_DELETE, 0, 0 },
    { OP_DISCARD, 0, 1024 },    { OP_FLUSH, 0, 0 },      { OP_GROW, 0, 1500 },
    { OP_FLUSH, 0, 0 },         { OP_WRITE, 200, 1500 }, { OP_READ, 0, 2900 },
    { OP_EMPTY, 0, 0 },         { OP_WRITE, 40, 400 },   { OP_FLUSH, 0, 0 },
};

static char last_error[200];

static int as_error(bool ok, Error **err)
{
    if (!ok) {
        assert_null(strchr(error_text(*err), '\n'));
        snprintf(last_error, sizeof(last_error), "%s", error_text(*err));
        error_free(*err);
        *err = NULL;
    }
    return ok ? 0 : EIO;
}

static void set_range(Guest *g, uint64_t sector, uint64_t nr, uint32_t id)
{
    for (uint64_t i = sector; i < sector + nr; i++) {
        g->now[i] = id;
    }
}

static int do_write(Guest *g, const Step *st, bool compressed)
{
    uint64_t nr = compressed ? g->n->cluster_size / SECTOR : st->nr;
    uint32_t id = ++g->next_id;
    uint8_t *buf = xmalloc(nr * SECTOR);
    fill_sectors(buf, nr, id);
    for (uint64_t i = 0; i < nr; i++) {
        allow(g, st->sector + i, id);
    }
    int error = compressed
                    ? g->n->driver->write_compressed(g->n, st->sector * SECTOR, buf, nr * SECTOR)
                    : block_pwrite(g->n, st->sector * SECTOR, buf, nr * SECTOR);
    free(buf);
    if (!error) {
        set_range(g, st->sector, nr, id);
    }
    return error;
}

/* Afterwards they are what they are: something that they may be. */
static void look(Guest *g, uint64_t sector, uint64_t nr)
{
    uint8_t *buf = xmalloc(nr * SECTOR);
    assert_int_equal(block_pread(g->n, sector * SECTOR, buf, nr * SECTOR), 0);
    for (uint64_t i = 0; i < nr; i++) {
        memcpy(&g->now[sector + i], buf + i * SECTOR, 4);
        if (!may_be(g, sector + i, g->now[sector + i])) {
            fail_msg("sector %u shows %x", (unsigned)(sector + i), g->now[sector + i]);
        }
    }
    free(buf);
}

static int do_clear(Guest *g, const Step *st)
{
    for (uint64_t i = st->sector; i < st->sector + st->nr; i++) {
        allow(g, i, 0);
        if (st->op == OP_DISCARD) {
            allow(g, i, behind_id(g->config, i));
        }
    }
    int error = st->op == OP_ZERO
                    ? block_write_zeroes(g->n, st->sector * SECTOR, st->nr * SECTOR, true)
                    : block_discard(g->n, st->sector * SECTOR, st->nr * SECTOR);
    if (!error && st->op == OP_ZERO) {
        set_range(g, st->sector, st->nr, 0);
    }
    return error;
}

static int do_read(Guest *g, const Step *st)
{
    uint8_t *buf = xmalloc(st->nr * SECTOR);
    int error = block_pread(g->n, st->sector * SECTOR, buf, st->nr * SECTOR);
    for (uint64_t i = 0; i < st->nr && !error; i++) {
        uint32_t id;
        memcpy(&id, buf + i * SECTOR, 4);
        if (id != g->now[st->sector + i]) {
            fail_msg("sector %u: want %x, got %x", (unsigned)(st->sector + i),
                     g->now[st->sector + i], id);
        }
    }
    free(buf);
    return error;
}

static int do_vm_state(Guest *g, const Step *st)
{
    uint8_t *buf = xmalloc(st->nr * SECTOR), *back = xmalloc(st->nr * SECTOR);
    fill_sectors(buf, st->nr, 0x20000000);
    int error = st->op == OP_VM_SAVE ? g->n->driver->vmstate_pwrite(g->n, 0, buf, st->nr * SECTOR)
                                     : g->n->driver->vmstate_pread(g->n, 0, back, st->nr * SECTOR);
    if (!error && st->op == OP_VM_LOAD) {
        assert_memory_equal(buf, back, st->nr * SECTOR);
    }
    free(buf);
    free(back);
    return error;
}

static int do_snapshot(Guest *g, const Step *st)
{
    Error *err = NULL;
    const BlockDriver *d = g->n->driver;
    if (st->op == OP_SAVE) {
        char name[16];
        snprintf(name, sizeof(name), "s%u", ++g->serial);
        BlockSnapshot sn = { .name = name, .date_s = 1 };
        memcpy(g->saved, g->now, sizeof(g->now));
        return as_error(d->snapshot_create(g->n, &sn, &err), &err);
    }
    char name[16];
    snprintf(name, sizeof(name), "s%u", g->serial);
    if (st->op == OP_DELETE) {
        BlockSnapshot *list;
        size_t nr = d->snapshots(g->n, &list); /* a failed one may have deleted it */
        block_snapshots_free(list, nr);
        return nr ? as_error(d->snapshot_delete(g->n, name, &err), &err) : 0;
    }
    for (uint64_t i = 0; i < MAX_SECTORS; i++) {
        allow(g, i, i < g->config->sectors ? g->saved[i] : 0);
    }
    int error = as_error(d->snapshot_apply(g->n, name, &err), &err);
    if (!error) {
        memcpy(g->now, g->saved, sizeof(g->now));
        g->sectors = g->config->sectors;
    }
    return error;
}

static int do_size(Guest *g, const Step *st)
{
    Error *err = NULL;
    bool more = st->op == OP_GROW;
    uint64_t sectors = g->config->sectors + (more ? st->nr : 100);
    for (uint64_t i = MIN(sectors, g->sectors); i < MAX_SECTORS; i++) {
        allow(g, i, 0);
    }
    const char *prealloc = more && !g->config->has_backing ? "metadata" : "off";
    int error = as_error(block_resize(g->n, sectors * SECTOR, prealloc, &err), &err);
    if (!error) {
        set_range(g, MIN(sectors, g->sectors), MAX_SECTORS - MIN(sectors, g->sectors), 0);
        g->sectors = sectors;
    }
    return error;
}

static int do_empty(Guest *g)
{
    for (uint64_t i = 0; i < MAX_SECTORS; i++) {
        allow(g, i, behind_id(g->config, i));
    }
    int error = g->n->driver->make_empty(g->n);
    for (uint64_t i = 0; i < MAX_SECTORS && !error; i++) {
        g->now[i] = behind_id(g->config, i);
    }
    return error;
}

static int do_step(Guest *g, const Step *st)
{
    switch (st->op) {
    case OP_READ: return do_read(g, st);
    case OP_WRITE: return do_write(g, st, false);
    case OP_COMPRESSED: return do_write(g, st, true);
    case OP_ZERO:
    case OP_DISCARD: return do_clear(g, st);
    case OP_SAVE:
    case OP_APPLY:
    case OP_DELETE: return do_snapshot(g, st);
    case OP_VM_SAVE:
    case OP_VM_LOAD: return do_vm_state(g, st);
    case OP_GROW:
    case OP_SHRINK: return do_size(g, st);
    case OP_EMPTY: return do_empty(g);
    default: break;
    }
    int error = block_flush(g->n);
    if (!error) {
        flushed(g);
    }
    return error;
}

/* ---- looking at what came of it ---- */

static const char *what; /* for messages: event, time, error */

static BlockNode *open_plain(MemDisk *d, const Config *c, Error **err)
{
    const char *backing = c->has_backing ? "backing.driver=raw,backing.file.driver=testmem,"
                                           "backing.file.filename=mem3"
                                         : "";
    return mem_image(d, backing, (BlockFlags){ .discard = true }, err);
}

/* One that is marked dirty (lazy refcounts, a snapshot that was not finished) is repaired by
 * whoever opens it for writing; in version 2, which has no such mark, COPIED flags that are missing
 * are errors to qemu-img (docs/qcow2.md). */
static void ask_qemu_img(const MemDisk *d, const char *when)
{
    bool dirty = d->data[7] == 2 || d->data[79] & 1;
    mem_save(d, "judge.qcow2");
    int status = box_run("%sqemu-img check judge.qcow2 || test $? = 3",
                         dirty ? "qemu-img check -r all judge.qcow2; " : "");
    if (status) {
        box_show_output();
        fail_msg("%s, %s: qemu-img check says %d", what, when, status);
    }
}

/* The bytes of disk d are an image without errors that shows what it may. */
static void judge(Guest *g, const MemDisk *d, const char *when, bool ask_qemu)
{
    Error *err = NULL;
    MemDisk *copy = mem_disk(2);
    void (*hook)(const char *) = mem_event_hook;
    mem_event_hook = NULL; /* only what the workload does counts */
    mem_clear(copy);
    mem_reserve(copy, d->size);
    memcpy(copy->data, d->data, d->size);
    if (ask_qemu) {
        ask_qemu_img(copy, when);
    }
    BlockNode *n = open_plain(copy, g->config, &err);
    if (!n) {
        fail_msg("%s, %s: %s", what, when, error_text(err));
    }
    BlockCheck r = { 0 };
    box_ok(n->driver->check(n, 0, &r, &err), &err);
    if (r.corruptions || r.errors) {
        mem_save(copy, "bad.qcow2");
        fail_msg("%s, %s: %u corruptions, %u errors", what, when, (unsigned)r.corruptions,
                 (unsigned)r.errors);
    }
    uint64_t nr = MIN(n->size / SECTOR, (uint64_t)MAX_SECTORS);
    uint8_t *buf = xmalloc(nr * SECTOR);
    assert_int_equal(block_pread(n, 0, buf, nr * SECTOR), 0);
    for (uint64_t i = 0; i < nr; i++) {
        uint32_t id;
        memcpy(&id, buf + i * SECTOR, 4);
        if (!may_be(g, i, id)) {
            fail_msg("%s, %s: sector %u has %x; flushed was %x", what, when, (unsigned)i, id,
                     g->may[i][0]);
        }
    }
    free(buf);
    block_unref(n);
    mem_event_hook = hook;
}

/* ---- runs ---- */

static MemDisk fresh[ARRAY_SIZE(configs)]; /* the images as made, with something in them */

static void make_image(unsigned c)
{
    if (fresh[c].data) {
        return;
    }
    MemDisk *d = mem_disk(0);
    char *options = xasprintf("size=%u,%s", configs[c].sectors * SECTOR, configs[c].options);
    box_create("fault.qcow2", options);
    free(options);
    mem_load(d, "fault.qcow2");
    fresh[c] = *d;
    memset(d, 0, sizeof(*d));
    MemDisk *behind = mem_disk(3);
    mem_reserve(behind, BEHIND * SECTOR);
    for (unsigned i = 0; i < BEHIND; i++) {
        fill_sectors(behind->data + i * SECTOR, 1, 0x10000000u + i);
    }
}

static unsigned passed[NR_EVENTS];

static void count_event(const char *event)
{
    for (unsigned i = 0; i < NR_EVENTS; i++) {
        passed[i] += !strcmp(events[i].name, event);
    }
}

/* blkdebug's words for "from the nth time on that this event passes, one I/O fails". */
static char *rules(unsigned e, unsigned nth, int error, bool partial)
{
    const char *event = events[e].name;
    char *text = xasprintf("file.inject-error.0.event=%s,file.inject-error.0.errno=%d,"
                           "file.inject-error.0.iotype=%s,"
                           "file.inject-error.0.once=on,file.inject-error.0.partial=%s,"
                           "file.inject-error.0.state=%u",
                           event, error, events[e].io, partial ? "on" : "off", nth);
    for (unsigned i = 1; i < nth; i++) {
        char *more = xasprintf("%s,file.set-state.%u.event=%s,file.set-state.%u.state=%u,"
                               "file.set-state.%u.new_state=%u",
                               text, i - 1, event, i - 1, i, i - 1, i + 1);
        free(text);
        text = more;
    }
    return text;
}

static BlockNode *open_faulty(const Config *c, const char *rule, Error **err)
{
    char *text = xasprintf("driver=qcow2,%s%s%sfile.driver=blkdebug,file.image.driver=testmem,"
                           "file.image.filename=mem0%s%s",
                           c->open, *c->open ? "," : "",
                           c->has_backing ? "backing.driver=raw,backing.file.driver=testmem,"
                                            "backing.file.filename=mem3,"
                                          : "",
                           *rule ? "," : "", rule);
    Dict *opts = dict_parse(text, NULL, err);
    BlockFlags flags = { .discard = true };
    BlockNode *n = opts ? block_open(opts, &flags, err) : NULL;
    dict_free(opts);
    free(text);
    return n;
}

/* The workload over a fresh image. go_on: what failed is made once more, and all else follows. */
static void run_steps(Guest *g, bool go_on, bool ask_qemu)
{
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        int error = do_step(g, &steps[i]);
        if (error) {
            assert_false(g->told);
            g->told = true;
            judge(g, mem_disk(0), "after the error", ask_qemu);
            if (!go_on) {
                return;
            }
            error = do_step(g, &steps[i]);
        }
        if (error) {
            fail_msg("%s: step %u, made again: %s (%s)", what, i, strerror(error), last_error);
        }
        if (steps[i].op == OP_DISCARD) {
            look(g, steps[i].sector, steps[i].nr);
        }
    }
}

static bool one_run(unsigned c, const char *rule, bool go_on, bool ask_qemu)
{
    Error *err = NULL;
    Guest *g = xcalloc(1, sizeof(*g));
    MemDisk *d = mem_disk(0);
    mem_clear(d);
    mem_reserve(d, fresh[c].size);
    memcpy(d->data, fresh[c].data, fresh[c].size);
    g->config = &configs[c];
    g->sectors = configs[c].sectors;
    for (uint64_t i = 0; i < MAX_SECTORS; i++) {
        g->now[i] = behind_id(g->config, i);
    }
    flushed(g);
    g->n = open_faulty(g->config, rule, &err);
    bool told = !g->n;
    if (g->n) {
        run_steps(g, go_on, ask_qemu);
        told = g->told;
        block_unref(g->n);
    } else {
        assert_null(strchr(error_text(err), '\n'));
        error_free(err);
    }
    judge(g, d, "after the close", ask_qemu);
    free(g);
    return told;
}

/* Discards are hints, whose errors nobody hears of; what is read behind is not below blkdebug, so
 * that it takes another read, if there is one. Lazy refcounts are written by the close, which can
 * only warn. */
static bool is_sure(unsigned c, unsigned e)
{
    bool lazy = strstr(configs[c].options, "lazy") && !strncmp(events[e].name, "ref", 3);
    return !lazy && strcmp(events[e].name, "discard") && strcmp(events[e].name, "read_backing_aio");
}

static void test_every_event(void **state)
{
    (void)state;
    static const unsigned times[] = { 1, 2, 5, 13, 29 };
    static const struct {
        int error;
        bool partial;
    } faults[] = { { EIO, false }, { ENOSPC, false }, { EIO, true }, { ENOSPC, true } };
    bool all = getenv("QCOW2_FAULTS") != NULL, qemu = box_has_qemu();
    unsigned ever[NR_EVENTS] = { 0 }, runs = 0, turn = 0;
    for (unsigned c = 0; c < ARRAY_SIZE(configs); c++) {
        make_image(c);
        memset(passed, 0, sizeof(passed));
        mem_event_hook = count_event;
        what = "no fault";
        assert_false(one_run(c, "", true, qemu));
        mem_event_hook = NULL;
        for (unsigned e = 0; e < NR_EVENTS; e++) {
            ever[e] += passed[e];
            if (getenv("QCOW2_EVENTS")) {
                print_message("# %s: %s passes %u times\n", configs[c].options, events[e].name,
                              passed[e]);
            }
            for (unsigned t = 0; t < ARRAY_SIZE(times) && times[t] <= passed[e]; t++) {
                for (unsigned f = 0; f < ARRAY_SIZE(faults); f++) {
                    if (!all && (turn++ + c) % 3) {
                        continue;
                    }
                    char *name = xasprintf("%s, %s, time %u, %s%s", configs[c].options,
                                           events[e].name, times[t], strerror(faults[f].error),
                                           faults[f].partial ? " after a half" : "");
                    what = name;
                    char *rule = rules(e, times[t], faults[f].error, faults[f].partial);
                    bool told = one_run(c, rule, (t + f) % 2, qemu && (all || runs % 16 == 0));
                    if (!told && is_sure(c, e)) { /* that is a hint */
                        fail_msg("%s: nobody said so", what);
                    }
                    free(rule);
                    free(name);
                    runs++;
                }
            }
        }
    }
    for (unsigned e = 0; e < NR_EVENTS; e++) {
        if (!ever[e]) {
            fail_msg("the event %s never passes", events[e].name);
        }
    }
    print_message("# %u faults%s\n", runs, qemu ? "" : " (no qemu-img)");
}

/* A node over image 0 as it was made: above is what comes before the image's own words. */
static BlockNode *open_over(Guest *g, const char *words)
{
    Error *err = NULL;
    make_image(0);
    MemDisk *d = mem_disk(0);
    mem_clear(d);
    mem_reserve(d, fresh[0].size);
    memcpy(d->data, fresh[0].data, fresh[0].size);
    g->config = &configs[0];
    g->sectors = configs[0].sectors;
    for (uint64_t i = 0; i < MAX_SECTORS; i++) {
        g->now[i] = behind_id(g->config, i);
    }
    flushed(g);
    Dict *opts = dict_parse(words, NULL, &err);
    box_ok(opts != NULL, &err);
    g->n = block_open(opts, &(BlockFlags){ .discard = true }, &err);
    box_ok(g->n != NULL, &err);
    dict_free(opts);
    return g->n;
}

/* A copy that cannot be kept is no error of the read. */
static void test_copy_on_read(void **state)
{
    (void)state;
    Guest *g = xcalloc(1, sizeof(*g));
    what = "cor_write";
    open_over(g, "driver=copy-on-read,file.driver=qcow2,file.file.driver=blkdebug,"
                 "file.file.image.driver=testmem,file.file.image.filename=mem0,"
                 "file.backing.driver=raw,file.backing.file.driver=testmem,"
                 "file.backing.file.filename=mem3,"
                 "file.file.inject-error.0.event=cor_write,file.file.inject-error.0.errno=28,"
                 "file.file.inject-error.0.iotype=write,file.file.inject-error.0.once=on");
    BlockExtent e;
    assert_int_equal(do_read(g, &(Step){ OP_READ, 0, 100 }), 0);
    assert_int_equal(block_status(g->n->file, 0, 100 * SECTOR, &e), 0);
    assert_false(e.allocated); /* so it fired */
    judge(g, mem_disk(0), "after the read", box_has_qemu());
    assert_int_equal(do_read(g, &(Step){ OP_READ, 0, 100 }), 0);
    assert_int_equal(block_status(g->n->file, 0, 100 * SECTOR, &e), 0);
    assert_true(e.allocated);
    block_unref(g->n);
    judge(g, mem_disk(0), "after the close", box_has_qemu());
    free(g);
}

/* What lies behind cannot be read: neither can the guest, nor is anything made of it. */
static void test_behind(void **state)
{
    (void)state;
    Guest *g = xcalloc(1, sizeof(*g));
    what = "reading behind";
    open_over(g, "driver=qcow2,file.driver=testmem,file.filename=mem0,backing.driver=raw,"
                 "backing.file.driver=blkdebug,backing.file.image.driver=testmem,"
                 "backing.file.image.filename=mem3,backing.file.inject-error.0.event=read_aio,"
                 "backing.file.inject-error.0.sector=100");
    uint8_t byte = 1;
    assert_int_equal(do_read(g, &(Step){ OP_READ, 0, 99 }), 0);
    assert_int_equal(do_read(g, &(Step){ OP_READ, 90, 20 }), EIO);
    assert_int_equal(block_pwrite(g->n, 100 * SECTOR + 1, &byte, 1), EIO);
    assert_int_equal(do_write(g, &(Step){ OP_WRITE, 100, 1 }, false), 0);
    assert_int_equal(do_read(g, &(Step){ OP_READ, 90, 20 }), 0);
    block_unref(g->n);
    judge(g, mem_disk(0), "after the close", box_has_qemu());
    free(g);
}

#define TEST(fn)                                                                                   \
    {                                                                                              \
#fn, fn, NULL, NULL, NULL                                                                  \
    }
int main(void)
{
    const struct CMUnitTest tests[] = { TEST(test_every_event), TEST(test_copy_on_read),
                                        TEST(test_behind) };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}
