/* SPDX-License-Identifier: GPL-2.0-or-later
 * e1000: transmitting (8254x 3.3, 3.4, 3.5). A write of TDT takes packets off the ring, one whole
 * packet at a time: its descriptors are looked at when the one with EOP is there. What offloads
 * ask for goes along with the packet (net/net.h), so that segments are cut only for who needs it.
 * Prefetch thresholds, RPS and the half-duplex machinery are left out.
 */
#include "hw/net/e1000.h"

#include <string.h>

#include "net/offload.h"
#include "util/timer.h"

enum {
    CMD_EOP = 1 << 0,
    CMD_IFCS = 1 << 1,
    CMD_IC = 1 << 2,
    CMD_TSE = 1 << 2,
    CMD_RS = 1 << 3,
    CMD_RPS = 1 << 4,
    CMD_DEXT = 1 << 5,
    CMD_VLE = 1 << 6,
    CMD_IDE = 1 << 7
};
enum { TUCMD_TCP = 1 << 0, TUCMD_IP = 1 << 1, TUCMD_TSE = 1 << 2 };
enum { POPTS_IXSM = 1 << 0, POPTS_TXSM = 1 << 1 };
enum { DTYP_CONTEXT = 0, DTYP_DATA = 1, STA_DD = 1 << 0 };
enum { MAX_PACKET_DESCS = 128, ROUND_DESCS = 1024, DELAY_NS = 1024, FCS_SIZE = 4 };

typedef struct TxDesc {
    uint64_t address;
    uint32_t at;     /* index in the ring */
    uint32_t length; /* 20 bits; 16 if legacy */
    uint8_t cmd, cso, css, popts;
    uint16_t special;
    bool legacy, context;
    uint8_t raw[DESC_SIZE];
} TxDesc;

typedef struct TxPacket {
    uint8_t *data; /* in tx_frame */
    size_t len;
    struct virtio_net_hdr offload;
} TxPacket;

static uint32_t ring_size(const E1000 *s)
{
    return s->tdlen / DESC_SIZE;
}

static uint64_t ring_base(const E1000 *s)
{
    return (uint64_t)s->tdbah << 32 | s->tdbal;
}

/* ---- descriptors ---- */

static bool fetch(E1000 *s, uint32_t at, TxDesc *d)
{
    uint8_t *raw = d->raw;
    if (!pci_dma_read(&s->pci, ring_base(s) + at * (uint64_t)DESC_SIZE, raw, DESC_SIZE)) {
        return false;
    }
    d->at = at;
    d->address = pci_get32(raw) | (uint64_t)pci_get32(raw + 4) << 32;
    d->cmd = raw[11];
    d->legacy = !(d->cmd & CMD_DEXT);
    d->context = !d->legacy && raw[10] >> 4 == DTYP_CONTEXT;
    d->length = d->legacy ? pci_get16(raw + 8) : pci_get32(raw + 8) & 0xfffff;
    d->cso = raw[10];
    d->popts = d->css = raw[13];
    d->special = pci_get16(raw + 14);
    return true;
}

static void load_context(E1000 *s, const TxDesc *d)
{
    const uint8_t *raw = d->raw;
    E1000Context *c = d->cmd & TUCMD_TSE ? &s->tcp : &s->plain;
    c->ipcss = raw[0];
    c->ipcso = raw[1];
    c->ipcse = pci_get16(raw + 2);
    c->tucss = raw[4];
    c->tucso = raw[5];
    c->tucse = pci_get16(raw + 6);
    c->tucmd = d->cmd;
    c->hdrlen = raw[13];
    c->mss = pci_get16(raw + 14);
}

/* Tells the guest that d is done, if it wants to know. The causes of that. */
static uint32_t write_back(E1000 *s, const TxDesc *d)
{
    if (!(d->cmd & (CMD_RS | CMD_RPS))) {
        return 0;
    }
    uint8_t status = d->raw[12] | STA_DD;
    pci_dma_write(&s->pci, ring_base(s) + d->at * (uint64_t)DESC_SIZE + 12, &status, 1);
    if (!(d->cmd & CMD_IDE) || !(s->tidv & 0xffff)) {
        return ICR_TXDW;
    }
    uint64_t now = guest_clock_ns(), until = now + (s->tidv & 0xffff) * (uint64_t)DELAY_NS;
    s->tx_first_ns = s->tx_first_ns ? s->tx_first_ns : now;
    if (s->tadv & 0xffff) {
        until = MIN(until, s->tx_first_ns + (s->tadv & 0xffff) * (uint64_t)DELAY_NS);
    }
    timer_arm(&s->tx_timer, until);
    return 0;
}

