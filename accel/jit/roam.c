/* SPDX-License-Identifier: GPL-2.0-or-later
 * Operands that roam: whose page is another one at nearly every execution, as in hash tables, in
 * lists, in the model of a decompressor. A slot knows one page only, so each such access costs a
 * jump that the host predicts wrongly and the slow stub. They look into the Tlb in line instead,
 * which takes twice the instructions of a slot's check:
 *
 *     lea  r10, [address]                  its page's entry to r11, as tlb_index()
 *     rorx r11, r10, 12;  rorx r10, r10, 21;  add r11d, r10d
 *     and  r11d, TLB_SIZE - 1;  shl r11d, 5;  add r11, gs:[tlb]
 *     lea  r10, [address + size - 1];  and r10, -4096
 *     cmp  r10, [r11 + tag]
 *     jne  cold
 *     mov  r10, [r11 + addend]
 *     op   reg, [address + r10]
 *
 * Operands of a 64-bit kernel all do. Which others do so is found out in two steps. Of every
 * ROAM_EVERY times that the stubs fill a slot one is looked at: who misses often by the clock is
 * suspected. (Pages one after the other do not count: a walk through an array.) A suspect's block is
 * translated again to count its executions and its misses for a while, which settles the question for
 * that operand.
 */
#include "accel/jit/translate.h"

/* ---- which operands ---- */

enum {
    ROAM_EVERY = 256,
    ROAM_CYCLES = 1500,    /* ticks of the host's TSC: misses further apart do not matter */
    ROAM_SAMPLES = 3,      /* that it takes at least */
    ROAM_WINDOW = 1 << 22, /* ticks after which counting starts anew */
    ROAM_TRIAL = 1 << 20,  /* ticks that a trial takes at least */
};

static uint64_t site_of(uint64_t gpa, bool write)
{
    return gpa << 1 | write;
}

static unsigned roam_bit(uint64_t site)
{
    return (unsigned)(site * 0x9e3779b97f4a7c15ull >> 48) % ROAM_BITS;
}

static bool has_bit(const uint64_t *set, uint64_t site)
{
    unsigned bit = roam_bit(site);
    return __atomic_load_n(&set[bit / 64], __ATOMIC_RELAXED) >> bit % 64 & 1;
}

static void set_bit(uint64_t *set, uint64_t site)
{
    unsigned bit = roam_bit(site);
    __atomic_fetch_or(&set[bit / 64], 1ull << bit % 64, __ATOMIC_RELAXED);
}

/* True: often enough, in this window. pc stands for the operand. */
static bool is_suspect(JitCpu *jc, const void *pc, uint64_t now)
{
    if (now - jc->roam_since > ROAM_WINDOW) {
        memset(jc->roam_count, 0, sizeof(jc->roam_count));
        jc->roam_since = now;
    }
    RoamCount *c = &jc->roam_count[((uintptr_t)pc ^ (uintptr_t)pc >> 6) % ARRAY_SIZE(jc->roam_count)];
    if (c->pc != pc) {
        if (c->n > 1) {
            c->n--;
            return false;
        }
        *c = (RoamCount){ .pc = pc };
    }
    c->n++;
    return c->n >= ROAM_SAMPLES &&
           (uint64_t)c->n * ROAM_EVERY * ROAM_CYCLES >= now - jc->roam_since;
}

/* Lock held. Its blocks are translated again; one that runs just now goes on. */
static void drop_block(Jit *j, uint64_t gpa, uint32_t mode, const uint32_t *stamp)
{
    Tb *tb = tb_find(j, gpa, mode, stamp, TB_ANY);
    if (tb) {
        tb_drop(j, tb, DROP_ROAM);
    }
}

static void begin_trial(CpuState *cpu, const Tb *tb, uint64_t site, uint64_t now)
{
    RoamTrial *r = &cpu->jit->jit->trial;
    *r = (RoamTrial){ .site = site, .cpu = cpu, .since = now,
                      .gpa = tb->gpa, .mode = tb->mode, .stamp = tb->stamp };
    cpu->jit_word[JW_TRIAL] = 0;
    drop_block(cpu->jit->jit, r->gpa, r->mode, r->stamp);
}

static void end_trial(Jit *j, int64_t balance)
{
    RoamTrial r = j->trial;
    j->trial = (RoamTrial){ 0 };
    if (balance) {
        set_bit(balance > 0 ? j->roam : j->roam_not, r.site);
        j->stats.roaming += balance > 0;
    }
    drop_block(j, r.gpa, r.mode, r.stamp);
}

static void suspect(CpuState *cpu, uint32_t desc, const void *pc, uint64_t now)
{
    Jit *j = cpu->jit->jit;
    const Tb *tb = tb_of_host(j, pc);
    if (!tb || tb->stale) {
        return;
    }
    uint64_t site = site_of(TLB_PAGE(tb->gpa) | (desc & (PAGE_SIZE - 1)), desc & MEM_WRITE);
    if (has_bit(j->roam, site)) {
        drop_block(j, tb->gpa, tb->mode, tb->stamp); /* older than the verdict */
    } else if (!has_bit(j->roam_not, site) && !j->trial.site) {
        begin_trial(cpu, tb, site, now);
    }
}

