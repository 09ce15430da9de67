/* SPDX-License-Identifier: GPL-2.0-or-later
 * From registers to a picture: geometry, CRTC addresses, palette, retrace timing (FreeVGA, "CRT
 * Controller Registers"). Nothing runs between updates: a screen nobody looks at costs nothing,
 * and an update looks at pages written since the last one.
 */
#include <string.h>

#include "hw/display/vga.h"

/* A guest's registers must not make the host fetch memory without limit. */
enum { LINES_MAX = 4096, PIXELS_MAX = 64 << 20 };

/* ---- CRTC ---- */

/* A CRTC number whose high bits lie in register 7. */
static unsigned overflow_bits(const Vga *s, unsigned low, unsigned bit8, unsigned bit9)
{
    uint8_t o = s->crtc[CRTC_OVERFLOW];
    return s->crtc[low] | (o >> bit8 & 1) << 8 | (o >> bit9 & 1) << 9;
}

unsigned vga_start(const Vga *s)
{
    return s->crtc[CRTC_START_HIGH] << 8 | s->crtc[CRTC_START_LOW];
}

unsigned vga_line_compare(const Vga *s)
{
    return s->crtc[CRTC_LINE_COMPARE] | (s->crtc[CRTC_OVERFLOW] >> 4 & 1) << 8 |
           (s->crtc[CRTC_MAX_SCAN] >> 6 & 1) << 9;
}

unsigned vga_row_words(const Vga *s)
{
    return s->crtc[CRTC_OFFSET] * 2;
}

unsigned vga_crtc_word(const Vga *s, unsigned counter, unsigned row_scan)
{
    uint8_t mode = s->crtc[CRTC_MODE];
    unsigned word = counter & 0xffff;
    if (s->crtc[CRTC_UNDERLINE] & 0x40) {
        word = word << 2 | word >> 14; /* double word mode */
    } else if (!(mode & 0x40)) {
        word = word << 1 | (word >> (mode & 0x20 ? 15 : 13) & 1); /* word mode */
    }
    if (!(mode & 0x01)) {
        word = (word & ~0x2000u) | (row_scan & 1) << 13; /* as the CGA and Hercules have it */
    }
    if (!(mode & 0x02)) {
        word = (word & ~0x4000u) | (row_scan & 2) << 13;
    }
    return word & 0xffff;
}

static VgaPicture picture(const Vga *s)
{
    bool vbe = s->vbe[VBE_ENABLE] & VBE_ENABLED;
    if (!(s->attr_index & ATTR_INDEX_VIDEO) ||
        (!vbe && (s->seq[SEQ_CLOCKING] & SEQ_CLOCKING_OFF))) {
        return PICTURE_NONE;
    }
    if (vbe) {
        return PICTURE_VBE;
    }
    if (!(s->gfx[GFX_MISC] & GFX_MISC_GRAPHICS)) {
        return PICTURE_TEXT;
    }
    return s->gfx[GFX_MODE] & GFX_MODE_256   ? PICTURE_256
           : s->gfx[GFX_MODE] & GFX_MODE_CGA ? PICTURE_CGA
                                             : PICTURE_PLANAR;
}

void vga_set_mode(Vga *s, VgaMode *m)
{
    *m = (VgaMode) { .picture = picture(s), .dots = 8, .dot_width = 1, .cell_height = 1,
                     .line_repeat = 1 };
    if (m->picture == PICTURE_NONE) {
        return;
    }
    if (m->picture == PICTURE_VBE) {
        m->width = s->vbe[VBE_XRES];
        m->height = MIN(s->vbe[VBE_YRES], PIXELS_MAX / m->width);
        return;
    }
    uint8_t clocking = s->seq[SEQ_CLOCKING];
    m->columns = s->crtc[CRTC_H_END] + 1;
    m->dots = m->picture != PICTURE_TEXT || (clocking & SEQ_CLOCKING_8DOT) ? 8 : 9;
    m->dot_width = clocking & SEQ_CLOCKING_HALF ? 2 : 1;
    m->cell_height = (s->crtc[CRTC_MAX_SCAN] & 0x1f) + 1;
    m->line_repeat = s->crtc[CRTC_MAX_SCAN] & 0x80 ? 2 : 1;
    m->width = m->columns * m->dots * m->dot_width;
    m->height = (int)overflow_bits(s, CRTC_V_END, 1, 6) + 1;
    if (s->crtc[CRTC_MODE] & 0x04) {
        m->height *= 2;
        m->line_repeat *= 2;
    }
    m->height = MIN(m->height, LINES_MAX);
}

