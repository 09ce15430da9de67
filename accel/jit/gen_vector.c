/* SPDX-License-Identifier: GPL-2.0-or-later
 * SSE, AVX and MMX instructions: all of them the host's own on resident registers, where the
 * interpreter would execute the host's instruction, too (cpu/simd_host.h says with which checks).
 * What may fault beyond its memory operand runs as a function.
 */
#include "accel/jit/recode.h"
#include "cpu/simd_host.h"

static bool vector_ok(const Translator *t, const SimdThunk *th)
{
    uint32_t bad = 0;
    bad |= th->checks & SIMD_SSE ? MODE_SSE_UD | MODE_SSE_NM : 0;
    bad |= th->checks & SIMD_AVX ? MODE_AVX_UD | MODE_SSE_NM : 0;
    bad |= th->checks & SIMD_FP ? MODE_MX_UNMASKED : 0;
    bad |= th->checks & SIMD_MMX ? MODE_FPU_NM | MODE_FPU_UNMASKED : 0;
    return !(t->mode & bad) && (!th->mem_align || th->mem_align == th->mem_size);
}

static void want_vectors(Translator *t)
{
    if (t->vectors) {
        return;
    }
    t->vectors = true;
    flags_clobber(t, t->live[t->i]);
    emit_alu_imm(t->e, 0, A_CMP, rm_gs(OFF_WORD(JW_VECTORS)), 0);
    Cold *c = new_cold(t, COLD_VECTORS, emit_jcc(t->e, CC_E));
    c->after = t->e->p;
}

static bool has_xmm(const Insn *in)
{
    for (unsigned n = 0; n < in->nr_opd; n++) {
        if (in->opd[n].kind == OPD_XMM) {
            return true;
        }
    }
    return false;
}

/* MMX registers are the x87's, and what MMX instructions do to its tags and TOP the host does. */
static void want_registers(Translator *t, bool mmx)
{
    if (mmx) {
        want_fpu(t);
    }
    if (!mmx || has_xmm(t->in)) {
        want_vectors(t);
    }
}

/* VZEROUPPER and VZEROALL: of all registers only in 64-bit mode. */
static bool gen_vzero(Translator *t)
{
    if ((t->mode & (MODE_AVX_UD | MODE_SSE_NM)) || !t->cs64) {
        return false;
    }
    want_vectors(t);
    emit8(t->e, 0xc5);
    emit8(t->e, t->in->prefixes & PFX_VEX_L ? 0xfc : 0xf8);
    emit8(t->e, 0x77);
    return true;
}

bool gen_vector(Translator *t)
{
    const Insn *in = t->in;
    if (in->op == OP_VZEROUPPER || in->op == OP_VZEROALL) {
        return gen_vzero(t);
    }
    if (in->op == OP_EMMS) {
        return gen_emms(t);
    }
    const SimdThunk *th = simd_thunk(in);
    Plan p;
    if (!th || !vector_ok(t, th) || !recode_plan(in, NULL, &p)) {
        return false;
    }
    const Operand *m = insn_mem(in);
    if ((m != NULL) != (th->mem_size != 0)) {
        return false;
    }
    uint32_t need = flags_needed(t);
    want_registers(t, th->checks & SIMD_MMX);
    if (m) {
        uint32_t access = (th->mem_access & OPD_W ? MEM_WRITE : 0) |
                          (th->mem_access & OPD_R ? MEM_READ : 0) |
                          (th->mem_align ? MEM_ALIGNED : 0);
        gen_access(t, th->mem_size, access, need, recode_body);
    } else {
        flags_restore(t, need);
        recode_emit(t, in, &p);
    }
    if (insn_rows[in->row].flags_written) {
        t->flags = FLAGS_HOST;
    }
    return true;
}
