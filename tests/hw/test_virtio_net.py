# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-net: two cards on a hub, each seeing what the other sends."""

import os
import random
import struct
import sys
import tempfile
import time

from qtest import QTest, check, main
from virtio import EVENT_IDX, INDIRECT, PACKED, Virtio

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import hmp  # pylint: disable=wrong-import-position

CSUM, GUEST_CSUM, CTRL_OFFLOADS, MTU, MAC, GUEST_TSO4, HOST_TSO4 = 0, 1, 2, 3, 5, 7, 11
MRG, STATUS, CTRL_VQ, CTRL_RX, CTRL_VLAN, ANNOUNCE, MQ, CTRL_MAC = 15, 16, 17, 18, 19, 21, 22, 23
RX, TX, CTRL = 0, 1, 2
MAC_A, MAC_B = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
BROADCAST, GROUP = b"\xff" * 6, bytes.fromhex("01005e010203")
CONTROL = (CTRL_VQ, CTRL_RX, CTRL_VLAN, CTRL_MAC, CTRL_OFFLOADS)


def pair(bits=(), legacy=False, options="", nr=3, extra=()):
    vm = QTest("-M", "pc", "-m", "32", "-netdev", "hubport,id=h0,hubid=0", "-netdev",
               "hubport,id=h1,hubid=0", "-device",
               "virtio-net-pci,netdev=h0,addr=4,mac=52:54:00:00:00:01" + options, "-device",
               "virtio-net-pci,netdev=h1,addr=5,mac=52:54:00:00:00:02" + options, *extra)
    a = Virtio(vm, 4 << 3, legacy)
    b = Virtio(vm, 5 << 3, legacy, bar_base=0xe1000000, ports=0xc200)
    b.next_memory = 0x1000000
    for dev in (a, b):
        dev.start(set(bits) | ({CTRL_VQ} if nr > 2 else set()), nr)
        dev.header = 12 if not legacy or MRG in bits else 10
    return vm, a, b


def frame(dest=MAC_B, size=100, kind=b"\x88\xb5"):
    return dest + MAC_A + kind + random.Random(size).randbytes(size - 14)


def send(dev, data, header=b"", queue=TX):
    dev.queue[queue].request([header.ljust(dev.header, b"\0") + data], [])


def post(dev, *sizes):
    for size in sizes:
        dev.queue[RX].add([], [size])
    dev.kick(RX)


def receive(dev):
    """(header, frame) of the next one, however many buffers it has."""
    (_, length), parts = dev.queue[RX].wait()
    data = b"".join(parts)[:length]
    header, data = data[:dev.header], data[dev.header:]
    for _ in range(struct.unpack("<H", header[10:12])[0] - 1 if dev.header == 12 else 0):
        (_, length), parts = dev.queue[RX].wait()
        data += b"".join(parts)[:length]
    return header, data


def nothing(dev):
    time.sleep(.02)
    return dev.queue[RX].take() is None


def control(dev, group, command, data, queue=CTRL):
    length, answer = dev.queue[queue].request([bytes([group, command]), data], [1])
    check("one byte", 1, length)
    return answer[0][0]


def test_config():
    vm, a, _ = pair((MAC, STATUS), options=",host_mtu=1400")
    with vm:
        check("mac", MAC_A, bytes(a.config(i, 1) for i in range(6)))
        check("link up", 1, a.config(6, 2))
        check("mtu", 1400, a.config(10, 2))
        offered = a.features()
        for bit in (CSUM, GUEST_CSUM, MAC, GUEST_TSO4, HOST_TSO4, MRG, STATUS, CTRL_RX, ANNOUNCE, MTU):
            check("feature %d" % bit, 1, offered >> bit & 1)
        check("one pair: no MQ", 0, offered >> MQ & 1)
    vm, a, _ = pair(options=",ctrl_vq=off", nr=2)
    with vm:
        check("nothing of the control queue", 0, a.features() >> CTRL_VQ & 0x7f & ~(1 << 4))


def test_frames():
    for name, bits, legacy, options in (("modern", (), False, ""), ("merged", (MRG,), False, ""),
                                        ("legacy", (), True, ""), ("legacy, merged", (MRG,), True, ""),
                                        ("packed", (PACKED, INDIRECT), False, ",packed=on")):
        vm, a, b = pair(bits, legacy, options)
        with vm:
            for size in (60, 1514, 20):
                post(b, 2000)
                send(a, frame(size=size))
                header, got = receive(b)
                check("%s: %d bytes" % (name, size), frame(size=size), got)
                check("%s: header" % name, b"\0" * 10, header[:10])
            post(a, 2000)
            send(b, frame(MAC_A))
            check(name + ": back", frame(MAC_A), receive(a)[1])
            for dev in (a, b):
                dev.check_alive()


