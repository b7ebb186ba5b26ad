# SPDX-License-Identifier: Apache-2.0
# One flat Makefile: every rule in sight, no recursion, headers tracked by -MMD. `make help` lists targets.

BUILD ?= build
CFLAGS ?= -O2 -g
WERROR ?= -Werror
SANITIZE ?=
DESTDIR ?=
PREFIX ?= /usr/local
HELPER_DIR ?= /sbin# where mount(8) looks for mount.fuse.skyvol
VERSION := 0.1.0
CLANG_FORMAT ?= clang-format
CLANG ?= clang
GCC ?= gcc
CLANG_TIDY ?= clang-tidy
PYTEST ?= $(BUILD)/venv/bin/pytest
Q := $(if $(V),,@)

WARNINGS := -Wall -Wextra -Wpedantic $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wpointer-arith -Wcast-qual -Wconversion
HARDENING := $(if $(SANITIZE),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong) -fPIC
PKGS := fuse3 libcurl openssl sqlite3 libcjson expat libprotobuf-c libmicrohttpd libisal
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null | sed 's/-I/-isystem /g')
# What a program does not use it does not load: gRPC alone is several MB and 50 ms.
PKG_LIBS := -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lgrpc -lgpr -lm
BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE -DFUSE_USE_VERSION=312 -DSKYVOL_VERSION='"$(VERSION)"' \
               -DHASH_NONFATAL_OOM=1 -pthread -MMD -MP -Ilib -isystem $(BUILD)/proto $(PKG_CFLAGS) \
               $(HARDENING) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer)
ALL_CFLAGS := $(BASE_CFLAGS) $(WARNINGS) -I. -Itests/unit $(CFLAGS)
ALL_LDFLAGS := -pthread -pie -Wl,-z,relro,-z,now $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(LDFLAGS)
CHECK_CFLAGS = $(filter-out -MMD -MP,$(ALL_CFLAGS))

