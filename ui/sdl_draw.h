/* SPDX-License-Identifier: GPL-2.0-or-later
 * Painting in the window: a picture of the guest's size, scaled to the window with its
 * aspect kept, black around it. Used by the window's thread only; sdl_window.c holds its
 * lock.
 */
#ifndef UI_SDL_DRAW_H
#define UI_SDL_DRAW_H

#include <SDL.h>
#include <pixman.h>
#include <stdbool.h>

typedef struct SdlLayout {
    int x, y, w, h; /* where the picture is in the window */
    int frame_w, frame_h;
} SdlLayout;

/* The largest place for a frame of that size. */
SdlLayout sdl_layout(int window_w, int window_h, int frame_w, int frame_h);
/* A point of the window in the picture's coordinates, clamped to it. */
void sdl_layout_to_frame(const SdlLayout *l, int *x, int *y);

enum { SDL_DRAW_RECTS = 32 };
/* Paints damage of frame (all of the window if everything) on the window's surface. Returns
 * the number of rects that must now be shown with SDL_UpdateWindowSurfaceRects. */
int sdl_paint(SDL_Surface *surface, pixman_image_t *frame, const pixman_region32_t *damage,
              bool everything, SDL_Rect *rects);

#endif
