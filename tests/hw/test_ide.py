# SPDX-License-Identifier: GPL-2.0-or-later
"""PIIX3 IDE: task file, PIO, bus-master DMA, ATAPI, media, and what hostile drivers do."""

import os
import random
import resource
import socket
import struct
import tempfile
import time

from qtest import TIMEOUT, QTest, check, main, Failure

CMD, CTL = (0x1f0, 0x170), (0x3f6, 0x376)
BM = 0xc000
ERR, DRQ, DF, DRDY, BSY = 0x01, 0x08, 0x20, 0x40, 0x80
ABRT, IDNF, UNC = 0x04, 0x10, 0x40
PRD, DATA = 0x10000, 0x100000
SECTORS = 4096


def pattern(sector, n=1, salt=0):
    return b"".join(struct.pack("<IB", s, salt) + bytes((s * 7 + i + salt) & 0xff
                                                       for i in range(507))
                    for s in range(sector, sector + n))


def image(sectors=SECTORS, size=512):
    fd, path = tempfile.mkstemp(prefix="vireo-ide-")
    with os.fdopen(fd, "wb") as f:
        f.write(pattern(0, sectors * size // 512))
    return path


class Ide:
    """A pc with drives; registers of one channel."""

    def __init__(self, *args, channel=0, unit=0, monitor=False):
        args = list(args)
        self.path = self.monitor_path = None
        if monitor:
            self.monitor_path = tempfile.mktemp(prefix="vireo-mon-")
            args += ["-monitor", "unix:%s,server,nowait" % self.monitor_path]
        self.vm = QTest("-M", "pc", "-m", "16", *args)
        self.base, self.ctl = CMD[channel], CTL[channel]
        self.unit, self.channel = unit, channel
        self.devfn = self.vm.pci_find(0x8086, 0x7010)
        self.vm.pci_write(self.devfn, 0x20, BM)
        self.vm.pci_write(self.devfn, 4, 5, 2)
        self.bm = BM + 8 * channel
        self.vm.irq_intercept_in("/machine/unattached/ioapic")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.vm.close(check_status=exc[0] is None)
        for path in (self.path, self.monitor_path):
            if path and os.path.exists(path):
                os.unlink(path)

    def irq(self):
        return self.vm.irq(14 + self.channel)

    def status(self):
        return self.vm.inb(self.base + 7)

    def alt(self):
        return self.vm.inb(self.ctl)

    def error(self):
        return self.vm.inb(self.base + 1)

    def wait(self, drq=None):
        """Until not busy; the status, unread."""
        end = time.monotonic() + TIMEOUT
        while True:
            status = self.alt()
            if not status & BSY and (drq is None or bool(status & DRQ) == drq):
                return status
            if time.monotonic() > end:
                raise Failure("still busy, status %02x" % status)
            time.sleep(0.001)

    def select(self, bits=0xe0):
        self.vm.outb(self.base + 6, bits | self.unit << 4)

    def command(self, cmd, lba=0, count=1, feature=0, ext=False, chs=False):
        vm, b = self.vm, self.base
        self.select(0xa0 | (lba >> 24 & 15) if chs else 0xe0 | (0 if ext else lba >> 24 & 15))
        if ext:
            for reg, val in ((1, feature >> 8), (2, count >> 8), (3, lba >> 24), (4, lba >> 32),
                             (5, lba >> 40)):
                vm.outb(b + reg, val)
        for reg, val in ((1, feature), (2, count), (3, lba), (4, lba >> 8), (5, lba >> 16)):
            vm.outb(b + reg, val)
        vm.outb(b + 7, cmd)

    def pio_in(self, size):
        return b"".join(struct.pack("<H", self.vm.inw(self.base)) for _ in range(size // 2))

    def pio_out(self, data):
        for i in range(0, len(data), 2):
            self.vm.outw(self.base, data[i] | data[i + 1] << 8)

    def prds(self, *entries, end=True, at=PRD):
        for i, (addr, size) in enumerate(entries):
            last = 0x80000000 if end and i == len(entries) - 1 else 0
            self.vm.write(at + i * 8, struct.pack("<II", addr, (size & 0xffff) | last))
        self.vm.outl(self.bm + 4, at)

    def bm_start(self, to_memory):
        self.vm.outb(self.bm, 8 if to_memory else 0)
        self.vm.outb(self.bm + 2, 6)
        self.vm.outb(self.bm, 9 if to_memory else 1)

    def bm_stop(self):
        self.vm.outb(self.bm, 0)

    def bm_status(self):
        return self.vm.inb(self.bm + 2)

    def wait_bm(self, mask, want, what):
        end = time.monotonic() + TIMEOUT
        while self.bm_status() & mask != want:
            if time.monotonic() > end:
                raise Failure("%s: want bus master status %02x, got %02x" %
                              (what, want, self.bm_status()))
            time.sleep(0.001)

    # ATAPI

    def packet(self, cdb, limit=0xfffe, dma=False):
        self.select(0xa0)
        self.vm.outb(self.base + 1, 1 if dma else 0)
        self.vm.outb(self.base + 4, limit & 0xff)
        self.vm.outb(self.base + 5, limit >> 8)
        self.vm.outb(self.base + 7, 0xa0)
        check("packet DRQ", DRDY | 0x10 | DRQ, self.wait())
        check("packet reason", 1, self.vm.inb(self.base + 2) & 3)
        self.pio_out(bytes(cdb).ljust(12, b"\0"))

    def read_packet(self, cdb, limit=0xfffe):
        """Data until the end, and the error register (0: good)."""
        self.packet(cdb, limit)
        data = b""
        while True:
            status = self.wait()
            if not status & DRQ:
                check("end reason", 3, self.vm.inb(self.base + 2) & 3)
                self.status()
                return data, self.error() if status & ERR else 0
            check("data reason", 2, self.vm.inb(self.base + 2) & 3)
            n = self.vm.inb(self.base + 4) | self.vm.inb(self.base + 5) << 8
            if not 0 < n <= (limit or 0xfffe):
                raise Failure("byte count %d, limit %d" % (n, limit))
            self.status()
            check("interrupt gone", False, self.irq())
            data += self.pio_in(n + (n & 1))[:n]

    def sense(self):
        data, error = self.read_packet([3, 0, 0, 0, 18])
        check("REQUEST SENSE", 0, error)
        return data[2], data[12], data[13]

    def hmp(self, line):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.monitor_path)
        s.settimeout(10)

        def until_prompt():
            data = b""
            while not data.endswith(b") "):
                data += s.recv(65536)
            return data.decode()
        until_prompt()
        s.sendall(line.encode() + b"\n")
        text = until_prompt()
        s.close()
        return text


def disk(*more, sectors=SECTORS, **kw):
    path = image(sectors)
    ide = Ide("-drive", "file=%s,format=raw,index=0,id=hd,serial=SN42" % path, *more, **kw)
    ide.path = path
    return ide


def cdrom(blocks=64, **kw):
    path = image(blocks, 2048)
    ide = Ide("-drive", "file=%s,format=raw,index=2,media=cdrom,id=cd" % path, channel=1, **kw)
    ide.path = path
    return ide


def text(words):
    return struct.pack(">%dH" % len(words), *words).decode().rstrip()


# ---- disks ----

def test_identify():
    with disk() as ide:
        ide.command(0xec)
        check("status", DRDY | 0x10 | DRQ, ide.wait())
        check("irq", True, ide.irq())
        check("status", DRDY | 0x10 | DRQ, ide.status())
        check("irq after status", False, ide.irq())
        w = struct.unpack("<256H", ide.pio_in(512))
        check("status after data", DRDY | 0x10, ide.status())
        check("no interrupt at the end", False, ide.irq())
        check("serial", "SN42", text(w[10:20]))
        check("model", "Vireo HARDDISK", text(w[27:47]))
        check("geometry", (4, 16, 63), (w[1], w[3], w[6]))
        check("LBA28", SECTORS, w[60] | w[61] << 16)
        check("LBA48", SECTORS, w[100] | w[101] << 16 | w[102] << 32)
        check("current CHS capacity", w[54] * w[55] * w[56], w[57] | w[58] << 16)
        check("UDMA5", 0x203f, w[88])


def test_pio_read():
    with disk() as ide:
        ide.command(0x20, 100, 3)
        data = b""
        for _ in range(3):
            check("status", DRDY | 0x10 | DRQ, ide.wait())
            check("irq", True, ide.irq())
            ide.status()
            data += ide.pio_in(512)
        check("data", pattern(100, 3), data)
        check("status", DRDY | 0x10, ide.status())
        ide.vm.outb(ide.base + 2, 4)
        ide.command(0xc6, 0, 4)  # SET MULTIPLE
        ide.wait()
        check("multiple", DRDY | 0x10, ide.status())
        ide.command(0xc4, 7, 6)
        ide.wait(True)
        ide.status()
        first = ide.pio_in(2048)
        check("irq of the second block", True, ide.irq())
        ide.status()
        check("data", pattern(7, 6), first + ide.pio_in(1024))
        check("status", DRDY | 0x10, ide.status())
        # 32-bit and CHS: cylinder 1, head 2, sector 3
        ide.command(0x20, 3 | 1 << 8 | 2 << 24, 1, chs=True)
        ide.wait(True)
        got = b"".join(struct.pack("<I", ide.vm.inl(ide.base)) for _ in range(128))
        check("CHS", pattern((16 + 2) * 63 + 2), got)


def test_pio_write():
    with disk() as ide:
        data = pattern(0, 300, salt=9)
        ide.command(0x34, 50, 300, ext=True)  # more than a buffer
        check("first block has no interrupt", (True, False), (bool(ide.wait() & DRQ), ide.irq()))
        for i in range(300):
            ide.wait(True)
            ide.status()
            if i in (0, 1, 255, 256, 299):
                ide.pio_out(data[i * 512:i * 512 + 512])
            else:
                for k in range(0, 512, 4):
                    ide.vm.outl(ide.base, struct.unpack_from("<I", data, i * 512 + k)[0])
            ide.wait()
            check("irq after block %d" % i, True, ide.irq())
        check("status", DRDY | 0x10, ide.status())
        ide.command(0xe7)  # FLUSH CACHE
        ide.wait()
        check("flush", DRDY | 0x10, ide.status())
        with open(ide.path, "rb") as f:
            f.seek(49 * 512)
            check("file", pattern(49) + data + pattern(350), f.read(302 * 512))


def test_dma():
    with disk() as ide:
        # table of several pieces, one of odd length in words, engine started after the command
        ide.prds((DATA, 1000), (DATA + 0x10000, 24), (DATA + 0x20002, 512))
        ide.command(0xc8, 5, 3)
        ide.bm_start(True)
        ide.wait_bm(7, 4, "read")
        check("irq", True, ide.irq())
        check("status", DRDY | 0x10, ide.status())
        got = (ide.vm.read(DATA, 1000) + ide.vm.read(DATA + 0x10000, 24) +
               ide.vm.read(DATA + 0x20002, 512))
        check("data", pattern(5, 3), got)
        ide.bm_stop()
        # a write, engine started before the command; 64 KiB count
        data = pattern(0, 128, salt=3)
        ide.vm.write(DATA, data)
        ide.prds((DATA, 0))
        ide.bm_start(False)
        ide.command(0x35, 1000, 128, ext=True)
        ide.wait_bm(7, 4, "write")
        ide.status()
        ide.bm_stop()
        with open(ide.path, "rb") as f:
            f.seek(1000 * 512)
            check("file", data, f.read(65536))
        # 600 sectors: more than the buffer
        ide.prds(*[(DATA + i * 65536, 0) for i in range(4)], (DATA + 4 * 65536, 600 * 512 - 262144))
        ide.command(0x25, 10, 600, ext=True)
        ide.bm_start(True)
        ide.wait_bm(7, 4, "long read")
        check("data", pattern(10, 600), ide.vm.read(DATA, 600 * 512))
        ide.status()


def test_dma_lengths():
    with disk() as ide:
        # longer table: interrupt, and the engine is still active (BMIDE 2.2)
        ide.prds((DATA, 2048))
        ide.command(0xc8, 1, 1)
        ide.bm_start(True)
        ide.wait_bm(4, 4, "long table")
        check("long table", 5, ide.bm_status() & 7)
        ide.status()
        ide.bm_stop()
        check("stopped", 4, ide.bm_status() & 7)
        # shorter table: the engine ends, the device waits; a second table goes on
        ide.vm.memset(DATA, 4096, 0)
        ide.prds((DATA, 700))
        ide.command(0xc8, 20, 2)
        ide.bm_start(True)
        ide.wait_bm(1, 0, "short table")
        check("no interrupt", 0, ide.bm_status() & 6)
        check("device waits", DRQ, ide.wait() & (DRQ | ERR | BSY))
        check("data so far", pattern(20, 2)[:700] + bytes(10), ide.vm.read(DATA, 710))
        ide.bm_stop()
        ide.prds((DATA + 700, 324))
        ide.bm_start(True)
        ide.wait_bm(7, 4, "second table")
        check("data", pattern(20, 2), ide.vm.read(DATA, 1024))
        check("status", DRDY | 0x10, ide.status())
        ide.bm_stop()
        # a write stopped in between never reaches the disk
        ide.vm.write(DATA, pattern(0, 1, salt=77))
        ide.prds((DATA, 256))
        ide.command(0xca, 30, 1)
        ide.bm_start(False)
        ide.wait_bm(1, 0, "short write")
        ide.bm_stop()
        ide.vm.outb(ide.ctl, 4)
        ide.vm.outb(ide.ctl, 0)
        ide.wait()
        ide.command(0x20, 30)
        ide.wait(True)
        check("sector 30", pattern(30), ide.pio_in(512))


def test_dma_hostile():
    with disk() as ide:
        # no end of table: goes on as long as there is data
        for i in range(64):
            ide.vm.write(PRD + i * 8, struct.pack("<II", DATA, 2))
        ide.vm.outl(ide.bm + 4, PRD)
        ide.command(0xc8, 0, 1)
        ide.bm_start(True)
        ide.wait_bm(7, 5, "no end")  # what follows in memory says 64 KiB at 0
        ide.status()
        ide.bm_stop()
        # memory that is not there: the table, then the data
        ide.vm.outl(ide.bm + 4, 0xf0000000)
        ide.command(0xc8, 0, 1)
        ide.bm_start(True)
        ide.wait_bm(3, 2, "table outside memory")
        ide.vm.outb(ide.ctl, 4)
        ide.vm.outb(ide.ctl, 0)
        ide.bm_stop()
        ide.wait()
        ide.prds((0xf0000000, 512))
        ide.command(0xc8, 0, 1)
        ide.bm_start(True)
        ide.wait_bm(3, 2, "data outside memory")
        ide.vm.outb(ide.ctl, 4)
        ide.vm.outb(ide.ctl, 0)
        ide.bm_stop()
        ide.wait()
        # bus mastering off
        ide.vm.pci_write(ide.devfn, 4, 1, 2)
        ide.prds((DATA, 512))
        ide.command(0xc8, 0, 1)
        ide.bm_start(True)
        ide.wait_bm(1, 0, "no bus master")
        ide.vm.pci_write(ide.devfn, 4, 5, 2)
        ide.vm.outb(ide.ctl, 4)
        ide.vm.outb(ide.ctl, 0)
        ide.bm_stop()
        ide.wait()
        # a table at the end of its 64 KiB wraps
        ide.vm.write(PRD + 0xfff8, struct.pack("<II", DATA, 256))
        ide.vm.write(PRD, struct.pack("<II", DATA + 256, 256 | 0x80000000))
        ide.vm.outl(ide.bm + 4, PRD + 0xfff8)
        ide.command(0xc8, 77, 1)
        ide.bm_start(True)
        ide.wait_bm(7, 4, "wrapping table")
        check("data", pattern(77), ide.vm.read(DATA, 512))
        ide.status()
        ide.bm_stop()
        # the table lies where the data goes
        ide.prds((PRD, 512), at=PRD)
        ide.command(0xc8, 3, 1)
        ide.bm_start(True)
        ide.wait_bm(7, 4, "table overwritten")
        check("data", pattern(3), ide.vm.read(PRD, 512))
        # commands and registers that nobody sends
        ide.status()
        ide.bm_stop()
        for cmd in range(256):
            ide.command(cmd, 0xfffffff, 0, feature=cmd)
            for reg in range(8):
                ide.vm.inw(ide.base + reg)
                ide.vm.outl(ide.base + reg, 0x01020304)
            ide.vm.outb(ide.bm, 9)
            ide.vm.outb(ide.bm, 0)
            ide.vm.outb(ide.ctl, 4 if cmd % 3 == 0 else 0x80)
        ide.vm.outb(ide.ctl, 4)
        ide.vm.outb(ide.ctl, 0)
        ide.wait()
        ide.command(0x20, 9)
        ide.wait(True)
        check("still alive", pattern(9), ide.pio_in(512))


def test_errors():
    with disk() as ide:
        for what, cmd, kw, want in (
                ("past the end", 0x20, {"lba": SECTORS}, IDNF),
                ("across the end", 0xc8, {"lba": SECTORS - 1, "count": 2}, IDNF),
                ("LBA48 past the end", 0x24, {"lba": 1 << 40, "ext": True}, IDNF),
                ("sector 0 of CHS", 0x20, {"lba": 0, "chs": True}, IDNF),
                ("head 16", 0x20, {"lba": 0x40, "chs": True}, IDNF),
                ("unknown", 0xff, {}, ABRT), ("NOP", 0x00, {}, ABRT),
                ("PACKET to a disk", 0xa0, {}, ABRT),
                ("SET MULTIPLE 3", 0xc6, {"count": 3}, ABRT),
                ("SET MULTIPLE 32", 0xc6, {"count": 32}, ABRT),
                ("SET FEATURES ?", 0xef, {"feature": 0x77}, ABRT),
                ("TRIM of 0 blocks", 0x06, {"feature": 1, "count": 0, "ext": True}, ABRT)):
            ide.command(cmd, **kw)
            check(what, DRDY | 0x10 | ERR, ide.wait())
            check(what + ": error", want, ide.error())
            check(what + ": irq", True, ide.irq())
            ide.status()
    path = image()
    with Ide("-drive", "file=%s,format=raw,index=0,readonly=on" % path) as ide:
        ide.path = path
        ide.command(0x30)
        check("write to a read-only disk", (DRDY | 0x10 | ERR, ABRT), (ide.wait(), ide.error()))


def test_lba48_and_hob():
    with disk() as ide:
        ide.command(0x24, 0x123, 0x0201, ext=True)
        ide.wait(True)
        ide.vm.outb(ide.ctl, 0x80)
        check("HOB count", 2, ide.vm.inb(ide.base + 2))
        ide.vm.outb(ide.ctl, 0)
        check("count", 1, ide.vm.inb(ide.base + 2))
        check("low", 0x23, ide.vm.inb(ide.base + 3))
        ide.status()
        check("data", pattern(0x123), ide.pio_in(512))
        ide.vm.outb(ide.ctl, 4)
        ide.vm.outb(ide.ctl, 0)
        ide.wait()
        ide.command(0x27, ext=True)  # READ NATIVE MAX ADDRESS EXT
        ide.wait()
        check("native max", SECTORS - 1, ide.vm.inb(ide.base + 3) | ide.vm.inb(ide.base + 4) << 8)


def test_trim():
    with disk() as ide:
        ide.vm.write(DATA, struct.pack("<QQQ", 8 | 64 << 48, 0, 512 | 1024 << 48).ljust(512, b"\0"))
        ide.prds((DATA, 512))
        ide.command(0x06, 0, 1, feature=1, ext=True)
        ide.bm_start(False)
        ide.wait_bm(7, 4, "TRIM")
        check("status", DRDY | 0x10, ide.status())
        ide.bm_stop()
        with open(ide.path, "rb") as f:
            data = f.read()
        check("kept", pattern(0, 8), data[:8 * 512])
        check("kept", pattern(1536), data[1536 * 512:1537 * 512])
        check("trimmed", {0}, set(data[8 * 512:72 * 512] + data[512 * 512:1536 * 512]))
        ide.vm.write(DATA, struct.pack("<Q", SECTORS | 1 << 48))
        ide.prds((DATA, 512))
        ide.command(0x06, 0, 1, feature=1, ext=True)
        ide.bm_start(False)
        check("range past the end", DRDY | 0x10 | ERR, ide.wait(False))


def test_interrupts():
    second = image(64)
    with disk("-drive", "file=%s,format=raw,index=1" % second) as ide:
        os.unlink(second)
        # nIEN keeps the line and the bus master's bit down
        ide.vm.outb(ide.bm + 2, 6)
        ide.vm.outb(ide.ctl, 2)
        ide.command(0xe7)
        ide.wait()
        check("nIEN", (False, 0), (ide.irq(), ide.bm_status() & 4))
        ide.vm.outb(ide.ctl, 0)
        check("nIEN cleared", (True, 4), (ide.irq(), ide.bm_status() & 4))
        # the other device's interrupt waits
        ide.vm.outb(ide.base + 6, 0xf0)
        check("device 1 selected", False, ide.irq())
        ide.vm.outb(ide.base + 6, 0xe0)
        check("device 0 selected", True, ide.irq())
        check("alternate status leaves it", (DRDY | 0x10, True), (ide.alt(), ide.irq()))
        ide.status()
        check("status clears it", False, ide.irq())
        # both devices answer for themselves
        ide.unit = 1
        ide.command(0x20, 5)
        ide.wait(True)
        ide.status()
        check("device 1", pattern(5), ide.pio_in(512))
        ide.command(0x20, 64)
        check("device 1 is small", IDNF, (ide.wait(), ide.error())[1])
        ide.status()


def test_absent():
    with disk() as ide:
        ide.vm.outb(ide.base + 6, 0xf0)
        check("absent device 1", (0, 0), (ide.status(), ide.alt()))
        ide.vm.outb(ide.base + 7, 0xec)
        check("command to it", (0, False), (ide.status(), ide.irq()))
        check("empty channel", 0x7f, ide.vm.inb(0x177))
        ide.vm.outb(ide.base + 6, 0xe0)
        check("device 0", DRDY | 0x10, ide.status())


def test_reset():
    with disk() as ide:
        ide.command(0x20, 1, 200)
        ide.vm.outb(ide.ctl, 4)  # while the drive reads
        check("busy in SRST", BSY, ide.alt())
        ide.vm.outb(ide.ctl, 0)
        check("signature status", DRDY | 0x10, ide.wait())
        got = tuple(ide.vm.inb(ide.base + r) for r in (1, 2, 3, 4, 5))
        check("signature", (1, 1, 1, 0, 0), got)
        check("irq", False, ide.irq())
        ide.command(0x20, 2)
        ide.wait(True)
        check("irq", True, ide.irq())
        ide.status()
        check("data", pattern(2), ide.pio_in(512))
        ide.command(0x90)
        check("diagnostics", (DRDY | 0x10, 1, True), (ide.wait(), ide.error(), ide.irq()))
        ide.status()
        # INITIALIZE DEVICE PARAMETERS: 8 heads, 32 sectors
        ide.vm.outb(ide.base + 2, 32)
        ide.vm.outb(ide.base + 6, 0xa7)
        ide.vm.outb(ide.base + 7, 0x91)
        ide.wait()
        ide.command(0x20, 1 | 1 << 8 | 1 << 24, chs=True)
        ide.wait(True)
        check("new geometry", pattern(8 * 32 + 32), ide.pio_in(512))


def test_power_and_features():
    with disk() as ide:
        for what, cmd, kw in (("STANDBY IMMEDIATE", 0xe0, {}), ("FLUSH EXT", 0xea, {}),
                              ("UDMA2", 0xef, {"feature": 3, "count": 0x42}),
                              ("write cache off", 0xef, {"feature": 0x82}),
                              ("VERIFY", 0x40, {"lba": 5, "count": 0}),
                              ("RECALIBRATE", 0x10, {})):
            ide.command(cmd, **kw)
            check(what, DRDY | 0x10, ide.wait())
            ide.status()
        ide.command(0xe0)
        ide.wait()
        ide.command(0xe5)
        check("standby", 0, (ide.wait(), ide.vm.inb(ide.base + 2))[1])
        ide.command(0xe1)
        ide.wait()
        ide.command(0xe5)
        check("idle", 0xff, (ide.wait(), ide.vm.inb(ide.base + 2))[1])
        ide.command(0xec)
        ide.wait(True)
        w = struct.unpack("<256H", ide.pio_in(512))
        check("UDMA2 chosen, cache off", (0x043f, 0), (w[88], w[85] & 0x20))


def test_decode():
    with disk() as ide:
        ide.vm.pci_write(ide.devfn, 0x40, 0x0000, 2)
        check("channel 0 off", 0xff, ide.status())
        ide.vm.pci_write(ide.devfn, 0x40, 0x8000, 2)
        check("channel 0 on", DRDY | 0x10, ide.status())
        ide.vm.pci_write(ide.devfn, 4, 0, 2)
        check("I/O space off", 0xff, ide.status())


# ---- CD ----

def test_atapi_identify():
    with cdrom() as ide:
        ide.command(0xec)
        check("IDENTIFY aborts", (DRDY | 0x10 | ERR, ABRT), (ide.wait(), ide.error()))
        check("signature", (0x14, 0xeb), (ide.vm.inb(ide.base + 4), ide.vm.inb(ide.base + 5)))
        ide.status()
        ide.command(0xa1)
        ide.wait(True)
        ide.status()
        w = struct.unpack("<256H", ide.pio_in(512))
        check("word 0", 0x85c0, w[0])
        check("model", "Vireo DVD-ROM", text(w[27:47]))
        check("status", DRDY | 0x10, ide.status())
        ide.command(0x08)  # DEVICE RESET
        check("reset", (0, False), (ide.wait(), ide.irq()))


def test_atapi_read():
    with cdrom() as ide:
        check("ready", (b"", 0), ide.read_packet([0]))
        data, error = ide.read_packet([0x25])
        check("capacity", (63, 2048, 0), struct.unpack(">II", data) + (error,))
        for limit in (0xfffe, 2048, 512, 1000, 1001, 2, 0):
            n = 1 if limit == 2 else 3
            data, error = ide.read_packet([0x28, 0, 0, 0, 0, 10, 0, 0, n], limit)
            check("error, limit %d" % limit, 0, error)
            check("data, limit %d" % limit, pattern(40, 4 * n), data)
        check("no blocks", (b"", 0), ide.read_packet([0x28]))
        ide.prds((DATA, 4 * 2048))
        ide.packet([0xa8, 0, 0, 0, 0, 20, 0, 0, 0, 4], dma=True)
        ide.bm_start(True)
        ide.wait_bm(7, 4, "READ(12) by DMA")
        check("status", DRDY | 0x10, ide.status())
        check("data", pattern(80, 16), ide.vm.read(DATA, 4 * 2048))
        ide.bm_stop()
        ide.prds((DATA, 8))
        ide.packet([0x25], dma=True)
        ide.bm_start(True)
        ide.wait_bm(7, 4, "capacity by DMA")
        ide.status()
        check("capacity", (63, 2048), struct.unpack(">II", ide.vm.read(DATA, 8)))
        check("READ CD", (pattern(4, 4), 0),
              ide.read_packet([0xbe, 0, 0, 0, 0, 1, 0, 0, 1, 0x10]))


def test_atapi_errors():
    with cdrom() as ide:
        for what, cdb, want in (("past the end", [0x28, 0, 0, 0, 0, 63, 0, 0, 2], (5, 0x21, 0)),
                                ("huge", [0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], (5, 0x21, 0)),
                                ("unknown", [0xfa], (5, 0x20, 0)),
                                ("MODE SENSE ?", [0x5a, 0, 0x15, 0, 0, 0, 0, 0, 64], (5, 0x24, 0)),
                                ("TOC format 9", [0x43, 0, 9, 0, 0, 0, 0, 0, 64], (5, 0x24, 0))):
            _, error = ide.read_packet(cdb)
            check(what + ": error", want[0] << 4 | ABRT, error)
            check(what + ": sense", want, ide.sense())
            check(what + ": sense is told once", (0, 0, 0), ide.sense())
        for op in range(256):  # any packet, small room
            ide.read_packet([op, op, op & 0x3f, 0xff, 0xff, 0xff, 0, 0xff, 0xff, op, 0, 0], 64)
            if op == 0x1b:
                ide.read_packet([0x1b, 0, 0, 0, 3])
        ide.sense()


def test_atapi_reports():
    with cdrom() as ide:
        data, _ = ide.read_packet([0x43, 0, 0, 0, 0, 0, 0, 0, 100])
        check("TOC", bytes.fromhex("0012 0101 0014 0100 00000000 0016 aa00 00000040"), data)
        data, _ = ide.read_packet([0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100])
        check("lead-out in MSF", bytes.fromhex("000a 0101 0016 aa00 0000 0240"), data)
        data, _ = ide.read_packet([0x43, 0, 0, 0, 0, 0, 0, 0, 6])
        check("cut TOC", 6, len(data))
        data, _ = ide.read_packet([0x12, 0, 0, 0, 36])
        check("INQUIRY", (5, 0x80, b"VIREO   "), (data[0], data[1], data[8:16]))
        data, _ = ide.read_packet([0x46, 0, 0, 0, 0, 0, 0, 0, 128])
        check("profile", 8, struct.unpack_from(">H", data, 6)[0])
        check("features", [0, 1, 3], features(data))
        data, _ = ide.read_packet([0x46, 2, 0, 3, 0, 0, 0, 0, 128])
        check("feature 3", [3], features(data))
        data, _ = ide.read_packet([0x46, 0, 0, 1, 0, 0, 0, 0, 128])
        check("features from 1", [1, 3], features(data))
        data, _ = ide.read_packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])
        check("no event, disc in", bytes.fromhex("0006041000020000"), data)
        data, _ = ide.read_packet([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64])
        check("mode page 2A", (0x2a, len(data) - 2), (data[8], data[0] << 8 | data[1]))


def features(data):
    found, at = [], 8
    while at < len(data):
        found.append(struct.unpack_from(">H", data, at)[0])
        at += 4 + data[at + 3]
    return found


def test_media():
    with cdrom(monitor=True) as ide:
        other = image(32, 2048)
        ide.read_packet([0x1e, 0, 0, 0, 1])  # PREVENT
        check("locked", True, "locked" in ide.hmp("eject cd"))
        data, _ = ide.read_packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])
        check("eject request", 1, data[4])
        _, error = ide.read_packet([0x1b, 0, 0, 0, 2])
        check("tray held", ((5, 0x53, 2), 0x54), (ide.sense(), error))
        ide.read_packet([0x1e])
        ide.hmp("eject cd")
        _, error = ide.read_packet([0])
        check("no medium", (0x20, (2, 0x3a, 2)), (error, ide.sense()))
        check("info block", True, "cd: [not inserted]" in ide.hmp("info block"))
        check("tray", True, "tray open" in ide.hmp("info block"))
        ide.hmp("change cd %s" % other)
        _, error = ide.read_packet([0])
        check("attention", (0x60, (6, 0x28, 0)), (error, ide.sense()))
        data, _ = ide.read_packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])
        check("new media", (2, 2), (data[4], data[5]))
        check("ready", (b"", 0), ide.read_packet([0]))
        data, _ = ide.read_packet([0x25])
        check("capacity", 31, struct.unpack(">II", data)[0])
        # the guest's own eject
        ide.read_packet([0x1b, 0, 0, 0, 2])
        _, error = ide.read_packet([0x28, 0, 0, 0, 0, 0, 0, 0, 1])
        check("open tray", (0x20, (2, 0x3a, 2)), (error, ide.sense()))
        ide.read_packet([0x1b, 0, 0, 0, 3])
        check("attention", 0x60, ide.read_packet([0])[1])
        check("ready", 0, ide.read_packet([0])[1])
        os.unlink(other)


