/* SPDX-License-Identifier: GPL-2.0-or-later
 * Lists of buffers: lengths, parts, copies.
 */
#include <string.h>

#include "block/node.h"

uint64_t iov_total(const struct iovec *iov, int niov)
{
    uint64_t total = 0;
    for (int i = 0; i < niov; i++) {
        total += iov[i].iov_len;
    }
    return total;
}

int iov_slice(struct iovec *dst, const struct iovec *src, int niov, uint64_t skip, uint64_t len)
{
    int n = 0;
    for (int i = 0; i < niov && len; i++) {
        if (skip >= src[i].iov_len) {
            skip -= src[i].iov_len;
            continue;
        }
        uint64_t part = MIN(src[i].iov_len - skip, len);
        dst[n++] = (struct iovec){ (char *)src[i].iov_base + skip, part };
        len -= part;
        skip = 0;
    }
    return n;
}

typedef void PartFn(uint8_t *part, uint64_t len, uint64_t done, void *arg);

static void each_part(const struct iovec *iov, int niov, uint64_t skip, uint64_t len, PartFn *fn,
                      void *arg)
{
    uint64_t done = 0;
    for (int i = 0; i < niov && done < len; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        uint64_t n = MIN(iov[i].iov_len - skip, len - done);
        fn((uint8_t *)iov[i].iov_base + skip, n, done, arg);
        done += n;
        skip = 0;
    }
}

static void copy_out(uint8_t *part, uint64_t len, uint64_t done, void *arg)
{
    memcpy((uint8_t *)arg + done, part, len);
}

static void copy_in(uint8_t *part, uint64_t len, uint64_t done, void *arg)
{
    memcpy(part, (const uint8_t *)arg + done, len);
}

static void clear(uint8_t *part, uint64_t len, uint64_t done, void *arg)
{
    (void)done, (void)arg;
    memset(part, 0, len);
}

void iov_to_buf(const struct iovec *iov, int niov, uint64_t skip, void *buf, uint64_t len)
{
    each_part(iov, niov, skip, len, copy_out, buf);
}

void iov_from_buf(const struct iovec *iov, int niov, uint64_t skip, const void *buf, uint64_t len)
{
    each_part(iov, niov, skip, len, copy_in, (void *)buf);
}

void iov_zero(const struct iovec *iov, int niov, uint64_t skip, uint64_t len)
{
    each_part(iov, niov, skip, len, clear, NULL);
}

bool iov_is_zero(const struct iovec *iov, int niov)
{
    for (int i = 0; i < niov; i++) {
        const char *p = iov[i].iov_base;
        size_t len = iov[i].iov_len;
        if (len && (p[0] || memcmp(p, p + 1, len - 1))) {
            return false;
        }
    }
    return true;
}