# A program is a folder: its main.c and its modules. program:folder. Modules may come before main.c does.
PROGRAMS := $(foreach p,skyvol-controller:csi/controller skyvol-node:csi/node skyvol-holder:csi/holder \
            skyvol-webhook:csi/webhook \
            skyvol-mount:mounter skyvol-meta:metaserver skyvol-s3:s3proxy skyvol-s3-keys:s3keys skyvolctl:cli,\
            $(if $(wildcard $(lastword $(subst :, ,$(p)))/*.c),$(p)))
program_name = $(firstword $(subst :, ,$(1)))
program_dir = $(lastword $(subst :, ,$(1)))
BINARIES := $(foreach p,$(PROGRAMS),$(if $(wildcard $(call program_dir,$(p))/main.c),$(BUILD)/bin/$(call program_name,$(p))))
DIRS := $(foreach p,$(PROGRAMS),$(call program_dir,$(p)))

PROTOS := $(wildcard proto/*.proto proto/skyvol/*/*/*.proto)
PROTO_C := $(PROTOS:proto/%.proto=$(BUILD)/proto/%.pb-c.c) $(BUILD)/proto/google/protobuf/wrappers.pb-c.c \
           $(BUILD)/proto/google/protobuf/timestamp.pb-c.c $(BUILD)/proto/google/protobuf/descriptor.pb-c.c
TEST_PROTO_C := $(patsubst tests/proto/%.proto,$(BUILD)/proto/tests/%.pb-c.c,$(wildcard tests/proto/*.proto))
LIB_SRC := $(wildcard lib/*/*.c)
# A large program has a folder for each subject; the nginx module is no part of its launcher.
modules_of = $(wildcard $(1)/*.c) $(filter-out s3proxy/module/%,$(wildcard $(1)/*/*.c))
PROG_SRC := $(foreach d,$(DIRS),$(call modules_of,$(d)))
TEST_SRC := $(wildcard tests/unit/*/test_*.c)
TEST_LIB_SRC := $(wildcard tests/unit/*.c)
ALL_SRC := $(LIB_SRC) $(PROG_SRC) $(TEST_SRC) $(TEST_LIB_SRC)
ALL_HDR := $(wildcard lib/*/*.h $(DIRS:%=%/*.h) $(DIRS:%=%/*/*.h) tests/unit/*.h tests/unit/*/*.h)
FORMATTED = $(wildcard lib/*/*.[ch] $(foreach d,$(DIRS),$(d)/*.[ch] $(d)/*/*.[ch]) tests/*/*.[ch] tests/*/*/*.[ch])
LIB := $(BUILD)/lib.a

# skyvol-s3 is a module of the distribution's nginx; its headers are configured once as nginx was.
NGX_SRC ?= /usr/share/nginx/src
NGX_DIR := build/nginx
NGX_MODULE_SRC := $(wildcard s3proxy/module/*.c)
NGX_MODULE := $(if $(wildcard $(NGX_SRC)/conf_flags),$(if $(NGX_MODULE_SRC),$(BUILD)/lib/ngx_http_skyvol_module.so))
NGX_CFLAGS := $(foreach d,src/core src/event src/event/modules src/event/quic src/os/unix src/http src/http/modules src/http/v2 src/http/v3 objs,-isystem $(NGX_DIR)/$(d))
TESTS := $(TEST_SRC:%.c=$(BUILD)/%)
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS := $(FUZZ:%=$(BUILD)/tests/fuzz/replay_%)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help deps unit asan tsan module-asan module-tsan module-slice gates analyze tidy format format-check layers banned limits clean install man

all: $(BINARIES) $(NGX_MODULE) ## build every program into build/bin, the nginx module into build/lib

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# Several at once: they wait more than they work.
UNIT_JOBS ?= $(shell echo $$(($$(nproc) + 1)))
unit: $(TESTS) $(REPLAYS) ## run the unit tests
	$(Q)printf '%s\n' $(TESTS) $(REPLAYS) | xargs -P $(UNIT_JOBS) -n 1 scripts/run_unit.sh

# -O2 takes twice as long to compile with sanitizers, and finds nothing more. At -O1 gcc guesses lengths worse
# than at -O2, where these two warnings are errors.
QUICK := -O1 -g1 -Wno-format-truncation -Wno-restrict
ASAN := SANITIZE=address,undefined CFLAGS="$(QUICK)"
TSAN := SANITIZE=thread CFLAGS="$(QUICK)"
asan: ## the unit tests under AddressSanitizer and UBSan, leaks on
	$(Q)UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(MAKE) unit BUILD=$(BUILD)/asan $(ASAN)

tsan: ## the unit tests under ThreadSanitizer
	$(Q)TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp $(MAKE) unit BUILD=$(BUILD)/tsan $(TSAN)

# In nginx, which is the distribution's own: our module brings the sanitizer, preloaded, and the tests
# read what it tells.
MODULE_SLICE := breaks or goes_away or across_a_reload or outlives or ranges or multipart or one_of_64 or \
                nowhere or while_it_waits or side_by_side or nginx_refuses or mid_transfer or shaped or trickl or over_all_workers or cannot_take_all or answer_alike
module-asan: ## a slice of the S3 tests with the nginx module under ASan and UBSan
	$(Q)$(MAKE) module-slice BUILD=$(BUILD)/asan $(ASAN) PRELOAD=libasan.so
module-tsan: ## the same slice under ThreadSanitizer
	$(Q)$(MAKE) module-slice BUILD=$(BUILD)/tsan $(TSAN) PRELOAD=libtsan.so
# Both halves of a pair build the same objects.
$(if $(filter gates,$(MAKECMDGOALS)),$(eval module-asan: asan)$(eval module-tsan: tsan))
module-slice: $(BUILD)/bin/skyvol-s3 $(NGX_MODULE)
	$(Q)SKYVOL_BIN=$(CURDIR)/$(BUILD)/bin SKYVOL_TEST_PRELOAD=$$($(GCC) -print-file-name=$(PRELOAD)) \
	    TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp build/venv/bin/pytest -q -k '$(MODULE_SLICE)' \
	    tests/integration/test_s3*.py

$(LIB): $(LIB_SRC:%.c=$(BUILD)/%.o) $(PROTO_C:%.c=%.o)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# One archive of each program's modules but main.o, for the program and for its unit tests.
define program_rules
$(BUILD)/$(2).a: $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/main.c,$(call modules_of,$(2))))
	$(Q)rm -f $$@ && $(AR) rcs $$@ $$^
$(BUILD)/bin/$(1): $(BUILD)/$(2)/main.o $(BUILD)/$(2).a $(LIB)
	$(Q)mkdir -p $$(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $$@ $$^ $(PKG_LIBS)
$(filter $(BUILD)/tests/unit/$(notdir $(2))/%,$(TESTS)): $(BUILD)/$(2).a
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(call program_name,$(p)),$(call program_dir,$(p)))))

$(TESTS): $(BUILD)/%: $(BUILD)/%.o $(TEST_LIB_SRC:%.c=$(BUILD)/%.o) $(LIB)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$(filter-out $(LIB),$^)) $(LIB) -lcmocka $(PKG_LIBS)

# Several gates may want it at once.
$(NGX_DIR)/configured:
	$(Q)mkdir -p $(NGX_DIR) && flock $(NGX_DIR) bash -c '[ -e $@ ] || { cp -rsf $(NGX_SRC)/. $(NGX_DIR)/ && cd $(NGX_DIR) && \
	    . ./conf_flags && ./configure "$${NGX_CONF_FLAGS[@]}" && touch configured; } >$(CURDIR)/$(NGX_DIR)/configure.log 2>&1'

$(NGX_MODULE_SRC:%.c=$(BUILD)/%.o): $(BUILD)/%.o: %.c | $(NGX_DIR)/configured $(PROTO_C)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(NGX_CFLAGS) -c -o $@ $<

$(BUILD)/lib/ngx_http_skyvol_module.so: $(NGX_MODULE_SRC:%.c=$(BUILD)/%.o) $(BUILD)/s3proxy.a $(LIB)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -shared -Wl,-z,nodelete $(filter-out -pie,$(ALL_LDFLAGS)) -Wl,--exclude-libs,ALL -o $@ $^ -lcurl -lsqlite3 -lcjson -lexpat \
	    -lisal -lcrypto -lm

# Fuzz targets: with libFuzzer (make fuzz), and over their corpus among the unit tests.
FUZZ_LIB_SRC := $(wildcard lib/util/*.c lib/s3/*.c lib/mount/*.c) lib/csi/source.c \
                lib/kube/frames.c lib/kube/status.c csi/webhook/inject.c csi/webhook/review.c s3proxy/key_entry.c
FUZZ_SECONDS ?= 20

$(REPLAYS): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(LIB)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

# Modules of a program, before the library that they need.
$(BUILD)/tests/fuzz/replay_admission: PKG_LIBS := $(BUILD)/csi/webhook.a $(LIB) $(PKG_LIBS)
$(BUILD)/tests/fuzz/replay_admission: $(BUILD)/csi/webhook.a
$(BUILD)/tests/fuzz/replay_s3_key_entry: PKG_LIBS := $(BUILD)/s3proxy.a $(LIB) $(PKG_LIBS)
$(BUILD)/tests/fuzz/replay_s3_key_entry: $(BUILD)/s3proxy.a

$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZ_LIB_SRC) $(wildcard lib/util/*.h lib/s3/*.h lib/mount/*.h lib/csi/*.h lib/kube/*.h csi/webhook/*.h s3proxy/*.h) tests/fuzz/fuzz.h
	@mkdir -p $(@D)
	$(Q)$(CLANG) -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
	    $(filter-out -MMD -MP $(HARDENING),$(BASE_CFLAGS)) -I. -o $@ $(filter %.c,$^) $(PKG_LIBS)

fuzz: $(FUZZ:%=$(BUILD)/fuzz/fuzz_%) ## run every fuzz target for FUZZ_SECONDS (20)
	$(Q)for f in $(FUZZ); do mkdir -p $(BUILD)/fuzz/$$f && echo "fuzz  $$f" && \
	    $(BUILD)/fuzz/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 \
	    -artifact_prefix=$(BUILD)/fuzz/$$f- -verbosity=0 -print_final_stats=1 $(BUILD)/fuzz/$$f tests/fuzz/corpus/$$f 2>&1 | \
	    tee $(BUILD)/fuzz/$$f.log | grep -E 'ERROR|SUMMARY|number_of_executed' ; \
	    grep -q 'number_of_executed' $(BUILD)/fuzz/$$f.log && ! grep -q ERROR $(BUILD)/fuzz/$$f.log || exit 1; done

# Suites that run against a server, by hand or by tests/conformance/run_*.
CONFORMANCE_SRC := $(wildcard tests/conformance/*.c tests/bench/*.c)
$(CONFORMANCE_SRC:%.c=$(BUILD)/%): $(BUILD)/%: $(BUILD)/%.o $(TEST_LIB_SRC:%.c=$(BUILD)/%.o) $(LIB)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(PKG_LIBS)

conformance-objstore: $(BUILD)/tests/conformance/objstore_s3 ## the object store suite on MinIO and versitygw
	$(Q)BUILD=$(BUILD) tests/conformance/run_objstore

# The initialisers of protoc-c cast const away where we use them: clang would warn of each.
QUIET_CASTS := sed -i 's/(char \*)protobuf_c_empty_string/(char *)(uintptr_t)protobuf_c_empty_string/g'

csi-sanity: all ## csi-sanity without skip flags, on the embedded store and MinIO (as root)
	$(Q)BUILD=$(BUILD) tests/conformance/run_csi_sanity

leak-loop: all ## stage, publish, unpublish, unstage CYCLES (10000) times; count what is left (as root)
	$(Q)BUILD=$(BUILD) tests/conformance/run_leak_loop $(CYCLES)

$(BUILD)/proto/google/%.pb-c.c:
	$(Q)mkdir -p $(BUILD)/proto && protoc-c --proto_path=/usr/include --c_out=$(BUILD)/proto /usr/include/google/$*.proto
	$(Q)$(QUIET_CASTS) $(BUILD)/proto/google/$*.pb-c.h

$(BUILD)/proto/%.pb-c.c: proto/%.proto
	$(Q)mkdir -p $(BUILD)/proto && protoc-c --proto_path=proto --proto_path=/usr/include --c_out=$(BUILD)/proto $*.proto
	$(Q)$(QUIET_CASTS) $(@:.c=.h)

# The fields that no log may show, from the marks in the .proto files.
SECRET_FIELDS := $(BUILD)/proto/secret_fields.h
$(SECRET_FIELDS): $(PROTOS) scripts/secret_fields.py scripts/descriptors.py
	$(Q)mkdir -p $(@D) && protoc --proto_path=proto --proto_path=/usr/include --descriptor_set_out=$(@D)/secret_fields.ds $(PROTOS)
	$(Q)python3 scripts/secret_fields.py $(@D)/secret_fields.ds >$@
$(BUILD)/lib/csi/secrets.o $(BUILD)/tidy/lib/csi/secrets.ok: $(SECRET_FIELDS)

$(BUILD)/proto/tests/%.pb-c.c: tests/proto/%.proto
	$(Q)mkdir -p $(@D) && protoc-c --proto_path=tests/proto --c_out=$(@D) $*.proto
	$(Q)$(QUIET_CASTS) $(@:.c=.h)

$(BUILD)/proto/%.pb-c.o: $(BUILD)/proto/%.pb-c.c | $(PROTO_C)
	$(Q)$(CC) $(BASE_CFLAGS) $(CFLAGS) -w -c -o $@ $<

$(filter $(BUILD)/tests/unit/rpc/%,$(TESTS)): $(TEST_PROTO_C:%.c=%.o)
$(TEST_SRC:%.c=$(BUILD)/%.o): | $(TEST_PROTO_C)

$(BUILD)/%.o: %.c | $(PROTO_C)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# The gates. Each compiles or reads every source once; objects that are up to date are not looked at again.
OBJECTS := $(filter-out $(BUILD)/tests/%,$(ALL_SRC:%.c=$(BUILD)/%.o)) $(if $(NO_CMOCKA),,$(TEST_SRC:%.c=$(BUILD)/%.o)) \
           $(if $(NGX_MODULE),$(NGX_MODULE_SRC:%.c=$(BUILD)/%.o))
.PHONY: fuzz csi-sanity leak-loop conformance-objstore objects clang check demo test-distributions

objects: $(OBJECTS)

deps: ## install what building and testing needs (Debian 12/13, Ubuntu 24.04; as root)
	$(Q)scripts/deps.sh test

gates: layers banned limits format-check clang analyze tidy asan tsan module-asan module-tsan ## every gate, as CI runs them

clang: ## compile everything with clang, lock annotations checked
	$(Q)$(MAKE) objects BUILD=$(BUILD)/clang CC="$(CLANG)" CFLAGS="-O1 -g -Wthread-safety"

# Beyond this factor the analyzer spends minutes on one function of many small steps, and learns nothing.
analyze: ## compile everything with gcc -fanalyzer
	$(Q)$(MAKE) objects BUILD=$(BUILD)/analyze CC="$(GCC)" CFLAGS="-O1 -g0 -fanalyzer --param=analyzer-bb-explosion-factor=2 -fdiagnostics-path-format=none" ANALYZE=1 NO_CMOCKA=1

# gcc 12's analyzer loses pointers that are kept in arrays, hash tables and protobuf-c messages, and then
# tells of leaks and uses that are none. In these files it warns only; LeakSanitizer and UBSan still gate.
ANALYZER_LOST := cli/mount.c csi/controller/listing.c csi/controller/volumes.c csi/node/keep.c csi/node/record.c \
                 csi/node/stage.c lib/csi/meta.c lib/csi/source.c lib/mount/channel.c lib/mount/config.c \
                 lib/objstore/dir.c lib/objstore/dir_files.c lib/rpc/call.c lib/util/options.c mounter/read/ahead.c \
                 mounter/write/data.c mounter/managed/facts.c mounter/read/fetch.c mounter/fs.c mounter/names/graves.c mounter/write/holes.c \
                 mounter/journal/import.c mounter/names/listing.c mounter/managed/locks.c mounter/names/readdir.c mounter/run.c mounter/setup.c \
                 mounter/names/tree.c mounter/write/sweep.c mounter/write/upload.c mounter/names/walk.c s3proxy/stores.c
$(if $(ANALYZE),$(eval $(ANALYZER_LOST:%.c=$(BUILD)/%.o): ALL_CFLAGS += -Wno-error))

tidy: $(patsubst %.c,$(BUILD)/tidy/%.ok,$(LIB_SRC) $(PROG_SRC) $(if $(NGX_MODULE),$(NGX_MODULE_SRC))) ## clang-tidy, one file a call

$(BUILD)/tidy/s3proxy/module/%.ok: ALL_CFLAGS += $(NGX_CFLAGS)
$(NGX_MODULE_SRC:%.c=$(BUILD)/tidy/%.ok): | $(NGX_DIR)/configured

# States of one function that its analyzer looks at. 225000 is its default and takes three times as long;
# before a release: make tidy TIDY_NODES=225000.
TIDY_NODES ?= 60000
$(BUILD)/tidy/%.ok: %.c .clang-tidy | $(PROTO_C)
	@mkdir -p $(@D)
	$(Q)$(CLANG_TIDY) --quiet $< -- $(filter-out -MMD -MP $(HARDENING),$(ALL_CFLAGS)) \
	    -Xclang -analyzer-config -Xclang max-nodes=$(TIDY_NODES) 2>$@.log || \
	    { cat $@.log; exit 1; }
	@touch $@

layers banned limits: ## layer rule, banned functions, size limits
	$(Q)python3 scripts/check_source.py $@

format: ## lay out the sources by .clang-format
	$(Q)$(CLANG_FORMAT) -i $(FORMATTED)

format-check: ## fail where `make format` would change something
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)

# Manual pages are what --help says, and for some programs more: scripts/man.sh.
MANUALS := $(BINARIES:$(BUILD)/bin/%=$(BUILD)/man/%.8)
man: $(MANUALS) ## the manual pages, into build/man

$(BUILD)/man/%.8: $(BUILD)/bin/% scripts/man.sh $(wildcard docs/man/*.h2m)
	@mkdir -p $(@D)
	$(Q)scripts/man.sh $< $@

install: all man ## install programs and manual pages under DESTDIR and PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 0755 $(BINARIES) $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 $(MANUALS) $(DESTDIR)$(PREFIX)/share/man/man8/
	install -d $(DESTDIR)$(HELPER_DIR)
	ln -sf $(PREFIX)/bin/skyvol-mount $(DESTDIR)$(HELPER_DIR)/mount.fuse.skyvol
	$(if $(NGX_MODULE),install -D -m 0644 $(NGX_MODULE) $(DESTDIR)$(PREFIX)/lib/ngx_http_skyvol_module.so)

# One archive and one list of packages (SPDX) for each program; no docker, no registry: scripts/images.py.
IMAGES := $(BUILD)/images
.PHONY: images build-all tag-all push-all
images build-all: all ## container images, into build/images
	$(Q)scripts/images.py build $(IMAGES) --build $(BUILD)
tag-all: ## name them for a registry: REGISTRY=registry.example:5000/skyvol
	$(Q)scripts/images.py tag $(IMAGES) $(REGISTRY)
push-all: ## push them there by skopeo, podman or docker, whose login must have been made
	$(Q)scripts/images.py push $(IMAGES) $(REGISTRY)

test-distributions: ## build and unit-test in fresh Debian 12, 13 and Ubuntu 24.04 roots (as root)
	$(Q)scripts/test-distributions.sh

check: ## install what is missing, build, run unit, integration and conformance tests
	$(Q)scripts/check.sh

# Runs, networks and what else: make bench-mount BENCH="--runs 5 --store loopback,rtt20".
BENCH ?= --runs 3 --store loopback,rtt20
BENCH_OUT ?= $(BUILD)/bench
BENCH_TOOLS := $(BUILD)/bench/rawclient $(BUILD)/tests/bench/mount/nullfs
.PHONY: bench-mount bench-s3 bench-tools
bench-tools: $(BENCH_TOOLS)

$(BUILD)/bench/rawclient: $(wildcard tests/bench/mount/*/*.go) tests/bench/mount/go.mod
	$(Q)mkdir -p $(@D) && cd tests/bench/mount && GOFLAGS=-buildvcs=false go build -o $(abspath $(@D))/ ./... && touch $(abspath $@)

