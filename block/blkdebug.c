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
 * config= names a file of such rules (block/blkdebug_config.c). A breakpoint (block/blkdebug.h)
 * stops the request that passes an event. Left out: limits of size and alignment.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/blkdebug.h"
#include "util/alloc.h"
#include "util/container.h"

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

/* A breakpoint, and from when a request comes by that request. */
typedef struct Break {
    List list;
    char *event, *tag;
    pthread_t setter; /* whose requests do not stop */
    bool suspended, go;
} Break;

typedef struct BlkDebug {
    BlockNode node; /* file: the image */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* some Break's go */
    List breaks;
    uint64_t state;
    Rule *rule;
    size_t nr;
} BlkDebug;

/* All that ever pass: the node's own ("none" always has), copy-on-read's, qcow2's. */
static const char *const events[] = {
    "none",
    "read_aio",
    "write_aio",
    "pwritev_zero",
    "discard",
    "flush_to_disk",
    "cor_write",
    "read_backing_aio",
    "read_compressed",
    "write_compressed",
    "cow_read",
    "cow_write",
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l1_shrink_free_l2_clusters",
    "l2_load",
    "l2_update",
    "l2_alloc_write",
    "l2_alloc_cow_read",
    "refblock_load",
    "refblock_update",
    "refblock_alloc",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "reftable_load",
    "reftable_update",
    "reftable_grow",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "vmstate_load",
    "vmstate_save",
    "empty_image_prepare",
    NULL,
};

/* ---- options ---- */

static bool check_event(const char *event, Error **errp)
{
    const char *const *e = events;
    while (*e && strcmp(*e, event)) {
        e++;
    }
    const char *near = *e ? NULL : suggest(event, events);
    return *e || error_set(errp, "event=%s never comes here; %s%s%s", event,
                           near ? "did you mean '" : "docs/drives.md lists those that do",
                           near ? near : "", near ? "'?" : "");
}

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
    if (!check_event(event, errp)) {
        return false;
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
    pthread_cond_destroy(&s->changed);
}

static bool read_config(BlkDebug *s, const char *file, Error **errp)
{
    if (!file || !*file) {
        return true;
    }
    Dict *rules = blkdebug_read_config(file, errp);
    bool ok = rules != NULL;
    if (ok && !(parse_rules(s, rules, "inject-error", errp) &&
                parse_rules(s, rules, "set-state", errp))) {
        ok = error_prefix(errp, "%s: ", file);
    }
    dict_free(rules);
    return ok;
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
    pthread_cond_init(&s->changed, NULL);
    list_init(&s->breaks);
    if (parse_rules(s, opts, "inject-error", errp) && parse_rules(s, opts, "set-state", errp) &&
        read_config(s, dict_get(opts, "config"), errp)) {
        return true;
    }
    free_rules(s);
    return false;
}

static void blkdebug_close(BlockNode *n)
{
    blkdebug_resume_all(n); /* breakpoints: nothing is in flight any more */
    free_rules(container_of(n, BlkDebug, node));
}

