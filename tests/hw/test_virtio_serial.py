# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-serial: announcing of ports, data both ways, peers that come, go and stall."""

import os
import socket
import struct
import subprocess
import tempfile
import time

from qtest import TIMEOUT, VIREO, QTest, Failure, check, main
from virtio import EVENT_IDX, PACKED, Virtio

SLOT = 4 << 3
MULTIPORT, EMERG_WRITE = 1, 2
READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME = range(8)
CONTROL_RX, CONTROL_TX = 2, 3


class Serial:
    """A pc with a console at port 0 and a serial port 'org.test.0' at port 1, peers connected."""

    def __init__(self, features=(MULTIPORT, EVENT_IDX), options=(), connect=(0, 1), nr=6, legacy=False):
        self.dir = tempfile.mkdtemp(prefix="vireo-vser-")
        self.paths = [os.path.join(self.dir, "c%d" % n) for n in range(2)]
        args = []
        for n, path in enumerate(self.paths):
            args += ["-chardev", "socket,id=c%d,path=%s,server=on,wait=off" % (n, path)]
        self.vm = QTest("-M", "pc", "-m", "16", *args, "-device",
                        ",".join(("virtio-serial-pci,addr=4,id=s",) + tuple(options)),
                        "-device", "virtconsole,chardev=c0", "-device",
                        "virtserialport,bus=s.0,chardev=c1,name=org.test.0")
        self.vm.inb(0)  # its sockets exist when it answers
        self.peer = {}
        for n in connect:
            self.connect(n)
        self.dev = Virtio(self.vm, SLOT, legacy=legacy)
        self.dev.start(features, nr=nr)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for s in self.peer.values():
            s.close()
        self.vm.close(check_status=exc[0] is None)
        for path in self.paths:
            if os.path.exists(path):
                os.unlink(path)
        os.rmdir(self.dir)

    def connect(self, n):
        s = self.peer[n] = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(self.paths[n])

    def say(self, port, event, value=1):
        self.dev.queue[CONTROL_TX].request([struct.pack("<IHH", port, event, value)], [])

    def listen(self, buffers=1):
        for _ in range(buffers):
            self.dev.queue[CONTROL_RX].add([], [64])
        self.dev.kick(CONTROL_RX)

    def heard(self):
        """The next message: (port, event, value, text)."""
        (_, length), data = self.dev.queue[CONTROL_RX].wait()
        return struct.unpack("<IHH", data[0][:8]) + (data[0][8:length],)

    def open(self):
        """The driver's part up to open ports."""
        self.listen(10)
        self.say(0, READY)
        check("ports", [(0, ADD), (1, ADD)], [self.heard()[:2] for _ in range(2)])
        self.say(0, PORT_READY)
        check("console", [(0, CONSOLE, 1, b""), (0, OPEN, 1, b"")], [self.heard() for _ in range(2)])
        self.say(1, PORT_READY)
        check("name", (1, NAME, 1, b"org.test.0"), self.heard())
        connected = self.heard()
        check("open", (1, OPEN), connected[:2])
        for port in (0, 1):
            self.say(port, OPEN)
        return connected[2]

    def received(self, queue):
        (_, length), data = self.dev.queue[queue].wait()
        return b"".join(data)[:length]


def test_identity():
    with Serial() as s:
        check("vendor and device", 0x10031af4, s.vm.pci_read(SLOT, 0))
        check("class", 0x0780, s.vm.pci_read(SLOT, 0x0a, 2))
        check("max_nr_ports", 31, s.dev.config(4, 4))
        check("queues", 64, s.dev.common(18, 2))
    with Serial(options=("max_ports=2",)) as s:
        check("queues", 6, s.dev.common(18, 2))


def test_control():
    for features, options in (((MULTIPORT, EVENT_IDX), ()), ((MULTIPORT, PACKED), ("packed=on",))):
        with Serial(features, options) as s:
            check("connected", 1, s.open())
            s.dev.queue[4].add([], [16])  # while nothing can be received the socket is not looked at
            s.dev.kick(4)
            s.peer[1].close()
            check("the peer left", (1, OPEN, 0, b""), s.heard())
            s.connect(1)
            check("and is back", (1, OPEN, 1, b""), s.heard())
            s.say(77, OPEN)
            s.say(0, 99)
            s.dev.queue[CONTROL_TX].request([b"short"], [])
            s.dev.check_alive()


