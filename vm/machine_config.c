/* SPDX-License-Identifier: GPL-2.0-or-later
 * From options to a MachineConfig.
 */
#include "vm/machine_config.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "util/alloc.h"

/* ---- -M ---- */

static void find_default(const MachineType *t, void *opaque)
{
    if (t->is_default) {
        *(const MachineType **)opaque = t;
    }
}

typedef struct Names {
    const char *name[512];
    size_t nr;
} Names;

static void collect(const MachineType *t, void *opaque)
{
    Names *n = opaque;
    if (n->nr + 3 < ARRAY_SIZE(n->name)) {
        n->name[n->nr++] = t->name;
        if (t->alias) {
            n->name[n->nr++] = t->alias;
        }
    }
}

static bool unknown_machine(const char *name, Error **errp)
{
    Names names = { .nr = 0 };
    machine_types_each(collect, &names);
    const char *near = suggest(name, names.name);
    if (near) {
        return error_set(errp, "-M %s: there is no such machine, did you mean %s?", name, near);
    }
    static const char *const later[] = { "q35", "pc-q35", "isapc", "microvm", "xenfv" };
    for (size_t i = 0; i < ARRAY_SIZE(later); i++) {
        if (!strncmp(name, later[i], strlen(later[i]))) {
            return error_set(errp, "-M %s: this machine is not built yet; use -M pc", name);
        }
    }
    return error_set(errp, "-M %s: there is no such machine (-M help lists them)", name);
}

/* All -M options together: a later one adds to an earlier. */
static bool merge_machine_opts(Dict *all, const Options *o, Error **errp)
{
    for (size_t i = 0; i < o->machine.nr; i++) {
        Dict *d = dict_parse(o->machine.str[i], "type", errp);
        if (!d) {
            return error_prefix(errp, "-M: ");
        }
        for (size_t k = 0; k < dict_count(d); k++) {
            dict_set(all, dict_key(d, k), dict_value(d, k));
        }
        dict_free(d);
    }
    if (o->no_acpi) {
        dict_set(all, "acpi", "off");
    }
    if (o->no_hpet) {
        dict_set(all, "hpet", "off");
    }
    return true;
}

static const MachineType *resolve_type(MachineConfig *c, const Options *o, Error **errp)
{
    c->machine_opts = dict_new();
    if (!merge_machine_opts(c->machine_opts, o, errp)) {
        return NULL;
    }
    const char *name = dict_get(c->machine_opts, "type");
    const MachineType *t = NULL;
    if (name) {
        t = machine_type_find(name);
        if (!t) {
            unknown_machine(name, errp);
        }
    } else {
        machine_types_each(find_default, &t);
        if (!t) {
            error_set(errp, "this build has no default machine; choose one with -M");
        }
    }
    return t;
}

static void print_type(const MachineType *t, void *opaque)
{
    (void)opaque;
    printf("%-20s %s%s%s%s\n", t->name, t->desc ? t->desc : "", t->alias ? " (alias " : "",
           t->alias ? t->alias : "", t->alias ? ")" : t->is_default ? " (default)" : "");
}

void machine_print_types(void)
{
    printf("Supported machines are:\n");
    machine_types_each(print_type, NULL);
}

/* Those of every machine; as in MachineType.options. */
static const char *const common_options[] = {
    "accel=<name>[:<name>] - the first of these engines that works",
    "kernel-irqchip=on|split|off - on KVM: which interrupt controllers are the kernel's (default: on)",
    "kvm-shadow-mem=<size> - on KVM without nested paging: memory for shadow page tables", NULL
};

bool machine_print_options(const char *name, Error **errp)
{
    const MachineType *t = machine_type_find(name);
    if (!t) {
        return unknown_machine(name, errp);
    }
    printf("%s options:\n", t->name);
    for (const char *const *o = common_options; *o; o++) {
        printf("  %s\n", *o);
    }
    for (const char *const *o = t->options; o && *o; o++) {
        printf("  %s\n", *o);
    }
    return true;
}

