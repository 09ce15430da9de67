# SPDX-License-Identifier: GPL-2.0-or-later
"""fw_cfg: ports, DMA, what a pc puts into it, and hostile commands."""

import struct

from qtest import QTest, check, main

SELECTOR, DATA, DMA_HIGH, DMA_LOW = 0x510, 0x511, 0x514, 0x518
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16
COMMAND, BUFFER = 0x10000, 0x20000


def read_item(vm, key, size):
    vm.outw(SELECTOR, key)
    return bytes(vm.inb(DATA) for _ in range(size))


def swap(value):
    return struct.unpack("<I", struct.pack(">I", value))[0]


def dma(vm, control, length, address, at=COMMAND):
    """Runs one command; returns the control word it left."""
    vm.write(at, struct.pack(">IIQ", control, length, address))
    vm.outl(DMA_HIGH, swap(at >> 32))
    vm.outl(DMA_LOW, swap(at & 0xffffffff))
    return struct.unpack(">I", vm.read(at, 4))[0]


def directory(vm):
    count = struct.unpack(">I", read_item(vm, 0x19, 4))[0]
    raw = read_item(vm, 0x19, 4 + 64 * count)[4:]
    files = []
    for i in range(count):
        size, key, _, name = struct.unpack(">IHH56s", raw[64 * i:64 * i + 64])
        files.append((name.split(b"\0")[0].decode(), key, size))
    return files


def file(vm, name):
    for n, key, size in directory(vm):
        if n == name:
            control = dma(vm, SELECT | READ | key << 16, size, BUFFER)
            check("reading %s" % name, 0, control)
            return vm.read(BUFFER, size)
    return None


def test_signature():
    with QTest("-M", "pc") as vm:
        check("signature", b"QEMU", read_item(vm, 0, 4))
        check("past the end", b"QEMU\0\0", read_item(vm, 0, 6))
        check("id: traditional and DMA", 3, struct.unpack("<I", read_item(vm, 1, 4))[0])
        check("DMA signature", b"QEMU CFG", struct.pack("<II", vm.inl(DMA_HIGH), vm.inl(DMA_LOW)))
        check("no such item", b"\0\0", read_item(vm, 0x3fff, 2))


def test_values():
    uuid = "00112233-4455-6677-8899-aabbccddeeff"
    with QTest("-M", "pc", "-m", "48", "-smp", "2", "-uuid", uuid) as vm:
        check("RAM size", 48 << 20, struct.unpack("<Q", read_item(vm, 3, 8))[0])
        check("CPUs", 2, struct.unpack("<H", read_item(vm, 5, 2))[0])
        check("UUID", bytes.fromhex(uuid.replace("-", "")), read_item(vm, 2, 16))
        check("e820", struct.pack("<QQI", 0, 48 << 20, 1), file(vm, "etc/e820"))


def test_e820_high():
    with QTest("-M", "pc", "-m", "3584") as vm:
        check("e820", struct.pack("<QQIQQI", 0, 3 << 30, 1, 4 << 30, 512 << 20, 1),
              file(vm, "etc/e820"))


def test_directory():
    with QTest("-M", "pc") as vm:
        files = directory(vm)
        names = [n for n, _, _ in files]
        check("sorted", sorted(names), names)
        check("keys follow", list(range(0x20, 0x20 + len(files))), [k for _, k, _ in files])
        for name in ("etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader",
                     "etc/smbios/smbios-anchor", "etc/smbios/smbios-tables", "etc/system-states"):
            check("has " + name, True, name in names)


def test_dma():
    with QTest("-M", "pc") as vm:
        vm.memset(BUFFER, 16, 0xee)
        check("select and read", 0, dma(vm, SELECT | READ, 4, BUFFER))
        check("data", b"QEMU\xee", vm.read(BUFFER, 5))
        check("past the end: zeroes", 0, dma(vm, READ, 4, BUFFER))
        check("data", b"\0\0\0\0\xee", vm.read(BUFFER, 5))
        check("select", 0, dma(vm, SELECT, 0, 0))
        check("skip", 0, dma(vm, SKIP, 2, 0))
        check("read", 0, dma(vm, READ, 2, BUFFER))
        check("data", b"MU", vm.read(BUFFER, 2))
        check("writing is an error", ERROR, dma(vm, SELECT | WRITE, 4, BUFFER))
        check("mixed with ports", ord("Q"), (dma(vm, SELECT, 0, 0), vm.inb(DATA))[1])
        check("and back", 0, dma(vm, READ, 1, BUFFER))
        check("data", b"E", vm.read(BUFFER, 1))


