/* SPDX-License-Identifier: GPL-2.0-or-later
 * The maker of SIMD thunks (see the header), for x86-64 hosts.
 *
 * A thunk uses fixed host registers, whatever the guest's are: the operand in ModRM.reg goes to
 * number 1 (or RAX), VEX.vvvv to 2, ModRM.rm to 3 (or RCX, or memory at [RSI]), the fourth
 * operand of VBLENDV to 4, implicit XMM0 to 0. RDI is the CpuState. So no REX or VEX extension
 * bits are ever needed, and two guest operands that name the same register just get two copies.
 *
 * Upper halves: legacy SSE stores 16 bytes and so keeps the guest's upper half in memory; VEX
 * stores 32, and VEX.128 operations have zeroed the upper half in the host register by then. 256-bit
 * thunks end in VZEROUPPER, which spares the host the SSE/AVX transition penalty.
 *
 * Non-temporal stores become plain ones: the hint means nothing in guest memory, and their weak
 * order would need fences around every exit.
 */
#include "cpu/simd_host.h"

#include <assert.h>
#include <cpuid.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/host_code.h"

enum { HOST_REG = 1, HOST_VVVV = 2, HOST_RM = 3, HOST_IS4 = 4 }; /* vector register numbers */
enum { HOST_RAX = 0, HOST_RCX = 1, HOST_RDX = 2 };
enum { CACHE_BUCKETS = 1 << 15, CACHE_CODE = 64 * MiB, CACHE_RESERVE = 16 * MiB };

typedef struct Entry {
    struct Entry *next;
    uint64_t key;
    SimdThunk thunk; /* of a handler: only run is used */
} Entry;

/* A cache of pure functions of the instruction's encoding, shared by everything in the process.
 * Buckets are read without a lock: entries are complete before they are linked in (release,
 * acquire) and never change or go away. */
