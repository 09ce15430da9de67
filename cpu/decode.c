/* SPDX-License-Identifier: GPL-2.0-or-later
 * The instruction decoder: SDM volume 2A chapter 2 (formats, prefixes, REX, VEX), volume 2D
 * appendix A. Leaves out EVEX and XOP: no row has them, so they are #UD.
 *
 * At start-up the rows of the table are compiled: the conditions on prefixes, ModRM and
 * mode become a mask and a value over one word of context, the operand string a list of
 * small codes. An index by opcode (and by ModRM.reg where rows ask for it) gives the few
 * rows that may fit. That index is written once, before main, and only read afterwards.
 */
#include "cpu/insn.h"

#include <assert.h>
#include <string.h>

/* Context word: what a row may depend on. */
enum {
    CTX_PP = 3, /* 0 none, 1 66, 2 F3, 3 F2 */
    CTX_REG_SHIFT = 2,
    CTX_RM_SHIFT = 5,
    CTX_MOD3 = 1 << 8,
    CTX_L = 1 << 9,
    CTX_W = 1 << 10,
    CTX_MODE64 = 1 << 11,
    CTX_PE = 1 << 12,
    CTX_REXB = 1 << 13,
};

typedef enum OpdType {
    T_NONE,
    T_E,
    T_G,
    T_M,
    T_R,
    T_Z,
    T_B,
    T_V,
    T_H,
    T_W,
    T_U,
    T_L,
    T_P,
    T_Q,
    T_N,
    T_I,
    T_SI,
    T_J,
    T_A,
    T_O,
    T_S,
    T_C,
    T_D,
    T_X,
    T_Y,
    T_GPR,
    T_SEGREG,
    T_ST0,
    T_STI,
    T_ONE,
    T_XMM0,
    T_VM,
} OpdType;

typedef enum SizeCode {
    SZ_0,
    SZ_b,
    SZ_w,
    SZ_d,
    SZ_q,
    SZ_t,
    SZ_dq,
    SZ_qq,
    SZ_v,
    SZ_z,
    SZ_y,
    SZ_x,
    SZ_h,
    SZ_f,
    SZ_e,
    SZ_ss,
    SZ_sd,
    SZ_p,
    SZ_a,
    SZ_s,
    SZ_n,
    SZ_env,
    SZ_sav,
    SZ_fx,
    NR_SIZES,
} SizeCode;

typedef struct OpdSpec {
    uint8_t type, size; /* OpdType, SizeCode of a register */
    uint8_t mem_size;   /* SizeCode of memory */
    uint8_t arg;        /* T_GPR, T_SEGREG: which; T_VM: element size code */
    uint8_t access;
} OpdSpec;

typedef struct RowInfo {
    uint32_t mask, value; /* over the context word */
    uint32_t flags;
    uint16_t op;
    uint8_t feature, nr_opd;
    bool is_cc, is_fp_cmp, uses_vvvv, uses_vsib;
    OpdSpec opd[5];
} RowInfo;

/* Spaces: legacy maps 0 to 3, then VEX maps 1 to 3. */
enum { SPACE_VEX = 3, NR_SPACES = 7, MAX_ROWS = 2048, MAX_LIST = 16384, MAX_SPLIT = 256 };

typedef struct RowList {
    uint16_t first, count; /* in index.list */
} RowList;

typedef struct OpcodeInfo {
    RowList rows;
    uint8_t has_modrm;
    uint8_t split; /* 1 + place in index.split: lists by ModRM.reg */
} OpcodeInfo;

static struct {
    OpcodeInfo opcode[NR_SPACES][256];
    RowList split[MAX_SPLIT][8];
    uint16_t list[MAX_LIST];
    RowInfo row[MAX_ROWS];
    uint16_t size[NR_SIZES]
                 [16]; /* by opsize (0: 2, 1: 4, 2: 8) << 2 | L << 1 | 64-bit mode */
} decode_index;        /* constant once main runs */

/* ---- compiling the table ---- */

