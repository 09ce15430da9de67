/* SPDX-License-Identifier: GPL-2.0-or-later
 * The engine's side: a machine of nothing but RAM, and a CPU at privilege level 3 with paging
 * on, whose page tables map the same linear addresses as the host has.
 */
#include "oracle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/interp/interp.h"
#include "accel/jit/jit.h"
#include "hw/core/machine.h"
#include "util/vm_lock.h"

/* Guest physical layout */
enum {
    PML4 = 0x1000,
    PDPT = 0x2000,
    PD = 0x3000,
    PT = 0x4000,
    CODE_GPA = 0x10000,
    DATA_GPA = 0x20000,
    RAM_SIZE = 0x100000
};
enum { PTE_READ = 5, PTE_WRITE = 7, PTE_AD = 0x60 }; /* present, user */

static Machine machine;
static CpuState *cpu;

typedef struct StepEngine {
    const char *name;
    void (*init)(CpuState *cpu);
    /* One instruction: -1, or the vector it raised, not delivered. */
    int (*step)(CpuState *cpu);
    bool whole_rep; /* a step may do several iterations of a repeated instruction */
} StepEngine;

/* One instruction a block, and the host's LOCK prefix as with several CPUs. */
static void start_jit(CpuState *c)
{
    JitConfig config = JIT_CONFIG_DEFAULT;
    config.max_insns = 1;
    config.nr_cpus = 2;
    config.chain = false;
    config.window = false; /* nothing here runs with paging off */
    Error *err = NULL;
    Jit *jit = jit_create(&config, &err);
    if (!jit) {
        printf("1..0 # SKIP %s\n", error_text(err));
        exit(0);
    }
    jit_cpu_init(c, jit, NULL);
}

static const StepEngine interp = { "interp", interp_cpu_init, interp_step_raw, false };
static StepEngine engine;

bool guest_choose(const char *name)
{
    engine = interp;
    if (!strcmp(name, "jit")) {
        engine = (StepEngine) { "jit", start_jit, jit_step_block, true };
    }
    return !strcmp(name, engine.name);
}

static void put_entry(uint32_t table, unsigned index, uint64_t val)
{
    memcpy(machine.ram->host + table + index * 8, &val, 8);
}

static void map_page(uint64_t lin, uint64_t gpa, unsigned access)
{
    put_entry(PML4, lin >> 39 & 511, PDPT | PTE_WRITE | PTE_AD);
    put_entry(PDPT, lin >> 30 & 511, PD | PTE_WRITE | PTE_AD);
    put_entry(PD, lin >> 21 & 511, PT | PTE_WRITE | PTE_AD);
    put_entry(PT, lin >> 12 & 511, gpa | access | PTE_AD);
}

void guest_init(void)
{
    Error *err = NULL;
    machine.ram = ram_block_new("ram", RAM_SIZE, &err);
    assert(machine.ram);
    static Region ram;
    region_init_container(&machine.memory_root, "memory", UINT64_MAX);
    region_init_container(&machine.io_root, "io", 0x10000);
    region_init_ram(&ram, "ram", machine.ram, 0, RAM_SIZE);
    vm_lock();
    region_add(&machine.memory_root, 0, &ram, 0);
    address_space_init(&machine.memory, "memory", &machine.memory_root);
    address_space_init(&machine.io, "io", &machine.io_root);
    vm_unlock();
    memset(machine.ram->host + CODE_GPA, 0xcc, CODE_SIZE);
    for (unsigned at = 0; at < CODE_SIZE; at += PAGE_SIZE) {
        map_page(CODE_LIN + at, CODE_GPA + at, PTE_READ);
    }
    for (unsigned at = 0; at < DATA_SIZE; at += PAGE_SIZE) {
        map_page(DATA_LIN + at, DATA_GPA + at, PTE_WRITE);
    }

    cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~63ul);
    memset(cpu, 0, sizeof(*cpu));
    cpu_init(cpu, &machine, 0);
    if (!cpu_model_apply(cpu, "max", &err)) {
        printf("# -cpu max: %s\n", error_text(err));
        exit(1);
    }
    cpu_reset(cpu, false);
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    cpu->cr4 = CR4_PAE | CR4_PSE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE |
               CR4_FSGSBASE;
    cpu->cr3 = PML4;
    cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    cpu->xcr0 = 7;
    engine.init(cpu);
}

