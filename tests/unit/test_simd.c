/* SPDX-License-Identifier: GPL-2.0-or-later
 * MMX, SSE, AVX, AVX2, FMA, F16C, AES, SHA, PCLMULQDQ against the processor this runs on: every
 * encoding the decoder knows, with random registers, operands and modes, goes through exec_simd
 * and the interpreter, and natively, through a runner that loads and saves the whole register state itself.
 *
 * VIREO_TEST_SEED chooses the sequence; VIREO_TEST_RUNS the number of runs per instruction.
 */
#undef _GNU_SOURCE /* its <signal.h> takes the names REG_RAX... */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "cpu/simd_host.h"
#include "tests/unit/cpu_bench.h"

/* Offsets are known to native_run below. */
typedef struct Native {
    uint8_t ymm[16][32]; /* 0 */
    uint64_t gpr[16];    /* 512 */
    uint64_t rflags;     /* 640 */
    uint64_t pad[7];
    struct {
        uint16_t fcw, fsw;
        uint8_t ftw, reserved;
        uint16_t fop;
        uint64_t fip, fdp;
        uint32_t mxcsr, mxcsr_mask;
        uint8_t st[8][16];
        uint8_t rest[352];
    } fx; /* 704 */
    uint8_t mem[128];
} __attribute__((aligned(64))) Native;
_Static_assert(offsetof(Native, fx) == 704, "native_run");

/* Loads everything but RSP, calls code, saves everything. */
void native_run(Native *n, const void *code);
__asm__(".pushsection .text\n"
        "native_run:\n"
        "    push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n push %rdi\n"
        "    mov %rsi, native_code(%rip)\n"
        "    fxrstor64 704(%rdi)\n"
        "    .irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "    vmovups 32*\\i(%rdi), %ymm\\i\n"
        "    .endr\n"
        "    push 640(%rdi)\n popfq\n"
        "    mov 512(%rdi), %rax\n mov 520(%rdi), %rcx\n mov 528(%rdi), %rdx\n"
        "    mov 536(%rdi), %rbx\n mov 552(%rdi), %rbp\n mov 560(%rdi), %rsi\n"
        "    mov 576(%rdi), %r8\n mov 584(%rdi), %r9\n mov 592(%rdi), %r10\n"
        "    mov 600(%rdi), %r11\n mov 608(%rdi), %r12\n mov 616(%rdi), %r13\n"
        "    mov 624(%rdi), %r14\n mov 632(%rdi), %r15\n mov 568(%rdi), %rdi\n"
        "    call *native_code(%rip)\n"
        "    mov %rdi, native_rdi(%rip)\n"
        "    mov (%rsp), %rdi\n"
        "    mov %rax, 512(%rdi)\n mov %rcx, 520(%rdi)\n mov %rdx, 528(%rdi)\n"
        "    mov %rbx, 536(%rdi)\n mov %rbp, 552(%rdi)\n mov %rsi, 560(%rdi)\n"
        "    mov %r8, 576(%rdi)\n mov %r9, 584(%rdi)\n mov %r10, 592(%rdi)\n"
        "    mov %r11, 600(%rdi)\n mov %r12, 608(%rdi)\n mov %r13, 616(%rdi)\n"
        "    mov %r14, 624(%rdi)\n mov %r15, 632(%rdi)\n"
        "    mov native_rdi(%rip), %rax\n mov %rax, 568(%rdi)\n"
        "    pushfq\n pop 640(%rdi)\n"
        "    fxsave64 704(%rdi)\n"
        "    .irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "    vmovups %ymm\\i, 32*\\i(%rdi)\n"
        "    .endr\n"
        "    vzeroupper\n fninit\n cld\n"
        "    pop %rdi\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "    movl $0x1f80, -4(%rsp)\n ldmxcsr -4(%rsp)\n"
        "    ret\n"
        ".popsection\n"
        ".lcomm native_code, 8\n"
        ".lcomm native_rdi, 8\n");

static uint64_t rng;
static unsigned runs;
static uint8_t code[4096] __attribute__((aligned(4096)));
static Bench *bench;
static bool interpret; /* through accel/interp, else exec_simd */
static unsigned nr_tested, nr_raised, nr_skipped;

