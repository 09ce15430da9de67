/* SPDX-License-Identifier: GPL-2.0-or-later
 * How an IDE device's data moves: from the drive into the buffer and on to the guest by PIO or
 * bus-master DMA, and the other way, in pieces of the buffer's size.
 *
 *   READ:   drive -> buffer -> guest, again       VERIFY: drive -> buffer, again
 *   WRITE:  guest -> buffer -> drive, again       TRIM:   guest -> buffer, one discard a range
 *   REPLY:  buffer -> guest                       FLUSH:  drive
 *
 * The bus master may be started before or after the command, and may be stopped or run out of
 * descriptors at any byte: the device then waits, as a real one does, for a new start or a reset.
 */
#include <errno.h>
#include <string.h>

#include "hw/ide/ide.h"

uint32_t ide_sector_size(const IdeDevice *d)
{
    return d->is_cd ? CD_SECTOR : d->logical_block;
}

/* Of what the buffer is filled with: lists of ranges come in blocks of 512 bytes. */
static uint32_t unit_size(const IdeDevice *d)
{
    return d->task == TASK_TRIM ? BLOCK_SECTOR : ide_sector_size(d);
}

static bool is_packet(const IdeDevice *d)
{
    return d->is_cd && d->command == 0xa0;
}

static void finish(IdeDevice *d)
{
    if (is_packet(d)) {
        atapi_data_done(d);
    } else {
        ide_command_done(d);
    }
}

static void fail(IdeDevice *d, int error)
{
    if (is_packet(d)) {
        atapi_transfer_error(d, error);
    } else {
        ata_transfer_error(d);
    }
}

/* ---- bus master (BMIDE 1.2, 2) ---- */

/* The engine stops by itself: at the table's end, or (error) where the bus refuses it. */
static void engine_stops(IdeBus *b, bool error)
{
    b->bm_status &= (uint8_t)~BMS_ACTIVE;
    b->bm_status |= error ? BMS_ERROR : 0;
}

/* Has the engine bytes left in a descriptor? Takes the next one. */
static bool next_prd(IdeBus *b)
{
    uint8_t prd[8];
    if (b->bm_left) {
        return true;
    }
    if (b->bm_last || !pci_dma_read(b->pci, b->bm_at, prd, sizeof(prd))) {
        engine_stops(b, !b->bm_last);
        return false;
    }
    b->bm_addr = pci_get32(prd) & ~1u;
    b->bm_left = pci_get16(prd + 4) & 0xfffe;
    b->bm_left = b->bm_left ? b->bm_left : 65536;
    b->bm_last = prd[7] & 0x80;
    /* A table does not cross 64 KiB (BMIDE 1.2): it wraps there, so that one without an end is
     * read in circles only as long as data lasts. */
    b->bm_at = (b->bm_at & 0xffff0000u) | ((b->bm_at + 8) & 0xffff);
    return true;
}

static bool engine_runs(const IdeBus *b)
{
    return (b->bm_command & BM_START) && (b->bm_status & BMS_ACTIVE);
}

/* Moves what is left of the buffer as far as the engine goes; true if that is all of it. */
static bool dma_move(IdeDevice *d, bool to_memory)
{
    IdeBus *b = d->bus;
    while (d->pos < d->len && engine_runs(b) && next_prd(b)) {
        uint32_t n = MIN(d->len - d->pos, b->bm_left);
        uint8_t *at = d->buffer + d->pos;
        bool ok = to_memory ? pci_dma_write(b->pci, b->bm_addr, at, n)
                            : pci_dma_read(b->pci, b->bm_addr, at, n);
        if (!ok) {
            log_guest("%s: DMA of %u bytes at %08x: no memory there", d->dev.type->name, n,
                      b->bm_addr);
            engine_stops(b, true);
            return false;
        }
        b->bm_addr += n;
        b->bm_left -= n;
        d->pos += n;
    }
    if (d->pos == d->len && b->bm_last && !b->bm_left) {
        engine_stops(b, false);
    }
    return d->pos == d->len;
}

