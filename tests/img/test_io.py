#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vireo-io: commands, what they print (QEMU's tool says the same, but for times), exit statuses."""

import os
import random
import re
import shutil
import signal
import subprocess
import time

from img import (DIR, IMG, IO, Failure, check, contents, fails, formats, img, img_json, io, main, need_qcow2,
                 need_qemu, path, pattern_file, qemu_img, run)

# What both tools are asked, one image after all of it.
SCRIPT = [
    "read 0 512", "write 0 64k", "read -P 0xcd 0 64k", "write -P 7 4k 8k", "read -P 7 -s 4k -l 8k 0 64k",
    "read -P 8 4k 4k", "read -v 4090 40", "write -z 128k 64k", "write -z -u 64k 4k", "writev -P 1 512 512 1k",
    "readv -P 1 512 1k 512", "read -q 0 512", "write -q 0 512", "discard 0 64k", "discard -q 64k 64k",
    "aio_write -P 9 1M 4k", "aio_flush", "aio_read -P 9 1M 4k", "aio_flush", "aio_read -P 8 1M 4k", "aio_flush",
    "length", "alloc 0 64k", "flush", "read 100M 512", "write 16777215 2", "truncate 20M", "length",
    "read 18M 4k", "read 3 5", "write -P 3 3 5", "read -v 0 16", "write -f -P 4 8k 1k", "bogus", "read",
    "read x 1", "read 0 4G", "read -P 300 0 1", "write -z -P 1 0 1", "read -s 1 0 1", "read -P 1 -s 8 0 4",
    "write -u 0 1", "alloc", "truncate", "sleep 1", "length 5", "write -P 5 15M 3M", "read -P 5 15M 3M",
]


def masked(text):
    """Times and rates differ, and so does whose name the prompt has."""
    text = re.sub(r"[0-9:.]+ sec \([0-9.]+ \w+/sec and [0-9.]+ ops/sec\)", "TIME", text)
    return re.sub(r"^(qemu|vireo)-io> ", "> ", text, flags=re.M)


def commands(lines):
    return [w for line in lines for w in ("-c", line)]


def test_like_qemu_io():
    need_qemu("qemu-io")
    for fmt in formats():
        images = []
        for tool, name in ((IO, "ours.img"), ("qemu-io", "theirs.img")):
            img("create", "-f", fmt, name, "16M")
            out = []
            for line in SCRIPT:
                p = run(tool, "-f", fmt, "-c", line, name)
                text = masked(p.stdout.decode())
                if " -- " in text or " -- " in p.stderr.decode():
                    text = "USAGE" if "Parsing" not in text else "Parsing"
                out.append((line, p.returncode, text))
            images.append(out)
            flat = name + ".flat"
            img("convert", "-f", fmt, "-O", "raw", name, flat)
        for ours, theirs in zip(*images):
            check("%s on %s" % (theirs[0], fmt), theirs, ours)
        check("contents", True, contents("ours.img.flat") == contents("theirs.img.flat"))


def test_map_and_alloc():
    need_qcow2()
    need_qemu("qemu-io")
    img("create", "-f", "qcow2", "m.qcow2", "1M")
    io("-f", "qcow2", *commands(["write 64k 64k", "write -z 256k 64k", "write 300k 10k"]), "m.qcow2")
    lines = ["map", "alloc 0 1M", "alloc 65536", "alloc 32k 64k"]
    want = run("qemu-io", "-f", "qcow2", *commands(lines), "m.qcow2").stdout.decode()
    check("map, alloc", want, io("-f", "qcow2", *commands(lines), "m.qcow2"))


def test_machine_readable():
    img("create", "c.raw", "1M")
    for line in ("read -C 0 64k", "write -C 0 64k", "discard -C 0 64k", "aio_read -C 0 64k"):
        out = io("-f", "raw", "-c", line, "c.raw")
        if not re.fullmatch(r"65536,1,\d+:\d\d:\d\d\.\d\d,\d+\.\d+,\d+\.\d+\n", out):
            raise Failure("%s: %s" % (line, out))


