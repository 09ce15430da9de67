# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian guests on tap interfaces, in network namespaces of the test's own: one and its host, scripts;
two on bridges of two hosts with a cable (veth) between them. No packet leaves the namespaces."""

import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run  # pylint: disable=wrong-import-position
from netguest import Guest, Server, md5  # pylint: disable=wrong-import-position
from qtest import Skip, check, main, skip  # pylint: disable=wrong-import-position

SIZE = 8 << 20
INSIDE = "VIREO_TEST_INSIDE"  # says that this process is in its namespace
os.environ["PATH"] += ":/usr/sbin:/sbin"


def sh(script):
    """Skips if the host cannot: no bridges, no veth."""
    done = subprocess.run(["sh", "-ec", script], check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        skip("'%s': %s" % (script.splitlines()[0], done.stdout.decode(errors="replace").strip()))


def enter():
    """Goes on in a network namespace of our own, where we are root; or says why not."""
    if INSIDE in os.environ:
        sh("ip link set lo up")
        return
    if not os.path.exists("/dev/net/tun"):
        skip("the host has no /dev/net/tun")
    for tool in ("unshare", "nsenter", "ip"):
        if not shutil.which(tool):
            skip("no %s: install util-linux and iproute2" % tool)
    inside = ["unshare", "-r", "-n"]
    probe = subprocess.run(inside + ["ip", "tuntap", "add", "t0", "mode", "tap"], check=False,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if probe.returncode:
        skip("no namespaces or tap interfaces for this user: " +
             probe.stdout.decode(errors="replace").strip())
    sys.stdout.flush()
    os.environ[INSIDE] = "1"
    os.execvp(inside[0], inside + [sys.executable] + sys.argv)


def script(path, text):
    with open(path, "w") as f:
        f.write("#!/bin/sh -e\n" + text)
    os.chmod(path, 0o755)
    return path


def with_host(d, model, vnet_hdr):
    up = script(d + "/up", "ip addr add 10.8.0.1/24 dev $1\nip link set $1 up\necho $1 >%s/name\n" % d)
    down = script(d + "/down", "echo $1 >>%s/gone\n" % d)
    net = "tap,id=n0,ifname=vt%%d,script=%s,downscript=%s,vnet_hdr=%s" % (up, down, vnet_hdr)
    with Guest("-netdev", net, "-device", model + ",netdev=n0,romfile=") as g:
        with open(d + "/name") as f:
            name = f.read().strip()
        check("info network names " + name, True, "ifname=" + name in g.hmp("info network"))
        server = Server("10.8.0.1")
        g.sh("ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0")
        g.sh("ping -c 3 -W 20 10.8.0.1", 90)
        got = g.sh("wget -q -O - http://10.8.0.1:%d/%d | md5sum" % (server.port, SIZE), 300)
        check("download", md5(SIZE), got.split()[0])
        g.sh("head -c %d /dev/urandom >/tmp/up" % SIZE, 60)
        got = g.sh("(printf %%016d %d; cat /tmp/up) | nc 10.8.0.1 %d" % (SIZE, server.sink_port), 300)
        check("upload", g.sh("md5sum </tmp/up", 60).split()[0], got)
        if shutil.which("ping"):
            subprocess.run(["ping", "-c", "3", "-W", "20", "10.8.0.2"], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        check("nothing was said", "", g.stderr())
        server.close()
    with open(d + "/gone") as f:
        check("downscript=", name, f.read().strip())


def test_host():
    for model, vnet_hdr in (("e1000", "off"), ("virtio-net-pci", "on")):
        with tempfile.TemporaryDirectory(prefix="vireo-tap-") as d:
            with_host(d, model, vnet_hdr)


def test_two_hosts():
    other = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 3600"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             preexec_fn=run.die_with_parent)
    other.stdout.readline()  # it is in its namespace
    there = ["nsenter", "-t", str(other.pid), "-n"]
    try:
        sh("""ip link add br0 type bridge
              ip link add v0 type veth peer name v1 netns %d
              ip link set v0 master br0; ip link set v0 up; ip link set br0 up""" % other.pid)
        sh(" ".join(there) + " sh -ec 'ip link add br1 type bridge; ip link set v1 master br1; "
           "ip link set v1 up; ip link set br1 up'")
        a_opts = ["-netdev", "tap,id=n0,br=br0", "-device", "e1000,netdev=n0,romfile="]
        b_opts = ["-netdev", "bridge,id=n0,br=br1", "-device",
                  "virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:00:00:02"]
        with Guest(*a_opts, wait=False) as a, Guest(*b_opts, wait=False, ns=there) as b:
            for i, g in enumerate((a, b)):
                g.ready()
                g.sh("ip link set eth0 up; ip addr add 10.8.1.%d/24 dev eth0" % (i + 1))
                g.sh("head -c %d /dev/urandom >/tmp/up; httpd -p 80 -h /tmp" % SIZE, 60)
            for g, other_guest, i in ((a, b, 2), (b, a, 1)):
                g.sh("ping -c 3 -W 20 10.8.1.%d" % i, 90)
                got = g.sh("wget -q -O - http://10.8.1.%d/up | md5sum" % i, 300)
                check("8 MiB from 10.8.1.%d" % i, other_guest.sh("md5sum </tmp/up", 60).split()[0],
                      got.split()[0])
            for g in (a, b):
                check("nothing was said", "", g.stderr())
    finally:
        other.kill()
        other.wait()


try:
    enter()
except Skip as why:
    print("1..0 # SKIP %s" % why)
    sys.exit(0)
main()
