/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interface of virtio 1.0 on PCI (VIRTIO 4.1.3 to 4.1.5): capabilities that point into BAR 4.
 *
 *   0000 common configuration   1000 interrupt status   2000 the device's   3000 doorbells
 *
 * A fifth capability is a window to these registers for firmware that cannot reach the BAR.
 */
#include <linux/virtio_pci.h>
#include <string.h>

#include "hw/virtio/virtio_pci_impl.h"

enum { COMMON_AT = 0, ISR_AT = 0x1000, CONFIG_AT = 0x2000, NOTIFY_AT = 0x3000, BAR_SIZE = 0x4000 };
enum {
    COMMON_SIZE = 64,
    ISR_SIZE = 4,
    CONFIG_SIZE = 0x1000,
    NOTIFY_SIZE = VIRTIO_MAX_QUEUES * VIRTIO_PCI_NOTIFY_STEP
};

/* The selected queue, NULL if there is none of that number. */
static VirtQueue *selected(const VirtioPci *p)
{
    return p->queue_select < p->vdev->nr_queues ? &p->vdev->queue[p->queue_select] : NULL;
}

/* ---- common configuration ---- */

static uint64_t queue_read(const VirtioPci *p, uint64_t offset)
{
    const VirtQueue *vq = selected(p);
    if (!vq) {
        return offset == VIRTIO_PCI_COMMON_Q_MSIX ? VIRTIO_NO_VECTOR : 0;
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE: return vq->num;
    case VIRTIO_PCI_COMMON_Q_MSIX: return vq->vector;
    case VIRTIO_PCI_COMMON_Q_ENABLE: return vq->enabled;
    case VIRTIO_PCI_COMMON_Q_NOFF: return vq->index;
    case VIRTIO_PCI_COMMON_Q_DESCLO: return (uint32_t)vq->desc;
    case VIRTIO_PCI_COMMON_Q_DESCHI: return vq->desc >> 32;
    case VIRTIO_PCI_COMMON_Q_AVAILLO: return (uint32_t)vq->driver;
    case VIRTIO_PCI_COMMON_Q_AVAILHI: return vq->driver >> 32;
    case VIRTIO_PCI_COMMON_Q_USEDLO: return (uint32_t)vq->device;
    case VIRTIO_PCI_COMMON_Q_USEDHI: return vq->device >> 32;
    case VIRTIO_PCI_COMMON_Q_RESET: return vq->resetting;
    default: return 0; /* Q_NDATA is not offered */
    }
}

static uint64_t common_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *p = opaque;
    const VirtioDevice *v = p->vdev;
    (void)size;
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT: return p->device_feature_select;
    case VIRTIO_PCI_COMMON_DF:
        return p->device_feature_select < 2
                   ? (uint32_t)(v->host_features >> 32 * p->device_feature_select)
                   : 0;
    case VIRTIO_PCI_COMMON_GFSELECT: return p->driver_feature_select;
    case VIRTIO_PCI_COMMON_GF:
        return p->driver_feature_select < 2
                   ? (uint32_t)(v->driver_features >> 32 * p->driver_feature_select)
                   : 0;
    case VIRTIO_PCI_COMMON_MSIX: return p->config_vector;
    case VIRTIO_PCI_COMMON_NUMQ: return v->nr_queues;
    case VIRTIO_PCI_COMMON_STATUS: return v->status;
    case VIRTIO_PCI_COMMON_CFGGENERATION: return v->generation;
    case VIRTIO_PCI_COMMON_Q_SELECT: return p->queue_select;
    default: return queue_read(p, offset);
    }
}

/* Half of an address; which: 0 low, 1 high. */
static void set_half(uint64_t *address, unsigned which, uint32_t val)
{
    *address =
        which ? (uint32_t)*address | (uint64_t)val << 32 : (*address & ~(uint64_t)UINT32_MAX) | val;
}

