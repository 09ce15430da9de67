# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-blk: requests in every shape, several queues, discard, resize, what is refused."""

import os
import struct
import subprocess
import sys
import tempfile
import time

from qtest import TIMEOUT, VIREO, QTest, check, main
from virtio import EVENT_IDX, F_NEXT, F_WRITE, INDIRECT, PACKED, RING_RESET, Virtio

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from hmp import Hmp  # pylint: disable=wrong-import-position

SLOT = 4 << 3
IN, OUT, FLUSH, GET_ID, DISCARD, ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
F_RO, F_BLK_SIZE, F_FLUSH, F_TOPOLOGY, F_WCE, F_MQ, F_DISCARD, F_ZEROES = 5, 6, 9, 10, 11, 12, 13, 14
SECTORS = 4096


def pattern(sector, n=1, salt=0):
    return b"".join(struct.pack("<IB", s, salt) + bytes((s * 7 + i + salt) & 0xff for i in range(507))
                    for s in range(sector, sector + n))


IMAGE = pattern(0, SECTORS)


class Disk:
    """A pc with one virtio disk, driven and started."""

    def __init__(self, *options, drive=(), features=(F_FLUSH,), legacy=False, queues=1, start=True, msix=0,
                 monitor=False, num=None, source="file="):
        fd, self.path = tempfile.mkstemp(prefix="vireo-vblk-")
        with os.fdopen(fd, "wb") as f:
            f.write(IMAGE)
        args = []
        if monitor:
            self.monitor_path = tempfile.mktemp(prefix="vireo-mon-")
            args = ["-monitor", "unix:%s,server,nowait" % self.monitor_path]
        self.vm = QTest("-M", "pc", "-m", "16", "-drive",
                        ",".join((source + self.path, "format=raw", "if=none", "id=d") + tuple(drive)),
                        "-device", ",".join(("virtio-blk-pci,drive=d,addr=4",) + options), *args)
        self.vm.inb(0)
        self.hmp = Hmp(self.monitor_path) if monitor else None
        self.dev = Virtio(self.vm, SLOT, legacy=legacy, msix=msix)
        if start:
            self.dev.start(features, nr=queues, vectors=bool(msix), num=num)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.hmp:
            self.hmp.close()
        self.vm.close(check_status=exc[0] is None)
        os.unlink(self.path)

    def request(self, kind, sector, out=(), into=(), queue=0, indirect=False):
        """(status, [bytes])"""
        q = self.dev.queue[queue]
        _, data = q.request([struct.pack("<IIQ", kind, 0, sector)] + list(out), list(into) + [1], indirect)
        return data[-1][0], data[:-1]

    def image(self, sector, n=1):
        with open(self.path, "rb") as f:
            f.seek(sector * 512)
            return f.read(n * 512)


def test_identity():
    with Disk(start=False) as d:
        check("vendor and device", 0x10011af4, d.vm.pci_read(SLOT, 0))
        check("class", 0x0100, d.vm.pci_read(SLOT, 0x0a, 2))
        check("capacity", SECTORS, d.dev.config(0, 8))
        check("seg_max", 254, d.dev.config(12, 4))
        check("blk_size", 512, d.dev.config(20, 4))
        check("num_queues", 1, d.dev.config(34, 2))
        check("past the end", 0xffffffff, d.dev.config(60, 4))
    with Disk(legacy=True, start=False) as d:
        check("capacity by ports", SECTORS, d.dev.config(0, 4))


def ways():
    return (("legacy", dict(legacy=True)), ("legacy, event index", dict(legacy=True, features=(EVENT_IDX,))),
            ("split", {}), ("split, indirect", dict(features=(INDIRECT, EVENT_IDX))),
            ("packed", dict(features=(PACKED,), packed=True)),
            ("packed, indirect", dict(features=(PACKED, INDIRECT, EVENT_IDX), packed=True)))


def test_read_and_write():
    for name, words in ways():
        words = dict(words)
        options = ("packed=on",) if words.pop("packed", False) else ()
        with Disk(*options, **words) as d:
            indirect = INDIRECT in words.get("features", ())
            for turn in range(8):
                status, data = d.request(IN, 10 * turn, into=[512, 1024], indirect=indirect)
                check(name + ": status", OK, status)
                check(name + ": data", pattern(10 * turn, 3), b"".join(data))
                new = pattern(7, 2, salt=turn + 1)
                check(name + ": write", (OK, []),
                      d.request(OUT, 100 + turn, [new[:100], new[100:]], indirect=indirect))
                check(name + ": image", new, d.image(100 + turn, 2))
            check(name + ": flush", (OK, []), d.request(FLUSH, 0))
            d.dev.check_alive()


