#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A short run of devices.py with seeds that stay the same; it alone runs longer."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "hw"))
from qtest import Failure, main  # pylint: disable=wrong-import-position
from devices import fuzz  # pylint: disable=wrong-import-position

BATCHES = 250


def survives(seed):
    report = fuzz(seed, batches=BATCHES)
    if report:
        raise Failure(report)


def test_seed_1():
    survives(1)


def test_seed_2():
    survives(2)


def test_seed_3():
    survives(3)


def test_seed_4():
    survives(4)


main()
