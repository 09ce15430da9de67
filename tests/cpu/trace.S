/* SPDX-License-Identifier: GPL-2.0-or-later
 * Single step, breakpoints and the resume flag (SDM 3B 17.2, 17.3), and what holds them back:
 * MOV SS, software interrupts, REP.
 * qemu: with rf in its image
 * qemu: int1 is a #DB
 * qemu: a trap
 */
#include "lib.inc"

#define FL(bits) pushfq; or dword ptr [rsp], bits; popfq

    .text
    .code32
    .global main32
main32:
    call enter_long64
    .code64
    mov qword ptr [trap_hook], offset log_trap

    /* ---- single step: #DB after the instruction behind POPF ---- */
    call clear_log
    FL(FL_TF)
1:  nop
2:  mov eax, 1
3:  and dword ptr [rsp - 8], 0
4:  call no_trace
    CHECK("first trap is behind the first instruction", [log_ip], offset 2b)
    CHECK("second", [log_ip + 8], offset 3b)
    CHECK("third", [log_ip + 16], offset 4b)
    CHECK("tf is in the image", [log_flags], FL_TF + 2 + 0x44)
    CHECK("dr6.bs", [log_dr6], 0xffff4ff0)
    CHECK("tf is clear in the handler", [log_tf], 0)

    /* ---- MOV SS delays it by an instruction ---- */
    call clear_log
    mov ecx, DS32
    FL(FL_TF)
1:  mov ss, ecx
2:  nop
3:  call no_trace
    CHECK("no trap behind mov ss", [log_ip], offset 3b)

    /* ---- INT n is not stepped into; the step comes after what follows it ---- */
    call clear_log
    FL(FL_TF)
1:  int 0x42
2:  nop
3:  call no_trace
    CHECK("int 42h first", [log_vec], 0x42)
    CHECK("with tf in its image", [log_flags], FL_TF + 2 + 0x44)
    CHECK("then the step behind the nop", [log_ip + 8], offset 3b)
    CHECK("which is a #DB", [log_vec + 8], DB)

    /* ---- a fault is not stepped: the handler skips it, then stepping goes on ---- */
    call clear_log
    FL(FL_TF)
1:  ud2
2:  nop
3:  call no_trace
    CHECK("ud2 faults", [log_vec], UD)
    CHECK("with rf in its image", [log_flags], FL_TF + FL_RF + 2 + 0x44)
    CHECK("next trap behind the nop", [log_ip + 8], offset 3b)

    /* ---- REP: a trap an iteration ---- */
    call clear_log
    mov esi, offset log_ip
    mov edi, offset scratch
    mov ecx, 3
    cld
    FL(FL_TF)
1:  rep movsb
2:  call no_trace
    CHECK("rep: first iteration", [log_ip], offset 1b)
    CHECK("second", [log_ip + 8], offset 1b)
    CHECK("the last one leaves it", [log_ip + 16], offset 2b)
    CHECK("rcx", rcx, 0)
    /* POPF that clears TF is still stepped */
    call clear_log
    pushfq
    FL(FL_TF)
    popfq
1:  nop
    CHECK("popf that clears tf", [log_ip], offset 1b)
    CHECK("one trap", [log_nr], 1)
    CHECK("tf is clear in its image", [log_flags], 2 + 0x44)

    /* ---- instruction breakpoint: a fault, once; RF carries over it ---- */
    call clear_log
    mov eax, offset 1f
    mov dr0, rax
    mov eax, 0x401
    mov dr7, rax
    mov ebx, 5
1:  inc ebx
    mov eax, 0x400
    mov dr7, rax
    CHECK("breakpoint at the instruction", [log_ip], offset 1b)
    CHECK("one #DB", [log_nr], 1)
    CHECK("dr6.b0", [log_dr6], 0xffff0ff1)
    CHECK("rf is not set in the image", [log_flags], 2 + 0x44)
    CHECK("the instruction ran once", rbx, 6)

    /* ---- data breakpoint: a trap ---- */
    call clear_log
    mov eax, offset scratch
    mov dr1, rax
    mov eax, 0x00d00404 /* DR1: 4 bytes, writes */
    mov dr7, rax
    mov eax, [scratch]
    nop
1:  mov dword ptr [scratch], eax
2:  nop
    mov byte ptr [scratch + 3], al
3:  mov byte ptr [scratch + 4], al
    mov eax, 0x400
    mov dr7, rax
    CHECK("write to the watched word", [log_ip], offset 2b)
    CHECK("dr6.b1", [log_dr6], 0xffff0ff2)
    CHECK("write to its last byte", [log_ip + 8], offset 3b)
    CHECK("not reads, not the byte behind", [log_nr], 2)

    /* ---- INT1 ---- */
    call clear_log
1:  .byte 0xf1
2:  nop
    CHECK("int1 is a #DB", [log_vec], DB)
    CHECK("a trap", [log_ip], offset 2b)
    CHECK("that leaves dr6 alone", [log_dr6], 0xffff0ff0)
    mov qword ptr [trap_hook], 0
    FINISH

/* Ends stepping: itself the last instruction but one that is stepped. */
no_trace:
    pushfq
    and dword ptr [rsp], ~FL_TF
    popfq
    ret

clear_log:
    mov qword ptr [log_nr], 0
    push rax
    mov eax, 0xffff0ff0
    mov dr6, rax
    cmp rax, rax /* ZF and PF: what images show */
    pop rax
    ret

/* The hook: notes the event and returns; ud2 is skipped. */
log_trap:
    push rbx
    push rcx
    mov ecx, [log_nr]
    cmp ecx, 8
    jae 1f
    mov rbx, [trap_vec]
    mov [log_vec + rcx * 8], rbx
    mov rbx, [rsp + 16]
    mov [log_ip + rcx * 8], rbx
    mov rbx, [rsp + 32]
    mov [log_flags + rcx * 8], rbx
    mov rbx, dr6
    mov [log_dr6 + rcx * 8], rbx
    pushfq
    pop rbx
    and ebx, FL_TF
    mov [log_tf + rcx * 8], rbx
    inc dword ptr [log_nr]
1:  mov ebx, 0xffff0ff0
    mov dr6, rbx
    cmp qword ptr [trap_vec], UD
    jne 2f
    add qword ptr [rsp + 16], 2
2:  cmp qword ptr [trap_vec], DB
    jne 3f
    or dword ptr [rsp + 32], FL_RF /* past an instruction breakpoint */
3:  pop rcx
    pop rbx
    mov rax, [trap_eax]
    iretq

    .section .data
    .balign 8
log_nr: .quad 0
log_vec: .fill 8, 8, 0
log_ip: .fill 8, 8, 0
log_flags: .fill 8, 8, 0
log_dr6: .fill 8, 8, 0
log_tf: .fill 8, 8, 0
scratch: .quad 0, 0
