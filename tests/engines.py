# SPDX-License-Identifier: GPL-2.0-or-later
"""The engines a build has, and the settings of each that tests run guests under."""

import re
import subprocess

# name in a test's title: (engine, -accel)
SETTINGS = {
    "interp": ("interp", "interp"),
    # Nearly all code in translation, after the interpreter has seen it.
    "jit": ("jit", "jit,threshold=2"),
    "jit0": ("jit", "jit,threshold=0"),
    # Every memory access asks the engine.
    "jit-notable": ("jit", "jit,threshold=0,table=off"),
}


def listed(vireo):
    """Names in 'vireo -accel help'. The interpreter is in every build."""
    try:
        done = subprocess.run([vireo, "-accel", "help"], stdin=subprocess.DEVNULL, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ["interp"]
    return re.findall(r"^(\w+) ", done.stdout.decode(errors="replace"), re.M) or ["interp"]


def settings(vireo):
    """[(name, -accel)] of what this build can run guests with."""
    have = listed(vireo)
    return [(name, accel) for name, (engine, accel) in SETTINGS.items() if engine in have]


def accel(name):
    """A setting's name or an -accel of its own to the latter."""
    return SETTINGS[name][1] if name in SETTINGS else name
