#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vireo-img: create, info, check, map, measure, resize, snapshot, help and messages."""

import json
import os
import struct
import subprocess
import sys

from img import (DIR, IMG, Failure, check, fails, formats, has_format, img, img_json, main, need_qcow2,
                 need_qemu, path, qemu_img, run)


def test_create_and_info():
    for fmt in formats():
        out = img("create", "-f", fmt, "c." + fmt, "3M")
        if not out.startswith("Formatting 'c.%s', fmt=%s" % (fmt, fmt)) or "size=3145728" not in out:
            raise Failure("create said: " + out)
        text = img("info", "c." + fmt)
        for want in ("image: c." + fmt, "file format: " + fmt,
                     "virtual size: 3 MiB (3145728 bytes)", "disk size: "):
            if want not in text.splitlines() and not want.startswith("disk"):
                raise Failure("want '%s' in: %s" % (want, text))
        got = img_json("info", "c." + fmt)
        check("format", fmt, got["format"])
        check("virtual-size", 3 << 20, got["virtual-size"])
        check("filename", "c." + fmt, got["filename"])
        check("actual-size", os.stat(path("c." + fmt)).st_blocks * 512, got["actual-size"])
        check("dirty-flag", False, got["dirty-flag"])
    check("quiet", "", img("create", "-q", "q.raw", "1M"))
    check("-o size", 2 << 20, img("create", "-o", "size=2M", "q.raw") and os.path.getsize(path("q.raw")))


def test_sizes():
    for text, size in (("512", 512), ("1k", 1024), ("1.5M", 3 << 19), ("0x1000", 4096), ("1GiB", 1 << 30),
                       ("2T", 2 << 40), ("0", 0)):
        img("create", "s.raw", text)
        check("size of " + text, size, os.path.getsize(path("s.raw")))
    for text in ("x", "10x", "1ee", "", "8E", "16E"):
        fails("create", "s.raw", text, wants=["the size '%s' is no size" % text])


def test_preallocation():
    img("create", "-o", "preallocation=full", "p.raw", "1M")
    check("full", True, os.stat(path("p.raw")).st_blocks * 512 >= 1 << 20)
    img("create", "-o", "preallocation=falloc", "p.raw", "1M")
    check("falloc", True, os.stat(path("p.raw")).st_blocks * 512 >= 1 << 20)
    img("create", "p.raw", "1M")
    check("off", 0, os.stat(path("p.raw")).st_blocks)


def test_resize():
    for fmt in formats():
        img("create", "-f", fmt, "r", "1M")
        check("said", "Image resized.\n", img("resize", "-f", fmt, "r", "+1M"))
        check("+1M", 2 << 20, img_json("info", "-f", fmt, "r")["virtual-size"])
        fails("resize", "-f", fmt, "r", "1M", wants=["--shrink"])
        img("resize", "-f", fmt, "--shrink", "r", "-512k")
        check("-512k", 3 << 19, img_json("info", "-f", fmt, "r")["virtual-size"])
        fails("resize", "-f", fmt, "--shrink", "r", "-2M", wants=["there is no taking away"])
        img("resize", "-f", fmt, "--preallocation=falloc", "r", "3M")
        check("3M", 3 << 20, img_json("info", "-f", fmt, "r")["virtual-size"])
        fails("resize", "-f", fmt, "--preallocation=some", "r", "4M", wants=["falloc"])


def test_map():
    with open(path("m.raw"), "wb") as f:
        f.truncate(1 << 20)
        f.seek(256 << 10)
        f.write(b"x" * (64 << 10))
    want = [(0, 256 << 10, True, False), (256 << 10, 64 << 10, False, True),
            (320 << 10, 704 << 10, True, False)]
    got = img_json("map", "-f", "raw", "m.raw")
    check("map", want, [(e["start"], e["length"], e["zero"], e["data"]) for e in got])
    check("present, depth", {(True, 0)}, {(e["present"], e["depth"]) for e in got})
    check("offset", 256 << 10, got[1]["offset"])
    lines = img("map", "-f", "raw", "m.raw").splitlines()
    check("header", ["Offset", "Length", "Mapped", "to", "File"], lines[0].split())
    check("line", ["0x40000", "0x10000", "0x40000", "m.raw"], lines[1].split())
    check("lines", 2, len(lines))
    part = img_json("map", "-f", "raw", "-s", "300k", "-l", "10k", "m.raw")
    check("part", [(300 << 10, 10 << 10)], [(e["start"], e["length"]) for e in part])


