/* SPDX-License-Identifier: GPL-2.0-or-later
 * The AT's way of x87 errors (SDM 1 D.2.1.2; 82371SB's FERR# and IGNNE#): with CR0.NE = 0 the
 * processor's FERR# raises IRQ 13; a write to port F0h lowers it and holds IGNNE#, so that the
 * handler can use the FPU, until the processor drops FERR#. Only CPU 0 is wired, as on boards of
 * that age.
 */
#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/isa/isa.h"
#include "util/vm_lock.h"

typedef struct FpuError {
    Device dev;
    bool pending; /* state: IRQ 13's flip-flop */
    Region io;    /* wiring */
    Irq irq;
} FpuError;

static void fpu_error_refresh(Device *dev)
{
    FpuError *s = container_of(dev, FpuError, dev);
    irq_set(&s->irq, s->pending);
}

/* On CPU 0's thread. */
static void fpu_error_ferr(void *opaque, bool level)
{
    FpuError *s = opaque;
    vm_lock();
    s->pending = level;
    fpu_error_refresh(&s->dev);
    vm_unlock();
}

static uint64_t fpu_error_read(void *opaque, uint64_t offset, unsigned size)
{
    FpuError *s = opaque;
    return region_bad_read(&s->io, offset, size);
}

static void fpu_error_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    FpuError *s = opaque;
    (void)offset;
    (void)val;
    (void)size;
    CpuState *cpu = s->dev.machine->cpu[0];
    cpu->ignne |= s->pending; /* its own thread, or a debugger's while it is stopped */
    s->pending = false;
    fpu_error_refresh(&s->dev);
}

static const RegionOps fpu_error_ops = { fpu_error_read, fpu_error_write, .sizes = 1 };

static bool fpu_error_realize(Device *dev, Error **errp)
{
    FpuError *s = container_of(dev, FpuError, dev);
    CpuState *cpu = dev->machine->cpu[0];
    cpu->ferr = fpu_error_ferr;
    cpu->ferr_opaque = s;
    region_init_io(&s->io, dev, &fpu_error_ops, s, 1);
    return isa_map_ports(dev, &s->io, 0xf0, errp) && isa_connect_irq(dev, &s->irq, 13, errp);
}

static const StateField fpu_error_state[] = {
    STATE_BOOL(FpuError, pending),
    STATE_END,
};

DEVICE_TYPE(fpu_error) = {
    DEVICE_INFO("fpu-error", BUS_ISA, FpuError, "x87 errors as IRQ 13"),
    .state = fpu_error_state,
    .state_version = 1,
    .realize = fpu_error_realize,
    .refresh = fpu_error_refresh,
    .internal = true,
};
