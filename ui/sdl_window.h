/* SPDX-License-Identifier: GPL-2.0-or-later
 * The window itself, which lives on a thread of its own: SDL waits there for events without
 * polling, and neither a slow X server nor a vertical retrace holds up the main loop.
 * Pictures, titles and the end go to it; keys, motion and the close button come back as
 * messages.
 *
 *   main loop (sdl.c)  -- sdl_window_draw, _set_view -->  thread (sdl_window.c)
 *                      <-- SdlMsg, by main_loop_post ---
 *
 * The functions here are the main loop's side. None of them waits for the thread, but open
 * and close.
 */
#ifndef UI_SDL_WINDOW_H
#define UI_SDL_WINDOW_H

#include <pixman.h>

#include "ui/input.h"

typedef struct SdlWindow SdlWindow;

typedef struct SdlConfig {
    bool full_screen, show_cursor;
} SdlConfig;

/* What the window has to know of what it shows. */
typedef struct SdlView {
    char title[128];
    bool text; /* a text console: typed characters are wanted, not keys */
    bool abs;  /* the guest has a tablet: no need to grab the pointer */
} SdlView;

typedef enum SdlMsgType {
    MSG_KEY,          /* key, down */
    MSG_RELEASE_KEYS, /* focus is gone, or a hot key took them */
    MSG_MOTION,       /* x, y: relative; n: wheel, positive away from the user */
    MSG_POSITION,     /* x, y: 0..INPUT_ABS_MAX */
    MSG_BUTTONS,      /* n: MOUSE_* */
    MSG_TEXT,         /* text: UTF-8, mods has MOD_ALT */
    MSG_TEXT_KEY,     /* key, mods: a key of a text console that types no character */
    MSG_SCROLL,       /* n: lines, positive up */
    MSG_CONSOLE,      /* n: show console n (0 is the first) */
    MSG_VISIBLE,      /* n: can the user see the window? */
    MSG_CLOSE,        /* the close button */
} SdlMsgType;

typedef struct SdlMsg {
    SdlMsgType type;
    KeyCode key;
    bool down;
    unsigned mods;
    int x, y, n;
    char text[32];
} SdlMsg;

/* notify(opaque) is posted to the main loop when messages wait. */
SdlWindow *sdl_window_open(const SdlConfig *config, void (*notify)(void *opaque),
                           void *opaque, Error **errp);
void sdl_window_close(SdlWindow *w);
/* The next message; false if there is none. */
bool sdl_window_next(SdlWindow *w, SdlMsg *msg);
/* Shows what damage covers of surface; everything if its size is new. False if the window
 * is still busy with the last picture: try again soon. */
bool sdl_window_draw(SdlWindow *w, pixman_image_t *surface,
                     const pixman_region32_t *damage);
void sdl_window_set_view(SdlWindow *w, const SdlView *view);

/* sdl_keys.c: the key at an SDL_Scancode, KEY_NONE if no PC keyboard has it. */
KeyCode sdl_key(unsigned scancode);

#endif