static sigjmp_buf fault_jump;
static volatile sig_atomic_t fault_signal;
static volatile uint32_t fault_mxcsr;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)info;
    /* uc_mcontext.fpregs->mxcsr, in the kernel's layout */
    uint8_t *fpregs;
    memcpy(&fpregs, (uint8_t *)context + 224, sizeof fpregs);
    memcpy((void *)&fault_mxcsr, fpregs + 24, 4);
    fault_signal = sig;
    siglongjmp(fault_jump, 1);
}

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

/* ---- random state ---- */

static uint32_t random_f32(void)
{
    static const uint32_t v[] = { 0, 0x3f800000, 0x7f800000, 0x7fc00000, 0x7f800001, 1, 0x007fffff,
                                  0x00800000, 0x7f7fffff, 0x4f000000, 0x33800000, 0x40490fdb,
                                  0x00800001, 0x3f000000, 0x5f000000, 0x4b7fffff };
    uint64_t r = rnd();
    switch (r & 3) {
    case 0: return v[(r >> 8) % ARRAY_SIZE(v)] | (r >> 32 & 1u << 31);
    case 1: return (uint32_t)(r >> 32);
    default: return (r >> 32 & 0x807fffff) | (uint32_t)(0x7f - 20 + (r >> 8) % 40) << 23;
    }
}

static uint64_t random_f64(void)
{
    static const uint64_t v[] = { 0, 0x3ff0ull << 48, 0x7ff0ull << 48, 0x7ff8ull << 48,
                                  (0x7ff0ull << 48) + 1, 1, (1ull << 52) - 1, 1ull << 52,
                                  0x7fefffffffffffff, 0x41e0ull << 48, 0x41dfffffffe00000,
                                  0x43e0ull << 48, 0x400921fb54442d18, 0x3fe0ull << 48,
                                  0x3810ull << 48, 0x36a0ull << 48, 0x47efffffe0000000 };
    uint64_t r = rnd();
    switch (r & 3) {
    case 0: return v[(r >> 8) % ARRAY_SIZE(v)] | (r & 1ull << 63);
    case 1: return rnd();
    default:
        return (rnd() & 0x800fffffffffffff) | (uint64_t)(0x3ff - 40 + (r >> 8) % 80) << 52;
    }
}

static void random_bytes(uint8_t *p, unsigned len)
{
    uint64_t kind = rnd() % 6;
    for (unsigned i = 0; i < len; i += 8) {
        uint64_t v;
        switch (kind) {
        case 0: v = random_f32() | (uint64_t)random_f32() << 32; break;
        case 1: v = random_f64(); break;
        case 2: v = rnd() & 0x0f0f0f0f0f0f0f0f; break; /* shift counts, shuffle controls */
        case 3: v = rnd() & 3 ? rnd() & 0x3f : 0; break;
        case 4: v = rnd() & 0x7f007f8000ff80ff; break;
        default: v = rnd();
        }
        memcpy(p + i, &v, 8);
    }
}

static void random_state(Native *n)
{
    memset(n, 0, sizeof *n);
    for (unsigned i = 0; i < 16; i++) {
        random_bytes(n->ymm[i], 32);
        random_bytes((uint8_t *)&n->gpr[i], 8);
        if (i == 0 || i == 2) {
            n->gpr[i] = rnd() & 1 ? rnd() % 20 : n->gpr[i]; /* string lengths */
        }
    }
    random_bytes(n->mem, sizeof n->mem);
    n->rflags = (rnd() & FLAG_ARITH) | 0x202;
    n->fx.fcw = 0x37f;
    n->fx.fsw = rnd() & 0x3f7f;
    n->fx.ftw = rnd();
    for (unsigned i = 0; i < 8; i++) {
        random_bytes(n->fx.st[i], 8);
        n->fx.st[i][8] = rnd();
        n->fx.st[i][9] = rnd();
    }
    n->fx.mxcsr = 0x1f80;
    if (rnd() & 1) {
        n->fx.mxcsr |= rnd() & 0xe07f; /* rounding, DAZ, FTZ, flags */
    }
}

/* ---- comparison ---- */

static void to_cpu(CpuState *cpu, const Native *n)
{
    unsigned top = n->fx.fsw >> 11 & 7;
    memcpy(cpu->ymm, n->ymm, sizeof cpu->ymm);
    memcpy(cpu->gpr, n->gpr, sizeof cpu->gpr);
    cpu->cc = flags_to_cc(n->rflags);
    cpu->fpu.fcw = n->fx.fcw;
    cpu->fpu.fsw = n->fx.fsw;
    cpu->fpu.tag = n->fx.ftw;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(cpu->fpu.st[(top + i) & 7], n->fx.st[i], 16);
    }
    cpu->mxcsr = n->fx.mxcsr;
    cpu_update_mode(cpu);
}

