#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor of a running process: on sockets as scripts use it, on a terminal as people do,
with clients that come, go, do not read, or send nonsense."""

import os
import pty
import re
import select
import socket
import subprocess
import sys
import tempfile
import termios
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "hw")]
from hmp import connect  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, QTest, check, main  # pylint: disable=wrong-import-position

TIMEOUT = float(os.environ.get("QTEST_TIMEOUT", "20"))
PROMPT = re.compile(rb"\(\w+\) $")
DIR = tempfile.TemporaryDirectory(prefix="vireo-mon-")


class Hmp:
    """A client of a monitor socket, as test harnesses write them."""

    def __init__(self, path):
        self.sock = connect(path)

    def prompt(self):
        text = b""
        while not PROMPT.search(text):
            data = self.sock.recv(1 << 16)
            if not data:
                raise Failure("the monitor closed after %r" % text[-200:])
            text += data
        return text.decode()

    def __call__(self, line):
        """What the command printed, without the echo and the prompt."""
        self.sock.sendall(line.encode() + b"\n")
        text = self.prompt()
        head = line + "\r\n"
        if not text.startswith(head):
            raise Failure("echo: want %r, got %r" % (head, text[:200]))
        return text[len(head):text.rindex("(vireo) ")]

    def close(self):
        self.sock.close()


def wants(text, part):
    if part not in text:
        raise Failure("want ...%s..., got %r" % (part, text))


def with_monitor(*args, name="mon"):
    path = os.path.join(DIR.name, name)
    return path, QTest("-monitor", "unix:%s,server,nowait" % path, *args)


def test_commands():
    path, vm = with_monitor("-M", "pc", "-name", "guest", "-S")
    with vm:
        hmp = Hmp(path)
        wants(hmp.prompt(), "monitor - type 'help' for more information\r\n")
        check("status", "VM status: paused (prelaunch)\r\n", hmp("info status"))
        check("cont", "", hmp("c"))
        check("status", "VM status: running\r\n", hmp("info status"))
        check("stop", "", hmp("stop"))
        check("status", "VM status: paused\r\n", hmp("info status"))
        check("kvm", "kvm support: disabled\r\n", hmp("info kvm"))
        check("name", "guest\r\n", hmp("info name"))
        wants(hmp("info cpus"), "* CPU #0: thread_id=")
        wants(hmp("info registers"), "EIP=0000fff0 EFL=00000002")
        wants(hmp("x/1i $pc"), "0xfffffff0:")
        wants(hmp("info qtree"), "isa-i8259")
        wants(hmp("info qom-tree"), "/machine")
        wants(hmp("info pic"), "pic0:")
        wants(hmp("info lapic"), "LVT0")
        wants(hmp("info mtree -f"), "ram-below-4g")
        wants(hmp("info pci"), "8086:1237")
        wants(hmp("info chardev"), "monitor: filename=unix:")
        wants(hmp("info mainloop"), "rounds")
        wants(hmp("info mem"), "PG disabled")
        wants(hmp("info version"), "Vireo")
        wants(hmp("inof status"), "did you mean 'info'?")
        hmp.close()


def test_memory():
    path, vm = with_monitor("-M", "pc")
    out = os.path.join(DIR.name, "memory file")
    with vm:
        hmp = Hmp(path)
        hmp.prompt()
        data = bytes(range(256)) * 16
        vm.write(0x10000, data)
        check("xp", "0000000000010000: 0x00 0x01 0x02 0x03\r\n", hmp("xp /4xb 0x10000"))
        check("pmemsave", "", hmp('pmemsave 0x%x %d "%s"' % (0x10000, len(data), out)))
        with open(out, "rb") as file:
            check("file", data, file.read())
        check("o", "", hmp("o/b 0x70 0x0e"))
        check("o", "", hmp("o/b 0x71 0x5a"))
        check("i", "portb[0x0071] = 0x5a\r\n", hmp("i/b 0x71"))
        hmp.close()


def test_clients_come_and_go():
    path, vm = with_monitor("-M", "pc")
    with vm:
        for i in range(20):
            hmp = Hmp(path)
            wants(hmp.prompt(), "type 'help'")
            if i % 2:
                hmp.sock.sendall(b"info sta")  # leaves in the middle of a line
            else:
                check("status", "VM status: running\r\n", hmp("info status"))
            hmp.close()
        first, second = Hmp(path), Hmp(path)
        first.prompt()
        first.close()
        wants(second.prompt(), "type 'help'")  # it waited its turn
        second.close()


def test_rude_clients():
    path, vm = with_monitor("-M", "pc")
    with vm:
        hmp = Hmp(path)
        hmp.prompt()
        # Asks without ever reading: held, and the machine goes on.
        hmp.sock.settimeout(0.5)
        try:
            for _ in range(100000):
                hmp.sock.sendall(b"info mtree\n")
        except socket.timeout:
            pass
        vm.outb(0x80, 0x55)
        with open("/proc/%d/statm" % vm.proc.pid, encoding="ascii") as statm:
            resident = int(statm.read().split()[1]) * 4096
        if resident > 512 << 20:
            raise Failure("%d MiB of memory for a client that does not read" % (resident >> 20))
        hmp.close()
        hmp = Hmp(path)
        hmp.prompt()
        hmp.sock.sendall(b"x" * (1 << 20) + b"\n")
        text = b""
        while b"unknown command" not in text:
            text = text[-100:] + hmp.sock.recv(1 << 16)
        hmp.close()
        hmp = Hmp(path)
        hmp.prompt()
        hmp.sock.sendall(bytes(range(256)) * 64)
        hmp.close()
        hmp = Hmp(path)
        hmp.prompt()
        check("status", "VM status: running\r\n", hmp("info status"))
        hmp.close()


def test_quit():
    path, vm = with_monitor("-M", "pc")
    with vm:
        hmp = Hmp(path)
        hmp.prompt()
        hmp.sock.sendall(b"quit\n")
        check("exit status", 0, vm.wait_exit())
        check("socket file", False, os.path.exists(path))


def test_script_on_stdin():
    cmd = [VIREO, "-M", "pc", "-accel", "test", "-display", "none", "-nodefaults", "-monitor",
           "stdio"]
    run = subprocess.run(cmd, input=b"info kvm\nquit\n", stdout=subprocess.PIPE, check=False,
                         timeout=TIMEOUT)
    check("exit status", 0, run.returncode)
    wants(run.stdout.decode(), "\r\nkvm support: disabled\r\n")


# ---- terminals ----


class Terminal:
    """A process whose terminal is a pty."""

    def __init__(self, *args):
        self.master, slave = pty.openpty()
        self.tty = os.ttyname(slave)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.proc = subprocess.Popen([VIREO, *args], stdin=slave, stdout=slave, stderr=slave,
                                     start_new_session=True)
        self.text = b""
        end = time.monotonic() + TIMEOUT
        while termios.tcgetattr(slave)[3] & termios.ECHO and time.monotonic() < end:
            time.sleep(0.02)

    def wait(self, part):
        """Reads until part has come since the last wait."""
        end = time.monotonic() + TIMEOUT
        while part not in self.text:
            if time.monotonic() > end:
                raise Failure("want ...%r..., got %r" % (part, self.text))
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 1 << 16)
        self.text = self.text[self.text.index(part) + len(part):]

    def send(self, keys):
        os.write(self.master, keys)

    def end(self):
        try:
            status = self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            raise Failure("the process did not end") from None
        after = termios.tcgetattr(self.slave)
        os.close(self.master)
        os.close(self.slave)
        check("exit status", 0, status)
        check("terminal settings", self.before, after)


def test_nographic():
    term = Terminal("-M", "pc", "-accel", "test", "-nographic")
    term.send(b"\x01c")
    term.wait(b"(vireo) ")
    term.send(b"info chardev\r")
    term.wait(b"serial0: filename=mux")
    term.wait(b"(vireo) ")
    term.send(b"info stx\x7fa\t\r")  # edited and completed
    term.wait(b"VM status: running")
    term.wait(b"(vireo) ")
    term.send(b"\x1b[A\r")  # again, from history
    term.wait(b"VM status: running")
    term.send(b"\x01h")
    term.wait(b"C-a x")
    term.send(b"\x01x")
    term.wait(b"vireo: Terminated")
    term.end()


def test_serial_on_terminal():
    term = Terminal("-M", "pc", "-accel", "test", "-display", "none", "-nodefaults", "-serial",
                    "mon:stdio", "-qtest", "unix:%s/q,server,nowait" % DIR.name,
                    "-qtest-log", "none")
    end = time.monotonic() + TIMEOUT
    while not os.path.exists(DIR.name + "/q") and time.monotonic() < end:
        time.sleep(0.02)
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(DIR.name + "/q")
    sock.settimeout(TIMEOUT)
    reader = sock.makefile("rb")

    def ask(line):
        sock.sendall(line.encode() + b"\n")
        return reader.readline().decode().split()

    for byte in b"login: ":
        check("outb", ["OK"], ask("outb 0x3f8 %d" % byte))
    term.wait(b"login: ")
    term.send(b"\x03r\x01\x01")  # Ctrl-C is the guest's, Ctrl-A too if typed twice
    got = b""
    while len(got) < 3 and time.monotonic() < end:
        if int(ask("inb 0x3fd")[1], 0) & 1:
            got += bytes([int(ask("inb 0x3f8")[1], 0)])
    check("received", b"\x03r\x01", got)
    term.send(b"\x01x")
    term.end()


def test_serial_pty():
    out = os.path.join(DIR.name, "pty.out")
    with open(out, "wb") as file:
        path = os.path.join(DIR.name, "mon-pty")
        proc = subprocess.Popen([VIREO, "-M", "pc", "-accel", "test", "-display", "none",
                                 "-nodefaults", "-serial", "pty", "-monitor",
                                 "unix:%s,server,nowait" % path], stdout=file)
    hmp = Hmp(path)
    hmp.prompt()
    with open(out, encoding="ascii") as file:
        match = re.fullmatch(r"char device redirected to (/dev/pts/\d+) \(label serial0\)\n",
                             file.read())
    if not match:
        raise Failure("no line that names the pty")
    wants(hmp("info chardev"), "serial0: filename=pty:" + match.group(1))
    fd = os.open(match.group(1), os.O_RDWR | os.O_NOCTTY)
    for byte in b"hi\n":
        hmp("o/b 0x3f8 %d" % byte)
    got = b""
    while len(got) < 3 and select.select([fd], [], [], TIMEOUT)[0]:
        got += os.read(fd, 100)
    check("from the guest", b"hi\n", got)
    os.write(fd, b"k")
    end = time.monotonic() + TIMEOUT
    while hmp("i/b 0x3fd") != "portb[0x03fd] = 0x61\r\n":
        if time.monotonic() > end:
            raise Failure("the key did not arrive: " + hmp("i/b 0x3fd"))
    check("to the guest", "portb[0x03f8] = 0x6b\r\n", hmp("i/b 0x3f8"))
    os.close(fd)
    hmp.sock.sendall(b"q\n")
    check("exit status", 0, proc.wait(TIMEOUT))


main()
