#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vireo-img against qemu-img, in one run: how many times faster. Timings never fail anything.

    tests/bench/img.py [--build DIR] [--size MIB] [--runs N] [--only TEXT]

Each case runs the two tools in turn, N times, on files in the page cache, and shows medians of the time
that passed and of processor time, and their ratios: above 1 is faster than qemu-img. On a busy machine
the second is the one to look at.
"""
import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make_source(name, size, seed=1):
    """A disk like a guest's: text, random bytes, zeroes and holes."""
    rng = random.Random(seed)
    words = b" ".join(b"%d" % rng.randrange(10 ** 6) for _ in range(40000))
    with open(name, "wb") as f:
        f.truncate(size)
        at = 0
        while at < size:
            length = min(rng.choice([4096, 65536, 1 << 20, 3 << 20]), size - at)
            kind = rng.random()
            f.seek(at)
            if kind < 0.35:
                start = rng.randrange(65536)
                f.write((words[start:] * (length // 100000 + 1))[:length])
            elif kind < 0.6:
                f.write(rng.randbytes(length))
            elif kind < 0.7:
                f.write(bytes(length))
            at += length


def make_full(name, size, seed=2):
    """No zeroes and no holes."""
    rng = random.Random(seed)
    parts = [rng.randbytes(1 << 20) for _ in range(8)]
    with open(name, "wb") as f:
        for _ in range(size >> 20):
            f.write(rng.choice(parts))


def make_sparse(name, size, seed=3):
    """Single pages far from each other."""
    rng = random.Random(seed)
    with open(name, "wb") as f:
        f.truncate(size)
        for _ in range(size >> 20):
            f.seek(rng.randrange(size >> 12) << 12)
            f.write(rng.randbytes(4096))


CASES = [
    # name, command with {t} the tool, {d} the directory; what is removed before
    ("create raw", "create -q -f raw {d}/out 10G"),
    ("create qcow2", "create -q -f qcow2 {d}/out 10G"),
    ("create qcow2 1T", "create -q -f qcow2 {d}/out 1T"),
    ("create qcow2 metadata", "create -q -f qcow2 -o preallocation=metadata {d}/out 4G"),
    ("create overlay", "create -q -f qcow2 -b {d}/src.qcow2 -F qcow2 {d}/out"),
    ("convert raw raw", "convert -f raw -O raw {d}/src.raw {d}/out"),
    ("convert raw raw -S 0", "convert -S 0 -f raw -O raw {d}/src.raw {d}/out"),
    ("convert raw raw -W", "convert -W -f raw -O raw {d}/src.raw {d}/out"),
    ("convert raw qcow2", "convert -f raw -O qcow2 {d}/src.raw {d}/out"),
    ("convert raw qcow2 -W", "convert -W -f raw -O qcow2 {d}/src.raw {d}/out"),
    ("convert qcow2 raw", "convert -f qcow2 -O raw {d}/src.qcow2 {d}/out"),
    ("convert qcow2 qcow2", "convert -f qcow2 -O qcow2 {d}/src.qcow2 {d}/out"),
    ("convert full raw raw", "convert -f raw -O raw {d}/full.raw {d}/out"),
    ("convert full raw qcow2", "convert -f raw -O qcow2 {d}/full.raw {d}/out"),
    ("convert full qcow2 raw", "convert -f qcow2 -O raw {d}/full.qcow2 {d}/out"),
    ("convert sparse raw raw", "convert -f raw -O raw {d}/sparse.raw {d}/out"),
    ("convert sparse raw qcow2", "convert -f raw -O qcow2 {d}/sparse.raw {d}/out"),
    ("convert sparse qcow2 raw", "convert -f qcow2 -O raw {d}/sparse.qcow2 {d}/out"),
    ("convert -c zlib", "convert -c -f raw -O qcow2 {d}/small.raw {d}/out"),
    ("convert -c zstd", "convert -c -o compression_type=zstd -f raw -O qcow2 {d}/small.raw {d}/out"),
    ("convert -c zlib zlib", "convert -c -f qcow2 -O qcow2 {d}/zlib.qcow2 {d}/out"),
    ("convert zlib raw", "convert -f qcow2 -O raw {d}/zlib.qcow2 {d}/out"),
    ("convert zlib qcow2", "convert -f qcow2 -O qcow2 {d}/zlib.qcow2 {d}/out"),
    ("convert zstd raw", "convert -f qcow2 -O raw {d}/zstd.qcow2 {d}/out"),
    ("convert flushed", "convert -t writeback -f raw -O qcow2 {d}/small.raw {d}/out"),
    ("convert raw -t none", "convert -t none -f qcow2 -O raw {d}/small.qcow2 {d}/out"),
    ("compare", "compare -f raw -F qcow2 {d}/src.raw {d}/src.qcow2"),
    ("info", "info -f qcow2 {d}/src.qcow2"),
    ("map", "map --output=json -f qcow2 {d}/src.qcow2"),
    ("check", "check -f qcow2 {d}/src.qcow2"),
    ("bench read", "bench -f raw -c 20000 -d 4 {d}/src.raw"),
]


def run(tool, words, directory):
    out = os.path.join(directory, "out")
    if os.path.exists(out):
        os.unlink(out)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    p = subprocess.run([tool] + words.format(d=directory).split(), stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, check=False)
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode:
        return None
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--size", type=int, default=512, help="MiB of the source [512]")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    ours = os.path.join(args.build, "vireo-img")
    theirs = shutil.which("qemu-img")
    if not theirs:
        print("skipped: qemu-img is not installed (package qemu-utils)")
        return 0
    with tempfile.TemporaryDirectory(prefix="vireo-bench-") as d:
        make_source(os.path.join(d, "src.raw"), args.size << 20)
        make_source(os.path.join(d, "small.raw"), args.size // 8 << 20)
        make_full(os.path.join(d, "full.raw"), args.size << 20)
        make_sparse(os.path.join(d, "sparse.raw"), args.size << 22)
        for words in ("convert -f raw -O qcow2 {d}/src.raw {d}/src.qcow2",
                      "convert -f raw -O qcow2 {d}/small.raw {d}/small.qcow2",
                      "convert -f raw -O qcow2 {d}/full.raw {d}/full.qcow2",
                      "convert -f raw -O qcow2 {d}/sparse.raw {d}/sparse.qcow2",
                      "convert -c -f raw -O qcow2 {d}/small.raw {d}/zlib.qcow2",
                      "convert -c -o compression_type=zstd -f raw -O qcow2 {d}/small.raw {d}/zstd.qcow2"):
            subprocess.run([theirs] + words.format(d=d).split(), check=True)
        print("%-24s %10s %10s %8s   %s" % ("median of %d" % args.runs, "vireo-img", "qemu-img", "ratio",
                                            "processor time"))
        for name, words in CASES:
            if args.only not in name:
                continue
            times = {ours: [], theirs: []}
            for turn in range(args.runs):
                for tool in (ours, theirs) if turn % 2 else (theirs, ours):
                    times[tool].append(run(tool, words, d))
            if None in times[ours] + times[theirs]:
                print("%-24s fails in %s" % (name, "vireo-img" if None in times[ours] else "qemu-img"))
                continue
            (a, x), (b, y) = ([statistics.median(one) for one in zip(*times[t])] for t in (ours, theirs))
            print("%-24s %8.1fms %8.1fms %7.2fx %7.2fx" % (name, a * 1000, b * 1000, b / a, y / max(x, 1e-6)),
                  flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