def test_media_change_while_reading():
    """The rest of a READ never comes from another disc."""
    with cdrom(blocks=200, monitor=True) as ide:
        other = image(200, 2048)
        ide.read_packet([0])
        ide.packet([0x28, 0, 0, 0, 0, 0, 0, 0, 200], 2048)
        check("data", DRQ, ide.wait() & (DRQ | ERR))
        ide.hmp("change cd %s" % other)
        got = 0
        while ide.wait() & DRQ:
            ide.status()
            ide.pio_in(2048)
            got += 1
        check("an error", ERR, ide.status() & (DRQ | ERR))
        check("before the end", True, 0 < got < 200)
        check("which", (3, 0x11, 0), ide.sense())
        check("then the new disc", (6, 0x28, 0), (ide.read_packet([0]), ide.sense())[1])
        check("its data", (pattern(40, 4), 0), ide.read_packet([0x28, 0, 0, 0, 0, 10, 0, 0, 1]))
        os.unlink(other)


def test_ide_drive():
    hd, cd = image(64), image(16, 2048)
    with Ide("-drive", "if=none,id=a,file=%s,format=raw" % hd, "-device",
             "ide-drive,drive=a,bus=ide.0,unit=0", "-drive",
             "if=none,id=b,media=cdrom,file=%s" % cd, "-device",
             "ide-drive,drive=b,bus=ide.0,unit=1", "-drive",
             "if=none,id=c,file=%s,format=raw,readonly=on" % cd, "-device",
             "ide-cd,drive=c,bus=ide.1,unit=0") as ide:
        vm = ide.vm
        for base, sel, want in ((0x1f0, 0xe0, 0), (0x1f0, 0xf0, 0xeb14), (0x170, 0xe0, 0xeb14)):
            vm.outb(base + 6, sel)
            check("signature", want, vm.inb(base + 4) | vm.inb(base + 5) << 8)
    for path in (hd, cd):
        os.unlink(path)