def test_messages_wait_for_buffers():
    with Serial() as s:
        s.say(0, READY)
        s.say(0, PORT_READY)
        s.say(1, PORT_READY)
        for want in ((0, ADD), (0, CONSOLE), (0, OPEN), (1, ADD), (1, NAME), (1, OPEN)):
            check("nothing unasked", None, s.dev.queue[CONTROL_RX].take())
            s.listen()
            check("message", want, s.heard()[:2])


def test_data():
    for features, options in (((MULTIPORT, EVENT_IDX), ()), ((MULTIPORT, PACKED), ("packed=on",))):
        with Serial(features, options) as s:
            s.open()
            for port, rx, tx in ((0, 0, 1), (1, 4, 5)):
                s.dev.queue[tx].request([b"hello ", b"host"], [])
                check("to the host", b"hello host", s.peer[port].recv(100))
                s.peer[port].sendall(b"hello guest, this is long")
                time.sleep(0.05)
                for _ in range(3):
                    s.dev.queue[rx].add([], [10, 2])
                s.dev.kick(rx)
                check("to the guest", b"hello guest, this is long", b"".join(s.received(rx) for _ in range(3)))
            s.say(1, OPEN, 0)
            s.dev.queue[4].add([], [16])
            s.dev.kick(4)
            s.peer[1].sendall(b"later")
            time.sleep(0.05)
            check("nothing for a closed port", None, s.dev.queue[4].take())
            s.say(1, OPEN)
            check("when it is open", b"later", s.received(4))


def test_one_port():
    """A driver of before MULTIPORT."""
    for legacy in (False, True):
        with Serial((), nr=2, legacy=legacy) as s:
            s.dev.queue[0].add([], [16])
            s.dev.kick(0)
            s.peer[0].sendall(b"in")
            check("to the guest", b"in", s.received(0))
            s.dev.queue[1].request([b"out"], [])
            check("to the host", b"out", s.peer[0].recv(100))


def test_nobody_listens():
    with Serial(connect=(), nr=8) as s:
        check("connected", 0, s.open())
        for queue in (1, 5, 7):  # the last is of a port that does not exist
            s.dev.queue[queue].request([b"lost"], [])


def test_slow_peer():
    with Serial() as s:
        s.open()
        sent = bytes(i * 7 & 0xff for i in range(60000))
        q = s.dev.queue[5]
        total = 0
        while total < 50:  # until the socket is full
            q.add([sent[:30000], sent[30000:]], [])
            s.dev.kick(5)
            total += 1
            time.sleep(0.005)
            if q.take() is None:
                break
        else:
            raise Failure("the socket took 3 MB")
        got = b""
        while len(got) < total * len(sent):
            got += s.peer[1].recv(1 << 16)
        check("all of it, in order", True, got == sent * total)
        end = time.monotonic() + TIMEOUT
        while q.take() is None:
            check("the last is given back", True, time.monotonic() < end)
        # A peer that leaves while much waits.
        for _ in range(20):
            q.add([sent], [])
        s.dev.kick(5)
        s.peer[1].close()
        for _ in range(20):
            q.wait()


def test_emergency_write():
    with Serial((MULTIPORT, EMERG_WRITE)) as s:
        for byte in b"oops":
            s.dev.set_config(8, byte, 4)
        check("before any queue", b"oops", s.peer[0].recv(100))


def test_reset():
    with Serial() as s:
        for _ in range(3):
            s.open()
            s.dev.queue[4].add([], [16])
            s.dev.kick(4)
            s.dev.start((MULTIPORT, EVENT_IDX), nr=6)
        s.open()
        s.dev.queue[5].request([b"x"], [])
        check("works", b"x", s.peer[1].recv(10))


def test_user_errors():
    for args, words in ((["virtserialport"], "add a controller first"),
                        (["virtio-serial", "virtserialport,chardev=x"], "no chardev 'x'"),
                        (["virtio-serial", "virtserialport,nr=0"], "virtconsole"),
                        (["virtio-serial", "virtserialport,nr=31"], "ports 0 to 30"),
                        (["virtio-serial", "virtserialport,nr=3", "virtserialport,nr=3"], "taken"),
                        (["virtio-serial,max_ports=40"], "max_ports")):
        command = [VIREO, "-M", "pc", "-nodefaults", "-display", "none", "-accel", "test"]
        for device in args:
            command += ["-device", device]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20, check=False)
        text = result.stderr.decode()
        check(str(args) + " " + text, (1, True, 1), (result.returncode, words in text, text.count("\n")))


main()
