/* SPDX-License-Identifier: GPL-2.0-or-later
 * ATA disks (ATA8-ACS), and the commands that CD drives share with them. Left out: security, SMART,
 * setting a host protected area, streaming. NCQ is the AHCI port's (ahci_ncq.c).
 */
#include "hw/ide/ide.h"

#include <string.h>

enum {
    CMD_NOP = 0x00, CMD_DSM = 0x06, CMD_DEVICE_RESET = 0x08, CMD_RECALIBRATE = 0x10,
    CMD_READ = 0x20, CMD_READ_NORETRY = 0x21, CMD_READ_EXT = 0x24, CMD_READ_DMA_EXT = 0x25,
    CMD_NATIVE_MAX_EXT = 0x27, CMD_READ_MULTIPLE_EXT = 0x29, CMD_WRITE = 0x30,
    CMD_WRITE_NORETRY = 0x31, CMD_WRITE_EXT = 0x34, CMD_WRITE_DMA_EXT = 0x35,
    CMD_WRITE_MULTIPLE_EXT = 0x39, CMD_WRITE_DMA_FUA_EXT = 0x3d, CMD_VERIFY = 0x40,
    CMD_VERIFY_NORETRY = 0x41, CMD_VERIFY_EXT = 0x42, CMD_SEEK = 0x70, CMD_INIT_PARAMS = 0x91,
    CMD_PACKET = 0xa0, CMD_IDENTIFY_PACKET = 0xa1, CMD_READ_MULTIPLE = 0xc4,
    CMD_WRITE_MULTIPLE = 0xc5, CMD_SET_MULTIPLE = 0xc6, CMD_READ_DMA = 0xc8,
    CMD_READ_DMA_NORETRY = 0xc9, CMD_WRITE_DMA = 0xca, CMD_WRITE_DMA_NORETRY = 0xcb,
    CMD_WRITE_MULTIPLE_FUA_EXT = 0xce, CMD_STANDBY_NOW = 0xe0, CMD_IDLE_NOW = 0xe1,
    CMD_STANDBY = 0xe2, CMD_IDLE = 0xe3, CMD_CHECK_POWER = 0xe5, CMD_SLEEP = 0xe6,
    CMD_FLUSH = 0xe7, CMD_FLUSH_EXT = 0xea, CMD_IDENTIFY = 0xec, CMD_SET_FEATURES = 0xef,
    CMD_NATIVE_MAX = 0xf8,
};
enum { NCQ_DEPTH = 32, MAX_MULTIPLE = 16, MAX_TRIM_BLOCKS = 8 };

uint64_t ata_nr_sectors(const IdeDevice *d)
{
    return drive_size(d->drive) / d->logical_block;
}

/* ---- addresses ---- */

/* The command's first sector; false if it names none. */
static bool get_sector(const IdeDevice *d, bool lba48, uint64_t *sector)
{
    uint32_t low = d->lba_low | (uint32_t)d->lba_mid << 8 | (uint32_t)d->lba_high << 16;
    if (lba48) {
        uint64_t high = d->hob_low | (uint32_t)d->hob_mid << 8 | (uint32_t)d->hob_high << 16;
        *sector = low | high << 24;
        return true;
    }
    if (d->select & SEL_LBA) {
        *sector = low | (uint32_t)(d->select & 15) << 24;
        return true;
    }
    uint32_t cylinder = d->lba_mid | (uint32_t)d->lba_high << 8;
    if (!d->lba_low || d->lba_low > d->track || (d->select & 15) >= d->heads) {
        return false;
    }
    *sector = ((uint64_t)cylinder * d->heads + (d->select & 15)) * d->track + d->lba_low - 1;
    return true;
}

/* After an error or SEEK the registers name a sector, in the form the command used. */
static void put_sector(IdeDevice *d, uint64_t sector)
{
    if (d->lba48) {
        d->hob_low = (uint8_t)(sector >> 24);
        d->hob_mid = (uint8_t)(sector >> 32);
        d->hob_high = (uint8_t)(sector >> 40);
    } else if (d->select & SEL_LBA) {
        d->select = (uint8_t)((d->select & 0xf0) | (sector >> 24 & 15));
    } else {
        uint64_t t = sector / d->track, cylinder = t / d->heads;
        d->lba_low = (uint8_t)(sector % d->track + 1);
        d->lba_mid = (uint8_t)cylinder;
        d->lba_high = (uint8_t)(cylinder >> 8);
        d->select = (uint8_t)((d->select & 0xf0) | t % d->heads);
        return;
    }
    d->lba_low = (uint8_t)sector;
    d->lba_mid = (uint8_t)(sector >> 8);
    d->lba_high = (uint8_t)(sector >> 16);
}

