# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtio on PCI: both interfaces, split and packed rings, and rings that break every rule."""

import struct
import time

from qtest import TIMEOUT, QTest, check, main
from virtio import (ACCESS_PLATFORM, COMMON, DEVICE, DRIVER_OK, EVENT_IDX, FEATURES_OK, F_INDIRECT, F_NEXT,
                    F_WRITE, INDIRECT, ISR, NEEDS_RESET, NOTIFY, PACKED, PCI_CFG, RING_RESET, VERSION_1,
                    Virtio)

SLOT = 4 << 3
RAM = 16 << 20


def rng(*options, suffix="", machine=()):
    words = ",".join(("virtio-rng-pci" + suffix, "addr=4") + options)
    return QTest("-M", "pc", "-m", "16", "-device", words, *machine)


def test_identity():
    for suffix, options, want, revision, subsystem in (
            ("", (), 0x10051af4, 0, 4), ("-transitional", (), 0x10051af4, 0, 4),
            ("-non-transitional", (), 0x10441af4, 1, 0x1100),
            ("", ("disable-legacy=on",), 0x10441af4, 1, 0x1100),
            ("", ("disable-modern=on",), 0x10051af4, 0, 4)):
        with rng(*options, suffix=suffix) as vm:
            check("vendor and device", want, vm.pci_read(SLOT, 0))
            check("revision", revision, vm.pci_read(SLOT, 8, 1))
            check("subsystem", subsystem << 16 | 0x1af4, vm.pci_read(SLOT, 0x2c))
            dev = Virtio(vm, SLOT)
            modern = options != ("disable-modern=on",)
            check("capabilities", [COMMON, NOTIFY, ISR, DEVICE, PCI_CFG] if modern else [],
                  sorted(dev.caps))
            vm.pci_write(SLOT, 0x10, 0xffffffff)
            check("I/O BAR", want == 0x10051af4, bool(vm.pci_read(SLOT, 0x10)))


def test_status_and_features():
    with rng("packed=on") as vm:
        dev = Virtio(vm, SLOT)
        offered = dev.features()
        for bit in (INDIRECT, EVENT_IDX, VERSION_1, PACKED, RING_RESET):
            check("feature %d offered" % bit, 1, offered >> bit & 1)
        check("ACCESS_PLATFORM is not", 0, offered >> ACCESS_PLATFORM & 1)
        check("agreed", True, dev.negotiate([EVENT_IDX]))
        dev.set_features(1 << VERSION_1)  # too late
        dev.set_common(8, 0, 4)
        check("features stay", 1 << EVENT_IDX, dev.common(12, 4))
        for bits in ([ACCESS_PLATFORM], [63]):
            dev.set_status(0)
            dev.set_status(3)
            dev.set_features(1 << VERSION_1 | 1 << bits[0])
            dev.set_status(3 | FEATURES_OK)
            check("feature %d refused" % bits[0], 3, dev.status())
            dev.set_status(3 | DRIVER_OK)
            check("no DRIVER_OK without FEATURES_OK", 3, dev.status())
        dev.set_status(0)
        dev.set_status(3)
        dev.set_features(1 << EVENT_IDX)
        dev.set_status(3 | FEATURES_OK)
        check("the modern interface without VERSION_1", 3, dev.status())


def test_common_configuration():
    with rng() as vm:
        dev = Virtio(vm, SLOT)
        check("num_queues", 1, dev.common(18, 2))
        check("queue_size", 8, dev.common(24, 2))
        dev.set_common(24, 9, 2)
        check("queue_size too large", 8, dev.common(24, 2))
        dev.set_common(16, 1, 2)
        check("config vector", 1, dev.common(16, 2))
        dev.set_common(16, 2, 2)
        check("config vector that is none", 0xffff, dev.common(16, 2))
        dev.place_queue(0, 0x123456789abc, 0x1000, 0x2000)
        check("address", (0x56789abc, 0x1234), (dev.common(32, 4), dev.common(36, 4)))
        dev.set_common(22, 1, 2)
        check("no queue 1", (0, 0, 0xffff), (dev.common(24, 2), dev.common(32, 4), dev.common(26, 2)))
        dev.set_common(28, 1, 2)
        check("which cannot be enabled", 0, dev.common(28, 2))
        dev.kick(0)
        dev.set_common(22, 0, 2)
        dev.set_common(24, 6, 2)
        dev.set_common(28, 1, 2)
        check("a split queue of 6", 0, dev.common(28, 2))


