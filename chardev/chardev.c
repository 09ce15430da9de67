/* SPDX-License-Identifier: GPL-2.0-or-later
 * Character devices: the registry, creation from options, and the seam between a front end (a
 * serial port, a monitor) and its back end. Back pressure works both ways: a back end reads only
 * what chr_can_receive() allows, and a front end keeps what char_write() did not take until its
 * char_on_writable() callback runs. Nothing here waits.
 */
#include "chardev/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "chardev/backend.h"
#include "chardev/stdio.h"
#include "util/alloc.h"

static List backends = LIST_INIT(backends);
static List chardevs = LIST_INIT(chardevs);

/* Constructors run before anything else could have set this up. */
void char_backend_register(CharBackend *be)
{
    list_insert(&backends, &be->node);
}

static const CharBackend *backend_find(const char *name)
{
    list_for_each(pos, &backends) {
        const CharBackend *be = container_of(pos, CharBackend, node);
        if (!strcmp(be->name, name)) {
            return be;
        }
        for (const char *const *a = be->aliases; a && *a; a++) {
            if (!strcmp(*a, name)) {
                return be;
            }
        }
    }
    return NULL;
}

static bool unknown_backend(const char *name, Error **errp)
{
    static const char *const not_built[] = { "braille", "dbus", "hub", "msmouse", "parallel",
                                             "parport", "qemu-vdagent", "spiceport", "spicevmc",
                                             "testdev", "wctablet", NULL };
    for (const char *const *n = not_built; *n; n++) {
        if (!strcmp(*n, name)) {
            return error_set(errp, "chardev backend '%s' is not built into Vireo yet", name);
        }
    }
    const char *names[64];
    size_t nr = 0;
    list_for_each(pos, &backends) {
        if (nr < ARRAY_SIZE(names) - 1) {
            names[nr++] = container_of(pos, CharBackend, node)->name;
        }
    }
    names[nr] = NULL;
    const char *near = suggest(name, names);
    if (near) {
        return error_set(errp, "there is no chardev backend '%s'; did you mean '%s'?", name, near);
    }
    return error_set(errp, "there is no chardev backend '%s'; -chardev help lists them", name);
}

/* ---- registry ---- */

Chardev *chardev_find(const char *id)
{
    list_for_each(pos, &chardevs) {
        Chardev *chr = container_of(pos, Chardev, node);
        if (!strcmp(chr->id, id)) {
            return chr;
        }
    }
    return NULL;
}

const char *chardev_id(const Chardev *chr)
{
    return chr->id;
}

bool chardev_in_use(const Chardev *chr)
{
    return chr->internal || !list_empty(&chr->frontends);
}

bool chardev_is_mux(const Chardev *chr)
{
    return chr->be->attached != NULL;
}

void chardevs_each(void (*fn)(Chardev *chr, const char *id, const char *filename, void *opaque),
                   void *opaque)
{
    list_for_each_safe(pos, &chardevs) {
        Chardev *chr = container_of(pos, Chardev, node);
        fn(chr, chr->id, chr->filename, opaque);
    }
}

void chardev_list_backends(void (*print)(void *opaque, const char *line), void *opaque)
{
    print(opaque, "Available chardev backend types:");
    list_for_each(pos, &backends) {
        const CharBackend *be = container_of(pos, CharBackend, node);
        if (be->open) {
            char *line = xasprintf("  %-10s %s", be->name, be->desc);
            print(opaque, line);
            free(line);
        }
    }
}

/* ---- creation ---- */

static void notify_writable(void *opaque)
{
    Chardev *chr = opaque;
    /* A callback may write, stall and ask again: each front end is served once a round. */
    list_for_each_safe(pos, &chr->frontends) {
        CharFrontend *fe = container_of(pos, CharFrontend, node);
        void (*fn)(void *) = fe->writable;
        if (fn) {
            fe->writable = NULL;
            fn(fe->writable_opaque);
        }
    }
}

