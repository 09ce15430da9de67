/* SPDX-License-Identifier: GPL-2.0-or-later
 * What both interfaces of a virtio PCI device share (VIRTIO 4.1): identity, interrupts, doorbells
 * that are eventfds, bus mastering. Registers: virtio_pci_modern.c and virtio_pci_legacy.c.
 *
 *   BAR 0  ports   the legacy interface      BAR 1  memory  MSI-X table and pending bits
 *   BAR 4  memory  the modern interface, 64-bit
 *
 * Left out: shared memory regions, notification data, SR-IOV, and ACCESS_PLATFORM, which is for an
 * IOMMU.
 */
#include "hw/virtio/virtio_pci.h"

#include <errno.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "accel/accel.h"
#include "hw/core/machine.h"
#include "hw/virtio/virtio_pci_impl.h"

enum { SWITCH_OFF, SWITCH_ON, SWITCH_AUTO };
static const char *const switch_names[] = { "off", "on", "auto", NULL };

enum { MODERN_ID = 0x1040, SUBSYSTEM_ID = 0x1100 };

/* ---- interrupts ---- */

static void update_intx(VirtioPci *p)
{
    pci_set_intx(&p->pci, p->isr && !pci_msix_enabled(&p->msix));
}

uint8_t virtio_pci_read_isr(VirtioPci *p)
{
    uint8_t isr = p->isr;
    p->isr = 0;
    update_intx(p);
    return isr;
}

uint16_t virtio_pci_vector(const VirtioPci *p, uint16_t want)
{
    return want < p->msix.nr ? want : VIRTIO_NO_VECTOR;
}

static void interrupt(VirtioPci *p, uint8_t isr, uint16_t vector)
{
    if (pci_msix_enabled(&p->msix)) {
        pci_msix_notify(&p->msix, vector);
        return;
    }
    p->isr |= isr;
    update_intx(p);
}

static void queue_interrupt(void *opaque, uint16_t vector)
{
    interrupt(opaque, VIRTIO_PCI_ISR_CONFIG >> 1, vector);
}

static void config_interrupt(void *opaque)
{
    VirtioPci *p = opaque;
    interrupt(p, VIRTIO_PCI_ISR_CONFIG, p->config_vector);
}

/* ---- doorbells ---- */

/* An eventfd lets a vCPU go on while the main loop serves the queue. That pays where the write need
 * not even leave the guest; else it costs a change of threads. */
static bool wants_eventfds(const VirtioPci *p)
{
    return p->ioeventfd == SWITCH_ON ||
           (p->ioeventfd == SWITCH_AUTO && vcpus_ring_eventfds(p->pci.dev.machine));
}

static void doorbell_rang(void *opaque, unsigned events)
{
    VirtioDoorbell *d = opaque;
    uint64_t rings;
    (void)events;
    if (read(d->fd, &rings, sizeof(rings)) == sizeof(rings)) {
        virtio_kick(d->proxy->vdev, d->queue);
    }
}

static void unmap_doorbell(VirtioDoorbell *d)
{
    VirtioPci *p = d->proxy;
    if (d->fd >= 0 && d->modern) {
        region_del_ioeventfd(&p->notify, d->queue * VIRTIO_PCI_NOTIFY_STEP, 2, false, 0, d->fd);
    }
    if (d->fd >= 0 && d->legacy) {
        region_del_ioeventfd(&p->legacy_bar, VIRTIO_PCI_LEGACY_NOTIFY, 2, true, d->queue, d->fd);
    }
    d->modern = d->legacy = false;
}

/* After the change of regions is through: who listens to the eventfd has to let go of it first. */
static void close_doorbell(VirtioDoorbell *d)
{
    if (d->fd < 0 || d->fd == d->kick) { /* none, or not ours */
        d->fd = -1;
        return;
    }
    fd_watch_free(d->watch);
    uint64_t rings;
    bool rang = read(d->fd, &rings, sizeof(rings)) == sizeof(rings);
    close(d->fd);
    d->fd = -1;
    if (rang) {
        virtio_kick(d->proxy->vdev, d->queue);
    }
}

