/* SPDX-License-Identifier: GPL-2.0-or-later
 * Programmable interval timer (Intel 8254 data sheet): three counters, six modes, BCD, latch and
 * read-back commands, gates.
 *
 * Nothing counts here. A counter remembers the CLK tick at which its count was loaded; counter
 * value and OUT pin are computed when somebody looks. Counter 0 also has a host timer for the
 * rising edges of OUT, which is all that an edge-triggered IRQ 0 can see: in modes 2 to 5 the line
 * falls and rises at once there, and the moment of the fall is not reproduced.
 */
#include "hw/timer/i8254.h"

#include <stdio.h>

#include "hw/core/machine.h"
#include "hw/isa/isa.h"
#include "util/timer.h"

enum { CONTROL = 3, NR_COUNTERS = 3 };
/* Control word: 7-6 counter (3: read-back), 5-4 RW (0: latch), 3-1 mode, 0 BCD. Read-back: 5 and 4
 * low to latch count and status, 3-1 counters. Status: 7 OUT, 6 null count, 5-0 as written. */
enum { RW_LATCH, RW_LSB, RW_MSB, RW_BOTH };
enum { READ_BACK = 3, NO_COUNT = 0x20, NO_STATUS = 0x10, STATUS_OUT = 0x80, STATUS_NULL = 0x40 };
enum { NS_PER_S = 1000000000, MIN_PERIOD_NS = 10000, EPOCH = 0x20000 };

typedef struct Counter {
    uint8_t mode, rw;
    bool bcd;
    bool gate;
    bool running;       /* has been loaded (and, in modes 1 and 5, triggered) */
    bool null_count;    /* the count register was written and is not in the counter yet */
    bool second_byte;   /* the next write (RW_BOTH) is the MSB */
    bool read_msb;      /* likewise for reads */
    bool count_latched, status_latched;
    uint8_t lsb;        /* first byte of two */
    uint8_t status;     /* latched */
    uint16_t latch;     /* latched count, as it is read */
    uint32_t count;     /* 1 to 65536: what the counter was loaded with */
    uint32_t next;      /* modes 2, 3: takes over at tick next_at; 0: none. 1, 5: at the trigger */
    uint64_t next_at;
    uint64_t start;     /* tick of the load */
    uint64_t held;      /* ticks that had passed when GATE stopped the counting */
} Counter;

typedef struct Pit {
    Device dev;
    uint32_t iobase; /* property */
    Counter counter[NR_COUNTERS];
    bool replaced; /* input pin: the HPET drives IRQ 0 */
    Timer tick;
    IrqLine replaced_in;
    Irq irq;
    Region io;
    IrqchipPart part;
} Pit;

/* Ticks start at EPOCH, so that a load may seem to lie a period before guest time 0. */
static uint64_t pit_now(void)
{
    return EPOCH + (unsigned __int128)guest_clock_ns() * PIT_HZ / NS_PER_S;
}

/* The first nanosecond of a tick. */
static uint64_t tick_to_ns(uint64_t tick)
{
    return ((unsigned __int128)(tick - EPOCH) * NS_PER_S + PIT_HZ - 1) / PIT_HZ;
}

