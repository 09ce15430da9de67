/* SPDX-License-Identifier: GPL-2.0-or-later
 * Floppy commands that move data (82077AA 5.1): sector after sector between medium and buffer, and
 * buffer and host, until terminal count, the end of the cylinder, or an error.
 *
 *   READ:   medium -> buffer -> host        WRITE: host -> buffer -> medium
 *   SCAN:   medium -> buffer, host's bytes against it     VERIFY: medium -> buffer
 *   FORMAT: four bytes of the host name a sector, which is filled
 *
 * An image keeps data alone: no deleted-data marks (WRITE DELETED writes normal data), no bad CRC,
 * no sectors of other sizes, numbers or places. What it does not reach to reads as zeroes and cannot
 * be written. A drive without a disk answers "missing address mark" at once, where the chip would
 * wait for an index pulse until it is reset.
 */
#include "hw/block/fdc.h"

#include <string.h>

enum { FORMAT_ID = 4 }; /* bytes of the host for a sector */

static FloppyDrive *selected(Fdc *s)
{
    return fdc_drive(s, s->fifo[1] & 3);
}

static void end(Fdc *s, uint8_t code, uint8_t st1, uint8_t st2)
{
    uint8_t result[7] = {
        (uint8_t)(code | s->head << 2 | (s->fifo[1] & 3)), st1, st2, s->c, s->h, s->r, s->n
    };
    memcpy(s->fifo, result, sizeof(result));
    fdc_result(s, sizeof(result));
    fdc_interrupt(s);
}

/* The chip's address of the next sector; false at the cylinder's end (82077AA table 5-7). */
static bool advance(Fdc *s)
{
    uint8_t eot = s->fifo[6], step = 1;
    if (s->task >= FDC_SCAN_EQUAL && s->fifo[8] == 2) {
        step = 2; /* STP */
    }
    if (s->r < eot && eot - s->r >= step) {
        s->r += step;
        return true;
    }
    s->r = 1;
    if (!(s->fifo[0] & CMD_MT) || s->task == FDC_READ_TRACK) {
        s->c++;
        return false;
    }
    s->h ^= 1;
    if (s->head == 0) {
        s->head = 1;
        return true;
    }
    s->c++;
    return false;
}

/* Is there anything with an address mark under the head? */
static bool is_formatted(const Fdc *s, const FloppyDrive *d)
{
    return d && d->format && (s->fifo[0] & CMD_MFM) && s->head < d->format->heads &&
           d->cylinder < d->format->cylinders &&
           (!s->check_media_rate || (s->dsr & 3) == d->format->rate);
}

/* ---- the medium ---- */

static void medium_done(BlkRequest *req);

static uint64_t offset_of(const Fdc *s, const FloppyDrive *d)
{
    unsigned sector = s->task == FDC_READ_TRACK ? s->left : s->r - 1u;
    uint64_t track = (uint64_t)d->cylinder * d->format->heads + s->head;
    return (track * d->format->sectors + sector) * BLOCK_SECTOR;
}

static bool is_write(const Fdc *s)
{
    return s->task == FDC_WRITE || s->task == FDC_FORMAT;
}

static void medium_failed(Fdc *s)
{
    end(s, ST0_ABNORMAL, ST1_DE, ST2_DD);
}

static void sector_read(Fdc *s);

static void ask_medium(Fdc *s)
{
    FloppyDrive *d = selected(s);
    s->stage = FDC_MEDIUM;
    fdc_refresh_lines(s);
    if (s->busy) {
        return; /* an older request's end comes first */
    }
    if (!is_formatted(s, d)) { /* the disk was taken out meanwhile */
        end(s, ST0_ABNORMAL, ST1_MA, 0);
        return;
    }
    uint64_t offset = offset_of(s, d);
    if (offset + BLOCK_SECTOR > drive_size(d->drive)) {
        if (is_write(s)) {
            medium_failed(s);
            return;
        }
        memset(s->buffer, 0, BLOCK_SECTOR);
        sector_read(s);
        return;
    }
    if (is_write(s)) {
        memcpy(s->sector, s->buffer, BLOCK_SECTOR);
    }
    s->iov = (struct iovec){ s->sector, BLOCK_SECTOR };
    s->req = (BlkRequest){ .drive = d->drive,
                           .op = is_write(s) ? BLK_WRITE : BLK_READ,
                           .offset = offset,
                           .len = BLOCK_SECTOR,
                           .iov = &s->iov,
                           .niov = 1,
                           .done = medium_done };
    s->busy = true;
    blk_submit(&s->req);
}

