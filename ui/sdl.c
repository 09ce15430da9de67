/* SPDX-License-Identifier: GPL-2.0-or-later
 * -display sdl, the main loop's side: which console the window shows, when it is refreshed,
 * where keys and the mouse go. The window itself is in sdl_window.c.
 *
 * A graphics card is asked for its picture 30 times a second, 10 times once nothing has
 * changed for a while, never while the window is hidden. A text console says by itself that
 * it changed.
 */
#include "ui/sdl_window.h"

#include <stdlib.h>

#include "hw/core/firmware.h"
#include "hw/core/machine.h"
#include "ui/console.h"
#include "ui/display.h"
#include "ui/term.h"
#include "ui/vc.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/timer.h"

enum { FAST_MS = 33, SLOW_MS = 100, QUIET_ROUNDS = 15 };

static struct {
    Machine *machine;
    SdlWindow *window; /* NULL: closed */
    Console *console;  /* what it shows */
    Console *nothing;  /* keeps the first place if the machine has no screen */
    bool close_ends, visible;
    SdlView view;
    pixman_region32_t damage;
    unsigned quiet; /* rounds without damage */
    Timer refresh;
    Display display;
} sdl;

/* ---- refresh ---- */

static void refresh_within(unsigned ms)
{
    uint64_t at = host_clock_ns() + ms * 1000000ull;
    if (sdl.visible && (!timer_armed(&sdl.refresh) || at < sdl.refresh.deadline)) {
        timer_arm(&sdl.refresh, at);
    }
}

static void make_view(SdlView *v)
{
    const Machine *m = sdl.machine;
    const char *name = m->config.name;
    bool paused = m->run_ops && strcmp(m->run_ops->status(m), "running");
    *v = (SdlView) { .text = vc_is_console(sdl.console), .abs = input_wants_abs() };
    snprintf(v->title, sizeof(v->title), "Vireo%s%.64s%s%s%s%s", name ? " (" : "",
             name ? name : "", name ? ")" : "", paused ? " [paused]" : "",
             v->text ? " - " : "", v->text ? console_name(sdl.console) : "");
}

static void update_view(void)
{
    SdlView v;
    make_view(&v);
    if (v.text != sdl.view.text || v.abs != sdl.view.abs ||
        strcmp(v.title, sdl.view.title)) {
        sdl.view = v;
        sdl_window_set_view(sdl.window, &v);
    }
}

static void refresh(void *opaque)
{
    (void)opaque;
    console_update(sdl.console);
    update_view();
    bool changed = pixman_region32_not_empty(&sdl.damage);
    sdl.quiet = changed ? 0 : sdl.quiet + 1;
    if (changed && sdl_window_draw(sdl.window, console_surface(sdl.console), &sdl.damage)) {
        pixman_region32_clear(&sdl.damage);
        changed = false;
    }
    if (changed || !sdl.view.text) {
        refresh_within(sdl.quiet < QUIET_ROUNDS ? FAST_MS : SLOW_MS);
    }
}

static void damage_all(void)
{
    pixman_image_t *surface = console_surface(sdl.console);
    pixman_region32_fini(&sdl.damage);
    pixman_region32_init_rect(&sdl.damage, 0, 0, pixman_image_get_width(surface),
                              pixman_image_get_height(surface));
    refresh_within(0);
}

static void on_resized(Display *d, Console *c)
{
    (void)d;
    if (c == sdl.console) {
        damage_all();
    }
}

static void on_damaged(Display *d, Console *c, int x, int y, int w, int h)
{
    (void)d;
    if (c == sdl.console) {
        pixman_region32_union_rect(&sdl.damage, &sdl.damage, x, y, w, h);
        refresh_within(FAST_MS);
    }
}

/* ---- consoles ---- */

static void show(Console *c)
{
    if (c && c != sdl.console) {
        input_release_all();
        sdl.console = c;
        console_invalidate(c);
        damage_all();
        update_view();
    }
}

/* A text console whose chardev was removed. The window shows something in any case. */
static void on_gone(Display *d, Console *c)
{
    (void)d;
    if (c == sdl.console) {
        if (!console_by_index(0)) {
            sdl.nothing = console_new("no screen", NULL, NULL);
        }
        show(console_by_index(0));
    }
}

/* ---- what the user does ---- */

