# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a command on a host of its own: network and mount namespaces where 127.0.0.1 and ::1 are up, a
DNS server of ours is at port 53 and /etc/resolv.conf names it. libslirp knows no other place to look.

    unshare -r -m -n python3 tests/boot/own_host.py COMMAND...

The server knows one name, penguin.example: 192.0.2.7 and 2001:db8::7; there is no other.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run  # pylint: disable=wrong-import-position

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
NAME = b"\7penguin\7example\0"
ANSWERS = {1: socket.inet_aton("192.0.2.7"), 28: socket.inet_pton(socket.AF_INET6, "2001:db8::7")}


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def answer(query):
    """RFC 1035 4.1: header, the question again, perhaps a record whose name points to it."""
    number, flags = struct.unpack(">HH", query[:4])
    question = query[12:12 + len(NAME) + 4]
    kind = struct.unpack(">H", question[-4:-2])[0]
    known = question[:-4].lower() == NAME
    data = ANSWERS.get(kind) if known else None
    head = struct.pack(">6H", number, 0x8080 | flags & 0x0100 | (0 if known else 3), 1,
                       1 if data else 0, 0, 0)
    record = struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(data)) + data if data else b""
    if not known:  # any name: its end is not where ours is
        end = 12
        while query[end]:
            end += 1 + query[end]
        question = query[12:end + 5]
    return head + question + record


def serve_udp(sock):
    while True:
        query, who = sock.recvfrom(4096)
        try:
            sock.sendto(answer(query), who)
        except (OSError, struct.error, IndexError):
            pass


def serve_tcp(sock):
    while True:
        conn = sock.accept()[0]
        with conn, conn.makefile("rb") as f:
            try:
                reply = answer(f.read(struct.unpack(">H", f.read(2))[0]))
                conn.sendall(struct.pack(">H", len(reply)) + reply)
            except (OSError, struct.error, IndexError):
                pass


def open_sockets():
    """[(address, UDP socket, TCP socket)]"""
    places = [(socket.AF_INET, "127.0.0.1")]
    if os.path.exists("/proc/net/if_inet6"):
        places.append((socket.AF_INET6, "::1"))
    servers = []
    for family, address in places:
        udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family)
        udp.bind((address, 53))
        tcp.bind((address, 53))
        tcp.listen()
        servers.append((address, udp, tcp))
    return servers


def serve(servers):
    for _, udp, tcp in servers:
        threading.Thread(target=serve_udp, args=(udp,), daemon=True).start()
        threading.Thread(target=serve_tcp, args=(tcp,), daemon=True).start()
    signal.pause()


def main():
    loopback_up()
    servers = open_sockets()
    with tempfile.NamedTemporaryFile("w", prefix="resolv-") as f:
        f.write("".join("nameserver %s\n" % s[0] for s in servers))
        f.flush()
        path = os.path.realpath("/etc/resolv.conf")
        subprocess.run(["mount", "--bind", f.name, path], check=True)
    parent = os.getpid()
    if not os.fork():
        run.die_with_parent()
        if os.getppid() == parent:
            serve(servers)
        os._exit(0)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
