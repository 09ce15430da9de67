/* SPDX-License-Identifier: GPL-2.0-or-later
 * blkdebug: a filter that lets I/O fail where a test wants it to, with QEMU's option names.
 *
 *     driver=blkdebug,image=NODE,inject-error.0.event=l2_update,inject-error.0.errno=28,
 *     inject-error.0.once=on
 *
 * A rule arms when its event passes and its state is the node's; then the next I/O that it fits
 * fails, all that fit do without once=. Events come from the format above (block_event) and from
 * the node itself: read_aio, write_aio, pwritev_zero, discard, flush_to_disk before every such
 * request, whereas "none" is always armed. partial=on, our own, does the first half of a read or
 * write before it fails, as a full disk does. set-state.N changes the state when an event passes.
 * Left out: rules in a file (config=), suspended requests, limits of size and alignment.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/node.h"
#include "util/alloc.h"

enum { MAX_RULES = 64 };
typedef enum IoType { IO_READ, IO_WRITE, IO_WRITE_ZEROES, IO_DISCARD, IO_FLUSH, NR_IO } IoType;

static const struct {
    const char *name, *event;
} io_types[NR_IO] = {
    [IO_READ] = { "read", "read_aio" },
    [IO_WRITE] = { "write", "write_aio" },
    [IO_WRITE_ZEROES] = { "write-zeroes", "pwritev_zero" },
    [IO_DISCARD] = { "discard", "discard" },
    [IO_FLUSH] = { "flush", "flush_to_disk" },
};

typedef struct Rule {
    bool is_inject; /* else it sets a state */
    char *event;
    uint64_t state, new_state; /* state 0: any */
    int error;
    bool once, partial, immediately;
    uint64_t sector; /* UINT64_MAX: any */
    unsigned io;     /* bits of IoType */
    bool armed, spent;
} Rule;

typedef struct BlkDebug {
    BlockNode node; /* file: the image */
    pthread_mutex_t lock;
    uint64_t state;
    Rule *rule;
    size_t nr;
} BlkDebug;

/* ---- options ---- */

static bool get_io_type(const Dict *d, Rule *r, Error **errp)
{
    const char *text = dict_get(d, "iotype");
    r->io = text ? 0 : (1u << NR_IO) - 1;
    for (unsigned t = 0; text && t < NR_IO; t++) {
        r->io |= !strcmp(text, io_types[t].name) ? 1u << t : 0;
    }
    for (unsigned t = 0; !text && t < NR_IO; t++) { /* the node's own events mean that I/O */
        r->io = !strcmp(r->event, io_types[t].event) ? 1u << t : r->io;
    }
    return r->io ||
           error_set(errp, "iotype=%s: it is read, write, write-zeroes, discard or flush", text);
}

static bool parse_rule(const Dict *d, Rule *r, Error **errp)
{
    uint64_t error = EIO;
    const char *event = dict_get(d, "event");
    r->sector = UINT64_MAX;
    if (!event) {
        return error_set(errp, "event= is missing");
    }
    r->event = xstrdup(event);
    r->armed = !strcmp(event, "none");
    bool ok = dict_get_u64(d, "state", &r->state, errp);
    if (ok && r->is_inject) {
        ok = dict_get_u64(d, "errno", &error, errp) && dict_get_bool(d, "once", &r->once, errp) &&
             dict_get_bool(d, "partial", &r->partial, errp) &&
             dict_get_bool(d, "immediately", &r->immediately, errp) &&
             (!strcmp(dict_get(d, "sector") ? dict_get(d, "sector") : "", "-1") ||
              dict_get_u64(d, "sector", &r->sector, errp)) &&
             get_io_type(d, r, errp);
        ok = ok && (error < 4096 || error_set(errp, "errno=%" PRIu64 " is no error number", error));
    } else if (ok) {
        ok = dict_get_u64(d, "new_state", &r->new_state, errp);
    }
    r->error = (int)error;
    const char *unused = ok ? dict_unused(d) : NULL;
    return ok && (!unused || error_set(errp, "a rule has no option '%s'", unused));
}

