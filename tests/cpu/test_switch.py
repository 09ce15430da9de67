#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vCPUs on engines of their own, and moving between them while the guest runs (accel/switch.c).

Every engine that works on this host is one of a list. The guest is switch_load.c, which notices
each interrupt that is lost, or a few bytes of firmware."""

import itertools
import os
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE), os.path.join(HERE, "..", "hw")]
import engines  # pylint: disable=wrong-import-position
import run  # pylint: disable=wrong-import-position
from hmp import Hmp, Switcher  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, check, main  # pylint: disable=wrong-import-position

TIMEOUT = 60 * float(os.environ.get("SLOW", "1"))
SWITCHES = int(os.environ.get("VIREO_SWITCHES", "1000"))
DIR = tempfile.TemporaryDirectory(prefix="vireo-switch-")
CC = os.environ.get("CC", "gcc").split()[-1]
SOFTWARE = [e for e in ("interp", "jit") if e in engines.listed(VIREO)]


# KVM first: what it can show the guest, the others can, too.
ENGINES = (["kvm"] if engines.lacks(VIREO, "kvm") is None else []) + SOFTWARE
if "VIREO_ENGINES" in os.environ:
    ENGINES = os.environ["VIREO_ENGINES"].split(":")

# ---- guests ----


def outb(port, val):
    return b"\xba" + struct.pack("<H", port) + b"\xb0" + bytes([val]) + b"\xee"


SAY_A = outb(0xe9, ord("A"))
HALT = b"\xfa\xf4\xeb\xfd"                      # cli; hlt; jmp back
SPIN = b"\xeb\xfe"
# lidtl cs:[fd00], which holds zeros; mov eax, cr0; or al, 1; mov cr0, eax; int3. In real mode a KVM
# that emulates guest code does not look at the IDT's limit.
TRIPLE_FAULT = b"\x2e\x66\x0f\x01\x1e\x00\xfd\x0f\x20\xc0\x0c\x01\x0f\x22\xc0\xcc"


def firmware(name, code):
    image = bytearray(b"\0" * 0x10000)
    image[0xfe00:0xfe00 + len(code)] = code
    image[0xfff0:0xfff3] = b"\xe9" + struct.pack("<h", 0xfe00 - 0xfff3)
    path = os.path.join(DIR.name, name + ".bin")
    with open(path, "wb") as f:
        f.write(image)
    return path


def load_image(until_nmi):
    out = os.path.join(DIR.name, "until-nmi" if until_nmi else "timed")
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, "switch_load-64.bin")
    if not os.path.exists(path):
        run.build("switch_load", out, CC, flags=["-DUNTIL_NMI"] if until_nmi else [])
    return path


class Guest:
    """A process with a monitor; its debug port's text is in a file."""

    def __init__(self, image, *args):
        fd, self.log = tempfile.mkstemp(dir=DIR.name)
        os.close(fd)
        self.path = tempfile.mktemp(dir=DIR.name)
        cmd = [VIREO, "-m", "32", "-nodefaults", "-display", "none", "-bios", image,
               "-debugcon", "file:" + self.log,
               "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
               "-monitor", "unix:%s,server=on,wait=off" % self.path] + [str(a) for a in args]
        self.err = tempfile.TemporaryFile(dir=DIR.name)
        self.proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stderr=self.err)
        self.hmp = Hmp(self.path, lambda: self.proc.poll() is not None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def wait_for(self, what, done):
        end = time.monotonic() + TIMEOUT
        while not done():
            if self.proc.poll() is not None or time.monotonic() > end:
                self.err.seek(0)
                raise Failure("no %s; exit status %s, the guest said %r, %s" % (
                    what, self.proc.poll(), self.text()[-300:], self.err.read().decode()))
            time.sleep(0.005)

    def wait_for_text(self, text):
        self.wait_for(repr(text), lambda: text in self.text())

    def wait_for_count(self, letter, n):
        self.wait_for("%d times %s" % (n, letter), lambda: self.text().count(letter) >= n)

    def accel(self, who, engine):
        check("accel %s %s" % (who, engine), "", self.hmp("accel %s %s" % (who, engine)))

    def engines(self):
        return [line.split()[2].rstrip(",") for line in self.hmp("accel").splitlines()]

    def quit(self):
        self.hmp.sock.sendall(b"quit\n")
        check("exit status", 0, self.proc.wait(TIMEOUT))

    def passes(self):
        """switch_load has nothing to complain about."""
        try:
            status = self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            seen = self.hmp("info cpus") + "".join(
                line + "\n" for line in self.hmp("info registers -a").splitlines()
                if "CPU#" in line or "IP=" in line)
            seen += self.hmp("info lapic 0") + self.hmp("info lapic 1")
            raise Failure("no end: %r\n%s" % (self.text(), seen)) from None
        if status != 1 or "not ok" in self.text() or "1.." not in self.text():
            self.err.seek(0)
            raise Failure("exit status %s\n%s%s" % (status, self.text(), self.err.read().decode()))


# ---- under load ----


def switch_under_load(kinds, cpus):
    with Guest(load_image(True), "-smp", cpus, "-accel", kinds[0]) as g:
        g.wait_for_text("started")
        s = Switcher(g.hmp, kinds, cpus, SWITCHES)
        s.start()
        s.join(TIMEOUT)
        s.stop()
        check("what accel said", "", s.said)
        check("switches", SWITCHES, s.count)
        g.hmp("nmi")
        g.passes()


def pairs():
    return list(itertools.combinations(ENGINES, 2))


def test_switches_1():
    for kinds in pairs():
        switch_under_load(kinds, 1)


def test_switches_2():
    for kinds in pairs():
        switch_under_load(kinds, 2)


def test_switches_4():
    for kinds in pairs():
        switch_under_load(kinds, 4)


def test_all_engines_in_turn():
    if len(ENGINES) > 2:
        switch_under_load(ENGINES, 2)


# ---- mixed, from the start ----


def test_mixed():
    for a, b in itertools.permutations(ENGINES, 2):
        if "kvm" in (a, b) and "interp" in (a, b) and "jit" in ENGINES:
            continue  # some hosts emulate KVM's guests: one pair with it will do
        with Guest(load_image(False), "-smp", 2, "-accel", a + ",vcpus=0",
                   "-accel", b + ",vcpus=1") as g:
            g.passes()


def test_mixed_4():
    a, b = ENGINES[0], ENGINES[-1]
    with Guest(load_image(False), "-smp", 4, "-accel", a, "-accel", b + ",vcpus=0-1:3") as g:
        g.passes()


# ---- odd moments ----


def test_halted():
    image = firmware("halt", SAY_A + HALT)
    for kinds in pairs():
        with Guest(image, "-accel", kinds[0]) as g:
            g.wait_for_text("A")
            for n in range(20):
                g.wait_for("(halted)", lambda: "(halted)" in g.hmp("info cpus"))
                before = g.hmp("info registers")
                g.accel("all", kinds[(n + 1) % 2])
                check("registers", before, g.hmp("info registers"))
            g.hmp("system_reset")
            g.wait_for_count("A", 2)
            g.quit()


def test_paused():
    image = load_image(True)
    for kinds in pairs():
        with Guest(image, "-S", "-smp", 2, "-accel", kinds[0]) as g:
            g.accel("all", kinds[1])
            check("still paused", "VM status: paused (prelaunch)\n", g.hmp("info status"))
            g.hmp("cont")
            g.wait_for_text("started")
            for n in range(10):
                g.hmp("stop")
                before = g.hmp("info registers -a")
                g.accel(n % 2, kinds[0])
                check("registers", before, g.hmp("info registers -a"))
                g.accel("all", kinds[1])
                check("registers", before, g.hmp("info registers -a"))
                g.hmp("cont")
            g.hmp("nmi")
            g.passes()


def test_reset():
    """Both wishes in one go, in either order."""
    image = firmware("spin", SAY_A + SPIN)
    for kinds in pairs():
        with Guest(image, "-smp", 2, "-accel", kinds[0]) as g:
            for n in range(20):
                g.wait_for_count("A", n + 1)
                lines = ["accel all " + kinds[(n + 1) % 2], "system_reset"]
                g.hmp.batch(lines[::1 if n % 4 < 2 else -1])
                check("engines", [kinds[(n + 1) % 2]] * 2, g.engines())
            g.wait_for_count("A", 21)
            g.quit()


def test_triple_fault():
    """The vCPU waits for the reset it caused, and again at once."""
    image = firmware("triple", SAY_A + TRIPLE_FAULT)
    for kinds in pairs():
        with Guest(image, "-accel", kinds[0]) as g:
            for n in range(60):
                g.accel("all", kinds[(n + 1) % 2])
            g.wait_for_count("A", g.text().count("A") + 3)
            g.quit()


def test_triple_fault_paused():
    image = firmware("triple", SAY_A + TRIPLE_FAULT)
    for kinds in pairs():
        with Guest(image, "-accel", kinds[0], "-no-shutdown", "-no-reboot") as g:
            g.wait_for("shutdown", lambda: "shutdown" in g.hmp("info status"))
            g.accel("all", kinds[1])
            check("status", "VM status: paused (shutdown)\n", g.hmp("info status"))
            check("how often", 1, g.text().count("A"))
            g.quit()


# ---- what is seen of it ----


def thread_names(pid):
    names = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, task)) as f:
            names.append(f.read().strip())
    return sorted(n for n in names if n.startswith("CPU "))


