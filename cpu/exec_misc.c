/* SPDX-License-Identifier: GPL-2.0-or-later
 * Integer instructions that nobody needs fast: decimal adjustment, XLAT, SALC, and the
 * double-width compare-and-exchanges. Flags the SDM leaves undefined come out as Intel
 * processors have them.
 */
#include "cpu/exec.h"

#include "cpu/exception.h"
#include "cpu/tlb.h"

static uint16_t cc_if(bool cond, uint16_t bit)
{
    return cond ? bit : 0;
}

/* SF, ZF, PF of a byte. */
static uint16_t cc_of_byte(uint8_t v)
{
    return cc_if(v & 0x80, CC_SF) | cc_if(v == 0, CC_ZF) |
           cc_if(!__builtin_parity(v), CC_PF);
}

void exec_AAA(CpuState *cpu, const Insn *in)
{
    (void)in;
    uint16_t ax = (uint16_t)cpu->gpr[REG_RAX];
    bool adjust = (ax & 0xf) > 9 || (cpu->cc & CC_AF);
    if (adjust) {
        ax = (uint16_t)(ax + 0x106);
    }
    ax &= 0xff0f;
    cpu_set_reg(cpu, REG_RAX, 2, ax);
    cpu->cc = cc_of_byte((uint8_t)ax) | cc_if(adjust, CC_AF | CC_CF);
}

void exec_AAS(CpuState *cpu, const Insn *in)
{
    (void)in;
    uint16_t ax = (uint16_t)cpu->gpr[REG_RAX];
    bool adjust = (ax & 0xf) > 9 || (cpu->cc & CC_AF);
    if (adjust) {
        ax = (uint16_t)(ax - 0x106);
    }
    ax &= 0xff0f;
    cpu_set_reg(cpu, REG_RAX, 2, ax);
    cpu->cc = cc_of_byte((uint8_t)ax) | cc_if(adjust, CC_AF | CC_CF);
}

void exec_AAM(CpuState *cpu, const Insn *in)
{
    uint8_t base = (uint8_t)in->imm, al = (uint8_t)cpu->gpr[REG_RAX];
    if (base == 0) {
        cpu_raise_plain(cpu, EXC_DE);
    }
    uint8_t low = al % base;
    cpu_set_reg(cpu, REG_RAX, 2, (uint64_t)(al / base) << 8 | low);
    cpu->cc = cc_of_byte(low);
}

void exec_AAD(CpuState *cpu, const Insn *in)
{
    uint16_t ax = (uint16_t)cpu->gpr[REG_RAX];
    uint8_t al = (uint8_t)((ax >> 8) * (uint8_t)in->imm + ax);
    cpu_set_reg(cpu, REG_RAX, 2, al);
    cpu->cc = cc_of_byte(al);
}

/* SDM 2A DAA and DAS: the high digit's adjustment looks at the original AL and CF. */
static void decimal_adjust(CpuState *cpu, int sign)
{
    uint8_t old = (uint8_t)cpu->gpr[REG_RAX], al = old;
    bool old_cf = cpu->cc & CC_CF, cf = false;
    bool low = (old & 0xf) > 9 || (cpu->cc & CC_AF);
    bool high = old > 0x99 || old_cf;
    if (low) {
        cf = old_cf || (sign < 0 ? al < 6 : al > 0xff - 6);
        al = (uint8_t)(al + sign * 6);
    }
    if (high) {
        al = (uint8_t)(al + sign * 0x60);
        cf = true;
    }
    cpu_set_reg(cpu, REG_RAX, 1, al);
    cpu->cc = cc_of_byte(al) | cc_if(low, CC_AF) | cc_if(cf, CC_CF);
}

void exec_DAA(CpuState *cpu, const Insn *in)
{
    (void)in;
    decimal_adjust(cpu, 1);
}

void exec_DAS(CpuState *cpu, const Insn *in)
{
    (void)in;
    decimal_adjust(cpu, -1);
}