Chardev *chardev_alloc(const CharBackend *be)
{
    Chardev *chr = xcalloc(1, be->size);
    chr->be = be;
    chr->log_fd = -1;
    list_init(&chr->frontends);
    list_init(&chr->node);
    bh_init(&chr->writable_bh, notify_writable, chr);
    return chr;
}

void chardev_register(Chardev *chr, const char *id)
{
    free(chr->id);
    chr->id = xstrdup(id);
    list_remove(&chr->node);
    list_insert(&chardevs, &chr->node);
}

static void chardev_free(Chardev *chr)
{
    if (chr->be->close) {
        chr->be->close(chr);
    }
    list_remove(&chr->node);
    bh_cancel(&chr->writable_bh);
    byte_queue_clear(&chr->queue);
    if (chr->log_fd >= 0) {
        close(chr->log_fd);
    }
    free(chr->id);
    free(chr->filename);
    free(chr);
}

static bool is_option(const char *const *options, const char *key)
{
    for (; options && *options; options++) {
        if (!strcmp(*options, key)) {
            return true;
        }
    }
    return false;
}

/* Before anything is opened: a misspelt option must not truncate a file first. */
static bool check_options(const CharBackend *be, const Dict *opts, Error **errp)
{
    static const char *const common[] = { "id", "backend", "mux", "logfile", "logappend", NULL };
    const char *words[32], *bad = NULL;
    size_t nr = 0;
    for (size_t i = 0; i < dict_count(opts) && !bad; i++) {
        const char *key = dict_key(opts, i);
        bad = is_option(common, key) || is_option(be->options, key) ? NULL : key;
    }
    if (!bad) {
        return true;
    }
    for (const char *const *o = be->options; o && *o; o++) {
        words[nr++] = *o;
    }
    for (const char *const *o = common; *o; o++) {
        words[nr++] = *o;
    }
    assert(nr < ARRAY_SIZE(words));
    words[nr] = NULL;
    const char *near = suggest(bad, words);
    if (near) {
        return error_set(errp, "chardev backend '%s' has no option '%s'; did you mean '%s'?",
                         be->name, bad, near);
    }
    return error_set(errp, "chardev backend '%s' has no option '%s'", be->name, bad);
}

static bool open_log(Chardev *chr, const Dict *opts, Error **errp)
{
    const char *path = dict_get(opts, "logfile");
    bool append = false;
    if (!dict_get_bool(opts, "logappend", &append, errp)) {
        return false;
    }
    if (!path) {
        return true;
    }
    chr->log_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    return chr->log_fd >= 0 || error_set_errno(errp, errno, "cannot open log file '%s'", path);
}

