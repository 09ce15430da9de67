/* SPDX-License-Identifier: GPL-2.0-or-later
 * ATAPI CD/DVD-ROM drives: the packet commands (MMC-5, SPC-3) of a read-only drive with one data
 * track. Left out: audio, multi-session, raw sectors, DVD structures and CSS, writing.
 */
#include <errno.h>
#include <string.h>

#include "hw/ide/ide.h"

enum {
    CDB_TEST_UNIT_READY = 0x00, CDB_REQUEST_SENSE = 0x03, CDB_INQUIRY = 0x12,
    CDB_MODE_SENSE_6 = 0x1a, CDB_START_STOP = 0x1b, CDB_PREVENT = 0x1e,
    CDB_READ_CAPACITY = 0x25, CDB_READ_10 = 0x28, CDB_SEEK = 0x2b, CDB_SYNC_CACHE = 0x35,
    CDB_READ_SUBCHANNEL = 0x42, CDB_READ_TOC = 0x43, CDB_GET_CONFIGURATION = 0x46,
    CDB_GET_EVENT = 0x4a, CDB_READ_DISC_INFO = 0x51, CDB_READ_TRACK_INFO = 0x52,
    CDB_MODE_SENSE_10 = 0x5a, CDB_READ_12 = 0xa8,
    CDB_SET_SPEED = 0xbb, CDB_MECHANISM_STATUS = 0xbd,
    CDB_READ_CD = 0xbe,
};
enum { SENSE_NONE = 0, SENSE_NOT_READY = 2, SENSE_MEDIUM = 3, SENSE_ILLEGAL = 5, SENSE_ATTENTION = 6 };
enum { ASC_NO_READ = 0x11, ASC_BAD_OPCODE = 0x20, ASC_LBA_RANGE = 0x21, ASC_BAD_CDB = 0x24,
       ASC_SAVING = 0x39, ASC_CHANGED = 0x28, ASC_NO_MEDIUM = 0x3a, ASC_PREVENTED = 0x53 };
enum { EVENT_NONE, EVENT_EJECT_REQUEST, EVENT_NEW_MEDIA, EVENT_REMOVED };
enum { PROFILE_CD_ROM = 0x0008, PROFILE_DVD_ROM = 0x0010 };

static void put_be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, v >> 16);
    put_be16(p + 2, v);
}

static uint32_t get_be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get_be32(const uint8_t *p)
{
    return get_be16(p) << 16 | get_be16(p + 2);
}

static bool has_disc(const IdeDevice *d)
{
    return drive_has_media(d->drive) && !d->tray_open;
}

static uint32_t nr_blocks(const IdeDevice *d)
{
    uint64_t n = has_disc(d) ? drive_size(d->drive) / CD_SECTOR : 0;
    return (uint32_t)MIN(n, 0xffffffffull);
}

/* ---- ends of commands ---- */

static void packet_done(IdeDevice *d)
{
    d->sense_key = d->asc = d->ascq = 0;
    d->count = (uint8_t)((d->count & ~7) | IR_IO | IR_COD);
    ide_command_done(d);
}

static void check_condition_q(IdeDevice *d, uint8_t key, uint8_t asc, uint8_t ascq)
{
    d->sense_key = key;
    d->asc = asc;
    d->ascq = ascq;
    d->count = (uint8_t)((d->count & ~7) | IR_IO | IR_COD);
    ide_abort_command(d, (uint8_t)(key << 4 | (key == SENSE_ILLEGAL ? ER_ABRT : 0)));
}

static void check_condition(IdeDevice *d, uint8_t key, uint8_t asc)
{
    check_condition_q(d, key, asc, 0);
}

/* With the tray's place in the qualifier: guests offer to close it. */
static void no_medium(IdeDevice *d)
{
    check_condition_q(d, SENSE_NOT_READY, ASC_NO_MEDIUM, d->tray_open ? 2 : 1);
}

void atapi_data_done(IdeDevice *d)
{
    packet_done(d);
}

void atapi_transfer_error(IdeDevice *d, int error)
{
    if (error == ENOMEDIUM) {
        no_medium(d);
    } else {
        check_condition(d, SENSE_MEDIUM, ASC_NO_READ);
    }
}

