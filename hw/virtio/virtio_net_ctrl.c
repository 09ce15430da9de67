/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-net: the control queue (VIRTIO 5.1.6.5) and the filters it sets.
 */
#include <string.h>

#include "hw/virtio/virtio_net.h"

enum { MAX_COMMAND = 2 + 2 * 4 + 512 * ETH_ALEN }; /* of a table of addresses */

typedef struct Command {
    uint8_t class, cmd;
    const uint8_t *data;
    size_t len;
} Command;

static bool rx_mode(VirtioNet *s, const Command *c)
{
    bool *const flag[] = { [VIRTIO_NET_CTRL_RX_PROMISC] = &s->rx.promisc,
                           [VIRTIO_NET_CTRL_RX_ALLMULTI] = &s->rx.allmulti,
                           [VIRTIO_NET_CTRL_RX_ALLUNI] = &s->rx.alluni,
                           [VIRTIO_NET_CTRL_RX_NOMULTI] = &s->rx.nomulti,
                           [VIRTIO_NET_CTRL_RX_NOUNI] = &s->rx.nouni,
                           [VIRTIO_NET_CTRL_RX_NOBCAST] = &s->rx.nobcast };
    if (c->cmd >= ARRAY_SIZE(flag) || c->len != 1) {
        return false;
    }
    *flag[c->cmd] = c->data[0];
    return true;
}

/* One of the two tables: a count, then addresses. False: it does not fit into the command. */
static bool take_table(VirtioNet *s, const Command *c, size_t *at, bool *overflow)
{
    if (c->len < *at + 4) {
        return false;
    }
    size_t nr = pci_get32(c->data + *at);
    *at += 4;
    if (nr > (c->len - *at) / ETH_ALEN) {
        return false;
    }
    *overflow = nr > NET_MAX_MACS - (size_t)s->nr_macs;
    if (!*overflow) {
        memcpy(s->macs + s->nr_macs * ETH_ALEN, c->data + *at, nr * ETH_ALEN);
        s->nr_macs += (uint8_t)nr;
    }
    *at += nr * ETH_ALEN;
    return true;
}

static bool mac_table(VirtioNet *s, const Command *c)
{
    size_t at = 0;
    bool uni, multi;
    s->nr_macs = s->first_multicast = 0;
    if (!take_table(s, c, &at, &uni)) {
        return false;
    }
    s->first_multicast = s->nr_macs;
    if (!take_table(s, c, &at, &multi) || at != c->len) {
        s->nr_macs = s->first_multicast = 0;
        return false;
    }
    s->all_unicast = uni;
    s->all_multicast = multi;
    return true;
}

static bool mac_command(VirtioNet *s, const Command *c)
{
    if (c->cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET) {
        return mac_table(s, c);
    }
    if (c->cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || c->len != ETH_ALEN) {
        return false;
    }
    memcpy(s->mac, c->data, ETH_ALEN);
    for (unsigned i = 0; i < s->nr_pairs; i++) {
        net_nic_describe(&s->nc[i], s->mac);
    }
    return true;
}

static bool vlan_command(VirtioNet *s, const Command *c)
{
    unsigned id = c->len == 2 ? pci_get16(c->data) : 4096u;
    if (id >= 4096 || c->cmd > VIRTIO_NET_CTRL_VLAN_DEL) {
        return false;
    }
    if (c->cmd == VIRTIO_NET_CTRL_VLAN_ADD) {
        s->vlans[id / 32] |= 1u << id % 32;
    } else {
        s->vlans[id / 32] &= ~(1u << id % 32);
    }
    return true;
}

static bool announce_command(VirtioNet *s, const Command *c)
{
    if (c->cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !s->announce) {
        return false;
    }
    s->announce = false;
    return true;
}

static bool mq_command(VirtioNet *s, const Command *c)
{
    unsigned pairs = c->len == 2 ? pci_get16(c->data) : 0;
    if (c->cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !pairs || pairs > s->nr_pairs ||
        !virtio_has(&s->vdev, VIRTIO_NET_F_MQ)) {
        return false;
    }
    s->pairs = (uint16_t)pairs;
    virtio_net_flush(s); /* their frames come in elsewhere now */
    virtio_net_vhost_update(s);
    return true;
}

static bool offloads_command(VirtioNet *s, const Command *c)
{
    static const uint64_t all = 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
                                1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN;
    if (c->cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || c->len != 8) {
        return false;
    }
    uint64_t want = pci_get32(c->data) | (uint64_t)pci_get32(c->data + 4) << 32;
    if (want & ~(all & s->vdev.features)) {
        return false;
    }
    s->guest_offloads = want;
    virtio_net_update_accepts(s);
    return true;
}

static bool execute(VirtioNet *s, const Command *c)
{
    switch (c->class) {
    case VIRTIO_NET_CTRL_RX: return rx_mode(s, c);
    case VIRTIO_NET_CTRL_MAC: return mac_command(s, c);
    case VIRTIO_NET_CTRL_VLAN: return vlan_command(s, c);
    case VIRTIO_NET_CTRL_ANNOUNCE: return announce_command(s, c);
    case VIRTIO_NET_CTRL_MQ: return mq_command(s, c);
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS: return offloads_command(s, c);
    default: return false;
    }
}

void virtio_net_ctrl_kick(VirtioNet *s, VirtQueue *vq)
{
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        uint8_t buf[MAX_COMMAND];
        size_t len = virtq_read(e, 0, buf, sizeof(buf));
        Command c = { .class = buf[0], .cmd = buf[1], .data = buf + 2, .len = len - 2 };
        bool ok = len >= 2 && e->out_len <= sizeof(buf) && execute(s, &c);
        uint8_t ack = ok ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
        virtq_push(e, virtq_write(e, 0, &ack, 1));
    }
    virtq_notify(vq);
}

void virtio_net_ctrl_reset(VirtioNet *s)
{
    memcpy(s->mac, s->mac_property, ETH_ALEN);
    s->rx = (VirtioNetRx){ .promisc = true }; /* until a driver says otherwise */
    s->nr_macs = s->first_multicast = 0;
    s->all_unicast = s->all_multicast = s->announce = false;
    memset(s->vlans, 0, sizeof(s->vlans));
    s->pairs = 1;
    s->guest_offloads = 0;
}

/* ---- filters, VIRTIO 5.1.6.5.1 and .2 ---- */

static bool in_table(const VirtioNet *s, const uint8_t *dest, unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++) {
        if (!memcmp(s->macs + i * ETH_ALEN, dest, ETH_ALEN)) {
            return true;
        }
    }
    return false;
}

bool virtio_net_wanted(const VirtioNet *s, const uint8_t *head, size_t len)
{
    static const uint8_t broadcast[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    if (s->rx.promisc) {
        return true;
    }
    if (virtio_has(&s->vdev, VIRTIO_NET_F_CTRL_VLAN) && len >= 16 && head[12] == 0x81 &&
        head[13] == 0x00) {
        unsigned id = (head[14] << 8 | head[15]) & 0xfff;
        if (!(s->vlans[id / 32] >> id % 32 & 1)) {
            return false;
        }
    }
    if (!memcmp(head, broadcast, ETH_ALEN)) {
        return !s->rx.nobcast;
    }
    if (head[0] & 1) {
        return !s->rx.nomulti && (s->rx.allmulti || s->all_multicast ||
                                  in_table(s, head, s->first_multicast, s->nr_macs));
    }
    return !s->rx.nouni && (s->rx.alluni || s->all_unicast || !memcmp(head, s->mac, ETH_ALEN) ||
                            in_table(s, head, 0, s->first_multicast));
}
