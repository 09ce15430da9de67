/* SPDX-License-Identifier: GPL-2.0-or-later
 * Doorbells and coalesced writes: pci-testdev's eventfds, as memory and as ports, also after the BAR
 * has moved, and pixels in the VGA's planar window, read back.
 *
 * bits: 32
 * modes: on off
 * options: -device pci-testdev,addr=5 -device VGA,addr=6
 */
#include "guest.h"

enum { TESTDEV = 5, VGA_DEV = 6, BELLS = 200, TARGET = 64, STEP = 16, DATA = 0xfa, PORTS = 0xc000 };
#define MEMORY 0xe1000000u
#define MOVED 0xe2000000u

static uint8_t *bar;

static void memory_test(unsigned test)
{
    volatile uint8_t *at = bar + TARGET + test * STEP;
    bar[0] = (uint8_t)test;
    for (unsigned i = 0; i < BELLS; i++) {
        *at = DATA;
    }
}
static void port_test(unsigned test)
{
    outb(PORTS, (uint8_t)test);
    for (unsigned i = 0; i < BELLS; i++) {
        outb((uint16_t)(PORTS + TARGET + test * STEP), DATA);
    }
}
static uint32_t memory_count(void)
{
    return *(volatile uint32_t *)(bar + 12);
}

static void bells(void)
{
    bar = (uint8_t *)MEMORY;
    memory_test(0);
    check("memory, no eventfd", memory_count(), BELLS);
    memory_test(1);
    check("memory, any value", memory_count(), BELLS);
    memory_test(2);
    check("memory, one value", memory_count(), BELLS);
    *(volatile uint8_t *)(bar + TARGET + 2 * STEP) = 1;
    check("another value is no bell", memory_count(), BELLS);
    *(volatile uint16_t *)(bar + TARGET + 2 * STEP) = DATA;
    check("another size is none", memory_count(), BELLS);
    port_test(0);
    check("ports, no eventfd", inl(PORTS + 12), BELLS);
    port_test(1);
    check("ports, any value", inl(PORTS + 12), BELLS);
    port_test(2);
    check("ports, one value", inl(PORTS + 12), BELLS);
    memory_test(1);
    pci_config_write(TESTDEV << 3, 0x10, MOVED);
    bar = (uint8_t *)MOVED;
    check("moved: what was rung before", memory_count(), BELLS);
    *(volatile uint8_t *)(bar + TARGET + STEP) = 7;
    check("moved: it rings here", memory_count(), BELLS + 1);
    *(volatile uint8_t *)(MEMORY + TARGET + STEP) = 7;
    check("and not there", memory_count(), BELLS + 1);
}

static void seq(unsigned index, unsigned val)
{
    outb(0x3c4, (uint8_t)index);
    outb(0x3c5, (uint8_t)val);
}
static void gfx(unsigned index, unsigned val)
{
    outb(0x3ce, (uint8_t)index);
    outb(0x3cf, (uint8_t)val);
}

/* Each plane on its own: a write that came after the next change of the map mask would land in
 * another plane. */
static void pixels(void)
{
    volatile uint8_t *window = (uint8_t *)0xa0000;
    seq(4, 6);     /* neither odd/even nor chained */
    gfx(5, 0);     /* write mode 0, read mode 0 */
    gfx(6, 5);     /* graphics, at a0000h */
    gfx(1, 0), gfx(3, 0), gfx(8, 0xff);
    for (unsigned plane = 0; plane < 4; plane++) {
        seq(2, 1u << plane);
        for (unsigned i = 0; i < 300; i++) {
            window[i] = (uint8_t)(i * 7 + plane * 31);
        }
    }
    uint32_t wrong = 0;
    for (unsigned plane = 0; plane < 4; plane++) {
        gfx(4, plane);
        for (unsigned i = 0; i < 300; i++) {
            wrong += window[i] != (uint8_t)(i * 7 + plane * 31);
        }
    }
    check("pixels in four planes", wrong, 0);
    gfx(4, 0);
    window[5] = 0x5a; /* a latch read right behind a write */
    check("read after write", window[5], 5 * 7);
    seq(2, 1);
    window[5] = 0x5a;
    check("read after write, that plane", window[5], 0x5a);
}

void guest_main(void)
{
    pci_config_write(TESTDEV << 3, 0x10, MEMORY);
    pci_config_write(TESTDEV << 3, 0x14, PORTS);
    pci_config_write(TESTDEV << 3, 4, 3);
    pci_config_write(VGA_DEV << 3, 4, 3);
    outb(0x3c2, 0x67); /* memory on, colour */
    bells();
    pixels();
}
