/* SPDX-License-Identifier: GPL-2.0-or-later
 * System control port A (PS/2; 82371SB has it as 92h): A20 gate and fast reset. The security and
 * lamp bits are not there and read 0.
 */
#include "hw/misc/port92.h"

#include "hw/core/machine.h"
#include "hw/isa/isa.h"
#include "hw/pc/a20.h"

enum { FAST_RESET = 1 << 0, A20_GATE = 1 << 1 };

typedef struct Port92 {
    Device dev;
    uint8_t control; /* state */
    Region io;       /* wiring */
} Port92;

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
    Port92 *s = opaque;
    (void)offset;
    (void)size;
    return s->control;
}

static void port92_refresh(Device *dev)
{
    Port92 *s = container_of(dev, Port92, dev);
    pc_set_a20(dev->machine, A20_PORT92, s->control & A20_GATE);
}

static void port92_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Port92 *s = opaque;
    (void)offset;
    (void)size;
    /* Reset happens as the bit rises. */
    bool reset = (val & FAST_RESET) && !(s->control & FAST_RESET);
    s->control = val & (FAST_RESET | A20_GATE);
    port92_refresh(&s->dev);
    if (reset) {
        machine_request_reset(s->dev.machine, RESET_GUEST);
    }
}

static const RegionOps port92_ops = { port92_read, port92_write, .sizes = 1 };

static bool port92_realize(Device *dev, Error **errp)
{
    Port92 *s = container_of(dev, Port92, dev);
    region_init_io(&s->io, dev, &port92_ops, s, 1);
    return isa_map_ports(dev, &s->io, 0x92, errp);
}

static const StateField port92_state[] = {
    STATE_U8(Port92, control, .mask = FAST_RESET | A20_GATE),
    STATE_END,
};

DEVICE_TYPE(port92) = {
    DEVICE_INFO("port92", BUS_ISA, Port92, "System control port A: A20 gate, fast reset"),
    .state = port92_state,
    .state_version = 1,
    .realize = port92_realize,
    .refresh = port92_refresh,
    .internal = true,
};