/* ---- PIO ---- */

static void present_block(IdeDevice *d)
{
    d->block_end = MIN(d->pos + d->block, d->len);
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
    if (is_packet(d)) {
        uint32_t n = d->block_end - d->pos;
        d->lba_mid = (uint8_t)n;
        d->lba_high = (uint8_t)(n >> 8);
        d->count = (uint8_t)((d->count & ~7) | (d->phase == IDE_PIO_IN ? IR_IO : 0));
    }
}

/* ---- the drive ---- */

static void drive_done(BlkRequest *req);

static void submit(IdeDevice *d, BlkOp op, uint64_t offset, uint32_t len)
{
    bool fua = d->command == 0x3d || d->command == 0xce; /* WRITE ... FUA EXT */
    bool data = op == BLK_READ || op == BLK_WRITE;
    d->phase = IDE_DISK;
    d->status = (uint8_t)((d->status & ~ST_DRQ) | ST_BSY);
    d->iov = (struct iovec){ d->buffer, len };
    d->req = (BlkRequest){ .drive = d->drive, .op = op, .offset = offset, .len = len,
                           .iov = &d->iov, .niov = data ? 1 : 0, .done = drive_done,
                           .fua = op == BLK_WRITE && (fua || !d->write_cache) };
    d->busy = true;
    blk_submit(&d->req);
}

static void next_piece(IdeDevice *d, bool interrupt);

/* A piece went all its way. */
static void piece_done(IdeDevice *d)
{
    d->sector += d->task == TASK_TRIM ? 0 : d->sectors_now;
    d->sectors_left -= d->sectors_now;
    d->sectors_now = 0;
    if (d->sectors_left) {
        next_piece(d, true);
    } else {
        finish(d);
    }
}

/* Discards the range before pos, or takes the next one (ACS-2, DATA SET MANAGEMENT). */
static void trim_range(IdeDevice *d)
{
    while (d->pos + 8 <= d->len) {
        const uint8_t *entry = d->buffer + d->pos;
        uint64_t first = pci_get32(entry) | (uint64_t)pci_get16(entry + 4) << 32;
        uint64_t n = pci_get16(entry + 6), total = ata_nr_sectors(d);
        d->pos += 8;
        if (n && (first >= total || n > total - first)) {
            fail(d, EIO);
            return;
        }
        if (n) {
            submit(d, BLK_DISCARD, first * d->logical_block, (uint32_t)n * d->logical_block);
            return;
        }
    }
    piece_done(d);
}

/* The request that the task makes of the drive now; the buffer is ready for it. */
static void ask_drive(IdeDevice *d)
{
    switch (d->task) {
    case TASK_READ:
    case TASK_VERIFY:
        submit(d, BLK_READ, d->sector * ide_sector_size(d), d->len);
        break;
    case TASK_WRITE: submit(d, BLK_WRITE, d->sector * ide_sector_size(d), d->len); break;
    case TASK_TRIM: trim_range(d); break;
    case TASK_FLUSH: submit(d, BLK_FLUSH, 0, 0); break;
    default: finish(d); break;
    }
}

static bool is_from_guest(const IdeDevice *d)
{
    return d->task == TASK_WRITE || d->task == TASK_TRIM;
}

/* The guest has read, or filled, all of the buffer. */
static void buffer_moved(IdeDevice *d)
{
    if (is_from_guest(d)) {
        d->pos = 0;
        ask_drive(d);
    } else if (d->task == TASK_READ && (d->sectors_left > d->sectors_now || d->use_dma)) {
        piece_done(d);
    } else if (d->use_dma || is_packet(d) || d->bus->host) {
        finish(d);
    } else {
        d->phase = IDE_IDLE; /* PIO in ends without an interrupt */
        d->status = ST_DRDY | ST_DSC;
    }
}