def test_no_room():
    """A full host disk pauses the guest; with room again, cont finishes the write."""
    path = tempfile.mktemp(prefix="vireo-ide-")
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    with Ide("-drive", "file=%s,format=raw,index=0,id=hd" % path, monitor=True) as ide:
        pid = ide.vm.proc.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
        ide.command(0x30, 100)
        ide.wait(True)
        ide.pio_out(pattern(100))
        end = time.monotonic() + TIMEOUT
        while "io-error" not in ide.hmp("info status") and time.monotonic() < end:
            time.sleep(0.01)
        check("status", True, "paused (io-error)" in ide.hmp("info status"))
        check("guest sees", BSY, ide.alt() & (BSY | ERR))
        ide.hmp("cont")
        time.sleep(0.1)
        check("again", True, "io-error" in ide.hmp("info status"))
        check("message", True, "drive 'hd': writing failed" in ide.vm.stderr())
        resource.prlimit(pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ide.hmp("cont")
        check("written", DRDY | 0x10, ide.wait())
        check("running", True, "running" in ide.hmp("info status"))
    with open(path, "rb") as f:
        f.seek(100 * 512)
        check("file", pattern(100), f.read(512))
    os.unlink(path)


def test_reset_after_failure():
    """A reset forgets the request that waits for room."""
    path = tempfile.mktemp(prefix="vireo-ide-")
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    with Ide("-drive", "file=%s,format=raw,index=0,id=hd,werror=stop" % path,
             monitor=True) as ide:
        ide.path = path
        pid = ide.vm.proc.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
        ide.command(0x30, 100)
        ide.wait(True)
        ide.pio_out(pattern(100))
        end = time.monotonic() + TIMEOUT
        while "io-error" not in ide.hmp("info status") and time.monotonic() < end:
            time.sleep(0.01)
        check("info block", True, "waits for cont" in ide.hmp("info block"))
        ide.hmp("system_reset")
        while "io-error" in ide.hmp("info status") and time.monotonic() < end:
            time.sleep(0.01)
        check("paused", True, "VM status: paused" in ide.hmp("info status"))
        resource.prlimit(pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ide.hmp("cont")
        ide.vm.pci_write(ide.devfn, 0x20, BM)
        ide.vm.pci_write(ide.devfn, 4, 5, 2)
        check("signature", 1, ide.vm.inb(ide.base + 2))
        ide.command(0x20, 100)
        ide.wait(True)
        check("never written", bytes(512), ide.pio_in(512))


def test_monitor_stop_during_dma():
    with disk(monitor=True) as ide:
        for _ in range(5):
            ide.prds(*[(DATA + i * 65536, 0) for i in range(8)])
            ide.command(0x25, 0, 1024, ext=True)
            ide.bm_start(True)
            ide.hmp("stop")
            ide.hmp("cont")
            ide.wait_bm(7, 4, "read")
            ide.status()
            ide.bm_stop()
        check("data", pattern(0, 1024), ide.vm.read(DATA, 1024 * 512))


def test_random():
    """Nothing a driver does upsets the controller; afterwards it works. Seed in $SEED."""
    seed = int(os.environ.get("SEED", "1"))
    rnd = random.Random(seed)
    cd = image(64, 2048)
    commands = (0x20, 0x24, 0x25, 0x30, 0x34, 0x35, 0xc4, 0xc5, 0xc8, 0xca, 0x06, 0x40, 0xa0, 0xa1,
                0xec, 0xe7, 0x08, 0x90, 0xc6, 0xef, 0x91)
    with disk("-drive", "file=%s,format=raw,index=1,media=cdrom" % cd) as ide:
        os.unlink(cd)
        vm = ide.vm
        for i in range(32):
            vm.write(PRD + 8 * i, struct.pack("<II", rnd.choice((DATA, 0, 0xa0000, 0xfffffff0)),
                                              rnd.choice((2, 512, 0, 4096, 0x80000200))))
        for _ in range(int(os.environ.get("STEPS", "3000"))):
            what = rnd.randrange(12)
            if what < 3:
                vm.outb(ide.base + rnd.randrange(1, 7), rnd.choice((0, 1, 2, 8, 0xff, 0xe0, 0xf0,
                                                                   rnd.randrange(256))))
            elif what < 5:
                vm.outb(ide.base + 7, rnd.choice(commands))
            elif what == 5:
                vm.inw(ide.base)
            elif what == 6:
                vm.outw(ide.base, rnd.choice((0, 0x28, 0x4a, rnd.randrange(65536))))
            elif what == 7:
                vm.outb(ide.bm + rnd.choice((0, 2)), rnd.choice((0, 1, 8, 9, 6)))
            elif what == 8:
                vm.outl(ide.bm + 4, PRD + 8 * rnd.randrange(32))
            elif what == 9:
                vm.inl(ide.base + rnd.randrange(8))
            elif what == 10 and rnd.randrange(8) == 0:
                vm.outb(ide.ctl, rnd.choice((0, 2, 4, 0x80)))
            else:
                ide.pio_in(32)
        vm.outb(ide.ctl, 4)
        vm.outb(ide.ctl, 0)
        ide.bm_stop()
        ide.wait()
        ide.command(0x20, SECTORS - 1)
        check("seed %d: answers" % seed, DRDY | 0x10 | DRQ, ide.wait(True))


if __name__ == "__main__":
    main()
