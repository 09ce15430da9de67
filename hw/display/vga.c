/* SPDX-License-Identifier: GPL-2.0-or-later
 * VGA: the "standard VGA" of PC emulators: an IBM VGA (FreeVGA) with the Bochs display interface
 * (docs/specs/bochs-display.md) and a linear frame buffer, on PCI.
 *
 *   BAR 0  video memory      BAR 2  000h EDID, 400h ports 3C0h-3DFh, 500h VBE, 600h byte order
 *
 * Left out: big-endian frame buffers, interlace, and the VGA's own interrupt, which no PC wires.
 */
#include "hw/display/vga.h"

#include <stdlib.h>
#include <string.h>

#include "hw/core/machine.h"

enum { WINDOW_BASE = 0xa0000, WINDOW_SIZE = 0x20000, LINEAR_SIZE = 0x10000 };
enum { MMIO_SIZE = 0x1000, MMIO_PORTS = 0x400, MMIO_PORTS_END = 0x420, MMIO_VBE = 0x500,
       MMIO_VBE_END = 0x500 + 2 * VBE_NR, MMIO_QEXT_SIZE = 0x600, MMIO_BYTE_ORDER = 0x604 };
enum { QEXT_SIZE = 8, LITTLE_ENDIAN_FB = 0x1e1e1e1e };

/* ---- BAR 2 ---- */

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    Vga *s = opaque;
    uint64_t val = 0;
    if (offset + size <= EDID_SIZE && s->has_edid) {
        memcpy(&val, &s->edid[offset], size);
    } else if (offset >= MMIO_PORTS && offset < MMIO_PORTS_END) {
        for (unsigned i = 0; i < size; i++) {
            val |= (uint64_t)vga_port_read(s, (unsigned)(offset - MMIO_PORTS) + i) << 8 * i;
        }
    } else if (offset >= MMIO_VBE && offset < MMIO_VBE_END) {
        val = vga_vbe_read(s, (unsigned)(offset - MMIO_VBE) / 2) >> 8 * (offset & 1);
    } else if (offset == MMIO_QEXT_SIZE) {
        val = QEXT_SIZE;
    } else if (offset == MMIO_BYTE_ORDER) {
        val = LITTLE_ENDIAN_FB;
    }
    return val;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Vga *s = opaque;
    if (offset >= MMIO_PORTS && offset < MMIO_PORTS_END) {
        for (unsigned i = 0; i < size; i++) {
            vga_port_write(s, (unsigned)(offset - MMIO_PORTS) + i, (uint8_t)(val >> 8 * i));
        }
    } else if (offset >= MMIO_VBE && offset < MMIO_VBE_END) {
        if (size > 1) {
            vga_vbe_write(s, (unsigned)(offset - MMIO_VBE) / 2, (uint16_t)val);
        }
    } else if (offset == MMIO_BYTE_ORDER && val != LITTLE_ENDIAN_FB) {
        log_unimp("VGA: big-endian frame buffer");
    }
}

static const RegionOps mmio_ops = { mmio_read, mmio_write, .sizes = 1 | 2 | 4 };

/* ---- life ---- */

static void map_port(Vga *s, Region *r, const RegionOps *ops, const char *name, unsigned port,
                     unsigned size)
{
    region_init_io(r, &s->pci.dev, ops, s, size);
    r->name = name;
    region_add(pci_bus(&s->pci)->io_root, port, r, 0);
}