def test_from_stdin():
    img("create", "s.raw", "1M")
    p = run(IO, "-f", "raw", "s.raw", stdin=b"length\n\n  length  \nquit\nlength\n")
    check("prompt and answers", b"vireo-io> 1 MiB\nvireo-io> vireo-io> 1 MiB\nvireo-io> ", p.stdout)
    check("status", 0, p.returncode)
    p = run(IO, "-f", "raw", "s.raw", stdin=b"bogus\nlength\n")
    check("status of a wrong command", 1, p.returncode)
    check("goes on", True, b"1 MiB" in p.stdout)


def test_open_and_close():
    img("create", "o.raw", "1M")
    img("create", "o2.raw", "2M")
    out = io(*commands(["open -o driver=raw o.raw", "length", "close", "open -r -o driver=raw o2.raw", "length"]))
    check("lengths", "1 MiB\n2 MiB\n", out)
    p = run(IO, *commands(["open -r -o driver=raw o.raw", "write 0 512"]))
    check("read-only", (1, b"write failed: Read-only file system\n"), (p.returncode, p.stdout))
    p = run(IO, *commands(["length", "open gone.raw", "open -o driver=raw o.raw", "length"]))
    check("after failures", (1, b"1 MiB\n"), (p.returncode, p.stdout))
    p = run(IO, "-f", "raw", *commands(["open o2.raw", "length"]), "o.raw")
    check("open twice", (1, b"1 MiB\n"), (p.returncode, p.stdout))
    p = run(IO, "-f", "raw", *commands(["reopen -r", "write 0 512", "reopen -w", "write -q 0 512"]), "o.raw")
    check("reopen", (1, b"write failed: Read-only file system\n"), (p.returncode, p.stdout))


def test_options():
    img("create", "p.raw", "1M")
    io("-f", "raw", "-c", "write -q -P 1 0 1M", "p.raw")
    before = contents("p.raw")
    out = io("-s", "-f", "raw", *commands(["write -q -P 2 0 64k", "read -q -P 2 0 64k"]), "p.raw")
    check("-s", "", out)
    check("-s throws away", True, contents("p.raw") == before)
    for extra in (["-n"], ["-t", "none"], ["-t", "writethrough"], ["-t", "directsync"], ["-t", "unsafe"], ["-m"],
                  ["-n", "-m"], ["-U", "-r"], ["-i", "threads"], ["-d", "ignore"]):
        io(*extra, "-f", "raw", "-c", "read -P 1 4099 70000", "p.raw")
    p = run(IO, "-r", "-f", "raw", "-c", "write 0 512", "p.raw")
    check("-r", 1, p.returncode)
    io("-d", "ignore", "-f", "raw", "-c", "discard -q 0 64k", "p.raw")
    check("-d ignore", True, contents("p.raw") == before)
    io("--image-opts", "-c", "read -P 1 0 1k", "driver=raw,file.filename=p.raw")
    for words, want in ((["-f", "rwa", "p.raw"], "did you mean 'raw'"), (["-t", "x", "p.raw"], "cache mode"),
                        (["-i", "io_uring"], "threads only"), (["-C", "-r", "-f", "raw", "p.raw"], "not with -r"), (["a", "b"], "one image"),
                        (["--object", "x"], "not built"), (["gone.raw"], "does not exist"), (["--nonsense"], "no such")):
        fails(*words, wants=[want], tool=IO)


