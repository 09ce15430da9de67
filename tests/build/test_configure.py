#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""configure and the Makefile, without building the whole."""

import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/hw"))
from qtest import Failure, check, main  # pylint: disable=wrong-import-position

# Not what the make that runs the tests was told.
ENV = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CC")}


def run(*cmd, cwd=ROOT, want=0):
    done = subprocess.run(cmd, cwd=cwd, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    check("status of " + " ".join(cmd) + "\n" + text, want, done.returncode)
    return text


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


main()