static void sector_done(Fdc *s);

static void medium_done(BlkRequest *req)
{
    Fdc *s = container_of(req, Fdc, req);
    bool stale = s->stale;
    s->busy = s->stale = false;
    if (stale) {
        fdc_resume(s);
    } else if (req->error) {
        medium_failed(s);
    } else if (is_write(s)) {
        sector_done(s);
    } else {
        memcpy(s->buffer, s->sector, BLOCK_SECTOR);
        sector_read(s);
    }
}

void fdc_resume(Fdc *s)
{
    if (s->phase == FDC_EXECUTION && s->stage == FDC_MEDIUM && !s->busy) {
        ask_medium(s);
    }
}

/* ---- sectors ---- */

/* Looks for the sector on the track as the chip does, by its address. */
static void next_sector(Fdc *s)
{
    FloppyDrive *d = selected(s);
    bool read_track = s->task == FDC_READ_TRACK;
    if (!is_formatted(s, d)) {
        end(s, ST0_ABNORMAL, ST1_MA, 0);
    } else if (is_write(s) && drive_is_readonly(d->drive)) {
        end(s, ST0_ABNORMAL, ST1_NW, 0);
    } else if (s->task == FDC_FORMAT) {
        fdc_move_data(s, FDC_FROM_HOST, FORMAT_ID);
    } else if (read_track ? s->left >= d->format->sectors : false) {
        end(s, ST0_ABNORMAL, ST1_MA, 0);
    } else if (!read_track && s->c != d->cylinder) {
        end(s, ST0_ABNORMAL, ST1_ND, s->c == 0xff ? ST2_BC : ST2_WC);
    } else if (!read_track &&
               (s->h != s->head || s->n != FDC_SECTOR_CODE || !s->r || s->r > d->format->sectors)) {
        end(s, ST0_ABNORMAL, ST1_ND, 0);
    } else if (s->task == FDC_READ_DELETED && (s->fifo[0] & CMD_SK)) {
        end(s, ST0_ABNORMAL, ST1_ND, ST2_CM); /* skips them all: none is deleted */
    } else if (s->task == FDC_WRITE) {
        fdc_move_data(s, FDC_FROM_HOST, BLOCK_SECTOR);
    } else {
        ask_medium(s);
    }
}

static void sector_read(Fdc *s)
{
    if (s->task == FDC_VERIFY) {
        sector_done(s);
    } else if (s->task >= FDC_SCAN_EQUAL) {
        s->scan = ST2_SH;
        fdc_move_data(s, FDC_FROM_HOST, BLOCK_SECTOR);
    } else {
        fdc_move_data(s, FDC_TO_HOST, BLOCK_SECTOR);
    }
}

/* A wrong place on the track cannot be kept in an image. */
static void format_sector(Fdc *s)
{
    const FloppyDrive *d = selected(s);
    const uint8_t *id = s->buffer;
    s->c = id[0];
    s->h = id[1];
    s->r = id[2];
    s->n = id[3];
    if (!is_formatted(s, d)) {
        end(s, ST0_ABNORMAL, ST1_MA, 0);
    } else if (s->c != d->cylinder || s->h != s->head || s->n != FDC_SECTOR_CODE || !s->r ||
               s->r > d->format->sectors) {
        log_guest("isa-fdc: FORMAT of C=%u H=%u R=%u N=%u, which the image's format does not have",
                  s->c, s->h, s->r, s->n);
        end(s, ST0_ABNORMAL, ST1_ND, 0);
    } else {
        memset(s->buffer, s->fifo[5], BLOCK_SECTOR);
        ask_medium(s);
    }
}

void fdc_scan(Fdc *s, const uint8_t *data, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        uint8_t disk = s->buffer[s->data_pos + i];
        if (data[i] == disk || data[i] == 0xff || disk == 0xff) {
            continue; /* FFh matches anything (82077AA 5.1.7) */
        }
        bool fits = (s->task == FDC_SCAN_LOW && disk < data[i]) ||
                    (s->task == FDC_SCAN_HIGH && disk > data[i]);
        s->scan = fits ? (uint8_t)(s->scan & ~ST2_SH) : ST2_SN | (s->scan & ST2_SN);
    }
}

