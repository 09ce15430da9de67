/* SPDX-License-Identifier: GPL-2.0-or-later
 * Operands across two pages: loads, stores, read-modify-writes, LOCKed ones, SSE, AVX, x87,
 * strings and stack. With both pages there, the instruction does what it does inside a page
 * (to which it is compared). With the second one or the first not there, or read-only, it
 * faults with the right error code and address, and has changed nothing.
 *
 * The two pages are no neighbours in physical memory.
 *
 * It stores what does fit before it faults:
 * qemu: operands across pages
 * bits: 64 32
 * lockstep: no (half a minute)
 */
#include "guest.h"

enum { BEFORE = 40, AFTER = 80, MAX_BYTES = 48 };
static const Word VA = 0x40000000; /* two pages; a third, for comparison, at VA + 3 pages */

enum {
    RD = 1,       /* reads its operand */
    WR = 2,       /* writes it */
    STACK = 4,    /* it lies at SP; at CPL 3 only */
    BELOW = 8,    /* and below it: SP points behind */
    POINTER = 16, /* it is an address of code */
    AVX = 32,
    PIECES =
        64,    /* stores piece by piece: what it has done when it faults is not compared */
    OWN = 128, /* stores its own address */
};
/* Flags that it leaves undefined (SDM 2): what processors make of them, even of the same
 * operands, differs. */
enum { CF = 1, PF = 4, AF = 16, ZF = 64, SF = 128, OF = 2048 };
#define UNDEF(flags) ((flags) << 16)

#ifdef __x86_64__
#define DI "%rdi"
#define SI "%rsi"
#define SP "%rsp"
#define ONLY64(x) x
#define ONLY32(x)
enum { W = 8 };
#else
#define DI "%edi"
#define SI "%esi"
#define SP "%esp"
#define ONLY64(x)
#define ONLY32(x) x
enum { W = 4 };
#endif

/* X(name, operand's bytes, what, instruction); %mm1, %xmm1, %ymm1 and ST0 are loaded from
 * AX */
