/* SPDX-License-Identifier: GPL-2.0-or-later
 * Networks: NICs and back ends are clients, joined in pairs ("peers"). A packet goes from one to
 * its peer at once, or waits in the peer's bounded queue while the sender is told to stop.
 * docs/network.md has the picture.
 *
 * A packet is an Ethernet frame without FCS. What is left to do on it (a checksum, cutting into
 * segments) stands beside it as the virtio_net_hdr of the virtio standard, 5.1.6, in host order.
 * A client says in .accepts what of that it takes; the core does the rest in software
 * (net/offload.h), so that nobody has to know who the peer is.
 *
 * Main loop or vCPU, vm_lock held.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <linux/if_ether.h> /* ETH_ALEN, ETH_HLEN */
#include <linux/virtio_net.h>
#include <sys/uio.h>

#include "util/dict.h"
#include "util/error.h"
#include "util/main_loop.h"

enum { NET_MAX_PACKET = 65536 + 64, NET_MAX_IOV = 256 };
enum { NET_QUEUE_PACKETS = 4096, NET_QUEUE_BYTES = 16 << 20 }; /* of each client */

typedef struct NetClient NetClient;

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* older kernel headers */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* What a client takes unfinished. */
enum {
    NET_CSUM = 1 << 0, /* NEEDS_CSUM: a TCP or UDP checksum that is only begun */
    NET_TSO4 = 1 << 1, NET_TSO6 = 1 << 2, /* TCP segments longer than the MTU */
    NET_ECN = 1 << 3,  /* those with CWR set, too */
    NET_USO = 1 << 4,  /* UDP datagrams to be sent as several (GSO_UDP_L4) */
    NET_ACCEPT_ALL = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO,
};

typedef struct NetPacket {
    const struct iovec *iov;
    int nr_iov; /* up to NET_MAX_IOV */
    size_t len; /* of all of iov */
    /* All zero: nothing left to do; DATA_VALID: nor anything to check. */
    struct virtio_net_hdr offload;
} NetPacket;

/* ---- clients ---- */

typedef struct NetClientInfo {
    const char *type; /* "nic", "user", "tap", "hubport", ... as info network shows it */
    bool is_nic;
    size_t size; /* of a back end's struct, which starts with its NetClient */
    /* Would receive() take a packet now? NULL: always. Whoever said no calls net_flush() later. */
    bool (*can_receive)(NetClient *nc);
    /* Takes (or drops) the packet: true. False: not now, keep it until net_flush(). It may send
     * on from here; it is not called again before it has returned. */
    bool (*receive)(NetClient *nc, const NetPacket *p);
    /* Go on: after net_send() or net_can_send() said false, and of a NIC when the machine runs
     * again. May be NULL. */
    void (*resume)(NetClient *nc);
    void (*link_changed)(NetClient *nc); /* nc->link_down changed; may be NULL */
    void (*peer_changed)(NetClient *nc); /* got another peer or lost it; may be NULL */
    void (*announce)(NetClient *nc);     /* of a NIC: asks the guest to make itself known; may be NULL */
    /* What decides whether packets may go past us: filters of it or its peer have come or gone, the
     * machine stands still or runs again. The NICs that use vhost have it; NULL for all others. */
    void (*path_changed)(NetClient *nc);
    void (*close)(NetClient *nc); /* a back end frees what it holds; also after a failed create */
} NetClientInfo;

struct NetClient {
    const NetClientInfo *info;
    char *id;        /* of the netdev, or the NIC's name; its queues share it */
    char *model;     /* of a NIC: "e1000" */
    char *text;      /* what info network says behind type=; net_client_describe() */
    NetClient *peer; /* NULL: packets go nowhere */
    unsigned queue;  /* index */
    uint8_t mac[ETH_ALEN]; /* of a NIC */
    unsigned accepts; /* NET_CSUM..: may change while it runs */
    bool link_down;
    void *opaque;
    struct NetVhost *vhost; /* of a back end's queue that the kernel could serve: net/vhost.h */
    List filters;    /* of NetFilter */
    /* packets for this client that it could not take */
    List waiting;
    size_t nr_waiting, waiting_bytes;
    bool in_receive; /* its receive() runs */
    bool flushing;
    bool stopped;    /* was told to stop sending */
    bool refused;    /* somebody asked net_can_send() and heard no */
    BottomHalf flush_bh;
    uint64_t rx_packets, rx_bytes, dropped; /* what came to it; what it never got */
    List node;
};

/* Sends a packet to from's peer. True: it is on its way (or dropped: no peer, link down, queue
 * full). False: it was queued, and from should send no more until its resume() is called. */
bool net_send(NetClient *from, const NetPacket *p);
/* One finished frame. */
bool net_send_buf(NetClient *from, const void *frame, size_t len);
/* Would net_send() deliver at once? Also true where packets vanish. If not, from's resume() is
 * called when it would. */
