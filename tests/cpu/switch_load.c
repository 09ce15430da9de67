/* SPDX-License-Identifier: GPL-2.0-or-later
 * Work for CPUs that change their engine meanwhile (test_switch.py): sums over code and data that
 * must come out the same each time, one-shot timers of which each must fire exactly once,
 * interrupts to the next CPU that must all arrive, HLT, and a counter that all add to. Any
 * interrupt that gets lost stops a CPU; it says so after a long time by the guest's clock.
 *
 * Ends after some time, or, made with -DUNTIL_NMI, with an NMI to CPU 0.
 *
 * smp: 1 2 4
 */
#include "guest.h"

enum {
    VEC_TIMER = 0x40,
    VEC_PIT = 0x20,
    VEC_NEXT = 0x41,
    TICKS = 40,
    WORDS = 512,
    ADDS = 200,
    PIT_HZ = 50,
};
/* By the guest's clock, whose rate is not known to a factor of 4 or so: minutes. */
#define LONG_TICKS (300ull * 1000 * 1000 * 1000)

typedef struct Load {
    volatile uint32_t armed, ticks;       /* one-shots started and heard of */
    volatile uint32_t sent, got;          /* to the next one; from the one before */
    uint32_t apic_id; /* CPUs are numbered as they come up */
    uint32_t rounds, wrong, halts, added;
    uint64_t want;
    uint64_t *data;
} Load;

static Load *loads;
static volatile uint32_t stop, counter, pit_ticks;

static inline uint64_t tsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

static void on_nmi(Frame *f)
{
    (void)f;
    stop = 1;
}

static void on_timer(Frame *f)
{
    (void)f;
    loads[cpu_self()->index].ticks++;
    lapic_write(APIC_EOI, 0);
}

static void on_next(Frame *f)
{
    (void)f;
    loads[cpu_self()->index].got++;
    lapic_write(APIC_EOI, 0);
}

static void on_pit(Frame *f)
{
    (void)f;
    pit_ticks++;
    outb(0x20, 0x20);
}

/* Waits for *p to reach val, halted now and then. False: it never came. */
static bool await(Load *l, volatile uint32_t *p, uint32_t val, bool halt, const char *what)
{
    uint64_t start = tsc();
    while (*p != val) {
        if (halt) {
            __asm__ volatile("cli" ::: "memory");
            if (*p != val) {
                l->halts++;
                __asm__ volatile("sti; hlt" ::: "memory");
            }
            __asm__ volatile("sti" ::: "memory");
        } else {
            cpu_pause();
        }
        if (tsc() - start > LONG_TICKS) {
            l->wrong++;
            NOTE(what, { "cpu", cpu_self()->index }, { "want", val }, { "got", *p });
            stop = 1;
            return false;
        }
    }
    return true;
}

/* A sum that depends on every step: shifts, carries, products, and the data. */
static uint64_t sum(const uint64_t *data)
{
    uint64_t a = 0x9e3779b97f4a7c15, b = 1;
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t d = data[(i * 2654435761u) % WORDS];
        __asm__ volatile("add %2, %0; adc %0, %1; rol $13, %0; imul %1, %0; xor %2, %0"
                         : "+r"(a), "+r"(b)
                         : "r"(d)
                         : "cc");
        if (a & 1) {
            b ^= a >> 7;
        }
    }
    return a ^ b;
}

static void round_of(Load *l, uint32_t index)
{
    for (unsigned i = 0; i < 3; i++) {
        uint64_t got = sum(l->data);
        if (got != l->want) {
            l->wrong++;
            NOTE("sum", { "cpu", index }, { "round", l->rounds }, { "want", l->want },
                 { "got", got });
        }
    }
    for (unsigned i = 0; i < ADDS; i++) {
        atomic_add(&counter, 1);
    }
    l->added += ADDS;
    l->armed++;
    lapic_write(APIC_TMICT, 5000 + below(200000));
    if (nr_cpus > 1) {
        l->sent++;
        send_ipi(0x4000 | VEC_NEXT, loads[(index + 1) % nr_cpus].apic_id);
    }
    await(l, &l->ticks, l->armed, l->rounds & 3, "a timer is lost");
    if (nr_cpus > 1) {
        await(l, &loads[(index + 1) % nr_cpus].got, l->sent, false, "an IPI is lost");
    }
    l->rounds++;
}

static bool enough(const Load *l)
{
#ifdef UNTIL_NMI
    (void)l;
    return stop;
#else
    return stop || l->ticks >= TICKS;
#endif
}

static void prepare(uint32_t index)
{
    Load *l = &loads[index];
    l->apic_id = lapic_read(0x20) >> 24;
    seed_cpu(0x5eed);
    for (unsigned i = 0; i < WORDS; i++) {
        l->data[i] = (uint64_t)rnd() << 32 | rnd();
    }
    l->want = sum(l->data);
}

static void run(uint32_t index)
{
    Load *l = &loads[index];
    lapic_write(APIC_TDCR, 0xb); /* by 1 */
    lapic_write(APIC_LVTT, VEC_TIMER);
    __asm__ volatile("sti");
    while (!enough(l)) {
        round_of(l, index);
    }
    __asm__ volatile("cli");
}

/* 8259s to vectors 20h and 28h, only IRQ 0 open; 8254 counter 0 as a rate generator. */
static void start_pit(void)
{
    static const uint8_t port[] = { 0x20, 0xa0, 0x21, 0xa1, 0x21, 0xa1, 0x21, 0xa1, 0x21, 0xa1 };
    static const uint8_t val[] = { 0x11, 0x11, VEC_PIT, 0x28, 4, 2, 1, 1, 0xfe, 0xff };
    for (unsigned i = 0; i < sizeof(port); i++) {
        outb(port[i], val[i]);
    }
    enum { DIVISOR = 1193182 / PIT_HZ };
    outb(0x43, 0x34);
    outb(0x40, DIVISOR & 0xff);
    outb(0x40, DIVISOR >> 8);
}

void guest_main(void)
{
    use_space(new_space());
    /* Some hosts' KVM shows in CPUID what it was told to hide, and what other engines lack. */
    write_cr4(read_cr4() & ~(Word)(1u << 18));
    loads = alloc(MAX_CPUS * sizeof(Load));
    for (unsigned i = 0; i < MAX_CPUS; i++) {
        loads[i].data = alloc(WORDS * sizeof(uint64_t));
    }
    handlers[2] = on_nmi;
    handlers[VEC_TIMER] = on_timer;
    handlers[VEC_NEXT] = on_next;
    handlers[VEC_PIT] = on_pit;
    start_cpus();
    lapic_write(0x350, 0x700); /* LINT0: ExtINT */
    lapic_write(0x360, 0x400); /* LINT1: NMI */
    start_pit();
    on_all(prepare);
    put_text("# started\n");
    on_all(run);
    uint32_t wrong = 0, ticks = 0, armed = 0, sent = 0, got = 0, added = 0, halts = 0, rounds = 0;
    for (uint32_t i = 0; i < nr_cpus; i++) {
        const Load *l = &loads[i];
        wrong += l->wrong;
        ticks += l->ticks;
        armed += l->armed;
        sent += l->sent;
        got += l->got;
        added += l->added;
        halts += l->halts;
        rounds += l->rounds;
    }
    check("sums, and nothing that never came", wrong, 0);
    check("each timer once", ticks, armed);
    check("each IPI once", got, sent);
    check("additions of all CPUs", counter, added);
    check("the 8254 was heard", pit_ticks > 0, 1);
    NOTE("in all", { "rounds", rounds }, { "timers", ticks }, { "halts", halts },
         { "8254", pit_ticks });
}