$(BUILD)/tests/bench/mount/nullfs: tests/bench/mount/nullfs.c
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< -lfuse3

bench-mount: all bench-tools ## skyvol-mount beside other mounters, FUSE and the store: table, plot, bars (as root)
	$(Q)scripts/deps.sh bench && mkdir -p $(BENCH_OUT)
	$(Q)BUILD=$(BUILD) python3 tests/bench/mount/bench_mount.py $(BENCH) --json $(BENCH_OUT)/mount.json \
	    --table $(BENCH_OUT)/mount.md --plot $(BENCH_OUT)/mount.svg

$(BUILD)/bench/s3load: tests/bench/s3/main.go tests/bench/s3/go.mod
	$(Q)mkdir -p $(@D) && cd tests/bench/s3 && GOFLAGS=-buildvcs=false go build -o $(abspath $@) .

bench-s3: all $(BUILD)/bench/s3load ## skyvol-s3 beside versitygw and nginx: CPU of a request (BENCH_S3="--runs 5")
	$(Q)scripts/deps.sh test && mkdir -p $(BENCH_OUT)
	$(Q)BUILD=$(BUILD) python3 tests/bench/s3/bench_s3.py $(BENCH_S3) --json $(BENCH_OUT)/s3.json \
	    --table $(BENCH_OUT)/s3.md --plot $(BENCH_OUT)/s3.svg

