/* SPDX-License-Identifier: GPL-2.0-or-later
 * isa-fdc: the 82077AA floppy controller of an AT or PS/2 (82077AA 2, 3, 4): registers, the three
 * phases of a command, and the data between buffer and host by DMA or byte by byte. Left out: tape
 * drives, Model 30 mode, power-down, SAVE and RESTORE of the 82078. Heads move and disks turn in no
 * time; the order of interrupts is the chip's.
 *
 *   COMMAND    the host writes up to 9 bytes     RQM DIO: 1 0
 *   EXECUTION  data moves; without DMA through the FIFO, INT for each chunk of it
 *   RESULT     the host reads up to 10 bytes     RQM DIO: 1 1; INT until the first is read
 */
#include "hw/block/fdc.h"

#include <string.h>

enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR, REG_FIFO, NR_REGS };
enum { DIR_OFFSET = 7 };                                        /* offset 6 is an IDE channel's */
enum { DOR_SELECT = 0x03, DOR_RUN = 0x04, DOR_DMAGATE = 0x08 }; /* RUN: the pin's name is RESET# */
enum { DSR_RESET = 0x80, DSR_RATE = 0x03 };
enum { MSR_BUSY = 0x10, MSR_NON_DMA = 0x20, MSR_DIO = 0x40, MSR_RQM = 0x80 };
enum {
    SRA_INDEX = 0x04,
    SRA_WP = 0x02,
    SRA_TRK0 = 0x10,
    SRA_HEAD = 0x08,
    SRA_DRV2 = 0x40,
    SRA_INT = 0x80
};
enum { FIFO_SIZE = 16, SPECIFY_ND = 1 };

FloppyDrive *fdc_drive(Fdc *s, unsigned n)
{
    FloppyDrive *d = n < FDC_MAX_DRIVES ? s->unit[n] : NULL;
    return d && d->type != FLOPPY_NONE ? d : NULL;
}

bool fdc_uses_dma(const Fdc *s)
{
    return s->dma && !(s->specify[1] & SPECIFY_ND);
}

static bool is_running(const Fdc *s)
{
    return s->dor & DOR_RUN;
}

/* ---- lines ---- */

/* INT and DRQ leave the chip only through DMAGATE (82077AA 2.1.3). */
void fdc_refresh_lines(Fdc *s)
{
    bool gate = s->dor & DOR_DMAGATE;
    bool data = s->stage == FDC_TO_HOST || s->stage == FDC_FROM_HOST;
    irq_set(&s->irq, gate && s->int_pending);
    if (s->dma) {
        isa_dma_set_dreq(s->dma, s->dma_channel, gate && data && fdc_uses_dma(s));
    }
}

/* What a reset left to tell ends with the next command's own interrupt. */
void fdc_interrupt(Fdc *s)
{
    s->int_pending = true;
    s->polled = 0;
    fdc_refresh_lines(s);
}

void fdc_result(Fdc *s, unsigned len)
{
    s->phase = len ? FDC_RESULT : FDC_COMMAND;
    s->stage = FDC_NOTHING;
    s->pos = 0;
    s->len = (uint8_t)len;
    fdc_refresh_lines(s);
}

/* ---- data (82077AA 4.3) ---- */

/* Without DMA the host moves this many bytes for an interrupt. */
static uint8_t chunk_size(const Fdc *s)
{
    unsigned n = s->config & CONFIG_EFIFO ? 1 : FIFO_SIZE - (s->config & CONFIG_FIFOTHR);
    return (uint8_t)MIN(n, (unsigned)(s->data_len - s->data_pos));
}

static void next_chunk(Fdc *s)
{
    s->chunk = chunk_size(s);
    s->int_pending = true;
    fdc_refresh_lines(s);
}

void fdc_move_data(Fdc *s, FdcStage stage, unsigned len)
{
    s->stage = stage;
    s->data_pos = 0;
    s->data_len = (uint16_t)len;
    if (fdc_uses_dma(s)) {
        fdc_refresh_lines(s);
    } else {
        next_chunk(s);
    }
}

static bool is_scan(const Fdc *s)
{
    return s->task == FDC_SCAN_EQUAL || s->task == FDC_SCAN_LOW || s->task == FDC_SCAN_HIGH;
}

