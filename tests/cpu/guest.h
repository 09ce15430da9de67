/* SPDX-License-Identifier: GPL-2.0-or-later
 * What guests in C share (crt.S is their assembler part). A guest defines guest_main(),
 * which runs on CPU 0 with interrupts off: flat memory, in 64-bit code with lib.S's
 * identity map of 16 MiB, in 32-bit code without paging. It is one object, this file's code
 * included.
 */
#ifndef TESTS_CPU_GUEST_H
#define TESTS_CPU_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned long Word; /* of a register */
enum { BITS = sizeof(Word) * 8, MAX_CPUS = 8, PAGE = 4096 };

/* ---- CPUs and traps ---- */

typedef struct Regs {
    Word ax, bx, cx, dx, si, di;
} Regs;

typedef struct Cpu { /* crt.S knows the first ones */
    struct Cpu *self;
    uint32_t index;
    Word resume_ip, resume_sp, user_sp;
    Word user_flags; /* or-ed into EFLAGS of what is probed at CPL 3 */
    /* what ended the last probe */
    Word vec, err, ip, cr2, flags, cs;
    Regs out;
    uint32_t trapped; /* probes ended */
    uint64_t rng;
} Cpu;

typedef struct Frame {
#ifdef __x86_64__
    Word r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
#else
    Word di, si, bp, sp_of_pushad, bx, dx, cx, ax;
#endif
    Word vec, err, ip, cs, flags, sp,
        ss; /* 32-bit: the last two after a change of CPL only */
} Frame;

extern uint8_t cpus[], user_stacks[], user_stacks_end[], utext_start[], utext_end[];
extern volatile uint32_t nr_started;
extern uint32_t boot_cr0, boot_cr3, boot_cr4, boot_efer;
extern const uint8_t ap_start[];
void probe(const Regs *r, Word code, Word user);
void guest_main(void);

static inline Cpu *cpu_self(void)
{
    Cpu *c;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(c));
    return c;
}

enum { VEC_UD = 6, VEC_GP = 13, VEC_PF = 14, VEC_DONE = 0x80 };

/* Interrupt handlers by vector. Without one, a trap ends the running probe. */
static void (*volatile handlers[256])(Frame *f);

static inline Word read_cr2(void)
{
    Word v;
    __asm__ volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}

int trap(Frame *f);
int trap(Frame *f)
{
    if (handlers[f->vec]) {
        handlers[f->vec](f);
        return 0;
    }
    Cpu *c = cpu_self();
    c->vec = f->vec;
    c->err = f->err;
    c->ip = f->ip;
    c->cs = f->cs;
    c->flags = f->flags;
    c->cr2 = read_cr2();
    c->out = (Regs) { f->ax, f->bx, f->cx, f->dx, f->si, f->di };
    c->trapped++;
    return 1;
}

/* ---- instructions ---- */

static inline void outb(uint16_t port, uint8_t val)
{
    __asm__ volatile("outb %0, %1" ::"a"(val), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
    uint8_t val;
    __asm__ volatile("inb %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}
static inline void outw(uint16_t port, uint16_t val)
{
    __asm__ volatile("outw %0, %1" ::"a"(val), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t val)
{
    __asm__ volatile("outl %0, %1" ::"a"(val), "Nd"(port));
}
static inline uint32_t inl(uint16_t port)
{
    uint32_t val;
    __asm__ volatile("inl %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}
static inline void pci_config_write(unsigned devfn, unsigned reg, uint32_t val)
{
    outl(0xcf8, 0x80000000u | devfn << 8 | reg);
    outl(0xcfc, val);
}
static inline void cpu_pause(void)
{
    __asm__ volatile("pause" ::: "memory");
}
static inline void invlpg(Word lin)
{
    __asm__ volatile("invlpg (%0)" ::"r"(lin) : "memory");
}
#define CR_ACCESS(n)                                             \
    static inline Word read_cr##n(void)                          \
    {                                                            \
        Word v;                                                  \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v));        \
        return v;                                                \
    }                                                            \
    static inline void write_cr##n(Word v)                       \
    {                                                            \
        __asm__ volatile("mov %0, %%cr" #n ::"r"(v) : "memory"); \
    }
CR_ACCESS(0)
CR_ACCESS(3)
CR_ACCESS(4)
static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                     : "a"(leaf), "c"(sub));
}
static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t val)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)val), "d"((uint32_t)(val >> 32))
                     : "memory");
}
static inline uint32_t atomic_add(volatile uint32_t *p, uint32_t n)
{
    __asm__ volatile("lock xaddl %0, %1" : "+r"(n), "+m"(*p)::"memory");
    return n;
}

