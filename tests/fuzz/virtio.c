/* SPDX-License-Identifier: GPL-2.0-or-later
 * libFuzzer on virtio: the input is what a driver does with a disk, a source of random numbers, a
 * balloon, serial ports or a network card by registers, rings of both kinds, and tables in memory.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <string.h>

#include "block/block.h"
#include "hw/virtio/virtio_pci.h"
#include "tests/fuzz/box.h"
#include "tests/fuzz/frames.h"
#include "util/main_loop.h"
#include "util/timer.h"

enum {
    BAR = 0xe0000000,
    MSIX = 0xe1000000,
    PORTS = 0xc000,
    NOTIFY = BAR + 0x3000,
    DEVICE = BAR + 0x2000
};
enum {
    RINGS = 0x10000,
    RING_STEP = 0x2000,
    NUM = 8,
    DATA = 0x80000,
    TABLES = 0x60000,
    NR_QUEUES = 8,
    FIRST_SLOT = 3,
    NR_SLOTS = 8,
    NR_DEVICES = 10
};

static unsigned slot; /* of the device that is driven */

/* ---- the machine ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const devices[NR_DEVICES] = {
        "virtio-blk-pci,drive=d0,addr=3,num-queues=2,queue-size=16",
        "virtio-blk-pci,drive=d1,addr=4,packed=on,queue-size=16,logical_block_size=4096",
        "virtio-rng-pci,addr=5,max-bytes=1000,period=10",
        "virtio-rng-pci,addr=6,packed=on,ioeventfd=on",
        "virtio-balloon-pci,addr=7,packed=on,free-page-reporting=on,guest-stats-polling-interval=1",
        "virtio-serial-pci,addr=8,id=s,max_ports=3",
        "virtio-net-pci,addr=9,netdev=peer0,romfile=",
        "virtio-net-pci,addr=a,netdev=peer1,packed=on,mq=on,queues=2,romfile=",
        "virtconsole,chardev=c0,bus=s.0",
        "virtserialport,chardev=c1,bus=s.0,name=x",
    };
    (void)argc, (void)argv;
    box_machine();
    const char *image = box_image(1 << 20);
    for (unsigned n = 0; n < 2; n++) {
        char text[200];
        snprintf(text, sizeof(text), "id=d%u,format=raw,file.locking=off,file=%s", n, image);
        box_drive(text);
    }
    box_chardev("null,id=c0");
    box_chardev("ringbuf,id=c1,size=256");
    peer_new("peer0");
    peer_new("peer1");
    for (unsigned n = 0; n < NR_DEVICES; n++) {
        box_device(devices[n]);
    }
    return 0;
}

/* ---- the driver ---- */

static uint64_t ring(unsigned queue)
{
    return RINGS + queue * RING_STEP;
}

