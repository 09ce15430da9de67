/* SPDX-License-Identifier: GPL-2.0-or-later
 * x87 instructions against the processor this runs on: random states (special values, all
 * rounding and precision modes, exceptions masked and not, full and empty registers) go through
 * exec_x87 and through the same bytes executed natively between FXRSTOR and FXSAVE.
 *
 * VIREO_TEST_SEED chooses the sequence; VIREO_TEST_RUNS the number of runs per instruction.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "cpu/x87.h"
#include "tests/unit/cpu_bench.h"

typedef struct Image {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t rest[352];
} __attribute__((aligned(16))) Image;

typedef struct Native {
    Image img;
    uint8_t mem[112] __attribute__((aligned(16)));
    uint64_t rflags;
} Native;

static uint64_t rng;
static unsigned runs;
static bool interpret; /* through accel/interp, else the function itself */
static uint8_t *code;
static Bench *bench;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

/* ---- native execution ---- */

static void run_native(Native *n, bool prefix, uint8_t opcode, uint8_t modrm)
{
    static const uint8_t before[] = { 0x48, 0x0f, 0xae, 0x0f, /* fxrstor64 [rdi] */
                                      0x51, 0x9d };           /* push rcx; popfq */
    static const uint8_t after[] = { 0x9c, 0x58,             /* pushfq; pop rax */
                                     0x48, 0x0f, 0xae, 0x07, /* fxsave64 [rdi] */
                                     0xdb, 0xe3, 0xc3 };     /* fninit; ret */
    uint8_t *p = code;
    memcpy(p, before, sizeof before);
    p += sizeof before;
    if (prefix) {
        *p++ = 0x66;
    }
    *p++ = opcode;
    *p++ = modrm >= 0xc0 ? modrm : (modrm & 0x38) | 6; /* [rsi] */
    memcpy(p, after, sizeof after);
    __builtin___clear_cache((char *)code, (char *)p + sizeof after);
    uint64_t (*fn)(void *, void *, void *, uint64_t);
    memcpy(&fn, &code, sizeof fn);
    n->rflags = fn(&n->img, n->mem, NULL, n->rflags);
}

/* ---- random state ---- */

static void random_f80(uint8_t *p)
{
    static const uint64_t sigs[] = {
        0, 1, 1ull << 63, ~0ull, 1ull << 62, 0x8000000000000001, 0xc000000000000000,
        0xfffffffffffff800, 0xffffff0000000000, 0x8000008000000000, 0x8000000000000400,
        0x7fffffffffffffff, 0xc90fdaa22168c235,
    };
    static const uint16_t exps[] = { 0, 1, 0x7fff, 0x7ffe, 0x3fff, 0x3ffe, 0x4000, 0x3f81, 0x3f80,
                                     0x3c01, 0x3c00, 0x407e, 0x43fe, 0x401e, 0x403e, 0x400e };
    uint64_t r = rnd();
    uint64_t sig = r & 1 ? sigs[(r >> 8) % ARRAY_SIZE(sigs)] : rnd();
    uint16_t exp;
    switch (r >> 1 & 3) {
    case 0: exp = exps[(r >> 16) % ARRAY_SIZE(exps)]; break;
    case 1: exp = 0x3fff + (int)((r >> 16) % 140) - 70; break;
    case 2: exp = 0x3fff + (int)((r >> 16) % 20) - 10; break;
    default: exp = (r >> 16) & 0x7fff;
    }
    if ((r >> 3 & 3) != 0) {
        sig = exp ? sig | 1ull << 63 : sig & ~(1ull << 63); /* mostly supported encodings */
    }
    if ((r >> 5 & 7) == 0) {
        sig &= ~0ull << (r >> 24 & 63);
    }
    exp |= r >> 40 & 1 ? 0x8000 : 0;
    memcpy(p, &sig, 8);
    memcpy(p + 8, &exp, 2);
}

