# SPDX-License-Identifier: GPL-2.0-or-later
"""isa-serial and isa-parallel, register by register."""

import os
import socket
import time

from qtest import TIMEOUT, QTest, check, main

COM1, IRQ = 0x3f8, 4
DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = (COM1 + n for n in (0, 1, 2, 2, 3, 4, 5, 6, 7))
NONE, THRI, RDI, RLSI, TIMEOUT, MODEM = 0x01, 0x02, 0x04, 0x06, 0x0c, 0x00
FIFOS = 0xc0
LPT1, LPT_IRQ = 0x378, 7


class Line:
    """A VM whose COM1 is a socket this test holds the other end of."""

    def __init__(self):
        self.vm = QTest("-M", "pc", "-chardev", "null,id=n", "-device", "isa-serial,chardev=n,"
                        "index=1")
        path = self.vm.tmp("com1")
        self.vm.close()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        self.dir = path
        self.vm = QTest("-M", "pc", "-chardev", "socket,id=c,path=" + path,
                        "-device", "isa-serial,chardev=c")
        self.peer = listener.accept()[0]
        self.peer.settimeout(5)
        listener.close()
        self.vm.irq_intercept_in("ioapic")

    def __enter__(self):
        return self.vm, self

    def __exit__(self, *exc):
        self.peer.close()
        self.vm.close(check_status=exc[0] is None)
        os.unlink(self.dir)
        os.rmdir(os.path.dirname(self.dir))

    def send(self, data, until=1):
        """Sends, and waits until LSR has a byte (or count bytes have had time)."""
        self.peer.sendall(data)
        end = time.monotonic() + TIMEOUT
        while until and not self.vm.inb(LSR) & 1 and time.monotonic() < end:
            time.sleep(0.002)
        if len(data) > 1:
            time.sleep(0.05)


def test_reset():
    with Line() as (vm, _):
        for reg, want in ((IER, 0), (IIR, NONE), (LCR, 0), (MCR, 0), (LSR, 0x60), (MSR, 0xb0),
                          (SCR, 0)):
            check("register %d" % (reg - COM1), want, vm.inb(reg))


def test_masks():
    with Line() as (vm, _):
        for reg, mask in ((IER, 0x0f), (LCR, 0xff), (SCR, 0xff)):
            vm.outb(reg, 0xff)
            check("register %d" % (reg - COM1), mask, vm.inb(reg))
            vm.outb(reg, 0)
        vm.outb(MCR, 0xff)
        check("MCR", 0x1f, vm.inb(MCR))
        vm.outb(LCR, 0x80)
        vm.outb(DATA, 0x34)
        vm.outb(IER, 0x12)
        check("divisor", (0x34, 0x12), (vm.inb(DATA), vm.inb(IER)))
        vm.outb(LCR, 0x03)
        check("IER is back", 0, vm.inb(IER))
        vm.outb(FCR, 0x01)
        check("16550A", FIFOS | NONE, vm.inb(IIR))
        vm.outb(FCR, 0xc0)
        check("no FIFO without its enable", NONE, vm.inb(IIR))


def test_transmit():
    with Line() as (vm, line):
        for c in b"Hello":
            vm.outb(DATA, c)
        check("bytes", b"Hello", line.peer.recv(5, socket.MSG_WAITALL))
        check("empty again", 0x60, vm.inb(LSR))


def test_thre_interrupt():
    with Line() as (vm, _):
        vm.outb(IER, 2)
        check("enabling it with an empty THR", True, vm.irq(IRQ))
        check("IIR", THRI, vm.inb(IIR))
        check("reading IIR clears it", NONE, vm.inb(IIR))
        check("line", False, vm.irq(IRQ))
        vm.irq_log.clear()
        vm.outb(DATA, 65)
        check("sent: again", [(IRQ, True)], vm.irq_log)
        vm.irq_log.clear()
        vm.outb(DATA, 66)
        check("a new edge each time", [(IRQ, False), (IRQ, True)], vm.irq_log)
        vm.outb(IER, 0)
        check("disabled", False, vm.irq(IRQ))


def test_receive():
    with Line() as (vm, line):
        vm.outb(IER, 1)
        line.send(b"x")
        check("line", True, vm.irq(IRQ))
        check("IIR", RDI, vm.inb(IIR))
        check("byte", ord("x"), vm.inb(DATA))
        check("LSR", 0x60, vm.inb(LSR))
        check("line", False, vm.irq(IRQ))
        line.send(b"abc")
        got = []
        for _ in range(3):
            while not vm.inb(LSR) & 1:
                time.sleep(0.002)
            got.append(vm.inb(DATA))
        check("nothing lost without a FIFO", list(b"abc"), got)


