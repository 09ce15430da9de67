/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a NIC leaves to the network, done in software: checksums and segmentation.
 */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "net/net.h"

/* The 16-bit one's complement sum of RFC 1071, not folded, not inverted; sum is what came before
 * and must have ended at an even byte. */
uint64_t net_sum(const void *buf, size_t len, uint64_t sum);
uint16_t net_sum_fold(uint64_t sum);
/* The sum over all of iov from byte skip on. */
uint64_t net_sum_iov(const struct iovec *iov, int nr, size_t skip, size_t len);

/* What of o a client that takes these cannot have: false. */
bool net_offload_accepted(const struct virtio_net_hdr *o, unsigned accepts);
/* Does what .accepts does not have and gives the result, one or more frames, to fn. Frames that
 * cannot be understood are dropped: false. fn's packets live until it returns. */
bool net_offload_finish(const NetPacket *p, unsigned accepts,
                        void (*fn)(void *opaque, const NetPacket *p), void *opaque);

/* Makes of a large frame whose lengths and checksums are not set what o promises: lengths, the IP
 * checksum and the begun one are right. o becomes zero if it was not that large. False: not a
 * frame that can be cut. */
bool net_offload_begin(uint8_t *frame, size_t len, struct virtio_net_hdr *o);

/* Copies up to len bytes from byte skip on out of iov; returns how many there were. */
size_t net_iov_copy(void *to, size_t len, const struct iovec *iov, int nr, size_t skip);

#endif
