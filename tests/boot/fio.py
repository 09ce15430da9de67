# SPDX-License-Identifier: GPL-2.0-or-later
"""Verified jobs of fio on each controller, raw and qcow2: on the device, in a file system, and again
after a restart."""
import hashlib
import os
import re
import shutil

from storage import FIO, IMG, VERIFY, Guest, Images, digest, sum_of, tool
from qtest import check, main


class Disk:
    """One of them, and where it is plugged in."""

    def __init__(self, images, name, fmt, plug, where, size=16 << 20):
        self.fmt, self.plug, self.where, self.size, self.name = fmt, plug, where, size, name
        self.path = images.new(name, size)
        if fmt != "raw":
            os.unlink(self.path)
            tool(IMG, "create", "-q", "-f", fmt, self.path, str(size))
        self.dev = self.sum = None

    def args(self):
        drive = "if=%s,format=%s,file=%s" % (self.plug or "none", self.fmt, self.path)
        if self.plug:
            return ["-drive", drive + "," + self.where]
        return ["-drive", drive + ",id=" + self.name, "-device",
                "%s,drive=%s,serial=%s" % (self.where, self.name, self.name)]

    def flat(self, images):
        """Its content as a raw image."""
        out = os.path.join(images.dir, "flat")
        tool(IMG, "convert", "-f", self.fmt, "-O", "raw", self.path, out)
        return out


def work(guest, d):
    """A verified job on the device's upper half, with discards where it can, and one in a file system
    below; then the file system is checked."""
    half = d.size // 2
    trims = guest.sh("cat /sys/block/%s/queue/discard_max_bytes" % os.path.basename(d.dev)) != "0"
    guest.sh(FIO % (d.dev, "randwrite", half, half, VERIFY), 300)
    if trims:
        guest.sh(FIO % (d.dev, "randtrim", half, half // 2, ""), 300)
        guest.sh("blkdiscard -o %d -l %d %s" % (half, half // 2, d.dev), 120)
        guest.sh("dd if=%s bs=64k skip=%d count=%d 2>/dev/null | cmp -n %d - /dev/zero" %
                 (d.dev, half >> 16, half >> 17, half // 2), 120)
    guest.sh(FIO % (d.dev, "randwrite", half, half // 2, VERIFY), 300)
    guest.sh("mkfs.ext4 -q -F %s %dk" % (d.dev, half >> 10), 120)
    guest.sh("mount -t ext4 %s %s /mnt" % ("-o discard" if trims else "", d.dev))
    guest.sh(FIO % ("/mnt/a:/mnt/b", "randrw", 0, half // 4, VERIFY), 300)
    guest.sh("rm /mnt/a; sync; umount /mnt", 120)
    guest.sh("e2fsck -fn %s 2>&1" % d.dev, 120)
    return trims


def find(guest, disks):
    """Their device files, by the serial numbers."""
    found = guest.sh("cd /sys/block; for d in vd* sd*; do echo $d $(cat $d/serial || "
                     "tail -c 20 $d/device/vpd_pg80); done 2>/dev/null; cd /")
    devs = {name: "/dev/" + dev for dev, name in re.findall(r"^(\w+) (DISK\w+)", found, re.M)}
    for d in disks:
        d.dev = devs[d.name]


def cds(images):
    """The same CD as a raw image and as qcow2, and its sum."""
    data = os.urandom(3 << 20)
    raw, packed = images.new("cd", 0), os.path.join(images.dir, "cd.qcow2")
    with open(raw, "wb") as f:
        f.write(data)
    tool(IMG, "convert", "-f", "raw", "-O", "qcow2", "-c", raw, packed)
    args = []
    for fmt, path, plug in (("raw", raw, "bus=ide.0,unit=1"), ("qcow2", packed, "bus=ide.1,unit=0")):
        args += ["-drive", "if=none,media=cdrom,id=cd%s,format=%s,file=%s" % (fmt, fmt, path),
                 "-device", "ide-cd,drive=cd%s,%s" % (fmt, plug)]
    return args, hashlib.sha256(data).hexdigest()


def run_fio(controllers, with_cds=False):
    with Images() as images:
        disks = []
        cd_args, cd_sum = cds(images) if with_cds else ([], None)
        for n, (where, more) in enumerate(controllers):
            for k, fmt in enumerate(("raw", "qcow2")):
                disks.append(Disk(images, "DISK%d%s" % (n, fmt), fmt, None, where[k]))
        args = sum([more for _, more in controllers] + [d.args() for d in disks], cd_args)
        with Guest(*args) as guest:
            find(guest, disks)
            for d in disks:
                check("%s discards" % d.where, True, work(guest, d))
                d.sum = sum_of(guest, d.dev)
            for dev in ("/dev/sr0", "/dev/sr1") if with_cds else ():
                check("CD in " + dev, cd_sum, sum_of(guest, dev))
            guest.no_errors()
            guest.sh("sync")
        for d in disks:
            check("image of %s, %s" % (d.where, d.fmt), d.sum, digest(d.flat(images)))
            images.check_ext(os.path.join(images.dir, "flat"))
            if d.fmt == "qcow2":
                tool(IMG, "check", "-q", d.path)
                if shutil.which("qemu-img"):
                    tool("qemu-img", "check", "-q", d.path)
        with Guest(*args) as guest:
            find(guest, disks)
            for d in disks:
                check("%s, %s, after a restart" % (d.where, d.fmt), d.sum, sum_of(guest, d.dev))
                guest.sh(FIO % (d.dev, "randwrite", d.size // 2, d.size // 4,
                                VERIFY + "--verify_only"), 300)
                guest.sh("e2fsck -fn %s 2>&1 && mount -o ro %s /mnt && [ -s /mnt/b ] && umount /mnt" %
                         (d.dev, d.dev), 120)
            guest.no_errors()


def test_fio_virtio():
    legacy = "virtio-blk-pci,disable-modern=on"
    packed = "virtio-blk-pci,disable-legacy=on,packed=on"
    run_fio([((legacy, legacy), []), ((packed, packed), [])])


def test_fio_ata():
    run_fio([(("ide-hd,bus=ide.0,unit=0", "ide-hd,bus=ide.1,unit=1"), []),
             (("ide-hd,bus=ahci.0", "ide-hd,bus=ahci.4"), ["-device", "ahci,id=ahci"])], with_cds=True)


main()
