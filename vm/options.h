/* SPDX-License-Identifier: GPL-2.0-or-later
 * The command line, split: one table of options (options.c) fills one struct. What the words
 * mean is decided later, by the files of vm/ that build the machine.
 */
#ifndef VM_OPTIONS_H
#define VM_OPTIONS_H

#include "util/dict.h"

typedef struct StrList {
    char **str;
    size_t nr;
} StrList;

/* -drive, -hda .. -hdd, -cdrom and bare images, in the order given. */
typedef struct DriveOption {
    Dict *opts;
    const char *spelt; /* the option it came from, for errors */
} DriveOption;

typedef struct Options {
    StrList blockdev, machine, accel, device, chardev, mon, serial, parallel, monitor, debugcon, smp,
        memory, boot, firmware_dirs, global, netdev, nic, net, object;
    DriveOption *drive;
    size_t nr_drives;
    char *cpu, *kernel, *initrd, *append, *dtb, *bios, *name, *uuid, *rtc, *vga, *display, *balloon;
    char *log_items, *log_file, *log_filter, *pidfile, *qtest, *qtest_log, *echr, *overcommit;
    bool nodefaults, nographic, no_reboot, no_shutdown, paused, daemonize, snapshot, no_acpi,
        no_hpet, perfmap, enable_kvm, no_kvm;
    bool help, version;
} Options;

/* Fills o from the command line. */
bool options_parse(Options *o, int argc, char **argv, Error **errp) MUST_USE;
void options_print_help(void);

void str_list_add(StrList *l, const char *text);
/* The last one given, which is the one that counts; NULL if none. */
const char *str_list_last(const StrList *l);

#endif
