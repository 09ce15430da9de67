/* SPDX-License-Identifier: GPL-2.0-or-later
 * Timer interrupts and interrupts from other CPUs, as fast as they come, over code that
 * keeps something in every register: all general ones (the stack pointer, too, at CPL 3),
 * flags from one instruction to the next, x87 and SSE or AVX. The handlers use them all for
 * themselves. What comes out must be what comes out without interrupts.
 *
 * smp: 1 2 4
 * bits: 64 32
 * lockstep: no (a quarter of a minute)
 */
#include "guest.h"

enum {
    TICKS = 300,      /* of each CPU, then it is enough; if it takes too long ... */
    MAX_LOOPS = 1500, /* ... this is */
    ROUNDS = 1000,
    COPY = 50000,
    VEC_TIMER = 0x40,
    VEC_IPI = 0x41,
    AREA = 1024, /* of XSAVE: x87, SSE, AVX */
};

#ifdef __x86_64__
#define AX "%rax"
#define BX "%rbx"
#define CX "%rcx"
#define DX "%rdx"
#define SI "%rsi"
#define DI "%rdi"
#define BP "%rbp"
#define SP "%rsp"
#define MORE                                                                   \
    "xor %r8, %rdi; rcl $1, %r8; lea 1(%r9,%r10,2), %r9; imul %r11, %r10;"     \
    "lea (%r10,%rax,4), %r10; add $3, %r11; cmp %r12, %r13; cmovb %r14, %r12;" \
    "adc %rbp, %r15; inc %r14; bswap %r12; xadd %r9, %r13; adc $0, %r8;"
#define MORE_SET                                                                       \
    "mov $0x12345678, %r8d; mov $0x9abcdef1, %r9d; lea (%rax,%rsi), %r10; bswap %r10;" \
    "mov %rbx, %r11; mov %rdx, %r12; not %r12; mov %rsi, %r13; lea 7(%rax), %r14;"     \
    "mov %rdi, %r15;"
#define MORE_FOLD                                                                   \
    "xor %r8, %rax; add %r9, %rbx; xor %r10, %rdx; sub %r11, %rsi; add %r12, %rdi;" \
    "rol $5, %rax; add %r13, %rax; xor %r14, %rbx; add %r15, %rdx;"
#define EACH_HIGH(op) \
    op(8, 9) op(9, 10) op(10, 11) op(11, 12) op(12, 13) op(13, 14) op(14, 15) op(15, 0)
#define LAST 8
#else
#define AX "%eax"
#define BX "%ebx"
#define CX "%ecx"
#define DX "%edx"
#define SI "%esi"
#define DI "%edi"
#define BP "%ebp"
#define SP "%esp"
#define MORE
#define MORE_SET
#define MORE_FOLD
#define EACH_HIGH(op)
#define LAST 0
#endif
#define EACH_LOW(op) \
    op(0, 1) op(1, 2) op(2, 3) op(3, 4) op(4, 5) op(5, 6) op(6, 7) op(7, LAST)
#define STRING(x) #x
#define SSE(a, b) "paddd %xmm" STRING(a) ", %xmm" STRING(b) ";"
#define AVX(a, b) "vpaddd %ymm" STRING(a) ", %ymm" STRING(b) ", %ymm" STRING(b) ";"
#define SSE_SET(a, b)                                                             \
    "movd %eax, %xmm" STRING(a) "; pshufd $0x1b, %xmm" STRING(a) ", %xmm" STRING( \
        a) "; add $17, %eax;"
#define AVX_SET(a, b) \
    SSE_SET(a, b) "vinsertf128 $1, %xmm" STRING(a) ", %ymm" STRING(a) ", %ymm" STRING(a) ";"

/* ADC and SBB take CF from the round before: DEC leaves it. */
#define LOOP(vectors_set, vectors, sp_set, sp_use)                                       \
    "fninit; fld1; fldl2t; fldln2; fldlg2;" EACH_LOW(vectors_set) EACH_HIGH(vectors_set) \
        MORE_SET "lea 3(" SI "), " BP ";" sp_set "clc\n"                                 \
                 "1: adc " DX ", " BX "; sbb " SI ", " DX "; rol $7, " SI "; add " BX    \
                 ", " AX ";"                                                             \
                 "rcr $1, " BP "; setc %dl; " MORE                                       \
                 EACH_LOW(vectors) "fmul %st(3), %st; " EACH_HIGH(                       \
                     vectors) "fadd %st(2), %st; fxch %st(1);"                           \
                              "xor " BP ", " DI "; " sp_use "bt $3, %edi; dec " CX       \
                              "; jnz 1b\n" MORE_FOLD "xor " BP ", " SI ";"

