/* SPDX-License-Identifier: GPL-2.0-or-later
 * Offloads done in software, for a sender whose peer does not take them: completing checksums
 * (RFC 1071) and cutting large TCP segments (IPv4, RFC 791; IPv6, RFC 8200; TCP, RFC 9293) and UDP
 * datagrams into frames of the MTU. Everything read here comes from a guest or a peer: each offset
 * is checked against the frame. UDP fragmentation (GSO_UDP) is nowhere offered and left out.
 */
#include "net/offload.h"

#include <endian.h>
#include <netinet/in.h>

#include "util/alloc.h"

/* ---- sums ---- */

uint64_t net_sum(const void *buf, size_t len, uint64_t sum)
{
    const uint8_t *p = buf;
    uint64_t low = 0, high = 0; /* two chains of additions at once */
    for (; len >= 16; p += 16, len -= 16) {
        uint64_t word[2];
        memcpy(word, p, 16);
        low += (word[0] & 0xffffffff) + (word[1] & 0xffffffff);
        high += (word[0] >> 32) + (word[1] >> 32);
    }
    sum += low + high;
    for (; len >= 4; p += 4, len -= 4) {
        uint32_t word;
        memcpy(&word, p, 4);
        sum += word;
    }
    if (len >= 2) {
        uint16_t half;
        memcpy(&half, p, 2);
        sum += half;
        p += 2;
        len -= 2;
    }
    return len ? sum + *p : sum; /* little-endian host: an odd byte is the low one */
}

uint16_t net_sum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint64_t net_sum_iov(const struct iovec *iov, int nr, size_t skip, size_t len)
{
    uint64_t sum = 0;
    bool odd = false; /* the piece starts at an odd place: its sum counts byte-swapped */
    for (int i = 0; i < nr && len; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t n = MIN(iov[i].iov_len - skip, len);
        uint16_t part = net_sum_fold(net_sum((uint8_t *)iov[i].iov_base + skip, n, 0));
        sum += odd ? (uint16_t)(part << 8 | part >> 8) : part;
        odd ^= n & 1;
        skip = 0;
        len -= n;
    }
    return sum;
}

size_t net_iov_copy(void *to, size_t len, const struct iovec *iov, int nr, size_t skip)
{
    size_t done = 0;
    for (int i = 0; i < nr && done < len; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t n = MIN(iov[i].iov_len - skip, len - done);
        memcpy((uint8_t *)to + done, (uint8_t *)iov[i].iov_base + skip, n);
        done += n;
        skip = 0;
    }
    return done;
}

/* ---- what is accepted ---- */

static unsigned gso_needs(const struct virtio_net_hdr *o)
{
    unsigned needs = o->gso_type & VIRTIO_NET_HDR_GSO_ECN ? NET_ECN : 0;
    switch (o->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE: return needs;
    case VIRTIO_NET_HDR_GSO_TCPV4: return needs | NET_TSO4;
    case VIRTIO_NET_HDR_GSO_TCPV6: return needs | NET_TSO6;
    case VIRTIO_NET_HDR_GSO_UDP_L4: return needs | NET_USO;
    default: return UINT32_MAX; /* nobody takes it, and it cannot be cut */
    }
}

bool net_offload_accepted(const struct virtio_net_hdr *o, unsigned accepts)
{
    unsigned needs = gso_needs(o);
    if (o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        needs |= NET_CSUM;
    }
    return !(needs & ~accepts);
}

/* ---- checksums ---- */

/* What stands in the field so far is part of the sum (the pseudo header's). */
static bool complete_checksum(uint8_t *frame, size_t len, const struct virtio_net_hdr *o)
{
    size_t start = o->csum_start, at = start + o->csum_offset;
    if (start >= len || at + 2 > len) {
        return false;
    }
    uint16_t sum = (uint16_t)~net_sum_fold(net_sum(frame + start, len - start, 0));
    /* UDP: a zero would mean that there is none; to TCP both zeroes are the same. */
    sum = sum ? sum : 0xffff;
    memcpy(frame + at, &sum, 2);
    return true;
}

/* ---- headers ---- */

