#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzes with libFuzzer under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer.

    tests/fuzz/run.py [--runs N] [--seed N] [--corpus DIR] [--keep DIR] TARGET... [--input FILE...]

Without a target it lists them. Needs clang with its sanitizers' library. What it finds is left in the
current directory; a FILE is run once.
"""
import argparse
import glob
import multiprocessing.pool
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZE = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-DHAVE_ZSTD", "-fno-strict-aliasing", "-I", ".", "-g", "-pthread",
         "-w"]
FOLDERS = ["block", "chardev", "util", "memory", "net", "hw/core", "hw/pci", "hw/isa", "hw/ide", "hw/block",
           "hw/net", "hw/virtio"]
LEFT_OUT = ["uring.c", "i440fx.c", "piix3.c", "piix3_ide.c", "pci_info.c"]
FRAMES = ["tests/fuzz/frames.c"]
# name: (what, sources, folders, flags of the sources, flags of everything, longest input)
TARGETS = {
    "ahci": ("AHCI with a disk and a CD", ["tests/fuzz/disks.c"], FOLDERS, ["-DAHCI"], ["-O1"], 400),
    "floppy": ("the floppy controller", ["tests/fuzz/disks.c"], FOLDERS, [], ["-O1"], 400),
    "virtio": ("virtio's rings and devices", ["tests/fuzz/virtio.c"] + FRAMES, FOLDERS, [], ["-O1"], 400),
    "e1000": ("e1000's registers and rings", ["tests/fuzz/e1000.c"] + FRAMES, FOLDERS, [], ["-O1"], 400),
    "packets": ("frames to and from back ends", ["tests/fuzz/packets.c"] + FRAMES, FOLDERS, [], ["-O1"],
                400),
    "qcow2": ("qcow2 images", ["tests/fuzz/qcow2.c"], ["block", "util"], [],
              ["-O2", "-fno-sanitize-coverage=trace-cmp"], 200),
}


def words(*cmd):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE).stdout.decode().split()


def compile_all(sources, flags, folder):
    """Objects of sources, relative to ROOT, with these flags; those that are there already stay."""
    os.makedirs(folder, exist_ok=True)

    def one(source):
        obj = os.path.join(folder, source.replace("/", "-")[:-2] + ".o")
        if not os.path.exists(obj):
            subprocess.run(["clang", *flags, "-c", "-o", obj, source], cwd=ROOT, check=True)
        return obj

    with multiprocessing.pool.ThreadPool(os.cpu_count()) as pool:
        return pool.map(one, sources)


def build(name, folder):
    _, sources, folders, own, flags, _ = TARGETS[name]
    packages = ["json-c", "libzstd", "zlib"] + (["cmocka"] if name == "qcow2" else [])
    left_out = LEFT_OUT
    if "net" in folders and subprocess.run(["pkg-config", "--exists", "slirp"], check=False).returncode == 0:
        packages.append("slirp")
        flags = flags + ["-DHAVE_SLIRP"]
        left_out = left_out + ["user_none.c"]
    elif "net" in folders:
        left_out = left_out + ["user.c", "user_poll.c", "user_fwd.c", "user_merge.c"]
    shared = [os.path.relpath(p, ROOT) for d in folders for p in sorted(glob.glob("%s/%s/*.c" % (ROOT, d)))
              if os.path.basename(p) not in left_out]
    flags = FLAGS + flags + SANITIZE + words("pkg-config", "--cflags", *packages)
    objects = compile_all(shared, flags, os.path.join(folder, "qcow2.all" if name == "qcow2" else "all"))
    if "net" in folders:
        sources = sources + ["tests/fuzz/box.c"]
    objects += compile_all(sources, flags + own, os.path.join(folder, name + ".d"))
    program = os.path.join(folder, name)
    subprocess.run(["clang", *SANITIZE, "-pthread", "-o", program, *objects,
                    *words("pkg-config", "--libs", *packages), "-lm"], cwd=ROOT, check=True)
    return program


def fuzz(name, args, folder):
    cmd = [build(name, folder), "-timeout=60", "-rss_limit_mb=1024", "-close_fd_mask=2"]
    if args.input:
        cmd += args.input
    else:
        cmd += ["-runs=%d" % args.runs, "-seed=%d" % args.seed, "-max_len=%d" % TARGETS[name][-1],
                "-len_control=0", "-print_final_stats=1"] + ([args.corpus] if args.corpus else [])
    return subprocess.run(cmd, stdout=sys.stderr, check=False).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*")
    parser.add_argument("--runs", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", help="kept between runs")
    parser.add_argument("--keep", help="leaves objects and programs there, and takes those that are")
    parser.add_argument("--input", nargs="+", help="runs these files instead")
    args = parser.parse_args()
    for name in args.target:
        if name not in TARGETS:
            sys.exit("run.py: no target '%s'; there are %s" % (name, ", ".join(TARGETS)))
    if not args.target:
        for name, target in TARGETS.items():
            print("%-10s %s" % (name, target[0]))
        return
    print("1..%d" % len(args.target), flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="vireo-fuzz-") as tmp:
        for i, name in enumerate(args.target):
            if not shutil.which("clang"):
                print("ok %d - %s # SKIP no clang: install clang and libclang-rt-dev" % (i + 1, name))
                continue
            ok = fuzz(name, args, args.keep or tmp)
            failed |= not ok
            print("%s %d - %s, %d runs" % ("ok" if ok else "not ok", i + 1, name, args.runs), flush=True)
    sys.exit(failed)


main()
