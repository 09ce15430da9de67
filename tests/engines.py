# SPDX-License-Identifier: GPL-2.0-or-later
"""The engines a build has, and the settings of each that tests run guests under."""

import re
import subprocess

# name in a test's title: (engine, -accel)
SETTINGS = {
    "interp": ("interp", "interp"),
    # Nearly all code in translation, at once or after the interpreter has seen it.
    "jit0": ("jit", "jit,threshold=0"),
    "jit2": ("jit", "jit,threshold=2"),
    # Every memory access asks the engine.
    "jit-notable": ("jit", "jit,threshold=0,table=off"),
    "jit-noshare": ("jit", "jit,threshold=0,share=off"),
    # Every operand that can looks into the translation cache itself.
    "jit-roam": ("jit", "jit,threshold=0,roam=all"),
    # No operand looks into it, nor into a span, nor goes through a window: slots alone.
    "jit-noroam": ("jit", "jit,threshold=0,roam=off,span=off,window=off"),
    # 32-bit code has each page that it uses in its window.
    "jit-window": ("jit", "jit,threshold=0,window=all"),
    # CPUs take turns: only guests for several of them.
    "jit-single": ("jit", "jit,threshold=2,thread=single"),
    # As many blocks as there can be, in a cache that is soon full.
    "jit-odd": ("jit", "jit,threshold=0,one-insn-per-tb=on,tb-size=1"),
    # Every block compared with the interpreter: guests that do not say "lockstep: no".
    "jit-check": ("jit", "jit,check=interp"),
}
# For guests that run longer: tests/boot/guests.json names them.
LONG = {
    "jit": ("jit", "jit"),
    # A kernel compared block by block is slow enough to find its CPU stuck.
    "jit-check64": ("jit", "jit,check=interp,check-every=64"),
    "jit-1m": ("jit", "jit,tb-size=1"),
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
    """[(name, -accel)] of what this build can run the guests of tests/cpu with."""
    have = listed(vireo)
    return [(name, accel) for name, (engine, accel) in SETTINGS.items() if engine in have]


def accel(name):
    """A setting's name or an -accel of its own to the latter."""
    return dict(SETTINGS, **LONG).get(name, (None, name))[1]


def lacks(vireo, name):
    """Why the build cannot run guests with it; None: it can."""
    try:
        done = subprocess.run([vireo, "-M", "none", "-accel", accel(name), "-display", "none",
                               "-monitor", "stdio"], input=b"quit\n", timeout=60, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason"]
    return said[0] if done.returncode else None
