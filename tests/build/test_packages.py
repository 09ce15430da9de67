#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test of scripts/check names as missing, scripts/check installs: nothing is skipped for want of
a package."""

import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/hw"))
from qtest import check, main  # pylint: disable=wrong-import-position

# Where the fast and the boot suites look for tools; what libFuzzer wants is for make check-jit-long.
FOLDERS = ("boot", "build", "cli", "cpu", "hw", "img", "kvm", "kvm-nested", "ui")
NAME = r"[a-z0-9][a-z0-9.+-]*[a-z0-9]"


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def installed():
    done = subprocess.run(["sh", "-c", ". scripts/packages; echo $BUILD_PACKAGES $TEST_PACKAGES"], cwd=ROOT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().split()


def named(path):
    """Packages after 'install' in messages, and those of media.sh's 'need TOOL PACKAGES'."""
    text = text_of(path)
    for match in re.finditer(r"\binstall ((%s)(( and| or|,)? (?!on\b|it\b|for\b)%s)*)" % (NAME, NAME), text):
        yield from (w for w in re.split(r"[ ,]+", match[1]) if w not in ("and", "or"))
    for match in re.finditer(r'^ +need \S+ (?:"([^"]+)"|(\S+))', text, re.M):
        yield from (match[1] or match[2]).split()


def test_all_installed():
    have, seen, missing = installed(), set(), []
    for folder in FOLDERS:
        for path in glob.glob(os.path.join(ROOT, "tests", folder, "*")):
            if path.endswith((".py", ".sh")) and path != os.path.abspath(__file__):
                for name in named(path):
                    seen.add(name)
                    if name not in have:
                        missing.append("%s: %s" % (os.path.relpath(path, ROOT), name))
    for name in ("tshark", "qemu-utils", "iproute2", "grub-pc-bin"):
        check("%s is seen to be named" % name, True, name in seen)
    check("named by a test, installed by scripts/check", [], missing)


def test_said_how():
    """A tool that is missing is a reason that names its package."""
    for folder in FOLDERS:
        for path in glob.glob(os.path.join(ROOT, "tests", folder, "*.py")):
            if "is not installed" in text_of(path) and path != os.path.abspath(__file__):
                check(os.path.relpath(path, ROOT) + " says which package", False, True)


main()
