/* SPDX-License-Identifier: GPL-2.0-or-later
 * System control port A (0x92): the A20 gate and fast reset, ISA device "port92".
 */
#ifndef HW_MISC_PORT92_H
#define HW_MISC_PORT92_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(port92);

#endif
