/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random edits of page tables, CR3, CR0.WP, SMEP and SMAP, each followed by what the SDM
 * (3A 4.10) asks for and no more, between accesses of all kinds at both privilege levels. A
 * model says what every access does: its value, or the fault with error code and CR2, and
 * the accessed and dirty bits. Every CPU has tables and pages of its own, at the same
 * linear addresses.
 *
 * Not here: changes to tables by another CPU.
 *
 * It reports a read-modify-write that faults as a read, and walks a crossing access in pieces:
 * qemu: 4-level paging
 * qemu: 32-bit paging
 * qemu: PAE paging
 * smp: 1 2 4
 * bits: 64 32
 * lockstep: no (minutes)
 */
#include "guest.h"

enum {
    STEPS = 30000, /* of all CPUs together */
    NR_LOCAL = 12, /* pages of each space: 6 here, 6 at the other end */
    NR_GLOBAL = 4, /* pages with G, their page table in all spaces */
    NR_PAGES = NR_LOCAL + NR_GLOBAL,
    NR_FRAMES = 10,
    NR_SPACES = 3,
    STUB_AT = 0xf00,  /* in each frame: MOV EAX, imm32; INT 80h */
    CROSS_AT = 0xffd, /* the same from here over into the next page */
};
static const Word LOW = 0x40000000, GLOBAL = 0x40800000, BIG = 0x41000000;
static const Word HIGH = BITS == 64 ? (Word)0xffffa00000000000ull : (Word)0xc0000000;
static const uint32_t BIG_FRAME[2] = { 16 << 20, 24 << 20 };

typedef struct Page {
    uint8_t frame;
    bool p, w, u, nx;
    uint8_t dirty; /* 0, 1, 2: cannot be known */
    bool spurious; /* gained rights without a flush: one fault too many is right */
    bool stale;    /* changed while its space's entries may be cached under its PCID */
} Page;

typedef struct Space {
    Word root;
    Page page[NR_PAGES];
    bool pde_w, pde_u, pde_nx; /* of the pages at LOW */
    bool pde_stale;
    int big; /* 0, 1: one page at BIG_FRAME[]; 2: 4 KiB pages of BIG_FRAME[0], backwards */
} Space;

typedef struct Storm {
    Space space[NR_SPACES];
    unsigned now;
    bool wp, smep, smap, ac;
    uint8_t *frame[NR_FRAMES], *shadow[NR_FRAMES];
    Word big_table;
    uint32_t step, wrong, faults, accesses;
} Storm;

/* The spaces' models of a global page are kept alike. */
static Storm *storms;
static bool has_smep, has_smap, has_pcid, has_invpcid;

static bool has_nx(void)
{
    return levels > 2;
}

static Word page_lin(unsigned p)
{
    return p >= NR_LOCAL ? GLOBAL + (p - NR_LOCAL) * PAGE
           : p >= 6      ? HIGH + (p - 6) * PAGE
                         : LOW + p * PAGE;
}

/* ---- code that is probed, once for each privilege level ---- */

#ifdef __x86_64__
#define DI "%rdi"
#define SI "%rsi"
#else
#define DI "%edi"
#define SI "%esi"
#endif
/* K(number, name, instructions): the operand at DI, the value in AX or XMM0 */
#define STUBS(K)                                                                           \
    K(LOAD1, "movzbl (" DI "), %eax")                                                      \
    K(LOAD2, "movzwl (" DI "), %eax")                                                      \
    K(LOAD4, "movl (" DI "), %eax")                                                        \
    K(LOAD16,                                                                              \
      "movups (" DI "), %xmm1; movd %xmm1, %eax; psrldq $12, %xmm1; movd %xmm1, %edx")     \
    K(STORE1, "movb %al, (" DI ")")                                                        \
    K(STORE2, "movw %ax, (" DI ")")                                                        \
    K(STORE4, "movl %eax, (" DI ")")                                                       \
    K(STORE16, "movd %eax, %xmm1; pshufd $0, %xmm1, %xmm1; movups %xmm1, (" DI ")")        \
    K(ADD4, "addl %eax, (" DI ")")                                                         \
    K(XADD4, "lock xaddl %eax, (" DI ")")                                                  \
    K(STOS, "cld; stosl")                                                                  \
    K(PUSH4, "lea 4(" DI "), " DI "; xchg " DI ", %" SP "; pushw %ax; pushw %ax; xchg " DI \
             ", %" SP)                                                                     \
    K(CMP4, "cmpl %eax, (" DI "); mov $0, %eax; setz %al")                                 \
    K(EXEC, "jmp *" DI)
