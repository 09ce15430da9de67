/* SPDX-License-Identifier: GPL-2.0-or-later
 * An IDE channel: task-file registers as both devices see them, device selection, the interrupt
 * line, software reset (ATA8-ACS 4, 6.2, 9; ATA/ATAPI-6 7).
 */
#include "hw/ide/ide.h"

#include <string.h>

enum { REG_DATA, REG_ERROR, REG_COUNT, REG_LOW, REG_MID, REG_HIGH, REG_SELECT, REG_STATUS };

const StateField ide_bus_state[] = {
    STATE_U8(IdeBus, select),
    STATE_U8(IdeBus, control),
    STATE_BOOL(IdeBus, line),
    STATE_U8(IdeBus, bm_command, .mask = BM_START | BM_TO_MEMORY),
    STATE_U8(IdeBus, bm_status, .mask = 0x67),
    STATE_U32(IdeBus, bm_prd),
    STATE_U32(IdeBus, bm_at),
    STATE_U32(IdeBus, bm_addr),
    STATE_U32(IdeBus, bm_left, .max = 65536),
    STATE_BOOL(IdeBus, bm_last),
    STATE_END,
};

const StateField ide_device_state[] = {
    STATE_U8(IdeDevice, feature), STATE_U8(IdeDevice, count), STATE_U8(IdeDevice, lba_low),
    STATE_U8(IdeDevice, lba_mid), STATE_U8(IdeDevice, lba_high), STATE_U8(IdeDevice, select),
    STATE_U8(IdeDevice, hob_feature), STATE_U8(IdeDevice, hob_count),
    STATE_U8(IdeDevice, hob_low), STATE_U8(IdeDevice, hob_mid), STATE_U8(IdeDevice, hob_high),
    STATE_U8(IdeDevice, status), STATE_U8(IdeDevice, error),
    STATE_U8(IdeDevice, phase, .max = NR_IDE_PHASES - 1),
    STATE_U8(IdeDevice, task, .max = NR_IDE_TASKS - 1),
    STATE_U8(IdeDevice, command), STATE_BOOL(IdeDevice, irq_pending),
    STATE_BOOL(IdeDevice, use_dma),
    STATE_BOOL(IdeDevice, lba48),
    STATE_U32(IdeDevice, block, .max = IDE_BUFFER),
    STATE_U32(IdeDevice, pos, .max = IDE_BUFFER), STATE_U32(IdeDevice, len, .max = IDE_BUFFER),
    STATE_U32(IdeDevice, block_end, .max = IDE_BUFFER),
    STATE_U64(IdeDevice, sector),
    STATE_U32(IdeDevice, sectors_left),
    STATE_U32(IdeDevice, sectors_now, .max = 256),
    STATE_U16(IdeDevice, multiple, .max = 16, .reset = 16),
    STATE_U16(IdeDevice, heads, .max = 16), STATE_U16(IdeDevice, track, .max = 255),
    STATE_U8(IdeDevice, dma_mode, .reset = 0x45),
    STATE_BOOL(IdeDevice, write_cache, .reset = true), STATE_BOOL(IdeDevice, standby),
    STATE_U8S(IdeDevice, packet),
    STATE_U8(IdeDevice, sense_key), STATE_U8(IdeDevice, asc), STATE_U8(IdeDevice, ascq),
    STATE_BOOL(IdeDevice, tray_open, .keep = true), STATE_BOOL(IdeDevice, locked),
    STATE_BOOL(IdeDevice, attention, .keep = true),
    STATE_U8(IdeDevice, media_event, .keep = true),
    STATE_U16(IdeDevice, byte_limit),
    STATE_U8S(IdeDevice, buffer),
    STATE_END,
};

unsigned ide_bus_plugs(const IdeBus *b)
{
    return b->host ? 1 : 2;
}

static bool ide_plug(Bus *bus, Device *dev, Error **errp)
{
    IdeBus *b = container_of(bus, IdeBus, bus);
    IdeDevice *d = container_of(dev, IdeDevice, dev);
    unsigned nr = ide_bus_plugs(b);
    if (d->unit == UINT32_MAX) {
        d->unit = b->unit[0] && nr == 2 ? 1 : 0;
    }
    if (d->unit >= nr) {
        return error_set(
            errp, "%s, there is no unit %u",
            nr == 2 ? "an IDE channel has unit 0 and 1" : "a SATA port has unit 0 only", d->unit);
    }
    if (b->unit[d->unit]) {
        return error_set(errp, "unit %u of bus '%s' is taken", d->unit, bus->obj.name);
    }
    b->unit[d->unit] = d;
    d->bus = b;
    return true;
}

static void ide_unplug(Bus *bus, Device *dev)
{
    IdeBus *b = container_of(bus, IdeBus, bus);
    for (unsigned i = 0; i < 2; i++) {
        if (b->unit[i] && &b->unit[i]->dev == dev) {
            b->unit[i] = NULL;
        }
    }
}

