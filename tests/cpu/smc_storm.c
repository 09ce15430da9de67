/* SPDX-License-Identifier: GPL-2.0-or-later
 * Code that changes at random (SDM 3A 9.1.3, 12.6): a graph of small pieces of code over
 * several pages, whose immediates, conditions and targets are patched before each walk and
 * by the walk itself, in the piece that runs, the next one, and others. A model walks
 * along. Then code rewritten thousands of times, by DMA, and by other CPUs as SDM 3A 9.1.3
 * asks for.
 *
 * It may run what was there before a CPUID:
 * qemu: modified while it runs
 * smp: 1 2 4
 * bits: 64 32
 * lockstep: no (minutes)
 */
#include "guest.h"

enum {
    WALKS = 16000, /* of all CPUs together */
    NR_NODES = 160,
    NR_LEAVES = 24,
    STRIDE = 61, /* so that pieces lie across cache lines and pages */
    LEAF_STRIDE = 173,
    CODE_BYTES = 4 * PAGE,
};

typedef enum NodeType {
    BRANCH,
    MODIFY,
    CALL,
    CALL_INDIRECT,
    ADD_ONLY,
    END,
    NR_TYPES
} NodeType;

/* ADD EAX, add; then by type */
typedef struct Node {
    NodeType type;
    uint32_t add, cmp; /* BRANCH: CMP EAX, cmp; Jcc to[0]; JMP to[1] */
    uint8_t cc;
    unsigned to[2];
    unsigned victim; /* MODIFY: MOV dword ptr [victim's add], val; JMP to[1] */
    uint32_t val;
    unsigned leaf; /* CALL; CALL_INDIRECT: the slot */
} Node;

typedef struct Walk {
    uint8_t *code, *leaf_code;
    Word *slots; /* targets of CALL_INDIRECT */
    Node node[NR_NODES];
    uint32_t leaf_add[NR_LEAVES];
    unsigned slot_leaf[NR_LEAVES];
    uint32_t wrong, walks;
} Walk;

static Walk *walks;

static uint8_t *at_node(const Walk *w, unsigned n)
{
    return w->code + n * STRIDE;
}
static uint8_t *at_leaf(const Walk *w, unsigned n)
{
    return w->leaf_code + n * LEAF_STRIDE;
}

/* ---- stores of all kinds ---- */

static void poke4(uint8_t *to, uint32_t v)
{
    volatile uint32_t *p = (volatile uint32_t *)to;
    uint32_t old = *p;
    unsigned how = below(9);
    if ((how == 1 || how == 2) && ((Word)to & 63) > 60) {
        how = 0; /* no split locks: hosts that guard against them take milliseconds */
    }
    switch (how) {
    case 0: *p = v; break;
    case 1: __asm__ volatile("xchgl %0, %1" : "+r"(v), "+m"(*p)::"memory"); break;
    case 2:
        __asm__ volatile("lock addl %1, %0" : "+m"(*p) : "r"(v - old) : "memory");
        break;
    case 3: __asm__ volatile("addl %1, %0" : "+m"(*p) : "r"(v - old) : "memory"); break;
    case 4:
        for (int i = 3; i >= 0; i--) {
            *(volatile uint8_t *)(to + i) = (uint8_t)(v >> 8 * i);
        }
        break;
    case 5:
        *(volatile uint16_t *)to = (uint16_t)v;
        *(volatile uint16_t *)(to + 2) = (uint16_t)(v >> 16);
        break;
    case 6: memcpy(to, &v, 4); break; /* REP MOVSB */
    case 7:
        __asm__ volatile("movd %1, %%xmm0; movss %%xmm0, %0"
                         : "=m"(*p)
                         : "r"(v)
                         : "memory");
        break;
    default: __asm__ volatile("xorl %1, %0" : "+m"(*p) : "r"(v ^ old) : "memory"); break;
    }
}

/* ---- code ---- */

static uint8_t *put4(uint8_t *p, uint32_t v)
{
    *(volatile uint32_t *)p = v;
    return p + 4;
}
static uint8_t *put_branch(uint8_t *p, const uint8_t *to)
{
    return put4(p, (uint32_t)(to - (p + 4)));
}
/* The address in a ModRM of mod 0, r/m 5, of an instruction that ends at end. */
static uint8_t *put_address(uint8_t *p, const void *to, const uint8_t *end)
{
    return put4(p, BITS == 64 ? (uint32_t)((const uint8_t *)to - end) : (uint32_t)(Word)to);
}