#define USER_SET "lea 11(" AX "), " SP ";"
#define USER_USE "lea 5(" SP "," DX "), " SP "; xadd " SP ", " DI ";"
__asm__(".section .utext, \"ax\", @progbits\n"
        "u_sse: " LOOP(
            SSE_SET, SSE, USER_SET,
            USER_USE) "xor " SP ", " AX "; int $0x80\n"
                      "u_avx: " LOOP(
                          AVX_SET, AVX, USER_SET,
                          USER_USE) "xor " SP ", " AX "; int $0x80\n"
                                    ".text\n"
                                    "k_sse: sti; " LOOP(
                                        SSE_SET, SSE,
                                        , ) "int $0x80\n"
                                            "k_avx: sti; " LOOP(
                                                AVX_SET, AVX,
                                                , ) "int $0x80\n"
                                                    "k_quiet_sse: " LOOP(
                                                        SSE_SET, SSE,
                                                        , ) "int $0x80\n"
                                                            "k_quiet_avx: " LOOP(
                                                                AVX_SET, AVX,
                                                                , ) "int $0x80\n"
                                                                    "k_copy: sti; rep "
                                                                    "movsb; std; dec " SI
                                                                    "; dec " DI
                                                                    "; mov $1000, %ecx; "
                                                                    "rep movsb; cld;"
                                                                    "int $0x80\n");
extern const uint8_t u_sse[], u_avx[], k_sse[], k_avx[], k_quiet_sse[], k_quiet_avx[],
    k_copy[];

typedef struct Result {
    Regs r;
    uint8_t area[AREA] __attribute__((aligned(64)));
} Result;

typedef struct Storm {
    Result want[2], got;
    uint8_t kept[AREA] __attribute__((aligned(64)));
    uint8_t from[COPY], to[COPY];
    volatile uint32_t ticks, ipis;
    uint32_t loops, wrong;
} Storm;

static Storm *storms;
static bool has_avx;

/* ---- x87 and vector registers ---- */

static void save(uint8_t *area)
{
    if (has_avx) {
        __asm__ volatile("xsave (%0)" ::"r"(area), "a"(7), "d"(0) : "memory");
    } else {
        __asm__ volatile("fxsave (%0)" ::"r"(area) : "memory");
    }
}

static void restore(const uint8_t *area)
{
    if (has_avx) {
        __asm__ volatile("xrstor (%0)" ::"r"(area), "a"(7), "d"(0) : "memory");
    } else {
        __asm__ volatile("fxrstor (%0)" ::"r"(area) : "memory");
    }
}

/* What a handler might do to them. */
static void trash(void)
{
#define ONES(a, b) "pcmpeqd %%xmm" STRING(a) ", %%xmm" STRING(a) ";"
    __asm__ volatile(
        EACH_LOW(ONES) EACH_HIGH(
            ONES) "fninit; fldz; fldpi; fldpi; faddp; fldz; fldz; fldz; fldz; fldz" ::
            : "memory");
    if (has_avx) {
        __asm__ volatile("vzeroall");
    }
    uint32_t mxcsr = 0x7f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
}

static void on_interrupt(Storm *s)
{
    save(s->kept);
    trash();
    restore(s->kept);
}

static void arm(void)
{
    lapic_write(APIC_TMICT, 10000 + below(20000));
}

static void on_timer(Frame *f)
{
    (void)f;
    Cpu *c = cpu_self();
    Storm *s = &storms[c->index];
    s->ticks++;
    on_interrupt(s);
    if (nr_cpus > 1 && !(lapic_read(APIC_ICR) & 0x1000)) {
        uint32_t to = below(nr_cpus);
        if (to != c->index) {
            send_ipi(0x4000 | VEC_IPI, to);
        }
    }
    arm();
    lapic_write(APIC_EOI, 0);
}

