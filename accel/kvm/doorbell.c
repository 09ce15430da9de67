/* SPDX-License-Identifier: GPL-2.0-or-later
 * ioeventfds (api.rst 4.59) and coalesced MMIO and ports (4.116), as regions declare them
 * (memory/region.h).
 *
 * A coalesced write waits in the VM's ring until some vCPU leaves KVM_RUN, for whatever reason, or
 * somebody calls memory_sync_coalesced(). A vCPU's own next access that is not coalesced finds all
 * its writes done. A full ring makes the next write an ordinary exit.
 */
#include "accel/kvm/doorbell.h"

#include <string.h>

#include "util/alloc.h"
#include "util/log.h"
#include "util/vm_lock.h"

typedef struct Bell {
    bool pio, seen;
    uint64_t addr, value;
    unsigned size;
    bool match;
    int fd;
} Bell;

typedef struct Zone {
    bool pio, seen;
    uint64_t addr;
    uint32_t size;
} Zone;

struct KvmDoorbells {
    KvmVm *vm;
    MemoryListener memory, io;
    bool has_ioeventfd, has_pio_zones;
    unsigned ring_page; /* in the mapping of each vCPU; 0: no coalescing */
    bool draining;
    Bell *bell;
    Zone *zone;
    size_t nr_bells, nr_zones;
};

/* The hook has no argument: one machine of a process runs on KVM with coalesced regions. */
static KvmVm *drained_vm;

/* ---- ioeventfds ---- */

