/* SPDX-License-Identifier: GPL-2.0-or-later
 * The table of options, in the spelling of QEMU's manual, and the walk over the command line.
 */
#include "vm/options.h"

#include <fcntl.h>
#include <unistd.h>

#include "util/alloc.h"
#include "vm/unbuilt_options.h"

typedef struct OptionRow OptionRow;
typedef bool OptionFn(Options *o, const OptionRow *row, const char *arg, Error **errp);

struct OptionRow {
    const char *name, *alias;
    const char *arg; /* as help shows it; NULL: takes none */
    const char *help;
    OptionFn *fn;
    size_t offset; /* of the member of Options that fn fills */
    const char *text; /* fn's own */
};

void str_list_add(StrList *l, const char *text)
{
    l->str = xrealloc(l->str, (l->nr + 2) * sizeof(char *));
    l->str[l->nr++] = xstrdup(text);
    l->str[l->nr] = NULL;
}

const char *str_list_last(const StrList *l)
{
    return l->nr ? l->str[l->nr - 1] : NULL;
}

/* ---- handlers ---- */

static bool set_flag(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)arg;
    (void)errp;
    *(bool *)((char *)o + row->offset) = true;
    return true;
}

/* The last one counts. */
static bool set_text(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)errp;
    char **to = (char **)((char *)o + row->offset);
    free(*to);
    *to = xstrdup(arg);
    return true;
}

static bool add_text(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)errp;
    str_list_add((StrList *)((char *)o + row->offset), arg);
    return true;
}

/* An old short form of another option: row->text is that option's argument. */
static bool add_fixed(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)arg;
    return add_text(o, row, row->text, errp);
}

/* Remembered, too: they are orders, which another -accel must not overrule. */
static bool order_kvm(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    *(!strcmp(row->text, "kvm") ? &o->enable_kvm : &o->no_kvm) = true;
    return add_fixed(o, row, arg, errp);
}

static bool set_fixed(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)arg;
    return set_text(o, row, row->text, errp);
}

static void add_drive(Options *o, Dict *opts, const char *spelt)
{
    o->drive = xrealloc(o->drive, (o->nr_drives + 1) * sizeof(*o->drive));
    o->drive[o->nr_drives++] = (DriveOption){ opts, spelt };
}

static bool do_drive(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    Dict *d = dict_parse(arg, NULL, errp);
    if (!d) {
        return error_prefix(errp, "-drive: ");
    }
    add_drive(o, d, row->name);
    return true;
}

/* -hda to -hdd and -cdrom: row->text is the index. The file name is taken as it stands. */
static bool do_disk(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)errp;
    Dict *d = dict_new();
    dict_set(d, "if", "ide");
    dict_set(d, "index", row->text);
    dict_set(d, "media", strcmp(row->name, "cdrom") ? "disk" : "cdrom");
    dict_set(d, "file", arg);
    add_drive(o, d, row->name);
    return true;
}

static bool do_floppy(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)errp;
    Dict *d = dict_new();
    dict_set(d, "if", "floppy");
    dict_set(d, "index", row->text);
    dict_set(d, "file", arg);
    add_drive(o, d, row->name);
    return true;
}

static bool do_sandbox(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)o;
    (void)row;
    return !strncmp(arg, "off", 3) ||
           error_set(errp, "-sandbox %s: the sandbox is not built yet; -sandbox off is accepted",
                     arg);
}

static bool do_nothing(Options *o, const OptionRow *row, const char *arg, Error **errp)
{
    (void)o;
    (void)row;
    (void)arg;
    (void)errp;
    return true;
}

/* ---- the table ---- */

#define FLAG(n, member, h) { n, NULL, NULL, h, set_flag, offsetof(Options, member), NULL }
#define TEXT(n, a, member, h) { n, NULL, a, h, set_text, offsetof(Options, member), NULL }
#define LIST(n, a, member, h) { n, NULL, a, h, add_text, offsetof(Options, member), NULL }
#define SECTION(title) { NULL, NULL, NULL, title, NULL, 0, NULL }