static void put_node(const Walk *w, unsigned n)
{
    const Node *d = &w->node[n];
    uint8_t *p = at_node(w, n);
    if (d->type == END) {
        *p = 0xc3;
        return;
    }
    *p++ = 0x05;
    p = put4(p, d->add);
    switch (d->type) {
    case BRANCH:
        *p++ = 0x3d;
        p = put4(p, d->cmp);
        *p++ = 0x0f;
        *p++ = 0x80 | d->cc;
        p = put_branch(p, at_node(w, d->to[0]));
        break;
    case MODIFY:
        *p++ = 0xc7;
        *p++ = 0x05;
        p = put_address(p, at_node(w, d->victim) + 1, p + 8);
        p = put4(p, d->val);
        break;
    case CALL:
        *p++ = 0xe8;
        p = put_branch(p, at_leaf(w, d->leaf));
        break;
    case CALL_INDIRECT:
        *p++ = 0xff;
        *p++ = 0x15;
        p = put_address(p, &w->slots[d->leaf], p + 4);
        break;
    default: break;
    }
    *p++ = 0xe9;
    put_branch(p, at_node(w, d->to[1]));
}

static void new_node(Walk *w, unsigned n)
{
    Node *d = &w->node[n];
    d->type = n + 1 >= NR_NODES ? END : below(12) ? below(END) : BRANCH;
    d->add = rnd();
    d->cmp = below(4) ? rnd() : d->add;
    d->cc = (uint8_t)below(16);
    unsigned last = n + 12 < NR_NODES ? n + 12 : NR_NODES - 1;
    if (d->type != END) {
        d->to[0] = n + 1 + below(last - n);
        d->to[1] = below(3) ? n + 1 : n + 1 + below(last - n);
        /* Mostly what will run soon. The last node has nothing to be changed. */
        d->victim = below(4) ? d->to[1] : below(NR_NODES - 1);
        if (d->victim == NR_NODES - 1) {
            d->victim = n;
        }
    }
    d->val = rnd();
    d->leaf = below(NR_LEAVES);
    put_node(w, n);
}

static void put_leaf(const Walk *w, unsigned n)
{
    uint8_t *p = at_leaf(w, n);
    *p++ = 0x05;
    p = put4(p, w->leaf_add[n]);
    *p = 0xc3;
}

/* ---- the model ---- */

static bool condition(uint8_t cc, uint32_t a, uint32_t b)
{
    uint32_t d = a - b;
    bool cf = a < b, zf = !d, sf = d >> 31, of = ((a ^ b) & (a ^ d)) >> 31;
    bool pf = !(__builtin_popcount(d & 0xff) & 1), r;
    switch (cc >> 1) {
    case 0: r = of; break;
    case 1: r = cf; break;
    case 2: r = zf; break;
    case 3: r = cf || zf; break;
    case 4: r = sf; break;
    case 5: r = pf; break;
    case 6: r = sf != of; break;
    default: r = zf || sf != of; break;
    }
    return r != (cc & 1);
}

static uint32_t walk_model(Walk *w, unsigned n, uint32_t a)
{
    for (;;) {
        Node *d = &w->node[n];
        if (d->type == END) {
            return a;
        }
        a += d->add;
        n = d->to[1];
        switch (d->type) {
        case BRANCH:
            if (condition(d->cc, a, d->cmp)) {
                n = d->to[0];
            }
            break;
        case MODIFY: w->node[d->victim].add = d->val; break;
        case CALL: a += w->leaf_add[d->leaf]; break;
        case CALL_INDIRECT: a += w->leaf_add[w->slot_leaf[d->leaf]]; break;
        default: break;
        }
    }
}

static uint32_t call_code(const uint8_t *code, uint32_t a)
{
    Word r = a;
    __asm__ volatile("call *%1" : "+a"(r) : "r"(code) : "memory", "cc");
    return (uint32_t)r;
}

