/* SPDX-License-Identifier: GPL-2.0-or-later
 * Every x87 instruction as a function, for x87_native (x87_host_x86_64.h): the register forms at
 * x87_native_code + 4 * ((opcode - D8) * 64 + ModRM - C0), the memory forms, with [RSI], at
 * x87_native_code + 4 * (512 + (opcode - D8) * 8 + ModRM.reg).
 */
    .text
    .globl x87_native_code, x87_native_run
    .balign 16
x87_native_code:
    .set i, 0
    .rept 512
    .byte 0xd8 + (i >> 6), 0xc0 + (i & 63), 0xc3, 0xcc
    .set i, i + 1
    .endr
    .set i, 0
    .rept 64
    .byte 0xd8 + (i >> 3), (i & 7) * 8 + 6, 0xc3, 0xcc
    .set i, i + 1
    .endr

/* uint16_t x87_native_run(void *image, void *mem, const void *code, uint32_t cc): loads the
 * FXSAVE image and the flags, runs code, saves both; leaves the host's x87 as its ABI asks. */
    .balign 16
x87_native_run:
    fxrstor64 (%rdi)
    movl    %ecx, %eax
    andb    $1, %al
    addb    $0x7f, %al          /* OF */
    sahf
    call    *%rdx
    lahf
    seto    %al
    movzwl  %ax, %eax
    fxsave64 (%rdi)             /* does not wait, though ES may be set now */
    fninit
    ret

    .section .note.GNU-stack, "", @progbits
