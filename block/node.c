/* SPDX-License-Identifier: GPL-2.0-or-later
 * The graph of block nodes: drivers, opening from dictionaries and from file names, references,
 * and reading and writing with what a driver leaves to us.
 */
#include "block/node.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/alloc.h"

enum { MAX_DEPTH = 200 }; /* of a chain: an image may name itself as its backing file */

static List drivers = LIST_INIT(drivers), nodes = LIST_INIT(nodes);
static unsigned depth; /* of block_open in block_open */

/* ---- drivers ---- */

void block_driver_register(BlockDriver *d)
{
    list_insert(&drivers, &d->node);
}

const BlockDriver *block_driver_find(const char *name)
{
    list_for_each(pos, &drivers) {
        const BlockDriver *d = container_of(pos, BlockDriver, node);
        if (!strcmp(d->name, name)) {
            return d;
        }
        for (const char *const *a = d->aliases; a && *a; a++) {
            if (!strcmp(*a, name)) {
                return d;
            }
        }
    }
    return NULL;
}

void block_drivers_each(void (*fn)(const BlockDriver *d, void *opaque), void *opaque)
{
    list_for_each(pos, &drivers) {
        fn(container_of(pos, BlockDriver, node), opaque);
    }
}

/* What users of this kind of program know and this one cannot do. */
static const char *const unbuilt_formats[] = {
    "qcow", "vmdk", "vdi", "vpc", "vhdx", "qed", "parallels", "luks", "dmg", "cloop", "bochs",
    NULL,
};
const char *const block_unbuilt_protocols[] = {
    "nbd", "http", "https", "ftp", "ftps", "ssh", "iscsi", "vvfat", "fat", "rbd", "gluster", "nfs",
    "nvme", NULL,
};

static bool is_in(const char *const *list, const char *name)
{
    while (*list && strcmp(*list, name)) {
        list++;
    }
    return *list != NULL;
}

const BlockDriver *block_driver_need(const char *name, Error **errp)
{
    const BlockDriver *d = block_driver_find(name);
    if (d) {
        return d;
    }
    if (is_in(unbuilt_formats, name)) {
        error_set(errp,
                  "the image format '%s' is not built yet; convert the image with: qemu-img convert -O "
                  "raw IMAGE IMAGE.raw",
                  name);
        return NULL;
    }
    if (is_in(block_unbuilt_protocols, name)) {
        error_set(errp, "the protocol '%s:' is not built yet, only files and block devices are", name);
        return NULL;
    }
    const char *names[64];
    size_t nr = 0;
    list_for_each(pos, &drivers) {
        if (nr + 1 < ARRAY_SIZE(names)) {
            names[nr++] = container_of(pos, BlockDriver, node)->name;
        }
    }
    names[nr] = NULL;
    const char *near = suggest(name, names);
    error_set(errp, "there is no image format '%s'%s%s%s", name, near ? "; did you mean '" : "",
              near ? near : "", near ? "'?" : "");
    return NULL;
}

const BlockDriver *block_probe(const uint8_t *head, size_t len)
{
    const BlockDriver *best = block_driver_find("raw");
    int score = 0;
    list_for_each(pos, &drivers) {
        const BlockDriver *d = container_of(pos, BlockDriver, node);
        int s = d->probe ? d->probe(head, len) : 0;
        if (s > score) {
            best = d;
            score = s;
        }
    }
    return best;
}

/* ---- opening ---- */

static const char *const node_keys[] = {
    "driver", "node-name", "read-only", "auto-read-only", "cache.direct", "cache.no-flush",
    "discard", "force-share", "detect-zeroes",
};

