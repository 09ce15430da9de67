#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A hostile guest: random accesses to every device of a PC, which has to survive them.

    tests/fuzz/devices.py [--seed N] [--seconds S | --batches N]
    tests/fuzz/devices.py --replay FILE [--reduce]

Accesses go through the qtest protocol. Half are plain noise on ports, registers and configuration
space; half know the devices a little (an index before its data, a task file before a command, a
descriptor table in memory before a DMA), for noise alone gets nowhere. Time goes on in between, and
the monitor looks at what has become of it all. A run that ends badly (the process died, a sanitizer
spoke, no answer came) leaves its requests in a file; --replay runs that again, --reduce looks for
the few that matter. The program is $VIREO, best one built with --enable-sanitizers.
"""

import argparse
import os
import random
import re
import socket
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "hw"))
from qtest import VIREO, Failure, QTest  # pylint: disable=wrong-import-position

BATCH = 64
RAM = 16 << 20
# Where set_up() puts what has no fixed place.
PM, SMBUS, BUSMASTER, TESTDEV_IO = 0xb000, 0xb100, 0xc000, 0xc100
VGA_FRAME, VGA_REGS, TESTDEV_MEM = 0xe0000000, 0xfebf0000, 0xfea00000
E1000, E1000_IO = (0xfe800000, 0xfe840000), 0xc200
TABLE, BUFFER = 0x20000, 0x40000  # descriptors and data in RAM

PORTS = [(0x00, 16), (0x20, 2), (0x40, 4), (0x60, 2), (0x64, 1), (0x70, 2), (0x80, 16), (0x92, 1),
         (0xa0, 2), (0xb2, 2), (0xc0, 32), (0xe0, 16), (0xf0, 16), (0x170, 8), (0x1ce, 3), (0x1f0, 8),
         (0x376, 1), (0x378, 3), (0x3b0, 48), (0x3f0, 8), (0x3f8, 8), (0x402, 1), (0x4d0, 2),
         (0x510, 12), (0xae00, 32), (0xafe0, 4), (0xcf8, 8), (PM, 64), (SMBUS, 16), (BUSMASTER, 16),
         (TESTDEV_IO, 256), (E1000_IO, 64)]
MMIO = [(0xa0000, 0x20000), (0xc0000, 0x40000), (0xfec00000, 0x1000), (0xfed00000, 0x400),
        (0xfee00000, 0x1000), (VGA_FRAME, 16 << 20), (VGA_REGS, 0x1000), (TESTDEV_MEM, 0x1000), (E1000[0], 0x6000),
        (0xfffc0000, 0x40000), (RAM - 64, 128), (0x100000000, 0x1000)]
MONITOR = ["info qtree", "info mtree -f", "info pci", "info pic", "info irq", "info lapic",
           "info registers", "info block", "info blockstats", "info chardev", "info status", "info mem",
           "x/20i $eip", "xp/64xb 0xa0000", "xp/8xg 0xfed000f0", "sum 0 1048576", "nmi", "cont",
           "system_reset", "system_powerdown", "stop", "cont", "sendkey ctrl-alt-delete", "mouse_move 3 4",
           "eject -f ide1-cd0", "eject floppy0", "boot_set dc", "info network", "set_link e1000.0 off",
           "set_link e1000.0 on"]
EDGES = [0, 1, 2, 3, 4, 7, 8, 0x0f, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x55, 0x7f, 0x80, 0xa0, 0xaa, 0xc0, 0xe7,
         0xec, 0xef, 0xf0, 0xff, 0x100, 0x1ff, 0x200, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000,
         0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 1 << 32, (1 << 64) - 1, 1 << 63]
ATA_COMMANDS = [0x00, 0x08, 0x10, 0x20, 0x21, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x40, 0x42, 0x70, 0x90,
                0x91, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xe0, 0xe1, 0xe3, 0xe5, 0xe6, 0xe7, 0xea,
                0xec, 0xef, 0xf8, 0x06]
PACKETS = [0x00, 0x03, 0x12, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x2b, 0x35, 0x42, 0x43, 0x44, 0x45, 0x46, 0x4a, 0x51,
           0x52, 0x55, 0x5a, 0xa8, 0xad, 0xb9, 0xbb, 0xbd, 0xbe]


class Guest:
    """Makes requests. Everything depends on the seed alone."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.out = []
        names = [n for n in dir(self) if n.startswith("do_")]
        self.actions = [getattr(self, n) for n in sorted(names)]

    # ---- words of requests ----

    def value(self, size):
        r = self.rng
        v = r.choice(EDGES) if r.random() < 0.4 else r.getrandbits(8 * size)
        if r.random() < 0.1:
            v = 1 << r.randrange(8 * size)
        return v & ((1 << 8 * size) - 1)

    def io_write(self, port, value, size=1):
        self.out.append("out%s 0x%x 0x%x" % ({1: "b", 2: "w", 4: "l"}[size], port & 0xffff, value))

    def io_read(self, port, size=1):
        self.out.append("in%s 0x%x" % ({1: "b", 2: "w", 4: "l"}[size], port & 0xffff))

    def mem_write(self, addr, value, size=4):
        self.out.append("write%s 0x%x 0x%x" % ({1: "b", 2: "w", 4: "l", 8: "q"}[size], addr, value))

    def mem_read(self, addr, size=4):
        self.out.append("read%s 0x%x" % ({1: "b", 2: "w", 4: "l", 8: "q"}[size], addr))

    def config_write(self, devfn, reg, value, size=4):
        self.io_write(0xcf8, 0x80000000 | devfn << 8 | (reg & 0xfc), 4)
        self.io_write(0xcfc + (reg & 3), value, size)

    def address(self):
        """Somewhere for DMA: RAM mostly, its edges, devices, nothing."""
        r = self.rng
        return r.choice([BUFFER + r.randrange(0x8000), BUFFER, RAM - r.randrange(1, 600), 0xa0000 - 3,
                         0xfee00000, VGA_FRAME + 5, 0xfffffff0, r.getrandbits(32)])

    # ---- what it does ----

    def set_up(self):
        vga, ide, pm, test = 2 << 3, 1 << 3 | 1, 1 << 3 | 3, 3 << 3
        for devfn, reg, value in ((pm, 0x40, PM | 1), (pm, 0x80, 1), (pm, 0x90, SMBUS | 1), (pm, 0xd2, 1),
                                  (ide, 0x20, BUSMASTER), (ide, 0x40, 0x80008000), (vga, 0x10, VGA_FRAME),
                                  (vga, 0x18, VGA_REGS), (32, 0x10, E1000[0]), (32, 0x14, E1000_IO),
                                  (40, 0x10, E1000[1]), (32, 4, 7), (40, 4, 7),
                                  (test, 0x10, TESTDEV_MEM), (test, 0x14, TESTDEV_IO),
                                  (ide, 4, 7), (pm, 4, 7), (vga, 4, 7), (test, 4, 7)):
            self.config_write(devfn, reg, value)

    def do_ports(self):
        r = self.rng
        for _ in range(r.randrange(1, 12)):
            base, size = r.choice(PORTS)
            port = base + r.randrange(size) if r.random() < 0.97 else r.getrandbits(16)
            width = r.choice((1, 1, 1, 2, 4))
            if r.random() < 0.6:
                self.io_write(port, self.value(width), width)
            else:
                self.io_read(port, width)

    def do_memory(self):
        r = self.rng
        for _ in range(r.randrange(1, 12)):
            base, size = r.choice(MMIO)
            addr = base + r.randrange(size) if r.random() < 0.97 else r.getrandbits(r.choice((32, 40, 64)))
            width = r.choice((1, 2, 4, 4, 8))
            addr &= ~(width - 1) if r.random() < 0.8 else ~0
            if r.random() < 0.6:
                self.mem_write(addr, self.value(width), width)
            else:
                self.mem_read(addr, width)
        if r.random() < 0.1:
            base, size = r.choice(MMIO)
            self.out.append("read 0x%x 0x%x" % (base + r.randrange(size), r.randrange(1, 300)))

    def do_config(self):
        r = self.rng
        for _ in range(r.randrange(1, 4)):
            devfn = r.choice((0, 8, 9, 11, 16, 24, 32, 40, r.randrange(256)))
            width = r.choice((1, 2, 4))
            reg = r.randrange(0, 256, width) if r.random() < 0.9 else r.randrange(256)
            self.config_write(devfn, reg, self.value(width), width)
            self.io_read(0xcfc + (reg & 3), width)
        if r.random() < 0.4:
            self.set_up()

    def do_index_data(self):
        """Registers behind an index."""
        r = self.rng
        index, data, most, width = r.choice(((0x70, 0x71, 128, 1), (0x3c4, 0x3c5, 8, 1), (0x3ce, 0x3cf, 16, 1),
                                             (0x3d4, 0x3d5, 64, 1), (0x3c0, 0x3c0, 64, 1), (0x1ce, 0x1cf, 14, 2),
                                             (0x1ce, 0x1d0, 14, 2), (0x510, 0x511, 64, 2)))
        for _ in range(r.randrange(1, 8)):
            if index == 0x510:
                key = r.choice((r.randrange(0x40), 0x8000 + r.randrange(8), r.getrandbits(16)))
                self.io_write(index, key, 2)
                for _ in range(r.randrange(8)):
                    self.io_read(data, 1)
                continue
            if index == 0x3c0:
                self.io_read(0x3da)
            self.io_write(index, r.randrange(most), width)
            if r.random() < 0.7:
                self.io_write(data, self.value(width), width)
            else:
                self.io_read(data, width)

    def do_clock(self):
        """RTC: dates that are none, formats, stopped and running, alarms."""
        r = self.rng
        for _ in range(r.randrange(1, 10)):
            self.io_write(0x70, r.choice((r.randrange(14), 10, 11, 0x32, 0x37)))
            if r.random() < 0.7:
                self.io_write(0x71, r.choice((0x26, 0x2f, 0x66, 0x82, 0x02, 0x72, 0xff, 0x59, 0x23, self.value(1))))
            else:
                self.io_read(0x71)

    def do_io_apic(self):
        r = self.rng
        for _ in range(r.randrange(1, 6)):
            self.mem_write(0xfec00000, r.randrange(0x50))
            self.mem_write(0xfec00010, r.choice((0x10000, 0x8000, 0xa031, 0x31, 0x700, self.value(4))))

    def do_local_apic(self):
        r = self.rng
        for _ in range(r.randrange(1, 8)):
            reg = r.choice((0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x360, 0x370, 0x380,
                            0x3e0))
            self.mem_write(0xfee00000 + reg, self.value(4) if r.random() < 0.6 else r.getrandbits(9))

    def do_hpet(self):
        r = self.rng
        base = 0xfed00000
        for _ in range(r.randrange(1, 8)):
            n = r.randrange(4)
            reg = r.choice((0x10, 0x20, 0xf0, 0xf4, 0x100 + 32 * n, 0x104 + 32 * n, 0x108 + 32 * n,
                            0x10c + 32 * n, 0x110 + 32 * n))
            width = r.choice((4, 4, 8))
            self.mem_write(base + reg, r.choice((0, 1, 3, 0x4c, 0x14c, 0x4e, self.value(width))), width)

    def do_timer(self):
        """8254: a mode, a count, a latch."""
        r = self.rng
        n = r.randrange(3)
        self.io_write(0x43, n << 6 | r.randrange(64))
        for _ in range(r.randrange(3)):
            self.io_write(0x40 + n, self.value(1))
        self.io_write(0x43, r.choice((0xc0 | r.randrange(64), n << 6)))
        for _ in range(r.randrange(4)):
            self.io_read(0x40 + n)
        self.io_write(0x61, r.randrange(4))

    def do_pic(self):
        r = self.rng
        base = r.choice((0x20, 0xa0))
        if r.random() < 0.5:
            self.io_write(base, 0x10 | r.randrange(16) | r.choice((0, 0, 0xe0)))
            for _ in range(r.randrange(4)):
                self.io_write(base + 1, self.value(1))
        self.io_write(base, r.choice((0x20, 0x60 | r.randrange(8), 0x0a, 0x0b, 0x0c, 0x68, 0x48, self.value(1))))
        self.io_read(base)
        self.io_write(base + 1, r.choice((0, 0xff, self.value(1))))

    def do_keyboard(self):
        r = self.rng
        for _ in range(r.randrange(1, 6)):
            if r.random() < 0.5:
                self.io_write(0x64, r.choice((0x20, 0x60, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xd0, 0xd1,
                                              0xd2, 0xd3, 0xd4, 0xfe, self.value(1))))
            self.io_write(0x60, r.choice((0xed, 0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf6, 0xff, 0xe6, 0xe7, 0xe8, 0xe9,
                                          0xeb, self.value(1))))
            for _ in range(r.randrange(4)):
                self.io_read(0x60)

    def do_serial(self):
        r = self.rng
        for _ in range(r.randrange(1, 10)):
            reg = r.randrange(8)
            if r.random() < 0.6:
                self.io_write(0x3f8 + reg, self.value(1))
            else:
                self.io_read(0x3f8 + reg)

    def do_isa_dma(self):
        r = self.rng
        n = r.randrange(8)
        base, step = (0, 1) if n < 4 else (0xc0, 2)
        for reg in (8, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf, 9, (n & 3) * 2, (n & 3) * 2, (n & 3) * 2 + 1, (n & 3) * 2 + 1):
            if r.random() < 0.7:
                self.io_write(base + reg * step, r.choice((n & 3, self.value(1))))
        self.io_write(0x80 + r.randrange(16), self.value(1))

    def task_file(self, base, drive):
        r = self.rng
        for _ in range(r.choice((1, 1, 2))):  # twice for 48-bit addresses
            self.io_write(base + 1, r.choice((0, 1, 3, 0xaa, self.value(1))))
            self.io_write(base + 2, r.choice((0, 1, 2, 16, 0xff, self.value(1))))
            for i in (3, 4, 5):
                self.io_write(base + i, r.choice((0, 0, 0xff, 0xfe, self.value(1))))
        self.io_write(base + 6, r.choice((0xa0, 0xe0, 0xe0, 0x4f)) | drive << 4)

    def prds(self):
        """A physical region descriptor table, sometimes without an end."""
        r = self.rng
        table = r.choice((TABLE, TABLE, TABLE + 0xfff8, RAM - 8, self.address() & ~3))
        for i in range(r.randrange(1, 6)):
            self.mem_write(table + 8 * i, self.address())
            size = r.choice((512, 2, 1, 0, 0xffff, 0xfffe, 2048, r.getrandbits(16)))
            self.mem_write(table + 8 * i + 4, size | (0x80000000 if r.random() < 0.4 else 0))
        return table

    def do_ide(self):
        r = self.rng
        channel = r.randrange(2)
        base, bm = (0x1f0, 0x170)[channel], BUSMASTER + 8 * channel
        self.task_file(base, r.randrange(2))
        if r.random() < 0.5:
            self.io_write(bm, 0)
            self.io_write(bm + 2, 6)
            self.io_write(bm + 4, self.prds(), 4)
        self.io_write(base + 7, r.choice(ATA_COMMANDS) if r.random() < 0.9 else self.value(1))
        if r.random() < 0.5:
            self.io_write(bm, r.choice((1, 9)))
        self.pio(base)
        if r.random() < 0.15:
            self.io_write((0x3f6, 0x376)[channel], r.choice((4, 2, 0, 6)))
        self.io_read(base + 7)
        self.io_read(bm + 2)

    def pio(self, base):
        r = self.rng
        for _ in range(r.choice((0, 0, 3, 20, 140))):
            width = r.choice((2, 2, 2, 2, 4, 1))
            if r.random() < 0.5:
                self.io_read(base, width)
            else:
                self.io_write(base, self.value(width), width)

    def do_packet(self):
        r = self.rng
        base, bm = 0x170, BUSMASTER + 8
        self.io_write(base + 6, 0xa0)
        self.io_write(base + 1, r.choice((0, 0, 1, 2, 3)))
        limit = r.choice((0, 1, 2, 12, 0x800, 0xfffe, 0xffff, r.getrandbits(16)))
        self.io_write(base + 4, limit & 0xff)
        self.io_write(base + 5, limit >> 8)
        self.io_write(bm + 4, self.prds(), 4)
        self.io_write(base + 7, 0xa0)
        packet = [r.choice(PACKETS) if r.random() < 0.95 else r.getrandbits(8)]
        packet += [r.choice((0, 0, 0, 1, 2, 0xff, r.getrandbits(8))) for _ in range(11)]
        for i in range(0, 12, 2):
            self.io_write(base, packet[i] | packet[i + 1] << 8, 2)
        if r.random() < 0.5:
            self.io_write(bm, r.choice((1, 9)))
        self.pio(base)
        self.io_read(base + 7)

    def do_fw_cfg_dma(self):
        r = self.rng
        at = r.choice((TABLE, TABLE, RAM - 8, self.address()))
        control = r.choice((0x02, 0x0a, 0x08, 0x0c, 0x04, 0x10, 0x18, 0x1a, r.getrandbits(5)))
        key = r.choice((r.randrange(0x40), r.getrandbits(16), 0x19))
        length = r.choice((0, 1, 16, 4096, 0x20000, 0xffffffff, r.getrandbits(32)))
        for i, v in enumerate((key << 16 | control, length, 0, self.address())):
            self.mem_write(at + 4 * i, int.from_bytes(v.to_bytes(4, "big"), "little"))
        self.io_write(0x514, int.from_bytes(r.choice((0, 0, 0, 1)).to_bytes(4, "big"), "little"), 4)
        self.io_write(0x518, int.from_bytes((at & 0xffffffff).to_bytes(4, "big"), "little"), 4)

    def do_network(self):
        """Two e1000s on a hub: registers, then descriptors that are nearly right."""
        r = self.rng
        base = r.choice(E1000)
        for _ in range(r.randrange(6)):
            reg = r.choice((0, 0x10, 0x14, 0x20, 0x38, 0xc0, 0xc4, 0xc8, 0xd0, 0xd8, 0x100, 0x400, 0x2808, 0x2810,
                            0x2818, 0x2820, 0x282c, 0x3808, 0x3810, 0x3820, 0x5000, 0x5200, 0x5400, 0x5404))
            self.mem_write(base + reg, self.value(4))
        self.mem_write(base + 0x100, r.choice((2, 0x801e, 0x203801a, self.value(4))))
        for half, ring in ((0x2800, TABLE + 0x4000), (0x3800, TABLE + 0x5000)):
            self.mem_write(base + half, ring if r.random() < 0.9 else self.address() & ~15)
            self.mem_write(base + half + 4, 0)
            self.mem_write(base + half + 8, r.choice((256, 256, 128, 0, 0xfff80)))
            self.mem_write(base + half + 0x10, r.choice((0, 0, 7, 0xffff)))
            for i in range(8):
                self.mem_write(ring + 16 * i, self.address(), 8)
        for i in range(r.randrange(8)):  # transmit: legacy, data and context descriptors
            at = TABLE + 0x5000 + 16 * i
            kind = r.choice((0, 0x20100000, 0x20000000))
            cmd = r.choice((0x0b, 0x09, 0x01, 0x0f, 0x8f, 0x4b, 0x00)) << 24
            if kind == 0x20000000:
                self.mem_write(at, r.choice((0x00181800, 0x0021180e, self.value(8))), 8)
            self.mem_write(at + 8, kind | cmd | r.choice((60, 1514, 9000, 0, self.value(2))))
            self.mem_write(at + 12, r.choice((0, 0x300, 0x05b43600, self.value(4))))
        self.mem_write(base + 0x2818, r.choice((15, 15, 3, 0xffff)))
        self.mem_write(base + 0x400, 2)
        self.mem_write(base + 0x3818, r.choice((8, 5, 1, 0xffff)))
        self.mem_read(base + r.choice((0xc0, 0x8, 0x4074, 0x3810)))

    def do_power(self):
        r = self.rng
        for _ in range(r.randrange(1, 6)):
            self.io_write(PM + r.choice((0, 2, 4, 8, 0x0c, 0x10, 0x20, 0x34)), self.value(2), 2)
        self.io_write(SMBUS + r.choice((0, 2, 3, 4, 5, 6, 7)), self.value(1))
        if r.random() < 0.5:
            self.io_read(SMBUS + 2)

    def do_vga(self):
        """A mode of the Bochs interface, and drawing in it."""
        r = self.rng
        for index in (4, 1, 2, 3, 5, 6, 7, 8, 9, 4):
            if r.random() < 0.7:
                value = {4: r.choice((0, 1, 0x41, 0xc1, 3)), 3: r.choice((4, 8, 15, 16, 24, 32, self.value(2)))}
                self.io_write(0x1ce, index, 2)
                self.io_write(0x1d0, value.get(index, r.choice((0, 1, 640, 1024, 16383, self.value(2)))), 2)
        for _ in range(r.randrange(6)):
            self.mem_write(r.choice((VGA_FRAME, 0xa0000)) + r.randrange(0x8000) * 4, self.value(4))

    def do_time(self):
        r = self.rng
        self.out.append("clock_step %d" % r.choice((1, 1000, 100000, 5000000, r.randrange(20000000))))
        if r.random() < 0.02:
            self.out.append("clock_step 1000000000")

    def do_memory_noise(self):
        r = self.rng
        self.out.append("memset 0x%x 0x%x 0x%x" % (self.address(), r.choice((1, 16, 4096)), r.getrandbits(8)))

    def do_monitor(self):
        if self.rng.random() < 0.25:
            self.out.append("hmp " + self.rng.choice(MONITOR))

    def batch(self):
        """The next requests."""
        self.out = []
        while len(self.out) < BATCH:
            self.rng.choice(self.actions)()
        return self.out


