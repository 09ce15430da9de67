/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=ringbuf: keeps the last size= bytes of output in memory for whoever asks later.
 */
#include "chardev/ringbuf.h"

#include "chardev/backend.h"

enum { DEFAULT_SIZE = 64 * 1024, MAX_SIZE = 1 << 30 };

typedef struct RingbufChardev {
    Chardev chr;
    uint8_t *data;
    uint64_t size;       /* power of two */
    uint64_t head, tail; /* free-running: written, read */
} RingbufChardev;

extern CharBackend char_backend_ringbuf;

static bool ringbuf_open(Chardev *chr, const Dict *opts, Error **errp)
{
    RingbufChardev *s = container_of(chr, RingbufChardev, chr);
    s->size = DEFAULT_SIZE;
    if (!dict_get_size(opts, "size", 1, &s->size, errp)) {
        return false;
    }
    if (!s->size || (s->size & (s->size - 1)) || s->size > MAX_SIZE) {
        return error_set(errp, "size=%llu is not a power of two of at most 1G",
                         (unsigned long long)s->size);
    }
    s->data = xmalloc(s->size);
    chr_set_filename(chr, "ringbuf");
    return true;
}

static void ringbuf_close(Chardev *chr)
{
    free(container_of(chr, RingbufChardev, chr)->data);
}

static size_t ringbuf_put(Chardev *chr, const uint8_t *buf, size_t len)
{
    RingbufChardev *s = container_of(chr, RingbufChardev, chr);
    for (size_t i = 0; i < len; i++) {
        s->data[s->head++ & (s->size - 1)] = buf[i];
    }
    if (s->head - s->tail > s->size) {
        s->tail = s->head - s->size; /* the oldest are overwritten */
    }
    return len;
}

static RingbufChardev *ringbuf_of(Chardev *chr, Error **errp)
{
    if (chr->be != &char_backend_ringbuf) {
        error_set(errp, "chardev '%s' is not a ringbuf", chr->id);
        return NULL;
    }
    return container_of(chr, RingbufChardev, chr);
}

bool char_ringbuf_read(Chardev *chr, void *buf, size_t len, size_t *got, Error **errp)
{
    RingbufChardev *s = ringbuf_of(chr, errp);
    if (!s) {
        return false;
    }
    *got = MIN(len, s->head - s->tail);
    for (size_t i = 0; i < *got; i++) {
        ((uint8_t *)buf)[i] = s->data[s->tail++ & (s->size - 1)];
    }
    return true;
}

bool char_ringbuf_write(Chardev *chr, const void *buf, size_t len, Error **errp)
{
    return ringbuf_of(chr, errp) && ringbuf_put(chr, buf, len) == len;
}

static const char *const ringbuf_options[] = { "size", NULL };
static const char *const ringbuf_aliases[] = { "memory", NULL };

CHAR_BACKEND(ringbuf) = {
    .name = "ringbuf",
    .desc = "keeps the last size= bytes in memory",
    .aliases = ringbuf_aliases,
    .options = ringbuf_options,
    .size = sizeof(RingbufChardev),
    .open = ringbuf_open,
    .close = ringbuf_close,
    .write = ringbuf_put,
};
