#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What shows the work of the translator: -perfmap, -d and -dfilter. The guests are a few bytes of firmware each."""

import os
import re
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import hmp  # pylint: disable=wrong-import-position
from test_start import DIR, HALT, SAY_A, SPIN, TIMEOUT, Run, check, fails, main, outb, outl  # pylint: disable=wrong-import-position

JIT = ["-accel", "jit,threshold=0", "-debugcon", "stdio"]
RESET_CS = 0xffff0000
CODE = RESET_CS + 0xfe00  # where firmware() puts it


def test_perfmap():
    run = Run(*JIT, "-perfmap", code=SAY_A + SPIN)
    path = "/tmp/perf-%d.map" % run.proc.pid
    try:
        run.wait_for("A")
        with open("/proc/%d/maps" % run.proc.pid, encoding="ascii") as f:
            maps = f.read()
        check("ends at SIGTERM", 0, run.terminate())
        with open(path, encoding="ascii") as f:
            lines = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) (\S+)$", f.read(), re.M)
    finally:
        run.kill()
        if os.path.exists(path):
            os.unlink(path)
    spans = [(int(start, 16), int(size, 16)) for start, size, _ in lines]
    names = [name for _, _, name in lines]
    for a, b in zip(spans, spans[1:]):
        check("lines do not overlap", True, a[0] + a[1] <= b[0])
    check("the slow stub has a line", True, "stub:slow" in names)
    check("the first block has a line", True, "real:0x%x" % CODE in names)
    # perf report looks at the file for anonymous memory only.
    m = re.search(r"^([0-9a-f]+)-([0-9a-f]+) r-xs .* /dev/zero", maps, re.M)
    check("executable anonymous memory", True, m is not None)
    check("the lines are inside", True, int(m[1], 16) <= spans[0][0] and
          spans[-1][0] + spans[-1][1] <= int(m[2], 16))


def log_of(*args, code):
    """What -d wrote until the guest said A."""
    run = Run(*args, "-debugcon", "stdio", code=code)
    try:
        run.wait_for("A")
        run.terminate()
    finally:
        run.kill()
    return run.stderr()


# Three blocks: at 0, 3 and 6.
BLOCKS = b"\x40\xeb\x00" + b"\x43\xeb\x00" + b"\x41" + SAY_A + HALT
ENGINES = ("interp", "jit,threshold=0", "jit,threshold=1000000")


def test_dfilter_in_asm():
    for accel in ENGINES:
        for ranges, want in (("0x%x..0x%x" % (CODE + 3, CODE + 5), {"bx"}),
                             ("0x%x+3" % (CODE + 3), {"bx"}),
                             ("0x%x-3" % (CODE + 5), {"bx"}),
                             ("%d+1,0x%x..0x%x" % (CODE, CODE + 5, CODE + 6), {"ax", "cx"}),
                             ("0x1000..0x2000", set())):
            text = log_of("-accel", accel, "-d", "in_asm", "-dfilter", ranges, code=BLOCKS)
            check("-accel %s -dfilter %s" % (accel, ranges), want,
                  set(re.findall(r": +inc (\w+)", text)))


def test_dfilter_out_asm():
    for ranges, want in ((["-dfilter", "0x%x..0x%x" % (CODE + 3, CODE + 8)], 2), ([], 3)):
        text = log_of("-accel", "jit,threshold=0", "-d", "out_asm", *ranges, code=BLOCKS)
        got = text.count("OUT: ")
        check("%s: blocks shown (%d)" % (ranges, got), True, got == want if ranges else got >= want)


