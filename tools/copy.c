/* SPDX-License-Identifier: GPL-2.0-or-later
 * Copying images with several threads. Declared in tools/copy.h.
 *
 * One mutex guards the plan: where the next part begins, what kind it is, whose turn it is to
 * write, the first failure. A worker takes a part, reads it without the mutex, waits for its turn if
 * the target is written in order, writes, and takes the next. Parts are aligned to the target's
 * clusters, so that no cluster is written by two.
 *
 * Of writers to one file through the page cache the kernel lets one in at a time, and the others
 * spin: a fifth of all processor time. So such a target is written in order, while others read.
 */
#include "tools/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "block/chain.h"
#include "util/alloc.h"

enum { CHUNK = 1 << 20, MAX_ZEROES = 1 << 28, SALVAGE_BLOCK = 512, MAX_COPIERS = 16 };

typedef enum Kind { KIND_DATA, KIND_ZERO, KIND_SKIP } Kind;

typedef struct Part {
    Kind kind;
    uint64_t offset, len, number;
} Part;

typedef struct Run {
    Copy *c;
    uint64_t align,
        granule; /* parts begin at multiples of align, zeroes are looked for in granules */
    size_t chunk;
    pthread_mutex_t mutex;
    /* For the turn of part N: of index N % MAX_COPIERS. Ordered parts under way are neighbours and no
     * more than workers, so that each has its own and nobody is woken in vain. */
    pthread_cond_t turn_came[MAX_COPIERS];
    /* all below: mutex */
    uint64_t next, known_to; /* known_to: the end of what kind is said of */
    Kind kind;
    uint64_t number, turn, done;
    uint64_t begin_ns, paced; /* bytes that the limit of the rate was asked for */
    bool failed;
    Error *error;
} Run;

bool copy_is_zero(const void *buf, size_t len)
{
    const char *p = buf;
    return !len || (!p[0] && !p[len - 1] && !memcmp(p, p + 1, len - 1));
}

/* ---- reading ---- */

static BlockNode *source_at(const Copy *c, uint64_t *offset)
{
    for (size_t i = 0; i < c->nr_sources; i++) {
        if (*offset < c->sources[i]->size) {
            return c->sources[i];
        }
        *offset -= c->sources[i]->size;
    }
    return NULL;
}

/* A source that became shorter meanwhile, or a copy longer than it, reads as zeroes. */
static int read_sources(Copy *c, uint64_t offset, uint8_t *buf, uint64_t len, uint64_t *failed_at)
{
    while (len) {
        uint64_t at = offset + c->skip;
        BlockNode *n = source_at(c, &at);
        if (!n) {
            memset(buf, 0, len);
            return 0;
        }
        uint64_t part = MIN(len, n->size - at);
        int error = block_pread(n, at, buf, part);
        if (error) {
            *failed_at = offset;
            return error;
        }
        buf += part;
        offset += part;
        len -= part;
    }
    return 0;
}

/* Sector by sector: what still cannot be read is zeroes. */
static void salvage(Run *r, uint64_t offset, uint8_t *buf, uint64_t len)
{
    uint64_t lost = 0, failed_at;
    for (uint64_t done = 0; done < len; done += SALVAGE_BLOCK) {
        uint64_t part = MIN(len - done, (uint64_t)SALVAGE_BLOCK);
        if (read_sources(r->c, offset + done, buf + done, part, &failed_at)) {
            memset(buf + done, 0, part);
            lost += part;
        }
    }
    pthread_mutex_lock(&r->mutex);
    r->c->unreadable += lost;
    pthread_mutex_unlock(&r->mutex);
    warn_report("reading at byte %" PRIu64 " failed: %" PRIu64 " bytes there are zeroes now",
                offset, lost);
}

/* ---- the plan ---- */

/* mutex held */
static void wake_all(Run *r)
{
    for (size_t i = 0; i < MAX_COPIERS; i++) {
        pthread_cond_broadcast(&r->turn_came[i]);
    }
}

static void fail(Run *r, int error, const char *what, const char *name, uint64_t offset)
{
    pthread_mutex_lock(&r->mutex);
    if (!r->failed) {
        error_set_errno(&r->error, error, "%s '%s' at byte %" PRIu64 " failed", what, name, offset);
    }
    r->failed = true;
    wake_all(r);
    pthread_mutex_unlock(&r->mutex);
}