#define INSNS(X)                                                                          \
    X(mov_load2, 2, RD, "movw (" DI "), %ax")                                             \
    X(mov_load4, 4, RD, "movl (" DI "), %eax")                                            \
    X(movzx2, 2, RD, "movzwl (" DI "), %eax")                                             \
    X(movsx2, 2, RD, "movswl (" DI "), %eax")                                             \
    X(cmp4, 4, RD, "cmpl %eax, (" DI ")")                                                 \
    X(test4, 4, RD, "testl %eax, (" DI ")")                                               \
    X(add_load4, 4, RD, "addl (" DI "), %eax")                                            \
    X(sbb_load2, 2, RD, "stc; sbbw (" DI "), %ax")                                        \
    X(imul4, 4, RD | UNDEF(SF | ZF | AF | PF), "imull (" DI "), %eax")                    \
    X(mul4, 4, RD | UNDEF(SF | ZF | AF | PF), "mull (" DI ")")                            \
    X(cmov4, 4, RD, "cmovnel (" DI "), %eax")                                             \
    X(bt4, 4, RD | UNDEF(OF | SF | AF | PF), "btl $7, (" DI ")")                          \
    X(bsf4, 4, RD | UNDEF(CF | OF | SF | AF | PF), "bsfl (" DI "), %eax")                 \
    X(indexed, 4, RD,                                                                     \
      "lea -64(" DI "), " DI "; mov $16, %ecx; movl (" DI ",%" CX ",4), %eax")            \
    X(lods4, 4, RD, "xchg " DI ", " SI "; lodsl; xchg " DI ", " SI)                       \
    X(scas4, 4, RD, "scasl")                                                              \
    X(cmps2, 2, RD, "cmpsw")                                                              \
    X(movd, 4, RD, "movd (" DI "), %xmm1")                                                \
    X(movq_load, 8, RD, "movq (" DI "), %xmm1")                                           \
    X(movsd_load, 8, RD, "movsd (" DI "), %xmm1")                                         \
    X(movhps_load, 8, RD, "movhps (" DI "), %xmm1")                                       \
    X(movups_load, 16, RD, "movups (" DI "), %xmm1")                                      \
    X(movdqu_load, 16, RD, "movdqu (" DI "), %xmm1")                                      \
    X(lddqu, 16, RD, "lddqu (" DI "), %xmm1")                                             \
    X(addss, 4, RD, "addss (" DI "), %xmm1")                                              \
    X(cvtsi2sd, 4, RD, "cvtsi2sdl (" DI "), %xmm1")                                       \
    X(movq_mmx, 8, RD, "movq (" DI "), %mm1")                                             \
    X(vmovdqu_load, 32, RD | AVX, "vmovdqu (" DI "), %ymm1")                              \
    X(vpxor, 32, RD | AVX, "vpxor (" DI "), %ymm1, %ymm1")                                \
    X(vaddpd, 16, RD | AVX, "vpaddd (" DI "), %xmm1, %xmm1")                              \
    X(flds, 4, RD, "flds (" DI ")")                                                       \
    X(fldl, 8, RD, "fldl (" DI ")")                                                       \
    X(fldt, 10, RD, "fldt (" DI ")")                                                      \
    X(fildll, 8, RD, "fildll (" DI ")")                                                   \
    X(faddl, 8, RD, "faddl (" DI ")")                                                     \
    X(fldcw, 2, RD,                                                                       \
      "fnstcw -8(" SP "); movw -8(" SP "), %ax; fldcw (" DI "); movw %ax, -8(" SP         \
      "); fldcw -8(" SP ")")                                                              \
    X(store2, 2, WR, "movw %ax, (" DI ")")                                                \
    X(store4, 4, WR, "movl %eax, (" DI ")")                                               \
    X(store_imm4, 4, WR, "movl $0x12345678, (" DI ")")                                    \
    X(stos4, 4, WR, "stosl")                                                              \
    X(movs4, 4, WR, "movsl")                                                              \
    X(movnti4, 4, WR, "movnti %eax, (" DI ")")                                            \
    X(movss_store, 4, WR, "movss %xmm1, (" DI ")")                                        \
    X(movq_store, 8, WR, "movq %xmm1, (" DI ")")                                          \
    X(movhps_store, 8, WR, "movhps %xmm1, (" DI ")")                                      \
    X(movups_store, 16, WR, "movups %xmm1, (" DI ")")                                     \
    X(movdqu_store, 16, WR, "movdqu %xmm1, (" DI ")")                                     \
    X(movq_mmx_store, 8, WR, "movq %mm1, (" DI ")")                                       \
    X(vmovups_store, 32, WR | AVX, "vmovups %ymm1, (" DI ")")                             \
    X(fsts, 4, WR, "fsts (" DI ")")                                                       \
    X(fstpl, 8, WR, "fstpl (" DI ")")                                                     \
    X(fstpt, 10, WR | PIECES, "fstpt (" DI ")")                                           \
    X(fistpll, 8, WR, "fistpll (" DI ")")                                                 \
    X(fnstcw, 2, WR, "fnstcw (" DI ")")                                                   \
    X(fnstenv, 28, WR | PIECES, "fnstenv (" DI ")")                                       \
    X(add4, 4, RD | WR, "addl %eax, (" DI ")")                                            \
    X(adc2, 2, RD | WR, "adcw %ax, (" DI ")")                                             \
    X(sub_imm4, 4, RD | WR, "subl $77, (" DI ")")                                         \
    X(inc4, 4, RD | WR, "incl (" DI ")")                                                  \
    X(neg2, 2, RD | WR, "negw (" DI ")")                                                  \
    X(not4, 4, RD | WR, "notl (" DI ")")                                                  \
    X(shl4, 4, RD | WR | UNDEF(OF | AF), "shll $3, (" DI ")")                             \
    X(rcr_cl4, 4, RD | WR | UNDEF(OF), "rcrl %cl, (" DI ")")                              \
    X(shld4, 4, RD | WR | UNDEF(OF | AF), "shldl $5, %eax, (" DI ")")                     \
    X(bts4, 4, RD | WR | UNDEF(OF | SF | AF | PF), "btsl $30, (" DI ")")                  \
    X(xchg4, 4, RD | WR, "xchgl %eax, (" DI ")")                                          \
    X(xadd4, 4, RD | WR, "xaddl %eax, (" DI ")")                                          \
    X(cmpxchg4, 4, RD | WR, "cmpxchgl %ecx, (" DI ")")                                    \
    X(cmpxchg8b, 8, RD | WR, "cmpxchg8b (" DI ")")                                        \
    X(lock_add4, 4, RD | WR, "lock addl %eax, (" DI ")")                                  \
    X(lock_inc2, 2, RD | WR, "lock incw (" DI ")")                                        \
    X(lock_bts4, 4, RD | WR | UNDEF(OF | SF | AF | PF), "lock btsl $9, (" DI ")")         \
    X(lock_xadd4, 4, RD | WR, "lock xaddl %eax, (" DI ")")                                \
    X(lock_cmpxchg4, 4, RD | WR, "lock cmpxchgl %ecx, (" DI ")")                          \
    X(lock_cmpxchg8b, 8, RD | WR, "lock cmpxchg8b (" DI ")")                              \
    X(push_reg, W, WR | STACK | BELOW, "push %" AX)                                       \
    X(push_imm, W, WR | STACK | BELOW, "push $-3")                                        \
    X(push16, 2, WR | STACK | BELOW, "pushw %ax")                                         \
    X(pushf, W, WR | STACK | BELOW, "pushf")                                              \
    X(call, W, WR | STACK | BELOW, "call 1f; 1:")                                         \
    X(call_reg, W, WR | STACK | BELOW, "mov $1f, %eax; call *%" AX "; 1:")                \
    X(pop_reg, W, RD | STACK, "pop %" AX)                                                 \
    X(pop16, 2, RD | STACK, "popw %ax")                                                   \
    X(ret, W, RD | STACK | POINTER, "ret")                                                \
    X(ret_imm, W, RD | STACK | POINTER, "ret $16")                                        \
    X(jmp_mem, W, RD | POINTER, "jmp *(" DI ")")                                          \
    ONLY64(X(mov_load8, 8, RD, "movq (%rdi), %rax") X(store8, 8, WR, "movq %rax, (%rdi)") \
               X(add8, 8, RD | WR, "addq %rax, (%rdi)") X(movsxd, 4, RD,                  \
                                                          "movslq (%rdi), %rax")          \
                   X(high_regs, 8, RD,                                                    \
                     "mov %rdi, %r11; mov %rdi, %r9; movq (%r9), %r10; mov %r10, %rax")   \
                       X(lock_xadd8, 8, RD | WR, "lock xaddq %rax, (%rdi)")               \
                           X(lock_cmpxchg8, 8, RD | WR, "lock cmpxchgq %rcx, (%rdi)")     \
                               X(stos8, 8, WR, "stosq"))                                  \
    ONLY32(X(pusha, 32, WR | STACK | BELOW | PIECES | OWN, "pusha")                       \
               X(popa, 32, RD | STACK | PIECES, "popa"))

