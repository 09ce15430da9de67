/* SPDX-License-Identifier: GPL-2.0-or-later
 * e1000: receiving (8254x 3.2). A frame passes the address and VLAN filters, goes into the
 * buffers of as many descriptors as it needs, and interrupts after RDTR and RADV. Where the guest
 * has not enough descriptors the frame waits outside until it has. The FCS that is stored without
 * RCTL.SECRC is four zeroes.
 */
#include "hw/net/e1000.h"

#include <string.h>
#include "net/offload.h"

enum {
    RX_DD = 1 << 0,
    RX_EOP = 1 << 1,
    RX_IXSM = 1 << 2,
    RX_VP = 1 << 3,
    RX_TCPCS = 1 << 5,
    RX_IPCS = 1 << 6,
    RX_PIF = 1 << 7
}; /* status, 8254x 3.2.3.1 */
enum { RX_ERR_TCPE = 1 << 5, RX_ERR_IPE = 1 << 6 };
enum { RXCSUM_PCSS = 0xff, RXCSUM_IPOFL = 1 << 8, RXCSUM_TUOFL = 1 << 9 };
enum { RAH_AV = 31 };
enum { FCS_SIZE = 4, STANDARD_FRAME = 1518 };
enum { RDTR_DELAY = 0xffff, DELAY_NS = 1024 };

typedef struct RxFrame {
    uint8_t *data;
    size_t len; /* without FCS */
    uint8_t status, errors;
    uint16_t csum, vlan;
} RxFrame;

/* ---- descriptors ---- */

static uint32_t ring_size(const E1000 *s)
{
    return s->rdlen / DESC_SIZE;
}

static uint32_t free_descriptors(const E1000 *s)
{
    uint32_t n = ring_size(s);
    if (s->rdh >= n || s->rdt >= n) {
        return 0;
    }
    return s->rdt >= s->rdh ? s->rdt - s->rdh : n - s->rdh + s->rdt;
}

static size_t buffer_size(const E1000 *s)
{
    unsigned shift = (s->rctl & RCTL_BSIZE) >> 16;
    return s->rctl & RCTL_BSEX && shift ? 32768u >> shift : 2048u >> shift;
}

static bool on(const E1000 *s)
{
    return s->rctl & RCTL_EN && (s->status & STATUS_LU || e1000_phy_loops(s));
}

bool e1000_can_receive(NetClient *nc)
{
    const E1000 *s = container_of(nc, E1000, nc);
    return !on(s) || free_descriptors(s);
}

/* ---- filters, 8254x 3.2.1 and 13.5 ---- */

static bool exact_match(const E1000 *s, const uint8_t *dest)
{
    for (unsigned i = 0; i < NR_RA; i += 2) {
        if (s->ra[i + 1] >> RAH_AV && pci_get32(dest) == s->ra[i] &&
            pci_get16(dest + 4) == (s->ra[i + 1] & 0xffff)) {
            return true;
        }
    }
    return false;
}

/* Twelve bits of the address choose one of the table's; RCTL.MO says which twelve. */
static bool hash_match(const E1000 *s, const uint8_t *dest)
{
    static const uint8_t shift[4] = { 4, 3, 2, 0 };
    unsigned bits = pci_get16(dest + 4) >> shift[(s->rctl & RCTL_MO) >> 12] & 0xfff;
    return s->mta[bits >> 5] >> (bits & 31) & 1;
}

