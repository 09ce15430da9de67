/* SPDX-License-Identifier: GPL-2.0-or-later
 * Programmable interrupt controllers: the two 8259A of an AT as the 82371SB has them (Intel 8259A
 * data sheet; 82371SB 4.6 for ELCR). Not here: MCS-80 mode (ICW4.uPM 0 is treated as 8086 mode)
 * and buffered mode, which has no effect a program could see. ICW1.LTIM is ignored: on a PCI
 * chipset ELCR decides between edge and level, line by line.
 *
 * An IR in edge mode is a request from its rising edge until it is acknowledged or falls, as in
 * the data sheet: a line that falls too early makes INTA return the spurious IR7.
 */
#include "hw/intc/i8259.h"

#include <stdio.h>

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/isa/isa.h"
#include "util/vm_lock.h"

enum { ICW1_IC4 = 0x01, ICW1_SNGL = 0x02, ICW1 = 0x10 };
enum { ICW4_AEOI = 0x02, ICW4_SFNM = 0x10, ICW4_MASK = 0x1f };
enum { OCW2_LEVEL = 0x07, OCW2_EOI = 0x20, OCW2_SL = 0x40, OCW2_R = 0x80, OCW2_CMD = 0xe0 };
enum { OCW3 = 0x08, OCW3_RIS = 0x01, OCW3_RR = 0x02, OCW3_P = 0x04, OCW3_SMM = 0x20,
       OCW3_ESMM = 0x40 };
enum { POLL_I = 0x80, CASCADE_IR = 2, SPURIOUS_IR = 7 };

typedef struct Chip {
    uint8_t irr, isr, imr;
    uint8_t lines;       /* the IR pins as they are driven now */
    uint8_t elcr;        /* 1: level triggered */
    uint8_t icw1, icw2, icw3, icw4;
    uint8_t expect;      /* which ICW the next write to A0=1 is; 0: OCW1 */
    uint8_t lowest;      /* IR of the lowest priority; the next one has the highest */
    bool rotate_on_aeoi, special_mask, poll, read_isr;
} Chip;

typedef struct I8259 {
    Device dev;
    Chip master, slave;
    Region master_io, slave_io, elcr_io;
    IrqLine in[16];
    Irq intr;
    IrqLine cpu_line;
    IrqchipPart part;
} I8259;

static const uint8_t elcr_mask[2] = { 0xf8, 0xde }; /* 0, 1, 2, 8, 13 are edge for ever */

/* The IR that the priority resolver lets through, -1 for none. */
static int chip_pending(const Chip *c, bool is_master)
{
    uint8_t requests = c->irr & ~c->imr;
    if (!requests) {
        return -1;
    }
    /* Special mask: a masked level in service blocks nobody. */
    uint8_t serving = c->special_mask ? c->isr & ~c->imr : c->isr;
    for (unsigned i = 1; i <= 8; i++) {
        unsigned ir = (c->lowest + i) & 7;
        bool nests = is_master && ir == CASCADE_IR && (c->icw4 & ICW4_SFNM);
        bool blocks = serving >> ir & 1;
        if ((requests >> ir & 1) && (!blocks || nests)) {
            return (int)ir;
        }
        if (blocks) {
            return -1;
        }
    }
    return -1;
}

static void chip_set_line(Chip *c, unsigned ir, bool level)
{
    uint8_t bit = 1 << ir;
    bool rises = level && !(c->lines & bit);
    c->lines = level ? c->lines | bit : c->lines & ~bit;
    if (!level) {
        c->irr &= ~bit;
    } else if (rises || (c->elcr & bit)) {
        c->irr |= bit;
    }
}

/* INTA (or poll read) for this IR. */
static void chip_accept(Chip *c, unsigned ir)
{
    uint8_t bit = 1 << ir;
    if (!(c->elcr & bit)) {
        c->irr &= ~bit;
    }
    if (c->icw4 & ICW4_AEOI) {
        if (c->rotate_on_aeoi) {
            c->lowest = ir;
        }
    } else {
        c->isr |= bit;
    }
}

static bool is_silent(const I8259 *s)
{
    return irqchip_stands_in(s->dev.machine, IRQCHIP_PIC);
}