#ifdef __x86_64__
#define AX "rax"
#define CX "rcx"
#else
#define AX "eax"
#define CX "ecx"
#endif

enum {
#define NUMBER(name, bytes, what, code) N_##name,
    INSNS(NUMBER)
#undef NUMBER
        NR_INSNS
};
#define IN_TEXT(name, bytes, what, code) "k_" #name ": " code "; int $0x80\n"
#define IN_UTEXT(name, bytes, what, code) "u_" #name ": " code "; int $0x80\n"
__asm__(".text\n" INSNS(IN_TEXT) ".section .utext, \"ax\", @progbits\n" INSNS(
    IN_UTEXT) "landing: int $0x80\n"
              /* the same with SP at the operand */
              "u_stack: xchg " DI ", " SP "; jmp *%" AX "\n.text\n");
#define DECLARE(name, bytes, what, code) extern const uint8_t k_##name[], u_##name[];
INSNS(DECLARE)
extern const uint8_t landing[], u_stack[];

typedef struct What {
    const char *name;
    unsigned bytes, what;
    const uint8_t *code[2];
} What;
static const What insns[NR_INSNS] = {
#define ROW(name, bytes, what, code) { #name, bytes, what, { k_##name, u_##name } },
    INSNS(ROW)
};

static uint8_t *frame[3]; /* as the kernel sees them */
static Word root;
static uint32_t wrong, runs;
static bool has_avx;
static uint8_t source[256]; /* of string instructions, and what registers are loaded from */

