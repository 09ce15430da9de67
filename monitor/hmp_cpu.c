/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands that look at vCPUs: registers, and holding the machine still while somebody looks.
 *
 * A CpuState belongs to its vCPU's thread, so the vCPUs are paused for the moment. The run state
 * does not change by that: guest time goes on, and a machine that was stopped stays stopped.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "accel/accel.h"
#include "monitor/internal.h"

/* ---- holding ---- */

struct CpuState *monitor_cpu_hold(Monitor *mon)
{
    Machine *m = mon->m;
    if (!m || !m->cpu || mon->cpu >= m->nr_cpus) {
        return NULL;
    }
    if (m->vcpu) {
        vcpus_hold(m);
    }
    return m->cpu[mon->cpu];
}

void monitor_cpu_release(Monitor *mon)
{
    if (mon->m->vcpu) {
        vcpus_release(mon->m);
    }
}

/* ---- registers by name ---- */

#define REG64(n, f) { n, offsetof(CpuState, f), 8 }
#define REG32(n, f) { n, offsetof(CpuState, f), 4 }
#define REG16(n, f) { n, offsetof(CpuState, f), 2 }
#define GPR(i, q, d, w)                                                                            \
    { q, offsetof(CpuState, gpr[i]), 8 }, { d, offsetof(CpuState, gpr[i]), 4 },                    \
    { w, offsetof(CpuState, gpr[i]), 2 }
#define GPR8(i, l, h)                                                                              \
    { l, offsetof(CpuState, gpr[i]), 1 }, { h, offsetof(CpuState, gpr[i]) + 1, 1 }
#define SEG(i, n)                                                                                  \
    { n, offsetof(CpuState, seg[i].sel), 2 }, { n ".base", offsetof(CpuState, seg[i].base), 8 },   \
    { n ".limit", offsetof(CpuState, seg[i].limit), 4 }

/* Little-endian hosts only, as everywhere: the low bytes come first. */
static const struct CpuReg {
    const char *name;
    size_t offset;
    unsigned size;
} cpu_regs[] = {
    GPR(REG_RAX, "rax", "eax", "ax"), GPR(REG_RCX, "rcx", "ecx", "cx"),
    GPR(REG_RDX, "rdx", "edx", "dx"), GPR(REG_RBX, "rbx", "ebx", "bx"),
    GPR(REG_RSP, "rsp", "esp", "sp"), GPR(REG_RBP, "rbp", "ebp", "bp"),
    GPR(REG_RSI, "rsi", "esi", "si"), GPR(REG_RDI, "rdi", "edi", "di"),
    GPR8(REG_RAX, "al", "ah"), GPR8(REG_RCX, "cl", "ch"), GPR8(REG_RDX, "dl", "dh"),
    GPR8(REG_RBX, "bl", "bh"),
    REG64("r8", gpr[REG_R8]), REG64("r9", gpr[REG_R9]), REG64("r10", gpr[REG_R10]),
    REG64("r11", gpr[REG_R11]), REG64("r12", gpr[REG_R12]), REG64("r13", gpr[REG_R13]),
    REG64("r14", gpr[REG_R14]), REG64("r15", gpr[REG_R15]),
    REG64("rip", rip), REG32("eip", rip), REG16("ip", rip),
    SEG(SEG_ES, "es"), SEG(SEG_CS, "cs"), SEG(SEG_SS, "ss"), SEG(SEG_DS, "ds"), SEG(SEG_FS, "fs"),
    SEG(SEG_GS, "gs"), REG64("fs_base", seg[SEG_FS].base), REG64("gs_base", seg[SEG_GS].base),
    REG64("kernel_gs_base", kernel_gs_base), REG16("ldtr", ldtr.sel), REG16("tr", tr.sel),
    REG64("gdtr", gdtr.base), REG64("gdt.base", gdtr.base), REG32("gdt.limit", gdtr.limit),
    REG64("idtr", idtr.base), REG64("idt.base", idtr.base), REG32("idt.limit", idtr.limit),
    REG64("cr0", cr0), REG64("cr2", cr2), REG64("cr3", cr3), REG64("cr4", cr4),
    REG64("efer", efer), REG64("xcr0", xcr0), REG32("mxcsr", mxcsr),
    REG16("fcw", fpu.fcw), REG16("fsw", fpu.fsw), REG64("dr0", dr[0]), REG64("dr1", dr[1]),
    REG64("dr2", dr[2]), REG64("dr3", dr[3]), REG64("dr6", dr[6]), REG64("dr7", dr[7]),
};
/* Those that are not simply stored. */
static const char *const computed_regs[] = { "pc", "rflags", "eflags", "cpl" };