static void i8259_update(I8259 *s)
{
    if (is_silent(s)) {
        return;
    }
    chip_set_line(&s->master, CASCADE_IR, chip_pending(&s->slave, false) >= 0);
    irq_set(&s->intr, chip_pending(&s->master, true) >= 0);
}

static void i8259_refresh(Device *dev)
{
    i8259_update(container_of(dev, I8259, dev));
}

static void i8259_set_irq(void *opaque, unsigned n, bool level)
{
    I8259 *s = opaque;
    if (n == CASCADE_IR) {
        return;
    }
    Chip *c = n < 8 ? &s->master : &s->slave;
    if (is_silent(s)) {
        uint8_t bit = 1 << (n & 7);
        c->lines = level ? c->lines | bit : c->lines & ~bit;
        return;
    }
    chip_set_line(c, n & 7, level);
    i8259_update(s);
}

static int i8259_ack_locked(I8259 *s)
{
    int ir = chip_pending(&s->master, true);
    if (ir < 0) {
        return s->master.icw2 | SPURIOUS_IR;
    }
    chip_accept(&s->master, ir);
    int vector = s->master.icw2 | ir;
    if (ir == CASCADE_IR) {
        int sub = chip_pending(&s->slave, false);
        if (sub >= 0) {
            chip_accept(&s->slave, sub);
        }
        vector = s->slave.icw2 | (sub < 0 ? SPURIOUS_IR : sub);
        /* INTA ends the slave's INT pulse, so that its next request is an edge again. */
        chip_set_line(&s->master, CASCADE_IR, false);
    }
    i8259_update(s);
    return vector;
}

int i8259_ack(void *opaque)
{
    I8259 *s = container_of((Device *)opaque, I8259, dev);
    bool taken = vm_lock_enter();
    int vector = i8259_ack_locked(s);
    vm_lock_leave(taken);
    return vector;
}

static void chip_icw1(Chip *c, uint8_t val)
{
    c->icw1 = val;
    c->icw4 = 0;
    c->expect = 2;
    c->imr = c->isr = 0;
    c->irr = c->lines & c->elcr; /* the edge sense circuit starts over */
    c->lowest = 7;
    c->special_mask = c->rotate_on_aeoi = c->poll = c->read_isr = false;
}

/* Whether a level-triggered interrupt was ended. */
static bool chip_ocw2(Chip *c, uint8_t val)
{
    unsigned cmd = val & OCW2_CMD;
    unsigned level = val & OCW2_LEVEL;
    if (!(cmd & (OCW2_EOI | OCW2_SL))) { /* 100: set, 000: clear */
        c->rotate_on_aeoi = cmd & OCW2_R;
        return false;
    }
    if (!(cmd & OCW2_SL)) { /* non-specific: the highest in service */
        uint8_t serving = c->special_mask ? c->isr & ~c->imr : c->isr;
        if (!serving) {
            return false;
        }
        for (unsigned i = 1; i <= 8; i++) {
            level = (c->lowest + i) & 7;
            if (serving >> level & 1) {
                break;
            }
        }
    }
    if (cmd & OCW2_EOI) {
        c->isr &= ~(1 << level);
    }
    if (cmd & OCW2_R) { /* also "set priority", 110; 010 does nothing */
        c->lowest = level;
    }
    return (cmd & OCW2_EOI) && (c->elcr >> level & 1);
}

static void chip_ocw3(Chip *c, uint8_t val)
{
    if (val & OCW3_ESMM) {
        c->special_mask = val & OCW3_SMM;
    }
    c->poll = val & OCW3_P;
    if (!c->poll && (val & OCW3_RR)) {
        c->read_isr = val & OCW3_RIS;
    }
}

static void chip_write_a1(Chip *c, uint8_t val)
{
    bool icw4_follows = c->icw1 & ICW1_IC4;
    switch (c->expect) {
    case 0: c->imr = val; break;
    case 2:
        c->icw2 = val & 0xf8;
        c->expect = !(c->icw1 & ICW1_SNGL) ? 3 : icw4_follows ? 4 : 0;
        break;
    case 3:
        c->icw3 = val;
        c->expect = icw4_follows ? 4 : 0;
        break;
    default:
        c->icw4 = val & ICW4_MASK;
        c->expect = 0;
    }
}

