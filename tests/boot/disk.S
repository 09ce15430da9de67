/* SPDX-License-Identifier: GPL-2.0-or-later
 * A boot sector: reads sectors 1-4 through INT 13h, writes them by REP OUTS to sector 8 on, reads
 * those by REP INS of words and of dwords, and prints what it finds on port E9h: "B" at the start,
 * "1" to "4" as each comparison holds, "!" where one does not. Built as a CD's boot image too,
 * where it prints "C" and the first bytes of the CD's block 20. With BIOS defined sectors 8 on are
 * written and read by INT 13h as well, for disks that are not IDE: "B12".
 */
    .code16
    .global _start
_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7000, %sp
    sti
#ifdef CD
    movb $'C', %al
    outb %al, $0xe9
    movw $packet, %si
    movb $0x42, %ah             /* extended read, in the CD's blocks of 2048 bytes */
    int $0x13
    jc bad
    movw $0x1000, %ax
    movw %ax, %es
    xorw %di, %di
    movw $8, %cx
1:  movb %es:(%di), %al
    outb %al, $0xe9
    incw %di
    loop 1b
    jmp end
packet:
    .byte 16, 0
    .word 1, 0, 0x1000
    .long 20, 0
#else
    movb $'B', %al
    outb %al, $0xe9
    movw $0x1000, %ax
    movw %ax, %es
    xorw %bx, %bx
    movw $0x0204, %ax           /* four sectors from cylinder 0, head 0, sector 2 */
    movw $0x0002, %cx
    movb $0, %dh
    int $0x13
    jc bad
#ifdef BIOS
    xorw %bx, %bx
    movw $0x0304, %ax           /* to sector 9 (from 1) of that track, and from there elsewhere */
    movw $0x0009, %cx
    int $0x13
    jc bad
    movb $'1', %al
    outb %al, $0xe9
    movw $0x2000, %ax
    movw %ax, %es
    movw $0x0204, %ax
    int $0x13
    jc bad
    movw $0x1000, %ax
    movw %ax, %ds
    xorw %si, %si
    xorw %di, %di
    movw $1024, %cx
    repe cmpsw
    jne bad
    movb $'2', %al
    outb %al, $0xe9
    jmp end
#endif
    cli
    movw $8, %bx                /* write them to sectors 8-11 */
    movb $0x30, %al
    call command
    movw $0x1000, %ax
    movw %ax, %ds
    xorw %si, %si
    movw $4, %bp
2:  call wait
    movw $256, %cx
    rep outsw
    decw %bp
    jnz 2b
    xorw %ax, %ax
    movw %ax, %ds
    call idle
    movb $'1', %al
    outb %al, $0xe9
    movw $0x2000, %ax           /* by words, to 2000h:0FF1h: crosses a page, unaligned */
    movw %ax, %es
    movw $8, %bx
    movb $0x20, %al
    call command
    movw $0xff1, %di
    movw $4, %bp
3:  call wait
    movw $256, %cx
    rep insw
    decw %bp
    jnz 3b
    movw $0xff1, %di
    movb $'2', %al
    call compare
    movw $8, %bx                /* by dwords */
    movb $0x20, %al
    call command
    movw $0x3000, %di
    movw $4, %bp
4:  call wait
    movw $128, %cx
    rep insl
    decw %bp
    jnz 4b
    movw $0x3000, %di
    movb $'3', %al
    call compare
    movw $8, %bx                /* downward, one block: the words come in reverse order */
    movb $0x20, %al
    call command
    movw $0x41fe, %di
    call wait
    std
    movw $256, %cx
    rep insw
    cld
    call drain
    movw $0x1000, %ax
    movw %ax, %ds
    movw $0x41fe, %di
    xorw %si, %si
    movw $256, %cx
5:  lodsw
    cmpw %ax, %es:(%di)
    jne bad
    subw $2, %di
    loop 5b
    movb $'4', %al
    outb %al, $0xe9
#endif
end:
    movb $1, %al
    movw $0xf4, %dx
    outb %al, %dx
    hlt
bad:
    movb $'!', %al
    outb %al, $0xe9
    jmp end

#ifndef CD
command:                        /* AL at sector BX, four sectors */
    pushw %ax
    movw $0x1f6, %dx
    movb $0xe0, %al
    outb %al, %dx
    movw $0x1f2, %dx
    movb $4, %al
    outb %al, %dx
    incw %dx
    movb %bl, %al
    outb %al, %dx
    incw %dx
    xorb %al, %al
    outb %al, %dx
    incw %dx
    outb %al, %dx
    movw $0x1f7, %dx
    popw %ax
    outb %al, %dx
    ret
wait:                           /* for DRQ; DX is the data port then */
    movw $0x1f7, %dx
6:  inb %dx, %al
    testb $0x80, %al
    jnz 6b
    testb $8, %al
    jz 6b
    movw $0x1f0, %dx
    ret
idle:
    movw $0x1f7, %dx
7:  inb %dx, %al
    testb $0x88, %al
    jnz 7b
    ret
drain:                          /* the other three blocks */
    movw $3, %bp
8:  call wait
    movw $0x5000, %di
    movw $256, %cx
    rep insw
    decw %bp
    jnz 8b
    ret
compare:                        /* 2048 bytes at 1000h:0 and ES:DI; AL if equal */
    pushw %ds
    movw $0x1000, %cx
    movw %cx, %ds
    xorw %si, %si
    movw $1024, %cx
    repe cmpsw
    popw %ds
    jne bad
    outb %al, $0xe9
    ret
#endif
    .org 510
    .word 0xaa55