/* Where a queue lies changes only while it is off (VIRTIO 4.1.4.3.2). */
static void queue_write(VirtioPci *p, uint64_t offset, uint32_t val)
{
    VirtQueue *vq = selected(p);
    if (!vq) {
        return;
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_MSIX:
        vq->vector = virtio_pci_vector(p, val);
        virtio_pci_update_calls(p);
        return;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        if (val == 1) {
            virtio_enable_queue(p->vdev, vq->index);
            p->vdev->transport->status_changed(p);
        }
        return;
    case VIRTIO_PCI_COMMON_Q_RESET:
        if (val == 1 && virtio_has(p->vdev, VIRTIO_F_RING_RESET)) {
            virtio_reset_queue(p->vdev, vq->index);
        }
        return;
    default: break;
    }
    if (vq->enabled) {
        log_guest("%s: queue %u is enabled: write to 0x%x", p->pci.dev.type->name, vq->index,
                  (unsigned)offset);
        return;
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE: vq->num = val <= vq->max_num ? val : vq->num; break;
    case VIRTIO_PCI_COMMON_Q_DESCLO: set_half(&vq->desc, 0, val); break;
    case VIRTIO_PCI_COMMON_Q_DESCHI: set_half(&vq->desc, 1, val); break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO: set_half(&vq->driver, 0, val); break;
    case VIRTIO_PCI_COMMON_Q_AVAILHI: set_half(&vq->driver, 1, val); break;
    case VIRTIO_PCI_COMMON_Q_USEDLO: set_half(&vq->device, 0, val); break;
    case VIRTIO_PCI_COMMON_Q_USEDHI: set_half(&vq->device, 1, val); break;
    default: break;
    }
}

static void common_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->vdev;
    (void)size;
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT: p->device_feature_select = val; break;
    case VIRTIO_PCI_COMMON_GFSELECT: p->driver_feature_select = val; break;
    case VIRTIO_PCI_COMMON_GF:
        if (p->driver_feature_select < 2 && !(v->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
            set_half(&v->driver_features, p->driver_feature_select, val);
        }
        break;
    case VIRTIO_PCI_COMMON_MSIX: p->config_vector = virtio_pci_vector(p, val); break;
    case VIRTIO_PCI_COMMON_STATUS: virtio_set_status(v, val); break;
    case VIRTIO_PCI_COMMON_Q_SELECT: p->queue_select = val; break;
    default: queue_write(p, offset, val); break;
    }
}

/* Fields of one, two and four bytes are accessed as what they are (VIRTIO 4.1.3.1). */
static const RegionOps common_ops = { common_read, common_write, .sizes = 1 | 2 | 4 };

/* ---- interrupt status, the device's own, doorbells ---- */

static uint64_t isr_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)size;
    return offset ? 0 : virtio_pci_read_isr(opaque);
}

static void ignore_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)val;
    (void)size;
}

static uint64_t config_read(void *opaque, uint64_t offset, unsigned size)
{
    return virtio_config_read(((VirtioPci *)opaque)->vdev, offset, size);
}

static void config_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    virtio_config_write(((VirtioPci *)opaque)->vdev, offset, val, size);
}

static uint64_t notify_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return 0;
}

static void notify_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)val;
    (void)size;
    virtio_kick(((VirtioPci *)opaque)->vdev, offset / VIRTIO_PCI_NOTIFY_STEP);
}

static const RegionOps isr_ops = { isr_read, ignore_write, .sizes = 1 };
static const RegionOps config_ops = { config_read, config_write, .sizes = 1 | 2 | 4 };
static const RegionOps notify_ops = { notify_read, notify_write, .sizes = 1 | 2 | 4 };

/* ---- the window (VIRTIO 4.1.4.9) ---- */

typedef struct Place {
    const Region *region;
    uint64_t offset;
    unsigned size;
} Place;

/* What bar, offset and length of the capability name; false if that is not an access. */
static bool window_place(const VirtioPci *p, Place *to)
{
    const uint8_t *cap = p->pci.config + p->window;
    uint64_t offset = pci_get32(cap + VIRTIO_PCI_CAP_OFFSET);
    uint32_t size = pci_get32(cap + VIRTIO_PCI_CAP_LENGTH);
    const struct {
        const Region *region;
        uint32_t at;
    } part[] = { { &p->common, COMMON_AT },
                 { &p->isr_region, ISR_AT },
                 { &p->config, CONFIG_AT },
                 { &p->notify, NOTIFY_AT } };
    if (cap[VIRTIO_PCI_CAP_BAR] != VIRTIO_PCI_MODERN_BAR || (size != 1 && size != 2 && size != 4) ||
        offset % size) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
        if (offset >= part[i].at && offset + size <= part[i].at + part[i].region->size) {
            *to = (Place){ part[i].region, offset - part[i].at, size };
            return true;
        }
    }
    return false;
}