static void add_doorbell(VirtioDoorbell *d)
{
    VirtioPci *p = d->proxy;
    d->fd = d->kick >= 0 ? d->kick : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (d->fd < 0) {
        return; /* writes come to the device instead */
    }
    if (d->fd != d->kick) {
        d->watch = fd_watch_new(d->fd, FD_READ, doorbell_rang, d, "virtio");
    }
    d->modern = p->has_modern;
    d->legacy = p->has_legacy;
    if (d->modern) {
        region_add_ioeventfd(&p->notify, d->queue * VIRTIO_PCI_NOTIFY_STEP, 2, false, 0, d->fd);
    }
    if (d->legacy) {
        region_add_ioeventfd(&p->legacy_bar, VIRTIO_PCI_LEGACY_NOTIFY, 2, true, d->queue, d->fd);
    }
}

static void remove_doorbells(VirtioPci *p)
{
    memory_begin();
    for (unsigned n = 0; n < VIRTIO_MAX_QUEUES; n++) {
        unmap_doorbell(&p->doorbell[n]);
    }
    memory_commit();
    for (unsigned n = 0; n < VIRTIO_MAX_QUEUES; n++) {
        close_doorbell(&p->doorbell[n]);
    }
}

static void update_doorbells(VirtioPci *p)
{
    bool live = (p->vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) && !p->vdev->broken;
    if (!live || !wants_eventfds(p)) {
        remove_doorbells(p);
        return;
    }
    memory_begin();
    for (unsigned n = 0; n < p->vdev->nr_queues; n++) {
        if (p->vdev->queue[n].enabled && p->doorbell[n].fd < 0) {
            add_doorbell(&p->doorbell[n]);
        }
    }
    memory_commit();
}

/* ---- the device's side ---- */

static void update_dma(VirtioPci *p)
{
    virtio_set_dma(p->vdev, pci_get16(p->pci.config + PCI_COMMAND) & PCI_COMMAND_MASTER);
}

static void status_changed(void *opaque)
{
    VirtioPci *p = opaque;
    uint8_t *command = p->pci.config + PCI_COMMAND;
    if (p->vdev->status == 0) {
        p->isr = 0;
        p->config_vector = VIRTIO_NO_VECTOR;
        update_intx(p);
    }
    /* Linux before 2.6.34 leaves bus mastering off and uses its queues all the same. */
    if (p->vdev->legacy && (p->vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
        !(*command & PCI_COMMAND_MASTER)) {
        *command |= PCI_COMMAND_MASTER;
        update_dma(p);
    }
    update_doorbells(p);
}

static void set_eventfds(void *opaque, unsigned queue, int kick, int call)
{
    VirtioPci *p = opaque;
    VirtioDoorbell *d = &p->doorbell[queue];
    unmap_doorbell(d);
    close_doorbell(d);
    d->kick = kick;
    if (kick >= 0 && p->ioeventfd != SWITCH_OFF) {
        memory_begin();
        add_doorbell(d);
        memory_commit();
    }
    virtio_pci_set_call(d, call);
    if (kick < 0) {
        update_doorbells(p);
    }
}

static const VirtioTransport transport = { queue_interrupt, config_interrupt, status_changed,
                                           set_eventfds };

/* ---- configuration space ---- */

static bool in_window(const VirtioPci *p, unsigned reg, unsigned size)
{
    unsigned data = p->window + sizeof(struct virtio_pci_cap);
    return p->window && reg >= data && reg + size <= data + 4;
}

uint32_t virtio_pci_config_read(PciDevice *pci, unsigned reg, unsigned size)
{
    VirtioPci *p = container_of(pci, VirtioPci, pci);
    if (in_window(p, reg, size)) {
        return virtio_pci_window_read(p, reg - p->window - sizeof(struct virtio_pci_cap), size);
    }
    return pci_default_config_read(pci, reg, size);
}

void virtio_pci_config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size)
{
    VirtioPci *p = container_of(pci, VirtioPci, pci);
    pci_default_config_write(pci, reg, val, size);
    if (reg < PCI_COMMAND + 2 && reg + size > PCI_COMMAND) {
        update_dma(p);
    }
    if (in_window(p, reg, size)) {
        virtio_pci_window_write(p, reg - p->window - sizeof(struct virtio_pci_cap), val, size);
    }
    update_intx(p); /* MSI-X may have come or gone */
    virtio_pci_update_calls(p);
}

