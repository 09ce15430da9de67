/* SPDX-License-Identifier: GPL-2.0-or-later
 * Option ROM that starts a Linux kernel (Documentation/arch/x86/boot.rst: the 16-bit protocol).
 * The host has split the image and patched its setup header; here the parts are copied to where
 * the items say, and the setup code is entered as a boot loader does.
 */
#include "firmware/optionrom.inc"

	ROM_HEADER "Linux kernel (-kernel)"

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
	movw $FW_CFG_CMDLINE_ADDR, %ax
	movw $FW_CFG_CMDLINE_SIZE, %bx
	movw $FW_CFG_CMDLINE_DATA, %si
	call fw_cfg_load
	movw $FW_CFG_SETUP_ADDR, %ax
	movw $FW_CFG_SETUP_SIZE, %bx
	movw $FW_CFG_SETUP_DATA, %si
	call fw_cfg_load

	/* The stack ends below the command line, in the setup code's own segment. */
	movw $FW_CFG_CMDLINE_ADDR, %dx
	call fw_cfg_number
	movl %eax, %ebx
	movw $FW_CFG_SETUP_ADDR, %dx
	call fw_cfg_number
	subl %eax, %ebx
	subl $16, %ebx
	shrl $4, %eax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %gs
	movw %ax, %ss
	movl %ebx, %esp
	addw $0x20, %ax         /* the setup code starts one sector in */
	pushw %ax
	pushw $0
	xorl %eax, %eax
	xorl %ebx, %ebx
	xorl %ecx, %ecx
	xorl %edx, %edx
	xorl %esi, %esi
	xorl %edi, %edi
	xorl %ebp, %ebp
	lret

	FW_CFG_ROUTINES
