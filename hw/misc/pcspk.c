/* SPDX-License-Identifier: GPL-2.0-or-later
 * System control port B (82371SB 2.5.4, port 61h) and the speaker behind it: the gate of the PIT's
 * counter 2, the speaker's data bit, refresh toggle and OUT2. There are no parity errors to
 * report. Sound is not made yet: the speaker's state is only shown.
 */
#include "hw/misc/pcspk.h"

#include <assert.h>
#include <stdio.h>

#include "hw/core/machine.h"
#include "hw/isa/isa.h"
#include "hw/timer/i8254.h"
#include "util/timer.h"

enum { GATE2 = 1 << 0, SPEAKER = 1 << 1, NMI_DISABLES = 3 << 2, REFRESH = 1 << 4, OUT2 = 1 << 5,
       WRITABLE = GATE2 | SPEAKER | NMI_DISABLES };
enum { REFRESH_NS = 15085 }; /* 18 PIT ticks, as counter 1 is set up on an AT */

typedef struct PcSpk {
    Device dev;
    uint32_t iobase; /* property */
    uint8_t control; /* state */
    Device *pit;     /* wiring */
    Region io;
    IrqchipPart part;
} PcSpk;

void pcspk_set_pit(Device *spk, Device *pit)
{
    container_of(spk, PcSpk, dev)->pit = pit;
}

static uint64_t pcspk_read(void *opaque, uint64_t offset, unsigned size)
{
    PcSpk *s = opaque;
    (void)offset;
    (void)size;
    bool refresh = guest_clock_ns() / REFRESH_NS & 1;
    return s->control | (refresh ? REFRESH : 0) | (pit_out(s->pit, 2) ? OUT2 : 0);
}

static void pcspk_refresh(Device *dev)
{
    PcSpk *s = container_of(dev, PcSpk, dev);
    pit_set_gate(s->pit, 2, s->control & GATE2);
}

static void pcspk_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    PcSpk *s = opaque;
    (void)offset;
    (void)size;
    s->control = val & WRITABLE;
    pcspk_refresh(&s->dev);
}

/* A stand-in for the PIT answers at this port itself. */
static void part_save(void *opaque, void *state)
{
    const PcSpk *s = opaque;
    Port61State *st = state;
    st->gate = s->control & GATE2;
    st->data = s->control & SPEAKER;
}

static void part_load(void *opaque, const void *state)
{
    PcSpk *s = opaque;
    const Port61State *st = state;
    s->control = (s->control & NMI_DISABLES) | (st->gate ? GATE2 : 0) | (st->data ? SPEAKER : 0);
}

static void part_wake(void *opaque)
{
    (void)opaque; /* the gate has come with the PIT's own state */
}

static const RegionOps pcspk_ops = { pcspk_read, pcspk_write, .sizes = 1 };

static bool pcspk_realize(Device *dev, Error **errp)
{
    PcSpk *s = container_of(dev, PcSpk, dev);
    assert(s->pit);
    s->part = (IrqchipPart){ .kind = IRQCHIP_PORT61, .opaque = s, .save = part_save,
                             .load = part_load, .wake = part_wake };
    irqchip_part_add(dev->machine, &s->part);
    region_init_io(&s->io, dev, &pcspk_ops, s, 1);
    return isa_map_ports(dev, &s->io, s->iobase, errp);
}

static void pcspk_unrealize(Device *dev)
{
    irqchip_part_del(&container_of(dev, PcSpk, dev)->part);
}

static void pcspk_info(Device *dev, void (*print)(void *opaque, const char *line), void *opaque)
{
    PcSpk *s = container_of(dev, PcSpk, dev);
    uint32_t ticks = s->control & SPEAKER ? pit_wave_ticks(s->pit, 2) : 0;
    char line[64];
    snprintf(line, sizeof(line), ticks ? "speaker: %u Hz" : "speaker: silent",
             ticks ? PIT_HZ / ticks : 0);
    print(opaque, line);
}

static const Property pcspk_props[] = {
    PROP_U32("iobase", PcSpk, iobase, .def = 0x61, .max = 0xffff, .help = "its port"),
    PROP_END,
};

static const StateField pcspk_state[] = {
    STATE_U8(PcSpk, control, .mask = WRITABLE),
    STATE_END,
};

DEVICE_TYPE(isa_pcspk) = {
    DEVICE_INFO("isa-pcspk", BUS_ISA, PcSpk, "PC speaker and system control port B"),
    .props = pcspk_props,
    .state = pcspk_state,
    .state_version = 1,
    .realize = pcspk_realize,
    .unrealize = pcspk_unrealize,
    .refresh = pcspk_refresh,
    .info = pcspk_info,
    .internal = true,
};
