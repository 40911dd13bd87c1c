# Short names for what scripts/ and tao-run do. `make test` is what CI runs.
VENV := .venv/bin
export OMP_WAIT_POLICY := PASSIVE
export OMP_NUM_THREADS ?= 1

.PHONY: setup test lint long generate demo bench

setup:
	bash scripts/setup.sh train,dev,tensorboard

test:
	bash scripts/test.sh

lint: setup
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

long: setup
	$(VENV)/pytest -m "slow and not gpu"

generate: setup
	$(VENV)/tao-run dev generate

demo:
	bash scripts/quickstart.sh

bench: setup
	for file in benchmarks/*.py; do $(VENV)/python "$$file" || exit 1; done
