/* SPDX-License-Identifier: GPL-2.0-or-later
 * Text consoles; see vc.h. A console is a terminal (term.c) and a picture of it; what has
 * changed is drawn when somebody looks (console_update), not when it is written.
 */
#include "ui/vc.h"

#include <stdlib.h>

#include "chardev/vc.h"
#include "ui/font.h"
#include "ui/term.h"
#include "util/alloc.h"
#include "util/main_loop.h"

enum { DEFAULT_COLS = 80, DEFAULT_ROWS = 24 };

typedef struct Vc {
    Chardev *chr;
    Term *term;
    Console *console;
    unsigned cols, rows;
    BottomHalf reply_bh; /* the terminal's own answers */
    char reply[256];
    size_t reply_len;
    List node;
} Vc;

static List vcs = LIST_INIT(vcs);

static Vc *vc_of(const Console *c)
{
    list_for_each(pos, &vcs)
    {
        Vc *vc = container_of(pos, Vc, node);
        if (vc->console == c) {
            return vc;
        }
    }
    return NULL;
}

/* ---- drawing ---- */

/* The PC's 16 colours in ANSI order, a 6x6x6 cube, 24 greys. */
static uint32_t rgb(unsigned colour)
{
    static const uint32_t ansi[16] = { 0x000000, 0xaa0000, 0x00aa00, 0xaa5500,
                                       0x0000aa, 0xaa00aa, 0x00aaaa, 0xaaaaaa,
                                       0x555555, 0xff5555, 0x55ff55, 0xffff55,
                                       0x5555ff, 0xff55ff, 0x55ffff, 0xffffff };
    static const uint8_t level[6] = { 0, 95, 135, 175, 215, 255 };
    if (colour < 16) {
        return ansi[colour];
    }
    if (colour >= 232) {
        return (8 + (colour - 232) * 10) * 0x010101u;
    }
    colour -= 16;
    return (uint32_t)level[colour / 36] << 16 | (uint32_t)level[colour / 6 % 6] << 8 |
           level[colour % 6];
}

static void cell_colours(const TermCell *cell, bool cursor, uint32_t *fg, uint32_t *bg)
{
    unsigned f = cell->fg == TERM_DEFAULT_FG ? 7 : cell->fg;
    unsigned b = cell->bg == TERM_DEFAULT_BG ? 0 : cell->bg;
    if ((cell->attr & TERM_BOLD) && f < 8) {
        f += 8;
    }
    bool inverse = !!(cell->attr & TERM_INVERSE) != cursor;
    *fg = rgb(inverse ? b : f);
    *bg = rgb(inverse ? f : b);
    if (cell->attr & TERM_HIDDEN) {
        *fg = *bg;
    }
}

static void draw_cell(uint32_t *dst, size_t stride, const TermCell *cell, bool cursor)
{
    uint32_t fg, bg;
    cell_colours(cell, cursor, &fg, &bg);
    const uint8_t *glyph = font_glyph(cell->ch);
    for (unsigned y = 0; y < FONT_HEIGHT; y++, dst += stride) {
        bool line = (cell->attr & TERM_UNDERLINE) && y == FONT_HEIGHT - 2;
        uint8_t bits = line ? 0xff : glyph[y];
        for (unsigned x = 0; x < FONT_WIDTH; x++) {
            dst[x] = bits & (0x80 >> x) ? fg : bg;
        }
    }
}

static void draw_row(Vc *vc, unsigned row, unsigned cursor_col)
{
    pixman_image_t *surface = console_surface(vc->console);
    size_t stride = (size_t)pixman_image_get_stride(surface) / 4;
    uint32_t *dst = pixman_image_get_data(surface) + row * FONT_HEIGHT * stride;
    const TermCell *cells = term_row(vc->term, row);
    for (unsigned x = 0; x < vc->cols; x++) {
        draw_cell(dst + (size_t)x * FONT_WIDTH, stride, &cells[x], x == cursor_col);
    }
}

static void vc_update(void *opaque)
{
    Vc *vc = opaque;
    unsigned first, last, col, row;
    if (!term_take_dirty(vc->term, &first, &last)) {
        return;
    }
    bool cursor = term_cursor(vc->term, &col, &row);
    for (unsigned y = first; y <= last; y++) {
        draw_row(vc, y, cursor && y == row ? col : UINT32_MAX);
    }
    console_damage(vc->console, 0, (int)(first * FONT_HEIGHT), (int)(vc->cols * FONT_WIDTH),
                   (int)((last - first + 1) * FONT_HEIGHT));
}

