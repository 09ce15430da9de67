/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the monitor shows of drives and nodes: info block, info blockstats. The words are QEMU's.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "block/drive_impl.h"
#include "util/alloc.h"
#include "util/timer.h"

typedef struct Printer {
    void (*print)(void *opaque, const char *line);
    void *opaque;
    bool verbose;
    unsigned nr;
} Printer;

static void line(const Printer *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void line(const Printer *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    p->print(p->opaque, text);
    free(text);
}

/* The format below the filters, whose options the user gave or we made. */
static const BlockNode *format_of(const BlockNode *n)
{
    while (n->driver->kind == BLOCK_FILTER && n->file) {
        n = n->file;
    }
    return n;
}

static void print_backing(const Printer *p, const BlockNode *n)
{
    unsigned depth = 0;
    for (const BlockNode *b = n->backing; b; b = format_of(b)->backing) {
        depth++;
    }
    if (n->backing) {
        line(p, "    Backing file:     %s (chain depth: %u)", n->backing->filename, depth);
    }
}

/* An image and those behind it, with what their formats tell. */
static void print_images(const Printer *p, BlockNode *n)
{
    for (; n; n = n->backing) {
        while (n->driver->kind == BLOCK_FILTER && n->file) {
            n = n->file;
        }
        line(p, "    Image:            %s, %s, %" PRIu64 " bytes", n->filename, n->driver->name,
             n->size);
        Dict *own = dict_new();
        if (n->driver->info) {
            n->driver->info(n, own);
        }
        for (size_t i = 0; i < dict_count(own); i++) {
            line(p, "        %s: %s", dict_key(own, i), dict_value(own, i));
        }
        dict_free(own);
    }
}

static void print_cache(const Printer *p, const BlockNode *n, bool writeback)
{
    line(p, "    Cache mode:       %s%s%s", writeback ? "writeback" : "writethrough",
         n->flags.direct ? ", direct" : "", n->flags.no_flush ? ", ignore flushes" : "");
    if (n->detect_zeroes != ZEROES_OFF) {
        line(p, "    Detect zeroes:    %s", n->detect_zeroes == ZEROES_ON ? "on" : "unmap");
    }
}

static void print_tray(const Printer *p, const Drive *d)
{
    if (d->floppy) {
        line(p, "    Removable device: floppy disk");
    }
    if (d->cdrom) {
        bool locked = d->user && d->user->is_locked && d->user->is_locked(d->user_opaque);
        bool open = d->user && d->user->is_tray_open && d->user->is_tray_open(d->user_opaque);
        line(p, "    Removable device: %slocked, tray %s", locked ? "" : "not ",
             open ? "open" : "closed");
    }
}

static void print_throttling(const Printer *p, const ThrottleGroup *g)
{
    static const char *const kinds[] = { "bps", "iops" };
    static const char *const which[] = { "", "_rd", "_wr" };
    const ThrottleConfig *c = throttle_config(g);
    char text[1024] = "";
    for (unsigned k = 0; k < NR_THROTTLE_KINDS; k++) {
        for (unsigned max = 0; max < 2; max++) {
            for (unsigned w = 0; w < NR_THROTTLE; w++) {
                const ThrottleLimit *l = &c->limit[k][w];
                size_t len = strlen(text);
                snprintf(text + len, sizeof(text) - len, " %s%s%s=%" PRIu64, kinds[k], which[w],
                         max ? "_max" : "", max ? l->max : l->rate);
            }
        }
    }
    line(p, "    I/O throttling:  %s iops_size=%" PRIu64 " group=%s", text, c->iops_size,
         throttle_name(g));
}

static void drive_info(const Drive *d, Printer *p)
{
    const char *id = d->deleted ? "(deleted)" : d->id;
    if (p->nr++) {
        p->print(p->opaque, "");
    }
    if (!d->node) {
        line(p, "%s: [not inserted]", id);
    } else {
        line(p, "%s (%s): %s (%s%s%s)", id, d->node->name, d->node->filename,
             format_of(d->node)->driver->name, d->readonly ? ", read-only" : "",
             d->snapshot && !d->readonly ? ", snapshot" : "");
    }
    if (d->user) {
        line(p, "    Attached to:      %s", d->user_path);
    }
    print_tray(p, d);
    if (!d->node) {
        return;
    }
    print_cache(p, d->node, d->writeback);
    print_backing(p, format_of(d->node));
    if (d->throttle) {
        print_throttling(p, d->throttle);
    }
    if (!list_empty(&d->kept)) {
        line(p, "    I/O status:       failed, waits for cont");
    }
    if (p->verbose) {
        line(p, "    In flight:        %u", d->in_flight);
        print_images(p, d->node);
    }
}

void drives_info(const char *only, bool verbose, void (*print)(void *opaque, const char *line),
                 void *opaque)
{
    Printer p = { print, opaque, verbose, 0 };
    list_for_each(pos, &block_drives) {
        const Drive *d = container_of(pos, Drive, node_list);
        if (!only || !strcmp(only, d->id)) {
            drive_info(d, &p);
        }
    }
}

static void node_info(BlockNode *n, void *opaque)
{
    Printer *p = opaque;
    const char *user = block_user(n);
    if (p->nr++) {
        p->print(p->opaque, "");
    }
    line(p, "%s: %s (%s%s)", n->name, n->filename, n->driver->name,
         n->readonly ? ", read-only" : "");
    if (user) {
        line(p, "    Used by:          %s", user);
    }
    print_cache(p, n, true);
    print_backing(p, n);
    if (p->verbose && n->driver->kind == BLOCK_FORMAT) {
        print_images(p, n);
    }
}

void nodes_info(bool verbose, void (*print)(void *opaque, const char *line), void *opaque)
{
    Printer p = { print, opaque, verbose, 0 };
    block_nodes_each(node_info, &p);
}

void drives_stats(void (*print)(void *opaque, const char *line), void *opaque)
{
    Printer p = { print, opaque, false, 0 };
    uint64_t now = host_clock_ns();
    list_for_each(pos, &block_drives) {
        const Drive *d = container_of(pos, Drive, node_list);
        if (d->deleted) {
            continue;
        }
#define SUM(field) (d->stats[BLK_WRITE].field + d->stats[BLK_WRITE_ZEROES].field)
        line(&p,
             "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
             " wr_operations=%" PRIu64 " flush_operations=%" PRIu64 " wr_total_time_ns=%" PRIu64
             " rd_total_time_ns=%" PRIu64 " flush_total_time_ns=%" PRIu64
             " rd_merged=0 wr_merged=0 idle_time_ns=%" PRIu64 " unmap_bytes=%" PRIu64
             " unmap_operations=%" PRIu64 " unmap_total_time_ns=%" PRIu64
             " failed_rd_operations=%" PRIu64 " failed_wr_operations=%" PRIu64
             " failed_flush_operations=%" PRIu64 " failed_unmap_operations=%" PRIu64,
             d->id, d->stats[BLK_READ].bytes, SUM(bytes), d->stats[BLK_READ].requests,
             SUM(requests), d->stats[BLK_FLUSH].requests, SUM(time_ns), d->stats[BLK_READ].time_ns,
             d->stats[BLK_FLUSH].time_ns, d->last_access_ns ? now - d->last_access_ns : 0,
             d->stats[BLK_DISCARD].bytes, d->stats[BLK_DISCARD].requests,
             d->stats[BLK_DISCARD].time_ns, d->stats[BLK_READ].failed, SUM(failed),
             d->stats[BLK_FLUSH].failed, d->stats[BLK_DISCARD].failed);
#undef SUM
    }
}
