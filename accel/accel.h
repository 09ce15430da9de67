/* SPDX-License-Identifier: GPL-2.0-or-later
 * Engines: what runs a vCPU. All of them work on the same CpuState, so that each vCPU can have
 * its own and change it while the guest runs: stop, store_state, load_state, go (accel/switch.c).
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include <pthread.h>

#include "accel/vcpu_set.h"
#include "cpu/state.h"
#include "hw/core/machine.h"

typedef struct Vcpu Vcpu;
typedef struct Engine Engine;

struct Engine {
    const char *name, *desc;
    const char *const *aliases; /* "tcg" */
    /* Of -accel NAME,...: "tb-size=<MiB> - its code cache". NULL: none. */
    const char *const *options;
    const char *thread_name;    /* "JIT": its vCPUs' threads are called "CPU 0/JIT" */
    /* Can it work on this host? On false *errp names cause and cure. */
    bool (*probe)(Error **errp);
    /* Once a machine, before its first vcpu_init: at the start, or when a vCPU first moves there. The
     * board need not be there yet. opts: the rest of -accel NAME,..., all of it in options. On false
     * nothing is left; it may be called again. */
    bool (*machine_init)(Machine *m, const Dict *opts, Error **errp);
    /* The machine goes; no vCPU is left. Only after a machine_init that went well. */
    void (*machine_fini)(Machine *m);
    /* What its vCPUs can show, asked before a machine's CPUs are made: sets m->features. mixed: they
     * are not the only ones. NULL: what cpu/ implements. */
    void (*describe_cpus)(Machine *m, bool mixed);
    /* May this vCPU, with its features, run here? Main loop, the vCPU parked and on another engine
     * still, or on none. NULL: yes. */
    bool (*can_run)(Vcpu *v, Error **errp);
    /* May nr of the machine's vCPUs be here, nr > 0, and the rest elsewhere? Asked before any of them
     * moves, after machine_init. NULL: yes. */
    bool (*can_have)(const Machine *m, unsigned nr, Error **errp);
    /* In the vCPU's thread, as are those below; vm_lock held. A vCPU comes, and may have been here
     * before. */
    bool (*vcpu_init)(Vcpu *v, Error **errp);
    /* Which vCPU is on which engine (Vcpu.engine) is different from before. Main loop, all vCPUs
     * parked and stored, their vcpu_fini and vcpu_init done; load_state follows for each of them
     * before it runs. Called for every engine that has or ever had vCPUs: after the first plan, when
     * the board is not there yet, and after each switch. False: this cannot be; all goes back to
     * where it was, and it is called again for that. NULL: does not care. */
    bool (*engines_changed)(Machine *m, Error **errp);
    /* The mask of -d is another one now. Main loop, all vCPUs parked; after machine_init. */
    void (*log_changed)(Machine *m);
    /* Makes now what may be refused, for the vCPUs that it has: the board is there, all vCPUs are parked
     * and stored. Main loop; before the guest first runs and after each switch, behind
     * engines_changed. False: those vCPUs cannot run. NULL: nothing is made. */
    bool (*ready)(Machine *m, Error **errp);
    /* CpuState -> engine: vcpu_load_state() for those that work on CpuState itself. NULL: nothing */
    void (*load_state)(Vcpu *v);
    /* Runs guest code until a CPU_REQ_STOP, or until the CPU is not CPU_ACTIVE. vm_lock not held. */
    void (*run)(Vcpu *v);
    void (*store_state)(Vcpu *v); /* engine -> CpuState; NULL: it is there */
    void (*vcpu_fini)(Vcpu *v);   /* stored before; all it had for the vCPU goes */
    /* From any thread: request has new bits; make run() look. NULL if it polls request. */
    void (*kick)(Vcpu *v);
    /* It works here: is it also better than the next one, so that it may be chosen unasked? On false
     * *errp says why not. NULL: yes. */
    bool (*helps)(Error **errp);
    /* The user ordered it: is there something to be told, as far as can be seen at no cost? Then
     * false with *errp. NULL: nothing. */
    bool (*suits)(Error **errp);
    /* info NAME: its own figures, line by line. vCPUs may be running. NULL: it has none. */
    void (*info)(Machine *m, void (*print)(void *opaque, const char *line), void *opaque);
    /* info exits: how often and why its vCPUs, which are parked, left guest code. NULL: never. */
    void (*exits)(Machine *m, void (*print)(void *opaque, const char *line), void *opaque);
    bool init_probes; /* machine_init finds out by itself what probe would tell */
    bool gives_idle; /* -overcommit cpu-pm=on acts */
    bool own_memory; /* follows the memory map by a listener of its own */
    bool rings_eventfds; /* a guest's write to a region's eventfd need not come to user space */
    bool executes; /* false: accel test; its vCPUs never run */
    /* Its stores go through ram_written where somebody wants to hear of them (memory/ram.h), and it
     * relies on that for the code it has decoded. */
    bool software;
    List node;
};

