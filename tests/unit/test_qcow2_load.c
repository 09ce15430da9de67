/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2 under load: several threads on one image, writers that are killed, hosts that fail in the
 * middle.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "tests/unit/qcow2_box.h"

enum { SECTOR = 512 };

static void check_leaks_only(BlockNode *n, const char *what)
{
    BlockCheck r;
    Error *err = NULL;
    box_ok(n->driver->check(n, 0, &r, &err), &err);
    if (r.corruptions || r.errors) {
        fail_msg("%s: %llu corruptions", what, (unsigned long long)r.corruptions);
    }
}

/* ---- threads ---- */

enum { NR_THREADS = 4, STRIPES = 2048 };

typedef struct Worker {
    pthread_t thread;
    BlockNode *n;
    unsigned index;
    uint64_t seed;
    unsigned ops;
    uint8_t now[STRIPES]; /* what this thread's sectors hold */
    int error;
} Worker;

static uint64_t draw(Worker *w, uint64_t max)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return w->seed % max;
}

/* Each thread owns every fourth sector, so that all of them meet in every cluster. */
static uint64_t sector_of(const Worker *w, uint64_t stripe)
{
    return (stripe * NR_THREADS + w->index) * SECTOR;
}

static bool holds(const uint8_t *buf, uint8_t byte)
{
    for (unsigned i = 0; i < SECTOR; i++) {
        if (buf[i] != byte) {
            return false;
        }
    }
    return true;
}

static void *work(void *arg)
{
    Worker *w = arg;
    uint8_t buf[SECTOR];
    for (unsigned i = 0; i < w->ops && !w->error; i++) {
        uint64_t stripe = draw(w, STRIPES), at = sector_of(w, stripe);
        switch (draw(w, 8)) {
        case 0: w->error = block_flush(w->n); break;
        case 1:
            w->error = block_write_zeroes(w->n, at, SECTOR, true);
            w->now[stripe] = 0;
            break;
        case 2:
        case 3:
        case 4:
            w->error = block_pread(w->n, at, buf, SECTOR);
            w->error = w->error || holds(buf, w->now[stripe]) ? w->error : EILSEQ;
            break;
        default:
            w->now[stripe] = (uint8_t)(1 + draw(w, 255));
            memset(buf, w->now[stripe], SECTOR);
            w->error = block_pwrite(w->n, at, buf, SECTOR);
            break;
        }
    }
    return NULL;
}

/* Somebody discards and zeroes whole clusters elsewhere meanwhile, so that places change hands. */
static void *stir(void *arg)
{
    Worker *w = arg;
    uint64_t from = (uint64_t)STRIPES * NR_THREADS * SECTOR, c = w->n->cluster_size;
    uint8_t *buf = xmalloc(c);
    memset(buf, 0xee, c);
    for (unsigned i = 0; i < w->ops / 4 && !w->error; i++) {
        uint64_t at = from + draw(w, 32) * c;
        switch (draw(w, 4)) {
        case 0: w->error = block_discard(w->n, at, c); break;
        case 1: w->error = w->n->driver->write_compressed(w->n, at, buf, c); break;
        case 2: w->error = block_pwrite(w->n, at + 100, buf, c / 2); break;
        default:
            w->error = block_pread(w->n, at, buf, c);
            memset(buf, 0xee, c);
            break;
        }
    }
    free(buf);
    return NULL;
}

static void threads_on(const char *options)
{
    box_create("t.qcow2", options);
    BlockNode *n = box_open("t.qcow2");
    Worker *w = xcalloc(NR_THREADS + 1, sizeof(*w));
    for (unsigned i = 0; i <= NR_THREADS; i++) {
        w[i].n = n;
        w[i].index = i;
        w[i].seed = rnd() | 1;
        w[i].ops = 2500;
        assert_int_equal(pthread_create(&w[i].thread, NULL, i < NR_THREADS ? work : stir, &w[i]),
                         0);
    }
    for (unsigned i = 0; i <= NR_THREADS; i++) {
        pthread_join(w[i].thread, NULL);
    }
    for (unsigned i = 0; i <= NR_THREADS; i++) {
        if (w[i].error) {
            fail_msg("%s: thread %u: %s", options, i, strerror(w[i].error));
        }
    }
    for (unsigned i = 0; i < NR_THREADS; i++) {
        for (unsigned k = 0; k < STRIPES; k++) {
            uint8_t buf[SECTOR];
            assert_int_equal(block_pread(n, sector_of(&w[i], k), buf, SECTOR), 0);
            assert_true(holds(buf, w[i].now[k]));
        }
    }
    block_unref(n);
    n = box_open("t.qcow2");
    BlockCheck r;
    Error *err = NULL;
    box_ok(n->driver->check(n, 0, &r, &err), &err);
    assert_int_equal(r.corruptions + r.leaks, 0);
    block_unref(n);
    free(w);
    if (box_has_qemu()) {
        assert_int_equal(box_run("qemu-img check t.qcow2"), 0);
    }
}

