#!/usr/bin/env bash
# Sets up what is missing, then runs every gate: lint, format, types, generated files, tests.
# Usage: bash scripts/test.sh [arguments of pytest; default: -m "not slow and not gpu"]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh train,dev,tensorboard
export PATH="$PWD/.venv/bin:$PATH"
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
if (($#)); then gate pytest "$@"; else gate pytest -m "not slow and not gpu"; fi

if ((${#failed[@]})); then
    printf 'test: FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
printf 'test: all gates passed\n'
