/* SPDX-License-Identifier: GPL-2.0-or-later
 * `info pci`: what sits on the PCI bus and where firmware put it, in the shape scripts know.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "hw/core/machine.h"
#include "hw/pci/pci_internal.h"
#include "monitor/monitor.h"

typedef struct Printer {
    void (*print)(void *opaque, const char *line);
    void *opaque;
} Printer;

static void PRINTF_LIKE(2, 3) emit(const Printer *p, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    p->print(p->opaque, line);
}

/* Base class and subclass (PCI appendix D). */
static const struct {
    uint16_t class;
    const char *name;
} class_names[] = {
    { 0x0001, "VGA controller" },    { 0x0100, "SCSI controller" },
    { 0x0101, "IDE controller" },    { 0x0102, "Floppy controller" },
    { 0x0106, "SATA controller" },   { 0x0108, "NVMe controller" },
    { 0x0200, "Ethernet controller" }, { 0x0300, "VGA controller" },
    { 0x0380, "Display controller" }, { 0x0401, "Audio controller" },
    { 0x0403, "Audio controller" },  { 0x0500, "RAM controller" },
    { 0x0600, "Host bridge" },       { 0x0601, "ISA bridge" },
    { 0x0604, "PCI bridge" },        { 0x0680, "Bridge" },
    { 0x0700, "Serial port" },       { 0x0780, "Communication controller" },
    { 0x0c03, "USB controller" },    { 0x0c05, "SMBus" },
};

static void print_bar(const Printer *p, const PciDevice *pci, unsigned n)
{
    const PciBar *bar = &pci->bar[n];
    /* Where it is decoded; all ones while it is not. */
    uint64_t last = bar->mapped == UINT64_MAX ? bar->size - 2 : bar->mapped + bar->size - 1;
    if (bar->flags & PCI_BAR_IO) {
        emit(p, "      BAR%u: I/O at 0x%04" PRIx64 " [0x%04" PRIx64 "].", n, bar->mapped, last);
    } else {
        emit(p, "      BAR%u: %d bit %smemory at 0x%08" PRIx64 " [0x%08" PRIx64 "].", n,
             bar->flags & PCI_BAR_MEM64 ? 64 : 32,
             bar->flags & PCI_BAR_PREFETCH ? "prefetchable " : "", bar->mapped, last);
    }
}

static void print_device(const Printer *p, const PciDevice *pci)
{
    const uint8_t *c = pci->config;
    unsigned class = c[PCI_CLASS_BASE] << 8 | c[PCI_CLASS_SUB];
    emit(p, "  Bus %2u, device %3u, function %u:", pci_bus(pci)->number,
         (pci->devfn >> 3) & 0x1fu, pci->devfn & 7u);
    const char *name = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(class_names); i++) {
        if (class_names[i].class == class) {
            name = class_names[i].name;
        }
    }
    char number[16];
    snprintf(number, sizeof(number), "Class %04x", class);
    emit(p, "    %s: PCI device %04x:%04x", name ? name : number,
         pci_get16(c + PCI_VENDOR_ID), pci_get16(c + PCI_DEVICE_ID));
    emit(p, "      PCI subsystem %04x:%04x", pci_get16(c + PCI_SUBVENDOR_ID),
         pci_get16(c + PCI_SUBSYSTEM_ID));
    if (c[PCI_INT_PIN]) {
        emit(p, "      IRQ %u, pin %c", c[PCI_INT_LINE], 'A' + c[PCI_INT_PIN] - 1);
    }
    for (unsigned n = 0; n < ARRAY_SIZE(pci->bar); n++) {
        if (pci->bar[n].region) {
            print_bar(p, pci, n);
        }
    }
    emit(p, "      id \"%s\"", pci->dev.id ? pci->dev.id : "");
}

void pci_print_info(struct Machine *m, void (*print)(void *opaque, const char *line),
                    void *opaque)
{
    Printer p = { print, opaque };
    PciBus *bus = pci_root_bus(m);
    if (!bus) {
        emit(&p, "This machine has no PCI bus.");
        return;
    }
    for (unsigned devfn = 0; devfn < ARRAY_SIZE(bus->slot); devfn++) {
        if (bus->slot[devfn]) {
            print_device(&p, bus->slot[devfn]);
        }
    }
}

static void run_info_pci(Monitor *mon, const Dict *args)
{
    (void)args;
    pci_print_info(monitor_machine(mon), monitor_print_line, mon);
}

MONITOR_COMMANDS(pci_commands) = {
    { .name = "pci", .help = "show PCI devices, their BARs and interrupt pins",
      .run = run_info_pci, .info = true },
    { .name = NULL },
};
