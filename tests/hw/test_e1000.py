# SPDX-License-Identifier: GPL-2.0-or-later
"""Intel 82540EM (8254x SDM): two cards on a hub, each seeing what the other sends."""

import os
import random
import struct
import sys
import tempfile
import time

from qtest import TIMEOUT, Failure, QTest, check, main

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import hmp  # pylint: disable=wrong-import-position

CTRL, STATUS, EECD, EERD, MDIC, VET = 0x0, 0x8, 0x10, 0x14, 0x20, 0x38
ICR, ITR, ICS, IMS, IMC, RCTL, TCTL = 0xc0, 0xc4, 0xc8, 0xd0, 0xd8, 0x100, 0x400
RDBAL, RDLEN, RDH, RDT, RDTR, RADV = 0x2800, 0x2808, 0x2810, 0x2818, 0x2820, 0x282c
TDBAL, TDLEN, TDH, TDT, TIDV = 0x3800, 0x3808, 0x3810, 0x3818, 0x3820
RXCSUM, MTA, RAL, RAH, VFTA = 0x5000, 0x5200, 0x5400, 0x5404, 0x5600
MPC, GPRC, GPTC, GORCL, GORCH = 0x4010, 0x4074, 0x4080, 0x4088, 0x408c
CTRL_RST, CTRL_VME = 1 << 26, 1 << 30
TXDW, TXQE, LSC, RXDMT0, RXO, RXT0 = 1, 2, 4, 0x10, 0x40, 0x80
EN, UPE, MPE, LPE, BAM, VFE, SECRC = 2, 8, 0x10, 0x20, 1 << 15, 1 << 18, 1 << 26
EOP, IFCS, IC, TSE, RS, DEXT, VLE, IDE = 1, 2, 4, 4, 8, 0x20, 0x40, 0x80
MAC_A, MAC_B = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
BROADCAST = b"\xff" * 6


def csum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Nic:
    """A card with rings of n descriptors; buffers of 2 KiB."""

    def __init__(self, vm, devfn, base, memory, n=16):
        self.vm, self.devfn, self.mmio, self.n, self.memory = vm, devfn, base, n, memory
        vm.pci_write(devfn, 0x10, base)
        vm.pci_write(devfn, 4, 7, 2)
        self.rx, self.tx = memory, memory + 0x1000
        self.next_rx = self.next_tx = self.sent = 0

    def read(self, reg):
        return self.vm.readl(self.mmio + reg)

    def write(self, reg, value):
        self.vm.writel(self.mmio + reg, value)

    def buffer(self, i):
        return self.memory + 0x2000 + i * 2048

    def start(self, rctl=EN | BAM | SECRC, post=None):
        for i in range(self.n):
            self.vm.write(self.rx + 16 * i, struct.pack("<QQ", self.buffer(i), 0))
        for base, head, tail, size, ring in ((RDBAL, RDH, RDT, RDLEN, self.rx),
                                             (TDBAL, TDH, TDT, TDLEN, self.tx)):
            self.write(base, ring)
            self.write(base + 4, 0)
            self.write(size, self.n * 16)
            self.write(head, 0)
            self.write(tail, 0)
        self.next_rx = self.next_tx = 0
        self.write(RDT, self.n - 1 if post is None else post)
        self.write(RCTL, rctl)
        self.write(TCTL, EN)
        return self

    def put(self, *descriptors):
        """Raw transmit descriptors, then TDT."""
        for d in descriptors:
            self.vm.write(self.tx + 16 * self.next_tx, d)
            self.next_tx = (self.next_tx + 1) % self.n
        self.write(TDT, self.next_tx)

    def data(self, frame, pieces=1):
        """Puts a frame into memory; [(address, length)]."""
        self.sent += 1
        at = self.memory + 0x20000 + self.sent % 8 * 0x4000
        self.vm.write(at, frame)
        size = (len(frame) + pieces - 1) // pieces
        return [(at + i, min(size, len(frame) - i)) for i in range(0, len(frame), size)]

    def send(self, frame, cmd=0, pieces=1, cso=0, css=0, special=0):
        parts = self.data(frame, pieces)
        self.put(*[struct.pack("<QHBBBBH", at, size, cso,
                               cmd | IFCS | RS | (EOP if i == len(parts) - 1 else 0), 0, css, special)
                   for i, (at, size) in enumerate(parts)])

    def send_ext(self, frame, context, popts, cmd=0, pieces=1, special=0):
        parts = self.data(frame, pieces)
        self.put(context, *[
            struct.pack("<QIBBH", at, size | 1 << 20 |
                        (cmd | IFCS | DEXT | RS | (EOP if i == len(parts) - 1 else 0)) << 24,
                        0, popts, special) for i, (at, size) in enumerate(parts)])

    def got(self):
        """The next received frame, which may take a moment: sending is the main loop's work."""
        end = time.monotonic() + TIMEOUT
        while not (f := self.look()):
            if time.monotonic() > end:
                raise Failure("no frame came")
        return f

    def nothing(self):
        """What came though nothing should."""
        time.sleep(.02)
        return self.look()

    def look(self):
        """The next received frame as (data, status, errors, special), None if there is none."""
        data = b""
        start = self.next_rx
        while True:
            _, size, _, status, errors, special = struct.unpack(
                "<QHHBBH", self.vm.read(self.rx + 16 * self.next_rx, 16))
            if not status & 1:
                self.next_rx = start
                return None
            data += self.vm.read(self.buffer(self.next_rx), size)
            self.next_rx = (self.next_rx + 1) % self.n
            if status & 2:
                return data, status, errors, special

    def frames(self, nr=None):
        """nr of them, or what there is after a moment."""
        if nr is not None:
            return [self.got() for _ in range(nr)]
        time.sleep(.02)
        out = []
        while (f := self.look()):
            out.append(f)
        return out


