/* SPDX-License-Identifier: GPL-2.0-or-later
 * Text consoles in a window: every vc chardev is a terminal that draws itself as a Console.
 * A window turns them on while it is open and brings the user's typing. Main loop, vm_lock held.
 */
#ifndef UI_VC_H
#define UI_VC_H

#include "ui/console.h"
#include "ui/input.h"

/* Consoles for all vc chardevs, now and to come. font_rom: a VGA BIOS image, whose 8x16 font they
 * take; NULL: the built-in one, ASCII only. */
void vc_consoles_start(const char *font_rom);
void vc_consoles_stop(void);

/* Is c one of them? */
bool vc_is_console(const Console *c);
/* Characters, UTF-8. */
void vc_type(Console *c, const char *buf, size_t len);
/* A key that types none: cursor keys and the like. mods: of ui/term.h. */
void vc_key(Console *c, KeyCode key, unsigned mods);
/* Back into what has scrolled away (positive) and forward. */
void vc_scroll(Console *c, int lines);

#endif
