#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes of the first evening: each is answered at once, by exit status 1 and one line with its
cause and cure. And what -help lists is in docs/."""

import glob
import os
import re
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/hw"))
from qtest import VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position

SLOW = float(os.environ.get("SLOW", "1"))
DIR = tempfile.TemporaryDirectory(prefix="vireo-typos-")
IMG = os.path.join(os.path.dirname(os.path.abspath(VIREO)), "vireo-img")


def path(name, size=None):
    """A file there, if there is a size."""
    name = os.path.join(DIR.name, name)
    if size is not None:
        with open(name, "wb") as f:
            f.truncate(size)
    return name


def run(*cmd, said="", **kwargs):
    try:
        return subprocess.run(cmd, input=said.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False, timeout=60 * SLOW, **kwargs)
    except subprocess.TimeoutExpired:
        raise Failure("did not end: " + " ".join(cmd)) from None


def fails(args, *words, **kwargs):
    done = run(VIREO, "-display", "none", *args, **kwargs)
    text = "".join(line + "\n" for line in done.stdout.decode(errors="replace").splitlines()
                   if "nobody said the format" not in line)
    what = "%s: '%s'" % (" ".join(args), text.strip())
    check("status of " + what, 1, done.returncode)
    check("lines of " + what, 1, text.count("\n"))
    for word in words:
        check("%s in %s" % (word, what), True, word in text)


def test_machine():
    fails(["-hdaa", "x"], "did you mean -hda?")
    fails(["-cpu", "max,phys-bits=40", "-m", "4T"], "40 bits", "1024 GiB", "phys-bits=")
    fails(["-cpu", "max,phys-bits=36", "-m", "64G"], "36 bits")
    fails(["-cpu", "hots"], "did you mean 'host'?")
    fails(["-accel", "kmv"], "did you mean kvm?")
    fails(["-smp", "2,cores=3"], "do not fill one socket")
    fails(["-smp", "2,coers=1"], "'coers'", "cores")
    fails(["-smp", "4,maxcpus=2"], "maxcpus=2")
    fails(["-boot", "mneu=on"], "menu")
    fails(["-rtc", "bsae=utc"], "base")
    fails(["-name", "a,proces=b"], "process")
    fails(["-m", "1G,mzx=2"], "'mzx'")
    fails(["-device", "e1001"], "did you mean 'e1000'?")
    fails(["-object", "xyzzy,id=a"], "'help' lists them")
    fails(["-L", path("nodir")], "-L")
    fails(["-L", path("file", 1)], "-bios")
    fails(["doctor", "-m", "1"], "vireo doctor")


def test_display():
    fails(["-display", "foo"], "-display help")
    fails(["-display", "vnc=:1"], "vnc", "none")
    fails(["-display", "none,x=on"], "'x'")
    fails(["-vnc", ":1"], "-display")


def test_files():
    good, other = path("good.img", 1 << 20), path("other.img", 1 << 20)
    fails(["-drive", "file=" + path("missing")], "does not exist")
    fails(["-drive", good], "file=" + good)
    fails(["-drive", "file=%s,cache=xyzzy" % good], "writethrough")
    fails(["-drive", "file=%s,media=cd" % good], "cdrom")
    fails(["-hda", path("empty.img", 0)], "is empty", "vireo-img create")
    fails(["-hda", DIR.name], "is a directory")
    fails(["-hda", good, "-hdb", good], "another drive of this guest", "each drive")
    fails(["-hda", good, "-hdb", other, "-hda", other], "other.img")
    fails([good, other], "other.img")
    fails(["-kernel", path("missing")], "No such file")
    fails(["-kernel", path("empty.img", 0)], "is empty")
    fails(["-kernel", good], "no kernel")
    fails(["-bios", path("missing")], "-L")
    fifo = path("fifo")
    os.mkfifo(fifo)
    fails(["-kernel", fifo], "no regular file")
    fails(["-bios", fifo], "no regular file")
    fails(["-hda", fifo], "neither a file nor a block device")
    fails([fifo], "neither a file nor a block device")


def test_unreadable():
    """As somebody who is not root: root may read anything."""
    secret, mine = path("secret.img", 1 << 20), path("readonly.img", 1 << 20)
    os.chmod(secret, 0)
    os.chmod(mine, 0o444)
    other = {}
    if os.geteuid() == 0:
        other = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chmod(DIR.name, 0o755)
        try:
            if run(VIREO, "-version", **other).returncode or run("test", "-r", mine, **other).returncode:
                skip("others than root may not run %s or read %s" % (VIREO, DIR.name))
        except OSError as e:
            skip("cannot become somebody else: %s" % e)
    for words in (["-hda", secret], ["-cdrom", secret], ["-kernel", secret], ["-bios", secret], [secret],
                  ["-blockdev", "driver=file,node-name=a,filename=" + secret]):
        fails(words, "secret.img", "ermission", **other)
    fails(["-hda", mine], "readonly.img", "readonly=on", **other)


def test_ports():
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
        if b"user" in run(VIREO, "-netdev", "help").stdout:
            fails(["-nic", "user,hostfwd=tcp::%d-:22" % port], "is in use", "another port")
            fails(["-nic", "user,hostfwd=22"], "tcp::2222-:22")
        fails(["-netdev", "usr,id=a"], "did you mean 'user'?")
        fails(["-monitor", "tcp::%d,server=on,wait=off" % port], "choose another")
        fails(["-monitor", "tcp:127.0.0.1:%d" % nobody], "nobody listens", "server=on")
    fails(["-monitor", "unix:" + path("no.sock")], "nobody listens", "server=on")


def test_monitor():
    lines = (("info kmv", "did you mean 'info kvm'?"), ("chnage", "did you mean 'change'?"),
             ("change", "change [-f] device filename"), ("change ide1-cd0 /nowhere", "does not exist"),
             ("change xyzzy " + DIR.name, "info block"), ("eject xyzzy", "info block"),
             ("hostfwd_add", "which port?"), ("accel jit", "accel all jit"), ("accel 0", "name an engine"),
             ("accel all kmv", "did you mean kvm?"), ("device_add e1000", "-device e1000"),
             ("savevm x", "not built yet"), ("info snapshots", "not built yet"), ("migrate x", "not built"),
             ("gdbserver", "not built yet"), ("object_add xyzzy,id=a", "'help' lists them"),
             ("sendkey xyzzy", "names like"), ("x 0 0 0", "x /fmt addr"), ("set_link x on", "info network"))
    done = run(VIREO, "-display", "none", "-accel", "test", "-monitor", "stdio",
               said="\n".join(line for line, _ in lines) + "\nquit\n")
    text = done.stdout.decode(errors="replace").replace("\r", "")
    check("status of " + text, 0, done.returncode)
    answers = re.split(r"^\(vireo\) ", text, flags=re.M)
    for line, word in lines:
        answer = [a.split("\n", 1)[1] for a in answers if a.split("\n", 1)[0] == line]
        check("answers to '%s' in %s" % (line, text), 1, len(answer))
        check("lines in the answer to '%s': %s" % (line, answer[0]), 1, answer[0].count("\n"))
        check("'%s' in the answer to '%s': %s" % (word, line, answer[0]), True, word in answer[0])


def test_images():
    good = path("image.raw", 1 << 20)
    for words, want in ((["inf", good], "did you mean 'info'?"), (["info"], "one image"),
                        (["info", path("missing")], "does not exist"), (["info", DIR.name], "is a directory"),
                        (["create", "-f", "qcow22", path("n"), "1M"], "did you mean 'qcow2'?"),
                        (["create", path("n"), "1Z"], "M, G, T"), (["create", path("n")], "20G"),
                        (["create", path("n"), "-f"], "-f"), (["resize", "-f", "raw", good, "-1K"], "--shrink"),
                        (["convert", "-O", "qcow2", good, good], "another name"),
                        (["info", "--ouput=json", good], "did you mean '--output'?")):
        done = run(IMG, *words)
        text = done.stdout.decode(errors="replace")
        what = "vireo-img %s: %s" % (" ".join(words), text)
        check("status of " + what, 1, done.returncode)
        check("lines of " + what, 1, text.count("\n"))
        check("%s in %s" % (want, what), True, want in text)


def test_options_documented():
    docs = ""
    for name in glob.glob(os.path.join(ROOT, "docs/*.md")):
        with open(name, encoding="utf-8") as f:
            docs += f.read()
    listed = []
    for line in run(VIREO, "-help").stdout.decode().splitlines():
        row = re.match(r"  (-[\w-]+)(?:, (-[\w-]+))?(?: |$)", line)
        listed += [name for name in row.groups() if name] if row else []
    check("options are listed", True, len(listed) > 50)
    missing = [name for name in listed if not re.search(r"(?<![\w-])%s(?![\w-])" % name, docs)]
    check("options of -help that docs/ does not have", [], missing)


main()
