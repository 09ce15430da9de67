/* SPDX-License-Identifier: GPL-2.0-or-later
 * The small pieces of host code between C and translated blocks: entering, leaving, and calls of
 * helpers that save what C may clobber.
 *
 * In translated code: guest registers 0-3, 5-8 and 12-15 in the host's of the same number, guest
 * RSP in r9, guest R9-R11 in CpuState; r10 and r11 are scratch; gs addresses CpuState; rsp is the
 * host's stack, a multiple of 16. Arithmetic flags at a block's entry are in CpuState.cc.
 */
#include "accel/jit/translate.h"

static const uint8_t resident[] = { RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8, R12, R13, R14, R15 };

static void save_registers(Emit *e)
{
    for (unsigned i = 0; i < sizeof(resident); i++) {
        emit_store(e, rm_gs(OFF_GPR(resident[i])), resident[i]);
    }
    emit_store(e, rm_gs(OFF_GPR(REG_RSP)), R9);
}

static void load_registers(Emit *e)
{
    for (unsigned i = 0; i < sizeof(resident); i++) {
        emit_load(e, resident[i], rm_gs(OFF_GPR(resident[i])));
    }
    emit_load(e, R9, rm_gs(OFF_GPR(REG_RSP)));
}

/* Those that a C function does not keep. */
static void load_clobbered(Emit *e)
{
    static const uint8_t clobbered[] = { RAX, RCX, RDX, RSI, RDI, R8 };
    for (unsigned i = 0; i < sizeof(clobbered); i++) {
        emit_load(e, clobbered[i], rm_gs(OFF_GPR(clobbered[i])));
    }
    emit_load(e, R9, rm_gs(OFF_GPR(REG_RSP)));
}

static void push(Emit *e, unsigned reg)
{
    if (reg >= 8) {
        emit8(e, 0x41);
    }
    emit8(e, 0x50 | (reg & 7));
}

static void pop(Emit *e, unsigned reg)
{
    if (reg >= 8) {
        emit8(e, 0x41);
    }
    emit8(e, 0x58 | (reg & 7));
}

static void ret(Emit *e)
{
    emit8(e, 0xc3);
}

static uint8_t *start(Emit *e)
{
    emit_align(e, 16, 0);
    return e->p;
}

/* fn(cpu, ...): the other arguments are in their registers. */
static void call_with_cpu(Emit *e, void *fn)
{
    emit_load(e, RDI, rm_gs(OFF_WORD(JW_SELF)));
    emit_call_c(e, fn);
}

/* ---- vector registers ---- */

/* Two subroutines: YMM0-15 to CpuState; back. Flags are lost. */
static uint8_t *make_save_vectors(Emit *e)
{
    uint8_t *at = start(e);
    for (unsigned i = 0; i < 16; i++) {
        emit_vex(e, 2, 1, false, true, 0, 0x7f, i, rm_gs(OFF(ymm) + 32 * (int32_t)i));
    }
    emit_store_imm32(e, rm_gs(OFF_WORD(JW_VECTORS)), 0);
    ret(e);
    return at;
}

/* Where all upper halves are 0 they are left in that state: SSE code runs faster then. */
static uint8_t *make_load_vectors(Emit *e)
{
    uint8_t *at = start(e);
    int32_t ymm = OFF(ymm);
    emit_vex(e, 2, 1, false, false, 0, 0x6f, 0, rm_gs(ymm + 16)); /* vmovdqu */
    for (int i = 1; i < 16; i++) {
        emit_vex(e, 1, 1, false, false, 0, 0xeb, 0, rm_gs(ymm + 32 * i + 16)); /* vpor */
    }
    emit_vex(e, 1, 2, false, false, 0, 0x17, 0, rm_reg(0)); /* vptest */
    emit_store_imm32(e, rm_gs(OFF_WORD(JW_VECTORS)), 1);
    uint8_t *full = emit_jcc(e, CC_NE);
    emit8(e, 0xc5); /* vzeroupper */
    emit8(e, 0xf8);
    emit8(e, 0x77);
    for (unsigned i = 0; i < 16; i++) {
        emit_op(e, EM_0F | 0x10, i, rm_gs(ymm + 32 * (int32_t)i)); /* movups */
    }
    ret(e);
    emit_link_here(e, full);
    for (unsigned i = 0; i < 16; i++) {
        emit_vex(e, 2, 1, false, true, 0, 0x6f, i, rm_gs(ymm + 32 * (int32_t)i));
    }
    ret(e);
    return at;
}

