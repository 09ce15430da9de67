/* SPDX-License-Identifier: GPL-2.0-or-later
 * The interface of before virtio 1.0 on PCI (VIRTIO 4.1.4.10): ports in BAR 0.
 *
 *   0 device features   4 driver features   8 queue's page   12 queue size   14 queue select
 *   16 doorbell   18 status   19 interrupt status   and with MSI-X on 20 configuration vector,
 *   22 queue vector; then the device's own configuration
 *
 * A queue is one piece of memory: descriptors, available ring, and on the next page the used ring.
 */
#include <linux/virtio_pci.h>

#include "hw/virtio/virtio_pci_impl.h"

enum { PAGE_SHIFT = VIRTIO_PCI_QUEUE_ADDR_SHIFT, RING_ALIGN = 4096, MIN_PORTS = 32 };
enum { ANY_LAYOUT = 1 << VIRTIO_F_ANY_LAYOUT };

static VirtQueue *selected(const VirtioPci *p)
{
    return p->queue_select < p->vdev->nr_queues ? &p->vdev->queue[p->queue_select] : NULL;
}

static unsigned config_offset(const VirtioPci *p)
{
    return pci_msix_enabled(&p->msix) ? 24 : 20;
}

static void set_page(VirtioPci *p, VirtQueue *vq, uint32_t page)
{
    if (!page) {
        virtio_reset_queue(p->vdev, vq->index);
        return;
    }
    if (vq->enabled) {
        virtio_reset_queue(p->vdev, vq->index);
    }
    uint16_t num = vq->max_num;
    vq->num = num;
    vq->desc = (uint64_t)page << PAGE_SHIFT;
    vq->driver = vq->desc + 16ull * num;
    vq->device = ROUND_UP(vq->driver + 2ull * (3 + num), RING_ALIGN); /* VIRTIO 2.7.2 */
    virtio_enable_queue(p->vdev, vq->index);
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->vdev;
    const VirtQueue *vq = selected(p);
    if (offset >= config_offset(p)) {
        return virtio_config_read(v, offset - config_offset(p), size);
    }
    switch (offset) {
    case VIRTIO_PCI_HOST_FEATURES: return (uint32_t)v->host_features | ANY_LAYOUT;
    case VIRTIO_PCI_GUEST_FEATURES: return (uint32_t)v->driver_features;
    case VIRTIO_PCI_QUEUE_PFN: return vq && vq->enabled ? vq->desc >> PAGE_SHIFT : 0;
    case VIRTIO_PCI_QUEUE_NUM: return vq ? vq->max_num : 0;
    case VIRTIO_PCI_QUEUE_SEL: return p->queue_select;
    case VIRTIO_PCI_STATUS: return v->status;
    case VIRTIO_PCI_ISR: return virtio_pci_read_isr(p);
    case VIRTIO_MSI_CONFIG_VECTOR: return p->config_vector;
    case VIRTIO_MSI_QUEUE_VECTOR: return vq ? vq->vector : VIRTIO_NO_VECTOR;
    default: return region_bad_read(&p->legacy_bar, offset, size);
    }
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->vdev;
    VirtQueue *vq = selected(p);
    if (offset >= config_offset(p)) {
        virtio_config_write(v, offset - config_offset(p), val, size);
        return;
    }
    switch (offset) {
    case VIRTIO_PCI_GUEST_FEATURES: virtio_set_legacy_features(v, val); break;
    case VIRTIO_PCI_QUEUE_PFN:
        if (vq) {
            set_page(p, vq, val);
        }
        break;
    case VIRTIO_PCI_QUEUE_SEL: p->queue_select = val; break;
    case VIRTIO_PCI_QUEUE_NOTIFY: virtio_kick(v, val); break;
    case VIRTIO_PCI_STATUS:
        v->legacy = !v->resetting && val != 0;
        virtio_set_status(v, val);
        break;
    case VIRTIO_MSI_CONFIG_VECTOR: p->config_vector = virtio_pci_vector(p, val); break;
    case VIRTIO_MSI_QUEUE_VECTOR:
        if (vq) {
            vq->vector = virtio_pci_vector(p, val);
            virtio_pci_update_calls(p);
        }
        break;
    default: region_bad_write(&p->legacy_bar, offset, val, size); break;
    }
}

static const RegionOps legacy_ops = { legacy_read, legacy_write, .sizes = 1 | 2 | 4 };

void virtio_pci_legacy_init(VirtioPci *p)
{
    uint64_t size = MIN_PORTS;
    while (size < 24u + p->vdev->ops->config_len) {
        size *= 2;
    }
    region_init_io(&p->legacy_bar, &p->pci.dev, &legacy_ops, p, size);
    p->legacy_bar.name = "virtio-legacy";
    pci_register_bar(&p->pci, VIRTIO_PCI_LEGACY_BAR, PCI_BAR_IO, &p->legacy_bar);
}
