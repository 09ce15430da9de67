# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Debian guest on the user network gets: DHCP's details, names, IPv6, a cable that is pulled in
the middle of a transfer, a thousand connections from outside; and the file filter-dump writes of it."""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import netguest  # pylint: disable=wrong-import-position
from netguest import HERE, Guest, Server, free_port, md5  # pylint: disable=wrong-import-position
from qtest import Failure, check, main, skip  # pylint: disable=wrong-import-position

DUMPS = tempfile.TemporaryDirectory(prefix="vireo-dumps-")
CONNECTIONS, AT_ONCE, PINGS = 1000, 8, 20
MODELS = os.environ.get("NET_MODELS", "e1000 virtio-net-pci").split()


def until(what, true):
    end = time.monotonic() + 60 * netguest.SLOW
    while not true():
        if time.monotonic() > end:
            raise Failure("want within %d s: %s" % (60 * netguest.SLOW, what))
        time.sleep(.2)


def details(g):
    """What DHCP says when nearly everything is chosen."""
    lease = g.lease()
    for part in ("LEASE 10.0.2.77/24", "router=10.0.2.9", "dns=10.0.2.53", "domain=example.org",
                 "hostname=penguin", "tftp=files.example",
                 "search=a.example b.example"):
        check("'%s' in the lease: %s" % (part, lease), True, part in lease)


def packets(pcap):
    """The frames of a file of libpcap's format, which ends with a whole one."""
    with open(pcap, "rb") as f:
        data = f.read()
    check("magic, version, link type", (0xa1b2c3d4, 2, 4, 1),
          struct.unpack("<IHH12xI", data[:24])[:4])
    at, frames = 24, []
    while at < len(data):
        size, whole = struct.unpack("<8xII", data[at:at + 16])
        check("no frame is cut", whole, size)
        frames.append(data[at + 16:at + 16 + size])
        check("frame %d is whole" % len(frames), size, len(frames[-1]))
        at += 16 + size
    return frames


def dumped(g, pcap):
    """As many frames as the guest counted."""
    counters = "/sys/class/net/eth0/statistics/[rt]x_packets"
    g.sh("ping -c %d -i 0.01 -W 20 10.0.2.9" % PINGS, 60)
    # Drivers may read their card's counters every two seconds. A router advertisement that came
    # before there was a driver is in the file alone.
    until("as many frames in the file as the guest counted", lambda: 0 <= len(packets(pcap)) - sum(
        int(n) for n in g.sh("cat " + counters).split()) <= 2)
    frames = packets(pcap)
    for what, kind in (("request", 8), ("reply", 0)):
        check("ICMP echo " + what, PINGS, sum(f[12:14] == b"\x08\0" and f[23] == 1 and f[34] == kind
                                              for f in frames))