#ifdef __x86_64__
#define SP "rsp"
#else
#define SP "esp"
#endif

enum {
#define NUMBER(name, code) name,
    STUBS(NUMBER)
#undef NUMBER
        NR_KINDS
};
#define IN_TEXT(name, code) "k_" #name ": " code "; int $0x80\n"
#define IN_UTEXT(name, code) "u_" #name ": " code "; int $0x80\n"
__asm__(".text\n" STUBS(IN_TEXT) ".section .utext, \"ax\", @progbits\n" STUBS(
    IN_UTEXT) ".text\n");
#define DECLARE(name, code) extern const uint8_t k_##name[], u_##name[];
STUBS(DECLARE)
static const uint8_t *const stubs[2][NR_KINDS] = {
#define KERNEL(name, code) k_##name,
#define USER(name, code) u_##name,
    { STUBS(KERNEL) },
    { STUBS(USER) },
};

static unsigned kind_size(unsigned kind)
{
    switch (kind) {
    case LOAD1:
    case STORE1: return 1;
    case LOAD2:
    case STORE2: return 2;
    case LOAD16:
    case STORE16: return 16;
    default: return 4;
    }
}
static bool kind_writes(unsigned kind)
{
    return kind >= STORE1 && kind <= PUSH4;
}

/* ---- the model ---- */

static Space *space_now(Storm *s)
{
    return &s->space[s->now];
}

/* The error code of an access to page p, or -1. */
static int fault_of(const Storm *s, const Space *sp, unsigned p, bool write, bool exec,
                    bool user)
{
    const Page *g = &sp->page[p];
    bool low = p < 6;
    bool w = g->w && (!low || sp->pde_w), u = g->u && (!low || sp->pde_u);
    bool nx = has_nx() && (g->nx || (low && sp->pde_nx));
    int err = (write ? 2 : 0) | (user ? 4 : 0) | (exec && (has_nx() || s->smep) ? 16 : 0);
    if (!g->p) {
        return err;
    }
    err |= 1;
    if (user ? !u : u && !exec && s->smap && !s->ac) {
        return err;
    }
    if (exec) {
        return nx || (!user && u && s->smep) ? err : -1;
    }
    return write && !w && (user || s->wp) ? err : -1;
}

static uint64_t page_entry(const Storm *s, const Page *g, bool global)
{
    return (Word)s->frame[g->frame] | (g->p ? PTE_P : 0) | (g->w ? PTE_W : 0) |
           (g->u ? PTE_U : 0) | (g->dirty ? PTE_D | PTE_A : 0) | (global ? PTE_G : 0) |
           (g->nx && has_nx() ? PTE_NX : 0);
}

static void complain(Storm *s, const char *what, uint64_t lin, uint64_t want, uint64_t got,
                     unsigned kind, unsigned user)
{
    s->wrong++;
    NOTE(what, { "cpu", cpu_self()->index }, { "step", s->step }, { "lin", lin },
         { "kind", kind }, { "user", user }, { "want", want }, { "got", got });
}

static void check_entry(Storm *s, const Space *sp, unsigned p, bool accessed)
{
    const Page *g = &sp->page[p];
    uint64_t e = pte_get(sp->root, page_lin(p));
    if (accessed && !(e & PTE_A)) {
        complain(s, "accessed bit", page_lin(p), 1, 0, 0, 0);
    }
    if (g->p && g->dirty != 2 && !!(e & PTE_D) != g->dirty) {
        complain(s, "dirty bit", page_lin(p), g->dirty, !!(e & PTE_D), 0, 0);
    }
}

/* ---- edits ---- */

