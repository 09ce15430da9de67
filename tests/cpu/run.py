#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the CPU guests (tests/cpu/*.S and *.c) and runs them, TAP on stdout.

A guest is a BIOS image that prints TAP to the debug port and leaves through isa-debug-exit. In a
guest's opening comment,
    qemu: NAME              marks a check that QEMU's TCG is known to fail,
    qemu: skip (REASON)     a guest that it cannot run at all,
    ends: reset             a guest whose last deed resets the machine, after its plan,
    smp: 1 2 4              numbers of CPUs it is run with, once each,
    bits: 64 32             a guest in C: what it is compiled as, and run once each,
    lockstep: no (REASON)   a guest that is not among those of jit-check: too long, mostly.

    run.py [-v VIREO] [-a ACCEL] [-c CPU] [--qemu] [--switch ENGINES] [GUEST...]

ACCEL: what vireo -accel takes, or a setting's name in tests/engines.py.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 60 * float(os.environ.get("SLOW", "1"))


sys.path.insert(0, os.path.dirname(HERE))
import engines  # pylint: disable=wrong-import-position
import hmp  # pylint: disable=wrong-import-position
import signals  # pylint: disable=wrong-import-position

C_FLAGS = ["-O2", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-mno-red-zone",
           "-mgeneral-regs-only", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
           "-Wall", "-Wextra", "-Werror"]


def guests():
    names = {f[:-2]: f for f in os.listdir(HERE) if f.endswith((".S", ".c"))}
    return sorted(n for n in names if n not in ("lib", "crt"))


def source(name):
    path = os.path.join(HERE, name + ".c")
    return path if os.path.exists(path) else os.path.join(HERE, name + ".S")


def head(name, key):
    """The values behind 'key:' in the guest's opening comment."""
    with open(source(name)) as f:
        comment = f.read().split("*/")[0]
    return re.findall(r"^ \* %s: (.*)$" % key, comment, re.M)


def compile_c(path, obj, bits, cc, flags=()):
    """32-bit code goes into the same 64-bit objects as lib.S, behind a .code32."""
    flags = C_FLAGS + list(flags)
    if bits == 64:
        subprocess.run([cc, "-m64", "-mcmodel=small"] + flags + ["-c", "-o", obj, path], check=True)
        return
    asm = obj[:-2] + ".s"
    subprocess.run([cc, "-m32", "-march=i686"] + flags + ["-S", "-o", asm, path], check=True)
    with open(asm) as f:
        text = f.read()
    with open(asm, "w") as f:
        f.write("\t.code32\n" + text)
    subprocess.run(["as", "--64", "-o", obj, asm], check=True)


def build_image(paths, image, cc, bits=64, flags=()):
    """Makes a 64 KiB image of these sources and lib.S. flags: more of them, for C."""
    # clang's own assembler does not know "offset 1b" for what it is
    use_as = ["-fno-integrated-as"] if "clang" in cc else []
    objects = []
    for path in [os.path.join(HERE, "lib.S")] + paths:
        obj = image[:-4] + "." + os.path.basename(path)[:-2] + ".o"
        if path.endswith(".c"):
            compile_c(path, obj, bits, cc, flags)
        else:
            subprocess.run([cc, "-m64", "-DBITS=%d" % bits, "-c", "-o", obj, path] + use_as,
                           check=True)
        objects.append(obj)
    elf = image[:-4] + ".elf"
    subprocess.run(["ld", "-m", "elf_x86_64", "--no-warn-rwx-segments", "-z", "noexecstack", "-T",
                    os.path.join(HERE, "rom.ld"), "-o", elf] + objects, check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", "-j", ".utext", "-j", ".data",
                    "-j", ".reset", elf, image], check=True)
    return image


def build(name, out, cc, bits=64, flags=()):
    """Returns the path of NAME's image."""
    crt = [os.path.join(HERE, "crt.S")] if source(name).endswith(".c") else []
    return build_image(crt + [source(name)], os.path.join(out, "%s-%d.bin" % (name, bits)), cc, bits,
                       flags)


def ends_by_reset(name):
    return head(name, "ends") == ["reset"]


def command(args, name, image, log, smp):
    if args.qemu:
        start = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", args.cpu]
    else:
        model = (head(name, "cpu") or [args.cpu])[0]
        start = [args.vireo, "-accel", engines.accel(args.accel), "-cpu", model]
    return start + ["-m", "32", "-nodefaults", "-display", "none", "-no-reboot", "-bios", image,
                    "-debugcon", "file:" + log, "-device", "isa-debug-exit,iobase=0xf4,iosize=1"
                    ] + (["-smp", str(smp)] if smp > 1 else [])


