/* SPDX-License-Identifier: GPL-2.0-or-later
 * The qcow2 header: reading and checking it with its extensions, writing it (QCOW2: Header, Header
 * extensions, String header extension). Fields that change while an image is used all lie in the
 * first sector, so that one write changes several of them or none.
 *
 * Left out: the bitmaps themselves (the extension is kept until the image is written), encryption
 * (refused).
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "util/alloc.h"

enum { MAX_BACKING_NAME = 1023, MAX_FORMAT_NAME = 63, SECTOR = 512, FEATURE_ENTRY = 48 };

/* ---- reading ---- */

static bool check_geometry(const Qcow2Header *h, const char *name, Error **errp)
{
    if (h->cluster_bits < MIN_CLUSTER_BITS || h->cluster_bits > MAX_CLUSTER_BITS) {
        return error_set(errp, "image '%s' is damaged: its header says clusters of 2^%u bytes",
                         name, h->cluster_bits);
    }
    if (h->refcount_order > 6) {
        return error_set(errp, "image '%s' is damaged: its header says refcounts of 2^%u bits",
                         name, h->refcount_order);
    }
    if (h->crypt_method > 2) {
        return error_set(errp, "image '%s' is damaged: its header names encryption method %u", name,
                         h->crypt_method);
    }
    if (h->crypt_method) {
        return error_set(errp,
                         "image '%s' is encrypted (%s), which is not built; decrypt it with: "
                         "qemu-img convert",
                         name, h->crypt_method == 1 ? "AES" : "LUKS");
    }
    uint64_t unknown = h->incompatible & ~(uint64_t)INCOMPAT_KNOWN;
    if (unknown) {
        return error_set(errp,
                         "image '%s' uses features this program does not know (incompatible bits "
                         "0x%" PRIx64 "); a newer program made it",
                         name, unknown);
    }
    if ((h->incompatible & INCOMPAT_EXTL2) && h->cluster_bits < 14) {
        return error_set(
            errp, "image '%s' is damaged: subclusters need clusters of 16 KiB at least", name);
    }
    bool zlib = h->compression == COMPRESSION_ZLIB;
    if (h->compression > COMPRESSION_ZSTD || zlib != !(h->incompatible & INCOMPAT_COMPRESSION)) {
        return error_set(errp, "image '%s' is damaged: its header names compression type %u", name,
                         h->compression);
    }
    return true;
}

static bool check_tables(const Qcow2Header *h, const char *name, Error **errp)
{
    uint64_t mask = (1ull << h->cluster_bits) - 1;
    bool has_l2_pairs = h->incompatible & INCOMPAT_EXTL2;
    unsigned reach = 2 * h->cluster_bits - (has_l2_pairs ? 4 : 3); /* bits of an L1 entry's bytes */
    uint64_t needed = (h->size >> reach) + ((h->size & ((1ull << reach) - 1)) != 0);
    const char *bad = NULL;
    if (needed > MAX_L1_BYTES / 8) {
        return error_set(errp,
                         "image '%s' says it has %" PRIu64 " bytes, too many for its cluster size",
                         name, h->size);
    }
    if (h->l1_size > MAX_L1_BYTES / 8) {
        bad = "its L1 table is larger than 32 MiB";
    } else if (h->l1_size < needed) {
        bad = "its L1 table is too small for its size";
    } else if (h->l1_size && ((h->l1_offset & mask) || !h->l1_offset || h->l1_offset >> 56)) {
        bad = "its L1 table is at an impossible place";
    } else if (!h->reftable_clusters ||
               (uint64_t)h->reftable_clusters << h->cluster_bits > MAX_REFTABLE_BYTES) {
        bad = "its refcount table is empty or larger than 8 MiB";
    } else if ((h->reftable_offset & mask) || !h->reftable_offset || h->reftable_offset >> 56) {
        bad = "its refcount table is at an impossible place";
    } else if (h->nr_snapshots > MAX_SNAPSHOTS) {
        bad = "it says it has more than 65536 snapshots";
    } else if (h->nr_snapshots && ((h->snapshots_offset & mask) || !h->snapshots_offset ||
                                   h->snapshots_offset >> 56)) {
        bad = "its snapshot table is at an impossible place";
    } else if (h->backing_offset && (h->backing_len > MAX_BACKING_NAME || !h->backing_len)) {
        bad = "the name of its backing file is empty or longer than 1023 bytes";
    } else if (h->backing_offset &&
               (h->backing_offset < h->length ||
                h->backing_offset > (1ull << h->cluster_bits) - h->backing_len)) {
        bad = "the name of its backing file is not in the first cluster";
    }
    return !bad || error_set(errp, "image '%s' is damaged: %s", name, bad);
}

