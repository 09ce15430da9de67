/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interrupt controllers of a PC as a guest sees them, wherever they are: I/O APIC edges and
 * levels, 8259 edges and levels, the timers, messages between CPUs and from memory writes, NMIs,
 * logical destinations, x2APIC, TSC deadline. pc-testdev drives the lines. Every interrupt is
 * counted: none may be lost, and no level may come once too often.
 *
 * smp: 1 2
 * bits: 64
 * modes: on split off
 * options: -device pc-testdev
 */
#include "guest.h"

enum { LINES = 0x2000, ROUNDS = 20 };
#define IOAPIC ((Word)0xfec00000)
#define MSI ((Word)0xfee00000)
enum { VEC_A = 0x51, VEC_B = 0x62, VEC_PIT = 0x73, VEC_MSI = 0x84, VEC_PING = 0x95, VEC_TIMER = 0xa6,
       VEC_PIC = 0x30, VEC_NMI = 2 };
enum { LEVEL = 1 << 15, MASKED = 1 << 16, REMOTE_IRR = 1 << 14 };
enum { APIC_LDR = 0xd0, APIC_DFR = 0xe0, APIC_LINT0 = 0x350, MSR_BASE = 0x1b, MSR_DEADLINE = 0x6e0,
       X2_EOI = 0x80b, X2_ICR = 0x830, X2_LVTT = 0x832, X2_SELF = 0x83f, X2_ID = 0x802 };

static volatile uint32_t count[256], pings[MAX_CPUS], nmis[MAX_CPUS], leave_up, x2;

/* ---- waiting ---- */

static void sleep_until(volatile uint32_t *p, uint32_t want)
{
    while (*p < want) {
        __asm__ volatile("sti; hlt; cli" ::: "memory");
    }
}

/* Without a halt: a KVM that emulates in software can sleep with an EOI in its hands that user space
 * waits for. */
static void spin_until(volatile uint32_t *p, uint32_t want)
{
    __asm__ volatile("sti" ::: "memory");
    while (*p < want) {
        inb(0x80);
    }
    __asm__ volatile("cli" ::: "memory");
}

/* A while in which what is not due could come. */
static void linger(void)
{
    __asm__ volatile("sti" ::: "memory");
    for (unsigned i = 0; i < 30; i++) {
        inb(0x80);
        cpu_pause();
    }
    __asm__ volatile("cli" ::: "memory");
}

static void line(unsigned n, unsigned level)
{
    outb((uint16_t)(LINES + n), (uint8_t)level);
}

/* ---- I/O APIC ---- */

static void ioapic_write(unsigned reg, uint32_t val)
{
    *(volatile uint32_t *)IOAPIC = reg;
    *(volatile uint32_t *)(IOAPIC + 0x10) = val;
}
static uint32_t ioapic_read(unsigned reg)
{
    *(volatile uint32_t *)IOAPIC = reg;
    return *(volatile uint32_t *)(IOAPIC + 0x10);
}
static void set_pin(unsigned pin, uint32_t low, unsigned dest)
{
    ioapic_write(0x10 + 2 * pin, MASKED);
    ioapic_write(0x11 + 2 * pin, dest << 24);
    ioapic_write(0x10 + 2 * pin, low);
}

static void on_edge(Frame *f)
{
    count[f->vec]++;
    lapic_write(APIC_EOI, 0);
}

/* Its line stays up for a few times. */
static void on_level(Frame *f)
{
    count[f->vec]++;
    if (leave_up) {
        leave_up--;
    } else {
        line(10, 0);
    }
    lapic_write(APIC_EOI, 0);
}

static void ioapic(void)
{
    handlers[VEC_A] = on_edge;
    handlers[VEC_B] = on_level;
    set_pin(5, VEC_A, 0);
    for (unsigned i = 0; i < 3; i++) {
        line(5, 1);
        sleep_until(&count[VEC_A], i + 1);
        line(5, 0);
    }
    linger();
    check("I/O APIC: an interrupt an edge", count[VEC_A], 3);
    set_pin(5, MASKED | VEC_A, 0);
    line(5, 1);
    set_pin(5, VEC_A, 0);
    linger();
    check("an edge while masked is lost", count[VEC_A], 3);
    line(5, 0);
    set_pin(5, MASKED, 0);

    set_pin(10, LEVEL | VEC_B, 0);
    leave_up = 3;
    line(10, 1);
    spin_until(&count[VEC_B], 4);
    linger();
    /* A KVM that emulates in software may send one more in the end. */
    check("a level asks until its line falls", count[VEC_B] == 4 || count[VEC_B] == 5, 1);
    count[VEC_B] = 0;
    check("remote IRR is clear", ioapic_read(0x10 + 20) & REMOTE_IRR, 0);
    line(10, 1);
    check("remote IRR is set", ioapic_read(0x10 + 20) & REMOTE_IRR, REMOTE_IRR);
    spin_until(&count[VEC_B], 1);
    set_pin(10, MASKED | LEVEL | VEC_B, 0);
    linger();
    uint32_t served = count[VEC_B];
    line(10, 1);
    linger();
    check("masked: nothing", count[VEC_B], served);
    ioapic_write(0x10 + 20, LEVEL | VEC_B);
    spin_until(&count[VEC_B], served + 1);
    check("unmasked with the line up", count[VEC_B] > served, 1);
    set_pin(10, MASKED, 0);
}

