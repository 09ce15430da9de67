/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands that look at memory and ports: x, xp, p, sum, memsave, pmemsave, gva2gpa, gpa2hva, i,
 * o. Linear addresses are translated by the chosen CPU's page tables without touching them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cpu/insn.h"
#include "cpu/paging.h"
#include "memory/region.h"
#include "monitor/internal.h"

enum { MAX_COUNT = 65536 };

/* Bytes of linear (cpu not NULL) or physical memory; returns how many can be read before the
 * first unmapped page. */
static size_t read_memory(Monitor *mon, CpuState *cpu, uint64_t addr, void *buf, size_t len)
{
    size_t done = 0;
    while (done < len) {
        size_t n = MIN(len - done, PAGE_SIZE - ((addr + done) & (PAGE_SIZE - 1)));
        uint64_t gpa = addr + done;
        if (cpu && (gpa = paging_translate(cpu, addr + done)) == UINT64_MAX) {
            break;
        }
        address_space_read(&mon->m->memory, gpa, (char *)buf + done, n);
        done += n;
    }
    return done;
}

/* ---- x and xp ---- */

static void print_char(Monitor *mon, uint8_t c)
{
    switch (c) {
    case '\'': monitor_printf(mon, "'\\''"); break;
    case '\\': monitor_printf(mon, "'\\\\'"); break;
    case '\n': monitor_printf(mon, "'\\n'"); break;
    case '\r': monitor_printf(mon, "'\\r'"); break;
    default:
        if (c >= 32 && c <= 126) {
            monitor_printf(mon, "'%c'", c);
        } else {
            monitor_printf(mon, "'\\x%02x'", c);
        }
    }
}

static void print_value(Monitor *mon, char format, unsigned size, uint64_t v)
{
    unsigned bits = size * 8, pad = 64 - bits;
    int digits = (int)bits * 10 / 33 + 1; /* decimal */
    switch (format) {
    case 'd': monitor_printf(mon, "%*" PRId64, digits + 1, (int64_t)(v << pad) >> pad); break;
    case 'u': monitor_printf(mon, "%*" PRIu64, digits, v); break;
    case 'o': monitor_printf(mon, "0%0*" PRIo64, (int)(bits + 2) / 3, v); break;
    case 'c': print_char(mon, (uint8_t)v); break;
    default: monitor_printf(mon, "0x%0*" PRIx64, (int)size * 2, v);
    }
}

/* The mode that code at addr would most likely run in: that of the chosen CPU now; 16-bit code if
 * there is no CPU. */
static void disassemble(Monitor *mon, CpuState *cpu, bool physical, uint64_t addr, unsigned count)
{
    uint32_t mode = cpu ? cpu->mode : 0;
    while (count--) {
        uint8_t bytes[15];
        char text[160], hex[32] = "";
        Insn in;
        size_t have = read_memory(mon, physical ? NULL : cpu, addr, bytes, sizeof(bytes));
        if (!have) {
            monitor_printf(mon, "0x%016" PRIx64 ":  cannot access memory\n", addr);
            return;
        }
        DecodeResult r = insn_decode(bytes, (unsigned)have, mode, NULL, &in);
        unsigned len = r == DECODE_OK ? in.len : 1;
        for (unsigned i = 0; i < MIN(len, 10u); i++) {
            sprintf(hex + 2 * i, "%02x", bytes[i]);
        }
        if (r == DECODE_OK) {
            insn_format(&in, addr, text, sizeof(text));
        } else {
            snprintf(text, sizeof(text), "%s",
                     r == DECODE_SHORT ? "(cut off by an unmapped page)" : "(bad)");
        }
        monitor_printf(mon, "0x%08" PRIx64 ":  %-20s  %s\n", addr, hex, text);
        addr += len;
    }
}

static unsigned size_of_letter(char c)
{
    return c == 'b' ? 1 : c == 'h' ? 2 : c == 'g' ? 8 : 4;
}

static void dump_values(Monitor *mon, CpuState *cpu, uint64_t addr, unsigned count, char format,
                        unsigned size)
{
    unsigned per_line = size == 1 ? 8 : 16 / size;
    for (unsigned i = 0; i < count; i++, addr += size) {
        uint64_t v = 0;
        if (i % per_line == 0) {
            monitor_printf(mon, "%s%016" PRIx64 ":", i ? "\n" : "", addr);
        }
        if (read_memory(mon, cpu, addr, &v, size) < size) {
            monitor_printf(mon, " Cannot access memory");
            break;
        }
        monitor_printf(mon, " ");
        print_value(mon, format, size, v);
    }
    monitor_printf(mon, "\n");
}

