/* SPDX-License-Identifier: GPL-2.0-or-later
 * The SIGSEGV handler. In a file of its own: <ucontext.h> and the guest's register names clash.
 */
#include "accel/jit/fault.h"

#include <signal.h>
#include <ucontext.h>

static struct sigaction before;
static bool (*find_fault)(const void *pc, const void *addr, FaultFix *fix);

static void on_segv(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    greg_t *regs = uc->uc_mcontext.gregs;
    FaultFix fix;
    if (find_fault((const void *)regs[REG_RIP], si->si_addr, &fix)) {
        regs[REG_RIP] = (greg_t)fix.rip;
        regs[REG_R10] = (greg_t)fix.r10;
        regs[REG_R11] = fix.r11;
        return;
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(sig, si, context);
    } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
        signal(sig, SIG_DFL); /* happens again, for real */
    } else {
        before.sa_handler(sig);
    }
}

void catch_faults(bool (*find)(const void *pc, const void *addr, FaultFix *fix))
{
    if (find_fault) {
        return;
    }
    find_fault = find;
    struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigemptyset(&sa.sa_mask);
    sigaction(SIGSEGV, &sa, &before);
}