/* After a failure or Ctrl-C; mutex held. */
static bool stopped(Run *r)
{
    if (!r->failed && img_interrupted()) {
        r->failed = true;
        error_set(&r->error, "interrupted; '%s' is not complete", r->c->target->filename);
        wake_all(r);
    }
    return r->failed;
}

/* What lies at r->next, as far as that is known; mutex held. */
static int look(Run *r)
{
    Copy *c = r->c;
    uint64_t left = c->size - r->next, at = r->next + c->skip;
    BlockNode *n = source_at(c, &at), *owner = NULL;
    BlockExtent e = { .len = left, .zero = true };
    if (n) {
        int error = block_chain_status(n, c->above, at, MIN(left, n->size - at), &e, &owner, NULL);
        if (error && c->salvage) {
            e = (BlockExtent){ .len = MIN(left, (uint64_t)CHUNK), .data = true };
        } else if (error) {
            return error;
        }
    }
    r->kind = e.zero ? KIND_ZERO : c->above && !owner ? KIND_SKIP : KIND_DATA;
    if (r->kind == KIND_ZERO && !c->sparse) {
        r->kind = KIND_DATA;
    }
    uint64_t end = r->next + e.len;
    if (r->kind != KIND_DATA && end < c->size) {
        end = ROUND_DOWN(end, r->align);
        if (end <= r->next) { /* a cluster of two kinds */
            r->kind = KIND_DATA;
            end = r->next + 1;
        }
    }
    r->known_to = MIN(r->kind == KIND_DATA ? ROUND_UP(end, r->align) : end, c->size);
    return 0;
}

/* The next part to be worked on; false at the end, or after a failure. */
static bool take(Run *r, Part *p)
{
    Copy *c = r->c;
    int error = 0;
    bool found = false;
    pthread_mutex_lock(&r->mutex);
    while (!r->failed && r->next < c->size && !found && !error) {
        if (stopped(r)) {
            break;
        }
        error = r->next < r->known_to ? 0 : look(r);
        if (error) {
            break;
        }
        bool nothing =
            r->kind == KIND_SKIP || (r->kind == KIND_ZERO && c->target_is_zero && !c->behind);
        uint64_t most = nothing                ? UINT64_MAX
                        : r->kind == KIND_ZERO ? (c->behind ? r->chunk : (uint64_t)MAX_ZEROES)
                                               : r->chunk;
        uint64_t len = MIN(r->known_to - r->next, most);
        if (!nothing) {
            *p = (Part){ r->kind, r->next, len, r->number++ };
            found = true;
        } else {
            r->done += len;
            img_progress(c->progress, r->done);
        }
        r->next += len;
    }
    uint64_t at = r->next;
    pthread_mutex_unlock(&r->mutex);
    if (error) {
        fail(r, error, "looking at", c->sources[0]->filename, at);
    }
    return found;
}

static bool wait_for_turn(Run *r, const Part *p)
{
    pthread_mutex_lock(&r->mutex);
    while (r->c->ordered && !r->failed && r->turn != p->number) {
        pthread_cond_wait(&r->turn_came[p->number % MAX_COPIERS], &r->mutex);
    }
    bool ok = !r->failed;
    pthread_mutex_unlock(&r->mutex);
    return ok;
}

static void part_done(Run *r, const Part *p)
{
    pthread_mutex_lock(&r->mutex);
    r->turn++;
    r->done += p->len;
    img_progress(r->c->progress, r->done);
    if (r->c->ordered) {
        pthread_cond_signal(&r->turn_came[r->turn % MAX_COPIERS]);
    }
    pthread_mutex_unlock(&r->mutex);
}

/* ---- the limit of the rate ---- */

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static bool is_over(Run *r)
{
    pthread_mutex_lock(&r->mutex);
    bool over = stopped(r);
    pthread_mutex_unlock(&r->mutex);
    return over;
}

