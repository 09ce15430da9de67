/* SPDX-License-Identifier: GPL-2.0-or-later
 * The AT's two 8237A DMA controllers and their page registers, ISA device "i8237". Its realize
 * becomes IsaBus.dma; isa.h has the functions that devices use.
 */
#ifndef HW_ISA_I8237_H
#define HW_ISA_I8237_H

#include "hw/core/device.h"

DECLARE_DEVICE_TYPE(i8237);

#endif
