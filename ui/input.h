/* SPDX-License-Identifier: GPL-2.0-or-later
 * Keys and pointers on their way from a display (or sendkey) to an input device. Keys are named
 * as in QEMU's QKeyCode ("a", "ret", "ctrl", "kp_7"), numbered here. Main loop, vm_lock held.
 */
#ifndef UI_INPUT_H
#define UI_INPUT_H

#include "util/error.h"

typedef enum KeyCode {
    KEY_NONE,
#define KEY(id, name, set1, set2, set3) KEY_##id,
#include "ui/keycodes.inc"
#undef KEY
    NR_KEYS
} KeyCode;

enum { MOUSE_LEFT = 1, MOUSE_RIGHT = 2, MOUSE_MIDDLE = 4, MOUSE_SIDE = 8, MOUSE_EXTRA = 16 };
enum { INPUT_ABS_MAX = 0x7fff };

/* A device that takes input; NULL members are not taken. The last activated one wins. */
typedef struct InputSink {
    const char *name;
    void (*key)(void *opaque, KeyCode key, bool down);
    /* since the last call; right, down, and the wheel away from the user are positive */
    void (*mouse_rel)(void *opaque, int dx, int dy, int dz);
    void (*mouse_abs)(void *opaque, int x, int y);           /* 0..INPUT_ABS_MAX */
    void (*buttons)(void *opaque, unsigned mask);            /* MOUSE_* now held */
    void (*leds)(void *opaque);
    void *opaque;
    List node;
} InputSink;

void input_register(InputSink *s);
void input_unregister(InputSink *s);
/* From now on s takes what it can; registering does that, too. */
void input_activate(InputSink *s);

void input_key(KeyCode key, bool down);
void input_rel(int dx, int dy, int dz);
void input_abs(int x, int y);
void input_buttons(unsigned mask);
bool input_wants_abs(void);
/* Held keys are released: on loss of focus. */
void input_release_all(void);

KeyCode key_from_name(const char *name); /* also "0x1e"; KEY_NONE if unknown */
const char *key_name(KeyCode key);
/* "ctrl-alt-delete": presses in order, releases in reverse after hold_ms of host time. Queued
 * behind earlier ones. */
bool input_sendkey(const char *keys, unsigned hold_ms, Error **errp) MUST_USE;

#endif
