# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds without optional libraries, beside the build under test and from its objects."""

import os
import re
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/hw"))
from qtest import VIREO, Skip, check  # pylint: disable=wrong-import-position

# Not what the make that runs the tests was told.
ENV = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CC")}

# configure's --disable-X and the package that has it.
OPTIONAL = {"slirp": "libslirp-dev", "sdl": "libsdl2-dev", "png": "libpng-dev",
            "liburing": "liburing-dev", "zstd": "libzstd-dev"}
FOR_TESTS = {"zydis": "libzydis-dev", "cmocka": "libcmocka-dev"}


def run(*cmd, cwd=ROOT, want=0):
    done = subprocess.run(cmd, cwd=cwd, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    check("status of " + " ".join(cmd) + "\n" + text, want, done.returncode)
    return text


def config(directory):
    with open(os.path.join(directory, "config.mk")) as f:
        return dict(line.rstrip("\n").split(" :=", 1) for line in f if " :=" in line)


def knows_options(dep):
    """Whether one of the files that an object was made of asks for an optional library."""
    with open(dep) as f:
        files = re.findall(r"[\w./-]+\.[chS]\b", f.read())
    for name in files:
        path = os.path.join(ROOT, name)
        if not name.startswith("/") and os.path.exists(path):
            with open(path) as f:
                if re.search(r"\bHAVE_(SLIRP|SDL|PNG|LIBURING|ZSTD|ZYDIS)\b", f.read()):
                    return True
    return False


def build_without(out, options, targets=("vireo", "vireo-img")):
    """Builds in out with --disable- these. Objects that are the same either way are those of the
    build under test. What the compiler says is an error."""
    build = os.path.dirname(os.path.abspath(VIREO))
    if not os.path.exists(build + "/config.mk") or not os.path.exists(build + "/vm/main.d"):
        raise Skip("%s has no objects to take" % build)
    args = shlex.split(config(build).get("CONFIG_ARGS", ""))
    args = [a for a in args if not re.match("--(build-dir=|enable-(%s))" % "|".join(options), a)]
    run("./configure", "--quiet", "--build-dir=" + out, *args, *["--disable-" + o for o in options])
    targets = [t if t == "tests" else "%s/%s" % (out, t) for t in targets]
    plan = run("make", "--no-print-directory", "-n", "V=1", "B=" + out, *targets)
    links = []
    for line in plan.splitlines():
        made = re.search(" -o %s/(\\S+)" % re.escape(out), line)
        if not made or "firmware/" in made[1]:
            continue
        name = made[1]
        if not name.endswith(".o"):
            links.append(line)
            continue
        os.makedirs(os.path.dirname(out + "/" + name), exist_ok=True)
        if os.path.exists("%s/%s" % (build, name)) and not knows_options("%s/%s.d" % (build, name[:-2])):
            os.symlink("%s/%s" % (build, name), out + "/" + name)
        else:
            check("what the compiler says", "", run("sh", "-c", line))
    for line in links:
        os.makedirs(os.path.dirname(out + "/" + re.search(" -o %s/(\\S+)" % re.escape(out), line)[1]),
                    exist_ok=True)
        check("what the linker says", "", run("sh", "-c", line))
