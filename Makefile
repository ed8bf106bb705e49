# All targets work in a virtual environment, VENV; the system's Python, PYTHON, only makes it. Two `make` can run at
# once: one makes the environment, the other one waits.
#
#   make demo      train, evaluate and save on the bundled benchmark
#   make test      run the tests            (make test PYTEST_ARGS="-k interaction")
#   make quality   ruff and transformers-mlinter
#   make docs      build the documentation, strictly
#   make setup     only make the environment (the targets above do that first, if it is not there)
#   make clean     remove what was built, but not the environment
VENV ?= .venv
PYTHON ?= python3
PYTEST_ARGS ?=

# The stamp is written last. Its name holds checksums of the environment's path and of its dependencies. So a second
# `make` has nothing to do whatever git does to modification times, other dependencies are installed on top, and an
# environment without a stamp (after an interrupted set-up) or with the stamp of another path (a copy) is made anew.
PLACE := $(shell printf '%s' '$(abspath $(VENV))' | cksum | cut -d ' ' -f 1)
DEPENDENCIES := $(shell cat setup.cfg pyproject.toml | cksum | cut -d ' ' -f 1)
STAMP := $(VENV)/.setup-$(PLACE)-$(DEPENDENCIES)

.DEFAULT_GOAL := setup
.PHONY: demo test quality docs setup clean

demo: setup
	$(VENV)/bin/accelerate launch examples/train_tvr.py

test: setup
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

quality: setup
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python .ci/lint_model_files.py

docs: setup
	$(VENV)/bin/python docs/build.py build/docs

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "drl-tvr needs Python 3.11 or newer, and '$(PYTHON)' is not: $$($(PYTHON) --version 2>&1)." \
	    "Name another one, as in: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make a virtual environment: its modules venv and ensurepip are missing." \
	    "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) .ci/make_environment.py "$(VENV)" "$@"

clean:
	rm -rf build dist .pytest_cache .ruff_cache src/*.egg-info
	find src tests examples benchmarks docs .ci -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