static void dump(Monitor *mon, const Dict *args, bool physical)
{
    uint64_t addr = arg_u64(args, "addr", 0);
    uint64_t count = MIN(arg_u64(args, "count", 1), MAX_COUNT);
    const char *format = dict_get(args, "format"), *size = dict_get(args, "size");
    if (!mon->m) {
        return;
    }
    mon->dump_format = format ? *format : mon->dump_format;
    mon->dump_size = size ? *size : mon->dump_size;
    if (mon->dump_format == 'c' && !size) {
        mon->dump_size = 'b';
    }
    CpuState *cpu = monitor_cpu_hold(mon);
    if (!cpu && !physical) {
        monitor_printf(mon, "Error: this machine has no CPU; xp shows physical memory\n");
        return;
    }
    if (mon->dump_format == 'i') {
        disassemble(mon, cpu, physical, addr, (unsigned)count);
    } else {
        dump_values(mon, physical ? NULL : cpu, addr, (unsigned)count, mon->dump_format,
                    mon->dump_format == 'c' ? 1 : size_of_letter(mon->dump_size));
    }
    if (cpu) {
        monitor_cpu_release(mon);
    }
}

static void run_x(Monitor *mon, const Dict *args)
{
    dump(mon, args, false);
}

static void run_xp(Monitor *mon, const Dict *args)
{
    dump(mon, args, true);
}

static void run_print(Monitor *mon, const Dict *args)
{
    const char *format = dict_get(args, "format");
    uint64_t v = arg_u64(args, "val", 0);
    switch (format ? *format : 'x') {
    case 'd': monitor_printf(mon, "%" PRId64, (int64_t)v); break;
    case 'u': monitor_printf(mon, "%" PRIu64, v); break;
    case 'o': monitor_printf(mon, "%#" PRIo64, v); break;
    case 'c': print_char(mon, (uint8_t)v); break;
    default: monitor_printf(mon, "%#" PRIx64, v);
    }
    monitor_printf(mon, "\n");
}

/* ---- save, sum ---- */

static void save(Monitor *mon, const Dict *args, bool physical)
{
    uint64_t addr = arg_u64(args, "val", 0), left = arg_u64(args, "size", 0);
    const char *path = dict_get(args, "filename");
    static uint8_t buf[64 * 1024];
    CpuState *cpu = NULL;
    if (!mon->m || (!physical && !(cpu = monitor_cpu_hold(mon)))) {
        monitor_printf(mon, "Error: this machine has no CPU; pmemsave saves physical memory\n");
        return;
    }
    FILE *f = fopen(path, "wb");
    bool failed = !f;
    while (left && !failed) {
        size_t n = MIN(left, sizeof(buf));
        if (read_memory(mon, cpu, addr, buf, n) < n) {
            monitor_printf(mon, "Error: linear address 0x%" PRIx64 " is not mapped up to there\n",
                           addr + n - 1);
            break;
        }
        failed = fwrite(buf, 1, n, f) != n;
        addr += n;
        left -= n;
    }
    if (f && fclose(f)) {
        failed = true;
    }
    if (failed) {
        monitor_printf(mon, "Error: cannot write '%s': %s\n", path, strerror(errno));
    }
    if (cpu) {
        monitor_cpu_release(mon);
    }
}

static void run_memsave(Monitor *mon, const Dict *args)
{
    save(mon, args, false);
}

static void run_pmemsave(Monitor *mon, const Dict *args)
{
    save(mon, args, true);
}

/* The checksum of BSD's sum(1). */
static void run_sum(Monitor *mon, const Dict *args)
{
    uint64_t addr = arg_u64(args, "start", 0), size = arg_u64(args, "size", 0);
    uint16_t sum = 0;
    for (uint64_t i = 0; mon->m && i < MIN(size, 1ull << 30); i++) {
        uint8_t byte;
        address_space_read(&mon->m->memory, addr + i, &byte, 1);
        sum = (uint16_t)((sum >> 1 | sum << 15) + byte);
    }
    monitor_printf(mon, "%05d\n", sum);
}

/* ---- addresses ---- */

