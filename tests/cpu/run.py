#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the CPU guests (tests/cpu/*.S) and runs them, TAP on stdout.

A guest is a BIOS image that prints TAP to the debug port and leaves through isa-debug-exit. In a
guest's opening comment,
    qemu: NAME              marks a check that QEMU's TCG is known to fail,
    qemu: skip (REASON)     a guest that it cannot run at all,
    ends: reset             a guest whose last deed resets the machine, after its plan.

    run.py [-v VIREO] [-a ACCEL] [-c CPU] [--qemu] [GUEST...]
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 60


def build(name, out, cc):
    """Returns the path of NAME's 64 KiB image."""
    objects = []
    for part in ("lib", name):
        obj = os.path.join(out, part + ".o")
        # clang's own assembler does not know "offset 1b" for what it is
        use_as = ["-fno-integrated-as"] if "clang" in cc else []
        subprocess.run([cc, "-m64", "-c", "-o", obj, os.path.join(HERE, part + ".S")] + use_as,
                       check=True)
        objects.append(obj)
    elf, image = os.path.join(out, name + ".elf"), os.path.join(out, name + ".bin")
    subprocess.run(["ld", "-m", "elf_x86_64", "--no-warn-rwx-segments", "-T",
                    os.path.join(HERE, "rom.ld"), "-o", elf] + objects, check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", "-j", ".utext", "-j", ".data",
                    "-j", ".reset", elf, image], check=True)
    return image


def known_deviations(name):
    with open(os.path.join(HERE, name + ".S")) as f:
        head = f.read().split("*/")[0]
    return re.findall(r"^ \* qemu: (.*)$", head, re.M)


def ends_by_reset(name):
    with open(os.path.join(HERE, name + ".S")) as f:
        return " * ends: reset\n" in f.read().split("*/")[0]


def command(args, image, log):
    if args.qemu:
        start = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", args.cpu]
    else:
        start = [args.vireo, "-accel", args.accel, "-cpu", args.cpu]
    return start + ["-m", "32", "-nodefaults", "-display", "none", "-no-reboot", "-bios", image,
                    "-debugcon", "file:" + log, "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]


def run_guest(args, name, out):
    """Returns (lines, problem): the guest's TAP text, and what went wrong outside of it."""
    image, log = build(name, out, args.cc), os.path.join(out, name + ".log")
    cmd = command(args, image, log)
    if args.show:
        print("# " + " ".join(cmd))
    try:
        done = subprocess.run(cmd, timeout=TIMEOUT, stdin=subprocess.DEVNULL,
                              stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
        status, said = done.returncode, done.stdout.decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        status, said = "no end within %d s" % TIMEOUT, ""
    text = ""
    if os.path.exists(log):
        with open(log, errors="replace") as f:
            text = f.read()
    lines = text.splitlines()
    problem = None
    want = (0,) if ends_by_reset(name) else (1, 3)
    if status not in want or not any(l.startswith("1..") for l in lines):
        problem = "want a plan and exit status in %s, got %s %s" % (want, status, said)
    return lines, problem


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--vireo", default=os.environ.get("VIREO", "build/vireo"))
    parser.add_argument("-a", "--accel", default=os.environ.get("VIREO_ACCEL", "interp"))
    parser.add_argument("-c", "--cpu", default="max")
    parser.add_argument("--cc", default=os.environ.get("CC", "gcc").split()[-1])
    parser.add_argument("--qemu", action="store_true", help="ask qemu-system-x86_64 instead")
    parser.add_argument("--show", action="store_true", help="print the commands")
    parser.add_argument("--keep", help="directory to leave images and logs in")
    parser.add_argument("guest", nargs="*")
    args = parser.parse_args()
    names = args.guest or sorted(f[:-2] for f in os.listdir(HERE)
                                 if f.endswith(".S") and f != "lib.S")
    out = args.keep or tempfile.mkdtemp(prefix="vireo-cpu-")
    os.makedirs(out, exist_ok=True)
    number = failed = 0
    for name in names:
        known = known_deviations(name) if args.qemu else []
        skip = [k for k in known if k.startswith("skip")]
        if skip:
            number += 1
            print("ok %d - %s # SKIP %s" % (number, name, skip[0][5:]))
            continue
        lines, problem = run_guest(args, name, out)
        for line in lines:
            match = re.match(r"(not )?ok \d+ - (.*)", line)
            if not match:
                if line.startswith("#") or "SKIP" in line:
                    print("# %s: %s" % (name, line.lstrip("# ")))
                continue
            number += 1
            todo = " # TODO known deviation of QEMU" if match[2] in known else ""
            failed += bool(match[1]) and not todo
            print("%sok %d - %s: %s%s" % (match[1] or "", number, name, match[2], todo))
        if problem:
            number += 1
            failed += 1
            print("not ok %d - %s: ends\n# %s" % (number, name, problem))
        sys.stdout.flush()
    print("1..%d" % number)
    if failed:
        print("# rerun: tests/cpu/run.py %s%s" % ("--qemu " if args.qemu else "", " ".join(names)))
    if not args.keep:
        shutil.rmtree(out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
