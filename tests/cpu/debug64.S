/* SPDX-License-Identifier: GPL-2.0-or-later
 * Debug registers (SDM 3B 17.2, 17.3): kinds and sizes of breakpoints, their fixed bits, general
 * detect, I/O; and steps through REP, MOV SS and STI. trace.S has the order of traps.
 * qemu: sti: trap behind it
 * qemu: taken one instruction later
 * qemu: dr6 fixed bits
 * qemu: dr7 fixed bits
 * qemu: general detect: vector
 * qemu: it is a fault
 * qemu: gd is off in the handler
 * qemu: dr6 bd
 * qemu: int1: vector
 * qemu: int1 saves the next address
 */
#include "lib.inc"

#define DR6_CLEAR 0xffff0ff0
#define BS (1 << 14)
#define BD (1 << 13)

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64

    /* ---- single step ---- */
    mov qword ptr [trap_hook], offset step_hook
    call steps_begin
    pushfq
    or dword ptr [rsp], FL_TF
    popfq
1:  nop
2:  nop
3:  pushfq
    and dword ptr [rsp], ~FL_TF
4:  popfq
5:  nop
    call steps_end
    CHECK("popf setting tf is not stepped itself, the next is", [step_rip], offset 2b)
    CHECK("second step", [step_rip + 8], offset 3b)
    CHECK("the instruction that clears tf is stepped", [step_rip + 32], offset 5b)
    CHECK("number of steps", [step_count], 5)
    CHECK("dr6 says single step", [step_dr6], DR6_CLEAR | BS)
    CHECK("saved flags have tf", [step_flags], FL_TF)

    call steps_begin
    mov esi, offset trap_count
    mov edi, offset buffer
    mov ecx, 4
    call step_on
1:  rep movsb
2:  nop
    call step_off
    call steps_end
    CHECK("rep movsb: a trap each iteration, at itself", [step_rip + 8], offset 1b)
    CHECK("rep movsb: third", [step_rip + 24], offset 1b)
    CHECK("rep movsb: the last is behind it", [step_rip + 32], offset 2b)

    call steps_begin
    mov eax, DS32
    call step_on
1:  mov ss, eax
2:  nop
3:  nop
    call step_off
    call steps_end
    CHECK("mov ss: no trap behind it", [step_rip + 8], offset 3b)

    call steps_begin
    call step_on
