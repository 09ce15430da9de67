/* SPDX-License-Identifier: GPL-2.0-or-later
 * The VGA's insides, shared by the files of hw/display/vga*: vga.c (PCI device, memory map),
 * vga_regs.c (I/O ports), vga_mem.c (the window at A0000h), vga_vbe.c (Bochs display interface),
 * vga_scan.c, vga_text.c and vga_lines.c (the picture). vm_lock held.
 *
 * Video memory as the four planes see it: byte p of the 32-bit word n is byte n of plane p. So
 * 256-colour modes, which CRTC words of four pixels, are linear in it, chained or not.
 */
#ifndef HW_DISPLAY_VGA_H
#define HW_DISPLAY_VGA_H

#include "hw/display/edid.h"
#include "hw/pci/pci.h"
#include "ui/console.h"

enum { VGA_NR_SEQ = 8, VGA_NR_GFX = 9, VGA_NR_ATTR = 21, VGA_NR_CRTC = 25 };
enum { SEQ_CLOCKING = 1, SEQ_MAP_MASK = 2, SEQ_FONT = 3, SEQ_MEMORY = 4 };
enum { SEQ_CLOCKING_8DOT = 0x01, SEQ_CLOCKING_HALF = 0x08, SEQ_CLOCKING_OFF = 0x20,
       SEQ_MEMORY_SEQUENTIAL = 0x04, SEQ_MEMORY_CHAIN4 = 0x08 };
enum { GFX_SET_RESET = 0, GFX_ENABLE_SR = 1, GFX_COMPARE = 2, GFX_ROTATE = 3, GFX_READ_MAP = 4,
       GFX_MODE = 5, GFX_MISC = 6, GFX_DONT_CARE = 7, GFX_BIT_MASK = 8 };
enum { GFX_MODE_COMPARE = 0x08, GFX_MODE_ODD_EVEN = 0x10, GFX_MODE_CGA = 0x20,
       GFX_MODE_256 = 0x40, GFX_MISC_GRAPHICS = 0x01 };
enum { ATTR_MODE = 16, ATTR_OVERSCAN = 17, ATTR_PLANES = 18, ATTR_PANNING = 19, ATTR_SELECT = 20 };
enum { ATTR_MODE_MONO = 0x02, ATTR_MODE_LINE = 0x04, ATTR_MODE_BLINK = 0x08,
       ATTR_MODE_SPLIT = 0x20, ATTR_MODE_P54S = 0x80, ATTR_INDEX_VIDEO = 0x20 };
enum { CRTC_H_TOTAL = 0, CRTC_H_END = 1, CRTC_V_TOTAL = 6, CRTC_OVERFLOW = 7, CRTC_PRESET = 8,
       CRTC_MAX_SCAN = 9, CRTC_CURSOR_START = 10, CRTC_CURSOR_END = 11, CRTC_START_HIGH = 12,
       CRTC_START_LOW = 13, CRTC_CURSOR_HIGH = 14, CRTC_CURSOR_LOW = 15, CRTC_V_SYNC = 16,
       CRTC_V_SYNC_END = 17, CRTC_V_END = 18, CRTC_OFFSET = 19, CRTC_UNDERLINE = 20,
       CRTC_MODE = 23, CRTC_LINE_COMPARE = 24 };
enum { VBE_ID, VBE_XRES, VBE_YRES, VBE_BPP, VBE_ENABLE, VBE_BANK, VBE_VIRT_WIDTH, VBE_VIRT_HEIGHT,
       VBE_X_OFFSET, VBE_Y_OFFSET, VBE_MEMORY_64K, VBE_NR };
enum { VBE_ENABLED = 0x01, VBE_GETCAPS = 0x02, VBE_8BIT_DAC = 0x20, VBE_LFB = 0x40,
       VBE_NOCLEAR = 0x80 };
enum { VBE_ID0 = 0xb0c0, VBE_ID5 = 0xb0c5 };

typedef enum VgaPicture {
    PICTURE_NONE, PICTURE_TEXT, PICTURE_PLANAR, PICTURE_CGA, PICTURE_256, PICTURE_VBE
} VgaPicture;

