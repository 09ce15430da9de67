/* SPDX-License-Identifier: GPL-2.0-or-later
 * libFuzzer on disk controllers: the input is what a guest does with AHCI (a disk and a CD, -DAHCI)
 * or the floppy controller (two drives) by registers, tables in memory, DMA and changes of media.
 */
#include <stdio.h>

#include "block/block.h"
#include "hw/isa/i8237.h"
#include "hw/isa/isa.h"
#include "tests/fuzz/box.h"
#include "util/main_loop.h"

enum { ABAR = 0xe0000000, LIST = 0x1000, FISES = 0x2000, TABLE = 0x4000, DATA = 0x20000 };

static Drive *media;
static const char *other; /* image, to change to */

/* ---- the machine ---- */

static void make_drive(const char *id, long size, const char *more)
{
    char text[200];
    snprintf(text, sizeof(text), "id=%s,format=raw,file.locking=off,cache=unsafe,file=%s%s", id,
             box_image(size), more);
    box_drive(text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    box_machine();
#ifdef AHCI
    make_drive("d0", 4 << 20, "");
    make_drive("c0", 1 << 20, ",media=cdrom");
    other = box_image(2 << 20);
    box_device("ahci,id=ahci,addr=3");
    box_device("ide-hd,drive=d0,bus=ahci.0");
    box_device("ide-cd,drive=c0,bus=ahci.1");
    media = drive_find("c0");
#else
    static IsaBus isa;
    Error *err = NULL;
    isa_bus_init(&isa, NULL, &machine);
    box_must(device_realize(device_new(&machine, &type_i8237), &isa.bus, NULL, "dma", &err), err);
    make_drive("f0", 1440 << 10, ",if=floppy");
    make_drive("f1", 2880 << 10, ",if=floppy");
    other = box_image(720 << 10);
    box_device("isa-fdc,id=fdc");
    box_device("floppy,drive=f0");
    box_device("floppy,drive=f1");
    media = drive_find("f0");
#endif
    return 0;
}

/* ---- the guest ---- */

static void change_media(uint8_t how)
{
    Error *err = NULL;
    bool ok = how & 1 ? drive_eject(media, how & 2, &err)
                      : drive_change(media, other, "raw", true, &err);
    if (!ok) {
        error_free(err);
    }
}

#ifdef AHCI
static uint32_t port_reg(unsigned port, unsigned reg)
{
    return ABAR + 0x100 + port * 0x80 + reg;
}

static void reset_guest(void)
{
    store(ABAR + 4, 1, 4);
}

static void start_guest(void)
{
    config(3, 0x24, ABAR, 4);
    config(3, 0x04, 6, 2);
    store(ABAR + 4, 2, 4);
    for (unsigned port = 0; port < 2; port++) {
        store(port_reg(port, 0), LIST, 4);
        store(port_reg(port, 8), FISES, 4);
        store(port_reg(port, 0x30), 0xffffffff, 4);
        store(port_reg(port, 0x14), 0xffffffff, 4);
        store(port_reg(port, 0x18), 0x17, 4);
    }
}

/* A command that makes some sense: header, FIS, a few regions. */
static void make_slot(Input *input)
{
    static const uint8_t commands[] = {
        0x60, 0x61, 0x25, 0x35, 0xec, 0xa0, 0xa1, 0x24, 0x34, 0x06,
        0x2f, 0x47, 0xe7, 0x42, 0x90, 0x08, 0xef, 0x29, 0xc8, 0x3d
    };
    static const uint8_t packets[] = { 0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43,
                                       0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd, 0xbe };
    uint8_t slot = byte(input) & 31, kind = byte(input), nr = byte(input) & 7;
    uint8_t cmd = kind < 0xf0 ? commands[kind % sizeof(commands)] : byte(input);
    uint32_t table = TABLE + slot * 0x200u;
    uint8_t count = byte(input), more = byte(input);
    uint32_t lba = word(input);
    bool ncq = cmd == 0x60 || cmd == 0x61;
    uint8_t fis[20] = { 0x27,
                        kind == 0xef ? 0 : 0x80,
                        cmd,
                        ncq ? count : more,
                        (uint8_t)lba,
                        (uint8_t)(lba >> 8),
                        0,
                        0x40,
                        0,
                        0,
                        0,
                        ncq ? more & 1 : 0,
                        ncq ? (uint8_t)((kind == 0xee ? more : slot) << 3) : count };
    fis[15] = kind == 0xef ? more : 0;
    dma_write(&machine.memory, table, fis, sizeof(fis));
    uint8_t packet[16] = { packets[more % sizeof(packets)], 0, 0, 0, 0, (uint8_t)lba, 0, 0, count };
    dma_write(&machine.memory, table + 0x40, packet, sizeof(packet));
    for (unsigned i = 0; i < nr; i++) {
        uint32_t where = word(input), size = word(input);
        uint32_t prd[4] = { where == 0xffff ? ABAR : DATA + where * 8, 0, 0, size << 1 | 1 };
        dma_write(&machine.memory, table + 0x80 + i * 16, prd, sizeof(prd));
    }
    uint32_t header[4] = {
        5 | (cmd == 0xa0 ? 0x20 : 0) | (uint32_t)(kind == 0xed ? 0xffff : nr) << 16, 0, table, 0
    };
    dma_write(&machine.memory, LIST + slot * 32, header, sizeof(header));
    if (ncq) {
        store(port_reg(0, 0x34), 1u << slot, 4);
    }
    store(port_reg(more >> 7, 0x38), 1u << slot, 4);
}

static void act(Input *input)
{
    static const uint8_t regs[] = { 0x00, 0x08, 0x10, 0x14, 0x18, 0x2c, 0x30, 0x34, 0x38, 0x18 };
    uint8_t op = byte(input), port = op >> 7;
    switch (op & 7) {
    case 0:
    case 1:
    case 2: make_slot(input); break;
    case 3: {
        uint8_t reg = regs[byte(input) % sizeof(regs)];
        store(port_reg(port, reg), dword(input), 4);
        break;
    }
    case 4: { /* bytes into lists and tables */
        uint32_t at = LIST + word(input) % 0x8000;
        uint8_t bytes[8];
        for (unsigned i = 0; i < sizeof(bytes); i++) {
            bytes[i] = byte(input);
        }
        dma_write(&machine.memory, at, bytes, sizeof(bytes));
        break;
    }
    case 5:
        for (unsigned reg = 0; reg < 0x80; reg += 4) {
            (void)load(port_reg(port, reg), 4);
        }
        main_loop_step(0);
        break;
    case 6: /* an error is over, the port starts anew */
        store(port_reg(port, 0x18), 0x16, 4);
        if (op & 0x40) {
            store(port_reg(port, 0x2c), 1, 4);
            store(port_reg(port, 0x2c), 0, 4);
        }
        store(port_reg(port, 0x18), 0x17, 4);
        break;
    default:
        if (op & 0x40) {
            change_media(op >> 3);
        } else if (op & 0x20) {
            store(ABAR + 4 * (byte(input) & 15), dword(input), 4);
        } else {
            blk_drain(NULL);
        }
    }
}
#else
static void reset_guest(void)
{
    out(0x3f2, 0, 1);
    out(0x0d, 0, 1);
}

static void start_guest(void)
{
    out(0xd4, 0, 1);
    out(0x3f2, 0x0c, 1);
    out(0x3f7, 0, 1);
}

static void start_dma(Input *input)
{
    uint32_t len = word(input);
    out(0x0a, 6, 1);
    out(0x0c, 0, 1);
    out(0x0b, byte(input), 1);
    out(0x04, byte(input), 1);
    out(0x04, 0x40, 1);
    out(0x81, byte(input) & 0x0f, 1);
    out(0x05, (uint8_t)len, 1);
    out(0x05, (uint8_t)(len >> 8), 1);
    out(0x0a, 2, 1);
}

/* A command that makes some sense. */
static void command(Input *input)
{
    static const uint8_t commands[] = {
        0xe6, 0xc5, 0x46, 0x42, 0x4d, 0x51, 0x59, 0x5d, 0xf6, 0xcc,
        0x4a, 0x0f, 0x07, 0x08, 0x03, 0x13, 0xc9, 0x8f, 0x8e, 0x12
    };
    uint8_t cmd = commands[byte(input) % sizeof(commands)], head = byte(input) & 7;
    uint8_t eot = byte(input), c = byte(input), r = byte(input);
    uint8_t bytes[9] = { cmd, head, c, head >> 2, r, 2, eot, 0x1b, 0xff };
    if (cmd == 0x4d) {
        bytes[2] = 2;
        bytes[3] = r;
    }
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        if ((in(0x3f4, 1) & 0xc0) != 0x80) {
            break;
        }
        out(0x3f5, bytes[i], 1);
    }
}

