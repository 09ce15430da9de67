/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hardware task switching and the TSS (SDM 3A chapter 8; the order of the checks is table
 * 8-1).
 */
#include "cpu/task.h"

#include <string.h>

#include "cpu/debug.h"
#include "cpu/far.h"
#include "cpu/paging.h"
#include "util/log.h"

/* 32-bit TSS (SDM 3A figure 8-2) */
enum {
    TSS32_LINK = 0x00,
    TSS32_CR3 = 0x1c,
    TSS32_EIP = 0x20,
    TSS32_EFLAGS = 0x24,
    TSS32_EAX = 0x28,
    TSS32_ES = 0x48,
    TSS32_LDT = 0x60,
    TSS32_TRAP = 0x64,
    TSS32_IOMAP = 0x66,
    TSS32_LIMIT = 0x67,
};
/* 16-bit TSS (figure 8-10) */
enum {
    TSS16_LINK = 0x00,
    TSS16_IP = 0x0e,
    TSS16_FLAGS = 0x10,
    TSS16_AX = 0x12,
    TSS16_ES = 0x22,
    TSS16_LDT = 0x2a,
    TSS16_LIMIT = 0x2b,
};
enum { DR7_LOCAL = 0x155 }; /* L0-L3, LE */

static bool tss_is_32(const Segment *tr)
{
    return (tr->attr & SEG_TYPE) >= DESC_TSS32;
}

static uint64_t tss_lin(const CpuState *cpu, uint64_t base, unsigned offset)
{
    return cpu->mode & MODE_LMA ? base + offset : (uint32_t)(base + offset);
}

void task_inner_stack(CpuState *cpu, unsigned cpl, unsigned ext, uint16_t *ss,
                      uint32_t *esp)
{
    bool is_32 = tss_is_32(&cpu->tr);
    unsigned offset = is_32 ? 4 + cpl * 8 : 2 + cpl * 4;
    if (offset + (is_32 ? 5 : 3) > cpu->tr.limit) {
        cpu_raise(cpu, EXC_TS, (cpu->tr.sel & SEL_ERROR) | ext);
    }
    unsigned size = is_32 ? 4 : 2;
    *esp = (uint32_t)lin_load(cpu, tss_lin(cpu, cpu->tr.base, offset), size, MEM_SYSTEM);
    *ss = (uint16_t)lin_load(cpu, tss_lin(cpu, cpu->tr.base, offset + size), 2, MEM_SYSTEM);
}

uint64_t task_rsp(CpuState *cpu, unsigned n, unsigned ext)
{
    unsigned offset = 4 + n * 8;
    if (offset + 7 > cpu->tr.limit) {
        cpu_raise(cpu, EXC_TS, (cpu->tr.sel & SEL_ERROR) | ext);
    }
    return lin_load(cpu, cpu->tr.base + offset, 8, MEM_SYSTEM);
}

/* The I/O map's offset in the TSS, or 0 if this TSS cannot have one. */
static unsigned iomap_base(CpuState *cpu)
{
    if ((cpu->tr.attr & SEG_UNUSABLE) || !tss_is_32(&cpu->tr) ||
        cpu->tr.limit < TSS32_LIMIT) {
        return 0;
    }
    return (unsigned)lin_load(cpu, tss_lin(cpu, cpu->tr.base, TSS32_IOMAP), 2, MEM_SYSTEM);
}