static void put_page(Storm *s, Space *sp, unsigned p, bool clear)
{
    bool global = p >= NR_LOCAL;
    for (unsigned i = 0; i < NR_SPACES; i++) {
        Space *t = &s->space[i];
        if (t == sp || global) {
            t->page[p] = sp->page[p];
            uint64_t accessed = clear ? 0 : pte_get(t->root, page_lin(p)) & PTE_A;
            pte_put(t->root, page_lin(p), accessed | page_entry(s, &sp->page[p], global));
        }
    }
}

/* A change of rights, frame or presence of one page. */
static void edit_page(Storm *s)
{
    unsigned i = below(NR_SPACES), p = below(NR_PAGES);
    bool global = p >= NR_LOCAL;
    Space *sp = &s->space[global ? s->now : i];
    Page *g = &sp->page[p], old = *g;
    /* The dirty bit as it is now is where the new entry starts from. */
    if (old.dirty == 2) {
        g->dirty = !!(pte_get(sp->root, page_lin(p)) & PTE_D);
    }
    bool clear = false; /* the accessed bit */
    switch (below(6)) {
    case 0: g->p = !g->p || below(2); break;
    case 1: g->w = !g->w || below(2); break;
    case 2: g->u = !g->u; break;
    case 3: g->nx = has_nx() && !g->nx && below(2); break;
    case 4:
        g->dirty = 0;
        clear = true;
        break;
    default: g->frame = (uint8_t)below(NR_FRAMES); g->p = true;
    }
    if (!g->p) {
        g->dirty = 0;
    }
    bool more = !clear && g->p && g->frame == old.frame && g->w >= old.w && g->u == old.u &&
                g->nx <= old.nx && g->dirty >= old.dirty;
    put_page(s, sp, p, clear);
    if (!old.p && g->p) {
        /* nothing of it can be cached */
    } else if (sp != space_now(s)) {
        g->stale = true;
    } else if (more && below(2)) {
        g->spurious = true;
    } else if (!old.p && below(2)) {
        /* not present before and after */
    } else {
        invlpg(page_lin(p) + below(PAGE));
        for (unsigned k = 0; k < NR_SPACES; k++) {
            if (k == s->now || global) {
                s->space[k].page[p].spurious = false;
            }
        }
    }
}

static void flush_space(Storm *s, Space *sp);

static void edit_pde(Storm *s)
{
    Space *sp = &s->space[below(NR_SPACES)];
    switch (below(3)) {
    case 0: sp->pde_w = !sp->pde_w; break;
    case 1: sp->pde_u = !sp->pde_u; break;
    default: sp->pde_nx = has_nx() && !sp->pde_nx;
    }
    Word table = table_of(sp->root, LOW, 2);
    uint64_t e = entry_get(table, index_of(LOW, 2)) & ~(PTE_W | PTE_U | PTE_NX);
    entry_put(table, index_of(LOW, 2),
              e | (sp->pde_w ? PTE_W : 0) | (sp->pde_u ? PTE_U : 0) |
                  (sp->pde_nx ? PTE_NX : 0));
    sp->pde_stale = true;
    if (sp == space_now(s)) {
        flush_space(s, sp);
    }
}

/* Loads CR3; keep: entries of that PCID stay. */
static void load_space(Storm *s, unsigned i, bool keep)
{
    Word cr3 = s->space[i].root;
    if (has_pcid) {
        cr3 |= i + 1;
#ifdef __x86_64__
        cr3 |= keep ? 1ul << 63 : 0;
#endif
    }
    write_cr3(cr3);
    s->now = i;
    if (!keep || !has_pcid) {
        for (unsigned p = 0; p < NR_LOCAL; p++) {
            s->space[i].page[p].stale = s->space[i].page[p].spurious = false;
        }
        s->space[i].pde_stale = false;
    }
}

static void flush_space(Storm *s, Space *sp)
{
    if (below(4)) {
        load_space(s, (unsigned)(sp - s->space), false);
        return;
    }
    /* Everything, global pages too: CR4.PGE off and on. */
    Word cr4 = read_cr4();
    write_cr4(cr4 & ~0x80ul);
    write_cr4(cr4);
    for (unsigned i = 0; i < NR_SPACES; i++) {
        for (unsigned p = 0; p < NR_PAGES; p++) {
            s->space[i].page[p].stale = s->space[i].page[p].spurious = false;
        }
        s->space[i].pde_stale = false;
    }
}