/* What QEMU's users pass to any machine and what has no meaning here, or not yet. */
static bool is_harmless(const char *key, const char *value)
{
    static const char *const always[] = { "dump-guest-core", "mem-merge", "graphics", NULL };
    static const char *const if_off[] = { "usb", "vmport", "smm", "nvdimm", "suppress-vmdesc",
                                          "fd-bootchk", NULL };
    for (size_t i = 0; always[i]; i++) {
        if (!strcmp(key, always[i])) {
            return true;
        }
    }
    bool on = true;
    for (size_t i = 0; if_off[i]; i++) {
        if (!strcmp(key, if_off[i])) {
            return (parse_bool(value, &on) && !on) || !strcmp(value, "auto");
        }
    }
    return false;
}

/* KVM takes these when it gets ready for the machine, which may be never, or when a vCPU moves there.
 * They are checked all the same. */
static bool is_for_kvm(const char *key)
{
    return !strcmp(key, "kernel-irqchip") || !strcmp(key, "kernel_irqchip") ||
           !strcmp(key, "kvm-shadow-mem");
}

static bool check_for_kvm(const char *key, const char *value, Error **errp)
{
    uint64_t size;
    bool on = true, irqchip = !strcmp(key, "kernel-irqchip") || !strcmp(key, "kernel_irqchip");
    if (irqchip && !parse_bool(value, &on) && strcmp(value, "split")) {
        return error_set(errp, "-M %s=%s: want on, split or off", key, value);
    }
    if (!irqchip && !parse_size(value, 1, &size)) {
        return error_set(errp, "-M %s=%s: want a size, such as 64M", key, value);
    }
    if (on) { /* off is what there is */
        info_report("-M %s=%s is for KVM, and no CPU starts on it%s", key, value,
                    irqchip ? ": all interrupt controllers are Vireo's" : "");
    }
    return true;
}

static bool no_such_option(const MachineType *t, const char *key, const char *value, Error **errp)
{
    char text[32][32];
    const char *words[ARRAY_SIZE(text) + 1] = { NULL };
    const char *const *const lists[] = { common_options, t->options };
    size_t nr = 0;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (const char *const *o = lists[i]; o && *o && nr < ARRAY_SIZE(text); o++) {
            snprintf(text[nr], sizeof(text[nr]), "%.*s", (int)strcspn(*o, "="), *o);
            words[nr] = text[nr];
            nr++;
        }
    }
    const char *near = suggest(key, words);
    return near ? error_set(errp, "-M %s: there is no option %s=%s, did you mean %s?", t->name, key,
                            value, near)
                : error_set(errp, "-M %s: there is no option %s=%s (-M %s,help lists them)", t->name,
                            key, value, t->name);
}

bool machine_config_check_unused(const MachineConfig *c, const MachineType *t, Error **errp)
{
    const char *key;
    while ((key = dict_unused(c->machine_opts))) {
        const char *value = dict_get(c->machine_opts, key); /* used from now on */
        if (is_for_kvm(key) ? !check_for_kvm(key, value, errp)
                            : !is_harmless(key, value) && !no_such_option(t, key, value, errp)) {
            return false;
        }
    }
    return true;
}

/* ---- -m and -smp ---- */

static bool resolve_memory(MachineConfig *c, const MachineType *t, const Options *o, Error **errp)
{
    c->ram_size = t->default_ram;
    const char *text = str_list_last(&o->memory);
    if (!text) {
        return true;
    }
    Dict *d = dict_parse(text, "size", errp);
    if (!d) {
        return error_prefix(errp, "-m: ");
    }
    bool ok = dict_get_size(d, "size", MiB, &c->ram_size, errp) || error_prefix(errp, "-m: ");
    if (ok && (dict_get(d, "slots") || dict_get(d, "maxmem"))) {
        ok = error_set(errp, "-m %s: memory hot-plug (slots, maxmem) is not built yet", text);
    }
    if (ok && dict_unused(d)) {
        ok = error_set(errp, "-m %s: unknown option '%s'; there is size", text, dict_unused(d));
    }
    dict_free(d);
    if (ok && (c->ram_size < MiB || c->ram_size > 1ull << 46)) {
        ok = error_set(errp, "-m %s: not a possible size (1M to 64T); -m 512 means 512 MiB, -m 2G 2 GiB",
                       text);
    }
    c->ram_size = ROUND_UP(c->ram_size, 8 * KiB);
    return ok;
}

