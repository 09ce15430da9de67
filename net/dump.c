/* SPDX-License-Identifier: GPL-2.0-or-later
 * filter-dump: what passes a network, as a file for Wireshark and tcpdump (libpcap's format,
 * draft-ietf-opsawg-pcap: microseconds, Ethernet). Frames that are to be cut into segments further on
 * are written as they pass here.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "net/net.h"
#include "util/alloc.h"
#include "util/timer.h"
#include "util/user_object.h"

enum { PCAP_MAGIC = 0xa1b2c3d4, PCAP_MAJOR = 2, PCAP_MINOR = 4, LINKTYPE_ETHERNET = 1,
       MAX_QUEUES = 64 };

typedef struct PcapHeader {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, sigfigs, snaplen, linktype;
} PcapHeader;

typedef struct PcapRecord {
    uint32_t seconds, micros, captured, len;
} PcapRecord;

typedef struct Dump Dump;
typedef struct DumpQueue {
    NetFilter filter;
    Dump *dump;
} DumpQueue;

struct Dump {
    char *file;
    int fd;
    uint32_t maxlen;
    bool sent, received; /* of what the client sends, of what it receives */
    bool failed;
    unsigned nr;
    DumpQueue queue[MAX_QUEUES];
};

static void write_record(Dump *d, const NetPacket *p)
{
    uint64_t now = wall_clock_ns();
    size_t left = MIN(p->len, (size_t)d->maxlen);
    PcapRecord r = { (uint32_t)(now / 1000000000), (uint32_t)(now / 1000 % 1000000), (uint32_t)left,
                     (uint32_t)p->len };
    struct iovec iov[NET_MAX_IOV + 1] = { { &r, sizeof(r) } };
    size_t want = sizeof(r) + left;
    int nr = 1;
    for (int i = 0; i < p->nr_iov && left; i++) {
        iov[nr] = p->iov[i];
        iov[nr].iov_len = MIN(iov[nr].iov_len, left);
        left -= iov[nr++].iov_len;
    }
    ssize_t n = writev(d->fd, iov, nr);
    if (n != (ssize_t)want) { /* a record in part would spoil what follows */
        d->failed = true;
        warn_report("filter-dump: '%s' gets no more: %s", d->file,
                    strerror(n < 0 ? errno : ENOSPC));
    }
}

static bool dump_packet(NetFilter *f, NetDirection dir, const NetPacket *p)
{
    Dump *d = container_of(f, DumpQueue, filter)->dump;
    if (!d->failed && (dir == NET_SENT ? d->sent : d->received)) {
        write_record(d, p);
    }
    return false;
}

static void dump_destroy(void *object)
{
    Dump *d = object;
    for (unsigned i = 0; i < d->nr; i++) {
        net_filter_del(&d->queue[i].filter);
    }
    if (d->fd >= 0) {
        close(d->fd);
    }
    free(d->file);
    free(d);
}

static bool get_direction(Dump *d, const char *text, Error **errp)
{
    d->sent = !text || !strcmp(text, "all") || !strcmp(text, "tx");
    d->received = !text || !strcmp(text, "all") || !strcmp(text, "rx");
    return d->sent || d->received ||
           error_set(errp, "queue=%s: it is all, rx (to the netdev) or tx (from it)", text);
}

static bool open_file(Dump *d, const char *file, Error **errp)
{
    PcapHeader h = { PCAP_MAGIC, PCAP_MAJOR, PCAP_MINOR, 0, 0, d->maxlen, LINKTYPE_ETHERNET };
    d->file = xstrdup(file);
    d->fd = open(file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (d->fd < 0 || write(d->fd, &h, sizeof(h)) != sizeof(h)) {
        return error_set_errno(errp, errno, "file=%s cannot be written", file);
    }
    return true;
}

static bool attach(Dump *d, const char *netdev, Error **errp)
{
    NetClient *nc;
    while (d->nr < MAX_QUEUES && (nc = net_client_find(netdev, d->nr))) {
        DumpQueue *q = &d->queue[d->nr++];
        *q = (DumpQueue){ .filter = { .packet = dump_packet }, .dump = d };
        net_filter_add(&q->filter, nc);
    }
    return d->nr || error_set(errp, "there is no netdev '%s' (info network lists them)", netdev);
}

static void *dump_create(const char *id, const Dict *opts, Error **errp)
{
    (void)id;
    const char *netdev = dict_get(opts, "netdev"), *file = dict_get(opts, "file");
    uint64_t maxlen = 65536;
    Dump *d = xcalloc(1, sizeof(*d));
    d->fd = -1;
    bool ok = dict_get_u64(opts, "maxlen", &maxlen, errp) &&
              get_direction(d, dict_get(opts, "queue"), errp);
    d->maxlen = (uint32_t)MIN(maxlen, UINT32_MAX);
    ok = ok && (maxlen || error_set(errp, "maxlen=0 would keep nothing"));
    ok = ok && ((netdev && file) || error_set(errp, "filter-dump needs netdev=ID and file=FILE"));
    ok = ok && open_file(d, file, errp) && attach(d, netdev, errp);
    if (!ok) {
        dump_destroy(d);
        return NULL;
    }
    return d;
}

static const char *const dump_help[] = {
    "  netdev=ID              the network",
    "  file=FILE              where packets go, in libpcap's format",
    "  maxlen=N               bytes kept of each [65536]",
    "  queue=all|rx|tx        rx: to the netdev, from the guest; tx: from it [all]",
    NULL,
};

USER_OBJECT(filter_dump) = {
    .name = "filter-dump",
    .desc = "writes the packets of a network to a file",
    .help = dump_help,
    .late = true,
    .create = dump_create,
    .destroy = dump_destroy,
};
