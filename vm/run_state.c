/* SPDX-License-Identifier: GPL-2.0-or-later
 * Run state, reset and the end.
 *
 * Whoever wants a reset or the end (a register, a triple fault, the monitor, a signal) leaves a
 * request; a bottom half carries it out in the main loop with all vCPUs parked.
 */
#include "vm/run_state.h"

#include "accel/accel.h"
#include "block/block.h"
#include "cpu/tsc.h"
#include "net/net.h"
#include "util/alloc.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

static struct {
    Machine *machine;
    RunState state;
    BottomHalf work;
    bool reset_wanted, shutdown_wanted, io_error_wanted, internal_error_wanted;
    ShutdownCause shutdown_cause;
    int exit_status;
} run;

RunState run_state(void)
{
    return run.state;
}

/* ---- start and stop ---- */

void vm_start(void)
{
    if (run.state == RUN_RUNNING || run.state == RUN_SHUTDOWN || run.state == RUN_INTERNAL_ERROR) {
        return; /* after these only a reset brings it back */
    }
    run.state = RUN_RUNNING;
    drives_retry();
    guest_clock_start();
    cpu_tsc_start(run.machine);
    net_set_running(true);
    vcpus_resume(run.machine);
}

void vm_stop(RunState why)
{
    if (run.state == RUN_RUNNING) {
        vcpus_pause(run.machine);
        guest_clock_stop();
        net_set_running(false);
        cpu_tsc_stop(run.machine);
        blk_drain(NULL);
    }
    run.state = why;
}

/* ---- requests ---- */

/* A vCPU that asked must not go on to the next instruction. */
static void park_caller(void)
{
    CpuState *cpu = cpu_current();
    if (cpu && cpu->vcpu) {
        cpu->vcpu->stop = true;
        cpu_request(cpu, CPU_REQ_STOP);
    }
}

void machine_request_reset(Machine *m, ResetCause cause)
{
    (void)cause;
    if (m->config.no_reboot) {
        machine_request_shutdown(m, SHUTDOWN_GUEST, 0);
        return;
    }
    run.reset_wanted = true;
    park_caller();
    bh_schedule(&run.work);
}

void machine_request_shutdown(Machine *m, ShutdownCause cause, int status)
{
    (void)m;
    if (!run.shutdown_wanted) {
        run.shutdown_wanted = true;
        run.shutdown_cause = cause;
        run.exit_status = status;
    }
    park_caller();
    bh_schedule(&run.work);
}

void machine_request_internal_error(Machine *m)
{
    (void)m;
    run.internal_error_wanted = true;
    park_caller();
    bh_schedule(&run.work);
}

static void power_on_reset(Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        cpu_reset(m->cpu[i], false);
    }
    machine_reset_devices(m);
}

static void do_reset(Machine *m)
{
    bool was_running = run.state == RUN_RUNNING;
    vcpus_pause(m);
    blk_drain(NULL); /* what the guest has written reaches the image, not a device reset already */
    power_on_reset(m);
    if (was_running) {
        vcpus_resume(m);
    } else if (run.state == RUN_SHUTDOWN || run.state == RUN_IO_ERROR ||
               run.state == RUN_INTERNAL_ERROR) {
        run.state = RUN_PAUSED;
    }
}

/* werror=, rerror=: the request waits in the drive for cont. */
static void drive_failed(Drive *d, BlkOp op, int error)
{
    static const char *const what[] = { [BLK_READ] = "reading", [BLK_WRITE] = "writing",
                                        [BLK_FLUSH] = "flushing", [BLK_DISCARD] = "discarding",
                                        [BLK_WRITE_ZEROES] = "writing zeroes" };
    warn_report("drive '%s': %s failed (%s): %s; the guest is paused: put that right, then give "
                "'cont' in the monitor",
                drive_id(d), what[op], drive_store(d), strerror(error));
    run.io_error_wanted = true;
    bh_schedule(&run.work);
}

static bool shutdown_ends_process(const Machine *m)
{
    return !m->config.no_shutdown || run.shutdown_cause != SHUTDOWN_GUEST;
}

static void do_requests(void *opaque)
{
    Machine *m = opaque;
    if (run.io_error_wanted) {
        run.io_error_wanted = false;
        if (run.state == RUN_RUNNING || run.state == RUN_PAUSED) {
            vm_stop(RUN_IO_ERROR);
        }
    }
    if (run.internal_error_wanted) {
        run.internal_error_wanted = false;
        vm_stop(RUN_INTERNAL_ERROR);
    }
    if (run.shutdown_wanted) {
        run.shutdown_wanted = run.reset_wanted = false;
        if (shutdown_ends_process(m)) {
            main_loop_quit(run.exit_status);
        } else {
            vm_stop(RUN_SHUTDOWN);
        }
    } else if (run.reset_wanted) {
        run.reset_wanted = false;
        do_reset(m);
    }
}

/* ---- the monitor's side ---- */

static void ops_stop(Machine *m)
{
    (void)m;
    if (run.state == RUN_RUNNING) {
        vm_stop(RUN_PAUSED);
    }
}

static bool ops_cont(Machine *m, Error **errp)
{
    (void)m;
    if (run.state == RUN_INTERNAL_ERROR || run.state == RUN_SHUTDOWN) {
        return error_set(errp, "the guest %s: give system_reset, then cont",
                         run.state == RUN_SHUTDOWN ? "has powered off"
                                                   : "was stopped by an internal error");
    }
    vm_start();
    return true;
}

static const char *ops_status(const Machine *m)
{
    static const char *const words[] = { [RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running",
                                         [RUN_PAUSED] = "paused", [RUN_SHUTDOWN] = "shutdown",
                                         [RUN_IO_ERROR] = "io-error",
                                         [RUN_INTERNAL_ERROR] = "internal-error" };
    (void)m;
    return words[run.state];
}

static const RunOps run_ops = { ops_stop, ops_cont, ops_status };

void run_state_init(Machine *m)
{
    run.machine = m;
    run.state = RUN_PRELAUNCH;
    net_set_running(false);
    bh_init(&run.work, do_requests, m);
    drives_stop_hook = drive_failed;
    m->run_ops = &run_ops;
}

void run_state_power_on(void)
{
    power_on_reset(run.machine);
}
