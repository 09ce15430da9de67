/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands of the floppy controller (82077AA 5): the table, the command phase, and all that end
 * without moving data. PART ID, OPTION, DRIVE SPECIFICATION and POWERDOWN MODE are the 82078's.
 */
#include "hw/block/fdc.h"

#include <string.h>

enum { VERSION_82077 = 0x90, PART_ID_82078 = 0x41, MAX_STEPS = 79 };
enum { ST3_WP = 0x40, ST3_ONE = 0x28, ST3_TRK0 = 0x10 };
enum { PERP_OW = 0x80, SPEC_DONE = 0x80, SPEC_NO_RESULT = 0x40 };

static void version(Fdc *s)
{
    s->fifo[0] = VERSION_82077;
    fdc_result(s, 1);
}

static void part_id(Fdc *s)
{
    s->fifo[0] = PART_ID_82078;
    fdc_result(s, 1);
}

static void invalid(Fdc *s)
{
    s->fifo[0] = ST0_INVALID;
    fdc_result(s, 1);
}

static void specify(Fdc *s)
{
    memcpy(s->specify, s->fifo + 1, 2);
    fdc_result(s, 0);
}

static void configure(Fdc *s)
{
    s->config = s->fifo[2] & 0x7f;
    s->pretrk = s->fifo[3];
    fdc_result(s, 0);
}

static void lock(Fdc *s)
{
    s->lock = s->fifo[0] & 0x80;
    s->fifo[0] = s->lock ? 0x10 : 0;
    fdc_result(s, 1);
}

/* Without OW the bits of the drives stay (82077AA 5.2.12). */
static void perpendicular(Fdc *s)
{
    uint8_t val = s->fifo[1];
    s->perpendicular =
        val & PERP_OW ? val & 0x3f : (uint8_t)((s->perpendicular & 0x3c) | (val & 0x03));
    fdc_result(s, 0);
}

static void dump_registers(Fdc *s)
{
    uint8_t regs[10] = { s->pcn[0],     s->pcn[1],
                         s->pcn[2],     s->pcn[3],
                         s->specify[0], s->specify[1],
                         s->last_eot,   (uint8_t)((s->lock ? 0x80 : 0) | s->perpendicular),
                         s->config,     s->pretrk };
    memcpy(s->fifo, regs, sizeof(regs));
    fdc_result(s, sizeof(regs));
}

/* One byte a drive until DONE. */
static void drive_specification(Fdc *s)
{
    uint8_t val = s->fifo[1];
    if (!(val & SPEC_DONE)) {
        s->drive_spec[val >> 5 & 3] = val & 0x1f;
        s->pos = 1;
    } else if (val & SPEC_NO_RESULT) {
        fdc_result(s, 0);
    } else {
        memcpy(s->fifo, s->drive_spec, 4);
        fdc_result(s, 4);
    }
}

static void option(Fdc *s)
{
    fdc_result(s, 0);
}

static void powerdown_mode(Fdc *s)
{
    s->fifo[0] = s->fifo[1];
    fdc_result(s, 1);
}

static void sense_drive(Fdc *s)
{
    FloppyDrive *d = fdc_drive(s, s->fifo[1] & 3);
    s->head = s->fifo[1] >> 2 & 1;
    s->fifo[0] = (uint8_t)(ST3_ONE | (s->fifo[1] & 7) | (d && d->cylinder == 0 ? ST3_TRK0 : 0) |
                           (d && d->format && drive_is_readonly(d->drive) ? ST3_WP : 0));
    fdc_result(s, 1);
}

/* ---- seeks ---- */

static void seek_ended(Fdc *s, unsigned unit, uint8_t st0)
{
    s->seek_st0[unit] = (uint8_t)(st0 | unit);
    fdc_result(s, 0);
    fdc_interrupt(s); /* ends what a reset left to tell */
    s->seek_ended |= (uint8_t)(1 << unit);
}

/* The chip counts; where the head really is, it does not know. */
static void seek_to(Fdc *s, int target)
{
    unsigned unit = s->fifo[1] & 3;
    FloppyDrive *d = fdc_drive(s, unit);
    s->head = s->fifo[1] >> 2 & 1;
    target = MIN(MAX(target, 0), 255);
    if (d) {
        floppy_step(d, target - s->pcn[unit]);
    }
    s->pcn[unit] = (uint8_t)target;
    seek_ended(s, unit, (uint8_t)(ST0_SE | s->head << 2));
}

