/* SPDX-License-Identifier: GPL-2.0-or-later
 * Block nodes: what a drive or an image is made of, a graph.
 *
 *     format (raw, qcow2)  --file-->  protocol (file)         a filter (overlay, throttle, ...) may
 *            `--backing-->  format  --file-->  protocol       stand in any of these arrows
 *
 * Drivers are plain blocking code, called by worker threads, several at once; what needs order
 * takes its own node's lock, and never holds one while it waits for vm_lock. The graph itself
 * (opening, closing, names, references, children) is changed with vm_lock held and nothing in
 * flight; the image tools are single-threaded there.
 *
 * A driver's functions return 0 or an errno. Offsets and lengths are bytes inside [0, n->size),
 * which the caller has checked; any alignment.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include <pthread.h>
#include <sys/uio.h>

#include "util/dict.h"
#include "util/error.h"

typedef struct BlockNode BlockNode;
typedef struct BlockDriver BlockDriver;

typedef enum BlockKind { BLOCK_PROTOCOL, BLOCK_FORMAT, BLOCK_FILTER } BlockKind;

/* How a node is opened. Children inherit it; what opens them may ask for less (a backing file is
 * always readonly). */
typedef struct BlockFlags {
    bool readonly;
    bool auto_readonly; /* if it cannot be written, it is readonly, with a warning */
    bool direct;        /* past the host's page cache (cache.direct) */
    bool no_flush;      /* cache=unsafe */
    bool discard;       /* discards reach the file, else they do nothing */
    bool no_lock;       /* locking=off, force-share: others may write it meanwhile */
    bool no_backing;    /* the backing chain is not opened (info, check, rebase -u) */
    enum { AIO_AUTO, AIO_THREADS, AIO_URING } aio;
    bool for_check;     /* a format opens what it can although it is marked dirty or corrupt */
} BlockFlags;

/* What a driver can be told. name "file", kind NODE: a node's name, or nested keys "file.X". */
typedef struct BlockOption {
    const char *name;
    enum { BLOCK_OPT_TEXT, BLOCK_OPT_BOOL, BLOCK_OPT_NUMBER, BLOCK_OPT_SIZE, BLOCK_OPT_NODE } kind;
    const char *help;
} BlockOption;

/* What lies at an offset of a node, and how far that goes on. */
typedef struct BlockExtent {
    uint64_t len;       /* at least 1 */
    bool allocated;     /* this node answers, not the one behind it */
    bool zero;          /* reads as zeroes */
    bool data;          /* bytes are stored (compressed or not) */
    bool compressed;
    bool has_offset;    /* the bytes are, as they are, at offset of n->file */
    uint64_t offset;
} BlockExtent;

typedef struct BlockSnapshot {
    char *id, *name;
    uint64_t date_s, vm_clock_ns, icount; /* icount: UINT64_MAX if it does not say */
    uint32_t date_ns;
    uint64_t vm_state_size, disk_size;
} BlockSnapshot;

enum { BLOCK_FIX_LEAKS = 1, BLOCK_FIX_ERRORS = 2 };
typedef struct BlockCheck {
    uint64_t corruptions, leaks, errors, corruptions_fixed, leaks_fixed;
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    uint64_t image_end_offset;
} BlockCheck;

struct BlockDriver {
    const char *name, *desc;
    BlockKind kind;
    size_t size; /* of the node's struct; its BlockNode comes first */
    const BlockOption *options;        /* beside those every node has; ends with a NULL name */
    const BlockOption *create_options; /* vireo-img create -o; NULL: cannot be created */
    const char *const *aliases;        /* NULL-terminated; may be NULL */

