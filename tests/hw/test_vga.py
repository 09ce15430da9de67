# SPDX-License-Identifier: GPL-2.0-or-later
"""VGA: registers, the data path of the planes, the Bochs display interface, pictures."""

import os
import random
import socket
import struct
import tempfile

from qtest import QTest, check, main

BAR0, BAR2 = 0xe0000000, 0xfebf0000
VBE_INDEX, VBE_DATA = 0x1ce, 0x1cf
XRES, YRES, BPP, ENABLE, BANK, VIRT_WIDTH, VIRT_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY = range(1, 11)
ENABLED, GETCAPS, DAC8, LFB, NOCLEAR = 0x01, 0x02, 0x20, 0x40, 0x80
RGB16 = [(0, 0, 0), (0, 0, 170), (0, 170, 0), (0, 170, 170), (170, 0, 0), (170, 0, 170),
         (170, 85, 0), (170, 170, 170), (85, 85, 85), (85, 85, 255), (85, 255, 85),
         (85, 255, 255), (255, 85, 85), (255, 85, 255), (255, 255, 85), (255, 255, 255)]

# Register sets of the BIOS's modes: misc, sequencer 1-4, CRTC 0-18h, graphics 0-8, attribute 10h-13h.
MODE_3 = (0x67, (0x00, 0x03, 0x00, 0x02),
          (0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00,
           0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff),
          (0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff), (0x0c, 0x00, 0x0f, 0x08))
MODE_4 = (0x63, (0x09, 0x03, 0x00, 0x02),
          (0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0x00, 0x00, 0x00, 0x00,
           0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff),
          (0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff), (0x01, 0x00, 0x03, 0x00))
MODE_12 = (0xe3, (0x01, 0x0f, 0x00, 0x06),
           (0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff),
           (0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff), (0x01, 0x00, 0x0f, 0x00))
MODE_13 = (0x63, (0x01, 0x0f, 0x00, 0x0e),
           (0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff),
           (0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff), (0x41, 0x00, 0x0f, 0x00))


class Picture:
    """A PPM file."""

    def __init__(self, path):
        with open(path, "rb") as f:
            magic, size, _, self.data = f.read().split(b"\n", 3)
        check("magic", b"P6", magic)
        self.width, self.height = (int(n) for n in size.split())
        check("bytes", self.width * self.height * 3, len(self.data))

    def pixel(self, x, y):
        at = 3 * (y * self.width + x)
        return tuple(self.data[at:at + 3])

    def row(self, y, x, n):
        return [self.pixel(x + i, y) for i in range(n)]


