# SPDX-License-Identifier: GPL-2.0-or-later
"""82077AA: registers, every command by DMA and by hand, media, errors, and what hostile guests do."""

import os
import random
import socket
import struct
import subprocess
import tempfile
import time

from qtest import TIMEOUT, VIREO, Failure, QTest, check, main

SRA, SRB, DOR, TDR, MSR, FIFO, DIR = 0x3f0, 0x3f1, 0x3f2, 0x3f3, 0x3f4, 0x3f5, 0x3f7
RQM, DIO, NDM, BUSY = 0x80, 0x40, 0x20, 0x10
SPT, BUF = 18, 0x20000
ABNORMAL, MA, NW, ND, EN = 0x40, 1, 2, 4, 0x80
READ, WRITE, VERIFY, READ_TRACK, READ_DELETED = 0xe6, 0xc5, 0xf6, 0x42, 0xcc


def sector(n, salt=0):
    return struct.pack("<IB", n, salt) + bytes((n * 3 + i + salt) & 0xff for i in range(507))


def image(size=1440):
    fd, path = tempfile.mkstemp(prefix="vireo-fdc-")
    with os.fdopen(fd, "wb") as f:
        f.write(b"".join(sector(n) for n in range(size * 2)))
    return path


class Fdc:
    """A pc with a disk of size KiB in drive A."""

    def __init__(self, *more, size=1440, opts="", rate=0, start=True):
        self.path = image(size) if size else None
        self.monitor = tempfile.mktemp(prefix="vireo-mon-")
        file = "blkdebug::%s" % self.path if "inject" in opts else self.path
        args = ["-drive", "file=%s,format=raw,if=floppy%s" % (file, opts)] if size else []
        self.vm = QTest("-M", "pc", "-m", "16", "-monitor", "unix:%s,server,nowait" % self.monitor,
                        *args, *more)
        self.vm.irq_intercept_in("/machine/unattached/ioapic")
        if start:
            self.reset(rate)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.vm.close(check_status=exc[0] is None)
        for path in (self.path, self.monitor):
            if path and os.path.exists(path):
                os.unlink(path)

    def reset(self, rate=0, dma=True):
        vm = self.vm
        vm.outb(DOR, 0x08)
        check("MSR in reset", 0, vm.inb(MSR))
        vm.outb(DOR, 0x1c)
        check("interrupt of the reset", True, vm.irq(6))
        for n in range(4):
            check("polled drive %d" % n, 0xc0 | n, self.command([8], 2)[0])
        check("interrupt told", False, vm.irq(6))
        vm.outb(DIR, rate)
        self.command([3, 0xdf, 2 if dma else 3], 0)

    def command(self, data, nr_result):
        """A command without execution phase."""
        for byte in data:
            check("MSR", RQM, self.vm.inb(MSR) & (RQM | DIO))
            self.vm.outb(FIFO, byte)
        return self.result(nr_result)

    def result(self, nr):
        out = []
        for _ in range(nr):
            check("MSR of a result", RQM | DIO | BUSY, self.vm.inb(MSR))
            out.append(self.vm.inb(FIFO))
        check("MSR after the result", RQM, self.vm.inb(MSR))
        return out

    def dma(self, size, to_memory, mode=None):
        vm = self.vm
        vm.outb(0xd4, 0)      # cascade
        vm.outb(0x0a, 6)
        vm.outb(0x0c, 0)
        vm.outb(0x0b, (0x46 if to_memory else 0x4a) if mode is None else mode)
        for byte in (BUF & 0xff, BUF >> 8 & 0xff):
            vm.outb(4, byte)
        vm.outb(0x81, BUF >> 16)
        for byte in (size - 1 & 0xff, size - 1 >> 8):
            vm.outb(5, byte)
        vm.outb(0x0a, 2)

    def wait(self):
        """For the interrupt of a result; the result."""
        self.vm.wait_irq(6)
        res = self.result(7)
        check("interrupt after the result", False, self.vm.irq(6))
        return res

    def rw(self, cmd, c, h, r, eot=SPT, drive=0, last=0xff, head=None):
        head = h if head is None else head
        for byte in [cmd, head << 2 | drive, c, h, r, 2, eot, 27, last]:
            self.vm.outb(FIFO, byte)

    def read(self, c, h, r, nr, cmd=READ, eot=SPT, **kw):
        self.dma(nr * 512, True)
        self.rw(cmd, c, h, r, eot, **kw)
        res = self.wait()
        return self.vm.read(BUF, nr * 512), res

    def write(self, c, h, r, data, cmd=WRITE, eot=SPT, **kw):
        self.vm.write(BUF, data)
        self.dma(len(data), False)
        self.rw(cmd, c, h, r, eot, **kw)
        return self.wait()

    def seek(self, c, h=0, drive=0):
        self.command([0x0f, h << 2 | drive, c], 0)
        check("interrupt of the seek", True, self.vm.irq(6))
        check("end of the seek", [0x20 | h << 2 | drive, c], self.command([8], 2))
        check("interrupt told", False, self.vm.irq(6))

    def file(self, first, nr):
        with open(self.path, "rb") as f:
            f.seek(first * 512)
            return f.read(nr * 512)

    def hmp(self, line):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.monitor)
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


