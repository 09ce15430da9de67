/* SPDX-License-Identifier: GPL-2.0-or-later
 * The terminal's screen and its control functions, named as in ECMA-48 and the VT100 manual,
 * private modes and colours as in xterm's ctlseqs. Left out: double
 * size, smooth scroll, 132 columns, printing, character sets but DEC's line drawing, combining
 * characters and double width: every character takes one column.
 *
 *            .--C0 controls act at once, in every state--.
 *   GROUND --ESC--> ESCAPE --[--> CSI --final--> act
 *                     |---( ) * +--> CHARSET
 *                     |---] P X ^ _--> STRING, until BEL or ST: ignored
 *
 * Lines live in a ring of rows + history; `top` is the first line of the screen in it.
 */
#include "ui/term.h"

#include <stdio.h>

#include "ui/term_keys.h"
#include "util/alloc.h"

enum State { GROUND, ESCAPE, CSI, CHARSET, HASH, STRING, STRING_ESC };
enum { MAX_PARAMS = 16, PARAM_LIMIT = 65535, TAB = 8 };

typedef struct Pen {
    uint16_t fg, bg;
    uint8_t attr;
} Pen;

typedef struct Cursor {
    unsigned x, y;
    Pen pen;
    bool line_drawing[2]; /* G0, G1 */
    unsigned charset;
    bool wrap_pending; /* the last column was written: the next character wraps first */
    bool origin;       /* DECOM */
} Cursor;

struct Term {
    void (*reply)(void *opaque, const char *buf, size_t len);
    void *opaque;
    unsigned cols, rows;
    TermCell *cells;           /* ring of lines */
    unsigned lines, top, kept; /* in the ring; kept: lines of history above top */
    unsigned back;             /* how far the view is scrolled back */
    unsigned dirty_first, dirty_last;
    bool dirty;
    Cursor cur, saved;
    Cursor saved_alt;          /* of the normal screen, while the alternate one shows */
    TermCell *normal;          /* its picture; NULL: it is the one that shows */
    unsigned scroll_top, scroll_bottom; /* the scrolling region, inclusive */
    bool autowrap, insert, newline_mode, cursor_on;
    bool app_cursor;           /* DECCKM */
    bool *tabs;
    uint32_t last_ch; /* for REP */

    enum State state;
    char prefix;      /* '?', '>', '=' of a CSI sequence, or the set that CHARSET names */
    char interm;      /* an intermediate byte */
    unsigned param[MAX_PARAMS], nr_params;
    uint32_t utf8;    /* the character so far */
    uint32_t utf8_min;
    unsigned utf8_left;
};

/* ---- the grid ---- */

static TermCell *line_at(const Term *t, unsigned ring_index)
{
    return &t->cells[(size_t)(ring_index % t->lines) * t->cols];
}

static TermCell *row_at(const Term *t, unsigned y)
{
    return line_at(t, t->top + y);
}

static void touch(Term *t, unsigned first, unsigned last)
{
    if (t->back) {
        return; /* the view stands still; coming back draws all */
    }
    t->dirty_first = t->dirty ? MIN(t->dirty_first, first) : first;
    t->dirty_last = t->dirty ? MAX(t->dirty_last, last) : last;
    t->dirty = true;
}

/* Erasing leaves the background colour (as xterm's bce). */
static void blank(const Term *t, TermCell *cell, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        cell[i] = (TermCell){ .fg = TERM_DEFAULT_FG, .bg = t->cur.pen.bg };
    }
}

static void erase(Term *t, unsigned y, unsigned from, unsigned to)
{
    if (from < to) {
        blank(t, row_at(t, y) + from, to - from);
        touch(t, y, y);
    }
}

static void erase_rows(Term *t, unsigned from, unsigned to)
{
    for (unsigned y = from; y < to; y++) {
        erase(t, y, 0, t->cols);
    }
}

