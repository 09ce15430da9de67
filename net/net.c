/* SPDX-License-Identifier: GPL-2.0-or-later
 * How packets go from a client to its peer: at once if the peer takes them, else through its
 * bounded queue. Clients and their names are in clients.c, back ends' types in backend.c.
 */
#include "net/net.h"

#include "net/internal.h"
#include "net/offload.h"
#include "util/alloc.h"

typedef struct WaitingPacket {
    List node;
    size_t len;
    struct virtio_net_hdr offload;
    uint8_t data[];
} WaitingPacket;

/* Whether the machine runs. */
static bool nics_run = true;

static bool can_take(NetClient *nc)
{
    if (nc->in_receive || (nc->info->is_nic && !nics_run)) {
        return false;
    }
    return !nc->info->can_receive || nc->info->can_receive(nc);
}

/* ---- the queue ---- */

static void enqueue(NetClient *nc, const NetPacket *p)
{
    if (nc->nr_waiting >= NET_QUEUE_PACKETS || nc->waiting_bytes + p->len > NET_QUEUE_BYTES) {
        nc->dropped++;
        return;
    }
    WaitingPacket *w = xmalloc(sizeof(*w) + p->len);
    w->len = net_iov_copy(w->data, p->len, p->iov, p->nr_iov, 0);
    w->offload = p->offload;
    list_insert(&nc->waiting, &w->node);
    nc->nr_waiting++;
    nc->waiting_bytes += w->len;
}

static void forget(NetClient *nc, WaitingPacket *w)
{
    list_remove(&w->node);
    nc->nr_waiting--;
    nc->waiting_bytes -= w->len;
    free(w);
}

void net_purge(NetClient *nc)
{
    while (!list_empty(&nc->waiting)) {
        forget(nc, container_of(nc->waiting.next, WaitingPacket, node));
    }
    if (nc->peer) {
        net_resume(nc->peer);
    }
}

/* A client that sent to itself on a detour (a hub) finds its packets here. */
static void flush_later(void *opaque)
{
    net_flush(opaque);
}

void net_queue_init(NetClient *nc)
{
    list_init(&nc->waiting);
    bh_init(&nc->flush_bh, flush_later, nc);
}

void net_queue_fini(NetClient *nc)
{
    bh_cancel(&nc->flush_bh);
    while (!list_empty(&nc->waiting)) {
        forget(nc, container_of(nc->waiting.next, WaitingPacket, node));
    }
}

/* ---- delivery ---- */

static bool hand_over(NetClient *nc, const NetPacket *p)
{
    nc->in_receive = true;
    bool taken = nc->info->receive(nc, p);
    nc->in_receive = false;
    if (taken) {
        nc->rx_packets++;
        nc->rx_bytes += p->len;
    }
    return taken;
}

/* False: it waits now. */
static bool deliver(NetClient *nc, const NetPacket *p)
{
    if (nc->link_down) {
        nc->dropped++;
        return true;
    }
    bool again = nc->in_receive;
    if (!list_empty(&nc->waiting) || !can_take(nc) || !hand_over(nc, p)) {
        enqueue(nc, p);
        if (again) {
            bh_schedule(&nc->flush_bh);
        }
        return false;
    }
    return true;
}

void net_resume(NetClient *nc)
{
    bool refused = nc->peer && nc->peer->refused;
    if (nc->stopped || refused) {
        nc->stopped = false;
        if (refused) {
            nc->peer->refused = false;
        }
        if (nc->info->resume) {
            nc->info->resume(nc);
        }
    }
}