# The mounter and the holder sanitized, the integration tests as the load. Of the shared libubsan nothing
# is heard: it does not heed log_path, and the mounter has no stderr.
mounter-asan: ## integration tests and a load on mounters with ASan and UBSan: a slice (as root)
	$(Q)$(MAKE) mounter-sanitized BUILD=$(BUILD) KIND=address
mounter-tsan: ## the same with ThreadSanitizer; SANITIZED=--full for all tests
	$(Q)$(MAKE) mounter-sanitized BUILD=$(BUILD) KIND=thread
mounter-sanitized: all $(BUILD)/tests/unit/mounter/test_takeover
	$(Q)$(MAKE) BUILD=$(BUILD)/$(if $(filter thread,$(KIND)),tsan,asan) $(if $(filter thread,$(KIND)),$(TSAN),$(ASAN)) \
	    LDFLAGS="$(LDFLAGS) $(if $(filter address,$(KIND)),-static-libubsan)" \
	    $(foreach p,skyvol-mount skyvol-holder,$(BUILD)/$(if $(filter thread,$(KIND)),tsan,asan)/bin/$(p))
	$(Q)BUILD=$(BUILD) tests/conformance/sanitized $(KIND) $(SANITIZED)

# Whole: most of a day. CHECK_MOUNT_MINUTES=60 runs a share of each suite; check-mount-NAME one of them.
check-mount: ## the mounted file system under every suite in full, a table at the end (as root)
	$(Q)scripts/deps.sh test && $(MAKE) all $(BUILD)/tests/unit/mounter/test_takeover
	$(Q)BUILD=$(BUILD) tests/conformance/check_mount
