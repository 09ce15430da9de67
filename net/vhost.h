/* SPDX-License-Identifier: GPL-2.0-or-later
 * The host side of vhost-net (linux/vhost.h): a descriptor of /dev/vhost-net a queue of a tap
 * interface, with which the kernel moves frames between the interface and a guest's rings. The NIC
 * (hw/virtio/vhost.c) sets the rings up; here is what a netdev has to do with it.
 *
 * vm_lock held.
 */
#ifndef NET_VHOST_H
#define NET_VHOST_H

#include <linux/vhost.h>

#include "net/net.h"

#ifndef VHOST_SET_VRING_BUSYLOOP_TIMEOUT /* older kernel headers */
#define VHOST_SET_VRING_BUSYLOOP_TIMEOUT _IOW(VHOST_VIRTIO, 0x23, struct vhost_vring_state)
#endif

/* What a NIC does to a netdev whose frames go to the kernel. */
typedef struct VhostUse {
    bool on;          /* the netdev reads no frames itself */
    bool attached;    /* this queue gets frames; else its interface leaves it out */
    const char *mode; /* for info network */
    size_t header;    /* bytes before each frame */
    unsigned accepts; /* NET_CSUM..: what may be left undone in frames to the guest */
} VhostUse;

/* Of a queue of a netdev: NetClient.vhost. */
typedef struct NetVhost {
    int fd;            /* of /dev/vhost-net */
    int backend;       /* of the interface's queue */
    uint64_t features; /* that the kernel has: VIRTIO_F_ and VIRTIO_NET_F_ bits it cares for */
    uint32_t poll_us;  /* how long it looks for more before it sleeps; 0: not */
    int (*ioctl)(int fd, unsigned long request, void *arg); /* ioctl(2), or a test's */
    void (*use)(NetClient *nc, const VhostUse *u);
} NetVhost;

/* Makes v ready, with v->fd or, if that is -1, with /dev/vhost-net opened anew. ioctl NULL: the
 * system's. False: cause and cure in *errp; net_vhost_close() as ever. */
bool net_vhost_open(NetVhost *v, Error **errp) MUST_USE;
void net_vhost_close(NetVhost *v);

#endif
