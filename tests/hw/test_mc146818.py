#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""RTC and CMOS: time of day in all formats, update, alarm, periodic interrupt, NVRAM."""

from qtest import QTest, check, main

S = 10**9


def start(date="2024-02-28T23:59:58"):
    vm = QTest("-M", "pc", "-rtc", "base=%s,clock=vm" % date)
    vm.irq_intercept_in("ioapic")
    return vm


def rd(vm, reg):
    vm.outb(0x70, reg)
    return vm.inb(0x71)


def wr(vm, reg, val):
    vm.outb(0x70, reg)
    vm.outb(0x71, val)


def time(vm):
    return [rd(vm, r) for r in (0x32, 9, 8, 7, 4, 2, 0)]


def test_time():
    with start() as vm:
        check("REG_A", 0x26, rd(vm, 10))
        check("REG_B", 0x02, rd(vm, 11))
        check("REG_D", 0x80, rd(vm, 13))
        check("date", [0x20, 0x24, 2, 0x28, 0x23, 0x59, 0x58], time(vm))
        check("weekday", 4, rd(vm, 6))
        vm.clock_step(2 * S)
        check("leap day", [0x20, 0x24, 2, 0x29, 0, 0, 0], time(vm))
        vm.clock_step(86400 * S)
        check("March", [0x20, 0x24, 3, 1, 0, 0, 0], time(vm))
        check("weekday", 6, rd(vm, 6))


def test_formats():
    with start("2031-12-11T15:16:17") as vm:
        check("BCD", 0x15, rd(vm, 4))
        wr(vm, 11, 0x06)
        check("binary", [20, 31, 12, 11, 15, 16, 17], time(vm))
        wr(vm, 11, 0x00)
        check("12 h", 0x83, rd(vm, 4))
        vm.clock_step(9 * 3600 * S)
        check("midnight is 12 AM", 0x12, rd(vm, 4))
        vm.clock_step(12 * 3600 * S)
        check("noon is 12 PM", 0x92, rd(vm, 4))


def test_years_out_of_reach():
    with start() as vm:
        for century, year, want in ((0xff, 0xff, [0x21, 0x50]), (0, 0, [0x19, 0])):
            wr(vm, 0x32, century)
            wr(vm, 9, year)
            check("century, year", want, [rd(vm, 0x32), rd(vm, 9)])


def test_set():
    with start() as vm:
        wr(vm, 11, 0x82)
        for reg, val in ((0, 0x57), (2, 0x58), (4, 0x22), (7, 0x31), (8, 0x12), (9, 0x99),
                         (0x32, 0x19)):
            wr(vm, reg, val)
        vm.clock_step(10 * S)
        check("stands still", 0x57, rd(vm, 0))
        wr(vm, 11, 0x02)
        vm.clock_step(63 * S + S // 2)
        check("runs", [0x19, 0x99, 0x12, 0x31, 0x23, 0, 0], time(vm))
        vm.clock_step(3600 * S)
        check("2000", [0x20, 0x00, 1, 1, 0, 0, 0], time(vm))
        wr(vm, 10, 0x66)  # divider reset
        wr(vm, 0, 0x30)
        vm.clock_step(5 * S)
        wr(vm, 10, 0x26)
        vm.clock_step(S // 2 - 1000)
        check("half a second to the update", 0x30, rd(vm, 0))
        vm.clock_step(2000)
        check("then", 0x31, rd(vm, 0))


def test_uip():
    with start() as vm:
        check("no update", 0, rd(vm, 10) & 0x80)
        vm.clock_step(S - 1000000)
        check("update", 0x80, rd(vm, 10) & 0x80)
        check("old time", 0x58, rd(vm, 0))
        vm.clock_step(1000000)
        check("done", 0, rd(vm, 10) & 0x80)
        check("new time", 0x59, rd(vm, 0))


def test_update_interrupt():
    with start() as vm:
        rd(vm, 12)
        vm.clock_step(3 * S + S // 2)
        check("UF without UIE", 0x10, rd(vm, 12) & 0x90)
        check("no interrupt", False, vm.irq(8))
        wr(vm, 11, 0x12)
        check("at the second", 4 * S, vm.clock_step())
        check("IRQ 8", True, vm.irq(8))
        check("flags", 0x90, rd(vm, 12) & 0x90)
        check("IRQ 8 falls", False, vm.irq(8))
        check("flags are gone", 0, rd(vm, 12))
        wr(vm, 11, 0x82)
        check("SET clears UIE", 0x82, rd(vm, 11))


def test_alarm():
    with start("2024-01-01T12:00:00") as vm:
        for reg, val in (1, 0x30), (3, 0x01), (5, 0x12):
            wr(vm, reg, val)
        wr(vm, 11, 0x22)
        check("alarm", 90 * S, vm.clock_step())
        check("IRQ 8", True, vm.irq(8))
        check("AF, IRQF", 0xa0, rd(vm, 12) & 0xa0)
        for reg in 1, 3, 5:
            wr(vm, reg, 0xff)  # any
        check("every second", 91 * S, vm.clock_step())
        rd(vm, 12)
        wr(vm, 1, 0x15)
        check("every minute", 135 * S, vm.clock_step())


def test_periodic():
    with start() as vm:
        rd(vm, 12)
        vm.clock_step(1000000)
        check("PF without PIE", 0x40, rd(vm, 12))
        wr(vm, 11, 0x42)
        for tick in 2, 3, 4:
            check("1024 Hz", -(-tick * S // 1024), vm.clock_step())
            check("IRQ 8", True, vm.irq(8))
            check("flags", 0xc0, rd(vm, 12))
        wr(vm, 10, 0x2f)
        check("2 Hz", S // 2, vm.clock_step())
        rd(vm, 12)
        wr(vm, 10, 0x20)
        vm.irq_log.clear()
        vm.clock_step(10 * S)
        check("rate 0: none", [], vm.irq_log)


def test_nvram():
    with start() as vm:
        for i in list(range(0x40, 0x50)) + [0x7f]:
            wr(vm, i, i ^ 0xff)
        for i in list(range(0x40, 0x50)) + [0x7f]:
            check("CMOS %02x" % i, i ^ 0xff, rd(vm, i))
        check("the NMI bit is no address", 0x40 ^ 0xff, rd(vm, 0xc0))
        check("the index is write-only", 0xff, vm.inb(0x70))
        check("century alias", rd(vm, 0x32), rd(vm, 0x37))


main()