/* n bytes that the host gave. */
static void take(Fdc *s, const uint8_t *data, unsigned n)
{
    if (is_scan(s)) {
        fdc_scan(s, data, n);
    } else {
        memcpy(s->buffer + s->data_pos, data, n);
    }
}

static unsigned run_dma(void *opaque, unsigned channel, unsigned pos, unsigned len)
{
    Fdc *s = opaque;
    unsigned n = MIN(len - pos, (unsigned)(s->data_len - s->data_pos));
    if (s->stage == FDC_TO_HOST) {
        isa_dma_write(s->dma, channel, s->buffer + s->data_pos, pos, n);
    } else if (s->stage == FDC_FROM_HOST) {
        uint8_t data[BLOCK_SECTOR];
        isa_dma_read(s->dma, channel, data, pos, n);
        take(s, data, n);
    } else {
        return pos;
    }
    s->data_pos += n;
    s->tc = pos + n >= len;
    if (s->tc || s->data_pos == s->data_len) {
        fdc_host_done(s);
    }
    return pos + n;
}

/* A byte went through the FIFO by the host's hand. */
static void byte_moved(Fdc *s)
{
    s->data_pos++;
    s->chunk--;
    if (!s->chunk) {
        s->int_pending = false;
        fdc_refresh_lines(s);
        if (s->data_pos < s->data_len) {
            next_chunk(s);
        } else {
            fdc_host_done(s);
        }
    }
}

static uint8_t read_fifo(Fdc *s)
{
    if (s->phase == FDC_EXECUTION && s->stage == FDC_TO_HOST && !fdc_uses_dma(s)) {
        uint8_t val = s->buffer[s->data_pos];
        byte_moved(s);
        return val;
    }
    if (s->phase != FDC_RESULT) {
        log_guest("isa-fdc: the FIFO is read while it has nothing");
        return 0;
    }
    uint8_t val = s->fifo[s->pos++];
    s->int_pending = false;
    if (s->pos == s->len) {
        s->phase = FDC_COMMAND;
        s->pos = s->len = 0;
        s->int_pending = s->seek_ended != 0; /* another drive's */
    }
    fdc_refresh_lines(s);
    return val;
}

static void write_fifo(Fdc *s, uint8_t val)
{
    if (!is_running(s)) {
        return;
    }
    if (s->phase == FDC_COMMAND) {
        fdc_command_byte(s, val);
    } else if (s->phase == FDC_EXECUTION && s->stage == FDC_FROM_HOST && !fdc_uses_dma(s)) {
        take(s, &val, 1);
        byte_moved(s);
    } else {
        log_guest("isa-fdc: byte %02x is written while the FIFO takes none", val);
    }
}

/* ---- reset (82077AA 5.0) ---- */

static void stop(Fdc *s)
{
    s->phase = FDC_COMMAND;
    s->stage = FDC_NOTHING;
    s->pos = s->len = 0;
    s->int_pending = s->tc = false;
    s->polled = s->seek_ended = 0;
    s->stale = s->busy;
    if (!s->lock) {
        s->config = (uint8_t)((s->config & ~CONFIG_FIFOTHR) | CONFIG_EFIFO);
        s->pretrk = 0;
    }
}

/* Polling finds all four drives "ready" anew (82077AA 5.2.2, polling). With polling off too: Linux
 * turns it off and waits for the interrupt of its next reset. */
static void start(Fdc *s)
{
    s->polled = 0x0f;
    s->int_pending = true;
}

/* ---- registers ---- */

static uint8_t status_a(Fdc *s)
{
    FloppyDrive *d = fdc_drive(s, s->dor & DOR_SELECT);
    return (uint8_t)((s->int_pending ? SRA_INT : 0) | (s->unit[1] ? 0 : SRA_DRV2) |
                     (d && d->cylinder == 0 ? 0 : SRA_TRK0) | (s->head ? SRA_HEAD : 0) | SRA_INDEX |
                     (d && d->format && drive_is_readonly(d->drive) ? 0 : SRA_WP));
}

static uint8_t status_b(const Fdc *s)
{
    return (uint8_t)(0xc0 | (s->dor & 1) << 5 | (s->dor >> 4 & 3));
}

