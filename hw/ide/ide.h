/* SPDX-License-Identifier: GPL-2.0-or-later
 * IDE: a channel (cable) with two plugs, the devices on it, and the bus-master engine that moves
 * their data (ATA8-ACS, ATA/ATAPI-6 for PACKET devices, BMIDE: Programming Interface for Bus
 * Master IDE Controller 1.0).
 *
 * A channel is part of its controller (piix3_ide.c). An AHCI port (ahci.h) is a channel with one
 * plug and an IdeHost, which moves the data and hears of the ends of commands. The parts: channel.c task file and interrupt,
 * ide_device.c what plugs in, ata.c disks, atapi.c CD drives, transfer.c what moves between
 * buffer, guest and drive.
 */
#ifndef HW_IDE_IDE_H
#define HW_IDE_IDE_H

#include "block/block.h"
#include "hw/core/device.h"
#include "hw/pci/pci.h"

enum { ST_ERR = 0x01, ST_DRQ = 0x08, ST_DSC = 0x10, ST_DF = 0x20, ST_DRDY = 0x40, ST_BSY = 0x80 };
enum { ER_ABRT = 0x04, ER_MCR = 0x08, ER_IDNF = 0x10, ER_MC = 0x20, ER_UNC = 0x40, ER_ICRC = 0x80 };
enum { SEL_DEV = 0x10, SEL_LBA = 0x40 };
enum { CTL_NIEN = 0x02, CTL_SRST = 0x04, CTL_HOB = 0x80 };
enum { BM_START = 0x01, BM_TO_MEMORY = 0x08 };                   /* BMIDE command */
enum { BMS_ACTIVE = 0x01, BMS_ERROR = 0x02, BMS_INTR = 0x04 };   /* BMIDE status */
enum { IR_COD = 0x01, IR_IO = 0x02 };                            /* PACKET interrupt reason */

enum { IDE_BUFFER = 128 * 1024 };

typedef struct IdeBus IdeBus;
typedef struct IdeDevice IdeDevice;

/* What the data in the buffer is for. */
typedef enum IdePhase {
    IDE_IDLE,
    IDE_PIO_IN,     /* guest reads the buffer */
    IDE_PIO_OUT,    /* guest fills the buffer */
    IDE_PACKET,     /* guest writes a command packet */
    IDE_DMA,        /* the bus master moves the buffer, or will once it is started */
    IDE_DISK,       /* a request to the drive is under way */
    NR_IDE_PHASES
} IdePhase;

/* What the command does with the medium, piece by piece of the buffer's size. */
typedef enum IdeTask {
    TASK_REPLY,     /* nothing: the buffer's content goes to the guest */
    TASK_READ,
    TASK_WRITE,
    TASK_VERIFY,    /* reads, and the guest gets nothing */
    TASK_TRIM,      /* ranges from the guest, discarded one by one */
    TASK_FLUSH,
    NR_IDE_TASKS
} IdeTask;

struct IdeDevice {
    Device dev;
    uint32_t unit; /* properties */
    uint32_t logical_block, physical_block, rotation_rate;
    uint64_t wwn;
    char *drive_id, *serial, *model, *version, *werror, *rerror;
    int32_t bootindex;

    /* state: task file; hob_ is the value written before (48-bit commands) */
    uint8_t feature, count, lba_low, lba_mid, lba_high, select;
    uint8_t hob_feature, hob_count, hob_low, hob_mid, hob_high;
    uint8_t status, error;
    uint8_t phase, task;
    uint8_t command;
    bool irq_pending;    /* INTRQ, seen on the cable while this device is selected */
    bool use_dma, lba48;
    uint32_t block;      /* bytes between interrupts in PIO */
    uint32_t pos, len;   /* of the data in buffer */
    uint32_t block_end;  /* pos at which the next interrupt or end comes */
    uint64_t sector;     /* next one, in units of the medium */
    uint32_t sectors_left, sectors_now; /* of the command; of them in the buffer */
    uint16_t multiple;   /* SET MULTIPLE MODE; 0: off */
    uint16_t heads, track; /* INITIALIZE DEVICE PARAMETERS */
    uint8_t dma_mode;    /* SET FEATURES transfer mode byte */
    bool write_cache, standby;
    /* ATAPI */
    uint8_t packet[12];
    uint8_t sense_key, asc, ascq;
    bool tray_open, locked, attention; /* attention: medium changed */
    uint8_t media_event;
    uint16_t byte_limit;
    uint8_t buffer[IDE_BUFFER];

