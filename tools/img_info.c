/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img info: what an image is, for people and as JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <sys/stat.h>

#include "tools/img.h"
#include "util/alloc.h"

enum { MAX_CHAIN = 200 };

static const ImgOption options[] = {
    { 'f', "format", "FMT", "the image's format [what its first bytes look like]" },
    { OPT_OUTPUT, "output", "human|json", "for whom" },
    { OPT_BACKING_CHAIN, "backing-chain", NULL, "the images behind it as well" },
    { 'U', "force-share", NULL, "although another program may be writing to it" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILE is driver=...,file.filename=..." },
    IMG_OPTIONS_END,
};

static bool disk_size(const BlockNode *n, uint64_t *out)
{
    struct stat st;
    const char *file = img_protocol_file(n);
    if (!file || stat(file, &st)) {
        return false;
    }
    *out = (uint64_t)st.st_blocks * 512;
    return true;
}

/* ---- JSON ---- */

static json_object *value_to_json(const char *key, const char *text)
{
    uint64_t number;
    bool name = strstr(key, "file") || strstr(key, "name"); /* may look like anything */
    if (!name && (!strcmp(text, "true") || !strcmp(text, "false"))) {
        return json_object_new_boolean(!strcmp(text, "true"));
    }
    if (!name && parse_u64(text, &number) && strncmp(text, "0x", 2)) {
        return json_object_new_int64((int64_t)number);
    }
    return json_object_new_string(text);
}

/* "a.b" goes into the object "a". */
static void add_nested(json_object *to, const char *key, const char *text)
{
    const char *dot = strchr(key, '.');
    if (!dot) {
        json_object_object_add(to, key, value_to_json(key, text));
        return;
    }
    char *first = xstrndup(key, (size_t)(dot - key));
    json_object *inner;
    if (!json_object_object_get_ex(to, first, &inner)) {
        inner = json_object_new_object();
        json_object_object_add(to, first, inner);
    }
    free(first);
    add_nested(inner, dot + 1, text);
}

static json_object *int_to_json(uint64_t v)
{
    return json_object_new_int64((int64_t)v);
}

static json_object *snapshots_to_json(const BlockSnapshot *list, size_t nr)
{
    json_object *array = json_object_new_array();
    for (size_t i = 0; i < nr; i++) {
        const BlockSnapshot *s = &list[i];
        json_object *o = json_object_new_object();
        json_object_object_add(o, "id", json_object_new_string(s->id));
        json_object_object_add(o, "name", json_object_new_string(s->name));
        json_object_object_add(o, "vm-state-size", int_to_json(s->vm_state_size));
        json_object_object_add(o, "date-sec", int_to_json(s->date_s));
        json_object_object_add(o, "date-nsec", int_to_json(s->date_ns));
        json_object_object_add(o, "vm-clock-sec", int_to_json(s->vm_clock_ns / 1000000000));
        json_object_object_add(o, "vm-clock-nsec", int_to_json(s->vm_clock_ns % 1000000000));
        if (s->icount != UINT64_MAX) {
            json_object_object_add(o, "icount", int_to_json(s->icount));
        }
        json_object_array_add(array, o);
    }
    return array;
}

static json_object *info_to_json(BlockNode *n, const char *name, const Dict *own,
                                 const BlockSnapshot *list, size_t nr)
{
    json_object *o = json_object_new_object();
    uint64_t on_disk;
    if (nr) {
        json_object_object_add(o, "snapshots", snapshots_to_json(list, nr));
    }
    json_object_object_add(o, "virtual-size", int_to_json(n->size));
    json_object_object_add(o, "filename", json_object_new_string(name));
    if (n->cluster_size) {
        json_object_object_add(o, "cluster-size", int_to_json(n->cluster_size));
    }
    json_object_object_add(o, "format", json_object_new_string(n->driver->name));
    if (disk_size(n, &on_disk)) {
        json_object_object_add(o, "actual-size", int_to_json(on_disk));
    }
    bool dirty = false;
    if (dict_count(own)) {
        json_object *data = json_object_new_object(), *specific = json_object_new_object();
        for (size_t i = 0; i < dict_count(own); i++) {
            if (!strcmp(dict_key(own, i), "dirty-flag")) {
                dirty = !strcmp(dict_value(own, i), "true");
            } else {
                add_nested(data, dict_key(own, i), dict_value(own, i));
            }
        }
        json_object_object_add(specific, "type", json_object_new_string(n->driver->name));
        json_object_object_add(specific, "data", data);
        json_object_object_add(o, "format-specific", specific);
    }
    if (n->backing_file) {
        char *full = block_backing_path(n->file->filename, n->backing_file);
        json_object_object_add(o, "full-backing-filename", json_object_new_string(full));
        json_object_object_add(o, "backing-filename", json_object_new_string(n->backing_file));
        if (n->backing_format) {
            json_object_object_add(o, "backing-filename-format",
                                   json_object_new_string(n->backing_format));
        }
        free(full);
    }
    json_object_object_add(o, "dirty-flag", json_object_new_boolean(dirty));
    return o;
}

/* ---- for people ---- */

static void print_specific(const Dict *own)
{
    bool first = true;
    for (size_t i = 0; i < dict_count(own); i++) {
        char *key = xstrdup(dict_key(own, i));
        if (!strcmp(key, "dirty-flag")) {
            free(key);
            continue;
        }
        for (char *c = key; *c; c++) {
            *c = *c == '-' ? ' ' : *c;
        }
        printf("%s    %s: %s\n", first ? "Format specific information:\n" : "", key,
               dict_value(own, i));
        first = false;
        free(key);
    }
}

static void print_info(BlockNode *n, const char *name, const Dict *own, const BlockSnapshot *list,
                       size_t nr)
{
    uint64_t on_disk;
    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\n", name,
           n->driver->name, img_size_text(n->size).text, n->size);
    printf("disk size: %s\n", disk_size(n, &on_disk) ? img_size_text(on_disk).text : "unavailable");
    if (n->cluster_size) {
        printf("cluster_size: %u\n", n->cluster_size);
    }
    if (dict_has(own, "dirty-flag") && !strcmp(dict_get(own, "dirty-flag"), "true")) {
        printf("cleanly shut down: no\n");
    }
    if (n->backing_file) {
        char *full = block_backing_path(n->file->filename, n->backing_file);
        printf("backing file: %s", n->backing_file);
        printf(strcmp(full, n->backing_file) ? " (actual path: %s)\n" : "\n", full);
        if (n->backing_format) {
            printf("backing file format: %s\n", n->backing_format);
        }
        free(full);
    }
    if (nr) {
        img_print_snapshots(list, nr);
    }
    print_specific(own);
}

