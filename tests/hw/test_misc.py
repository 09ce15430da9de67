#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Small devices: port 92, debug ports, the test devices of x86 test suites."""

import os
import tempfile
import time

from qtest import QTest, check, main


def test_port92():
    with QTest("-M", "pc", "-m", "8") as vm:
        vm.writel(0x100000, 0x11111111)
        vm.writel(0, 0x22222222)
        vm.outb(0x92, 2)
        check("bit 1", 2, vm.inb(0x92))
        check("A20 on", 0x11111111, vm.readl(0x100000))
        vm.outb(0x92, 0)
        check("A20 off: wraps", 0x22222222, vm.readl(0x100000))
        vm.outb(0x92, 2)
        check("on again", 0x11111111, vm.readl(0x100000))
        vm.outb(0x92, 3)
        for _ in range(100):  # the reset happens in the main loop
            if vm.inb(0x92) == 0:
                break
            time.sleep(0.01)
        check("fast reset", 0, vm.inb(0x92))


def test_debug_exit():
    with QTest("-M", "pc", "-device", "isa-debug-exit,iobase=0xf4,iosize=4") as vm:
        check("reads 0", 0, vm.inb(0xf4))
        vm.outl(0xf4, 0x10)
        check("exit status", 0x21, vm.wait_exit())
        vm.proc.returncode = 0  # it is what we wanted


def test_debugcon():
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "log")
        with QTest("-M", "pc", "-chardev", "file,id=log,path=" + path,
                   "-device", "isa-debugcon,iobase=0x402,chardev=log") as vm:
            check("readback", 0xe9, vm.inb(0x402))
            for c in b"hello\n":
                vm.outb(0x402, c)
        with open(path, "rb") as f:
            check("log", b"hello\n", f.read())


def test_pc_testdev():
    with QTest("-M", "pc", "-device", "pc-testdev") as vm:
        vm.outl(0xe0, 0x12345678)
        check("long", 0x12345678, vm.inl(0xe0))
        check("word", 0x1234, vm.inw(0xe2))
        vm.outb(0xe1, 0xaa)
        check("byte in it", 0x1234aa78, vm.inl(0xe0))
        check("split to bytes", 0x1234aa78, vm.inl(0xe8))
        vm.outl(0xe4, 0x1000)
        vm.writeq(0xff000100, 0x1122334455667788)
        check("memory", 0x55667788, vm.readl(0xff000100))
        vm.irq_intercept_in("ioapic")
        vm.outb(0x200a, 1)
        check("line 10", True, vm.irq(10))
        vm.outb(0x200a, 0)
        check("line 10", False, vm.irq(10))


def test_pci_testdev():
    with QTest("-M", "pc", "-device", "pci-testdev") as vm:
        devfn = vm.pci_find(0x1b36, 5)
        vm.pci_write(devfn, 0x10, 0xfeb00000)
        vm.pci_write(devfn, 0x14, 0xc000)
        vm.pci_write(devfn, 4, 3, 2)
        bars = ((0xfeb00000, vm.readb, vm.readl, vm.writeb, b"mmio"),
                (0xc000, vm.inb, vm.inl, vm.outb, b"port"))
        for base, readb, readl, writeb, name in bars:
            check("no test chosen", 0, readb(base + 1))
            for test in range(3):
                writeb(base, test)
                check("width", 1, readb(base + 1))
                check("name", name, bytes(readb(base + 16 + i) for i in range(4)))
                offset, data = readl(base + 4), readl(base + 8)
                for i in range(5):
                    check("count", i, readl(base + 12))
                    writeb(base + offset, data)
            writeb(base, 3)
            check("there is no fourth", 0, readb(base + 1))


main()
