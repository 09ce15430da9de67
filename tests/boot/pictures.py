# SPDX-License-Identifier: GPL-2.0-or-later
"""Screens compared with small reference pictures: PPM from screendump, PNG under refs/."""
import re
import struct
import zlib


def read_ppm(path):
    with open(path, "rb") as f:
        data = f.read()
    m = re.match(rb"P6\s+(?:#[^\n]*\n)*(\d+)\s+(\d+)\s+(\d+)\s", data)
    if not m:
        raise ValueError("not a P6 picture")
    w, h = int(m[1]), int(m[2])
    px = data[m.end():]
    if len(px) < w * h * 3:
        raise ValueError("short picture")
    return w, h, px


def write_png(path, w, h, px):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    raw = b"".join(b"\0" + px[y * w * 3:(y + 1) * w * 3] for y in range(h))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def read_png(path):
    """Only what write_png writes: 8-bit RGB, no filter."""
    with open(path, "rb") as f:
        data = f.read()
    pos, packed, w, h = 8, b"", 0, 0
    while pos < len(data):
        length, kind = struct.unpack(">I4s", data[pos:pos + 8])
        body = data[pos + 8:pos + 8 + length]
        if kind == b"IHDR":
            w, h = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            packed += body
        pos += 12 + length
    raw = zlib.decompress(packed)
    stride = w * 3 + 1
    return w, h, b"".join(raw[y * stride + 1:(y + 1) * stride] for y in range(h))


def shrink(w, h, px, to_w, to_h, sub=4):
    """Averages of sub x sub samples for each target pixel."""
    out = bytearray()
    for ty in range(to_h):
        rows = [(ty * sub + i) * h // (to_h * sub) * w for i in range(sub)]
        for tx in range(to_w):
            cols = [(tx * sub + i) * w // (to_w * sub) for i in range(sub)]
            at = [(r + c) * 3 for r in rows for c in cols]
            for channel in range(3):
                out.append(sum(px[p + channel] for p in at) // len(at))
    return bytes(out)


def differ(a, b, w, h, threshold=40):
    """Share of pixels with a channel that is off by more than the threshold."""
    bad = 0
    for p in range(0, w * h * 3, 3):
        bad += any(abs(a[p + i] - b[p + i]) > threshold for i in range(3))
    return bad / max(w * h, 1)


def vga_text(buf):
    """Characters of a text screen's memory."""
    return "".join(chr(c) if 32 <= c < 127 else " " for c in buf[0::2])
