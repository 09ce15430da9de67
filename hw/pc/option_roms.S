/* SPDX-License-Identifier: GPL-2.0-or-later
 * The option ROMs that the build assembles from firmware/, as bytes of the program.
 */
	.section .rodata
	.macro ROM name, file
	.global option_rom_\name, option_rom_\name\()_end
	.balign 16
option_rom_\name:
	.incbin "\file"
option_rom_\name\()_end:
	.endm

	ROM linuxboot, "firmware/linuxboot.bin"
	ROM elfboot, "firmware/elfboot.bin"

	.section .note.GNU-stack, "", @progbits