def test_hostile_dma():
    with QTest("-M", "pc", "-m", "16") as vm:
        check("4 GiB of zeroes hit the end of RAM", ERROR,
              dma(vm, SELECT | READ | 0x3fff << 16, 0xffffffff, BUFFER + 0x10000))
        check("to nowhere", ERROR, dma(vm, SELECT | READ, 4, 0xf000000000000000))
        check("to ROM", ERROR, dma(vm, SELECT | READ, 4, 0xfffffff0))
        check("wraps around", ERROR, dma(vm, SELECT | READ, 16, 0xfffffffffffffff8))
        check("huge skip", 0, dma(vm, SELECT | SKIP, 0xffffffff, 0))
        check("and again", 0, dma(vm, SKIP, 0xffffffff, 0))
        check("at the end", 0, vm.inb(DATA))
        vm.outl(DMA_HIGH, 0xffffffff)
        vm.outl(DMA_LOW, 0xffffffff)  # the command itself is nowhere
        check("alive", b"QEMU", read_item(vm, 0, 4))


def test_acpi():
    with QTest("-M", "pc", "-smp", "2") as vm:
        tables, rsdp = file(vm, "etc/acpi/tables"), file(vm, "etc/acpi/rsdp")
        loader = file(vm, "etc/table-loader")
        check("loader commands", 0, len(loader) % 128)
        images = {"etc/acpi/tables": bytearray(tables), "etc/acpi/rsdp": bytearray(rsdp)}
        base = {"etc/acpi/tables": 0x1000000, "etc/acpi/rsdp": 0xf5000}
        for i in range(0, len(loader), 128):
            cmd = loader[i:i + 128]
            kind = struct.unpack_from("<I", cmd)[0]
            name = cmd[4:60].split(b"\0")[0].decode()
            if kind == 2:
                target = cmd[60:116].split(b"\0")[0].decode()
                offset, size = struct.unpack_from("<IB", cmd, 116)
                value = int.from_bytes(images[name][offset:offset + size], "little")
                check("pointer inside", True, value < len(images[target]))
                images[name][offset:offset + size] = (value + base[target]).to_bytes(size, "little")
            elif kind == 3:
                at, start, length = struct.unpack_from("<III", cmd, 60)
                image = images[name]
                image[at] = (image[at] - sum(image[start:start + length])) & 0xff
        rsdp, image = images["etc/acpi/rsdp"], images["etc/acpi/tables"]
        check("RSDP", b"RSD PTR ", bytes(rsdp[:8]))
        check("RSDP checksum", 0, sum(rsdp[:20]) & 0xff)
        check("RSDP extended checksum", 0, sum(rsdp) & 0xff)
        found = {}
        for root, width in ((struct.unpack_from("<I", rsdp, 16)[0], 4),
                            (struct.unpack_from("<Q", rsdp, 24)[0], 8)):
            at = root - base["etc/acpi/tables"]
            length = struct.unpack_from("<I", image, at + 4)[0]
            for p in range(at + 36, at + length, width):
                t = int.from_bytes(image[p:p + width], "little") - base["etc/acpi/tables"]
                found[bytes(image[t:t + 4])] = t
        check("tables", {b"FACP", b"APIC", b"HPET", b"WAET"}, set(found))
        for name, at in found.items():
            length = struct.unpack_from("<I", image, at + 4)[0]
            check("checksum of %s" % name.decode(), 0, sum(image[at:at + length]) & 0xff)
        facp = found[b"FACP"]
        facs, dsdt = (x - base["etc/acpi/tables"]
                      for x in struct.unpack_from("<II", image, facp + 36))
        check("DSDT", b"DSDT", bytes(image[dsdt:dsdt + 4]))
        check("FACS", b"FACS", bytes(image[facs:facs + 4]))
        check("FACS alignment", 0, facs % 64)
        apic = found[b"APIC"]
        check("two LAPICs", bytes([0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 1]),
              bytes(image[apic + 44:apic + 56]))


def test_smbios():
    uuid = "00112233-4455-6677-8899-aabbccddeeff"
    with QTest("-M", "pc", "-m", "256", "-smp", "2", "-uuid", uuid, "-name", "Erika") as vm:
        entry, tables = file(vm, "etc/smbios/smbios-anchor"), file(vm, "etc/smbios/smbios-tables")
        check("anchor", b"_SM_", entry[:4])
        check("checksum", 0, sum(entry[:0x1f]) & 0xff)
        check("intermediate checksum", 0, sum(entry[0x10:0x1f]) & 0xff)
        check("length of tables", len(tables), struct.unpack_from("<H", entry, 0x16)[0])
        at, seen = 0, []
        while at < len(tables):
            kind, length = tables[at], tables[at + 1]
            end = tables.index(b"\0\0", at + length) + 2
            strings = tables[at + length:end]
            if kind == 1:
                check("UUID", bytes.fromhex("33221100554477668899aabbccddeeff"),
                      tables[at + 8:at + 24])
            if kind == 3:
                check("name is the asset tag", True, b"Erika\0" in strings)
            if kind == 17:
                check("DIMM in MiB", 256, struct.unpack_from("<H", tables, at + 12)[0])
            seen.append(kind)
            at = end
        check("types", [0, 1, 2, 3, 4, 16, 17, 19, 32, 127], sorted(set(seen)))
        check("structures", len(seen), struct.unpack_from("<H", entry, 0x1c)[0])


main()
