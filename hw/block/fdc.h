/* SPDX-License-Identifier: GPL-2.0-or-later
 * The floppy disk controller and its drives (Intel 82077AA data sheet, 1994; commands of the 82078
 * where named).
 *
 * fdc.c registers, phases and data, fdc_commands.c the commands that move no data,
 * fdc_transfer.c those that do, floppy.c drives and the formats of media.
 */
#ifndef HW_BLOCK_FDC_H
#define HW_BLOCK_FDC_H

#include "block/block.h"
#include "hw/core/device.h"
#include "hw/isa/isa.h"

enum { FDC_SECTOR_CODE = 2, FDC_MAX_DRIVES = 2 }; /* N: 512 bytes */

/* Status registers (82077AA 6.0) */
enum { ST0_ABNORMAL = 0x40, ST0_INVALID = 0x80, ST0_POLLED = 0xc0, ST0_SE = 0x20, ST0_EC = 0x10 };
enum { ST1_MA = 0x01, ST1_NW = 0x02, ST1_ND = 0x04, ST1_DE = 0x20, ST1_EN = 0x80 };
enum { ST2_BC = 0x02, ST2_SN = 0x04, ST2_SH = 0x08, ST2_WC = 0x10, ST2_DD = 0x20, ST2_CM = 0x40 };
/* Bits of the first command byte */
enum { CMD_MT = 0x80, CMD_MFM = 0x40, CMD_SK = 0x20 };
/* CONFIGURE, second byte */
enum { CONFIG_EIS = 0x40, CONFIG_EFIFO = 0x20, CONFIG_POLL = 0x10, CONFIG_FIFOTHR = 0x0f };

typedef struct Fdc Fdc;
typedef struct FloppyDrive FloppyDrive;

/* Values of drive-type=. */
typedef enum FloppyType { FLOPPY_NONE, FLOPPY_120, FLOPPY_144, FLOPPY_288, FLOPPY_AUTO } FloppyType;

typedef struct FloppyFormat {
    uint8_t sectors, cylinders, heads;
    uint8_t rate;  /* DSR's code: 0 500, 1 300, 2 250, 3 1000 kbit/s */
    uint8_t types; /* bit n: FloppyType n reads it; the lowest is the drive it is made for */
} FloppyFormat;

struct FloppyDrive {
    Device dev;
    uint32_t unit, wanted_type; /* properties */
    char *drive_id;
    int32_t bootindex;

    uint8_t cylinder; /* state: where the head is */
    uint8_t passing;  /* sector that READ ID saw last */
    bool changed;     /* DSKCHG */

    Fdc *fdc; /* wiring */
    Drive *drive;
    FloppyType type;
    const FloppyFormat *format; /* NULL: no disk in it */
};

typedef enum FdcPhase { FDC_COMMAND, FDC_EXECUTION, FDC_RESULT, NR_FDC_PHASES } FdcPhase;

/* What the execution phase waits for. */
typedef enum FdcStage {
    FDC_NOTHING,
    FDC_MEDIUM,    /* a request to the drive */
    FDC_TO_HOST,   /* the host to take the buffer's data */
    FDC_FROM_HOST, /* the host to fill the buffer */
    NR_FDC_STAGES
} FdcStage;

typedef enum FdcTask {
    FDC_READ,
    FDC_READ_DELETED,
    FDC_READ_TRACK,
    FDC_VERIFY,
    FDC_WRITE,
    FDC_FORMAT,
    FDC_SCAN_EQUAL,
    FDC_SCAN_LOW,
    FDC_SCAN_HIGH,
    NR_FDC_TASKS
} FdcTask;

struct Fdc {
    Device dev;
    uint32_t iobase, irqnum, dma_channel, fallback; /* properties */
    bool check_media_rate;
    char *drive_a, *drive_b;

    /* state: registers */
    uint8_t dor, tdr, dsr;
    bool int_pending;
    uint8_t phase, stage, task;
    uint8_t fifo[16], pos, len; /* command or result bytes */
    uint8_t polled;             /* ready changes after a reset still to tell, a bit a drive */
    uint8_t seek_ended;         /* seeks to tell, a bit a drive */
    uint8_t seek_st0[4], pcn[4];
    uint8_t specify[2], config, pretrk, perpendicular, last_eot, drive_spec[4];
    bool lock;
    /* state: the command being executed */
    uint8_t head;       /* the physical one */
    uint8_t c, h, r, n; /* the sector sought, then the result */
    uint8_t scan;       /* ST2 so far */
    uint16_t left;      /* sectors of VERIFY and FORMAT; sectors done of READ TRACK */
    uint16_t data_pos, data_len;
    uint8_t chunk; /* bytes until INT falls, without DMA */
    bool tc;
    uint8_t buffer[BLOCK_SECTOR];

    /* wiring */
    Bus bus;
    FloppyDrive *unit[FDC_MAX_DRIVES];
    Region io, dir_io;
    Irq irq;
    IsaDma *dma;
    BlkRequest req;
    struct iovec iov;
    /* What req moves: a reset leaves it to the block layer, while buffer is the next command's. */
    uint8_t sector[BLOCK_SECTOR];
    bool busy;  /* req is with the block layer */
    bool stale; /* ... and nobody waits for it any more */
};

/* fdc.c */
void fdc_interrupt(Fdc *s);
void fdc_result(Fdc *s, unsigned len); /* fifo[0..len) is it; 0: none */
void fdc_refresh_lines(Fdc *s);
/* The buffer's data_len bytes are the host's to take, or to give. */
void fdc_move_data(Fdc *s, FdcStage stage, unsigned len);
FloppyDrive *fdc_drive(Fdc *s, unsigned n); /* NULL: none there */
bool fdc_uses_dma(const Fdc *s);

/* fdc_commands.c: a byte of the command phase. */
void fdc_command_byte(Fdc *s, uint8_t val);

/* fdc_transfer.c */
void fdc_start_transfer(Fdc *s, FdcTask task); /* the command is in fifo */
void fdc_read_id(Fdc *s);
void fdc_host_done(Fdc *s); /* all data moved, or terminal count */
/* SCAN: bytes of the host against those of the buffer at data_pos. */
void fdc_scan(Fdc *s, const uint8_t *data, unsigned len);
void fdc_resume(Fdc *s); /* after a load */

/* floppy.c */
void floppy_step(FloppyDrive *d, int steps); /* negative: outwards */
void floppy_bus_init(Fdc *s);
/* drive_id NULL: an empty one, "floppyN". */
bool floppy_create(Fdc *s, unsigned unit, const char *drive_id, Error **errp) MUST_USE;
/* What a BIOS calls the drive's type in CMOS (0 none, 2 1.2M, 4 1.44M, 5 2.88M). */
unsigned floppy_cmos_type(const Device *fdc, unsigned n);
/* 16 numbers: ACPI 6.4 9.8.2.2, _FDI; false if there is no drive n. */
bool floppy_acpi_info(const Device *fdc, unsigned n, uint16_t info[16]);

DECLARE_DEVICE_TYPE(isa_fdc);

#endif
