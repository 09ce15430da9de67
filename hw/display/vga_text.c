/* SPDX-License-Identifier: GPL-2.0-or-later
 * Text: cells of a character and an attribute, fonts in plane 2 (FreeVGA, "VGA Text Mode
 * Operation"). Each cell remembers what it shows (code, attribute, cursor, blink phase), and is
 * drawn when that changes; so scrolling by the start address costs what it changes.
 */
#include <stdlib.h>
#include <string.h>

#include "hw/display/vga.h"
#include "util/alloc.h"

enum { CELL_CURSOR = 1 << 16, CELL_HIDDEN = 1 << 17 };
enum { FRAME_NS = 14268000, CURSOR_FRAMES = 16, BLINK_FRAMES = 32, FONT_BYTES = 256 * 32 };

/* A stretch of scan lines that starts with a CRTC base: the screen, or each half of a split. */
typedef struct Part {
    int y, y_end;       /* scan lines */
    unsigned counter;   /* CRTC character counter of the first row */
    int skip;           /* row scan of the first line */
    int pan;            /* dots that are shifted out at the left */
    int row;            /* index of its first row of cells */
} Part;

/* ---- fonts ---- */

/* Character maps A and B (SEQ_FONT), each at a multiple of 8 KiB of plane 2. */
static unsigned font_offset(const Vga *s, unsigned which)
{
    uint8_t v = s->seq[SEQ_FONT];
    unsigned n = which ? (v >> 2 & 3) | (v >> 3 & 4) : (v & 3) | (v >> 2 & 4);
    return (n & 3) * 0x4000 + (n >> 2) * 0x2000;
}

/* Copies the fonts that attribute bit 3 selects: [1] is map A; returns whether they changed. */
static bool fetch_fonts(Vga *s)
{
    bool changed = false;
    for (unsigned which = 0; which < 2; which++) {
        const uint8_t *plane = s->vram->host + 4 * font_offset(s, which) + 2;
        for (unsigned i = 0; i < FONT_BYTES; i++) {
            changed |= s->font[which][i] != plane[4 * i];
            s->font[which][i] = plane[4 * i];
        }
    }
    return changed;
}

/* ---- cells ---- */

static uint32_t cell_at(const Vga *s, unsigned counter, bool cursor_on, bool blink_off)
{
    const uint8_t *word = s->vram->host + 4 * vga_crtc_word(s, counter, 0);
    uint32_t cell = word[0] | word[1] << 8;
    unsigned cursor = s->crtc[CRTC_CURSOR_HIGH] << 8 | s->crtc[CRTC_CURSOR_LOW];
    if (cursor_on && (counter & 0xffff) == cursor) {
        cell |= CELL_CURSOR;
    }
    if (blink_off && (word[1] & 0x80)) {
        cell |= CELL_HIDDEN;
    }
    return cell;
}

/* The dots of one line of a cell; bit 8 is the leftmost of nine. */
static unsigned cell_dots(const Vga *s, uint32_t cell, int line)
{
    uint8_t code = cell & 0xff, attr = cell >> 8 & 0xff;
    unsigned dots = line < 32 ? s->font[attr >> 3 & 1][code * 32 + line] << 1 : 0;
    /* Line graphics reach into the ninth dot. */
    if ((s->attr[ATTR_MODE] & ATTR_MODE_LINE) && code >= 0xc0 && code <= 0xdf) {
        dots |= dots >> 1 & 1;
    }
    if (cell & CELL_HIDDEN) {
        dots = 0;
    }
    if ((s->attr[ATTR_MODE] & ATTR_MODE_MONO) && (attr & 0x77) == 0x01 &&
        line == (s->crtc[CRTC_UNDERLINE] & 0x1f)) {
        dots = 0x1ff;
    }
    uint8_t start = s->crtc[CRTC_CURSOR_START] & 0x1f, end = s->crtc[CRTC_CURSOR_END] & 0x1f;
    if ((cell & CELL_CURSOR) && line >= start && line <= end) {
        dots = 0x1ff;
    }
    return dots;
}