static uint64_t chip_read(I8259 *s, Chip *c, bool a0)
{
    if (c->poll) {
        c->poll = false;
        int ir = chip_pending(c, c == &s->master);
        if (ir < 0) {
            return 0;
        }
        chip_accept(c, ir);
        i8259_update(s);
        return POLL_I | ir;
    }
    return a0 ? c->imr : c->read_isr ? c->isr : c->irr;
}

static void chip_write(I8259 *s, Chip *c, bool a0, uint8_t val)
{
    if (a0) {
        chip_write_a1(c, val);
    } else if (val & ICW1) {
        chip_icw1(c, val);
    } else if (val & OCW3) {
        chip_ocw3(c, val);
    } else if (chip_ocw2(c, val)) {
        irqchip_pic_eoi(s->dev.machine);
    }
    i8259_update(s);
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
    I8259 *s = opaque;
    (void)size;
    return chip_read(s, &s->master, offset);
}

static void master_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    I8259 *s = opaque;
    (void)size;
    chip_write(s, &s->master, offset, val);
}

static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size)
{
    I8259 *s = opaque;
    (void)size;
    return chip_read(s, &s->slave, offset);
}

static void slave_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    I8259 *s = opaque;
    (void)size;
    chip_write(s, &s->slave, offset, val);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
    I8259 *s = opaque;
    (void)size;
    return offset ? s->slave.elcr : s->master.elcr;
}

static void elcr_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    I8259 *s = opaque;
    (void)size;
    Chip *c = offset ? &s->slave : &s->master;
    uint8_t was = c->elcr;
    c->elcr = val & elcr_mask[offset];
    /* A line that turns to level requests while high; one that turns to edge waits for an edge. */
    c->irr = (c->irr & ~(was & ~c->elcr)) | (c->lines & c->elcr);
    i8259_update(s);
}

static const RegionOps master_ops = { master_read, master_write, .sizes = 1 };
static const RegionOps slave_ops = { slave_read, slave_write, .sizes = 1 };
static const RegionOps elcr_ops = { elcr_read, elcr_write, .sizes = 1 };

static void cpu_intr(void *opaque, unsigned n, bool level)
{
    (void)n;
    if (level) {
        cpu_request(opaque, CPU_REQ_INTR);
    } else {
        cpu_clear_request(opaque, CPU_REQ_INTR);
    }
}

void i8259_connect_cpu(Device *pic, struct CpuState *cpu)
{
    I8259 *s = container_of(pic, I8259, dev);
    cpu->pic_ack = i8259_ack;
    cpu->pic_opaque = pic;
    irq_line_init(&s->cpu_line, cpu_intr, cpu, 0);
    irq_connect(&s->intr, &s->cpu_line);
}

/* ---- to and from a stand-in ---- */

static void chip_save(const Chip *c, PicChipState *st)
{
    *st = (PicChipState) {
        .irr = c->irr, .isr = c->isr, .imr = c->imr, .lines = c->lines, .elcr = c->elcr,
        .vector_base = c->icw2, .expect = c->expect, .lowest = c->lowest,
        .icw4_follows = c->icw1 & ICW1_IC4, .auto_eoi = c->icw4 & ICW4_AEOI,
        .nested = c->icw4 & ICW4_SFNM, .rotate_on_aeoi = c->rotate_on_aeoi,
        .special_mask = c->special_mask, .poll = c->poll, .read_isr = c->read_isr,
    };
}

/* Not the lines: they are as they were driven. The rest of ICW1, 3 and 4 changes nothing. */
static void chip_load(Chip *c, const PicChipState *st)
{
    c->irr = st->irr, c->isr = st->isr, c->imr = st->imr;
    c->elcr = st->elcr;
    c->icw1 = (c->icw1 & ~ICW1_IC4) | (st->icw4_follows ? ICW1_IC4 : 0);
    c->icw2 = st->vector_base & 0xf8;
    c->icw4 = (c->icw4 & ~(ICW4_AEOI | ICW4_SFNM)) | (st->auto_eoi ? ICW4_AEOI : 0) |
              (st->nested ? ICW4_SFNM : 0);
    c->expect = st->expect;
    c->lowest = st->lowest & 7;
    c->rotate_on_aeoi = st->rotate_on_aeoi;
    c->special_mask = st->special_mask;
    c->poll = st->poll;
    c->read_isr = st->read_isr;
}

