/* SPDX-License-Identifier: GPL-2.0-or-later
 * Real-time clock and CMOS RAM (Motorola MC146818A data sheet; 128 bytes and the century byte at
 * 32h as on any PC since). Left out: daylight saving (DSE), the square wave pin, other crystals
 * than 32768 Hz.
 *
 * The time of day is a clock of the host's (config.rtc_clock) plus offset_ns; setting the time
 * moves the offset. While SET or the divider's reset stops the updates, registers 0-9 are plain
 * RAM. Flags in REG_C are brought up to date when somebody looks; a host timer runs only while a
 * flag would raise IRQ 8 and has not done so yet.
 */
#include "hw/timer/mc146818.h"

#include <stdio.h>
#include <time.h>

#include "hw/core/machine.h"
#include "hw/isa/isa.h"

enum { REG_SECONDS, REG_SECONDS_ALARM, REG_MINUTES, REG_MINUTES_ALARM, REG_HOURS,
       REG_HOURS_ALARM, REG_WEEKDAY, REG_DAY, REG_MONTH, REG_YEAR, REG_A, REG_B, REG_C, REG_D,
       REG_CENTURY = 0x32, REG_CENTURY_PS2 = 0x37, NR_CMOS = 128 };
enum { A_UIP = 0x80, A_DV = 0x70, A_DV_RESET = 0x60, A_RS = 0x0f };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_SQWE = 0x08, B_DM = 0x04,
       B_24H = 0x02, B_DSE = 0x01, B_ENABLES = B_PIE | B_AIE | B_UIE };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10, D_VRT = 0x80, HOURS_PM = 0x80 };
enum { INDEX_MASK = 0x7f, NMI_MASK = 0x80 };
enum { CRYSTAL_HZ = 32768, DAY_S = 86400 };
#define NS_PER_S 1000000000ll
#define UPDATE_NS (244000ll + 1984000ll) /* UIP rises 244 us before the 1984 us of the update */
enum { YEAR_MIN = 1900, YEAR_MAX = 2150 };

typedef struct Rtc {
    Device dev;
    uint8_t cmos[NR_CMOS]; /* 0-9, 32h: current only while stopped */
    uint8_t index;
    bool nmi_masked;
    int64_t offset_ns;     /* RTC time = clock + offset, ns since 1970 */
    uint64_t seen_tick;    /* REG_C is right up to this crystal tick */
    int64_t seen_s;        /* and this second of RTC time */
    TimerClock clock;      /* wiring, from the machine's configuration */
    Timer periodic, update; /* derived: rtc_rearm */
    Irq irq;
    Region io;
} Rtc;

/* ---- time ---- */

static int64_t now_ns(const Rtc *s)
{
    return (int64_t)clock_ns(s->clock) + s->offset_ns;
}

static int64_t floor_s(int64_t ns)
{
    return ns / NS_PER_S - (ns % NS_PER_S < 0);
}

static bool stopped(const Rtc *s)
{
    return (s->cmos[REG_B] & B_SET) || (s->cmos[REG_A] & A_DV_RESET) == A_DV_RESET;
}

static uint8_t encode(const Rtc *s, unsigned n)
{
    return s->cmos[REG_B] & B_DM ? n : (n / 10 % 10) << 4 | n % 10;
}

static unsigned decode(const Rtc *s, uint8_t val)
{
    return s->cmos[REG_B] & B_DM ? val : (val >> 4) * 10 + (val & 15);
}

static uint8_t encode_hour(const Rtc *s, unsigned hour)
{
    if (s->cmos[REG_B] & B_24H) {
        return encode(s, hour);
    }
    return encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOURS_PM : 0);
}

static unsigned decode_hour(const Rtc *s, uint8_t val)
{
    if (s->cmos[REG_B] & B_24H) {
        return decode(s, val);
    }
    return decode(s, val & ~HOURS_PM) % 12 + (val & HOURS_PM ? 12 : 0);
}

/* Registers 0-9 and the century from RTC time. */
static void put_time(Rtc *s, int64_t seconds)
{
    time_t t = seconds;
    struct tm tm;
    if (!gmtime_r(&t, &tm)) {
        return;
    }
    unsigned year = tm.tm_year + 1900;
    s->cmos[REG_SECONDS] = encode(s, tm.tm_sec);
    s->cmos[REG_MINUTES] = encode(s, tm.tm_min);
    s->cmos[REG_HOURS] = encode_hour(s, tm.tm_hour);
    s->cmos[REG_WEEKDAY] = encode(s, tm.tm_wday + 1);
    s->cmos[REG_DAY] = encode(s, tm.tm_mday);
    s->cmos[REG_MONTH] = encode(s, tm.tm_mon + 1);
    s->cmos[REG_YEAR] = encode(s, year % 100);
    s->cmos[REG_CENTURY] = encode(s, year / 100 % 100);
}

