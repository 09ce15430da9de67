/* SPDX-License-Identifier: GPL-2.0-or-later
 * Programmable interval timer 8254, ISA device "isa-pit" (property iobase, 0x40).
 *
 * irq_out[0] is OUT of counter 0: the board connects it to IRQ 0, or to the HPET's irq_in[0].
 * irq_in[0] high means the HPET replaced the timer: IRQ 0 stays low and nothing is armed.
 */
#ifndef HW_TIMER_I8254_H
#define HW_TIMER_I8254_H

#include "hw/core/device.h"

enum { PIT_HZ = 1193182 };

DECLARE_DEVICE_TYPE(isa_pit);

void pit_set_gate(Device *pit, unsigned counter, bool level);
bool pit_gate(Device *pit, unsigned counter);
bool pit_out(Device *pit, unsigned counter); /* the OUT pin now */
/* Counter 2's square wave for the speaker: its period in PIT ticks, 0 if it makes no sound. */
uint32_t pit_wave_ticks(Device *pit, unsigned counter);

#endif
