/* SPDX-License-Identifier: GPL-2.0-or-later
 * Stand-ins for a PC's interrupt controllers. An engine may have local APICs, I/O APIC, 8259s and
 * 8254 of its own, faster ones than our devices; while it runs the guest, they stand in for ours:
 *
 *             our devices work          stand-in works             our devices work
 *   ------------------------------|--------------------------|---------------------------
 *                       irqchip_hand_over()          irqchip_take_back()
 *
 * While one stands in, a device of ours makes no interrupts, arms no timers, and only notes the
 * levels of its pins; its registers are out of date until irqchip_sync(). Both moments need every
 * vCPU out of guest code, so that nobody can be asked to interrupt in between. A paused machine has
 * no stand-in: reset, snapshots and the monitor then find all state in the devices.
 *
 * The structs below are what passes between the two, in the words of the data sheets. vm_lock held
 * throughout.
 */
#ifndef HW_CORE_IRQCHIP_H
#define HW_CORE_IRQCHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "util/container.h"

struct CpuState;
struct Device;
struct FdWatch;
struct Machine;

/* What can be stood in for. PORT61: the speaker's gate and data bits at port 61h. */
enum {
    IRQCHIP_LAPIC = 1 << 0, IRQCHIP_IOAPIC = 1 << 1, IRQCHIP_PIC = 1 << 2, IRQCHIP_PIT = 1 << 3,
    IRQCHIP_PORT61 = 1 << 4,
};

/* ---- state ---- */

/* SDM 3A table 11-1: registers by number (MMIO offset / 16). CURRENT (39h) is the count now. In
 * x2APIC mode ID has 32 bits and the ICR's high half is register 31h. */
typedef struct LapicState {
    uint64_t base;     /* IA32_APIC_BASE */
    uint64_t deadline; /* IA32_TSC_DEADLINE; 0: not armed */
    uint32_t reg[64];
    bool level0;       /* LINT0's pin */
} LapicState;

typedef struct IoapicState {
    uint8_t id, select;
    uint64_t redir[24];
    uint32_t inputs; /* levels, by GSI: input 0 arrives at pin 2 */
    uint32_t irr;    /* by pin: asserted, and not an edge that has been sent */
} IoapicState;

typedef struct PicChipState {
    uint8_t irr, isr, imr, lines, elcr;
    uint8_t vector_base; /* ICW2 */
    uint8_t expect;      /* which ICW is next, 2 to 4; 0: OCW1 */
    uint8_t lowest;      /* IR of the lowest priority */
    bool icw4_follows, auto_eoi, nested /* special fully nested */;
    bool rotate_on_aeoi, special_mask, poll, read_isr;
} PicChipState;

typedef struct PicState {
    PicChipState chip[2]; /* master, slave */
} PicState;

typedef struct PitCounterState {
    uint8_t mode, rw, lsb, status;
    bool bcd, gate, running, second_byte, read_msb, count_latched, status_latched;
    uint16_t latch;
    uint32_t count;    /* 1 to 65536 */
    uint64_t elapsed;  /* ticks since the load */
    bool unchanged;    /* to the device: not loaded anew since it was handed over */
} PitCounterState;

typedef struct PitState {
    PitCounterState counter[3];
    bool replaced;        /* by the HPET: no IRQ 0 */
    uint64_t next_irq_ns; /* from now to counter 0's next rising edge; UINT64_MAX: none */
} PitState;

typedef struct Port61State {
    bool gate, data;
} Port61State;

/* ---- our devices ---- */

/* A controller that can be stood in for; embedded in its device. */
typedef struct IrqchipPart {
    unsigned kind; /* one IRQCHIP_ bit */
    struct CpuState *cpu; /* LAPIC: whose */
    void *opaque;
    void (*prepare)(void *opaque);               /* what is due by now happens; may be NULL */
    void (*save)(void *opaque, void *state);     /* LapicState, ... of its kind */
    void (*load)(void *opaque, const void *state);
    void (*wake)(void *opaque); /* after take_back: timers and outputs from the state */
    List node;
} IrqchipPart;

