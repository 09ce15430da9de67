/* SPDX-License-Identifier: GPL-2.0-or-later
 * When interrupts are taken: after STI's shadow, at once after POPF and IRET, out of HLT; NMIs
 * with IF clear, and one at a time (SDM 3A 6.8, 6.7.1). The LAPIC sends to itself.
 */
#include "lib.inc"

#define LAPIC 0xfee00000
#define TPR LAPIC + 0x80
#define EOI LAPIC + 0xb0
#define SVR LAPIC + 0xf0
#define ICR LAPIC + 0x300
#define LVT_TIMER LAPIC + 0x320
#define TIMER_COUNT LAPIC + 0x380
#define TIMER_DIVIDE LAPIC + 0x3e0
#define SELF (1 << 18)
#define SEND(vec) mov dword ptr [ICR], SELF | vec
#define SEND_NMI mov dword ptr [ICR + 0x10], 0; mov dword ptr [ICR], 0x4400

    .text
    .code32
    .global main32
main32:
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    or dword ptr [SVR], 0x100
    mov dword ptr [TPR], 0
    mov dword ptr [trap_hook], 0

    SEND(0x40)
    TRY32(nop; nop; nop; nop)
    EXPECT_OK32("if clear: nothing")
    TRY32(sti; 1: nop; 2: nop; nop; cli)
    EXPECT32("sti", 0x40)
    CHECK32("taken one instruction after sti", [trap_ip], offset 2b)
    mov dword ptr [EOI], 0

    SEND(0x41)
    TRY32(sti; cli; nop; nop)
    EXPECT_OK32("sti; cli lets nothing in")
    TRY32(sti; sti; 1: nop; 2: nop; cli)
    EXPECT32("sti; sti", 0x41)
    CHECK32("the second sti has no shadow", [trap_ip], offset 1b)
    mov dword ptr [EOI], 0

    SEND(0x42)
    pushfd
    or dword ptr [esp], FL_IF
    TRY32(popfd; 1: nop; nop)
    EXPECT32("popf", 0x42)
    CHECK32("taken at once after popf", [trap_ip], offset 1b)
    mov dword ptr [EOI], 0

    SEND(0x43)
    pushfd
    or dword ptr [esp], FL_IF
    push CS32
    push offset 1f
    TRY32(iretd; nop; 1: nop; nop)
    EXPECT32("iret", 0x43)
    CHECK32("taken at once after iret", [trap_ip], offset 1b)
    mov dword ptr [EOI], 0
    mov eax, [trap_flags]
    and eax, FL_IF
    CHECK32("the frame has if set", eax, FL_IF)
    pushfd
    pop eax
    and eax, FL_IF
    CHECK32("the gate cleared it", eax, 0)

    SEND(0x44)
    TRY32(sti; hlt; 1: nop)
    EXPECT32("sti; hlt with one pending", 0x44)
    CHECK32("taken behind hlt", [trap_ip], offset 1b)
    mov dword ptr [EOI], 0

    mov dword ptr [TIMER_DIVIDE], 0xb
    mov dword ptr [LVT_TIMER], 0x45
    mov dword ptr [TIMER_COUNT], 1000000
    TRY32(sti; hlt; 1: nop)
    EXPECT32("hlt until the timer", 0x45)
    CHECK32("taken behind hlt again", [trap_ip], offset 1b)
    mov dword ptr [EOI], 0
    mov dword ptr [LVT_TIMER], 0x10000

    /* the higher vector first, the lower when that is done */
    SEND(0x50)
    SEND(0x60)
    TRY32(sti; nop; nop; cli)
    EXPECT32("two pending: the higher", 0x60)
    TRY32(sti; nop; nop; cli)
    EXPECT_OK32("the lower waits for eoi")
    mov dword ptr [EOI], 0
    TRY32(sti; nop; nop; cli)
    EXPECT32("then it comes", 0x50)
    mov dword ptr [EOI], 0

    /* a loop without memory accesses is interrupted */
    mov dword ptr [LVT_TIMER], 0x46
    mov dword ptr [TIMER_COUNT], 1000000
    TRY32(sti; 1: jmp 1b)
    EXPECT32("endless loop", 0x46)
    mov dword ptr [EOI], 0
    /* a REP string instruction is interrupted and can go on */
    mov dword ptr [TIMER_COUNT], 300000
    mov edi, 0x100000
    mov ecx, 0x10000000
    xor eax, eax
    mov dword ptr [trap_hook], offset tick
    sti
1:  mov edi, 0x100000
    mov ecx, 0x40000
    rep stosd
    cmp dword ptr [ticks], 3
    jb 1b
    cli
    mov dword ptr [trap_hook], 0
    CHECK32("rep stos ends where it should", edi, 0x200000)

    /* ---- NMI ---- */
    TRY32(SEND_NMI; mov ecx, 10000000; 1: loop 1b)
    EXPECT32("nmi with if clear", 2)
    pushfd
    push CS32
    push offset 1f
    iretd /* what ends an NMI's handler */
1:  mov dword ptr [trap_hook], offset nmi_handler
    mov dword ptr [ticks], 0
    SEND_NMI
    mov ecx, 10000000
1:  cmp dword ptr [ticks], 2
    loopne 1b
    mov eax, [nmi_depth_max]
    CHECK32("no nmi inside an nmi handler", eax, 1)
    CHECK32("but after its iret", [ticks], 2)
    mov dword ptr [trap_hook], 0
    FINISH32

tick:
    inc dword ptr [ticks]
    mov dword ptr [EOI], 0
    mov dword ptr [TIMER_COUNT], 300000
    iretd

nmi_handler:
    push eax
    inc dword ptr [nmi_depth]
    mov eax, [nmi_depth]
    cmp eax, [nmi_depth_max]
    jbe 1f
    mov [nmi_depth_max], eax
1:  inc dword ptr [ticks]
    cmp dword ptr [ticks], 1
    jne 2f
    SEND_NMI
    mov eax, 1000
1:  dec eax
    jnz 1b
2:  dec dword ptr [nmi_depth]
    pop eax
    iretd

    .section .bss
    .balign 8
ticks: .skip 4
nmi_depth: .skip 4
nmi_depth_max: .skip 4
