/* SPDX-License-Identifier: GPL-2.0-or-later
 * Graphics: planar 16 colours, CGA pixels, 256 colours (FreeVGA, "VGA Sequencer Operation") and
 * the linear modes of the Bochs display interface. Only scan lines whose pages were written since
 * the last update are drawn.
 */
#include <string.h>

#include "hw/display/vga.h"

enum { LONG_BITS = 8 * sizeof(long), PLANE_WORDS = 0x10000, MAX_WORDS = 256 + 1 };

/* ---- what changed ---- */

static void collect(Vga *s, uint64_t offset, uint64_t len)
{
    uint64_t first = ROUND_DOWN(offset, PAGE_SIZE);
    uint64_t pages = (ROUND_UP(offset + len, PAGE_SIZE) - first) >> PAGE_BITS;
    memset(s->dirty, 0, ROUND_UP(pages, LONG_BITS) / 8);
    ram_collect_dirty(s->vram, first, offset + len - first, DIRTY_DISPLAY, s->dirty);
}

/* first: byte of video memory where the bitmap starts. */
static bool is_dirty(const Vga *s, uint64_t first, uint64_t offset, uint64_t len)
{
    uint64_t page = (offset >> PAGE_BITS) - (first >> PAGE_BITS);
    uint64_t end = ((offset + len - 1) >> PAGE_BITS) - (first >> PAGE_BITS);
    for (; page <= end; page++) {
        if (s->dirty[page / LONG_BITS] >> page % LONG_BITS & 1) {
            return true;
        }
    }
    return false;
}

/* Damage of scan lines that follow each other is told at once. */
typedef struct Damage {
    Console *console;
    int width, y, nr;
} Damage;

static void damage_flush(Damage *d)
{
    if (d->nr) {
        console_damage(d->console, 0, d->y, d->width, d->nr);
    }
    d->nr = 0;
}

static void damage_line(Damage *d, int y)
{
    if (!d->nr || d->y + d->nr != y) {
        damage_flush(d);
        d->y = y;
    }
    d->nr++;
}

/* ---- words to dots ---- */

/* Bit 7 - i of a byte to byte i. */
static uint64_t spread(uint8_t byte)
{
    uint64_t bits = (byte * 0x0101010101010101ull) & 0x0102040810204080ull;
    return (bits + 0x7f7f7f7f7f7f7f7full) >> 7 & 0x0101010101010101ull;
}

static void planar_dots(uint32_t word, uint8_t out[8])
{
    uint64_t dots = spread(word & 0xff) | spread(word >> 8 & 0xff) << 1 |
                    spread(word >> 16 & 0xff) << 2 | spread(word >> 24) << 3;
    memcpy(out, &dots, 8);
}

/* Two bits a pixel: four from plane 0 (and 2 for the upper bits), four from plane 1 (and 3). */
static void cga_dots(uint32_t word, uint8_t out[8])
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned shift = 6 - 2 * (i & 3), half = i >> 2 & 1;
        unsigned low = word >> 8 * half, high = word >> (16 + 8 * half);
        out[i] = (low >> shift & 3) | (high >> shift & 3) << 2;
    }
}

/* A word is four pixels, each two dots wide. */
static void dots_256(uint32_t word, uint8_t out[8])
{
    for (unsigned i = 0; i < 8; i++) {
        out[i] = word >> 8 * (i / 2) & 0xff;
    }
}

/* ---- VGA modes ---- */

typedef struct Line {
    unsigned counter; /* CRTC character counter at its left end */
    unsigned row_scan;
    int pan; /* dots */
} Line;

static Line find_line(const Vga *s, int y)
{
    const VgaMode *m = &s->shown;
    int split = (int)vga_line_compare(s) + 1;
    bool below = y >= split;
    uint8_t preset = s->crtc[CRTC_PRESET];
    int pan = s->attr[ATTR_PANNING] & 7;
    unsigned scan = (below ? y - split : y) / m->line_repeat;
    unsigned base = 0;
    if (!below) {
        scan += preset & 0x1f;
        base = vga_start(s) + (preset >> 5 & 3);
    } else if (s->attr[ATTR_MODE] & ATTR_MODE_SPLIT) {
        pan = 0;
    }
    return (Line) { .counter = base + scan / m->cell_height * vga_row_words(s),
                    .row_scan = scan % m->cell_height, .pan = pan };
}

static unsigned line_word(const Vga *s, const Line *line, unsigned col)
{
    unsigned counter = line->counter + col;
    return s->shown.picture == PICTURE_256 ? counter % PLANE_WORDS
                                           : vga_crtc_word(s, counter, line->row_scan);
}