const char *cpu_register_name(unsigned i)
{
    if (i < ARRAY_SIZE(cpu_regs)) {
        return cpu_regs[i].name;
    }
    i -= ARRAY_SIZE(cpu_regs);
    return i < ARRAY_SIZE(computed_regs) ? computed_regs[i] : NULL;
}

bool cpu_register(const CpuState *cpu, const char *name, uint64_t *val)
{
    if (!strcmp(name, "pc")) { /* a linear address, for x/i $pc in every mode */
        *val = cpu->rip + (cpu->mode & MODE_CS64 ? 0 : cpu->seg[SEG_CS].base);
        return true;
    } else if (!strcmp(name, "rflags") || !strcmp(name, "eflags")) {
        *val = cpu_rflags(cpu);
        return true;
    } else if (!strcmp(name, "cpl")) {
        *val = cpu_cpl(cpu);
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(cpu_regs); i++) {
        if (!strcmp(cpu_regs[i].name, name)) {
            *val = 0;
            memcpy(val, (const char *)cpu + cpu_regs[i].offset, cpu_regs[i].size);
            return true;
        }
    }
    return false;
}

/* ---- info registers ---- */

typedef struct Printer {
    void (*print)(void *opaque, const char *line);
    void *opaque;
    char line[256];
    int len;
} Printer;

static void PRINTF_LIKE(2, 3) add(Printer *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    p->len += vsnprintf(p->line + p->len, sizeof(p->line) - p->len, fmt, ap);
    va_end(ap);
    assert(p->len < (int)sizeof(p->line));
}

static void end_line(Printer *p)
{
    p->print(p->opaque, p->line);
    p->len = 0;
}

static void print_gprs(Printer *p, const CpuState *cpu, bool wide)
{
    static const struct {
        const char *wide, *narrow;
        uint8_t reg;
    } gprs[] = {
        { "RAX", "EAX", REG_RAX }, { "RBX", "EBX", REG_RBX }, { "RCX", "ECX", REG_RCX },
        { "RDX", "EDX", REG_RDX }, { "RSI", "ESI", REG_RSI }, { "RDI", "EDI", REG_RDI },
        { "RBP", "EBP", REG_RBP }, { "RSP", "ESP", REG_RSP }, { "R8 ", NULL, REG_R8 },
        { "R9 ", NULL, REG_R9 },   { "R10", NULL, REG_R10 },  { "R11", NULL, REG_R11 },
        { "R12", NULL, REG_R12 },  { "R13", NULL, REG_R13 },  { "R14", NULL, REG_R14 },
        { "R15", NULL, REG_R15 },
    };
    for (size_t i = 0; i < (wide ? 16 : 8); i++) {
        uint64_t v = cpu->gpr[gprs[i].reg];
        if (wide) {
            add(p, "%s=%016llx", gprs[i].wide, (unsigned long long)v);
        } else {
            add(p, "%s=%08x", gprs[i].narrow, (uint32_t)v);
        }
        if (i % 4 == 3) {
            end_line(p);
        } else {
            add(p, " ");
        }
    }
}

static void print_flags(Printer *p, const CpuState *cpu, bool wide)
{
    static const struct {
        uint32_t bit;
        char letter;
    } letters[] = { { FLAG_DF, 'D' }, { FLAG_OF, 'O' }, { FLAG_SF, 'S' }, { FLAG_ZF, 'Z' },
                    { FLAG_AF, 'A' }, { FLAG_PF, 'P' }, { FLAG_CF, 'C' } };
    uint64_t flags = cpu_rflags(cpu);
    if (wide) {
        add(p, "RIP=%016llx RFL=%08x [", (unsigned long long)cpu->rip, (uint32_t)flags);
    } else {
        add(p, "EIP=%08x EFL=%08x [", (uint32_t)cpu->rip, (uint32_t)flags);
    }
    for (size_t i = 0; i < ARRAY_SIZE(letters); i++) {
        add(p, "%c", flags & letters[i].bit ? letters[i].letter : '-');
    }
    add(p, "] CPL=%u II=%u SMM=%u HLT=%u", cpu_cpl(cpu), cpu->shadow != 0, cpu->in_smm,
        cpu->activity == CPU_HALTED);
    end_line(p);
}

static const char *system_type_name(unsigned type, bool lma)
{
    static const char *const names[2][16] = {
        { "Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16",
          "TrapGate16", "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32",
          "Reserved", "IntGate32", "TrapGate32" },
        { "<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved",
          "Reserved", "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64",
          "Reserved", "IntGate64", "TrapGate64" },
    };
    return names[lma][type];
}

/* The descriptor's second doubleword as memory would have it: limit 19:16 and flags, access. */
static uint32_t descriptor_flags(const Segment *s)
{
    uint32_t limit = s->attr & SEG_G ? s->limit >> 12 : s->limit;
    return (s->attr & 0xff) << 8 | (s->attr & 0xf000) << 8 | (limit & 0xf0000);
}

