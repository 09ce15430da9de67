/* SPDX-License-Identifier: GPL-2.0-or-later
 * Intel 82371SB PCI ISA IDE Xcelerator, function 0 (82371FB/82371SB datasheet, order number
 * 290550): the ISA bus and the PIRQ routers. The IDE function, the 8259s with ELCR, the 8254 and
 * the 8237s are devices of their own. Left out: X-bus chip selects, motherboard interrupt
 * routing, SMI; their registers keep what is written.
 */
#include "hw/isa/piix3.h"

#include <string.h>

enum { PIRQ_IRQ = 0x0f, PIRQ_DISABLE = 0x80 };
/* IRQs a PIRQ may go to (82371SB 2.2.11): 3-7, 9-12, 14, 15 */
enum { ROUTABLE = 0xdef8 };

typedef struct Piix3 {
    PciDevice pci; /* all state is in configuration space */
    IsaBus isa;    /* wiring */
    Irq out[16];
} Piix3;

static unsigned map_irq(PciDevice *pci, unsigned pin)
{
    /* The usual board rotates INTA-D by slot; slot 1 has INTA# on PIRQA#. */
    return (pin + (pci->devfn >> 3) - 1u) & 3;
}

static void drive_irqs(Piix3 *s)
{
    const PciBus *bus = pci_bus(&s->pci);
    unsigned levels = 0;
    for (unsigned line = 0; line < PIIX3_NR_PIRQ; line++) {
        uint8_t route = s->pci.config[PIIX3_REG_PIRQRC + line];
        if (bus->irq_count[line] > 0 && !(route & PIRQ_DISABLE)) {
            levels |= 1u << (route & PIRQ_IRQ);
        }
    }
    levels &= ROUTABLE;
    for (unsigned n = 0; n < ARRAY_SIZE(s->out); n++) {
        irq_set(&s->out[n], levels >> n & 1);
    }
}

static void set_irq(void *opaque, unsigned line, bool level)
{
    (void)line;
    (void)level;
    drive_irqs(opaque);
}

static void piix3_config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size)
{
    pci_default_config_write(pci, reg, val, size);
    if (reg < PIIX3_REG_PIRQRC + PIIX3_NR_PIRQ && reg + size > PIIX3_REG_PIRQRC) {
        drive_irqs(container_of(pci, Piix3, pci));
    }
}

static void piix3_refresh(Device *dev)
{
    drive_irqs(container_of(dev, Piix3, pci.dev));
}

static bool piix3_realize(Device *dev, Error **errp)
{
    (void)errp;
    Piix3 *s = container_of(dev, Piix3, pci.dev);
    /* Reset values and writable bits of 82371SB 2.2. */
    static const struct {
        uint8_t reg, value, writable;
    } regs[] = {
        { 0x4c, 0x4d, 0xff }, { 0x4e, 0x03, 0xff }, { 0x4f, 0x00, 0x07 }, { 0x60, 0x80, 0x8f },
        { 0x61, 0x80, 0x8f }, { 0x62, 0x80, 0x8f }, { 0x63, 0x80, 0x8f }, { 0x69, 0x02, 0xfe },
        { 0x6a, 0x00, 0x80 }, { 0x70, 0x80, 0xef }, { 0x71, 0x80, 0xef }, { 0x76, 0x0c, 0x8f },
        { 0x77, 0x0c, 0x8f }, { 0x78, 0x02, 0xff }, { 0x79, 0x00, 0xff }, { 0x80, 0x00, 0x7f },
        { 0x82, 0x00, 0x8f }, { 0xa0, 0x08, 0x1f }, { 0xa2, 0x00, 0xff }, { 0xa3, 0x00, 0xff },
        { 0xa8, 0x0f, 0xff }, { 0xaa, 0x00, 0xff }, { 0xab, 0x00, 0xff }, { 0xac, 0x00, 0xff },
        { 0xae, 0x00, 0xff },
    };
    for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
        s->pci.config[regs[i].reg] = regs[i].value;
        s->pci.wmask[regs[i].reg] = regs[i].writable;
    }
    /* I/O, memory and mastering cannot be switched off (82371SB 2.2.3); DEVSEL# is medium. */
    pci_put16(s->pci.config + PCI_COMMAND,
              PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_put16(s->pci.wmask + PCI_COMMAND, PCI_COMMAND_SERR);
    pci_put16(s->pci.config + PCI_STATUS, 0x0200);

    device_init_irq_out(dev, s->out, ARRAY_SIZE(s->out));
    isa_bus_init(&s->isa, dev, dev->machine);
    PciBus *bus = pci_bus(&s->pci);
    bus->map_irq = map_irq;
    bus->set_irq = set_irq;
    bus->irq_opaque = s;
    return true;
}

IsaBus *piix3_isa_bus(Device *piix3)
{
    return &container_of(piix3, Piix3, pci.dev)->isa;
}

static const PciInfo piix3_info = {
    .vendor = 0x8086, .device = 0x7000, .class_code = 0x060100, .multifunction = true,
    .config_write = piix3_config_write,
};

static const StateField piix3_state[] = { STATE_END };

DEVICE_TYPE(piix3) = {
    PCI_DEVICE_INFO("PIIX3", Piix3, "PIIX3 ISA bridge", &piix3_info),
    .internal = true,
    .state = piix3_state,
    .state_version = 1,
    .realize = piix3_realize,
    .refresh = piix3_refresh,
};
