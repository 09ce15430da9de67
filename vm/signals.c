/* SPDX-License-Identifier: GPL-2.0-or-later
 * SIGTERM, SIGINT and SIGHUP end the guest cleanly: they are read from a descriptor in the main
 * loop, so no handler interrupts anything.
 */
#include "vm/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hw/core/machine.h"
#include "util/main_loop.h"

static int signal_fd = -1;
static FdWatch *watch;

static void end_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void signals_block(void)
{
    sigset_t set;
    end_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN); /* a peer that goes shows as a failed write */
    signal(SIGXFSZ, SIG_IGN); /* so does an image at the limit of ulimit -f */
}

static void on_signal(void *opaque, unsigned events)
{
    struct signalfd_siginfo info = { 0 };
    (void)events;
    if (read(signal_fd, &info, sizeof(info)) != sizeof(info)) {
        return;
    }
    info_report("terminating on signal %u from process %u", info.ssi_signo, info.ssi_pid);
    machine_request_shutdown(opaque, SHUTDOWN_SIGNAL, 0);
}

bool signals_listen(struct Machine *m, Error **errp)
{
    sigset_t set;
    end_signals(&set);
    signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0) {
        return error_set(errp, "cannot listen for signals");
    }
    watch = fd_watch_new(signal_fd, FD_READ, on_signal, m, "signals");
    return true;
}

void signals_close(void)
{
    fd_watch_free(watch);
    watch = NULL;
    close(signal_fd);
}
