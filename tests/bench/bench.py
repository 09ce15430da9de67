#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures x86 PC emulators on one guest, timed by the host's clock.

run:    boots the guest images of build.py in every emulator given, in turns
        (A B A B ...), and writes a JSON record and a markdown table
report: makes the table again from one or more records
"""
import argparse
import errno
import json
import os
import select
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
import tty
from pathlib import Path

HERE = Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
NOT_SPEED = {"idle10", "timer_sleep", "port_io"}  # kept out of the means
NO_NATIVE = {"port_io"}
MEM = {"public": 256, "disk": 256}


# ---- one process tree ----


def session_stats(leader):
    """CPU seconds and the sum of peak RSS (MiB) of all processes in leader's session."""
    ticks = rss = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                field = f.read().rpartition(")")[2].split()
            if int(field[3]) != leader:
                continue
            ticks += sum(map(int, field[11:15]))
            with open(f"/proc/{pid}/status") as f:
                rss += sum(int(l.split()[1]) for l in f if l.startswith("VmHWM:"))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return ticks / TICK, rss / 1024


def stop(proc):
    try:
        os.killpg(proc.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    proc.wait()


def lines_of(fd, proc, timeout, first):
    """Yields (time, line) from fd; ends when the process does, or after timeout silent seconds."""
    buf, dead = b"", False
    deadline = time.monotonic() + timeout
    while True:
        ready, _, _ = select.select([fd], [], [], 0.2)
        now = time.monotonic()
        chunk = b""
        if ready:
            try:
                chunk = os.read(fd, 65536)
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.EIO):
                    raise
        if chunk:
            first.setdefault("first_byte", now)
            buf += chunk
            *full, buf = buf.split(b"\n")
            for line in full:
                line = line.decode("latin-1").strip()
                if "@@" in line:
                    deadline = now + timeout
                yield now, line
        elif dead:
            return
        elif proc.poll() is not None:
            dead = True
        if now > deadline:
            yield now, "@@TIMEOUT"
            return


def boot(argv, work, serial, timeout, log, native):
    """Runs one command to its @@DONE; returns what the console said and when.

    CPU time is the emulator's, in ticks of the host's clock; for native runs it is the
    finer figure that init takes from this same kernel.
    """
    out = {"workloads": {}}
    start = time.monotonic()
    with open(log, "ab") as err:
        err.write(("\n$ " + shlex.join(argv) + "\n").encode())
        err.flush()
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=err, cwd=work,
                                stdout=err if serial else subprocess.PIPE, start_new_session=True)
    first, current = {}, None
    fd = serial or proc.stdout.fileno()
    try:
        with open(log, "a") as err:
            for now, line in lines_of(fd, proc, timeout, first):
                err.write(f"{now - start:9.3f} {line}\n")
                word = line[line.find("@@"):].split() if "@@" in line else []
                if not word:
                    continue
                if word[0] == "@@READY":
                    out["boot_s"] = now - start
                    out["boot_cpu_s"], out["rss_boot_mib"] = session_stats(proc.pid)
                elif word[0] == "@@BEGIN":
                    current = word[1], now, session_stats(proc.pid)[0]
                elif word[0] == "@@END" and current and current[0] == word[1]:
                    kv = dict(w.split("=", 1) for w in word[2:])
                    cpu = session_stats(proc.pid)[0] - current[2]
                    out["workloads"][word[1]] = {
                        "wall_s": now - current[1], "rc": int(kv["rc"]), "sum": kv["sum"],
                        "cpu_s": int(kv["us"]) / 1e6 if native else cpu}
                    current = None
                elif word[0] in ("@@DONE", "@@TIMEOUT"):
                    out["rss_peak_mib"] = session_stats(proc.pid)[1]
                    break
    finally:
        stop(proc)
        if proc.stdout:
            proc.stdout.close()
    if "first_byte" in first:
        out["first_byte_s"] = first["first_byte"] - start
    if current:
        out["failed"] = current[0]
    elif "rss_peak_mib" not in out or "boot_s" not in out:
        out["failed"] = "@boot"
    return out


