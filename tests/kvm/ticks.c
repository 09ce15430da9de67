/* SPDX-License-Identifier: GPL-2.0-or-later
 * One-shot timers, each of which must come once and only once, while test_ticks.py pauses the
 * machine or has it change engines all the time. The last local APIC round is periodic: the
 * distance between ticks is not looked at.
 *
 * for: test_ticks.py
 */
#include "guest.h"

enum { VEC_TIMER = 0x40, VEC_PIT = 0x41, ROUNDS = 1200 };
#define IOAPIC ((Word)0xfec00000)

static volatile uint32_t ticks, pit_ticks;

static void on_timer(Frame *f)
{
    (void)f;
    ticks++;
    lapic_write(APIC_EOI, 0);
}
static void on_pit(Frame *f)
{
    (void)f;
    pit_ticks++;
    lapic_write(APIC_EOI, 0);
}

static void halt(void)
{
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

static void linger(void)
{
    __asm__ volatile("sti" ::: "memory");
    for (unsigned i = 0; i < 20; i++) {
        inb(0x80);
    }
    __asm__ volatile("cli" ::: "memory");
}

void guest_main(void)
{
    Word root = new_space();
    pte_put(root, IOAPIC, IOAPIC | PTE_P | PTE_W | PTE_PCD);
    use_space(root);
    outb(0x21, 0xff), outb(0xa1, 0xff);
    handlers[VEC_TIMER] = on_timer;
    handlers[VEC_PIT] = on_pit;
    lapic_write(APIC_SVR, 0x1ff);
    lapic_write(APIC_TDCR, 0xb);
    lapic_write(APIC_LVTT, VEC_TIMER);
    seed_cpu(0x71c5);
    uint32_t more = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t before = ticks;
        lapic_write(APIC_TMICT, 100000 + below(2000000));
        while (ticks == before) {
            halt();
        }
        linger();
        more += ticks - before - 1;
    }
    check("one-shot ticks that came twice", more, 0);
    lapic_write(APIC_LVTT, 0x20000 | VEC_TIMER);
    lapic_write(APIC_TMICT, 3000000);
    for (uint32_t before = ticks; ticks - before < ROUNDS / 10;) {
        halt();
    }
    check("periodic ticks go on", 1, 1);
    lapic_write(APIC_LVTT, 0x10000);
    *(volatile uint32_t *)IOAPIC = 0x14; /* pin 2, CPU 0 */
    *(volatile uint32_t *)(IOAPIC + 0x10) = VEC_PIT;
    outb(0x43, 0x34), outb(0x40, 0), outb(0x40, 0x10);
    while (pit_ticks < ROUNDS / 10) {
        halt();
    }
    check("8254's ticks go on", 1, 1);
}
