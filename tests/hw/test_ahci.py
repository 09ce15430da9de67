# SPDX-License-Identifier: GPL-2.0-or-later
"""AHCI: registers, links, commands in every form, queued ones, errors, CDs, and hostile tables."""

import os
import random
import re
import socket
import struct
import subprocess
import tempfile
import time

from qtest import TIMEOUT, VIREO, Failure, QTest, check, main

ABAR, LIST, FISES, TABLE, DATA = 0xe0000000, 0x10000, 0x11000, 0x12000, 0x100000
CAP, GHC, IS, PI, VS = 0x00, 0x04, 0x08, 0x0c, 0x10
CLB, FB, PIS, PIE, CMD, TFD, SIG, SSTS, SCTL, SERR, SACT, CI = (
    0, 8, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38)
DHRS, PSS, SDBS, DPS, OFS, IFS, HBFS, TFES = 1, 2, 8, 32, 1 << 24, 1 << 27, 1 << 29, 1 << 30
IDENTIFY, READ_DMA, READ_EXT, WRITE_EXT, READ_PIO, WRITE_PIO = 0xec, 0xc8, 0x25, 0x35, 0x24, 0x34
READ_NCQ, WRITE_NCQ, READ_LOG = 0x60, 0x61, 0x2f
SECTORS = 8192


def pattern(sector, n=1, salt=0, size=512):
    return b"".join(struct.pack("<IB", s, salt) + bytes((s * 7 + i + salt) & 0xff
                                                       for i in range(size - 5))
                    for s in range(sector, sector + n))


def same(what, want, got):
    """check(), for data too long to be shown."""
    if want != got:
        at = next((i for i, (x, y) in enumerate(zip(want, got)) if x != y), min(len(want), len(got)))
        check("%s at %d" % (what, at), want[at:at + 16], got[at:at + 16])


def image(sectors=SECTORS, size=512):
    fd, path = tempfile.mkstemp(prefix="vireo-ahci-")
    with os.fdopen(fd, "wb") as f:
        f.write(pattern(0, sectors, size=size))
    return path