/* Mostly what a driver would do, so that an input gets somewhere. */
static void start_device(uint8_t features, unsigned num)
{
    uint64_t wanted = features & 1 ? UINT64_MAX : ~(1ull << VIRTIO_F_RING_PACKED);
    wanted &= features & 2 ? UINT64_MAX : ~(1ull << VIRTIO_RING_F_EVENT_IDX);
    store(BAR + VIRTIO_PCI_COMMON_STATUS, 0, 1);
    store(BAR + VIRTIO_PCI_COMMON_STATUS, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        store(BAR + VIRTIO_PCI_COMMON_DFSELECT, half, 4);
        store(BAR + VIRTIO_PCI_COMMON_GFSELECT, half, 4);
        uint32_t offered = load(BAR + VIRTIO_PCI_COMMON_DF, 4);
        store(BAR + VIRTIO_PCI_COMMON_GF, offered & (wanted >> 32 * half), 4);
    }
    store(BAR + VIRTIO_PCI_COMMON_STATUS, 11, 1);
    for (unsigned n = 0; n < NR_QUEUES; n++) {
        store(BAR + VIRTIO_PCI_COMMON_Q_SELECT, n, 2);
        store(BAR + VIRTIO_PCI_COMMON_Q_SIZE, num, 2);
        store(BAR + VIRTIO_PCI_COMMON_Q_MSIX, n, 2);
        store(BAR + VIRTIO_PCI_COMMON_Q_DESCLO, ring(n), 4);
        store(BAR + VIRTIO_PCI_COMMON_Q_AVAILLO, ring(n) + 0x800, 4);
        store(BAR + VIRTIO_PCI_COMMON_Q_USEDLO, ring(n) + 0x1000, 4);
        store(BAR + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
    }
    store(BAR + VIRTIO_PCI_COMMON_STATUS, 15, 1);
}

static uint64_t address(Input *input)
{
    uint8_t where = byte(input);
    uint32_t low = word(input);
    switch (where & 15) {
    case 0: return BOX_RAM - (low & 0xff);
    case 1: return BAR + low;
    case 2: return UINT64_MAX - low;
    case 3: return TABLES + (low & 0xfff0);
    case 4: return ring(low & 7) + (low >> 8);
    default: return DATA + low;
    }
}

static void descriptor(Input *input, uint64_t at, bool packed)
{
    uint64_t addr = address(input);
    uint8_t how = byte(input);
    uint32_t len = how & 0x80 ? word(input) << 16 : how & 0x40 ? word(input) : 16u * (how & 15);
    uint8_t flags = byte(input);
    store(at, addr, 8);
    store(at + 8, len, 4);
    if (packed) {
        store(at + 12, byte(input), 2);
        store(at + 14, (flags & 7) | (flags & 8 ? 0x80 : 0) | (flags & 16 ? 0x8000 : 0), 2);
    } else {
        store(at + 12, flags & 7, 2);
        store(at + 14, flags >> 4, 2);
    }
}

static void requests(Input *input)
{
    uint64_t at = DATA + (word(input) & 0x3ff0);
    store(at, byte(input) & 15, 4); /* a disk's header, or numbers of pages, or a message */
    store(at + 8, byte(input), 8);
    store(at + 16, byte(input), 8);
    store(at + 24, byte(input), 8);
}

static void step(Input *input)
{
    uint8_t op = byte(input), n = byte(input);
    uint64_t r = ring(n & 7);
    switch (op & 15) {
    case 0:
    case 1: descriptor(input, r + 16 * (n >> 3 & 15), false); break;
    case 2:
    case 3: descriptor(input, r + 16 * (n >> 3 & 15), true); break;
    case 4: descriptor(input, TABLES + 16 * n, op & 16); break;
    case 5:
    case 6: { /* offer */
        uint16_t index = load(r + 0x802, 2);
        store(r + 0x804 + 2 * (index % NUM), byte(input), 2);
        store(r + 0x802, index + 1, 2);
        break;
    }
    case 7:
    case 8: store(NOTIFY + 4 * (n & 7), n & 7, 2); break;
    case 9: store(r + (word(input) & 0x1fff), word(input), 2); break;
    case 10: requests(input); break;
    case 11: start_device(n, op & 16 ? NUM : 1 + (n >> 2)); break;
    case 12: store(BAR + (n & 63), word(input), op & 16 ? 2 : 1); break;
    case 13:
        load(DEVICE + n, 4);
        store(DEVICE + n, word(input), op & 16 ? 4 : 1);
        out(PORTS + (n & 63), word(input), op & 32 ? 4 : 2);
        break;
    case 14:
        if (op & 16) {
            guest_clock_advance_to(guest_clock_ns() + n * 10000000ull);
        } else if (op & 32) {
            config(slot, 0x40 + (n & 0x7f), word(input), 4);
            pci_config_load(&pci, slot << 11 | (0x40 + (n & 0x7c)), 4);
        } else if (op & 64) {
            store(MSIX + 4 * n, word(input), 4);
        } else {
            config(slot, PCI_COMMAND, n & 1 ? 7 : 3, 2);
        }
        break;
    default:
        if (op & 16) {
            peer_set(peer_at(op >> 5), n);
        } else if (op & 32) {
            peer_send(peer_at(op >> 6), input);
        }
        main_loop_step(0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input = { data, size };
    slot = FIRST_SLOT + byte(&input) % NR_SLOTS;
    memset(machine.ram->host + RINGS, 0, NR_QUEUES * RING_STEP);
    config(slot, PCI_BAR0, PORTS, 4);
    config(slot, PCI_BAR0 + 4, MSIX, 4);
    config(slot, PCI_BAR0 + 16, BAR, 4);
    config(slot, PCI_BAR0 + 20, 0, 4);
    config(slot, PCI_COMMAND, 7, 2);
    start_device(byte(&input), NUM);
    for (unsigned steps = 0; input.left && steps < 200; steps++) {
        step(&input);
    }
    main_loop_step(0);
    blk_drain(NULL);
    main_loop_step(0);
    machine_reset_devices(&machine);
    return 0;
}
