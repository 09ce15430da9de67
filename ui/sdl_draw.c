/* SPDX-License-Identifier: GPL-2.0-or-later
 * Painting in the window, by pixman on the window's own pixels: only what changed is drawn
 * and sent, which needs no 3D hardware and is cheap over a network, too.
 */
#include "ui/sdl_draw.h"

#include <math.h>

#include "util/container.h"

SdlLayout sdl_layout(int window_w, int window_h, int frame_w, int frame_h)
{
    SdlLayout l = { .w = window_w, .h = window_h, .frame_w = frame_w, .frame_h = frame_h };
    if ((int64_t)window_w * frame_h > (int64_t)window_h * frame_w) {
        l.w = MAX(1, (int)((int64_t)window_h * frame_w / frame_h));
    } else {
        l.h = MAX(1, (int)((int64_t)window_w * frame_h / frame_w));
    }
    l.x = (window_w - l.w) / 2;
    l.y = (window_h - l.h) / 2;
    return l;
}

static int to_frame(int pos, int start, int size, int frame_size)
{
    int64_t p = ((int64_t)pos - start) * frame_size / size;
    return (int)MAX(0, MIN(p, frame_size - 1));
}

void sdl_layout_to_frame(const SdlLayout *l, int *x, int *y)
{
    *x = to_frame(*x, l->x, l->w, l->frame_w);
    *y = to_frame(*y, l->y, l->h, l->frame_h);
}

/* The surface's pixels as a pixman image; NULL if pixman has no such format. */
static pixman_image_t *wrap(SDL_Surface *s)
{
    static const struct {
        uint32_t sdl;
        pixman_format_code_t pixman;
    } formats[] = { { SDL_PIXELFORMAT_RGB888, PIXMAN_x8r8g8b8 },
                    { SDL_PIXELFORMAT_ARGB8888, PIXMAN_x8r8g8b8 },
                    { SDL_PIXELFORMAT_BGR888, PIXMAN_x8b8g8r8 },
                    { SDL_PIXELFORMAT_ABGR8888, PIXMAN_x8b8g8r8 },
                    { SDL_PIXELFORMAT_RGB565, PIXMAN_r5g6b5 },
                    { SDL_PIXELFORMAT_ARGB2101010, PIXMAN_x2r10g10b10 } };
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (s->format->format == formats[i].sdl && s->pitch % 4 == 0) {
            return pixman_image_create_bits(formats[i].pixman, s->w, s->h, s->pixels,
                                            s->pitch);
        }
    }
    return NULL;
}

static void set_scale(pixman_image_t *frame, const SdlLayout *l)
{
    if (l->w == l->frame_w && l->h == l->frame_h) {
        pixman_image_set_transform(frame, NULL);
        return;
    }
    double sx = (double)l->frame_w / l->w, sy = (double)l->frame_h / l->h;
    pixman_transform_t t;
    pixman_transform_init_scale(&t, pixman_double_to_fixed(sx), pixman_double_to_fixed(sy));
    pixman_image_set_transform(frame, &t);
    /* Whole multiples stay sharp. */
    bool whole = l->w % l->frame_w == 0 && l->h % l->frame_h == 0;
    pixman_image_set_filter(frame, whole ? PIXMAN_FILTER_NEAREST : PIXMAN_FILTER_BILINEAR,
                            NULL, 0);
    pixman_image_set_repeat(frame, PIXMAN_REPEAT_PAD);
}

/* The pixels of the picture's place that show any of box; a bilinear filter looks one
 * further. */
static SDL_Rect place_of(const SdlLayout *l, const pixman_box32_t *box)
{
    if (l->w == l->frame_w && l->h == l->frame_h) {
        return (SDL_Rect) { box->x1, box->y1, box->x2 - box->x1, box->y2 - box->y1 };
    }
    double sx = (double)l->w / l->frame_w, sy = (double)l->h / l->frame_h;
    int x1 = MAX(0, (int)floor((box->x1 - 1) * sx)),
        x2 = MIN(l->w, (int)ceil((box->x2 + 1) * sx));
    int y1 = MAX(0, (int)floor((box->y1 - 1) * sy)),
        y2 = MIN(l->h, (int)ceil((box->y2 + 1) * sy));
    return (SDL_Rect) { x1, y1, x2 - x1, y2 - y1 };
}

static void paint_border(pixman_image_t *dst, const SdlLayout *l, int w, int h)
{
    static const pixman_color_t black = { 0, 0, 0, 0xffff };
    const pixman_box32_t boxes[] = { { 0, 0, w, l->y },
                                     { 0, l->y + l->h, w, h },
                                     { 0, l->y, l->x, l->y + l->h },
                                     { l->x + l->w, l->y, w, l->y + l->h } };
    pixman_image_fill_boxes(PIXMAN_OP_SRC, dst, &black, ARRAY_SIZE(boxes), boxes);
}

int sdl_paint(SDL_Surface *surface, pixman_image_t *frame, const pixman_region32_t *damage,
              bool everything, SDL_Rect *rects)
{
    pixman_image_t *dst = wrap(surface);
    if (!dst) {
        SDL_FillRect(surface, NULL, 0);
        rects[0] = (SDL_Rect) { 0, 0, surface->w, surface->h };
        return 1;
    }
    SdlLayout l = sdl_layout(surface->w, surface->h, pixman_image_get_width(frame),
                             pixman_image_get_height(frame));
    pixman_box32_t all = { 0, 0, l.frame_w, l.frame_h };
    int nr = 1;
    const pixman_box32_t *boxes = &all;
    if (!everything) {
        boxes = pixman_region32_rectangles((pixman_region32_t *)damage, &nr);
        if (nr > SDL_DRAW_RECTS) {
            boxes = pixman_region32_extents((pixman_region32_t *)damage);
            nr = 1;
        }
    }
    set_scale(frame, &l);
    for (int i = 0; i < nr; i++) {
        SDL_Rect r = place_of(&l, &boxes[i]);
        pixman_image_composite32(PIXMAN_OP_SRC, frame, NULL, dst, r.x, r.y, 0, 0, l.x + r.x,
                                 l.y + r.y, r.w, r.h);
        rects[i] = (SDL_Rect) { l.x + r.x, l.y + r.y, r.w, r.h };
    }
    if (everything) {
        paint_border(dst, &l, surface->w, surface->h);
        rects[0] = (SDL_Rect) { 0, 0, surface->w, surface->h };
    }
    pixman_image_unref(dst);
    return nr;
}