bool net_can_send(const NetClient *from);
/* nc can receive again: hands it what waits, then lets those who stopped go on. */
void net_flush(NetClient *nc);
void net_flush_later(NetClient *nc); /* the same from the main loop, if anything waits */
/* Hands p to nc itself: a NIC in loopback mode. */
void net_loop_back(NetClient *nc, const NetPacket *p);
/* Forgets what waits for nc (reset of a NIC). */
void net_purge(NetClient *nc);
/* NICs take no packets while the machine stands still; true lets them go on. */
void net_set_running(bool running);

/* What info network shows behind "type=X,": "net=10.0.2.0,restrict=off". */
void net_client_describe(NetClient *nc, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* That queue of a netdev, or of a NIC; NULL if there is none. The two may share an id. */
NetClient *net_client_find(const char *id, unsigned queue);
NetClient *net_nic_find(const char *id, unsigned queue);
unsigned net_client_nr_queues(const char *id); /* of a netdev */
/* Every client in order of creation. */
void net_clients_each(void (*fn)(NetClient *nc, void *opaque), void *opaque);
void net_connect(NetClient *a, NetClient *b); /* both have no peer */
void net_disconnect(NetClient *nc);
/* set_link: of all queues of that name, and of the NIC at a back end's other side. */
bool net_set_link(const char *id, bool up, Error **errp) MUST_USE;

/* ---- NICs ---- */

typedef struct NetNicConfig {
    const char *model;  /* "e1000" */
    const char *id;     /* the device's id=, or NULL: model.N */
    const char *netdev; /* or NULL, "": none */
    unsigned accepts;
    void *opaque;
} NetNicConfig;

/* q: nr clients embedded in the device. Connects them with the netdev's queues. The netdev may
 * have fewer: the rest have no peer. */
bool net_nic_init(NetClient *q, unsigned nr, const NetClientInfo *info, const NetNicConfig *c,
                  Error **errp) MUST_USE;
void net_nic_fini(NetClient *q, unsigned nr); /* no-op on what was never initialized */
/* Takes note of mac, or, if it is all zero, fills in the next free of 52:54:00:12:34:56 up. */
bool net_mac_assign(uint8_t mac[ETH_ALEN], Error **errp) MUST_USE; /* no multicast address */
void net_mac_release(const uint8_t mac[ETH_ALEN]);
/* "e1000.0: index=0,type=nic,model=e1000,macaddr=...", and nc->mac. */
void net_nic_describe(NetClient *nc, const uint8_t mac[ETH_ALEN]);
/* announce_self: frames that tell where the NICs are (NULL, or names with commas between them), now
 * and four times more within a second. One of the same id (NULL: "") begins anew. */
bool net_announce(const char *nics, const char *id, Error **errp) MUST_USE;
void net_announce_stop(void); /* at exit */
/* Warns of NICs without a netdev and netdevs without a NIC: once, when the machine is built. */
void net_check_unused(void);

/* ---- back ends ---- */

typedef struct NetBackendType {
    const char *name, *desc;
    const char *const *keys; /* beside type and id, NULL-terminated. "key[]": may be repeated, and
                                comes as key.0, key.1, ... */
    const char *const *help; /* lines for -netdev NAME,help; may be NULL */
    /* Makes its clients with net_client_new(); if it fails it has deleted them again. */
    bool (*create)(const char *id, const Dict *opts, Error **errp);
    List node;
} NetBackendType;

#define NET_BACKEND(sym)                                                                           \
    extern NetBackendType net_backend_##sym;                                                       \
    static void __attribute__((constructor)) register_net_backend_##sym(void)                      \
    {                                                                                              \
        net_backend_register(&net_backend_##sym);                                                  \
    }                                                                                              \
    NetBackendType net_backend_##sym

void net_backend_register(NetBackendType *t);
/* -netdev's text; keys that may be repeated are numbered. NULL with *errp. */
Dict *net_backend_parse(const char *text, Error **errp);
/* type=user,id=n0,...: -netdev, netdev_add. Keys that its type does not have are an error. */
bool net_backend_create(const Dict *opts, Error **errp) MUST_USE;
/* netdev_del: all its queues; the NIC keeps running without a peer. */
bool net_backend_delete(const char *id, Error **errp) MUST_USE;
void net_backends_list(void (*print)(void *opaque, const char *line), void *opaque);
bool net_backend_help(const char *type, void (*print)(void *opaque, const char *line),
                      void *opaque, Error **errp) MUST_USE;
void net_close(void); /* at exit: all back ends */

/* A back end's client of info->size bytes, zeroed behind the NetClient, registered. */
NetClient *net_client_new(const NetClientInfo *info, const char *id, unsigned queue);
void net_client_delete(NetClient *nc); /* calls close, frees */

/* ---- filters ---- */

typedef enum NetDirection { NET_SENT, NET_RECEIVED } NetDirection; /* by the client it sits on */

/* Sees each packet of a client before anything is done to it. */
typedef struct NetFilter {
    /* True: it has taken the packet away; nobody else sees it. */
    bool (*packet)(struct NetFilter *f, NetDirection dir, const NetPacket *p);
    NetClient *nc;
    List node;
} NetFilter;

void net_filter_add(NetFilter *f, NetClient *nc);
void net_filter_del(NetFilter *f); /* no-op if not added, or if its client is gone */

#endif
