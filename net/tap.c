/* SPDX-License-Identifier: GPL-2.0-or-later
 * -netdev tap and -netdev bridge: frames go to an interface of the host, as many queues as the NIC
 * has. With IFF_VNET_HDR each frame has a virtio_net_hdr before it, so that checksums and
 * segmentation stay undone all the way between the guest and the host's network.
 *
 * Packets go through the main loop; vhost-net, where the kernel works on the guest's rings itself,
 * is not built.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/net.h"
#include "net/tap_open.h"
#include "util/alloc.h"

#define DEFAULT_SCRIPT "/etc/qemu-ifup"
#define DEFAULT_DOWNSCRIPT "/etc/qemu-ifdown"
#define BRIDGE_HELPER "/usr/lib/qemu/qemu-bridge-helper"

enum { MAX_QUEUES = 16, PACKETS_A_TURN = 64, MAX_FRAME = NET_MAX_PACKET };

typedef struct Tap {
    NetClient nc;
    int fd; /* -1: none yet */
    bool vnet_hdr;
    bool reading, writing; /* what watch waits for */
    FdWatch *watch;
    char name[16];
    char *downscript; /* of the last queue; NULL: none */
    uint8_t *buf;
} Tap;

static Tap *tap_of(NetClient *nc)
{
    return container_of(nc, Tap, nc);
}

static void update_watch(Tap *t)
{
    fd_watch_set(t->watch, (t->reading ? FD_READ : 0) | (t->writing ? FD_WRITE : 0));
}

/* ---- host to guest ---- */

/* One frame that has come; false: the guest's side is full. */
static bool pass_on(Tap *t, size_t len)
{
    struct virtio_net_hdr h = { 0 };
    size_t skip = t->vnet_hdr ? sizeof(h) : 0;
    if (len <= skip) {
        return true;
    }
    memcpy(&h, t->buf, skip);
    /* The kernel's word for "checked": nothing left to do. */
    h.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    struct iovec iov = { t->buf + skip, len - skip };
    return net_send(&t->nc, &(NetPacket){ &iov, 1, len - skip, h });
}

