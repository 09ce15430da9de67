/* SPDX-License-Identifier: GPL-2.0-or-later
 * Virtual-8086 mode: in by IRETD, out by interrupts and faults, IOPL, the I/O bitmap, and VME's
 * redirected interrupts and virtual interrupt flag (SDM 3B chapter 21). The programs run at
 * F000:xxxx; their stack is 2000:1000.
 * qemu: skip (TCG hands INT n at IOPL 3 to the monitor whatever the redirection bitmap says)
 */
#include "lib.inc"

#define V86_SS 0x2000
#define FL_VIF (1 << 19)
#define FL_VIP (1 << 20)
#define CR4_VME 1
#define IOPL3 0x3000

/* Runs 16-bit code at fn until it leaves V86 mode. */
#define V86(fn, flags)                                                                         \
    TRY32(push 0x5005; push 0x4004; push 0x3003; push 0x1001; push V86_SS; push 0x1000;        \
          push FL_VM + 2 + flags; push 0xf000; push offset fn - 0xf0000; iretd)

    .text
    .code32
    .global main32
main32:
    mov dword ptr [tss32 + 4], offset ring0_stack_top
    mov dword ptr [tss32 + 8], DS32
    mov word ptr [tss32 + 0x66], 0x88
    mov word ptr [tss32_desc], 0x88 + 16 /* redirection bitmap, I/O map of 128 ports, its end */
    mov byte ptr [tss32 + 0x88 + 16], 0xff
    mov byte ptr [tss32 + 0x88 + 0x40 / 8], 0x08 /* port 43h is refused */
    mov byte ptr [tss32 + 0x68 + 0x21 / 8], 0x02 /* INT 21h is not redirected */
    mov eax, TSS32
    ltr ax
    mov byte ptr [idt32 + 8 * 0x20 + 5], 0xee
    mov byte ptr [idt32 + 8 * 0x21 + 5], 0xee
    mov byte ptr [idt32 + 8 * 3 + 5], 0xee
    /* the 8086 program's own handler for INT 20h */
    mov word ptr [0x20 * 4], offset v86_handler - 0xf0000
    mov word ptr [0x20 * 4 + 2], 0xf000

    /* ---- in and out ---- */
    V86(v86_int, IOPL3)
    EXPECT32("int 20h at iopl 3", 0x20)
    CHECK32("on the stack of level 0, nine words", [trap_frame], offset ring0_stack_top - 36)
    CHECK32("return address", [trap_ip], offset v86_int_next - 0xf0000)
    CHECK32("cs", [trap_cs], 0xf000)
    CHECK32("flags", [trap_flags], FL_VM + IOPL3 + 2)
    CHECK32("sp", [trap_sp], 0x1000)
    mov esi, [trap_frame]
    CHECK32("ss", [esi + 16], V86_SS)
    CHECK32("es", [esi + 20], 0x1001)
    CHECK32("ds", [esi + 24], 0x3003)
    CHECK32("fs", [esi + 28], 0x4004)
    CHECK32("gs", [esi + 32], 0x5005)
    CHECK32("fs is null in the handler", ebx, 0)
    V86(v86_segments, IOPL3)
    CHECK32("segment registers are shifts", eax, 0x56789)
    V86(v86_limit, IOPL3)
    EXPECT32("a word at FFFFh", GP, 0)
    V86(v86_stack_limit, IOPL3)
    EXPECT32("a push at sp 1", SS_, 0)

    /* ---- what IOPL guards ---- */
    V86(v86_int, 0)
    EXPECT32("int 20h at iopl 0", GP, 0)
    CHECK32("points at the int", [trap_ip], offset v86_int - 0xf0000)
    V86(v86_int3, 0)
    EXPECT32("int3 at iopl 0", BP)
    V86(v86_cli, 0)
    EXPECT32("cli at iopl 0", GP)
    V86(v86_pushf, 0)
    EXPECT32("pushf at iopl 0", GP)
    V86(v86_popf, 0)
    EXPECT32("popf at iopl 0", GP)
    V86(v86_iret, 0)
    EXPECT32("iret at iopl 0", GP)
    V86(v86_pushf, IOPL3)
    EXPECT32("pushf at iopl 3", 0x21)
    V86(v86_popf, IOPL3)
    EXPECT32("popf at iopl 3", 0x21)
    CHECK32("changes if, not iopl nor vm", [trap_flags], FL_VM + IOPL3 + FL_IF + 2)
    V86(v86_hlt, IOPL3)
    EXPECT32("hlt", GP)
    V86(v86_lgdt, IOPL3)
    EXPECT32("lgdt", GP)
    V86(v86_str, IOPL3)
    EXPECT32("str", UD)

    /* ---- ports: the map decides, whatever IOPL says ---- */
    V86(v86_in_ok, 0)
    EXPECT32("port 42h", GP, 0)
    CHECK32("is allowed: what faults is the cli behind it", [trap_ip],
            offset v86_in_ok_next - 0xf0000)
    V86(v86_in_bad, IOPL3)
    EXPECT32("port 43h", GP, 0)
    CHECK32("is refused at iopl 3 too", [trap_ip], offset v86_in_bad - 0xf0000)
    V86(v86_in_word, IOPL3)
    EXPECT32("word at port 42h", GP, 0)
    V86(v86_in_end, IOPL3)
    EXPECT32("port beyond the map", GP, 0)

    /* ---- VME ---- */
    mov eax, cr4
    or eax, CR4_VME
    mov cr4, eax
    V86(v86_int_vme, FL_VIF)
    EXPECT32("redirected int 20h, then int 21h", GP, 0)
    CHECK32("its handler ran", ecx, 0x7777)
    CHECK32("flags it found: iopl 3, if = vif", eax, IOPL3 + FL_IF + 2)
    CHECK32("vif was off inside: pushf showed if 0", edx, IOPL3 + 2)
    CHECK32("int 21h is not redirected", [trap_ip], offset v86_int_vme_21 - 0xf0000)
    CHECK32("iret brought vif back", [trap_flags], FL_VM + FL_RF + FL_VIF + 2)
    V86(v86_int_vme, IOPL3 + FL_IF)
    EXPECT32("redirected int 20h at iopl 3, then int 21h", 0x21)
    CHECK32("if is the real one", [trap_flags], FL_VM + IOPL3 + FL_IF + 2)
    V86(v86_cli_21, FL_VIF)
    CHECK32("cli clears vif", [trap_flags], FL_VM + FL_RF + 2)
    V86(v86_sti_21, 0)
    CHECK32("sti sets vif", [trap_flags], FL_VM + FL_RF + FL_VIF + 2)
    V86(v86_sti_21, FL_VIP)
    EXPECT32("sti with vip", GP, 0)
    CHECK32("faults itself", [trap_ip], offset v86_sti_21 - 0xf0000)
    V86(v86_popf, FL_VIP)
    EXPECT32("popf with if and vip", GP, 0)
    CHECK32("faults itself", [trap_ip], offset v86_popf_insn - 0xf0000)
    V86(v86_pushfd, 0)
    EXPECT32("pushfd at iopl 0", GP, 0)
    CHECK32("vme helps 16-bit forms only", [trap_ip], offset v86_pushfd - 0xf0000)
    mov eax, cr4
    and eax, ~CR4_VME
    mov cr4, eax
    FINISH32

    .code16