def sectors(first, nr, salt=0):
    return b"".join(sector(n, salt) for n in range(first, first + nr))


# ---- registers and commands without data ----

def test_registers():
    with Fdc(start=False) as fdc:
        vm = fdc.vm
        check("DOR", 0, vm.inb(DOR))
        check("MSR", 0, vm.inb(MSR))
        vm.outb(FIFO, 0x10)  # in reset: ignored
        vm.outb(DOR, 0x04)   # no DMAGATE: INT does not get out
        check("MSR", RQM, vm.inb(MSR))
        check("interrupt", False, vm.irq(6))
        vm.outb(DOR, 0x0c)
        check("interrupt", True, vm.irq(6))
        check("SRA", 0xc6, vm.inb(SRA) & 0xe6)
        check("version", [0x90], fdc.command([0x10], 1))
        vm.outb(DOR, 0x3d)
        check("SRB", 0xe3, vm.inb(SRB))
        vm.outb(TDR, 0xff)
        check("TDR", 3, vm.inb(TDR))
        vm.outb(MSR, 0x80)  # DSR: software reset, clears itself
        check("MSR", RQM, vm.inb(MSR))
        check("interrupt", True, vm.irq(6))
        check("polled", [0xc0, 0], fdc.command([8], 2))
        # the port between belongs to IDE
        vm.pci_write(0x09, 4, 1, 2)
        check("3f6", 0x7f, vm.inb(0x3f6))


def test_small_commands():
    with Fdc() as fdc:
        check("part id", [0x41], fdc.command([0x18], 1))
        check("invalid", [0x80], fdc.command([0x1f], 1))
        check("no interrupt to sense", [0x80], fdc.command([8], 1))
        fdc.command([0x03, 0xaf, 0x1e], 0)
        fdc.command([0x13, 0, 0x57, 0x11], 0)
        fdc.command([0x12, 0x8c | 0x80 | 1], 0)
        check("locked", [0x10], fdc.command([0x94], 1))
        dump = [0, 0, 0, 0, 0xaf, 0x1e, 0, 0x8d, 0x57, 0x11]
        check("DUMPREG", dump, fdc.command([0x0e], 10))
        fdc.vm.outb(DOR, 0)
        fdc.vm.outb(DOR, 0x1c)
        check("POLL off: an interrupt all the same", True, fdc.vm.irq(6))
        check("LOCK keeps", dump, fdc.command([0x0e], 10))
        check("unlocked", [0], fdc.command([0x14], 1))
        fdc.vm.outb(MSR, 0x80)
        check("defaults, but EIS and POLL", [0x70, 0], fdc.command([0x0e], 10)[8:])
        fdc.command([0x12, 2], 0)
        check("PERPENDICULAR without OW", 0x0e, fdc.command([0x0e], 10)[7])
        fdc.command([0x33, 0], 0)
        check("POWERDOWN MODE", [5], fdc.command([0x17, 5], 1))
        for byte in (0x8e, 0x05, 0x2a):
            fdc.vm.outb(FIFO, byte)
        check("MSR in a long command", RQM | BUSY, fdc.vm.inb(MSR))
        fdc.vm.outb(FIFO, 0x80)
        check("DRIVE SPECIFICATION", [5, 10, 0, 0], fdc.result(4))
        check("ST3", [0x38], fdc.command([0x04, 0], 1))
        check("ST3 of an absent drive", [0x2d], fdc.command([0x04, 5], 1))


