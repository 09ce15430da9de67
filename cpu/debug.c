/* SPDX-License-Identifier: GPL-2.0-or-later
 * Breakpoints, and MOV to and from the debug registers (SDM 3B 17.2).
 *
 *  DR7   31 30 29 28 .. 19 18 17 16 | 13 | 10 9  8  7  6 .. 1  0
 *        LEN3  R/W3      LEN0  R/W0 | GD |  1 GE LE G3 L3  G0 L0
 */
#include "cpu/debug.h"

#include "cpu/exception.h"
#include "cpu/exec.h"

enum { RW_EXECUTE = 0, RW_WRITE = 1, RW_IO = 2, RW_READ_WRITE = 3 };
/* Bits 31:16 and 11 read as ones (no RTM, no bus-lock detection), 12 and 63:32 as zeros. */
enum { DR6_WRITABLE = 0xe00f };
#define DR6_FIXED 0xffff0ff0u
#define DR7_WRITABLE 0xffff23ffu
enum { DR7_FIXED = 0x400 };

static bool enabled(const CpuState *cpu, unsigned n)
{
    return cpu->dr[7] >> 2 * n & 3;
}

static unsigned kind(const CpuState *cpu, unsigned n)
{
    return cpu->dr[7] >> (16 + 4 * n) & 3;
}

static unsigned length(const CpuState *cpu, unsigned n)
{
    static const uint8_t bytes[4] = { 1, 2, 8, 4 };
    return bytes[cpu->dr[7] >> (18 + 4 * n) & 3];
}

/* Does breakpoint n touch [addr, addr+size)? Its own address is taken as aligned to its
 * length. */
static bool overlaps(const CpuState *cpu, unsigned n, uint64_t addr, uint64_t size)
{
    uint64_t len = length(cpu, n), at = cpu->dr[n] & ~(len - 1);
    return addr - at < len || at - addr < size;
}

uint64_t debug_check_code(CpuState *cpu, uint64_t lin)
{
    if (cpu->eflags & FLAG_RF) {
        return 0;
    }
    uint64_t hit = 0;
    for (unsigned n = 0; n < 4; n++) {
        if (enabled(cpu, n) && kind(cpu, n) == RW_EXECUTE && cpu->dr[n] == lin) {
            hit |= (uint64_t)DR6_B0 << n;
        }
    }
    return hit;
}

void debug_check_data(CpuState *cpu, uint64_t lin, unsigned size, bool write)
{
    for (unsigned n = 0; n < 4; n++) {
        bool kind_fits =
            kind(cpu, n) == RW_READ_WRITE || (write && kind(cpu, n) == RW_WRITE);
        if (enabled(cpu, n) && kind_fits && overlaps(cpu, n, lin, size)) {
            cpu->pending_db |= (uint64_t)DR6_B0 << n;
        }
    }
}

void debug_check_io(CpuState *cpu, uint16_t port, unsigned size)
{
    for (unsigned n = 0; n < 4; n++) {
        if ((cpu->cr4 & CR4_DE) && enabled(cpu, n) && kind(cpu, n) == RW_IO &&
            overlaps(cpu, n, port, size)) {
            cpu->pending_db |= (uint64_t)DR6_B0 << n;
        }
    }
}

bool debug_page_is_watched(const CpuState *cpu, uint64_t lin)
{
    for (unsigned n = 0; n < 4; n++) {
        bool data = kind(cpu, n) == RW_WRITE || kind(cpu, n) == RW_READ_WRITE;
        if (enabled(cpu, n) && data && overlaps(cpu, n, lin & ~0xfffull, 4096)) {
            return true;
        }
    }
    return false;
}

void debug_raise(CpuState *cpu, uint64_t dr6_bits)
{
    cpu->dr[6] = (cpu->dr[6] & ~(uint64_t)DR6_B) | dr6_bits;
    cpu->dr[7] &= ~(uint64_t)DR7_GD; /* the handler may use the registers */
    cpu_raise_plain(cpu, EXC_DB);
}

/* DR4 and DR5 are names of DR6 and DR7 until CR4.DE says they do not exist. */
static unsigned resolve(CpuState *cpu, unsigned n)
{
    if (n > 7) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    if (n == 4 || n == 5) {
        if (cpu->cr4 & CR4_DE) {
            cpu_raise_plain(cpu, EXC_UD);
        }
        n += 2;
    }
    if (cpu_cpl(cpu) != 0) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    if (cpu->dr[7] & DR7_GD) {
        debug_raise(cpu, DR6_BD);
    }
    return n;
}

static void write_dr(CpuState *cpu, unsigned n, uint64_t val)
{
    if (n >= 6 && val >> 32) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    switch (n) {
    case 6: cpu->dr[6] = (val & DR6_WRITABLE) | DR6_FIXED; break;
    case 7:
        cpu->dr[7] = (val & DR7_WRITABLE) | DR7_FIXED;
        cpu_update_mode(cpu);
        break;
    default: cpu->dr[n] = val;
    }
    if (cpu->dr[7] & 0xff) {
        tlb_flush(cpu); /* another page may be watched now */
    }
}

void exec_MOVDR(CpuState *cpu, const Insn *in)
{
    if (in->opd[0].kind == OPD_DR) {
        unsigned n = resolve(cpu, in->opd[0].reg);
        write_dr(cpu, n, exec_get(cpu, in, 1));
    } else {
        exec_put(cpu, in, 0, cpu->dr[resolve(cpu, in->opd[1].reg)]);
    }
}
