#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What shows the work of the translator: -perfmap. The guests are a few bytes of firmware each."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_start import SAY_A, SPIN, Run, check, fails, main  # pylint: disable=wrong-import-position

JIT = ["-accel", "jit,threshold=0", "-debugcon", "stdio"]
RESET_CS = 0xffff0000
CODE = RESET_CS + 0xfe00  # where firmware() puts it


def test_perfmap():
    run = Run(*JIT, "-perfmap", code=SAY_A + SPIN)
    path = "/tmp/perf-%d.map" % run.proc.pid
    try:
        run.wait_for("A")
        with open("/proc/%d/maps" % run.proc.pid, encoding="ascii") as f:
            maps = f.read()
        check("ends at SIGTERM", 0, run.terminate())
        with open(path, encoding="ascii") as f:
            lines = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) (\S+)$", f.read(), re.M)
    finally:
        run.kill()
        if os.path.exists(path):
            os.unlink(path)
    spans = [(int(start, 16), int(size, 16)) for start, size, _ in lines]
    names = [name for _, _, name in lines]
    for a, b in zip(spans, spans[1:]):
        check("lines do not overlap", True, a[0] + a[1] <= b[0])
    check("the slow stub has a line", True, "stub:slow" in names)
    check("the first block has a line", True, "real:0x%x" % CODE in names)
    # perf report looks at the file for anonymous memory only.
    m = re.search(r"^([0-9a-f]+)-([0-9a-f]+) r-xs .* /dev/zero", maps, re.M)
    check("executable anonymous memory", True, m is not None)
    check("the lines are inside", True, int(m[1], 16) <= spans[0][0] and
          spans[-1][0] + spans[-1][1] <= int(m[2], 16))


def test_perfmap_errors():
    fails(["-accel", "interp", "-perfmap", "-display", "none"], "-perfmap", "use -accel jit")


if __name__ == "__main__":
    main()
