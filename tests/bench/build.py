#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the guest images of the benchmark into --out.

public.cpio.gz  init + vbench        disk.cpio.gz  the same + block drivers
root-*/         the same trees unpacked, for the native runs
"""
import argparse
import lzma
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DRIVERS = ["virtio_pci", "virtio_blk", "ata_piix", "ahci", "nvme", "sd_mod"]


def compile_guest(root, arch, cc):
    flags = ["-O2", "-Wall", "-Wextra", "-static"]
    flags += ["-m32", "-msse2", "-mfpmath=sse"] if arch == "i386" else ["-march=x86-64"]
    guest = HERE / "guest"
    subprocess.run([cc, *flags, "-o", root / "init", guest / "init.c"], check=True)
    (root / "bench").mkdir()
    sources = [guest / n for n in ("vbench.c", "cpu.c", "sys.c")]
    subprocess.run([cc, *flags, "-o", root / "bench/vbench", *sources, "-lm"], check=True)


def new_root(out, name, arch, cc):
    root = out / f"root-{name}"
    shutil.rmtree(root, ignore_errors=True)
    for d in ("dev", "proc", "sys", "tmp"):
        (root / d).mkdir(parents=True)
    compile_guest(root, arch, cc)
    return root


def pack(root, out):
    subprocess.run([sys.executable, HERE.parents[1] / "scripts/initramfs", root, out], check=True)
    print(out, out.stat().st_size)


def module_order(modules, names):
    files = {p.name.split(".ko")[0].replace("-", "_"): p for p in modules.rglob("*.ko*")}
    order = []

    def visit(name):
        if name not in files or files[name] in order:
            return  # built in, or already there
        data = files[name].read_bytes()
        if files[name].suffix == ".xz":
            data = lzma.decompress(data)
        depends = re.search(rb"\0depends=([^\0]*)\0", b"\0" + data)
        for d in (depends.group(1).decode().split(",") if depends else []):
            visit(d.replace("-", "_"))
        soft = {"sd_mod": ["crc_t10dif", "crct10dif_generic"]}.get(name, [])
        for s in soft:
            visit(s)
        order.append(files[name])

    for n in names:
        visit(n)
    return order


def add_modules(root, modules):
    (root / "modules").mkdir()
    order = module_order(modules, DRIVERS)
    for p in order:
        data = p.read_bytes()
        if p.suffix == ".xz":
            data, p = lzma.decompress(data), p.with_suffix("")
        (root / "modules" / p.name).write_bytes(data)
    lines = [f"/modules/{p.name.removesuffix('.xz')}\n" for p in order]
    (root / "modules/order").write_text("".join(lines))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--out", type=Path, default=HERE / "build")
    ap.add_argument("--arch", choices=["x86_64", "i386"], default="x86_64")
    ap.add_argument("--cc", default="gcc")
    ap.add_argument("--kernel", type=Path, required=True, help="a bzImage; copied into --out")
    ap.add_argument("--modules", type=Path, help="lib/modules/VERSION of that kernel, for disk")
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(a.kernel, a.out / "kernel")
    (a.out / "arch").write_text(a.arch)

    root = new_root(a.out, "public", a.arch, a.cc)
    shutil.copy(HERE / "guest/public.list", root / "bench")
    pack(root, a.out / "public.cpio.gz")
    if a.modules:
        root = new_root(a.out, "disk", a.arch, a.cc)
        shutil.copy(HERE / "guest/disk.list", root / "bench")
        add_modules(root, a.modules)
        pack(root, a.out / "disk.cpio.gz")


main()
