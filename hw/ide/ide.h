/* SPDX-License-Identifier: GPL-2.0-or-later
 * IDE: a channel (cable) with two plugs, the devices on it, and the bus-master engine that moves
 * their data (ATA8-ACS, ATA/ATAPI-6 for PACKET devices, BMIDE: Programming Interface for Bus
 * Master IDE Controller 1.0).
 *
 * A channel is part of its controller (piix3_ide.c). The parts: channel.c task file and interrupt,
 * ata.c disks, atapi.c CD drives, transfer.c what moves between buffer, guest and drive.
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
    IDE_DMA_WAIT,   /* DMA command accepted, bus master not started */
    IDE_DISK,       /* a request to the drive is under way */
    NR_IDE_PHASES
} IdePhase;

/* What happens when the buffer was read, or filled, or the drive is done. */
typedef enum IdeNext {
    NEXT_DONE,      /* command complete */
    NEXT_READ,      /* more sectors from the drive */
    NEXT_BUFFER,    /* DMA of what is in the buffer already */
    NR_IDE_NEXT
} IdeNext;

struct IdeDevice {
    Device dev;
    uint32_t unit;  /* properties */
    char *drive_id, *serial, *model, *version;
    int32_t bootindex;

    /* state: task file; hob_ is the value written before (48-bit commands) */
    uint8_t feature, count, lba_low, lba_mid, lba_high, select;
    uint8_t hob_feature, hob_count, hob_low, hob_mid, hob_high;
    uint8_t status, error;
    uint8_t phase, next;
    uint8_t command;
    bool is_write, use_dma, lba48;
    uint32_t block;      /* bytes between interrupts in PIO */
    uint32_t pos, len;   /* of the data in buffer */
    uint32_t block_end;  /* pos at which the next interrupt or end comes */
    uint64_t sector;     /* next one, in units of the medium */
    uint32_t sectors_left, sectors_now;
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

struct IdeBus {
    Bus bus;
    IdeDevice *unit[2];
    Irq irq;
    PciDevice *pci;   /* for DMA */
    /* state of the channel */
    uint8_t select, control;
    bool irq_pending;
    uint8_t bm_command, bm_status;
    uint32_t bm_prd;      /* descriptor table */
    uint32_t bm_at;       /* next descriptor */
    uint32_t bm_addr, bm_left; /* rest of the descriptor in hand */
    bool bm_last;
};
extern const StateField ide_bus_state[], ide_device_state[];

/* channel.c */
void ide_bus_init(IdeBus *b, const char *name, PciDevice *pci);
uint64_t ide_read(IdeBus *b, uint64_t offset, unsigned size);   /* command block, offset 0-7 */
void ide_write(IdeBus *b, uint64_t offset, uint64_t val, unsigned size);
uint8_t ide_read_alt_status(IdeBus *b);
void ide_write_control(IdeBus *b, uint8_t val);
void ide_bus_refresh(IdeBus *b);
void ide_bus_reset(IdeBus *b);
void ide_irq(IdeDevice *d);
void ide_set_signature(IdeDevice *d);
void ide_abort_command(IdeDevice *d, uint8_t error); /* status ERR, interrupt */
void ide_command_done(IdeDevice *d);                 /* status ready, interrupt */
void ide_device_soft_reset(IdeDevice *d);

/* ata.c, atapi.c */
void ata_command(IdeDevice *d, uint8_t command);
void ata_transfer_error(IdeDevice *d);
void atapi_command(IdeDevice *d);            /* the packet is complete */
void atapi_data_done(IdeDevice *d);          /* all data of the packet command moved */
void atapi_transfer_error(IdeDevice *d, int error);
void atapi_identify(IdeDevice *d);
void atapi_set_media_present(IdeDevice *d, bool loaded);

/* transfer.c */
/* Data that is in the buffer already, by DMA once the engine runs (ATAPI). */
void ide_start_dma_buffer(IdeDevice *d, uint32_t len);
void ide_start_pio_in(IdeDevice *d, uint32_t len, uint32_t block); /* buffer[0..len) to the guest */
void ide_start_transfer(IdeDevice *d); /* sector, sectors_left, is_write, use_dma are set */
void ide_data_block_done(IdeDevice *d);      /* pos reached block_end */
void ide_bm_start(IdeBus *b);
void ide_flush(IdeDevice *d);
/* Moves len bytes between buffer and PRDs; returns how many fitted. */
uint32_t ide_dma(IdeBus *b, uint8_t *buf, uint32_t len, bool to_memory);
uint32_t ide_sector_size(const IdeDevice *d);

#endif
