/* SPDX-License-Identifier: GPL-2.0-or-later
 * Native command queuing (SATA 13.6): READ and WRITE FPDMA QUEUED, as many at once as there are
 * tags, each with a request of its own at the block layer, and the log that tells what failed. Left
 * out: NCQ NON-DATA, SEND and RECEIVE FPDMA QUEUED, priorities.
 */
#include <stdlib.h>
#include <string.h>

#include "hw/ide/ahci.h"
#include "util/alloc.h"

enum { READ_FPDMA = 0x60, WRITE_FPDMA = 0x61, NCQ_FUA = 0x80 };
enum { PIECE = 1 << 20 }; /* bytes of a command at a time */
enum { LOG_DIRECTORY = 0x00, LOG_NCQ_ERROR = 0x10, LOG_SIZE = 512 };

/* It outlives its command, if that is given up while the drive is at it. */
typedef struct NcqRequest {
    BlkRequest req;
    struct iovec iov;
    AhciPort *port;
    unsigned tag;
    bool dropped;
    PrdCursor prd; /* behind a write's data: the command's own moves on with the end */
    List node; /* port->requests */
    uint8_t data[];
} NcqRequest;

bool ncq_is_command(uint8_t command)
{
    return command == READ_FPDMA || command == WRITE_FPDMA;
}

bool ncq_any(const AhciPort *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        if (p->ncq[i].active) {
            return true;
        }
    }
    return false;
}

void ncq_drop_all(AhciPort *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        NcqCommand *c = &p->ncq[i];
        c->active = false;
        if (c->request) {
            c->request->dropped = true;
            p->nr_dropped++;
            c->request = NULL;
        }
    }
}

void ncq_forget_failed(AhciPort *p)
{
    list_for_each_safe(pos, &p->requests) {
        NcqRequest *r = container_of(pos, NcqRequest, node);
        blk_cancel(&r->req);
        list_remove(pos);
        free(r);
    }
    p->nr_dropped = 0;
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        p->ncq[i].request = NULL;
    }
}

/* ---- ends ---- */

static void command_done(AhciPort *p, unsigned tag)
{
    IdeDevice *d = ahci_device(p);
    p->ncq[tag].active = false;
    d->status = ST_DRDY | ST_DSC;
    d->error = 0;
    ahci_send_sdb(p, 1u << tag);
}

/* One failure ends all (13.6.4.3). The log has the task file of the one that failed. */
static void command_failed(AhciPort *p, unsigned tag, uint8_t error)
{
    IdeDevice *d = ahci_device(p);
    uint64_t sector = p->ncq[tag].sector;
    d->status = ST_DRDY | ST_DSC | ST_ERR;
    d->error = error;
    memset(p->ncq_log, 0, sizeof(p->ncq_log));
    p->ncq_log[0] = (uint8_t)tag;
    p->ncq_log[2] = d->status;
    p->ncq_log[3] = error;
    for (unsigned i = 0; i < 3; i++) {
        p->ncq_log[4 + i] = (uint8_t)(sector >> 8 * i);
        p->ncq_log[8 + i] = (uint8_t)(sector >> (24 + 8 * i));
    }
    p->ncq_log[7] = SEL_LBA;
    p->ncq_failed = true;
    ncq_drop_all(p);
    ahci_send_sdb(p, 0);
    ahci_port_fatal(p, IS_TFES);
}

/* ---- pieces ---- */

static void piece_done(BlkRequest *req);

/* A write without all of its data, unless the table could not even be read: that stops the port. */
static void short_table(AhciPort *p, unsigned tag)
{
    if (p->stopped) {
        ncq_drop_all(p);
    } else {
        command_failed(p, tag, ER_ABRT);
    }
}

/* The command's next bytes, which for a write are fetched first. */
static void start_piece(AhciPort *p, unsigned tag)
{
    NcqCommand *c = &p->ncq[tag];
    IdeDevice *d = ahci_device(p);
    uint32_t n = MIN(c->left, PIECE / d->logical_block), len = n * d->logical_block;
    NcqRequest *r = xcalloc(1, sizeof(*r) + len);
    r->prd = c->prd;
    if (c->write && ahci_move(p, &r->prd, r->data, len, false) < len) {
        free(r);
        short_table(p, tag);
        return;
    }
    r->port = p;
    r->tag = tag;
    r->iov = (struct iovec){ r->data, len };
    r->req = (BlkRequest){ .drive = d->drive,
                           .op = c->write ? BLK_WRITE : BLK_READ,
                           .offset = c->sector * d->logical_block,
                           .len = len,
                           .iov = &r->iov,
                           .niov = 1,
                           .done = piece_done,
                           .fua = c->write && (c->fua || !d->write_cache) };
    list_insert(&p->requests, &r->node);
    c->request = r;
    blk_submit(&r->req);
}

