/* SPDX-License-Identifier: GPL-2.0-or-later
 * From the words people have for an image (a file name, -drive's options, json:) to nodes: the
 * protocol is opened first, the format is what they say or what the first bytes look like.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/node.h"
#include "util/alloc.h"

const char *block_foreign_format(const uint8_t *head, size_t len)
{
    static const struct {
        const char *magic, *name;
        size_t len;
    } formats[] = {
        { "QFI\xfb\0\0\0\1", "qcow", 8 }, { "KDMV", "vmdk", 4 },
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

const char *block_guess(const uint8_t *head, size_t len)
{
    const BlockDriver *d = block_probe(head, len);
    return strcmp(d->name, "raw") ? d->name : block_foreign_format(head, len);
}

bool block_is_guessed_raw(const BlockNode *n)
{
    while (n && !(n->probed && !strcmp(n->driver->name, "raw"))) {
        n = n->file;
    }
    return n != NULL;
}

static const BlockDriver *probe_node(BlockNode *n, Error **errp)
{
    uint8_t head[BLOCK_HEAD] = { 0 };
    size_t len = MIN(sizeof(head), n->size);
    int error = block_pread(n, 0, head, len);
    if (error) {
        error_set_errno(errp, error, "image '%s' cannot be read", n->filename);
        return NULL;
    }
    const BlockDriver *d = block_probe(head, len);
    const char *foreign = block_foreign_format(head, len);
    if (foreign && !strcmp(d->name, "raw")) {
        error_set(
            errp,
            "image '%s' looks like %s, which is not built yet; convert it (qemu-img convert -O "
            "raw %s NEW), or give format=raw if the guest shall see these very bytes",
            n->filename, foreign, n->filename);
        return NULL;
    }
    return d;
}

/* ---- protocols ---- */

static bool is_protocol(const char *name)
{
    const BlockDriver *d = block_driver_find(name);
    for (const char *const *p = block_unbuilt_protocols; *p; p++) {
        if (!strcmp(*p, name)) {
            return true;
        }
    }
    return d && (d->kind == BLOCK_PROTOCOL || d->parse_filename);
}

/* "nbd:host:1", "file:///x", "a/b:c": adds driver= and what the name says to d. */
static bool split_filename(const char *filename, Dict *d, Error **errp)
{
    size_t len = strcspn(filename, ":/");
    const char *name = dict_get(d, "driver");
    if (filename[len] == ':' && access(filename, F_OK) != 0) {
        char *prefix = xstrndup(filename, len);
        if (is_protocol(prefix)) {
            const BlockDriver *driver = block_driver_need(name ? name : prefix, errp);
            dict_set(d, "driver", name ? name : prefix);
            free(prefix);
            if (driver && driver->parse_filename) {
                return driver->parse_filename(filename + len + 1, d, errp);
            }
            filename += len + 1;
            if (driver && !strcmp(driver->name, "file") && !strncmp(filename, "///", 3)) {
                filename += 2; /* a URL */
            }
            dict_set(d, "filename", filename);
            return driver != NULL;
        }
        free(prefix);
    }
    if (!name) {
        dict_set(d, "driver", "file");
    }
    dict_set(d, "filename", filename);
    return true;
}

/* The protocol's node of a file name (NULL: opts has one, or says driver=) and options. */
static BlockNode *open_protocol(const char *filename, const Dict *opts, const BlockFlags *flags,
                                Error **errp)
{
    Dict *d = dict_copy(opts);
    char *name = xstrdup(filename                ? filename
                         : dict_has(d, "driver") ? NULL
                                                 : dict_get(d, "filename"));
    BlockNode *n = NULL;
    if (!name && dict_has(d, "driver")) {
        n = block_open(d, flags, errp);
    } else if (!name) {
        error_set(errp, "a file name is missing: file=IMAGE, or file.driver=");
    } else if (split_filename(name, d, errp)) {
        n = block_open(d, flags, errp);
    }
    free(name);
    dict_free(d);
    return n;
}

/* ---- images ---- */