/* Waits until the bytes before these have had their time; short naps, for Ctrl-C. False: stop. */
static bool pace(Run *r, uint64_t len)
{
    enum { NAP_NS = 50 * 1000 * 1000 };
    if (!r->c->rate) {
        return true;
    }
    pthread_mutex_lock(&r->mutex);
    double wait = (double)r->paced / (double)r->c->rate * 1e9;
    r->paced += len;
    pthread_mutex_unlock(&r->mutex);
    for (double gone; (gone = (double)(now_ns() - r->begin_ns)) < wait;) {
        struct timespec nap = { .tv_nsec = (long)MIN(wait - gone, (double)NAP_NS) };
        if (is_over(r)) {
            return false;
        }
        nanosleep(&nap, NULL);
    }
    return true;
}

/* ---- copying by the host ---- */

/* The file that a raw image's bytes are in, from *offset on; -1: it is not as simple as that. */
static int raw_fd(BlockNode *n, uint64_t *offset)
{
    unsigned align;
    bool raw = n && !strcmp(n->driver->name, "raw") && n->driver->ring_fd &&
               !(block_is_guessed_raw(n) && !n->readonly); /* its first bytes are looked at */
    return raw ? n->driver->ring_fd(n, offset, &align) : -1;
}

/* False: not, or not all of it, so that it is to be read and written. What was copied is the same. */
static bool offload(const Run *r, const Part *p)
{
    const Copy *c = r->c;
    uint64_t from = p->offset + c->skip, at = 0, to = 0;
    BlockNode *n = c->offload && !c->behind ? source_at(c, &from) : NULL;
    int in = raw_fd(n, &at), out = raw_fd(c->target, &to);
    if (in < 0 || out < 0 || p->len > n->size - from) {
        return false;
    }
    off_t source = (off_t)(from + at), target = (off_t)(p->offset + to);
    for (uint64_t left = p->len; left;) {
        ssize_t done = copy_file_range(in, &source, out, &target, left, 0);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        left -= (uint64_t)done;
    }
    return true;
}

/* ---- writing ---- */

typedef enum Todo { TODO_NOTHING, TODO_ZERO, TODO_WRITE } Todo;

/* What a worker has for its part. */
typedef struct Buffers {
    uint8_t *bytes, *behind; /* behind: only where c->behind */
    uint8_t *todo;           /* a Todo for each granule */
} Buffers;

static Todo todo(const Run *r, const uint8_t *buf, const uint8_t *behind, uint64_t len)
{
    const Copy *c = r->c;
    if (behind && !memcmp(buf, behind, len)) {
        return TODO_NOTHING;
    }
    if (c->sparse && copy_is_zero(buf, len)) {
        return c->target_is_zero && !behind ? TODO_NOTHING : TODO_ZERO;
    }
    return TODO_WRITE;
}

/* All that takes looking is done before the part's turn comes. */
static void look_at_granules(const Run *r, const Part *p, const Buffers *b)
{
    for (uint64_t at = 0, i = 0; at < p->len; at += r->granule, i++) {
        b->todo[i] = (uint8_t)todo(r, b->bytes + at, b->behind ? b->behind + at : NULL,
                                   MIN(r->granule, p->len - at));
    }
}

static int do_write(const Run *r, Todo what, uint64_t offset, const uint8_t *buf, uint64_t len)
{
    BlockNode *t = r->c->target;
    switch (what) {
    case TODO_NOTHING: return 0;
    case TODO_ZERO: return block_write_zeroes(t, offset, len, true);
    default:
        return r->c->compress ? t->driver->write_compressed(t, offset, buf, len)
                              : block_pwrite(t, offset, buf, len);
    }
}

/* Neighbouring granules that need the same go together, but compressed ones. */
static int write_data(const Run *r, const Part *p, const Buffers *b, uint64_t *failed_at)
{
    uint64_t nr = (p->len + r->granule - 1) / r->granule;
    for (uint64_t from = 0, end; from < nr; from = end) {
        Todo what = (Todo)b->todo[from];
        end = from + 1;
        while (end < nr && b->todo[end] == what && !(what == TODO_WRITE && r->c->compress)) {
            end++;
        }
        uint64_t at = from * r->granule, len = MIN(end * r->granule, p->len) - at;
        *failed_at = p->offset + at;
        int error = do_write(r, what, *failed_at, b->bytes + at, len);
        if (error) {
            return error;
        }
    }
    return 0;
}

