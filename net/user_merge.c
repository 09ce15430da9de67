/* SPDX-License-Identifier: GPL-2.0-or-later
 * Fewer, larger packets to the guest. libslirp sends TCP segments of the MTU, often dozens in a
 * row, and each costs the guest an interrupt and a way through its stack. Where the card takes
 * segments of any length (NET_TSO4), those that follow each other in one connection go as one, as
 * a host's own stack does it on receipt (GRO); nothing waits longer than libslirp's turn takes.
 * Headers: RFC 791, RFC 9293. IPv6, and segments with options, go as they come.
 */
#include <arpa/inet.h>
#include <string.h>

#include "net/user_internal.h"

enum {
    AT_TYPE = 12,
    AT_IP = 14,
    AT_TOS = AT_IP + 1,
    AT_TOTAL = AT_IP + 2,
    AT_FRAGMENT = AT_IP + 6,
    AT_TTL = AT_IP + 8,
    AT_PROTOCOL = AT_IP + 9,
    AT_IP_SUM = AT_IP + 10,
    AT_ADDRESSES = AT_IP + 12,
    AT_TCP = AT_IP + 20,
    AT_SEQ = AT_TCP + 4,
    AT_ACK = AT_TCP + 8,
    AT_OFFSET = AT_TCP + 12,
    AT_FLAGS = AT_TCP + 13,
    AT_WINDOW = AT_TCP + 14,
    AT_TCP_SUM = AT_TCP + 16,
    AT_DATA = AT_TCP + 20
};
enum { TYPE_IPV4 = 0x0800, PROTO_TCP = 6, FLAG_PSH = 0x08, FLAG_ACK = 0x10 };
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

/* Plain data of a connection, without options of any kind. */
static bool may_begin(const uint8_t *f, size_t len)
{
    return len > AT_DATA && get16(f + AT_TYPE) == TYPE_IPV4 && f[AT_IP] == 0x45 &&
           get16(f + AT_TOTAL) == len - AT_IP && !(get16(f + AT_FRAGMENT) & 0x3fff) &&
           f[AT_PROTOCOL] == PROTO_TCP && f[AT_OFFSET] == 0x50 &&
           (f[AT_FLAGS] & ~FLAG_PSH) == FLAG_ACK;
}

/* The next segment of what waits, alike in all that one header has to say for both. */
static bool follows(const UserMerge *m, const uint8_t *f, size_t len)
{
    const uint8_t *g = m->frame;
    return m->nr && len - AT_DATA <= m->mss && m->len + len - AT_DATA <= MAX_FRAME &&
           !memcmp(f, g, AT_TYPE) && f[AT_TOS] == g[AT_TOS] && f[AT_TTL] == g[AT_TTL] &&
           f[AT_FRAGMENT] == g[AT_FRAGMENT] &&
           !memcmp(f + AT_ADDRESSES, g + AT_ADDRESSES, AT_SEQ - AT_ADDRESSES) &&
           get32(f + AT_SEQ) == get32(g + AT_SEQ) + (uint32_t)(m->len - AT_DATA) &&
           !memcmp(f + AT_ACK, g + AT_ACK, 4) && !memcmp(f + AT_WINDOW, g + AT_WINDOW, 2);
}

void user_merge_flush(UserNet *u)
{
    UserMerge *m = &u->merge;
    uint8_t *f = m->frame;
    struct virtio_net_hdr o = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
    if (m->nr > 1) {
        uint16_t l4_len = (uint16_t)(m->len - AT_TCP);
        put16(f + AT_TOTAL, (uint16_t)(m->len - AT_IP));
        memset(f + AT_IP_SUM, 0, 2);
        uint16_t sum = (uint16_t)~net_sum_fold(net_sum(f + AT_IP, AT_TCP - AT_IP, 0));
        memcpy(f + AT_IP_SUM, &sum, 2);
        uint64_t pseudo = net_sum(f + AT_ADDRESSES, 8, htons(PROTO_TCP) + htons(l4_len));
        sum = net_sum_fold(pseudo);
        memcpy(f + AT_TCP_SUM, &sum, 2);
        o = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                     .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                     .gso_size = m->mss,
                                     .hdr_len = AT_DATA,
                                     .csum_start = AT_TCP,
                                     .csum_offset = AT_TCP_SUM - AT_TCP };
    }
    if (m->nr) {
        m->nr = 0;
        m->sending = true;
        pass_on(u, f, m->len, &o);
        m->sending = false;
    }
}

void user_merge_send(UserNet *u, const uint8_t *f, size_t len)
{
    UserMerge *m = &u->merge;
    unsigned need = NET_CSUM | NET_TSO4;
    bool plain = u->entered && !m->sending && u->nc.peer && (u->nc.peer->accepts & need) == need &&
                 len <= MAX_FRAME && may_begin(f, len);
    if (plain && follows(m, f, len)) {
        memcpy(m->frame + m->len, f + AT_DATA, len - AT_DATA);
        m->frame[AT_FLAGS] |= f[AT_FLAGS];
        m->len += len - AT_DATA;
        m->nr++;
    } else {
        user_merge_flush(u);
        if (!plain) {
            pass_on(u, f, len, &(struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_DATA_VALID });
            return;
        }
        memcpy(m->frame, f, len);
        m->len = len;
        m->mss = (uint16_t)(len - AT_DATA);
        m->nr = 1;
    }
    if (len - AT_DATA < m->mss || f[AT_FLAGS] & FLAG_PSH) {
        user_merge_flush(u);
    }
}
