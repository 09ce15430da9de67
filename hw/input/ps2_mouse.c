/* SPDX-License-Identifier: GPL-2.0-or-later
 * The PS/2 mouse (PS/2 TechRef, "Mouse") with Microsoft's extensions: IntelliMouse (wheel) and
 * IntelliMouse Explorer (five buttons), unlocked by sequences of sample rates.
 *
 * Movement adds up until a packet can go: when the one before has been read and the sample rate
 * allows. A change of buttons makes a packet of its own at once, so that no click is lost.
 */
#include "hw/input/ps2.h"

#include "util/log.h"

enum {
    CMD_SCALE_1 = 0xe6, CMD_SCALE_2 = 0xe7, CMD_RESOLUTION = 0xe8, CMD_STATUS = 0xe9,
    CMD_STREAM = 0xea, CMD_READ = 0xeb, CMD_UNWRAP = 0xec, CMD_WRAP = 0xee, CMD_REMOTE = 0xf0,
    CMD_ID = 0xf2, CMD_RATE = 0xf3, CMD_ENABLE = 0xf4, CMD_DISABLE = 0xf5, CMD_DEFAULTS = 0xf6,
    CMD_RESEND = 0xfe, CMD_RESET = 0xff
};
enum { ID_STANDARD = 0, ID_WHEEL = 3, ID_EXPLORER = 4 };
enum { DEFAULT_RATE = 100, DEFAULT_RESOLUTION = 2 };
enum { PACKET_Y_SIGN = 1 << 5, PACKET_X_SIGN = 1 << 4, PACKET_ONE = 1 << 3 };
enum { DELTA_LIMIT = 1 << 16 }; /* of movement nobody reads */

/* ---- packets ---- */

/* TechRef, "2:1 scaling": stream mode only. */
static int scaled(const Ps2Mouse *m, int delta, bool stream)
{
    static const uint8_t small[] = { 0, 1, 1, 3, 6, 9 };
    if (!m->scaling || !stream) {
        return delta;
    }
    int size = delta < 0 ? -delta : delta;
    size = size < (int)sizeof(small) ? small[size] : 2 * size;
    return delta < 0 ? -size : size;
}

/* Takes as much of *delta as a packet can carry (9 bits, two's complement). */
static int take_delta(int32_t *delta, int limit)
{
    int taken = MAX(-limit, MIN(*delta, limit));
    *delta -= taken;
    return taken;
}

static void put_packet(Ps2Mouse *m, Ps2Fifo *fifo, bool stream)
{
    int limit = m->scaling && stream ? 127 : 255; /* no overflow: the rest goes with the next */
    int dx = scaled(m, take_delta(&m->dx, limit), stream);
    int dy = scaled(m, take_delta(&m->dy, limit), stream);
    ps2_fifo_put(fifo, (dy < 0 ? PACKET_Y_SIGN : 0) | (dx < 0 ? PACKET_X_SIGN : 0) | PACKET_ONE |
                           (m->buttons & (MOUSE_LEFT | MOUSE_RIGHT | MOUSE_MIDDLE)));
    ps2_fifo_put(fifo, (uint8_t)dx);
    ps2_fifo_put(fifo, (uint8_t)dy);
    if (m->id == ID_WHEEL) {
        ps2_fifo_put(fifo, (uint8_t)take_delta(&m->dz, 7));
    } else if (m->id == ID_EXPLORER) {
        ps2_fifo_put(fifo, (take_delta(&m->dz, 7) & 0x0f) |
                               (m->buttons & MOUSE_SIDE ? 0x10 : 0) |
                               (m->buttons & MOUSE_EXTRA ? 0x20 : 0));
    } else {
        m->dz = 0;
    }
    m->reported = m->buttons;
}

static bool streaming(const Ps2Mouse *m)
{
    return m->enabled && !m->remote && !m->wrap;
}

static bool moved(const Ps2Mouse *m)
{
    return m->dx || m->dy || (m->dz && m->id);
}