class Vga(QTest):
    """A pc with a VGA and a monitor for screendump."""

    def __init__(self, *args):
        with tempfile.TemporaryDirectory(prefix="vireo-vga-") as directory, \
                socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(directory, "mon"))
            listener.listen(1)
            listener.settimeout(20)
            super().__init__("-M", "pc", "-vga", "std", "-monitor",
                             "unix:" + listener.getsockname(), *args)
            self.mon = listener.accept()[0]
        self.mon.settimeout(10)
        self.wait_prompt()
        self.pci(0x10, BAR0)
        self.pci(0x18, BAR2)
        self.pci(0x04, 0x03)

    def close(self, check_status=False):
        if getattr(self, "mon", None):
            self.mon.close()
            self.mon = None
        super().close(check_status)

    def wait_prompt(self):
        text = b""
        while not text.endswith(b"(vireo) "):
            text += self.mon.recv(4096)
        return text

    def hmp(self, line):
        self.mon.sendall(line.encode() + b"\n")
        return self.wait_prompt()

    def pci(self, reg, val):
        self.outl(0xcf8, 0x80001000 | reg)
        self.outl(0xcfc, val)

    def pci_read(self, reg):
        self.outl(0xcf8, 0x80001000 | reg)
        return self.inl(0xcfc)

    def picture(self):
        path = self.tmp("screen.ppm")
        self.hmp("screendump " + path)
        return Picture(path)

    def seq(self, n, val):
        self.outw(0x3c4, val << 8 | n)

    def gfx(self, n, val):
        self.outw(0x3ce, val << 8 | n)

    def crtc(self, n, val):
        self.outw(0x3d4, val << 8 | n)

    def attr(self, n, val):
        self.inb(0x3da)
        self.outb(0x3c0, n)
        self.outb(0x3c0, val)
        self.outb(0x3c0, 0x20)

    def vbe(self, n, val):
        self.outw(VBE_INDEX, n)
        self.outw(VBE_DATA, val)

    def vbe_read(self, n):
        self.outw(VBE_INDEX, n)
        return self.inw(VBE_DATA)

    def set_mode(self, mode):
        misc, seq, crtc, gfx, attr = mode
        self.outb(0x3c2, misc)
        for i, val in enumerate(seq):
            self.seq(1 + i, val)
        self.crtc(0x11, 0)
        for i, val in enumerate(crtc):
            self.crtc(i, val)
        for i, val in enumerate(gfx):
            self.gfx(i, val)
        for i in range(16):
            self.attr(i, i)
        for i, val in enumerate(attr):
            self.attr(16 + i, val)
        self.outb(0x3c8, 0)
        for color in RGB16:
            for part in color:
                self.outb(0x3c9, part >> 2)

    def vbe_mode(self, width, height, bpp):
        self.vbe(ENABLE, 0)
        self.vbe(XRES, width)
        self.vbe(YRES, height)
        self.vbe(BPP, bpp)
        self.vbe(ENABLE, ENABLED | LFB)
        self.attr(0x10, 0)


def test_pci():
    with Vga() as vm:
        check("id", 0x11111234, vm.pci_read(0))
        check("class", 0x030000, vm.pci_read(8) >> 8)
        check("BAR 0 is prefetchable", 8, vm.pci_read(0x10) & 15)
        vm.pci(0x10, 0xffffffff)
        check("16 MiB", 0xff000008, vm.pci_read(0x10))
        vm.pci(0x18, 0xffffffff)
        check("BAR 2, 4 KiB", 0xfffff000, vm.pci_read(0x18))
    with Vga("-global", "VGA.vgamem_mb=8") as vm:
        check("64 KiB banks of 8 MiB", 128, vm.vbe_read(MEMORY))


def test_edid():
    with Vga("-global", "VGA.xres=1440", "-global", "VGA.yres=900") as vm:
        edid = vm.read(BAR2, 128)
        check("header", "00ffffffffffff00", edid[:8].hex())
        check("checksum", 0, sum(edid) & 0xff)
        check("preferred", (1440, 900), (edid[56] | (edid[58] & 0xf0) << 4,
                                         edid[59] | (edid[61] & 0xf0) << 4))
        check("60 Hz", 60, round((edid[54] | edid[55] << 8) * 10000 /
                                 (1440 + 160) / (900 + edid[60])))
    with Vga("-global", "VGA.edid=off") as vm:
        check("none", bytes(128), vm.read(BAR2, 128))


def test_registers():
    with Vga() as vm:
        vm.outb(0x3c2, 0x67)
        check("misc", 0x67, vm.inb(0x3cc))
        for n, mask in enumerate((0x03, 0x3d, 0x0f, 0x3f, 0x0e)):
            vm.seq(n, 0xff)
            check("sequencer %d" % n, mask, vm.inb(0x3c5))
        for n, mask in enumerate((0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff)):
            vm.gfx(n, 0xff)
            check("graphics %d" % n, mask, vm.inb(0x3cf))
        vm.crtc(0, 0x5f)
        vm.crtc(0x11, 0x80)
        vm.crtc(0, 0x12)
        vm.crtc(7, 0xff)
        check("CRTC 0 is protected", 0x5f, (vm.outb(0x3d4, 0), vm.inb(0x3d5))[1])
        check("but line compare", 0x10, (vm.outb(0x3d4, 7), vm.inb(0x3d5))[1])
        check("no CRTC at 3B4h", 0xff, vm.inb(0x3b5))
        vm.outb(0x3c2, 0x66)
        check("it moved there", 0x10, vm.inb(0x3b5))
        vm.inb(0x3ba)
        vm.outb(0x3c0, 0x32)
        vm.outb(0x3c0, 0x0f)
        check("attribute index", 0x32, vm.inb(0x3c0))
        check("attribute 12h", 0x0f, vm.inb(0x3c1))


