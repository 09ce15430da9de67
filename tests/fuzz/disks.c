/* SPDX-License-Identifier: GPL-2.0-or-later
 * libFuzzer on disk controllers: the input is what a guest does with AHCI (a disk and a CD, -DAHCI)
 * or the floppy controller (two drives) by registers, tables in memory, DMA and changes of media.
 * tests/fuzz/disks.py builds and runs this.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "hw/core/machine.h"
#include "hw/isa/i8237.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum {
    RAM = 1 << 20,
    ABAR = 0xe0000000,
    LIST = 0x1000,
    FISES = 0x2000,
    TABLE = 0x4000,
    DATA = 0x20000
};

static Machine machine;
static IsaBus isa;
static PciBus pci;
static char image[3][64];
static Drive *media;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the machine ---- */

static void must(bool ok, Error *err)
{
    if (!ok) {
        error_report(err);
        abort();
    }
}

static void make_image(unsigned n, long size)
{
    snprintf(image[n], sizeof(image[n]), "/tmp/vireo-fuzz-XXXXXX");
    int fd = mkstemp(image[n]);
    if (fd < 0 || ftruncate(fd, size)) {
        abort();
    }
    close(fd);
}

static void make_drive(const char *id, unsigned n, const char *more)
{
    Error *err = NULL;
    char text[200];
    snprintf(text, sizeof(text), "id=%s,format=raw,file.locking=off,cache=unsafe,file=%s%s", id,
             image[n], more);
    Dict *opts = dict_parse(text, NULL, &err);
    must(opts && drive_create(opts, &err), err);
    dict_free(opts);
}

static void make_device(const char *text)
{
    Error *err = NULL;
    Dict *opts = dict_parse(text, "driver", &err);
    must(opts && device_create(&machine, opts, &err), err);
    dict_free(opts);
}

static unsigned map_irq(PciDevice *dev, unsigned pin)
{
    (void)dev;
    return pin;
}

static void set_irq(void *opaque, unsigned line, bool level)
{
    (void)opaque, (void)line, (void)level;
}

static void remove_images(void)
{
    for (unsigned i = 0; i < 3; i++) {
        unlink(image[i]);
    }
}

static void make_machine(void)
{
    Error *err = NULL;
    static Region ram;
    vm_lock();
    must(main_loop_init(&err), err);
    guest_clock_set_manual();
    machine_setup(&machine);
    machine.ram = ram_block_new("ram", RAM, &err);
    must(machine.ram, err);
    region_init_ram(&ram, "ram", machine.ram, 0, RAM);
    region_add(&machine.memory_root, 0, &ram, 0);
#ifdef AHCI
    make_image(0, 4 << 20);
    make_image(1, 1 << 20);
    make_image(2, 2 << 20);
    pci_bus_init(&pci, "pci.0", NULL, &machine, &machine.memory_root, &machine.io_root);
    pci.map_irq = map_irq;
    pci.set_irq = set_irq;
    make_drive("d0", 0, "");
    make_drive("c0", 1, ",media=cdrom");
    make_device("ahci,id=ahci,addr=3");
    make_device("ide-hd,drive=d0,bus=ahci.0");
    make_device("ide-cd,drive=c0,bus=ahci.1");
    media = drive_find("c0");
#else
    make_image(0, 1440 << 10);
    make_image(1, 2880 << 10);
    make_image(2, 720 << 10);
    (void)map_irq, (void)set_irq, (void)pci;
    isa_bus_init(&isa, NULL, &machine);
    must(device_realize(device_new(&machine, &type_i8237), &isa.bus, NULL, "dma", &err), err);
    make_drive("f0", 0, ",if=floppy");
    make_drive("f1", 1, ",if=floppy");
    make_device("isa-fdc,id=fdc");
    make_device("floppy,drive=f0");
    make_device("floppy,drive=f1");
    media = drive_find("f0");
#endif
    atexit(remove_images);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    make_machine();
    return 0;
}

/* ---- the guest ---- */

typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

static uint8_t byte(Input *in)
{
    if (!in->left) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static uint32_t word(Input *in)
{
    uint32_t low = byte(in);
    return low | (uint32_t)byte(in) << 8;
}

static uint32_t dword(Input *in)
{
    uint32_t low = word(in);
    return low | word(in) << 16;
}

static void store(uint32_t gpa, uint32_t val)
{
    address_space_store(&machine.memory, gpa, val, 4);
}

static void out(uint16_t port, uint8_t val)
{
    address_space_store(&machine.io, port, val, 1);
}

static uint8_t in8(uint16_t port)
{
    return (uint8_t)address_space_load(&machine.io, port, 1);
}

static void change_media(uint8_t how)
{
    Error *err = NULL;
    bool ok = how & 1 ? drive_eject(media, how & 2, &err)
                      : drive_change(media, image[2], "raw", true, &err);
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
    store(ABAR + 4, 1);
}

static void start_guest(void)
{
    pci_config_store(&pci, 3 << 11 | 0x24, ABAR, 4);
    pci_config_store(&pci, 3 << 11 | 0x04, 6, 2);
    store(ABAR + 4, 2);
    for (unsigned port = 0; port < 2; port++) {
        store(port_reg(port, 0), LIST);
        store(port_reg(port, 8), FISES);
        store(port_reg(port, 0x30), 0xffffffff);
        store(port_reg(port, 0x14), 0xffffffff);
        store(port_reg(port, 0x18), 0x17);
    }
}

/* A command that makes some sense: header, FIS, a few regions. */
static void make_slot(Input *in)
{
    static const uint8_t commands[] = {
        0x60, 0x61, 0x25, 0x35, 0xec, 0xa0, 0xa1, 0x24, 0x34, 0x06,
        0x2f, 0x47, 0xe7, 0x42, 0x90, 0x08, 0xef, 0x29, 0xc8, 0x3d
    };
    static const uint8_t packets[] = { 0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43,
                                       0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd, 0xbe };
    uint8_t slot = byte(in) & 31, kind = byte(in), nr = byte(in) & 7;
    uint8_t cmd = kind < 0xf0 ? commands[kind % sizeof(commands)] : byte(in);
    uint32_t table = TABLE + slot * 0x200u;
    uint8_t count = byte(in), more = byte(in);
    uint32_t lba = word(in);
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
        uint32_t where = word(in), size = word(in);
        uint32_t prd[4] = { where == 0xffff ? ABAR : DATA + where * 8, 0, 0, size << 1 | 1 };
        dma_write(&machine.memory, table + 0x80 + i * 16, prd, sizeof(prd));
    }
    uint32_t header[4] = {
        5 | (cmd == 0xa0 ? 0x20 : 0) | (uint32_t)(kind == 0xed ? 0xffff : nr) << 16, 0, table, 0
    };
    dma_write(&machine.memory, LIST + slot * 32, header, sizeof(header));
    if (ncq) {
        store(port_reg(0, 0x34), 1u << slot);
    }
    store(port_reg(more >> 7, 0x38), 1u << slot);
}

