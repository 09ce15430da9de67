#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""No timer tick is lost, none comes twice, while the machine is paused and goes on, or changes
engines (ticks.c counts them)."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run  # pylint: disable=wrong-import-position

VIREO = os.environ.get("VIREO", "build/vireo")
LIMIT = 60 * float(os.environ.get("SLOW", "1"))
STORM = 400  # times; then the guest may finish in peace: if a tick is lost it never does


def storm(out, image, mode, cpus, commands):
    """The guest's text, and how often the commands were given."""
    log = os.path.join(out, "log")
    if os.path.exists(log):
        os.unlink(log)
    cmd = run.command(VIREO, image, log, run.accel(mode), cpus, ["-monitor", "stdio"])
    with open(os.path.join(out, "stderr"), "w") as err:
        vireo = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=err)
    end, times = time.monotonic() + LIMIT, 0
    try:
        while vireo.poll() is None and time.monotonic() < end:
            for command in commands if times < STORM else []:
                os.write(vireo.stdin.fileno(), command.encode() + b"\n")
                time.sleep(0.004)
            times += times < STORM
            time.sleep(0 if times < STORM else 0.1)
    except BrokenPipeError:
        pass
    vireo.kill()
    vireo.wait()
    text = ""
    for name in ("log", "stderr"):
        with open(os.path.join(out, name), errors="replace") as f:
            text += f.read()
    return text, times


def main():
    why = run.lacks()
    if why:
        print("1..0 # SKIP " + why)
        return 0
    modes = ("on", "split", "off")
    cases = [(mode, 1, "pauses", ["stop", "cont"]) for mode in modes]
    cases += [(mode, 1, "engines", ["accel all interp", "accel all kvm"]) for mode in modes]
    cases += [("off", 1, "engines (jit)", ["accel all jit", "accel all kvm"]),
              ("on", 2, "another CPU's engines", ["accel 1 interp", "accel 1 kvm"])]
    out = tempfile.mkdtemp(prefix="vireo-ticks-")
    image = run.build("ticks", out)
    failed = 0
    for number, (mode, cpus, what, commands) in enumerate(cases, 1):
        text, times = storm(out, image, mode, cpus, commands)
        ok = "1..3" in text and "not ok" not in text
        failed += not ok
        print("%sok %d - %s, kernel-irqchip=%s" % ("" if ok else "not ", number, what, mode))
        print("# %d times" % times)
        if not ok:
            print("".join("# %s\n" % line for line in text.splitlines()), end="")
            print("# rerun: tests/kvm/test_ticks.py")
        sys.stdout.flush()
    print("1..%d" % len(cases))
    shutil.rmtree(out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
