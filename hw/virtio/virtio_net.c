/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-net (VIRTIO 5.1): a network card with mergeable buffers, checksum and segmentation
 * offloads both ways, several queue pairs and a control queue (virtio_net_ctrl.c). Frames are
 * sent from where the guest has them, without a copy; or the kernel does all that
 * (virtio_net_vhost.c). UFO, hash reports, RSS and coalesced notifications are left out.
 */
#include "hw/virtio/virtio_net.h"

#include <linux/virtio_ids.h>
#include <string.h>

#include "hw/core/machine.h"
#include "hw/net/nic.h"
#include "net/offload.h"

enum { CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_MTU = 10, CONFIG_LEN = 12 };
enum { MIN_QUEUE = 64, MAX_RX_ELEMENTS = 64, FILTER_BYTES = 18 };

/* ---- queues: receive and transmit by turns, the control queue behind the last pair ---- */

static unsigned ctrl_index(const VirtioNet *s)
{
    return virtio_has(&s->vdev, VIRTIO_NET_F_MQ) ? 2 * s->nr_pairs : 2;
}

static VirtQueue *rx_queue(VirtioNet *s, unsigned pair)
{
    return &s->vdev.queue[2 * pair];
}

/* The header is 12 bytes since 1.0, and 10 before unless buffers are merged. */
size_t virtio_net_header_len(const VirtioNet *s)
{
    bool merged = virtio_has(&s->vdev, VIRTIO_NET_F_MRG_RXBUF);
    return merged || virtio_has(&s->vdev, VIRTIO_F_VERSION_1)
               ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
               : sizeof(struct virtio_net_hdr);
}

/* A back end with fewer queues sees all the rest on its first. */
static NetClient *tx_client(VirtioNet *s, unsigned pair)
{
    return s->nc[pair].peer ? &s->nc[pair] : &s->nc[0];
}

/* ---- transmit ---- */

/* The frame of e as a packet; one of too many pieces is copied into s->frame. */
static bool make_packet(VirtioNet *s, VirtqElement *e, struct iovec *one, NetPacket *p)
{
    size_t skip = virtio_net_header_len(s);
    *p = (NetPacket){ 0 };
    if (virtq_read(e, 0, &p->offload, sizeof(p->offload)) < sizeof(p->offload) ||
        !virtq_drop_front(&e->out, &e->nr_out, skip)) {
        virtio_error(&s->vdev, "a frame to send is shorter than its header");
        return false;
    }
    p->len = e->out_len - skip;
    p->iov = e->out;
    p->nr_iov = e->nr_out;
    if (e->nr_out > NET_MAX_IOV && p->len <= sizeof(s->frame)) { /* a longer one is not sent */
        p->len = net_iov_copy(s->frame, sizeof(s->frame), e->out, e->nr_out, 0);
        *one = (struct iovec){ s->frame, p->len };
        p->iov = one;
        p->nr_iov = 1;
    }
    p->offload.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    return true;
}

static void tx_kick(VirtioNet *s, VirtQueue *vq, unsigned pair)
{
    NetClient *nc = tx_client(s, pair);
    while (!nc->stopped) {
        VirtqElement *e = virtq_pop(vq, sizeof(*e));
        struct iovec one;
        NetPacket p;
        if (!e) {
            break;
        }
        if (!make_packet(s, e, &one, &p)) {
            virtq_drop(e);
            return;
        }
        (void)net_send(nc, &p); /* what has to wait is copied; nc->stopped then */
        virtq_push(e, 0);
    }
    virtq_notify(vq);
}

/* ---- receive ---- */

static VirtioNet *net_of(NetClient *nc)
{
    return nc->opaque;
}

static VirtQueue *queue_for(VirtioNet *s, const NetClient *nc)
{
    return rx_queue(s, nc->queue < s->pairs ? nc->queue : 0);
}

/* If not, what comes is lost: there is nobody to wait for. */
static bool may_receive(const VirtioNet *s, const VirtQueue *vq)
{
    return virtio_is_live(&s->vdev) && !s->vhost.pairs && vq->enabled;
}

static bool can_receive(NetClient *nc)
{
    VirtioNet *s = net_of(nc);
    VirtQueue *vq = queue_for(s, nc);
    return !may_receive(s, vq) || virtq_has_next(vq) || virtq_set_kicks(vq, true);
}