static bool ide_has_room(Bus *bus, const Device *dev)
{
    const IdeBus *b = container_of(bus, IdeBus, bus);
    (void)dev;
    return !b->unit[0] || (ide_bus_plugs(b) == 2 && !b->unit[1]);
}

void ide_bus_init(IdeBus *b, const char *name, PciDevice *pci)
{
    b->pci = pci;
    bus_init(&b->bus, BUS_IDE, name, &pci->dev, pci->dev.machine);
    b->bus.plug = ide_plug;
    b->bus.unplug = ide_unplug;
    b->bus.has_room = ide_has_room;
}

static IdeDevice *selected(const IdeBus *b)
{
    return b->unit[(b->select & SEL_DEV) != 0];
}

/* The selected device drives the line, unless nIEN; the other one's interrupt waits. */
void ide_bus_refresh(IdeBus *b)
{
    const IdeDevice *d = selected(b);
    if (b->host) {
        return;
    }
    bool line = d && d->irq_pending && !(b->control & CTL_NIEN);
    if (line && !b->line) {
        b->bm_status |= BMS_INTR; /* BMIDE 2.2 */
    }
    b->line = line;
    irq_set(&b->irq, line);
}

static void set_pending(IdeDevice *d, bool pending)
{
    d->irq_pending = pending;
    ide_bus_refresh(d->bus);
}

void ide_irq(IdeDevice *d)
{
    if (d->bus->host) {
        d->bus->host->ended(d->bus);
        return;
    }
    set_pending(d, true);
}

/* ATA8-ACS 9.12 */
void ide_set_signature(IdeDevice *d)
{
    d->select = 0;
    d->count = d->lba_low = 1;
    d->lba_mid = d->is_cd ? 0x14 : 0;
    d->lba_high = d->is_cd ? 0xeb : 0;
}

void ide_abort_command(IdeDevice *d, uint8_t error)
{
    d->phase = IDE_IDLE;
    d->error = error;
    d->status = ST_DRDY | ST_DSC | ST_ERR;
    ide_irq(d);
}

void ide_command_done(IdeDevice *d)
{
    d->phase = IDE_IDLE;
    d->error = 0;
    d->status = ST_DRDY | ST_DSC;
    ide_irq(d);
}

/* A request the drive has is not torn: the device stays busy until it is back. */
void ide_device_soft_reset(IdeDevice *d)
{
    if (d->busy) {
        d->reset_pending = true;
        d->status = ST_BSY;
        return;
    }
    d->phase = IDE_IDLE;
    d->irq_pending = false;
    d->error = 1; /* diagnostic code: passed */
    d->status = d->is_cd ? 0 : ST_DRDY | ST_DSC;
    ide_set_signature(d);
}

void ide_reset_ended(IdeDevice *d)
{
    if (d->bus->host) {
        d->bus->host->reset_done(d->bus);
    } else {
        ide_bus_refresh(d->bus);
    }
}

void ide_bus_reset(IdeBus *b)
{
    for (unsigned i = 0; i < 2; i++) {
        if (b->unit[i]) {
            ide_device_soft_reset(b->unit[i]);
        }
    }
    b->select &= (uint8_t)~SEL_DEV;
    ide_bus_refresh(b);
}

void ide_device_check(IdeDevice *d)
{
    d->len = MIN(d->len, (uint32_t)IDE_BUFFER);
    d->block_end = MIN(d->block_end, d->len);
    d->pos = MIN(d->pos, d->phase == IDE_DMA ? d->len : d->block_end);
    d->block = d->block ? d->block : BLOCK_SECTOR;
    d->heads = d->heads ? d->heads : 16;
    d->track = d->track ? d->track : 63;
    d->sectors_now = MIN(d->sectors_now, d->sectors_left);
}

/* ---- registers ---- */

static uint64_t read_data(IdeDevice *d, unsigned size)
{
    uint64_t val = 0;
    if (d->phase != IDE_PIO_IN || !(d->status & ST_DRQ)) {
        return (1ull << size * 8) - 1;
    }
    unsigned n = MIN(size, d->block_end - d->pos);
    memcpy(&val, d->buffer + d->pos, n);
    d->pos += n;
    if (d->pos >= d->block_end) {
        ide_data_block_done(d);
    }
    return val;
}

static void write_data(IdeDevice *d, uint64_t val, unsigned size)
{
    if ((d->phase != IDE_PIO_OUT && d->phase != IDE_PACKET) || !(d->status & ST_DRQ)) {
        return;
    }
    unsigned n = MIN(size, d->block_end - d->pos);
    memcpy(d->buffer + d->pos, &val, n);
    d->pos += n;
    if (d->pos >= d->block_end) {
        ide_data_block_done(d);
    }
}

unsigned ide_read_string(IdeBus *b, void *buf, unsigned size, unsigned n)
{
    IdeDevice *d = selected(b);
    if (!d || d->phase != IDE_PIO_IN || !(d->status & ST_DRQ)) {
        return 0;
    }
    n = MIN(n, (d->block_end - d->pos) / size); /* a rest is read_data's */
    memcpy(buf, d->buffer + d->pos, (size_t)n * size);
    d->pos += n * size;
    if (n && d->pos >= d->block_end) {
        ide_data_block_done(d);
    }
    return n;
}