#ifdef __x86_64__
static void invpcid(uint64_t type, uint64_t pcid, uint64_t lin)
{
    struct {
        uint64_t pcid, lin;
    } desc = { pcid, lin };
    __asm__ volatile("invpcid %0, %1" ::"m"(desc), "r"(type) : "memory");
}
#else
static void invpcid(uint64_t type, uint64_t pcid, uint64_t lin)
{
    (void)type, (void)pcid, (void)lin;
}
#endif

static void switch_space(Storm *s)
{
    unsigned i = below(NR_SPACES);
    Space *sp = &s->space[i];
    bool stale = sp->pde_stale;
    for (unsigned p = 0; p < NR_LOCAL; p++) {
        if (!sp->page[p].stale) {
            continue;
        }
        if (has_invpcid && !sp->pde_stale && below(2)) {
            invpcid(0, i + 1, page_lin(p));
            sp->page[p].stale = sp->page[p].spurious = false;
        }
        stale |= sp->page[p].stale;
    }
    if (has_invpcid && stale && !below(3)) {
        invpcid(1, i + 1, 0);
        for (unsigned p = 0; p < NR_LOCAL; p++) {
            sp->page[p].stale = sp->page[p].spurious = false;
        }
        sp->pde_stale = stale = false;
    }
    load_space(s, i, !stale && below(2));
}

static void flip_control(Storm *s)
{
    switch (below(4)) {
    case 0:
        s->wp = !s->wp;
        write_cr0((read_cr0() & ~0x10000ul) | (s->wp ? 0x10000 : 0));
        break;
    case 1:
        s->smep = has_smep && !s->smep;
        write_cr4((read_cr4() & ~0x100000ul) | (s->smep ? 0x100000 : 0));
        break;
    case 2:
        s->smap = has_smap && !s->smap;
        write_cr4((read_cr4() & ~0x200000ul) | (s->smap ? 0x200000 : 0));
        break;
    default: s->ac = has_smap && !s->ac;
    }
}

/* ---- accesses ---- */

static void set_ac(bool on)
{
    if (has_smap) {
        if (on) {
            __asm__ volatile("stac" ::: "memory");
        } else {
            __asm__ volatile("clac" ::: "memory");
        }
    }
}

static uint8_t *shadow_at(const Storm *s, const Space *sp, unsigned p, unsigned at)
{
    const Page *a = &sp->page[p + at / PAGE];
    return s->shadow[a->frame] + at % PAGE;
}

static uint32_t shadow_value(const Storm *s, const Space *sp, unsigned p, unsigned at,
                             unsigned n)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < n; i++) {
        v |= (uint32_t)*shadow_at(s, sp, p, at + i) << 8 * i;
    }
    return v;
}

static void shadow_put(const Storm *s, const Space *sp, unsigned p, unsigned at, unsigned n,
                       uint32_t v)
{
    for (unsigned i = 0; i < n; i++) {
        *shadow_at(s, sp, p, at + i) = (uint8_t)(v >> 8 * (i % 4));
    }
}

static void compare_around(Storm *s, const Space *sp, unsigned p, unsigned at,
                           unsigned kind)
{
    for (unsigned i = at < 24 ? 0 : at - 24; i < at + 40 && i < 2 * PAGE; i++) {
        if (i >= PAGE && (p + 1 >= NR_PAGES || at + 16 < PAGE)) {
            return;
        }
        const Page *g = &sp->page[p + i / PAGE];
        uint8_t is = s->frame[g->frame][i % PAGE], want = s->shadow[g->frame][i % PAGE];
        if (is != want) {
            complain(s, "byte in memory", page_lin(p) + i, want, is, kind, 0);
            s->shadow[g->frame][i % PAGE] = is;
        }
    }
}