# ---- running it ----


class Monitor:
    def __init__(self, path):
        end = time.monotonic() + 20
        while True:
            try:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.sock.settimeout(float(os.environ.get("QTEST_TIMEOUT", "20")))
        self.wait()

    def wait(self):
        text = b""
        while not text.endswith(b"(vireo) "):
            data = self.sock.recv(1 << 16)
            if not data:
                raise Failure("the monitor closed")
            text += data

    def __call__(self, line):
        self.sock.sendall(line.encode() + b"\n")
        try:
            self.wait()
        except socket.timeout:
            raise Failure("no answer to '%s' from the monitor" % line) from None


class Victim:
    """The machine, and all that it was asked."""

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="vireo-fuzz-")
        disk, cd, sock = (os.path.join(self.dir.name, n) for n in ("disk", "cd", "mon"))
        for path, size in ((disk, 1 << 20), (cd, 300 << 11)):
            with open(path, "wb") as f:
                f.truncate(size)
        self.vm = QTest("-M", "pc", "-m", str(RAM >> 20), "-no-shutdown", "-vga", "std", "-serial", "null",
                        "-parallel", "null", "-drive", "file=%s,format=raw,if=ide,index=0" % disk, "-cdrom", cd,
                        "-device", "pci-testdev", "-device", "e1000,vlan=0,addr=4", "-device",
                        "e1000,vlan=0,addr=5", "-monitor", "unix:%s,server=on,wait=off" % sock)
        self.monitor = Monitor(sock)
        self.asked = []

    def ask(self, requests):
        """Sends them at once, the monitor's apart."""
        part = []
        for line in requests:
            if line.startswith("hmp "):
                self.send(part)
                part = []
                self.asked.append(line)
                self.monitor(line[4:])
            else:
                part.append(line)
        self.send(part)

    def send(self, lines):
        if not lines:
            return
        self.asked += lines
        self.vm.raw(("\n".join(lines) + "\n").encode())
        for _ in lines[1:]:
            self.vm.raw(b"")

    def end(self):
        self.monitor.sock.close()
        self.vm.close(check_status=True)
        self.dir.cleanup()

    def kill(self):
        try:
            self.vm.close()
        except Failure:
            pass
        self.dir.cleanup()