/* PIO moves at most byte_limit bytes an interrupt, an even number unless it is the last
 * (ATA/ATAPI-6 9.8). */
static uint32_t pio_block(const IdeDevice *d, uint32_t len)
{
    uint32_t limit = d->byte_limit == 0 || d->byte_limit == 0xffff ? 0xfffe : d->byte_limit;
    return limit >= len ? len : MAX(limit & ~1u, 2u);
}

/* The first len bytes of the buffer, cut to what the guest has room for. */
static void reply(IdeDevice *d, uint32_t len, uint32_t room)
{
    len = MIN(len, room);
    if (len) {
        ide_start_reply(d, len, pio_block(d, len));
    } else {
        packet_done(d);
    }
}

static uint8_t *cleared(IdeDevice *d, size_t len)
{
    memset(d->buffer, 0, len);
    return d->buffer;
}

/* ---- commands ---- */

static void request_sense(IdeDevice *d)
{
    uint8_t *b = cleared(d, 18);
    if (d->attention && !d->sense_key) { /* SPC-3 6.27: pending, and told now */
        d->attention = false;
        d->sense_key = SENSE_ATTENTION;
        d->asc = ASC_CHANGED;
        d->ascq = 0;
    }
    b[0] = 0x70;
    b[2] = d->sense_key;
    b[7] = 10;
    b[12] = d->asc;
    b[13] = d->ascq;
    reply(d, 18, d->packet[4]);
}

static void put_text(uint8_t *p, unsigned len, const char *text)
{
    memset(p, ' ', len);
    memcpy(p, text, MIN(strlen(text), (size_t)len));
}

static void inquiry(IdeDevice *d)
{
    uint8_t *b = cleared(d, 36);
    if (d->packet[1] & 1) { /* vital product data: none */
        check_condition(d, SENSE_ILLEGAL, ASC_BAD_CDB);
        return;
    }
    b[0] = 5;    /* CD/DVD */
    b[1] = 0x80; /* removable */
    b[3] = 0x21;
    b[4] = 31;
    put_text(b + 8, 8, "VIREO");
    put_text(b + 16, 16, d->model);
    put_text(b + 32, 4, d->version);
    reply(d, 36, get_be16(d->packet + 3));
}

static void start_stop(IdeDevice *d)
{
    bool load_eject = d->packet[4] & 2, start = d->packet[4] & 1;
    if (load_eject && !start) {
        if (d->locked) {
            check_condition_q(d, SENSE_ILLEGAL, ASC_PREVENTED, 2);
            return;
        }
        if (!d->tray_open && drive_has_media(d->drive)) {
            d->media_event = EVENT_REMOVED;
        }
        d->tray_open = true;
    } else if (load_eject) {
        if (d->tray_open && drive_has_media(d->drive)) {
            d->attention = true;
            d->media_event = EVENT_NEW_MEDIA;
        }
        d->tray_open = false;
    }
    packet_done(d);
}

static void read_capacity(IdeDevice *d)
{
    put_be32(d->buffer, nr_blocks(d) - 1);
    put_be32(d->buffer + 4, CD_SECTOR);
    reply(d, 8, 8);
}

static void read_sectors(IdeDevice *d, uint32_t lba, uint32_t n)
{
    if (!n) {
        packet_done(d);
        return;
    }
    if (lba >= nr_blocks(d) || n > nr_blocks(d) - lba) {
        check_condition(d, SENSE_ILLEGAL, ASC_LBA_RANGE);
        return;
    }
    d->sector = lba;
    d->sectors_left = n;
    d->block = pio_block(d, IDE_BUFFER);
    ide_start_task(d, TASK_READ);
}

/* Only whole user data of 2048 bytes, which is what READ CD of a data track boils down to. */
static void read_cd(IdeDevice *d)
{
    uint32_t n = (uint32_t)d->packet[6] << 16 | get_be16(d->packet + 7);
    switch (d->packet[9] & 0xf8) {
    case 0x00: packet_done(d); break; /* nothing asked for */
    case 0x10: read_sectors(d, get_be32(d->packet + 2), n); break;
    default: check_condition(d, SENSE_ILLEGAL, ASC_BAD_CDB);
    }
}

