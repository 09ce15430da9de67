/* SPDX-License-Identifier: GPL-2.0-or-later
 * The Bochs display interface (docs/specs/bochs-display.md), up to ID5: an index and a data
 * register of 16 bits at 1CEh and 1CFh, and the same registers in BAR 2.
 */
#include "hw/display/vga.h"

#include <string.h>

enum { PORT_INDEX = 0, PORT_DATA = 1, PORT_DATA_ALIGNED = 2 };
enum { MAX_XRES = 16000, MAX_YRES = 12000, MAX_BPP = 32 };

static unsigned bits_in_memory(unsigned bpp)
{
    return bpp == 15 ? 16 : bpp;
}

unsigned vga_vbe_stride(const Vga *s)
{
    return s->vbe[VBE_VIRT_WIDTH] * bits_in_memory(s->vbe[VBE_BPP]) / 8;
}

/* A picture that video memory does not hold is cut to what it holds. */
void vga_vbe_check(Vga *s)
{
    uint16_t *r = s->vbe;
    if (!(r[VBE_ENABLE] & VBE_ENABLED)) {
        return;
    }
    static const uint8_t depths[] = { 4, 8, 15, 16, 24, 32 };
    if (!memchr(depths, MIN(r[VBE_BPP], 255u), sizeof(depths))) {
        log_guest("VGA: no VBE modes with %u bits a pixel", r[VBE_BPP]);
        r[VBE_BPP] = 8;
    }
    unsigned bits = bits_in_memory(r[VBE_BPP]);
    uint64_t max_width = MIN(s->vram->size * 8 / bits, (uint64_t)MAX_XRES);
    r[VBE_XRES] = (uint16_t)MAX(MIN(r[VBE_XRES] & ~7u, max_width), 8u);
    r[VBE_VIRT_WIDTH] = (uint16_t)MIN(MAX(r[VBE_VIRT_WIDTH] & ~7u, r[VBE_XRES]), max_width);
    uint64_t lines = s->vram->size / vga_vbe_stride(s);
    r[VBE_YRES] = (uint16_t)MAX(MIN(r[VBE_YRES], MIN(lines, (uint64_t)MAX_YRES)), 1u);
    r[VBE_VIRT_HEIGHT] = (uint16_t)MIN(lines, 0xffffu);
    /* Panning past the end stops at the end. */
    r[VBE_X_OFFSET] = MIN(r[VBE_X_OFFSET], r[VBE_VIRT_WIDTH] - r[VBE_XRES]);
    r[VBE_Y_OFFSET] = (uint16_t)MIN(r[VBE_Y_OFFSET], lines - r[VBE_YRES]);
}

uint16_t vga_vbe_read(Vga *s, unsigned index)
{
    if (s->vbe[VBE_ENABLE] & VBE_GETCAPS) {
        switch (index) {
        case VBE_XRES: return MAX_XRES;
        case VBE_YRES: return MAX_YRES;
        case VBE_BPP: return MAX_BPP;
        default: break;
        }
    }
    if (index == VBE_MEMORY_64K) {
        return (uint16_t)(s->vram->size >> 16);
    }
    return index < VBE_NR ? s->vbe[index] : 0;
}

static void enable(Vga *s, uint16_t val)
{
    uint16_t *r = s->vbe;
    bool was = r[VBE_ENABLE] & VBE_ENABLED;
    r[VBE_ENABLE] = val & (VBE_ENABLED | VBE_GETCAPS | VBE_8BIT_DAC | VBE_LFB | VBE_NOCLEAR);
    r[VBE_BANK] = 0;
    if (!(val & VBE_ENABLED) || was) {
        vga_vbe_check(s);
        return;
    }
    r[VBE_VIRT_WIDTH] = 0; /* the check makes it the width of the screen */
    r[VBE_X_OFFSET] = r[VBE_Y_OFFSET] = 0;
    vga_vbe_check(s);
    if (!(val & VBE_NOCLEAR)) {
        uint64_t len = (uint64_t)r[VBE_YRES] * vga_vbe_stride(s);
        memset(s->vram->host, 0, len);
        ram_written(s->vram, 0, len);
    }
}

void vga_vbe_write(Vga *s, unsigned index, uint16_t val)
{
    switch (index) {
    case VBE_ID:
        if (val >= VBE_ID0 && val <= VBE_ID5) {
            s->vbe[VBE_ID] = val;
        }
        return;
    case VBE_ENABLE: enable(s, val); break;
    case VBE_BANK: s->vbe[VBE_BANK] = val & ((s->vram->size >> 16) - 1); break;
    case VBE_XRES: case VBE_YRES: case VBE_BPP: case VBE_VIRT_WIDTH: case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        s->vbe[index] = val;
        vga_vbe_check(s);
        break;
    default: return; /* the rest is read only */
    }
    s->redraw |= index != VBE_BANK;
    vga_update_window(s);
}

static uint64_t vbe_port_read(void *opaque, uint64_t offset, unsigned size)
{
    Vga *s = opaque;
    (void)size;
    return offset == PORT_INDEX ? s->vbe_index : vga_vbe_read(s, s->vbe_index);
}

static void vbe_port_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Vga *s = opaque;
    (void)size;
    if (offset == PORT_INDEX) {
        s->vbe_index = (uint16_t)val;
    } else {
        vga_vbe_write(s, s->vbe_index, (uint16_t)val);
    }
}

const RegionOps vga_vbe_ops = { vbe_port_read, vbe_port_write, .sizes = 2, .unaligned = true };