def test_copy_on_read():
    """-C, open -C: what was read from behind is in the image; others read what they did."""
    need_qcow2()
    img("create", "-q", "behind.raw", "1M")
    io("-f", "raw", "-c", "write -q -P 1 0 1M", "behind.raw")
    lines = ["read -q -P 1 64k 64k", "map", "write -q -P 2 0 4k", "read -q -P 2 0 4k", "read -q -P 1 4k 60k", "info"]
    for tool in [IO] + (["qemu-io"] if shutil.which("qemu-io") else []):
        img("create", "-q", "-f", "qcow2", "-b", "behind.raw", "-F", "raw", "over.qcow2")
        p = run(tool, "-C", "-f", "qcow2", *commands(lines), "over.qcow2")
        check(tool, (0, True), (p.returncode, b"64 KiB (0x10000) bytes     allocated at offset 64 KiB" in p.stdout))
        check("format", True, b"format name: qcow2" in p.stdout)
        img("check", "over.qcow2")
    io("-f", "qcow2", *commands(["close", "open -C -o driver=qcow2 over.qcow2", "read -q -P 1 512k 64k",
                                 "write -q -c 768k 64k",
                                 "write -q -b 0 1k", "reopen -c none", "read -q -P 1 640k 64k"]), "over.qcow2")
    offsets = [e["start"] for e in img_json("map", "over.qcow2") if e["depth"] == 0]
    check("copied", [0, 512 << 10, 640 << 10, 768 << 10], [at for at in offsets if at != 64 << 10])


def test_source_file():
    img("create", "f.raw", "1M")
    with open(path("abc"), "wb") as f:
        f.write(b"abc")
    io("-f", "raw", "-c", "write -q -s abc 1000 100", "f.raw")
    check("contents", (b"abc" * 40)[:100], contents("f.raw")[1000:1100])
    p = run(IO, "-f", "raw", "-c", "write -s gone 0 1", "f.raw")
    check("no such file", 1, p.returncode)


def said(text):
    """Of both tools, without times and what only QEMU's says about breakpoints."""
    return [line for line in masked(text).splitlines() if not line.startswith("blkdebug: ")]


def test_breakpoints():
    """A request in the background stops at an event, others go on beside it, and it goes on when it may."""
    need_qcow2()
    lines = ["break write_aio A", "aio_write -P 5 0 64k", "wait_break A", "length", "resume A", "aio_flush",
             "read -P 5 0 64k", "break read_aio B", "aio_read -P 5 0 4k", "wait_break B", "aio_write -P 6 256k 64k",
             "resume B", "aio_flush", "read -P 6 256k 64k", "break flush_to_disk C", "remove_break C"]
    img("create", "-q", "-f", "qcow2", "b.qcow2", "1M")
    ours = said(io("-f", "qcow2", *commands(lines), "blkdebug::b.qcow2"))
    check("lines", ["1 MiB", "wrote 65536/65536 bytes at offset 0", "64 KiB, 1 ops; TIME"], ours[:3])
    img("check", "b.qcow2")
    if shutil.which("qemu-io"):
        img("create", "-q", "-f", "qcow2", "q.qcow2", "1M")
        p = run("qemu-io", "-f", "qcow2", *commands(lines), "blkdebug::q.qcow2")
        check("like qemu-io", (0, sorted(said(p.stdout.decode()))), (p.returncode, sorted(ours)))
    lines = ["break read_aio B", "aio_read -P 5 0 4k", "wait_break B", "remove_break B", "aio_flush"]
    check("remove_break lets go", 2, len(said(io("-f", "qcow2", *commands(lines), "blkdebug::b.qcow2"))))


def test_breakpoints_wrong():
    img("create", "-q", "b.raw", "1M")
    for line in ("break write_aio A", "wait_break A", "resume A", "remove_break A"):
        p = run(IO, "-f", "raw", "-c", line, "b.raw")
        check(line, (1, True), (p.returncode, b"blkdebug" in p.stderr or b"no request" in p.stdout))
    for line, want in (("resume A", "no request is stopped at 'A'"), ("break write_ai A", "did you mean 'write_aio'"),
                       ("remove_break A", "no breakpoint 'A'")):
        fails("-f", "raw", "-c", line, "blkdebug::b.raw", wants=[want], tool=IO)
    # nobody is left to resume these: a request of the foreground does not stop, the rest is refused or let go
    out = io("-f", "raw", *commands(["break write_aio A", "write -q 0 4k", "aio_write -q 0 4k", "wait_break A",
                                     "resume A", "aio_flush"]), "blkdebug::b.raw")
    check("foreground", "", out)
    p = run(IO, "-f", "raw", *commands(["break write_aio A", "aio_write -q -P 9 0 4k", "aio_flush", "truncate 2M",
                                        "wait_break B", "quit"]), "blkdebug::b.raw")
    check("status", 1, p.returncode)
    for name in ("aio_flush", "truncate"):
        check(name, True, (name + ": a request is stopped at a breakpoint").encode() in p.stdout)
    check("let go at the end", b"\x09" * 4096, contents("b.raw")[:4096])


