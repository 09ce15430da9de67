#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""configure and the Makefile, without building the whole."""

import os
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/hw"))
from qtest import VIREO, Failure, Skip, check, main  # pylint: disable=wrong-import-position

# Not what the make that runs the tests was told.
ENV = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CC")}


def run(*cmd, cwd=ROOT, want=0):
    done = subprocess.run(cmd, cwd=cwd, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    check("status of " + " ".join(cmd) + "\n" + text, want, done.returncode)
    return text


def feed(text, *cmd):
    """Status and what it said, both ways, when that text is its input."""
    done = subprocess.run(cmd, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60 * float(os.environ.get("SLOW", "1")), check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def config(directory):
    with open(os.path.join(directory, "config.mk")) as f:
        return dict(line.rstrip("\n").split(" :=", 1) for line in f if " :=" in line)


def test_help():
    text = run("./configure", "--help")
    for word in ("--prefix", "--enable-debug", "--enable-sanitizers", "--disable-sdl", "--disable-liburing"):
        check(word, True, word in text)


def test_unknown_option():
    text = run("./configure", "--enable-magic", want=1)
    check("names it", True, "--enable-magic" in text)


def test_out_of_tree():
    with tempfile.TemporaryDirectory(prefix="vireo-build-") as out:
        text = run(os.path.join(ROOT, "configure"), "--disable-sdl", "--prefix=/opt/x", cwd=out)
        check("says what is off", True, "disabled" in text)
        conf = config(out)
        check("prefix", "/opt/x", conf["PREFIX"].strip())
        check("sdl", "n", conf["HAVE_SDL"].strip())
        run("make", out + "/util/error.o", cwd=out)
        check("object", True, os.path.exists(out + "/util/error.o"))
        check("nothing left to do", False, "CC" in run("make", out + "/util/error.o", cwd=out))
        check("other flags", True, "CC" in run("make", out + "/util/error.o", "CFLAGS=-O1", cwd=out))


def test_header_dependency():
    with tempfile.TemporaryDirectory(prefix="vireo-build-") as out:
        run(os.path.join(ROOT, "configure"), "--quiet", cwd=out)
        obj = out + "/util/error.o"
        run("make", obj, cwd=out)
        with open(out + "/util/error.d") as f:
            if "util/error.h" not in f.read():
                raise Failure("want util/error.h among the dependencies of %s" % obj)


def test_missing_library():
    with tempfile.TemporaryDirectory(prefix="vireo-build-") as out:
        ENV["PKG_CONFIG_LIBDIR"] = out  # where there is none
        try:
            text = run(os.path.join(ROOT, "configure"), cwd=out, want=1)
        finally:
            del ENV["PKG_CONFIG_LIBDIR"]
        for package in ("libpixman-1-dev", "libjson-c-dev", "zlib1g-dev"):
            check("names " + package, True, package in text.splitlines()[-1])


OPTIONAL = {"slirp": "libslirp-dev", "sdl": "libsdl2-dev", "png": "libpng-dev",
            "liburing": "liburing-dev", "zstd": "libzstd-dev"}


def knows_options(dep):
    """Whether one of the files that an object was made of asks for an optional library."""
    with open(dep) as f:
        files = re.findall(r"[\w./-]+\.[chS]\b", f.read())
    for name in files:
        path = os.path.join(ROOT, name)
        if not name.startswith("/") and os.path.exists(path):
            with open(path) as f:
                if re.search(r"\bHAVE_(SLIRP|SDL|PNG|LIBURING|ZSTD)\b", f.read()):
                    return True
    return False


def build_without(out):
    """vireo and vireo-img without any optional library in out. Objects that are the same either way
    are those of the build under test."""
    build = os.path.dirname(os.path.abspath(VIREO))
    if not os.path.exists(build + "/config.mk") or not os.path.exists(build + "/vm/main.d"):
        raise Skip("%s has no objects to take" % build)
    args = shlex.split(config(build).get("CONFIG_ARGS", ""))
    args = [a for a in args if not re.match("--(build-dir=|enable-(%s))" % "|".join(OPTIONAL), a)]
    run("./configure", "--quiet", "--build-dir=" + out, *args, *["--disable-" + o for o in OPTIONAL])
    plan = run("make", "--no-print-directory", "-n", "V=1", "B=" + out, out + "/vireo", out + "/vireo-img")
    links = []
    for line in plan.splitlines():
        made = re.search(" -o %s/(\\S+)" % re.escape(out), line)
        if not made or "firmware/" in made[1]:
            continue
        name = made[1]
        if not name.endswith(".o"):
            links.append(line)
        elif os.path.exists("%s/%s" % (build, name)) and not knows_options("%s/%s.d" % (build, name[:-2])):
            os.makedirs(os.path.dirname(out + "/" + name), exist_ok=True)
            os.symlink("%s/%s" % (build, name), out + "/" + name)
        else:
            os.makedirs(os.path.dirname(out + "/" + name), exist_ok=True)
            run("sh", "-c", line)
    for line in links:
        run("sh", "-c", line)


def test_without_libraries():
    """What needs a library says which package has it."""
    with tempfile.TemporaryDirectory(prefix="vireo-build-") as out:
        build_without(out)
        for wrong, option in ((("-netdev", "user,id=n0"), "slirp"), (("-nic", "user"), "slirp"),
                              (("-display", "sdl"), "sdl")):
            text = run(out + "/vireo", "-accel", "test", *wrong, want=1)
            check("lines of " + text, 1, len(text.splitlines()))
            check("package in " + text, True, OPTIONAL[option] in text)
            check("option in " + text, True, "--disable-" + option in text)
        text = run(out + "/vireo-img", "create", "-q", "-f", "qcow2", "-o", "compression_type=zstd",
                   out + "/z.qcow2", "1M", want=1)
        check("package in " + text, True, OPTIONAL["zstd"] in text)
        with open(out + "/a.raw", "wb") as f:
            f.truncate(1 << 20)
        status, text = feed("screendump %s/a.png\nhostfwd_add tcp::0-:22\nquit\n" % out, out + "/vireo",
                            "-accel", "test", "-display", "none", "-monitor", "stdio", "-drive",
                            "file=%s/a.raw,format=raw,aio=io_uring" % out)
        check("status of " + text, 0, status)
        for option in ("png", "slirp", "liburing"):
            check("%s in %s" % (OPTIONAL[option], text), True, OPTIONAL[option] in text)
        check("no picture", False, os.path.exists(out + "/a.png"))


main()
