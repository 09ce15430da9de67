#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-accel kvm on a kernel that refuses (faked.c is preloaded): what the user is told, what stands
still, and how it goes on."""

import errno
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "hw")]
import run  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position
from test_run import TIMEOUT, Hmp  # pylint: disable=wrong-import-position

DIR = tempfile.TemporaryDirectory(prefix="vireo-kvmfaked-")


def library():
    path = os.path.join(DIR.name, "faked.so")
    if not os.path.exists(path):
        subprocess.run([os.environ.get("CC", "gcc").split()[-1], "-O2", "-Wall", "-shared", "-fPIC", "-o",
                        path, os.path.join(HERE, "faked.c"), "-ldl"], check=True)
    return path


def environment(**faked):
    # AddressSanitizer would be first; and what a process does not free that was told to _Exit is no leak.
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"
    return dict(os.environ, LD_PRELOAD=library(), ASAN_OPTIONS=asan.lstrip(":"),
                **{"FAKED_" + k.upper(): v for k, v in faked.items()})


def needs_kvm():
    if run.lacks():
        skip(run.lacks())


class Vm:
    """A guest of this directory, 32-bit, with a monitor; stderr is read when it has ended."""

    def __init__(self, accel, *args, guest="frame", **faked):
        needs_kvm()
        self.log = os.path.join(DIR.name, "out")
        path = os.path.join(DIR.name, "mon")
        for f in (self.log, path):
            if os.path.exists(f):
                os.unlink(f)
        cmd = run.command(VIREO, run.build(guest, DIR.name, 32), self.log, ["-accel", accel], 1,
                          ["-monitor", "unix:%s,server,nowait" % path] + list(args))
        cmd.remove("-no-reboot")
        self.err = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stderr=self.err, env=environment(**faked))
        self.hmp = Hmp(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.terminate()
        check("exit status", 0, self.proc.wait(TIMEOUT))
        self.hmp.close()
        self.err.close()

    def status(self):
        return self.hmp("info status").strip()

    def wait(self, test, what):
        end = time.monotonic() + TIMEOUT
        while not test():
            if time.monotonic() > end or self.proc.poll() is not None:
                raise Failure("no %s; stderr:\n%s" % (what, self.stderr()))
            time.sleep(0.02)

    def runs(self):
        """The guest goes on: it paints a line more."""
        with open(self.log, "rb") as f:
            return b"painting" in f.read()

    def stderr(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace")


def want(pattern, text):
    if not re.search(pattern, text, re.M):
        raise Failure("want %s, got\n%s" % (pattern, text))


REFUSALS = {
    "KVM_CREATE_VCPU": "the kernel did not create vCPU 0: Cannot allocate memory",
    "KVM_CREATE_IRQCHIP": "use -M kernel-irqchip=off: Cannot allocate memory",
    "KVM_SET_USER_MEMORY_REGION": "Cannot allocate memory",
    "KVM_SET_CPUID2": "KVM does not take vCPU 0's CPUID: Cannot allocate memory",
}


FILE = os.path.join(DIR.name, "refuse")


def refuse(call):
    """From now on, in a Vm with file=FILE; None: no more."""
    if os.path.exists(FILE):
        os.unlink(FILE)
    if call:
        with open(FILE + ".new", "w", encoding="ascii") as f:
            f.write("%d:%s" % (errno.ENOMEM, call))
        os.rename(FILE + ".new", FILE)


def test_start():
    """What the kernel refuses ends the start, with the cause and a way out."""
    needs_kvm()
    for call, why in REFUSALS.items():
        done = subprocess.run([VIREO, "-nodefaults", "-display", "none", "-accel", "kvm", "-S"],
                              env=environment(call="%d:%s" % (errno.ENOMEM, call)), stdin=subprocess.DEVNULL,
                              timeout=TIMEOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        said = done.stderr.decode(errors="replace")
        check(call + ": exit status", 1, done.returncode)
        want(r"^vireo: -accel kvm: .*%s; -accel jit, the translator, does without$" % re.escape(why), said)


def test_switch():
    """A move to KVM that is refused leaves all as it was, and can be tried again."""
    refuse(None)
    with Vm("kvm", file=FILE) as vm:
        vm.wait(vm.runs, "start")
        check("to the interpreter", "", vm.hmp("accel all interp"))
        for call, why in REFUSALS.items():
            refuse(call)
            want("^Error: -accel kvm: .*" + re.escape(why), vm.hmp("accel all kvm"))
            check(call, "VM status: running", vm.status())
            want("CPU #0: interp", vm.hmp("accel"))
        refuse(None)
        check("tried again", "", vm.hmp("accel all kvm"))
        want("CPU #0: kvm", vm.hmp("accel"))
        check("tried again", "VM status: running", vm.status())


def test_no_way_back():
    """Two CPUs: one goes, and the VM without it is refused, too: the guest stands until another
    engine takes its CPUs."""
    refuse(None)
    with Vm("kvm", "-S", "-smp", "2", file=FILE) as vm:
        refuse("KVM_CREATE_VCPU")
        want("^Error: the guest stands still.*'accel all interp' may wake it.*did not create vCPU 0",
             vm.hmp("accel 1 interp"))
        want("CPU #0: none", vm.hmp("accel"))
        check("cont", "", vm.hmp("cont"))
        check("to the interpreter", "", vm.hmp("accel all interp"))
        want("CPU #0: interp", vm.hmp("accel"))
        vm.wait(vm.runs, "start")
        refuse(None)


GAVE_UP = r"^(vireo: )?(warning: )?vCPU 0: KVM stopped: %s; the machine is stopped: system_reset, then cont in the "


def gives_up(said, **faked):
    with Vm("kvm", **faked) as vm:
        vm.wait(lambda: "internal-error" in vm.status(), "end")
        check("cont", "Error: the guest was stopped by an internal error: give system_reset, then cont\n",
              vm.hmp("cont"))
        vm.hmp("system_reset")
        vm.wait(lambda: vm.status() == "VM status: paused", "reset")
        check("cont", "", vm.hmp("cont"))
        vm.wait(vm.runs, "second start")
        text = vm.stderr()
        want(said.join(GAVE_UP.split("%s")), text)
        for part in ("RAX=[0-9a-f]{16} RCX=[0-9a-f]{16} ", "RIP=[0-9a-f]{16} RFLAGS=", "CR0=[0-9a-f]{8} ",
                     r"bytes at RIP:( [0-9a-f]{2}){16}$"):
            want(part, text)


def test_gives_up():
    """Exits beyond repair are reported with registers and the bytes at RIP, and stop the machine."""
    for exit_, said in (("4:9:0", r"the processor refused the guest's state \(0x0\)"),
                        ("4:17:3", r"internal error \(0x3\)"),
                        ("4:27:0", r"unknown exit \(0x1b\)"),
                        ("4:99:0", r"unknown exit \(0x63\)")):
        gives_up(said, exit=exit_)
    gives_up(r"Cannot allocate memory \(0xc\)", error="4:%d" % errno.ENOMEM)


def test_rescue():
    """An instruction that KVM cannot emulate, and one that fails at a guarded page: the interpreter
    executes it, `info exits` counts it, the guest goes on."""
    for faked, counts in (({"exit": "4:17:1"}, "1 (1 KVM could not emulate, 0 wrote to guarded pages)"),
                          ({"error": "4:%d" % errno.EFAULT},
                           "1 (0 KVM could not emulate, 1 wrote to guarded pages)")):
        with Vm("kvm", **faked) as vm:
            vm.wait(vm.runs, "start")
            want("^  instructions left to the interpreter: " + re.escape(counts), vm.hmp("info exits"))
            check("status", "VM status: running", vm.status())


def counts_of(text):
    """Exits to user space, all the kernel tells of (None: it does not), rescues."""
    heavy = re.search(r"^CPU #0: (\d+) exits to user space", text, re.M)
    light = re.search(r"^  of (\d+) exits in all", text, re.M)
    rescued = re.search(r"^  instructions left to the interpreter: (\d+) ", text, re.M)
    return int(heavy[1]), int(light[1]) if light else None, int(rescued[1])


def test_counts_stay():
    """What info exits has counted survives moves to another engine and back."""
    with Vm("kvm", exit="4:17:1") as vm:
        vm.wait(vm.runs, "start")
        vm.hmp("stop")
        before = counts_of(vm.hmp("info exits"))
        check("rescued", 1, before[2])
        for _ in range(2):
            check("to the interpreter", "", vm.hmp("accel all interp"))
            check("to KVM", "", vm.hmp("accel all kvm"))
            check("over a move", before, counts_of(vm.hmp("info exits")))
        vm.hmp("cont")
        vm.wait(lambda: counts_of(vm.hmp("info exits"))[0] > before[0], "exit more")
        if before[1] is not None:
            vm.wait(lambda: counts_of(vm.hmp("info exits"))[1] > before[1], "exit more by the kernel's count")


if __name__ == "__main__":
    main()