/* Saves the vector registers if they are live. */
static void vectors_to_memory(Emit *e, const uint8_t *save)
{
    emit_alu_imm(e, 0, A_CMP, rm_gs(OFF_WORD(JW_VECTORS)), 0);
    uint8_t *skip = emit_jcc(e, CC_E);
    emit_call_to(e, save);
    emit_link_here(e, skip);
}

/* Brackets a call of C that the code goes on behind; stack: 8 bytes, JW_VECTORS as it was. */
static void vectors_push(Emit *e, const uint8_t *save)
{
    emit_op(e, 0xff, 6, rm_gs(OFF_WORD(JW_VECTORS))); /* push */
    vectors_to_memory(e, save);
}

static void vectors_pop(Emit *e, const uint8_t *load)
{
    pop(e, RCX);
    emit_op(e, 0x85, RCX, rm_reg(RCX)); /* test */
    uint8_t *skip = emit_jcc(e, CC_E);
    emit_call_to(e, load);
    emit_link_here(e, skip);
}

/* ---- x87 ---- */

/* A subroutine: CpuState to the host's x87 registers. Flags, r10 and r11 are lost. */
static uint8_t *make_load_fpu(Emit *e)
{
    const int32_t img = offsetof(JitCpu, fpu);
    uint8_t *at = start(e);
    push(e, RAX);
    push(e, RCX);
    push(e, RDX);
    emit_load(e, S0, rm_gs(OFF_WORD(JW_JUMPS)));
    emit_op(e, EM_0F | 0xb7, RAX, rm_gs(OFF(fpu.fcw))); /* movzx */
    emit_op(e, EM_66 | 0x89, RAX, rm_mem(S0, img + (int32_t)offsetof(FpuImage, fcw)));
    emit_op(e, EM_0F | 0xb6, RAX, rm_gs(OFF(fpu.tag)));
    emit_op(e, EM_66 | 0x89, RAX, rm_mem(S0, img + (int32_t)offsetof(FpuImage, ftw)));
    emit_op(e, EM_0F | 0xb7, RCX, rm_gs(OFF(fpu.fsw)));
    emit_op(e, EM_66 | 0x89, RCX, rm_mem(S0, img + (int32_t)offsetof(FpuImage, fsw)));
    emit_op(e, 0xc1, 5, rm_reg(RCX)); /* shr: TOP * 16 */
    emit8(e, 7);
    Rm st = rm_gs(OFF(fpu.st));
    st.index = RCX;
    for (int32_t i = 0; i < 8; i++) {
        Rm to = rm_mem(S0, img + (int32_t)offsetof(FpuImage, st) + 16 * i);
        emit_alu_imm(e, 0, A_AND, rm_reg(RCX), 0x70);
        st.disp = OFF(fpu.st);
        emit_load(e, RAX, st);
        st.disp += 8;
        emit_op(e, EM_0F | 0xb7, RDX, st);
        emit_store(e, to, RAX);
        to.disp += 8;
        emit_store(e, to, RDX);
        emit_alu_imm(e, 0, A_ADD, rm_reg(RCX), 16);
    }
    emit_op(e, EM_W | 0xc7, 0, rm_mem(S0, img + (int32_t)offsetof(FpuImage, xstate_bv)));
    emit32(e, 1);
    emit_mov_imm32(e, RAX, 1);
    emit_mov_imm32(e, RDX, 0);
    emit_op(e, EM_W | EM_0F | 0xae, 5, rm_mem(S0, img)); /* xrstor64 */
    emit_store_imm32(e, rm_gs(OFF_WORD(JW_FPU)), 1);
    pop(e, RDX);
    pop(e, RCX);
    pop(e, RAX);
    ret(e);
    return at;
}

/* ---- in and out ---- */

static const uint8_t callee_saved[] = { RBX, RBP, R12, R13, R14, R15 };

static void *make_enter(Emit *e)
{
    uint8_t *at = start(e);
    for (unsigned i = 0; i < sizeof(callee_saved); i++) {
        push(e, callee_saved[i]);
    }
    emit_lea(e, RSP, rm_mem(RSP, -8));
    emit_mov(e, R11, RDI);
    load_registers(e);
    emit_op(e, 0xff, 4, rm_reg(R11)); /* jmp */
    return at + e->to_rx;
}