static bool check_name(const char *name, Error **errp)
{
    if (block_find(name)) {
        return error_set(errp, "there is a node '%s' already", name);
    }
    bool ok = *name && strlen(name) < 32 && (*name < '0' || *name > '9');
    for (const char *c = name; *c; c++) {
        ok = ok && (strchr("-._", *c) || (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                    (*c >= 'A' && *c <= 'Z'));
    }
    return ok || error_set(errp,
                           "node-name=%s: a name is up to 31 letters, digits, '-', '.' and '_', and "
                           "begins with a letter",
                           name);
}

bool block_flags_parse(BlockFlags *f, const Dict *opts, Error **errp)
{
    const char *discard = dict_get(opts, "discard");
    if (discard) {
        f->discard = !strcmp(discard, "unmap") || !strcmp(discard, "on");
        if (!f->discard && strcmp(discard, "ignore") && strcmp(discard, "off")) {
            return error_set(errp, "discard=%s: it is unmap or ignore", discard);
        }
    }
    return dict_get_bool(opts, "read-only", &f->readonly, errp) &&
           dict_get_bool(opts, "auto-read-only", &f->auto_readonly, errp) &&
           dict_get_bool(opts, "cache.direct", &f->direct, errp) &&
           dict_get_bool(opts, "cache.no-flush", &f->no_flush, errp) &&
           dict_get_bool(opts, "force-share", &f->no_lock, errp);
}

static bool get_detect_zeroes(BlockNode *n, const Dict *opts, Error **errp)
{
    static const char *const words[] = { [ZEROES_OFF] = "off", [ZEROES_ON] = "on",
                                         [ZEROES_UNMAP] = "unmap" };
    const char *text = dict_get(opts, "detect-zeroes");
    for (unsigned i = 0; text && i < ARRAY_SIZE(words); i++) {
        if (!strcmp(text, words[i])) {
            n->detect_zeroes = (DetectZeroes)i;
            return true;
        }
    }
    return !text || error_set(errp, "detect-zeroes=%s: it is off, on or unmap", text);
}

/* Options of QEMU's nodes that wait to be built. */
bool block_option_is_unbuilt(const char *key)
{
    static const char *const unbuilt[] = {
        "overlap-check",        "pass-discard-request",  "pass-discard-snapshot",
        "pass-discard-other",   "discard-no-unref",      "cache-clean-interval",
        "aio-max-batch",        "pr-manager",            "drop-cache",
        "x-check-cache-dropped", NULL,
    };
    return is_in(unbuilt, key) || !strncmp(key, "overlap-check.", 14) || !strcmp(key, "encrypt") ||
           !strncmp(key, "encrypt.", 8);
}

static void join(char *list, size_t size, const char *word)
{
    size_t len = strlen(list);
    snprintf(list + len, size - len, "%s%s", len ? ", " : "", word);
}

static bool check_keys(const BlockDriver *d, const Dict *opts, Error **errp)
{
    for (size_t i = 0; i < ARRAY_SIZE(node_keys); i++) {
        dict_get(opts, node_keys[i]);
    }
    const char *unused = dict_unused(opts);
    if (!unused) {
        return true;
    }
    if (block_option_is_unbuilt(unused)) {
        return error_set(errp, "the option '%s' of %s nodes is not built yet; leave it away", unused,
                         d->name);
    }
    const char *words[64];
    char list[512] = "";
    size_t nr = 0;
    for (const BlockOption *o = d->options; o && o->name && nr < 40; o++) {
        words[nr++] = o->name;
    }
    for (size_t i = 0; i < ARRAY_SIZE(node_keys); i++) {
        words[nr++] = node_keys[i];
    }
    words[nr] = NULL;
    const char *near = suggest(unused, words);
    for (size_t i = 0; i < nr && !near; i++) {
        join(list, sizeof(list), words[i]);
    }
    return error_set(errp, "a %s node has no option '%s'; %s%s%s", d->name, unused,
                     near ? "did you mean '" : "it takes ", near ? near : list, near ? "'?" : "");
}

static void free_node(BlockNode *n)
{
    block_unref(n->file);
    block_unref(n->backing);
    free(n->name);
    free(n->filename);
    free(n->store);
    free(n->taken_by);
    free(n->backing_file);
    free(n->backing_format);
    free(n);
}

BlockNode *block_open_driver(const BlockDriver *d, const Dict *opts, const BlockFlags *flags,
                             Error **errp)
{
    static unsigned number;
    const char *name = dict_get(opts, "node-name");
    if (name && !check_name(name, errp)) {
        return NULL;
    }
    if (depth >= MAX_DEPTH) {
        error_set(errp, "the chain of images is longer than %d: does one name itself?", MAX_DEPTH);
        return NULL;
    }
    BlockNode *n = xcalloc(1, d->size);
    n->driver = d;
    n->flags = *flags;
    n->refs = 1;
    n->name = name ? xstrdup(name) : xasprintf("#block%u", number++);
    list_init(&n->list);
    depth++;
    bool ok = block_flags_parse(&n->flags, opts, errp) && get_detect_zeroes(n, opts, errp);
    if (ok) {
        n->readonly = n->flags.readonly;
        ok = d->open(n, opts, errp);
    }
    depth--;
    if (ok && !check_keys(d, opts, errp)) {
        ok = false;
        if (d->close) {
            d->close(n);
        }
    }
    if (!ok) {
        free_node(n);
        return NULL;
    }
    if (!n->filename) {
        n->filename = xstrdup(n->file ? n->file->filename : "");
    }
    list_insert(&nodes, &n->list);
    return n;
}

BlockNode *block_open(const Dict *opts, const BlockFlags *flags, Error **errp)
{
    const char *name = dict_get(opts, "driver");
    if (!name) {
        error_set(errp, "a block node needs driver=, for instance driver=qcow2");
        return NULL;
    }
    const BlockDriver *d = block_driver_need(name, errp);
    return d ? block_open_driver(d, opts, flags, errp) : NULL;
}

/* ---- children ---- */

const char *block_user(BlockNode *n)
{
    if (n->taken_by) {
        return n->taken_by;
    }
    list_for_each(pos, &nodes) {
        const BlockNode *p = container_of(pos, BlockNode, list);
        if (p->file == n || p->backing == n) {
            return p->name;
        }
    }
    return NULL;
}

/* Two that write to one node would not know of each other. */
static BlockNode *refer_to(const BlockNode *n, const char *key, const char *name,
                           const BlockFlags *flags, Error **errp)
{
    BlockNode *child = block_find(name);
    const char *user = child ? block_user(child) : NULL;
    if (!child) {
        error_set(errp, "%s=%s: there is no node of that name", key, name);
        return NULL;
    }
    if (user && !child->readonly && !flags->readonly) {
        error_set(errp, "%s=%s: the node is used by '%s' already; a %s node that writes to it "
                  "needs it for itself (read-only=on shares it)", key, name, user,
                  n->driver->name);
        return NULL;
    }
    return block_ref(child);
}

bool block_open_child(BlockNode *n, const Dict *opts, const char *key, const BlockFlags *flags,
                      bool optional, BlockNode **child, Error **errp)
{
    const char *name = dict_get(opts, key);
    Dict *sub = dict_sub(opts, key);
    *child = NULL;
    if (name) {
        *child = refer_to(n, key, name, flags, errp);
    } else if (dict_count(sub)) {
        *child = block_open_words(NULL, sub, flags, errp);
    } else if (!optional) {
        error_set(errp, "a %s node needs %s=, a node's name, or %s.driver= and so on",
                  n->driver->name, key, key);
    }
    dict_free(sub);
    return *child || (optional && !*errp);
}

char *block_backing_path(const char *image, const char *backing)
{
    size_t len = strcspn(backing, ":/");
    const char *slash = strrchr(image, '/');
    if (backing[0] == '/' || backing[len] == ':' || !slash) {
        return xstrdup(backing);
    }
    return xasprintf("%.*s/%s", (int)(slash - image), image, backing);
}

bool block_open_backing(BlockNode *n, const Dict *opts, Error **errp)
{
    BlockFlags flags = n->flags;
    flags.readonly = true;
    flags.auto_readonly = flags.for_check = false;
    const char *given = dict_get(opts, "backing");
    if (n->flags.no_backing || (given && !*given)) {
        return true;
    }
    if (!block_open_child(n, opts, "backing", &flags, true, &n->backing, errp)) {
        return error_prefix(errp, "the backing file of '%s': ", n->file->filename);
    }
    if (n->backing || !n->backing_file) {
        return true;
    }
    char *path = block_backing_path(n->file->filename, n->backing_file);
    n->backing = block_open_image(path, n->backing_format, &flags, errp);
    free(path);
    return n->backing || error_prefix(errp, "the backing file of '%s': ", n->file->filename);
}

BlockNode *block_find(const char *node_name)
{
    list_for_each(pos, &nodes) {
        BlockNode *n = container_of(pos, BlockNode, list);
        if (!strcmp(n->name, node_name)) {
            return n;
        }
    }
    return NULL;
}

BlockNode *block_ref(BlockNode *n)
{
    n->refs++;
    return n;
}

void block_unref(BlockNode *n)
{
    if (!n || --n->refs) {
        return;
    }
    list_remove(&n->list);
    if (n->driver->close) {
        n->driver->close(n);
    }
    free_node(n);
}

bool block_own(BlockNode *n, bool own, Error **errp)
{
    if (!own && !n->owned) {
        return error_set(errp, "node '%s' was not made by -blockdev; it goes with its user",
                         n->name);
    }
    if (!own && n->refs > 1) {
        const char *user = block_user(n);
        return error_set(errp, "node '%s' is in use%s%s", n->name, user ? " by " : "",
                         user ? user : "");
    }
    bool was = n->owned;
    n->owned = own;
    if (was && !own) {
        block_unref(n);
    }
    return true;
}

void block_nodes_close(void)
{
    for (bool again = true; again;) {
        again = false;
        list_for_each(pos, &nodes) {
            BlockNode *n = container_of(pos, BlockNode, list);
            if (n->owned) {
                n->owned = false;
                block_unref(n);
                again = true;
                break; /* it may have taken others along */
            }
        }
    }
}

void block_nodes_each(void (*fn)(BlockNode *n, void *opaque), void *opaque)
{
    list_for_each_safe(pos, &nodes) {
        fn(container_of(pos, BlockNode, list), opaque);
    }
}

/* ---- I/O ---- */

int block_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    return len ? n->driver->readv(n, offset, iov, niov, len) : 0;
}