def host_speed(build):
    """CPU seconds that the host takes now for a fixed piece of work: how busy the machine is.

    Neighbours slow even CPU time, by caches and sibling threads; the record keeps this figure
    with every boot, so that a reader can see what to distrust.
    """
    root = build / "root-public"
    env = {"VB_SCALE": "0.3"}
    proc = subprocess.Popen([root / "bench/vbench", "sort"], env=env, stdout=subprocess.DEVNULL)
    use = os.wait4(proc.pid, 0)[2]
    proc.returncode = 0
    return use.ru_utime + use.ru_stime


# ---- commands ----


def make_iso(work, build, image, append):
    """An isolinux CD, for emulators that cannot load a kernel themselves."""
    tree = work / "iso"
    tree.mkdir(exist_ok=True)
    lib = Path(os.environ.get("ISOLINUX", "/usr/lib/ISOLINUX"))
    mods = Path(os.environ.get("SYSLINUX_MODULES", "/usr/lib/syslinux/modules/bios"))
    for src, name in ((lib / "isolinux.bin", "isolinux.bin"), (mods / "ldlinux.c32", "ldlinux.c32"),
                      (build / "kernel", "kernel"), (build / f"{image}.cpio.gz", "initrd")):
        (tree / name).write_bytes(src.read_bytes())
    (tree / "isolinux.cfg").write_text(
        f"default vb\nprompt 0\nlabel vb\n kernel kernel\n initrd initrd\n append {append}\n")
    iso = work / "guest.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-b", "isolinux.bin",
                    "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4",
                    "-boot-info-table", tree], check=True, stderr=subprocess.DEVNULL)
    return iso


def make_disk(path, mib=256):
    """Anew each time, since the last guest wrote to its own."""
    original = path.with_suffix(".orig")
    if not original.exists() or original.stat().st_size != mib << 20:
        import random
        rng = random.Random(1)
        with open(original, "wb") as f:
            for _ in range(mib):
                f.write(rng.randbytes(1 << 20))
    shutil.copyfile(original, path)
    return path


class Target:
    def __init__(self, name, template, disk_args):
        self.name, self.template, self.disk_args = name, template, disk_args

    def command(self, a, image, names):
        append = f"{a.append} vb.list=/bench/{image}.list vb.scale={a.scale:g}"
        append += f" vb.only={','.join(names)}"
        values = {
            "kernel": a.build / "kernel", "initrd": a.build / f"{image}.cpio.gz",
            "append": append, "mem": a.mem or MEM[image], "work": a.work, "here": HERE,
            "serial": a.tty, "disk": a.work / "disk.img"}
        text = self.template
        if image == "disk":
            text += " " + self.disk_args
        if "{iso}" in text:
            values["iso"] = make_iso(a.work, a.build, image, append)
        return [w.format(**values) for w in shlex.split(text)], a.serial if "{serial}" in text else 0


class Native(Target):
    def command(self, a, image, names):
        argv = [HERE / "emus/native.sh", a.build / f"root-{image}", f"/bench/{image}.list",
                f"{a.scale:g}", ",".join(names)]
        if image == "disk":
            argv.append(a.work / "disk.img")
        return [str(w) for w in argv], 0


def workload_names(build, image):
    text = (build / f"root-{image}/bench/{image}.list").read_text()
    return [l.split()[0] for l in text.splitlines() if l.strip() and l[0] != "#"]


def measure(target, a, image, names, rep):
    """Boots until every workload ran; one that hangs or crashes costs one boot and is skipped."""
    record = {"emu": target.name, "image": image, "rep": rep, "workloads": {}, "failed": []}
    todo = list(names)
    while todo:
        argv, serial = target.command(a, image, todo)
        one = boot(argv, a.work, serial, a.timeout, a.work / f"{target.name}.log",
                   isinstance(target, Native))
        for key in ("boot_s", "boot_cpu_s", "first_byte_s", "rss_boot_mib", "rss_peak_mib"):
            if key in one:
                record.setdefault(key, one[key])
        record["workloads"].update(one["workloads"])
        left = [n for n in todo if n not in one["workloads"]]
        if "failed" not in one and len(left) == len(todo):
            break
        if one.get("failed") == "@boot":
            record["failed"].append("@boot")
            if len(left) == len(todo):
                break
        elif "failed" in one:
            record["failed"].append(one["failed"])
            left.remove(one["failed"])
        todo = left
    return record