def test_rules_in_a_file():
    """blkdebug:CONFIG:FILE as QEMU reads it; the second write fails."""
    img("create", "-q", "r.raw", "1M")
    with open(path("rules"), "w", encoding="ascii") as f:
        f.write('# the second write\n[set-state]\n  event = "write_aio"\nstate = "1"\nnew_state = "2"\n\n'
                '[inject-error]\nevent = "write_aio"\nstate = "2"\nerrno = "28"\nonce = "on"\n')
    lines = ["write -q 0 4k", "write -q 0 4k", "write -q 0 4k"]
    for tool in [IO] + (["qemu-io"] if shutil.which("qemu-io") else []):
        p = run(tool, "-f", "raw", *commands(lines), "blkdebug:rules:r.raw")
        check(tool, (1, b"write failed: No space left on device\n"), (p.returncode, p.stdout))
    for text, want in (("[what]\n", "line 1: [what]: a section is"), ('a = "b"\n', "line 1: 'a' stands before"),
                       ("[set-state]\nevent\n", "line 2: 'event': it is KEY"), ("[set-state\n", "is no section"),
                       ('[set-state]\nevent = "write_aio\n', "the value of 'event'"),
                       ("[set-state]\nevent = write_aio\nevent = write_aio\n", "'event' is given twice"),
                       ('[inject-error]\nerrno = "5"\n', "event= is missing"),
                       ('[inject-error]\nevent = "write_aio"\none = "on"\n', "no option 'one'")):
        with open(path("rules"), "w", encoding="ascii") as f:
            f.write(text)
        fails("-f", "raw", "blkdebug:rules:r.raw", wants=["rules", want], tool=IO)
    fails("-f", "raw", "blkdebug:gone:r.raw", wants=["the rules in 'gone'"], tool=IO)


def test_injected_errors():
    """An error below the image is what the command says; with once=on the next try goes through."""
    for fmt in formats():
        img("create", "-f", fmt, "e.img", "1M")
        opts = ("driver=%s,file.driver=blkdebug,file.image.driver=file,file.image.filename=e.img,"
                "file.inject-error.0.event=write_aio,file.inject-error.0.errno=28,"
                "file.inject-error.0.once=on" % fmt)
        p = run(IO, "--image-opts", *commands(["write 0 64k", "write -q -P 3 0 64k", "read -q -P 3 0 64k"]), opts)
        check("what was said", (1, b"write failed: No space left on device\n"), (p.returncode, p.stdout))
        io("-f", fmt, "-c", "read -q -P 3 0 64k", "e.img")
        if fmt == "qcow2":
            check("sound", True, run(IMG, "check", "e.img").returncode in (0, 3))


def test_full_target():
    """convert: what fails below the target is reported with its place, and the source stays."""
    pattern_file("fs.raw", 1 << 20, seed=5, density=1)
    before = contents("fs.raw")
    img("create", "ft.raw", "1M")
    opts = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=ft.raw,"
            "file.inject-error.0.event=write_aio,file.inject-error.0.errno=28")
    fails("convert", "-n", "--target-image-opts", "-f", "raw", "fs.raw", opts, wants=["writing", "at byte 0",
                                                                                    "No space left"])
    check("source", True, contents("fs.raw") == before)
    opts = opts.replace("ft.raw", "fs.raw").replace("write_aio", "read_aio").replace("errno=28", "errno=5")
    fails("convert", "--image-opts", "-O", "raw", opts, "fx.raw", wants=["reading", "Input/output error"])
    p = run(IMG, "convert", "--salvage", "--image-opts", "-O", "raw", opts, "fx.raw")
    check("salvage", (0, True), (p.returncode, b"could not be read and are zeroes now" in p.stderr))
    check("zeroes", True, contents("fx.raw") == bytes(1 << 20))