/* ---- 8259s ---- */

static void pic_eoi(unsigned n)
{
    if (n >= 8) {
        outb(0xa0, 0x20);
    }
    outb(0x20, 0x20);
}
static void on_pic(Frame *f)
{
    unsigned n = f->vec - VEC_PIC;
    count[f->vec]++;
    if (n == 11 && leave_up) {
        leave_up--;
    } else if (n == 11 || n == 5) {
        line(n, 0);
    }
    pic_eoi(n);
}

static void pic(void)
{
    for (unsigned n = 0; n < 16; n++) {
        handlers[VEC_PIC + n] = on_pic;
    }
    outb(0x20, 0x11), outb(0x21, VEC_PIC), outb(0x21, 4), outb(0x21, 1);
    outb(0xa0, 0x11), outb(0xa1, VEC_PIC + 8), outb(0xa1, 2), outb(0xa1, 1);
    outb(0x4d1, 0x08); /* 11 by level */
    outb(0x21, 0xdb), outb(0xa1, 0xf7); /* 5, cascade, 11 */
    lapic_write(APIC_LINT0, 0x700);
    for (unsigned i = 0; i < 3; i++) {
        line(5, 1);
        sleep_until(&count[VEC_PIC + 5], i + 1);
    }
    linger();
    check("8259: an interrupt an edge", count[VEC_PIC + 5], 3);
    leave_up = 2;
    line(11, 1);
    sleep_until(&count[VEC_PIC + 11], 3);
    linger();
    check("8259: a level of the slave's", count[VEC_PIC + 11], 3);
    outb(0x21, 0xff);
    line(5, 1);
    linger();
    check("8259: masked", count[VEC_PIC + 5], 3);
    outb(0x20, 0x0a);
    check("8259: waits in IRR", inb(0x20) & 0x20, 0x20);
    outb(0x21, 0xdb);
    sleep_until(&count[VEC_PIC + 5], 4);
    linger();
    check("8259: unmasked, it comes", count[VEC_PIC + 5], 4);
    outb(0x21, 0xff), outb(0xa1, 0xff);
    lapic_write(APIC_LINT0, MASKED);
}

/* ---- timers ---- */

static uint16_t counter_2(void)
{
    outb(0x43, 0x80); /* latch */
    uint16_t low = inb(0x42);
    return (uint16_t)(low | inb(0x42) << 8);
}

/* Do three periods of 0x1000 go by without a tick, once counter 0 has fired? On a busy host ticks come
 * late: counter 2 runs freely beside them. */
static uint32_t falls_silent(const volatile uint32_t *ticks)
{
    outb(0x61, 1);
    outb(0x43, 0xb4), outb(0x42, 0), outb(0x42, 0);
    do {
        outb(0x43, 0xe2); /* read back the status */
    } while (!(inb(0x40) & 0x80));
    for (unsigned round = 0; round < 50; round++) {
        uint32_t before = *ticks;
        uint16_t start = counter_2();
        __asm__ volatile("sti" ::: "memory");
        while ((uint16_t)(start - counter_2()) < 0x3000) {
        }
        __asm__ volatile("cli" ::: "memory");
        if (*ticks == before) {
            return 1;
        }
    }
    return 0;
}

static void timers(void)
{
    handlers[VEC_PIT] = handlers[VEC_TIMER] = on_edge;
    set_pin(2, VEC_PIT, 0); /* ISA IRQ 0 */
    outb(0x43, 0x34), outb(0x40, 0), outb(0x40, 0x10);
    sleep_until(&count[VEC_PIT], 5);
    check("8254 through the I/O APIC, periodic", count[VEC_PIT] >= 5, 1);
    outb(0x43, 0x30);
    uint32_t before = count[VEC_PIT];
    outb(0x40, 0), outb(0x40, 0x10);
    sleep_until(&count[VEC_PIT], before + 1); /* it comes, unless that was a late one */
    check("one-shot, then silence", falls_silent(&count[VEC_PIT]), 1);
    set_pin(2, MASKED, 0);
    lapic_write(APIC_TDCR, 0xb);
    lapic_write(APIC_LVTT, 0x20000 | VEC_TIMER);
    lapic_write(APIC_TMICT, 2000000);
    sleep_until(&count[VEC_TIMER], 5);
    lapic_write(APIC_LVTT, MASKED);
    linger();
    check("local APIC's timer, periodic", count[VEC_TIMER] >= 5, 1);
    /* Port 61h: counter 2's gate starts it, its output is read back. */
    outb(0x61, 0);
    outb(0x43, 0xb0), outb(0x42, 0), outb(0x42, 8);
    check("port 61h: OUT2 is low", inb(0x61) & 0x20, 0);
    outb(0x61, 1);
    while (!(inb(0x61) & 0x20)) {
    }
    check("port 61h: OUT2 rises", inb(0x61) & 0x21, 0x21);
}

