/* SPDX-License-Identifier: GPL-2.0-or-later
 * isa-debug-exit: a port that ends the process, for guests that are tests. Writing n exits with
 * status 2n + 1, so that 0 stays what an ordinary shutdown gives.
 */
#include "hw/core/machine.h"
#include "hw/isa/isa.h"

typedef struct DebugExit {
    Device dev;
    uint32_t iobase, iosize; /* properties */
    Region io;
} DebugExit;

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    DebugExit *s = opaque;
    (void)offset;
    (void)size;
    machine_request_shutdown(s->dev.machine, SHUTDOWN_DEBUG_EXIT, (int)(val << 1 | 1));
}

static const RegionOps debug_exit_ops = { debug_exit_read, debug_exit_write, .sizes = 1 | 2 | 4,
                                          .unaligned = true };

static bool debug_exit_realize(Device *dev, Error **errp)
{
    DebugExit *s = container_of(dev, DebugExit, dev);
    region_init_io(&s->io, dev, &debug_exit_ops, s, s->iosize);
    return isa_map_ports(dev, &s->io, s->iobase, errp);
}

static const Property debug_exit_props[] = {
    PROP_U32("iobase", DebugExit, iobase, .def = 0x501, .max = 0xffff, .help = "first port"),
    PROP_U32("iosize", DebugExit, iosize, .def = 2, .min = 1, .max = 16,
             .help = "number of ports"),
    PROP_END,
};

static const StateField debug_exit_state[] = {
    STATE_END,
};

DEVICE_TYPE(isa_debug_exit) = {
    DEVICE_INFO("isa-debug-exit", BUS_ISA, DebugExit, "Port that ends the process with a status"),
    .props = debug_exit_props,
    .state = debug_exit_state,
    .state_version = 1,
    .realize = debug_exit_realize,
};