def test_dac():
    with Vga() as vm:
        vm.outb(0x3c8, 5)
        for val in (0x11, 0x22, 0xff, 0x01, 0x02, 0x03):
            vm.outb(0x3c9, val)
        check("write index moved on", 7, vm.inb(0x3c8))
        vm.outb(0x3c7, 5)
        check("state", 3, vm.inb(0x3c7))
        check("two colours, six bits", [0x11, 0x22, 0x3f, 1, 2, 3],
              [vm.inb(0x3c9) for _ in range(6)])
        vm.outb(0x3c6, 0x0f)
        check("mask", 0x0f, vm.inb(0x3c6))


def test_write_modes():
    with Vga() as vm:
        vm.set_mode(MODE_12)

        def planes(at):
            out = []
            for n in range(4):
                vm.gfx(4, n)
                out.append(vm.readb(at))
            return out

        at = 0xa0010
        vm.writeb(at, 0x5a)
        check("mode 0 writes all planes", [0x5a] * 4, planes(at))
        vm.seq(2, 0x05)
        vm.writeb(at, 0xc3)
        check("map mask", [0xc3, 0x5a, 0xc3, 0x5a], planes(at))
        vm.seq(2, 0x0f)
        vm.gfx(3, 0x03)
        vm.writeb(at, 0x0f)
        check("rotate", [0xe1] * 4, planes(at))
        for function, want in ((0x08, 0xe1 & 0x3c), (0x10, 0x3c | 0x20), (0x18, 0x3c ^ 0x3c)):
            vm.gfx(3, function)
            vm.readb(at)
            vm.writeb(at, 0x3c)
            check("function %02x" % function, [want] * 4, planes(at))
        vm.gfx(3, 0)
        vm.gfx(8, 0xf0)
        vm.writeb(at, 0xff)
        vm.readb(at)
        check("bit mask", [0xf0] * 4, planes(at))
        vm.gfx(8, 0xff)
        vm.gfx(0, 0x06)
        vm.gfx(1, 0x0e)
        vm.writeb(at, 0x99)
        check("set/reset", [0x99, 0xff, 0xff, 0x00], planes(at))
        vm.gfx(1, 0)
        vm.gfx(5, 1)
        vm.readb(at)
        vm.writeb(at + 1, 0)
        check("mode 1 copies the latches", [0x99, 0xff, 0xff, 0x00], planes(at + 1))
        vm.gfx(5, 2)
        vm.writeb(at, 0x0a)
        check("mode 2", [0, 0xff, 0, 0xff], planes(at))
        vm.gfx(5, 3)
        vm.gfx(0, 0x05)
        vm.readb(at)
        vm.writeb(at, 0x81)
        check("mode 3", [0x81, 0x7e, 0x81, 0x7e], planes(at))
        vm.gfx(5, 8)
        vm.gfx(2, 0x05)
        vm.gfx(7, 0x0f)
        check("read mode 1", 0x81, vm.readb(at))
        vm.gfx(7, 0x00)
        check("read mode 1, no plane matters", 0xff, vm.readb(at))


