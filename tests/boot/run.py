#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots real guests and watches them: serial text, VGA text, screens, keys. TAP on stdout.

    tests/boot/run.py [--accel A] [--emu COMMAND] [--slow X] [--keep] [GUEST...]

guests.json describes each guest: its options, the engines it runs on ('linux-amd64@jit'; names in
../engines.py, interp if it says nothing), and the steps that must all succeed in time. Those marked
"long" take minutes to an hour and run only by name, or all of them as '--list --long' has them. Media
are made from Debian packages by media.sh, once, into a cache ($VIREO_MEDIA, or vireo/media in
$XDG_CACHE_HOME, else in ~/.cache); a guest whose media cannot be made here is skipped with the
reason. What a run leaves (command, serial text, screen) lies in --run-dir.
"""
import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pictures

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import engines  # pylint: disable=wrong-import-position
import hmp  # pylint: disable=wrong-import-position
import signals  # pylint: disable=wrong-import-position

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
VIREO = os.environ.get("VIREO", os.path.join(ROOT, "build/vireo"))
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
MEDIA = os.environ.get("VIREO_MEDIA") or os.path.join(CACHE, "vireo/media")

SHIFTED = dict(zip('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./"))
KEY_NAMES = {" ": "spc", "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right",
             "\\": "backslash", ";": "semicolon", "'": "apostrophe", "`": "grave_accent",
             ",": "comma", ".": "dot", "/": "slash", "\n": "ret", "\t": "tab"}


def keys_for(ch):
    if ch in SHIFTED:
        return ["shift", KEY_NAMES.get(SHIFTED[ch], SHIFTED[ch])]
    if ch.isupper():
        return ["shift", ch.lower()]
    return [KEY_NAMES.get(ch, ch)]


def die_with_parent():
    """In the child: whoever ends this script, even by SIGKILL, ends the guest, too."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Fail(Exception):
    """A step that did not succeed."""


class Monitor:
    """The human monitor on a socket."""

    def __init__(self, path, proc):
        self.buf = b""
        end = time.monotonic() + 20
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if proc.poll() is not None:
                    raise Fail("the emulator ended at its start, status %s" % proc.returncode)
                if time.monotonic() > end:
                    raise Fail("no monitor within 20 s")
                time.sleep(.05)
        self.sock.settimeout(120)  # a busy host
        self._prompt()

    def _prompt(self):
        while not re.search(rb"\(\w+\) $", self.buf):
            data = self.sock.recv(65536)
            if not data:
                raise Fail("the monitor was closed")
            self.buf += data
        self.buf = b""

    def hmp(self, line):
        self.sock.sendall(line.encode() + b"\n")
        self._prompt()

    def key(self, names, pace):
        self.hmp("sendkey %s 60" % "-".join(names))
        time.sleep(pace)