def test_any_layout():
    """Header, data and status in odd pieces; header and data in one."""
    with Disk() as d:
        q = d.dev.queue[0]
        header = struct.pack("<IIQ", OUT, 0, 5)
        data = pattern(1, 1, 9)
        got, out = q.request([header[:3], header[3:] + data[:1], data[1:]], [1])
        check("write", (1, b"\0", data), (got, out[0], d.image(5)))
        got, out = q.request([struct.pack("<IIQ", IN, 0, 5)], [500, 12 + 1])
        check("read with the status behind data", data + b"\0", b"".join(out))


def test_serial():
    for options, drive, want in (((), (), b""), (("serial=abc",), (), b"abc"), ((), ("serial=xyz",), b"xyz"),
                                 (("serial=12345678901234567890",), (), b"12345678901234567890")):
        with Disk(*options, drive=drive) as d:
            status, data = d.request(GET_ID, 0, into=[20])
            check("serial", (OK, want.ljust(20, b"\0")), (status, data[0]))
            check("cut", (OK, [want.ljust(20, b"\0")[:7]]), d.request(GET_ID, 0, into=[7]))


def test_refused_requests():
    with Disk() as d:
        for what, want, request in (
                ("past the end", IOERR, lambda: d.request(IN, SECTORS, into=[512])),
                ("over the end", IOERR, lambda: d.request(IN, SECTORS - 1, into=[1024])),
                ("far away", IOERR, lambda: d.request(IN, (1 << 64) - 1, into=[512])),
                ("far away in bytes", IOERR, lambda: d.request(OUT, 1 << 55, [bytes(512)])),
                ("half a sector", IOERR, lambda: d.request(IN, 0, into=[100])),
                ("half a sector to write", IOERR, lambda: d.request(OUT, 0, [bytes(513)])),
                ("nothing", OK, lambda: d.request(IN, 0)),
                ("unknown", UNSUPP, lambda: d.request(77, 0)),
                ("SCSI", UNSUPP, lambda: d.request(2, 0, into=[16]))):
            check(what, want, request()[0])
        check("the image is as it was", pattern(0, 2), d.image(0, 2))
        for what, out, into in (("no header", [], [17]), ("half a header", [bytes(8)], [1]),
                                ("no status", [bytes(16)], [])):
            d.dev.start()
            d.dev.queue[0].add(out, into)
            d.dev.kick()
            d.dev.check_broken(what)
        d.dev.start()
        check("works after a reset", OK, d.request(IN, 0, into=[512])[0])


def test_readonly():
    with Disk(drive=("readonly=on",)) as d:
        check("VIRTIO_BLK_F_RO", 1, d.dev.features() >> F_RO & 1)
        check("read", (OK, [pattern(3)]), d.request(IN, 3, into=[512]))
        check("write", IOERR, d.request(OUT, 3, [bytes(512)])[0])
        check("discard", IOERR, d.request(DISCARD, 0, [struct.pack("<QII", 3, 1, 0)])[0])
        check("flush", OK, d.request(FLUSH, 0)[0])


def test_discard_and_zeroes():
    with Disk() as d:
        several = b"".join(struct.pack("<QII", s, 2, 0) for s in (8, 20, 30))
        check("zeroes", OK, d.request(ZEROES, 0, [several])[0])
        for s in (8, 20, 30):
            check("sector %d" % s, (pattern(s - 1), bytes(1024), pattern(s + 2)),
                  (d.image(s - 1), d.image(s, 2), d.image(s + 2)))
        check("zeroes that may unmap", OK, d.request(ZEROES, 0, [struct.pack("<QII", 40, 8, 1)])[0])
        check("are zero", bytes(4096), d.image(40, 8))
        check("discard", OK, d.request(DISCARD, 0, [struct.pack("<QII", 64, 64, 0)])[0])
        for what, want, kind, ranges in (
                ("unmap of a discard", UNSUPP, DISCARD, [(0, 8, 1)]),
                ("unknown flag", UNSUPP, ZEROES, [(0, 8, 2)]),
                ("over the end", IOERR, ZEROES, [(0, 8, 0), (SECTORS - 1, 2, 0)]),
                ("wraps", IOERR, DISCARD, [((1 << 64) - 1, 2, 0)]),
                ("nothing", IOERR, DISCARD, [(0, 0, 0)]),
                ("too many", IOERR, ZEROES, [(0, 1, 0)] * 65),
                ("none", IOERR, ZEROES, [])):
            out = [b"".join(struct.pack("<QII", *r) for r in ranges)] if ranges else []
            check(what, want, d.request(kind, 0, out)[0])
        check("a piece of a range", IOERR, d.request(ZEROES, 0, [bytes(15)])[0])
        check("nothing was done of what was wrong", pattern(0, 8), d.image(0, 8))
    with Disk("discard=off,write-zeroes=off") as d:
        check("not offered", 0, d.dev.features() & (1 << F_DISCARD | 1 << F_ZEROES))
        check("discard", UNSUPP, d.request(DISCARD, 0, [struct.pack("<QII", 0, 1, 0)])[0])