static BlockNode *open_json(const char *text, const Dict *opts, const BlockFlags *flags,
                            Error **errp)
{
    Dict *d = dict_parse_json(text, errp);
    if (!d) {
        return NULL;
    }
    for (size_t i = 0; i < dict_count(opts); i++) { /* what was said beside it counts more */
        dict_set(d, dict_key(opts, i), dict_value(opts, i));
    }
    BlockNode *n = block_open_words(NULL, d, flags, errp);
    dict_free(d);
    return n;
}

/* What is the format's of opts, on that protocol. */
static Dict *format_options(const Dict *opts, const BlockNode *file)
{
    Dict *d = dict_new();
    for (size_t i = 0; i < dict_count(opts); i++) {
        if (strncmp(dict_key(opts, i), "file.", 5) && strcmp(dict_key(opts, i), "filename")) {
            dict_set(d, dict_key(opts, i), dict_value(opts, i));
        }
    }
    dict_set(d, "file", file->name);
    return d;
}

static BlockNode *open_format(const BlockDriver *d, const Dict *opts, BlockNode *file, Error **errp)
{
    bool probed = !d;
    if (!d) {
        d = probe_node(file, errp);
    }
    if (!d) {
        return NULL;
    }
    Dict *own = format_options(opts, file);
    dict_set(own, "driver", d->name);
    BlockNode *n = block_open_driver(d, own, &file->flags, errp);
    dict_free(own);
    if (n) {
        n->probed = probed;
    }
    return n;
}

/* driver=FILTER,file=NAME: the image with all it takes is below. */
static BlockNode *open_filter(const BlockDriver *d, const char *filename, const Dict *opts,
                              const BlockFlags *flags, Error **errp)
{
    Dict *sub = dict_sub(opts, "file");
    BlockNode *file = block_open_words(filename, sub, flags, errp);
    dict_free(sub);
    if (!file) {
        return NULL;
    }
    Dict *own = format_options(opts, file);
    BlockNode *n = block_open_driver(d, own, flags, errp);
    dict_free(own);
    block_unref(file);
    return n;
}

BlockNode *block_open_words(const char *filename, const Dict *opts, const BlockFlags *flags,
                            Error **errp)
{
    const char *driver = dict_get(opts, "driver");
    if (filename && !strncmp(filename, "json:", 5)) {
        return open_json(filename + 5, opts, flags, errp);
    }
    const BlockDriver *d = driver ? block_driver_need(driver, errp) : NULL;
    if (driver && !d) {
        return NULL;
    }
    if (d && d->kind == BLOCK_PROTOCOL) {
        return open_protocol(filename, opts, flags, errp);
    }
    const char *given = filename ? NULL : dict_get(opts, "file");
    if (d && ((d->kind == BLOCK_FILTER && !filename) || given)) {
        return block_open(opts, flags, errp);
    }
    if (d && d->kind == BLOCK_FILTER) {
        return open_filter(d, filename, opts, flags, errp);
    }
    BlockFlags below = *flags;
    BlockNode *file = NULL;
    if (!block_flags_parse(&below, opts, errp)) {
        return NULL;
    }
    if (given) {
        file = block_find(given) ? block_ref(block_find(given)) : NULL;
        if (!file) {
            error_set(errp, "file=%s: there is no node of that name", given);
        }
    } else {
        Dict *sub = dict_sub(opts, "file");
        if (!filename && !dict_count(sub) && dict_get(opts, "filename")) {
            filename = dict_get(opts, "filename"); /* file.filename=, one level up */
        }
        file = open_protocol(filename, sub, &below, errp);
        dict_free(sub);
    }
    if (!file) {
        return NULL;
    }
    BlockNode *n = open_format(d, opts, file, errp);
    block_unref(file);
    return n;
}

BlockNode *block_open_image(const char *filename, const char *format, const BlockFlags *flags,
                            Error **errp)
{
    Dict *opts = dict_new();
    if (format) {
        dict_set(opts, "driver", format);
    }
    BlockNode *n = block_open_words(filename, opts, flags, errp);
    dict_free(opts);
    return n;
}
