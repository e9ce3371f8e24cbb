# The words people and CI share. `make run` needs Python 3.11 to 3.13 and nothing else; uv is used where there is one.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
SERVE := .venv/bin/python
DEV := .venv-dev/bin/python

ifdef UV
make_venv = $(UV) venv -q --allow-existing --python $(PYTHON) $(1)
install = $(UV) pip install -q --python $(1)/bin/python
else
make_venv = $(PYTHON) -m venv $(1)
install = $(1)/bin/python -m pip install -q
endif

# A file's tests stay in one process, which starts its service, browser or network once; files are given out in turn, not
# by their number of tests, for the long ones have few. Each process takes up to two gigabytes, hence the limit.
IN_PARALLEL := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help run test check bench bench-learning reliability chaos soak clients sweep demo eval train-base learn chart bench-pages lighthouse screenshots image lock scale clean

help: ## the words and what they do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | expand -t 14

.venv/.installed: pyproject.toml
	$(call make_venv,.venv)
	$(call install,.venv) -e .
	@touch $@

.venv-dev/.installed: pyproject.toml
	$(call make_venv,.venv-dev)
	$(call install,.venv-dev) -e '.[training,dev]'
	@touch $@

run: .venv/.installed ## serve the chat page and the API on http://127.0.0.1:8000 (HOST, PORT, DATA_DIR)
	$(SERVE) -m service serve

test: .venv-dev/.installed check ## set everything up and pass all tests
	$(DEV) tests/chart/fetch_tools.py || true
	$(MAKE) clients || true
	OMP_NUM_THREADS=1 $(DEV) -m pytest $(IN_PARALLEL)

check: .venv-dev/.installed ## style, types, layers
	$(DEV) -m ruff check .
	$(DEV) -m ruff format --check .
	$(DEV) -m mypy service model_store training
	.venv-dev/bin/lint-imports

.venv-dev/.bench: .venv-dev/.installed
	$(call install,.venv-dev) -e '.[bench]' || echo "no llama.cpp: its rows will say so (needs cmake and a C++ compiler; rm $@ to try again)"
	@touch $@

bench: .venv-dev/.bench ## this engine beside llama.cpp, Hugging Face and torch, and over HTTP, into runs/bench; 15 minutes (OPTIONS="--quick --parts engines")
	OMP_NUM_THREADS=1 $(DEV) -m tests.benchmarks.bench $(OPTIONS)

.venv-dev/.reliability: .venv-dev/.installed
	$(call install,.venv-dev) -e '.[reliability]'
	@touch $@

reliability: .venv-dev/.reliability ## what the service promises, against the real process: a row each, into runs/reliability; 25 minutes (OPTIONS="--rows 1 4 9 --quick")
	OMP_NUM_THREADS=1 $(DEV) -m tests.benchmarks.reliability.table $(OPTIONS)

chaos: .venv-dev/.installed ## kill -9 under load, 300 times; nothing acknowledged may be lost (OPTIONS="--kills 10 --postgresql")
	OMP_NUM_THREADS=1 $(DEV) -m tests.benchmarks.reliability.chaos $(OPTIONS)

soak: .venv-dev/.installed ## an hour of steady load: memory, descriptors and latency must not drift (OPTIONS="--minutes 2")
	OMP_NUM_THREADS=1 $(DEV) -m tests.benchmarks.reliability.soak $(OPTIONS)

.venv-dev/.trl: .venv-dev/.installed
	$(call install,.venv-dev) -e '.[trl]' || echo "no TRL: its rows will say so (rm $@ to try again)"
	@touch $@

bench-learning: .venv-dev/.trl ## thumbs up before and after learning, by algorithm and ratings, beside TRL, into runs/bench; 20 minutes, goes on when run again (OPTIONS="--quick")
	$(DEV) -m tests.benchmarks.bench_learning $(OPTIONS)

sweep: .venv-dev/.installed ## right plans by the base model's size and amount of data, into runs/sweep (OPTIONS="--tokens 1600000 --sizes 128x4 256x6")
	$(DEV) -m tests.benchmarks.sweep_base $(OPTIONS)

demo: .venv-dev/.installed ## the whole loop, unattended: customers talk and rate, one training run, the version moves
	$(DEV) -m training.evaluation.demo

eval: .venv-dev/.installed ## how well the shipped model does, by language, into runs/eval (BUNDLE, AGAINST, DATA=folder of uniform JSON lines)
	$(DEV) -m training eval $(BUNDLE) --output runs/eval $(if $(AGAINST),--against $(AGAINST)) $(if $(DATA),--data-dir $(DATA))

.venv-dev/.teacher: .venv-dev/.installed
	$(call install,.venv-dev) -e '.[teacher]'
	@touch $@

train-base: .venv-dev/.teacher ## make the base model (DATA=folder of uniform JSON lines)
	$(DEV) -m training base --workspace runs/base $(if $(DATA),--data-dir $(DATA))

learn: .venv-dev/.installed ## one learning run on the thumbs in data/
	$(DEV) -m training run

chart: .venv-dev/.installed ## lint, render and check the Helm chart, with Helm 4 and 3, checkov and Prometheus, which it fetches into .tools
	$(DEV) tests/chart/fetch_tools.py
	$(DEV) -m pytest tests/chart

bench-pages: .venv-dev/.installed ## how soon first words are on the screen, and how smoothly a long history scrolls, by Chromium's trace
	$(DEV) -m tests.benchmarks.bench_pages

clients: ## the OpenAI client for JavaScript, which the contract tests try the service with; needs npm, which fetches it into .tools
	npm install --silent --no-audit --no-fund --prefix .tools/openai openai@7

lighthouse: .venv-dev/.installed ## Lighthouse on every page (accessibility, best practice); needs npm, which fetches it into .tools
	npm install --no-audit --no-fund --prefix .tools/lighthouse lighthouse@12.8
	$(DEV) -m pytest tests/browser/test_lighthouse.py

screenshots: .venv-dev/.installed ## the pages' pictures in docs/screenshots, of a real service with sample data (NAMES="chat models-1280")
	$(DEV) -m tests.screenshots $(NAMES)

.venv/.image: .venv/.installed
	$(call install,.venv) -e '.[image]'
	@touch $@

image: .venv/.image ## both images with their inventories into dist/images; asks the service's a question (OPTIONS="--base NAME@sha256:… --targets service")
	$(SERVE) -m deploy.images.build_images $(OPTIONS)

lock: .venv/.image ## what the images install, with hashes, into deploy/images
	$(SERVE) -m deploy.images.lock

scale: .venv-dev/.installed ## pods, waiting and cost by load, simulated from what `make bench` measured, into runs/scale (OPTIONS="--turns 5 --core-hour 0.03")
	$(DEV) -m tests.benchmarks.scale $(OPTIONS)

clean: ## remove environments and caches, keep data/
	rm -rf .venv .venv-dev .pytest_cache .mypy_cache .ruff_cache .hypothesis