def test_parallel():
    with Disk("num-queues=3", features=(F_MQ, EVENT_IDX), queues=3, msix=4) as d:
        check("num_queues", 3, d.dev.config(34, 2))
        want = {}
        for turn in range(30):
            q = d.dev.queue[turn % 3]
            head = q.add([struct.pack("<IIQ", IN, 0, turn * 50)], [4096, 1])
            want[turn % 3, head] = pattern(turn * 50, 8) + b"\0"
        for n in range(3):
            d.dev.kick(n)
        for n in range(3):
            for _ in range(10):
                (head, _), data = d.dev.queue[n].wait()
                check("data", want.pop((n, head)), b"".join(data))
        check("one vector a queue", [1, 2, 3], d.dev.vectors())


def test_block_sizes():
    with Disk("logical_block_size=4096,physical_block_size=8192,min_io_size=8192,opt_io_size=65536") as d:
        check("blk_size", 4096, d.dev.config(20, 4))
        check("topology", (1, 0, 2, 16), (d.dev.config(24, 1), d.dev.config(25, 1), d.dev.config(26, 2),
                                          d.dev.config(28, 4)))
        check("a block", (OK, [pattern(8, 8)]), d.request(IN, 8, into=[4096]))
        check("a sector", IOERR, d.request(IN, 8, into=[512])[0])
        check("between blocks", IOERR, d.request(IN, 1, into=[4096])[0])


def test_write_cache():
    with Disk(features=(F_FLUSH, F_WCE)) as d:
        check("writeback", 1, d.dev.config(32, 1))
        d.dev.set_config(32, 0, 1)
        check("writethrough", 0, d.dev.config(32, 1))
        check("write", OK, d.request(OUT, 0, [pattern(9)])[0])
        d.dev.set_config(0, 7, 4)
        check("capacity stays", SECTORS, d.dev.config(0, 8))
        d.dev.start()
        check("after a reset", 1, d.dev.config(32, 1))


def test_reset_with_requests():
    for what in ("device", "queue", "machine"):
        with Disk(features=(RING_RESET,)) as d:
            for _ in range(40):
                d.dev.queue[0].add([struct.pack("<IIQ", OUT, 0, 8), pattern(8, 8, 3)], [1])
            d.dev.kick()
            if what == "device":
                d.dev.set_status(0)
            elif what == "queue":
                d.dev.set_common(22, 0, 2)
                d.dev.set_common(58, 1, 2)
                check("reset is over", 0, d.dev.common(58, 2))
                d.dev.queue[0] = d.dev.make_queue(0)
                check("read", (OK, [pattern(8, 1, 3)]), d.request(IN, 8, into=[512]))
                continue
            else:
                d.vm.outb(0xcf9, 2)
                d.vm.outb(0xcf9, 6)
                while d.vm.pci_read(SLOT, 4, 2):
                    pass
                d.dev = Virtio(d.vm, SLOT)
            d.dev.start()
            check("read", (OK, [pattern(8, 1, 3)]), d.request(IN, 8, into=[512]))


def test_video_memory():
    """Boot loaders read pictures straight into it: not RAM that stays, so it is copied."""
    with tempfile.NamedTemporaryFile(prefix="vireo-vblk-") as f:
        f.write(pattern(0, 64))
        f.flush()
        with QTest("-M", "pc", "-m", "16", "-vga", "std", "-drive", "file=%s,if=virtio,format=raw" % f.name) as vm:
            slot = vm.pci_find(0x1af4, 0x1001)
            vga = vm.pci_find(0x1234, 0x1111)
            vm.pci_write(vga, 0x10, 0xd0000000)
            vm.pci_write(vga, 4, 3, 2)
            dev = Virtio(vm, slot)
            q = dev.start().queue[0]
            header, status = dev.alloc(16), dev.alloc(1)
            vm.write(header, struct.pack("<IIQ", IN, 0, 2))
            q.desc(0, header, 16, F_NEXT, 1)
            q.desc(1, 0xd0000100, 1024, F_NEXT | F_WRITE, 2)
            q.desc(2, status, 1, F_WRITE)
            q.buffers[0] = []
            q.offer(0)
            dev.kick()
            q.wait()
            check("in video memory", pattern(2, 2), vm.read(0xd0000100, 1024))
            vm.write(header, struct.pack("<IIQ", OUT, 0, 9))
            q.desc(1, 0xd0000100, 1024, F_NEXT, 2)
            q.buffers[0] = []
            q.offer(0)
            dev.kick()
            q.wait()
            f.seek(9 * 512)
            check("and from there", pattern(2, 2), f.read(1024))