static unsigned size_value(SizeCode c, unsigned opsize, bool l, bool mode64)
{
    unsigned vl = l ? 32 : 16;
    switch (c) {
    case SZ_b: return 1;
    case SZ_w: return 2;
    case SZ_d:
    case SZ_ss: return 4;
    case SZ_q:
    case SZ_sd: return 8;
    case SZ_t: return 10;
    case SZ_dq: return 16;
    case SZ_qq: return 32;
    case SZ_v: return opsize;
    case SZ_z: return opsize == 2 ? 2 : 4;
    case SZ_y: return opsize == 8 ? 8 : 4;
    case SZ_x: return vl;
    case SZ_h: return vl / 2;
    case SZ_f: return vl / 4;
    case SZ_e: return vl / 8;
    case SZ_p: return opsize + 2;
    case SZ_a: return opsize * 2;
    case SZ_s: return mode64 ? 10 : 6;
    case SZ_n: return mode64 ? 8 : 4;
    case SZ_env: return opsize == 2 ? 14 : 28;
    case SZ_sav: return opsize == 2 ? 94 : 108;
    case SZ_fx: return 512;
    default: return 0;
    }
}

static SizeCode parse_size(const char *s, const char **end)
{
    static const struct {
        const char *name;
        SizeCode code;
    } names[] = {
        /* longer ones first */
        { "env", SZ_env }, { "sav", SZ_sav }, { "dq", SZ_dq }, { "qq", SZ_qq },
        { "ss", SZ_ss },   { "sd", SZ_sd },   { "fx", SZ_fx }, { "b", SZ_b },
        { "w", SZ_w },     { "d", SZ_d },     { "q", SZ_q },   { "t", SZ_t },
        { "v", SZ_v },     { "z", SZ_z },     { "y", SZ_y },   { "x", SZ_x },
        { "h", SZ_h },     { "f", SZ_f },     { "e", SZ_e },   { "p", SZ_p },
        { "a", SZ_a },     { "s", SZ_s },     { "n", SZ_n },
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i].name);
        if (!strncmp(s, names[i].name, len)) {
            *end = s + len;
            return names[i].code;
        }
    }
    *end = s;
    return SZ_0;
}

static bool parse_fixed(const char *s, const char **end, OpdSpec *o)
{
    static const struct {
        const char *name;
        OpdType type;
        SizeCode size;
        uint8_t arg;
    } names[] = {
        { "rAX", T_GPR, SZ_v, REG_RAX },  { "eAX", T_GPR, SZ_z, REG_RAX },
        { "AL", T_GPR, SZ_b, REG_RAX },   { "AX", T_GPR, SZ_w, REG_RAX },
        { "CL", T_GPR, SZ_b, REG_RCX },   { "DX", T_GPR, SZ_w, REG_RDX },
        { "ES", T_SEGREG, SZ_w, SEG_ES }, { "CS", T_SEGREG, SZ_w, SEG_CS },
        { "SS", T_SEGREG, SZ_w, SEG_SS }, { "DS", T_SEGREG, SZ_w, SEG_DS },
        { "FS", T_SEGREG, SZ_w, SEG_FS }, { "GS", T_SEGREG, SZ_w, SEG_GS },
        { "ST0", T_ST0, SZ_t, 0 },        { "STi", T_STI, SZ_t, 0 },
        { "XMM0", T_XMM0, SZ_dq, 0 },     { "1", T_ONE, SZ_b, 0 },
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i].name);
        if (!strncmp(s, names[i].name, len)) {
            *o = (OpdSpec) { .type = names[i].type,
                             .size = names[i].size,
                             .arg = names[i].arg };
            *end = s + len;
            return true;
        }
    }
    return false;
}

static OpdSpec parse_operand(const char *s, const char **end)
{
    static const char letters[] = "EGMRZBVHWULPQNIJAOSCDXY";
    static const uint8_t types[] = { T_E, T_G, T_M, T_R, T_Z, T_B, T_V, T_H,
                                     T_W, T_U, T_L, T_P, T_Q, T_N, T_I, T_J,
                                     T_A, T_O, T_S, T_C, T_D, T_X, T_Y };
    OpdSpec o = { 0 };
    if (parse_fixed(s, end, &o)) {
        return o;
    }
    if (!strncmp(s, "vm", 2)) {
        o.type = T_VM;
        o.size = parse_size(s + 4, end);
        return o;
    }
    if (*s == 's') {
        o.type = T_SI;
        o.size = parse_size(s + 2, end);
        return o;
    }
    const char *p = strchr(letters, *s);
    assert(*s && p);
    o.type = types[p - letters];
    o.size = o.mem_size = parse_size(s + 1, end);
    if (**end == '/') { /* "Rd/Mw", "Udq/Md" */
        o.type = o.type == T_U ? T_W : T_E;
        o.mem_size = parse_size(*end + 2, end);
    }
    return o;
}

