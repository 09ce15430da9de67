#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzes virtio rings and devices with libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer.

    tests/fuzz/virtio.py [--runs N] [--seed N] [--corpus DIR] [--keep PROGRAM] [INPUT...]

Needs clang with its sanitizers' library. What it finds is left in the current directory; INPUTs are
run once each.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZE = "-fsanitize=fuzzer,address,undefined"
FOLDERS = ("block", "chardev", "util", "memory", "hw/core", "hw/pci", "hw/virtio")
LEFT_OUT = ("uring.c", "i440fx.c", "pci_info.c")


def libraries(*names):
    return subprocess.run(["pkg-config", "--cflags", "--libs", *names], check=True,
                          stdout=subprocess.PIPE).stdout.decode().split()


def build(out):
    sources = ["tests/fuzz/virtio.c"] + [os.path.relpath(p, ROOT) for d in FOLDERS
                                        for p in glob.glob(os.path.join(ROOT, d, "*.c"))
                                        if os.path.basename(p) not in LEFT_OUT]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-DHAVE_ZSTD", "-fno-strict-aliasing", "-I", ROOT, "-O1", "-g",
             "-fno-sanitize-recover=undefined", SANITIZE, "-pthread", "-w"]
    subprocess.run(["clang", *flags, "-o", out, *sources, *libraries("json-c", "libzstd", "zlib"), "-lm"],
                   cwd=ROOT, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", help="kept between runs")
    parser.add_argument("--keep", help="leaves the program there")
    parser.add_argument("input", nargs="*")
    args = parser.parse_args()
    if not shutil.which("clang"):
        sys.exit("virtio.py: no clang: install clang and libclang-rt-dev")
    with tempfile.TemporaryDirectory(prefix="vireo-fuzz-") as tmp:
        program = args.keep or os.path.join(tmp, "virtio")
        build(program)
        cmd = [program, "-timeout=60", "-rss_limit_mb=1024"]
        if args.input:
            run = subprocess.run(cmd + args.input)
        else:
            cmd += ["-runs=%d" % args.runs, "-seed=%d" % args.seed, "-max_len=400", "-len_control=0",
                    "-print_final_stats=1"]
            run = subprocess.run(cmd + ([args.corpus] if args.corpus else []))
    sys.exit(1 if run.returncode else 0)


main()
