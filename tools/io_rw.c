/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-io: read, write and discard, at once or in the background (aio_), with patterns and
 * what they report. A command line becomes a Request, which says everything about itself.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <time.h>

#include "tools/io.h"
#include "util/alloc.h"

enum { MAX_LEN = 0x7ffffe00, MAX_IOV = 1024, FILL = 0xcd, UNREAD = 0xab };

typedef enum Verb { VERB_READ, VERB_WRITE, VERB_DISCARD } Verb;

typedef struct Request {
    Io *io;
    Verb verb;
    bool vector, background;
    bool machine, quiet, dump, vm_state, zero, unmap, no_fallback, compressed, fua;
    int pattern;                    /* -1: none */
    uint64_t check_skip, check_len; /* of a read's pattern */
    bool has_check;
    const char *source; /* write -s: a file that fills the buffer */
    uint64_t offset, len;
    uint8_t *mem, *buf; /* all parts, one behind the other; mem is what is freed */
    struct iovec iov[MAX_IOV];
    int niov;
    int error;
    double seconds;
} Request;

/* ---- texts ---- */

IoSize io_size(double bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    IoSize out;
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
        bytes /= 1024;
        unit++;
    }
    int n = snprintf(out.text, sizeof(out.text), unit ? "%.3f" : "%f", bytes);
    const char *zeroes = unit ? ".000" : ".000000";
    if (n > (int)strlen(zeroes) && !strcmp(out.text + n - strlen(zeroes), zeroes)) {
        n -= (int)strlen(zeroes);
    }
    snprintf(out.text + n, sizeof(out.text) - (size_t)n, " %s", units[unit]);
    return out;
}

static void print_time(double seconds, bool full)
{
    unsigned hundredths = (unsigned)(seconds * 100), whole = hundredths / 100;
    if (full || whole >= 60) {
        printf("%u:%02u:%02u.%02u", whole / 3600, whole / 60 % 60, whole % 60, hundredths % 100);
    } else {
        printf("%02u.%02u", whole, hundredths % 100);
    }
}

static void dump(const Request *r)
{
    for (uint64_t at = 0; at < r->len; at += 16) {
        uint64_t nr = MIN(r->len - at, 16ull);
        printf("%08" PRIx64 ":  ", r->offset + at);
        for (uint64_t i = 0; i < nr; i++) {
            printf("%02x ", r->buf[at + i]);
        }
        printf(" ");
        for (uint64_t i = 0; i < nr; i++) {
            printf("%c", isalnum(r->buf[at + i]) ? r->buf[at + i] : '.');
        }
        printf("\n");
    }
}

static void report(const Request *r)
{
    static const char *const verbs[] = { "read", "wrote", "discard" };
    double seconds = MAX(r->seconds, 1e-9), rate = (double)r->len / seconds;
    if (r->machine) {
        printf("%" PRIu64 ",1,", r->len);
        print_time(r->seconds, true);
        printf(",%.3f,%.3f\n", rate, 1 / seconds);
        return;
    }
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", verbs[r->verb], r->len,
           r->len, r->offset);
    printf("%s, 1 ops; ", io_size((double)r->len).text);
    print_time(r->seconds, false);
    printf(" sec (%s/sec and %.4f ops/sec)\n", io_size(rate).text, 1 / seconds);
}

/* ---- doing it ---- */

/* Compressed data go cluster by cluster. */
static int write_compressed(Request *r)
{
    BlockNode *n = r->io->image;
    if (!n->driver->write_compressed || !n->cluster_size) {
        return ENOTSUP;
    }
    if (r->offset % n->cluster_size ||
        (r->len % n->cluster_size && r->offset + r->len != n->size)) {
        return EINVAL;
    }
    int error = 0;
    for (uint64_t done = 0; done < r->len && !error; done += n->cluster_size) {
        error = n->driver->write_compressed(n, r->offset + done, r->buf + done,
                                            MIN(r->len - done, (uint64_t)n->cluster_size));
    }
    return error;
}

static int transfer_vm_state(Request *r)
{
    BlockNode *n = r->io->image;
    const BlockDriver *d = n->driver;
    if (r->verb == VERB_READ) {
        return d->vmstate_pread ? d->vmstate_pread(n, r->offset, r->buf, r->len) : ENOTSUP;
    }
    return d->vmstate_pwrite ? d->vmstate_pwrite(n, r->offset, r->buf, r->len) : ENOTSUP;
}

