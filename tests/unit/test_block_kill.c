/* SPDX-License-Identifier: GPL-2.0-or-later
 * kill -9 while a guest writes: what was flushed is in the image afterwards, and the image is
 * sound.
 *
 * A child writes blocks at random places, several at once, and flushes; in memory it shares with us
 * it notes which version of each block a flush covered. Killed at a random moment, another child
 * opens the image and looks: each block holds that version or a later one, whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "block/block.h"
#include "block/node.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

enum { BLOCK = 4096, NR_BLOCKS = 512, AT_ONCE = 8 };

typedef struct Shared {
    uint32_t flushed[NR_BLOCKS]; /* this version a flush has covered */
    uint32_t begun[NR_BLOCKS];   /* the newest that was ever written */
    uint32_t rounds;
} Shared;

static Shared *shared;
static char path[] = "/tmp/vireo-kill-XXXXXX";
static uint64_t seed = 42;

static uint64_t next_random(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed >> 33;
}

static void nothing(BlkRequest *req)
{
    (void)req;
}

static Drive *open_drive(const char *options)
{
    Error *err = NULL;
    char *text = xasprintf("id=a,file=%s,%s", path, options);
    Dict *d = dict_parse(text, NULL, &err);
    Drive *drive = main_loop_init(&err) ? drive_create(d, &err) : NULL;
    if (!drive) {
        fprintf(stderr, "%s\n", error_text(err));
        _exit(3);
    }
    return drive;
}

/* ---- the one that is killed ---- */

static void write_for_ever(const char *options)
{
    static uint32_t block[AT_ONCE][BLOCK / 4];
    static uint32_t dirty[AT_ONCE], nr;
    BlkRequest req[AT_ONCE + 1];
    struct iovec iov[AT_ONCE];
    vm_lock();
    Drive *d = open_drive(options);
    for (;;) {
        nr = 1 + (uint32_t)next_random() % AT_ONCE;
        uint32_t first = (uint32_t)next_random() % NR_BLOCKS;
        for (uint32_t i = 0; i < nr; i++) {
            dirty[i] = (first + i * 37) % NR_BLOCKS;
            uint32_t version = ++shared->begun[dirty[i]];
            for (unsigned w = 0; w < BLOCK / 4; w++) {
                block[i][w] = version * NR_BLOCKS + dirty[i];
            }
            iov[i] = (struct iovec){ block[i], BLOCK };
            req[i] = (BlkRequest){ .drive = d,
                                   .op = BLK_WRITE,
                                   .offset = (uint64_t)dirty[i] * BLOCK,
                                   .iov = &iov[i],
                                   .niov = 1,
                                   .done = nothing };
            blk_submit(&req[i]);
        }
        blk_drain(d);
        req[nr] = (BlkRequest){ .drive = d, .op = BLK_FLUSH, .done = nothing };
        blk_submit(&req[nr]);
        blk_drain(d);
        for (uint32_t i = 0; i < nr && !req[nr].error && !req[i].error; i++) {
            shared->flushed[dirty[i]] = shared->begun[dirty[i]];
        }
        shared->rounds++;
    }
}

/* ---- the one that looks ---- */

static int look(const char *options)
{
    uint32_t block[BLOCK / 4];
    struct iovec iov = { block, BLOCK };
    vm_lock();
    Drive *d = open_drive(options);
    for (uint32_t n = 0; n < NR_BLOCKS; n++) {
        BlkRequest req = { .drive = d,
                           .op = BLK_READ,
                           .offset = (uint64_t)n * BLOCK,
                           .iov = &iov,
                           .niov = 1,
                           .done = nothing };
        blk_submit(&req);
        blk_drain(d);
        uint32_t version = block[0] / NR_BLOCKS;
        bool whole = true, never = !shared->flushed[n] && !block[0];
        for (unsigned w = 0; w < BLOCK / 4; w++) {
            /* one that was on its way may be there in part: whole sectors */
            uint32_t v = block[w] / NR_BLOCKS;
            whole = whole && (!block[w] || block[w] % NR_BLOCKS == n) && v >= shared->flushed[n] &&
                    v <= shared->begun[n];
        }
        if (req.error || (!whole && !never)) {
            fprintf(stderr, "block %u: flushed version %u, newest %u, there is %u\n", n,
                    shared->flushed[n], shared->begun[n], version);
            return 1;
        }
        shared->begun[n] = MAX(version, shared->flushed[n]); /* the next writer goes on from it */
        shared->flushed[n] = shared->begun[n];
    }
    drives_close();
    return 0;
}

static int check_image(const char *format)
{
    Error *err = NULL;
    BlockCheck result = { 0 };
    vm_lock();
    BlockNode *n =
        block_open_image(path, format, &(BlockFlags){ .for_check = true, .readonly = true }, &err);
    bool ok = n && (!n->driver->check || n->driver->check(n, 0, &result, &err));
    if (!ok || result.corruptions || result.errors) {
        fprintf(stderr, "%s: %s, %u corruptions\n", format, err ? error_text(err) : "",
                (unsigned)result.corruptions);
        return 1;
    }
    return 0;
}

/* ---- rounds ---- */

static int child_status(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void kill_often(const char *format, const char *options, unsigned times)
{
    Error *err = NULL;
    Dict *opts = dict_new();
    dict_setf(opts, "size", "%u", NR_BLOCKS * BLOCK);
    if (!block_create(block_driver_find(format), path, opts, &err)) {
        fail_msg("%s", error_text(err));
    }
    dict_free(opts);
    memset(shared, 0, sizeof(*shared));
    for (unsigned i = 0; i < times; i++) {
        seed += i;
        pid_t pid = fork();
        if (!pid) {
            write_for_ever(options);
        }
        uint32_t rounds = shared->rounds;
        for (unsigned ms = 0; shared->rounds == rounds && ms < 20000; ms++) {
            usleep(1000);
        }
        assert_true(shared->rounds > rounds);
        usleep((useconds_t)(next_random() % 10000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        pid = fork();
        if (!pid) {
            _exit(check_image(format));
        }
        assert_int_equal(child_status(pid), 0);
        pid = fork();
        if (!pid) {
            _exit(look(options));
        }
        assert_int_equal(child_status(pid), 0);
    }
}

static void test_raw(void **state)
{
    (void)state;
    kill_often("raw", "format=raw", 20);
    kill_often("raw", "format=raw,aio=threads,cache=none", 20);
}

static void test_qcow2(void **state)
{
    (void)state;
    if (block_driver_find("qcow2")) {
        kill_often("qcow2", "format=qcow2", 40);
        kill_often("qcow2", "format=qcow2,discard=unmap,detect-zeroes=unmap", 20);
    }
}

static int setup(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return fd < 0 || shared == MAP_FAILED || close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_raw), cmocka_unit_test(test_qcow2) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
