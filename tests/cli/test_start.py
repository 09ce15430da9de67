#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line and the life of the process: messages, exit statuses, reset, power-off,
pausing, -daemonize. Guests are a few bytes of firmware each."""

import os
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hw"))
from qtest import VIREO, Failure, check, main  # pylint: disable=wrong-import-position

TIMEOUT = float(os.environ.get("QTEST_TIMEOUT", "20"))
DIR = tempfile.TemporaryDirectory(prefix="vireo-cli-")

# ---- firmware, byte by byte ----


def outb(port, val):
    return b"\xba" + struct.pack("<H", port) + b"\xb0" + bytes([val]) + b"\xee"


def outw(port, val):
    return b"\xba" + struct.pack("<H", port) + b"\xb8" + struct.pack("<H", val) + b"\xef"


def outl(port, val):
    return b"\xba" + struct.pack("<H", port) + b"\x66\xb8" + struct.pack("<I", val) + b"\x66\xef"


HALT = b"\xfa\xf4\xeb\xfd"                      # cli; hlt; jmp back
SPIN = b"\xeb\xfe"
TRIPLE_FAULT = b"\x2e\x0f\x01\x1e\x00\xfd\xcc"   # lidt cs:[fd00], which holds zeros; int3
SAY_A = outb(0xe9, ord("A"))


def power_off():
    """S5 through the PIIX4's PM1_CNT, with its registers at 0xb000."""
    pm = 0x80000000 | 1 << 11 | 3 << 8
    return (outl(0xcf8, pm | 0x40) + outl(0xcfc, 0xb001) + outl(0xcf8, pm | 0x80) +
            outl(0xcfc, 1) + outw(0xb004, 0x2000))


def firmware(code):
    image = bytearray(b"\0" * 0x10000)
    image[0xfe00:0xfe00 + len(code)] = code
    image[0xfff0:0xfff3] = b"\xe9" + struct.pack("<h", 0xfe00 - 0xfff3)
    fd, path = tempfile.mkstemp(suffix=".bin", dir=DIR.name)
    os.write(fd, image)
    os.close(fd)
    return path


# ---- running it ----


