/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host instruction encoding; see the header.
 */
#include "accel/jit/emit.h"

void emit_rm(Emit *e, unsigned reg, Rm rm)
{
    reg = (reg & 7) << 3;
    if (rm.reg != NO_REG) {
        emit8(e, 0xc0 | reg | (rm.reg & 7));
        return;
    }
    if (rm.base == NO_REG) { /* [index*scale + disp32], or [disp32] by an empty SIB */
        unsigned index = rm.index == NO_REG ? 4 : rm.index & 7;
        emit8(e, reg | 4);
        emit8(e, rm.scale << 6 | index << 3 | 5);
        emit32(e, (uint32_t)rm.disp);
        return;
    }
    unsigned mod = rm.disp == 0 && (rm.base & 7) != 5 ? 0 : rm.disp == (int8_t)rm.disp ? 1 : 2;
    if (rm.index != NO_REG || (rm.base & 7) == 4) {
        unsigned index = rm.index == NO_REG ? 4 : rm.index & 7;
        emit8(e, mod << 6 | reg | 4);
        emit8(e, rm.scale << 6 | index << 3 | (rm.base & 7));
    } else {
        emit8(e, mod << 6 | reg | (rm.base & 7));
    }
    if (mod == 1) {
        emit8(e, (unsigned)rm.disp);
    } else if (mod == 2) {
        emit32(e, (uint32_t)rm.disp);
    }
}

static void emit_address_prefixes(Emit *e, const Rm *rm)
{
    if (rm->gs) {
        emit8(e, 0x65);
    }
    if (rm->narrow) {
        emit8(e, 0x67);
    }
}

static unsigned high(unsigned reg)
{
    return reg != NO_REG && reg >= 8;
}

void emit_op(Emit *e, unsigned op, unsigned reg, Rm rm)
{
    emit_address_prefixes(e, &rm);
    if (op & EM_LOCK) {
        emit8(e, 0xf0);
    }
    if (op & EM_66) {
        emit8(e, 0x66);
    }
    if (op & EM_F3) {
        emit8(e, 0xf3);
    }
    if (op & EM_F2) {
        emit8(e, 0xf2);
    }
    bool is_reg = rm.reg != NO_REG;
    unsigned rex = (op & EM_W ? 8 : 0) | high(reg) << 2 | (is_reg ? 0 : high(rm.index) << 1) |
                   high(is_reg ? rm.reg : rm.base);
    bool spl = (op & EM_BYTE) && !(op & EM_HIGH) && ((reg >= 4 && reg < 8) || (is_reg && rm.reg >= 4));
    if (rex || spl) {
        emit8(e, 0x40 | rex);
    }
    unsigned map = op >> 8 & 3;
    if (map) {
        emit8(e, 0x0f);
        if (map > 1) {
            emit8(e, map == 2 ? 0x38 : 0x3a);
        }
    }
    emit8(e, op & 0xff);
    emit_rm(e, reg, rm);
}

void emit_vex(Emit *e, unsigned pp, unsigned map, bool w, bool l, unsigned vvvv, unsigned opcode,
              unsigned reg, Rm rm)
{
    emit_address_prefixes(e, &rm);
    bool is_reg = rm.reg != NO_REG;
    unsigned x = is_reg ? 0 : high(rm.index), b = high(is_reg ? rm.reg : rm.base);
    unsigned last = (~vvvv & 15) << 3 | l << 2 | pp;
    if (map == 1 && !w && !x && !b) {
        emit8(e, 0xc5);
        emit8(e, (high(reg) ? 0 : 0x80) | last);
    } else {
        emit8(e, 0xc4);
        emit8(e, (high(reg) ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) | map);
        emit8(e, (unsigned)w << 7 | last);
    }
    emit8(e, opcode);
    emit_rm(e, reg, rm);
}

void emit_mov_imm64(Emit *e, unsigned dst, uint64_t v)
{
    if (v <= UINT32_MAX) {
        emit_mov_imm32(e, dst, (uint32_t)v);
        return;
    }
    emit8(e, 0x48 | high(dst));
    emit8(e, 0xb8 | (dst & 7));
    emit64(e, v);
}

void emit_rorx(Emit *e, bool w, unsigned dst, unsigned src, unsigned n)
{
    emit_vex(e, 3, 3, w, false, 0, 0xf0, dst, rm_reg(src));
    emit8(e, n);
}

void emit_alu_imm(Emit *e, unsigned op_flags, unsigned alu, Rm rm, int32_t imm)
{
    bool small = imm == (int8_t)imm;
    emit_op(e, op_flags | (small ? 0x83 : 0x81), alu, rm);
    if (small) {
        emit8(e, (unsigned)imm);
    } else if (op_flags & EM_66) {
        emit16(e, (unsigned)imm);
    } else {
        emit32(e, (uint32_t)imm);
    }
}

void emit_call_c(Emit *e, void *fn)
{
    emit_mov_imm64(e, RAX, (uint64_t)(uintptr_t)fn);
    emit8(e, 0xff);
    emit8(e, 0xd0);
}

void emit_nops(Emit *e, unsigned n)
{
    static const uint8_t nop[9][8] = {
        { 0 },
        { 0x90 },
        { 0x66, 0x90 },
        { 0x0f, 0x1f, 0x00 },
        { 0x0f, 0x1f, 0x40, 0x00 },
        { 0x0f, 0x1f, 0x44, 0x00, 0x00 },
        { 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
        { 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00 },
        { 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 },
    };
    while (n) {
        unsigned now = n > 8 ? 8 : n;
        memcpy(e->p, nop[now], now);
        e->p += now;
        n -= now;
    }
}

void emit_align(Emit *e, unsigned align, unsigned ahead)
{
    unsigned at = (unsigned)((uintptr_t)(e->p + ahead) & (align - 1));
    if (at) {
        emit_nops(e, align - at);
    }
}