    /* n is zeroed but for driver and flags. Sets size, opens children (block_open_child). On
     * false the driver has let go of its own; children are the caller's to drop. Keys it asks for
     * count as known, others are the user's mistake. */
    bool (*open)(BlockNode *n, const Dict *opts, Error **errp);
    /* Flushes and frees its own, neither n nor children; may be NULL. */
    void (*close)(BlockNode *n);
    int (*readv)(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
    int (*writev)(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
    int (*flush)(BlockNode *n); /* what was written before is on stable storage */
    /* Contents become undefined (formats: zeroes or the backing file's). A hint. */
    int (*discard)(BlockNode *n, uint64_t offset, uint64_t len);
    /* may_unmap: space may be given back. NULL: zero bytes are written. */
    int (*write_zeroes)(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap);
    /* len: how far the caller cares. NULL: all is data. */
    int (*status)(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out);
    /* One whole cluster (or the image's last part). NULL: the format does not compress. */
    int (*write_compressed)(BlockNode *n, uint64_t offset, const void *buf, uint64_t len);
    /* A named point a request passes, for fault injection; filters below look at it. */
    void (*event)(BlockNode *n, const char *event);

    /* The file descriptor whose bytes, from *offset on, the node's are (or, with map_read, some
     * of them), for io_uring; -1: there is none, or it is to be threads. *align: direct I/O. The
     * number stays the same while the node is open. */
    int (*ring_fd)(BlockNode *n, uint64_t *offset, unsigned *align);
    /* Formats, without ever waiting: do len bytes at *offset lie in that file as they are, and
     * where, counted from ring_fd's offset? Then they stay there until map_end. False: readv has to
     * do it. Any thread. */
    bool (*map_read)(BlockNode *n, uint64_t *offset, uint64_t len, unsigned *cookie);
    void (*map_end)(BlockNode *n, unsigned cookie);
    /* From reading to writing or back, with nothing in flight; n->file is writable, n->readonly
     * changes after. On false all is as before. NULL: nothing to do of its own. */
    bool (*reopen)(BlockNode *n, bool readonly, Error **errp);
    /* Protocols and filters with a prefix of their own ("blkdebug:"): what follows it, to
     * options. NULL: it is filename=. */
    bool (*parse_filename)(const char *rest, Dict *opts, Error **errp);

    /* ---- images ---- */
    /* 0 to 100: how sure is it that a file that begins so is ours? */
    int (*probe)(const uint8_t *head, size_t len);
    /* Makes an image: opts has size and create_options' keys. The file is new or emptied. */
    bool (*create)(const char *filename, const Dict *opts, Error **errp);
    /* prealloc: off, metadata, falloc, full. */
    bool (*resize)(BlockNode *n, uint64_t size, const char *prealloc, Error **errp);
    bool (*check)(BlockNode *n, unsigned fix, BlockCheck *result, Error **errp);
    /* Keys of its own for info, dotted if nested ("compat", "refcount-bits"). */
    void (*info)(BlockNode *n, Dict *out);
    /* Writes down another backing file; NULL, NULL: none. Does not open it. */
    bool (*set_backing)(BlockNode *n, const char *file, const char *format, Error **errp);
    /* All that this node holds goes; it reads as its backing file (after a commit). */
    int (*make_empty)(BlockNode *n);
    /* Options of an existing image: create_options' keys. */
    bool (*amend)(BlockNode *n, const Dict *opts, Error **errp);
    /* Bytes of a file that holds an image of opts' size whose used bytes are data_bytes, and of one
     * that is fully allocated. */
    bool (*measure)(const Dict *opts, uint64_t data_bytes, uint64_t *required, uint64_t *full,
                    Error **errp);
    /* A new array, each with new strings (block_snapshots_free). */
    size_t (*snapshots)(BlockNode *n, BlockSnapshot **list);
    bool (*snapshot_create)(BlockNode *n, const BlockSnapshot *s, Error **errp);
    bool (*snapshot_apply)(BlockNode *n, const char *id_or_name, Error **errp);
    bool (*snapshot_delete)(BlockNode *n, const char *id_or_name, Error **errp);
    /* The machine's state, beside the disk's bytes; belongs to the next snapshot_create. */
    int (*vmstate_pread)(BlockNode *n, uint64_t offset, void *buf, size_t len);
    int (*vmstate_pwrite)(BlockNode *n, uint64_t offset, const void *buf, size_t len);
    List node; /* registry */
};

#define BLOCK_DRIVER(sym)                                                                          \
    extern BlockDriver block_driver_##sym;                                                         \
    static void __attribute__((constructor)) register_block_##sym(void)                            \
    {                                                                                              \
        block_driver_register(&block_driver_##sym);                                                \
    }                                                                                              \
    BlockDriver block_driver_##sym
#define BLOCK_OPTION_END { .name = NULL }

typedef enum DetectZeroes { ZEROES_OFF, ZEROES_ON, ZEROES_UNMAP } DetectZeroes;

struct BlockNode {
    const BlockDriver *driver;
    char *name;      /* node-name, or a generated "#block123" */
    char *filename;  /* of the image, for messages: the protocol's; may be json:{...} */
    char *store;     /* where written data goes if that is not filename; NULL else */
    BlockFlags flags; /* as they came out: direct is false where there is no direct I/O */
    uint64_t size;   /* bytes; changes with vm_lock held and nothing in flight */
    bool readonly;
    bool probed;     /* nobody said which format this is */
    bool owned;      /* by -blockdev: one of refs */
    DetectZeroes detect_zeroes;
    char *taken_by;  /* "drive 'x'", which writes to it or forbids others to; NULL else */
    unsigned refs;
    unsigned request_align; /* a child's wish; 0 or 1: none */
    unsigned cluster_size;  /* a format's; 0: none */
    BlockNode *file, *backing; /* children, with a reference each; NULL if none */
    char *backing_file, *backing_format; /* as the image says, NULL if not at all */
    List list; /* of all */
};

/* ---- drivers ---- */

void block_driver_register(BlockDriver *d);
const BlockDriver *block_driver_find(const char *name); /* or alias; NULL */
void block_drivers_each(void (*fn)(const BlockDriver *d, void *opaque), void *opaque);

/* ---- the graph ---- */

/* A -blockdev's words: driver=, node-name=, read-only=, auto-read-only=, cache.direct=,
 * cache.no-flush=, discard=, force-share=, and the driver's own. A new reference; NULL with
 * *errp: one line that says what and what to do. */
BlockNode *block_open(const Dict *opts, const BlockFlags *flags, Error **errp);
/* A file name as people write it: a path, file:path, json:{...}, or another protocol's prefix.
 * format NULL: the image's first bytes decide, and n->probed is set. */
BlockNode *block_open_image(const char *filename, const char *format, const BlockFlags *flags,
                            Error **errp);
/* Everything people can say of an image, as -drive and -blockdev do: filename (as above, NULL:
 * none) and opts of the format, of its protocol ("file.X") and its backing file. Without driver=
 * the image's first bytes decide. */
BlockNode *block_open_words(const char *filename, const Dict *opts, const BlockFlags *flags,
                            Error **errp);
/* The steps of these, for block/open.c. */
const BlockDriver *block_driver_need(const char *name, Error **errp); /* finds, or says why not */
bool block_flags_parse(BlockFlags *f, const Dict *opts, Error **errp) MUST_USE;
BlockNode *block_open_driver(const BlockDriver *d, const Dict *opts, const BlockFlags *flags,
                             Error **errp);
extern const char *const block_unbuilt_protocols[]; /* ends with NULL */
bool block_option_is_unbuilt(const char *key);
/* For open: the child of that key ("file"), a reference to a node by name or nested options. false
 * with *errp unless it is there; *child NULL if absent and optional. */
bool block_open_child(BlockNode *n, const Dict *opts, const char *key, const BlockFlags *flags,
                      bool optional, BlockNode **child, Error **errp) MUST_USE;
/* Formats, from open: backing= of opts (a node, nested options, or "" for none), else what the
 * image names in n->backing_file; a relative name is relative to this image. Sets n->backing. */
bool block_open_backing(BlockNode *n, const Dict *opts, Error **errp) MUST_USE;
/* A backing file's name from the place of the image that names it. A new string. */
char *block_backing_path(const char *image, const char *backing);
BlockNode *block_find(const char *node_name);
BlockNode *block_ref(BlockNode *n);
void block_unref(BlockNode *n); /* the last one closes; NULL allowed */
/* Who uses the node: a drive, or a node's name; NULL: nobody. */
const char *block_user(BlockNode *n);
/* own: takes the caller's reference for -blockdev. Not own: gives it back, which fails while others
 * have one. */
bool block_own(BlockNode *n, bool own, Error **errp) MUST_USE;
void block_nodes_close(void); /* at exit, after the drives: what -blockdev owns */
/* In order of opening. */
void block_nodes_each(void (*fn)(BlockNode *n, void *opaque), void *opaque);

/* snapshot=on: writes go to an unnamed temporary file, base (taken, also on failure) is never
 * changed. */
BlockNode *block_overlay_open(BlockNode *base, Error **errp);

/* ---- I/O on nodes, for drivers, drives and tools ---- */

int block_readv(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
int block_writev(BlockNode *n, uint64_t offset, const struct iovec *iov, int niov, uint64_t len);
int block_pread(BlockNode *n, uint64_t offset, void *buf, size_t len);
int block_pwrite(BlockNode *n, uint64_t offset, const void *buf, size_t len);
int block_flush(BlockNode *n); /* 0 where flags.no_flush */
int block_discard(BlockNode *n, uint64_t offset, uint64_t len); /* 0 unless flags.discard */
int block_write_zeroes(BlockNode *n, uint64_t offset, uint64_t len, bool may_unmap);
int block_status(BlockNode *n, uint64_t offset, uint64_t len, BlockExtent *out);
void block_event(BlockNode *n, const char *event); /* n NULL allowed */
bool block_resize(BlockNode *n, uint64_t size, const char *prealloc, Error **errp) MUST_USE;

/* ---- images ---- */

enum { BLOCK_HEAD = 2048 }; /* so many first bytes tell a format */
/* What the file's first bytes look like; raw if nothing else. head: up to BLOCK_HEAD. */
const BlockDriver *block_probe(const uint8_t *head, size_t len);
/* The name of another program's format that begins so, NULL if none. */
const char *block_foreign_format(const uint8_t *head, size_t len);
/* The name of either, as if nobody had said a format; NULL if raw. */
const char *block_guess(const uint8_t *head, size_t len);
/* Is the node raw because nobody said otherwise, or stands on one that is? Then writes to the first
 * BLOCK_HEAD bytes of the file have to go through the drivers, which look at them. */
bool block_is_guessed_raw(const BlockNode *n);
/* opts: size, and what create_options of the driver say. */
bool block_create(const BlockDriver *d, const char *filename, const Dict *opts,
                  Error **errp) MUST_USE;
void block_snapshots_free(BlockSnapshot *list, size_t nr);

/* The part [skip, skip+len) of src, for splitting requests; dst has room for niov entries. Returns
 * how many were filled. */
int iov_slice(struct iovec *dst, const struct iovec *src, int niov, uint64_t skip, uint64_t len);
uint64_t iov_total(const struct iovec *iov, int niov);
/* Copies len bytes of the iov from skip on to buf, or back. */
void iov_to_buf(const struct iovec *iov, int niov, uint64_t skip, void *buf, uint64_t len);
void iov_from_buf(const struct iovec *iov, int niov, uint64_t skip, const void *buf, uint64_t len);
bool iov_is_zero(const struct iovec *iov, int niov);
void iov_zero(const struct iovec *iov, int niov, uint64_t skip, uint64_t len);

#endif
