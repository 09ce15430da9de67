/* SPDX-License-Identifier: GPL-2.0-or-later
 * The window's thread; see sdl_window.h. What both sides touch is in SdlWindow under its
 * mutex, which the thread holds while it paints, never while it talks to the window system.
 *
 * Hot keys are Ctrl+Alt and one more key. The guest has seen Ctrl and Alt go down by then,
 * so they are released for it, and what goes up afterwards is no longer its business.
 */
#include "ui/sdl_window.h"

#include <pthread.h>
#include <signal.h>

#include "ui/sdl_draw.h"
#include "ui/term.h"
#include "util/alloc.h"
#include "util/main_loop.h"

enum { SETTLE_MS = 300 }; /* how long a window manager may take to answer a resize */
enum { WAKE_DRAW = 1, WAKE_QUIT };

struct SdlWindow {
    pthread_t thread;
    SdlConfig config; /* constant */
    void (*notify)(void *opaque);
    void *notify_opaque;
    uint32_t wake_event; /* the SDL event that ends the thread's wait */

    pthread_mutex_t mutex; /* guards the rest of this block */
    pthread_cond_t opened_cond;
    enum { OPENING, OPENED, FAILED } opened;
    char *failure;
    pixman_image_t *frame; /* what the window shows, in the guest's size; NULL at first */
    pixman_region32_t damage;
    bool everything; /* instead of damage */
    SdlView view;
    bool view_changed;
    bool wake_sent; /* the thread has not come round to it yet */
    SdlMsg *msgs;   /* for the main loop, oldest first */
    size_t nr_msgs, room_msgs;

    /* the thread's own */
    SDL_Window *window;
    SdlView now;          /* the view in use */
    int frame_w, frame_h; /* size of the frame in use */
    bool full_screen, scaled, grabbed, relative;
    bool quit;
    uint32_t resize_ms; /* when the window was last given a size */
    bool repaint;
    bool down[NR_KEYS]; /* as the guest knows */
    unsigned buttons;
    bool swallow_text; /* the hot key's own character */
};

/* ---- messages ---- */

static void send(SdlWindow *w, SdlMsg msg)
{
    pthread_mutex_lock(&w->mutex);
    SdlMsg *last = w->nr_msgs ? &w->msgs[w->nr_msgs - 1] : NULL;
    if (last && last->type == msg.type && msg.type == MSG_POSITION) {
        *last = msg;
    } else if (last && last->type == msg.type && msg.type == MSG_MOTION) {
        last->x += msg.x;
        last->y += msg.y;
        last->n += msg.n;
    } else {
        if (w->nr_msgs == w->room_msgs) {
            w->room_msgs = w->room_msgs ? w->room_msgs * 2 : 16;
            w->msgs = xrealloc(w->msgs, w->room_msgs * sizeof(*w->msgs));
        }
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): room_msgs says that it is there */
        w->msgs[w->nr_msgs++] = msg;
    }
    bool first = w->nr_msgs == 1 && !last;
    pthread_mutex_unlock(&w->mutex);
    if (first) {
        main_loop_post(w->notify, w->notify_opaque);
    }
}

static void send_simple(SdlWindow *w, SdlMsgType type, int n)
{
    send(w, (SdlMsg) { .type = type, .n = n });
}

bool sdl_window_next(SdlWindow *w, SdlMsg *msg)
{
    pthread_mutex_lock(&w->mutex);
    bool any = w->nr_msgs > 0;
    if (any) {
        *msg = w->msgs[0];
        memmove(w->msgs, w->msgs + 1, --w->nr_msgs * sizeof(*w->msgs));
    }
    pthread_mutex_unlock(&w->mutex);
    return any;
}

static void wake_locked(SdlWindow *w, int code)
{
    if (w->opened == OPENED && (!w->wake_sent || code == WAKE_QUIT)) {
        SDL_Event ev = { .user = { .type = w->wake_event, .code = code } };
        w->wake_sent = SDL_PushEvent(&ev) == 1;
    }
}

/* ---- the window's state ---- */

static void apply_title(SdlWindow *w)
{
    char title[sizeof(w->now.title) + 64];
    snprintf(title, sizeof(title), "%s%s", w->now.title,
             w->grabbed ? " - Press Ctrl+Alt+G to release grab" : "");
    SDL_SetWindowTitle(w->window, title);
}