static void go_back(Emit *e)
{
    emit_lea(e, RSP, rm_mem(RSP, 8));
    for (unsigned i = sizeof(callee_saved); i-- > 0;) {
        pop(e, callee_saved[i]);
    }
    ret(e);
}

/* The registers are in CpuState already. */
static uint8_t *make_leave_saved(Emit *e, const uint8_t *save)
{
    uint8_t *at = start(e);
    vectors_to_memory(e, save);
    go_back(e);
    return at;
}

static uint8_t *make_leave_rip(Emit *e, const uint8_t *saved)
{
    uint8_t *at = start(e);
    emit_store(e, rm_gs(OFF(rip)), R10);
    save_registers(e);
    emit_jmp_to(e, saved);
    return at;
}

static uint8_t *make_leave_at(Emit *e, const uint8_t *leave_rip)
{
    uint8_t *at = start(e);
    emit_load(e, R10, rm_gs(OFF_WORD(JW_PAGE)));
    emit_alu(e, EM_W, A_ADD, R10, rm_reg(R11));
    emit_jmp_to(e, leave_rip);
    return at;
}

static uint8_t *make_leave_link(Emit *e, const JitStubs *s)
{
    uint8_t *at = start(e);
    emit_load(e, R10, rm_gs(OFF_WORD(JW_PAGE)));
    emit_op(e, EM_BYTE | 0x80, 7, rm_mem(R11, offsetof(TbExit, by_cache))); /* cmp */
    emit8(e, 0);
    uint8_t *by_cache = emit_jcc(e, CC_NE);
    emit_store(e, rm_gs(OFF_WORD(JW_LINK)), R11);
    emit_op(e, EM_0F | 0xb7, R11, rm_mem(R11, offsetof(TbExit, at))); /* movzx */
    emit_jmp_to(e, s->leave_at);
    emit_link_here(e, by_cache);
    emit_op(e, EM_0F | 0xb7, R11, rm_mem(R11, offsetof(TbExit, at)));
    emit_alu(e, EM_W, A_ADD, R10, rm_reg(R11));
    emit_jmp_to(e, s->by_cache);
    return at;
}

/* An exit to another page that is not linked, or not for this address space. */
static uint8_t *make_far(Emit *e, const JitStubs *s)
{
    uint8_t *at = start(e);
    emit_alu_imm(e, 0, A_SUB, rm_mem(R11, offsetof(TbExit, tries)), 1);
    emit_jcc_to(e, CC_NS, s->by_cache);
    emit_store(e, rm_gs(OFF_WORD(JW_LINK)), R11);
    emit_jmp_to(e, s->leave_rip);
    return at;
}

/* Leaves with a word set to 1. */
static uint8_t *make_leave_word(Emit *e, const uint8_t *leave_at, unsigned word)
{
    uint8_t *at = start(e);
    emit_store_imm32(e, rm_gs(OFF_WORD(word)), 1);
    emit_jmp_to(e, leave_at);
    return at;
}

/* ---- memory ---- */

/* Looks into the Tlb: on a hit the slot is filled and the code may try again (ZF = 1). Returns the
 * jump for a hit that is to be looked at: rax and rcx are pushed still. */
static uint8_t *look_into_tlb(Emit *e, bool write)
{
    int32_t tag = write ? OFF(write_slots.tag) : OFF(read_slots.tag);
    int32_t addend = write ? OFF(write_slots.addend) : OFF(read_slots.addend);
    int32_t entry = write ? offsetof(TlbEntry, wtag) : offsetof(TlbEntry, rtag);
    emit_alu(e, EM_W, A_CMP, RCX, rm_mem(RAX, entry));
    uint8_t *miss = emit_jcc(e, CC_NE);
    emit_alu_imm(e, EM_W, A_SUB, rm_gs(OFF_WORD(JW_SAMPLE)), 1);
    uint8_t *sample = emit_jcc(e, CC_S);
    emit_load(e, RAX, rm_mem(RAX, offsetof(TlbEntry, addend)));
    emit_rorx(e, false, R11, R11, MEM_SLOT_SHIFT);
    emit_alu_imm(e, 0, A_AND, rm_reg(R11), NR_SLOTS - 1);
    Rm slot = rm_gs(addend);
    slot.index = R11;
    slot.scale = 3;
    emit_store(e, slot, RAX);
    slot.disp = tag;
    emit_store(e, slot, RCX);
    pop(e, RCX);
    pop(e, RAX);
    emit_alu(e, 0, A_XOR, R11, rm_reg(R11));
    ret(e);
    emit_link_here(e, miss);
    return sample;
}

