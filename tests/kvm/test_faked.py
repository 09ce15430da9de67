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


def refused(call):
    return {"call": "%d:%s" % (errno.ENOMEM, call)}


def test_start():
    """What the kernel refuses ends the start, with the cause and a way out."""
    needs_kvm()
    for call, why in REFUSALS.items():
        for extra in ([], ["-S"]):
            done = subprocess.run([VIREO, "-nodefaults", "-display", "none", "-accel", "kvm"] + extra,
                                  env=environment(**refused(call)), stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            said = done.stderr.decode(errors="replace")
            check(call + ": exit status", 1, done.returncode)
            want(r"^vireo: -accel kvm: .*%s; -accel jit, the translator, does without$" % re.escape(why), said)


def moved_away(vm, flag):
    """On the interpreter, from KVM, and from now on the kernel refuses."""
    check("to the interpreter", "", vm.hmp("accel all interp"))
    with open(flag, "w", encoding="ascii"):
        pass


def test_switch():
    """A move to KVM that is refused leaves all as it was, and can be tried again."""
    needs_kvm()
    flag = os.path.join(DIR.name, "refuse")
    for call, why in REFUSALS.items():
        with Vm("kvm", **{"while": flag}, **refused(call)) as vm:
            vm.wait(vm.runs, "start")
            moved_away(vm, flag)
            want("^Error: -accel kvm: .*" + re.escape(why), vm.hmp("accel all kvm"))
            check(call, "VM status: running", vm.status())
            want("CPU #0: interp", vm.hmp("accel"))
            os.unlink(flag)
            check(call + ", tried again", "", vm.hmp("accel all kvm"))
            want("CPU #0: kvm", vm.hmp("accel"))
            check(call + ", tried again", "VM status: running", vm.status())


def test_switch_paused():
    flag = os.path.join(DIR.name, "refuse")
    with Vm("kvm", "-S", **{"while": flag}, **refused("KVM_CREATE_VCPU")) as vm:
        moved_away(vm, flag)
        want("^Error: -accel kvm: the kernel did not create vCPU 0", vm.hmp("accel all kvm"))
        vm.hmp("cont")
        check("cont", "VM status: running", vm.status())
        vm.wait(vm.runs, "start")
        os.unlink(flag)


def test_no_way_back():
    """Two CPUs: one goes, and the VM without it is refused, too: the guest stands until another
    engine takes its CPUs."""
    flag = os.path.join(DIR.name, "refuse")
    with Vm("kvm", "-smp", "2", **{"while": flag}, **refused("KVM_CREATE_VCPU")) as vm:
        vm.wait(vm.runs, "start")
        with open(flag, "w", encoding="ascii"):
            pass
        want("^Error: the guest stands still.*'accel all interp' may wake it.*did not create vCPU 0",
             vm.hmp("accel 1 interp"))
        want("CPU #0: none", vm.hmp("accel"))
        check("to the interpreter", "", vm.hmp("accel all interp"))
        want("CPU #0: interp", vm.hmp("accel"))
        os.unlink(flag)
        check("back", "", vm.hmp("accel all kvm"))
        check("status", "VM status: running", vm.status())


if __name__ == "__main__":
    main()
