/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-net: what its files share.
 */
#ifndef HW_VIRTIO_VIRTIO_NET_H
#define HW_VIRTIO_VIRTIO_NET_H

#include "hw/virtio/vhost.h"
#include "hw/virtio/virtio_pci.h"
#include "net/net.h"

enum { NET_MAX_PAIRS = 16, NET_MAX_MACS = 64, NET_CTRL_SIZE = 64 };

/* VIRTIO_NET_CTRL_RX, one byte each. */
typedef struct VirtioNetRx {
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
} VirtioNetRx;

typedef struct VirtioNet {
    VirtioDevice vdev;
    /* properties */
    char *netdev;
    uint8_t mac_property[ETH_ALEN];
    int32_t bootindex;
    uint32_t max_pairs; /* property queues; 0: as many as the netdev has, and one a CPU with mq=on */
    uint32_t rx_size, tx_size, mtu;
    bool mq, offer[26]; /* by feature bit, those that can be switched */
    /* state */
    uint8_t mac[ETH_ALEN];
    VirtioNetRx rx;
    uint8_t macs[NET_MAX_MACS * ETH_ALEN]; /* unicast, then multicast */
    uint8_t nr_macs, first_multicast;
    bool all_unicast, all_multicast; /* the table was too long */
    uint32_t vlans[4096 / 32];
    uint16_t pairs;          /* in use */
    bool announce;
    uint64_t guest_offloads; /* feature bits */
    /* wiring */
    unsigned nr_pairs;
    NetClient nc[NET_MAX_PAIRS];
    uint8_t frame[NET_MAX_PACKET];
    struct {
        unsigned pairs;           /* that the kernel serves now: the first ones; 0: none */
        bool direct, changing;
        bool failed, warned;      /* not until the next reset; the user has been told */
        BottomHalf again;         /* looks once more */
        NetClient *client[NET_MAX_PAIRS]; /* of the netdev, one a queue it has */
        unsigned nr_clients;
        RamWriter writer;
        VhostDev dev[NET_MAX_PAIRS];
    } vhost;
} VirtioNet;

typedef struct VirtioNetPci {
    VirtioPci proxy;
    VirtioNet net;
} VirtioNetPci;

/* virtio_net_ctrl.c */
void virtio_net_ctrl_kick(VirtioNet *s, VirtQueue *vq);
void virtio_net_ctrl_reset(VirtioNet *s);
/* Is a frame that begins so for the guest? len: of the beginning, at least 14. */
bool virtio_net_wanted(const VirtioNet *s, const uint8_t *head, size_t len);

/* virtio_net.c */
void virtio_net_update_accepts(VirtioNet *s);
size_t virtio_net_header_len(const VirtioNet *s);
void virtio_net_flush(VirtioNet *s); /* what waits may find buffers now */

/* virtio_net_vhost.c */
void virtio_net_vhost_init(VirtioNet *s); /* once its clients have their peers */
void virtio_net_vhost_fini(VirtioNet *s);
uint64_t virtio_net_vhost_lacks(const VirtioNet *s); /* features not to be offered */
/* Gives the queues to the kernel or takes them back, whichever is right now. */
void virtio_net_vhost_update(VirtioNet *s);
void virtio_net_vhost_stop(VirtioNet *s); /* reset */
void virtio_net_vhost_memory_changed(VirtioNet *s);
/* The guest takes other things unfinished. */
void virtio_net_vhost_accepts(VirtioNet *s);
/* True: the kernel serves this queue, and has been told. */
bool virtio_net_vhost_kick(VirtioNet *s, const VirtQueue *vq);

#endif
