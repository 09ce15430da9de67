/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the files of the user network share.
 */
#ifndef NET_USER_INTERNAL_H
#define NET_USER_INTERNAL_H

#include <slirp/libslirp.h>

#include "chardev/chardev.h"
#include "net/net.h"
#include "net/offload.h"
#include "net/user.h"
#include "util/main_loop.h"
#include "util/socket_file.h"
#include "util/timer.h"

/* A descriptor libslirp waits for. */
typedef struct UserFd {
    struct UserNet *u;
    int fd;
    FdWatch *watch;
    unsigned events, ready; /* FD_READ, FD_WRITE */
    bool wanted;            /* asked for since the last look */
    List node;
} UserFd;

/* A port of the guest's network that ends in a character device. */
typedef struct GuestFwd {
    struct UserNet *u;
    struct in_addr addr;
    uint16_t port;
    CharFrontend fe;
    Chardev *own; /* made for it: goes with it */
    List node;
} GuestFwd;

/* A hostfwd that is a unix socket: libslirp makes its file, and leaves it behind. */
typedef struct HostSocket {
    SocketFile file;
    List node;
} HostSocket;

/* Segments of one connection on their way to the guest as one packet. */
typedef struct UserMerge {
    unsigned nr; /* how many so far */
    size_t len, tcp; /* tcp: where its header begins */
    uint16_t mss;    /* payload of the first */
    bool sending;
    uint8_t frame[NET_MAX_PACKET];
} UserMerge;

typedef struct UserNet {
    NetClient nc;
    Slirp *slirp;
    List fds;        /* of UserFd */
    UserFd **by_fd;  /* the same by number */
    size_t nr_by_fd, nr_fds;
    BottomHalf bh;   /* libslirp is to look at its sockets */
    Timer timeout;   /* when it wants to look again */
    bool in_slirp;   /* it may send: nothing can be put in meanwhile */
    unsigned entered; /* calls into it that may send: at the end of the outermost merge goes out */
    UserMerge merge;
    List guestfwds;
    List host_sockets; /* of HostSocket */
    List node; /* on the list of user networks */
    struct in_addr net, mask, host, dhcp, dns;
    char *dnssearch_text;
    uint8_t frame[NET_MAX_PACKET]; /* a packet of the guest in one piece */
} UserNet;

/* user_poll.c: libslirp in the main loop */
void user_poll_init(UserNet *u);
void user_poll_fini(UserNet *u);
void user_poll_kick(UserNet *u); /* something changed: its descriptors may have, too */
void user_poll_sent(UserNet *u); /* a packet was put in: the same, mostly without the main loop */
/* Around each call into libslirp that may send. */
void user_enter(UserNet *u);
void user_leave(UserNet *u);
extern const SlirpCb user_slirp_callbacks;

/* user_merge.c: to the guest, as few packets as possible */
void user_merge_send(UserNet *u, const uint8_t *frame, size_t len);
void user_merge_flush(UserNet *u);

/* user_fwd.c */
bool user_hostfwd(UserNet *u, const char *spec, bool add, Error **errp) MUST_USE;
bool user_guestfwd_add(UserNet *u, const char *spec, unsigned index, Error **errp) MUST_USE;
void user_host_sockets_close(UserNet *u);
void user_guestfwds_close(UserNet *u);
void user_guestfwds_notify(UserNet *u); /* they may be able to take more */

#endif
