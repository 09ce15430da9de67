/* SPDX-License-Identifier: GPL-2.0-or-later
 * Frames and a peer for libFuzzer's targets; see frames.h.
 */
#include "tests/fuzz/frames.h"

#include <stdlib.h>
#include <string.h>

#include "net/offload.h"

enum { AT_TYPE = 12, IPV4_HEADER = 20, IPV6_HEADER = 40, PROTO_TCP = 6, PROTO_UDP = 17 };

static Peer *all[MAX_PEERS];
static unsigned count;
static uint8_t buffer[MAX_FRAME];

/* ---- the peer ---- */

static bool peer_can_receive(NetClient *nc)
{
    return !container_of(nc, Peer, nc)->slow;
}

/* Reads all of it, so that the sanitizers see what was promised. */
static bool peer_receive(NetClient *nc, const NetPacket *p)
{
    static uint8_t copy[MAX_FRAME];
    const Peer *peer = container_of(nc, Peer, nc);
    size_t len = net_iov_copy(copy, sizeof(copy), p->iov, p->nr_iov, 0);
    if (len != p->len || !net_offload_accepted(&p->offload, nc->accepts)) {
        abort();
    }
    if (peer->echo) {
        NetPacket back = *p;
        (void)net_send(nc, &back);
    }
    return true;
}

static const NetClientInfo peer_info = {
    .type = "peer", .size = sizeof(Peer), .can_receive = peer_can_receive, .receive = peer_receive
};

Peer *peer_at(unsigned n)
{
    return all[n % count];
}

void peer_new(const char *id)
{
    NetClient *nc = net_client_new(&peer_info, id, 0);
    all[count++] = container_of(nc, Peer, nc);
}

void peers_delete(void)
{
    while (count) {
        net_client_delete(&all[--count]->nc);
    }
}

unsigned nr_peers(void)
{
    return count;
}

void peer_set(Peer *peer, uint8_t how)
{
    peer->slow = how & 1;
    peer->echo = how & 2;
    peer->nc.accepts = how >> 3;
    if (!peer->slow) {
        net_flush_later(&peer->nc);
    }
    if (how & 4) { /* the cable is pulled, and put back */
        Error *err = NULL;
        bool down = peer->nc.link_down;
        box_must(net_set_link(peer->nc.id, down, &err), err);
    }
}

void peer_send(Peer *peer, Input *input)
{
    NetPacket p = { .nr_iov = 1 };
    struct iovec iov = { buffer, frame_make(buffer, input) };
    p.iov = &iov;
    p.len = iov.iov_len;
    if (byte(input) & 1) {
        p.offload = frame_offload(buffer, input);
    }
    (void)net_send(&peer->nc, &p);
}

/* ---- frames ---- */

static void put16(uint8_t *p, size_t val)
{
    p[0] = (uint8_t)(val >> 8);
    p[1] = (uint8_t)val;
}

/* Who it is for: the first card, everyone, a group, somebody else. */
static void make_addresses(uint8_t *f, uint8_t how)
{
    static const uint8_t to[4][ETH_ALEN] = { { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
                                             { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
                                             { 0x33, 0x33, 0x00, 0x00, 0x00, 0x01 },
                                             { 0x52, 0x55, 0x0a, 0x00, 0x02, 0x02 } };
    static const uint8_t from[ETH_ALEN] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x57 };
    memcpy(f, to[how & 3], ETH_ALEN);
    memcpy(f + ETH_ALEN, from, ETH_ALEN);
    f[5] ^= how >> 4;
}

static size_t make_ip(uint8_t *ip, size_t payload, bool v6, uint8_t protocol)
{
    static const uint8_t addresses[8] = { 10, 0, 2, 15, 10, 0, 2, 2 };
    if (v6) {
        ip[0] = 0x60;
        put16(ip + 4, payload);
        ip[6] = protocol;
        ip[7] = 255;
        ip[8] = ip[24] = 0xfe;
        ip[9] = ip[25] = 0x80;
        return IPV6_HEADER;
    }
    ip[0] = 0x45;
    put16(ip + 2, payload + IPV4_HEADER);
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, addresses, sizeof(addresses));
    put16(ip + 10, (uint16_t)~net_sum_fold(net_sum(ip, IPV4_HEADER, 0)));
    return IPV4_HEADER;
}

