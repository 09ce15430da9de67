/* SPDX-License-Identifier: GPL-2.0-or-later
 * A port of the AHCI: its registers (AHCI 3.3), the link (10.1, 10.4), the command list (5.3), and
 * commands that are not queued, which run one after the other.
 *
 *          ST=1                       register FIS                   D2H FIS, or end of PIO data
 *   idle ----------> slot with CI=1 ----------------> device busy ---------------------------> CI=0
 *                                                       | ERR: TFES, CI stays, nothing more is
 *                                                       v fetched until ST is cleared (6.2.2)
 */
#include "hw/ide/ahci.h"

#include <stdio.h>
#include <string.h>

enum { DET_MASK = 0x0f, DET_RESET = 1, DET_PRESENT = 3, DET_OFFLINE = 4 };
enum { HEADER_CFL = 0x1f, HEADER_ATAPI = 0x20 };
enum { FIS_H2D = 0x27, FIS_IS_COMMAND = 0x80, ACMD_OFFSET = 0x40, CFIS_SIZE = 64 };
enum { SIG_DISK = 0x00000101, SIG_CD = 0xeb140101, SIG_NONE = 0xffffffff };
enum { ATA_PACKET = 0xa0, ATA_READ_LOG = 0x2f, ATA_READ_LOG_DMA = 0x47, ATA_DIAGNOSTIC = 0x90 };
/* What software writes; ICC asks for a power state and reads as "none asked" again. */
static const uint32_t cmd_writable = CMD_ST | CMD_FRE | CMD_ATAPI | 1u << 25;

IdeDevice *ahci_device(const AhciPort *p)
{
    return p->bus.unit[0];
}

/* PCS and PRCS are windows on PxSERR. */
uint32_t ahci_port_pending(const AhciPort *p)
{
    return p->is | (p->serr & SERR_X ? IS_PCS : 0) | (p->serr & SERR_N ? IS_PRCS : 0);
}

void ahci_port_raise(AhciPort *p, uint32_t is)
{
    p->is |= is;
    ahci_update_irq(p->hba);
}

void ahci_port_fatal(AhciPort *p, uint32_t is)
{
    p->stopped = true;
    ahci_port_raise(p, is);
}

/* ---- the link ---- */

static bool is_spun_up(const AhciPort *p)
{
    return !p->hba->staggered || (p->cmd & CMD_SUD);
}

static void forget_commands(AhciPort *p)
{
    p->slot = AHCI_NO_SLOT;
    ncq_drop_all(p);
}

static void link_down(AhciPort *p, uint32_t ssts)
{
    forget_commands(p);
    p->ssts = ssts;
    p->status = 0x7f;
    p->error = 0;
    p->sig = SIG_NONE;
    p->signature_due = false;
}

/* The device has found its signature; a link that is down does not bring it. */
static void reset_done(IdeBus *b)
{
    AhciPort *p = container_of(b, AhciPort, bus);
    IdeDevice *d = ahci_device(p);
    p->ncq_failed = false;
    if (!p->ssts || (p->sctl & DET_MASK) || (p->control & CTL_SRST)) {
        return;
    }
    d->hob_low = d->hob_mid = d->hob_high = d->hob_count = 0;
    p->sig = d->is_cd ? SIG_CD : SIG_DISK;
    p->signature_due = !(p->cmd & CMD_FR);
    ahci_send_d2h(p, false);
    if (p->slot != AHCI_NO_SLOT) { /* DEVICE RESET */
        p->ci &= ~(1u << p->slot);
        p->slot = AHCI_NO_SLOT;
    }
    ahci_port_issue(p);
}

static void reset_device(AhciPort *p)
{
    IdeDevice *d = ahci_device(p);
    p->status = ST_BSY;
    ide_device_soft_reset(d);
    if (!d->reset_pending) {
        reset_done(&p->bus);
    }
}

/* COMRESET (10.4.2): DET 3, the speed that PxSCTL allows, active. */
static void link_up(AhciPort *p)
{
    if (!ahci_device(p) || !is_spun_up(p)) {
        link_down(p, 0);
        return;
    }
    forget_commands(p);
    p->control = 0;
    p->ssts = (p->sctl >> 4 & 15) == 1 ? 0x113 : 0x123;
    p->serr |= SERR_X | SERR_N;
    reset_device(p);
    ahci_update_irq(p->hba);
}

void ahci_port_reset(AhciPort *p)
{
    p->clb = p->clbu = p->fb = p->fbu = p->is = p->ie = p->sctl = p->serr = p->sact = p->ci = 0;
    p->cmd = p->hba->staggered ? CMD_POD : CMD_POD | CMD_SUD;
    p->stopped = false;
    p->last_slot = AHCI_SLOTS - 1;
    link_up(p);
}

