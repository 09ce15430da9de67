/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interrupt controllers of an AT: two 8259A, cascaded on IR2, as one ISA device "isa-i8259".
 *
 * dev->irq_in[0..15] are the AT's IRQ lines (input 2 is the cascade and ignored); irq_out[0] is
 * the master's INT. With a LAPIC the board connects it to apic_lint(cpu, 0), without one to
 * i8259_connect_cpu. Either way CpuState.pic_ack = i8259_ack, pic_opaque = the Device.
 */
#ifndef HW_INTC_I8259_H
#define HW_INTC_I8259_H

#include "hw/core/device.h"

struct CpuState;

DECLARE_DEVICE_TYPE(isa_i8259);

/* INTA cycle: the vector, spurious ones included (never -1). Takes vm_lock if it is not held. */
int i8259_ack(void *opaque);
/* Wires INT straight to cpu's INTR pin and sets its pic_ack. */
void i8259_connect_cpu(Device *pic, struct CpuState *cpu);

#endif
