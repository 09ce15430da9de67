#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""configure and the Makefile, without building the whole."""

import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position,wrong-import-order
from without import ENV, FOR_TESTS, OPTIONAL, ROOT, build_without, config, run
from qtest import Failure, check, main


def feed(text, *cmd):
    """Status and what it said, both ways, when that text is its input."""
    done = subprocess.run(cmd, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60 * float(os.environ.get("SLOW", "1")), check=False)
    return done.returncode, done.stdout.decode(errors="replace")


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


def test_each_missing():
    """--enable-X for what is not there, each alone."""
    with tempfile.TemporaryDirectory(prefix="vireo-build-") as out:
        pc = {"slirp": "slirp", "sdl": "sdl2", "png": "libpng", "liburing": "liburing", "zstd": "libzstd",
              "cmocka": "cmocka", "zydis": None}
        # A pkg-config and a compiler to which one library does not exist.
        for name, real, sign in (("pkg-config", shutil.which("pkg-config"), '"$HIDE"'),
                                 ("cc", shutil.which("gcc") or shutil.which("clang"), '-l"$HIDE"')):
            with open(out + "/" + name, "w") as f:
                f.write('#!/bin/sh\nfor a; do [ "$a" != %s ] || exit 1; done\nexec %s "$@"\n' % (sign, real))
            os.chmod(out + "/" + name, 0o755)
        for option, package in {**OPTIONAL, **FOR_TESTS}.items():
            env = dict(ENV, PATH=out + ":" + ENV["PATH"], CC="cc", HIDE=pc[option] or "Zydis")
            for enable, want in (([], 0), (["--enable-" + option], 1)):
                if not enable and option == "slirp":
                    want = 1  # needed unless disabled
                done = subprocess.run([ROOT + "/configure", *enable], cwd=out, env=env, check=False,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
                text = done.stdout.decode()
                what = "%s without %s:\n%s" % (enable, package, text)
                check("status, " + what, want, done.returncode)
                check("names it, " + what, True, package in (text.splitlines()[-1] if want else text))


def test_without_libraries():
    """What needs a library says which package has it."""
    with tempfile.TemporaryDirectory(prefix="vireo-build-") as out:
        build_without(out, list(OPTIONAL))
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
