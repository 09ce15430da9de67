# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration mechanism 1, the 440FX and the PIIX3 as a guest sees them."""

from qtest import QTest, check, main

PMC, PIIX3 = 0 << 3, 1 << 3
TESTDEV = 5 << 3


def test_identity():
    with QTest("-M", "pc") as vm:
        check("440FX", 0x12378086, vm.pci_read(PMC, 0))
        check("440FX class and revision", 0x06000002, vm.pci_read(PMC, 8))
        check("440FX subsystem", 0x11001af4, vm.pci_read(PMC, 0x2c))
        check("PIIX3", 0x70008086, vm.pci_read(PIIX3, 0))
        check("PIIX3 class", 0x0601, vm.pci_read(PIIX3, 0x0a, 2))
        check("PIIX3 has functions", 0x80, vm.pci_read(PIIX3, 0x0e, 1))
        check("nobody at slot 31", 0xffffffff, vm.pci_read(31 << 3, 0))
        check("nobody on bus 1", 0xffffffff, vm.pci_read(PMC, 0, bus=1))


def test_mechanism():
    with QTest("-M", "pc") as vm:
        vm.outl(0xcf8, 0xffffffff)
        check("CONFADD bits", 0x80fffffc, vm.inl(0xcf8))
        vm.outl(0xcf8, 0x80000000)
        check("dword", 0x12378086, vm.inl(0xcfc))
        check("low word", 0x8086, vm.inw(0xcfc))
        check("high word", 0x1237, vm.inw(0xcfe))
        check("byte 3", 0x12, vm.inb(0xcff))
        vm.outb(0xcf8, 0x40)
        vm.outw(0xcf8, 0x1234)
        check("only dwords write CONFADD", 0x80000000, vm.inl(0xcf8))
        vm.outl(0xcf8, 0x00000000)
        check("without the enable bit", 0xffffffff, vm.inl(0xcfc))


def test_reset_register():
    with QTest("-M", "pc") as vm:
        vm.outl(0xcf8, 0x80000060)
        vm.outb(0xcf9, 0x02)
        check("RCR keeps SRST", 0x02, vm.inb(0xcf9))
        check("CONFADD is another register", 0x80000060, vm.inl(0xcf8))


def test_bar():
    with QTest("-M", "pc", "-device", "pci-testdev,addr=5") as vm:
        check("pci-testdev", 0x00051b36, vm.pci_read(TESTDEV, 0))
        vm.pci_write(TESTDEV, 0x10, 0xffffffff)
        size = vm.pci_read(TESTDEV, 0x10)
        check("memory BAR", 0, size & 0xf)
        vm.pci_write(TESTDEV, 0x10, 0xe0000000)
        vm.pci_write(TESTDEV, 0x14, 0xc001)
        vm.pci_write(TESTDEV, 4, 0, 2)
        closed = vm.read(0xe0000000, 64)
        vm.pci_write(TESTDEV, 4, 3, 2)
        check("decodes when enabled", True, vm.read(0xe0000000, 64) != closed)
        vm.pci_write(TESTDEV, 4, 0, 2)
        check("and not when disabled", closed, vm.read(0xe0000000, 64))


def test_read_only():
    with QTest("-M", "pc") as vm:
        for reg in (0, 8, 0x2c):
            before = vm.pci_read(PMC, reg)
            vm.pci_write(PMC, reg, ~before & 0xffffffff)
            check("register 0x%x" % reg, before, vm.pci_read(PMC, reg))
        vm.pci_write(PIIX3, 0x60, 0xffffffff)
        check("PIRQRC bits", 0x8f8f8f8f, vm.pci_read(PIIX3, 0x60))


def test_smram_lock():
    with QTest("-M", "pc", "-vga", "none") as vm:
        check("SMRAM out of reset", 0x02, vm.pci_read(PMC, 0x72, 1))
        vm.pci_write(PMC, 0x72, 0x4a, 1)  # open
        vm.writel(0xa0000, 0x12345678)
        check("RAM behind VGA", 0x12345678, vm.readl(0xa0000))
        vm.pci_write(PMC, 0x72, 0x0a, 1)
        vm.writel(0xa0000, 0)
        check("closed", 0xffffffff, vm.readl(0xa0000))
        vm.pci_write(PMC, 0x72, 0x5a, 1)  # lock
        check("locking closes", 0x1a, vm.pci_read(PMC, 0x72, 1))
        vm.pci_write(PMC, 0x72, 0x4a, 1)
        check("locked", 0x1a, vm.pci_read(PMC, 0x72, 1))


def test_every_byte_of_every_function():
    with QTest("-M", "pc", "-device", "pci-testdev,addr=5") as vm:
        for devfn in (PMC, PIIX3, PIIX3 | 3, TESTDEV):
            for reg in range(0x40, 256):
                if (devfn, reg) == (PMC, 0x72):
                    continue  # has its own test
                vm.pci_write(devfn, reg, 0xff, 1)
                vm.pci_read(devfn, reg, 1)
                vm.pci_write(devfn, reg, 0x00, 1)
        check("still there", 0x12378086, vm.pci_read(PMC, 0))


main()
