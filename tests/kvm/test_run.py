#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-accel kvm seen from outside: the calls it makes, what info kvm and info exits say, the screen by
way of the dirty log, clocks over stop and cont and over a host that stands still."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "hw")]
import run  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position

TIMEOUT = float(os.environ.get("QTEST_TIMEOUT", "20"))
DIR = tempfile.TemporaryDirectory(prefix="vireo-kvmrun-")


class Hmp:
    """The monitor on a socket."""

    def __init__(self, path):
        end = time.monotonic() + TIMEOUT
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.sock.settimeout(TIMEOUT)
        self.prompt()

    def prompt(self):
        text = b""
        while not text.endswith(b"(vireo) "):
            data = self.sock.recv(1 << 16)
            if not data:
                raise Failure("the monitor closed after %r" % text[-200:])
            text += data
        return text.decode()

    def __call__(self, line):
        """What the command printed, without echo and prompt."""
        self.sock.sendall(line.encode() + b"\n")
        text = self.prompt().replace("\r\n", "\n")
        return text[text.index("\n") + 1:text.rindex("(vireo) ")]

    def close(self):
        self.sock.close()


class Vm:
    """A guest of this directory under KVM, with a monitor."""

    def __init__(self, guest, *args, bits=64, options=(), wrapper=(), accel="kvm"):
        if run.lacks():
            skip(run.lacks())
        self.log = os.path.join(DIR.name, guest + ".out")
        self.dump = os.path.join(DIR.name, "screen.ppm")
        path = os.path.join(DIR.name, guest + ".mon")
        for f in (self.log, path):
            if os.path.exists(f):
                os.unlink(f)
        cmd = run.command(VIREO, run.build(guest, DIR.name, bits), self.log, ["-accel", accel], 1,
                          list(options) + ["-monitor", "unix:%s,server,nowait" % path] + list(args))
        self.err = tempfile.TemporaryFile()
        # LeakSanitizer does not work under ptrace.
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0") if wrapper else None
        self.proc = subprocess.Popen(list(wrapper) + cmd, stdin=subprocess.DEVNULL, stderr=self.err, env=env)
        self.hmp = Hmp(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.send_signal(signal.SIGCONT)
        self.proc.terminate()
        status = self.proc.wait(TIMEOUT)
        self.hmp.close()
        check("exit status", 0, status)

    def said(self):
        try:
            with open(self.log, encoding="ascii", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait(self, test, what):
        end = time.monotonic() + TIMEOUT
        while not test():
            if time.monotonic() > end or self.proc.poll() is not None:
                raise Failure("no %s; it said %r" % (what, self.said()[-300:]))
            time.sleep(0.02)


def test_sequence():
    """The kernel is asked for a VM, its memory, its controllers, vCPUs, in this order."""
    log = os.path.join(DIR.name, "kvm.log")
    with Vm("frame", "-d", "kvm", "-D", log, bits=32) as vm:
        vm.wait(lambda: "painting" in vm.said(), "start")
    calls = []
    with open(log, encoding="ascii", errors="replace") as f:
        for line in f:
            m = re.match(r"kvm: (?:cpu \d+ )?(KVM_\w+)", line)
            if m and m[1] not in calls:
                calls.append(m[1])
    want = ["KVM_CREATE_VM", "KVM_SET_USER_MEMORY_REGION", "KVM_CREATE_IRQCHIP", "KVM_CREATE_PIT2",
            "KVM_CREATE_VCPU", "KVM_RUN"]
    check("order", want, [c for c in calls if c in want])


def test_lost_ticks():
    """The kernel's 8254 follows -global, with and without vCPUs that move."""
    log = os.path.join(DIR.name, "ticks.log")
    for args, want in ((["-no-kvm-pit-reinjection"], True), ([], False),
                       (["-global", "kvm-pit.lost_tick_policy=discard"], True),
                       (["-global", "kvm-pit.lost_tick_policy=delay"], False)):
        with Vm("frame", "-d", "kvm", "-D", log, *args, bits=32) as vm:
            vm.wait(lambda: "painting" in vm.said(), "start")
            check("to interp", "", vm.hmp("accel all interp"))
            check("back", "", vm.hmp("accel all kvm"))
            vm.hmp("screendump " + vm.dump)
        with open(log, encoding="ascii") as f:
            check("%s: asked for" % args, want, "KVM_REINJECT_CONTROL" in f.read())


def test_one_vm():
    """An order makes one VM, that of the machine, as strace shows."""
    if not shutil.which("strace"):
        skip("no strace: install strace")
    log = os.path.join(DIR.name, "strace.log")
    with Vm("frame", bits=32, wrapper=["strace", "-D", "-f", "-e", "trace=ioctl", "-o", log]) as vm:
        vm.wait(lambda: "painting" in vm.said(), "start")
    with open(log, encoding="ascii", errors="replace") as f:
        if "ptrace" in (text := f.read())[:200]:
            skip("strace may not trace here")
    calls = list(dict.fromkeys(re.findall(r"ioctl\(\d+, (KVM_\w+)", text)))
    want = ["KVM_CREATE_VM", "KVM_SET_USER_MEMORY_REGION", "KVM_CREATE_IRQCHIP", "KVM_CREATE_PIT2",
            "KVM_CREATE_VCPU", "KVM_RUN"]
    check("order", want, [c for c in calls if c in want])
    check("VMs", 1, text.count("KVM_CREATE_VM,"))


def test_info():
    with Vm("frame", bits=32, options=["-device", "pc-testdev"]) as vm:
        vm.wait(lambda: "painting" in vm.said(), "start")
        lines = vm.hmp("info kvm").splitlines()
        check("first line", "kvm support: enabled", lines[0])
        check("mode", "mode: all vCPUs run on KVM", lines[1])
        text = vm.hmp("info exits")
        for part in (r"^CPU #0: \d+ exits to user space", r"^  port +\d+ +[\d.]+%",
                     r"^  port or memory +at +count +share +ms +us each +writes$",
                     r"^  i440FX-pcihost +port 0xcf8 +\d+ +[\d.]+% +[\d.]+ +[\d.]+ +\d+$",
                     r"instructions left to the interpreter: 0 "):
            if not re.search(part, text, re.M):
                raise Failure("info exits: want %s, got\n%s" % (part, text))


def watch_screen(accel):
    def dots():
        vm.hmp("screendump " + vm.dump)
        with open(vm.dump, "rb") as f:
            data = f.read()
        m = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
        if not m or int(m[1]) != 640:
            return None
        at = lambda n: data[m.end() + 3 * n:m.end() + 3 * n + 3]
        return at(0), at(300 * 640), at(480 * 640 - 1)
    with Vm("frame", "-vga", "std", bits=32, accel=accel) as vm:
        vm.wait(lambda: dots() and any(dots()[0]), "picture")
        for _ in range(3):
            before = dots()
            vm.wait(lambda: all(a != b for a, b in zip(before, dots())), "change of all three lines")
        vm.hmp("stop")
        first = dots()
        check("stopped", first, dots())
        return vm.hmp("info exits")


def test_screen():
    watch_screen("kvm")


def has_ring():
    with open("/dev/kvm", "rb") as f:
        return fcntl.ioctl(f, 0xae03, 192) > 0 or fcntl.ioctl(f, 0xae03, 223) > 0


def test_dirty_ring():
    """The same by rings, which are full now and then: the guest writes more pages than they hold."""
    if run.lacks():
        skip(run.lacks())
    if not has_ring():
        refuses("no dirty ring", "-accel", "kvm,dirty-ring-size=1024")
        skip("this KVM has no dirty ring")
    if not re.search(r"^flags.* (vmx|svm)\b", open("/proc/cpuinfo", encoding="ascii").read(), re.M):
        refuses("writes over its rings; leave it away", "-accel", "kvm,dirty-ring-size=1024")
        skip("this KVM emulates guest code; tests/kvm-nested has the case ring")
    exits = watch_screen("kvm,dirty-ring-size=1024")
    if "dirty-ring-full" not in exits:
        raise Failure("info exits: want dirty-ring-full, got\n" + exits)
    # Rings go and come with the engine.
    with Vm("frame", "-vga", "std", bits=32, accel="kvm,dirty-ring-size=1024") as vm:
        for _ in range(5):
            check("to jit", "", vm.hmp("accel all interp"))
            check("to kvm", "", vm.hmp("accel all kvm"))
            vm.hmp("screendump " + vm.dump)


def refuses(want, *args):
    done = subprocess.run([VIREO, "-display", "none"] + list(args), stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
    said = done.stderr.decode(errors="replace")
    check("exit status", 1, done.returncode)
    if want not in said:
        raise Failure("want ...%s..., got %r" % (want, said))


def test_options():
    if run.lacks():
        skip(run.lacks())
    refuses("did you mean kernel-irqchip?", "-accel", "kvm,kernel-irqchp=on")
    refuses("kernel-irqchip=maybe: want on, split or off", "-accel", "kvm", "-M", "kernel-irqchip=maybe")
    refuses("want a power of two", "-accel", "kvm,dirty-ring-size=1000")
    refuses("want a power of two", "-accel", "kvm,dirty-ring-size=131072")
    refuses("-no-kvm: -accel kvm says otherwise", "-accel", "kvm", "-no-kvm")
    refuses("lost_tick_policy=slew: want delay or discard", "-accel", "kvm",
            "-global", "kvm-pit.lost_tick_policy=slew")
    refuses("notify-vmexit=x: want run", "-accel", "kvm,notify-vmexit=x")
    refuses("use -accel kvm", "-accel", "interp", "-overcommit", "cpu-pm=on")
    refuses("there are mem-lock and cpu-pm", "-overcommit", "mem-luck=on")


def monitor(commands, *args):
    done = subprocess.run([VIREO, "-S", "-display", "none", "-nodefaults", "-monitor", "stdio"] + list(args),
                          input=("\n".join(commands) + "\nquit\n").encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False)
    text = done.stdout.decode(errors="replace").replace("\r", "")
    check("exit status, %s" % text, 0, done.returncode)
    return text


def test_cure_for_cpu():
    """A vCPU that was shown too much stays, and the -cpu that is named can move."""
    if run.lacks():
        skip(run.lacks())
    told = 0
    for model in ("max", "qemu64", "core2duo,-ssse3"):
        said = monitor(["accel all kvm", "accel"], "-accel", "jit", "-cpu", model)
        cure = re.search(r"^Error: vCPU 0 cannot run on kvm: .* with -cpu (%s,\S+)$" % model, said, re.M)
        check("%s: stays or goes: %s" % (model, said), not cure, "CPU #0: kvm," in said)
        if cure:
            told += 1
            said = monitor(["accel all kvm", "accel"], "-accel", "jit", "-cpu", cure.group(1))
            check("-cpu %s: goes: %s" % (cure.group(1), said), True, "CPU #0: kvm," in said)
    if not told:
        skip("this host's KVM can show all that the translator does")


def samples(vm):
    """The last pair of clocks, seconds."""
    pairs = re.findall(r"^T ([0-9a-f]+) ([0-9a-f]+)\n", vm.said(), re.M)
    return [int(x, 16) / 1e9 for x in pairs[-1]] if pairs else None


def next_samples(vm):
    n = vm.said().count("T ")
    vm.wait(lambda: vm.said().count("T ") > n + 2, "two samples more")
    return samples(vm)


def same_advance(what, a, b):
    hpet, pv = b[0] - a[0], b[1] - a[1]
    if abs(hpet - pv) > 0.1:
        raise Failure("%s: want both clocks to advance alike, got HPET %.3f s, kvmclock %.3f s" % (
            what, hpet, pv))
    return hpet


def test_clocks():
    with Vm("clocks") as vm:
        vm.wait(lambda: samples(vm) or "SKIP" in vm.said(), "sample")
        if not samples(vm):
            skip("this host's KVM shows no kvmclock")
        a = next_samples(vm)
        b = next_samples(vm)
        same_advance("running", a, b)
        start = time.monotonic()
        a = next_samples(vm)
        vm.hmp("stop")
        time.sleep(2)
        vm.hmp("cont")
        b = next_samples(vm)
        took = time.monotonic() - start
        advance = same_advance("stop, cont", a, b)
        if advance > took - 1.8:
            raise Failure("stopped for 2 s of %.3f s, the guest saw %.3f s pass" % (took, advance))
        a = next_samples(vm)
        vm.proc.send_signal(signal.SIGSTOP)
        time.sleep(2)
        vm.proc.send_signal(signal.SIGCONT)
        b = next_samples(vm)
        advance = same_advance("SIGSTOP, SIGCONT", a, b)
        if advance < 1.9:
            raise Failure("the host stood still for 2 s, the guest saw %.3f s pass" % advance)
        vm.hmp("accel all interp")
        vm.hmp("accel all kvm")
        same_advance("to the interpreter and back", b, next_samples(vm))


if __name__ == "__main__":
    main()
