/* SPDX-License-Identifier: GPL-2.0-or-later
 * Handing the interrupt controllers over to a stand-in and taking them back.
 *
 * From the moment m->irqchip.ops is set our devices only note levels, so their state can be read
 * and written in any order: nothing one of them does reaches another. The states go after all
 * devices fell silent, and come back before any of them wakes.
 */
#include "hw/core/irqchip.h"

#include <assert.h>

#include "hw/core/irqfd.h"
#include "hw/core/machine.h"

/* Room for any part's state. */
typedef union AnyState {
    LapicState lapic;
    IoapicState ioapic;
    PicState pic;
    PitState pit;
    Port61State port61;
} AnyState;

void irqchip_init(Irqchip *c)
{
    c->ops = NULL;
    list_init(&c->parts);
    list_init(&c->eoi_listeners);
    list_init(&c->irqfds);
}

void irqchip_part_add(struct Machine *m, IrqchipPart *part)
{
    list_insert(&m->irqchip.parts, &part->node);
}

void irqchip_part_del(IrqchipPart *part)
{
    list_remove(&part->node);
}

bool irqchip_stands_in(const struct Machine *m, unsigned kind)
{
    return m->irqchip.ops && (m->irqchip.ops->kinds & kind);
}

static void read_parts(struct Machine *m, unsigned kinds)
{
    const IrqchipOps *ops = m->irqchip.ops;
    list_for_each(pos, &m->irqchip.parts) {
        IrqchipPart *part = container_of(pos, IrqchipPart, node);
        if (ops->kinds & part->kind & kinds) {
            AnyState state = { 0 };
            part->save(part->opaque, &state); /* for what the stand-in does not know */
            ops->read(m, part, &state);
            part->load(part->opaque, &state);
        }
    }
}

void irqchip_sync(struct Machine *m)
{
    if (m->irqchip.ops) {
        read_parts(m, ~(unsigned)IRQCHIP_LAPIC);
    }
}

void irqchip_hand_over(struct Machine *m, const IrqchipOps *ops)
{
    assert(!m->irqchip.ops);
    list_for_each(pos, &m->irqchip.parts) {
        IrqchipPart *part = container_of(pos, IrqchipPart, node);
        if ((ops->kinds & part->kind) && part->prepare) {
            part->prepare(part->opaque);
        }
    }
    m->irqchip.ops = ops;
    list_for_each(pos, &m->irqchip.parts) {
        IrqchipPart *part = container_of(pos, IrqchipPart, node);
        part->wake(part->opaque); /* silent from now on, or using what stands in for others */
    }
    list_for_each(pos, &m->irqchip.parts) {
        IrqchipPart *part = container_of(pos, IrqchipPart, node);
        if (ops->kinds & part->kind) {
            AnyState state = { 0 };
            part->save(part->opaque, &state);
            ops->write(m, part, &state);
        }
    }
    irqfds_move(m);
}

void irqchip_take_back(struct Machine *m)
{
    if (!m->irqchip.ops) {
        return;
    }
    irqfds_leave(m);
    read_parts(m, ~0u);
    m->irqchip.ops = NULL;
    list_for_each(pos, &m->irqchip.parts) {
        IrqchipPart *part = container_of(pos, IrqchipPart, node);
        part->wake(part->opaque);
    }
    irqfds_move(m);
}

void irqchip_add_eoi_listener(struct Machine *m, EoiListener *l)
{
    list_insert(&m->irqchip.eoi_listeners, &l->node);
}

void irqchip_eoi(struct Machine *m, unsigned vector)
{
    irqfds_resample(m);
    list_for_each(pos, &m->irqchip.eoi_listeners) {
        EoiListener *l = container_of(pos, EoiListener, node);
        l->eoi(l->opaque, vector);
    }
}

void irqchip_pic_eoi(struct Machine *m)
{
    irqfds_resample(m);
}