static uint8_t operand_access(uint32_t flags, unsigned n, OpdType t)
{
    if (t == T_I || t == T_SI || t == T_J || t == T_A || t == T_ONE) {
        return OPD_R;
    }
    if (flags & INSN_DR) {
        return OPD_R;
    }
    if (flags & INSN_W2) {
        return n < 2 ? OPD_W : OPD_R;
    }
    if (flags & INSN_RW2) {
        return n < 2 ? OPD_RW : OPD_R;
    }
    if (flags & INSN_GATHER) {
        return n == 1 ? OPD_R : OPD_RW;
    }
    return n > 0 ? OPD_R : flags & INSN_DW ? OPD_W : OPD_RW;
}

static bool type_in_modrm(OpdType t)
{
    return (t >= T_E && t <= T_R) || (t >= T_V && t <= T_U && t != T_H) ||
           (t >= T_P && t <= T_N) || (t >= T_S && t <= T_D) || t == T_STI || t == T_VM;
}

static void require(RowInfo *r, uint32_t mask, uint32_t value)
{
    r->mask |= mask;
    r->value |= value;
}

/* Returns whether the row has a ModRM byte. */
static bool compile_row(const InsnRow *row, RowInfo *r)
{
    uint32_t enc = row->enc;
    *r = (RowInfo) { .flags = row->flags, .op = row->op, .feature = row->feature };
    switch (enc & ENC_PP) {
    case ENC_NP: require(r, CTX_PP, 0); break;
    case ENC_P66: require(r, CTX_PP, 1); break;
    case ENC_PF3: require(r, CTX_PP, 2); break;
    case ENC_PF2: require(r, CTX_PP, 3); break;
    case ENC_NOREP: require(r, 2, 0); break;
    }
    bool modrm = enc & (ENC_REG | ENC_RM | ENC_MEM_ONLY | ENC_REG_ONLY);
    if (enc & ENC_REG) {
        require(r, 7 << CTX_REG_SHIFT, (enc >> ENC_REG_SHIFT & 7) << CTX_REG_SHIFT);
    }
    if (enc & ENC_RM) {
        require(r, 7 << CTX_RM_SHIFT, (enc >> ENC_RM_SHIFT & 7) << CTX_RM_SHIFT);
    }
    if (enc & (ENC_MEM_ONLY | ENC_REG_ONLY)) {
        require(r, CTX_MOD3, enc & ENC_REG_ONLY ? CTX_MOD3 : 0);
    }
    if (enc & (ENC_W0 | ENC_W1)) {
        require(r, CTX_W, enc & ENC_W1 ? CTX_W : 0);
    }
    if (enc & (ENC_L0 | ENC_L1)) {
        require(r, CTX_L, enc & ENC_L1 ? CTX_L : 0);
    }
    if (enc & ENC_NO_REXB) {
        require(r, CTX_REXB, 0);
    }
    if (row->flags & (INSN_I64 | INSN_O64)) {
        require(r, CTX_MODE64, row->flags & INSN_O64 ? CTX_MODE64 : 0);
    }
    if (row->flags & INSN_PE) {
        require(r, CTX_PE, CTX_PE);
    }
    r->is_cc = enc & ENC_PLUS_CC;
    r->is_fp_cmp = (row->op >= OP_CMPPS && row->op <= OP_CMPSD) ||
                   (row->op >= OP_VCMPPS && row->op <= OP_VCMPSD);
    for (const char *s = row->operands; *s;) {
        unsigned n = r->nr_opd++;
        assert(n < 5);
        OpdSpec *o = &r->opd[n];
        *o = parse_operand(s, &s);
        o->access = operand_access(row->flags, n, o->type);
        modrm |= type_in_modrm(o->type);
        r->uses_vvvv |= o->type == T_B || o->type == T_H;
        if (o->type == T_VM) {
            r->uses_vsib = true;
            o->arg = enc & ENC_W1 ? 8 : 4;
        }
        assert(*s == ',' || !*s);
        s += *s == ',';
    }
    return modrm;
}

static bool row_covers(uint32_t enc, unsigned space, unsigned opcode)
{
    unsigned map = (enc & ENC_MAP) >> ENC_MAP_SHIFT;
    unsigned count = enc & ENC_PLUS_R ? 8 : enc & ENC_PLUS_CC ? 16 : 1;
    unsigned first = enc & 0xff;
    return (enc & ENC_VEX ? SPACE_VEX + map : map) == space && opcode >= first &&
           opcode < first + count;
}

