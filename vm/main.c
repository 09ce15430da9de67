/* SPDX-License-Identifier: GPL-2.0-or-later
 * main(): from the command line to a running machine, and its end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/accel.h"
#include "accel/test/qtest.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "ui/display.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/main_loop.h"
#include "util/user_object.h"
#include "util/version.h"
#include "util/vm_lock.h"
#include "vm/accel_choice.h"
#include "vm/accel_default.h"
#include "vm/daemon.h"
#include "vm/doctor.h"
#include "vm/host_devices.h"
#include "vm/machine_config.h"
#include "vm/objects.h"
#include "vm/options.h"
#include "vm/run_state.h"
#include "vm/signals.h"

static void print_line(void *opaque, const char *line)
{
    (void)opaque;
    puts(line);
}

/* ---- what only prints ---- */

static bool is_help(const char *text)
{
    return text && (!strcmp(text, "help") || !strcmp(text, "?"));
}

/* -device X,help and -device help; true if there was one. */
static bool device_help(const Options *o, Error **errp)
{
    for (size_t i = 0; i < o->device.nr; i++) {
        const char *text = o->device.str[i];
        size_t len = strcspn(text, ",");
        if (is_help(text)) {
            device_list_types(print_line, NULL);
            return true;
        }
        if (text[len] && is_help(text + len + 1)) {
            char *name = xstrndup(text, len);
            device_type_help(name, print_line, NULL, errp);
            free(name);
            return true;
        }
    }
    return false;
}

/* -M pc,help */
static bool machine_help(const char *text, Error **errp)
{
    size_t len = strcspn(text ? text : "", ",");
    if (!len || !text[len] || !is_help(text + len + 1)) {
        return false;
    }
    char *name = xstrndup(text, len);
    bool skip_type = !strncmp(name, "type=", 5);
    bool known = machine_print_options(name + (skip_type ? 5 : 0), errp);
    free(name);
    return known || *errp;
}

/* Did the command line ask only for text? Then it has been printed. */
static bool print_and_exit(const Options *o, Error **errp)
{
    const char *machine = str_list_last(&o->machine);
    if (o->help) {
        options_print_help();
    } else if (o->version) {
        printf("Vireo version " VIREO_VERSION "\n");
    } else if (is_help(machine)) {
        machine_print_types();
    } else if (is_help(str_list_last(&o->accel))) {
        accel_print_list();
    } else if (is_help(o->cpu)) {
        cpu_models_list(print_line, NULL);
    } else if (is_help(str_list_last(&o->chardev))) {
        chardev_list_backends(print_line, NULL);
    } else if (is_help(o->display)) {
        display_list_backends(print_line, NULL);
    } else if (is_help(o->vga)) {
        printf("std   VGA with Bochs extensions\nnone  no graphics card\n");
    } else if (is_help(o->log_items)) {
        log_list(print_line, NULL);
    } else {
        return machine_help(machine, errp) || accel_print_help(&o->accel, errp) || device_help(o, errp) || networks_help(o, errp) ||
               drives_help(o, errp) || objects_help(o, errp);
    }
    return true;
}

/* ---- building ---- */

static bool open_log(const Options *o, Error **errp)
{
    return (!o->log_file || log_open(o->log_file, errp)) &&
           (!o->log_filter || log_filter_set(o->log_filter, errp)) &&
           (!o->log_items || log_set(o->log_items, errp));
}

/* A graphics card of -device takes the place of the default one. */
static void drop_default_vga(MachineConfig *c, const Options *o)
{
    static const char *const types[] = { "VGA", "cirrus-vga", "isa-vga", "isa-cirrus-vga", "qxl-vga",
                                         "vmware-svga", "virtio-vga", "ati-vga", NULL };
    if (!c->vga && options_have_device(o, types)) {
        c->vga = xstrdup("none");
    }
}

