/* SPDX-License-Identifier: GPL-2.0-or-later
 * The AML writer: encodings of ACPI 6.4 chapter 20.2 and resource descriptors of 6.4.
 */
#include "hw/pc/aml.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b, OP_DWORD = 0x0c, OP_STRING = 0x0d,
       OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11, OP_PACKAGE = 0x12, OP_METHOD = 0x14,
       OP_DUAL_PREFIX = 0x2e, OP_MULTI_PREFIX = 0x2f, OP_EXT = 0x5b, OP_IF = 0xa0,
       OP_ELSE = 0xa1, OP_ROOT = 0x5c, EXT_REGION = 0x80, EXT_FIELD = 0x81, EXT_DEVICE = 0x82,
       EXT_PROCESSOR = 0x83 };

void aml_init(Aml *a)
{
    *a = (Aml) { 0 };
}

void aml_fini(Aml *a)
{
    free(a->data);
    *a = (Aml) { 0 };
}

static void reserve(Aml *a, size_t len)
{
    if (a->len + len > a->room) {
        a->room = MAX(2 * a->room, a->len + len + 256);
        a->data = realloc(a->data, a->room);
        assert(a->data);
    }
}

void aml_bytes(Aml *a, const void *bytes, size_t len)
{
    reserve(a, len);
    memcpy(a->data + a->len, bytes, len);
    a->len += len;
}

void aml_zeroes(Aml *a, size_t n)
{
    reserve(a, n);
    memset(a->data + a->len, 0, n);
    a->len += n;
}

void aml_u8(Aml *a, uint8_t v)
{
    aml_bytes(a, &v, 1);
}

void aml_u16(Aml *a, uint16_t v)
{
    aml_u8(a, v);
    aml_u8(a, v >> 8);
}

void aml_u32(Aml *a, uint32_t v)
{
    aml_u16(a, v);
    aml_u16(a, v >> 16);
}

void aml_u64(Aml *a, uint64_t v)
{
    aml_u32(a, v);
    aml_u32(a, v >> 32);
}

void aml_path(Aml *a, const char *path)
{
    if (*path == '\\') {
        aml_u8(a, OP_ROOT);
        path++;
    }
    unsigned nr = *path ? 1 : 0;
    for (const char *p = path; *p; p++) {
        nr += *p == '.';
    }
    if (nr == 0) {
        aml_u8(a, 0); /* NullName */
    } else if (nr == 2) {
        aml_u8(a, OP_DUAL_PREFIX);
    } else if (nr > 2) {
        aml_u8(a, OP_MULTI_PREFIX);
        aml_u8(a, nr);
    }
    while (*path) {
        size_t len = strcspn(path, ".");
        assert(len >= 1 && len <= 4);
        aml_bytes(a, path, len);
        aml_bytes(a, "____", 4 - len);
        path += len;
        path += *path == '.';
    }
}

void aml_int(Aml *a, uint64_t v)
{
    if (v <= 1) {
        aml_u8(a, v);
    } else if (v <= UINT8_MAX) {
        aml_u8(a, OP_BYTE);
        aml_u8(a, v);
    } else if (v <= UINT16_MAX) {
        aml_u8(a, OP_WORD);
        aml_u16(a, v);
    } else if (v <= UINT32_MAX) {
        aml_u8(a, OP_DWORD);
        aml_u32(a, v);
    } else {
        aml_u8(a, OP_QWORD);
        aml_u64(a, v);
    }
}

void aml_string(Aml *a, const char *s)
{
    aml_u8(a, OP_STRING);
    aml_bytes(a, s, strlen(s) + 1);
}

