/* SPDX-License-Identifier: GPL-2.0-or-later
 * The memory map changes under running code: the i440FX's PAM registers switch C8000h to CFFFFh
 * between ROM and RAM, while other CPUs run code and count below and above it.
 *
 * smp: 1 2
 * bits: 64
 */
#include "guest.h"

enum { ROUNDS = 60, AREA = 0xc8000, PAM1 = 0x5a };

static volatile uint32_t stop, wrong, counted;

static void pci_write(uint8_t reg, uint8_t val)
{
    outl(0xcf8, 0x80000000u | (reg & 0xfc));
    outb((uint16_t)(0xcfc + (reg & 3)), val);
}

/* C8000-CFFFF is PAM1's... 82441FX: PAM2 (5Bh) is C8000-CFFFF; low half bits 1:0, high 5:4. */
static void area(bool ram)
{
    pci_write(PAM1 + 1, ram ? 0x33 : 0x00);
}

static void churn(void)
{
    volatile uint32_t *p = (volatile uint32_t *)AREA, *q = (volatile uint32_t *)(AREA + 0x4000);
    area(true);
    *p = 0x12345678;
    *q = 0x9abcdef0;
    area(false);
    uint32_t rom = *p, bad = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        area(true);
        bad += *p != 0x12345678 + i || *q != 0x9abcdef0;
        area(false);
        bad += *p != rom;
        *p = 0xdead; /* goes to the ROM */
        area(true);
        *p = 0x12345678 + i + 1;
        area(false);
    }
    check("RAM and ROM behind each other", bad, 0);
    area(true);
    /* Code that has just been put where ROM was. */
    static const uint8_t code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
    for (unsigned i = 0; i < sizeof(code); i++) {
        ((volatile uint8_t *)AREA)[0x100 + i] = code[i];
    }
    uint32_t (*fn)(void) = (uint32_t(*)(void))(Word)(AREA + 0x100);
    check("code in it", fn(), 42);
    pci_write(PAM1 + 1, 0x11); /* read RAM, write nowhere */
    ((volatile uint8_t *)AREA)[0x101] = 43;
    check("read-only", fn(), 42);
}

static void run(uint32_t index)
{
    if (!index) {
        churn();
        stop = 1;
        return;
    }
    volatile uint64_t *cell = alloc(PAGE);
    for (uint64_t i = 1; !stop; i++) {
        *cell = i;
        wrong += *cell != i;
        counted++;
    }
}

void guest_main(void)
{
    use_space(new_space());
    start_cpus();
    on_all(run);
    check("nothing wrong elsewhere", wrong, 0);
    check("others went on", nr_cpus == 1 || counted > 0, 1);
}
