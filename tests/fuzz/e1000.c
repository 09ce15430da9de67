/* SPDX-License-Identifier: GPL-2.0-or-later
 * libFuzzer on the e1000: the input is what a driver does by registers, both rings and buffers in
 * memory, and which frames a peer sends.
 */
#include "hw/net/e1000.h"

#include "tests/fuzz/box.h"
#include "tests/fuzz/frames.h"
#include "util/main_loop.h"

enum {
    SLOT = 3,
    BAR = 0xe0000000,
    PORTS = 0xc000,
    TX_RING = 0x1000,
    RX_RING = 0x2000,
    RING = 16, /* descriptors */
    DATA = 0x10000,
    REG_PHY_CTRL = 0
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    box_machine();
    peer_new("n0");
    box_device("e1000,addr=3,netdev=n0,romfile=");
    return 0;
}

/* ---- the driver ---- */

static void reg_store(uint32_t reg, uint32_t val)
{
    store(BAR + reg, val, 4);
}

static uint32_t reg_load(uint32_t reg)
{
    return (uint32_t)load(BAR + reg, 4);
}

static void start(uint8_t how)
{
    config(SLOT, PCI_BAR0, BAR, 4);
    config(SLOT, PCI_BAR0 + 4, PORTS, 4);
    config(SLOT, PCI_COMMAND, 7, 2);
    reg_store(REG_CTRL, CTRL_FD | CTRL_ASDE | CTRL_SLU | (how & 1 ? CTRL_VME : 0));
    reg_store(REG_MDIC, 1u << 26 | 1u << 21 | REG_PHY_CTRL << 16 | 0x0140); /* no negotiation */
    reg_store(REG_TDBAL, TX_RING);
    reg_store(REG_TDLEN, RING * DESC_SIZE);
    reg_store(REG_RDBAL, RX_RING);
    reg_store(REG_RDLEN, RING * DESC_SIZE);
    reg_store(REG_RDT, how >> 4);
    reg_store(REG_RXCSUM, how & 2 ? 0x300 : 14);
    reg_store(REG_IMS, ICR_ALL);
    reg_store(REG_TCTL, TCTL_EN);
    reg_store(REG_RCTL, RCTL_EN | RCTL_BAM | (how & 4 ? RCTL_UPE | RCTL_MPE | RCTL_LPE : 0) |
                            (how & 8 ? RCTL_BSIZE : 0));
    for (unsigned i = 0; i < RING; i++) {
        store(RX_RING + i * DESC_SIZE, DATA + i * 0x1000, 8);
    }
}

static uint64_t address(Input *input)
{
    uint8_t where = byte(input);
    uint32_t low = word(input);
    switch (where & 15) {
    case 0: return BOX_RAM - (low & 0xff);
    case 1: return BAR + low; /* its own registers */
    case 2: return UINT64_MAX - low;
    case 3: return TX_RING + (low & 0x1fff);
    case 4: return 0;
    default: return DATA + low;
    }
}

static const uint32_t some_regs[] = {
    REG_CTRL, REG_EECD,  REG_EERD, REG_CTRL_EXT, REG_MDIC,   REG_VET,   REG_ICR,   REG_ITR,
    REG_ICS,  REG_IMS,   REG_IMC,  REG_RCTL,     REG_TCTL,   REG_RDBAL, REG_RDBAH, REG_RDLEN,
    REG_RDH,  REG_RDT,   REG_RDTR, REG_RADV,     REG_RSRPD,  REG_TDBAL, REG_TDBAH, REG_TDLEN,
    REG_TDH,  REG_TDT,   REG_TIDV, REG_TADV,     REG_RXCSUM, REG_MTA,   REG_RA,    REG_RA + 4,
    REG_VFTA, REG_STATS, 0x0108,   0x0420,       0x0040,     0x0200,    0x0600,    0x1f000
};

static void context_descriptor(Input *input, uint64_t at)
{
    uint8_t l3 = 14 + (byte(input) & 4), l4 = l3 + (byte(input) & 1 ? 40 : 20), how = byte(input);
    store(at, l3 | (l3 + 10) << 8 | (how & 1 ? l4 - 1 : 0) << 16, 4);
    store(at + 4,
          (uint32_t)l4 | (uint32_t)(l4 + (how & 2 ? 6 : 16)) << 8 |
              (how & 4 ? (uint32_t)word(input) << 16 : 0),
          4);
    store(at + 8, (uint32_t)byte(input) << 24 | 2u << 28 | (how & 8 ? byte(input) : 0), 4);
    store(at + 12, (uint32_t)(l4 + 20) << 8 | (uint32_t)word(input) << 16, 4);
}