1:  sti
2:  cli
3:  nop
    call step_off
    call steps_end
    CHECK("sti: trap behind it", [step_rip + 8], offset 2b)

    mov qword ptr [trap_hook], 0
    pushfq
    or dword ptr [rsp], FL_TF
    TRY(popfq; 1: ud2)
    EXPECT("a fault under tf is the fault", UD)
    pushfq
    or dword ptr [rsp], FL_TF
    TRY(popfq; 1: int 0x50; 2: nop)
    EXPECT("int n under tf is not stepped", 0x50)
    mov rax, [trap_flags]
    and eax, FL_TF
    CHECK("but its frame has tf", rax, FL_TF)
    mov rax, dr6
    mov eax, DR6_CLEAR
    mov dr6, rax
    mov rax, cr4

    /* ---- instruction breakpoints ---- */
    mov eax, offset bp_here
    mov dr0, rax
    mov eax, 0x402
    mov dr7, rax
    xor ebx, ebx
    TRY(jmp bp_before)
    EXPECT("instruction breakpoint", DB)
    CHECK("it stops before the instruction", [trap_ip], offset bp_here)
    CHECK("before the instruction ran", rbx, 1)
    mov rax, dr6
    CHECK("dr6 b0", rax, DR6_CLEAR | 1)
    mov rax, [trap_flags]
    and eax, FL_RF
    CHECK("rf is the handler's to set (17.3.1.1)", rax, 0)
    mov eax, DR6_CLEAR
    mov dr6, rax
    /* with RF the instruction runs once */
    xor ebx, ebx
    TRY(call bp_resume)
    EXPECT("rf lets one instruction pass, then it hits again", DB)
    CHECK("rf: ran", rbx, 2)
    mov eax, 0x400
    mov dr7, rax
    mov eax, DR6_CLEAR
    mov dr6, rax
    xor ebx, ebx
    TRY(call bp_before_ret)
    EXPECT_OK("breakpoint off")

    /* ---- data breakpoints ---- */
    mov eax, offset buffer + 8
    mov dr1, rax
    mov eax, 0x400 | 0x8 | (0xd << 20) /* g1, write, 4 bytes */
    mov dr7, rax
    TRY(1: mov dword ptr [buffer + 8], 5; 2: nop)
    EXPECT("write breakpoint", DB)
    CHECK("it is a trap: rip", [trap_ip], offset 2b)
    mov eax, [buffer + 8]
    CHECK("the write was done", rax, 5)
    mov rax, dr6
    and eax, 0xf
    CHECK("dr6 b1", rax, 2)
    mov eax, DR6_CLEAR
    mov dr6, rax
    TRY(mov eax, [buffer + 8])
    EXPECT_OK("a write breakpoint ignores reads")
    TRY(mov byte ptr [buffer + 7], 1)
    EXPECT_OK("the byte before")
    TRY(mov byte ptr [buffer + 12], 1)
    EXPECT_OK("the byte behind")
    TRY(mov byte ptr [buffer + 11], 1)
    EXPECT("the last byte of four", DB)
    TRY(mov qword ptr [buffer + 4], 1)
    EXPECT("a wider store over it", DB)
    TRY(mov dword ptr [buffer + 5], 1)
    EXPECT("an unaligned store that touches it", DB)
    TRY(inc dword ptr [buffer + 8])
    EXPECT("read-modify-write", DB)
    TRY(lock xadd [buffer + 8], eax)
    EXPECT("locked read-modify-write", DB)
    mov rbx, rsp
    mov esp, offset buffer + 16
    mov [saved_rsp], rbx
    TRY(push rax)
    mov rsp, [saved_rsp]
    EXPECT("push", DB)
    mov ecx, 4
    mov edi, offset buffer
    TRY(rep stosd)
    EXPECT("rep stos", DB)
    CHECK("rep stos stops behind the element", rcx, 1)
    mov eax, 0x400 | 0x8 | (0xf << 20) /* read or write */
    mov dr7, rax
    TRY(mov eax, [buffer + 8])
    EXPECT("read/write breakpoint: read", DB)
    TRY(mov [buffer + 8], eax)
    EXPECT("read/write breakpoint: write", DB)
    mov eax, 0x400 | 0x8 | (0xb << 20) /* 8 bytes */
    mov dr7, rax
    mov eax, offset buffer + 8
    mov dr1, rax
    TRY(mov al, [buffer + 15])
    EXPECT("8-byte breakpoint", DB)
    /* MOV SS holds a data breakpoint back one instruction */
    mov eax, 0x400 | 0x8 | (0x7 << 20) /* read/write, 2 bytes */
    mov dr7, rax
    mov word ptr [buffer + 16], DS32
    mov eax, offset buffer + 16
    mov dr1, rax
    TRY(1: mov ss, [buffer + 16]; 2: nop; 3: nop)
    EXPECT("breakpoint on mov ss's operand", DB)
    CHECK("taken one instruction later", [trap_ip], offset 3b)
    mov eax, 0x400
    mov dr7, rax
    TRY(mov eax, [buffer + 8])
    EXPECT_OK("data breakpoints off")

    /* ---- the registers themselves ---- */
    mov eax, DR6_CLEAR
    mov dr6, rax
    mov rax, -1
    shr rax, 32
    mov dr6, rax
    mov rax, dr6
    and eax, 0xfffef7ff /* BLD and RTM differ between processors */
    CHECK("dr6 fixed bits", rax, 0xfffee7ff)
    mov eax, 0xffffd7ff
    mov dr7, rax
    mov rax, dr7
    mov ecx, 0x400
    mov dr7, rcx
    and eax, 0xfffff7ff
    CHECK("dr7 fixed bits", rax, 0xffff07ff)
    mov rax, 1 << 40
    TRY(mov dr7, rax)
    EXPECT("dr7 bits 63:32", GP)
    TRY(mov dr6, rax)
    EXPECT("dr6 bits 63:32", GP)
    mov eax, DR6_CLEAR
    mov dr6, rax
    TRY(mov rax, dr4)
    EXPECT_OK("dr4 with cr4.de off")
    CHECK("dr4 is dr6", rax, DR6_CLEAR)
    mov rcx, cr4
    or ecx, CR4_DE
    mov cr4, rcx
    TRY(mov rax, dr4)
    EXPECT("dr4 with cr4.de", UD)
    TRY(mov dr5, rax)
    EXPECT("dr5 with cr4.de", UD)

    /* I/O breakpoint, since DE is on */
    mov eax, 0x80
    mov dr2, rax
    mov eax, 0x400 | 0x20 | (2 << 24)
    mov dr7, rax
    TRY(1: out 0x80, al; 2: nop)
    EXPECT("i/o breakpoint", DB)
    CHECK("it is a trap", [trap_ip], offset 2b)
    TRY(out 0x81, al)
    EXPECT_OK("another port")
    mov rcx, cr4
    and ecx, ~CR4_DE
    mov cr4, rcx

    /* general detect */
    mov eax, DR6_CLEAR
    mov dr6, rax
    mov eax, 0x2400
    mov dr7, rax
    TRY(1: mov rbx, dr0)
    EXPECT("general detect", DB)
    CHECK("it is a fault", [trap_ip], offset 1b)
    mov rax, dr7
    CHECK("gd is off in the handler", rax, 0x400)
    mov rax, dr6
    CHECK("dr6 bd", rax, DR6_CLEAR | BD)

    TRY(1: .byte 0xf1; 2: nop)
    EXPECT("int1", DB)
    CHECK("int1 saves the next address", [trap_ip], offset 2b)
    mov edi, offset user_dr
    TRY(call run_user64)
    EXPECT("mov dr at cpl 3", GP)
    mov eax, 0x400
    mov dr7, rax

    /* a user's TF is not the kernel's */
    mov qword ptr [trap_hook], 0
    mov edi, offset user_step
    TRY(call run_user64)
    EXPECT("single step in user mode", DB)
    CHECK("behind the instruction after popf", [trap_ip], offset user_stepped)
    FINISH