/* The pointer of the host is in the way where the guest draws its own. */
static void apply_pointer(SdlWindow *w)
{
    bool relative = w->grabbed && !w->now.abs && !w->now.text;
    if (relative != w->relative) {
        w->relative = relative;
        SDL_SetRelativeMouseMode(relative ? SDL_TRUE : SDL_FALSE);
    }
    bool hide = !w->config.show_cursor && !w->now.text && (w->grabbed || w->now.abs);
    SDL_ShowCursor(hide ? SDL_DISABLE : SDL_ENABLE);
}

static void set_grab(SdlWindow *w, bool on)
{
    on &= !w->now.text;
    if (on != w->grabbed) {
        w->grabbed = on;
        SDL_SetWindowKeyboardGrab(w->window, on ? SDL_TRUE : SDL_FALSE);
        apply_pointer(w);
        apply_title(w);
    }
}

static int clamp(int pos, int size, int from, int room)
{
    return MAX(from, MIN(pos, from + room - size));
}

/* As far as the desktop has room; the window does not leave it. */
static void set_window_size(SdlWindow *w, int width, int height)
{
    SDL_Rect desk;
    int x, y, top = 0, left = 0, bottom = 0, right = 0;
    SDL_GetWindowPosition(w->window, &x, &y);
    SDL_GetWindowBordersSize(w->window, &top, &left, &bottom, &right);
    bool known = !SDL_GetDisplayUsableBounds(SDL_GetWindowDisplayIndex(w->window), &desk);
    if (known) {
        desk = (SDL_Rect) { desk.x + left, desk.y + top, desk.w - left - right,
                            desk.h - top - bottom };
        SdlLayout fit = sdl_layout(MAX(desk.w, 1), MAX(desk.h, 1), width, height);
        width = MIN(width, fit.w);
        height = MIN(height, fit.h);
    }
    w->resize_ms = SDL_GetTicks();
    SDL_SetWindowSize(w->window, width, height);
    if (known && (x + width > desk.x + desk.w || y + height > desk.y + desk.h)) {
        SDL_SetWindowPosition(w->window, clamp(x, width, desk.x, desk.w),
                              clamp(y, height, desk.y, desk.h));
    }
    w->repaint = true;
}

static void follow_frame_size(SdlWindow *w)
{
    if (!w->full_screen && !w->scaled && w->frame_w) {
        set_window_size(w, w->frame_w, w->frame_h);
    }
}

static void set_full_screen(SdlWindow *w, bool on)
{
    w->resize_ms = SDL_GetTicks();
    if (SDL_SetWindowFullscreen(w->window, on ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0)) {
        return; /* the window system does not do that */
    }
    w->full_screen = on;
    w->repaint = true;
    set_grab(w, on);
    follow_frame_size(w);
}

static void zoom(SdlWindow *w, int percent)
{
    int width, height, min = 160;
    SDL_GetWindowSize(w->window, &width, &height);
    if (!w->full_screen && w->frame_w && (percent > 100 || width > min)) {
        w->scaled = true;
        width = MAX(min, width * percent / 100);
        set_window_size(w, width, (int)((int64_t)width * w->frame_h / w->frame_w));
    }
}

static void unscale(SdlWindow *w)
{
    w->scaled = false;
    follow_frame_size(w);
}

/* The main loop's wishes. */
static void take_view(SdlWindow *w)
{
    pthread_mutex_lock(&w->mutex);
    bool changed = w->view_changed;
    SdlView next = w->view;
    w->view_changed = w->wake_sent = false;
    pthread_mutex_unlock(&w->mutex);
    if (!changed) {
        return;
    }
    if (next.text != w->now.text) {
        if (next.text) {
            set_grab(w, false);
            SDL_StartTextInput();
        } else {
            SDL_StopTextInput();
        }
    }
    w->now = next;
    apply_pointer(w);
    apply_title(w);
}

/* ---- painting ---- */