static bool vga_realize(Device *dev, Error **errp)
{
    Vga *s = container_of(dev, Vga, pci.dev);
    if (s->vgamem_mb & (s->vgamem_mb - 1)) {
        return error_set(errp, "vgamem_mb=%u: not a power of two", s->vgamem_mb);
    }
    uint64_t size = s->vgamem_mb * MiB;
    if (!(s->vram = ram_block_new("vga.vram", size, errp))) {
        return false;
    }
    s->dirty = calloc(ROUND_UP((size >> PAGE_BITS), 64) / 64, sizeof(*s->dirty));
    if (!s->dirty) {
        ram_block_free(s->vram);
        return error_set(errp, "no memory for the screen");
    }
    edid_fill(s->edid, s->xres, s->yres);
    ram_track(s->vram, DIRTY_DISPLAY, true);
    region_init_ram(&s->vram_bar, "vga.vram", s->vram, 0, size);
    region_init_io(&s->mmio_bar, dev, &mmio_ops, s, MMIO_SIZE);
    s->mmio_bar.name = "vga-mmio";
    pci_register_bar(&s->pci, 0, PCI_BAR_PREFETCH, &s->vram_bar);
    pci_register_bar(&s->pci, 2, 0, &s->mmio_bar);

    Region *memory = pci_bus(&s->pci)->memory_root;
    region_init_io(&s->window, dev, &vga_window_ops, s, WINDOW_SIZE);
    s->window.name = "vga-window";
    region_set_coalesced(&s->window, true); /* pixels are read back by vga_update() */
    region_add(memory, WINDOW_BASE, &s->window, 1);
    region_init_alias(&s->linear, "vga-linear", &s->vram_bar, 0, LINEAR_SIZE);
    region_set_enabled(&s->linear, false);
    region_add(memory, WINDOW_BASE, &s->linear, 2);

    map_port(s, &s->crtc_mono, &vga_crtc_mono_ops, "vga-crtc-mono", 0x3b4, 2);
    map_port(s, &s->status_mono, &vga_status_mono_ops, "vga-status-mono", 0x3ba, 1);
    map_port(s, &s->ports, &vga_ports_ops, "vga-ports", 0x3c0, 16);
    map_port(s, &s->crtc_color, &vga_crtc_color_ops, "vga-crtc", 0x3d4, 2);
    map_port(s, &s->status_color, &vga_status_color_ops, "vga-status", 0x3da, 1);
    map_port(s, &s->vbe_ports, &vga_vbe_ops, "vga-vbe", 0x1ce, 4);
    s->console = console_new("VGA", &vga_console_ops, s);
    return true;
}

static void vga_unrealize(Device *dev)
{
    Vga *s = container_of(dev, Vga, pci.dev);
    console_free(s->console);
    Region *regions[] = { &s->window, &s->linear, &s->crtc_mono, &s->status_mono, &s->ports,
                          &s->crtc_color, &s->status_color, &s->vbe_ports };
    for (size_t i = 0; i < ARRAY_SIZE(regions); i++) {
        region_del(regions[i]);
    }
    region_del(&s->vram_bar);
    ram_block_free(s->vram);
    free(s->dirty);
    free(s->cells);
}

static void vga_refresh(Device *dev)
{
    Vga *s = container_of(dev, Vga, pci.dev);
    vga_vbe_check(s);
    vga_update_window(s);
    s->redraw = true;
}

static const Property vga_props[] = {
    PROP_U32("vgamem_mb", Vga, vgamem_mb, .def = 16, .min = 1, .max = 256,
             .help = "video memory in MiB, a power of two"),
    PROP_BOOL("edid", Vga, has_edid, .def = true, .help = "the monitor describes itself"),
    PROP_U32("xres", Vga, xres, .def = 1280, .min = 64, .max = EDID_MAX_PIXELS,
             .help = "preferred width"),
    PROP_U32("yres", Vga, yres, .def = 800, .min = 64, .max = EDID_MAX_PIXELS,
             .help = "preferred height"),
    PROP_END,
};

static void vga_reset(Device *dev)
{
    Vga *s = container_of(dev, Vga, pci.dev);
    s->vbe[VBE_ID] = VBE_ID5;
}

static const StateField vga_state[] = {
    STATE_U8(Vga, misc),
    STATE_U8(Vga, feature),
    STATE_U8(Vga, enable, .reset = 1),
    STATE_U8(Vga, seq_index, .mask = 0x07),
    STATE_U8S(Vga, seq),
    STATE_U8(Vga, gfx_index, .mask = 0x0f),
    STATE_U8S(Vga, gfx),
    STATE_U8(Vga, attr_index, .mask = 0x3f),
    STATE_U8S(Vga, attr),
    STATE_BOOL(Vga, attr_data),
    STATE_U8(Vga, crtc_index),
    STATE_U8S(Vga, crtc),
    STATE_U8(Vga, dac_mask, .reset = 0xff),
    STATE_U8(Vga, dac_index),
    STATE_U8(Vga, dac_part, .max = 2),
    STATE_U8S(Vga, dac_latch),
    STATE_U8S(Vga, dac),
    STATE_BOOL(Vga, dac_reading),
    STATE_U32(Vga, latch),
    STATE_U16(Vga, vbe_index),
    STATE_U16S(Vga, vbe),
    STATE_END,
};

static const PciInfo vga_info = {
    .vendor = 0x1234,
    .device = 0x1111,
    .revision = 2,
    .class_code = 0x030000,
    .romfile = "vgabios-stdvga.bin",
};

DEVICE_TYPE(vga) = {
    PCI_DEVICE_INFO("VGA", Vga, "Standard VGA with Bochs display interface", &vga_info),
    .props = vga_props,
    .state = vga_state,
    .state_version = 1,
    .realize = vga_realize,
    .unrealize = vga_unrealize,
    .reset = vga_reset,
    .refresh = vga_refresh,
};