static void copy_row(Term *t, unsigned to, unsigned from)
{
    memcpy(row_at(t, to), row_at(t, from), t->cols * sizeof(TermCell));
}

static void move_up(Term *t, unsigned y, unsigned bottom, unsigned nr)
{
    nr = MIN(nr, bottom - y + 1);
    for (unsigned i = y; i + nr <= bottom; i++) {
        copy_row(t, i, i + nr);
    }
    erase_rows(t, bottom + 1 - nr, bottom + 1);
    touch(t, y, bottom);
}

/* The scrolling region moves up. What leaves the top of the whole screen becomes history. */
static void scroll_up(Term *t, unsigned nr)
{
    if (t->scroll_top || t->scroll_bottom != t->rows - 1 || t->normal) {
        move_up(t, t->scroll_top, t->scroll_bottom, nr);
        return;
    }
    nr = MIN(nr, t->rows);
    t->top = (t->top + nr) % t->lines;
    t->kept = MIN(t->kept + nr, t->lines - t->rows);
    erase_rows(t, t->rows - nr, t->rows);
    touch(t, 0, t->rows - 1);
}

static void move_down(Term *t, unsigned y, unsigned bottom, unsigned nr)
{
    nr = MIN(nr, bottom - y + 1);
    for (unsigned i = bottom; i >= y + nr; i--) {
        copy_row(t, i, i - nr);
    }
    erase_rows(t, y, y + nr);
    touch(t, y, bottom);
}

/* ---- cursor ---- */

static void go_to(Term *t, unsigned x, unsigned y)
{
    touch(t, t->cur.y, t->cur.y);
    t->cur.x = MIN(x, t->cols - 1);
    t->cur.y = MIN(y, t->rows - 1);
    t->cur.wrap_pending = false;
    touch(t, t->cur.y, t->cur.y);
}

/* CUP and VPA count from the scrolling region in origin mode, and stay in it. */
static void go_to_line(Term *t, unsigned x, unsigned y)
{
    if (t->cur.origin) {
        y = MIN(t->scroll_top + y, t->scroll_bottom);
    }
    go_to(t, x, y);
}

/* Up and down stop at the region's edge if they start inside it. */
static void go_up(Term *t, unsigned nr)
{
    unsigned edge = t->cur.y >= t->scroll_top ? t->scroll_top : 0;
    go_to(t, t->cur.x, t->cur.y - MIN(nr, t->cur.y - edge));
}

static void go_down(Term *t, unsigned nr)
{
    unsigned edge = t->cur.y <= t->scroll_bottom ? t->scroll_bottom : t->rows - 1;
    go_to(t, t->cur.x, t->cur.y + MIN(nr, edge - t->cur.y));
}

static void line_feed(Term *t)
{
    if (t->cur.y == t->scroll_bottom) {
        scroll_up(t, 1);
        t->cur.wrap_pending = false;
    } else {
        go_to(t, t->cur.x, t->cur.y + 1);
    }
}

static void reverse_line_feed(Term *t)
{
    if (t->cur.y == t->scroll_top) {
        move_down(t, t->scroll_top, t->scroll_bottom, 1);
        t->cur.wrap_pending = false;
    } else if (t->cur.y) {
        go_to(t, t->cur.x, t->cur.y - 1);
    }
}

static void tab(Term *t, unsigned nr)
{
    unsigned x = t->cur.x;
    while (nr-- && x < t->cols - 1) {
        do {
            x++;
        } while (x < t->cols - 1 && !t->tabs[x]);
    }
    go_to(t, x, t->cur.y);
}

static void back_tab(Term *t, unsigned nr)
{
    unsigned x = t->cur.x;
    while (nr-- && x) {
        do {
            x--;
        } while (x && !t->tabs[x]);
    }
    go_to(t, x, t->cur.y);
}

/* ---- characters ---- */

