/* SPDX-License-Identifier: GPL-2.0-or-later
 * -netdev tap and -netdev bridge: frames go to an interface of the host, as many queues as the NIC
 * has. With IFF_VNET_HDR each frame has a virtio_net_hdr before it, so that checksums and
 * segmentation stay undone all the way between the guest and the host's network.
 *
 * Packets go through the main loop, or with vhost=on past us (net/vhost.h): then a NIC that can do
 * so tells the kernel where its rings are, and the interface's queue is not read here.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/net.h"
#include "net/tap_open.h"
#include "net/vhost.h"
#include "util/alloc.h"

#define DEFAULT_SCRIPT "/etc/qemu-ifup"
#define DEFAULT_DOWNSCRIPT "/etc/qemu-ifdown"
#define BRIDGE_HELPER "/usr/lib/qemu/qemu-bridge-helper"

enum { MAX_QUEUES = 16, PACKETS_A_TURN = 64, MAX_FRAME = NET_MAX_PACKET };
enum { MAX_HEADER = sizeof(struct virtio_net_hdr_mrg_rxbuf) };

typedef struct Tap {
    NetClient nc;
    int fd; /* -1: none yet */
    bool vnet_hdr;
    bool given, detached;  /* the kernel moves its frames; the interface leaves it out */
    size_t header;         /* bytes before each frame */
    bool reading, writing; /* what watch waits for */
    bool gone;             /* the interface was deleted */
    FdWatch *watch;
    char name[16];
    char *downscript; /* of the last queue; NULL: none */
    uint8_t *buf;
    NetVhost vhost;
} Tap;

static Tap *tap_of(NetClient *nc)
{
    return container_of(nc, Tap, nc);
}

static void update_watch(Tap *t)
{
    fd_watch_set(t->watch, (t->reading && !t->given ? FD_READ : 0) | (t->writing ? FD_WRITE : 0));
}

/* ---- host to guest ---- */

/* One frame that has come; false: the guest's side is full. */
static bool pass_on(Tap *t, size_t len)
{
    struct virtio_net_hdr h = { 0 };
    size_t skip = t->header;
    if (len <= skip) {
        return true;
    }
    memcpy(&h, t->buf, MIN(skip, sizeof(h)));
    /* The kernel's word for "checked": nothing left to do. */
    h.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    struct iovec iov = { t->buf + skip, len - skip };
    return net_send(&t->nc, &(NetPacket){ &iov, 1, len - skip, h });
}

/* Ready for ever, with nothing to read: it must not be waited for. */
static void interface_gone(Tap *t)
{
    warn_report("netdev '%s': tap interface '%s' is gone", t->nc.id, t->name);
    t->gone = true;
    t->reading = t->writing = false;
    update_watch(t);
    net_flush(&t->nc);
}

static void tap_read(Tap *t)
{
    for (int i = 0; i < PACKETS_A_TURN && t->reading && !t->given; i++) {
        ssize_t n = read(t->fd, t->buf, MAX_FRAME + MAX_HEADER);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EBADFD) {
            interface_gone(t);
        }
        if (n <= 0) {
            return; /* EAGAIN; EIO while the interface is down */
        }
        if (!pass_on(t, (size_t)n)) {
            t->reading = false;
            update_watch(t);
        }
    }
}

static void tap_ready(void *opaque, unsigned events)
{
    Tap *t = opaque;
    if (events & FD_WRITE) {
        t->writing = false;
        update_watch(t);
        net_flush(&t->nc);
    }
    if (events & FD_READ) {
        tap_read(t);
    }
}

static void tap_resume(NetClient *nc)
{
    Tap *t = tap_of(nc);
    t->reading = !t->gone;
    update_watch(t);
}

/* ---- guest to host ---- */

