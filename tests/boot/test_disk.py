# SPDX-License-Identifier: GPL-2.0-or-later
"""Booting from a disk and from a CD (El Torito): INT 13h, and data by string instructions."""

import os
import random
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hw"))
from qtest import VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position

BIOS = "/usr/share/seabios/bios-256k.bin"
CC = os.environ.get("CC", "gcc").split()


def boot_sector(directory, *defines):
    obj, out = os.path.join(directory, "disk.o"), os.path.join(directory, "disk.bin")
    if subprocess.call(CC + ["-m32", *defines, "-c", "-o", obj,
                             os.path.join(HERE, "disk.S")]) != 0:
        skip("no assembler for 32-bit code")
    subprocess.check_call(["ld", "-m", "elf_i386", "-e", "_start", "-Ttext=0x7c00",
                           "--oformat=binary", "-o", out, obj])
    with open(out, "rb") as f:
        return f.read()


def iso(boot):
    """The least CD that boots (El Torito 1.0): volume, boot record, catalog at 18, boot image."""
    blocks = {16: b"\1CD001\1", 19: boot, 20: b"block 20",
              17: b"\0CD001\1EL TORITO SPECIFICATION".ljust(71, b"\0") + struct.pack("<I", 18)}
    check_entry = struct.pack("<BBH24sHBB", 1, 0, 0, b"vireo", 0, 0x55, 0xaa)
    total = sum(struct.unpack("<16H", check_entry)) & 0xffff
    check_entry = check_entry[:28] + struct.pack("<H", -total & 0xffff) + b"\x55\xaa"
    blocks[18] = check_entry + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, 19)
    return b"".join(blocks.get(n, b"").ljust(2048, b"\0") for n in range(400))


def run(directory, *args):
    """What came out of port E9h."""
    if not os.path.exists(BIOS):
        skip("no " + BIOS)
    out = os.path.join(directory, "out")
    command = [VIREO, "-nodefaults", "-display", "none", "-accel", "interp", "-m", "16",
               "-no-reboot", "-debugcon", "file:" + out, "-device",
               "isa-debug-exit,iobase=0xf4"] + list(args)
    result = subprocess.run(command, cwd=directory, timeout=60, stdin=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, check=False)
    with open(out, "rb") as f:
        text = f.read().decode("latin-1")
    if result.returncode != 3:
        raise Failure("exit status: want 3, got %d\n%s\n%s" %
                      (result.returncode, result.stderr.decode(), text))
    return text