static const OptionRow table[] = {
    SECTION("General"),
    { "help", "h", NULL, "this list", set_flag, offsetof(Options, help), NULL },
    FLAG("version", version, "the version, and exit"),
    TEXT("name", "NAME[,process=TITLE]", name, "the guest's name, in the window's title"),
    TEXT("uuid", "UUID", uuid, "the guest's UUID, in its SMBIOS tables"),
    FLAG("nodefaults", nodefaults, "only the devices that are asked for"),
    { "no-user-config", "nodefconfig", NULL, "accepted: there is no configuration file",
      do_nothing, 0, NULL },

    SECTION("Machine"),
    { "machine", "M", "TYPE[,KEY=VALUE...]", "the kind of PC; 'help' lists them", add_text,
      offsetof(Options, machine), NULL },
    LIST("accel", "NAME", accel, "what runs the guest; several: the first that works"),
    { "enable-kvm", NULL, NULL, "run on KVM or not at all", order_kvm, offsetof(Options, accel),
      "kvm" },
    { "no-kvm", NULL, NULL, "-accel jit", order_kvm, offsetof(Options, accel), "jit" },
    TEXT("cpu", "MODEL[,+FEATURE,-FEATURE]", cpu, "the kind of CPU; 'help' lists them"),
    LIST("smp", "N[,sockets=,cores=,threads=,maxcpus=]", smp, "how many CPUs"),
    LIST("m", "SIZE", memory, "memory, in MiB or with a suffix: 512, 2G"),
    TEXT("overcommit", "[mem-lock=on][,cpu-pm=on]", overcommit,
         "keep all memory from being swapped; leave idle CPUs to the guest (KVM)"),
    LIST("device", "TYPE[,KEY=VALUE...]", device,
         "adds a device; 'help' lists them, TYPE,help its properties"),
    LIST("global", "TYPE.PROPERTY=VALUE", global, "a default for all devices of a type"),
    { "no-kvm-pit-reinjection", NULL, NULL, "-global kvm-pit.lost_tick_policy=discard", add_fixed,
      offsetof(Options, global), "kvm-pit.lost_tick_policy=discard" },
    TEXT("rtc", "base=utc|localtime|DATE[,clock=host|rt|vm]", rtc, "what the guest's clock shows"),
    { "localtime", NULL, NULL, "-rtc base=localtime", set_fixed, offsetof(Options, rtc),
      "base=localtime" },
    FLAG("no-acpi", no_acpi, "-M acpi=off"),
    FLAG("no-hpet", no_hpet, "-M hpet=off"),

    SECTION("Start"),
    LIST("boot", "order=cad[,once=d][,menu=on][,splash-time=MS][,strict=on]", boot,
         "from where: a, b floppies, c disk, d CD, n network"),
    TEXT("kernel", "FILE", kernel, "boots a Linux, multiboot or PVH kernel directly"),
    TEXT("initrd", "FILE", initrd, "its initial RAM disk, or multiboot modules"),
    TEXT("append", "TEXT", append, "its command line"),
    TEXT("bios", "FILE", bios, "firmware instead of SeaBIOS"),
    LIST("L", "DIR", firmware_dirs, "look for firmware there first"),
    FLAG("S", paused, "wait for 'cont' in the monitor"),
    FLAG("no-reboot", no_reboot, "end where the guest would start again"),
    FLAG("no-shutdown", no_shutdown, "stop but stay when the guest powers off"),

    SECTION("Disks"),
    { "drive", NULL, "file=FILE[,if=ide|virtio|floppy|none][,format=raw][,media=disk|cdrom][,...]",
      "a disk or CD and its image; format=help lists formats", do_drive, 0, NULL },
    LIST("blockdev", "driver=DRIVER,node-name=NAME[,...]", blockdev,
         "a block node for -device X,drive=NAME; also as JSON; 'help' lists drivers"),
    { "fda", NULL, "FILE", "the floppy disk in drive A", do_floppy, 0, "0" },
    { "fdb", NULL, "FILE", "in drive B", do_floppy, 0, "1" },
    { "hda", NULL, "FILE", "the first IDE disk", do_disk, 0, "0" },
    { "hdb", NULL, "FILE", "the second", do_disk, 0, "1" },
    { "hdc", NULL, "FILE", "the third (not with -cdrom)", do_disk, 0, "2" },
    { "hdd", NULL, "FILE", "the fourth", do_disk, 0, "3" },
    { "cdrom", NULL, "FILE", "the CD in the drive", do_disk, 0, "2" },
    FLAG("snapshot", snapshot, "images of -drive, -hda... stay as they are; writes are forgotten"),

    SECTION("Screen"),
    TEXT("display", "sdl|none", display, "where the screen is shown"),
    FLAG("nographic", nographic, "no screen: serial port and monitor on this terminal"),
    { "sdl", NULL, NULL, "-display sdl", set_fixed, offsetof(Options, display), "sdl" },
    TEXT("vga", "std|none", vga, "the graphics card"),
    TEXT("balloon", "virtio[,option=value...]|none", balloon, "memory the guest can give back"),

    SECTION("Ports and monitor"),
    LIST("chardev", "BACKEND,id=ID[,...]", chardev, "a byte stream; 'help' lists back ends"),
    LIST("serial", "STREAM", serial,
         "a serial port on stdio, mon:stdio, pty, file:F, unix:P, tcp:H:P, null, none"),
    LIST("parallel", "STREAM", parallel, "a parallel port"),
    LIST("monitor", "STREAM", monitor, "a monitor there"),
    LIST("mon", "chardev=ID[,mode=readline]", mon, "a monitor on a -chardev"),
    LIST("debugcon", "STREAM", debugcon, "what a guest prints on port 0xe9"),
    TEXT("echr", "N", echr, "the escape character of mon:stdio, 1 is Ctrl-A"),

    SECTION("Network"),
    LIST("nic", "TYPE[,model=NIC][,mac=ADDR][,...]", nic,
         "a network and its card, such as user,hostfwd=tcp::2222-:22; none: no card"),
    LIST("netdev", "TYPE,id=ID[,...]", netdev,
         "a network for -device NIC,netdev=ID; 'help' lists types"),
    LIST("object", "TYPE,id=ID[,...]", object,
         "an object, such as filter-dump,netdev=ID,file=F; 'help' lists types"),
    LIST("net", "nic|TYPE[,vlan=N][,...]", net, "the old way: a card or a network on hub N"),

    SECTION("Running and debugging"),
    FLAG("daemonize", daemonize, "go to the background once all is set up"),
    TEXT("pidfile", "FILE", pidfile, "write the process id there"),
    { "sandbox", NULL, "off", "no system call filter", do_sandbox, 0, NULL },
    TEXT("d", "ITEM,...", log_items, "log these; 'help' lists them"),
    TEXT("D", "FILE", log_file, "log there instead of stderr"),
    TEXT("dfilter", "RANGE,...", log_filter,
         "only code there: 0x8000..0x8fff, 0x8000+0x1000 or 0x8fff-0x1000"),
    FLAG("perfmap", perfmap, "name translated code for the profiler perf: /tmp/perf-PID.map"),
    TEXT("qtest", "STREAM", qtest, "serve the device test protocol there"),
    TEXT("qtest-log", "FILE", qtest_log, "its log; none for none"),
};

