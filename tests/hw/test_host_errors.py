# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of the host on every disk controller, reading and writing: report, ignore, stop and enospc; a
machine that stops goes on with 'cont' and the guest never knows; and what waits for 'cont' when the medium
goes."""

import os
import struct
import sys
import tempfile
import time

from qtest import TIMEOUT, QTest, check, main
from virtio import Virtio

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from hmp import Hmp  # pylint: disable=wrong-import-position

EIO, ENOSPC = 5, 28
SECTOR, SECTORS = 20, 2880  # the sector that fails; a floppy's number of them
BUF = 0x40000
OLD, NEW = bytes(range(256)) * 2, bytes(range(255, -1, -1)) * 2


class VirtioBlk:
    name, plug = "virtio-blk", ["-device", "virtio-blk-pci,drive=d,addr=4"]
    drive = "if=none"

    def __init__(self, vm):
        self.vm = vm
        self.queue = Virtio(vm, 4 << 3).start().queue[0]

    def start(self, write, data):
        header = struct.pack("<IIQ", int(write), 0, SECTOR)
        self.queue.add([header] + [data] * write, [1] if write else [512, 1])
        self.queue.dev.kick()

    def end(self):
        """None: not yet. Else (ok, bytes read)."""
        got = self.queue.take()
        if not got:
            return None
        parts = [self.vm.read(at, n) for at, n, write in self.queue.buffers.pop(got[0]) if write]
        return parts[-1] == b"\0", parts[0]


class Ide:
    name, plug, drive = "ide", [], "if=ide,index=0"

    def __init__(self, vm):
        self.vm = vm
        vm.pci_write(1 << 3 | 1, 4, 5, 2)

    def start(self, write, data):
        for reg, val in ((6, 0xe0), (2, 1), (3, SECTOR), (4, 0), (5, 0), (7, 0x30 if write else 0x20)):
            self.vm.outb(0x1f0 + reg, val)
        self.reads = not write
        if write:
            while not self.vm.inb(0x3f6) & 8:
                pass
            for n in range(0, 512, 4):
                self.vm.outl(0x1f0, struct.unpack_from("<I", data, n)[0])

    def end(self):
        status = self.vm.inb(0x3f6)
        if status & 0x80:
            return None
        data = b""
        if self.reads and status & 8:
            data = b"".join(struct.pack("<I", self.vm.inl(0x1f0)) for _ in range(128))
        return not status & 1, data


class Ahci:
    name, plug = "ahci", ["-device", "ahci,id=ahci,addr=4", "-device", "ide-hd,drive=d,bus=ahci.0"]
    drive = "if=none"
    queued, bar, list, fis, table = False, 0xe0000000, 0x10000, 0x11000, 0x12000

    def __init__(self, vm):
        self.vm = vm
        vm.pci_write(4 << 3, 0x24, self.bar)
        vm.pci_write(4 << 3, 4, 6, 2)
        vm.writel(self.bar + 4, 2)
        for reg, val in ((0, self.list), (8, self.fis), (0x30, 0xffffffff), (0x10, 0xffffffff), (0x18, 0x17)):
            self.port(reg, val)

    def port(self, reg, val):
        self.vm.writel(self.bar + 0x100 + reg, val)

    def start(self, write, data):
        command = (0x61 if write else 0x60) if self.queued else 0x35 if write else 0x25
        first = 1 if self.queued else 0
        self.vm.write(BUF, data if write else bytes(512))
        self.vm.write(self.table, bytes([0x27, 0x80, command, first, SECTOR, 0, 0, 0x40, 0, 0, 0, 0, 1 - first, 0]))
        self.vm.write(self.table + 0x80, struct.pack("<QII", BUF, 0, 511))
        self.vm.write(self.list, struct.pack("<IIQ", 5 | write << 6 | 1 << 16, 0, self.table))
        if self.queued:
            self.port(0x34, 1)
        self.port(0x38, 1)

    def end(self):
        status = self.vm.readl(self.bar + 0x120)
        busy = self.vm.readl(self.bar + 0x134) | self.vm.readl(self.bar + 0x138)
        if status & 1:
            return False, b""
        return None if busy & 1 or status & 0x80 else (True, self.vm.read(BUF, 512))


class AhciQueued(Ahci):
    name, queued = "ahci, queued", True


class Floppy:
    name, plug, drive = "floppy", [], "if=floppy"

    def __init__(self, vm):
        self.vm = vm
        vm.outb(0x3f2, 0)
        vm.outb(0x3f2, 0x1c)
        vm.outb(0x3f7, 0)
        for _ in range(4):
            self.command([8])
            self.result(2)
        self.command([3, 0xdf, 2])
        self.command([0x0f, 0, 0])  # the new disk's change line
        self.command([8])
        self.result(2)

    def command(self, data):
        for byte in data:
            self.vm.outb(0x3f5, byte)

    def result(self, nr):
        return [self.vm.inb(0x3f5) for _ in range(nr)]

    def start(self, write, data):
        vm = self.vm
        vm.write(BUF, data if write else bytes(512))
        for port, val in ((0xd4, 0), (0x0a, 6), (0x0c, 0), (0x0b, 0x4a if write else 0x46), (4, 0), (4, BUF >> 8 & 0xff),
                          (0x81, BUF >> 16), (5, 0xff), (5, 1), (0x0a, 2)):
            vm.outb(port, val)
        head, r = SECTOR // 18, SECTOR % 18 + 1
        self.command([0x45 if write else 0x46, head << 2, 0, head, r, 2, 18, 27, 0xff])

    def end(self):
        if self.vm.inb(0x3f4) & 0xc0 != 0xc0:
            return None
        return not self.result(7)[0] & 0xc0, self.vm.read(BUF, 512)


class Machine:
    """With one disk, on which the first access to SECTOR fails."""

    def __init__(self, kind, write, errno, policy):
        fd, self.path = tempfile.mkstemp(prefix="vireo-errors-")
        with os.fdopen(fd, "wb") as f:
            f.write(OLD * SECTORS)
        self.monitor = tempfile.mktemp(prefix="vireo-mon-")
        rule = "file.inject-error.0."
        words = ["file=blkdebug::" + self.path, "format=raw,id=d", kind.drive,
                 rule + "event=%s" % ("write_aio" if write else "read_aio"), rule + "sector=%d" % SECTOR,
                 rule + "errno=%d" % errno, rule + "once=on"]
        if policy:
            words.append("%s=%s" % ("werror" if write else "rerror", policy))
        self.vm = QTest("-M", "pc", "-m", "16", "-monitor", "unix:%s,server,nowait" % self.monitor,
                        "-drive", ",".join(words), *kind.plug)
        self.vm.inb(0x80)
        self.hmp = Hmp(self.monitor)
        self.disk = kind(self.vm)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.hmp.close()
        self.vm.close(check_status=exc[0] is None)
        for path in (self.path, self.monitor):
            if os.path.exists(path):
                os.unlink(path)

    def until(self, what, look):
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            got = look()
            if got:
                return got
            time.sleep(0.005)
        return check(what, "in time", "never")

    def status(self):
        return self.hmp("info status").strip().splitlines()[-1]

    def wait_stopped(self):
        self.until("io-error", lambda: "io-error" in self.status())
        check("info status", "VM status: paused (io-error)", self.status())

    def written(self):
        with open(self.path, "rb") as f:
            f.seek(SECTOR * 512)
            return f.read(512) == NEW


def one(kind, write, errno, policy):
    what = "%s, %s, errno %d, %s: " % (kind.name, "write" if write else "read", errno, policy or "default")
    policy = policy or ("enospc" if write else "report")
    stops = policy == "stop" or (policy == "enospc" and errno == ENOSPC)
    with Machine(kind, write, errno, None if policy == "default" else policy) as m:
        m.disk.start(write, NEW)
        if stops:
            m.wait_stopped()
            check(what + "the guest is not told", None, m.disk.end())
            check(what + "nothing is written", False, m.written())
            m.hmp("cont")
        ok, data = m.until(what + "the end", m.disk.end)
        check(what + "the guest sees", stops or policy == "ignore", ok)
        check(what + "it runs", "VM status: running", m.status())
        if stops:
            check(what + "data", NEW if write else OLD, NEW if write and m.written() else data)
        m.disk.start(True, NEW)  # and it works as before
        if ok:
            check(what + "another", True, m.until(what + "another", m.disk.end)[0])
            check(what + "written", True, m.written())


def each(kind):
    for write in (False, True):
        for errno in (EIO, ENOSPC):
            for policy in (None, "report", "ignore", "stop") + (("enospc",) if write else ()):
                one(kind, write, errno, policy)


def test_virtio_blk():
    each(VirtioBlk)


def test_ide():
    each(Ide)


def test_ahci():
    each(Ahci)


def test_ahci_queued():
    each(AhciQueued)


def test_floppy():
    each(Floppy)


def test_medium_goes():
    """What could not be written to one disk is never written to the next one."""
    with Machine(Floppy, True, ENOSPC, None) as m:
        m.disk.start(True, NEW)
        m.wait_stopped()
        with tempfile.NamedTemporaryFile(prefix="vireo-errors-") as other:
            other.write(OLD * SECTORS)
            other.flush()
            m.hmp("change d %s raw" % other.name)
            m.hmp("cont")
            check("the guest sees", False, m.until("the end", m.disk.end)[0])
            m.hmp("info block")
            check("the other disk", OLD * SECTORS, open(other.name, "rb").read())
        check("the first one", False, m.written())


main()