def test_dfilter_exec():
    for accel in ENGINES:
        for ranges, want in (([], ["fe00", "fe03", "fe06"]),
                             (["-dfilter", "0x%x+1" % (CODE + 3)], ["fe03"])):
            text = log_of("-accel", accel, "-d", "exec,cpu,nochain", *ranges, code=BLOCKS)
            got = re.findall(r"^cpu 0 (?:interp|code) 0x0000(fe0[036]) mode [0-9a-f]{5}$", text, re.M)
            check("-accel %s %s" % (accel, ranges), want, got)
            got = re.findall(r"^cpu 0 (?:interp|code): rip 0{12}(fe0[036]) rflags 0{5}...\b.*\n"
                             r"  rax [0-9a-f]{16}  rcx .*\n  rsp .*  rdi [0-9a-f]{16}\n"
                             r"  cs f000 ss 0000 .* cr3 0{16} cr4 0{8}$", text, re.M)
            check("-accel %s %s: registers" % (accel, ranges), want, got)


def test_op():
    # inc ax; cmp ax, bx; jnz over the next; mov ax, [500h]; cld
    code = b"\x40\x39\xd8\x75\x03\xa1\x00\x05" + b"\xfc" + SAY_A + HALT
    def blocks(accel):
        return log_of("-accel", accel, "-d", "op", "-dfilter", "0x%x+1" % CODE, code=code)

    text = blocks("jit,threshold=0,window=off")
    for want in (r"^OP: real 0x%x, \d+ instructions, \d+ bytes and \d+ for rare cases; "
                 r"flags read: ------$" % CODE,
                 r"fe00:  inc ax +; ------ wanted, memory, 3 bytes: in line$",
                 r"fe01:  cmp ax, bx +; OSZAPC wanted, host, 3 bytes: in line$",
                 r"fe03:  jnz 0xfe08 .*: chained to 0xfe08, saves the flags if wanted there$",
                 r"fe05:  mov ax, .*: segment checked, memory slot \d+: read 2 bytes$",
                 r"fe08:  cld .*: function$"):
        check("'%s' in\n%s" % (want, text), True, bool(re.search(want, text, re.M)))
    check("blocks shown", 1, text.count("OP: "))
    check("window", True, "segment checked, through the window\n" in blocks("jit,threshold=0"))


# Pages of 4 MiB: the last one is the firmware's, nothing else is there. Then address 5000h is read.
PAGE_FAULT = bytes.fromhex("".join(row.split("  ")[0] for row in (
    "66 b8 83 00 c0 ff 66 a3 fc 1f  mov eax, 0ffc00083h; mov [1ffch], eax",
    "66 31 c0 66 a3 00 10  xor eax, eax; mov [1000h], eax",
    "66 b8 00 10 00 00 0f 22 d8  mov eax, 1000h; mov cr3, eax",
    "66 b8 10 00 00 00 0f 22 e0  mov eax, 10h; mov cr4, eax: PSE",
    "66 b8 01 00 00 80 0f 22 c0  mov eax, 80000001h; mov cr0, eax",
    "0f 01 3e 00 50  invlpg [5000h]",
    "a0 00 50  mov al, [5000h]")))


def test_mmu_int_reset():
    """Page fault, double fault for want of an IDT, triple fault."""
    at = r" at f000:0{12}fe%02x"
    for accel in ENGINES:
        run = Run("-accel", accel, "-d", "mmu,int,cpu_reset", "-no-reboot", code=PAGE_FAULT)
        try:
            run.wait()
        finally:
            run.kill()
        for want in (r"^cpu0: CR3 0{12}1000, TLB flush but for global pages" + at % 0x17,
                     r"^cpu0: TLB flush" + at % 0x20, r"^cpu0: TLB flush" + at % 0x29,
                     r"^cpu0: TLB flush of page 0{12}5000" + at % 0x2c,
                     r"^cpu0: page fault" + at % 0x31 + r" cr2 0{12}5000 error 0000: "
                     r"supervisor read, page not present",
                     r"^cpu0: exception 0e error 0000 cr2 0{12}5000" + at % 0x31 + " cpl 0 ss:rsp ",
                     r"^cpu0: exception 08 error 0000" + at % 0x31, r"^cpu0: triple fault" + at % 0x31,
                     r"^cpu 0 triple fault: rip 0{12}fe31 .*\n  rax 0{8}80000001 "):
            check("-accel %s: '%s' in\n%s" % (accel, want, run.stderr()), True,
                  bool(re.search(want, run.stderr(), re.M)))