/* DEC special graphics, 5Fh to 7Eh (VT100 User Guide, table 3-9). */
static uint32_t line_drawing(uint32_t ch)
{
    static const uint16_t set[] = {
        0x00a0, 0x25c6, 0x2592, 0x2409, 0x240c, 0x240d, 0x240a, 0x00b0, 0x00b1, 0x2424, 0x240b,
        0x2518, 0x2510, 0x250c, 0x2514, 0x253c, 0x23ba, 0x23bb, 0x2500, 0x23bc, 0x23bd, 0x251c,
        0x2524, 0x2534, 0x252c, 0x2502, 0x2264, 0x2265, 0x03c0, 0x2260, 0x00a3, 0x00b7,
    };
    return ch >= 0x5f && ch <= 0x7e ? set[ch - 0x5f] : ch;
}

static void put_char(Term *t, uint32_t ch)
{
    if (t->cur.line_drawing[t->cur.charset]) {
        ch = line_drawing(ch);
    }
    if (t->cur.wrap_pending) {
        t->cur.x = 0;
        line_feed(t);
    }
    TermCell *row = row_at(t, t->cur.y);
    unsigned x = t->cur.x;
    if (t->insert) {
        memmove(row + x + 1, row + x, (t->cols - x - 1) * sizeof(*row));
    }
    row[x] = (TermCell){ ch, t->cur.pen.fg, t->cur.pen.bg, t->cur.pen.attr };
    t->last_ch = ch;
    if (x + 1 < t->cols) {
        t->cur.x++;
    } else {
        t->cur.wrap_pending = t->autowrap;
    }
    touch(t, t->cur.y, t->cur.y);
}

static void control(Term *t, uint8_t c)
{
    switch (c) {
    case '\b': go_to(t, t->cur.x ? t->cur.x - 1 : 0, t->cur.y); break;
    case '\t': tab(t, 1); break;
    case '\n':
    case '\v':
    case '\f':
        line_feed(t);
        if (t->newline_mode) {
            go_to(t, 0, t->cur.y);
        }
        break;
    case '\r': go_to(t, 0, t->cur.y); break;
    case 0x0e: t->cur.charset = 1; break;  /* SO */
    case 0x0f: t->cur.charset = 0; break;  /* SI */
    case 0x18:                             /* CAN */
    case 0x1a: t->state = GROUND; break;   /* SUB */
    case 0x1b: t->state = ESCAPE; break;
    default: break;
    }
}

/* A byte of text: UTF-8, and what is not UTF-8 shows as U+FFFD. */
static void text_byte(Term *t, uint8_t c)
{
    if (t->utf8_left) {
        if ((c & 0xc0) == 0x80) {
            t->utf8 = t->utf8 << 6 | (c & 0x3f);
            if (--t->utf8_left == 0) {
                bool good = t->utf8 >= t->utf8_min && t->utf8 < 0x110000 &&
                            (t->utf8 < 0xd800 || t->utf8 > 0xdfff);
                if (!good || t->utf8 >= 0xa0) { /* C1 controls in UTF-8 print nothing */
                    put_char(t, good ? t->utf8 : 0xfffd);
                }
            }
            return;
        }
        t->utf8_left = 0;
        put_char(t, 0xfffd);
    }
    if (c < 0x80) {
        put_char(t, c);
    } else if (c >= 0xc2 && c <= 0xf4) {
        t->utf8_left = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        t->utf8_min = c >= 0xf0 ? 0x10000 : c >= 0xe0 ? 0x800 : 0x80;
        t->utf8 = c & (0x3fu >> t->utf8_left);
    } else {
        put_char(t, 0xfffd);
    }
}

/* ---- state ---- */

static void reset_tabs(Term *t)
{
    for (unsigned x = 0; x < t->cols; x++) {
        t->tabs[x] = x % TAB == 0;
    }
}

static void show_normal(Term *t)
{
    if (t->normal) {
        for (unsigned y = 0; y < t->rows; y++) {
            memcpy(row_at(t, y), t->normal + (size_t)y * t->cols, t->cols * sizeof(TermCell));
        }
        free(t->normal);
        t->normal = NULL;
        touch(t, 0, t->rows - 1);
    }
}

