#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""8237A pair: registers. Transfers are in tests/unit/test_i8237.c."""

from qtest import QTest, check, main


def test_address_and_count():
    with QTest("-M", "pc") as vm:
        for base, stride, clear in (0x00, 1, 0x0c), (0xc0, 2, 0xd8):
            vm.outb(clear, 0)
            for reg in range(8):
                vm.outb(base + reg * stride, 0x34 + reg)
                vm.outb(base + reg * stride, 0x12)
            for reg in range(8):
                check("low", 0x34 + reg, vm.inb(base + reg * stride))
                check("high", 0x12, vm.inb(base + reg * stride))
            vm.inb(base)
            vm.outb(clear, 0)
            check("flip-flop cleared", 0x34, vm.inb(base))


def test_masks():
    with QTest("-M", "pc") as vm:
        check("all masked", 0x0f, vm.inb(0x0f) & 0x0f)
        vm.outb(0x0a, 0x02)
        check("channel 2", 0x0b, vm.inb(0x0f) & 0x0f)
        vm.outb(0x0a, 0x06)
        check("again", 0x0f, vm.inb(0x0f) & 0x0f)
        vm.outb(0x0e, 0)
        check("clear all", 0, vm.inb(0x0f) & 0x0f)
        vm.outb(0x0d, 0)
        check("master clear", 0x0f, vm.inb(0x0f) & 0x0f)
        vm.outb(0xde, 0x5)
        check("second chip", 0x5, vm.inb(0xde) & 0x0f)


def test_pages():
    with QTest("-M", "pc") as vm:
        for port in range(0x80, 0x90):
            vm.outb(port, port ^ 0xff)
        for port in range(0x80, 0x90):
            check("port %02x" % port, port ^ 0xff, vm.inb(port))


def test_request():
    with QTest("-M", "pc") as vm:
        vm.outb(0x09, 0x05)
        check("software request", 0x20, vm.inb(0x08))
        vm.outb(0x09, 0x01)
        check("taken back", 0, vm.inb(0x08))


main()
