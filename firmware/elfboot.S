/* SPDX-License-Identifier: GPL-2.0-or-later
 * Option ROM that starts a kernel which wants protected mode without paging: Multiboot 1 (0.6.96)
 * and PVH (Xen docs/misc/pvh.pandoc). The host has laid out the image, the modules and an info
 * block in low memory; what only firmware knows, the memory map, is added here.
 *
 * The info block's head, which the host writes (hw/pc/multiboot.c, hw/pc/pvh.c):
 *   +0 EAX  +4 EBX at entry  +8 entry point
 *   +12 offset of the memory map's room  +16 entries it holds
 *   +20 offset of the word that takes the map's size
 *   +24 offset of mem_upper, 0 if not wanted
 *   +28 format: 0 Multiboot (entry: 20, base, length, type; size in bytes)
 *               1 PVH (entry: base, length, type, 0; size in entries)
 */
#include "firmware/optionrom.inc"

#define INFO_EAX      0
#define INFO_EBX      4
#define INFO_ENTRY    8
#define INFO_MAP      12
#define INFO_MAP_MAX  16
#define INFO_MAP_SIZE 20
#define INFO_UPPER    24
#define INFO_FORMAT   28
#define MAP_STRIDE    24

	ROM_HEADER "ELF kernel (-kernel)"

boot_entry:
	SET_UP_SEGMENTS
	movw $FW_CFG_KERNEL_ADDR, %ax
	movw $FW_CFG_KERNEL_SIZE, %bx
	movw $FW_CFG_KERNEL_DATA, %si
	call fw_cfg_load
	movw $FW_CFG_INITRD_ADDR, %ax
	movw $FW_CFG_INITRD_SIZE, %bx
	movw $FW_CFG_INITRD_DATA, %si
	call fw_cfg_load
	movw $FW_CFG_SETUP_ADDR, %ax
	movw $FW_CFG_SETUP_SIZE, %bx
	movw $FW_CFG_SETUP_DATA, %si
	call fw_cfg_load
	movw $FW_CFG_SETUP_ADDR, %dx
	call fw_cfg_number
	movl %eax, ADDRESS
	shrl $4, %eax
	movw %ax, %fs           /* FS:0 is the info block */

	/* The memory map (ACPI 15.1). EBP: entries so far, GS:SI unused; DI: room in the block. */
	xorl %ebp, %ebp
	xorl %ebx, %ebx
next_range:
	cmpl %fs:INFO_MAP_MAX, %ebp
	jae map_done
	movl $0xe820, %eax
	movl $20, %ecx
	movl $0x534d4150, %edx  /* "SMAP" */
	movw $E820, %di
	int $0x15
	jc map_done
	cmpl $0x534d4150, %eax
	jne map_done
	imull $MAP_STRIDE, %ebp, %edi
	addl %fs:INFO_MAP, %edi
	cmpl $0, %fs:INFO_FORMAT
	jne pvh_entry
	movl $20, %fs:(%edi)
	addl $4, %edi
	jmp copy_entry
pvh_entry:
	movl $0, %fs:20(%edi)
copy_entry:
	movl E820, %eax
	movl %eax, %fs:(%edi)
	movl E820 + 4, %eax
	movl %eax, %fs:4(%edi)
	movl E820 + 8, %eax
	movl %eax, %fs:8(%edi)
	movl E820 + 12, %eax
	movl %eax, %fs:12(%edi)
	movl E820 + 16, %eax
	movl %eax, %fs:16(%edi)
	incl %ebp
	/* RAM from 1 MiB up is what Multiboot calls upper memory. */
	cmpl $1, E820 + 16
	jne not_upper
	cmpl $0x100000, E820
	jne not_upper
	cmpl $0, E820 + 4
	jne not_upper
	movl %fs:INFO_UPPER, %edi
	testl %edi, %edi
	jz not_upper
	movl E820 + 8, %eax
	shrl $10, %eax
	movl %eax, %fs:(%edi)
not_upper:
	testl %ebx, %ebx
	jnz next_range
map_done:
	cmpl $0, %fs:INFO_FORMAT
	jne map_size
	imull $MAP_STRIDE, %ebp
map_size:
	movl %fs:INFO_MAP_SIZE, %edi
	movl %ebp, %fs:(%edi)

	/* To protected mode with flat segments. The ROM may be anywhere below 1 MiB. */
	cli
	xorl %esi, %esi
	movw %cs, %si
	shll $4, %esi           /* ESI: linear address of this ROM */
	leal gdt(%esi), %eax
	movw $gdt_end - gdt - 1, GDTR
	movl %eax, GDTR + 2
	lgdtl GDTR
	movl ADDRESS, %edi
	leal protected(%esi), %ebx
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	pushl $8
	pushl %ebx
	lretl

	.code32
protected:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl %eax, %ss
	movl INFO_EAX(%edi), %eax
	movl INFO_EBX(%edi), %ebx
	movl INFO_ENTRY(%edi), %ecx
	xorl %edx, %edx
	xorl %esi, %esi
	xorl %edi, %edi
	xorl %ebp, %ebp
	jmp *%ecx

	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff /* 08: code, 4 GiB */
	.quad 0x00cf93000000ffff /* 10: data, 4 GiB */
gdt_end:

	.code16
	FW_CFG_ROUTINES
