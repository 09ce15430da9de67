/* SPDX-License-Identifier: GPL-2.0-or-later
 * XSAVE and its family (SDM 1 chapter 13), FXSAVE, and the bits that switch FPU and vector
 * instructions off (SDM 3A 2.5, tables in volume 2).
 *
 * TCG 7.2 raises no #XM and no #MF, takes any MXCSR, and has no init optimisation:
 * qemu: ldmxcsr with a reserved bit: vector
 * qemu: unmasked sse division by zero: vector
 * qemu: the destination is untouched
 * qemu: without osxmmexcpt it is #UD: vector
 * qemu: and comes at the next x87 instruction: vector
 * qemu: mmx waits too: vector
 * qemu: fxrstor with a bad mxcsr: vector
 * qemu: xstate_bv of initial ymm
 * qemu: bad mxcsr: vector
 * qemu: xrstor with ts: vector
 * qemu: xsave with ts: vector
 * qemu: xsaveopt: ymm is in its initial state
 * qemu: and is not written
 * qemu: xinuse: not ymm
 */
#include "lib.inc"

#define XHEADER 512
#define XYMM 576
#define FILL(area, byte) mov edi, offset area; mov ecx, 1024; mov al, byte; rep stosb
#define RFBM(mask) mov eax, mask; xor edx, edx

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    mov rax, cr0
    and eax, ~(CR0_EM | CR0_TS)
    mov cr0, rax

    /* ---- switches ---- */
    mov rax, cr4
    and eax, ~(CR4_OSFXSR | CR4_OSXSAVE)
    mov cr4, rax
    TRY(addps xmm0, xmm1)
    EXPECT("sse without osfxsr", UD)
    TRY(ldmxcsr [mxcsr_ok])
    EXPECT("ldmxcsr without osfxsr", UD)
    TRY(paddb mm0, mm1)
    EXPECT_OK("mmx without osfxsr")
    TRY(fxsave [area0])
    EXPECT_OK("fxsave without osfxsr")
    TRY(xgetbv)
    EXPECT("xgetbv without osxsave", UD)
    TRY(xsave [area0])
    EXPECT("xsave without osxsave", UD)
    mov rax, cr4
    or eax, CR4_OSFXSR
    mov cr4, rax
    TRY(addps xmm0, xmm1)
    EXPECT_OK("sse with osfxsr")
    mov rax, cr0
    or eax, CR0_TS
    mov cr0, rax
    TRY(addps xmm0, xmm1)
    EXPECT("sse with ts", NM)
    TRY(fld1)
    EXPECT("x87 with ts", NM)
    TRY(paddb mm0, mm1)
    EXPECT("mmx with ts", NM)
    TRY(fxsave [area0])
    EXPECT("fxsave with ts", NM)
    TRY(ldmxcsr [mxcsr_ok])
    EXPECT("ldmxcsr with ts", NM)
    TRY(fwait)
    EXPECT("wait with ts and mp", NM)
    mov rax, cr0
    and eax, ~CR0_MP
    mov cr0, rax
    TRY(fwait)
    EXPECT_OK("wait with ts, without mp")
    clts
    TRY(fld1)
    EXPECT_OK("clts")
    fninit
    mov rax, cr0
    or eax, CR0_EM | CR0_MP
    mov cr0, rax
    TRY(fld1)
    EXPECT("x87 with em", NM)
    TRY(paddb mm0, mm1)
    EXPECT("mmx with em", UD)
    TRY(addps xmm0, xmm1)
    EXPECT("sse with em", UD)
    TRY(fxsave [area0])
    EXPECT("fxsave with em", NM)
    mov rax, cr0
    and eax, ~CR0_EM
    mov cr0, rax

    /* ---- alignment and MXCSR ---- */
    TRY(movaps xmm0, [area0 + 4])
    EXPECT("movaps unaligned", GP)
    TRY(movups xmm0, [area0 + 4])
    EXPECT_OK("movups unaligned")
    TRY(paddb xmm0, [area0 + 8])
    EXPECT("sse operand unaligned", GP)
    TRY(fxsave [area0 + 8])
    EXPECT("fxsave unaligned", GP)
    TRY(fxrstor [area0 + 8])
    EXPECT("fxrstor unaligned", GP)
    TRY(ldmxcsr [mxcsr_bad])
    EXPECT("ldmxcsr with a reserved bit", GP)
    TRY(ldmxcsr [mxcsr_div])
    EXPECT_OK("ldmxcsr")
    stmxcsr [scratch]
    CHECK("stmxcsr", qword ptr [scratch], 0x1d80)
    mov eax, 0x3f800000
    movd xmm0, eax
    xorps xmm1, xmm1
    mov rax, cr4
    or eax, CR4_OSXMMEXCPT
    mov cr4, rax
    TRY(divss xmm0, xmm1)
    EXPECT("unmasked sse division by zero", XM)
    stmxcsr [scratch]
    CHECK("mxcsr.ze", qword ptr [scratch], 0x1d84)
    movd eax, xmm0
    CHECK("the destination is untouched", rax, 0x3f800000)
    ldmxcsr [mxcsr_div]
    mov rax, cr4
    and eax, ~CR4_OSXMMEXCPT
    mov cr4, rax
    TRY(divss xmm0, xmm1)
    EXPECT("without osxmmexcpt it is #UD", UD)
    ldmxcsr [mxcsr_ok]

    /* ---- x87 errors ---- */
    fninit
    mov word ptr [scratch], 0x37b /* ZM clear */
    fldcw [scratch]
    fld1
    fldz
    TRY(fdivp)
    EXPECT_OK("an x87 error is pending")
    fnstsw ax
    and eax, 0x8084
    CHECK("fsw.es, b and ze", rax, 0x8084)
    TRY(fld1)
    EXPECT("and comes at the next x87 instruction", MF)
    TRY(fwait)
    EXPECT("or at wait", MF)
    TRY(fnstsw ax)
    EXPECT_OK("fnstsw does not wait")
    TRY(paddb mm0, mm1)
    EXPECT("mmx waits too", MF)
    TRY(fxsave [area0])
    EXPECT_OK("fxsave does not wait")
    TRY(fnclex)
    EXPECT_OK("fnclex")
    TRY(fwait)
    EXPECT_OK("nothing pending any more")
    fninit

    /* ---- FXSAVE ---- */
    FILL(area0, 0xcc)
    fninit
    fld1
    fldpi
    mov rax, 0x1122334455667788
    movq xmm0, rax
    movq xmm15, rax
    fxsave [area0]
    movzx eax, word ptr [area0]
    CHECK("fxsave: fcw", rax, 0x37f)
    movzx eax, word ptr [area0 + 2]
    CHECK("fxsave: fsw", rax, 6 << 11)
    movzx eax, byte ptr [area0 + 4]
    CHECK("fxsave: tags by register", rax, 0xc0)
    CHECK("fxsave: mxcsr", qword ptr [area0 + 24], qword ptr [fx_mxcsr])
    movzx eax, word ptr [area0 + 32 + 8]
    CHECK("fxsave: st0's exponent", rax, 0x4000)
    movzx eax, word ptr [area0 + 48 + 8]
    CHECK("fxsave: st1's exponent", rax, 0x3fff)
    CHECK("fxsave: xmm0", [area0 + 160], 0x1122334455667788)
    CHECK("fxsave: xmm15", [area0 + 160 + 240], 0x1122334455667788)
    mov rax, 0xcccccccccccccccc
    CHECK("fxsave: the last 48 bytes are the user's", [area0 + 464], rax)
    fninit
    pxor xmm0, xmm0
    pxor xmm15, xmm15
    fxrstor [area0]
    movq rax, xmm15
    CHECK("fxrstor: xmm15", rax, 0x1122334455667788)
    fistp dword ptr [scratch]
    mov eax, [scratch]
    CHECK("fxrstor: st0", rax, 3)
    fistp dword ptr [scratch]
    mov eax, [scratch]
    CHECK("fxrstor: st1", rax, 1)
    or dword ptr [area0 + 24], 0x10000
    TRY(fxrstor [area0])
    EXPECT("fxrstor with a bad mxcsr", GP)
    fninit

    /* ---- XSAVE ---- */
    mov eax, 1
    cpuid
    bt ecx, 26
    jnc done
    mov rax, cr4
    or eax, CR4_OSXSAVE
    mov cr4, rax
    mov eax, 1
    cpuid
    bt ecx, 27
    setc al
    movzx eax, al
    CHECK("cpuid shows osxsave", rax, 1)
    xor ecx, ecx
    TRY(xgetbv)
    EXPECT_OK("xgetbv")
    CHECK("xcr0 at reset", rax, 1)
    mov ecx, 5
    TRY(xgetbv)
    EXPECT("xgetbv of nothing", GP)
    xor ecx, ecx
    RFBM(2)
    TRY(xsetbv)
    EXPECT("xcr0 without x87", GP)
    RFBM(5)
    TRY(xsetbv)
    EXPECT("xcr0 with ymm but not sse", GP)
    mov eax, 3
    mov edx, 0x40000000
    TRY(xsetbv)
    EXPECT("xcr0 with a reserved bit", GP)
    RFBM(3)
    mov ecx, 1
    TRY(xsetbv)
    EXPECT("xcr1", GP)
    mov edi, offset user_xsetbv
    TRY(call run_user64)
    EXPECT("xsetbv at cpl 3", GP)
    mov eax, 1
    cpuid
    bt ecx, 28
    jnc done
    xor ecx, ecx
    RFBM(3)
    xsetbv
    TRY(vaddps ymm0, ymm0, ymm0)
    EXPECT("avx without ymm in xcr0", UD)
    RFBM(7)
    TRY(xsetbv)
    EXPECT_OK("xcr0 = 7")
    TRY(vaddps ymm0, ymm0, ymm0)
    EXPECT_OK("avx")
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    CHECK("size of the area", rbx, 832)

    TRY(xsave [area0 + 32])
    EXPECT("xsave unaligned", GP)
    FILL(area0, 0)
    call load_state
    FILL(area0, 0xcc)
    mov qword ptr [area0 + XHEADER], 0
    mov qword ptr [area0 + XHEADER + 8], 0
    mov qword ptr [area0 + XHEADER + 16], 0
    RFBM(7)
    TRY(xsave [area0])
    EXPECT_OK("xsave")
    CHECK("xstate_bv", [area0 + XHEADER], 7)
    CHECK("xsave: xmm1", [area0 + 160 + 16], 0x1111111111111111)
    CHECK("xsave: upper half of ymm1", [area0 + XYMM + 16], 0x2222222222222222)
    mov rax, 0xcccccccccccccccc
    CHECK("xsave leaves the rest of the header", [area0 + XHEADER + 24], rax)
    vpxor ymm1, ymm1, ymm1
    fninit
    RFBM(4)
    TRY(xrstor [area0])
    EXPECT_OK("xrstor ymm only")
    vextracti128 xmm2, ymm1, 1
    movq rax, xmm2
    CHECK("upper half is back", rax, 0x2222222222222222)
    movq rax, xmm1
    CHECK("lower half is not", rax, 0)
    RFBM(7)
    xrstor [area0]
    movq rax, xmm1
    CHECK("xrstor sse", rax, 0x1111111111111111)
    fnstsw ax
    and eax, 7 << 11
    CHECK("xrstor x87", rax, 7 << 11)

    /* what XSTATE_BV does not name is initialised */
    mov qword ptr [area0 + XHEADER], 0
    mov dword ptr [area0 + 24], 0x1fa0
    RFBM(7)
    xrstor [area0]
    vextracti128 xmm2, ymm1, 1
    movq rax, xmm2
    CHECK("ymm initialised", rax, 0)
    movq rax, xmm1
    CHECK("sse initialised", rax, 0)
    fnstcw [scratch]
    movzx eax, word ptr [scratch]
    CHECK("x87 initialised", rax, 0x37f)
    stmxcsr [scratch]
    mov eax, [scratch]
    CHECK("the standard form loads mxcsr all the same", rax, 0x1fa0)
    ldmxcsr [mxcsr_ok]

    /* RFBM and components in their initial state */
    FILL(area0, 0xcc)
    mov qword ptr [area0 + XHEADER], 0
    vpxor ymm0, ymm0, ymm0
    RFBM(4)
    call zero_upper
    RFBM(4)
    xsave [area0]
    CHECK("xstate_bv of initial ymm", [area0 + XHEADER], 0)
    mov rax, 0xcccccccccccccccc
    CHECK("x87 was not asked for", [area0], rax)
    call load_state
    FILL(area1, 0xcc)
    mov qword ptr [area1 + XHEADER], 8 /* not ours: kept */
    mov qword ptr [area1 + XHEADER + 8], 0
    RFBM(2)
    xsave [area1]
    CHECK("xstate_bv keeps bits outside rfbm", [area1 + XHEADER], 8 + 2)

    /* bad headers */
    FILL(area0, 0)
    mov dword ptr [area0 + 24], 0x1f80
    mov qword ptr [area0 + XHEADER], 1 << 9
    RFBM(7)
    TRY(xrstor [area0])
    EXPECT("xstate_bv names a component that is off", GP)
    mov qword ptr [area0 + XHEADER], 7
    mov qword ptr [area0 + XHEADER + 8], 1
    TRY(xrstor [area0])
    EXPECT("xcomp_bv in the standard form", GP)
    mov qword ptr [area0 + XHEADER + 8], 0
    mov qword ptr [area0 + XHEADER + 16], 1
    TRY(xrstor [area0])
    EXPECT("reserved header bytes", GP)
    mov qword ptr [area0 + XHEADER + 16], 0
    mov dword ptr [area0 + 24], 0x10000
    TRY(xrstor [area0])
    EXPECT("bad mxcsr", GP)
    mov dword ptr [area0 + 24], 0x1f80
    mov rax, cr0
    or eax, CR0_TS
    mov cr0, rax
    RFBM(7)
    TRY(xrstor [area0])
    EXPECT("xrstor with ts", NM)
    TRY(xsave [area0])
    EXPECT("xsave with ts", NM)
    TRY(vaddps ymm0, ymm0, ymm0)
    EXPECT("avx with ts", NM)
    clts

    /* ---- XSAVEOPT, XSAVEC, XSAVES ---- */
    mov eax, 0xd
    mov ecx, 1
    cpuid
    mov r12d, eax
    bt r12d, 0
    jnc no_opt
    call load_state
    call zero_upper
    FILL(area0, 0xcc)
    mov qword ptr [area0 + XHEADER], 7
    RFBM(7)
    TRY(xsaveopt [area0])
    EXPECT_OK("xsaveopt")
    CHECK("xsaveopt: ymm is in its initial state", [area0 + XHEADER], 3)
    mov rax, 0xcccccccccccccccc
    CHECK("and is not written", [area0 + XYMM + 16], rax)