def test_vm_state_and_compressed():
    need_qcow2()
    img("create", "-f", "qcow2", "v.qcow2", "1M")
    io("-f", "qcow2", *commands(["write -q -b -P 5 0 100k", "read -q -b -P 5 0 100k"]), "v.qcow2")
    io("-f", "qcow2", *commands(["write -q -c -P 6 64k 128k", "read -q -P 6 64k 128k"]), "v.qcow2")
    img("check", "v.qcow2")
    check("compressed", True, any(e["compressed"] for e in img_json("map", "v.qcow2")))
    p = run(IO, "-f", "qcow2", "-c", "write -c 1k 64k", "v.qcow2")
    check("not a cluster", (1, b"write failed: Invalid argument\n"), (p.returncode, p.stdout))


def test_many_in_flight():
    for fmt in formats():
        img("create", "-f", fmt, "a.img", "8M")
        lines = ["aio_write -q -P %d %dk 64k" % (i % 255 + 1, i * 64) for i in range(128)] + ["aio_flush"]
        lines += ["read -q -P %d %dk 64k" % (i % 255 + 1, i * 64) for i in range(128)]
        check("patterns", "", io("-f", fmt, *commands(lines), "a.img"))
        if fmt == "qcow2":
            img("check", "a.img")


def test_abort_and_signals():
    img("create", "k.raw", "1M")
    p = run(IO, "-f", "raw", "-c", "write -q -P 1 0 4k", "-c", "abort", "k.raw")
    check("abort", -signal.SIGABRT, p.returncode)
    p = run(IO, "-f", "raw", "-c", "sigraise 9", "k.raw")
    check("sigraise", -9, p.returncode)
    io("-f", "raw", "-c", "read -P 1 0 4k", "k.raw")


def test_killed_while_writing():
    """kill -9 in a stream of writes and flushes: what was flushed is there, and the image is sound."""
    rng = random.Random(3)
    kills = int(os.environ.get("KILLS", "6"))
    for i in range(kills):
        fmt = formats()[i % len(formats())]
        img("create", "-q", "-f", fmt, "w.img", "32M")
        p = subprocess.Popen([IO, "-f", fmt, "w.img"], cwd=DIR.name, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        for at in range(0, 200):
            p.stdin.write(b"write -q -P %d %d 20k\nflush\nlength\n" % (at % 255 + 1, at * 20480))
        p.stdin.flush()
        os.set_blocking(p.stdout.fileno(), False)
        time.sleep(rng.random() * 0.05)
        p.kill()
        p.wait()
        said = p.stdout.read() or b""
        flushed = said.count(b"32 MiB\n")
        p.stdin.close()
        p.stdout.close()
        if fmt == "qcow2":
            q = run(IMG, "check", "w.img")
            check("check after kill %d: %s" % (i, q.stdout), True, q.returncode in (0, 3))
        lines = ["read -q -P %d %d 20k" % (at % 255 + 1, at * 20480) for at in range(flushed)]
        if lines:
            check("flushed before kill %d" % i, "", io("-f", fmt, *commands(lines), "w.img"))


def test_help():
    text = io("-c", "help")
    for name in re.findall(r"^(\w+)", text, re.M):
        if name != "Sizes":
            check("help " + name, True, io("-c", "help " + name).startswith(name))
    check("--help", True, run(IO, "--help").stdout.startswith(b"vireo-io "))
    check("--version", True, run(IO, "--version").stdout.startswith(b"vireo-io version "))


main()
