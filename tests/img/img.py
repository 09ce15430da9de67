# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of vireo-img and vireo-io share: running both and QEMU's as an outside judge."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hw"))
from qtest import VIREO, Failure, Skip, check, main  # pylint: disable=wrong-import-position,unused-import

IMG = os.path.join(os.path.dirname(os.path.abspath(VIREO)), "vireo-img")
IO = os.path.join(os.path.dirname(os.path.abspath(VIREO)), "vireo-io")
TIMEOUT = float(os.environ.get("QTEST_TIMEOUT", "60"))
DIR = tempfile.TemporaryDirectory(prefix="vireo-img-")
os.environ["TZ"] = "UTC"
os.environ["LC_ALL"] = "C"


def path(name):
    return os.path.join(DIR.name, name)


def run(*words, stdin=None):
    return subprocess.run([str(w) for w in words], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=TIMEOUT, cwd=DIR.name, check=False,
                          **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))


def img(*words, status=0):
    """Runs vireo-img and returns what it printed."""
    p = run(IMG, *words)
    if p.returncode != status:
        raise Failure("vireo-img %s: want status %d, got %d\n%s%s" % (
            " ".join(map(str, words)), status, p.returncode, p.stdout.decode(), p.stderr.decode()))
    return p.stdout.decode()


def fails(*words, wants=(), status=1, tool=IMG):
    """It ends with that status and one line that has all of wants."""
    p = run(tool, *words)
    what = " ".join(map(str, words))
    lines = p.stderr.decode(errors="replace").splitlines()
    check("status of %s (%s)" % (what, lines), status, p.returncode)
    check("lines on stderr of %s: %s" % (what, lines), 1, len(lines))
    for want in [os.path.basename(tool) + ": "] + list(wants):
        if want not in lines[0]:
            raise Failure("%s: want '%s' in: %s" % (what, want, lines[0]))
    return lines[0]


def img_json(*words, status=0):
    return json.loads(img(*words, "--output=json", status=status))


def io(*words, status=0):
    """vireo-io with commands; the words before the first command are options and the file."""
    p = run(IO, *words)
    if p.returncode != status:
        raise Failure("vireo-io %s: want status %d, got %d\n%s%s" % (
            " ".join(map(str, words)), status, p.returncode, p.stdout.decode(), p.stderr.decode()))
    return p.stdout.decode()


def has_format(name):
    words = img("--help").split("Formats:")[1].splitlines()[0].split()
    return name in words


def formats():
    return ["raw"] + (["qcow2"] if has_format("qcow2") else [])


def need_qcow2():
    if not has_format("qcow2"):
        raise Skip("qcow2 is not built")


def need_qemu(tool="qemu-img"):
    if not shutil.which(tool):
        raise Skip("no %s: install qemu-utils" % tool)


def qemu_img(*words, status=0):
    need_qemu()
    p = run("qemu-img", *words)
    if status is not None and p.returncode != status:
        raise Failure("qemu-img %s: want status %d, got %d\n%s%s" % (
            " ".join(map(str, words)), status, p.returncode, p.stdout.decode(), p.stderr.decode()))
    return p.stdout.decode()


def pattern_file(name, size, seed=1, density=0.5, block=4096):
    """A raw file with random blocks, zero blocks and holes."""
    rng = random.Random(seed)
    with open(path(name), "wb") as f:
        f.truncate(size)
        at = 0
        while at < size:
            run_len = min(block * rng.randint(1, 40), size - at)
            if rng.random() < density:
                f.seek(at)
                kind = rng.random()
                f.write(bytes(run_len) if kind < 0.2 else
                        (b"%08d" % rng.randint(0, 10 ** 8) * (run_len // 8 + 1))[:run_len] if kind < 0.7
                        else rng.randbytes(run_len))
            at += run_len
    return path(name)


def contents(name):
    with open(path(name), "rb") as f:
        return f.read()


def same_bytes(what, a, b):
    """Compares two raw files and names the first difference."""
    x, y = contents(a), contents(b)
    if x == y:
        return
    if len(x) != len(y):
        raise Failure("%s: want %d bytes, got %d" % (what, len(x), len(y)))
    at = next(i for i in range(0, len(x), 512) if x[i:i + 512] != y[i:i + 512])
    raise Failure("%s: the files differ at sector %d" % (what, at // 512))
