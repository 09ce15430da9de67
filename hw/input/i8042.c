/* SPDX-License-Identifier: GPL-2.0-or-later
 * 8042 keyboard controller of the PS/2 (PS/2 TechRef, "Keyboard and Auxiliary Device
 * Controller"): ports 60h and 64h, keyboard on IRQ 1, auxiliary device (mouse) on IRQ 12, A20
 * gate, reset line, translation of scan code set 2 to set 1. Commands are done at once: the input
 * buffer is never seen full. Left out: security, and polling the input port (C1h, C2h).
 *
 * One byte is in the output buffer; its interrupt line is high until the byte is read.
 */
#include "hw/core/machine.h"
#include "hw/input/ps2.h"
#include "hw/isa/isa.h"
#include "hw/pc/a20.h"

enum { STATUS_OBF = 0x01, STATUS_SYS = 0x04, STATUS_CMD = 0x08, STATUS_UNLOCKED = 0x10,
       STATUS_AUX_OBF = 0x20 };
enum { MODE_KBD_INT = 0x01, MODE_AUX_INT = 0x02, MODE_SYS = 0x04, MODE_KBD_OFF = 0x10,
       MODE_AUX_OFF = 0x20, MODE_TRANSLATE = 0x40 };
enum { OUT_RESET = 0x01, OUT_A20 = 0x02, OUT_KBD_OBF = 0x10, OUT_AUX_OBF = 0x20 };
enum {
    CMD_READ_RAM = 0x20, CMD_WRITE_RAM = 0x60, CMD_VERSION = 0xa1, CMD_TEST_PASSWORD = 0xa4,
    CMD_AUX_OFF = 0xa7, CMD_AUX_ON = 0xa8, CMD_TEST_AUX = 0xa9, CMD_SELF_TEST = 0xaa,
    CMD_TEST_KBD = 0xab, CMD_KBD_OFF = 0xad, CMD_KBD_ON = 0xae, CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0, CMD_WRITE_OUTPUT = 0xd1, CMD_WRITE_KBD_OBF = 0xd2,
    CMD_WRITE_AUX_OBF = 0xd3, CMD_WRITE_AUX = 0xd4, CMD_A20_OFF = 0xdd, CMD_A20_ON = 0xdf,
    CMD_READ_TEST = 0xe0, CMD_PULSE = 0xf0
};
enum { FROM_CONTROLLER, FROM_KEYBOARD, FROM_AUX };
enum { IRQ_KBD = 1, IRQ_AUX = 12 };
enum { INPUT_PORT = 0x80 }; /* the keyboard is not locked */

typedef struct I8042 {
    Device dev;
    /* state */
    uint8_t status, outport;
    uint8_t ram[32];      /* ram[0] is the command byte (mode) */
    uint8_t out, out_from;
    bool has_pending;     /* an answer of the controller that waits for the output buffer */
    uint8_t pending, pending_from;
    uint8_t command;      /* its parameter is awaited at port 60h; 0: none */
    bool breaking;        /* translation has seen F0h */
    Ps2Keyboard kbd;
    Ps2Mouse mouse;
    /* wiring */
    Region data_port, command_port;
    Irq irq_kbd, irq_aux;
} I8042;

/* Scan Code Specification, appendix: set 2 to set 1. */
static const uint8_t translation[0x85] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54,
};

/* ---- the output buffer ---- */

static void refresh(Device *dev)
{
    I8042 *s = container_of(dev, I8042, dev);
    uint8_t mode = s->ram[0];
    bool full = s->status & STATUS_OBF, aux = s->status & STATUS_AUX_OBF;
    irq_set(&s->irq_kbd, full && !aux && (mode & MODE_KBD_INT) && !(mode & MODE_KBD_OFF));
    irq_set(&s->irq_aux, full && aux && (mode & MODE_AUX_INT));
    pc_set_a20(dev->machine, A20_KEYBOARD, s->outport & OUT_A20);
}

static void fill(I8042 *s, uint8_t byte, uint8_t from)
{
    s->out = byte;
    s->out_from = from;
    s->status |= STATUS_OBF | (from == FROM_AUX ? STATUS_AUX_OBF : 0);
}

/* A byte of the keyboard as the guest gets to see it; false for a break prefix. */
static bool translate(I8042 *s, uint8_t *byte)
{
    if (!(s->ram[0] & MODE_TRANSLATE)) {
        return true;
    }
    if (*byte == 0xf0) {
        s->breaking = true;
        return false;
    }
    if (*byte < sizeof(translation)) {
        *byte = translation[*byte];
    }
    *byte |= s->breaking ? 0x80 : 0;
    s->breaking = false;
    return true;
}