typedef struct Outcome {
    Word vec, err, cr2, flags;
    Regs r;
    uint8_t vectors[32], x87[108];
} Outcome;

/* ---- the state around ---- */

static uint8_t *byte_at(Word lin)
{
    return frame[(lin - VA) / PAGE == 3 ? 2 : (lin - VA) / PAGE] + lin % PAGE;
}

static void load_vectors(void)
{
    if (has_avx) {
        __asm__ volatile("vmovdqu %0, %%ymm1" ::"m"(source[64]));
    } else {
        __asm__ volatile("movdqu %0, %%xmm1" ::"m"(source[64]));
    }
    /* x87 first: with MM1 the other registers' tags are valid, too */
    __asm__ volatile("fninit; fldpi; fldl2e; fld1" ::: "memory");
}

static void store_vectors(Outcome *o)
{
    memset(o->vectors, 0, 32);
    if (has_avx) {
        __asm__ volatile("vmovdqu %%ymm1, %0" : "=m"(o->vectors));
    } else {
        __asm__ volatile("movdqu %%xmm1, %0" : "=m"(*(uint8_t(*)[16])o->vectors));
    }
    __asm__ volatile("fnsave %0" : "=m"(o->x87));
    memset(o->x87 + 12, 0, 16); /* last instruction and operand */
}

/* Runs it at lin; r: registers before, but for DI. */
static void run(const What *w, bool user, Word lin, const Regs *r, Outcome *o)
{
    Regs in = *r;
    in.di = lin + (w->what & BELOW ? w->bytes : 0);
    Word code = (Word)w->code[user];
    load_vectors();
    if (w->what & STACK) {
        in.ax = code; /* u_stack jumps there */
        code = (Word)u_stack;
    }
    if (w->name[0] == 'm' && w->name[4] == '_' && w->name[5] == 'm') { /* movq_mmx... */
        __asm__ volatile("movq %0, %%mm1" ::"m"(source[64]));
    }
    probe(&in, code, user);
    store_vectors(o);
    Cpu *c = cpu_self();
    o->vec = c->vec;
    o->err = c->err;
    o->cr2 = c->cr2;
    o->flags = c->flags & 0xcd5;
    o->r = c->out;
    if (w->what & STACK) {
        o->r.di = 0; /* the old SP */
    } else {
        o->r.di -= in.di;
    }
}

static void fill(Word lin, unsigned seed)
{
    for (unsigned i = 0; i < BEFORE + AFTER; i++) {
        *byte_at(lin - BEFORE + i) = (uint8_t)((i * 37 + seed * 101) ^ i >> 3);
    }
}

static void put_pointer(Word lin)
{
    Word to = (Word)landing;
    for (int i = 0; i < W; i++) {
        *byte_at(lin + i) = (uint8_t)(to >> 8 * i);
    }
}

static void complain(const What *w, const char *what, bool user, Word lin, uint64_t want,
                     uint64_t got)
{
    wrong++;
    if (shown_lines < 20) {
        put_text("# ");
        put_text(w->name);
        put_text("\n");
    }
    NOTE(what, { "user", user }, { "lin", lin }, { "want", want }, { "got", got });
}

static void map(unsigned page, uint64_t bits)
{
    pte_put(root, VA + page * PAGE, (Word)frame[page] | bits);
    invlpg(VA + page * PAGE);
}

/* ---- the checks ---- */

static void compare(const What *w, bool user, Word lin, const Outcome *want,
                    const Outcome *got)
{
    if (want->vec != got->vec) {
        complain(w, "vector", user, lin, want->vec, got->vec << 16 | got->err);
        return;
    }
    const Word *a = &want->r.ax, *b = &got->r.ax;
    for (int i = 0; i < 6; i++) {
        if (a[i] != b[i]) {
            complain(w, "register (AX BX CX DX SI DI)", user, lin, a[i], b[i]);
        }
    }
    Word undef = want->vec == VEC_PF ? 0 : w->what >> 16;
    if ((want->flags ^ got->flags) & ~undef) {
        complain(w, "flags", user, lin, want->flags, got->flags);
    }
    for (int i = 0; i < 32; i++) {
        if (want->vectors[i] != got->vectors[i]) {
            complain(w, "byte of YMM1", user, lin, want->vectors[i], got->vectors[i]);
            break;
        }
    }
    for (int i = 0; i < 108; i++) {
        if (want->x87[i] != got->x87[i]) {
            complain(w, "byte of the x87's state", user, lin, want->x87[i], got->x87[i]);
            break;
        }
    }
}