class Run:
    def __init__(self, guest, args):
        self.guest, self.args = guest, args
        self.dir = os.path.join(args.run_dir, guest["title"])
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        self.serial, self.lock, self.mark = b"", threading.Lock(), 0
        self.proc = self.mon = None
        self.pace = .13 * max(1, min(args.slow, 5))  # a slow guest loses keys typed fast

    def place(self, m):
        """{f:FILE} of the media, {c:FILE} a private copy, {o:NAME} an output file."""
        kind, name = m[1], m[2]
        if kind == "o":
            return os.path.join(self.dir, name)
        path = os.path.join(MEDIA, name)
        if kind == "f":
            return path
        copy = os.path.join(self.dir, name)
        subprocess.check_call(["cp", "--sparse=always", path, copy])
        return copy

    def start(self):
        words = [re.sub(r"\{([fco]):([^}]*)\}", self.place, w) for w in self.guest["args"]]
        sock = os.path.join(self.dir, "mon")
        emu = shlex.split(self.args.emu) if self.args.emu else [VIREO, "-accel", self.guest["accel"]]
        self.cmd = emu + words + [
            "-display", "none", "-serial", "stdio", "-monitor", "unix:%s,server=on,wait=off" % sock]
        switcher = self.switcher()
        with open(os.path.join(self.dir, "cmd"), "w") as f:
            f.write(shlex.join(self.cmd) + "\n")
        with open(os.path.join(self.dir, "stderr"), "wb") as err:
            self.proc = subprocess.Popen(self.cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=err, start_new_session=True, env=self.environment(),
                                         preexec_fn=die_with_parent)
        threading.Thread(target=self.reader, daemon=True).start()
        self.mon = Monitor(sock, self.proc)
        if switcher:
            switcher.start()

    def switcher(self):
        """With "switch": ENGINES: its vCPUs move between them, some twenty times a second."""
        if "switch" not in self.guest:
            return None
        sock = os.path.join(self.dir, "switch")
        self.cmd += ["-chardev", "socket,id=switch,path=%s,server=on,wait=off" % sock,
                     "-mon", "chardev=switch"]
        args = self.guest["args"]
        cpus = int(args[args.index("-smp") + 1]) if "-smp" in args else 1
        return hmp.Switcher(sock, self.guest["switch"].split(":"), cpus, pause=.05)

    def environment(self):
        """With "signals": N of them a second, to each thread."""
        rate = self.guest.get("signals")
        return signals.environment(self.dir, rate) if rate else None

    def reader(self):
        with open(os.path.join(self.dir, "serial"), "wb") as log:
            while True:
                data = os.read(self.proc.stdout.fileno(), 65536)
                if not data:
                    return
                log.write(data)
                log.flush()
                with self.lock:
                    self.serial += data

    def alive(self):
        return self.proc.poll() is None

    def stderr(self):
        with open(os.path.join(self.dir, "stderr"), errors="replace") as f:
            return f.read().strip()

    # ---- steps ----

    def until(self, secs, test, what, every=.1):
        end = time.monotonic() + secs * self.args.slow
        while not test():
            for bad in self.guest.get("fail", ["Kernel panic"]):
                if re.search(bad.encode(), self.serial):
                    raise Fail("want %s, got '%s'" % (what, bad))
            if not self.alive():
                time.sleep(.3)
                if test():
                    return
                raise Fail("want %s, got the end of the process, status %s %s" %
                           (what, self.proc.returncode, self.stderr()))
            if time.monotonic() > end:
                raise Fail("want %s, got none within %g s" % (what, secs * self.args.slow))
            time.sleep(every)

    def do_serial(self, pattern, secs):
        def test():
            with self.lock:
                m = re.search(pattern.encode(), self.serial[self.mark:], re.S)
                if m:
                    self.mark += m.end()
                return m
        self.until(secs, test, "serial text /%s/" % pattern)

    def text(self):
        path = os.path.join(self.dir, "b8000")
        self.mon.hmp('pmemsave 0xb8000 0x8000 "%s"' % path)
        with open(path, "rb") as f:
            return pictures.vga_text(f.read())

    def do_vga(self, pattern, secs):
        def test():
            try:
                return re.search(pattern, self.text())
            except OSError as e:
                if not self.alive():  # it ended between two looks
                    return False
                raise Fail("cannot read the screen: %s" % e)
        self.until(secs, test, "VGA text /%s/" % pattern, .3)

    def do_file(self, name, pattern, secs):
        def test():
            try:
                with open(os.path.join(self.dir, name), "rb") as f:
                    return re.search(pattern.encode(), f.read(), re.S)
            except OSError:
                return None
        self.until(secs, test, "/%s/ in %s" % (pattern, name))

    def record(self, ref, dump, after):
        time.sleep(after * self.args.slow)
        self.mon.hmp('screendump "%s"' % dump)
        w, h, px = pictures.read_ppm(dump)
        to_h = h * 160 // w
        pictures.write_png(ref, 160, to_h, pictures.shrink(w, h, px, 160, to_h))
        print("# recorded %s from %dx%d" % (ref, w, h))

    def do_screen(self, name, secs, opt):
        ref = os.path.join(HERE, "refs", name + ".png")
        dump = os.path.join(self.dir, name + ".ppm")
        if self.args.record:
            self.record(ref, dump, opt.get("record_after", 20))
            return
        ref_w, ref_h, want = pictures.read_png(ref)
        best = [1.0]

        def test():
            self.mon.hmp('screendump "%s"' % dump)
            try:
                w, h, px = pictures.read_ppm(dump)
            except (ValueError, OSError):
                return False
            if "size" in opt and [w, h] != opt["size"]:
                return False
            got = pictures.shrink(w, h, px, ref_w, ref_h)
            best[0] = min(best[0], pictures.differ(got, want, ref_w, ref_h))
            return best[0] <= opt.get("tol", .06)
        try:
            self.until(secs, test, "a screen like refs/%s.png" % name, .7)
        except Fail as e:
            raise Fail("%s (%.0f %% of the pixels differ at best)" % (e, best[0] * 100))

    def do_type(self, text):
        for ch in text:
            self.mon.key(keys_for(ch), self.pace)

    def do_key(self, names, times=1):
        for _ in range(times):
            self.mon.key(names.split("-"), self.pace)

    def do_send(self, text):
        self.proc.stdin.write(text.encode())
        self.proc.stdin.flush()

    def do_sleep(self, secs):
        time.sleep(secs * self.args.slow)

    def do_exit(self, status, secs):
        self.until(secs, lambda: not self.alive(), "the end of the process")
        if status is not None and self.proc.returncode != status:
            raise Fail("want exit status %s, got %s %s" %
                       (status, self.proc.returncode, self.stderr()))

    # ---- a whole guest ----

    def run(self):
        """Returns None, or what went wrong."""
        step = ["start"]
        try:
            self.start()
            for step in self.guest["steps"]:
                getattr(self, "do_" + step[0])(*step[1:])
            return None
        except (Fail, OSError, ValueError) as e:
            self.keep_screen()
            return "step %s: %s" % (json.dumps(step), e)
        finally:
            self.stop()

    def keep_screen(self):
        try:
            if self.mon and self.alive():
                self.mon.hmp('screendump "%s"' % os.path.join(self.dir, "fail.ppm"))
                with open(os.path.join(self.dir, "fail.txt"), "w") as f:
                    f.write(re.sub("(.{80})", "\\1\n", self.text()))
        except (Fail, OSError):
            pass

    def stop(self):
        if self.proc is None:
            return
        if self.alive():
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.proc.pid, signal.SIGKILL)
                self.proc.wait()
        if not self.args.keep:
            for name in os.listdir(self.dir):  # private copies are large
                if name.endswith((".img", ".iso")):
                    os.unlink(os.path.join(self.dir, name))


