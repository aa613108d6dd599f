# demo · test · lint · bench. Each builds the one virtual environment from envs/lock.txt first, once.

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
UV := uv==0.13.9 --disable-pip-version-check
DEMO := snakemake --configfile config/demo.yaml --cores 2

.PHONY: demo test slurm cluster browser lint bench lock clean
.DELETE_ON_ERROR:

demo: .venv/ready ## the whole pipeline on the small world, about ten minutes on two cores
	cloob toy-data serve --config config/demo.yaml -- $(DEMO) all
	@$(MAKE) --no-print-directory results/demo/report.html
	@cat results/demo/tables/zeroshot.md
	@echo "Figures: results/demo/figures   Report: results/demo/report.html"

results/demo/report.html: results/demo/tables/zeroshot.csv results/demo/tables/accounting.csv workflow/report/style.css
	$(DEMO) --quiet all --report $@ --report-stylesheet workflow/report/style.css

# A process per core. A file's tests share what is expensive; the longest files begin with the alphabet.
test: .venv/ready ## all tests but the slow ones
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder

slurm: ## Debian's Slurm for the tests of the cluster; needs root
	command -v slurmctld munged || (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge)

cluster: .venv/ready slurm ## the cluster's tests, faults included, on a Slurm of their own
	pytest tests/slurm -m cluster

browser: .venv/ready ## the pipeline on a tenth of the small world, its report opened in Debian's Chromium; root installs it
	command -v chromium || (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium)
	pytest tests/workflow -m browser

lint: .venv/ready ## what the tests check of the sources, fast
	ruff check . && ruff format --check . && snakefmt --check workflow && snakemake --lint

bench: .venv/ready ## us and the peers, side by side
	for file in benchmarks/*.py; do python $$file || exit 1; done

lock: .venv/ready ## resolve pyproject.toml anew into envs/lock.txt and the pins of envs/*.yaml
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --no-header --no-annotate --quiet -o envs/lock.txt
	python envs/pin.py

# `ready` appears last: an installation that broke off is made again. Debian splits `venv` from python3;
# where it is missing, any pip that is there fills the environment.
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

clean: ## forget the small world's results and the environment
	rm -rf .venv results/demo