static void from_cpu(Native *n, const CpuState *cpu)
{
    unsigned top = cpu->fpu.fsw >> 11 & 7;
    memcpy(n->ymm, cpu->ymm, sizeof cpu->ymm);
    memcpy(n->gpr, cpu->gpr, sizeof cpu->gpr);
    n->rflags = cc_to_flags(cpu->cc);
    n->fx.fcw = cpu->fpu.fcw;
    n->fx.fsw = cpu->fpu.fsw;
    n->fx.ftw = cpu->fpu.tag;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(n->fx.st[i], cpu->fpu.st[(top + i) & 7], 16);
    }
    n->fx.mxcsr = cpu->mxcsr;
}

static void print_vec(const char *what, const uint8_t *p, unsigned len)
{
    printf(" %s ", what);
    for (int i = (int)len - 1; i >= 0; i--) {
        printf("%02x%s", p[i], i % 8 == 0 && i ? "_" : "");
    }
}

static bool differences(const Native *want, const Native *got, uint64_t flags, bool print)
{
    bool bad = false;
    char name[16];
    for (unsigned i = 0; i < 16; i++) {
        if (memcmp(want->ymm[i], got->ymm[i], 32)) {
            bad = true;
            if (print) {
                snprintf(name, sizeof name, "ymm%u", i);
                printf("#  ");
                print_vec(name, want->ymm[i], 32);
                print_vec("got", got->ymm[i], 32);
                printf("\n");
            }
        }
        if (i != REG_RSP && want->gpr[i] != got->gpr[i]) {
            bad = true;
            if (print) {
                printf("#   gpr%u want %lx got %lx\n", i, want->gpr[i], got->gpr[i]);
            }
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        if (memcmp(want->fx.st[i], got->fx.st[i], 10)) {
            bad = true;
            if (print) {
                printf("#   st%u", i);
                print_vec("want", want->fx.st[i], 10);
                print_vec("got", got->fx.st[i], 10);
                printf("\n");
            }
        }
    }
    if (memcmp(want->mem, got->mem, sizeof want->mem)) {
        bad = true;
        for (unsigned i = 0; i < sizeof want->mem && print; i += 32) {
            printf("#  ");
            print_vec("mem", want->mem + i, 32);
            print_vec("got", got->mem + i, 32);
            printf("\n");
        }
    }
    if ((want->rflags ^ got->rflags) & flags || want->fx.mxcsr != got->fx.mxcsr ||
        want->fx.fsw != got->fx.fsw || want->fx.ftw != got->fx.ftw) {
        bad = true;
        if (print) {
            printf("#   want flags %03lx mxcsr %04x fsw %04x ftw %02x\n"
                   "#   got  flags %03lx mxcsr %04x fsw %04x ftw %02x\n",
                   want->rflags & flags, want->fx.mxcsr, want->fx.fsw, want->fx.ftw,
                   got->rflags & flags, got->fx.mxcsr, got->fx.fsw, got->fx.ftw);
        }
    }
    return bad;
}

/* ---- one encoding ---- */

static const char *family(unsigned op)
{
    static const char *const names[] = {
        "",
#define OP(name, family) #family,
#include "cpu/ops.inc"
#undef OP
    };
    return names[op];
}

static bool is_simd(const Insn *in)
{
    const char *f = family(in->op);
    return !strcmp(f, "MMX") || !strcmp(f, "SSE") || !strcmp(f, "AVX") || !strcmp(f, "FMA");
}

/* Random bytes of an instruction with this opcode; memory operands at absolute addresses in the
 * bench, gathers at [r8 + index]. */
static unsigned make(uint8_t *p, bool vex, unsigned map, unsigned pp, unsigned opcode,
                     unsigned address)
{
    static const uint8_t pp_byte[] = { 0, 0x66, 0xf3, 0xf2 };
    uint8_t *start = p;
    uint64_t r = rnd();
    bool mem = r & 1, gather = vex && map == 2 && opcode >= 0x90 && opcode <= 0x93;
    unsigned reg = r >> 8 & 15, rm = r >> 12 & 15, vvvv = r >> 16 & 15;
    if (gather) {
        mem = true;
    }
    if (mem) {
        rm &= 7;
    }
    if (vex) {
        unsigned x = gather ? r >> 33 & 1 : 0;
        unsigned b = gather ? 1 : rm >> 3;
        if (r >> 40 & 1) {
            vvvv = 0;
        }
        *p++ = 0xc4;
        *p++ = ((~reg >> 3 & 1) << 7) | (~x & 1) << 6 | (~b & 1) << 5 | map;
        *p++ = (r >> 20 & 1) << 7 | (~vvvv & 15) << 3 | (r >> 21 & 1) << 2 | pp;
    } else {
        if (pp) {
            *p++ = pp_byte[pp];
        }
        unsigned rex = (r >> 20 & 1) << 3 | reg >> 3 << 2 | rm >> 3;
        if (rex || r & 2) {
            *p++ = 0x40 | rex;
        }
        *p++ = 0x0f;
        if (map > 1) {
            *p++ = map == 2 ? 0x38 : 0x3a;
        }
    }
    *p++ = opcode;
    if (gather) {
        *p++ = 0x44 | (reg & 7) << 3; /* [r8 + vector * scale + disp8] */
        *p++ = (r >> 24 & 3) << 6 | (r >> 28 & 7) << 3 | 0;
        *p++ = (r >> 48 & 31) - 16;
    } else if (mem) {
        *p++ = 0x04 | (reg & 7) << 3; /* [disp32] */
        *p++ = 0x25;
        memcpy(p, &address, 4);
        p += 4;
    } else {
        *p++ = 0xc0 | (reg & 7) << 3 | (rm & 7);
    }
    *p++ = r >> 56; /* an immediate, if there is one */
    return p - start;
}

static bool uses_rsp(const Insn *in)
{
    for (unsigned i = 0; i < in->nr_opd; i++) {
        if (in->opd[i].kind == OPD_GPR && in->opd[i].reg == REG_RSP) {
            return true;
        }
    }
    return false;
}

static bool is_gather(const Insn *in)
{
    return in->prefixes & PFX_VEX && in->map == 2 && in->opcode >= 0x90 && in->opcode <= 0x93;
}

/* Indexes that stay in the memory, and the base. */
static void prepare_gather(Native *n, const Insn *in, unsigned address)
{
    n->gpr[REG_R8] = address + 48;
    for (unsigned i = 0; i < 8; i++) {
        int32_t v = (int32_t)(rnd() % 16) - 8;
        v = in->scale ? v / (1 << in->scale) : v;
        int64_t w = v;
        if (in->opcode & 1) {
            memcpy(&n->ymm[in->index][i % 4 * 8], &w, 8);
        } else {
            memcpy(&n->ymm[in->index][i * 4], &v, 4);
        }
    }
}

static int native(Native *n, const Insn *in)
{
    memcpy(code, in->bytes, in->len);
    code[in->len] = 0xc3;
    __builtin___clear_cache((char *)code, (char *)code + 16);
    memcpy(bench->mem, n->mem, sizeof n->mem);
    fault_signal = 0;
    if (sigsetjmp(fault_jump, 1) == 0) {
        native_run(n, code);
    } else {
        n->fx.mxcsr = fault_mxcsr;
        __asm__ volatile("vzeroupper; fninit; cld");
    }
    memcpy(n->mem, bench->mem, sizeof n->mem);
    return fault_signal;
}

static int expected_exception(int sig)
{
    switch (sig) {
    case 0: return -1;
    case SIGFPE: return EXC_XM;
    case SIGSEGV: return EXC_GP;
    default: return EXC_UD;
    }
}

/* Returns 1 for a difference, -1 if the host lacks the instruction. */
static int compare(const Insn *in, Native *start, unsigned run)
{
    static Native want, got;
    want = got = *start;
    int sig = native(&want, in);
    if (sig == SIGILL) {
        return -1;
    }

    CpuState *cpu = bench->cpu;
    to_cpu(cpu, start);
    memcpy(bench->mem, start->mem, sizeof start->mem);
    int exc;
    if (interpret) {
        exc = bench_step(bench, in);
    } else {
        simd_mxcsr_enter(cpu);
        exc = bench_run(bench, exec_simd, in);
        simd_mxcsr_leave(cpu);
    }
    from_cpu(&got, cpu);
    memcpy(got.mem, bench->mem, sizeof got.mem);
    nr_tested++;
    nr_raised += exc >= 0;

    uint64_t flags = FLAG_ARITH;
    if (exc == EXC_XM && sig == SIGFPE && want.fx.mxcsr & ~start->fx.mxcsr & 0x18) {
        want.fx.mxcsr |= 0x20; /* exec_simd.c says why */
        got.fx.mxcsr |= 0x20;
    }
    if (exc == EXC_XM && sig == SIGFPE && in->map == 3 && (in->opcode & 0xfe) == 0x40) {
        want.fx.mxcsr |= 0x3f;
        got.fx.mxcsr |= 0x3f;
    }
    if (insn_rows[in->row].feature == FEATURE_SHA && exc == EXC_GP && !sig) {
        return 0; /* an operand that is not aligned: AMD's processors take it */
    }
    if (exc != expected_exception(sig) || differences(&want, &got, flags, false)) {
        char text[128];
        printf("# %s [", insn_format(in, 0, text, sizeof text));
        for (unsigned i = 0; i < in->len; i++) {
            printf("%02x", in->bytes[i]);
        }
        printf("] run %u: want exception %d got %d\n", run, expected_exception(sig), exc);
        differences(&want, &got, flags, true);
        return 1;
    }
    return 0;
}

/* unmasked: some SIMD exceptions are not masked. */
static unsigned compare_opcode(bool vex, unsigned map, unsigned pp, unsigned opcode, bool unmasked)
{
    unsigned bad = 0, valid = 0;
    for (unsigned r = 0; r < runs && bad < 2; r++) {
        uint8_t bytes[16] = { 0 };
        unsigned offset = rnd() & 3 ? 32 : rnd() % 72; /* some cross the page */
        unsigned len = make(bytes, vex, map, pp, opcode, bench->addr + offset);
        Insn in;
        if (insn_decode(bytes, len, bench->cpu->mode, NULL, &in) != DECODE_OK || !is_simd(&in) ||
            uses_rsp(&in)) {
            if (r > 200 && !valid) {
                return 0;
            }
            continue;
        }
        valid++;
        Native start;
        random_state(&start);
        if (is_gather(&in)) {
            prepare_gather(&start, &in, bench->addr);
        }
        if (in.map == 1 && in.opcode == 0xf7) {
            start.gpr[REG_RDI] = bench->addr + rnd() % 64;
        }
        if (unmasked) {
            start.fx.mxcsr &= ~(rnd() & 0x1f80);
            start.fx.mxcsr &= ~0x3f | start.fx.mxcsr >> 7; /* no flag that is not masked */
        }
        int result = compare(&in, &start, r);
        if (result < 0) {
            nr_skipped++;
        } else {
            bad += result;
        }
    }
    return bad;
}

static unsigned sweep(bool unmasked)
{
    unsigned bad = 0;
    /* here, because cmocka sets its own for each test */
    struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigaction(SIGFPE, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    nr_tested = nr_raised = nr_skipped = 0;
    for (unsigned vex = 0; vex < 2; vex++) {
        for (unsigned map = 1; map < 4; map++) {
            for (unsigned opcode = 0; opcode < 256; opcode++) {
                if (!vex && map == 1 && (opcode == 0x38 || opcode == 0x3a)) {
                    continue; /* escapes */
                }
                for (unsigned pp = 0; pp < 4; pp++) {
                    bad += compare_opcode(vex, map, pp, opcode, unmasked);
                }
            }
        }
    }
    printf("# %u runs, %u raised, %u not on this host\n", nr_tested, nr_raised, nr_skipped);
    return bad;
}

static void masked(void **state)
{
    (void)state;
    interpret = false;
    assert_int_equal(sweep(false), 0);
}

static void unmasked(void **state)
{
    (void)state;
    unsigned all = runs;
    interpret = false;
    runs = (runs + 3) / 4; /* signals make these slow */
    assert_int_equal(sweep(true), 0);
    runs = all;
}

static void interpreted(void **state)
{
    (void)state;
    unsigned all = runs;
    interpret = true;
    runs = (runs + 3) / 4; /* thunks are never dropped: leave room in the cache for the others */
    assert_int_equal(sweep(false), 0);
    assert_int_equal(sweep(true), 0);
    runs = all;
}

static Insn decode(const char *bytes, unsigned len)
{
    Insn in;
    assert_int_equal(insn_decode((const uint8_t *)bytes, len, bench->cpu->mode, NULL, &in), DECODE_OK);
    return in;
}
#define DECODE(bytes) decode(bytes, sizeof(bytes) - 1)

static void clean(CpuState *cpu)
{
    static Native n;
    random_state(&n);
    n.fx.mxcsr = 0x1f80;
    n.fx.fsw = 0;
    to_cpu(cpu, &n);
}

/* A fault in the third element: the first two are there and will not be asked for again. */
static void gather_fault(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    clean(cpu);
    Insn in = DECODE("\xc4\xc2\x69\x90\x0c\x18"); /* vpgatherdd xmm1, [r8 + xmm3], xmm2 */
    cpu->gpr[REG_R8] = 0x7fffffffff00; /* nothing there: zeros */
    for (unsigned i = 0; i < 4; i++) {
        cpu->ymm[1].u32[i] = 0x11111111 * (i + 1);
        cpu->ymm[2].u32[i] = 0x80000000;
        cpu->ymm[3].u32[i] = i < 2 ? 4 * i : 0x200; /* not canonical */
    }
    assert_int_equal(bench_run(bench, exec_simd, &in), EXC_GP);
    assert_int_equal(cpu->ymm[1].u32[0], 0);
    assert_int_equal(cpu->ymm[1].u32[1], 0);
    assert_int_equal(cpu->ymm[1].u32[2], 0x33333333);
    assert_int_equal(cpu->ymm[1].u32[3], 0x44444444);
    assert_int_equal(cpu->ymm[2].u32[0], 0);
    assert_int_equal(cpu->ymm[2].u32[1], 0);
    assert_true(cpu->ymm[2].u32[2] >> 31);
    assert_true(cpu->ymm[2].u32[3] >> 31);
    cpu->ymm[3].u32[2] = cpu->ymm[3].u32[3] = 0;
    assert_int_equal(bench_run(bench, exec_simd, &in), -1);
    assert_int_equal(cpu->ymm[1].u32[3], 0);
    assert_int_equal(cpu->ymm[2].u32[3], 0);
}

/* Elements that are masked out do not fault; one that faults keeps all from being stored. */
static void masked_store_fault(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    clean(cpu);
    Insn in = DECODE("\xc4\xc2\x69\x8e\x08"); /* vpmaskmovd [r8], xmm2, xmm1 */
    cpu->gpr[REG_R8] = 0xfffffffffffffff8; /* two elements at the top of linear space */
    memset(&cpu->ymm[2], 0, 32);
    cpu->ymm[2].u32[0] = 0x80000000;
    assert_int_equal(bench_run(bench, exec_simd, &in), -1);

    cpu->gpr[REG_R8] = 0x7ffffffffff8; /* the third is not canonical */
    cpu->ymm[2].u32[2] = 0x80000000;
    assert_int_equal(bench_run(bench, exec_simd, &in), EXC_GP);
    cpu->ymm[2].u32[2] = 0;
    assert_int_equal(bench_run(bench, exec_simd, &in), -1);
}

static void modes(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    clean(cpu);
    Insn sse = DECODE("\x0f\x58\xc1"), avx = DECODE("\xc5\xf8\x58\xc1"), mmx = DECODE("\x0f\xfc\xc1");
    cpu->cr0 |= CR0_TS;
    cpu_update_mode(cpu);
    assert_int_equal(bench_run(bench, exec_simd, &sse), EXC_NM);
    assert_int_equal(bench_run(bench, exec_simd, &avx), EXC_NM);
    assert_int_equal(bench_run(bench, exec_simd, &mmx), EXC_NM);
    cpu->cr0 = (cpu->cr0 & ~CR0_TS) | CR0_EM;
    cpu_update_mode(cpu);
    assert_int_equal(bench_run(bench, exec_simd, &sse), EXC_UD);
    assert_int_equal(bench_run(bench, exec_simd, &mmx), EXC_UD);
    cpu->cr0 &= ~CR0_EM;
    cpu->xcr0 = 3;
    cpu_update_mode(cpu);
    assert_int_equal(bench_run(bench, exec_simd, &avx), EXC_UD);
    assert_int_equal(bench_run(bench, exec_simd, &sse), -1);
    cpu->xcr0 = 7;
    cpu->cr4 &= ~CR4_OSFXSR;
    cpu_update_mode(cpu);
    assert_int_equal(bench_run(bench, exec_simd, &sse), EXC_UD);
    assert_int_equal(bench_run(bench, exec_simd, &mmx), -1);
    cpu->cr4 = (cpu->cr4 | CR4_OSFXSR) & ~CR4_OSXMMEXCPT;
    cpu->mxcsr = 0;
    cpu_update_mode(cpu);
    memset(cpu->ymm, 0, sizeof cpu->ymm);
    cpu->ymm[0].u32[0] = 0x7f800001; /* an SNaN */
    simd_mxcsr_enter(cpu);
    assert_int_equal(bench_run(bench, exec_simd, &sse), EXC_UD);
    simd_mxcsr_leave(cpu);
    assert_int_equal(cpu->mxcsr, 1);
    cpu->cr4 |= CR4_OSXMMEXCPT;
    cpu_update_mode(cpu);
}

/* LDMXCSR takes effect at once, and STMXCSR sees what came of it. */
static void live_mxcsr(void **state)
{
    CpuState *cpu = bench->cpu;
    (void)state;
    clean(cpu);
    Insn load = DECODE("\x0f\xae\x14\x25\xc0\x0f\x20\x00"), divide = DECODE("\xf3\x0f\x5e\xc1"),
         store = DECODE("\x0f\xae\x1c\x25\xc4\x0f\x20\x00");
    uint32_t up = 0x5f80;
    memcpy(bench->mem, &up, 4);
    cpu->ymm[0].f32[0] = 1;
    cpu->ymm[1].f32[0] = 3;
    assert_int_equal(bench_step(bench, &load), -1);
    assert_int_equal(bench_step(bench, &divide), -1);
    assert_int_equal(cpu->ymm[0].u32[0], 0x3eaaaaab);
    assert_int_equal(bench_step(bench, &store), -1);
    uint32_t got;
    memcpy(&got, bench->mem + 4, 4);
    assert_int_equal(got, up | 0x20);
    up = 0x3f80; /* down */
    memcpy(bench->mem, &up, 4);
    cpu->ymm[0].f32[0] = 1;
    assert_int_equal(bench_step(bench, &load), -1);
    assert_int_equal(bench_step(bench, &divide), -1);
    assert_int_equal(cpu->ymm[0].u32[0], 0x3eaaaaaa);
}

/* When no thunk fits any more, exec_simd goes on with the reserve. Last: it stays full. */
static void full_cache(void **state)
{
    (void)state;
    uint8_t bytes[] = { 0xc5, 0xfc, 0xc6, 0xc0, 0 }; /* vshufps ymm, ymm, ymm, imm8 */
    const SimdThunk *t;
    unsigned n = 0;
    do {
        bytes[1] = 0x84 | (n & 15) << 3;
        bytes[3] = 0xc0 | (n >> 4 & 63);
        bytes[4] = n >> 10;
        bytes[1] |= n >> 19 & 1; /* pd */
        bytes[2] = n >> 18 & 1 ? 0xc2 : 0xc6; /* vcmpps */
        Insn in;
        assert_int_equal(insn_decode(bytes, 5, bench->cpu->mode, NULL, &in), DECODE_OK);
        t = simd_thunk(&in);
        n++;
    } while (t && n < 1 << 20);
    printf("# full after %u\n", n);
    assert_null(t);
    interpret = false;
    runs = runs > 40 ? 40 : runs;
    assert_int_equal(sweep(false), 0);
    assert_int_equal(sweep(true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interpreted),
        cmocka_unit_test(masked),
        cmocka_unit_test(unmasked),
        cmocka_unit_test(gather_fault),
        cmocka_unit_test(masked_store_fault),
        cmocka_unit_test(modes),
        cmocka_unit_test(live_mxcsr),
        cmocka_unit_test(full_cache),
    };
    const char *seed = getenv("VIREO_TEST_SEED"), *n = getenv("VIREO_TEST_RUNS");
    rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    runs = n ? (unsigned)atoi(n) : 1000;
    printf("# VIREO_TEST_SEED=%llu\n", (unsigned long long)rng);
    rng = rng * 0x9e3779b97f4a7c15 | 1;
    if (!__builtin_cpu_supports("avx")) {
        printf("1..0 # skipped: this processor has no AVX\n");
        return 0;
    }
    assert_return_code(mprotect(code, sizeof code, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    bench = bench_new();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("simd", tests, NULL, NULL);
}
