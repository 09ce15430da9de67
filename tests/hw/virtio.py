# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio driver in Python over qtest: both interfaces of virtio PCI, split and packed rings.

    dev = Virtio(vm, devfn)                   dev.start(features) ... queues exist then
    dev.queue[0].add([b"out"], [16])          offers an element; returns its id
    dev.kick(0); dev.queue[0].wait()          -> (id, length), [in buffers' bytes]

Tests that want a malformed ring write it themselves: desc(), offer().
"""

import struct
import time

from qtest import Failure, check

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
INDIRECT, EVENT_IDX, VERSION_1, ACCESS_PLATFORM, PACKED, RING_RESET = 28, 29, 32, 33, 34, 40
F_NEXT, F_WRITE, F_INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15
MSI_TARGET = 0x8000  # in RAM: a vector is a store one can see

COMMON, NOTIFY, ISR, DEVICE, PCI_CFG = 1, 2, 3, 4, 5


class Virtio:
    """One device. legacy: drive it by the ports of before 1.0."""

    def __init__(self, vm, devfn, legacy=False, bar_base=0xe0000000, ports=0xc100, msix=0):
        self.vm, self.devfn, self.legacy = vm, devfn, legacy
        self.ports = ports
        self.caps, self.notify_step, self.msix_cap = {}, 0, 0
        self.queue = []
        self.next_memory = 0x100000
        cap = vm.pci_read(devfn, 0x34, 1)
        while cap:
            if vm.pci_read(devfn, cap, 1) == 9:
                kind = vm.pci_read(devfn, cap + 3, 1)
                bar, at = vm.pci_read(devfn, cap + 4, 1), vm.pci_read(devfn, cap + 8)
                self.caps.setdefault(kind, (cap, bar, at, vm.pci_read(devfn, cap + 12)))
                if kind == NOTIFY:
                    self.notify_step = vm.pci_read(devfn, cap + 16)
            elif vm.pci_read(devfn, cap, 1) == 0x11:
                self.msix_cap = cap
            cap = vm.pci_read(devfn, cap + 1, 1)
        vm.pci_write(devfn, 0x10, ports)
        self.msix_table = bar_base + 0x10000
        vm.pci_write(devfn, 0x14, self.msix_table)
        vm.pci_write(devfn, 0x20, bar_base)
        vm.pci_write(devfn, 0x24, 0)
        self.bar = {0: ports, 1: self.msix_table, 4: bar_base}
        vm.pci_write(devfn, 4, 7, 2)
        if msix:
            self.enable_msix(msix)

    def enable_msix(self, nr):
        for n in range(nr):
            self.vm.writeq(self.msix_table + 16 * n, MSI_TARGET + 4 * n)
            self.vm.writel(self.msix_table + 16 * n + 8, 0x100 + n)
            self.vm.writel(self.msix_table + 16 * n + 12, 0)
        self.vm.pci_write(self.devfn, self.msix_cap + 2, 0x8000, 2)

    def vectors(self):
        """Which have come since last asked."""
        came = []
        for n in range(8):
            if self.vm.readl(MSI_TARGET + 4 * n) == 0x100 + n:
                came.append(n)
                self.vm.writel(MSI_TARGET + 4 * n, 0)
        return came

    def at(self, kind, offset):
        _, bar, at, _ = self.caps[kind]
        return self.bar[bar] + at + offset

    def alloc(self, size, align=16):
        at = (self.next_memory + align - 1) // align * align
        self.next_memory = at + size
        return at

    # ---- common configuration ----

    def common(self, offset, size):
        return {1: self.vm.readb, 2: self.vm.readw, 4: self.vm.readl}[size](self.at(COMMON, offset))

    def set_common(self, offset, value, size):
        {1: self.vm.writeb, 2: self.vm.writew, 4: self.vm.writel}[size](self.at(COMMON, offset), value)

    def status(self):
        return self.vm.inb(self.ports + 18) if self.legacy else self.common(20, 1)

    def set_status(self, value):
        if self.legacy:
            self.vm.outb(self.ports + 18, value)
        else:
            self.set_common(20, value, 1)

    def isr(self):
        return self.vm.inb(self.ports + 19) if self.legacy else self.vm.readb(self.at(ISR, 0))

    def features(self):
        if self.legacy:
            return self.vm.inl(self.ports)
        value = 0
        for half in (0, 1):
            self.set_common(0, half, 4)
            value |= self.common(4, 4) << 32 * half
        return value

    def set_features(self, value):
        if self.legacy:
            self.vm.outl(self.ports + 4, value)
            return
        for half in (0, 1):
            self.set_common(8, half, 4)
            self.set_common(12, value >> 32 * half & 0xffffffff, 4)

    def config(self, offset, size):
        if self.legacy:
            at = self.ports + (24 if self.msix_on() else 20) + offset
            return {1: self.vm.inb, 2: self.vm.inw, 4: self.vm.inl}[size](at)
        at = self.at(DEVICE, offset)
        return {1: self.vm.readb, 2: self.vm.readw, 4: self.vm.readl, 8: self.vm.readq}[size](at)

    def set_config(self, offset, value, size):
        at = self.at(DEVICE, offset)
        {1: self.vm.writeb, 2: self.vm.writew, 4: self.vm.writel}[size](at, value)

    def msix_on(self):
        return bool(self.msix_cap and self.vm.pci_read(self.devfn, self.msix_cap + 2, 2) & 0x8000)

    # ---- start ----

    def negotiate(self, bits):
        """Resets, offers the features of these numbers (VERSION_1 by itself); what was accepted."""
        self.set_status(0)
        check("status after a reset", 0, self.status())
        self.set_status(ACKNOWLEDGE)
        self.set_status(ACKNOWLEDGE | DRIVER)
        value = sum(1 << b for b in set(bits)) | (0 if self.legacy else 1 << VERSION_1)
        self.set_features(value & self.features())
        self.agreed = value & self.features()
        if self.legacy:
            return True
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK)
        return bool(self.status() & FEATURES_OK)

    def start(self, bits=(), nr=1, num=None, vectors=False):
        """The whole way to DRIVER_OK with nr queues."""
        check("features accepted", True, self.negotiate(bits))
        self.queue = [self.make_queue(n, num, n + 1 if vectors else None) for n in range(nr)]
        if vectors:
            if self.legacy:
                self.vm.outw(self.ports + 20, 0)
            else:
                self.set_common(16, 0, 2)
        self.go()
        return self

    def go(self):
        self.set_status(ACKNOWLEDGE | DRIVER | DRIVER_OK | (0 if self.legacy else FEATURES_OK))

    def has(self, bit):
        return bool(self.agreed >> bit & 1)

    def make_queue(self, n, num=None, vector=None):
        if self.legacy:
            self.vm.outw(self.ports + 14, n)
            num = self.vm.inw(self.ports + 12)
            q = SplitQueue(self, n, num)
            self.vm.outl(self.ports + 8, q.desc_at >> 12)
            if vector is not None:
                self.vm.outw(self.ports + 22, vector)
            return q
        self.set_common(22, n, 2)
        num = num or self.common(24, 2)
        self.set_common(24, num, 2)
        q = (PackedQueue if self.has(PACKED) else SplitQueue)(self, n, num)
        if vector is not None:
            self.set_common(26, vector, 2)
        self.place_queue(n, q.desc_at, q.avail_at, q.used_at)
        self.set_common(28, 1, 2)
        check("queue_enable", 1, self.common(28, 2))
        return q

    def place_queue(self, n, desc, avail, used):
        self.set_common(22, n, 2)
        for offset, value in ((32, desc), (40, avail), (48, used)):
            self.set_common(offset, value & 0xffffffff, 4)
            self.set_common(offset + 4, value >> 32, 4)

    def kick(self, n=0):
        if self.legacy:
            self.vm.outw(self.ports + 16, n)
            return
        self.set_common(22, n, 2)
        self.vm.writew(self.at(NOTIFY, self.common(30, 2) * self.notify_step), n)

    def check_alive(self):
        check("NEEDS_RESET", 0, self.status() & NEEDS_RESET)

    def check_broken(self, what):
        check(what + ": NEEDS_RESET", NEEDS_RESET, self.status() & NEEDS_RESET)


class Queue:
    """What both kinds of rings share: elements' memory."""

    def __init__(self, dev, index, num):
        self.dev, self.vm, self.index, self.num = dev, dev.vm, index, num
        self.buffers = {}

    def parts(self, out, into):
        """[(address, length, write)] of the bytes in out and room for into."""
        parts = []
        for data in out:
            at = self.dev.alloc(len(data))
            self.vm.write(at, data)
            parts.append((at, len(data), False))
        for size in into:
            at = self.dev.alloc(size)
            self.vm.write(at, b"\xee" * size)
            parts.append((at, size, True))
        return parts

    def wait(self, timeout=5):
        """The next used element: (id, length), [bytes of its in parts]."""
        end = time.monotonic() + timeout
        while True:
            got = self.take()
            if got:
                parts = self.buffers.pop(got[0])
                return got, [self.vm.read(a, n) for a, n, write in parts if write]
            if time.monotonic() > end:
                raise Failure("nothing used in queue %d, status 0x%x" % (self.index, self.dev.status()))
            time.sleep(0.001)

    def request(self, out, into, indirect=False):
        """Offers, kicks, waits: (length, [bytes])."""
        head = self.add(out, into, indirect)
        self.dev.kick(self.index)
        got, data = self.wait()
        check("id of what was used", head, got[0])
        return got[1], data


class SplitQueue(Queue):
    def __init__(self, dev, index, num):
        super().__init__(dev, index, num)
        size = (16 * num + 2 * (3 + num) + 4095) // 4096 * 4096
        self.desc_at = dev.alloc(size + 6 + 8 * num, 4096)
        self.avail_at = self.desc_at + 16 * num
        self.used_at = self.desc_at + size
        self.vm.memset(self.desc_at, size + 6 + 8 * num, 0)
        self.avail = self.used = 0
        self.free = list(range(num))
        self.chains = {}

    def desc(self, n, addr, length, flags=0, following=0, table=None):
        self.vm.write((table if table is not None else self.desc_at) + 16 * n,
                      struct.pack("<QIHH", addr, length & 0xffffffff, flags, following))

    def offer(self, head, count=1):
        """Makes head the next available one."""
        self.vm.writew(self.avail_at + 4 + 2 * (self.avail % self.num), head)
        self.avail = (self.avail + count) & 0xffff
        self.vm.writew(self.avail_at + 2, self.avail)

    def add(self, out, into, indirect=False):
        parts = self.parts(out, into)
        table = None
        if indirect:
            table = self.dev.alloc(16 * len(parts))
            places = list(range(len(parts)))
        else:
            places = [self.free.pop(0) for _ in parts]
        for i, (addr, length, write) in enumerate(parts):
            last = i == len(parts) - 1
            self.desc(places[i], addr, length, (F_WRITE if write else 0) | (0 if last else F_NEXT),
                      0 if last else places[i + 1], table)
        if indirect:
            places = [self.free.pop(0)]
            self.desc(places[0], table, 16 * len(parts), F_INDIRECT)
        self.buffers[places[0]] = parts
        self.chains[places[0]] = places
        self.offer(places[0])
        return places[0]

    def used_index(self):
        return self.vm.readw(self.used_at + 2)

    def take(self):
        if self.used_index() == self.used:
            return None
        head, length = struct.unpack("<II", self.vm.read(self.used_at + 4 + 8 * (self.used % self.num), 8))
        self.used = (self.used + 1) & 0xffff
        self.free += self.chains.pop(head, [])
        return head, length

    def used_event(self, value):
        self.vm.writew(self.avail_at + 4 + 2 * self.num, value & 0xffff)

    def avail_event(self):
        return self.vm.readw(self.used_at + 4 + 8 * self.num)

    def no_interrupt(self, on):
        self.vm.writew(self.avail_at, int(on))


class PackedQueue(Queue):
    def __init__(self, dev, index, num):
        super().__init__(dev, index, num)
        self.desc_at = dev.alloc(16 * num + 8)
        self.avail_at = self.desc_at + 16 * num
        self.used_at = self.avail_at + 4
        self.vm.memset(self.desc_at, 16 * num + 8, 0)
        self.at, self.wrap = 0, True
        self.used, self.used_wrap = 0, True
        self.ids = list(range(0x4000, 0x4000 + num))
        self.lengths = {}

    def flags(self, extra=0):
        return extra | (AVAIL if self.wrap else USED)

    def desc(self, n, addr, length, ident, flags):
        self.vm.write(self.desc_at + 16 * n, struct.pack("<QIHH", addr, length & 0xffffffff, ident, flags))

    def add(self, out, into, indirect=False):
        parts = self.parts(out, into)
        ident = self.ids.pop(0)
        if indirect:
            table = self.dev.alloc(16 * len(parts))
            for i, (addr, length, write) in enumerate(parts):
                self.vm.write(table + 16 * i, struct.pack("<QIHH", addr, length, 0, F_WRITE if write else 0))
            ring = [(table, 16 * len(parts), F_INDIRECT)]
        else:
            ring = [(a, n, F_WRITE if w else 0) for a, n, w in parts]
        first = None
        for i, (addr, length, flags) in enumerate(ring):
            flags = self.flags(flags | (0 if i == len(ring) - 1 else F_NEXT))
            if i == 0:  # its flags come last: they offer the whole
                first = (self.at, flags)
                flags ^= AVAIL | USED
            self.desc(self.at, addr, length, ident, flags)
            self.at += 1
            if self.at == self.num:
                self.at, self.wrap = 0, not self.wrap
        self.vm.writew(self.desc_at + 16 * first[0] + 14, first[1])
        self.buffers[ident] = parts
        self.lengths[ident] = len(ring)
        return ident

    def take(self):
        _, length, ident, flags = struct.unpack("<QIHH", self.vm.read(self.desc_at + 16 * self.used, 16))
        if bool(flags & AVAIL) != self.used_wrap or bool(flags & USED) != self.used_wrap:
            return None
        self.used += self.lengths.pop(ident, 1)
        self.ids.append(ident)
        if self.used >= self.num:
            self.used, self.used_wrap = self.used - self.num, not self.used_wrap
        return ident, length

    def driver_event(self, flags, offset=0, wrap=True):
        self.vm.writew(self.avail_at, offset | (0x8000 if wrap else 0))
        self.vm.writew(self.avail_at + 2, flags)

    def device_event(self):
        """(flags, offset, wrap)"""
        at, flags = struct.unpack("<HH", self.vm.read(self.used_at, 4))
        return flags, at & 0x7fff, bool(at >> 15)