/* Is there something to paint? The window follows a new size of the frame. */
static bool look_at_frame(SdlWindow *w)
{
    pthread_mutex_lock(&w->mutex);
    int width = w->frame ? pixman_image_get_width(w->frame) : 0;
    int height = w->frame ? pixman_image_get_height(w->frame) : 0;
    bool any = w->everything || w->repaint || pixman_region32_not_empty(&w->damage);
    pthread_mutex_unlock(&w->mutex);
    if (width != w->frame_w || height != w->frame_h) {
        w->frame_w = width;
        w->frame_h = height;
        follow_frame_size(w);
        w->repaint = true;
    }
    return width && any;
}

static void paint(SdlWindow *w)
{
    SDL_Rect rects[SDL_DRAW_RECTS];
    SDL_Surface *surface = look_at_frame(w) ? SDL_GetWindowSurface(w->window) : NULL;
    if (!surface) {
        return;
    }
    pthread_mutex_lock(&w->mutex);
    int nr = sdl_paint(surface, w->frame, &w->damage, w->everything || w->repaint, rects);
    w->everything = w->repaint = false;
    pixman_region32_clear(&w->damage);
    pthread_mutex_unlock(&w->mutex);
    SDL_UpdateWindowSurfaceRects(w->window, rects, nr);
}

bool sdl_window_draw(SdlWindow *w, pixman_image_t *surface, const pixman_region32_t *damage)
{
    if (pthread_mutex_trylock(&w->mutex)) {
        return false;
    }
    int width = pixman_image_get_width(surface), height = pixman_image_get_height(surface);
    if (!w->frame || pixman_image_get_width(w->frame) != width ||
        pixman_image_get_height(w->frame) != height) {
        if (w->frame) {
            pixman_image_unref(w->frame);
        }
        w->frame = pixman_image_create_bits(PIXMAN_x8r8g8b8, width, height, NULL, 0);
        assert(w->frame);
        w->everything = true;
        pixman_region32_clear(&w->damage);
        pixman_image_composite32(PIXMAN_OP_SRC, surface, NULL, w->frame, 0, 0, 0, 0, 0, 0,
                                 width, height);
    } else {
        pixman_region32_t *region = (pixman_region32_t *)damage;
        int nr;
        const pixman_box32_t *box = pixman_region32_rectangles(region, &nr);
        for (int i = 0; i < nr; i++) {
            pixman_image_composite32(PIXMAN_OP_SRC, surface, NULL, w->frame, box[i].x1,
                                     box[i].y1, 0, 0, box[i].x1, box[i].y1,
                                     box[i].x2 - box[i].x1, box[i].y2 - box[i].y1);
        }
        pixman_region32_union(&w->damage, &w->damage, region);
    }
    wake_locked(w, WAKE_DRAW);
    pthread_mutex_unlock(&w->mutex);
    return true;
}

void sdl_window_set_view(SdlWindow *w, const SdlView *view)
{
    pthread_mutex_lock(&w->mutex);
    w->view = *view;
    w->view_changed = true;
    wake_locked(w, WAKE_DRAW);
    pthread_mutex_unlock(&w->mutex);
}

/* ---- keys ---- */

static void release_keys(SdlWindow *w)
{
    memset(w->down, 0, sizeof(w->down));
    w->buttons = 0;
    send_simple(w, MSG_RELEASE_KEYS, 0);
}

static char hot_letter(const SDL_Keysym *sym)
{
    if (sym->sym >= 'a' && sym->sym <= 'z') {
        return (char)sym->sym;
    }
    /* a layout without Latin letters: by position */
    if (sym->scancode >= SDL_SCANCODE_A && sym->scancode <= SDL_SCANCODE_Z) {
        return (char)('a' + (sym->scancode - SDL_SCANCODE_A));
    }
    return 0;
}

/* Ctrl and Alt are held: is it ours? */
static bool hot_key(SdlWindow *w, const SDL_Keysym *sym)
{
    SDL_Scancode code = sym->scancode;
    if (code >= SDL_SCANCODE_1 && code <= SDL_SCANCODE_9) {
        send_simple(w, MSG_CONSOLE, (int)(code - SDL_SCANCODE_1));
        return true;
    }
    if (code == SDL_SCANCODE_EQUALS || code == SDL_SCANCODE_KP_PLUS) {
        zoom(w, 125);
        return true;
    }
    if (code == SDL_SCANCODE_MINUS || code == SDL_SCANCODE_KP_MINUS) {
        zoom(w, 80);
        return true;
    }
    switch (hot_letter(sym)) {
    case 'g': set_grab(w, !w->grabbed); return true;
    case 'f': set_full_screen(w, !w->full_screen); return true;
    case 'u': unscale(w); return true;
    default: return false;
    }
}