static void dma_pump(IdeDevice *d)
{
    if (dma_move(d, !is_from_guest(d))) {
        buffer_moved(d);
    }
}

/* A host takes all of it at once. What is read and finds no room is lost; what is written must be
 * there. */
static void host_move(IdeDevice *d)
{
    bool to_memory = !is_from_guest(d);
    uint32_t n = d->bus->host->move(d->bus, d->buffer, d->len, to_memory);
    if (n < d->len && !to_memory) {
        fail(d, EIO);
        return;
    }
    d->pos = d->len;
    buffer_moved(d);
}

/* The buffer is the guest's turn. */
static void move_buffer(IdeDevice *d, bool interrupt)
{
    d->pos = 0;
    if (d->bus->host) {
        d->block_end = d->len;
        host_move(d);
        return;
    }
    if (d->use_dma) {
        d->phase = IDE_DMA;
        d->block_end = d->len;
        d->status = ST_DRDY | ST_DSC | ST_DRQ;
        dma_pump(d);
        return;
    }
    d->phase = is_from_guest(d) ? IDE_PIO_OUT : IDE_PIO_IN;
    present_block(d);
    if (interrupt) {
        ide_irq(d);
    }
}

static void next_piece(IdeDevice *d, bool interrupt)
{
    d->sectors_now = MIN(d->sectors_left, IDE_BUFFER / unit_size(d));
    d->len = d->sectors_now * unit_size(d);
    if (is_from_guest(d)) {
        move_buffer(d, interrupt);
    } else {
        ask_drive(d);
    }
}

static void drive_done(BlkRequest *req)
{
    IdeDevice *d = container_of(req, IdeDevice, req);
    d->busy = false;
    if (d->reset_pending) {
        d->reset_pending = false;
        if (!(d->bus->control & CTL_SRST)) {
            ide_device_soft_reset(d);
            ide_reset_ended(d);
        }
    } else if (req->error) {
        fail(d, req->error);
    } else if (d->task == TASK_READ) {
        move_buffer(d, true);
    } else if (d->task == TASK_TRIM) {
        trim_range(d);
    } else if (d->task == TASK_FLUSH) {
        finish(d);
    } else {
        piece_done(d);
    }
}

/* ---- in and out ---- */

void ide_data_block_done(IdeDevice *d)
{
    if (d->phase == IDE_PACKET) {
        memcpy(d->packet, d->buffer, sizeof(d->packet));
        d->phase = IDE_DISK;
        d->status = ST_BSY;
        atapi_command(d);
    } else if (d->pos < d->len) {
        present_block(d);
        ide_irq(d);
    } else {
        buffer_moved(d);
    }
}

void ide_start_reply(IdeDevice *d, uint32_t len, uint32_t block)
{
    d->task = TASK_REPLY;
    d->sectors_left = d->sectors_now = 0;
    d->len = len;
    d->block = block;
    move_buffer(d, true);
}

void ide_start_task(IdeDevice *d, IdeTask task)
{
    d->task = task;
    d->error = 0;
    if (task == TASK_FLUSH) {
        d->sectors_left = d->sectors_now = d->len = 0;
        ask_drive(d);
    } else {
        next_piece(d, false); /* the first block of PIO out comes without an interrupt */
    }
}

void ide_bm_start(IdeBus *b)
{
    b->bm_status |= BMS_ACTIVE;
    b->bm_at = b->bm_prd;
    b->bm_left = 0;
    b->bm_last = false;
    unsigned first = (b->select & SEL_DEV) != 0;
    for (unsigned i = 0; i < 2; i++) {
        IdeDevice *d = b->unit[first ^ i];
        if (d && d->phase == IDE_DMA) {
            dma_pump(d);
            return;
        }
    }
}

/* A TRIM under way goes on with its next range: discarding one twice does no harm, leaving one
 * out does none either. */
void ide_resume(IdeDevice *d)
{
    if (d->phase == IDE_DISK && !d->busy) {
        ask_drive(d);
    }
}
