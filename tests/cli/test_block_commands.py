#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor's commands about drives: coming, going, committing, sizes, what info shows."""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hw"))
sys.path.insert(0, os.path.dirname(HERE))
from hmp import Hmp  # pylint: disable=wrong-import-position
from qtest import Failure, QTest, Skip, check, main  # pylint: disable=wrong-import-position

DIR = tempfile.TemporaryDirectory(prefix="vireo-blk-")


def image(name, size=1 << 20):
    path = os.path.join(DIR.name, name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


class Vm(QTest):
    """With a monitor."""

    def __init__(self, *args):
        path = os.path.join(DIR.name, "monitor")
        super().__init__("-M", "pc", "-monitor", "unix:%s,server=on,wait=off" % path, *args)
        self.monitor = Hmp(path)

    def hmp(self, line):
        return self.monitor(line)


def says(vm, command, *wants, absent=()):
    text = vm.hmp(command)
    for want in wants:
        if want not in text:
            raise Failure("%s: want '%s' in '%s'" % (command, want, text))
    for word in absent:
        if word in text:
            raise Failure("%s: '%s' must not be in '%s'" % (command, word, text))
    return text


def test_drive_add_and_del():
    path = image("a.img")
    with Vm() as vm:
        add = "drive_add 0 if=none,format=raw,id=d,file=" + path
        says(vm, "drive_add 0 if=ide,id=d,file=" + path, "if=none")
        says(vm, "drive_add 0 if=none,file=" + path, "id= is missing")
        says(vm, add, "OK")
        says(vm, add, "there is a drive or node 'd' already")
        says(vm, "info block", "d (#block", path + " (raw)", "Cache mode:       writeback")
        says(vm, "drive_del d")
        says(vm, "info block", absent=["d (#"])
        says(vm, "drive_del d", "there is no drive 'd'")
        says(vm, add, "OK")


def test_drive_del_under_a_device():
    path = image("b.img")
    with Vm("-drive", "if=none,format=raw,id=d,file=" + path, "-device",
               "ide-hd,drive=d") as vm:
        says(vm, "drive_del d")
        says(vm, "info block", "(deleted): [not inserted]")
        says(vm, "drive_add 0 if=none,format=raw,id=d,file=" + path, "OK")  # its lock is gone


def test_nodes():
    path = image("c.img")
    with Vm() as vm:
        says(vm, "blockdev_add driver=raw", "needs node-name=")
        says(vm, 'blockdev_add {"driver":"file","node-name":"f","filename":"%s"}' % path)
        says(vm, "blockdev-add raw,node-name=r,file=f,read-only=on")
        says(vm, "help blockdev-add", "blockdev_add|blockdev-add driver=")
        says(vm, "info block -n", "f: " + path + " (file", "r: " + path + " (raw, read-only)",
             "Used by:          r")
        says(vm, "blockdev_del f", "in use by r")
        says(vm, "blockdev-del r", absent=["Error"])
        says(vm, "blockdev_del f")
        says(vm, "blockdev_del f", "there is no node 'f'")
        says(vm, "blockdev_add null-co,node-name=z")
        says(vm, "device_add virtio-blk-pci,drive=z,werror=odd", "werror=odd")
        says(vm, "blockdev_del z", absent=["Error"])
        says(vm, "drive_add -n 0 driver=file,node-name=g,filename=" + path)
        says(vm, "info block -n", "g: ")


def test_resize():
    path = image("d.img")
    with Vm("-drive", "format=raw,id=d,file=" + path, "-drive",
               "id=cd,media=cdrom,file=" + image("e.img")) as vm:
        says(vm, "block_resize d 3M")
        check("size", 3 << 20, os.path.getsize(path))
        says(vm, "info block -v d", "3145728 bytes", absent=["cd (#"])
        says(vm, "block_resize d 100k", "3145728 bytes", "vireo-img resize --shrink")
        check("size", 3 << 20, os.path.getsize(path))
        says(vm, "block_resize d 3M", absent=["Error"])
        says(vm, "block_resize d 0", "multiple of 512")
        says(vm, "block_resize cd 3M", "read-only")
        says(vm, "block_resize x 3M", "no drive 'x'")


def write_sector(vm, lba):
    """Of 0x5a, to the first IDE disk."""
    vm.pci_write(vm.pci_find(0x8086, 0x7010), 4, 5, 2)
    vm.outb(0x1f6, 0xe0)
    for port, value in ((0x1f2, 1), (0x1f3, lba), (0x1f4, 0), (0x1f5, 0), (0x1f7, 0x30)):
        vm.outb(port, value)
    for _ in range(256):
        vm.outw(0x1f0, 0x5a5a)


def test_commit():
    path = image("f.img")
    with Vm("-drive", "format=raw,id=d,snapshot=on,file=" + path, "-drive",
               "format=raw,id=e,file=" + image("g.img")) as vm:
        says(vm, "info block d", "snapshot")
        write_sector(vm, 3)  # through the snapshot
        for _ in range(1000):
            if not vm.inb(0x1f7) & 0x88:
                break
        with open(path, "rb") as f:
            check("not there yet", True, bytes(2048) == f.read(2048))
        says(vm, "commit e", "no backing file")
        says(vm, "commit all")
        with open(path, "rb") as f:
            check("there", True, bytes(1536) + b"\x5a" * 512 + bytes(512) == f.read(2560))
        says(vm, "commit d")
        stats = says(vm, "info blockstats", "d: rd_bytes=", "wr_bytes=512 ", "wr_operations=1 ",
                     "rd_merged=0 wr_merged=0 idle_time_ns=")
        times = dict(w.split("=") for w in stats.splitlines()[0].split()[1:])
        check("time", True, int(times["wr_total_time_ns"]) > 0)


def qemu(*cmd):
    run = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=60, check=False)
    check(" ".join(cmd) + "\n" + run.stdout.decode(), 0, run.returncode)


