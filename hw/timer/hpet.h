/* SPDX-License-Identifier: GPL-2.0-or-later
 * High precision event timers (IA-PC HPET 1.0a), device "hpet", registers at property "address"
 * (0xfed00000).
 *
 * irq_out[0..23]: the board connects n to GSI n. irq_out[HPET_OUT_LEGACY] is high while legacy
 * replacement is on: connect it to the PIT's irq_in[0]. irq_in[0] and [1] take the PIT's and the
 * RTC's outputs and pass them to GSI 0 and 8 while it is off.
 */
#ifndef HW_TIMER_HPET_H
#define HW_TIMER_HPET_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(hpet);

enum { HPET_OUT_LEGACY = 24, HPET_NR_OUT = 25, HPET_IN_PIT = 0, HPET_IN_RTC = 1,
       HPET_DEFAULT_BASE = 0xfed00000 };

#endif