static void print_segment(Printer *p, const CpuState *cpu, const char *name, const Segment *s,
                          bool wide)
{
    uint32_t a = s->attr;
    if (wide) {
        add(p, "%-3s=%04x %016llx %08x %08x", name, s->sel, (unsigned long long)s->base, s->limit,
            descriptor_flags(s));
    } else {
        add(p, "%-3s=%04x %08x %08x %08x", name, s->sel, (uint32_t)s->base, s->limit,
            descriptor_flags(s));
    }
    if ((cpu->cr0 & CR0_PE) && (a & SEG_P) && !(a & SEG_UNUSABLE)) {
        bool lma = cpu->efer & EFER_LMA;
        add(p, " DPL=%u ", (a & SEG_DPL) >> SEG_DPL_SHIFT);
        if (!(a & SEG_S)) {
            add(p, "%s", system_type_name(a & SEG_TYPE, lma));
        } else if (a & SEG_CODE) {
            add(p, "%s [%c%c%c]", a & SEG_L && lma ? "CS64" : a & SEG_DB ? "CS32" : "CS16",
                a & SEG_CONFORMING ? 'C' : '-', a & SEG_RW ? 'R' : '-',
                a & SEG_ACCESSED ? 'A' : '-');
        } else {
            add(p, "%s [%c%c%c]", a & SEG_DB || lma ? "DS  " : "DS16",
                a & SEG_EXPAND_DOWN ? 'E' : '-', a & SEG_RW ? 'W' : '-',
                a & SEG_ACCESSED ? 'A' : '-');
        }
    }
    end_line(p);
}

static void print_segments(Printer *p, const CpuState *cpu, bool wide)
{
    static const char *const names[NR_SEGS] = { "ES", "CS", "SS", "DS", "FS", "GS" };
    const struct {
        const char *name;
        const TableReg *reg;
    } tables[] = { { "GDT", &cpu->gdtr }, { "IDT", &cpu->idtr } };
    for (int i = 0; i < NR_SEGS; i++) {
        print_segment(p, cpu, names[i], &cpu->seg[i], wide);
    }
    print_segment(p, cpu, "LDT", &cpu->ldtr, wide);
    print_segment(p, cpu, "TR", &cpu->tr, wide);
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        add(p, wide ? "%s=     %016llx %08x" : "%s=     %08llx %08x", tables[i].name,
            (unsigned long long)tables[i].reg->base, tables[i].reg->limit);
        end_line(p);
    }
}

static void print_control(Printer *p, const CpuState *cpu, bool wide)
{
    const char *cr = wide ? "CR0=%08x CR2=%016llx CR3=%016llx CR4=%08x"
                          : "CR0=%08x CR2=%08llx CR3=%08llx CR4=%08x";
    add(p, cr, (uint32_t)cpu->cr0, (unsigned long long)cpu->cr2, (unsigned long long)cpu->cr3,
        (uint32_t)cpu->cr4);
    end_line(p);
    for (int i = 0; i < 4; i++) {
        add(p, wide ? "DR%d=%016llx%s" : "DR%d=%08llx%s", i, (unsigned long long)cpu->dr[i],
            i < 3 ? " " : "");
    }
    end_line(p);
    add(p, wide ? "DR6=%016llx DR7=%016llx" : "DR6=%08llx DR7=%08llx",
        (unsigned long long)cpu->dr[6], (unsigned long long)cpu->dr[7]);
    end_line(p);
    add(p, "EFER=%016llx", (unsigned long long)cpu->efer);
    end_line(p);
}

static void print_fpu(Printer *p, const CpuState *cpu, bool wide)
{
    const FpuState *f = &cpu->fpu;
    add(p, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x", f->fcw, f->fsw, f->fsw >> 11 & 7,
        f->tag, cpu->mxcsr);
    end_line(p);
    for (int i = 0; i < 8; i++) {
        uint64_t mantissa;
        uint16_t exponent;
        memcpy(&mantissa, f->st[i], 8);
        memcpy(&exponent, f->st[i] + 8, 2);
        add(p, "FPR%d=%016llx %04x%s", i, (unsigned long long)mantissa, exponent,
            i % 2 ? "" : " ");
        if (i % 2) {
            end_line(p);
        }
    }
    bool ymm = cpu->xcr0 & 4;
    for (int i = 0; i < (wide ? 16 : 8); i++) {
        const uint64_t *v = cpu->ymm[i].u64;
        if (ymm) {
            add(p, "YMM%02d=%016llx %016llx %016llx %016llx", i, (unsigned long long)v[3],
                (unsigned long long)v[2], (unsigned long long)v[1], (unsigned long long)v[0]);
        } else {
            add(p, "XMM%02d=%016llx %016llx", i, (unsigned long long)v[1],
                (unsigned long long)v[0]);
        }
        if (ymm || i % 2) {
            end_line(p);
        } else {
            add(p, " ");
        }
    }
}

