/* SPDX-License-Identifier: GPL-2.0-or-later
 * What an AHCI port reads and writes in memory (AHCI 4.2): command headers, the regions of command
 * tables, received FISes (SATA 10.5). Everything is copied once; a walk over a table takes at most
 * the entries that its header says, and goes on where it stopped.
 */
#include "hw/ide/ahci.h"

#include <string.h>

enum { HEADER_SIZE = 32, PRD_OFFSET = 0x80, PRD_SIZE = 16 };
enum { PRD_BYTES = 0x3fffff, PRD_INTERRUPT = 1u << 31 };
enum { RFIS_DMA_SETUP = 0x00, RFIS_PIO_SETUP = 0x20, RFIS_D2H = 0x40, RFIS_SDB = 0x58 };
enum { FIS_D2H = 0x34, FIS_DMA_SETUP = 0x41, FIS_PIO_SETUP = 0x5f, FIS_SDB = 0xa1 };
enum { FIS_INTERRUPT = 0x40, FIS_TO_HOST = 0x20 };

static uint64_t command_list(const AhciPort *p)
{
    return ((uint64_t)p->clbu << 32 | p->clb) & ~0x3ffull;
}

bool ahci_read_header(AhciPort *p, unsigned slot, uint8_t header[16])
{
    return pci_dma_read(p->bus.pci, command_list(p) + slot * HEADER_SIZE, header, 16);
}

void ahci_write_count(AhciPort *p, unsigned slot, uint32_t bytes)
{
    uint8_t text[4];
    pci_put32(text, bytes);
    pci_dma_write(p->bus.pci, command_list(p) + slot * HEADER_SIZE + 4, text, sizeof(text));
}

static void region_done(AhciPort *p, PrdCursor *c, uint32_t flags)
{
    c->index++;
    c->pos = 0;
    if (flags & PRD_INTERRUPT) {
        ahci_port_raise(p, IS_DPS);
    }
}

uint32_t ahci_move(AhciPort *p, PrdCursor *c, void *data, uint32_t len, bool to_memory)
{
    PciDevice *pci = p->bus.pci;
    uint32_t done = 0;
    while (done < len && c->index < c->nr) {
        uint8_t prd[PRD_SIZE];
        if (!pci_dma_read(pci, c->table + PRD_OFFSET + (uint64_t)c->index * PRD_SIZE, prd,
                          sizeof(prd))) {
            ahci_port_fatal(p, IS_HBFS);
            break;
        }
        uint64_t addr = pci_get32(prd) | (uint64_t)pci_get32(prd + 4) << 32;
        uint32_t flags = pci_get32(prd + 12), size = (flags & PRD_BYTES) + 1;
        if (c->pos >= size) { /* the guest has changed it meanwhile */
            region_done(p, c, flags);
            continue;
        }
        uint32_t n = MIN(len - done, size - c->pos);
        uint8_t *at = (uint8_t *)data + done;
        addr = (addr & ~1ull) + c->pos;
        if (!(to_memory ? pci_dma_write(pci, addr, at, n) : pci_dma_read(pci, addr, at, n))) {
            log_guest("ahci: DMA of %u bytes at %#llx: no memory there", n,
                      (unsigned long long)addr);
            ahci_port_fatal(p, IS_HBFS);
            break;
        }
        done += n;
        c->pos += n;
        if (c->pos == size) {
            region_done(p, c, flags);
        }
    }
    return done;
}

/* ---- received FISes ---- */

static void receive(AhciPort *p, unsigned offset, const uint8_t *fis, size_t len)
{
    if (p->cmd & CMD_FR) {
        uint64_t base = ((uint64_t)p->fbu << 32 | p->fb) & ~0xffull;
        pci_dma_write(p->bus.pci, base + offset, fis, len);
    }
}

static void put_registers(const IdeDevice *d, uint8_t *fis)
{
    fis[2] = d->status;
    fis[3] = d->error;
    fis[4] = d->lba_low;
    fis[5] = d->lba_mid;
    fis[6] = d->lba_high;
    fis[7] = d->select;
    fis[8] = d->hob_low;
    fis[9] = d->hob_mid;
    fis[10] = d->hob_high;
    fis[12] = d->count;
    fis[13] = d->hob_count;
}

void ahci_send_d2h(AhciPort *p, bool interrupt)
{
    uint8_t fis[20] = { FIS_D2H, interrupt ? FIS_INTERRUPT : 0 };
    const IdeDevice *d = ahci_device(p);
    put_registers(d, fis);
    receive(p, RFIS_D2H, fis, sizeof(fis));
    p->status = d->status;
    p->error = d->error;
    if (interrupt) {
        ahci_port_raise(p, IS_DHRS);
    }
}

void ahci_send_pio_setup(AhciPort *p, uint32_t len, bool to_memory, bool interrupt)
{
    uint8_t fis[20] = { FIS_PIO_SETUP, (uint8_t)((interrupt ? FIS_INTERRUPT : 0) |
                                                 (to_memory ? FIS_TO_HOST : 0)) };
    put_registers(ahci_device(p), fis);
    fis[2] = ST_DRDY | ST_DSC | ST_DRQ;
    fis[15] = ST_DRDY | ST_DSC; /* at the end */
    fis[16] = (uint8_t)len;
    fis[17] = (uint8_t)(len >> 8);
    receive(p, RFIS_PIO_SETUP, fis, sizeof(fis));
}

void ahci_send_dma_setup(AhciPort *p, unsigned tag, uint32_t len, bool to_memory)
{
    uint8_t fis[28] = { FIS_DMA_SETUP, to_memory ? FIS_TO_HOST : 0 };
    pci_put32(fis + 4, tag);
    pci_put32(fis + 20, len);
    receive(p, RFIS_DMA_SETUP, fis, sizeof(fis));
}

/* Of the status it brings all but BSY and DRQ. */
void ahci_send_sdb(AhciPort *p, uint32_t done)
{
    const IdeDevice *d = ahci_device(p);
    uint8_t fis[8] = { FIS_SDB, FIS_INTERRUPT, d->status & 0x77, d->error };
    pci_put32(fis + 4, done);
    receive(p, RFIS_SDB, fis, sizeof(fis));
    p->status = (uint8_t)((p->status & ~0x77) | (d->status & 0x77));
    p->error = d->error;
    p->sact &= ~done;
    ahci_port_raise(p, IS_SDBS);
}
