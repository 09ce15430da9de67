/* SPDX-License-Identifier: GPL-2.0-or-later
 * Where interrupts go in the kernel: the GSI routing table (api.rst 4.52), messages, and eventfds
 * that interrupt (4.75).
 *
 *   kernel-irqchip=on      GSI 0 to 23 as a PC's: 8259 pin n and I/O APIC pin n, GSI 0 at pin 2
 *   kernel-irqchip=split   GSI 0 to 23 are our I/O APIC's pins, as the messages they send: the
 *                          kernel looks there which vectors' EOIs we want to hear of
 *   24 and on              messages of eventfds
 */
#include <string.h>

#include "accel/kvm/irqchip.h"
#include "hw/core/machine.h"
#include "util/alloc.h"
#include "util/log.h"

enum { TIMER_GSI = 0, CASCADE_GSI = 2, TIMER_PIN = 2, NR_ISA_GSI = 16 };

/* ---- the table ---- */

typedef struct Table {
    struct kvm_irq_routing head;
    struct kvm_irq_routing_entry entry[KVM_NR_ROUTES + NR_ISA_GSI];
} Table;

static struct kvm_irq_routing_entry *add(Table *t, unsigned gsi, unsigned type)
{
    struct kvm_irq_routing_entry *e = &t->entry[t->head.nr++];
    e->gsi = gsi;
    e->type = type;
    return e;
}

static void add_pin(Table *t, unsigned gsi, unsigned chip, unsigned pin)
{
    struct kvm_irq_routing_entry *e = add(t, gsi, KVM_IRQ_ROUTING_IRQCHIP);
    e->u.irqchip.irqchip = chip;
    e->u.irqchip.pin = pin;
}

static void add_pins(Table *t)
{
    for (unsigned gsi = 0; gsi < KVM_NR_PINS; gsi++) {
        if (gsi == CASCADE_GSI) {
            continue;
        }
        if (gsi < NR_ISA_GSI) {
            add_pin(t, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
        }
        add_pin(t, gsi, KVM_IRQCHIP_IOAPIC, gsi == TIMER_GSI ? TIMER_PIN : gsi);
    }
}

static void add_messages(Table *t, const struct KvmRoutes *r)
{
    for (unsigned gsi = 0; gsi < KVM_NR_ROUTES; gsi++) {
        if (r->msi[gsi].used) {
            struct kvm_irq_routing_entry *e = add(t, gsi, KVM_IRQ_ROUTING_MSI);
            e->u.msi.address_lo = (uint32_t)r->msi[gsi].addr;
            e->u.msi.address_hi = (uint32_t)(r->msi[gsi].addr >> 32);
            e->u.msi.data = r->msi[gsi].data;
        }
    }
}

void kvm_routes_send(KvmVm *vm)
{
    struct KvmRoutes *r = vm->routes;
    if (!r || !r->changed) {
        return;
    }
    Table *t = xcalloc(1, sizeof(*t));
    if (vm->irqchip == KVM_IRQCHIP_ON) {
        add_pins(t);
    }
    add_messages(t, r);
    int ret = kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, t);
    if (ret < 0) {
        warn_report("KVM: KVM_SET_GSI_ROUTING failed: %s", strerror(-ret));
    }
    free(t);
    r->changed = false;
}

static void set_message(KvmVm *vm, unsigned gsi, bool used, uint64_t addr, uint32_t data)
{
    KvmMsiRoute *route = &vm->routes->msi[gsi];
    if (route->used == used && (!used || (route->addr == addr && route->data == data))) {
        return;
    }
    *route = (KvmMsiRoute){ used, addr, data };
    vm->routes->changed = true;
    if (vm->handed_over) { /* else all at once, when they are */
        kvm_routes_send(vm);
    }
}

void kvm_routes_pin(struct Machine *m, unsigned pin, uint64_t addr, uint32_t data)
{
    set_message(m->kvm, pin, addr != 0, addr, data);
}

void kvm_routes_msi(struct Machine *m, uint64_t addr, uint32_t data)
{
    struct kvm_msi msi = { .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32),
                           .data = data };
    kvm_ioctl(m->kvm->fd, KVM_SIGNAL_MSI, &msi); /* 0 and errors: nobody took it, as on a real bus */
}

/* ---- eventfds ---- */

static int irqfd(const KvmVm *vm, const IrqFd *f, unsigned gsi, unsigned flags)
{
    struct kvm_irqfd k = { .fd = (uint32_t)f->fd, .gsi = gsi, .flags = flags };
    if (f->resample_fd >= 0 && !(flags & KVM_IRQFD_FLAG_DEASSIGN)) {
        k.resamplefd = (uint32_t)f->resample_fd;
        k.flags |= KVM_IRQFD_FLAG_RESAMPLE;
    }
    return kvm_ioctl(vm->fd, KVM_IRQFD, &k);
}

static int free_gsi(const struct KvmRoutes *r)
{
    for (int gsi = KVM_NR_PINS; gsi < KVM_NR_ROUTES; gsi++) {
        if (!r->msi[gsi].used) {
            return gsi;
        }
    }
    return -1;
}

bool kvm_irqfd_add(struct Machine *m, IrqFd *f)
{
    KvmVm *vm = m->kvm;
    if (!f->is_msi) {
        f->route = (int)f->gsi;
        return vm->irqchip == KVM_IRQCHIP_ON && irqfd(vm, f, f->gsi, 0) == 0;
    }
    f->route = free_gsi(vm->routes);
    if (f->route < 0) {
        return false;
    }
    set_message(vm, (unsigned)f->route, true, f->addr, f->data);
    kvm_routes_send(vm);
    if (irqfd(vm, f, (unsigned)f->route, 0) == 0) {
        return true;
    }
    set_message(vm, (unsigned)f->route, false, 0, 0);
    return false;
}

void kvm_irqfd_del(struct Machine *m, IrqFd *f)
{
    KvmVm *vm = m->kvm;
    irqfd(vm, f, (unsigned)f->route, KVM_IRQFD_FLAG_DEASSIGN);
    if (f->is_msi) {
        set_message(vm, (unsigned)f->route, false, 0, 0);
    }
}
