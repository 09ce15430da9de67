# SPDX-License-Identifier: GPL-2.0-or-later
"""i8042 with its keyboard and mouse: commands, answers, interrupts, scan codes, packets."""

import os
import socket
import tempfile
import time

from qtest import QTest, check, main

DATA, CMD = 0x60, 0x64
OBF, SYS, AUX = 0x01, 0x04, 0x20
BYTE_NS = 500000


class Keyboard(QTest):
    """A pc with a monitor to press keys from."""

    def __init__(self):
        with tempfile.TemporaryDirectory(prefix="vireo-i8042-") as directory, \
                socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(directory, "mon"))
            listener.listen(1)
            listener.settimeout(20)
            super().__init__("-M", "pc", "-vga", "none", "-monitor",
                             "unix:" + listener.getsockname())
            self.mon = listener.accept()[0]
        self.mon.settimeout(5)
        self.wait_prompt()
        self.irq_intercept_in("ioapic")

    def close(self, check_status=False):
        if getattr(self, "mon", None):
            self.mon.close()
            self.mon = None
        super().close(check_status)

    def wait_prompt(self):
        text = b""
        while not text.endswith(b"(vireo) ") and not text.endswith(b"(qemu) "):
            text += self.mon.recv(4096)
        return text

    def hmp(self, line):
        self.mon.sendall(line.encode() + b"\n")
        self.wait_prompt()

    def drain(self):
        """All bytes that come, with their source and with time passing between them."""
        out, idle = [], 0
        for _ in range(100):
            status = self.inb(CMD)
            if status & OBF:
                out.append((bool(status & AUX), self.inb(DATA)))
                idle = 0
            else:
                idle += 1
                if idle > 3:
                    break
            self.clock_step(BYTE_NS * 40)
        return out

    def keys(self):
        return [byte for aux, byte in self.drain() if not aux]

    def packet(self):
        return [byte for aux, byte in self.drain() if aux]

    def ctrl(self, cmd, *data):
        self.outb(CMD, cmd)
        for byte in data:
            self.outb(DATA, byte)

    def kbd(self, *data):
        for byte in data:
            self.outb(DATA, byte)
        return self.keys()

    def aux(self, *data):
        """Each byte waits for its answer, as drivers do: a new byte ends an old answer."""
        got = []
        for byte in data:
            self.ctrl(0xd4, byte)
            got += self.packet()
        return got

    def sendkey(self, keys, hold_ms=1):
        """Presses and releases; returns the codes. Host time passes while keys are down."""
        self.hmp("sendkey %s %d" % (keys, hold_ms))
        time.sleep(hold_ms / 1000 + 0.05)
        return self.keys()


def hexes(data):
    return " ".join("%02x" % b for b in data)


def test_controller():
    with Keyboard() as vm:
        check("status after reset", 0x18, vm.inb(CMD))
        vm.ctrl(0x20)
        check("command byte", 0x03, vm.inb(DATA))
        vm.ctrl(0xaa)
        check("self test", 0x55, vm.inb(DATA))
        check("system flag", SYS, vm.inb(CMD) & SYS)
        for cmd, want in ((0xa9, 0), (0xab, 0), (0xc0, 0x80), (0xe0, 0), (0xa4, 0xf1)):
            vm.ctrl(cmd)
            check("answer to %02x" % cmd, want, vm.inb(DATA))
        vm.ctrl(0x60, 0x65)
        vm.ctrl(0x20)
        check("command byte, written", 0x65, vm.inb(DATA))
        vm.ctrl(0x7f, 0x5a)
        vm.ctrl(0x3f)
        check("RAM byte 31", 0x5a, vm.inb(DATA))
        for cmd, bit in ((0xa7, 0x20), (0xad, 0x10)):
            vm.ctrl(cmd)
            vm.ctrl(0x20)
            check("%02x sets its bit" % cmd, bit, vm.inb(DATA) & bit)
            vm.ctrl(cmd + 1)
            vm.ctrl(0x20)
            check("%02x clears it" % (cmd + 1), 0, vm.inb(DATA) & bit)


def test_output_buffer():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x03)
        vm.ctrl(0xd2, 0x12)
        check("IRQ 1", True, vm.irq_state.get(1))
        check("status", OBF, vm.inb(CMD) & (OBF | AUX))
        vm.ctrl(0xd3, 0x34)
        check("first byte", 0x12, vm.inb(DATA))
        check("IRQ 1 is off, 12 on", (False, True), (vm.irq_state[1], vm.irq_state.get(12)))
        check("status", OBF | AUX, vm.inb(CMD) & (OBF | AUX))
        check("second byte", 0x34, vm.inb(DATA))
        check("IRQ 12 is off", False, vm.irq_state[12])
        check("status", 0, vm.inb(CMD) & (OBF | AUX))
        vm.ctrl(0x60, 0x00)
        vm.ctrl(0xd2, 0x12)
        check("IRQ 1 masked", False, vm.irq_state[1])


