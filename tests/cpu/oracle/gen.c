/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random instructions of a form, and registers and memory for them: values at the edges
 * (zeros, ones, sign bits, NaNs, denormals) more often than chance would have it, addresses
 * inside the data pages, now and then partly outside.
 */
#include "oracle.h"

#include <string.h>

#include "cpu/x87.h"

uint64_t rng_state = 1;

uint64_t rnd(void)
{
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * 0x2545f4914f6cdd1dull;
}

/* ---- values ---- */

static uint64_t rnd_int(void)
{
    static const uint64_t edges[] = { 0,
                                      1,
                                      2,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0xffff,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0x7fffffffffffffff,
                                      0x8000000000000000,
                                      0xfffffffffffffffe,
                                      ~0ull };
    switch (rnd() % 6) {
    case 0: return edges[rnd() % 16];
    case 1: return rnd() >> rnd() % 64;
    case 2: return -(rnd() >> (32 + rnd() % 32));
    case 3: return 1ull << rnd() % 64;
    default: return rnd();
    }
}

static uint32_t rnd_f32(void)
{
    static const uint32_t edges[] = { 0,          0x3f800000, 0x7f800000, 0x7fc00000,
                                      0x7f800001, 1,          0x007fffff, 0x00800000,
                                      0x7f7fffff, 0x4b000000, 0x4f000000, 0x5f000000,
                                      0x3f000000, 0x40490fdb };
    uint32_t sign = rnd() & 0x80000000;
    switch (rnd() % 4) {
    case 0: return sign | edges[rnd() % 14];
    case 1: return sign | (uint32_t)(100 + rnd() % 60) << 23 | (rnd() & 0x7fffff);
    case 2: return sign | 0x3f800000 | (uint32_t)(rnd() % 64) << 20;
    default: return rnd();
    }
}

static uint64_t rnd_f64(void)
{
    static const uint64_t edges[] = {
        0,
        0x3ff0000000000000,
        0x7ff0000000000000,
        0x7ff8000000000000,
        0x7ff0000000000001,
        1,
        0x000fffffffffffff,
        0x0010000000000000,
        0x7fefffffffffffff,
        0x4330000000000000,
        0x41e0000000000000,
        0x43e0000000000000,
        0x3fe0000000000000,
        0x47efffffe0000000,
    };
    uint64_t sign = rnd() & 0x8000000000000000;
    switch (rnd() % 4) {
    case 0: return sign | edges[rnd() % 14];
    case 1: return sign | (1000 + rnd() % 50) << 52 | (rnd() & 0xfffffffffffff);
    case 2: return sign | (870 + rnd() % 310) << 52 | (rnd() & 0xfffffffffffff);
    default: return rnd();
    }
}

static void rnd_f80(uint8_t *out)
{
    static const struct {
        uint16_t exp;
        uint64_t mant;
    } edges[] = {
        { 0, 0 },
        { 0x3fff, 1ull << 63 },
        { 0x7fff, 1ull << 63 },
        { 0x7fff, 3ull << 62 },
        { 0x7fff, 1ull << 63 | 1 },
        { 0, 1 },
        { 0, ~0ull >> 1 },
        { 1, 1ull << 63 },
        { 0x7ffe, ~0ull },
        { 0, 1ull << 63 },
        { 0x7fff, 0 },
        { 0x3fff, 1ull << 62 },
        { 0x403e, ~0ull },
        { 0x401e, 1ull << 63 },
        { 0x4000, 0xc90fdaa22168c235 },
    };
    uint16_t exp, sign = rnd() & 0x8000;
    uint64_t mant;
    switch (rnd() % 5) {
    case 0: {
        unsigned i = rnd() % 15;
        exp = edges[i].exp;
        mant = edges[i].mant;
        break;
    }
    case 1:
        exp = 0x3fff - 4 + rnd() % 80;
        mant = rnd() | 1ull << 63;
        break;
    case 2:
        exp = 0x3fff + rnd() % 20;
        mant = rnd() << 44 | 1ull << 63;
        break;
    case 3:
        exp = rnd() & 0x7fff;
        mant = rnd() | 1ull << 63;
        break;
    default: exp = rnd() & 0x7fff; mant = rnd();
    }
    exp |= sign;
    memcpy(out, &mant, 8);
    memcpy(out + 8, &exp, 2);
}