static bool is_periodic(const Counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool needs_trigger(const Counter *c)
{
    return c->mode == 1 || c->mode == 5;
}

static uint64_t elapsed(const Counter *c, uint64_t now)
{
    if (!c->gate && !needs_trigger(c)) {
        return c->held;
    }
    return now > c->start ? now - c->start : 0; /* the load itself takes a tick */
}

static uint32_t high_ticks(uint32_t count)
{
    return (count + 1) / 2; /* mode 3: an odd count is high for one tick more */
}

/* A count that waited for the end of the (half) period takes over. */
static void sync(Counter *c, uint64_t now)
{
    if (!is_periodic(c) || !c->next || now < c->next_at || !c->gate) {
        return;
    }
    bool at_half = c->mode == 3 && (c->next_at - c->start) % c->count != 0;
    c->count = c->next;
    c->start = c->next_at - (at_half ? high_ticks(c->count) : 0);
    c->next = 0;
    c->null_count = false;
}

static bool out_at(Counter *c, uint64_t now)
{
    sync(c, now);
    if (!c->running) {
        return c->mode != 0;
    }
    uint64_t t = elapsed(c, now);
    switch (c->mode) {
    case 0:
    case 1: return t >= c->count;
    case 2: return !c->gate || t % c->count != c->count - 1;
    case 3: return !c->gate || t % c->count < high_ticks(c->count);
    default: return t != c->count; /* strobe: low for one tick */
    }
}

static uint16_t to_bcd(unsigned n)
{
    return n % 10 | n / 10 % 10 << 4 | n / 100 % 10 << 8 | n / 1000 % 10 << 12;
}

static unsigned from_bcd(unsigned n)
{
    return (n & 15) + (n >> 4 & 15) * 10 + (n >> 8 & 15) * 100 + (n >> 12 & 15) * 1000;
}

/* As it is read: 16 bits, binary or BCD. */
static uint16_t value_at(Counter *c, uint64_t now)
{
    sync(c, now);
    uint64_t t = c->running ? elapsed(c, now) : 0;
    uint32_t modulus = c->bcd ? 10000 : 0x10000;
    uint32_t value;
    if (c->mode == 2) {
        value = c->count - t % c->count;
    } else if (c->mode == 3) {
        uint32_t phase = t % c->count, high = high_ticks(c->count);
        value = (c->count & ~1u) - 2 * (phase < high ? phase : phase - high);
    } else {
        value = (c->count + modulus - t % modulus) % modulus; /* counts on below zero */
    }
    return c->bcd ? to_bcd(value % 10000) : value;
}

/* ---- IRQ 0 ---- */

/* The tick of the first rising edge of OUT after now, UINT64_MAX if none is to come. */
static uint64_t next_rise(const Counter *c, uint64_t now)
{
    if (!c->running || (!c->gate && !needs_trigger(c))) {
        return UINT64_MAX;
    }
    if (is_periodic(c)) {
        uint64_t passed = now > c->start ? (now - c->start) / c->count : 0;
        uint64_t rise = c->start + (passed + 1) * c->count;
        if (c->next && c->next_at < rise) { /* the second half has a new length */
            rise = c->next_at + c->next / 2;
        }
        return rise;
    }
    uint64_t rise = c->start + c->count + (c->mode >= 4);
    return rise > now ? rise : UINT64_MAX;
}

static bool is_silent(const Pit *s)
{
    return irqchip_stands_in(s->dev.machine, IRQCHIP_PIT);
}

static void rearm(Pit *s, uint64_t now)
{
    Counter *c = &s->counter[0];
    timer_cancel(&s->tick);
    if (is_silent(s)) {
        return;
    }
    sync(c, now);
    uint64_t rise = s->replaced ? UINT64_MAX : next_rise(c, now);
    if (rise != UINT64_MAX) {
        uint64_t ns = tick_to_ns(rise);
        if (is_periodic(c) && c->count < MIN_PERIOD_NS / 838) {
            ns = MAX(ns, guest_clock_ns() + MIN_PERIOD_NS);
        }
        timer_arm(&s->tick, ns);
    }
}

/* Between the rising edges: see the top. */
static bool irq_level(Pit *s, uint64_t now)
{
    Counter *c = &s->counter[0];
    return !s->replaced && ((c->running && is_periodic(c)) || out_at(c, now));
}

/* now is also when it changed: a count that has run out meanwhile is the host timer's business. */
static void counter_changed(Pit *s, unsigned n, uint64_t now)
{
    if (n == 0 && !is_silent(s)) {
        rearm(s, now);
        irq_set(&s->irq, irq_level(s, now));
    }
}

/* In modes 0 and 1 OUT is low from the load on; the edge is one, whoever looked before. */
static void pit_tick(void *opaque)
{
    Pit *s = opaque;
    if (s->counter[0].mode > 1) {
        irq_set(&s->irq, false);
    }
    counter_changed(s, 0, pit_now());
}

static void set_replaced(void *opaque, unsigned n, bool level)
{
    Pit *s = opaque;
    (void)n;
    s->replaced = level;
    if (is_silent(s)) {
        s->dev.machine->irqchip.ops->pit_replaced(s->dev.machine, level);
    }
    counter_changed(s, 0, pit_now());
}

/* ---- programming ---- */

static void load(Counter *c, uint32_t count, uint64_t now)
{
    c->count = count;
    c->start = now + 1;
    c->held = 0;
    c->next = 0;
    c->null_count = false;
    c->running = true;
}

static void write_count(Counter *c, uint16_t val, uint64_t now)
{
    uint32_t count = c->bcd ? from_bcd(val) : val;
    if (!count) {
        count = c->bcd ? 10000 : 0x10000;
    }
    sync(c, now);
    if (needs_trigger(c)) {
        c->next = count;
        c->null_count = true;
    } else if (is_periodic(c) && c->running) {
        uint64_t t = elapsed(c, now), phase = t % c->count, high = high_ticks(c->count);
        bool in_high = c->mode == 3 && phase < high;
        c->next = count;
        c->next_at = c->start + t - phase + (in_high ? high : c->count);
        c->null_count = true;
    } else {
        load(c, count, now);
    }
}

static void write_counter(Counter *c, uint8_t val, uint64_t now)
{
    switch (c->rw) {
    case RW_LSB: write_count(c, val, now); break;
    case RW_MSB: write_count(c, val << 8, now); break;
    default:
        if (c->second_byte) {
            write_count(c, c->lsb | val << 8, now);
        } else {
            c->lsb = val;
            if (c->mode == 0) {
                c->running = false; /* the first byte stops mode 0, OUT goes low */
            }
        }
        c->second_byte = !c->second_byte;
    }
}

static uint8_t read_counter(Counter *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t value = c->count_latched ? c->latch : value_at(c, pit_now());
    bool msb = c->rw == RW_MSB || (c->rw == RW_BOTH && c->read_msb);
    if (c->rw == RW_BOTH) {
        c->read_msb = !c->read_msb;
    }
    if (c->rw != RW_BOTH || msb) {
        c->count_latched = false;
    }
    return msb ? value >> 8 : value;
}

static void latch_count(Counter *c)
{
    if (!c->count_latched) {
        c->latch = value_at(c, pit_now());
        c->count_latched = true;
    }
}

static void latch_status(Counter *c)
{
    if (!c->status_latched) {
        c->status = (out_at(c, pit_now()) ? STATUS_OUT : 0) | (c->null_count ? STATUS_NULL : 0) |
                    c->rw << 4 | c->mode << 1 | c->bcd;
        c->status_latched = true;
    }
}

static void read_back(Pit *s, uint8_t val)
{
    for (unsigned n = 0; n < NR_COUNTERS; n++) {
        if (val >> (n + 1) & 1) {
            if (!(val & NO_COUNT)) {
                latch_count(&s->counter[n]);
            }
            if (!(val & NO_STATUS)) {
                latch_status(&s->counter[n]);
            }
        }
    }
}

static void write_control(Pit *s, uint8_t val)
{
    unsigned n = val >> 6;
    if (n == READ_BACK) {
        read_back(s, val);
        return;
    }
    Counter *c = &s->counter[n];
    if ((val >> 4 & 3) == RW_LATCH) {
        latch_count(c);
        return;
    }
    c->rw = val >> 4 & 3;
    c->mode = val >> 1 & 7;
    if (c->mode > 5) {
        c->mode &= 3; /* 110 is mode 2, 111 mode 3 */
    }
    c->bcd = val & 1;
    c->running = c->second_byte = c->read_msb = c->count_latched = c->status_latched = false;
    c->next = 0;
    c->null_count = true;
    counter_changed(s, n, pit_now());
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    Pit *s = opaque;
    (void)size;
    return offset == CONTROL ? 0xff : read_counter(&s->counter[offset]); /* write-only */
}

static void pit_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Pit *s = opaque;
    (void)size;
    if (offset == CONTROL) {
        write_control(s, val);
        return;
    }
    uint64_t now = pit_now();
    write_counter(&s->counter[offset], val, now);
    counter_changed(s, offset, now);
}