static void __attribute__((constructor)) decode_index_build(void)
{
    static bool row_has_modrm[MAX_ROWS];
    unsigned nr_list = 0, nr_split = 0;

    for (int c = 0; c < NR_SIZES; c++) {
        for (int i = 0; i < 12; i++) {
            decode_index.size[c][i] = size_value(c, 2 << (i >> 2), i >> 1 & 1, i & 1);
        }
    }
    assert(nr_insn_rows <= MAX_ROWS);
    for (unsigned i = 1; i < nr_insn_rows; i++) {
        row_has_modrm[i] = compile_row(&insn_rows[i], &decode_index.row[i]);
    }
    /* Rows by opcode, in the table's order. */
    static uint16_t by_opcode[NR_SPACES][256][128];
    static uint8_t nr_by_opcode[NR_SPACES][256];
    for (unsigned i = 1; i < nr_insn_rows; i++) {
        uint32_t enc = insn_rows[i].enc;
        unsigned map = (enc & ENC_MAP) >> ENC_MAP_SHIFT;
        unsigned space = enc & ENC_VEX ? SPACE_VEX + map : map;
        for (unsigned b = enc & 0xff; b < 256 && row_covers(enc, space, b); b++) {
            assert(nr_by_opcode[space][b] < 128);
            by_opcode[space][b][nr_by_opcode[space][b]++] = i;
        }
    }
    for (unsigned space = 0; space < NR_SPACES; space++) {
        for (unsigned b = 0; b < 256; b++) {
            OpcodeInfo *info = &decode_index.opcode[space][b];
            bool by_reg = false;
            info->rows.first = nr_list;
            for (unsigned i = 0; i < nr_by_opcode[space][b]; i++) {
                uint16_t row = by_opcode[space][b][i];
                assert(nr_list < MAX_LIST);
                decode_index.list[nr_list++] = row;
                info->rows.count++;
                info->has_modrm |= row_has_modrm[row];
                by_reg |= (insn_rows[row].enc & ENC_REG) != 0;
            }
            if (!by_reg || info->rows.count < 3) {
                continue;
            }
            assert(nr_split < MAX_SPLIT - 1);
            info->split = ++nr_split;
            for (unsigned reg = 0; reg < 8; reg++) {
                RowList *l = &decode_index.split[nr_split][reg];
                l->first = nr_list;
                for (unsigned i = 0; i < info->rows.count; i++) {
                    uint16_t row = decode_index.list[info->rows.first + i];
                    uint32_t enc = insn_rows[row].enc;
                    if (!(enc & ENC_REG) || (enc >> ENC_REG_SHIFT & 7) == reg) {
                        assert(nr_list < MAX_LIST);
                        decode_index.list[nr_list++] = row;
                        l->count++;
                    }
                }
            }
        }
    }
}

/* ---- decoding ---- */

typedef struct Decoder {
    uint8_t
        buf[32]; /* the bytes, then zeros: a decode past the end is noticed afterwards */
    unsigned pos;
    bool mode64, cs32;
    uint8_t rex; /* as in the prefix: bits W R X B; VEX sets them too */
    bool has_rex;
    uint8_t seg_override; /* NR_SEGS: none */
    uint8_t vvvv_raw;
    bool vex_l;
} Decoder;

enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

static inline uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* Legacy and REX prefixes. Leaves pos at the opcode. */
static unsigned decode_prefixes(Decoder *d)
{
    unsigned pfx = 0;
    while (d->pos < 15) {
        uint8_t b = d->buf[d->pos];
        switch (b) {
        case 0x26:
            pfx |= PFX_SEG;
            d->seg_override = d->mode64 ? d->seg_override : SEG_ES;
            break;
        case 0x2e:
            pfx |= PFX_SEG;
            d->seg_override = d->mode64 ? d->seg_override : SEG_CS;
            break;
        case 0x36:
            pfx |= PFX_SEG;
            d->seg_override = d->mode64 ? d->seg_override : SEG_SS;
            break;
        case 0x3e:
            pfx |= PFX_SEG;
            d->seg_override = d->mode64 ? d->seg_override : SEG_DS;
            break;
        case 0x64:
            pfx |= PFX_SEG;
            d->seg_override = SEG_FS;
            break;
        case 0x65:
            pfx |= PFX_SEG;
            d->seg_override = SEG_GS;
            break;
        case 0x66: pfx |= PFX_66; break;
        case 0x67: pfx |= PFX_67; break;
        case 0xf0: pfx |= PFX_LOCK; break;
        /* The last of F2 and F3 counts. */
        case 0xf2: pfx = (pfx & ~PFX_REP) | PFX_REPNE; break;
        case 0xf3: pfx = (pfx & ~PFX_REPNE) | PFX_REP; break;
        default:
            if (!d->mode64 || (b & 0xf0) != 0x40) {
                return pfx;
            }
            /* REX counts only right before the opcode. */
            d->rex = b & 0xf;
            d->has_rex = true;
            d->pos++;
            continue;
        }
        d->rex = 0;
        d->has_rex = false;
        d->pos++;
    }
    return pfx;
}