/* What the access gives when it does not fault. */
static uint32_t perform(Storm *s, const Space *sp, unsigned p, unsigned at, unsigned kind,
                        uint32_t v)
{
    unsigned n = kind_size(kind);
    uint32_t old = shadow_value(s, sp, p, kind == EXEC ? at + 1 : at, n < 4 ? n : 4);
    switch (kind) {
    case STORE1:
    case STORE2:
    case STORE4:
    case STORE16:
    case STOS: shadow_put(s, sp, p, at, n, v); return v;
    case ADD4: shadow_put(s, sp, p, at, n, old + v); return v;
    case XADD4: shadow_put(s, sp, p, at, n, old + v); return old;
    case PUSH4: shadow_put(s, sp, p, at, n, (v & 0xffff) * 0x10001); return v;
    case CMP4: return v == old;
    default: return old;
    }
}

static void access_page(Storm *s)
{
    Space *sp = space_now(s);
    unsigned kind = below(NR_KINDS), p = below(NR_PAGES), n = kind_size(kind);
    bool user =
        kind == PUSH4 || below(2); /* nobody catches a fault on the kernel's stack */
    bool write = kind_writes(kind), exec = kind == EXEC;
    bool can_cross = p != 5 && p != NR_LOCAL - 1 && p != NR_PAGES - 1 && kind != PUSH4;
    bool cross = can_cross && !below(5);
    unsigned at;
    if (exec) {
        at = cross ? CROSS_AT : STUB_AT;
    } else if (!cross) {
        at = write && n == 4 && !below(8) ? STUB_AT + 1 : 16 + below(0xe00);
    } else if (n == 1) {
        cross = false;
        at = 16 + below(0xe00);
    } else if (write) {
        /* into the immediate of the code there, and not further */
        if (n == 16) {
            n = 4;
            kind = STORE4;
        }
        at = PAGE - n / 2;
    } else {
        at = PAGE - 1 - below(n - 1);
    }
    if (kind == XADD4 && !cross && (at & 63) > 60) {
        at &= ~3u; /* no split locks: hosts that guard against them take milliseconds */
    }
    uint32_t v = rnd();
    if (kind == CMP4 && below(2)) {
        v = shadow_value(s, sp, p, at, 4);
    }
    Word lin = page_lin(p) + at;
    for (int again = 0; again < 3; again++) {
        int want = fault_of(s, sp, p, write, exec, user);
        Word cr2 = kind == PUSH4 ? lin + 2 : lin; /* it starts with the upper half */
        int second = cross ? fault_of(s, sp, p + 1, write, exec, user) : -1;
        if (want < 0 && second >= 0) {
            want = second;
            cr2 = page_lin(p + 1);
        }
        Regs r = { .ax = v, .di = lin };
        set_ac(s->ac);
        probe(&r, (Word)stubs[user][kind], user);
        set_ac(false);
        Cpu *c = cpu_self();
        if (c->vec == VEC_PF && want < 0 &&
            (sp->page[p].spurious || (cross && sp->page[p + 1].spurious))) {
            sp->page[p].spurious = false;
            if (cross) {
                sp->page[p + 1].spurious = false;
            }
            continue; /* the fault itself dropped the old entry */
        }
        if (want >= 0) {
            s->faults++;
            if (c->vec != VEC_PF) {
                complain(s, "vector instead of a page fault", lin, VEC_PF, c->vec, kind,
                         user);
                if (c->vec == VEC_DONE && write) {
                    perform(s, sp, p, at, kind, v);
                }
            } else {
                bool two = cross && second >= 0; /* which of two is the CPU's choice */
                if (c->cr2 != cr2 && !(two && c->cr2 == page_lin(p + 1))) {
                    complain(s, "CR2", lin, cr2, c->cr2, kind, user);
                } else if ((int)c->err != want && !(two && (int)c->err == second)) {
                    complain(s, "error code", lin, (uint32_t)want, c->err, kind, user);
                }
            }
            if (cross && write && sp->page[p].p) {
                sp->page[p].dirty = 2;
            }
        } else {
            s->accesses++;
            uint32_t result = perform(s, sp, p, at, kind, v);
            if (c->vec != VEC_DONE) {
                complain(s, "fault of a good access", lin, VEC_DONE, c->vec << 8 | c->err,
                         kind, user);
            } else if ((uint32_t)c->out.ax != result) {
                complain(s, "value", lin, result, (uint32_t)c->out.ax, kind, user);
            } else if (kind == LOAD16 &&
                       (uint32_t)c->out.dx != shadow_value(s, sp, p, at + 12, 4)) {
                complain(s, "upper value", lin, shadow_value(s, sp, p, at + 12, 4),
                         c->out.dx, kind, user);
            }
            sp->page[p].dirty |= write;
            if (sp->page[p].dirty == 3) {
                sp->page[p].dirty = 1;
            }
            check_entry(s, sp, p, true);
            if (cross) {
                sp->page[p + 1].dirty |= write;
                if (sp->page[p + 1].dirty == 3) {
                    sp->page[p + 1].dirty = 1;
                }
                check_entry(s, sp, p + 1, true);
            }
        }
        break;
    }
    for (unsigned i = 0; i < NR_SPACES && p >= NR_LOCAL; i++) {
        s->space[i].page[p] = sp->page[p];
        if (cross) {
            s->space[i].page[p + 1] = sp->page[p + 1];
        }
    }
    if (write) {
        compare_around(s, sp, p, at, kind);
    }
}