/* gcc makes calls to these. */
void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n)
{
    void *p = to;
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
    return to;
}
void *memcpy(void *to, const void *from, size_t n)
{
    void *p = to;
    __asm__ volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(n)::"memory");
    return to;
}

/* ---- random numbers (xorshift64*), one stream a CPU ---- */

static inline uint32_t rnd(void)
{
    Cpu *c = cpu_self();
    uint64_t x = c->rng;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    c->rng = x;
    return (uint32_t)((x * 0x2545f4914f6cdd1dull) >> 32);
}
/* 0..n-1 */
static inline uint32_t below(uint32_t n)
{
    return (uint32_t)((uint64_t)rnd() * n >> 32);
}

/* ---- TAP ---- */

static uint32_t nr_checks, nr_bad, shown_lines;

static inline void put_text(const char *s)
{
    while (*s) {
        outb(0xe9, (uint8_t)*s++);
    }
}
static inline void put_hex(uint64_t v)
{
    char text[17];
    int at = 16;
    text[16] = 0;
    do {
        text[--at] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v);
    put_text(text + at);
}
static inline void put_dec(uint32_t v)
{
    char text[11];
    int at = 10;
    text[10] = 0;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    put_text(text + at);
}

/* CPU 0 only. */
static inline bool check(const char *name, uint64_t got, uint64_t want)
{
    nr_checks++;
    nr_bad += got != want;
    put_text(got == want ? "ok " : "not ok ");
    put_dec(nr_checks);
    put_text(" - ");
    put_text(name);
    put_text("\n");
    if (got != want) {
        put_text("# want ");
        put_hex(want);
        put_text(", got ");
        put_hex(got);
        put_text("\n");
    }
    return got == want;
}

/* From any CPU: one line of what went wrong, the first 20 of them. pairs: name, value. */
typedef struct Note {
    const char *name;
    uint64_t val;
} Note;
static volatile uint32_t note_lock;
static inline void note(const char *what, const Note *notes, unsigned nr)
{
    while (__atomic_exchange_n(&note_lock, 1, __ATOMIC_ACQUIRE)) {
        cpu_pause();
    }
    if (shown_lines++ < 20) {
        put_text("# ");
        put_text(what);
        for (unsigned i = 0; i < nr; i++) {
            put_text(i ? ", " : ": ");
            put_text(notes[i].name);
            put_text(" ");
            put_hex(notes[i].val);
        }
        put_text("\n");
    }
    __atomic_store_n(&note_lock, 0, __ATOMIC_RELEASE);
}
#define NOTE(what, ...)                                         \
    do {                                                        \
        const Note notes_[] = { __VA_ARGS__ };                  \
        note(what, notes_, sizeof(notes_) / sizeof(notes_[0])); \
    } while (0)