/* Pops elements for total bytes; how many, 0 if there is not enough: then none is taken, and the
 * driver rings for more than it has offered (the last pop asked it to; to ask once more now would
 * name a place that it has passed). never: there will not be enough, since the frame is too long
 * for all that one can have. */
static unsigned gather(VirtioNet *s, VirtQueue *vq, size_t total, VirtqElement *e[MAX_RX_ELEMENTS],
                       bool *never)
{
    bool merge = virtio_has(&s->vdev, VIRTIO_NET_F_MRG_RXBUF);
    unsigned max = merge ? MIN((unsigned)MAX_RX_ELEMENTS, vq->num) : 1;
    size_t room = 0;
    unsigned nr = 0;
    while (room < total && nr < max) {
        e[nr] = virtq_pop(vq, sizeof(**e));
        if (!e[nr]) {
            break;
        }
        room += e[nr++]->in_len;
    }
    if (room >= total) {
        return nr;
    }
    *never = nr == max;
    while (nr) {
        virtq_unpop(e[--nr]);
    }
    return 0;
}

static size_t fill(VirtqElement *e, size_t at, const NetPacket *p, size_t done)
{
    for (int i = 0; i < e->nr_in; i++) {
        struct iovec *v = &e->in[i];
        size_t skip = MIN(at, v->iov_len);
        at -= skip;
        done += net_iov_copy((uint8_t *)v->iov_base + skip, v->iov_len - skip, p->iov, p->nr_iov,
                             done);
    }
    return done;
}

static void store(VirtioNet *s, VirtqElement **e, unsigned nr, const NetPacket *p)
{
    size_t head = virtio_net_header_len(s), done = 0;
    struct virtio_net_hdr_mrg_rxbuf h = { .hdr = p->offload, .num_buffers = (uint16_t)nr };
    if (!(s->guest_offloads >> VIRTIO_NET_F_GUEST_CSUM & 1)) {
        h.hdr.flags = 0;
    }
    virtq_write(e[0], 0, &h, head);
    for (unsigned i = 0; i < nr; i++) {
        size_t before = done, at = i ? 0 : head;
        done = fill(e[i], at, p, done);
        virtq_fill(e[i], at + done - before);
    }
}

static bool receive(NetClient *nc, const NetPacket *p)
{
    VirtioNet *s = net_of(nc);
    VirtQueue *vq = queue_for(s, nc);
    uint8_t start[FILTER_BYTES];
    size_t len = net_iov_copy(start, sizeof(start), p->iov, p->nr_iov, 0);
    if (!may_receive(s, vq) || len < ETH_HLEN || !virtio_net_wanted(s, start, len)) {
        return true;
    }
    VirtqElement *e[MAX_RX_ELEMENTS];
    bool never = false;
    unsigned nr = gather(s, vq, p->len + virtio_net_header_len(s), e, &never);
    if (!nr) {
        return never || s->vdev.broken;
    }
    store(s, e, nr, p);
    virtq_flush(vq);
    virtq_notify(vq);
    return true;
}

/* The first pair has buffers for the frames of all that are not in use, too. */
static void rx_kick(VirtioNet *s, unsigned pair)
{
    net_flush_later(&s->nc[pair]);
    for (unsigned i = s->pairs; pair == 0 && i < s->nr_pairs; i++) {
        net_flush_later(&s->nc[i]);
    }
}

/* ---- the device ---- */

static void net_kick(VirtioDevice *v, VirtQueue *vq)
{
    VirtioNet *s = container_of(v, VirtioNet, vdev);
    if (virtio_net_vhost_kick(s, vq)) {
        return;
    }
    if (vq->index == ctrl_index(s)) {
        virtio_net_ctrl_kick(s, vq);
    } else if (vq->index > ctrl_index(s)) {
        return; /* no queue of what was negotiated */
    } else if (vq->index & 1) {
        tx_kick(s, vq, vq->index / 2);
    } else {
        rx_kick(s, vq->index / 2);
    }
}

void virtio_net_update_accepts(VirtioNet *s)
{
    static const struct {
        unsigned feature, accepts;
    } row[] = { { VIRTIO_NET_F_GUEST_CSUM, NET_CSUM },
                { VIRTIO_NET_F_GUEST_TSO4, NET_TSO4 },
                { VIRTIO_NET_F_GUEST_TSO6, NET_TSO6 },
                { VIRTIO_NET_F_GUEST_ECN, NET_ECN } };
    unsigned accepts = 0;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        accepts |= s->guest_offloads >> row[i].feature & 1 ? row[i].accepts : 0;
    }
    for (unsigned i = 0; i < s->nr_pairs; i++) {
        s->nc[i].accepts = accepts;
    }
    virtio_net_vhost_accepts(s);
}