def test_a20_and_output_port():
    with Keyboard() as vm:
        vm.writeb(0x1000, 0x11)
        vm.writeb(0x101000, 0x22)
        vm.ctrl(0xd0)
        check("output port", 0x03, vm.inb(DATA) & 0x03)
        vm.ctrl(0xdd)
        check("A20 off", 0x11, vm.readb(0x101000))
        vm.ctrl(0xd1, 0xdf)
        check("A20 on", 0x22, vm.readb(0x101000))
        vm.ctrl(0xd1, 0xdd)
        check("A20 off again", 0x11, vm.readb(0x101000))
        vm.ctrl(0xdf)
        check("A20 on again", 0x22, vm.readb(0x101000))


def test_keyboard_commands():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x03)
        check("reset", "fa aa", hexes(vm.kbd(0xff)))
        check("echo", "ee", hexes(vm.kbd(0xee)))
        check("identify", "fa ab 83", hexes(vm.kbd(0xf2)))
        check("LEDs", "fa fa", hexes(vm.kbd(0xed, 0x07)))
        check("typematic", "fa fa", hexes(vm.kbd(0xf3, 0x00)))
        check("which set", "fa fa 02", hexes(vm.kbd(0xf0, 0x00)))
        check("set 3", "fa fa", hexes(vm.kbd(0xf0, 0x03)))
        check("which set", "fa fa 03", hexes(vm.kbd(0xf0, 0x00)))
        check("all make and break", "fa", hexes(vm.kbd(0xfa)))
        check("one key", "fa fa fa", hexes(vm.kbd(0xfd, 0x1c, 0xf4)))
        check("defaults", "fa", hexes(vm.kbd(0xf6)))
        check("resend", "fa", hexes(vm.kbd(0xfe)))
        check("unknown", "fe", hexes(vm.kbd(0xef)))
        check("a command instead of a parameter", "fa ee", hexes(vm.kbd(0xed, 0xee)))
        vm.ctrl(0x60, 0x43)
        check("identify, translated", "fa ab 41", hexes(vm.kbd(0xf2)))
        check("which set, translated", "fa fa 41", hexes(vm.kbd(0xf0, 0x00)))


def test_scan_codes():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x03)
        check("set 2", "1c f0 1c", hexes(vm.sendkey("a")))
        check("F7", "83 f0 83", hexes(vm.sendkey("f7")))
        check("with prefix", "e0 75 e0 f0 75", hexes(vm.sendkey("up")))
        check("two keys", "12 1c f0 1c f0 12", hexes(vm.sendkey("shift-a")))
        check("pause", "e1 14 77 e1 f0 14 f0 77", hexes(vm.sendkey("pause")))
        check("break", "14 e0 7e e0 f0 7e f0 14", hexes(vm.sendkey("ctrl-pause")))
        check("print", "e0 12 e0 7c e0 f0 7c e0 f0 12", hexes(vm.sendkey("print")))
        check("SysRq", "11 84 f0 84 f0 11", hexes(vm.sendkey("alt-print")))
        vm.ctrl(0x60, 0x43)
        check("translated", "1e 9e", hexes(vm.sendkey("a")))
        check("translated, prefix", "e0 48 e0 c8", hexes(vm.sendkey("up")))
        check("translated pause", "e1 1d 45 e1 9d c5", hexes(vm.sendkey("pause")))
        check("by number", "e0 48 e0 c8", hexes(vm.sendkey("0xc8")))
        vm.ctrl(0x60, 0x03)
        vm.kbd(0xf0, 0x01)
        check("set 1", "1e 9e", hexes(vm.sendkey("a")))
        check("set 1 print", "e0 2a e0 37 e0 b7 e0 aa", hexes(vm.sendkey("print")))
        vm.kbd(0xf0, 0x03)
        check("set 3: no break by default", "1c", hexes(vm.sendkey("a")))
        check("set 3: shift has one", "12 f0 12", hexes(vm.sendkey("shift")))
        vm.kbd(0xf8)
        check("set 3: all have one", "63 f0 63", hexes(vm.sendkey("up")))


def test_typematic():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x43)
        vm.hmp("sendkey a 1000")
        check("make", 0x1e, vm.inb(DATA))
        vm.clock_step(499000000)
        check("not yet", 0, vm.inb(CMD) & OBF)
        vm.clock_step(2000000)
        check("repeats", OBF, vm.inb(CMD) & OBF)
        check("make again", 0x1e, vm.inb(DATA))
        vm.clock_step(93000000)
        check("10.9 a second", OBF, vm.inb(CMD) & OBF)


