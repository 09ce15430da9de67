/* SPDX-License-Identifier: GPL-2.0-or-later
 * High precision event timers (IA-PC HPET specification 1.0a): a 64-bit counter of 100 MHz and
 * comparators that are all periodic and 64 bits wide. Left out: FSB (MSI) delivery, which the
 * capabilities do not claim.
 *
 * The counter is computed from guest time. Each comparator knows the tick of its next match; a
 * host timer runs only if that would interrupt. An edge-triggered output goes low and high again
 * at a match and stays high, so that the 8259 sees it like a PIT's OUT.
 */
#include "hw/timer/hpet.h"

#include <stdio.h>

#include "hw/core/machine.h"
#include "util/timer.h"

enum { GCAP_ID = 0x000, GEN_CONF = 0x010, GINTR_STA = 0x020, MAIN_CNT = 0x0f0, TN = 0x100,
       TN_CONF = 0x00, TN_CMP = 0x08, TN_FSB = 0x10, TN_SIZE = 0x20, HPET_SIZE = 0x400 };
enum { CONF_ENABLE = 1 << 0, CONF_LEG_RT = 1 << 1, CONF_MASK = 3 };
enum {
    T_LEVEL = 1 << 1, T_ENB = 1 << 2, T_PERIODIC = 1 << 3, T_PER_CAP = 1 << 4,
    T_SIZE_CAP = 1 << 5, T_VAL_SET = 1 << 6, T_32MODE = 1 << 8, T_ROUTE_SHIFT = 9,
    T_WRITABLE = T_LEVEL | T_ENB | T_PERIODIC | T_VAL_SET | T_32MODE | 31 << T_ROUTE_SHIFT,
};
enum { NS_PER_TICK = 10, FS_PER_TICK = NS_PER_TICK * 1000000, MIN_PERIOD = 1000 /* ticks */ };
enum { MAX_TIMERS = 32, NR_GSI = 24, LEGACY_PIT_GSI = 0, LEGACY_RTC_GSI = 8 };
#define NEVER UINT64_MAX

typedef struct Comparator {
    uint32_t config;
    uint64_t cmp, period;
    uint64_t due;  /* tick (guest time / 10 ns) of the next match, NEVER: none */
    bool high;     /* edge-triggered output */
    Timer timer;
    struct Hpet *hpet; /* wiring */
} Comparator;

typedef struct Hpet {
    Device dev;
    uint32_t address, nr_timers, intcap; /* properties */
    uint64_t conf, status;
    uint64_t counter;    /* MAIN_CNT at start_tick; while halted, now */
    uint64_t start_tick;
    Comparator timer[MAX_TIMERS];
    bool legacy_in[2];   /* pins: PIT and RTC */
    IrqLine in[2];
    Irq out[HPET_NR_OUT];
    Region mmio;
} Hpet;

static uint64_t now_tick(void)
{
    return guest_clock_ns() / NS_PER_TICK;
}

static uint64_t main_counter(const Hpet *s)
{
    return s->counter + (s->conf & CONF_ENABLE ? now_tick() - s->start_tick : 0);
}

static uint64_t width_mask(const Comparator *t)
{
    return t->config & T_32MODE ? UINT32_MAX : UINT64_MAX;
}

/* ---- outputs ---- */

static unsigned route(const Hpet *s, unsigned n)
{
    if ((s->conf & CONF_LEG_RT) && n < 2) {
        return n ? LEGACY_RTC_GSI : LEGACY_PIT_GSI;
    }
    return s->timer[n].config >> T_ROUTE_SHIFT & 31;
}

static void drive_outputs(Hpet *s)
{
    uint32_t high = 0;
    bool legacy = s->conf & CONF_LEG_RT;
    if (!legacy) {
        high = s->legacy_in[HPET_IN_PIT] << LEGACY_PIT_GSI |
               s->legacy_in[HPET_IN_RTC] << LEGACY_RTC_GSI;
    }
    for (unsigned n = 0; n < s->nr_timers; n++) {
        const Comparator *t = &s->timer[n];
        bool on = t->config & T_LEVEL ? s->status >> n & 1 : t->high;
        if (on && (t->config & T_ENB)) {
            high |= 1u << route(s, n);
        }
    }
    for (unsigned gsi = 0; gsi < NR_GSI; gsi++) {
        irq_set(&s->out[gsi], high >> gsi & 1);
    }
    irq_set(&s->out[HPET_OUT_LEGACY], legacy);
}

static void set_legacy_in(void *opaque, unsigned n, bool level)
{
    Hpet *s = opaque;
    s->legacy_in[n] = level;
    drive_outputs(s);
}

/* ---- comparators ---- */

