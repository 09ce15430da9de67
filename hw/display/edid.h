/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a monitor says about itself: an EDID block for emulated displays.
 */
#ifndef HW_DISPLAY_EDID_H
#define HW_DISPLAY_EDID_H

#include <stdint.h>

enum { EDID_SIZE = 128, EDID_MAX_PIXELS = 4095 };

/* Fills in a block of a monitor whose preferred mode is width x height at 60 Hz. */
void edid_fill(uint8_t edid[EDID_SIZE], unsigned width, unsigned height);

#endif
