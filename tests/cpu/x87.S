/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x87 as software sees it around its arithmetic: instruction and data pointers, tags, stack
 * faults, precision and rounding control, exceptions that become unmasked on the way, and its state
 * across page faults, interrupts, devices and code that is changed (SDM 1 chapter 8). What counts
 * is done in loops, so that an engine that translates hot code does so.
 *
 * Processors whose CPUID says that FDP is kept for unmasked exceptions only, or FCS and FDS not at
 * all (leaf 7, EBX bits 6 and 13), fail some of it; Vireo's models say neither.
 *
 * TCG 7.2 keeps no FOP, no pointers for FXSAVE and changes FIP with control instructions; knows no
 * limits in 32-bit code, no stack faults, no flags of FDIV, and raises no #MF:
 * qemu: beyond the limit: vector
 * qemu: which leaves fip
 * qemu: and fdp
 * qemu: arithmetic between registers: fop
 * qemu: a memory operand: fop
 * qemu: then none: fop
 * qemu: another block, with control instructions behind: fip
 * qemu: another block, with control instructions behind: fop
 * qemu: base, index and a negative displacement: fop
 * qemu: fs: the offset: fop
 * qemu: instructions that an engine may call functions for: fop
 * qemu: a loop of several blocks: fop
 * qemu: fxsave64: fdp
 * qemu: faults: fop
 * qemu: the handler saw the instruction before
 * qemu: and its operand
 * qemu: operand in a device: fop
 * qemu: stack overflow: ie, sf, c1
 * qemu: the value is the indefinite
 * qemu: with its exponent
 * qemu: stack underflow: ie, sf, no c1
 * qemu: the sum is the indefinite
 * qemu: an unmasked exception in the block that unmasks it: vector
 * qemu: es, ze and top
 * qemu: the error's: fip
 * qemu: the error's: fop
 * qemu: masked again
 * qemu: makes it pending: vector
 * lockstep: no (half a minute)
 */
#include "lib.inc"

#define LAPIC TEST_VA /* mapped there */
#define TPR LAPIC + 0x80
#define EOI LAPIC + 0xb0
#define SVR LAPIC + 0xf0
#define LVT_TIMER LAPIC + 0x320
#define TIMER_COUNT LAPIC + 0x380
#define TIMER_DIVIDE LAPIC + 0x3e0
#define DEMAND (TEST_VA + 0x10000) /* pages that come when asked for */
#define NR_DEMAND 16
#define GAP (TEST_VA + 0x40000)    /* a page, and none behind it */

/* Runs a routine often enough to be hot. */
#define HOT(routine)                                                                           \
    mov r12d, offset routine;                                                                  \
    call hot

/* The environment as it is now: checks FIP, FOP and FDP, and leaves it in env. */
#define POINTERS(name, ip, op, dp)                                                             \
    fnstenv [env];                                                                             \
    fldenv [env];                                                                              \
    mov eax, [env + 12];                                                                       \
    CHECK_TEXT(.ascii name; .asciz ": fip", rax, offset ip);                                   \
    movzx eax, word ptr [env + 18];                                                            \
    CHECK_TEXT(.ascii name; .asciz ": fop", rax, op);                                          \
    mov eax, [env + 20];                                                                       \
    CHECK_TEXT(.ascii name; .asciz ": fdp", rax, dp)

#define CHECK16(name, mem, want) movzx eax, word ptr [mem]; CHECK(name, rax, want)
#define CHECK32BITS(name, mem, want) mov eax, [mem]; CHECK(name, rax, want)

    .text
    .code32
    .global main32
main32:
    mov al, 0xff
    out 0x21, al
    out 0xa1, al

    /* ---- a segment with a base: FDP is the offset, FDS the selector ---- */
    mov eax, cr0
    and eax, ~(CR0_EM | CR0_TS)
    or eax, CR0_NE | CR0_MP
    mov cr0, eax
    fninit
    mov ecx, 40
