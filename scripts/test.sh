#!/usr/bin/env bash
# Sets up what is missing, then runs every gate: lint, format, types, generated files, tests.
# Usage: bash scripts/test.sh [arguments of pytest; default: -n 2 --dist loadfile -m "not slow and not gpu"]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh train,dev,tensorboard
export PATH="$PWD/.venv/bin:$PATH"

# The library's video processor, our reference for pixels, needs torchvision. It lies beside the environment, not in it:
# without CUDA its operators cannot be loaded, and an installed but broken torchvision breaks transformers.
readonly REFERENCE=.venv/reference
if [[ ! -d $REFERENCE/torchvision ]]; then
    printf 'test: installing torchvision into %s, as a reference only\n' "$REFERENCE"
    python -m pip install -qq --no-deps --target "$REFERENCE" torchvision==0.28.0 ||
        printf 'test: no torchvision; the tests against the library'"'"'s processor will be skipped\n'
fi
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
failed=()

gate() {
    printf 'test: %s\n' "$*"
    "$@" || failed+=("$1 ${2:-}")
}

# All gates run even when one fails, so that one run shows everything that is wrong.
gate ruff check .
gate ruff format --check .
gate mypy
gate tao-run dev generate --check
if (($#)); then gate pytest "$@"; else gate pytest -n 2 --dist loadfile -m "not slow and not gpu"; fi

if ((${#failed[@]})); then
    printf 'test: FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
printf 'test: all gates passed\n'
