/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives: what a disk or CD controller reads and writes, whatever lies behind it. Devices see
 * only blk_submit and a completion in the main loop. vm_lock held for everything here.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <sys/uio.h>

#include "util/dict.h"
#include "util/error.h"

typedef struct Drive Drive;
enum { BLOCK_SECTOR = 512, CD_SECTOR = 2048 };
typedef enum BlkOp { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES } BlkOp;

/* Owned by the device, untouched by it until done runs. offset and total length are bytes and
 * multiples of 512 and lie inside the medium (else done gets EINVAL/EIO). */
typedef struct BlkRequest {
    Drive *drive;
    BlkOp op;
    uint64_t offset, len; /* len: DISCARD and WRITE_ZEROES; else the iov's total */
    struct iovec *iov;
    int niov;
    bool fua;
    /* with vm_lock held: main loop, or inside some blk_drain; never inside blk_submit */
    void (*done)(struct BlkRequest *req);
    int error;                            /* errno of the result, 0 for success */
    bool cancelled;
    List node;
} BlkRequest;

/* What the device is told; all optional. */
typedef struct DriveUser {
    void (*media_changed)(void *opaque, bool loaded); /* change, eject */
    void (*eject_requested)(void *opaque, bool force);
    bool (*is_tray_open)(void *opaque);
    bool (*is_locked)(void *opaque);
    void (*resized)(void *opaque);
} DriveUser;

/* -drive: file=,if=,id=,index=,bus=,unit=,media=disk|cdrom,format=,readonly=,snapshot=,cache=,
 * aio=,discard=,werror=,rerror=... Opens the image. NULL with *errp: one line, says what. */
Drive *drive_create(const Dict *opts, Error **errp);
/* For a device's drive=: the drive of that id, else a new one on the -blockdev node of that name,
 * which goes with drive_detach. NULL: neither, or the node is in use. */
Drive *drive_find(const char *id);
Drive *drive_need(const char *id, Error **errp); /* and says why not */
Drive *drive_by_id(const char *id); /* only looks */
/* -blockdev: a node of its own, opts as block_open() takes them; and away with it. */
bool blockdev_add(const Dict *opts, Error **errp) MUST_USE;
bool blockdev_del(const char *node_name, Error **errp) MUST_USE;
const char *drive_id(const Drive *d);
void drives_each(void (*fn)(Drive *d, void *opaque), void *opaque); /* in order of creation */
/* A device claims the drive (one owner); detached at unrealize. */
bool drive_attach(Drive *d, const DriveUser *user, void *opaque, const char *owner_path,
                  Error **errp) MUST_USE;
void drive_detach(Drive *d);
/* werror= and rerror= of a device, in -drive's words; NULL: as the drive says. */
bool drive_set_policies(Drive *d, const char *werror, const char *rerror, Error **errp) MUST_USE;
bool drive_is_cdrom(const Drive *d);
bool drive_has_media(const Drive *d);
/* A CD drive takes any image, whatever its media= says; from then on it is a CD. */
void drive_make_cdrom(Drive *d);
/* So does a floppy drive; its media can be changed and ejected. */
void drive_make_floppy(Drive *d);
bool drive_is_readonly(const Drive *d);
/* Where writes go on the host, for messages: the image, or the directory of a snapshot. */
const char *drive_store(const Drive *d);
uint64_t drive_size(const Drive *d); /* bytes; 0 without a medium */
bool drive_wants_boot(const Drive *d);    /* boot=on: as its device's bootindex=0 */
const char *drive_serial(const Drive *d); /* serial=, NULL if not given */

void blk_submit(BlkRequest *req);
/* Around several blk_submit in one hold of vm_lock: the host may take them together. */
void blk_plug(void);
void blk_unplug(void);
/* done will not run after this returns; the request may still be on its way to the file. */
void blk_cancel(BlkRequest *req);
/* Waits until nothing is in flight for d (NULL: any drive); vm_lock is dropped meanwhile, and
 * completions run in here. From any thread. What drives_retry would send again stays. */
void blk_drain(Drive *d);
/* The same for a while: what is submitted from now on waits for blk_resume, since a busy guest never
 * lets a drive rest. For changes of what lies behind it; they nest. */
void blk_quiesce(Drive *d);
void blk_resume(Drive *d);
void drives_close(void); /* at exit: flush and close */

/* werror=stop, rerror=stop and (the default) enospc: a failed request is kept, the hook stops the
 * machine, and drives_retry sends what was kept again. The hook: set by vm/, NULL in tests (then
 * errors are reported to the device). */
extern void (*drives_stop_hook)(Drive *d, BlkOp op, int error);
void drives_retry(void);

/* monitor: eject, change, info block */
bool drive_eject(Drive *d, bool force, Error **errp) MUST_USE;
bool drive_change(Drive *d, const char *filename, const char *format, bool readonly,
                  Error **errp) MUST_USE;
/* Another size for a disk; its device hears of it. */
bool drive_resize(Drive *d, uint64_t size, Error **errp) MUST_USE;
/* What it holds goes into its backing file, under snapshot=on into the image. Blocks until done. */
bool drive_commit(Drive *d, Error **errp) MUST_USE;
bool drives_commit(Error **errp) MUST_USE; /* all that have where to */
/* Bytes and requests a second, 0: no limit; those of its group. */
bool drive_throttle(Drive *d, const Dict *limits, Error **errp) MUST_USE;
/* Its image goes at once; the drive itself with the device that has it. */
void drive_delete(Drive *d);
void drives_info(const char *only, bool verbose, void (*print)(void *opaque, const char *line),
                 void *opaque);
void nodes_info(bool verbose, void (*print)(void *opaque, const char *line), void *opaque);
void drives_stats(void (*print)(void *opaque, const char *line), void *opaque);

#endif