def interfaces():
    """Every way to drive one: (name, options, legacy, features, queue size)."""
    return (("legacy", (), True, (), None), ("legacy, event index", (), True, (EVENT_IDX,), None),
            ("split", (), False, (), 8), ("split, event index", (), False, (EVENT_IDX, INDIRECT), 4),
            ("packed", ("packed=on",), False, (PACKED,), 5),
            ("packed, event index", ("packed=on",), False, (PACKED, EVENT_IDX, INDIRECT), 7))


def test_data():
    for name, options, legacy, bits, num in interfaces():
        with rng(*options) as vm:
            dev = Virtio(vm, SLOT, legacy=legacy)
            dev.start(bits, num=num)
            seen = set()
            for turn in range(30):  # several times round the ring
                length, data = dev.queue[0].request([], [40, 24], INDIRECT in bits and turn % 2)
                check(name + ": length", 64, length)
                check(name + ": data", False, b"\xee" * 8 in b"".join(data))
                seen.add(data[0])
            check(name + ": all different", 30, len(seen))
            check(name + ": interrupt status", 1, dev.isr())
            check(name + ": and read away", 0, dev.isr())
            dev.check_alive()


def test_many_at_once():
    for name, options, legacy, bits, num in interfaces():
        with rng(*options) as vm:
            dev = Virtio(vm, SLOT, legacy=legacy)
            dev.start(bits, num=num)
            q = dev.queue[0]
            for _ in range(4):
                heads = [q.add([], [16]) for _ in range(4)]
                dev.kick()
                check(name, sorted(heads), sorted(q.wait()[0][0] for _ in heads))


def test_msix():
    for legacy in (False, True):
        with rng() as vm:
            dev = Virtio(vm, SLOT, legacy=legacy, msix=2)
            dev.start(vectors=True)
            dev.queue[0].request([], [8])
            check("vector 1", [1], dev.vectors())
            check("no INTx status", 0, dev.isr())
            vm.writel(dev.msix_table + 16 + 12, 1)
            dev.queue[0].request([], [8])
            check("masked", [], dev.vectors())
            check("pending", 2, vm.readl(dev.msix_table + 0x800))
            vm.writel(dev.msix_table + 16 + 12, 0)
            check("unmasked", [1], dev.vectors())
    with rng("vectors=0") as vm:
        check("no MSI-X", 0, Virtio(vm, SLOT).msix_cap)


def test_interrupt_suppression():
    with rng() as vm:
        dev = Virtio(vm, SLOT)
        q = dev.start().queue[0]
        q.no_interrupt(True)
        q.request([], [8])
        check("no interrupt asked for", 0, dev.isr())
        q.no_interrupt(False)
        q.request([], [8])
        check("asked for", 1, dev.isr())
        q = dev.start([EVENT_IDX]).queue[0]
        check("event index before the first", 0, q.avail_event())
        for turn, event, want in ((1, 2, 0), (2, 2, 0), (3, 2, 1), (4, 2, 0), (5, 4, 1), (6, 20, 0)):
            q.used_event(event)
            q.request([], [8])
            check("event index %d, turn %d" % (event, turn), want, dev.isr())
            check("avail_event", turn, q.avail_event())
    with rng("packed=on") as vm:
        dev = Virtio(vm, SLOT)
        q = dev.start([PACKED, EVENT_IDX], num=4).queue[0]
        for flags, want in ((0, 1), (1, 0), (0, 1)):
            q.driver_event(flags)
            q.request([], [8])
            check("flags %d" % flags, want, dev.isr())
        check("the device's event", (2, 3, True), q.device_event())
        for offset, wrap, want in ((0, False, 0), (0, False, 1), (3, False, 0), (1, False, 0), (3, False, 1)):
            q.driver_event(2, offset, wrap)
            q.request([], [8])
            check("event at %d" % offset, want, dev.isr())