def with_callees(functions, name):
    """A function's text and that of those it calls."""
    called = re.findall(r"^ *(\w+)(?= |$)", functions[name], re.M)
    return functions[name] + "".join(with_callees(functions, n) for n in called if n in functions)


def recipe(part):
    """What a part is made by, as a number that changes with it: its functions in media.sh and the
    files of ours that these take."""
    with open(os.path.join(HERE, "media.sh")) as f:
        found = re.finditer(r"^(\w+)\(\) \{\n.*?^\}", f.read(), re.M | re.S)
    text = with_callees({m[1]: m[0] for m in found}, part.replace("-", "_"))
    digest = hashlib.sha256(text.encode())
    for name in re.findall(r"\$here/([\w.-]+)", text):
        with open(os.path.join(HERE, name), "rb") as f:
            digest.update(f.read())
    return digest.hexdigest()


def is_made(part):
    try:
        with open(os.path.join(MEDIA, part + ".done")) as f:
            return f.read() == recipe(part)
    except FileNotFoundError:
        return False


def make_media(parts):
    """Makes what is not there yet, or by another recipe, one process at a time. Returns {part: why it
    cannot be made}."""
    os.makedirs(MEDIA, exist_ok=True)
    problems = {}
    with open(os.path.join(MEDIA, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for part in parts:
            if is_made(part):
                continue
            print("# making guests: %s" % part, flush=True)
            done = subprocess.run(["sh", os.path.join(HERE, "media.sh"), MEDIA, part], check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE)
            if done.returncode:
                lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason"]
                problems[part] = lines[-1]
                continue
            with open(os.path.join(MEDIA, part + ".done"), "w") as f:
                f.write(recipe(part))
    return problems


def seconds(guest):
    """What the steps may take together."""
    return sum(s[2] if s[0] in ("serial", "vga", "exit", "screen") else
               s[3] if s[0] == "file" else 2 for s in guest["steps"])


def on_engines(guests, args):
    """Each guest once for every engine: adds "accel", and "title" with the engine's name."""
    for g in guests:
        if args.emu:
            yield dict(g, title=g["name"], accel="")
            continue
        for name in [args.accel] if args.accel else g.get("engines", ["interp"]):
            yield dict(g, title="%s@%s" % (g["name"], name), accel=engines.accel(name))


def lacks_netdev(kind):
    """Why this build cannot have such a network, or None."""
    listed = subprocess.run([VIREO, "-netdev", "help"], check=False, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE).stdout.decode()
    found = re.search(r"^%s\b" % kind, listed, re.M)
    return None if found else "no -netdev %s in this build (libslirp)" % kind


def chosen(guest, args):
    if args.guest:
        return guest["name"] in args.guest or guest["title"] in args.guest
    return bool(guest.get("long")) == args.long


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emu", help="a command that guests' options are added to [$VIREO]")
    parser.add_argument("--accel", help="what to run them on, instead of what guests.json says")
    parser.add_argument("--long", action="store_true", help="with --list: those that take long")
    parser.add_argument("--slow", type=float, default=float(os.environ.get("SLOW", "1")),
                        help="multiplies every time limit [1]")
    parser.add_argument("--run-dir", help="[a directory under /tmp, removed if all is well]")
    parser.add_argument("--record", action="store_true", help="write the reference pictures")
    parser.add_argument("--keep", action="store_true", help="keep private copies of images")
    parser.add_argument("--list", action="store_true", help="names, time limits, what they test")
    parser.add_argument("--prepare", action="store_true", help="make the media, boot nothing")
    parser.add_argument("guest", nargs="*")
    args = parser.parse_args()
    with open(os.path.join(HERE, "guests.json")) as f:
        guests = json.load(f)
    guests = [g for g in on_engines(guests, args) if chosen(g, args)]
    unknown = [n for n in args.guest if not any(n in (g["name"], g["title"]) for g in guests)]
    if unknown:
        parser.error("no guest %s; --list shows them" % ", ".join(sorted(unknown)))
    if args.list:
        have = engines.listed(VIREO)
        for g in guests:
            if args.emu or g["accel"].split(",")[0] in have:
                print("%-24s %5d %s" % (g["title"], seconds(g), g["what"]))
        return 0
    problems = make_media(list(dict.fromkeys(p for g in guests for p in g["media"])))
    if args.prepare:
        for part, why in problems.items():
            print("cannot make '%s': %s" % (part, why))
        return 0

    run_dir, args.run_dir = args.run_dir, args.run_dir or tempfile.mkdtemp(prefix="vireo-boot-")
    failed = 0
    print("1..%d" % len(guests))
    for number, g in enumerate(guests, 1):
        lacks = engines.lacks(VIREO, g["accel"]) if g["accel"] else None
        lacks = lacks or ("netdev" in g and g["accel"] and lacks_netdev(g["netdev"]))
        if lacks:
            print("ok %d - %s # SKIP %s" % (number, g["title"], lacks))
            continue
        lacking = [n for n in g["needs"] if not os.path.exists(os.path.join(MEDIA, n))]
        if lacking:
            why = next((problems[p] for p in g["media"] if p in problems), "no " + lacking[0])
            print("ok %d - %s # SKIP %s" % (number, g["title"], why))
            continue
        start = time.monotonic()
        run = Run(g, args)
        problem = run.run()
        print("%sok %d - %s" % ("not " if problem else "", number, g["title"]))
        print("# %.0f s" % (time.monotonic() - start), flush=True)
        if problem:
            failed += 1
            print("# %s\n# command: %s\n# see %s" % (problem.replace("\n", "\n# "),
                                                     shlex.join(run.cmd), run.dir))
    if not failed and not run_dir:
        shutil.rmtree(args.run_dir)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