class Ahci:
    """A pc with an AHCI controller and a disk, or a CD, at port 0."""

    def __init__(self, *more, kind="ide-hd", props="", drive="", hba="", size=512, sectors=SECTORS,
                 start=True):
        self.path = image(sectors, size)
        file = "blkdebug::" + self.path if "inject" in drive else self.path
        self.monitor = tempfile.mktemp(prefix="vireo-mon-")
        self.vm = QTest("-M", "pc", "-m", "16", "-monitor", "unix:%s,server,nowait" % self.monitor,
                        "-drive", "file=%s,format=raw,if=none,id=d0%s" % (file, drive),
                        "-device", "ahci,id=ahci,addr=4" + hba,
                        "-device", "%s,drive=d0,bus=ahci.0%s" % (kind, props), *more)
        self.vm.irq_intercept_in("/machine/unattached/ioapic")
        self.vm.pci_write(0x20, 0x24, ABAR)
        self.vm.pci_write(0x20, 4, 6, 2)
        self.port = 0
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.vm.close(check_status=exc[0] is None)
        for path in (self.path, self.monitor):
            if os.path.exists(path):
                os.unlink(path)

    def hba(self, reg):
        return self.vm.readl(ABAR + reg)

    def rd(self, reg):
        return self.vm.readl(ABAR + 0x100 + self.port * 0x80 + reg)

    def wr(self, reg, val):
        self.vm.writel(ABAR + 0x100 + self.port * 0x80 + reg, val)

    def start(self):
        self.vm.writel(ABAR + GHC, 2)
        self.wr(CLB, LIST)
        self.wr(FB, FISES)
        self.wr(SERR, 0xffffffff)
        self.wr(CMD, 0x16)
        self.wr(PIS, 0xffffffff)
        self.wr(PIE, 0xfdc000ff)
        self.vm.writel(ABAR + IS, 0xffffffff)
        self.wr(CMD, 0x17)

    def restart(self):
        self.wr(CMD, 0x16)
        self.wr(SERR, 0xffffffff)
        self.wr(PIS, 0xffffffff)
        self.wr(CMD, 0x17)

    def fis(self, cmd, lba=0, count=1, feature=0, ncq=None, ctl=0, is_command=True):
        if ncq is not None:
            feature, count = count, ncq << 3
        return struct.pack("<BBBBBBBBBBBBBBBB4x", 0x27, 0x80 if is_command else 0, cmd,
                           feature & 0xff, lba & 0xff, lba >> 8 & 0xff, lba >> 16 & 0xff, 0x40,
                           lba >> 24 & 0xff, lba >> 32 & 0xff, lba >> 40 & 0xff, feature >> 8,
                           count & 0xff, count >> 8, 0, ctl)

    def table(self, slot, fis, regions=(), packet=None, write=False, nr=None, flags=0):
        at = TABLE + slot * 0x400
        data = fis.ljust(0x40, b"\0") + (packet or b"").ljust(0x40, b"\0")
        for addr, size in regions:
            data += struct.pack("<QII", addr, 0, size - 1)
        self.vm.write(at, data)
        head = 5 | (0x20 if packet else 0) | (0x40 if write else 0) | flags
        self.vm.write(LIST + slot * 32, struct.pack(
            "<HHIQ", head, len(regions) if nr is None else nr, 0, at))

    def wait(self, reg, mask, want, what):
        end = time.monotonic() + TIMEOUT
        while self.rd(reg) & mask != want:
            if time.monotonic() > end:
                raise Failure("%s: want %x, got %x; CI %x IS %x TFD %x" % (
                    what, want, self.rd(reg) & mask, self.rd(CI), self.rd(PIS), self.rd(TFD)))
            time.sleep(0.001)

    def issue(self, slot):
        self.wr(PIS, 0xffffffff)
        self.wr(CI, 1 << slot)

    def command(self, fis, regions=(), slot=0, write=False, **kw):
        """Runs it to its end; PxIS."""
        self.table(slot, fis, regions, write=write, **kw)
        self.issue(slot)
        self.wait(CI, 1 << slot, 0, "end of the command")
        return self.rd(PIS)

    def fail(self, fis, regions=(), slot=0, **kw):
        """Runs it to an error; PxTFD, after which the port starts anew."""
        self.table(slot, fis, regions, **kw)
        self.issue(slot)
        self.wait(PIS, TFES, TFES, "error")
        tfd = self.rd(TFD)
        self.restart()
        return tfd

    def queue(self, cmds, at=DATA):
        """[(slot, command, lba, count)] at once; data at DATA + slot MiB/8."""
        mask = 0
        for slot, cmd, lba, count in cmds:
            self.table(slot, self.fis(cmd, lba, count, ncq=slot),
                       [(at + slot * 0x20000, count * 512)], write=cmd == WRITE_NCQ)
            mask |= 1 << slot
        self.wr(PIS, 0xffffffff)
        self.wr(SACT, mask)
        self.wr(CI, mask)
        return mask

    def read(self, lba, count, cmd=READ_EXT, **kw):
        pis = self.command(self.fis(cmd, lba, count), [(DATA, count * 512)], **kw)
        return self.vm.read(DATA, count * 512), pis

    def file(self, sector, n, size=512):
        with open(self.path, "rb") as f:
            f.seek(sector * size)
            return f.read(n * size)

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

    # CDs

    def packet(self, cdb, size=0, dma=True, limit=0xfffe):
        fis = self.fis(0xa0, lba=limit << 8, count=0, feature=1 if dma else 0)
        return self.command(fis, [(DATA, size)] if size else [], packet=bytes(cdb).ljust(16, b"\0"))

    def packet_fails(self, cdb, size=0):
        fis = self.fis(0xa0, lba=0xfffe << 8, count=0, feature=1)
        return self.fail(fis, [(DATA, size)] if size else [], packet=bytes(cdb).ljust(16, b"\0"))

    def sense(self):
        self.packet([3, 0, 0, 0, 18], 18)
        data = self.vm.read(DATA, 18)
        return data[2], data[12], data[13]


def words(ahci):
    return struct.unpack("<256H", ahci.vm.read(DATA, 512))


def text(w):
    return struct.pack(">%dH" % len(w), *w).decode().rstrip()


# ---- registers and links ----

def test_registers():
    with Ahci(start=False) as a:
        vm = a.vm
        check("ids", 0x29228086, vm.pci_read(0x20, 0))
        check("class", 0x010601, vm.pci_read(0x20, 8) >> 8)
        check("CAP", (5, 31, True), (a.hba(CAP) & 31, a.hba(CAP) >> 8 & 31, bool(a.hba(CAP) >> 30 & 1)))
        check("GHC.AE", 0x80000000, a.hba(GHC))
        check("PI", 0x3f, a.hba(PI))
        check("VS", 0x10301, a.hba(VS))
        check("link", 0x123, a.rd(SSTS))
        check("signature", 0x101, a.rd(SIG))
        check("TFD", 0x150, a.rd(TFD))
        check("SERR", 0x04010000, a.rd(SERR))
        check("PCS and PRCS", 0x400040, a.rd(PIS))
        a.wr(PIS, 0xffffffff)
        check("are cleared by SERR", 0x400040, a.rd(PIS))
        a.wr(SERR, 0xffffffff)
        check("then", 0, a.rd(PIS))
        check("SUD and POD", 6, a.rd(CMD))
        a.wr(CLB, 0x12345fff)
        check("CLB", 0x12345c00, a.rd(CLB))
        a.wr(FB, 0x123456ff)
        check("FB", 0x12345600, a.rd(FB))
        a.wr(CI, 1)
        check("CI needs ST", 0, a.rd(CI))
        a.port = 1
        check("no device", (0, 0xffffffff, 0x7f), (a.rd(SSTS), a.rd(SIG), a.rd(TFD)))
        a.wr(CMD, 0x17)
        a.wr(CI, 1)
        check("nothing runs there", 1, a.rd(CI))
        a.port = 6
        check("no port", 0, a.rd(CMD))
        a.port = 0
        vm.writel(ABAR + GHC, 1)
        check("HR", 0x80000000, a.hba(GHC))
        check("CLB after HR", 0, a.rd(CLB))


