#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What memory operands cost in 64-bit code, and in 32-bit code with and without paging: small loops
without an operating system (guest/modes.c), in ticks of the TSC, the least of many turns.

    tests/bench/modes.py [VIREO [-ACCEL...]]       modes.py build/vireo jit,share=off jit
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TESTS, "cpu"), TESTS]
import run  # pylint: disable=wrong-import-position


def measure(vireo, accel, image, log):
    subprocess.run([vireo, "-accel", accel, "-cpu", "max", "-m", "32", "-nodefaults", "-display",
                    "none", "-no-reboot", "-bios", image, "-debugcon", "file:" + log,
                    "-device", "isa-debug-exit,iobase=0xf4,iosize=1"], timeout=300, check=False)
    with open(log) as f:
        text = f.read()
    os.unlink(log)
    return {(m[1], m[2]): int(m[3]) for m in re.finditer(r"^# (\S+) (\S+) (\d+)", text, re.M)}


def main():
    vireo = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(TESTS), "build/vireo")
    accels = sys.argv[2:] or ["jit"]
    with tempfile.TemporaryDirectory(prefix="vireo-modes-") as work:
        run.HERE = os.path.join(work, "cpu")  # the guests' common parts, and this one
        shutil.copytree(os.path.join(TESTS, "cpu"), run.HERE)
        shutil.copy(os.path.join(HERE, "guest/modes.c"), run.HERE)
        print("%-16s %-8s" % ("mode", "loop"), *("%20s" % a for a in accels))
        for bits in (64, 32):
            image = run.build("modes", work, "gcc", bits)
            got = [measure(vireo, a, image, os.path.join(work, "log")) for a in accels]
            for key in got[0]:
                print("%-16s %-8s" % key, *("%20d" % g.get(key, 0) for g in got))


if __name__ == "__main__":
    main()
