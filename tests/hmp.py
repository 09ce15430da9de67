# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of a monitor's socket, and one that moves vCPUs from engine to engine all the time."""

import itertools
import os
import re
import socket
import threading
import time

TIMEOUT = 30 * float(os.environ.get("SLOW", "1"))
PROMPT = re.compile(rb"\(vireo\) $")


class MonitorClosed(Exception):
    pass


def connect(path, give_up=lambda: False):
    """Waits for the socket to be there."""
    end = time.monotonic() + TIMEOUT
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            sock.settimeout(TIMEOUT)
            return sock
        except OSError:
            sock.close()
            if give_up() or time.monotonic() > end:
                raise
            time.sleep(0.005)


class Hmp:
    """As scripts use it: a line goes out, what it printed comes back."""

    def __init__(self, path, give_up=lambda: False):
        self.sock = connect(path, give_up)
        self.prompt()

    def prompt(self):
        text = b""
        while not PROMPT.search(text):
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                raise MonitorClosed("the monitor closed after %r" % text[-200:])
            text += data
        return text.decode()

    def batch(self, lines):
        """All of them at once."""
        self.sock.sendall("".join(l + "\n" for l in lines).encode())
        text = b""
        while text.count(b"(vireo) ") < len(lines):
            data = self.sock.recv(1 << 16)
            if not data:
                raise MonitorClosed("the monitor closed after %r" % text[-200:])
            text += data

    def __call__(self, line):
        """What the command printed, without the echo and the prompt."""
        try:
            self.sock.sendall(line.encode() + b"\n")
        except ConnectionError as e:
            raise MonitorClosed(str(e)) from None
        return self.prompt().partition("\r\n")[2].rpartition("(vireo) ")[0].replace("\r", "")

    def close(self):
        self.sock.close()


def moves(engines, cpus):
    """Endless: "accel" commands that move all vCPUs, or one, so that all mixtures come about."""
    for n in itertools.count():
        engine = engines[n // (cpus + 1) % len(engines)]
        who = n % (cpus + 1)
        if cpus == 1:
            yield "accel all %s" % engines[n % len(engines)]
        elif who == cpus:
            yield "accel all %s" % engines[(n // (cpus + 1) + 1) % len(engines)]
        else:
            yield "accel %d %s" % (who, engine)


class Switcher(threading.Thread):
    """Switches until the process ends, or has done so often. monitor: an Hmp or its socket.
    pause: seconds between two."""

    def __init__(self, monitor, engines, cpus, often=None, pause=0):
        super().__init__(daemon=True)
        self.pause = pause
        self.monitor, self.engines, self.cpus, self.often = monitor, engines, cpus, often
        self.count, self.said = 0, ""
        self.ended = threading.Event()

    def stop(self):
        self.ended.set()
        self.join()

    def run(self):
        try:
            hmp = self.monitor
            if isinstance(hmp, str):
                hmp = Hmp(hmp, self.ended.is_set)
            for line in moves(self.engines, self.cpus):
                if self.count == self.often or self.said or self.ended.is_set():
                    break
                self.said = hmp(line)
                self.count += 1
                if self.pause:
                    self.ended.wait(self.pause)
        except (MonitorClosed, OSError):
            pass  # it has ended