based:
    mov dword ptr [gdt + GDT_SPARE], 0x1000ffff /* base 1000h, 4 GiB */
    mov dword ptr [gdt + GDT_SPARE + 4], 0x00cf9300
    mov eax, GDT_SPARE
    mov fs, eax
    mov ebx, offset two - 0x1000 - 8
based_load:
    fld qword ptr fs:[ebx + 8]
based_store:
    fstp dword ptr fs:[ebx + 16 + 8]
    dec ecx
    jnz based
    fnstenv [env]
    CHECK32("32-bit code: fip", [env + 12], offset based_store)
    movzx eax, word ptr [env + 16]
    CHECK32("32-bit code: fcs", eax, CS32)
    CHECK32("segment with a base: fdp is the offset", [env + 20], offset two + 16 - 0x1000)
    movzx eax, word ptr [env + 24]
    CHECK32("segment with a base: fds", eax, GDT_SPARE)
    CHECK32("segment with a base: the value", [two + 16], 0x40000000)
    /* a limit */
    mov dword ptr [gdt + GDT_SPARE], 0x0000ffff
    mov dword ptr [gdt + GDT_SPARE + 4], 0x00009300 /* 64 KiB */
    mov fs, eax
    fninit
    mov ebx, 0xfff8
    fld qword ptr fs:[ebx]
    fstp st
limit_load:
    fld dword ptr fs:[ebx - 0x800]
    TRY32(fld qword ptr fs:[ebx + 1])
    EXPECT32("beyond the limit", GP)
    fnstenv [env]
    CHECK32("which leaves fip", [env + 12], offset limit_load)
    CHECK32("and fdp", [env + 20], 0xf7f8)
    call enter_long64
    .code64
    mov dword ptr [test_pt], 0xfee00000 + (P | W)
    mov dword ptr [test_pt + 8 * 0x40], FRAME0 + (P | W)

    /* ---- FIP, FOP, FDP ---- */
    fninit
    POINTERS("fninit", 0, 0, 0)
    HOT(plain)
    POINTERS("arithmetic between registers", plain_last, 0x6c1, 0)
    HOT(memory)
    POINTERS("a memory operand", memory_last, 0x505, offset two)
    movzx eax, word ptr [env + 24]
    CHECK("its segment", rax, DS32)
    HOT(memory_then_register)
    POINTERS("then none", after_memory, 0x1e0, offset pi)
    HOT(spread)
    POINTERS("another block, with control instructions behind", spread_last, 0x1e1, offset two)
    HOT(addressed)
    POINTERS("base, index and a negative displacement", addressed_last, 0x584, offset two)
    mov ecx, 0xc0000100 /* FS base */
    mov eax, 0x1000
    xor edx, edx
    wrmsr
    HOT(fs_based)
    POINTERS("fs: the offset", fs_last, 0x500, offset two - 0x1000)
    mov ecx, 0xc0000100
    xor eax, eax
    wrmsr
    HOT(through_function)
    POINTERS("instructions that an engine may call functions for", function_last, 0x1e0, offset two)
    HOT(loop_of_many)
    POINTERS("a loop of several blocks", many_last, 0x6c1, offset two)
    fninit
    fld1
    fld qword ptr [two]
    fxsave64 [area]
    CHECK("fxsave64: fdp", [area + 16], offset two)
    fninit
    POINTERS("fninit again", 0, 0, 0)

    /* ---- page faults: the instruction leaves no trace ---- */
    fninit
    mov ebp, 40
fault_again:
    fld1
