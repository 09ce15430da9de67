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
 * Which operands do so is found by samples: of every ROAM_EVERY times that the stubs fill a slot
 * one is looked at. Pages one after the other do not count: a walk through an array has many
 * accesses between two misses.
 */
#include "accel/jit/translate.h"

/* ---- which operands ---- */

enum {
    ROAM_EVERY = 256,
    ROAM_CYCLES = 1500,      /* of the host's TSC: misses further apart than this do not matter */
    ROAM_SAMPLES = 3,        /* that it takes at least */
    ROAM_WINDOW = 1 << 22,   /* TSC ticks after which counting starts anew */
};

static uint64_t site_of(uint64_t gpa, bool write)
{
    return gpa << 1 | write;
}

static unsigned roam_bit(uint64_t site)
{
    return (unsigned)(site * 0x9e3779b97f4a7c15ull >> 48) % ROAM_BITS;
}

static bool is_roaming(const Jit *j, uint64_t site)
{
    unsigned bit = roam_bit(site);
    return j->roaming == ROAM_ALL ||
           __atomic_load_n(&j->roam[bit / 64], __ATOMIC_RELAXED) >> bit % 64 & 1;
}

/* True: often enough, in this window. pc stands for the operand. */
static bool count_miss(JitCpu *jc, const void *pc, uint64_t now)
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

void jit_sample(CpuState *cpu, uint64_t lin, uint32_t desc, const void *pc)
{
    JitCpu *jc = cpu->jit;
    Jit *j = jc->jit;
    const TlbSlots *s = desc & MEM_WRITE ? &cpu->write_slots : &cpu->read_slots;
    uint64_t was = s->tag[desc >> MEM_SLOT_SHIFT & (NR_SLOTS - 1)];
    uint64_t moved = TLB_PAGE(lin) - was;
    cpu->jit_word[JW_SAMPLE] = j->roaming == ROAM_AUTO ? ROAM_EVERY : INT64_MAX;
    if (j->roaming != ROAM_AUTO || was == SLOT_NONE || moved == PAGE_SIZE ||
        moved == -(uint64_t)PAGE_SIZE || !count_miss(jc, pc, __builtin_ia32_rdtsc())) {
        return;
    }
    pthread_mutex_lock(&j->lock);
    Tb *tb = tb_of_host(j, pc);
    if (tb && !tb->stale) {
        uint64_t gpa = TLB_PAGE(tb->gpa) | (desc & (PAGE_SIZE - 1));
        unsigned bit = roam_bit(site_of(gpa, desc & MEM_WRITE));
        uint64_t was_set = __atomic_fetch_or(&j->roam[bit / 64], 1ull << bit % 64, __ATOMIC_RELAXED);
        j->stats.roaming += !(was_set >> bit % 64 & 1);
        tb_drop(j, tb); /* to be translated again; this execution goes on */
    }
    pthread_mutex_unlock(&j->lock);
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
           is_roaming(t->j, site_of(t->gpa + t->off[t->i], write));
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

void roam_index(Translator *t)
{
    Emit *e = t->e;
    emit_rorx(e, true, S1, S0, PAGE_BITS);
    emit_rorx(e, true, S0, S0, PAGE_BITS + TLB_FOLD);
    emit_alu(e, 0, A_ADD, S1, rm_reg(S0));
    emit_alu_imm(e, 0, A_AND, rm_reg(S1), TLB_SIZE - 1);
    emit_op(e, 0xc1, 4, rm_reg(S1)); /* shl */
    emit8(e, 5);
    _Static_assert(sizeof(TlbEntry) == 32, "");
    emit_alu(e, EM_W, A_ADD, S1, rm_gs(OFF(tlb)));
}

uint8_t *roam_compare(Translator *t, bool write, int32_t mask)
{
    int32_t tag = write ? offsetof(TlbEntry, wtag) : offsetof(TlbEntry, rtag);
    emit_alu_imm(t->e, EM_W, A_AND, rm_reg(S0), mask);
    emit_alu(t->e, EM_W, A_CMP, S0, rm_mem(S1, tag));
    return emit_jcc(t->e, CC_NE);
}