def test_links():
    with Ahci() as a:
        check("signature FIS", 0x34, a.vm.readb(FISES + 0x40))
        check("with status", 0x50, a.vm.readb(FISES + 0x42))
        a.wr(CMD, 0x16)
        a.wr(SCTL, 1)
        check("during COMRESET", (0, 0x7f), (a.rd(SSTS), a.rd(TFD)))
        a.wr(SCTL, 0x10)
        check("limited to 1.5 Gbit/s", 0x113, a.rd(SSTS))
        check("signature", 0x101, a.rd(SIG))
        check("SERR.X", 0x04010000, a.rd(SERR))
        a.wr(SCTL, 4)
        check("offline", 4, a.rd(SSTS))
        a.wr(SCTL, 0)
        check("again", 0x123, a.rd(SSTS))
        # software reset: two control FISes
        a.wr(SERR, 0xffffffff)
        a.wr(CMD, 0x17)
        a.vm.memset(FISES, 256, 0)
        a.command(a.fis(0, ctl=4, is_command=False), slot=3)
        a.command(a.fis(0, ctl=0, is_command=False), slot=4)
        check("signature FIS", 0x34, a.vm.readb(FISES + 0x40))
        check("signature", (0x101, 0x150), (a.rd(SIG), a.rd(TFD)))
        same("works", pattern(1), a.read(1, 1)[0])
    with Ahci(hba=",staggered-spinup=on", start=False) as a:
        check("CAP.SSS", 1, a.hba(CAP) >> 27 & 1)
        check("not spun up", (0, 4), (a.rd(SSTS), a.rd(CMD)))
        a.wr(CMD, 2)
        check("spun up", (0x123, 0x101), (a.rd(SSTS), a.rd(SIG)))
        a.wr(CMD, 0)
        check("down", 0, a.rd(SSTS))


def test_interrupts():
    with Ahci() as a:
        vm = a.vm
        for pirq in range(4):
            vm.pci_write(0x08, 0x60 + pirq, 11, 1)
        before = dict(vm.irq_state)
        a.command(a.fis(0xe7))
        check("DHRS", DHRS, a.rd(PIS))
        check("IS", 1, a.hba(IS))
        line = [n for n, level in vm.irq_state.items() if level and not before.get(n)]
        check("an INTx line", 1, len(line))
        vm.writel(ABAR + IS, 1)
        check("IS comes back while PxIS is set", 1, a.hba(IS))
        a.wr(PIS, DHRS)
        check("IS stays", 1, a.hba(IS))
        vm.writel(ABAR + IS, 1)
        check("gone", (0, False), (a.hba(IS), vm.irq(line[0])))
        a.wr(PIE, 0)
        a.command(a.fis(0xe7))
        check("masked", 0, a.hba(IS))
        a.wr(PIE, 1)
        check("unmasked", 1, a.hba(IS))
        vm.writel(ABAR + GHC, 0)
        check("GHC.IE", False, vm.irq(line[0]))
        # MSI to RAM, where it can be seen
        a.wr(PIS, 0xffffffff)
        vm.writel(ABAR + IS, 1)
        vm.writel(ABAR + GHC, 2)
        cap = vm.pci_read(0x20, 0x34, 1)
        check("MSI capability", 5, vm.pci_read(0x20, cap, 1))
        vm.pci_write(0x20, cap + 4, 0x50000)
        vm.pci_write(0x20, cap + 12, 0x77, 2)
        vm.pci_write(0x20, cap + 2, 1, 2)
        a.command(a.fis(0xe7))
        check("message", 0x77, vm.readl(0x50000))
        check("no INTx", False, vm.irq(line[0]))
        vm.writel(0x50000, 0)
        a.wr(PIS, 0xffffffff)
        a.command(a.fis(0xe7))
        check("IS was not cleared: no message", 0, vm.readl(0x50000))
        a.wr(PIS, 0xffffffff)
        vm.writel(ABAR + IS, 1)
        a.command(a.fis(0xe7))
        check("message", 0x77, vm.readl(0x50000))


# ---- commands that are not queued ----

