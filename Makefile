# Needs Python 3.11 or newer, make and a package index; everything else goes into .venv.
PYTHON ?= python3
VENV   ?= .venv
PY      = $(VENV)/bin/python
STAMP   = $(VENV)/.installed
ROOMS   = $(notdir $(shell find src/elisa -maxdepth 1 -type l | LC_ALL=C sort))

.DEFAULT_GOAL := help
.PHONY: help env constraints

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

env: $(STAMP) ## Create .venv with elisa (editable) and the development tools

$(STAMP): pyproject.toml constraints.txt scripts/make_env.sh
	@PYTHON="$(PYTHON)" sh scripts/make_env.sh "$(VENV)"
	@touch $@

constraints: env ## Rewrite constraints.txt from what is installed now
	@{ head -n 1 constraints.txt; $(PY) -m pip freeze --exclude-editable --all \
	  | grep -vE '^(pip|setuptools|uv|wheel)=='; } > $(VENV)/constraints.new
	@mv $(VENV)/constraints.new constraints.txt
