/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kick signal. A file of its own: <signal.h> has names that cpu/state.h uses for registers.
 */
#include "accel/kvm/kick.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

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

/* The signal stays blocked but for the time in KVM_RUN (api.rst 4.17), so its handler never runs. */
int kick_run_nothing(int vcpu_fd)
{
    union {
        struct kvm_signal_mask head;
        uint8_t bytes[sizeof(struct kvm_signal_mask) + sizeof(uint64_t)];
    } mask = { .head.len = sizeof(uint64_t) };
    uint64_t all_but_kick = ~(1ull << (kick_signal() - 1));
    memcpy(mask.bytes + sizeof(mask.head), &all_but_kick, sizeof(all_but_kick));
    struct timespec now = { 0 };
    sigset_t kick, before;
    sigemptyset(&kick);
    sigaddset(&kick, kick_signal());
    pthread_sigmask(SIG_BLOCK, &kick, &before);
    pthread_kill(pthread_self(), kick_signal());
    int r = ioctl(vcpu_fd, KVM_SET_SIGNAL_MASK, &mask);
    r = r < 0 ? r : ioctl(vcpu_fd, KVM_RUN, NULL);
    r = r < 0 ? -errno : 0;
    ioctl(vcpu_fd, KVM_SET_SIGNAL_MASK, NULL);
    while (sigtimedwait(&kick, NULL, &now) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}