void fdc_host_done(Fdc *s)
{
    s->stage = FDC_NOTHING;
    fdc_refresh_lines(s);
    if (s->task == FDC_FORMAT) {
        memset(s->buffer + s->data_pos, 0, FORMAT_ID - s->data_pos);
        format_sector(s);
    } else if (s->task == FDC_WRITE) {
        /* Terminal count inside a sector: the rest of it is zeroes. */
        memset(s->buffer + s->data_pos, 0, BLOCK_SECTOR - s->data_pos);
        ask_medium(s);
    } else {
        sector_done(s);
    }
}

static void verified(Fdc *s)
{
    bool counted = s->fifo[1] & 0x80; /* EC: as many sectors as SC says */
    bool all = counted && --s->left == 0;
    bool more = advance(s);
    if (all || (!more && !counted)) {
        end(s, 0, 0, 0);
    } else if (!more) {
        end(s, ST0_ABNORMAL, ST1_EN, 0);
    } else {
        next_sector(s);
    }
}

static void track_read(Fdc *s)
{
    s->left++;
    bool last = s->left >= s->fifo[6];
    advance(s);
    if (s->tc || last) {
        end(s, 0, 0, 0);
    } else {
        next_sector(s);
    }
}

static void sector_done(Fdc *s)
{
    uint8_t st2 = 0;
    if (s->task == FDC_FORMAT) {
        if (--s->left == 0 || s->tc) {
            end(s, 0, 0, 0);
        } else {
            next_sector(s);
        }
        return;
    }
    if (s->task == FDC_VERIFY || s->task == FDC_READ_TRACK) {
        (s->task == FDC_VERIFY ? verified : track_read)(s);
        return;
    }
    if (s->task >= FDC_SCAN_EQUAL) {
        st2 = s->scan;
        if (!(st2 & ST2_SN)) { /* found: the result names it */
            end(s, 0, 0, st2);
            return;
        }
    }
    bool deleted = s->task == FDC_READ_DELETED; /* a normal sector: ends here */
    bool more = advance(s);
    if (s->tc || deleted || (!more && s->task >= FDC_SCAN_EQUAL)) {
        end(s, 0, 0, deleted ? ST2_CM : st2);
    } else if (!more) {
        end(s, ST0_ABNORMAL, ST1_EN, 0);
    } else {
        next_sector(s);
    }
}

/* ---- starts ---- */

static void begin(Fdc *s)
{
    s->phase = FDC_EXECUTION;
    s->stage = FDC_NOTHING;
    s->head = s->fifo[1] >> 2 & 1;
    s->tc = false;
}

void fdc_start_transfer(Fdc *s, FdcTask task)
{
    s->task = task;
    begin(s);
    if (task == FDC_FORMAT) {
        s->c = s->h = s->r = 0;
        s->n = s->fifo[2];
        s->left = s->fifo[3] ? s->fifo[3] : 256;
        s->last_eot = s->fifo[3];
    } else {
        s->c = s->fifo[2];
        s->h = s->fifo[3];
        s->r = s->fifo[4];
        s->n = s->fifo[5];
        s->last_eot = s->fifo[6];
        s->left = task == FDC_READ_TRACK ? 0 : s->fifo[8] ? s->fifo[8] : 256;
    }
    unsigned unit = s->fifo[1] & 3;
    FloppyDrive *d = selected(s);
    if ((s->config & CONFIG_EIS) && task != FDC_FORMAT && d) { /* implied seek */
        floppy_step(d, s->c - s->pcn[unit]);
        s->pcn[unit] = s->c;
    }
    next_sector(s);
}

/* The next sector that passes under the head. */
void fdc_read_id(Fdc *s)
{
    FloppyDrive *d = selected(s);
    begin(s);
    s->c = s->h = s->r = 0;
    s->n = FDC_SECTOR_CODE;
    if (!is_formatted(s, d)) {
        end(s, ST0_ABNORMAL, ST1_MA, 0);
        return;
    }
    d->passing = d->passing < d->format->sectors ? d->passing + 1 : 1;
    s->c = d->cylinder;
    s->h = s->head;
    s->r = d->passing;
    end(s, 0, 0, 0);
}