no_opt:
    bt r12d, 2
    jnc no_xgetbv1
    call load_state
    mov ecx, 1
    TRY(xgetbv)
    EXPECT_OK("xgetbv 1")
    CHECK("xinuse: all", rax, 7)
    call zero_upper
    mov ecx, 1
    xgetbv
    and eax, 4
    CHECK("xinuse: not ymm", rax, 0)
no_xgetbv1:
    bt r12d, 1
    jnc no_xsavec
    call load_state
    call zero_upper
    FILL(area0, 0xcc)
    RFBM(7)
    TRY(xsavec [area0])
    EXPECT_OK("xsavec")
    mov rax, [area0 + XHEADER]
    and eax, 6
    CHECK("xsavec: xstate_bv without ymm", rax, 2)
    mov rax, 1 << 63 | 7
    CHECK("xsavec: xcomp_bv", [area0 + XHEADER + 8], rax)
    mov qword ptr [area0 + XHEADER + 16], 0
    mov edi, offset area0 + XHEADER + 16
    xor eax, eax
    mov ecx, 48
    rep stosb
    pxor xmm1, xmm1
    RFBM(7)
    TRY(xrstor [area0])
    EXPECT_OK("xrstor of the compacted form")
    movq rax, xmm1
    CHECK("compacted: xmm1", rax, 0x1111111111111111)
    mov qword ptr [area0 + XHEADER + 40], 1
    TRY(xrstor [area0])
    EXPECT("compacted: reserved header bytes", GP)
    mov qword ptr [area0 + XHEADER + 40], 0
    mov rax, 1 << 63 | 3
    mov [area0 + XHEADER + 8], rax
    mov qword ptr [area0 + XHEADER], 7
    RFBM(7)
    TRY(xrstor [area0])
    EXPECT("compacted: xstate_bv beyond xcomp_bv", GP)