static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
    if (!msf) {
        put_be32(p, lba);
        return;
    }
    lba += 150; /* two seconds of lead-in */
    p[0] = 0;
    p[1] = (uint8_t)(lba / 75 / 60);
    p[2] = (uint8_t)(lba / 75 % 60);
    p[3] = (uint8_t)(lba % 75);
}

static void read_toc(IdeDevice *d)
{
    bool msf = d->packet[1] & 2;
    unsigned format = d->packet[2] & 15, first = d->packet[6];
    uint8_t *b = cleared(d, 64), *p = b + 4;
    format = format ? format : d->packet[9] >> 6;
    b[2] = b[3] = 1;
    switch (format) {
    case 0: /* tracks, then lead-out */
        if (first > 1 && first != 0xaa) {
            check_condition(d, SENSE_ILLEGAL, ASC_BAD_CDB);
            return;
        }
        if (first <= 1) {
            p[1] = 0x14; /* data track */
            p[2] = 1;
            put_address(p + 4, 0, msf);
            p += 8;
        }
        p[1] = 0x16;
        p[2] = 0xaa;
        put_address(p + 4, nr_blocks(d), msf);
        p += 8;
        break;
    case 1: /* sessions */
        p[1] = 0x14;
        p[2] = 1;
        put_address(p + 4, 0, msf);
        p += 8;
        break;
    case 2: { /* raw: first track, last track, lead-out, track 1 */
        static const uint8_t points[4] = { 0xa0, 0xa1, 0xa2, 1 };
        for (unsigned i = 0; i < 4; i++, p += 11) {
            p[0] = 1;
            p[1] = 0x14;
            p[3] = points[i];
            if (points[i] == 0xa0 || points[i] == 0xa1) {
                p[8] = 1;
            } else {
                put_address(p + 7, points[i] == 0xa2 ? nr_blocks(d) : 0, true);
            }
        }
        break;
    }
    default: check_condition(d, SENSE_ILLEGAL, ASC_BAD_CDB); return;
    }
    put_be16(b, (uint32_t)(p - b - 2));
    reply(d, (uint32_t)(p - b), get_be16(d->packet + 7));
}