def pair(*args, **kwargs):
    vm = QTest("-M", "pc", "-m", "16", "-netdev", "hubport,id=h0,hubid=0", "-netdev",
               "hubport,id=h1,hubid=0", "-device", "e1000,netdev=h0,addr=4,mac=52:54:00:00:00:01",
               "-device", "e1000,netdev=h1,addr=5,mac=52:54:00:00:00:02", *args, **kwargs)
    return vm, Nic(vm, 4 << 3, 0xfe000000, 0x100000), Nic(vm, 5 << 3, 0xfe040000, 0x200000)


def frame(dest=MAC_B, size=100, kind=b"\x88\xb5", seed=0):
    return dest + MAC_A + kind + random.Random(seed).randbytes(size - 14)


def tcp_frame(size, v6=False, flags=0x18):
    """With lengths and checksums left out, as for segmentation; and where the TCP header is."""
    tcp = struct.pack(">HHIIBBHHH", 1000, 80, 0xfffffff0, 7, 5 << 4, flags, 100, 0, 0)
    data = random.Random(size).randbytes(size)
    if v6:
        ip = struct.pack(">IHBB", 6 << 28, 0, 6, 64) + bytes(range(32))
        return MAC_B + MAC_A + b"\x86\xdd" + ip + tcp + data, 54
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0x1234, 0x4000, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return MAC_B + MAC_A + b"\x08\0" + ip + tcp + data, 34


