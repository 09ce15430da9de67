#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""8254: modes, latches, BCD, gate and OUT of counter 2, IRQ 0."""

from qtest import QTest, check, main

HZ = 1193182
TICK = 1e9 / HZ


def ns(ticks):
    """The first nanosecond of a tick."""
    return -(-ticks * 1000000000 // HZ)


def setup(vm, n, mode, count, bcd=0):
    vm.outb(0x43, n << 6 | 0x30 | mode << 1 | bcd)
    vm.outb(0x40 + n, count & 0xff)
    vm.outb(0x40 + n, count >> 8)


def count(vm, n):
    vm.outb(0x43, n << 6)
    return vm.inb(0x40 + n) | vm.inb(0x40 + n) << 8


def out2(vm):
    return vm.inb(0x61) >> 5 & 1


def test_mode0():
    with QTest("-M", "pc") as vm:
        vm.outb(0x61, 1)
        setup(vm, 2, 0, 1000)
        check("loaded", 1000, count(vm, 2))
        check("OUT", 0, out2(vm))
        vm.clock_set(ns(101))  # the load takes one tick
        check("after 100", 900, count(vm, 2))
        vm.clock_set(ns(1000))
        check("before the end", 0, out2(vm))
        vm.clock_set(ns(1001))
        check("at the end", 1, out2(vm))
        check("count", 0, count(vm, 2))
        vm.clock_set(ns(1011))
        check("goes on below zero", 0xfff6, count(vm, 2))
        check("OUT stays", 1, out2(vm))


def test_gate():
    with QTest("-M", "pc") as vm:
        vm.outb(0x61, 0)
        setup(vm, 2, 0, 1000)
        vm.clock_set(ns(500))
        check("no gate, no counting", 1000, count(vm, 2))
        vm.outb(0x61, 1)
        vm.clock_set(ns(600))
        check("counts", 900, count(vm, 2))
        vm.outb(0x61, 0)
        vm.clock_set(ns(700))
        check("stops", 900, count(vm, 2))
        vm.outb(0x61, 1)
        vm.clock_set(ns(800))
        check("goes on", 800, count(vm, 2))
        vm.outb(0x61, 0)
        setup(vm, 2, 1, 50)
        check("mode 1 waits, OUT high", 1, out2(vm))
        vm.outb(0x61, 1)
        vm.clock_step(ns(10))
        check("pulse", 0, out2(vm))
        vm.clock_step(ns(60))
        check("over", 1, out2(vm))
        vm.outb(0x61, 0)
        vm.outb(0x61, 1)
        vm.clock_step(ns(10))
        check("retriggered", 0, out2(vm))


def test_mode2_and_3():
    with QTest("-M", "pc") as vm:
        vm.outb(0x61, 1)
        setup(vm, 2, 2, 100)
        vm.clock_set(ns(1 + 30))
        check("mode 2", 70, count(vm, 2))
        vm.clock_set(ns(1 + 99))
        check("1", 1, count(vm, 2))
        check("low for one tick", 0, out2(vm))
        vm.clock_set(ns(1 + 100))
        check("reloads", 100, count(vm, 2))
        check("high", 1, out2(vm))
        now = 101
        setup(vm, 2, 3, 100)
        vm.clock_set(ns(now + 1 + 20))
        check("mode 3 counts by two", 60, count(vm, 2))
        check("high half", 1, out2(vm))
        vm.clock_set(ns(now + 1 + 50))
        check("low half", 0, out2(vm))
        check("reloads in the middle", 100, count(vm, 2))
        vm.outb(0x42, 40)  # new count: from the next half on
        vm.outb(0x42, 0)
        vm.clock_set(ns(now + 1 + 99))
        check("old low half", 0, out2(vm))
        vm.clock_set(ns(now + 1 + 101))
        check("new high half", 1, out2(vm))
        check("new count", 38, count(vm, 2))
        vm.clock_set(ns(now + 1 + 120))
        check("new low half", 0, out2(vm))


def test_strobe():
    with QTest("-M", "pc") as vm:
        vm.outb(0x61, 1)
        setup(vm, 2, 4, 10)
        check("high", 1, out2(vm))
        vm.clock_set(ns(11))
        check("strobe", 0, out2(vm))
        vm.clock_set(ns(12))
        check("high", 1, out2(vm))
        vm.outb(0x61, 0)
        setup(vm, 2, 5, 10)
        vm.clock_set(ns(40))
        check("mode 5 waits", 1, out2(vm))
        vm.outb(0x61, 1)
        vm.clock_set(ns(51))
        check("strobe", 0, out2(vm))


def test_latch_and_read_back():
    with QTest("-M", "pc") as vm:
        vm.outb(0x61, 1)
        setup(vm, 2, 0, 0x1234)
        vm.outb(0x43, 0x80)
        vm.clock_set(ns(101))
        check("LSB", 0x34, vm.inb(0x42))
        check("MSB", 0x12, vm.inb(0x42))
        check("unlatched LSB", 0x1234 - 100 & 0xff, vm.inb(0x42))
        check("unlatched MSB", 0x1234 - 100 >> 8, vm.inb(0x42))
        vm.outb(0x43, 0xc8)  # count and status of counter 2
        check("status", 0x30, vm.inb(0x42))
        check("LSB", 0x1234 - 100 & 0xff, vm.inb(0x42))
        check("MSB", 0x1234 - 100 >> 8, vm.inb(0x42))
        vm.outb(0x43, 0xb6)
        vm.outb(0x43, 0xe8)  # status alone
        check("null count, OUT, mode 3", 0xf6, vm.inb(0x42))
        vm.outb(0x43, 0xbe)  # mode 7 is 3
        vm.outb(0x43, 0xe8)
        check("mode", 0xf6, vm.inb(0x42))


def test_bcd_and_bytes():
    with QTest("-M", "pc") as vm:
        vm.outb(0x61, 1)
        setup(vm, 2, 0, 0x1000, bcd=1)
        vm.clock_set(ns(2))
        check("BCD", 0x0999, count(vm, 2))
        setup(vm, 2, 0, 0, bcd=1)
        vm.clock_set(ns(2 + 2))
        check("10000", 0x9999, count(vm, 2))
        vm.outb(0x43, 0xa0)  # MSB only
        vm.outb(0x42, 0x12)
        check("MSB only", 0x12, vm.inb(0x42))
        vm.outb(0x43, 0x90)  # LSB only
        vm.outb(0x42, 0x34)
        check("LSB only", 0x34, vm.inb(0x42))


def test_irq0():
    with QTest("-M", "pc") as vm:
        vm.irq_intercept_in("ioapic")
        setup(vm, 0, 2, 11932)
        check("OUT starts high", True, vm.irq(0))
        vm.irq_log.clear()
        for i in range(1, 4):
            check("period %d" % i, ns(1 + 11932 * i), vm.clock_step())
            check("falls, rises", [(0, False), (0, True)], vm.irq_log)
            vm.irq_log.clear()
        setup(vm, 0, 0, 100)
        check("mode 0 drops it", False, vm.irq(0))
        vm.clock_step()
        check("terminal count", True, vm.irq(0))
        vm.irq_log.clear()
        vm.clock_step(10**9)
        check("once", [], vm.irq_log)


def test_port61():
    with QTest("-M", "pc") as vm:
        vm.outb(0x61, 0xff)
        check("writable bits", 0x0f, vm.inb(0x61) & 0xcf)
        vm.outb(0x61, 0)
        seen = set()
        for _ in range(4):
            seen.add(vm.inb(0x61) & 0x10)
            vm.clock_step(15085)
        check("refresh toggles", {0, 0x10}, seen)


main()