bp_before:
    inc ebx
bp_here:
    inc ebx
    nop
    jmp [trap_resume]
bp_before_ret:
    inc ebx
    jmp bp_here
bp_resume: /* iret to bp_here with RF, twice */
    mov rax, rsp
    push DS32
    push rax
    pushfq
    or dword ptr [rsp], FL_RF
    push CS64
    push offset bp_again
    iretq
bp_again: /* not the breakpoint: RF is gone after it */
    mov rax, rsp
    push DS32
    push rax
    pushfq
    or dword ptr [rsp], FL_RF
    push CS64
    push offset bp_here_twice
    mov ecx, offset bp_here_twice
    mov dr0, rcx
    iretq
bp_here_twice:
    inc ebx
    inc ebx
    jmp bp_here_twice

steps_begin:
    mov qword ptr [step_count], 0
    ret
steps_end:
    ret
step_on: /* the first trap comes behind this RET */
    pushfq
    or dword ptr [rsp], FL_TF
    popfq
    ret
step_off:
    pushfq
    and dword ptr [rsp], ~FL_TF
    popfq
    ret

/* Notes RIP, DR6 and TF of each step and goes on. */
step_hook:
    push rax
    push rbx
    mov rbx, [step_count]
    cmp rbx, 15
    ja 1f
    mov rax, [rsp + 16]
    mov [step_rip + rbx * 8], rax
1:  inc qword ptr [step_count]
    mov rax, dr6
    mov [step_dr6], rax
    mov eax, DR6_CLEAR
    mov dr6, rax
    mov rax, [rsp + 32]
    and eax, FL_TF
    or [step_flags], rax
    pop rbx
    pop rax
    iretq

    .section .utext, "ax"
user_dr:
    mov rax, dr0
user_step:
    pushfq
    or dword ptr [rsp], FL_TF
    popfq
    nop
user_stepped:
    nop

    .section .bss
    .balign 16
step_count: .skip 8
step_dr6: .skip 8
step_flags: .skip 8
saved_rsp: .skip 8
step_rip: .skip 128
buffer: .skip 64
