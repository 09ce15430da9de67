/* SPDX-License-Identifier: GPL-2.0-or-later
 * Saves a device by its state tables and loads it again, as a snapshot will: field by field,
 * checked against .mask and .max. For tests only, in one process: no stream, no versions.
 */
#ifndef TESTS_UNIT_STATE_BOX_H
#define TESTS_UNIT_STATE_BOX_H

#include <stdlib.h>
#include <string.h>

#include "hw/core/device_impl.h"
#include "util/alloc.h"

typedef struct StateBox {
    uint8_t *data;
    size_t len, at;
    bool loading;
    const char *bad; /* a field that was refused */
} StateBox;

static void box_bytes(StateBox *b, void *p, size_t len)
{
    if (b->loading) {
        memcpy(p, b->data + b->at, len);
        b->at += len;
    } else {
        b->data = xrealloc(b->data, b->len + len);
        memcpy(b->data + b->len, p, len);
        b->len += len;
    }
}

static void box_number(StateBox *b, const StateField *f, void *p, size_t len)
{
    uint64_t val = 0;
    memcpy(&val, p, len);
    box_bytes(b, &val, len);
    if ((f->max && val > f->max) || (f->mask && (val & ~f->mask))) {
        b->bad = f->name;
    } else {
        memcpy(p, &val, len);
    }
}

static void box_timer(StateBox *b, Timer *t)
{
    bool armed = timer_armed(t);
    uint64_t deadline = armed ? t->deadline : 0;
    box_bytes(b, &armed, sizeof(armed));
    box_bytes(b, &deadline, sizeof(deadline));
    if (b->loading && armed) {
        timer_arm(t, deadline);
    } else if (b->loading) {
        timer_cancel(t);
    }
}

static void box_table(StateBox *b, const StateField *fields, void *base);

static void box_list(StateBox *b, const StateField *f, void *base)
{
    void **list = (void **)((char *)base + f->offset);
    uint32_t *nr = (uint32_t *)((char *)base + f->nr_offset), count = *nr;
    box_bytes(b, &count, sizeof(count));
    if (count > f->max) {
        b->bad = f->name;
        return;
    }
    if (b->loading) {
        free(*list);
        *list = count ? xcalloc(count, f->size) : NULL;
        *nr = count;
    }
    for (uint32_t i = 0; i < count; i++) {
        box_table(b, f->fields, (char *)*list + i * f->size);
    }
}

static void box_field(StateBox *b, const StateField *f, void *base, char *at)
{
    switch (f->kind) {
    case STATE_KIND_STRUCT: box_table(b, f->fields, at); break;
    case STATE_KIND_LIST: box_list(b, f, base); break;
    case STATE_KIND_TIMER: box_timer(b, (Timer *)at); break;
    case STATE_KIND_BOOL: box_number(b, f, at, sizeof(bool)); break;
    case STATE_KIND_U8: box_number(b, f, at, 1); break;
    case STATE_KIND_U16: box_number(b, f, at, 2); break;
    case STATE_KIND_U32:
    case STATE_KIND_I32: box_number(b, f, at, 4); break;
    default: box_number(b, f, at, 8); break;
    }
}

static void box_table(StateBox *b, const StateField *fields, void *base)
{
    static const size_t sizes[] = { [STATE_KIND_BOOL] = sizeof(bool),
                                    [STATE_KIND_U8] = 1,
                                    [STATE_KIND_U16] = 2,
                                    [STATE_KIND_U32] = 4,
                                    [STATE_KIND_I32] = 4,
                                    [STATE_KIND_U64] = 8,
                                    [STATE_KIND_I64] = 8,
                                    [STATE_KIND_TIMER] = sizeof(Timer),
                                    [STATE_KIND_LIST] = 0 };
    for (const StateField *f = fields; f && f->name; f++) {
        size_t size = f->kind == STATE_KIND_STRUCT ? f->size : sizes[f->kind];
        for (size_t i = 0; i < f->count; i++) {
            box_field(b, f, base, (char *)base + f->offset + i * size);
        }
    }
}

static void box_type(StateBox *b, const DeviceType *t, Device *dev)
{
    if (t) {
        box_type(b, t->parent, dev);
        box_table(b, t->state, dev);
    }
}

/* Appends it. */
static inline void state_box_save(StateBox *b, Device *dev)
{
    b->loading = false;
    device_before_save(dev);
    box_type(b, dev->type, dev);
}

/* In the order of saving; all of them, then state_box_refresh each. */
static inline void state_box_load(StateBox *b, Device *dev)
{
    b->loading = true;
    box_type(b, dev->type, dev);
}

static inline void state_box_free(StateBox *b)
{
    free(b->data);
    *b = (StateBox){ 0 };
}

#endif