static unsigned hex(char c)
{
    return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Three letters of five bits, then four hex digits, high byte first. */
void aml_eisa_id(Aml *a, const char *id)
{
    unsigned letters = (id[0] - '@') << 10 | (id[1] - '@') << 5 | (id[2] - '@');
    aml_u8(a, OP_DWORD);
    aml_u8(a, letters >> 8);
    aml_u8(a, letters);
    aml_u8(a, hex(id[3]) << 4 | hex(id[4]));
    aml_u8(a, hex(id[5]) << 4 | hex(id[6]));
}

/* ---- objects with a package length ---- */

static void open_object(Aml *a)
{
    assert(a->depth < AML_MAX_DEPTH);
    a->open[a->depth++] = a->len;
}

/* The length counts its own bytes: 6 bits in one byte, else 4 bits and up to three more. */
void aml_close(Aml *a)
{
    assert(a->depth > 0);
    size_t at = a->open[--a->depth], content = a->len - at;
    uint8_t enc[4];
    unsigned n = content + 1 < 64 ? 1 : content + 2 < 1 << 12 ? 2 : content + 3 < 1 << 20 ? 3 : 4;
    size_t total = content + n;
    assert(total < 1 << 28);
    if (n == 1) {
        enc[0] = total;
    } else {
        enc[0] = (n - 1) << 6 | (total & 0xf);
        for (unsigned i = 1; i < n; i++) {
            enc[i] = total >> (4 + 8 * (i - 1));
        }
    }
    reserve(a, n);
    memmove(a->data + at + n, a->data + at, content);
    memcpy(a->data + at, enc, n);
    a->len += n;
}

void aml_scope(Aml *a, const char *path)
{
    aml_u8(a, OP_SCOPE);
    open_object(a);
    aml_path(a, path);
}

void aml_device(Aml *a, const char *name)
{
    aml_u8(a, OP_EXT);
    aml_u8(a, EXT_DEVICE);
    open_object(a);
    aml_path(a, name);
}

void aml_method(Aml *a, const char *name, unsigned args, bool serialized)
{
    aml_u8(a, OP_METHOD);
    open_object(a);
    aml_path(a, name);
    aml_u8(a, args | serialized << 3);
}

void aml_processor(Aml *a, const char *name, uint8_t id)
{
    aml_u8(a, OP_EXT);
    aml_u8(a, EXT_PROCESSOR);
    open_object(a);
    aml_path(a, name);
    aml_u8(a, id);
    aml_u32(a, 0); /* no processor block */
    aml_u8(a, 0);
}

void aml_package(Aml *a, uint8_t nr)
{
    aml_u8(a, OP_PACKAGE);
    open_object(a);
    aml_u8(a, nr);
}

void aml_if(Aml *a)
{
    aml_u8(a, OP_IF);
    open_object(a);
}

void aml_else(Aml *a)
{
    aml_u8(a, OP_ELSE);
    open_object(a);
}

void aml_field(Aml *a, const char *region, uint8_t flags)
{
    aml_u8(a, OP_EXT);
    aml_u8(a, EXT_FIELD);
    open_object(a);
    aml_path(a, region);
    aml_u8(a, flags);
}

void aml_field_unit(Aml *a, const char *name, uint8_t bits)
{
    assert(bits < 64);
    aml_path(a, name);
    aml_u8(a, bits);
}

/* ---- names ---- */

void aml_name(Aml *a, const char *path)
{
    aml_u8(a, OP_NAME);
    aml_path(a, path);
}

void aml_name_int(Aml *a, const char *path, uint64_t v)
{
    aml_name(a, path);
    aml_int(a, v);
}

void aml_name_eisa_id(Aml *a, const char *path, const char *id)
{
    aml_name(a, path);
    aml_eisa_id(a, id);
}

void aml_region(Aml *a, const char *name, uint8_t space, uint64_t offset, uint64_t len)
{
    aml_u8(a, OP_EXT);
    aml_u8(a, EXT_REGION);
    aml_path(a, name);
    aml_u8(a, space);
    aml_int(a, offset);
    aml_int(a, len);
}

/* ---- resource templates ---- */

/* The buffer's size stands before its bytes: always a word, filled in at the end. */
void aml_buffer(Aml *a)
{
    aml_u8(a, OP_BUFFER);
    open_object(a);
    aml_u8(a, OP_WORD);
    aml_u16(a, 0);
    a->template_start = a->len;
}

void aml_buffer_close(Aml *a)
{
    size_t len = a->len - a->template_start;
    a->data[a->template_start - 2] = len;
    a->data[a->template_start - 1] = len >> 8;
    aml_close(a);
}

void aml_resources(Aml *a)
{
    aml_buffer(a);
}

void aml_resources_close(Aml *a)
{
    aml_u8(a, 0x79); /* end tag; checksum 0: not computed */
    aml_u8(a, 0x00);
    aml_buffer_close(a);
}

void aml_res_io(Aml *a, uint16_t base, uint8_t len)
{
    aml_u8(a, 0x47);
    aml_u8(a, 1); /* 16-bit decode */
    aml_u16(a, base);
    aml_u16(a, base);
    aml_u8(a, 1);
    aml_u8(a, len);
}

void aml_res_irq(Aml *a, unsigned irq)
{
    aml_u8(a, 0x22);
    aml_u16(a, 1u << irq);
}

void aml_res_dma(Aml *a, unsigned channel)
{
    aml_u8(a, 0x2a);
    aml_u8(a, 1u << channel);
    aml_u8(a, 0x00); /* compatible, no bus master, 8 bits */
}

void aml_res_memory32(Aml *a, bool writable, uint32_t base, uint32_t len)
{
    aml_u8(a, 0x86);
    aml_u16(a, 9);
    aml_u8(a, writable);
    aml_u32(a, base);
    aml_u32(a, len);
}

/* Producer windows: minimum and maximum fixed, positive decode. */
enum { WINDOW_FLAGS = 0x0c, RANGE_MEMORY = 0, RANGE_IO = 1, RANGE_BUS = 2 };

static void word_window(Aml *a, uint8_t type, uint8_t specific, uint16_t first, uint16_t last)
{
    aml_u8(a, 0x88);
    aml_u16(a, 13);
    aml_u8(a, type);
    aml_u8(a, WINDOW_FLAGS);
    aml_u8(a, specific);
    aml_u16(a, 0);
    aml_u16(a, first);
    aml_u16(a, last);
    aml_u16(a, 0);
    aml_u16(a, last - first + 1);
}

void aml_res_bus(Aml *a, uint16_t first, uint16_t last)
{
    word_window(a, RANGE_BUS, 0, first, last);
}

void aml_res_io_window(Aml *a, uint16_t first, uint16_t last)
{
    word_window(a, RANGE_IO, 3 /* the entire range */, first, last);
}

void aml_res_memory_window(Aml *a, bool cacheable, uint32_t first, uint32_t last)
{
    aml_u8(a, 0x87);
    aml_u16(a, 23);
    aml_u8(a, RANGE_MEMORY);
    aml_u8(a, WINDOW_FLAGS);
    aml_u8(a, 1 | cacheable << 1); /* read-write */
    aml_u32(a, 0);
    aml_u32(a, first);
    aml_u32(a, last);
    aml_u32(a, 0);
    aml_u32(a, last - first + 1);
}

void aml_res_interrupts(Aml *a, const uint32_t *irq, uint8_t nr)
{
    aml_u8(a, 0x89);
    aml_u16(a, 2 + 4 * nr);
    aml_u8(a, 0x09); /* consumer, level, active high, shared */
    aml_u8(a, nr);
    for (unsigned i = 0; i < nr; i++) {
        aml_u32(a, irq[i]);
    }
}
