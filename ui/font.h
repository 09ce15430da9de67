/* SPDX-License-Identifier: GPL-2.0-or-later
 * The 8x16 font of text consoles. Main loop.
 */
#ifndef UI_FONT_H
#define UI_FONT_H

#include <stdbool.h>
#include <stdint.h>

enum { FONT_WIDTH = 8, FONT_HEIGHT = 16 };

/* Takes the font of a VGA BIOS image (code page 437), else (or with NULL) the built-in one, which
 * has ASCII only. Returns whether it was the former. */
bool font_load(const char *rom);
/* 16 rows, bit 7 is left. What the font lacks looks like something close to it, else like '?'. */
const uint8_t *font_glyph(uint32_t ch);

#endif