enum {
    AT_TYPE = 12,
    VLAN_LEN = 4,
    TYPE_VLAN = 0x8100,
    TYPE_QINQ = 0x88a8,
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86dd
};
enum {
    IPV4_TOTAL = 2,
    IPV4_ID = 4,
    IPV4_PROTO = 9,
    IPV4_CSUM = 10,
    IPV4_SRC = 12,
    IPV4_MIN = 20,
    IPV6_LEN = 4,
    IPV6_SRC = 8,
    IPV6_MIN = 40
};
enum {
    TCP_SEQ = 4,
    TCP_OFFSET = 12,
    TCP_FLAGS = 13,
    TCP_CSUM = 16,
    TCP_MIN = 20,
    TCP_FIN = 0x01,
    TCP_PSH = 0x08,
    TCP_CWR = 0x80,
    UDP_LEN = 4,
    UDP_CSUM = 6,
    UDP_MIN = 8
};
enum { MAX_HEADERS = 256 };
/* Of one frame. Systems send none of less than 48 bytes: that many fit into the longest one, while
 * segments of a byte each would keep whoever cuts them busy for long. */
enum { MAX_SEGMENTS = NET_MAX_PACKET / 48 };

typedef struct Headers {
    size_t l3, l4, payload; /* offsets */
    bool ipv6, tcp;
} Headers;

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, size_t val)
{
    p[0] = (uint8_t)(val >> 8);
    p[1] = (uint8_t)val;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t val)
{
    put16(p, val >> 16);
    put16(p + 2, val & 0xffff);
}

/* csum_start says where the transport header is, so that extension headers need no walk. */
static bool find_headers(const uint8_t *f, size_t len, const struct virtio_net_hdr *o, Headers *h)
{
    unsigned gso = o->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
    h->tcp = gso != VIRTIO_NET_HDR_GSO_UDP_L4;
    size_t at = AT_TYPE;
    for (int tags = 0; len >= at + 2 + VLAN_LEN && tags < 2 &&
                       (get16(f + at) == TYPE_VLAN || get16(f + at) == TYPE_QINQ);
         tags++) {
        at += VLAN_LEN;
    }
    if (len < at + 2 + IPV4_MIN) {
        return false;
    }
    h->l3 = at + 2;
    h->ipv6 = get16(f + at) == TYPE_IPV6;
    if (!h->ipv6 && get16(f + at) != TYPE_IPV4) {
        return false;
    }
    size_t min = h->ipv6 ? IPV6_MIN : (size_t)(f[h->l3] & 0xf) * 4;
    h->l4 = o->csum_start;
    if ((!h->ipv6 && min < IPV4_MIN) || h->l4 < h->l3 + min) {
        return false;
    }
    if (h->l4 + (h->tcp ? TCP_MIN : UDP_MIN) > len) {
        return false;
    }
    size_t l4_len = h->tcp ? (size_t)(f[h->l4 + TCP_OFFSET] >> 4) * 4 : UDP_MIN;
    h->payload = h->l4 + l4_len;
    return l4_len >= (h->tcp ? TCP_MIN : UDP_MIN) && h->payload <= len && h->payload <= MAX_HEADERS;
}

/* ---- segmentation ---- */

/* The sum of the pseudo header: addresses, protocol, length (RFC 9293 3.1, RFC 8200 8.1). */
static uint64_t pseudo_sum(const uint8_t *f, const Headers *h, size_t l4_len)
{
    uint64_t sum =
        h->ipv6 ? net_sum(f + h->l3 + IPV6_SRC, 32, 0) : net_sum(f + h->l3 + IPV4_SRC, 8, 0);
    return sum + htobe16(h->tcp ? IPPROTO_TCP : IPPROTO_UDP) + htobe32((uint32_t)l4_len);
}

/* Lengths, number, IP checksum and flags of one piece of payload at offset done; the frame's are
 * the model. */
static void fix_lengths(uint8_t *f, size_t len, const Headers *h, size_t done, unsigned index,
                        bool last)
{
    size_t l4_len = len - h->l4;
    if (h->ipv6) {
        put16(f + h->l3 + IPV6_LEN, len - h->l3 - IPV6_MIN);
    } else {
        put16(f + h->l3 + IPV4_TOTAL, len - h->l3);
        put16(f + h->l3 + IPV4_ID, (uint16_t)(get16(f + h->l3 + IPV4_ID) + index));
        memset(f + h->l3 + IPV4_CSUM, 0, 2);
        uint16_t sum = (uint16_t)~net_sum_fold(net_sum(f + h->l3, (size_t)(f[h->l3] & 0xf) * 4, 0));
        memcpy(f + h->l3 + IPV4_CSUM, &sum, 2);
    }
    uint8_t *l4 = f + h->l4;
    if (h->tcp) {
        put32(l4 + TCP_SEQ, get32(l4 + TCP_SEQ) + (uint32_t)done);
        if (!last) {
            l4[TCP_FLAGS] &= ~(TCP_FIN | TCP_PSH);
        }
        if (index) {
            l4[TCP_FLAGS] &= ~TCP_CWR; /* it answers once (RFC 3168 6.1.2) */
        }
    } else {
        put16(l4 + UDP_LEN, l4_len);
    }
}