static void draw_cell(const Vga *s, pixman_image_t *surface, uint32_t cell, const Part *p, int row,
                      int col)
{
    const VgaMode *m = &s->shown;
    uint8_t attr = cell >> 8 & 0xff;
    uint32_t fg = s->rgb16[attr & 15];
    uint32_t bg = s->rgb16[s->attr[ATTR_MODE] & ATTR_MODE_BLINK ? attr >> 4 & 7 : attr >> 4];
    int width = m->dots * m->dot_width, x0 = col * width - p->pan * m->dot_width;
    int cell_lines = m->cell_height * m->line_repeat;
    int y0 = p->y + row * cell_lines - p->skip * m->line_repeat;
    for (int line = 0; line < cell_lines; line++) {
        int y = y0 + line;
        if (y < p->y || y >= p->y_end) {
            continue;
        }
        unsigned dots = cell_dots(s, cell, line / m->line_repeat);
        uint32_t *out = vga_surface_line(surface, y);
        for (int i = 0; i < width; i++) {
            int x = x0 + i;
            if (x >= 0 && x < m->width) {
                out[x] = dots >> (8 - i / m->dot_width) & 1 ? fg : bg;
            }
        }
    }
}

/* ---- rows ---- */

typedef struct Phase {
    bool cursor_on, blink_off;
} Phase;

/* Draws the cells of a row that changed; damages from the first to the last. */
static void draw_row(Vga *s, pixman_image_t *surface, const Part *p, int row, const Phase *phase,
                     bool all)
{
    const VgaMode *m = &s->shown;
    int columns = m->columns + (p->pan ? 1 : 0), first = columns, last = -1;
    uint32_t *shown = &s->cells[(size_t)(p->row + row) * (m->columns + 1)];
    unsigned counter = p->counter + row * vga_row_words(s);
    for (int col = 0; col < columns; col++) {
        uint32_t cell = cell_at(s, counter + col, phase->cursor_on, phase->blink_off);
        if (all || shown[col] != cell) {
            shown[col] = cell;
            draw_cell(s, surface, cell, p, row, col);
            first = MIN(first, col);
            last = col;
        }
    }
    if (last >= 0) {
        int width = m->dots * m->dot_width, lines = m->cell_height * m->line_repeat;
        int y = p->y + row * lines - p->skip * m->line_repeat;
        int top = MAX(y, p->y), bottom = MIN(y + lines, p->y_end);
        console_damage(s->console, first * width - p->pan * m->dot_width, top,
                       (last - first + 1) * width, bottom - top);
    }
}

static int part_rows(const Vga *s, const Part *p)
{
    int lines = s->shown.cell_height * s->shown.line_repeat;
    return (p->y_end - p->y + p->skip * s->shown.line_repeat + lines - 1) / lines;
}

static int panning(const Vga *s)
{
    int pan = s->attr[ATTR_PANNING];
    return s->shown.dots == 9 ? (pan >= 8 ? 0 : pan + 1) : pan & 7;
}

/* One part, or two where line compare splits the screen. */
static int find_parts(const Vga *s, Part part[2])
{
    const VgaMode *m = &s->shown;
    int split = MIN((int)vga_line_compare(s) + 1, m->height);
    uint8_t preset = s->crtc[CRTC_PRESET];
    part[0] = (Part) { .y_end = split, .counter = vga_start(s) + (preset >> 5 & 3),
                       .skip = MIN(preset & 0x1f, m->cell_height - 1), .pan = panning(s) };
    if (split >= m->height) {
        return 1;
    }
    part[1] = (Part) { .y = split, .y_end = m->height, .row = part_rows(s, &part[0]),
                       .pan = s->attr[ATTR_MODE] & ATTR_MODE_SPLIT ? 0 : part[0].pan };
    return 2;
}

void vga_draw_text(Vga *s, pixman_image_t *surface, bool all)
{
    Part part[2];
    int nr = find_parts(s, part);
    size_t need = (size_t)(part[nr - 1].row + part_rows(s, &part[nr - 1])) *
                  (s->shown.columns + 1);
    if (need > s->nr_cells) {
        s->cells = xrealloc(s->cells, need * sizeof(*s->cells));
        s->nr_cells = need;
        all = true;
    }
    if (ram_collect_dirty(s->vram, 0, 4 * 0x10000, DIRTY_DISPLAY, NULL) || all) {
        all |= fetch_fonts(s);
    }
    uint64_t frame = guest_clock_ns() / FRAME_NS;
    Phase phase = {
        .cursor_on = !(s->crtc[CRTC_CURSOR_START] & 0x20) && !(frame / CURSOR_FRAMES & 1),
        .blink_off = (s->attr[ATTR_MODE] & ATTR_MODE_BLINK) && (frame / BLINK_FRAMES & 1),
    };
    for (int i = 0; i < nr; i++) {
        for (int row = 0; row < part_rows(s, &part[i]); row++) {
            draw_row(s, surface, &part[i], row, &phase, all);
        }
    }
}