static uint32_t get_count(const IdeDevice *d, bool lba48)
{
    uint32_t n = lba48 ? d->count | (uint32_t)d->hob_count << 8 : d->count;
    return n ? n : lba48 ? 65536 : 256;
}

/* Sets up sector and count; false after an abort. */
static bool prepare(IdeDevice *d, bool lba48)
{
    uint64_t total = ata_nr_sectors(d);
    d->lba48 = lba48;
    d->sectors_left = get_count(d, lba48);
    if (!get_sector(d, lba48, &d->sector) || d->sector >= total ||
        d->sectors_left > total - d->sector) {
        ide_abort_command(d, ER_IDNF);
        return false;
    }
    return true;
}

/* The registers name the first sector of the piece that failed. */
void ata_transfer_error(IdeDevice *d)
{
    bool reading = d->task == TASK_READ || d->task == TASK_VERIFY;
    if (reading || d->task == TASK_WRITE) {
        put_sector(d, d->sector);
    }
    ide_abort_command(d, reading ? ER_UNC : ER_ABRT);
}

static void read_write(IdeDevice *d, bool write, bool dma, bool lba48, unsigned multiple)
{
    if (write && drive_is_readonly(d->drive)) {
        ide_abort_command(d, ER_ABRT);
        return;
    }
    if (!prepare(d, lba48)) {
        return;
    }
    d->use_dma = dma;
    d->block = multiple * d->logical_block;
    ide_start_task(d, write ? TASK_WRITE : TASK_READ);
}

static void read_write_multiple(IdeDevice *d, bool write, bool lba48)
{
    if (!d->multiple) {
        ide_abort_command(d, ER_ABRT);
        return;
    }
    read_write(d, write, false, lba48, d->multiple);
}

/* ---- IDENTIFY DEVICE (ATA8-ACS 7.16) ---- */

void ide_put_string(uint16_t *words, unsigned nr, const char *text)
{
    size_t len = strlen(text);
    for (unsigned i = 0; i < nr * 2; i++) {
        uint8_t c = i < len ? (uint8_t)text[i] : ' ';
        words[i / 2] = i % 2 ? (words[i / 2] & 0xff00) | c : (uint16_t)(c << 8);
    }
}

/* Sizes of logical and physical sectors. */
static void identify_blocks(const IdeDevice *d, uint16_t *w)
{
    unsigned per_physical = __builtin_ctz(d->physical_block / d->logical_block);
    w[106] = (uint16_t)(0x4000 | (per_physical ? 1 << 13 | per_physical : 0));
    if (d->logical_block != BLOCK_SECTOR) {
        w[106] |= 1 << 12;
        w[117] = (uint16_t)(d->logical_block / 2); /* in words */
    }
    w[209] = 0x4000; /* logical sector 0 begins a physical one */
}

