#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the guests for KVM (tests/kvm/*.c) and runs them, TAP on stdout. They are small: some
hosts have a /dev/kvm that emulates two million instructions a second.

A guest is one of tests/cpu in C (guest.h). In its opening comment,
    smp: 1 2       numbers of CPUs it is run with, once each,
    bits: 64 32    what it is compiled as, once each,
    modes: on off  kernel-irqchip=, once each; one with a comma in it is -accel options, + between
                   two of them,
    options: ...   further options of vireo.
Guests without modes run with the default.

    run.py [-v VIREO] [--any] [GUEST...]

--any runs them on the interpreter instead, as a check of the guests themselves.
"""
import argparse
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CPU = os.path.join(os.path.dirname(HERE), "cpu")
TIMEOUT = 60 * float(os.environ.get("SLOW", "1"))

sys.path.insert(0, CPU)
import importlib.util  # pylint: disable=wrong-import-position

SPEC = importlib.util.spec_from_file_location("cpu_run", os.path.join(CPU, "run.py"))
cpu_run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cpu_run)


def lacks():
    """Why KVM cannot be used here; None: it can."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as e:
        return "no /dev/kvm" if e.errno == errno.ENOENT else "/dev/kvm: " + e.strerror
    return None


# Of tests/cpu: small, and right even where KVM emulates all code. As cpu-NAME.
CPU_GUESTS = ["a20", "kvmclock64", "modes", "near16", "triple"]


def guests():
    """Those run here; others are for a test_*.py."""
    here = [n for n in sorted(f[:-2] for f in os.listdir(HERE) if f.endswith(".c"))
            if not head(n, "for")]
    return here + ["cpu-" + n for n in CPU_GUESTS]


def head(name, key):
    with open(os.path.join(HERE, name + ".c")) as f:
        comment = f.read().split("*/")[0]
    return " ".join(re.findall(r"^ \* %s: (.*)$" % key, comment, re.M)).split()


def build(name, out, bits=64, cc="gcc"):
    """The path of a guest's 64 KiB image."""
    sources = [os.path.join(CPU, "crt.S"), os.path.join(HERE, name + ".c")]
    return cpu_run.build_image(sources, os.path.join(out, "%s-%d.bin" % (name, bits)), cc, bits,
                               ["-I" + CPU])


def accel(mode):
    """-accel options of a mode."""
    if not mode:
        return ["-accel", "kvm"]
    if "," not in mode:
        return ["-accel", "kvm,kernel-irqchip=" + mode]
    return [w for part in mode.split("+") for w in ("-accel", part)]


def command(vireo, image, log, accels, smp, options):
    return [vireo, "-m", "32", "-nodefaults", "-display", "none", "-no-reboot", "-bios", image,
            "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-smp", str(smp)] + accels + options + [
                "-chardev", "file,id=log,path=" + log, "-device", "isa-debugcon,chardev=log"]


def run_one(args, name, bits, smp, mode, out, totals):
    title = "%s %d-bit smp=%d%s" % (name, bits, smp, " " + mode if mode else "")
    log = os.path.join(out, "log")
    if os.path.exists(log):
        os.unlink(log)
    accels = ["-accel", "interp"] if args.any else accel(mode)
    cmd = command(args.vireo, build(name, out, bits, args.cc), log, accels, smp,
                  head(name, "options"))
    if args.show:
        print("# " + " ".join(cmd))
    try:
        done = subprocess.run(cmd, timeout=TIMEOUT, stdin=subprocess.DEVNULL,
                              stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
        status, said = done.returncode, done.stdout.decode(errors="replace").strip()
    except subprocess.TimeoutExpired as e:
        status, said = "no end within %d s" % TIMEOUT, (e.stdout or b"").decode(errors="replace")
    text = open(log, errors="replace").read() if os.path.exists(log) else ""
    ended = False
    for line in text.splitlines():
        ended |= line.startswith("1..")
        match = re.match(r"(not )?ok \d+ - (.*)", line)
        if match:
            totals[0] += 1
            totals[1] += bool(match[1])
            print("%sok %d - %s: %s" % (match[1] or "", totals[0], title, match[2]))
        elif line.startswith("#"):
            print("# %s: %s" % (title, line.lstrip("# ")))
    if not ended or status not in (1, 3):
        totals[0] += 1
        totals[1] += 1
        print("not ok %d - %s: ends\n# want a plan and exit status 1 or 3, got %s %s" % (
            totals[0], title, status, said))
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--vireo", default=os.environ.get("VIREO", "build/vireo"))
    parser.add_argument("--cc", default=os.environ.get("CC", "gcc").split()[-1])
    parser.add_argument("--any", action="store_true", help="on the interpreter")
    parser.add_argument("--show", action="store_true", help="print the commands")
    parser.add_argument("--keep", help="directory to leave images and logs in")
    parser.add_argument("--list", action="store_true", help="names of the guests")
    parser.add_argument("guest", nargs="*")
    args = parser.parse_args()
    if args.list:
        print("\n".join(guests()))
        return 0
    why = None if args.any else lacks()
    if why:
        print("1..0 # SKIP " + why)
        return 0
    if len(args.guest) == 1 and args.guest[0].startswith("cpu-"):
        cmd = [os.path.join(CPU, "run.py"), "-v", args.vireo, "--cc", args.cc, "-a",
               "interp" if args.any else "kvm", args.guest[0][4:]]
        sys.stdout.flush()
        os.execv(cmd[0], cmd)
    out = args.keep or tempfile.mkdtemp(prefix="vireo-kvm-")
    os.makedirs(out, exist_ok=True)
    totals = [0, 0]
    for name in args.guest or [g for g in guests() if not g.startswith("cpu-")]:
        for bits in head(name, "bits") or ["64"]:
            for smp in head(name, "smp") or ["1"]:
                for mode in (head(name, "modes") if not args.any else None) or [None]:
                    run_one(args, name, int(bits), int(smp), mode, out, totals)
    print("1..%d" % totals[0])
    if totals[1]:
        print("# rerun: tests/kvm/run.py" + "".join(" " + n for n in args.guest))
    if not args.keep:
        shutil.rmtree(out)
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