int block_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len)
{
    if (n->readonly || !len) {
        return n->readonly ? EROFS : 0;
    }
    if (n->detect_zeroes != ZEROES_OFF && iov_is_zero(iov, niov)) {
        return block_write_zeroes(n, offset, len, n->detect_zeroes == ZEROES_UNMAP);
    }
    return n->driver->writev(n, offset, iov, niov, len);
}

int block_pread(BlockNode *n, uint64_t offset, void *buf, size_t len)
{
    struct iovec v = { buf, len };
    return block_readv(n, offset, &v, 1, len);
}

int block_pwrite(BlockNode *n, uint64_t offset, const void *buf, size_t len)
{
    struct iovec v = { (void *)buf, len };
    return block_writev(n, offset, &v, 1, len);
}

int block_flush(BlockNode *n)
{
    return n->flags.no_flush || n->readonly || !n->driver->flush ? 0 : n->driver->flush(n);
}

int block_discard(BlockNode *n, uint64_t offset, uint64_t len)
{
    if (!n->flags.discard || !n->driver->discard || !len) {
        return 0;
    }
    return n->readonly ? EROFS : n->driver->discard(n, offset, len);
}

int block_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap)
{
    static const char zeroes[64 * 1024] __attribute__((aligned(4096)));
    if (n->readonly) {
        return EROFS;
    }
    int error = len && n->driver->write_zeroes
                    ? n->driver->write_zeroes(n, offset, len, may_unmap)
                    : ENOTSUP;
    if (error != ENOTSUP) {
        return error;
    }
    for (error = 0; len && !error;) {
        struct iovec v = { (void *)zeroes, MIN(len, sizeof(zeroes)) };
        uint64_t part = v.iov_len;
        error = n->driver->writev(n, offset, &v, 1, part);
        offset += part;
        len -= part;
    }
    return error;
}

