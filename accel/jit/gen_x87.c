/* SPDX-License-Identifier: GPL-2.0-or-later
 * x87 instructions, executed by the host's own x87 on the guest's state, which is loaded at the
 * first one of a block (accel/jit/fpu.h). Blocks whose mode has an exception unmasked, or the FPU
 * off, call the instructions' functions instead; with all of them masked none can become pending,
 * and every result, flag and tag is the processor's.
 *
 * What changes or shows the state as a whole (FNINIT, FLDENV, FNSAVE, ...) stays a function.
 */
#include "accel/jit/fpu.h"
#include "accel/jit/translate.h"
#include "cpu/x87.h"

typedef enum X87Kind {
    X87_FUNCTION,
    X87_CONTROL, /* FIP, FDP and FOP stay (SDM 1 8.1.8) */
    X87_PLAIN,
} X87Kind;

static X87Kind kind_of(const Insn *in)
{
    unsigned reg = in->modrm >> 3 & 7;
    if (in->modrm < 0xc0) {
        if ((in->opcode == 0xd9 || in->opcode == 0xdd) && reg >= 4) {
            return reg & 1 ? X87_CONTROL : X87_FUNCTION; /* FLDCW, FNSTCW, FNSTSW */
        }
        return X87_PLAIN;
    }
    if (in->opcode == 0xdb && reg == 4) {
        return in->modrm == 0xe2 ? X87_CONTROL : X87_FUNCTION; /* FNCLEX */
    }
    return in->opcode == 0xdf && in->modrm == 0xe0 ? X87_CONTROL : X87_PLAIN; /* FNSTSW AX */
}

static bool is_store(const Insn *in)
{
    unsigned reg = in->modrm >> 3 & 7;
    return (in->opcode & 1) && reg != 0 && reg != 4 && reg != 5;
}

void want_fpu(Translator *t)
{
    if (t->fpu) {
        return;
    }
    t->fpu = true;
    t->fpu_rip = false;
    t->fpu_seg = NR_SEGS;
    flags_clobber(t, t->live[t->i]);
    emit_alu_imm(t->e, 0, A_CMP, rm_gs(OFF_WORD(JW_FPU)), 0);
    Cold *c = new_cold(t, COLD_FPU, emit_jcc(t->e, CC_E));
    c->after = t->e->p;
}

/* ---- FIP, FOP, FDP, FDS ---- */

/* Will the next instruction overwrite the note before anybody can read it? */
static bool next_notes(const Translator *t)
{
    if (t->i + 1 >= t->nr_insns) {
        return false;
    }
    const Insn *next = &t->insn[t->i + 1];
    return (insn_rows[next->row].flags & INSN_X87) && next->modrm >= 0xc0 &&
           kind_of(next) == X87_PLAIN;
}

/* Called behind the instruction, so that one that faults leaves no trace. A body is emitted
 * twice: what the first call decides is kept a bit an instruction. */
static void note(Translator *t)
{
    uint64_t bit = 1ull << t->i;
    _Static_assert(TB_MAX_INSNS <= 64, "");
    if (next_notes(t)) {
        return;
    }
    if (!t->fpu_rip) {
        t->fpu_rip = true;
        t->fpu_notes_rip |= bit;
    }
    if (t->fpu_notes_rip & bit) {
        emit_load(t->e, S1, rm_gs(OFF_WORD(JW_PAGE)));
        emit_store(t->e, rm_gs(OFF_WORD(JW_FPU_RIP)), S1);
    }
    uint32_t fop = (t->in->opcode & 7u) << 8 | t->in->modrm;
    emit_store_imm32(t->e, rm_gs(OFF_WORD(JW_FPU_CODE)),
                     FPU_NOTED | fop << FPU_FOP_SHIFT | (t->page_at + t->off[t->i]));
}

static void note_data(Translator *t)
{
    Emit *e = t->e;
    const Insn *in = t->in;
    uint64_t bit = 1ull << t->i;
    Rm ea;
    guest_address(t, &ea);
    if (in->adsize == 8) {
        emit_lea(e, S1, ea);
    } else {
        emit_lea32(e, S1, ea);
        if (in->adsize == 2) {
            emit_movzx16(e, S1, S1);
        }
    }
    emit_store(e, rm_gs(OFF(fpu.fdp)), S1);
    if (t->fpu_seg != in->seg) {
        t->fpu_seg = in->seg;
        t->fpu_notes_seg |= bit;
    }
    if (t->fpu_notes_seg & bit) {
        emit_store_imm32(e, rm_gs(OFF_WORD(JW_FPU_DATA)), in->seg + 1u);
    }
}

/* ---- bodies ---- */

static void emit_memory_form(Translator *t, const Rm *mem)
{
    emit_op(t->e, t->in->opcode, t->in->modrm >> 3 & 7, *mem);
}

static void body_plain(Translator *t, const Rm *mem)
{
    emit_memory_form(t, mem);
    note(t);
    note_data(t);
}

/* One that unmasks something ends the mode that this block was made for: the function does it. */
static void body_fldcw(Translator *t, const Rm *mem)
{
    Emit *e = t->e;
    JitExec *x = new_exec(t);
    if (!x) {
        t->failed = true;
        return;
    }
    emit_op(e, EM_0F | 0xb7, S1, *mem); /* movzx */
    emit_alu_imm(e, 0, A_AND, rm_reg(S1), FCW_MASKS);
    emit_alu_imm(e, 0, A_CMP, rm_reg(S1), FCW_MASKS);
    Cold *c = new_cold(t, COLD_EXEC, emit_jcc(e, CC_NE));
    emit_memory_form(t, mem);
    c->exec = x;
    c->fpu = true;
    c->after = e->p;
}

static void gen_memory_form(Translator *t, X87Kind kind)
{
    const Insn *in = t->in;
    BodyFn *body = kind == X87_PLAIN ? body_plain
                   : is_store(in)    ? emit_memory_form
                                     : body_fldcw;
    gen_access(t, in->opd[0].kind == OPD_MEM ? in->opd[0].size : in->opd[1].size,
               is_store(in) ? MEM_WRITE : MEM_READ, 0, body);
}

static void gen_register_form(Translator *t, X87Kind kind)
{
    flags_restore(t, flags_needed(t)); /* FCMOVcc */
    emit8(t->e, t->in->opcode);
    emit8(t->e, t->in->modrm);
    if (kind == X87_PLAIN) {
        note(t);
    }
    if (insn_rows[t->in->row].flags_written) { /* FCOMI and its kin */
        t->flags = FLAGS_HOST;
    }
}

bool gen_emms(Translator *t)
{
    if (t->mode & (MODE_FPU_NM | MODE_FPU_UNMASKED)) {
        return false;
    }
    want_fpu(t);
    emit8(t->e, 0x0f);
    emit8(t->e, 0x77);
    return true;
}

bool gen_x87(Translator *t)
{
    X87Kind kind = kind_of(t->in);
    if ((t->mode & (MODE_FPU_NM | MODE_FPU_UNMASKED)) || kind == X87_FUNCTION) {
        return false;
    }
    want_fpu(t);
    if (t->in->modrm < 0xc0) {
        gen_memory_form(t, kind);
    } else {
        gen_register_form(t, kind);
    }
    return true;
}

bool gen_fwait(const Translator *t)
{
    return !(t->mode & (MODE_WAIT_NM | MODE_FPU_UNMASKED)); /* then nothing is pending */
}