static void identify(IdeDevice *d)
{
    uint16_t w[256] = { 0 };
    uint64_t total = ata_nr_sectors(d);
    uint32_t lba28 = (uint32_t)MIN(total, 0x0fffffffull);
    uint32_t per_cylinder = (uint32_t)d->heads * d->track;
    uint32_t cylinders = (uint32_t)MIN(total / per_cylinder, 65535ull);
    uint32_t chs = cylinders * per_cylinder;
    bool sata = d->bus->host;
    w[0] = 0x0040;
    w[1] = d->cylinders;
    w[3] = d->default_heads;
    w[6] = d->default_track;
    ide_put_string(w + 10, 10, d->serial);
    ide_put_string(w + 23, 4, d->version);
    ide_put_string(w + 27, 20, d->model);
    w[47] = 0x8000 | MAX_MULTIPLE;
    w[48] = 1; /* 32-bit data port accesses */
    w[49] = 1 << 11 | 1 << 9 | 1 << 8; /* IORDY, LBA, DMA */
    w[50] = 1 << 14;
    w[51] = w[52] = 0x200;
    w[53] = 7; /* words 54-58, 64-70 and 88 are valid */
    w[54] = (uint16_t)cylinders;
    w[55] = d->heads;
    w[56] = d->track;
    w[57] = (uint16_t)chs;
    w[58] = (uint16_t)(chs >> 16);
    w[59] = d->multiple ? 0x100 | d->multiple : 0;
    w[60] = (uint16_t)lba28;
    w[61] = (uint16_t)(lba28 >> 16);
    w[63] = 7 | ((d->dma_mode & 0xf8) == 0x20 ? 0x100 << (d->dma_mode & 7) : 0);
    w[64] = 3; /* PIO 3, 4 */
    w[65] = w[66] = w[67] = w[68] = 120;
    w[69] = 1 << 14; /* deterministic reads after TRIM */
    w[80] = 0xf0; /* ATA-4 to ATA-7 */
    w[81] = 0x16;
    if (sata) { /* SATA 3.1, 13.2.1 */
        w[75] = NCQ_DEPTH - 1;
        w[76] = 1 << 8 | 1 << 2 | 1 << 1; /* NCQ, 3 and 1.5 Gbit/s */
        w[80] |= 1 << 8;
        w[222] = 0x1000 | 1 << 4;
    }
    w[82] = 1 << 14 | 1 << 5 | 1 << 3;              /* NOP, write cache, power management */
    w[83] = 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10;  /* FLUSH EXT, FLUSH, 48-bit */
    w[84] = 1 << 14 | 1 << 6 | (sata ? 1 << 5 : 0); /* WRITE DMA FUA EXT, logs */
    w[85] = 1 << 14 | 1 << 3 | (d->write_cache ? 1 << 5 : 0);
    w[86] = 1 << 13 | 1 << 12 | 1 << 10;
    w[87] = w[84];
    w[88] = 0x3f | ((d->dma_mode & 0xf8) == 0x40 ? 0x100 << (d->dma_mode & 7) : 0);
    if (!sata) {
        w[93] = d->unit ? 0x6b00 : 0x600b; /* passed its diagnostics; 80-conductor cable */
    }
    memcpy(w + 100, &total, 8);
    w[105] = MAX_TRIM_BLOCKS;
    identify_blocks(d, w);
    if (d->wwn) {
        for (unsigned i = 0; i < 4; i++) {
            w[108 + i] = (uint16_t)(d->wwn >> (48 - 16 * i));
        }
        w[84] |= 1 << 8;
        w[87] |= 1 << 8;
    }
    w[169] = 1; /* DATA SET MANAGEMENT: TRIM */
    w[217] = (uint16_t)d->rotation_rate;
    memcpy(d->buffer, w, sizeof(w));
    ide_start_reply(d, sizeof(w), sizeof(w));
}

/* ---- other commands ---- */

static void set_features(IdeDevice *d)
{
    switch (d->feature) {
    case 0x02: d->write_cache = true; break;
    case 0x82:
        d->write_cache = false;
        ide_start_task(d, TASK_FLUSH);
        return;
    case 0x03: { /* transfer mode in COUNT */
        uint8_t kind = d->count & 0xf8;
        bool known = d->count <= 1 || kind == 0x08 || (kind == 0x20 && (d->count & 7) <= 2) ||
                     (kind == 0x40 && (d->count & 7) <= 5);
        if (!known) {
            ide_abort_command(d, ER_ABRT);
            return;
        }
        d->dma_mode = d->count;
        break;
    }
    case 0x05: case 0x85: case 0x55: case 0xaa: case 0x66: case 0xcc: case 0x42: case 0xc2: break;
    default: ide_abort_command(d, ER_ABRT); return;
    }
    ide_command_done(d);
}

/* Trim is the one thing to do with it; the guest's list of ranges comes by DMA. */
static void data_set_management(IdeDevice *d)
{
    uint32_t blocks = d->count | (uint32_t)d->hob_count << 8;
    if (!(d->feature & 1) || !blocks || blocks > MAX_TRIM_BLOCKS || drive_is_readonly(d->drive)) {
        ide_abort_command(d, ER_ABRT);
        return;
    }
    d->sectors_left = blocks;
    d->use_dma = true;
    ide_start_task(d, TASK_TRIM);
}

static void native_max(IdeDevice *d, bool ext)
{
    uint64_t last = ata_nr_sectors(d) - 1;
    d->lba48 = ext;
    if (!ext) {
        d->select |= SEL_LBA;
        last = MIN(last, 0x0fffffffull);
    }
    put_sector(d, last);
    ide_command_done(d);
}

static void init_params(IdeDevice *d)
{
    if (!d->count) {
        ide_abort_command(d, ER_ABRT);
        return;
    }
    d->heads = (d->select & 15) + 1;
    d->track = d->count;
    ide_command_done(d);
}

static void set_multiple(IdeDevice *d)
{
    if (d->count > MAX_MULTIPLE || (d->count & (d->count - 1))) {
        ide_abort_command(d, ER_ABRT);
        return;
    }
    d->multiple = d->count;
    ide_command_done(d);
}

