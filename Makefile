# kvtape. `make demo` and `make test` need Python >= 3.11, a C++20 compiler and a package index; the rest goes to .venv/.
SHELL := bash
.SHELLFLAGS := -o pipefail -ec
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
MODEL ?= smollm2-135m
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
unexport PYTHONPATH
unexport VIRTUAL_ENV

SOURCES := $(shell find csrc python tests/native third_party -type f -not -name '*.so' -not -name '*.pyc' 2>/dev/null) \
           CMakeLists.txt pyproject.toml README.md LICENSE
CPP_FILES = $(shell find csrc tests/native cuda -name '*.h' -o -name '*.cpp' -o -name '*.cu' 2>/dev/null)
# The first Python that is new enough; override with `make PYTHON=/path/to/python`.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Ninja's [n/m] lines: one that counts up in a terminal, every tenth elsewhere.
COUNTER = awk -v tty=$$([ -t 2 ] && echo 1 || echo 0) '/\[[0-9]+\/[0-9]+\] /{n++; line = substr($$0, 1, 110); \
            if (tty) printf "\r\033[K%s", line; else if (n % 10 == 0) print line; fflush()} END{if (tty && n) print ""}'
say = @printf '\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help demo test native-test test-neon lint format sanitize package bench docs build model clean

help:  ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed model  ## build, fetch the model, and stream real candles into a live session
	$(call say,demo)
	kvtape demo --model $(MODEL)

test: $(VENV)/tools $(VENV)/installed model native-test  ## native tests, then pytest on the installed package (ARGS=... for pytest)
	$(call say,pytest: the installed package, model $(MODEL))
	python -m pytest $(ARGS)

native-test: $(VENV)/installed
	$(call say,ctest: native tests)
	ctest --test-dir build/native --output-on-failure

test-neon: $(VENV)/builders  ## native tests built for 64-bit ARM, the NEON kernels among them, run by qemu-user
	@for tool in aarch64-linux-gnu-g++ qemu-aarch64; do \
	  command -v $$tool >/dev/null || { echo "make test-neon needs $$tool; on Debian: apt install g++-aarch64-linux-gnu qemu-user"; exit 1; }; \
	done
	$(call say,aarch64: build and run the native tests under qemu-user)
	cmake --preset aarch64 --log-level=WARNING
	cmake --build --preset aarch64
	ctest --preset aarch64 -j $(JOBS)

lint: $(VENV)/tools  ## ruff, mypy, import-linter, clang-format: checks only
	$(call say,lint: ruff)
	ruff check
	ruff format --check
	$(call say,lint: mypy)
	mypy
	$(call say,lint: import-linter)
	PYTHONPATH=python lint-imports --no-logo
	$(call say,lint: clang-format)
	clang-format --dry-run --Werror $(CPP_FILES)

format: $(VENV)/tools  ## rewrite what lint would complain of
	ruff check --fix
	ruff format
	clang-format -i $(CPP_FILES)

sanitize: $(VENV)/tools  ## native tests under ASan + UBSan, and under TSan
	@for preset in asan tsan; do \
	  printf '\033[1m== %s: build and run the native tests\033[0m\n' $$preset; \
	  cmake --preset $$preset --log-level=WARNING; cmake --build --preset $$preset; ctest --preset $$preset; \
	done

package: $(VENV)/tools  ## sdist, a wheel made from it, and that wheel in an environment of its own
	$(call say,package: sdist and wheel)
	rm -rf dist build/package
	python -m build --sdist --outdir dist . > build/sdist.log || { tail -n 40 build/sdist.log; exit 1; }
	mkdir -p build/package && tar -xzf dist/kvtape-*.tar.gz --strip-components=1 -C build/package
	CCACHE_BASEDIR=$(CURDIR)/build/package python -m build --wheel --outdir dist build/package > build/wheel.log \
	  || { tail -n 40 build/wheel.log; exit 1; }
	$(call say,package: the wheel in a clean environment)
	rm -rf build/package-venv && $(PYTHON) -m venv build/package-venv
	build/package-venv/bin/pip install -q dist/kvtape-*.whl
	cd build/package-venv && bin/python -m kvtape version && KVTAPE_ISA=ref bin/python ../../.ci/check_wheel.py

bench: $(VENV)/tools $(VENV)/installed model  ## benchmarks (minutes; close other programs first)
	$(call say,bench)
	python -m bench $(ARGS)

docs: $(VENV)/tools  ## the documentation as a site in build/docs
	$(call say,docs: build/docs)
	properdocs build --strict --quiet

build: $(VENV)/installed  ## compile and install into .venv

model: $(VENV)/installed
	$(call say,model: $(MODEL))
	kvtape pull $(MODEL)

clean:  ## remove what was built; keeps .venv's tools and the model
	rm -rf build dist $(VENV)/installed

# ---- the environment -------------------------------------------------------------------------------------------------
$(VENV)/created:
	@test -n "$(PYTHON)" || { echo "kvtape needs Python 3.11 or newer, found: $$(python3 --version 2>&1); say which with make PYTHON=..."; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || { echo "kvtape needs a C++20 compiler (g++ >= 11 or clang >= 14): found no c++; say which with CXX=..."; exit 1; }
	$(call say,environment: $(VENV) with $$($(PYTHON) --version))
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What pip would put in a throw-away environment for each build lives in .venv, so that rebuilds are incremental.
$(VENV)/builders: pyproject.toml $(VENV)/created
	$(call say,environment: build tools)
	python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], "cmake>=3.25", "ninja", sep="\n")' > $@.txt
	pip install -qq --disable-pip-version-check -r $@.txt
	@touch $@

$(VENV)/installed: $(SOURCES) $(VENV)/builders
	$(call say,build: compile and install kvtape with $(JOBS) jobs (all output: build/install.log))
	@mkdir -p build
	@pip install -v --disable-pip-version-check --no-build-isolation --config-settings build-dir=build/native \
	  --config-settings cmake.define.KVTAPE_TESTS=ON '.[server,hub]' 2>&1 | tee build/install.log | $(COUNTER) \
	  || { grep -A8 -E 'error:|FAILED' build/install.log | head -n 60; tail -n 20 build/install.log; exit 1; }
	@touch $@

$(VENV)/tools: pyproject.toml $(VENV)/builders
	$(call say,environment: tools for tests and lint)
	python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; print(*p["dependencies"], *e["server"], *e["hub"], *e["dev"], sep="\n")' > $@.txt
	pip install -qq --disable-pip-version-check -r $@.txt
	@touch $@