def test_window():
    with Vga() as vm:
        vm.set_mode(MODE_3)
        vm.writeb(0xb8000, 0x41)
        vm.writeb(0xb8001, 0x1f)
        check("text", 0x1f41, vm.readw(0xb8000))
        check("not at A0000h", 0xff, vm.readb(0xa0000))
        vm.gfx(6, 0x0a)
        check("at B0000h", 0x1f41, vm.readw(0xb0000))
        vm.gfx(6, 0x06)
        check("at A0000h", 0x1f41, vm.readw(0xa0000))
        vm.outb(0x3c2, 0x65)
        check("switched off", 0xff, vm.readb(0xa0000))
        vm.set_mode(MODE_13)
        vm.writel(0xa0000, 0x04030201)
        vm.writeb(0xaffff, 0x77)
        check("chained", 0x04030201, vm.readl(0xa0000))
        check("linear in video memory", (0x04030201, 0x77),
              (vm.readl(BAR0), vm.readb(BAR0 + 0xffff)))
        vm.seq(4, 6)
        vm.seq(2, 2)
        vm.writeb(0xa0000, 0x99)
        check("unchained: pixel 1", 0x04039901, vm.readl(BAR0))


def test_text_picture():
    with Vga() as vm:
        vm.set_mode(MODE_3)
        # A font with one character: 41h is a box, C4h a line.
        vm.seq(4, 7), vm.seq(2, 4), vm.gfx(5, 0), vm.gfx(6, 4)
        for code in (0x20, 0x41, 0xc4):
            for line in range(16):
                dots = 0 if code == 0x20 else 0xff if line in (0, 15) or code == 0xc4 else 0x81
                vm.writeb(0xa0000 + code * 32 + line, dots)
        vm.seq(4, 2), vm.seq(2, 3), vm.gfx(5, 0x10), vm.gfx(6, 0x0e)
        vm.write(0xb8000, b"\x20\x07" * 2000)
        vm.write(0xb8000 + 160, b"\x41\x1e\xc4\x4f")
        vm.crtc(0x0e, 0), vm.crtc(0x0f, 5)
        p = vm.picture()
        check("size", (720, 400), (p.width, p.height))
        yellow, blue, white = RGB16[14], RGB16[1], RGB16[15]
        check("top of the box", [yellow] * 8 + [blue], p.row(16, 0, 9))
        check("its middle", [yellow] + [blue] * 6 + [yellow, blue], p.row(20, 0, 9))
        check("line graphics fill the ninth dot", [white] * 9, p.row(20, 9, 9))
        check("cursor", [RGB16[7]] * 9, p.row(13, 45, 9))
        check("above the cursor", [RGB16[0]] * 9, p.row(12, 45, 9))
        vm.clock_step(16 * 14268000)
        check("the cursor blinks", [RGB16[0]] * 9, vm.picture().row(13, 45, 9))
        vm.crtc(0x0d, 80)
        check("start address", [yellow] * 8 + [blue], vm.picture().row(0, 0, 9))
        vm.attr(0x13, 0)
        check("panning", [yellow] * 7 + [blue] + [white], vm.picture().row(0, 0, 9))
        vm.attr(0x13, 8)
        vm.crtc(7, 0x0f), vm.crtc(9, 0x0f), vm.crtc(0x18, 31)
        p = vm.picture()
        check("above the split", [yellow] * 8 + [blue], p.row(0, 0, 9))
        check("below it: the start", [yellow] * 8 + [blue], p.row(32 + 16, 0, 9))
        check("and its neighbour", white, p.pixel(9, 32 + 16))


