/* SPDX-License-Identifier: GPL-2.0-or-later
 * `info exits` and `info kvm`. Exits that user space sees are counted here: by reason, with the time
 * until the guest went on, and by who answered at the port or address. Those that the kernel dealt
 * with by itself ("light") come from its own statistics (api.rst 4.133), where it has them.
 */
#include "accel/kvm/exits.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory/region.h"
#include "util/alloc.h"
#include "util/timer.h"

enum { PLACES = 256, NAME_LEN = 32 };

typedef struct Place {
    bool used, port;
    const Region *region; /* only compared: it may have gone */
    uint64_t start, reads, writes, ns;
    char name[NAME_LEN];
} Place;

typedef struct KvmExits {
    uint64_t count[EXIT_REASONS], ns[EXIT_REASONS];
    uint64_t guest_ns;
    uint64_t rescued[NR_RESCUES];
    uint64_t before;    /* the kernel's count, of vCPUs in the kernel that have gone */
    bool told;          /* it has one */
    Place place[PLACES];
    Place *last;        /* of the exit being handled */
    uint64_t no_room;
} KvmExits;

const char *kvm_exit_name(unsigned reason)
{
    static const char *const names[EXIT_REASONS] = {
        [0] = "unknown", [1] = "exception", [2] = "port", [3] = "hypercall", [4] = "debug",
        [5] = "hlt", [6] = "mmio", [7] = "irq-window", [8] = "shutdown", [9] = "fail-entry",
        [10] = "kick", [11] = "set-tpr", [12] = "tpr-access", [16] = "nmi",
        [17] = "internal-error", [24] = "system-event", [26] = "ioapic-eoi", [27] = "hyperv",
        [29] = "rdmsr", [30] = "wrmsr", [31] = "dirty-ring-full", [33] = "bus-lock",
        [37] = "notify", [39] = "memory-fault", [EXIT_EFAULT] = "efault", [EXIT_ERROR] = "error",
    };
    const char *name = reason < EXIT_REASONS ? names[reason] : NULL;
    return name ? name : "other";
}

/* ---- counting ---- */

void kvm_exits_attach(KvmVcpu *k)
{
    KvmExits **x = &k->vm->exits[k->v->cpu.index];
    *x = *x ? *x : xcalloc(1, sizeof(**x));
    k->exits = *x;
}

void kvm_exits_free(KvmVm *vm)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vm->exits); i++) {
        free(vm->exits[i]);
        vm->exits[i] = NULL;
    }
}

void kvm_exits_count(KvmVcpu *k, unsigned reason, uint64_t entered, uint64_t back, uint64_t done)
{
    KvmExits *x = k->exits;
    reason = MIN(reason, (unsigned)EXIT_ERROR);
    x->count[reason]++;
    x->ns[reason] += done - back;
    x->guest_ns += back - entered;
    if (x->last) {
        x->last->ns += done - back;
        x->last = NULL;
    }
}

static Place *place_find(KvmExits *x, bool port, const FlatRange *fr, uint64_t addr)
{
    uint64_t start = fr ? fr->start : addr;
    const Region *r = fr ? fr->region : NULL;
    unsigned hash = (unsigned)((start ^ start >> 12 ^ start >> 24) * 2654435761u + port) % PLACES;
    for (unsigned n = 0; n < PLACES; n++) {
        Place *p = &x->place[(hash + n) % PLACES];
        if (p->used && p->port == port && p->start == start && p->region == r) {
            return p;
        }
        if (!p->used) {
            *p = (Place){ .used = true, .port = port, .region = r, .start = start };
            snprintf(p->name, sizeof(p->name), "%s", r && r->name ? r->name : "nobody");
            return p;
        }
    }
    x->no_room++;
    return NULL;
}

void kvm_exits_access(KvmVcpu *k, bool port, uint64_t addr, bool write, uint64_t count)
{
    AddressSpace *as = port ? &k->v->machine->io : &k->v->machine->memory;
    FlatView *v = address_space_view(as);
    Place *p = place_find(k->exits, port, flat_view_find(v, addr), addr);
    flat_view_unref(v);
    if (p) {
        *(write ? &p->writes : &p->reads) += count;
        k->exits->last = p;
    }
}

void kvm_exits_rescued(KvmVcpu *k, ExitRescue why)
{
    k->exits->rescued[why]++;
}