static uint16_t current_profile(const IdeDevice *d)
{
    /* A CD holds up to 80 minutes */
    return !has_disc(d) ? 0 : nr_blocks(d) > 80 * 60 * 75 ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

static uint8_t *add_feature(uint8_t *p, uint16_t code, bool current, uint8_t extra)
{
    put_be16(p, code);
    p[2] = (uint8_t)(0x02 /* persistent */ | (current ? 1 : 0));
    p[3] = extra;
    return p + 4;
}

static void get_configuration(IdeDevice *d)
{
    uint8_t *b = cleared(d, 128), *p = b + 8;
    uint16_t profile = current_profile(d), from = (uint16_t)get_be16(d->packet + 2);
    unsigned type = d->packet[1] & 3;
    put_be16(b + 6, profile);
    if (from == 0) { /* profile list */
        p = add_feature(p, 0, true, 8);
        put_be16(p, PROFILE_DVD_ROM);
        p[2] = profile == PROFILE_DVD_ROM;
        put_be16(p + 4, PROFILE_CD_ROM);
        p[6] = profile == PROFILE_CD_ROM;
        p += 8;
    }
    if (type == 2 ? from == 1 : from <= 1) { /* core: ATAPI */
        p = add_feature(p, 1, true, 8);
        put_be32(p, 2);
        p += 8;
    }
    if (type == 2 ? from == 3 : from <= 3) { /* removable: tray, eject, lock */
        p = add_feature(p, 3, true, 4);
        p[0] = 0x29;
        p += 4;
    }
    put_be32(b, (uint32_t)(p - b - 4));
    reply(d, (uint32_t)(p - b), get_be16(d->packet + 7));
}

static void get_event(IdeDevice *d)
{
    uint8_t *b = cleared(d, 8);
    if (!(d->packet[1] & 1)) { /* asynchronous reporting */
        check_condition(d, SENSE_ILLEGAL, ASC_BAD_CDB);
        return;
    }
    b[3] = 0x10; /* media events exist */
    if (!(d->packet[4] & 0x10)) {
        b[1] = 2;
        b[2] = 0x80;
        reply(d, 4, get_be16(d->packet + 7));
        return;
    }
    b[1] = 6;
    b[2] = 4;
    b[4] = d->media_event;
    b[5] = (uint8_t)((d->tray_open ? 1 : 0) | (has_disc(d) ? 2 : 0));
    d->media_event = EVENT_NONE;
    reply(d, 8, get_be16(d->packet + 7));
}

static void mode_sense(IdeDevice *d, bool ten)
{
    uint8_t *b = cleared(d, 64), *p = b + (ten ? 8 : 4);
    unsigned page = d->packet[2] & 0x3f;
    if ((d->packet[2] >> 6) == 3) {
        check_condition(d, SENSE_ILLEGAL, ASC_SAVING);
        return;
    }
    if (page == 0x01 || page == 0x3f) { /* error recovery */
        p[0] = 0x01;
        p[1] = 6;
        p[3] = 5;
        p += 8;
    }
    if (page == 0x0e || page == 0x3f) { /* audio control */
        p[0] = 0x0e;
        p[1] = 14;
        p[2] = 4;
        p[8] = 1;
        p[9] = 0xff;
        p[10] = 2;
        p[11] = 0xff;
        p += 16;
    }
    if (page == 0x2a || page == 0x3f) { /* capabilities */
        p[0] = 0x2a;
        p[1] = 18;
        p[2] = 0x08; /* reads DVD-ROM */
        p[4] = 0x70; /* mode 2 forms 1 and 2, multi-session */
        p[6] = (uint8_t)(0x29 | (d->locked ? 2 : 0)); /* tray, eject, lock */
        put_be16(p + 8, 706 * 10);
        put_be16(p + 12, 2048);
        put_be16(p + 14, 706 * 10);
        p += 20;
    }
    if (p == b + (ten ? 8 : 4)) {
        check_condition(d, SENSE_ILLEGAL, ASC_BAD_CDB);
        return;
    }
    uint8_t medium = d->tray_open ? 0x71 : !has_disc(d) ? 0x70 : 0x01;
    if (ten) {
        put_be16(b, (uint32_t)(p - b - 2));
        b[2] = medium;
    } else {
        b[0] = (uint8_t)(p - b - 1);
        b[1] = medium;
    }
    reply(d, (uint32_t)(p - b), ten ? get_be16(d->packet + 7) : d->packet[4]);
}

static void read_disc_info(IdeDevice *d)
{
    uint8_t *b = cleared(d, 34);
    put_be16(b, 32);
    b[2] = 0x0e; /* complete, last session complete */
    b[3] = b[4] = b[5] = b[6] = 1;
    b[7] = 0x20; /* unrestricted use */
    memset(b + 16, 0xff, 8);
    reply(d, 34, get_be16(d->packet + 7));
}

static void read_track_info(IdeDevice *d)
{
    uint8_t *b = cleared(d, 36);
    put_be16(b, 34);
    b[2] = b[3] = 1;
    b[5] = 4; /* data */
    b[6] = 1;
    put_be32(b + 24, nr_blocks(d));
    reply(d, 36, get_be16(d->packet + 7));
}

static void mechanism_status(IdeDevice *d)
{
    uint8_t *b = cleared(d, 8);
    b[1] = d->tray_open ? 0x10 : 0;
    reply(d, 8, get_be16(d->packet + 8));
}

static void read_subchannel(IdeDevice *d)
{
    cleared(d, 4)[1] = 0x15; /* no audio status */
    reply(d, 4, get_be16(d->packet + 7));
}

/* Commands that need a disc say so; those that report are let through (MMC-5 7.1). */
static bool needs_disc(uint8_t op)
{
    switch (op) {
    case CDB_TEST_UNIT_READY: case CDB_READ_CAPACITY: case CDB_READ_10: case CDB_READ_12:
    case CDB_READ_CD: case CDB_READ_TOC: case CDB_SEEK: case CDB_READ_DISC_INFO:
    case CDB_READ_TRACK_INFO: case CDB_READ_SUBCHANNEL:
        return true;
    default: return false;
    }
}

static bool ignores_attention(uint8_t op)
{
    return op == CDB_INQUIRY || op == CDB_REQUEST_SENSE || op == CDB_GET_CONFIGURATION ||
           op == CDB_GET_EVENT;
}

static void execute(IdeDevice *d)
{
    const uint8_t *c = d->packet;
    switch (c[0]) {
    case CDB_TEST_UNIT_READY: case CDB_SEEK: case CDB_SET_SPEED: case CDB_SYNC_CACHE:
        packet_done(d);
        break;
    case CDB_REQUEST_SENSE: request_sense(d); break;
    case CDB_INQUIRY: inquiry(d); break;
    case CDB_START_STOP: start_stop(d); break;
    case CDB_PREVENT:
        d->locked = c[4] & 1;
        packet_done(d);
        break;
    case CDB_READ_CAPACITY: read_capacity(d); break;
    case CDB_READ_10: read_sectors(d, get_be32(c + 2), get_be16(c + 7)); break;
    case CDB_READ_12: read_sectors(d, get_be32(c + 2), get_be32(c + 6)); break;
    case CDB_READ_CD: read_cd(d); break;
    case CDB_READ_TOC: read_toc(d); break;
    case CDB_GET_CONFIGURATION: get_configuration(d); break;
    case CDB_GET_EVENT: get_event(d); break;
    case CDB_MODE_SENSE_6: mode_sense(d, false); break;
    case CDB_MODE_SENSE_10: mode_sense(d, true); break;
    case CDB_READ_DISC_INFO: read_disc_info(d); break;
    case CDB_READ_TRACK_INFO: read_track_info(d); break;
    case CDB_MECHANISM_STATUS: mechanism_status(d); break;
    case CDB_READ_SUBCHANNEL: read_subchannel(d); break;
    default: check_condition(d, SENSE_ILLEGAL, ASC_BAD_OPCODE);
    }
}

void atapi_command(IdeDevice *d)
{
    uint8_t op = d->packet[0];
    if (d->attention && !ignores_attention(op)) {
        d->attention = false;
        check_condition(d, SENSE_ATTENTION, ASC_CHANGED);
    } else if (needs_disc(op) && !has_disc(d)) {
        no_medium(d);
    } else {
        execute(d);
    }
}

/* From the host's side: taking a disc out opens the tray, putting one in closes it. A READ under
 * way does not go on with the next disc: there is no such sector. */
void atapi_set_media_present(IdeDevice *d, bool loaded)
{
    if (d->task == TASK_READ && d->phase != IDE_IDLE) {
        d->sector = UINT32_MAX;
    }
    d->attention = loaded;
    d->media_event = loaded ? EVENT_NEW_MEDIA : EVENT_REMOVED;
    d->tray_open = !loaded;
    d->locked = d->locked && loaded;
}

void atapi_request_eject(IdeDevice *d)
{
    d->media_event = EVENT_EJECT_REQUEST; /* GET EVENT STATUS tells the guest */
}

/* ---- IDENTIFY PACKET DEVICE (ATA/ATAPI-6 8.17) ---- */

void atapi_identify(IdeDevice *d)
{
    uint16_t w[256] = { 0 };
    w[0] = 0x85c0; /* ATAPI, CD-ROM, removable, DRQ within 50 us, 12-byte packets */
    ide_put_string(w + 10, 10, d->serial);
    ide_put_string(w + 23, 4, d->version);
    ide_put_string(w + 27, 20, d->model);
    w[48] = 1;
    w[49] = 1 << 11 | 1 << 9 | 1 << 8;
    w[53] = 7;
    w[63] = 7 | ((d->dma_mode & 0xf8) == 0x20 ? 0x100 << (d->dma_mode & 7) : 0);
    w[64] = 3;
    w[65] = w[66] = w[67] = w[68] = 120;
    w[71] = w[72] = 30;
    w[80] = 0x1e;
    if (d->bus->host) {
        w[76] = 1 << 2 | 1 << 1;
        w[222] = 0x1000 | 1 << 4;
    }
    w[82] = 1 << 14 | 1 << 9 | 1 << 4; /* NOP, DEVICE RESET, PACKET */
    w[83] = 1 << 14;
    w[84] = 1 << 14;
    w[85] = 1 << 9 | 1 << 4;
    w[87] = 1 << 14;
    w[88] = 0x3f | ((d->dma_mode & 0xf8) == 0x40 ? 0x100 << (d->dma_mode & 7) : 0);
    memcpy(d->buffer, w, sizeof(w));
    ide_start_reply(d, sizeof(w), sizeof(w));
}
