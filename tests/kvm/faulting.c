/* SPDX-License-Identifier: GPL-2.0-or-later
 * Interrupts that come just when an instruction that left the guest turns out to fault: user space
 * has refused an MSR, or has read a device for a page that is not there. The fault goes first, and
 * the interrupt must not be lost over it. A local APIC whose vector got lost is silent from then on.
 *
 * bits: 64
 * modes: off
 * options: -device pc-testdev
 */
#include "guest.h"

enum { VEC_TIMER = 0x40, TICKS = 50, LOOK_EVERY = 1000, NO_MSR = 0x12345, ECHO = 0xe0 };
#define REGS ((Word)0xff000000)
#define ABSENT ((Word)0xfd000000)

static volatile uint32_t ticks, faults;

static void on_timer(Frame *f)
{
    (void)f;
    ticks++;
    lapic_write(APIC_EOI, 0);
}

/* rbx is where to go on. */
static void on_fault(Frame *f)
{
    faults++;
    f->ip = f->bx;
}

static void msr(void)
{
    __asm__ volatile("lea 1f(%%rip), %%rbx; rdmsr; 1:" ::"c"(NO_MSR) : "rax", "rbx", "rdx");
}
static void port(void)
{
    __asm__ volatile("lea 1f(%%rip), %%rbx; insb; 1:" ::"d"(ECHO), "D"(ABSENT) : "rbx", "memory");
}
static void reg(void)
{
    __asm__ volatile("lea 1f(%%rip), %%rbx; movsb; 1:" ::"S"(REGS), "D"(ABSENT) : "rbx", "memory");
}

/* Outside its handler: then nobody handles it any more. */
static bool in_service(unsigned vector)
{
    enum { APIC_ISR = 0x100 };
    return lapic_read(APIC_ISR + vector / 32 * 0x10) >> vector % 32 & 1;
}

static void storm(const char *name, void (*fault)(void))
{
    uint32_t n = 0;
    bool lost = false;
    ticks = faults = 0;
    __asm__ volatile("sti" ::: "memory");
    while (ticks < TICKS && !lost) {
        fault();
        n++;
        lost = n % LOOK_EVERY == 0 && in_service(VEC_TIMER);
    }
    __asm__ volatile("cli" ::: "memory");
    check(name, lost, false);
    check("each faulted once", faults, n);
}

void guest_main(void)
{
    Word root = new_space();
    pte_put(root, REGS, REGS | PTE_P | PTE_W | PTE_PCD);
    pte_put(root, ABSENT, 0);
    use_space(root);
    outb(0x21, 0xff), outb(0xa1, 0xff);
    handlers[VEC_TIMER] = on_timer;
    handlers[VEC_GP] = handlers[VEC_PF] = on_fault;
    lapic_write(APIC_SVR, 0x1ff);
    lapic_write(APIC_TDCR, 0xb);
    lapic_write(APIC_LVTT, 0x20000 | VEC_TIMER);
    lapic_write(APIC_TMICT, 200000);
    storm("ticks go on while RDMSR faults", msr);
    storm("ticks go on while INS faults", port);
    storm("ticks go on while MOVS from a register faults", reg);
}
