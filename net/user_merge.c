/* SPDX-License-Identifier: GPL-2.0-or-later
 * Fewer, larger packets to the guest. libslirp sends TCP segments of the MTU, often dozens in a
 * row, and each costs the guest an interrupt and a way through its stack. Where the card takes
 * segments of any length (NET_TSO4, NET_TSO6), those that follow each other in one connection go as
 * one, as a host's own stack does it on receipt (GRO); nothing waits longer than libslirp's turn
 * takes. Headers: RFC 791, RFC 8200, RFC 9293. What has options or extension headers goes as it
 * comes.
 */
#include <arpa/inet.h>
#include <string.h>

#include "net/user_internal.h"

enum { AT_TYPE = 12, AT_IP = 14 };
enum { /* IPv4, from the frame's start on */
       AT_TOS = AT_IP + 1,
       AT_TOTAL = AT_IP + 2,
       AT_FRAGMENT = AT_IP + 6,
       AT_TTL = AT_IP + 8,
       AT_PROTOCOL = AT_IP + 9,
       AT_IP_SUM = AT_IP + 10,
       AT_ADDRESSES = AT_IP + 12,
       AT_TCP4 = AT_IP + 20
};
enum {                    /* IPv6 */
       AT_CLASS6 = AT_IP, /* version, traffic class, flow label */
       AT_LENGTH6 = AT_IP + 4,
       AT_NEXT6 = AT_IP + 6,
       AT_HOPS6 = AT_IP + 7,
       AT_ADDRESSES6 = AT_IP + 8,
       AT_TCP6 = AT_IP + 40
};
enum { /* TCP, from its header on */
       TCP_PORTS = 0,
       TCP_SEQ = 4,
       TCP_ACK = 8,
       TCP_OFFSET = 12,
       TCP_FLAGS = 13,
       TCP_WINDOW = 14,
       TCP_SUM = 16,
       TCP_LEN = 20
};
enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, PROTO_TCP = 6, FLAG_PSH = 0x08, FLAG_ACK = 0x10 };
enum { MAX_FRAME = ETH_HLEN + 65535 };

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint16_t val)
{
    p[0] = (uint8_t)(val >> 8);
    p[1] = (uint8_t)val;
}

static void pass_on(UserNet *u, const void *frame, size_t len, const struct virtio_net_hdr *o)
{
    struct iovec iov = { (void *)frame, len };
    net_send(&u->nc, &(NetPacket){ &iov, 1, len, *o }); /* what is lost TCP sends again */
}

/* Where TCP begins in plain data of a connection, without options of any kind; 0: it is none. */
static size_t find_tcp(const uint8_t *f, size_t len)
{
    size_t tcp = 0;
    if (len > AT_TCP4 && get16(f + AT_TYPE) == TYPE_IPV4 && f[AT_IP] == 0x45 &&
        get16(f + AT_TOTAL) == len - AT_IP && !(get16(f + AT_FRAGMENT) & 0x3fff) &&
        f[AT_PROTOCOL] == PROTO_TCP) {
        tcp = AT_TCP4;
    } else if (len > AT_TCP6 && get16(f + AT_TYPE) == TYPE_IPV6 && f[AT_IP] >> 4 == 6 &&
               get16(f + AT_LENGTH6) == len - AT_TCP6 && f[AT_NEXT6] == PROTO_TCP) {
        tcp = AT_TCP6;
    }
    bool plain = tcp && len > tcp + TCP_LEN && f[tcp + TCP_OFFSET] == TCP_LEN / 4 << 4 &&
                 (f[tcp + TCP_FLAGS] & ~FLAG_PSH) == FLAG_ACK;
    return plain ? tcp : 0;
}

/* May the headers of IP become one? */
static bool same_ip(const uint8_t *f, const uint8_t *g, size_t tcp)
{
    if (tcp == AT_TCP4) {
        return f[AT_TOS] == g[AT_TOS] && f[AT_TTL] == g[AT_TTL] &&
               f[AT_FRAGMENT] == g[AT_FRAGMENT] &&
               !memcmp(f + AT_ADDRESSES, g + AT_ADDRESSES, AT_TCP4 - AT_ADDRESSES);
    }
    return !memcmp(f + AT_CLASS6, g + AT_CLASS6, AT_LENGTH6 - AT_CLASS6) &&
           f[AT_HOPS6] == g[AT_HOPS6] &&
           !memcmp(f + AT_ADDRESSES6, g + AT_ADDRESSES6, AT_TCP6 - AT_ADDRESSES6);
}

