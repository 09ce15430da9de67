/* SPDX-License-Identifier: GPL-2.0-or-later
 * -drive's options: which are the drive's own, and what the others say of its nodes.
 */
#include <stdlib.h>
#include <string.h>

#include "block/drive_impl.h"
#include "util/alloc.h"

static const char *const on_error_names[] = { "report", "ignore", "stop", "enospc", NULL };

/* The drive's own; vm/ reads some of them. */
static const char *const drive_keys[] = {
    "file",
    "if",
    "id",
    "index",
    "bus",
    "unit",
    "media",
    "format",
    "readonly",
    "read-only",
    "auto-read-only",
    "snapshot",
    "cache",
    "cache.direct",
    "cache.no-flush",
    "cache.writeback",
    "aio",
    "discard",
    "werror",
    "rerror",
    "copy-on-read",
    "serial",
    "boot",
    NULL,
};

/* Those of its nodes that every image may have; drivers have more. */
static const char *const node_keys[] = {
    "driver", "node-name", "detect-zeroes", "force-share", "backing", "filename", NULL,
};

/* Others that users of this kind of program know; a key "throttling.X" is found by its begin. */
static const char *const unbuilt_keys[] = {
    "addr",
    "share-rw",
    "cyls",
    "heads",
    "secs",
    "trans",
    NULL,
};

/* ---- keys ---- */

static bool is_in(const char *const *list, const char *key)
{
    while (*list && strcmp(*list, key)) {
        list++;
    }
    return *list != NULL;
}

/* Is key, up to its end or a dot or an underscore, in the list? */
static bool begins_in(const char *const *list, const char *key)
{
    for (; *list; list++) {
        size_t len = strlen(*list);
        if (!strncmp(*list, key, len) && (!key[len] || strchr("._", key[len]))) {
            return true;
        }
    }
    return false;
}

typedef struct KeySearch {
    const char *key;
    const char *words[256];
    size_t nr;
    bool known;
} KeySearch;

static void look_at_driver(const BlockDriver *d, void *opaque)
{
    KeySearch *s = opaque;
    for (const BlockOption *o = d->options; o && o->name; o++) {
        size_t len = strlen(o->name);
        s->known |= !strncmp(s->key, o->name, len) && (!s->key[len] || s->key[len] == '.');
        if (s->nr + 1 < ARRAY_SIZE(s->words)) {
            s->words[s->nr++] = o->name;
        }
    }
}

