#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The window, on an X server of its own (Xvfb), used as a person uses it: keys and the mouse come
from xdotool, what is seen is read off the screen's pixels with the VGA BIOS's own font."""

import ctypes
import ctypes.util
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hw"))
from qtest import VIREO, Failure, QTest, check, main, skip  # pylint: disable=wrong-import-position

GRABBED = "Vireo (guest) - Press Ctrl+Alt+G to release grab"
TIMEOUT = float(os.environ.get("QTEST_TIMEOUT", "20"))
ROMS = ("/usr/share/seabios/vgabios-stdvga.bin", "/usr/share/qemu/vgabios-stdvga.bin")
# SDL leaves D-Bus's library with what it has; the leak sanitizer would blame us.
SUPPRESSIONS = tempfile.NamedTemporaryFile("w", prefix="vireo-lsan-")
SUPPRESSIONS.write("leak:libdbus-1.so\n")
SUPPRESSIONS.flush()
os.environ["LSAN_OPTIONS"] = "print_suppressions=0:suppressions=" + SUPPRESSIONS.name
NEEDS = {"Xvfb": "xvfb", "xdotool": "xdotool", "xwd": "x11-apps"}


class Xvfb:
    """One server for all tests of this program."""

    def __init__(self):
        read, write = os.pipe()
        self.proc = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0",
                                      "1280x1024x24", "-noreset", "-nolisten", "tcp"], pass_fds=[write],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read, encoding="ascii") as file:
            number = file.readline().strip()
        if not number:
            raise Failure("Xvfb does not start")
        os.environ["DISPLAY"] = ":" + number
        os.environ.pop("WAYLAND_DISPLAY", None)


SERVER = []


def need_x():
    for tool, package in NEEDS.items():
        if not shutil.which(tool):
            skip("no %s: install %s" % (tool, package))
    text = subprocess.run([VIREO, "-display", "help"], stdout=subprocess.PIPE, check=True).stdout
    if b"sdl" not in text:
        skip("built without SDL2")
    if not SERVER:
        SERVER.append(Xvfb())


def glyphs():
    """Rows of a glyph -> character."""
    for path in ROMS:
        if os.path.exists(path):
            with open(path, "rb") as file:
                rom = file.read()
            at = rom.find(bytes(16) + bytes.fromhex("00007e81a58181bd9981817e00000000"))
            font = {b"\xff" * 16: " "}  # the cursor
            for c in list(range(0x20, 0x7f)):
                font.setdefault(rom[at + 16 * c:at + 16 * c + 16], chr(c))
            return font
    skip("no VGA BIOS: install seabios")
    return None


def tool(*args):
    run = subprocess.run(["xdotool"] + [str(a) for a in args], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    if run.returncode:
        raise Failure("xdotool %s: %s" % (args, run.stderr.decode()))
    return run.stdout.decode().strip()


def wait_until(what, got):
    """Waits for got() to be true; the last value of a pair is shown if it does not."""
    end = time.monotonic() + TIMEOUT
    while True:
        ok, value = got()
        if ok:
            return value
        if time.monotonic() > end:
            raise Failure("want %s, got %s" % (what, value))
        time.sleep(0.05)


class Window:
    def __init__(self, pid):
        self.id = tool("search", "--sync", "--onlyvisible", "--pid", pid).split()[0]

    def title(self):
        return tool("getwindowname", self.id)

    def size(self):
        text = tool("getwindowgeometry", "--shell", self.id)
        values = dict(line.split("=") for line in text.splitlines())
        return int(values["WIDTH"]), int(values["HEIGHT"])

    def pixels(self):
        """Width, height, and rows of 32-bit pixels (XWD file format, version 7)."""
        data = subprocess.run(["xwd", "-silent", "-id", self.id], stdout=subprocess.PIPE,
                              timeout=TIMEOUT, check=True).stdout
        head = struct.unpack(">25I", data[:100])
        size, width, height, bits, pitch, colors = (head[0], head[4], head[5], head[11], head[12],
                                                    head[19])
        if bits != 32:
            raise Failure("pixels of %d bits" % bits)
        start = size + 12 * colors
        return width, height, [data[start + y * pitch:start + y * pitch + width * 4]
                               for y in range(height)]

    def text(self, cell=8):
        """The lines of a screen of 16 dots high characters, unscaled."""
        font = glyphs()
        width, height, rows = self.pixels()
        lines = []
        for top in range(0, height - 15, 16):
            line = ""
            for left in range(0, width - cell + 1, cell):
                bits = []
                for row in rows[top:top + 16]:
                    byte = 0
                    for x in range(left, left + 8):
                        byte = byte << 1 | (row[4 * x:4 * x + 3] != b"\0\0\0")
                    bits.append(byte)
                line += font.get(bytes(bits), "~")
            lines.append(line.rstrip())
        return lines

    def wait_text(self, want, cell=8):
        def look():
            lines = self.text(cell)
            return any(want in line for line in lines), "\n" + "\n".join(lines).rstrip()
        wait_until("'%s' on the screen" % want, look)

    def wait_size(self, *want):
        wait_until("size %dx%d" % want, lambda: (self.size() == want, self.size()))

    def wait_title(self, want):
        wait_until("title '%s'" % want, lambda: (self.title() == want, self.title()))

    def grab(self):
        """Clicks into it; again if the first click came before the window took any."""
        width, height = self.size()

        def click():
            tool("mousemove", "--window", self.id, width // 2, height // 2, "click", 1)
            time.sleep(0.5)
            return self.title() == GRABBED, self.title()

        wait_until("title '%s'" % GRABBED, click)

    @staticmethod
    def keys(*keys):
        tool("key", "--delay", 20, *keys)

    @staticmethod
    def type(text):
        tool("type", "--delay", 20, text.rstrip("\n"))
        if text.endswith("\n"):
            tool("key", "Return")

    def press_close(self):
        """What a window manager sends for its close button (ICCCM 4.2.8.1)."""
        x11 = ctypes.CDLL(ctypes.util.find_library("X11"))
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        dpy = ctypes.c_void_p(x11.XOpenDisplay(None))
        atoms = [x11.XInternAtom(dpy, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
        # XClientMessageEvent: type, serial, send_event, display, window, message_type, format, data
        event = struct.pack("@iLiPLLi5l", 33, 0, 1, 0, int(self.id), atoms[0], 32, atoms[1], 0, 0,
                            0, 0).ljust(192, b"\0")
        x11.XSendEvent(dpy, ctypes.c_ulong(int(self.id)), 0, 0, event)
        x11.XCloseDisplay(dpy)


def window_vm(*args, display="sdl", **more):
    need_x()
    glyphs()
    vm = QTest("-M", "pc", "-name", "guest", "-display", display, *args, **more)
    try:
        return vm, Window(vm.proc.pid)
    except Exception:
        vm.close()
        raise


# ---- tests ----


def test_no_display():
    env = {k: v for k, v in os.environ.items()
           if k not in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")}
    cmd = [VIREO, "-M", "pc", "-accel", "test", "-nodefaults"]
    run = subprocess.run(cmd + ["-display", "sdl"], stderr=subprocess.PIPE, env=env, check=False,
                         timeout=TIMEOUT)
    if b"not in this build" in run.stderr:
        skip("built without SDL2")
    check("exit status", 1, run.returncode)
    check("lines of %r" % run.stderr, 1, run.stderr.count(b"\n"))
    for word in (b"-display sdl", b"DISPLAY", b"-display none"):
        check("%r in %r" % (word, run.stderr), True, word in run.stderr)
    # not asked for: goes on without
    proc = subprocess.Popen(cmd, stderr=subprocess.PIPE, env=env)
    line = proc.stderr.readline()
    check("a line that says so", True, b"no window" in line)
    check("runs", None, proc.poll())
    proc.send_signal(signal.SIGTERM)
    check("exit status", 0, proc.wait(TIMEOUT))
    env["DISPLAY"] = ":7777"
    run = subprocess.run(cmd + ["-display", "sdl"], stderr=subprocess.PIPE, env=env, check=False,
                         timeout=TIMEOUT)
    check("exit status", 1, run.returncode)
    check("%r names it" % run.stderr, True, b"':7777'" in run.stderr)


def test_options():
    need_x()
    for spec, words in (("sdl,full-scren=on", ["did you mean 'full-screen'"]),
                        ("sdl,gl=on", ["gl=on", "gl=off"]),
                        ("sdl,window-close=perhaps", ["window-close", "perhaps"]),
                        ("sdll", ["did you mean sdl"])):
        run = subprocess.run([VIREO, "-accel", "test", "-display", spec], stderr=subprocess.PIPE,
                             timeout=TIMEOUT, check=False)
        text = run.stderr.decode()
        check("%s: exit status" % spec, 1, run.returncode)
        check("%s: lines of '%s'" % (spec, text), 1, text.count("\n"))
        for word in words:
            check("%s: '%s' in '%s'" % (spec, word, text), True, word in text)


def test_monitor():
    vm, win = window_vm(nodefaults=False)
    with vm:
        win.wait_title("Vireo (guest)")
        win.keys("ctrl+alt+2")
        win.wait_title("Vireo (guest) - monitor")
        win.wait_size(640, 384)
        win.wait_text("(vireo)")
        win.type("info kvm\n")
        win.wait_text("kvm support: disabled")
        win.type("info statux")
        win.keys("BackSpace", "s", "Home", "End", "Return")
        win.wait_text("VM status: running")
        win.keys("Up", "Up", "Return")  # history
        win.wait_text("(vireo) info kvm")
        win.type("help\n")
        wait_until("the start has scrolled away",
                   lambda: ("(vireo) info kvm" not in win.text(), win.text()[0]))
        for _ in range(10):
            win.keys("shift+Prior")
        win.wait_text("monitor - type 'help'")
        win.type("x")
        wait_until("typing shows the end",
                   lambda: ("(vireo) x" in win.text(), win.text()[-1]))


def test_serial():
    vm, win = window_vm(nodefaults=False)
    with vm:
        for c in b"\033[2J\033[H\033[7mlogin:\033[0m ":
            vm.outb(0x3f8, c)
        win.keys("ctrl+alt+3")
        win.wait_title("Vireo (guest) - serial0")
        for c in b"\r\nhello \xc3\xa9":
            vm.outb(0x3f8, c)
        win.wait_text("hello")
        got = []

        def more():
            while vm.inb(0x3fd) & 1:
                got.append(vm.inb(0x3f8))
            return bytes(got) == want, bytes(got)

        want = b"aB$\x03\x1b[A\x1b[3~\x1b[11;".replace(b"\x1b[11;", b"\x1bOP\t\x7f\r")
        for key in ("a", "B", "dollar", "ctrl+c", "Up", "Delete", "F1", "Tab", "BackSpace",
                    "Return"):
            win.keys(key)
            more()
        wait_until(want, more)
        win.keys("ctrl+alt+4")
        win.wait_title("Vireo (guest) - parallel0")
        win.keys("ctrl+alt+1")
        win.wait_title("Vireo (guest)")


def wait_byte(vm):
    def look():
        vm.clock_step(1000000)  # a byte takes a millisecond on the keyboard's cable
        return vm.inb(0x64) & 1, "none"
    wait_until("a byte at port 60h", look)
    return vm.inb(0x60)


def test_keyboard():
    vm, win = window_vm()
    with vm:
        vm.outb(0x64, 0x60)
        vm.outb(0x60, 0x40)  # translate, both devices on, no interrupts
        while vm.inb(0x64) & 1:
            vm.inb(0x60)
        vm.outb(0x60, 0xf4)
        check("acknowledged", 0xfa, wait_byte(vm))
        for key, codes in (("a", "1e 9e"), ("Left", "e0 4b e0 cb"), ("KP_Add", "4e ce"),
                           ("ctrl+c", "1d 2e 9d ae"), ("Pause", "e1 1d 45 e1 9d c5")):
            win.keys(key)
            for code in bytes.fromhex(codes):
                check(key, "%02x" % code, "%02x" % wait_byte(vm))
        # A hot key's Ctrl and Alt do not stay down.
        win.keys("ctrl+alt+1")
        for code in ("1d", "38", "9d", "b8"):
            check("ctrl+alt+1", code, "%02x" % wait_byte(vm))
        time.sleep(0.2)
        vm.clock_step(100000000)
        check("nothing more", 0, vm.inb(0x64) & 1)


def test_mouse():
    vm, win = window_vm()
    with vm:
        vm.outb(0x64, 0x60)
        vm.outb(0x60, 0x40)
        vm.outb(0x64, 0xd4)
        vm.outb(0x60, 0xf4)
        check("acknowledged", 0xfa, wait_byte(vm))
        win.grab()
        time.sleep(0.2)
        while vm.inb(0x64) & 1:  # how it got there
            vm.inb(0x60)
            vm.clock_step(1000000)
        moved = [0, 0]

        def move():
            """Steps to the right and up, until they arrive."""
            tool("mousemove_relative", "--", 5, -3)
            vm.clock_step(50000000)
            while vm.inb(0x64) & 1:
                head, dx, dy = (wait_byte(vm) for _ in range(3))
                moved[0] += dx - (256 if head & 0x10 else 0)
                moved[1] += dy - (256 if head & 0x20 else 0)
                vm.clock_step(50000000)
            return moved[0] > 0 and moved[1] > 0, moved

        wait_until("movement to the right and up", move)
        tool("mousedown", 3)
        check("right button down", 0x0a, wait_byte(vm) & 0x0f)
        check("no movement", (0, 0), (wait_byte(vm), wait_byte(vm)))
        tool("mouseup", 3)
        check("right button up", 0x08, wait_byte(vm) & 0x0f)


def test_grab_and_size():
    vm, win = window_vm()
    with vm:
        win.wait_title("Vireo (guest)")
        width, height = win.size()
        win.grab()
        win.keys("ctrl+alt+g")
        win.wait_title("Vireo (guest)")
        win.keys("ctrl+alt+g")
        win.wait_title(GRABBED)
        win.keys("ctrl+alt+g")
        win.wait_title("Vireo (guest)")
        time.sleep(0.5)
        tool("windowsize", win.id, 1000, 500)
        win.wait_size(1000, 500)
        time.sleep(0.5)
        win.keys("ctrl+alt+u")
        win.wait_size(width, height)
        win.keys("ctrl+alt+equal")
        win.wait_size(width * 5 // 4, width * 5 // 4 * height // width)
        win.keys("ctrl+alt+u")
        win.wait_size(width, height)


def test_close():
    vm, win = window_vm(display="sdl,window-close=off")
    with vm:
        win.press_close()
        time.sleep(0.3)
        check("runs", None, vm.proc.poll())
    vm, win = window_vm()
    with vm:
        win.press_close()
        check("exit status", 0, vm.wait_exit())


def test_no_graphics():
    vm, win = window_vm("-vga", "none", nodefaults=False)
    with vm:
        win.wait_title("Vireo (guest) - monitor")
        win.keys("ctrl+alt+3")
        win.wait_title("Vireo (guest) - serial0")


def test_idle():
    """A window that shows nothing new costs next to nothing."""
    vm, _ = window_vm()
    with vm:
        time.sleep(2)

        def used():
            with open("/proc/%d/stat" % vm.proc.pid, encoding="ascii") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])  # utime, stime: hundredths of a second

        before = used()
        time.sleep(3)
        percent = (used() - before) / 3
        if percent > 3:
            raise Failure("want at most 3 %% of a core, got %.1f %%" % percent)


def test_firmware():
    """SeaBIOS's text mode, run for real."""
    need_x()
    proc = subprocess.Popen([VIREO, "-display", "sdl", "-m", "32", "-nodefaults", "-vga", "std"])
    try:
        win = Window(proc.pid)
        win.wait_size(720, 400)
        win.wait_text("SeaBIOS (version", cell=9)
    finally:
        proc.terminate()
        status = proc.wait(TIMEOUT)
    check("exit status", 0, status)


try:
    main()
finally:
    for server in SERVER:
        server.proc.terminate()
        server.proc.wait()