static void show_alternate(Term *t)
{
    if (!t->normal) {
        t->normal = xcalloc((size_t)t->rows * t->cols, sizeof(TermCell));
        for (unsigned y = 0; y < t->rows; y++) {
            memcpy(t->normal + (size_t)y * t->cols, row_at(t, y), t->cols * sizeof(TermCell));
        }
        erase_rows(t, 0, t->rows);
    }
}

/* RIS, but for the screen's contents. */
static void reset_modes(Term *t)
{
    t->cur = (Cursor){ .pen = { TERM_DEFAULT_FG, TERM_DEFAULT_BG, 0 } };
    t->saved = t->cur;
    t->scroll_top = 0;
    t->scroll_bottom = t->rows - 1;
    t->autowrap = t->cursor_on = true;
    t->insert = t->newline_mode = t->app_cursor = false;
    t->state = GROUND;
    t->utf8_left = 0;
    reset_tabs(t);
}

static void restore_cursor(Term *t, const Cursor *from)
{
    go_to(t, t->cur.x, t->cur.y); /* draws the old place */
    t->cur = *from;
    touch(t, t->cur.y, t->cur.y);
}

static void private_mode(Term *t, unsigned mode, bool on)
{
    switch (mode) {
    case 1: t->app_cursor = on; break; /* DECCKM */
    case 6:                            /* DECOM */
        t->cur.origin = on;
        go_to_line(t, 0, 0);
        break;
    case 7: t->autowrap = on; break; /* DECAWM */
    case 25:                         /* DECTCEM */
        t->cursor_on = on;
        touch(t, t->cur.y, t->cur.y);
        break;
    case 47:
    case 1047:
    case 1049:
        if (on && mode == 1049 && !t->normal) {
            t->saved_alt = t->cur;
        }
        if (on) {
            show_alternate(t);
        } else if (t->normal) {
            show_normal(t);
            if (mode == 1049) {
                restore_cursor(t, &t->saved_alt);
            }
        }
        break;
    case 1048:
        if (on) {
            t->saved = t->cur;
        } else {
            restore_cursor(t, &t->saved);
        }
        break;
    default: break;
    }
}

static void ansi_mode(Term *t, unsigned mode, bool on)
{
    if (mode == 4) { /* IRM */
        t->insert = on;
    } else if (mode == 20) { /* LNM */
        t->newline_mode = on;
    }
}

static void set_modes(Term *t, bool on)
{
    for (unsigned i = 0; i < t->nr_params; i++) {
        if (t->prefix == '?') {
            private_mode(t, t->param[i], on);
        } else if (!t->prefix) {
            ansi_mode(t, t->param[i], on);
        }
    }
}

/* ---- SGR ---- */

/* The nearest of the 6x6x6 cube to 24-bit colour. */
static uint16_t cube_colour(unsigned r, unsigned g, unsigned b)
{
    unsigned level[3] = { MIN(r, 255u), MIN(g, 255u), MIN(b, 255u) };
    unsigned c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = level[i] < 48 ? 0 : level[i] < 115 ? 1 : (level[i] - 35) / 40;
    }
    return (uint16_t)(16 + 36 * c[0] + 6 * c[1] + c[2]);
}

/* 38 and 48: ";5;N" or ";2;R;G;B". Returns how many parameters it took. */
static unsigned extended_colour(const Term *t, unsigned i, uint16_t *colour)
{
    unsigned left = t->nr_params - i - 1;
    const unsigned *p = &t->param[i + 1];
    if (left >= 2 && p[0] == 5) {
        if (p[1] < 256) {
            *colour = (uint16_t)p[1];
        }
        return 2;
    }
    if (left >= 4 && p[0] == 2) {
        *colour = cube_colour(p[1], p[2], p[3]);
        return 4;
    }
    return left;
}

