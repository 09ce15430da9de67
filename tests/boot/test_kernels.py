# SPDX-License-Identifier: GPL-2.0-or-later
"""-kernel, -initrd and -append by all three boot protocols, through SeaBIOS and our option ROMs."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hw"))
from qtest import VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position

BIOS = "/usr/share/seabios/bios-256k.bin"
CC = os.environ.get("CC", "gcc").split()


def build(directory, kind):
    source, obj = os.path.join(HERE, "kernels.S"), os.path.join(directory, "kernel.o")
    kernel = os.path.join(directory, "kernel")
    if subprocess.call(CC + ["-m32", "-D" + kind, "-c", "-o", obj, source]) != 0:
        skip("no assembler for 32-bit code")
    link = ["-n", "-Ttext=0x100000", "--section-start=.note.Xen=0x102000"]
    if kind == "BZIMAGE":
        link = ["-Ttext=0", "--oformat=binary"]
    subprocess.check_call(["ld", "-m", "elf_i386", "-e", "_start"] + link + ["-o", kernel, obj])
    return kernel


def run(kind, module, *args):
    """Lines the kernel printed."""
    if not os.path.exists(BIOS):
        skip("no " + BIOS)
    with tempfile.TemporaryDirectory(prefix="vireo-boot-") as directory:
        kernel = build(directory, kind)
        with open(os.path.join(directory, "mod"), "wb") as f:
            f.write(module)
        serial = os.path.join(directory, "serial")
        command = [VIREO, "-nodefaults", "-display", "none", "-accel", "interp", "-m", "32",
                   "-no-reboot", "-serial", "file:" + serial, "-device",
                   "isa-debug-exit,iobase=0xf4", "-kernel", kernel] + list(args)
        result = subprocess.run(command, cwd=directory, timeout=60, stdin=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, check=False)
        with open(serial, "rb") as f:
            text = f.read().decode("latin-1")
        if result.returncode != 3:
            raise Failure("exit status: want 3, got %d\n%s\n%s" %
                          (result.returncode, result.stderr.decode(), text))
        return text.replace(directory + "/", "").rstrip("\n").split("\n")


def test_linux():
    lines = run("BZIMAGE", b"initrd\0", "-initrd", "mod", "-append", "root=/dev/ram vga=0x317")
    check("what it printed", ["root=/dev/ram vga=0x317", "00000007", "initrd", "000000ff",
                              "00000317"], lines[-5:])


def test_multiboot():
    lines = run("MULTIBOOT", b"content\0", "-initrd", "mod first,,one,mod", "-append", "a b")
    check("what it printed", ["2badb002", "0000024d", "00007bf8", "kernel a b", "mod first,one",
                              "content", "mod", "content", "01efe000"], lines[-9:])


def test_pvh():
    lines = run("PVH", b"content\0", "-initrd", "mod", "-append", "a b")
    check("what it printed", ["336ec578", "a b", "00000001", "00000008", "content", "01efe000"],
          lines[-6:])


main()