/* What kind of numbers an instruction takes, from its name. */
typedef enum Kind { KIND_INT, KIND_F32, KIND_F64, KIND_X87 } Kind;

static Kind row_kind(const InsnRow *r)
{
    const char *name = insn_op_name(r->op);
    size_t n = strlen(name);
    if (r->flags & INSN_X87) {
        return KIND_X87;
    }
    if (!(r->flags & (INSN_SSE | INSN_AVX))) {
        return KIND_INT;
    }
    if (strstr(name, "PS2") || strstr(name, "SS2")) {
        return KIND_F32;
    }
    if (strstr(name, "PD2") || strstr(name, "SD2")) {
        return KIND_F64;
    }
    if (name[n - 1] == 'S' && (name[n - 2] == 'P' || name[n - 2] == 'S')) {
        return KIND_F32;
    }
    return name[n - 1] == 'D' && (name[n - 2] == 'P' || name[n - 2] == 'S') ? KIND_F64
                                                                            : KIND_INT;
}

static void fill(uint8_t *p, unsigned len, Kind kind)
{
    if (chance(15)) {
        kind = rnd() % 3;
    }
    for (unsigned i = 0; i + 8 <= len; i += 8) {
        uint64_t v;
        switch (kind) {
        case KIND_F32: v = rnd_f32() | (uint64_t)rnd_f32() << 32; break;
        case KIND_F64: v = rnd_f64(); break;
        default: v = rnd_int();
        }
        memcpy(p + i, &v, 8);
    }
}

/* ---- the instruction ---- */

/* MOVS and kin, and what works on a stack or on implied memory. */
static bool in_ops(unsigned op, const uint16_t *ops)
{
    for (; *ops; ops++) {
        if (*ops == op) {
            return true;
        }
    }
    return false;
}

static unsigned emit_vex(const Mode *m, const Case *c, uint8_t *p, uint8_t *rexb)
{
    const InsnRow *r = c->info;
    unsigned map = (r->enc & ENC_MAP) >> ENC_MAP_SHIFT;
    unsigned pp_enc = (r->enc & ENC_PP) >> ENC_PP_SHIFT;
    unsigned pp = pp_enc >= 2 ? pp_enc - 1 : 0;
    bool w = c->form->w ||
             (!(r->enc & (ENC_W0 | ENC_W1)) && !strchr(r->operands, 'y') && chance(20));
    unsigned rxb = m->bits == 64 ? rnd() & 7 : 0;
    bool uses_v = strpbrk(r->operands, "HB");
    unsigned v = uses_v ? rnd() & (m->bits == 64 ? 15 : 7) : 0;
    unsigned n = 0;
    *rexb = rxb & 1;
    if (map == 1 && !w && !(rxb & 3) && chance(70)) {
        p[n++] = 0xc5;
        p[n++] = (rxb & 4 ? 0 : 0x80) | (~v & 15) << 3 | c->form->vex_l << 2 | pp;
    } else {
        p[n++] = 0xc4;
        p[n++] = (~rxb & 7) << 5 | map;
        p[n++] = w << 7 | (~v & 15) << 3 | c->form->vex_l << 2 | pp;
    }
    return n;
}

static unsigned emit_legacy_prefixes(const Mode *m, const Case *c, uint8_t *p)
{
    const InsnRow *r = c->info;
    const Form *f = c->form;
    unsigned n = 0, pp = r->enc & ENC_PP;
    if (f->mem && chance(8)) {
        p[n++] = m->bits == 64 ? 0x65
                 : chance(50)  ? 0x26
                               : 0x36; /* 32-bit code: GS is null */
    }
    if (f->mem && (m->bits == 16 || (m->bits == 64 && chance(8)))) {
        p[n++] = 0x67;
    }
    if (r->enc & ENC_VEX) {
        return n;
    }
    if (f->lock) {
        p[n++] = 0xf0;
    }
    bool want66 = m->bits == 16 ? f->opsize == 4 : f->opsize == 2;
    if (pp == ENC_P66 || (want66 && pp != ENC_NP)) {
        p[n++] = 0x66;
    }
    if (pp == ENC_PF3 || pp == ENC_PF2) {
        p[n++] = pp == ENC_PF3 ? 0xf3 : 0xf2;
    }
    if (f->rep) {
        p[n++] = f->rep;
    }
    return n;
}