static void seek(Fdc *s)
{
    seek_to(s, s->fifo[2]);
}

static void relative_seek(Fdc *s)
{
    int by = s->fifo[2];
    seek_to(s, s->pcn[s->fifo[1] & 3] + (s->fifo[0] & 0x40 ? by : -by));
}

/* Steps out until track 0, 79 times at most: an absent drive never gets there. */
static void recalibrate(Fdc *s)
{
    unsigned unit = s->fifo[1] & 3;
    FloppyDrive *d = fdc_drive(s, unit);
    s->pcn[unit] = 0;
    s->head = 0;
    if (d) {
        floppy_step(d, -MIN((int)d->cylinder, (int)MAX_STEPS));
    }
    bool there = d && d->cylinder == 0;
    seek_ended(s, unit, there ? ST0_SE : ST0_ABNORMAL | ST0_SE | ST0_EC);
}

static void sense_interrupt(Fdc *s)
{
    uint8_t *list = s->polled ? &s->polled : &s->seek_ended;
    s->int_pending = false;
    if (!*list) {
        invalid(s);
        return;
    }
    unsigned unit = __builtin_ctz(*list);
    s->fifo[0] = (uint8_t)(s->polled ? ST0_POLLED | unit : s->seek_st0[unit]);
    s->fifo[1] = s->pcn[unit];
    *list &= (uint8_t) ~(1 << unit);
    fdc_result(s, 2);
}

/* ---- commands that move data ---- */

static void read_data(Fdc *s)
{
    fdc_start_transfer(s, FDC_READ);
}
static void read_deleted(Fdc *s)
{
    fdc_start_transfer(s, FDC_READ_DELETED);
}
static void read_track(Fdc *s)
{
    fdc_start_transfer(s, FDC_READ_TRACK);
}
static void verify(Fdc *s)
{
    fdc_start_transfer(s, FDC_VERIFY);
}
static void write_data(Fdc *s)
{
    fdc_start_transfer(s, FDC_WRITE);
}
static void format_track(Fdc *s)
{
    fdc_start_transfer(s, FDC_FORMAT);
}
static void scan_equal(Fdc *s)
{
    fdc_start_transfer(s, FDC_SCAN_EQUAL);
}
static void scan_low(Fdc *s)
{
    fdc_start_transfer(s, FDC_SCAN_LOW);
}
static void scan_high(Fdc *s)
{
    fdc_start_transfer(s, FDC_SCAN_HIGH);
}

/* mask: bits of the first byte that name the command; the others are MT, MFM, SK, DIR, LOCK. */
static const struct {
    uint8_t mask, value, len; /* len: with the first byte */
    void (*run)(Fdc *s);
} commands[] = {
    { 0x1f, 0x06, 9, read_data },
    { 0x1f, 0x0c, 9, read_deleted },
    { 0x3f, 0x05, 9, write_data },
    { 0x3f, 0x09, 9, write_data }, /* deleted */
    { 0xbf, 0x02, 9, read_track },
    { 0x1f, 0x16, 9, verify },
    { 0x1f, 0x11, 9, scan_equal },
    { 0x1f, 0x19, 9, scan_low },
    { 0x1f, 0x1d, 9, scan_high },
    { 0xbf, 0x0d, 6, format_track },
    { 0xbf, 0x0a, 2, fdc_read_id },
    { 0xff, 0x07, 2, recalibrate },
    { 0xff, 0x08, 1, sense_interrupt },
    { 0xff, 0x03, 3, specify },
    { 0xff, 0x04, 2, sense_drive },
    { 0xff, 0x0f, 3, seek },
    { 0xbf, 0x8f, 3, relative_seek },
    { 0xff, 0x13, 4, configure },
    { 0xff, 0x0e, 1, dump_registers },
    { 0xff, 0x12, 2, perpendicular },
    { 0x7f, 0x14, 1, lock },
    { 0xff, 0x10, 1, version },
    { 0xff, 0x18, 1, part_id },
    { 0xff, 0x17, 2, powerdown_mode },
    { 0xff, 0x33, 2, option },
    { 0xff, 0x8e, 2, drive_specification },
};

void fdc_command_byte(Fdc *s, uint8_t val)
{
    s->fifo[s->pos++] = val;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if ((s->fifo[0] & commands[i].mask) == commands[i].value) {
            if (s->pos >= commands[i].len) {
                commands[i].run(s);
            }
            return;
        }
    }
    log_guest("isa-fdc: command %02x is none", s->fifo[0]);
    invalid(s);
}
