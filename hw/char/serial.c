/* SPDX-License-Identifier: GPL-2.0-or-later
 * isa-serial: a PC16550D UART on the ISA bus (National Semiconductor PC16550D data sheet, June
 * 1995), COM1 to COM4.
 *
 * A byte written goes to the chardev at once: the transmitter is empty again before the guest
 * looks, unless the chardev is full. Line speed matters for the receiver's time-out alone. OUT2
 * does not gate the interrupt, which it does on AT cards: guests written for virtual machines
 * often do not set it. Left out: DMA modes (no PC wired RXRDY and TXRDY), parity and framing
 * errors (a byte stream has none).
 */
#include <string.h>

#include "chardev/chardev.h"
#include "hw/core/machine.h"
#include "hw/isa/isa.h"

enum { REG_DATA = 0, REG_IER = 1, REG_IIR = 2, REG_LCR = 3, REG_MCR = 4, REG_LSR = 5, REG_MSR = 6,
       REG_SCR = 7, NR_REGS = 8 };
enum { IER_RDI = 0x01, IER_THRI = 0x02, IER_RLSI = 0x04, IER_MSI = 0x08, IER_MASK = 0x0f };
enum { IIR_NONE = 0x01, IIR_MSI = 0x00, IIR_THRI = 0x02, IIR_RDI = 0x04, IIR_RLSI = 0x06,
       IIR_TIMEOUT = 0x0c, IIR_FIFOS = 0xc0 };
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04, FCR_KEPT = 0xc9,
       FCR_TRIGGER_SHIFT = 6 };
enum { LCR_LENGTH = 0x03, LCR_STOP = 0x04, LCR_PARITY = 0x08, LCR_EVEN = 0x10, LCR_STICK = 0x20,
       LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10,
       MCR_MASK = 0x1f };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_PE = 0x04, LSR_FE = 0x08, LSR_BI = 0x10, LSR_THRE = 0x20,
       LSR_TEMT = 0x40, LSR_FIFO_ERROR = 0x80, LSR_ERRORS = 0x1e };
enum { MSR_DCTS = 0x01, MSR_DDSR = 0x02, MSR_TERI = 0x04, MSR_DDCD = 0x08, MSR_CTS = 0x10,
       MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_DELTAS = 0x0f };

enum { FIFO_LEN = 16, NR_COM = 4, BASE_BAUD = 115200, INDEX_AUTO = 0xff };

typedef struct Serial {
    Device dev;
    uint32_t index, iobase, irqnum; /* properties */
    char *chardev;
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scr; /* state */
    uint16_t divisor;
    bool thr_pending, timeout_pending; /* interrupts that are not levels of a register */
    uint8_t rx[FIFO_LEN], rx_error[FIFO_LEN], rx_first, rx_count;
    uint8_t tx[FIFO_LEN], tx_first, tx_count;
    Timer rx_timeout;
    CharFrontend fe; /* wiring */
    Region io;
    Irq irq;
} Serial;

static void transmit(Serial *s);

/* ---- interrupts (data sheet 8.5) ---- */

