# Each target does its own set-up: it needs Python >= 3.11 with venv, make, and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

GPU_OUT ?= runs/gpu

.PHONY: demo test lint types check slow lessons book browser exercises grade gpu-check clean

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

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/reader: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/gpu: requirements-gpu.txt | $(VENV)/developer
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-gpu.txt
	touch $@

$(VENV)/developer: requirements.txt requirements-mpi.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/reader

$(VENV)/book: requirements-book.txt $(VENV)/developer
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-book.txt
	touch $@

$(VENV)/instructor: requirements.txt requirements-exercises.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-exercises.txt
	touch $@ $(VENV)/reader