static int32_t side(size_t field)
{
    _Static_assert(sizeof(TlbEntry) == sizeof(TlbSide), "");
    return (int32_t)(offsetof(Tlb, side) + field);
}

/* A store to RAM whose page holds code, or is watched, goes straight there; make_commit then looks
 * whether it hit any. rax: the entry, rcx: the page of the last byte. */
static void store_beside_code(Emit *e)
{
    emit_alu_imm(e, EM_W, A_OR, rm_reg(RCX), TLB_SLOW);
    emit_alu(e, EM_W, A_CMP, RCX, rm_mem(RAX, offsetof(TlbEntry, wtag)));
    uint8_t *other = emit_jcc(e, CC_NE);
    emit_alu_imm(e, EM_W, A_CMP, rm_mem(RAX, side(offsetof(TlbSide, code))), 0);
    uint8_t *not_there = emit_jcc(e, CC_E);
    emit_store(e, rm_gs(OFF_WORD(JW_ENTRY)), RAX);
    emit_store(e, rm_gs(OFF_WORD(JW_LIN)), R10);
    emit_store(e, rm_gs(OFF_WORD(JW_DESC)), R11);
    emit_alu(e, EM_W, A_ADD, R10, rm_mem(RAX, offsetof(TlbEntry, addend))); /* ZF = 0 */
    pop(e, RCX);
    pop(e, RAX);
    ret(e);
    emit_link_here(e, other);
    emit_link_here(e, not_there);
}

/* The way to C: r10, r11 as the slow stub gets them. */
static void call_mem_slow(Emit *e, const uint8_t *save, const uint8_t *load)
{
    save_registers(e);
    emit_op(e, EM_W | 0xc7, 0, rm_gs(OFF_WORD(JW_ENTRY)));
    emit32(e, 0);
    emit_store(e, rm_gs(OFF_WORD(JW_LIN)), R10);
    vectors_push(e, save);
    emit_mov(e, RSI, R10);
    emit_mov32(e, RDX, R11);
    call_with_cpu(e, jit_mem_slow);
    emit_mov(e, R11, RAX);
    vectors_pop(e, load);
    load_clobbered(e);
    emit_load(e, R10, rm_gs(OFF_WORD(JW_LIN)));
    emit_op(e, EM_W | 0x85, R11, rm_reg(R11)); /* test; cmovne */
    emit_op(e, EM_W | EM_0F | 0x45, R10, rm_reg(R11));
    ret(e);
}

/* The slot that is to be filled is one that jit_sample looks at; then from the start. */
static void sample_and_retry(Emit *e, const JitStubs *s, uint8_t *const from[2], const uint8_t *again)
{
    emit_link_here(e, from[0]);
    emit_link_here(e, from[1]);
    pop(e, RCX);
    pop(e, RAX);
    save_registers(e);
    emit_store(e, rm_gs(OFF_WORD(JW_LIN)), R10);
    emit_store(e, rm_gs(OFF_WORD(JW_DESC)), R11);
    vectors_push(e, s->save_vectors);
    emit_mov(e, RSI, R10);
    emit_mov32(e, RDX, R11);
    emit_load(e, RCX, rm_mem(RSP, 8)); /* who called */
    call_with_cpu(e, jit_sample);
    vectors_pop(e, s->load_vectors);
    load_clobbered(e);
    emit_load(e, R10, rm_gs(OFF_WORD(JW_LIN)));
    emit_load(e, R11, rm_gs(OFF_WORD(JW_DESC)));
    emit_jmp_to(e, again);
}

/* r10, r11 as slow gets them: looks into the Tlb, and returns to the caller's caller if it is
 * there. beside: and if it is a store that make_commit can look after. */
