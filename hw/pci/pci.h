/* SPDX-License-Identifier: GPL-2.0-or-later
 * PCI Local Bus 3.0 devices (PCI): type 0 headers, BARs, INTx, MSI, bus-master DMA.
 *
 * A PCI device's struct starts with a PciDevice named pci and its table has
 * PCI_DEVICE_INFO(...) and .bus_info = &its PciInfo. Configuration space is ordinary state of
 * PciDevice; a device overrides config_write to act on its own registers, and calls
 * pci_default_config_write first.
 */
#ifndef HW_PCI_PCI_H
#define HW_PCI_PCI_H

#include "hw/core/device.h"
#include "hw/pci/pci_regs.h"

typedef struct PciDevice PciDevice;
typedef struct PciBus PciBus;

typedef struct PciInfo {
    uint16_t vendor, device, subvendor, subdevice; /* subvendor 0: 1af4:1100 as QEMU's */
    uint8_t revision;
    uint32_t class_code;   /* 0xCCSSPP: base class, sub class, prog-if */
    uint8_t intx_pin;      /* 0 none, 1 INTA# .. 4 INTD# */
    bool multifunction;
    uint8_t header_type;   /* 0 device, 1 bridge */
    const char *romfile;   /* default option ROM, searched like firmware; NULL none */
    bool rom_optional;     /* the device says itself when it misses that */
    uint32_t (*config_read)(PciDevice *pci, unsigned reg, unsigned size);
    void (*config_write)(PciDevice *pci, unsigned reg, uint32_t val, unsigned size);
    /* A BAR moved or was (un)mapped; address UINT64_MAX: unmapped. May be NULL. */
    void (*bar_changed)(PciDevice *pci, unsigned bar, uint64_t address);
} PciInfo;

typedef struct PciBar {
    Region *region;
    uint8_t flags;   /* PCI_BAR_IO, PCI_BAR_MEM64, PCI_BAR_PREFETCH */
    uint64_t size;   /* power of two */
    uint64_t mapped; /* where it is now; UINT64_MAX: nowhere */
} PciBar;

struct PciDevice {
    Device dev;
    int32_t devfn;        /* property addr; -1: first free */
    bool multifunction;   /* property */
    char *romfile;        /* property; "" = none */
    uint32_t rombar;      /* property: 0 hides the ROM */
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t wmask[PCI_CONFIG_SIZE];   /* writable bits */
    uint8_t w1cmask[PCI_CONFIG_SIZE]; /* write-1-to-clear bits */
    uint8_t reset_config[PCI_CONFIG_SIZE]; /* as realize left it: what reset restores */
    bool has_reset_config;
    PciBar bar[7];        /* 6: expansion ROM */
    bool intx_level;      /* what the device asks for */
    bool intx_driven;     /* wiring: what the bus counts now (0 while INTx is disabled) */
    uint8_t intx_line;    /* wiring: the chipset line intx_driven was counted on */
    uint8_t cap_len[PCI_CONFIG_SIZE / 4]; /* of the capability at that dword; 0: none */
    uint8_t msi_cap;      /* wiring: offset of the MSI capability; 0: none */
    struct PciMsix *msix; /* wiring: hw/pci/msix.h; NULL: none */
    Region rom;
    RamBlock *rom_ram;
};

struct PciBus {
    Bus bus;
    PciDevice *slot[256]; /* by devfn */
    AddressSpace *memory, *io;
    Region *memory_root, *io_root; /* where BARs appear */
    uint8_t number;
    /* Interrupt routing by the host bridge or PIIX: pin 0-3 of devfn changed to level. Lines are
     * shared: count[] holds how many devices drive each of the chipset's lines. */
    unsigned (*map_irq)(PciDevice *pci, unsigned pin);
    void (*set_irq)(void *opaque, unsigned line, bool level);
    void *irq_opaque;
    int irq_count[8];
    /* Message signalled interrupts to the APICs' range (FEExxxxx); others are stores to RAM. */
    void (*msi)(void *opaque, uint64_t addr, uint32_t data);
    void *msi_opaque;
};

/* hw/pci/pci.c: the abstract parent of every PCI device type. */
DECLARE_DEVICE_TYPE(pci_device);

#define PCI_DEVICE_INFO(name_, Struct, desc_, info_)                                               \
    .name = (name_), .desc = (desc_), .bus = BUS_PCI, .parent = &type_pci_device,                  \
    .bus_info = (info_),                                                                           \
    .size = sizeof(Struct) + 0 * sizeof(char[offsetof(Struct, pci.dev) == 0 ? 1 : -1])

void pci_bus_init(PciBus *bus, const char *name, Device *parent, struct Machine *m,
                  Region *memory_root, Region *io_root);
PciBus *pci_bus(const PciDevice *pci);
/* Declares BAR n; region's size must be a power of two of at least 16 (memory) or 4 (I/O). Call
 * in realize. */
void pci_register_bar(PciDevice *pci, unsigned n, uint8_t flags, Region *region);
/* Adds a capability of len bytes (id and next included); returns its offset, 0 if full. */
uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t len);
void pci_default_config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size);
uint32_t pci_default_config_read(PciDevice *pci, unsigned reg, unsigned size);
void pci_set_intx(PciDevice *pci, bool level);

/* MSI (PCI 6.8.1) with nr vectors (1, 2, 4 .. 32), 64-bit addresses, per-vector masking or not.
 * Call in realize; false if configuration space has no room. */
bool pci_msi_init(PciDevice *pci, unsigned nr, bool per_vector_mask) MUST_USE;
bool pci_msi_enabled(const PciDevice *pci);
/* Sends vector n, or marks it pending while it is masked. Nothing while MSI is disabled. */
void pci_msi_notify(PciDevice *pci, unsigned n);

/* Bus mastering: nothing moves while command bit 2 is clear (false, read zeroes). */
bool pci_dma_read(PciDevice *pci, uint64_t addr, void *buf, size_t len);
bool pci_dma_write(PciDevice *pci, uint64_t addr, const void *buf, size_t len);

/* Configuration cycles, for host bridges: addr = bus<<16 | devfn<<8 | reg. */
uint32_t pci_config_load(PciBus *root, uint32_t addr, unsigned size);
void pci_config_store(PciBus *root, uint32_t addr, uint32_t val, unsigned size);

/* The machine's first PCI bus, NULL if it has none. */
PciBus *pci_root_bus(struct Machine *m);
/* "00:01.1"-like place of a device, for messages. Returns buf. */
char *pci_place(const PciDevice *pci, char buf[16]);
/* info pci: one line a call. */
void pci_print_info(struct Machine *m, void (*print)(void *opaque, const char *line),
                    void *opaque);

static inline uint16_t pci_get16(const uint8_t *p) { return p[0] | p[1] << 8; }
static inline uint32_t pci_get32(const uint8_t *p)
{
    return pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16;
}
static inline void pci_put16(uint8_t *p, uint16_t v) { p[0] = v; p[1] = v >> 8; }
static inline void pci_put32(uint8_t *p, uint32_t v) { pci_put16(p, v); pci_put16(p + 2, v >> 16); }

#endif