bool qcow2_header_parse(Qcow2Header *h, const uint8_t *buf, size_t len, const char *name,
                        Error **errp)
{
    if (len < HEADER_V2_LENGTH || get32(buf) != QCOW2_MAGIC) {
        return error_set(errp, "image '%s' is not in qcow2 format", name);
    }
    *h = (Qcow2Header){
        .version = get32(buf + 4),
        .backing_offset = get64(buf + 8),
        .backing_len = get32(buf + 16),
        .cluster_bits = get32(buf + 20),
        .size = get64(buf + 24),
        .crypt_method = get32(buf + 32),
        .l1_size = get32(buf + 36),
        .l1_offset = get64(buf + 40),
        .reftable_offset = get64(buf + 48),
        .reftable_clusters = get32(buf + 56),
        .nr_snapshots = get32(buf + 60),
        .snapshots_offset = get64(buf + 64),
        .refcount_order = 4,
        .length = HEADER_V2_LENGTH,
    };
    if (h->version != 2 && h->version != 3) {
        return error_set(errp, "image '%s' is qcow2 version %u; 2 and 3 are known", name,
                         h->version);
    }
    if (h->version == 3) {
        if (len < HEADER_V3_LENGTH) {
            return error_set(errp, "image '%s' is damaged: it ends within its header", name);
        }
        h->incompatible = get64(buf + 72);
        h->compatible = get64(buf + 80);
        h->autoclear = get64(buf + 88);
        h->refcount_order = get32(buf + 96);
        h->length = get32(buf + 100);
        if (h->length < HEADER_V3_LENGTH || h->length % 8 || h->length > len) {
            return error_set(errp, "image '%s' is damaged: its header says it has %u bytes", name,
                             h->length);
        }
        h->compression = h->length > HEADER_V3_LENGTH ? buf[HEADER_V3_LENGTH] : 0;
    }
    return check_geometry(h, name, errp) && check_tables(h, name, errp);
}

static bool read_bitmaps(Qcow2 *s, const uint8_t *data, uint32_t len, Error **errp)
{
    if (!(s->h.autoclear & AUTOCLEAR_BITMAPS)) {
        return true; /* somebody who does not know them wrote the image: they are void */
    }
    if (len < 24 || !get32(data) || get32(data) > 65535 || in_cluster(s, get64(data + 16)) ||
        !get64(data + 8) || get64(data + 8) > 64 * MiB) {
        return error_set(errp, "image '%s' is damaged: the header extension of its bitmaps",
                         s->node.filename);
    }
    s->bitmaps.nr = get32(data);
    s->bitmaps.size = get64(data + 8);
    s->bitmaps.offset = get64(data + 16);
    return true;
}