static void test_threads(void **state)
{
    (void)state;
    threads_on("size=8M,cluster_size=4k");
    threads_on("size=8M");
    threads_on("size=8M,cluster_size=16k,extended_l2=on");
    threads_on("size=8M,cluster_size=512");
}

/* ---- kill -9 ---- */

/* What the child has flushed, in memory shared with it. */
typedef struct Shared {
    uint32_t flushed[4096], maybe[4096]; /* by sector */
    volatile uint32_t round;
} Shared;

static void writer(const char *name, Shared *sh, uint64_t seed)
{
    BlockNode *n = box_open(name);
    uint8_t buf[16 * SECTOR];
    box_seed = seed | 1;
    for (uint32_t id = sh->round + 1;; id++) {
        for (int i = 0; i < 8; i++) {
            uint64_t nr = 1 + below(16), at = below(4096 - nr);
            fill_sectors(buf, nr, id);
            for (uint64_t s = at; s < at + nr; s++) {
                sh->maybe[s] = id;
            }
            if (block_pwrite(n, at * SECTOR, buf, nr * SECTOR)) {
                _exit(1);
            }
        }
        if (block_flush(n)) {
            _exit(1);
        }
        for (unsigned s = 0; s < 4096; s++) {
            sh->flushed[s] = sh->maybe[s];
        }
        sh->round = id;
    }
}

static void test_kill(void **state)
{
    (void)state;
    const char *text = getenv("QCOW2_KILLS");
    unsigned kills = text ? (unsigned)atoi(text) : 12;
    Shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(sh != MAP_FAILED);
    static const char *const kinds[] = { "size=2M,cluster_size=4k", "size=2M",
                                         "size=2M,cluster_size=4k,lazy_refcounts=on",
                                         "size=2M,extended_l2=on" };
    for (unsigned i = 0; i < kills; i++) {
        if (i % 4 == 0) { /* the others go on with what a killed one left */
            box_create("k.qcow2", kinds[i / 4 % ARRAY_SIZE(kinds)]);
            memset(sh, 0, sizeof(*sh));
        }
        uint32_t before = sh->round;
        uint64_t seed = rnd();
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            writer("k.qcow2", sh, seed);
        }
        while (sh->round < before + 1 + below(4) && waitpid(pid, NULL, WNOHANG) == 0) {
            usleep(200 + (useconds_t)below(3000));
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        BlockNode *n = box_open("k.qcow2");
        check_leaks_only(n, "after kill -9");
        for (unsigned s = 0; s < 4096; s++) {
            uint32_t id[SECTOR / 4];
            assert_int_equal(block_pread(n, s * SECTOR, id, SECTOR), 0);
            if (id[0] < sh->flushed[s] ||
                (id[0] != sh->flushed[s] && id[0] != sh->maybe[s] && id[0] != sh->round + 1)) {
                fail_msg("kill %u: sector %u: flushed %u, got %u", i, s, sh->flushed[s], id[0]);
            }
            sh->flushed[s] = sh->maybe[s] = id[0];
        }
        sh->round++;
        block_unref(n);
        if (box_has_qemu() && i % 4 == 3) {
            int status = box_run("qemu-img check k.qcow2");
            assert_true(status == 0 || status == 3); /* 3: leaks */
        }
    }
    munmap(sh, sizeof(*sh));
}

/* ---- a host that fails ---- */

/* At every write in turn the disk is full: the guest hears of it, what was flushed stays, and when
 * there is room again all goes on. */