def write(directory, name, data):
    path = os.path.join(directory, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def test_disk():
    with tempfile.TemporaryDirectory(prefix="vireo-boot-") as directory:
        data = random.Random(1).randbytes(2048)
        disk = (boot_sector(directory) + data).ljust(1 << 20, b"\0")
        path = write(directory, "disk.img", disk)
        check("-hda", "B1234", run(directory, "-drive", "file=%s,format=raw" % path))
        with open(path, "rb") as f:
            after = f.read()
        check("sectors 8 to 11", data, after[4096:6144])
        check("the rest", (disk[:4096], disk[6144:]), (after[:4096], after[6144:]))
        path = write(directory, "disk.img", disk)
        check("-snapshot", "B1234", run(directory, "-hda", path, "-snapshot"))
        with open(path, "rb") as f:
            check("image after -snapshot", disk, f.read())


def test_virtio_disk():
    """SeaBIOS has drivers for both interfaces."""
    with tempfile.TemporaryDirectory(prefix="vireo-boot-") as directory:
        data = random.Random(1).randbytes(2048)
        disk = (boot_sector(directory, "-DBIOS") + data).ljust(1 << 20, b"\0")
        device = ["-device", "virtio-blk-pci,drive=d,bootindex=1"]
        for options in (["if=virtio"], ["if=none,id=d"] + device,
                        ["if=none,id=d", "-device", "virtio-blk-pci-non-transitional,drive=d"],
                        ["if=none,id=d", "-device", "virtio-blk-pci,drive=d,disable-modern=on"]):
            path = write(directory, "disk.img", disk)
            check(" ".join(options), "B12", run(directory, "-drive", "file=%s,format=raw,%s" %
                                                (path, options[0]), *options[1:]))
            with open(path, "rb") as f:
                check("sectors 8 to 11", data, f.read()[4096:6144])
        path = write(directory, "disk.img", disk)
        other = write(directory, "other.img", bytes(1 << 20))
        check("bootindex", "B12", run(directory, "-hda", other, "-drive",
                                      "file=%s,format=raw,if=none,id=d" % path, *device))


def test_ahci_and_floppy():
    with tempfile.TemporaryDirectory(prefix="vireo-boot-") as directory:
        data = random.Random(1).randbytes(2048)
        disk = (boot_sector(directory, "-DBIOS") + data).ljust(1 << 20, b"\0")
        other = write(directory, "other.img", bytes(1 << 20))
        for port, more in ((0, []), (5, ["-hda", other])):
            path = write(directory, "disk.img", disk)
            check("AHCI port %d" % port, "B12", run(
                directory, "-drive", "file=%s,format=raw,if=none,id=d" % path, "-device",
                "ahci,id=ahci", "-device", "ide-hd,drive=d,bus=ahci.%d,bootindex=1" % port, *more))
            with open(path, "rb") as f:
                check("sectors 8 to 11", data, f.read()[4096:6144])
        cd = write(directory, "cd.iso", iso(boot_sector(directory, "-DCD")))
        check("CD on AHCI", "Cblock 20", run(
            directory, "-drive", "file=%s,media=cdrom,if=none,id=c" % cd, "-device", "ahci,id=ahci",
            "-device", "ide-cd,drive=c,bus=ahci.3"))
        for size in (360, 720, 1200, 1440, 2880):
            path = write(directory, "floppy.img", disk[:4096].ljust(size << 10, b"\0"))
            check("floppy of %dK" % size, "B", run(directory, "-fda", path, "-boot", "a")[0])
        check("bootindex of a floppy", "B", run(
            directory, "-hda", other, "-drive", "if=none,format=raw,id=f,file=" + path, "-device",
            "floppy,drive=f,bootindex=0", "-boot", "c")[0])


def test_order():
    with tempfile.TemporaryDirectory(prefix="vireo-boot-") as directory:
        hd = write(directory, "disk.img", boot_sector(directory).ljust(1 << 20, b"\0"))
        cd = write(directory, "cd.iso", iso(boot_sector(directory, "-DCD")))
        both = ("-drive", "file=%s,format=raw,id=h" % hd, "-cdrom", cd)
        check("CD alone, by its bare name", "Cblock 20", run(directory, cd))
        check("disk first", "B", run(directory, *both)[0])
        check("-boot d", "C", run(directory, *both, "-boot", "d")[0])
        check("-boot order=dc", "C", run(directory, *both, "-boot", "order=dc")[0])
        check("-boot once=d", "C", run(directory, *both, "-boot", "once=d")[0])
        check("boot=on", "C", run(directory, "-drive", "file=%s,format=raw,id=h" % hd, "-drive",
                                  "index=3,media=cdrom,boot=on,file=" + cd)[0])
        plugs = ("-drive", "if=none,id=h,format=raw,file=" + hd, "-drive",
                 "if=none,id=c,media=cdrom,file=" + cd)
        check("bootindex, CD first", "C", run(
            directory, *plugs, "-device", "ide-hd,drive=h,bootindex=2", "-device",
            "ide-cd,drive=c,bus=ide.1,unit=1,bootindex=1")[0])
        check("bootindex, disk first", "B", run(
            directory, *plugs, "-device", "ide-hd,drive=h,bus=ide.0,unit=0,bootindex=1", "-device",
            "ide-cd,drive=c,bus=ide.0,unit=1,bootindex=2", "-boot", "d")[0])


main()