static bool read_extension(Qcow2 *s, uint32_t type, const uint8_t *data, uint32_t len, Error **errp)
{
    BlockNode *n = &s->node;
    switch (type) {
    case EXT_BACKING_FORMAT:
        if (len > MAX_FORMAT_NAME) {
            return error_set(errp, "image '%s' is damaged: the name of its backing file's format",
                             n->filename);
        }
        free(n->backing_format);
        n->backing_format = xstrndup((const char *)data, len);
        return true;
    case EXT_DATA_FILE:
        free(s->data_file_name);
        s->data_file_name = xstrndup((const char *)data, len);
        return true;
    case EXT_FEATURE_NAMES: return true; /* ours are written anew */
    case EXT_BITMAPS: return read_bitmaps(s, data, len, errp);
    case EXT_CRYPTO:
        return error_set(errp,
                         "image '%s' is encrypted, which is not built; decrypt it with: "
                         "qemu-img convert",
                         n->filename);
    default: break;
    }
    s->extensions = xrealloc(s->extensions, (s->nr_extensions + 1) * sizeof(*s->extensions));
    Qcow2Extension *e = &s->extensions[s->nr_extensions++];
    *e = (Qcow2Extension){ type, len, xmalloc(len) };
    memcpy(e->data, data, len);
    return true;
}

static bool read_extensions(Qcow2 *s, const uint8_t *buf, uint64_t end, Error **errp)
{
    for (uint64_t at = s->h.length; at + 8 <= end;) {
        uint32_t type = get32(buf + at), len = get32(buf + at + 4);
        if (type == EXT_END) {
            return true;
        }
        at += 8;
        if (len > end - at) {
            return error_set(errp, "image '%s' is damaged: header extension 0x%x is too long",
                             s->node.filename, type);
        }
        if (!read_extension(s, type, buf + at, len, errp)) {
            return false;
        }
        at += ROUND_UP((uint64_t)len, 8);
    }
    return true;
}

bool qcow2_read_header(Qcow2 *s, Error **errp)
{
    BlockNode *n = &s->node;
    enum { FIRST = 4096 };
    size_t len = MIN(n->file->size, 1ull << MAX_CLUSTER_BITS);
    uint8_t *buf = xcalloc(1, FIRST + 8);
    int error = block_pread(n->file, 0, buf, MIN(len, FIRST));
    bool ok = !error || error_set_errno(errp, error, "image '%s' cannot be read", n->filename);
    ok = ok && qcow2_header_parse(&s->h, buf, MIN(len, FIRST), n->filename, errp);
    if (ok) {
        s->cluster_bits = s->h.cluster_bits;
        s->cluster_size = 1ull << s->cluster_bits;
        len = MIN(len, s->cluster_size);
        if (len > FIRST) {
            buf = xrealloc(buf, len + 8);
            memset(buf + len, 0, 8);
            error = block_pread(n->file, FIRST, buf + FIRST, len - FIRST);
        }
        ok = !error || error_set_errno(errp, error, "image '%s' cannot be read", n->filename);
    }
    uint64_t end = s->h.backing_offset ? s->h.backing_offset : len;
    ok = ok && (end <= len ||
                error_set(errp, "image '%s' is damaged: it ends within its header", n->filename));
    ok = ok && read_extensions(s, buf, end, errp);
    if (ok && s->h.backing_offset) {
        n->backing_file = xstrndup((const char *)buf + s->h.backing_offset, s->h.backing_len);
    }
    free(buf);
    return ok;
}

void qcow2_free_header(Qcow2 *s)
{
    for (size_t i = 0; i < s->nr_extensions; i++) {
        free(s->extensions[i].data);
    }
    free(s->extensions);
    free(s->data_file_name);
    s->extensions = NULL;
    s->data_file_name = NULL;
    s->nr_extensions = 0;
}

/* ---- writing ---- */