/* ---- commands ---- */

static uint32_t host_move(IdeBus *b, void *data, uint32_t len, bool to_memory)
{
    AhciPort *p = container_of(b, AhciPort, bus);
    const IdeDevice *d = ahci_device(p);
    if (p->slot == AHCI_NO_SLOT) {
        return 0; /* of a command that software has given up */
    }
    /* The first block to a device comes without one (SATA 10.5.11, ATA8-ACS 4.5). */
    bool interrupt = !d->use_dma && (to_memory || p->moved);
    if (!d->use_dma) {
        ahci_send_pio_setup(p, len, to_memory, interrupt);
        p->pio_in = to_memory && !p->packet;
    }
    uint32_t n = ahci_move(p, &p->prd, data, len, to_memory);
    p->moved += n;
    if (interrupt) {
        ahci_port_raise(p, IS_PSS);
    }
    if (n < len && to_memory) {
        ahci_port_raise(p, IS_OFS);
    }
    return n;
}

static void command_ended(IdeBus *b)
{
    AhciPort *p = container_of(b, AhciPort, bus);
    const IdeDevice *d = ahci_device(p);
    bool failed = d->status & (ST_ERR | ST_DF);
    if (p->slot == AHCI_NO_SLOT || p->stopped) { /* given up, or the host's memory failed */
        p->slot = AHCI_NO_SLOT;
        p->status = d->status;
        p->error = d->error;
        ahci_port_issue(p);
        return;
    }
    ahci_write_count(p, p->slot, p->moved);
    if (!failed) {
        p->ci &= ~(1u << p->slot);
    }
    p->slot = AHCI_NO_SLOT;
    if (p->pio_in && !failed) { /* the setup FIS has told it all */
        p->status = d->status;
        p->error = d->error;
    } else {
        ahci_send_d2h(p, true);
    }
    if (failed) {
        ahci_port_fatal(p, IS_TFES);
    }
    ahci_port_issue(p);
}

const IdeHost ahci_host = { host_move, command_ended, reset_done };

static void load_registers(IdeDevice *d, const uint8_t *fis)
{
    d->feature = fis[3];
    d->lba_low = fis[4];
    d->lba_mid = fis[5];
    d->lba_high = fis[6];
    d->select = fis[7];
    d->hob_low = fis[8];
    d->hob_mid = fis[9];
    d->hob_high = fis[10];
    d->hob_feature = fis[11];
    d->count = fis[12];
    d->hob_count = fis[13];
}

/* SRST goes up in one FIS and down in the next (10.4.1). */
static void control_fis(AhciPort *p, unsigned slot, uint8_t control)
{
    bool was = p->control & CTL_SRST;
    p->control = control;
    p->ci &= ~(1u << slot);
    if (!was && (control & CTL_SRST)) {
        forget_commands(p);
        p->sact = 0;
    } else if (was && !(control & CTL_SRST)) {
        reset_device(p);
    }
}

static void packet_command(AhciPort *p)
{
    IdeDevice *d = ahci_device(p);
    uint8_t packet[16];
    if (!pci_dma_read(p->bus.pci, p->prd.table + ACMD_OFFSET, packet, sizeof(packet))) {
        p->slot = AHCI_NO_SLOT;
        ahci_port_fatal(p, IS_HBFS);
        return;
    }
    p->packet = true;
    /* SeaBIOS takes any interrupt for the end. */
    ahci_send_pio_setup(p, sizeof(d->packet), false, false);
    ata_command(d, ATA_PACKET);
    if (d->phase == IDE_PACKET) {
        memcpy(d->buffer, packet, sizeof(d->packet));
        d->pos = sizeof(d->packet);
        ide_data_block_done(d);
    }
}

/* What the device answers itself, whatever its kind. */
static void run_command(AhciPort *p, uint8_t command)
{
    IdeDevice *d = ahci_device(p);
    if (p->ncq_failed && command != ATA_READ_LOG && command != ATA_READ_LOG_DMA) {
        ide_abort_command(d, ER_ABRT); /* SATA 13.6.4.3: the log first */
    } else if (command == ATA_PACKET && d->is_cd) {
        packet_command(p);
    } else if (command == ATA_DIAGNOSTIC) {
        ide_device_soft_reset(d);
        d->status = d->is_cd ? 0 : ST_DRDY | ST_DSC;
        command_ended(&p->bus);
    } else if ((command == ATA_READ_LOG || command == ATA_READ_LOG_DMA) && !d->is_cd) {
        d->command = command;
        d->use_dma = command == ATA_READ_LOG_DMA;
        if (!ncq_read_log(p)) {
            ide_abort_command(d, ER_ABRT);
        }
    } else {
        ata_command(d, command);
    }
}