def test_registers():
    vm, a, _ = pair()
    with vm:
        check("vendor", 0x100e8086, vm.pci_read(a.devfn, 0))
        check("class", 0x020000, vm.pci_read(a.devfn, 8) >> 8)
        check("RAL0", 0x00005452, a.read(RAL))
        check("RAH0", 0x80000100, a.read(RAH))
        check("STATUS: full duplex, link, 1000", 0x283, a.read(STATUS))
        words = []
        for i in range(64):
            a.write(EERD, i << 8 | 1)
            check("EERD.DONE", 0x10, a.read(EERD) & 0x10)
            words.append(a.read(EERD) >> 16)
        check("EEPROM address", MAC_A, struct.pack("<3H", *words[:3]))
        check("EEPROM sum", 0xbaba, sum(words) & 0xffff)
        check("EEPROM, bit by bit", words[13], microwire(a, 13))
        check("EEPROM, bit by bit", words[63], microwire(a, 63))
        a.write(IMS, 0xff)
        a.write(VET, 0x88a8)
        a.write(MTA + 4, 0x1234)
        a.write(CTRL, CTRL_RST)
        check("IMS after CTRL.RST", 0, a.read(IMS))
        check("VET after CTRL.RST", 0x8100, a.read(VET))
        check("MTA after CTRL.RST", 0, a.read(MTA + 4))
        check("RAL0 after CTRL.RST", 0x00005452, a.read(RAL))
        # the window in I/O space
        vm.pci_write(a.devfn, 0x14, 0xc001)
        vm.outl(0xc000, VET)
        check("VET by IODATA", 0x8100, vm.inl(0xc004))
        vm.outl(0xc000, 0x20000)
        check("beyond the registers", 0, vm.inl(0xc004))


def microwire(nic, address):
    """READ by the wires of EECD (8254x 5.3)."""
    value = 0
    nic.write(EECD, 1 << 6)
    check("EECD.GNT", 1 << 7, nic.read(EECD) & 1 << 7)
    for bit in [int(c) for c in "110" + format(address, "06b")]:
        for sk in (0, 1):
            nic.write(EECD, 1 << 6 | 2 | bit << 2 | sk)
    for _ in range(16):
        nic.write(EECD, 1 << 6 | 2)
        nic.write(EECD, 1 << 6 | 3)
        value = value << 1 | (nic.read(EECD) >> 3 & 1)
    nic.write(EECD, 0)
    return value


def phy(nic, reg, value=None):
    op = 2 << 26 if value is None else 1 << 26 | value
    nic.write(MDIC, op | 1 << 21 | reg << 16)
    check("MDIC.READY", 1 << 28, nic.read(MDIC) & 3 << 28)
    return nic.read(MDIC) & 0xffff


def test_phy():
    vm, a, _ = pair()
    with vm:
        check("PHY ids", (0x0141, 0x0c20), (phy(a, 2), phy(a, 3)))
        check("PHY link, negotiated", 0x24, phy(a, 1) & 0x24)
        a.read(ICR)
        phy(a, 0, 0x1340)
        check("link while negotiating", 0, a.read(STATUS) & 2)
        vm.clock_step(100_000_000)
        check("link again", 2, a.read(STATUS) & 2)
        check("ICR.LSC", LSC, a.read(ICR) & LSC)
        a.write(MDIC, 2 << 26 | 5 << 21)
        check("no such PHY", 1 << 30, a.read(MDIC) & 1 << 30)


def test_legacy():
    vm, a, b = pair()
    with vm:
        a.start()
        b.start()
        for size in (60, 100, 1514):
            for pieces in (1, 3):
                f = frame(size=size, seed=size)
                a.send(f, pieces=pieces)
                got = b.got()
                check("frame of %d" % size, f, got and got[0])
                b.write(RDT, (b.next_rx - 1) % b.n)
        a.send(frame(size=20))
        check("padded", 60, len(b.got()[0]))
        check("nothing comes back", None, a.nothing())
        time.sleep(.02)
        check("TDH", a.next_tx, a.read(TDH))
        check("DD", 1, vm.readb(a.tx + 12) & 1)
        check("GPTC", 7, a.read(GPTC))
        check("GPTC, read", 0, a.read(GPTC))
        check("GPRC", 7, b.read(GPRC))
        want = 2 * (64 + 104 + 1518) + 64
        check("GORC", want, b.read(GORCL) | b.read(GORCH) << 32)
        check("GORC, read", 0, b.read(GORCL))
        # a checksum from byte 14 on goes to byte 40
        f = bytearray(frame(size=80))
        f[40:42] = b"\0\0"
        a.send(bytes(f), cmd=IC, cso=40, css=14)
        f[40:42] = struct.pack(">H", csum(bytes(f[14:])))
        check("inserted sum", bytes(f), b.got()[0])
        # with FCS
        b.write(RCTL, EN | BAM)
        a.send(frame(size=100))
        check("with FCS", 104, len(b.got()[0]))