static size_t put_fields(const Qcow2Header *h, uint8_t *buf)
{
    put32(buf, QCOW2_MAGIC);
    put32(buf + 4, h->version);
    put64(buf + 8, h->backing_offset);
    put32(buf + 16, h->backing_offset ? h->backing_len : 0);
    put32(buf + 20, h->cluster_bits);
    put64(buf + 24, h->size);
    put32(buf + 32, h->crypt_method);
    put32(buf + 36, h->l1_size);
    put64(buf + 40, h->l1_offset);
    put64(buf + 48, h->reftable_offset);
    put32(buf + 56, h->reftable_clusters);
    put32(buf + 60, h->nr_snapshots);
    put64(buf + 64, h->snapshots_offset);
    if (h->version == 2) {
        return HEADER_V2_LENGTH;
    }
    put64(buf + 72, h->incompatible);
    put64(buf + 80, h->compatible);
    put64(buf + 88, h->autoclear);
    put32(buf + 96, h->refcount_order);
    put32(buf + 100, h->length);
    if (h->length == HEADER_V3_LENGTH) {
        return HEADER_V3_LENGTH;
    }
    memset(buf + HEADER_V3_LENGTH, 0, HEADER_LENGTH - HEADER_V3_LENGTH);
    buf[HEADER_V3_LENGTH] = h->compression;
    return HEADER_LENGTH;
}

int qcow2_write_fields(Qcow2 *s)
{
    uint8_t buf[HEADER_LENGTH];
    size_t len = put_fields(&s->h, buf);
    return block_pwrite(s->node.file, 0, buf, len);
}

int qcow2_change_fields(Qcow2 *s, const Qcow2Header *old)
{
    int error = qcow2_write_fields(s);
    error = error ? error : block_flush(s->node.file);
    if (error) {
        s->h = *old;
        (void)qcow2_write_fields(s);
    }
    return error;
}

static size_t put_extension(uint8_t *buf, size_t at, uint32_t type, const void *data, size_t len)
{
    put32(buf + at, type);
    put32(buf + at + 4, (uint32_t)len);
    if (len) {
        memcpy(buf + at + 8, data, len);
    }
    return at + 8 + ROUND_UP(len, 8);
}

/* Names for the incompatible bits that are set, so that the table stays short. */
static size_t put_feature_names(const Qcow2Header *h, uint8_t *buf, size_t at)
{
    static const char *const names[] = { "dirty bit", "corrupt bit", "external data file",
                                         "compression type", "extended L2 entries" };
    uint8_t table[ARRAY_SIZE(names) * FEATURE_ENTRY] = { 0 };
    size_t len = 0;
    for (unsigned bit = 2; bit < ARRAY_SIZE(names); bit++) {
        if (h->incompatible >> bit & 1) {
            table[len + 1] = (uint8_t)bit;
            memcpy(table + len + 2, names[bit], strlen(names[bit]));
            len += FEATURE_ENTRY;
        }
    }
    return len ? put_extension(buf, at, EXT_FEATURE_NAMES, table, len) : at;
}

/* Returns the length of all, 0 if it does not fit. */
static size_t put_header(Qcow2 *s, uint8_t *buf, size_t room)
{
    BlockNode *n = &s->node;
    Qcow2Header *h = &s->h;
    if (h->version == 3) {
        h->length = HEADER_LENGTH;
    }
    size_t at = h->version == 2 ? HEADER_V2_LENGTH : HEADER_LENGTH;
    if (n->backing_format) {
        at = put_extension(buf, at, EXT_BACKING_FORMAT, n->backing_format,
                           strlen(n->backing_format));
    }
    if (s->data_file_name) {
        at = put_extension(buf, at, EXT_DATA_FILE, s->data_file_name, strlen(s->data_file_name));
    }
    if (h->version == 3) {
        at = put_feature_names(h, buf, at);
    }
    if (s->bitmaps.nr) {
        uint8_t ext[24] = { 0 };
        put32(ext, s->bitmaps.nr);
        put64(ext + 8, s->bitmaps.size);
        put64(ext + 16, s->bitmaps.offset);
        at = put_extension(buf, at, EXT_BITMAPS, ext, sizeof(ext));
    }
    for (size_t i = 0; i < s->nr_extensions; i++) {
        const Qcow2Extension *e = &s->extensions[i];
        if (at + e->len + 32 > room) {
            return 0;
        }
        at = put_extension(buf, at, e->type, e->data, e->len);
    }
    at = put_extension(buf, at, EXT_END, NULL, 0);
    size_t len = n->backing_file ? strlen(n->backing_file) : 0;
    if (at + len > room) {
        return 0;
    }
    h->backing_offset = len ? at : 0;
    h->backing_len = (uint32_t)len;
    if (len) {
        memcpy(buf + at, n->backing_file, len);
    }
    put_fields(h, buf);
    return at + len;
}