void jit_sample(CpuState *cpu, uint64_t lin, uint32_t desc, const void *pc)
{
    JitCpu *jc = cpu->jit;
    Jit *j = jc->jit;
    const TlbSlots *s = desc & MEM_WRITE ? &cpu->write_slots : &cpu->read_slots;
    uint64_t was = s->tag[desc >> MEM_SLOT_SHIFT & (NR_SLOTS - 1)];
    uint64_t moved = TLB_PAGE(lin) - was, now = __builtin_ia32_rdtsc();
    jc->tlb_hits += jc->sample_from; /* this one is still to be counted */
    jc->sample_from = j->roaming == ROAM_AUTO ? ROAM_EVERY : INT64_MAX;
    cpu->jit_word[JW_SAMPLE] = jc->sample_from;
    bool ends = __atomic_load_n(&j->trial.cpu, __ATOMIC_RELAXED) == cpu;
    bool starts = j->roaming == ROAM_AUTO && was != SLOT_NONE && moved != PAGE_SIZE &&
                  moved != -(uint64_t)PAGE_SIZE && is_suspect(jc, pc, now);
    if (!ends && !starts) {
        return;
    }
    pthread_mutex_lock(&j->lock);
    if (j->trial.cpu == cpu && now - j->trial.since > ROAM_TRIAL) {
        end_trial(j, (int64_t)cpu->jit_word[JW_TRIAL]);
    }
    if (starts) {
        suspect(cpu, desc, pc, now);
    }
    pthread_mutex_unlock(&j->lock);
}

/* The code of a 64-bit system: one of its paths, from a system call's entry to its end, has more
 * operands in more pages than there are slots, and by the next time others have taken them. Loaders
 * and decompressors run below. */
static bool is_kernel(const Translator *t)
{
    return t->cs64 && !t->user && (int64_t)t->lin < 0;
}

bool roams(const Translator *t, bool write)
{
    const Insn *in = t->in;
    bool form = t->cs64 ? in->adsize == 8 : t->flat && in->adsize == 4;
    bool fixed = in->base == INSN_REG_RIP ||
                 (in->base == INSN_REG_NONE && in->index == INSN_REG_NONE);
    bool spilled_index = in->index != INSN_REG_NONE && is_spilled(in->index);
    bool writes_code = !t->cs64 && in->seg == SEG_CS && write;
    return form && !fixed && !spilled_index && in->seg < SEG_FS && !writes_code &&
           t->j->roaming != ROAM_OFF && in->disp <= INT32_MAX - 64 &&
           (t->j->roaming == ROAM_ALL || is_kernel(t) || roam_was_seen(t, write));
}

bool roam_was_seen(const Translator *t, bool write)
{
    return has_bit(t->j->roam, site_of(t->gpa + t->off[t->i], write));
}

bool roam_on_trial(const Translator *t, bool write)
{
    return t->j->trial.site && t->j->trial.site == site_of(t->gpa + t->off[t->i], write);
}

void roam_count(Translator *t, int32_t n)
{
    emit_alu_imm(t->e, EM_W, A_ADD, rm_gs(OFF_WORD(JW_TRIAL)), n);
}

/* ---- code ---- */

void roam_address(Translator *t, int32_t plus)
{
    Rm ea;
    guest_address(t, &ea);
    ea.disp += plus;
    if (t->cs64) {
        emit_lea(t->e, S0, ea);
    } else {
        emit_lea32(t->e, S0, ea);
    }
}

void emit_tlb_index(Emit *e, unsigned to, unsigned lin, unsigned scratch)
{
    emit_rorx(e, true, to, lin, PAGE_BITS);
    emit_rorx(e, true, scratch, lin, PAGE_BITS + TLB_FOLD);
    emit_alu(e, 0, A_ADD, to, rm_reg(scratch));
    emit_alu_imm(e, 0, A_AND, rm_reg(to), TLB_SIZE - 1);
    emit_op(e, 0xc1, 4, rm_reg(to)); /* shl */
    emit8(e, 5);
    _Static_assert(sizeof(TlbEntry) == 32, "");
    emit_alu(e, EM_W, A_ADD, to, rm_gs(OFF(tlb)));
}

void roam_index(Translator *t)
{
    emit_tlb_index(t->e, S1, S0, S0);
}

uint8_t *roam_compare(Translator *t, bool write, int32_t mask)
{
    /* The mask may leave the low bits of an address that should be aligned: they must not make a
     * page's tag the slow one of that page. */
    _Static_assert(TLB_SLOW > sizeof(((JitCpu *)0)->bounce), "");
    int32_t tag = write ? offsetof(TlbEntry, wtag) : offsetof(TlbEntry, rtag);
    emit_alu_imm(t->e, EM_W, A_AND, rm_reg(S0), mask);
    emit_alu(t->e, EM_W, A_CMP, S0, rm_mem(S1, tag));
    return emit_jcc(t->e, CC_NE);
}