/* Opens a back end; not registered yet. */
static Chardev *chardev_open(const Dict *opts, Error **errp)
{
    const char *name = dict_get(opts, "backend");
    if (!name) {
        error_set(errp, "a chardev needs a backend, for example backend=stdio");
        return NULL;
    }
    const CharBackend *be = backend_find(name);
    if (!be || !be->open) {
        unknown_backend(name, errp);
        return NULL;
    }
    if (!check_options(be, opts, errp)) {
        return NULL;
    }
    /* A peer that is gone is an error of write(), not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    Chardev *chr = chardev_alloc(be);
    chr->id = xstrdup(dict_get(opts, "id"));
    if (!be->open(chr, opts, errp) || !open_log(chr, opts, errp)) {
        chardev_free(chr);
        return NULL;
    }
    if (!chr->filename) {
        chr_set_filename(chr, "%s", be->name);
    }
    if (!be->starts_closed) {
        chr->open = true;
    }
    return chr;
}

Chardev *chardev_create(const Dict *opts, Error **errp)
{
    const char *id = dict_get(opts, "id");
    bool mux = false;
    if (!id || !*id) {
        error_set(errp, "a chardev needs an id, for example id=char0");
        return NULL;
    }
    if (chardev_find(id)) {
        error_set(errp, "there is already a chardev '%s'; choose another id", id);
        return NULL;
    }
    if (!dict_get_bool(opts, "mux", &mux, errp)) {
        error_prefix(errp, "chardev '%s': ", id);
        return NULL;
    }
    Chardev *chr = chardev_open(opts, errp);
    if (!chr) {
        error_prefix(errp, "chardev '%s': ", id);
        return NULL;
    }
    if (!mux) {
        chardev_register(chr, id);
        return chr;
    }
    char *base_id = xasprintf("%s-base", id);
    chardev_register(chr, base_id);
    free(base_id);
    Chardev *m = chardev_mux_new(chr);
    chardev_register(m, id);
    return m;
}

Chardev *chardev_create_legacy(const char *id, const char *spec, Error **errp)
{
    if (!strncmp(spec, "chardev:", 8)) {
        Chardev *chr = chardev_find(spec + 8);
        if (!chr) {
            error_set(errp, "there is no chardev '%s'; create it with -chardev ...,id=%s",
                      spec + 8, spec + 8);
        }
        return chr;
    }
    Dict *opts = chardev_parse_legacy(id, spec, errp);
    if (!opts) {
        return NULL;
    }
    Chardev *chr = chardev_create(opts, errp);
    dict_free(opts);
    return chr;
}

bool chardev_spec_wants_monitor(const char *spec)
{
    return !strncmp(spec, "mon:", 4);
}

void chardev_delete(Chardev *chr)
{
    chr->closing = true;
    list_for_each_safe(pos, &chr->frontends) {
        char_detach(container_of(pos, CharFrontend, node));
    }
    chardev_free(chr);
}

bool chardev_change(Chardev *chr, const Dict *opts, Error **errp)
{
    if (chardev_is_mux(chr) || chr->internal) {
        return error_set(errp, "chardev '%s' is a mux and cannot be changed", chr->id);
    }
    Chardev *fresh = chardev_open(opts, errp);
    if (!fresh) {
        return error_prefix(errp, "chardev '%s': ", chr->id);
    }
    char *id = xstrdup(chr->id);
    CharFrontend *fe = list_empty(&chr->frontends)
                           ? NULL
                           : container_of(chr->frontends.next, CharFrontend, node);
    void (*writable)(void *) = fe ? fe->writable : NULL;
    if (fe) {
        if (chr->open && fe->event) {
            fe->event(fe->opaque, CHAR_CLOSED);
        }
        char_detach(fe);
    }
    chardev_delete(chr);
    chardev_register(fresh, id);
    free(id);
    if (fe) {
        bool ok = char_attach(fe, fresh, errp);
        assert(ok);
        if (writable) {
            char_on_writable(fe, writable, fe->writable_opaque);
        }
    }
    return true;
}

void chardevs_close(void)
{
    /* A mux takes its base with it, so that a saved next pointer would not do. Last created
     * first: what is built on others goes before them. */
    while (!list_empty(&chardevs)) {
        chardev_delete(container_of(chardevs.prev, Chardev, node));
    }
    char_stdio_restore();
}

/* ---- the back end's side ---- */

static CharFrontend *first_frontend(Chardev *chr)
{
    return list_empty(&chr->frontends) ? NULL
                                       : container_of(chr->frontends.next, CharFrontend, node);
}

size_t chr_can_receive(Chardev *chr)
{
    CharFrontend *fe = first_frontend(chr);
    return fe && fe->can_receive ? fe->can_receive(fe->opaque) : 0;
}

void chr_receive(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharFrontend *fe = first_frontend(chr);
    if (fe && fe->receive && len) {
        fe->receive(fe->opaque, buf, len);
    }
}

void chr_event(Chardev *chr, CharEvent event)
{
    if (event == CHAR_OPENED) {
        chr->open = true;
    } else if (event == CHAR_CLOSED) {
        chr->open = false;
        byte_queue_clear(&chr->queue);
        chr_writable(chr); /* whoever waits may go on: writes vanish now */
    }
    list_for_each_safe(pos, &chr->frontends) {
        CharFrontend *fe = container_of(pos, CharFrontend, node);
        if (fe->event) {
            fe->event(fe->opaque, event);
        }
    }
}