/* Fetches the next byte from whoever has one, if there is room for it. */
static void fetch(I8042 *s)
{
    uint8_t byte;
    while (!(s->status & STATUS_OBF)) {
        if (s->has_pending) {
            s->has_pending = false;
            fill(s, s->pending, s->pending_from);
        } else if (!(s->ram[0] & MODE_KBD_OFF) && ps2_keyboard_take(&s->kbd, &byte)) {
            if (translate(s, &byte)) {
                fill(s, byte, FROM_KEYBOARD);
            }
        } else if (!(s->ram[0] & MODE_AUX_OFF) && ps2_mouse_take(&s->mouse, &byte)) {
            fill(s, byte, FROM_AUX);
        } else {
            break;
        }
    }
}

static void device_ready(void *opaque)
{
    I8042 *s = opaque;
    fetch(s);
    refresh(&s->dev);
}

/* An answer of the controller waits behind the byte in the buffer, but overtakes the devices. */
static void answer(I8042 *s, uint8_t byte, uint8_t from)
{
    if (s->status & STATUS_OBF) {
        s->has_pending = true;
        s->pending = byte;
        s->pending_from = from;
    } else {
        fill(s, byte, from);
    }
}

/* ---- commands ---- */

static void write_outport(I8042 *s, uint8_t val)
{
    s->outport = val & ~(OUT_KBD_OBF | OUT_AUX_OBF);
    if (!(val & OUT_RESET)) {
        s->outport |= OUT_RESET;
        machine_request_reset(s->dev.machine, RESET_GUEST);
    }
}

/* The two interrupt bits show the output buffer. */
static uint8_t read_outport(const I8042 *s)
{
    uint8_t full = s->status & STATUS_AUX_OBF ? OUT_AUX_OBF : OUT_KBD_OBF;
    return s->outport | (s->status & STATUS_OBF ? full : 0);
}

static void write_ram(I8042 *s, unsigned n, uint8_t val)
{
    s->ram[n] = val;
    if (n == 0) {
        s->status = (s->status & ~STATUS_SYS) | (val & MODE_SYS ? STATUS_SYS : 0);
    }
}

static void run_command(I8042 *s, uint8_t cmd)
{
    s->command = 0;
    switch (cmd) {
    case CMD_READ_RAM ... CMD_READ_RAM + 31:
        answer(s, s->ram[cmd & 31], FROM_CONTROLLER);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
    case CMD_WRITE_OUTPUT: case CMD_WRITE_KBD_OBF: case CMD_WRITE_AUX_OBF: case CMD_WRITE_AUX:
        s->command = cmd;
        break;
    case CMD_VERSION: answer(s, 0, FROM_CONTROLLER); break;
    case CMD_TEST_PASSWORD: answer(s, 0xf1, FROM_CONTROLLER); break; /* none is set */
    case CMD_AUX_OFF: s->ram[0] |= MODE_AUX_OFF; break;
    case CMD_AUX_ON: s->ram[0] &= ~MODE_AUX_OFF; break;
    case CMD_TEST_AUX: case CMD_TEST_KBD: answer(s, 0, FROM_CONTROLLER); break;
    case CMD_SELF_TEST:
        s->status |= STATUS_SYS;
        answer(s, 0x55, FROM_CONTROLLER);
        break;
    case CMD_KBD_OFF: s->ram[0] |= MODE_KBD_OFF; break;
    case CMD_KBD_ON: s->ram[0] &= ~MODE_KBD_OFF; break;
    case CMD_READ_INPUT: answer(s, INPUT_PORT, FROM_CONTROLLER); break;
    case CMD_READ_OUTPUT: answer(s, read_outport(s), FROM_CONTROLLER); break;
    case CMD_A20_OFF: s->outport &= ~OUT_A20; break;
    case CMD_A20_ON: s->outport |= OUT_A20; break;
    case CMD_READ_TEST: answer(s, 0, FROM_CONTROLLER); break;
    case CMD_PULSE ... CMD_PULSE + 15:
        /* Bits 3..0 that are clear pulse low; only the reset line leads anywhere. */
        if (!(cmd & OUT_RESET)) {
            machine_request_reset(s->dev.machine, RESET_GUEST);
        }
        break;
    default: log_guest("i8042: unknown command 0x%02x", cmd);
    }
}

