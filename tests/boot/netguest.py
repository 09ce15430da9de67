# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian kernel with busybox and the drivers of network cards, and commands at its prompt."""

import argparse
import hashlib
import http.server
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hw"))
import engines  # pylint: disable=wrong-import-position
import hmp  # pylint: disable=wrong-import-position
import run  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, skip  # pylint: disable=wrong-import-position

SLOW = float(os.environ.get("SLOW", "1"))
ACCEL = os.environ.get("NET_ACCEL", "jit")  # make check-jit-long takes the others, too


def lacks(accel):
    """Why the engine cannot run guests here; None: it can. Vireo itself knows a KVM that is none."""
    if accel != "kvm":
        return engines.lacks(VIREO, accel)
    done = subprocess.run([VIREO, "-S", "-m", "16", "-nodefaults", "-display", "none", "-monitor",
                           "stdio"], input=b"quit\n", timeout=60 * SLOW, check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    why = re.search(r"not kvm: (.*)", done.stderr.decode(errors="replace"))
    return why and why.group(1)


def need(accel):
    why = lacks(accel)
    if why:
        skip(why)


def media():
    """Kernel and initial RAM disk; skips where they cannot be made."""
    if ACCEL != "jit":
        need(ACCEL)
    problems = run.make_media(["network"])
    if problems:
        skip(problems["network"])
    return [os.path.join(run.MEDIA, n) for n in ("linux-amd64", "net-amd64.initrd.gz")]


class Guest:
    """args: networks and cards. With a monitor on .hmp."""

    media = staticmethod(media)

    def __init__(self, *args, memory="256", accel=ACCEL, cpus=1, direct=True, wait=True, ns=()):
        """wait=False: ready() does; ns: a command in front, as ip netns exec NAME."""
        kernel, initrd = self.media()
        # The kernel gives up if no ticks come for 40 ms, which happens on a busy host.
        loads = ["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet no_timer_check"]
        self.dir = tempfile.mkdtemp(prefix="vireo-net-")
        mon = os.path.join(self.dir, "mon")
        self.cmd = [VIREO, "-nodefaults", "-display", "none", "-accel", accel, "-m", memory, "-smp",
                    str(cpus), "-serial", "stdio", "-monitor", "unix:%s,server=on,wait=off" % mon]
        self.cmd = list(ns) + self.cmd + (loads if direct else []) + list(args)
        self.err = open(os.path.join(self.dir, "stderr"), "w+b")
        self.proc = subprocess.Popen(self.cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=self.err, preexec_fn=run.die_with_parent)
        self.text, self.mark = b"", 0
        self.lock = threading.Lock()
        threading.Thread(target=self.reader, daemon=True).start()
        try:
            self.hmp = hmp.Hmp(mon, lambda: self.proc.poll() is not None)
            if wait:
                self.ready()
        except (OSError, Failure) as e:
            text = self.stderr()
            self.close()
            raise Failure("%s\n%s" % (e, text)) from None

    def ready(self):
        self.wait("guest# \r\n", 240)

    def reader(self):
        while True:
            data = os.read(self.proc.stdout.fileno(), 65536)
            if not data:
                return
            with self.lock:
                self.text += data

    def stderr(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace")

    def wait(self, pattern, secs):
        end = time.monotonic() + secs * SLOW
        while True:
            with self.lock:
                m = re.compile(pattern.encode(), re.S).search(self.text, self.mark)
                if m:
                    before = self.text[self.mark:m.start()].decode(errors="replace")
                    self.mark = m.end()
                    return before.replace("\r", ""), m
            if self.proc.poll() is not None or time.monotonic() > end:
                with self.lock:
                    raise Failure("want /%s/ on the serial port, got %r %s" %
                                  (pattern, self.text[self.mark:][-600:], self.stderr()))
            time.sleep(.01)

    def send(self, line):
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()

    def sh(self, line, secs=60, status=0):
        """What the command printed; its exit status must be that one (None: any)."""
        self.send(line + '; echo "<"$?">"')
        said, m = self.wait(r"<(\d+)>\r?\n", secs)
        if status is not None and int(m[1]) != status:
            raise Failure("'%s': want exit status %d, got %s: %s" % (line, status, m[1].decode(), said))
        return said.strip()

    def lease(self, dev="eth0"):
        self.sh("ip link set %s up" % dev)
        return self.sh("udhcpc -i %s -s /bin/on-lease -n -q -t 10 -T 2 -O search -O tftp -O bootfile "
                       "2>&1" % dev, 90)

    def address(self, mac, ip):
        """Gives the card of that MAC address an IP address, and says its name."""
        dev = self.sh("grep -il %s /sys/class/net/*/address" % mac).split("/")[4]
        self.sh("ip link set %s up; ip addr add %s dev %s" % (dev, ip, dev))
        return dev

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Server:
    """HTTP on a port of this host: GET /N gives N bytes. And a sink beside it: what comes there,
    its length in the first 16 characters, is answered with its MD5."""

    def __init__(self, host="127.0.0.1"):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                size = int(self.path.strip("/") or 5)
                self.send_response(200)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                for at in range(0, size, 1 << 20):
                    self.wfile.write(block(at)[:size - at])

            def log_message(self, *_):
                pass

        class Sink(socketserver.StreamRequestHandler):
            def handle(self):
                left, total = int(self.rfile.read(16)), hashlib.md5()
                while left and (data := self.rfile.read(min(left, 1 << 16))):
                    total.update(data)
                    left -= len(data)
                self.wfile.write(total.hexdigest().encode() + b"\n")

        class Threaded(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def server_bind(self):
                socketserver.TCPServer.server_bind(self)
                self.server_name, self.server_port = host, self.server_address[1]

        self.http = Threaded((host, 0), Handler)
        self.port = self.http.server_address[1]
        self.sink = socketserver.ThreadingTCPServer((host if "." in host else "127.0.0.1", 0), Sink)
        self.sink.daemon_threads = True
        self.sink_port = self.sink.server_address[1]
        for s in (self.http, self.sink):
            threading.Thread(target=s.serve_forever, daemon=True).start()

    def close(self):
        for s in (self.http, self.sink):
            s.shutdown()
            s.server_close()


def block(at):
    """The MiB at that offset of what GET gives."""
    seed = hashlib.sha256(b"%d" % (at >> 20)).digest()
    return seed * (1 << 15)


def md5(size):
    total = hashlib.md5()
    for at in range(0, size, 1 << 20):
        total.update(block(at)[:size - at])
    return total.hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", action="store_true")
    return parser.parse_known_args()[0]
