#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-accel with sets of vCPUs: which engine each one gets, and what is said of nonsense."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hw"))
from qtest import VIREO, check, main  # pylint: disable=wrong-import-position

TIMEOUT = float(os.environ.get("QTEST_TIMEOUT", "20"))


def run(cpus, accels, commands="accel"):
    cmd = [VIREO, "-S", "-smp", str(cpus), "-display", "none", "-nodefaults", "-monitor", "stdio"]
    for a in accels:
        cmd += ["-accel", a]
    done = subprocess.run(cmd, input=(commands + "\nquit\n").encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def engines(cpus, *accels):
    status, out, err = run(cpus, accels)
    check("%s: exit status, %s" % (accels, err), 0, status)
    return re.findall(r"^CPU #\d+: (\w+),", out, re.M)


def fails(cpus, accels, *words):
    status, _, err = run(cpus, accels)
    check("%s: exit status" % (accels,), 1, status)
    check("%s: lines of '%s'" % (accels, err), 1, err.count("\n"))
    for word in words:
        check("%s: '%s' in '%s'" % (accels, word, err.strip()), True, word in err)


def test_sets():
    check("one", ["interp"] * 2, engines(2, "interp"))
    check("named", ["jit", "interp"], engines(2, "jit,vcpus=0", "interp,vcpus=1"))
    check("the first has the rest", ["jit", "interp", "jit"],
          engines(3, "jit,vcpus=0", "interp,vcpus=1"))
    check("who has no set has the rest", ["interp", "jit", "interp"],
          engines(3, "jit,vcpus=1", "interp"))
    check("a list", ["interp", "interp", "jit", "interp"], engines(4, "jit", "interp,vcpus=0-1:3"))
    check("a comma, doubled", ["interp", "jit", "interp"], engines(3, "jit", "interp,vcpus=0,,2"))
    check("twice the same", ["jit", "interp", "jit"],
          engines(3, "jit,vcpus=0", "interp,vcpus=1", "tcg,vcpus=2"))


def test_fallback():
    status, out, err = run(1, ["xen:interp"])
    check("exit status", 0, status)
    check("interp runs", True, "CPU #0: interp," in out)
    check("why in '%s'" % err, True, "-accel xen: not built yet" in err and err.count("\n") == 1)
    fails(1, ["xen"], "-accel xen: not built yet")
    fails(1, ["interp", "jti,vcpus=0"], "jti", "jit?")


def test_nonsense():
    fails(2, ["jit,vcpus=0-1", "interp,vcpus=1"], "jit", "interp", "both name vCPU 1")
    fails(2, ["jit,vcpus=2"], "-accel jit,vcpus=2", "0 to 1", "-smp 2")
    fails(2, ["jit,vcpus="], "no vCPU is named")
    fails(2, ["jit,vcpus=1-0"], "write 0-1")
    fails(2, ["jit,vcpus=0,1"], "vcpus=0:1")
    fails(2, ["jit,vcpus=some"], "vcpus=some")
    fails(2, ["test", "jit,vcpus=1"], "test", "no guest code")
    fails(2, ["jit,thread=single", "interp,vcpus=1"], "thread=single")
    fails(2, ["jit,tb-size=1,vcpus=0", "jit,tb-size=2,vcpus=1"], "tb-size=1", "tb-size=2")
    fails(1, ["interp,speed=high"], "unknown option 'speed'")


def test_monitor():
    _, out, _ = run(2, ["jit,tb-size=1"], "\n".join((
        "accel 1 interp", "accel", "accel 9 jit", "accel x jit", "accel 0 jti", "accel 1 INTERP", "accel 1 x",
        "accel 0",
        "accel 0 test", "info accel", "accel all interp", "info jit", "info accel")))
    for want in ("CPU #0: jit,", "CPU #1: interp,", "Error: '9': there is no vCPU 9",
                 "Error: 'x': that names no vCPUs", "there is no engine 'jti', did you mean jit?",
                 "there is no engine 'INTERP', did you mean interp?", "no engine 'x'; info accel",
                 "Error: name an engine, too", "Error: accel test is for a whole machine",
                 "runs 1 of 2 CPUs", "switches: 1, of 1 CPUs in all; the last took ",
                 "no CPU runs on the translator", "switches: 2, of 2 CPUs in all"):
        check("'%s' in %s" % (want, out), True, want in out)


def test_refused():
    """A move that cannot be leaves everything as it is, what the translator has for each CPU included."""
    for opts in ("check=interp", "thread=single"):
        _, out, err = run(2, ["jit," + opts], "\n".join((
            "accel 0 interp", "accel", "info accel")))
        for want in ("Error: -accel jit: %s wants all vCPUs" % opts, "CPU #0: jit,", "switches: 0"):
            check("%s: '%s' in %s" % (opts, want, out), True, want in out)
        # Each CPU's translator says this when it goes, which is at the end.
        check("%s: what was compared, in '%s'" % (opts, err), 2 if opts == "check=interp" else 0,
              err.count("check=interp: "))
        check("%s: of each CPU, in '%s'" % (opts, err), 1 if opts == "check=interp" else 0,
              err.count("check=interp: cpu 1: "))


def test_no_cpu():
    done = subprocess.run([VIREO, "-M", "none", "-display", "none", "-monitor", "stdio"], timeout=TIMEOUT,
                          input=b"accel all jit\naccel\nquit\n", stdout=subprocess.PIPE, check=False)
    check("said: %s" % done.stdout, True, b"Error: this machine has no CPU" in done.stdout)


def test_options_wait():
    """Those of an engine that no vCPU starts on are for who moves there; wrong ones are noticed."""
    _, out, _ = run(1, ["interp", "jit,tb-size=3"], "accel 0 jit\ninfo jit")
    check("3 MiB in %s" % out, True, " of 3072 KiB" in out)
    _, out, _ = run(1, ["interp", "jit,colour=3"], "accel 0 jit\naccel")
    check("the option is named in %s" % out, True, "Error: " in out and "colour" in out)
    check("as before in %s" % out, True, "CPU #0: interp," in out)


def test_options_of_lists():
    """In a list an option is for those who know it."""
    status, out, err = run(1, ["interp:jit,tb-size=3"], "accel 0 jit\ninfo jit")
    check("exit status: %s" % err, 0, status)
    check("3 MiB in %s" % out, True, " of 3072 KiB" in out)
    status, out, err = run(1, ["xen:jit,kernel-irqchip=split"])
    check("exit status: %s" % err, 1, status)      # nobody in this list does
    check("named in %s" % err, True, "option 'kernel-irqchip'" in err and "-accel jit: " in err)
    fails(1, ["jit,tb-sise=3"], "-accel jit: unknown option 'tb-sise', did you mean tb-size?")


def test_help():
    for name, word in (("jit", "tb-size=<MiB>"), ("tcg", "tb-size=<MiB>"), ("interp", "vcpus=<set>"),
                       ("kvm", "kernel-irqchip=on|split|off"), ("kvm,vcpus=0", "dirty-ring-size=<n>")):
        done = subprocess.run([VIREO, "-accel", name + ",help"], stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check("%s: exit status" % name, 0, done.returncode)
        check("%s: %s in %s" % (name, word, done.stdout), True, word in done.stdout.decode())
    fails(1, ["itnerp,help"], "-accel itnerp: invalid accelerator, did you mean interp?")


if __name__ == "__main__":
    main()
