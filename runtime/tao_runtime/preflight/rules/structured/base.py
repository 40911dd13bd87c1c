"""The folder that a network is loaded from: is it one that the library loads, and is all of it there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tao_runtime.data.facts import Facts
from tao_runtime.data.snapshot import PIPELINE
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import VIDEO


@rule(
    "video/base-layout",
    "error",
    families=VIDEO,
    actions=("train", "evaluate", "inference"),
    source="upstream's own folders have other names inside; the launch would refuse them on the machine with the GPUs",
)
def base_layout(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """The network's folder, where it is on this machine, is a whole pipeline of diffusers."""
    keys = {ref.label: ref.key for ref in spec.models()}
    network = "base_model" if "base_model" in keys else "model"
    for label in (network, "baseline"):
        model = facts.models.get(label)
        if model is None or model.directory is None or model.is_adapter:
            continue
        if not model.is_pipeline:
            fix = "name the folder of the released pipeline, or the export of a run; of upstream's files "
            fix += f"`tao-run convert {model.directory} --family {spec.family} --like PIPELINE --out DIR` makes one"
            want = f"a pipeline folder of diffusers: {PIPELINE}, transformer/, vae/"
            yield Problem(keys[label], f"{model.directory}: no {PIPELINE}", want, fix)
        elif model.missing:
            saw = f"{model.directory} lacks {', '.join(model.missing[:8])}"
            yield Problem(keys[label], saw, "every file of the network", "fetch the folder again")