void task_check_io(CpuState *cpu, uint16_t port, unsigned size)
{
    if (!(cpu->mode & (MODE_PE | MODE_VM))) {
        return;
    }
    unsigned iopl = (cpu->eflags & FLAG_IOPL) >> 12;
    if ((cpu->mode & MODE_PE) && cpu_cpl(cpu) <= iopl) {
        return;
    }
    /* Two bytes are read whatever the width: the reason for the FFh after the map. */
    unsigned base = iomap_base(cpu);
    unsigned at = base + port / 8;
    if (!base || at + 1 > cpu->tr.limit) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    unsigned bits = (unsigned)lin_load(cpu, tss_lin(cpu, cpu->tr.base, at), 2, MEM_SYSTEM);
    if (bits >> (port & 7) & ((1u << size) - 1)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
}

bool task_redirects(CpuState *cpu, unsigned vector)
{
    unsigned base = iomap_base(cpu);
    unsigned at = base - 32 + vector / 8;
    if (base < 32 || at > cpu->tr.limit) {
        return false;
    }
    unsigned bits = (unsigned)lin_load(cpu, tss_lin(cpu, cpu->tr.base, at), 1, MEM_SYSTEM);
    return !(bits >> (vector & 7) & 1);
}

/* ---- the switch ---- */

/* What a TSS holds, whatever its width. Selectors in SEG_ order. */
typedef struct TaskState {
    uint32_t eip, eflags, cr3, gpr[8];
    uint16_t sel[NR_SEGS], ldt;
    bool trap, is_32;
} TaskState;

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* Writes EIP to GS of the running task; only that range of the TSS changes. */
static void save_state(CpuState *cpu, uint32_t eip, uint32_t eflags)
{
    uint8_t buf[TSS32_LDT];
    unsigned first, len;
    if (tss_is_32(&cpu->tr)) {
        first = TSS32_EIP;
        len = TSS32_LDT - 2 - first;
        put32(buf, eip);
        put32(buf + 4, eflags);
        for (unsigned i = 0; i < 8; i++) {
            put32(buf + TSS32_EAX - first + i * 4, (uint32_t)cpu->gpr[i]);
        }
        for (unsigned i = 0; i < NR_SEGS; i++) {
            put32(buf + TSS32_ES - first + i * 4, cpu->seg[i].sel);
        }
    } else {
        first = TSS16_IP;
        len = TSS16_LDT - first;
        put16(buf, (uint16_t)eip);
        put16(buf + 2, (uint16_t)eflags);
        for (unsigned i = 0; i < 8; i++) {
            put16(buf + TSS16_AX - first + i * 2, (uint16_t)cpu->gpr[i]);
        }
        for (unsigned i = 0; i <= SEG_DS; i++) {
            put16(buf + TSS16_ES - first + i * 2, cpu->seg[i].sel);
        }
    }
    lin_write(cpu, tss_lin(cpu, cpu->tr.base, first), buf, len, MEM_SYSTEM);
}

static TaskState read_state(CpuState *cpu, const Segment *tr)
{
    TaskState t = { .is_32 = tss_is_32(tr) };
    uint8_t buf[TSS32_LIMIT + 1];
    lin_read(cpu, tr->base, buf, t.is_32 ? TSS32_LIMIT + 1 : TSS16_LIMIT + 1, MEM_SYSTEM);
    if (t.is_32) {
        t.cr3 = get32(buf + TSS32_CR3);
        t.eip = get32(buf + TSS32_EIP);
        t.eflags = get32(buf + TSS32_EFLAGS);
        for (unsigned i = 0; i < 8; i++) {
            t.gpr[i] = get32(buf + TSS32_EAX + i * 4);
        }
        for (unsigned i = 0; i < NR_SEGS; i++) {
            t.sel[i] = get16(buf + TSS32_ES + i * 4);
        }
        t.ldt = get16(buf + TSS32_LDT);
        t.trap = buf[TSS32_TRAP] & 1;
    } else {
        t.eip = get16(buf + TSS16_IP);
        t.eflags = get16(buf + TSS16_FLAGS);
        for (unsigned i = 0; i < 8; i++) {
            t.gpr[i] = get16(buf + TSS16_AX + i * 2) | 0xffff0000;
        }
        for (unsigned i = 0; i <= SEG_DS; i++) {
            t.sel[i] = get16(buf + TSS16_ES + i * 2);
        }
        t.ldt = get16(buf + TSS16_LDT);
    }
    return t;
}

/* All memory the switch is going to write is writable: nothing is half done when a fault
 * comes. */
static void probe_switch(CpuState *cpu, const Descriptor *d, const Segment *new_tr,
                         TaskCause cause)
{
    bool old_32 = tss_is_32(&cpu->tr);
    unsigned first = old_32 ? TSS32_EIP : TSS16_IP;
    unsigned end = old_32 ? TSS32_LDT : TSS16_LDT;
    lin_probe(cpu, tss_lin(cpu, cpu->tr.base, first), end - first, true, MEM_SYSTEM);
    if (cause == TASK_CALL) {
        lin_probe(cpu, new_tr->base, 2, true, MEM_SYSTEM);
    } else {
        uint64_t old_desc = cpu->gdtr.base + (cpu->tr.sel & ~7u);
        lin_probe(cpu, tss_lin(cpu, old_desc, 0), 8, true, MEM_SYSTEM);
    }
    if (cause != TASK_IRET) {
        lin_probe(cpu, d->lin, 8, true, MEM_SYSTEM);
    }
}

static void clear_old_busy(CpuState *cpu)
{
    Descriptor old = { .lin = tss_lin(cpu, cpu->gdtr.base, cpu->tr.sel & ~7u) };
    desc_set_busy(cpu, &old, false);
}

/* The new task's LDT, #TS where it is not one. */
static void load_ldt(CpuState *cpu, uint16_t sel, unsigned ext)
{
    uint32_t error = (sel & SEL_ERROR) | ext;
    Descriptor d;
    if (sel_is_null(sel)) {
        return;
    }
    if (sel & SEL_TI) {
        cpu_raise(cpu, EXC_TS, error);
    }
    desc_fetch_or(cpu, sel, &d, EXC_TS, ext);
    if (desc_type(&d) != DESC_LDT || !(d.attr & SEG_P)) {
        cpu_raise(cpu, EXC_TS, error);
    }
    cpu->ldtr = desc_segment(sel, &d);
}

static Segment load_code(CpuState *cpu, uint16_t sel, unsigned ext)
{
    uint32_t error = (sel & SEL_ERROR) | ext;
    Descriptor d;
    if (sel_is_null(sel)) {
        cpu_raise(cpu, EXC_TS, ext);
    }
    desc_fetch_or(cpu, sel, &d, EXC_TS, ext);
    unsigned rpl = sel & SEL_RPL, dpl = desc_dpl(&d);
    bool bad_dpl = desc_is_conforming(&d) ? dpl > rpl : dpl != rpl;
    if (!desc_is_code(&d) || bad_dpl) {
        cpu_raise(cpu, EXC_TS, error);
    }
    if (!(d.attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    desc_mark_accessed(cpu, &d);
    return desc_segment(sel, &d);
}

static Segment load_data(CpuState *cpu, uint16_t sel, unsigned cpl, unsigned ext)
{
    uint32_t error = (sel & SEL_ERROR) | ext;
    Descriptor d;
    if (sel_is_null(sel)) {
        return seg_null(sel, 0);
    }
    desc_fetch_or(cpu, sel, &d, EXC_TS, ext);
    unsigned rpl = sel & SEL_RPL, dpl = desc_dpl(&d);
    if (!desc_is_readable(&d) || (!desc_is_conforming(&d) && (rpl > dpl || cpl > dpl))) {
        cpu_raise(cpu, EXC_TS, error);
    }
    if (!(d.attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    desc_mark_accessed(cpu, &d);
    return desc_segment(sel, &d);
}

/* In the new task: its segments, with the faults it may take for them. */
static void load_segments(CpuState *cpu, const TaskState *t, unsigned ext)
{
    if (t->eflags & FLAG_VM) {
        load_ldt(cpu, t->ldt, ext);
        for (unsigned i = 0; i < NR_SEGS; i++) {
            cpu->seg[i] = seg_v86(t->sel[i]);
        }
        cpu_update_mode(cpu);
        return;
    }
    load_ldt(cpu, t->ldt, ext);
    unsigned cpl = t->sel[SEG_CS] & SEL_RPL;
    Segment cs = load_code(cpu, t->sel[SEG_CS], ext);
    seg_commit(cpu, SEG_SS, seg_check_stack(cpu, t->sel[SEG_SS], cpl, EXC_TS, ext));
    seg_commit(cpu, SEG_CS, cs);
    static const uint8_t data_segs[] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < ARRAY_SIZE(data_segs); i++) {
        unsigned seg = data_segs[i];
        cpu->seg[seg] = load_data(cpu, t->sel[seg], cpl, ext);
    }
    cpu_update_mode(cpu);
}

/* From here on it is the new task that runs: its registers, with segments still unusable.
 */
static void commit_state(CpuState *cpu, const TaskState *t)
{
    for (unsigned i = 0; i < 8; i++) {
        cpu->gpr[i] = t->gpr[i];
    }
    for (unsigned i = 0; i < NR_SEGS; i++) {
        cpu->seg[i] = seg_null(t->sel[i], 0);
    }
    unsigned cpl = t->eflags & FLAG_VM ? 3 : t->sel[SEG_CS] & SEL_RPL;
    cpu->seg[SEG_SS] = seg_null(t->sel[SEG_SS], cpl);
    cpu->seg[SEG_CS].attr |= t->is_32 ? SEG_DB : 0;
    cpu->ldtr = seg_null(t->ldt, 0);
    cpu->rip = cpu->insn_rip = t->eip;
    cpu->cc = flags_to_cc(t->eflags);
    /* VIF, VIP, AC and ID are the new TSS's too; reserved bits are not. */
    cpu->eflags = t->eflags & (FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF |
                               FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID);
    cpu->dr[7] &= ~(uint64_t)DR7_LOCAL;
    cpu->cr0 |= CR0_TS;
    if (t->is_32 && (cpu->cr0 & CR0_PG)) {
        cpu->cr3 = t->cr3;
        tlb_switch(cpu, false); /* also if it is the same: SDM 3A 4.10.4.1 */
    }
    cpu_update_mode(cpu);
}

void task_switch(CpuState *cpu, uint16_t sel, Descriptor d, TaskCause cause,
                 uint64_t ret_rip, unsigned ext)
{
    Segment tr = desc_system_segment(sel, &d, 0);
    uint32_t error = (sel & SEL_ERROR) | ext;
    if (tr.limit < (uint32_t)(tss_is_32(&tr) ? TSS32_LIMIT : TSS16_LIMIT)) {
        cpu_raise(cpu, EXC_TS, error);
    }
    if (log_on(LOG_PCALL)) {
        static const char *const causes[] = { "JMP", "CALL", "IRET" };
        log_printf("cpu%u: task switch by %s from %04x (at %08llx) to %04x\n", cpu->index,
                   causes[cause], cpu->tr.sel, (unsigned long long)ret_rip, sel);
    }
    probe_switch(cpu, &d, &tr, cause);
    TaskState t = read_state(cpu, &tr);
    bool new_cr3 = t.is_32 && (cpu->cr0 & CR0_PG);
    if (new_cr3 && (cpu->cr4 & CR4_PAE) && !paging_load_pdptes(cpu, t.cr3)) {
        cpu_raise(cpu, EXC_GP, 0);
    }

    uint32_t old_flags = (uint32_t)cpu_rflags(cpu);
    if (cause == TASK_IRET) {
        old_flags &= ~(uint32_t)FLAG_NT;
    }
    save_state(cpu, (uint32_t)ret_rip, old_flags);
    if (cause == TASK_CALL) {
        lin_store(cpu, tr.base, cpu->tr.sel, 2, MEM_SYSTEM);
        t.eflags |= FLAG_NT;
    } else {
        clear_old_busy(cpu);
    }
    if (cause != TASK_IRET) {
        desc_set_busy(cpu, &d, true);
    }
    tr.attr |= DESC_BUSY;
    cpu->tr = tr;
    commit_state(cpu, &t);
    load_segments(cpu, &t, ext);
    if (t.trap) {
        cpu->pending_db |= DR6_BT;
    }
}

void task_gate(CpuState *cpu, uint64_t gate_raw, TaskCause cause, uint64_t ret_rip,
               unsigned ext)
{
    uint16_t sel = gate_sel(gate_raw);
    uint32_t error = (sel & SEL_ERROR) | ext;
    Descriptor d;
    if ((sel & SEL_TI) || sel_is_null(sel) || !desc_fetch(cpu, sel, &d)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (desc_type(&d) != DESC_TSS16 && desc_type(&d) != DESC_TSS32) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(d.attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    task_switch(cpu, sel, d, cause, ret_rip, ext);
}

void task_return(CpuState *cpu)
{
    uint16_t sel = (uint16_t)lin_load(cpu, cpu->tr.base, 2, MEM_SYSTEM);
    uint32_t error = sel & SEL_ERROR;
    Descriptor d;
    if ((sel & SEL_TI) || sel_is_null(sel) || !desc_fetch(cpu, sel, &d)) {
        cpu_raise(cpu, EXC_TS, error);
    }
    if (desc_type(&d) != DESC_TSS16_BUSY && desc_type(&d) != DESC_TSS32_BUSY) {
        cpu_raise(cpu, EXC_TS, error);
    }
    if (!(d.attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    task_switch(cpu, sel, d, TASK_IRET, cpu->rip, 0);
    far_check_rip(cpu, &cpu->seg[SEG_CS], cpu->rip, 0);
}
