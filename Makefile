# SPDX-License-Identifier: GPL-2.0-or-later
# One Makefile for the whole tree. `make help` lists what it can do.
#
# Objects go to $(B), which is build/ or the directory that configure ran in; it always runs at the
# top of the source tree. A new .c or .S file in a directory below is found by itself.
B ?= build

ifeq ($(filter help clean distclean format,$(MAKECMDGOALS)),)
-include $(B)/config.mk
endif

ifeq ($(origin CC),default)
CC := $(or $(CONFIG_CC),gcc)
endif
CFLAGS ?= $(or $(CONFIG_CFLAGS),-O2 -g)
LDFLAGS ?= $(CONFIG_LDFLAGS)
ALL_CFLAGS := -std=gnu11 $(WARN) -D_GNU_SOURCE $(DEFINES) -pthread -fno-strict-aliasing \
              -foptimize-sibling-calls -I. $(LIB_CFLAGS) \
              $(CFLAGS) $(CONFIG_SAN)
LIBS := $(LIB_LIBS) -lm -pthread
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2);)

DIRS := vm monitor migration hw/* accel accel/* cpu block net ui chardev memory util
SRCS := $(wildcard $(foreach d,$(DIRS),$(d)/*.c $(d)/*.S))
# What an optional library is for is in files of its own.
ifeq ($(HAVE_PNG),n)
SRCS := $(filter-out ui/png.c,$(SRCS))
endif
ifeq ($(HAVE_SLIRP),n)
SRCS := $(filter-out net/user.c net/user_poll.c net/user_fwd.c net/user_merge.c,$(SRCS))
else
SRCS := $(filter-out net/user_none.c,$(SRCS))
endif
ifeq ($(HAVE_SDL),n)
SRCS := $(filter-out ui/sdl%.c,$(SRCS))
endif
ifeq ($(HAVE_LIBURING),n)
SRCS := $(filter-out block/uring.c,$(SRCS))
endif
OBJS := $(patsubst %,$(B)/%.o,$(basename $(SRCS)))
# The image tools: tools/img*.c and io*.c, with the back ends for images and nothing else of Vireo.
TOOLS := $(B)/vireo-img $(B)/vireo-io
IMG_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tools/img*.c tools/copy*.c))
IO_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tools/io*.c)) $(B)/tools/img_common.o
TOOL_OBJS := $(filter $(B)/block/% $(B)/util/%,$(OBJS))
TEST_SRCS := $(wildcard tests/unit/test_*.c)
TESTS := $(TEST_SRCS:%.c=$(B)/%)

.PHONY: all tests check check-boot check-jit-long check-kvm-nested check-options check-all bench run install uninstall format lint help clean distclean force
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

all: $(B)/vireo $(TOOLS)

$(B)/config.mk: configure
	@./configure --quiet --build-dir=$(B) $(CONFIG_ARGS)

# Holds the command that objects are made with: another command makes them all anew.
FLAGS := $(filter-out ccache,$(CC)) $(ALL_CFLAGS)
$(B)/flags: force | $(B)/config.mk
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@

$(B)/vireo: $(OBJS)
	$(call say,LINK,$@)$(CC) $(CFLAGS) $(CONFIG_SAN) $(LDFLAGS) -o $@ $(OBJS) $(LIBS)
$(B)/vireo-img: $(IMG_OBJS) $(TOOL_OBJS)
$(B)/vireo-io: $(IO_OBJS) $(TOOL_OBJS)
$(TOOLS):
	$(call say,LINK,$@)$(CC) $(CFLAGS) $(CONFIG_SAN) $(LDFLAGS) -o $@ $^ -Wl,--as-needed $(LIBS)
$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/%.o: %.S $(B)/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Option ROMs: 16-bit code linked at 0, embedded by hw/pc/option_roms.S.
ROMS := $(B)/firmware/linuxboot.bin $(B)/firmware/elfboot.bin
$(B)/firmware/%.o: firmware/%.S firmware/optionrom.inc $(B)/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)$(CC) -m32 -I. -c -o $@ $<
$(B)/firmware/%.bin: $(B)/firmware/%.o
	$(call say,LD,$@)ld -m elf_i386 -Ttext=0 -e _start --oformat=binary -o $@ $<
.SECONDARY: $(ROMS:.bin=.o)
$(B)/hw/pc/option_roms.o: $(ROMS)
$(B)/hw/pc/option_roms.o: ALL_CFLAGS += -Wa,-I$(B)

# The interpreter's handlers each end in an indirect jump of their own; sharing the tails of
# functions would save bytes and cost the branch predictor a quarter of the speed.
ifeq ($(findstring clang,$(shell $(CC) --version)),)
$(B)/accel/interp/%.o: ALL_CFLAGS += -fno-partial-inlining -fno-ipa-icf -fno-gcse
endif

# ---- tests ----

# A unit test program is one file, linked with everything but main().
TEST_OBJS := $(filter-out $(B)/vm/main.o,$(OBJS))
TEST_LIBS := $(if $(filter y,$(HAVE_CMOCKA)),-lcmocka) $(if $(filter y,$(HAVE_ZYDIS)),-lZydis)
$(B)/tests/%.o: ALL_CFLAGS += $(if $(filter y,$(HAVE_ZYDIS)),-DHAVE_ZYDIS)
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(TEST_OBJS)
	$(call say,LINK,$@)$(CC) $(CFLAGS) $(CONFIG_SAN) $(LDFLAGS) -o $@ $^ $(LIBS) $(TEST_LIBS)
.SECONDARY: $(TESTS:%=%.o)

# Block requests without a device.
$(B)/tests/bench/blk: $(B)/tests/bench/blk.o $(TEST_OBJS)
	$(call say,LINK,$@)$(CC) $(CFLAGS) $(CONFIG_SAN) $(LDFLAGS) -o $@ $^ $(LIBS)

# The CPU oracle (tests/cpu/oracle): instructions against the host's own processor.
ORACLE_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/cpu/oracle/*.c))
ORACLE := $(if $(ORACLE_OBJS),$(B)/tests/cpu/oracle/oracle)
$(B)/tests/cpu/oracle/oracle: $(ORACLE_OBJS) $(TEST_OBJS)
	$(call say,LINK,$@)$(CC) $(CFLAGS) $(CONFIG_SAN) $(LDFLAGS) -o $@ $^ $(LIBS)

tests: $(B)/vireo $(TOOLS) $(if $(filter y,$(HAVE_CMOCKA)),$(TESTS)) $(ORACLE)

RUN_TESTS = tests/run --build $(B) --cc '$(lastword $(CC))'
check: tests
	@$(RUN_TESTS) fast
check-boot: $(B)/vireo
	@$(RUN_TESTS) boot
check-jit-long: $(B)/vireo
	@$(RUN_TESTS) long
check-kvm-nested: tests
	@$(RUN_TESTS) -j1 kvm-nested
check-options: tests
	@VIREO=$(B)/vireo tests/build/each_option.py
check-all: tests
	@$(RUN_TESTS) fast boot
bench: $(B)/vireo
	@tests/bench/bench --build $(B)

# ---- other ----

ARGS ?= -m 256
run: $(B)/vireo
	$(B)/vireo $(ARGS)

DOCS := README.md LICENSE $(wildcard docs/*.md docs/*.svg)
install: $(B)/vireo $(TOOLS)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/vireo
	install -m 755 $(B)/vireo $(TOOLS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(DOCS) $(DESTDIR)$(PREFIX)/share/doc/vireo
uninstall:
	rm -f $(patsubst $(B)/%,$(DESTDIR)$(PREFIX)/bin/%,$(B)/vireo $(TOOLS))
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/vireo

# Only lines that differ from the last commit: tables keep the layout their authors gave them.
format:
	git clang-format --force --extensions c,h HEAD
# A file that was found clean is looked at again only when it or a header of its changed.
LINT_SRCS ?= $(filter %.c,$(SRCS)) $(wildcard tools/*.c)
LINT_OKS := $(LINT_SRCS:%.c=$(B)/lint/%.ok)
LINT_FLAGS = -std=gnu11 -D_GNU_SOURCE -I. $(DEFINES) $(LIB_CFLAGS)
lint: $(B)/config.mk
	@scripts/lint
	@$(MAKE) -k --no-print-directory $(LINT_OKS)
$(LINT_OKS): $(B)/lint/%.ok: %.c $(B)/%.o scripts/lint .clang-tidy
	@mkdir -p $(@D)
	$(call say,LINT,$<)scripts/lint $< $(LINT_FLAGS)
	@touch $@

clean:
	rm -rf $(filter-out $(B)/config.mk $(B)/Makefile,$(wildcard $(B)/*))
distclean: clean
	rm -f $(B)/config.mk

help:
	@echo 'make              builds $(B)/vireo (V=1 shows the commands)'
	@echo 'make check        the tests that need seconds: units, devices, command line, CPU'
	@echo 'make check-boot   boots real guests, made of Debian packages (fetched once)'
	@echo 'make check-all    both'
	@echo 'make check-kvm-nested  KVM on a processor with SVM that QEMU emulates'
	@echo 'make check-options  builds and tests without each optional library'
	@echo 'make check-jit-long  the translator on guests that take minutes to an hour each'
	@echo 'make bench        speed against this host, and against QEMU where it is installed'
	@echo 'make run          starts it; ARGS="-m 512 disk.img" are its options'
	@echo 'make install      into PREFIX (configure --prefix), under DESTDIR; make uninstall'
	@echo 'make format       lays out what was changed since the last commit (clang-format)'
	@echo 'make lint         clang-tidy and cppcheck, where installed'
	@echo 'make clean, make distclean'

-include $(OBJS:.o=.d) $(IMG_OBJS:.o=.d) $(IO_OBJS:.o=.d) $(TESTS:%=%.d) $(ORACLE_OBJS:.o=.d)
