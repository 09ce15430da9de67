/* SPDX-License-Identifier: GPL-2.0-or-later
 * Consoles: a picture that changes, and what the user does to it. A display device owns a
 * graphic console and draws into its surface; the window, screendump and later VNC look at it.
 * Main loop only, vm_lock held.
 */
#ifndef UI_CONSOLE_H
#define UI_CONSOLE_H

#include <pixman.h>

#include "util/error.h"

typedef struct Console Console;

/* The device's side. */
typedef struct ConsoleOps {
    /* Bring the surface up to date (scan out what is dirty); called by displays before they
     * show it, about 30-60 times a second while anyone looks, and by screendump. */
    void (*update)(void *opaque);
    /* Everything must be drawn again at the next update. */
    void (*invalidate)(void *opaque);
} ConsoleOps;

/* index 0 is the first graphic console. name: "VGA". */
Console *console_new(const char *name, const ConsoleOps *ops, void *opaque);
void console_free(Console *c);
/* The surface the device draws into: PIXMAN_x8r8g8b8 of that size; a new one if it differs.
 * Valid until the next resize. */
pixman_image_t *console_resize(Console *c, int width, int height);
/* The surface shows guest memory itself (host, stride stay valid until the next resize). */
pixman_image_t *console_set_shared(Console *c, int width, int height, pixman_format_code_t fmt,
                                   void *host, int stride);
/* That part of the surface changed. */
void console_damage(Console *c, int x, int y, int w, int h);

/* The viewer's side. */
typedef struct Display {
    const char *name;
    void (*resized)(struct Display *d, Console *c);
    void (*damaged)(struct Display *d, Console *c, int x, int y, int w, int h);
    void (*gone)(struct Display *d, Console *c); /* no longer on the list, freed afterwards */
    List node;
} Display;

void display_register(Display *d);
void display_unregister(Display *d);
Console *console_by_index(unsigned index); /* NULL past the end */
const char *console_name(const Console *c);
pixman_image_t *console_surface(Console *c);
void console_update(Console *c);     /* calls the device's update */
void console_invalidate(Console *c);
/* "ppm" or "png" by format, or by the file's suffix if NULL (.png), else PPM. */
bool console_screendump(Console *c, const char *path, const char *format, Error **errp) MUST_USE;

#endif