def test_identify():
    with Ahci(props=",serial=SN-42,model=Test,ver=9.1,wwn=0x5000c500a1b2c3d4,rotation_rate=7200,"
              "physical_block_size=4096") as a:
        pis = a.command(a.fis(IDENTIFY), [(DATA, 512)])
        check("PIO setup, no D2H", PSS, pis & (PSS | DHRS))
        check("PIO setup FIS", (0x5f, 0x60, 0x50, 512), (
            a.vm.readb(FISES + 0x20), a.vm.readb(FISES + 0x21), a.vm.readb(FISES + 0x2f),
            a.vm.readw(FISES + 0x30)))
        check("TFD", 0x50, a.rd(TFD))
        check("PRDBC", 512, a.vm.readl(LIST + 4))
        w = words(a)
        check("serial", "SN-42", text(w[10:20]))
        check("version", "9.1", text(w[23:27]))
        check("model", "Test", text(w[27:47]))
        check("sectors", SECTORS, w[100] | w[101] << 16)
        check("queue depth", 31, w[75])
        check("SATA", 0x106, w[76])
        check("no PATA reset result", 0, w[93])
        check("8 logical in a physical", 0x6003, w[106])
        check("WWN", (0x5000, 0xc500, 0xa1b2, 0xc3d4), w[108:112])
        check("words 84 and 87", (0x4160, 0x4160), (w[84], w[87]))
        check("rotation", 7200, w[217])


def test_dma():
    with Ahci() as a:
        data, pis = a.read(100, 3)
        same("data", pattern(100, 3), data)
        check("DHRS", DHRS, pis & (DHRS | PSS))
        check("D2H FIS", (0x34, 0x40, 0x50), tuple(a.vm.read(FISES + 0x40, 3)))
        check("PRDBC", 1536, a.vm.readl(LIST + 4))
        # many regions of odd places and sizes, more than the buffer
        regions = [(DATA, 2), (DATA + 0x1002, 1022), (DATA + 0x2000, 600 * 512 - 1024)]
        a.command(a.fis(READ_EXT, 7, 600), regions, slot=31)
        got = b"".join(a.vm.read(addr, size) for addr, size in regions)
        same("long", pattern(7, 600), got)
        a.vm.write(DATA, pattern(0, 300, 5))
        a.command(a.fis(WRITE_EXT, 50, 300), [(DATA, 300 * 512)], write=True, slot=7)
        same("file", pattern(49) + pattern(0, 300, 5) + pattern(350), a.file(49, 302))
        a.vm.write(DATA, pattern(3, 1, 6))
        a.command(a.fis(0x3d, 9), [(DATA, 512)], write=True)  # FUA
        same("file", pattern(3, 1, 6), a.file(9, 1))
        # interrupt of a region
        a.table(0, a.fis(READ_EXT, 1, 2), [(DATA, 512), (DATA, 512)])
        a.vm.writel(TABLE + 0x8c, 0x800001ff)
        a.issue(0)
        a.wait(CI, 1, 0, "command")
        check("DPS", DPS, a.rd(PIS) & DPS)
        # READ DMA of 28 bits, and without data
        same("28 bits", pattern(5), a.command(a.fis(READ_DMA, 5), [(DATA, 512)]) and
              a.vm.read(DATA, 512))
        check("verify", DHRS, a.command(a.fis(0x42, 5, 20)))
        check("flush", DHRS, a.command(a.fis(0xea)))


def test_pio():
    with Ahci() as a:
        data, pis = a.read(20, 5, cmd=READ_PIO)
        same("data", pattern(20, 5), data)
        check("PSS alone", PSS, pis & (PSS | DHRS))
        a.vm.write(DATA, pattern(0, 4, 8))
        pis = a.command(a.fis(WRITE_PIO, 60, 4), [(DATA, 2048)], write=True)
        check("the first block to the device comes without PSS", DHRS, pis & (PSS | DHRS))
        a.vm.write(DATA, pattern(0, 300, 9))
        pis = a.command(a.fis(WRITE_PIO, 60, 300), [(DATA, 300 * 512)], write=True)
        check("PSS and DHRS", PSS | DHRS, pis & (PSS | DHRS))
        a.vm.write(DATA, pattern(0, 4, 8))
        a.command(a.fis(WRITE_PIO, 60, 4), [(DATA, 2048)], write=True)
        same("file", pattern(0, 4, 8), a.file(60, 4))
        a.command(a.fis(0xc6, 0, 8))
        same("multiple", pattern(20, 9), a.read(20, 9, cmd=0x29)[0])


def test_trim():
    with Ahci() as a:
        a.vm.write(DATA, struct.pack("<QQ", 100 | 8 << 48, 200 | 1 << 48).ljust(512, b"\0"))
        a.command(a.fis(0x06, 0, 1, feature=1), [(DATA, 512)], write=True)
        same("trimmed", bytes(8 * 512), a.read(100, 8)[0])
        same("trimmed", bytes(512), a.read(200, 1)[0])
        same("its neighbours", pattern(99) + bytes(512), a.read(99, 2)[0])
        a.vm.write(DATA, struct.pack("<Q", SECTORS | 1 << 48).ljust(512, b"\0"))
        check("beyond the end", 0x04, a.fail(a.fis(0x06, 0, 1, feature=1), [(DATA, 512)],
                                             write=True) >> 8)