static void arm(Comparator *t)
{
    timer_cancel(&t->timer);
    /* A level timer shows its match in GINTR_STA whether it may interrupt or not. */
    if (t->due == NEVER || !(t->config & (T_ENB | T_LEVEL))) {
        return;
    }
    uint64_t tick = t->due;
    if ((t->config & T_PERIODIC) && t->period < MIN_PERIOD) {
        tick = MAX(tick, now_tick() + MIN_PERIOD); /* lest it drowns the host */
    }
    timer_arm(&t->timer, tick > UINT64_MAX / NS_PER_TICK ? UINT64_MAX : tick * NS_PER_TICK);
}

/* Anew after comparator, counter or mode changed. */
static void schedule(Comparator *t)
{
    Hpet *s = t->hpet;
    t->due = NEVER;
    if (s->conf & CONF_ENABLE) {
        uint64_t ahead = (t->cmp - main_counter(s)) & width_mask(t);
        uint64_t now = now_tick();
        t->due = ahead < NEVER - now ? now + ahead : NEVER;
    }
    arm(t);
}

static void match(Comparator *t)
{
    Hpet *s = t->hpet;
    unsigned n = t - s->timer;
    if (t->config & T_LEVEL) {
        s->status |= 1ull << n;
    } else if (t->config & T_ENB) {
        t->high = false;
        drive_outputs(s);
        t->high = true;
    }
    drive_outputs(s);
}

/* Matches that lie in the past take effect; several periods missed are one interrupt. */
static void catch_up(Comparator *t)
{
    uint64_t now = now_tick();
    if (t->due == NEVER || now < t->due) {
        return;
    }
    if (!(t->config & T_PERIODIC)) {
        t->due = t->config & T_32MODE ? t->due + (1ull << 32) : NEVER; /* when it wraps */
    } else if (t->period) {
        uint64_t advance = ((now - t->due) / t->period + 1) * t->period;
        t->cmp = (t->cmp + advance) & width_mask(t);
        t->due += advance;
    } else {
        t->due = NEVER;
    }
    arm(t);
    match(t);
}

static void comparator_expired(void *opaque)
{
    catch_up(opaque);
}

static void catch_up_all(Hpet *s)
{
    for (unsigned n = 0; n < s->nr_timers; n++) {
        catch_up(&s->timer[n]);
    }
}

/* ---- registers, 64 bits each ---- */

static uint64_t capabilities(const Hpet *s)
{
    return (uint64_t)FS_PER_TICK << 32 | 0x8086a001 | (s->nr_timers - 1) << 8;
}

static uint64_t read_comparator(const Hpet *s, const Comparator *t, unsigned reg)
{
    switch (reg) {
    case TN_CONF:
        return (uint64_t)s->intcap << 32 | T_PER_CAP | T_SIZE_CAP | (t->config & ~T_VAL_SET);
    case TN_CMP: return t->cmp;
    default: return 0; /* no FSB routing */
    }
}

static uint64_t read_register(Hpet *s, unsigned reg)
{
    catch_up_all(s);
    unsigned n = (reg - TN) / TN_SIZE;
    switch (reg) {
    case GCAP_ID: return capabilities(s);
    case GEN_CONF: return s->conf;
    case GINTR_STA: return s->status;
    case MAIN_CNT: return main_counter(s);
    default:
        if (reg < TN || n >= s->nr_timers) {
            log_guest("hpet: read of reserved register %03x", reg);
            return 0;
        }
        return read_comparator(s, &s->timer[n], reg % TN_SIZE);
    }
}

static void schedule_all(Hpet *s)
{
    for (unsigned n = 0; n < s->nr_timers; n++) {
        schedule(&s->timer[n]);
    }
}

static void write_conf(Hpet *s, uint64_t val)
{
    uint64_t count = main_counter(s);
    bool toggled = (s->conf ^ val) & CONF_ENABLE;
    s->conf = val & CONF_MASK;
    if (toggled) {
        s->counter = count;
        s->start_tick = now_tick();
        schedule_all(s);
    }
    drive_outputs(s);
}

static void write_config(Comparator *t, uint64_t val)
{
    t->config = val & T_WRITABLE;
    t->cmp &= width_mask(t);
    t->period &= width_mask(t);
    if (t->config & T_LEVEL || !(t->config & T_ENB)) {
        t->high = false;
    }
    schedule(t);
    drive_outputs(t->hpet);
}

/* half: the bits written. In periodic mode a write sets the period, and right after VAL_SET also
 * the comparator (2.3.9.2.2). */
static void write_cmp(Comparator *t, uint64_t val, uint64_t half)
{
    half &= width_mask(t);
    bool periodic = t->config & T_PERIODIC;
    if (!periodic || (t->config & T_VAL_SET)) {
        t->cmp = (t->cmp & ~half) | (val & half);
    }
    if (periodic) {
        t->period = (t->period & ~half) | (val & half);
    }
    t->config &= ~T_VAL_SET;
    schedule(t);
}

