/* SPDX-License-Identifier: GPL-2.0-or-later
 * The VGA's I/O ports, 3B4h to 3DAh (FreeVGA, "VGA I/O Port Index").
 */
#include "hw/display/vga.h"

enum { /* offsets from 3C0h */
    PORT_ATTR = 0x00, PORT_ATTR_READ = 0x01, PORT_MISC = 0x02, PORT_ENABLE = 0x03,
    PORT_SEQ_INDEX = 0x04, PORT_SEQ = 0x05, PORT_DAC_MASK = 0x06, PORT_DAC_READ = 0x07,
    PORT_DAC_WRITE = 0x08, PORT_DAC = 0x09, PORT_FEATURE = 0x0a, PORT_MISC_READ = 0x0c,
    PORT_GFX_INDEX = 0x0e, PORT_GFX = 0x0f, PORT_CRTC_INDEX = 0x14, PORT_CRTC = 0x15,
    PORT_STATUS = 0x1a
};
enum { MISC_COLOR = 0x01, STATUS0_SENSE = 0x10 };
enum { CRTC_PROTECT = 0x80, CRTC_LATCH = 0x22, CRTC_FLIP_FLOP = 0x24 };

static const uint8_t seq_mask[VGA_NR_SEQ] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0 };
static const uint8_t gfx_mask[VGA_NR_GFX] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f,
                                              0xff };
static const uint8_t attr_mask[VGA_NR_ATTR] = {
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f,
};

static void set_seq(Vga *s, uint8_t val)
{
    unsigned n = s->seq_index;
    val &= seq_mask[n];
    s->redraw |= s->seq[n] != val && (n == SEQ_CLOCKING || n == SEQ_FONT);
    s->seq[n] = val;
    vga_update_window(s);
}

static void set_gfx(Vga *s, uint8_t val)
{
    unsigned n = s->gfx_index;
    if (n >= VGA_NR_GFX) {
        return;
    }
    val &= gfx_mask[n];
    s->redraw |= s->gfx[n] != val && (n == GFX_MODE || n == GFX_MISC);
    s->gfx[n] = val;
    vga_update_window(s);
}

static void write_attr(Vga *s, uint8_t val)
{
    s->attr_data = !s->attr_data;
    if (s->attr_data) {
        val &= 0x3f;
        s->redraw |= (s->attr_index ^ val) & ATTR_INDEX_VIDEO;
        s->attr_index = val;
        return;
    }
    unsigned n = s->attr_index & 0x1f;
    if (n < VGA_NR_ATTR) {
        s->redraw |= s->attr[n] != (val & attr_mask[n]);
        s->attr[n] = val & attr_mask[n];
    }
}

static uint8_t read_crtc(const Vga *s)
{
    switch (s->crtc_index) {
    case 0 ... VGA_NR_CRTC - 1: return s->crtc[s->crtc_index];
    case CRTC_LATCH: return (uint8_t)(s->latch >> 8 * (s->gfx[GFX_READ_MAP] & 3));
    case CRTC_FLIP_FLOP: return s->attr_data ? 0x80 : 0;
    default: return 0;
    }
}

static void write_crtc(Vga *s, uint8_t val)
{
    unsigned n = s->crtc_index;
    if (n >= VGA_NR_CRTC) {
        return;
    }
    /* Protection leaves bit 8 of the line compare writable. */
    if (n <= CRTC_OVERFLOW && (s->crtc[CRTC_V_SYNC_END] & CRTC_PROTECT)) {
        if (n != CRTC_OVERFLOW) {
            return;
        }
        val = (s->crtc[n] & ~0x10) | (val & 0x10);
    }
    /* The text cursor is part of its cell's content. */
    bool cursor = n == CRTC_CURSOR_START || n == CRTC_CURSOR_END || n == CRTC_CURSOR_HIGH ||
                  n == CRTC_CURSOR_LOW;
    s->redraw |= s->crtc[n] != val && !cursor;
    s->crtc[n] = val;
}

/* ---- DAC ---- */

static uint8_t read_dac(Vga *s)
{
    uint8_t val = s->dac[3 * s->dac_index + s->dac_part];
    if (++s->dac_part == 3) {
        s->dac_part = 0;
        s->dac_index++;
    }
    return val;
}

static void write_dac(Vga *s, uint8_t val)
{
    val &= s->vbe[VBE_ENABLE] & VBE_8BIT_DAC ? 0xff : 0x3f;
    if (s->dac_part < 2) {
        s->dac_latch[s->dac_part++] = val;
        return;
    }
    uint8_t *entry = &s->dac[3 * s->dac_index];
    s->redraw |= entry[0] != s->dac_latch[0] || entry[1] != s->dac_latch[1] || entry[2] != val;
    entry[0] = s->dac_latch[0];
    entry[1] = s->dac_latch[1];
    entry[2] = val;
    s->dac_part = 0;
    s->dac_index++;
}

