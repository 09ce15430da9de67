/* SPDX-License-Identifier: GPL-2.0-or-later
 * Three tiny kernels that print what their boot protocol handed them on COM1 and end the process
 * through isa-debug-exit (port 0xf4). Assembled with -DMULTIBOOT, -DPVH or -DBZIMAGE by
 * test_kernels.py.
 */
#define EXIT_PORT 0xf4

#ifdef BZIMAGE
	/* A boot sector, one sector of setup code, then protected-mode code for 1 MiB. */
	.code16
	.text
	.global _start
_start:
	.org 0x1f1
	.byte 1                 /* setup_sects */
	.org 0x1f4
	.long 32                /* syssize: 512 bytes */
	.org 0x1fe
	.word 0xaa55
	jmp setup
	.org 0x202
	.ascii "HdrS"
	.word 0x020f
	.org 0x211
	.byte 1                 /* loaded high */
	.org 0x22c
	.long 0x7fffffff        /* initrd_addr_max */
	.org 0x238
	.long 255               /* cmdline_size */
	.org 0x258
	.quad 0x100000          /* pref_address */
	.long 0x1000            /* init_size */
	.org 0x270
setup:
	/* DS is the setup segment: tell protected mode where the header is. */
	cli
	xorl %esi, %esi
	movw %ds, %si
	shll $4, %esi
	leal gdt(%esi), %eax
	movl %eax, gdtr + 2
	lgdtl gdtr
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $8, $0x100000
gdtr:	.word 23
	.long 0
	.balign 8
gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
	.org 0x400
	.code32
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %ss
	movl $0x90000, %esp
	call newline
	movl 0x228(%esi), %ebx  /* cmd_line_ptr */
	call print_string
	movl 0x21c(%esi), %eax  /* ramdisk_size */
	call print_hex
	movl 0x218(%esi), %ebx  /* ramdisk_image */
	call print_string
	movzbl 0x210(%esi), %eax
	call print_hex
	movzwl 0x1fa(%esi), %eax
	call print_hex
	jmp finish
#else
	.code32
	.text
	.global _start
#ifdef MULTIBOOT
	.balign 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)
#else
	.section .note.Xen, "a", @note
	.long 4, 4, 18
	.asciz "Xen"
	.long _start
	.text
#endif
_start:
	movl $0x90000, %esp
	movl %eax, %edi
	movl %ebx, %esi
	call newline
#ifdef MULTIBOOT
	movl %edi, %eax
	call print_hex
	movl 0(%esi), %eax      /* flags */
	call print_hex
	movl 8(%esi), %eax      /* mem_upper */
	call print_hex
	movl 16(%esi), %ebx
	call print_string
	movl 20(%esi), %ecx     /* modules */
	movl 24(%esi), %ebp
1:	jecxz 2f
	movl 8(%ebp), %ebx
	call print_string
	movl 0(%ebp), %ebx
	call print_string
	addl $16, %ebp
	decl %ecx
	jmp 1b
2:	movl 48(%esi), %ebp     /* memory map: RAM from 1 MiB up */
	movl 44(%esi), %ecx
	addl %ebp, %ecx
3:	cmpl $0x100000, 4(%ebp)
	je 4f
	addl 0(%ebp), %ebp
	addl $4, %ebp
	cmpl %ecx, %ebp
	jb 3b
4:	movl 12(%ebp), %eax
	call print_hex
#else
	movl 0(%esi), %eax      /* magic */
	call print_hex
	movl 24(%esi), %ebx     /* command line */
	call print_string
	movl 12(%esi), %eax     /* modules */
	call print_hex
	movl 16(%esi), %ebp
	movl 8(%ebp), %eax
	call print_hex
	movl 0(%ebp), %ebx
	call print_string
	movl 40(%esi), %ebp     /* memory map: RAM from 1 MiB up */
	movl 48(%esi), %ecx
5:	cmpl $0x100000, 0(%ebp)
	je 6f
	addl $24, %ebp
	loop 5b
6:	movl 8(%ebp), %eax
	call print_hex
#endif
	jmp finish
#endif

print_string:
	movb (%ebx), %al
	testb %al, %al
	jz newline
	call print_char
	incl %ebx
	jmp print_string
newline:
	movb $'\n', %al
print_char:
	pushl %edx
	movw $0x3f8, %dx
	outb %al, %dx
	popl %edx
	ret
print_hex:
	pushl %ecx
	movl $8, %ecx
7:	roll $4, %eax
	pushl %eax
	andb $15, %al
	addb $'0', %al
	cmpb $'9', %al
	jbe 8f
	addb $39, %al
8:	call print_char
	popl %eax
	loop 7b
	popl %ecx
	jmp newline
finish:
	movb $1, %al            /* status 3 */
	outb %al, $EXIT_PORT
9:	hlt
	jmp 9b
#ifdef BZIMAGE
	.org 0x600
#endif
