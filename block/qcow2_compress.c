/* SPDX-License-Identifier: GPL-2.0-or-later
 * Compressed clusters (QCOW2: Compressed Clusters Descriptor): raw deflate (RFC 1951) or zstd (RFC
 * 8878). A few clusters are kept as they came out, since guests read in smaller pieces.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#include "block/qcow2.h"
#include "util/alloc.h"

/* ---- the two methods ---- */

/* Returns the length, 0 if it does not get shorter. */
static size_t deflate_cluster(uint8_t *out, size_t room, const uint8_t *in, size_t len)
{
    /* Readers of this format expect a window of 4 KiB. */
    z_stream z = { 0 };
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return 0;
    }
    z.next_in = (uint8_t *)in;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    int r = deflate(&z, Z_FINISH);
    size_t n = room - z.avail_out;
    deflateEnd(&z);
    return r == Z_STREAM_END ? n : 0;
}

static int inflate_cluster(uint8_t *out, size_t room, const uint8_t *in, size_t len)
{
    z_stream z = { 0 };
    if (inflateInit2(&z, -15) != Z_OK) {
        return ENOMEM;
    }
    z.next_in = (uint8_t *)in;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    int r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    /* Z_BUF_ERROR: all came out and the end mark was not reached, which some writers leave out. */
    return (r == Z_STREAM_END || r == Z_BUF_ERROR) && !z.avail_out ? 0 : EIO;
}

#ifdef HAVE_ZSTD
bool qcow2_can_zstd(void)
{
    return true;
}

static size_t zstd_cluster(uint8_t *out, size_t room, const uint8_t *in, size_t len)
{
    size_t n = ZSTD_compress(out, room, in, len, 3);
    return ZSTD_isError(n) ? 0 : n;
}

/* Frames until the cluster is full; behind them are other bytes of the sector. Whole frames need no
 * memory for a window, however large a header says it is. */
static int unzstd_cluster(uint8_t *out, size_t room, const uint8_t *in, size_t len)
{
    while (room) {
        size_t frame = ZSTD_findFrameCompressedSize(in, len);
        if (ZSTD_isError(frame) || !frame || frame > len) {
            return EIO;
        }
        size_t n = ZSTD_decompress(out, room, in, frame);
        if (ZSTD_isError(n)) {
            return EIO;
        }
        out += n;
        room -= n;
        in += frame;
        len -= frame;
    }
    return 0;
}
#else
bool qcow2_can_zstd(void)
{
    return false;
}

static size_t zstd_cluster(uint8_t *out, size_t room, const uint8_t *in, size_t len)
{
    (void)out, (void)room, (void)in, (void)len;
    return 0;
}

static int unzstd_cluster(uint8_t *out, size_t room, const uint8_t *in, size_t len)
{
    (void)out, (void)room, (void)in, (void)len;
    return ENOTSUP;
}
#endif

/* ---- reading ---- */

static bool copy_kept(Qcow2 *s, uint64_t entry, uint64_t skip, const struct iovec *iov, int niov,
                      uint64_t iov_skip, uint64_t len)
{
    bool found = false;
    pthread_mutex_lock(&s->unzip_lock);
    for (unsigned i = 0; i < s->nr_unzipped && !found; i++) {
        Qcow2Unzipped *u = &s->unzipped[i];
        if (u->entry == entry) {
            u->used = ++s->unzip_clock;
            iov_from_buf(iov, niov, iov_skip, u->data + skip, len);
            found = true;
        }
    }
    pthread_mutex_unlock(&s->unzip_lock);
    return found;
}

/* Takes data. */
static void keep(Qcow2 *s, uint64_t entry, uint8_t *data)
{
    pthread_mutex_lock(&s->unzip_lock);
    Qcow2Unzipped *oldest = &s->unzipped[0];
    for (unsigned i = 1; i < s->nr_unzipped; i++) {
        if (s->unzipped[i].used < oldest->used) {
            oldest = &s->unzipped[i];
        }
    }
    free(oldest->data);
    *oldest = (Qcow2Unzipped){ entry, ++s->unzip_clock, data };
    pthread_mutex_unlock(&s->unzip_lock);
}

void qcow2_forget_unzipped(Qcow2 *s)
{
    pthread_mutex_lock(&s->unzip_lock);
    for (unsigned i = 0; i < UNZIPPED_CLUSTERS; i++) {
        free(s->unzipped[i].data);
        s->unzipped[i] = (Qcow2Unzipped){ .entry = 0 };
    }
    pthread_mutex_unlock(&s->unzip_lock);
}