static void random_mem(uint8_t *p, unsigned size)
{
    uint64_t r = rnd();
    uint8_t big[16] = { 0 };
    if (size == 10) {
        random_f80(p);
        if (r & 1) { /* packed BCD, for FBLD */
            for (unsigned i = 0; i < 9; i++) {
                p[i] = (rnd() % 10) << 4 | rnd() % 10;
            }
            p[9] = r & 2 ? 0x80 : 0;
        }
        return;
    }
    random_f80(big);
    long double v;
    memcpy(&v, big, 10);
    if (size == 4 && (r & 3) == 0) {
        uint32_t e = (r >> 8) % 4;
        uint32_t u = (e == 0 ? 0 : e == 1 ? 0x7f800000 : e == 2 ? 0x7fc00000 : 0x00800000) ^
                     ((r >> 16) % 3 ? 0 : (uint32_t)rnd() & 0x803fffff);
        memcpy(p, &u, 4);
    } else if (size == 8 && (r & 3) == 0) {
        uint64_t e = (r >> 8) % 4;
        uint64_t u = (e == 0 ? 0
                      : e == 1 ? 0x7ff0ull << 48
                      : e == 2 ? 0x7ff8ull << 48
                               : 0x0010ull << 48) ^
                     ((r >> 16) % 3 ? 0 : rnd() & 0x8007ffffffffffff);
        memcpy(p, &u, 8);
    } else if (r & 4) {
        uint64_t u = rnd();
        u = r & 8 ? u >> (r >> 8 & 63) : u;
        memcpy(p, &u, size);
    } else {
        double d = (double)(int64_t)rnd() / (double)(1ull << (r >> 8 & 63));
        float g = (float)d;
        memcpy(p, size == 4 ? (void *)&g : (void *)&d, size);
    }
}

static void random_state(Image *img)
{
    memset(img, 0, sizeof *img);
    for (unsigned i = 0; i < 8; i++) {
        random_f80(img->st[i]);
        if ((rnd() & 7) == 0 && i) {
            memcpy(img->st[i], img->st[0], 10);
        }
    }
    uint64_t r = rnd();
    img->fcw = 0x37f;
    if (r & 1) {
        img->fcw = 0x7f | (r >> 8 & 0x1f00);
    }
    if ((r & 6) == 0) {
        img->fcw = (img->fcw & ~0x3f) | (r >> 24 & 0x3f);
    }
    uint16_t flags = r & 8 ? r >> 32 & 0x3f : 0;
    img->fsw = (flags & img->fcw) | (r >> 40 & 0x7f00);
    if (r & 16 && img->fcw & 1) {
        img->fsw |= 0x41;
    }
    img->ftw = 0xff;
    switch (r >> 5 & 7) {
    case 0: img->ftw = r >> 48; break;
    case 1: case 2: case 3: { /* half full, as programs have it */
        unsigned top = img->fsw >> 11 & 7;
        img->ftw = 0;
        for (unsigned i = 0; i < (r >> 48 & 7); i++) {
            img->ftw |= 1u << ((top + i) & 7);
        }
        break;
    }
    }
    img->mxcsr = 0x1f80;
}

/* ---- comparison ---- */

static void to_cpu(CpuState *cpu, const Native *n)
{
    FpuState *f = &cpu->fpu;
    unsigned top = n->img.fsw >> 11 & 7;
    f->fcw = n->img.fcw;
    f->fsw = n->img.fsw;
    f->tag = n->img.ftw;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[(top + i) & 7], n->img.st[i], 16);
    }
    cpu->cc = flags_to_cc(n->rflags);
}

static void from_cpu(Native *n, const CpuState *cpu)
{
    const FpuState *f = &cpu->fpu;
    unsigned top = f->fsw >> 11 & 7;
    n->img.fcw = f->fcw;
    n->img.fsw = f->fsw;
    n->img.ftw = f->tag;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(n->img.st[i], f->st[(top + i) & 7], 16);
    }
    n->rflags = cc_to_flags(cpu->cc);
}