static void mouse_rel(void *opaque, int dx, int dy, int dz)
{
    Ps2Mouse *m = opaque;
    m->dx = (int32_t)MAX(-DELTA_LIMIT, MIN((int64_t)m->dx + dx, DELTA_LIMIT));
    m->dy = (int32_t)MAX(-DELTA_LIMIT, MIN((int64_t)m->dy - dy, DELTA_LIMIT));
    m->dz = (int32_t)MAX(-DELTA_LIMIT, MIN((int64_t)m->dz - dz, DELTA_LIMIT));
    if (!streaming(m)) {
        m->dx = m->remote ? m->dx : 0;
        m->dy = m->remote ? m->dy : 0;
        m->dz = m->remote ? m->dz : 0;
        return;
    }
    m->port.ready(m->port.opaque);
}

static void mouse_buttons(void *opaque, unsigned mask)
{
    Ps2Mouse *m = opaque;
    m->buttons = mask & 0x1f;
    if (streaming(m) && m->buttons != m->reported && ps2_fifo_room(&m->port.events) >= 4) {
        put_packet(m, &m->port.events, true);
        m->port.ready(m->port.opaque);
    }
}

/* ---- commands ---- */

static void clear_movement(Ps2Mouse *m)
{
    m->dx = m->dy = m->dz = 0;
}

static void set_defaults(Ps2Mouse *m)
{
    m->enabled = m->remote = m->wrap = m->scaling = false;
    m->rate = DEFAULT_RATE;
    m->resolution = DEFAULT_RESOLUTION;
    m->knock = 0;
    clear_movement(m);
}

static void reply_status(Ps2Mouse *m)
{
    ps2_reply(&m->port, PS2_ACK);
    ps2_reply(&m->port, (m->remote << 6) | (m->enabled << 5) | (m->scaling << 4) |
                            (m->buttons & MOUSE_LEFT ? 4 : 0) |
                            (m->buttons & MOUSE_MIDDLE ? 2 : 0) |
                            (m->buttons & MOUSE_RIGHT ? 1 : 0));
    ps2_reply(&m->port, m->resolution);
    ps2_reply(&m->port, m->rate);
}

/* Rates 200, 100, 80 unlock the wheel; 200, 200, 80 the five buttons. knock: 1 after 200, 2
 * after 200 100, 3 after 200 200. */
static void knock_next(Ps2Mouse *m, uint8_t rate)
{
    if (rate == 80 && m->knock >= 2) {
        m->id = m->knock == 2 ? ID_WHEEL : ID_EXPLORER;
        m->knock = 0;
    } else if (rate == 100 && (m->knock == 1 || m->knock == 3)) {
        m->knock = 2;
    } else if (rate == 200) {
        m->knock = m->knock == 1 || m->knock == 3 ? 3 : 1;
    } else {
        m->knock = 0;
    }
}

static void run_command(Ps2Mouse *m, uint8_t cmd)
{
    Ps2Port *p = &m->port;
    switch (cmd) {
    case CMD_SCALE_1: m->scaling = false; break;
    case CMD_SCALE_2: m->scaling = true; break;
    case CMD_RESOLUTION: case CMD_RATE: p->command = cmd; break;
    case CMD_STATUS: reply_status(m); return;
    case CMD_STREAM:
        m->remote = false;
        clear_movement(m);
        break;
    case CMD_REMOTE:
        m->remote = true;
        clear_movement(m);
        break;
    case CMD_READ:
        ps2_reply(p, PS2_ACK);
        put_packet(m, &p->replies, false);
        return;
    case CMD_UNWRAP: m->wrap = false; break;
    case CMD_WRAP: m->wrap = true; break;
    case CMD_ID:
        ps2_reply(p, PS2_ACK);
        ps2_reply(p, m->id);
        return;
    case CMD_ENABLE:
        m->enabled = true;
        clear_movement(m);
        break;
    case CMD_DISABLE: m->enabled = false; break;
    case CMD_DEFAULTS: set_defaults(m); break;
    case CMD_RESEND: ps2_reply(p, p->last); return;
    case CMD_RESET:
        set_defaults(m);
        m->id = ID_STANDARD;
        ps2_reply(p, PS2_ACK);
        ps2_reply(p, PS2_BAT_OK);
        ps2_reply(p, ID_STANDARD);
        return;
    default:
        log_guest("ps2 mouse: unknown command 0x%02x", cmd);
        ps2_reply(p, PS2_RESEND);
        return;
    }
    ps2_reply(p, PS2_ACK);
}

