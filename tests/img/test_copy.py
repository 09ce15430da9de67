#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vireo-img: convert, dd, compare, commit, rebase, amend, bench; byte by byte, and with QEMU's tools
as an outside judge."""

import json
import os
import random
import signal
import subprocess
import time

from img import (DIR, IMG, TIMEOUT, Failure, Skip, check, contents, fails, formats, has_format, img, img_json,
                 main, need_qcow2, need_qemu, path, pattern_file, qemu_img, run, same_bytes)


def good(name, fmt):
    """The image is sound, in our eyes and in the judge's."""
    if fmt == "qcow2":
        img("check", "-f", fmt, name)
        if run("sh", "-c", "command -v qemu-img").returncode == 0:
            qemu_img("check", "-f", fmt, name)


def flat(name, fmt, out="flat.out"):
    """What a guest would see, by the judge if there is one."""
    if run("sh", "-c", "command -v qemu-img").returncode == 0:
        qemu_img("convert", "-f", fmt, "-O", "raw", name, out)
    else:
        img("convert", "-f", fmt, "-O", "raw", name, out)
    return out


# ---- convert ----


def test_convert_every_way():
    pattern_file("src.raw", 9 * (1 << 20) + 512 * 3)
    for fmt in formats():
        for extra in ([], ["-W"], ["-m", "1"], ["-m", "16"], ["-S", "0"], ["-S", "64k"], ["-t", "none"],
                      ["-T", "none"], ["-p"], ["-t", "writeback"]):
            img("convert", *extra, "-f", "raw", "-O", fmt, "src.raw", "dst")
            good("dst", fmt)
            if fmt == "raw":
                same_bytes("convert %s" % extra, "src.raw", "dst")
            img("convert", "-f", fmt, "-O", "raw", "dst", "back.raw")
            same_bytes("convert %s %s and back" % (fmt, extra), "src.raw", "back.raw")
            check("compare", "Images are identical.\n", img("compare", "-f", "raw", "-F", fmt, "src.raw",
                                                            "dst"))
            os.unlink(path("dst"))


def test_convert_keeps_holes():
    img("create", "h.raw", "64M")
    with open(path("h.raw"), "r+b") as f:
        f.seek(20 << 20)
        f.write(b"x" * 8192 + bytes(1 << 20) + b"y" * 4096)
    img("convert", "-f", "raw", "-O", "raw", "h.raw", "h2.raw")
    same_bytes("holes", "h.raw", "h2.raw")
    if os.stat(path("h2.raw")).st_blocks * 512 > 64 << 10:
        raise Failure("%d bytes on the disk" % (os.stat(path("h2.raw")).st_blocks * 512))
    img("convert", "-S", "0", "-f", "raw", "-O", "raw", "h.raw", "h3.raw")
    check("-S 0", True, os.stat(path("h3.raw")).st_blocks * 512 >= 64 << 20)
    same_bytes("-S 0", "h.raw", "h3.raw")


def test_convert_over_old_contents():
    pattern_file("n1.raw", 3 << 20, seed=5)
    for fmt in formats():
        img("create", "-f", fmt, "n2", "4M")
        pattern_file("noise.raw", 4 << 20, seed=6, density=1)
        img("convert", "-n", "-f", "raw", "-O", fmt, "noise.raw", "n2")
        img("convert", "-n", "-f", "raw", "-O", fmt, "n1.raw", "n2")
        good("n2", fmt)
        got = contents(flat("n2", fmt))
        check("first part", True, got[:3 << 20] == contents("n1.raw"))
        check("rest", True, got[3 << 20:] == contents("noise.raw")[3 << 20:])
    fails("convert", "-n", "-f", "raw", "-O", "raw", "noise.raw", "n1.raw", wants=["are needed"])


def test_convert_concatenates():
    pattern_file("p1.raw", (1 << 20) + 512, seed=2)
    pattern_file("p2.raw", 3 * 65536, seed=3)
    pattern_file("p3.raw", 512, seed=4, density=1)
    for fmt in formats():
        img("convert", "-f", "raw", "-O", fmt, "p1.raw", "p2.raw", "p3.raw", "cat")
        with open(path("cat.raw"), "wb") as f:
            f.write(contents("p1.raw") + contents("p2.raw") + contents("p3.raw"))
        good("cat", fmt)
        same_bytes("three", "cat.raw", flat("cat", fmt))