/* inject-error.0, .1 and so on */
static bool parse_rules(BlkDebug *s, const Dict *opts, const char *kind, Error **errp)
{
    for (unsigned i = 0;; i++) {
        char key[40];
        snprintf(key, sizeof(key), "%s.%u", kind, i);
        Dict *d = dict_sub(opts, key);
        if (!dict_count(d)) {
            dict_free(d);
            return true;
        }
        if (s->nr == MAX_RULES) {
            dict_free(d);
            return error_set(errp, "blkdebug takes up to %d rules", MAX_RULES);
        }
        Rule *r = &s->rule[s->nr++];
        r->is_inject = !strcmp(kind, "inject-error");
        bool ok = parse_rule(d, r, errp);
        dict_free(d);
        if (!ok) {
            return error_prefix(errp, "%s: ", key);
        }
    }
}

static void free_rules(BlkDebug *s)
{
    for (size_t i = 0; i < s->nr; i++) {
        free(s->rule[i].event);
    }
    free(s->rule);
    pthread_mutex_destroy(&s->lock);
}

/* A mere file name below is a file's: formats stand above this node. */
static bool open_image(BlockNode *n, const Dict *opts, Error **errp)
{
    if (!dict_has(opts, "image.filename") || dict_has(opts, "image.driver")) {
        return block_open_child(n, opts, "image", &n->flags, false, &n->file, errp);
    }
    Dict *with = dict_copy(opts), *used = dict_sub(opts, "image");
    dict_set(with, "image.driver", "file");
    bool ok = block_open_child(n, with, "image", &n->flags, false, &n->file, errp);
    dict_free(used);
    dict_free(with);
    return ok;
}

static bool blkdebug_open(BlockNode *n, const Dict *opts, Error **errp)
{
    BlkDebug *s = container_of(n, BlkDebug, node);
    const char *config = dict_get(opts, "config");
    if (config && *config) {
        return error_set(errp,
                         "config=%s: rules in a file are not built; give them as "
                         "inject-error.0.event= and so on",
                         config);
    }
    if (!open_image(n, opts, errp)) {
        return false;
    }
    n->size = n->file->size;
    n->flags = n->file->flags;
    n->readonly |= n->file->readonly;
    n->request_align = n->file->request_align;
    s->state = 1;
    s->rule = xcalloc(MAX_RULES, sizeof(Rule));
    pthread_mutex_init(&s->lock, NULL);
    if (parse_rules(s, opts, "inject-error", errp) && parse_rules(s, opts, "set-state", errp)) {
        return true;
    }
    free_rules(s);
    return false;
}

static void blkdebug_close(BlockNode *n)
{
    free_rules(container_of(n, BlkDebug, node));
}

/* blkdebug:CONFIG:IMAGE */
static bool blkdebug_parse_filename(const char *rest, Dict *opts, Error **errp)
{
    const char *colon = strchr(rest, ':');
    if (!colon) {
        return error_set(errp, "blkdebug:%s: it is blkdebug::IMAGE", rest);
    }
    if (colon > rest) {
        char *config = xstrndup(rest, (size_t)(colon - rest));
        dict_set(opts, "config", config);
        free(config);
    }
    dict_set(opts, "image.filename", colon + 1);
    return true;
}

/* ---- rules ---- */

static void pass_event(BlkDebug *s, const char *event)
{
    uint64_t state = s->state; /* all rules see the same */
    for (size_t i = 0; i < s->nr; i++) {
        Rule *r = &s->rule[i];
        if (strcmp(r->event, event) || (r->state && r->state != state)) {
            continue;
        }
        r->armed = !r->spent;
        s->state = r->is_inject ? s->state : r->new_state;
    }
}

static void blkdebug_event(BlockNode *n, const char *event)
{
    BlkDebug *s = container_of(n, BlkDebug, node);
    pthread_mutex_lock(&s->lock);
    pass_event(s, event);
    pthread_mutex_unlock(&s->lock);
    block_event(n->file, event);
}