static void run_gva2gpa(Monitor *mon, const Dict *args)
{
    CpuState *cpu = monitor_cpu_hold(mon);
    if (!cpu) {
        monitor_printf(mon, "Error: this machine has no CPU\n");
        return;
    }
    uint64_t gpa = paging_translate(cpu, arg_u64(args, "addr", 0));
    monitor_cpu_release(mon);
    if (gpa == UINT64_MAX) {
        monitor_printf(mon, "Unmapped\n");
    } else {
        monitor_printf(mon, "gpa: %#" PRIx64 "\n", gpa);
    }
}

static void run_gpa2hva(Monitor *mon, const Dict *args)
{
    uint64_t gpa = arg_u64(args, "addr", 0);
    FlatView *view = mon->m ? address_space_view(&mon->m->memory) : NULL;
    const FlatRange *r = view ? flat_view_find(view, gpa) : NULL;
    if (!r) {
        monitor_printf(mon, "Error: no memory is mapped at address %#" PRIx64 "\n", gpa);
    } else if (!r->host) {
        monitor_printf(mon, "Error: memory at address %#" PRIx64 " (%s) is not RAM\n", gpa,
                       r->region->name);
    } else {
        monitor_printf(mon, "Host virtual address for %#" PRIx64 " (%s) is %p\n", gpa,
                       r->region->name, (void *)(r->host + (gpa - r->start)));
    }
    if (view) {
        flat_view_unref(view);
    }
}

/* ---- ports ---- */

static unsigned port_size(const Dict *args, char *letter)
{
    const char *size = dict_get(args, "size");
    unsigned n = size ? size_of_letter(*size) : 1;
    n = n == 8 ? 4 : n;
    *letter = n == 1 ? 'b' : n == 2 ? 'w' : 'l';
    return n;
}

static void run_i(Monitor *mon, const Dict *args)
{
    char letter;
    unsigned size = port_size(args, &letter);
    uint16_t port = (uint16_t)arg_u64(args, "addr", 0);
    if (!mon->m) {
        return;
    }
    if (dict_has(args, "index")) { /* CMOS and its like: the index first, the data next to it */
        address_space_store(&mon->m->io, port, arg_u64(args, "index", 0), 1);
        port++;
    }
    uint64_t v = address_space_load(&mon->m->io, port, size);
    monitor_printf(mon, "port%c[0x%04x] = 0x%0*" PRIx64 "\n", letter, port, (int)size * 2, v);
}

static void run_o(Monitor *mon, const Dict *args)
{
    char letter;
    unsigned size = port_size(args, &letter);
    if (mon->m) {
        address_space_store(&mon->m->io, (uint16_t)arg_u64(args, "addr", 0),
                            arg_u64(args, "val", 0), size);
    }
}

MONITOR_COMMANDS(mem_commands) = {
    { .name = "x", .args = "fmt:/,addr:l", .params = "/fmt addr",
      .help = "show virtual memory at addr; fmt is a count, a format (x d u o c, i: instructions) "
              "and a size (b h w g)",
      .run = run_x },
    { .name = "xp", .args = "fmt:/,addr:l", .params = "/fmt addr",
      .help = "show physical memory at addr", .run = run_xp },
    { .name = "print|p", .args = "fmt:/,val:l", .params = "/fmt expr",
      .help = "show the value of an expression; registers are $rax, $rip, ...", .run = run_print },
    { .name = "sum", .args = "start:l,size:l", .params = "addr size",
      .help = "show the checksum of physical memory (as sum -r)", .run = run_sum },
    { .name = "memsave", .args = "val:l,size:l,filename:F", .params = "addr size file",
      .help = "save virtual memory to a file", .run = run_memsave },
    { .name = "pmemsave", .args = "val:l,size:l,filename:F", .params = "addr size file",
      .help = "save physical memory to a file", .run = run_pmemsave },
    { .name = "gva2gpa", .args = "addr:l", .params = "addr",
      .help = "show the guest physical address of a guest virtual one", .run = run_gva2gpa },
    { .name = "gpa2hva", .args = "addr:l", .params = "addr",
      .help = "show the host address of a guest physical one", .run = run_gpa2hva },
    { .name = "i", .args = "fmt:/,addr:i,index:i?", .params = "/fmt port [index]",
      .help = "read a port; fmt is a size (b h w)", .run = run_i },
    { .name = "o", .args = "fmt:/,addr:i,val:i", .params = "/fmt port value",
      .help = "write a port; fmt is a size (b h w)", .run = run_o },
    { .name = NULL },
};