/* ---- large pages ---- */

static Word big_bytes(void)
{
    return levels == 2 ? 4 << 20 : 2 << 20;
}

static void edit_big(Storm *s)
{
    Space *sp = space_now(s);
    int old = sp->big;
    sp->big = (int)below(3);
    Word table = table_of(sp->root, BIG, 2);
    uint64_t e = sp->big == 2 ? s->big_table | PTE_P | PTE_W | PTE_U
                              : BIG_FRAME[sp->big] | PTE_P | PTE_W | PTE_PS;
    entry_put(table, index_of(BIG, 2), e);
    if (old < 2 && below(2)) {
        invlpg(BIG + below((uint32_t)big_bytes())); /* all of the large page */
    } else {
        load_space(s, s->now, false);
    }
}

static void access_big(Storm *s)
{
    Space *sp = space_now(s);
    unsigned nr = (unsigned)(big_bytes() / PAGE);
    for (int i = 0; i < 4; i++) {
        unsigned page = below(nr);
        uint32_t want = sp->big < 2 ? BIG_FRAME[sp->big] + page * PAGE
                                    : BIG_FRAME[0] + (nr - 1 - page) * PAGE;
        uint32_t got = *(volatile uint32_t *)(BIG + page * PAGE + 8);
        if (got != want) {
            complain(s, "frame in a large page", BIG + page * PAGE, want, got, 0, 0);
        }
    }
}

/* ---- all of it ---- */

static void set_up(Storm *s)
{
    for (unsigned f = 0; f < NR_FRAMES; f++) {
        s->frame[f] = alloc(PAGE);
        s->shadow[f] = alloc(PAGE);
        for (unsigned i = 0; i < 0xe40; i += 4) {
            *(uint32_t *)(s->frame[f] + i) = rnd();
        }
        static const uint8_t stub[] = { 0xb8, 0, 0, 0, 0, 0xcd, 0x80 };
        memcpy(s->frame[f] + STUB_AT, stub, 7);
        s->frame[f][STUB_AT + 1] = (uint8_t)f;
        s->frame[f][CROSS_AT] = 0xb8;
        s->frame[f][2] = 0xcd;
        s->frame[f][3] = 0x80;
        memcpy(s->shadow[f], s->frame[f], PAGE);
    }
    s->big_table = (Word)alloc(PAGE);
    unsigned nr = (unsigned)(big_bytes() / PAGE);
    for (unsigned i = 0; i < nr; i++) {
        entry_put(s->big_table, i, (BIG_FRAME[0] + (nr - 1 - i) * PAGE) | PTE_P | PTE_W);
    }
    for (unsigned i = 0; i < NR_SPACES; i++) {
        Space *sp = &s->space[i];
        sp->root = new_space();
        sp->pde_w = sp->pde_u = true;
        if (i) {
            entry_put(
                table_of(sp->root, GLOBAL, 2), index_of(GLOBAL, 2),
                entry_get(table_of(s->space[0].root, GLOBAL, 2), index_of(GLOBAL, 2)));
        }
        for (unsigned p = 0; p < NR_PAGES; p++) {
            sp->page[p] = (Page) {
                .frame = (uint8_t)below(NR_FRAMES), .p = true, .w = true, .u = below(2)
            };
            if (p >= NR_LOCAL) {
                sp->page[p] = s->space[0].page[p];
                if (!i) {
                    sp->page[p] = (Page) { .frame = (uint8_t)(p % NR_FRAMES), .p = true };
                }
            }
            pte_put(sp->root, page_lin(p), page_entry(s, &sp->page[p], p >= NR_LOCAL));
        }
        entry_put(table_of(sp->root, BIG, 2), index_of(BIG, 2),
                  BIG_FRAME[0] | PTE_P | PTE_W | PTE_PS);
    }
}