static void get_config(VirtioDevice *v, uint8_t *config)
{
    const VirtioNet *s = container_of(v, VirtioNet, vdev);
    uint16_t status = s->nc[0].link_down ? 0 : VIRTIO_NET_S_LINK_UP;
    memcpy(config, s->mac, ETH_ALEN);
    pci_put16(config + CONFIG_STATUS, status | (s->announce ? VIRTIO_NET_S_ANNOUNCE : 0));
    pci_put16(config + CONFIG_PAIRS, (uint16_t)s->nr_pairs);
    pci_put16(config + CONFIG_MTU, (uint16_t)s->mtu);
}

/* Drivers of before 1.0 write the address here. */
static void set_config(VirtioDevice *v, unsigned offset, uint32_t val, unsigned size)
{
    VirtioNet *s = container_of(v, VirtioNet, vdev);
    if (virtio_has(v, VIRTIO_F_VERSION_1) || virtio_has(v, VIRTIO_NET_F_CTRL_MAC_ADDR)) {
        return;
    }
    for (unsigned i = 0; i < size && offset + i < ETH_ALEN; i++) {
        s->mac[offset + i] = (uint8_t)(val >> 8 * i);
    }
}

static void negotiated(VirtioDevice *v)
{
    VirtioNet *s = container_of(v, VirtioNet, vdev);
    s->guest_offloads = v->features & (1ull << VIRTIO_NET_F_GUEST_CSUM |
                                       1ull << VIRTIO_NET_F_GUEST_TSO4 |
                                       1ull << VIRTIO_NET_F_GUEST_TSO6 |
                                       1ull << VIRTIO_NET_F_GUEST_ECN);
    virtio_net_update_accepts(s);
}

void virtio_net_flush(VirtioNet *s)
{
    for (unsigned i = 0; i < s->nr_pairs; i++) {
        net_flush_later(&s->nc[i]);
    }
}

static void started(VirtioDevice *v)
{
    VirtioNet *s = container_of(v, VirtioNet, vdev);
    virtio_net_flush(s);
    virtio_net_vhost_update(s);
}

static void live_changed(VirtioDevice *v)
{
    virtio_net_vhost_update(container_of(v, VirtioNet, vdev));
}

static void memory_changed(VirtioDevice *v)
{
    virtio_net_vhost_memory_changed(container_of(v, VirtioNet, vdev));
}

/* No element is kept, so none has to be ended. */
static void net_reset(VirtioDevice *v)
{
    VirtioNet *s = container_of(v, VirtioNet, vdev);
    virtio_net_vhost_stop(s);
    virtio_net_ctrl_reset(s);
    virtio_net_update_accepts(s);
    for (unsigned i = 0; i < s->nr_pairs; i++) {
        net_purge(&s->nc[i]);
    }
}

static const VirtioOps net_ops = {
    .id = VIRTIO_ID_NET,
    .config_len = CONFIG_LEN,
    .get_config = get_config,
    .set_config = set_config,
    .negotiated = negotiated,
    .started = started,
    .reset = net_reset,
    .live_changed = live_changed,
    .memory_changed = memory_changed,
};

/* Asks the driver for gratuitous packets, VIRTIO 5.1.6.5.4. */
static void announce(NetClient *nc)
{
    VirtioNet *s = net_of(nc);
    s->announce = !nc->link_down && virtio_is_live(&s->vdev) &&
                  virtio_has(&s->vdev, VIRTIO_NET_F_GUEST_ANNOUNCE);
    virtio_config_changed(&s->vdev);
}

static void link_changed(NetClient *nc)
{
    if (nc->queue == 0) {
        announce(nc); /* whoever is at the other end now does not know the guest yet */
    }
    virtio_net_vhost_update(net_of(nc));
}

static void path_changed(NetClient *nc)
{
    if (nc->opaque) { /* NULL: not realized yet */
        virtio_net_vhost_update(net_of(nc));
    }
}

static void resume(NetClient *nc)
{
    VirtioNet *s = net_of(nc);
    virtio_kick_all(&s->vdev);
}