/* ---- the walk ---- */

static bool is_name(const OptionRow *row, const char *word)
{
    return row->name && (!strcmp(row->name, word) || (row->alias && !strcmp(row->alias, word)));
}

static const OptionRow *find_row(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (is_name(&table[i], word)) {
            return &table[i];
        }
    }
    return NULL;
}

static bool unknown(const char *word, Error **errp)
{
    const char *why = unbuilt_option(word);
    if (why) {
        return error_set(errp, "-%s: %s", word, why);
    }
    const char *names[2 * ARRAY_SIZE(table) + 1];
    size_t nr = 0;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (table[i].name) {
            names[nr++] = table[i].name;
        }
        if (table[i].alias) {
            names[nr++] = table[i].alias;
        }
    }
    names[nr] = NULL;
    const char *near = suggest(word, names);
    if (near) {
        return error_set(errp, "unknown option -%s, did you mean -%s?", word, near);
    }
    return error_set(errp, "unknown option -%s (-help lists all)", word);
}

/* The text behind one or two dashes, also the typographic ones that web pages make of them:
 * U+2010..U+2015 and U+2212. NULL: no option. */
static const char *option_name(const char *word)
{
    const char *p = word;
    for (int i = 0; i < 2; i++) {
        const unsigned char *u = (const unsigned char *)p;
        if (u[0] == '-') {
            p += 1;
        } else if (u[0] == 0xe2 && ((u[1] == 0x80 && u[2] >= 0x90 && u[2] <= 0x95) ||
                                    (u[1] == 0x88 && u[2] == 0x92))) {
            p += 3;
        }
    }
    return p == word ? NULL : p;
}