def test_dfilter_errors():
    for text in ("1000", "0x2000..0x1000", "0x1000+0", "0x1000+x", "0x10-0x20", "-5"):
        fails(["-dfilter", text, "-display", "none"], "-dfilter: '%s'" % text)
    fails(["-dfilter", "", "-display", "none"], "-dfilter: give a range")
    fails(["-dfilter", ",".join(["1..2"] * 65), "-display", "none"], "more than 64 ranges")


def test_perfmap_errors():
    fails(["-accel", "interp", "-perfmap", "-display", "none"], "-perfmap", "use -accel jit")


def test_options():
    """What would have no effect is refused, and says what to do."""
    for option, words in (("table=off,window=on", ("window=on", "table=off")),
                          ("window=some", ("window",)),
                          ("check-every=5", ("check=interp",)),
                          ("check=interp,thread=multi", ("thread=multi", "take turns")),
                          ("table=off,roam=all", ("roam=all", "table=off")),
                          ("table=off,roam=auto", ("roam=auto", "table=off")),
                          ("table=off,share=on", ("share=on", "table=off")),
                          ("table=off,span=on", ("span=on", "table=off")),
                          ("tb-size=0", ("tb-size", "1 to 1024")),
                          ("roam=some", ("off, auto or all",)), ("thread=some", ("multi or single",))):
        fails(["-accel", "jit," + option, "-display", "none"], "-accel jit: ", *words)
    fails(["-accel", "interp,check=interp", "-display", "none"], "'check' belongs to -accel jit")
    for option in ("window=off,table=off", "table=off,roam=off,share=off,span=off",
                   "check=interp,check-every=5,thread=single"):
        run = Run("-accel", "jit," + option, "-debugcon", "stdio", code=SAY_A + HALT)
        try:
            run.wait_for("A")
        finally:
            run.kill()
    for accel, items, words in (("interp", "out_asm", ("translates nothing", "-accel jit")),
                                ("interp", "exec,op", ("-d op:", "-accel jit")),
                                ("test", "int", ("-d int:", "-accel jit")),
                                ("jit", "kvm", ("-d kvm:", "-accel kvm")),
                                ("jit", "", ("give a log item",)), ("jit", ",", ("give a log item",))):
        fails(["-accel", accel, "-d", items, "-display", "none"], *words)


def wait_until(ready):
    end = time.monotonic() + TIMEOUT
    while not ready() and time.monotonic() < end:
        time.sleep(.05)
    return ready()


def test_log_while_it_runs():
    """nochain undoes the jumps that there are, and -dfilter holds for what is switched on later."""
    code = SAY_A + b"\x40\xeb\x00" + b"\x43\xeb\xfa"  # inc ax; jmp on; inc bx; jmp back
    second = CODE + len(SAY_A) + 3
    path, log = os.path.join(DIR.name, "m2"), os.path.join(DIR.name, "log")
    run = Run("-accel", "jit,threshold=0", "-debugcon", "stdio", "-D", log, "-dfilter", "0x%x+1" % second,
              "-monitor", "unix:%s,server=on,wait=off" % path, code=code)
    try:
        monitor = hmp.Hmp(path)

        def chained():
            return int(re.search(r"jumps chained +(\d+)", monitor("info jit"))[1])
        check("the blocks lead to each other", True, wait_until(lambda: chained() >= 2))
        check("log", "", monitor("log exec,nochain"))
        check("every entry is logged", True, wait_until(lambda: os.path.getsize(log) > 30000))
        before = chained()
        check("log", "", monitor("log none"))
        check("they do so again", True, wait_until(lambda: chained() > before))
        check("nothing to log", True, "give a log item" in monitor("log ,"))
        monitor.close()
        with open(log, encoding="ascii") as f:
            rips = set(re.findall(r"^cpu 0 code 0x0000([0-9a-f]+) ", f.read(), re.M))
        check("what was logged", {"%x" % (second & 0xffff)}, rips)
    finally:
        run.kill()