static void run_parameter(I8042 *s, uint8_t cmd, uint8_t val)
{
    s->command = 0;
    switch (cmd) {
    case CMD_WRITE_OUTPUT: write_outport(s, val); break;
    case CMD_WRITE_KBD_OBF: answer(s, val, FROM_CONTROLLER); break;
    case CMD_WRITE_AUX_OBF: answer(s, val, FROM_AUX); break;
    case CMD_WRITE_AUX:
        s->ram[0] &= ~MODE_AUX_OFF; /* sending a byte switches the line on */
        ps2_mouse_write(&s->mouse, val);
        break;
    default: write_ram(s, cmd & 31, val);
    }
}

/* ---- ports ---- */

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    I8042 *s = opaque;
    (void)offset, (void)size;
    if (s->status & STATUS_OBF) {
        s->status &= ~(STATUS_OBF | STATUS_AUX_OBF);
        refresh(&s->dev); /* the line falls, so that the next byte is an edge */
        if (s->out_from == FROM_KEYBOARD) {
            ps2_keyboard_read_done(&s->kbd);
        }
        uint8_t val = s->out;
        fetch(s);
        refresh(&s->dev);
        return val;
    }
    return s->out;
}

static void data_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    I8042 *s = opaque;
    (void)offset, (void)size;
    s->status &= ~STATUS_CMD;
    if (s->command) {
        run_parameter(s, s->command, (uint8_t)val);
    } else {
        s->ram[0] &= ~MODE_KBD_OFF;
        ps2_keyboard_write(&s->kbd, (uint8_t)val);
    }
    device_ready(s);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned size)
{
    I8042 *s = opaque;
    (void)offset, (void)size;
    return s->status;
}

static void command_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    I8042 *s = opaque;
    (void)offset, (void)size;
    s->status |= STATUS_CMD;
    run_command(s, (uint8_t)val);
    device_ready(s);
}

static const RegionOps data_ops = { data_read, data_write, .sizes = 1 };
static const RegionOps command_ops = { status_read, command_write, .sizes = 1 };

static bool i8042_realize(Device *dev, Error **errp)
{
    I8042 *s = container_of(dev, I8042, dev);
    region_init_io(&s->data_port, dev, &data_ops, s, 1);
    region_init_io(&s->command_port, dev, &command_ops, s, 1);
    s->data_port.name = "i8042-data";
    s->command_port.name = "i8042-command";
    if (!isa_map_ports(dev, &s->data_port, 0x60, errp) ||
        !isa_map_ports(dev, &s->command_port, 0x64, errp) ||
        !isa_connect_irq(dev, &s->irq_kbd, IRQ_KBD, errp) ||
        !isa_connect_irq(dev, &s->irq_aux, IRQ_AUX, errp)) {
        return false;
    }
    ps2_keyboard_init(&s->kbd, device_ready, s);
    ps2_mouse_init(&s->mouse, device_ready, s);
    return true;
}

static void i8042_unrealize(Device *dev)
{
    I8042 *s = container_of(dev, I8042, dev);
    ps2_keyboard_fini(&s->kbd);
    ps2_mouse_fini(&s->mouse);
}

static void i8042_reset(Device *dev)
{
    I8042 *s = container_of(dev, I8042, dev);
    s->ram[0] = MODE_KBD_INT | MODE_AUX_INT;
    ps2_keyboard_reset(&s->kbd);
}

static const StateField i8042_state[] = {
    STATE_U8(I8042, status, .reset = STATUS_CMD | STATUS_UNLOCKED,
             .mask = STATUS_OBF | STATUS_SYS | STATUS_CMD | STATUS_UNLOCKED | STATUS_AUX_OBF),
    STATE_U8(I8042, outport, .reset = OUT_RESET | OUT_A20),
    STATE_U8S(I8042, ram),
    STATE_U8(I8042, out),
    STATE_U8(I8042, out_from, .max = FROM_AUX),
    STATE_BOOL(I8042, has_pending),
    STATE_U8(I8042, pending),
    STATE_U8(I8042, pending_from, .max = FROM_AUX),
    STATE_U8(I8042, command),
    STATE_BOOL(I8042, breaking),
    STATE_STRUCT(I8042, kbd, Ps2Keyboard, ps2_keyboard_state),
    STATE_STRUCT(I8042, mouse, Ps2Mouse, ps2_mouse_state),
    STATE_END,
};

DEVICE_TYPE(i8042) = {
    DEVICE_INFO("i8042", BUS_ISA, I8042, "Keyboard controller with PS/2 keyboard and mouse"),
    .state = i8042_state,
    .state_version = 1,
    .realize = i8042_realize,
    .unrealize = i8042_unrealize,
    .reset = i8042_reset,
    .refresh = refresh,
    .internal = true,
};