/* ---- */

typedef struct Info {
    bool json, chain;
    json_object *array;
} Info;

static void show(Info *info, BlockNode *n, const char *name, bool first)
{
    Dict *own = dict_new();
    BlockSnapshot *list = NULL;
    size_t nr = n->driver->snapshots ? n->driver->snapshots(n, &list) : 0;
    if (n->driver->info) {
        n->driver->info(n, own);
    }
    if (info->json) {
        json_object_array_add(info->array, info_to_json(n, name, own, list, nr));
    } else {
        printf("%s", first ? "" : "\n");
        print_info(n, name, own, list, nr);
    }
    block_snapshots_free(list, nr);
    dict_free(own);
}

static bool show_all(Info *info, const char *name, const char *format, bool image_opts, bool share,
                     Error **errp)
{
    BlockFlags flags = {
        .readonly = true, .no_backing = true, .no_lock = share, .for_check = true
    };
    char *at = xstrdup(name), *fmt = xstrdup(format);
    bool ok = true;
    for (unsigned i = 0; at && ok; i++) {
        BlockNode *n = img_open(at, fmt, image_opts && !i, &flags, errp);
        ok = n != NULL;
        if (!ok) {
            if (i) {
                error_prefix(errp, "the backing file: ");
            }
            break;
        }
        show(info, n, at, !i);
        free(at);
        free(fmt);
        at = info->chain && n->backing_file ? block_backing_path(n->file->filename, n->backing_file)
                                            : NULL;
        fmt = xstrdup(n->backing_format);
        block_unref(n);
        if (at && i >= MAX_CHAIN) {
            ok = error_set(errp, "the chain is longer than %d images: does '%s' name itself?",
                           MAX_CHAIN, at);
        }
    }
    free(at);
    free(fmt);
    return ok;
}

static int run(ImgArgs *a)
{
    const char *format = NULL;
    bool share = false;
    Info info = { .json = false };
    Error *err = NULL;
    for (int c; (c = img_next_option(a)) != 0;) {
        switch (c) {
        case 'f': format = a->value; break;
        case 'U': share = true; break;
        case OPT_BACKING_CHAIN: info.chain = true; break;
        case OPT_OUTPUT:
            if (!img_parse_output(a->value, &info.json, &err)) {
                return img_fail(err);
            }
            break;
        }
    }
    if (!img_operands(a, 1, 1, "one image")) {
        return 1;
    }
    info.array = json_object_new_array();
    bool ok = show_all(&info, a->argv[0], format, a->image_opts, share, &err);
    if (ok && info.json) {
        json_object *o = info.chain ? info.array : json_object_array_get_idx(info.array, 0);
        printf("%s\n",
               json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
    }
    json_object_put(info.array);
    return ok ? 0 : img_fail(err);
}

const ImgCommand img_info = {
    "info",
    "[-f FMT] [--output=human|json] [--backing-chain] [-U] FILE",
    "Shows what an image is: format, sizes, backing file, snapshots.",
    options,
    run,
};