typedef struct Smp {
    uint64_t cpus, sockets, dies, cores, threads, maxcpus;
} Smp;

/* What was not given follows from what was; cores come before sockets. */
static void fill_topology(Smp *s)
{
    s->dies = s->dies ? s->dies : 1;
    uint64_t total = s->maxcpus ? s->maxcpus : s->cpus;
    if (!total) {
        s->sockets = s->sockets ? s->sockets : 1;
        s->cores = s->cores ? s->cores : 1;
        s->threads = s->threads ? s->threads : 1;
    } else if (!s->cores) {
        s->sockets = s->sockets ? s->sockets : 1;
        s->threads = s->threads ? s->threads : 1;
        s->cores = total / (s->sockets * s->dies * s->threads);
    } else if (!s->sockets) {
        s->threads = s->threads ? s->threads : 1;
        s->sockets = total / (s->dies * s->cores * s->threads);
    } else if (!s->threads) {
        s->threads = total / (s->sockets * s->dies * s->cores);
    }
    uint64_t product = s->sockets * s->dies * s->cores * s->threads;
    s->maxcpus = s->maxcpus ? s->maxcpus : product > total ? product : total;
    s->cpus = s->cpus ? s->cpus : s->maxcpus;
}

static bool parse_smp(Smp *s, const char *text, Error **errp)
{
    Dict *d = dict_parse(text, "cpus", errp);
    if (!d) {
        return false;
    }
    struct {
        const char *key;
        uint64_t *val;
    } members[] = { { "cpus", &s->cpus },       { "sockets", &s->sockets },
                    { "dies", &s->dies },       { "cores", &s->cores },
                    { "threads", &s->threads }, { "maxcpus", &s->maxcpus } };
    bool ok = true;
    for (size_t i = 0; i < ARRAY_SIZE(members) && ok; i++) {
        ok = dict_get_u64(d, members[i].key, members[i].val, errp);
        if (ok && dict_has(d, members[i].key) &&
            (*members[i].val < 1 || *members[i].val > MAX_CPUS)) {
            ok = error_set(errp, "%s must be between 1 and %d", members[i].key, MAX_CPUS);
        }
    }
    if (ok && dict_unused(d)) {
        ok = error_set(errp, "unknown option '%s'; there are cpus, sockets, dies, cores, threads and maxcpus",
                       dict_unused(d));
    }
    dict_free(d);
    return ok;
}

static bool resolve_smp(MachineConfig *c, const MachineType *t, const Options *o, Error **errp)
{
    const char *text = str_list_last(&o->smp);
    Smp s = { 0 };
    if (text && !parse_smp(&s, text, errp)) {
        return error_prefix(errp, "-smp %s: ", text);
    }
    if (!text) {
        s.cpus = 1;
    }
    fill_topology(&s);
    uint64_t product = s.sockets * s.dies * s.cores * s.threads;
    if (!product) {
        return error_set(errp, "-smp %s: the %llu CPUs asked for do not fill one socket; leave cores= "
                               "and the others out, or ask for more", text,
                         (unsigned long long)s.maxcpus);
    }
    if (product != s.maxcpus) {
        return error_set(errp, "-smp %s: sockets x dies x cores x threads is %llu, not the %llu "
                               "CPUs asked for", text, (unsigned long long)product,
                         (unsigned long long)s.maxcpus);
    }
    if (s.cpus > s.maxcpus) {
        return error_set(errp, "-smp %s: more CPUs than maxcpus=%llu; raise it or leave it out", text,
                         (unsigned long long)s.maxcpus);
    }
    if (t->max_cpus && s.maxcpus > t->max_cpus) {
        return error_set(errp, "-smp %s: machine %s has room for %u CPUs", text, t->name,
                         t->max_cpus);
    }
    c->cpus = s.cpus;
    c->sockets = s.sockets;
    c->dies = s.dies;
    c->cores = s.cores;
    c->threads = s.threads;
    c->maxcpus = s.maxcpus;
    return true;
}