def play(batches):
    """None, or (what went wrong, the requests up to there)."""
    victim = Victim()
    try:
        for requests in batches:
            victim.ask(requests)
        victim.end()
        return None
    except (Failure, OSError) as why:
        text = str(why)
        if victim.vm.proc and victim.vm.proc.poll() is None:
            text += "\n(the process still runs)"
        victim.kill()
        return text, victim.asked


def fuzz(seed, seconds=None, batches=None):
    """None, or a report with the name of the file that holds the requests."""
    guest = Guest(seed)
    end = time.monotonic() + (seconds or 1e9)

    def source():
        guest.out = []
        guest.set_up()
        yield guest.out
        n = 0
        while time.monotonic() < end and (batches is None or n < batches):
            yield guest.batch()
            n += 1

    result = play(source())
    if not result:
        return None
    fd, path = tempfile.mkstemp(prefix="vireo-fuzz-%d-" % seed, suffix=".txt")
    with os.fdopen(fd, "w") as f:
        f.write("\n".join(result[1]) + "\n")
    return "%s\nrequests: %s\nagain: VIREO=%s python3 %s --replay %s" % (
        result[0], path, VIREO, os.path.join(HERE, "devices.py"), path)


def cause(text):
    """What makes two failures the same one."""
    found = re.search(r"(Assertion .*failed|runtime error: .*|SUMMARY: .*|no answer)", text)
    return re.sub(r"0x[0-9a-f]+|\d+", "N", found[1]) if found else text[:40]