int block_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out)
{
    if (!n->driver->status) {
        *out = (BlockExtent){ .len = len, .allocated = true, .data = true };
        return 0;
    }
    *out = (BlockExtent){ .len = 0 };
    int error = n->driver->status(n, offset, len, out);
    assert(error || out->len);
    out->len = MIN(out->len, len);
    return error;
}

void block_event(BlockNode *n, const char *event)
{
    if (n && n->driver->event) {
        n->driver->event(n, event);
    }
}

bool block_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp)
{
    if (n->readonly) {
        return error_set(errp, "'%s' is open read-only", n->filename);
    }
    if (!n->driver->resize) {
        return error_set(errp, "a %s node cannot be resized", n->driver->name);
    }
    return n->driver->resize(n, size, prealloc ? prealloc : "off", errp);
}

/* ---- images ---- */

bool block_create(const BlockDriver *d, const char *filename, const Dict *opts, Error **errp)
{
    if (!d->create) {
        return error_set(errp, "the format '%s' cannot be created", d->name);
    }
    if (!d->create(filename, opts, errp)) {
        return false;
    }
    const char *unused = dict_unused(opts);
    return !unused || error_set(errp, "the format '%s' has no option '%s'", d->name, unused);
}

void block_snapshots_free(BlockSnapshot *list, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        free(list[i].id);
        free(list[i].name);
    }
    free(list);
}