no_xsavec:
    bt r12d, 3
    jnc done
    call load_state
    FILL(area0, 0)
    RFBM(7)
    TRY(xsaves [area0])
    EXPECT_OK("xsaves")
    mov rax, 1 << 63 | 7
    CHECK("xsaves: xcomp_bv", [area0 + XHEADER + 8], rax)
    vpxor ymm1, ymm1, ymm1
    RFBM(7)
    TRY(xrstors [area0])
    EXPECT_OK("xrstors")
    vextracti128 xmm2, ymm1, 1
    movq rax, xmm2
    CHECK("xrstors: ymm1", rax, 0x2222222222222222)
    mov qword ptr [area0 + XHEADER + 8], 0
    RFBM(7)
    TRY(xrstors [area0])
    EXPECT("xrstors wants the compacted form", GP)
    mov edi, offset user_xsaves
    TRY(call run_user64)
    EXPECT("xsaves at cpl 3", GP)
done:
    FINISH

/* One x87 register in use, XMM1 and the upper half of YMM1 filled. */
load_state:
    fninit
    fld1
    mov rax, 0x2222222222222222
    movq xmm2, rax
    mov rax, 0x1111111111111111
    movq xmm1, rax
    vinserti128 ymm1, ymm1, xmm2, 1
    ret

zero_upper:
    vzeroupper
    ret

    .section .utext, "ax"
user_xsetbv:
    xor ecx, ecx
    mov eax, 3
    xor edx, edx
    xsetbv
user_xsaves:
    mov eax, 7
    xor edx, edx
    lea rbx, [rsp - 2048]
    and rbx, -64
    xsaves [rbx]

    .section .data
    .balign 8
mxcsr_ok: .long 0x1f80
mxcsr_bad: .long 0x11f80
mxcsr_div: .long 0x1d80
    .balign 8
fx_mxcsr: .long 0x1f80, 0xffff

    .section .bss
    .balign 64
area0: .skip 1024
area1: .skip 1024
scratch: .skip 16