def reduce(lines, result):
    """Takes away whatever the same failure does not need."""
    want = cause(result[0])
    lines, size = result[1], max(1, len(result[1]) // 2)
    while size:
        at = 0
        while at < len(lines):
            less = lines[:at] + lines[at + size:]
            again = play([less[i:i + BATCH] for i in range(0, len(less), BATCH)])
            if again and cause(again[0]) == want:
                lines = less
            else:
                at += size
        print("# %d requests, parts of %d" % (len(lines), size), flush=True)
        size //= 2
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--batches", type=int)
    parser.add_argument("--replay")
    parser.add_argument("--reduce", action="store_true")
    args = parser.parse_args()
    if args.replay:
        with open(args.replay, encoding="ascii") as f:
            lines = f.read().splitlines()
        result = play([lines[i:i + BATCH] for i in range(0, len(lines), BATCH)])
        print(result[0] if result else "survived")
        if result and args.reduce:
            print("\n".join(reduce(lines, result)))
        return 1 if result else 0
    seed, end = args.seed, time.monotonic() + (args.seconds or 60)
    while time.monotonic() < end:
        report = fuzz(seed, end - time.monotonic(), args.batches or 2000)
        print("seed %d: %s" % (seed, report or "survived"), flush=True)
        if report:
            return 1
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
