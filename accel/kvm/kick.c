/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kick signal. A file of its own: <signal.h> has names that cpu/state.h uses for registers.
 */
#include "accel/kvm/kick.h"

#include <errno.h>
#include <signal.h>

static __thread uint8_t *volatile target;

static int kick_signal(void)
{
    return SIGRTMIN + 3;
}

static void on_kick(int sig)
{
    uint8_t *t = target;
    (void)sig;
    if (t) {
        __atomic_store_n(t, 1, __ATOMIC_SEQ_CST);
    }
}

bool kick_init(Error **errp)
{
    struct sigaction sa = { .sa_handler = on_kick, .sa_flags = SA_RESTART };
    sigfillset(&sa.sa_mask);
    return sigaction(kick_signal(), &sa, NULL) == 0 ||
           error_set_errno(errp, errno, "cannot set up the signal that stops vCPUs");
}

void kick_set_target(uint8_t *immediate_exit)
{
    target = immediate_exit;
}

void kick_thread(pthread_t thread)
{
    pthread_kill(thread, kick_signal());
}
