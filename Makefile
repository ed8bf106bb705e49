# Every target works in a virtual environment of its own, VENV; the system's Python only makes that environment.
#
#   make demo      train, evaluate and save on the bundled benchmark
#   make test      run the tests            (make test PYTEST_ARGS="-k interaction")
#   make quality   ruff and transformers-mlinter
#   make docs      build the documentation, strictly
#   make setup     only make the environment (every target above does it first, once)
#   make clean     remove what was built; the environment stays (remove it by hand)
VENV ?= .venv
PYTHON ?= python3
PYTEST_ARGS ?=

# The stamp is written last and carries, as checksums, where the environment stands and what it was asked to hold. So
# a second `make` has nothing to do whatever git does to modification times; other dependencies are installed on top;
# and an environment without a stamp (an interrupted set-up), or with another place's (a copy), is made anew.
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
	@if [ -d "$(VENV)" ] && [ -n "$$(ls -A "$(VENV)")" ] && [ ! -f "$(VENV)/pyvenv.cfg" ]; then \
	  echo "VENV=$(VENV) is there and is not a virtual environment; name another folder or remove it." >&2; exit 1; fi
	@ls "$(VENV)"/.setup-$(PLACE)-* >/dev/null 2>&1 || $(PYTHON) -m venv --clear "$(VENV)"
	@rm -f "$(VENV)"/.setup-*
	"$(VENV)/bin/python" -m pip install --editable '.[dev]'
	@touch "$@"

clean:
	rm -rf build dist .pytest_cache .ruff_cache src/*.egg-info
	find src tests examples benchmarks docs .ci -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