static void patch(Walk *w)
{
    unsigned n = below(NR_NODES - 1), r = below(16);
    Node *d = &w->node[n];
    uint8_t *p = at_node(w, n);
    if (r == 0) {
        new_node(w, n);
    } else if (r < 6) {
        d->add = rnd();
        poke4(p + 1, d->add);
    } else if (r < 8) {
        n = below(NR_LEAVES);
        w->leaf_add[n] = rnd();
        poke4(at_leaf(w, n) + 1, w->leaf_add[n]);
    } else if (r < 10) {
        n = below(NR_LEAVES);
        w->slot_leaf[n] = below(NR_LEAVES);
        w->slots[n] = (Word)at_leaf(w, w->slot_leaf[n]);
    } else if (d->type == BRANCH && r < 12) {
        d->cc = (uint8_t)below(16);
        *(volatile uint8_t *)(p + 11) = 0x80 | d->cc;
    } else if (d->type == BRANCH && r < 14) {
        d->to[0] = n + 1 + below(NR_NODES - 1 - n < 12 ? NR_NODES - 1 - n : 12);
        poke4(p + 12, (uint32_t)(at_node(w, d->to[0]) - (p + 16)));
    } else if (d->type == BRANCH) {
        d->cmp = rnd();
        poke4(p + 6, d->cmp);
    } else if (d->type == ADD_ONLY) {
        d->to[1] = n + 1 + below(NR_NODES - 1 - n < 12 ? NR_NODES - 1 - n : 12);
        poke4(p + 6, (uint32_t)(at_node(w, d->to[1]) - (p + 10)));
    }
}

static void walk_around(uint32_t index)
{
    Walk *w = &walks[index];
    seed_cpu(0xc0de);
    for (unsigned i = 0; i < WALKS / nr_cpus; i++) {
        for (unsigned k = below(4); k; k--) {
            patch(w);
        }
        unsigned from = below(3) ? 0 : below(NR_NODES);
        uint32_t a = rnd(), got = call_code(at_node(w, from), a),
                 want = walk_model(w, from, a);
        if (got != want) {
            w->wrong++;
            NOTE("walk", { "cpu", index }, { "number", i }, { "from", from },
                 { "want", want }, { "got", got });
            for (unsigned n = 0; n < NR_NODES;
                 n++) { /* so that the next one can be right */
                put_node(w, n);
            }
        }
    }
}

static void set_up(Walk *w)
{
    w->code = alloc(CODE_BYTES);
    w->leaf_code = alloc(2 * PAGE);
    w->slots = (Word *)(w->leaf_code + PAGE + 0x800); /* data in a page of code */
    for (unsigned n = 0; n < NR_LEAVES; n++) {
        w->leaf_add[n] = rnd();
        w->slot_leaf[n] = n;
        w->slots[n] = (Word)at_leaf(w, n);
        put_leaf(w, n);
    }
    for (unsigned n = NR_NODES; n-- > 0;) {
        new_node(w, n);
    }
}

/* ---- again and again ---- */

static uint8_t *shared; /* MOV EAX, imm32; RET */
static volatile uint32_t bad;

static void rewrite(uint32_t index)
{
    uint8_t *code = walks[index].leaf_code;
    for (uint32_t i = 0; i < 3000; i++) {
        code[0] = 0xb8;
        put4(code + 1, i ^ index << 16);
        code[5] = 0xc3;
        uint32_t got = call_code(code, 0);
        if (got != (i ^ index << 16)) {
            atomic_add(&bad, 1);
            NOTE("rewritten", { "cpu", index }, { "want", i ^ index << 16 },
                 { "got", got });
        }
    }
}

/* A loop that is hot, with data that it changes itself beside it: no reason to be slow. */
static void data_beside(uint32_t index)
{
    uint8_t *code = walks[index].leaf_code + 0x800, *p = code;
    *p++ = 0xb9; /* MOV ECX, 50000 */
    p = put4(p, 50000);
    uint8_t *loop = p;
    *p++ = 0xff; /* INC dword ptr [code + 40h] */
    *p++ = 0x05;
    p = put_address(p, code + 0x40, p + 4);
    *p++ = 0x49 + (BITS == 64 ? 0xff - 0x49 : 0); /* DEC ECX */
    if (BITS == 64) {
        *p++ = 0xc9;
    }
    *p++ = 0x75;
    *p = (uint8_t)(loop - (p + 1));
    p++;
    *p = 0xc3;
    *(uint32_t *)(code + 0x40) = 0;
    Word r = 0;
    __asm__ volatile("call *%1" : "+a"(r) : "r"(code) : "ecx", "memory", "cc");
    if (*(volatile uint32_t *)(code + 0x40) != 50000) {
        atomic_add(&bad, 1);
    }
}

/* ---- by DMA ---- */

static uint32_t swap32(uint32_t v)
{
    return __builtin_bswap32(v);
}

