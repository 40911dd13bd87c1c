#!/usr/bin/env bash
# Makes .venv in the repository and installs tao-run into it, editable, with the extras given (default: train).
# Usage: bash scripts/setup.sh [EXTRA,EXTRA...]     PYTHON=/path/to/python picks the interpreter.
# Does nothing when pyproject.toml, the extras and the kind of torch are those of the last run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly EXTRAS="${1:-train}"
readonly VENV=".venv"
readonly TORCH_CPU_INDEX="https://download.pytorch.org/whl/cpu" # PyTorch's documented index of CPU builds

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 2
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [[ -n "$candidate" ]] && command -v "$candidate" >/dev/null || continue
        # venv and ensurepip are split off on Debian: asking for them here gives a sentence instead of a half-made .venv
        "$candidate" -c 'import sys, venv, ensurepip; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null || continue
        command -v "$candidate"
        return
    done
    return 1
}

torch_kind() {
    if command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU '; then
        echo gpu
    else
        echo cpu
    fi
}

# The exact torch of pyproject.toml as pip resolves it is a CUDA build with 3 GB of nvidia-* packages. Asking for the
# "+cpu" local version first makes the later `torch==2.13.*` already satisfied, so nothing of CUDA is ever fetched.
install_cpu_torch() {
    local want
    want="$(sed -n 's/^ *"torch==\([0-9.]*\)\.\*".*/\1.0+cpu/p' pyproject.toml)"
    [[ -n "$want" ]] || die 'pyproject.toml does not pin "torch==X.Y.*"'
    if has_torch "$want"; then return; fi
    say "no GPU found: installing the CPU build torch $want"
    if ! "$VENV/bin/python" -m pip install -qq --no-deps "torch==$want" 2>/dev/null; then
        say "pip's configured sources have no torch $want; trying $TORCH_CPU_INDEX"
        "$VENV/bin/python" -m pip install -qq --no-deps --index-url "$TORCH_CPU_INDEX" "torch==$want" ||
            die "no CPU build of torch $want. Put its wheel in a folder and run: PIP_FIND_LINKS=<folder> bash scripts/setup.sh $EXTRAS"
    fi
}

has_torch() {
    "$VENV/bin/python" - "$1" <<'PY'
import importlib.metadata, sys
try:
    raise SystemExit(importlib.metadata.version("torch") != sys.argv[1])
except importlib.metadata.PackageNotFoundError:
    raise SystemExit(1)
PY
}

verify() {
    "$VENV/bin/python" - "$1" <<'PY'
import importlib.metadata as metadata, sys
kind, names = sys.argv[1], sorted({d.metadata["Name"].lower() for d in metadata.distributions() if d.metadata["Name"]})
if "torch" not in names:
    raise SystemExit(print("setup: without torch (no extra asked for it)"))
import torch
cuda = [n for n in names if n.startswith(("nvidia-", "triton", "cuda-"))]
print(f"setup: torch {torch.__version__}, CUDA {torch.version.cuda}, {len(cuda)} CUDA packages")
if kind == "cpu" and (torch.version.cuda is not None or cuda):
    raise SystemExit(f"setup: want a CPU build on a machine without a GPU; saw CUDA {torch.version.cuda} and {cuda}. Fix: remove .venv and run again")
if kind == "gpu" and torch.version.cuda is None:
    print("setup: WARNING: this machine has a GPU and pip's configured sources gave a CPU build: training would run on the CPU")
PY
}

main() {
    local kind python stamp started=$SECONDS
    kind="$(torch_kind)"
    python="$(find_python)" || die "want Python 3.11 or newer with the venv module; found none. Fix: install one, or set PYTHON=/path/to/python"
    stamp="$(cat pyproject.toml <(echo "$EXTRAS $kind") | cksum | tr ' ' '-')"
    if [[ -f "$VENV/.stamp-$EXTRAS" && "$(cat "$VENV/.stamp-$EXTRAS")" == "$stamp" ]]; then
        say "$VENV is up to date ($EXTRAS, $kind)"
        return
    fi
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        say "making $VENV with $python"
        "$python" -m venv --clear "$VENV"
    fi
    # Only Linux has two builds; elsewhere the ordinary wheel is the CPU one.
    if [[ "$kind $(uname -s)" == "cpu Linux" && "$EXTRAS" =~ train|bertscore ]]; then install_cpu_torch; fi
    say "installing tao-run[$EXTRAS]; the first time takes a minute or two"
    "$VENV/bin/python" -m pip install -qq --editable ".[$EXTRAS]"
    verify "$kind"
    echo "$stamp" >"$VENV/.stamp-$EXTRAS"
    say "done in $((SECONDS - started)) s, $(du -sm "$VENV" | cut -f1) MB in $VENV"
}

main