static void draw_line(const Vga *s, const Line *line, uint32_t *out)
{
    const VgaMode *m = &s->shown;
    const uint32_t *palette = m->picture == PICTURE_256 ? s->rgb : s->rgb16;
    uint8_t dots[8 * MAX_WORDS];
    int words = m->columns + 1;
    for (int col = 0; col < words; col++) {
        uint32_t word;
        memcpy(&word, s->vram->host + 4 * line_word(s, line, col), 4);
        switch (m->picture) {
        case PICTURE_PLANAR: planar_dots(word, &dots[8 * col]); break;
        case PICTURE_CGA: cga_dots(word, &dots[8 * col]); break;
        default: dots_256(word, &dots[8 * col]);
        }
    }
    for (int x = 0; x < m->width; x++) {
        /* cppcheck-suppress uninitvar; the loop above runs at least once */
        out[x] = palette[dots[x / m->dot_width + line->pan]];
    }
}

static bool line_is_dirty(const Vga *s, const Line *line)
{
    unsigned first = line_word(s, line, 0), last = line_word(s, line, s->shown.columns);
    /* The counter wraps within the line: it lies at both ends of the plane. */
    if (last < first) {
        return is_dirty(s, 0, 4 * first, 4 * (PLANE_WORDS - first)) ||
               is_dirty(s, 0, 0, 4 * (last + 1));
    }
    return is_dirty(s, 0, 4 * first, 4 * (last - first + 1));
}

void vga_draw_lines(Vga *s, pixman_image_t *surface, bool all)
{
    const VgaMode *m = &s->shown;
    Damage damage = { .console = s->console, .width = m->width };
    collect(s, 0, 4 * PLANE_WORDS);
    unsigned drawn = 0; /* word the line above was drawn from, if it was */
    bool above = false;
    for (int y = 0; y < m->height; y++) {
        Line line = find_line(s, y);
        if (!all && !line_is_dirty(s, &line)) {
            above = false;
            continue;
        }
        unsigned word = line_word(s, &line, 0);
        uint32_t *out = vga_surface_line(surface, y);
        if (above && word == drawn) {
            memcpy(out, vga_surface_line(surface, y - 1), (size_t)m->width * 4);
        } else {
            draw_line(s, &line, out);
        }
        above = (int)vga_line_compare(s) != y; /* panning may end there */
        drawn = word;
        damage_line(&damage, y);
    }
    damage_flush(&damage);
}

/* ---- VBE modes ---- */

static uint32_t from_565(uint16_t v)
{
    uint32_t r = v >> 11, g = v >> 5 & 63, b = v & 31;
    return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}

static uint32_t from_555(uint16_t v)
{
    uint32_t r = v >> 10 & 31, g = v >> 5 & 31, b = v & 31;
    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}

static void draw_packed(const Vga *s, const uint8_t *in, uint32_t *out, int width)
{
    switch (s->vbe[VBE_BPP]) {
    case 8:
        for (int x = 0; x < width; x++) {
            out[x] = s->rgb[in[x]];
        }
        break;
    case 15:
        for (int x = 0; x < width; x++) {
            out[x] = from_555(pci_get16(in + 2 * x));
        }
        break;
    case 16:
        for (int x = 0; x < width; x++) {
            out[x] = from_565(pci_get16(in + 2 * x));
        }
        break;
    case 24:
        for (int x = 0; x < width; x++) {
            out[x] = in[3 * x] | in[3 * x + 1] << 8 | (uint32_t)in[3 * x + 2] << 16;
        }
        break;
    default: memcpy(out, in, (size_t)width * 4);
    }
}

static void draw_vbe_planar(const Vga *s, const uint8_t *in, uint32_t *out, int width)
{
    for (int x = 0; x < width; x += 8) {
        uint32_t word;
        uint8_t dots[8];
        memcpy(&word, in + x / 2, 4);
        planar_dots(word, dots);
        for (int i = 0; i < 8; i++) {
            out[x + i] = s->rgb16[dots[i]];
        }
    }
}

void vga_draw_vbe(Vga *s, pixman_image_t *surface, bool all)
{
    int width = s->shown.width, height = s->shown.height;
    unsigned bpp = s->vbe[VBE_BPP], stride = vga_vbe_stride(s);
    uint64_t pixel_bits = bpp == 15 ? 16 : bpp;
    uint64_t len = (uint64_t)width * pixel_bits / 8;
    /* vga_vbe_check made it fit; four-plane words are whole, whatever the offset says. */
    uint64_t start = (uint64_t)s->vbe[VBE_Y_OFFSET] * stride +
                     ROUND_DOWN(s->vbe[VBE_X_OFFSET], bpp == 4 ? 8 : 1) * pixel_bits / 8;
    Damage damage = { .console = s->console, .width = width };
    collect(s, start, (uint64_t)(height - 1) * stride + len);
    for (int y = 0; y < height; y++) {
        uint64_t offset = start + (uint64_t)y * stride;
        if (!all && !is_dirty(s, start, offset, len)) {
            continue;
        }
        const uint8_t *in = s->vram->host + offset;
        if (bpp == 4) {
            draw_vbe_planar(s, in, vga_surface_line(surface, y), width);
        } else {
            draw_packed(s, in, vga_surface_line(surface, y), width);
        }
        damage_line(&damage, y);
    }
    damage_flush(&damage);
}
