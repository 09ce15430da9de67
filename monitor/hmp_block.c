/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands about drives, their media and their nodes.
 */
#include <string.h>

#include "block/block.h"
#include "monitor/internal.h"

/* Takes the address, since ok is often the call that fills it. */
static void report(Monitor *mon, bool ok, Error **errp)
{
    if (!ok) {
        monitor_error(mon, *errp);
    }
}

static Drive *find_drive(Monitor *mon, const char *id)
{
    Drive *d = drive_by_id(id);
    if (!d) {
        monitor_printf(mon, "Error: there is no drive '%s'; info block lists them\n", id);
    }
    return d;
}

/* ---- media ---- */

static void run_eject(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    Drive *d = find_drive(mon, dict_get(args, "device"));
    if (d) {
        report(mon, drive_eject(d, arg_bool(args, "force"), &err), &err);
    }
}

static void run_change(Monitor *mon, const Dict *args)
{
    static const char *const modes[] = { "retain", "read-only", "read-write", NULL };
    const char *mode = dict_get(args, "read-only-mode"), *const *known = modes;
    Error *err = NULL;
    Drive *d = find_drive(mon, dict_get(args, "device"));
    while (mode && *known && strcmp(mode, *known)) {
        known++;
    }
    if (!*known) {
        monitor_printf(mon, "Error: '%s' is none of retain, read-only, read-write\n", mode);
    } else if (d) {
        bool readonly =
            mode && strcmp(mode, "retain") ? !strcmp(mode, "read-only") : drive_is_readonly(d);
        bool ok =
            (!arg_bool(args, "force") || drive_eject(d, true, &err)) &&
            drive_change(d, dict_get(args, "target"), dict_get(args, "format"), readonly, &err);
        report(mon, ok, &err);
    }
}

/* ---- drives that come and go ---- */

/* The address is of times when a command plugged in a controller, too. */
static void run_drive_add(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    Dict *d = dict_parse(dict_get(args, "opts"), NULL, &err);
    const char *kind = d ? dict_get(d, "if") : NULL;
    bool ok = d != NULL;
    if (ok && arg_bool(args, "node")) {
        ok = blockdev_add(d, &err);
    } else if (ok && (!kind || strcmp(kind, "none"))) {
        ok = error_set(&err, "only a drive with if=none can come while the machine runs; disks "
                             "cannot be plugged in then, so give -drive at the start");
    } else if (ok && !dict_has(d, "id")) {
        ok = error_set(&err, "id= is missing, by which a device finds the drive");
    } else if (ok) {
        ok = drive_create(d, &err) != NULL;
    }
    dict_free(d);
    if (ok && !arg_bool(args, "node")) {
        monitor_printf(mon, "OK\n");
    }
    report(mon, ok, &err);
}

static void run_drive_del(Monitor *mon, const Dict *args)
{
    Drive *d = find_drive(mon, dict_get(args, "id"));
    if (d) {
        drive_delete(d);
    }
}

static void run_blockdev_add(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    Dict *d = dict_parse(dict_get(args, "options"), "driver", &err);
    report(mon, d && blockdev_add(d, &err), &err);
    dict_free(d);
}

static void run_blockdev_del(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    report(mon, blockdev_del(dict_get(args, "node-name"), &err), &err);
}

/* ---- what happens to them ---- */

static void run_block_resize(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    Drive *d = find_drive(mon, dict_get(args, "device"));
    if (d) {
        report(mon, drive_resize(d, arg_u64(args, "size", 0), &err), &err);
    }
}

static void run_block_set_io_throttle(Monitor *mon, const Dict *args)
{
    static const char *const names[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };
    Error *err = NULL;
    Drive *d = find_drive(mon, dict_get(args, "device"));
    Dict *limits = dict_new();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        dict_set(limits, names[i], dict_get(args, names[i]));
    }
    if (d) {
        report(mon, drive_throttle(d, limits, &err), &err);
    }
    dict_free(limits);
}

static void run_commit(Monitor *mon, const Dict *args)
{
    const char *id = dict_get(args, "device");
    Error *err = NULL;
    if (!strcmp(id, "all")) {
        report(mon, drives_commit(&err), &err);
        return;
    }
    Drive *d = find_drive(mon, id);
    if (d) {
        report(mon, drive_commit(d, &err), &err);
    }
}

static void run_unbuilt(Monitor *mon, const Dict *args)
{
    (void)args;
    monitor_printf(
        mon, "Error: block jobs are not built yet; with the guest stopped, commit and vireo-img do "
             "much of it\n");
}