static uint8_t main_status(const Fdc *s)
{
    bool by_hand = !fdc_uses_dma(s);
    if (!is_running(s)) {
        return 0;
    }
    switch (s->phase) {
    case FDC_COMMAND: return s->pos ? MSR_RQM | MSR_BUSY : MSR_RQM;
    case FDC_RESULT: return MSR_RQM | MSR_DIO | MSR_BUSY;
    default: break;
    }
    uint8_t val = MSR_BUSY | (by_hand ? MSR_NON_DMA : 0);
    if (by_hand && s->stage == FDC_TO_HOST) {
        val |= MSR_RQM | MSR_DIO;
    } else if (by_hand && s->stage == FDC_FROM_HOST) {
        val |= MSR_RQM;
    }
    return val;
}

static uint64_t fdc_read(void *opaque, uint64_t offset, unsigned size)
{
    Fdc *s = opaque;
    (void)size;
    switch (offset) {
    case REG_SRA: return status_a(s);
    case REG_SRB: return status_b(s);
    case REG_DOR: return s->dor;
    case REG_TDR: return s->tdr;
    case REG_MSR: return main_status(s);
    default: return read_fifo(s);
    }
}

static void write_dor(Fdc *s, uint8_t val)
{
    bool was = is_running(s);
    s->dor = val;
    if (was && !is_running(s)) {
        stop(s);
    } else if (!was && is_running(s)) {
        start(s);
    }
    fdc_refresh_lines(s);
}

static void write_dsr(Fdc *s, uint8_t val)
{
    s->dsr = val & (uint8_t)~DSR_RESET;
    if ((val & DSR_RESET) && is_running(s)) { /* clears itself */
        stop(s);
        start(s);
        fdc_refresh_lines(s);
    }
}

static void fdc_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Fdc *s = opaque;
    (void)size;
    switch (offset) {
    case REG_DOR: write_dor(s, (uint8_t)val); break;
    case REG_TDR: s->tdr = val & 3; break;
    case REG_MSR: write_dsr(s, (uint8_t)val); break;
    case REG_FIFO: write_fifo(s, (uint8_t)val); break;
    default: break; /* SRA and SRB are read-only */
    }
}

/* Its other bits are the hard disk controller's, of which nobody has one here. */
static uint64_t dir_read(void *opaque, uint64_t offset, unsigned size)
{
    Fdc *s = opaque;
    (void)offset, (void)size;
    const FloppyDrive *d = fdc_drive(s, s->dor & DOR_SELECT);
    return d && d->changed ? 0x80 : 0;
}

static void ccr_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Fdc *s = opaque;
    (void)offset, (void)size;
    s->dsr = (uint8_t)((s->dsr & ~DSR_RATE) | (val & DSR_RATE));
}

static const RegionOps fdc_ops = { fdc_read, fdc_write, .sizes = 1 };
static const RegionOps dir_ops = { dir_read, ccr_write, .sizes = 1 };

/* ---- the device ---- */

static bool fdc_realize(Device *dev, Error **errp)
{
    Fdc *s = container_of(dev, Fdc, dev);
    region_init_io(&s->io, dev, &fdc_ops, s, NR_REGS);
    region_init_io(&s->dir_io, dev, &dir_ops, s, 1);
    s->dir_io.name = "isa-fdc-dir";
    if (!isa_map_ports(dev, &s->io, s->iobase, errp) ||
        !isa_map_ports(dev, &s->dir_io, s->iobase + DIR_OFFSET, errp) ||
        !isa_connect_irq(dev, &s->irq, s->irqnum, errp)) {
        return false;
    }
    s->dma = isa_bus(dev)->dma;
    if (s->dma && !isa_dma_attach(dev, s->dma_channel, run_dma, s, errp)) {
        return false;
    }
    floppy_bus_init(s);
    return (!s->drive_a || floppy_create(s, 0, s->drive_a, errp)) &&
           (!s->drive_b || floppy_create(s, 1, s->drive_b, errp));
}

static void fdc_reset(Device *dev)
{
    Fdc *s = container_of(dev, Fdc, dev);
    if (s->busy) { /* only what failed on the host and waits for a retry: the rest was drained */
        blk_cancel(&s->req);
    }
    s->busy = s->stale = false;
}

