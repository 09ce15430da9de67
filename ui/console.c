/* SPDX-License-Identifier: GPL-2.0-or-later
 * Consoles and the displays that look at them. A console always has a surface, a black one until
 * its device draws, so that no viewer has to ask.
 */
#include "ui/console.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

enum { FIRST_WIDTH = 640, FIRST_HEIGHT = 480 };

struct Console {
    char *name;
    const ConsoleOps *ops;
    void *opaque;
    pixman_image_t *surface;
    bool shared; /* surface lies in memory of the device */
    List node;
};

static List consoles = LIST_INIT(consoles);
static List displays = LIST_INIT(displays);

/* ---- the device's side ---- */

static pixman_image_t *set_surface(Console *c, pixman_image_t *surface, bool shared)
{
    assert(surface);
    pixman_image_t *old = c->surface;
    c->surface = surface;
    c->shared = shared;
    list_for_each_safe(pos, &displays) {
        Display *d = container_of(pos, Display, node);
        if (d->resized) {
            d->resized(d, c);
        }
    }
    if (old) {
        pixman_image_unref(old);
    }
    return surface;
}

static bool has_format(const Console *c, int width, int height, pixman_format_code_t fmt)
{
    return pixman_image_get_width(c->surface) == width &&
           pixman_image_get_height(c->surface) == height &&
           pixman_image_get_format(c->surface) == fmt;
}

pixman_image_t *console_resize(Console *c, int width, int height)
{
    if (!c->shared && has_format(c, width, height, PIXMAN_x8r8g8b8)) {
        return c->surface;
    }
    return set_surface(c, pixman_image_create_bits(PIXMAN_x8r8g8b8, width, height, NULL, 0),
                       false);
}

pixman_image_t *console_set_shared(Console *c, int width, int height, pixman_format_code_t fmt,
                                   void *host, int stride)
{
    if (c->shared && has_format(c, width, height, fmt) &&
        pixman_image_get_data(c->surface) == host &&
        pixman_image_get_stride(c->surface) == stride) {
        return c->surface;
    }
    return set_surface(c, pixman_image_create_bits(fmt, width, height, host, stride), true);
}

void console_damage(Console *c, int x, int y, int w, int h)
{
    int x1 = MIN(x + w, pixman_image_get_width(c->surface));
    int y1 = MIN(y + h, pixman_image_get_height(c->surface));
    x = MAX(x, 0);
    y = MAX(y, 0);
    if (x >= x1 || y >= y1) {
        return;
    }
    list_for_each_safe(pos, &displays) {
        Display *d = container_of(pos, Display, node);
        if (d->damaged) {
            d->damaged(d, c, x, y, x1 - x, y1 - y);
        }
    }
}

Console *console_new(const char *name, const ConsoleOps *ops, void *opaque)
{
    Console *c = xcalloc(1, sizeof(*c));
    c->name = xstrdup(name);
    c->ops = ops;
    c->opaque = opaque;
    c->surface = pixman_image_create_bits(PIXMAN_x8r8g8b8, FIRST_WIDTH, FIRST_HEIGHT, NULL, 0);
    assert(c->surface);
    list_insert(&consoles, &c->node);
    return c;
}

void console_free(Console *c)
{
    if (!c) {
        return;
    }
    list_remove(&c->node);
    list_for_each_safe(pos, &displays) {
        Display *d = container_of(pos, Display, node);
        if (d->gone) {
            d->gone(d, c);
        }
    }
    pixman_image_unref(c->surface);
    free(c->name);
    free(c);
}

/* ---- the viewer's side ---- */

void display_register(Display *d)
{
    list_insert(&displays, &d->node);
}

void display_unregister(Display *d)
{
    list_remove(&d->node);
}

Console *console_by_index(unsigned index)
{
    list_for_each(pos, &consoles) {
        if (!index--) {
            return container_of(pos, Console, node);
        }
    }
    return NULL;
}

const char *console_name(const Console *c)
{
    return c->name;
}

pixman_image_t *console_surface(Console *c)
{
    return c->surface;
}

void console_update(Console *c)
{
    if (c->ops && c->ops->update) {
        c->ops->update(c->opaque);
    }
}

void console_invalidate(Console *c)
{
    if (c->ops && c->ops->invalidate) {
        c->ops->invalidate(c->opaque);
    }
}