__attribute__((noreturn)) void guest_finish(void);
void guest_finish(void)
{
    put_text("1..");
    put_dec(nr_checks);
    put_text("\n");
    outb(0xf4, nr_bad != 0);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

/* The features that the guest needs are not there. */
__attribute__((noreturn)) static inline void skip_all(const char *why)
{
    put_text("1..0 # SKIP ");
    put_text(why);
    put_text("\n");
    outb(0xf4, 0);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

/* ---- memory and page tables ---- */

/* RAM above 1 MiB, never given back. 32-bit: 2-level tables, or PAE. */
static uint32_t alloc_next = 0x100000;
static inline void *alloc(uint32_t size)
{
    void *p = (void *)(Word)alloc_next;
    alloc_next += (size + PAGE - 1) & ~(uint32_t)(PAGE - 1);
    memset(p, 0, size);
    return p;
}

enum {
    PTE_P = 1,
    PTE_W = 2,
    PTE_U = 4,
    PTE_PCD = 0x10,
    PTE_A = 0x20,
    PTE_D = 0x40,
    PTE_PS = 0x80,
    PTE_G = 0x100,
};
#define PTE_NX (1ull << 63)
enum { RAM_BYTES = 32 << 20, LAPIC = 0xfee00000 };

/* What kind of tables: levels 2, 3 (PAE) or 4. */
static uint32_t levels = BITS == 64 ? 4 : 2;

static inline unsigned entry_bits(void)
{
    return levels == 2 ? 10 : 9;
}
static inline uint64_t entry_get(Word table, unsigned i)
{
    return levels == 2 ? ((volatile uint32_t *)table)[i] : ((volatile uint64_t *)table)[i];
}
static inline void entry_put(Word table, unsigned i, uint64_t e)
{
    if (levels == 2) {
        ((volatile uint32_t *)table)[i] = (uint32_t)e;
    } else {
        ((volatile uint64_t *)table)[i] = e;
    }
}
/* The table of a level (1: page table) that maps lin below root; made if it is not there.
 */
static inline Word table_of(Word root, Word lin, unsigned level)
{
    Word table = root;
    for (unsigned l = levels; l > level; l--) {
        unsigned i = (lin >> (12 + (l - 1) * entry_bits())) & ((1u << entry_bits()) - 1);
        uint64_t e = entry_get(table, i);
        if (!(e & PTE_P)) {
            /* PAE: a PDPTE has no W and U */
            e = (Word)alloc(PAGE) | (l == 3 && levels == 3 ? PTE_P : PTE_P | PTE_W | PTE_U);
            entry_put(table, i, e);
        }
        table = (Word)(e & 0xfffff000);
    }
    return table;
}
static inline unsigned index_of(Word lin, unsigned level)
{
    return (lin >> (12 + (level - 1) * entry_bits())) & ((1u << entry_bits()) - 1);
}
static inline uint64_t pte_get(Word root, Word lin)
{
    return entry_get(table_of(root, lin, 1), index_of(lin, 1));
}
static inline void pte_put(Word root, Word lin, uint64_t e)
{
    entry_put(table_of(root, lin, 1), index_of(lin, 1), e);
}

/* A root with an identity map of all RAM and the LAPIC; .utext and user stacks are CPL 3's.
 */
static inline Word new_space(void)
{
    Word root = (Word)alloc(PAGE);
    Word big = levels == 2 ? 4 << 20 : 2 << 20;
    for (Word at = 0; at < RAM_BYTES; at += big) {
        if (at) {
            entry_put(table_of(root, at, 2), index_of(at, 2), at | PTE_P | PTE_W | PTE_PS);
            continue;
        }
        for (Word page = 0; page < big; page += PAGE) {
            bool user = (page >= (Word)utext_start && page < (Word)utext_end) ||
                        (page >= (Word)user_stacks && page < (Word)user_stacks_end);
            pte_put(root, page, page | PTE_P | PTE_W | (user ? PTE_U : 0));
        }
    }
    pte_put(root, LAPIC, LAPIC | PTE_P | PTE_W | PTE_PCD);
    return root;
}

/* Turns paging on with it, or just loads it. */
static inline void use_space(Word root)
{
    if (BITS == 32 && !(read_cr0() >> 31)) {
        write_cr4(read_cr4() | 0x10 | (levels == 3 ? 0x20 : 0)); /* PSE, PAE */
        if (levels == 3) {
            wrmsr(0xc0000080, rdmsr(0xc0000080) | 1 << 11); /* NXE */
        }
        write_cr3(root);
        write_cr0(read_cr0() | 1u << 31 | 1u << 16);
    } else {
        write_cr3(root);
    }
}

/* ---- local APIC and the other CPUs ---- */

static inline void lapic_write(unsigned reg, uint32_t val)
{
    *(volatile uint32_t *)(Word)(LAPIC + reg) = val;
}
static inline uint32_t lapic_read(unsigned reg)
{
    return *(volatile uint32_t *)(Word)(LAPIC + reg);
}
enum {
    APIC_EOI = 0xb0,
    APIC_SVR = 0xf0,
    APIC_ICR = 0x300,
    APIC_ICR2 = 0x310,
    APIC_LVTT = 0x320,
    APIC_TMICT = 0x380,
    APIC_TMCCT = 0x390,
    APIC_TDCR = 0x3e0
};

/* fw_cfg, key 5: how many CPUs the machine has. */
static inline uint32_t machine_cpus(void)
{
    outw(0x510, 5);
    uint32_t n = inb(0x511);
    n |= (uint32_t)inb(0x511) << 8;
    return n ? n : 1;
}

enum { VEC_WAKE = 0xf0 };
static void on_wake(Frame *f)
{
    (void)f;
    lapic_write(APIC_EOI, 0);
}
static inline void send_ipi(uint32_t command, uint32_t to)
{
    while (lapic_read(APIC_ICR) & 0x1000) {
    }
    lapic_write(APIC_ICR2, to << 24);
    lapic_write(APIC_ICR, command);
}
/* Sleeps until *p is val. Who changes it sends VEC_WAKE. */
static inline void wait_until(volatile uint32_t *p, uint32_t val)
{
    while (*p != val) {
        __asm__ volatile("cli" ::: "memory");
        if (*p != val) {
            __asm__ volatile("sti; hlt; cli" ::: "memory");
        }
    }
}

static void (*volatile all_fn)(uint32_t index);
static volatile uint32_t all_round, all_done;
static uint32_t nr_cpus = 1;

static inline void seed_cpu(uint64_t seed)
{
    Cpu *c = cpu_self();
    c->rng = (seed + c->index) * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < 4; i++) {
        rnd();
    }
}

__attribute__((noreturn)) void cpu_main(void);
void cpu_main(void)
{
    uint32_t round = 0;
    lapic_write(APIC_SVR, 0x1ff);
    for (;;) {
        atomic_add(&all_done, 1);
        send_ipi(0x4000 | VEC_WAKE, 0);
        wait_until(&all_round, ++round);
        all_fn(cpu_self()->index);
    }
}

/* Starts the others; they share CPU 0's present CR0, CR3 and CR4. */
static inline void start_cpus(void)
{
    nr_cpus = machine_cpus();
    handlers[VEC_WAKE] = on_wake;
    lapic_write(APIC_SVR, 0x1ff);
    boot_cr0 = (uint32_t)read_cr0();
    boot_cr3 = (uint32_t)read_cr3();
    boot_cr4 = (uint32_t)read_cr4();
    boot_efer = BITS == 64 || boot_cr4 & 0x20 ? (uint32_t)rdmsr(0xc0000080) & ~0x400u : 0;
    if (nr_cpus > 1) {
        lapic_write(APIC_ICR, 0xc4500); /* INIT to all but self */
        for (volatile int i = 0; i < 10000; i++) {
        }
        lapic_write(APIC_ICR, 0xc4600 | (uint32_t)(Word)ap_start >> 12);
        wait_until(&all_done, nr_cpus - 1);
    }
}

/* Runs fn on every CPU, this one included, and waits for all. */
static inline void on_all(void (*fn)(uint32_t index))
{
    all_done = 0;
    all_fn = fn;
    __atomic_add_fetch(&all_round, 1, __ATOMIC_SEQ_CST);
    send_ipi(0xc4000 | VEC_WAKE, 0); /* to all but self */
    fn(0);
    wait_until(&all_done, nr_cpus - 1);
}

#endif