def test_merged_buffers():
    vm, a, b = pair((MRG,))
    with vm:
        post(b, 100, 100, 100)
        send(a, frame(size=250))
        header, got = receive(b)
        check("three buffers", 3, struct.unpack("<H", header[10:])[0])
        check("the frame", frame(size=250), got)
        send(a, frame(size=300))
        post(b, 100, 100)
        check("not enough yet", True, nothing(b))
        post(b, 200)
        check("now", frame(size=300), receive(b)[1])


def test_asks_for_more():
    """A frame waits for more buffers than there are: the driver has to ring with the next one."""
    for packed in (False, True):
        vm, a, b = pair((MRG, EVENT_IDX) + ((PACKED,) if packed else ()),
                        options=",packed=on" if packed else "")
        with vm:
            rx = b.queue[RX]
            post(b, 100, 100)
            send(a, frame(size=300))
            check("not enough", True, nothing(b))
            if packed:
                check("rings at that place", (2, rx.at, rx.wrap), rx.device_event())
            else:
                check("rings at that index", rx.avail, rx.avail_event())
            post(b, 200)
            check("now", frame(size=300), receive(b)[1])


def test_back_pressure():
    vm, a, b = pair()
    with vm:
        for size in range(100, 110):
            a.queue[TX].add([b"\0" * 12 + frame(size=size)], [])
        a.kick(TX)
        post(b, *[2000] * 10)
        check("all, in order", [frame(size=s) for s in range(100, 110)],
              [receive(b)[1] for _ in range(10)])
        for _ in range(10):
            a.queue[TX].wait()


def test_too_long_in_pieces():
    """A frame that is too long is lost, not cut, however many pieces it has."""
    vm, a, b = pair(options=",tx_queue_size=1024")
    with vm:
        post(b, 70000)
        a.queue[TX].request([b"\0" * 12, frame(size=300)] + [bytes(300)] * 300, [])
        check("lost", True, nothing(b))
        send(a, frame())
        check("the next one", frame(), receive(b)[1])


def tcp_frame(size):
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + size, 1, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    ip = ip[:10] + struct.pack(">H", csum(ip)) + ip[12:]
    begun = ~csum(ip[12:] + struct.pack(">II", 20 + size, 6)) & 0xffff
    tcp = struct.pack(">HHIIBBHHH", 9, 80, 1, 2, 5 << 4, 0x10, 99, begun, 0)
    return MAC_B + MAC_A + b"\x08\0" + ip + tcp + random.Random(size).randbytes(size)


def csum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def test_offloads():
    want = (CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, MRG, *CONTROL)
    vm, a, b = pair(want)
    with vm:
        f = tcp_frame(4000)
        header = struct.pack("<BBHHHH", 1, 1, 54, 1460, 34, 16)
        post(b, *[2000] * 8)
        send(a, f, header)
        got = receive(b)
        check("large and unfinished", (header, f), (got[0][:10], got[1]))
        check("guest offloads off", 0, control(b, 5, 0, struct.pack("<Q", 0)))
        send(a, f, header)
        got = [receive(b)[1] for _ in range(3)]
        check("segments", f[54:], b"".join(g[54:] for g in got))
        for g in got:
            check("IP sum", 0, csum(g[14:34]))
            check("TCP sum", 0, csum(g[26:34] + struct.pack(">II", len(g) - 34, 6) + g[34:]))
        check("only what was agreed on", 1, control(b, 5, 0, struct.pack("<Q", 1 << 10)))


def test_control():
    vm, a, b = pair(CONTROL)
    with vm:
        def seen(f):
            post(b, 2000)
            send(a, f)
            quiet = nothing(b)
            if quiet:  # takes the buffer back
                check("promiscuous", 0, control(b, 0, 0, b"\1"))
                send(a, frame(MAC_B, 61))
                receive(b)
                check("not any more", 0, control(b, 0, 0, b"\0"))
                return False
            b.queue[RX].used = b.queue[RX].used - 1 & 0xffff
            return receive(b)[1] == f

        other = bytes.fromhex("525400000009")
        check("not promiscuous any more", 0, control(b, 0, 0, b"\0"))
        check("its own", True, seen(frame(MAC_B)))
        check("another's", False, seen(frame(other)))
        check("broadcast", True, seen(frame(BROADCAST)))
        check("multicast", False, seen(frame(GROUP)))
        table = struct.pack("<I6sI6s", 1, other, 1, GROUP)
        check("table", 0, control(b, 1, 0, table))
        check("another's, in the table", True, seen(frame(other)))
        check("multicast, in the table", True, seen(frame(GROUP)))
        check("a table that ends early", 1, control(b, 1, 0, table[:-1]))
        check("counts that lie", 1, control(b, 1, 0, struct.pack("<II", 0xffffffff, 0)))
        check("VLAN, none", False, seen(frame(kind=b"\x81\0\0\5")))
        check("VLAN added", 0, control(b, 2, 0, b"\5\0"))
        check("VLAN", True, seen(frame(kind=b"\x81\0\0\5")))
        check("VLAN 4096", 1, control(b, 2, 0, b"\0\x10"))
        check("new address", 0, control(b, 1, 1, other))
        check("its new own", True, seen(frame(other)))
        check("no such class", 1, control(b, 77, 0, b"\0"))
        check("MQ without it", 1, control(b, 4, 0, b"\1\0"))
        b.check_alive()


