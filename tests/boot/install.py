#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest installs a system onto a qcow2 disk, and starts from it.

Debian's kernel with busybox, virtio-net and virtio-blk: it partitions the disk, makes a file system, fetches
kernel, initial RAM disk and the system's files over the user network, puts extlinux onto the disk and
powers off. The image checks clean; then the disk alone is started, by SeaBIOS and extlinux, up to its prompt, where
the files are compared. $INSTALL_ACCEL is the engine (jit)."""
import functools
import hashlib
import http.server
import os
import re
import shutil
import tarfile
import threading

import netguest
import run
from netguest import Failure, skip
from qtest import check, main
from storage import IMG, Images, tool

ACCEL = os.environ.get("INSTALL_ACCEL", "jit")
SIZE = 256 << 20
SYSTEM_INIT = """#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -o remount,rw /
/bin/busybox --install -s /bin
mount -t sysfs sys /sys
stty -echo
echo "guest# "
while read -r line; do
    eval "$line"
done
"""
EXTLINUX = """DEFAULT disk
SERIAL 0 115200
PROMPT 0
LABEL disk
  KERNEL /boot/linux
  APPEND initrd=/boot/initrd.gz console=ttyS0 quiet no_timer_check disk_root=/dev/vda1
"""


def media():
    netguest.need(ACCEL)
    why = run.lacks_netdev("user")
    if why:
        skip(why)
    problems = run.make_media(["self-install"])
    if problems:
        skip(problems["self-install"])
    return [os.path.join(run.MEDIA, n) for n in ("linux-amd64", "install-amd64.initrd.gz")]


class Guest(netguest.Guest):
    media = staticmethod(media)

    def __init__(self, *args, **kinds):
        super().__init__(*args, accel=ACCEL, **kinds)

    def power_off(self):
        self.send("sync; umount -a 2>/dev/null; mount -o remount,ro / 2>/dev/null; poweroff -f")
        check("exit status of Vireo", 0, self.proc.wait(120 * netguest.SLOW))


class Mirror:
    """A directory over HTTP on a port of this host."""

    def __init__(self, folder):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        handler = functools.partial(Handler, directory=folder)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.url = "http://10.0.2.2:%d/" % self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.http.shutdown()
        self.http.server_close()


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(path, mode)


def make_system(folder):
    """What the guest fetches: kernel, initial RAM disk, the rest as a tar file. Returns their sums."""
    kernel, initrd = media()
    root = os.path.join(folder, "root")
    for name in ("bin", "sbin", "proc", "sys", "dev", "tmp", "boot"):
        os.makedirs(os.path.join(root, name))
    shutil.copy(os.path.join(run.MEDIA, "busybox-amd64"), os.path.join(root, "bin/busybox"))
    os.chmod(os.path.join(root, "bin/busybox"), 0o755)
    os.symlink("busybox", os.path.join(root, "bin/sh"))
    write(os.path.join(root, "sbin/init"), SYSTEM_INIT, 0o755)
    write(os.path.join(root, "boot/extlinux.conf"), EXTLINUX)
    with open(os.path.join(root, "noise"), "wb") as f:
        f.write(os.urandom(20 << 20))
    with tarfile.open(os.path.join(folder, "system.tar.gz"), "w:gz", compresslevel=1) as tar:
        tar.add(root, ".")
    shutil.copy(kernel, os.path.join(folder, "linux"))
    shutil.copy(initrd, os.path.join(folder, "initrd.gz"))
    sums = {}
    for name, path in (("/boot/linux", kernel), ("/boot/initrd.gz", initrd), ("/noise", os.path.join(root, "noise"))):
        with open(path, "rb") as f:
            sums[name] = hashlib.sha256(f.read()).hexdigest()
    shutil.rmtree(root)
    return sums


def judge(disk):
    tool(IMG, "check", "-q", disk)
    if shutil.which("qemu-img"):
        tool("qemu-img", "check", "-q", disk)


def install(guest, url):
    guest.lease()
    guest.sh("printf 'n\\np\\n1\\n2048\\n\\na\\n1\\nw\\n' | fdisk -u /dev/vda >/tmp/fdisk 2>&1; sleep 1; [ -b /dev/vda1 ]")
    guest.sh("mkfs.ext4 -q -O ^64bit,^metadata_csum /dev/vda1 && mount -t ext4 /dev/vda1 /mnt", 120)
    guest.sh("wget -q -O - %ssystem.tar.gz | tar -xzf - -C /mnt" % url, 300)
    for name in ("linux", "initrd.gz"):
        guest.sh("wget -q -O /mnt/boot/%s %s%s" % (name, url, name), 300)
    guest.sh("extlinux --install /mnt/boot >/tmp/extlinux 2>&1", 120)
    guest.sh("umount /mnt && dd if=/mbr.bin of=/dev/vda bs=440 count=1 conv=notrunc 2>/dev/null && sync")
    guest.sh("e2fsck -fn /dev/vda1 >/tmp/fsck 2>&1", 120)


def test_install():
    with Images() as images:
        disk = os.path.join(images.dir, "disk.qcow2")
        folder = os.path.join(images.dir, "www")
        os.mkdir(folder)
        sums = make_system(folder)
        tool(IMG, "create", "-q", "-f", "qcow2", disk, str(SIZE))
        drive = ["-drive", "if=virtio,format=qcow2,file=" + disk]
        with Mirror(folder) as mirror:
            with Guest("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile=", *drive) as guest:
                install(guest, mirror.url)
                guest.power_off()
        judge(disk)
        with Guest(*drive, direct=False) as guest:
            for name, want in sums.items():
                check(name, want, re.findall(r"\b[0-9a-f]{64}\b", guest.sh("sha256sum " + name, 300))[-1])
            said = guest.sh("cat /proc/cmdline; mount")
            for want in ("disk_root=/dev/vda1", "/dev/vda1 on / type ext4"):
                if want not in said:
                    raise Failure("want '%s' in: %s" % (want, said))
            guest.sh("echo more >/again && sync")
            guest.power_off()
        judge(disk)


main()
