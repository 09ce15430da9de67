/* SPDX-License-Identifier: GPL-2.0-or-later
 * A local APIC's insides, shared by apic.c (registers, priority), apic_timer.c and apic_bus.c
 * (messages between APICs). vm_lock held throughout.
 */
#ifndef HW_INTC_APIC_INTERNAL_H
#define HW_INTC_APIC_INTERNAL_H

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/intc/apic.h"

/* IA32_APIC_BASE */
enum { BASE_BSP = 1 << 8, BASE_EXTD = 1 << 10, BASE_EN = 1 << 11 };

/* Register numbers: MMIO offset / 16, MSR 800h + n (SDM 3A table 11-1, 11-6). */
enum {
    R_ID = 0x02, R_VERSION = 0x03, R_TPR = 0x08, R_APR = 0x09, R_PPR = 0x0a, R_EOI = 0x0b,
    R_RRD = 0x0c, R_LDR = 0x0d, R_DFR = 0x0e, R_SVR = 0x0f, R_ISR = 0x10, R_TMR = 0x18,
    R_IRR = 0x20, R_ESR = 0x28, R_ICR = 0x30, R_ICR2 = 0x31, R_LVT = 0x32, R_INITIAL = 0x38,
    R_CURRENT = 0x39, R_DIVIDE = 0x3e, R_SELF_IPI = 0x3f,
};

/* Local vector table, in register order from R_LVT. */
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, NR_LVT };
enum {
    LVT_VECTOR = 0xff, LVT_MODE_SHIFT = 8, LVT_MODE = 7 << 8, LVT_REMOTE_IRR = 1 << 14,
    LVT_LEVEL = 1 << 15, LVT_MASKED = 1 << 16, LVT_PERIODIC = 1 << 17, LVT_DEADLINE = 1 << 18,
    LVT_TIMER_MODE = LVT_PERIODIC | LVT_DEADLINE,
};

enum { SVR_ENABLED = 1 << 8, SVR_MASK = 0x3ff };
enum { ESR_SEND_ILLEGAL = 1 << 5, ESR_RECEIVE_ILLEGAL = 1 << 6, ESR_REGISTER = 1 << 7 };
enum {
    ICR_VECTOR = 0xff, ICR_MODE_SHIFT = 8, ICR_LOGICAL = 1 << 11, ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15, ICR_SHORTHAND_SHIFT = 18, ICR_MASK = 0xccfff,
};

typedef struct Apic {
    Device dev;
    CpuState *cpu;
    Region page; /* CPU 0: all of 0xFEExxxxx; others, and a moved one: their 4 KiB */
    Region moved;
    uint64_t moved_at; /* where moved is mapped, 0: not */
    IrqLine lint_in[2];
    IrqchipPart part;

    /* state */
    uint64_t base; /* IA32_APIC_BASE */
    uint32_t irr[8], isr[8], tmr[8];
    uint8_t tpr;
    uint8_t ldr;        /* xAPIC's; x2APIC derives it from the id */
    uint8_t dfr;        /* bits 31-28 */
    uint32_t svr, esr, esr_pending;
    uint32_t icr, icr2; /* icr2: as the mode has it: bits 31-24, or all 32 */
    uint32_t lvt[NR_LVT];
    uint32_t initial, divide;
    uint32_t count;      /* what the timer's counter held at count_ns */
    uint64_t count_ns;
    uint64_t deadline;   /* IA32_TSC_DEADLINE; 0: not armed */
    Timer timer;
    bool lint[2];        /* pins */
    bool extint;         /* an ExtINT message waits for the PIC to be asked */
} Apic;

static inline bool apic_on(const Apic *a)
{
    return a->base & BASE_EN;
}
static inline bool apic_x2(const Apic *a)
{
    return a->base & BASE_EXTD;
}
static inline bool apic_soft_on(const Apic *a)
{
    return apic_on(a) && (a->svr & SVR_ENABLED);
}
/* A stand-in has this machine's local APICs (hw/core/irqchip.h). */
static inline bool apic_is_silent(const Apic *a)
{
    return irqchip_stands_in(a->cpu->machine, IRQCHIP_LAPIC);
}
static inline Apic *apic_of(const Machine *m, unsigned cpu)
{
    return m->cpu[cpu]->apic;
}

/* apic.c */
void apic_update(Apic *a); /* INTR follows IRR, PPR and the PIC */
uint8_t apic_ppr(const Apic *a);
void apic_error(Apic *a, uint32_t esr_bit);
/* A message has found its way here. */
void apic_accept(Apic *a, unsigned mode, unsigned vector, bool level);
void apic_fire_lvt(Apic *a, unsigned which);
/* Somebody else wrote the state: outputs and the timer follow. */
void apic_wake(Apic *a);

/* apic_bus.c */
uint32_t apic_x2_ldr(const Apic *a);
void apic_send_icr(Apic *a);

/* apic_standin.c */
void apic_part_init(Apic *a);

/* apic_timer.c */
void apic_timer_init(Apic *a);
void apic_timer_rearm(Apic *a); /* after any change of LVT, counts or deadline */
/* The count now. What has expired by now has interrupted; nothing is armed any more. */
uint32_t apic_timer_hand_over(Apic *a);
void apic_timer_resume(Apic *a); /* the count was loaded: what has expired since then interrupts */
uint32_t apic_timer_current(const Apic *a);
void apic_timer_set_initial(Apic *a, uint32_t val);
void apic_timer_set_divide(Apic *a, uint32_t val);
void apic_timer_set_lvt(Apic *a, uint32_t val);
uint64_t apic_timer_deadline(Apic *a);
void apic_timer_set_deadline(Apic *a, uint64_t tsc);

#endif