static struct {
    pthread_mutex_t lock;
    Entry *bucket[CACHE_BUCKETS];
    HostCode code;
    bool tried, usable;
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Which operand sits in which field of the encoding. */
typedef struct Fields {
    const Operand *reg, *rm, *vvvv, *is4;
    const Operand *dst; /* one of these, NULL if only flags or implicit registers are written */
    bool vex, wide /* VEX.L */, w /* REX.W, VEX.W */, mem, mmx;
    uint8_t ext; /* ModRM.reg of shift groups */
    bool has_imm;
} Fields;

static bool is_fma(const Insn *in)
{
    uint8_t o = in->opcode;
    return in->map == 2 && o >= 0x96 && o <= 0xbf && (o & 0xf) >= 6;
}

static bool is_shift_group(const Insn *in)
{
    return in->map == 1 && in->opcode >= 0x71 && in->opcode <= 0x73;
}

/* ModRM.rm is the destination. */
static bool is_store_form(const Insn *in)
{
    switch (in->map) {
    case 1:
        switch (in->opcode) {
        case 0x11: case 0x13: case 0x17: case 0x29: case 0x2b: case 0x7f: case 0xe7: return true;
        case 0x7e: return in->pp != 2;
        case 0xd6: return in->pp == 1;
        default: return false;
        }
    case 3:
        return (in->opcode >= 0x14 && in->opcode <= 0x17) || in->opcode == 0x19 ||
               in->opcode == 0x39 || in->opcode == 0x1d;
    default: return false;
    }
}

static bool is_pcmpstr(const Insn *in)
{
    return in->map == 3 && in->opcode >= 0x60 && in->opcode <= 0x63 && in->pp == 1;
}

/* Only flags come out. */
static bool is_flag_op(const Insn *in)
{
    return (in->map == 1 && (in->opcode == 0x2e || in->opcode == 0x2f)) ||
           (in->map == 2 && in->pp == 1 &&
            (in->opcode == 0x17 || in->opcode == 0x0e || in->opcode == 0x0f));
}

/* Legacy encodings with an implicit third operand XMM0. */
static bool reads_xmm0(const Insn *in)
{
    return in->map == 2 && !(in->prefixes & PFX_VEX) &&
           ((in->pp == 1 && (in->opcode == 0x10 || in->opcode == 0x14 || in->opcode == 0x15)) ||
            (in->pp == 0 && in->opcode == 0xcb));
}

/* The W bit chooses the size of a general register or of the memory form in its place; outside
 * 64-bit mode it is ignored, which the operand's size already tells. */
static bool w_is_gpr_size(const Insn *in)
{
    return (in->map == 1 && (in->opcode == 0x6e || in->opcode == 0x2a || in->opcode == 0x2c ||
                             in->opcode == 0x2d || (in->opcode == 0x7e && in->pp != 2))) ||
           (in->map == 3 && (in->opcode == 0x16 || in->opcode == 0x22));
}

/* What exec_simd does itself, or what is not of these families at all. */
static bool is_special(const Insn *in)
{
    uint8_t o = in->opcode;
    switch (in->map) {
    case 1: return o == 0x77 || o == 0xf7 || o == 0xae || o == 0xc3 || o == 0x18 || o == 0x0d;
    case 2:
        return (in->prefixes & PFX_VEX) &&
               ((o >= 0x2c && o <= 0x2f) || o == 0x8c || o == 0x8e || (o >= 0x90 && o <= 0x93));
    case 3: return false;
    default: return true;
    }
}

static bool find_fields(const Insn *in, Fields *f)
{
    const Operand *l[4];
    unsigned n = 0;

    *f = (Fields){ .vex = in->prefixes & PFX_VEX };
    for (unsigned i = 0; i < in->nr_opd; i++) {
        const Operand *o = &in->opd[i];
        switch (o->kind) {
        case OPD_YMM: f->wide = true; break;
        case OPD_MM: f->mmx = true; break;
        case OPD_XMM: case OPD_GPR: break;
        case OPD_MEM:
            f->mem = true;
            f->wide |= o->size == 32;
            break;
        case OPD_IMM: continue;
        default: return false;
        }
        if (n < 4) {
            l[n++] = o;
        }
    }
    if (!f->vex && n > 2) {
        n = 2; /* an implicit XMM0 spelt out */
    }
    if (n == 0 || !in->has_modrm) {
        return false;
    }

    f->dst = l[0];
    if (is_shift_group(in)) {
        f->ext = in->modrm >> 3 & 7;
        f->rm = l[n - 1];
        f->vvvv = n == 2 ? l[0] : NULL;
    } else if (is_store_form(in)) {
        f->rm = l[0];
        f->vvvv = n == 3 ? l[1] : NULL;
        f->reg = l[n - 1];
    } else {
        f->reg = l[0];
        f->vvvv = n >= 3 ? l[1] : NULL;
        f->rm = n >= 3 ? l[2] : l[n - 1];
        f->is4 = n == 4 ? l[3] : NULL;
    }
    if (is_flag_op(in) || is_pcmpstr(in)) {
        f->dst = NULL;
    }

    if (w_is_gpr_size(in)) {
        for (unsigned i = 0; i < n; i++) {
            f->w |= (l[i]->kind == OPD_GPR && l[i]->size == 8);
        }
        if (f->mem && (in->map == 3 || in->opcode != 0x2c) && in->opcode != 0x2d) {
            f->w |= f->rm->size == 8;
        }
    } else {
        /* VPCMPESTRx: W is the size of EAX and EDX, and nothing outside 64-bit mode */
        f->w = is_pcmpstr(in) ? in->opsize == 8
                              : (in->prefixes & (f->vex ? PFX_VEX_W : PFX_REXW)) != 0;
    }
    f->has_imm = in->map == 3 || is_shift_group(in) ||
                 (in->map == 1 && (in->opcode == 0x70 || in->opcode == 0xc2 ||
                                   (in->opcode >= 0xc4 && in->opcode <= 0xc6)));
    return true;
}

/* ---- emitter ---- */

typedef struct Emit {
    uint8_t buf[256];
    unsigned len;
} Emit;

static void emit(Emit *e, unsigned n, const uint8_t *bytes)
{
    assert(e->len + n <= sizeof e->buf);
    memcpy(e->buf + e->len, bytes, n);
    e->len += n;
}
#define EMIT(e, ...)                                                                               \
    emit(e, sizeof((const uint8_t[]){ __VA_ARGS__ }), (const uint8_t[]){ __VA_ARGS__ })

/* ModRM and displacement of [rdi + offset]. */
static void emit_cpu(Emit *e, unsigned reg, size_t offset)
{
    int32_t d = (int32_t)offset;
    EMIT(e, 0x87 | reg << 3, d & 0xff, d >> 8 & 0xff, d >> 16 & 0xff, d >> 24 & 0xff);
}

static size_t operand_offset(const Operand *o)
{
    switch (o->kind) {
    case OPD_GPR: return offsetof(CpuState, gpr) + o->reg * 8;
    case OPD_MM: return offsetof(CpuState, fpu.st) + (o->reg & 7) * 16;
    default: return offsetof(CpuState, ymm) + o->reg * sizeof(VecReg);
    }
}

static void emit_load_gpr(Emit *e, unsigned host, size_t offset)
{
    EMIT(e, 0x48, 0x8b);
    emit_cpu(e, host, offset);
}

static void emit_store_gpr(Emit *e, unsigned host, size_t offset)
{
    EMIT(e, 0x48, 0x89);
    emit_cpu(e, host, offset);
}

/* MOVUPS, VMOVUPS between a vector register and CpuState; opcode 10 loads, 11 stores. */
static void emit_vec(Emit *e, bool vex, bool wide, uint8_t opcode, unsigned host, size_t offset)
{
    if (vex) {
        EMIT(e, 0xc5, wide ? 0xfc : 0xf8, opcode);
    } else {
        EMIT(e, 0x0f, opcode);
    }
    emit_cpu(e, host, offset);
}

static void emit_load(Emit *e, const Fields *f, const Operand *o, unsigned vec, unsigned gpr)
{
    size_t off = operand_offset(o);
    switch (o->kind) {
    case OPD_GPR: emit_load_gpr(e, gpr, off); break;
    case OPD_MM:
        EMIT(e, 0x0f, 0x6f);
        emit_cpu(e, vec, off);
        break;
    case OPD_XMM: case OPD_YMM: emit_vec(e, f->vex, o->kind == OPD_YMM, 0x10, vec, off); break;
    default: break; /* memory */
    }
}

static void emit_store(Emit *e, const Fields *f, const Operand *o, unsigned vec, unsigned gpr)
{
    size_t off = operand_offset(o);
    switch (o->kind) {
    case OPD_GPR: emit_store_gpr(e, gpr, off); break;
    case OPD_MM:
        EMIT(e, 0x0f, 0x7f);
        emit_cpu(e, vec, off);
        /* mov word [exponent], ffff: SDM 1 9.2.1 */
        EMIT(e, 0x66, 0xc7);
        emit_cpu(e, 0, off + 8);
        EMIT(e, 0xff, 0xff);
        break;
    case OPD_XMM: case OPD_YMM: emit_vec(e, f->vex, f->vex, 0x11, vec, off); break;
    default: break;
    }
}

/* Loads the destination register too where the instruction reads or keeps part of it. */
static bool loads_dst(const Insn *in, const Fields *f)
{
    if (f->dst->kind == OPD_GPR) {
        return false;
    }
    if (f->vex) {
        return is_fma(in);
    }
    if (in->map == 1 && (in->opcode == 0x28 || in->opcode == 0x6f || in->opcode == 0x70)) {
        return false; /* whole-register moves and shuffles */
    }
    return true;
}

static void emit_instruction(Emit *e, const Insn *in, const Fields *f)
{
    uint8_t opcode = in->opcode, map = in->map, pp = in->pp;
    if (map == 1 && opcode == 0x2b) {
        opcode = 0x29; /* MOVNTPS/PD -> MOVAPS/PD */
    } else if (map == 1 && opcode == 0xe7) {
        opcode = 0x7f; /* MOVNTDQ/MOVNTQ -> MOVDQA/MOVQ */
    } else if (map == 2 && opcode == 0x2a && pp == 1) {
        map = 1;
        opcode = 0x6f; /* MOVNTDQA -> MOVDQA */
    }

    static const uint8_t pp_byte[] = { 0, 0x66, 0xf3, 0xf2 };
    if (f->vex) {
        unsigned vvvv = f->vvvv ? HOST_VVVV : 0;
        EMIT(e, 0xc4, 0xe0 | map, f->w << 7 | (~vvvv & 0xf) << 3 | f->wide << 2 | pp);
    } else {
        if (pp) {
            EMIT(e, pp_byte[pp]);
        }
        if (f->w) {
            EMIT(e, 0x48);
        }
        EMIT(e, 0x0f);
        if (map > 1) {
            EMIT(e, map == 2 ? 0x38 : 0x3a);
        }
    }
    unsigned reg = f->ext;
    if (f->reg) {
        reg = f->reg->kind == OPD_GPR ? HOST_RAX : HOST_REG;
    }
    if (f->mem) {
        EMIT(e, opcode, 0x06 | reg << 3); /* [rsi] */
    } else {
        unsigned rm = f->rm->kind == OPD_GPR ? HOST_RCX : HOST_RM;
        EMIT(e, opcode, 0xc0 | reg << 3 | rm);
    }
    if (f->has_imm) {
        EMIT(e, f->is4 ? HOST_IS4 << 4 : in->imm & 0xff);
    }
}

static void emit_body(Emit *e, const Insn *in, const Fields *f)
{
    bool load_dst = f->dst && loads_dst(in, f);
    if (f->mmx) {
        /* TOP = 0, all registers valid */
        EMIT(e, 0x66, 0x81);
        emit_cpu(e, 4, offsetof(CpuState, fpu.fsw));
        EMIT(e, 0xff, 0xc7);
        EMIT(e, 0xc6);
        emit_cpu(e, 0, offsetof(CpuState, fpu.tag));
        EMIT(e, 0xff);
    }
    if (f->reg && (f->reg != f->dst || load_dst)) {
        emit_load(e, f, f->reg, HOST_REG, HOST_RAX);
    }
    if (f->vvvv && f->vvvv != f->dst) {
        emit_load(e, f, f->vvvv, HOST_VVVV, HOST_RDX);
    }
    if (f->rm != f->dst || load_dst) {
        emit_load(e, f, f->rm, HOST_RM, HOST_RCX);
    }
    if (f->is4) {
        emit_load(e, f, f->is4, HOST_IS4, HOST_RDX);
    }
    if (reads_xmm0(in)) {
        emit_vec(e, false, false, 0x10, 0, offsetof(CpuState, ymm));
    }
    bool explicit_len = is_pcmpstr(in) && in->opcode <= 0x61;
    if (explicit_len) {
        emit_load_gpr(e, HOST_RAX, offsetof(CpuState, gpr[REG_RAX]));
        emit_load_gpr(e, HOST_RDX, offsetof(CpuState, gpr[REG_RDX]));
    }

    emit_instruction(e, in, f);

    if (is_pcmpstr(in)) {
        if (in->opcode & 1) {
            emit_store_gpr(e, HOST_RCX, offsetof(CpuState, gpr[REG_RCX]));
        } else {
            emit_vec(e, f->vex, f->vex, 0x11, 0, offsetof(CpuState, ymm));
        }
    }
    if (is_pcmpstr(in) || is_flag_op(in)) {
        EMIT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
        EMIT(e, 0x66, 0x89);
        emit_cpu(e, HOST_RAX, offsetof(CpuState, cc));
    }
    if (f->dst && f->dst == f->reg) {
        emit_store(e, f, f->reg, HOST_REG, HOST_RAX);
    } else if (f->dst && f->dst == f->vvvv) {
        emit_store(e, f, f->vvvv, HOST_VVVV, HOST_RDX);
    } else if (f->dst) {
        emit_store(e, f, f->rm, HOST_RM, HOST_RCX);
    }
    if (f->wide) {
        EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
    }
    if (f->mmx) {
        EMIT(e, 0x0f, 0x77); /* emms */
    }
}

/* ---- properties ---- */

/* Legacy 16-byte memory operands must be aligned but for a few; VEX ones only where the
 * mnemonic says so (SDM 1 14.9, SDM 2A 2.4). */
static uint8_t mem_align(const Insn *in, const Fields *f, unsigned size)
{
    uint8_t o = in->opcode;
    bool says_aligned =
        (in->map == 1 && (o == 0x28 || o == 0x29 || o == 0x2b ||
                          (in->pp == 1 && (o == 0x6f || o == 0x7f || o == 0xe7)))) ||
        (in->map == 2 && o == 0x2a);
    if (f->vex) {
        return says_aligned ? size : 0;
    }
    bool unaligned = (in->map == 1 && (o == 0x10 || o == 0x11)) ||
                     (in->map == 1 && in->pp == 2 && (o == 0x6f || o == 0x7f)) ||
                     (in->map == 1 && in->pp == 3 && o == 0xf0) || is_pcmpstr(in);
    return size == 16 && !unaligned ? 16 : 0;
}

static bool can_raise(const Insn *in)
{
    uint8_t o = in->opcode;
    switch (in->map) {
    case 1:
        return o == 0x51 || (o >= 0x58 && o <= 0x5f) || o == 0xc2 || o == 0x2a || o == 0x2c ||
               o == 0x2d || o == 0x2e || o == 0x2f || o == 0xe6 || o == 0xd0 || o == 0x7c ||
               o == 0x7d;
    case 2: return is_fma(in) || o == 0x13;
    default: return (o >= 0x08 && o <= 0x0b) || o == 0x40 || o == 0x41 || o == 0x1d;
    }
}

static bool host_has(const Insn *in)
{
    static const struct {
        uint32_t leaf, subleaf;
        uint8_t reg, bit;
    } where[] = {
        { 0, 0, 0, 0 },
#define FEATURE(id, name, leaf, subleaf, reg, bit) { leaf, subleaf, reg, bit },
#include "cpu/features.inc"
#undef FEATURE
    };
    if ((in->prefixes & PFX_VEX) && !__builtin_cpu_supports("avx")) {
        return false; /* includes the operating system's consent in XCR0 */
    }
    unsigned feature = insn_rows[in->row].feature;
    if (feature == FEATURE_NONE) {
        return true;
    }
    /* CPUID is asked once: under a hypervisor it costs microseconds. 1 yes, -1 no. */
    static int8_t known[NR_FEATURES];
    int8_t k = __atomic_load_n(&known[feature], __ATOMIC_RELAXED);
    if (!k) {
        uint32_t r[4];
        bool has = __get_cpuid_count(where[feature].leaf, where[feature].subleaf, &r[0], &r[1],
                                     &r[2], &r[3]) &&
                   (r[where[feature].reg] >> where[feature].bit & 1);
        k = has ? 1 : -1;
        __atomic_store_n(&known[feature], k, __ATOMIC_RELAXED);
    }
    return k > 0;
}

/* ---- cache ---- */

static uint64_t encoding_key(const Insn *in, const Fields *f, unsigned op_size)
{
    uint64_t k = in->map | in->opcode << 2 | in->pp << 10 | f->vex << 12 | f->wide << 13 |
                 f->w << 14 | f->mem << 15;
    k |= (uint64_t)(f->reg ? f->reg->reg & 15 : f->ext) << 16;
    k |= (uint64_t)(f->mem ? 0 : f->rm->reg & 15) << 20;
    k |= (uint64_t)(f->vvvv ? f->vvvv->reg & 15 : 0) << 24;
    k |= (uint64_t)(f->is4 ? f->is4->reg & 15 : 0) << 28;
    k |= (uint64_t)(f->has_imm && !f->is4 ? in->imm & 0xff : 0) << 32;
    k |= (uint64_t)f->mmx << 40 | (uint64_t)op_size << 41;
    return k;
}

static Entry *cache_find(Entry **bucket, uint64_t key)
{
    for (Entry *n = __atomic_load_n(bucket, __ATOMIC_ACQUIRE); n; n = n->next) {
        if (n->key == key) {
            return n;
        }
    }
    return NULL;
}

static Entry **cache_bucket(uint64_t key)
{
    return &cache.bucket[(key * 0x9e3779b97f4a7c15ull) >> 49];
}

/* Adds what the caller emitted; another thread may have been faster. NULL when full. */
static Entry *cache_add(uint64_t key, const Emit *code, const SimdThunk *thunk,
                        bool reserved)
{
    Entry **bucket = cache_bucket(key);
    pthread_mutex_lock(&cache.lock);
    if (!cache.tried) {
        cache.tried = true;
        cache.usable = host_code_init(&cache.code, CACHE_CODE);
    }
    Entry *n = cache_find(bucket, key);
    void *run = NULL;
    if (!n && cache.usable &&
        (reserved || cache.code.used < CACHE_CODE - CACHE_RESERVE)) {
        run = host_code_add(&cache.code, code->buf, code->len);
    }
    if (run && (n = malloc(sizeof *n))) {
        *n = (Entry){ .next = *bucket, .key = key, .thunk = *thunk };
        memcpy(&n->thunk.run, &run, sizeof run);
        __atomic_store_n(bucket, n, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&cache.lock);
    return n;
}

static const SimdThunk *thunk_get(const Insn *in, bool reserved)
{
    Fields f;
    if (is_special(in) || !find_fields(in, &f)) {
        return NULL;
    }
    uint64_t key = encoding_key(in, &f, 0);
    Entry *n = cache_find(cache_bucket(key), key);
    if (n) {
        return &n->thunk;
    }
    if (!host_has(in)) {
        return NULL;
    }
    Emit e = { .len = 0 };
    emit_body(&e, in, &f);
    EMIT(&e, 0xc3);
    SimdThunk t = { .checks = f.vex ? SIMD_AVX : 0 };
    bool sse = false;
    for (unsigned i = 0; i < in->nr_opd; i++) {
        sse |= in->opd[i].kind == OPD_XMM;
    }
    t.checks |= f.mmx ? SIMD_MMX : 0;
    t.checks |= sse && !f.vex ? SIMD_SSE : 0;
    t.checks |= can_raise(in) ? SIMD_FP : 0;
    if (f.mem) {
        t.mem_size = f.rm->size;
        t.mem_access = f.dst == f.rm ? OPD_W : OPD_R;
        t.mem_align = mem_align(in, &f, t.mem_size);
    }
    n = cache_add(key, &e, &t, reserved);
    return n ? &n->thunk : NULL;
}

const SimdThunk *simd_thunk(const Insn *in)
{
    return thunk_get(in, false);
}

const SimdThunk *simd_thunk_reserved(const Insn *in)
{
    return thunk_get(in, true);
}

void *simd_reg_handler(const Insn *in, unsigned op_size)
{
    Fields f;
    if (is_special(in) || !find_fields(in, &f) || f.mem || f.mmx || op_size > 127) {
        return NULL;
    }
    uint64_t key = encoding_key(in, &f, op_size);
    Entry *n = cache_find(cache_bucket(key), key);
    if (!n) {
        if (!host_has(in)) {
            return NULL;
        }
        Emit e = { .len = 0 };
        emit_body(&e, in, &f);
        EMIT(&e, 0x48, 0x83, 0xc6, op_size, 0xff, 0x26); /* add rsi, op_size; jmp [rsi] */
        n = cache_add(key, &e, &(SimdThunk){ .run = NULL }, false);
    }
    void *handler = NULL;
    if (n) {
        memcpy(&handler, &n->thunk.run, sizeof handler);
    }
    return handler;
}
