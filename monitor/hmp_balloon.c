/* SPDX-License-Identifier: GPL-2.0-or-later
 * balloon and info balloon: how much memory the guest keeps.
 */
#include "hw/virtio/balloon.h"
#include "monitor/internal.h"

static void run_balloon(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    if (!balloon_set(mon->m, arg_u64(args, "target", 0), &err)) {
        monitor_error(mon, err);
    }
}

static void run_info_balloon(Monitor *mon, const Dict *args)
{
    Error *err = NULL;
    (void)args;
    if (!balloon_info(mon->m, monitor_print_line, mon, &err)) {
        monitor_error(mon, err);
    }
}

MONITOR_COMMANDS(balloon_commands) = {
    { .name = "balloon",
      .args = "target:o",
      .params = "target",
      .help = "ask the guest to keep only that much memory (MiB)",
      .run = run_balloon },
    { .name = "balloon",
      .help = "show how much memory the guest keeps",
      .run = run_info_balloon,
      .info = true },
    { .name = NULL },
};