static void fix_headers(uint8_t *f, size_t len, const Headers *h, size_t done, unsigned index,
                        bool last)
{
    uint8_t *l4 = f + h->l4;
    size_t l4_len = len - h->l4;
    fix_lengths(f, len, h, done, index, last);
    uint8_t *csum = l4 + (h->tcp ? TCP_CSUM : UDP_CSUM);
    memset(csum, 0, 2);
    uint16_t sum = (uint16_t)~net_sum_fold(net_sum(l4, l4_len, pseudo_sum(f, h, l4_len)));
    sum = sum ? sum : 0xffff;
    memcpy(csum, &sum, 2);
}

static bool segment(const uint8_t *frame, size_t len, const struct virtio_net_hdr *o,
                    void (*fn)(void *opaque, const NetPacket *p), void *opaque)
{
    Headers h;
    if (!o->gso_size || !find_headers(frame, len, o, &h)) {
        return false;
    }
    size_t room = h.payload + MIN(o->gso_size, len), total = len - h.payload;
    if (total / o->gso_size > MAX_SEGMENTS) {
        return false;
    }
    uint8_t *out = xmalloc(room);
    size_t done = 0;
    unsigned index = 0;
    do {
        size_t n = MIN((size_t)o->gso_size, total - done);
        memcpy(out, frame, h.payload);
        memcpy(out + h.payload, frame + h.payload + done, n);
        fix_headers(out, h.payload + n, &h, done, index++, done + n == total);
        struct iovec iov = { out, h.payload + n };
        NetPacket p = { &iov, 1, h.payload + n, { 0 } };
        fn(opaque, &p);
        done += n;
    } while (done < total);
    free(out);
    return true;
}

bool net_offload_begin(uint8_t *frame, size_t len, struct virtio_net_hdr *o)
{
    Headers h;
    if (!o->gso_size || !find_headers(frame, len, o, &h)) {
        return false;
    }
    if (len - h.payload <= o->gso_size) {
        fix_headers(frame, len, &h, 0, 0, true);
        *o = (struct virtio_net_hdr){ 0 }; /* one segment, and it is whole */
        return true;
    }
    fix_lengths(frame, len, &h, 0, 0, true);
    uint16_t begun = net_sum_fold(pseudo_sum(frame, &h, len - h.l4));
    memcpy(frame + h.l4 + (h.tcp ? TCP_CSUM : UDP_CSUM), &begun, 2);
    return true;
}

bool net_offload_finish(const NetPacket *p, unsigned accepts,
                        void (*fn)(void *opaque, const NetPacket *p), void *opaque)
{
    uint8_t *frame = xmalloc(p->len);
    size_t len = net_iov_copy(frame, p->len, p->iov, p->nr_iov, 0);
    unsigned gso = gso_needs(&p->offload);
    bool ok = true;
    if (gso & ~accepts) {
        ok = gso != UINT32_MAX && segment(frame, len, &p->offload, fn, opaque);
    } else {
        /* Large and whole: a stack that takes any length, but sums all of it. */
        NetPacket done = *p;
        struct iovec iov = { frame, len };
        Headers h;
        if (p->offload.gso_type == VIRTIO_NET_HDR_GSO_NONE) {
            ok = complete_checksum(frame, len, &p->offload);
        } else {
            ok = find_headers(frame, len, &p->offload, &h);
            if (ok) {
                fix_headers(frame, len, &h, 0, 0, true);
            }
        }
        done.iov = &iov;
        done.nr_iov = 1;
        done.offload.flags &= (uint8_t)~VIRTIO_NET_HDR_F_NEEDS_CSUM;
        if (ok) {
            fn(opaque, &done);
        }
    }
    free(frame);
    return ok;
}
