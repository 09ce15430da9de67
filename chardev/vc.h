/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=vc: a text console. The terminal emulator is the window's (ui/vc.c); it registers here
 * and shows every vc chardev. Until one is there, a vc keeps the last 64 KiB of its output, so
 * that a window that comes later shows what went before. Main loop, vm_lock held.
 */
#ifndef CHARDEV_VC_H
#define CHARDEV_VC_H

#include "chardev/chardev.h"

typedef struct VcOps {
    /* A console for chr, whose label is its id. cols x rows, or width x height pixels; all 0:
     * whatever suits. Returns what the other calls get. */
    void *(*open)(Chardev *chr, const char *label, unsigned cols, unsigned rows, unsigned width,
                  unsigned height);
    void (*output)(void *vc, const uint8_t *buf, size_t len); /* takes everything */
    void (*close)(void *vc);
} VcOps;

/* From a constructor, or later when a window opens: then every existing vc is opened, in order
 * of creation, and gets what was kept. NULL: the consoles are gone, keep output again. */
void vc_register(const VcOps *ops);
/* What was typed into the console. Kept (up to 4 KiB) until the front end takes it; returns how
 * much was taken. */
size_t vc_input(Chardev *chr, const uint8_t *buf, size_t len);

#endif
