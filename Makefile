# Needs Python 3.11 or newer, make and a package index; everything else goes into .venv.
PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
SEEDS   ?= 2000
PY       = $(VENV)/bin/python
STAMP    = $(VENV)/.installed
DOCS     = $(VENV)/.installed-docs
CACHE    = .cache

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env frameworks demo test test-pbs check format lint types imports reference wheel bench soak docs docs-reference constraints clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

env: $(STAMP) ## Create .venv with elisa (editable) and the development tools

$(STAMP): pyproject.toml constraints.txt scripts/make_env.sh
	@PYTHON="$(PYTHON)" sh scripts/make_env.sh "$(VENV)" dev
	@touch $@

$(DOCS): $(STAMP)
	@PYTHON="$(PYTHON)" sh scripts/make_env.sh "$(VENV)" dev,docs
	@touch $@

# By pip alone, and torch by ==: a range may bring a CUDA build of several gigabytes.
frameworks: env ## Install the frameworks and drivers whose adapters are tested: some gigabytes
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0 tensorflow-cpu \
	  lightning transformers accelerate xarray pandas 'psycopg[binary]'

demo: env ## Run a training pipeline, kill it in the middle, and watch it finish from its checkpoint
	@$(PY) -m examples.digits.demo

test: env ## Run every test; writes pytest_results.json and holds coverage to its gates
	@mkdir -p $(CACHE)
	@$(PY) -m pytest -n $(WORKERS) --dist loadgroup --max-worker-restart 0 --cov --cov-report= \
	  --json-report --json-report-omit collectors keywords log streams \
	  --json-report-file=pytest_results.json --json-report-indent=1 $(ARGS)
	@$(PY) -m coverage json -q -o $(CACHE)/coverage.json
	@$(PY) -m scripts.coverage_gates $(CACHE)/coverage.json

# ELISA_PBS_FOLDER and ELISA_PBS_ACCOUNT, too: docs/pbs.md.
test-pbs: env ## Run the tests that need a real PBS, on the one that answers here; PBS_EXEC=FOLDER where it is not on the PATH
	@ELISA_REQUIRE_REAL=pbs $(if $(PBS_EXEC),PBS_EXEC=$(PBS_EXEC)) $(PY) -m pytest tests/real/test_pbs*.py $(ARGS)

check: format lint types imports reference docs wheel ## Run every check that is no test

format: env
	$(PY) -m ruff format --check .

lint: env
	$(PY) -m ruff check .

types: env
	$(PY) -m mypy -p elisa
	MYPYPATH=src $(PY) -m mypy benchmarks scripts

imports: env
	$(VENV)/bin/lint-imports --no-logo --cache-dir $(CACHE)/import-linter

reference: env
	$(PY) -m scripts.docs_reference --check

wheel: env
	sh scripts/check_wheel.sh "$(VENV)"

bench: env ## Measure; make bench ONLY=name runs one benchmark or figure
	@$(PY) -m benchmarks $(if $(ONLY),--only $(ONLY))

soak: env ## Search for faults at length: random seeds, ELISA_SOAK_EXAMPLES cases a law (2000), SEEDS whole lives (2000)
	@ELISA_HYPOTHESIS_PROFILE=soak $(PY) -m pytest -n $(WORKERS) --dist loadgroup -m "not real" $(ARGS)
	@$(PY) -m tests.reliability.soak --seeds $(SEEDS)
	@test ! -x /usr/sbin/slurmctld || $(PY) -m tests.real.gang_soak
	@$(PY) -m pytest -q tests/backends/pbs/soak_storm.py

docs: $(DOCS) ## Build the documentation in site/; a broken link is an error
	$(VENV)/bin/zensical build --strict --clean

docs-reference: env ## Rewrite the pages of docs/reference that are made from the code
	@$(PY) -m scripts.docs_reference

constraints: $(DOCS) ## Rewrite constraints.txt from what is installed now
	@{ head -n 1 constraints.txt; $(PY) -m pip freeze --exclude-editable --all | grep -vE '^(pip|setuptools|uv|wheel)=='; } \
	  > $(VENV)/constraints.new
	@mv $(VENV)/constraints.new constraints.txt

clean: ## Remove what the other targets made, except .venv
	rm -rf $(CACHE) .stand-ins .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