/* What the registers make of the picture; all of it changing redraws everything. */
typedef struct VgaMode {
    VgaPicture picture;
    int width, height;      /* dots and scan lines */
    int columns;            /* characters, of 8 or 9 dots */
    int dots;               /* of a character: 8 or 9 */
    int dot_width;          /* 2: every dot is shown twice */
    int cell_height;        /* scan lines of a row, before doubling */
    int line_repeat;        /* 2: every scan line is shown twice */
} VgaMode;

typedef struct Vga {
    PciDevice pci;
    uint32_t vgamem_mb, xres, yres; /* properties */
    bool has_edid;
    /* state */
    uint8_t misc, feature, enable;
    uint8_t seq_index, seq[VGA_NR_SEQ];
    uint8_t gfx_index, gfx[VGA_NR_GFX];
    uint8_t attr_index, attr[VGA_NR_ATTR];
    bool attr_data; /* the flip-flop: 3C0h takes data next */
    uint8_t crtc_index, crtc[VGA_NR_CRTC];
    uint8_t dac_mask, dac_index, dac_part, dac_latch[2], dac[768];
    bool dac_reading;
    uint32_t latch;
    uint16_t vbe_index, vbe[VBE_NR];
    /* wiring */
    uint8_t edid[EDID_SIZE];
    RamBlock *vram;
    Region vram_bar, mmio_bar; /* BARs 0 and 2 */
    Region window;             /* A0000h, through the planes */
    Region linear;             /* A0000h, video memory itself where that is the same */
    Region crtc_mono, status_mono, ports, crtc_color, status_color, vbe_ports;
    /* the picture: follows from the state */
    Console *console;
    bool redraw;     /* registers changed: everything is drawn anew */
    VgaMode shown;
    uint32_t rgb[256], rgb16[16]; /* of DAC indices; of attributes */
    uint32_t *cells;              /* text: what each cell shows */
    size_t nr_cells;
    uint8_t font[2][256 * 32];    /* text: copies of the two active fonts */
    unsigned long *dirty;         /* one bit a page of vram */
} Vga;

/* vga_mem.c */
extern const RegionOps vga_window_ops;
/* After any register that shapes the window. */
void vga_update_window(Vga *s);
bool vga_is_linear_vbe(const Vga *s); /* VBE with 8 or more bits a pixel */

/* vga_regs.c: offset from 3C0h; the CRTC ports work at 14h-15h and 1Ah whichever base is set. */
extern const RegionOps vga_ports_ops, vga_crtc_mono_ops, vga_status_mono_ops, vga_crtc_color_ops,
    vga_status_color_ops;
uint8_t vga_port_read(Vga *s, unsigned offset);
void vga_port_write(Vga *s, unsigned offset, uint8_t val);

/* vga_vbe.c */
extern const RegionOps vga_vbe_ops;
uint16_t vga_vbe_read(Vga *s, unsigned index);
void vga_vbe_write(Vga *s, unsigned index, uint16_t val);
unsigned vga_vbe_stride(const Vga *s); /* bytes of video memory a line */
void vga_vbe_check(Vga *s); /* makes the registers fit video memory */

/* vga_scan.c */
extern const ConsoleOps vga_console_ops;
void vga_set_mode(Vga *s, VgaMode *m);
/* Bits 0 and 3 of input status 1: display disabled, vertical retrace. */
uint8_t vga_retrace(const Vga *s);
/* Base of the picture, scan line where it starts over at 0, words of a row. */
unsigned vga_start(const Vga *s);
unsigned vga_line_compare(const Vga *s);
unsigned vga_row_words(const Vga *s);
/* CRTC character counter to a word of video memory (row scan counter: CRTC 17h bits 0, 1). */
unsigned vga_crtc_word(const Vga *s, unsigned counter, unsigned row_scan);

/* vga_text.c, vga_lines.c: draw what changed. all: everything. */
void vga_draw_text(Vga *s, pixman_image_t *surface, bool all);
void vga_draw_lines(Vga *s, pixman_image_t *surface, bool all);
void vga_draw_vbe(Vga *s, pixman_image_t *surface, bool all);

static inline uint32_t *vga_surface_line(pixman_image_t *surface, int y)
{
    return pixman_image_get_data(surface) + (size_t)y * pixman_image_get_stride(surface) / 4;
}

#endif