v86_int:
    int 0x20
v86_int_next:
    hlt
v86_int3:
    int3
v86_cli:
    cli
v86_pushf:
    pushf
    int 0x21
v86_popf:
    push 0x0202
v86_popf_insn:
    popf
    int 0x21
v86_iret:
    push 0x0202
    push 0xf000
    push offset v86_cli - 0xf0000
    iret
v86_hlt:
    hlt
v86_lgdt:
    lgdt [0]
v86_str:
    str ax
v86_segments: /* reads a mark that main's data holds, through two segments */
    mov ax, 0
    mov ds, ax
    mov eax, [mark]
    mov bx, offset mark - 0x10
    mov dx, 1
    mov es, dx
    cmp eax, es:[bx]
    je 1f
    xor eax, eax
1:  int 0x20
v86_limit:
    mov bx, 0xffff
    mov ax, [bx]
v86_stack_limit:
    mov sp, 1
    push ax
v86_in_ok:
    in al, 0x42
v86_in_ok_next:
    cli
v86_in_bad:
    in al, 0x43
v86_in_word:
    in ax, 0x42
v86_in_end:
    mov dx, 0x80
    in al, dx
v86_int_vme:
    mov cx, 0
    int 0x20
v86_int_vme_21:
    int 0x21
v86_handler:
    mov cx, 0x7777
    pushf
    pop dx
    mov bp, sp
    mov ax, [bp + 4]
    iret
v86_cli_21:
    cli
    int 0x21
v86_sti_21:
    sti
    int 0x21
v86_pushfd:
    pushfd

    .section .data
    .balign 4
mark: .long 0x56789
