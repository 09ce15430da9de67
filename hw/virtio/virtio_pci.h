/* SPDX-License-Identifier: GPL-2.0-or-later
 * Virtio devices on PCI (VIRTIO 4.1): the interface of before 1.0 in an I/O BAR, the one of 1.0 in
 * capabilities and a memory BAR, or both (a transitional device), INTx or MSI-X.
 *
 * A device's struct starts with a VirtioPci named proxy, then comes what it is. One line makes its
 * three types, NAME (as its properties say), NAME-transitional and NAME-non-transitional:
 *
 *     VIRTIO_PCI_TYPES(virtio_echo, "virtio-echo-pci", EchoPci, "Echo", 0x1010, 0x00ff00, NULL,
 *                      NULL, .props = echo_props, .state = echo_state, .state_version = 1,
 *                      .realize = echo_realize, .unrealize = echo_unrealize);
 *
 * The arguments after the description: the device ID of the transitional device, the PCI class, the
 * default option ROM, other names of the first type (both may be NULL).
 */
#ifndef HW_VIRTIO_VIRTIO_PCI_H
#define HW_VIRTIO_VIRTIO_PCI_H

#include "hw/core/irqchip.h"
#include "hw/pci/msix.h"
#include "hw/virtio/virtio.h"
#include "util/main_loop.h"

typedef enum VirtioPciKind {
    VIRTIO_PCI_ANY,
    VIRTIO_PCI_TRANSITIONAL,
    VIRTIO_PCI_NON_TRANSITIONAL
} VirtioPciKind;

typedef struct VirtioPciInfo {
    PciInfo pci; /* first */
    VirtioPciKind kind;
} VirtioPciInfo;

typedef struct VirtioPci VirtioPci;

typedef struct VirtioDoorbell {
    VirtioPci *proxy;
    unsigned queue;
    int fd;              /* an eventfd; -1: the queue has none */
    bool legacy, modern; /* which regions have it */
    FdWatch *watch;
    /* of somebody else's, who serves the queue: VirtioTransport.set_eventfds; -1: nobody does */
    int kick, call;
    FdWatch *call_watch; /* the main loop listens to call */
    IrqFd irqfd;         /* else it is the vector's eventfd */
    bool is_irqfd;
    uint16_t vector;
} VirtioDoorbell;

struct VirtioPci {
    PciDevice pci;
    /* properties */
    uint32_t vectors;        /* UINT32_MAX: as many as queues, and one */
    uint32_t disable_legacy; /* SWITCH_ values */
    bool disable_modern, event_idx, indirect_desc, packed, queue_reset, access_platform;
    uint32_t ioeventfd; /* SWITCH_ values */
    /* state */
    PciMsix msix;
    uint8_t isr;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select, config_vector;
    /* wiring */
    VirtioDevice *vdev;
    bool has_legacy, has_modern;
    uint8_t window; /* the capability that reaches BARs through configuration space */
    Region legacy_bar, msix_bar, modern_bar, common, isr_region, config, notify;
    VirtioDoorbell doorbell[VIRTIO_MAX_QUEUES];
};

/* The last step of a device's realize: its queues and features exist. */
bool virtio_pci_realize(VirtioPci *p, VirtioDevice *v, Error **errp) MUST_USE;

/* hw/virtio/virtio_pci.c: the abstract parent of all of them. */
DECLARE_DEVICE_TYPE(virtio_pci);

uint32_t virtio_pci_config_read(PciDevice *pci, unsigned reg, unsigned size);
void virtio_pci_config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size);

#define VIRTIO_PCI_INFO(legacy_id, class_, rom_, kind_)                                            \
    {                                                                                              \
        .pci = { .vendor = 0x1af4,                                                                 \
                 .device = (legacy_id),                                                            \
                 .class_code = (class_),                                                           \
                 .intx_pin = 1,                                                                    \
                 .romfile = (rom_),                                                                \
                 .rom_optional = true,                                                             \
                 .config_read = virtio_pci_config_read,                                            \
                 .config_write = virtio_pci_config_write },                                        \
        .kind = (kind_)                                                                            \
    }
#define VIRTIO_PCI_DEVICE_INFO(name_, Struct, desc_, info_)                                        \
    .name = (name_), .desc = (desc_), .bus = BUS_PCI, .parent = &type_virtio_pci,                  \
    .bus_info = (info_),                                                                           \
    .size = sizeof(Struct) + 0 * sizeof(char[offsetof(Struct, proxy.pci.dev) == 0 ? 1 : -1])

#define VIRTIO_PCI_TYPES(sym, name_, Struct, desc_, legacy_id_, class_, rom_, aliases_, ...)       \
    static const VirtioPciInfo sym##_info[] = {                                                    \
        VIRTIO_PCI_INFO(legacy_id_, class_, rom_, VIRTIO_PCI_ANY),                                 \
        VIRTIO_PCI_INFO(legacy_id_, class_, rom_, VIRTIO_PCI_TRANSITIONAL),                        \
        VIRTIO_PCI_INFO(legacy_id_, class_, rom_, VIRTIO_PCI_NON_TRANSITIONAL),                    \
    };                                                                                             \
    DEVICE_TYPE(sym##_pci) = { VIRTIO_PCI_DEVICE_INFO(name_, Struct, desc_, &sym##_info[0]),       \
                               .aliases = (aliases_), __VA_ARGS__ };                               \
    DEVICE_TYPE(sym##_pci_transitional) = {                                                        \
        VIRTIO_PCI_DEVICE_INFO(name_ "-transitional", Struct, desc_ ", for drivers old and new",   \
                               &sym##_info[1]),                                                    \
        __VA_ARGS__                                                                                \
    };                                                                                             \
    DEVICE_TYPE(sym##_pci_non_transitional) = {                                                    \
        VIRTIO_PCI_DEVICE_INFO(name_ "-non-transitional", Struct,                                  \
                               desc_ ", for drivers of virtio 1.0 and later", &sym##_info[2]),     \
        __VA_ARGS__                                                                                \
    }

#endif