static void sgr_attr(Pen *pen, unsigned n)
{
    static const struct {
        uint8_t set, clear;
    } attrs[] = { [1] = { TERM_BOLD, 0 },     [4] = { TERM_UNDERLINE, 0 },
                  [7] = { TERM_INVERSE, 0 },  [8] = { TERM_HIDDEN, 0 },
                  [21] = { 0, TERM_BOLD },    [22] = { 0, TERM_BOLD },
                  [24] = { 0, TERM_UNDERLINE }, [27] = { 0, TERM_INVERSE },
                  [28] = { 0, TERM_HIDDEN } };
    if (n < ARRAY_SIZE(attrs)) {
        pen->attr = (uint8_t)((pen->attr | attrs[n].set) & ~attrs[n].clear);
    }
}

static void sgr(Term *t)
{
    Pen *pen = &t->cur.pen;
    for (unsigned i = 0; i < t->nr_params; i++) {
        unsigned n = t->param[i];
        if (n == 0) {
            *pen = (Pen){ TERM_DEFAULT_FG, TERM_DEFAULT_BG, 0 };
        } else if (n >= 30 && n <= 37) {
            pen->fg = (uint16_t)(n - 30);
        } else if (n >= 40 && n <= 47) {
            pen->bg = (uint16_t)(n - 40);
        } else if (n >= 90 && n <= 97) {
            pen->fg = (uint16_t)(n - 90 + 8);
        } else if (n >= 100 && n <= 107) {
            pen->bg = (uint16_t)(n - 100 + 8);
        } else if (n == 38) {
            i += extended_colour(t, i, &pen->fg);
        } else if (n == 48) {
            i += extended_colour(t, i, &pen->bg);
        } else if (n == 39) {
            pen->fg = TERM_DEFAULT_FG;
        } else if (n == 49) {
            pen->bg = TERM_DEFAULT_BG;
        } else {
            sgr_attr(pen, n);
        }
    }
}

/* ---- control sequences ---- */

static void report(Term *t)
{
    char text[32];
    if (t->param[0] == 5) {
        t->reply(t->opaque, "\033[0n", 4); /* ready */
    } else if (t->param[0] == 6) {         /* CPR */
        unsigned y = t->cur.y - (t->cur.origin ? t->scroll_top : 0);
        int len = snprintf(text, sizeof(text), "\033[%u;%uR", y + 1, t->cur.x + 1);
        t->reply(t->opaque, text, (size_t)len);
    }
}

static void erase_display(Term *t)
{
    switch (t->param[0]) {
    case 0:
        erase(t, t->cur.y, t->cur.x, t->cols);
        erase_rows(t, t->cur.y + 1, t->rows);
        break;
    case 1:
        erase_rows(t, 0, t->cur.y);
        erase(t, t->cur.y, 0, t->cur.x + 1);
        break;
    case 2: erase_rows(t, 0, t->rows); break;
    case 3: t->kept = 0; break; /* the history */
    default: break;
    }
}

static void erase_line(Term *t)
{
    switch (t->param[0]) {
    case 0: erase(t, t->cur.y, t->cur.x, t->cols); break;
    case 1: erase(t, t->cur.y, 0, t->cur.x + 1); break;
    case 2: erase(t, t->cur.y, 0, t->cols); break;
    default: break;
    }
}

static void insert_chars(Term *t, unsigned nr)
{
    TermCell *row = row_at(t, t->cur.y);
    unsigned x = t->cur.x;
    nr = MIN(nr, t->cols - x);
    memmove(row + x + nr, row + x, (t->cols - x - nr) * sizeof(*row));
    erase(t, t->cur.y, x, x + nr);
}

static void delete_chars(Term *t, unsigned nr)
{
    TermCell *row = row_at(t, t->cur.y);
    unsigned x = t->cur.x;
    nr = MIN(nr, t->cols - x);
    memmove(row + x, row + x + nr, (t->cols - x - nr) * sizeof(*row));
    erase(t, t->cur.y, t->cols - nr, t->cols);
}

