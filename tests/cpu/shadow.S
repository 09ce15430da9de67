/* SPDX-License-Identifier: GPL-2.0-or-later
 * Where a pending interrupt is taken: the shadows of STI and MOV SS, POPF, IRET, HLT, and the
 * middle of a REP (SDM 3A 6.8, 2B STI, MOV). IRQ 0 comes from the 8254 by way of the 8259.
 * qemu: is interrupted
 */
#include "lib.inc"

    .text
    .code32
    .global main32
main32:
    mov dword ptr [0xfee000f0], 0x1ff /* LAPIC on, LINT0 lets the 8259 through */
    mov dword ptr [0xfee00350], 0x700
    mov al, 0x11 /* ICW1 to ICW4 */
    out 0x20, al
    mov al, 0x20
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0xff
    out 0xa1, al

    call raise
    TRY32(sti; 1: nop; 2: nop; 3: nop)
    EXPECT32("sti", 0x20)
    CHECK32("one instruction goes before", [trap_ip], offset 2b)
    call done

    call raise
    TRY32(sti; cli; nop; nop)
    EXPECT_OK32("sti, cli")
    TRY32(sti; nop; 1: nop)
    EXPECT32("it was only held", 0x20)
    CHECK32("till here", [trap_ip], offset 1b)
    call done

    call raise
    TRY32(sti; push ss; pop ss; mov eax, 5; 1: nop; nop)
    EXPECT32("sti, push ss, pop ss", 0x20)
    mov ecx, [trap_ip]
    add ecx, 6
    CHECK32("sti's is over before pop ss", ecx, offset 1b)
    call done

    call raise
    pushfd
    or dword ptr [esp], FL_IF
    TRY32(popfd; 1: nop; nop)
    EXPECT32("popf", 0x20)
    CHECK32("has no shadow", [trap_ip], offset 1b)
    add esp, 4
    call done

    call raise
    TRY32(pushfd; or dword ptr [esp], FL_IF; push CS32; push offset 1f; iretd; nop; 1: nop; nop)
    EXPECT32("iret", 0x20)
    CHECK32("before its target", [trap_ip], offset 1b)
    call done

    /* IF was set before: no shadow */
    call raise
    TRY32(sti; sti; 1: nop; nop)
    EXPECT32("sti twice", 0x20)
    CHECK32("the second one has no shadow", [trap_ip], offset 1b)
    call done

    mov eax, 2000
    call arm
    TRY32(sti; hlt; 1: nop)
    EXPECT32("hlt", 0x20)
    CHECK32("goes on behind it", [trap_ip], offset 1b)
    call done

    /* Again if it came too late for that, as on a busy host. */
    mov ebx, 200
5:  mov eax, 20
    call arm
    mov ecx, 0x80000
    mov esi, 0x10000
    mov edi, esi
    TRY32(sti; 1: repe cmpsb; nop)
6:  cmp dword ptr [trap_vec], -1
    je 6b
    cmp dword ptr [trap_ip], offset 1b
    je 7f
    call done
    dec ebx
    jnz 5b
7:  EXPECT32("rep cmpsb", 0x20)
    CHECK32("is interrupted", [trap_ip], offset 1b)
    mov eax, esi
    sub eax, 0x10000
    add eax, ecx
    CHECK32("with its registers in step", eax, 0x80000)
    call done
    FINISH32

/* IRQ 0 after eax ticks; arm leaves it to come, raise waits until it is pending. IF is 0. */
arm:
    push eax
    mov al, 0x30
    out 0x43, al
    pop eax
    out 0x40, al
    mov al, ah
    out 0x40, al
    ret
raise:
    mov eax, 2
    call arm
    mov al, 0x0a
    out 0x20, al
1:  in al, 0x20
    test al, 1
    jz 1b
    ret

done: /* end of interrupt */
    mov al, 0x20
    out 0x20, al
    cli
    ret
