# SPDX-License-Identifier: GPL-2.0-or-later
"""Two Debian guests joined by each network that needs nobody else: one cable a card, e1000 at one
end and virtio-net at the other. On each: ping, and 8 MiB each way, compared by MD5."""

import os
import socket
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from netguest import Guest, free_port  # pylint: disable=wrong-import-position
from qtest import check, main  # pylint: disable=wrong-import-position

SIZE = 8 << 20


def free_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cables(d):
    """(what, -netdev of the first guest, of the second), their id is {id}. The first listens."""
    tcp = [free_port() for _ in range(3)]
    udp = [free_udp() for _ in range(5)]
    inet = "addr.type=inet,addr.host=127.0.0.1,addr.port=%d" % tcp[1]
    unix = "addr.type=unix,addr.path=%s/s" % d
    both = "local.type=inet,local.host=127.0.0.1,local.port=%d,remote.type=inet," \
        "remote.host=127.0.0.1,remote.port=%d"
    paths = "local.type=unix,local.path=%s/%s,remote.type=unix,remote.path=%s/%s"
    old = "udp=127.0.0.1:%d,localaddr=127.0.0.1:%d"
    group = "socket,id={id},mcast=230.0.0.1:%d,localaddr=127.0.0.1" % udp[0]
    return [
        ("socket, TCP", "socket,id={id},listen=127.0.0.1:%d" % tcp[0],
         "socket,id={id},connect=127.0.0.1:%d" % tcp[0]),
        ("socket, multicast", group, group),
        ("socket, UDP", "socket,id={id}," + old % (udp[1], udp[2]),
         "socket,id={id}," + old % (udp[2], udp[1])),
        ("stream, TCP", "stream,id={id},server=on," + inet, "stream,id={id}," + inet),
        ("stream, unix", "stream,id={id},server=on," + unix,
         "stream,id={id},reconnect-ms=100," + unix),
        ("dgram, UDP", "dgram,id={id}," + both % (udp[3], udp[4]),
         "dgram,id={id}," + both % (udp[4], udp[3])),
        ("dgram, unix", "dgram,id={id}," + paths % (d, "a", d, "b"),
         "dgram,id={id}," + paths % (d, "b", d, "a")),
    ]


def mac(guest, cable):
    return "52:54:00:00:%02x:%02x" % (guest, cable)


def options(side, names):
    """Cards of one guest. The last cable ends on a hub at both ends, beside a third port."""
    opts = []
    for i, name in enumerate(names):
        model = ("e1000", "virtio-net-pci")[(i + side) % 2]
        net = "n%d" % i
        opts += ["-netdev", name.format(id=net)]
        if i == len(names) - 1:
            opts += ["-netdev", "hubport,id=h0,hubid=7,netdev=" + net, "-netdev",
                     "hubport,id=h1,hubid=7", "-netdev", "user,id=u", "-netdev",
                     "hubport,id=h2,hubid=7,netdev=u"]
            net = "h1"
        opts += ["-device", "%s,netdev=%s,mac=%s,romfile=" % (model, net, mac(side, i))]
    return opts


def transfers(guests, what, cable):
    for g, other in ((0, 1), (1, 0)):
        ip = "10.9.%d.%d" % (cable, other + 1)
        guests[g].sh("ping -c 2 -W 20 " + ip, 60)
        got = guests[g].sh("wget -q -O - http://%s/up | md5sum" % ip, 300)
        check("8 MiB over %s, to guest %d" % (what, g), guests[other].sum, got.split()[0])


def test_pairs():
    with tempfile.TemporaryDirectory(prefix="vireo-pairs-") as d:
        rows = cables(d)
        hub = free_port()
        rows.append(("a hub", "socket,id={id},listen=127.0.0.1:%d" % hub,
                     "socket,id={id},connect=127.0.0.1:%d" % hub))
        with Guest(*options(0, [r[1] for r in rows]), wait=False) as a, \
                Guest(*options(1, [r[2] for r in rows]), wait=False) as b:
            for side, g in enumerate((a, b)):
                g.ready()
                g.sh("head -c %d /dev/urandom >/tmp/up; httpd -p 80 -h /tmp" % SIZE, 60)
                g.sum = g.sh("md5sum </tmp/up", 60).split()[0]
                for i in range(len(rows)):
                    g.address(mac(side, i), "10.9.%d.%d/24" % (i, side + 1))
            for i, row in enumerate(rows):
                transfers((a, b), row[0], i)
                print("# %s" % row[0], flush=True)
            for g in (a, b):
                check("nothing was said", "", g.stderr())


main()