static void print_state(const char *what, const Native *n)
{
    printf("# %s: fcw %04x fsw %04x ftw %02x flags %03x mem", what, n->img.fcw, n->img.fsw,
           n->img.ftw, (unsigned)n->rflags & FLAG_ARITH);
    for (int i = 15; i >= 0; i--) {
        printf("%s%02x", i == 7 ? " " : i == 15 ? " " : "", n->mem[i]);
    }
    printf("\n#   ");
    for (int i = 0; i < 8; i++) {
        uint16_t se;
        uint64_t sig;
        memcpy(&sig, n->img.st[i], 8);
        memcpy(&se, n->img.st[i] + 8, 2);
        printf(" %04x:%016lx%s", se, sig, i == 3 ? "\n#   " : "");
    }
    printf("\n");
}

static bool same(const Native *a, const Native *b)
{
    bool ok = a->img.fcw == b->img.fcw && a->img.fsw == b->img.fsw && a->img.ftw == b->img.ftw &&
              !memcmp(a->mem, b->mem, sizeof a->mem) &&
              !((a->rflags ^ b->rflags) & FLAG_ARITH);
    for (unsigned i = 0; i < 8; i++) {
        ok &= !memcmp(a->img.st[i], b->img.st[i], 10);
    }
    return ok;
}

static unsigned mem_size(uint8_t opcode, unsigned reg)
{
    switch (opcode) {
    case 0xd8: case 0xda: return 4;
    case 0xd9: return reg < 4 ? 4 : 2;
    case 0xdb: return reg < 4 ? 4 : 10;
    case 0xdc: return 8;
    case 0xdd: return reg < 4 ? 8 : 2;
    case 0xde: return 2;
    default: return reg < 4 ? 2 : reg == 4 || reg == 6 ? 10 : 8;
    }
}

/* FNSTENV, FLDENV, FNSAVE, FRSTOR */
static bool is_env(uint8_t opcode, uint8_t modrm)
{
    unsigned reg = modrm >> 3 & 7;
    return modrm < 0xc0 && ((opcode == 0xd9 && (reg == 4 || reg == 6)) ||
                            (opcode == 0xdd && (reg == 4 || reg == 6)));
}

/* prefix: 66, the 16-bit formats */
static unsigned compare_form(bool prefix, uint8_t opcode, uint8_t modrm)
{
    unsigned size = modrm < 0xc0 ? mem_size(opcode, modrm >> 3 & 7) : 0, bad = 0;
    bool env = is_env(opcode, modrm);
    for (unsigned r = 0; r < runs && bad < 3; r++) {
        Native start, want, got;
        memset(&start, 0, sizeof start);
        random_state(&start.img);
        if (env) {
            for (unsigned i = 0; i < sizeof start.mem; i++) {
                start.mem[i] = rnd();
            }
            start.mem[0] |= rnd() & 1 ? 0x3f : 0;
        } else if (size) {
            random_mem(start.mem, size);
        }
        start.rflags = (rnd() & FLAG_ARITH) | 2;
        want = got = start;
        run_native(&want, prefix, opcode, modrm);

        CpuState *cpu = bench->cpu;
        to_cpu(cpu, &start);
        unsigned shift = rnd() % 64; /* some cross the page */
        memcpy(bench->mem + shift, start.mem, sizeof start.mem);
        uint8_t bytes[] = { 0x66, opcode, modrm, 0x25, 0, 0, 0, 0 };
        if (size) {
            bytes[2] |= 4; /* [disp32] */
            uint32_t address = (uint32_t)bench->addr + shift;
            memcpy(bytes + 4, &address, 4);
        }
        Insn in;
        assert_int_equal(insn_decode(bytes + !prefix, sizeof bytes - !prefix, cpu->mode, NULL, &in),
                         DECODE_OK);
        int exc = interpret ? bench_step(bench, &in) : bench_run(bench, x87_function(&in), &in);
        from_cpu(&got, cpu);
        memcpy(got.mem, bench->mem + shift, sizeof got.mem);
        if (env) { /* the pointers are of different code */
            memset(want.mem + (prefix ? 6 : 12), 0, prefix ? 8 : 16);
            memset(got.mem + (prefix ? 6 : 12), 0, prefix ? 8 : 16);
        }
        if (exc >= 0 || !same(&want, &got)) {
            printf("# %02x %02x run %u exception %d\n", opcode, modrm, r, exc);
            print_state("start", &start);
            print_state("want ", &want);
            print_state("got  ", &got);
            bad++;
        }
    }
    return bad;
}