static void set_scroll_region(Term *t)
{
    unsigned top = t->param[0] ? t->param[0] : 1;
    unsigned bottom = t->nr_params > 1 && t->param[1] ? MIN(t->param[1], t->rows) : t->rows;
    if (top < bottom) {
        t->scroll_top = top - 1;
        t->scroll_bottom = bottom - 1;
        go_to_line(t, 0, 0);
    }
}

static bool in_scroll_region(const Term *t)
{
    return t->cur.y >= t->scroll_top && t->cur.y <= t->scroll_bottom;
}

static void soft_reset(Term *t)
{
    Cursor at = t->cur;
    reset_modes(t);
    t->cur.x = at.x;
    t->cur.y = at.y;
}

static void repeat_char(Term *t, unsigned nr)
{
    for (nr = MIN(nr, t->cols * t->rows); nr && t->last_ch; nr--) {
        put_char(t, t->last_ch);
    }
}

/* Those with a private prefix; set and reset of modes are where the others are. */
static void csi_private(Term *t, char final)
{
    if (t->prefix == '>' && final == 'c') {
        t->reply(t->opaque, "\033[>0;0;0c", 9); /* DA2: a VT100 */
    } else if (t->prefix == '?' && (final == 'J' || final == 'K')) {
        t->prefix = 0;
        final == 'J' ? erase_display(t) : erase_line(t);
    }
}

static void csi_move(Term *t, char final, unsigned n)
{
    unsigned m = t->nr_params > 1 && t->param[1] ? t->param[1] : 1;
    switch (final) {
    case 'A': go_up(t, n); break;                                         /* CUU */
    case 'B':                                                             /* CUD */
    case 'e': go_down(t, n); break;                                       /* VPR */
    case 'C':                                                             /* CUF */
    case 'a': go_to(t, t->cur.x + n, t->cur.y); break;                    /* HPR */
    case 'D': go_to(t, t->cur.x - MIN(n, t->cur.x), t->cur.y); break;     /* CUB */
    case 'E':                                                             /* CNL */
        go_down(t, n);
        t->cur.x = 0;
        break;
    case 'F':                                                             /* CPL */
        go_up(t, n);
        t->cur.x = 0;
        break;
    case 'G':                                                             /* CHA */
    case '`': go_to(t, n - 1, t->cur.y); break;                           /* HPA */
    case 'H':                                                             /* CUP */
    case 'f': go_to_line(t, m - 1, n - 1); break;                         /* HVP */
    case 'I': tab(t, n); break;                                           /* CHT */
    case 'Z': back_tab(t, n); break;                                      /* CBT */
    case 'd': go_to_line(t, t->cur.x, n - 1); break;                      /* VPA */
    default: break;
    }
}

static void csi_edit(Term *t, char final, unsigned n)
{
    bool inside = in_scroll_region(t);
    switch (final) {
    case '@': insert_chars(t, n); break; /* ICH */
    case 'P': delete_chars(t, n); break; /* DCH */
    case 'X': erase(t, t->cur.y, t->cur.x, MIN(t->cur.x + n, t->cols)); break; /* ECH */
    case 'L':                            /* IL */
        if (inside) {
            move_down(t, t->cur.y, t->scroll_bottom, n);
            go_to(t, 0, t->cur.y);
        }
        break;
    case 'M': /* DL */
        if (inside) {
            move_up(t, t->cur.y, t->scroll_bottom, n);
            go_to(t, 0, t->cur.y);
        }
        break;
    case 'S': scroll_up(t, n); break;                                  /* SU */
    case 'T': move_down(t, t->scroll_top, t->scroll_bottom, n); break; /* SD */
    case 'b': repeat_char(t, n); break;                                /* REP */
    default: break;
    }
}