/* Bytes of one instruction, with noise where displacements and immediates will be. */
static void emit(const Mode *m, const Case *c, uint8_t *p)
{
    const InsnRow *r = c->info;
    const Form *f = c->form;
    unsigned n = emit_legacy_prefixes(m, c, p);
    uint8_t rexb = 0;
    if (r->enc & ENC_VEX) {
        n += emit_vex(m, c, p + n, &rexb);
    } else {
        bool w = (f->opsize == 8 && !(r->flags & (INSN_D64 | INSN_F64))) || f->w;
        w = w && !((r->flags & (INSN_D64 | INSN_F64)) && chance(80));
        if (m->bits == 64 && (w || chance(50))) {
            uint8_t rex = 0x40 | w << 3 | (chance(50) ? rnd() & 7 : 0);
            if (r->enc & ENC_NO_REXB) {
                rex &= ~1;
            }
            rexb = rex & 1;
            p[n++] = rex;
        }
        unsigned map = (r->enc & ENC_MAP) >> ENC_MAP_SHIFT;
        if (map) {
            p[n++] = 0x0f;
        }
        if (map > 1) {
            p[n++] = map == 2 ? 0x38 : 0x3a;
        }
    }
    uint8_t opcode = r->enc & 0xff;
    opcode += r->enc & ENC_PLUS_R ? rnd() & 7 : r->enc & ENC_PLUS_CC ? rnd() & 15 : 0;
    p[n++] = opcode;
    unsigned reg = r->enc & ENC_REG ? r->enc >> ENC_REG_SHIFT & 7 : rnd() & 7;
    unsigned rm = r->enc & ENC_RM ? r->enc >> ENC_RM_SHIFT & 7 : rnd() & 7;
    if (f->mem && strstr(r->operands, "vm")) {
        rm = 4;
    }
    unsigned mod = f->mem ? rnd() % 3 : 3;
    p[n++] = mod << 6 | reg << 3 | rm;
}

/* ---- registers and memory for it ---- */

enum { MIDDLE = DATA_LIN + DATA_SIZE / 2 };

/* An address for size bytes: aligned or not, rarely (percent) reaching out of the pages. */
static uint64_t pick_address(unsigned size, bool wants_align, unsigned outside)
{
    if (chance(outside)) {
        uint64_t edge = chance(50) ? DATA_LIN : DATA_LIN + DATA_SIZE;
        return edge - rnd() % (size + 8);
    }
    uint64_t a = DATA_LIN + 1024 + rnd() % (DATA_SIZE - 2048 - size);
    if (chance(10)) { /* across the page boundary */
        a = MIDDLE - size / 2;
    }
    unsigned align = size >= 32 ? 32 : size >= 16 ? 16 : size >= 8 ? 8 : size >= 4 ? 4 : 1;
    return chance(wants_align ? 92 : 50) ? a & ~(uint64_t)(align - 1) : a;
}

/* What an instruction adds to the segment's base to get at a linear address. */
static uint64_t offset_of(const Mode *m, const Insn *in, uint64_t lin)
{
    return lin - (in->seg == SEG_GS ? native_gs_base() : m->data_base);
}

/* Gathers: an index register whose elements, scaled, stay near the middle. */
static void set_gather_index(Case *c)
{
    Regs *r = &c->before;
    const Insn *in = &c->in;
    bool qword = in->opcode & 1;
    unsigned limit = 1024 >> in->scale;
    VecReg *v = &r->ymm[in->index];
    for (unsigned i = 0; i < (qword ? 4u : 8u); i++) {
        int64_t x = (int64_t)(rnd() % (2 * limit)) - limit;
        if (qword) {
            v->u64[i] = x;
        } else {
            v->u32[i] = x;
        }
    }
}

