/* SPDX-License-Identifier: GPL-2.0-or-later
 * The window at A0000h-BFFFFh and the VGA's data path between CPU and planes (FreeVGA, "Accessing
 * the VGA Display Memory"):
 *
 *   CPU byte - rotate - set/reset - function with latches - bit mask - map mask - four planes
 *
 * A word of video memory holds a byte of each plane, so the four lanes are computed together.
 * Where the window is nothing but video memory (256 colours chained, VBE) it is mapped as such.
 */
#include "hw/display/vga.h"

#include <string.h>

enum { MISC_RAM = 0x02, PLANE_SIZE = 0x10000, LINEAR_SIZE = 0x10000 };

/* Four bits, one a plane, to a mask of four bytes. */
static uint32_t lanes(unsigned bits)
{
    static const uint32_t mask[16] = {
        0x00000000, 0x000000ff, 0x0000ff00, 0x0000ffff, 0x00ff0000, 0x00ff00ff,
        0x00ffff00, 0x00ffffff, 0xff000000, 0xff0000ff, 0xff00ff00, 0xff00ffff,
        0xffff0000, 0xffff00ff, 0xffffff00, 0xffffffff,
    };
    return mask[bits & 15];
}

static uint32_t all_lanes(unsigned byte)
{
    return (byte & 0xff) * 0x01010101u;
}

bool vga_is_linear_vbe(const Vga *s)
{
    return (s->vbe[VBE_ENABLE] & VBE_ENABLED) && s->vbe[VBE_BPP] >= 8;
}

static uint64_t bank_offset(const Vga *s)
{
    return s->vbe[VBE_ENABLE] & VBE_ENABLED ? (uint64_t)s->vbe[VBE_BANK] << 16 : 0;
}

/* Offset from A0000h to one in the window that graphics register 6 selects; false: not there. */
static bool decode(const Vga *s, uint64_t *offset)
{
    static const struct {
        uint32_t base, size;
    } map[4] = { { 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 } };
    unsigned n = s->gfx[GFX_MISC] >> 2 & 3;
    if (!(s->misc & MISC_RAM) || *offset < map[n].base ||
        *offset - map[n].base >= map[n].size) {
        return false;
    }
    *offset -= map[n].base;
    return true;
}

/* Byte of video memory in modes where planes do not matter. */
static uint64_t linear_byte(const Vga *s, uint64_t offset)
{
    return (offset + bank_offset(s)) & (s->vram->size - 1);
}

static uint64_t plane_word(const Vga *s, uint64_t offset)
{
    uint64_t size = s->vbe[VBE_ENABLE] & VBE_ENABLED ? s->vram->size / 4 : PLANE_SIZE;
    return (offset + bank_offset(s)) & (size - 1);
}

static bool is_linear(const Vga *s)
{
    return vga_is_linear_vbe(s) || (s->seq[SEQ_MEMORY] & SEQ_MEMORY_CHAIN4);
}

/* ---- reading ---- */

/* Read mode 1: a bit for each pixel whose colour is GFX_COMPARE in the planes that matter. */
static uint8_t compare_colors(const Vga *s, uint32_t word)
{
    uint32_t care = lanes(s->gfx[GFX_DONT_CARE]);
    uint32_t differs = (word ^ lanes(s->gfx[GFX_COMPARE])) & care;
    differs |= differs >> 16;
    return (uint8_t)~(differs | differs >> 8);
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    Vga *s = opaque;
    (void)size;
    if (!decode(s, &offset)) {
        return 0xff;
    }
    if (is_linear(s)) {
        uint64_t byte = linear_byte(s, offset);
        memcpy(&s->latch, s->vram->host + ROUND_DOWN(byte, 4), 4);
        return s->vram->host[byte];
    }
    bool odd_even = s->gfx[GFX_MODE] & GFX_MODE_ODD_EVEN;
    unsigned plane = s->gfx[GFX_READ_MAP] & 3;
    if (odd_even) {
        plane = (plane & 2) | (offset & 1);
        offset &= ~1ull;
    }
    memcpy(&s->latch, s->vram->host + 4 * plane_word(s, offset), 4);
    return s->gfx[GFX_MODE] & GFX_MODE_COMPARE ? compare_colors(s, s->latch)
                                               : (uint8_t)(s->latch >> 8 * plane);
}

