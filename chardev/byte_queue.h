/* SPDX-License-Identifier: GPL-2.0-or-later
 * A growing first-in first-out queue of bytes. All zeroes is an empty one.
 */
#ifndef CHARDEV_BYTE_QUEUE_H
#define CHARDEV_BYTE_QUEUE_H

#include "util/alloc.h"
#include "util/container.h"

typedef struct ByteQueue {
    uint8_t *data;
    size_t head, len, cap; /* the bytes are data[head .. head+len-1] */
} ByteQueue;

static inline void byte_queue_push(ByteQueue *q, const void *buf, size_t len)
{
    if (!len) {
        return;
    }
    if (q->head + q->len + len > q->cap && q->head) {
        memmove(q->data, q->data + q->head, q->len);
        q->head = 0;
    }
    if (q->len + len > q->cap) {
        q->cap = MAX(q->cap * 2, ROUND_UP(q->len + len, 256));
        q->data = xrealloc(q->data, q->cap);
    }
    memcpy(q->data + q->head + q->len, buf, len);
    q->len += len;
}

/* Where the q->len bytes start; valid until the next push. */
static inline const uint8_t *byte_queue_peek(const ByteQueue *q)
{
    return q->data + q->head;
}

static inline void byte_queue_drop(ByteQueue *q, size_t len)
{
    q->head += len;
    q->len -= len;
    if (!q->len) {
        q->head = 0;
    }
}

/* Empties it and gives the memory back. */
static inline void byte_queue_clear(ByteQueue *q)
{
    free(q->data);
    *q = (ByteQueue){ 0 };
}

#endif
