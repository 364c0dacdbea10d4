# zdm: build, install and test with PGXS on PostgreSQL 15 to 19.
#
#   make && sudo make install      build and install for the pg_config in PATH
#   make PG_CONFIG=/path/pg_config for another server
#   make test                      everything, on a private cluster
#   make test-core                 PostgreSQL's own suite with zdm preloaded
#   make soak                      200 kills each, 1000 swaps; ZDM_KILLS, ZDM_SEED and
#                                  ZDM_SWAPS to choose

EXTENSION   = zdm
MODULE_big  = zdm
PGFILEDESC  = "zdm - zero-downtime schema migrations"

PG_CONFIG  ?= pg_config
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" zdm.control)

SOURCES    := $(sort $(wildcard src/*.c src/*/*.c))
INCLUDES   := $(sort $(wildcard src/*.h src/*/*.h))
OBJS       := $(SOURCES:.c=.o)

# The install script is written in parts and shipped in one piece; scripts
# that upgrade from an older version lie beside the parts, complete.
SQL_PARTS  := $(sort $(wildcard sql/[0-9][0-9]_*.sql))
DATA_built  = $(EXTENSION)--$(EXTVERSION).sql
DATA       := $(sort $(wildcard sql/$(EXTENSION)--*--*.sql))

# Empty lists leave a suite out: PGXS asks with ifdef while it is included,
# so these have to be expanded by then.
REGRESS        := $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS    = --inputdir=test
ISOLATION      := $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS  = --inputdir=test --outputdir=. --load-extension=$(EXTENSION)
PROVE_TESTS    := $(sort $(wildcard test/t/*.pl))
TAP_TESTS      := $(if $(PROVE_TESTS),1)

EXTRA_CLEAN = $(SOURCES:.c=.d) .build-id tmp_check results \
	regression.diffs regression.out

# Warnings.  The server's own flags come first; those only gcc knows are left
# out for any other compiler, and -Werror is for developers, not packagers.
WARNINGS = -Wall -Wextra -Wno-unused-parameter -Wformat=2 -Wvla \
	-Wwrite-strings -Wpointer-arith -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wnull-dereference
WARNINGS_GCC = -Wshadow=compatible-local -Wimplicit-fallthrough=3 \
	-Wduplicated-cond -Wlogical-op -Wjump-misses-init

COMPILER := $(if $(filter default,$(origin CC)),$(shell $(PG_CONFIG) --cc 2>/dev/null),$(CC))
COMPILER_VERSION := $(if $(COMPILER),$(shell $(COMPILER) --version 2>/dev/null))
ifneq (,$(findstring Free Software Foundation,$(COMPILER_VERSION)))
WARNINGS += $(WARNINGS_GCC)
endif
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif

PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS   = -std=gnu11 $(WARNINGS) -MMD -MP

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq (,$(wildcard $(PGXS)))

# A server built with JIT asks every extension for bitcode.  Without the
# clang it names we do without, as the extension works either way.
SERVER_CLANG := $(shell sed -n 's/^CLANG = *//p' $(dir $(PGXS))../Makefile.global)
ifeq (,$(shell command -v $(SERVER_CLANG) 2>/dev/null))
override with_llvm := no
endif

include $(PGXS)

$(DATA_built): $(SQL_PARTS) sql $(EXTENSION).control
	cat $(SQL_PARTS) > $@.tmp
	mv $@.tmp $@

# Objects made for another server, or with other flags, are stale.
BUILD_ID = $(subst ",,$(subst ',,$(VERSION) $(includedir_server) $(CC) $(CFLAGS) $(CPPFLAGS)))
.build-id: FORCE
	@echo '$(BUILD_ID)' | cmp -s - $@ || echo '$(BUILD_ID)' > $@
$(OBJS) $(OBJS:.o=.bc): .build-id

# gcc writes what each object includes; for bitcode any header will do.
-include $(SOURCES:.c=.d)
$(OBJS:.o=.bc): $(INCLUDES)

else

# The test scripts install what is missing, so their targets stay usable.
.DEFAULT_GOAL := all
all install installcheck uninstall clean:
	@echo "No PGXS at PG_CONFIG=$(PG_CONFIG): install the server's development" \
		"package (postgresql-server-dev-NN) or set PG_CONFIG." >&2
	@exit 1

endif

test:
	test/tools/run
test-all:
	test/tools/majors
test-core:
	test/tools/core
soak:
	SUITES=tap TESTS="008_kill 019_swaps 025_column_kill 036_key_kill" ZDM_KILLS=$${ZDM_KILLS:-200} \
		ZDM_SWAPS=$${ZDM_SWAPS:-1000} \
		SUITE_TIMEOUT=$${SUITE_TIMEOUT:-7200} test/tools/run
demo:
	test/demo/run
bench:
	test/bench/run
analyze:
	test/tools/analyze
indent:
	test/tools/indent
indent-check:
	test/tools/indent --check

# A release archive holds what git holds; META.json names its version.
dist:
	git archive --format=zip --prefix=$(EXTENSION)-$(EXTVERSION)/ \
		-o $(EXTENSION)-$(EXTVERSION).zip HEAD

.PHONY: FORCE test test-all test-core soak demo bench analyze indent indent-check dist