def run(a):
    a.build, a.work = a.build.resolve(), a.work.resolve()
    a.work.mkdir(parents=True, exist_ok=True)
    disk = dict(s.split("=", 1) for s in a.emu_disk)
    targets = [Native("native", "", "")] if a.native else []
    targets += [Target(n, t, disk.get(n, "")) for n, t in (s.split("=", 1) for s in a.emu)]
    only = a.only.split(",") if a.only else None
    skip = set(a.skip.split(",")) if a.skip else set()
    a.serial, slave = os.openpty()  # the slave stays open, so that reading never ends
    tty.setraw(slave)
    os.set_blocking(a.serial, False)
    a.tty = os.ttyname(slave)
    records = []
    meta = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "scale": a.scale,
            "arch": (a.build / "arch").read_text(), "append": a.append, "cpus": os.cpu_count(),
            "host": os.uname().release, "emus": {t.name: t.template for t in targets}}
    for rep in range(a.repeat):
        turn = targets[rep % len(targets):] + targets[:rep % len(targets)]
        for image in a.sets.split(","):
            names = [n for n in workload_names(a.build, image)
                     if (not only or n in only) and n not in skip]
            for t in turn:
                if image == "disk" and not t.disk_args and t.name != "native":
                    continue
                if image == "disk":
                    make_disk(a.work / "disk.img")
                busy = {"load_before": os.getloadavg()[0], "probe_s": host_speed(a.build)}
                record = measure(t, a, image, names, rep)
                record.update(busy)
                records.append(record)
                print(f"rep {rep} {image:8} {t.name:10} boot {record.get('boot_s', -1):6.2f}s "
                      f"sum {sum(w['wall_s'] for w in record['workloads'].values()):7.2f}s "
                      f"load {busy['load_before']:.1f} probe {busy['probe_s']:.3f}s failed {record['failed']}", file=sys.stderr, flush=True)
                a.json.write_text(json.dumps({"meta": meta, "records": records}, indent=1) + "\n")
    table = report([{"meta": meta, "records": records}], a.ref, a.metric)
    if a.md:
        a.md.write_text(table)
    print(table)


# ---- tables ----


def cell(value, digits=3):
    return "-" if value is None else f"{value:.{digits}g}" if value < 100 else f"{value:.0f}"


