# SPDX-License-Identifier: GPL-2.0-or-later
"""What the CPU sees below 1 MiB and around 4 GiB: PAM segments, BIOS shadow, A20, RAM split."""

import os

from qtest import QTest, check, main

# (register, shift, base, size): the thirteen segments
SEGMENTS = [(0x59, 4, 0xf0000, 0x10000)] + [
    (0x5a + n // 2, 4 * (n % 2), 0xc0000 + n * 0x4000, 0x4000) for n in range(12)]
READ, WRITE = 1, 2


def set_pam(vm, reg, shift, bits):
    old = vm.pci_read(0, reg, 1)
    vm.pci_write(0, reg, old & ~(3 << shift) | bits << shift, 1)


def test_segments():
    with QTest("-M", "pc", "-vga", "none") as vm:
        for reg, shift, base, size in SEGMENTS:
            for at in (base, base + size - 4):
                set_pam(vm, reg, shift, 0)
                rom = vm.readl(at)
                vm.writel(at, 0x11111111)
                check("0x%x off: PCI, not written" % at, rom, vm.readl(at))
                set_pam(vm, reg, shift, READ | WRITE)
                vm.writel(at, 0x22222222)
                check("0x%x read and write: RAM" % at, 0x22222222, vm.readl(at))
                set_pam(vm, reg, shift, READ)
                vm.writel(at, 0x33333333)
                check("0x%x read only" % at, 0x22222222, vm.readl(at))
                set_pam(vm, reg, shift, WRITE)
                vm.writel(at, 0x44444444)
                check("0x%x write only reads PCI" % at, rom, vm.readl(at))
                set_pam(vm, reg, shift, READ | WRITE)
                check("0x%x write only wrote RAM" % at, 0x44444444, vm.readl(at))


def test_neighbours():
    """A segment's bits move that segment alone."""
    with QTest("-M", "pc", "-vga", "none") as vm:
        for reg, shift, base, size in SEGMENTS:
            set_pam(vm, reg, shift, READ | WRITE)
            vm.writel(base, base)
        for reg, shift, base, size in SEGMENTS:
            set_pam(vm, reg, shift, 0)
            check("0x%x is PCI" % base, True, vm.readl(base) != base)
            for _, _, other, _ in SEGMENTS:
                if other != base:
                    check("0x%x stays RAM" % other, other, vm.readl(other))
            set_pam(vm, reg, shift, READ | WRITE)


def test_reserved_bits():
    with QTest("-M", "pc") as vm:
        for reg in range(0x59, 0x60):
            vm.pci_write(0, reg, 0xff, 1)
            check("PAM 0x%x" % reg, 0x30 if reg == 0x59 else 0x33, vm.pci_read(0, reg, 1))


def test_bios():
    with QTest("-M", "pc") as vm:
        top = vm.read(0xfffe0000, 0x20000)
        check("reset vector", 0xea, vm.readb(0xfffffff0))
        check("same below 1 MiB", True, top == vm.read(0xe0000, 0x20000))
        vm.writel(0xfffffff0, 0)
        check("ROM", 0xea, vm.readb(0xfffffff0))


def test_bios_file():
    with QTest("-M", "pc", "-m", "4") as vm:
        path = vm.tmp("bios")
        with open(path, "wb") as f:
            f.write(bytes([n for n in range(3)] * 0x10000))
        with QTest("-M", "pc", "-bios", path) as other:
            check("192 KiB BIOS, first byte", 0, other.readb(0x100000000 - 0x30000))
            check("second byte", 1, other.readb(0x100000000 - 0x30000 + 1))
            check("last 128 KiB in ISA memory", other.read(0xfffe0000, 64), other.read(0xe0000, 64))


def test_a20():
    with QTest("-M", "pc", "-m", "64") as vm:
        vm.writel(0x500, 0x11111111)
        vm.writel(0x100500, 0x22222222)
        vm.outb(0x92, vm.inb(0x92) | 2)
        check("open", 0x22222222, vm.readl(0x100500))
        vm.outb(0x92, vm.inb(0x92) & ~2)
        check("shut: wraps", 0x11111111, vm.readl(0x100500))
        vm.writel(0x300500, 0x33333333)
        check("shut: 3 MiB is 2 MiB", 0x33333333, vm.readl(0x200500))
        check("shut: the reset vector stays", 0xea, vm.readb(0xfffffff0))
        vm.outb(0x92, vm.inb(0x92) | 2)
        check("open again", 0x22222222, vm.readl(0x100500))
        check("was not written", 0, vm.readl(0x300500))


def test_ram_split():
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = "4G" if free > 1 << 30 else "3G"
    with QTest("-M", "pc", "-m", size) as vm:
        vm.writel(0xbffffffc, 0xaaaaaaaa)
        check("top of low RAM", 0xaaaaaaaa, vm.readl(0xbffffffc))
        vm.writel(0xc0000000, 0x55555555)
        check("the hole is no RAM", True, vm.readl(0xc0000000) != 0x55555555)
        if size == "4G":
            vm.writel(0x100000000, 0xbbbbbbbb)
            vm.writel(0x13ffffffc, 0xcccccccc)
            check("start of high RAM", 0xbbbbbbbb, vm.readl(0x100000000))
            check("end of high RAM", 0xcccccccc, vm.readl(0x13ffffffc))
            vm.writel(0x140000000, 0xdddddddd)
            check("behind it", True, vm.readl(0x140000000) != 0xdddddddd)


main()