def test_info_jit():
    """A block at 2000:0 that is called and stored to over and over."""
    code = bytes.fromhex("".join(row.split("  ")[0] for row in (
        "b8 00 20 8e c0 31 ff  mov ax, 2000h; mov es, ax; xor di, di",
        "b0 43 aa b0 cb aa  inc bx: stored; retf: stored",
        "9a 00 00 00 20  again: call 2000:0",
        "26 c6 06 00 00 43 eb f3  mov byte ptr es:[0], 43h; jmp again")))
    path = os.path.join(DIR.name, "m3")
    run = Run("-accel", "jit,threshold=0", "-monitor", "unix:%s,server=on,wait=off" % path, code=code)
    try:
        monitor = hmp.Hmp(path)

        def number(pattern):
            text = monitor("info jit")
            m = re.search(pattern, text, re.M)
            check("'%s' in\n%s" % (pattern, text), True, m is not None)
            return int(m[1])
        stores = r"^dropped +\d+ blocks: (\d+) stores of CPUs, 0 devices and host, 0 shared checks, "
        check("dropped by stores", True, wait_until(lambda: number(stores) > 2))
        for pattern, least in ((r"^code cache +\d+ of 65536 KiB, (\d+) blocks$", 2),
                               (r"^blocks made +(\d+): ", 2), (r"^writes to code +(\d+), which left ", 3),
                               (r"^CPU #0: code entered (\d+) times, ", 3),
                               (r"^  jump cache +(\d+) misses, [0-9.]+ for 1000 entries of code$", 1),
                               (r"^  chaining +(\d+) misses, [0-9.]+ for 1000 entries of code$", 0),
                               (r"^  slots +(\d+) misses, of which the Tlb had [0-9.]+ %; spans: \d+ misses$", 0),
                               (r"^  bare window +\d+ MiB; (\d+) faults, of which \d+ made a page", 1),
                               (r"^  checked window +(\d+) pages, mapped \d+ times; \d+ misses$", 0),
                               (r"^  stores .* (\d+) into code, which dropped \d+ blocks$", 3),
                               (r"^emptied +(\d+) flushes, 0 of them as the cache was full$", 0),
                               (r"^translation .* ([0-9]+)\.[0-9]+ % of all processor time, ", 0)):
            check("'%s'" % pattern, True, number(pattern) >= least)
        monitor("log nochain")
        check("emptied", True, number(r"^emptied +(\d+) flushes") == 1)
        monitor.close()
    finally:
        run.kill()
    run = Run("-accel", "jit,check=interp", "-monitor", "unix:%s2,server=on,wait=off" % path, "-S", code=code)
    try:
        monitor = hmp.Hmp(path + "2")
        check("threshold", True, "threshold         none: check=interp" in monitor("info jit"))
        monitor.close()
    finally:
        run.kill()


def test_endless_calls():
    """CALLs only, backwards and to themselves: the stack is never full, and the monitor is answered."""
    for n, code in enumerate((b"\xe8\xfd\xff", b"\xe8\x00\x00\xe8\xfa\xff")):
        path = os.path.join(DIR.name, "calls%d" % n)
        run = Run("-accel", "jit,threshold=0", "-debugcon", "stdio", "-monitor",
                  "unix:%s,server=on,wait=off" % path, code=SAY_A + code)
        try:
            run.wait_for("A")
            monitor = hmp.Hmp(path)
            for _ in range(2):
                time.sleep(0.2)
                check("CPU in the calls", True, "EIP=0000fe0" in monitor("info registers"))
            monitor.close()
        finally:
            run.kill()