def test_slots():
    with Ahci() as a:
        for slot in range(32):
            a.table(slot, a.fis(READ_EXT, slot * 3, 1), [(DATA + slot * 512, 512)])
        a.wr(CI, 0xffffffff)
        a.wait(CI, 0xffffffff, 0, "all of them")
        same("data", b"".join(pattern(n * 3) for n in range(32)), a.vm.read(DATA, 32 * 512))
        check("CCS", 31, a.rd(CMD) >> 8 & 31)
        # ST clears what is left
        a.wr(CI, 0xffffffff)
        a.wr(CMD, 0x16)
        check("CI", 0, a.rd(CI))
        check("CR", 0, a.rd(CMD) & 0x8000)
        a.wr(CMD, 0x17)
        time.sleep(0.05)
        same("works", pattern(9), a.read(9, 1)[0])


def test_errors():
    with Ahci() as a:
        check("beyond the end", 0x1051, a.fail(a.fis(READ_EXT, SECTORS, 1), [(DATA, 512)]))
        check("unknown", 0x0451, a.fail(a.fis(0xff)))
        # nothing more is fetched, and CI stays
        a.table(0, a.fis(0xff))
        a.table(1, a.fis(0xe7))
        a.wr(CI, 3)
        a.wait(PIS, TFES, TFES, "error")
        check("CI", 3, a.rd(CI))
        a.restart()
        check("CI after ST", 0, a.rd(CI))
        # the table is shorter than the data
        pis = a.command(a.fis(READ_EXT, 0, 2), [(DATA, 512)])
        check("OFS", OFS | DHRS, pis & (OFS | DHRS))
        check("PRDBC", 512, a.vm.readl(LIST + 4))
        check("a write without its data", 0x0451,
              a.fail(a.fis(WRITE_EXT, 0, 2), [(DATA, 512)], write=True))
        same("file", pattern(0, 2), a.file(0, 2))
        check("no regions", 0x0451, a.fail(a.fis(WRITE_EXT, 0, 2), [], write=True))
        same("works", pattern(1), a.read(1, 1)[0])
    with Ahci(drive=",readonly=on") as a:
        check("read-only", 0x0451, a.fail(a.fis(WRITE_EXT, 0, 1), [(DATA, 512)], write=True))


def test_hostile_tables():
    with Ahci() as a:
        def stops(bit, what):
            a.issue(0)
            a.wait(PIS, bit, bit, what)
            a.restart()
        a.table(0, a.fis(READ_EXT, 0, 1), [(0x40000000, 512)])
        stops(HBFS, "no memory for data")
        a.table(0, a.fis(READ_EXT, 0, 1), [(ABAR, 512)])
        stops(HBFS, "its own registers")
        a.table(0, bytes(20), [(DATA, 512)])
        stops(IFS, "no FIS")
        a.vm.write(LIST, struct.pack("<HHIQ", 0, 1, 0, TABLE))
        stops(IFS, "no length")
        a.vm.write(LIST, struct.pack("<HHIQ", 5, 1, 0, 1 << 40))
        stops(HBFS, "no command table")
        a.wr(CMD, 0x16)
        a.wr(CLB, 0x40000000)
        a.wr(CMD, 0x17)
        stops(HBFS, "no list")
        a.wr(CMD, 0x16)
        a.wr(CLB, LIST)
        a.wr(CMD, 0x17)
        # 65535 regions of which each is two bytes, in the table itself
        a.table(0, a.fis(READ_EXT, 0, 256), [(DATA, 2)] * 8, nr=65535)
        a.issue(0)
        time.sleep(0.2)
        a.restart()
        same("works", pattern(1), a.read(1, 1)[0])
        a.vm.pci_write(0x20, 4, 2, 2)  # no bus mastering
        a.table(0, a.fis(READ_EXT, 0, 1), [(DATA, 512)])
        stops(HBFS, "no bus mastering")
        a.vm.pci_write(0x20, 4, 6, 2)
        same("works", pattern(1), a.read(1, 1)[0])


def test_hostile_registers():
    with Ahci() as a:
        rng = random.Random(9)
        for n in range(32):
            a.table(n, a.fis(rng.choice([READ_EXT, WRITE_EXT, READ_NCQ, WRITE_NCQ, IDENTIFY, 0xe7, 0x2f,
                                         0x90, 0x06, READ_PIO]), rng.randrange(9000),
                             rng.randrange(1, 300), ncq=rng.choice([None, n])),
                    [(DATA + rng.randrange(1 << 18) * 2, rng.randrange(1, 1 << 14) * 2)
                     for _ in range(rng.randrange(9))], write=rng.random() < 0.5)
        for _ in range(1500):
            reg = rng.choice([PIS, CMD, SCTL, SERR, SACT, CI, CI, SACT, CMD])
            val = rng.choice([rng.getrandbits(32), 1 << rng.randrange(32), 0x17, 0x16, 0x1f, 0, 1])
            if rng.random() < 0.02:
                a.vm.writel(ABAR + rng.choice([GHC, IS]), val)
            else:
                a.wr(reg, val)
        a.vm.writel(ABAR + GHC, 1)
        time.sleep(0.3)
        a.wr(SCTL, 1)
        a.wr(SCTL, 0)
        a.wait(TFD, 0xff, 0x50, "ready")
        a.start()
        check("works", 512, len(a.read(1, 1)[0]))


