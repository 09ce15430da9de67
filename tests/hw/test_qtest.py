#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The qtest protocol itself: formats, clock, and bad requests."""

from qtest import QTest, check, main


def test_ports():
    with QTest("-M", "pc") as vm:
        check("unassigned inb", "OK 0x00ff", vm.raw("inb 0x1234"))
        check("unassigned inl", "OK 0xffffffff", vm.raw("inl 0x1234"))
        check("octal", vm.raw("inb 0x64"), vm.raw("inb 0144"))
        check("endianness", "OK little", vm.raw("endianness"))


def test_memory():
    with QTest("-M", "pc", "-m", "16") as vm:
        vm.writeq(0x100000, 0x1122334455667788)
        check("readb", "OK 0x0000000000000088", vm.raw("readb 0x100000"))
        check("readw", 0x5566, vm.readw(0x100002))
        check("readl", 0x11223344, vm.readl(0x100004))
        check("read", "OK 0x8877665544332211", vm.raw("read 0x100000 8"))
        check("write, digits missing", "OK", vm.raw("write 0x100000 4 0x0102"))
        check("after it", 0x1122334400000201, vm.readq(0x100000))
        check("b64read", "OK AQIAAA==", vm.raw("b64read 0x100000 4"))
        check("b64write", "OK", vm.raw("b64write 0x100000 3 /+8B"))
        check("after it", 0x1efff, vm.readl(0x100000))
        big = bytes(range(256)) * 2048
        vm.write(0x200000, big)
        check("a large block", True, vm.read(0x200000, len(big)) == big)
        vm.memset(0x200000, 0x1000, 0x5a)
        check("memset", 0x5a5a5a5a, vm.readl(0x200ffc))
        check("memset's end", 0x00, vm.readb(0x201000))
        check("memset of nothing", "OK", vm.raw("memset 0x200000 0 1"))
        check("unassigned", 0, vm.readq(0x200000000))
        vm.writeq(0x200000000, 5)


def test_clock():
    with QTest("-M", "pc") as vm:
        check("starts at 0", "OK 0", vm.raw("clock_set 0"))
        check("step", 1000, vm.clock_step(1000))
        check("back", 1000, vm.clock_set(5))
        check("back", "OK 1000", vm.raw("clock_step -5"))
        check("set", 5000, vm.clock_set(5000))


def test_bad_requests():
    with QTest("-M", "pc") as vm:
        for request in ("", " ", "bogus", "inb", "inb  0x10", "inb x", "inb 0x10000", "outb 0x80",
                        "inb 0x80\r", "readb", "read 0x1000", "read 0x1000 0", "INB 0x80",
                        "read 0 0xffffffffffffffff", "write 0 4 zz00", "b64write 0 4 AQ==",
                        "b64write 0 1 A", "b64write 0 3 A=A=", "irq_intercept_in",
                        "irq_intercept_in nothing", "irq_intercept_in /machine",
                        "set_irq_in /machine unnamed-gpio-in 0 1", "rtas x", "memset 0 1",
                        "inb 0x80 ", "inb 0x99999999999999999999"):
            answer = vm.raw(request)
            check("'%s' fails (%s)" % (request, answer), True, answer.startswith("FAIL"))
        check("short data", "ERR invalid argument size", vm.raw("write 0 4 0x"))
        check("unknown", "FAIL Unknown command 'rtas'", vm.raw("rtas x"))
        check("extra words", "OK 0x00ff", vm.raw("inb 0x1234 a b c d e f"))
        check("a NUL byte", "FAIL malformed request", vm.raw(b"inb\0 0x10\n"))
        vm.sock.sendall(b"endianness\nendianness\nendian")
        check("two in a packet", "OK little", vm._line())
        check("two in a packet", "OK little", vm._line())
        check("the rest", "OK little", vm.raw("ness"))


def test_other_engine_has_no_clock():
    with QTest("-M", "pc", "-S", accel="interp") as vm:
        check("clock_step", "FAIL Unknown command 'clock_step'", vm.raw("clock_step"))


if __name__ == "__main__":
    main()