class Run:
    """One process with its output in files; killed if it does not end."""

    def __init__(self, *args, code=None, stdin=subprocess.DEVNULL):
        self.args = [VIREO] + [str(a) for a in args]
        if code is not None:
            self.args += ["-bios", firmware(code), "-display", "none", "-nodefaults"]
        self.out = tempfile.TemporaryFile(dir=DIR.name)
        self.err = tempfile.TemporaryFile(dir=DIR.name)
        self.proc = subprocess.Popen(self.args, stdin=stdin, stdout=self.out, stderr=self.err)

    def stdout(self):
        self.out.seek(0)
        return self.out.read().decode(errors="replace")

    def stderr(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace")

    def wait(self):
        try:
            return self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise Failure("did not end: %s\n%s" % (" ".join(self.args), self.stderr())) from None

    def wait_for(self, text):
        end = time.monotonic() + TIMEOUT
        while text not in self.stdout():
            if self.proc.poll() is not None or time.monotonic() > end:
                got = self.stdout()
                self.kill()
                raise Failure("want '%s', got '%s' (exit status %s)\n%s" %
                              (text, got, self.proc.returncode, self.stderr()))
            time.sleep(0.01)

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()

    def terminate(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        return self.wait()


def fails(args, *words):
    """Exit status 1 and one line on stderr that has all the words."""
    r = Run(*args)
    status = r.wait()
    text = r.stderr()
    check("%s: exit status" % (args,), 1, status)
    check("%s: lines of '%s'" % (args, text), 1, text.count("\n"))
    for word in ("vireo: ",) + words:
        check("%s: '%s' in '%s'" % (args, word, text.strip()), True, word in text)


# ---- tests ----


def test_text_only():
    for args, word in ((["-version"], "Vireo version"), (["--help"], "-cdrom FILE"),
                       (["-h"], "usage: vireo"), (["-M", "help"], "pc "), (["-M", "pc,help"], "hpet"),
                       (["-M", "pc,help"], "kernel-irqchip=on|split|off"),
                       (["-cpu", "help"], "max"), (["-accel", "help"], "interp"), (["-accel", "help"], "jit"),
                       (["-device", "help"], "isa-debug-exit"), (["-d", "help"], "guest_errors"),
                       (["-device", "isa-debug-exit,help"], "iobase"),
                       (["-chardev", "help"], "socket"), (["-display", "help"], "none")):
        r = Run(*args)
        check("%s: exit status" % args, 0, r.wait())
        check("%s: '%s' in output" % (args, word), True, word in r.stdout())
        check("%s: stderr" % args, "", r.stderr())


def test_dashes():
    for dash in ("-", "--", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212"):
        r = Run(dash + "version")
        check("'%sversion'" % dash, 0, r.wait())


def test_doctor():
    r = Run("doctor")
    status = r.wait()
    text = r.stdout()
    for word in ("KVM\n", "Memory\n", "Firmware\n", "  ok  ", "without -accel it runs on "):
        check("'%s' in '%s'" % (word, text), True, word in text)
    missing = "missing  SeaBIOS" in text
    check("exit status", 1 if missing else 0, status)
    check("verdict", True, text.splitlines()[-1].startswith("No guest" if missing else "A guest can run"))
    check("stderr", "", r.stderr())
    fails(["doctor", "-m", "1"], "'doctor'")


def test_errors():
    missing = os.path.join(DIR.name, "missing")
    fails(["-nographics"], "-nographic?")
    fails(["-zzzz"], "-help")
    fails(["-m"], "needs an argument")
    fails(["-m", "12x"], "12x")
    fails(["-m", "0"], "-m 0")
    fails(["-m", "1k"], "-m 1k", "1M to 64T")
    fails(["-m", "100T"], "-m 100T", "1M to 64T")
    fails(["-smp", "300"], "between 1 and 255")
    fails(["-smp", "0"], "between 1 and")
    fails(["-smp", "3,sockets=2"], "sockets")
    fails(["-M", "pcc"], "did you mean pc?")
    fails(["-M", "q35"], "not built", "-M pc")
    fails(["-M", "q36,help"], "-M help")
    fails(["-M", "pc,hpte=on", "-display", "none"], "no option hpte=on", "did you mean hpet?")
    fails(["-M", "pc,colour=red", "-display", "none"], "no option colour=red", "-M pc,help")
    for accel in (["-accel", "jit"], []):
        fails(["-M", "pc,kernel-irqchp=on", "-display", "none"] + accel, "did you mean kernel-irqchip?")
    fails(["-M", "kernel-irqchip=maybe", "-display", "none", "-accel", "jit"], "want on, split or off")
    fails(["-M", "kvm-shadow-mem=much", "-display", "none", "-accel", "jit"], "want a size")
    fails(["-accel", "tcg,treshold=1"], "unknown option 'treshold'", "did you mean threshold?")
    fails(["-accel", "jit,thread=both"], "thread=both", "want multi or single")
    fails(["-accel", "jit,tb-size=1K"], "1 to 1024 MiB")
    fails(["-accel", "jit,threshold=-1"], "threshold")
    fails(["-accel", "inetrp"], "did you mean interp?")
    fails(["-accel", "whpx"], "not available on Linux", "-accel jit")
    fails(["-cpu", "Haswel", "-display", "none"], "Haswell")
    fails(["-cpu", "max,+foo", "-display", "none"], "unknown feature 'foo'", "-cpu help")
    fails(["-device", "isa-serail", "-display", "none"], "did you mean 'isa-serial'?")
    fails(["-device", "isa-debug-exit,iobsae=1", "-display", "none"], "did you mean 'iobase'?")
    fails(["-device", "isa-debug-exit,iobase=x", "-display", "none"], "'x' is not a number")
    fails(["-device", "isa-debug-exit,bus=pci.0", "-display", "none"], "kind PCI")
    fails(["-drive", "if=scsi,file=x"], "if=scsi", "not built")
    fails(["-drive", "fil=x", "-display", "none"], "-drive: ", "did you mean 'file'?")
    fails(["-hda", DIR.name, "-display", "none"], "is a directory")
    fails(["-kernel", DIR.name, "-display", "none"], "is a directory")
    fails(["-bios", DIR.name, "-display", "none"], "is a directory")
    fails(["-drive", "if=idd,file=x"], "did you mean ide?")
    fails(["-hda", missing, "-display", "none"], missing)
    fails([missing], missing)
    fails(["-kernel", missing, "-display", "none"], missing)
    fails(["-append", "x"], "-kernel")
    fails(["-bios", missing, "-display", "none"], missing)
    fails(["-serial", "stdoi", "-display", "none"], "stdio")
    fails(["-mon", "chardev=x"], "-chardev")
    fails(["-display", "sld"], "sdl")
    fails(["-vga", "qxl"], "not built")
    fails(["-boot", "order=z"], "'z'")
    fails(["-uuid", "1234"], "UUID")
    fails(["-rtc", "base=yesterday"], "utc")
    fails(["-rtc", "base=1600-01-01"], "1900 to 2150")
    fails(["-rtc", "base=9999-12-31T23:59:59"], "1900 to 2150")
    fails(["-netdev", "vde,id=n"], "not built")
    fails(["-d", "guest_error"], "guest_errors")
    fails(["-D", "/nonexistent/log"], "/nonexistent/log")
    fails(["-pidfile", "/nonexistent/pid", "-display", "none"], "/nonexistent/pid")
    fails(["-chardev", "null,id=a", "-mon", "chardev=a", "-mon", "chardev=a", "-display", "none"],
          "already in use", "mux=on")
    fails(["-chardev", "stdio,id=a", "-serial", "stdio", "-display", "none"], "already in use", "mux=on")
    fails(["-nographic", "-daemonize"], "-display none")


def test_full_disk():
    """/dev/full answers as a file on a full disk does."""
    r = Run("-D", "/dev/full", "-d", "guest_errors,unimp,in_asm", "-debugcon", "stdio",
            code=SAY_A + SPIN)
    r.wait_for("A")
    check("exit status", 0, r.terminate())
    check("said once: %s" % r.stderr(), 1, r.stderr().count("the log file is incomplete: No space"))
    r = Run("-debugcon", "file:/dev/full", "-device", "isa-debug-exit,iobase=0xf4",
            code=SAY_A + SAY_A + outb(0xf4, 0) + HALT)
    check("exit status", 1, r.wait())
    check("said once: %s" % r.stderr(), 1, r.stderr().count("No space left"))


def test_accel_fallback():
    code = outb(0xf4, 0x10) + HALT
    r = Run("-accel", "xen", "-accel", "interp",
            "-device", "isa-debug-exit,iobase=0xf4", code=code)
    check("exit status", 0x21, r.wait())
    check("one notice", True, "xen" in r.stderr())
    r = Run("-M", "pc,accel=tcg:interp", "-device", "isa-debug-exit,iobase=0xf4", code=code)
    check("-M accel= list", 0x21, r.wait())
    r = Run("-accel", "tcg", "-M", "pc,accel=jit", "-device", "isa-debug-exit,iobase=0xf4", code=code)
    check("the same twice", 0x21, r.wait())


def test_accel_orders():
    """What was ordered is not dropped without a word."""
    one = "leave one of the two out"
    fails(["-M", "accel=kvm", "-accel", "jit"], "-M accel=kvm and -accel jit", one, "-accel jit:kvm")
    fails(["-accel", "interp", "-M", "accel=tcg"], "-M accel=tcg and -accel interp", one)
    fails(["-accel", "interp,vcpus=0", "-M", "accel=interp"], "-M accel=interp", one)
    fails(["-accel", "jit", "-enable-kvm"], "-enable-kvm: ", "-accel jit", one)
    fails(["-accel", "jit,vcpus=0", "-enable-kvm"], "-enable-kvm: ", "-accel jit", one)
    fails(["-no-kvm", "-enable-kvm"], "-enable-kvm and -no-kvm", one)
    fails(["-enable-kvm", "-no-kvm"], "-enable-kvm and -no-kvm", one)


def test_machine_options_for_kvm():
    """Other engines take them: the cure that -accel kvm names must work."""
    code = outb(0xf4, 0x10) + HALT
    for option in ("kernel-irqchip=split", "kernel_irqchip=on", "kvm-shadow-mem=64M"):
        r = Run("-accel", "jit", "-M", option, "-device", "isa-debug-exit,iobase=0xf4", code=code)
        check("exit status", 0x21, r.wait())
        check("a line: %s" % r.stderr(), 1, r.stderr().count("\n"))
        check("that names it: %s" % r.stderr(), True, "-M %s is for KVM" % option in r.stderr())
    r = Run("-accel", "jit", "-M", "kernel-irqchip=off", "-device", "isa-debug-exit,iobase=0xf4", code=code)
    check("exit status", 0x21, r.wait())
    check("stderr", "", r.stderr())


def test_debug_exit_status():
    for val in (0, 1, 0x7f):
        r = Run("-device", "isa-debug-exit,iobase=0xf4", code=outb(0xf4, val) + HALT)
        check("status of %#x" % val, (val << 1 | 1) & 0xff, r.wait())


def test_global():
    r = Run("-accel", "interp", "-device", "isa-debug-exit", "-global", "isa-debug-exit.iobase=0xf4",
            code=outb(0xf4, 0) + HALT)
    check("exit status", 1, r.wait())
    check("stderr", "", r.stderr())
    r = Run("-no-kvm", "-device", "isa-debug-exit,iobase=0xf4", "-global", "isa-debug-exit.iobase=0xf8",
            "-global", "driver=nothing,property=x,value=1", code=outb(0xf4, 0) + HALT)
    check("exit status", 1, r.wait())
    check("stderr", "vireo: warning: -global nothing.x=1: no device of that type was made\n",
          r.stderr())
    r = Run("-no-kvm", "-device", "isa-debug-exit,iobase=0xf4", "-no-kvm-pit-reinjection",
            code=outb(0xf4, 0) + HALT)
    check("exit status", 1, r.wait())
    check("says where it is: %s" % r.stderr(), True, "with -accel kvm and kernel-irqchip=on" in r.stderr())


def test_power_off():
    r = Run("-accel", "interp", code=power_off() + HALT)
    check("exit status", 0, r.wait())
    check("stderr", "", r.stderr())


def test_triple_fault_resets():
    r = Run("-debugcon", "stdio", code=SAY_A + TRIPLE_FAULT)
    r.wait_for("AAA")
    check("exit status after SIGTERM", 0, r.terminate())


def test_reset_registers():
    for name, code in (("i8042", outb(0x64, 0xfe)), ("port 92", outb(0x92, 1)),
                       ("port cf9", outb(0xcf9, 2) + outb(0xcf9, 6))):
        r = Run("-debugcon", "stdio", code=SAY_A + code + SPIN)
        try:
            r.wait_for("AAA")
        except Failure as why:
            raise Failure("%s: %s" % (name, why)) from None
        check("%s: exit status" % name, 0, r.terminate())


def test_no_reboot():
    r = Run("-no-reboot", "-debugcon", "stdio", code=SAY_A + TRIPLE_FAULT)
    check("exit status", 0, r.wait())
    check("ran once", "A", r.stdout())


def test_no_shutdown():
    r = Run("-no-shutdown", "-monitor", "stdio", code=power_off() + HALT, stdin=subprocess.PIPE)
    end = time.monotonic() + TIMEOUT
    while "shutdown" not in r.stdout() and time.monotonic() < end and r.proc.poll() is None:
        r.proc.stdin.write(b"info status\n")
        r.proc.stdin.flush()
        time.sleep(0.05)
    check("still there, status shutdown", True, "shutdown" in r.stdout())
    r.proc.stdin.write(b"quit\n")
    r.proc.stdin.flush()
    check("exit status of quit", 0, r.wait())


def test_paused_start():
    r = Run("-S", "-monitor", "stdio", "-debugcon", "file:" + os.path.join(DIR.name, "con"),
            code=SAY_A + power_off() + HALT, stdin=subprocess.PIPE)
    r.proc.stdin.write(b"info status\n")
    r.proc.stdin.flush()
    r.wait_for("prelaunch")
    check("nothing ran", 0, os.path.getsize(os.path.join(DIR.name, "con")))
    r.proc.stdin.write(b"cont\n")
    r.proc.stdin.flush()
    check("exit status", 0, r.wait())


def test_signals():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for code in (HALT, SPIN):
            r = Run("-debugcon", "stdio", code=SAY_A + code)
            r.wait_for("A")
            check("exit status after %s" % sig, 0, r.terminate(sig))
            check("says why: %s" % r.stderr(), True, "signal %d" % sig in r.stderr())


def test_end_is_quiet():
    """The monitor on a shared stream does not greet while everything closes."""
    r = Run("-serial", "mon:stdio", code=outb(0x3f8, ord("A")) + SPIN)
    r.wait_for("A")
    check("exit status", 0, r.terminate())
    check("stdout", "A", r.stdout())


def test_daemonize():
    pidfile = os.path.join(DIR.name, "pid")
    con = os.path.join(DIR.name, "con2")
    r = Run("-daemonize", "-pidfile", pidfile, "-debugcon", "file:" + con, code=SAY_A + SPIN)
    check("exit status of the parent", 0, r.wait())
    with open(pidfile, encoding="ascii") as f:
        pid = int(f.read())
    os.kill(pid, 0)
    fails(["-pidfile", pidfile, "-display", "none"], "in use")
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + TIMEOUT
    while os.path.exists(pidfile) and time.monotonic() < end:
        time.sleep(0.01)
    check("pid file is gone", False, os.path.exists(pidfile))
    fails(["-daemonize", "-device", "nonsense", "-display", "none"], "nonsense")


def test_idle_costs_nothing():
    r = Run("-debugcon", "stdio", code=SAY_A + HALT)
    r.wait_for("A")
    time.sleep(0.2)

    def ticks():
        with open("/proc/%d/stat" % r.proc.pid, encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    used, limit = 1e9, os.sysconf("SC_CLK_TCK") * 3 // 100
    for _ in range(10):  # of which the best counts, on a busy host
        before = ticks()
        time.sleep(1)
        used = min(used, ticks() - before)
        if used <= limit:
            break
    check("exit status", 0, r.terminate())
    check("CPU time of a second is at most 3 %% (got %d ticks)" % used, True, used <= limit)


def test_start_is_quick():
    """It says how quick; only a wait that somebody put there can take this long each time."""
    best = 1e9
    for _ in range(5):
        begin = time.monotonic()
        r = Run("-device", "isa-debug-exit,iobase=0xf4", "-m", "1G", code=outb(0xf4, 0) + HALT)
        r.wait()
        best = min(best, time.monotonic() - begin)
    print("# from exec to exit: %.1f ms" % (best * 1000))
    check("under %g s" % TIMEOUT, True, best < TIMEOUT)


if __name__ == "__main__":
    main()
