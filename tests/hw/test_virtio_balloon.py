# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-balloon: pages that go and come back, the monitor's commands, statistics, reports."""

import os
import struct
import subprocess
import sys
import tempfile

from qtest import QTest, VIREO, check, main
from virtio import EVENT_IDX, PACKED, Virtio

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from hmp import Hmp  # pylint: disable=wrong-import-position

SLOT = 4 << 3
STATS, DEFLATE_ON_OOM, REPORTING = 1, 2, 5
PAGE = 0x800000


class Balloon:
    def __init__(self, *options, features=(STATS, EVENT_IDX), nr=3):
        self.path = tempfile.mktemp(prefix="vireo-mon-")
        self.vm = QTest("-M", "pc", "-m", "16", "-monitor", "unix:%s,server,nowait" % self.path, "-device",
                        ",".join(("virtio-balloon-pci,addr=4",) + options))
        self.vm.inb(0)
        self.hmp = Hmp(self.path)
        self.dev = Virtio(self.vm, SLOT, msix=2)
        self.dev.start(features, nr=nr)
        self.dev.set_common(16, 0, 2)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.hmp.close()
        self.vm.close(check_status=exc[0] is None)
        if os.path.exists(self.path):
            os.unlink(self.path)


def stats(*rows):
    return b"".join(struct.pack("<HQ", *row) for row in rows)


def test_pages():
    for options, bits in (((), [STATS, EVENT_IDX]), (("packed=on",), [STATS, PACKED])):
        with Balloon(*options, features=bits) as b:
            for n in range(8):
                b.vm.memset(PAGE + n * 4096, 4096, 0x55)
            listed = [(PAGE >> 12) + n for n in (5, 1, 2, 2)] + [0xfee00, 0xa0, 0x80000, 0xffffffff]
            b.dev.queue[0].request([struct.pack("<8I", *listed)], [])
            kept = [n for n in range(8) if b.vm.read(PAGE + n * 4096, 4096) == b"\x55" * 4096]
            zero = [n for n in range(8) if b.vm.read(PAGE + n * 4096, 4096) == bytes(4096)]
            check("kept and given back", ([0, 3, 4, 6, 7], [1, 2, 5]), (kept, zero))
            b.vm.writel(PAGE + 4096, 7)
            b.dev.queue[1].request([struct.pack("<I", (PAGE >> 12) + 1)], [])
            check("in use again", 7, b.vm.readl(PAGE + 4096))
            b.dev.queue[0].request([b"abc"], [])
            b.dev.check_alive()


def test_monitor():
    with Balloon() as b:
        check("at the start", "balloon: actual=16", b.hmp("info balloon").strip())
        b.dev.vectors()
        b.hmp("balloon 10")
        check("configuration interrupt", [0], b.dev.vectors())
        check("num_pages", 6 * 256, b.dev.config(0, 4))
        b.dev.set_config(4, 5 * 256, 4)
        check("actual", "balloon: actual=11", b.hmp("info balloon").strip())
        b.dev.set_config(0, 1, 4)
        check("num_pages is the host's", 6 * 256, b.dev.config(0, 4))
        b.hmp("balloon 1000")
        check("more than there is", 0, b.dev.config(0, 4))
        check("0", True, "Error" in b.hmp("balloon 0"))
        b.dev.set_config(4, 0xffffffff, 4)
        check("absurd", "balloon: actual=0", b.hmp("info balloon").strip())
    with QTest("-M", "pc", "-m", "16", "-monitor", "unix:%s,server,nowait" % b.path) as vm:
        vm.inb(0)
        hmp = Hmp(b.path)
        for line in ("info balloon", "balloon 8"):
            check(line, True, "no balloon" in hmp(line))
        hmp.close()


def test_statistics():
    with Balloon("guest-stats-polling-interval=2") as b:
        q = b.dev.queue[2]
        first = q.add([stats((4, 1000), (5, 2000), (99, 5))], [])
        b.dev.kick(2)
        check("read", "balloon: actual=16 free_mem=1000 total_mem=2000", b.hmp("info balloon").strip())
        check("and kept", None, q.take())
        b.vm.clock_step(1_999_000_000)
        check("still", None, q.take())
        b.vm.clock_step(2_000_000)
        check("asked for again", first, q.wait()[0][0])
        q.add([stats((4, 500)) + b"cut"], [])
        b.dev.kick(2)
        check("new", True, "free_mem=500 total_mem=2000" in b.hmp("info balloon"))


def test_features():
    with Balloon() as b:
        check("offered", 1 << STATS, b.dev.features() & (1 << STATS | 1 << DEFLATE_ON_OOM | 1 << REPORTING))
        check("queues", 3, b.dev.common(18, 2))
    with Balloon("deflate-on-oom=on", "free-page-reporting=on") as b:
        check("asked for", 3 << 1, b.dev.features() & 6)
        check("queues", 4, b.dev.common(18, 2))


def test_reports():
    with Balloon("free-page-reporting=on", features=(STATS, REPORTING), nr=4) as b:
        b.vm.memset(PAGE, 8 * 4096, 0x77)
        q = b.dev.queue[3]
        q.desc(0, PAGE, 2 * 4096, 1 | 2, 1)
        q.desc(1, PAGE + 4 * 4096 + 10, 2 * 4096, 2)
        q.buffers[0] = []
        q.offer(0)
        b.dev.kick(3)
        q.wait()
        kept = [n for n in range(8) if b.vm.read(PAGE + n * 4096, 4096) == b"\x77" * 4096]
        check("whole pages went", [2, 3, 4, 6, 7], kept)


def test_option():
    with QTest("-M", "pc", "-m", "16", "-balloon", "virtio,deflate-on-oom=on") as vm:
        slot = vm.pci_find(0x1af4, 0x1002)
        check("-balloon virtio", 4, Virtio(vm, slot).features() & 4)
    for option, words in (("tin", "want virtio or none"), ("virtio,foo=1", "foo")):
        result = subprocess.run([VIREO, "-M", "pc", "-accel", "test", "-display", "none", "-balloon", option],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20, check=False)
        text = result.stderr.decode()
        check(option + ": " + text, (1, True, 1), (result.returncode, words in text, text.count("\n")))


def test_reset_keeps_the_wish():
    with Balloon() as b:
        b.hmp("balloon 12")
        b.dev.set_config(4, 100, 4)
        b.dev.start([STATS])
        check("wanted, actual", (1024, 0), (b.dev.config(0, 4), b.dev.config(4, 4)))


main()