def test_names():
    image = firmware("halt", SAY_A + HALT)
    first = ENGINES[0]
    with Guest(image, "-smp", 2, "-accel", first) as g:
        for e in ENGINES:
            g.accel("1", e)
            check("accel", [first, e], g.engines())
            check("threads", ["CPU 0/" + first.upper(), "CPU 1/" + e.upper()],
                  thread_names(g.proc.pid))
            check("'engine=%s' in info cpus" % e, True, "engine=" + e in g.hmp("info cpus"))
        g.quit()


def test_nothing_is_left():
    """No open file, thread or mapping stays behind at a switch: 50 would show. A few come and go, as
    the vCPU threads open and close their part of an engine in their own time."""
    def held(pid):
        with open("/proc/%d/maps" % pid) as f:
            maps = len(f.readlines())
        return {"files": len(os.listdir("/proc/%d/fd" % pid)),
                "threads": len(os.listdir("/proc/%d/task" % pid)), "mappings": maps}

    image = firmware("spin", SAY_A + SPIN)
    for kinds in pairs():
        with Guest(image, "-smp", 2, "-accel", kinds[0]) as g:
            for _ in range(5):
                g.accel("all", kinds[1])
                g.accel("all", kinds[0])
            before = held(g.proc.pid)
            for _ in range(50):
                g.accel("all", kinds[1])
                g.accel("all", kinds[0])
            after = held(g.proc.pid)
            for what, n in before.items():
                check("%s: %d, then %d" % (what, n, after[what]), True, after[what] < n + 10)
            g.quit()


def test_single_is_for_all():
    image = firmware("spin", SAY_A + SPIN)
    for option in ("thread=single", "check=interp"):
        with Guest(image, "-smp", 2, "-accel", "jit," + option) as g:
            said = g.hmp("accel 1 interp")
            check("'%s' in %r" % (option, said), True, option in said)
            check("as before", ["jit", "jit"], g.engines())
            g.accel("all", "interp")
            check("not with one", True, option in g.hmp("accel 0 jit"))
            g.accel("all", "jit")
            g.quit()


if __name__ == "__main__":
    main()
