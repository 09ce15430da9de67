/* SPDX-License-Identifier: GPL-2.0-or-later
 * DMA controllers of an AT (Intel 8237A data sheet; 82371SB 4.3): two chips, the first cascaded
 * into channel 4 of the second, and the page registers that extend their 16-bit addresses. Left
 * out: memory-to-memory transfers and compressed timing, which no PC chipset has.
 *
 * A device moves its data in a bottom half of ours, as much as it wants at once, whatever the
 * channel's mode (single, demand, block) says about bus cycles.
 */
#include "hw/isa/i8237.h"

#include <stdio.h>
#include <string.h>

#include "hw/isa/isa.h"
#include "util/main_loop.h"

enum { NR_CHANNELS = 8, CASCADE = 4 };
/* Registers of a chip: 0-7 address and count of its channels, then: */
enum { STATUS_COMMAND = 8, REQUEST, SINGLE_MASK, MODE, CLEAR_FLIPFLOP, MASTER_CLEAR, CLEAR_MASK,
       ALL_MASK };
enum { CMD_MEM_TO_MEM = 1 << 0, CMD_DISABLE = 1 << 2 };
enum { MODE_WRITE = 0x04, MODE_READ = 0x08, MODE_TYPE = 0x0c, MODE_AUTOINIT = 0x10,
       MODE_DECREMENT = 0x20, MODE_CASCADE = 0xc0 };

typedef struct Channel {
    uint8_t mode; /* bits 7-2 */
    uint8_t page;
    uint16_t base_addr, base_count, addr, count;
    IsaDmaFn *fn; /* wiring: NULL: no device */
    void *opaque;
} Channel;

typedef struct Chip {
    uint8_t command;
    uint8_t mask, requests, tc; /* a bit a channel */
    uint8_t dreq;               /* pins */
    bool flipflop;              /* the next byte is the high one */
} Chip;

struct IsaDma {
    Device dev;
    Chip chip[2];
    Channel channel[NR_CHANNELS];
    uint8_t scratch[16]; /* page registers with no channel, 80h: POST codes */
    BottomHalf run;
    AddressSpace *memory; /* wiring */
    Region low_io, high_io, page_io;
};

/* Page register n of 80h-8fh belongs to this channel, -1: to none. */
static const int8_t page_channel[16] = { -1, 2, 3, 1, -1, -1, -1, 0, -1, 6, 7, 5, -1, -1, -1, 4 };

static unsigned shift_of(unsigned channel)
{
    return channel >= CASCADE; /* words on the second chip */
}

static bool is_ready(const IsaDma *s, unsigned channel)
{
    const Chip *c = &s->chip[channel / 4];
    uint8_t bit = 1 << channel % 4;
    bool asked = (c->dreq & ~c->mask & bit) || (c->requests & bit);
    if (!asked || (c->command & CMD_DISABLE) ||
        (s->channel[channel].mode & MODE_CASCADE) == MODE_CASCADE) {
        return false;
    }
    /* The first chip gets the bus only through channel 4 of the second. */
    const Chip *second = &s->chip[1];
    return channel >= CASCADE || !((second->mask & 1) || (second->command & CMD_DISABLE));
}

static void kick(IsaDma *s)
{
    for (unsigned n = 0; n < NR_CHANNELS; n++) {
        if (s->channel[n].fn && is_ready(s, n)) {
            bh_schedule(&s->run);
            return;
        }
    }
}

/* Bytes done and bytes in all of the channel's present block. */
static unsigned block_pos(const Channel *c, unsigned shift)
{
    return (uint16_t)(c->base_count - c->count) << shift;
}

static unsigned block_len(const Channel *c, unsigned shift)
{
    return (c->base_count + 1u) << shift;
}

static void terminal_count(IsaDma *s, unsigned channel)
{
    Chip *chip = &s->chip[channel / 4];
    Channel *c = &s->channel[channel];
    uint8_t bit = 1 << channel % 4;
    chip->tc |= bit;
    chip->requests &= ~bit;
    if (c->mode & MODE_AUTOINIT) {
        c->addr = c->base_addr;
        c->count = c->base_count;
    } else {
        chip->mask |= bit;
    }
}

/* Has the device done anything? */
static bool run_channel(IsaDma *s, unsigned channel)
{
    Channel *c = &s->channel[channel];
    unsigned shift = shift_of(channel);
    unsigned pos = block_pos(c, shift), len = block_len(c, shift);
    unsigned end = c->fn(c->opaque, channel, pos, len);
    if (end <= pos) {
        return false;
    }
    unsigned units = (MIN(end, len) - pos) >> shift;
    c->addr += c->mode & MODE_DECREMENT ? -units : units;
    c->count -= units;
    if (end >= len) {
        terminal_count(s, channel);
    }
    return true;
}

static void dma_run(void *opaque)
{
    IsaDma *s = opaque;
    bool more = false;
    for (unsigned n = 0; n < NR_CHANNELS; n++) {
        if (s->channel[n].fn && is_ready(s, n)) {
            more |= run_channel(s, n);
        }
    }
    if (more) {
        kick(s); /* who did nothing asks again with isa_dma_set_dreq */
    }
}