static void set_low16(uint64_t *reg, uint64_t val)
{
    *reg = (rnd() & 0xffff0000) | (val & 0xffff);
}

static bool aim16(Case *c, uint64_t offset, unsigned disp_at)
{
    const Insn *in = &c->in;
    uint64_t *g = c->before.gpr, index = 0;
    if (in->base == INSN_REG_NONE) {
        memcpy(c->bytes + disp_at, &offset, 2);
        return true;
    }
    if (in->index != INSN_REG_NONE) {
        index = rnd();
        set_low16(&g[in->index], index);
    }
    set_low16(&g[in->base], offset - index - (uint64_t)in->disp);
    return true;
}

/* Makes the memory operand point at target; may change disp in the bytes. */
static bool aim(const Mode *m, Case *c, uint64_t target)
{
    Insn *in = &c->in;
    Regs *r = &c->before;
    unsigned disp_len = in->modrm < 0x40 ? 4 : in->modrm < 0x80 ? 1 : 4;
    bool has_disp = in->modrm >= 0x40 || in->base >= INSN_REG_RIP;
    unsigned sib = (in->modrm & 7) == 4, modrm_at = 0;
    uint64_t mask = in->adsize == 8 ? ~0ull : 0xffffffff;
    bool vsib = strstr(c->info->operands, "vm");
    uint64_t index = 0;
    target = offset_of(m, in, target);
    /* Where the displacement is: from the end, behind it only the immediate. */
    for (unsigned i = 0; i + 1 < in->len; i++) {
        if (in->bytes[i] == in->opcode && in->bytes[i + 1] == in->modrm) {
            modrm_at = i + 1;
        }
    }
    if (!modrm_at) {
        return false;
    }
    if (in->adsize == 2) {
        return aim16(c, target, modrm_at + 1);
    }
    unsigned disp_at = modrm_at + 1 + sib;
    if (in->index != INSN_REG_NONE && !vsib) {
        if (in->index == in->base) {
            return false;
        }
        r->gpr[in->index] = chance(50)                ? rnd() % 64
                            : in->base < INSN_REG_RIP ? rnd()
                                                      : rnd() % 64;
        index = (r->gpr[in->index] & mask) << in->scale;
    }
    if (in->base < INSN_REG_RIP) {
        uint64_t base = target - index - (uint64_t)in->disp;
        r->gpr[in->base] = in->adsize == 8 ? base : (base & mask) | (rnd() & ~mask);
        return true;
    }
    if (!has_disp || disp_len != 4) {
        return false;
    }
    int64_t disp = target - index - (in->base == INSN_REG_RIP ? r->rip + in->len : 0);
    if (in->adsize == 8 && disp != (int32_t)disp) {
        return false;
    }
    int32_t d = disp;
    memcpy(c->bytes + disp_at, &d, 4);
    return true;
}

static uint64_t code_target(const Mode *m)
{
    uint64_t at = rnd() % (CODE_SIZE - 16);
    if (at + 16 >= CODE_AT && at < CODE_AT + 16) {
        at = 0;
    }
    return CODE_LIN + at - m->cs_base;
}

static void gen_x87(Regs *r)
{
    for (int i = 0; i < 8; i++) {
        rnd_f80(r->st[i]);
    }
    static const uint8_t pc[4] = { 3, 3, 2, 0 };
    r->fcw = 0x40 | (unsigned)pc[rnd() & 3] << 8 | (rnd() & 3) << 10;
    r->fcw |= chance(80) ? 0x3f : rnd() & 0x3f;
    r->fsw = (rnd() & 7) << 11 | (rnd() & 0x4700) | (rnd() & 0x7f & (r->fcw | 0x40));
    r->fsw &= ~0x40 | ((r->fcw & 1) ? 0x40 : 0);
    if (chance(4)) { /* an unmasked exception is pending */
        unsigned flag = 1u << rnd() % 6;
        r->fcw &= ~flag;
        r->fsw |= flag | 0x8080;
    }
    r->tag = chance(60) ? 0xff : rnd();
    r->fop = rnd() & 0x7ff;
    r->fip = CODE_LIN + (rnd() & 0xfff);
    r->fdp = DATA_LIN + (rnd() & 0xfff);
    if (!(r->fsw & FSW_ES) && !native_keeps_x87_pointers()) {
        r->fop = r->fip = r->fdp = 0; /* as a context switch leaves them */
    }
}