def test_reset_while_busy():
    with Ahci() as a:
        for i in range(30):
            a.table(0, a.fis(READ_EXT, 0, 2048), [(DATA, 2048 * 512)])
            a.queue([(n, READ_NCQ, n * 8, 200) for n in range(1, 9)]) if i % 2 else a.issue(0)
            a.wr(CMD, 0x16)
            a.wr(SCTL, 1)
            a.wr(SCTL, 0)
            a.wait(TFD, 0xff, 0x50, "ready")
            a.restart()
            same("works", pattern(i, 3), a.read(i, 3)[0])


# ---- queued commands ----

def test_ncq():
    with Ahci() as a:
        cmds = [(n, READ_NCQ, n * 100, 1 + n * 2) for n in range(32)]
        mask = a.queue(cmds)
        check("all", 0xffffffff, mask)
        a.wait(SACT, mask, 0, "reads")
        check("CI", 0, a.rd(CI))
        check("SDBS", SDBS, a.rd(PIS) & (SDBS | TFES))
        check("SDB FIS", (0xa1, 0x40, 0x50, 0), tuple(a.vm.read(FISES + 0x58, 4)))
        for slot, _, lba, count in cmds:
            same("slot %d" % slot, pattern(lba, count), a.vm.read(DATA + slot * 0x20000, count * 512))
        for n in range(32):
            a.vm.write(DATA + n * 0x20000, pattern(n, 4, 17))
        mask = a.queue([(n, WRITE_NCQ, 5000 + n * 4, 4) for n in range(32)])
        a.wait(SACT, mask, 0, "writes")
        same("file", b"".join(pattern(n, 4, 17) for n in range(32)), a.file(5000, 128))
        # more than a piece
        a.table(2, a.fis(READ_NCQ, 100, 4500, ncq=2), [(DATA, 4500 * 512)])
        a.wr(SACT, 4)
        a.wr(CI, 4)
        a.wait(SACT, 4, 0, "long read")
        same("data", pattern(100, 4500), a.vm.read(DATA, 4500 * 512))
        # FUA
        fis = bytearray(a.fis(WRITE_NCQ, 3, 1, ncq=0))
        fis[7] |= 0x80
        a.table(0, bytes(fis), [(DATA, 512)], write=True)
        a.wr(SACT, 1)
        a.wr(CI, 1)
        a.wait(SACT, 1, 0, "FUA")
        same("file", pattern(100), a.file(3, 1))


def test_ncq_errors():
    with Ahci() as a:
        a.queue([(5, READ_NCQ, SECTORS - 1, 2)])
        a.wait(PIS, TFES, TFES, "error")
        check("TFD", 0x1051, a.rd(TFD))
        check("SACT stays", 1 << 5, a.rd(SACT))
        a.restart()
        check("all but the log fails", 0x0451, a.fail(a.fis(READ_EXT, 1, 1), [(DATA, 512)]))
        a.command(a.fis(READ_LOG, 0x10, 1), [(DATA, 512)])
        log = a.vm.read(DATA, 512)
        check("tag, status, error", (5, 0x51, 0x10), (log[0], log[2], log[3]))
        check("LBA", SECTORS - 1, log[4] | log[5] << 8 | log[6] << 16)
        check("checksum", 0, sum(log) & 0xff)
        same("works", pattern(1), a.read(1, 1)[0])
        a.command(a.fis(READ_LOG, 0x10, 1), [(DATA, 512)])
        check("nothing failed since", 0x80, a.vm.readb(DATA) & 0x80)
        a.command(a.fis(READ_LOG, 0, 1), [(DATA, 512)])
        check("directory", (1, 1), (a.vm.readw(DATA), a.vm.readw(DATA + 32)))
        check("no such log", 0x0451, a.fail(a.fis(READ_LOG, 0x77, 1), [(DATA, 512)]))
        # a tag that is not the slot's, SACT not set
        a.table(1, a.fis(READ_NCQ, 0, 1, ncq=2), [(DATA, 512)])
        a.wr(SACT, 2)
        a.issue(1)
        a.wait(PIS, TFES, TFES, "wrong tag")
        a.restart()
        a.command(a.fis(0x47, 0x10, 1), [(DATA, 512)])  # READ LOG DMA EXT
        a.table(1, a.fis(READ_NCQ, 0, 1, ncq=1), [(DATA, 512)])
        a.issue(1)
        a.wait(PIS, TFES, TFES, "no SACT")
        a.restart()
        a.command(a.fis(READ_LOG, 0x10, 1), [(DATA, 512)])
        # short table: a read loses its rest, a write fails
        a.table(1, a.fis(READ_NCQ, 0, 2, ncq=1), [(DATA, 512)])
        a.wr(PIS, 0xffffffff)
        a.wr(SACT, 2)
        a.wr(CI, 2)
        a.wait(SACT, 2, 0, "short read")
        check("OFS", OFS, a.rd(PIS) & OFS)
        a.table(1, a.fis(WRITE_NCQ, 0, 2, ncq=1), [(DATA, 512)], write=True)
        a.wr(SACT, 2)
        a.issue(1)
        a.wait(PIS, TFES, TFES, "short write")
        same("file", pattern(0, 2), a.file(0, 2))