/* ---- for devices ---- */

bool isa_dma_attach(Device *dev, unsigned channel, IsaDmaFn *fn, void *opaque, Error **errp)
{
    IsaDma *s = isa_bus(dev)->dma;
    if (!s) {
        return error_set(errp, "%s: this machine has no ISA DMA controller", dev->type->name);
    }
    if (channel >= NR_CHANNELS || channel == CASCADE) {
        return error_set(errp, "%s: no DMA channel %u: use 0-3 or 5-7", dev->type->name, channel);
    }
    if (s->channel[channel].fn) {
        return error_set(errp, "%s: DMA channel %u is in use by another device",
                         dev->type->name, channel);
    }
    s->channel[channel].fn = fn;
    s->channel[channel].opaque = opaque;
    return true;
}

void isa_dma_set_dreq(IsaDma *dma, unsigned channel, bool level)
{
    Chip *c = &dma->chip[channel / 4];
    uint8_t bit = 1 << channel % 4;
    c->dreq = level ? c->dreq | bit : c->dreq & ~bit;
    if (level) {
        kick(dma);
    }
}

/* Where unit n from the current address lies: the 16-bit counter wraps within its page. */
static uint64_t gpa_of(const Channel *c, unsigned shift, unsigned unit)
{
    uint16_t addr = c->mode & MODE_DECREMENT ? c->addr - unit : c->addr + unit;
    return shift ? (uint64_t)(c->page & 0xfe) << 16 | (uint32_t)addr << 1
                 : (uint64_t)c->page << 16 | addr;
}

static void move(IsaDma *s, unsigned channel, uint8_t *buf, unsigned pos, unsigned len,
                 bool to_memory)
{
    const Channel *c = &s->channel[channel];
    unsigned shift = shift_of(channel);
    unsigned unit = (pos - block_pos(c, shift)) >> shift;
    while (len) {
        uint64_t gpa = gpa_of(c, shift, unit);
        /* As many units as lie behind each other in memory. */
        unsigned n = 1;
        if (!(c->mode & MODE_DECREMENT)) {
            unsigned to_wrap = 0x10000u - (uint16_t)(c->addr + unit);
            n = MIN(MAX(len >> shift, 1u), to_wrap);
        }
        unsigned bytes = MIN(n << shift, len);
        if (to_memory) {
            dma_write(s->memory, gpa, buf, bytes);
        } else {
            dma_read(s->memory, gpa, buf, bytes);
        }
        buf += bytes;
        len -= bytes;
        unit += n;
    }
}

unsigned isa_dma_read(IsaDma *dma, unsigned channel, void *buf, unsigned pos, unsigned len)
{
    memset(buf, 0xff, len);
    if ((dma->channel[channel].mode & MODE_TYPE) == MODE_READ) {
        move(dma, channel, buf, pos, len, false);
    }
    return len;
}

unsigned isa_dma_write(IsaDma *dma, unsigned channel, const void *buf, unsigned pos, unsigned len)
{
    if ((dma->channel[channel].mode & MODE_TYPE) == MODE_WRITE) { /* verify writes nothing */
        move(dma, channel, (uint8_t *)buf, pos, len, true);
    }
    return len;
}

/* ---- registers ---- */

static void master_clear(Chip *c)
{
    c->command = c->requests = c->tc = 0;
    c->flipflop = false;
    c->mask = 0xf;
}

static uint8_t read_address(Chip *c, const Channel *ch, bool count)
{
    uint16_t val = count ? ch->count : ch->addr;
    c->flipflop = !c->flipflop;
    return c->flipflop ? val : val >> 8;
}

static void write_address(Chip *c, Channel *ch, bool count, uint8_t val)
{
    uint16_t *base = count ? &ch->base_count : &ch->base_addr;
    *base = c->flipflop ? (*base & 0xff) | val << 8 : (*base & 0xff00) | val;
    c->flipflop = !c->flipflop;
    *(count ? &ch->count : &ch->addr) = *base;
}

static uint8_t chip_read(IsaDma *s, unsigned chip, unsigned reg)
{
    Chip *c = &s->chip[chip];
    if (reg < STATUS_COMMAND) {
        return read_address(c, &s->channel[chip * 4 + reg / 2], reg & 1);
    }
    uint8_t status = c->tc | (c->dreq | c->requests) << 4;
    switch (reg) {
    case STATUS_COMMAND: c->tc = 0; return status;
    case MASTER_CLEAR: return 0; /* temporary register: of memory-to-memory only */
    case ALL_MASK: return c->mask | 0xf0;
    default: return 0xff;
    }
}