def context(l4, v6, mss=0, header=0, tse=False, tucse=0, size=0):
    return struct.pack("<BBHBBHIBBH", 14, 24, 0 if v6 else 33, l4, l4 + 16, tucse,
                       size | (DEXT | (TSE if tse else 0) | 1 | (0 if v6 else 2)) << 24, 0, header, mss)


def check_tcp(f, l4, v6):
    ip = f[14:l4]
    if v6:
        check("IPv6 length", len(f) - l4, struct.unpack(">H", ip[4:6])[0])
        pseudo = ip[8:40]
    else:
        check("IPv4 length", len(f) - 14, struct.unpack(">H", ip[2:4])[0])
        check("IPv4 sum", 0, csum(ip))
        pseudo = ip[12:20]
    check("TCP sum", 0, csum(pseudo + struct.pack(">II", len(f) - l4, 6) + f[l4:]))


def test_segmentation():
    vm, a, b = pair()
    with vm:
        a.start()
        b.start()
        for v6 in (False, True):
            for size, mss in ((4000, 1400), (2800, 1400), (900, 1400)):
                f, l4 = tcp_frame(size, v6)
                header = l4 + 20
                a.send_ext(f, context(l4, v6, mss, header, True, size=size), 3, TSE, pieces=3)
                got = [g[0] for g in b.frames((size + mss - 1) // mss)]
                check("no more", None, b.nothing())
                b.write(RDT, (b.next_rx - 1) % b.n)
                check("segments", (size + mss - 1) // mss, len(got))
                check("payload", f[header:], b"".join(g[header:] for g in got))
                for i, g in enumerate(got):
                    check_tcp(g, l4, v6)
                    seq, flags = struct.unpack(">I", g[l4 + 4:l4 + 8])[0], g[l4 + 13]
                    check("sequence", (0xfffffff0 + i * mss) & 0xffffffff, seq)
                    check("PSH on the last alone", 0x18 if i == len(got) - 1 else 0x10, flags)
                    if not v6:
                        check("identification", 0x1234 + i, struct.unpack(">H", g[18:20])[0])


def test_checksum_offload():
    vm, a, b = pair()
    with vm:
        a.start()
        b.write(RXCSUM, 0x300)
        b.start()
        f, l4 = tcp_frame(500)
        f = bytearray(f)
        f[16:18] = struct.pack(">H", len(f) - 14)
        pseudo = bytes(f[26:34]) + struct.pack(">II", len(f) - l4, 6)
        f[l4 + 16:l4 + 18] = struct.pack(">H", ~csum(pseudo) & 0xffff)
        for tucse in (0, len(f) - 1):
            a.send_ext(bytes(f), context(l4, False, tucse=tucse), 3)
            got, status, errors, _ = b.got()
            check_tcp(got, l4, False)
            check("IPCS, TCPCS", 0x60, status & 0x64)
            check("errors", 0, errors)
        bad = bytearray(got)
        bad[60] ^= 1
        a.send(bytes(bad))
        _, status, errors, _ = b.got()
        check("a wrong sum is told", (0x60, 0x20), (status & 0x64, errors))


def test_filters():
    vm, a, b = pair()
    with vm:
        a.start()
        other, group = bytes.fromhex("525400000009"), bytes.fromhex("01005e010203")

        def seen(rctl, dest, **setup):
            b.write(RCTL, 0)
            for reg, value in setup.items():
                b.write(int(reg[1:], 16), value)
            b.start(rctl | EN | SECRC)
            a.send(frame(dest))
            return bool(b.frames())

        check("its own", True, seen(0, MAC_B))
        check("another's", False, seen(0, other))
        check("another's, UPE", True, seen(UPE, other))
        check("broadcast without BAM", False, seen(0, BROADCAST))
        check("broadcast", True, seen(BAM, BROADCAST))
        check("multicast", False, seen(BAM, group))
        check("multicast, MPE", True, seen(MPE, group))
        bits = (group[5] << 8 | group[4]) >> 4 & 0xfff
        check("multicast, MTA", True, seen(BAM, group, **{"r%x" % (MTA + 4 * (bits >> 5)): 1 << (bits & 31)}))
        check("another multicast", False, seen(BAM, b"\1\0\x5e\0\0\1"))
        check("RAL1", True, seen(0, other, r5408=0x00005452, r540c=0x80000900))
        check("too long", [], [] if not long_frame(a, b, 0) else 1)
        check("long, LPE", 3000, long_frame(a, b, LPE))


def long_frame(a, b, rctl):
    b.start(rctl | EN | SECRC)
    a.send(frame(size=3000))
    got = b.frames()
    return len(got[0][0]) if got else 0


def test_vlan():
    vm, a, b = pair()
    with vm:
        a.start()
        b.start(EN | SECRC | VFE)
        f = frame()
        a.write(CTRL, CTRL_VME)
        a.send(f, cmd=VLE, special=0x6005)
        check("filtered", None, b.nothing())
        b.write(VFTA, 1 << 5)
        a.send(f, cmd=VLE, special=0x6005)
        got = b.got()
        check("tagged", f[:12] + b"\x81\0\x60\x05" + f[12:], got[0])
        b.write(CTRL, CTRL_VME)
        a.send(f, cmd=VLE, special=0x6005)
        got = b.got()
        check("stripped", (f, 8, 0x6005), (got[0], got[1] & 8, got[3]))


def test_back_pressure():
    vm, a, b = pair()
    with vm:
        a.start()
        b.start(post=2)
        for i in range(5):
            a.send(frame(seed=i))
        check("two descriptors", [frame(seed=0), frame(seed=1)], [f[0] for f in b.frames(2)])
        b.write(RDT, 7)
        check("the rest", [frame(seed=i) for i in (2, 3, 4)], [f[0] for f in b.frames(3)])


def test_larger_than_the_ring():
    """A frame that all buffers together have no room for is missed, and the next one comes."""
    vm, a, b = pair()
    with vm:
        a.start()
        b.n = 8
        b.start(EN | BAM | SECRC | LPE | 3 << 16)  # buffers of 256 bytes
        a.send(frame(size=3000))
        a.send(frame(size=1700))
        check("seven buffers", frame(size=1700), b.got()[0])
        check("missed", 1, b.read(MPC))


def test_reset_loses_frames():
    """What waited for a buffer before a reset is not for who comes after it."""
    vm, a, b = pair()
    with vm:
        a.start()
        b.start(post=0)
        a.send(frame(seed=1))
        end = time.monotonic() + TIMEOUT
        while a.read(TDH) != 1:
            check("sent in time", True, time.monotonic() < end)
        b.write(CTRL, CTRL_RST)
        b.start()
        a.send(frame(seed=2))
        check("of after the reset", frame(seed=2), b.got()[0])


def test_stopped_machine():
    """Its registers and memory stay as they are: it may just be saved."""
    with QTest("-M", "pc", "-m", "16", "-S", "-device", "e1000,addr=4", accel="interp") as vm:
        nic = Nic(vm, 4 << 3, 0xfe000000, 0x100000).start()
        nic.send(frame())
        time.sleep(.05)
        check("not sent", (0, 0), (nic.read(TDH), vm.readb(nic.tx + 12)))


def test_interrupts():
    vm, a, b = pair()
    with vm:
        def line(nic):
            time.sleep(.02)
            return bool(vm.pci_read(nic.devfn, 6, 2) & 8)

        a.start()
        b.start()
        a.read(ICR)
        a.send(frame())
        b.got()
        check("TXDW, TXQE", TXDW | TXQE, a.read(ICR) & (TXDW | TXQE))
        check("ICR is read", 0, a.read(ICR))
        check("masked", False, line(b))
        b.write(IMS, RXT0)
        check("RXT0", True, line(b))
        check("ICR", RXT0, b.read(ICR) & RXT0)
        check("acknowledged", False, line(b))
        b.write(ICS, RXT0)
        check("ICS", True, line(b))
        b.write(IMC, RXT0)
        check("IMC", False, line(b))
        b.read(ICR)
        # moderation: 1000 * 256 ns between two interrupts
        b.write(ITR, 1000)
        b.write(IMS, RXT0)
        vm.clock_step(1_000_000)
        a.send(frame())
        check("the first at once", True, line(b))
        b.read(ICR)
        a.send(frame())
        check("the second later", False, line(b))
        vm.clock_step(300_000)
        check("now", True, line(b))
        b.read(ICR)
        b.write(ITR, 0)
        # RDTR: 100 * 1.024 us after the last frame, RADV: at most 150
        b.write(RDTR, 100)
        b.write(RADV, 150)
        a.send(frame())
        check("RDTR waits", False, line(b))
        vm.clock_step(90_000)
        a.send(frame())
        vm.clock_step(50_000)
        check("anew", False, line(b))
        vm.clock_step(20_000)
        check("RADV bounds it", True, line(b))


def test_loopback():
    vm, a, b = pair()
    with vm:
        a.start(EN | BAM | SECRC | 3 << 6)
        b.start()
        a.send(frame(MAC_A))
        check("RCTL.LBM", frame(MAC_A), a.got()[0])
        check("not outside", None, b.nothing())


def test_set_link():
    with tempfile.TemporaryDirectory(prefix="vireo-e1000-") as d:
        vm, a, b = pair("-monitor", "unix:%s/mon,server=on,wait=off" % d)
        with vm:
            mon = hmp.Hmp(d + "/mon")
            a.start()
            b.start()
            b.write(IMS, LSC)
            b.read(ICR)
            check("set_link", "", mon("set_link h1 off"))
            check("STATUS.LU", 0, b.read(STATUS) & 2)
            check("LSC", LSC, b.read(ICR) & LSC)
            a.send(frame())
            check("no cable", None, b.nothing())
            mon("set_link h1 on")
            check("STATUS.LU", 2, b.read(STATUS) & 2)
            a.send(frame())
            check("plugged", frame(), b.got()[0])
            mon.close()


def test_malformed():
    """Rings that make no sense: the guest's loss alone."""
    vm, a, b = pair()
    with vm:
        rng = random.Random(3)
        b.start(EN | UPE | MPE | BAM | LPE)
        a.start()
        for i in range(400):
            for nic in (a, b):
                reg = rng.choice((RDBAL, RDBAL + 4, RDLEN, RDH, RDT, TDBAL, TDBAL + 4, TDLEN, TDH, TDT,
                                  CTRL, RCTL, TCTL, RXCSUM, RDTR, TIDV, ITR))
                value = rng.choice((0, 0xffff, 0xffffffff, rng.getrandbits(32), 0x100000, 0x80, 7))
                nic.write(reg, value & ~CTRL_RST if reg == CTRL else value)
            vm.write(a.tx, rng.randbytes(256))
            if i % 50 == 49:
                vm.clock_step(1_000_000)
                a.start()
                b.start(EN | UPE | MPE | BAM)
        for nic in (a, b):
            nic.write(CTRL, CTRL_RST)
            nic.start()
        a.send(frame())
        check("alive", frame(), b.got()[0])


main()