static bool fits(const Rule *r, IoType io, uint64_t offset, uint64_t len)
{
    return r->is_inject && r->armed && r->io >> io & 1 &&
           (r->sector == UINT64_MAX ||
            (io != IO_FLUSH && r->sector * 512 < offset + len && r->sector * 512 + 512 > offset));
}

/* The error this I/O is to have, 0 if none. */
static int injected(BlockNode *n, IoType io, uint64_t offset, uint64_t len, bool *partial)
{
    BlkDebug *s = container_of(n, BlkDebug, node);
    int error = 0;
    *partial = false;
    pthread_mutex_lock(&s->lock);
    pass_event(s, io_types[io].event);
    for (size_t i = 0; i < s->nr && !error; i++) {
        Rule *r = &s->rule[i];
        if (fits(r, io, offset, len)) {
            error = r->error;
            *partial = r->partial;
            r->armed = !r->once;
            r->spent = r->once;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return error;
}

static int transfer(BlockNode *n, IoType io, uint64_t offset, const struct iovec *iov, int niov,
                    uint64_t len)
{
    bool partial;
    int error = injected(n, io, offset, len, &partial);
    if (error && !partial) {
        return error;
    }
    struct iovec *half = xcalloc((size_t)niov, sizeof(*half));
    uint64_t part = error ? ROUND_DOWN(len / 2, 512) : len;
    int nr = iov_slice(half, iov, niov, 0, part);
    int real = io == IO_READ ? block_readv(n->file, offset, half, nr, part)
                             : block_writev(n->file, offset, half, nr, part);
    free(half);
    return error ? error : real;
}

/* ---- driver ---- */

static int blkdebug_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                          uint64_t len)
{
    return transfer(n, IO_READ, offset, iov, niov, len);
}

static int blkdebug_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov,
                           uint64_t len)
{
    return transfer(n, IO_WRITE, offset, iov, niov, len);
}

static int blkdebug_flush(BlockNode *n)
{
    bool partial;
    int error = injected(n, IO_FLUSH, 0, 0, &partial);
    return error ? error : block_flush(n->file);
}

static int blkdebug_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    bool partial;
    int error = injected(n, IO_DISCARD, offset, len, &partial);
    return error ? error : block_discard(n->file, offset, len);
}

static int blkdebug_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    bool partial;
    int error = injected(n, IO_WRITE_ZEROES, offset, len, &partial);
    return error ? error : block_write_zeroes(n->file, offset, len, may_unmap);
}

static int blkdebug_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    return block_status(n->file, offset, len, out);
}

static bool blkdebug_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    bool ok = block_resize(n->file, size, prealloc, errp);
    n->size = n->file->size;
    return ok;
}

static const BlockOption blkdebug_options[] = {
    { "image", BLOCK_OPT_NODE, "what lies below" },
    { "config", BLOCK_OPT_TEXT, "not built: a file of rules" },
    { "inject-error", BLOCK_OPT_TEXT,
      ".N.event=, errno=, once=, sector=, iotype=, state=, partial=" },
    { "set-state", BLOCK_OPT_TEXT, ".N.event=, state=, new_state=" },
    BLOCK_OPTION_END,
};

BLOCK_DRIVER(blkdebug) = {
    .name = "blkdebug",
    .desc = "lets I/O fail where a test wants it to",
    .kind = BLOCK_FILTER,
    .size = sizeof(BlkDebug),
    .options = blkdebug_options,
    .parse_filename = blkdebug_parse_filename,
    .open = blkdebug_open,
    .close = blkdebug_close,
    .readv = blkdebug_readv,
    .writev = blkdebug_writev,
    .flush = blkdebug_flush,
    .discard = blkdebug_discard,
    .write_zeroes = blkdebug_write_zeroes,
    .status = blkdebug_status,
    .event = blkdebug_event,
    .resize = blkdebug_resize,
};
