#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who uses the host's x87. The translator leaves the guest's x87 state in it while C looks up
memory operands (accel/jit/fpu.h), so nobody else may: no long double anywhere else."""

import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/hw"))
from qtest import Skip, check, main  # pylint: disable=wrong-import-position

BUILD = os.path.dirname(os.path.abspath(os.environ.get("VIREO", "build/vireo")))
MAY = {"accel/jit/fpu.o", "cpu/x87.o", "cpu/x87_host_x86_64.o", "cpu/x87_native_x86_64.o"}
X87 = re.compile(r"\t(f(?!xsave|xrstor)[a-z0-9]+|emms)\b|%mm[0-7]")


def objects():
    for directory, _, files in os.walk(BUILD):
        for name in files:
            path = os.path.relpath(os.path.join(directory, name), BUILD)
            if name.endswith(".o") and not path.startswith(("tests/", "firmware/")):
                yield path


def uses(path):
    done = subprocess.run(["objdump", "-d", "--no-show-raw-insn", os.path.join(BUILD, path)],
                          stdout=subprocess.PIPE, check=True)
    return X87.search(done.stdout.decode(errors="replace")) is not None


def test_nobody_else():
    found = sorted(objects())
    if not shutil.which("objdump") or os.uname().machine != "x86_64":
        raise Skip("no objdump (install binutils), or objects that are not x86-64")
    check("cpu/x87.o is among the objects", True, "cpu/x87.o" in found)
    check("it is seen to use the x87", True, uses("cpu/x87.o"))
    check("objects that use it besides", [], [o for o in found if o not in MAY and uses(o)])


main()
