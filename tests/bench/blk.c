/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a block request costs without a device: 4 KiB reads at random places of an image, at several
 * depths, by worker threads and by io_uring.
 *
 *     build/tests/bench/blk [IMAGE [SECONDS [CACHE]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "block/block.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { BLOCK = 4096, MAX_DEPTH = 64 };

typedef struct Slot {
    BlkRequest req;
    struct iovec iov;
} Slot;

static Slot slot[MAX_DEPTH];
static uint64_t nr_blocks, nr_done, seed = 88172645463325252ull;
static bool stopping;
static unsigned busy;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void submit(Slot *s)
{
    s->req.offset = next_random() % nr_blocks * BLOCK;
    busy++;
    blk_submit(&s->req);
}

static void on_done(BlkRequest *req)
{
    if (req->error) {
        fprintf(stderr, "reading failed: %s\n", strerror(req->error));
        exit(1);
    }
    nr_done++;
    busy--;
    if (!stopping) {
        submit(container_of(req, Slot, req));
    }
}

/* Of all threads, in seconds: what other programs on the host do counts less here. */
static double cpu_time(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double measure(Drive *d, unsigned depth, double seconds, double *cpu_us)
{
    double cpu_begin = cpu_time();
    nr_done = 0;
    stopping = false;
    uint64_t begin = host_clock_ns(), end = begin + (uint64_t)(seconds * 1e9);
    blk_plug();
    for (unsigned i = 0; i < depth; i++) {
        slot[i].req = (BlkRequest){
            .drive = d, .op = BLK_READ, .iov = &slot[i].iov, .niov = 1, .done = on_done
        };
        submit(&slot[i]);
    }
    blk_unplug();
    while (host_clock_ns() < end) {
        main_loop_step(10 * 1000 * 1000);
    }
    stopping = true;
    *cpu_us = (cpu_time() - cpu_begin) / (double)nr_done * 1e6;
    double rate = (double)nr_done / ((double)(host_clock_ns() - begin) / 1e9);
    blk_drain(d);
    return rate;
}

static Drive *open_image(const char *path, const char *aio, const char *cache)
{
    Error *err = NULL;
    Dict *opts = dict_new();
    dict_set(opts, "file", path);
    dict_set(opts, "format", "raw");
    dict_set(opts, "readonly", "on");
    dict_set(opts, "aio", aio);
    dict_set(opts, "cache", cache);
    Drive *d = drive_create(opts, &err);
    if (!d) {
        error_report(err);
        exit(1);
    }
    dict_free(opts);
    nr_blocks = drive_size(d) / BLOCK;
    return d;
}

/* 256 MiB that are no holes. */
static char *make_image(void)
{
    char *path = xstrdup("/var/tmp/vireo-blk-XXXXXX"), *data = malloc(MiB);
    int fd = mkstemp(path);
    memset(data, 0x5a, MiB);
    for (unsigned i = 0; i < 256; i++) {
        if (write(fd, data, MiB) != (ssize_t)MiB) {
            perror(path);
            exit(1);
        }
    }
    free(data);
    close(fd);
    return path;
}

int main(int argc, char **argv)
{
    static const unsigned depths[] = { 1, 4, 32 };
    static const char *const aios[] = { "threads", "io_uring" };
    Error *err = NULL;
    char *own = argc > 1 ? NULL : make_image();
    double seconds = argc > 2 ? atof(argv[2]) : 1;
    if (!main_loop_init(&err)) {
        error_report(err);
        return 1;
    }
    vm_lock();
    for (size_t i = 0; i < MAX_DEPTH; i++) {
        slot[i].iov = (struct iovec){ aligned_alloc(BLOCK, BLOCK), BLOCK };
    }
    for (size_t a = 0; a < ARRAY_SIZE(aios); a++) {
        Drive *d = open_image(own ? own : argv[1], aios[a], argc > 3 ? argv[3] : "writeback");
        for (size_t i = 0; i < ARRAY_SIZE(depths); i++) {
            double cpu_us, rate = measure(d, depths[i], seconds, &cpu_us);
            printf("%-8s depth %2u: %8.0f reads/s, %6.2f us each, %6.2f us of CPU\n", aios[a],
                   depths[i], rate, 1e6 / rate, cpu_us);
        }
        drives_close();
    }
    if (own) {
        unlink(own);
    }
    return 0;
}
