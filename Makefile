# Every target does its own set-up in a fresh clone: a virtual environment, the dependencies,
# the compiled parts. Needed before: Python 3.11 or newer, a C compiler, a package index.
#
#   make demo                 kill an agent, the engine and the kernel at work, lose nothing
#   make test                 lint and all tests that a change must pass
#   make fast                 the tests that take seconds
#   make soak SEEDS=10000     the long runs of the simulator, the chaos tests and others: the number
#                             scales them all, KILLS=300 the processes that a chaos test kills
#   make explore              the tests that take seconds, with examples never tried before, and
#                             three times as many
#   make bench ARGS=--quick   measure this machine
#   make lint                 what pre-commit runs
#   make hooks                run the lint before each commit
#   make clean                remove what was built

PYTHON ?= $(firstword $(foreach name,python3 python3.11 python3.12 python3.13 python3.14,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
# The build of torch to install, in pip's words; the engine runs on CPU and CUDA builds alike. To
# choose another: make demo TORCH='--index-url URL torch'. It is installed once, before all else:
# else pip would take whichever build it finds first.
TORCH ?= torch==2.13.0
SEEDS ?= 10000
# Processes that run tests beside each other. Of all tests, many wait for processes of their own, so
# `make test` has more of them than processors (tests/running_order.py); but each spends 15 s of CPU
# time on finding the tests.
WORKERS ?= 2
ARGS ?=
BIN := .venv/bin
STAMP := .venv/installed
TORCH_STAMP := .venv/torch-installed
# Tests start hundreds of processes: each would compile all that it imports again.
unexport PYTHONDONTWRITEBYTECODE
# One thread each: those of several workers would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
FAST = $(PYTEST) -m "not slow and not soak" -n $(WORKERS) --dist worksteal
SOURCES := pyproject.toml setup.py $(wildcard ext/*.pyx ext/*.pxd)

.PHONY: demo test tests fast explore soak bench lint format hooks clean setup

demo: $(STAMP)
	$(BIN)/llmos demo $(ARGS)

# The lint keeps one processor busy: beside the tests it costs half of its time.
test: $(STAMP)
	@$(MAKE) --no-print-directory -j2 lint tests

tests: WORKERS = 3
tests: $(STAMP)
	$(PYTEST) -m "not soak" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

fast: $(STAMP)
	$(FAST) $(ARGS)

explore: $(STAMP)
	EXPLORE=1 $(FAST) $(ARGS)

soak: $(STAMP)
	EXPLORE=1 SEEDS=$(SEEDS) $(BIN)/python -m pytest -m soak -n $(WORKERS) --dist worksteal \
		--timeout=0 --durations=20 $(ARGS)

bench: $(STAMP)
	$(BIN)/llmos bench $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

hooks: $(STAMP)
	$(BIN)/pre-commit install

setup: $(STAMP)

$(TORCH_STAMP):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; give it as PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	@touch $@

$(STAMP): $(TORCH_STAMP) $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[dev,engine,remote]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -f ext/*.so ext/*.c