static const NetClientInfo net_client_info = {
    .type = "nic",
    .is_nic = true,
    .can_receive = can_receive,
    .receive = receive,
    .resume = resume,
    .link_changed = link_changed,
    .announce = announce,
    .peer_changed = path_changed,
    .path_changed = path_changed,
};

/* ---- life ---- */

static bool check_properties(VirtioNet *s, Error **errp)
{
    const uint32_t size[] = { s->rx_size, s->tx_size };
    for (size_t i = 0; i < ARRAY_SIZE(size); i++) {
        if (size[i] < MIN_QUEUE || size[i] > VIRTQ_MAX_SIZE || size[i] & (size[i] - 1)) {
            return error_set(errp, "%s_queue_size=%u: want a power of two from %d to %d",
                             i ? "tx" : "rx", size[i], MIN_QUEUE, VIRTQ_MAX_SIZE);
        }
    }
    unsigned queues = s->netdev && *s->netdev ? net_client_nr_queues(s->netdev) : 0;
    unsigned pairs = !s->mq ? 1 : MAX(queues, s->vdev.dev->machine->nr_cpus);
    s->nr_pairs = MIN(MAX(s->max_pairs ? s->max_pairs : pairs, 1u), (unsigned)NET_MAX_PAIRS);
    return true;
}

static void offer(VirtioNet *s)
{
    for (unsigned bit = 0; bit < ARRAY_SIZE(s->offer); bit++) {
        s->vdev.host_features |= (uint64_t)s->offer[bit] << bit;
    }
    if (!s->offer[VIRTIO_NET_F_CTRL_VQ]) {
        s->vdev.host_features &= ~(1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_VLAN |
                                   1ull << VIRTIO_NET_F_CTRL_RX_EXTRA |
                                   1ull << VIRTIO_NET_F_CTRL_MAC_ADDR |
                                   1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS |
                                   1ull << VIRTIO_NET_F_GUEST_ANNOUNCE);
    }
    s->vdev.host_features |= 1ull << VIRTIO_NET_F_MAC;
    if (s->nr_pairs > 1 && s->offer[VIRTIO_NET_F_CTRL_VQ]) {
        s->vdev.host_features |= 1ull << VIRTIO_NET_F_MQ;
    }
    if (s->mtu) {
        s->vdev.host_features |= 1ull << VIRTIO_NET_F_MTU;
    }
}

static bool net_realize(Device *dev, Error **errp)
{
    VirtioNetPci *p = container_of(dev, VirtioNetPci, proxy.pci.dev);
    VirtioNet *s = &p->net;
    virtio_init(&s->vdev, dev, &net_ops);
    if (!check_properties(s, errp) ||
        !nic_realize(s->nc, s->nr_pairs, &net_client_info, &p->proxy.pci, s->netdev,
                     s->mac_property, s->bootindex, errp)) {
        return false;
    }
    for (unsigned i = 0; i < s->nr_pairs; i++) {
        s->nc[i].opaque = s;
        virtio_add_queue(&s->vdev, (uint16_t)s->rx_size, net_kick);
        virtio_add_queue(&s->vdev, (uint16_t)s->tx_size, net_kick);
    }
    virtio_add_queue(&s->vdev, NET_CTRL_SIZE, net_kick);
    virtio_net_ctrl_reset(s);
    virtio_net_vhost_init(s);
    offer(s);
    if (!virtio_pci_realize(&p->proxy, &s->vdev, errp)) {
        virtio_net_vhost_fini(s);
        nic_unrealize(s->nc, s->nr_pairs, s->mac_property);
        return false;
    }
    s->vdev.host_features &= ~virtio_net_vhost_lacks(s);
    return true;
}

static void net_unrealize(Device *dev)
{
    VirtioNet *s = &container_of(dev, VirtioNetPci, proxy.pci.dev)->net;
    virtio_fini(&s->vdev);
    virtio_net_vhost_fini(s);
    nic_unrealize(s->nc, s->nr_pairs, s->mac_property);
}

static void net_device_reset(Device *dev)
{
    VirtioNet *s = &container_of(dev, VirtioNetPci, proxy.pci.dev)->net;
    virtio_net_ctrl_reset(s);
}

static void net_refresh(Device *dev)
{
    VirtioNet *s = &container_of(dev, VirtioNetPci, proxy.pci.dev)->net;
    virtio_net_update_accepts(s);
    virtio_net_flush(s);
    bh_schedule(&s->vhost.again);
}