void irqchip_part_add(struct Machine *m, IrqchipPart *part);
void irqchip_part_del(IrqchipPart *part);
/* Does a stand-in do the work of this part just now? */
bool irqchip_stands_in(const struct Machine *m, unsigned kind);
/* Before somebody looks at devices of a running machine: their registers as they are now. Not those
 * of local APICs, for which the vCPUs have to be held. */
void irqchip_sync(struct Machine *m);

/* ---- the stand-in ---- */

typedef struct IrqFd IrqFd;

typedef struct IrqchipOps {
    const char *name;
    unsigned kinds; /* what it stands in for */
    /* A state from, and to, a part of these kinds. But for LAPICs, read may
     * be called while vCPUs run. */
    void (*read)(struct Machine *m, const IrqchipPart *part, void *state);
    void (*write)(struct Machine *m, const IrqchipPart *part, const void *state);
    void (*set_gsi)(struct Machine *m, unsigned gsi, bool level);         /* IOAPIC or PIC */
    void (*msi)(struct Machine *m, uint64_t addr, uint32_t data);         /* LAPIC */
    void (*lint)(struct CpuState *cpu, unsigned n);                       /* LAPIC: LINTn rises */
    /* LAPIC without IOAPIC: pin n of ours sends this message from now on. */
    void (*route)(struct Machine *m, unsigned pin, uint64_t addr, uint32_t data);
    void (*pit_replaced)(struct Machine *m, bool on);                     /* PIT */
    /* Lets events of f->fd interrupt without our help; false: it cannot. NULL: never. */
    bool (*irqfd_add)(struct Machine *m, IrqFd *f);
    void (*irqfd_del)(struct Machine *m, IrqFd *f);
} IrqchipOps;

void irqchip_hand_over(struct Machine *m, const IrqchipOps *ops);
void irqchip_take_back(struct Machine *m);

/* A machine's. */
typedef struct Irqchip {
    const IrqchipOps *ops; /* of the stand-in; NULL: our devices work */
    List parts;            /* in order of realize */
    List eoi_listeners;
    List irqfds;
} Irqchip;
void irqchip_init(Irqchip *c);

/* Told of each EOI of a level-triggered vector. The I/O APICs embed one. */
typedef struct EoiListener {
    void (*eoi)(void *opaque, unsigned vector);
    void *opaque;
    List node;
} EoiListener;
void irqchip_add_eoi_listener(struct Machine *m, EoiListener *l);
/* A local APIC, ours or a stand-in's, broadcasts an EOI. */
void irqchip_eoi(struct Machine *m, unsigned vector);
/* An 8259 of ours ended a level-triggered interrupt. */
void irqchip_pic_eoi(struct Machine *m);

/* ---- eventfds that interrupt ---- */

/* An eventfd whose events are interrupts, for back ends outside the process's own threads (vhost,
 * worker processes). Embedded in a device, borrows its fds.
 * With a resample fd the pin is level-triggered: an event raises it, the guest's EOI lowers it and
 * signals the resample fd, and whoever still has work signals fd again. */
struct IrqFd {
    int fd, resample_fd; /* resample_fd -1: edges or messages */
    bool is_msi;
    unsigned gsi;        /* else */
    uint64_t addr;
    uint32_t data;
    struct Machine *machine;
    bool standing_in;    /* the stand-in listens to fd */
    int route;           /* the stand-in's own number for it */
    struct FdWatch *watch; /* else the main loop does */
    void (*set_level)(void *opaque, bool level); /* drives the pin; NULL for messages */
    void *opaque;
    bool level;
    List node;
};

void irqfd_init_msi(IrqFd *f, struct Machine *m, int fd, uint64_t addr, uint32_t data);
/* set_level drives the device's own line at gsi where the main loop listens. */
void irqfd_init_pin(IrqFd *f, struct Machine *m, int fd, int resample_fd, unsigned gsi,
                    void (*set_level)(void *opaque, bool level), void *opaque);
void irqfd_set_message(IrqFd *f, uint64_t addr, uint32_t data); /* the guest changed it */
void irqfd_fini(IrqFd *f);

#endif