    /* wiring */
    IdeBus *bus;
    Drive *drive;
    bool is_cd;
    uint16_t cylinders, default_heads, default_track;
    BlkRequest req;
    struct iovec iov;
    bool busy;          /* req is with the block layer */
    bool reset_pending; /* a reset waits for it */
};

/* What takes the place of task file, interrupt line and bus master; vm_lock, main loop or vCPU. */
typedef struct IdeHost {
    /* Data of the command, on from where the last call ended; how many bytes found room. */
    uint32_t (*move)(IdeBus *b, void *data, uint32_t len, bool to_memory);
    void (*ended)(IdeBus *b);      /* a command: status and error tell how */
    void (*reset_done)(IdeBus *b); /* the signature is in the registers */
} IdeHost;

struct IdeBus {
    Bus bus;
    const IdeHost *host; /* NULL: a parallel cable */
    IdeDevice *unit[2];
    Irq irq;
    PciDevice *pci;   /* for DMA */
    /* state of the channel */
    uint8_t select, control;
    bool line;        /* INTRQ as the host sees it: its rising edge sets BMS_INTR */
    uint8_t bm_command, bm_status;
    uint32_t bm_prd;      /* descriptor table */
    uint32_t bm_at;       /* next descriptor */
    uint32_t bm_addr, bm_left; /* rest of the descriptor in hand */
    bool bm_last;
};
extern const StateField ide_bus_state[], ide_device_state[];

/* channel.c */
void ide_bus_init(IdeBus *b, const char *name, PciDevice *pci);
unsigned ide_bus_plugs(const IdeBus *b);                      /* how many devices it takes */
uint64_t ide_read(IdeBus *b, uint64_t offset, unsigned size); /* command block, offset 0-7 */
void ide_write(IdeBus *b, uint64_t offset, uint64_t val, unsigned size);
/* The data register, up to n times within one DRQ block; how many. */
unsigned ide_read_string(IdeBus *b, void *buf, unsigned size, unsigned n);
unsigned ide_write_string(IdeBus *b, const void *buf, unsigned size, unsigned n);
uint8_t ide_read_alt_status(IdeBus *b);
void ide_write_control(IdeBus *b, uint8_t val);
void ide_bus_refresh(IdeBus *b);
void ide_bus_reset(IdeBus *b);
void ide_irq(IdeDevice *d);
void ide_device_check(IdeDevice *d); /* after a load: fields that must agree do */
void ide_set_signature(IdeDevice *d);
void ide_abort_command(IdeDevice *d, uint8_t error); /* status ERR, interrupt */
void ide_command_done(IdeDevice *d);                 /* status ready, interrupt */
void ide_device_soft_reset(IdeDevice *d);
void ide_reset_ended(IdeDevice *d); /* it is not busy any more: tells who waits for that */

/* ata.c, atapi.c */
void ata_command(IdeDevice *d, uint8_t command);
uint64_t ata_nr_sectors(const IdeDevice *d);
void ata_transfer_error(IdeDevice *d);
void ide_put_string(uint16_t *words, unsigned nr, const char *text); /* IDENTIFY's byte order */
void atapi_command(IdeDevice *d);            /* the packet is complete */
void atapi_data_done(IdeDevice *d);          /* all data of the packet command moved */
void atapi_transfer_error(IdeDevice *d, int error);
void atapi_identify(IdeDevice *d);
void atapi_set_media_present(IdeDevice *d, bool loaded);
void atapi_request_eject(IdeDevice *d);

/* transfer.c */
/* buffer[0..len) to the guest, by PIO in blocks or by DMA as use_dma says. */
void ide_start_reply(IdeDevice *d, uint32_t len, uint32_t block);
/* sector, sectors_left, use_dma and (PIO) block are set. */
void ide_start_task(IdeDevice *d, IdeTask task);
void ide_data_block_done(IdeDevice *d);      /* PIO: pos reached block_end */
void ide_bm_start(IdeBus *b);
void ide_resume(IdeDevice *d);               /* after a load: the request that was under way */
uint32_t ide_sector_size(const IdeDevice *d);

#endif
