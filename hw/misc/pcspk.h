/* SPDX-License-Identifier: GPL-2.0-or-later
 * PC speaker and the rest of system control port B (0x61): ISA device "isa-pcspk".
 */
#ifndef HW_MISC_PCSPK_H
#define HW_MISC_PCSPK_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(isa_pcspk);

/* Which PIT's counter 2 it gates; before realize. */
void pcspk_set_pit(Device *spk, Device *pit);

#endif