static void look_or_go_on(Emit *e, const JitStubs *s, bool beside)
{
    const uint8_t *again = e->p;
    uint8_t *sample[2];
    push(e, RAX);
    push(e, RCX);
    emit_tlb_index(e, RAX, R10, RCX);
    /* rcx: the page of the last byte */
    emit_rorx(e, false, RCX, R11, MEM_SIZE_SHIFT);
    emit_alu_imm(e, 0, A_AND, rm_reg(RCX), 31);
    emit_op(e, 0xf7, 0, rm_reg(R11)); /* test */
    emit32(e, MEM_ALIGNED | MEM_LOCK);
    uint8_t *any = emit_jcc(e, CC_E);
    emit_op(e, 0x85, RCX, rm_reg(R10));
    uint8_t *misaligned = emit_jcc(e, CC_NE);
    emit_link_here(e, any);
    emit_alu(e, EM_W, A_ADD, RCX, rm_reg(R10));
    emit_alu_imm(e, EM_W, A_AND, rm_reg(RCX), -PAGE_SIZE);
    emit_op(e, 0xf7, 0, rm_reg(R11)); /* test */
    emit32(e, MEM_WRITE);
    uint8_t *write = emit_jcc(e, CC_NE);
    sample[0] = look_into_tlb(e, false);
    uint8_t *miss = emit_jmp(e);
    emit_link_here(e, write);
    sample[1] = look_into_tlb(e, true);
    if (beside) {
        store_beside_code(e);
    }
    uint8_t *not_there = emit_jmp(e);
    sample_and_retry(e, s, sample, again);
    emit_link_here(e, not_there);
    emit_link_here(e, miss);
    emit_link_here(e, misaligned);
    pop(e, RCX);
    pop(e, RAX);
}

static uint8_t *make_slow(Emit *e, const JitStubs *s, const Jit *j)
{
    uint8_t *at = start(e);
    if (j->use_table) {
        look_or_go_on(e, s, !j->check); /* lockstep keeps a journal of stores */
    }
    call_mem_slow(e, s->save_vectors, s->load_vectors);
    return at;
}

static uint8_t *make_look(Emit *e, const JitStubs *s)
{
    uint8_t *at = start(e);
    look_or_go_on(e, s, false);
    emit_alu_imm(e, 0, A_OR, rm_reg(R11), 1);
    ret(e);
    return at;
}

static uint8_t *make_share(Emit *e, const JitStubs *s)
{
    uint8_t *at = start(e);
    look_or_go_on(e, s, false);
    save_registers(e);
    vectors_push(e, s->save_vectors);
    emit_mov(e, RSI, R10);
    emit_mov32(e, RDX, R11);
    call_with_cpu(e, jit_share_slow);
    emit_mov(e, R11, RAX);
    vectors_pop(e, s->load_vectors);
    load_clobbered(e);
    emit_alu_imm(e, 0, A_CMP, rm_reg(R11), 1);
    ret(e);
    return at;
}

static uint8_t *make_window_use(Emit *e, const JitStubs *s)
{
    uint8_t *at = start(e);
    save_registers(e);
    emit_store(e, rm_gs(OFF_WORD(JW_LIN)), R10);
    vectors_push(e, s->save_vectors);
    emit_mov(e, RSI, R10);
    call_with_cpu(e, jit_window_use);
    vectors_pop(e, s->load_vectors);
    load_clobbered(e);
    emit_load(e, R10, rm_gs(OFF_WORD(JW_LIN)));
    ret(e);
    return at;
}

static uint8_t *make_span(Emit *e, const JitStubs *s)
{
    uint8_t *at = start(e);
    save_registers(e);
    vectors_push(e, s->save_vectors);
    emit_mov(e, RSI, R10);
    emit_mov32(e, RDX, R11);
    emit_load(e, RCX, rm_mem(RSP, 8)); /* who called */
    call_with_cpu(e, jit_span);
    vectors_pop(e, s->load_vectors);
    load_clobbered(e);
    ret(e);
    return at;
}

/* The block is left for lost(cpu, r11d, r10). */
static uint8_t *make_lost(Emit *e, const uint8_t *save, const uint8_t *saved,
                          void (*lost)(CpuState *cpu, uint32_t desc, Tb *tb))
{
    uint8_t *at = start(e);
    save_registers(e);
    vectors_to_memory(e, save);
    emit_mov32(e, RSI, R11);
    emit_mov(e, RDX, R10);
    call_with_cpu(e, (void *)lost);
    emit_jmp_to(e, saved);
    return at;
}

