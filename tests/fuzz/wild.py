#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random bytes as guest code, in every mode of the processor (wild.S), on any engine: whatever they do,
the process goes on, answers its monitor, and ends when told to.

    wild.py [--seed N] [--seconds S] [--accel A] [--smp N] [--mode real]     one mode after the other
"""

import argparse
import os
import select
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
VIREO = os.environ.get("VIREO", os.path.join(ROOT, "build", "vireo"))
SLOW = float(os.environ.get("SLOW", "1"))
MODES = ["real", "pm16", "v86", "pm32", "paged32", "pae32", "user32", "compat", "long", "user64"]
sys.path.insert(0, os.path.dirname(HERE))
import engines  # pylint: disable=wrong-import-position


def build(out, mode, seed):
    """Returns the ROM's path."""
    base = os.path.join(out, "wild-%s-%d" % (mode, seed))
    subprocess.run([os.environ.get("CC", "gcc").split()[-1], "-m64", "-c",
                    "-DMODE=%d" % MODES.index(mode), "-DSEED=%d" % (seed & 0x7fffffff),
                    "-o", base + ".o", os.path.join(HERE, "wild.S")], check=True)
    subprocess.run(["ld", "-m", "elf_x86_64", "-z", "noexecstack", "-Ttext=0xf0000", "-e", "0xffff0",
                    "-o", base + ".elf", base + ".o"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", base + ".elf", base + ".bin"], check=True)
    return base + ".bin"


class Run:
    """One process. problem: None, or what it should not have done."""

    def __init__(self, out, rom, accel, smp=1):
        self.log = os.path.join(out, "log")
        self.ours, theirs = socket.socketpair()
        self.cmd = [VIREO, "-accel", engines.accel(accel), "-cpu", "max", "-m", "16", "-smp", str(smp),
                    "-nodefaults", "-vga", "std", "-display", "none", "-no-shutdown", "-bios", rom,
                    "-debugcon", "file:" + self.log, "-monitor", "stdio"]
        self.err = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(self.cmd, stdin=theirs, stdout=theirs, stderr=self.err)
        theirs.close()
        self.problem = None

    def text(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace").strip()

    def ask(self, line):
        """True if the monitor answers."""
        try:
            self.ours.sendall(line.encode() + b"\n")
            end, got = time.monotonic() + 30 * SLOW, b""
            while not got.endswith(b") ") and time.monotonic() < end:
                if select.select([self.ours], [], [], 1)[0]:
                    data = self.ours.recv(65536)
                    if not data:
                        return False
                    got += data
            return got.endswith(b") ")
        except OSError:
            return False

    def watch(self, seconds):
        """Lets it run. What stands still (the watchdog can be switched off) is reset."""
        end, size = time.monotonic() + seconds, -1
        while time.monotonic() < end and self.proc.poll() is None:
            time.sleep(0.2)
            try:
                last, size = size, os.path.getsize(self.log)
            except OSError:
                last = -1
            if last == size and not self.ask("system_reset"):
                self.problem = "no answer from the monitor"
                return

    def finish(self, seconds):
        self.watch(seconds)
        if self.proc.poll() is None:
            if not self.ask("info registers"):
                self.problem = "no answer from the monitor"
            try:
                self.ours.sendall(b"quit\n")
                self.proc.wait(30 * SLOW)
            except OSError:
                pass
            except subprocess.TimeoutExpired:
                self.problem = "no end after 'quit'"
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        elif self.proc.returncode:
            self.problem = "exit status %d" % self.proc.returncode
        if self.problem:
            self.problem += "\n" + self.text()
        self.ours.close()
        try:
            with open(self.log, "rb") as f:
                said = f.read()
        except OSError:
            said = b""
        return said.count(b"."), said.count(b"!")


def fuzz(mode, seed, accel, seconds, smp=1):
    """(what went wrong or None, rounds, resets)"""
    with tempfile.TemporaryDirectory(prefix="vireo-wild-") as out:
        run = Run(out, build(out, mode, seed), accel, smp)
        rounds, resets = run.finish(seconds)
        if run.problem:
            return "%s\nagain: VIREO=%s python3 %s --mode %s --seed %d --accel %s --smp %d" % (
                run.problem, VIREO, os.path.join(HERE, "wild.py"), mode, seed, accel, smp), rounds, resets
        return None, rounds, resets


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--each", type=float, default=3, help="seconds of one process [3]")
    parser.add_argument("--accel", default="interp")
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--smp", type=int, default=1)
    args = parser.parse_args()
    seed, end = args.seed, time.monotonic() + args.seconds
    while time.monotonic() < end:
        for mode in [args.mode] if args.mode else MODES:
            problem, rounds, resets = fuzz(mode, seed, args.accel, args.each, args.smp)
            print("%s, seed %d: %d rounds, %d resets: %s" % (mode, seed, rounds, resets,
                                                            problem or "survived"), flush=True)
            if problem:
                return 1
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