static const RegionOps pit_ops = { pit_read, pit_write, .sizes = 1 };

/* ---- pins ---- */

static void gate_rises(Counter *c, uint64_t now)
{
    switch (c->mode) {
    case 0:
    case 4: c->start = now - c->held; break; /* goes on where it stopped */
    case 2:
    case 3:
        if (c->running) {
            load(c, c->next ? c->next : c->count, now);
        }
        break;
    default:
        if (c->next || c->running) {
            uint32_t count = c->next ? c->next : c->count;
            load(c, count, now);
            c->next = count; /* every further trigger loads it again */
        }
    }
}

void pit_set_gate(Device *pit, unsigned counter, bool level)
{
    Pit *s = container_of(pit, Pit, dev);
    Counter *c = &s->counter[counter];
    if (c->gate == level) {
        return;
    }
    uint64_t now = pit_now();
    sync(c, now);
    if (!level) {
        c->held = elapsed(c, now);
    }
    c->gate = level;
    if (level) {
        gate_rises(c, now);
    }
    counter_changed(s, counter, now);
}

bool pit_gate(Device *pit, unsigned counter)
{
    return container_of(pit, Pit, dev)->counter[counter].gate;
}

bool pit_out(Device *pit, unsigned counter)
{
    return out_at(&container_of(pit, Pit, dev)->counter[counter], pit_now());
}