def malformed_split(dev, bits):
    """(what, function that offers it)"""
    q = dev.queue[0]
    buf = dev.alloc(64)

    def one(*args, **words):
        q.desc(0, *args, **words)
        q.offer(0)

    def loop():
        for n in range(q.num):
            q.desc(n, buf, 8, F_WRITE | F_NEXT, (n + 1) % q.num)
        q.offer(0)

    def order():
        q.desc(0, buf, 8, F_WRITE | F_NEXT, 1)
        q.desc(1, buf, 8)
        q.offer(0)

    def indirect(length, *descs, flags=F_INDIRECT):
        table = dev.alloc(16 * len(descs) + 16)
        for n, d in enumerate(descs):
            q.desc(n, *d, table=table)
        one(table, length, flags)

    def long_table():
        table = dev.alloc(16 * 1100)
        for n in range(1100):
            q.desc(n, buf, 8, F_WRITE | (F_NEXT if n < 1099 else 0), n + 1, table=table)
        one(table, 16 * 1100, F_INDIRECT)

    rows = [("head out of range", lambda: q.offer(q.num)),
            ("next out of range", lambda: one(buf, 8, F_WRITE | F_NEXT, q.num)),
            ("a loop", loop),
            ("a descriptor to itself", lambda: one(buf, 8, F_WRITE | F_NEXT, 0)),
            ("more than there are", lambda: (one(buf, 8, F_WRITE), q.offer(0, q.num + 3))),
            ("read after write", order),
            ("not RAM", lambda: one(0xfee00000, 8, F_WRITE)),
            ("ROM to write", lambda: one(0xfffff000, 8, F_WRITE)),
            ("nothing there", lambda: one(0x80000000, 8, F_WRITE)),
            ("past the end of RAM", lambda: one(RAM - 8, 16, F_WRITE)),
            ("huge", lambda: one(0, 0xffffffff, F_WRITE)),
            ("wraps around", lambda: one(0xfffffffffffffff0, 0x20, F_WRITE)),
            ("far away", lambda: one(1 << 62, 8, F_WRITE)),
            ("its own registers", lambda: one(dev.at(COMMON, 0), 4, F_WRITE))]
    if INDIRECT in bits:
        rows += [("an empty table", lambda: indirect(0)),
                 ("a table of 15 bytes", lambda: indirect(15, (buf, 8, F_WRITE))),
                 ("a table with a next", lambda: indirect(16, (buf, 8, F_WRITE), flags=F_INDIRECT | F_NEXT)),
                 ("a table in a table", lambda: indirect(16, (buf, 16, F_INDIRECT))),
                 ("a table that runs out", lambda: indirect(16, (buf, 8, F_WRITE | F_NEXT, 1))),
                 ("a table that loops", lambda: indirect(32, (buf, 8, F_WRITE | F_NEXT, 1),
                                                        (buf, 8, F_WRITE | F_NEXT, 0))),
                 ("a table not in RAM", lambda: one(0x80000000, 16, F_INDIRECT)),
                 ("a table in registers", lambda: one(dev.at(COMMON, 0), 16, F_INDIRECT)),
                 ("a table at the end of memory", lambda: one(0xffffffffffffffff, 32, F_INDIRECT)),
                 ("a table of 1100", long_table)]
    else:
        rows += [("a table that was not agreed on", lambda: indirect(16, (buf, 8, F_WRITE)))]
    return rows