/* An ISO 9660 file system goes into the CD drive, anything else is the first disk. */
static bool is_cd_image(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (dot && !strcasecmp(dot, ".iso")) {
        return true;
    }
    char magic[5] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool iso = fd >= 0 && pread(fd, magic, 5, 16 * 2048 + 1) == 5 && !memcmp(magic, "CD001", 5);
    if (fd >= 0) {
        close(fd);
    }
    return iso;
}

static bool bare_image(Options *o, const char *path, Error **errp)
{
    if (!strcmp(path, "doctor") && access(path, F_OK)) {
        return error_set(errp, "'doctor' goes alone: vireo doctor");
    }
    if (access(path, F_OK)) {
        const char *row = find_row(path) ? path : NULL;
        return row ? error_set(errp, "'%s' is neither an option nor an image; did you mean -%s?",
                               path, path) :
                     error_set(errp, "'%s': no such image file (options begin with '-')", path);
    }
    return do_disk(o, find_row(is_cd_image(path) ? "cdrom" : "hda"), path, errp);
}

bool options_parse(Options *o, int argc, char **argv, Error **errp)
{
    for (int i = 1; i < argc; i++) {
        const char *name = option_name(argv[i]);
        if (!name) {
            if (!bare_image(o, argv[i], errp)) {
                return false;
            }
            continue;
        }
        const OptionRow *row = find_row(name);
        if (!row) {
            return unknown(name, errp);
        }
        if (row->arg && ++i >= argc) {
            return error_set(errp, "-%s needs an argument: -%s %s", name, name, row->arg);
        }
        if (!row->fn(o, row, row->arg ? argv[i] : NULL, errp)) {
            return false;
        }
    }
    return true;
}

void options_print_help(void)
{
    printf("usage: vireo [options] [disk or CD image]\n"
           "       vireo doctor               what this host has for guests, and cures\n\n"
           "Runs a PC: with an image from a file or CD, or a Linux kernel given directly.\n"
           "Example: vireo -m 2G -cdrom debian.iso -hda disk.img\n");
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const OptionRow *row = &table[i];
        if (!row->name) {
            printf("\n%s:\n", row->help);
            continue;
        }
        char left[128];
        snprintf(left, sizeof(left), "-%s%s%s%s%s", row->name, row->alias ? ", -" : "",
                 row->alias ? row->alias : "", row->arg ? " " : "", row->arg ? row->arg : "");
        if (strlen(left) <= 24) {
            printf("  %-24s %s\n", left, row->help);
        } else {
            printf("  %s\n  %24s %s\n", left, "", row->help);
        }
    }
    printf("\nAn option's 'help' argument lists choices: -machine -accel -cpu -device -chardev "
           "-netdev -d -display\n");
}
