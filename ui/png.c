/* SPDX-License-Identifier: GPL-2.0-or-later
 * PNG through libpng: 8-bit RGB, fast compression, because the main loop waits for it.
 */
#include "ui/png.h"

#include <errno.h>
#include <png.h>

/* libpng's own would print; the caller reports. */
static void on_error(png_structp png, png_const_charp text)
{
    (void)text;
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

bool png_write_rgb(FILE *f, const uint8_t *rgb, int width, int height, Error **errp)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return error_set(errp, "no memory for the picture");
    }
    /* libpng reports errors by a jump; nothing below changes a local variable it needs. */
    if (setjmp(png_jmpbuf(png))) {
        int err = errno;
        png_destroy_write_struct(&png, &info);
        return error_set_errno(errp, err ? err : EIO, "write");
    }
    png_init_io(png, f);
    png_set_compression_level(png, 1);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int y = 0; y < height; y++) {
        png_write_row(png, rgb + (size_t)y * width * 3);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return true;
}