static void tap_read(Tap *t)
{
    for (int i = 0; i < PACKETS_A_TURN && t->reading; i++) {
        ssize_t n = read(t->fd, t->buf, MAX_FRAME + sizeof(struct virtio_net_hdr));
        if (n < 0 && errno == EINTR) {
            continue;
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
    if (events & FD_HANGUP) { /* the interface was deleted */
        warn_report("netdev '%s': tap interface '%s' is gone", t->nc.id, t->name);
        t->reading = t->writing = false;
        update_watch(t);
    } else if (events & FD_READ) {
        tap_read(t);
    }
}

static void tap_resume(NetClient *nc)
{
    Tap *t = tap_of(nc);
    t->reading = true;
    update_watch(t);
}

/* ---- guest to host ---- */

static bool tap_receive(NetClient *nc, const NetPacket *p)
{
    Tap *t = tap_of(nc);
    struct virtio_net_hdr h = p->offload;
    struct iovec iov[NET_MAX_IOV + 1];
    int nr = 0;
    if (t->vnet_hdr) {
        iov[nr++] = (struct iovec){ &h, sizeof(h) };
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
    if (t->fd >= 0) {
        close(t->fd);
    }
    free(t->downscript);
    free(t->buf);
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
    unsigned nr;
    int fd[MAX_QUEUES]; /* -1: to be opened */
} TapOptions;

static void set_vnet_hdr(Tap *t)
{
    int len = sizeof(struct virtio_net_hdr);
    if (t->vnet_hdr && ioctl(t->fd, TUNSETVNETHDRSZ, &len) < 0) {
        t->vnet_hdr = false; /* only in kernels that have 10 bytes anyway; be safe */
    }
    unsigned offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (t->vnet_hdr && ioctl(t->fd, TUNSETOFFLOAD, offload) == 0) {
        t->nc.accepts = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
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
    t->buf = xmalloc(MAX_FRAME + sizeof(struct virtio_net_hdr));
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

static bool make_queues(const char *id, const TapOptions *o, Error **errp)
{
    NetClient *made[MAX_QUEUES];
    char name[16] = "";
    bool ok = true;
    unsigned nr = 0;
    if (o->ifname) {
        memcpy(name, o->ifname, strlen(o->ifname));
    }
    while (ok && nr < o->nr) {
        NetClient *nc = net_client_new(&tap_info, id, nr);
        Tap *t = tap_of(nc);
        t->fd = -1;
        made[nr++] = nc;
        ok = open_queue(t, o, nr - 1, name, errp);
        memcpy(name, t->name, sizeof(name));
        net_client_describe(nc, "ifname=%s%s", t->name, t->vnet_hdr ? "" : ",vnet_hdr=off");
    }
    if (ok && o->fd[0] < 0 && !o->bridge) {
        ok = run_scripts(tap_of(made[0]), o, errp);
    }
    while (!ok && nr) {
        net_client_delete(made[--nr]);
    }
    return ok;
}

/* "7" or "7:8:9". */
static bool get_fds(const Dict *opts, TapOptions *o, Error **errp)
{
    const char *one = dict_get(opts, "fd"), *many = dict_get(opts, "fds");
    if (one && many) {
        return error_set(errp, "give fd= or fds=, not both");
    }
    const char *p = many ? many : one;
    for (o->nr = p ? 0 : o->nr; p && *p;) {
        char *end;
        unsigned long fd = strtoul(p, &end, 10);
        if (end == p || (*end && *end != ':') || fd > INT32_MAX || o->nr == MAX_QUEUES) {
            return error_set(errp, "%s=%s: numbers of open descriptors, up to %d, are meant",
                             many ? "fds" : "fd", many ? many : one, MAX_QUEUES);
        }
        o->fd[o->nr++] = (int)fd;
        p = *end ? end + 1 : end;
    }
    if ((one || many) &&
        (o->ifname || dict_has(opts, "script") || dict_has(opts, "downscript") || o->bridge)) {
        return error_set(errp, "with fd= or fds= the interface is there already: no ifname=, script=, "
                               "downscript= or br=");
    }
    return o->nr > 0 || error_set(errp, "fds= is empty");
}

/* vhost-net is the kernel's; asked for, it is said once where packets go instead. */
static bool check_vhost(const Dict *opts, Error **errp)
{
    bool vhost = false, force = false;
    if (!dict_get_bool(opts, "vhost", &vhost, errp) ||
        !dict_get_bool(opts, "vhostforce", &force, errp)) {
        return false;
    }
    dict_get(opts, "vhostfd");
    dict_get(opts, "vhostfds");
    if (vhost || force) {
        warn_report("vhost=on: vhost-net is not built yet; packets go through user space");
    }
    return true;
}

static bool tap_create(const char *id, const Dict *opts, Error **errp)
{
    TapOptions o = { .nr = 1, .vnet_hdr = true, .script = DEFAULT_SCRIPT,
                     .downscript = DEFAULT_DOWNSCRIPT, .helper = BRIDGE_HELPER };
    uint64_t queues = 1;
    memset(o.fd, -1, sizeof(o.fd));
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
        !dict_get_u64(opts, "queues", &queues, errp) || !check_vhost(opts, errp)) {
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
    return get_fds(opts, &o, errp) && make_queues(id, &o, errp);
}

static bool bridge_create(const char *id, const Dict *opts, Error **errp)
{
    TapOptions o = { .nr = 1, .vnet_hdr = true, .bridge = "br0", .helper = BRIDGE_HELPER };
    memset(o.fd, -1, sizeof(o.fd));
    o.bridge = dict_has(opts, "br") ? dict_get(opts, "br") : o.bridge;
    o.helper_given = dict_has(opts, "helper");
    o.helper = o.helper_given ? dict_get(opts, "helper") : o.helper;
    return make_queues(id, &o, errp);
}

static const char *const tap_keys[] = {
    "ifname", "script", "downscript", "fd", "fds", "br", "helper", "queues", "vnet_hdr", "vhost",
    "vhostfd", "vhostfds", "vhostforce", NULL,
};
static const char *const tap_help[] = {
    "  ifname=NAME            the host's interface; made if need be and if allowed",
    "  fd=N, fds=N:N...       interfaces that are open already, a queue each",
    "  br=BRIDGE[,helper=P]   a new interface on that bridge",
    "  script=P, downscript=P programs that get the name at start and end; 'no': none",
    "  queues=N               of a multi-queue interface",
    "  vnet_hdr=on|off        offloads between guest and host [on]",
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