/* ---- -boot ---- */

static bool check_order(const char *order, Error **errp)
{
    for (const char *p = order; *p; p++) {
        if (*p < 'a' || *p > 'p') {
            return error_set(errp, "-boot: '%c' is no boot device; a, b: floppy, c: disk, d: CD, "
                                   "n: network", *p);
        }
        if (strchr(order, *p) != p) {
            return error_set(errp, "-boot: '%c' is given twice", *p);
        }
    }
    return true;
}

static bool apply_boot(MachineConfig *c, const Dict *d, Error **errp)
{
    const char *order = dict_get(d, "order"), *once = dict_get(d, "once");
    bool reboot_timeout = dict_get(d, "reboot-timeout") != NULL;
    if ((order && !check_order(order, errp)) || (once && !check_order(once, errp))) {
        return false;
    }
    if (order) {
        free(c->boot_order);
        c->boot_order = xstrdup(order);
    }
    if (once) {
        free(c->boot_once);
        c->boot_once = xstrdup(once);
    }
    if (!dict_get_bool(d, "menu", &c->boot_menu, errp) ||
        !dict_get_bool(d, "strict", &c->boot_strict, errp) ||
        !dict_get_u64(d, "splash-time", &c->boot_splash_ms, errp)) {
        return error_prefix(errp, "-boot: ");
    }
    if (dict_get(d, "splash") || reboot_timeout) {
        return error_set(errp, "-boot: %s is not built yet",
                         reboot_timeout ? "reboot-timeout" : "splash");
    }
    return !dict_unused(d) || error_set(errp, "-boot: unknown option '%s'; there are order, once, menu, splash-time "
                                               "and strict", dict_unused(d));
}