uint32_t virtio_pci_window_read(VirtioPci *p, unsigned offset, unsigned size)
{
    Place at;
    if (window_place(p, &at) && offset == 0) {
        uint32_t val = at.region->ops->read(at.region->opaque, at.offset, at.size);
        pci_put32(p->pci.config + p->window + sizeof(struct virtio_pci_cap), val);
    }
    return pci_default_config_read(&p->pci, p->window + sizeof(struct virtio_pci_cap) + offset,
                                   size);
}

void virtio_pci_window_write(VirtioPci *p, unsigned offset, uint32_t val, unsigned size)
{
    Place at;
    (void)size;
    if (window_place(p, &at) && offset == 0) {
        at.region->ops->write(at.region->opaque, at.offset,
                              at.size < 4 ? val & ((1u << 8 * at.size) - 1) : val, at.size);
    }
}

/* ---- capabilities ---- */

static uint8_t add_cap(VirtioPci *p, uint8_t type, uint32_t at, uint32_t len, uint8_t extra)
{
    uint8_t cap_len = sizeof(struct virtio_pci_cap) + extra;
    uint8_t cap = pci_add_capability(&p->pci, PCI_CAP_VENDOR, cap_len);
    if (cap) {
        uint8_t *c = p->pci.config + cap;
        c[VIRTIO_PCI_CAP_LEN] = cap_len;
        c[VIRTIO_PCI_CAP_CFG_TYPE] = type;
        c[VIRTIO_PCI_CAP_BAR] = VIRTIO_PCI_MODERN_BAR;
        pci_put32(c + VIRTIO_PCI_CAP_OFFSET, at);
        pci_put32(c + VIRTIO_PCI_CAP_LENGTH, len);
    }
    return cap;
}

static bool add_caps(VirtioPci *p)
{
    uint8_t notify = 0;
    bool ok = add_cap(p, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_AT, COMMON_SIZE, 0) &&
              add_cap(p, VIRTIO_PCI_CAP_ISR_CFG, ISR_AT, ISR_SIZE, 0) &&
              add_cap(p, VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG_AT, CONFIG_SIZE, 0) &&
              (notify = add_cap(p, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_AT, NOTIFY_SIZE, 4)) &&
              (p->window = add_cap(p, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4));
    if (!ok) {
        return false;
    }
    pci_put32(p->pci.config + notify + VIRTIO_PCI_NOTIFY_CAP_MULT, VIRTIO_PCI_NOTIFY_STEP);
    uint8_t *w = p->pci.wmask + p->window;
    p->pci.config[p->window + VIRTIO_PCI_CAP_BAR] = 0;
    w[VIRTIO_PCI_CAP_BAR] = 0xff;
    memset(w + VIRTIO_PCI_CAP_OFFSET, 0xff, 12); /* offset, length, data */
    return true;
}

static void add_part(VirtioPci *p, Region *r, const RegionOps *ops, const char *name, uint64_t at,
                     uint64_t size)
{
    region_init_io(r, &p->pci.dev, ops, p, size);
    r->name = name;
    region_add(&p->modern_bar, at, r, 0);
}

bool virtio_pci_modern_init(VirtioPci *p)
{
    region_init_container(&p->modern_bar, "virtio-modern", BAR_SIZE);
    add_part(p, &p->common, &common_ops, "virtio-common", COMMON_AT, COMMON_SIZE);
    add_part(p, &p->isr_region, &isr_ops, "virtio-isr", ISR_AT, ISR_SIZE);
    add_part(p, &p->config, &config_ops, "virtio-config", CONFIG_AT, CONFIG_SIZE);
    add_part(p, &p->notify, &notify_ops, "virtio-notify", NOTIFY_AT, NOTIFY_SIZE);
    pci_register_bar(&p->pci, VIRTIO_PCI_MODERN_BAR, PCI_BAR_MEM64 | PCI_BAR_PREFETCH,
                     &p->modern_bar);
    return add_caps(p);
}
