/* SPDX-License-Identifier: GPL-2.0-or-later
 * Eventfds whose events are interrupts. A stand-in that can listens to them itself; otherwise the
 * main loop reads them and does what a device would do: write the message, or drive the pin.
 *
 * An event that comes while neither listens stays in the eventfd and counts as soon as one does.
 *
 * Our controllers report which vector was ended, not which pin. So every pin with a resample fd is
 * taken down at any end of a level-triggered interrupt; who still has work raises it again.
 */
#include "hw/core/irqfd.h"

#include <unistd.h>

#include "hw/core/machine.h"
#include "util/main_loop.h"

static void write_message(IrqFd *f)
{
    address_space_store(&f->machine->memory, f->addr, f->data, 4);
}

static void fd_event(void *opaque, unsigned events)
{
    IrqFd *f = opaque;
    uint64_t count;
    (void)events;
    if (read(f->fd, &count, sizeof(count)) != sizeof(count)) {
        return;
    }
    if (f->is_msi) {
        write_message(f);
    } else if (f->resample_fd >= 0) {
        f->level = true;
        f->set_level(f->opaque, true);
    } else {
        f->set_level(f->opaque, true);
        f->set_level(f->opaque, false);
    }
}

static void leave(IrqFd *f)
{
    const IrqchipOps *ops = f->machine->irqchip.ops;
    if (f->standing_in) {
        ops->irqfd_del(f->machine, f);
        f->standing_in = false;
    }
    fd_watch_free(f->watch);
    f->watch = NULL;
}

/* A message for nobody (MSI masked or not set up): its events wait. */
static bool is_ready(const IrqFd *f)
{
    return !f->is_msi || f->addr;
}

static void move(IrqFd *f)
{
    const IrqchipOps *ops = f->machine->irqchip.ops;
    leave(f);
    if (!is_ready(f)) {
        return;
    }
    if (f->level) { /* a pin that the main loop raised: its EOI is the next one's to see */
        f->level = false;
        f->set_level(f->opaque, false);
        uint64_t one = 1;
        ssize_t ignored = write(f->fd, &one, sizeof(one));
        (void)ignored;
    }
    f->standing_in = ops && ops->irqfd_add && ops->irqfd_add(f->machine, f);
    if (!f->standing_in) {
        f->watch = fd_watch_new(f->fd, FD_READ, fd_event, f, "irqfd");
    }
}

void irqfds_leave(struct Machine *m)
{
    list_for_each(pos, &m->irqchip.irqfds) {
        leave(container_of(pos, IrqFd, node));
    }
}

void irqfds_move(struct Machine *m)
{
    list_for_each(pos, &m->irqchip.irqfds) {
        move(container_of(pos, IrqFd, node));
    }
}

void irqfds_resample(struct Machine *m)
{
    list_for_each(pos, &m->irqchip.irqfds) {
        IrqFd *f = container_of(pos, IrqFd, node);
        if (f->level) {
            f->level = false;
            f->set_level(f->opaque, false);
            uint64_t one = 1;
            ssize_t ignored = write(f->resample_fd, &one, sizeof(one)); /* full: it is signalled */
            (void)ignored;
        }
    }
}

/* ---- life ---- */

static void init(IrqFd *f)
{
    list_insert(&f->machine->irqchip.irqfds, &f->node);
    move(f);
}

void irqfd_init_msi(IrqFd *f, struct Machine *m, int fd, uint64_t addr, uint32_t data)
{
    *f = (IrqFd){ .fd = fd, .resample_fd = -1, .is_msi = true, .addr = addr, .data = data,
                  .machine = m };
    init(f);
}

void irqfd_init_pin(IrqFd *f, struct Machine *m, int fd, int resample_fd, unsigned gsi,
                    void (*set_level)(void *opaque, bool level), void *opaque)
{
    *f = (IrqFd){ .fd = fd, .resample_fd = resample_fd, .gsi = gsi, .machine = m,
                  .set_level = set_level, .opaque = opaque };
    init(f);
}

void irqfd_set_message(IrqFd *f, uint64_t addr, uint32_t data)
{
    f->addr = addr;
    f->data = data;
    move(f);
}

void irqfd_fini(IrqFd *f)
{
    leave(f);
    if (f->level) {
        f->set_level(f->opaque, false);
    }
    list_remove(&f->node);
}