static void run_unbuilt_snapshot(Monitor *mon, const Dict *args)
{
    (void)args;
    monitor_printf(
        mon, "Error: snapshots of running drives are not built yet; start with snapshot=on, or "
             "make one with vireo-img snapshot while no guest has the image\n");
}

/* ---- info ---- */

static void run_info_block(Monitor *mon, const Dict *args)
{
    if (arg_bool(args, "nodes")) {
        nodes_info(arg_bool(args, "verbose"), monitor_print_line, mon);
    } else {
        const char *id = dict_get(args, "device");
        if (!id || find_drive(mon, id)) {
            drives_info(id, arg_bool(args, "verbose"), monitor_print_line, mon);
        }
    }
}

static void run_info_blockstats(Monitor *mon, const Dict *args)
{
    (void)args;
    drives_stats(monitor_print_line, mon);
}

static void run_info_block_jobs(Monitor *mon, const Dict *args)
{
    (void)args;
    monitor_printf(mon, "No active jobs\n");
}

#define UNBUILT(n, fn, what)                                                                       \
    {                                                                                              \
        .name = n, .args = "args:S?", .params = "...", .help = "not built yet: " what, .run = fn,  \
    }

MONITOR_COMMANDS(block_commands) = {
    { .name = "eject",
      .args = "force:-f,device:B",
      .params = "[-f] device",
      .help = "take the medium out of a drive (-f: even if the guest locked it)",
      .run = run_eject },
    { .name = "change",
      .args = "force:-f,device:B,target:F,format:s?,read-only-mode:s?",
      .params = "[-f] device filename [format [read-only-mode]]",
      .help = "put another medium into a drive",
      .run = run_change },
    { .name = "drive_add",
      .args = "node:-n,pci_addr:s,opts:S",
      .params = "[-n] 0 if=none,id=id,file=file[,...]",
      .help = "make a drive with if=none (-n: a node, as -blockdev does)",
      .run = run_drive_add },
    { .name = "drive_del",
      .args = "id:B",
      .params = "id",
      .help = "take a drive away; a device that has it sees an empty one",
      .run = run_drive_del },
    { .name = "blockdev_add|blockdev-add",
      .args = "options:S",
      .params = "driver=driver,node-name=name[,...]|JSON",
      .help = "make a block node, as -blockdev does",
      .run = run_blockdev_add },
    { .name = "blockdev_del|blockdev-del",
      .args = "node-name:s",
      .params = "node-name",
      .help = "take a block node of blockdev_add or -blockdev away",
      .run = run_blockdev_del },
    { .name = "block_resize",
      .args = "device:B,size:o",
      .params = "device size",
      .help = "make a disk larger, to that size in MiB or with a suffix",
      .run = run_block_resize },
    { .name = "block_set_io_throttle",
      .args = "device:B,bps:l,bps_rd:l,bps_wr:l,iops:l,iops_rd:l,iops_wr:l",
      .params = "device bps bps_rd bps_wr iops iops_rd iops_wr",
      .help = "limit a drive's bytes and requests a second; 0 is no limit",
      .run = run_block_set_io_throttle },
    { .name = "commit",
      .args = "device:B",
      .params = "device|all",
      .help = "write a drive's changes into its backing file, or into its image under snapshot=on",
      .run = run_commit },
    UNBUILT("drive_mirror", run_unbuilt, "copy a drive while it is used"),
    UNBUILT("drive_backup", run_unbuilt, "copy a drive as it is now"),
    UNBUILT("block_stream", run_unbuilt, "copy a backing file's data into the image"),
    UNBUILT("snapshot_blkdev", run_unbuilt_snapshot, "go on in a new image"),
    UNBUILT("snapshot_blkdev_internal", run_unbuilt_snapshot, "a snapshot inside an image"),
    UNBUILT("snapshot_delete_blkdev_internal", run_unbuilt_snapshot, "delete such a snapshot"),
    { .name = "block",
      .info = true,
      .args = "nodes:-n,verbose:-v,device:B?",
      .params = "[-n] [-v] [device]",
      .help = "show the drives and their media (-n: the nodes)",
      .run = run_info_block },
    { .name = "blockstats",
      .info = true,
      .help = "show what the drives have read and written",
      .run = run_info_blockstats },
    { .name = "block-jobs",
      .info = true,
      .help = "show the block jobs, of which there are none yet",
      .run = run_info_block_jobs },
    { .name = NULL },
};
