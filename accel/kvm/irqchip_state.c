/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kernel's formats of interrupt controllers (asm/kvm.h; api.rst 4.26, 4.57, 4.71) and ours
 * (hw/core/irqchip.h).
 *
 * What the kernel does with a state it is given decides some details:
 *  - KVM_SET_LAPIC starts the timer from its current count, and one that stands at zero fires once
 *    more, if there is an initial count. So a one-shot timer that has expired goes without its
 *    initial count, which then comes back from our device.
 *  - KVM_SET_IRQCHIP for the I/O APIC sends what is in irr: for edges that is only what has not been
 *    sent, for levels whatever is asserted, if remote IRR allows it.
 *  - KVM_SET_PIT2 starts all counters anew from their counts. A one-shot counter 0 gets what is left
 *    of its count; a periodic one its whole count, and irqchip.c starts it again at the right time.
 *    Mode 5 keeps the kernel from starting anything: for a counter 0 that is not loaded, or has
 *    expired.
 *  - The kernel does not tell how far counter 0 is. If nobody wrote it since it was handed over, our
 *    device knows; else it starts with a whole count.
 */
#include <string.h>

#include "accel/kvm/irqchip.h"

enum { NS_PER_S = 1000000000, PIT_RATE = 1193182 };

/* ---- local APIC ---- */

enum { R_LVT_TIMER = 0x32, R_INITIAL = 0x38, R_CURRENT = 0x39, TIMER_MODE = 3 << 17 };

static bool is_spent(const LapicState *st)
{
    return !(st->reg[R_LVT_TIMER] & TIMER_MODE) && !st->reg[R_CURRENT];
}

void kvm_lapic_from_state(const LapicState *st, struct kvm_lapic_state *k)
{
    memset(k, 0, sizeof(*k));
    for (unsigned n = 0; n < 64; n++) {
        uint32_t val = n == R_INITIAL && is_spent(st) ? 0 : st->reg[n];
        memcpy(k->regs + n * 16, &val, sizeof(val));
    }
}

void kvm_lapic_to_state(const struct kvm_lapic_state *k, LapicState *st)
{
    uint32_t initial = is_spent(st) ? st->reg[R_INITIAL] : 0;
    for (unsigned n = 0; n < 64; n++) {
        memcpy(&st->reg[n], k->regs + n * 16, sizeof(st->reg[n]));
    }
    if (!st->reg[R_INITIAL] && is_spent(st)) {
        st->reg[R_INITIAL] = initial;
    }
}

uint32_t kvm_lapic_count(const struct kvm_lapic_state *k)
{
    enum { MASKED = 1 << 16, DEADLINE = 2 << 17 };
    uint32_t lvt, current;
    memcpy(&lvt, k->regs + 16 * R_LVT_TIMER, sizeof(lvt));
    memcpy(&current, k->regs + 16 * R_CURRENT, sizeof(current));
    uint32_t initial;
    memcpy(&initial, k->regs + 16 * R_INITIAL, sizeof(initial));
    return lvt & (MASKED | DEADLINE) || !initial ? KVM_LAPIC_NO_COUNT : current;
}

bool kvm_lapic_is_periodic(const struct kvm_lapic_state *k)
{
    return k->regs[16 * R_LVT_TIMER + 2] & 2; /* bit 17 */
}

void kvm_lapic_expired(LapicState *st, uint32_t before)
{
    enum { R_SVR = 0x0f, R_IRR = 0x20, SVR_ENABLED = 1 << 8, BASE_EN = 1 << 11 };
    uint32_t lvt = st->reg[R_LVT_TIMER], now = st->reg[R_CURRENT];
    unsigned vector = lvt & 0xff;
    bool wrapped = lvt & TIMER_MODE ? now > before : before && !now;
    if (before != KVM_LAPIC_NO_COUNT && wrapped && (st->base & BASE_EN) &&
        (st->reg[R_SVR] & SVR_ENABLED) && vector >= 16) {
        st->reg[R_IRR + vector / 32] |= 1u << vector % 32;
    }
}

/* ---- I/O APIC ---- */

void kvm_ioapic_from_state(const IoapicState *st, struct kvm_ioapic_state *k)
{
    memset(k, 0, sizeof(*k));
    k->base_address = 0xfec00000;
    k->ioregsel = st->select;
    k->id = st->id;
    k->irr = st->irr;
    for (unsigned pin = 0; pin < KVM_NR_PINS; pin++) {
        k->redirtbl[pin].bits = st->redir[pin];
    }
}

void kvm_ioapic_to_state(const struct kvm_ioapic_state *k, IoapicState *st)
{
    st->select = k->ioregsel;
    st->id = k->id;
    st->irr = k->irr;
    for (unsigned pin = 0; pin < KVM_NR_PINS; pin++) {
        st->redir[pin] = k->redirtbl[pin].bits;
    }
}

/* ---- 8259 ---- */

enum { CASCADE = 1 << 2 };