def resident(pid):
    """MiB of memory that the process has touched."""
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) >> 10


def test_given_up_without_end():
    """Commands that are given up while a slow drive is at them hold the host's memory, so there is an
    end to it; those that wait are carried out later."""
    with Ahci(drive=",throttling.iops-total=100") as a:
        before = resident(a.vm.proc.pid)
        for _ in range(40):
            mask = 0
            for slot in range(32):
                a.table(slot, a.fis(WRITE_NCQ, slot, 2048, ncq=slot), [(DATA, 1 << 20)], write=True)
                mask |= 1 << slot
            a.wr(SACT, mask)
            a.wr(CI, mask)
            a.restart()
        check("MiB held", True, resident(a.vm.proc.pid) - before < 400)
        a.vm.write(DATA, pattern(7, 1, 5))
        a.wait(SACT, a.queue([(3, WRITE_NCQ, 3000, 1)], at=DATA - 3 * 0x20000), 0, "a command behind them")
        same("file", pattern(7, 1, 5), a.file(3000, 1))


def failing(event, errno, **more):
    """-drive's words for a host that fails."""
    words = dict({"event": event, "errno": errno}, **more)
    return "".join(",file.inject-error.0.%s=%s" % item for item in words.items())


def test_host_errors():
    with Ahci(drive=failing("read_aio", 5, sector=100)) as a:
        check("UNC", 0x4051, a.fail(a.fis(READ_EXT, 90, 20), [(DATA, 20 * 512)]))
        same("elsewhere", pattern(200, 3), a.read(200, 3)[0])
        # one of 32 fails: the log names it, and what was read before is there
        a.queue([(n, READ_NCQ, n * 10, 5) for n in range(32)])
        a.wait(PIS, TFES, TFES, "error")
        check("TFD", 0x4051, a.rd(TFD))
        check("its bit stays", 1, a.rd(SACT) >> 10 & 1)
        a.restart()
        a.command(a.fis(READ_LOG, 0x10, 1), [(DATA, 512)])
        log = a.vm.read(DATA, 512)
        check("tag, status, error, LBA", (10, 0x51, 0x40, 100), (log[0], log[2], log[3], log[4]))
        a.wait(SACT, a.queue([(n, READ_NCQ, 200 + n, 1) for n in range(32)]), 0, "queue")
    with Ahci(drive=",werror=report" + failing("write_aio", 28)) as a:
        check("ENOSPC, reported", 0x0451, a.fail(a.fis(WRITE_EXT, 9, 1), [(DATA, 512)], write=True))
        a.queue([(3, WRITE_NCQ, 9, 1)])
        a.wait(PIS, TFES, TFES, "error")
        check("TFD", 0x0451, a.rd(TFD))
    # the machine stops, the guest knows nothing, and cont tries again
    for queued in (False, True):
        with Ahci(drive=",werror=stop" + failing("write_aio", 28, once="on")) as a:
            a.vm.write(DATA, pattern(1, 1, 3))
            a.vm.write(DATA + 3 * 0x20000, pattern(1, 1, 3))
            if queued:
                a.queue([(3, WRITE_NCQ, 50, 1)])
            else:
                a.table(3, a.fis(WRITE_EXT, 50, 1), [(DATA, 512)], write=True)
                a.issue(3)
            end = time.monotonic() + TIMEOUT
            while "io-error" not in a.hmp("info status") and time.monotonic() < end:
                time.sleep(0.01)
            check("not done", 8, a.rd(SACT if queued else CI))
            a.hmp("cont")
            a.wait(SACT if queued else CI, 8, 0, "again")
            check("no error", 0, a.rd(PIS) & TFES)
            same("file", pattern(1, 1, 3), a.file(50, 1))
        with Ahci(drive=",werror=stop" + failing("write_aio", 28)) as a:
            if queued:
                a.queue([(3, WRITE_NCQ, 50, 1)])
            else:
                a.table(3, a.fis(WRITE_EXT, 50, 1), [(DATA, 512)], write=True)
                a.issue(3)
            end = time.monotonic() + TIMEOUT
            while "io-error" not in a.hmp("info status") and time.monotonic() < end:
                time.sleep(0.01)
            a.hmp("system_reset")
            a.hmp("cont")
            a.vm.pci_write(0x20, 0x24, ABAR)
            a.vm.pci_write(0x20, 4, 6, 2)
            a.start()
            same("a reset forgets it", pattern(50), a.read(50, 1)[0])


# ---- CDs ----