static bool tap_receive(NetClient *nc, const NetPacket *p)
{
    Tap *t = tap_of(nc);
    struct virtio_net_hdr_mrg_rxbuf h = { .hdr = p->offload };
    struct iovec iov[NET_MAX_IOV + 1];
    int nr = 0;
    if (t->header) {
        iov[nr++] = (struct iovec){ &h, t->header };
    }
    memcpy(iov + nr, p->iov, (size_t)p->nr_iov * sizeof(*iov));
    ssize_t n;
    do {
        n = writev(t->fd, iov, nr + p->nr_iov);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        t->writing = true;
        update_watch(t);
        return false;
    }
    return true; /* any other failure is a lost frame, as on a wire */
}

static bool tap_can_receive(NetClient *nc)
{
    return !tap_of(nc)->writing;
}

static void tap_close(NetClient *nc)
{
    Tap *t = tap_of(nc);
    Error *err = NULL;
    if (t->downscript && !tap_run_script(t->downscript, t->name, &err)) {
        error_report(err);
    }
    fd_watch_free(t->watch);
    if (nc->vhost) {
        net_vhost_close(nc->vhost);
    }
    if (t->fd >= 0) {
        close(t->fd);
    }
    free(t->downscript);
    free(t->buf);
}

/* ---- frames that go past us ---- */

static void describe(Tap *t, const char *mode)
{
    net_client_describe(&t->nc, "ifname=%s%s%s%s", t->name, t->vnet_hdr ? "" : ",vnet_hdr=off",
                        t->nc.vhost ? ",vhost=on,vhost-state=" : "", t->nc.vhost ? mode : "");
}

static unsigned tun_offloads(unsigned accepts)
{
    if (!(accepts & NET_CSUM)) {
        return 0; /* segments are cut with their checksums */
    }
    return TUN_F_CSUM | (accepts & NET_TSO4 ? TUN_F_TSO4 : 0) | (accepts & NET_TSO6 ? TUN_F_TSO6 : 0) |
           (accepts & NET_ECN && accepts & (NET_TSO4 | NET_TSO6) ? TUN_F_TSO_ECN : 0);
}

/* NetVhost.use */
static void tap_use(NetClient *nc, const VhostUse *u)
{
    Tap *t = tap_of(nc);
    int header = (int)u->header;
    struct ifreq req = { .ifr_flags = u->attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };
    if (t->detached == u->attached && ioctl(t->fd, TUNSETQUEUE, &req) == 0) {
        t->detached = !u->attached;
    }
    t->given = u->on;
    t->header = u->header;
    if (!t->detached && (ioctl(t->fd, TUNSETVNETHDRSZ, &header) < 0 ||
                         ioctl(t->fd, TUNSETOFFLOAD, tun_offloads(u->accepts)) < 0)) {
        warn_report("netdev '%s': tap interface '%s' does not take its settings: %s", nc->id,
                    t->name, strerror(errno));
    }
    describe(t, u->mode);
    update_watch(t);
}

static const NetClientInfo tap_info = {
    .type = "tap",
    .size = sizeof(Tap),
    .can_receive = tap_can_receive,
    .receive = tap_receive,
    .resume = tap_resume,
    .close = tap_close,
};

/* ---- making one ---- */

typedef struct TapOptions {
    const char *ifname, *script, *downscript, *bridge, *helper;
    bool script_given, downscript_given, helper_given;
    bool vnet_hdr, vnet_hdr_given;
    bool vhost, vhost_forced;
    uint32_t poll_us;
    unsigned nr;
    int fd[MAX_QUEUES];       /* -1: to be opened */
    int vhost_fd[MAX_QUEUES]; /* likewise */
} TapOptions;

static void set_vnet_hdr(Tap *t)
{
    int len = sizeof(struct virtio_net_hdr);
    if (t->vnet_hdr && ioctl(t->fd, TUNSETVNETHDRSZ, &len) < 0) {
        t->vnet_hdr = false; /* only in kernels that have 10 bytes anyway; be safe */
    }
    t->header = t->vnet_hdr ? sizeof(struct virtio_net_hdr) : 0;
    unsigned accepts = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
    if (t->vnet_hdr && ioctl(t->fd, TUNSETOFFLOAD, tun_offloads(accepts)) == 0) {
        t->nc.accepts = accepts;
    } else if (!t->vnet_hdr && t->fd >= 0) {
        ioctl(t->fd, TUNSETOFFLOAD, 0u); /* who had it before may have left some */
    }
}

