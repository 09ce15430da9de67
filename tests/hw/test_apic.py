#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Local APIC and I/O APIC as far as memory-mapped registers reach: without a CPU that takes
interrupts a vector ends in IRR. Acknowledge, EOI and x2APIC are in tests/unit/test_apic.c."""

from qtest import QTest, check, main

APIC, IOAPIC = 0xfee00000, 0xfec00000
SVR, ESR, ICR, ICR2, LVT_TIMER = 0xf0, 0x280, 0x300, 0x310, 0x320
LINT0, LVT_ERROR, INITIAL, CURRENT, DIVIDE = 0x350, 0x370, 0x380, 0x390, 0x3e0
MASKED, PERIODIC = 0x10000, 0x20000


def start(*args):
    vm = QTest("-M", "pc", *args)
    vm.writel(APIC + SVR, 0x1ff)
    return vm


def rd(vm, reg):
    return vm.readl(APIC + reg)


def wr(vm, reg, val):
    vm.writel(APIC + reg, val)


def irr(vm):
    """The vectors in IRR."""
    bits = sum(rd(vm, 0x200 + 0x10 * i) << 32 * i for i in range(8))
    return [v for v in range(256) if bits >> v & 1]


def io_rd(vm, reg):
    vm.writel(IOAPIC, reg)
    return vm.readl(IOAPIC + 0x10)


def io_wr(vm, reg, val):
    vm.writel(IOAPIC, reg)
    vm.writel(IOAPIC + 0x10, val)


def redir(vm, pin, low, dest=0):
    io_wr(vm, 0x11 + 2 * pin, dest << 24)
    io_wr(vm, 0x10 + 2 * pin, low)


def test_reset_values():
    with QTest("-M", "pc") as vm:
        want = {0x20: 0, 0x30: 0x50014, 0x80: 0, 0xa0: 0, 0xd0: 0, 0xe0: 0xffffffff, SVR: 0xff,
                ESR: 0, ICR: 0, ICR2: 0, INITIAL: 0, CURRENT: 0, DIVIDE: 0}
        want.update({reg: MASKED for reg in range(0x320, 0x380, 0x10)})
        for reg, val in want.items():
            check("register %03x" % reg, val, rd(vm, reg))


def test_writable_bits():
    with start() as vm:
        for reg, val in ((0x320, 0x700ff), (0x330, 0x107ff), (0x340, 0x107ff), (0x360, 0x1a7ff),
                         (0x370, 0x100ff), (DIVIDE, 0xb), (0xd0, 0xff000000), (0x80, 0xff),
                         (ICR2, 0xff000000)):
            wr(vm, reg, 0xffffffff)
            check("register %03x" % reg, val, rd(vm, reg))
        wr(vm, SVR, 0xff)
        wr(vm, 0x340, 0)
        check("software disable masks", MASKED, rd(vm, 0x340))
        check("bytes 4-15 of a register", 0, vm.readl(APIC + 0x34))


def test_self_ipi():
    with start() as vm:
        wr(vm, ICR, 0x40000 | 0x51)
        wr(vm, ICR2, 0)
        wr(vm, ICR, 0x81)
        wr(vm, ICR, 0x80000 | 0xff)  # all including self
        wr(vm, ICR, 0xc0000 | 0x99)  # all but self
        check("IRR", [0x51, 0x81, 0xff], irr(vm))
        check("TMR: all edge", 0, rd(vm, 0x180))


def test_errors():
    with start() as vm:
        wr(vm, LVT_ERROR, 0xe0)
        wr(vm, ICR, 0x40000 | 0x05)
        check("not shown before a write", 0, rd(vm, ESR))
        wr(vm, ESR, 0)
        check("send illegal vector", 0x20, rd(vm, ESR))
        check("LVT error", [0xe0], irr(vm))
        rd(vm, 0x3f0)
        wr(vm, ESR, 0)
        check("illegal register", 0x80, rd(vm, ESR))
        wr(vm, ESR, 0)
        check("nothing new", 0, rd(vm, ESR))


def test_timer_one_shot():
    with start() as vm:
        wr(vm, DIVIDE, 0xb)  # by 1
        wr(vm, LVT_TIMER, 0x40)
        wr(vm, INITIAL, 10000)
        vm.clock_step(4000)
        check("1 GHz", 6000, rd(vm, CURRENT))
        check("expires", 10000, vm.clock_step())
        check("vector", [0x40], irr(vm))
        check("rests at 0", 0, rd(vm, CURRENT))
        wr(vm, DIVIDE, 0x3)  # by 16
        wr(vm, INITIAL, 1000)
        check("divided", 26000, vm.clock_step())
        wr(vm, INITIAL, 1000)
        vm.clock_step(8000)
        wr(vm, DIVIDE, 0x0)  # by 2, on the way
        check("the count stays", 500, rd(vm, CURRENT))
        check("and goes faster", 35000, vm.clock_step())


def test_timer_periodic():
    with start() as vm:
        wr(vm, DIVIDE, 0xb)
        wr(vm, LVT_TIMER, PERIODIC | 0x41)
        wr(vm, INITIAL, 50000)
        for i in 1, 2, 3:
            check("period %d" % i, 50000 * i, vm.clock_step())
        vm.clock_step(20000)
        check("count", 30000, rd(vm, CURRENT))
        wr(vm, LVT_TIMER, MASKED | PERIODIC | 0x41)
        check("masked: no host timer, but it counts", 170000 + 45000, vm.clock_step(45000))
        check("count", 50000 - 15000, rd(vm, CURRENT))
        wr(vm, INITIAL, 0)
        check("stopped", 0, rd(vm, CURRENT))


def test_msi():
    with start("-smp", "2") as vm:
        vm.writel(APIC, 0x61)  # destination 0
        vm.writel(APIC + 0xff000, 0x62)  # broadcast
        vm.writel(APIC + 0x1000, 0x63)  # CPU 1
        check("IRR", [0x61, 0x62], irr(vm))


def test_pic_through_lint0():
    with start() as vm:
        wr(vm, LINT0, 0x700)  # ExtINT asks the PIC, IRR does not see it
        vm.set_irq_in("i8259", 3, 1)
        check("IRR", [], irr(vm))
        vm.set_irq_in("i8259", 3, 0)
        wr(vm, LINT0, 0x8045)  # fixed, level
        vm.outb(0x21, 0)
        vm.set_irq_in("i8259", 3, 1)
        check("IRR", [0x45], irr(vm))
        check("remote IRR", 0xc045, rd(vm, LINT0))


def test_ioapic_registers():
    with QTest("-M", "pc") as vm:
        check("version, 24 pins", 0x170020, io_rd(vm, 1))
        check("id", 0, io_rd(vm, 0))
        io_wr(vm, 0, 0xffffffff)
        check("id has four bits", 0x0f000000, io_rd(vm, 0))
        check("arbitration id", 0x0f000000, io_rd(vm, 2))
        for pin in range(24):
            check("pin %d is masked" % pin, MASKED, io_rd(vm, 0x10 + 2 * pin))
        io_wr(vm, 0x10, 0xffffffff)
        io_wr(vm, 0x11, 0xffffffff)
        check("writable bits, low", 0x1afff, io_rd(vm, 0x10))
        check("high", 0xff000000, io_rd(vm, 0x11))
        check("beyond", 0, io_rd(vm, 0x40))


def test_ioapic_edge():
    with start() as vm:
        redir(vm, 5, 0x55)
        vm.set_irq_in("ioapic", 5, 1)
        check("vector", [0x55], irr(vm))
        redir(vm, 6, MASKED | 0x56)
        vm.set_irq_in("ioapic", 6, 1)
        redir(vm, 6, 0x56)
        check("an edge while masked is lost", [0x55], irr(vm))
        redir(vm, 2, 0x52)
        vm.set_irq_in("ioapic", 0, 1)
        check("the timer arrives at pin 2", [0x52, 0x55], irr(vm))


def test_ioapic_level():
    with start() as vm:
        redir(vm, 11, MASKED | 0x8000 | 0x5b)
        vm.set_irq_in("ioapic", 11, 1)
        check("masked", [], irr(vm))
        redir(vm, 11, 0x8000 | 0x5b)
        check("unmasked", [0x5b], irr(vm))
        check("remote IRR", 0xc05b, io_rd(vm, 0x10 + 22))
        check("TMR", 1 << 27, rd(vm, 0x1a0))
        vm.set_irq_in("ioapic", 11, 0)
        check("remote IRR stays until EOI", 0xc05b, io_rd(vm, 0x10 + 22))
        vm.writel(IOAPIC + 0x40, 0x5b)
        check("EOI register", 0x805b, io_rd(vm, 0x10 + 22))
        vm.set_irq_in("ioapic", 11, 1)
        vm.writel(IOAPIC + 0x40, 0x5b)
        check("still asserted: again", 0xc05b, io_rd(vm, 0x10 + 22))
        redir(vm, 11, MASKED | 0x5b)
        check("edge mode clears it", MASKED | 0x5b, io_rd(vm, 0x10 + 22))


def test_logical_destination():
    with start() as vm:
        wr(vm, 0xd0, 0x04000000)
        redir(vm, 5, 0x800 | 0x65, dest=0x06)
        redir(vm, 6, 0x800 | 0x66, dest=0x03)
        redir(vm, 7, 0x900 | 0x67, dest=0xff)  # lowest priority
        for pin in 5, 6, 7:
            vm.set_irq_in("ioapic", pin, 1)
        check("flat", [0x65, 0x67], irr(vm))
        wr(vm, 0xe0, 0x0fffffff)
        wr(vm, 0xd0, 0x12000000)
        redir(vm, 9, 0x800 | 0x69, dest=0x13)
        redir(vm, 10, 0x800 | 0x6a, dest=0x22)
        vm.set_irq_in("ioapic", 9, 1)
        vm.set_irq_in("ioapic", 10, 1)
        check("cluster", [0x65, 0x67, 0x69], irr(vm))


main()
