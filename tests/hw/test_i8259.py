#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""8259A pair: initialization, priorities, EOI forms, poll mode, ELCR. The INTA cycle, which needs
a CPU, is in tests/unit/test_i8259.c; here poll mode acknowledges."""

from qtest import QTest, check, main

M, S = 0x20, 0xa0  # master, slave


def start(icw4=0x01):
    vm = QTest("-M", "pc")
    for base, vector, icw3 in (M, 0x20, 0x04), (S, 0x28, 0x02):
        vm.outb(base, 0x11)
        vm.outb(base + 1, vector)
        vm.outb(base + 1, icw3)
        vm.outb(base + 1, icw4)
    return vm


def line(vm, n, level):
    vm.set_irq_in("i8259", n, level)


def irr(vm, base=M):
    vm.outb(base, 0x0a)
    return vm.inb(base)


def isr(vm, base=M):
    vm.outb(base, 0x0b)
    return vm.inb(base)


def poll(vm, base=M):
    vm.outb(base, 0x0c)
    return vm.inb(base)


def test_registers():
    with start() as vm:
        check("IMR after ICWs", 0, vm.inb(M + 1))
        vm.outb(M + 1, 0xa5)
        vm.outb(S + 1, 0x5a)
        check("master IMR", 0xa5, vm.inb(M + 1))
        check("slave IMR", 0x5a, vm.inb(S + 1))
        check("IRR", 0, irr(vm))
        check("ISR", 0, isr(vm))


def test_edge():
    with start() as vm:
        line(vm, 3, 1)
        check("IRR", 0x08, irr(vm))
        check("poll", 0x83, poll(vm))
        check("IRR is served", 0, irr(vm))
        check("ISR", 0x08, isr(vm))
        vm.outb(M, 0x20)
        check("EOI", 0, isr(vm))
        check("no edge, no request", 0, poll(vm))
        line(vm, 3, 0)
        line(vm, 3, 1)
        check("next edge", 0x08, irr(vm))
        line(vm, 3, 0)
        check("a line that falls too early", 0, irr(vm))


def test_elcr():
    with start() as vm:
        vm.outb(0x4d0, 0xff)
        vm.outb(0x4d1, 0xff)
        check("ELCR1: 0-2 are edge", 0xf8, vm.inb(0x4d0))
        check("ELCR2: 8, 13 are edge", 0xde, vm.inb(0x4d1))
        line(vm, 5, 1)
        check("poll", 0x85, poll(vm))
        check("level still asks", 0x20, irr(vm))
        check("but is in service", 0, poll(vm))
        vm.outb(M, 0x65)  # specific EOI
        check("and again", 0x85, poll(vm))
        line(vm, 5, 0)
        check("IRR follows", 0, irr(vm))


def test_priority():
    with start() as vm:
        line(vm, 6, 1)
        line(vm, 4, 1)
        check("higher first", 0x84, poll(vm))
        check("lower has to wait", 0, poll(vm))
        line(vm, 1, 1)
        check("higher nests", 0x81, poll(vm))
        check("ISR", 0x12, isr(vm))
        vm.outb(M, 0x20)
        check("non-specific EOI takes the highest", 0x10, isr(vm))
        vm.outb(M, 0x20)
        check("then the waiting one", 0x86, poll(vm))


def test_rotation():
    with start() as vm:
        vm.outb(M, 0xc3)  # set priority: 3 lowest, 4 highest
        line(vm, 0, 1)
        line(vm, 5, 1)
        check("5 before 0", 0x85, poll(vm))
        vm.outb(M, 0xa0)  # rotate on non-specific EOI: 5 lowest
        check("ISR", 0, isr(vm))
        line(vm, 7, 1)
        check("7 before 0", 0x87, poll(vm))
        vm.outb(M, 0xe7)  # rotate on specific EOI: 7 lowest, 0 highest
        check("0", 0x80, poll(vm))
    with start(icw4=0x03) as vm:  # AEOI
        vm.outb(M, 0x80)  # rotate in AEOI
        line(vm, 2 + 1, 1)
        check("poll", 0x83, poll(vm))
        check("nothing in service", 0, isr(vm))
        line(vm, 0, 1)
        line(vm, 4, 1)
        check("4 before 0", 0x84, poll(vm))


def test_special_mask():
    with start() as vm:
        line(vm, 2 + 1, 1)
        check("serve 3", 0x83, poll(vm))
        line(vm, 6, 1)
        check("6 waits", 0, poll(vm))
        vm.outb(M + 1, 0x08)
        check("masking 3 alone does not help", 0, poll(vm))
        vm.outb(M, 0x68)  # special mask mode
        check("now it does", 0x86, poll(vm))
        vm.outb(M, 0x20)
        check("EOI skips masked levels", 0x08, isr(vm))


def test_cascade():
    with start() as vm:
        line(vm, 12, 1)
        check("slave IRR", 0x10, irr(vm, S))
        check("master IRR", 0x04, irr(vm))
        vm.outb(S + 1, 0x10)
        check("masked at the slave", 0, irr(vm))
        vm.outb(S + 1, 0)
        check("poll master", 0x82, poll(vm))
        check("poll slave", 0x84, poll(vm, S))
        check("slave ISR", 0x10, isr(vm, S))
        line(vm, 9, 1)
        check("a better one waits for the master's EOI", 0, poll(vm))
        vm.outb(M, 0x20)
        check("master's turn", 0x82, poll(vm))
        check("slave's turn", 0x81, poll(vm, S))


def test_special_fully_nested():
    with start(icw4=0x11) as vm:
        line(vm, 12, 1)
        check("master", 0x82, poll(vm))
        check("slave", 0x84, poll(vm, S))
        line(vm, 9, 1)
        check("a better slave line gets through", 0x82, poll(vm))
        check("slave", 0x81, poll(vm, S))


def test_icw1_resets():
    with start() as vm:
        line(vm, 4, 1)
        vm.outb(M + 1, 0xff)
        vm.outb(M, 0x13)
        vm.outb(M + 1, 0x40)
        vm.outb(M + 1, 0x01)  # ICW4, there is no ICW3 with SNGL
        check("IMR", 0, vm.inb(M + 1))
        check("a line that was high is no edge", 0, irr(vm))


main()