static bool open_queue(Tap *t, const TapOptions *o, unsigned i, const char *name, Error **errp)
{
    memcpy(t->name, name, sizeof(t->name));
    t->vnet_hdr = o->vnet_hdr;
    if (o->fd[i] >= 0) {
        if (!tap_adopt(o->fd[i], t->name, &t->vnet_hdr, errp)) {
            return false;
        }
        t->fd = o->fd[i];
    } else if (o->bridge && (o->helper_given || (geteuid() && access(o->helper, X_OK) == 0))) {
        t->fd = tap_from_helper(o->helper, o->bridge, t->name, &t->vnet_hdr, errp);
    } else {
        t->fd = tap_open(t->name, o->nr > 1, &t->vnet_hdr, errp);
        if (t->fd >= 0 && o->bridge && !tap_join_bridge(t->name, o->bridge, errp)) {
            return false;
        }
    }
    if (t->fd < 0) {
        return false;
    }
    if (o->vnet_hdr_given && o->vnet_hdr && !t->vnet_hdr) {
        return error_set(errp, "vnet_hdr=on: interface '%s' has no header for offloads", t->name);
    }
    set_vnet_hdr(t);
    t->buf = xmalloc(MAX_FRAME + MAX_HEADER);
    t->reading = true;
    t->watch = fd_watch_new(t->fd, FD_READ, tap_ready, t, "tap");
    return true;
}

/* The default scripts are a habit of some hosts: without them the interface is used as it is. */
static bool run_scripts(Tap *t, const TapOptions *o, Error **errp)
{
    bool up = strcmp(o->script, "no") && (o->script_given || access(o->script, X_OK) == 0);
    bool down =
        strcmp(o->downscript, "no") && (o->downscript_given || access(o->downscript, X_OK) == 0);
    if (up && !tap_run_script(o->script, t->name, errp)) {
        return error_prefix(errp, "script=%s: ", o->script);
    }
    t->downscript = down ? xstrdup(o->downscript) : NULL;
    return true;
}

static bool open_vhosts(NetClient *const *made, const TapOptions *o, Error **errp)
{
    for (unsigned i = 0; i < o->nr; i++) {
        Tap *t = tap_of(made[i]);
        t->vhost = (NetVhost){ .fd = o->vhost_fd[i], .backend = t->fd, .poll_us = o->poll_us,
                               .use = tap_use };
    }
    for (unsigned i = 0; i < o->nr; i++) {
        if (!tap_of(made[i])->vnet_hdr) {
            return error_set(errp, "it needs an interface with headers for offloads (vnet_hdr)");
        }
        if (!net_vhost_open(&tap_of(made[i])->vhost, errp)) {
            return false;
        }
    }
    return true;
}

/* All queues or none: then it is said once where frames go instead, unless vhost was an order. */
static bool use_vhost(const char *id, NetClient *const *made, const TapOptions *o, Error **errp)
{
    Error *err = NULL;
    bool ok = open_vhosts(made, o, &err);
    for (unsigned i = 0; i < o->nr; i++) {
        Tap *t = tap_of(made[i]);
        if (ok) {
            t->nc.vhost = &t->vhost;
            describe(t, "off");
        } else {
            net_vhost_close(&t->vhost);
        }
    }
    if (!ok && o->vhost_forced) {
        *errp = err;
        return error_prefix(errp, "vhostforce=on: ");
    }
    if (!ok) {
        warn_report("netdev '%s': vhost=on: %s; packets go through user space", id, error_text(err));
        error_free(err);
    }
    return true;
}