void kvm_pic_from_state(const PicChipState *st, bool slave, struct kvm_pic_state *k)
{
    unsigned derived = slave ? 0 : CASCADE; /* the kernel pulses it if the slave asks */
    *k = (struct kvm_pic_state) {
        .last_irr = st->lines & ~derived,
        .irr = st->irr & ~derived,
        .imr = st->imr,
        .isr = st->isr,
        .priority_add = (st->lowest + 1) & 7,
        .irq_base = st->vector_base,
        .read_reg_select = st->read_isr,
        .poll = st->poll,
        .special_mask = st->special_mask,
        .init_state = st->expect ? st->expect - 1 : 0,
        .auto_eoi = st->auto_eoi,
        .rotate_on_auto_eoi = st->rotate_on_aeoi,
        .special_fully_nested_mode = st->nested,
        .init4 = st->icw4_follows,
        .elcr = st->elcr,
        .elcr_mask = slave ? 0xde : 0xf8,
    };
}

void kvm_pic_to_state(const struct kvm_pic_state *k, PicChipState *st)
{
    *st = (PicChipState) {
        .irr = k->irr,
        .isr = k->isr,
        .imr = k->imr,
        .lines = k->last_irr,
        .elcr = k->elcr,
        .vector_base = k->irq_base,
        .expect = k->init_state ? k->init_state + 1 : 0,
        .lowest = (k->priority_add + 7) & 7,
        .icw4_follows = k->init4,
        .auto_eoi = k->auto_eoi,
        .nested = k->special_fully_nested_mode,
        .rotate_on_aeoi = k->rotate_on_auto_eoi,
        .special_mask = k->special_mask,
        .poll = k->poll,
        .read_isr = k->read_reg_select,
    };
}

/* ---- 8254 ---- */

enum { RW_BOTH = 3, WORD0 = 3, WORD1 = 4, MODE_NO_START = 5 };

static bool is_one_shot(unsigned mode)
{
    return mode == 0 || mode == 1 || mode == 4;
}

static void counter_from_state(const PitCounterState *st, bool drives_irq,
                               struct kvm_pit_channel_state *k)
{
    bool both = st->rw == RW_BOTH, msb = both && st->read_msb;
    bool expired = is_one_shot(st->mode) && st->elapsed >= st->count;
    *k = (struct kvm_pit_channel_state) {
        .count = st->count,
        .latched_count = st->latch,
        .count_latched = !st->count_latched ? 0 : msb ? 2 : st->rw,
        .status_latched = st->status_latched,
        .status = st->status,
        .read_state = msb && !st->count_latched ? WORD1 : st->rw,
        .write_state = both && st->second_byte ? WORD1 : st->rw,
        .write_latch = st->lsb,
        .rw_mode = st->rw,
        .mode = st->mode,
        .bcd = st->bcd,
        .gate = st->gate,
    };
    if (drives_irq && (!st->running || expired)) {
        k->mode = MODE_NO_START;
    } else if (drives_irq && is_one_shot(st->mode)) {
        k->count = st->count - (uint32_t)st->elapsed;
    }
}

void kvm_pit_from_state(const PitState *st, struct kvm_pit_state2 *k)
{
    memset(k, 0, sizeof(*k));
    for (unsigned n = 0; n < 3; n++) {
        counter_from_state(&st->counter[n], n == 0, &k->channels[n]);
    }
    k->flags = st->replaced ? KVM_PIT_FLAGS_HPET_LEGACY : 0;
}

static void counter_to_state(const struct kvm_pit_channel_state *k, uint64_t elapsed_ns,
                             PitCounterState *st)
{
    bool both = k->rw_mode == RW_BOTH;
    *st = (PitCounterState) {
        .mode = MIN(k->mode, 5),
        .rw = k->rw_mode & 3,
        .lsb = k->write_latch,
        .status = k->status,
        .bcd = k->bcd,
        .gate = k->gate,
        .running = true,
        .second_byte = both && k->write_state == WORD1,
        .read_msb = both && (k->count_latched ? k->count_latched == 2 : k->read_state == WORD1),
        .count_latched = k->count_latched,
        .status_latched = k->status_latched,
        .latch = k->latched_count,
        .count = k->count ? k->count : 0x10000,
        .elapsed = (unsigned __int128)elapsed_ns * PIT_RATE / NS_PER_S,
    };
}

/* How it counts, and since when. */
static bool same_count(const struct kvm_pit_channel_state *a,
                       const struct kvm_pit_channel_state *b)
{
    return a->count == b->count && a->mode == b->mode && a->bcd == b->bcd && a->gate == b->gate &&
           a->rw_mode == b->rw_mode && a->count_load_time == b->count_load_time;
}

void kvm_pit_to_state(const struct kvm_pit_state2 *k, const struct kvm_pit_state2 *was,
                      uint64_t now_ns, PitState *st)
{
    for (unsigned n = 0; n < 3; n++) {
        const struct kvm_pit_channel_state *ch = &k->channels[n];
        uint64_t loaded = (uint64_t)ch->count_load_time;
        uint64_t elapsed_ns = n && now_ns > loaded ? now_ns - loaded : 0;
        counter_to_state(ch, elapsed_ns, &st->counter[n]);
        st->counter[n].unchanged = same_count(ch, &was->channels[n]);
    }
}