fault_before:
    fld qword ptr [two]
    TRY(fld qword ptr [DEMAND])
    EXPECT("load from no page", PF, 0)
    mov ecx, GAP + 0xffc
    TRY(fstp tbyte ptr [rcx])
    EXPECT("store across into no page", PF, PF_W)
    CHECK("cr2", [trap_cr2], GAP + 0x1000)
    TRY(fistp qword ptr [rcx])
    EXPECT("integer store across into no page", PF, PF_W)
    POINTERS("faults", fault_before, 0x504, offset two)
    CHECK16("top", env + 4, 6 << 11)
    fistp dword ptr [scratch]
    CHECK32BITS("st0 is still there", scratch, 2)
    fstp st
    sub ebp, 13
    jns fault_again

    /* pages on demand, with a handler that uses the x87 itself */
    mov qword ptr [trap_hook], offset demand
    mov dword ptr [nr_ticks], 0
    HOT(sum_demand)
    mov qword ptr [trap_hook], 0
    CHECK32BITS("sum over pages on demand", scratch, NR_DEMAND * 512 / 2 * 511)
    CHECK32BITS("faults", nr_ticks, 40 * NR_DEMAND)
    CHECK("the handler saw the instruction before", [seen_fip], offset sum_add)
    CHECK32BITS("and its operand", seen_fdp, DEMAND + NR_DEMAND * 4096 - 4096 - 8)

    /* operands across two pages that do not follow each other */
    mov dword ptr [test_pt + 8 * 0x41], FRAME2 + (P | W)
    mov rax, TEST_VA + 0x41000
    invlpg [rax]
    HOT(across)
    CHECK32BITS("80 bits across pages", scratch, 12345)
    CHECK16("its end is in the other frame", FRAME2, 0x400c)
    CHECK32BITS("64 bits across pages", scratch + 4, 3)
    mov dword ptr [test_pt + 8 * 0x41], 0
    invlpg [rax]

    /* ---- a device's registers as operands ---- */
    mov dword ptr [SVR], 0x1ff
    HOT(device)
    CHECK32BITS("fistp to a device", TPR, 0x30)
    CHECK32BITS("fiadd from it", scratch, 0x31)
    CHECK16("the stack is as it was", scratch + 4, 7 << 11)
    POINTERS("operand in a device", device_last, 0x31c, TPR)
    mov dword ptr [TPR], 0

    /* ---- interrupts ---- */
    mov qword ptr [trap_hook], offset tick
    mov dword ptr [nr_ticks], 0
    mov dword ptr [TIMER_DIVIDE], 0xb
    mov dword ptr [LVT_TIMER], 0x20050 /* periodic */
    mov dword ptr [TIMER_COUNT], 200000
    fninit
    sti
    mov ebp, 30
interrupted:
    fldz
    fld1
    fldpi
    mov ecx, 200000
1:  fxch st(2)
    fadd st, st(1)
    fxch st(2)
    dec ecx
    jnz 1b
    fstp tbyte ptr [area]
    fstp st
    fistp dword ptr [scratch]
    cmp dword ptr [scratch], 200000
    jne 2f
    fldpi
    fld tbyte ptr [area]
    fucomip st, st(1)
    fstp st
    jne 2f
    fnstsw ax
    test eax, (7 << 11) | 0x40
    jnz 2f
    cmp dword ptr [nr_ticks], 20
    jb interrupted
    dec ebp
    jnz interrupted