static void vc_invalidate(void *opaque)
{
    term_mark_all_dirty(((Vc *)opaque)->term);
}

static const ConsoleOps console_ops = { vc_update, vc_invalidate };

/* Tells those who look that there is something to draw. */
static void announce(Vc *vc)
{
    unsigned col, row;
    term_cursor(vc->term, &col, &row);
    console_damage(vc->console, (int)(col * FONT_WIDTH), (int)(row * FONT_HEIGHT),
                   FONT_WIDTH, FONT_HEIGHT);
}

/* ---- the chardev's side ---- */

/* From a bottom half: the front end is still busy with what it wrote. */
static void send_reply(void *opaque)
{
    Vc *vc = opaque;
    size_t len = vc->reply_len;
    vc->reply_len = 0;
    vc_input(vc->chr, (const uint8_t *)vc->reply, len);
}

static void on_reply(void *opaque, const char *buf, size_t len)
{
    Vc *vc = opaque;
    if (len <=
        sizeof(vc->reply) - vc->reply_len) { /* a guest that asks and asks gets no more */
        memcpy(vc->reply + vc->reply_len, buf, len);
        vc->reply_len += len;
        bh_schedule(&vc->reply_bh);
    }
}

static void *vc_open(Chardev *chr, const char *label, unsigned cols, unsigned rows,
                     unsigned width, unsigned height)
{
    Vc *vc = xcalloc(1, sizeof(*vc));
    vc->chr = chr;
    vc->cols = cols ? cols : width ? MAX(1u, width / FONT_WIDTH) : DEFAULT_COLS;
    vc->rows = rows ? rows : height ? MAX(1u, height / FONT_HEIGHT) : DEFAULT_ROWS;
    vc->cols = MIN(vc->cols, (unsigned)TERM_MAX_COLS);
    vc->rows = MIN(vc->rows, (unsigned)TERM_MAX_ROWS);
    vc->term = term_new(vc->cols, vc->rows, on_reply, vc);
    vc->console = console_new(label, &console_ops, vc);
    console_resize(vc->console, (int)(vc->cols * FONT_WIDTH),
                   (int)(vc->rows * FONT_HEIGHT));
    bh_init(&vc->reply_bh, send_reply, vc);
    list_insert(&vcs, &vc->node);
    return vc;
}

static void vc_output(void *opaque, const uint8_t *buf, size_t len)
{
    Vc *vc = opaque;
    term_write(vc->term, buf, len);
    announce(vc);
}

static void vc_close(void *opaque)
{
    Vc *vc = opaque;
    list_remove(&vc->node);
    bh_cancel(&vc->reply_bh);
    console_free(vc->console);
    term_free(vc->term);
    free(vc);
}

static const VcOps vc_ops = { vc_open, vc_output, vc_close };

/* ---- the window's side ---- */

void vc_consoles_start(const char *font_rom)
{
    font_load(font_rom);
    vc_register(&vc_ops);
}

void vc_consoles_stop(void)
{
    vc_register(NULL);
}

bool vc_is_console(const Console *c)
{
    return vc_of(c) != NULL;
}

static void type(Vc *vc, const char *buf, size_t len)
{
    term_scroll_view(vc->term, INT32_MIN);
    announce(vc);
    vc_input(vc->chr, (const uint8_t *)buf, len);
}

void vc_type(Console *c, const char *buf, size_t len)
{
    Vc *vc = vc_of(c);
    if (vc) {
        type(vc, buf, len);
    }
}

void vc_key(Console *c, KeyCode key, unsigned mods)
{
    Vc *vc = vc_of(c);
    char out[TERM_KEY_MAX];
    if (!vc) {
        return;
    }
    if (mods == MOD_SHIFT && (key == KEY_PGUP || key == KEY_PGDN)) {
        int page = (int)MAX(1u, vc->rows - 1);
        vc_scroll(c, key == KEY_PGUP ? page : -page);
        return;
    }
    size_t len = term_key(vc->term, key, mods, out);
    if (len) {
        type(vc, out, len);
    }
}

void vc_scroll(Console *c, int lines)
{
    Vc *vc = vc_of(c);
    if (vc) {
        term_scroll_view(vc->term, lines);
        announce(vc);
    }
}