void ps2_mouse_write(Ps2Mouse *m, uint8_t byte)
{
    Ps2Port *p = &m->port;
    /* Any byte from the host ends the packet that was on its way, and an older answer. */
    ps2_fifo_clear(&p->events);
    ps2_fifo_clear(&p->replies);
    if (m->wrap && byte != CMD_UNWRAP && byte != CMD_RESET) {
        ps2_reply(p, byte);
    } else if (p->command == CMD_RESOLUTION && byte <= 3) {
        m->resolution = byte;
        p->command = 0;
        ps2_reply(p, PS2_ACK);
    } else if (p->command == CMD_RATE && byte < CMD_SCALE_1) {
        knock_next(m, byte);
        /* Drivers knock with rates they do not mean; rate 0 would be no rate. */
        m->rate = byte ? byte : m->rate;
        p->command = 0;
        ps2_reply(p, PS2_ACK);
    } else {
        p->command = 0;
        run_command(m, byte);
    }
    p->ready(p->opaque);
}

/* ---- the cable ---- */

bool ps2_mouse_take(Ps2Mouse *m, uint8_t *byte)
{
    Ps2Port *p = &m->port;
    if (!ps2_fifo_take(&p->replies, byte)) {
        if (!streaming(m) || p->command) {
            return false;
        }
        uint64_t now = guest_clock_ns();
        if (!p->events.count && moved(m)) {
            if (now < m->next_report) {
                timer_arm(&m->report, m->next_report);
                return false;
            }
            put_packet(m, &p->events, true);
            m->next_report = now + 1000000000ull / MAX(m->rate, 10u);
        }
        if (!ps2_fifo_take(&p->events, byte)) {
            return false;
        }
    }
    if (*byte != PS2_RESEND) {
        p->last = *byte;
    }
    return true;
}

static void mouse_report(void *opaque)
{
    Ps2Mouse *m = opaque;
    m->port.ready(m->port.opaque);
}

void ps2_mouse_init(Ps2Mouse *m, void (*ready)(void *opaque), void *opaque)
{
    m->port.ready = ready;
    m->port.opaque = opaque;
    timer_init(&m->report, mouse_report, m);
    m->sink = (InputSink) { .name = "PS/2 mouse", .mouse_rel = mouse_rel,
                            .buttons = mouse_buttons, .opaque = m };
    input_register(&m->sink);
}

void ps2_mouse_fini(Ps2Mouse *m)
{
    input_unregister(&m->sink);
}

const StateField ps2_mouse_state[] = {
    STATE_STRUCT(Ps2Mouse, port, Ps2Port, ps2_port_state),
    STATE_BOOL(Ps2Mouse, enabled),
    STATE_BOOL(Ps2Mouse, remote),
    STATE_BOOL(Ps2Mouse, wrap),
    STATE_BOOL(Ps2Mouse, scaling),
    STATE_U8(Ps2Mouse, resolution, .reset = DEFAULT_RESOLUTION, .max = 3),
    STATE_U8(Ps2Mouse, rate, .reset = DEFAULT_RATE),
    STATE_U8(Ps2Mouse, id, .max = ID_EXPLORER),
    STATE_U8(Ps2Mouse, knock, .max = 3),
    STATE_U8(Ps2Mouse, buttons, .mask = 0x1f),
    STATE_U8(Ps2Mouse, reported, .mask = 0x1f),
    STATE_I32(Ps2Mouse, dx),
    STATE_I32(Ps2Mouse, dy),
    STATE_I32(Ps2Mouse, dz),
    STATE_U64(Ps2Mouse, next_report),
    STATE_TIMER(Ps2Mouse, report),
    STATE_END,
};