2:  cli
    mov dword ptr [LVT_TIMER], 0x10000
    mov qword ptr [trap_hook], 0
    CHECK("a sum through interrupts whose handler uses the x87", rbp, 0)

    /* ---- stack faults, tags ---- */
    fninit
    HOT(overflow)
    CHECK16("stack overflow: ie, sf, c1", scratch, 0x241)
    CHECK("the value is the indefinite", [area], 0xc000000000000000)
    CHECK16("with its exponent", area + 8, 0xffff)
    HOT(underflow)
    CHECK16("stack underflow: ie, sf, no c1", scratch, 0x3841)
    CHECK("the sum is the indefinite", [area], 0xc000000000000000)
    HOT(tags)
    movzx eax, byte ptr [area + 4]
    CHECK("ffree, fincstp, fdecstp: tags", rax, 0x90)
    CHECK16("the tag word", env + 8, 0x3cff)
    CHECK16("top", env + 4, 5 << 11)

    /* ---- precision and rounding ---- */
    fninit
    HOT(third)
    mov rax, 0xaaaaaaaaaaaaaaab
    CHECK("1/3 in 64 bits", [area], rax)
    mov rax, 0xaaaaaaaaaaaaa800
    CHECK("in 53 bits", [area + 16], rax)
    mov rax, 0xaaaaab0000000000
    CHECK("in 24 bits", [area + 32], rax)
    mov rax, 0xaaaaaaaaaaaaaaaa
    CHECK("in 64 bits, towards zero", [area + 48], rax)
    CHECK16("fnstcw", scratch, 0xf7f)
    HOT(rounded)
    CHECK32BITS("fistp to nearest", scratch, 3)
    CHECK32BITS("fistp down", scratch + 4, 2)
    CHECK32BITS("fistp up", scratch + 8, 3)
    CHECK32BITS("fisttp", scratch + 12, 2)

    /* ---- flags ---- */
    HOT(compared)
    CHECK32BITS("fcomi and branches", scratch, 0xf)
    CHECK32BITS("flags that live across x87 instructions", scratch + 4, 1)
    CHECK32BITS("fcmov", scratch + 8, 2)
    CHECK32BITS("fnstsw, sahf", scratch + 12, 5)

    /* ---- exceptions that become unmasked, and masked again ---- */
    mov ebp, 40
unmask_again:
    fninit
    fld1
    fldz
    fldcw [cw_ze]
unmasked:
    fdivp
    fldcw_fault: TRY(fldcw [cw_all])
    EXPECT("an unmasked exception in the block that unmasks it", MF)
    fnstsw ax
    and eax, 0xb884
    CHECK("es, ze and top", rax, (6 << 11) | 0x8084)
    POINTERS("the error's", unmasked, 0x6f9, 0)
    fnclex
    fldcw [cw_all]
    fdivp
    fnstsw ax
    and eax, 0xb884
    CHECK("masked again", rax, (7 << 11) | 4)
    TRY(fldcw [cw_ze])
    EXPECT_OK("unmasking a flag that is set")
    TRY(fld1)
    EXPECT("makes it pending", MF)
    fnclex
    sub ebp, 13
    jns unmask_again
    fninit

    /* ---- CR0.TS between two instructions ---- */
    HOT(ts_between)
    CHECK("fld with ts", [trap_vec], NM)
    CHECK32BITS("the state through it", scratch, 3)

    /* ---- MMX and back ---- */
    HOT(to_mmx)
    CHECK("mmx register", [scratch], 0x4007)
    movzx eax, byte ptr [area + 4]
    CHECK("no register is empty", rax, 0xff)
    CHECK16("top is 0", area + 2, 0)
    CHECK32BITS("after emms", scratch + 8, 1)

    /* ---- fistp to the next instruction ---- */
    mov esi, offset patched
    mov edi, FRAME3
    mov ecx, offset patched_end - patched
    rep movsb
    fninit
    mov edi, FRAME3
    mov ebp, 40
patch_again:
    mov [scratch], ebp
    fild dword ptr [scratch]
    fld1
    call rdi
    cmp eax, ebp
    jne 1f
    fnstsw ax
    and eax, 7 << 11
    cmp eax, 7 << 11
    jne 1f
    fstp st
    dec ebp
    jnz patch_again
1:  CHECK("fistp to the next instruction", rbp, 0)
    FINISH

hot: /* r12 40 times, on an empty stack */
    push rbp
    mov ebp, 40
1:  fninit
    call r12
    dec ebp
    jnz 1b
    pop rbp
    ret

/* ---- routines ---- */

plain:
    fld1
    fldpi
    fadd st, st(1)
plain_last:
    faddp
    nop
    ret

memory:
    fld1
    fadd dword ptr [two_single]
    fstp st
memory_last:
    fld qword ptr [rip + two]
    xor eax, eax
    ret

memory_then_register:
    fld tbyte ptr [pi]
    fld st
after_memory:
    fchs
    mov eax, [two]
    ret

spread:
    fld1
    fld qword ptr [two]
spread_last:
    fabs
    jmp 1f
    .balign 32