#define ENGINE(sym)                                                                                \
    extern Engine engine_##sym;                                                                    \
    static void __attribute__((constructor)) register_engine_##sym(void)                           \
    {                                                                                              \
        engine_register(&engine_##sym);                                                            \
    }                                                                                              \
    Engine engine_##sym

void engine_register(Engine *e);
const Engine *engine_find(const char *name);
const char *engine_nearest(const char *name); /* to a misspelt one; NULL: none is near */
bool engine_knows_option(const Engine *e, const char *key);
/* -accel NAME,help */
void engine_print_options(const Engine *e);
void engines_each(void (*fn)(const Engine *e, void *opaque), void *opaque);

struct Vcpu {
    CpuState cpu;
    const Engine *engine; /* changed with vm_lock, all vCPUs parked; never NULL */
    Machine *machine;
    pthread_t thread;
    int tid; /* host thread id, for info cpus */
    bool started, quit;
    bool stop;            /* vm_lock, as all to the conditions: the machine's run state says so */
    unsigned hold;        /* nested vcpus_hold */
    bool stopped;         /* is parked */
    bool reset_requested; /* a triple fault was reported */
    void (*call)(Vcpu *v, void *arg); /* vcpu_call_parked's, until it is done */
    void *call_arg;
    pthread_cond_t wake, parked; /* with vm_lock: to and from a parked vCPU */
    List work;                   /* of vcpu_run_on, under work_lock */
    pthread_mutex_t work_lock;
    struct KvmVcpu *kvm;  /* what KVM has of it, for others to kick; NULL: runs elsewhere */
    bool halts_inside;    /* run() itself waits for what ends HLT and for SIPIs */
    bool asleep;          /* atomic: halted, waits on sleep_cond */
    pthread_mutex_t sleep_lock;
    pthread_cond_t sleep_cond;
};

/* How a machine's vCPUs hear of changes to its memory map. */
typedef struct VcpuListener {
    MemoryListener listener;
    Machine *machine;
    List node;
} VcpuListener;

/* Who runs which vCPU. */
typedef struct EngineChoice {
    const Engine *engine;
    VcpuSet vcpus;
} EngineChoice;
typedef struct AccelPlan {
    EngineChoice *list; /* every vCPU is in one of them, and an engine comes once */
    size_t nr;
} AccelPlan;

/* Creates m->nr_cpus vCPUs with their CpuStates (model applied, reset), each on its engine, threads
 * parked. vm_lock held, as for all here. */
bool vcpus_create(Machine *m, const AccelPlan *plan, Error **errp) MUST_USE;
/* The run state's: vCPUs run or are parked. pause returns when every vCPU is out of its engine, state
 * stored; vm_lock is dropped to wait. A vCPU thread must not call it: use machine_request_*. */
void vcpus_resume(Machine *m);
void vcpus_pause(Machine *m);
/* The same for a moment, whatever the run state: guest time goes on, and who is stopped, or waits
 * for a reset it asked for, does not run by the release. Holds nest. */
void vcpus_hold(Machine *m);
void vcpus_release(Machine *m);
void vcpus_destroy(Machine *m); /* joins the threads */
/* Is it to park, or parked: by the run state, a hold, or for want of an engine that executes? */
bool vcpu_must_park(const Vcpu *v);
/* Runs fn in the thread of a parked vCPU, and returns when it is done. */
void vcpu_call_parked(Vcpu *v, void (*fn)(Vcpu *v, void *arg), void *arg);
/* Queues fn(cpu, arg) to run on that vCPU's thread between instructions, and kicks it. */
void vcpu_run_on(CpuState *cpu, void (*fn)(CpuState *cpu, void *arg), void *arg);
/* Engines, at a safepoint with CPU_REQ_RUN_ON: runs what is queued. Own thread. */
void vcpu_run_queue(CpuState *cpu);
/* Engine.load_state: somebody may have changed registers, paging included. */
void vcpu_load_state(Vcpu *v);
/* Engine.can_run of the software engines: all features of the vCPU are implemented. */
bool vcpu_can_run(Vcpu *v, Error **errp) MUST_USE;
/* Between the two, nobody takes write permissions (ram_protect_hook) from this machine's caches, which
 * may come and go. All vCPUs are held. */
void vcpus_hide_caches(Machine *m);
void vcpus_show_caches(Machine *m);
/* What a vCPU is on before its first engine: executes nothing. */
extern const Engine engine_none;
/* The vCPU whose thread this is; NULL in the main loop and workers. Devices with a per-CPU face
 * (LAPIC) use it. */
CpuState *cpu_current(void);

/* ---- which engine runs what: switch.c. Main loop, vm_lock held (dropped to wait) ---- */

/* What the engine's machine_init is going to be given: to be filled before. */
Dict *engine_options(Machine *m, const Engine *e);
/* Gets the engine ready for this machine: probe and machine_init, unless it is. */
bool engine_prepare(Machine *m, const Engine *e, Error **errp) MUST_USE;
/* After log_set in a machine that runs. */
void engines_log_changed(Machine *m);
/* First plan: want[i] for vCPU i. */
bool engines_start(Machine *m, const Engine *const *want, Error **errp) MUST_USE;
/* The board is there, the guest has not run yet: an engine that cannot run its vCPUs says so here. */
bool engines_ready(Machine *m, Error **errp) MUST_USE;
/* Moves these vCPUs to another engine while the guest runs or is paused, halted, or waits for its
 * reset. All vCPUs stand still meanwhile, guest time goes on. On an error everything is as before. */
bool vcpus_switch(Machine *m, const VcpuSet *vcpus, const Engine *e, Error **errp) MUST_USE;
/* Is no vCPU on an engine that writes memory untold? */
bool vcpus_all_software(const Machine *m);
/* Is a vCPU on an engine that rings eventfds by itself? For a device that may do without them. */
bool vcpus_ring_eventfds(const Machine *m);
unsigned vcpus_on_engine(const Machine *m, const Engine *e);

typedef struct SwitchStats {
    uint64_t switches, vcpus; /* how often, and how many vCPUs in all */
    uint64_t last_ns;         /* how long they stood still, from the request on */
} SwitchStats;
SwitchStats vcpus_switch_stats(const Machine *m);
void engines_fini(Machine *m); /* vcpus_destroy's */

#endif