static bool resolve_boot(MachineConfig *c, const Options *o, Error **errp)
{
    for (size_t i = 0; i < o->boot.nr; i++) {
        Dict *d = dict_parse(o->boot.str[i], "order", errp);
        bool ok = d ? apply_boot(c, d, errp) : error_prefix(errp, "-boot: ");
        dict_free(d);
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* ---- -rtc, -uuid, -name ---- */

/* The RTC counts nanoseconds in 64 bits, and its guest may set it a century off. */
enum { RTC_YEAR_MIN = 1900, RTC_YEAR_MAX = 2150 };

static bool parse_date(const char *text, int64_t *seconds)
{
    struct tm tm = { 0 };
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end) {
        memset(&tm, 0, sizeof(tm));
        end = strptime(text, "%Y-%m-%d", &tm);
    }
    if (!end || *end || tm.tm_year + 1900 < RTC_YEAR_MIN || tm.tm_year + 1900 > RTC_YEAR_MAX) {
        return false;
    }
    *seconds = timegm(&tm);
    return true;
}

static bool apply_rtc(MachineConfig *c, const Dict *d, Error **errp)
{
    const char *base = dict_get(d, "base"), *clock = dict_get(d, "clock");
    const char *drift = dict_get(d, "driftfix");
    if (base && !strcmp(base, "localtime")) {
        c->rtc_base = RTC_LOCALTIME;
    } else if (base && strcmp(base, "utc")) {
        c->rtc_base = RTC_DATE;
        if (!parse_date(base, &c->rtc_date)) {
            return error_set(errp, "-rtc base=%s: write utc, localtime or a date such as "
                                   "2026-01-31T12:00:00, from %d to %d",
                             base, RTC_YEAR_MIN, RTC_YEAR_MAX);
        }
    }
    if (clock && !strcmp(clock, "vm")) {
        c->rtc_clock = RTC_CLOCK_VM;
    } else if (clock && !strcmp(clock, "rt")) {
        c->rtc_clock = RTC_CLOCK_RT;
    } else if (clock && strcmp(clock, "host")) {
        return error_set(errp, "-rtc clock=%s: write host, rt or vm", clock);
    }
    if (drift && strcmp(drift, "none")) {
        return error_set(errp, "-rtc driftfix=%s: not built yet; driftfix=none is accepted",
                         drift);
    }
    return !dict_unused(d) || error_set(errp, "-rtc: unknown option '%s'; there are base and clock",
                                               dict_unused(d));
}

static bool resolve_rtc(MachineConfig *c, const Options *o, Error **errp)
{
    if (!o->rtc) {
        return true;
    }
    Dict *d = dict_parse(o->rtc, "base", errp);
    bool ok = d ? apply_rtc(c, d, errp) : error_prefix(errp, "-rtc: ");
    dict_free(d);
    return ok;
}

static bool resolve_uuid(MachineConfig *c, const Options *o, Error **errp)
{
    if (!o->uuid) {
        return true;
    }
    unsigned b[16];
    int end = -1;
    int n = sscanf(o->uuid, "%2x%2x%2x%2x-%2x%2x-%2x%2x-%2x%2x-%2x%2x%2x%2x%2x%2x%n", &b[0], &b[1],
                   &b[2], &b[3], &b[4], &b[5], &b[6], &b[7], &b[8], &b[9], &b[10], &b[11], &b[12],
                   &b[13], &b[14], &b[15], &end);
    if (n != 16 || end != 36 || o->uuid[36]) {
        return error_set(errp, "-uuid %s: not a UUID such as "
                               "550e8400-e29b-41d4-a716-446655440000", o->uuid);
    }
    for (int i = 0; i < 16; i++) {
        c->uuid[i] = (uint8_t)b[i];
    }
    c->has_uuid = true;
    return true;
}

/* process= is main's business. */
static bool resolve_name(MachineConfig *c, const Options *o, Error **errp)
{
    if (!o->name) {
        return true;
    }
    Dict *d = dict_parse(o->name, "guest", errp);
    if (!d) {
        return error_prefix(errp, "-name: ");
    }
    bool threads; /* always named */
    c->name = xstrdup(dict_get(d, "guest"));
    dict_get(d, "process");
    bool ok = dict_get_bool(d, "debug-threads", &threads, errp) || error_prefix(errp, "-name: ");
    if (ok && dict_unused(d)) {
        ok = error_set(errp, "-name %s: unknown option '%s'; there are guest, process and debug-threads",
                       o->name, dict_unused(d));
    }
    dict_free(d);
    return ok;
}

/* ---- -global ---- */

/* "TYPE.PROPERTY=VALUE" or "driver=TYPE,property=PROPERTY,value=VALUE" */
static bool add_global(Dict *globals, const char *text, Error **errp)
{
    const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
    if (dot && equals && dot < equals) {
        char *key = xstrndup(text, equals - text);
        dict_set(globals, key, equals + 1);
        free(key);
        return true;
    }
    Dict *d = dict_parse(text, NULL, errp);
    if (!d) {
        return false;
    }
    const char *driver = dict_get(d, "driver"), *property = dict_get(d, "property");
    const char *value = dict_get(d, "value");
    bool ok = driver && property && value && !dict_unused(d);
    if (ok) {
        char *key = xasprintf("%s.%s", driver, property);
        dict_set(globals, key, value);
        free(key);
    }
    dict_free(d);
    return ok || error_set(errp, "write TYPE.PROPERTY=VALUE");
}

static bool resolve_globals(MachineConfig *c, const Options *o, Error **errp)
{
    c->globals = dict_new();
    for (size_t i = 0; i < o->global.nr; i++) {
        if (!add_global(c->globals, o->global.str[i], errp)) {
            return error_prefix(errp, "-global %s: ", o->global.str[i]);
        }
    }
    return true;
}

void machine_config_warn_globals(const MachineConfig *c)
{
    const char *key;
    while ((key = dict_unused(c->globals))) {
        bool pit = !strncmp(key, "kvm-pit.", 8);
        warn_report("-global %s=%s: no device of that type was made%s", key, dict_get(c->globals, key),
                    pit ? "; the kernel's 8254, which has lost_tick_policy, is there with -accel kvm "
                          "and kernel-irqchip=on"
                        : "");
    }
}

/* A guest that never touches all of it may run. */
void machine_config_warn_memory(const MachineConfig *c)
{
    struct sysinfo si;
    if (sysinfo(&si)) {
        return;
    }
    uint64_t host = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
    if (c->ram_size > host) {
        warn_report("-m: the guest has %llu MiB, this host %llu MiB of memory and swap; the guest is "
                    "killed when it uses more",
                    (unsigned long long)(c->ram_size / MiB), (unsigned long long)(host / MiB));
    }
}

/* ---- the rest ---- */

static bool check_vga(const Options *o, Error **errp)
{
    static const char *const known[] = { "std", "none", "cirrus", "vmware", "qxl", "virtio", NULL };
    for (size_t i = 0; o->vga && known[i]; i++) {
        if (!strcmp(o->vga, known[i])) {
            return i < 2 || error_set(errp, "-vga %s: not built yet; use std or none", o->vga);
        }
    }
    return !o->vga || error_set(errp, "-vga %s: unknown; use std or none", o->vga);
}

static bool check_kernel(const Options *o, Error **errp)
{
    if (!o->kernel && (o->append || o->initrd)) {
        return error_set(errp, "-%s works only with -kernel", o->append ? "append" : "initrd");
    }
    return true;
}

static bool check_firmware_dirs(const Options *o, Error **errp)
{
    for (size_t i = 0; i < o->firmware_dirs.nr; i++) {
        struct stat st;
        const char *dir = o->firmware_dirs.str[i];
        if (stat(dir, &st)) {
            return error_set_errno(errp, errno, "-L %s: no directory to look for firmware in", dir);
        }
        if (!S_ISDIR(st.st_mode)) {
            return error_set(errp, "-L %s: not a directory; -bios names a file", dir);
        }
    }
    return true;
}

static void copy_plain(MachineConfig *c, const Options *o)
{
    c->cpu_model = xstrdup(o->cpu ? o->cpu : "max");
    c->kernel = xstrdup(o->kernel);
    c->initrd = xstrdup(o->initrd);
    c->append = xstrdup(o->append);
    c->bios = xstrdup(o->bios);
    c->vga = xstrdup(o->vga);
    c->nodefaults = o->nodefaults;
    c->nographic = o->nographic;
    c->no_reboot = o->no_reboot;
    c->no_shutdown = o->no_shutdown;
    c->firmware_dirs = xcalloc(o->firmware_dirs.nr + 1, sizeof(char *));
    for (size_t i = 0; i < o->firmware_dirs.nr; i++) {
        c->firmware_dirs[i] = xstrdup(o->firmware_dirs.str[i]);
    }
}

/* -overcommit. Later mappings are locked, too, so it goes before guest RAM is made. */
static bool resolve_overcommit(MachineConfig *c, const Options *o, Error **errp)
{
    bool lock = false;
    Dict *d = o->overcommit ? dict_parse(o->overcommit, NULL, errp) : dict_new();
    if (!d) {
        return error_prefix(errp, "-overcommit: ");
    }
    bool ok = (dict_get_bool(d, "mem-lock", &lock, errp) &&
               dict_get_bool(d, "cpu-pm", &c->cpu_pm, errp)) ||
              error_prefix(errp, "-overcommit: ");
    if (ok && dict_unused(d)) {
        ok = error_set(errp, "-overcommit: unknown option '%s'; there are mem-lock and cpu-pm",
                       dict_unused(d));
    }
    dict_free(d);
    if (ok && lock && mlockall(MCL_CURRENT | MCL_FUTURE)) {
        ok = error_set_errno(errp, errno, "-overcommit mem-lock=on: cannot lock memory; raise the limit "
                             "(ulimit -l)");
    }
    return ok;
}

const MachineType *machine_config_resolve(MachineConfig *c, const Options *o, Error **errp)
{
    const MachineType *t = resolve_type(c, o, errp);
    if (!t) {
        return NULL;
    }
    copy_plain(c, o);
    bool ok = resolve_overcommit(c, o, errp) && resolve_memory(c, t, o, errp) && resolve_smp(c, t, o, errp) &&
              resolve_boot(c, o, errp) && resolve_rtc(c, o, errp) && resolve_uuid(c, o, errp) &&
              resolve_name(c, o, errp) && resolve_globals(c, o, errp) && check_vga(o, errp) &&
              check_kernel(o, errp) && check_firmware_dirs(o, errp);
    return ok ? t : NULL;
}
