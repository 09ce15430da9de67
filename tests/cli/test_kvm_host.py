#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts without a usable /dev/kvm: what -enable-kvm says, what runs when no accelerator is named.
Other hosts are made of this one in a mount namespace, which needs root."""

import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hw"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qtest import VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position
import test_start as start  # pylint: disable=wrong-import-position

DIR = tempfile.TemporaryDirectory(prefix="vireo-kvm-host-")
EXIT = start.outb(0xf4, 0x10) + start.HALT
STATUS = 0x21                                  # isa-debug-exit's answer to it
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
ORDERS = (["-enable-kvm"], ["-accel", "kvm"], ["-M", "pc,accel=kvm"])


def vireo():
    """A copy that others than its owner may start."""
    path = os.path.join(DIR.name, "vireo")
    if not os.path.exists(path):
        os.chmod(DIR.name, 0o755)
        shutil.copy(VIREO, path)
        os.chmod(path, 0o755)
    return path


def run(dev, *args, user=()):
    """Runs it where dev, shell commands, made /dev. Returns (status, stderr)."""
    bios = start.firmware(EXIT)
    os.chmod(start.DIR.name, 0o755)
    os.chmod(bios, 0o644)
    cmd = [vireo(), *args, "-bios", bios, "-display", "none", "-nodefaults",
           "-device", "isa-debug-exit,iobase=0xf4"]
    if dev is not None:
        cmd = ["unshare", "-m", "sh", "-ec", "mount -t tmpfs -o mode=755 none /dev\n" + dev +
               '\nexec "$@"', "sh", *user, *cmd]
    try:
        done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False,
                              stderr=subprocess.PIPE, timeout=start.TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failure("did not end: %s" % " ".join(cmd)) from None
    return done.returncode, done.stderr.decode(errors="replace")


def need_namespaces():
    if "kvm" not in subprocess.run([VIREO, "-accel", "help"], stdout=subprocess.PIPE,
                                   check=True).stdout.decode():
        skip("no KVM in this build")
    if os.getuid():
        skip("needs root, to hide /dev/kvm")
    if not shutil.which("unshare") or not shutil.which("setpriv"):
        skip("no unshare or setpriv: install util-linux")
    try:
        status, text = run("mknod kvm c 10 232 && rm kvm; cd /", "-accel", "jit")
    except (Failure, OSError) as e:
        skip("cannot make another /dev: %s" % e)
    if status != STATUS:
        skip("cannot make another /dev: " + text.strip())


def refuses(dev, *words, user=()):
    for order in ORDERS:
        status, text = run(dev, *order, user=user)
        what = "%s: '%s': " % (order, text.strip())
        check(what + "exit status", 1, status)
        check(what + "lines", 1, text.count("\n"))
        for word in ("vireo: -accel kvm: ", "; or use -accel jit") + words:
            check("%shas '%s'" % (what, word), True, word in text)


def test_no_node():
    need_namespaces()
    refuses("", "no /dev/kvm")


def test_another_device():
    need_namespaces()
    refuses("mknod /dev/kvm c 1 3", "not the KVM device", "mknod -m 660 /dev/kvm c 10 232")


def test_directory():
    need_namespaces()
    refuses("mkdir /dev/kvm", "/dev/kvm is a directory", "rmdir /dev/kvm")


def test_no_permission():
    need_namespaces()
    refuses("mknod -m 600 /dev/kvm c 10 232", "permission denied", "owner 'root' alone", "chmod 660",
            user=NOBODY)
    refuses("mknod -m 660 /dev/kvm c 10 232\nchgrp daemon /dev/kvm", "group 'daemon'",
            "`sudo usermod -aG daemon $USER`", user=NOBODY)


def test_fallback_list():
    need_namespaces()
    for order in (["-accel", "kvm:jit"], ["-accel", "kvm", "-accel", "tcg"], ["-M", "accel=kvm:tcg"],
                  ["-accel", "kvm:jit,kernel-irqchip=split,tb-size=8"]):
        status, text = run("", *order)
        check("%s: exit status, '%s'" % (order, text), STATUS, status)
        check("%s: a notice in '%s'" % (order, text), True, "no /dev/kvm" in text)


def test_order_with_list():
    """-enable-kvm is no first word of a list."""
    need_namespaces()
    status, text = run("", "-enable-kvm", "-accel", "jit")
    check("exit status, '%s'" % text, 1, status)
    check("cause and cure: '%s'" % text, True,
          "no /dev/kvm" in text and "-enable-kvm: nothing would run on KVM" in text)


def test_default():
    need_namespaces()
    status, text = run("")
    check("exit status, '%s'" % text, STATUS, status)
    check("says why: '%s'" % text, True,
          text.startswith("vireo: running on jit; not kvm: no /dev/kvm") and text.count("\n") == 1)


def test_default_here():
    """Whatever this host has, there is one line that says what runs."""
    status, text = run(None)
    check("exit status, '%s'" % text, STATUS, status)
    check("one line: '%s'" % text, 1, text.count("\n"))
    check("says what: '%s'" % text, True, text.startswith("vireo: running on "))


def test_order_here():
    """An order is followed where KVM can be used. CPUID tells whether it may be slow."""
    status, text = run(None, "-accel", "kvm")
    if status == 1:
        skip(text.strip())
    check("exit status, '%s'" % text, STATUS, status)
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        slow = not {"vmx", "svm"} & set(f.read().split())
    check("says so: '%s'" % text, slow, "running on kvm as ordered" in text)


def test_info():
    """info kvm says why KVM does not run the guest."""
    need_namespaces()
    for dev, want in (("", "no /dev/kvm"), (None, "another engine was chosen")):
        cmd = [vireo(), "-accel", "interp", "-S", "-display", "none", "-nodefaults",
               "-monitor", "stdio"]
        if dev is not None:
            cmd = ["unshare", "-m", "sh", "-ec", 'mount -t tmpfs none /dev\nexec "$@"', "sh", *cmd]
        elif not os.path.exists("/dev/kvm"):
            continue
        done = subprocess.run(cmd, input=b"info kvm\nquit\n", stdout=subprocess.PIPE, check=True,
                              timeout=start.TIMEOUT)
        lines = done.stdout.decode().replace("\r", "").split("\n")
        at = lines.index("kvm support: disabled")
        check("'%s'" % lines[at + 1], True, lines[at + 1].startswith("reason: " + want))


if __name__ == "__main__":
    main()