static unsigned sweep(void)
{
    unsigned bad = 0;
    ExecFn *invalid = x87_function(&(Insn){ .opcode = 0xd9, .modrm = 0x08 });
    for (unsigned opcode = 0xd8; opcode <= 0xdf; opcode++) {
        for (unsigned modrm = 0; modrm < 0x100; modrm += modrm < 0xc0 ? 8 : 1) {
            if (modrm == 0x40) {
                modrm = 0xc0;
            }
            Insn in = { .opcode = opcode, .modrm = modrm, .has_modrm = 1 };
            if (x87_function(&in) == invalid || (opcode == 0xdf && modrm == 0xe0)) {
                continue; /* FNSTSW AX: below */
            }
            bad += compare_form(false, opcode, modrm);
            if (is_env(opcode, modrm)) {
                bad += compare_form(true, opcode, modrm);
            }
        }
    }
    return bad;
}

static void every_form(void **state)
{
    (void)state;
    interpret = false;
    assert_int_equal(sweep(), 0);
}

static void interpreted(void **state)
{
    (void)state;
    interpret = true;
    assert_int_equal(sweep(), 0);
}

static int run_bytes(const char *bytes, unsigned len)
{
    Insn in;
    assert_int_equal(insn_decode((const uint8_t *)bytes, len, bench->cpu->mode, NULL, &in), DECODE_OK);
    return bench_step(bench, &in);
}
#define RUN(bytes) run_bytes(bytes, sizeof(bytes) - 1)

/* Division by zero unmasked: noted at once, raised by the next waiting instruction. */
static void pending_errors(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    x87_init(&cpu->fpu);
    x87_set_cw(cpu, 0x37b);
    assert_int_equal(RUN("\xd9\xe8"), -1); /* fld1 */
    assert_int_equal(RUN("\xd9\xee"), -1); /* fldz */
    assert_int_equal(RUN("\xde\xf9"), -1); /* fdivp */
    assert_int_equal(cpu->fpu.fsw & (FSW_ES | FSW_B | FSW_ZE), FSW_ES | FSW_B | FSW_ZE);
    assert_int_equal(cpu->fpu.tag, 0xc0); /* nothing popped */
    assert_int_equal(RUN("\x9b"), EXC_MF);
    assert_int_equal(RUN("\xd9\xe8"), EXC_MF);
    assert_int_equal(RUN("\x0f\xfc\xc1"), EXC_MF); /* paddb mm0, mm1 */
    assert_int_equal(RUN("\xdf\xe0"), -1); /* fnstsw ax */
    assert_int_equal(cpu->gpr[REG_RAX] & 0xffff, cpu->fpu.fsw);
    assert_int_equal(RUN("\xdb\xe2"), -1); /* fnclex */
    assert_int_equal(RUN("\x9b"), -1);
    assert_int_equal(cpu->fpu.fsw & (FSW_ES | FSW_B | FSW_FLAGS), 0);
}

static int ferr_level = -1;
static void note_ferr(void *opaque, bool level)
{
    (void)opaque;
    ferr_level = level;
}