bool qcow2_write_header(Qcow2 *s, Error **errp)
{
    BlockNode *file = s->node.file;
    /* put_extension's data may be a name of a user: the buffer takes the longest of each. */
    size_t names = (s->data_file_name ? strlen(s->data_file_name) : 0) + 8192;
    uint8_t *buf = xcalloc(1, s->cluster_size + names);
    Qcow2Header old = s->h;
    size_t len = put_header(s, buf, s->cluster_size);
    bool ok = len || error_set(errp,
                               "the header of '%s' has no room in a cluster of %" PRIu64
                               " bytes: shorten the names of the backing and the data file",
                               s->node.filename, s->cluster_size);
    /* What does not fit into the first sector comes first, so that a cut between the two leaves the
     * old fields; a longer header is not otherwise protected. */
    uint64_t room = s->cluster_size;
    int error = 0;
    if (ok && room > SECTOR && len > SECTOR) {
        error = block_pwrite(file, SECTOR, buf + SECTOR, ROUND_UP(len, SECTOR) - SECTOR);
        error = error ? error : block_flush(file);
    }
    error = error || !ok ? error : block_pwrite(file, 0, buf, SECTOR);
    error = error || !ok ? error : block_flush(file);
    free(buf);
    if (!ok || error) { /* what later writes of fields say goes with what else is there */
        s->h = old;
    }
    return ok && (!error || error_set_errno(errp, error, "the header of '%s' cannot be written",
                                            s->node.filename));
}

int qcow2_set_dirty(Qcow2 *s, bool dirty)
{
    Qcow2Header old = s->h;
    uint64_t bit = INCOMPAT_DIRTY, now = dirty ? old.incompatible | bit : old.incompatible & ~bit;
    if (old.incompatible == now || s->h.version == 2) {
        return 0;
    }
    s->h.incompatible = now;
    return qcow2_change_fields(s, &old);
}

int qcow2_begin_write(Qcow2 *s)
{
    if (s->failed) {
        return s->failed;
    }
    if (s->write_begun) {
        return 0;
    }
    uint64_t keep = s->h.autoclear & AUTOCLEAR_DATA_FILE_RAW;
    bool lazy = s->lazy && !(s->h.incompatible & INCOMPAT_DIRTY);
    if (keep != s->h.autoclear || lazy) {
        Qcow2Header old = s->h;
        s->h.autoclear = keep;
        s->h.incompatible |= lazy ? INCOMPAT_DIRTY : 0;
        int error = qcow2_change_fields(s, &old);
        if (error) {
            return error;
        }
        s->bitmaps.nr = 0;
    }
    s->dirty_marked = s->lazy;
    s->write_begun = true;
    return 0;
}

int qcow2_corrupt(Qcow2 *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    if (!s->failed && !s->node.flags.for_check) {
        warn_report("image '%s' is corrupt: %s; %s", s->node.filename, text,
                    s->node.readonly
                        ? "what depends on that cannot be read"
                        : "it is not written any more. Repair it with: vireo-img check "
                          "-r all");
        if (!s->node.readonly) {
            s->failed = EIO;
            s->h.incompatible |= s->h.version == 3 ? INCOMPAT_CORRUPT : 0;
            if (!qcow2_write_fields(s)) {
                (void)block_flush(s->node.file);
            }
        }
    }
    free(text);
    return EIO;
}