def malformed_packed(dev, bits):
    q = dev.queue[0]
    buf = dev.alloc(64)

    def one(addr, length, flags):
        q.desc(0, addr, length, 7, q.flags(flags))

    def endless():
        for n in range(q.num):
            q.desc(n, buf, 8, n, q.flags(F_WRITE | F_NEXT))

    def order():
        q.desc(1, buf, 8, 7, q.flags())
        q.desc(0, buf, 8, 7, q.flags(F_WRITE | F_NEXT))

    def nested():
        table = dev.alloc(16)
        vm = dev.vm
        vm.write(table, struct.pack("<QIHH", buf, 16, 0, F_INDIRECT))
        one(table, 16, F_INDIRECT)

    def behind():
        q.desc(1, buf, 16, 7, q.flags(F_INDIRECT))
        q.desc(0, buf, 8, 7, q.flags(F_NEXT))

    rows = [("a chain without end", endless), ("read after write", order),
            ("not RAM", lambda: one(0xfee00000, 8, F_WRITE)),
            ("wraps around", lambda: one(0xfffffffffffffff0, 0x20, F_WRITE)),
            ("huge", lambda: one(0, 0xffffffff, F_WRITE))]
    if INDIRECT in bits:
        rows += [("an empty table", lambda: one(buf, 0, F_INDIRECT)),
                 ("a table of 17 bytes", lambda: one(buf, 17, F_INDIRECT)),
                 ("a table with a next", lambda: one(buf, 16, F_INDIRECT | F_NEXT)),
                 ("a table in a table", nested), ("a table behind a descriptor", behind),
                 ("a table of 4 GiB", lambda: one(buf, 0xfffffff0, F_INDIRECT)),
                 ("a table not in RAM", lambda: one(0x80000000, 16, F_INDIRECT))]
    else:
        rows += [("a table that was not agreed on", lambda: one(buf, 16, F_INDIRECT))]
    return rows


def test_malformed():
    for options, bits, make in (((), [INDIRECT, EVENT_IDX], malformed_split), ((), [], malformed_split),
                                (("packed=on",), [PACKED, INDIRECT], malformed_packed),
                                (("packed=on",), [PACKED], malformed_packed)):
        with rng(*options) as vm:
            dev = Virtio(vm, SLOT, msix=2)
            dev.start(bits, num=8)
            for n in range(len(make(dev, bits))):
                dev.next_memory = 0x100000
                dev.start(bits, num=8, vectors=True)
                dev.vectors()
                what, offer = make(dev, bits)[n]
                offer()
                dev.kick()
                dev.check_broken(what)
                check(what + ": configuration interrupt", [0], dev.vectors())
                dev.kick()
                dev.start(bits, num=8)
                check(what + ": works after a reset", 8, dev.queue[0].request([], [8])[0])


def test_malformed_legacy():
    with rng() as vm:
        dev = Virtio(vm, SLOT, legacy=True)
        dev.start()
        dev.queue[0].offer(0x7777)
        dev.kick()
        dev.check_broken("head out of range")
        dev.start()
        check("works after a reset", 8, dev.queue[0].request([], [8])[0])


def test_queue_not_in_ram():
    with rng() as vm:
        dev = Virtio(vm, SLOT)
        for desc, avail, used in ((0xfee00000, 0x100000, 0x101000), (0x100000, RAM - 2, 0x101000),
                                  (0x100000, 0x101000, 0xfffff000), (0xffffffffffffff00, 0x100000, 0x101000),
                                  (0x100008, 0x101000, 0x102000), (0x100000, 0x101001, 0x102000),
                                  (0x100000, 0x101000, 0x102002), (0xa0000, 0x100000, 0x101000)):
            check("features", True, dev.negotiate([]))
            dev.place_queue(0, desc, avail, used)
            dev.set_common(28, 1, 2)
            dev.go()
            dev.kick()
            dev.check_broken("a queue at 0x%x, 0x%x, 0x%x" % (desc, avail, used))


def test_bus_mastering():
    with rng() as vm:
        dev = Virtio(vm, SLOT)
        dev.start()
        vm.pci_write(SLOT, 4, 3, 2)
        head = dev.queue[0].add([], [8])
        dev.kick()
        check("nothing without bus mastering", 0, dev.queue[0].used_index())
        vm.pci_write(SLOT, 4, 7, 2)
        check("then it comes", head, dev.queue[0].wait()[0][0])
        dev = Virtio(vm, SLOT, legacy=True)
        vm.pci_write(SLOT, 4, 3, 2)
        dev.start()
        check("old drivers leave it off", 8, dev.queue[0].request([], [8])[0])


