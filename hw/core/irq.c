/* SPDX-License-Identifier: GPL-2.0-or-later
 * Driving interrupt lines.
 */
#include "hw/core/irq.h"

void irq_line_set(IrqLine *line, bool level)
{
    if (line->level == level) {
        return;
    }
    line->level = level;
    if (line->observe) {
        line->observe(line->n, level);
    }
    if (line->fn) {
        line->fn(line->opaque, line->n, level);
    }
}

void irq_set(Irq *irq, bool level)
{
    if (irq->line) {
        irq_line_set(irq->line, level);
    }
}