def run_guest(args, name, out, bits, smp):
    """Returns (lines, problem): the guest's TAP text, and what went wrong outside of it."""
    image, log = build(name, out, args.cc, bits), os.path.join(out, name + ".log")
    if os.path.exists(log):
        os.unlink(log)
    cmd = command(args, name, image, log, smp)
    switcher = None
    if args.switch:
        socket = os.path.join(out, "monitor")
        cmd += ["-monitor", "unix:%s,server=on,wait=off" % socket]
        switcher = hmp.Switcher(socket, args.switch.split(":"), smp)
    if args.show:
        print("# " + " ".join(cmd))
    if switcher:
        switcher.start()
    try:
        env = signals.environment(out, args.signals) if args.signals else None
        done = subprocess.run(cmd, timeout=TIMEOUT, env=env, stdin=subprocess.DEVNULL,
                              stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
        status, said = done.returncode, done.stdout.decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        status, said = "no end within %d s" % TIMEOUT, ""
    if switcher:
        switcher.stop()
        said += switcher.said
        print("# %s: %d switches" % (name, switcher.count))
    text = ""
    if os.path.exists(log):
        with open(log, errors="replace") as f:
            text = f.read()
    lines = text.splitlines()
    problem = None
    want = (0,) if ends_by_reset(name) else (1, 3)
    if status not in want or not any(l.startswith("1..") for l in lines):
        problem = "want a plan and exit status in %s, got %s %s" % (want, status, said)
    return lines, problem


def report(args, name, out, bits, smp, totals):
    """Runs one, prints its TAP under numbers of our own."""
    title = name
    if source(name).endswith(".c"):
        title = "%s %d-bit" % (name, bits)
    if head(name, "smp"):
        title += " smp=%d" % smp
    known = head(name, "qemu") if args.qemu else []
    skip = [k for k in known if k.startswith("skip")]
    if skip:
        totals[0] += 1
        print("ok %d - %s # SKIP %s" % (totals[0], title, skip[0][5:]))
        return
    lines, problem = run_guest(args, name, out, bits, smp)
    for line in lines:
        match = re.match(r"(not )?ok \d+ - (.*)", line)
        if not match:
            if line.startswith("#") or "SKIP" in line:
                print("# %s: %s" % (title, line.lstrip("# ")))
            continue
        totals[0] += 1
        todo = " # TODO known deviation" if match[2] in known else ""
        totals[1] += bool(match[1]) and not todo
        print("%sok %d - %s: %s%s" % (match[1] or "", totals[0], title, match[2], todo))
    if problem:
        totals[0] += 1
        totals[1] += 1
        print("not ok %d - %s: ends\n# %s" % (totals[0], title, problem))
    sys.stdout.flush()


def numbers(name, word, default):
    return [int(n) for n in (head(name, word) or [default])[0].split()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--vireo", default=os.environ.get("VIREO", "build/vireo"))
    parser.add_argument("-a", "--accel", default=os.environ.get("VIREO_ACCEL", "interp"))
    parser.add_argument("-c", "--cpu", default="max")
    parser.add_argument("--cc", default=os.environ.get("CC", "gcc").split()[-1])
    parser.add_argument("--qemu", action="store_true", help="ask qemu-system-x86_64 instead")
    parser.add_argument("--show", action="store_true", help="print the commands")
    parser.add_argument("--signals", type=int, metavar="N",
                        help="send every thread N signals a second (../signals.py)")
    parser.add_argument("--switch", metavar="ENGINE:ENGINE",
                        help="move the CPUs between these engines all the time")
    parser.add_argument("--keep", help="directory to leave images and logs in")
    parser.add_argument("--list", action="store_true", help="names of the guests")
    parser.add_argument("--list-smp", action="store_true", help="of those for several CPUs")
    parser.add_argument("--list-lockstep", action="store_true", help="of those for jit-check")
    parser.add_argument("guest", nargs="*")
    args = parser.parse_args()
    if args.list_lockstep:
        print("\n".join(n for n in guests() if not head(n, "lockstep")))
        return 0
    if args.list or args.list_smp:
        print("\n".join(n for n in guests() if args.list or len(numbers(n, "smp", "1")) > 1))
        return 0
    unknown = set(args.guest) - set(guests())
    if unknown:
        parser.error("no guest %s; --list shows them" % ", ".join(sorted(unknown)))
    out = args.keep or tempfile.mkdtemp(prefix="vireo-cpu-")
    os.makedirs(out, exist_ok=True)
    totals = [0, 0]  # tests, failures
    for name in args.guest or guests():
        for bits in numbers(name, "bits", "64"):
            for smp in numbers(name, "smp", "1"):
                report(args, name, out, bits, smp, totals)
    number, failed = totals
    print("1..%d" % number)
    if failed:
        print("# rerun: tests/cpu/run.py %s%s" % ("--qemu" if args.qemu else "-a " + args.accel,
                                                  "".join(" " + n for n in args.guest)))
    if not args.keep:
        shutil.rmtree(out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