1:  fnstcw [scratch]
    fwait
    fldcw [scratch]
    mov ecx, 3
2:  dec ecx
    jnz 2b
    fnstsw ax
    fnstsw [scratch]
    ret

addressed:
    mov r9d, offset two + 0x100
    mov r10, -16
    fld1
addressed_last:
    fld qword ptr [r9 + r10 * 4 - 0xc0]
    mov r9d, 0
    xor r10d, r10d
    ret

fs_based:
    mov eax, offset two - 0x1000
    fld1
fs_last:
    fld qword ptr fs:[eax]
    ret

through_function:
    fld qword ptr [two]
    cpuid
    fld1
function_last:
    fchs
    xor edx, edx
    mov eax, 1000
    mov ecx, 7
    div ecx
    pushfq
    popfq
    cpuid
    ret

loop_of_many:
    fldz
    mov ecx, 5
1:  test ecx, 1
    jz 2f
    fld qword ptr [two]
    jmp 3f
2:  fld1
    fadd qword ptr [two]
3:  nop
many_last:
    faddp
    dec ecx
    jnz 1b
    ret

/* FILD and FADD of the numbers 0 to 511 in each page; the pages come by faults. */
sum_demand:
    fldz
    mov ecx, NR_DEMAND
    mov edi, DEMAND
1:  mov edx, 512
2:  fild qword ptr [rdi]
sum_add:
    faddp
    add rdi, 8
    dec edx
    jnz 2b
    dec ecx
    jnz 1b
    fistp dword ptr [scratch]
    mov ecx, NR_DEMAND
    mov edi, offset test_pt + 8 * (DEMAND - TEST_VA) / 4096
    xor eax, eax
    rep stosq
    mov rax, cr3
    mov cr3, rax
    ret

/* The trap_hook of #PF: all pages are one frame of numbers. */
demand:
    push rax
    push rcx
    push rdi
    fxsave64 [area1]
    mov rcx, [area1 + 8]
    mov [seen_fip], rcx
    mov rcx, [area1 + 16]
    mov [seen_fdp], rcx
    inc dword ptr [nr_ticks]
    fninit
    mov edi, FRAME1
    fldz
    fld1
    mov ecx, 512
1:  fxch
    fist dword ptr [rdi]
    mov dword ptr [rdi + 4], 0
    fadd st, st(1)
    fxch
    add edi, 8
    dec ecx
    jnz 1b
    mov rcx, cr2
    sub rcx, TEST_VA
    shr rcx, 12
    mov dword ptr [test_pt + 8 * rcx], FRAME1 + (P | W)
    fxrstor64 [area1]
    pop rdi
    pop rcx
    pop rax
    mov rax, [trap_eax]
    iretq

across:
    mov rbx, GAP + 0xff8
    fild dword ptr [number]
    fstp tbyte ptr [rbx]
    fld tbyte ptr [rbx]
    fistp dword ptr [scratch]
    fld1
    fld1
    faddp
    fstp qword ptr [rbx + 3]
    fld1
    fadd qword ptr [rbx + 3]
    fistp dword ptr [scratch + 4]
    fild dword ptr [number]
    fstp tbyte ptr [rbx]
    ret

device:
    fld1
    fild dword ptr [forty_eight]
    fistp dword ptr [TPR]
    fiadd dword ptr [TPR]
    fist dword ptr [scratch]
    fnstsw [scratch + 4]
    fild dword ptr [forty_eight]
device_last:
    fistp dword ptr [TPR]
    ret

tick:
    cmp qword ptr [trap_vec], 0x50
    jne 1f
    inc dword ptr [nr_ticks]
    fxsave64 [area1]
    fninit
    fldl2t
    fldln2
    fmulp
    fdiv st, st
    fxrstor64 [area1]
    mov dword ptr [EOI], 0
1:  mov rax, [trap_eax]
    iretq

overflow:
    .rept 9
    fld1
    .endr
    fnstsw [scratch]
    and word ptr [scratch], 0x7ff
    fstp tbyte ptr [area]
    ret

