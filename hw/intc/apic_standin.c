/* SPDX-License-Identifier: GPL-2.0-or-later
 * A local APIC's state on its way to and from a stand-in (hw/core/irqchip.h). What a stand-in does
 * not know stays in the Apic: errors not yet latched in ESR, an ExtINT message, the xAPIC's LDR
 * and DFR while it is an x2APIC.
 */
#include <string.h>

#include "hw/intc/apic_internal.h"
#include "util/timer.h"

enum { LVT_STATE = LVT_VECTOR | LVT_MODE | 1 << 13 /* polarity */ | LVT_REMOTE_IRR | LVT_LEVEL |
                   LVT_MASKED | LVT_TIMER_MODE };

static void save(void *opaque, void *state)
{
    Apic *a = opaque;
    LapicState *st = state;
    uint32_t id = a->cpu->apic_id;
    uint32_t count = apic_timer_hand_over(a); /* before the rest: it may interrupt */
    st->base = a->base;
    st->deadline = a->deadline;
    st->level0 = a->lint[0];
    uint32_t *reg = st->reg;
    reg[R_ID] = apic_x2(a) ? id : id << 24;
    reg[R_TPR] = a->tpr;
    reg[R_LDR] = apic_x2(a) ? apic_x2_ldr(a) : (uint32_t)a->ldr << 24;
    reg[R_DFR] = (uint32_t)a->dfr << 28 | 0x0fffffff;
    reg[R_SVR] = a->svr;
    memcpy(&reg[R_ISR], a->isr, sizeof(a->isr));
    memcpy(&reg[R_TMR], a->tmr, sizeof(a->tmr));
    memcpy(&reg[R_IRR], a->irr, sizeof(a->irr));
    reg[R_ESR] = a->esr;
    reg[R_ICR] = a->icr;
    reg[R_ICR2] = a->icr2;
    memcpy(&reg[R_LVT], a->lvt, sizeof(a->lvt));
    reg[R_INITIAL] = a->initial;
    reg[R_CURRENT] = count;
    reg[R_DIVIDE] = a->divide;
}

static void load(void *opaque, const void *state)
{
    Apic *a = opaque;
    const LapicState *st = state;
    const uint32_t *reg = st->reg;
    a->base = st->base;
    a->deadline = st->deadline;
    a->tpr = reg[R_TPR];
    if (!apic_x2(a)) {
        a->ldr = reg[R_LDR] >> 24;
        a->dfr = reg[R_DFR] >> 28;
    }
    a->svr = reg[R_SVR] & SVR_MASK;
    memcpy(a->isr, &reg[R_ISR], sizeof(a->isr));
    memcpy(a->tmr, &reg[R_TMR], sizeof(a->tmr));
    memcpy(a->irr, &reg[R_IRR], sizeof(a->irr));
    a->esr = reg[R_ESR];
    a->icr = reg[R_ICR] & ICR_MASK;
    a->icr2 = reg[R_ICR2];
    for (unsigned n = 0; n < NR_LVT; n++) {
        a->lvt[n] = reg[R_LVT + n] & LVT_STATE;
    }
    a->initial = reg[R_INITIAL];
    a->divide = reg[R_DIVIDE] & 0xb;
    a->count = reg[R_CURRENT];
    a->count_ns = guest_clock_ns();
}

static void wake(void *opaque)
{
    Apic *a = opaque;
    apic_wake(a);
}

void apic_part_init(Apic *a)
{
    a->part = (IrqchipPart){ .kind = IRQCHIP_LAPIC, .cpu = a->cpu, .opaque = a, .save = save,
                             .load = load, .wake = wake };
    irqchip_part_add(a->cpu->machine, &a->part);
}