/* fw_cfg (docs/specs/fw_cfg): reads n bytes of a key to an address by DMA. */
static void fw_cfg_dma(uint16_t key, uint32_t n, const void *to)
{
    static volatile struct {
        uint32_t control, length, hi, lo;
    } job;
    job.control = swap32((uint32_t)key << 16 | 0x08 | 0x02); /* select, read */
    job.length = swap32(n);
    job.hi = 0;
    job.lo = swap32((uint32_t)(Word)to);
    outl(0x514, 0);
    outl(0x518, swap32((uint32_t)(Word)&job));
    while (swap32(job.control) & ~1u) {
        cpu_pause();
    }
}

static void by_dma(void)
{
    uint8_t *code = walks[0].leaf_code;
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 200; i++) {
        code[0] = 0xb8;
        put4(code + 1, i);
        code[5] = 0xc3;
        for (int k = 0; k < 4; k++) {
            wrong += call_code(code, 0) != i;
        }
        fw_cfg_dma(0, 4, code + 1); /* its signature */
        wrong += call_code(code, 0) != 0x554d4551;
    }
    check("patched by DMA", wrong, 0);
}

/* ---- by other CPUs ---- */

static volatile uint32_t the_round, ready, latest;

static void cross_modify(uint32_t index)
{
    for (uint32_t round = 1; round <= 200; round++) {
        uint32_t modifier = round % nr_cpus;
        atomic_add(&ready, 1);
        send_ipi(0xc4000 | VEC_WAKE, 0);
        if (index == modifier) {
            wait_until(&ready, nr_cpus * round);
            put4(shared + 1, round);
            put4(shared + PAGE - 2, round); /* the one across the page */
            the_round = round;
            send_ipi(0xc4000 | VEC_WAKE, 0);
        } else {
            wait_until(&the_round, round);
        }
        uint32_t r[4];
        cpuid(0, 0, r); /* serializes */
        for (int i = 0; i < 3; i++) {
            uint32_t got = call_code(shared, 0), far = call_code(shared + PAGE - 3, 0);
            if (got != round || far != round) {
                atomic_add(&bad, 1);
                NOTE("cross-modified", { "cpu", index }, { "want", round }, { "got", got },
                     { "across pages", far });
            }
        }
    }
}

/* One writes an aligned immediate, the others run it: any value up to the latest is right, also an
 * older one once more (without synchronization nothing is promised, SDM 3A 9.1.3), others not. */
static void cross_run(uint32_t index)
{
    if (index == 0) {
        for (uint32_t i = 1; i <= 500; i++) {
            latest = i;
            *(volatile uint32_t *)(shared + 0x104) = i * 0x10001;
        }
        the_round = ~0u;
        return;
    }
    while (the_round != ~0u) {
        uint32_t got = call_code(shared + 0x103, 0), low = got & 0xffff;
        if (low != got >> 16 || low > latest) {
            atomic_add(&bad, 1);
            NOTE("while it is modified", { "cpu", index }, { "got", got });
        }
    }
    uint32_t r[4], got;
    cpuid(0, 0, r);
    got = call_code(shared + 0x103, 0);
    if (got != 500 * 0x10001) {
        atomic_add(&bad, 1);
        NOTE("after it was modified", { "cpu", index }, { "got", got });
    }
}

void guest_main(void)
{
    use_space(new_space());
    seed_cpu(2);
    walks = alloc(MAX_CPUS * sizeof(Walk));
    for (uint32_t i = 0; i < machine_cpus(); i++) {
        set_up(&walks[i]);
    }
    shared = alloc(2 * PAGE);
    static const uint8_t code[] = { 0xb8, 0, 0, 0, 0, 0xc3 };
    memcpy(shared, code, 6);
    memcpy(shared + PAGE - 3, code, 6);
    memcpy(shared + 0x103, code, 6);
    start_cpus();
    uint32_t wrong = 0;
    on_all(walk_around);
    for (uint32_t i = 0; i < nr_cpus; i++) {
        wrong += walks[i].wrong;
    }
    check("walks through code that changes", wrong, 0);
    on_all(rewrite);
    check("rewritten thousands of times", bad, 0);
    on_all(data_beside);
    check("data beside a hot loop", bad, 0);
    by_dma();
    bad = 0;
    on_all(cross_modify);
    check("modified by another CPU", bad, 0);
    for (unsigned i = 0; i < 8; i++) {
        the_round = latest = 0;
        put4(shared + 0x104, 0);
        on_all(cross_run);
    }
    check("modified while it runs", bad, 0);
}
