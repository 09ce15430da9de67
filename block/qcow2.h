/* SPDX-License-Identifier: GPL-2.0-or-later
 * The qcow2 format inside: what its files share. Nobody else includes this. Everything is named as
 * in the format's specification (docs/specs: QCOW2); docs/qcow2.md has the rules of ordering.
 *
 * Locks: s->lock guards everything below but what says otherwise; it is dropped for data I/O, for
 * compression and while tables are read or flushed. A function that had to drop it returns EAGAIN:
 * what the caller looked up may have changed, it starts again. "Quiescent": nothing else is in
 * flight, as for all that the block layer calls with vm_lock held; such code never sees EAGAIN from
 * the allocator, only from a flush under way.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include <pthread.h>

#include "block/node.h"

enum { QCOW2_MAGIC = 0x514649fb, MIN_CLUSTER_BITS = 9, MAX_CLUSTER_BITS = 21 };
enum { HEADER_V2_LENGTH = 72, HEADER_V3_LENGTH = 104, HEADER_LENGTH = 112 };
/* incompatible_features */
enum {
    INCOMPAT_DIRTY = 1 << 0,
    INCOMPAT_CORRUPT = 1 << 1,
    INCOMPAT_DATA_FILE = 1 << 2,
    INCOMPAT_COMPRESSION = 1 << 3,
    INCOMPAT_EXTL2 = 1 << 4,
    INCOMPAT_KNOWN = 0x1f,
};
enum { COMPAT_LAZY_REFCOUNTS = 1 << 0 };
enum { AUTOCLEAR_BITMAPS = 1 << 0, AUTOCLEAR_DATA_FILE_RAW = 1 << 1 };
enum { COMPRESSION_ZLIB = 0, COMPRESSION_ZSTD = 1 };
/* header extensions */
enum {
    EXT_END = 0,
    EXT_BACKING_FORMAT = 0xe2792aca,
    EXT_FEATURE_NAMES = 0x6803f857,
    EXT_BITMAPS = 0x23852875,
    EXT_CRYPTO = 0x0537be77,
    EXT_DATA_FILE = 0x44415441,
};
/* L1 and L2 entries */
#define ENTRY_OFFSET 0x00fffffffffffe00ull
#define ENTRY_COPIED (1ull << 63)
#define ENTRY_COMPRESSED (1ull << 62)
#define ENTRY_ZERO 1ull
#define L1_RESERVED 0x7f000000000001ffull
#define L2_RESERVED 0x3f000000000001feull
#define REFTABLE_OFFSET 0xfffffffffffffe00ull
/* What is believed of an image; its tables are in memory. */
#define MAX_L1_BYTES (32 * MiB)
#define MAX_REFTABLE_BYTES (8 * MiB)
#define MAX_SNAPSHOTS 65536
#define MAX_SNAPSHOT_BYTES (16 * MiB)
#define MAX_SNAPSHOT_EXTRA 1024

static inline uint16_t get16(const void *p)
{
    uint16_t v;
    __builtin_memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}