underflow:
    fld1
    fstp st
    fadd st, st(1)
    fnstsw [scratch]
    and word ptr [scratch], 0xffff ^ 0x4700
    or word ptr [scratch], 7 << 11
    fstp tbyte ptr [area]
    ret

/* R7 to R4: 1, pi, 0, 1; R6 freed and R5 on top. */
tags:
    fld1
    fldpi
    fldz
    fld1
    ffree st(2)
    ffree st(1)
    fincstp
    fdecstp
    fincstp
    fxsave64 [area]
    fnstenv [env]
    ret

third:
    fld1
    fild dword ptr [three]
    fld st(1)
    fdiv st, st(1)
    fstp tbyte ptr [area]
    fldcw [cw_double]
    fld st(1)
    fdiv st, st(1)
    fstp tbyte ptr [area + 16]
    fldcw [cw_single]
    fld st(1)
    fdiv st, st(1)
    fstp tbyte ptr [area + 32]
    fldcw [cw_zero]
    fdivp
    fstp tbyte ptr [area + 48]
    fnstcw [scratch]
    ret

rounded:
    fld qword ptr [two_and_more]
    fist dword ptr [scratch]
    fldcw [cw_down]
    fist dword ptr [scratch + 4]
    fldcw [cw_up]
    fist dword ptr [scratch + 8]
    fisttp dword ptr [scratch + 12]
    ret

compared:
    xor ecx, ecx
    fldpi
    fld1
    fcomi st, st(1)
    jae 1f
    or ecx, 1
1:  fxch
    fucomi st, st(1)
    jbe 1f
    or ecx, 2
1:  fcomi st, st
    jne 1f
    or ecx, 4
1:  fld qword ptr [nan]
    fucomip st, st(1)
    jnp 1f
    or ecx, 8
1:  mov [scratch], ecx
    mov eax, 5
    cmp eax, 7
    fldz
    fadd st, st(1)
    fstp qword ptr [area]
    setb al
    movzx eax, al
    mov [scratch + 4], eax
    fild dword ptr [two_integer] /* 2, pi, 1 */
    cmp eax, 1
    fcmovne st, st(1)
    fcmovb st, st(2)
    fist dword ptr [scratch + 8]
    fld1
    fcompp
    fnstsw ax
    sahf
    mov edx, 0
    adc edx, 0
    lea edx, [rdx * 4 + 1]
    mov [scratch + 12], edx
    ret

ts_between:
    fld1
    fld1
    mov rax, cr0
    or eax, CR0_TS
    mov cr0, rax
    TRY(fld1)
    clts
    fld1
    faddp
    faddp
    fistp dword ptr [scratch]
    ret

to_mmx:
    fild dword ptr [two_integer]
    fld1
    mov eax, 0x4000
    movd mm3, eax
    mov eax, 7
    movd mm4, eax
    paddw mm3, mm4
    movq [scratch], mm3
    fxsave64 [area]
    emms
    fninit
    fld1
    fistp dword ptr [scratch + 8]
    ret

patched:
    fxch
    fistp dword ptr [FRAME3 + patched_imm - patched]
    .byte 0xb8
patched_imm:
    .long 0
    ret
patched_end:

    .section .data
    .balign 16
two: .double 2
two_single: .float 2
two_integer: .long 2
    .quad 0
two_and_more: .double 2.75
nan: .quad 0x7ff8000000000000
pi: .tfloat 3.25
    .balign 4
three: .long 3
number: .long 12345
forty_eight: .long 0x30
cw_all: .word 0x37f
cw_ze: .word 0x37b
cw_double: .word 0x27f
cw_single: .word 0x07f
cw_zero: .word 0xf7f
cw_down: .word 0x77f
cw_up: .word 0xb7f

    .section .bss
    .balign 64
area: .skip 512
area1: .skip 512
env: .skip 32
scratch: .skip 16
seen_fip: .skip 8
seen_fdp: .skip 8
nr_ticks: .skip 8