static void act(Input *in)
{
    static const uint8_t regs[] = { 0x00, 0x08, 0x10, 0x14, 0x18, 0x2c, 0x30, 0x34, 0x38, 0x18 };
    uint8_t op = byte(in), port = op >> 7;
    switch (op & 7) {
    case 0:
    case 1:
    case 2: make_slot(in); break;
    case 3: {
        uint8_t reg = regs[byte(in) % sizeof(regs)];
        store(port_reg(port, reg), dword(in));
        break;
    }
    case 4: { /* bytes into lists and tables */
        uint32_t at = LIST + word(in) % 0x8000;
        uint8_t bytes[8];
        for (unsigned i = 0; i < sizeof(bytes); i++) {
            bytes[i] = byte(in);
        }
        dma_write(&machine.memory, at, bytes, sizeof(bytes));
        break;
    }
    case 5:
        for (unsigned reg = 0; reg < 0x80; reg += 4) {
            (void)address_space_load(&machine.memory, port_reg(port, reg), 4);
        }
        main_loop_step(0);
        break;
    case 6: /* an error is over, the port starts anew */
        store(port_reg(port, 0x18), 0x16);
        if (op & 0x40) {
            store(port_reg(port, 0x2c), 1);
            store(port_reg(port, 0x2c), 0);
        }
        store(port_reg(port, 0x18), 0x17);
        break;
    default:
        if (op & 0x40) {
            change_media(op >> 3);
        } else if (op & 0x20) {
            store(ABAR + 4 * (byte(in) & 15), dword(in));
        } else {
            blk_drain(NULL);
        }
    }
}
#else
static void reset_guest(void)
{
    out(0x3f2, 0);
    out(0x0d, 0);
}

static void start_guest(void)
{
    out(0xd4, 0);
    out(0x3f2, 0x0c);
    out(0x3f7, 0);
}

static void start_dma(Input *in)
{
    uint32_t len = word(in);
    out(0x0a, 6);
    out(0x0c, 0);
    out(0x0b, byte(in));
    out(0x04, byte(in));
    out(0x04, 0x40);
    out(0x81, byte(in) & 0x0f);
    out(0x05, (uint8_t)len);
    out(0x05, (uint8_t)(len >> 8));
    out(0x0a, 2);
}

/* A command that makes some sense. */
static void command(Input *in)
{
    static const uint8_t commands[] = {
        0xe6, 0xc5, 0x46, 0x42, 0x4d, 0x51, 0x59, 0x5d, 0xf6, 0xcc,
        0x4a, 0x0f, 0x07, 0x08, 0x03, 0x13, 0xc9, 0x8f, 0x8e, 0x12
    };
    uint8_t cmd = commands[byte(in) % sizeof(commands)], head = byte(in) & 7, eot = byte(in);
    uint8_t c = byte(in), r = byte(in);
    uint8_t bytes[9] = { cmd, head, c, head >> 2, r, 2, eot, 0x1b, 0xff };
    if (cmd == 0x4d) {
        bytes[2] = 2;
        bytes[3] = r;
    }
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        if ((in8(0x3f4) & 0xc0) != 0x80) {
            break;
        }
        out(0x3f5, bytes[i]);
    }
}

static void act(Input *in)
{
    static const uint16_t ports[] = { 0x3f2, 0x3f4, 0x3f5, 0x3f7, 0x3f3, 0x3f5, 0x0a, 0x08 };
    uint8_t op = byte(in);
    switch (op & 7) {
    case 0:
    case 1: command(in); break;
    case 2: start_dma(in); break;
    case 3: out(ports[op >> 3 & 7], byte(in)); break;
    case 4:
        for (unsigned i = 0; i < (op >> 3) + 1u; i++) {
            (void)in8(0x3f5);
        }
        break;
    case 5:
        for (unsigned i = 0; i < (op >> 3) * 32u; i++) { /* a sector by hand */
            out(0x3f5, byte(in));
        }
        break;
    case 6:
        for (uint16_t port = 0x3f0; port < 0x3f8; port++) {
            (void)in8(port);
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
    Input in = { data, size };
    blk_drain(NULL);
    if (nr++ % 256 == 0) { /* else the controller's own reset does: buffers take their time */
        machine_reset_devices(&machine);
    }
    reset_guest();
    start_guest();
    while (in.left) {
        act(&in);
    }
    blk_drain(NULL);
    main_loop_step(0);
    return 0;
}