#define OFFER(name, bit, ...)                                                                      \
    PROP_BOOL(name, VirtioNetPci, net.offer[VIRTIO_NET_F_##bit], .def = true, __VA_ARGS__)
static const Property net_props[] = {
    PROP_MAC("mac", VirtioNetPci, net.mac_property,
             .help = "52:54:00:12:34:56 and up if not given"),
    PROP_STR("netdev", VirtioNetPci, net.netdev, .help = "id of the -netdev it is connected to"),
    PROP_I32("bootindex", VirtioNetPci, net.bootindex, .def = (uint64_t)-1, .min = (uint64_t)-1,
             .max = INT32_MAX, .help = "place in the boot order, 0 is first"),
    PROP_BOOL("mq", VirtioNetPci, net.mq, .help = "several queue pairs: as the netdev, or one a CPU"),
    PROP_U32("queues", VirtioNetPci, net.max_pairs, .max = NET_MAX_PAIRS,
             .help = "how many pairs; 0: as mq= says"),
    PROP_U32("rx_queue_size", VirtioNetPci, net.rx_size, .def = 256),
    PROP_U32("tx_queue_size", VirtioNetPci, net.tx_size, .def = 256),
    PROP_U32("host_mtu", VirtioNetPci, net.mtu, .max = 65535, .help = "advice for the guest; 0: none"),
    OFFER("csum", CSUM, .help = "the guest leaves checksums to us"),
    OFFER("guest_csum", GUEST_CSUM, .help = "and we to the guest"),
    OFFER("guest_tso4", GUEST_TSO4),
    OFFER("guest_tso6", GUEST_TSO6),
    OFFER("guest_ecn", GUEST_ECN),
    OFFER("host_tso4", HOST_TSO4, .help = "the guest sends large TCP segments"),
    OFFER("host_tso6", HOST_TSO6),
    OFFER("host_ecn", HOST_ECN),
    OFFER("mrg_rxbuf", MRG_RXBUF, .help = "a frame may fill several buffers"),
    OFFER("status", STATUS, .help = "the guest sees its cable"),
    OFFER("ctrl_vq", CTRL_VQ),
    OFFER("ctrl_rx", CTRL_RX),
    OFFER("ctrl_vlan", CTRL_VLAN),
    OFFER("ctrl_rx_extra", CTRL_RX_EXTRA),
    OFFER("ctrl_mac_addr", CTRL_MAC_ADDR),
    OFFER("ctrl_guest_offloads", CTRL_GUEST_OFFLOADS),
    OFFER("guest_announce", GUEST_ANNOUNCE),
    PROP_END,
};
#undef OFFER

static const StateField rx_state[] = {
    STATE_BOOL(VirtioNetRx, promisc), STATE_BOOL(VirtioNetRx, allmulti),
    STATE_BOOL(VirtioNetRx, alluni),  STATE_BOOL(VirtioNetRx, nomulti),
    STATE_BOOL(VirtioNetRx, nouni),   STATE_BOOL(VirtioNetRx, nobcast),
    STATE_END,
};

static const StateField net_state[] = {
    STATE_STRUCT(VirtioNetPci, net.vdev, VirtioDevice, virtio_state),
    STATE_U8S(VirtioNetPci, net.mac),
    STATE_STRUCT(VirtioNetPci, net.rx, VirtioNetRx, rx_state),
    STATE_U8S(VirtioNetPci, net.macs),
    STATE_U8(VirtioNetPci, net.nr_macs, .max = NET_MAX_MACS),
    STATE_U8(VirtioNetPci, net.first_multicast, .max = NET_MAX_MACS),
    STATE_BOOL(VirtioNetPci, net.all_unicast),
    STATE_BOOL(VirtioNetPci, net.all_multicast),
    STATE_U32S(VirtioNetPci, net.vlans),
    STATE_U16(VirtioNetPci, net.pairs, .reset = 1, .max = NET_MAX_PAIRS),
    STATE_BOOL(VirtioNetPci, net.announce),
    STATE_U64(VirtioNetPci, net.guest_offloads),
    STATE_END,
};

static const char *const net_aliases[] = { "virtio-net", NULL };

VIRTIO_PCI_TYPES(virtio_net, "virtio-net-pci", VirtioNetPci, "Virtio network card", 0x1000,
                 0x020000, "pxe-virtio.rom", net_aliases, .props = net_props, .state = net_state,
                 .state_version = 1, .realize = net_realize, .unrealize = net_unrealize,
                 .reset = net_device_reset, .refresh = net_refresh);
