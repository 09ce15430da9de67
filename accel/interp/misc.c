/* SPDX-License-Identifier: GPL-2.0-or-later
 * Integer instructions that are not worth a handler a form: one function each, on operands by
 * exec_get and exec_put, arithmetic by the host's own instruction.
 */
#include "accel/interp/host_x86_64.h"
#include "accel/interp/interp.h"
#include "accel/interp/op.h"
#include "cpu/exception.h"

/* Runs CASE(N, suffix) for the operand size. */
#define BY_OPERAND_SIZE(size, CASE)                                                                \
    switch (size) {                                                                                \
    case 1: CASE(8, "b"); break;                                                                   \
    case 2: CASE(16, "w"); break;                                                                  \
    case 4: CASE(32, "l"); break;                                                                  \
    default: CASE(64, "q"); break;                                                                 \
    }
#define BY_WIDE_SIZE(size, CASE)                                                                   \
    switch (size) {                                                                                \
    case 2: CASE(16, "w"); break;                                                                  \
    case 4: CASE(32, "l"); break;                                                                  \
    default: CASE(64, "q"); break;                                                                 \
    }

/* ---- multiplication and division ---- */

static void set_product(CpuState *cpu, unsigned size, uint64_t lo, uint64_t hi)
{
    if (size == 1) {
        cpu_set_reg(cpu, REG_RAX, 2, lo);
    } else {
        cpu_set_reg(cpu, REG_RAX, size, lo);
        cpu_set_reg(cpu, REG_RDX, size, hi);
    }
}

#define MUL8(insn)                                                                                 \
    __asm__(insn "b %b3\n\tmov %%eax, %1\n\tlahf\n\tseto %%al"                                     \
            : "=&a"(cc), "=&r"(lo) : "0"((unsigned)cpu->gpr[REG_RAX]), "q"(src) : "cc")