def gmean(values):
    values = [v for v in values if v]
    return statistics.geometric_mean(values) if values else None


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(out + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def report(files, ref, metric):
    records = [r for f in files for r in f["records"]]
    emus = list(dict.fromkeys(n for f in files for n in f["meta"]["emus"]))
    others = [e for e in emus if e != "native"]
    ref = ref if ref in others else None
    out = []
    for f in files:
        m = f["meta"]
        out.append(f"{m['date']} arch {m['arch']} scale {m['scale']:g} host {m['host']}, "
                   f"{m['cpus']} CPUs; {metric}, medians; append `{m['append']}`\n")

    for image in dict.fromkeys(r["image"] for r in records):
        mine = [r for r in records if r["image"] == image]
        names = list(dict.fromkeys(n for r in mine for n in r["workloads"]))
        sums, bad, med, spread = {}, [], {}, {}
        for name in names:
            for e in emus:
                runs = [r["workloads"][name] for r in mine
                        if r["emu"] == e and name in r["workloads"]]
                vals = [w[metric] for w in runs if w["rc"] == 0]
                if vals and not (e == "native" and name in NO_NATIVE):
                    med[e, name] = statistics.median(vals)
                    spread[e, name] = (max(vals) - min(vals)) / (med[e, name] or 1)
                for w in runs:
                    want = sums.setdefault(name, w["sum"])
                    if w["sum"] != want or w["rc"]:
                        bad.append(f"{e}/{name} (rc {w['rc']})")
        head = ["workload"] + [f"{e} s" for e in emus]
        head += [f"{e}/native" for e in others if "native" in emus]
        head += [f"{e}/{ref}" for e in others if ref and e != ref]
        rows, ratios = [], {}
        for name in names:
            row = [name] + [cell(med.get((e, name))) for e in emus]
            for base in (["native"] if "native" in emus else []) + ([ref] if ref else []):
                for e in others:
                    if e == base:
                        continue
                    x, y = med.get((e, name)), med.get((base, name))
                    q = x / y if x and y else None
                    row.append(cell(q))
                    if name not in NOT_SPEED:
                        ratios.setdefault((base, e), []).append(q)
            rows.append(row)
        row = ["**geometric mean**"] + [""] * len(emus)
        row += [cell(gmean(ratios.get(("native", e), []))) for e in others if "native" in emus]
        row += [cell(gmean(ratios.get((ref, e), []))) for e in others if ref and e != ref]
        rows.append(row)
        out.append(f"### {image}\n")
        out.append(table(head, rows))
        wide = [f"{e}/{n} {s:.0%}" for (e, n), s in spread.items()
                if s > 0.25 and med[e, n] > 0.05]
        if wide:
            out.append("Spread (max-min)/median over 25%: " + ", ".join(wide) + "\n")
        probes = [(e, [r["probe_s"] for r in mine if r["emu"] == e and "probe_s" in r])
                  for e in emus]
        if any(p for _, p in probes):
            out.append("Host speed probe, CPU s before each boot: " + ", ".join(
                f"{e} {min(p):.3f}-{max(p):.3f}" for e, p in probes if p) + "\n")
        failed = [f"{r['emu']}: {n}" for r in mine for n in r["failed"]]
        if bad or failed:
            out.append("WRONG RESULT: " + ", ".join(sorted(set(bad))) + "\n" if bad else "")
            out.append("FAILED: " + ", ".join(failed) + "\n" if failed else "")

    rows = []
    for e in others:
        mine = [r for r in records if r["emu"] == e and r["image"] == "public"]

        def mid(get):
            vals = [v for v in map(get, mine) if v is not None]
            return statistics.median(vals) if vals else None

        def idle(r, key):
            w = r["workloads"].get("idle10")
            return w and (100 * w["cpu_s"] / w["wall_s"] if key == "cpu" else w["wall_s"])

        rows.append([e, cell(mid(lambda r: r.get("first_byte_s"))),
                     cell(mid(lambda r: r.get("boot_s"))), cell(mid(lambda r: r.get("boot_cpu_s"))),
                     cell(mid(lambda r: r.get("rss_boot_mib"))),
                     cell(mid(lambda r: r.get("rss_peak_mib"))),
                     cell(mid(lambda r: idle(r, "cpu"))), cell(mid(lambda r: idle(r, "wall")))])
    out.append("### machine (public image)\n")
    out.append(table(["emulator", "first output s", "boot to init s", "boot CPU s", "RSS at init MiB",
                      "peak RSS MiB", "idle host CPU %", "10 s sleep takes s"], rows))
    return "\n".join(out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = ap.add_subparsers(dest="verb", required=True)
    r = sub.add_parser("run")
    r.add_argument("--emu", action="append", default=[], metavar="NAME=COMMAND",
                   help="placeholders: {kernel} {initrd} {append} {mem} {iso} {serial} {disk} "
                        "{work} {here}; the console is read from stdout, or from {serial}")
    r.add_argument("--emu-disk", action="append", default=[], metavar="NAME=ARGS",
                   help="added to the command for the disk set")
    r.add_argument("--native", action="store_true")
    r.add_argument("--build", type=Path, default=HERE / "build")
    r.add_argument("--work", type=Path, default=HERE / "work")
    r.add_argument("--sets", default="public", help="of public,disk")
    r.add_argument("--only", help="workloads, comma separated")
    r.add_argument("--skip", help="workloads, comma separated")
    r.add_argument("--repeat", type=int, default=3)
    r.add_argument("--scale", type=float, default=1)
    r.add_argument("--mem", type=int, help="guest MiB instead of the set's own")
    r.add_argument("--timeout", type=float, default=300, help="seconds without a marker line")
    r.add_argument("--append", default="console=ttyS0 quiet panic=-1 nokaslr")
    r.add_argument("--json", type=Path, default=Path("bench.json"))
    r.add_argument("--md", type=Path)
    p = sub.add_parser("report")
    p.add_argument("files", nargs="+", type=Path)
    for s in (r, p):
        s.add_argument("--ref", default="qemu")
        s.add_argument("--metric", choices=["wall_s", "cpu_s"], default="wall_s")
    a = ap.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that boot() stops its emulator
    if a.verb == "run":
        run(a)
    else:
        print(report([json.loads(f.read_text()) for f in a.files], a.ref, a.metric))


main()