static inline uint32_t get32(const void *p)
{
    uint32_t v;
    __builtin_memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static inline uint64_t get64(const void *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static inline void put16(void *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    __builtin_memcpy(p, &v, 2);
}

static inline void put32(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    __builtin_memcpy(p, &v, 4);
}

static inline void put64(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(p, &v, 8);
}

/* The header's fields in the host's byte order; v2 images have the v3 fields' defaults. */
typedef struct Qcow2Header {
    uint32_t version;
    uint64_t backing_offset;
    uint32_t backing_len, cluster_bits;
    uint64_t size;
    uint32_t crypt_method, l1_size;
    uint64_t l1_offset, reftable_offset;
    uint32_t reftable_clusters, nr_snapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint32_t refcount_order, length;
    uint8_t compression;
} Qcow2Header;

/* A header extension we do not know: kept as it is. */
typedef struct Qcow2Extension {
    uint32_t type, len;
    uint8_t *data;
} Qcow2Extension;

typedef struct Qcow2Snapshot {
    uint64_t l1_offset;
    uint32_t l1_size; /* entries */
    char *id, *name;
    uint32_t date_s, date_ns;
    uint64_t vm_clock_ns, vm_state_size, disk_size, icount;
    bool has_icount;
    uint32_t extra_len; /* of what follows the fields we know */
    uint8_t *extra;
} Qcow2Snapshot;

/* A piece of an L2 table or refcount block in memory, as it is in the file. */
typedef struct Qcow2Slice {
    uint64_t offset;
    uint8_t *data;
    unsigned dirty_lo, dirty_hi; /* bytes changed since it was written; lo == hi: none */
    bool loading, writing, used;
    struct Qcow2Slice *next; /* of the same hash */
} Qcow2Slice;

typedef struct Qcow2Cache {
    const char *what;
    size_t slice_size;
    unsigned nr, max, hand, nr_dirty;
    Qcow2Slice **slices; /* nr of them; max is a wish */
    unsigned room;
    Qcow2Slice **hash;
    unsigned hash_mask;
    uint64_t hits, misses;
} Qcow2Cache;

typedef struct Qcow2Range {
    uint64_t first, nr; /* clusters */
    bool data;          /* guest data: a discard may pass on */
} Qcow2Range;

typedef struct Qcow2Ranges {
    Qcow2Range *list;
    size_t nr, room;
} Qcow2Ranges;

/* A table in memory whose changed 512-byte sectors are known: L1 and the refcount table. */
typedef struct Qcow2Table {
    uint64_t *entry; /* host order */
    uint32_t nr;     /* entries; memory is rounded up to a sector */
    uint64_t offset;
    uint8_t *dirty; /* one byte a sector */
    uint32_t nr_dirty;
} Qcow2Table;

/* Guest clusters whose entries somebody is about to change. */
typedef struct Qcow2Claim {
    uint64_t first, last;
    List list;
} Qcow2Claim;

enum { UNZIPPED_CLUSTERS = 8 };
typedef struct Qcow2Unzipped {
    uint64_t entry; /* 0: none */
    uint64_t used;
    uint8_t *data;
} Qcow2Unzipped;

typedef struct Qcow2 {
    BlockNode node;
    BlockNode *data; /* where guest data is: node.file, or the external data file (a reference) */
    Qcow2Header h;
    Qcow2Extension *extensions;
    size_t nr_extensions;
    char *data_file_name;
    struct {
        uint32_t nr;
        uint64_t size, offset;
    } bitmaps; /* the directory; nr 0: none, or not to be trusted */

    unsigned cluster_bits, l2_bits, entry_size, refcount_bits, refblock_bits;
    uint64_t cluster_size, refcount_max;
    unsigned nr_sub; /* subclusters of a cluster: 32 or 1 */
    uint64_t sub_size;
    bool extl2, data_external, data_raw, lazy;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* a slice loaded, a flush done, a claim gone */
    bool flushing;
    bool dirty_marked; /* INCOMPAT_DIRTY is on disk because of us */
    bool write_begun;  /* autoclear bits have been cleared */
    unsigned unfinished; /* changes of snapshots that failed midway: the dirty mark stays */
    int failed;        /* errno for every write from now on: an inconsistency was found */
    Qcow2Table l1, reftable;
    Qcow2Cache l2_cache, refcount_cache;
    Qcow2Snapshot *snapshots;
    size_t nr_snapshots;
    uint64_t snapshots_size; /* bytes of the table */
    List claims;
    Qcow2Ranges pending;      /* to be freed once what is in the caches now is on disk */
    uint64_t free_hint;       /* no cluster below is free */
    uint64_t compressed_next; /* where the next compressed bytes may go; 0: in a new cluster */
    uint64_t file_end;        /* bytes of the file, as far as we know */
    uint64_t zero_from;       /* the file has never had bytes from here on */
    uint8_t *meta_filter;     /* one bit a hash of a metadata cluster's number */
    uint64_t meta_filter_mask;

    /* Data I/O under way, in two generations (qcow2_io_begin): freed clusters wait for it. */
    unsigned io_generation;
    unsigned io_active[2];

    pthread_mutex_t unzip_lock; /* guards unzipped */
    Qcow2Unzipped unzipped[UNZIPPED_CLUSTERS];
    unsigned nr_unzipped;
    uint64_t unzip_clock;
} Qcow2;

static inline Qcow2 *qcow2_of(BlockNode *n)
{
    return container_of(n, Qcow2, node);
}

static inline uint64_t cluster_of(const Qcow2 *s, uint64_t offset)
{
    return offset >> s->cluster_bits;
}

static inline uint64_t in_cluster(const Qcow2 *s, uint64_t offset)
{
    return offset & (s->cluster_size - 1);
}

static inline uint64_t clusters_for(const Qcow2 *s, uint64_t bytes)
{
    return (bytes >> s->cluster_bits) + (in_cluster(s, bytes) != 0);
}

/* Entries of an L1 table for so many guest bytes. */
static inline uint64_t l1_entries(const Qcow2 *s, uint64_t bytes)
{
    unsigned bits = s->cluster_bits + s->l2_bits;
    return (bytes >> bits) + ((bytes & ((1ull << bits) - 1)) != 0);
}

/* Bytes of a compressed cluster: from its first byte to the end of its last sector. */
static inline void compressed_span(const Qcow2 *s, uint64_t entry, uint64_t *offset, uint64_t *len)
{
    unsigned x = 62 - (s->cluster_bits - 8);
    *offset = entry & ((1ull << x) - 1);
    uint64_t sectors = ((entry & ~(ENTRY_COPIED | ENTRY_COMPRESSED)) >> x) + 1;
    *len = sectors * 512 - (*offset & 511);
}

/* ---- qcow2_header.c ---- */

bool qcow2_header_parse(Qcow2Header *h, const uint8_t *buf, size_t len, const char *name,
                        Error **errp) MUST_USE;
bool qcow2_read_header(Qcow2 *s, Error **errp) MUST_USE;
void qcow2_free_header(Qcow2 *s);
/* The whole header anew: extensions and backing file name, too. */
bool qcow2_write_header(Qcow2 *s, Error **errp) MUST_USE;
/* Only the fields that are in the first sector, in one write. No flush. */
int qcow2_write_fields(Qcow2 *s);
/* The same after s->h has changed from old, and a flush. After an error s->h is old again, and most
 * likely the file; what the new fields name must stay all the same. */
int qcow2_change_fields(Qcow2 *s, const Qcow2Header *old);
int qcow2_set_dirty(Qcow2 *s, bool dirty);
/* Before the first change of anything: autoclear bits of features we do not keep up go. */
int qcow2_begin_write(Qcow2 *s);
/* An inconsistency: says so, sets INCOMPAT_CORRUPT, writes fail from now on. Returns EIO. */
int qcow2_corrupt(Qcow2 *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- qcow2_cache.c ---- */

bool qcow2_cache_init(Qcow2Cache *c, const char *what, uint64_t bytes, size_t slice_size);
void qcow2_cache_fini(Qcow2Cache *c);
/* The slice at offset (a multiple of slice_size); *data stays until the lock is dropped. EAGAIN: it
 * was dropped, ask again; never if !may_drop. */
int qcow2_cache_get(Qcow2 *s, Qcow2Cache *c, uint64_t offset, bool may_drop, uint8_t **data);
/* Would that find it without reading, waiting or dropping the lock? */
bool qcow2_cache_has(Qcow2Cache *c, uint64_t offset);
/* Bytes of a slice just got have changed. */
void qcow2_cache_dirty(Qcow2Cache *c, uint64_t offset, const uint8_t *at, size_t len);
/* The cluster at offset has no table any more, or one written past the cache. */
void qcow2_cache_forget(Qcow2Cache *c, uint64_t offset, uint64_t len);
void qcow2_table_dirty(Qcow2Table *t, uint32_t index);
bool qcow2_table_alloc(Qcow2Table *t, uint32_t nr);
void qcow2_table_free(Qcow2Table *t);
/* Reads a table of big-endian entries. */
int qcow2_table_read(Qcow2 *s, Qcow2Table *t);
/* Writes a whole table (not only what is dirty) at its offset. */
int qcow2_table_write(Qcow2 *s, Qcow2Table *t);
/* Metadata in order: refcounts, then what refers, and frees what nothing refers to any more; data
 * written before is stable with it. Called without the lock. */
int qcow2_flush_all(Qcow2 *s);
/* The same, with the lock held before and after; quiescent code. */
int qcow2_flush_locked(Qcow2 *s);
/* Around data I/O in clusters that a discard may free meanwhile; begin with the lock held. */
unsigned qcow2_io_begin(Qcow2 *s);
void qcow2_io_end(Qcow2 *s, unsigned generation);

/* ---- qcow2_refcount.c ---- */

bool qcow2_refcount_open(Qcow2 *s, Error **errp) MUST_USE;
uint64_t qcow2_refcount_get_entry(const uint8_t *block, uint64_t index, unsigned bits);
void qcow2_refcount_set_entry(uint8_t *block, uint64_t index, unsigned bits, uint64_t value);
int qcow2_get_refcount(Qcow2 *s, uint64_t cluster, uint64_t *count);
/* Up to nr clusters side by side, each with refcount 1 now. *got is at least 1. */
int qcow2_alloc(Qcow2 *s, uint64_t nr, uint64_t *first, uint64_t *got);
/* All nr clusters side by side, or an error. */
int qcow2_alloc_exactly(Qcow2 *s, uint64_t nr, uint64_t *first);
/* len bytes for compressed data, anywhere. */
int qcow2_alloc_bytes(Qcow2 *s, uint64_t len, uint64_t *offset);
int qcow2_add_refs(Qcow2 *s, uint64_t first, uint64_t nr, int delta);
/* What an L2 entry refers to. */
int qcow2_add_entry_refs(Qcow2 *s, uint64_t entry, int delta);
/* A reference to clusters is dropped in the caches: takes effect when that is on disk. */
void qcow2_free_later(Qcow2 *s, uint64_t first, uint64_t nr, bool data);
void qcow2_free_entry_later(Qcow2 *s, uint64_t entry);
/* After a flush: the clusters of these ranges lose a reference. */
void qcow2_release(Qcow2 *s, Qcow2Ranges *r);
void qcow2_ranges_add(Qcow2Ranges *r, uint64_t first, uint64_t nr, bool data);
/* Would [offset, offset+len) of the file hit metadata? */
int qcow2_check_overlap(Qcow2 *s, uint64_t offset, uint64_t len, const char *what);
void qcow2_meta_add(Qcow2 *s, uint64_t offset);
bool qcow2_meta_rebuild(Qcow2 *s);

/* ---- qcow2_cluster.c ---- */

typedef enum Qcow2Kind { KIND_UNALLOCATED, KIND_ZERO, KIND_DATA, KIND_COMPRESSED } Qcow2Kind;

typedef struct Qcow2Run {
    Qcow2Kind kind;
    bool in_place; /* DATA: may be written where it is */
    bool has_host; /* DATA, and ZERO or UNALLOCATED with a place kept for them */
    uint64_t host, len;
    uint64_t entry; /* COMPRESSED */
} Qcow2Run;

typedef struct Qcow2Entry {
    uint64_t e, bitmap; /* bitmap: extended L2 */
} Qcow2Entry;

/* What guest bytes [offset, offset+len) begin with, as far as that goes on side by side. */
int qcow2_lookup(Qcow2 *s, uint64_t offset, uint64_t len, Qcow2Run *run);
/* The same if no reading is needed for it; the lock is held throughout. */
bool qcow2_lookup_cached(Qcow2 *s, uint64_t offset, uint64_t len, Qcow2Run *run);
/* The L2 slice that has the entry of guest offset: *at is the entry, *left how many entries the
 * slice has from there on, *slice_offset its place. at NULL: there is no table. */
int qcow2_l2_find(Qcow2 *s, uint64_t guest, bool may_drop, uint8_t **at, uint64_t *left,
                  uint64_t *slice_offset);
/* The same, and the table is there and ours alone. */
int qcow2_l2_find_writable(Qcow2 *s, uint64_t guest, bool may_drop, uint8_t **at, uint64_t *left,
                           uint64_t *slice_offset);
Qcow2Entry qcow2_entry_read(const Qcow2 *s, const uint8_t *at);
void qcow2_entry_write(Qcow2 *s, uint64_t slice_offset, uint8_t *at, Qcow2Entry e);
/* Nobody else changes these guest clusters' entries until the claim is dropped. EAGAIN: somebody
 * did, and is done. */
int qcow2_claim(Qcow2 *s, Qcow2Claim *c, uint64_t first, uint64_t last);
void qcow2_unclaim(Qcow2 *s, Qcow2Claim *c);
/* The whole of guest clusters [first, first+nr), which are claimed: reads as zeroes, or falls
 * through (free); places are given back if unmap. */
int qcow2_clear_clusters(Qcow2 *s, uint64_t first, uint64_t nr, bool unmap, bool fall_through);
/* Makes room for so many L1 entries. */
int qcow2_grow_l1(Qcow2 *s, uint64_t nr);
/* Guest clusters without a place get one, whose bytes read as zeroes. how: preallocation=. -1:
 * *errp says why the file cannot have the room. */
int qcow2_preallocate_range(Qcow2 *s, uint64_t offset, uint64_t len, const char *how, Error **errp);
/* A new active L1 table (taken), whose clusters have their refcounts on disk, and a new disk size:
 * both at once or neither. The old table's clusters become free. */
int qcow2_switch_l1(Qcow2 *s, Qcow2Table *fresh, uint64_t size);
/* Clusters for a table of that many entries, with all that is in the caches on disk. */
int qcow2_place_l1(Qcow2 *s, Qcow2Table *fresh);
/* Does this guest offset read as zeroes where nothing is allocated? */
bool qcow2_nothing_behind(const Qcow2 *s, uint64_t guest);

/* ---- qcow2_io.c ---- */

int qcow2_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
bool qcow2_map_read(BlockNode *n, uint64_t *offset, uint64_t len, unsigned *cookie);
void qcow2_map_end(BlockNode *n, unsigned cookie);
int qcow2_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
int qcow2_flush(BlockNode *n);
int qcow2_discard(BlockNode *n, uint64_t offset, uint64_t len);
int qcow2_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap);
int qcow2_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out);
/* Clusters [first, first+nr) fall through to the backing file. */
int qcow2_drop(Qcow2 *s, uint64_t first, uint64_t nr);

/* ---- qcow2_compress.c ---- */

bool qcow2_can_zstd(void);
int qcow2_write_compressed(BlockNode *n, uint64_t offset, const void *buf, uint64_t len);
/* Bytes [skip, skip+len) of a compressed cluster to the iov's place. */
int qcow2_read_compressed(Qcow2 *s, uint64_t entry, uint64_t skip, const struct iovec *iov,
                          int niov, uint64_t iov_skip, uint64_t len);
void qcow2_forget_unzipped(Qcow2 *s);

/* ---- qcow2_snapshot.c ---- */

bool qcow2_read_snapshots(Qcow2 *s, Error **errp) MUST_USE;
void qcow2_free_snapshots(Qcow2 *s);
size_t qcow2_snapshots(BlockNode *n, BlockSnapshot **list);
bool qcow2_snapshot_create(BlockNode *n, const BlockSnapshot *sn, Error **errp);
bool qcow2_snapshot_apply(BlockNode *n, const char *id_or_name, Error **errp);
bool qcow2_snapshot_delete(BlockNode *n, const char *id_or_name, Error **errp);
/* While a read-only image is being opened: shows it as it was then. */
bool qcow2_snapshot_view(BlockNode *n, const char *id_or_name, Error **errp) MUST_USE;
int qcow2_vmstate_pread(BlockNode *n, uint64_t offset, void *buf, size_t len);
int qcow2_vmstate_pwrite(BlockNode *n, uint64_t offset, const void *buf, size_t len);

/* ---- qcow2_create.c ---- */

extern const BlockOption qcow2_create_options[];
bool qcow2_create(const char *filename, const Dict *opts, Error **errp);
bool qcow2_measure(const Dict *opts, uint64_t data_bytes, uint64_t *required, uint64_t *full,
                   Error **errp);

/* ---- qcow2_resize.c ---- */

bool qcow2_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp);
bool qcow2_set_backing(BlockNode *n, const char *file, const char *format, Error **errp);
int qcow2_make_empty(BlockNode *n);
bool qcow2_amend(BlockNode *n, const Dict *opts, Error **errp);

/* ---- qcow2_check.c ---- */

bool qcow2_check(BlockNode *n, unsigned fix, BlockCheck *result, Error **errp);
/* Writes the refcounts anew, of that width. */
bool qcow2_rebuild_refcounts(Qcow2 *s, unsigned refcount_order, Error **errp);

#endif
