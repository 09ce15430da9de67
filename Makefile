# SPDX-License-Identifier: GPL-2.0-or-later
# Interim build file; configure and the full one follow.
CC ?= gcc
B ?= build
PKGS := sdl2 pixman-1 zlib json-c libpng
CFLAGS ?= -O2 -g
ALL_CFLAGS := -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -pthread -I. $(shell pkg-config --cflags $(PKGS)) $(CFLAGS)
LIBS := $(shell pkg-config --libs $(PKGS)) -lm -pthread
DIRS := vm monitor hw/core hw/isa hw/pci hw/pc hw/intc hw/timer hw/char hw/input hw/display hw/ide hw/misc hw/acpi \
        accel accel/interp accel/test cpu block net ui chardev memory util
SRCS := $(foreach d,$(DIRS),$(wildcard $(d)/*.c $(d)/*.S))
OBJS := $(patsubst %,$(B)/%.o,$(basename $(SRCS)))

$(B)/vireo: $(OBJS)
	$(CC) $(CFLAGS) -o $@ $^ $(LIBS)
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
# Option ROMs: 16-bit code linked at 0, embedded by hw/pc/option_roms.S.
ROMS := $(B)/firmware/linuxboot.bin $(B)/firmware/elfboot.bin
$(B)/firmware/%.o: firmware/%.S firmware/optionrom.inc
	@mkdir -p $(@D)
	$(CC) -m32 -I. -c -o $@ $<
$(B)/firmware/%.bin: $(B)/firmware/%.o
	ld -m elf_i386 -Ttext=0 -e _start --oformat=binary -o $@ $<
.SECONDARY: $(ROMS:.bin=.o)
$(B)/hw/pc/option_roms.o: $(ROMS)
$(B)/hw/pc/option_roms.o: ALL_CFLAGS += -Wa,-I$(B)
-include $(OBJS:.o=.d)
