/* SPDX-License-Identifier: GPL-2.0-or-later
 * PNG pictures, where libpng is in the build.
 */
#ifndef UI_PNG_H
#define UI_PNG_H

#include <stdio.h>

#include "util/error.h"

#ifdef HAVE_PNG
static inline bool png_works(Error **errp)
{
    (void)errp;
    return true;
}

/* Rows of R, G, B bytes, top row first. */
bool png_write_rgb(FILE *f, const uint8_t *rgb, int width, int height, Error **errp) MUST_USE;
#else
static inline bool png_works(Error **errp)
{
    return error_set(errp, "PNG is not in this build; use a name that ends in .ppm, or install "
                           "libpng-dev and configure without --disable-png");
}

static inline bool png_write_rgb(FILE *f, const uint8_t *rgb, int width, int height, Error **errp)
{
    (void)f, (void)rgb, (void)width, (void)height;
    return png_works(errp);
}
#endif

#endif