def read_by_tshark(pcap):
    def tshark(*args):
        return subprocess.run(["tshark", "-n", "-r", pcap, *args], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout.decode().splitlines()
    check("frames", len(packets(pcap)), len(tshark()))
    check("malformed frames", [], tshark("-Y", "_ws.malformed")[:3])
    check("pings", 2 * PINGS, len(tshark("-Y", "icmp")))
    requests = tshark("-Y", "http.request && tcp.dstport == 80", "-T", "fields", "-e", "tcp.stream")
    check("connections with a request", CONNECTIONS, len(set(requests)))


def ipv6(g, server):
    until("an address by router advertisement", lambda: "fec0::5054" in g.sh("ip -6 addr show eth0"))
    g.sh("ping -6 -c 3 -W 20 fec0::2", 90)
    got = g.sh("wget -q -O - http://[fec0::2]:%d/3000000 | md5sum" % server.port, 90)
    check("TCP over IPv6", md5(3000000), got.split()[0])


def cable(g, server):
    """Pulled and plugged while 32 MiB come; the connection outlives it."""
    size = 32 << 20
    g.sh("(wget -q -O - http://10.0.2.9:%d/%d | md5sum >/tmp/sum) & sleep 0.2" % (server.port, size))
    for _ in range(3):
        check("set_link off", "", g.hmp("set_link n0 off"))
        g.sh("until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do usleep 50000; done", 60)
        g.hmp("set_link n0 on")
        g.sh("until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 50000; done", 60)
        g.sh("usleep 200000")
    g.sh("wait", 300)
    check("transfer", md5(size), g.sh("cat /tmp/sum").split()[0])


def fetch(port, times, bad):
    import urllib.request  # pylint: disable=import-outside-toplevel
    for _ in range(times):
        try:
            url = "http://127.0.0.1:%d/index.html" % port
            with urllib.request.urlopen(url, timeout=60 * netguest.SLOW) as answer:
                if answer.read() != b"hello\n":
                    bad.append("wrong text")
        except OSError as e:
            bad.append(str(e))


def connections(g, port):
    """A thousand through hostfwd; none is lost, and every descriptor is closed in the end."""
    def descriptors():
        return len(os.listdir("/proc/%d/fd" % g.proc.pid))

    g.sh("mkdir -p /tmp/www; echo hello >/tmp/www/index.html; httpd -p 80 -h /tmp/www")
    before, bad = descriptors(), []
    threads = [threading.Thread(target=fetch, args=(port, CONNECTIONS // AT_ONCE, bad))
               for _ in range(AT_ONCE)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("lost of %d connections" % CONNECTIONS, [], bad[:3])
    until("%d descriptors again" % before, lambda: descriptors() <= before)


def arps_of_guest(pcap):
    """Requests for the sender's own address: target and sender are the same."""
    return sum(f[12:14] == b"\x08\x06" and f[28:32] == f[38:42] for f in packets(pcap))


def announced(g, pcap, by_guest):
    """RARP from the card, and from virtio-net's driver a gratuitous ARP."""
    before = arps_of_guest(pcap)
    check("announce_self", "", g.hmp("announce_self"))
    until("RARP in the file", lambda: sum(f[12:14] == b"\x80\x35" for f in packets(pcap)) == 5)
    if by_guest:
        until("gratuitous ARP", lambda: arps_of_guest(pcap) > before)


def on_user_network(model):
    server, port = Server(), free_port()
    server6 = Server("::1") if os.path.exists("/proc/net/if_inet6") else None
    with tempfile.TemporaryDirectory(prefix="vireo-services-") as d:
        pcap = os.path.join(DUMPS.name, model + ".pcap")
        net = ("user,id=n0,host=10.0.2.9,dns=10.0.2.53,dhcpstart=10.0.2.77,hostname=penguin,"
               "domainname=example.org,dnssearch=a.example,dnssearch=b.example,bootfile=pxelinux.0,"
               "tftp=%s,tftp-server-name=files.example,hostfwd=tcp:127.0.0.1:%d-:80" % (d, port))
        with Guest("-netdev", net, "-device", model + ",netdev=n0,romfile=", "-object",
                   "filter-dump,id=d0,netdev=n0,file=" + pcap) as g:
            details(g)
            dumped(g, pcap)
            announced(g, pcap, model.startswith("virtio"))
            if server6:
                ipv6(g, server6)
            connections(g, port)
            check("object_del", "", g.hmp("object_del d0"))
            cable(g, server)
            check("nothing was said", "", g.stderr())
    server.close()
    if server6:
        server6.close()


def test_e1000():
    on_user_network(MODELS[0])


def test_virtio():
    on_user_network(MODELS[-1])


def test_tshark():
    """A second opinion of the files the two have left."""
    if not shutil.which("tshark"):
        skip("no tshark: install tshark")
    if not os.listdir(DUMPS.name):
        skip("nothing to read: run it with test_e1000 and test_virtio")
    for name in os.listdir(DUMPS.name):
        read_by_tshark(os.path.join(DUMPS.name, name))


def test_dns():
    """Through the forwarder at 10.0.2.3 and fec0::3 to the name server of the host, which here is
    the test's own: TCP and UDP, a name and none."""
    host = ["unshare", "-r", "-m", "-n", sys.executable, os.path.join(HERE, "own_host.py")]
    probe = subprocess.run(host + ["true"], check=False, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if probe.returncode:
        lines = probe.stderr.decode(errors="replace").strip().splitlines() or ["no reason"]
        skip("no namespaces for this user here: " + lines[-1])
    again = "for i in 1 2 3; do nslookup %s && break; done"
    with Guest("-netdev", "user,id=n0", "-device", MODELS[0] + ",netdev=n0,romfile=", ns=host) as g:
        check("the lease names it", True, "dns=10.0.2.3 " in g.lease())
        said = g.sh(again % "penguin.example", 120)
        for address in ("192.0.2.7", "2001:db8::7"):
            check("%s in %s" % (address, said), True, address in said)
        said = g.sh("nslookup nobody.example", 60, None)
        check("NXDOMAIN in " + said, True, "NXDOMAIN" in said or "can't" in said.lower())
        # The question over TCP; its length is in front.
        query = r"\0\041\022\064\001\0\0\001\0\0\0\0\0\0\007penguin\007example\0\0\001\0\001"
        said = g.sh("(printf '%s'; sleep 1) | nc -w 20 10.0.2.3 53 | hexdump -ve '/1 \"%%02x\"'" % query,
                    60)
        check("TCP: its number and address in " + said, True,
              "1234" in said[:8] and said.endswith("c0000207"))
        if os.path.exists("/proc/net/if_inet6"):
            until("an IPv6 address", lambda: "fec0::5054" in g.sh("ip -6 addr show eth0"))
            said = g.sh(again % "penguin.example fec0::3", 120)
            check("by IPv6: 192.0.2.7 in " + said, True, "192.0.2.7" in said)


main()