static void compare_memory(const What *w, bool user, Word lin, const uint8_t *want)
{
    for (unsigned i = 0; i < BEFORE + AFTER; i++) {
        uint8_t got = *byte_at(lin - BEFORE + i);
        if (got != want[i]) {
            complain(w, "byte in memory", user, lin - BEFORE + i, want[i], got);
            return;
        }
    }
}

static void keep_memory(Word lin, uint8_t *to)
{
    for (unsigned i = 0; i < BEFORE + AFTER; i++) {
        to[i] = *byte_at(lin - BEFORE + i);
    }
}

/* What engines remember of one page must not help with the other: uses the instruction
 * there. */
static void warm(const What *w, bool user, unsigned page, const Regs *r)
{
    Word at = VA + page * PAGE + 0x100;
    Outcome none;
    if (w->what & STACK) {
        return;
    }
    fill(at, 3);
    if (w->what & POINTER) {
        put_pointer(at);
    }
    run(w, user, at, r, &none);
}

/* One with the operand's first `first` bytes in the first page. */
static void across(const What *w, unsigned n, bool user, unsigned first)
{
    static uint8_t before[BEFORE + AFTER], after[BEFORE + AFTER];
    static Outcome want, got;
    Word lin = VA + PAGE - first, inside = VA + 3 * PAGE + 0x800;
    const uint64_t all = PTE_P | PTE_W | PTE_U;
    Regs r = {
        .ax = 0x89abcdef, .bx = 0x13579bdf, .cx = 3, .dx = 0x2468ace0, .si = (Word)source
    };
    /* so that half of the CMPXCHGs succeed */
    for (int equal = 0; equal < 2; equal++) {
        fill(inside, n);
        fill(lin, n);
        if (w->what & POINTER) {
            put_pointer(inside);
            put_pointer(lin);
        }
        if (equal) {
            r.ax = r.dx = 0;
            for (int i = 0; i < 4; i++) {
                r.ax |= (Word)*byte_at(lin + i) << 8 * i;
                r.dx |= (Word)*byte_at(lin + 4 + i) << 8 * i;
            }
        }
        keep_memory(lin, before);
        run(w, user, inside, &r, &want);
        keep_memory(inside, after);
        for (unsigned page = 0; page < 2; page++) {
            fill(lin, n);
            if (w->what & POINTER) {
                put_pointer(lin);
            }
            warm(w, user, page, &r);
            run(w, user, lin, &r, &got);
            compare(w, user, lin, &want, &got);
            if (!(w->what & OWN)) {
                compare_memory(w, user, lin, after);
            }
            runs++;
        }
        /* second page gone, first page gone, second page read-only */
        for (int how = 0; how < 3; how++) {
            if (how == 2 && !(w->what & WR)) {
                continue;
            }
            fill(lin, n);
            if (w->what & POINTER) {
                put_pointer(lin);
            }
            warm(w, user, how == 1, &r);
            map(how != 1, how == 2 ? PTE_P | PTE_U : 0);
            run(w, user, lin, &r, &got);
            map(how != 1, all);
            Word cr2 = how == 1 ? lin : VA + PAGE;
            /* an error code has W for read-modify-writes, too */
            Word err = (how == 2) | (w->what & WR ? 2 : 0) | (user ? 4 : 0);
            runs++;
            if (got.vec != VEC_PF) {
                complain(w, "fault's vector", user, lin, VEC_PF, got.vec);
                continue;
            }
            if (w->what & PIECES) {
                continue;
            }
            if (got.err != err) {
                complain(w, "error code", user, lin, err, got.err);
            }
            if (got.cr2 != cr2) {
                complain(w, "CR2", user, lin, cr2, got.cr2);
            }
            compare_memory(w, user, lin, before);
            /* The registers of a run that faults at once are those before. */
            Outcome none;
            map(0, 0);
            map(1, 0);
            run(w, user, lin, &r, &none);
            map(0, all);
            map(1, all);
            got.vec = none.vec;
            compare(w, user, lin, &none, &got);
            if (!(w->what & STACK) && w->code[1][0] != 0xf9 && got.r.ax != r.ax &&
                n != N_fldcw) {
                complain(w, "AX after a fault", user, lin, r.ax, got.r.ax);
            }
        }
    }
}