static bool make_queues(const char *id, const TapOptions *o, Error **errp)
{
    NetClient *made[MAX_QUEUES];
    char name[16] = "";
    bool ok = true;
    unsigned nr = 0;
    if (o->ifname) {
        memcpy(name, o->ifname, strlen(o->ifname));
    }
    do {
        NetClient *nc = net_client_new(&tap_info, id, nr);
        Tap *t = tap_of(nc);
        t->fd = -1;
        made[nr++] = nc;
        ok = open_queue(t, o, nr - 1, name, errp);
        memcpy(name, t->name, sizeof(name));
        describe(t, "");
    } while (ok && nr < o->nr);
    ok = ok && (!o->vhost || use_vhost(id, made, o, errp));
    if (ok && o->fd[0] < 0 && !o->bridge) {
        ok = run_scripts(tap_of(made[0]), o, errp);
    }
    while (!ok && nr) {
        net_client_delete(made[--nr]);
    }
    return ok;
}

/* "7" or "7:8:9": how many; 0: neither was given. UINT_MAX with *errp: nonsense. */
static unsigned parse_fds(const Dict *opts, const char *key, const char *keys, int fd[MAX_QUEUES],
                          Error **errp)
{
    const char *one = dict_get(opts, key), *many = dict_get(opts, keys);
    unsigned nr = 0;
    if (one && many) {
        error_set(errp, "give %s= or %s=, not both", key, keys);
        return UINT_MAX;
    }
    for (const char *p = many ? many : one; p && *p;) {
        char *end;
        unsigned long n = strtoul(p, &end, 10);
        if (end == p || (*end && *end != ':') || n > INT32_MAX || nr == MAX_QUEUES) {
            error_set(errp, "%s=%s: numbers of open descriptors, up to %d, are meant",
                      many ? keys : key, many ? many : one, MAX_QUEUES);
            return UINT_MAX;
        }
        fd[nr++] = (int)n;
        p = *end ? end + 1 : end;
    }
    if (!nr && (one || many)) {
        error_set(errp, "%s= is empty", many ? keys : key);
        return UINT_MAX;
    }
    return nr;
}

static bool get_fds(const Dict *opts, TapOptions *o, Error **errp)
{
    unsigned nr = parse_fds(opts, "fd", "fds", o->fd, errp);
    if (nr == UINT_MAX) {
        return false;
    }
    if (nr &&
        (o->ifname || dict_has(opts, "script") || dict_has(opts, "downscript") || o->bridge)) {
        return error_set(errp, "with fd= or fds= the interface is there already: no ifname=, script=, "
                               "downscript= or br=");
    }
    o->nr = nr ? nr : o->nr;
    return true;
}

static bool get_vhost(const Dict *opts, TapOptions *o, Error **errp)
{
    uint64_t poll_us = 0;
    unsigned nr = parse_fds(opts, "vhostfd", "vhostfds", o->vhost_fd, errp);
    o->vhost = nr > 0;
    if (nr == UINT_MAX || !dict_get_bool(opts, "vhostforce", &o->vhost_forced, errp)) {
        return false;
    }
    o->vhost |= o->vhost_forced;
    if (!dict_get_bool(opts, "vhost", &o->vhost, errp) ||
        !dict_get_u64(opts, "poll-us", &poll_us, errp)) {
        return false;
    }
    if (!o->vhost && (nr || o->vhost_forced)) {
        return error_set(errp, "vhost=off and %s= contradict each other",
                         nr ? "vhostfd" : "vhostforce");
    }
    if (!o->vhost && poll_us) {
        return error_set(errp, "poll-us= is for vhost=on: nobody else polls the interface");
    }
    if (poll_us > UINT32_MAX) {
        return error_set(errp, "poll-us=%s: microseconds, up to %u", dict_get(opts, "poll-us"),
                         UINT32_MAX);
    }
    if (nr && nr != o->nr) {
        return error_set(errp, "%u descriptors in vhostfds= for %u queues: one each is needed", nr,
                         o->nr);
    }
    o->poll_us = (uint32_t)poll_us;
    return true;
}