static void test_no_room(void **state)
{
    (void)state;
    for (long at = 1; at < 60; at++) {
        Error *err = NULL;
        uint8_t buf[8192], back[8192];
        box_create("full.qcow2", "size=1M,cluster_size=512");
        MemDisk *d = mem_disk(0);
        mem_load(d, "full.qcow2");
        BlockNode *n = mem_image(d, "", (BlockFlags){ .discard = true }, &err);
        box_ok(n != NULL, &err);
        memset(buf, 0x42, sizeof(buf));
        assert_int_equal(block_pwrite(n, 0, buf, sizeof(buf)), 0);
        assert_int_equal(block_flush(n), 0);
        d->fail_after = at;
        int error = 0;
        for (int i = 0; i < 12 && !error; i++) {
            error = block_pwrite(n, 3000 + (uint64_t)i * 50000, buf, 6000);
            error = error ? error : block_write_zeroes(n, 300000, 40000, true);
            error = error ? error : block_flush(n);
        }
        assert_true(error == ENOSPC || at > 20);
        d->fail_after = 0;
        assert_int_equal(block_flush(n), 0);
        assert_int_equal(block_pread(n, 0, back, 3000), 0);
        assert_memory_equal(back, buf, 3000);
        assert_int_equal(block_pwrite(n, 900000, buf, 8192), 0);
        assert_int_equal(block_flush(n), 0);
        check_leaks_only(n, "after ENOSPC");
        block_unref(n);
        n = mem_image(d, "", (BlockFlags){ .discard = true }, &err);
        box_ok(n != NULL, &err);
        check_leaks_only(n, "opened again after ENOSPC");
        assert_int_equal(block_pread(n, 900000, back, 8192), 0);
        assert_memory_equal(back, buf, 8192);
        block_unref(n);
    }
}

/* A first write, and if all: what else changes the header. What fails is told, and done again so
 * often. */
static void change(BlockNode *n, const uint8_t *buf, bool all, int tries)
{
    const BlockSnapshot sn = { .name = "s" };
    uint64_t size = n->size + 512 * KiB; /* another L1 table with clusters of 512 bytes */
    bool ok = false;
    for (int i = 0; i < 3 && !ok; i++) {
        ok = block_pwrite(n, 0, buf, 8192) == 0;
    }
    ok = !all;
    for (int i = 0; i < tries && !ok; i++) {
        Error *err = NULL;
        ok = n->driver->snapshot_create(n, &sn, &err);
        (void)block_pwrite(n, 3000, buf, 6000);
        ok = ok && block_resize(n, size, "off", &err);
        (void)block_pwrite(n, n->size - 8192, buf, 8192);
        ok = ok && n->driver->snapshot_delete(n, "s", &err);
        error_free(err);
    }
}

static void check_image(MemDisk *d, const uint8_t *buf, const char *what)
{
    Error *err = NULL;
    uint8_t back[8192];
    BlockNode *n = mem_image(d, "", (BlockFlags){ .discard = true }, &err);
    box_ok(n != NULL, &err);
    check_leaks_only(n, what);
    assert_int_equal(block_pread(n, 900000, back, sizeof(back)), 0);
    assert_memory_equal(back, buf, sizeof(back));
    block_unref(n);
}

/* Every write and flush in turn fails once. Then all goes on, and neither the file as it is at that
 * moment, the program being killed, nor as it is once closed may have more than leaks. */
static void one_failure(const char *options, bool all, int tries)
{
    bool failed = true;
    for (long at = 1; failed; at++) {
        Error *err = NULL;
        uint8_t buf[8192];
        box_create("once.qcow2", options);
        MemDisk *d = mem_disk(0), *killed = mem_disk(1);
        mem_load(d, "once.qcow2");
        BlockNode *n = mem_image(d, "", (BlockFlags){ .discard = true }, &err);
        box_ok(n != NULL, &err);
        memset(buf, 0x42, sizeof(buf));
        d->fail_once = at;
        change(n, buf, all, tries);
        failed = d->fail_once <= 0;
        d->fail_once = 0;
        assert_int_equal(block_pwrite(n, 900000, buf, sizeof(buf)), 0);
        assert_int_equal(block_flush(n), 0);
        char *what = xasprintf("%s, failure %ld", options, at);
        mem_clear(killed);
        mem_reserve(killed, d->size);
        memcpy(killed->data, d->data, d->size);
        check_image(killed, buf, what);
        block_unref(n);
        check_image(d, buf, what);
        free(what);
    }
}

static void test_one_failure(void **state)
{
    (void)state;
    static const char *const options[] = {
        "size=1M,cluster_size=512",
        "size=1M,cluster_size=512,lazy_refcounts=on",
        "size=1M,cluster_size=512,compat=0.10",
    };
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        one_failure(options[i], false, 0);
        one_failure(options[i], true, 1);
        one_failure(options[i], true, 3);
    }
}

#define TEST(fn)                                                                                   \
    {                                                                                              \
#fn, fn, NULL, NULL, NULL                                                                  \
    }
int main(void)
{
    const struct CMUnitTest tests[] = { TEST(test_threads), TEST(test_kill), TEST(test_no_room),
                                       TEST(test_one_failure) };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}