static void tx_descriptor(Input *input, uint64_t at)
{
    uint8_t kind = byte(input);
    if ((kind & 3) == 3) {
        context_descriptor(input, at);
        return;
    }
    bool legacy = (kind & 3) == 0;
    uint8_t cmd = byte(input);
    uint32_t length = kind & 0x80 ? dword(input) & 0xfffff : byte(input) * 8u;
    store(at, address(input), 8);
    cmd = legacy ? cmd & ~0x20 : cmd | 0x20;
    store(at + 8,
          legacy ? (length & 0xffff) | (uint32_t)byte(input) << 16 | (uint32_t)cmd << 24
                 : length | 1u << 20 | (uint32_t)cmd << 24,
          4);
    store(at + 12, (uint32_t)byte(input) << 8 | (uint32_t)word(input) << 16, 4);
}

static void make_buffer(Input *input)
{
    static uint8_t frame[MAX_FRAME];
    uint64_t at = DATA + word(input);
    size_t len = frame_make(frame, input);
    dma_write(&machine.memory, at, frame, len);
}

static void look(Input *input)
{
    for (size_t i = 0; i < ARRAY_SIZE(some_regs); i++) {
        (void)reg_load(some_regs[i]);
    }
    (void)load(BAR + (dword(input) & 0x1fffc), 4);
    out(PORTS, dword(input), 4);
    (void)in(PORTS + 4, 4);
    out(PORTS + 4, dword(input), 4);
}

static void other(Input *input, uint8_t op)
{
    switch (op >> 4) {
    case 0: peer_set(peer_at(0), byte(input)); break;
    case 1: guest_clock_advance_to(guest_clock_ns() + byte(input) * 100000ull); break;
    case 2: config(SLOT, PCI_COMMAND, byte(input), 2); break;
    case 3: config(SLOT, byte(input), dword(input), 4); break;
    case 4: start(byte(input)); break;
    case 5: reg_store(REG_CTRL, CTRL_RST | CTRL_FD); break;
    case 6: look(input); break;
    case 7: /* the wires to the EEPROM: CS, then clocks with bits */
        for (unsigned bits = word(input), i = 0; i < 16; i++, bits >>= 1) {
            reg_store(REG_EECD, 0x42 | (bits & 1) << 2);
            reg_store(REG_EECD, 0x43 | (bits & 1) << 2);
        }
        break;
    case 8:
        reg_store(REG_MDIC, (dword(input) & 0x1fffff) | 1u << 21 | (1u + (op >> 7)) << 26);
        break;
    case 9: machine_reset_devices(&machine); break;
    default: main_loop_step(0); break;
    }
}

static void step(Input *input)
{
    uint8_t op = byte(input);
    uint32_t tdt = reg_load(REG_TDT);
    switch (op & 15) {
    case 0:
    case 1:
    case 2: /* one more to send */
        tx_descriptor(input, TX_RING + tdt % RING * DESC_SIZE);
        reg_store(REG_TDT, (tdt + 1) % RING);
        break;
    case 3: tx_descriptor(input, TX_RING + (op >> 4) * DESC_SIZE); break;
    case 4: store(RX_RING + (op >> 4) * DESC_SIZE, address(input), 8); break;
    case 5: reg_store(op & 0x80 ? REG_RDT : REG_TDT, op & 0x40 ? word(input) : op >> 4 & 3); break;
    case 6: reg_store(REG_RDT, (reg_load(REG_RDT) + (op >> 4)) % RING); break;
    case 7:
    case 8: peer_send(peer_at(0), input); break;
    case 9:
    case 10: {
        uint32_t reg = some_regs[byte(input) % ARRAY_SIZE(some_regs)];
        reg_store(reg + (op & 0x80 ? byte(input) * 4u : 0), op & 0x40 ? byte(input) : dword(input));
        break;
    }
    case 11: make_buffer(input); break;
    case 12: store(TX_RING + (word(input) & 0x1fff), dword(input), 4); break;
    case 13: other(input, op); break;
    default: main_loop_step(0); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input = { data, size };
    start(byte(&input));
    for (unsigned steps = 0; input.left && steps < 200; steps++) {
        step(&input);
    }
    main_loop_step(0);
    peer_set(peer_at(0), 0);
    box_must(net_set_link("n0", true, NULL), NULL);
    machine_reset_devices(&machine);
    net_purge(&peer_at(0)->nc);
    main_loop_step(0);
    return 0;
}