static void disk_command(IdeDevice *d, uint8_t command)
{
    switch (command) {
    case CMD_READ: case CMD_READ_NORETRY: read_write(d, false, false, false, 1); break;
    case CMD_READ_EXT: read_write(d, false, false, true, 1); break;
    case CMD_WRITE: case CMD_WRITE_NORETRY: read_write(d, true, false, false, 1); break;
    case CMD_WRITE_EXT: read_write(d, true, false, true, 1); break;
    case CMD_READ_MULTIPLE: read_write_multiple(d, false, false); break;
    case CMD_READ_MULTIPLE_EXT: read_write_multiple(d, false, true); break;
    case CMD_WRITE_MULTIPLE: read_write_multiple(d, true, false); break;
    case CMD_WRITE_MULTIPLE_EXT: case CMD_WRITE_MULTIPLE_FUA_EXT:
        read_write_multiple(d, true, true);
        break;
    case CMD_READ_DMA: case CMD_READ_DMA_NORETRY: read_write(d, false, true, false, 1); break;
    case CMD_READ_DMA_EXT: read_write(d, false, true, true, 1); break;
    case CMD_WRITE_DMA: case CMD_WRITE_DMA_NORETRY: read_write(d, true, true, false, 1); break;
    case CMD_WRITE_DMA_EXT: case CMD_WRITE_DMA_FUA_EXT: read_write(d, true, true, true, 1); break;
    case CMD_VERIFY: case CMD_VERIFY_NORETRY: case CMD_VERIFY_EXT:
        if (prepare(d, command == CMD_VERIFY_EXT)) {
            ide_start_task(d, TASK_VERIFY);
        }
        break;
    case CMD_DSM: data_set_management(d); break;
    case CMD_IDENTIFY: identify(d); break;
    case CMD_SET_FEATURES: set_features(d); break;
    case CMD_SET_MULTIPLE: set_multiple(d); break;
    case CMD_INIT_PARAMS: init_params(d); break;
    case CMD_FLUSH: case CMD_FLUSH_EXT: ide_start_task(d, TASK_FLUSH); break;
    case CMD_NATIVE_MAX: native_max(d, false); break;
    case CMD_NATIVE_MAX_EXT: native_max(d, true); break;
    case CMD_STANDBY_NOW: case CMD_STANDBY: case CMD_SLEEP:
        d->standby = true;
        ide_command_done(d);
        break;
    case CMD_IDLE_NOW: case CMD_IDLE:
        d->standby = false;
        ide_command_done(d);
        break;
    case CMD_CHECK_POWER:
        d->count = d->standby ? 0x00 : 0xff;
        ide_command_done(d);
        break;
    default:
        if ((command & 0xf0) == CMD_RECALIBRATE || (command & 0xf0) == CMD_SEEK) {
            ide_command_done(d);
            break;
        }
        ide_abort_command(d, ER_ABRT);
    }
}

static void start_packet(IdeDevice *d)
{
    d->phase = IDE_PACKET;
    d->use_dma = d->feature & 1;
    d->byte_limit = (uint16_t)(d->lba_mid | d->lba_high << 8);
    d->count = (uint8_t)((d->count & ~7) | IR_COD);
    d->pos = 0;
    d->len = d->block = d->block_end = sizeof(d->packet);
    d->status = ST_DRDY | ST_DSC | ST_DRQ; /* no interrupt: IDENTIFY says DRQ comes at once */
}

static void cd_command(IdeDevice *d, uint8_t command)
{
    switch (command) {
    case CMD_PACKET: start_packet(d); break;
    case CMD_IDENTIFY_PACKET: atapi_identify(d); break;
    case CMD_DEVICE_RESET:
        ide_device_soft_reset(d);
        if (!d->reset_pending) {
            ide_reset_ended(d);
        }
        break;
    case CMD_SET_FEATURES: set_features(d); break;
    case CMD_STANDBY_NOW: case CMD_IDLE_NOW: case CMD_SLEEP: ide_command_done(d); break;
    case CMD_CHECK_POWER:
        d->count = 0xff;
        ide_command_done(d);
        break;
    case CMD_IDENTIFY: case CMD_READ: /* aborts, and shows what it is (ATA8-ACS 7.16.5) */
        ide_set_signature(d);
        ide_abort_command(d, ER_ABRT);
        break;
    default: ide_abort_command(d, ER_ABRT);
    }
}

void ata_command(IdeDevice *d, uint8_t command)
{
    d->command = command;
    d->error = 0;
    d->use_dma = false;
    d->status = ST_DRDY | ST_DSC;
    if (d->is_cd) {
        cd_command(d, command);
    } else {
        d->standby &= command == CMD_CHECK_POWER || command == CMD_IDENTIFY;
        disk_command(d, command);
    }
}
