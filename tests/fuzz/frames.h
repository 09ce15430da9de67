/* SPDX-License-Identifier: GPL-2.0-or-later
 * Frames for the targets with network cards, and a peer that sends and takes them: it may be slow,
 * answer from within its receive(), and take any kind of unfinished packets.
 */
#ifndef TESTS_FUZZ_FRAMES_H
#define TESTS_FUZZ_FRAMES_H

#include "net/net.h"
#include "tests/fuzz/box.h"

enum { MAX_PEERS = 2, MAX_FRAME = NET_MAX_PACKET };

typedef struct Peer {
    NetClient nc;
    bool slow, echo;
} Peer;

Peer *peer_at(unsigned n); /* in order of creation, by turns */

void peer_new(const char *id);
void peers_delete(void);
unsigned nr_peers(void);
void peer_set(Peer *peer, uint8_t how); /* how fast it is, and what it takes */
void peer_send(Peer *peer, Input *input);
/* Ethernet with most of IP, TCP and UDP right. Its length; up to MAX_FRAME. */
size_t frame_make(uint8_t *frame, Input *input);
/* A header that mostly fits the frame. */
struct virtio_net_hdr frame_offload(const uint8_t *frame, Input *input);

#endif
