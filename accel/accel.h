/* SPDX-License-Identifier: GPL-2.0-or-later
 * Engines: what runs a vCPU. All of them work on the same CpuState, so that each vCPU can have
 * its own and change it while the guest runs: stop, store_state, load_state, go.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include <pthread.h>

#include "cpu/state.h"
#include "hw/core/machine.h"

typedef struct Vcpu Vcpu;
typedef struct Engine Engine;

struct Engine {
    const char *name, *desc;
    const char *const *aliases; /* "tcg" */
    /* Can it work on this host? On false *errp names cause and cure. */
    bool (*probe)(Error **errp);
    /* Once a machine, before its first vcpu_init. opts: the rest of -accel NAME,... */
    bool (*machine_init)(Machine *m, const Dict *opts, Error **errp);
    bool (*vcpu_init)(Vcpu *v, Error **errp); /* in the vCPU's thread */
    /* CpuState -> engine: vcpu_load_state() for those that work on CpuState itself. NULL: nothing */
    void (*load_state)(Vcpu *v);
    /* Runs guest code until a CPU_REQ_STOP, or until the CPU is not CPU_ACTIVE. */
    void (*run)(Vcpu *v);
    void (*store_state)(Vcpu *v); /* engine -> CpuState; NULL: it is there */
    void (*vcpu_fini)(Vcpu *v);
    /* From any thread: request has new bits; make run() look. NULL if it polls request. */
    void (*kick)(Vcpu *v);
    /* It works here: is it also better than the next one, so that it may be chosen unasked? On false
     * *errp says why not. NULL: yes. */
    bool (*helps)(Error **errp);
    /* info NAME: its own figures, line by line. vCPUs may be running. NULL: it has none. */
    void (*info)(Machine *m, void (*print)(void *opaque, const char *line), void *opaque);
    bool own_memory; /* follows the memory map by a listener of its own */
    bool executes; /* false: accel test; its vCPUs never run */
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
void engines_each(void (*fn)(const Engine *e, void *opaque), void *opaque);

struct Vcpu {
    CpuState cpu;
    const Engine *engine;
    Machine *machine;
    pthread_t thread;
    int tid;              /* host thread id, for info cpus */
    bool started, created, quit;
    bool stop, stopped;   /* vm_lock: asked to pause / is parked */
    bool reset_requested; /* a triple fault was reported */
    Error *error;         /* of vcpu_init */
    pthread_cond_t wake, parked; /* with vm_lock: to and from a parked vCPU */
    List work;            /* of vcpu_run_on, under work_lock */
    pthread_mutex_t work_lock;
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

/* Creates m->nr_cpus vCPUs with their CpuStates (model applied, reset), threads parked. */
bool vcpus_create(Machine *m, const Engine *e, const Dict *opts, Error **errp) MUST_USE;
void vcpus_resume(Machine *m); /* vm_lock held */
/* Returns when every vCPU is out of its engine, state stored. vm_lock held (dropped to wait). A
 * vCPU thread must not call it: use machine_request_*. */
void vcpus_pause(Machine *m);
void vcpus_destroy(Machine *m); /* joins the threads */
/* Queues fn(cpu, arg) to run on that vCPU's thread between instructions, and kicks it. */
void vcpu_run_on(CpuState *cpu, void (*fn)(CpuState *cpu, void *arg), void *arg);
/* Engines, at a safepoint with CPU_REQ_RUN_ON: runs what is queued. Own thread. */
void vcpu_run_queue(CpuState *cpu);
/* Engine.load_state: somebody may have changed registers, paging included. */
void vcpu_load_state(Vcpu *v);
/* The vCPU whose thread this is; NULL in the main loop and workers. Devices with a per-CPU face
 * (LAPIC) use it. */
CpuState *cpu_current(void);

#endif
