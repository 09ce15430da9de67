/* SPDX-License-Identifier: GPL-2.0-or-later
 * Interrupts of virtqueues that somebody outside serves (vhost): events of an eventfd. Where the
 * queue has an MSI-X vector of its own the eventfd is that vector's (pci_msix_add_irqfd), and under
 * KVM nobody here wakes up for it. Vectors that queues share, and INTx, go through the main loop.
 */
#include <unistd.h>

#include "hw/virtio/virtio_pci_impl.h"

static void call_came(void *opaque, unsigned events)
{
    VirtioDoorbell *d = opaque;
    const VirtioDevice *v = d->proxy->vdev;
    uint64_t calls;
    (void)events;
    if (read(d->call, &calls, sizeof(calls)) == sizeof(calls)) {
        v->transport->interrupt(v->transport_opaque, v->queue[d->queue].vector);
    }
}

static void stop_listening(VirtioDoorbell *d)
{
    fd_watch_free(d->call_watch);
    d->call_watch = NULL;
    if (d->is_irqfd) {
        pci_msix_del_irqfd(&d->proxy->msix, d->vector);
        d->is_irqfd = false;
    }
}

static void listen(VirtioDoorbell *d)
{
    PciMsix *msix = &d->proxy->msix;
    d->vector = d->proxy->vdev->queue[d->queue].vector;
    d->is_irqfd = pci_msix_enabled(msix) && d->vector < msix->nr && !msix->irqfd[d->vector];
    if (d->is_irqfd) {
        pci_msix_add_irqfd(msix, d->vector, &d->irqfd, d->call);
    } else {
        d->call_watch = fd_watch_new(d->call, FD_READ, call_came, d, "virtio");
    }
}

void virtio_pci_set_call(VirtioDoorbell *d, int call)
{
    stop_listening(d);
    d->call = call;
    if (call >= 0) {
        listen(d);
    }
}

static bool is_right(const VirtioDoorbell *d)
{
    bool enabled = pci_msix_enabled(&d->proxy->msix);
    return d->vector == d->proxy->vdev->queue[d->queue].vector && (enabled || !d->is_irqfd) &&
           (!enabled || d->is_irqfd || d->vector >= d->proxy->msix.nr ||
            d->proxy->msix.irqfd[d->vector]);
}

void virtio_pci_update_calls(VirtioPci *p)
{
    for (unsigned n = 0; p->vdev && n < p->vdev->nr_queues; n++) {
        VirtioDoorbell *d = &p->doorbell[n];
        if (d->call >= 0 && !is_right(d)) {
            stop_listening(d);
            listen(d);
        }
    }
}