static void gen_regs(const Mode *m, const Case *c, Regs *r)
{
    Kind kind = row_kind(c->info);
    memset(r, 0, sizeof(*r));
    for (int i = 0; i < 16; i++) {
        r->gpr[i] = rnd_int();
    }
    r->gpr[REG_RSP] = MIDDLE - m->data_base + (rnd() % 512) - 256;
    if (chance(90)) {
        r->gpr[REG_RSP] &= ~7ull;
    }
    r->rip = CODE_LIN + CODE_AT - m->cs_base;
    r->flags = rnd() & FLAG_ARITH;
    r->flags |= chance(10) ? FLAG_DF : 0;
    for (int i = 0; i < 16; i++) {
        fill(r->ymm[i].u8, 32, kind);
    }
    if (chance(50)) { /* equal registers and elements happen */
        r->ymm[rnd() & 15] = r->ymm[rnd() & 15];
    }
    r->mxcsr = (rnd() & 0xe07f) | (chance(85) ? 0x1f80 : rnd() & 0x1f80);
    gen_x87(r);
}

/* What instructions with implied operands need. */
static void set_implied(const Mode *m, Case *c)
{
    static const uint16_t strings[] = { OP_MOVS, OP_CMPS, OP_SCAS, OP_LODS, OP_STOS, 0 };
    static const uint16_t masked[] = { OP_MASKMOVQ, OP_MASKMOVDQU, OP_VMASKMOVDQU, 0 };
    Regs *r = &c->before;
    const Insn *in = &c->in;
    uint64_t *g = r->gpr;
    if (in_ops(in->op, strings)) {
        uint64_t src = pick_address(8, false, 3);
        uint64_t dst = chance(30) ? src + rnd() % 32 : pick_address(8, false, 3);
        g[REG_RSI] = offset_of(m, in, src);
        g[REG_RDI] = dst - m->data_base;
        g[REG_RCX] = rnd() % 24;
        r->flags ^= chance(40) ? FLAG_DF : 0;
        if (chance(50)) {
            memset(native_data() + 1024, rnd() & 1 ? 0 : 0x55, DATA_SIZE - 2048);
            g[REG_RAX] = 0x5555555555555555 * (rnd() & 1);
        }
    } else if (in_ops(in->op, masked)) {
        g[REG_RDI] = offset_of(m, in, pick_address(16, false, 3));
    } else if (in->op == OP_XLAT) {
        g[REG_RBX] = offset_of(m, in, pick_address(8, false, 3));
    } else if (in->op == OP_LEAVE || in->op == OP_ENTER) {
        g[REG_RBP] = MIDDLE - m->data_base + rnd() % 512;
    } else if (in->op == OP_DIV || in->op == OP_IDIV) {
        if (chance(60)) {
            g[REG_RDX] = in->op == OP_IDIV && chance(50) ? ~0ull : 0;
            g[REG_RAX] = chance(50) ? rnd_int() : rnd() & 0x7f;
        }
    } else if (in->op == OP_JCXZ || in->op == OP_LOOP || in->op == OP_LOOPE ||
               in->op == OP_LOOPNE) {
        g[REG_RCX] = chance(50) ? rnd() % 3 : rnd_int();
    } else if (in->op == OP_PCMPESTRI || in->op == OP_PCMPESTRM ||
               in->op == OP_VPCMPESTRI || in->op == OP_VPCMPESTRM) {
        if (chance(70)) {
            g[REG_RAX] = rnd() % 20;
            g[REG_RDX] = rnd() % 20;
        }
    }
    if (in->op == OP_RET) {
        uint64_t t = code_target(m), sp = g[REG_RSP] + m->data_base;
        if (sp >= DATA_LIN && sp + 8 <= DATA_LIN + DATA_SIZE) {
            memcpy(native_data() + (sp - DATA_LIN), &t, 8);
        }
    }
}