static void csi_other(Term *t, char final)
{
    switch (final) {
    case 'J': erase_display(t); break; /* ED */
    case 'K': erase_line(t); break;    /* EL */
    case 'c': t->reply(t->opaque, "\033[?6c", 5); break; /* DA: a VT102 */
    case 'g':                                            /* TBC */
        if (t->param[0] == 0) {
            t->tabs[t->cur.x] = false;
        } else if (t->param[0] == 3) {
            memset(t->tabs, 0, t->cols * sizeof(*t->tabs));
        }
        break;
    case 'm': sgr(t); break;
    case 'n': report(t); break;           /* DSR */
    case 'r': set_scroll_region(t); break; /* DECSTBM */
    case 's': t->saved = t->cur; break;
    case 'u': restore_cursor(t, &t->saved); break;
    default: break;
    }
}

static void csi_final(Term *t, char final)
{
    if (t->nr_params == 0) {
        t->nr_params = 1;
    }
    if (t->interm) {
        if (t->interm == '!' && final == 'p') { /* DECSTR */
            soft_reset(t);
        }
        return;
    }
    if (final == 'h' || final == 'l') {
        set_modes(t, final == 'h');
    } else if (t->prefix) {
        csi_private(t, final);
    } else if (strchr("ABCDEFGHIZ`aedf", final)) {
        csi_move(t, final, MAX(t->param[0], 1u));
    } else if (strchr("@PXLMSTb", final)) {
        csi_edit(t, final, MAX(t->param[0], 1u));
    } else {
        csi_other(t, final);
    }
}

static void csi_byte(Term *t, uint8_t c)
{
    if (c >= '0' && c <= '9') {
        if (!t->nr_params) {
            t->nr_params = 1;
        }
        unsigned *p = &t->param[t->nr_params - 1];
        *p = MIN(*p * 10 + (c - '0'), (unsigned)PARAM_LIMIT);
    } else if (c == ';' || c == ':') {
        t->nr_params = MAX(t->nr_params, 1u);
        if (t->nr_params < MAX_PARAMS) {
            t->nr_params++;
        }
    } else if (c >= '<' && c <= '?') {
        t->prefix = (char)c;
    } else if (c >= 0x20 && c <= 0x2f) {
        t->interm = (char)c;
    } else if (c >= 0x40 && c <= 0x7e) {
        t->state = GROUND;
        csi_final(t, (char)c);
    }
}

static void full_reset(Term *t)
{
    show_normal(t);
    reset_modes(t);
    erase_rows(t, 0, t->rows);
}

static void escape_byte(Term *t, uint8_t c)
{
    t->state = GROUND;
    switch (c) {
    case '[':
        t->state = CSI;
        t->prefix = t->interm = 0;
        t->nr_params = 0;
        memset(t->param, 0, sizeof(t->param));
        break;
    case ']':
    case 'P':
    case 'X':
    case '^':
    case '_': t->state = STRING; break;
    case '(':
    case ')':
    case '*':
    case '+':
        t->state = CHARSET;
        t->prefix = (char)c;
        break;
    case '#':
    case '%':
    case ' ': t->state = HASH; break;
    case '7': t->saved = t->cur; break;              /* DECSC */
    case '8': restore_cursor(t, &t->saved); break;   /* DECRC */
    case 'D': line_feed(t); break;                   /* IND */
    case 'E':                                        /* NEL */
        line_feed(t);
        go_to(t, 0, t->cur.y);
        break;
    case 'H': t->tabs[t->cur.x] = true; break;       /* HTS */
    case 'M': reverse_line_feed(t); break;           /* RI */
    case 'Z': t->reply(t->opaque, "\033[?6c", 5); break; /* DECID */
    case 'c': full_reset(t); break;                  /* RIS */
    default: break;
    }
}