static void start_slot(AhciPort *p, unsigned slot)
{
    IdeDevice *d = ahci_device(p);
    uint8_t header[16], fis[CFIS_SIZE];
    p->cmd = (p->cmd & ~0x1f00u) | slot << 8;
    if (!ahci_read_header(p, slot, header)) {
        ahci_port_fatal(p, IS_HBFS);
        return;
    }
    PrdCursor prd = { .table = (pci_get32(header + 8) & ~0x7full) | (uint64_t)pci_get32(header + 12)
                                                                        << 32,
                      .nr = pci_get16(header + 2) };
    if (!pci_dma_read(p->bus.pci, prd.table, fis, sizeof(fis))) {
        ahci_port_fatal(p, IS_HBFS);
        return;
    }
    if ((header[0] & HEADER_CFL) < 2 || fis[0] != FIS_H2D) {
        log_guest("ahci: port %u slot %u has no register FIS", p->nr, slot);
        ahci_port_fatal(p, IS_IFS);
        return;
    }
    if (!(fis[1] & FIS_IS_COMMAND)) {
        control_fis(p, slot, fis[15]);
        return;
    }
    load_registers(d, fis);
    if (ncq_is_command(fis[2]) && !d->is_cd && !p->ncq_failed) {
        ncq_start(p, slot, fis, &prd);
        return;
    }
    bool mixed = ncq_any(p);
    p->slot = (uint8_t)slot;
    p->prd = prd;
    p->moved = 0;
    p->pio_in = p->packet = false;
    p->status = ST_BSY | ST_DRDY;
    if (mixed) { /* SATA 13.6.4: both kinds at once end all */
        ncq_drop_all(p);
        ide_abort_command(d, ER_ABRT);
    } else {
        run_command(p, fis[2]);
    }
}

/* The next one after the last, in turn (5.3.2.3). */
static unsigned next_slot(const AhciPort *p)
{
    for (unsigned i = 1; i <= AHCI_SLOTS; i++) {
        unsigned slot = (p->last_slot + i) % AHCI_SLOTS;
        if (p->ci >> slot & 1) {
            return slot;
        }
    }
    return AHCI_NO_SLOT;
}

/* Nor while the device is still at a command that software has given up: queued ones go on beside
 * new ones, but not without limit, for each has its data in the host's memory. */
static bool can_issue(const AhciPort *p)
{
    const IdeDevice *d = ahci_device(p);
    return (p->cmd & CMD_CR) && !p->stopped && p->slot == AHCI_NO_SLOT && p->ci && d &&
           (p->ssts & DET_MASK) == DET_PRESENT && !(p->status & (ST_BSY | ST_DRQ)) && !d->busy &&
           d->phase == IDE_IDLE && p->nr_dropped <= AHCI_MAX_DROPPED;
}

/* Each turn takes a bit of PxCI or stops the port. */
void ahci_port_issue(AhciPort *p)
{
    if (p->issuing) {
        return;
    }
    p->issuing = true;
    while (can_issue(p)) {
        unsigned slot = next_slot(p);
        p->last_slot = (uint8_t)slot;
        start_slot(p, slot);
    }
    p->issuing = false;
}

/* ---- registers ---- */

static void stop(AhciPort *p)
{
    p->cmd &= ~(CMD_CR | 0x1f00u);
    p->ci = p->sact = 0;
    p->stopped = false;
    p->last_slot = AHCI_SLOTS - 1;
    forget_commands(p);
}

static void start_receiving(AhciPort *p)
{
    p->cmd |= CMD_FR;
    if (p->signature_due) {
        p->signature_due = false;
        ahci_send_d2h(p, false);
    }
}

static void write_cmd(AhciPort *p, uint32_t val)
{
    uint32_t was = p->cmd, writable = cmd_writable | (p->hba->staggered ? CMD_SUD : 0);
    p->cmd = (p->cmd & ~writable) | (val & writable);
    if ((val & CMD_CLO) && !(was & CMD_ST)) {
        p->status &= (uint8_t) ~(ST_BSY | ST_DRQ);
    }
    if ((p->cmd & CMD_FRE) && !(p->cmd & CMD_FR)) {
        start_receiving(p);
    } else if (!(p->cmd & CMD_FRE) && !(p->cmd & CMD_ST)) {
        p->cmd &= ~CMD_FR;
    }
    if (~was & p->cmd & CMD_SUD) {
        link_up(p);
    } else if (was & ~p->cmd & CMD_SUD) {
        link_down(p, 0);
    }
    if ((p->cmd & CMD_ST) && !(p->cmd & CMD_CR)) {
        p->cmd |= CMD_CR;
        p->stopped = false;
        ahci_port_issue(p);
    } else if (!(p->cmd & CMD_ST) && (p->cmd & CMD_CR)) {
        stop(p);
    }
}