uint32_t pit_wave_ticks(Device *pit, unsigned counter)
{
    Counter *c = &container_of(pit, Pit, dev)->counter[counter];
    sync(c, pit_now());
    return c->running && c->gate && is_periodic(c) ? c->count : 0;
}

/* ---- to and from a stand-in ---- */

/* A rising edge that is due. */
static void part_prepare(void *opaque)
{
    Pit *s = opaque;
    if (timer_armed(&s->tick) && s->tick.deadline <= guest_clock_ns()) {
        timer_cancel(&s->tick);
        pit_tick(s);
    }
}

/* A count that waits for the end of a period is what the stand-in gets to count. */
static void counter_save(Counter *c, uint64_t now, PitCounterState *st)
{
    sync(c, now);
    bool waits = is_periodic(c) && c->next;
    *st = (PitCounterState) {
        .mode = c->mode, .rw = c->rw, .lsb = c->lsb, .status = c->status, .bcd = c->bcd,
        .gate = c->gate, .running = c->running, .second_byte = c->second_byte,
        .read_msb = c->read_msb, .count_latched = c->count_latched,
        .status_latched = c->status_latched, .latch = c->latch,
        .count = waits ? c->next : c->count, .elapsed = waits || !c->running ? 0 : elapsed(c, now),
    };
}

static void counter_load(Counter *c, uint64_t now, const PitCounterState *st)
{
    c->lsb = st->lsb, c->second_byte = st->second_byte, c->read_msb = st->read_msb;
    c->status = st->status, c->status_latched = st->status_latched;
    c->latch = st->latch, c->count_latched = st->count_latched;
    if (st->unchanged) {
        return; /* what it was loaded with, and when, is known here */
    }
    c->mode = st->mode, c->rw = st->rw, c->bcd = st->bcd, c->gate = st->gate;
    c->running = st->running;
    c->count = MIN(MAX(st->count, 1u), 0x10000u);
    c->start = now - MIN(st->elapsed, now);
    c->held = c->gate ? 0 : st->elapsed;
    c->next = needs_trigger(c) ? c->count : 0;
    c->null_count = !c->running;
}

static void part_save(void *opaque, void *state)
{
    Pit *s = opaque;
    PitState *st = state;
    uint64_t now = pit_now();
    for (unsigned n = 0; n < NR_COUNTERS; n++) {
        counter_save(&s->counter[n], now, &st->counter[n]);
    }
    st->replaced = s->replaced;
    uint64_t rise = s->replaced ? UINT64_MAX : next_rise(&s->counter[0], now);
    st->next_irq_ns = rise;
    bool due = timer_armed(&s->tick) && s->tick.deadline <= guest_clock_ns();
    timer_cancel(&s->tick);
    if (due) {
        st->next_irq_ns = 0;
    } else if (rise != UINT64_MAX) {
        uint64_t at = tick_to_ns(rise), now_ns = guest_clock_ns();
        st->next_irq_ns = at > now_ns ? at - now_ns : 0;
    }
}

static void part_load(void *opaque, const void *state)
{
    Pit *s = opaque;
    const PitState *st = state;
    uint64_t now = pit_now();
    for (unsigned n = 0; n < NR_COUNTERS; n++) {
        counter_load(&s->counter[n], now, &st->counter[n]);
    }
}

