/* SPDX-License-Identifier: GPL-2.0-or-later
 * Input routing: events go to the most recently activated sink that takes their kind. Keys that
 * are down are remembered, so that a host's autorepeat does not reach the guest (keyboards have
 * their own) and every key can be released. sendkey's combinations queue up here and run on the
 * host's clock: holding a key is something a person does.
 */
#include "ui/input.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/alloc.h"
#include "util/dict.h"
#include "util/timer.h"

enum { COMBO_KEYS = 16, COMBO_QUEUE = 1024, COMBO_GAP_MS = 20 };

typedef struct Combo {
    KeyCode key[COMBO_KEYS];
    unsigned nr, hold_ms;
    List node;
} Combo;

static const struct {
    const char *name;
    uint16_t set1;
} keys[NR_KEYS] = {
#define KEY(id, name, set1, set2, set3) [KEY_##id] = { name, set1 },
#include "ui/keycodes.inc"
#undef KEY
};

static List sinks = LIST_INIT(sinks);   /* the active ones first */
static List combos = LIST_INIT(combos); /* the first one is held down while combo_down */
static unsigned nr_combos;
static bool combo_down;
static Timer combo_timer;
static bool down[NR_KEYS];
static unsigned buttons_held;

/* ---- names ---- */

const char *key_name(KeyCode key)
{
    return key < NR_KEYS ? keys[key].name : NULL;
}

/* Set 1: one byte, E0h and one byte, or the byte with bit 7 set instead of the prefix. */
static KeyCode key_from_set1(uint64_t code)
{
    if (code >= 0x80 && code <= 0xff) {
        code = 0xe000 | (code & 0x7f);
    }
    for (unsigned k = 1; k < NR_KEYS && code; k++) {
        if (keys[k].set1 == code) {
            return (KeyCode)k;
        }
    }
    return KEY_NONE;
}

KeyCode key_from_name(const char *name)
{
    static const struct {
        const char *name;
        KeyCode key;
    } others[] = { { "<", KEY_LESS }, { "enter", KEY_RET }, { "return", KEY_RET },
                   { "space", KEY_SPC }, { "escape", KEY_ESC }, { "pageup", KEY_PGUP },
                   { "pagedown", KEY_PGDN }, { "ctrl_l", KEY_CTRL }, { "alt_l", KEY_ALT },
                   { "shift_l", KEY_SHIFT } };
    if (!strncasecmp(name, "0x", 2)) {
        uint64_t code;
        return parse_u64(name, &code) ? key_from_set1(code) : KEY_NONE;
    }
    for (unsigned k = 1; k < NR_KEYS; k++) {
        if (!strcasecmp(name, keys[k].name)) {
            return (KeyCode)k;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (!strcasecmp(name, others[i].name)) {
            return others[i].key;
        }
    }
    return KEY_NONE;
}

/* ---- sinks ---- */

void input_register(InputSink *s)
{
    list_init(&s->node);
    list_insert(sinks.next, &s->node);
}

void input_unregister(InputSink *s)
{
    list_remove(&s->node);
}

void input_activate(InputSink *s)
{
    list_remove(&s->node);
    list_insert(sinks.next, &s->node);
}

static bool takes_pointer(const InputSink *s)
{
    return s->mouse_rel || s->mouse_abs;
}

/* Declares var: the first active sink s for which condition holds, or NULL. */
#define FIND_SINK(var, condition)                                                                  \
    InputSink *var = NULL;                                                                         \
    list_for_each(pos_, &sinks) {                                                                  \
        const InputSink *s = container_of(pos_, InputSink, node);                                  \
        if (!var && (condition)) {                                                                 \
            var = container_of(pos_, InputSink, node);                                             \
        }                                                                                          \
    }

void input_key(KeyCode key, bool is_down)
{
    if (key <= KEY_NONE || key >= NR_KEYS || down[key] == is_down) {
        return;
    }
    down[key] = is_down;
    FIND_SINK(sink, s->key);
    if (sink) {
        sink->key(sink->opaque, key, is_down);
    }
}

void input_rel(int dx, int dy, int dz)
{
    FIND_SINK(sink, s->mouse_rel);
    if (sink && (dx || dy || dz)) {
        sink->mouse_rel(sink->opaque, dx, dy, dz);
    }
}

void input_abs(int x, int y)
{
    FIND_SINK(sink, s->mouse_abs);
    if (sink) {
        sink->mouse_abs(sink->opaque, MAX(0, MIN(x, (int)INPUT_ABS_MAX)),
                        MAX(0, MIN(y, (int)INPUT_ABS_MAX)));
    }
}

void input_buttons(unsigned mask)
{
    FIND_SINK(sink, takes_pointer(s) && s->buttons);
    if (sink && mask != buttons_held) {
        sink->buttons(sink->opaque, mask);
    }
    buttons_held = mask;
}

bool input_wants_abs(void)
{
    FIND_SINK(sink, takes_pointer(s));
    return sink && sink->mouse_abs;
}

void input_release_all(void)
{
    for (unsigned k = 1; k < NR_KEYS; k++) {
        input_key((KeyCode)k, false);
    }
    input_buttons(0);
}

/* ---- sendkey ---- */

static void combo_step(void *opaque)
{
    (void)opaque;
    if (list_empty(&combos)) {
        return;
    }
    Combo *c = container_of(combos.next, Combo, node);
    uint64_t wait_ms = c->hold_ms;
    if (!combo_down) {
        for (unsigned i = 0; i < c->nr; i++) {
            input_key(c->key[i], true);
        }
        combo_down = true;
    } else {
        for (unsigned i = c->nr; i-- > 0;) {
            input_key(c->key[i], false);
        }
        combo_down = false;
        wait_ms = COMBO_GAP_MS;
        list_remove(&c->node);
        free(c);
        nr_combos--;
    }
    timer_arm(&combo_timer, host_clock_ns() + wait_ms * 1000000);
}

static bool parse_combo(Combo *c, const char *text, Error **errp)
{
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, "-");
        char name[32];
        snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name)), p);
        KeyCode key = key_from_name(name);
        if (key == KEY_NONE || len >= sizeof(name)) {
            return error_set(errp,
                             "'%.*s' is not a key; keys have names like a, 1, ret, spc, f1, "
                             "ctrl, kp_7 or 0x1e, and '-' joins them",
                             (int)MIN(len, 40u), p);
        }
        if (c->nr == COMBO_KEYS) {
            return error_set(errp, "more than %d keys at once", COMBO_KEYS);
        }
        c->key[c->nr++] = key;
        p += len;
        if (!*p) {
            return true;
        }
    }
}

bool input_sendkey(const char *text, unsigned hold_ms, Error **errp)
{
    FIND_SINK(sink, s->key);
    if (!sink) {
        return error_set(errp, "the machine has no keyboard");
    }
    if (nr_combos == COMBO_QUEUE) {
        return error_set(errp, "%d keys wait to be sent already: try again later", COMBO_QUEUE);
    }
    Combo *c = xcalloc(1, sizeof(*c));
    c->hold_ms = hold_ms;
    if (!parse_combo(c, text, errp)) {
        free(c);
        return false;
    }
    if (!combo_timer.fn) {
        timer_init_on(&combo_timer, TIMER_HOST, combo_step, NULL);
    }
    list_insert(&combos, &c->node);
    nr_combos++;
    /* Armed: an earlier one is held, or its gap to the next one runs. */
    if (!timer_armed(&combo_timer)) {
        combo_step(NULL);
    }
    return true;
}