/* And back; what is no date becomes one as timegm sees fit. Nanoseconds in 64 bits reach from
 * 1678 to 2262, and differences of two times have to fit as well: other years become the next
 * that does. */
static int64_t get_time(const Rtc *s)
{
    int year = decode(s, s->cmos[REG_CENTURY]) * 100 + decode(s, s->cmos[REG_YEAR]);
    struct tm tm = {
        .tm_sec = decode(s, s->cmos[REG_SECONDS]),
        .tm_min = decode(s, s->cmos[REG_MINUTES]),
        .tm_hour = decode_hour(s, s->cmos[REG_HOURS]),
        .tm_mday = decode(s, s->cmos[REG_DAY]),
        .tm_mon = (int)decode(s, s->cmos[REG_MONTH]) - 1,
        .tm_year = MIN(MAX(year, YEAR_MIN), YEAR_MAX) - 1900,
    };
    return timegm(&tm);
}

static void set_time(Rtc *s, int64_t seconds, int64_t fraction_ns)
{
    s->offset_ns += seconds * NS_PER_S + fraction_ns - now_ns(s);
    s->seen_s = seconds;
}

static int64_t fraction_ns(const Rtc *s)
{
    int64_t now = now_ns(s);
    return now - floor_s(now) * NS_PER_S;
}

static bool update_in_progress(const Rtc *s)
{
    return !stopped(s) && fraction_ns(s) >= NS_PER_S - UPDATE_NS;
}

/* ---- alarm, periodic ---- */

static bool any(uint8_t reg)
{
    return (reg & 0xc0) == 0xc0; /* 11xxxxxx: don't care */
}

static bool alarm_field(uint8_t reg, unsigned want, unsigned now)
{
    return any(reg) || want == now;
}

/* The first second after t at which the alarm fits, INT64_MAX if it never does. */
static int64_t next_alarm(const Rtc *s, int64_t t)
{
    const uint8_t *r = s->cmos;
    unsigned hour = decode_hour(s, r[REG_HOURS_ALARM]);
    unsigned min = decode(s, r[REG_MINUTES_ALARM]), sec = decode(s, r[REG_SECONDS_ALARM]);
    if ((min > 59 && !any(r[REG_MINUTES_ALARM])) || (sec > 59 && !any(r[REG_SECONDS_ALARM]))) {
        return INT64_MAX;
    }
    int64_t end = ++t + DAY_S;
    while (t < end) {
        int64_t day = ((t % DAY_S) + DAY_S) % DAY_S;
        if (!alarm_field(r[REG_HOURS_ALARM], hour, day / 3600)) {
            t += 3600 - day % 3600;
        } else if (!alarm_field(r[REG_MINUTES_ALARM], min, day / 60 % 60)) {
            t += 60 - day % 60;
        } else if (!alarm_field(r[REG_SECONDS_ALARM], sec, day % 60)) {
            t++;
        } else {
            return t;
        }
    }
    return INT64_MAX;
}

/* Crystal ticks between two periodic interrupts; 0: none. */
static unsigned period_ticks(const Rtc *s)
{
    unsigned rs = s->cmos[REG_A] & A_RS;
    if (!rs || (s->cmos[REG_A] & A_DV_RESET) == A_DV_RESET) {
        return 0;
    }
    return 1u << ((rs <= 2 ? rs + 7 : rs) - 1);
}

static uint64_t crystal_tick(void)
{
    return (unsigned __int128)guest_clock_ns() * CRYSTAL_HZ / NS_PER_S;
}

static uint64_t tick_to_ns(uint64_t tick)
{
    return ((unsigned __int128)tick * NS_PER_S + CRYSTAL_HZ - 1) / CRYSTAL_HZ;
}

/* ---- flags and IRQ 8 ---- */

static void update_flags(Rtc *s)
{
    uint64_t tick = crystal_tick();
    unsigned period = period_ticks(s);
    if (period && tick / period != s->seen_tick / period) {
        s->cmos[REG_C] |= C_PF;
    }
    s->seen_tick = tick;
    int64_t now_s = floor_s(now_ns(s));
    if (!stopped(s) && now_s > s->seen_s) {
        s->cmos[REG_C] |= C_UF | (next_alarm(s, s->seen_s) <= now_s ? C_AF : 0);
    }
    s->seen_s = now_s;
}