check-mount-%: all $(BUILD)/tests/unit/mounter/test_takeover
	$(Q)BUILD=$(BUILD) tests/conformance/check_mount $*

# Each run_s3_* in full: suites of others, real clients, kills, 64 writers of one key.
check-s3: all ## skyvol-s3 under every suite in full (as root)
	$(Q)scripts/deps.sh test && failed=""; for run in tests/conformance/run_s3_*; do echo "== $$run"; \
	    $$run $$([ $$(basename $$run) != run_s3_versitygw ] || echo --check) || failed="$$failed $$run"; done; \
	    [ -z "$$failed" ] || { echo "FAILED:$$failed"; exit 1; }

.PHONY: check-s3 integration integration-full check-mount mounter-asan mounter-tsan mounter-sanitized
integration: all $(BUILD)/tests/unit/mounter/test_takeover ## the integration tests but the long ones
	$(Q)$(PYTEST) -q -m 'not full' tests/integration

integration-full: all $(BUILD)/tests/unit/mounter/test_takeover ## the long integration tests: crash loops
	$(Q)$(PYTEST) -q -m full tests/integration

# Needs root and Go; or KUBECONFIG of a cluster that has the images: docs/kubernetes-testing.md.
.PHONY: test-kubernetes test-kubernetes-e2e
test-kubernetes: all ## a real Kubernetes cluster, and all that Skyvol does in it, one line a step
	$(Q)$(if $(KUBECONFIG),,scripts/deps.sh kubernetes && )BUILD=$(BUILD) build/venv/bin/python tests/kubernetes/run $(STEPS)
test-kubernetes-e2e: all ## Kubernetes' storage suite for drivers outside of its tree, in such a cluster
	$(Q)scripts/deps.sh kubernetes && BUILD=$(BUILD) build/venv/bin/python tests/kubernetes/run --suite $(STEPS)

demo: ## install what is missing, build, and run Skyvol end to end in a temporary directory
	$(Q)scripts/demo.sh

clean: ## remove what was built
	rm -rf build

-include $(ALL_SRC:%.c=$(BUILD)/%.d) $(NGX_MODULE_SRC:%.c=$(BUILD)/%.d) $(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/fuzz/*.c)) $(CONFORMANCE_SRC:%.c=$(BUILD)/%.d)
