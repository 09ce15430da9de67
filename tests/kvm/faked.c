/* SPDX-License-Identifier: GPL-2.0-or-later
 * Preloaded into the emulator by test_faked.py: a kernel that refuses calls of KVM, and leaves guest
 * code for reasons of its own.
 *
 * for: test_faked.py
 *
 *   FAKED_CALL=12:KVM_CREATE_VCPU   that call fails with errno 12
 *   FAKED_FILE=PATH                 the same, for as long as the file says so
 *   FAKED_EXIT=5:17:1               KVM_RUN's fifth entry ends with exit reason 17, 1 behind it
 *   FAKED_ERROR=5:12                and so it fails with errno 12
 *
 * An entry that only ends the last instruction (immediate_exit) is not counted; before an exit is
 * faked the last instruction is ended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { MOST_FDS = 1024 };

static struct kvm_run *run_of[MOST_FDS]; /* by the vCPU's fd */
static char is_vcpu[MOST_FDS];
static unsigned entries;

void *mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real) {
        real = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
    }
    void *at = real(addr, size, prot, flags, fd, offset);
    if (at != MAP_FAILED && fd >= 0 && fd < MOST_FDS && is_vcpu[fd] && offset == 0) {
        run_of[fd] = at;
    }
    return at;
}

void *mmap64(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
    __attribute__((alias("mmap")));

static int refused(unsigned long request)
{
    if (request == KVM_RUN) {
        return 0;
    }
    static const struct {
        const char *name;
        unsigned long request;
    } calls[] = {
        { "KVM_CREATE_VM", KVM_CREATE_VM },
        { "KVM_CREATE_VCPU", KVM_CREATE_VCPU },
        { "KVM_CREATE_IRQCHIP", KVM_CREATE_IRQCHIP },
        { "KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION },
        { "KVM_SET_CPUID2", KVM_SET_CPUID2 },
    };
    const char *what = getenv("FAKED_CALL");
    char line[80] = "";
    FILE *f = what || !getenv("FAKED_FILE") ? NULL : fopen(getenv("FAKED_FILE"), "r");
    if (f) {
        what = fgets(line, sizeof(line), f);
        fclose(f);
    }
    const char *name = what ? strchr(what, ':') : NULL;
    for (unsigned i = 0; name && i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (calls[i].request == request && !strcmp(name + 1, calls[i].name)) {
            return atoi(what);
        }
    }
    return 0;
}

/* Is this entry to be faked? Then *result is KVM_RUN's. */
static int faked(int fd, int (*real)(int, unsigned long, ...), int *result)
{
    unsigned at = 0, reason = 0, more = 0, error = 0;
    const char *exits = getenv("FAKED_EXIT"), *fails = getenv("FAKED_ERROR");
    struct kvm_run *run = fd < MOST_FDS ? run_of[fd] : NULL;
    if (!run || run->immediate_exit ||
        !((exits && sscanf(exits, "%u:%u:%u", &at, &reason, &more) == 3) ||
          (fails && sscanf(fails, "%u:%u", &at, &error) == 2)) ||
        __atomic_add_fetch(&entries, 1, __ATOMIC_SEQ_CST) != at) {
        return 0;
    }
    run->immediate_exit = 1;
    *result = real(fd, KVM_RUN, NULL);
    if (*result < 0 && errno == EINTR) { /* else the instruction goes on: one later then */
        run->exit_reason = reason;
        memset(&run->internal, 0, sizeof(run->internal));
        run->internal.suberror = more;
        *result = error ? -1 : 0;
        errno = (int)error;
    } else {
        __atomic_sub_fetch(&entries, 1, __ATOMIC_SEQ_CST);
    }
    run->immediate_exit = 0;
    return 1;
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    if (!real) {
        real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    }
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    int result, error = refused(request);
    if (error) {
        errno = error;
        return -1;
    }
    if (request == KVM_RUN && faked(fd, real, &result)) {
        return result;
    }
    result = real(fd, request, arg);
    if (request == KVM_CREATE_VCPU && result >= 0 && result < MOST_FDS) {
        is_vcpu[result] = 1;
    }
    return result;
}
