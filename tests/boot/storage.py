# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guests with disks share: Debian's kernel with fio, images, sums.

$STORAGE_ACCEL is the engine (jit); make check-jit-long takes the others, too.
"""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

import netguest
import run
from netguest import Failure, skip
from qtest import check

ACCEL = os.environ.get("STORAGE_ACCEL", "jit")
IMG = os.path.join(os.path.dirname(netguest.VIREO), "vireo-img")
FIO = ("fio --name=job --filename=%s --rw=%s --bsrange=4k-64k --offset=%d --size=%d --ioengine=libaio "
       "--iodepth=16 --direct=1 --randseed=7 %s >/tmp/fio 2>&1 || { tail -c 600 /tmp/fio; false; }")
VERIFY = "--verify=crc32c --verify_fatal=1 "


def media():
    netguest.need(ACCEL)
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


def tool(*words):
    done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise Failure("%s: exit status %d: %s" % (" ".join(words), done.returncode, done.stdout.decode()))


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def sum_of(guest, dev):
    return guest.sh("echo 3 >/proc/sys/vm/drop_caches; sha256sum %s" % dev, 120).split()[-2]
