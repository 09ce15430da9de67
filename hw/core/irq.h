/* SPDX-License-Identifier: GPL-2.0-or-later
 * Interrupt and other signal lines. A device has output pins (Irq) that its realize or its board
 * connects to an input line (IrqLine) of another device. Callbacks run with vm_lock held, only
 * when the level changes.
 */
#ifndef HW_CORE_IRQ_H
#define HW_CORE_IRQ_H

#include "util/container.h"

typedef void IrqFn(void *opaque, unsigned n, bool level);

typedef struct IrqLine {
    IrqFn *fn;
    void *opaque;
    unsigned n;  /* handed to fn */
    bool level;  /* as driven now */
    void (*observe)(unsigned n, bool level); /* qtest's irq_intercept; NULL otherwise */
} IrqLine;

typedef struct Irq {
    IrqLine *line; /* NULL: not connected */
} Irq;

static inline void irq_line_init(IrqLine *l, IrqFn *fn, void *opaque, unsigned n)
{
    *l = (IrqLine){ .fn = fn, .opaque = opaque, .n = n };
}

static inline void irq_connect(Irq *irq, IrqLine *line)
{
    irq->line = line;
}

/* Drives the line; a change of level reaches the other device at once. */
void irq_set(Irq *irq, bool level);
void irq_line_set(IrqLine *line, bool level);
static inline void irq_pulse(Irq *irq)
{
    irq_set(irq, true);
    irq_set(irq, false);
}

#endif
