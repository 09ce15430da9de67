/* SPDX-License-Identifier: GPL-2.0-or-later
 * AHCI (Serial ATA AHCI 1.3.1): a host bus adapter with six ports, each an IDE bus with one plug.
 *
 * ahci.c the PCI function and its generic registers, ahci_port.c a port: registers, link, command
 * list, ahci_fis.c what moves through memory, ahci_ncq.c queued commands.
 */
#ifndef HW_IDE_AHCI_H
#define HW_IDE_AHCI_H

#include "hw/ide/ide.h"

enum { AHCI_PORTS = 6, AHCI_SLOTS = 32, AHCI_NO_SLOT = 0xff };
/* Requests under way whose commands software has given up; with more, new ones wait. */
enum { AHCI_MAX_DROPPED = 2 * AHCI_SLOTS };

/* Port registers (3.3), as offsets into the port's 80h bytes. */
enum {
    PX_CLB = 0x00,
    PX_CLBU = 0x04,
    PX_FB = 0x08,
    PX_FBU = 0x0c,
    PX_IS = 0x10,
    PX_IE = 0x14,
    PX_CMD = 0x18,
    PX_TFD = 0x20,
    PX_SIG = 0x24,
    PX_SSTS = 0x28,
    PX_SCTL = 0x2c,
    PX_SERR = 0x30,
    PX_SACT = 0x34,
    PX_CI = 0x38
};
enum {
    IS_DHRS = 1u << 0,
    IS_PSS = 1u << 1,
    IS_DSS = 1u << 2,
    IS_SDBS = 1u << 3,
    IS_DPS = 1u << 5,
    IS_PCS = 1u << 6,
    IS_PRCS = 1u << 22,
    IS_OFS = 1u << 24,
    IS_IFS = 1u << 27,
    IS_HBFS = 1u << 29,
    IS_TFES = 1u << 30
};
enum {
    CMD_ST = 1u << 0,
    CMD_SUD = 1u << 1,
    CMD_POD = 1u << 2,
    CMD_CLO = 1u << 3,
    CMD_FRE = 1u << 4,
    CMD_FR = 1u << 14,
    CMD_CR = 1u << 15,
    CMD_ATAPI = 1u << 24
};
enum { SERR_N = 1u << 16, SERR_X = 1u << 26 };

typedef struct Ahci Ahci;

/* Where in a command table's list of regions (4.2.3.3) the data has got to. */
typedef struct PrdCursor {
    uint64_t table;
    uint32_t nr, index;
    uint32_t pos; /* in region index */
} PrdCursor;

/* A queued command (SATA 13.6). */
typedef struct NcqCommand {
    bool active; /* state */
    bool write, fua;
    uint64_t sector;
    uint32_t left; /* sectors */
    PrdCursor prd;
    struct NcqRequest *request; /* wiring: with the block layer */
} NcqCommand;

typedef struct AhciPort {
    IdeBus bus;
    Ahci *hba; /* wiring */
    unsigned nr;
    bool issuing;  /* within ahci_port_issue */
    List requests; /* NcqRequest, also those that nobody waits for */
    unsigned nr_dropped; /* of those */

    /* state: registers */
    uint32_t clb, clbu, fb, fbu, is, ie, cmd, sctl, serr, sact, ci, sig, ssts;
    uint8_t status, error; /* PxTFD */
    /* state: the command being executed */
    uint8_t slot, last_slot;
    uint8_t control; /* device control of the last register FIS */
    bool stopped;    /* after an error, until ST is cleared */
    bool signature_due;
    bool pio_in, packet;
    uint32_t moved; /* bytes: PRDBC */
    PrdCursor prd;
    NcqCommand ncq[AHCI_SLOTS];
    bool ncq_failed; /* the log has what and why */
    uint8_t ncq_log[16];
} AhciPort;

struct Ahci {
    PciDevice pci;
    bool staggered;   /* property: CAP.SSS */
    uint32_t ghc, is; /* state */
    AhciPort port[AHCI_PORTS];
    Region regs; /* wiring */
};

/* ahci.c: PxIS or PxIE changed. */
void ahci_update_irq(Ahci *s);

/* ahci_port.c */
void ahci_port_init(AhciPort *p, Ahci *hba, unsigned nr);
uint32_t ahci_port_read(AhciPort *p, unsigned reg);
void ahci_port_write(AhciPort *p, unsigned reg, uint32_t val);
void ahci_port_reset(AhciPort *p);             /* HBA reset: registers, then the link comes up */
uint32_t ahci_port_pending(const AhciPort *p); /* PxIS */
void ahci_port_issue(AhciPort *p);             /* starts what can be started */
void ahci_port_raise(AhciPort *p, uint32_t is);
void ahci_port_fatal(AhciPort *p, uint32_t is);
void ahci_port_check(AhciPort *p); /* after a load */
IdeDevice *ahci_device(const AhciPort *p);
extern const IdeHost ahci_host;
extern const StateField ahci_port_state[];

/* ahci_fis.c */
bool ahci_read_header(AhciPort *p, unsigned slot, uint8_t header[16]);
void ahci_write_count(AhciPort *p, unsigned slot, uint32_t bytes); /* PRDBC */
/* Between data and the regions from c on; how many bytes there was room for. */
uint32_t ahci_move(AhciPort *p, PrdCursor *c, void *data, uint32_t len, bool to_memory);
void ahci_send_d2h(AhciPort *p, bool interrupt); /* register FIS, device to host */
/* The interrupt that it announces is the caller's, once the data has moved. */
void ahci_send_pio_setup(AhciPort *p, uint32_t len, bool to_memory, bool interrupt);
void ahci_send_dma_setup(AhciPort *p, unsigned tag, uint32_t len, bool to_memory);
/* Set device bits: done tags, or an error. */
void ahci_send_sdb(AhciPort *p, uint32_t done);

/* ahci_ncq.c */
bool ncq_is_command(uint8_t command);
bool ncq_any(const AhciPort *p);
void ncq_start(AhciPort *p, unsigned slot, const uint8_t *fis, const PrdCursor *prd);
void ncq_drop_all(AhciPort *p);      /* nobody hears of their end */
void ncq_forget_failed(AhciPort *p); /* reset, after a drain */
bool ncq_read_log(AhciPort *p);      /* READ LOG EXT; false: no such log */
void ncq_resume(AhciPort *p);        /* after a load */
extern const StateField ncq_state[], prd_state[];

#endif
