# SPDX-License-Identifier: GPL-2.0-or-later
"""Signal storms: a library that, preloaded, sends every thread of its process signals without end.

Its handler uses thread-local variables, libc, SSE and x87 as any library might: what generated code
keeps in registers must not matter to it, nor the other way round.
"""

import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def environment(out, rate):
    """os.environ with the library, made in the directory out: rate signals a second a thread."""
    path = os.path.join(out, "signals.so")
    subprocess.run([os.environ.get("CC", "gcc").split()[-1], "-O2", "-Wall", "-shared", "-fPIC",
                    "-pthread", "-o", path, os.path.join(HERE, "signals.c"), "-lm"], check=True)
    return dict(os.environ, LD_PRELOAD=path, VIREO_SIGNALS=str(rate))
