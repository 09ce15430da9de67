/* SPDX-License-Identifier: GPL-2.0-or-later
 * announce_self: tells the switches between here and the rest of the world where the NICs are, as
 * after a move to other cables. Each NIC's back end gets a RARP request (RFC 903) from the NIC's
 * address, five times, further and further apart; a guest whose driver knows how is asked to
 * announce itself, too, since only it knows its IP addresses.
 */
#include <arpa/inet.h>

#include "net/internal.h"
#include "util/alloc.h"
#include "util/timer.h"

enum { ROUNDS = 5, FIRST_MS = 50, STEP_MS = 100 }; /* at 0, 50, 200, 450 and 800 ms */
enum { MAX_ROUNDS_AT_ONCE = 64 };                  /* announcements with ids of their own */
enum { ETH_MIN = 60 };                             /* without FCS */

typedef struct RarpFrame { /* RFC 826 */
    struct ethhdr eth;
    uint16_t hardware, protocol;
    uint8_t hardware_len, protocol_len;
    uint16_t operation;
    uint8_t sender_mac[ETH_ALEN], sender_ip[4], target_mac[ETH_ALEN], target_ip[4];
} __attribute__((packed)) RarpFrame;

typedef struct Announcement {
    char *id, *nics; /* nics: names with commas between them; NULL: all */
    unsigned round;
    Timer timer;
    List node;
} Announcement;

static List announcements = LIST_INIT(announcements);

/* Is name one of those in list? */
static bool is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        if (!strncmp(p, name, len) && (!p[len] || p[len] == ',')) {
            return true;
        }
    }
    return false;
}

static void announce_nic(NetClient *nc, void *opaque)
{
    const Announcement *a = opaque;
    if (!nc->info->is_nic || nc->queue || (a->nics && !is_listed(a->nics, nc->id))) {
        return;
    }
    uint8_t frame[ETH_MIN] = { 0 };
    RarpFrame r = { .hardware = htons(1), /* Ethernet */
                    .protocol = htons(ETH_P_IP),
                    .hardware_len = ETH_ALEN,
                    .protocol_len = 4,
                    .operation = htons(3) }; /* request reverse */
    memset(r.eth.h_dest, 0xff, ETH_ALEN);
    memcpy(r.eth.h_source, nc->mac, ETH_ALEN);
    r.eth.h_proto = htons(ETH_P_RARP);
    memcpy(r.sender_mac, nc->mac, ETH_ALEN);
    memcpy(r.target_mac, nc->mac, ETH_ALEN);
    memcpy(frame, &r, sizeof(r));
    (void)net_send_buf(nc, frame, sizeof(frame));
    if (nc->info->announce) {
        nc->info->announce(nc);
    }
}

static void announcement_free(Announcement *a)
{
    timer_cancel(&a->timer);
    list_remove(&a->node);
    free(a->id);
    free(a->nics);
    free(a);
}

static void next_round(void *opaque)
{
    Announcement *a = opaque;
    net_clients_each(announce_nic, a);
    if (++a->round == ROUNDS) {
        announcement_free(a);
        return;
    }
    uint64_t ms = FIRST_MS + (a->round - 1) * STEP_MS;
    timer_arm(&a->timer, host_clock_ns() + ms * 1000000);
}

static bool check_names(const char *nics, Error **errp)
{
    char *copy = xstrdup(nics), *rest = copy;
    bool ok = true;
    for (const char *name; ok && (name = strsep(&rest, ","));) {
        ok = net_nic_find(name, 0) ||
             error_set(errp, "there is no network card '%s'; info network lists them", name);
    }
    free(copy);
    return ok;
}

bool net_announce(const char *nics, const char *id, Error **errp)
{
    size_t nr = 0;
    if (nics && !check_names(nics, errp)) {
        return false;
    }
    list_for_each_safe(pos, &announcements) {
        Announcement *a = container_of(pos, Announcement, node);
        nr++;
        if (!strcmp(a->id, id ? id : "")) {
            announcement_free(a); /* and begins anew */
            nr--;
        }
    }
    if (nr >= MAX_ROUNDS_AT_ONCE) {
        return error_set(errp, "%d announcements are under way; wait for one to end",
                         MAX_ROUNDS_AT_ONCE);
    }
    Announcement *a = xcalloc(1, sizeof(*a));
    a->id = xstrdup(id ? id : "");
    a->nics = nics ? xstrdup(nics) : NULL;
    timer_init_on(&a->timer, TIMER_HOST, next_round, a);
    list_insert(&announcements, &a->node);
    next_round(a);
    return true;
}

void net_announce_stop(void)
{
    list_for_each_safe(pos, &announcements) {
        announcement_free(container_of(pos, Announcement, node));
    }
}