/* ---- life ---- */

static bool choose_interfaces(VirtioPci *p, Error **errp)
{
    const VirtioPciInfo *info = p->pci.dev.type->bus_info;
    switch (info->kind) {
    case VIRTIO_PCI_TRANSITIONAL: p->has_legacy = p->has_modern = true; break;
    case VIRTIO_PCI_NON_TRANSITIONAL: p->has_modern = true; break;
    default:
        p->has_legacy = p->disable_legacy != SWITCH_ON;
        p->has_modern = !p->disable_modern;
        break;
    }
    if (!p->has_legacy && !p->has_modern) {
        return error_set(errp, "disable-legacy=on and disable-modern=on leave no interface");
    }
    if (p->access_platform) {
        return error_set(errp, "iommu_platform=on is not built yet: there is no IOMMU");
    }
    if (p->packed && !p->has_modern) {
        return error_set(errp, "packed=on needs the interface of virtio 1.0: leave "
                               "disable-modern=on away");
    }
    return true;
}

static void offer_features(VirtioPci *p, VirtioDevice *v)
{
    const struct {
        bool on;
        unsigned bit;
    } row[] = {
        { p->event_idx, VIRTIO_RING_F_EVENT_IDX },
        { p->indirect_desc, VIRTIO_RING_F_INDIRECT_DESC },
        { p->packed, VIRTIO_F_RING_PACKED },
        { p->has_modern, VIRTIO_F_VERSION_1 },
        { p->has_modern && p->queue_reset, VIRTIO_F_RING_RESET },
    };
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        v->host_features |= (uint64_t)row[i].on << row[i].bit;
    }
}

/* VIRTIO 4.1.2: a transitional device tells its kind by the subsystem, a modern one by its ID. */
static void set_identity(VirtioPci *p, const VirtioDevice *v)
{
    uint8_t *c = p->pci.config;
    if (p->has_legacy) {
        pci_put16(c + PCI_SUBSYSTEM_ID, v->ops->id);
    } else {
        pci_put16(c + PCI_DEVICE_ID, MODERN_ID + v->ops->id);
        pci_put16(c + PCI_SUBSYSTEM_ID, SUBSYSTEM_ID);
        c[PCI_REVISION] = 1;
    }
}

static bool init_msix(VirtioPci *p, const VirtioDevice *v, Error **errp)
{
    unsigned nr = p->vectors == UINT32_MAX ? v->nr_queues + 1 : p->vectors;
    if (nr > PCI_MSIX_MAX) {
        return error_set(errp, "vectors=%u: at most %u", nr, PCI_MSIX_MAX);
    }
    if (!nr) {
        return true;
    }
    region_init_container(&p->msix_bar, "virtio-msix", PAGE_SIZE);
    pci_register_bar(&p->pci, VIRTIO_PCI_MSIX_BAR, 0, &p->msix_bar);
    return pci_msix_init(&p->pci, &p->msix, nr, &p->msix_bar, VIRTIO_PCI_MSIX_BAR, 0,
                         PAGE_SIZE / 2) ||
           error_set(errp, "no room for MSI-X");
}