def test_seeks():
    with Fdc() as fdc:
        vm = fdc.vm
        fdc.seek(40)
        check("ST3 off track 0", [0x28], fdc.command([0x04, 0], 1))
        check("READ ID", [0, 0, 0, 40, 0, 1, 2], read_id(fdc))
        fdc.command([0xcf, 0, 5], 0)  # RELATIVE SEEK inwards
        check("45", [0x20, 45], fdc.command([8], 2))
        fdc.command([0x8f, 0, 6], 0)
        check("39", [0x20, 39], fdc.command([8], 2))
        check("READ ID", 39, read_id(fdc)[3])
        fdc.command([0x07, 0], 0)
        check("interrupt", True, vm.irq(6))
        check("RECALIBRATE", [0x20, 0], fdc.command([8], 2))
        fdc.command([0x07, 1], 0)
        check("absent drive", [0x71, 0], fdc.command([8], 2))
        # two at once: each is told
        fdc.command([0x0f, 0, 3], 0)
        fdc.command([0x0f, 1, 4], 0)
        check("first", [0x20, 3], fdc.command([8], 2))
        check("interrupt again", True, vm.irq(6))
        check("second", [0x21, 4], fdc.command([8], 2))
        check("no more", False, vm.irq(6))


def read_id(fdc, head=0, drive=0, cmd=0x4a):
    for byte in [cmd, head << 2 | drive]:
        fdc.vm.outb(FIFO, byte)
    return fdc.wait()


# ---- data ----

def test_read():
    with Fdc() as fdc:
        data, res = fdc.read(0, 0, 1, 1)
        check("result", [0, 0, 0, 0, 0, 2, 2], res)
        check("data", sector(0), data)
        # both sides, to the end of the cylinder and terminal count there
        fdc.seek(5)
        data, res = fdc.read(5, 0, 10, 27)
        check("result", [4, 0, 0, 6, 0, 1, 2], res)
        check("data", sectors(5 * 36 + 9, 27), data)
        # one side
        data, res = fdc.read(5, 1, 1, 18, cmd=0x46)
        check("result", [4, 0, 0, 6, 1, 1, 2], res)
        check("data", sectors(5 * 36 + 18, 18), data)
        # the end without terminal count
        data, res = fdc.read(5, 1, 18, 2)
        check("end of cylinder", [ABNORMAL | 4, EN, 0, 6, 0, 1, 2], res)
        check("data", sector(5 * 36 + 35), data[:512])
        # terminal count inside a sector
        fdc.dma(700, True)
        fdc.rw(READ, 5, 0, 1)
        check("result", [0, 0, 0, 5, 0, 3, 2], fdc.wait())
        check("data", sectors(180, 2)[:700], fdc.vm.read(BUF, 700))
        check("last sector", sector(2879), last_sector(fdc))


def last_sector(fdc):
    fdc.seek(79)
    return fdc.read(79, 1, 18, 1)[0]


def test_write():
    with Fdc() as fdc:
        fdc.seek(2)
        check("result", [0, 0, 0, 2, 0, 4, 2], fdc.write(2, 0, 1, sectors(0, 3, 7)))
        check("file", sectors(0, 3, 7) + sector(75), fdc.file(72, 4))
        check("side 1", [4, 0, 0, 3, 0, 1, 2], fdc.write(2, 0, 18, sectors(9, 19, 8)))
        check("file", sector(88) + sectors(9, 19, 8) + sector(108), fdc.file(88, 21))
        check("deleted data", [0, 0, 0, 2, 0, 2, 2], fdc.write(2, 0, 1, sector(1, 3), cmd=0xc9))
        check("short: zeroes", [0, 0, 0, 2, 0, 3, 2], fdc.write(2, 0, 2, b"abc"))
        check("file", sector(1, 3) + b"abc".ljust(512, b"\0"), fdc.file(72, 2))