/* Which driver gets a key is not known before the image is opened: here only what none can know. */
static bool check_key(const char *key, Error **errp)
{
    KeySearch s = { .key = key };
    for (const char *const *k = drive_keys; *k; k++) {
        s.words[s.nr++] = *k;
    }
    for (const char *const *k = node_keys; *k; k++) {
        s.words[s.nr++] = *k;
    }
    block_drivers_each(look_at_driver, &s);
    s.words[s.nr] = NULL;
    if (s.known || is_in(drive_keys, key) || throttle_is_key(key) || begins_in(node_keys, key)) {
        return true;
    }
    if (begins_in(unbuilt_keys, key) || block_option_is_unbuilt(key)) {
        return error_set(errp, "the option '%s' is not built yet; leave it away", key);
    }
    if (strpbrk(key, "{\"")) { /* a piece of file=json:{"a":1,"b":2} */
        return error_set(errp, "'%s' is no option; a comma inside a value, json:{...} too, is written "
                               "twice: ,,", key);
    }
    const char *near = suggest(key, s.words);
    if (!near && strpbrk(key, "./")) {
        return error_set(errp, "a drive has no option '%s'; an image is given as file=%s", key, key);
    }
    return error_set(errp, "a drive has no option '%s'%s%s%s", key, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

/* All that is not the drive's own, a new dictionary. */
static Dict *node_options(const Dict *opts, Error **errp)
{
    Dict *node = dict_new();
    for (size_t i = 0; i < dict_count(opts); i++) {
        const char *key = dict_key(opts, i);
        if (!check_key(key, errp)) {
            dict_free(node);
            return NULL;
        }
        if (!is_in(drive_keys, key) && !throttle_is_key(key)) {
            dict_set(node, key, dict_value(opts, i));
        }
    }
    const char *format = dict_get(opts, "format"), *driver = dict_get(node, "driver");
    if (format && driver && strcmp(format, driver)) {
        error_set(errp, "format=%s and driver=%s say the same; give one of them", format, driver);
        dict_free(node);
        return NULL;
    }
    if (format) {
        dict_set(node, "driver", format);
    }
    return node;
}

/* ---- values ---- */

/* text NULL: as it was. */
static bool parse_on_error(const char *key, const char *text, OnError *out, Error **errp)
{
    if (!text) {
        return true;
    }
    bool read = !strcmp(key, "rerror"); /* which wants no room */
    for (unsigned i = 0; on_error_names[i] && !(read && i == ON_ERROR_ENOSPC); i++) {
        if (!strcmp(text, on_error_names[i])) {
            *out = (OnError)i;
            return true;
        }
    }
    return error_set(errp, "%s=%s: it is one of report, ignore, stop%s", key, text,
                     read ? "" : ", enospc");
}

static bool get_on_error(const Dict *opts, const char *key, OnError def, OnError *out, Error **errp)
{
    *out = def;
    return parse_on_error(key, dict_get(opts, key), out, errp);
}

bool drive_set_policies(Drive *d, const char *werror, const char *rerror, Error **errp)
{
    return parse_on_error("werror", werror, &d->on_write_error, errp) &&
           parse_on_error("rerror", rerror, &d->on_read_error, errp);
}

static bool get_choice(const Dict *opts, const char *key, const char *const *choices,
                       const char **out, Error **errp)
{
    const char *text = dict_get(opts, key);
    if (!text) {
        return true;
    }
    for (const char *const *c = choices; *c; c++) {
        if (!strcmp(text, *c)) {
            *out = text;
            return true;
        }
    }
    const char *near = suggest(text, choices);
    if (near) {
        return error_set(errp, "there is no %s=%s; did you mean '%s'?", key, text, near);
    }
    char list[128] = "";
    for (const char *const *c = choices; *c; c++) {
        size_t len = strlen(list);
        snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", *c);
    }
    return error_set(errp, "there is no %s=%s; it is one of %s", key, text, list);
}

/* cache.direct and the others override what cache= stands for. */
static bool get_cache(const Dict *opts, Drive *d, Error **errp)
{
    static const char *const caches[] = { "none",       "writeback",    "unsafe",
                                          "directsync", "writethrough", NULL };
    const char *cache = "writeback";
    if (!get_choice(opts, "cache", caches, &cache, errp)) {
        return false;
    }
    d->flags.direct = !strcmp(cache, "none") || !strcmp(cache, "directsync");
    d->flags.no_flush = !strcmp(cache, "unsafe");
    d->writeback = strcmp(cache, "writethrough") && strcmp(cache, "directsync");
    return dict_get_bool(opts, "cache.direct", &d->flags.direct, errp) &&
           dict_get_bool(opts, "cache.no-flush", &d->flags.no_flush, errp) &&
           dict_get_bool(opts, "cache.writeback", &d->writeback, errp);
}

static bool get_aio(const Dict *opts, Drive *d, Error **errp)
{
    static const char *const aios[] = { "threads", "native", "io_uring", NULL };
    const char *aio = NULL;
    if (!get_choice(opts, "aio", aios, &aio, errp)) {
        return false;
    }
    d->flags.aio = !aio ? AIO_AUTO : !strcmp(aio, "threads") ? AIO_THREADS : AIO_URING;
    if (aio && !strcmp(aio, "native")) {
        info_report("drive '%s': aio=native is done by io_uring", d->id);
    }
    return true;
}

static bool get_discard(const Dict *opts, Drive *d, Error **errp)
{
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    const char *discard = "unmap";
    bool ok = get_choice(opts, "discard", discards, &discard, errp);
    d->flags.discard = !strcmp(discard, "unmap") || !strcmp(discard, "on");
    return ok;
}

static bool get_throttling(const Dict *opts, Drive *d, Error **errp)
{
    ThrottleConfig c;
    bool any;
    const char *key = dict_has(opts, "group") ? "group" : "throttling.group";
    const char *group = dict_get(opts, key);
    if (!throttle_parse(&c, opts, &any, errp)) {
        return error_prefix(errp, "throttling: ");
    }
    if (any || group) {
        d->throttle = throttle_join(group ? group : d->id);
    }
    if (any) {
        throttle_set(d->throttle, &c);
    }
    return true;
}

bool drive_configure(Drive *d, const Dict *opts, Error **errp)
{
    static const char *const medias[] = { "disk", "cdrom", NULL };
    const char *media = "disk", *kind = dict_get(opts, "if");
    d->node_opts = node_options(opts, errp);
    if (!d->node_opts || !get_choice(opts, "media", medias, &media, errp) ||
        !get_cache(opts, d, errp) || !get_aio(opts, d, errp) || !get_discard(opts, d, errp) ||
        !dict_get_bool(opts, "snapshot", &d->snapshot, errp)) {
        return false;
    }
    d->cdrom = !strcmp(media, "cdrom");
    d->floppy = kind && !strcmp(kind, "floppy");
    d->readonly = d->cdrom;
    if (!dict_get_bool(opts, "readonly", &d->readonly, errp) ||
        !dict_get_bool(opts, "read-only", &d->readonly, errp) ||
        !dict_get_bool(opts, "auto-read-only", &d->flags.auto_readonly, errp) ||
        !dict_get_bool(opts, "boot", &d->boot, errp) ||
        !dict_get_bool(opts, "copy-on-read", &d->copy_on_read, errp) ||
        !get_on_error(opts, "werror", ON_ERROR_ENOSPC, &d->on_write_error, errp) ||
        !get_on_error(opts, "rerror", ON_ERROR_REPORT, &d->on_read_error, errp)) {
        return false;
    }
    if (!get_throttling(opts, d, errp)) {
        return false;
    }
    if (d->cdrom && !d->readonly) {
        return error_set(errp, "a CD-ROM can only be readonly=on");
    }
    d->serial = xstrdup(dict_get(opts, "serial"));
    return true;
}