void e1000_tx_timer(void *opaque)
{
    E1000 *s = opaque;
    s->tx_first_ns = 0;
    e1000_interrupt(s, ICR_TXDW);
}

/* ---- what is done to a packet ---- */

/* Sums from css to end (inclusive; 0: the packet's) and puts the result at cso, 8254x 3.3.6.1. */
static void insert_sum(TxPacket *p, size_t css, size_t cso, size_t cse)
{
    size_t end = cse && cse + 1 < p->len ? cse + 1 : p->len;
    if (css >= end || cso + 2 > p->len) {
        return;
    }
    uint16_t sum = (uint16_t)~net_sum_fold(net_sum(p->data + css, end - css, 0));
    memcpy(p->data + cso, &sum, 2);
}

/* The IP header's is done here; the long one is left to the network. */
static void offload_sums(TxPacket *p, const E1000Context *c, uint8_t popts)
{
    if (popts & POPTS_IXSM && c->ipcso + 2u <= p->len) {
        memset(p->data + c->ipcso, 0, 2);
        insert_sum(p, c->ipcss, c->ipcso, c->ipcse);
    }
    if (!(popts & POPTS_TXSM)) {
        return;
    }
    if (!c->tucse && c->tucso >= c->tucss) {
        p->offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        p->offload.csum_start = c->tucss;
        p->offload.csum_offset = c->tucso - c->tucss;
    } else {
        insert_sum(p, c->tucss, c->tucso, c->tucse);
    }
}

/* False: nothing that can be cut. */
static bool offload_segments(E1000 *s, TxPacket *p)
{
    const E1000Context *c = &s->tcp;
    bool v4 = c->tucmd & TUCMD_IP;
    if (!(c->tucmd & TUCMD_TCP)) {
        log_unimp("e1000: segmentation of UDP");
        return false;
    }
    p->offload = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                          .gso_type = v4 ? VIRTIO_NET_HDR_GSO_TCPV4
                                                         : VIRTIO_NET_HDR_GSO_TCPV6,
                                          .gso_size = c->mss,
                                          .hdr_len = c->hdrlen,
                                          .csum_start = c->tucss,
                                          .csum_offset = 16 };
    e1000_count(s, STAT_TSCTC, 1);
    return net_offload_begin(p->data, p->len, &p->offload);
}

static void insert_vlan(E1000 *s, TxPacket *p, uint16_t tag)
{
    memmove(p->data - VLAN_SIZE, p->data, 2 * ETH_ALEN);
    p->data -= VLAN_SIZE;
    p->len += VLAN_SIZE;
    uint8_t *at = p->data + 2 * ETH_ALEN;
    at[0] = (uint8_t)(s->vet >> 8);
    at[1] = (uint8_t)s->vet;
    at[2] = (uint8_t)(tag >> 8);
    at[3] = (uint8_t)tag;
    if (p->offload.flags) {
        p->offload.csum_start += VLAN_SIZE;
        p->offload.hdr_len += p->offload.hdr_len ? VLAN_SIZE : 0;
    }
}

static void count(E1000 *s, const TxPacket *p)
{
    size_t len = MAX(p->len, (size_t)MIN_FRAME) + FCS_SIZE;
    e1000_count(s, STAT_TPT, 1);
    e1000_count(s, STAT_GPTC, 1);
    e1000_count64(s, STAT_GOTCL, len);
    e1000_count64(s, STAT_TOTL, len);
    e1000_count(s, STAT_PTC64 + e1000_size_class(len - FCS_SIZE), 1);
    if (p->data[0] & 1) {
        bool broadcast = pci_get32(p->data) == UINT32_MAX && pci_get16(p->data + 4) == UINT16_MAX;
        e1000_count(s, broadcast ? STAT_BPTC : STAT_MPTC, 1);
    }
}

