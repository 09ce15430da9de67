/* SPDX-License-Identifier: GPL-2.0-or-later
 * The chardev half of a text console; see vc.h.
 */
#include "chardev/vc.h"

#include <stdio.h>

#include "chardev/backend.h"

enum { HISTORY_MAX = 64 * 1024, INPUT_MAX = 4096 };

typedef struct VcChardev {
    Chardev chr;
    void *vc; /* the console, if there is a window */
    unsigned cols, rows, width, height;
    ByteQueue history, input;
    List vc_node;
} VcChardev;

static const VcOps *vc_ops;
static List vcs = LIST_INIT(vcs); /* in order of creation */

static void vc_show(VcChardev *s)
{
    if (vc_ops && !s->vc) {
        s->vc = vc_ops->open(&s->chr, s->chr.id ? s->chr.id : "vc", s->cols, s->rows, s->width,
                             s->height);
        if (s->vc && s->history.len) {
            vc_ops->output(s->vc, byte_queue_peek(&s->history), s->history.len);
            byte_queue_clear(&s->history);
        }
    }
}

void vc_register(const VcOps *ops)
{
    list_for_each(pos, &vcs) {
        VcChardev *s = container_of(pos, VcChardev, vc_node);
        if (s->vc && vc_ops && vc_ops->close) {
            vc_ops->close(s->vc);
        }
        s->vc = NULL;
    }
    vc_ops = ops;
    list_for_each(pos, &vcs) {
        vc_show(container_of(pos, VcChardev, vc_node));
    }
}

static void deliver(VcChardev *s)
{
    size_t room;
    while (s->input.len && (room = chr_can_receive(&s->chr)) > 0) {
        uint8_t buf[256];
        size_t n = MIN(MIN(room, s->input.len), sizeof(buf));
        memcpy(buf, byte_queue_peek(&s->input), n); /* receive() may lead back here */
        byte_queue_drop(&s->input, n);
        chr_receive(&s->chr, buf, n);
    }
}

size_t vc_input(Chardev *chr, const uint8_t *buf, size_t len)
{
    VcChardev *s = container_of(chr, VcChardev, chr);
    size_t n = MIN(len, INPUT_MAX - s->input.len);
    byte_queue_push(&s->input, buf, n);
    deliver(s);
    return n;
}

static bool get_dim(const Dict *opts, const char *key, unsigned max, unsigned *out, Error **errp)
{
    uint64_t v = 0;
    if (!dict_get_u64(opts, key, &v, errp)) {
        return false;
    }
    if (dict_has(opts, key) && (v == 0 || v > max)) {
        return error_set(errp, "%s= must be between 1 and %u", key, max);
    }
    *out = v;
    return true;
}

static bool vc_open(Chardev *chr, const Dict *opts, Error **errp)
{
    VcChardev *s = container_of(chr, VcChardev, chr);
    list_init(&s->vc_node);
    if (!get_dim(opts, "cols", 512, &s->cols, errp) ||
        !get_dim(opts, "rows", 256, &s->rows, errp) ||
        !get_dim(opts, "width", 8192, &s->width, errp) ||
        !get_dim(opts, "height", 8192, &s->height, errp)) {
        return false;
    }
    list_insert(&vcs, &s->vc_node);
    chr_set_filename(chr, "vc");
    vc_show(s);
    return true;
}

static void vc_close(Chardev *chr)
{
    VcChardev *s = container_of(chr, VcChardev, chr);
    if (s->vc && vc_ops && vc_ops->close) {
        vc_ops->close(s->vc);
    }
    list_remove(&s->vc_node);
    byte_queue_clear(&s->history);
    byte_queue_clear(&s->input);
}

static size_t vc_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    VcChardev *s = container_of(chr, VcChardev, chr);
    if (s->vc) {
        vc_ops->output(s->vc, buf, len);
        return len;
    }
    byte_queue_push(&s->history, buf, len);
    if (s->history.len > HISTORY_MAX) {
        byte_queue_drop(&s->history, s->history.len - HISTORY_MAX);
    }
    return len;
}

static void vc_accept_input(Chardev *chr)
{
    deliver(container_of(chr, VcChardev, chr));
}

static const char *const vc_options[] = { "cols", "rows", "width", "height", NULL };

CHAR_BACKEND(vc) = {
    .name = "vc",
    .desc = "a text console in the window",
    .options = vc_options,
    .size = sizeof(VcChardev),
    .open = vc_open,
    .close = vc_close,
    .write = vc_write,
    .accept_input = vc_accept_input,
};