def test_by_hand():
    for fifo, chunk in ((0x20, 1), (0x08, 8)):
        with Fdc() as fdc:
            vm = fdc.vm
            fdc.command([3, 0xdf, 3], 0)
            fdc.command([0x13, 0, fifo, 0], 0)
            fdc.rw(READ, 0, 0, 17)
            data = b""
            vm.wait_irq(6)
            vm.irq_log.clear()
            for _ in range(512 * 2 // chunk):
                vm.wait_irq(6)
                check("MSR", RQM | DIO | NDM | BUSY, vm.inb(MSR))
                data += bytes(vm.inb(FIFO) for _ in range(chunk))
            # both sides: it goes on with the other
            vm.wait_irq(6)
            rises = sum(1 for n, level in vm.irq_log if n == 6 and level)
            check("interrupts", 1024 // chunk, rises)
            vm.outb(DOR, 0)
            fdc.reset(dma=False)
            check("data", sectors(16, 2), data)
            fdc.rw(WRITE, 0, 0, 18)
            vm.wait_irq(6)
            for i, byte in enumerate(sector(3, 9)):
                if i % 64 == 0:
                    check("MSR", RQM | NDM | BUSY, vm.inb(MSR))
                vm.outb(FIFO, byte)
            vm.wait_irq(6)
            end = time.monotonic() + TIMEOUT
            while not vm.inb(MSR) & DIO and time.monotonic() < end:
                if vm.inb(MSR) & RQM:  # side 1, and no more than that
                    vm.outb(FIFO, 0)
            vm.wait_irq(6)
            check("no terminal count", [ABNORMAL | 4, EN], fdc.result(7)[:2])
            check("file", sector(3, 9) + bytes(512), fdc.file(17, 2)[:1024])


def test_read_track_and_verify():
    with Fdc() as fdc:
        fdc.seek(1)
        data, res = fdc.read(1, 0, 1, 18, cmd=READ_TRACK)
        check("READ TRACK", [0, 0, 0], res[:3])
        check("data", sectors(36, 18), data)
        data, res = fdc.read(1, 0, 1, 5, cmd=READ_TRACK, eot=5)
        check("data", sectors(36, 5), data)
        fdc.rw(VERIFY, 1, 0, 1)
        check("VERIFY both sides", [4, 0, 0, 2, 0, 1, 2], fdc.wait())
        for byte in [VERIFY, 0x80, 1, 0, 3, 2, 18, 27, 4]:
            fdc.vm.outb(FIFO, byte)
        check("VERIFY 4 sectors", [0, 0, 0, 1, 0, 7, 2], fdc.wait())
        for byte in [0x56, 0x80, 1, 0, 17, 2, 18, 27, 4]:
            fdc.vm.outb(FIFO, byte)
        check("VERIFY more than there are", [ABNORMAL, EN], fdc.wait()[:2])


def test_deleted():
    with Fdc() as fdc:
        data, res = fdc.read(0, 0, 2, 2, cmd=READ_DELETED)
        check("a normal sector ends it", [0, 0, 0x40, 0, 0, 3, 2], res)
        check("data", sector(1), data[:512])
        check("skips all", [ABNORMAL, ND], fdc.read(0, 0, 2, 2, cmd=READ_DELETED | 0x20)[1][:2])


def test_scan():
    with Fdc() as fdc:
        def scan(cmd, data, r=1, eot=18, step=1):
            fdc.vm.write(BUF, data)
            fdc.dma(len(data), False)
            fdc.rw(cmd, 0, 0, r, eot, last=step)
            return fdc.wait()
        check("equal", [0, 0, 8, 0, 0, 1, 2], scan(0x51, sector(0)))
        check("not equal", [0, 0, 4], scan(0x51, sector(1))[:3])
        check("found in the third", [0, 0, 8, 0, 0, 3, 2],
              scan(0x51, b"\xfe" * 1024 + sector(2)))
        lower, higher = bytes(512), b"\xfe" * 512
        check("low or equal", [0, 0, 0, 0, 0, 1, 2], scan(0x59, higher))
        check("low or equal, not", 4, scan(0x59, lower)[2])
        check("high or equal", [0, 0, 0, 0, 0, 1, 2], scan(0x5d, lower))
        check("high or equal, not", 4, scan(0x5d, higher)[2])
        check("FFh fits all", 8, scan(0x51, b"\xff" * 512)[2])
        check("every second sector", [0, 0, 8, 0, 0, 3, 2],
              scan(0x51, sector(1) + sector(2), step=2))


def test_format():
    with Fdc() as fdc:
        fdc.seek(3)
        ids = b"".join(bytes([3, 1, r, 2]) for r in range(1, 19))
        fdc.vm.write(BUF, ids)
        fdc.dma(len(ids), False)
        for byte in [0x4d, 4, 2, 18, 0x54, 0xe5]:
            fdc.vm.outb(FIFO, byte)
        check("FORMAT", [4, 0, 0], fdc.wait()[:3])
        check("file", sector(125) + b"\xe5" * 512 * 18 + sector(144), fdc.file(125, 20))
        fdc.vm.write(BUF, bytes([3, 1, 19, 2]))
        fdc.dma(4, False)
        for byte in [0x4d, 4, 2, 19, 0x54, 0xe5]:
            fdc.vm.outb(FIFO, byte)
        check("more sectors than the image has", [ABNORMAL | 4, ND], fdc.wait()[:2])


def test_errors():
    with Fdc("-drive", "if=floppy,index=1") as fdc:
        check("wrong cylinder", [ABNORMAL, ND, 0x10], fdc.read(3, 0, 1, 1)[1][:3])
        check("bad cylinder", [ABNORMAL, ND, 0x02], fdc.read(255, 0, 1, 1)[1][:3])
        check("no such sector", [ABNORMAL, ND, 0, 0, 0, 19, 2], fdc.read(0, 0, 19, 1, eot=20)[1])
        check("sector 0", [ABNORMAL, ND], fdc.read(0, 0, 0, 1)[1][:2])
        check("wrong head", [ABNORMAL, ND], fdc.read(0, 1, 1, 1, head=0)[1][:2])
        check("FM", [ABNORMAL, MA], fdc.read(0, 0, 1, 1, cmd=0x06)[1][:2])
        check("empty drive", [ABNORMAL | 1, MA], fdc.read(0, 0, 1, 1, drive=1)[1][:2])
        check("absent drive", [ABNORMAL | 2, MA], read_id(fdc, drive=2)[:2])
        fdc.seek(82)
        check("beyond the last track", [ABNORMAL, MA], fdc.read(82, 0, 1, 1)[1][:2])
        fdc.seek(0)
        fdc.vm.outb(DIR, 2)
        check("wrong data rate", [ABNORMAL, MA], read_id(fdc)[:2])
        fdc.vm.outb(DIR, 0)
        check("right one", 0, read_id(fdc)[0])
        fdc.command([0x13, 0, 0x60, 0], 0)  # implied seek
        data, res = fdc.read(30, 1, 2, 1)
        check("implied seek", [4, 0, 0, 30, 1, 3, 2], res)
        check("data", sector(30 * 36 + 19), data)


def test_host_errors():
    bad = ",werror=report" + "".join(",file.inject-error.%d.%s" % (n, word) for n, words in enumerate(
        (("event=read_aio", "errno=5", "sector=4"), ("event=write_aio", "errno=5", "sector=9")))
                                     for word in words)
    with Fdc(opts=bad) as fdc:
        data, res = fdc.read(0, 0, 3, 4)
        check("data error in sector 5", [ABNORMAL, 0x20, 0x20, 0, 0, 5, 2], res)
        check("what came before", sectors(2, 2), data[:1024])
        check("a write", [ABNORMAL, 0x20, 0x20, 0, 0, 10, 2], fdc.write(0, 0, 10, sector(1)))
        check("elsewhere", sectors(5, 3), fdc.read(0, 0, 6, 3)[0])


def test_write_protect():
    with Fdc(opts=",readonly=on") as fdc:
        check("ST3", [0x78], fdc.command([0x04, 0], 1))
        check("SRA", 0, fdc.vm.inb(SRA) & 2)
        check("write", [ABNORMAL, NW], fdc.write(0, 0, 1, sector(9))[:2])
        fdc.dma(4, False)
        for byte in [0x4d, 0, 2, 1, 0x54, 0]:
            fdc.vm.outb(FIFO, byte)
        check("format", [ABNORMAL, NW], fdc.wait()[:2])
        check("read", sector(0), fdc.read(0, 0, 1, 1)[0])
        check("file", sectors(0, 2), fdc.file(0, 2))


def test_media_change():
    with Fdc() as fdc:
        vm = fdc.vm
        check("changed at first", 0x80, vm.inb(DIR))
        fdc.seek(1)
        check("a step tells", 0, vm.inb(DIR))
        other = image(720)
        try:
            check("info block", True, ": " + fdc.path + " (raw)" in fdc.hmp("info block"))
            fdc.hmp("change floppy0 %s" % other)
            check("changed", 0x80, vm.inb(DIR))
            fdc.command([0x07, 0], 0)
            fdc.command([8], 2)
            check("a step tells", 0, vm.inb(DIR))
            check("720K at 500 kbit/s", [ABNORMAL, MA], read_id(fdc)[:2])
            vm.outb(DIR, 2)
            data, res = fdc.read(0, 0, 9, 2, eot=9)
            check("result", [4, 0, 0, 0, 1, 2, 2], res)
            check("data", sectors(8, 2), data)
            check("written", [0, 0], fdc.write(0, 0, 1, sector(5, 5), eot=9)[:2])
            fdc.hmp("eject floppy0")
            check("changed", 0x80, vm.inb(DIR))
            fdc.seek(1)
            check("a step without a disk tells nothing", 0x80, vm.inb(DIR))
            check("no disk", [ABNORMAL, MA], read_id(fdc)[:2])
            check("info block", True, "floppy0: [not inserted]" in fdc.hmp("info block"))
            fdc.hmp("change floppy0 %s raw read-only" % other)
            check("write protected", 0x40, fdc.command([0x04, 0], 1)[0] & 0x40)
            with open(other, "rb") as f:
                check("file", sector(5, 5), f.read(512))
        finally:
            os.unlink(other)


def test_drive_del():
    with Fdc() as fdc:
        fdc.seek(1)
        check("a disk", 0, read_id(fdc)[0])
        fdc.hmp("drive_del floppy0")
        check("changed", 0x80, fdc.vm.inb(DIR))
        check("no disk", [ABNORMAL, MA], read_id(fdc)[:2])
        check("nor its data", [ABNORMAL, MA], fdc.read(1, 0, 1, 1)[1][:2])


def cmos(fdc, index):
    fdc.vm.outb(0x70, index)
    return fdc.vm.inb(0x71)


def test_formats():
    for size, spt, cyls, heads, rate, kind in (
            (160, 8, 40, 1, 2, 2), (180, 9, 40, 1, 1, 2), (320, 8, 40, 2, 2, 2), (360, 9, 40, 2, 1, 2),
            (720, 9, 80, 2, 2, 4), (1200, 15, 80, 2, 0, 2), (1440, 18, 80, 2, 0, 4),
            (1680, 21, 80, 2, 0, 4), (1743, 21, 83, 2, 0, 4), (2880, 36, 80, 2, 3, 5),
            (3840, 48, 80, 2, 3, 5), (100, 18, 80, 2, 0, 4)):
        with Fdc(size=size, rate=rate) as fdc:
            check("%dK: CMOS type" % size, kind << 4, cmos(fdc, 0x10))
            check("%dK: equipment" % size, 0x01, cmos(fdc, 0x14) & 0xc1)
            c = cyls - 1 if size != 100 else 0
            fdc.seek(c)
            data, res = fdc.read(c, heads - 1, spt, 1, cmd=0x46, eot=spt)
            check("%dK: result" % size, [(heads - 1) * 4, 0, 0], res[:3])
            check("%dK: data" % size, sector((c * heads + heads) * spt - 1), data)
            check("%dK: no more sectors" % size, ND,
                  fdc.read(c, 0, spt + 1, 1, eot=spt + 1)[1][1])
            if heads == 1:
                check("%dK: one side" % size, MA, read_id(fdc, head=1)[1])
            if size == 100:  # what an image lacks reads as zeroes
                fdc.seek(70)
                check("past the end", bytes(512), fdc.read(70, 0, 1, 1)[0])
                check("no write there", [ABNORMAL, 0x20], fdc.write(70, 0, 1, sector(0))[:2])


def test_drive_types():
    for kind, code in (("120", 2), ("144", 4), ("288", 5), ("auto", 5), ("none", 0)):
        with Fdc("-device", "floppy,drive-type=%s" % kind, size=0) as fdc:
            check(kind, code << 4, cmos(fdc, 0x10))
    with Fdc("-device", "floppy,unit=1", size=720, rate=2) as fdc:
        check("two drives", 0x45, cmos(fdc, 0x10))
        check("equipment", 0x41, cmos(fdc, 0x14) & 0xc1)
        check("drive B", True, "floppy1: [not inserted]" in fdc.hmp("info block"))
    # 360K in a 3.5" drive has one side and 80 tracks
    path = image(360)
    with Fdc("-drive", "if=none,id=f,format=raw,file=" + path, "-device",
             "floppy,drive=f,drive-type=144", size=0, rate=2) as fdc:
        fdc.seek(79)
        check("last sector", sector(719), fdc.read(79, 0, 9, 1, eot=9)[0])
    os.unlink(path)
    with Fdc(size=0) as fdc:
        check("no drive with -nodefaults", 0, cmos(fdc, 0x10))


def test_device_of_ones_own():
    path = image()
    with QTest("-M", "pc", "-m", "16", "-drive", "if=none,id=f,format=raw,file=" + path, "-device",
               "isa-fdc,id=fdc0", "-device", "floppy,bus=fdc0.0,drive=f,unit=1") as vm:
        vm.outb(DOR, 0x2d)
        vm.outb(FIFO, 0x04)
        vm.outb(FIFO, 1)
        check("ST3 of drive B", 0x39, vm.inb(FIFO))
    os.unlink(path)


def test_hostile():
    with Fdc() as fdc:
        vm = fdc.vm
        rng = random.Random(6)
        for _ in range(300):
            for _ in range(rng.randrange(1, 12)):
                vm.outb(rng.choice([FIFO] * 8 + [DOR, DIR, MSR]), rng.choice(
                    [rng.randrange(256), READ, WRITE, 0x4d, 0x51, 0x0f, 8, 0, 1, 2, 18, 0x1c]))
            if rng.random() < 0.3:
                fdc.dma(rng.randrange(1, 4096), rng.random() < 0.5)
            for _ in range(rng.randrange(6)):
                vm.inb(rng.choice([MSR, FIFO, FIFO, DIR, SRA]))
        # a DMA channel that is masked: the command waits, and a reset ends it
        vm.outb(MSR, 0x80)
        fdc.reset()
        fdc.command([0x14], 1)
        fdc.command([0x07, 0], 0)
        fdc.command([8], 2)
        vm.outb(0x0a, 6)
        fdc.rw(READ, 0, 0, 1)
        time.sleep(0.05)
        check("waits", BUSY, vm.inb(MSR))
        fdc.reset()
        check("works", 0, fdc.read(0, 0, 1, 1)[1][0] & 0xc0)


def test_reset_while_reading():
    with Fdc() as fdc:
        for _ in range(30):
            fdc.dma(4096, True)
            fdc.rw(READ, 0, 0, 1)
            fdc.vm.outb(DOR, 0)
            fdc.vm.outb(DOR, 0x1c)
            for n in range(4):
                check("polled", 0xc0 | n, fdc.command([8], 2)[0])
            data, res = fdc.read(0, 0, 3, 2)
            check("result", [0, 0, 0, 0, 0, 5, 2], res)
            check("data", sectors(2, 2), data)


def test_reset_while_slow():
    """What a slow host still reads for a command that was reset is not what the next one writes."""
    with Fdc(opts=",throttling.iops-total=1") as fdc:
        check("read", sector(2), fdc.read(0, 0, 3, 1, eot=3)[0])
        fdc.dma(512, True)
        fdc.rw(READ, 0, 0, 7, 7)
        fdc.reset()
        fdc.vm.write(BUF, sector(9, 4))
        fdc.dma(512, False)
        fdc.rw(WRITE, 0, 0, 10, 10)
        fdc.vm.wait_irq(6, timeout_s=60)
        fdc.result(7)
        with open(fdc.path, "rb") as f:
            check("sectors", True, f.read()[8 * 512:10 * 512] == sector(8) + sector(9, 4))


def test_messages():
    path = image()
    try:
        for args, want in (
                (["-drive", "if=floppy,index=2,file=" + path], "floppy drives 0 and 1"),
                (["-fda", path, "-drive", "if=floppy,index=0,format=raw,file=" + path], "already"),
                (["-fda", path, "-device", "isa-fdc"], "replaces the board's"),
                (["-device", "floppy,unit=2"], "unit 0 and 1"),
                (["-device", "floppy", "-device", "floppy", "-device", "floppy"], "full"),
                (["-fda", "/nonexistent"], "/nonexistent")):
            r = subprocess.run([VIREO, "-nodefaults", "-display", "none", "-accel", "test"] + args, stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, timeout=20, check=False)
            text = r.stderr.decode()
            check("status of %s" % args, 1, r.returncode)
            if want not in text:
                raise Failure("%s: want '%s', got '%s'" % (args, want, text))
    finally:
        os.unlink(path)


main()