def test_convert_compressed():
    pattern_file("z.raw", 8 << 20, seed=9)
    fails("convert", "-c", "-f", "raw", "-O", "raw", "z.raw", "x.raw", wants=["does not compress"])
    img("convert", "-f", "raw", "-O", "raw", "z.raw", "x.raw")
    fails("convert", "-n", "-c", "-f", "raw", "-O", "qcow2", "--target-image-opts", "z.raw",
          "driver=raw,file.filename=x.raw", wants=["does not compress"])
    need_qcow2()
    for opts in (["-o", "cluster_size=64k"], ["-o", "cluster_size=2M"], ["-o", "cluster_size=512"],
                 ["-o", "compression_type=zstd"]):
        for extra in ([], ["-m", "1"], ["-W"]):
            img("convert", "-c", *extra, *opts, "-f", "raw", "-O", "qcow2", "z.raw", "z.qcow2")
            good("z.qcow2", "qcow2")
            same_bytes("compressed", "z.raw", flat("z.qcow2", "qcow2"))
            img("convert", "-f", "qcow2", "-O", "raw", "z.qcow2", "zz.raw")
            same_bytes("compressed and back", "z.raw", "zz.raw")
    entries = img_json("map", "z.qcow2")
    check("compressed in map", True, any(e["compressed"] for e in entries))


def plain_map(entries):
    """Where nothing is present, nobody has to say where that would lie; neighbours are joined."""
    out = []
    for e in entries:
        e = {k: v for k, v in e.items() if k != "compressed" and (e["present"] or k != "offset")}
        if out and not e["present"] and not out[-1]["present"] and e["zero"] == out[-1]["zero"]:
            out[-1]["length"] += e["length"]
        else:
            out.append(e)
    return out


def test_convert_from_qemu():
    need_qemu()
    pattern_file("q.raw", 5 << 20, seed=11)
    for fmt in formats():
        for extra in ([], ["-c"], ["-o", "compat=0.10"], ["-o", "extended_l2=on,cluster_size=128k"],
                      ["-o", "refcount_bits=1"]):
            if fmt == "raw" and extra:
                continue
            qemu_img("convert", *extra, "-f", "raw", "-O", fmt, "q.raw", "q.img")
            img("convert", "-f", fmt, "-O", "raw", "q.img", "q.out")
            same_bytes("from qemu-img %s %s" % (fmt, extra), "q.raw", "q.out")
            want = json.loads(qemu_img("map", "--output=json", "-f", fmt, "q.img"))
            if "-c" not in extra:
                check("map", plain_map(want), plain_map(img_json("map", "-f", fmt, "q.img")))


def test_convert_progress():
    pattern_file("pp.raw", 2 << 20)
    out = img("convert", "-p", "-f", "raw", "-O", "raw", "pp.raw", "pp2.raw")
    check("begins", "    (0.00/100%)\r", out[:16])
    check("ends", "    (100.00/100%)\r\n", out[-19:])
    check("quiet", "", img("convert", "-q", "-p", "-f", "raw", "-O", "raw", "pp.raw", "pp2.raw"))


def test_convert_offloaded():
    """-C: the same bytes and the same holes, whoever copies."""
    pattern_file("off.raw", 3 << 20)
    with open(path("off.raw"), "r+b") as f:
        f.seek(8 << 20)
        f.write(b"x" * 5000)
        f.truncate(12 << 20)
    for options in ((), ("-W",), ("-m", "1")):
        img("convert", "-C", *options, "-f", "raw", "-O", "raw", "off.raw", "off2.raw")
        check("copy", True, contents("off.raw") == contents("off2.raw"))
        check("holes", True, os.stat(path("off2.raw")).st_blocks * 512 < 6 << 20)
    img("convert", "-C", "-f", "raw", "-O", "raw", "off.raw", "off.raw", "off3.raw")
    check("two", True, contents("off.raw") * 2 == contents("off3.raw"))
    part = "driver=raw,offset=1M,size=2M,file.filename=off.raw"
    img("convert", "-C", "--image-opts", "-O", "raw", part, "off4.raw")
    check("part", True, contents("off.raw")[1 << 20:3 << 20] == contents("off4.raw"))
    if has_format("qcow2"):
        img("convert", "-C", "-f", "raw", "-O", "qcow2", "off.raw", "off.qcow2")
        img("compare", "-f", "raw", "-F", "qcow2", "off.raw", "off.qcow2")
    fails("convert", "-C", "-c", "-O", "qcow2", "off.raw", "x", wants=["-C and -c exclude"])
    fails("convert", "-C", "-S", "4k", "off.raw", "x", wants=["-C and -S exclude"])


