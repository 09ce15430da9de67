/* SPDX-License-Identifier: GPL-2.0-or-later
 * Interrupts and halts: the LAPIC timer out of HLT, the 8254 by way of the 8259s, messages between
 * CPUs that sleep and that run, an NMI, TPR. How late they come is not looked at.
 *
 * smp: 1 2
 * modes: on split off
 */
#include "guest.h"

enum { VEC_TIMER = 0x40, VEC_IPI = 0x41, VEC_PIC = 0x50, VEC_LOW = 0x42, VEC_NMI = 2,
       TICKS = 20, ROUNDS = 40, APIC_TPR = 0x80, APIC_LINT0 = 0x350 };

static volatile uint32_t ticks, ipis[MAX_CPUS], pit_ticks, nmis, low;

static void on_timer(Frame *f)
{
    (void)f;
    ticks++;
    lapic_write(APIC_EOI, 0);
}
static void on_ipi(Frame *f)
{
    (void)f;
    atomic_add(&ipis[cpu_self()->index], 1);
    lapic_write(APIC_EOI, 0);
}
static void on_pit(Frame *f)
{
    (void)f;
    pit_ticks++;
    outb(0x20, 0x20);
}
static void on_nmi(Frame *f)
{
    (void)f;
    nmis++;
}
static void on_low(Frame *f)
{
    (void)f;
    low++;
    lapic_write(APIC_EOI, 0);
}

static void halt(void)
{
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

static void timer(void)
{
    lapic_write(APIC_TDCR, 0xb);
    lapic_write(APIC_LVTT, VEC_TIMER);
    while (ticks < TICKS) {
        lapic_write(APIC_TMICT, 20000);
        halt();
    }
    lapic_write(APIC_LVTT, 0x10000);
    check("local APIC's timer ends halts", ticks, TICKS);
}

static void pit(void)
{
    outb(0x20, 0x11), outb(0x21, VEC_PIC), outb(0x21, 4), outb(0x21, 1), outb(0x21, 0xfe);
    outb(0xa0, 0x11), outb(0xa1, VEC_PIC + 8), outb(0xa1, 2), outb(0xa1, 1), outb(0xa1, 0xff);
    lapic_write(APIC_LINT0, 0x700); /* ExtINT */
    outb(0x43, 0x34), outb(0x40, 0x00), outb(0x40, 0x20); /* every 6.9 ms */
    while (pit_ticks < 5) {
        halt();
    }
    outb(0x21, 0xff);
    lapic_write(APIC_LINT0, 0x10000);
    check("8254 by way of the 8259", pit_ticks >= 5, 1);
}

/* Waits for a change with interrupts on and no HLT: they must get in by themselves. */
static void spin(volatile uint32_t *p, uint32_t want)
{
    __asm__ volatile("sti" ::: "memory");
    while (*p != want) {
        cpu_pause();
    }
    __asm__ volatile("cli" ::: "memory");
}

static void self(void)
{
    uint32_t start = ipis[0];
    send_ipi(0x44000 | VEC_IPI, 0);
    spin(&ipis[0], start + 1);
    check("message to itself", ipis[0], start + 1);
    __asm__ volatile("cli");
    lapic_write(APIC_ICR2, 0);
    lapic_write(APIC_ICR, 0x4400); /* NMI to CPU 0 */
    for (unsigned i = 0; i < 1000 && !nmis; i++) {
        cpu_pause();
    }
    check("NMI with interrupts off", nmis, 1);
    lapic_write(APIC_TPR, 0x80);
    send_ipi(0x44000 | VEC_LOW, 0);
    __asm__ volatile("sti; nop; nop");
    for (unsigned i = 0; i < 200; i++) {
        cpu_pause();
    }
    check("TPR holds it back", low, 0);
#ifdef __x86_64__
    __asm__ volatile("mov %0, %%cr8" ::"r"((Word)0));
#else
    lapic_write(APIC_TPR, 0);
#endif
    inb(0x61); /* where KVM emulates all code, it tells of CR8 at the next exit only */
    spin(&low, 1);
    check("and lets it in", low, 1);
}

static uint32_t got_before[2];

/* Each sends when it has got the other's last message. */
static void ping_pong(uint32_t index)
{
    if (index > 1) {
        return;
    }
    volatile uint32_t *mine = &ipis[index];
    uint32_t want = got_before[index];
    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (i % 2 == index) {
            send_ipi(0x4000 | VEC_IPI, 1 - index);
        } else if (i % 4 < 2) {
            wait_until(mine, ++want); /* asleep */
        } else {
            spin(mine, ++want);
        }
    }
}

void guest_main(void)
{
    use_space(new_space());
    handlers[VEC_TIMER] = on_timer;
    handlers[VEC_IPI] = on_ipi;
    handlers[VEC_PIC] = on_pit;
    handlers[VEC_NMI] = on_nmi;
    handlers[VEC_LOW] = on_low;
    start_cpus();
    timer();
    pit();
    self();
    if (nr_cpus > 1) {
        got_before[0] = ipis[0]; /* before any of the two sends */
        got_before[1] = ipis[1];
        on_all(ping_pong);
        check("messages between CPUs", ipis[1], ROUNDS / 2);
    }
}
