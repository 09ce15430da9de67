# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that writes numbered sectors (writer.c), and what its image has when the process was killed,
or when the host could not write for a while.

$KILLS is how often test_killed kills, $WRITER_ACCEL the engine where a test
names none (jit).
"""
import importlib.util
import itertools
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [TESTS, os.path.join(TESTS, "hw")]
import engines  # pylint: disable=wrong-import-position
import hmp  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, check, main, skip  # pylint: disable=wrong-import-position

SPEC = importlib.util.spec_from_file_location("cpu_run", os.path.join(TESTS, "cpu", "run.py"))
cpu_run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cpu_run)

SLOW = float(os.environ.get("SLOW", "1"))
IMG = os.path.join(os.path.dirname(VIREO), "vireo-img")
DIR = tempfile.TemporaryDirectory(prefix="vireo-writer-")
ACCEL = os.environ.get("WRITER_ACCEL") or ("jit" if "jit" in engines.listed(VIREO) else "interp")
SECTOR, SECTORS = 512, 65536
FURTHER = 64  # rounds whose flushes may have come back unheard
PLUGS = {"v": ["-device", "virtio-blk-pci,addr=4,drive=d"],
         "i": ["-device", "ide-hd,drive=d,bus=ide.0,unit=0"],
         "a": ["-device", "ahci,id=ahci,addr=4", "-device", "ide-hd,drive=d,bus=ahci.0"]}


def path(name):
    return os.path.join(DIR.name, name)


def image_of_guest():
    image = path("writer.bin")
    if not os.path.exists(image):
        try:
            cpu_run.build_image([os.path.join(TESTS, "cpu", "crt.S"), os.path.join(HERE, "writer.c")],
                                image, os.environ.get("CC", "gcc"), 32,
                                ["-I" + os.path.join(TESTS, "cpu")])
        except (OSError, subprocess.CalledProcessError) as e:
            skip("no compiler for guests: %s" % e)
    return image


# ---- what the guest writes ----

class Rounds:
    """As make_ops() in writer.c: per round a list of (sector, number, op or None for zeroes)."""

    def __init__(self, seed):
        self.seed = seed
        self.x = (seed * 0x9e3779b97f4a7c15 + 1) & (1 << 64) - 1
        for _ in range(4):
            self.rnd()
        self.made = []

    def rnd(self):
        self.x ^= self.x >> 12
        self.x = (self.x ^ self.x << 25) & (1 << 64) - 1
        self.x ^= self.x >> 27
        return (self.x * 0x2545f4914f6cdd1d >> 32) & 0xffffffff

    def below(self, n):
        return self.rnd() * n >> 32

    def __getitem__(self, n):
        while len(self.made) <= n:
            ops = []
            for i in range(1 + self.below(8)):
                zeroes = self.below(8) == 0
                nr = 1 + self.below(256 if zeroes else 16)
                ops.append((self.below(SECTORS - nr), nr, None if zeroes else i))
            self.made.append(ops)
        return self.made[n]


class Model:
    """What each sector of the image may have: bytes that came with what was flushed last, or later."""

    def __init__(self):
        self.known = bytearray(SECTORS * SECTOR)

    def written(self, seed, flushed, last, now):
        """Rounds below flushed are there, those up to last may be. now: the image's content."""
        rounds, allowed = Rounds(seed), {}
        for n in range(last):
            fresh = {}
            for sector, nr, op in rounds[n]:
                for s in range(sector, sector + nr):
                    text = bytes(16) if op is None else struct.pack("<IIII", seed, n, op, s)
                    fresh.setdefault(s, set()).add(text * (SECTOR // 16))
            for s, values in fresh.items():
                if n < flushed:
                    allowed[s] = values
                else:
                    allowed.setdefault(s, {self.sector(s)}).update(values)
        for s, values in allowed.items():
            got = bytes(now[s * SECTOR:(s + 1) * SECTOR])
            if got not in values:
                raise Failure("sector %d: got %s, want one of %s (seed %d, %d rounds flushed)" % (
                    s, got[:32].hex(), [v[:16].hex() for v in values], seed, flushed))
            self.known[s * SECTOR:(s + 1) * SECTOR] = got
        if self.known != now:
            at = next(i for i in range(SECTORS) if self.sector(i) != now[i * SECTOR:(i + 1) * SECTOR])
            raise Failure("sector %d changed and was not written" % at)

    def sector(self, s):
        return bytes(self.known[s * SECTOR:(s + 1) * SECTOR])


# ---- the process ----

class Writer:
    """Vireo with the guest. rounds 0: until it is killed."""

    def __init__(self, plug, drive, seed, rounds=0, accel=None, monitor=False, room=None):
        self.cmd = [VIREO, "-accel", accel or ACCEL, "-m", "32", "-nodefaults", "-display", "none", "-bios",
                    image_of_guest(), "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
                    "-serial", "stdio", "-drive", "if=none,id=d," + drive] + PLUGS[plug]
        if monitor:
            self.cmd += ["-monitor", "unix:%s,server=on,wait=off" % path("mon")]
        self.err = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(self.cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err)
        self.said = b""
        self.more = threading.Condition()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        try:
            self.hmp = hmp.Hmp(path("mon"), lambda: self.proc.poll() is not None) if monitor else None
        except (OSError, hmp.MonitorClosed) as e:
            self.fail(str(e))
        if room:  # not before: the guest's memory is a file, too
            self.limit(room)
        self.proc.stdin.write(plug.encode() + struct.pack("<II", seed, rounds))
        self.proc.stdin.flush()

    def limit(self, size):
        """Of its files, in bytes."""
        resource.prlimit(self.proc.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def paused(self):
        try:
            return "io-error" in self.hmp("info status")
        except hmp.MonitorClosed:
            return False

    def listen(self):
        while True:
            data = os.read(self.proc.stdout.fileno(), 4096)
            with self.more:
                self.said += data
                self.more.notify_all()
            if not data:
                return

    def fail(self, what):
        self.err.seek(0)
        raise Failure("%s: the guest said %r and the process (%s) %s" % (
            what, self.said[-100:], self.proc.poll(), self.err.read().decode(errors="replace")))

    def wait(self, what, until):
        end = time.monotonic() + 60 * SLOW
        while not until():
            if self.proc.poll() is not None:
                self.thread.join()  # what it said last is on its way
                if until():
                    return
                self.fail(what)
            if time.monotonic() > end:
                self.fail(what)
            with self.more:
                self.more.wait(.02)

    def flushed(self):
        return self.said.count(b".")

    def finish(self, rounds):
        """To the end of all rounds; returns what the guest said."""
        self.wait("wants its end", lambda: b"D" in self.said)
        self.proc.wait(60 * SLOW)
        self.close()
        check("flushes", rounds, self.flushed())
        return self.said

    def kill(self):
        self.proc.send_signal(signal.SIGKILL)
        self.close()

    def close(self):
        if self.hmp:
            self.hmp.close()
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.thread.join()
        for f in (self.proc.stdin, self.proc.stdout, self.err):
            try:
                f.close()
            except BrokenPipeError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# ---- images ----

def run(*words, status=(0,)):
    p = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       check=False)
    if p.returncode not in status:
        raise Failure("%s: exit status %d: %s" % (" ".join(words), p.returncode, p.stdout.decode()))
    return p.returncode


def create(fmt, *options):
    run(IMG, "create", "-q", "-f", fmt, *options, path("disk"), str(SECTORS * SECTOR))


def content(fmt):
    run(IMG, "convert", "-f", fmt, "-O", "raw", path("disk"), path("flat"))
    with open(path("flat"), "rb") as f:
        return f.read()


def sound(leaks):
    """No corruption; leaks, where something was cut off. Both checkers say so."""
    run(IMG, "check", "-q", path("disk"), status=(0, 3) if leaks else (0,))
    if shutil.which("qemu-img"):
        run("qemu-img", "check", "-q", path("disk"), status=(0, 3) if leaks else (0,))


def write_all(plug, fmt, accel, rounds=40, options=()):
    create(fmt, *options)
    with Writer(plug, "format=%s,file=%s" % (fmt, path("disk")), 7, rounds, accel) as w:
        check("errors of %s" % plug, 0, w.finish(rounds).count(b"E"))
    if fmt == "qcow2":
        sound(leaks=False)
    Model().written(7, rounds, rounds, content(fmt))


# ---- tests ----

def test_all_there():
    """Every controller, both formats."""
    for plug in PLUGS:
        for fmt in ("raw", "qcow2"):
            write_all(plug, fmt, ACCEL)


def test_interp():
    for plug in PLUGS:
        write_all(plug, "qcow2", "interp", 8)


def test_kvm():
    """Also where /dev/kvm emulates all code, so with few rounds."""
    why = engines.lacks(VIREO, "kvm")
    if why:
        skip(why)
    for plug in PLUGS:
        write_all(plug, "qcow2", "kvm", 2)


def failing(errno, event="write_aio", times=6):
    """Rules for an image below which now and then a request fails."""
    words = []
    for n in range(times):
        state = 1 + 4 * n
        words += ["inject-error.%d.event=%s" % (n, event), "inject-error.%d.errno=%d" % (n, errno),
                  "inject-error.%d.once=on" % n, "inject-error.%d.state=%d" % (n, state)]
    for n in range(4 * times):
        words += ["set-state.%d.event=flush_to_disk" % n, "set-state.%d.state=%d" % (n, n + 1),
                  "set-state.%d.new_state=%d" % (n, n + 2)]
    return "".join(",file." + w for w in words)


def pauses(w, mend=lambda: None):
    """Lets it go on whenever an error has paused it, until its end; returns how often."""
    n = 0
    while True:
        w.wait("wants an error or the end", lambda: b"D" in w.said or w.paused())
        if b"D" in w.said:
            return n
        n += 1
        mend()
        w.hmp("cont")


def test_errors_of_the_host():
    """A request that fails on the host pauses the guest; 'cont' makes it again, and nothing is lost."""
    kinds = [(28, ""), (5, ",werror=stop")]
    for n, (plug, fmt) in enumerate(itertools.product(PLUGS, ("raw", "qcow2"))):
        errno, policy = kinds[(n ^ n >> 1) & 1]
        create(fmt)
        drive = "format=%s,file=blkdebug::%s%s%s" % (fmt, path("disk"), policy, failing(errno))
        with Writer(plug, drive, 5, 40, monitor=True) as w:
            times = pauses(w)
            check("it paused (%s, %s, errno %d)" % (plug, fmt, errno), True, times > 2)
            check("errors of %s" % plug, 0, w.finish(40).count(b"E"))
        if fmt == "qcow2":
            sound(leaks=True)
        Model().written(5, 40, 40, content(fmt))


def test_no_room():
    """A limit of the file's size, raised each time the guest has run into it."""
    for plug in PLUGS:
        create("qcow2", "-o", "cluster_size=4096")
        room = [256 << 10]
        with Writer(plug, "format=qcow2,file=" + path("disk"), 9, 60, monitor=True, room=room[0]) as w:
            def more(w=w, room=room):
                room[0] += 256 << 10
                w.limit(room[0])
            n = pauses(w, more)
            check("it paused", True, n > 1)
            check("errors of %s" % plug, 0, w.finish(60).count(b"E"))
        sound(leaks=True)
        Model().written(9, 60, 60, content("qcow2"))


def test_killed_in_a_pause():
    for plug in PLUGS:
        create("qcow2")
        drive = "format=qcow2,file=blkdebug::%s%s" % (path("disk"), failing(28, times=2))
        with Writer(plug, drive, 5, monitor=True) as w:
            w.wait("wants an error", w.paused)
            w.kill()
            heard = w.flushed()
        sound(leaks=True)
        Model().written(5, heard, heard + FURTHER, content("qcow2"))


KINDS = [["-o", "cluster_size=4096"], [], ["-o", "cluster_size=512"], ["-o", "lazy_refcounts=on"],
         ["-o", "preallocation=metadata"]]
LIVES = 6  # of an image until there is a new one


def test_killed():
    """kill -9 while it writes: what was flushed is there, the image leaks clusters at most."""
    rng = random.Random(int(os.environ.get("SEED", "1")))
    model = heard = None
    for n in range(int(os.environ.get("KILLS", "6"))):
        options = KINDS[n // LIVES % len(KINDS)]
        if n % LIVES == 0:
            create("qcow2", *options)
            model = Model()
        plug, seed = "vva"[n % 3], rng.randrange(1 << 32)
        with Writer(plug, "format=qcow2,file=" + path("disk"), seed) as w:
            w.wait("wants a flush", lambda w=w: w.flushed() > 0)
            time.sleep(rng.random() * .15)
            w.kill()
            heard = w.flushed()
            check("errors before kill %d" % n, 0, w.said.count(b"E"))
        if "lazy_refcounts=on" in options:  # counts are made anew when it is opened to be written
            run(IMG, "check", "-q", "-r", "all", path("disk"))
        sound(leaks=True)
        model.written(seed, heard, heard + FURTHER, content("qcow2"))


main()