/* ---- writing ---- */

static uint32_t combine(const Vga *s, uint32_t val, uint32_t bits)
{
    switch (s->gfx[GFX_ROTATE] >> 3 & 3) {
    case 1: val &= s->latch; break;
    case 2: val |= s->latch; break;
    case 3: val ^= s->latch; break;
    default: break;
    }
    return (val & bits) | (s->latch & ~bits);
}

/* What a CPU byte becomes in each plane. */
static uint32_t data_path(const Vga *s, uint8_t byte)
{
    unsigned count = s->gfx[GFX_ROTATE] & 7;
    uint8_t rotated = (uint8_t)(byte >> count | byte << (8 - count));
    uint32_t bits = all_lanes(s->gfx[GFX_BIT_MASK]);
    uint32_t set_reset = lanes(s->gfx[GFX_SET_RESET]);
    switch (s->gfx[GFX_MODE] & 3) {
    case 0: {
        uint32_t enable = lanes(s->gfx[GFX_ENABLE_SR]);
        return combine(s, (all_lanes(rotated) & ~enable) | (set_reset & enable), bits);
    }
    case 1: return s->latch;
    case 2: return combine(s, lanes(byte), bits);
    default: return combine(s, set_reset, bits & all_lanes(rotated));
    }
}

static void store(Vga *s, uint64_t word, uint32_t val, uint32_t mask)
{
    uint32_t old;
    memcpy(&old, s->vram->host + 4 * word, 4);
    val = (old & ~mask) | (val & mask);
    memcpy(s->vram->host + 4 * word, &val, 4);
    ram_written(s->vram, 4 * word, 4);
}

static void window_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Vga *s = opaque;
    (void)size;
    if (!decode(s, &offset)) {
        return;
    }
    if (vga_is_linear_vbe(s)) {
        uint64_t byte = linear_byte(s, offset);
        s->vram->host[byte] = (uint8_t)val;
        ram_written(s->vram, byte, 1);
        return;
    }
    uint32_t mask = lanes(s->seq[SEQ_MAP_MASK]);
    uint64_t word;
    if (is_linear(s)) {
        mask &= lanes(1u << (offset & 3));
        word = linear_byte(s, offset) / 4;
    } else if (!(s->seq[SEQ_MEMORY] & SEQ_MEMORY_SEQUENTIAL)) {
        mask &= lanes(offset & 1 ? 0x0a : 0x05);
        word = plane_word(s, offset & ~1ull);
    } else {
        word = plane_word(s, offset);
    }
    store(s, word, data_path(s, (uint8_t)val), mask);
}

const RegionOps vga_window_ops = { window_read, window_write, .sizes = 1 };

/* ---- the window as plain memory ---- */

/* Chained, and the data path changes nothing; latches then hold nothing anybody asks for. */
static bool is_plain(const Vga *s)
{
    if (!(s->misc & MISC_RAM) || (s->gfx[GFX_MISC] >> 2 & 3) > 1) {
        return false;
    }
    if (vga_is_linear_vbe(s)) {
        return true;
    }
    return (s->seq[SEQ_MEMORY] & SEQ_MEMORY_CHAIN4) && (s->gfx[GFX_MISC] >> 2 & 3) == 1 &&
           s->seq[SEQ_MAP_MASK] == 0x0f && !(s->gfx[GFX_MODE] & 3) && !s->gfx[GFX_ENABLE_SR] &&
           !s->gfx[GFX_ROTATE] && s->gfx[GFX_BIT_MASK] == 0xff;
}

void vga_update_window(Vga *s)
{
    bool plain = is_plain(s);
    uint64_t offset = linear_byte(s, 0);
    if (plain == s->linear.enabled && (!plain || offset == s->linear.target_offset)) {
        return;
    }
    memory_begin();
    if (plain) {
        region_set_target_offset(&s->linear, offset);
    }
    region_set_enabled(&s->linear, plain);
    memory_commit();
}