/* ---- the kernel's own count ---- */

/* The value of one statistic; false: the kernel has no such. */
static bool read_stat(int fd, const char *name, uint64_t *out)
{
    struct kvm_stats_header h;
    char buf[sizeof(struct kvm_stats_desc) + 256];
    struct kvm_stats_desc *d = (void *)buf;
    if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.name_size > 255) {
        return false;
    }
    size_t size = sizeof(*d) + h.name_size;
    for (unsigned i = 0; i < h.num_desc; i++) {
        if (pread(fd, buf, size, h.desc_offset + i * size) != (ssize_t)size) {
            return false;
        }
        if (!strncmp(d->name, name, h.name_size)) {
            return pread(fd, out, sizeof(*out), h.data_offset + d->offset) == sizeof(*out);
        }
    }
    return false;
}

static bool all_exits(const KvmVcpu *k, uint64_t *out)
{
    int fd = k->fd >= 0 && kvm_cap(k->vm, KVM_CAP_BINARY_STATS_FD)
                 ? kvm_ioctl(k->fd, KVM_GET_STATS_FD, NULL)
                 : -1;
    bool ok = fd >= 0 && read_stat(fd, "exits", out);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

void kvm_exits_keep(KvmVcpu *k)
{
    uint64_t all;
    if (all_exits(k, &all)) {
        k->exits->before += all;
        k->exits->told = true;
    }
}

/* ---- info exits ---- */

typedef struct Out {
    void (*print)(void *opaque, const char *line);
    void *opaque;
} Out;

static void __attribute__((format(printf, 2, 3))) out(const Out *o, const char *fmt, ...)
{
    char line[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    o->print(o->opaque, line);
}

static double share(uint64_t part, uint64_t all)
{
    return all ? 100.0 * (double)part / (double)all : 0;
}

static double us_each(uint64_t ns, uint64_t n)
{
    return n ? (double)ns / 1000.0 / (double)n : 0;
}

static void print_reasons(const KvmExits *x, uint64_t heavy, const Out *o)
{
    out(o, "  %-16s %12s %7s %12s %9s", "reason", "count", "share", "ms", "us each");
    for (unsigned n = 0; n < EXIT_REASONS; n++) {
        unsigned best = EXIT_REASONS; /* the n-th by count: few have any */
        for (unsigned i = 0, rank; i < EXIT_REASONS; i++) {
            rank = 0;
            for (unsigned j = 0; j < EXIT_REASONS; j++) {
                rank += x->count[j] > x->count[i] || (j < i && x->count[j] == x->count[i]);
            }
            best = rank == n ? i : best;
        }
        if (best < EXIT_REASONS && x->count[best]) {
            out(o, "  %-16s %12llu %6.1f%% %12.1f %9.1f", kvm_exit_name(best),
                (unsigned long long)x->count[best], share(x->count[best], heavy),
                (double)x->ns[best] / 1e6, us_each(x->ns[best], x->count[best]));
        }
    }
}

static int by_accesses(const void *a, const void *b)
{
    const Place *p = *(Place *const *)a, *q = *(Place *const *)b;
    uint64_t x = p->reads + p->writes, y = q->reads + q->writes;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_places(KvmExits *x, const Out *o)
{
    Place *sorted[PLACES];
    unsigned nr = 0;
    uint64_t all = x->no_room;
    for (unsigned i = 0; i < PLACES; i++) {
        if (x->place[i].used) {
            sorted[nr++] = &x->place[i];
            all += x->place[i].reads + x->place[i].writes;
        }
    }
    if (!nr) {
        return;
    }
    qsort(sorted, nr, sizeof(sorted[0]), by_accesses);
    out(o, "  %-32s %-15s %11s %7s %11s %9s %11s", "port or memory", "at", "count", "share", "ms",
        "us each", "writes");
    for (unsigned i = 0; i < nr; i++) {
        const Place *p = sorted[i];
        char at[24];
        snprintf(at, sizeof(at), "%s 0x%llx", p->port ? "port" : "mem",
                 (unsigned long long)p->start);
        uint64_t count = p->reads + p->writes;
        out(o, "  %-32s %-15s %11llu %6.1f%% %11.1f %9.1f %11llu", p->name, at,
            (unsigned long long)count, share(count, all), (double)p->ns / 1e6, us_each(p->ns, count),
            (unsigned long long)p->writes);
    }
    if (x->no_room) {
        out(o, "  and %llu accesses elsewhere", (unsigned long long)x->no_room);
    }
}

static void print_vcpu(const KvmVcpu *k, const Out *o)
{
    KvmExits *x = k->exits;
    uint64_t heavy = 0, handled = 0, all = 0;
    for (unsigned i = 0; i < EXIT_REASONS; i++) {
        heavy += x->count[i];
        handled += x->ns[i];
    }
    out(o, "CPU #%u: %llu exits to user space, %.1f ms in KVM_RUN, %.1f ms handling them (%.1f%%)",
        k->v->cpu.index, (unsigned long long)heavy, (double)x->guest_ns / 1e6,
        (double)handled / 1e6, share(handled, handled + x->guest_ns));
    if (all_exits(k, &all) || x->told) {
        all += x->before;
        out(o, "  of %llu exits in all the kernel dealt with %llu by itself (light)",
            (unsigned long long)all, (unsigned long long)(all > heavy ? all - heavy : 0));
    } else {
        out(o, "  this kernel does not say how many it dealt with by itself (light)");
    }
    out(o, "  instructions left to the interpreter: %llu (%llu KVM could not emulate, %llu wrote to "
           "guarded pages)",
        (unsigned long long)(x->rescued[RESCUE_EMULATION] + x->rescued[RESCUE_GUARD]),
        (unsigned long long)x->rescued[RESCUE_EMULATION],
        (unsigned long long)x->rescued[RESCUE_GUARD]);
    print_reasons(x, heavy, o);
    print_places(x, o);
}

void kvm_exits_print(Machine *m, void (*print)(void *opaque, const char *line), void *opaque)
{
    Out o = { print, opaque };
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        if (m->vcpu[i]->engine->exits == kvm_exits_print) {
            print_vcpu(kvm_vcpu(m->vcpu[i]), &o);
        }
    }
}

/* ---- info kvm ---- */

void kvm_info_print(Machine *m, void (*print)(void *opaque, const char *line), void *opaque)
{
    static const char *const modes[] = { "off: all are devices of Vireo's",
                                         "split: the local APICs are the kernel's",
                                         "on: local APICs, IOAPIC, PICs and PIT are the kernel's" };
    static const struct {
        int cap;
        const char *what;
    } caps[] = {
        { KVM_CAP_READONLY_MEM, "read-only slots" },
        { KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "dirty log cleared by range" },
        { KVM_CAP_EXIT_ON_EMULATION_FAILURE, "exit on emulation failure" },
        { KVM_CAP_X86_USER_SPACE_MSR, "MSRs in user space" },
        { KVM_CAP_XSAVE2, "XSAVE2" },
        { KVM_CAP_IRQFD, "irqfd" },
        { KVM_CAP_IOEVENTFD, "ioeventfd" },
        { KVM_CAP_COALESCED_MMIO, "coalesced MMIO" },
        { KVM_CAP_COALESCED_PIO, "coalesced ports" },
        { KVM_CAP_TSC_CONTROL, "TSC scaling" },
        { KVM_CAP_NESTED_STATE, "nested state" },
        { KVM_CAP_BINARY_STATS_FD, "statistics" },
    };
    const KvmVm *vm = m->kvm;
    Out o = { print, opaque };
    if (!vm || vm->fd < 0) {
        out(&o, "mode: no VM in the kernel just now");
        return;
    }
    out(&o, "mode: %s", vm->mixed ? "mixed: other vCPUs run on a software engine"
                                  : "all vCPUs run on KVM");
    out(&o, "kernel-irqchip: %s", modes[vm->irqchip]);
    char line[180];
    size_t n = (size_t)snprintf(line, sizeof(line), "capabilities:");
    for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
        if (kvm_cap(vm, caps[i].cap) > 0) {
            if (n + strlen(caps[i].what) + 2 > 92) {
                out(&o, "%s", line);
                n = (size_t)snprintf(line, sizeof(line), " ");
            }
            n += (size_t)snprintf(line + n, sizeof(line) - n, " %s%s", caps[i].what,
                                  i + 1 < ARRAY_SIZE(caps) ? "," : "");
        }
    }
    while (n && line[n - 1] == ',') {
        line[--n] = 0;
    }
    out(&o, "%s", line);
}