/* -balloon virtio,... is -device virtio-balloon-pci,... */
static bool create_balloon(Machine *m, const Options *o, Error **errp)
{
    if (!o->balloon || !strcmp(o->balloon, "none")) {
        return true;
    }
    Dict *d = dict_parse(o->balloon, "driver", errp);
    const char *kind = d ? dict_get(d, "driver") : NULL;
    bool ok = d && ((kind && !strcmp(kind, "virtio")) || error_set(errp, "want virtio or none"));
    if (ok) {
        dict_set(d, "driver", "virtio-balloon-pci");
        ok = device_create(m, d, errp) != NULL;
    }
    dict_free(d);
    return ok || error_prefix(errp, "-balloon %s: ", o->balloon);
}

static bool create_devices(Machine *m, const Options *o, Error **errp)
{
    if (!create_balloon(m, o, errp)) {
        return false;
    }
    for (size_t i = 0; i < m->config.nr_drive_devices; i++) {
        const Dict *d = m->config.drive_device[i];
        if (!device_create(m, d, errp)) {
            return error_prefix(errp, "-drive (drive '%s'): ", dict_get(d, "drive"));
        }
    }
    for (size_t i = 0; i < o->device.nr; i++) {
        Dict *d = dict_parse(o->device.str[i], "driver", errp);
        bool ok = d && network_device_vlan(d, errp) && device_create(m, d, errp);
        dict_free(d);
        if (!ok) {
            return error_prefix(errp, "-device %s: ", o->device.str[i]);
        }
    }
    return true;
}

/* -perfmap, an option of its own in QEMU, is the translator's here. */
static bool set_perfmap(Machine *m, const Options *o, Error **errp)
{
    const Engine *jit = engine_find("jit");
    if (o->perfmap && !jit) {
        return error_set(errp, "-perfmap: there is no translator in this build");
    }
    if (o->perfmap) {
        dict_set(engine_options(m, jit), "perfmap", "on");
    }
    return true;
}

static bool check_perfmap(const Options *o, const AccelPlan *plan, Error **errp)
{
    for (size_t i = 0; i < plan->nr; i++) {
        if (!o->perfmap || !strcmp(plan->list[i].engine->name, "jit")) {
            return true;
        }
    }
    return error_set(errp, "-perfmap: -accel %s makes no code to name; use -accel jit",
                     plan->list[0].engine->name);
}

/* What an engine does not do it cannot log. "all" is whatever there is. */
static bool check_log(const AccelPlan *plan, Error **errp)
{
    static const struct {
        unsigned items;
        const char *engine; /* NULL: all in software */
        const char *cure;
    } rows[] = {
        { LOG_OP | LOG_OUT_ASM, "jit", "translates nothing; use -accel jit" },
        { LOG_KVM, "kvm", "is not KVM; use -accel kvm" },
        { LOG_INT | LOG_IN_ASM | LOG_EXEC | LOG_CPU | LOG_MMU | LOG_PCALL | LOG_NOCHAIN, NULL,
          "cannot see that; use -accel jit" },
    };
    for (size_t i = 0; log_mask != ~0u && i < ARRAY_SIZE(rows); i++) {
        bool told = !(log_mask & rows[i].items);
        for (size_t n = 0; n < plan->nr; n++) {
            const Engine *e = plan->list[n].engine;
            told |= rows[i].engine ? !strcmp(e->name, rows[i].engine) : e->software;
        }
        if (!told) {
            return error_set(errp, "-d %s: -accel %s %s", log_item_name(log_mask & rows[i].items),
                             plan->list[0].engine->name, rows[i].cure);
        }
    }
    return true;
}

/* -overcommit cpu-pm=on is for engines that have idle CPUs to give. */
static bool check_cpu_pm(const Machine *m, const AccelPlan *plan, Error **errp)
{
    for (size_t i = 0; m->config.cpu_pm && i < plan->nr; i++) {
        if (!plan->list[i].engine->gives_idle) {
            return error_set(errp, "-overcommit cpu-pm=on: with -accel %s no CPU of the host idles in "
                                   "guest code; use -accel kvm", plan->list[i].engine->name);
        }
    }
    return true;
}