/* REP MOVS and STOS that fault in the middle, at an element that lies across the pages. */
__asm__(".text\nk_rep_stos: rep stosl; int $0x80\nk_rep_movs: rep movsl; int $0x80\n");
extern const uint8_t k_rep_stos[], k_rep_movs[];
static void repeated(void)
{
    for (int movs = 0; movs < 2; movs++) {
        for (unsigned first = 0; first < 4; first++) {
            Word lin = VA + PAGE - 8 - first;
            fill(VA + PAGE, 7);
            map(1, 0);
            Regs r = { .ax = 0x01020304, .cx = 6, .di = lin, .si = (Word)source };
            probe(&r, (Word)(movs ? k_rep_movs : k_rep_stos), 0);
            map(1, PTE_P | PTE_W | PTE_U);
            Cpu *c = cpu_self();
            runs++;
            if (c->vec != VEC_PF || c->out.cx != 4 || c->out.di != lin + 8 ||
                c->cr2 != VA + PAGE || c->out.si != (Word)source + (movs ? 8 : 0)) {
                wrong++;
                NOTE("repeated string", { "movs", (unsigned)movs }, { "first", first },
                     { "vector", c->vec }, { "cx", c->out.cx }, { "di", c->out.di },
                     { "si", c->out.si }, { "cr2", c->cr2 });
            }
            for (unsigned i = 0; i < 8 + first; i++) {
                uint8_t want =
                    i >= 8 ? (uint8_t)((BEFORE - first + i - 8) * 37 + 7 * 101) : 0;
                want ^= i >= 8 ? (BEFORE - first + i - 8) >> 3 : 0;
                if (i < 8) {
                    want = movs ? source[i] : (uint8_t)(0x01020304 >> 8 * (i & 3));
                }
                if (*byte_at(lin + i) != want) {
                    wrong++;
                    NOTE("repeated string's bytes", { "movs", (unsigned)movs }, { "at", i },
                         { "first", first }, { "want", want },
                         { "got", *byte_at(lin + i) });
                }
            }
        }
    }
}

void guest_main(void)
{
    root = new_space();
    use_space(root);
    frame[1] = alloc(PAGE); /* the wrong way round */
    frame[0] = alloc(2 * PAGE);
    frame[2] = alloc(PAGE);
    for (unsigned i = 0; i < sizeof(source); i++) {
        source[i] = (uint8_t)(i * 59 + 13);
    }
    map(0, PTE_P | PTE_W | PTE_U);
    map(1, PTE_P | PTE_W | PTE_U);
    pte_put(root, VA + 3 * PAGE, (Word)frame[2] | PTE_P | PTE_W | PTE_U);
    /* lods, movs and cmps read at SI; the user's copy of it */
    pte_put(root, (Word)source & ~0xfffu, ((Word)source & ~0xfffu) | PTE_P | PTE_W | PTE_U);
    pte_put(root, ((Word)source & ~0xfffu) + PAGE,
            (((Word)source & ~0xfffu) + PAGE) | PTE_P | PTE_W | PTE_U);
    write_cr3(root);
    has_avx = read_cr4() >> 18 & 1;
    for (unsigned n = 0; n < NR_INSNS; n++) {
        const What *w = &insns[n];
        if ((w->what & AVX) && !has_avx) {
            continue;
        }
        for (int user = w->what & STACK ? 1 : 0; user < 2; user++) {
            for (unsigned first = 1; first < w->bytes; first++) {
                across(w, n, user, first);
            }
        }
    }
    check("operands across pages", wrong, 0);
    wrong = 0;
    repeated();
    check("repeated strings that fault across pages", wrong, 0);
    NOTE("in all", { "runs", runs });
}