static void log_output(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (chr->log_fd >= 0 && write(chr->log_fd, buf, len) < 0) {
        warn_report("chardev '%s': writing its log file failed (%s): logging ends", chr->id,
                    strerror(errno));
        close(chr->log_fd);
        chr->log_fd = -1;
    }
}

static size_t backend_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    size_t n = chr->be->write(chr, buf, len);
    chr->stalled = n < len;
    return n;
}

static void flush_queue(Chardev *chr)
{
    while (chr->queue.len && !chr->stalled) {
        byte_queue_drop(&chr->queue,
                        backend_write(chr, byte_queue_peek(&chr->queue), chr->queue.len));
    }
}

void chr_writable(Chardev *chr)
{
    chr->stalled = false;
    flush_queue(chr);
    if (!chr->stalled) {
        bh_schedule(&chr->writable_bh);
    }
}

void chr_set_filename(Chardev *chr, const char *fmt, ...)
{
    va_list ap;
    free(chr->filename);
    va_start(ap, fmt);
    chr->filename = xvasprintf(fmt, ap);
    va_end(ap);
}

/* ---- the front end's side ---- */

bool char_attach(CharFrontend *fe, Chardev *chr, Error **errp)
{
    if (chr->internal || (!chr->be->attached && !list_empty(&chr->frontends))) {
        return error_set(errp,
                         "chardev '%s' is already in use; mux=on lets several devices share it",
                         chr->id);
    }
    fe->chr = chr;
    fe->writable = NULL;
    list_insert(&chr->frontends, &fe->node);
    if (chr->open && fe->event) {
        fe->event(fe->opaque, CHAR_OPENED);
    }
    if (chr->be->attached) {
        chr->be->attached(chr, fe);
    }
    char_accept_input(fe);
    return true;
}

void char_detach(CharFrontend *fe)
{
    Chardev *chr = fe->chr;
    if (!chr) {
        return;
    }
    if (chr->be->detached) {
        chr->be->detached(chr, fe);
    }
    list_remove(&fe->node);
    fe->chr = NULL;
    fe->writable = NULL;
}

size_t char_write(CharFrontend *fe, const void *buf, size_t len)
{
    Chardev *chr = fe->chr;
    if (!chr) {
        return len;
    }
    if (chr->stalled || chr->queue.len) {
        return 0;
    }
    size_t n = backend_write(chr, buf, len);
    log_output(chr, buf, n);
    return n;
}

void char_write_all(CharFrontend *fe, const void *buf, size_t len)
{
    Chardev *chr = fe->chr;
    size_t n = char_write(fe, buf, len);
    if (n < len) {
        log_output(chr, (const uint8_t *)buf + n, len - n);
        byte_queue_push(&chr->queue, (const uint8_t *)buf + n, len - n);
    }
}

size_t char_queued(const CharFrontend *fe)
{
    return fe->chr ? fe->chr->queue.len : 0;
}

void char_on_writable(CharFrontend *fe, void (*fn)(void *opaque), void *opaque)
{
    fe->writable = fn;
    fe->writable_opaque = opaque;
    if (fe->chr && fn && !fe->chr->stalled && !fe->chr->queue.len) {
        bh_schedule(&fe->chr->writable_bh);
    }
}

void char_accept_input(CharFrontend *fe)
{
    if (fe->chr && fe->chr->be->accept_input) {
        fe->chr->be->accept_input(fe->chr);
    }
}

bool char_is_open(const CharFrontend *fe)
{
    return fe->chr && fe->chr->open;
}

void char_set_line(CharFrontend *fe, unsigned baud, unsigned data_bits, char parity,
                   unsigned stop_bits)
{
    if (fe->chr && fe->chr->be->set_line) {
        fe->chr->be->set_line(fe->chr, baud, data_bits, parity, stop_bits);
    }
}

void char_set_break(CharFrontend *fe, bool on)
{
    if (fe->chr && fe->chr->be->set_break) {
        fe->chr->be->set_break(fe->chr, on);
    }
}

void chardev_send_break(Chardev *chr)
{
    chr_event(chr, CHAR_BREAK);
}
