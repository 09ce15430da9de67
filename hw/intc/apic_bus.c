/* SPDX-License-Identifier: GPL-2.0-or-later
 * Messages between local APICs, from IOAPICs and from devices (SDM 3A 11.6, 11.11, 11.12.10):
 * who is meant by a destination, and what is sent. Arbitration takes no time here, so ICR's
 * delivery status is always idle.
 */
#include "hw/intc/apic_internal.h"

enum { DEST_BROADCAST8 = 0xff, X2_BROADCAST = 0xffffffff };
enum { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };
enum { DFR_FLAT = 0xf };

typedef struct Message {
    uint32_t dest;
    bool logical;
    bool wide; /* dest has 32 bits: an x2APIC sent it, so that 0xff is no broadcast */
    unsigned mode, vector;
    bool level;
} Message;

uint32_t apic_x2_ldr(const Apic *a)
{
    uint32_t id = a->cpu->apic_id;
    return id >> 4 << 16 | 1u << (id & 15);
}

static bool is_addressed(const Apic *a, const Message *msg)
{
    if (msg->dest == (msg->wide ? X2_BROADCAST : DEST_BROADCAST8)) {
        return true;
    }
    if (!msg->logical) {
        return a->cpu->apic_id == msg->dest;
    }
    if (apic_x2(a)) {
        uint32_t ldr = apic_x2_ldr(a);
        return ldr >> 16 == msg->dest >> 16 && (ldr & msg->dest & 0xffff);
    }
    if (msg->dest > 0xff) {
        return false;
    }
    if (a->dfr == DFR_FLAT) {
        return a->ldr & msg->dest;
    }
    return a->ldr >> 4 == msg->dest >> 4 && (a->ldr & msg->dest & 0xf);
}

/* Of those addressed, the one whose processor priority is lowest. */
static void send_lowest(Machine *m, const Message *msg)
{
    Apic *best = NULL;
    uint8_t best_ppr = 0;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Apic *a = apic_of(m, i);
        if (!apic_soft_on(a) || !is_addressed(a, msg)) {
            continue;
        }
        uint8_t ppr = apic_ppr(a);
        if (!best || ppr < best_ppr) {
            best = a;
            best_ppr = ppr;
        }
    }
    if (best) {
        apic_accept(best, APIC_FIXED, msg->vector, msg->level);
    }
}

/* As an MSI: SDM 3A 11.11, and for wide destinations their high bits in the address's high half. */
static void send_to_stand_in(Machine *m, const Message *msg)
{
    uint64_t addr = APIC_DEFAULT_BASE | (uint64_t)(msg->dest & ~0xffu) << 32 |
                    (msg->dest & 0xff) << 12 | (msg->logical ? 4 : 0);
    uint32_t data = msg->vector | msg->mode << ICR_MODE_SHIFT | ICR_ASSERT |
                    (msg->level ? ICR_LEVEL : 0);
    m->irqchip.ops->msi(m, addr, data);
}

static void send_message(Machine *m, const Message *msg)
{
    if (irqchip_stands_in(m, IRQCHIP_LAPIC)) {
        send_to_stand_in(m, msg);
        return;
    }
    if (msg->mode == APIC_LOWEST) {
        send_lowest(m, msg);
        return;
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Apic *a = apic_of(m, i);
        if (apic_on(a) && is_addressed(a, msg)) {
            apic_accept(a, msg->mode, msg->vector, msg->level);
        }
    }
}

void apic_deliver(struct Machine *m, uint32_t dest, bool logical, unsigned mode, unsigned vector,
                  bool level)
{
    if (!m->nr_cpus || !m->cpu[0]->apic) {
        return;
    }
    Message msg = { .dest = dest, .logical = logical, .wide = dest > 0xff, .mode = mode,
                    .vector = vector, .level = level };
    send_message(m, &msg);
}

void apic_msi(struct Machine *m, uint64_t addr, uint32_t data)
{
    /* Address: 19-12 destination id, 3 redirection hint, 2 logical. Data: 15 level, 14 assert,
     * 10-8 mode, 7-0 vector. */
    bool level = data & ICR_LEVEL;
    if (level && !(data & ICR_ASSERT)) {
        return; /* level deassert has no effect on a local APIC */
    }
    apic_deliver(m, addr >> 12 & 0xff, addr & 4, data >> ICR_MODE_SHIFT & 7, data & ICR_VECTOR,
                 level);
}

static void send_shorthand(Apic *a, unsigned shorthand, const Message *msg)
{
    if (shorthand == SHORTHAND_SELF) {
        if (msg->mode == APIC_FIXED) {
            apic_accept(a, APIC_FIXED, msg->vector, false);
        } else {
            log_guest("apic: delivery mode %u to oneself is not valid", msg->mode);
        }
        return;
    }
    Machine *m = a->cpu->machine;
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        Apic *to = apic_of(m, i);
        if (apic_on(to) && (to != a || shorthand == SHORTHAND_ALL)) {
            apic_accept(to, msg->mode == APIC_LOWEST ? APIC_FIXED : msg->mode, msg->vector,
                        false);
        }
    }
}

void apic_send_icr(Apic *a)
{
    /* Only INIT deassert, a relic that no CPU since the Pentium 4 acts on, looks at level and
     * assert; every other IPI is an edge whatever ICR says (SDM 3A 11.6.1). */
    Message msg = {
        .dest = apic_x2(a) ? a->icr2 : a->icr2 >> 24,
        .logical = a->icr & ICR_LOGICAL,
        .wide = apic_x2(a),
        .mode = a->icr >> ICR_MODE_SHIFT & 7,
        .vector = a->icr & ICR_VECTOR,
    };
    if (msg.mode == APIC_INIT && (a->icr & ICR_LEVEL) && !(a->icr & ICR_ASSERT)) {
        return;
    }
    if (msg.mode <= APIC_LOWEST && msg.vector < 16) {
        apic_error(a, ESR_SEND_ILLEGAL);
        return;
    }
    if (msg.mode == APIC_EXTINT || msg.mode == APIC_RESERVED) {
        log_guest("apic: ICR delivery mode %u is reserved", msg.mode);
        return;
    }
    unsigned shorthand = a->icr >> ICR_SHORTHAND_SHIFT & 3;
    if (shorthand) {
        send_shorthand(a, shorthand, &msg);
    } else {
        send_message(a->cpu->machine, &msg);
    }
}
