/* SPDX-License-Identifier: GPL-2.0-or-later
 * The A20 gate: while it is shut, an address with bit 20 set reaches the memory 1 MiB lower.
 *
 * Aliases of the even MiBs lie over the odd ones in the first 16 MiB, which is what software that
 * shuts the gate can tell (real mode and 80286 code); above, nothing wraps, so that firmware and
 * APICs stay where they are. DMA goes through the same map here, while A20M# of a real PC
 * concerns the CPU alone.
 *
 * A source that changes decides: guests open and shut the gate through one source and expect to
 * see it, though a plain OR of all sources would hide that. Out of reset the gate is open, as
 * the reset vector needs it.
 */
#include "hw/pc/a20.h"

#include "hw/pc/pc.h"

enum { NR_WRAPS = 8 };

typedef struct A20Gate {
    Device dev;
    bool source[NR_A20_SOURCES]; /* state: as each drives it */
    bool open;
    Region wrap[NR_WRAPS]; /* wiring */
} A20Gate;

static void a20_refresh(Device *dev)
{
    A20Gate *s = container_of(dev, A20Gate, dev);
    memory_begin();
    for (unsigned i = 0; i < NR_WRAPS; i++) {
        region_set_enabled(&s->wrap[i], !s->open);
    }
    memory_commit();
}

void pc_set_a20(struct Machine *m, unsigned source, bool on)
{
    Device *dev = pc_machine(m)->a20;
    if (!dev || source >= NR_A20_SOURCES) {
        return;
    }
    A20Gate *s = container_of(dev, A20Gate, dev);
    if (s->source[source] != on) {
        s->source[source] = on;
        s->open = on;
        a20_refresh(dev);
    }
}

static bool a20_realize(Device *dev, Error **errp)
{
    (void)errp;
    A20Gate *s = container_of(dev, A20Gate, dev);
    Region *root = &dev->machine->memory_root;
    for (unsigned i = 0; i < NR_WRAPS; i++) {
        region_init_alias(&s->wrap[i], "a20-wrap", root, 2 * i * MiB, MiB);
        region_set_enabled(&s->wrap[i], false);
        region_add(root, (2 * i + 1) * MiB, &s->wrap[i], 100);
    }
    return true;
}

static const StateField a20_state[] = {
    STATE_BOOLS(A20Gate, source),
    STATE_BOOL(A20Gate, open, .reset = 1),
    STATE_END,
};

DEVICE_TYPE(pc_a20) = {
    DEVICE_INFO("pc-a20", BUS_NONE, A20Gate, "A20 gate"),
    .internal = true,
    .state = a20_state,
    .state_version = 1,
    .realize = a20_realize,
    .refresh = a20_refresh,
};
