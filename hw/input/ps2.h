/* SPDX-License-Identifier: GPL-2.0-or-later
 * PS/2 keyboard and mouse as the controller at the other end of the cable sees them: it writes a
 * byte and takes bytes when it has room. ready() says that there may be one to take. vm_lock held.
 */
#ifndef HW_INPUT_PS2_H
#define HW_INPUT_PS2_H

#include "hw/core/state.h"
#include "ui/input.h"

enum { PS2_QUEUE = 64, PS2_REPLIES = 16 };

typedef struct Ps2Fifo {
    uint8_t data[PS2_QUEUE], rd, count;
} Ps2Fifo;

/* What both kinds of device have. */
typedef struct Ps2Port {
    Ps2Fifo replies; /* go first; at most PS2_REPLIES */
    Ps2Fifo events;  /* scan codes, or packets in stream mode */
    uint8_t command; /* its parameter is awaited; 0: none */
    uint8_t last;    /* what FEh sends again */
    void (*ready)(void *opaque); /* wiring */
    void *opaque;
} Ps2Port;

typedef struct Ps2Keyboard {
    Ps2Port port;
    bool scanning;
    uint8_t leds, typematic, set; /* set: 0..2 for 1..3 */
    uint8_t key_mode[256];        /* of set 3: KEY_TYPEMATIC ... by scan code */
    uint8_t modifiers;            /* held, for what Print and Pause send */
    uint16_t repeat_key;          /* KeyCode; 0: none */
    bool last_was_event;          /* the byte taken last was a scan code */
    uint64_t quiet_until;         /* no scan code before that guest time */
    Timer repeat, quiet;
    InputSink sink;
} Ps2Keyboard;

typedef struct Ps2Mouse {
    Ps2Port port;
    bool enabled, remote, wrap, scaling;
    uint8_t resolution, rate, id; /* id: 0 standard, 3 wheel, 4 five buttons */
    uint8_t knock;                /* rates of an unlock sequence seen so far: knock_next() */
    uint8_t buttons, reported;    /* MOUSE_*: now, and in the last packet */
    int32_t dx, dy, dz;           /* not reported yet; PS/2 directions: right, up, towards */
    uint64_t next_report;         /* guest time */
    Timer report;
    InputSink sink;
} Ps2Mouse;

void ps2_keyboard_init(Ps2Keyboard *k, void (*ready)(void *opaque), void *opaque);
void ps2_keyboard_fini(Ps2Keyboard *k);
/* After the state table's values. */
void ps2_keyboard_reset(Ps2Keyboard *k);
void ps2_keyboard_write(Ps2Keyboard *k, uint8_t byte);
bool ps2_keyboard_take(Ps2Keyboard *k, uint8_t *byte);
/* The guest has read the byte taken last: the next one is on its way only now. */
void ps2_keyboard_read_done(Ps2Keyboard *k);

void ps2_mouse_init(Ps2Mouse *m, void (*ready)(void *opaque), void *opaque);
void ps2_mouse_fini(Ps2Mouse *m);
void ps2_mouse_write(Ps2Mouse *m, uint8_t byte);
bool ps2_mouse_take(Ps2Mouse *m, uint8_t *byte);

extern const StateField ps2_keyboard_state[], ps2_mouse_state[];

/* Shared by both files. */
extern const StateField ps2_port_state[];
void ps2_fifo_clear(Ps2Fifo *f);
unsigned ps2_fifo_room(const Ps2Fifo *f);
void ps2_fifo_put(Ps2Fifo *f, uint8_t byte); /* dropped if full */
bool ps2_fifo_take(Ps2Fifo *f, uint8_t *byte);
void ps2_reply(Ps2Port *p, uint8_t byte);

enum { PS2_ACK = 0xfa, PS2_RESEND = 0xfe, PS2_BAT_OK = 0xaa };

#endif