static void fdc_refresh(Device *dev)
{
    Fdc *s = container_of(dev, Fdc, dev);
    /* Fields of a loaded state that must agree do. */
    s->data_len = MIN(s->data_len, (uint16_t)BLOCK_SECTOR);
    s->data_pos = MIN(s->data_pos, s->data_len);
    s->pos = MIN(s->pos, s->len);
    if (s->phase == FDC_RESULT && s->pos == s->len) {
        s->phase = FDC_COMMAND;
    }
    if (s->phase != FDC_EXECUTION) {
        s->stage = FDC_NOTHING;
    } else if (s->stage != FDC_MEDIUM && (s->stage == FDC_NOTHING || s->data_pos == s->data_len)) {
        s->phase = FDC_COMMAND;
        s->stage = FDC_NOTHING;
        s->pos = s->len = 0;
    }
    s->chunk = (uint8_t)MIN(MAX((unsigned)s->chunk, 1u), MAX(s->data_len - s->data_pos, 1));
    fdc_refresh_lines(s);
    fdc_resume(s);
}

static const char *const fallback_names[] = { "none", "120", "144", "288", "auto", NULL };

static const Property fdc_props[] = {
    PROP_U32("iobase", Fdc, iobase, .def = 0x3f0, .max = 0xfff8),
    PROP_U32("irq", Fdc, irqnum, .def = 6, .max = 15),
    PROP_U32("dma", Fdc, dma_channel, .def = 2, .max = 3),
    PROP_DRIVE("driveA", Fdc, drive_a, .help = "drive for unit 0; -device floppy does the same"),
    PROP_DRIVE("driveB", Fdc, drive_b, .help = "drive for unit 1"),
    PROP_BOOL("check_media_rate", Fdc, check_media_rate, .def = 1,
              .help = "a disk is read at its own data rate only"),
    PROP_ENUM("fallback", Fdc, fallback, .names = fallback_names, .def = FLOPPY_288,
              .help = "type of a drive-type=auto drive that is empty at start"),
    PROP_END,
};

static const StateField fdc_state[] = {
    STATE_U8(Fdc, dor),
    STATE_U8(Fdc, tdr, .mask = 3),
    STATE_U8(Fdc, dsr, .reset = 2),
    STATE_BOOL(Fdc, int_pending),
    STATE_U8(Fdc, phase, .max = NR_FDC_PHASES - 1),
    STATE_U8(Fdc, stage, .max = NR_FDC_STAGES - 1),
    STATE_U8(Fdc, task, .max = NR_FDC_TASKS - 1),
    STATE_U8S(Fdc, fifo),
    STATE_U8(Fdc, pos, .max = 15),
    STATE_U8(Fdc, len, .max = 16),
    STATE_U8(Fdc, polled, .mask = 15),
    STATE_U8(Fdc, seek_ended, .mask = 15),
    STATE_U8S(Fdc, seek_st0),
    STATE_U8S(Fdc, pcn),
    STATE_U8S(Fdc, specify),
    STATE_U8(Fdc, config, .reset = CONFIG_EFIFO, .mask = 0x7f),
    STATE_U8(Fdc, pretrk),
    STATE_U8(Fdc, perpendicular),
    STATE_U8(Fdc, last_eot),
    STATE_U8S(Fdc, drive_spec),
    STATE_BOOL(Fdc, lock),
    STATE_U8(Fdc, head, .max = 1),
    STATE_U8(Fdc, c),
    STATE_U8(Fdc, h),
    STATE_U8(Fdc, r),
    STATE_U8(Fdc, n),
    STATE_U8(Fdc, scan),
    STATE_U16(Fdc, left),
    STATE_U16(Fdc, data_pos, .max = BLOCK_SECTOR),
    STATE_U16(Fdc, data_len, .max = BLOCK_SECTOR),
    STATE_U8(Fdc, chunk),
    STATE_BOOL(Fdc, tc),
    STATE_U8S(Fdc, buffer),
    STATE_END,
};

DEVICE_TYPE(isa_fdc) = {
    DEVICE_INFO("isa-fdc", BUS_ISA, Fdc, "Floppy disk controller 82077AA"),
    .props = fdc_props,
    .state = fdc_state,
    .state_version = 1,
    .realize = fdc_realize,
    .reset = fdc_reset,
    .refresh = fdc_refresh,
};