unsigned ide_write_string(IdeBus *b, const void *buf, unsigned size, unsigned n)
{
    IdeDevice *d = selected(b);
    if (!d || (d->phase != IDE_PIO_OUT && d->phase != IDE_PACKET) || !(d->status & ST_DRQ)) {
        return 0;
    }
    n = MIN(n, (d->block_end - d->pos) / size);
    memcpy(d->buffer + d->pos, buf, (size_t)n * size);
    d->pos += n * size;
    if (n && d->pos >= d->block_end) {
        ide_data_block_done(d);
    }
    return n;
}

/* No device: device 0 answers for an absent device 1 (ATA8-ACS says with its own registers but
 * for a zero status; all zeroes tells drivers sooner). With neither, the bus floats and the
 * host's pull-down keeps D7 low. */
static uint8_t absent_value(const IdeBus *b)
{
    return b->unit[0] || b->unit[1] ? 0 : 0x7f;
}

uint8_t ide_read_alt_status(IdeBus *b)
{
    IdeDevice *d = selected(b);
    return d ? d->status : absent_value(b);
}

uint64_t ide_read(IdeBus *b, uint64_t offset, unsigned size)
{
    IdeDevice *d = selected(b);
    if (offset == REG_DATA) {
        return d ? read_data(d, size) : (1ull << size * 8) - 1;
    }
    if (offset == REG_STATUS) {
        uint8_t status = ide_read_alt_status(b);
        if (d) {
            set_pending(d, false);
        }
        return status;
    }
    if (!d) {
        return absent_value(b);
    }
    bool hob = b->control & CTL_HOB;
    switch (offset) {
    case REG_ERROR: return d->error;
    case REG_COUNT: return hob ? d->hob_count : d->count;
    case REG_LOW: return hob ? d->hob_low : d->lba_low;
    case REG_MID: return hob ? d->hob_mid : d->lba_mid;
    case REG_HIGH: return hob ? d->hob_high : d->lba_high;
    default: return (d->select & 0xef) | 0xa0 | (b->select & SEL_DEV);
    }
}

static bool is_running(const IdeDevice *d)
{
    return d && (d->phase != IDE_IDLE || d->busy || (d->status & ST_BSY));
}

static void write_register(IdeDevice *d, uint64_t offset, uint8_t val)
{
    if (is_running(d)) {
        return;
    }
    switch (offset) {
    case REG_ERROR: d->hob_feature = d->feature; d->feature = val; break;
    case REG_COUNT: d->hob_count = d->count; d->count = val; break;
    case REG_LOW: d->hob_low = d->lba_low; d->lba_low = val; break;
    case REG_MID: d->hob_mid = d->lba_mid; d->lba_mid = val; break;
    case REG_HIGH: d->hob_high = d->lba_high; d->lba_high = val; break;
    default: d->select = val; break;
    }
}

static void write_command(IdeBus *b, uint8_t command)
{
    IdeDevice *d = selected(b);
    if (b->control & CTL_SRST) {
        return;
    }
    if (command == 0x90) { /* EXECUTE DEVICE DIAGNOSTIC goes to both */
        if (is_running(b->unit[0]) || is_running(b->unit[1])) {
            return;
        }
        ide_bus_reset(b);
        if (b->unit[0]) {
            ide_irq(b->unit[0]);
        }
        return;
    }
    if (!d || (is_running(d) && !(d->is_cd && command == 0x08))) {
        return; /* only DEVICE RESET gets through to a busy device */
    }
    set_pending(d, false);
    ata_command(d, command);
}

void ide_write(IdeBus *b, uint64_t offset, uint64_t val, unsigned size)
{
    IdeDevice *d = selected(b);
    if (offset == REG_DATA) {
        if (d) {
            write_data(d, val, size);
        }
        return;
    }
    if (offset == REG_STATUS) {
        write_command(b, (uint8_t)val);
        return;
    }
    b->control &= (uint8_t)~CTL_HOB; /* ATA8-ACS 4.1.2: any write returns to the current values */
    if (offset == REG_SELECT) {
        b->select = (uint8_t)val;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (b->unit[i]) {
            write_register(b->unit[i], offset, (uint8_t)val);
        }
    }
    ide_bus_refresh(b);
}

void ide_write_control(IdeBus *b, uint8_t val)
{
    bool was = b->control & CTL_SRST;
    b->control = val;
    if (!was && (val & CTL_SRST)) {
        for (unsigned i = 0; i < 2; i++) {
            if (b->unit[i]) {
                b->unit[i]->reset_pending = b->unit[i]->busy;
                b->unit[i]->phase = IDE_IDLE;
                b->unit[i]->irq_pending = false;
                b->unit[i]->status = ST_BSY;
            }
        }
        b->select &= (uint8_t)~SEL_DEV;
    } else if (was && !(val & CTL_SRST)) {
        ide_bus_reset(b);
    }
    ide_bus_refresh(b);
}