void exec_SALC(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu_set_reg(cpu, REG_RAX, 1, cpu->cc & CC_CF ? 0xff : 0);
}

void exec_XLAT(CpuState *cpu, const Insn *in)
{
    uint64_t ea = (cpu->gpr[REG_RBX] + (cpu->gpr[REG_RAX] & 0xff)) & exec_mask(in->adsize);
    cpu_set_reg(cpu, REG_RAX, 1, seg_load(cpu, in->seg, ea, 1));
}

/* ---- CMPXCHG8B, CMPXCHG16B ---- */

typedef struct Pair {
    uint64_t low, high;
} Pair;

/* On the host's memory, atomic whether LOCK is there or not. *expect is what was found. */
static bool host_cas(void *host, unsigned size, Pair *expect, Pair val)
{
    bool equal;
    if (size == 8) {
        return __atomic_compare_exchange_n((uint64_t *)host, &expect->low, val.low, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*(Pair *)host), "+a"(expect->low),
                       "+d"(expect->high)
                     : "b"(val.low), "c"(val.high)
                     : "memory");
    return equal;
}

/* Device memory and operands across a page boundary: not atomic. It always writes, as the
 * processor does. */
static bool slow_cas(CpuState *cpu, uint64_t lin, unsigned size, Pair *expect, Pair val)
{
    lin_probe(cpu, lin, size, true, MEM_CPL);
    Pair now = { .low = lin_load(cpu, lin, 8, MEM_CPL) };
    if (size == 16) {
        now.high = lin_load(cpu, lin + 8, 8, MEM_CPL);
    }
    bool equal = now.low == expect->low && (size == 8 || now.high == expect->high);
    Pair write = equal ? val : now;
    lin_store(cpu, lin, write.low, 8, MEM_CPL);
    if (size == 16) {
        lin_store(cpu, lin + 8, write.high, 8, MEM_CPL);
    }
    *expect = now;
    return equal;
}

static bool compare_exchange(CpuState *cpu, const Insn *in, unsigned size, Pair *expect,
                             Pair val)
{
    uint64_t lin = seg_lin(cpu, in->seg, exec_ea(cpu, in), size, true);
    if (size == 16 && (lin & 15)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    RamBlock *ram;
    uint64_t offset;
    void *host = NULL;
    if (!lin_splits_line(lin, size)) {
        host = lin_host_tracked(cpu, lin, size, true, &ram, &offset);
    }
    if (!host) {
        return slow_cas(cpu, lin, size, expect, val);
    }
    bool equal = host_cas(host, size, expect, val);
    if (equal) {
        mmu_written(cpu, ram, offset, size);
    }
    return equal;
}

void exec_CMPXCHG8B(CpuState *cpu, const Insn *in)
{
    uint64_t *r = cpu->gpr;
    Pair expect = { .low = r[REG_RDX] << 32 | (uint32_t)r[REG_RAX] };
    Pair val = { .low = r[REG_RCX] << 32 | (uint32_t)r[REG_RBX] };
    bool equal = compare_exchange(cpu, in, 8, &expect, val);
    if (!equal) {
        r[REG_RAX] = (uint32_t)expect.low;
        r[REG_RDX] = expect.low >> 32;
    }
    cpu->cc = (uint16_t)((cpu->cc & ~CC_ZF) | cc_if(equal, CC_ZF));
}

void exec_CMPXCHG16B(CpuState *cpu, const Insn *in)
{
    uint64_t *r = cpu->gpr;
    Pair expect = { r[REG_RAX], r[REG_RDX] }, val = { r[REG_RBX], r[REG_RCX] };
    bool equal = compare_exchange(cpu, in, 16, &expect, val);
    if (!equal) {
        r[REG_RAX] = expect.low;
        r[REG_RDX] = expect.high;
    }
    cpu->cc = (uint16_t)((cpu->cc & ~CC_ZF) | cc_if(equal, CC_ZF));
}