static void send_chars(SdlWindow *w, const char *text, unsigned mods)
{
    SdlMsg msg = { .type = MSG_TEXT, .mods = mods };
    snprintf(msg.text, sizeof(msg.text), "%s", text);
    send(w, msg);
}

/* Ctrl and a key that types @ to ~: the control character. */
static bool send_control(SdlWindow *w, const SDL_Keysym *sym, unsigned mods)
{
    int c = sym->sym == SDLK_SPACE ? '@' : (int)sym->sym;
    if (!(mods & MOD_CTRL) || c < '@' || c > '~') {
        return false;
    }
    SdlMsg msg = { .type = MSG_TEXT, .mods = mods & MOD_ALT, .n = 1 };
    msg.text[0] = (char)(c & 0x1f);
    send(w, msg);
    return true;
}

static void paste(SdlWindow *w)
{
    char *text = SDL_GetClipboardText();
    for (const char *p = text; p && *p;) {
        size_t n = strnlen(p, sizeof(((SdlMsg *)NULL)->text) - 1);
        SdlMsg msg = { .type = MSG_TEXT };
        memcpy(msg.text, p, n);
        for (size_t i = 0; i < n; i++) {
            msg.text[i] = msg.text[i] == '\n' ? '\r' : msg.text[i];
        }
        send(w, msg);
        p += n;
    }
    SDL_free(text);
}

static unsigned mods_of(unsigned kmod)
{
    return (kmod & KMOD_SHIFT ? MOD_SHIFT : 0) | (kmod & KMOD_CTRL ? MOD_CTRL : 0) |
           (kmod & KMOD_LALT ? MOD_ALT : 0);
}

/* The keypad without Num Lock types nothing. */
static KeyCode keypad_key(KeyCode key)
{
    static const KeyCode plain[] = { KEY_INSERT, KEY_END,   KEY_DOWN, KEY_PGDN, KEY_LEFT,
                                     KEY_NONE,   KEY_RIGHT, KEY_HOME, KEY_UP,   KEY_PGUP };
    return key == KEY_KP_DECIMAL                ? KEY_DELETE
           : key >= KEY_KP_0 && key <= KEY_KP_9 ? plain[key - KEY_KP_0]
                                                : key;
}

static void text_key(SdlWindow *w, const SDL_Keysym *sym)
{
    unsigned mods = mods_of(sym->mod);
    KeyCode key = sdl_key(sym->scancode);
    if (!(sym->mod & KMOD_NUM)) {
        key = keypad_key(key);
    }
    if (mods == (MOD_CTRL | MOD_SHIFT) && sym->sym == SDLK_v) {
        paste(w);
    } else if (!send_control(w, sym, mods)) {
        send(w, (SdlMsg) {
                    .type = MSG_TEXT_KEY, .key = sdl_key(sym->scancode), .mods = mods });
    }
}

static void on_key(SdlWindow *w, const SDL_KeyboardEvent *ev)
{
    KeyCode key = sdl_key(ev->keysym.scancode);
    if (ev->state == SDL_PRESSED) {
        bool hot = (ev->keysym.mod & KMOD_CTRL) && (ev->keysym.mod & KMOD_ALT);
        w->swallow_text = false;
        if (hot && !ev->repeat && hot_key(w, &ev->keysym)) {
            w->swallow_text = true;
            release_keys(w);
        } else if (w->now.text) {
            text_key(w, &ev->keysym);
        } else if (!ev->repeat && key != KEY_NONE) {
            /* A PS/2 keyboard repeats by itself. */
            w->down[key] = true;
            send(w, (SdlMsg) { .type = MSG_KEY, .key = key, .down = true });
        }
    } else if (w->down[key]) {
        w->down[key] = false;
        send(w, (SdlMsg) { .type = MSG_KEY, .key = key });
    }
}

static void on_text(SdlWindow *w, const SDL_TextInputEvent *ev)
{
    if (w->now.text && !w->swallow_text) {
        send_chars(w, ev->text, mods_of(SDL_GetModState()) & MOD_ALT);
    }
}

/* ---- the mouse ---- */