static void part_save(void *opaque, void *state)
{
    const I8259 *s = opaque;
    PicState *st = state;
    chip_save(&s->master, &st->chip[0]);
    chip_save(&s->slave, &st->chip[1]);
}

static void part_load(void *opaque, const void *state)
{
    I8259 *s = opaque;
    const PicState *st = state;
    chip_load(&s->master, &st->chip[0]);
    chip_load(&s->slave, &st->chip[1]);
    /* The slave's INT is derived, and a stand-in may show it as a pulse. */
    s->master.lines &= ~(1 << CASCADE_IR);
}

static void part_wake(void *opaque)
{
    i8259_update(opaque);
}

static bool i8259_realize(Device *dev, Error **errp)
{
    I8259 *s = container_of(dev, I8259, dev);
    s->part = (IrqchipPart){ .kind = IRQCHIP_PIC, .opaque = s, .save = part_save,
                             .load = part_load, .wake = part_wake };
    irqchip_part_add(dev->machine, &s->part);
    device_init_irq_in(dev, s->in, ARRAY_SIZE(s->in), i8259_set_irq, s);
    device_init_irq_out(dev, &s->intr, 1);
    region_init_io(&s->master_io, dev, &master_ops, s, 2);
    region_init_io(&s->slave_io, dev, &slave_ops, s, 2);
    region_init_io(&s->elcr_io, dev, &elcr_ops, s, 2);
    s->elcr_io.name = "isa-i8259-elcr";
    return isa_map_ports(dev, &s->master_io, 0x20, errp) &&
           isa_map_ports(dev, &s->slave_io, 0xa0, errp) &&
           isa_map_ports(dev, &s->elcr_io, 0x4d0, errp);
}

static void i8259_unrealize(Device *dev)
{
    irqchip_part_del(&container_of(dev, I8259, dev)->part);
}

static void i8259_info(Device *dev, void (*print)(void *opaque, const char *line), void *opaque)
{
    I8259 *s = container_of(dev, I8259, dev);
    for (unsigned i = 0; i < 2; i++) {
        const Chip *c = i ? &s->slave : &s->master;
        char line[128];
        snprintf(line, sizeof(line),
                 "pic%u: irr=%02x imr=%02x isr=%02x hprio=%d irq_base=%02x rr_sel=%d elcr=%02x "
                 "fnm=%d",
                 i, c->irr, c->imr, c->isr, (c->lowest + 1) & 7, c->icw2, c->read_isr, c->elcr,
                 (c->icw4 & ICW4_SFNM) != 0);
        print(opaque, line);
    }
}

static const StateField chip_state[] = {
    STATE_U8(Chip, irr),
    STATE_U8(Chip, isr),
    STATE_U8(Chip, imr),
    STATE_U8(Chip, lines, .keep = true), /* pins: others drive them */
    STATE_U8(Chip, elcr),
    STATE_U8(Chip, icw1),
    STATE_U8(Chip, icw2, .mask = 0xf8),
    STATE_U8(Chip, icw3),
    STATE_U8(Chip, icw4, .mask = ICW4_MASK),
    STATE_U8(Chip, expect, .max = 4),
    STATE_U8(Chip, lowest, .reset = 7, .max = 7),
    STATE_BOOL(Chip, rotate_on_aeoi),
    STATE_BOOL(Chip, special_mask),
    STATE_BOOL(Chip, poll),
    STATE_BOOL(Chip, read_isr),
    STATE_END,
};

static const StateField i8259_state[] = {
    STATE_STRUCT(I8259, master, Chip, chip_state),
    STATE_STRUCT(I8259, slave, Chip, chip_state),
    STATE_END,
};

DEVICE_TYPE(isa_i8259) = {
    DEVICE_INFO("isa-i8259", BUS_ISA, I8259, "Interrupt controllers 8259A (master and slave)"),
    .state = i8259_state,
    .state_version = 1,
    .realize = i8259_realize,
    .unrealize = i8259_unrealize,
    .refresh = i8259_refresh,
    .info = i8259_info,
    .internal = true,
};
