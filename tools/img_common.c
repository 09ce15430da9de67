/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo-img: arguments, opening images, sizes and progress as text. Declared in tools/img.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/img.h"
#include "util/alloc.h"

/* ---- arguments ---- */

bool img_parse_size(const char *what, const char *text, uint64_t *out, Error **errp)
{
    if (parse_size(text, 1, out) && *out <= INT64_MAX) {
        return true;
    }
    return error_set(errp,
                     "%s '%s' is no size: give bytes below 8 EiB, or a number with k, M, G, T, P "
                     "or E",
                     what, text);
}

bool img_parse_count(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                     Error **errp)
{
    if (parse_u64(text, out) && *out >= min && *out <= max) {
        return true;
    }
    return error_set(errp, "%s '%s': give a number from %" PRIu64 " to %" PRIu64, what, text, min,
                     max);
}

bool img_parse_cache(const char *mode, BlockFlags *flags, bool *through, Error **errp)
{
    static const char *const modes[] = { "none",       "writeback", "writethrough",
                                         "directsync", "unsafe",    NULL };
    const char *const *m = modes;
    if (!strcmp(mode, "off")) {
        mode = "none";
    }
    while (*m && strcmp(*m, mode)) {
        m++;
    }
    if (!*m) {
        const char *near = suggest(mode, modes);
        return error_set(errp,
                         "there is no cache mode '%s'%s%s%s (none, writeback, writethrough, "
                         "directsync, unsafe)",
                         mode, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    flags->direct = !strcmp(mode, "none") || !strcmp(mode, "directsync");
    flags->no_flush = !strcmp(mode, "unsafe");
    *through = !strcmp(mode, "writethrough") || !strcmp(mode, "directsync");
    return true;
}

bool img_parse_output(const char *text, bool *json, Error **errp)
{
    *json = !strcmp(text, "json");
    return *json || !strcmp(text, "human") ||
           error_set(errp, "--output=%s: it is human or json", text);
}

bool img_add_options(Dict **opts, const char *text, Error **errp)
{
    if (!*opts) {
        *opts = dict_new();
    }
    if (!strcmp(text, "?")) {
        text = "help";
    }
    Dict *more = dict_parse(text, NULL, errp);
    if (!more) {
        return error_prefix(errp, "-o %s: ", text);
    }
    for (size_t i = 0; i < dict_count(more); i++) {
        dict_set(*opts, dict_key(more, i), dict_value(more, i));
    }
    dict_free(more);
    return true;
}

bool img_options_help(const Dict *opts)
{
    return opts && (dict_has(opts, "help") || dict_has(opts, "?"));
}

void img_print_create_options(const BlockDriver *d)
{
    static const char *const kinds[] = { "str", "bool (on/off)", "num", "size", "node" };
    printf("Supported %s options:\n", d->name);
    for (const BlockOption *o = d->create_options; o && o->name; o++) {
        char words[64];
        snprintf(words, sizeof(words), "  %s=<%s>", o->name, kinds[o->kind]);
        printf("%-24s - %s\n", words, o->help);
    }
}

bool img_has_create_option(const BlockDriver *d, const char *name)
{
    for (const BlockOption *o = d->create_options; o && o->name; o++) {
        if (!strcmp(o->name, name)) {
            return true;
        }
    }
    return false;
}

bool img_check_create_options(const BlockDriver *d, const Dict *opts, Error **errp)
{
    const char *names[64] = { NULL };
    size_t nr = 0;
    for (const BlockOption *o = d->create_options; o && o->name && nr < ARRAY_SIZE(names) - 1;
         o++) {
        names[nr++] = o->name;
    }
    for (size_t i = 0; i < dict_count(opts); i++) {
        if (!img_has_create_option(d, dict_key(opts, i))) {
            const char *near = suggest(dict_key(opts, i), names);
            return error_set(errp, "the format '%s' has no option '%s'%s%s%s (-o help lists them)",
                             d->name, dict_key(opts, i), near ? "; did you mean '" : "",
                             near ? near : "", near ? "'?" : "");
        }
    }
    return true;
}

typedef struct Names {
    const char *names[64];
    size_t nr;
} Names;

static void add_format(const BlockDriver *d, void *opaque)
{
    Names *n = opaque;
    if (d->kind == BLOCK_FORMAT && n->nr + 1 < ARRAY_SIZE(n->names)) {
        n->names[n->nr++] = d->name;
    }
}

const BlockDriver *img_find_format(const char *name, Error **errp)
{
    const BlockDriver *d = block_driver_find(name);
    if (d && d->kind != BLOCK_FILTER) {
        return d;
    }
    static const char *const unbuilt[] = { "qcow",  "qcow2", "vmdk",      "vdi",  "vpc",
                                           "vhdx",  "qed",   "parallels", "luks", "dmg",
                                           "cloop", "bochs", NULL };
    for (const char *const *u = unbuilt; *u; u++) {
        if (!strcmp(*u, name)) {
            error_set(errp, "the image format '%s' is not built yet", name);
            return NULL;
        }
    }
    Names n = { .nr = 0 };
    block_drivers_each(add_format, &n);
    const char *near = suggest(name, n.names);
    error_set(errp, "there is no image format '%s'%s%s%s (vireo-img --help lists them)", name,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

/* ---- opening ---- */

/* "driver=qcow2,file.filename=F": the protocol may be left out, it is a file then; so may the
 * driver, and the image's first bytes decide. */
static BlockNode *open_dict(const char *text, const char *format, const BlockFlags *flags,
                            Error **errp)
{
    Dict *d = dict_parse(text, NULL, errp);
    if (!d) {
        return NULL;
    }
    BlockNode *n = NULL;
    if (dict_has(d, "file.filename") && !dict_has(d, "file.driver")) {
        dict_set(d, "file.driver", "file");
    }
    const char *only = dict_count(d) == 1 ? dict_get(d, "filename") : NULL;
    if (dict_count(d) == 2 && dict_has(d, "file.filename")) {
        only = !strcmp(dict_get(d, "file.driver"), "file") ? dict_get(d, "file.filename") : NULL;
    }
    if (format && !dict_has(d, "driver")) {
        dict_set(d, "driver", format);
    }
    if (only && !dict_has(d, "driver")) {
        n = block_open_image(only, NULL, flags, errp);
    } else {
        n = block_open(d, flags, errp);
    }
    dict_free(d);
    return n;
}

BlockNode *img_open(const char *name, const char *format, bool image_opts, const BlockFlags *flags,
                    Error **errp)
{
    if (image_opts && format) {
        error_set(errp, "--image-opts and -f exclude each other: put driver=%s into the options",
                  format);
        return NULL;
    }
    if (format && !img_find_format(format, errp)) {
        return NULL;
    }
    return image_opts ? open_dict(name, format, flags, errp)
                      : block_open_image(name, format, flags, errp);
}

/* A file name's words as a dictionary. */
static Dict *name_to_dict(const char *filename, const char *format, Error **errp)
{
    Dict *d;
    if (!strncmp(filename, "json:", 5)) {
        d = dict_parse_json(filename + 5, errp);
    } else {
        d = dict_new();
        size_t len = strcspn(filename, ":/");
        char *protocol = xstrndup(filename, len);
        bool known = filename[len] == ':' && block_driver_find(protocol);
        dict_set(d, "file.driver", known ? protocol : "file");
        dict_set(d, "file.filename", known ? filename + len + 1 : filename);
        free(protocol);
    }
    if (d && !dict_has(d, "driver")) {
        dict_set(d, "driver", format);
    }
    return d;
}

BlockNode *img_open_over(const char *filename, const char *format, BlockNode *backing,
                         const BlockFlags *flags, Error **errp)
{
    Dict *d = name_to_dict(filename, format, errp);
    if (!d) {
        return NULL;
    }
    dict_set(d, "backing", backing ? backing->name : "");
    BlockNode *n = block_open(d, flags, errp);
    dict_free(d);
    return n;
}

/* "NAME", or "snapshot.id=1,snapshot.name=x": the ID, else the name. A new string. */
static char *snapshot_word(const char *text, Error **errp)
{
    if (strncmp(text, "snapshot.", 9)) {
        return xstrdup(text);
    }
    Dict *d = dict_parse(text, NULL, errp);
    const char *word = !d                           ? NULL
                       : dict_has(d, "snapshot.id") ? dict_get(d, "snapshot.id")
                                                    : dict_get(d, "snapshot.name");
    char *out = xstrdup(word);
    dict_free(d);
    if (!out && !*errp) {
        error_set(errp, "-l %s: give snapshot.id=ID or snapshot.name=NAME", text);
    }
    return out;
}

static bool has_snapshot_option(const BlockDriver *d)
{
    const BlockOption *o = d->options;
    while (o && o->name && strcmp(o->name, "snapshot")) {
        o++;
    }
    return o && o->name;
}

BlockNode *img_open_snapshot(const char *name, const char *format, bool image_opts,
                             const char *snapshot, const BlockFlags *flags, Error **errp)
{
    BlockFlags look = *flags;
    look.no_backing = true;
    BlockNode *n = img_open(name, format, image_opts, &look, errp), *out = NULL;
    char *word = n ? snapshot_word(snapshot, errp) : NULL;
    Dict *d = NULL;
    if (word && !has_snapshot_option(n->driver)) {
        error_set(errp, "images of the format '%s' have no snapshots", n->driver->name);
    } else if (word) {
        d = image_opts ? dict_parse(name, NULL, errp) : name_to_dict(name, n->driver->name, errp);
    }
    if (d && dict_has(d, "file.filename") && !dict_has(d, "file.driver")) {
        dict_set(d, "file.driver", "file");
    }
    if (d) {
        dict_set(d, "driver", n->driver->name);
        dict_set(d, "snapshot", word);
        out = block_open(d, flags, errp);
    }
    block_unref(n);
    dict_free(d);
    free(word);
    return out;
}

const char *img_protocol_file(const BlockNode *n)
{
    while (n->file) {
        n = n->file;
    }
    return !strcmp(n->driver->name, "file") ? n->filename : NULL;
}

bool img_uses_file(const BlockNode *n, const char *filename)
{
    struct stat a, b;
    if (!strncmp(filename, "file:", 5)) {
        filename += 5;
    }
    if (stat(filename, &a)) {
        return false;
    }
    for (; n; n = n->backing) {
        const char *own = img_protocol_file(n);
        if (own && stat(own, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
            return true;
        }
    }
    return false;
}

bool img_is_device(const char *filename)
{
    struct stat st;
    return stat(filename, &st) == 0 && S_ISBLK(st.st_mode);
}

/* ---- texts ---- */

SizeText img_size_text(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    SizeText out;
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out.text, sizeof(out.text), "%.3g %s", value, units[unit]);
    return out;
}

void img_print_snapshots(const BlockSnapshot *list, size_t nr)
{
    printf("Snapshot list:\n%-9s %-16s %8s %19s %12s %10s\n", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (size_t i = 0; i < nr; i++) {
        const BlockSnapshot *s = &list[i];
        time_t when = (time_t)s->date_s;
        struct tm tm;
        char date[64] = "?", clock[64], icount[32] = "";
        if (localtime_r(&when, &tm)) {
            strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
        }
        uint64_t ms = s->vm_clock_ns / 1000000;
        snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02u:%02u.%03u", ms / 3600000,
                 (unsigned)(ms / 60000 % 60), (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000));
        if (s->icount != UINT64_MAX) {
            snprintf(icount, sizeof(icount), "%" PRIu64, s->icount);
        }
        printf("%-9s %-16s %8s %19s %12s %10s\n", s->id, s->name,
               img_size_text(s->vm_state_size).text, date, clock, icount);
    }
}

/* ---- long work ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    if (interrupted) { /* pressed twice: no more patience */
        signal(sig, SIG_DFL);
        raise(sig);
    }
    interrupted = 1;
}

bool img_interrupted(void)
{
    return interrupted;
}

void img_catch_interrupts(void)
{
    struct sigaction act = { .sa_handler = on_interrupt };
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
}

void img_progress(ImgProgress *p, uint64_t done)
{
    p->done = done;
    if (!p->on) {
        return;
    }
    unsigned now = p->total ? (unsigned)((double)done * 10000 / (double)p->total) : 10000;
    if (now != p->shown || !done) {
        p->shown = now;
        printf("    (%u.%02u/100%%)\r", now / 100, now % 100);
        fflush(stdout);
    }
}

void img_progress_end(ImgProgress *p)
{
    if (p->on) {
        printf("\n");
        fflush(stdout);
    }
}