static bool tap_create(const char *id, const Dict *opts, Error **errp)
{
    TapOptions o = { .nr = 1, .vnet_hdr = true, .script = DEFAULT_SCRIPT,
                     .downscript = DEFAULT_DOWNSCRIPT, .helper = BRIDGE_HELPER };
    uint64_t queues = 1;
    memset(o.fd, -1, sizeof(o.fd));
    memset(o.vhost_fd, -1, sizeof(o.vhost_fd));
    o.ifname = dict_get(opts, "ifname");
    o.bridge = dict_get(opts, "br");
    if (dict_has(opts, "helper")) {
        o.helper = dict_get(opts, "helper");
        o.helper_given = true;
        o.bridge = o.bridge ? o.bridge : "br0";
    }
    o.script_given = dict_has(opts, "script");
    o.downscript_given = dict_has(opts, "downscript");
    o.script = o.script_given ? dict_get(opts, "script") : o.script;
    o.downscript = o.downscript_given ? dict_get(opts, "downscript") : o.downscript;
    o.vnet_hdr_given = dict_has(opts, "vnet_hdr");
    if (!dict_get_bool(opts, "vnet_hdr", &o.vnet_hdr, errp) ||
        !dict_get_u64(opts, "queues", &queues, errp)) {
        return false;
    }
    if (queues < 1 || queues > MAX_QUEUES) {
        return error_set(errp, "queues=%s: 1 to %d", dict_get(opts, "queues"), MAX_QUEUES);
    }
    if (o.ifname && (!*o.ifname || strlen(o.ifname) >= sizeof(((Tap *)0)->name))) {
        return error_set(errp, "ifname=%s: a name of 1 to 15 characters", o.ifname);
    }
    if (o.bridge && queues > 1) {
        return error_set(errp, "an interface on a bridge has one queue here");
    }
    o.nr = (unsigned)queues;
    return get_fds(opts, &o, errp) && get_vhost(opts, &o, errp) && make_queues(id, &o, errp);
}

static bool bridge_create(const char *id, const Dict *opts, Error **errp)
{
    TapOptions o = { .nr = 1, .vnet_hdr = true, .script = "no", .downscript = "no",
                     .bridge = "br0", .helper = BRIDGE_HELPER };
    memset(o.fd, -1, sizeof(o.fd));
    memset(o.vhost_fd, -1, sizeof(o.vhost_fd));
    o.bridge = dict_has(opts, "br") ? dict_get(opts, "br") : o.bridge;
    o.helper_given = dict_has(opts, "helper");
    o.helper = o.helper_given ? dict_get(opts, "helper") : o.helper;
    return make_queues(id, &o, errp);
}

static const char *const tap_keys[] = {
    "ifname", "script", "downscript", "fd", "fds", "br", "helper", "queues", "vnet_hdr", "vhost",
    "vhostfd", "vhostfds", "vhostforce", "poll-us", NULL,
};
static const char *const tap_help[] = {
    "  ifname=NAME            the host's interface; made if need be and if allowed",
    "  fd=N, fds=N:N...       interfaces that are open already, a queue each",
    "  br=BRIDGE[,helper=P]   a new interface on that bridge",
    "  script=P, downscript=P programs that get the name at start and end; 'no': none",
    "  queues=N               of a multi-queue interface",
    "  vnet_hdr=on|off        offloads between guest and host [on]",
    "  vhost=on|off           the kernel moves the frames of a virtio card (vhost-net) [off]",
    "  vhostforce=on          an error if it cannot; else frames go through user space",
    "  vhostfd=N, vhostfds=N:N...  descriptors of /dev/vhost-net that are open already, one a queue",
    "  poll-us=N              how long vhost-net looks for more before it sleeps [0]",
    NULL,
};

NET_BACKEND(tap) = {
    .name = "tap",
    .desc = "an interface of the host",
    .keys = tap_keys,
    .help = tap_help,
    .create = tap_create,
};

static const char *const bridge_keys[] = { "br", "helper", NULL };
static const char *const bridge_help[] = {
    "  br=BRIDGE              of the host [br0]",
    "  helper=PROGRAM         that is allowed to add interfaces to it",
    NULL,
};

NET_BACKEND(bridge) = {
    .name = "bridge",
    .desc = "a new interface on a bridge of the host, made by a helper program",
    .keys = bridge_keys,
    .help = bridge_help,
    .create = bridge_create,
};
