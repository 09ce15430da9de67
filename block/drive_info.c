/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the monitor shows of drives and nodes: info block, info blockstats.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "block/drive_impl.h"
#include "util/alloc.h"

static void info_line(void (*print)(void *opaque, const char *line), void *opaque,
                      const char *fmt, ...) PRINTF_LIKE(3, 4);
static void info_line(void (*print)(void *opaque, const char *line), void *opaque,
                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *line = xvasprintf(fmt, ap);
    va_end(ap);
    print(opaque, line);
    free(line);
}

static const char *drive_format(const Drive *d)
{
    const BlockNode *n = d->node;
    while (n->driver->kind == BLOCK_FILTER && n->file) {
        n = n->file;
    }
    return n->driver->name;
}

static void drive_info(const Drive *d, bool verbose,
                       void (*print)(void *opaque, const char *line), void *opaque)
{
    if (!d->node) {
        info_line(print, opaque, "%s: [not inserted]", d->id);
    } else {
        info_line(print, opaque, "%s: %s (%s%s%s)", d->id, d->node->filename,
                  drive_format(d),
                  d->readonly ? ", read-only" : "",
                  d->snapshot && !d->readonly ? ", snapshot" : "");
    }
    if (d->user) {
        info_line(print, opaque, "    Attached to:      %s", d->user_path);
    }
    if (d->floppy) {
        info_line(print, opaque, "    Removable device: floppy disk");
    }
    if (d->cdrom) {
        bool locked = d->user && d->user->is_locked && d->user->is_locked(d->user_opaque);
        bool open = d->user && d->user->is_tray_open && d->user->is_tray_open(d->user_opaque);
        info_line(print, opaque, "    Removable device: %slocked, tray %s", locked ? "" : "not ",
                  open ? "open" : "closed");
    }
    if (!d->node) {
        return;
    }
    info_line(print, opaque, "    Cache mode:       %s%s%s", d->writeback ? "writeback" : "writethrough",
              d->node->flags.direct ? ", direct" : "",
              d->node->flags.no_flush ? ", ignore flushes" : "");
    if (d->node->detect_zeroes != ZEROES_OFF) {
        info_line(print, opaque, "    Detect zeroes:    %s",
                  d->node->detect_zeroes == ZEROES_ON ? "on" : "unmap");
    }
    if (!list_empty(&d->kept)) {
        info_line(print, opaque, "    I/O status:       failed, waits for cont");
    }
    if (verbose) {
        info_line(print, opaque, "    Image size:       %" PRIu64 " bytes", d->node->size);
        info_line(print, opaque, "    In flight:        %u", d->in_flight);
    }
}

void drives_info(bool verbose, void (*print)(void *opaque, const char *line), void *opaque)
{
    list_for_each(pos, &block_drives) {
        if (pos != block_drives.next) {
            print(opaque, "");
        }
        drive_info(container_of(pos, Drive, node_list), verbose, print, opaque);
    }
}

void drives_stats(void (*print)(void *opaque, const char *line), void *opaque)
{
    list_for_each(pos, &block_drives) {
        const Drive *d = container_of(pos, Drive, node_list);
        info_line(print, opaque,
                  "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
                  " wr_operations=%" PRIu64 " flush_operations=%" PRIu64 " unmap_bytes=%" PRIu64
                  " unmap_operations=%" PRIu64 " failed_rd_operations=%" PRIu64
                  " failed_wr_operations=%" PRIu64 " failed_flush_operations=%" PRIu64,
                  d->id, d->stats[BLK_READ].bytes, d->stats[BLK_WRITE].bytes,
                  d->stats[BLK_READ].requests, d->stats[BLK_WRITE].requests,
                  d->stats[BLK_FLUSH].requests, d->stats[BLK_DISCARD].bytes,
                  d->stats[BLK_DISCARD].requests, d->stats[BLK_READ].failed,
                  d->stats[BLK_WRITE].failed, d->stats[BLK_FLUSH].failed);
    }
}