def test_measure():
    for words in (["--size", "1G"], ["-O", "raw", "--size", "1073741824"]):
        check("raw", "required size: 1073741824\nfully allocated size: 1073741824\n",
              img("measure", *words))
    check("json", {"required": 1 << 20, "fully-allocated": 1 << 20}, img_json("measure", "--size", "1M"))
    fails("measure", "--size", "1G", "x", wants=["not both"])
    fails("measure", wants=["--size"])


def test_measure_qcow2_like_qemu():
    need_qcow2()
    need_qemu()
    img("create", "mq.raw", "64M")
    with open(path("mq.raw"), "r+b") as f:
        for at in (0, 1 << 20, 33 << 20):
            f.seek(at)
            f.write(b"x" * 70000)
    for words in (["--size", "1G"], ["--size", "0"], ["-f", "raw", "mq.raw"],
                  ["-o", "cluster_size=4k", "-f", "raw", "mq.raw"],
                  ["-o", "cluster_size=2M,preallocation=metadata", "--size", "10G"]):
        want = json.loads(qemu_img("measure", "--output=json", "-O", "qcow2", *words))
        got = img_json("measure", "-O", "qcow2", *words)
        check("fully allocated " + str(words), want["fully-allocated"], got["fully-allocated"])
        check("required " + str(words), want["required"], got["required"])


def test_check_statuses():
    img("create", "k.raw", "1M")
    fails("check", "-f", "raw", "k.raw", status=63, wants=["nothing that could be checked"])
    fails("check", "nothing", wants=["does not exist"])
    fails("check", "-r", "some", "k.raw", wants=["leaks or all"])
    if has_format("qcow2"):
        img("create", "-f", "qcow2", "k.qcow2", "1M")
        out = img("check", "k.qcow2")
        check("good", "No errors were found on the image.", out.splitlines()[0])
        got = img_json("check", "k.qcow2")
        check("check-errors", 0, got["check-errors"])
        check("total-clusters", 16, got["total-clusters"])


def test_same_info_as_qemu():
    need_qemu()
    for fmt in formats():
        for maker in (lambda *w: img("create", *w), lambda *w: qemu_img("create", *w)):
            maker("-f", fmt, "same", "10M")
            want = json.loads(qemu_img("info", "--output=json", "-f", fmt, "same"))
            got = img_json("info", "-f", fmt, "same")
            check("info", want, got)
            check("map", json.loads(qemu_img("map", "--output=json", "-f", fmt, "same")),
                  [{k: v for k, v in e.items() if k != "compressed"}
                   for e in img_json("map", "-f", fmt, "same")])
            os.unlink(path("same"))


