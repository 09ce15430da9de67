/* SPDX-License-Identifier: GPL-2.0-or-later
 * Paints: 640x480 in 32 bits by the Bochs display interface, the first dot of lines 0 and 300 and the
 * last one of line 479 count up, as does one of each of the first 1000 pages of video memory. Nothing
 * but the dirty log tells of it.
 *
 * for: test_run.py
 */
#include "guest.h"

enum { LFB = 0xe0000000, PAGES = 1000, DOTS = 1024 /* a page */, DISPI_INDEX = 0x1ce, DISPI_DATA = 0x1cf };

static uint32_t pci_read(unsigned dev, unsigned reg)
{
    uint32_t v;
    outl(0xcf8, 0x80000000u | dev << 11 | reg);
    __asm__ volatile("inl %w1, %0" : "=a"(v) : "d"(0xcfc));
    return v;
}
static void pci_write(unsigned dev, unsigned reg, uint32_t val)
{
    outl(0xcf8, 0x80000000u | dev << 11 | reg);
    outl(0xcfc, val);
}
static void dispi(uint16_t index, uint16_t val)
{
    outw(DISPI_INDEX, index);
    outw(DISPI_DATA, val);
}

void guest_main(void)
{
    unsigned dev = 0;
    while (dev < 32 && pci_read(dev, 8) >> 16 != 0x0300) {
        dev++;
    }
    pci_write(dev, 0x10, LFB);
    pci_write(dev, 4, pci_read(dev, 4) | 3);
    dispi(4, 0), dispi(1, 640), dispi(2, 480), dispi(3, 32), dispi(4, 0x41);
    inb(0x3da), outb(0x3c0, 0x20); /* the attribute controller shows the screen */
    volatile uint32_t *dot = (volatile uint32_t *)(Word)(uint32_t)LFB;
    put_text("# painting\n");
    for (uint32_t n = 1;; n++) {
        dot[0] = dot[300 * 640] = dot[480 * 640 - 1] = n & 0xffffff;
        for (unsigned page = 0; page < PAGES; page++) {
            dot[page * DOTS + 1] = n;
        }
    }
}
