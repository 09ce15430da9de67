/* SPDX-License-Identifier: GPL-2.0-or-later
 * How an IDE device's data moves: from the drive into the buffer and on to the guest by PIO or
 * bus-master DMA, and the other way. Requests go in pieces of the buffer's size.
 */
#include <errno.h>
#include <string.h>

#include "hw/ide/ide.h"

uint32_t ide_sector_size(const IdeDevice *d)
{
    return d->is_cd ? CD_SECTOR : BLOCK_SECTOR;
}

/* ---- bus master ---- */

/* Reads descriptors until one has bytes left; false at the end of the table. */
static bool next_prd(IdeBus *b)
{
    while (!b->bm_left) {
        uint8_t prd[8];
        if (b->bm_last) {
            return false;
        }
        pci_dma_read(b->pci, b->bm_at, prd, sizeof(prd));
        b->bm_addr = pci_get32(prd) & ~1u;
        b->bm_left = pci_get16(prd + 4) & 0xfffe;
        b->bm_left = b->bm_left ? b->bm_left : 65536;
        b->bm_last = prd[7] & 0x80;
        /* a table lies within 64 KiB (BMIDE 1.2) and wraps there, so that a table without an end
         * is read in circles only as long as data lasts */
        b->bm_at = (b->bm_at & 0xffff0000u) | ((b->bm_at + 8) & 0xffff);
    }
    return true;
}

uint32_t ide_dma(IdeBus *b, uint8_t *buf, uint32_t len, bool to_memory)
{
    uint32_t done = 0;
    while (done < len && next_prd(b)) {
        uint32_t n = MIN(len - done, b->bm_left);
        if (to_memory) {
            pci_dma_write(b->pci, b->bm_addr, buf + done, n);
        } else {
            pci_dma_read(b->pci, b->bm_addr, buf + done, n);
        }
        b->bm_addr += n;
        b->bm_left -= n;
        done += n;
    }
    return done;
}

/* The device has no more to move: the engine stops unless descriptors are left over. */
static void dma_finished(IdeBus *b)
{
    if (b->bm_last && !b->bm_left) {
        b->bm_status &= (uint8_t)~BMS_ACTIVE;
    }
}

/* ---- PIO ---- */

static void present_block(IdeDevice *d)
{
    d->block_end = MIN(d->pos + d->block, d->len);
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
    if (d->is_cd && d->command == 0xa0) {
        uint32_t n = d->block_end - d->pos;
        d->lba_mid = (uint8_t)n;
        d->lba_high = (uint8_t)(n >> 8);
        d->count = (uint8_t)((d->count & ~7) | (d->phase == IDE_PIO_IN ? IR_IO : 0));
    }
}

void ide_start_pio_in(IdeDevice *d, uint32_t len, uint32_t block)
{
    d->phase = IDE_PIO_IN;
    d->pos = 0;
    d->len = len;
    d->block = block;
    present_block(d);
    ide_irq(d);
}

static void read_more(IdeDevice *d);

static void start_pio_out(IdeDevice *d, bool interrupt)
{
    d->phase = IDE_PIO_OUT;
    d->pos = 0;
    d->sectors_now = MIN(d->sectors_left, IDE_BUFFER / ide_sector_size(d));
    d->len = d->sectors_now * ide_sector_size(d);
    present_block(d);
    if (interrupt) {
        ide_irq(d);
    }
}

static void drive_done(BlkRequest *req);

static void submit(IdeDevice *d, BlkOp op, uint64_t offset, uint32_t len)
{
    d->phase = IDE_DISK;
    d->status = (uint8_t)((d->status & ~ST_DRQ) | ST_BSY);
    d->iov = (struct iovec){ d->buffer, len };
    d->req = (BlkRequest){ .drive = d->drive, .op = op, .offset = offset, .iov = &d->iov,
                           .niov = op == BLK_FLUSH ? 0 : 1, .len = len, .done = drive_done,
                           .fua = op == BLK_WRITE && !d->write_cache };
    d->busy = true;
    blk_submit(&d->req);
}

static void write_buffer(IdeDevice *d)
{
    submit(d, BLK_WRITE, d->sector * ide_sector_size(d), d->len);
}

void ide_data_block_done(IdeDevice *d)
{
    if (d->phase == IDE_PACKET) {
        memcpy(d->packet, d->buffer, sizeof(d->packet));
        d->status = ST_BSY;
        atapi_command(d);
        return;
    }
    if (d->pos < d->len) {
        present_block(d);
        ide_irq(d);
        return;
    }
    if (d->phase == IDE_PIO_OUT) {
        write_buffer(d);
    } else if (d->next == NEXT_READ && d->sectors_left) {
        read_more(d);
    } else if (d->is_cd && d->command == 0xa0) {
        atapi_data_done(d);
    } else {
        d->phase = IDE_IDLE; /* PIO in ends without an interrupt */
        d->status = ST_DRDY | ST_DSC;
    }
}