static int transfer(Request *r)
{
    BlockNode *n = r->io->n;
    if (r->vm_state) {
        return transfer_vm_state(r);
    }
    if (r->len > n->size || r->offset > n->size - r->len) {
        return EIO;
    }
    if (r->verb == VERB_READ) {
        return block_readv(n, r->offset, r->iov, r->niov, r->len);
    }
    if (n->readonly) {
        return EROFS;
    }
    if (r->verb == VERB_DISCARD) {
        return block_discard(n, r->offset, r->len);
    }
    if (r->zero && r->no_fallback && !n->driver->write_zeroes) {
        return ENOTSUP;
    }
    int error = r->zero         ? block_write_zeroes(n, r->offset, r->len, r->unmap)
                : r->compressed ? write_compressed(r)
                                : block_writev(n, r->offset, r->iov, r->niov, r->len);
    return !error && (r->fua || r->io->how.through) ? block_flush(n) : error;
}

static bool pattern_matches(const Request *r)
{
    const uint8_t *p = r->buf + r->check_skip;
    for (uint64_t i = 0; i < r->check_len; i++) {
        if (p[i] != r->pattern) {
            return false;
        }
    }
    return true;
}

/* Does the request and tells of it; false if it failed. */
static bool execute(Request *r)
{
    static const char *const verbs[] = { "read", "write", "discard" };
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    r->error = transfer(r);
    clock_gettime(CLOCK_MONOTONIC, &to);
    r->seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    pthread_mutex_lock(&r->io->mutex);
    bool ok = !r->error;
    if (!ok) {
        printf("%s%s failed: %s\n", r->background ? "aio_" : "", verbs[r->verb],
               strerror(r->error));
    } else {
        if (r->verb == VERB_READ && r->pattern >= 0 && !pattern_matches(r)) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                   r->offset + r->check_skip, r->check_len);
            ok = r->background; /* as other tools have it */
        }
        if (!r->quiet) {
            if (r->dump) {
                dump(r);
            }
            report(r);
        }
    }
    fflush(stdout);
    pthread_mutex_unlock(&r->io->mutex);
    return ok;
}

static void request_free(Request *r)
{
    free(r->mem);
    free(r);
}

static void *background(void *opaque)
{
    Request *r = opaque;
    Io *io = r->io;
    execute(r);
    request_free(r);
    pthread_mutex_lock(&io->mutex);
    if (!--io->in_flight) {
        pthread_cond_broadcast(&io->idle);
    }
    pthread_mutex_unlock(&io->mutex);
    return NULL;
}

void io_wait(Io *io)
{
    pthread_mutex_lock(&io->mutex);
    while (io->in_flight) {
        pthread_cond_wait(&io->idle, &io->mutex);
    }
    pthread_mutex_unlock(&io->mutex);
}

static bool start(Request *r)
{
    if (!r->background) {
        bool ok = execute(r);
        request_free(r);
        return ok;
    }
    Io *io = r->io;
    pthread_mutex_lock(&io->mutex);
    io->in_flight++;
    pthread_mutex_unlock(&io->mutex);
    pthread_t thread;
    if (pthread_create(&thread, NULL, background, r) == 0) {
        pthread_detach(thread);
    } else {
        background(r); /* no thread to be had: now rather than never */
    }
    return true;
}

/* ---- parsing ---- */

static bool parse_pattern(const char *text, int *pattern)
{
    uint64_t v;
    if (!parse_u64(text, &v) || v > 255) {
        printf("%s is not a valid pattern byte\n", text);
        return false;
    }
    *pattern = (int)v;
    return true;
}

static bool set_flag(Request *r, int c)
{
    switch (c) {
    case 'C': r->machine = true; break;
    case 'q': r->quiet = true; break;
    case 'v': r->dump = true; break;
    case 'b': r->vm_state = true; break;
    case 'z': r->zero = true; break;
    case 'u': r->unmap = true; break;
    case 'n': r->no_fallback = true; break;
    case 'c': r->compressed = true; break;
    case 'f': r->fua = true; break;
    case 'a':
    case 'p':
    case 'i': break; /* of old; i: statistics, which nobody sees here */
    default: return false;
    }
    return true;
}

