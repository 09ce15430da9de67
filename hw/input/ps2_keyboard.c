/* SPDX-License-Identifier: GPL-2.0-or-later
 * The 101/102-key PS/2 keyboard (PS/2 TechRef, "Keyboard (101- and 102-Key)"): three scan code
 * sets, typematic, LEDs, all commands. Left out: the shifts that keyboards wrap around cursor
 * keys while Num Lock or Shift is on, which no guest is known to need.
 *
 * Answers to commands overtake scan codes, and scan codes wait while a parameter is awaited, as
 * on the real one. So do they wait a byte's time on the cable after a read: interrupt handlers
 * that chain read the same byte of the controller twice.
 */
#include "hw/input/ps2.h"

#include <string.h>

#include "util/log.h"

enum {
    CMD_LEDS = 0xed, CMD_ECHO = 0xee, CMD_SET = 0xf0, CMD_ID = 0xf2, CMD_TYPEMATIC = 0xf3,
    CMD_ENABLE = 0xf4, CMD_DISABLE = 0xf5, CMD_DEFAULTS = 0xf6,
    CMD_ALL_TYPEMATIC = 0xf7, CMD_ALL_MAKE_BREAK = 0xf8, CMD_ALL_MAKE = 0xf9, CMD_ALL_BOTH = 0xfa,
    CMD_KEY_TYPEMATIC = 0xfb, CMD_KEY_MAKE_BREAK = 0xfc, CMD_KEY_MAKE = 0xfd,
    CMD_RESEND = 0xfe, CMD_RESET = 0xff
};
enum { KEY_TYPEMATIC = 1, KEY_BREAK = 2 }; /* key_mode */
enum { DEFAULT_TYPEMATIC = 0x2b };         /* 500 ms, 10.9 a second */
enum { MOD_ALT = 1, MOD_ALT_R = 2, MOD_CTRL = 4, MOD_CTRL_R = 8, MOD_SHIFT = 16, MOD_SHIFT_R = 32 };
enum { SET_1, SET_2, SET_3 };
enum { BYTE_NS = 500000, ROOM_TO_MAKE = 32 };

static const struct {
    uint16_t code[3];
} codes[NR_KEYS] = {
#define KEY(id, name, set1, set2, set3) [KEY_##id] = { { set1, set2, set3 } },
#include "ui/keycodes.inc"
#undef KEY
};

/* ---- scan codes ---- */

static uint8_t modifier_bit(KeyCode key)
{
    switch (key) {
    case KEY_ALT: return MOD_ALT;
    case KEY_ALT_R: return MOD_ALT_R;
    case KEY_CTRL: return MOD_CTRL;
    case KEY_CTRL_R: return MOD_CTRL_R;
    case KEY_SHIFT: return MOD_SHIFT;
    case KEY_SHIFT_R: return MOD_SHIFT_R;
    default: return 0;
    }
}

static void put(Ps2Keyboard *k, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ps2_fifo_put(&k->port.events, (uint8_t)bytes[i]);
    }
}

#define PUT(k, bytes) put(k, bytes, sizeof(bytes) - 1)

/* A code of set 1 or 2; E0h goes first. */
static void put_code(Ps2Keyboard *k, uint16_t code, bool down)
{
    if (code >> 8) {
        ps2_fifo_put(&k->port.events, code >> 8);
    }
    if (k->set == SET_1) {
        ps2_fifo_put(&k->port.events, (code & 0x7f) | (down ? 0 : 0x80));
        return;
    }
    if (!down) {
        ps2_fifo_put(&k->port.events, 0xf0);
    }
    ps2_fifo_put(&k->port.events, code & 0xff);
}

/* Pause has no break code and does not repeat; with Ctrl it is Break. */
static void put_pause(Ps2Keyboard *k)
{
    bool ctrl = k->modifiers & (MOD_CTRL | MOD_CTRL_R);
    if (k->set == SET_1) {
        if (ctrl) {
            PUT(k, "\xe0\x46\xe0\xc6");
        } else {
            PUT(k, "\xe1\x1d\x45\xe1\x9d\xc5");
        }
    } else if (ctrl) {
        PUT(k, "\xe0\x7e\xe0\xf0\x7e");
    } else {
        PUT(k, "\xe1\x14\x77\xe1\xf0\x14\xf0\x77");
    }
}

/* Print is SysRq with Alt, and is wrapped in a left shift unless one is held. */
static void put_print(Ps2Keyboard *k, bool down)
{
    if (k->modifiers & (MOD_ALT | MOD_ALT_R)) {
        put_code(k, codes[KEY_SYSRQ].code[k->set], down);
        return;
    }
    bool bare = !(k->modifiers & (MOD_CTRL | MOD_CTRL_R | MOD_SHIFT | MOD_SHIFT_R));
    uint16_t shift = 0xe000 | codes[KEY_SHIFT].code[k->set];
    if (bare && down) {
        put_code(k, shift, true);
    }
    put_code(k, codes[KEY_PRINT].code[k->set], down);
    if (bare && !down) {
        put_code(k, shift, false);
    }
}