/* What the target reads as now; past the end of that, zeroes. */
static int read_behind(BlockNode *n, uint64_t offset, uint8_t *buf, uint64_t len)
{
    uint64_t inside = offset < n->size ? MIN(len, n->size - offset) : 0;
    memset(buf + inside, 0, len - inside);
    return block_pread(n, offset, buf, inside);
}

static bool copy_part(Run *r, const Part *p, const Buffers *b)
{
    Copy *c = r->c;
    uint64_t at = p->offset;
    int error = 0;
    if (p->kind == KIND_ZERO && !b->behind) {
        error = wait_for_turn(r, p) ? block_write_zeroes(c->target, p->offset, p->len, true) : 0;
        if (error) {
            fail(r, error, "writing", c->target->filename, at);
        }
        return !error;
    }
    if (p->kind == KIND_DATA) {
        if (!pace(r, p->len)) {
            return false;
        }
        if (offload(r, p)) {
            return wait_for_turn(r, p);
        }
    }
    if (p->kind == KIND_ZERO) {
        memset(b->bytes, 0, p->len);
    } else if ((error = read_sources(c, p->offset, b->bytes, p->len, &at)) != 0) {
        if (!c->salvage) {
            uint64_t where = p->offset + c->skip;
            BlockNode *n = source_at(c, &where);
            fail(r, error, "reading", (n ? n : c->sources[0])->filename, at);
            return false;
        }
        salvage(r, p->offset, b->bytes, p->len);
    }
    if (b->behind && (error = read_behind(c->behind, p->offset, b->behind, p->len)) != 0) {
        fail(r, error, "reading", c->behind->filename, p->offset);
        return false;
    }
    look_at_granules(r, p, b);
    if (!wait_for_turn(r, p)) {
        return false;
    }
    error = write_data(r, p, b, &at);
    if (error) {
        fail(r, error, "writing", c->target->filename, at);
    }
    return !error;
}

static bool buffers_init(Buffers *b, const Run *r)
{
    void *bytes = NULL, *behind = NULL;
    bool ok = !posix_memalign(&bytes, 4096, r->chunk) &&
              (!r->c->behind || !posix_memalign(&behind, 4096, r->chunk));
    *b = (Buffers){ bytes, behind, calloc(r->chunk / r->granule + 1, 1) };
    return ok && b->todo;
}

static void *work(void *opaque)
{
    Run *r = opaque;
    Buffers b;
    if (!buffers_init(&b, r)) {
        fail(r, ENOMEM, "copying to", r->c->target->filename, 0);
    }
    Part p = { .len = 0 };
    while (take(r, &p) && copy_part(r, &p, &b)) {
        part_done(r, &p);
    }
    free(b.bytes);
    free(b.behind);
    free(b.todo);
    return NULL;
}

/* Signals belong to the main thread, which works as well. */
static void run_workers(Run *r, unsigned nr)
{
    pthread_t threads[MAX_COPIERS];
    unsigned started = 0;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 1; i < nr && i < ARRAY_SIZE(threads); i++) {
        started += pthread_create(&threads[started], NULL, work, r) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    work(r);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
}

bool copy_run(Copy *c, Error **errp)
{
    uint64_t cluster = c->target->cluster_size, sparse = c->sparse ? c->sparse : 4096;
    Run r = { .c = c, .mutex = PTHREAD_MUTEX_INITIALIZER };
    for (size_t i = 0; i < MAX_COPIERS; i++) {
        pthread_cond_init(&r.turn_came[i], NULL);
    }
    r.align = cluster ? cluster : 4096;
    r.granule = c->compress ? cluster : MAX(sparse, MIN(r.align, 64 * KiB));
    r.align = MAX(r.align, r.granule);
    /* Compressing is what takes long: smaller parts keep all workers busy to the end. */
    r.chunk = ROUND_UP((uint64_t)(c->compress ? CHUNK / 4 : CHUNK), r.align);
    r.begin_ns = now_ns();
    c->progress->total = c->size;
    img_progress(c->progress, 0);
    run_workers(&r, c->workers);
    if (r.failed) {
        *errp = r.error;
        return false;
    }
    img_progress(c->progress, c->size);
    return true;
}