static void run(uint32_t index)
{
    Storm *s = &storms[index];
    seed_cpu(0x5707 + levels);
    write_cr4(read_cr4() | 0x80); /* PGE */
    load_space(s, 0, false);
#ifdef __x86_64__
    if (has_pcid) {
        write_cr3(s->space[0].root);
        write_cr4(read_cr4() | 0x20000);
        load_space(s, 0, false);
    }
#endif
    s->wp = true;
    for (s->step = 0; s->step < STEPS / nr_cpus; s->step++) {
        uint32_t r = below(100);
        if (r < 72) {
            access_page(s);
        } else if (r < 87) {
            edit_page(s);
        } else if (r < 91) {
            switch_space(s);
        } else if (r < 93) {
            flip_control(s);
        } else if (r < 94) {
            edit_pde(s);
        } else if (r < 95) {
            edit_big(s);
        } else {
            access_big(s);
        }
    }
    write_cr4(read_cr4() & ~0x300000ul);
    for (unsigned f = 0; f < NR_FRAMES; f++) {
        for (unsigned i = 0; i < PAGE; i++) {
            if (s->frame[f][i] != s->shadow[f][i]) {
                complain(s, "byte at the end", (Word)s->frame[f] + i, s->shadow[f][i],
                         s->frame[f][i], 0, 0);
            }
        }
    }
}

static void to_pae(uint32_t index)
{
    write_cr0(read_cr0() & ~(1ul << 31));
    use_space(storms[index].space[0].root);
}

static void storm(const char *text)
{
    on_all(run);
    uint32_t wrong = 0, faults = 0, accesses = 0;
    for (uint32_t i = 0; i < nr_cpus; i++) {
        wrong += storms[i].wrong;
        faults += storms[i].faults;
        accesses += storms[i].accesses;
    }
    check(text, wrong, 0);
    NOTE("in all", { "accesses", accesses }, { "faults", faults });
    check("the storm has faults and accesses", faults > STEPS / 20 && accesses > STEPS / 20,
          1);
}

static void new_storms(void)
{
    storms = alloc(MAX_CPUS * sizeof(Storm));
    for (uint32_t i = 0; i < machine_cpus(); i++) {
        set_up(&storms[i]);
    }
}

void guest_main(void)
{
    uint32_t r[4];
    cpuid(0, 0, r);
    if (r[0] >= 7) {
        cpuid(7, 0, r);
        has_smep = r[1] >> 7 & 1;
        has_smap = r[1] >> 20 & 1;
        has_invpcid = BITS == 64 && r[1] >> 10 & 1;
    }
    cpuid(1, 0, r);
    has_pcid = BITS == 64 && r[2] >> 17 & 1;
    has_invpcid &= has_pcid;
    use_space(new_space());
    for (int i = 0; i < 2; i++) {
        for (uint32_t at = 0; at < 4 << 20; at += PAGE) {
            *(uint32_t *)(Word)(BIG_FRAME[i] + at + 8) = BIG_FRAME[i] + at;
        }
    }
    seed_cpu(1);
    new_storms();
    use_space(storms[0].space[0].root);
    start_cpus();
    if (BITS == 64) {
        storm("4-level paging");
        return;
    }
    storm("32-bit paging");
    levels = 3;
    write_cr4(read_cr4() & ~0x80ul);
    new_storms();
    on_all(to_pae);
    storm("PAE paging");
}
