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
    "qcow", "qcow2", "vmdk", "vdi", "vpc", "vhdx", "qed", "parallels", "luks", "dmg", "cloop", "bochs",
    NULL,
};
static const char *const unbuilt_protocols[] = {
    "nbd", "http", "https", "ftp", "ftps", "ssh", "iscsi", "vvfat", "fat", "rbd", "gluster", "nfs",
    "nvme", "blkdebug", "null-co", "null-aio", NULL,
};

static bool is_in(const char *const *list, const char *name)
{
    while (*list && strcmp(*list, name)) {
        list++;
    }
    return *list != NULL;
}

static const BlockDriver *find_driver(const char *name, Error **errp)
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
    if (is_in(unbuilt_protocols, name)) {
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

static bool get_flags(BlockNode *n, const Dict *opts, Error **errp)
{
    BlockFlags *f = &n->flags;
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

static bool check_keys(const BlockDriver *d, const Dict *opts, Error **errp)
{
    for (size_t i = 0; i < ARRAY_SIZE(node_keys); i++) {
        dict_get(opts, node_keys[i]);
    }
    const char *unused = dict_unused(opts);
    if (!unused) {
        return true;
    }
    const char *words[64];
    size_t nr = 0;
    for (const BlockOption *o = d->options; o && o->name && nr < 40; o++) {
        words[nr++] = o->name;
    }
    for (size_t i = 0; i < ARRAY_SIZE(node_keys); i++) {
        words[nr++] = node_keys[i];
    }
    words[nr] = NULL;
    const char *near = suggest(unused, words);
    return error_set(errp, "a %s node has no option '%s'%s%s%s", d->name, unused,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static void free_node(BlockNode *n)
{
    block_unref(n->file);
    block_unref(n->backing);
    free(n->name);
    free(n->filename);
    free(n->store);
    free(n->backing_file);
    free(n->backing_format);
    free(n);
}

static BlockNode *open_driver(const BlockDriver *d, const Dict *opts, const BlockFlags *flags,
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
    bool ok = get_flags(n, opts, errp);
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
    const BlockDriver *d = find_driver(name, errp);
    return d ? open_driver(d, opts, flags, errp) : NULL;
}

/* The protocol's node of a file name. */
static BlockNode *open_protocol(const char *filename, const BlockFlags *flags, Error **errp)
{
    size_t len = strcspn(filename, ":/");
    Dict *d = dict_new();
    if (filename[len] == ':' && access(filename, F_OK) != 0) {
        char *name = xstrndup(filename, len);
        const BlockDriver *driver = block_driver_find(name);
        if ((driver && driver->kind == BLOCK_PROTOCOL) || is_in(unbuilt_protocols, name)) {
            dict_set(d, "driver", name);
            filename += len + 1;
            if (!strcmp(name, "file") && !strncmp(filename, "///", 3)) {
                filename += 2; /* a URL */
            }
        }
        free(name);
    }
    if (!dict_has(d, "driver")) {
        dict_set(d, "driver", "file");
    }
    dict_set(d, "filename", filename);
    BlockNode *n = block_open(d, flags, errp);
    dict_free(d);
    return n;
}

static BlockNode *open_json(const char *text, const char *format, const BlockFlags *flags,
                            Error **errp)
{
    Dict *d = dict_parse_json(text, errp);
    if (!d) {
        return NULL;
    }
    if (format && !dict_has(d, "driver")) {
        dict_set(d, "driver", format);
    }
    BlockNode *n = block_open(d, flags, errp);
    dict_free(d);
    return n;
}

static const BlockDriver *probe_node(BlockNode *n, Error **errp)
{
    uint8_t head[2048] = { 0 };
    size_t len = MIN(sizeof(head), n->size);
    int error = block_pread(n, 0, head, len);
    if (error) {
        error_set_errno(errp, error, "image '%s' cannot be read", n->filename);
        return NULL;
    }
    const BlockDriver *d = block_probe(head, len);
    const char *foreign = block_foreign_format(head, len);
    if (foreign && !strcmp(d->name, "raw")) {
        error_set(errp,
                  "image '%s' looks like %s, which is not built yet; convert it (qemu-img convert -O "
                  "raw %s NEW), or give format=raw if the guest shall see these very bytes",
                  n->filename, foreign, n->filename);
        return NULL;
    }
    return d;
}

BlockNode *block_open_image(const char *filename, const char *format, const BlockFlags *flags,
                            Error **errp)
{
    if (!strncmp(filename, "json:", 5)) {
        return open_json(filename + 5, format, flags, errp);
    }
    const BlockDriver *d = format ? find_driver(format, errp) : NULL;
    if (format && !d) {
        return NULL;
    }
    BlockNode *file = open_protocol(filename, flags, errp);
    if (!file || (d && d->kind == BLOCK_PROTOCOL)) {
        return file;
    }
    BlockNode *n = NULL;
    if (!d) {
        d = probe_node(file, errp);
    }
    if (d) {
        Dict *opts = dict_new();
        dict_set(opts, "file", file->name);
        n = open_driver(d, opts, &file->flags, errp);
        dict_free(opts);
    }
    if (n) {
        n->probed = !format;
    }
    block_unref(file);
    return n;
}

const char *block_foreign_format(const uint8_t *head, size_t len)
{
    static const struct {
        const char *magic, *name;
        size_t len;
    } formats[] = {
        { "QFI\xfb", "qcow2", 4 },        { "KDMV", "vmdk", 4 },
        { "# Disk Desc", "vmdk", 11 },    { "conectix", "vpc", 8 },
        { "vhdxfile", "vhdx", 8 },        { "QED\0", "qed", 4 },
        { "<<< Oracle VM V", "vdi", 15 }, { "WithoutFreeSpace", "parallels", 16 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (len >= formats[i].len && !memcmp(head, formats[i].magic, formats[i].len)) {
            return formats[i].name;
        }
    }
    return NULL;
}

/* ---- children ---- */

bool block_open_child(BlockNode *n, const Dict *opts, const char *key, const BlockFlags *flags,
                      bool optional, BlockNode **child, Error **errp)
{
    const char *name = dict_get(opts, key);
    Dict *sub = dict_sub(opts, key);
    *child = NULL;
    if (name) {
        *child = block_find(name) ? block_ref(block_find(name)) : NULL;
        if (!*child) {
            error_set(errp, "%s=%s: there is no node of that name", key, name);
        }
    } else if (dict_count(sub)) {
        *child = block_open(sub, flags, errp);
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
    return n->readonly ? EROFS : len ? n->driver->writev(n, offset, iov, niov, len) : 0;
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
        size_t part = MIN(len, sizeof(zeroes));
        error = block_pwrite(n, offset, zeroes, part);
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
