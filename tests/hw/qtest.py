# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives the devices of a Vireo process through the qtest protocol, and prints TAP.

    from qtest import QTest, check, main

    def test_something():
        with QTest("-M", "pc") as vm:
            vm.outb(0x70, 0x0a)
            check("REG_A", 0x26, vm.inb(0x71))

    main()

main() runs every function named test_* of the calling module as one TAP test. A check that fails
raises with want and got; the program to test is $VIREO, else build/vireo of this tree.
"""

import base64
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VIREO = os.environ.get("VIREO", os.path.join(ROOT, "build", "vireo"))
TIMEOUT = float(os.environ.get("QTEST_TIMEOUT", "20"))


class Failure(Exception):
    """A check that did not hold."""


class Skip(Exception):
    """This test cannot run here."""


class QTest:
    """One Vireo process under -accel test. args: further options, e.g. "-M", "pc"."""

    def __init__(self, *args, accel="test", nodefaults=True):
        self.irq_state = {}   # line -> level, from IRQ lines
        self.irq_log = []     # [(line, level)] in order; tests may clear it
        self._buf = b""
        self._dir = tempfile.mkdtemp(prefix="vireo-qtest-")
        self.proc = None
        self.sock = None
        path = os.path.join(self._dir, "qtest")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        self.cmd = [VIREO, "-qtest", "unix:" + path, "-qtest-log", "none", "-display", "none"]
        if nodefaults:
            self.cmd.append("-nodefaults")
        self.cmd += [str(a) for a in args] + ["-accel", accel]
        self._stderr = open(os.path.join(self._dir, "stderr"), "w+b")
        env = dict(os.environ, LC_ALL="C")
        self.proc = subprocess.Popen(self.cmd, stdin=subprocess.DEVNULL, stderr=self._stderr,
                                     env=env)
        try:
            self._accept(listener)
        finally:
            listener.close()

    def _accept(self, listener):
        end = time.monotonic() + TIMEOUT
        while True:
            if select.select([listener], [], [], 0.05)[0]:
                self.sock = listener.accept()[0]
                self.sock.settimeout(TIMEOUT)
                return
            if self.proc.poll() is not None or time.monotonic() > end:
                state = self.proc.poll()
                text = self.stderr()
                self.close()
                raise Failure("no connection (exit status %s)\n  command: %s\n%s" %
                              (state, " ".join(self.cmd), text))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close(check_status=exc[0] is None)

    def stderr(self):
        self._stderr.flush()
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def tmp(self, name):
        """A path in a directory that goes away with the process."""
        return os.path.join(self._dir, name)

    def close(self, check_status=False):
        """SIGTERM, which a healthy process answers with exit status 0."""
        if self.sock:
            self.sock.close()
            self.sock = None
        text = ""
        if self.proc:
            if self.proc.poll() is None:
                self.proc.send_signal(signal.SIGTERM)
                try:
                    self.proc.wait(TIMEOUT)
                except subprocess.TimeoutExpired:
                    self.proc.kill()
                    self.proc.wait()
            text = self.stderr()
            self._stderr.close()
            status, self.proc = self.proc.returncode, None
            shutil.rmtree(self._dir, ignore_errors=True)
            if check_status and status != 0:
                raise Failure("exit status: want 0, got %d\n  command: %s\n%s" %
                              (status, " ".join(self.cmd), text))

    def wait_exit(self):
        """Waits for the process to end by itself; its exit status."""
        try:
            return self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failure("the process did not end") from None

    # ---- the protocol ----

    def _line(self):
        while b"\n" not in self._buf:
            try:
                data = self.sock.recv(1 << 16)
            except socket.timeout:
                raise Failure("no answer within %g s\n%s" % (TIMEOUT, self.stderr())) from None
            except ConnectionError:
                data = b""
            if not data:
                time.sleep(0.1)
                raise Failure("the process is gone (exit status %s)\n%s" %
                              (self.proc.poll(), self.stderr()))
            self._buf += data
        line, self._buf = self._buf.split(b"\n", 1)
        return line.decode()

    def raw(self, request):
        """Sends a line, returns the whole answer line whatever it is."""
        self.sock.sendall(request if isinstance(request, bytes) else request.encode() + b"\n")
        while True:
            line = self._line()
            words = line.split()
            if words and words[0] == "IRQ":
                n, level = int(words[2]), words[1] == "raise"
                self.irq_state[n] = level
                self.irq_log.append((n, level))
                continue
            return line

    def cmd_ok(self, request):
        """Sends a line that must succeed; returns what follows OK."""
        answer = self.raw(request)
        if answer != "OK" and not answer.startswith("OK "):
            raise Failure("'%s': want OK, got '%s'" % (request[:100], answer[:200]))
        return answer[3:]

    def inb(self, port):
        return int(self.cmd_ok("inb 0x%x" % port), 0)

    def inw(self, port):
        return int(self.cmd_ok("inw 0x%x" % port), 0)

    def inl(self, port):
        return int(self.cmd_ok("inl 0x%x" % port), 0)

    def outb(self, port, value):
        self.cmd_ok("outb 0x%x 0x%x" % (port, value & 0xff))

    def outw(self, port, value):
        self.cmd_ok("outw 0x%x 0x%x" % (port, value & 0xffff))

    def outl(self, port, value):
        self.cmd_ok("outl 0x%x 0x%x" % (port, value & 0xffffffff))

    def readb(self, addr):
        return int(self.cmd_ok("readb 0x%x" % addr), 0)

    def readw(self, addr):
        return int(self.cmd_ok("readw 0x%x" % addr), 0)

    def readl(self, addr):
        return int(self.cmd_ok("readl 0x%x" % addr), 0)

    def readq(self, addr):
        return int(self.cmd_ok("readq 0x%x" % addr), 0)

    def writeb(self, addr, value):
        self.cmd_ok("writeb 0x%x 0x%x" % (addr, value & 0xff))

    def writew(self, addr, value):
        self.cmd_ok("writew 0x%x 0x%x" % (addr, value & 0xffff))

    def writel(self, addr, value):
        self.cmd_ok("writel 0x%x 0x%x" % (addr, value & 0xffffffff))

    def writeq(self, addr, value):
        self.cmd_ok("writeq 0x%x 0x%x" % (addr, value & 0xffffffffffffffff))

    def read(self, addr, size):
        """Bytes of memory."""
        return base64.b64decode(self.cmd_ok("b64read 0x%x 0x%x" % (addr, size)))

    def write(self, addr, data):
        """Bytes to memory."""
        if data:
            self.cmd_ok("b64write 0x%x 0x%x %s" %
                        (addr, len(data), base64.b64encode(bytes(data)).decode()))

    def memset(self, addr, size, byte):
        self.cmd_ok("memset 0x%x 0x%x 0x%x" % (addr, size, byte))

    def clock_step(self, ns=None):
        """Time goes on by ns, or to the next timer; returns the new time."""
        return int(self.cmd_ok("clock_step" if ns is None else "clock_step %d" % ns))

    def clock_set(self, ns):
        return int(self.cmd_ok("clock_set %d" % ns))

    def irq_intercept_in(self, path):
        self.cmd_ok("irq_intercept_in " + path)

    def irq_intercept_out(self, path):
        self.cmd_ok("irq_intercept_out " + path)

    def set_irq_in(self, path, n, level, name="unnamed-gpio-in"):
        self.cmd_ok("set_irq_in %s %s %d %d" % (path, name, n, level))

    def irq(self, n):
        """The level of an intercepted line, as last reported."""
        self.inb(0)  # collects what is pending
        return self.irq_state.get(n, False)

    def wait_irq(self, n, level=True, timeout_s=5.0):
        """For interrupts that come from outside guest time (disks, sockets)."""
        end = time.monotonic() + timeout_s
        while self.irq(n) != level:
            if time.monotonic() > end:
                raise Failure("line %d: want %s, got %s" % (n, level, not level))
            time.sleep(0.002)

    # ---- PCI configuration mechanism 1 ----

    def pci_read(self, devfn, reg, size=4, bus=0):
        """devfn: slot * 8 + function."""
        self.outl(0xcf8, 0x80000000 | bus << 16 | devfn << 8 | (reg & 0xfc))
        return {1: self.inb, 2: self.inw, 4: self.inl}[size](0xcfc + (reg & 3))

    def pci_write(self, devfn, reg, value, size=4, bus=0):
        self.outl(0xcf8, 0x80000000 | bus << 16 | devfn << 8 | (reg & 0xfc))
        {1: self.outb, 2: self.outw, 4: self.outl}[size](0xcfc + (reg & 3), value)

    def pci_find(self, vendor, device):
        """devfn of the first such device on bus 0."""
        for devfn in range(256):
            if self.pci_read(devfn, 0) == device << 16 | vendor:
                return devfn
        raise Failure("no PCI device %04x:%04x" % (vendor, device))


def show(value):
    return "0x%x" % value if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def check(what, want, got):
    """want == got, or the test fails with both."""
    if want != got:
        raise Failure("%s: want %s, got %s" % (what, show(want), show(got)))


def skip(why):
    raise Skip(why)


def main():
    """Runs the calling module's test_* functions in order of definition. Arguments choose some."""
    module = sys.modules["__main__"]
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    chosen = sys.argv[1:]
    if chosen:
        tests = [(n, f) for n, f in tests if n in chosen]
    print("1..%d" % len(tests))
    failed = 0
    for i, (name, function) in enumerate(tests, 1):
        try:
            function()
            print("ok %d - %s" % (i, name), flush=True)
        except Skip as why:
            print("ok %d - %s # SKIP %s" % (i, name, why), flush=True)
        except Exception as why:  # pylint: disable=broad-except
            failed += 1
            print("not ok %d - %s" % (i, name))
            text = str(why) if isinstance(why, Failure) else traceback.format_exc()
            if isinstance(why, Failure):
                where = [f for f in traceback.extract_tb(why.__traceback__)
                         if f.filename == module.__file__]
                if where:
                    text += "\nat %s:%d" % (os.path.basename(where[-1].filename), where[-1].lineno)
            for line in text.rstrip().splitlines():
                print("# " + line)
            print("# again: VIREO=%s python3 %s %s" % (VIREO, module.__file__, name), flush=True)
    sys.exit(1 if failed else 0)