/* The next segment of what waits, alike in all that one header has to say for both. */
static bool follows(const UserMerge *m, const uint8_t *f, size_t len, size_t tcp)
{
    const uint8_t *g = m->frame, *t = f + tcp, *before = g + tcp;
    size_t data = tcp + TCP_LEN;
    return m->nr && m->tcp == tcp && len - data <= m->mss && m->len + len - data <= MAX_FRAME &&
           !memcmp(f, g, AT_IP) && same_ip(f, g, tcp) &&
           !memcmp(t + TCP_PORTS, before + TCP_PORTS, TCP_SEQ - TCP_PORTS) &&
           get32(t + TCP_SEQ) == get32(before + TCP_SEQ) + (uint32_t)(m->len - data) &&
           !memcmp(t + TCP_ACK, before + TCP_ACK, 4) &&
           !memcmp(t + TCP_WINDOW, before + TCP_WINDOW, 2);
}

/* Lengths and sums of several that have become one; TCP's own sum is begun (the pseudo header). */
static struct virtio_net_hdr finish(UserMerge *m)
{
    uint8_t *f = m->frame;
    uint16_t l4_len = (uint16_t)(m->len - m->tcp);
    uint64_t pseudo = htons(PROTO_TCP) + htons(l4_len);
    if (m->tcp == AT_TCP4) {
        put16(f + AT_TOTAL, (uint16_t)(m->len - AT_IP));
        memset(f + AT_IP_SUM, 0, 2);
        uint16_t sum = (uint16_t)~net_sum_fold(net_sum(f + AT_IP, AT_TCP4 - AT_IP, 0));
        memcpy(f + AT_IP_SUM, &sum, 2);
        pseudo = net_sum(f + AT_ADDRESSES, AT_TCP4 - AT_ADDRESSES, pseudo);
    } else {
        put16(f + AT_LENGTH6, l4_len);
        pseudo = net_sum(f + AT_ADDRESSES6, AT_TCP6 - AT_ADDRESSES6, pseudo);
    }
    uint16_t begun = net_sum_fold(pseudo);
    memcpy(f + m->tcp + TCP_SUM, &begun, 2);
    return (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .gso_type = m->tcp == AT_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4
                                                                  : VIRTIO_NET_HDR_GSO_TCPV6,
                                    .gso_size = m->mss,
                                    .hdr_len = (uint16_t)(m->tcp + TCP_LEN),
                                    .csum_start = (uint16_t)m->tcp,
                                    .csum_offset = TCP_SUM };
}

void user_merge_flush(UserNet *u)
{
    UserMerge *m = &u->merge;
    struct virtio_net_hdr o = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
    if (m->nr > 1) {
        o = finish(m);
    }
    if (m->nr) {
        m->nr = 0;
        m->sending = true;
        pass_on(u, m->frame, m->len, &o);
        m->sending = false;
    }
}

/* Does the card take a merged packet of this kind? */
static bool card_takes(const UserNet *u, size_t tcp)
{
    unsigned need = NET_CSUM | (tcp == AT_TCP4 ? NET_TSO4 : NET_TSO6);
    return u->nc.peer && (u->nc.peer->accepts & need) == need;
}

void user_merge_send(UserNet *u, const uint8_t *f, size_t len)
{
    UserMerge *m = &u->merge;
    bool may = u->entered && !m->sending && len <= MAX_FRAME;
    size_t tcp = may ? find_tcp(f, len) : 0, data = tcp + TCP_LEN;
    bool plain = tcp && card_takes(u, tcp);
    if (!plain) {
        user_merge_flush(u);
        pass_on(u, f, len, &(struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_DATA_VALID });
        return;
    }
    if (follows(m, f, len, tcp)) {
        memcpy(m->frame + m->len, f + data, len - data);
        m->frame[tcp + TCP_FLAGS] |= f[tcp + TCP_FLAGS];
        m->len += len - data;
        m->nr++;
    } else {
        user_merge_flush(u);
        memcpy(m->frame, f, len);
        m->len = len;
        m->tcp = tcp;
        m->mss = (uint16_t)(len - data);
        m->nr = 1;
    }
    if (len - data < m->mss || f[tcp + TCP_FLAGS] & FLAG_PSH) {
        user_merge_flush(u);
    }
}