/* The same with CR0.NE = 0: FERR#, and the next waiting instruction does not get on. */
static void ferr(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    cpu->cr0 &= ~CR0_NE;
    cpu->ferr = note_ferr;
    x87_init(&cpu->fpu);
    x87_set_cw(cpu, 0x37b);
    RUN("\xd9\xe8");
    RUN("\xd9\xee");
    assert_int_equal(ferr_level, -1);
    assert_int_equal(RUN("\xde\xf9"), -1);
    assert_int_equal(ferr_level, 1);
    assert_int_equal(RUN("\x9b"), -2); /* still there */
    assert_int_equal(cpu->rip, BENCH_CODE);
    cpu->ignne = true;
    assert_int_equal(RUN("\x9b"), -1);
    assert_int_equal(RUN("\xdb\xe2"), -1);
    assert_int_equal(ferr_level, 0);
    assert_false(cpu->ignne);
    assert_int_equal(RUN("\xde\xf9"), -1);
    assert_int_equal(ferr_level, 1);
    cpu->gpr[REG_RSP] = 0x200e00;
    assert_int_equal(RUN("\xdd\x34\x24"), -1); /* fnsave [rsp] */
    assert_int_equal(ferr_level, 0);
    cpu->ferr = NULL;
    cpu->cr0 |= CR0_NE;
}

static void not_available(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    x87_init(&cpu->fpu);
    cpu->cr0 |= CR0_TS;
    cpu_update_mode(cpu);
    assert_int_equal(RUN("\xd9\xe8"), EXC_NM);
    assert_int_equal(RUN("\xdb\xe3"), EXC_NM); /* fninit */
    assert_int_equal(RUN("\x9b"), EXC_NM);      /* MP is set */
    assert_int_equal(RUN("\x0f\x77"), EXC_NM); /* emms */
    assert_int_equal(RUN("\x0f\x58\xc1"), EXC_NM);
    cpu->cr0 = (cpu->cr0 & ~CR0_TS) | CR0_EM;
    cpu_update_mode(cpu);
    assert_int_equal(RUN("\xd9\xe8"), EXC_NM);
    assert_int_equal(RUN("\x9b"), -1);
    assert_int_equal(RUN("\x0f\x77"), EXC_UD);
    assert_int_equal(RUN("\x0f\x58\xc1"), EXC_UD);
    cpu->cr0 &= ~CR0_EM;
    cpu_update_mode(cpu);
    assert_int_equal(RUN("\x0f\x77"), -1);
}

/* Pointers: of the last instruction that is not a control instruction. */
static void pointers(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    assert_int_equal(RUN("\xd9\xe8"), -1);
    assert_int_equal(cpu->fpu.fip, BENCH_CODE);
    assert_int_equal(cpu->fpu.fcs, cpu->seg[SEG_CS].sel);
    assert_int_equal(cpu->fpu.fop, 0x1e8);
    assert_int_equal(RUN("\xdd\x1c\x25\xc0\x0f\x20\x00"), -1); /* fstp qword [200fc0h] */
    assert_int_equal(cpu->fpu.fop, 0x51c);
    assert_int_equal(cpu->fpu.fdp, 0x200fc0);
    assert_int_equal(RUN("\xdb\xe2"), -1);
    assert_int_equal(cpu->fpu.fop, 0x51c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),
        cmocka_unit_test(interpreted),
        cmocka_unit_test(pending_errors),
        cmocka_unit_test(ferr),
        cmocka_unit_test(not_available),
        cmocka_unit_test(pointers),
    };
    const char *seed = getenv("VIREO_TEST_SEED"), *n = getenv("VIREO_TEST_RUNS");
    rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    runs = n ? (unsigned)atoi(n) : 1000;
    printf("# VIREO_TEST_SEED=%llu\n", (unsigned long long)rng);
    rng = rng * 0x9e3779b97f4a7c15 | 1;
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench = bench_new();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("x87", tests, NULL, NULL);
}
