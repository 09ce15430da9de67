/* SPDX-License-Identifier: GPL-2.0-or-later
 * The registry of display back ends, and -display.
 */
#include "ui/display.h"

#include "util/alloc.h"

static List backends = LIST_INIT(backends); /* written by constructors only */
static const DisplayBackend *opened;

void display_backend_register(DisplayBackend *b)
{
    list_insert(&backends, &b->node);
}

static const DisplayBackend *find_backend(const char *name)
{
    list_for_each(pos, &backends) {
        const DisplayBackend *b = container_of(pos, DisplayBackend, node);
        if (!strcmp(b->name, name)) {
            return b;
        }
    }
    return NULL;
}

static bool unknown_display(const char *name, Error **errp)
{
    static const char *const known[] = { "sdl", "none", "gtk", "vnc", "curses", "egl-headless",
                                         "spice-app", "dbus", NULL };
    if (!strcmp(name, "sdl")) {
        return error_set(errp, "-display sdl: not in this build; install libsdl2-dev and configure "
                               "without --disable-sdl, or use none");
    }
    for (size_t i = 0; known[i]; i++) {
        if (!strcmp(name, known[i])) {
            return error_set(errp, "-display %s: not in this build; use %snone", name,
                             find_backend("sdl") ? "sdl or " : "");
        }
    }
    const char *near = suggest(name, known);
    if (near) {
        return error_set(errp, "-display %s: unknown, did you mean %s?", name, near);
    }
    return error_set(errp, "-display %s: unknown (-display help lists them)", name);
}

static bool open_named(struct Machine *m, const char *spec, Error **errp)
{
    Dict *opts = dict_parse(spec, "type", errp);
    if (!opts) {
        return error_prefix(errp, "-display: ");
    }
    const char *name = dict_get(opts, "type");
    bool ok = true;
    if (!name) {
        char *word = xstrndup(spec, strcspn(spec, "=,"));
        ok = find_backend(word) ? error_set(errp, "-display %s: write %s,...", spec, word) :
                                  unknown_display(word, errp);
        free(word);
    } else if (!strcmp(name, "none")) {
        ok = !dict_unused(opts) ||
             error_set(errp, "-display none: there is no option '%s', it takes none", dict_unused(opts));
    } else {
        const DisplayBackend *b = find_backend(name);
        if (!b) {
            ok = unknown_display(name, errp);
        } else if (!b->init(m, opts, errp)) {
            ok = error_prefix(errp, "-display %s: ", name);
        } else {
            opened = b;
        }
    }
    dict_free(opts);
    return ok;
}

/* The user asked for nothing in particular: a guest without a window beats none. */
static void open_any(struct Machine *m)
{
    Dict *opts = dict_new();
    Error *why = NULL;
    list_for_each(pos, &backends) {
        const DisplayBackend *b = container_of(pos, DisplayBackend, node);
        if (b->automatic && !opened) {
            error_free(why);
            why = NULL;
            opened = b->init(m, opts, &why) ? b : NULL;
        }
    }
    if (!opened) {
        info_report("no window (%s); running without a screen, as with -display none",
                    why ? error_text(why) : "this build has no display");
    }
    error_free(why);
    dict_free(opts);
}

bool display_open(struct Machine *m, const char *spec, Error **errp)
{
    if (spec) {
        return open_named(m, spec, errp);
    }
    open_any(m);
    return true;
}

void display_close(void)
{
    if (opened && opened->fini) {
        opened->fini();
    }
    opened = NULL;
}

void display_list_backends(void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[128];
    list_for_each(pos, &backends) {
        const DisplayBackend *b = container_of(pos, DisplayBackend, node);
        snprintf(line, sizeof(line), "%-8s %s", b->name, b->desc);
        print(opaque, line);
    }
    print(opaque, "none     no screen");
}
