/* SPDX-License-Identifier: GPL-2.0-or-later
 * Pictures of a console: PPM (binary, P6, maximum 255; man 5 ppm) and PNG (ui/png.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ui/console.h"
#include "ui/png.h"
#include "util/alloc.h"

/* The surface as it stands, in rows of R, G, B bytes; a new buffer. */
static uint8_t *copy_rgb(pixman_image_t *surface, int width, int height)
{
    pixman_image_t *copy = pixman_image_create_bits(PIXMAN_x8r8g8b8, width, height, NULL, 0);
    uint8_t *rgb = xmalloc((size_t)width * height * 3);
    assert(copy);
    pixman_image_composite32(PIXMAN_OP_SRC, surface, NULL, copy, 0, 0, 0, 0, 0, 0, width, height);
    uint8_t *out = rgb;
    for (int y = 0; y < height; y++) {
        const uint32_t *row = pixman_image_get_data(copy) +
                              (size_t)y * pixman_image_get_stride(copy) / sizeof(uint32_t);
        for (int x = 0; x < width; x++) {
            *out++ = row[x] >> 16;
            *out++ = row[x] >> 8;
            *out++ = row[x];
        }
    }
    pixman_image_unref(copy);
    return rgb;
}

static bool ppm_write(FILE *f, const uint8_t *rgb, int width, int height, Error **errp)
{
    size_t len = (size_t)width * height * 3;
    return (fprintf(f, "P6\n%d %d\n255\n", width, height) > 0 && fwrite(rgb, 1, len, f) == len) ||
           error_set_errno(errp, errno, "write");
}

bool console_screendump(Console *c, const char *path, const char *format, Error **errp)
{
    size_t len = strlen(path);
    bool png = format ? !strcmp(format, "png") : len > 4 && !strcasecmp(path + len - 4, ".png");
    if (png && !png_works(errp)) {
        return error_prefix(errp, "cannot write '%s': ", path);
    }
    console_update(c);
    pixman_image_t *surface = console_surface(c);
    int width = pixman_image_get_width(surface), height = pixman_image_get_height(surface);
    FILE *f = fopen(path, "wb");
    if (!f) {
        return error_set_errno(errp, errno, "cannot write '%s'", path);
    }
    uint8_t *rgb = copy_rgb(surface, width, height);
    bool ok = png ? png_write_rgb(f, rgb, width, height, errp)
                  : ppm_write(f, rgb, width, height, errp);
    free(rgb);
    if (fclose(f) && ok) {
        ok = error_set_errno(errp, errno, "write");
    }
    return ok || error_prefix(errp, "cannot write '%s': ", path);
}