def test_second_read_sees_the_same_byte():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x43)
        vm.hmp("sendkey up 1")
        time.sleep(0.05)
        check("first", 0xe0, vm.inb(DATA))
        check("the same", 0xe0, vm.inb(DATA))
        vm.clock_step(BYTE_NS)
        check("next", 0x48, vm.inb(DATA))


def test_scanning_off():
    with Keyboard() as vm:
        vm.kbd(0xf5)
        check("disabled", "", hexes(vm.sendkey("a")))
        vm.kbd(0xf4)
        check("enabled", "1c f0 1c", hexes(vm.sendkey("a")))
        vm.ctrl(0xad)
        check("line off", "", hexes(vm.sendkey("b")))
        vm.ctrl(0xae)
        check("line on: nothing was lost", "32 f0 32", hexes(vm.keys()))


def test_mouse_commands():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x03)
        check("reset", "fa aa 00", hexes(vm.aux(0xff)))
        check("identify", "fa 00", hexes(vm.aux(0xf2)))
        check("status", "fa 00 02 64", hexes(vm.aux(0xe9)))
        check("settings", "fa fa fa fa fa fa", hexes(vm.aux(0xe8, 3, 0xf3, 40, 0xe7, 0xf4)))
        check("status", "fa 30 03 28", hexes(vm.aux(0xe9)))
        check("wrap", "fa e9 12 fa", hexes(vm.aux(0xee, 0xe9, 0x12, 0xec)))
        check("unknown", "fe", hexes(vm.aux(0xe1)))
        vm.aux(0xf3, 200, 0xf3, 100, 0xf3, 80)
        check("wheel", "fa 03", hexes(vm.aux(0xf2)))
        vm.aux(0xf3, 200, 0xf3, 200, 0xf3, 80)
        check("five buttons", "fa 04", hexes(vm.aux(0xf2)))
        vm.aux(0xff)
        check("reset", "fa 00", hexes(vm.aux(0xf2)))


def test_mouse_packets():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x03)
        vm.hmp("mouse_move 5 5")
        check("not enabled", "", hexes(vm.packet()))
        vm.aux(0xf4)
        vm.hmp("mouse_move 5 -3")
        check("status", OBF | AUX, vm.inb(CMD) & (OBF | AUX))
        check("IRQ 12", True, vm.irq_state.get(12))
        check("right and up", "08 05 03", hexes(vm.packet()))
        vm.hmp("mouse_move -1 1")
        check("left and down", "38 ff ff", hexes(vm.packet()))
        vm.hmp("mouse_button 1")
        check("left", "09 00 00", hexes(vm.packet()))
        vm.hmp("mouse_button 6")
        check("right and middle", "0e 00 00", hexes(vm.packet()))
        vm.hmp("mouse_button 0")
        check("none", "08 00 00", hexes(vm.packet()))
        vm.hmp("mouse_move 300 0")
        check("too much for one", "08 ff 00 08 2d 00", hexes(vm.packet()))
        vm.aux(0xe7)
        vm.hmp("mouse_move 4 -7")
        check("scaling 2:1", "08 06 0e", hexes(vm.packet()))
        vm.aux(0xe6, 0xf3, 200, 0xf3, 100, 0xf3, 80)
        vm.hmp("mouse_move 0 0 1")
        check("wheel, away", "08 00 00 ff", hexes(vm.packet()))
        vm.aux(0xf3, 200, 0xf3, 200, 0xf3, 80)
        vm.hmp("mouse_button 24")
        check("extra buttons", "08 00 00 30", hexes(vm.packet()))
        vm.hmp("mouse_button 0")
        vm.packet()
        vm.aux(0xf0)  # remote
        vm.hmp("mouse_move 2 0")
        check("remote: on demand", "", hexes(vm.packet()))
        check("remote: read", "fa 08 02 00 00", hexes(vm.aux(0xeb)))


def test_mouse_rate():
    with Keyboard() as vm:
        vm.ctrl(0x60, 0x03)
        vm.aux(0xf3, 10, 0xf4)
        vm.hmp("mouse_move 1 0")
        for want in (0x08, 0x01, 0x00):
            check("first packet", want, vm.inb(DATA))
        vm.hmp("mouse_move 1 0")
        vm.hmp("mouse_move 2 0")
        check("too soon", 0, vm.inb(CMD) & OBF)
        vm.clock_step(100000000)
        check("movements add up", "08 03 00", hexes(vm.packet()))


main()