static unsigned trigger_level(const Serial *s)
{
    static const uint8_t level[] = { 1, 4, 8, 14 };
    return s->fcr & FCR_ENABLE ? level[s->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* The pending source of highest priority. */
static uint8_t interrupt_id(const Serial *s)
{
    if ((s->ier & IER_RLSI) && (s->lsr & LSR_ERRORS)) {
        return IIR_RLSI;
    }
    if ((s->ier & IER_RDI) && s->rx_count >= trigger_level(s)) {
        return IIR_RDI;
    }
    if ((s->ier & IER_RDI) && s->timeout_pending) {
        return IIR_TIMEOUT;
    }
    if ((s->ier & IER_THRI) && s->thr_pending) {
        return IIR_THRI;
    }
    if ((s->ier & IER_MSI) && (s->msr & MSR_DELTAS)) {
        return IIR_MSI;
    }
    return IIR_NONE;
}

static void update_irq(Serial *s)
{
    irq_set(&s->irq, interrupt_id(s) != IIR_NONE);
}

/* ---- receiver ---- */

static unsigned baud(const Serial *s)
{
    return BASE_BAUD / (s->divisor ? s->divisor : 1);
}

/* Four characters' time without a character moving in or out of a FIFO that holds some. */
static void restart_timeout(Serial *s)
{
    s->timeout_pending = false;
    timer_cancel(&s->rx_timeout);
    if ((s->fcr & FCR_ENABLE) && s->rx_count > 0) {
        unsigned bits = 1 + 5 + (s->lcr & LCR_LENGTH) + !!(s->lcr & LCR_PARITY) +
                        (s->lcr & LCR_STOP ? 2 : 1);
        uint64_t char_ns = bits * 1000000000ull / MAX(baud(s), 1u);
        timer_arm(&s->rx_timeout, guest_clock_ns() + 4 * char_ns);
    }
}

static void rx_timed_out(void *opaque)
{
    Serial *s = opaque;
    s->timeout_pending = s->rx_count > 0;
    update_irq(s);
}

/* The line status shows the errors of the character that is next to be read. */
static void show_first(Serial *s)
{
    if (s->rx_count == 0) {
        s->lsr &= ~(LSR_DR | LSR_FIFO_ERROR);
        return;
    }
    s->lsr |= LSR_DR | s->rx_error[s->rx_first];
    s->rx_error[s->rx_first] = 0;
    bool errors = false;
    for (unsigned i = 0; i < s->rx_count; i++) {
        errors |= s->rx_error[(s->rx_first + i) % FIFO_LEN] != 0;
    }
    s->lsr &= ~LSR_FIFO_ERROR;
    if (errors && (s->fcr & FCR_ENABLE)) {
        s->lsr |= LSR_FIFO_ERROR;
    }
}

static void receive_byte(Serial *s, uint8_t byte, uint8_t error)
{
    unsigned room = s->fcr & FCR_ENABLE ? FIFO_LEN : 1;
    if (s->rx_count >= room) {
        s->lsr |= LSR_OE;
        if (room == 1) { /* the holding register is overwritten, a full FIFO is not */
            s->rx[s->rx_first] = byte;
            s->rx_error[s->rx_first] = error;
        }
    } else {
        unsigned at = (s->rx_first + s->rx_count++) % FIFO_LEN;
        s->rx[at] = byte;
        s->rx_error[at] = error;
    }
    show_first(s);
    restart_timeout(s);
}

static uint8_t read_data(Serial *s)
{
    if (s->rx_count == 0) {
        return s->rx[(s->rx_first + FIFO_LEN - 1) % FIFO_LEN]; /* the last one again */
    }
    uint8_t byte = s->rx[s->rx_first];
    s->rx_first = (s->rx_first + 1) % FIFO_LEN;
    s->rx_count--;
    show_first(s);
    restart_timeout(s);
    update_irq(s);
    char_accept_input(&s->fe);
    return byte;
}

static void clear_rx(Serial *s)
{
    s->rx_first = s->rx_count = 0;
    memset(s->rx_error, 0, sizeof(s->rx_error));
    show_first(s);
    restart_timeout(s);
}

static size_t chardev_room(void *opaque)
{
    Serial *s = opaque;
    if (s->mcr & MCR_LOOP) {
        return 0; /* SIN is cut off; the bytes wait */
    }
    unsigned room = s->fcr & FCR_ENABLE ? FIFO_LEN : 1;
    return s->rx_count < room ? room - s->rx_count : 0;
}

static void chardev_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Serial *s = opaque;
    for (size_t i = 0; i < len; i++) {
        receive_byte(s, buf[i], 0);
    }
    update_irq(s);
}

static void chardev_event(void *opaque, CharEvent event)
{
    Serial *s = opaque;
    if (event == CHAR_BREAK && !(s->mcr & MCR_LOOP)) {
        receive_byte(s, 0, LSR_BI);
        update_irq(s);
    }
}

/* ---- transmitter ---- */

static void chardev_writable(void *opaque)
{
    Serial *s = opaque;
    transmit(s);
    update_irq(s);
}

static void transmit(Serial *s)
{
    while (s->tx_count > 0) {
        uint8_t byte = s->tx[s->tx_first];
        if (s->mcr & MCR_LOOP) {
            receive_byte(s, byte, 0);
        } else if (s->fe.chr && char_write(&s->fe, &byte, 1) == 0) {
            char_on_writable(&s->fe, chardev_writable, s);
            return;
        }
        s->tx_first = (s->tx_first + 1) % FIFO_LEN;
        s->tx_count--;
    }
    if (!(s->lsr & LSR_THRE)) {
        s->lsr |= LSR_THRE | LSR_TEMT;
        s->thr_pending = true;
    }
}

static void write_data(Serial *s, uint8_t byte)
{
    unsigned room = s->fcr & FCR_ENABLE ? FIFO_LEN : 1;
    /* The interrupt goes away with the write and comes back when all is sent: a new edge. */
    s->thr_pending = false;
    s->lsr &= ~(LSR_THRE | LSR_TEMT);
    update_irq(s);
    if (s->tx_count < room) {
        s->tx[(s->tx_first + s->tx_count++) % FIFO_LEN] = byte;
    } else if (room == 1) {
        s->tx[s->tx_first] = byte; /* what was not yet sent is lost */
    }
    transmit(s);
}

/* ---- modem and line control ---- */

/* What is at the modem inputs: in loopback the outputs, else a modem that is always ready. */
static uint8_t modem_inputs(const Serial *s)
{
    if (!(s->mcr & MCR_LOOP)) {
        return MSR_CTS | MSR_DSR | MSR_DCD;
    }
    return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
           (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void update_modem(Serial *s)
{
    uint8_t now = modem_inputs(s), changed = (s->msr ^ now) & 0xf0;
    /* RI counts when it ends only. */
    if (now & MSR_RI) {
        changed &= ~MSR_RI;
    }
    s->msr = now | (s->msr & MSR_DELTAS) | changed >> 4;
}

static void write_mcr(Serial *s, uint8_t val)
{
    uint8_t old = s->mcr;
    s->mcr = val & MCR_MASK;
    update_modem(s);
    if ((old & MCR_LOOP) && !(s->mcr & MCR_LOOP)) {
        char_accept_input(&s->fe);
    }
}

static void update_line(Serial *s)
{
    char parity = 'N';
    if (s->lcr & LCR_PARITY) {
        parity = s->lcr & LCR_EVEN ? 'E' : 'O';
    }
    if (s->fe.chr && s->divisor) {
        char_set_line(&s->fe, baud(s), 5 + (s->lcr & LCR_LENGTH), parity,
                      s->lcr & LCR_STOP ? 2 : 1);
    }
}

static void write_lcr(Serial *s, uint8_t val)
{
    uint8_t changed = s->lcr ^ val;
    s->lcr = val;
    if (changed & (LCR_LENGTH | LCR_STOP | LCR_PARITY | LCR_EVEN)) {
        update_line(s);
    }
    if ((changed & LCR_BREAK) && s->fe.chr) {
        char_set_break(&s->fe, val & LCR_BREAK);
    }
}

static void write_fcr(Serial *s, uint8_t val)
{
    /* Switching the FIFOs on or off empties them; without the enable bit nothing else counts. */
    bool toggled = (s->fcr ^ val) & FCR_ENABLE;
    if (toggled || ((val & FCR_ENABLE) && (val & FCR_CLEAR_RX))) {
        clear_rx(s);
    }
    if (toggled || ((val & FCR_ENABLE) && (val & FCR_CLEAR_TX))) {
        s->tx_first = s->tx_count = 0;
        s->lsr |= LSR_THRE | LSR_TEMT;
        s->thr_pending = true;
    }
    s->fcr = val & FCR_ENABLE ? val & FCR_KEPT : 0;
    restart_timeout(s);
    char_accept_input(&s->fe);
}

static void write_ier(Serial *s, uint8_t val)
{
    uint8_t rising = val & ~s->ier;
    s->ier = val & IER_MASK;
    /* An empty transmitter interrupts as soon as it may. */
    if ((rising & IER_THRI) && (s->lsr & LSR_THRE)) {
        s->thr_pending = true;
    }
}

/* ---- registers ---- */

static uint8_t read_iir(Serial *s)
{
    uint8_t id = interrupt_id(s);
    if (id == IIR_THRI) { /* reading it as the source is what resets it */
        s->thr_pending = false;
        update_irq(s);
    }
    return id | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size)
{
    Serial *s = opaque;
    bool dlab = s->lcr & LCR_DLAB;
    uint8_t val;
    switch (offset) {
    case REG_DATA: return dlab ? s->divisor & 0xff : read_data(s);
    case REG_IER: return dlab ? s->divisor >> 8 : s->ier;
    case REG_IIR: return read_iir(s);
    case REG_LCR: return s->lcr;
    case REG_MCR: return s->mcr;
    case REG_LSR:
        val = s->lsr;
        s->lsr &= ~LSR_ERRORS;
        update_irq(s);
        return val;
    case REG_MSR:
        val = s->msr;
        s->msr &= ~MSR_DELTAS;
        update_irq(s);
        return val;
    case REG_SCR: return s->scr;
    default: return region_bad_read(&s->io, offset, size);
    }
}

static void serial_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Serial *s = opaque;
    bool dlab = s->lcr & LCR_DLAB;
    switch (offset) {
    case REG_DATA:
        if (dlab) {
            s->divisor = (s->divisor & 0xff00) | (uint8_t)val;
            update_line(s);
        } else {
            write_data(s, val);
        }
        break;
    case REG_IER:
        if (dlab) {
            s->divisor = (s->divisor & 0x00ff) | (uint8_t)val << 8;
            update_line(s);
        } else {
            write_ier(s, val);
        }
        break;
    case REG_IIR: write_fcr(s, val); break;
    case REG_LCR: write_lcr(s, val); break;
    case REG_MCR: write_mcr(s, val); break;
    case REG_LSR: break; /* factory test only */
    case REG_MSR: break;
    case REG_SCR: s->scr = val; break;
    default: region_bad_write(&s->io, offset, val, size);
    }
    update_irq(s);
}

static const RegionOps serial_ops = { serial_read, serial_write, .sizes = 1 };

/* ---- the device ---- */

static void serial_refresh(Device *dev)
{
    Serial *s = container_of(dev, Serial, dev);
    update_line(s);
    transmit(s); /* after a load: what was still on its way */
    update_irq(s);
    char_accept_input(&s->fe);
}

/* Which COM this is when the user does not say: the first whose place is free. */
static unsigned free_index(const Device *dev)
{
    unsigned taken = 0;
    list_for_each(node, &dev->machine->devices) {
        const Device *other = container_of(node, Device, machine_node);
        if (other->type == dev->type && other != dev) {
            const Serial *s = container_of(other, Serial, dev);
            taken |= s->index < NR_COM ? 1u << s->index : 0;
        }
    }
    return __builtin_ctz(~taken);
}

static bool serial_realize(Device *dev, Error **errp)
{
    static const uint16_t bases[NR_COM] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    static const uint8_t irqs[NR_COM] = { 4, 3, 4, 3 };
    Serial *s = container_of(dev, Serial, dev);
    if (s->index == INDEX_AUTO) {
        s->index = free_index(dev);
    }
    if (s->index >= NR_COM && (!s->iobase || !s->irqnum)) {
        return error_set(errp, "isa-serial: COM1 to COM4 are taken: give iobase= and irq=");
    }
    s->iobase = s->iobase ? s->iobase : bases[s->index];
    s->irqnum = s->irqnum ? s->irqnum : irqs[s->index];
    timer_init(&s->rx_timeout, rx_timed_out, s);
    region_init_io(&s->io, dev, &serial_ops, s, NR_REGS);
    if (!isa_map_ports(dev, &s->io, s->iobase, errp) ||
        !isa_connect_irq(dev, &s->irq, s->irqnum, errp)) {
        return false;
    }
    device_init_irq_out(dev, &s->irq, 1);
    s->fe = (CharFrontend) { .can_receive = chardev_room, .receive = chardev_receive,
                             .event = chardev_event, .opaque = s };
    list_init(&s->fe.node);
    if (!s->chardev) {
        return true;
    }
    Chardev *chr = chardev_find(s->chardev);
    return chr ? char_attach(&s->fe, chr, errp)
               : error_set(errp, "isa-serial: no chardev '%s'", s->chardev);
}

static void serial_unrealize(Device *dev)
{
    Serial *s = container_of(dev, Serial, dev);
    timer_cancel(&s->rx_timeout);
    region_del(&s->io);
    if (s->fe.chr) {
        char_detach(&s->fe);
    }
}

static const Property serial_props[] = {
    PROP_U32("index", Serial, index, .def = INDEX_AUTO,
             .help = "0 is COM1; the first free one if not given"),
    PROP_U32("iobase", Serial, iobase, .max = 0xfff8, .help = "default: as index says"),
    PROP_U32("irq", Serial, irqnum, .max = 15, .help = "default: as index says"),
    PROP_CHARDEV("chardev", Serial, chardev),
    PROP_END,
};

static const StateField serial_state[] = {
    STATE_U8(Serial, ier, .mask = IER_MASK),
    STATE_U8(Serial, fcr, .mask = FCR_KEPT),
    STATE_U8(Serial, lcr),
    STATE_U8(Serial, mcr, .mask = MCR_MASK),
    STATE_U8(Serial, lsr, .reset = LSR_THRE | LSR_TEMT),
    STATE_U8(Serial, msr, .reset = MSR_CTS | MSR_DSR | MSR_DCD),
    STATE_U8(Serial, scr),
    STATE_U16(Serial, divisor, .reset = 12), /* undefined; BIOSes expect a sane one */
    STATE_BOOL(Serial, thr_pending),
    STATE_BOOL(Serial, timeout_pending),
    STATE_U8S(Serial, rx),
    STATE_U8S(Serial, rx_error, .mask = LSR_ERRORS),
    STATE_U8(Serial, rx_first, .max = FIFO_LEN - 1),
    STATE_U8(Serial, rx_count, .max = FIFO_LEN),
    STATE_U8S(Serial, tx),
    STATE_U8(Serial, tx_first, .max = FIFO_LEN - 1),
    STATE_U8(Serial, tx_count, .max = FIFO_LEN),
    STATE_TIMER(Serial, rx_timeout),
    STATE_END,
};

DEVICE_TYPE(isa_serial) = {
    DEVICE_INFO("isa-serial", BUS_ISA, Serial, "16550A serial port (COM1 to COM4)"),
    .props = serial_props,
    .state = serial_state,
    .state_version = 1,
    .realize = serial_realize,
    .unrealize = serial_unrealize,
    .refresh = serial_refresh,
};
