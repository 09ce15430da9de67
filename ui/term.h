/* SPDX-License-Identifier: GPL-2.0-or-later
 * A terminal: bytes in, a grid of characters out. What VT100 programs and Linux (TERM=linux or
 * xterm) use, not all that ECMA-48 has; the list is in docs/display.md. It draws nothing (vc.c
 * does) and knows no character device. Main loop.
 */
#ifndef UI_TERM_H
#define UI_TERM_H

#include "ui/input.h"

typedef struct Term Term;

enum { TERM_BOLD = 1, TERM_UNDERLINE = 2, TERM_INVERSE = 4, TERM_HIDDEN = 8 };
enum { TERM_DEFAULT_FG = 256, TERM_DEFAULT_BG = 257 };
enum { TERM_MAX_COLS = 512, TERM_MAX_ROWS = 256, TERM_HISTORY = 2000 };

typedef struct TermCell {
    uint32_t ch;     /* a Unicode character; 0 is drawn as a space */
    uint16_t fg, bg; /* of xterm's 256 colours, or TERM_DEFAULT_* */
    uint8_t attr;
} TermCell;

/* reply: what the terminal itself answers (status reports). */
Term *term_new(unsigned cols, unsigned rows,
               void (*reply)(void *opaque, const char *buf, size_t len), void *opaque);
void term_free(Term *t);
void term_write(Term *t, const uint8_t *buf, size_t len);

/* What is to be seen: row 0 is the top line of the view, which may be scrolled back. */
const TermCell *term_row(const Term *t, unsigned row);
/* Is the cursor to be seen, and where? */
bool term_cursor(const Term *t, unsigned *col, unsigned *row);
/* The rows from *first to *last changed since the last call; false if none. */
bool term_take_dirty(Term *t, unsigned *first, unsigned *last);
void term_mark_all_dirty(Term *t);
/* Moves the view back (positive) or forward; new output brings it back to the end. */
void term_scroll_view(Term *t, int lines);

/* What a key that types no character sends, as xterm does. 0 if nothing. */
enum { MOD_SHIFT = 1, MOD_CTRL = 2, MOD_ALT = 4 };
enum { TERM_KEY_MAX = 16 };
size_t term_key(const Term *t, KeyCode key, unsigned mods, char *out);

#endif
