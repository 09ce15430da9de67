#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Timer signals by the thousand in a Debian guest: sigstress.c, and wget from a server that answers
and, ended by a signal, from one that does not. TAP on stdout; 'make check-jit-long' runs it.

    tests/boot/sigstress.py [--accel A] [--smp N] [--seconds S] [--rate HZ] [--storm HZ]

Not 'wget -T': Debian's busybox 1.35 dies of it with SIGSEGV on any processor.

--storm sends Vireo itself signals, too (../signals.py). What the guest's kernel says of processes
that faulted (address, instruction pointer, error code) is part of a failure.
"""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import netguest  # pylint: disable=wrong-import-position
import run  # pylint: disable=wrong-import-position
import signals  # pylint: disable=wrong-import-position
from qtest import Failure, Skip  # pylint: disable=wrong-import-position

PARTS = ("registers", "faults", "fork", "calls", "alarm")
COMPLAINTS = "segfault|traps:|bad frame|general protection|Bad page|Oops|kernel BUG"
SCRIPT = """\
#!/bin/sh
exec 3>&1 >>/tmp/results 2>&1 # a terminal may take half a line
# want STATUS COMMAND...: until the time is over
want() {
    status=$1; shift
    n=0
    while [ $(date +%s) -lt $END ]; do
        "$@" >/tmp/said.$$ 2>&1
        got=$?
        [ $got = $status ] || { echo "BAD $* status $got: $(cat /tmp/said.$$)"; return; }
        n=$((n + 1))
    done
    echo "OK $* times=$n"
}
get() {
    wget -q -O /tmp/got.$1 http://10.0.2.2:$2/30000 && [ $(wc -c </tmp/got.$1) = 30000 ]
}
END=$(($(date +%s) + SECONDS))
for part in PARTS; do
    { sigstress $part SECONDS RATE || echo "BAD $part: status $?"; } &
done
want 0 get a PORT &
want 0 get b PORT &
PROGRAM32 SECONDS || echo "BAD 32-bit: status $?" &
for i in 1 2 3 4; do
    want 143 timeout 1 wget -q -O - http://10.0.2.2:SILENT/ &
done
wait
cat /tmp/results >&3
"""


class Silent:
    """Takes connections and says nothing."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        held = []
        while True:
            held.append(self.listener.accept()[0])
            if len(held) > 100:
                held.pop(0).close()


def build(out, args, port, silent):
    """An initial RAM disk behind the other: the program and the script."""
    root = os.path.join(out, "root")
    os.makedirs(os.path.join(root, "bin"))
    cc = os.environ.get("CC", "gcc").split()[-1]
    done = subprocess.run([cc, "-O2", "-Wall", "-static", "-o", os.path.join(root, "bin/sigstress"),
                           os.path.join(run.HERE, "sigstress.c")], check=False, stderr=subprocess.PIPE)
    if done.returncode:
        raise Skip("no static program for the guest: install libc6-dev (%s)" %
                   done.stderr.decode(errors="replace").strip()[-200:])
    flags = "-m32 -O2 -static -nostdlib -no-pie -fno-pie -ffreestanding -fno-stack-protector -msse2"
    done = subprocess.run([cc, *flags.split(), "-o", os.path.join(root, "bin/sigstress32"),
                           os.path.join(run.HERE, "sigstress32.c")], check=False)
    program32 = "echo OK no 32-bit compiler for" if done.returncode else "sigstress32"
    script = SCRIPT.replace("PROGRAM32", program32).replace("SECONDS", str(args.seconds))
    script = script.replace("RATE", str(args.rate))
    script = script.replace("PORT", str(port)).replace("SILENT", str(silent))
    script = script.replace("PARTS", " ".join(args.parts or PARTS))
    path = os.path.join(root, "bin/storm")
    with open(path, "w", encoding="ascii") as f:
        f.write(script)
    os.chmod(path, 0o755)
    more = os.path.join(out, "more.gz")
    subprocess.run([sys.executable, os.path.join(run.ROOT, "scripts/initramfs"), root, more], check=True)
    return more


def storm(args, out):
    server, silent = netguest.Server(), Silent()
    more = build(out, args, server.port, silent.port)
    kernel, initrd = netguest.media()
    both = os.path.join(out, "initrd")
    with open(both, "wb") as to:
        for name in (initrd, more):
            with open(name, "rb") as f:
                shutil.copyfileobj(f, to)
                to.write(b"\0" * (-to.tell() % 4))
    if args.storm:
        os.environ.update(signals.environment(out, args.storm))

    class Guest(netguest.Guest):
        media = staticmethod(lambda: (kernel, both))

    with Guest("-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0",
               accel=args.accel, cpus=args.smp) as g:
        os.environ.pop("LD_PRELOAD", None)
        g.lease()
        said = g.sh("storm", 600 + 10 * args.seconds)
        kernel_said = g.sh("dmesg | grep -E '%s'" % COMPLAINTS, 60, None)
        counts = [line for line in g.hmp("info jit").splitlines() if line][:40]
    server.close()
    for line in said.splitlines():
        print("# " + line)
    lines = re.findall(r"^(?:OK|BAD) .*", said, re.M)
    parts = len(args.parts or PARTS) + 7
    bad = [line for line in lines if line.startswith("BAD")]
    if bad or len(lines) != parts or kernel_said:
        raise Failure("want %d lines OK, got %d OK and %s\nkernel: %s\n%s" %
                      (parts, len(lines) - len(bad), bad, kernel_said, "\n".join(counts)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--accel", default=netguest.ACCEL)
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--storm", type=int, default=0)
    parser.add_argument("--parts", nargs="*", choices=PARTS)
    args = parser.parse_args()
    name = "sigstress %s smp=%d storm=%d" % (args.accel, args.smp, args.storm)
    print("TAP version 13\n1..1", flush=True)
    with tempfile.TemporaryDirectory(prefix="vireo-sig-") as out:
        try:
            storm(args, out)
            print("ok 1 - " + name)
        except Skip as e:
            print("ok 1 - %s # SKIP %s" % (name, e))
        except Failure as e:
            print("not ok 1 - " + name)
            for line in str(e).splitlines():
                print("# " + line)
            return 1
    return 0


sys.exit(main())
