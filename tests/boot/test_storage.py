# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's drivers on our disk controllers: file systems made, filled, checked and read back.

$STORAGE_ACCEL is the engine (jit).
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import netguest
import run

sys.path.insert(0, os.path.join(os.path.dirname(netguest.HERE), "hw"))
from qtest import Failure, check, main, skip  # pylint: disable=wrong-import-position

ACCEL = os.environ.get("STORAGE_ACCEL", "jit")


def media():
    problems = run.make_media(["storage"])
    if problems:
        skip(problems["storage"])
    return [os.path.join(run.MEDIA, n) for n in ("linux-amd64", "storage-amd64.initrd.gz")]


class Guest(netguest.Guest):
    media = staticmethod(media)

    def __init__(self, *args):
        super().__init__(*args, accel=ACCEL)

    def no_errors(self):
        self.sh("dmesg | grep -iE 'emask|failed command|i/o error|timeout|hard reset' >/tmp/errors",
                status=None)
        if not self.sh("wc -l </tmp/errors").endswith("0"):
            raise Failure("errors in the kernel's log: " + self.sh("head -5 /tmp/errors"))

    def sums(self):
        text = self.sh("cd /mnt && sha256sum f1 f2 f3 f4; cd /")
        return re.findall(r"^([0-9a-f]{64}  f\d)", text, re.M)

    def fill(self, dev, mib, made="mke2fs -q"):
        """Random files written side by side, their sums, and the same after a fresh mount."""
        self.sh("%s %s >/dev/null && mount -t %s %s /mnt" %
                (made, dev, "vfat" if "dos" in made else "ext4", dev))
        part = int(mib * 256)
        self.sh("for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/f$i bs=1k count=%d 2>/dev/null & "
                "done; wait; sync" % part, 120)
        before = self.sums()
        self.sh("umount /mnt; echo 3 >/proc/sys/vm/drop_caches")
        if "dos" not in made:
            self.sh("e2fsck -fn %s" % dev)
        self.sh("mount %s /mnt" % dev)
        check("files of " + dev, before, self.sums())
        check("four sums", 4, len(before))
        self.sh("umount /mnt")


class Images:
    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="vireo-storage-")
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.dir)

    def new(self, name, size):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    def check_ext(self, path):
        tool = shutil.which("e2fsck") or shutil.which("e2fsck", path="/usr/sbin:/sbin")
        if tool and subprocess.run([tool, "-fn", path], check=False, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            raise Failure("%s: e2fsck on the host finds errors" % path)


def test_ahci():
    with Images() as images:
        one, four = images.new("one", 64 << 20), images.new("four", 64 << 20)
        cd = images.new("cd", 4 << 20)
        with open(cd, "wb") as f:
            f.write(os.urandom(4 << 20))
        with Guest("-drive", "if=none,id=d0,format=raw,file=" + one,
                   "-drive", "if=none,id=d1,format=raw,file=" + four,
                   "-drive", "if=none,id=c0,format=raw,media=cdrom,file=" + cd,
                   "-device", "ahci,id=ahci", "-device", "ide-hd,drive=d0,bus=ahci.0,serial=ONE",
                   "-device", "ide-hd,drive=d1,bus=ahci.2,logical_block_size=4096",
                   "-device", "ide-cd,drive=c0,bus=ahci.5") as guest:
            found = guest.sh("cd /sys/block; for d in sd*; do "
                             "echo $(cat $d/queue/logical_block_size $d/device/queue_depth) $d; done")
            disks = {(size, depth): "/dev/" + name for size, depth, name in
                     re.findall(r"^(\d+) (\d+) (sd\w)", found, re.M)}
            check("disks", [("4096", "32"), ("512", "32")], sorted(disks))
            small = disks["512", "32"]
            guest.fill(small, 24)
            guest.fill(disks["4096", "32"], 12, "mke2fs -q -b 4096")
            with open(cd, "rb") as f:
                data = f.read()
            sent = guest.sh("dd if=/dev/sr0 bs=64k 2>/dev/null | md5sum")
            check("CD", netguest.hashlib.md5(data).hexdigest(), sent.split()[0])
            guest.no_errors()
            images.check_ext(one)
            images.check_ext(four)
            guest.sh("blkdiscard " + small)
            guest.sh("echo 3 >/proc/sys/vm/drop_caches; head -c 67108864 /dev/zero | cmp - " + small, 120)
            guest.no_errors()


def test_floppy():
    with Images() as images:
        a, b, c = images.new("a", 1440 << 10), images.new("b", 720 << 10), images.new("c", 1440 << 10)
        with Guest("-fda", a, "-fdb", b) as guest:
            guest.sh("dd if=/dev/urandom of=/tmp/r bs=18k count=80 2>/dev/null; sync")
            guest.sh("dd if=/tmp/r of=/dev/fd0 bs=18k 2>/dev/null; sync; "
                     "echo 3 >/proc/sys/vm/drop_caches; cmp /tmp/r /dev/fd0", 180)
            want = guest.sh("md5sum </tmp/r").split()[0]
            with open(a, "rb") as f:
                check("image", want, netguest.hashlib.md5(f.read()).hexdigest())
            shutil.copy(a, c)
            guest.fill("/dev/fd0", 1, "mke2fs -q")
            guest.fill("/dev/fd1", 0.5, "mkdosfs")
            guest.sh("dd if=/dev/fd1 of=/dev/null 2>/dev/null; sync")
            images.check_ext(a)
            # another disk, write protected
            guest.hmp.batch(["change floppy0 %s raw read-only" % c])
            check("another disk", want, guest.sh("md5sum </dev/fd0", 120).split()[0])
            guest.sh("dd if=/tmp/r of=/dev/fd0 bs=18k count=1", status=1)


main()