/* d[0..nr) is one packet, all there. False: send no more for now. */
static bool send(E1000 *s, const TxDesc *d, unsigned nr)
{
    const TxDesc *first = &d[0], *last = &d[nr - 1];
    TxPacket p = { .data = s->tx_frame + VLAN_SIZE };
    bool ok = true;
    for (unsigned i = 0; i < nr && ok; i++) {
        ok = p.len + d[i].length <= NET_MAX_PACKET - VLAN_SIZE &&
             pci_dma_read(&s->pci, d[i].address, p.data + p.len, d[i].length);
        p.len += ok ? d[i].length : 0;
    }
    if (!ok || p.len < ETH_HLEN) {
        log_guest("e1000: a packet to send is too long, too short or not in memory");
        return true;
    }
    if (first->legacy) {
        if (last->cmd & CMD_IC) {
            insert_sum(&p, last->css, last->cso, 0);
        }
    } else if (first->cmd & CMD_TSE) {
        ok = offload_segments(s, &p);
    } else {
        offload_sums(&p, &s->plain, first->popts);
    }
    if (!ok) {
        return true;
    }
    if (last->cmd & CMD_VLE && s->ctrl & CTRL_VME) {
        insert_vlan(s, &p, last->special);
    }
    count(s, &p);
    struct iovec iov = { p.data, p.len };
    NetPacket packet = { &iov, 1, p.len, p.offload };
    if (e1000_phy_loops(s) || s->rctl & RCTL_LBM) {
        net_loop_back(&s->nc, &packet);
        return true;
    }
    if (!(s->status & STATUS_LU)) {
        return true;
    }
    return net_send(&s->nc, &packet);
}

/* ---- the ring ---- */

/* The next packet's descriptors from TDH on. 0: it is not all there yet. */
static unsigned gather(E1000 *s, TxDesc d[MAX_PACKET_DESCS])
{
    uint32_t at = s->tdh;
    for (unsigned nr = 0; at != s->tdt;) {
        if (!fetch(s, at, &d[nr])) {
            log_guest("e1000: the transmit ring is not in memory");
            return 0;
        }
        at = at + 1 < ring_size(s) ? at + 1 : 0;
        if (d[nr].context || d[nr].cmd & CMD_EOP || nr + 1 == MAX_PACKET_DESCS) {
            return nr + 1;
        }
        nr++;
    }
    return 0;
}

/* Takes one packet off the ring; how many descriptors that were, 0 if there is none. */
static unsigned take_packet(E1000 *s, uint32_t *causes, bool *go_on)
{
    TxDesc d[MAX_PACKET_DESCS];
    unsigned nr = gather(s, d);
    if (!nr) {
        return 0;
    }
    const TxDesc *last = &d[nr - 1];
    if (last->context) {
        /* Where it cuts a packet short, what came before it is lost. */
        load_context(s, last);
        s->tx_dropping = nr > 1;
    } else if (!(last->cmd & CMD_EOP)) {
        log_guest("e1000: a packet of more than %d descriptors", MAX_PACKET_DESCS);
        s->tx_dropping = true;
    } else if (s->tx_dropping) {
        s->tx_dropping = false;
    } else {
        *go_on = send(s, d, nr);
    }
    for (unsigned i = 0; i < nr; i++) {
        *causes |= write_back(s, &d[i]);
    }
    s->tdh = (s->tdh + nr) % ring_size(s);
    return nr;
}

void e1000_tx_run(void *opaque)
{
    E1000 *s = opaque;
    uint32_t causes = 0;
    unsigned budget = ROUND_DESCS, n = 1;
    bool go_on = true;
    if (!(s->tctl & TCTL_EN) || s->nc.stopped) {
        return;
    }
    /* Memory and registers of a machine that stands still, perhaps to be saved, do not change. */
    if (!guest_clock_running() && !guest_clock_is_manual()) {
        return; /* the network resumes us when it runs */
    }
    while (go_on && n && budget && s->tdh < ring_size(s) && s->tdt < ring_size(s)) {
        n = take_packet(s, &causes, &go_on);
        budget -= MIN(n, budget);
    }
    if (s->tdh == s->tdt && budget != ROUND_DESCS) {
        causes |= ICR_TXQE;
    }
    if (!budget) {
        bh_schedule(&s->tx_bh);
    }
    if (causes) {
        e1000_interrupt(s, causes);
    }
}

/* The vCPU that rang sends, too: to wake the main loop for each packet costs more, above all where
 * the two have one core to share. While the machine stands still (a test's, too) it waits. */
void e1000_tx_doorbell(E1000 *s)
{
    if (guest_clock_running() && !s->tx_bh.scheduled) {
        e1000_tx_run(s);
    } else {
        e1000_tx_kick(s);
    }
}

void e1000_tx_kick(E1000 *s)
{
    if (s->tctl & TCTL_EN && s->tdh != s->tdt) {
        bh_schedule(&s->tx_bh);
    }
}