def test_queue_reset():
    for bits, options in (([RING_RESET], ()), ([RING_RESET, PACKED], ("packed=on",))):
        with rng(*options) as vm:
            dev = Virtio(vm, SLOT)
            dev.start(bits)
            dev.queue[0].request([], [8])
            dev.set_common(22, 0, 2)
            dev.set_common(58, 1, 2)
            check("queue_reset is over", 0, dev.common(58, 2))
            check("and the queue off", (0, 0), (dev.common(28, 2), dev.common(32, 4)))
            dev.kick()
            dev.queue[0] = dev.make_queue(0, 4)
            check("a new one works", 8, dev.queue[0].request([], [8])[0])
            dev.check_alive()
    with rng("queue_reset=off") as vm:
        dev = Virtio(vm, SLOT)
        check("not offered", 0, dev.features() >> RING_RESET & 1)


def test_window():
    """Registers through configuration space (VIRTIO 4.1.4.9)."""
    with rng() as vm:
        dev = Virtio(vm, SLOT)
        cap = dev.caps[PCI_CFG][0]

        def place(bar, at, size):
            vm.pci_write(SLOT, cap + 4, bar, 1)
            vm.pci_write(SLOT, cap + 8, at)
            vm.pci_write(SLOT, cap + 12, size)

        place(4, 18, 2)
        check("num_queues", 1, vm.pci_read(SLOT, cap + 16, 2))
        place(4, 20, 1)
        vm.pci_write(SLOT, cap + 16, 3, 1)
        check("status", 3, dev.status())
        check("and read", 3, vm.pci_read(SLOT, cap + 16, 1))
        for bar, at, size in ((0, 0, 4), (4, 1, 2), (4, 0, 3), (4, 0x4000, 4), (4, 0xfffffffc, 4), (9, 0, 1),
                              (4, 62, 4), (4, 0, 0)):
            place(bar, at, size)
            vm.pci_write(SLOT, cap + 16, 0)
            vm.pci_read(SLOT, cap + 16)
        check("still there", 3, dev.status())


def test_machine_reset():
    with rng("packed=on") as vm:
        dev = Virtio(vm, SLOT, msix=2)
        dev.start([PACKED], vectors=True)
        dev.queue[0].request([], [8])
        vm.outb(0xcf9, 2)
        vm.outb(0xcf9, 6)
        end = time.monotonic() + TIMEOUT
        while vm.pci_read(SLOT, 4, 2) and time.monotonic() < end:
            time.sleep(0.01)
        dev = Virtio(vm, SLOT)
        check("status", 0, dev.status())
        check("vector", 0xffff, dev.common(26, 2))
        dev.start([])
        check("works", 8, dev.queue[0].request([], [8])[0])


def test_ioeventfd():
    for legacy in (False, True):
        with rng("ioeventfd=on") as vm:
            dev = Virtio(vm, SLOT, legacy=legacy)
            for _ in range(2):
                dev.start()
                for _ in range(10):
                    check("length", 8, dev.queue[0].request([], [8])[0])


def test_rate_limit():
    with rng("max-bytes=100,period=1000") as vm:
        dev = Virtio(vm, SLOT)
        q = dev.start().queue[0]
        q.add([], [64])
        q.add([], [64])
        q.add([], [8])
        dev.kick()
        check("whole", 64, q.wait()[0][1])
        check("the rest of this period", 36, q.wait()[0][1])
        check("then nothing", None, q.take())
        vm.clock_step(999_000_000)
        check("still nothing", None, q.take())
        vm.clock_step(2_000_000)
        check("the next period", 8, q.wait()[0][1])


def test_large_buffers():
    with rng() as vm:
        dev = Virtio(vm, SLOT)
        q = dev.start([INDIRECT]).queue[0]
        length, data = q.request([], [4096] * 100, True)
        check("what came", True, 0 < length <= 409600)
        check("an unused tail", b"\xee" * 16, data[-1][:16])


main()