static void piece_done(BlkRequest *req)
{
    NcqRequest *r = container_of(req, NcqRequest, req);
    AhciPort *p = r->port;
    unsigned tag = r->tag;
    NcqCommand *c = &p->ncq[tag];
    bool dropped = r->dropped;
    int error = req->error;
    uint32_t len = (uint32_t)r->iov.iov_len, moved = len;
    list_remove(&r->node);
    if (!dropped) {
        c->request = NULL;
        if (c->write) {
            c->prd = r->prd;
        } else if (!error) {
            moved = ahci_move(p, &c->prd, r->data, len, true);
        }
    }
    free(r);
    if (dropped) {
        p->nr_dropped--;
        ahci_port_issue(p); /* if there were too many */
        return;
    }
    if (!c->active) {
        return;
    }
    if (error) {
        command_failed(p, tag, c->write ? ER_ABRT : ER_UNC);
        return;
    }
    if (p->stopped) { /* the host's memory failed */
        ncq_drop_all(p);
        return;
    }
    if (moved < len) {
        ahci_port_raise(p, IS_OFS);
    }
    uint32_t n = len / ahci_device(p)->logical_block;
    c->sector += n;
    c->left -= n;
    if (c->left) {
        start_piece(p, tag);
    } else {
        command_done(p, tag);
        ahci_port_issue(p);
    }
}

void ncq_resume(AhciPort *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        NcqCommand *c = &p->ncq[i];
        if (c->active && !ahci_device(p)) {
            c->active = false;
        } else if (c->active && !c->request) {
            start_piece(p, i);
        }
    }
}

/* ---- starts ---- */

/* The D2H FIS without an interrupt frees the slot's CI; SACT stays until the end (13.6.3). */
void ncq_start(AhciPort *p, unsigned slot, const uint8_t *fis, const PrdCursor *prd)
{
    IdeDevice *d = ahci_device(p);
    NcqCommand *c = &p->ncq[slot];
    uint32_t count = fis[3] | (uint32_t)fis[11] << 8;
    uint64_t sector = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16 |
                      (uint64_t)fis[8] << 24 | (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40;
    uint64_t total = ata_nr_sectors(d);
    bool busy_tag = c->active || !(p->sact >> slot & 1) || (fis[12] >> 3) != slot;
    d->command = fis[2];
    d->status = ST_DRDY | ST_DSC;
    d->error = 0;
    ahci_send_d2h(p, false);
    p->ci &= ~(1u << slot);
    *c = (NcqCommand){ .active = true,
                       .write = fis[2] == WRITE_FPDMA,
                       .fua = fis[7] & NCQ_FUA,
                       .sector = sector,
                       .left = count ? count : 65536,
                       .prd = *prd,
                       .request = c->request };
    if (busy_tag || (c->write && drive_is_readonly(d->drive))) {
        command_failed(p, slot, ER_ABRT);
    } else if (sector >= total || c->left > total - sector) {
        command_failed(p, slot, ER_IDNF);
    } else {
        ahci_send_dma_setup(p, slot, c->left * d->logical_block, !c->write);
        start_piece(p, slot);
    }
}

/* ---- logs (ACS-2 7.27, A) ---- */

bool ncq_read_log(AhciPort *p)
{
    IdeDevice *d = ahci_device(p);
    uint32_t page = d->lba_mid | (uint32_t)d->hob_mid << 8;
    uint32_t count = d->count | (uint32_t)d->hob_count << 8;
    if (page || count != 1) {
        return false;
    }
    memset(d->buffer, 0, LOG_SIZE);
    if (d->lba_low == LOG_NCQ_ERROR) {
        uint8_t sum = 0;
        memcpy(d->buffer, p->ncq_log, sizeof(p->ncq_log));
        d->buffer[0] |= p->ncq_failed ? 0 : 0x80; /* NQ: no queued command has failed */
        for (unsigned i = 0; i < LOG_SIZE - 1; i++) {
            sum += d->buffer[i];
        }
        d->buffer[LOG_SIZE - 1] = -sum;
        p->ncq_failed = false;
    } else if (d->lba_low == LOG_DIRECTORY) {
        d->buffer[0] = 1;
        d->buffer[2 * LOG_NCQ_ERROR] = 1; /* pages */
    } else {
        return false;
    }
    ide_start_reply(d, LOG_SIZE, LOG_SIZE);
    return true;
}

const StateField prd_state[] = {
    STATE_U64(PrdCursor, table),
    STATE_U32(PrdCursor, nr, .max = 0xffff),
    STATE_U32(PrdCursor, index),
    STATE_U32(PrdCursor, pos),
    STATE_END,
};

const StateField ncq_state[] = {
    STATE_BOOL(NcqCommand, active),
    STATE_BOOL(NcqCommand, write),
    STATE_BOOL(NcqCommand, fua),
    STATE_U64(NcqCommand, sector),
    STATE_U32(NcqCommand, left, .max = 65536),
    STATE_STRUCT(NcqCommand, prd, PrdCursor, prd_state),
    STATE_END,
};
