# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's drivers on AHCI and floppies: file systems made, filled, checked and read back."""
import hashlib
import os
import re
import shutil

from storage import FIO, IMG, VERIFY, Guest, Images, digest, sum_of, tool
from qtest import check, main


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
            # On a busy host they are not all found by the time of the prompt.
            found = guest.sh("cd /sys/block; n=0; "
                             "while [ $(ls -d sd* | wc -l) -lt 2 ] && [ $n -lt 30 ]; do sleep 1; n=$((n+1)); done; "
                             "for d in sd*; do "
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
            check("CD", hashlib.md5(data).hexdigest(), sent.split()[0])
            guest.no_errors()
            images.check_ext(one)
            images.check_ext(four)
            guest.sh("blkdiscard " + small)
            guest.sh("echo 3 >/proc/sys/vm/drop_caches; head -c 67108864 /dev/zero | cmp - " + small, 120)
            guest.no_errors()


def test_floppy():
    with Images() as images:
        a, b, c = images.new("a", 1440 << 10), images.new("b", 0), images.new("c", 1440 << 10)
        tool(IMG, "create", "-q", "-f", "qcow2", b, "720k")
        with Guest("-fda", a, "-drive", "if=floppy,index=1,format=qcow2,file=" + b) as guest:
            guest.sh("dd if=/dev/urandom of=/tmp/r bs=18k count=80 2>/dev/null; sync")
            guest.sh("dd if=/tmp/r of=/dev/fd0 bs=18k 2>/dev/null; sync; "
                     "echo 3 >/proc/sys/vm/drop_caches; cmp /tmp/r /dev/fd0", 180)
            want = guest.sh("md5sum </tmp/r").split()[0]
            with open(a, "rb") as f:
                check("image", want, hashlib.md5(f.read()).hexdigest())
            shutil.copy(a, c)
            guest.fill("/dev/fd0", 1, "mke2fs -q")
            guest.fill("/dev/fd1", 0.5, "mkdosfs")
            guest.sh("mkfs.ext4 -q -F -O ^has_journal /dev/fd1 && mount -t ext4 /dev/fd1 /mnt", 120)
            guest.sh(FIO % ("/mnt/a", "randwrite", 0, 256 << 10, VERIFY), 300)
            guest.sh("umount /mnt; e2fsck -fn /dev/fd1 2>&1", 120)
            other = sum_of(guest, "/dev/fd1")
            images.check_ext(a)
            # another disk, write protected
            guest.hmp.batch(["change floppy0 %s raw read-only" % c])
            check("another disk", want, guest.sh("md5sum </dev/fd0", 120).split()[0])
            guest.sh("dd if=/tmp/r of=/dev/fd0 bs=18k count=1", status=1)
        tool(IMG, "check", "-q", b)
        tool(IMG, "convert", "-f", "qcow2", "-O", "raw", b, os.path.join(images.dir, "flat"))
        check("image of drive B", other, digest(os.path.join(images.dir, "flat")))


main()
