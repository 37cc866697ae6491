# SPDX-License-Identifier: Apache-2.0
# memsync: build, test, measure. `make help` lists the targets.
#
# Nothing is listed by hand: sources, tests, fuzzers and examples are found by
# their place and name (see approaches/README.md, "Adding things").

SHELL   := /bin/bash
BUILD   ?= build
CC      ?= cc
PREFIX  ?= /usr/local
DESTDIR ?=
# SAN=address|thread builds everything with that sanitizer, in its own folder.
SAN     ?=
# WERROR=0 for compilers we have not seen.
WERROR  ?= 1
VERSION := 0.1.0
SOVERSION := 0
GIT_DESCRIBE := $(shell git describe --always --dirty 2>/dev/null || echo $(VERSION))

O := $(BUILD)$(if $(SAN),/san-$(SAN))
export BIN := $(abspath $(O))/bin
export TOP := $(CURDIR)

# --- flags ------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wwrite-strings -Wformat=2 \
	-Wundef -Wswitch-enum -Wredundant-decls -Wmissing-declarations
ifeq ($(WERROR),1)
WARN += -Werror
endif
OPT   ?= -O2 -g
STD   := -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -fno-common -pthread
SANFLAGS-address := -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
SANFLAGS-thread  := -fsanitize=thread -fno-omit-frame-pointer
SANFLAGS := $(SANFLAGS-$(SAN))
PKGS  := jansson libxxhash zlib openssl libnbd libnl-genl-3.0
# Their headers are not held to our warnings.
PKG_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
ALL_CFLAGS  := $(STD) $(WARN) $(OPT) -fPIC -fvisibility=hidden $(SANFLAGS) \
	-Iinclude -I. -DMS_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS := $(SANFLAGS) -pthread $(LDFLAGS)

# --- what there is ----------------------------------------------------------

