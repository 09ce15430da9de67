#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Network back ends that carry frames to other programs: stream, dgram, socket, tap, and what
filter-dump writes down. Two of them on a hub need no guest: what goes into one comes out of the
other."""

import ctypes
import errno
import fcntl
import os
import re
import socket
import struct
import sys
import tempfile
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS]
from hmp import Hmp  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, Skip, QTest, check, main  # pylint: disable=wrong-import-position
from virtio import Virtio  # pylint: disable=wrong-import-position

import subprocess  # pylint: disable=wrong-import-order,wrong-import-position

DIR = tempfile.TemporaryDirectory(prefix="vireo-net-")
TIMEOUT = 10 * float(os.environ.get("SLOW", "1"))
HEAD = b"\xff" * 6 + b"\x52\x54\x00\x01\x02\x03" + b"\x88\xb5"
MRG_RXBUF, CTRL_VQ, MQ = 15, 17, 22  # virtio-net's features
TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454ca, 2, 0x1000, 0x40000000


def frame(n, size=100):
    return HEAD + struct.pack("<I", n) * (size // 4)


class Joined:
    """A process whose hub joins two netdevs; their words are options without the id."""

    def __init__(self, *netdevs, fds=(), more=()):
        self.path = tempfile.mktemp(dir=DIR.name)
        cmd = [VIREO, "-M", "none", "-nodefaults", "-display", "none", "-S",
               "-monitor", "unix:%s,server=on,wait=off" % self.path]
        for i, words in enumerate(netdevs):
            kind, _, rest = words.partition(",")
            cmd += ["-netdev", "%s,id=n%d,%s" % (kind, i, rest),
                    "-netdev", "hubport,id=p%d,hubid=0,netdev=n%d" % (i, i)]
        self.err = tempfile.TemporaryFile(dir=DIR.name)
        self.proc = subprocess.Popen(cmd + list(more), stdin=subprocess.DEVNULL, stderr=self.err,
                                     pass_fds=[f.fileno() for f in fds])
        for f in fds:
            f.close()
        try:
            self.hmp = Hmp(self.path, lambda: self.proc.poll() is not None)
        except OSError:
            raise Failure("it did not start: " + self.said()) from None

    def said(self):
        self.err.seek(0)
        return self.err.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()

    def wait_connected(self):
        end = time.monotonic() + TIMEOUT
        while ",disconnected" in self.hmp("info network"):
            if time.monotonic() > end:
                raise Failure("not connected: " + self.hmp("info network"))
            time.sleep(0.02)

    def quit(self):
        self.hmp.sock.sendall(b"quit\n")
        check("exit status", 0, self.proc.wait(TIMEOUT))


class Stream:
    """The other side of a stream: frames behind their lengths."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(TIMEOUT)

    def send(self, *frames):
        self.sock.sendall(b"".join(struct.pack(">I", len(f)) + f for f in frames))

    def take(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise Failure("the stream ended")
            data += part
        return data

    def recv(self):
        return self.take(struct.unpack(">I", self.take(4))[0])


class Dgram:
    def __init__(self, sock, to=None):
        self.sock, self.to = sock, to
        sock.settimeout(TIMEOUT)

    def send(self, *frames):
        for f in frames:
            if self.to:
                self.sock.sendto(f, self.to)
            else:
                self.sock.send(f)

    def recv(self):
        return self.sock.recv(1 << 17)


def pair(kind):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    return a, b


def both_ways(one, other, count=200):
    """Frames of all sizes, some at once, arrive in order and whole."""
    sizes = [46, 100, 1500, 9000, 60000]
    for src, dst in ((one, other), (other, one)):
        for n in range(0, count, 4):
            batch = [frame(n + k, sizes[(n + k) % len(sizes)]) for k in range(4)]
            src.send(*batch)
            for want in batch:
                got = dst.recv()
                check("frame of %d bytes" % len(want), (len(want), want[:40]), (len(got), got[:40]))
                check("its end", want[-8:], got[-8:])


def test_descriptors():
    a, stream = pair(socket.SOCK_STREAM)
    b, dgram = pair(socket.SOCK_DGRAM)
    with Joined("stream,addr.type=fd,addr.str=%d" % a.fileno(),
                "dgram,local.type=fd,local.str=%d" % b.fileno(), fds=(a, b)) as vm:
        both_ways(Stream(stream), Dgram(dgram))
        wanted = vm.hmp("info network")
        check("info network: " + wanted, True, "type=stream" in wanted and "type=dgram" in wanted)
        vm.quit()


def connect(family, address):
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            s = socket.socket(family)
            s.connect(address)
            return s
        except OSError:
            s.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_server_and_client():
    path = os.path.join(DIR.name, "s")
    port = free_port()
    with Joined("stream,addr.type=unix,addr.path=%s,server=on" % path,
                "stream,addr.type=inet,addr.host=127.0.0.1,addr.port=%d,reconnect-ms=50" % port) as vm:
        first = connect(socket.AF_UNIX, path)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
        listener.settimeout(TIMEOUT)
        tcp = listener.accept()[0]
        vm.wait_connected()
        both_ways(Stream(first), Stream(tcp), 40)
        # Either side leaves and comes back.
        tcp.close()
        tcp = listener.accept()[0]
        vm.wait_connected()
        both_ways(Stream(first), Stream(tcp), 40)
        first.close()
        second = connect(socket.AF_UNIX, path)
        vm.wait_connected()
        both_ways(Stream(second), Stream(tcp), 40)
        vm.quit()
        check("the socket is gone", False, os.path.exists(path))


def test_nonsense():
    """A stream whose lengths make no sense is closed; the machine lives."""
    path = os.path.join(DIR.name, "n")
    b, dgram = pair(socket.SOCK_DGRAM)
    with Joined("stream,addr.type=unix,addr.path=%s,server=on" % path,
                "dgram,local.type=fd,local.str=%d" % b.fileno(), fds=(b,)) as vm:
        for junk in (b"\xff\xff\xff\xff", b"\0\0\0\0", struct.pack(">I", 0x20000) + b"x" * 100):
            s = connect(socket.AF_UNIX, path)
            s.settimeout(TIMEOUT)
            s.sendall(junk)
            check("closed after %r" % junk[:4], b"", s.recv(1))
        s = Stream(connect(socket.AF_UNIX, path))
        vm.wait_connected()
        both_ways(s, Dgram(dgram), 8)
        # A frame in pieces, a length in pieces.
        data = struct.pack(">I", 100) + frame(7)[:100]
        for i in range(len(data)):
            s.sock.sendall(data[i:i + 1])
        check("in pieces", frame(7)[:100], Dgram(dgram).recv())
        vm.quit()


def test_full_unix_remote():
    """A remote that reads nothing keeps frames, not the main loop, waiting; none is lost."""
    path = os.path.join(DIR.name, "full-")
    net = "dgram,id={0},local.type=unix,local.path=%s{0}," % path + \
        "remote.type=unix,remote.path=%s{1}" % path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as source, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sink:
        source.bind(path + "source")
        sink.bind(path + "sink")
        with QTest("-netdev", net.format("a", "source"), "-netdev", net.format("b", "sink"),
                   "-netdev", "hubport,id=h0,hubid=0,netdev=a", "-netdev",
                   "hubport,id=h1,hubid=0,netdev=b",
                   "-monitor", "unix:%smon,server=on,wait=off" % path) as vm:
            mon = Hmp(path + "mon")

            def calls():
                lines = re.findall(r"^net dgram.* calls +(\d+)", mon("info mainloop"), re.M)
                return sum(int(n) for n in lines)
            vm.inb(0)
            source.setblocking(False)
            sent = 0
            try:
                while sent < 2000:
                    source.sendto(frame(sent), path + "a")
                    sent += 1
                    time.sleep(.002)
            except BlockingIOError:
                pass
            time.sleep(.2)
            before = calls()
            time.sleep(.2)
            check("the main loop rests", True, calls() - before < 100)
            sink.settimeout(TIMEOUT)
            for n in range(sent):
                check("frame %d" % n, frame(n), sink.recv(2000))
            mon.close()


def test_stale_unix_sockets():
    """What a killed process left is replaced; a socket in use names its holder; a file stays."""
    path = os.path.join(DIR.name, "stale")
    for words in ("stream,addr.type=unix,addr.path=%s,server=on",
                  "dgram,local.type=unix,local.path=%s,remote.type=unix,remote.path=/nonexistent/x"):
        with Joined(words % path):
            pass  # __exit__ kills it
        check("it was left behind", True, os.path.exists(path))
        with Joined(words % path) as vm:
            check("in use", True, "the socket '%s' is in use, held by process %d (" %
                  (path, vm.proc.pid) in refused(words % path))
            check("by another name", True,
                  "held by process %d (" % vm.proc.pid in refused(words % os.path.relpath(path)))
            vm.quit()
        check("it is gone", False, os.path.exists(path))
        with open(path, "w"):
            pass
        check("no socket", True, "is not a socket" in refused(words % path))
        os.unlink(path)
        check("no directory", True, "directory does not exist" in refused(words % (path + "/x")))


def refused(words):
    said = subprocess.run([VIREO, "-M", "none", "-display", "none", "-netdev", words + ",id=x"],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)
    check("status of " + words, 1, said.returncode)
    lines = said.stderr.splitlines()
    check("lines of " + said.stderr, 1, len(lines))
    return lines[0].partition("': ")[2]


def test_udp():
    here, there = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    a, stream = pair(socket.SOCK_STREAM)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", there))
    with Joined("dgram,local.type=inet,local.host=127.0.0.1,local.port=%d,remote.type=inet,"
                "remote.host=127.0.0.1,remote.port=%d" % (here, there),
                "socket,fd=%d" % a.fileno(), fds=(a,)) as vm:
        both_ways(Dgram(udp, ("127.0.0.1", here)), Stream(stream), 40)
        said = subprocess.run([VIREO, "-M", "none", "-display", "none", "-netdev",
                               "socket,id=x,udp=127.0.0.1:1,localaddr=127.0.0.1:%d" % here],
                              stderr=subprocess.PIPE, text=True, check=False)
        check("status", 1, said.returncode)
        check("the holder in " + said.stderr, True, "process %d" % vm.proc.pid in said.stderr)
        vm.quit()


def test_multicast():
    """Three guests in one group: each hears the others."""
    port = free_port(socket.SOCK_DGRAM)
    words = "socket,mcast=230.0.0.1:%d,localaddr=127.0.0.1" % port
    a, one = pair(socket.SOCK_STREAM)
    b, two = pair(socket.SOCK_STREAM)
    try:
        with Joined(words, "socket,fd=%d" % a.fileno(), fds=(a,)) as vm, \
                Joined(words, "socket,fd=%d" % b.fileno(), fds=(b,)) as vm2:
            one, two = Stream(one), Stream(two)
            one.send(frame(1))
            check("from one to two", frame(1), two.recv())
            two.send(frame(2))
            got = one.recv()
            check("from two to one", frame(2), one.recv() if got == frame(1) else got)
            vm.quit()
            vm2.quit()
    except Failure as e:
        if "cannot be joined" in str(e):
            raise Skip("no multicast on this host") from None
        raise


def test_dump():
    a, one = pair(socket.SOCK_STREAM)
    b, two = pair(socket.SOCK_STREAM)
    path, cut = (os.path.join(DIR.name, n) for n in ("all.pcap", "cut.pcap"))
    with Joined("socket,fd=%d" % a.fileno(), "socket,fd=%d" % b.fileno(), fds=(a, b),
                more=("-object", "filter-dump,id=d,netdev=n0,file=" + path)) as vm:
        one, two = Stream(one), Stream(two)
        check("object_add", "", vm.hmp("object_add filter-dump,id=c,netdev=n0,file=%s,maxlen=60,"
                                       "queue=rx" % cut))
        check("objects", "d: filter-dump\nc: filter-dump\n", vm.hmp("info objects"))
        one.send(frame(1, 1000))
        check("one", frame(1, 1000), two.recv())
        two.send(frame(2))
        check("two", frame(2), one.recv())
        check("object_del", "", vm.hmp("object_del c"))
        two.send(frame(3))
        check("three", frame(3), one.recv())
        check("again", True, "no object" in vm.hmp("object_del c"))
        vm.quit()
    check("all", [(len(f), f) for f in (frame(1, 1000), frame(2), frame(3))], records(path))
    check("cut", [(len(frame(2)), frame(2)[:60])], records(cut))


def records(path):
    with open(path, "rb") as f:
        data = f.read()
    check("header", (0xa1b2c3d4, 2, 4, 1), struct.unpack("<IHH12xI", data[:24]))
    at, found, now = 24, [], time.time()
    while at < len(data):
        seconds, micros, captured, size = struct.unpack_from("<4I", data, at)
        check("a time near now", True, abs(seconds - now) < 600 and micros < 1000000)
        found.append((size, data[at + 16:at + 16 + captured]))
        at += 16 + captured
    return found


def in_new_network():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        os._exit(77)


def test_tap():
    """In a network namespace of its own: frames pass between a hub and the host's interface."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        raise Skip("needs root and /dev/net/tun")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            in_new_network()
            tap_in_namespace()
            status = 0
        except Skip:
            status = 77
        except BaseException as e:  # pylint: disable=broad-except
            print("# %s" % e)
            sys.stdout.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 77:
        raise Skip("no network namespaces or tap interfaces here")
    check("the namespace's checks", 0, status)


def interface(name, kind=0x88b5):
    """A packet socket on it, which is up."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    request = fcntl.ioctl(s, 0x8913, struct.pack("16sh14x", name.encode(), 0))
    flags = struct.unpack("16sh14x", request)[1] | 1
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", name.encode(), flags))
    packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    packet.bind((name, kind))
    return Dgram(packet)


def tap_in_namespace():
    try:
        with open("/dev/net/tun", "r+b", buffering=0) as f:
            fcntl.ioctl(f, TUNSETIFF, struct.pack("16sH14x", b"probe", IFF_TAP | IFF_NO_PI))
    except OSError as e:
        raise Skip(os.strerror(e.errno or errno.EIO)) from None
    script = os.path.join(DIR.name, "script")
    with open(script, "w") as f:
        f.write("#!/bin/sh\necho up $1 >>%s.log\n" % script)
    os.chmod(script, 0o755)
    for vnet in ("on", "off"):
        a, stream = pair(socket.SOCK_STREAM)
        with Joined("tap,ifname=vt0,vnet_hdr=%s,script=%s,downscript=%s" % (vnet, script, script),
                    "socket,fd=%d" % a.fileno(), fds=(a,)) as vm:
            tap, stream = interface("vt0"), Stream(stream)
            for n in range(40):
                stream.send(frame(n, 1400))
                check("to the host", frame(n, 1400), tap.recv())
                tap.send(frame(n, 400))
                got = stream.recv()
                while got[12:14] != HEAD[12:]:  # the host's own, for IPv6
                    got = stream.recv()
                check("to the guest", frame(n, 400), got)
            busy = subprocess.run([VIREO, "-M", "none", "-display", "none", "-netdev",
                                   "tap,id=t,ifname=vt0,script=no"], stderr=subprocess.PIPE,
                                  text=True, check=False)
            check("busy: " + busy.stderr, True,
                  "in use by process %d" % vm.proc.pid in busy.stderr)
            vm.quit()
    tap_deleted()
    tap_with_one_pair()
    vhost_words()
    with open(script + ".log") as f:
        check("scripts", "up vt0\n" * 4, f.read())


def rounds(vm):
    """Of its main loop so far."""
    return int(re.search(r"rounds: (\d+)", vm.hmp("info mainloop"))[1])


def tap_deleted():
    """Somebody takes the interface away: it is said once, and nothing keeps the main loop busy."""
    with Joined("tap,ifname=vt2,script=no,downscript=no", "hubport,hubid=9") as vm:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
            link = struct.pack("<BBHiII", 0, 0, 0, socket.if_nametoindex("vt2"), 0, 0)
            s.send(struct.pack("<IHHII", 16 + len(link), 17, 5, 1, 0) + link)  # RTM_DELLINK
            check("deleted", 0, struct.unpack_from("<i", s.recv(4096), 16)[0])
        end = time.monotonic() + TIMEOUT
        while "'vt2' is gone" not in vm.said():
            check("said in time: " + vm.said(), True, time.monotonic() < end)
            time.sleep(.01)
        before = rounds(vm)
        time.sleep(.2)
        check("few rounds", True, rounds(vm) - before < 20)
        check("said once", 1, vm.said().count("is gone"))
        vm.quit()


def tap_with_one_pair():
    """Two queues of which the driver uses one pair: all frames find its buffers, also late ones."""
    with QTest("-M", "pc", "-m", "32", "-netdev", "tap,id=t,ifname=vt3,queues=2,script=no,downscript=no",
               "-device", "virtio-net-pci,netdev=t,mq=on,addr=4") as vm:
        nic = Virtio(vm, 4 << 3).start((MRG_RXBUF, CTRL_VQ, MQ), 5)
        tap, want = interface("vt3", 0x0800), set()
        for n in range(32):  # of as many connections: the host spreads them over the queues
            f = HEAD[:12] + b"\x08\0" + struct.pack(
                ">BBHHHBBH4s4sHHHH", 0x45, 0, 48, n, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2",
                1000 + n, 2000, 28, 0) + struct.pack("<5I", *[n] * 5)
            want.add(f)
            tap.send(f)
        time.sleep(.1)
        for _ in range(200):
            nic.queue[0].add([], [1600])
        nic.kick(0)
        while want:
            (_, length), parts = nic.queue[0].wait(TIMEOUT)
            want.discard(parts[0][12:length])
        nic.check_alive()


def vhost_words():
    """One line says why there is no vhost-net, and it is an error only if that was an order."""
    if os.path.exists("/dev/vhost-net"):
        return
    null = os.open("/dev/null", os.O_RDWR)
    for words, part, status in (("vhost=on", "packets go through user space", None),
                                ("vhostfd=%d" % null, "is not one of /dev/vhost-net", None),
                                ("vhost=on,vnet_hdr=off", "headers for offloads", None),
                                ("vhostforce=on", "modprobe vhost_net", 1)):
        with subprocess.Popen([VIREO, "-accel", "test", "-display", "none", "-monitor", "stdio", "-netdev",
                               "tap,id=t,ifname=vt1,script=no,downscript=no," + words, "-device",
                               "virtio-net-pci,netdev=t"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, pass_fds=(null,)) as vm:
            out, err = vm.communicate("info network\nquit\n", timeout=TIMEOUT)
        about = [l for l in err.splitlines() if "vhost" in l]
        check("%s: %s" % (words, err), (1, True), (len(about), part in err))
        check("%s: status" % words, status or 0, vm.returncode)
        check("%s: info network" % words, (status is None, False),
              ("type=tap,ifname=vt1" in out, "vhost" in out))
    os.close(null)


def test_wrong_words():
    for words, part in (
            ("stream,id=a", "addr.type="),
            ("stream,id=a,addr.type=inet,addr.host=127.0.0.1,addr.port=1", "nobody listens"),
            ("stream,id=a,addr.type=unix", "needs its path"),
            ("stream,id=a,addr.type=unx,addr.path=x", "inet, unix or fd"),
            ("dgram,id=a,local.type=unix,local.path=/tmp/x", "remote.type="),
            ("socket,id=a", "one of listen="),
            ("socket,id=a,listen=:1,connect=:2", "give one"),
            ("socket,id=a,mcast=10.0.0.1:5", "224.0.0.0"),
            ("socket,id=a,udp=127.0.0.1:5", "localaddr="),
            ("socket,id=a,fd=99", "no open socket"),
            ("socket,id=a,connect=127.0.0.1", "host:port"),
            ("tap,id=a,fd=99", "not open"),
            ("tap,id=a,queues=0", "1 to"),
            ("tap,id=a,fd=3,ifname=x", "is there already"),
            ("tap,id=a,ifname=averyveryverylongname", "15 characters"),
            ("tap,id=a,ifnaem=x", "did you mean 'ifname'?"),
            ("tap,id=a,vhost=off,vhostforce=on", "contradict each other"),
            ("tap,id=a,vhost=off,vhostfd=3", "contradict each other"),
            ("tap,id=a,vhostfds=3:4", "one each is needed"),
            ("tap,id=a,vhostfd=x", "numbers of open descriptors"),
            ("tap,id=a,poll-us=5", "is for vhost=on"),
            ("tap,id=a,vhost=on,poll-us=99999999999", "microseconds")):
        said = subprocess.run([VIREO, "-M", "none", "-display", "none", "-netdev", words],
                              stderr=subprocess.PIPE, text=True, check=False, timeout=TIMEOUT)
        lines = [l for l in said.stderr.splitlines() if words.split(",")[0] in l]
        check("%s: %s" % (words, said.stderr), (1, 1, True),
              (said.returncode, len(lines), part in said.stderr))
    for words, part in (("filter-dump,id=d", "netdev=ID and file="),
                        ("filter-dmp,id=d", "did you mean 'filter-dump'?"),
                        ("iothread,id=d", "not built yet"),
                        ("filter-dump,id=d,netdev=x,file=%s/x" % DIR.name, "no netdev 'x'"),
                        ("filter-dump,netdev=x,file=x", "needs an id")):
        said = subprocess.run([VIREO, "-M", "none", "-display", "none", "-object", words],
                              stderr=subprocess.PIPE, text=True, check=False, timeout=TIMEOUT)
        check("%s: %s" % (words, said.stderr), (1, True), (said.returncode, part in said.stderr))


def test_peer_does_not_answer():
    """Its queue of connections is full: TCP leaves the next unanswered, a unix socket has no room."""
    path = tempfile.mktemp(dir=DIR.name)
    tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
    tcp.bind(("127.0.0.1", 0))
    unix.bind(path)
    port, others, asked = tcp.getsockname()[1], [], []
    for server in (tcp, unix):
        server.listen(0)
        for _ in range(4):
            others.append(socket.socket(server.family))
            others[-1].setblocking(False)
            others[-1].connect_ex(server.getsockname())
    for words in ("stream,id=a,addr.type=inet,addr.host=127.0.0.1,addr.port=%d" % port,
                  "stream,id=a,addr.type=unix,addr.path=" + path, "socket,id=a,connect=127.0.0.1:%d" % port):
        asked.append((words, subprocess.Popen([VIREO, "-M", "none", "-display", "none", "-netdev", words],
                                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)))
    try:
        for words, proc in asked:
            said = proc.communicate(timeout=6 * TIMEOUT)[1]
            check("%s: %s" % (words, said), (1, True, 1),
                  (proc.returncode, "has not answered for" in said, len(said.splitlines())))
    finally:
        for _, proc in asked:
            proc.kill()
            proc.wait()
        for s in (tcp, unix, *others):
            s.close()


def test_peer_answers_late():
    """A unix socket whose queue is full has room again a little later."""
    path = tempfile.mktemp(dir=DIR.name)
    server, first = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(0)
    first.connect(path)
    with subprocess.Popen([VIREO, "-M", "none", "-display", "none", "-monitor", "stdio", "-netdev",
                           "stream,id=a,addr.type=unix,addr.path=" + path], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as proc:
        try:
            time.sleep(.2)
            server.settimeout(6 * TIMEOUT)
            held = [server.accept()[0], server.accept()[0]]
            out, err = proc.communicate("info network\nquit\n", timeout=6 * TIMEOUT)
            check(err, (0, True, False), (proc.returncode, "a:" in out, "disconnected" in out))
        finally:
            proc.kill()
    for s in (server, first, *held):
        s.close()


if __name__ == "__main__":
    main()