static void on_message(const SdlMsg *m)
{
    switch (m->type) {
    case MSG_KEY: input_key(m->key, m->down); break;
    case MSG_RELEASE_KEYS: input_release_all(); break;
    case MSG_MOTION: input_rel(m->x, m->y, m->n); break;
    case MSG_POSITION: input_abs(m->x, m->y); break;
    case MSG_BUTTONS: input_buttons((unsigned)m->n); break;
    case MSG_TEXT:
        if (m->mods & MOD_ALT) {
            vc_type(sdl.console, "\033", 1);
        }
        vc_type(sdl.console, m->text, m->n ? (size_t)m->n : strlen(m->text));
        break;
    case MSG_TEXT_KEY: vc_key(sdl.console, m->key, m->mods); break;
    case MSG_SCROLL: vc_scroll(sdl.console, m->n); break;
    case MSG_CONSOLE: show(console_by_index((unsigned)m->n)); break;
    case MSG_VISIBLE:
        sdl.visible = m->n;
        if (sdl.visible) {
            refresh_within(0);
        } else {
            timer_cancel(&sdl.refresh);
        }
        break;
    case MSG_CLOSE:
        if (sdl.close_ends) {
            machine_request_shutdown(sdl.machine, SHUTDOWN_WINDOW, 0);
        }
        break;
    }
}

static void on_messages(void *opaque)
{
    SdlMsg msg;
    (void)opaque;
    while (sdl.window && sdl_window_next(sdl.window, &msg)) {
        on_message(&msg);
        sdl.quiet = 0; /* an answer may follow */
    }
    if (sdl.window && !sdl.view.text) {
        refresh_within(FAST_MS);
    }
}

/* ---- -display sdl,... ---- */

static bool check_known(const Dict *opts, Error **errp)
{
    static const char *const known[] = { "window-close", "full-screen", "show-cursor",
                                         "gl",           "type",        NULL };
    const char *unknown = dict_unused(opts);
    if (!unknown) {
        return true;
    }
    const char *near = suggest(unknown, known);
    return near ? error_set(errp, "unknown option '%s', did you mean '%s'?", unknown, near)
                : error_set(errp,
                            "unknown option '%s'; it has window-close, full-screen, "
                            "show-cursor, gl",
                            unknown);
}

static bool parse_options(const Dict *opts, SdlConfig *c, Error **errp)
{
    bool gl = false;
    sdl.close_ends = true;
    dict_get(opts, "type");
    const char *gl_text = dict_get(opts, "gl");
    if (!dict_get_bool(opts, "window-close", &sdl.close_ends, errp) ||
        !dict_get_bool(opts, "full-screen", &c->full_screen, errp) ||
        !dict_get_bool(opts, "show-cursor", &c->show_cursor, errp)) {
        return false;
    }
    bool gl_known = !gl_text || parse_bool(gl_text, &gl) || !strcmp(gl_text, "core") ||
                    !strcmp(gl_text, "es");
    if (!gl_known || gl || (gl_text && strlen(gl_text) < 2)) {
        return error_set(errp, "gl=%s: 3D for guests is not built yet; use gl=off",
                         gl_text);
    }
    return check_known(opts, errp);
}

static bool has_window_system(Error **errp)
{
    const char *driver = getenv("SDL_VIDEODRIVER");
    const char *x11 = getenv("DISPLAY"), *wayland = getenv("WAYLAND_DISPLAY");
    if ((driver && *driver) || (x11 && *x11) || (wayland && *wayland)) {
        return true;
    }
    return error_set(
        errp, "neither DISPLAY nor WAYLAND_DISPLAY is set: there is no desktop to open "
              "a window on; start it from one, or use -display none");
}

static bool sdl_init(Machine *m, const Dict *opts, Error **errp)
{
    SdlConfig config = { 0 };
    if (!parse_options(opts, &config, errp) || !has_window_system(errp)) {
        return false;
    }
    sdl.window = sdl_window_open(&config, on_messages, NULL, errp);
    if (!sdl.window) {
        return false;
    }
    sdl.machine = m;
    sdl.visible = true;
    pixman_region32_init(&sdl.damage);
    timer_init_on(&sdl.refresh, TIMER_HOST, refresh, NULL);
    sdl.display = (Display) {
        .name = "sdl", .resized = on_resized, .damaged = on_damaged, .gone = on_gone
    };
    display_register(&sdl.display);
    if (!console_by_index(0)) {
        sdl.nothing = console_new("no screen", NULL, NULL);
    }
    char *font_rom = firmware_find(m, "vgabios-stdvga.bin");
    vc_consoles_start(font_rom);
    free(font_rom);
    Console *first_text = sdl.nothing ? console_by_index(1) : NULL;
    show(first_text ? first_text : console_by_index(0));
    return true;
}

static void sdl_fini(void)
{
    display_unregister(&sdl.display);
    vc_consoles_stop();
    timer_cancel(&sdl.refresh);
    sdl_window_close(sdl.window);
    sdl.window = NULL;
    sdl.console = NULL;
    console_free(sdl.nothing);
    pixman_region32_fini(&sdl.damage);
}

DISPLAY_BACKEND(sdl_backend) = {
    .name = "sdl",
    .desc = "a window (options: window-close, full-screen, show-cursor = on|off)",
    .init = sdl_init,
    .fini = sdl_fini,
    .automatic = true,
};
