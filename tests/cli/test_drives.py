# SPDX-License-Identifier: GPL-2.0-or-later
"""What users get wrong with drives: one line that says what and what to do, and status 1."""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hw"))
from qtest import VIREO, Failure, QTest, Skip, check, main  # pylint: disable=wrong-import-position

DIR = tempfile.TemporaryDirectory(prefix="vireo-drives-")
BASE = [VIREO, "-nodefaults", "-display", "none", "-accel", "test", "-S"]


def image(name, data=b"", size=1 << 20):
    path = os.path.join(DIR.name, name)
    with open(path, "wb") as f:
        f.write(data)
        f.truncate(size)
    return path


def fails(*args, wants):
    run = subprocess.run(BASE + list(args), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                         timeout=20, check=False)
    text = "".join(line + "\n" for line in run.stderr.decode().splitlines()
                   if "nobody said the format" not in line)
    check("status of %s" % " ".join(args), 1, run.returncode)
    check("lines of '%s'" % text, 1, text.count("\n"))
    for want in wants:
        if want not in text:
            raise Failure("%s: want '%s' in '%s'" % (" ".join(args), want, text))


def test_files():
    fails("-hda", "absent.img", wants=["-hda absent.img: drive 'ide0-hd0'", "does not exist"])
    fails("-hda", DIR.name, wants=["is a directory"])
    fails("-hda", image("empty.img", size=0), wants=["is empty"])
    fails("-hda", image("v.img", b"KDMV\1\0\0\0"), wants=["looks like vmdk", "qemu-img convert"])
    fails("-hda", image("q.img", b"QFI\xfb\0\0\0\3" + bytes(600)), wants=["q.img", "damaged"])
    fails("-cdrom", "https://example.org/x.iso", wants=["protocol 'https:'", "not built yet"])
    fails("-drive", "fil=x", wants=["-drive: drive", "did you mean 'file'?"])


def test_plugs():
    path = image("a.img")
    both = "file=%s,format=raw,if=none,id=a" % path
    fails("-drive", both, "-device", "ide-hd,drive=b", wants=["there is no drive 'b'"])
    fails("-drive", both, "-device", "ide-hd", wants=["needs drive=ID"])
    fails("-drive", both, "-device", "ide-hd,drive=a", "-device", "ide-hd,drive=a",
          wants=["drive 'a' belongs to /machine/"])
    fails("-drive", both, "-device", "ide-hd,drive=a,bus=ide.7", wants=["ide.0, ide.1"])
    fails("-drive", both, "-device", "ide-hd,drive=a,unit=2", wants=["no unit 2"])
    fails("-drive", both + ",media=cdrom", "-device", "ide-hd,drive=a", wants=["ide-cd"])
    fails("-drive", "file=%s,format=raw,serial=%s" % (path, "x" * 21),
          wants=["drive 'ide0-hd0'", "at most 20"])
    fails("-drive", both + ",boot=on", "-device", "ide-hd,drive=a", "-device", "e1000,bootindex=0",
          wants=["'e1000' on pci.0 is taken by 'ide-hd' on ide.0; give each its own"])
    fails("-hda", path, "-hdb", path, wants=["in use by another drive of this guest"])