def failing(errno):
    """An image whose first write fails."""
    return dict(source="file=blkdebug::", drive=("file.inject-error.0.event=write_aio",
                                                 "file.inject-error.0.errno=%d" % errno,
                                                 "file.inject-error.0.once=on"), monitor=True)


def test_host_errors():
    with Disk(**failing(5)) as d:
        check("EIO is told", IOERR, d.request(OUT, 8, [pattern(1)])[0])
        check("then it works", OK, d.request(OUT, 8, [pattern(1)])[0])
    for ended in ("cont", "reset"):
        with Disk(**failing(28)) as d:
            q = d.dev.queue[0]
            head = q.add([struct.pack("<IIQ", OUT, 0, 8), pattern(1)], [1])
            d.dev.kick()
            end = time.monotonic() + TIMEOUT
            while "io-error" not in d.hmp("info status"):
                check("ENOSPC stops the machine", True, time.monotonic() < end)
            check("nothing is told", None, q.take())
            check("the state has it", True, "blk.held[0].queue = 0x0000" in d.hmp("info device virtio-blk-pci"))
            if ended == "cont":
                d.hmp("cont")
                check("made again", head, q.wait()[0][0])
                check("written", pattern(1), d.image(8))
            else:
                d.dev.set_status(0)
                d.dev.start()
                check("forgotten by a reset", (OK, [pattern(8)]), d.request(IN, 8, into=[512]))


def test_resize():
    with Disk(monitor=True, msix=2) as d:
        d.dev.vectors()
        generation = d.dev.common(21, 1)
        d.hmp("block_resize d 4M")
        check("capacity", 8192, d.dev.config(0, 8))
        check("configuration interrupt", [0], d.dev.vectors())
        check("generation", True, d.dev.common(21, 1) != generation)
        check("the new part", (OK, [bytes(512)]), d.request(IN, 8191, into=[512]))


def test_boot_order():
    for options, want in (((), b""), (("bootindex=3",), b"/pci@i0cf8/scsi@4\0")):
        with Disk(*options, start=False) as d:
            vm = d.vm
            vm.outw(0x510, 0x19)
            count = struct.unpack(">I", bytes(vm.inb(0x511) for _ in range(4)))[0]
            found = b""
            for _ in range(count):
                size, select, _, name = struct.unpack(">IHH56s", bytes(vm.inb(0x511) for _ in range(64)))
                if name.rstrip(b"\0") == b"bootorder":
                    vm.outw(0x510, select)
                    found = bytes(vm.inb(0x511) for _ in range(size))
                    break
            check("bootorder", want, found)


def test_user_errors():
    def error(*args):
        result = subprocess.run([VIREO, "-M", "pc", "-nodefaults", "-display", "none", "-accel", "test"] + list(args),
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20, check=False)
        check("exit status", 1, result.returncode)
        text = result.stderr.decode()
        check("one line", 1, text.count("\n"))
        return text

    with tempfile.NamedTemporaryFile(prefix="vireo-vblk-") as f:
        f.write(bytes(65536))
        f.flush()
        drive = ["-drive", "file=%s,format=raw,if=none,id=d" % f.name]
        for options, words in (("", "needs drive=ID"), (",drive=x", "no drive 'x'"),
                               (",drive=d,logical_block_size=1000", "power of two"),
                               (",drive=d,logical_block_size=4096,physical_block_size=512", "smaller"),
                               (",drive=d,queue-size=300", "power of two"),
                               (",drive=d,num-queues=65", "at most 64"),
                               (",drive=d,serial=123456789012345678901", "at most 20"),
                               (",drive=d,vectors=500", "at most 128"),
                               (",drive=d,disable-legacy=on,disable-modern=on", "no interface"),
                               (",drive=d,disable-modern=on,packed=on", "packed=on"),
                               (",drive=d,iommu_platform=on", "not built")):
            text = error(*drive, "-device", "virtio-blk-pci" + options)
            check(options + ": " + text, True, words in text)
        text = error(*drive, "-device", "virtio-blk-pci,drive=d", "-device", "virtio-blk-pci,drive=d")
        check(text, True, "'d'" in text)
        text = error("-drive", "file=%s,format=raw,if=virtio,bus=1" % f.name)
        check(text, True, "bus=" in text)


main()