/* Returns whether holding the key repeats it. */
static bool put_key(Ps2Keyboard *k, KeyCode key, bool down)
{
    uint16_t code = codes[key].code[k->set];
    if (k->set == SET_3) {
        uint8_t mode = k->key_mode[code & 0xff];
        if (code && (down || (mode & KEY_BREAK))) {
            put_code(k, code, down);
        }
        return code && (mode & KEY_TYPEMATIC);
    }
    if (key == KEY_PAUSE) {
        if (down) {
            put_pause(k);
        }
        return false;
    }
    if (key == KEY_PRINT) {
        put_print(k, down);
    } else if (code) {
        put_code(k, code, down);
    }
    return code;
}

static uint64_t delay_ns(const Ps2Keyboard *k)
{
    return ((k->typematic >> 5 & 3) + 1) * 250000000ull;
}

static uint64_t period_ns(const Ps2Keyboard *k)
{
    return (8ull + (k->typematic & 7)) * (1u << (k->typematic >> 3 & 3)) * 4170000;
}

static void keyboard_key(void *opaque, KeyCode key, bool down)
{
    Ps2Keyboard *k = opaque;
    uint8_t bit = modifier_bit(key);
    k->modifiers = down ? k->modifiers | bit : k->modifiers & ~bit;
    if (!down && k->repeat_key == key) {
        k->repeat_key = 0;
        timer_cancel(&k->repeat);
    }
    /* A full buffer takes no more makes, so that breaks still fit: nothing stays stuck. */
    if (!k->scanning || (down && ps2_fifo_room(&k->port.events) < ROOM_TO_MAKE) ||
        ps2_fifo_room(&k->port.events) < 8) {
        return;
    }
    if (put_key(k, key, down) && down) {
        k->repeat_key = (uint16_t)key;
        timer_arm(&k->repeat, guest_clock_ns() + delay_ns(k));
    }
    k->port.ready(k->port.opaque);
}

static void keyboard_repeat(void *opaque)
{
    Ps2Keyboard *k = opaque;
    if (!k->repeat_key || k->repeat_key >= NR_KEYS || !k->scanning) {
        return;
    }
    /* Repeats do not pile up while nobody reads. */
    if (!k->port.events.count) {
        put_key(k, (KeyCode)k->repeat_key, true);
        k->port.ready(k->port.opaque);
    }
    timer_arm(&k->repeat, guest_clock_ns() + period_ns(k));
}

/* ---- commands ---- */

/* TechRef, table of set 3: what repeats, what sends a break code. */
static void default_key_modes(Ps2Keyboard *k)
{
    static const uint8_t make_break[] = { 0x11, 0x12, 0x14, 0x19, 0x59 };
    static const uint8_t make_only[] = {
        0x07, 0x08, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x39, 0x3f, 0x47, 0x4f, 0x56, 0x57,
        0x58, 0x5e, 0x5f, 0x62, 0x65, 0x67, 0x69, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71,
        0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x79, 0x7a, 0x7d, 0x7e, 0x84, 0x8b, 0x8c, 0x8d,
    };
    memset(k->key_mode, KEY_TYPEMATIC, sizeof(k->key_mode));
    for (size_t i = 0; i < sizeof(make_break); i++) {
        k->key_mode[make_break[i]] = KEY_BREAK;
    }
    for (size_t i = 0; i < sizeof(make_only); i++) {
        k->key_mode[make_only[i]] = 0;
    }
}

static void stop_repeat(Ps2Keyboard *k)
{
    k->repeat_key = 0;
    timer_cancel(&k->repeat);
}

static void set_defaults(Ps2Keyboard *k)
{
    ps2_fifo_clear(&k->port.events);
    stop_repeat(k);
    k->typematic = DEFAULT_TYPEMATIC;
    k->set = SET_2;
    default_key_modes(k);
}

void ps2_keyboard_reset(Ps2Keyboard *k)
{
    default_key_modes(k);
}

static void run_command(Ps2Keyboard *k, uint8_t cmd)
{
    static const uint8_t all_modes[] = { KEY_TYPEMATIC, KEY_BREAK, 0, KEY_TYPEMATIC | KEY_BREAK };
    Ps2Port *p = &k->port;
    switch (cmd) {
    case CMD_ECHO: ps2_reply(p, CMD_ECHO); return;
    case CMD_RESEND: ps2_reply(p, p->last); return;
    case CMD_LEDS: case CMD_SET: case CMD_TYPEMATIC:
    case CMD_KEY_TYPEMATIC: case CMD_KEY_MAKE_BREAK: case CMD_KEY_MAKE:
        p->command = cmd;
        break;
    case CMD_ID:
        ps2_reply(p, PS2_ACK);
        ps2_reply(p, 0xab);
        ps2_reply(p, 0x83);
        return;
    case CMD_ENABLE:
        ps2_fifo_clear(&p->events);
        k->scanning = true;
        break;
    case CMD_DISABLE:
        set_defaults(k);
        k->scanning = false;
        break;
    case CMD_DEFAULTS: set_defaults(k); break;
    case CMD_ALL_TYPEMATIC: case CMD_ALL_MAKE_BREAK: case CMD_ALL_MAKE: case CMD_ALL_BOTH:
        ps2_fifo_clear(&p->events);
        memset(k->key_mode, all_modes[cmd - CMD_ALL_TYPEMATIC], sizeof(k->key_mode));
        break;
    case CMD_RESET:
        set_defaults(k);
        k->leds = 0;
        k->scanning = true;
        ps2_fifo_clear(&p->replies);
        ps2_reply(p, PS2_ACK);
        ps2_reply(p, PS2_BAT_OK);
        return;
    default:
        log_guest("ps2 keyboard: unknown command 0x%02x", cmd);
        ps2_reply(p, PS2_RESEND);
        return;
    }
    ps2_reply(p, PS2_ACK);
}

