#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""PIIX4 power management: where it is, ACPI timer, events and SCI, sleep."""

from qtest import QTest, check, main

PM = 0x600
STS, EN, CNT, TMR = PM, PM + 2, PM + 4, PM + 8
HZ = 3579545


def start():
    vm = QTest("-M", "pc")
    devfn = vm.pci_find(0x8086, 0x7113)
    check("devfn", 0x0b, devfn)
    vm.pci_write(devfn, 0x40, PM | 1)
    vm.pci_write(devfn, 0x80, 1, 1)
    vm.irq_intercept_in("ioapic")
    return vm


def test_config():
    with QTest("-M", "pc") as vm:
        check("class", 0x06800003, vm.pci_read(0x0b, 8))
        check("not mapped", 0xffffffff, vm.inl(TMR))
        vm.pci_write(0x0b, 0x40, 0xffffffff)
        check("PMBA", 0xffc1, vm.pci_read(0x0b, 0x40))
        vm.pci_write(0x0b, 0x90, 0x700)
        check("SMBBA", 0x701, vm.pci_read(0x0b, 0x90))
        check("off", 0xff, vm.inb(0x700))
        vm.pci_write(0x0b, 0xd2, 9, 1)
        check("on", 0, vm.inb(0x700))
        vm.outb(0x702, 0x48)
        check("no device answers", 4, vm.inb(0x700))
        vm.outb(0x700, 0xff)
        check("cleared", 0, vm.inb(0x700))


def test_timer():
    with start() as vm:
        vm.clock_set(10**9)
        check("3.579545 MHz", HZ, vm.inl(TMR))
        vm.clock_set(10 * 10**9)
        check("24 bits", 10 * HZ & 0xffffff, vm.inl(TMR))


def test_overflow_sci():
    with start() as vm:
        check("TMROF", 0, vm.inw(STS) & 1)
        vm.clock_set(2400 * 10**6)
        check("bit 23 changed", 1, vm.inw(STS) & 1)
        vm.outw(STS, 1)
        check("cleared", 0, vm.inw(STS) & 1)
        vm.outw(EN, 1)
        vm.outw(CNT, 1)
        when = -(-(1 << 24) * 10**9 // HZ)
        check("next change", when, vm.clock_step())
        check("SCI", True, vm.irq(9))
        vm.outw(STS, 1)
        check("SCI falls", False, vm.irq(9))
        vm.outl(STS, 0x01200000)
        check("enables by dword", 0x0120, vm.inw(EN))


def test_acpi_enable():
    with start() as vm:
        vm.outb(0xb2, 0xf1)
        check("SCI_EN", 1, vm.inw(CNT))
        vm.outb(0xb2, 0xf0)
        check("off", 0, vm.inw(CNT))
        vm.outb(0xb3, 0x5a)
        check("APMS", 0x5a, vm.inb(0xb3))
        check("APMC", 0xf0, vm.inb(0xb2))


def test_gpe():
    with start() as vm:
        vm.outw(0xafe2, 0xffff)
        check("enables", 0xffff, vm.inw(0xafe2))
        check("status", 0, vm.inw(0xafe0))


def test_soft_off():
    with start() as vm:
        vm.outw(CNT, 0x2000)
        check("exit status", 0, vm.wait_exit())


main()