/* Shift counts, bit offsets, jump targets in registers: random ones would do nothing
 * useful. */
static void set_register_operands(const Mode *m, Case *c)
{
    const Insn *in = &c->in;
    Regs *r = &c->before;
    bool bit_test =
        in->op == OP_BT || in->op == OP_BTS || in->op == OP_BTR || in->op == OP_BTC;
    if (bit_test && in->opd[0].kind == OPD_MEM && in->opd[1].kind == OPD_GPR) {
        int64_t off = (int64_t)(rnd() % 8192) - 4096;
        unsigned reg = in->opd[1].reg;
        r->gpr[reg] = in->opsize == 8   ? (uint64_t)off
                      : in->opsize == 4 ? (uint32_t)off | (m->bits == 64 ? rnd() << 32 : 0)
                                        : (uint16_t)(off) | (rnd() & ~0xffffull);
    }
    if ((in->op == OP_JMP || in->op == OP_CALL) && in->opd[0].kind == OPD_GPR) {
        r->gpr[in->opd[0].reg] = code_target(m);
    }
    if (in->opd[0].kind == OPD_GPR && chance(20) && in->nr_opd > 1 &&
        in->opd[1].kind == OPD_GPR) {
        r->gpr[in->opd[1].reg] = r->gpr[in->opd[0].reg];
    }
}

/* Some pairs must match for the interesting path. */
static void set_memory(const Mode *m, Case *c, uint64_t target, unsigned size)
{
    uint8_t *data = native_data();
    Kind kind = row_kind(c->info);
    if (target < DATA_LIN + 64 || target + size + 64 > DATA_LIN + DATA_SIZE) {
        return;
    }
    uint8_t *p = data + (target - DATA_LIN);
    const Insn *in = &c->in;
    if (kind == KIND_X87 && size == 10) {
        rnd_f80(p);
        if (in->op == OP_FBLD && chance(70)) {
            for (int i = 0; i < 9; i++) {
                p[i] = rnd() % 10 | rnd() % 10 << 4;
            }
            p[9] = chance(50) ? 0x80 : 0;
        }
        return;
    }
    if (kind == KIND_X87 && size <= 8 && in->opcode != 0xda && in->opcode != 0xde &&
        in->opcode != 0xdb && in->opcode != 0xdf) {
        kind = size == 4 ? KIND_F32 : KIND_F64;
    }
    fill(p - 32, ((size > 128 ? 128 : size) + 64 + 7) & ~7u, kind);
    const uint64_t *g = c->before.gpr;
    if (in->op == OP_CMPXCHG && chance(50)) {
        memcpy(p, &g[REG_RAX], 8);
    } else if (in->op == OP_CMPXCHG8B && chance(50)) {
        memcpy(p, &g[REG_RAX], 4);
        memcpy(p + 4, &g[REG_RDX], 4);
    } else if (in->op == OP_CMPXCHG16B && chance(50)) {
        memcpy(p, &g[REG_RAX], 8);
        memcpy(p + 8, &g[REG_RDX], 8);
    } else if (in->op == OP_JMP || in->op == OP_CALL) {
        uint64_t t = code_target(m);
        memcpy(p, &t, in->opsize);
    } else if (in->op == OP_LDMXCSR || in->op == OP_VLDMXCSR) {
        /* not MM, bit 17: processors with MISALIGNSSE have it */
        uint32_t v = rnd() & (chance(90) ? 0xffff : 0xdffff);
        memcpy(p, &v, 4);
    } else if (in->op == OP_FLDCW) {
        uint16_t v = 0x37f ^ (rnd() & 0xf80) ^ (chance(10) ? rnd() & 0x3f : 0);
        memcpy(p, &v, 2);
    } else if (in->op == OP_FLDENV || in->op == OP_FRSTOR) {
        p[0] |= 0x3f; /* everything masked, mostly */
    }
}