void cpu_print_registers(const CpuState *cpu, void (*print)(void *opaque, const char *line),
                         void *opaque)
{
    Printer p = { .print = print, .opaque = opaque };
    bool wide = cpu->mode & MODE_CS64;
    print_gprs(&p, cpu, wide);
    print_flags(&p, cpu, wide);
    print_segments(&p, cpu, wide);
    print_control(&p, cpu, wide);
    print_fpu(&p, cpu, wide);
}

static bool no_cpu(Monitor *mon)
{
    monitor_printf(mon, "Error: this machine has no CPU\n");
    return false;
}

static void run_info_registers(Monitor *mon, const Dict *args)
{
    CpuState *cpu = monitor_cpu_hold(mon);
    if (!cpu) {
        no_cpu(mon);
        return;
    }
    bool all = arg_bool(args, "all");
    for (unsigned i = 0; i < mon->m->nr_cpus; i++) {
        if (all || i == mon->cpu) {
            monitor_printf(mon, "%sCPU#%u\n", all ? "\n" : "", i);
            cpu_print_registers(mon->m->cpu[i], monitor_print_line, mon);
        }
    }
    monitor_cpu_release(mon);
}

static void run_cpu(Monitor *mon, const Dict *args)
{
    uint64_t index = arg_u64(args, "index", 0);
    unsigned nr = mon->m ? mon->m->nr_cpus : 0;
    if (index >= nr) {
        monitor_printf(mon, "Error: there is no CPU %llu; this machine has %u\n",
                       (unsigned long long)index, nr);
        return;
    }
    mon->cpu = (unsigned)index;
}

static void print_line(void *opaque, const char *line)
{
    monitor_printf(opaque, "%s\n", line);
}

/* Why KVM does not run this guest, which some other engine runs. */
static void say_why_no_kvm(Monitor *mon, const Engine *e)
{
    Error *err = NULL;
    if (!e) {
        monitor_printf(mon, "reason: this build has no KVM\n");
    } else if (e->probe && !e->probe(&err)) {
        monitor_printf(mon, "reason: %s\n", error_text(err));
    } else if (e->suits && !e->suits(&err)) {
        monitor_printf(mon, "reason: another engine was chosen; %s\n", error_text(err));
    } else {
        monitor_printf(mon, "reason: another engine was chosen; 'accel all kvm' moves the CPUs\n");
    }
    error_free(err);
}

/* The first line is what scripts look for. */
static void run_info_kvm(Monitor *mon, const Dict *args)
{
    bool kvm = false, others = false;
    (void)args;
    for (unsigned i = 0; mon->m && mon->m->vcpu && i < mon->m->nr_cpus; i++) {
        const Engine *e = mon->m->vcpu[i]->engine;
        kvm |= !strcmp(e->name, "kvm");
        others |= e->executes;
    }
    monitor_printf(mon, "kvm support: %s\n", kvm ? "enabled" : "disabled");
    const Engine *e = engine_find("kvm");
    if (kvm && e->info) {
        e->info(mon->m, print_line, mon);
    } else if (!kvm && others) {
        say_why_no_kvm(mon, e);
    }
}

static void run_info_exits(Monitor *mon, const Dict *args)
{
    (void)args;
    const Engine *seen[8];
    unsigned nr = 0;
    if (!monitor_cpu_hold(mon)) {
        no_cpu(mon);
        return;
    }
    for (unsigned i = 0; i < mon->m->nr_cpus; i++) {
        const Engine *e = mon->m->vcpu ? mon->m->vcpu[i]->engine : NULL;
        bool known = !e || !e->exits || nr == ARRAY_SIZE(seen);
        for (unsigned j = 0; j < nr; j++) {
            known |= seen[j] == e;
        }
        if (!known) {
            seen[nr++] = e;
            e->exits(mon->m, print_line, mon);
        }
    }
    if (!nr) {
        monitor_printf(mon, "no CPU runs on an engine that guest code exits from (-accel kvm)\n");
    }
    monitor_cpu_release(mon);
}

MONITOR_COMMANDS(cpu_commands) = {
    { .name = "cpu", .args = "index:i", .params = "index",
      .help = "choose the CPU that x, p, info registers and others look at", .run = run_cpu },
    { .name = "registers", .args = "all:-a", .params = "[-a]",
      .help = "show the CPU's registers (-a: of all CPUs)", .run = run_info_registers,
      .info = true },
    { .name = "kvm", .help = "show whether KVM runs the guest", .run = run_info_kvm, .info = true,
      .preconfig = true },
    { .name = "exits", .help = "show why and how often CPUs left guest code, and for which device",
      .run = run_info_exits, .info = true },
    { .name = NULL },
};
