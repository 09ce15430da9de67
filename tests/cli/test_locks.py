# SPDX-License-Identifier: GPL-2.0-or-later
"""One image, two processes: Vireo, vireo-img and QEMU's programs keep each other out, and ours say who
holds it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hw"))
from qtest import QTest, VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position

IMG = os.path.join(os.path.dirname(VIREO), "vireo-img")
NAME = os.path.basename(VIREO)[:15]
SLOW = float(os.environ.get("SLOW", "1"))
OURS = [VIREO, "-M", "none", "-display", "none", "-monitor", "stdio"]


class Image:
    def __init__(self, fmt):
        self.fmt = fmt

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="vireo-locks-")
        self.path = os.path.join(self.dir.name, "disk")
        subprocess.run([IMG, "create", "-q", "-f", self.fmt, self.path, "4M"], check=True)
        return self

    def __exit__(self, *exc):
        self.dir.cleanup()

    def drive(self, more=""):
        return ["-drive", "if=none,format=%s,file=%s%s" % (self.fmt, self.path, more)]

    def ours(self, *more):
        """Status and stderr of a second Vireo, which ends at once."""
        p = subprocess.run(OURS + self.drive(*more), input=b"quit\n", stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, timeout=60 * SLOW, check=False)
        return p.returncode, p.stderr.decode()


def said(*words):
    p = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60 * SLOW,
                       stderr=subprocess.STDOUT, check=False)
    return p.returncode, p.stdout.decode()


def names(what, holder, result):
    status, text = result
    if status != 1 or "in use by process %s (%s)" % holder not in text or text.count("\n") != 1:
        raise Failure("%s: want status 1 and a line that names %s, got %d: %s" % (what, holder, status, text))


def refused(what, result):
    if result[0] == 0 or "lock" not in result[1]:
        raise Failure("%s: want a complaint of a lock, got %d: %s" % (what, *result))


def need(*programs):
    for name in programs:
        if not shutil.which(name):
            skip("no %s: install qemu-utils or qemu-system-x86" % name)


def qemu(image, more=""):
    return ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "16", "-S", "-nodefaults", "-display",
            "none", "-monitor", "stdio", "-drive",
            "if=virtio,format=%s,file=%s%s" % (image.fmt, image.path, more)]


class Holder:
    """A program of QEMU's that has the image open, once it has answered a command."""

    def __init__(self, words, command, answer):
        self.proc = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT)
        self.proc.stdin.write(command)
        self.proc.stdin.flush()
        os.set_blocking(self.proc.stdout.fileno(), False)
        text, end = b"", time.monotonic() + 60 * SLOW
        while answer not in text:
            if self.proc.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise Failure("%s: want %r, got %r" % (" ".join(words), answer, text))
            text += self.proc.stdout.read() or b""
            time.sleep(.01)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.proc.kill()
        self.proc.wait()
        self.proc.stdin.close()
        self.proc.stdout.close()


def test_ours():
    for fmt in ("raw", "qcow2"):
        with Image(fmt) as image:
            with QTest("-M", "none", *image.drive()) as vm:
                vm.cmd_ok("clock_step 0")
                holder = (vm.proc.pid, NAME)
                names("a second Vireo", holder, image.ours())
                names("a reader", holder, image.ours(",readonly=on"))
                names("vireo-img resize", holder, said(IMG, "resize", "-f", fmt, image.path, "8M"))
                for words, want in ((["info", image.path], "-U"),
                                    (["resize", "-f", fmt, image.path, "8M"], "end that first\n")):
                    text = said(IMG, *words)[1]
                    if want not in text or "read-only" in text:
                        raise Failure("%s: want '%s' in '%s'" % (words[0], want, text))
                check("a look by force", 0, said(IMG, "info", "-U", image.path)[0])
            check("afterwards", (0, ""), image.ours())
            with QTest("-M", "none", *image.drive(",readonly=on")) as vm:
                vm.cmd_ok("clock_step 0")
                check("two readers", (0, ""), image.ours(",readonly=on"))
                names("a writer beside a reader", (vm.proc.pid, NAME), image.ours())


def test_qemu_after_us():
    need("qemu-img", "qemu-io", "qemu-system-x86_64")
    for fmt in ("raw", "qcow2"):
        with Image(fmt) as image, QTest("-M", "none", *image.drive()) as vm:
            vm.cmd_ok("clock_step 0")
            refused("qemu-img resize", said("qemu-img", "resize", "-f", fmt, image.path, "8M"))
            refused("qemu-io", said("qemu-io", "-f", fmt, "-c", "read 0 512", image.path))
            refused("QEMU", said(*qemu(image)))


def test_us_after_qemu():
    need("qemu-io", "qemu-system-x86_64")
    for fmt in ("raw", "qcow2"):
        with Image(fmt) as image:
            for words, name, *talk in (
                    (["qemu-io", "-f", fmt, image.path], "qemu-io", b"length\n", b"4 MiB"),
                    (qemu(image), "qemu-system-x86", b"info status\n", b"paused")):
                with Holder(words, *talk) as h:
                    holder = (h.proc.pid, name)
                    names("Vireo", holder, image.ours())
                    names("a reader", holder, image.ours(",readonly=on"))
                    names("vireo-img resize", holder, said(IMG, "resize", "-f", fmt, image.path, "8M"))
            # qemu-io -r lets others write
            with Holder(qemu(image, ",readonly=on"), b"info status\n", b"paused") as h:
                check("two readers", (0, ""), image.ours(",readonly=on"))
                names("a writer beside a reader", (h.proc.pid, "qemu-system-x86"), image.ours())


main()
