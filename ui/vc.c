/* SPDX-License-Identifier: GPL-2.0-or-later
 * Text consoles; see vc.h. Not drawn yet: vc chardevs keep their output.
 */
#include "ui/vc.h"

void vc_consoles_start(const char *font_rom)
{
    (void)font_rom;
}
void vc_consoles_stop(void)
{
}
bool vc_is_console(const Console *c)
{
    (void)c;
    return false;
}
void vc_type(Console *c, const char *buf, size_t len)
{
    (void)c;
    (void)buf;
    (void)len;
}
void vc_key(Console *c, KeyCode key, unsigned mods)
{
    (void)c;
    (void)key;
    (void)mods;
}
void vc_scroll(Console *c, int lines)
{
    (void)c;
    (void)lines;
}