/* ---- retrace ---- */

uint8_t vga_retrace(const Vga *s)
{
    enum { DISPLAY_OFF = 0x01, V_RETRACE = 0x08 };
    uint64_t hz = (s->misc >> 2 & 3) == 1 ? 28322000 : 25175000;
    unsigned dots = s->seq[SEQ_CLOCKING] & SEQ_CLOCKING_8DOT ? 8 : 9;
    if (s->seq[SEQ_CLOCKING] & SEQ_CLOCKING_HALF) {
        hz /= 2;
    }
    uint64_t line = (s->crtc[CRTC_H_TOTAL] + 5) * dots;
    uint64_t lines = MAX(overflow_bits(s, CRTC_V_TOTAL, 0, 5) + 2, 4u);
    uint64_t v_end = MIN(overflow_bits(s, CRTC_V_END, 1, 6) + 1, lines - 3);
    uint64_t sync = MIN(MAX(overflow_bits(s, CRTC_V_SYNC, 2, 7), v_end), lines - 2);
    uint64_t sync_lines = MAX((s->crtc[CRTC_V_SYNC_END] - sync) & 0x0f, 1u);
    /* The whole seconds fall away first: the product would overflow after days. */
    uint64_t now = guest_clock_ns();
    uint64_t dot = (now / 1000000000 * hz + now % 1000000000 * hz / 1000000000) % (line * lines);
    uint64_t y = dot / line, x = dot % line;
    bool off = y >= v_end || x >= (s->crtc[CRTC_H_END] + 1u) * dots;
    return (off ? DISPLAY_OFF : 0) | (y >= sync && y < sync + sync_lines ? V_RETRACE : 0);
}

/* ---- palette ---- */

static uint32_t dac_color(const Vga *s, unsigned n)
{
    const uint8_t *c = &s->dac[3 * (n & s->dac_mask)];
    if (s->vbe[VBE_ENABLE] & VBE_8BIT_DAC) {
        return (uint32_t)c[0] << 16 | c[1] << 8 | c[2];
    }
    uint32_t rgb = 0;
    for (unsigned i = 0; i < 3; i++) {
        rgb = rgb << 8 | (c[i] & 0x3f) << 2 | (c[i] >> 4 & 3);
    }
    return rgb;
}

static void build_palette(Vga *s)
{
    for (unsigned i = 0; i < 256; i++) {
        s->rgb[i] = dac_color(s, i);
    }
    for (unsigned i = 0; i < 16; i++) {
        unsigned select = s->attr[ATTR_SELECT];
        unsigned n = s->attr[i & s->attr[ATTR_PLANES]] & 0x3f;
        if (s->attr[ATTR_MODE] & ATTR_MODE_P54S) {
            n = (n & 0x0f) | (select & 3) << 4;
        }
        s->rgb16[i] = s->rgb[(n | (select & 0x0c) << 4) & 0xff];
    }
}

/* ---- updates ---- */

static void draw_nothing(Vga *s)
{
    pixman_image_t *surface = console_surface(s->console);
    int width = pixman_image_get_width(surface), height = pixman_image_get_height(surface);
    for (int y = 0; y < height; y++) {
        memset(vga_surface_line(surface, y), 0, (size_t)width * 4);
    }
    console_damage(s->console, 0, 0, width, height);
}

static void vga_update(void *opaque)
{
    Vga *s = opaque;
    memory_sync_coalesced();
    bool all = s->redraw;
    if (all) {
        VgaMode mode;
        vga_set_mode(s, &mode);
        s->shown = mode;
        s->redraw = false;
        build_palette(s);
        if (mode.picture == PICTURE_NONE) {
            draw_nothing(s);
        } else {
            console_resize(s->console, mode.width, mode.height);
        }
    }
    pixman_image_t *surface = console_surface(s->console);
    switch (s->shown.picture) {
    case PICTURE_NONE: break;
    case PICTURE_TEXT: vga_draw_text(s, surface, all); break;
    case PICTURE_VBE: vga_draw_vbe(s, surface, all); break;
    default: vga_draw_lines(s, surface, all);
    }
}

static void vga_invalidate(void *opaque)
{
    Vga *s = opaque;
    s->redraw = true;
}

const ConsoleOps vga_console_ops = { .update = vga_update, .invalidate = vga_invalidate };