static bool irq_pending(const Rtc *s)
{
    return s->cmos[REG_C] & s->cmos[REG_B] & B_ENABLES;
}

static void rtc_rearm(Rtc *s)
{
    timer_cancel(&s->periodic);
    timer_cancel(&s->update);
    uint8_t enables = s->cmos[REG_B];
    if (irq_pending(s)) {
        return; /* IRQ 8 is up until REG_C is read */
    }
    unsigned period = period_ticks(s);
    if (period && (enables & B_PIE)) {
        timer_arm(&s->periodic, tick_to_ns((s->seen_tick / period + 1) * period));
    }
    int64_t next = INT64_MAX;
    if (enables & B_UIE) {
        next = s->seen_s + 1;
    } else if (enables & B_AIE) {
        next = next_alarm(s, s->seen_s);
    }
    if (!stopped(s) && next != INT64_MAX) {
        timer_arm(&s->update, MAX(next * NS_PER_S - s->offset_ns, 0));
    }
}

/* After anything changed, and when a timer ran out. */
static void rtc_changed(void *opaque)
{
    Rtc *s = opaque;
    update_flags(s);
    rtc_rearm(s);
    irq_set(&s->irq, irq_pending(s));
}

/* ---- registers ---- */

static bool is_time(unsigned reg)
{
    return reg == REG_SECONDS || reg == REG_MINUTES || reg == REG_HOURS ||
           (reg >= REG_WEEKDAY && reg <= REG_YEAR) || reg == REG_CENTURY;
}

static unsigned real_index(const Rtc *s)
{
    return s->index == REG_CENTURY_PS2 ? REG_CENTURY : s->index;
}

static uint8_t read_flags(Rtc *s)
{
    update_flags(s);
    uint8_t val = s->cmos[REG_C] | (irq_pending(s) ? C_IRQF : 0);
    s->cmos[REG_C] = 0;
    irq_set(&s->irq, false); /* a tick since update_flags() is an edge of its own */
    rtc_changed(s);
    return val;
}

static uint8_t read_register(Rtc *s)
{
    unsigned reg = real_index(s);
    switch (reg) {
    case REG_A: return s->cmos[REG_A] | (update_in_progress(s) ? A_UIP : 0);
    case REG_C: return read_flags(s);
    case REG_D: return D_VRT;
    default:
        if (is_time(reg) && !stopped(s)) {
            put_time(s, floor_s(now_ns(s)));
        }
        return s->cmos[reg];
    }
}

/* REG_A or REG_B: the clock stops or goes on, the format may change. */
static void write_control(Rtc *s, unsigned reg, uint8_t val)
{
    bool was_stopped = stopped(s);
    bool was_reset = (s->cmos[REG_A] & A_DV_RESET) == A_DV_RESET;
    update_flags(s);
    if (!was_stopped) {
        put_time(s, floor_s(now_ns(s)));
    }
    if (reg == REG_A) {
        s->cmos[REG_A] = val & ~A_UIP;
    } else {
        s->cmos[REG_B] = val & B_SET ? val & ~B_UIE : val; /* SET clears UIE */
    }
    if (was_stopped && !stopped(s)) {
        /* The format that is set now is the one the registers were written in. Out of the
         * divider's reset the first update comes after half a second. */
        set_time(s, get_time(s), was_reset ? NS_PER_S / 2 : fraction_ns(s));
    }
}

static void write_register(Rtc *s, uint8_t val)
{
    unsigned reg = real_index(s);
    switch (reg) {
    case REG_A:
    case REG_B: write_control(s, reg, val); break;
    case REG_C:
    case REG_D: return; /* read only */
    default:
        if (is_time(reg) && !stopped(s)) {
            put_time(s, floor_s(now_ns(s)));
            s->cmos[reg] = val;
            if (reg != REG_WEEKDAY) {
                set_time(s, get_time(s), fraction_ns(s));
            }
        } else {
            s->cmos[reg] = val;
        }
        if (reg > REG_YEAR) {
            return; /* plain RAM */
        }
    }
    rtc_changed(s);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    Rtc *s = opaque;
    (void)size;
    return offset ? read_register(s) : 0xff; /* the index is write-only */
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Rtc *s = opaque;
    (void)size;
    if (offset) {
        write_register(s, val);
    } else {
        s->index = val & INDEX_MASK;
        s->nmi_masked = val & NMI_MASK;
    }
}