def test_commit_to_backing_file():
    """qemu-img and qemu-io make the images and judge them."""
    if not shutil.which("qemu-io") or not shutil.which("qemu-img"):
        raise Skip("no qemu-io or qemu-img: install qemu-utils")
    base, top = os.path.join(DIR.name, "base.qcow2"), os.path.join(DIR.name, "top.qcow2")
    for options in ("", "lazy_refcounts=on,"):
        qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options + "cluster_size=4k", base, "4M")
        qemu("qemu-io", "-c", "write -q -P 0x11 0 1M", base)
        qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top, "6M")
        qemu("qemu-io", "-c", "write -q -P 0x22 64k 64k", "-c", "write -q -z 256k 64k", "-c",
             "write -q -P 0x33 5M 64k", top)
        with Vm("-drive", "id=d,file=" + top) as vm:
            says(vm, "info block d", "(qcow2)", "Backing file:     %s (chain depth: 1)" % base)
            for _ in range(2):  # the second time there is nothing to do
                check("commit", "", vm.hmp("commit d"))
            says(vm, "info block -n", base + " (qcow2, read-only)")
        for path in (base, top):
            qemu("qemu-img", "check", "-q", path)
            qemu("qemu-io", "-r", "-c", "read -q -P 0x22 64k 64k", "-c", "read -q -P 0 256k 64k", "-c",
                 "read -q -P 0x33 5M 64k", "-c", "read -q -P 0x11 128k 128k", path)


