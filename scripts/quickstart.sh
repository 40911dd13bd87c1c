#!/usr/bin/env bash
# Sets up what is missing, then runs the embedded job: tiny model, tiny videos, two rounds of train, evaluate and gaps.
# Usage: bash scripts/quickstart.sh [arguments of `tao-run demo`]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

bash "$root/scripts/setup.sh" train
# Passive waiting: spinning OpenMP threads of two processes on few cores take the time they wait for.
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$root/.venv/bin/tao-run" demo "$@"