def test_fifo_trigger_and_timeout():
    with Line() as (vm, line):
        vm.outb(FCR, 0x41)  # trigger at 4
        vm.outb(IER, 1)
        line.send(b"123")
        check("below the trigger", False, vm.irq(IRQ))
        vm.clock_step(10_000_000)
        check("four characters later", True, vm.irq(IRQ))
        check("IIR: time-out", FIFOS | TIMEOUT, vm.inb(IIR))
        vm.inb(DATA)
        check("reading ends it", False, vm.irq(IRQ))
        line.send(b"45")
        check("at the trigger", True, vm.irq(IRQ))
        check("IIR: data", FIFOS | RDI, vm.inb(IIR))
        check("rest", list(b"2345"), [vm.inb(DATA) for _ in range(4)])
        check("empty", 0, vm.inb(LSR) & 1)
        line.send(b"z" * 40)
        got = 0
        for _ in range(40):
            end = time.monotonic() + TIMEOUT
            while not vm.inb(LSR) & 1 and time.monotonic() < end:
                time.sleep(0.002)
            got += vm.inb(DATA) == ord("z")
        check("more than the FIFO holds waits outside", 40, got)
        line.send(b"q")
        vm.outb(FCR, 0x43)
        check("FIFO cleared", 0, vm.inb(LSR) & 1)


def test_loopback():
    with Line() as (vm, _):
        vm.outb(MCR, 0x10)
        check("inputs off", 0x00, vm.inb(MSR) & 0xf0)
        for out, into in ((0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80)):
            vm.outb(MCR, 0x10 | out)
            check("MCR 0x%x" % out, into, vm.inb(MSR) & 0xf0)
        vm.outb(MCR, 0x10)
        vm.inb(MSR)
        vm.outb(MCR, 0x12)
        check("CTS changed", 0x11, vm.inb(MSR))
        check("reading clears", 0x10, vm.inb(MSR))
        vm.outb(MCR, 0x14)
        check("RI began: no TERI", 0x41, vm.inb(MSR))
        vm.outb(MCR, 0x10)
        check("RI ended: TERI", 0x04, vm.inb(MSR))
        vm.outb(DATA, 0x5a)
        check("LSR", 0x61, vm.inb(LSR))
        check("byte came back", 0x5a, vm.inb(DATA))
        vm.outb(DATA, 1)
        vm.outb(DATA, 2)
        check("overrun", 0x63, vm.inb(LSR))
        check("the last one stays", 2, vm.inb(DATA))


def test_priorities():
    with Line() as (vm, _):
        vm.outb(MCR, 0x10)
        vm.inb(MSR)
        vm.outb(MCR, 0x12)
        vm.outb(DATA, 1)
        vm.outb(DATA, 2)
        vm.outb(IER, 0x0f)
        check("1: line status", RLSI, vm.inb(IIR))
        vm.inb(LSR)
        check("2: data", RDI, vm.inb(IIR))
        vm.inb(DATA)
        check("3: transmitter", THRI, vm.inb(IIR))
        check("4: modem", MODEM, vm.inb(IIR))
        vm.inb(MSR)
        check("none", NONE, vm.inb(IIR))


def test_ports():
    with QTest("-M", "pc", *sum((["-chardev", "null,id=c%d" % n, "-device",
                                  "isa-serial,chardev=c%d" % n] for n in range(4)), [])) as vm:
        for port in (0x3f8, 0x2f8, 0x3e8, 0x2e8):
            vm.outb(port + 7, port >> 4 & 0xff)
        for port in (0x3f8, 0x2f8, 0x3e8, 0x2e8):
            check("scratch of 0x%x" % port, port >> 4 & 0xff, vm.inb(port + 7))


def test_parallel():
    with QTest("-M", "pc") as probe:
        path = probe.tmp("lpt")
        with QTest("-M", "pc", "-chardev", "file,id=p,path=" + path,
                   "-device", "isa-parallel,chardev=p") as vm:
            vm.irq_intercept_in("ioapic")
            check("status", 0xdf, vm.inb(LPT1 + 1))
            check("control", 0xcc, vm.inb(LPT1 + 2))
            for c in b"Page\f":
                vm.outb(LPT1, c)
                check("data reads back", c, vm.inb(LPT1))
                vm.outb(LPT1 + 2, 0x1d)  # strobe, interrupt on acknowledge
                vm.outb(LPT1 + 2, 0x1c)
            # One edge each; the line stays up behind it, or an 8259 would lose the request.
            edges = [(LPT_IRQ, False), (LPT_IRQ, True)] * 5
            check("acknowledge", edges[1:], vm.irq_log)
            vm.outb(LPT1 + 2, 0x0c)
            check("interrupt off", edges[:1], vm.irq_log[9:])
            vm.outb(LPT1, 0x21)
            vm.outb(LPT1 + 2, 0x09)  # strobe while the printer is in reset
            with open(path, "rb") as f:
                check("printed", b"Page\f", f.read())


main()
