/* SPDX-License-Identifier: GPL-2.0-or-later
 * A machine: its address spaces, CPUs, devices and run state. One struct holds everything, so
 * that two machines fit in one process.
 */
#ifndef HW_CORE_MACHINE_H
#define HW_CORE_MACHINE_H

#include "hw/core/device.h"
#include "hw/core/irqchip.h"

struct CpuState;
struct Vcpu;
typedef struct Machine Machine;
typedef struct MachineType MachineType;

enum { MAX_CPUS = 255 };

/* What the command line asked for; strings are owned by the config, NULL if not given. */
typedef struct MachineConfig {
    uint64_t ram_size;
    unsigned cpus, sockets, dies, cores, threads, maxcpus;
    char *cpu_model;           /* "max", "qemu64,+avx,-sse3" */
    char *kernel, *initrd, *append, *dtb;
    char *bios;                /* file name, searched in firmware_dirs */
    char **firmware_dirs;      /* NULL-terminated, -L first */
    char *boot_order;          /* "cad"; NULL: the machine's default */
    char *boot_once;
    bool boot_menu, boot_strict;
    uint64_t boot_splash_ms;   /* boot_menu wait */
    char *vga;                 /* "std", "none"; NULL: the machine's default */
    char *name;
    uint8_t uuid[16];
    bool has_uuid;
    enum { RTC_UTC, RTC_LOCALTIME, RTC_DATE } rtc_base;
    int64_t rtc_date;          /* seconds since the epoch, RTC_DATE */
    enum { RTC_CLOCK_HOST, RTC_CLOCK_RT, RTC_CLOCK_VM } rtc_clock;
    bool nodefaults;
    bool no_reboot, no_shutdown;
    bool cpu_pm;               /* -overcommit cpu-pm=on: idle CPUs are the guest's */
    bool nographic;            /* firmware shows its screen on the first serial port too */
    Dict *machine_opts;        /* -M type,key=val: what the board reads (hpet=, acpi=, smm=...) */
    Dict *globals;             /* -global: "TYPE.PROPERTY" = default for devices of that type */
    /* default devices that the command line resolved: chardev ids, NULL for none */
    char *serial[4], *parallel[3];
    char *debugcon;
    /* if=ide drives: drive ids by bus*2+unit, NULL for none */
    char *ide_drive[4];
    char *floppy_drive[2];     /* if=floppy drives' ids, NULL for none */
    bool default_floppy;       /* an empty drive A unless something is there */
    bool no_fdc;               /* -device makes the floppy controller */
    /* what else -drive if=X plugs in: device_create's dictionaries, before those of -device */
    Dict **drive_device;
    size_t nr_drive_devices;
    bool default_cdrom;        /* an empty CD drive at ide.1.0 unless something is there */
} MachineConfig;

struct MachineType {
    const char *name, *desc, *alias;
    /* NULL-terminated; a prefix and a version ("pc-i440fx-" "7.2") is this type, too */
    const char *const *versioned;
    const char *const *options; /* of -M beyond accel=, for its help; NULL-terminated, or NULL */
    bool is_default;
    unsigned max_cpus;
    uint64_t default_ram;
    bool (*init)(Machine *m, Error **errp); /* builds everything; m->config is set */
    void (*reset)(Machine *m);              /* before the devices' two passes; may be NULL */
    List node;
};

