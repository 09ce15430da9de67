/* SPDX-License-Identifier: GPL-2.0-or-later
 * Terminal keys to bytes; see term_keys.h (xterm's ctlseqs, "PC-Style Function Keys").
 */
#include "ui/term_keys.h"

#include <stdio.h>
#include <string.h>

#include "ui/term.h"

typedef struct TermKey {
    uint8_t number; /* ESC [ number ~ */
    char letter;    /* or ESC [ letter; ESC O letter if `ss3`, or in application mode */
    bool ss3;
    char plain;     /* or this byte */
} TermKey;

static const TermKey keys[NR_KEYS] = {
    [KEY_RET] = { .plain = '\r' },      [KEY_KP_ENTER] = { .plain = '\r' },
    [KEY_BACKSPACE] = { .plain = 127 }, [KEY_TAB] = { .plain = '\t' },
    [KEY_ESC] = { .plain = 27 },
    [KEY_UP] = { .letter = 'A' },       [KEY_DOWN] = { .letter = 'B' },
    [KEY_RIGHT] = { .letter = 'C' },    [KEY_LEFT] = { .letter = 'D' },
    [KEY_HOME] = { .letter = 'H' },     [KEY_END] = { .letter = 'F' },
    [KEY_INSERT] = { .number = 2 },     [KEY_DELETE] = { .number = 3 },
    [KEY_PGUP] = { .number = 5 },       [KEY_PGDN] = { .number = 6 },
    [KEY_F1] = { .letter = 'P', .ss3 = true }, [KEY_F2] = { .letter = 'Q', .ss3 = true },
    [KEY_F3] = { .letter = 'R', .ss3 = true }, [KEY_F4] = { .letter = 'S', .ss3 = true },
    [KEY_F5] = { .number = 15 },        [KEY_F6] = { .number = 17 },
    [KEY_F7] = { .number = 18 },        [KEY_F8] = { .number = 19 },
    [KEY_F9] = { .number = 20 },        [KEY_F10] = { .number = 21 },
    [KEY_F11] = { .number = 23 },       [KEY_F12] = { .number = 24 },
};

static size_t plain_key(char c, unsigned mods, bool newline_mode, char *out)
{
    size_t n = 0;
    if (c == '\t' && (mods & MOD_SHIFT)) {
        memcpy(out, "\033[Z", 3);
        return 3;
    }
    if (mods & MOD_ALT) {
        out[n++] = 27;
    }
    out[n++] = c == 127 && (mods & MOD_CTRL) ? '\b' : c;
    if (c == '\r' && newline_mode) {
        out[n++] = '\n';
    }
    return n;
}

size_t term_key_sequence(KeyCode key, unsigned mods, bool app_cursor, bool newline_mode, char *out)
{
    if (key >= NR_KEYS) {
        return 0;
    }
    const TermKey *k = &keys[key];
    /* 1 + Shift, Alt, Ctrl as 1, 2, 4 */
    unsigned m = 1 + (mods & MOD_SHIFT ? 1 : 0) + (mods & MOD_ALT ? 2 : 0) +
                 (mods & MOD_CTRL ? 4 : 0);
    int n = 0;
    if (k->plain) {
        return plain_key(k->plain, mods, newline_mode, out);
    }
    if (k->number) {
        n = m > 1 ? snprintf(out, TERM_KEY_MAX, "\033[%u;%u~", k->number, m)
                  : snprintf(out, TERM_KEY_MAX, "\033[%u~", k->number);
    } else if (k->letter) {
        n = m > 1 ? snprintf(out, TERM_KEY_MAX, "\033[1;%u%c", m, k->letter)
                  : snprintf(out, TERM_KEY_MAX, "\033%c%c", k->ss3 || app_cursor ? 'O' : '[',
                             k->letter);
    }
    return (size_t)n;
}