static void on_ipi(Frame *f)
{
    (void)f;
    Storm *s = &storms[cpu_self()->index];
    s->ipis++;
    on_interrupt(s);
    lapic_write(APIC_EOI, 0);
}

/* ---- the work ---- */

static void work(const uint8_t *code, bool user, Result *out)
{
    static const Regs start = { .ax = 0x01234567,
                                .bx = 0x89abcdef,
                                .cx = ROUNDS,
                                .dx = 0xfedcba98,
                                .si = 0x76543210,
                                .di = 0x0f1e2d3c };
    memset(out->area, 0, AREA);
    probe(&start, (Word)code, user);
    save(out->area);
    out->r = cpu_self()->out;
    memset(out->area + 6, 0, 18); /* FOP, FIP, FDP: they tell where the code lies */
}

static void compare(Storm *s, const char *name, const Result *want)
{
    const uint8_t *a = (const uint8_t *)want, *b = (const uint8_t *)&s->got;
    for (unsigned i = 0; i < sizeof(Result); i++) {
        if (a[i] != b[i]) {
            s->wrong++;
            NOTE(name, { "cpu", cpu_self()->index }, { "loop", s->loops }, { "byte", i },
                 { "want", a[i] }, { "got", b[i] }, { "vector", cpu_self()->vec });
            return;
        }
    }
}

static void copy(Storm *s)
{
    memset(s->to, 0, COPY);
    Regs r = { .cx = COPY, .si = (Word)s->from, .di = (Word)s->to };
    probe(&r, (Word)k_copy, 0);
    for (unsigned i = 0; i < COPY; i++) {
        if (s->to[i] != s->from[i]) {
            s->wrong++;
            NOTE("copy", { "cpu", cpu_self()->index }, { "byte", i },
                 { "want", s->from[i] }, { "got", s->to[i] });
            return;
        }
    }
    if (cpu_self()->out.di != (Word)s->to + COPY - 1001) {
        s->wrong++;
        NOTE("copy's end", { "want", (Word)s->to + COPY - 1001 },
             { "got", cpu_self()->out.di });
    }
}

static void run(uint32_t index)
{
    Storm *s = &storms[index];
    seed_cpu(0x1234);
    for (unsigned i = 0; i < COPY; i++) {
        s->from[i] = (uint8_t)rnd();
    }
    const uint8_t *user = has_avx ? u_avx : u_sse, *kernel = has_avx ? k_avx : k_sse;
    work(user, true, &s->want[0]);
    work(has_avx ? k_quiet_avx : k_quiet_sse, false, &s->want[1]);
    lapic_write(APIC_TDCR, 0xb); /* by 1 */
    lapic_write(APIC_LVTT, VEC_TIMER);
    cpu_self()->user_flags = 0x200;
    arm();
    for (s->loops = 0; s->ticks < TICKS && s->loops < MAX_LOOPS; s->loops++) {
        work(user, true, &s->got);
        compare(s, "at CPL 3", &s->want[0]);
        work(kernel, false, &s->got);
        compare(s, "at CPL 0", &s->want[1]);
        if (s->loops % 4 == 0) {
            copy(s);
        }
    }
    lapic_write(APIC_LVTT, 0x10000);
    cpu_self()->user_flags = 0;
}

void guest_main(void)
{
    use_space(new_space());
    has_avx = read_cr4() >> 18 & 1;
    storms = alloc(MAX_CPUS * sizeof(Storm));
    handlers[VEC_TIMER] = on_timer;
    handlers[VEC_IPI] = on_ipi;
    start_cpus();
    on_all(run);
    uint32_t wrong = 0, ticks = 0, ipis = 0, loops = 0;
    for (uint32_t i = 0; i < nr_cpus; i++) {
        wrong += storms[i].wrong;
        ticks += storms[i].ticks;
        ipis += storms[i].ipis;
        loops += storms[i].loops;
    }
    check("general registers at the end", storms[0].want[0].r.ax,
          BITS == 64 ? 0xca47b59be1fc5141 : 0xc54f06c1);
    check("registers under interrupts", wrong, 0);
    check("there were interrupts", ticks > 0, 1);
    NOTE("in all", { "timer interrupts", ticks }, { "others", ipis }, { "loops", loops });
}