def test_planar_picture():
    with Vga() as vm:
        vm.set_mode(MODE_12)
        vm.gfx(5, 2)
        for i in range(16):
            vm.writeb(0xa0000 + 80 + i, i)
        p = vm.picture()
        check("size", (640, 480), (p.width, p.height))
        check("16 colours", [RGB16[i // 8] for i in range(128)], p.row(1, 0, 128))
        check("black above", [(0, 0, 0)] * 8, p.row(0, 8, 8))
        vm.attr(0x13, 4)
        check("panned", [RGB16[1]] * 4 + [RGB16[2]] * 4, vm.picture().row(1, 8, 8))
        vm.attr(0x13, 0)
        vm.crtc(0x0d, 80)
        check("start address", [RGB16[3]] * 8, vm.picture().row(0, 24, 8))


def test_cga_picture():
    with Vga() as vm:
        vm.set_mode(MODE_4)
        vm.writeb(0xb8000, 0x1b)
        vm.writeb(0xb8001, 0xe4)
        vm.writeb(0xba000, 0xff)
        p = vm.picture()
        check("size", (640, 400), (p.width, p.height))
        want = [RGB16[c] for c in (0, 1, 2, 3, 3, 2, 1, 0) for _ in range(2)]
        check("four colours", want, p.row(0, 0, 16))
        check("shown twice", want, p.row(1, 0, 16))
        check("odd lines", [RGB16[3]] * 8 + [RGB16[0]] * 8, p.row(2, 0, 16))


def test_256_picture():
    with Vga() as vm:
        vm.set_mode(MODE_13)
        vm.write(0xa0000, bytes(range(16)))
        vm.write(0xa0000 + 320, bytes(reversed(range(16))))
        p = vm.picture()
        check("size", (640, 400), (p.width, p.height))
        check("first line", [RGB16[i // 2] for i in range(32)], p.row(0, 0, 32))
        check("twice", [RGB16[i // 2] for i in range(32)], p.row(1, 0, 32))
        check("second line", [RGB16[15 - i // 2] for i in range(32)], p.row(2, 0, 32))
        vm.writeb(0xa0000, 15)
        check("a change is seen", RGB16[15], vm.picture().pixel(0, 0))
        vm.outb(0x3c8, 15)
        for _ in range(3):
            vm.outb(0x3c9, 0x15)
        check("so is one of the palette", (0x55, 0x55, 0x55), vm.picture().pixel(0, 0))
        vm.seq(1, 0x21)
        check("screen off", (0, 0, 0), vm.picture().pixel(0, 0))


def test_vbe_registers():
    with Vga() as vm:
        check("ID5", 0xb0c5, vm.vbe_read(0))
        vm.vbe(0, 0xb0c2)
        check("ID2", 0xb0c2, vm.vbe_read(0))
        vm.vbe(0, 0x1234)
        check("no ID", 0xb0c2, vm.vbe_read(0))
        check("memory", 256, vm.vbe_read(MEMORY))
        vm.vbe(ENABLE, GETCAPS)
        check("most", (16000, 12000, 32), tuple(vm.vbe_read(n) for n in (XRES, YRES, BPP)))
        vm.vbe_mode(1024, 768, 32)
        check("mode", (1024, 768, 32), tuple(vm.vbe_read(n) for n in (XRES, YRES, BPP)))
        check("virtual", (1024, 4096), (vm.vbe_read(VIRT_WIDTH), vm.vbe_read(VIRT_HEIGHT)))
        vm.vbe(VIRT_WIDTH, 2048)
        check("wider", (2048, 2048), (vm.vbe_read(VIRT_WIDTH), vm.vbe_read(VIRT_HEIGHT)))
        vm.vbe(Y_OFFSET, 0xffff)
        check("not past the end", 2048 - 768, vm.vbe_read(Y_OFFSET))
        vm.writew(BAR2 + 0x500 + 2 * Y_OFFSET, 16)
        check("through BAR 2", (16, 16),
              (vm.vbe_read(Y_OFFSET), vm.readw(BAR2 + 0x500 + 2 * Y_OFFSET)))
        check("byte order", 0x1e1e1e1e, vm.readl(BAR2 + 0x604))
        vm.writeb(BAR2 + 0x40e, 8)
        check("ports in BAR 2", 8, vm.inb(0x3ce))
        vm.vbe_mode(65528, 65535, 32)
        check("cut to what fits", (16000, 262), tuple(vm.vbe_read(n) for n in (XRES, YRES)))


def test_vbe_pictures():
    red, mid = (255, 0, 0), (0x10, 0x84, 0x39)
    packed = {
        15: struct.pack("<HH", 31 << 10, 2 << 10 | 16 << 5 | 7),
        16: struct.pack("<HH", 31 << 11, 2 << 11 | 33 << 5 | 7),
        24: bytes((0, 0, 255, mid[2], mid[1], mid[0])),
        32: bytes((0, 0, 255, 0, mid[2], mid[1], mid[0], 0)),
    }
    with Vga() as vm:
        vm.outb(0x3c2, 0x67)
        for bpp, data in packed.items():
            vm.vbe_mode(640, 480, bpp)
            stride = 640 * ((bpp + 1) // 8)
            vm.write(BAR0 + 7 * stride, data)
            p = vm.picture()
            got = p.row(7, 0, 3)
            want = [red, (mid[0], 132, mid[2]) if bpp > 15 else (16, 132, mid[2]), (0, 0, 0)]
            if bpp == 16:
                want[1] = (16, 33 << 2 | 33 >> 4, mid[2])
            check("%d bits" % bpp, want, got)
        vm.vbe_mode(640, 480, 32)
        check("cleared", (0, 0, 0), vm.picture().pixel(0, 7))
        vm.write(BAR0 + 4 * (640 * 100 + 50), bytes((1, 2, 3, 0)))
        check("a pixel", (3, 2, 1), vm.picture().pixel(50, 100))
        vm.vbe(VIRT_WIDTH, 800)
        vm.write(BAR0 + 4 * (800 * 20 + 30), bytes((4, 5, 6, 0)))
        vm.vbe(X_OFFSET, 10), vm.vbe(Y_OFFSET, 5)
        check("panned", (6, 5, 4), vm.picture().pixel(20, 15))
        vm.vbe_mode(800, 600, 8)
        vm.vbe(ENABLE, ENABLED | DAC8)
        vm.outb(0x3c8, 200)
        for part in (0xfe, 0x81, 0x03):
            vm.outb(0x3c9, part)
        vm.gfx(6, 5)
        vm.vbe(BANK, 3)
        vm.writeb(0xa0000, 200)
        at = 3 * 65536
        check("a bank, 8-bit DAC", (0xfe, 0x81, 0x03),
              vm.picture().pixel(at % 800, at // 800))
        check("bank in BAR 0", 200, vm.readb(BAR0 + at))


def test_retrace():
    with Vga() as vm:
        vm.set_mode(MODE_3)
        vm.clock_step(1)
        seen = set()
        for _ in range(500):
            seen.add(vm.inb(0x3da) & 9)
            vm.clock_step(37000)
        check("display, blank, retrace", {0, 1, 9}, seen)


def test_random_registers():
    """Nothing a guest writes ends the process, and every picture has its size."""
    random.seed(17)
    with Vga() as vm:
        for mode in (MODE_3, MODE_4, MODE_12, MODE_13) * 3:
            vm.set_mode(mode)
            for _ in range(60):
                kind = random.randrange(6)
                if kind == 0:
                    vm.crtc(random.randrange(32), random.randrange(256))
                elif kind == 1:
                    vm.seq(random.randrange(8), random.randrange(256))
                elif kind == 2:
                    vm.gfx(random.randrange(16), random.randrange(256))
                elif kind == 3:
                    vm.attr(random.randrange(32), random.randrange(256))
                elif kind == 4:
                    vm.write(0xa0000 + random.randrange(0x1ff00), random.randbytes(64))
                else:
                    vm.vbe(random.randrange(12), random.choice((0, 1, 4, 8, 15, 16, 24, 32, 640,
                                                                random.randrange(65536))))
                if random.randrange(8) == 0:
                    p = vm.picture()
                    check("a picture", True, p.width > 0 and p.height > 0)


main()