SRC_DIRS := approaches harness tests
FOUND    := $(sort $(shell find $(SRC_DIRS) -name '*.c' 2>/dev/null))
# The guest's first process is a static program of its own.
GUEST_DIR := harness/vm/guest
is-special = $(or $(filter test-% fuzz-% example-% shim-%,$(notdir $(1))),$(filter main.c,$(notdir $(1))))
PLAIN    := $(foreach f,$(filter-out $(GUEST_DIR)/%,$(FOUND)),$(if $(call is-special,$(f)),,$(f)))
LIB_SRC  := $(filter approaches/%,$(PLAIN))
HARN_SRC := $(filter harness/%,$(PLAIN))
MAIN_SRC := $(wildcard approaches/*/main.c)
TEST_SRC := $(filter %.c,$(foreach f,$(FOUND),$(if $(filter test-%,$(notdir $(f))),$(f))))
FUZZ_SRC := $(foreach f,$(FOUND),$(if $(filter fuzz-%,$(notdir $(f))),$(f)))
EX_SRC   := $(foreach f,$(FOUND),$(if $(filter example-%,$(notdir $(f))),$(f)))
SHIM_SRC := $(foreach f,$(FOUND),$(if $(filter shim-%,$(notdir $(f))),$(f)))

obj = $(patsubst %.c,$(O)/obj/%.o,$(1))
LIB_OBJ  := $(call obj,$(LIB_SRC))
HARN_OBJ := $(call obj,$(HARN_SRC))
PROGS    := $(patsubst approaches/%/main.c,$(O)/bin/memsync-%,$(MAIN_SRC))
BENCH    := $(if $(wildcard harness/main.c),$(O)/bin/memsync-bench)
TESTS    := $(patsubst %.c,$(O)/test/%,$(TEST_SRC))
EXAMPLES := $(foreach f,$(EX_SRC),$(O)/bin/$(basename $(notdir $(f))))
SHIMS    := $(foreach f,$(SHIM_SRC),$(O)/lib/$(patsubst shim-%.c,libmemsync-%.so,$(notdir $(f))))
FUZZERS  := $(patsubst %.c,$(O)/fuzz/%,$(FUZZ_SRC))
LIB_A    := $(O)/lib/libmemsync.a
LIB_SO   := $(O)/lib/libmemsync.so.$(VERSION)
HARN_A   := $(O)/lib/libharness.a
GUEST_SRC := $(wildcard $(GUEST_DIR)/*.c) harness/vm/frame.c harness/vm/start.c
GUEST     := $(if $(wildcard $(GUEST_DIR)/*.c),$(O)/lib/memsync/vm-init.cpio)

# One short line a step; V=1 shows the commands.
V ?= 0
ifeq ($(V),0)
say = @printf '  %-5s %s\n' $(1) '$(patsubst $(CURDIR)/%,%,$@)';
else
say =
endif

.DEFAULT_GOAL := build
.SECONDARY:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# --- build ------------------------------------------------------------------

.PHONY: build
build: $(LIB_A) $(LIB_SO) $(PROGS) $(BENCH) $(EXAMPLES) $(SHIMS) $(GUEST) ## build the library and the programs into build/

$(O)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Rebuilt when the description changes, so that env.json names the right commit.
DESCRIBED := $(shell mkdir -p $(O) && { [ "$$(cat $(O)/described 2>/dev/null)" = "$(GIT_DESCRIBE)" ] || \
	echo "$(GIT_DESCRIBE)" >$(O)/described; })
$(O)/obj/harness/record/env.o: $(O)/described
$(O)/obj/harness/record/env.o: ALL_CFLAGS += \
	-DMS_GIT_DESCRIBE='"$(GIT_DESCRIBE)"' -DMS_CFLAGS='"$(OPT) $(SANFLAGS)"'

$(LIB_A): $(LIB_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR) ar rcs $@ $^

$(LIB_SO): $(LIB_OBJ) approaches/libmemsync.map
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) -shared $(ALL_LDFLAGS) -Wl,-soname,libmemsync.so.$(SOVERSION) \
		-Wl,--version-script=approaches/libmemsync.map -o $@ $(LIB_OBJ) $(PKG_LIBS) -lm
	@ln -sf $(@F) $(@D)/libmemsync.so.$(SOVERSION)
	@ln -sf $(@F) $(@D)/libmemsync.so

$(HARN_A): $(HARN_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR) ar rcs $@ $^

$(O)/bin/memsync-bench: $(O)/obj/harness/main.o $(HARN_A) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

$(O)/bin/memsync-%: $(O)/obj/approaches/%/main.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

define example-rule
$(O)/bin/$(basename $(notdir $(1))): $(call obj,$(1)) $(LIB_A)
	@mkdir -p $$(@D)
	$$(call say,LINK) $$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $$(PKG_LIBS) -lm
endef
$(foreach f,$(EX_SRC),$(eval $(call example-rule,$(f))))

define shim-rule
$(O)/lib/$(patsubst shim-%.c,libmemsync-%.so,$(notdir $(1))): $(call obj,$(1)) $(LIB_A)
	@mkdir -p $$(@D)
	$$(call say,LINK) $$(CC) -shared $$(ALL_LDFLAGS) -o $$@ $$^ $$(PKG_LIBS) -ldl -lm
endef
$(foreach f,$(SHIM_SRC),$(eval $(call shim-rule,$(f))))

# Alone in its file system: static, and without sanitizers.
$(O)/guest/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(STD) $(WARN) -O2 -g -Iinclude -I. -MMD -MP -c -o $@ $<

$(O)/guest/root/init: $(patsubst %.c,$(O)/guest/%.o,$(GUEST_SRC))
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) -static -s -o $@ $^

$(GUEST): $(O)/guest/root/init
	@mkdir -p $(@D)
	$(call say,CPIO) (cd $(<D) && echo init | cpio --quiet -o -H newc -R 0:0) >$@

$(O)/test/harness/%: $(O)/obj/harness/%.o $(HARN_A) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

$(O)/test/%: $(O)/obj/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

.PHONY: tests
tests: build $(TESTS) ## build the test programs

# --- test -------------------------------------------------------------------

.PHONY: test
test: deps-dev ## run all tests (seeded short versions of the long checks)
	@$(MAKE) --no-print-directory tests
	@tests/run --programs "$(TESTS)"

.PHONY: soak
soak: deps-dev ## the long versions of the checks; the log is kept in results/
	@$(MAKE) --no-print-directory tests
	@MS_SOAK=1 tests/run --log results/soak.log --programs "$(TESTS)"

.PHONY: deps deps-bench deps-dev
deps: ## install what building and measuring need (apt)
	@harness/deps/install build bench
deps-dev: deps ## also what the tests and gates need: linters, fuzzers, Chromium
	@harness/deps/install build bench dev

.PHONY: check-asan check-tsan
check-asan: deps-dev ## the C tests under address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory SAN=address OPT="-O1 -g" san-tests
check-tsan: deps-dev ## the C tests under the thread sanitizer
	@$(MAKE) --no-print-directory SAN=thread OPT="-O1 -g" san-tests
.PHONY: san-tests
san-tests: tests
	@ASAN_OPTIONS=halt_on_error=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
	 TSAN_OPTIONS=halt_on_error=1:suppressions=$(TOP)/tests/tsan.supp tests/run --sanitizer $(SAN) --programs "$(TESTS)"

FUZZ_SECONDS ?= 20
.PHONY: fuzz
fuzz: deps-dev ## run every fuzzer for FUZZ_SECONDS (20) seconds
	@$(MAKE) --no-print-directory CC=clang SAN=address BUILD=$(BUILD)/clang \
		OPT="-O1 -g -fsanitize=fuzzer-no-link" run-fuzzers
.PHONY: run-fuzzers
run-fuzzers: $(FUZZERS)
	@tests/run-fuzzers $(FUZZ_SECONDS) $(FUZZERS)
$(O)/fuzz/harness/%: $(O)/obj/harness/%.o $(HARN_A) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS) -lm

$(O)/fuzz/%: $(O)/obj/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS) -lm

# --- gates ------------------------------------------------------------------

C_FILES  := $(sort $(shell find include $(SRC_DIRS) -name '*.[ch]' 2>/dev/null))
SH_FILES := $(sort $(shell git ls-files 2>/dev/null | while read -r f; do \
	[ -f "$$f" ] && head -c 30 "$$f" 2>/dev/null | head -n 1 | grep -q '^\#!.*sh' && echo "$$f"; done))

.PHONY: format format-check lint
format: deps-dev ## rewrite the sources in the project's format
	@clang-format -i $(C_FILES)
format-check: deps-dev ## fail if a source is not in the project's format
	@clang-format --dry-run -Werror $(C_FILES)
lint: deps-dev ## clang-tidy, cppcheck, shellcheck, codespell
	@tests/lint "$(filter %.c,$(C_FILES))" "$(SH_FILES)" -- $(STD) -Iinclude -I. \
		-DMS_VERSION='"$(VERSION)"' $(PKG_CFLAGS)

# --- measure ----------------------------------------------------------------

SET ?= quick
FIG ?=
RESULT ?=
.PHONY: bench bench-thesis bench-full plots report thesis-csv
bench: deps ## measure the quick set (or FIG=name), then plot and report
	@$(MAKE) --no-print-directory build
	@harness/bench $(if $(FIG),--figure $(FIG),--set $(SET)) $(if $(RESULT),--result $(RESULT))
bench-thesis: ## measure the figures of the thesis in full size
	@$(MAKE) --no-print-directory bench SET=thesis
bench-full: ## measure everything
	@$(MAKE) --no-print-directory bench SET=full
plots: build ## draw the figures of the newest run (or RESULT=folder)
	@$(BENCH) plots $(RESULT)
report: build ## write report.html of the newest run (or RESULT=folder)
	@$(BENCH) report $(RESULT)
thesis-csv: build ## write the newest run (or RESULT=folder) in the thesis' own CSV layout
	@$(BENCH) thesis-csv $(RESULT)

# --- install ----------------------------------------------------------------

.PHONY: install uninstall
install: build ## install programs, library, headers, manual pages (PREFIX, DESTDIR)
	@BUILD=$(O) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) VERSION=$(VERSION) \
	 SOVERSION=$(SOVERSION) harness/install

.PHONY: clean help
clean: ## remove build/
	rm -rf $(BUILD)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
		awk -F'\t' '{ printf "  %-14s %s\n", $$1, $$2 }'

-include $(shell find $(O)/obj $(O)/guest -name '*.d' 2>/dev/null)