void guest_set_mode(const Mode *m)
{
    uint32_t data = SEG_RW | SEG_ACCESSED | SEG_S | SEG_DPL | SEG_P | SEG_DB | SEG_G;
    uint32_t code = SEG_CODE | SEG_RW | SEG_ACCESSED | SEG_S | SEG_DPL | SEG_P |
                    (m->bits == 16 ? 0 : SEG_G);
    code |= m->bits == 64 ? SEG_L : m->bits == 32 ? SEG_DB : 0;
    bool small = m->bits == 16;
    Segment flat = { .sel = m->ss,
                     .attr = small ? data & ~(uint32_t)(SEG_DB | SEG_G) : data,
                     .limit = small ? 0xffff : UINT32_MAX,
                     .base = m->data_base };
    cpu->seg[SEG_DS] = cpu->seg[SEG_ES] = cpu->seg[SEG_SS] = flat;
    /* FS and GS: null selectors as native_init leaves them, with a base in 64-bit code only
     */
    cpu->seg[SEG_FS] = (Segment) { .attr = m->bits == 64 ? data : SEG_UNUSABLE };
    cpu->seg[SEG_GS] = cpu->seg[SEG_FS];
    cpu->seg[SEG_CS] =
        (Segment) { m->cs, code, m->bits == 16 ? 0xffff : UINT32_MAX, m->cs_base };
    cpu->seg[SEG_GS].base = native_gs_base();
    cpu->eflags = FLAG_IF;
    cpu->rip = CODE_LIN + CODE_AT - m->cs_base;
    cpu_update_mode(cpu);
    /* What was translated for another mode must not be found: code is keyed by it. */
    if (engine.step == interp.step) {
        interp_flush(cpu);
    }
}

static void guest_load(const Regs *r)
{
    memcpy(cpu->gpr, r->gpr, sizeof(cpu->gpr));
    cpu->rip = r->rip;
    cpu->cc = flags_to_cc(r->flags);
    cpu->eflags = FLAG_IF | (r->flags & FLAG_DF);
    cpu->mxcsr = r->mxcsr;
    memcpy(cpu->ymm, r->ymm, sizeof(cpu->ymm));
    unsigned top = r->fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        memset(cpu->fpu.st[(top + i) & 7], 0, 16);
        memcpy(cpu->fpu.st[(top + i) & 7], r->st[i], 10);
    }
    cpu->fpu.fcw = r->fcw;
    cpu->fpu.fsw = r->fsw;
    cpu->fpu.tag = r->tag;
    cpu->fpu.fop = r->fop;
    cpu->fpu.fip = r->fip;
    cpu->fpu.fdp = r->fdp;
    cpu->fpu.fcs = cpu->fpu.fds = 0;
    cpu->pending_db = 0;
    cpu->shadow = 0;
    cpu->activity = CPU_ACTIVE;
    cpu_update_mode(cpu);
}

static void guest_store(Regs *r)
{
    memcpy(r->gpr, cpu->gpr, sizeof(cpu->gpr));
    r->rip = cpu->rip;
    r->flags = cc_to_flags(cpu->cc) | (cpu->eflags & FLAG_DF);
    r->mxcsr = cpu->mxcsr;
    memcpy(r->ymm, cpu->ymm, sizeof(cpu->ymm));
    unsigned top = cpu->fpu.fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(r->st[i], cpu->fpu.st[(top + i) & 7], 10);
    }
    r->fcw = cpu->fpu.fcw;
    r->fsw = cpu->fpu.fsw;
    r->tag = cpu->fpu.tag;
    r->fop = cpu->fpu.fop;
    r->fip = cpu->fpu.fip;
    r->fdp = cpu->fpu.fdp;
}

void guest_run(const Mode *m, const Case *c, Regs *out)
{
    uint64_t at = CODE_GPA + CODE_AT;
    (void)m;
    memcpy(machine.ram->host + at, c->bytes, 16);
    ram_written(machine.ram, at, 16);
    guest_load(&c->before);
    int vector;
    unsigned rounds = 0;
    /* A repeated string instruction may take several steps. */
    do {
        vector = engine.step(cpu);
    } while (vector < 0 && cpu->rip == c->before.rip && c->form->rep && ++rounds < 10000);
    guest_store(out);
    out->steps = rounds + 1 + (engine.whole_rep && c->form->rep);
    out->vector = vector;
    out->error = vector >= 0 && cpu->exc_has_error ? cpu->exc_error : 0;
    out->cr2 = cpu->cr2;
}

uint8_t *guest_data(void)
{
    return machine.ram->host + DATA_GPA;
}
