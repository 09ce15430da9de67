#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged qcow2 images: each command ends within a second of processor time and 64 MiB, and where it fails, one
line says why.

IMG_DAMAGED=1000 looks at more of them, IMG_FROM=17 starts at another one."""

import os
import random
import shutil
import struct
import subprocess

from img import (DIR, IMG, Failure, check, contents, img, io, main, need_qcow2, path, run)

SLOW = max(float(os.environ.get("SLOW", "0")), 1.0)
CPU_S, KIB = 1.0 * SLOW, 64 * 1024
KINDS = ("cluster_size=512", "cluster_size=4k,compat=0.10", "cluster_size=16k,extended_l2=on",
         "cluster_size=512,refcount_bits=64,lazy_refcounts=on", "cluster_size=64k")
COMMANDS = (["info"], ["check"], ["check", "--output=json"], ["check", "-r", "leaks"], ["check", "-r", "all"], ["map"],
            ["snapshot", "-l"], ["snapshot", "-a", "s"], ["snapshot", "-d", "s"], ["snapshot", "-c", "t"],
            ["amend", "-o", "compat=1.1"], ["rebase", "-u", "-b", ""], ["measure", "-O", "qcow2"], ["bench", "-c", "9"])
NOTHING_TO_CHECK = 63  # not taken for a qcow2 image any more
STATUSES = {"check": (0, 2, 3, NOTHING_TO_CHECK)}  # besides 1; what check finds is on stdout


def has_sanitizers():
    """They have memory of their own."""
    try:
        with open(os.path.join(os.path.dirname(IMG), "config.mk")) as f:
            return "SANITIZERS := no" not in f.read()
    except OSError:
        return True


def measured(*words):
    """Status, output, errors, seconds of processor time, KiB of memory."""
    with open(path("out"), "wb") as out, open(path("err"), "wb") as err:
        p = subprocess.Popen([IMG, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=DIR.name)
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    return (p.returncode, contents("out").decode(errors="replace"), contents("err").decode(errors="replace"),
            usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def judge(what, *words):
    status, out, err, seconds, kib = measured(*words)
    what = "%s: vireo-img %s" % (what, " ".join(words))
    keep = "" if not os.environ.get("IMG_KEEP") else shutil.copy(path("d.qcow2"), os.environ["IMG_KEEP"])
    lines = err.splitlines()
    for line in lines:
        if not line.startswith("vireo-img: ") or not line.isprintable():
            raise Failure("%s %s: a line on stderr is: %r" % (what, keep, line))
    said = [line for line in lines if not line.startswith("vireo-img: warning: ")]
    fine = STATUSES.get(words[0], (0,))
    if status not in fine + (1,):
        raise Failure("%s %s: status %d\n%s" % (what, keep, status, err))
    told = status in fine and status != NOTHING_TO_CHECK
    wants = 0 if told or "internal errors" in out or '"check-errors"' in out else 1
    check("%s %s: lines with an error (%s)" % (what, keep, err), wants, len(said))
    if seconds > CPU_S:
        raise Failure("%s %s: %.2f s of processor time" % (what, keep, seconds))
    if kib > KIB and not has_sanitizers():
        raise Failure("%s %s: %d KiB" % (what, keep, kib))


def commands_of(lines):
    return [w for line in lines for w in ("-c", line)]


def make(kind, name):
    img("create", "-q", "-f", "qcow2", "-o", KINDS[kind], name, "1M")
    io("-f", "qcow2", *commands_of(["write -q -P 1 1000 9000", "write -q -c -P 2 128k 128k", "write -q -z 64k 32k"]), name)
    img("snapshot", "-c", "s", name)
    io("-f", "qcow2", *commands_of(["write -q -P 3 0 20k", "write -q -P 4 512k 100k"]), name)


def damage(rng, data):
    """Words that look like something: places in the file, flags, small and large numbers."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(112) if rng.random() < 0.5 else rng.randrange(len(data) - 8) & ~7
        value = rng.choice((0, rng.randrange(len(data)) & ~511, rng.randrange(len(data)) & ~511 | 1 << 63,
                            1 << rng.randrange(64), rng.randrange(100), rng.getrandbits(64)))
        nr = rng.randint(1, 8)
        data[at:at + nr] = struct.pack(">Q", value)[:nr]
    return data[:rng.randrange(len(data))] if rng.random() < 0.1 else data


def test_random_damage():
    need_qcow2()
    whole = []
    for kind in range(len(KINDS)):
        make(kind, "whole.qcow2")
        whole.append(contents("whole.qcow2"))
        os.unlink(path("whole.qcow2"))
    first = int(os.environ.get("IMG_FROM", "0"))
    for i in range(first, first + int(os.environ.get("IMG_DAMAGED", "60"))):
        rng = random.Random(i)
        data = damage(rng, bytearray(whole[i % len(KINDS)]))
        for words in rng.sample(COMMANDS, 4):
            with open(path("d.qcow2"), "wb") as f:
                f.write(data)
            judge("image %d" % i, *words, "d.qcow2")


def test_snapshots_that_share_tables():
    """A thousand snapshots over the same 512 L2 tables, in a file of holes: each table is read once."""
    need_qcow2()
    cluster, tables, snapshots = 65536, 512, 1000
    img("create", "-q", "-f", "qcow2", "s.qcow2", "256G")
    head = bytearray(contents("s.qcow2")[:112])
    first = 64
    l1 = b"".join(struct.pack(">Q", (first + 1 + i) * cluster) for i in range(tables))
    entry = struct.pack(">QIHHIIQII", first * cluster, tables, 1, 1, 0, 0, 0, 0, 16) + struct.pack(">QQ", 0, 256 << 30)
    entry += b"1s"
    entry += bytes(-len(entry) % 8)
    head[40:48] = struct.pack(">Q", first * cluster)
    head[60:64], head[64:72] = struct.pack(">I", snapshots), struct.pack(">Q", (first + tables + 1) * cluster)
    with open(path("s.qcow2"), "r+b") as f:
        f.write(head)
        f.seek(first * cluster)
        f.write(l1)
        f.seek((first + tables + 1) * cluster)
        f.write(entry * snapshots)
        f.truncate((first + tables + snapshots + 100) * cluster)
    shutil.copy(path("s.qcow2"), path("d.qcow2"))
    judge("shared tables", "check", "d.qcow2")
    check("status", 2, run(IMG, "check", "d.qcow2").returncode)


main()