static void write_sctl(AhciPort *p, uint32_t val)
{
    unsigned was = p->sctl & DET_MASK, det = val & DET_MASK;
    p->sctl = val & 0xfff;
    if (det == DET_RESET || det == DET_OFFLINE) {
        link_down(p, det == DET_OFFLINE ? 4 : 0);
    } else if (was == DET_RESET || was == DET_OFFLINE) {
        link_up(p);
    }
}

uint32_t ahci_port_read(AhciPort *p, unsigned reg)
{
    switch (reg) {
    case PX_CLB: return p->clb;
    case PX_CLBU: return p->clbu;
    case PX_FB: return p->fb;
    case PX_FBU: return p->fbu;
    case PX_IS: return ahci_port_pending(p);
    case PX_IE: return p->ie;
    case PX_CMD: return p->cmd;
    case PX_TFD: return p->status | (uint32_t)p->error << 8;
    case PX_SIG: return p->sig;
    case PX_SSTS: return p->ssts;
    case PX_SCTL: return p->sctl;
    case PX_SERR: return p->serr;
    case PX_SACT: return p->sact;
    case PX_CI: return p->ci;
    default: return 0;
    }
}

void ahci_port_write(AhciPort *p, unsigned reg, uint32_t val)
{
    switch (reg) {
    case PX_CLB: p->clb = val & ~0x3ffu; break;
    case PX_CLBU: p->clbu = val; break;
    case PX_FB: p->fb = val & ~0xffu; break;
    case PX_FBU: p->fbu = val; break;
    case PX_IS: p->is &= ~val; break;
    case PX_IE: p->ie = val & 0xfdc000ff; break;
    case PX_CMD: write_cmd(p, val); break;
    case PX_SCTL: write_sctl(p, val); break;
    case PX_SERR: p->serr &= ~val; break;
    case PX_SACT: p->sact |= p->cmd & CMD_CR ? val : 0; break;
    case PX_CI:
        p->ci |= p->cmd & CMD_CR ? val : 0;
        ahci_port_issue(p);
        break;
    default: break;
    }
    ahci_update_irq(p->hba);
}

/* ---- state ---- */

void ahci_port_init(AhciPort *p, Ahci *hba, unsigned nr)
{
    char name[64];
    p->hba = hba;
    p->nr = nr;
    p->bus.host = &ahci_host;
    list_init(&p->requests);
    if (hba->pci.dev.id) {
        snprintf(name, sizeof(name), "%s.%u", hba->pci.dev.id, nr);
    } else {
        snprintf(name, sizeof(name), "ahci@%02x.%u", hba->pci.devfn, nr);
    }
    ide_bus_init(&p->bus, name, &hba->pci);
}

void ahci_port_check(AhciPort *p)
{
    p->slot = p->slot < AHCI_SLOTS ? p->slot : AHCI_NO_SLOT;
    if (!ahci_device(p)) {
        p->slot = AHCI_NO_SLOT;
        p->cmd &= ~CMD_CR;
    }
    ncq_resume(p);
    ahci_port_issue(p);
}

const StateField ahci_port_state[] = {
    STATE_U32(AhciPort, clb),
    STATE_U32(AhciPort, clbu),
    STATE_U32(AhciPort, fb),
    STATE_U32(AhciPort, fbu),
    STATE_U32(AhciPort, is),
    STATE_U32(AhciPort, ie),
    STATE_U32(AhciPort, cmd),
    STATE_U32(AhciPort, sctl),
    STATE_U32(AhciPort, serr),
    STATE_U32(AhciPort, sact),
    STATE_U32(AhciPort, ci),
    STATE_U32(AhciPort, sig),
    STATE_U32(AhciPort, ssts),
    STATE_U8(AhciPort, status),
    STATE_U8(AhciPort, error),
    STATE_U8(AhciPort, slot, .reset = AHCI_NO_SLOT),
    STATE_U8(AhciPort, last_slot, .reset = AHCI_SLOTS - 1, .max = AHCI_SLOTS - 1),
    STATE_U8(AhciPort, control),
    STATE_BOOL(AhciPort, stopped),
    STATE_BOOL(AhciPort, signature_due),
    STATE_BOOL(AhciPort, pio_in),
    STATE_BOOL(AhciPort, packet),
    STATE_U32(AhciPort, moved),
    STATE_STRUCT(AhciPort, prd, PrdCursor, prd_state),
    STATE_STRUCT(AhciPort, ncq, NcqCommand, ncq_state),
    STATE_BOOL(AhciPort, ncq_failed),
    STATE_U8S(AhciPort, ncq_log),
    STATE_END,
};