static int ring_bell(const KvmVm *vm, const Bell *b, unsigned flags)
{
    struct kvm_ioeventfd k = {
        .datamatch = b->value, .addr = b->addr, .len = b->size, .fd = b->fd,
        .flags = flags | (b->pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (b->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
    };
    return kvm_ioctl(vm->fd, KVM_IOEVENTFD, &k);
}

static bool same_bell(const Bell *a, const Bell *b)
{
    return a->pio == b->pio && a->addr == b->addr && a->size == b->size && a->match == b->match &&
           a->value == b->value && a->fd == b->fd;
}

typedef struct Wish {
    struct KvmDoorbells *d;
    bool pio;
} Wish;

/* One that the kernel refuses stays an exit, and the dispatcher signals. */
static void want_bell(void *opaque, uint64_t addr, const IoEventFd *e)
{
    const Wish *w = opaque;
    struct KvmDoorbells *d = w->d;
    Bell b = { .pio = w->pio, .seen = true, .addr = addr, .size = e->size, .match = e->match,
               .value = e->match ? e->value : 0, .fd = e->fd };
    for (size_t i = 0; i < d->nr_bells; i++) {
        if (same_bell(&d->bell[i], &b)) {
            d->bell[i].seen = true;
            return;
        }
    }
    if (ring_bell(d->vm, &b, 0) == 0) {
        d->bell = xrealloc(d->bell, (d->nr_bells + 1) * sizeof(Bell));
        d->bell[d->nr_bells++] = b;
    }
}

static void drop_bells(struct KvmDoorbells *d, bool pio)
{
    size_t nr = 0;
    for (size_t i = 0; i < d->nr_bells; i++) {
        if (d->bell[i].pio == pio && !d->bell[i].seen) {
            ring_bell(d->vm, &d->bell[i], KVM_IOEVENTFD_FLAG_DEASSIGN);
        } else {
            d->bell[nr++] = d->bell[i];
        }
    }
    d->nr_bells = nr;
}

/* The old ones that stay keep their place in the kernel; those that go, go after the new ones came,
 * unless both are at one address. */
static void update_bells(struct KvmDoorbells *d, AddressSpace *as)
{
    Wish w = { d, as->ports };
    for (size_t i = 0; i < d->nr_bells; i++) {
        d->bell[i].seen &= d->bell[i].pio != w.pio;
    }
    address_space_each_ioeventfd(as, want_bell, &w);
    size_t before = d->nr_bells;
    drop_bells(d, w.pio);
    if (d->nr_bells < before) { /* what the kernel refused beside an old one */
        address_space_each_ioeventfd(as, want_bell, &w);
    }
}

/* ---- coalesced ranges ---- */

static int set_zone(const KvmVm *vm, const Zone *z, unsigned long request)
{
    struct kvm_coalesced_mmio_zone k = { .addr = z->addr, .size = z->size, .pio = z->pio };
    return kvm_ioctl(vm->fd, request, &k);
}

static void want_zone(struct KvmDoorbells *d, bool pio, const FlatRange *fr)
{
    Zone z = { .pio = pio, .seen = true, .addr = fr->start, .size = (uint32_t)fr->size };
    for (size_t i = 0; i < d->nr_zones; i++) {
        Zone *have = &d->zone[i];
        if (have->pio == pio && have->addr == z.addr && have->size == z.size) {
            have->seen = true;
            return;
        }
    }
    if (set_zone(d->vm, &z, KVM_REGISTER_COALESCED_MMIO) == 0) {
        d->zone = xrealloc(d->zone, (d->nr_zones + 1) * sizeof(Zone));
        d->zone[d->nr_zones++] = z;
    }
}

static void update_zones(struct KvmDoorbells *d, AddressSpace *as)
{
    bool pio = as->ports;
    if (!d->ring_page || (pio && !d->has_pio_zones)) {
        return;
    }
    for (size_t i = 0; i < d->nr_zones; i++) {
        d->zone[i].seen &= d->zone[i].pio != pio;
    }
    for (size_t i = 0; i < as->view->nr; i++) {
        const FlatRange *fr = &as->view->range[i];
        if (!fr->host && !fr->readonly && fr->region->coalesced) {
            want_zone(d, pio, fr);
        }
    }
    size_t nr = 0;
    for (size_t i = 0; i < d->nr_zones; i++) {
        if (d->zone[i].pio == pio && !d->zone[i].seen) {
            set_zone(d->vm, &d->zone[i], KVM_UNREGISTER_COALESCED_MMIO);
        } else {
            d->zone[nr++] = d->zone[i];
        }
    }
    d->nr_zones = nr;
}

static void drain_locked(struct KvmDoorbells *d, struct kvm_coalesced_mmio_ring *ring)
{
    Machine *m = d->vm->machine;
    if (d->draining) {
        return; /* a device's callback asks in the middle of it */
    }
    d->draining = true;
    for (;;) {
        uint32_t first = ring->first;
        if (first == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
            break;
        }
        const struct kvm_coalesced_mmio *e = &ring->coalesced_mmio[first];
        uint64_t addr = e->phys_addr, val = 0;
        unsigned len = MIN(e->len, 8u);
        bool pio = e->pio;
        memcpy(&val, e->data, len);
        __atomic_store_n(&ring->first, (first + 1) % KVM_COALESCED_MMIO_MAX, __ATOMIC_RELEASE);
        address_space_store(pio ? &m->io : &m->memory, addr, val, len);
    }
    d->draining = false;
}

static struct kvm_coalesced_mmio_ring *ring_of(const KvmVcpu *k)
{
    const struct KvmDoorbells *d = k->vm->doorbells;
    return d && d->ring_page && k->run
               ? (void *)((char *)k->run + (size_t)d->ring_page * PAGE_SIZE)
               : NULL;
}

void kvm_coalesced_drain(const KvmVcpu *k)
{
    struct kvm_coalesced_mmio_ring *ring = ring_of(k);
    if (!ring || __atomic_load_n(&ring->first, __ATOMIC_RELAXED) ==
                     __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
        return;
    }
    bool taken = vm_lock_enter();
    drain_locked(k->vm->doorbells, ring);
    vm_lock_leave(taken);
}

static void drain_hook(void)
{
    const struct Machine *m = drained_vm ? drained_vm->machine : NULL;
    for (unsigned i = 0; m && m->vcpu && i < m->nr_cpus; i++) {
        const Vcpu *v = m->vcpu[i];
        if (v && v->engine->own_memory && kvm_vcpu(v) && kvm_vcpu(v)->run) {
            kvm_coalesced_drain(kvm_vcpu(v)); /* all see the one ring of the VM */
            return;
        }
    }
}

/* ---- life ---- */

static void update(struct KvmDoorbells *d, AddressSpace *as)
{
    if (!d->vm->ready) {
        return;
    }
    if (d->has_ioeventfd) {
        update_bells(d, as);
    }
    update_zones(d, as);
}

static void memory_properties(MemoryListener *l, AddressSpace *as)
{
    update(container_of(l, struct KvmDoorbells, memory), as);
}

static void io_properties(MemoryListener *l, AddressSpace *as)
{
    update(container_of(l, struct KvmDoorbells, io), as);
}

void kvm_doorbells_new(KvmVm *vm)
{
    struct KvmDoorbells *d = xcalloc(1, sizeof(*d));
    d->vm = vm;
    d->memory.properties = memory_properties;
    d->io.properties = io_properties;
    vm->doorbells = d;
    memory_listener_add(&vm->machine->memory, &d->memory);
    memory_listener_add(&vm->machine->io, &d->io);
}

void kvm_doorbells_fill(KvmVm *vm)
{
    struct KvmDoorbells *d = vm->doorbells;
    int page = kvm_cap(vm, KVM_CAP_COALESCED_MMIO);
    bool mapped = page > 0 && (size_t)(page + 1) * PAGE_SIZE <= vm->run_size;
    d->has_ioeventfd = kvm_cap(vm, KVM_CAP_IOEVENTFD) > 0;
    d->has_pio_zones = kvm_cap(vm, KVM_CAP_COALESCED_PIO) > 0;
    d->ring_page = mapped ? (unsigned)page : 0;
    drained_vm = vm;
    memory_coalesced_hook = drain_hook;
    update(d, &vm->machine->memory);
    update(d, &vm->machine->io);
}

void kvm_doorbells_clear(KvmVm *vm)
{
    vm->doorbells->nr_bells = vm->doorbells->nr_zones = 0; /* they go with the VM */
}

void kvm_doorbells_free(KvmVm *vm)
{
    struct KvmDoorbells *d = vm->doorbells;
    if (drained_vm == vm) {
        drained_vm = NULL;
        memory_coalesced_hook = NULL;
    }
    memory_listener_del(&d->memory);
    memory_listener_del(&d->io);
    free(d->bell);
    free(d->zone);
    free(d);
    vm->doorbells = NULL;
}