static void run_parameter(Ps2Keyboard *k, uint8_t val)
{
    Ps2Port *p = &k->port;
    uint8_t cmd = p->command;
    p->command = 0;
    ps2_reply(p, PS2_ACK);
    switch (cmd) {
    case CMD_LEDS: k->leds = val & 7; break;
    case CMD_TYPEMATIC: k->typematic = val & 0x7f; break;
    case CMD_SET:
        if (!val) {
            ps2_reply(p, k->set + 1);
        } else if (val <= 3) {
            ps2_fifo_clear(&p->events);
            stop_repeat(k);
            k->set = val - 1;
        } else {
            log_guest("ps2 keyboard: there is no scan code set %u", val);
        }
        break;
    case CMD_KEY_TYPEMATIC: case CMD_KEY_MAKE_BREAK: case CMD_KEY_MAKE:
        /* More keys may follow, until a command ends the list. */
        k->key_mode[val] = cmd == CMD_KEY_TYPEMATIC    ? KEY_TYPEMATIC
                           : cmd == CMD_KEY_MAKE_BREAK ? KEY_BREAK
                                                       : 0;
        p->command = cmd;
        break;
    default: break;
    }
}

void ps2_keyboard_write(Ps2Keyboard *k, uint8_t byte)
{
    /* A command in place of a parameter ends the one that waited. */
    if (k->port.command && byte < CMD_LEDS) {
        run_parameter(k, byte);
    } else {
        k->port.command = 0;
        run_command(k, byte);
    }
    k->port.ready(k->port.opaque);
}

/* ---- the cable ---- */

bool ps2_keyboard_take(Ps2Keyboard *k, uint8_t *byte)
{
    Ps2Port *p = &k->port;
    if (ps2_fifo_take(&p->replies, byte)) {
        k->last_was_event = false;
    } else if (p->command || !p->events.count) {
        return false;
    } else if (guest_clock_ns() < k->quiet_until) {
        timer_arm(&k->quiet, k->quiet_until);
        return false;
    } else {
        ps2_fifo_take(&p->events, byte);
        k->last_was_event = true;
    }
    if (*byte != PS2_RESEND) {
        p->last = *byte;
    }
    return true;
}

void ps2_keyboard_read_done(Ps2Keyboard *k)
{
    if (k->last_was_event) {
        k->quiet_until = guest_clock_ns() + BYTE_NS;
    }
}

static void keyboard_quiet_over(void *opaque)
{
    Ps2Keyboard *k = opaque;
    k->port.ready(k->port.opaque);
}

void ps2_keyboard_init(Ps2Keyboard *k, void (*ready)(void *opaque), void *opaque)
{
    k->port.ready = ready;
    k->port.opaque = opaque;
    timer_init(&k->repeat, keyboard_repeat, k);
    timer_init(&k->quiet, keyboard_quiet_over, k);
    k->sink = (InputSink) { .name = "PS/2 keyboard", .key = keyboard_key, .opaque = k };
    input_register(&k->sink);
}

void ps2_keyboard_fini(Ps2Keyboard *k)
{
    input_unregister(&k->sink);
}

const StateField ps2_keyboard_state[] = {
    STATE_STRUCT(Ps2Keyboard, port, Ps2Port, ps2_port_state),
    STATE_BOOL(Ps2Keyboard, scanning, .reset = true),
    STATE_U8(Ps2Keyboard, leds, .mask = 7),
    STATE_U8(Ps2Keyboard, typematic, .reset = DEFAULT_TYPEMATIC, .mask = 0x7f),
    STATE_U8(Ps2Keyboard, set, .reset = SET_2, .max = SET_3),
    STATE_U8S(Ps2Keyboard, key_mode, .mask = KEY_TYPEMATIC | KEY_BREAK),
    STATE_U8(Ps2Keyboard, modifiers),
    STATE_U16(Ps2Keyboard, repeat_key, .max = NR_KEYS - 1),
    STATE_BOOL(Ps2Keyboard, last_was_event),
    STATE_U64(Ps2Keyboard, quiet_until),
    STATE_TIMER(Ps2Keyboard, repeat),
    STATE_TIMER(Ps2Keyboard, quiet),
    STATE_END,
};