/* Opcode, or VEX prefix and opcode. Returns the space; false in *ok: #UD. */
static unsigned decode_opcode(Decoder *d, Insn *out, bool protected_mode, bool *ok)
{
    uint8_t b = d->buf[d->pos++];
    *ok = true;
    if (b == 0x0f) {
        b = d->buf[d->pos++];
        out->map = 1;
        if (b == 0x38 || b == 0x3a) {
            out->map = b == 0x38 ? 2 : 3;
            b = d->buf[d->pos++];
        }
        out->opcode = b;
        return out->map;
    }
    out->map = 0;
    out->opcode = b;
    if ((b & 0xfe) != 0xc4 || (!d->mode64 && d->buf[d->pos] < 0xc0)) {
        return 0;
    }
    /* VEX; LES and LDS have no register form (SDM 2A 2.3.5) */
    out->prefixes |= PFX_VEX;
    bool bad = d->has_rex || (out->prefixes & (PFX_66 | PFX_REP | PFX_REPNE | PFX_LOCK));
    uint8_t p = d->buf[d->pos++];
    d->rex = p & 0x80 ? 0 : REX_R;
    out->map = 1;
    if (b == 0xc4) {
        d->rex |= (p & 0x40 ? 0 : REX_X) | (p & 0x20 ? 0 : REX_B);
        out->map = (p & 0x1f) > 3 ? 0 : p & 0x1f;
        p = d->buf[d->pos++];
        if (p & 0x80) {
            d->rex |= REX_W;
            out->prefixes |= PFX_VEX_W;
        }
    }
    d->vvvv_raw = ~p >> 3 & 0xf;
    d->vex_l = p >> 2 & 1;
    out->prefixes |= d->vex_l ? PFX_VEX_L : 0;
    out->pp = p & 3;
    if (bad || !protected_mode || !out->map) {
        *ok = false;
        return 0;
    }
    out->opcode = d->buf[d->pos++];
    if (!d->mode64) {
        d->rex &= REX_W; /* R and X are fixed, B is ignored */
    }
    return SPACE_VEX + out->map;
}

static void decode_mem16(Decoder *d, Insn *out)
{
    static const uint8_t base[8] = { REG_RBX, REG_RBX, REG_RBP, REG_RBP,
                                     REG_RSI, REG_RDI, REG_RBP, REG_RBX };
    static const uint8_t index[8] = { REG_RSI,       REG_RDI,       REG_RSI,
                                      REG_RDI,       INSN_REG_NONE, INSN_REG_NONE,
                                      INSN_REG_NONE, INSN_REG_NONE };
    unsigned mod = out->modrm >> 6, rm = out->modrm & 7;
    out->base = base[rm];
    out->index = index[rm];
    if (mod == 1) {
        out->disp = (int8_t)d->buf[d->pos++];
    } else if (mod == 2 || rm == 6) {
        if (mod == 0) {
            out->base = INSN_REG_NONE;
        }
        if (mod == 2 || mod == 0) {
            out->disp = (int16_t)get16(d->buf + d->pos);
            d->pos += 2;
        }
    }
}