static void on_motion(SdlWindow *w, const SDL_MouseMotionEvent *ev)
{
    if (w->now.text || !w->frame_w) {
        return;
    }
    if (w->relative) {
        send(w, (SdlMsg) { .type = MSG_MOTION, .x = ev->xrel, .y = ev->yrel });
    } else if (w->now.abs) {
        int width, height, x = ev->x, y = ev->y;
        SDL_GetWindowSize(w->window, &width, &height);
        SdlLayout l = sdl_layout(width, height, w->frame_w, w->frame_h);
        sdl_layout_to_frame(&l, &x, &y);
        send(w, (SdlMsg) { .type = MSG_POSITION,
                           .x = x * INPUT_ABS_MAX / MAX(1, w->frame_w - 1),
                           .y = y * INPUT_ABS_MAX / MAX(1, w->frame_h - 1) });
    }
}

static void on_button(SdlWindow *w, const SDL_MouseButtonEvent *ev)
{
    static const unsigned masks[] = { [SDL_BUTTON_LEFT] = MOUSE_LEFT,
                                      [SDL_BUTTON_MIDDLE] = MOUSE_MIDDLE,
                                      [SDL_BUTTON_RIGHT] = MOUSE_RIGHT,
                                      [SDL_BUTTON_X1] = MOUSE_SIDE,
                                      [SDL_BUTTON_X2] = MOUSE_EXTRA };
    unsigned bit = ev->button < ARRAY_SIZE(masks) ? masks[ev->button] : 0;
    bool pressed = ev->state == SDL_PRESSED;
    if (w->now.text) {
        return;
    }
    if (pressed && !w->relative && !w->now.abs) {
        if (bit == MOUSE_LEFT) {
            set_grab(w, true); /* this click is not the guest's, nor its end */
        }
        return;
    }
    unsigned buttons = pressed ? w->buttons | bit : w->buttons & ~bit;
    if (buttons != w->buttons) {
        w->buttons = buttons;
        send_simple(w, MSG_BUTTONS, (int)buttons);
    }
}

static void on_wheel(SdlWindow *w, const SDL_MouseWheelEvent *ev)
{
    int n = ev->direction == SDL_MOUSEWHEEL_FLIPPED ? -ev->y : ev->y;
    if (w->now.text) {
        send_simple(w, MSG_SCROLL, 3 * n);
    } else if (w->relative || w->now.abs) {
        send(w, (SdlMsg) { .type = MSG_MOTION, .n = n });
    }
}

/* ---- the thread ---- */

static void on_resized(SdlWindow *w)
{
    int width, height;
    SDL_GetWindowSize(w->window, &width, &height);
    w->repaint = true;
    /* Nobody has a hand fast enough to answer our own resize. */
    if (!w->full_screen && SDL_GetTicks() - w->resize_ms > SETTLE_MS) {
        w->scaled = width != w->frame_w || height != w->frame_h;
    }
}

static void on_window(SdlWindow *w, const SDL_WindowEvent *ev)
{
    switch (ev->event) {
    case SDL_WINDOWEVENT_EXPOSED:
    case SDL_WINDOWEVENT_SIZE_CHANGED: w->repaint = true; break;
    case SDL_WINDOWEVENT_RESIZED: on_resized(w); break;
    case SDL_WINDOWEVENT_SHOWN:
    case SDL_WINDOWEVENT_RESTORED: send_simple(w, MSG_VISIBLE, 1); break;
    case SDL_WINDOWEVENT_HIDDEN:
    case SDL_WINDOWEVENT_MINIMIZED: send_simple(w, MSG_VISIBLE, 0); break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        set_grab(w, false);
        release_keys(w);
        break;
    case SDL_WINDOWEVENT_CLOSE: send_simple(w, MSG_CLOSE, 0); break;
    default: break;
    }
}

static void on_event(SdlWindow *w, const SDL_Event *ev)
{
    switch (ev->type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP: on_key(w, &ev->key); break;
    case SDL_TEXTINPUT: on_text(w, &ev->text); break;
    case SDL_MOUSEMOTION: on_motion(w, &ev->motion); break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP: on_button(w, &ev->button); break;
    case SDL_MOUSEWHEEL: on_wheel(w, &ev->wheel); break;
    case SDL_WINDOWEVENT: on_window(w, &ev->window); break;
    default:
        if (ev->type == w->wake_event) {
            w->quit |= ev->user.code == WAKE_QUIT;
        }
    }
}