static bool choose_engines(Machine *m, const Options *o, AccelPlan *plan, Error **errp)
{
    return set_perfmap(m, o, errp) &&
           accel_choose(m, o, dict_get(m->config.machine_opts, "accel"), plan, errp) &&
           check_perfmap(o, plan, errp) && check_log(plan, errp) &&
           check_cpu_pm(m, plan, errp);
}

static bool build(Machine *m, const Options *o, Error **errp)
{
    MachineConfig *c = &m->config;
    const MachineType *type = machine_config_resolve(c, o, errp);
    if (!type) {
        return false;
    }
    drop_default_vga(c, o);
    run_state_init(m);
    machine_setup(m);
    c->cpus = type->max_cpus ? c->cpus : 0; /* the machine "none" has no CPU */
    m->nr_cpus = c->cpus;
    AccelPlan plan = { 0 };
    bool ok = choose_engines(m, o, &plan, errp) &&
              (!o->qtest || qtest_open(o->qtest, o->qtest_log, errp)) &&
              streams_open(c, o, errp) && objects_open(o, false, errp) &&
              drives_open(c, o, errp) &&
              networks_open(o, type->max_cpus, errp) && vcpus_create(m, &plan, errp) &&
              machine_init(m, type, errp) && networks_attach(m, errp) &&
              objects_open(o, true, errp) &&
              create_devices(m, o, errp) && machine_config_check_unused(c, type, errp);
    accel_plan_free(&plan);
    return ok;
}

/* ---- life ---- */

static bool start(Machine *m, const Options *o, Error **errp)
{
    if (o->nographic && o->daemonize) {
        return error_set(errp, "-nographic needs the terminal that -daemonize gives up; use "
                               "-display none");
    }
    if (!open_log(o, errp) || (o->daemonize && !daemon_fork(errp)) || !main_loop_init(errp)) {
        return false;
    }
    const char *display = o->nographic ? "none" : o->display;
    if (!build(m, o, errp) || !signals_listen(m, errp) ||
        (o->pidfile && !pidfile_create(o->pidfile, errp)) || !display_open(m, display, errp) ||
        !monitors_start(m, errp)) {
        return false;
    }
    machine_config_warn_globals(&m->config);
    machine_config_warn_memory(&m->config);
    networks_check();
    if (m->nr_cpus) {
        accel_report();
    }
    run_state_power_on();
    if (!engines_ready(m, errp)) {
        return false;
    }
    qtest_start(m);
    if (!o->paused) {
        vm_start();
    }
    daemon_ready();
    return true;
}

static void end(Machine *m)
{
    vm_stop(RUN_PAUSED);
    vcpus_destroy(m);
    signals_close();
    display_close();
    drives_close();
    user_objects_delete_all();
    net_close();
    monitors_close();
    chardevs_close();
    pidfile_remove();
}

/* -name NAME,process=TITLE */
static void set_title(int argc, char **argv, const Options *o)
{
    Error *err = NULL;
    Dict *d = o->name ? dict_parse(o->name, "guest", &err) : NULL;
    const char *title = d ? dict_get(d, "process") : NULL;
    if (title) {
        process_set_title(argc, argv, title);
    }
    dict_free(d);
    error_free(err); /* reported when the name is used */
}

int main(int argc, char **argv)
{
    static Options o;
    Error *err = NULL;
    signals_block();
    if (argc == 2 && !strcmp(argv[1], "doctor")) {
        return doctor_run(&(Doctor){ .root = "", .out = stdout });
    }
    if (!options_parse(&o, argc, argv, &err)) {
        error_report(err);
        return 1;
    }
    if (print_and_exit(&o, &err)) {
        if (err) {
            error_report(err);
            return 1;
        }
        return 0;
    }
    set_title(argc, argv, &o);
    static Machine machine;
    vm_lock();
    if (!start(&machine, &o, &err)) {
        chardevs_close();
        pidfile_remove();
        error_report(err);
        fflush(NULL);
        _Exit(1); /* threads may run: nothing of theirs is torn down under them */
    }
    vm_unlock();
    int status = main_loop_run();
    vm_lock();
    end(&machine);
    vm_unlock();
    return status;
}