/* ---- messages ---- */

static void on_ping(Frame *f)
{
    (void)f;
    atomic_add(&pings[cpu_self()->index], 1);
    lapic_write(APIC_EOI, 0);
}
static void on_nmi(Frame *f)
{
    (void)f;
    nmis[cpu_self()->index]++;
}

static void messages(void)
{
    handlers[VEC_PING] = on_ping;
    handlers[VEC_NMI] = on_nmi;
    lapic_write(APIC_DFR, 0xffffffff);
    lapic_write(APIC_LDR, 1 << 24);
    for (unsigned i = 0; i < ROUNDS; i++) {
        send_ipi(0x40000 | VEC_PING, 0); /* to self */
        sleep_until(&pings[0], i + 1);
    }
    send_ipi(0x800 | VEC_PING, 1); /* logical */
    sleep_until(&pings[0], ROUNDS + 1);
    send_ipi(0x900 | VEC_PING, 1); /* and lowest priority */
    sleep_until(&pings[0], ROUNDS + 2);
    linger();
    check("messages to itself", pings[0], ROUNDS + 2);
    send_ipi(0x400, 0);
    for (unsigned i = 0; i < 1000 && !nmis[0]; i++) {
        cpu_pause();
    }
    check("an NMI with interrupts off", nmis[0], 1);
}

/* CPU 1 answers each ping; both sleep in between. */
static volatile uint32_t done;
static void play(uint32_t index)
{
    if (index > 1) {
        return;
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (index == 0) {
            send_ipi(VEC_PING, 1);
        }
        sleep_until(&pings[index], i + 1);
        if (index == 1) {
            send_ipi(VEC_PING, 0);
        }
    }
    if (index == 1) {
        sleep_until(&pings[1], ROUNDS + 2); /* a pin's and a memory write's */
        while (!nmis[1]) {
            __asm__ volatile("hlt"); /* interrupts are off: only an NMI ends it */
        }
        done = 1;
    } else {
        set_pin(5, VEC_PING, 1);
        line(5, 1);
        line(5, 0);
        set_pin(5, MASKED, 0);
        while (pings[1] < ROUNDS + 1) {
            cpu_pause();
        }
        *(volatile uint32_t *)(MSI | 1 << 12) = VEC_PING;
        while (pings[1] < ROUNDS + 2) {
            cpu_pause();
        }
        send_ipi(0x400, 1);
        while (!done) {
            cpu_pause();
        }
    }
}

static void two_cpus(void)
{
    pings[0] = pings[1] = nmis[1] = 0;
    on_all(play);
    check("ping", pings[1], ROUNDS + 2);
    check("pong", pings[0], ROUNDS);
    check("an NMI ends a halt", nmis[1], 1);
}

/* ---- x2APIC ---- */

static void on_x2(Frame *f)
{
    count[f->vec]++;
    wrmsr(X2_EOI, 0);
}

static uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

static void x2apic(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    if (!(r[2] & 1 << 21)) {
        return;
    }
    wrmsr(MSR_BASE, rdmsr(MSR_BASE) | 0x400);
    handlers[VEC_A] = handlers[VEC_TIMER] = on_x2;
    count[VEC_A] = count[VEC_TIMER] = 0;
    check("x2APIC: id", rdmsr(X2_ID), 0);
    wrmsr(X2_SELF, VEC_A);
    sleep_until(&count[VEC_A], 1);
    wrmsr(X2_ICR, VEC_A); /* to id 0 */
    sleep_until(&count[VEC_A], 2);
    linger();
    check("x2APIC: messages", count[VEC_A], 2);
    if (r[2] & 1 << 24) {
        wrmsr(X2_LVTT, 0x40000 | VEC_TIMER);
        for (unsigned i = 0; i < 3; i++) {
            wrmsr(MSR_DEADLINE, rdtsc() + 1000000);
            sleep_until(&count[VEC_TIMER], i + 1);
        }
        linger();
        check("TSC deadlines, each once", count[VEC_TIMER], 3);
        check("none is left", rdmsr(MSR_DEADLINE), 0);
    }
}

void guest_main(void)
{
    if (BITS == 64) { /* lib.S maps no more than RAM and the local APIC */
        Word root = new_space();
        pte_put(root, IOAPIC, IOAPIC | PTE_P | PTE_W | PTE_PCD);
        pte_put(root, MSI + PAGE, (MSI + PAGE) | PTE_P | PTE_W | PTE_PCD);
        use_space(root);
    }
    outb(0x21, 0xff), outb(0xa1, 0xff);
    lapic_write(APIC_SVR, 0x1ff);
    start_cpus();
    ioapic();
    pic();
    timers();
    messages();
    if (nr_cpus > 1) {
        two_cpus();
    } else {
        x2apic();
    }
}