/* val has the written bits in place; half says which they are. */
static void write_register(Hpet *s, unsigned reg, uint64_t val, uint64_t half)
{
    catch_up_all(s);
    unsigned n = (reg - TN) / TN_SIZE;
    Comparator *t = reg >= TN && n < s->nr_timers ? &s->timer[n] : NULL;
    switch (reg) {
    case GCAP_ID: break; /* read only */
    case GEN_CONF: write_conf(s, (s->conf & ~half) | val); break;
    case GINTR_STA:
        s->status &= ~val;
        drive_outputs(s);
        break;
    case MAIN_CNT:
        s->counter = (main_counter(s) & ~half) | val;
        s->start_tick = now_tick();
        schedule_all(s);
        break;
    default:
        if (!t) {
            log_guest("hpet: write to reserved register %03x", reg);
        } else if (reg % TN_SIZE == TN_CONF) {
            write_config(t, (t->config & ~half) | val);
        } else if (reg % TN_SIZE == TN_CMP) {
            write_cmp(t, val, half);
        }
    }
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t val = read_register(opaque, offset & ~7ull);
    return size == 8 ? val : (uint32_t)(val >> (offset & 4 ? 32 : 0));
}

static void hpet_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    unsigned shift = offset & 4 ? 32 : 0;
    uint64_t half = size == 8 ? UINT64_MAX : (uint64_t)UINT32_MAX << shift;
    write_register(opaque, offset & ~7ull, val << shift, half);
}

static const RegionOps hpet_ops = { hpet_read, hpet_write, .sizes = 4 | 8 };

/* ---- the device ---- */

static bool hpet_realize(Device *dev, Error **errp)
{
    Hpet *s = container_of(dev, Hpet, dev);
    (void)errp;
    for (unsigned n = 0; n < MAX_TIMERS; n++) {
        s->timer[n].hpet = s;
        timer_init(&s->timer[n].timer, comparator_expired, &s->timer[n]);
    }
    device_init_irq_in(dev, s->in, ARRAY_SIZE(s->in), set_legacy_in, s);
    device_init_irq_out(dev, s->out, HPET_NR_OUT);
    region_init_io(&s->mmio, dev, &hpet_ops, s, MAX(TN + TN_SIZE * s->nr_timers, HPET_SIZE));
    region_add(&dev->machine->memory_root, s->address, &s->mmio, 1);
    return true;
}

static void hpet_refresh(Device *dev)
{
    drive_outputs(container_of(dev, Hpet, dev));
}

static void hpet_info(Device *dev, void (*print)(void *opaque, const char *line), void *opaque)
{
    Hpet *s = container_of(dev, Hpet, dev);
    char line[128];
    snprintf(line, sizeof(line), "hpet: counter=%llu %s%s",
             (unsigned long long)main_counter(s), s->conf & CONF_ENABLE ? "running" : "halted",
             s->conf & CONF_LEG_RT ? ", legacy replacement" : "");
    print(opaque, line);
    for (unsigned n = 0; n < s->nr_timers; n++) {
        const Comparator *t = &s->timer[n];
        snprintf(line, sizeof(line), "  timer %u: cmp=%llu period=%llu gsi=%u %s %s%s", n,
                 (unsigned long long)t->cmp, (unsigned long long)t->period, route(s, n),
                 t->config & T_LEVEL ? "level" : "edge",
                 t->config & T_PERIODIC ? "periodic" : "one-shot",
                 t->config & T_ENB ? "" : ", off");
        print(opaque, line);
    }
}

static const Property hpet_props[] = {
    PROP_U32("address", Hpet, address, .def = HPET_DEFAULT_BASE,
             .help = "guest physical address of the registers"),
    PROP_U32("timers", Hpet, nr_timers, .def = 3, .min = 3, .max = MAX_TIMERS,
             .help = "number of comparators"),
    PROP_U32("hpet-intcap", Hpet, intcap, .def = 0xff0104,
             .help = "GSIs that comparators may be routed to, as a bit mask"),
    PROP_END,
};

static const StateField comparator_state[] = {
    STATE_U32(Comparator, config, .mask = T_WRITABLE),
    STATE_U64(Comparator, cmp, .reset = UINT64_MAX),
    STATE_U64(Comparator, period),
    STATE_U64(Comparator, due, .reset = NEVER),
    STATE_BOOL(Comparator, high),
    STATE_TIMER(Comparator, timer),
    STATE_END,
};

static const StateField hpet_state[] = {
    STATE_U64(Hpet, conf, .mask = CONF_MASK),
    STATE_U64(Hpet, status),
    STATE_U64(Hpet, counter),
    STATE_U64(Hpet, start_tick),
    STATE_STRUCT(Hpet, timer, Comparator, comparator_state),
    STATE_BOOLS(Hpet, legacy_in, .keep = true), /* pins: others drive them */
    STATE_END,
};

DEVICE_TYPE(hpet) = {
    DEVICE_INFO("hpet", BUS_NONE, Hpet, "High precision event timers"),
    .props = hpet_props,
    .state = hpet_state,
    .state_version = 1,
    .realize = hpet_realize,
    .refresh = hpet_refresh,
    .info = hpet_info,
    .internal = true,
};