void net_flush(NetClient *nc)
{
    if (nc->flushing || nc->in_receive) {
        return;
    }
    nc->flushing = true;
    /* Those that wait now: where hubs form a ring each brings others, for the next round. */
    bool taken = true;
    for (size_t left = nc->nr_waiting; left && !list_empty(&nc->waiting) && can_take(nc); left--) {
        WaitingPacket *w = container_of(nc->waiting.next, WaitingPacket, node);
        struct iovec iov = { w->data, w->len };
        NetPacket p = { &iov, 1, w->len, w->offload };
        taken = nc->link_down || hand_over(nc, &p);
        if (!taken) {
            break;
        }
        forget(nc, w);
    }
    nc->flushing = false;
    if (!taken || !can_take(nc)) {
        return;
    }
    if (!list_empty(&nc->waiting)) {
        bh_schedule(&nc->flush_bh);
    } else if (nc->peer) {
        net_resume(nc->peer);
    }
}

void net_flush_later(NetClient *nc)
{
    if (!list_empty(&nc->waiting) || nc->refused || (nc->peer && nc->peer->stopped)) {
        bh_schedule(&nc->flush_bh);
    }
}

static void path_changed(NetClient *nc)
{
    if (nc->info->path_changed) {
        nc->info->path_changed(nc);
    }
}

static void stop_nic(NetClient *nc, void *opaque)
{
    (void)opaque;
    path_changed(nc);
}

static void resume_nic(NetClient *nc, void *opaque)
{
    (void)opaque;
    if (nc->info->is_nic) {
        net_flush(nc);
        path_changed(nc);
        if (nc->info->resume && !nc->stopped) {
            nc->info->resume(nc);
        }
    }
}

void net_set_running(bool running)
{
    bool before = nics_run;
    nics_run = running;
    if (running != before) {
        net_clients_each(running ? resume_nic : stop_nic, NULL);
    }
}

/* ---- sending ---- */

static bool pass_filters(NetClient *nc, NetDirection dir, const NetPacket *p)
{
    list_for_each_safe(pos, &nc->filters) {
        NetFilter *f = container_of(pos, NetFilter, node);
        if (f->packet(f, dir, p)) {
            return false;
        }
    }
    return true;
}

typedef struct Delivery {
    NetClient *to;
    bool waits;
} Delivery;

static void deliver_finished(void *opaque, const NetPacket *p)
{
    Delivery *d = opaque;
    d->waits |= !deliver(d->to, p);
}

bool net_send(NetClient *from, const NetPacket *p)
{
    NetClient *to = from->peer;
    if (from->link_down || !p->len || p->len > NET_MAX_PACKET || !pass_filters(from, NET_SENT, p) ||
        !to || !pass_filters(to, NET_RECEIVED, p)) {
        return true;
    }
    Delivery d = { to, false };
    if (net_offload_accepted(&p->offload, to->accepts)) {
        d.waits = !deliver(to, p);
    } else if (to->link_down || !net_offload_finish(p, to->accepts, deliver_finished, &d)) {
        to->dropped++;
    }
    from->stopped |= d.waits;
    return !d.waits;
}

void net_loop_back(NetClient *nc, const NetPacket *p)
{
    Delivery d = { nc, false };
    if (net_offload_accepted(&p->offload, nc->accepts)) {
        deliver(nc, p);
    } else {
        net_offload_finish(p, nc->accepts, deliver_finished, &d);
    }
}

bool net_send_buf(NetClient *from, const void *frame, size_t len)
{
    struct iovec iov = { (void *)frame, len };
    return net_send(from, &(NetPacket){ &iov, 1, len, { 0 } });
}

bool net_can_send(const NetClient *from)
{
    NetClient *to = from->peer;
    if (!to || from->link_down || to->link_down) {
        return true;
    }
    bool can = list_empty(&to->waiting) && can_take(to);
    to->refused |= !can;
    return can;
}

/* ---- filters ---- */

static void filters_changed(NetClient *nc)
{
    path_changed(nc);
    if (nc->peer) {
        path_changed(nc->peer);
    }
}

void net_filter_add(NetFilter *f, NetClient *nc)
{
    f->nc = nc;
    list_insert(&nc->filters, &f->node);
    filters_changed(nc);
}

void net_filter_del(NetFilter *f)
{
    NetClient *nc = f->nc;
    if (nc) {
        list_remove(&f->node);
        f->nc = NULL;
        filters_changed(nc);
    }
}
