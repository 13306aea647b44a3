# Each target does its own set-up: it needs Python >= 3.11 with venv, make, and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

GPU_OUT ?= runs/gpu

.PHONY: demo test lint types check slow tight lessons book browser exercises grade gpu-check lock clean

demo: $(VENV)/reader
	$(BIN)/python -m ddg_ref compare --out runs/demo --overwrite

test: lint types check

lint: $(VENV)/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/developer
	$(BIN)/mypy

check: $(VENV)/developer
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

slow: $(VENV)/developer
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# Worst cases by a solver, which nothing else needs.
tight: $(VENV)/developer
	$(INSTALL) -r requirements-tight.txt
	$(BIN)/python -m pytest tests/theory/test_tight.py

# With a Python that has CuPy already, or else with the virtual environment.
gpu-check:
	$(PYTHON) -c "import cupy" 2>/dev/null || $(MAKE) $(VENV)/gpu
	OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 DDG_REF_CACHE=$(GPU_OUT)/cache $$(test -f $(VENV)/gpu && echo $(BIN)/python || echo $(PYTHON)) \
		-m benchmarks.gpu --out $(GPU_OUT)

lessons: $(VENV)/developer
	$(BIN)/python -m notebooks.tool check

book: $(VENV)/book
	$(BIN)/python -m sphinx -W --keep-going -q -c book -d build/doctrees . build/book

browser: book
	$(BIN)/python -m pytest book

exercises: $(VENV)/instructor
	cd notebooks/exercises && ../../$(BIN)/nbgrader generate_assignment '*' --force

grade: $(VENV)/instructor
	$(BIN)/python -m notebooks.exercises.check

# The versions that everything here installs, tried together: written anew, for all platforms and versions of Python.
lock: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-annotate --no-emit-index-url \
		--native-tls --custom-compile-command "make lock" --output-file constraints.txt \
		requirements.txt requirements-dev.txt requirements-book.txt requirements-exercises.txt

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/reader: requirements.txt constraints.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements.txt
	touch $@

$(VENV)/gpu: requirements-gpu.txt | $(VENV)/developer
	$(INSTALL) -r requirements-gpu.txt
	touch $@

$(VENV)/developer: requirements.txt requirements-mpi.txt requirements-dev.txt constraints.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements-dev.txt
	touch $@ $(VENV)/reader

$(VENV)/book: requirements-book.txt $(VENV)/developer
	$(INSTALL) -r requirements-book.txt
	touch $@

$(VENV)/instructor: requirements.txt requirements-exercises.txt constraints.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements-exercises.txt
	touch $@ $(VENV)/reader
