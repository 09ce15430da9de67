#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every --disable-X of configure alone: the build says nothing, and the unit tests and those of the
command line pass in it. each_option.py [X...]"""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position,wrong-import-order
from without import ENV, FOR_TESTS, OPTIONAL, ROOT, build_without
from qtest import Failure, main


def one(option):
    with tempfile.TemporaryDirectory(prefix="vireo-without-") as out:
        build_without(out, [option], ["tests"])
        done = subprocess.run(["tests/run", "--build", out, "unit", "cli"], cwd=ROOT, env=ENV, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = done.stdout.decode(errors="replace").splitlines()
        print("# without %s: %s" % (option, lines[-1] if lines else "nothing ran"))
        if done.returncode:
            raise Failure("\n".join(line for line in lines if not line.startswith("ok ")))


for _option in sys.argv[1:] or [*OPTIONAL, *FOR_TESTS]:
    globals()["test_" + _option] = lambda option=_option: one(option)
sys.argv[1:] = []
main()
