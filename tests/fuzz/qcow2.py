#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzes the qcow2 driver with libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer.

    tests/fuzz/qcow2.py [--runs N] [--seed N] [--corpus DIR]

Needs clang with its sanitizers' library. What it finds is left in the current directory.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZE = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-coverage=trace-cmp"]


def words(*cmd):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE).stdout.decode().split()


def build(out):
    sources = ["tests/fuzz/qcow2.c"] + [
        os.path.relpath(p, ROOT) for d in ("block", "util") for p in glob.glob(ROOT + "/%s/*.c" % d)
        if not p.endswith("uring.c")]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-DHAVE_ZSTD", "-fno-strict-aliasing", "-I", ROOT,
             "-O2", "-g", "-fno-sanitize-recover=undefined", "-pthread", *SANITIZE]
    libs = words("pkg-config", "--cflags", "--libs", "json-c", "libzstd", "zlib", "cmocka")
    subprocess.run(["clang", *flags, "-w", "-o", out, *sources, *libs, "-lm"], cwd=ROOT, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", help="kept between runs")
    args = parser.parse_args()
    print("1..1", flush=True)
    if not shutil.which("clang"):
        print("ok 1 - fuzz # SKIP no clang: install clang and libclang-rt-dev")
        return
    with tempfile.TemporaryDirectory(prefix="vireo-fuzz-") as tmp:
        program = os.path.join(tmp, "qcow2")
        build(program)
        cmd = [program, "-runs=%d" % args.runs, "-seed=%d" % args.seed, "-max_len=200",
               "-timeout=60", "-rss_limit_mb=1024", "-print_final_stats=1", "-close_fd_mask=2"]
        run = subprocess.run(cmd + ([args.corpus] if args.corpus else []), stdout=sys.stderr)
    print("%s 1 - %d runs" % ("not ok" if run.returncode else "ok", args.runs))
    sys.exit(1 if run.returncode else 0)


main()
