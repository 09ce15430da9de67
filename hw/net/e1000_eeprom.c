/* SPDX-License-Identifier: GPL-2.0-or-later
 * e1000: the 64-word Microwire EEPROM (8254x 5), read bit by bit through EECD or by word through
 * EERD. It can only be read: writing and erasing are left out.
 */
#include "hw/net/e1000.h"

enum {
    EECD_SK = 1 << 0,
    EECD_CS = 1 << 1,
    EECD_DI = 1 << 2,
    EECD_DO = 1 << 3,
    EECD_FWE = 3 << 4,
    EECD_REQ = 1 << 6,
    EECD_GNT = 1 << 7,
    EECD_PRES = 1 << 8
};
enum { EERD_START = 1 << 0, EERD_DONE = 1 << 4, EERD_ADDR_SHIFT = 8, EERD_DATA_SHIFT = 16 };

/* ---- contents, 8254x 5.6 ---- */

enum {
    WORD_INIT1 = 0x0a,
    WORD_SUBSYSTEM = 0x0b,
    WORD_SUBVENDOR = 0x0c,
    WORD_DEVICE = 0x0d,
    WORD_VENDOR = 0x0e,
    WORD_INIT2 = 0x0f,
    WORD_CHECKSUM = 0x3f,
    CHECKSUM = 0xbaba
};

void e1000_eeprom_fill(E1000 *s)
{
    uint16_t *w = s->eeprom, sum = 0;
    for (unsigned i = 0; i < ETH_ALEN / 2; i++) {
        w[i] = (uint16_t)(s->mac[2 * i] | s->mac[2 * i + 1] << 8);
    }
    for (unsigned i = ETH_ALEN / 2; i < EEPROM_WORDS; i++) {
        w[i] = 0;
    }
    w[WORD_INIT1] = 0x4408; /* signature 01b, ASDE, subsystem and vendor id are loaded from here */
    w[WORD_SUBSYSTEM] = pci_get16(s->pci.config + PCI_SUBSYSTEM_ID);
    w[WORD_SUBVENDOR] = pci_get16(s->pci.config + PCI_SUBVENDOR_ID);
    w[WORD_DEVICE] = pci_get16(s->pci.config + PCI_DEVICE_ID);
    w[WORD_VENDOR] = pci_get16(s->pci.config + PCI_VENDOR_ID);
    w[WORD_INIT2] = 0x3040;
    for (unsigned i = 0; i < WORD_CHECKSUM; i++) {
        sum += w[i];
    }
    w[WORD_CHECKSUM] = (uint16_t)(CHECKSUM - sum);
}

/* ---- by word: EERD ---- */

void e1000_eerd_write(E1000 *s, uint32_t val)
{
    uint8_t address = (uint8_t)(val >> EERD_ADDR_SHIFT);
    if (!(val & EERD_START)) {
        s->eerd = val & 0xff00;
        return;
    }
    uint16_t data = address < EEPROM_WORDS ? s->eeprom[address] : 0xffff;
    s->eerd = (uint32_t)data << EERD_DATA_SHIFT | (uint32_t)address << EERD_ADDR_SHIFT | EERD_DONE;
}

/* ---- by bit: EECD ---- */

/* A command is a start bit, two bits of opcode and six of address; READ is 10b. */
enum { COMMAND_BITS = 9, OP_READ = 6 };

/* A bit is taken from DI on the rising edge of SK. */
static void clock_in(E1000 *s, bool di)
{
    Microwire *w = &s->wire;
    if (w->reading || (!w->nr_in && !di)) {
        return; /* no start bit yet */
    }
    w->in = (uint16_t)(w->in << 1 | di);
    if (++w->nr_in < COMMAND_BITS) {
        return;
    }
    if (w->in >> 6 == OP_READ) {
        w->reading = true;
        w->address = w->in & (EEPROM_WORDS - 1);
        w->nr_out = 0; /* a zero comes first */
        w->out = 0;
    } else {
        w->nr_in = 0;
        log_unimp("e1000: EEPROM command %#x", w->in);
    }
    w->in = 0;
}

/* While a word is read its bits come out, then those of the next. DO holds out's high bit. */
static void clock_out(E1000 *s)
{
    Microwire *w = &s->wire;
    if (!w->nr_out) {
        w->out = s->eeprom[w->address];
        w->address = (w->address + 1) & (EEPROM_WORDS - 1);
        w->nr_out = 16;
    } else {
        w->out = (uint16_t)(w->out << 1);
        if (!--w->nr_out) {
            clock_out(s);
        }
    }
}

void e1000_eecd_write(E1000 *s, uint32_t val)
{
    uint32_t old = s->eecd;
    s->eecd = (val & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ)) | EECD_PRES;
    if (!(val & EECD_CS)) {
        s->wire = (Microwire){ 0 };
    } else if (val & EECD_SK & ~old) {
        if (s->wire.reading) {
            clock_out(s);
        } else {
            clock_in(s, val & EECD_DI);
        }
    }
}

uint32_t e1000_eecd_read(E1000 *s)
{
    uint32_t val = s->eecd | EECD_PRES;
    if (s->eecd & EECD_REQ) {
        val |= EECD_GNT;
    }
    if (!s->wire.reading || s->wire.out & 0x8000) {
        val |= EECD_DO; /* idle is high: ready */
    }
    return val;
}