static void make_transport(uint8_t *p, size_t len, uint8_t protocol)
{
    static const uint16_t ports[4] = { 67, 69, 53, 1024 };
    put16(p, 1024);
    put16(p + 2, ports[len & 3]);
    if (protocol == PROTO_UDP) {
        put16(p + 4, len);
    } else if (protocol == PROTO_TCP) {
        p[12] = 5 << 4;
        p[13] = len & 8 ? 0x02 : 0x10;
    }
}

/* Some bytes are put over what was made. */
static void spoil(uint8_t *frame, size_t len, Input *input)
{
    for (unsigned nr = byte(input) & 7; nr; nr--) {
        size_t at = byte(input);
        frame[at < len ? at : 0] = byte(input);
    }
}

size_t frame_make(uint8_t *frame, Input *input)
{
    static const uint8_t protocols[8] = {
        PROTO_TCP, PROTO_UDP, PROTO_TCP, PROTO_UDP, 1, 58, 0, 44
    };
    uint8_t how = byte(input), kind = byte(input);
    size_t len = kind & 0x80 ? word(input) : byte(input) * 8u, at = AT_TYPE;
    len = MIN(MAX(len, (size_t)1), (size_t)MAX_FRAME);
    memset(frame, 0, MAX(len, (size_t)128));
    make_addresses(frame, how);
    if (how & 4) {
        put16(frame + at, 0x8100);
        put16(frame + at + 2, how >> 3);
        at += 4;
    }
    bool v6 = kind & 1, other = (kind & 0x70) == 0x70;
    uint8_t protocol = protocols[kind >> 1 & 7];
    put16(frame + at, other ? 0x0806 : v6 ? 0x86dd : 0x0800);
    at += 2;
    if (!other) {
        size_t header = v6 ? IPV6_HEADER : IPV4_HEADER;
        size_t payload = len > at + header ? len - at - header : 0;
        at += make_ip(frame + at, payload, v6, protocol);
        make_transport(frame + at, payload, protocol);
    }
    spoil(frame, len, input);
    return len;
}

struct virtio_net_hdr frame_offload(const uint8_t *frame, Input *input)
{
    static const uint8_t types[8] = { VIRTIO_NET_HDR_GSO_NONE,
                                      VIRTIO_NET_HDR_GSO_TCPV4,
                                      VIRTIO_NET_HDR_GSO_TCPV6,
                                      VIRTIO_NET_HDR_GSO_UDP_L4,
                                      VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
                                      VIRTIO_NET_HDR_GSO_UDP,
                                      VIRTIO_NET_HDR_GSO_ECN,
                                      0x7f };
    uint8_t how = byte(input);
    bool tagged = frame[AT_TYPE] == 0x81;
    size_t l3 = AT_TYPE + 2 + (tagged ? 4 : 0);
    bool v6 = frame[l3 - 2] == 0x86, udp = frame[v6 ? l3 + 6 : l3 + 9] == PROTO_UDP;
    struct virtio_net_hdr h = { .flags = how >> 3 & 1,
                                .gso_type = types[how & 7],
                                .csum_start = (uint16_t)(l3 + (v6 ? IPV6_HEADER : IPV4_HEADER)),
                                .csum_offset = udp ? 6 : 16 };
    h.gso_size = how & 0x10 ? word(input) : byte(input);
    h.hdr_len = how & 0x20 ? word(input) : h.csum_start + 20;
    if (how & 0x40) {
        h.csum_start = word(input);
    }
    if (how & 0x80) {
        h.csum_offset = word(input);
    }
    return h;
}