def test_cd():
    with Ahci(kind="ide-cd", sectors=256) as a:
        check("signature", 0xeb140101, a.rd(SIG))
        check("IDENTIFY fails", 0x04, a.fail(a.fis(IDENTIFY), [(DATA, 512)]) >> 8)
        a.command(a.fis(0xa1), [(DATA, 512)])
        check("IDENTIFY PACKET", 0x85c0, a.vm.readw(DATA))
        a.packet([0x12, 0, 0, 0, 36], 36)
        check("INQUIRY", b"VIREO", a.vm.read(DATA + 8, 5))
        check("PRDBC", 36, a.vm.readl(LIST + 4))
        a.packet([0x25], 8, dma=False)
        check("READ CAPACITY by PIO", (63, 2048), struct.unpack(">II", a.vm.read(DATA, 8)))
        check("the packet brings no interrupt", DHRS, a.packet([0x00]) & (PSS | DHRS))
        pis = a.packet([0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0], 4096)
        same("READ", pattern(12, 8), a.vm.read(DATA, 4096))
        check("DHRS", DHRS, pis & DHRS)
        check("READ in pieces", DHRS, DHRS & a.packet([0x28, 0, 0, 0, 0, 0, 0, 0, 64, 0], 131072))
        same("data", pattern(0, 256), a.vm.read(DATA, 131072))
        check("unknown", 0x5451, a.packet_fails([0xff]) & 0xfffd)
        check("sense", (5, 0x20, 0), a.sense())
        check("beyond the end", 0x54, a.packet_fails([0x28, 0, 0, 0, 0, 64, 0, 0, 1, 0], 2048) >> 8)
        # a disc is taken out and put in
        a.hmp("eject d0")
        check("no disc", 0x20, a.packet_fails([0x00]) >> 8 & 0xf0)
        check("sense", (2, 0x3a, 2), a.sense())
        a.hmp("change d0 %s" % a.path)
        check("attention", 0x60, a.packet_fails([0x00]) >> 8 & 0xf0)
        check("sense", (6, 0x28, 0), a.sense())
        a.packet([0x00])
        a.command(a.fis(0x08))
        check("DEVICE RESET", 0xeb140101, a.rd(SIG))
        a.packet([0x25], 8)


def test_4k():
    with Ahci(props=",logical_block_size=4096") as a:
        a.command(a.fis(IDENTIFY), [(DATA, 512)])
        w = words(a)
        check("sectors", SECTORS // 8, w[100])
        check("size", (0x5000, 2048), (w[106], w[117]))
        a.command(a.fis(READ_EXT, 3, 2), [(DATA, 8192)])
        same("data", pattern(24, 16), a.vm.read(DATA, 8192))
        a.vm.write(DATA, pattern(0, 8, 4))
        a.table(0, a.fis(WRITE_NCQ, 5, 1, ncq=0), [(DATA, 4096)], write=True)
        a.wr(SACT, 1)
        a.wr(CI, 1)
        a.wait(SACT, 1, 0, "write")
        same("file", pattern(0, 8, 4), a.file(40, 8))
        a.vm.write(DATA, struct.pack("<Q", 2 | 1 << 48).ljust(512, b"\0"))
        a.command(a.fis(0x06, 0, 1, feature=1), [(DATA, 512)], write=True)
        same("trimmed", pattern(15) + bytes(4096) + pattern(24), a.file(15, 10))
        check("beyond the end", 0x1051, a.fail(a.fis(READ_EXT, SECTORS // 8, 1), [(DATA, 4096)]))


def test_ide_drive_and_messages():
    with Ahci("-device", "ide-drive,drive=c0,bus=ahci.3", "-drive",
              "if=none,id=c0,media=cdrom", kind="ide-drive") as a:
        check("a disk", 0x101, a.rd(SIG))
        a.port = 3
        check("a CD", 0xeb140101, a.rd(SIG))
    path = image(16)
    one = ["-drive", "if=none,id=d,format=raw,file=" + path, "-device", "ahci,id=ahci"]
    try:
        for args, want in (
                (["-device", "ide-hd,drive=d,bus=ahci.6"], "ahci.5"),
                (["-device", "ide-hd,drive=d,bus=ahci.0,unit=1"], "unit 0 only"),
                (["-device", "ide-hd,bus=ahci.0"], "drive=ID"),
                (["-device", "ide-hd,drive=d,bus=ahci.1,logical_block_size=1000"], "512 or 4096"),
                (["-device", "ide-hd,drive=d,logical_block_size=4096,physical_block_size=512,"
                  "bus=ahci.9"], "ahci.9"),
                (["-device", "ide-hd,drive=d,bus=ahci.0,serial=" + "x" * 21], "at most 20")):
            r = subprocess.run([VIREO, "-nodefaults", "-display", "none", "-accel", "test"] + one + args,
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20, check=False)
            got = r.stderr.decode()
            check("status of %s" % args, 1, r.returncode)
            if want not in got:
                raise Failure("%s: want '%s', got '%s'" % (args, want, got))
    finally:
        os.unlink(path)


main()