static bool open_window(SdlWindow *w)
{
    /* Drivers that draw on the bare screen or nowhere are for who asks for them by
     * $SDL_VIDEODRIVER. Wayland's library complains on stderr where there is none. */
    SDL_SetHint(SDL_HINT_VIDEODRIVER, getenv("WAYLAND_DISPLAY") ? "x11,wayland" : "x11");
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR, "0");
    SDL_SetHint(SDL_HINT_APP_NAME, "Vireo");
    SDL_SetHint(SDL_HINT_QUIT_ON_LAST_WINDOW_CLOSE, "0");
    SDL_SetHint(SDL_HINT_MOUSE_RELATIVE_MODE_WARP, "0");
    if (SDL_Init(SDL_INIT_VIDEO)) {
        return false;
    }
    /* X11 takes pixels as they are; by way of OpenGL all of the window would be drawn. */
    const char *driver = SDL_GetCurrentVideoDriver();
    if (driver && !strcmp(driver, "x11")) {
        SDL_SetHint(SDL_HINT_FRAMEBUFFER_ACCELERATION, "0");
    }
    w->wake_event = SDL_RegisterEvents(1);
    w->window =
        SDL_CreateWindow(w->view.title, SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED,
                         640, 480, SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI);
    if (!w->window) {
        return false;
    }
    w->resize_ms = SDL_GetTicks();
    SDL_StopTextInput(); /* SDL starts with it */
    return true;
}

static void report_opening(SdlWindow *w, bool ok)
{
    pthread_mutex_lock(&w->mutex);
    w->opened = ok ? OPENED : FAILED;
    w->failure = ok ? NULL : xstrdup(SDL_GetError());
    pthread_cond_signal(&w->opened_cond);
    pthread_mutex_unlock(&w->mutex);
}

static void *window_thread(void *opaque)
{
    SdlWindow *w = opaque;
    bool ok = open_window(w);
    report_opening(w, ok);
    if (ok && w->config.full_screen) {
        set_full_screen(w, true);
    }
    while (ok && !w->quit) {
        SDL_Event ev;
        if (SDL_WaitEvent(&ev)) {
            do {
                on_event(w, &ev);
            } while (!w->quit && SDL_PollEvent(&ev));
            take_view(w);
            paint(w);
        } else {
            SDL_Delay(100); /* the window system is in trouble; not a reason to spin */
        }
    }
    SDL_Quit();
    return NULL;
}

SdlWindow *sdl_window_open(const SdlConfig *config, void (*notify)(void *opaque),
                           void *opaque, Error **errp)
{
    SdlWindow *w = xcalloc(1, sizeof(*w));
    w->config = *config;
    w->notify = notify;
    w->notify_opaque = opaque;
    pixman_region32_init(&w->damage);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->opened_cond, NULL);
    snprintf(w->view.title, sizeof(w->view.title), "Vireo");
    w->now = w->view;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&w->thread, NULL, window_thread, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err) {
        error_set_errno(errp, err, "cannot start the window's thread");
        free(w);
        return NULL;
    }
    pthread_setname_np(w->thread, "window");
    pthread_mutex_lock(&w->mutex);
    while (w->opened == OPENING) {
        pthread_cond_wait(&w->opened_cond, &w->mutex);
    }
    bool ok = w->opened == OPENED;
    pthread_mutex_unlock(&w->mutex);
    if (!ok) {
        const char *x11 = getenv("DISPLAY"), *wayland = getenv("WAYLAND_DISPLAY");
        error_set(errp,
                  "no window can be opened on display '%s' (SDL: %s); is it there, and may "
                  "you use it? -display none runs without",
                  wayland ? wayland
                  : x11   ? x11
                          : "",
                  w->failure);
        pthread_join(w->thread, NULL);
        free(w->failure);
        free(w);
        return NULL;
    }
    return w;
}

void sdl_window_close(SdlWindow *w)
{
    pthread_mutex_lock(&w->mutex);
    wake_locked(w, WAKE_QUIT);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    if (w->frame) {
        pixman_image_unref(w->frame);
    }
    pixman_region32_fini(&w->damage);
    free(w->msgs);
    free(w);
}
