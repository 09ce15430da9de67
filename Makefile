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
-include $(OBJS:.o=.d)