#define MACHINE_TYPE(sym)                                                                          \
    extern MachineType machine_##sym;                                                              \
    static void __attribute__((constructor)) register_machine_##sym(void)                          \
    {                                                                                              \
        machine_type_register(&machine_##sym);                                                     \
    }                                                                                              \
    MachineType machine_##sym

typedef enum ResetCause { RESET_GUEST, RESET_USER, RESET_TRIPLE_FAULT } ResetCause;
typedef enum ShutdownCause { SHUTDOWN_GUEST, SHUTDOWN_USER, SHUTDOWN_SIGNAL, SHUTDOWN_WINDOW,
                             SHUTDOWN_PANIC, SHUTDOWN_DEBUG_EXIT } ShutdownCause;

/* The run state, for those below vm/: set by vm/run_state.c, NULL while nothing runs (unit tests).
 * Main loop, vm_lock held. status: QEMU's words: "running", "paused", "prelaunch", ... */
typedef struct RunOps {
    void (*stop)(Machine *m);
    bool (*cont)(Machine *m, Error **errp); /* false: only a reset brings it back */
    const char *(*status)(const Machine *m);
} RunOps;

struct Machine {
    Object obj;
    const MachineType *type;
    MachineConfig config;
    AddressSpace memory, io;
    Region memory_root, io_root; /* containers: 2^64 bytes; 64 Ki ports */
    RamBlock *ram;               /* main RAM, one block */
    struct CpuState **cpu;       /* nr_cpus of them, APIC id order */
    struct Vcpu **vcpu;
    struct {                     /* cpu/kvm_pv.c: kvmclock reads ns when TSCs count ticks */
        uint64_t ns, ticks;
        bool runs;               /* else it stands at ns */
    } kvmclock;
    struct CpuFeatureSource *features; /* cpu/model.h; NULL: what the software engines implement */
    struct {                     /* cpu/tsc.c */
        uint32_t khz;            /* of its CPUs unless -cpu says another; 0: 1 GHz */
        bool follow_host, running;
        bool is_host;            /* an engine can neither shift nor stop them */
        uint64_t host_offset;    /* TSC = host's TSC + host_offset + CpuState.tsc_offset */
    } tsc;
    struct VcpuListener *vcpu_listener;
    struct Engines *engines;     /* which are in use: accel/switch.c */
    unsigned nr_cpus;
    List devices, buses;
    Irqchip irqchip;             /* hw/core/irqchip.h */
    Device *fw_cfg;              /* set by the board; NULL if it has none */
    struct Jit *jit;             /* the translator, shared by the vCPUs that run on it; NULL: none */
    struct KvmVm *kvm;           /* the VM in the kernel, of vCPUs that run on KVM; NULL: none ever did */
    void *board;                 /* the board's own struct */
    bool was_reset;              /* has run: devices that come now are hot-plugged */
    /* outputs of the board that others press: power button, A20 and so on live in devices */
    void (*powerdown)(Machine *m); /* ACPI power button; NULL if the board has none */
    void (*nmi)(Machine *m);
    /* boot_set: "cad" as in -boot, from now on; NULL if the board has no boot order. */
    bool (*set_boot_order)(Machine *m, const char *order, Error **errp);
    const RunOps *run_ops;
};

void machine_type_register(MachineType *t);
const MachineType *machine_type_find(const char *name);
void machine_types_each(void (*fn)(const MachineType *t, void *opaque), void *opaque);

/* Empty address spaces, lists and the machine's place in the object tree: before CPUs or devices
 * are made. No-op the second time. */
void machine_setup(Machine *m);
/* Builds the machine from m->config (CPUs exist already) and m->type. */
bool machine_init(Machine *m, const MachineType *t, Error **errp) MUST_USE;
/* Two passes over all devices in tree order: state tables and .reset, then .refresh. vCPUs are
 * paused by the caller (vm/run_state.c). */
void machine_reset_devices(Machine *m);
void machine_fini(Machine *m);

/* Requests from devices and CPUs, carried out by the main loop (vm/run_state.c). Any thread with
 * vm_lock. */
void machine_request_reset(Machine *m, ResetCause cause);
void machine_request_shutdown(Machine *m, ShutdownCause cause, int status);
/* An engine cannot go on: the machine stops, with the status "internal-error". */
void machine_request_internal_error(Machine *m);
/* Called each time the machine has been reset, for firmware reload and boot-once. */
typedef struct ResetHook {
    void (*fn)(void *opaque);
    void *opaque;
    List node;
} ResetHook;
void machine_add_reset_hook(ResetHook *h);

#endif
