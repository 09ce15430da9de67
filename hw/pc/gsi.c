/* SPDX-License-Identifier: GPL-2.0-or-later
 * Merges the interrupt sources of a PC and hands each global system interrupt to both
 * controllers. Holds no state of its own: levels follow from the sources'.
 */
#include "hw/pc/gsi.h"

#include "hw/core/machine.h"

static void gsi_changed(void *opaque, unsigned n, bool level)
{
    (void)level;
    Gsi *gsi = opaque;
    bool any = false;
    for (unsigned source = 0; source < NR_GSI_SOURCES; source++) {
        any |= gsi->in[source][n].level;
    }
    if (gsi->pic && n < NR_ISA_GSI) {
        irq_line_set(&gsi->pic->irq_in[n], any);
    }
    if (gsi->ioapic) {
        irq_line_set(&gsi->ioapic->irq_in[n], any);
    }
    struct Machine *m = gsi->pic ? gsi->pic->machine : NULL;
    if (m && irqchip_stands_in(m, IRQCHIP_PIC | IRQCHIP_IOAPIC)) {
        m->irqchip.ops->set_gsi(m, n, any);
    }
}

void gsi_init(Gsi *gsi)
{
    for (unsigned source = 0; source < NR_GSI_SOURCES; source++) {
        for (unsigned n = 0; n < NR_GSI; n++) {
            irq_line_init(&gsi->in[source][n], gsi_changed, gsi, n);
        }
    }
}

IrqLine *gsi_input(Gsi *gsi, GsiSource source, unsigned n)
{
    return &gsi->in[source][n];
}