def test_convert_with_a_rate():
    """Not faster than it may be: all but the last part of 1 MiB have their time."""
    with open(path("slow.raw"), "wb") as f:
        f.write(os.urandom(4 << 20))
    for options in ((), ("-W",), ("-C",)):
        begin = time.monotonic()
        img("convert", *options, "-r", "8M", "-f", "raw", "-O", "raw", "slow.raw", "slow2.raw")
        check("waited", True, time.monotonic() - begin >= 0.37)
        check("copy", True, contents("slow.raw") == contents("slow2.raw"))
    fails("convert", "-r", "0", "slow.raw", "x", wants=["at least one byte"])
    fails("convert", "-r", "fast", "slow.raw", "x", wants=["is no size"])
    p = subprocess.Popen([IMG, "convert", "-r", "1k", "-O", "raw", path("slow.raw"), path("slow3.raw")],
                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not os.path.exists(path("slow3.raw")) or not os.stat(path("slow3.raw")).st_blocks:
        check("runs", None, p.poll())
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    check("interrupted", (1, True), (p.wait(TIMEOUT), b"interrupted" in p.stderr.read()))


def test_convert_refuses():
    pattern_file("me.raw", 1 << 20)
    before = contents("me.raw")
    os.symlink("me.raw", path("me.link"))
    fails("convert", "-O", "raw", "me.raw", "me.raw", wants=["is what is to be converted"])
    fails("convert", "-O", "raw", "me.raw", "me.link", wants=["is what is to be converted"])
    fails("convert", "-n", "-O", "raw", "me.raw", "./me.raw", wants=["is what is to be converted"])
    check("untouched", True, before == contents("me.raw"))
    fails("convert", "me.raw", wants=["a target"])
    fails("convert", "-O", "qcow3", "me.raw", "x", wants=["there is no image format 'qcow3'"])
    fails("convert", "-S", "100", "me.raw", "x", wants=["multiple of 512"])
    fails("convert", "-m", "17", "me.raw", "x", wants=["1 to 16"])
    fails("convert", "-t", "writebak", "me.raw", "x", wants=["did you mean 'writeback'"])
    fails("convert", "--bitmaps", "me.raw", "x", wants=["not built"])
    fails("convert", "-B", "me.raw", "-F", "raw", "-O", "raw", "me.raw", "x", wants=["no backing files"])
    fails("convert", "gone.raw", "x", wants=["does not exist"])
    fails("convert", "--target-is-zero", "me.raw", "x", wants=["-n"])


def test_convert_over_a_backing_file():
    need_qcow2()
    pattern_file("bb.raw", 4 << 20, seed=20)
    img("create", "-f", "qcow2", "-b", "bb.raw", "-F", "raw", "bo.qcow2", "5M")
    pattern_file("patch.raw", 1 << 20, seed=21, density=1)
    img("convert", "-n", "-f", "raw", "-O", "qcow2", "patch.raw", "bo.qcow2")
    want = contents(flat("bo.qcow2", "qcow2"))
    img("convert", "-O", "qcow2", "-B", "bb.raw", "-F", "raw", "-f", "qcow2", "bo.qcow2", "bn.qcow2")
    good("bn.qcow2", "qcow2")
    check("same", True, want == contents(flat("bn.qcow2", "qcow2")))
    held = sum(e["length"] for e in img_json("map", "bn.qcow2") if e["depth"] == 0 and e["data"])
    check("only what differs: %d" % held, True, held <= 2 << 20)
    # a backing file that the source does not have: compared byte by byte
    pattern_file("bc.raw", 3 << 20, seed=20)
    img("convert", "-O", "qcow2", "-B", "bc.raw", "-F", "raw", "-f", "qcow2", "bo.qcow2", "bm.qcow2")
    good("bm.qcow2", "qcow2")
    check("same", True, want == contents(flat("bm.qcow2", "qcow2")))


def test_convert_a_snapshot():
    need_qcow2()
    pattern_file("s1.raw", 3 << 20, seed=90)
    pattern_file("s2.raw", 3 << 20, seed=91)
    img("convert", "-f", "raw", "-O", "qcow2", "s1.raw", "s.qcow2")
    img("snapshot", "-c", "first", "s.qcow2")
    img("convert", "-n", "-f", "raw", "-O", "qcow2", "s2.raw", "s.qcow2")
    img("snapshot", "-c", "second", "s.qcow2")
    img("resize", "s.qcow2", "4M")
    before = contents("s.qcow2")
    for word, want in (("first", "s1.raw"), ("second", "s2.raw"), ("1", "s1.raw"),
                       ("snapshot.name=second", "s2.raw"), ("snapshot.id=1", "s1.raw")):
        img("convert", "-l", word, "-O", "raw", "s.qcow2", "s.out")
        same_bytes("snapshot " + word, want, "s.out")
    img("convert", "-l", "first", "-O", "qcow2", "--image-opts", "driver=qcow2,file.filename=s.qcow2", "s.o2")
    same_bytes("as qcow2", "s1.raw", flat("s.o2", "qcow2"))
    check("measured", img_json("measure", "-O", "qcow2", "-f", "raw", "s1.raw")["fully-allocated"],
          img_json("measure", "-O", "qcow2", "-l", "first", "s.qcow2")["fully-allocated"])
    check("source", True, before == contents("s.qcow2"))
    fails("convert", "-l", "third", "-O", "raw", "s.qcow2", "s.out", wants=["no snapshot 'third'"])
    fails("convert", "-l", "x", "-f", "raw", "-O", "raw", "s1.raw", "s.out", wants=["no snapshots"])


def test_convert_full_target():
    """The target's file system is full: said, and the source is as it was."""
    pattern_file("full.raw", 8 << 20, density=1)
    before = contents("full.raw")
    for fmt in formats():
        p = subprocess.run(["sh", "-c", "ulimit -f 4096; trap '' XFSZ; exec \"$@\"", "sh", IMG, "convert", "-S",
                            "0", "-f", "raw", "-O", fmt, "full.raw", "full.out"], cwd=DIR.name,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        check("status", 1, p.returncode)
        text = p.stderr.decode()
        if "full.out" not in text or "File too large" not in text and "cannot get that size" not in text:
            raise Failure(text)
    check("source", True, before == contents("full.raw"))


# ---- the others ----


def test_dd():
    pattern_file("dd.raw", 100 * 512 + 100, seed=7, density=1, block=512)
    data = contents("dd.raw")
    for words, want in (([], data), (["bs=1k"], data), (["bs=1k", "count=3"], data[:3072]),
                        (["bs=1000", "skip=2"], data[2000:]), (["bs=512", "skip=10", "count=5"], data[5120:7680]),
                        (["count=1"], data[:512]), (["bs=1M", "skip=1"], b""),
                        (["bs=1k", "count=1", "osize=4k"], data[:1024] + bytes(3072))):
        img("dd", "-f", "raw", "-O", "raw", "if=dd.raw", "of=dd.out", *words)
        check("dd %s" % words, True, contents("dd.out") == want)
    fails("dd", "if=dd.raw", "of=dd.raw", wants=["is what is to be read"])
    fails("dd", "if=dd.raw", "of=x", "sb=1k", wants=["did you mean 'bs='"])
    fails("dd", "if=dd.raw", wants=["of=FILE"])
    fails("dd", "if=dd.raw", "of=x", "bs=0", wants=["bs=0"])


def test_compare():
    pattern_file("a.raw", 2 << 20, seed=30)
    data = bytearray(contents("a.raw"))
    check("same", "Images are identical.\n", img("compare", "a.raw", "a.raw"))
    data[1234567] ^= 1
    with open(path("b.raw"), "wb") as f:
        f.write(data)
    check("one byte", "Content mismatch at offset 1234567!\n", img("compare", "a.raw", "b.raw", status=1))
    with open(path("b.raw"), "wb") as f:
        f.write(contents("a.raw") + bytes(1 << 20))
    check("longer", "Warning: Image size mismatch!\nImages are identical.\n", img("compare", "a.raw", "b.raw"))
    check("strict", "Strict mode: Image size mismatch!\n", img("compare", "-s", "a.raw", "b.raw", status=1))
    with open(path("b.raw"), "ab") as f:
        f.write(b"x")
    check("longer and more", "Warning: Image size mismatch!\nContent mismatch at offset %d!\n" % (3 << 20),
          img("compare", "b.raw", "a.raw", status=1))
    img("create", "hole.raw", "1M")
    with open(path("zero.raw"), "wb") as f:
        f.write(bytes(1 << 20))
    check("hole and zeroes", "Images are identical.\n", img("compare", "hole.raw", "zero.raw"))
    check("strict hole", "Strict mode: Offset 0 block status mismatch!\n",
          img("compare", "-s", "hole.raw", "zero.raw", status=1))
    fails("compare", "a.raw", "gone", status=2, wants=["does not exist"])
    fails("compare", "a.raw", status=2, wants=["two images"])


def make_overlay(name, base, base_format, size, seed, writes=30):
    """An overlay with random writes, and what it should read as."""
    img("create", "-q", "-f", "qcow2", "-b", base, "-F", base_format, name, size)
    want = bytearray(contents(flat(base, base_format)))
    want += bytes(size - len(want)) if size > len(want) else b""
    del want[size:]
    rng = random.Random(seed)
    for _ in range(writes):
        at = rng.randrange(0, size - 70000) // 512 * 512
        length = rng.choice([512, 4096, 65536, 66048])
        data = bytes([rng.randrange(256)]) * length
        with open(path("piece.raw"), "wb") as f:
            f.write(data)
        if rng.random() < 0.3:
            data = bytes(length)
        want[at:at + length] = data
    with open(path("want.raw"), "wb") as f:
        f.write(want)
    img("convert", "-q", "-O", "qcow2", "-B", base, "-F", base_format, "-f", "raw", "want.raw", name)
    check("overlay", True, contents(flat(name, "qcow2")) == want)
    return bytes(want)


def test_commit():
    need_qcow2()
    for base_format in ("raw", "qcow2"):
        pattern_file("cm.raw", 4 << 20, seed=40)
        img("convert", "-f", "raw", "-O", base_format, "cm.raw", "cbase")
        want = make_overlay("ctop.qcow2", "cbase", base_format, 5 << 20, 41)
        check("said", "Image committed.\n", img("commit", "ctop.qcow2"))
        check("base", True, contents(flat("cbase", base_format)) == want)
        check("top", True, contents(flat("ctop.qcow2", "qcow2")) == want)
        good("ctop.qcow2", "qcow2")
        good("cbase", base_format)
        held = sum(e["length"] for e in img_json("map", "ctop.qcow2") if e["depth"] == 0)
        check("top is empty", 0, held)
    fails("commit", "cm.raw", wants=["no backing file"])


def test_commit_to_a_deeper_image():
    need_qcow2()
    pattern_file("d0.raw", 2 << 20, seed=50)
    make_overlay("d1.qcow2", "d0.raw", "raw", 2 << 20, 51)
    middle = contents(flat("d1.qcow2", "qcow2"))
    want = make_overlay("d2.qcow2", "d1.qcow2", "qcow2", 3 << 20, 52)
    img("commit", "-p", "-b", "d0.raw", "d2.qcow2")
    check("bottom", True, contents("d0.raw") == want)
    check("top", True, contents(flat("d2.qcow2", "qcow2")) == want)
    check("top holds its own", True, any(e["depth"] == 0 for e in img_json("map", "d2.qcow2")))
    check("middle was there", True, len(middle) == 2 << 20)
    fails("commit", "-b", "gone.raw", "d2.qcow2", wants=["no backing file 'gone.raw'"])


def test_commit_keeps():
    need_qcow2()
    pattern_file("k0.raw", 2 << 20, seed=55)
    want = make_overlay("k1.qcow2", "k0.raw", "raw", 2 << 20, 56)
    img("commit", "-d", "k1.qcow2")
    check("base", True, contents("k0.raw") == want)
    check("top holds its own", True, any(e["depth"] == 0 for e in img_json("map", "k1.qcow2")))


def test_rebase():
    need_qcow2()
    for size in (3 << 20, 5 << 20):
        pattern_file("r0.raw", 4 << 20, seed=60)
        want = make_overlay("r1.qcow2", "r0.raw", "raw", size, 61)
        pattern_file("r2.raw", 3 << 20, seed=62)
        img("convert", "-f", "raw", "-O", "qcow2", "r2.raw", "r2.qcow2")
        for backing, fmt in (("r2.raw", "raw"), ("r2.qcow2", "qcow2"), ("r0.raw", "raw")):
            img("rebase", "-b", backing, "-F", fmt, "r1.qcow2")
            check("names " + backing, backing, img_json("info", "r1.qcow2")["backing-filename"])
            check("reads as before over " + backing, True, contents(flat("r1.qcow2", "qcow2")) == want)
            good("r1.qcow2", "qcow2")
        img("rebase", "-p", "-b", "", "r1.qcow2")
        check("none", False, "backing-filename" in img_json("info", "r1.qcow2"))
        check("alone", True, contents(flat("r1.qcow2", "qcow2")) == want)
        good("r1.qcow2", "qcow2")


def test_rebase_within_the_chain():
    need_qcow2()
    pattern_file("w0.raw", 2 << 20, seed=70)
    make_overlay("w1.qcow2", "w0.raw", "raw", 2 << 20, 71)
    want = make_overlay("w2.qcow2", "w1.qcow2", "qcow2", 2 << 20, 72)
    img("rebase", "-b", "w0.raw", "-F", "raw", "w2.qcow2")
    check("reads as before", True, contents(flat("w2.qcow2", "qcow2")) == want)
    good("w2.qcow2", "qcow2")


def test_rebase_unsafe():
    need_qcow2()
    img("create", "-u", "-f", "qcow2", "-b", "gone.raw", "-F", "raw", "u.qcow2", "1M")
    fails("rebase", "-b", "src.raw", "-F", "raw", "u.qcow2", wants=["gone.raw"])
    img("rebase", "-u", "-b", "elsewhere.raw", "-F", "raw", "u.qcow2")
    check("name", "elsewhere.raw", img_json("info", "u.qcow2")["backing-filename"])
    img("rebase", "-u", "-b", "", "u.qcow2")
    check("none", False, "backing-filename" in img_json("info", "u.qcow2"))
    fails("rebase", "-u", "-b", "x.raw", "u.qcow2", wants=["-F FMT"])
    fails("rebase", "u.qcow2", wants=["-b FILE"])


def test_amend():
    pattern_file("am.raw", 1 << 20)
    fails("amend", "-f", "raw", "-o", "size=2M", "am.raw", wants=["'raw' have no options"])
    need_qcow2()
    img("convert", "-f", "raw", "-O", "qcow2", "am.raw", "am.qcow2")
    img("amend", "-o", "compat=0.10", "am.qcow2")
    check("compat", "0.10", img_json("info", "am.qcow2")["format-specific"]["data"]["compat"])
    img("amend", "-p", "-o", "compat=1.1,lazy_refcounts=on", "am.qcow2")
    check("lazy", True, img_json("info", "am.qcow2")["format-specific"]["data"]["lazy-refcounts"])
    same_bytes("contents", "am.raw", flat("am.qcow2", "qcow2"))
    fails("amend", "-o", "compatt=0.10", "am.qcow2", wants=["did you mean 'compat'"])


def test_bench():
    pattern_file("be.raw", 1 << 20)
    before = contents("be.raw")
    lines = img("bench", "-f", "raw", "-c", "1000", "be.raw").splitlines()
    check("first", "Sending 1000 read requests, 4096 bytes each, 64 in parallel (starting at offset 0, step "
          "size 4096)", lines[0])
    if not (lines[1].startswith("Run completed in ") and lines[1].endswith(" seconds.")):
        raise Failure(lines[1])
    check("reads only", True, before == contents("be.raw"))
    for fmt in formats():
        img("create", "-f", fmt, "be.img", "1M")
        lines = img("bench", "-f", fmt, "-w", "-c", "300", "-d", "4", "-s", "8k", "-S", "12k", "--pattern=65",
                    "--flush-interval=100", "be.img").splitlines()
        check("flush line", "Sending flush every 100 requests", lines[1])
        check("pattern", b"A" * 8192, contents(flat("be.img", fmt))[:8192])
        good("be.img", fmt)
    fails("bench", "--flush-interval=2", "-w", "be.raw", wants=["smaller than the depth"])
    fails("bench", "-i", "io_uring", "be.raw", wants=["threads only"])


# ---- cut off ----


def start(*words):
    return subprocess.Popen([IMG, *words], cwd=DIR.name, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def test_interrupt():
    """Ctrl-C ends a conversion with one line; no lock stays, and the source is as it was."""
    pattern_file("int.raw", 96 << 20, density=1, block=1 << 20)
    for _ in range(20):
        p = start("convert", "-f", "raw", "-O", "raw", "-m", "1", "-t", "directsync", "int.raw", "int.out")
        time.sleep(0.02)
        p.send_signal(signal.SIGINT)
        text = p.communicate()[1].decode()
        if p.returncode == 1:
            break
    else:
        raise Skip("the conversion is always done before it can be interrupted")
    check("one line: %r" % text, True, len(text.splitlines()) == 1 and "interrupted" in text)
    img("convert", "-f", "raw", "-O", "raw", "int.raw", "int.out")
    same_bytes("again", "int.raw", "int.out")


def kill_some(count, seed):
    """kill -9 at random moments of convert, commit and rebase: what was there is there, and what is
    there is sound but for lost space."""
    rng = random.Random(seed)
    pattern_file("k.raw", 24 << 20, seed=seed, density=0.9, block=65536)
    want_source = contents("k.raw")
    killed = 0
    for i in range(count):
        fmt = formats()[i % len(formats())]
        extra = rng.choice([[], ["-W"], ["-c"], ["-t", "writeback"]]) if fmt == "qcow2" else []
        p = start("convert", *extra, "-f", "raw", "-O", fmt, "k.raw", "k.out")
        time.sleep(rng.random() * 0.05)
        p.kill()
        p.communicate()
        killed += p.returncode < 0
        if fmt == "qcow2" and os.path.exists(path("k.out")):
            q = run(IMG, "check", "-f", fmt, "k.out")
            if q.returncode not in (0, 3) and os.path.getsize(path("k.out")) > 0x20000:
                raise Failure("kill %d: check says %d: %s" % (i, q.returncode, q.stdout.decode() +
                                                              q.stderr.decode()))
        if i % 10 == 0:
            img("convert", "-f", "raw", "-O", fmt, "k.raw", "k.out")
        if os.path.exists(path("k.out")):
            os.unlink(path("k.out"))
    check("source", True, want_source == contents("k.raw"))
    return killed


def test_kill_convert():
    kill_some(int(os.environ.get("KILLS", "6")), 1)


def test_kill_commit():
    """Whatever was cut off, the overlay reads as before; the next commit completes it."""
    need_qcow2()
    rng = random.Random(2)
    for i in range(int(os.environ.get("KILLS", "6")) // 2):
        pattern_file("kc.raw", 8 << 20, seed=80 + i)
        want = make_overlay("kc.qcow2", "kc.raw", "raw", 8 << 20, 81 + i)
        p = start("commit", "kc.qcow2")
        time.sleep(rng.random() * 0.02)
        p.kill()
        p.communicate()
        q = run(IMG, "check", "kc.qcow2")
        check("check after kill %d: %s" % (i, q.stdout), True, q.returncode in (0, 3))
        check("overlay after kill %d" % i, True, contents(flat("kc.qcow2", "qcow2")) == want)
        img("commit", "kc.qcow2")
        check("base", True, contents("kc.raw") == want)


main()