int qcow2_read_compressed(Qcow2 *s, uint64_t entry, uint64_t skip, const struct iovec *iov,
                          int niov, uint64_t iov_skip, uint64_t len)
{
    if (copy_kept(s, entry, skip, iov, niov, iov_skip, len)) {
        return 0;
    }
    uint64_t offset, bytes;
    compressed_span(s, entry, &offset, &bytes);
    uint8_t *in = malloc(bytes), *out = malloc(s->cluster_size);
    int error = in && out ? block_pread(s->node.file, offset, in, bytes) : ENOMEM;
    if (!error) {
        error = s->h.compression == COMPRESSION_ZSTD
                    ? unzstd_cluster(out, s->cluster_size, in, bytes)
                    : inflate_cluster(out, s->cluster_size, in, bytes);
    }
    free(in);
    if (error) {
        free(out);
        return error;
    }
    iov_from_buf(iov, niov, iov_skip, out + skip, len);
    keep(s, entry, out);
    return 0;
}

/* ---- writing ---- */

static int link_compressed(Qcow2 *s, uint64_t guest, uint64_t entry)
{
    uint8_t *at;
    uint64_t left, slice_offset;
    int error;
    do {
        error = qcow2_l2_find_writable(s, guest, true, &at, &left, &slice_offset);
    } while (error == EAGAIN);
    if (!error) {
        Qcow2Entry old = qcow2_entry_read(s, at);
        qcow2_entry_write(s, slice_offset, at, (Qcow2Entry){ entry, 0 });
        qcow2_free_entry_later(s, old.e);
    }
    return error;
}

/* What was there before, of a cluster that is free by now. */
static void forget_entry(Qcow2 *s, uint64_t entry)
{
    pthread_mutex_lock(&s->unzip_lock);
    for (unsigned i = 0; i < s->nr_unzipped; i++) {
        if (s->unzipped[i].entry == entry) {
            s->unzipped[i].entry = 0;
        }
    }
    pthread_mutex_unlock(&s->unzip_lock);
}

static int store(Qcow2 *s, uint64_t guest, const uint8_t *data, size_t len)
{
    Qcow2Claim claim;
    uint64_t c = cluster_of(s, guest), offset = 0, entry = 0;
    int error;
    pthread_mutex_lock(&s->lock);
    do {
        error = qcow2_claim(s, &claim, c, c);
    } while (error == EAGAIN);
    do {
        error = qcow2_alloc_bytes(s, len, &offset);
    } while (error == EAGAIN);
    if (!error) {
        unsigned x = 62 - (s->cluster_bits - 8);
        uint64_t sectors = (offset + len - 1) / 512 - offset / 512;
        entry = ENTRY_COMPRESSED | sectors << x | offset;
        pthread_mutex_unlock(&s->lock);
        block_event(s->node.file, "write_compressed");
        error = block_pwrite(s->node.file, offset, data, len);
        forget_entry(s, entry);
        pthread_mutex_lock(&s->lock);
        error = error ? error : link_compressed(s, guest, entry);
        if (error) {
            (void)qcow2_add_entry_refs(s, entry, -1);
        }
    }
    qcow2_unclaim(s, &claim);
    pthread_mutex_unlock(&s->lock);
    return error;
}

int qcow2_write_compressed(BlockNode *n, uint64_t offset, const void *buf, uint64_t len)
{
    Qcow2 *s = qcow2_of(n);
    bool last = offset + len == n->size;
    if (in_cluster(s, offset) || len > s->cluster_size || (len < s->cluster_size && !last)) {
        return EINVAL;
    }
    if (s->data_external) {
        return ENOTSUP;
    }
    pthread_mutex_lock(&s->lock);
    int error = qcow2_begin_write(s);
    pthread_mutex_unlock(&s->lock);
    if (error) {
        return error;
    }
    const uint8_t *in = buf;
    uint8_t *padded = NULL, *out = malloc(s->cluster_size);
    if (len < s->cluster_size) {
        padded = calloc(1, s->cluster_size);
        in = padded ? memcpy(padded, buf, len) : NULL;
    }
    if (!out || !in) {
        free(out);
        free(padded);
        return ENOMEM;
    }
    size_t room = s->cluster_size - 1;
    size_t short_len = s->h.compression == COMPRESSION_ZSTD
                           ? zstd_cluster(out, room, in, s->cluster_size)
                           : deflate_cluster(out, room, in, s->cluster_size);
    struct iovec v = { (void *)buf, len };
    error = short_len ? store(s, offset, out, short_len) : qcow2_writev(n, offset, &v, 1, len);
    free(out);
    free(padded);
    return error;
}