/* blkdebug:CONFIG:IMAGE */
static bool blkdebug_parse_filename(const char *rest, Dict *opts, Error **errp)
{
    const char *colon = strchr(rest, ':');
    if (!colon) {
        return error_set(errp, "blkdebug:%s: it is blkdebug:CONFIG:IMAGE, CONFIG may be empty",
                         rest);
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

static void free_break(Break *b)
{
    list_remove(&b->list);
    free(b->event);
    free(b->tag);
    free(b);
}

/* With the lock: the request stops if there is a breakpoint. */
static void stop_at(BlkDebug *s, const char *event)
{
    Break *b = NULL;
    list_for_each(pos, &s->breaks) {
        Break *other = container_of(pos, Break, list);
        if (!b && !other->suspended && !strcmp(other->event, event) &&
            !pthread_equal(other->setter, pthread_self())) {
            b = other;
        }
    }
    if (!b) {
        return;
    }
    b->suspended = true;
    while (!b->go) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    free_break(b);
}

static void blkdebug_event(BlockNode *n, const char *event)
{
    BlkDebug *s = container_of(n, BlkDebug, node);
    pthread_mutex_lock(&s->lock);
    pass_event(s, event);
    stop_at(s, event);
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
    stop_at(s, io_types[io].event);
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

/* ---- breakpoints ---- */

static BlkDebug *find_below(BlockNode *n)
{
    while (n && strcmp(n->driver->name, "blkdebug")) {
        n = n->file;
    }
    return n ? container_of(n, BlkDebug, node) : NULL;
}

static BlkDebug *need_below(BlockNode *n, Error **errp)
{
    BlkDebug *s = find_below(n);
    if (!s) {
        error_set(errp, "requests stop at events of a blkdebug node: open blkdebug::FILE");
    }
    return s;
}

bool blkdebug_break(BlockNode *n, const char *event, const char *tag, Error **errp)
{
    BlkDebug *s = need_below(n, errp);
    if (!s || !check_event(event, errp)) {
        return false;
    }
    Break *b = xcalloc(1, sizeof(*b));
    b->event = xstrdup(event);
    b->tag = xstrdup(tag);
    b->setter = pthread_self();
    pthread_mutex_lock(&s->lock);
    list_insert(&s->breaks, &b->list);
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* With the lock. One that waits goes on, a breakpoint goes. */
static void let_go(BlkDebug *s, Break *b)
{
    if (b->suspended) {
        b->go = true;
        pthread_cond_broadcast(&s->changed);
    } else {
        free_break(b);
    }
}

/* tag NULL: any. Returns how many there were. */
static unsigned let_all_go(BlkDebug *s, const char *tag)
{
    unsigned nr = 0;
    pthread_mutex_lock(&s->lock);
    list_for_each_safe(pos, &s->breaks) {
        Break *b = container_of(pos, Break, list);
        if (!b->go && (!tag || !strcmp(b->tag, tag))) {
            let_go(s, b);
            nr++;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return nr;
}

bool blkdebug_remove_break(BlockNode *n, const char *tag, Error **errp)
{
    BlkDebug *s = need_below(n, errp);
    return s && (let_all_go(s, tag) || error_set(errp, "there is no breakpoint '%s'", tag));
}

void blkdebug_resume_all(BlockNode *n)
{
    BlkDebug *s = find_below(n);
    if (s) {
        (void)let_all_go(s, NULL);
    }
}

/* Those that stand still; tag NULL: any. With the lock. */
static Break *find_suspended(BlkDebug *s, const char *tag, unsigned *nr)
{
    Break *found = NULL;
    *nr = 0;
    list_for_each(pos, &s->breaks) {
        Break *b = container_of(pos, Break, list);
        if (b->suspended && !b->go && (!tag || !strcmp(b->tag, tag))) {
            found = b;
            ++*nr;
        }
    }
    return found;
}

bool blkdebug_resume(BlockNode *n, const char *tag, Error **errp)
{
    BlkDebug *s = need_below(n, errp);
    unsigned nr;
    if (!s) {
        return false;
    }
    pthread_mutex_lock(&s->lock);
    Break *b = find_suspended(s, tag, &nr);
    if (b) {
        let_go(s, b);
    }
    pthread_mutex_unlock(&s->lock);
    return b || error_set(errp, "no request is stopped at '%s'", tag);
}

unsigned blkdebug_nr_suspended(BlockNode *n, const char *tag)
{
    BlkDebug *s = find_below(n);
    unsigned nr = 0;
    if (s) {
        pthread_mutex_lock(&s->lock);
        (void)find_suspended(s, tag, &nr);
        pthread_mutex_unlock(&s->lock);
    }
    return nr;
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
    { "config", BLOCK_OPT_TEXT, "a file of such rules" },
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
