#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Short runs of wild.py with seeds that stay the same, in all modes on each engine; it alone runs
longer."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "hw"))
sys.path.insert(0, os.path.dirname(HERE))
import engines  # pylint: disable=wrong-import-position
from qtest import Failure, VIREO, main  # pylint: disable=wrong-import-position
from wild import MODES, fuzz  # pylint: disable=wrong-import-position

SECONDS = 1


def survives(mode, accel, seed):
    problem, rounds, _ = fuzz(mode, seed, accel, SECONDS)
    if problem:
        raise Failure(problem)
    if not rounds:
        raise Failure("no round of random bytes was run")


def make_tests():
    for name, accel in engines.settings(VIREO):
        if name not in ("interp", "jit0", "jit2"):
            continue
        for i, mode in enumerate(MODES):
            title = "test_%s_%s" % (mode, name)
            globals()[title] = lambda m=mode, a=accel, s=11 + i: survives(m, a, s)
            globals()[title].__name__ = title


make_tests()
main()