static void act(Input *input)
{
    static const uint16_t ports[] = { 0x3f2, 0x3f4, 0x3f5, 0x3f7, 0x3f3, 0x3f5, 0x0a, 0x08 };
    uint8_t op = byte(input);
    switch (op & 7) {
    case 0:
    case 1: command(input); break;
    case 2: start_dma(input); break;
    case 3: out(ports[op >> 3 & 7], byte(input), 1); break;
    case 4:
        for (unsigned i = 0; i < (op >> 3) + 1u; i++) {
            (void)in(0x3f5, 1);
        }
        break;
    case 5:
        for (unsigned i = 0; i < (op >> 3) * 32u; i++) { /* a sector by hand */
            out(0x3f5, byte(input), 1);
        }
        break;
    case 6:
        for (uint16_t port = 0x3f0; port < 0x3f8; port++) {
            (void)in(port, 1);
        }
        main_loop_step(0);
        break;
    default:
        if (op & 0x40) {
            change_media(op >> 3);
        } else {
            blk_drain(NULL);
            main_loop_step(0);
        }
    }
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned nr;
    Input input = { data, size };
    blk_drain(NULL);
    if (nr++ % 256 == 0) { /* else the controller's own reset does: buffers take their time */
        machine_reset_devices(&machine);
    }
    reset_guest();
    start_guest();
    while (input.left) {
        act(&input);
    }
    blk_drain(NULL);
    main_loop_step(0);
    return 0;
}
