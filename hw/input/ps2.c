/* SPDX-License-Identifier: GPL-2.0-or-later
 * What PS/2 keyboards and mice have in common: bytes that wait to be sent.
 */
#include "hw/input/ps2.h"

void ps2_fifo_clear(Ps2Fifo *f)
{
    f->rd = f->count = 0;
}

unsigned ps2_fifo_room(const Ps2Fifo *f)
{
    return PS2_QUEUE - f->count;
}

void ps2_fifo_put(Ps2Fifo *f, uint8_t byte)
{
    if (f->count < PS2_QUEUE) {
        f->data[(f->rd + f->count++) % PS2_QUEUE] = byte;
    }
}

bool ps2_fifo_take(Ps2Fifo *f, uint8_t *byte)
{
    if (!f->count) {
        return false;
    }
    *byte = f->data[f->rd];
    f->rd = (f->rd + 1) % PS2_QUEUE;
    f->count--;
    return true;
}

void ps2_reply(Ps2Port *p, uint8_t byte)
{
    if (p->replies.count < PS2_REPLIES) {
        ps2_fifo_put(&p->replies, byte);
    }
}

static const StateField ps2_fifo_state[] = {
    STATE_U8S(Ps2Fifo, data),
    STATE_U8(Ps2Fifo, rd, .max = PS2_QUEUE - 1),
    STATE_U8(Ps2Fifo, count, .max = PS2_QUEUE),
    STATE_END,
};

const StateField ps2_port_state[] = {
    STATE_STRUCT(Ps2Port, replies, Ps2Fifo, ps2_fifo_state),
    STATE_STRUCT(Ps2Port, events, Ps2Fifo, ps2_fifo_state),
    STATE_U8(Ps2Port, command),
    STATE_U8(Ps2Port, last),
    STATE_END,
};