bool virtio_pci_realize(VirtioPci *p, VirtioDevice *v, Error **errp)
{
    if (!choose_interfaces(p, errp) || !init_msix(p, v, errp)) {
        return false;
    }
    p->vdev = v;
    offer_features(p, v);
    set_identity(p, v);
    if (p->has_legacy) {
        virtio_pci_legacy_init(p);
    }
    if (p->has_modern && !virtio_pci_modern_init(p)) {
        p->vdev = NULL;
        return error_set(errp, "no room for capabilities");
    }
    for (unsigned n = 0; n < VIRTIO_MAX_QUEUES; n++) {
        p->doorbell[n] = (VirtioDoorbell){ .proxy = p, .queue = n, .fd = -1, .kick = -1,
                                             .call = -1 };
    }
    virtio_attach(v, &transport, p);
    return true;
}

static void virtio_pci_unrealize(Device *dev)
{
    VirtioPci *p = container_of(dev, VirtioPci, pci.dev);
    if (p->vdev) {
        remove_doorbells(p);
        virtio_fini(p->vdev);
    }
    pci_msix_fini(&p->msix);
}

static void virtio_pci_reset(Device *dev)
{
    VirtioPci *p = container_of(dev, VirtioPci, pci.dev);
    virtio_machine_reset(p->vdev);
}

static void virtio_pci_refresh(Device *dev)
{
    VirtioPci *p = container_of(dev, VirtioPci, pci.dev);
    pci_msix_refresh(&p->msix);
    virtio_refresh(p->vdev);
    update_dma(p);
    update_intx(p);
    update_doorbells(p);
}

static const Property virtio_pci_props[] = {
    PROP_ENUM("disable-legacy", VirtioPci, disable_legacy, .def = SWITCH_AUTO,
              .names = switch_names, .help = "on: only drivers of virtio 1.0 and later"),
    PROP_BOOL("disable-modern", VirtioPci, disable_modern, .help = "only the older interface"),
    PROP_U32("vectors", VirtioPci, vectors, .def = UINT32_MAX,
             .help = "MSI-X vectors; 0: INTx alone; one a queue and one more if not given"),
    PROP_ENUM("ioeventfd", VirtioPci, ioeventfd, .def = SWITCH_AUTO, .names = switch_names,
              .help = "the main loop serves queues while the vCPU goes on; auto: under KVM"),
    PROP_BOOL("event_idx", VirtioPci, event_idx, .def = true,
              .help = "both sides say when to be told"),
    PROP_BOOL("indirect_desc", VirtioPci, indirect_desc, .def = true,
              .help = "descriptors in tables of their own"),
    PROP_BOOL("packed", VirtioPci, packed, .help = "packed rings"),
    PROP_BOOL("queue_reset", VirtioPci, queue_reset, .def = true, .help = "reset of single queues"),
    PROP_BOOL("iommu_platform", VirtioPci, access_platform, .help = "not built yet"),
    PROP_END,
};

static const StateField virtio_pci_state[] = {
    STATE_STRUCT(VirtioPci, msix, PciMsix, pci_msix_state),
    STATE_U8(VirtioPci, isr, .mask = 3),
    STATE_U32(VirtioPci, device_feature_select),
    STATE_U32(VirtioPci, driver_feature_select),
    STATE_U16(VirtioPci, queue_select),
    STATE_U16(VirtioPci, config_vector, .reset = VIRTIO_NO_VECTOR),
    STATE_END,
};

DEVICE_TYPE(virtio_pci) = {
    .name = "virtio-pci",
    .desc = "What all virtio PCI devices have",
    .bus = BUS_PCI,
    .parent = &type_pci_device,
    .size = sizeof(VirtioPci),
    .abstract = true,
    .props = virtio_pci_props,
    .state = virtio_pci_state,
    .state_version = 1,
    .unrealize = virtio_pci_unrealize,
    .reset = virtio_pci_reset,
    .refresh = virtio_pci_refresh,
};
