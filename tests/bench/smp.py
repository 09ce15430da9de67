#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two vCPUs: do two compute loops take the time of one? Then what the guest costs while it is idle, in
processor time and in memory.

    tests/bench/smp.py [--build DIR] [--accel A]

Wants what 'make bench' has fetched (a kernel) and two idle cores; says so if they are busy.
"""
import argparse
import os
import re
import select
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
MEM = 256
IDLE = 10


def make_initrd(work, cc):
    root = work / "root"
    root.mkdir()
    subprocess.run([cc, "-O2", "-Wall", "-Wextra", "-static", "-o", root / "init",
                    HERE / "guest/smp.c"], check=True)
    subprocess.run([sys.executable, TOP / "scripts/initramfs", root, work / "initrd"], check=True,
                   stdout=subprocess.DEVNULL)
    return work / "initrd"


class Guest:
    def __init__(self, cmd):
        self.proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.text = b""

    def until(self, pattern, secs):
        end = time.monotonic() + secs
        while not (m := re.search(pattern, self.text)):
            left = end - time.monotonic()
            data = b""
            if left > 0 and select.select([self.proc.stdout], [], [], left)[0]:
                data = os.read(self.proc.stdout.fileno(), 4096)
            if not data:
                sys.exit("no '%s' from the guest; it said: %s" %
                         (pattern.decode(), self.text[-300:].decode(errors="replace")))
            self.text += data
        return m

    def cpu(self):
        stat = Path("/proc/%d/stat" % self.proc.pid).read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """MiB resident: the guest's RAM, the code cache (mapped twice, counted once), all else."""
        sums, name = {"ram": 0, "code": 0, "else": 0}, ""
        for line in Path("/proc/%d/smaps" % self.proc.pid).read_text().splitlines():
            m = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \S+ *(.*)", line)
            if m:
                code = "vireo-code" in m[2]
                name = "code" if code else "ram" if "memfd:" in m[2] else "else"
                if code and "x" in m[1]:
                    name = ""
            elif line.startswith("Rss:") and name:
                sums[name] += int(line.split()[1]) / 1024
        return sums

    def stop(self):
        self.proc.kill()
        self.proc.wait()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--build", type=Path, default=TOP / "build")
    ap.add_argument("--kernel", type=Path, default=Path(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "vireo/bench/vmlinuz")
    ap.add_argument("--accel", default="jit")
    ap.add_argument("--cc", default="gcc")
    a = ap.parse_args()
    if not a.kernel.exists():
        sys.exit("no %s: 'make bench' fetches it, or name one with --kernel" % a.kernel)
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="vireo-smp-") as work:
        cmd = [str(a.build / "vireo")] + shlex.split(
            "-accel %s -m %d -smp 2 -nographic -monitor none -no-reboot" % (a.accel, MEM))
        cmd += ["-kernel", str(a.kernel), "-initrd", str(make_initrd(Path(work), a.cc)),
                "-append", "console=ttyS0 quiet panic=-1"]
        guest = Guest(cmd)
        try:
            guest.until(rb"@@IDLE", 300)
            pairs = re.findall(rb"@@ONE ([\d.]+) TWO ([\d.]+)", guest.text)
            ratios = [float(two) / float(one) for one, two in pairs]
            print("two loops / one loop   %.2f (%s)" % (
                statistics.median(ratios), " ".join("%.2f" % r for r in ratios)))
            time.sleep(3)
            before = guest.cpu()
            time.sleep(IDLE)
            print("idle                   %.2f %% of a core" %
                  ((guest.cpu() - before) * 100 / IDLE))
            m = guest.memory()
            print("memory                 %.0f MiB beside %d of RAM (%.0f of them touched): "
                  "%.0f code cache, %.0f else" % (m["code"] + m["else"], MEM, m["ram"], m["code"],
                                                  m["else"]))
        finally:
            guest.stop()
    if busy > .5:
        print("The host was busy (load %.1f at the start): the first two figures are worth little."
              % busy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
