"""What vLLM serves of a run, by the dated table beside this file: merged or adapter, or why neither.

vLLM only warns of adapter layers that it leaves out, and then answers as the base does: that must be known before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tao_runtime.data.snapshot import read_json
from tao_runtime.engine.weights import Snapshot
from tao_runtime.errors import Finding, Fix
from tao_runtime.plan.model import TrainPlan

TABLE = Path(__file__).with_name("vllm.json")
TIE = "tie_word_embeddings"


@cache
def table() -> dict[str, Any]:
    """Return the compatibility table."""
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


def serve_findings(plan: TrainPlan, base: Path, form: str | None) -> Iterator[Finding]:
    """Yield why vLLM would not serve an export in this form, from the base's configuration and names alone."""
    config, known = read_json(base / "config.json"), table()
    architectures = [str(name) for name in config.get("architectures") or ()]  # type: ignore[attr-defined]
    model = next((known["architectures"][name] for name in architectures if name in known["architectures"]), None)
    if model is None:
        saw, want = ", ".join(architectures) or "no architectures", ", ".join(known["architectures"])
        yield _finding("architecture", str(base / "config.json"), saw, want, "export for transformers instead")
        return
    names = Snapshot(base).names
    strange = sorted(name for name in names if not name.startswith(tuple(model["prefixes"])))
    if strange:
        saw, want = f"{len(strange)} tensors such as {strange[0]}", "names under " + " ".join(model["prefixes"])
        yield _finding("names", str(base), saw, want, "use a base in the names of its release")
    text = config.get("text_config")
    inner = text.get(TIE) if isinstance(text, dict) else None
    if inner is not None and config.get(TIE) is not None and inner != config.get(TIE):
        saw = f"{TIE} {config.get(TIE)} at the top, {inner} in text_config"
        yield _finding("tie", str(base / "config.json"), saw, "one value: loaders read either", "set both to one value")
    if form == "adapter" and plan.model.lora is not None:
        yield from _adapter(plan, model)


def _adapter(plan: TrainPlan, model: dict[str, Any]) -> Iterator[Finding]:
    lora, rules = plan.model.lora, table()["adapter"]
    assert lora is not None
    merge = "export with --form merged"
    rank = max([lora.r, *lora.rank_pattern.values()])
    if rank > max(rules["ranks"]):
        yield _finding("rank", "--form", f"an adapter of rank {rank}", f"at most {max(rules['ranks'])}", merge)
    if lora.modules_to_save and not rules["modules_to_save"]:
        saw = f"modules_to_save {', '.join(lora.modules_to_save)}"
        yield _finding("modules-to-save", "--form", saw, "an adapter of LoRA matrices alone", merge)
    refused = sorted(set(rules["layers_refused"]) & {name.split(".")[-1] for name in lora.target_modules})
    if refused:
        yield _finding("layers", "--form", f"adapters on {', '.join(refused)}", "linear layers of the blocks", merge)


def serving_notes(plan: TrainPlan, form: str | None) -> Iterator[str]:
    """Yield what the server must be told: it leaves out adapters on towers beside the text without a flag."""
    lora = plan.model.lora
    if form != "adapter" or lora is None:
        return
    yield f"start the server with --max-lora-rank {_fitting(max([lora.r, *lora.rank_pattern.values()]))}"
    towers = [model for model in table()["architectures"].values() if model["towers_with_flag"]]
    for model in towers:
        names = ", ".join(model["towers_with_flag"])
        yield f"adapters on {names} are served only with {model['flag']}, and otherwise left out with a warning"


def _fitting(rank: int) -> int:
    return next((each for each in table()["adapter"]["ranks"] if each >= rank), rank)


def _finding(rule: str, where: str, saw: str, want: str, fix: str) -> Finding:
    known = table()
    want = f"{want} ({known['engine']} {known['version']}, looked up {known['date']})"
    return Finding(rule=f"vllm/{rule}", severity="error", where=where, saw=saw, want=want, fix=Fix(text=fix))