static const RegionOps rtc_ops = { rtc_read, rtc_write, .sizes = 1 };

/* ---- for the board ---- */

void rtc_set_cmos(Device *rtc, unsigned index, uint8_t val)
{
    if (index > REG_D && index < NR_CMOS && index != REG_CENTURY) {
        container_of(rtc, Rtc, dev)->cmos[index] = val;
    }
}

uint8_t rtc_get_cmos(Device *rtc, unsigned index)
{
    return container_of(rtc, Rtc, dev)->cmos[index & INDEX_MASK];
}

bool rtc_nmi_masked(Device *rtc)
{
    return container_of(rtc, Rtc, dev)->nmi_masked;
}

/* ---- the device ---- */

static int64_t local_offset_s(int64_t utc_s)
{
    time_t t = utc_s;
    struct tm tm;
    return localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;
}

static void init_time(Rtc *s, const MachineConfig *config)
{
    static const TimerClock clocks[] = {
        [RTC_CLOCK_HOST] = TIMER_WALL,
        [RTC_CLOCK_RT] = TIMER_HOST,
        [RTC_CLOCK_VM] = TIMER_GUEST,
    };
    s->clock = clocks[config->rtc_clock];
    int64_t wall_s = wall_clock_ns() / NS_PER_S;
    int64_t start = wall_s;
    if (config->rtc_base == RTC_LOCALTIME) {
        start += local_offset_s(wall_s);
    } else if (config->rtc_base == RTC_DATE) {
        start = config->rtc_date;
    }
    /* On the wall clock, seconds change together with the host's. */
    s->offset_ns = s->clock == TIMER_WALL ? (start - wall_s) * NS_PER_S
                                          : start * NS_PER_S - (int64_t)clock_ns(s->clock);
}

static bool rtc_realize(Device *dev, Error **errp)
{
    Rtc *s = container_of(dev, Rtc, dev);
    init_time(s, &dev->machine->config);
    s->cmos[REG_A] = 0x26; /* 32768 Hz, 1024 Hz: how every BIOS leaves it */
    s->cmos[REG_B] = B_24H;
    timer_init(&s->periodic, rtc_changed, s);
    timer_init_on(&s->update, s->clock, rtc_changed, s);
    device_init_irq_out(dev, &s->irq, 1);
    region_init_io(&s->io, dev, &rtc_ops, s, 2);
    return isa_map_ports(dev, &s->io, 0x70, errp);
}

static void rtc_reset(Device *dev)
{
    Rtc *s = container_of(dev, Rtc, dev);
    /* The RESET pin: interrupts go off, time and RAM stay. */
    s->cmos[REG_B] &= ~(B_ENABLES | B_SQWE);
    s->cmos[REG_C] = 0;
    s->seen_s = floor_s(now_ns(s));
}

static void rtc_refresh(Device *dev)
{
    rtc_changed(container_of(dev, Rtc, dev));
}

static void rtc_info(Device *dev, void (*print)(void *opaque, const char *line), void *opaque)
{
    Rtc *s = container_of(dev, Rtc, dev);
    time_t t = stopped(s) ? get_time(s) : floor_s(now_ns(s));
    struct tm tm;
    char line[96] = "rtc: ", date[64];
    if (gmtime_r(&t, &tm) && strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm)) {
        snprintf(line, sizeof(line), "rtc: %s%s A=%02x B=%02x C=%02x", date,
                 stopped(s) ? " (stopped)" : "", s->cmos[REG_A], s->cmos[REG_B], s->cmos[REG_C]);
    }
    print(opaque, line);
}

static const StateField rtc_state[] = {
    STATE_U8S(Rtc, cmos, .keep = true),
    STATE_U8(Rtc, index, .max = INDEX_MASK),
    STATE_BOOL(Rtc, nmi_masked),
    STATE_I64(Rtc, offset_ns, .keep = true),
    STATE_U64(Rtc, seen_tick, .keep = true),
    STATE_I64(Rtc, seen_s, .keep = true),
    STATE_END,
};

DEVICE_TYPE(mc146818rtc) = {
    DEVICE_INFO("mc146818rtc", BUS_ISA, Rtc, "Real-time clock MC146818 and CMOS RAM"),
    .state = rtc_state,
    .state_version = 1,
    .realize = rtc_realize,
    .reset = rtc_reset,
    .refresh = rtc_refresh,
    .info = rtc_info,
    .internal = true,
};
