# Each target does its own set-up: it needs Python >= 3.11 with venv, make, and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types check lessons book browser clean

demo: $(VENV)/reader
	$(BIN)/python -m ddg_ref compare --out runs/demo --overwrite

test: lint types check

lint: $(VENV)/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/developer
	$(BIN)/mypy

check: $(VENV)/developer
	$(BIN)/python -m pytest -n 2 --dist worksteal

lessons: $(VENV)/developer
	$(BIN)/python -m notebooks.tool check

book: $(VENV)/book
	$(BIN)/python -m sphinx -W --keep-going -q -c book -d build/doctrees . build/book

browser: book
	$(BIN)/python -m pytest book

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/reader: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/developer: requirements.txt requirements-mpi.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/reader

$(VENV)/book: requirements-book.txt $(VENV)/developer
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-book.txt
	touch $@
