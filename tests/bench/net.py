#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Network throughput by iperf3, Vireo's translator against QEMU's, in one run.

    tests/bench/net.py [--build DIR] [--accel A] [--only TEXT] [--turns N] [--secs S] [--checksum]

For each back end (user, tap) and card (virtio-net-pci, e1000) the same guest, a Debian kernel with
busybox, boots in both emulators; then they send and receive by turns. Figures are medians of the
turns: MiB/s, and MiB for each second of processor time of the emulator's process, which a busy host
disturbs less. Ratios above 1: Vireo is faster. --checksum first moves 256 MiB each way and compares
their MD5. Timings never fail anything.

Packages come as for tests/boot. tap runs in a network namespace of its own (unshare, ip,
/dev/net/tun); where that cannot be made it is left out, with the reason.
"""
import argparse
import ctypes
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/boot"))
import netguest  # pylint: disable=wrong-import-position
import run  # pylint: disable=wrong-import-position

CARDS = ("virtio-net-pci", "e1000")
INSIDE = "VIREO_NET_BENCH_NAMESPACE"
PORT = 5201
LIMIT = 180  # s, for anything a guest is told to do
MIB = 1 << 20
SIZE = 256 * MIB  # of --checksum


class Trouble(Exception):
    pass


def iperf3(*args):
    there = os.path.join(run.MEDIA, "iperf3")
    loader = os.path.join(there, "ld-linux-x86-64.so.2")
    return [loader, "--library-path", there, os.path.join(there, "iperf3"), *args]


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Guest:
    """One emulator with the guest at its prompt."""

    def __init__(self, name, command, backend, card, number):
        self.name, self.text = name, b""
        if backend == "user":
            netdev, self.host, setup = "user,id=n0", "10.0.2.2", "10.0.2.15/24"
        else:
            tap, net = "vnet%d" % number, "10.9.%d." % number
            netdev = "tap,id=n0,ifname=%s,script=no,downscript=no" % tap
            self.host, setup = net + "1", net + "2/24"
            for words in ("tuntap add %s mode tap" % tap, "addr replace %s1/24 dev %s" % (net, tap),
                          "link set %s up" % tap):
                subprocess.run(["ip"] + words.split(), check=False, stderr=subprocess.DEVNULL)
        media = [os.path.join(run.MEDIA, n) for n in ("linux-amd64", "iperf-amd64.initrd.gz")]
        self.proc = subprocess.Popen(
            command + ["-nodefaults", "-display", "none", "-m", "256", "-serial", "stdio", "-kernel",
                       media[0], "-initrd", media[1], "-append", "console=ttyS0 quiet", "-netdev",
                       netdev, "-device", card + ",netdev=n0,romfile="],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.until(rb"guest# \r?\n")
        self.sh("ip addr add %s dev eth0; ip link set eth0 up" % setup)
        self.sh("until ping -c 1 -W 1 %s >/dev/null; do :; done" % self.host)

    def until(self, pattern):
        end = time.monotonic() + LIMIT
        while not (m := re.search(pattern, self.text)):
            left, data = end - time.monotonic(), b""
            if left > 0 and select.select([self.proc.stdout], [], [], left)[0]:
                data = os.read(self.proc.stdout.fileno(), 65536)
            if not data:
                raise Trouble("%s: no '%s' from the guest; it said: %s" % (
                    self.name, pattern.decode(), self.text[-300:].decode(errors="replace")))
            self.text += data
        said, self.text = self.text[:m.start()], self.text[m.end():]
        return said.decode(errors="replace").replace("\r", ""), m

    def sh(self, line):
        self.proc.stdin.write(line.encode() + b'; echo "<"$?">"\n')
        self.proc.stdin.flush()
        said, m = self.until(rb"<(\d+)>\r?\n")
        if m[1] != b"0":
            raise Trouble("%s: '%s' in the guest: %s" % (self.name, line, said.strip()[-300:]))
        return said.strip()

    def cpu(self):
        with open("/proc/%d/stat" % self.proc.pid, encoding="ascii") as f:
            stat = f.read().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def turn(self, direction, secs):
        """MiB/s, and MiB for each second of processor time."""
        before = self.cpu()
        said = self.sh("iperf3 -c %s -p %d -t %d -i 0 -f M%s" % (
            self.host, PORT, secs, " -R" if direction == "down" else ""))
        used = self.cpu() - before
        m = re.search(r"([\d.]+) ([KMG]?)Bytes +([\d.]+) ([KMG]?)Bytes/sec +receiver", said)
        if not m:
            raise Trouble("%s: iperf3 said: %s" % (self.name, said[-300:]))
        unit = {"": 1 / MIB, "K": 1 / 1024, "M": 1, "G": 1024}
        return (float(m[3]) * unit[m[4]],
                float(m[1]) * unit[m[2]] / max(used, 0.01))

    def checksums(self, server):
        """SIZE bytes each way; raises if one is not what was sent."""
        got = self.sh("wget -q -O - http://%s:%d/%d | md5sum" % (self.host, server.port, SIZE))
        want = netguest.md5(SIZE)
        if got.split()[0] != want:
            raise Trouble("%s: download: want MD5 %s, got %s" % (self.name, want, got))
        self.sh("head -c %d /dev/urandom >/tmp/up" % (SIZE // 16))
        pieces = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do cat /tmp/up; done"
        want = self.sh("(%s) | md5sum" % pieces).split()[0]
        got = self.sh("(printf %%016d %d; %s) | nc %s %d" % (SIZE, pieces, self.host,
                                                            server.sink_port))
        if got != want:
            raise Trouble("%s: upload: want MD5 %s, got %s" % (self.name, want, got))

    def close(self):
        self.proc.kill()  # there is nothing to save, and both say so if they are asked to end
        self.proc.wait()


def serve():
    return subprocess.Popen(iperf3("-s", "-p", str(PORT)), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)


def measure(args, emulators, backend, card):
    """A line for each direction."""
    guests, server = [], netguest.Server(host="0.0.0.0") if args.checksum else None
    figures = {}
    try:
        for number, (name, command) in enumerate(emulators):
            guests.append(Guest(name, command, backend, card, number))
            if server:
                guests[-1].checksums(server)
        for turn in range(args.turns):
            for direction in ("up", "down"):
                for g in guests if turn % 2 == 0 else reversed(guests):
                    figures.setdefault((direction, g.name), []).append(g.turn(direction, args.secs))
    finally:
        for g in guests:
            g.close()
        if server:
            server.close()
    for direction in ("up", "down"):
        rows = [[statistics.median(one) for one in zip(*figures[direction, name])]
                for name, _ in emulators]
        text = "%-6s %-16s %-5s" % (backend, card, direction)
        for speed, per_cpu in rows:
            text += " %8.1f %8.1f" % (speed, per_cpu)
        if len(rows) > 1:
            text += "  %6.2fx %6.2fx" % (rows[0][0] / rows[1][0], rows[0][1] / rows[1][1])
        print(text + ("  MD5 right" if args.checksum else ""), flush=True)


def why_no_tap():
    for tool, package in (("ip", "iproute2"), ("unshare", "util-linux")):
        if not shutil.which(tool):
            return "%s is missing: install %s" % (tool, package)
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is missing or not accessible: load the module tun, or be root"
    done = subprocess.run(namespace() + ["ip", "tuntap", "add", "x", "mode", "tap"], check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode().strip() if done.returncode else None


def namespace():
    return ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]


def enter_namespace():
    """Begins anew in a network namespace; returns the reason if there can be none."""
    if INSIDE in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return None
    problem = why_no_tap()
    if not problem:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", namespace() + [sys.executable] + sys.argv)
    return problem


def options():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--build", default=os.path.join(ROOT, "build"))
    ap.add_argument("--accel", default="jit")
    ap.add_argument("--qemu", default="qemu-system-x86_64", help="the other emulator; '' for none")
    ap.add_argument("--only", default="", help="rows whose 'BACKEND CARD' contains this")
    ap.add_argument("--turns", type=int, default=3)
    ap.add_argument("--secs", type=int, default=3, help="of each transfer [3]")
    ap.add_argument("--checksum", action="store_true", help="also %d MiB each way, compared" %
                    (SIZE // MIB))
    return ap.parse_args()


def main():
    args = options()
    rows = [(b, c) for b in ("user", "tap") for c in CARDS if args.only in "%s %s" % (b, c)]
    problem = enter_namespace() if any(b == "tap" for b, _ in rows) else None
    if problem:
        print("tap is left out: " + problem)
        rows = [r for r in rows if r[0] != "tap"]
    problems = run.make_media(["iperf"])
    if problems:
        print("skipped: " + problems["iperf"])
        return 0
    emulators = [("vireo", [os.path.join(args.build, "vireo"), "-accel", args.accel, "-monitor",
                            "none"])]
    if args.qemu and shutil.which(args.qemu):
        emulators.append(("qemu", [args.qemu, "-accel", "tcg", "-monitor", "none"]))
    elif args.qemu:
        print("no comparison: %s is missing: install qemu-system-x86" % args.qemu)
    print("%-29s" % ("median of %d turns" % args.turns) +
          "".join(" %8s %8s" % (n, "/cpu s") for n, _ in emulators) + "   ratio  /cpu s   (MiB/s)")
    server = serve()
    status = 0
    try:
        for backend, card in rows:
            try:
                measure(args, emulators, backend, card)
            except Trouble as e:
                print("%-6s %-16s %s" % (backend, card, e), flush=True)
                status = 1
    finally:
        server.kill()
        server.wait()
    return status


if __name__ == "__main__":
    sys.exit(main())