def test_backing_chain():
    need_qcow2()
    img("create", "base.raw", "2M")
    img("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "mid.qcow2")
    out = img("create", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2", "3M")
    if "backing_file=mid.qcow2 backing_fmt=qcow2" not in out:
        raise Failure("create said: " + out)
    chain = img_json("info", "--backing-chain", "top.qcow2")
    check("chain", [("top.qcow2", 3 << 20), ("mid.qcow2", 2 << 20), ("base.raw", 2 << 20)],
          [(i["filename"], i["virtual-size"]) for i in chain])
    check("backing", ("mid.qcow2", "qcow2"),
          (chain[0]["backing-filename"], chain[0]["backing-filename-format"]))
    text = img("info", "top.qcow2")
    if "backing file: mid.qcow2\nbacking file format: qcow2\n" not in text:
        raise Failure("info said: " + text)
    os.makedirs(path("sub"), exist_ok=True)
    img("create", "-f", "qcow2", "-b", "../base.raw", "-F", "raw", "sub/o.qcow2")
    if "backing file: ../base.raw (actual path: sub/../base.raw)" not in img("info", "sub/o.qcow2"):
        raise Failure("info said: " + img("info", "sub/o.qcow2"))
    fails("create", "-f", "qcow2", "-b", "base.raw", "x.qcow2", wants=["-F raw"])
    fails("create", "-f", "qcow2", "-b", "gone", "-F", "raw", "x.qcow2", wants=["gone", "does not exist"])
    img("create", "-u", "-f", "qcow2", "-b", "gone", "-F", "raw", "x.qcow2", "1M")


def test_snapshots():
    img("create", "n.raw", "1M")
    fails("snapshot", "-c", "x", "n.raw", wants=["no snapshots"])
    fails("snapshot", "-c", "x", "-l", "n.raw", wants=["at a time"])
    need_qcow2()
    img("create", "-f", "qcow2", "n.qcow2", "1M")
    check("none", "", img("snapshot", "-l", "n.qcow2"))
    img("snapshot", "-c", "one", "n.qcow2")
    img("snapshot", "-c", "two", "n.qcow2")
    lines = img("snapshot", "-l", "n.qcow2").splitlines()
    check("title", "Snapshot list:", lines[0])
    check("header", ["ID", "TAG", "VM", "SIZE", "DATE", "VM", "CLOCK", "ICOUNT"], lines[1].split())
    check("names", [["1", "one"], ["2", "two"]], [line.split()[:2] for line in lines[2:]])
    check("json", ["one", "two"], [s["name"] for s in img_json("info", "n.qcow2")["snapshots"]])
    img("snapshot", "-a", "one", "n.qcow2")
    img("snapshot", "-d", "one", "n.qcow2")
    fails("snapshot", "-d", "one", "n.qcow2", wants=["one"])
    check("left", ["two"], [s["name"] for s in img_json("info", "n.qcow2")["snapshots"]])
    img("check", "n.qcow2")


def test_snapshot_table_like_qemu():
    need_qcow2()
    need_qemu()
    img("create", "-f", "qcow2", "t.qcow2", "1M")
    img("snapshot", "-c", "a snapshot", "t.qcow2")
    check("table", qemu_img("snapshot", "-l", "t.qcow2"), img("snapshot", "-l", "t.qcow2"))


def test_hostile_snapshots():
    """A small file that speaks of a great many huge snapshots is no reason to think for hours."""
    need_qcow2()
    img("create", "-f", "qcow2", "-o", "cluster_size=512", "h.qcow2", "1M")
    at = (os.path.getsize(path("h.qcow2")) + 511) // 512 * 512
    for entries in (0xffffffff, 400000):
        with open(path("h.qcow2"), "r+b") as f:
            f.seek(at)
            for n in range(65536):
                f.write(struct.pack(">QIHHIIQII", 512 * (n % 999), entries, 4, 0, 0, 0, 0, 0, 16) + bytes(16) +
                        b"%04x" % n + bytes(4))
            f.seek(60)
            f.write(struct.pack(">IQ", 65536, at))
        check("snapshots", 65536, len(img_json("info", "h.qcow2")["snapshots"]))
    fails("check", "h.qcow2", wants=["snapshots overlap"])


def test_help():
    out = img("--help")
    for word in out.split("COMMAND --help")[1].splitlines():
        if word.startswith("  "):
            name = word.split()[0]
            text = img(name, "--help")
            if not text.startswith("Usage: vireo-img %s " % name):
                raise Failure("help of %s: %s" % (name, text))
            fails(name, "--nonsense", status=2 if name == "compare" else 1, wants=["--nonsense"])
    if not img("--version").startswith("vireo-img version "):
        raise Failure(img("--version"))
    text = img("create", "-o", "help")
    if "Supported raw options:" not in text or "size=<size>" not in text:
        raise Failure(text)


def test_messages():
    img("create", "w.raw", "1M")
    fails(wants=["a command is missing"])
    fails("creat", wants=["did you mean 'create'"])
    fails("bitmap", "--add", "x", wants=["not built yet"])
    fails("info", wants=["expected: one image"])
    fails("info", "w.raw", "x", wants=["'x' is too much"])
    fails("info", "--ouput=json", "w.raw", wants=["did you mean '--output'"])
    fails("info", "--output=xml", "w.raw", wants=["human or json"])
    fails("info", "-f", "rwa", "w.raw", wants=["did you mean 'raw'"])
    fails("info", "-f", wants=["needs a value"])
    fails("info", "--object", "secret,id=x", "w.raw", wants=["not built"])
    fails("info", "none.raw", wants=["does not exist"])
    fails("info", ".", wants=["is a directory"])
    fails("create", "w2.raw", wants=["how large"])
    fails("create", "no/such/dir.raw", "1M", wants=["no/such/dir.raw"])
    fails("create", "-b", "w.raw", "-F", "raw", "x.raw", wants=["no backing files"])
    fails("create", "-o", "preallocaton=off", "x.raw", "1M", wants=["did you mean 'preallocation'"])
    fails("-f", "raw", "info", wants=["before the command"])


def commands():
    return [line.split()[0] for line in img("--help").split("COMMAND --help")[1].splitlines()
            if line.startswith("  ")]


def test_wrong_use():
    """Of each command: one line that names what is wrong, and the status of an error."""
    img("create", "wrong.raw", "1M")
    uses = [((), "expected:"), (("a", "b", "c", "d"), ""), (("-f",), "needs a value"), (("-Z", "wrong.raw"), "'-Z'"),
            (("--nonsense", "wrong.raw"), "--nonsense"), (("--object", "x", "wrong.raw"), "not built"),
            (("-f", "nofmt", "wrong.raw"), ""), (("gone.raw",), "")]
    for name in commands():
        for words, want in uses:
            fails(name, *words, status=2 if name == "compare" else 1, wants=[want])
    more = [("amend", "-o", "nonsense=1", "wrong.raw"), ("bench", "-c", "x", "wrong.raw"), ("bench", "-d", "0", "wrong.raw"),
            ("bench", "--pattern=300", "-w", "wrong.raw"), ("check", "-r", "some", "wrong.raw"),
            ("commit", "-t", "never", "wrong.raw"), ("commit", "-r", "1M", "wrong.raw"),
            ("convert", "-m", "0", "wrong.raw", "x"), ("convert", "-o", "size", "wrong.raw", "x"),
            ("create", "-f", "raw", "x", "1Q"), ("create", "-f", "raw", "x", "-1"), ("create", "-f", "raw", "x", "1e30"),
            ("dd", "if=wrong.raw", "of=x", "bs=0"), ("dd", "if=wrong.raw", "of=x", "count=x"), ("dd", "if=wrong.raw"),
            ("dd", "if=wrong.raw", "of=x", "what=1"), ("map", "--start-offset=x", "wrong.raw"),
            ("measure", "--size", "x"), ("measure", "--size", "1M", "wrong.raw"), ("rebase", "-b", "x", "wrong.raw"),
            ("resize", "-f", "raw", "wrong.raw", "+x"), ("resize", "-f", "raw", "wrong.raw", "1k"),
            ("resize", "-f", "raw", "wrong.raw", "-5G"),
            ("snapshot", "-a", "none", "wrong.raw"), ("snapshot", "-d", "none", "wrong.raw")]
    for words in more:
        fails(*words)
    check("nothing was made", False, os.path.exists(path("x")))


def test_image_opts():
    img("create", "i.raw", "1M")
    for opts in ("driver=raw,file.driver=file,file.filename=i.raw", "driver=raw,file.filename=i.raw",
                 "file.filename=i.raw", "driver=raw,offset=512k,size=1k,file.filename=i.raw"):
        got = img_json("info", "--image-opts", opts)
        check("size of " + opts, 1024 if "offset" in opts else 1 << 20, got["virtual-size"])
    got = img_json("info", 'json:{"driver": "raw", "file": {"driver": "file", "filename": "i.raw"}}')
    check("json:", 1 << 20, got["virtual-size"])
    fails("info", "--image-opts", "-f", "raw", "driver=raw", wants=["exclude each other"])


def test_full_disk_for_output():
    if not os.path.exists("/dev/full"):
        return
    img("create", "f.raw", "1M")
    with open("/dev/full", "wb") as full:
        p = subprocess.run([IMG, "info", "f.raw"], stdout=full, stderr=subprocess.PIPE, cwd=DIR.name,
                           check=False)
    check("status", 1, p.returncode)


def test_locked():
    img("create", "l.raw", "1M")
    with subprocess.Popen([sys.executable, "-c",
                           "import fcntl, struct, sys\n"
                           "f = open(sys.argv[1], 'r+b')\n"
                           "fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))\n"
                           "print('x', flush=True)\nsys.stdin.read()\n", path("l.raw")],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        fails("info", "-f", "raw", "l.raw", wants=["in use by process %d" % other.pid])
        fails("resize", "-f", "raw", "l.raw", "2M", wants=["in use by process %d" % other.pid])
        fails("create", "l.raw", "2M", wants=["in use by process %d" % other.pid])
        check("not emptied", 1 << 20, os.path.getsize(path("l.raw")))
        img("info", "-U", "-f", "raw", "l.raw")
        other.communicate()
    check("after", 0, run(IMG, "info", "-f", "raw", "l.raw").returncode)


main()