static bool parse_options(Request *r, const IoCommand *c, const char *letters, int argc,
                          char **argv)
{
    optind = 0;
    for (int o; (o = getopt(argc, argv, letters)) != -1;) {
        bool ok = true;
        if (o == 'P') {
            ok = parse_pattern(optarg, &r->pattern);
        } else if (o == 's' && r->verb == VERB_WRITE) {
            r->source = optarg;
        } else if (o == 's' || o == 'l') {
            r->has_check = true;
            ok = io_parse_size(optarg, o == 's' ? &r->check_skip : &r->check_len);
        } else if (!set_flag(r, o)) {
            return io_usage(c);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool check_options(const Request *r, const IoCommand *c)
{
    const char *bad = NULL;
    if (r->verb == VERB_READ) {
        if (r->has_check && r->pattern < 0) {
            return io_usage(c);
        }
        return true;
    }
    if (r->zero + (r->pattern >= 0) + (r->source != NULL) > 1) {
        bad = "Only one of -z, -P, and -s can be specified at the same time";
    } else if (r->vm_state + r->compressed + r->zero > 1) {
        bad = "-b, -c, or -z cannot be specified at the same time";
    } else if (r->unmap && !r->zero) {
        bad = "-u requires -z to be specified";
    } else if (r->no_fallback && !r->zero) {
        bad = "-n requires -z to be specified";
    } else if (r->fua && (r->vm_state || r->compressed)) {
        bad = "-f and -b or -c cannot be specified at the same time";
    }
    if (bad) {
        printf("%s\n", bad);
    }
    return !bad;
}

static bool parse_range(Request *r, const IoCommand *c, int argc, char **argv)
{
    uint64_t lens[MAX_IOV];
    if (argc < 2 || (argc > 2 && !r->vector)) {
        return io_usage(c);
    }
    if (argc - 1 > MAX_IOV) {
        printf("no more than %d buffers\n", MAX_IOV);
        return false;
    }
    if (!io_parse_size(argv[0], &r->offset)) {
        return false;
    }
    for (int i = 1; i < argc; i++) {
        if (!io_parse_size(argv[i], &lens[i - 1])) {
            return false;
        }
        if (!r->zero && r->verb != VERB_DISCARD &&
            (lens[i - 1] > MAX_LEN || r->len + lens[i - 1] > MAX_LEN)) {
            printf("length cannot exceed %d, given %s\n", MAX_LEN, argv[i]);
            return false;
        }
        r->len += lens[i - 1];
    }
    if (r->offset > INT64_MAX || r->len > INT64_MAX) {
        printf("the range reaches past 8 EiB\n");
        return false;
    }
    if (r->zero || r->verb == VERB_DISCARD) {
        return true;
    }
    size_t shift = r->io->misalign ? 1 : 0;
    void *mem = NULL;
    if (posix_memalign(&mem, 4096, r->len + shift + 1)) {
        printf("no memory for %" PRIu64 " bytes\n", r->len);
        return false;
    }
    r->mem = mem;
    r->buf = r->mem + shift;
    uint8_t *at = r->buf;
    for (int i = 1; i < argc; i++) {
        r->iov[r->niov++] = (struct iovec){ at, lens[i - 1] };
        at += lens[i - 1];
    }
    return true;
}

/* The file's bytes, over and over. */
static bool fill_from_file(Request *r)
{
    FILE *f = fopen(r->source, "rbe");
    size_t nr = f ? fread(r->buf, 1, r->len, f) : 0;
    bool failed = !f || ferror(f);
    if (f) {
        fclose(f);
    }
    if (failed || (!nr && r->len)) {
        printf("%s: %s\n", r->source, failed ? strerror(errno) : "the file is empty");
        return false;
    }
    for (uint64_t at = nr; at < r->len; at++) {
        r->buf[at] = r->buf[at - nr];
    }
    return true;
}

static bool prepare(Request *r)
{
    if (r->verb == VERB_READ && r->pattern >= 0) {
        if (!r->check_len) {
            r->check_len = r->check_skip < r->len ? r->len - r->check_skip : 0;
        }
        if (r->check_skip >= r->len || r->check_len > r->len - r->check_skip) {
            printf("pattern verification range exceeds end of read data\n");
            return false;
        }
    }
    if (r->source) {
        return fill_from_file(r);
    }
    if (r->buf) {
        memset(r->buf, r->verb == VERB_READ ? UNREAD : r->pattern >= 0 ? r->pattern : FILL, r->len);
    }
    return true;
}

static bool run(Io *io, const IoCommand *c, Verb verb, const char *letters, int argc, char **argv)
{
    Request *r = xcalloc(1, sizeof(*r));
    r->io = io;
    r->verb = verb;
    r->pattern = -1;
    r->background = !strncmp(c->name, "aio_", 4);
    r->vector = r->background || c->name[strlen(c->name) - 1] == 'v';
    if (!parse_options(r, c, letters, argc, argv) || !check_options(r, c) ||
        !parse_range(r, c, argc - optind, argv + optind) || !prepare(r)) {
        request_free(r);
        return false;
    }
    return start(r);
}

bool io_read(Io *io, const IoCommand *c, int argc, char **argv)
{
    const char *letters = !strcmp(c->name, "read")    ? "abCl:pP:qs:v"
                          : !strcmp(c->name, "readv") ? "CP:qv"
                                                      : "CP:iqv";
    return run(io, c, VERB_READ, letters, argc, argv);
}

bool io_write(Io *io, const IoCommand *c, int argc, char **argv)
{
    const char *letters = !strcmp(c->name, "write")    ? "bcCfnpP:qs:uz"
                          : !strcmp(c->name, "writev") ? "CfqP:"
                                                       : "CfiP:quz";
    return run(io, c, VERB_WRITE, letters, argc, argv);
}

bool io_discard(Io *io, const IoCommand *c, int argc, char **argv)
{
    return run(io, c, VERB_DISCARD, "Cq", argc, argv);
}