/* ---- drive ---- */

static void read_more(IdeDevice *d)
{
    d->sectors_now = MIN(d->sectors_left, IDE_BUFFER / ide_sector_size(d));
    d->len = d->sectors_now * ide_sector_size(d);
    submit(d, BLK_READ, d->sector * ide_sector_size(d), d->len);
}

static void all_done(IdeDevice *d)
{
    if (d->use_dma) {
        dma_finished(d->bus);
    }
    if (d->is_cd) {
        atapi_data_done(d);
    } else {
        ide_command_done(d);
    }
}

static void transfer_error(IdeDevice *d, int error)
{
    if (d->use_dma) {
        d->bus->bm_status &= (uint8_t)~BMS_ACTIVE;
        d->bus->bm_status |= BMS_ERROR;
    }
    if (d->is_cd) {
        atapi_transfer_error(d, error);
    } else {
        ata_transfer_error(d);
    }
}

static void advance(IdeDevice *d)
{
    d->sector += d->sectors_now;
    d->sectors_left -= d->sectors_now;
}

/* A DMA command with the engine running: the next piece. */
static void dma_piece(IdeDevice *d)
{
    if (!d->is_write) {
        read_more(d);
        return;
    }
    d->sectors_now = MIN(d->sectors_left, IDE_BUFFER / ide_sector_size(d));
    d->len = d->sectors_now * ide_sector_size(d);
    if (ide_dma(d->bus, d->buffer, d->len, false) < d->len) {
        transfer_error(d, EIO); /* the table is shorter than the command */
        return;
    }
    write_buffer(d);
}

static void read_arrived(IdeDevice *d)
{
    advance(d);
    if (!d->use_dma) {
        d->next = NEXT_READ;
        ide_start_pio_in(d, d->len, d->block);
        return;
    }
    if (ide_dma(d->bus, d->buffer, d->len, true) < d->len) {
        transfer_error(d, EIO);
    } else if (d->sectors_left) {
        dma_piece(d);
    } else {
        all_done(d);
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
        }
    } else if (d->use_dma && req->op != BLK_FLUSH && !(d->bus->bm_command & BM_START)) {
        d->phase = IDE_IDLE; /* the driver gave up on it */
        d->error = ER_ABRT;
        d->status = ST_DRDY | ST_DSC | ST_ERR;
    } else if (req->op == BLK_FLUSH) {
        if (req->error) {
            ide_abort_command(d, ER_ABRT);
        } else {
            ide_command_done(d);
        }
    } else if (req->error) {
        transfer_error(d, req->error);
    } else if (req->op == BLK_READ) {
        read_arrived(d);
    } else {
        advance(d);
        if (!d->sectors_left) {
            all_done(d);
        } else if (d->use_dma) {
            dma_piece(d);
        } else {
            start_pio_out(d, true);
        }
    }
}

void ide_flush(IdeDevice *d)
{
    submit(d, BLK_FLUSH, 0, 0);
}

void ide_start_transfer(IdeDevice *d)
{
    d->next = NEXT_DONE;
    d->error = 0;
    if (d->use_dma) {
        d->phase = IDE_DMA_WAIT;
        d->status = ST_DRDY | ST_DSC | ST_DRQ;
        if (d->bus->bm_status & BMS_ACTIVE && d->bus->bm_command & BM_START) {
            dma_piece(d);
        }
    } else if (d->is_write) {
        start_pio_out(d, false); /* the first block comes without an interrupt */
    } else {
        read_more(d);
    }
}

/* Data of an ATAPI command that is in the buffer already goes out at once. */
static void dma_buffer(IdeDevice *d)
{
    ide_dma(d->bus, d->buffer, d->len, true);
    all_done(d);
}

void ide_start_dma_buffer(IdeDevice *d, uint32_t len)
{
    d->len = len;
    d->next = NEXT_BUFFER;
    d->phase = IDE_DMA_WAIT;
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
    if (d->bus->bm_status & BMS_ACTIVE && d->bus->bm_command & BM_START) {
        dma_buffer(d);
    }
}

void ide_bm_start(IdeBus *b)
{
    b->bm_status |= BMS_ACTIVE;
    b->bm_at = b->bm_prd;
    b->bm_left = 0;
    b->bm_last = false;
    for (unsigned i = 0; i < 2; i++) {
        IdeDevice *d = b->unit[i];
        if (d && d->phase == IDE_DMA_WAIT) {
            if (d->next == NEXT_BUFFER) {
                dma_buffer(d);
            } else {
                dma_piece(d);
            }
            return;
        }
    }
}