static bool wanted(const E1000 *s, const uint8_t *frame, bool tagged, uint16_t vlan)
{
    static const uint8_t broadcast[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    if (tagged && s->rctl & RCTL_VFE && !(s->vfta[vlan >> 5 & 0x7f] >> (vlan & 31) & 1)) {
        return false;
    }
    if (!memcmp(frame, broadcast, ETH_ALEN)) {
        return s->rctl & (RCTL_BAM | RCTL_MPE);
    }
    if (frame[0] & 1) {
        return s->rctl & RCTL_MPE || exact_match(s, frame) || hash_match(s, frame);
    }
    return s->rctl & RCTL_UPE || exact_match(s, frame);
}

/* ---- checksums, 8254x 3.2.9 ---- */

static uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* TCP or UDP behind a header of IPv4 or IPv6 without extensions. ip and len: from there on. */
static void check_transport(RxFrame *f, const uint8_t *ip, size_t header, size_t len)
{
    bool v6 = ip[0] >> 4 == 6;
    uint8_t protocol = v6 ? ip[6] : ip[9];
    size_t l4_len = len - header;
    if ((protocol != 6 && protocol != 17) || l4_len < (protocol == 6 ? 20u : 8u)) {
        return;
    }
    if (protocol == 17 && !get_be16(ip + header + 6)) {
        return; /* the sender made none */
    }
    uint8_t tail[4] = { 0, protocol, (uint8_t)(l4_len >> 8), (uint8_t)l4_len };
    uint64_t sum = v6 ? net_sum(ip + 8, 32, 0) : net_sum(ip + 12, 8, 0);
    sum = net_sum(ip + header, l4_len, net_sum(tail, sizeof(tail), sum));
    f->status |= RX_TCPCS;
    if (net_sum_fold(sum) != 0xffff) {
        f->errors |= RX_ERR_TCPE;
    }
}

static void check_ip(const E1000 *s, RxFrame *f)
{
    const uint8_t *ip = f->data + ETH_HLEN;
    size_t room = f->len - ETH_HLEN;
    uint16_t type = get_be16(f->data + 12);
    if (type == 0x0800 && room >= 20 && ip[0] >> 4 == 4) {
        size_t header = (size_t)(ip[0] & 15) * 4, total = get_be16(ip + 2);
        if (header < 20 || total < header || total > room) {
            return;
        }
        if (s->rxcsum & RXCSUM_IPOFL) {
            f->status |= RX_IPCS;
            f->errors |= net_sum_fold(net_sum(ip, header, 0)) == 0xffff ? 0 : RX_ERR_IPE;
        }
        if (s->rxcsum & RXCSUM_TUOFL && !(get_be16(ip + 6) & 0x3fff)) {
            check_transport(f, ip, header, total);
        }
    } else if (type == 0x86dd && room >= 40 && ip[0] >> 4 == 6 && s->rxcsum & RXCSUM_TUOFL &&
               get_be16(ip + 4) + 40u <= room) {
        check_transport(f, ip, 40, 40u + get_be16(ip + 4));
    }
}

static void check_sums(const E1000 *s, RxFrame *f)
{
    size_t start = s->rxcsum & RXCSUM_PCSS;
    if (start < f->len) {
        f->csum = net_sum_fold(net_sum(f->data + start, f->len - start, 0));
    }
    if (s->rxcsum & (RXCSUM_IPOFL | RXCSUM_TUOFL)) {
        check_ip(s, f);
    }
    if (!(f->status & (RX_IPCS | RX_TCPCS))) {
        f->status |= RX_IXSM;
    }
}

/* ---- storing ---- */

static void strip_vlan(const E1000 *s, RxFrame *f, uint16_t vlan)
{
    if (s->ctrl & CTRL_VME) {
        memmove(f->data + VLAN_SIZE, f->data, 2 * ETH_ALEN);
        f->data += VLAN_SIZE;
        f->len -= VLAN_SIZE;
        f->vlan = vlan;
        f->status |= RX_VP;
    }
}

/* False: a descriptor cannot be read; the ring stays as it is. */
static bool store(E1000 *s, const RxFrame *f, size_t total)
{
    uint64_t ring = (uint64_t)s->rdbah << 32 | s->rdbal;
    size_t done = 0, room = buffer_size(s);
    uint32_t head = s->rdh;
    while (done < total) {
        uint8_t d[DESC_SIZE];
        if (!pci_dma_read(&s->pci, ring + head * DESC_SIZE, d, sizeof(d))) {
            return false;
        }
        size_t n = MIN(room, total - done);
        uint64_t to = pci_get32(d) | (uint64_t)pci_get32(d + 4) << 32;
        bool last = done + n == total;
        if (to) {
            pci_dma_write(&s->pci, to, f->data + done, n);
        }
        pci_put16(d + 8, (uint16_t)n);
        pci_put16(d + 10, last ? f->csum : 0);
        d[12] = last ? f->status | RX_DD | RX_EOP : RX_DD;
        d[13] = last ? f->errors : 0;
        pci_put16(d + 14, last ? f->vlan : 0);
        pci_dma_write(&s->pci, ring + head * DESC_SIZE + 8, d + 8, 8);
        done += n;
        head = head + 1 < ring_size(s) ? head + 1 : 0;
    }
    s->rdh = head;
    return true;
}

static void count(E1000 *s, const RxFrame *f)
{
    size_t len = MAX(f->len, (size_t)MIN_FRAME) + FCS_SIZE;
    e1000_count(s, STAT_TPR, 1);
    e1000_count(s, STAT_GPRC, 1);
    e1000_count64(s, STAT_GORCL, len);
    e1000_count64(s, STAT_TORL, len);
    e1000_count(s, STAT_PRC64 + e1000_size_class(len - FCS_SIZE), 1);
    if (f->data[0] & 1) {
        bool broadcast = pci_get32(f->data) == UINT32_MAX && pci_get16(f->data + 4) == UINT16_MAX;
        e1000_count(s, broadcast ? STAT_BPRC : STAT_MPRC, 1);
    }
}

/* ---- interrupts ---- */

void e1000_rx_timer(void *opaque)
{
    E1000 *s = opaque;
    s->rx_first_ns = 0;
    e1000_interrupt(s, ICR_RXT0);
}

void e1000_rx_flush_timer(E1000 *s)
{
    if (timer_armed(&s->rx_timer)) {
        timer_cancel(&s->rx_timer);
        e1000_rx_timer(s);
    }
}

/* RDTR starts anew with each frame; RADV bounds the wait from the first one on. */
static uint32_t receive_causes(E1000 *s)
{
    uint32_t n = ring_size(s), causes = 0;
    uint64_t delay = (uint64_t)(s->rdtr & RDTR_DELAY) * DELAY_NS;
    if (free_descriptors(s) <= n >> (1 + ((s->rctl & RCTL_RDMTS) >> 8))) {
        causes |= ICR_RXDMT0;
    }
    if (!delay) {
        return causes | ICR_RXT0;
    }
    uint64_t now = guest_clock_ns(), until = now + delay;
    s->rx_first_ns = s->rx_first_ns ? s->rx_first_ns : now;
    if (s->radv & RDTR_DELAY) {
        until = MIN(until, s->rx_first_ns + (s->radv & RDTR_DELAY) * (uint64_t)DELAY_NS);
    }
    timer_arm(&s->rx_timer, until);
    return causes;
}

/* ---- the way in ---- */

/* The frame waits, unless the whole ring has no room for it: it would wait for ever. */
static bool no_room(E1000 *s, size_t total)
{
    bool never = ring_size(s) && (ring_size(s) - 1) * (uint64_t)buffer_size(s) < total;
    e1000_count(s, never ? STAT_MPC : STAT_RNBC, 1);
    e1000_interrupt(s, ICR_RXO);
    return never;
}

bool e1000_receive(NetClient *nc, const NetPacket *p)
{
    E1000 *s = container_of(nc, E1000, nc);
    RxFrame f = { .data = s->rx_frame, .len = MAX(p->len, (size_t)MIN_FRAME) };
    if (!on(s) || p->len < ETH_HLEN) {
        return true;
    }
    if (p->len > E1000_MAX_FRAME - FCS_SIZE ||
        (!(s->rctl & RCTL_LPE) && p->len > STANDARD_FRAME + VLAN_SIZE - FCS_SIZE)) {
        e1000_count(s, STAT_ROC, 1);
        return true;
    }
    size_t got = net_iov_copy(f.data, p->len, p->iov, p->nr_iov, 0);
    memset(f.data + got, 0, f.len + FCS_SIZE - got);
    bool tagged = get_be16(f.data + 12) == (s->vet & 0xffff) && p->len >= ETH_HLEN + VLAN_SIZE;
    uint16_t vlan = tagged ? get_be16(f.data + 14) : 0;
    if (!wanted(s, f.data, tagged, vlan & 0xfff)) {
        return true;
    }
    if (tagged) {
        strip_vlan(s, &f, vlan);
    }
    if (f.data[0] & 1 || !exact_match(s, f.data)) {
        f.status |= RX_PIF;
    }
    size_t total = f.len + (s->rctl & RCTL_SECRC ? 0 : FCS_SIZE);
    if (free_descriptors(s) * (uint64_t)buffer_size(s) < total) {
        return no_room(s, total);
    }
    check_sums(s, &f);
    if (!store(s, &f, total)) {
        return true; /* not a master, or a ring outside memory: lost as on the wire */
    }
    count(s, &f);
    uint32_t causes = receive_causes(s);
    if (s->rsrpd && f.len <= (s->rsrpd & 0xfff)) {
        causes |= ICR_SRPD;
    }
    if (causes) {
        e1000_interrupt(s, causes);
    }
    return true;
}
