# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian guest on the network: DHCP, transfers both ways, forwarded ports, IPv6, the cable."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import netguest  # pylint: disable=wrong-import-position
from netguest import Guest, Server, free_port, md5  # pylint: disable=wrong-import-position
from qtest import Failure, check, main, skip  # pylint: disable=wrong-import-position

MODELS = os.environ.get("NET_MODELS", "e1000 virtio-net-pci").split()
SIZE = int(os.environ.get("NET_MIB", "64")) << 20
LIMIT = 300 + (SIZE >> 18)
PIECES = 16  # of an upload: the guest keeps one


def models():
    listed = subprocess.run([netguest.VIREO, "-nic", "model=help"], check=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout.decode()
    return [m for m in MODELS if re.search(r"^%s " % m, listed, re.M)]


def transfers(g, server):
    """SIZE bytes each way, compared by MD5."""
    got = g.sh("wget -q -O - http://10.0.2.2:%d/%d | md5sum" % (server.port, SIZE), LIMIT)
    check("download", md5(SIZE), got.split()[0])
    g.sh("head -c %d /dev/urandom >/tmp/up" % (SIZE // PIECES), 120)
    pieces = "for i in $(seq %d); do cat /tmp/up; done" % PIECES
    want = g.sh("(%s) | md5sum" % pieces, LIMIT).split()[0]
    got = g.sh("(printf %%016d %d; %s) | nc 10.0.2.2 %d" % (SIZE, pieces, server.sink_port), LIMIT)
    check("upload", want, got)


def fetch(url, times, bad):
    for _ in range(times):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                if answer.read() != b"hello\n":
                    bad.append("wrong text")
        except OSError as e:
            bad.append(str(e))


def forwarded(g, port, path):
    """Many short connections, eight at a time; and one by the unix socket."""
    g.sh("mkdir -p /tmp/www; echo hello >/tmp/www/index.html; httpd -p 80 -h /tmp/www")
    bad = []
    threads = [threading.Thread(target=fetch, args=("http://127.0.0.1:%d/" % port, 40, bad))
               for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("320 connections through hostfwd", [], bad[:3])
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60 * netguest.SLOW)
        s.connect(path)
        s.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        text = b""
        while data := s.recv(4096):
            text += data
    check("through the unix socket", b"hello\n", text[-6:])


def ipv6(g, server):
    end = time.monotonic() + 30 * netguest.SLOW
    while "fec0::5054" not in g.sh("ip -6 addr show eth0"):
        if time.monotonic() > end:
            raise Failure("no address by router advertisement")
        time.sleep(.3)
    got = g.sh("wget -q -O - http://[fec0::2]:%d/1000000 | md5sum" % server.port, 60)
    check("IPv6", md5(1000000), got.split()[0])


def cable(g, server):
    for _ in range(3):
        check("set_link off", "", g.hmp("set_link n0 off"))
        g.sh("until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do usleep 100000; done", 60)
        g.hmp("set_link n0 on")
        g.sh("until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 100000; done", 60)
    got = g.sh("wget -q -O - http://10.0.2.2:%d/100000 | md5sum" % server.port, 60)
    check("after link flaps", md5(100000), got.split()[0])


def test_guest():
    server, port = Server(), free_port()
    server6 = Server("::1") if os.path.exists("/proc/net/if_inet6") else None
    for model in models():
        path = os.path.join(tempfile.gettempdir(), "vireo-net-%d-%s" % (os.getpid(), model))
        net = "user,id=n0,hostname=penguin,domainname=example.org,hostfwd=tcp:127.0.0.1:%d-:80," \
            "hostfwd=unix:%s-:80" % (port, path)
        with Guest("-netdev", net, "-device", model + ",netdev=n0") as g:
            lease = g.lease()
            for part in ("LEASE 10.0.2.15/24 router=10.0.2.2 dns=10.0.2.3", "hostname=penguin"):
                check("the lease has %s" % part, True, part in lease)
            g.sh("ping -c 2 -W 5 10.0.2.2", 30)
            transfers(g, server)
            forwarded(g, port, path)
            if server6:
                ipv6(g, server6)
            cable(g, server)
            check("nothing was said", "", g.stderr())
            print("# %s done" % model, flush=True)
        check("the unix socket is gone", False, os.path.exists(path))
    server.close()
    if server6:
        server6.close()


def test_transfers():
    """NET_MIB each way on each card: 256 of them in the target check-jit-long."""
    server = Server()
    for model in models():
        with Guest("-netdev", "user,id=n0", "-device", model + ",netdev=n0") as g:
            g.lease()
            transfers(g, server)
            check("nothing was said", "", g.stderr())
    server.close()


def test_user_options():
    """Addresses, names, TFTP, guestfwd and restrict as a guest sees them."""
    server = Server()
    tftp = os.path.dirname(os.path.abspath(__file__))
    net = ("user,id=n0,net=192.168.7.0/24,host=192.168.7.1,dns=192.168.7.9,dhcpstart=192.168.7.40,"
           "dnssearch=a.example,dnssearch=b.example,tftp=%s,bootfile=pxelinux.0,restrict=on,"
           "guestfwd=tcp:192.168.7.100:7-cmd:cat" % tftp)
    with Guest("-netdev", net, "-device", models()[0] + ",netdev=n0") as g:
        lease = g.lease()
        for part in ("LEASE 192.168.7.40/24 router= dns= ", "search=a.example b.example"):
            check("the lease has %s (%s)" % (part, lease), True, part in lease)
        g.sh("tftp -g -r test_net.py -l /tmp/f 192.168.7.1", 30)
        with open(__file__, "rb") as f:
            text = f.read()
        check("TFTP", len(text), int(g.sh("wc -c </tmp/f")))
        g.sh("ping -c 1 -W 5 192.168.7.1", 30)
        check("guestfwd", "hello", g.sh("(echo hello; sleep 1) | nc -w 5 192.168.7.100 7"))
        said = g.sh("timeout 5 wget -q -O - http://192.168.7.1:%d/5 && echo got it" % server.port, 30,
                    None)
        check("restrict=on", False, "got it" in said)
    server.close()


def test_pxe():
    """iPXE from the card's ROM, a script and then a kernel by TFTP."""
    if not os.path.exists("/usr/lib/ipxe/qemu/pxe-e1000.rom"):
        skip("no boot ROMs: install ipxe-qemu")
    kernel, initrd = netguest.media()
    with tempfile.TemporaryDirectory(prefix="vireo-pxe-") as d:
        for name, path in (("linux", kernel), ("initrd", initrd)):
            os.symlink(path, os.path.join(d, name))
        with open(os.path.join(d, "boot.ipxe"), "w") as f:
            f.write("#!ipxe\nkernel linux initrd=initrd console=ttyS0 quiet\ninitrd initrd\nboot\n")
        for model in models():
            net = "user,model=%s,tftp=%s,bootfile=boot.ipxe" % (model, d)
            with Guest("-vga", "std", "-boot", "n", "-nic", net, direct=False) as g:
                check("booted by " + model, True, "ttyS0" in g.sh("cat /proc/cmdline"))


def test_two_guests_one_hub():
    """-net nic,vlan=N and -device NIC,vlan=N: two cards of one guest see each other."""
    with Guest("-net", "nic,vlan=3,model=e1000", "-device", "e1000,vlan=3") as g:
        g.sh("ip link set eth0 up; ip link set eth1 up")
        check("both links", "1\n1", g.sh("cat /sys/class/net/eth[01]/carrier"))
        mac = g.sh("cat /sys/class/net/eth1/address")
        check("MAC addresses count up", "52:54:00:12:34:57", mac)
        before = int(g.sh("cat /sys/class/net/eth1/statistics/rx_packets"))
        g.sh("arping -c 3 -I eth0 -w 3 10.9.9.9", 30, None)
        after = int(g.sh("cat /sys/class/net/eth1/statistics/rx_packets"))
        check("eth1 hears eth0", True, after >= before + 2)


main()