def test_copy_on_read():
    if not shutil.which("qemu-io") or not shutil.which("qemu-img"):
        raise Skip("no qemu-io or qemu-img: install qemu-utils")
    base, top = os.path.join(DIR.name, "cbase.raw"), os.path.join(DIR.name, "ctop.qcow2")
    with open(base, "wb") as f:
        f.write(b"\x11" * (200 << 10) + bytes((1 << 20) - (200 << 10)))
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top)
    qemu("qemu-io", "-c", "write -q -P 0x22 64k 32k", top)
    with Vm("-drive", "id=d,copy-on-read=on,file=" + top) as vm:
        says(vm, "info block -n", "(copy-on-read")
        vm.pci_write(vm.pci_find(0x8086, 0x7010), 4, 5, 2)
        for lba in (127, 0x800 - 1, 140):  # 64 KiB - 512, the last, 70 KiB
            for port, value in ((0x1f6, 0xe0), (0x1f2, 1), (0x1f3, lba & 255), (0x1f4, lba >> 8),
                                (0x1f5, 0), (0x1f7, 0x20)):
                vm.outb(port, value)
            while vm.inb(0x1f7) & 0x88 != 8:
                pass
            check("LBA %d" % lba, {127: 0x1111, 0x7ff: 0, 140: 0x2222}[lba], vm.inw(0x1f0))
            for _ in range(255):
                vm.inw(0x1f0)
    qemu("qemu-img", "check", "-q", top)
    with open(base, "wb") as f:
        f.truncate(1 << 20)  # what was read is in the image now
    qemu("qemu-io", "-r", "-c", "read -q -P 0x11 0 64k", "-c", "read -q -P 0x22 64k 32k", "-c",
         "read -q -P 0 128k 896k", top)


def test_throttle():
    with Vm("-drive", "format=raw,id=d,iops=100,iops_max=200,file=" + image("h.img")) as vm:
        says(vm, "info block d", "I/O throttling:   bps=0 ", "iops=100 ", "iops_max=200", "group=d")
        says(vm, "block_set_io_throttle d 0 1000 0 0 0 7")
        says(vm, "info block d", "bps_rd=1000 ", "iops=0", "iops_wr=7 ")
        says(vm, "block_set_io_throttle d 1 1 0 0 0 0", "not both")


def test_policies_of_devices():
    """-blockdev nodes have them from the device, and stop the machine."""
    node = "driver=blkdebug,node-name=n,image.driver=null-co,inject-error.0.event=write_aio," \
           "inject-error.0.once=on"
    for device in ("ide-hd", "virtio-blk-pci"):
        with Vm("-blockdev", node, "-device", device + ",drive=n,werror=stop,rerror=report"):
            pass
    with Vm("-blockdev", node, "-device", "ide-hd,drive=n,werror=stop") as vm:
        vm.hmp("cont")
        write_sector(vm, 3)
        for _ in range(1000):
            if "io-error" in vm.hmp("info status"):
                break
        says(vm, "info status", "paused (io-error)")
        says(vm, "info block", "waits for cont")
        vm.hmp("cont")
        while vm.inb(0x1f7) & 0x88:
            pass
        check("status", 0, vm.inb(0x1f7) & 1)
        says(vm, "info blockstats", "failed_wr_operations=1")


def test_change_to_the_same():
    path = image("floppy.img", 1440 << 10)
    with Vm("-drive", "if=floppy,format=raw,id=f,file=" + path) as vm:
        for name in (path, image("other.img", 1440 << 10), path):
            check("change", "", vm.hmp("change f %s raw" % name))
            says(vm, "info block f", name + " (raw)")


def test_shared_backing_file():
    path, node = image("shared.img"), "driver=raw,node-name=b,read-only=on,file.driver=file,file.filename="
    with Vm("-blockdev", node + path, "-blockdev", "driver=overlay,node-name=x,file=b", "-blockdev",
            "driver=overlay,node-name=y,file=b", "-device", "ide-hd,drive=x", "-device",
            "ide-hd,drive=y") as vm:
        says(vm, "commit x", "used by others")


def test_unbuilt():
    with Vm() as vm:
        for command in ("drive_mirror x y", "drive_backup x", "block_stream x"):
            says(vm, command, "block jobs are not built yet")
        says(vm, "snapshot_blkdev x", "not built yet")
        says(vm, "info block-jobs", "No active jobs")


main()