/* ModRM's memory form with 32- and 64-bit addresses: SIB and displacement. */
static void decode_mem(Decoder *d, Insn *out, bool vsib)
{
    unsigned mod = out->modrm >> 6, rm = out->modrm & 7;
    bool disp32 = mod == 2;
    if (rm == 4) {
        uint8_t sib = d->buf[d->pos++];
        unsigned index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);
        out->index = index == 4 && !vsib ? INSN_REG_NONE : index;
        out->scale = index == 4 && !vsib ? 0 : sib >> 6;
        rm = sib & 7;
        if (rm == 5 && mod == 0) {
            disp32 = true;
        } else {
            out->base = rm | (d->rex & REX_B ? 8 : 0);
        }
    } else if (rm == 5 && mod == 0) {
        disp32 = true;
        out->base = d->mode64 ? INSN_REG_RIP : INSN_REG_NONE;
    } else {
        out->base = rm | (d->rex & REX_B ? 8 : 0);
    }
    if (mod == 1) {
        out->disp = (int8_t)d->buf[d->pos++];
    } else if (disp32) {
        out->disp = (int32_t)get32(d->buf + d->pos);
        d->pos += 4;
    }
}

/* Immediate of n bytes at pos; sign-extended if sign. */
static int64_t fetch_imm(Decoder *d, unsigned n, bool sign)
{
    const uint8_t *p = d->buf + d->pos;
    d->pos += n;
    switch (n) {
    case 1: return sign ? (int8_t)*p : *p;
    case 2: return sign ? (int16_t)get16(p) : get16(p);
    case 4: return sign ? (int32_t)get32(p) : (int64_t)get32(p);
    default: return get64(p);
    }
}

static inline void set_vec(Operand *o, unsigned reg)
{
    o->kind = o->size == 32 ? OPD_YMM : OPD_XMM;
    o->reg = reg;
}

static inline void set_gpr(const Decoder *d, Operand *o, unsigned reg)
{
    o->kind = OPD_GPR;
    o->reg = reg;
    if (o->size == 1 && reg >= 4 && reg < 8 && !d->has_rex) {
        o->kind = OPD_GPR8H;
        o->reg = reg - 4;
    }
}

static void decode_moffs(Decoder *d, Insn *out)
{
    if (out->adsize == 2) {
        out->disp = get16(d->buf + d->pos);
    } else if (out->adsize == 4) {
        out->disp = get32(d->buf + d->pos);
    } else {
        out->disp = (int64_t)get64(d->buf + d->pos);
    }
    d->pos += out->adsize;
}

/* One operand; false: #UD. */
static bool decode_operand(Decoder *d, const RowInfo *r, const OpdSpec *s,
                           unsigned size_index, Insn *out, Operand *o)
{
    unsigned reg = (out->modrm >> 3 & 7) | (d->rex & REX_R ? 8 : 0);
    unsigned rm = (out->modrm & 7) | (d->rex & REX_B ? 8 : 0);
    bool is_mem = out->has_modrm && out->modrm < 0xc0;
    o->access = s->access;
    o->size = decode_index.size[s->size][size_index];
    switch ((OpdType)s->type) {
    case T_W:
    case T_Q:
    case T_E:
    case T_M:
    case T_U:
    case T_R:
    case T_N:
        if (is_mem && !(r->flags & INSN_MOD_IGNORED)) {
            o->kind = OPD_MEM;
            o->reg = 0;
            o->size = decode_index.size[s->mem_size][size_index];
        } else if (s->type == T_E || s->type == T_R) {
            set_gpr(d, o, rm);
        } else if (s->type == T_Q || s->type == T_N) {
            o->kind = OPD_MM;
            o->reg = rm & 7;
        } else {
            set_vec(o, rm);
        }
        return true;
    case T_G: set_gpr(d, o, reg); return true;
    case T_Z: set_gpr(d, o, (out->opcode & 7) | (d->rex & REX_B ? 8 : 0)); return true;
    case T_B: set_gpr(d, o, out->vvvv); return true;
    case T_GPR: set_gpr(d, o, s->arg); return true;
    case T_V: set_vec(o, reg); return true;
    case T_H: set_vec(o, out->vvvv); return true;
    case T_XMM0: set_vec(o, 0); return true;
    case T_L: {
        unsigned l = d->buf[d->pos++] >> 4;
        set_vec(o, d->mode64 ? l : l & 7);
        return true;
    }
    case T_P:
        o->kind = OPD_MM;
        o->reg = reg & 7;
        return true;
    case T_I:
    case T_SI:
        if (s->size == SZ_z) {
            out->imm = fetch_imm(d, o->size, true);
            o->size = out->opsize;
        } else if (s->type == T_SI) {
            out->imm = fetch_imm(d, 1, true);
            o->size = out->opsize;
        } else if (s == &r->opd[1] && r->opd[0].type == T_I) { /* ENTER */
            out->imm2 = fetch_imm(d, o->size, false);
            o->kind = OPD_IMM2;
            o->reg = 0;
            return true;
        } else {
            out->imm = fetch_imm(d, o->size, false);
        }
        o->kind = OPD_IMM;
        o->reg = 0;
        return true;
    case T_ONE:
        out->imm = 1;
        o->kind = OPD_IMM;
        o->reg = 0;
        return true;
    case T_J:
        out->imm = fetch_imm(d, o->size, true);
        o->kind = OPD_REL;
        o->reg = 0;
        return true;
    case T_A:
        out->imm = fetch_imm(d, out->opsize, false);
        out->imm2 = fetch_imm(d, 2, false);
        o->kind = OPD_FAR;
        o->reg = 0;
        return true;
    case T_O:
        decode_moffs(d, out);
        o->kind = OPD_MEM;
        o->reg = 0;
        return true;
    case T_S:
        o->kind = OPD_SEG;
        o->reg = reg & 7;
        return o->reg < NR_SEGS && !(o->reg == SEG_CS && (o->access & OPD_W));
    case T_SEGREG:
        o->kind = OPD_SEG;
        o->reg = s->arg;
        return true;
    case T_C:
        o->kind = OPD_CR;
        o->reg = reg;
        return reg == 0 || (reg >= 2 && reg <= 4) || reg == 8;
    case T_D:
        o->kind = OPD_DR;
        o->reg = reg;
        return reg < 8;
    case T_X:
    case T_Y:
        o->kind = s->type == T_X ? OPD_STR_SRC : OPD_STR_DST;
        o->reg = 0;
        return true;
    case T_ST0:
    case T_STI:
        o->kind = OPD_ST;
        o->reg = s->type == T_ST0 ? 0 : out->modrm & 7;
        return true;
    case T_VM:
        o->kind = OPD_VMEM;
        o->reg = decode_index.size[s->size][size_index] == 32 ? 32 : 16;
        o->size = s->arg;
        return (out->modrm & 7) == 4 && out->adsize != 2;
    case T_NONE: break;
    }
    return false;
}