static void chip_write(IsaDma *s, unsigned chip, unsigned reg, uint8_t val)
{
    Chip *c = &s->chip[chip];
    uint8_t bit = 1 << (val & 3);
    if (reg < STATUS_COMMAND) {
        write_address(c, &s->channel[chip * 4 + reg / 2], reg & 1, val);
        return;
    }
    switch (reg) {
    case STATUS_COMMAND:
        if (val & CMD_MEM_TO_MEM) {
            log_unimp("i8237: memory-to-memory transfers");
        }
        c->command = val;
        break;
    case REQUEST: c->requests = val & 4 ? c->requests | bit : c->requests & ~bit; break;
    case SINGLE_MASK: c->mask = val & 4 ? c->mask | bit : c->mask & ~bit; break;
    case MODE: s->channel[chip * 4 + (val & 3)].mode = val & ~3; break;
    case CLEAR_FLIPFLOP: c->flipflop = false; break;
    case MASTER_CLEAR: master_clear(c); break;
    case CLEAR_MASK: c->mask = 0; break;
    default: c->mask = val & 0xf;
    }
    kick(s);
}

static uint64_t low_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)size;
    return chip_read(opaque, 0, offset);
}

static void low_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)size;
    chip_write(opaque, 0, offset, val);
}

static uint64_t high_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)size;
    return chip_read(opaque, 1, offset >> 1); /* its registers are two ports apart */
}

static void high_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)size;
    chip_write(opaque, 1, offset >> 1, val);
}

static uint8_t *page_register(IsaDma *s, unsigned n)
{
    int channel = page_channel[n];
    return channel < 0 ? &s->scratch[n] : &s->channel[channel].page;
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)size;
    return *page_register(opaque, offset);
}

static void page_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)size;
    *page_register(opaque, offset) = val;
}

static const RegionOps low_ops = { low_read, low_write, .sizes = 1 };
static const RegionOps high_ops = { high_read, high_write, .sizes = 1 };
static const RegionOps page_ops = { page_read, page_write, .sizes = 1 };

/* ---- the device ---- */

static bool i8237_realize(Device *dev, Error **errp)
{
    IsaDma *s = container_of(dev, IsaDma, dev);
    IsaBus *bus = isa_bus(dev);
    s->memory = bus->memory;
    bus->dma = s;
    bh_init(&s->run, dma_run, s);
    region_init_io(&s->low_io, dev, &low_ops, s, 16);
    region_init_io(&s->high_io, dev, &high_ops, s, 32);
    region_init_io(&s->page_io, dev, &page_ops, s, 16);
    s->page_io.name = "i8237-page";
    return isa_map_ports(dev, &s->low_io, 0x00, errp) &&
           isa_map_ports(dev, &s->high_io, 0xc0, errp) &&
           isa_map_ports(dev, &s->page_io, 0x80, errp);
}

static void i8237_unrealize(Device *dev)
{
    IsaDma *s = container_of(dev, IsaDma, dev);
    bh_cancel(&s->run);
    isa_bus(dev)->dma = NULL;
}

static void i8237_refresh(Device *dev)
{
    kick(container_of(dev, IsaDma, dev));
}

static void i8237_info(Device *dev, void (*print)(void *opaque, const char *line), void *opaque)
{
    IsaDma *s = container_of(dev, IsaDma, dev);
    for (unsigned n = 0; n < NR_CHANNELS; n++) {
        const Channel *c = &s->channel[n];
        const Chip *chip = &s->chip[n / 4];
        char line[96];
        snprintf(line, sizeof(line), "channel %u: page=%02x addr=%04x count=%04x mode=%02x%s%s",
                 n, c->page, c->addr, c->count, c->mode,
                 chip->mask >> n % 4 & 1 ? " masked" : "", chip->dreq >> n % 4 & 1 ? " DREQ" : "");
        print(opaque, line);
    }
}

static const StateField channel_state[] = {
    STATE_U8(Channel, mode, .mask = 0xfc),
    STATE_U8(Channel, page),
    STATE_U16(Channel, base_addr),
    STATE_U16(Channel, base_count),
    STATE_U16(Channel, addr),
    STATE_U16(Channel, count),
    STATE_END,
};

static const StateField chip_state[] = {
    STATE_U8(Chip, command),
    STATE_U8(Chip, mask, .reset = 0xf, .mask = 0xf),
    STATE_U8(Chip, requests, .mask = 0xf),
    STATE_U8(Chip, tc, .mask = 0xf),
    STATE_U8(Chip, dreq, .mask = 0xf, .keep = true), /* pins: the devices drive them */
    STATE_BOOL(Chip, flipflop),
    STATE_END,
};

static const StateField i8237_state[] = {
    STATE_STRUCT(IsaDma, chip, Chip, chip_state),
    STATE_STRUCT(IsaDma, channel, Channel, channel_state),
    STATE_U8S(IsaDma, scratch),
    STATE_END,
};

DEVICE_TYPE(i8237) = {
    DEVICE_INFO("i8237", BUS_ISA, IsaDma, "DMA controllers 8237A and page registers"),
    .state = i8237_state,
    .state_version = 1,
    .realize = i8237_realize,
    .unrealize = i8237_unrealize,
    .refresh = i8237_refresh,
    .info = i8237_info,
    .internal = true,
};
