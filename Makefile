# Each target sets up .venv first if it must.  PYTHON names the interpreter to make it from.
PYTHON ?= python3.11
BIN := .venv/bin
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: demo figures test lint docs bench mutants clean

demo: .venv/ready
	$(BIN)/wst demo --out runs/demo

# The records, tables and pictures of the documents.  The second study takes three quarters of an hour.
figures: demo
	$(BIN)/wst tune leaderboard-mini --out runs/leaderboard-mini
	$(BIN)/python tools/record_study.py runs/demo docs/demo
	$(BIN)/python tools/record_study.py runs/leaderboard-mini docs/leaderboard-mini
	$(BIN)/python -m tools.fill_tables README.md docs/field.md

# Compiled modules are kept whatever the environment says: tests start many processes.
test: export PYTHONDONTWRITEBYTECODE =
test: .venv/ready
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(SITE) --quiet

# The documents as a site: site/index.html, which needs neither a server nor a network.
docs: .venv/ready
	$(SITE)

# Every benchmark that has a page in benchmarks/results, which it writes anew: about an hour on two cores.
bench: .venv/ready
	$(BIN)/python -m benchmarks

# Small wrong changes to what the promises rest on, and whether a test notices; tests/mutants.md is one run's result.
# Hours on two cores.
mutants: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[mutants]'
	nice -n 10 $(BIN)/python -m tools.mutants

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants runs data site

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo 'Setting up .venv: PyTorch and Ray among others, about a gigabyte where pip has none of it yet'
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@