/* Immediates that must be small or aim at the pages. */
static void fix_immediates(const Mode *m, Case *c)
{
    Insn *in = &c->in;
    if (in->nr_opd == 0) {
        return;
    }
    if (in->opd[0].kind == OPD_REL && in->opd[0].size >= 2) {
        int32_t v = rnd() % 1000;
        v = chance(50) ? v : -v - 20;
        memcpy(c->bytes + in->len - in->opd[0].size, &v, in->opd[0].size);
    } else if (in->opd[0].kind == OPD_REL && (int8_t)c->bytes[in->len - 1] < 0 &&
               (int8_t)c->bytes[in->len - 1] > -20) {
        c->bytes[in->len - 1] = rnd() & 0x7f;
    }
    if (in->op == OP_ENTER && chance(95)) {
        c->bytes[in->len - 2] &= 3;
    }
    for (unsigned i = 0; i < in->nr_opd; i++) {
        if (in->opd[i].kind == OPD_MEM && !in->has_modrm) { /* moffs */
            uint64_t t = offset_of(m, in, pick_address(in->opd[i].size, false, 3));
            memcpy(c->bytes + in->len - in->adsize, &t, in->adsize);
        }
    }
}

bool gen_case(const Mode *m, const Form *f, Case *c)
{
    c->form = f;
    c->info = &insn_rows[f->row];
    for (unsigned tries = 0; tries < 100; tries++) {
        for (unsigned i = 0; i < 16; i++) {
            c->bytes[i] = rnd();
        }
        emit(m, c, c->bytes);
        if (insn_decode(c->bytes, 15, m->mode, NULL, &c->in) != DECODE_OK ||
            c->in.row != f->row) {
            continue;
        }
        gen_regs(m, c, &c->before);
        fix_immediates(m, c);
        insn_decode(c->bytes, 15, m->mode, NULL, &c->in);
        unsigned size = 0;
        uint64_t target = 0;
        bool vm = false;
        for (unsigned i = 0; i < c->in.nr_opd; i++) {
            if (c->in.opd[i].kind == OPD_MEM || c->in.opd[i].kind == OPD_VMEM) {
                size = c->in.opd[i].size;
                vm = c->in.opd[i].kind == OPD_VMEM;
            }
        }
        set_implied(m, c);
        set_register_operands(m, c);
        if (f->mem) {
            bool align = c->info->flags & INSN_ALIGN16 || c->in.op == OP_CMPXCHG16B;
            /* No jumps to chance addresses; whether VCVTPS2PH finds a page fault or a SIMD
             * exception first is open. */
            bool inside =
                c->in.op == OP_JMP || c->in.op == OP_CALL || c->in.op == OP_VCVTPS2PH;
            target = vm ? MIDDLE + rnd() % 256 : pick_address(size, align, inside ? 0 : 3);
            /* Kernels and hypervisors punish locked accesses across cache lines with
             * milliseconds; the interpreter does some of these as locked ones always. */
            static const uint16_t atomic[] = { OP_XCHG, OP_XADD, OP_CMPXCHG, OP_CMPXCHG8B,
                                               OP_BTS,  OP_BTR,  OP_BTC,     0 };
            bool locked = f->lock || in_ops(c->in.op, atomic);
            if (locked && ((target & 63) + size > 64 || c->in.opd[1].kind == OPD_GPR)) {
                target &= ~(uint64_t)(size - 1);
            }
            if (vm) {
                set_gather_index(c);
            }
            if (!aim(m, c, target)) {
                continue;
            }
            set_memory(m, c, target, size);
        }
        if (insn_decode(c->bytes, 15, m->mode, NULL, &c->in) != DECODE_OK) {
            continue;
        }
        memset(c->bytes + c->in.len, 0xcc, 16 - c->in.len);
        if (m->bits != 64) {
            for (int i = 0; i < 16; i++) {
                c->before.gpr[i] = i < 8 ? (uint32_t)c->before.gpr[i] : 0;
            }
            for (int i = 8; i < 16; i++) {
                memset(&c->before.ymm[i], 0, sizeof(VecReg));
            }
        }
        return true;
    }
    return false;
}