def test_blockdev():
    path = image("n.img")
    node = "driver=file,node-name=f,filename=" + path
    raw = "driver=raw,node-name=r,file=f"
    fails("-blockdev", "driver=raw,file=f", wants=["needs node-name="])
    fails("-blockdev", "node-name=r", wants=["needs driver="])
    fails("-blockdev", raw, wants=["file=f: there is no node of that name"])
    fails("-blockdev", node + ",filenam=x", wants=["did you mean 'filename'?"])
    fails("-blockdev", node, "-blockdev", node, wants=["there is a node 'f' already"])
    fails("-blockdev", node, "-blockdev", raw, "-blockdev", "driver=raw,node-name=r2,file=f",
          wants=["used by 'r' already", "read-only=on"])
    both = ["-blockdev", node, "-blockdev", raw]
    fails("-M", "pc", *both, "-device", "ide-hd,drive=f", wants=["node 'f' is in use by r"])
    fails("-M", "pc", *both, "-device", "ide-hd,drive=x", wants=["no drive 'x'", "-blockdev"])
    fails("-M", "pc", *both, "-device", "ide-hd,drive=r", "-device", "ide-hd,drive=r",
          wants=["drive 'r' belongs to /machine/"])
    fails("-drive", "file.driver=file,file.lockin=off,file.filename=" + path,
          wants=["did you mean 'locking'?"])
    fails("-drive", "driver=raw,format=qcow2,file=" + path, wants=["say the same"])
    json = '{"driver": "raw", "node-name": "j", "read-only": true, ' \
           '"file": {"driver": "file", "filename": "%s"}}' % path
    with QTest("-M", "pc", *both, "-device", "ide-hd,drive=r"):
        pass
    for name in ('json:{"driver":"raw","file":{"driver":"file","filename":"%s"}}',
                 'json:{"file":{"filename":"%s"}}', "file:%s", "file://%s"):
        with QTest("-M", "pc", "-hda", name % path) as vm:
            vm.cmd_ok("clock_step 0")  # it has the image
            fails("-hda", name % path, wants=["in use by process"])
    fails("-hda", 'json:{"driver":"raw"', wants=["bad JSON"])
    with QTest("-M", "pc", "-blockdev", json, "-device", "ide-hd,drive=j"):
        with QTest("-M", "pc", "-drive", "driver=raw,file.driver=file,file.filename=" + path +
                   ",file.locking=off,node-name=x"):
            pass


def test_empty():
    """A drive of if=none may wait for its medium; a disk may not."""
    path = image("later.img", size=1474560)
    for device in ("ide-cd", "floppy"):
        with QTest("-M", "pc", "-drive", "if=none,id=e", "-device", device + ",drive=e") as vm:
            vm.inb(0x1f7)
            check("stderr", "", vm.stderr())
    for device in ("ide-hd", "virtio-blk-pci"):
        fails("-M", "pc", "-drive", "if=none,id=e", "-device", device + ",drive=e",
              wants=["drive 'e' has no image", "-drive if=none,id=e,file=IMAGE"])
    for drive in ("if=ide", "if=virtio", "id=e"):
        fails("-drive", drive, wants=["a disk needs file=IMAGE"])
    fails("-drive", "rerror=enospc,file=" + path, wants=["one of report, ignore, stop"])


def test_snapshot_and_nodes():
    path = image("s.img")
    node = "file,node-name=f,filename=" + path
    fails("-snapshot", "-blockdev", node, wants=["-snapshot", path, "read-only=on"])
    fails("-snapshot", "-blockdev", "raw,node-name=r,file.driver=file,file.filename=" + path,
          wants=["-snapshot", "read-only=on"])
    for words in (["-blockdev", node + ",read-only=on", "-blockdev", "overlay,node-name=o,file=f"],
                  ["-blockdev", "null-co,node-name=o"]):
        with QTest("-M", "pc", "-snapshot", *words, "-device", "virtio-blk-pci,drive=o") as vm:
            vm.inb(0x1f7)