/* The line: low while a stand-in drives its own. Back here it rises at the next tick, not now. */
static void part_wake(void *opaque)
{
    Pit *s = opaque;
    uint64_t now = pit_now();
    if (!is_silent(s)) { /* else it is armed until its state is saved */
        rearm(s, now);
    }
    if (is_silent(s) || !irq_level(s, now)) {
        irq_set(&s->irq, false);
    }
}

/* ---- the device ---- */

static bool pit_realize(Device *dev, Error **errp)
{
    Pit *s = container_of(dev, Pit, dev);
    s->part = (IrqchipPart){ .kind = IRQCHIP_PIT, .opaque = s, .prepare = part_prepare,
                             .save = part_save, .load = part_load, .wake = part_wake };
    irqchip_part_add(dev->machine, &s->part);
    timer_init(&s->tick, pit_tick, s);
    device_init_irq_in(dev, &s->replaced_in, 1, set_replaced, s);
    device_init_irq_out(dev, &s->irq, 1);
    region_init_io(&s->io, dev, &pit_ops, s, 4);
    return isa_map_ports(dev, &s->io, s->iobase, errp);
}

static void pit_unrealize(Device *dev)
{
    irqchip_part_del(&container_of(dev, Pit, dev)->part);
}

static void pit_reset(Device *dev)
{
    Pit *s = container_of(dev, Pit, dev);
    s->counter[0].gate = s->counter[1].gate = true; /* tied high; 2 follows port 61h */
}

static void pit_refresh(Device *dev)
{
    Pit *s = container_of(dev, Pit, dev);
    for (unsigned n = 0; n < NR_COUNTERS; n++) {
        s->counter[n].count = MAX(s->counter[n].count, 1u); /* whatever a snapshot says */
    }
    irq_set(&s->irq, irq_level(s, pit_now()));
}

static void pit_info(Device *dev, void (*print)(void *opaque, const char *line), void *opaque)
{
    Pit *s = container_of(dev, Pit, dev);
    for (unsigned n = 0; n < NR_COUNTERS; n++) {
        Counter *c = &s->counter[n];
        char line[96];
        snprintf(line, sizeof(line), "counter %u: mode=%u count=%u now=%u gate=%d out=%d%s", n,
                 c->mode, c->count, value_at(c, pit_now()), c->gate, out_at(c, pit_now()),
                 c->running ? "" : " (stopped)");
        print(opaque, line);
    }
}

static const Property pit_props[] = {
    PROP_U32("iobase", Pit, iobase, .def = 0x40, .max = 0xfffc, .help = "first of four ports"),
    PROP_END,
};

static const StateField counter_state[] = {
    STATE_U8(Counter, mode, .max = 5),
    STATE_U8(Counter, rw, .reset = RW_BOTH, .mask = 3),
    STATE_BOOL(Counter, bcd),
    STATE_BOOL(Counter, gate),
    STATE_BOOL(Counter, running),
    STATE_BOOL(Counter, null_count),
    STATE_BOOL(Counter, second_byte),
    STATE_BOOL(Counter, read_msb),
    STATE_BOOL(Counter, count_latched),
    STATE_BOOL(Counter, status_latched),
    STATE_U8(Counter, lsb),
    STATE_U8(Counter, status),
    STATE_U16(Counter, latch),
    STATE_U32(Counter, count, .reset = 0x10000, .max = 0x10000),
    STATE_U32(Counter, next, .max = 0x10000),
    STATE_U64(Counter, next_at),
    STATE_U64(Counter, start),
    STATE_U64(Counter, held),
    STATE_END,
};

static const StateField pit_state[] = {
    STATE_STRUCT(Pit, counter, Counter, counter_state),
    STATE_BOOL(Pit, replaced, .keep = true), /* a pin: the HPET drives it */
    STATE_TIMER(Pit, tick),
    STATE_END,
};

DEVICE_TYPE(isa_pit) = {
    DEVICE_INFO("isa-pit", BUS_ISA, Pit, "Programmable interval timer 8254"),
    .props = pit_props,
    .state = pit_state,
    .state_version = 1,
    .realize = pit_realize,
    .unrealize = pit_unrealize,
    .reset = pit_reset,
    .refresh = pit_refresh,
    .info = pit_info,
    .internal = true,
};