/* As ram_written() does: after the store, and a fence, the page's dirty bits and granules. Goes on
 * behind if C must hear of the store; flags and r11 are as they were. */
static void commit_beside_code(Emit *e)
{
    uint8_t *hit[6];
    push(e, RAX);
    emit8(e, 0x9f);                           /* lahf */
    emit_op(e, EM_0F | 0x90, 0, rm_reg(RAX)); /* seto al */
    push(e, RAX);
    push(e, R11);
    emit_load(e, R10, rm_gs(OFF_WORD(JW_ENTRY)));
    emit_op(e, EM_W | 0x85, R10, rm_reg(R10)); /* test */
    hit[0] = emit_jcc(e, CC_E);
    emit_alu_imm(e, EM_LOCK, A_OR, rm_mem(RSP, 0), 0);
    emit_load(e, R11, rm_mem(R10, side(offsetof(TlbSide, ram_offset))));
    emit_rorx(e, true, R11, R11, PAGE_BITS); /* its low bits are 0 */
    emit_load(e, R10, rm_mem(R10, side(offsetof(TlbSide, ram))));
    emit_load(e, R10, rm_mem(R10, offsetof(RamBlock, dirty)));
    emit_op(e, 0x80, A_CMP, rm_sib(R10, R11, 0, 0));
    emit8(e, DIRTY_ALL);
    hit[1] = emit_jcc(e, CC_NE);
    emit_load(e, R11, rm_gs(OFF_WORD(JW_LIN)));
    emit_load(e, R10, rm_gs(OFF_WORD(JW_ENTRY)));
    emit_load(e, R10, rm_mem(R10, side(offsetof(TlbSide, code))));
    emit_load(e, RAX, rm_mem(R10, offsetof(CodePage, granules)));
    emit_op(e, 0x80, A_CMP, rm_mem(R10, offsetof(CodePage, clearing)));
    emit8(e, 0);
    hit[2] = emit_jcc(e, CC_NE);
    emit_op(e, EM_W | 0x85, RAX, rm_reg(RAX)); /* test: none left, the page may be written fast */
    hit[3] = emit_jcc(e, CC_E);
    emit_rorx(e, true, R10, R11, 6);
    emit_op(e, EM_W | EM_0F | 0xa3, R10, rm_reg(RAX)); /* bt: modulo 64 */
    hit[4] = emit_jcc(e, CC_B);
    emit_load32(e, R10, rm_gs(OFF_WORD(JW_DESC)));
    emit_rorx(e, false, R10, R10, MEM_SIZE_SHIFT);
    emit_alu_imm(e, 0, A_AND, rm_reg(R10), 31);
    emit_alu(e, EM_W, A_ADD, R10, rm_reg(R11));
    emit_rorx(e, true, R10, R10, 6);
    emit_op(e, EM_W | EM_0F | 0xa3, R10, rm_reg(RAX));
    hit[5] = emit_jcc(e, CC_B);
    emit_alu_imm(e, EM_W, A_ADD, rm_gs(OFF_WORD(JW_BESIDE)), 1);
    for (unsigned again = 0; again < 2; again++) {
        pop(e, R11);
        pop(e, RAX);
        emit8(e, 0x04); /* add al, 7f: OF from bit 0 */
        emit8(e, 0x7f);
        emit8(e, 0x9e); /* sahf */
        pop(e, RAX);
        if (!again) {
            ret(e);
            for (unsigned i = 0; i < ARRAY_SIZE(hit); i++) {
                emit_link_here(e, hit[i]);
            }
        }
    }
}

static uint8_t *make_commit(Emit *e, const uint8_t *save, const uint8_t *load, const uint8_t *saved,
                            const Jit *j)
{
    uint8_t *at = start(e);
    if (j->use_table && !j->check) {
        commit_beside_code(e);
    }
    emit8(e, 0x9c); /* pushfq */
    save_registers(e);
    emit_load(e, RSI, rm_mem(RSP, 0));
    emit_mov32(e, RDX, R11);
    push(e, RAX); /* alignment */
    vectors_push(e, save);
    call_with_cpu(e, jit_mem_commit);
    emit_op(e, 0x85, RAX, rm_reg(RAX));
    uint8_t *leave = emit_jcc(e, CC_NE);
    vectors_pop(e, load);
    pop(e, RCX);
    load_clobbered(e);
    emit8(e, 0x9d); /* popfq */
    ret(e);
    emit_link_here(e, leave); /* rip and cc are set */
    emit_lea(e, RSP, rm_mem(RSP, 32));
    emit_jmp_to(e, saved);
    return at;
}