def test_queues():
    vm, a, b = pair((MQ,), options=",queues=4", nr=9)
    with vm:
        check("max_virtqueue_pairs", 4, a.config(8, 2))
        check("pairs", 0, control(a, 4, 0, b"\4\0", 8))
        check("too many", 1, control(a, 4, 0, b"\5\0", 8))
        check("none", 1, control(a, 4, 0, b"\0\0", 8))
        post(b, *[2000] * 4)
        for pair_nr in range(4):
            send(a, frame(size=100 + pair_nr), queue=2 * pair_nr + TX)
            check("queue %d" % pair_nr, frame(size=100 + pair_nr), receive(b)[1])


def test_link():
    with tempfile.TemporaryDirectory(prefix="vireo-vnet-") as d:
        vm, a, b = pair((STATUS, ANNOUNCE), extra=("-monitor", "unix:%s/mon,server=on,wait=off" % d))
        with vm:
            mon = hmp.Hmp(d + "/mon")
            b.isr()
            mon("set_link h1 off")
            check("status", 0, b.config(6, 2))
            check("configuration interrupt", 2, b.isr() & 2)
            post(b, 2000)
            send(a, frame())
            check("no cable", True, nothing(b))
            mon("set_link h1 on")
            check("status: up, announce", 3, b.config(6, 2))
            check("ACK", 0, control(b, 3, 0, b"\0"))
            check("status", 1, b.config(6, 2))
            send(a, frame())
            check("plugged", frame(), receive(b)[1])
            mon.close()


def test_announce_self():
    """RARP requests on the cable, and the driver is asked to do more. A card without a driver that
    knows how gets only the former."""
    rarp = BROADCAST + MAC_A + bytes.fromhex("80350001080006040003") + MAC_A + bytes(4) + MAC_A
    with tempfile.TemporaryDirectory(prefix="vireo-vnet-") as d:
        vm, a, b = pair((STATUS, ANNOUNCE), extra=("-monitor", "unix:%s/mon,server=on,wait=off" % d))
        with vm:
            mon = hmp.Hmp(d + "/mon")
            post(b, *[2000] * 5)
            a.isr()
            check("no such card", True, "no network card 'x'" in mon("announce_self x"))
            check("nothing yet", 1, a.config(6, 2))
            check("announce_self", "", mon("announce_self virtio-net-pci.0"))
            check("status: up, announce", 3, a.config(6, 2))
            check("configuration interrupt", 2, a.isr() & 2)
            check("the other card was not meant", 1, b.config(6, 2))
            check("ACK", 0, control(a, 3, 0, b"\0"))
            for i in range(5):
                check("RARP %d" % i, rarp.ljust(60, b"\0"), receive(b)[1])
            # One of each id; the second begins anew. Both cards, so that b hears a again.
            post(b, *[2000] * 11)
            for name in ("", "", " virtio-net-pci.1,virtio-net-pci.0 other"):
                check("announce_self" + name, "", mon("announce_self" + name))
            for i in range(11):
                check("RARP again %d" % i, rarp.ljust(60, b"\0"), receive(b)[1])
            check("the other card now", 3, b.config(6, 2))
            mon("set_link h1 off")
            check("no cable, no announcement", "", mon("announce_self"))
            check("status", 0, b.config(6, 2))
            mon.close()


def test_malformed():
    vm, a, b = pair()
    with vm:
        a.queue[TX].add([b"\0" * 5], [])
        a.kick(TX)
        time.sleep(.02)
        a.check_broken("a header that is cut off")
        post(b, 30)
        a.start({CTRL_VQ}, 3)
        send(a, frame())  # larger than the buffer: lost
        post(b, 2000)
        send(a, frame(size=15))
        check("the short one fits", frame(size=15), receive(b)[1])
        rng = random.Random(5)
        for _ in range(100):
            post(b, 2000, 2000)
            send(a, rng.randbytes(rng.randrange(14, 300)), rng.randbytes(10))
        b.check_alive()
        a.check_alive()


main()
