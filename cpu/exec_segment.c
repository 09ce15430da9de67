/* SPDX-License-Identifier: GPL-2.0-or-later
 * Segment registers, descriptor-table registers, and the instructions that look at
 * descriptors (SDM 3A 2.8, 5.10). MOV is whole here because MOV from and to segment
 * registers is one of its forms; engines do the others themselves.
 */
#include "cpu/exec.h"
#include "cpu/paging.h"
#include "cpu/segment.h"

static void need_cpl0(CpuState *cpu)
{
    if (cpu_cpl(cpu) != 0) {
        cpu_raise(cpu, EXC_GP, 0);
    }
}

static void need_protected(CpuState *cpu)
{
    if (!(cpu->mode & MODE_PE)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
}

static void need_no_umip(CpuState *cpu)
{
    if ((cpu->cr4 & CR4_UMIP) && cpu_cpl(cpu) != 0) {
        cpu_raise(cpu, EXC_GP, 0);
    }
}

/* A selector or status word: 16 bits to memory, zero-extended to a register. */
static void put_word(CpuState *cpu, const Insn *in, uint16_t val)
{
    if (in->opd[0].kind == OPD_GPR) {
        cpu_set_reg(cpu, in->opd[0].reg, in->opsize, val);
    } else {
        seg_store(cpu, in->seg, exec_ea(cpu, in), val, 2);
    }
}

/* The selector in a register or memory operand, whatever its declared size. */
static uint16_t get_sel(CpuState *cpu, const Insn *in, unsigned n)
{
    if (in->opd[n].kind == OPD_GPR) {
        return (uint16_t)cpu->gpr[in->opd[n].reg];
    }
    return (uint16_t)seg_load(cpu, in->seg, exec_ea(cpu, in), 2);
}

void exec_MOV(CpuState *cpu, const Insn *in)
{
    if (in->opd[1].kind == OPD_SEG) {
        put_word(cpu, in, cpu->seg[in->opd[1].reg].sel);
    } else if (in->opd[0].kind == OPD_SEG) {
        unsigned seg = in->opd[0].reg;
        if (seg == SEG_CS || seg >= NR_SEGS) {
            cpu_raise_plain(cpu, EXC_UD);
        }
        seg_load_reg(cpu, (int)seg, get_sel(cpu, in, 1));
        if (seg == SEG_SS) {
            cpu->shadow = 2;
        }
    } else {
        exec_put(cpu, in, 0, exec_get(cpu, in, 1));
    }
}

static void load_far_pointer(CpuState *cpu, const Insn *in, int seg)
{
    uint64_t ea = exec_ea(cpu, in);
    uint64_t second = (ea + in->opsize) & exec_mask(in->adsize);
    uint64_t offset = seg_load(cpu, in->seg, ea, in->opsize);
    uint16_t sel = (uint16_t)seg_load(cpu, in->seg, second, 2);
    seg_load_reg(cpu, seg, sel);
    cpu_set_reg(cpu, in->opd[0].reg, in->opsize, offset);
}

void exec_LDS(CpuState *cpu, const Insn *in)
{
    load_far_pointer(cpu, in, SEG_DS);
}

void exec_LES(CpuState *cpu, const Insn *in)
{
    load_far_pointer(cpu, in, SEG_ES);
}

void exec_LFS(CpuState *cpu, const Insn *in)
{
    load_far_pointer(cpu, in, SEG_FS);
}

void exec_LGS(CpuState *cpu, const Insn *in)
{
    load_far_pointer(cpu, in, SEG_GS);
}

void exec_LSS(CpuState *cpu, const Insn *in)
{
    load_far_pointer(cpu, in, SEG_SS); /* no interrupt shadow: it loads ESP as well */
}

/* ---- GDTR, IDTR, LDTR, TR ---- */

static TableReg get_table_reg(CpuState *cpu, const Insn *in)
{
    uint64_t ea = exec_ea(cpu, in);
    bool is_64 = cpu->mode & MODE_CS64;
    TableReg t;
    t.limit = (uint32_t)seg_load(cpu, in->seg, ea, 2);
    t.base = seg_load(cpu, in->seg, (ea + 2) & exec_mask(in->adsize), is_64 ? 8 : 4);
    if (is_64) {
        if (!lin_is_canonical(cpu, t.base)) {
            cpu_raise(cpu, EXC_GP, 0);
        }
    } else if (in->opsize == 2) {
        t.base &= 0xffffff;
    }
    return t;
}

static void put_table_reg(CpuState *cpu, const Insn *in, const TableReg *t)
{
    need_no_umip(cpu);
    uint64_t ea = exec_ea(cpu, in);
    unsigned size = cpu->mode & MODE_CS64 ? 8 : 4;
    uint64_t second = seg_lin(cpu, in->seg, (ea + 2) & exec_mask(in->adsize), size, true);
    lin_probe(cpu, second, size, true, MEM_CPL);
    seg_store(cpu, in->seg, ea, t->limit, 2);
    lin_store(cpu, second, t->base, size, MEM_CPL);
}

void exec_LGDT(CpuState *cpu, const Insn *in)
{
    need_cpl0(cpu);
    cpu->gdtr = get_table_reg(cpu, in);
}

void exec_LIDT(CpuState *cpu, const Insn *in)
{
    need_cpl0(cpu);
    cpu->idtr = get_table_reg(cpu, in);
}

void exec_SGDT(CpuState *cpu, const Insn *in)
{
    put_table_reg(cpu, in, &cpu->gdtr);
}

void exec_SIDT(CpuState *cpu, const Insn *in)
{
    put_table_reg(cpu, in, &cpu->idtr);
}

void exec_SLDT(CpuState *cpu, const Insn *in)
{
    need_protected(cpu);
    need_no_umip(cpu);
    put_word(cpu, in, cpu->ldtr.sel);
}

void exec_STR(CpuState *cpu, const Insn *in)
{
    need_protected(cpu);
    need_no_umip(cpu);
    put_word(cpu, in, cpu->tr.sel);
}

/* The descriptor LLDT or LTR loads; types is a set of 1 << DESC_*. */
static Segment check_system(CpuState *cpu, uint16_t sel, unsigned types, Descriptor *d)
{
    uint32_t error = sel & SEL_ERROR;
    uint64_t high = 0;
    if (sel & SEL_TI) {
        cpu_raise(cpu, EXC_GP, error);
    }
    desc_fetch_or(cpu, sel, d, EXC_GP, 0);
    if (!(1u << desc_type(d) & types)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    if (!(d->attr & SEG_P)) {
        cpu_raise(cpu, EXC_NP, error);
    }
    if ((cpu->mode & MODE_LMA) &&
        (!desc_fetch_high(cpu, sel, d, &high) || (high >> 40 & 0x1f) != 0)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    Segment s = desc_system_segment(sel, d, high);
    if ((cpu->mode & MODE_LMA) && !lin_is_canonical(cpu, s.base)) {
        cpu_raise(cpu, EXC_GP, error);
    }
    return s;
}

void exec_LLDT(CpuState *cpu, const Insn *in)
{
    Descriptor d;
    need_protected(cpu);
    need_cpl0(cpu);
    uint16_t sel = get_sel(cpu, in, 0);
    cpu->ldtr =
        sel_is_null(sel) ? seg_null(sel, 0) : check_system(cpu, sel, 1 << DESC_LDT, &d);
}

void exec_LTR(CpuState *cpu, const Insn *in)
{
    Descriptor d;
    need_protected(cpu);
    need_cpl0(cpu);
    uint16_t sel = get_sel(cpu, in, 0);
    if (sel_is_null(sel)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    unsigned types = 1 << DESC_TSS32 | (cpu->mode & MODE_LMA ? 0 : 1 << DESC_TSS16);
    Segment tr = check_system(cpu, sel, types, &d);
    desc_set_busy(cpu, &d, true);
    tr.attr |= DESC_BUSY;
    cpu->tr = tr;
}

/* ---- looking at descriptors without a fault ---- */

static void set_zf(CpuState *cpu, bool on)
{
    cpu->cc = (uint16_t)(on ? cpu->cc | CC_ZF : cpu->cc & ~CC_ZF);
}

enum {
    CODE_DATA = 0xffff0000, /* types with the S bit, as desc_type counts them */
    LAR_LEGACY = CODE_DATA | 1 << DESC_TSS16 | 1 << DESC_LDT | 1 << DESC_TSS16_BUSY |
                 1 << DESC_CALL_GATE16 | 1 << DESC_TASK_GATE | 1 << DESC_TSS32 |
                 1 << DESC_TSS32_BUSY | 1 << DESC_CALL_GATE32,
    LAR_LONG = CODE_DATA | 1 << DESC_LDT | 1 << DESC_TSS32 | 1 << DESC_TSS32_BUSY |
               1 << DESC_CALL_GATE32,
    LSL_LEGACY = CODE_DATA | 1 << DESC_TSS16 | 1 << DESC_LDT | 1 << DESC_TSS16_BUSY |
                 1 << DESC_TSS32 | 1 << DESC_TSS32_BUSY,
    LSL_LONG = CODE_DATA | 1 << DESC_LDT | 1 << DESC_TSS32 | 1 << DESC_TSS32_BUSY,
};

/* Is sel a descriptor of one of these types that this program may see? */
static bool visible(CpuState *cpu, uint16_t sel, unsigned types, Descriptor *d)
{
    if (sel_is_null(sel) || !desc_fetch(cpu, sel, d) || !(1u << desc_type(d) & types)) {
        return false;
    }
    unsigned rpl = sel & SEL_RPL;
    return desc_is_conforming(d) || (cpu_cpl(cpu) <= desc_dpl(d) && rpl <= desc_dpl(d));
}

void exec_LAR(CpuState *cpu, const Insn *in)
{
    Descriptor d;
    need_protected(cpu);
    uint16_t sel = get_sel(cpu, in, 1);
    bool ok = visible(cpu, sel, cpu->mode & MODE_LMA ? LAR_LONG : LAR_LEGACY, &d);
    if (ok) {
        uint32_t mask = in->opsize == 2 ? 0xff00 : 0xffff00; /* as measured */
        cpu_set_reg(cpu, in->opd[0].reg, in->opsize, (uint32_t)(d.raw >> 32) & mask);
    }
    set_zf(cpu, ok);
}

void exec_LSL(CpuState *cpu, const Insn *in)
{
    Descriptor d;
    need_protected(cpu);
    uint16_t sel = get_sel(cpu, in, 1);
    bool ok = visible(cpu, sel, cpu->mode & MODE_LMA ? LSL_LONG : LSL_LEGACY, &d);
    if (ok) {
        cpu_set_reg(cpu, in->opd[0].reg, in->opsize, desc_segment(sel, &d).limit);
    }
    set_zf(cpu, ok);
}

void exec_VERR(CpuState *cpu, const Insn *in)
{
    Descriptor d;
    need_protected(cpu);
    uint16_t sel = get_sel(cpu, in, 0);
    set_zf(cpu, visible(cpu, sel, CODE_DATA, &d) && desc_is_readable(&d));
}

void exec_VERW(CpuState *cpu, const Insn *in)
{
    Descriptor d;
    need_protected(cpu);
    uint16_t sel = get_sel(cpu, in, 0);
    set_zf(cpu, visible(cpu, sel, CODE_DATA, &d) && desc_is_writable(&d));
}

void exec_ARPL(CpuState *cpu, const Insn *in)
{
    need_protected(cpu);
    bool is_mem = in->opd[0].kind == OPD_MEM;
    uint16_t rpl = (uint16_t)cpu->gpr[in->opd[1].reg] & SEL_RPL;
    uint16_t sel = get_sel(cpu, in, 0);
    if (is_mem) {
        lin_probe(cpu, seg_lin(cpu, in->seg, exec_ea(cpu, in), 2, true), 2, true, MEM_CPL);
    }
    bool adjust = (sel & SEL_RPL) < rpl;
    if (adjust) {
        sel = (uint16_t)((sel & ~SEL_RPL) | rpl);
        if (is_mem) {
            seg_store(cpu, in->seg, exec_ea(cpu, in), sel, 2);
        } else {
            cpu_set_reg(cpu, in->opd[0].reg, 2, sel);
        }
    }
    set_zf(cpu, adjust);
}

/* ---- FS and GS bases ---- */

static void need_fsgsbase(CpuState *cpu)
{
    if (!(cpu->mode & MODE_CS64) || !(cpu->cr4 & CR4_FSGSBASE)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
}

static void write_base(CpuState *cpu, const Insn *in, int seg)
{
    need_fsgsbase(cpu);
    uint64_t base = cpu_reg(cpu, in->opd[0].reg, in->opsize);
    if (!lin_is_canonical(cpu, base)) {
        cpu_raise(cpu, EXC_GP, 0);
    }
    cpu->seg[seg].base = base;
}

void exec_RDFSBASE(CpuState *cpu, const Insn *in)
{
    need_fsgsbase(cpu);
    cpu_set_reg(cpu, in->opd[0].reg, in->opsize, cpu->seg[SEG_FS].base);
}

void exec_RDGSBASE(CpuState *cpu, const Insn *in)
{
    need_fsgsbase(cpu);
    cpu_set_reg(cpu, in->opd[0].reg, in->opsize, cpu->seg[SEG_GS].base);
}

void exec_WRFSBASE(CpuState *cpu, const Insn *in)
{
    write_base(cpu, in, SEG_FS);
}

void exec_WRGSBASE(CpuState *cpu, const Insn *in)
{
    write_base(cpu, in, SEG_GS);
}

void exec_SWAPGS(CpuState *cpu, const Insn *in)
{
    (void)in;
    if (!(cpu->mode & MODE_CS64)) {
        cpu_raise_plain(cpu, EXC_UD);
    }
    need_cpl0(cpu);
    uint64_t base = cpu->seg[SEG_GS].base;
    cpu->seg[SEG_GS].base = cpu->kernel_gs_base;
    cpu->kernel_gs_base = base;
}
