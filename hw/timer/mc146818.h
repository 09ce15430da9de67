/* SPDX-License-Identifier: GPL-2.0-or-later
 * Real-time clock MC146818 with 128 bytes of CMOS RAM, ISA device "mc146818rtc", ports 0x70 and
 * 0x71. Time base and clock come from MachineConfig (rtc_base, rtc_date, rtc_clock).
 *
 * irq_out[0]: the board connects it to IRQ 8, or to the HPET's irq_in[1].
 */
#ifndef HW_TIMER_MC146818_H
#define HW_TIMER_MC146818_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(mc146818rtc);

/* What the board's setup program would have stored: index 0x0e-0x7f. Survives reset. */
void rtc_set_cmos(Device *rtc, unsigned index, uint8_t val);
uint8_t rtc_get_cmos(Device *rtc, unsigned index);
/* Port 0x70 bit 7: are NMIs masked? */
bool rtc_nmi_masked(Device *rtc);

#endif