def test_words():
    path = image("w.img")
    for key in ("cyls=3", "overlap-check=none", "pass-discard-request=on", "encrypt.key=x"):
        fails("-drive", "format=raw,%s,file=%s" % (key, path), wants=["'%s'" % key.split("=")[0],
                                                                      "not built yet"])
    node = "file,node-name=f,filename=" + path
    fails("-blockdev", node + ",overlap-check=none", wants=["not built yet"])
    fails("-blockdev", node + ",xyzzy=1", wants=["it takes filename, ", "node-name"])
    fails("-drive", 'file=json:{"driver":"raw","file":{"filename":"x"}}', wants=["twice: ,,"])
    for words, wants, absent in (
            (["-blockdev", "help"], ["raw", "qcow2", "blkdebug", "filter"], "l2-cache"),
            (["-blockdev", "qcow2,help"], ["l2-cache-size", "backing"], "blkdebug"),
            (["-drive", "format=help"], ["raw", "qcow2"], "blkdebug")):
        done = subprocess.run([VIREO, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60, check=False)
        text = done.stdout.decode()
        check("status of " + " ".join(words), 0, done.returncode)
        check(text, ([], False), ([w for w in wants if w not in text], absent in text))


GUESS = "nobody said the format of '%s', it is taken for raw"


def wait_status(vm, mask, want):
    end = time.monotonic() + 60 * float(os.environ.get("SLOW", "1"))
    while vm.inb(0x3f6) & mask != want:
        if time.monotonic() > end:
            raise Failure("the disk's status is %02x" % vm.inb(0x3f6))


def test_guessed_format():
    """A guest that writes a qcow2 header into a raw image reads no host file after the next start."""
    secret = image("secret", b"secret" * 100)
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0x100, len(secret), 16, 1 << 20, 0, 0, 0, 0, 1,
                         0, 0)
    sector = (header.ljust(0x100, b"\0") + secret.encode()).ljust(512, b"\0")
    path = image("victim.img")
    for options, refused in ((["-hda", path], True), (["-drive", "format=raw,file=" + path], False)):
        with QTest("-M", "pc", *options) as vm:
            vm.pci_write(vm.pci_find(0x8086, 0x7010), 4, 1, 2)  # its ports answer
            check("warned of " + options[1], refused, GUESS % path in vm.stderr())
            check("the cure", refused, "file=%s,format=raw" % path in vm.stderr())
            for port, value in ((0x1f6, 0xe0), (0x1f2, 1), (0x1f3, 0), (0x1f4, 0), (0x1f5, 0),
                                (0x1f7, 0x30)):
                vm.outb(port, value)
            wait_status(vm, 0x88, 0x08)
            for n in range(0, 512, 4):
                vm.outl(0x1f0, struct.unpack_from("<I", sector, n)[0])
            wait_status(vm, 0x80, 0)
            check("status", refused, bool(vm.inb(0x3f6) & 1))
            check("told", refused, "look like qcow2 was refused" in vm.stderr())
        with open(path, "rb") as f:
            check("written", sector if not refused else bytes(512), f.read(512))
    for options in ("readonly=on,if=virtio", "snapshot=on", "media=cdrom"):
        with QTest("-M", "pc", "-drive", options + ",file=" + image("quiet.img")) as vm:
            vm.inb(0x1f7)
            check("warned under " + options, "", vm.stderr())


def test_locked():
    path = image("b.img")
    with QTest("-M", "pc", "-hda", path) as vm:
        vm.cmd_ok("clock_step 0")
        fails("-hda", path, wants=["in use by process %d (" % vm.proc.pid])
        fails("-hda", path, "-snapshot", wants=["in use by process %d (" % vm.proc.pid])
    with QTest("-M", "pc", "-drive", "readonly=on,format=raw,file=" + path):
        with QTest("-M", "pc", "-hda", path, "-snapshot"):
            pass


def qemu_io(path, *args):
    return subprocess.run(["qemu-io", "-f", "raw", *args, "-c", "read 0 512", path],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, check=False)


def test_locks_are_qemus():
    """QEMU's own tools and Vireo keep each other out."""
    if not shutil.which("qemu-io"):
        raise Skip("no qemu-io: install qemu-utils")
    path = image("c.img")
    reader = "readonly=on,format=raw,file=" + path
    with QTest("-M", "pc", "-hda", path) as vm:
        vm.cmd_ok("clock_step 0")
        check("qemu-io writes", 1, qemu_io(path).returncode)
        check("qemu-io looks only", 0, qemu_io(path, "-r").returncode)
    with QTest("-M", "pc", "-drive", reader) as vm:
        vm.cmd_ok("clock_step 0")
        check("qemu-io writes under a reader", 1, qemu_io(path).returncode)
        check("qemu-io reads under a reader", 0, qemu_io(path, "-r").returncode)
    with subprocess.Popen(["qemu-io", "-f", "raw", path], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b"read 0 512\n")
        other.stdin.flush()
        other.stdout.readline()
        for args in (["-hda", path], ["-drive", reader]):
            fails(*args, wants=["in use by process %d (qemu-io)" % other.pid])
        other.communicate(b"quit\n")


main()