/* ---- ports ---- */

uint8_t vga_port_read(Vga *s, unsigned offset)
{
    switch (offset) {
    case PORT_ATTR: return s->attr_data ? 0 : s->attr_index;
    case PORT_ATTR_READ:
        return (s->attr_index & 0x1f) < VGA_NR_ATTR ? s->attr[s->attr_index & 0x1f] : 0;
    case PORT_MISC: return STATUS0_SENSE;
    case PORT_ENABLE: return s->enable;
    case PORT_SEQ_INDEX: return s->seq_index;
    case PORT_SEQ: return s->seq[s->seq_index];
    case PORT_DAC_MASK: return s->dac_mask;
    case PORT_DAC_READ: return s->dac_reading ? 3 : 0;
    case PORT_DAC_WRITE: return s->dac_index;
    case PORT_DAC: return read_dac(s);
    case PORT_FEATURE: return s->feature;
    case PORT_MISC_READ: return s->misc;
    case PORT_GFX_INDEX: return s->gfx_index;
    case PORT_GFX: return s->gfx_index < VGA_NR_GFX ? s->gfx[s->gfx_index] : 0;
    case PORT_CRTC_INDEX: return s->crtc_index;
    case PORT_CRTC: return read_crtc(s);
    case PORT_STATUS:
        s->attr_data = false;
        return vga_retrace(s);
    default: return 0xff;
    }
}

void vga_port_write(Vga *s, unsigned offset, uint8_t val)
{
    switch (offset) {
    case PORT_ATTR: write_attr(s, val); break;
    case PORT_MISC:
        s->misc = val & ~0x10;
        vga_update_window(s);
        break;
    case PORT_ENABLE: s->enable = val & 1; break;
    case PORT_SEQ_INDEX: s->seq_index = val & 7; break;
    case PORT_SEQ: set_seq(s, val); break;
    case PORT_DAC_MASK:
        s->redraw |= s->dac_mask != val;
        s->dac_mask = val;
        break;
    case PORT_DAC_READ:
    case PORT_DAC_WRITE:
        s->dac_index = val;
        s->dac_part = 0;
        s->dac_reading = offset == PORT_DAC_READ;
        break;
    case PORT_DAC: write_dac(s, val); break;
    case PORT_GFX_INDEX: s->gfx_index = val & 0x0f; break;
    case PORT_GFX: set_gfx(s, val); break;
    case PORT_CRTC_INDEX: s->crtc_index = val; break;
    case PORT_CRTC: write_crtc(s, val); break;
    case PORT_STATUS: s->feature = val & 0x10; break;
    default: break;
    }
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)size;
    return vga_port_read(opaque, (unsigned)offset);
}

static void ports_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)size;
    vga_port_write(opaque, (unsigned)offset, (uint8_t)val);
}

/* The CRTC answers at 3D4h or at 3B4h, as bit 0 of the miscellaneous register has it. */
static uint8_t moving_read(Vga *s, unsigned offset, bool color)
{
    return (s->misc & MISC_COLOR) == color ? vga_port_read(s, offset) : 0xff;
}

static void moving_write(Vga *s, unsigned offset, bool color, uint64_t val)
{
    if ((s->misc & MISC_COLOR) == color) {
        vga_port_write(s, offset, (uint8_t)val);
    }
}

#define MOVING_PORTS(name, base, color)                                                            \
    static uint64_t name##_read(void *opaque, uint64_t offset, unsigned size)                      \
    {                                                                                              \
        (void)size;                                                                                \
        return moving_read(opaque, (base) + (unsigned)offset, color);                              \
    }                                                                                              \
    static void name##_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)           \
    {                                                                                              \
        (void)size;                                                                                \
        moving_write(opaque, (base) + (unsigned)offset, color, val);                               \
    }                                                                                              \
    const RegionOps vga_##name##_ops = { name##_read, name##_write, .sizes = 1 }

MOVING_PORTS(crtc_mono, PORT_CRTC_INDEX, false);
MOVING_PORTS(status_mono, PORT_STATUS, false);
MOVING_PORTS(crtc_color, PORT_CRTC_INDEX, true);
MOVING_PORTS(status_color, PORT_STATUS, true);
const RegionOps vga_ports_ops = { ports_read, ports_write, .sizes = 1 };