static uint8_t *make_segment(Emit *e, const uint8_t *save, const uint8_t *load)
{
    uint8_t *at = start(e);
    save_registers(e);
    vectors_push(e, save);
    emit_mov(e, RSI, R10);
    emit_mov32(e, RDX, R11);
    call_with_cpu(e, jit_segment);
    emit_mov(e, R10, RAX);
    vectors_pop(e, load);
    load_clobbered(e);
    ret(e);
    return at;
}

static uint8_t *make_raise_gp(Emit *e, const uint8_t *save)
{
    uint8_t *at = start(e);
    save_registers(e);
    vectors_to_memory(e, save);
    emit_mov32(e, RSI, R11);
    call_with_cpu(e, jit_raise_gp); /* does not return; jumped to with an aligned stack */
    return at;
}

/* ---- instructions that are functions ---- */

static uint8_t *make_exec(Emit *e, const uint8_t *save, const uint8_t *saved)
{
    uint8_t *at = start(e);
    save_registers(e);
    emit_lea(e, RSP, rm_mem(RSP, -8));
    vectors_to_memory(e, save);
    emit_mov(e, RSI, R11);
    call_with_cpu(e, jit_exec);
    emit_op(e, 0x85, RAX, rm_reg(RAX));
    uint8_t *leave = emit_jcc(e, CC_NE);
    load_registers(e);
    emit_lea(e, RSP, rm_mem(RSP, 8));
    ret(e);
    emit_link_here(e, leave);
    emit_lea(e, RSP, rm_mem(RSP, 16));
    emit_jmp_to(e, saved);
    return at;
}

static uint8_t *make_exec_end(Emit *e, const uint8_t *save, const uint8_t *saved)
{
    uint8_t *at = start(e);
    save_registers(e);
    vectors_to_memory(e, save);
    emit_mov(e, RSI, R11);
    call_with_cpu(e, jit_exec_end);
    emit_op(e, EM_W | 0x85, RAX, rm_reg(RAX));
    emit_jcc_to(e, CC_E, saved);
    emit_mov(e, R11, RAX);
    load_registers(e);
    emit_op(e, 0xff, 4, rm_reg(R11)); /* jmp */
    return at;
}

void jit_make_stubs(Jit *j)
{
    Emit *e = &j->e;
    JitStubs *s = &j->stubs;
    const uint8_t *save = s->save_vectors = make_save_vectors(e);
    s->load_vectors = make_load_vectors(e);
    s->load_fpu = make_load_fpu(e);
    *(void **)&s->enter = make_enter(e);
    const uint8_t *saved = make_leave_saved(e, save);
    s->leave_rip = make_leave_rip(e, saved);
    s->leave_at = make_leave_at(e, s->leave_rip);
    start(e);
    s->by_cache2 = make_by_cache2(e, s->leave_rip);
    start(e);
    s->by_cache = make_by_cache(e, s->by_cache2);
    s->leave_link = make_leave_link(e, s);
    s->far = make_far(e, s);
    s->leave_interp = make_leave_word(e, s->leave_at, JW_INTERP);
    s->leave_stale = make_leave_word(e, s->leave_at, JW_STALE);
    s->slow = make_slow(e, s, j);
    s->look = make_look(e, s);
    s->share = make_share(e, s);
    s->span = make_span(e, s);
    s->window_use = make_window_use(e, s);
    s->share_lost = make_lost(e, save, saved, jit_share_lost);
    s->window_lost = make_lost(e, save, saved, jit_window_lost);
    s->commit = make_commit(e, save, s->load_vectors, saved, j);
    s->segment = make_segment(e, save, s->load_vectors);
    s->raise_gp = make_raise_gp(e, save);
    s->exec = make_exec(e, save, saved);
    s->exec_end = make_exec_end(e, save, saved);
    emit_align(e, 64, 0);
}