static const RowInfo *find_row(const OpcodeInfo *info, unsigned reg, uint32_t ctx,
                               const CpuFeatures *features)
{
    RowList l = info->split ? decode_index.split[info->split][reg] : info->rows;
    for (unsigned i = 0; i < l.count; i++) {
        const RowInfo *r = &decode_index.row[decode_index.list[l.first + i]];
        if ((ctx & r->mask) == r->value &&
            (!features || feature_has(features, r->feature))) {
            return r;
        }
    }
    return NULL;
}

static unsigned effective_opsize(const Decoder *d, const Insn *out, uint32_t flags)
{
    bool p66 = out->prefixes & PFX_66;
    if (!d->mode64) {
        return d->cs32 != p66 ? 4 : 2;
    }
    if ((d->rex & REX_W) || (flags & INSN_F64)) {
        return 8;
    }
    return p66 ? 2 : flags & INSN_D64 ? 8 : 4;
}

/* The segment of the memory operand: the override, else SS for a base of SP or BP, else DS.
 */
static unsigned effective_seg(const Decoder *d, const Insn *out)
{
    if (d->seg_override != NR_SEGS) {
        return d->seg_override;
    }
    return out->base == REG_RSP || out->base == REG_RBP ? SEG_SS : SEG_DS;
}

static bool gather_registers_differ(const Insn *out)
{
    unsigned dst = out->opd[0].reg, mask = out->opd[2].reg;
    return dst != mask && dst != out->index && mask != out->index;
}

static DecodeResult decode_ud(const Decoder *d, unsigned len, Insn *out)
{
    if (d->pos > 15) {
        return DECODE_TOO_LONG;
    }
    if (d->pos > len) {
        return DECODE_SHORT;
    }
    out->len = d->pos;
    return DECODE_UD;
}

