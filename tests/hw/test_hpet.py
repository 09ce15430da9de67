#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""HPET: counter, one-shot and periodic comparators, edge and level, legacy replacement."""

from qtest import QTest, check, main

BASE = 0xfed00000
CONF, STATUS, COUNTER = BASE + 0x10, BASE + 0x20, BASE + 0xf0
LEVEL, ENB, PERIODIC, VAL_SET, BITS32 = 2, 4, 8, 0x40, 0x100


def tconf(n):
    return BASE + 0x100 + 0x20 * n


def tcmp(n):
    return tconf(n) + 8


def start():
    vm = QTest("-M", "pc")
    vm.irq_intercept_in("ioapic")
    return vm


def test_capabilities():
    with start() as vm:
        check("GCAP_ID", 0x0098968080 << 24 | 0x86a201, vm.readq(BASE))
        check("low half", 0x8086a201, vm.readl(BASE))
        check("period: 10 ns in fs", 10000000, vm.readl(BASE + 4))
        check("T0 caps", 0x00ff010400000030, vm.readq(tconf(0)))
        vm.writeq(BASE, 0)
        check("read only", 0x8086a201, vm.readl(BASE))


def test_counter():
    with start() as vm:
        vm.clock_step(1000)
        check("halted", 0, vm.readq(COUNTER))
        vm.writeq(COUNTER, 0xfffffff0)
        vm.writeq(CONF, 1)
        vm.clock_step(1000)
        check("100 MHz", 0xfffffff0 + 100, vm.readq(COUNTER))
        check("low", 0x54, vm.readl(COUNTER))
        check("high", 1, vm.readl(COUNTER + 4))
        vm.writeq(CONF, 0)
        vm.clock_step(1000)
        check("halted again", 0xfffffff0 + 100, vm.readq(COUNTER))


def test_one_shot_level():
    with start() as vm:
        vm.writeq(tconf(2), 20 << 9 | LEVEL | ENB)
        vm.writeq(tcmp(2), 1000)
        vm.writeq(CONF, 1)
        check("match", 10000, vm.clock_step())
        check("status", 4, vm.readq(STATUS))
        check("GSI 20", True, vm.irq(20))
        vm.writeq(STATUS, 4)
        check("falls", False, vm.irq(20))
        vm.irq_log.clear()
        vm.clock_step(10**9)
        check("once", [], vm.irq_log)


def test_periodic_edge():
    with start() as vm:
        vm.writeq(tconf(1), 21 << 9 | ENB | PERIODIC | VAL_SET)
        vm.writeq(tcmp(1), 5000)
        vm.writeq(tcmp(1), 2000)
        check("VAL_SET reads 0", 0, vm.readl(tconf(1)) & VAL_SET)
        vm.writeq(CONF, 1)
        for when in 5000, 7000, 9000:
            vm.irq_log.clear()
            check("match", when * 10, vm.clock_step())
            vm.irq(0)
            check("edge", (21, True), vm.irq_log[-1])
            check("accumulator", when + 2000, vm.readq(tcmp(1)))
        check("no status", 0, vm.readq(STATUS))
        vm.writeq(tconf(1), 21 << 9 | PERIODIC)
        check("off", False, vm.irq(21))
        vm.irq_log.clear()
        vm.clock_step(10**6)
        check("silent", [], vm.irq_log)
        check("the accumulator goes on", True, vm.readq(tcmp(1)) > vm.readq(COUNTER))


def test_32bit():
    with start() as vm:
        vm.writeq(COUNTER, 0x1fffff000)
        vm.writel(tconf(0), 22 << 9 | ENB | BITS32)
        vm.writel(tcmp(0), 0x10)
        vm.writel(CONF, 1)
        check("compares 32 bits, over the wrap", 0x1010 * 10, vm.clock_step())
        check("GSI 22", True, vm.irq(22))


def test_legacy():
    with start() as vm:
        vm.outb(0x43, 0x34)
        vm.outb(0x40, 0x00)
        vm.outb(0x40, 0x10)
        check("the PIT has IRQ 0", True, vm.irq(0))
        vm.writeq(CONF, 2)
        check("replaced", False, vm.irq(0))
        vm.irq_log.clear()
        vm.clock_step(10**8)
        check("the PIT is silent", [], vm.irq_log)
        now = vm.clock_step(0)
        vm.writel(tconf(0), ENB)
        vm.writeq(tcmp(0), 100)
        vm.writel(tconf(1), ENB | LEVEL)
        vm.writeq(tcmp(1), 200)
        vm.writeq(CONF, 3)
        check("timer 0", now + 1000, vm.clock_step())
        check("IRQ 0", True, vm.irq(0))
        check("timer 1", now + 2000, vm.clock_step())
        check("IRQ 8", True, vm.irq(8))
        vm.writeq(STATUS, 2)
        check("IRQ 8 falls", False, vm.irq(8))
        vm.writeq(CONF, 0)
        check("the PIT is back", True, vm.irq(0))


main()
