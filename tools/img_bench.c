/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img bench: a stream of equal requests to an image, and how long they took. A thread a
 * request in flight: a driver is blocking code.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "tools/img.h"
#include "util/alloc.h"

enum { MAX_DEPTH = 256 };

static const ImgOption options[] = {
    { 'c', NULL, "COUNT", "requests [75000]" },
    { 'd', NULL, "DEPTH", "in flight at the same time, up to 256 [64]" },
    { 'f', NULL, "FMT", "the image's format [what its first bytes look like]" },
    { 's', NULL, "SIZE", "of each request [4k]" },
    { 'S', NULL, "STEP", "from one to the next [their size]" },
    { 'o', NULL, "OFFSET", "of the first [0]" },
    { 'w', NULL, NULL, "write; what the image holds is lost" },
    { OPT_PATTERN, "pattern", "BYTE", "what is written [0]" },
    { OPT_FLUSH_INTERVAL, "flush-interval", "N", "flush after each N writes" },
    { OPT_NO_DRAIN, "no-drain", NULL, "do not wait for requests in flight before a flush" },
    { 't', NULL, "CACHE", "mode [writeback]" },
    { 'i', NULL, "AIO", "only threads" },
    { 'n', NULL, NULL, "same as -i native: refused" },
    { 'U', "force-share", NULL, "although another program may be writing to it" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

typedef struct Bench {
    BlockNode *n;
    uint64_t count, depth, size, step, offset, pattern, flush_interval;
    bool write, no_drain;
    pthread_mutex_t mutex;   /* next, next_offset, error */
    pthread_rwlock_t flight; /* read: a request is in flight; write: a flush that waits for all */
    uint64_t next, next_offset;
    int error;
} Bench;

/* The next request's number and place; false when there are none. */
static bool take(Bench *b, uint64_t *number, uint64_t *offset)
{
    pthread_mutex_lock(&b->mutex);
    bool more = b->next < b->count && !b->error && !img_interrupted();
    if (more) {
        *number = b->next++;
        if (b->next_offset > b->n->size - b->size) {
            b->next_offset %= b->n->size - b->size + 1;
        }
        *offset = b->next_offset;
        b->next_offset += b->step;
    }
    pthread_mutex_unlock(&b->mutex);
    return more;
}

static int request(Bench *b, uint64_t number, uint64_t offset, void *buf)
{
    pthread_rwlock_rdlock(&b->flight);
    int error = b->write ? block_pwrite(b->n, offset, buf, b->size)
                         : block_pread(b->n, offset, buf, b->size);
    pthread_rwlock_unlock(&b->flight);
    if (!error && b->flush_interval && (number + 1) % b->flush_interval == 0) {
        if (b->no_drain) {
            return block_flush(b->n);
        }
        pthread_rwlock_wrlock(&b->flight);
        error = block_flush(b->n);
        pthread_rwlock_unlock(&b->flight);
    }
    return error;
}

static void *work(void *opaque)
{
    Bench *b = opaque;
    void *buf = NULL;
    int error = posix_memalign(&buf, 4096, b->size) ? ENOMEM : 0;
    uint64_t number, offset;
    if (!error) {
        memset(buf, (int)b->pattern, b->size);
    }
    while (!error && take(b, &number, &offset)) {
        error = request(b, number, offset, buf);
    }
    if (error) {
        pthread_mutex_lock(&b->mutex);
        b->error = error;
        pthread_mutex_unlock(&b->mutex);
    }
    free(buf);
    return NULL;
}

static bool run_all(Bench *b, Error **errp)
{
    pthread_t threads[MAX_DEPTH];
    unsigned started = 0;
    uint64_t want = MAX(1, MIN(b->depth, b->count));
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (started < want && pthread_create(&threads[started], NULL, work, b) == 0) {
        started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!started) {
        return error_set(errp, "the host gives us no thread");
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    if (b->error) {
        return error_set_errno(errp, b->error, "a request to '%s' failed", b->n->filename);
    }
    return !img_interrupted() || error_set(errp, "interrupted after %" PRIu64 " requests", b->next);
}

static bool check(const Bench *b, Error **errp)
{
    if (b->flush_interval && !b->write) {
        return error_set(errp, "--flush-interval goes with -w");
    }
    if (b->flush_interval && b->flush_interval < b->depth) {
        return error_set(
            errp, "--flush-interval must not be smaller than the depth (-d %" PRIu64 ")", b->depth);
    }
    if (b->no_drain && !b->flush_interval) {
        return error_set(errp, "--no-drain goes with --flush-interval");
    }
    if (b->size > b->n->size) {
        return error_set(errp, "'%s' has %" PRIu64 " bytes, no request of %" PRIu64 " fits",
                         b->n->filename, b->n->size, b->size);
    }
    return true;
}

static bool bench(const ImgArgs *a, Bench *b, Error **errp)
{
    struct timespec from, to;
    if (!check(b, errp)) {
        return false;
    }
    b->step = b->step ? b->step : b->size;
    b->next_offset = b->offset;
    img_say(a,
            "Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
            " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
            b->count, b->write ? "write" : "read", b->size, b->depth, b->offset, b->step);
    if (b->flush_interval) {
        img_say(a, "Sending flush every %" PRIu64 " %srequests\n", b->flush_interval,
                b->no_drain ? "undrained " : "");
    }
    fflush(stdout);
    clock_gettime(CLOCK_MONOTONIC, &from);
    bool ok = run_all(b, errp);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (ok) {
        img_say(a, "Run completed in %.3f seconds.\n",
                (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    }
    return ok;
}

static bool set_option(Bench *b, int c, const char *value, BlockFlags *flags, Error **errp)
{
    bool through;
    switch (c) {
    case 'c': return img_parse_count("-c", value, 0, INT32_MAX, &b->count, errp);
    case 'd': return img_parse_count("-d", value, 1, MAX_DEPTH, &b->depth, errp);
    case 's':
        return img_parse_size("-s", value, &b->size, errp) &&
               ((b->size && b->size <= 64 * MiB) || error_set(errp, "-s: from 1 to 64M"));
    case 'S': return img_parse_size("-S", value, &b->step, errp);
    case 'o': return img_parse_size("-o", value, &b->offset, errp);
    case 'w': b->write = true; break;
    case 'U': flags->no_lock = true; break;
    case OPT_PATTERN: return img_parse_count("--pattern", value, 0, 255, &b->pattern, errp);
    case OPT_FLUSH_INTERVAL:
        return img_parse_count("--flush-interval", value, 1, INT32_MAX, &b->flush_interval, errp);
    case OPT_NO_DRAIN: b->no_drain = true; break;
    case 't': return img_parse_cache(value, flags, &through, errp);
    case 'n': value = "native"; /* fall through */
    case 'i':
        return !strcmp(value, "threads") ||
               error_set(errp, "-i %s: this tool has threads only", value);
    }
    return true;
}

static int run(ImgArgs *a)
{
    const char *format = NULL;
    Bench b = { .count = 75000,
                .depth = 64,
                .size = 4096,
                .mutex = PTHREAD_MUTEX_INITIALIZER,
                .flight = PTHREAD_RWLOCK_INITIALIZER };
    BlockFlags flags = { .readonly = false };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        if (c == 'f') {
            format = a->value;
        } else if (!set_option(&b, c, a->value, &flags, &err)) {
            return img_fail(err);
        }
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return 1;
    }
    if (b.write && flags.no_lock) {
        return img_usage_error(a, "-w and -U exclude each other");
    }
    flags.readonly = !b.write;
    img_catch_interrupts();
    b.n = img_open(a->argv[0], format, a->image_opts, &flags, &err);
    bool ok = b.n && bench(a, &b, &err);
    block_unref(b.n);
    return ok ? 0 : img_fail(err);
}

const ImgCommand img_bench = {
    "bench",
    "[-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-w] [-t CACHE] [-f FMT] FILE",
    "Sends a stream of requests to an image and says how long they took.",
    options,
    run,
};