#define MULN(N, sfx, insn)                                                                         \
    do {                                                                                           \
        uint64_t hi_;                                                                              \
        uint64_t flags_;                                                                           \
        __asm__(insn sfx " %4\n\tmov %%rax, %1\n\tlahf\n\tseto %%al"                               \
                : "=&a"(flags_), "=&r"(wide), "=&d"(hi_)                                           \
                : "0"(cpu->gpr[REG_RAX]), "r"((t##N)src) : "cc");                                  \
        cc = (unsigned)flags_;                                                                     \
        hi = hi_;                                                                                  \
    } while (0)

static void multiply(CpuState *cpu, const Insn *in, bool is_signed)
{
    uint64_t src = exec_get(cpu, in, 0), wide = 0, hi = 0;
    unsigned cc = 0, lo = 0, size = in->opd[0].size;
    if (size == 1) {
        if (is_signed) {
            MUL8("imul");
        } else {
            MUL8("mul");
        }
        wide = lo;
    } else if (is_signed) {
#define CASE(N, sfx) MULN(N, sfx, "imul")
        BY_WIDE_SIZE(size, CASE)
#undef CASE
    } else {
#define CASE(N, sfx) MULN(N, sfx, "mul")
        BY_WIDE_SIZE(size, CASE)
#undef CASE
    }
    set_product(cpu, size, wide, hi);
    cpu->cc = (uint16_t)cc;
}

static void misc_mul(CpuState *cpu, const Insn *in)
{
    multiply(cpu, in, false);
}

static void misc_imul(CpuState *cpu, const Insn *in)
{
    if (in->nr_opd == 1) {
        multiply(cpu, in, true);
        return;
    }
    uint64_t a = in->nr_opd == 3 ? (uint64_t)in->imm : exec_get(cpu, in, 0);
    uint64_t s = exec_get(cpu, in, 1), result = 0;
    unsigned cc = 0;
#define CASE(N, sfx)                                                                               \
    do {                                                                                           \
        t##N d_ = (t##N)a, s_ = (t##N)s;                                                           \
        HOST_ALU("imul", d_, s_, cc);                                                              \
        result = d_;                                                                               \
    } while (0)
    BY_WIDE_SIZE(in->opd[0].size, CASE)
#undef CASE
    exec_put(cpu, in, 0, result);
    cpu->cc = (uint16_t)cc;
}

static void set_quotient(CpuState *cpu, unsigned size, uint64_t quot, uint64_t rem)
{
    if (size == 1) {
        cpu_set_reg(cpu, REG_RAX, 2, (quot & 0xff) | (rem & 0xff) << 8);
    } else {
        cpu_set_reg(cpu, REG_RAX, size, quot);
        cpu_set_reg(cpu, REG_RDX, size, rem);
    }
}

static void misc_div(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[0].size;
    uint64_t d = exec_get(cpu, in, 0);
    uint64_t lo = cpu_reg(cpu, REG_RAX, size), hi = cpu_reg(cpu, REG_RDX, size);
    if (size == 1) {
        lo = cpu_reg(cpu, REG_RAX, 2);
        hi = lo >> 8;
    }
    if (d == 0 || hi >= d) {
        cpu_raise_plain(cpu, EXC_DE);
    }
    if (size == 8) {
        uint64_t quot, rem;
        __asm__("divq %4" : "=a"(quot), "=d"(rem) : "0"(lo), "1"(hi), "r"(d) : "cc");
        set_quotient(cpu, size, quot, rem);
    } else {
        uint64_t n = size == 1 ? lo : lo | hi << size * 8;
        set_quotient(cpu, size, n / d, n % d);
    }
}

static void misc_idiv(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[0].size, shift = 64 - size * 8;
    int64_t d = (int64_t)(exec_get(cpu, in, 0) << shift) >> shift;
    uint64_t lo = cpu_reg(cpu, REG_RAX, size), hi = cpu_reg(cpu, REG_RDX, size);
    __int128 n = (__int128)((unsigned __int128)hi << 64 | lo);
    if (size == 1) {
        n = (int16_t)cpu->gpr[REG_RAX];
    } else if (size < 8) {
        n = (int64_t)((lo | hi << size * 8) << (64 - size * 16 % 64) % 64) >>
            (64 - size * 16 % 64) % 64;
    }
    if (d == 0) {
        cpu_raise_plain(cpu, EXC_DE);
    }
    if (d == -1) { /* the one quotient C may not compute */
        n = (__int128)(-(unsigned __int128)n);
        if (n != (int64_t)((uint64_t)n << shift) >> shift) {
            cpu_raise_plain(cpu, EXC_DE);
        }
        set_quotient(cpu, size, (uint64_t)n, 0);
        return;
    }
    __int128 quot = n / d, rem = n % d;
    if (quot != (int64_t)((uint64_t)quot << shift) >> shift) {
        cpu_raise_plain(cpu, EXC_DE);
    }
    set_quotient(cpu, size, (uint64_t)quot, (uint64_t)rem);
}

/* ---- double shifts ---- */

#define DOUBLE_SHIFT(N, sfx, insn)                                                                 \
    do {                                                                                           \
        t##N d_ = (t##N)dst, s_ = (t##N)src;                                                       \
        __asm__(LOAD_FLAGS insn sfx " %%cl, %3, %0" SAVE_FLAGS                                     \
                : "+r"(d_), "+a"(cc) : "c"(n), "r"(s_) : "cc");                                    \
        result = d_;                                                                               \
    } while (0)

static void double_shift(CpuState *cpu, const Insn *in, bool left)
{
    unsigned size = in->opd[0].size;
    if (in->opd[0].kind == OPD_MEM) { /* read for writing: a fault says so */
        uint64_t lin = seg_lin(cpu, in->seg, exec_ea(cpu, in), size, true);
        lin_probe(cpu, lin, size, true, MEM_CPL);
    }
    uint64_t dst = exec_get(cpu, in, 0), src = exec_get(cpu, in, 1), result;
    uint8_t n = (uint8_t)exec_get(cpu, in, 2);
    unsigned cc = cpu->cc;
    if (left) {
#define CASE(N, sfx) DOUBLE_SHIFT(N, sfx, "shld")
        BY_WIDE_SIZE(size, CASE)
#undef CASE
    } else {
#define CASE(N, sfx) DOUBLE_SHIFT(N, sfx, "shrd")
        BY_WIDE_SIZE(size, CASE)
#undef CASE
    }
    exec_put(cpu, in, 0, result);
    cpu->cc = (uint16_t)cc;
}

static void misc_shld(CpuState *cpu, const Insn *in)
{
    double_shift(cpu, in, true);
}

static void misc_shrd(CpuState *cpu, const Insn *in)
{
    double_shift(cpu, in, false);
}

/* ---- bits ---- */

static void set_cf(CpuState *cpu, bool cf)
{
    cpu->cc = (uint16_t)((cpu->cc & ~CC_CF) | (cf ? CC_CF : 0));
}

static uint64_t bit_result(unsigned op, uint64_t val, uint64_t bit)
{
    return op == OP_BTS ? val | bit : op == OP_BTR ? val & ~bit : val ^ bit;
}

/* Memory: a register offset reaches beyond the operand (SDM 2A BT). Always atomic. */
static void bit_memory(CpuState *cpu, const Insn *in, unsigned size)
{
    uint64_t n = exec_get(cpu, in, 1), ea = exec_ea(cpu, in);
    if (in->opd[1].kind == OPD_IMM) {
        n &= size * 8 - 1;
    } else {
        unsigned up = 64 - size * 8;
        int64_t signed_n = (int64_t)(n << up) >> up;
        ea += (uint64_t)((signed_n >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (int64_t)size);
        n &= size * 8 - 1;
    }
    if (in->adsize < 8) {
        ea &= (1ull << in->adsize * 8) - 1;
    }
    bool write = in->op != OP_BT;
    uint64_t bit = 1ull << n, lin = seg_lin(cpu, in->seg, ea, size, write), at;
    bool cf = false;
    RamBlock *ram;
    bool fast = write && !lin_splits_line(lin, size);
    void *host = fast ? lin_host_tracked(cpu, lin, size, true, &ram, &at) : NULL;
    if (!host) {
        if (in->prefixes & PFX_LOCK) {
            interp_bus_lock(cpu);
        }
        if (write) {
            lin_probe(cpu, lin, size, true, MEM_CPL);
        }
        uint64_t old = lin_load(cpu, lin, size, MEM_CPL);
        cf = old & bit;
        if (write) {
            lin_store(cpu, lin, bit_result(in->op, old, bit), size, MEM_CPL);
        }
        interp_bus_unlock(cpu);
    } else {
#define CASE(N, sfx)                                                                               \
    do {                                                                                           \
        t##N *p_ = host, n_ = (t##N)n;                                                             \
        if (in->op == OP_BTS) {                                                                    \
            HOST_LOCK_BIT("bts", p_, n_, cf);                                                      \
        } else if (in->op == OP_BTR) {                                                             \
            HOST_LOCK_BIT("btr", p_, n_, cf);                                                      \
        } else {                                                                                   \
            HOST_LOCK_BIT("btc", p_, n_, cf);                                                      \
        }                                                                                          \
    } while (0)
        BY_WIDE_SIZE(size, CASE)
#undef CASE
        mmu_written(cpu, ram, at, size);
    }
    set_cf(cpu, cf);
}

static void misc_bt(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[0].size;
    if (in->opd[0].kind == OPD_MEM) {
        bit_memory(cpu, in, size);
        return;
    }
    uint64_t val = exec_get(cpu, in, 0), bit = 1ull << (exec_get(cpu, in, 1) & (size * 8 - 1));
    if (in->op != OP_BT) {
        exec_put(cpu, in, 0, bit_result(in->op, val, bit));
    }
    set_cf(cpu, val & bit);
}

/* A destination and a source; flags the instruction keeps stay as they are. */
#define UNARY_RESULT(N, insn)                                                                      \
    do {                                                                                           \
        t##N d_ = (t##N)dst, s_ = (t##N)src;                                                       \
        __asm__(LOAD_FLAGS insn " %2, %0" SAVE_FLAGS : "+r"(d_), "+a"(cc) : "r"(s_) : "cc");       \
        result = d_;                                                                               \
    } while (0)
#define CASE_16(insn) case 2: UNARY_RESULT(16, insn); break;
#define NO_CASE_16(insn)
#define DEFINE_UNARY(name, insn, CASE_2)                                                           \
    static void misc_##name(CpuState *cpu, const Insn *in)                                         \
    {                                                                                              \
        uint64_t dst = exec_get(cpu, in, 0), src = exec_get(cpu, in, 1), result;                   \
        unsigned cc = cpu->cc;                                                                     \
        switch (in->opd[0].size) {                                                                 \
            CASE_2(insn)                                                                           \
        case 4: UNARY_RESULT(32, insn); break;                                                \
        default: UNARY_RESULT(64, insn); break;                                               \
        }                                                                                          \
        exec_put(cpu, in, 0, result);                                                              \
        cpu->cc = (uint16_t)cc;                                                                    \
    }
DEFINE_UNARY(popcnt, "popcnt", CASE_16)
DEFINE_UNARY(lzcnt, "lzcnt", CASE_16)
DEFINE_UNARY(tzcnt, "tzcnt", CASE_16)
DEFINE_UNARY(adcx, "adcx", NO_CASE_16)
DEFINE_UNARY(adox, "adox", NO_CASE_16)
DEFINE_UNARY(blsi, "blsi", NO_CASE_16)
DEFINE_UNARY(blsmsk, "blsmsk", NO_CASE_16)
DEFINE_UNARY(blsr, "blsr", NO_CASE_16)

/* A zero source leaves the destination as it was, also its upper half (SDM 2A BSF, observed). */
static void bit_scan(CpuState *cpu, const Insn *in, bool reverse)
{
    uint64_t src = exec_get(cpu, in, 1);
    unsigned cc = 0;
    uint64_t result;
    if (src == 0) {
        cpu->cc |= CC_ZF;
        return;
    }
    if (reverse) {
        __asm__("bsrq %2, %1" SAVE_FLAGS : "=&a"(cc), "=&r"(result) : "r"(src) : "cc");
    } else {
        __asm__("bsfq %2, %1" SAVE_FLAGS : "=&a"(cc), "=&r"(result) : "r"(src) : "cc");
    }
    exec_put(cpu, in, 0, result);
    cpu->cc = (uint16_t)(cc & ~CC_ZF);
}

static void misc_bsf(CpuState *cpu, const Insn *in)
{
    bit_scan(cpu, in, false);
}

static void misc_bsr(CpuState *cpu, const Insn *in)
{
    bit_scan(cpu, in, true);
}

static void misc_bswap(CpuState *cpu, const Insn *in)
{
    uint64_t v = exec_get(cpu, in, 0);
    unsigned size = in->opd[0].size;
    /* 16-bit BSWAP is undefined (SDM 2A); processors give zero */
    exec_put(cpu, in, 0, size == 8 ? __builtin_bswap64(v) : size == 4 ? __builtin_bswap32((uint32_t)v) : 0);
}

static void misc_movbe(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[0].size;
    exec_put(cpu, in, 0, __builtin_bswap64(exec_get(cpu, in, 1)) >> (64 - size * 8));
}

#define DEFINE_THREE(name, insn)                                                                   \
    static void misc_##name(CpuState *cpu, const Insn *in)                                         \
    {                                                                                              \
        uint64_t a = exec_get(cpu, in, 1), b = exec_get(cpu, in, 2), result;                       \
        unsigned cc = cpu->cc;                                                                     \
        if (in->opd[0].size == 8) {                                                                \
            uint64_t d_;                                                                           \
            __asm__(LOAD_FLAGS insn SAVE_FLAGS                                                     \
                    : "=&r"(d_), "+a"(cc) : "r"(a), "r"(b) : "cc");                                \
            result = d_;                                                                           \
        } else {                                                                                   \
            uint32_t d_;                                                                           \
            __asm__(LOAD_FLAGS insn SAVE_FLAGS                                                     \
                    : "=&r"(d_), "+a"(cc) : "r"((uint32_t)a), "r"((uint32_t)b) : "cc");            \
            result = d_;                                                                           \
        }                                                                                          \
        exec_put(cpu, in, 0, result);                                                              \
        cpu->cc = (uint16_t)cc;                                                                    \
    }
DEFINE_THREE(andn, "andn %3, %2, %0")
DEFINE_THREE(bextr, "bextr %3, %2, %0")
DEFINE_THREE(bzhi, "bzhi %3, %2, %0")
DEFINE_THREE(pdep, "pdep %3, %2, %0")
DEFINE_THREE(pext, "pext %3, %2, %0")
DEFINE_THREE(sarx, "sarx %3, %2, %0")
DEFINE_THREE(shlx, "shlx %3, %2, %0")
DEFINE_THREE(shrx, "shrx %3, %2, %0")

static void misc_rorx(CpuState *cpu, const Insn *in)
{
    uint64_t v = exec_get(cpu, in, 1);
    unsigned bits = in->opd[0].size * 8, n = (unsigned)in->imm & (bits - 1);
    exec_put(cpu, in, 0, n ? v >> n | v << (bits - n) : v);
}

static void misc_mulx(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[0].size;
    unsigned __int128 p =
        (unsigned __int128)cpu_reg(cpu, REG_RDX, size) * exec_get(cpu, in, 2);
    uint64_t hi = size == 8 ? (uint64_t)(p >> 64) : (uint64_t)p >> 32;
    exec_put(cpu, in, 1, (uint64_t)p); /* the same register twice takes the upper half */
    exec_put(cpu, in, 0, hi);
}

static void misc_crc32(CpuState *cpu, const Insn *in)
{
    uint64_t crc = (uint32_t)exec_get(cpu, in, 0), src = exec_get(cpu, in, 1);
    switch (in->opd[1].size) {
    case 1: __asm__("crc32b %b1, %k0" : "+r"(crc) : "q"(src)); break;
    case 2: __asm__("crc32w %w1, %k0" : "+r"(crc) : "r"(src)); break;
    case 4: __asm__("crc32l %k1, %k0" : "+r"(crc) : "r"(src)); break;
    default: __asm__("crc32q %1, %0" : "+r"(crc) : "r"(src)); break;
    }
    exec_put(cpu, in, 0, (uint32_t)crc);
}

/* ---- sign extension, flags, compare and exchange ---- */

static void misc_cbw(CpuState *cpu, const Insn *in)
{
    if (in->opsize == 2) {
        cpu_set_reg(cpu, REG_RAX, 2, (uint64_t)(int8_t)cpu->gpr[REG_RAX]);
    } else {
        cpu_set_reg(cpu, REG_RAX, 4, (uint64_t)(int16_t)cpu->gpr[REG_RAX]);
    }
}

static void misc_cwd(CpuState *cpu, const Insn *in)
{
    (void)in; /* 16 bits; the others have handlers */
    cpu_set_reg(cpu, REG_RDX, 2, (uint64_t)((int16_t)cpu->gpr[REG_RAX] >> 15));
}

static void misc_lahf(CpuState *cpu, const Insn *in)
{
    (void)in;
    uint64_t ah = (cpu->cc >> 8 & 0xd5) | 2;
    cpu->gpr[REG_RAX] = (cpu->gpr[REG_RAX] & ~0xff00ull) | ah << 8;
}

static void misc_sahf(CpuState *cpu, const Insn *in)
{
    (void)in;
    cpu->cc = (uint16_t)((cpu->cc & CC_OF) | (cpu->gpr[REG_RAX] & 0xd500));
}

static void misc_setcc(CpuState *cpu, const Insn *in)
{
    exec_put(cpu, in, 0, cc_test(in->cond, cpu->cc));
}

static void misc_xadd(CpuState *cpu, const Insn *in)
{
    uint64_t d = exec_get(cpu, in, 0), s = exec_get(cpu, in, 1), result = 0;
    unsigned cc = 0;
#define CASE(N, sfx)                                                                               \
    do {                                                                                           \
        t##N d_ = (t##N)d, s_ = (t##N)s;                                                           \
        HOST_ALU("add", d_, s_, cc);                                                               \
        result = d_;                                                                               \
    } while (0)
    BY_OPERAND_SIZE(in->opd[0].size, CASE)
#undef CASE
    exec_put(cpu, in, 1, d);
    exec_put(cpu, in, 0, result);
    cpu->cc = (uint16_t)cc;
}

static void misc_cmpxchg(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[0].size, cc = 0;
    uint64_t d = exec_get(cpu, in, 0), acc = cpu_reg(cpu, REG_RAX, size);
#define CASE(N, sfx)                                                                               \
    do {                                                                                           \
        t##N d_ = (t##N)acc, s_ = (t##N)d;                                                         \
        HOST_ALU("cmp", d_, s_, cc);                                                               \
    } while (0)
    BY_OPERAND_SIZE(size, CASE)
#undef CASE
    if (d == acc) {
        exec_put(cpu, in, 0, exec_get(cpu, in, 1));
    } else {
        /* Memory is written with itself; a 32-bit register keeps its upper half, as on silicon. */
        cpu_set_reg(cpu, REG_RAX, size, d);
        if (in->opd[0].kind == OPD_MEM) {
            exec_put(cpu, in, 0, d);
        }
    }
    cpu->cc = (uint16_t)cc;
}

static void misc_movx(CpuState *cpu, const Insn *in)
{
    uint64_t v = exec_get(cpu, in, 1);
    unsigned up = 64 - in->opd[1].size * 8;
    exec_put(cpu, in, 0, in->op == OP_MOVZX ? v : (uint64_t)((int64_t)(v << up) >> up));
}

static void misc_lea(CpuState *cpu, const Insn *in)
{
    exec_put(cpu, in, 0, exec_ea(cpu, in));
}

static void misc_nop(CpuState *cpu, const Insn *in)
{
    (void)cpu, (void)in;
}

static ExecFn *const misc_table[NR_OPS] = {
    [OP_MUL] = misc_mul, [OP_IMUL] = misc_imul, [OP_DIV] = misc_div, [OP_IDIV] = misc_idiv,
    [OP_SHLD] = misc_shld, [OP_SHRD] = misc_shrd, [OP_BT] = misc_bt, [OP_BTS] = misc_bt,
    [OP_BTR] = misc_bt, [OP_BTC] = misc_bt, [OP_BSF] = misc_bsf, [OP_BSR] = misc_bsr,
    [OP_POPCNT] = misc_popcnt, [OP_LZCNT] = misc_lzcnt, [OP_TZCNT] = misc_tzcnt,
    [OP_BSWAP] = misc_bswap, [OP_MOVBE] = misc_movbe, [OP_CRC32] = misc_crc32,
    [OP_ADCX] = misc_adcx, [OP_ADOX] = misc_adox, [OP_ANDN] = misc_andn,
    [OP_BEXTR] = misc_bextr, [OP_BLSI] = misc_blsi, [OP_BLSMSK] = misc_blsmsk,
    [OP_BLSR] = misc_blsr, [OP_BZHI] = misc_bzhi, [OP_MULX] = misc_mulx, [OP_PDEP] = misc_pdep,
    [OP_PEXT] = misc_pext, [OP_RORX] = misc_rorx, [OP_SARX] = misc_sarx, [OP_SHLX] = misc_shlx,
    [OP_SHRX] = misc_shrx, [OP_CBW] = misc_cbw, [OP_CWD] = misc_cwd, [OP_LAHF] = misc_lahf,
    [OP_SAHF] = misc_sahf, [OP_SETCC] = misc_setcc, [OP_XADD] = misc_xadd,
    [OP_CMPXCHG] = misc_cmpxchg, [OP_MOVZX] = misc_movx, [OP_MOVSX] = misc_movx,
    [OP_MOVSXD] = misc_movx, [OP_LEA] = misc_lea, [OP_NOP] = misc_nop, [OP_PAUSE] = misc_nop,
    [OP_ENDBR32] = misc_nop, [OP_ENDBR64] = misc_nop,
};

ExecFn *misc_function(const Insn *in)
{
    return misc_table[in->op];
}