static void screen_alignment(Term *t)
{
    for (unsigned y = 0; y < t->rows; y++) {
        for (unsigned x = 0; x < t->cols; x++) {
            row_at(t, y)[x] = (TermCell){ 'E', TERM_DEFAULT_FG, TERM_DEFAULT_BG, 0 };
        }
    }
    t->scroll_top = 0;
    t->scroll_bottom = t->rows - 1;
    go_to(t, 0, 0);
    touch(t, 0, t->rows - 1);
}

static void byte(Term *t, uint8_t c)
{
    if (t->state == STRING || t->state == STRING_ESC) {
        bool st = t->state == STRING_ESC && c == '\\';
        t->state = st || c == 7 || c == 0x18 || c == 0x1a ? GROUND : c == 27 ? STRING_ESC : STRING;
    } else if (c < 0x20 || c == 0x7f) {
        if (t->utf8_left) {
            t->utf8_left = 0;
            put_char(t, 0xfffd);
        }
        control(t, c);
    } else if (t->state == GROUND) {
        text_byte(t, c);
    } else if (t->state == ESCAPE) {
        escape_byte(t, c);
    } else if (t->state == CSI) {
        csi_byte(t, c);
    } else if (t->state == CHARSET) {
        t->state = GROUND;
        if (t->prefix == '(' || t->prefix == ')') {
            t->cur.line_drawing[t->prefix == ')'] = c == '0';
        }
    } else {
        t->state = GROUND;
        if (c == '8') { /* DECALN; the others of '#', '%' and ' ' change nothing here */
            screen_alignment(t);
        }
    }
}

void term_write(Term *t, const uint8_t *buf, size_t len)
{
    if (t->back && len) {
        term_scroll_view(t, -(int)t->back);
    }
    for (size_t i = 0; i < len; i++) {
        byte(t, buf[i]);
    }
}

/* ---- the viewer ---- */

Term *term_new(unsigned cols, unsigned rows,
               void (*reply)(void *opaque, const char *buf, size_t len), void *opaque)
{
    Term *t = xcalloc(1, sizeof(*t));
    t->reply = reply;
    t->opaque = opaque;
    t->cols = MAX(1u, MIN(cols, (unsigned)TERM_MAX_COLS));
    t->rows = MAX(1u, MIN(rows, (unsigned)TERM_MAX_ROWS));
    t->lines = t->rows + TERM_HISTORY;
    t->cells = xcalloc((size_t)t->lines * t->cols, sizeof(*t->cells));
    t->tabs = xcalloc(t->cols, sizeof(*t->tabs));
    reset_modes(t);
    blank(t, t->cells, t->lines * t->cols);
    touch(t, 0, t->rows - 1);
    return t;
}

void term_free(Term *t)
{
    if (t) {
        free(t->cells);
        free(t->normal);
        free(t->tabs);
        free(t);
    }
}

const TermCell *term_row(const Term *t, unsigned row)
{
    return line_at(t, t->top + t->lines - t->back + row);
}

bool term_cursor(const Term *t, unsigned *col, unsigned *row)
{
    *col = t->cur.x;
    *row = t->cur.y;
    return t->cursor_on && !t->back;
}

bool term_take_dirty(Term *t, unsigned *first, unsigned *last)
{
    bool dirty = t->dirty;
    *first = t->dirty_first;
    *last = t->dirty_last;
    t->dirty = false;
    return dirty;
}

void term_mark_all_dirty(Term *t)
{
    t->dirty = true;
    t->dirty_first = 0;
    t->dirty_last = t->rows - 1;
}

void term_scroll_view(Term *t, int lines)
{
    int64_t back = (int64_t)t->back + lines;
    unsigned now = (unsigned)MAX(0, MIN(back, (int64_t)t->kept));
    if (now != t->back) {
        t->back = now;
        term_mark_all_dirty(t);
    }
}

size_t term_key(const Term *t, KeyCode key, unsigned mods, char *out)
{
    return term_key_sequence(key, mods, t->app_cursor, t->newline_mode, out);
}
