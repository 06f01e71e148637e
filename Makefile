# make paper_tables    every table and figure of config/config.yaml, under results/paper
# make all             the same, and every experiment, under results/suite
# make paper.pdf       those tables and figures in one document; needs TeX
# make test            the checks and the tests
#                      with VOVNET_TEST_BROWSER=1 as root it installs Chromium for those of pages
# make test-slurm      the whole DAG on a real Slurm of one node; as root it installs Slurm
#
# Needs Python 3.11 or newer, git and make; everything else is installed into .venv. Options of
# snakemake go into ARGS: make paper_tables ARGS="--config quick=200".

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
TOOLS := $(VENV)/.installed-dev
# There while pip is at work. An installation that was killed leaves it behind, and is begun anew.
UNFINISHED := $(VENV)/.unfinished
# Projects of their own that the package needs, see envs/own.in.
OWN := src/gpu_leases src/snakemake_scheduler_plugin_gpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: paper_tables all mvp paper.pdf setup test test-slurm checks check-types check-style schema docs
.PHONY: site environments

paper_tables all mvp: $(RUNTIME)
	$(BIN)/snakemake $@ $(ARGS)

paper.pdf: $(RUNTIME)
	$(BIN)/snakemake paper_pdf $(ARGS)

setup: $(TOOLS)

# What was killed while it installed is broken, and begun anew; a fault of pip leaves what was there.
$(RUNTIME): envs/requirements.txt pyproject.toml $(OWN:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, set PYTHON")'
	@if [ -e $(UNFINISHED) ]; then echo "rm -rf $(VENV)"; rm -rf $(VENV); fi
	mkdir -p $(VENV) && touch $(UNFINISHED)
	$(PYTHON) -m venv $(VENV) \
		&& $(PIP) install --requirement envs/requirements.txt \
		&& $(PIP) install --no-deps --no-build-isolation $(OWN:%=--editable %) --editable . ; \
		status=$$?; [ $$status -gt 128 ] || rm $(UNFINISHED); exit $$status
	touch $@

$(TOOLS): $(RUNTIME) envs/requirements-dev.txt
	$(PIP) install --requirement envs/requirements-dev.txt
	touch $@

# Test files run side by side, one on each core: a test's own jobs would not share them well. They
# keep the order of tests/conftest.py; xdist's own goes by the number of tests.
test: checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder

test-slurm: $(TOOLS)
	VOVNET_TEST_SLURM=1 $(BIN)/python -m pytest -rs tests/test_slurm.py

# Types take as long as all the others.
checks: $(TOOLS)
	@$(MAKE) --no-print-directory --jobs 2 check-types check-style

check-types:
	$(BIN)/mypy

check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules src
	$(BIN)/snakemake --lint

# The configuration's JSON schema, for editors.
schema: $(TOOLS)
	$(BIN)/python workflow/schema.py

# The tables in docs/ that follow from the code.
docs: $(TOOLS)
	$(BIN)/python -m workflow.docs

# The pages of docs/ as a site, in site/.
site: $(TOOLS)
	$(BIN)/mkdocs build --strict

# The conda environment and the container recipe, from envs/requirements.txt.
environments:
	$(PYTHON) workflow/environments.py