DecodeResult insn_decode(const uint8_t *bytes, unsigned len, uint32_t mode,
                         const CpuFeatures *features, Insn *out)
{
    Decoder d;
    d.pos = 0;
    d.mode64 = mode & MODE_CS64;
    d.cs32 = mode & MODE_CS32;
    d.rex = 0;
    d.has_rex = false;
    d.seg_override = NR_SEGS;
    d.vvvv_raw = 0;
    d.vex_l = false;
    len = len < 15 ? len : 15;
    memset(d.buf, 0, sizeof(d.buf));
    if (len == 15) {
        memcpy(d.buf, bytes, 15);
    } else {
        memcpy(d.buf, bytes, len);
    }
    bool protected_mode = (mode & MODE_PE) && !(mode & MODE_VM);

    out->op = OP_INVALID;
    out->row = 0;
    out->pp = 0;
    out->cond = 0;
    out->modrm = out->has_modrm = 0;
    out->nr_opd = 0;
    out->opd[0].kind = OPD_NONE;
    out->base = out->index = INSN_REG_NONE;
    out->scale = 0;
    out->disp = out->imm = out->imm2 = 0;

    out->prefixes = decode_prefixes(&d);
    bool ok;
    unsigned space = decode_opcode(&d, out, protected_mode, &ok);
    if (d.pos > 15) {
        return DECODE_TOO_LONG;
    }
    if (d.pos > len) {
        return DECODE_SHORT;
    }
    const OpcodeInfo *info = &decode_index.opcode[space][out->opcode];
    if (!ok || !info->rows.count) {
        return decode_ud(&d, len, out);
    }
    if (d.has_rex) {
        out->prefixes |= PFX_REX | (d.rex & REX_W ? PFX_REXW : 0);
    }
    if (!(out->prefixes & PFX_VEX)) {
        out->pp = out->prefixes & PFX_REP     ? 2
                  : out->prefixes & PFX_REPNE ? 3
                  : out->prefixes & PFX_66    ? 1
                                              : 0;
    }
    if (info->has_modrm) {
        out->has_modrm = 1;
        out->modrm = d.buf[d.pos++];
    }
    uint32_t ctx = out->pp | (out->modrm >> 3 & 7) << CTX_REG_SHIFT |
                   (out->modrm & 7) << CTX_RM_SHIFT | (out->modrm >= 0xc0 ? CTX_MOD3 : 0) |
                   (d.vex_l ? CTX_L : 0) | (d.rex & REX_W ? CTX_W : 0) |
                   (d.mode64 ? CTX_MODE64 : 0) | (protected_mode ? CTX_PE : 0) |
                   (d.rex & REX_B ? CTX_REXB : 0);
    const RowInfo *r = find_row(info, out->modrm >> 3 & 7, ctx, features);
    if (!r) {
        return decode_ud(&d, len, out);
    }
    if (!d.mode64) {
        d.rex &= ~REX_W; /* VEX.W chose the row; it is no operand size here */
    }
    out->vvvv = d.mode64 ? d.vvvv_raw : d.vvvv_raw & 7;
    out->opsize = effective_opsize(&d, out, r->flags);
    bool p67 = out->prefixes & PFX_67;
    out->adsize = d.mode64 ? (p67 ? 4 : 8) : d.cs32 != p67 ? 4 : 2;

    bool is_mem = out->has_modrm && out->modrm < 0xc0 && !(r->flags & INSN_MOD_IGNORED);
    if (is_mem && out->adsize == 2) {
        decode_mem16(&d, out);
    } else if (is_mem) {
        decode_mem(&d, out, r->uses_vsib);
    }
    out->seg = effective_seg(&d, out);

    unsigned size_index = (out->opsize >> 2) << 2 | d.vex_l << 1 | d.mode64;
    out->nr_opd = r->nr_opd;
    ok = true;
    for (unsigned i = 0; i < r->nr_opd; i++) {
        ok &= decode_operand(&d, r, &r->opd[i], size_index, out, &out->opd[i]);
    }
    if (d.pos > 15) {
        return DECODE_TOO_LONG;
    }
    if (d.pos > len) {
        return DECODE_SHORT;
    }
    out->len = d.pos;
    if (out->prefixes & PFX_LOCK) {
        ok &= (r->flags & INSN_LOCK) && out->opd[0].kind == OPD_MEM;
    }
    if (out->prefixes & PFX_VEX) {
        ok &= r->uses_vvvv || d.vvvv_raw == 0;
    }
    if (r->uses_vsib && ok) {
        ok = gather_registers_differ(out);
    }
    if (!ok) {
        return DECODE_UD;
    }
    out->op = r->op;
    out->row = r - decode_index.row;
    if (r->is_cc) {
        out->cond = out->opcode & 0xf;
    } else if (r->is_fp_cmp) {
        out->cond = out->imm & (out->prefixes & PFX_VEX ? 0x1f : 7);
    }
    memcpy(out->bytes, d.buf, 15);
    return DECODE_OK;
}