def test_info_jit_dma():
    """A block at 2000:0 that is called, and fw_cfg's DMA to the byte behind it, over and over."""
    again = (bytes.fromhex("9a 00 00 00 20") +             # call 2000:0
             bytes.fromhex("66 c7 06 00 06 00 00 00 0a") +  # mov dword [600h]: select 0, read
             outl(0x514, 0) + outl(0x518, 0x60000))         # big-endian: 600h
    code = bytes.fromhex("".join(row.split("  ")[0] for row in (
        "b8 00 20 8e c0 31 ff  mov ax, 2000h; mov es, ax; xor di, di",
        "b0 43 aa b0 cb aa  inc bx: stored; retf: stored",
        "66 c7 06 04 06 00 00 00 01  mov dword [604h]: 1 byte",
        "66 c7 06 08 06 00 00 00 00  mov dword [608h]: to ...",
        "66 c7 06 0c 06 00 02 00 02  mov dword [60ch]: ... 20002h"))) + again
    code += b"\xe9" + struct.pack("<h", -len(again) - 3)
    path = os.path.join(DIR.name, "m4")
    run = Run("-accel", "jit,threshold=0", "-monitor", "unix:%s,server=on,wait=off" % path, code=code)
    try:
        monitor = hmp.Hmp(path)

        def dropped():
            m = re.search(r"(\d+) stores of CPUs, (\d+) devices and host", monitor("info jit"))
            return [int(m[1]), int(m[2])]
        check("dropped by a device", True, wait_until(lambda: dropped()[1] > 2))
        check("and by no CPU's store", 0, dropped()[0])
        monitor.close()
    finally:
        run.kill()


def test_two_mappings():
    """Code is written by one mapping and executed by another; nothing is both."""
    run = Run(*JIT, code=SAY_A + SPIN)
    try:
        run.wait_for("A")
        with open("/proc/%d/maps" % run.proc.pid, encoding="ascii") as f:
            maps = f.read()
    finally:
        run.kill()
    check("nothing is writable and executable", [], re.findall(r"^.* .wx. .*$", maps, re.M))
    modes = re.findall(r"^\S+ (\S+) .*memfd:vireo-code", maps, re.M)
    check("the code cache", ["r-xs", "rw-s"], sorted(modes))


def test_small_cache():
    """Blocks that run over and over and do not fit into the code cache, at 2000:0. Only what runs
    oftener is translated then, so that translating does not take all the time."""
    code = b"".join(bytes.fromhex(row.split("  ")[0]) for row in (
        "b8 00 20 8e c0 31 ff ba 10 04  mov ax, 2000h; mov es, ax; xor di, di; mov dx, 410h",
        "b0 43 aa b9 0f 00  block: inc bx: stored; mov cx, 15",
        "b8 fe 06 ab b8 00 05 ab e2 f6  1: inc byte ptr [500h]: stored; loop 1",
        "b8 eb 00 ab 4a 75 e9  jmp to the next: stored; dec dx; jnz block",
        "b0 ea aa b8 33 fe ab b8 00 f0 ab  jmp f000:back: stored",
        "31 db ea 00 00 00 20  again: xor bx, bx; jmp 2000:0",
        "81 fb 10 04 74 f3  back: cmp bx, 410h; je again"))
    path = os.path.join(DIR.name, "monitor")
    run = Run("-accel", "jit,tb-size=1", "-debugcon", "stdio",
              "-monitor", "unix:%s,server=on,wait=off" % path, code=code + outb(0xe9, ord("F")) + HALT)
    try:
        monitor, end, flushes, threshold = hmp.Hmp(path), time.monotonic() + TIMEOUT, 0, 16
        while time.monotonic() < end and (flushes < 5 or threshold <= 16):
            time.sleep(.1)
            text = monitor("info jit")
            flushes = int(re.search(r"(\d+) flushes", text)[1])
            threshold = int(re.search(r"threshold +(\d+)", text)[1])
        monitor.close()
        check("the cache was full (%d) more than 5 times" % flushes, True, flushes >= 5)
        check("the threshold (%d) has grown" % threshold, True, threshold > 16)
        check("all of them as it was full", flushes, int(re.search(r"(\d+) of them as the cache was full", text)[1]))
        check("no block was left out", "", run.stdout())
    finally:
        run.kill()


if __name__ == "__main__":
    main()
