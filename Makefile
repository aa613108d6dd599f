# All commands of the repository; `make help` lists them. They share one virtual environment, .venv, which is
# built once from envs/lock.txt.

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
UV := uv==0.13.9 --disable-pip-version-check
DEMO := snakemake --configfile config/demo.yaml --cores 2
ABLATION := snakemake --configfile config/demo.yaml config/ablation.yaml --cores 2
# Two test processes with one torch thread each. Tests of a file share fixtures and run in one process;
# tests/conftest.py starts the longest files first.
PYTEST := OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder
# The measurements of `make gpu`; `python docs/performance/update.py` puts them on docs/performance.md.
GPU_REPORT ?= results/gpu.json
RESULTS ?= results/demo
INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends

.PHONY: help demo ablation figures-readme report-check test test-fast test-slow gpu slurm cluster browser lint lint-workflow format bench parity lock clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: .venv/ready ## run the whole pipeline on the toy dataset (about 8 minutes on two cores)
	cloob toy-data serve --config config/demo.yaml -- $(DEMO) all
	$(DEMO) --quiet all --report results/demo/report.html --report-stylesheet workflow/report/style.css
	@cat results/demo/tables/zeroshot.md
	@echo "Figures: results/demo/figures   Report: results/demo/report.html"

ablation: .venv/ready ## tune and compare four objectives on the toy dataset (about 90 minutes on two cores)
	$(ABLATION) all
	$(ABLATION) --quiet all --report results/ablation/report.html --report-stylesheet workflow/report/style.css
	@cat results/ablation/tables/search.md results/ablation/tables/ablation.md
	@echo "Figures: results/ablation/figures   Report: results/ablation/report.html"

figures-readme: .venv/ready ## copy the README's figure from the results of `make ablation`, with its provenance
	python docs/figures/update.py results/ablation

test-fast: .venv/ready ## tests without training, workflow runs, linters and large models (2 minutes)
	$(PYTEST) -m "not slow and not gpu and not integration"

test: .venv/ready ## all tests except the slow ones (about 12 minutes)
	$(PYTEST)

test-slow: .venv/ready ## the slow tests, such as building the environment from scratch
	pytest -m slow

gpu: .venv/ready ## tests and measurements on the GPUs of this machine (at most 10 minutes); results/gpu.json
	CLOOB_GPU_REPORT=$(GPU_REPORT) python -m tests.gpu

slurm: ## install Debian's Slurm for the Slurm tests; needs root
	command -v slurmctld munged || (apt-get update && $(INSTALL) slurm-wlm munge)

cluster: .venv/ready slurm ## the Slurm tests, including fault injection, on a private Slurm cluster
	pytest tests/slurm -m cluster

report-check: .venv/ready ## open the report of RESULTS (results/demo) in Chromium: overflow, missing images, errors
	cloob report check $(RESULTS)

browser: .venv/ready ## run a tenth of the demo and open its report in Chromium; installs it if run as root
	command -v chromium || (apt-get update && $(INSTALL) chromium)
	pytest tests/workflow -m browser

lint: .venv/ready lint-workflow ## ruff, mypy, snakefmt and `snakemake --lint`
	ruff check .
	ruff format --check .
	mypy

lint-workflow: .venv/ready
	snakefmt --check workflow
	snakemake --lint
	snakemake --lint --configfile config/demo.yaml

format: .venv/ready ## format all Python and Snakemake files
	ruff check --fix .
	ruff format .
	snakefmt workflow

bench: .venv/ready ## compare speed and memory with peer projects (benchmarks/README.md); list what failed
	@failed=; for file in benchmarks/*.py; do echo "$$file"; python $$file || failed="$$failed $$file"; done; \
	    test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

parity: .venv/ready ## compare with the authors' code: make parity AUTHORS=CHECKOUT HOPFIELD=CHECKOUT (docs/fidelity.md)
	@test -n "$(AUTHORS)" -a -n "$(HOPFIELD)" || { echo "usage: make parity AUTHORS=CHECKOUT HOPFIELD=CHECKOUT," \
	    "checkouts of ml-jku/cloob and ml-jku/hopfield-layers (docs/fidelity.md)" >&2; exit 2; }
	python -m benchmarks.parity --authors "$(AUTHORS)" --hopfield "$(HOPFIELD)"

lock: .venv/ready ## resolve pyproject.toml into envs/lock.txt and the pins of envs/*.yaml
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --no-header --no-annotate --quiet -o envs/lock.txt
	python envs/pin.py

# `ready` is written last: an interrupted installation is repeated. Debian splits `venv` from python3; without
# ensurepip, the pip of $(PYTHON) fills the environment.
.venv/ready: envs/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 13) else \
	    f"cloob needs Python 3.11 or 3.12, not {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear --without-pip .venv
	$(PYTHON) -m ensurepip --version >/dev/null 2>&1 && .venv/bin/python -m ensurepip >/dev/null || \
	    $(PYTHON) -m pip --version >/dev/null 2>&1 || \
	    { echo "cloob needs venv or pip for $(PYTHON): apt install python3-venv" >&2; exit 1; }
	if .venv/bin/python -m pip --version >/dev/null 2>&1; then .venv/bin/python -m pip install --quiet $(UV); \
	    else $(PYTHON) -m pip --python .venv/bin/python install --quiet $(UV); fi
	.venv/bin/uv pip install --compile-bytecode --require-hashes -r envs/lock.txt
	.venv/bin/uv pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

clean: ## delete the environment and the results of the demo
	rm -rf .venv results/demo
